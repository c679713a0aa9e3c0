// What the interactive pages share: reading data, making elements, scores, pictures.
(() => {
  const book = (window.trustdd ??= {});

  /** Decode {shape, float32 | uint8 | int32: base64}, as trustdd.report.page_data packs it. */
  book.read = (packed) => {
    const kinds = { float32: Float32Array, uint8: Uint8Array, int32: Int32Array };
    const kind = Object.keys(kinds).find((name) => name in packed);
    const bytes = Uint8Array.from(atob(packed[kind]), (letter) => letter.charCodeAt(0));
    return { shape: packed.shape, values: new kinds[kind](bytes.buffer) };
  };

  /** Make an element: attributes (functions become listeners), then children. */
  book.element = (name, attributes = {}, ...children) => {
    const spaces = { svg: 1, g: 1, path: 1, line: 1, circle: 1, rect: 1, text: 1, title: 1 };
    const made = spaces[name]
      ? document.createElementNS("http://www.w3.org/2000/svg", name)
      : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (typeof value === "function") made.addEventListener(key, value);
      else if (value !== null && value !== undefined && value !== false) {
        made.setAttribute(key, value === true ? "" : value);
      }
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  };

  /** Scores of one image's logits, as trustdd.students.scores has them. */
  book.scores = (logits) => {
    const highest = Math.max(...logits);
    const sum = logits.reduce((total, logit) => total + Math.exp(logit - highest), 0);
    return { msp: 1 / sum, maxlogit: highest, energy: highest + Math.log(sum) };
  };
  book.scoreNames = { msp: "MSP", maxlogit: "MaxLogit", energy: "Energy" };

  /** Probabilities of one image's logits. */
  book.softmax = (logits) => {
    const highest = Math.max(...logits);
    const parts = Array.from(logits, (logit) => Math.exp(logit - highest));
    const sum = parts.reduce((total, part) => total + part, 0);
    return parts.map((part) => part / sum);
  };

  /** Paint bytes [c, s, s] on a canvas, pixel by pixel; its size becomes s. */
  book.paint = (canvas, bytes, channels, size) => {
    canvas.width = canvas.height = size;
    const context = canvas.getContext("2d");
    const picture = context.createImageData(size, size);
    const plane = size * size;
    for (let at = 0; at < plane; at += 1) {
      for (let colour = 0; colour < 3; colour += 1) {
        picture.data[4 * at + colour] = bytes[(channels === 3 ? colour * plane : 0) + at];
      }
      picture.data[4 * at + 3] = 255;
    }
    context.putImageData(picture, 0, 0);
  };

  /** A group of radio buttons that look like tabs. */
  book.choice = (legend, name, options, chosen, changed) => {
    const set = book.element("fieldset", { class: "choice" }, book.element("legend", {}, legend));
    for (const [value, label] of options) {
      const input = book.element("input", {
        type: "radio", name, value, checked: value === chosen, change: () => changed(value),
      });
      set.append(book.element("label", {}, input, book.element("span", {}, label)));
    }
    return set;
  };

  /** Put what a script made in the place of what stood there without it. */
  book.stand = (name, ...children) => {
    const place = document.querySelector(`.interactive[data-name="${name}"]`);
    place.replaceChildren(...children);
    place.classList.add("is-alive");
    return place;
  };
})();
