// What goes in and what comes out.

const layers = unpack(NET);

/** The place of a value among the texts of a category, -1 where it is none of them; whole numbers have no point. */
function placeOf(value, texts) {
  if (typeof value === "boolean") return texts.indexOf(value ? "True" : "False");
  if (typeof value !== "number") return texts.indexOf(String(value));
  if (Number.isInteger(value)) return texts.indexOf(String(BigInt(value)));
  const small = Math.abs(value) < 1e-4; // where Python writes a power of ten of two digits
  return texts.indexOf(small ? value.toExponential().replace(/e-(\d)$/, "e-0$1") : String(value));
}

/** A value as the number of a column; texts true and false are booleans. */
function numberOf(value, column) {
  const word = typeof value === "string" && column.kind === "boolean" ? value.toLowerCase() : "";
  const number = word === "true" || word === "false" ? Number(word === "true") : typeof value === "string" ? NaN : Number(value);
  if (!Number.isFinite(number) || (column.kind === "boolean" && number !== 0 && number !== 1)) {
    throw new Error(`column ${column.name} is ${value}; it must be a ${column.kind}`);
  }
  return number;
}

/** The features of a row, an object {column: value}; null, undefined and NaN stand for nothing. */
function encode(row) {
  if (row === null || typeof row !== "object" || !COLUMNS.some((column) => column.name in row)) {
    throw new Error(`row is ${row}; it must be an object with the columns ${COLUMNS.map((column) => column.name).join(", ")}`);
  }
  const x = [];
  for (const column of COLUMNS) {
    const value = row[column.name] ?? null;
    const missing = value === null || Number.isNaN(value);
    if (column.kind === "category") {
      const place = missing ? -1 : placeOf(value, column.values);
      x.push(...column.values.map((_, k) => Number(k === place)));
    } else {
      x.push(((missing ? column.fill : numberOf(value, column)) - column.mean) / column.std);
    }
    if (column.missing) x.push(Number(missing));
  }
  return x.map(Math.fround);
}

/** The outputs for one row: an array of `features` numbers; of a table an object {column: value}. */
export function logits(row) {
  const x = COLUMNS ? encode(row) : row;
  if (x.length !== NET.features) throw new Error(`row has ${x.length} values; it must have ${NET.features}`);
  const Typed = NET.double ? Float64Array : Float32Array;
  const scale = NET.double ? SCALE : Math.fround(SCALE);
  const scaled = new Typed(NET.features);
  for (let i = 0; i < NET.features; i++) scaled[i] = x[i] * scale;
  return outputsOf(layers, scaled).at(-1).output;
}
