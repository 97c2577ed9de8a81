"""Answer a question with measurements: a table, two or three sentences, figures.

optimizers: what differs between SGD and Adam; dropout: why it is an average of thinned nets; batchnorm: what it keeps
in place; overfitting: when it begins and what helps; gradients: where they vanish or explode, and how they are
checked; known: results from the literature, repeated; losses: what the outputs become under each, for which target;
activations: their slopes, and what follows from them.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from datetime import datetime
from pathlib import Path
from textwrap import fill
from time import perf_counter

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `python scripts/study.py` runs the checkout it lies in

try:
    from fastmlp import studies
except ImportError as error:  # the compiler is switched off, or does not fit NumPy: the sentence says so
    print(f"{Path(__file__).name}: error: {error}", file=sys.stderr)
    sys.exit(2)
from fastmlp.commandline import complain, from_here, make_parser, run_script, whole  # noqa: E402
from fastmlp.kernels import announce_compiling  # noqa: E402

WIDTH = 100


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("name", choices=studies.NAMES, metavar="NAME", help=f"one of {', '.join(studies.NAMES)}")
    add("--seed", type=whole(0), default=0, metavar="N", help="seed of weights, order of rows and all else drawn")
    out_help = "folder for the figures and numbers.json (default: runs/<date>-study-<name>)"
    add("--out", type=Path, default=None, metavar="DIR", help=out_help)
    add("--dark", action="store_true", help="figures for a dark page")
    add("--full", action="store_true", help="the long form, minutes, of a study that has one")
    return parser.parse_args(arguments)


def make_folder(out: Path | None, name: str) -> Path:
    """The folder, made where it is missing; an older study's files in it are replaced."""
    folder = out or ROOT / "runs" / f"{datetime.now():%Y-%m-%d-%H%M%S}-study-{name}"
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"argument --out: {folder} is a file; it must be a folder, new or old")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write(study: studies.Study, folder: Path, seed: int) -> list[str]:
    """Each figure as PNG, and numbers.json; returns the names."""
    for stem, figure in study.figures.items():
        figure.savefig(folder / f"{stem}.png")
    text = json.dumps({"seed": seed, **study.to_dict()}, indent=2, allow_nan=False, ensure_ascii=False)
    (folder / "numbers.json").write_text(text + "\n", encoding="utf-8")
    return [*(f"{stem}.png" for stem in study.figures), "numbers.json"]


def main(arguments: list[str] | None = None) -> None:
    """Run the study, print it, write its files."""
    options = parse_arguments(arguments)
    logging.basicConfig(format="%(message)s")  # to stderr
    logging.getLogger("fastmlp").setLevel(logging.INFO)  # what a long study has found so far
    own = options.out is not None and options.out.is_dir()
    folder = make_folder(options.out, options.name)
    start = perf_counter()
    try:
        with announce_compiling(complain):
            study = studies.run(options.name, options.seed, options.dark, options.full)
        print(f"{study.title}\n\n{study.table}\n")
        for sentence in study.conclusions:
            print(fill(sentence, WIDTH, initial_indent="- ", subsequent_indent="  "))
        names = write(study, folder, options.seed)
    finally:
        if not own and not any(folder.iterdir()):
            folder.rmdir()  # nothing came of it
    print(f"\nwrote {from_here(folder)}/: {', '.join(names)} ({perf_counter() - start:.1f} s)")


if __name__ == "__main__":
    run_script(main)
