// Draw and see: a board, images to pick, and students that answer at once.
document.addEventListener("DOMContentLoaded", () => {
  const book = window.trustdd;
  if (!book.students || !book.images) return;
  const { element, scoreNames } = book;
  const { channels, image_size: size, classes } = book.students;
  const area = channels * size * size;
  const students = book.wake();
  const sets = book.images.sets.map((set) => {
    const { values } = book.read(set.images);
    const images = Array.from({ length: values.length / area }, (_, at) =>
      values.subarray(at * area, (at + 1) * area));
    return { ...set, images };
  });
  const state = { score: "msp", pixels: sets[0].images[0], from: "start", strokes: [], set: sets[0] };

  const judge = (student, logits) => {
    const scores = book.scores(logits);
    const accepts = Object.fromEntries(Object.entries(student.scores).map(
      ([name, { threshold }]) => [name, scores[name] >= threshold]));
    const probabilities = book.softmax(logits);
    return { scores, accepts, probabilities, best: probabilities.indexOf(Math.max(...probabilities)) };
  };

  const seen = element("canvas", {
    class: "seen", role: "img", "aria-label": `What the students see: ${size} × ${size} pixels`,
  });

  // -- answers ----------------------------------------------------------------------------------

  const cards = students.map((student) => {
    const verdict = element("p", { class: "verdict" });
    const bars = element("div", { class: "bars", role: "img" });
    const meters = element("div", { class: "meters" });
    const name = element("p", { class: "name" }, student.name);
    const card = element("section", { class: `student of-${student.outliers}`, "aria-label": student.name },
      name, verdict, bars, meters);
    return { card, verdict, bars, meters };
  });
  const heard = element("p", { class: "heard-only", "aria-live": "polite" });
  const percent = (share) => `${Math.round(100 * share)}%`;

  const showAnswer = ({ card, verdict, bars, meters }, student, answer) => {
    const accepted = answer.accepts[state.score];
    card.classList.toggle("is-rejected", !accepted);
    verdict.replaceChildren(
      element("span", { class: "tick", "aria-hidden": "true" }, accepted ? "✓" : "✕"),
      accepted ? " accepts it as " : " rejects it",
      ...(accepted ? [element("strong", {}, classes[answer.best])] : []));
    // the ten likeliest, in the classes' order
    const shown = [...answer.probabilities.keys()]
      .sort((a, b) => answer.probabilities[b] - answer.probabilities[a]).slice(0, 10).sort((a, b) => a - b);
    bars.setAttribute("aria-label", shown.map((c) => `${classes[c]}: ${percent(answer.probabilities[c])}`).join(", "));
    bars.replaceChildren(...shown.map((c) => element("span", { class: c === answer.best ? "bar best" : "bar" },
      element("i", { style: `height: ${100 * answer.probabilities[c]}%` }), element("b", {}, classes[c]))));
    meters.replaceChildren(...Object.entries(student.scores).map(([name, scale]) => {
      const low = Math.min(scale.lowest, scale.threshold);
      const place = (value) => Math.max(0, Math.min(100, (100 * (value - low)) / (scale.highest - low)));
      const value = answer.scores[name];
      const words = `${scoreNames[name]} ${value.toFixed(2)}, ` +
        `${answer.accepts[name] ? "at or above" : "below"} the threshold of ${scale.threshold.toFixed(2)}`;
      const chosen = name === state.score ? " is-chosen" : "";
      return element("div", { class: `meter${chosen}`, role: "img", "aria-label": words, title: words },
        element("span", {}, scoreNames[name]),
        element("span", { class: "number" }, value.toFixed(2)),
        element("span", { class: "tick" }, answer.accepts[name] ? "✓" : "✕"),
        element("span", { class: "track" },
          element("i", { class: "kept", style: `left: ${place(scale.threshold)}%` }),
          element("i", { class: "value", style: `left: ${place(value)}%` })));
    }));
  };

  const hint = element("p", { class: "hint" });
  const nudge = (answers) => {
    const accepted = answers.map((answer) => answer.accepts[state.score]);
    const [ordinary, ...others] = accepted;
    if (state.from === "start") return "A test image, which no student has seen. Now draw a digit of your own on the board.";
    if (state.from === "drawn" && accepted.some(Boolean)) return "Now turn it upside down.";
    if (state.from === "drawn") return "None takes it for one of theirs. One clear stroke, as large as the board?";
    if (ordinary && !others.every(Boolean)) return "The ordinary student accepts it, and one that knew outliers does not. That is what they are for.";
    if (state.from === "changed") return "Now clear the board, and scribble.";
    if (accepted.some(Boolean)) return "Pick another: noise, textures, print.";
    return "All of them reject it. Find one that gets past the ordinary student.";
  };

  const answer = () => {
    const answers = students.map((student) => judge(student, student.answer(state.pixels)[0]));
    answers.forEach((found, at) => showAnswer(cards[at], students[at], found));
    book.paint(seen, state.pixels, channels, size);
    hint.textContent = nudge(answers);
    heard.textContent = answers.map((found, at) => `${students[at].name}: ` +
      (found.accepts[state.score] ? `accepted as ${classes[found.best]}` : "rejected")).join("; ");
    state.answers = answers;
  };

  const show = (pixels, from) => {
    Object.assign(state, { pixels, from });
    answer();
    if (from === "drawn") return;
    state.strokes = [];
    pen.keys = false;
    redraw();
  };

  // -- the board --------------------------------------------------------------------------------

  const SIDE = 280;
  const board = element("canvas", {
    width: SIDE, height: SIDE, tabindex: 0, role: "application", class: "board",
    "aria-label": "Board to draw on with mouse or finger. By keys: arrows move the pen, " +
      "space lowers and lifts it, Delete clears.",
  });
  const pen = { x: 0.5, y: 0.3, down: false, keys: false };
  const redraw = () => {
    const context = board.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, SIDE, SIDE);
    if (state.from !== "drawn" && !pen.keys) {
      // a picture that was picked
      context.imageSmoothingEnabled = false;
      context.drawImage(seen, 0, 0, SIDE, SIDE);
    }
    Object.assign(context, {
      lineWidth: SIDE / 12, lineCap: "round", lineJoin: "round", strokeStyle: "#fff",
    });
    for (const stroke of state.strokes) {
      book.trace(context, stroke.map(([x, y]) => [SIDE * x, SIDE * y]));
    }
    if (pen.keys) {
      context.beginPath();
      context.arc(SIDE * pen.x, SIDE * pen.y, SIDE / 24, 0, 2 * Math.PI);
      Object.assign(context, { lineWidth: 3, strokeStyle: "#f0883e", fillStyle: "#f0883e" });
      if (pen.down) context.fill();
      context.stroke();
    }
  };
  const drawn = () => {
    state.from = "drawn";
    redraw();
    const pixels = book.images.drawing
      ? book.digitOf(state.strokes, size) : book.pictureOf(board, size, channels);
    show(pixels, "drawn");
  };
  const clear = () => {
    Object.assign(state, { strokes: [], from: "drawn" });
    pen.down = false;
    redraw();
    hint.textContent = "Draw, or scribble.";
  };
  const place = (event) => {
    const box = board.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  board.addEventListener("pointerdown", (event) => {
    board.setPointerCapture(event.pointerId);
    pen.keys = false;
    state.strokes.push([place(event)]);
    drawn();
  });
  board.addEventListener("pointermove", (event) => {
    if (!board.hasPointerCapture(event.pointerId)) return;
    state.strokes.at(-1).push(place(event));
    drawn();
  });
  board.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in steps) {
      const [x, y] = steps[event.key];
      pen.x = Math.max(0.05, Math.min(0.95, pen.x + 0.05 * x));
      pen.y = Math.max(0.05, Math.min(0.95, pen.y + 0.05 * y));
      if (pen.down) state.strokes.at(-1).push([pen.x, pen.y]);
    } else if (event.key === " ") {
      pen.down = !pen.down;
      if (pen.down) state.strokes.push([[pen.x, pen.y]]);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      clear();
    } else return;
    event.preventDefault();
    pen.keys = true;
    if (state.strokes.length) drawn();
    else redraw();
  });
  board.addEventListener("blur", () => { pen.keys = pen.down = false; redraw(); });

  const change = (kind) => () => show(book.changes[kind](state.pixels, size), "changed");
  const file = element("input", { type: "file", accept: "image/*", id: "draw-file", change: () => open(file.files[0]) });
  const open = async (blob) => {
    if (!blob?.type.startsWith("image/")) return;
    show(book.pictureOf(await createImageBitmap(blob), size, channels), "picked");
  };
  const button = (words, does) => element("button", { type: "button", click: does }, words);
  const input = element("div", { class: "input" },
    board,
    element("div", { class: "buttons" },
      button("Clear", clear), button("Upside down", change("turn")),
      button("Invert", change("invert")), button("Speckle", change("speckle"))),
    element("div", { class: "beside" }, seen, element("p", {}, `What they see: ${size} × ${size} pixels.`),
      element("p", { class: "file" }, file, element("label", { for: "draw-file" }, "Open an image"), " or drop one here.")));

  // -- images to pick ---------------------------------------------------------------------------

  const thumbnails = element("div", { class: "thumbnails" });
  const tally = element("p", { class: "tally" });
  const showSet = (id) => {
    const set = sets.find((one) => one.id === id);
    state.set = set;
    thumbnails.replaceChildren(...set.images.map((pixels, at) => {
      const picture = element("canvas", { "aria-hidden": "true" });
      book.paint(picture, pixels, channels, size);
      const label = set.labels ? `, ${classes[set.labels[at]]}` : "";
      return element("button", { type: "button", "aria-label": `${set.name} ${at + 1}${label}`,
        click: () => show(pixels, set.kind === "InD" ? "start" : "picked") }, picture);
    }));
    count();
  };
  const count = () => {
    const { images } = state.set;
    const joined = new Uint8Array(images.length * area);
    images.forEach((pixels, at) => joined.set(pixels, at * area));
    const parts = students.map((student) => {
      const accepted = student.answer(joined).filter((logits) => judge(student, logits).accepts[state.score]);
      return `${student.name} ${accepted.length}`;
    });
    tally.textContent = `Accepted of these ${images.length} (${state.set.kind}): ${parts.join(", ")}.`;
  };

  // -- all of it --------------------------------------------------------------------------------

  const choose = book.choice("Decide by", "draw-score", Object.entries(scoreNames), state.score, (score) => {
    state.score = score;
    answer();
    count();
  });
  const pick = book.choice("Or pick an image", "draw-set", sets.map((set) => [set.id, set.name]), sets[0].id, showSet);
  const whole = book.stand("draw", hint,
    element("div", { class: "see" }, input,
      element("div", { class: "answers" }, choose, element("div", { class: "students" }, ...cards.map(({ card }) => card)))),
    pick, thumbnails, tally, heard);
  whole.addEventListener("dragover", (event) => event.preventDefault());
  whole.addEventListener("drop", (event) => { event.preventDefault(); open(event.dataTransfer.files[0]); });
  showSet(sets[0].id);
  show(sets[0].images[0], "start");
  // for tests, and for the curious at the console
  book.draw = { state, students, sets, show };
});
