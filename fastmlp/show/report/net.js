// The network of the page: its numbers, and what it makes of a row of pixels.

const run = JSON.parse(document.getElementById("run").textContent);
const layers = run.net ? unpack(run.net) : null;

/** The probability of each class: softmax(z / T), T the temperature that the model keeps. */
function probabilitiesOf(z) {
  return softmax(z, run.temperature);
}

/** [{kind, output}, ...]: what each layer makes of one row. pixels: values as in the data set, before its scale. */
function forward(pixels) {
  if (!layers) throw new Error(`forward: ${run.no_canvas}`);
  if (pixels.length !== run.net.features) {
    throw new Error(`forward: pixels has ${pixels.length} values; it must have ${run.net.features}`);
  }
  return outputsOf(layers, Float32Array.from(pixels, (v) => v * run.scale));
}

/** The probability of each class for one row of pixels. */
function predict(pixels) {
  return probabilitiesOf(forward(pixels).at(-1).output);
}
