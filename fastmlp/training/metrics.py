"""How well a model predicts: functions on arrays. What `fastmlp.evaluate` returns is made of them.

Axis letters: N rows, C classes, K labels, T numbers, M bins. `labels` are the true classes, `predicted` the model's,
both (N,) integers in 0 .. C - 1, or both (N, K) of 0 and 1, where a row may have any of K labels; `probabilities` are
(N, C), a row the model's softmax. Names and conventions are scikit-learn's: a fraction 0 / 0 counts as 0. Among equal
numbers the first class wins, and NaN counts as the largest, as in NumPy's argmax. `sample_weight`: (N,) numbers of at
least 0, how often each row counts; None counts every row once.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .. import check
from ..check import shown, whole
from ..machine import check_memory

Array = np.ndarray
BINS = 15  # of the calibration error, as in Guo et al.
MOST_CLASSES = 1 << 31  # as a Dataset has them: pairs of them are numbered too
UNIFORM = "uniform_average"  # scikit-learn's word for the mean over columns
_NUMBERS = 1 << 22  # numbers compared at a time: temporaries stay small next to the probabilities


class Scores(NamedTuple):
    """Precision, recall, F1 and support: arrays (C,) or (K,), or numbers where they are an average over them."""

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


def accuracy_score(labels: ArrayLike, predicted: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """accuracy = Σₙ w[n] [predicted[n] = labels[n]] / Σₙ w[n].    labels, predicted: (N,) integers, or (N, K) 0 and 1

    w: sample_weight, 1 without. A row of (N, K) is right where all its labels are.
    """
    labels = check.array("accuracy_score: labels", labels)
    if labels.ndim == 2:
        y, p = label_rows("accuracy_score", labels, predicted)
        right = (y == p).all(axis=1)
    else:
        y, p = classes_of_rows("accuracy_score", labels, predicted)
        right = y == p
    return float(np.average(right, weights=checked_weights("accuracy_score", sample_weight, len(y))))


def confusion_matrix(labels: ArrayLike, predicted: ArrayLike, classes: int | None = None) -> Array:
    """m[i, j] = |{n: labels[n] = i, predicted[n] = j}|.    labels, predicted: (N,) integers -> (C, C) int64.

    classes: C; without it, the largest class that occurs + 1. Errors: ValueError for a class outside 0 .. C - 1,
    MemoryError where C² numbers are larger than memory: `confusion_counts` has those that are not 0.
    """
    y, p = classes_of_rows("confusion_matrix", labels, predicted, classes)
    classes = int(max(y.max(), p.max())) + 1 if classes is None else int(classes)
    what = f"confusion_matrix: the counts of {classes:,} by {classes:,} classes"
    check_memory(what, 8 * classes * classes, "confusion_counts has those that are not 0")
    return np.bincount(y * classes + p, minlength=classes * classes).reshape(classes, classes)


def confusion_counts(labels: ArrayLike, predicted: ArrayLike) -> Array:
    """The entries of the confusion matrix that are not 0, in its order.    -> (K, 3) int64: true, predicted, rows

    At most as many as there are rows, however many classes there are.
    """
    y, p = classes_of_rows("confusion_counts", labels, predicted)
    width = int(p.max()) + 1
    places, rows = np.unique(y * width + p, return_counts=True)
    return np.column_stack([*np.divmod(places, width), rows])


def precision_recall_fscore_support(
    labels: ArrayLike, predicted: ArrayLike, classes: int | None = None, sample_weight: ArrayLike | None = None
) -> Scores:
    """precision = TP / (TP + FP),  recall = TP / (TP + FN),  f1 = 2 TP / (2 TP + FP + FN),  support = TP + FN.

    For each class, (C,), or each label, (K,): TP rows of it that are predicted as it, FP other rows that are, FN rows
    of it that are not, each row with its weight. 0 where the divisor is 0. Arguments and errors as `confusion_matrix`;
    for labels (N, K) `classes` is left out. Source: van Rijsbergen, Information Retrieval (1979), chapter 7.
    """
    name = "precision_recall_fscore_support"
    labels = check.array(f"{name}: labels", labels)
    if labels.ndim == 2:
        if classes is not None:
            raise ValueError(
                f"{name}: classes is {shown(classes)}; for labels (N, K) it must be left out, K is their number"
            )
        y, p = label_rows(name, labels, predicted)
        return label_scores(y, p, checked_weights(name, sample_weight, len(y)))
    y, p = classes_of_rows(name, labels, predicted, classes)
    w = checked_weights(name, sample_weight, len(y))
    return class_scores(y, p, int(max(y.max(), p.max())) + 1 if classes is None else classes, w)


def top_k_accuracy_score(
    labels: ArrayLike, probabilities: ArrayLike, k: int = 3, sample_weight: ArrayLike | None = None
) -> float:
    """The fraction of rows whose label is among the k largest probabilities; 1 where k >= C.

    probabilities: (N, C), or any scores such as logits. With k = 1 it is the accuracy. Among equal numbers the first
    class counts as larger, where scikit-learn takes the last. Errors: ValueError for shapes that do not fit and k < 1.
    """
    scores = check.array("top_k_accuracy_score: probabilities", probabilities)
    y = labels_of_rows("top_k_accuracy_score", labels, scores)
    whole("top_k_accuracy_score: k", k, 1)
    weights = checked_weights("top_k_accuracy_score", sample_weight, len(y))
    hits, first, rows = 0.0, np.arange(scores.shape[1]), max(_NUMBERS // scores.shape[1], 1)
    for start in range(0, len(y), rows):
        part, label = scores[start : start + rows], y[start : start + rows, None]
        own = np.take_along_axis(part, label, axis=1)
        nan, own_nan = np.isnan(part), np.isnan(own)
        larger = (part > own) | (nan & ~own_nan)
        equal = (part == own) | (nan & own_nan)
        rank = np.count_nonzero(larger | (equal & (first < label)), axis=1)
        hit = rank < k
        hits += float(hit.sum() if weights is None else weights[start : start + rows] @ hit)
    return hits / (len(y) if weights is None else float(weights.sum()))


def reliability_bins(labels: ArrayLike, predicted: ArrayLike, confidence: ArrayLike, bins: int = BINS) -> Reliability:
    """Mean confidence, accuracy and count of the rows whose confidence lies in ((m - 1) / M, m / M], m = 1 .. M.

    confidence: (N,) the probability of the predicted class, in [0, 1]; 0 falls in the first bin, rows with NaN in none.
    bins: M. Errors: ValueError for shapes that do not fit, a confidence outside [0, 1], bins < 1.
    Source: Guo, Pleiss, Sun, Weinberger, On Calibration of Modern Neural Networks, ICML 2017, section 2.
    """
    y, p = classes_of_rows("reliability_bins", labels, predicted)
    sure = check.array("reliability_bins: confidence", confidence)
    if sure.dtype.kind not in "fiub":
        raise ValueError(f"reliability_bins: confidence is {sure.dtype}; it must be numbers in [0, 1]")
    sure = sure.astype(np.float64)
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


@np.errstate(over="ignore", invalid="ignore")  # of outputs that are not finite, neither is the mean
def mean_squared_error(
    targets: ArrayLike, predicted: ArrayLike, sample_weight: ArrayLike | None = None, multioutput: str = UNIFORM
) -> Any:
    """mse[t] = Σₙ w[n] (predicted[n, t] - targets[n, t])² / Σₙ w[n].    targets, predicted: (N,) or (N, T) numbers

    multioutput  "uniform_average": the mean over the T columns, a float;  "raw_values": each of them, (T,)
    Errors: ValueError for shapes that do not fit, and for another multioutput.
    """
    t, z, w = number_rows("mean_squared_error", targets, predicted, sample_weight)
    return _averaged("mean_squared_error", np.average((z - t) ** 2, axis=0, weights=w), multioutput)


@np.errstate(over="ignore", invalid="ignore")
def root_mean_squared_error(
    targets: ArrayLike, predicted: ArrayLike, sample_weight: ArrayLike | None = None, multioutput: str = UNIFORM
) -> Any:
    """rmse[t] = √mse[t], in the unit of the targets.    Arguments and errors as `mean_squared_error`."""
    t, z, w = number_rows("root_mean_squared_error", targets, predicted, sample_weight)
    return _averaged("root_mean_squared_error", np.sqrt(np.average((z - t) ** 2, axis=0, weights=w)), multioutput)


@np.errstate(over="ignore", invalid="ignore")
def mean_absolute_error(
    targets: ArrayLike, predicted: ArrayLike, sample_weight: ArrayLike | None = None, multioutput: str = UNIFORM
) -> Any:
    """mae[t] = Σₙ w[n] |predicted[n, t] - targets[n, t]| / Σₙ w[n].    Arguments, errors as `mean_squared_error`."""
    t, z, w = number_rows("mean_absolute_error", targets, predicted, sample_weight)
    return _averaged("mean_absolute_error", np.average(np.abs(z - t), axis=0, weights=w), multioutput)


@np.errstate(over="ignore", invalid="ignore")
def r2_score(
    targets: ArrayLike, predicted: ArrayLike, sample_weight: ArrayLike | None = None, multioutput: str = UNIFORM
) -> Any:
    """r2[t] = 1 - Σₙ w[n] (predicted[n, t] - targets[n, t])² / Σₙ w[n] (targets[n, t] - mean[t])².

    1 is no error, 0 the error of saying the targets' mean to everything. NaN for a column whose targets are all the
    same, where scikit-learn has 0 or 1; the mean over columns leaves it out, as the score of `MSELoss` does, and is NaN
    where all are so. Arguments and errors as `mean_squared_error`. Source: scikit-learn's documentation of r2_score.
    """
    t, z, w = number_rows("r2_score", targets, predicted, sample_weight)
    error = np.average((z - t) ** 2, axis=0, weights=w)
    seen = t if w is None else t[w > 0]
    varies = seen.min(axis=0) < seen.max(axis=0)
    spread = np.average((t - np.average(t, axis=0, weights=w)) ** 2, axis=0, weights=w)
    varies &= spread > 0  # of numbers so close that their squares vanish, nothing can be said
    r2 = np.where(varies, 1 - error / np.where(varies, spread, 1), np.nan)
    if isinstance(multioutput, str) and multioutput == UNIFORM:
        return float(r2[varies].mean()) if varies.any() else math.nan
    return _averaged("r2_score", r2, multioutput)


def _averaged(caller: str, values: Array, multioutput: str) -> Any:
    if not isinstance(multioutput, str) or multioutput not in (UNIFORM, "raw_values"):
        raise ValueError(f"{caller}: multioutput is {shown(multioutput)}; it must be {shown(UNIFORM)} or 'raw_values'")
    return float(values.mean()) if multioutput == UNIFORM else values


def class_scores(labels: Array, predicted: Array, classes: int, weights: Array | None = None) -> Scores:
    """The scores of each class from its counts; 0 / 0 is 0. Memory grows with the classes, not with their square."""
    check_memory(f"metrics: the scores of {classes:,} classes", 8 * 6 * classes)
    hit = labels == predicted
    right, support, taken = (
        np.bincount(rows, minlength=classes, weights=w)
        for rows, w in (
            (labels[hit], None if weights is None else weights[hit]),
            (labels, weights),
            (predicted, weights),
        )
    )
    return scores_of(right, support, taken)


def label_scores(labels: Array, predicted: Array, weights: Array | None = None) -> Scores:
    """The scores of each label.    labels, predicted: (N, K) booleans"""
    both = labels & predicted
    if weights is None:
        return scores_of(*(np.count_nonzero(rows, axis=0) for rows in (both, labels, predicted)))
    return scores_of(*(weights @ rows for rows in (both, labels, predicted)))


def scores_of(right: Any, support: Any, taken: Any) -> Scores:
    """Precision, recall, F1 and support from what was rightly taken, what is there and what was taken; 0 / 0 is 0."""

    def fraction(part: Any, of: Any) -> Any:
        return part / np.where(of, of, 1)

    return Scores(fraction(right, taken), fraction(right, support), fraction(2 * right, support + taken), support)


def checked_weights(caller: str, sample_weight: ArrayLike | None, rows: int) -> Array | None:
    """The weights as float64 (N,), or None. Error: ValueError for others than N numbers of at least 0, not all 0."""
    if sample_weight is None:
        return None
    w = check.array(f"{caller}: sample_weight", sample_weight)
    if w.shape != (rows,) or w.dtype.kind not in "fiub":
        raise ValueError(f"{caller}: sample_weight is {w.shape} {w.dtype}; it must be ({rows},), a number for each row")
    w = w.astype(np.float64)
    if not (np.isfinite(w).all() and w.min() >= 0 and w.sum() > 0):
        raise ValueError(f"{caller}: sample_weight has a number below 0, or all are 0; it must be finite, at least 0")
    return w


def label_rows(caller: str, labels: ArrayLike, predicted: ArrayLike, what: str = "labels") -> tuple[Array, Array]:
    """Both as booleans (N, K), checked. what: the word for the first."""
    arrays = []
    for name, values in ((what, labels), ("predicted", predicted)):
        array = check.array(f"{caller}: {name}", values)
        if array.ndim != 2 or not array.size or array.dtype.kind not in "fiub" or not np.isin(array, (0, 1)).all():
            raise ValueError(
                f"{caller}: {name} is {array.shape} {array.dtype}; it must be (N, K) of 0 and 1, not empty"
            )
        arrays.append(array.astype(bool, copy=False))
    if arrays[0].shape != arrays[1].shape:
        raise ValueError(f"{caller}: {what} is {arrays[0].shape}, predicted is {arrays[1].shape}; they must be alike")
    return arrays[0], arrays[1]


def number_rows(
    caller: str, targets: ArrayLike, predicted: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[Array, Array, Array | None]:
    """Targets and predictions as float64 (N, T), and the weights, checked. (N,) and (N, 1) are alike."""
    arrays = []
    for name, values in (("targets", targets), ("predicted", predicted)):
        array = check.array(f"{caller}: {name}", values)
        if array.ndim not in (1, 2) or not array.size or array.dtype.kind not in "fiub":
            raise ValueError(f"{caller}: {name} is {array.shape} {array.dtype}; it must be (N,) or (N, T) numbers")
        arrays.append(array.reshape(len(array), -1).astype(np.float64, copy=False))
    if arrays[0].shape != arrays[1].shape:
        raise ValueError(f"{caller}: targets is {arrays[0].shape}, predicted is {arrays[1].shape}; they must be alike")
    return arrays[0], arrays[1], checked_weights(caller, sample_weight, len(arrays[0]))


def classes_of_rows(
    caller: str, labels: ArrayLike, predicted: ArrayLike, classes: int | None = None
) -> tuple[Array, Array]:
    """Both as int64 arrays (N,), checked."""
    if classes is not None:
        whole(f"{caller}: classes", classes, 1)
        classes = int(classes)
    given = {"labels": labels, "predicted": predicted}
    arrays = {name: check.array(f"{caller}: {name}", values) for name, values in given.items()}
    for name, array in arrays.items():
        if array.ndim != 1 or not array.size or array.dtype.kind not in "iu":
            raise ValueError(f"{caller}: {name} is {array.shape} {array.dtype}; it must be (N,) integers, N >= 1")
        most = MOST_CLASSES if classes is None else classes
        if array.min() < 0 or array.max() >= most:
            wrong = array.min() if array.min() < 0 else array.max()
            limit = "at least 0" if classes is None and wrong < 0 else f"in 0..{most - 1}"
            raise ValueError(f"{caller}: {name} has the class {wrong}; it must be {limit}")
    y, p = (array.astype(np.int64, copy=False) for array in arrays.values())
    if len(y) != len(p):
        raise ValueError(f"{caller}: labels has {len(y)} rows, predicted has {len(p)}; the lengths must be equal")
    return y, p


def labels_of_rows(caller: str, labels: ArrayLike, scores: Array) -> Array:
    """The labels as int64 (N,), checked against scores (N, C)."""
    if scores.ndim != 2 or not scores.size or scores.dtype.kind != "f":
        raise ValueError(
            f"{caller}: probabilities is {scores.shape} {scores.dtype}; it must be (N, C) floats, not empty"
        )
    y, _ = classes_of_rows(caller, labels, labels, scores.shape[1])
    if len(y) != len(scores):
        raise ValueError(f"{caller}: labels has {len(y)} rows, probabilities {len(scores)}; they must be as many")
    return y
