"""Train a multi-layer perceptron on MNIST, or on a data set of your own.

Prints a table row an epoch and the test accuracy, and leaves a run folder: the loss curve, the weights, the history
and the configuration.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `python scripts/train.py` runs the checkout it lies in

import fastmlp as fm  # noqa: E402

OPTIMIZERS = {"sgd": fm.optim.SGD, "adam": fm.optim.Adam, "adamw": fm.optim.AdamW}


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; the usage is what --help is for."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with code 2."""
        self.exit(2, f"{self.prog}: error: {message}\n")


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Adds to each option its default, unless the option's text names it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if "(default: " in (action.help or "") else super()._get_help_string(action)


def whole(least: int):  # type: ignore[no-untyped-def]
    """An argument type: a whole number of at least `least`."""

    def parse(text: str) -> int:
        if not text.strip().isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return int(text)

    return parse


def real(least: float, below: float = math.inf, above: bool = False):  # type: ignore[no-untyped-def]
    """An argument type: a number in [least, below), or in (least, below) with `above`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (least < value if above else least <= value) or not value < below:
            bounds = f"{'above' if above else 'of at least'} {least:g}"
            bounds += f" and below {below:g}" if below < math.inf else ""
            raise argparse.ArgumentTypeError(f"{text!r} is not a number {bounds}")
        return value

    return parse


def widths(text: str) -> tuple[int, ...]:
    """Widths from a text: "128,64" is (128, 64), an empty text is no hidden layer."""
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of widths such as 128,64")
    return tuple(int(part) for part in parts)


def held_out(text: str) -> float | int:
    """A fraction below 1, or a whole number of rows."""
    value = real(0)(text)
    if value >= 1 and value != int(value):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a fraction below 1 nor a whole number of rows")
    return int(value) if value >= 1 else value


def threads(text: str) -> int | str:
    """A whole number, or auto."""
    return "auto" if text == "auto" else whole(1)(text)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = Parser(description=__doc__, formatter_class=Help)
    add = parser.add_argument
    add("--hidden", type=widths, default="128,64", metavar="W,W,...", help="widths of the hidden layers")
    add("--epochs", type=whole(1), default=10, metavar="N", help="passes over the training set")
    add("--batch-size", type=whole(1), default=64, metavar="N", help="rows a step")
    add("--lr", type=real(0, above=True), default=None, metavar="X", help="learning rate (default: 1e-3; sgd: 0.1)")
    add("--optimizer", choices=OPTIMIZERS, default="adam", help="update rule")
    add("--momentum", type=real(0, 1), default=0.0, metavar="X", help="momentum of sgd")
    add("--weight-decay", type=real(0), default=None, metavar="X", help="weight decay (default: 0; adamw: 0.01)")
    add("--dropout", type=real(0, 1), default=0.0, metavar="P", help="probability to drop a hidden value")
    add("--batch-norm", action="store_true", help="normalise each hidden layer before its activation")
    add("--activation", choices=fm.nn.ACTIVATIONS, default="relu", help="activation of the hidden layers")
    add("--data", type=Path, default=ROOT / "data" / "mnist", metavar="PATH", help="folder of IDX files, or a .npz")
    held_out_help = "held out of the training set and evaluated after each epoch: a fraction, or a number of rows"
    add("--validation", type=held_out, default=0.0, metavar="X", help=held_out_help)
    add("--seed", type=whole(0), default=0, metavar="N", help="seed of weights, order and dropout")
    add("--threads", type=threads, default="auto", metavar="N", help="most threads to use; auto: all cores")
    add("--out", type=Path, default=None, metavar="DIR", help="run folder (default: runs/<date>-<time>)")
    add("--no-progress", action="store_true", help="no progress bar; the table is printed all the same")
    options = parser.parse_args(arguments)
    if options.momentum and options.optimizer != "sgd":
        parser.error(f"argument --momentum: {options.optimizer} has none; it goes with --optimizer sgd")
    options.lr = options.lr if options.lr is not None else (0.1 if options.optimizer == "sgd" else 1e-3)
    if options.weight_decay is None:
        options.weight_decay = 0.01 if options.optimizer == "adamw" else 0.0
    return options


def run_folder(out: Path | None) -> Path:
    """Make the run folder. Error: ValueError where it exists and is not empty, so that nothing is overwritten."""
    folder = out or ROOT / "runs" / datetime.now().strftime("%Y-%m-%d-%H%M%S")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"--out: {folder} exists and is not an empty folder; name a new one")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def make_optimizer(options: argparse.Namespace, model: fm.nn.Module) -> fm.optim.Optimizer:
    """The optimizer that the options name."""
    momentum = {"momentum": options.momentum} if options.optimizer == "sgd" else {}
    kind = OPTIMIZERS[options.optimizer]
    return kind(model.parameters(), lr=options.lr, weight_decay=options.weight_decay, **momentum)


def write_run(
    folder: Path, options: argparse.Namespace, model: fm.nn.Module, history: fm.History, test: object
) -> None:
    """Leave the run's files in its folder."""
    try:
        own_version = version("fastmlp")
    except PackageNotFoundError:
        own_version = "source"
    config = {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()}
    config |= {"fastmlp": own_version, "python": platform.python_version(), "machine": platform.platform()}
    if isinstance(test, fm.Evaluation):
        finite = math.isfinite(test.loss)  # JSON has no NaN
        config |= {"test_accuracy": test.accuracy, "test_loss": test.loss if finite else None}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    history.to_csv(folder / "history.csv")
    fm.save(model, folder / "model.safetensors")
    fm.plots.loss_curve(history).savefig(folder / "loss.png")


