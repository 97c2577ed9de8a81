"""What a model answers for all rows of a data set, kept batch by batch and judged by the kind of its targets."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data import Dataset
from ..graph import Array
from ..machine import check_memory
from ..nn import Loss, Module
from ..running.meaning import said_numbers
from .evaluation import Evaluation
from .losses import usual_loss as usual_loss
from .metrics import softmax
from .multilabel import MultilabelEvaluation
from .regression import RegressionEvaluation


class Answers:
    """The answers of a model to `data`: `keep` each batch of outputs, then `judged` is the evaluation."""

    def __init__(self, model: Module, data: Dataset, loss: Loss, classes_: Array | None = None) -> None:
        self.model, self.data, self.loss, self.classes_ = model, data, loss, classes_
        self.temperature = model.temperature_
        self.kept: Array = np.empty((0, 0))
        self.predicted: Array = np.empty(0)

    def keep(self, first: int, z: Array) -> None:
        """The outputs z of the rows from `first` on. Error: MemoryError where those of all rows have no room."""
        kind = self.data.kind
        z = said_numbers(self.model, self.loss, z) if kind == "numbers" else z
        rows, columns = z.shape
        if first == 0:
            what = {"numbers": "numbers", "labels": "labels"}.get(kind, "classes")
            kept = "predictions" if kind == "numbers" else "probabilities"
            what = f"evaluate: the {kept} of {len(self.data):,} rows and {columns:,} {what}"
            check_memory(what, len(self.data) * columns * z.dtype.itemsize, "evaluate a part of the rows, data[:n]")
            self.kept = np.empty((len(self.data), columns), z.dtype)
            shape = (len(self.data), columns) if kind == "labels" else len(self.data)
            self.predicted = np.empty(shape, bool if kind == "labels" else np.int64)
        part = slice(first, first + rows)
        if kind == "numbers":
            self.kept[part] = z
            return
        self.kept[part] = probabilities(z, kind, self.temperature)
        self.predicted[part] = z > 0 if kind == "labels" else z.argmax(axis=1)

    def judged(self, loss: float, score: float) -> Any:
        """The evaluation, of the kind of the targets; loss and score are those of all rows."""
        data, name = self.data, type(self.loss).__name__
        names, weights = getattr(data, "target_names", None), getattr(data, "sample_weight", None)
        if data.kind == "numbers":
            scaled = self.model.encoding_ is not None and self.model.encoding_.scales_targets
            return RegressionEvaluation(
                loss, data.targets, self.kept, names, weights, name, self.loss.score.name, score, scaled
            )
        if data.kind == "labels":
            return MultilabelEvaluation(loss, data.targets, self.kept, self.predicted, names, weights, name)
        labels = data.targets if data.kind == "classes" else data.targets.argmax(axis=1)
        if data.kind == "probabilities" and self.classes_ is None and names:
            self.classes_ = np.array(names)
        return Evaluation(loss, score, len(data), labels, self.kept, self.predicted, self.classes_, weights, name)


def probabilities(logits: Array, kind: str, temperature: float = 1.0) -> Array:
    """(N, C) of logits z / temperature: the softmax of each row, or 1 / (1 + e⁻ᶻ) where the kind is "labels"."""
    z = logits if temperature == 1 else logits / logits.dtype.type(temperature)
    return sigmoid(z) if kind == "labels" else softmax(z)


def sigmoid(logits: Array) -> Array:
    """p = 1 / (1 + e⁻ᶻ), of the same type; never NaN where z is a number."""
    with np.errstate(over="ignore"):  # e⁻ᶻ that is infinite gives 0, and is meant to
        return 1 / (1 + np.exp(-logits))
