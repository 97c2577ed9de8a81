"""`Score`: how good outputs are, in the number that people read beside the loss."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..check import shown
from ..graph import Array
from .layer import Kernel


def no_numbers(targets: Array) -> Array:
    """What a score needs to know of all targets where that is nothing."""
    return np.zeros(1)


@dataclass(frozen=True)
class Score:
    """How good outputs are, in the number that people read beside the loss.

    name     "accuracy"
    kernel   terms[1, n] = what row n adds: the score is start + Σ w[n] terms[1, n] / Σ w[n], with weights w of the rows
    ratio    whether the kernel also fills terms[2, n], and the score is start + Σ w[n] terms[1, n] / Σ w[n] terms[2, n]
    numbers  targets (N, T) of the rows that are scored -> what the kernel needs to know of all of them;
             numbers(targets, weights) where they have weights (N,) and it takes them
    start    the score of no error at all, where terms are errors below 0; else 0
    rises    whether more of it is better: a score that is an error has False. Early stopping follows it
    best     the score of no error at all, where a score of 0.9 of it is as good as nine rows of ten; None for another
    """

    name: str
    kernel: Kernel
    numbers: Callable[[Array], Array] = no_numbers
    start: float = 0.0
    rises: bool = True
    best: float | None = None
    ratio: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not callable(self.numbers):
            raise TypeError(
                f"Score: name is {shown(self.name)}, numbers {shown(self.numbers)}; they must be a str, a function"
            )

    def known(self, targets: Array, weights: Array | None = None, rows: Array | None = None) -> Array:
        """`numbers` of targets (N, T), with weights (N,) of the rows where they have some; of `rows` alone if given.

        Where there is nothing to know, nobody takes those rows.
        """
        if self.numbers is no_numbers:
            return no_numbers(targets)
        if rows is not None:
            targets, weights = targets[rows], None if weights is None else weights[rows]
        if weights is None or not weights.any() or len(inspect.signature(self.numbers).parameters) < 2:
            return self.numbers(targets)
        return self.numbers(targets, weights)  # type: ignore[call-arg]

    def of(self, above: float, below: float) -> float:
        """The score of Σ w terms[1] and what it is divided by. 0 / 0 is 0 for a ratio, else NaN: no row counts."""
        return self.start + (above / below if below else 0.0 if self.ratio else math.nan)


def per_spread(spread: Array, weights: Array, targets: Array) -> Array:
    """Σ w / (columns times spread) for each column: what an error counts in a score of 1 - errors / spread.

    0 for a column whose targets are all the same, NaN where all columns are so: the score says nothing there, and
    scikit-learn's 0 for any error, 1 for none, is no measure of a training.
    """
    varies = (np.ptp(targets[weights > 0], axis=0) > 0) & (spread > 0)
    if not varies.any():
        return np.full(len(spread), np.nan)
    return np.where(varies, weights.sum() / np.where(varies, spread, 1) / varies.sum(), 0.0)


def added(total: float, terms: Array) -> float:
    """total + the terms, one by one, as a thread of the engine adds them."""
    return float(np.concatenate([[total], terms]).cumsum()[-1])