def main(arguments: list[str] | None = None) -> None:
    """Train, evaluate, write."""
    options = parse_arguments(arguments)
    fm.manual_seed(options.seed)
    train, test = fm.data.load(options.data)
    folder = run_folder(options.out)
    model = fm.nn.MLP(
        train.n_features, options.hidden, train.classes, options.activation, options.dropout, options.batch_norm
    )
    sizes = "-".join(str(n) for n in (train.n_features, *options.hidden, train.classes))
    print(f"{sizes} on {options.data.name}: {len(train):,} training rows, {options.optimizer}, lr {options.lr:g}")
    history, code = fm.History(), 0
    try:
        fit(options, model, train, history)
    except KeyboardInterrupt:
        if not len(history):
            raise
        print(
            f"train.py: interrupted after {len(history)} epochs; the weights are those of the last step",
            file=sys.stderr,
        )
        code = 130
    finally:
        if not len(history):
            folder.rmdir()  # nothing to leave in it
    result = fm.evaluate(model, test) if test is not None else None
    if result is not None:
        print(f"test accuracy {100 * result.accuracy:.2f} % ({result.rows:,} rows), loss {result.loss:.4f}")
    write_run(folder, options, model, history, result)
    shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    print(f"wrote {shown}/: loss.png, model.safetensors, history.csv, config.json")
    if not math.isfinite(history[-1].train_loss):
        code = 1  # diverged
    if code:
        sys.exit(code)


def fit(options: argparse.Namespace, model: fm.nn.Module, train: fm.Dataset, history: fm.History) -> None:
    """Train as the options say; `history` has the epochs that are done also where Ctrl-C ends it."""

    def keep(model: fm.nn.Module, so_far: fm.History) -> None:
        history.epochs = so_far.epochs

    fm.fit(
        model,
        train,
        validation=options.validation,
        optimizer=make_optimizer(options, model),
        epochs=options.epochs,
        batch_size=options.batch_size,
        seed=options.seed,
        n_threads=options.threads,
        progress="table" if options.no_progress else True,
        callbacks=[keep],
    )


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, MemoryError) as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("train.py: interrupted", file=sys.stderr)
        sys.exit(130)
