"""Small trainings of every kind, one after the other, and what a process holds between them: see `test_long`."""

import gc
import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import fastmlp as fm

ROWS, FEATURES, CLASSES = 120, 12, 3
ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu")
RULES = (fm.optim.SGD, fm.optim.Adam, fm.optim.AdamW, fm.optim.RMSprop)
NORMS = (None, "batch", "layer")
LOSSES = (fm.nn.CrossEntropyLoss, fm.nn.MSELoss, fm.nn.BCEWithLogitsLoss, fm.nn.L1Loss)
EXTRAS = (  # options of `fit`, made anew each time
    {},
    {"clip_norm": lambda: 1.0},
    {"average": lambda: "ema"},
    {"schedule": fm.optim.CosineAnnealingLR},
)


@dataclass(frozen=True)
class Held:
    """What a process holds: threads, open files, objects that Python's collector knows, MB that are resident."""

    threads: int
    handles: int
    objects: int
    resident: float

    @staticmethod
    def now() -> "Held":
        gc.collect()
        files, status = "/proc/self/fd", "/proc/self/status"
        handles = len(os.listdir(files)) - 1 if os.path.exists(files) else 0  # the one that lists them
        resident = 0.0
        if os.path.exists(status):
            with open(status) as lines:
                resident = next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
        return Held(threading.active_count(), handles, len(gc.get_objects()), resident)


def targets(loss: type, rng: np.random.Generator) -> np.ndarray:
    if loss is fm.nn.CrossEntropyLoss:
        return np.arange(ROWS) % CLASSES
    if loss is fm.nn.BCEWithLogitsLoss:
        return rng.integers(0, 2, (ROWS, CLASSES)).astype(bool)
    return rng.standard_normal((ROWS, CLASSES))


def training(number: int, folder: Path) -> None:
    """The training of this number: data, layers, loss, rule and extras follow from it. Then predict and evaluate.

    Each sixth is on the graph, each seventh on a memory map, each eighth ends with an exception, each ninth keeps
    checkpoints in the folder.
    """
    rng, loss = np.random.default_rng(number), LOSSES[number % len(LOSSES)]
    features = rng.standard_normal((ROWS, FEATURES)).astype(np.float32)
    if number % 7 == 0:
        np.save(folder / "x.npy", features)
        features = np.load(folder / "x.npy", mmap_mode="r")
    data = fm.Dataset(features, targets(loss, rng))
    fm.manual_seed(number)
    model: fm.nn.Module = fm.nn.MLP(
        FEATURES, (8 + number % 40,) * (1 + number % 2), CLASSES, ACTIVATIONS[number % 5 % 4], 0.2 * (number % 3 == 0),
        norm=NORMS[number % 7 % 3],
    )  # fmt: skip
    on_graph = number % 6 == 0
    if on_graph:
        model = Own(model)
    options = {name: make() for name, make in EXTRAS[number % 13 % 4].items()}
    if number % 9 == 0:
        options |= {"checkpoint": folder / f"run_{number}", "checkpoint_every": 3}
    callbacks = [fm.EarlyStopping(patience=3), *([fails] if number % 8 == 0 else [])]
    try:
        fm.fit(
            model, data, 0.2, RULES[number % 11 % 4](model.parameters(), lr=0.01), epochs=2, batch_size=16,
            seed=number, n_threads=1 + number % 3, progress=False, callbacks=callbacks, loss=loss(), **options,
        )  # fmt: skip
    except PlannedError:
        assert number % 8 == 0
    if not on_graph:
        fm.Predictor(model, n_threads=2)(data.features)
        fm.predict(model, features[0])
    fm.evaluate(model, data, loss=loss())
    if number % 9 == 0:
        shutil.rmtree(folder / f"run_{number}")


class PlannedError(Exception):
    """What `fails` raises."""


def fails(model: fm.nn.Module, history: fm.History) -> None:
    """A callback that ends the training."""
    raise PlannedError


class Own(fm.nn.Sequential):
    """A class of one's own around a net: it trains on the graph."""

    def __init__(self, net: fm.nn.Module) -> None:
        super().__init__(net)

    def forward(self, x: fm.Tensor) -> fm.Tensor:
        return super().forward(x)


def trainings(first: int, last: int, folder: Path) -> None:
    """Those of the numbers first .. last - 1."""
    for number in range(first, last):
        training(number, folder)


def growth(before: Held, after: Held, count: int) -> str:
    """In words."""
    return (
        f"{count:,} trainings: threads {before.threads} -> {after.threads}, handles {before.handles} -> "
        f"{after.handles}, objects {before.objects:,} -> {after.objects:,}, resident {before.resident:.1f} -> "
        f"{after.resident:.1f} MB ({1024 * (after.resident - before.resident) / count:+.1f} KB a training)"
    )
