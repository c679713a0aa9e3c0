// Drawings and pictures as the bytes that a student is fed.
(() => {
  const book = window.trustdd;
  const clipped = (value) => Math.max(0, Math.min(255, Math.round(value)));

  /** Draw a line through points; one point is a dot. */
  book.trace = (context, [first, ...rest]) => {
    context.beginPath();
    context.moveTo(...first);
    // a line of no length is not drawn
    context.lineTo(first[0] + 0.01, first[1]);
    for (const point of rest) context.lineTo(...point);
    context.stroke();
  };

  /**
   * A drawn digit, in the form that the digits of the data have: it fills its square, is sampled as
   * 32 × 32 points of ink or none, counted in blocks of 4 × 4, and enlarged.
   * strokes: lists of [x, y] in the unit square; returns bytes [size, size].
   */
  book.digitOf = (strokes, size) => {
    const points = strokes.flat();
    const ends = [0, 1].map((axis) => {
      const places = points.map((point) => point[axis]);
      return [Math.min(...places), Math.max(...places)];
    });
    const SIDE = 128;
    // a pen of a seventh of the square
    const pen = SIDE / 7;
    const extent = Math.max(...ends.map(([low, high]) => high - low), 0.05);
    const middle = ends.map(([low, high]) => (low + high) / 2);
    const place = (point) =>
      point.map((value, axis) => SIDE / 2 + ((value - middle[axis]) / extent) * (SIDE - pen));
    const canvas = book.element("canvas", { width: SIDE, height: SIDE });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    Object.assign(context, { lineWidth: pen, lineCap: "round", lineJoin: "round" });
    for (const stroke of strokes) {
      book.trace(context, stroke.map(place));
    }
    const { data } = context.getImageData(0, 0, SIDE, SIDE);
    const small = new Float64Array(64);
    for (let at = 0; at < 32 * 32; at += 1) {
      const [row, column] = [at >> 5, at & 31];
      const opacity = data[4 * ((4 * row + 2) * SIDE + 4 * column + 2) + 3];
      if (opacity > 127) small[8 * (row >> 2) + (column >> 2)] += 1 / 16;
    }
    const { values: enlarge } = book.read(book.images.drawing.enlarge);
    return Uint8Array.from({ length: size * size }, (_, at) => {
      const [row, column] = [Math.floor(at / size), at % size];
      let sum = 0;
      for (let i = 0; i < 8; i += 1) {
        for (let j = 0; j < 8; j += 1) {
          sum += enlarge[8 * row + i] * small[8 * i + j] * enlarge[8 * column + j];
        }
      }
      return clipped(255 * sum);
    });
  };

  /** A picture's middle square, halved until it is as small as asked: bytes [channels, size, size]. */
  book.pictureOf = (picture, size, channels) => {
    const side = Math.min(picture.width, picture.height);
    const [left, top] = [(picture.width - side) / 2, (picture.height - side) / 2];
    let canvas = book.element("canvas", { width: side, height: side });
    canvas.getContext("2d").drawImage(picture, left, top, side, side, 0, 0, side, side);
    while (canvas.width !== size) {
      const next = Math.max(size, Math.ceil(canvas.width / 2));
      const smaller = book.element("canvas", { width: next, height: next });
      const context = smaller.getContext("2d");
      context.imageSmoothingQuality = "high";
      context.drawImage(canvas, 0, 0, next, next);
      canvas = smaller;
    }
    const { data } = canvas.getContext("2d").getImageData(0, 0, size, size);
    const plane = size * size;
    const bytes = new Uint8Array(channels * plane);
    for (let at = 0; at < plane; at += 1) {
      const [red, green, blue] = data.subarray(4 * at, 4 * at + 3);
      // grey as Pillow makes it
      if (channels === 1) bytes[at] = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16;
      else [red, green, blue].forEach((value, colour) => { bytes[colour * plane + at] = value; });
    }
    return bytes;
  };

  /** What can be done to bytes [c, s, s]. */
  book.changes = {
    turn: (bytes, size) => {
      const plane = size * size;
      return bytes.map((_, at) => bytes[at - (at % plane) + plane - 1 - (at % plane)]);
    },
    invert: (bytes) => bytes.map((value) => 255 - value),
    // each value times a normal number around 1, the paper's speckle
    speckle: (bytes) => bytes.map((value) => {
      const normal = Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
      return clipped(value * (1 + normal));
    }),
  };
})();
