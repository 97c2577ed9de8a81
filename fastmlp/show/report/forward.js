// The forward pass of a network: of the report's page, and of the module that `fastmlp.export.javascript` writes.
// Values are of the model's type, float32 or float64, as in Python; sums are float64 within a neuron.

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

/** The layers with their arrays, views into one buffer of float32, or of float64 where net.double says so. */
function unpack(net) {
  const numbers = new (net.double ? Float64Array : Float32Array)(bytes(net.numbers).buffer);
  return net.layers.map((layer) => {
    const whole = { ...layer };
    for (const [name, value] of Object.entries(layer)) {
      if (Array.isArray(value)) whole[name] = numbers.subarray(value[0], value[0] + value[1]);
    }
    return whole;
  });
}

/** [{kind, output}, ...]: what each layer makes of a row, a typed array of the model's type. */
function outputsOf(layers, x) {
  return layers.map((layer) => ({ kind: layer.kind, output: (x = FORWARD[layer.kind](layer, x)) }));
}

/** softmax: pₖ = exp((zₖ - max z) / T) / Σⱼ exp((zⱼ - max z) / T) */
function softmax(z, temperature) {
  const most = z.reduce((a, b) => (b > a ? b : a));
  const e = Array.from(z, (v) => Math.exp((v - most) / temperature));
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map((v) => v / sum);
}
