"""`Evaluation`: what a model predicts for rows of classes, and how well."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .. import check, words
from ..files import for_json
from .metrics import (
    Array,
    Reliability,
    Scores,
    calibration_error,
    checked_weights,
    class_scores,
    classes_of_rows,
    confusion_counts,
    confusion_matrix,
    labels_of_rows,
    reliability_bins,
    top_k_accuracy_score,
)
from .tables import evaluation_report

MOST_DENSE = 1000  # classes whose confusion matrix, a million counts, still goes into JSON


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model predicts for N rows, and how well. `print(evaluation)` is a table, `to_dict()` goes into JSON.

    loss           the loss over the rows: mean cross-entropy, in nats, where no other was asked for
    accuracy       fraction of rows whose largest logit is the label's
    rows           N
    labels         (N,) the true classes, int64
    probabilities  (N, C) softmax of the logits, in the model's type: N · C numbers are kept
    predicted      (N,) the class of the largest logit; the largest probability's where it is not given
    classes_       the value of each class, such as its name; None where classes are the numbers 0 .. C - 1
    sample_weight  (N,) how often each row counts in the loss, the accuracies and the scores; None: once. The confusion
                   matrix and the calibration count rows
    loss_name      the loss's class, for tables

    All else is computed when it is first asked for, and kept. Two evaluations are equal when these nine are.
    Error: ValueError for shapes that do not fit.
    """

    kind = "classes"

    loss: float
    accuracy: float
    rows: int
    labels: Array = field(repr=False)
    probabilities: Array = field(repr=False)
    predicted: Array = field(default=None, repr=False)  # type: ignore[arg-type]  # an array after __post_init__
    classes_: Array | None = field(default=None, repr=False)
    sample_weight: Array | None = field(default=None, repr=False)
    loss_name: str = field(default="CrossEntropyLoss", repr=False)

    def __post_init__(self) -> None:
        for name in ("labels", "probabilities"):
            object.__setattr__(self, name, check.array(f"Evaluation: {name}", getattr(self, name)))
        labels_of_rows("Evaluation", self.labels, self.probabilities)
        if self.predicted is None:
            object.__setattr__(self, "predicted", self.probabilities.argmax(axis=1))
        classes_of_rows("Evaluation", self.labels, self.predicted, self.classes)
        if self.rows != len(self.labels):
            raise ValueError(f"Evaluation: rows is {self.rows}; it must be {len(self.labels)}, the labels' length")
        object.__setattr__(self, "sample_weight", checked_weights("Evaluation", self.sample_weight, self.rows))
        if self.classes_ is not None:
            values = check.array("Evaluation: classes_", self.classes_, "an array of class values")
            if values.ndim != 1 or not 1 <= len(values) <= self.classes:
                raise ValueError(
                    f"Evaluation: classes_ is {values.shape}; it must be at most ({self.classes},), a value a class"
                )
            object.__setattr__(self, "classes_", values)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Evaluation):
            return NotImplemented
        pairs: list[tuple[Any, Any]] = [
            ((self.rows, self.loss, self.accuracy), (other.rows, other.loss, other.accuracy)),
            (self.labels, other.labels),
            (self.predicted, other.predicted),
            (self.probabilities, other.probabilities),
        ]
        if (self.names, self.loss_name) != (other.names, other.loss_name):
            return False
        pairs.append((np.asarray(self.sample_weight, float), np.asarray(other.sample_weight, float)))  # None is NaN
        return all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)

    __hash__ = None  # type: ignore[assignment]  # it holds arrays

    @property
    def classes(self) -> int:
        """C, the number of classes that the model tells apart."""
        return self.probabilities.shape[1]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each class on one line, C of them: its value, or its number where it has none."""
        return words.names([] if self.classes_ is None else self.classes_.tolist(), self.classes)

    @cached_property
    def confidence(self) -> Array:
        """(N,) the probability of the predicted class, NaN in a row with NaN logits."""
        return np.take_along_axis(self.probabilities, self.predicted[:, None], axis=1)[:, 0]

    @cached_property
    def confusion(self) -> Array:
        """(C, C) int64: rows true classes, columns predicted ones; see `confusion_matrix`.

        Nothing else here asks for it, as it grows with C²: `confusion_counts` grows with the rows.
        """
        return confusion_matrix(self.labels, self.predicted, self.classes)

    @cached_property
    def confusion_counts(self) -> Array:
        """(K, 3): true class, predicted class and rows of each entry of `confusion` that is not 0."""
        return confusion_counts(self.labels, self.predicted)

    @cached_property
    def scores(self) -> Scores:
        """Precision, recall, F1 and support, each (C,); see `precision_recall_fscore_support`."""
        return class_scores(self.labels, self.predicted, self.classes, self.sample_weight)

    @cached_property
    def occurs(self) -> Array:
        """(C,) whether a class is one row's label or prediction at least."""
        found = np.zeros(self.classes, bool)
        found[self.labels] = found[self.predicted] = True
        return found

    @property
    def precision(self) -> Array:
        """(C,) of the rows predicted as the class, the fraction that is of it; 0 where there are none."""
        return self.scores.precision

    @property
    def recall(self) -> Array:
        """(C,) of the class's rows, the fraction that is predicted as it; 0 where there are none."""
        return self.scores.recall

    @property
    def f1(self) -> Array:
        """(C,) the harmonic mean of precision and recall; 0 where both are."""
        return self.scores.f1

    @property
    def support(self) -> Array:
        """(C,) int64: how many rows are of the class; with weights of rows, their sum, float64."""
        return self.scores.support

    @cached_property
    def macro(self) -> Scores:
        """The plain mean over the classes that occur as a label or as a prediction, as scikit-learn's report has it."""
        return self._mean(self.occurs / np.count_nonzero(self.occurs))

    @cached_property
    def weighted(self) -> Scores:
        """The mean over classes, each with the weight of its support."""
        return self._mean(self.support / self.support.sum())

    def _mean(self, weights: Array) -> Scores:
        precision, recall, f1, _ = self.scores
        return Scores(float(weights @ precision), float(weights @ recall), float(weights @ f1), self.rows)

    @cached_property
    def top3_accuracy(self) -> float:
        """The fraction of rows whose label is among the three largest probabilities; see `top_k_accuracy_score`."""
        return top_k_accuracy_score(self.labels, self.probabilities, 3, self.sample_weight)

    @cached_property
    def reliability(self) -> Reliability:
        """Mean confidence, accuracy and count in 15 bins of equal width; see `reliability_bins`."""
        return reliability_bins(self.labels, self.predicted, self.confidence)

    @cached_property
    def calibration_error(self) -> float:
        """The expected calibration error over those bins; see the function `calibration_error`."""
        return calibration_error(self.labels, self.predicted, self.confidence)

    @cached_property
    def wrong(self) -> Array:
        """Indices of the rows that are predicted wrongly, the most confident first; rows with NaN last."""
        rows = np.flatnonzero(self.predicted != self.labels)
        return rows[np.argsort(-self.confidence[rows], kind="stable")]

    def to_dict(self) -> dict[str, Any]:
        """Every number but those of single rows, as JSON has them: lists for arrays, None for NaN and infinity.

        "confusion" is None for more than 1000 classes; "confusion_counts" then has the entries that are not 0.
        """
        names = ("precision", "recall", "f1")
        averages = {kind: dict(zip(names, getattr(self, kind)[:3], strict=True)) for kind in ("macro", "weighted")}
        return for_json(
            {name: getattr(self, name) for name in ("rows", "classes", "loss", "accuracy", "top3_accuracy")}
            | {"calibration_error": self.calibration_error, "wrong": len(self.wrong)}
            | ({} if self.classes_ is None else {"classes_": self.classes_})
            | ({} if self.loss_name == "CrossEntropyLoss" else {"loss_name": self.loss_name})
            | {name: getattr(self, name) for name in (*names, "support")}
            | averages
            | {"confusion": self.confusion if self.classes <= MOST_DENSE else None}
            | ({} if self.classes <= MOST_DENSE else {"confusion_counts": self.confusion_counts})
            | {"reliability": self.reliability._asdict()}
        )

    def report(self, limit: int = 20) -> str:
        """A table for people, in at most 100 columns: totals, a line a class, averages, what is taken for what.

        limit: of more classes than these, only as many are shown, those of the lowest F1.
        """
        return evaluation_report(self, limit)

    def __str__(self) -> str:
        return self.report()
