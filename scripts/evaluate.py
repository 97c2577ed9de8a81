"""Evaluate a saved model on a data set: totals, a line a class, label or column, and what it takes for what.

The model is a run folder, or a safetensors file with a config.json beside it or without.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `python scripts/evaluate.py` runs the checkout it lies in

try:
    import fastmlp as fm
except ImportError as error:  # the compiler is switched off, or does not fit NumPy: the sentence says so
    print(f"{Path(__file__).name}: error: {error}", file=sys.stderr)
    sys.exit(2)
from fastmlp.commandline import add_data_options, complain, data_options, make_parser, run_script, told  # noqa: E402
from fastmlp.data.columns import is_table  # noqa: E402
from fastmlp.data.doors import read_sets  # noqa: E402
from fastmlp.data.published import is_named  # noqa: E402
from fastmlp.kernels import announce_compiling  # noqa: E402
from fastmlp.store.weights import trained_with  # noqa: E402
from fastmlp.training.losses import LOSS_NAMES, loss_named  # noqa: E402
from fastmlp.words import line  # noqa: E402


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--model", type=Path, required=True, metavar="PATH", help="run folder, or model.safetensors")
    add_data_options(
        parser, ROOT / "data" / "mnist", "default: as the run was told; else 1/255 for bytes, 1 for all else", is_named
    )
    part_help = "which of its two sets (default: test; of data with a single set, that one)"
    add("--part", choices=("train", "test"), default=None, help=part_help)
    activation_help = "of the hidden layers, where no config.json names it (default: relu)"
    add("--activation", choices=fm.nn.ACTIVATIONS, default=None, help=activation_help)
    add("--every-class", action="store_true", help="a line for each class or label, also of more than 20")
    loss_help = (
        f"what is measured beside the scores: {', '.join(LOSS_NAMES)} (default: that of the run; else by targets)"
    )
    add("--loss", type=told(loss_named), default=None, metavar="NAME", help=loss_help)
    return parser.parse_args(arguments)


def choose(data: tuple[fm.Dataset, fm.Dataset | None], part: str | None, path: Path) -> fm.Dataset:
    """The set to evaluate on."""
    train, test = data
    if part is not None and test is None:
        raise ValueError(f"argument --part: {path} holds a single set; leave --part away")
    return train if test is None or part == "train" else test


def main(arguments: list[str] | None = None) -> None:
    """Load, evaluate, print."""
    options = parse_arguments(arguments)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = fm.load_model(options.model, options.activation)
    for warning in caught:
        complain(f"evaluate.py: {warning.message}; --activation names it")
    if options.scale is None:
        options.scale = trained_with(options.model, "scale")
    if options.task is None:
        options.task = trained_with(options.model, "task")
    name = options.loss or trained_with(options.model, "loss")
    loss = LOSS_NAMES[name]() if name in LOSS_NAMES else None
    if is_table(options.data) and model.encoding_ is not None:
        data = model.encoding_.dataset(options.data, model.classes_)
    else:
        data = choose(read_sets(options.data, **data_options(options)), options.part, options.data)
    with announce_compiling(complain):
        evaluation = fm.evaluate(model, data, loss=loss)
    print(f"{options.model} on {line(data.name)}")
    print(evaluation.report(max(len(evaluation.names), 20) if options.every_class else 20))


if __name__ == "__main__":
    run_script(main, fm.check.NotInstalledError)
