// A scrubber for distillation: the images as they were at each iteration that was kept.
document.addEventListener("DOMContentLoaded", () => {
  const book = window.trustdd;
  if (!book.course) return;
  const { element } = book;
  const parts = { images_shown: "images", outliers_shown: "outliers" };
  const sets = book.course.sets.map((set) => {
    const frames = Object.fromEntries(Object.keys(parts).filter((part) => part in set)
      .map((part) => [part, book.read(set[part])]));
    return { ...set, frames };
  });
  const state = { set: sets.length - 1, at: 0, moved: false };
  const grids = element("div", { class: "grids" });
  const said = element("output", { class: "said", for: "course-slider" });
  const slider = element("input", { type: "range", id: "course-slider", min: 0, step: 1, value: 0,
    input: () => { state.at = Number(slider.value); show(); } });

  /** Pixels of one frame, or how far they are from the first: grey where nothing has moved. */
  const pixels = ({ shape, values }, at, image) => {
    const area = shape.slice(2).reduce((product, side) => product * side, 1);
    const of = (frame) => values.subarray((frame * shape[1] + image) * area, (frame * shape[1] + image + 1) * area);
    if (!state.moved) return of(at);
    const first = of(0);
    return of(at).map((value, place) => Math.max(0, Math.min(255, 128 + (value - first[place]) / 2)));
  };
  const show = () => {
    const set = sets[state.set];
    state.at = Math.min(state.at, set.iterations.length - 1);
    slider.max = set.iterations.length - 1;
    slider.value = state.at;
    const iteration = set.iterations[state.at];
    const measured = [["accuracy", set.accuracy], ["mean AUROC", set.auroc]]
      .filter(([, list]) => list[state.at] !== null)
      .map(([name, list]) => `${name} ${(100 * list[state.at]).toFixed(1)}%`);
    said.replaceChildren("Iteration ", element("b", {}, iteration), ` of ${set.iterations.at(-1)}`,
      measured.length ? `. A student of the set as it is here: ${measured.join(", ")}.` : ".");
    slider.setAttribute("aria-valuetext", said.textContent);
    for (const [part, { shape }] of Object.entries(set.frames)) {
      const [, count, channels, size] = shape;
      const grid = grids.querySelector(`[data-part=${part}]`);
      [...grid.querySelectorAll("canvas")].slice(0, count).forEach((canvas, image) =>
        book.paint(canvas, pixels(set.frames[part], state.at, image), channels, size));
    }
  };
  const change = () => {
    const set = sets[state.set];
    grids.className = `grids of-${set.outliers}`;
    grids.replaceChildren(...Object.entries(set.frames).map(([part, { shape }]) =>
      element("figure", { "data-part": part },
        element("figcaption", {}, `${shape[1]} synthetic ${parts[part]}`),
        element("div", {}, ...Array.from({ length: shape[1] }, (_, image) => element("canvas", { role: "img",
          "aria-label": part === "images_shown" ? `image of class ${set.labels[image]}` : `outlier ${image + 1}` }))))));
    show();
  };
  let playing = null;
  const play = element("button", { type: "button", click: () => {
    if (playing) return stop();
    if (state.at === sets[state.set].iterations.length - 1) state.at = -1;
    play.textContent = "Stop";
    const step = () => {
      state.at += 1;
      show();
      if (state.at === sets[state.set].iterations.length - 1) stop();
    };
    step();
    playing = setInterval(step, 700);
  } }, "Play");
  const stop = () => {
    clearInterval(playing);
    playing = null;
    play.textContent = "Play";
  };
  book.stand("course",
    book.choice("Set", "course-set", sets.map((set, at) => [at, set.name]), state.set,
      (at) => { stop(); state.set = at; change(); }),
    book.choice("Show", "course-moved", [["pixels", "the images"], ["moved", "what has changed since the start"]], "pixels",
      (what) => { state.moved = what === "moved"; show(); }),
    element("div", { class: "scrub" }, play,
      element("label", { for: "course-slider", class: "slider" }, element("span", { class: "heard-only" }, "Iteration"), slider)),
    said, grids);
  change();
  book.scrubber = { state, sets };
});
