// From a drawing to a row of the data set, as the digits of MNIST were made: cut out the ink, scale its longer side to
// 20 of 28 pixels by averaging areas, and move its centre of mass to the middle, by whole pixels.

const FAINT = 0.02; // less ink than this is paper

/** The first and last + 1 row and column with ink, or null for an empty drawing. */
function inkBox(ink, width, height) {
  let left = width, right = 0, top = height, bottom = 0;
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      if (ink[at] <= FAINT) continue;
      if (x < left) left = x;
      if (x >= right) right = x + 1;
      if (y < top) top = y;
      bottom = y + 1;
    }
  }
  return right ? { left, right, top, bottom } : null;
}

/** Weights of an average over areas: for each of `count` pieces of [from, to), the [pixel, share] it is made of. */
function shares(from, to, count) {
  const step = (to - from) / count;
  return Array.from({ length: count }, (_, piece) => {
    const low = from + piece * step, high = low + step;
    const parts = [];
    for (let pixel = Math.floor(low); pixel < high; pixel++) {
      const share = (Math.min(pixel + 1, high) - Math.max(pixel, low)) / step;
      if (share > 1e-9) parts.push([pixel, share]);
    }
    return parts;
  });
}

/** A drawing as the network wants it. ink: 0 (paper) to 1, row after row; without width, it is a square. */
function prepare(ink, width = Math.round(Math.sqrt(ink.length)), height = ink.length / width) {
  const [side] = run.shape;
  const out = new Float32Array(side * side).fill(run.black);
  const box = inkBox(ink, width, height);
  if (!box) return out;
  const w = box.right - box.left, h = box.bottom - box.top;
  const longer = Math.round((side * 20) / 28);
  const columns = Math.max(1, Math.round((w * longer) / Math.max(w, h)));
  const rows = Math.max(1, Math.round((h * longer) / Math.max(w, h)));
  const across = shares(box.left, box.right, columns), down = shares(box.top, box.bottom, rows);
  const small = new Float64Array(rows * columns);
  let mass = 0, massX = 0, massY = 0;
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      let sum = 0;
      for (const [py, sy] of down[y]) for (const [px, sx] of across[x]) sum += sy * sx * ink[py * width + px];
      small[y * columns + x] = sum;
      mass += sum;
      massX += sum * x;
      massY += sum * y;
    }
  }
  const place = (centre, length) => Math.min(Math.max(Math.round(side / 2 - centre), 0), side - length);
  const left = place(massX / mass, columns), top = place(massY / mass, rows);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const value = run.black + Math.min(1, small[y * columns + x]) * (run.white - run.black);
      out[(top + y) * side + left + x] = run.whole ? Math.round(value) : value;
    }
  }
  return out;
}

/** Paint values 0..1 on a canvas of as many pixels, as black ink of that strength; style.css turns it for dark pages. */
function paint(canvas, values) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  for (let i = 0; i < values.length; i++) image.data[4 * i + 3] = 255 * values[i];
  context.putImageData(image, 0, 0);
}
