"""Write a saved model for elsewhere: as ONNX, as a header of C99, as a module for NumPy alone, or as an ES module."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `python scripts/export.py` runs the checkout it lies in

try:
    import fastmlp as fm
except ImportError as error:  # the compiler is switched off, or does not fit NumPy: the sentence says so
    print(f"{Path(__file__).name}: error: {error}", file=sys.stderr)
    sys.exit(2)
from fastmlp.commandline import complain, from_here, make_parser, place, real, run_script  # noqa: E402
from fastmlp.store.weights import trained_with  # noqa: E402

SUFFIXES = {name: end for name, end in (("onnx", ".onnx"), ("c", ".h"), ("numpy", ".py"), ("javascript", ".js"))
            if hasattr(fm.export, name)}  # fmt: skip


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--model", type=Path, required=True, metavar="PATH", help="run folder, or model.safetensors")
    add("--to", choices=SUFFIXES, required=True, help="what is written")
    ends = ", ".join(SUFFIXES.values())
    output_help = f"the file (default: model{ends.replace(', ', ', model')} beside the weights)"
    add("--output", type=place, default=None, metavar="FILE", help=output_help)
    scale_help = "what rows are multiplied by (default: as the run says; it must be given where it does not)"
    add("--scale", type=real(0, above=True), default=None, metavar="X", help=scale_help)
    activation_help = "of the hidden layers, where no config.json names it (default: relu)"
    add("--activation", choices=fm.nn.ACTIVATIONS, default=None, help=activation_help)
    return parser.parse_args(arguments)


def scale_of(model: fm.nn.Module, path: Path) -> float:
    """What the run multiplied its rows by. Error: ValueError where nothing says it."""
    for name in ("scaled_by", "scale"):
        if (told := trained_with(path, name)) is not None:
            return float(told)
    if model.encoding_ is None:
        raise ValueError(
            f"argument --scale: {path} does not say what its rows were multiplied by; give it, 0.00392156862745098 "
            "(1/255) for pixels as bytes, 1 for rows as they are"
        )
    return 1.0


def main(arguments: list[str] | None = None) -> None:
    """Load, write."""
    options = parse_arguments(arguments)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = fm.load_model(options.model, options.activation)
    for warning in caught:
        complain(f"export.py: {warning.message}; --activation names it")
    scale = scale_of(model, options.model) if options.scale is None else options.scale
    folder = options.model if options.model.is_dir() else options.model.parent
    output = options.output or folder / f"model{SUFFIXES[options.to]}"
    if output.exists() and output.suffix != SUFFIXES[options.to]:
        raise ValueError(
            f"argument --output: {output} is there, and no file of an earlier export to {options.to} by its name; "
            f"give one that ends in {SUFFIXES[options.to]}"
        )
    getattr(fm.export, options.to)(model, output, scale=scale)
    beside = f" and {output.with_suffix('.npz').name}, which goes with it" if options.to == "numpy" else ""
    print(f"wrote {from_here(output)}{beside}")


if __name__ == "__main__":
    run_script(main, fm.check.NotInstalledError)
