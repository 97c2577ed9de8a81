"""`MultilabelEvaluation`: which of K labels a model gives to rows that may have any of them, and how well."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .. import check, words
from ..files import for_json
from .metrics import Array, Scores, accuracy_score, checked_weights, label_rows, label_scores, scores_of
from .tables import multilabel_report


@dataclass(frozen=True, eq=False)
class MultilabelEvaluation:
    """Which of K labels a model gives to each of N rows, and how well. `print(evaluation)` is a table.

    loss           the loss over the rows
    targets        (N, K) of 0 and 1, which labels a row has; kept as booleans
    probabilities  (N, K) that the row has the label: 1 / (1 + e⁻ᶻ), in the model's type
    predicted      (N, K) booleans, the labels that the model gives: where z > 0; where the probability is above 1/2
                   if it is not given
    target_names   K names of the labels, or None
    sample_weight  (N,) how often each row counts; None: once
    loss_name      the loss's class, for tables

    Precision, recall, F1 and support are of each label, (K,). Conventions are scikit-learn's: 0 / 0 counts as 0.
    Errors: ValueError for shapes that do not fit.
    """

    kind = "labels"
    loss: float
    targets: Array = field(repr=False)
    probabilities: Array = field(repr=False)
    predicted: Array = field(default=None, repr=False)  # type: ignore[arg-type]  # an array after __post_init__
    target_names: tuple[str, ...] | None = field(default=None, repr=False)
    sample_weight: Array | None = field(default=None, repr=False)
    loss_name: str = "BCEWithLogitsLoss"

    def __post_init__(self) -> None:
        p = check.array("MultilabelEvaluation: probabilities", self.probabilities)
        if p.ndim != 2 or not p.size or p.dtype.kind != "f":
            raise ValueError(f"MultilabelEvaluation: probabilities is {p.shape} {p.dtype}; it must be (N, K) floats")
        predicted = p > 0.5 if self.predicted is None else self.predicted
        targets, predicted = label_rows("MultilabelEvaluation", self.targets, predicted, "targets")
        if targets.shape != p.shape:
            raise ValueError(f"MultilabelEvaluation: targets is {targets.shape}; it must be {p.shape} as probabilities")
        names = self.target_names
        if names is not None and len(names) != p.shape[1]:
            raise ValueError(
                f"MultilabelEvaluation: target_names has {len(names)} names; it must have {p.shape[1]}, one a label"
            )
        weights = checked_weights("MultilabelEvaluation", self.sample_weight, len(targets))
        for name, value in (
            ("targets", targets), ("probabilities", p), ("predicted", predicted), ("sample_weight", weights),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    @property
    def rows(self) -> int:
        """N."""
        return len(self.targets)

    @property
    def labels(self) -> int:
        """K, the number of labels."""
        return self.targets.shape[1]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each label on one line, K of them; their numbers where they have none."""
        return words.names(self.target_names or (), self.labels)

    @cached_property
    def scores(self) -> Scores:
        """Precision, recall, F1 and support, each (K,); see `metrics.precision_recall_fscore_support`."""
        return label_scores(self.targets, self.predicted, self.sample_weight)

    @property
    def precision(self) -> Array:
        """(K,) of the rows that are given the label, the fraction that has it; 0 where there are none."""
        return self.scores.precision

    @property
    def recall(self) -> Array:
        """(K,) of the rows that have the label, the fraction that is given it; 0 where there are none."""
        return self.scores.recall

    @property
    def f1(self) -> Array:
        """(K,) the harmonic mean of precision and recall; 0 where both are."""
        return self.scores.f1

    @property
    def support(self) -> Array:
        """(K,) how many rows have the label; with weights of rows, their sum."""
        return self.scores.support

    @cached_property
    def macro(self) -> Scores:
        """The plain mean over the labels."""
        precision, recall, f1, support = self.scores
        return Scores(float(precision.mean()), float(recall.mean()), float(f1.mean()), support.sum().item())

    @cached_property
    def micro(self) -> Scores:
        """Of all labels of all rows together: f1 = Σ 2 TP / Σ (2 TP + FP + FN)."""
        w = np.ones(self.rows, np.int64) if self.sample_weight is None else self.sample_weight
        both = self.targets & self.predicted
        right, support, taken = (w @ rows.sum(axis=1) for rows in (both, self.targets, self.predicted))
        found = scores_of(right, support, taken)
        return Scores(float(found.precision), float(found.recall), float(found.f1), support.item())

    @cached_property
    def subset_accuracy(self) -> float:
        """The fraction of rows all of whose labels are right; see `metrics.accuracy_score`."""
        return accuracy_score(self.targets, self.predicted, self.sample_weight)

    @cached_property
    def unfinished(self) -> int:
        """How many rows the model has no finite probabilities for."""
        return int(np.count_nonzero(~np.isfinite(self.probabilities).all(axis=1)))

    @cached_property
    def wrong(self) -> Array:
        """Indices of the rows with a wrong label, the one most surely wrong first; rows with NaN last.

        How sure the model is of a label that it gives or withholds is the probability of that.
        """
        rows = np.flatnonzero((self.targets != self.predicted).any(axis=1))
        sure = np.where(self.predicted[rows], self.probabilities[rows], 1 - self.probabilities[rows])
        worst = np.where(self.targets[rows] != self.predicted[rows], sure, -1).max(axis=1)
        return rows[np.argsort(-worst, kind="stable")]

    def to_dict(self) -> dict[str, Any]:
        """Every number but those of single rows, as JSON has them: lists for arrays, None for NaN and infinity."""
        names = ("precision", "recall", "f1")
        averages = {kind: dict(zip(names, getattr(self, kind)[:3], strict=True)) for kind in ("micro", "macro")}
        numbers = {name: getattr(self, name) for name in ("rows", "labels", "loss", "loss_name", "subset_accuracy")}
        numbers |= {"wrong": len(self.wrong)} | {name: getattr(self, name) for name in (*names, "support")}
        return for_json(numbers | ({"names": self.names} if self.target_names else {}) | averages)

    def report(self, limit: int = 20) -> str:
        """A table for people, in at most 100 columns: totals, a line a label, averages.

        limit: of more labels than these, only as many are shown, those of the lowest F1.
        """
        return multilabel_report(self, limit)

    def __str__(self) -> str:
        return self.report()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MultilabelEvaluation):
            return NotImplemented
        if (self.names, self.loss_name) != (other.names, other.loss_name):
            return False
        mine, others = ((e.loss, e.targets, e.probabilities, e.predicted, e.sample_weight) for e in (self, other))
        pairs = zip(mine, others, strict=True)
        return all(np.array_equal(np.asarray(a, float), np.asarray(b, float), equal_nan=True) for a, b in pairs)

    __hash__ = None  # type: ignore[assignment]  # it holds arrays
