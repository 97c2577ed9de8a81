"""A page of one's own: a net answers in the browser, without a server that computes and without a library.

`fm.export.javascript` writes an ES module. The page below imports it, draws a few digits that the net has not seen, and
says what it takes each for. A browser loads modules from a server alone, any will do: `python -m http.server`.

    python examples/own_page.py          needs the extra sklearn: pip install -e '.[sklearn]'
"""

import argparse
import json
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastmlp as fm

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Digits</title>
<link rel="icon" href="data:,">
<style>
  body { font: 18px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 44rem; padding: 0 1rem; }
  ul { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(7.5rem, 1fr)); padding: 0; }
  li { border: 1px solid #ccc; border-radius: 6px; list-style: none; padding: .6rem; text-align: center; }
  li.wrong { border-color: #b3261e; }
  canvas { height: 6rem; image-rendering: pixelated; width: 6rem; }
  p { margin: 0; }
</style>
<h1>Digits that the net has not seen</h1>
<p id="said" role="status"></p>
<ul id="digits"></ul>
<script type="module">
import { predict, probabilities } from "./digits.js";

const { pixels, labels } = await (await fetch("./digits.json")).json();
let right = 0;
for (const [k, row] of pixels.entries()) {
  const digit = predict(row);
  const sure = probabilities(row)[digit];
  right += digit === labels[k];
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 8;
  const image = new ImageData(8, 8);
  row.forEach((v, i) => image.data.set([255 - 15 * v, 255 - 15 * v, 255 - 15 * v, 255], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
  const text = document.createElement("p");
  text.textContent = `${digit}, ${(100 * sure).toFixed(1)} %`;
  const item = document.createElement("li");
  item.className = digit === labels[k] ? "" : "wrong";
  item.append(canvas, text);
  document.getElementById("digits").append(item);
}
document.getElementById("said").textContent = `${right} of ${labels.length} are right.`;
</script>
</html>
"""
SHOWN = 30


def main() -> None:
    """Train, export, write the page and what it shows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/page"), metavar="DIR", help="where the page goes")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)

    images, labels = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(images.astype(np.uint8), labels, stratify=labels, random_state=0)
    fm.manual_seed(0)
    model = fm.nn.MLP(64, (64,), 10)
    fm.fit(model, fm.Dataset(X, y, scale=1 / 16), epochs=30, progress=False)

    fm.export.javascript(model, folder / "digits.js", scale=1 / 16)  # the scale that it was trained with
    shown = {"pixels": X_test[:SHOWN].tolist(), "labels": y_test[:SHOWN].tolist()}
    (folder / "digits.json").write_text(json.dumps(shown))
    (folder / "index.html").write_text(PAGE)
    right = np.sum(fm.predict(model, X_test[:SHOWN], scale=1 / 16) == y_test[:SHOWN])
    print(f"fm.predict: {right} of {SHOWN} are right")
    print(f"the module has {(folder / 'digits.js').stat().st_size // 1024} KiB")
    print(f"wrote {folder / 'index.html'}; python -m http.server --directory {folder}")


if __name__ == "__main__":
    main()
