"""How well a model predicts: functions on arrays, and `Evaluation`, which `fastmlp.evaluate` returns.

Axis letters: N rows, C classes, M bins. `labels` are the true classes, `predicted` the model's, both (N,) integers in
0 .. C - 1; `probabilities` are (N, C), a row the model's softmax. Names and conventions are scikit-learn's: a fraction
0 / 0 counts as 0. Among equal numbers the first class wins, and NaN counts as the largest, as in NumPy's argmax.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .. import check
from ..check import whole
from ..files import for_json
from ..machine import check_memory
from .tables import evaluation_report

Array = np.ndarray
BINS = 15  # of the calibration error, as in Guo et al.
MOST_DENSE = 1000  # classes whose confusion matrix, a million counts, still goes into JSON
_NUMBERS = 1 << 22  # numbers compared at a time: temporaries stay small next to the probabilities


class Scores(NamedTuple):
    """Precision, recall, F1 and support: arrays (C,), or numbers where they are an average over classes."""

    precision: Any
    recall: Any
    f1: Any
    support: Any


class Reliability(NamedTuple):
    """Arrays (M,), one number a bin of confidence: the mean confidence and the accuracy of its rows, and their count.

    `confidence` and `accuracy` are NaN where `rows` is 0.
    """

    confidence: Array
    accuracy: Array
    rows: Array


def softmax(logits: ArrayLike) -> Array:
    """p[n, c] = e^z[n, c] / Σ_k e^z[n, k].    logits: z, (N, C) floats -> p, (N, C), of the same type.

    A row with NaN or infinity becomes NaN throughout, but for -infinity, which becomes 0.
    """
    z = check.array("softmax: logits", logits)
    if z.ndim != 2 or z.dtype.kind != "f" or not z.size:
        raise ValueError(f"softmax: logits is {z.shape} {z.dtype}; it must be (N, C) floats, not empty")
    with np.errstate(invalid="ignore"):  # inf - inf is NaN, and meant to be
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
    return p


def accuracy_score(labels: ArrayLike, predicted: ArrayLike) -> float:
    """accuracy = |{n: predicted[n] = labels[n]}| / N.    labels, predicted: (N,) integers."""
    y, p = _classes("accuracy_score", labels, predicted)
    return float(np.mean(y == p))


def confusion_matrix(labels: ArrayLike, predicted: ArrayLike, classes: int | None = None) -> Array:
    """m[i, j] = |{n: labels[n] = i, predicted[n] = j}|.    labels, predicted: (N,) integers -> (C, C) int64.

    classes: C; without it, the largest class that occurs + 1. Errors: ValueError for a class outside 0 .. C - 1,
    MemoryError where C² numbers are larger than memory: `confusion_counts` has those that are not 0.
    """
    y, p = _classes("confusion_matrix", labels, predicted, classes)
    classes = int(max(y.max(), p.max())) + 1 if classes is None else int(classes)
    what = f"confusion_matrix: the counts of {classes:,} by {classes:,} classes"
    check_memory(what, 8 * classes * classes, "confusion_counts has those that are not 0")
    return np.bincount(y * classes + p, minlength=classes * classes).reshape(classes, classes)


def confusion_counts(labels: ArrayLike, predicted: ArrayLike) -> Array:
    """The entries of the confusion matrix that are not 0, in its order.    -> (K, 3) int64: true, predicted, rows

    At most as many as there are rows, however many classes there are.
    """
    y, p = _classes("confusion_counts", labels, predicted)
    width = int(p.max()) + 1
    places, rows = np.unique(y * width + p, return_counts=True)
    return np.column_stack([*np.divmod(places, width), rows])


def precision_recall_fscore_support(labels: ArrayLike, predicted: ArrayLike, classes: int | None = None) -> Scores:
    """precision = TP / (TP + FP),  recall = TP / (TP + FN),  f1 = 2 TP / (2 TP + FP + FN),  support = TP + FN.

    For each class, (C,): TP rows of the class that are predicted as it, FP rows of other classes that are, FN rows of
    the class that are not. 0 where the divisor is 0. Arguments and errors as `confusion_matrix`.
    Source: van Rijsbergen, Information Retrieval (1979), chapter 7.
    """
    y, p = _classes("precision_recall_fscore_support", labels, predicted, classes)
    return _scores(y, p, int(max(y.max(), p.max())) + 1 if classes is None else classes)


def top_k_accuracy_score(labels: ArrayLike, probabilities: ArrayLike, k: int = 3) -> float:
    """The fraction of rows whose label is among the k largest probabilities; 1 where k >= C.

    probabilities: (N, C), or any scores such as logits. With k = 1 it is the accuracy. Among equal numbers the first
    class counts as larger, where scikit-learn takes the last. Errors: ValueError for shapes that do not fit and k < 1.
    """
    scores = check.array("top_k_accuracy_score: probabilities", probabilities)
    y = _labels_of_rows("top_k_accuracy_score", labels, scores)
    whole("top_k_accuracy_score: k", k, 1)
    hits, first, rows = 0, np.arange(scores.shape[1]), max(_NUMBERS // scores.shape[1], 1)
    for start in range(0, len(y), rows):
        part, label = scores[start : start + rows], y[start : start + rows, None]
        own = np.take_along_axis(part, label, axis=1)
        nan, own_nan = np.isnan(part), np.isnan(own)
        larger = (part > own) | (nan & ~own_nan)
        equal = (part == own) | (nan & own_nan)
        rank = np.count_nonzero(larger | (equal & (first < label)), axis=1)
        hits += int(np.count_nonzero(rank < k))
    return hits / len(y)


def reliability_bins(labels: ArrayLike, predicted: ArrayLike, confidence: ArrayLike, bins: int = BINS) -> Reliability:
    """Mean confidence, accuracy and count of the rows whose confidence lies in ((m - 1) / M, m / M], m = 1 .. M.

    confidence: (N,) the probability of the predicted class, in [0, 1]; 0 falls in the first bin, rows with NaN in none.
    bins: M. Errors: ValueError for shapes that do not fit, a confidence outside [0, 1], bins < 1.
    Source: Guo, Pleiss, Sun, Weinberger, On Calibration of Modern Neural Networks, ICML 2017, section 2.
    """
    y, p = _classes("reliability_bins", labels, predicted)
    sure = np.asarray(confidence, np.float64)
    whole("reliability_bins: bins", bins, 1)
    if sure.shape != y.shape:
        raise ValueError(f"reliability_bins: confidence is {sure.shape}; it must be {y.shape}, one for each row")
    if np.any(sure < 0) or np.any(sure > 1):
        raise ValueError(f"reliability_bins: confidence is in [{sure.min()}, {sure.max()}]; it must be in [0, 1]")
    known = ~np.isnan(sure)
    sure, hit = sure[known], (y == p)[known]
    place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], sure, side="left")
    count = np.bincount(place, minlength=bins)
    divisor = np.where(count, count, np.nan)
    return Reliability(
        np.bincount(place, weights=sure, minlength=bins) / divisor,
        np.bincount(place, weights=hit, minlength=bins) / divisor,
        count,
    )


def calibration_error(labels: ArrayLike, predicted: ArrayLike, confidence: ArrayLike, bins: int = BINS) -> float:
    """ECE = Σ_m rows[m] / N · |accuracy[m] - confidence[m]|, over the bins of `reliability_bins`.

    0: of the rows that are predicted with probability p, a fraction p is right. NaN where a confidence is.
    Arguments, errors and source as `reliability_bins`.
    """
    mean_confidence, accuracy, count = reliability_bins(labels, predicted, confidence, bins)
    if count.sum() < np.size(labels):
        return math.nan
    return float(np.nansum(count * np.abs(accuracy - mean_confidence)) / count.sum())


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model predicts for N rows, and how well. `print(evaluation)` is a table, `to_dict()` goes into JSON.

    loss           mean cross-entropy over the rows, in nats
    accuracy       fraction of rows whose largest logit is the label's
    rows           N
    labels         (N,) the true classes, int64
    probabilities  (N, C) softmax of the logits, in the model's type: N · C numbers are kept
    predicted      (N,) the class of the largest logit; the largest probability's where it is not given

    All else is computed when it is first asked for, and kept. Two evaluations are equal when these six are.
    Error: ValueError for shapes that do not fit.
    """

    loss: float
    accuracy: float
    rows: int
    labels: Array = field(repr=False)
    probabilities: Array = field(repr=False)
    predicted: Array = field(default=None, repr=False)  # type: ignore[arg-type]  # an array after __post_init__

    def __post_init__(self) -> None:
        for name in ("labels", "probabilities"):
            object.__setattr__(self, name, check.array(f"Evaluation: {name}", getattr(self, name)))
        _labels_of_rows("Evaluation", self.labels, self.probabilities)
        if self.predicted is None:
            object.__setattr__(self, "predicted", self.probabilities.argmax(axis=1))
        _classes("Evaluation", self.labels, self.predicted, self.classes)
        if self.rows != len(self.labels):
            raise ValueError(f"Evaluation: rows is {self.rows}; it must be {len(self.labels)}, the labels' length")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Evaluation):
            return NotImplemented
        pairs: list[tuple[Any, Any]] = [
            ((self.rows, self.loss, self.accuracy), (other.rows, other.loss, other.accuracy)),
            (self.labels, other.labels),
            (self.predicted, other.predicted),
            (self.probabilities, other.probabilities),
        ]
        return all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)

    __hash__ = None  # type: ignore[assignment]  # it holds arrays

    @property
    def classes(self) -> int:
        """C, the number of classes that the model tells apart."""
        return self.probabilities.shape[1]

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
        return _scores(self.labels, self.predicted, self.classes)

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
        """(C,) int64: how many rows are of the class."""
        return self.scores.support

    @cached_property
    def macro(self) -> Scores:
        """The plain mean over the classes that occur as a label or as a prediction, as scikit-learn's report has it."""
        return self._mean(self.occurs / np.count_nonzero(self.occurs))

    @cached_property
    def weighted(self) -> Scores:
        """The mean over classes, each with the weight of its support."""
        return self._mean(self.support / self.rows)

    def _mean(self, weights: Array) -> Scores:
        precision, recall, f1, _ = self.scores
        return Scores(float(weights @ precision), float(weights @ recall), float(weights @ f1), self.rows)

    @cached_property
    def top3_accuracy(self) -> float:
        """The fraction of rows whose label is among the three largest probabilities; see `top_k_accuracy_score`."""
        return top_k_accuracy_score(self.labels, self.probabilities, 3)

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


