// Students as functions, run by TensorFlow.js: pixels in, logits out.
(() => {
  const book = window.trustdd;

  /** Make the function of one student: bytes [n, c, s, s] → logits, an array for each image. */
  const answers = (student, { channels, image_size: size, mean, std }) => {
    const layers = student.layers.map((layer) => {
      const kept = { ...layer };
      for (const name of ["weight", "bias", "scale", "shift"]) {
        if (!(name in layer)) continue;
        const { shape, values } = book.read(layer[name]);
        kept[name] = tf.tensor(values, shape);
      }
      return kept;
    });
    const steps = {
      conv: (x, { weight, bias, padding }) => {
        const around = [[0, 0], [padding, padding], [padding, padding], [0, 0]];
        return tf.add(tf.conv2d(tf.pad(x, around), weight, 1, "valid"), bias);
      },
      // every channel of every image by itself
      norm: (x, { scale, shift, eps }) => {
        const { mean: centre, variance } = tf.moments(x, [1, 2], true);
        const flat = tf.div(tf.sub(x, centre), tf.sqrt(tf.add(variance, eps)));
        return tf.add(tf.mul(flat, scale), shift);
      },
      relu: (x) => tf.relu(x),
      pool: (x) => tf.avgPool(x, 2, 2, "valid"),
      linear: (x, { weight, bias }) => {
        const rows = tf.reshape(tf.transpose(x, [0, 3, 1, 2]), [x.shape[0], -1]);
        return tf.add(tf.matMul(rows, weight), bias);
      },
    };
    return (bytes) => {
      const count = bytes.length / (channels * size * size);
      const logits = tf.tidy(() => {
        const planes = tf.tensor(Float32Array.from(bytes), [count, channels, size, size]);
        const shares = tf.div(tf.transpose(planes, [0, 2, 3, 1]), 255);
        const fed = tf.div(tf.sub(shares, tf.tensor(mean)), tf.tensor(std));
        return layers.reduce((x, layer) => steps[layer.kind](x, layer), fed).arraySync();
      });
      return logits;
    };
  };

  book.wake = () => book.students.students.map((student) => ({
    ...student, answer: answers(student, book.students),
  }));
})();
