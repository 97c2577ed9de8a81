"""Train many configurations, rank them, and leave a page; called again with the same folder, it goes on.

    python scripts/sweep.py --try lr=1e-4:1e-1:log --try hidden=64/128,64 --trials 24 --halving 3 --jobs 2

Each --try is an argument of the model, the optimizer or the training: values between slashes, or low:high, with :log
where their logarithms are to be spread evenly.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `python scripts/sweep.py` runs the checkout it lies in

try:
    import fastmlp as fm
except ImportError as error:  # the compiler is switched off, or does not fit NumPy: the sentence says so
    print(f"{Path(__file__).name}: error: {error}", file=sys.stderr)
    sys.exit(2)
from fastmlp.commandline import (  # noqa: E402
    add_data_options,
    data_options,
    from_here,
    held_out,
    make_parser,
    run_script,
    threads,
    whole,
)
from fastmlp.data.doors import read_sets  # noqa: E402
from fastmlp.data.published import is_named  # noqa: E402
from fastmlp.scale.space import METHODS, Range  # noqa: E402
from fastmlp.training.history import NUMBERS  # noqa: E402


def value_of(text: str) -> Any:
    """A value as it is typed: a number, true or false, none, widths with commas, else a word."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    parts = [part for part in text.split(",") if part]
    return tuple(map(int, parts)) if "," in text and all(part.isdecimal() for part in parts) else text


def argument(text: str) -> tuple[str, Any]:
    """name=values."""
    name, sign, values = text.partition("=")
    parts = values.split(":")
    try:
        if not sign or not name.isidentifier() or not values:
            raise ValueError("it must be NAME=VALUE/VALUE or NAME=LOW:HIGH[:log]")
        if len(parts) > 1:
            low, high = (value_of(part) for part in parts[:2])
            if parts[2:] not in ([], ["log"]) or not all(isinstance(end, int | float) for end in (low, high)):
                raise ValueError("it must be NAME=LOW:HIGH or NAME=LOW:HIGH:log, of numbers")
            return name, Range(low, high, log=len(parts) > 2, whole=isinstance(low, int) and isinstance(high, int))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error
    found = [value_of(part) for part in values.split("/")]
    widths = name == "hidden"
    return name, [(value,) if widths and isinstance(value, int) else value for value in found]


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    try_help = "an argument to try, such as lr=1e-4:1e-1:log, hidden=64/128,64, optimizer=adam/sgd; may be repeated"
    add("--try", dest="space", type=argument, action="append", required=True, metavar="NAME=VALUES", help=try_help)
    add("--method", choices=METHODS, default="random", help="how configurations are drawn; a grid has all")
    add("--trials", type=whole(1), default=16, metavar="N", help="how many configurations, but for a grid")
    add("--epochs", type=whole(1), default=10, metavar="N", help="passes over the training rows, of a whole training")
    halving_help = "successive halving: one in N configurations goes on to N times as many epochs (default: none)"
    add("--halving", type=whole(2), default=None, metavar="N", help=halving_help)
    add("--min-epochs", type=whole(1), default=1, metavar="N", help="of the first rung of --halving")
    add("--folds", type=whole(1), default=1, metavar="K", help="train each K times, each time without one of K parts")
    add(
        "--validation", type=held_out, default=0.1, metavar="N", help="share or count of rows held out, without --folds"
    )
    add("--metric", choices=NUMBERS, default="validation_score", help="what configurations are ranked by")
    add(
        "--seed",
        type=whole(0),
        default=0,
        metavar="N",
        help="of what is drawn, of weights, orders and what is held out",
    )
    add("--jobs", type=whole(1), default=None, metavar="N", help="processes side by side (default: 1, or a cluster's)")
    add("--dask", default=None, metavar="ADDRESS", help="of a dask scheduler, whose workers see --out by the same path")
    add("--threads", type=threads, default="auto", metavar="N", help="of each training")
    add("--out", type=Path, default=Path("runs/sweep"), metavar="FOLDER", help="the folder of the sweep")
    add_data_options(parser, ROOT / "data" / "mnist", "default: 1/255 for bytes, 1 for all else", is_named)
    options = parser.parse_args(arguments)
    names = [name for name, _ in options.space]
    if twice := [name for name in names if names.count(name) > 1]:
        parser.error(f"argument --try: {twice[0]} is given twice; give all its values in one")
    return options


def main(arguments: list[str] | None = None) -> None:
    """Read, sweep, print, write the page."""
    options = parse_arguments(arguments)
    told = {"seed": options.seed, "validation": options.validation, "usual_validation": 0.0}
    train, _ = read_sets(options.data, **told, **data_options(options))
    held = train.validation if train.validation is not None and options.folds == 1 else options.validation
    with ExitStack() as stack:
        if options.dask is not None:
            stack.enter_context(cluster(options.dask))
        found = fm.scale.sweep(
            train, dict(options.space), options.out, options.method, options.trials, epochs=options.epochs,
            folds=options.folds, validation=held, metric=options.metric, halving=options.halving,
            min_epochs=options.min_epochs, seed=options.seed, n_jobs=options.jobs, n_threads=options.threads,
        )  # fmt: skip
    print(f"\n{found.report()}")
    print(f"\nwrote {from_here(found.page())}")
    _ = found.best  # where no trial has a score, that is an error: what the first of them said


def cluster(address: str) -> Any:
    """joblib's work goes to the workers of this scheduler within the block."""
    try:
        import joblib
        from distributed import Client
    except ImportError as error:
        raise fm.check.NotInstalledError(f"argument --dask: {error}; pip install 'fastmlp[dask]' brings it") from error
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise ValueError(f"argument --dask: {address} answers nothing: {fm.check.reason(error)}") from error
    print(f"{len(client.scheduler_info()['workers'])} workers at {address}", flush=True)
    return joblib.parallel_config("dask")


if __name__ == "__main__":
    run_script(main, fm.check.NotInstalledError)
