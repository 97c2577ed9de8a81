"""Predict pictures with a saved model: the class of each, and its three largest probabilities.

A picture is made grey and scaled to the model's input. MNIST's digits are light on dark: a drawing with a light border
is inverted. A picture of another size than the model's input is taken for a drawing: cut out, scaled to 20/28 of the
input and placed with its centre of mass in the middle, as MNIST was made; with --centre no the whole picture is scaled.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `python scripts/predict.py` runs the checkout it lies in

import numpy as np  # noqa: E402

try:
    import fastmlp as fm
except ImportError as error:  # the compiler is switched off, or does not fit NumPy: the sentence says so
    print(f"{Path(__file__).name}: error: {error}", file=sys.stderr)
    sys.exit(2)
from fastmlp.commandline import complain, make_parser, run_script  # noqa: E402
from fastmlp.data.images import CHOICES, read_image  # noqa: E402
from fastmlp.kernels import announce_compiling  # noqa: E402
from fastmlp.running.door import asker  # noqa: E402


def height_and_width(text: str) -> tuple[int, int]:
    """The height and width in a text: (28, 28) for "28x28"."""
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text, re.ASCII)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a height and width such as 28x28")
    return int(match[1]), int(match[2])


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("images", nargs="+", type=Path, metavar="image.png", help="PNG, JPEG, BMP or GIF, of any size")
    add("--model", type=Path, required=True, metavar="PATH", help="run folder, or model.safetensors")
    shape_help = "of the model's input (default: the square with as many pixels as the model has inputs)"
    add("--shape", type=height_and_width, default=None, metavar="HxW", help=shape_help)
    invert_help = "invert brightness; auto: where the border is light (default: auto)"
    add("--invert", choices=CHOICES, default="auto", help=invert_help)
    centre_help = "cut out, scale and centre as MNIST; auto: pictures of another size (default: auto)"
    add("--centre", "--center", choices=CHOICES, default="auto", help=centre_help)
    activation_help = "of the hidden layers, where no config.json names it (default: relu)"
    add("--activation", choices=fm.nn.ACTIVATIONS, default=None, help=activation_help)
    return parser.parse_args(arguments)


def input_shape(features: int, asked: tuple[int, int] | None) -> tuple[int, int]:
    """The height and width of a row. Error: ValueError where they do not give `features` pixels."""
    side = math.isqrt(features)
    shape = asked or (side, side)
    if math.prod(shape) != features:
        which = f"{asked[0]}x{asked[1]} are {math.prod(asked)}" if asked else "those are no square"
        raise ValueError(f"argument --shape: the model takes {features} numbers, {which}; give its height and width")
    return shape


def line(name: str, probabilities: np.ndarray) -> str:
    """A picture's line, such as `three.png  3  (3: 99.97 %, 8: 0.02 %, 5: 0.01 %)`."""
    best = np.argsort(-probabilities, kind="stable")[:3]
    if not np.isfinite(probabilities).all():
        return f"{name}  ?  (the model's output is not finite)"
    return f"{name}  {best[0]}  ({', '.join(f'{c}: {100 * probabilities[c]:.2f} %' for c in best)})"


def main(arguments: list[str] | None = None) -> None:
    """Load, then read and predict one picture after the other."""
    options = parse_arguments(arguments)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = fm.load_model(options.model, options.activation)
    for warning in caught:
        complain(f"predict.py: {warning.message}; --activation names it")
    shape, bad = input_shape(fm.nn.features_of(model) or 0, options.shape), 0
    with announce_compiling(complain):
        ask = asker(model)
    longest = max(len(str(path)) for path in options.images)
    for path in options.images:
        try:
            row = read_image(path, shape, options.invert, options.centre).reshape(1, -1)
        except (ValueError, OSError) as error:
            complain(f"predict.py: error: {error}")
            bad += 1
            continue
        with announce_compiling(complain):
            logits = ask(row)
        print(line(f"{path!s:{longest}}", fm.metrics.softmax(logits)[0]), flush=True)
    if bad:
        sys.exit(2)


if __name__ == "__main__":
    run_script(main)
