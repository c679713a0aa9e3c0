// A threshold one can move: histogram, ROC curve, counts and images follow it.
document.addEventListener("DOMContentLoaded", () => {
  const book = window.trustdd;
  if (!book.confidences) return;
  const { element, scoreNames } = book;
  const { students, sets, classes } = book.confidences;
  const [inside, ...outside] = sets;
  const values = students.map((student) => Object.fromEntries(
    Object.entries(student.confidence).map(([score, of]) => [score, Object.fromEntries(
      Object.entries(of).map(([id, packed]) => [id, book.read(packed).values]))])));
  const pictures = Object.fromEntries(sets.filter((set) => set.images)
    .map((set) => [set.id, book.read(set.images)]));
  const state = { student: 0, score: "msp", set: outside[0].id, threshold: 0 };

  // -- what is known of the chosen student, score and set ---------------------------------------

  const BINS = 40;
  let view = {};
  const look = () => {
    const chosen = values[state.student][state.score];
    const [own, other] = [chosen.in, chosen[state.set]];
    const low = state.score === "msp" ? 1 / classes : Math.min(...own, ...other);
    const high = state.score === "msp" ? 1 : Math.max(...own, ...other);
    const bin = (list) => {
      const counts = new Array(BINS).fill(0);
      for (const value of list) {
        const at = Math.floor(((value - low) / (high - low)) * BINS);
        counts[Math.max(0, Math.min(BINS - 1, at))] += 1;
      }
      return counts.map((count) => count / list.length);
    };
    // shares kept at every threshold, from the highest down
    const order = [...own].map((value) => [value, true])
      .concat([...other].map((value) => [value, false])).sort((a, b) => b[0] - a[0]);
    const curve = [[0, 0]];
    let [kept, passed] = [0, 0];
    order.forEach(([value, is], at) => {
      if (is) kept += 1;
      else passed += 1;
      if (at + 1 === order.length || order[at + 1][0] < value) {
        curve.push([passed / other.length, kept / own.length]);
      }
    });
    view = { own, other, low, high, bins: [bin(own), bin(other)], curve };
  };
  const atLeast = (list, threshold) => list.reduce((sum, value) => sum + (value >= threshold), 0);

  // -- drawings ---------------------------------------------------------------------------------

  const [WIDE, TALL, EDGE] = [560, 220, { left: 46, right: 12, top: 10, bottom: 26 }];
  const across = (value) => EDGE.left +
    ((value - view.low) / (view.high - view.low)) * (WIDE - EDGE.left - EDGE.right);
  const histogram = element("svg", { viewBox: `0 0 ${WIDE} ${TALL}`, role: "img", class: "histogram" });
  const roc = element("svg", { viewBox: "0 0 220 220", role: "img", class: "roc" });
  const line = element("line", { class: "threshold", y1: EDGE.top - 6, y2: TALL - EDGE.bottom });
  const dot = element("circle", { class: "point", r: 6 });
  const text = (x, y, words, anchor = "middle") => element("text", { x, y, "text-anchor": anchor }, words);

  const drawHistogram = () => {
    const highest = Math.max(...view.bins.flat());
    const up = (share) => TALL - EDGE.bottom - (share / highest) * (TALL - EDGE.top - EDGE.bottom);
    const outline = (shares) => {
      const step = (view.high - view.low) / BINS;
      const tops = shares.map((share, at) =>
        `L${across(view.low + at * step).toFixed(1)} ${up(share).toFixed(1)}` +
        `L${across(view.low + (at + 1) * step).toFixed(1)} ${up(share).toFixed(1)}`);
      return `M${across(view.low)} ${up(0)}${tops.join("")}L${across(view.high)} ${up(0)}Z`;
    };
    const marks = [0, 0.25, 0.5, 0.75, 1].map((part) => {
      const value = view.low + part * (view.high - view.low);
      return text(across(value), TALL - 8, value.toFixed(state.score === "msp" ? 2 : 1));
    });
    histogram.replaceChildren(
      element("path", { class: "own", d: outline(view.bins[0]) }),
      element("path", { class: "other", d: outline(view.bins[1]) }),
      element("line", { class: "axis", x1: EDGE.left, x2: WIDE - EDGE.right, y1: up(0), y2: up(0) }),
      ...marks, text(EDGE.left - 6, up(highest) + 4, `${Math.round(100 * highest)}%`, "end"),
      text(EDGE.left - 6, up(0), "0%", "end"), line);
  };
  const corner = 34;
  const place = ([x, y]) => [corner + x * (210 - corner), 210 - corner + 10 - y * (200 - corner)];
  const drawCurve = () => {
    const points = view.curve.map((point) => place(point).map((v) => v.toFixed(1)).join(" "));
    const [[x0, y0], [x1, y1]] = [place([0, 0]), place([1, 1])];
    roc.replaceChildren(
      element("line", { class: "chance", x1: x0, y1: y0, x2: x1, y2: y1 }),
      element("path", { class: "axis", d: `M${x0} ${y1}V${y0}H${x1}` }),
      element("path", { class: "curve", d: `M${points.join("L")}` }),
      text((x0 + x1) / 2, 216, "OOD images let through (%)"),
      element("text", { transform: `translate(10 ${(y0 + y1) / 2}) rotate(-90)`, "text-anchor": "middle" }, "InD images kept (%)"),
      text(x0, y0 + 13, "0"), text(x1, y0 + 13, "100"), text(x0 - 5, y0, "0", "end"), text(x0 - 5, y1 + 8, "100", "end"),
      dot);
  };

  // -- images near the threshold ----------------------------------------------------------------

  const SHOWN = 8;
  const strips = element("div", { class: "strips" });
  const strip = (title, set, keep) => {
    const { shape: [, channels, , size], values: bytes } = pictures[set.id];
    const area = channels * size * size;
    const confidences = values[state.student][state.score][set.id];
    const near = set.places.map((at, number) => [confidences[at], number])
      .filter(([value]) => (value >= state.threshold) === keep)
      .sort((a, b) => (keep ? a[0] - b[0] : b[0] - a[0])).slice(0, SHOWN);
    const images = near.map(([value, number]) => {
      const picture = element("canvas", { role: "img", title: value.toFixed(2),
        "aria-label": `${set.name}, ${scoreNames[state.score]} ${value.toFixed(2)}` });
      book.paint(picture, bytes.subarray(number * area, (number + 1) * area), channels, size);
      return picture;
    });
    return element("div", { class: "strip" }, element("p", { class: "name" }, title),
      element("div", {}, ...(images.length ? images : [element("span", {}, "none of those at hand")])));
  };
  const drawStrips = () => {
    const set = sets.find((one) => one.id === state.set);
    if (!pictures[set.id]) return;
    strips.replaceChildren(
      strip(`${set.name}, just accepted`, set, true), strip(`${set.name}, just rejected`, set, false),
      strip(`${inside.name}, just accepted`, inside, true), strip(`${inside.name}, just rejected`, inside, false));
  };

  // -- the slider, and what follows it ----------------------------------------------------------

  const said = element("output", { class: "said", for: "threshold-slider" });
  const slider = element("input", { type: "range", id: "threshold-slider", step: "any", input: () => move(Number(slider.value)) });
  const percent = (part, whole) => `${((100 * part) / whole).toFixed(1)}%`;
  const move = (threshold) => {
    state.threshold = threshold;
    slider.value = threshold;
    const [kept, passed] = [atLeast(view.own, threshold), atLeast(view.other, threshold)];
    const set = sets.find((one) => one.id === state.set);
    said.replaceChildren("At ", element("b", {}, threshold.toFixed(3)), " this student keeps ",
      element("b", {}, percent(kept, view.own.length)), ` of the ${inside.name} (${kept} of ${view.own.length}) and lets `,
      element("b", {}, percent(passed, view.other.length)), ` of the ${set.name} through (${passed} of ${view.other.length}).`);
    slider.setAttribute("aria-valuetext", said.textContent);
    line.setAttribute("x1", across(threshold));
    line.setAttribute("x2", across(threshold));
    const [x, y] = place([passed / view.other.length, kept / view.own.length]);
    dot.setAttribute("cx", x);
    dot.setAttribute("cy", y);
    histogram.setAttribute("aria-label", `Histogram of ${scoreNames[state.score]} of ${inside.name} and ${set.name}. ${said.textContent}`);
    roc.setAttribute("aria-label", `ROC curve. ${said.textContent}`);
    drawStrips();
  };
  const whole = element("div", {});
  const change = () => {
    look();
    whole.className = `moving of-${students[state.student].outliers}`;
    drawHistogram();
    drawCurve();
    slider.min = view.low;
    slider.max = view.high;
    move(students[state.student].threshold[state.score]);
  };
  const keep = (share) => element("button", { type: "button", click: () => {
    const sorted = [...view.own].sort((a, b) => b - a);
    move(sorted[Math.ceil(share * sorted.length - 1e-9) - 1]);
  } }, `keep ${100 * share}%`);
  const choose = (name, legend, options) => book.choice(legend, `threshold-${name}`, options,
    state[name], (value) => { state[name] = value; change(); });
  whole.append(
    choose("student", "Student", students.map((student, at) => [at, student.name])),
    choose("score", "Score", Object.keys(students[0].confidence).map((score) => [score, scoreNames[score]])),
    choose("set", "OOD set", outside.map((set) => [set.id, set.name])),
    element("div", { class: "drawings" },
      element("div", {}, histogram,
        element("label", { for: "threshold-slider", class: "slider" }, element("span", { class: "heard-only" }, "Threshold"), slider)),
      roc),
    said, element("div", { class: "buttons" }, keep(0.99), keep(0.95), keep(0.9), keep(0.8)),
    element("p", { class: "key" }, element("i", { class: "own" }), ` ${inside.name}`, element("i", { class: "other" }), " OOD images"),
    strips);
  book.stand("threshold", whole);
  change();
  book.threshold = { state, move };
});
