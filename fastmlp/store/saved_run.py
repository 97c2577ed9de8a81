"""A run folder that is read: the model, its history, its numbers, and what became of it."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import check
from ..nn import Sequential
from ..tensors import read_header
from ..training.history import NUMBERS, SCORE, Epoch, History
from .weights import load_model


@dataclass(frozen=True)
class SavedRun:
    """What is in a run folder: `model` has the weights and is in evaluation mode; metrics is None where the run did
    not come to its end.

    epoch, step  the weights are those after so many whole epochs, and so many steps of the next; None in older files
    status       as config.json says it; "running" and "evaluating" also of a run that was killed then
    process      the number of the process that is at work; None where none is
    """

    folder: Path
    config: dict[str, Any]
    model: Sequential
    history: History
    metrics: dict[str, Any] | None
    epoch: int | None = None
    step: int | None = None

    @property
    def status(self) -> str:
        """What became of the run."""
        return str(self.config.get("status", "unknown"))

    @property
    def process(self) -> int | None:
        """Who is at work."""
        number = self.config.get("process")
        return number if isinstance(number, int) else None


def read_run(folder: str | os.PathLike[str]) -> SavedRun:
    """Read a run folder: the model from config.json and model.safetensors, the history, the metrics.

    Errors: FileNotFoundError for a folder without one of those files (metrics.json may miss); ValueError for a file
    that cannot be read as what it should be, or where weights and configuration do not fit, as `load_model`.
    """
    place = check.path("read_run: folder", folder)
    for name in ("config.json", "history.csv", "model.safetensors"):
        if not (place / name).is_file():
            raise FileNotFoundError(
                f"read_run: {place} has no {name}; it must be the folder of a run of an epoch or more"
            )
    config = _read_json(place / "config.json")
    if "activation" not in config:
        raise ValueError(f"read_run: {place / 'config.json'} has no activation; it must describe the network")
    model = load_model(place)
    metrics = _read_json(place / "metrics.json") if (place / "metrics.json").is_file() else None
    history = _read_history(place / "history.csv")
    score, classes = config.get("score"), config.get("classes")
    if isinstance(score, dict) and score.keys() == set(SCORE):
        history = History(history.epochs, **score)
    elif all(math.isnan(epoch.train_accuracy) for epoch in history.epochs):  # another score, and nobody wrote which
        history = History(history.epochs, "score", True, None, "")
    history.classes = classes if isinstance(classes, int) else 0
    header = read_header(place / "model.safetensors")
    epoch, step = (int(text) if (text := header.get(name, "")).isdecimal() else None for name in ("epoch", "step"))
    return SavedRun(place, config, model, history, metrics, epoch, step)


def _read_history(path: Path) -> History:
    try:
        with path.open(newline="") as file:
            lines = csv.reader(file)
            places = {name: place for place, name in enumerate(next(lines, []))}
            epochs = [_epoch(line, places) for line in lines if line]
        if not epochs:
            raise ValueError("it has no epoch")
        return History(epochs)
    except (IndexError, KeyError, TypeError, ValueError, csv.Error) as error:
        why = f"it has no column {error}" if isinstance(error, KeyError) else check.reason(error)
        raise ValueError(f"read_run: {path} is no history: {why}") from error


def _epoch(line: list[str], places: Mapping[str, int]) -> Epoch:
    """The epoch of a line; columns of other names are passed over."""
    numbers: Any = {name: float(line[places[name]]) for name in NUMBERS}
    ran_on = line[places["ran_on"]] if places.get("ran_on", len(line)) < len(line) else ""  # older files lack it
    return Epoch(**numbers | {"epoch": int(line[places["epoch"]]), "ran_on": ran_on})


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"read_run: {path} is no JSON: {check.reason(error)}") from error
    if not isinstance(content, dict):
        raise ValueError(f"read_run: {path} holds a {type(content).__name__}; it must hold names and values")
    return content
