"""Predict pictures with a saved model, or the rows of a table: the class of each, its three largest probabilities.

Of a run whose targets were numbers, the numbers; of one whose targets were labels, those above one half.

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
    from fastmlp import words
except ImportError as error:  # the compiler is switched off, or does not fit NumPy: the sentence says so
    print(f"{Path(__file__).name}: error: {error}", file=sys.stderr)
    sys.exit(2)
from fastmlp.commandline import complain, make_parser, run_script  # noqa: E402
from fastmlp.data.columns import is_table  # noqa: E402
from fastmlp.data.images import CHOICES, read_image  # noqa: E402
from fastmlp.kernels import announce_compiling  # noqa: E402
from fastmlp.running.door import asker  # noqa: E402
from fastmlp.running.meaning import said_numbers  # noqa: E402
from fastmlp.store.weights import trained_with  # noqa: E402
from fastmlp.training.answers import probabilities  # noqa: E402
from fastmlp.training.losses import LOSS_NAMES  # noqa: E402


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
    what = "PNG, JPEG, BMP or GIF, of any size; or, of a model that was trained on a table, .csv, .tsv or .parquet"
    add("images", nargs="+", type=Path, metavar="image.png", help=what)
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


def answer(
    model: fm.nn.Module, logits: np.ndarray, kind: str, names: tuple[str, ...], loss: fm.nn.Loss | None = None
) -> str:
    """What is said of a picture, such as `3  (3: 99.97 %, 8: 0.02 %, 5: 0.01 %)`.

    kind: of the targets that the model was trained on; names: of its outputs; loss: the one that it was trained with.
    Probabilities are those of logits / model.temperature_.
    """
    if not np.isfinite(logits).all():
        return "?  (the model's output is not finite)"
    if kind == "numbers":
        numbers = said_numbers(model, loss, logits.reshape(1, -1))[0]
        return ", ".join(f"{number:.6g}" for number in numbers)
    if kind == "labels":
        p = probabilities(logits, kind, model.temperature_)
        best = [k for k in np.argsort(-p, kind="stable") if logits[k] > 0]
        return ", ".join(f"{names[k]} ({100 * p[k]:.2f} %)" for k in best) or "no label"
    p = probabilities(logits.reshape(1, -1), kind, model.temperature_)[0]
    best = np.argsort(-p, kind="stable")[:3].tolist()
    return f"{names[best[0]]}  ({', '.join(f'{names[c]}: {100 * p[c]:.2f} %' for c in best)})"


def main(arguments: list[str] | None = None) -> None:
    """Load, then read and predict one picture after the other."""
    options = parse_arguments(arguments)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = fm.load_model(options.model, options.activation)
    for warning in caught:
        complain(f"predict.py: {warning.message}; --activation names it")
    tables = [path for path in options.images if is_table(path)]
    if tables and model.encoding_ is None:
        raise ValueError(f"{tables[0]} is a table, and {options.model} was not trained on one")
    pictures = len(tables) < len(options.images)
    shape, bad = input_shape(fm.nn.features_of(model) or 0, options.shape) if pictures else (0, 0), 0
    with announce_compiling(complain):
        ask = asker(model)
    kind, made = (trained_with(options.model, name) for name in ("targets", "loss"))
    loss = LOSS_NAMES[made]() if made in LOSS_NAMES else None
    longest = max(len(str(path)) for path in options.images)
    for path in options.images:
        if is_table(path):
            with announce_compiling(complain):
                answers = ask(model.encoding_.apply(path, str(path)))
            for number, logits in enumerate(answers):
                names = words.names([] if model.classes_ is None else model.classes_.tolist(), len(logits))
                print(f"{path} {number}  {answer(model, logits, kind, names, loss)}", flush=True)
            continue
        try:
            row = read_image(path, shape, options.invert, options.centre).reshape(1, -1)
        except (ValueError, OSError) as error:
            complain(f"predict.py: error: {error}")
            bad += 1
            continue
        with announce_compiling(complain):
            logits = ask(row)
        names = words.names([] if model.classes_ is None else model.classes_.tolist(), logits.shape[1])
        print(f"{path!s:{longest}}  {answer(model, logits[0], kind, names, loss)}", flush=True)
    if bad:
        sys.exit(2)


if __name__ == "__main__":
    run_script(main, fm.check.NotInstalledError)
