// Small conveniences; every page reads well without them.
document.addEventListener("DOMContentLoaded", () => {
  // wide tables, figures, formulas and code scroll by keyboard as well as by finger
  const scrollable = document.querySelectorAll(
    ".bd-article .pst-scrollable-table-container, .bd-article div.math, .bd-article pre, " +
      ".bd-article .figure-frame, .bd-article mjx-container[display=true]",
  );
  const reach = (box) => {
    if (box.scrollWidth > box.clientWidth + 1) box.setAttribute("tabindex", "0");
    else box.removeAttribute("tabindex");
  };
  const sizes = new ResizeObserver((entries) => entries.forEach((entry) => reach(entry.target)));
  scrollable.forEach((box) => sizes.observe(box));
});
