// The network: its numbers from the page, and the forward pass of each kind of layer.
// Values are float32 as in Python; sums are float64 within a neuron.

const run = JSON.parse(document.getElementById("run").textContent);

/** The bytes of a base64 text. */
function bytes(base64) {
  const text = atob(base64);
  const out = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) out[i] = text.charCodeAt(i);
  return out;
}

/** erf(v) = 2/√π ∫₀ᵛ exp(-t²) dt = 2/√π exp(-v²) (v + v³ 2/3 + v⁵ 2²/(3·5) + ...), which Math lacks. */
function erf(v) {
  if (Math.abs(v) > 6) return Math.sign(v); // 1 - erf(6) is 2e-17
  let term = v;
  let sum = v;
  for (let k = 3; Math.abs(term) > 1e-17 * Math.abs(sum); k += 2) sum += term *= (2 * v * v) / k;
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-v * v) * sum;
}

/** The entry of an array for column i; an array of one number stands for all columns, and `absent` for no array. */
function at(array, i, absent) {
  return array ? array[array.length > 1 ? i : 0] : absent;
}

/** {mean, variance} of a row, the variance biased: Σ (x - mean)² / C */
function moments(x) {
  const mean = x.reduce((a, b) => a + b, 0) / x.length;
  return { mean, variance: x.reduce((a, b) => a + (b - mean) ** 2, 0) / x.length };
}

// FORWARD: the kind of a layer -> what it makes of a row, (layer, x) => y; written from the layers' declarations.

/** The layers with their arrays, views into one buffer of float32. */
function unpack(net) {
  const numbers = new Float32Array(bytes(net.numbers).buffer);
  return net.layers.map((layer) => {
    const whole = { ...layer };
    for (const [name, value] of Object.entries(layer)) {
      if (Array.isArray(value)) whole[name] = numbers.subarray(value[0], value[0] + value[1]);
    }
    return whole;
  });
}

const layers = run.net ? unpack(run.net) : null;

/** softmax: pₖ = exp(zₖ - max z) / Σⱼ exp(zⱼ - max z) */
function softmax(z) {
  const most = Math.max(...z);
  const e = Array.from(z, (v) => Math.exp(v - most));
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map((v) => v / sum);
}

/** The probability of each class: softmax(z / T), T the temperature that the model keeps. */
function probabilitiesOf(z) {
  return softmax(z.map((v) => v / run.temperature));
}

/** [{kind, output}, ...]: what each layer makes of one row. pixels: values as in the data set, before its scale. */
function forward(pixels) {
  if (!layers) throw new Error(`forward: ${run.no_canvas}`);
  if (pixels.length !== run.net.features) {
    throw new Error(`forward: pixels has ${pixels.length} values; it must have ${run.net.features}`);
  }
  let x = Float32Array.from(pixels, (v) => v * run.scale);
  return layers.map((layer) => ({ kind: layer.kind, output: (x = FORWARD[layer.kind](layer, x)) }));
}

/** The probability of each class for one row of pixels. */
function predict(pixels) {
  return probabilitiesOf(forward(pixels).at(-1).output);
}
