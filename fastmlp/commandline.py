"""What a script's command line is made of: the parser, types of arguments, and how a run ends, from outside too."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from .check import reason
from .signals import Terminated, handlers

_EACH_TIME = ("resume", "open", "no_progress", "time_limit")
OF_A_CALL = (*_EACH_TIME, "lr_find")  # what a run does not have of its own
GO_ON_WITH = (*_EACH_TIME, "threads", "epochs")  # what may stand beside --resume

_SINGLE = (
    "task", "test", "prefix", "transpose", "target", "targets_file", "test_targets_file", "zero_based", "n_features",
    "sample_weight",
)  # fmt: skip
DATA_OPTIONS = {**dict.fromkeys(_SINGLE), **dict.fromkeys(("drop", "categorical", "missing"), ())}
TASKS = {"classification": "classes", "regression": "numbers", "multilabel": "labels"}


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; the usage is what --help is for."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with code 2."""
        self.exit(2, f"{self.prog}: error: {message}\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Help that cannot be written is an error.

        argparse, of Python 3.11.7, passes over it: seen where a text is longer than the buffer, or there is none.
        """
        if file is None or file is sys.stderr:
            super()._print_message(message, file)
        else:
            file.write(message)


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Adds to each option its default, unless the option's text names it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if "(default: " in (action.help or "") else super()._get_help_string(action)


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that says what is wrong in one line, and in --help adds each default that the text does not name."""
    return _Parser(description=description, formatter_class=_Help)


def told(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """An argument type: what `read` makes of a text; its ValueError has the words."""

    def parse(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse


def whole(least: int) -> Callable[[str], int]:
    """An argument type: a whole number of at least `least`."""

    def parse(text: str) -> int:
        if not text.strip().isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return int(text)

    return parse


def real(least: float, below: float = math.inf, above: bool = False) -> Callable[[str], float]:
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


def moment(text: str) -> str | int:
    """When something is done again: epoch, a number of steps, or seconds such as 30s."""
    if text == "epoch" or re.fullmatch(r"\d+(\.\d+)?\s*s", text):
        return text
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not epoch, a number of steps such as 500, or seconds as 30s")
    return int(text)


def place(text: str) -> Path:
    """A path: an empty one would be the folder that one is in."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty; it must be a path")
    return Path(text)


def rest(text: str) -> float | int | Path:
    """A fraction below 1, a whole number of rows, or the path of a file."""
    if not re.fullmatch(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?", text):
        return place(text)
    if not (value := held_out(text)):
        raise argparse.ArgumentTypeError(f"{text!r} sets no row aside")
    return value


def names(text: str) -> tuple[str, ...]:
    """The words of a list, with commas between them."""
    found = tuple(part.strip() for part in text.split(","))
    if not all(found):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of names such as age,colour")
    return found


def yes_or_no(text: str) -> bool:
    """The word yes or no."""
    if text not in ("yes", "no"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither yes nor no")
    return text == "yes"


def add_data_options(
    parser: argparse.ArgumentParser, default: Path, scale: str, is_named: Callable[[str], bool]
) -> None:
    """What says which data there are, and how they are read.

    scale: the default, in words. is_named: whether a text is the name of a published set.
    """
    add = parser.add_argument
    data = (
        "folder of IDX files, .npz, table (.csv, .tsv, .parquet) or text of SVMlight's format; or, where no file has "
        "that name, fashion_mnist, kmnist or emnist:SPLIT, which are fetched once (default: data/mnist)"
    )
    add(
        "--data",
        type=lambda text: text if is_named(text) and not os.path.lexists(text) else place(text),
        default=default,
        metavar="PATH",
        help=data,
    )
    add(
        "--scale",
        type=real(0, above=True),
        default=None,
        metavar="X",
        help=f"what features are multiplied by ({scale})",
    )
    add("--task", choices=TASKS, default=None, help="what the targets are (default: as their type says)")
    given = "none, it must be given there"
    known = "default: that of a model that was trained on one; else it must be given"
    for option, kind, metavar, what in (
        ("--test", rest, "X", "test set, where --data is one set: a file like it, a fraction or a number of rows"),
        ("--prefix", str, "WORD", "of a folder with several sets: how the names of one begin, as emnist-letters"),
        ("--transpose", yes_or_no, "yes|no", "whether images are turned over: EMNIST's files have them on their side"),
        ("--zero-based", yes_or_no, "yes|no", f"of SVMlight's format: whether indices begin at 0 (default: {given})"),
        ("--n-features", whole(1), "N", f"of SVMlight's format: how many columns there are (default: {given})"),
        ("--target", names, "COLUMN", f"of a table: the column that is to be predicted, or several ({known})"),
        ("--drop", names, "A,B", "of a table: columns that are left out"),
        ("--categorical", names, "A,B", "of a table: columns of numbers that are categories, as texts are"),
        ("--missing", names, "X,Y", "of a CSV: what stands for nothing, beside nothing, NA, N/A, #N/A, NaN and null"),
        ("--sample-weight", str, "COLUMN", "of a table: the column that says how much each row counts"),
        ("--targets-file", place, "FILE.npy", f"of a .npz of sparse rows: its targets (default: {given})"),
        ("--test-targets-file", place, "FILE.npy", f"of a .npz of sparse rows: those of --test (default: {given})"),
    ):
        usual = DATA_OPTIONS[option[2:].replace("-", "_")]
        what += "" if "default: " in what else " (default: none)"
        add(option, type=kind, default=usual, metavar=metavar, help=what)


def data_options(options: argparse.Namespace) -> dict[str, Any]:
    """The options of `add_data_options` by the names that `fastmlp.data.doors.read_sets` has for them."""
    found = {name: getattr(options, name) for name in DATA_OPTIONS if name != "task"}
    return found | {"scale": options.scale, "kind": TASKS.get(options.task)}


def from_here(path: Path) -> Path:
    """The path as a person in this folder writes it."""
    path = path.absolute()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def threads(text: str) -> int | str:
    """A whole number, or auto."""
    return "auto" if text == "auto" else whole(1)(text)


def word(text: str) -> str:
    """A part of a file name: letters, digits and a few signs, so that it means the same in every shell."""
    if not text or len(text) > 100 or text[0] == "." or not all(c.isalnum() or c in "-_.,+=" for c in text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name of at most 100 letters, digits and -_.,+=")
    return text


MPI_OPTIONS = {"mpi": False, "blocks": 8, "local_steps": 1}


def add_mpi_options(parser: argparse.ArgumentParser) -> None:
    """How a training is shared out among the ranks of mpiexec."""
    add = parser.add_argument
    mpi_help = "share the training out among the ranks of MPI: mpiexec -n 2 python scripts/train.py --mpi"
    add("--mpi", action="store_true", help=mpi_help)
    blocks_help = "with --mpi: blocks of rows that a batch is cut into, as many as ranks at least (default: 8)"
    add("--blocks", type=whole(1), default=None, metavar="N", help=blocks_help)
    local_help = "with --mpi: steps that each rank makes alone before weights are averaged (default: 1, none alone)"
    add("--local-steps", type=whole(1), default=None, metavar="K", help=local_help)


def fill_mpi_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Their defaults; refused without --mpi."""
    if options.mpi and options.lr_find:
        parser.error("argument --lr-find: it tries rates in one process; give it without --mpi")
    for name in ("blocks", "local_steps"):
        if getattr(options, name) is None:
            setattr(options, name, MPI_OPTIONS[name])
        elif not options.mpi:
            parser.error(f"argument --{name.replace('_', '-')}: the training is of one process; it goes with --mpi")


def options_of_run(
    parser: argparse.ArgumentParser, arguments: list[str] | None, options: argparse.Namespace
) -> argparse.Namespace:
    """The options of the run that --resume names, from its config.json, with those of GO_ON_WITH that are given."""
    left_out = object()
    given = parser.parse_args(arguments, argparse.Namespace(**dict.fromkeys(vars(options), left_out)))
    for name in [name for name, value in vars(given).items() if value is not left_out and name not in GO_ON_WITH]:
        parser.error(
            f"argument --{name.replace('_', '-')}: the run of --resume has its own; beside it may stand --threads, "
            "--epochs, --time-limit, --open and --no-progress"
        )
    file = options.resume / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        config = DATA_OPTIONS | MPI_OPTIONS | {"calibrate": False} | config  # older runs have fewer
        was = {name: config[name] for name in vars(options) if name not in OF_A_CALL}
        named = isinstance(was["data"], str) and not Path(was["data"]).is_absolute()  # paths are whole in a config.json
        paths = (*(() if named else ("data",)), "tensorboard", "out", "targets_file", "test_targets_file")
        for name, kind in (*((name, Path) for name in paths), ("hidden", tuple)):
            was[name] = None if was[name] is None else kind(was[name])
        lists = ("target", "drop", "categorical", "missing")
        was |= {name: tuple(was[name]) for name in lists if was[name] is not None}
    except (FileNotFoundError, NotADirectoryError):
        what = "is a file" if options.resume.is_file() else "has no config.json"
        parser.error(f"argument --resume: {options.resume} {what}; it must be the folder of a run")
    except OSError as error:
        parser.error(f"argument --resume: {file} cannot be read ({error.strerror})")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        why = {KeyError: f"it has no {error}", TypeError: "a value in it is of another type"}.get(type(error))
        parser.error(f"argument --resume: {file} is not that of a run of train.py: {why or reason(error)}")
    own = {name: getattr(options, name) for name in OF_A_CALL}
    own |= {name: getattr(given, name) for name in ("threads", "epochs") if getattr(given, name) is not left_out}
    return argparse.Namespace(**was | own)


@contextmanager
def terminable() -> Iterator[list[int]]:
    """Within this, SIGTERM and SIGHUP raise `Terminated` in the main thread, and signals are listed.

    One is lost where Python ignores exceptions, in a `__del__`: who ends well looks at the list. In another thread this
    changes nothing.
    """
    noted: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        raise Terminated(number) if number != signal.SIGINT else KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = handlers()
    try:
        for number in before:
            signal.signal(number, end)
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def complain(line: str) -> None:
    """Print a line on the standard error, if there is somebody to print it for."""
    with suppress(OSError, ValueError):
        if sys.stderr is not None:
            print(line, file=sys.stderr, flush=True)


def run_script(main: Callable[[], object], *errors: type[Exception]) -> None:
    """Run `main`; what a user can cause gets one line on stderr and an exit code.

    2 for ValueError, OSError, MemoryError and `errors`; 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP. A warning is a
    line too. Where the reader of the output has gone (`evaluate.py | head`), the script ends without a word, and with
    141 as if SIGPIPE had ended it.
    """
    name, code = Path(sys.argv[0]).name, 0
    expected: tuple[type[Exception], ...] = (ValueError, OSError, MemoryError, *errors)
    try:
        try:
            with terminable() as noted, warnings.catch_warnings():
                warnings.showwarning = lambda message, *_: complain(f"{name}: {message}")
                main()
                if noted:
                    raise Terminated(noted[0]) if noted[0] != signal.SIGINT else KeyboardInterrupt
        finally:
            if sys.stdout is not None and not sys.stdout.closed:
                sys.stdout.flush()  # here a pipe without a reader is an exception; at the interpreter's end, a message
    except BrokenPipeError:
        code = 141
    except expected as error:
        complain(f"{name}: error: {error}")
        code = 2
    except KeyboardInterrupt as interrupt:
        complain(f"{name}: interrupted")
        code = 128 + (interrupt.number if isinstance(interrupt, Terminated) else signal.SIGINT)
    if code:
        for stream in (sys.stdout, sys.stderr):
            _let_go(stream)
        sys.exit(code)


def _let_go(stream: Any) -> None:
    """Where a stream cannot be written, lead what it holds to nowhere: the interpreter tries it again at its end."""
    try:
        stream.flush()
    except (OSError, ValueError, AttributeError):
        with suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
