"""The rooms of the package, from the bottom up: what is in each, and what it may import.

`ROOMS` is the one place that says so. `tests/test_imports.py` holds every file of the package to it; this script writes
it into CONTRIBUTING.md, as a table and a picture.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `python scripts/rooms.py` runs the checkout it lies in

from fastmlp.commandline import make_parser, run_script  # noqa: E402
from fastmlp.files import write  # noqa: E402

CONTRIBUTING = ROOT / "CONTRIBUTING.md"
START, END = "<!-- rooms: written by scripts/rooms.py -->\n", "<!-- /rooms -->"


class Room(NamedTuple):
    """A folder or a file of the package."""

    what: str  # what is in it, in a line
    imports: str = ""  # the rooms that it may import; each stands before it
    outside: str = ""  # the packages that it may import beside NumPy
    called: str = ""  # those that only a function may import, when it is called


# A new room gets a row; a row that must grow is a decision about the design.
ROOMS = {
    "version": Room("which fastmlp this is"),
    "check": Room("sentences for arguments out of range"),
    "machine": Room("how many cores and how much memory there is, and the sentence where memory does not suffice"),
    "files": Room("a file written in one piece; numbers as JSON has them", "check"),
    "tensors": Room(
        "safetensors files: arrays by name behind a header of texts", "check machine", called="safetensors"
    ),
    "signals": Room("Ctrl-C and its kin, noted by a handler and acted on where everything is of one whole step"),
    "words": Room("names that come from data, as people read them: on one line, cut where they are long"),
    "kernels": Room("all compiled code; each forward directly above its backward", outside="numba llvmlite"),
    "data": Room(
        "IDX files, `.npz`, arrays, frames, pictures and published sets become rows",
        "check machine files kernels",
        outside="idx2numpy",
        called="PIL pandas polars pooch pyarrow requests tqdm",
    ),
    "graph": Room(
        "`Tensor`, `Parameter`, `Node`, `backward()`, hooks, arithmetic, and what operations share", "check kernels"
    ),
    "nn": Room(
        "layers and losses, a file a family: node, operation, module and declaration together; `LAYERS`, `LOSSES`",
        "check kernels graph",
    ),
    "ops": Room("a face: the operations of `nn`, by their names", "graph nn"),
    "optim": Room("rules and schedules; `RULES`, `SCHEDULES`", "check kernels graph"),
    "running": Room(
        "the one door to train and to ask a model, on the engine or on the graph; plans, threads, predictions",
        "check machine kernels data graph nn optim",
    ),
    "training": Room(
        "`fit`, `evaluate`, what they measured, and the callbacks that look on",
        "version check machine files tensors signals words kernels data graph nn optim running",
        called="tqdm tensorboardX IPython",
    ),
    "show": Room(
        "for people: the graph in words and as a picture, plots, the report, the gradient check; what a function draws "
        "comes to it as an argument",
        "check files words graph nn ops",
        called="matplotlib",
    ),
    "store": Room(
        "weights in files and back, exports, the run folder, and trainings that go on",
        "version check files tensors words data nn optim training show",
        called="onnx",
    ),
    "studies": Room(
        "one module a question: measure, conclude in words, table, figures; nothing imports it",
        "check files data graph nn ops optim running training show",
        called="matplotlib",
    ),
    "sklearn": Room(
        "scikit-learn's estimators on `fit`, loaded when it is used",
        "check data graph nn optim running training",
        outside="sklearn",
        called="scipy",
    ),
    "scale": Room(
        "beyond one training and one machine: sweeps, and one training by MPI, the tree that adds gradients, messages",
        "check machine files kernels data graph nn optim running training show store",
        called="joblib scipy mpi4py",
    ),
    "exchange": Room(
        "models of PyTorch and scikit-learn become fastmlp's, and fastmlp's theirs",
        "check graph nn store sklearn",
        called="torch sklearn",
    ),
    "commandline": Room("what the scripts' command lines share", "check signals"),
}


def table() -> str:
    """A row a room, from the bottom up."""
    lines = ["| room | what is in it | may import |", "|---|---|---|"]
    for name, room in ROOMS.items():
        lines.append(f"| `{name}` | {room.what} | {', '.join(room.imports.split()) or 'no other room'} |")
    return "\n".join(lines)


def arrows() -> list[tuple[str, str]]:
    """(room, room that it may import), less those that follow: a to c where a may import b, and b, step by step, c."""
    below: dict[str, set[str]] = {}
    found = []
    for name, room in ROOMS.items():  # what a room may import stands before it
        own = room.imports.split()
        implied = set().union(*(below[other] for other in own))
        below[name] = implied.union(own)
        found += [(name, other) for other in own if other not in implied]
    return found


def picture() -> str:
    """The rooms as Mermaid draws them, an arrow from a room to what it may import; the last in the table on top."""
    lines = ["```mermaid", "flowchart TD"]
    lines += [f'    {name}_["{name}"]' for name in reversed(ROOMS)]  # `graph` alone is a word of Mermaid's own
    lines += [f"    {name}_ --> {other}_" for name, other in reversed(arrows())]
    return "\n".join([*lines, "```"])


def rendered(text: str) -> str:
    """The text with table and picture between its two markers. Error: ValueError where they are not there, once."""
    if text.count(START) != 1 or text.count(END) != 1 or text.index(START) > text.index(END):
        raise ValueError(f"{CONTRIBUTING.name} must have {START.strip()} and {END} once, in this order")
    head, _, rest = text.partition(START)
    return f"{head}{START}\n{table()}\n\n{picture()}\n\n{END}{rest.partition(END)[2]}"


def main(arguments: list[str] | None = None) -> None:
    """Write CONTRIBUTING.md anew."""
    make_parser((__doc__ or "").partition("\n")[0]).parse_args(arguments)
    write(CONTRIBUTING, rendered(CONTRIBUTING.read_text("utf-8")))


if __name__ == "__main__":
    run_script(main)
