// Small conveniences; every page reads well without them.
document.addEventListener("DOMContentLoaded", () => {
  // wide tables, formulas and code scroll by keyboard as well as by finger
  const scrollable = ".bd-article .pst-scrollable-table-container, .bd-article div.math, " +
    ".bd-article pre, .bd-article .figure-frame";
  for (const box of document.querySelectorAll(scrollable)) {
    if (box.scrollWidth > box.clientWidth + 1 && !box.hasAttribute("tabindex")) {
      box.setAttribute("tabindex", "0");
    }
  }
});
