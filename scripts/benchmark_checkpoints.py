"""What checkpoints cost: epochs of 784-128-64-10 on MNIST with and without them, in alternation in one process.

Prints, for each interval, seconds an epoch without and with, and the median of the ratios of neighbouring runs; then
what one checkpoint takes, and its size.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `python scripts/benchmark_checkpoints.py` runs the checkout it lies in

import fastmlp as fm  # noqa: E402
from fastmlp.commandline import make_parser, run_script, whole  # noqa: E402
from fastmlp.training.checkpoint import Checkpoints, files_of  # noqa: E402
from fastmlp.training.progress import say  # noqa: E402

INTERVALS = {"default": None, "epoch": "epoch"}


def seconds_an_epoch(train: fm.Dataset, epochs: int, folder: Path | None, every: Any) -> float:
    """Of a whole call of `fit`, which writes one more checkpoint at its end."""
    fm.manual_seed(0)
    model = fm.nn.MLP(784, (128, 64), 10)
    start = perf_counter()
    fm.fit(model, train, epochs=epochs, progress=False, checkpoint=folder, checkpoint_every=every if folder else None)
    return (perf_counter() - start) / epochs


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=whole(1), default=7, metavar="N", help="runs of each, in alternation")
    parser.add_argument("--epochs", type=whole(1), default=60, metavar="N", help="epochs of a run")
    options = parser.parse_args()
    train, _ = fm.data.mnist()
    taken: list[float] = []
    write = Checkpoints.write

    def timed(self: Checkpoints, *arguments: Any) -> None:
        start = perf_counter()
        write(self, *arguments)
        taken.append(perf_counter() - start)

    Checkpoints.write = timed  # type: ignore[method-assign, assignment]
    seconds_an_epoch(train, 2, None, None)  # compiles
    size = 0
    for name, every in INTERVALS.items():
        plain, kept = [], []
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as folder:
                plain.append(seconds_an_epoch(train, options.epochs, None, None))
                kept.append(seconds_an_epoch(train, options.epochs, Path(folder), every))
                size = files_of(Path(folder))[0].stat().st_size
        ratios = sorted(b / a for a, b in zip(plain, kept, strict=True))
        say(
            f"{name:8} an epoch takes {min(plain):.4f} s without, {min(kept):.4f} s with (best of {options.rounds}); "
            f"ratio {statistics.median(ratios):.4f}, from {ratios[0]:.4f} to {ratios[-1]:.4f}"
        )
    say(f"a checkpoint of {size / 1e6:.2f} MB takes {1000 * statistics.median(taken):.1f} ms, {len(taken)} written")


if __name__ == "__main__":
    run_script(main)