def _scores(labels: Array, predicted: Array, classes: int) -> Scores:
    """The scores of each class from its counts; 0 / 0 is 0. Memory grows with the classes, not with their square."""
    right, support, taken = (
        np.bincount(rows, minlength=classes) for rows in (labels[labels == predicted], labels, predicted)
    )

    def fraction(part: Array, of: Array) -> Array:
        return part / np.where(of, of, 1)

    return Scores(fraction(right, taken), fraction(right, support), fraction(2 * right, support + taken), support)


def _classes(caller: str, labels: ArrayLike, predicted: ArrayLike, classes: int | None = None) -> tuple[Array, Array]:
    """Both as int64 arrays (N,), checked."""
    if classes is not None:
        whole(f"{caller}: classes", classes, 1)
        classes = int(classes)
    given = {"labels": labels, "predicted": predicted}
    arrays = {name: check.array(f"{caller}: {name}", values) for name, values in given.items()}
    for name, array in arrays.items():
        if array.ndim != 1 or not array.size or array.dtype.kind not in "iu":
            raise ValueError(f"{caller}: {name} is {array.shape} {array.dtype}; it must be (N,) integers, N >= 1")
        if array.min() < 0 or (classes is not None and array.max() >= classes):
            wrong = array.min() if array.min() < 0 else array.max()
            limit = "at least 0" if classes is None else f"in 0..{classes - 1}"
            raise ValueError(f"{caller}: {name} has the class {wrong}; it must be {limit}")
    y, p = (array.astype(np.int64, copy=False) for array in arrays.values())
    if len(y) != len(p):
        raise ValueError(f"{caller}: labels has {len(y)} rows, predicted has {len(p)}; the lengths must be equal")
    return y, p


def _labels_of_rows(caller: str, labels: ArrayLike, scores: Array) -> Array:
    """The labels as int64 (N,), checked against scores (N, C)."""
    if scores.ndim != 2 or not scores.size or scores.dtype.kind != "f":
        raise ValueError(
            f"{caller}: probabilities is {scores.shape} {scores.dtype}; it must be (N, C) floats, not empty"
        )
    y, _ = _classes(caller, labels, labels, scores.shape[1])
    if len(y) != len(scores):
        raise ValueError(f"{caller}: labels has {len(y)} rows, probabilities {len(scores)}; they must be as many")
    return y
