"""`RegressionEvaluation`: what a model predicts for rows of numbers, and how far off it is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .. import words
from ..files import for_json
from .metrics import (
    Array,
    mean_absolute_error,
    number_rows,
    r2_score,
    root_mean_squared_error,
)
from .tables import regression_report


@dataclass(frozen=True, eq=False)
class RegressionEvaluation:
    """What a model predicts for N rows of T numbers, and how far off. `print(evaluation)` is a table.

    loss           the loss over the rows
    targets        (N, T) the numbers that are to be met, float64
    predicted      (N, T) the model's
    target_names   T names of the columns, or None
    sample_weight  (N,) how often each row counts; None: once
    loss_name      the loss's class, for tables
    score_name, score  the loss's own score, such as "d2"; R² is `r2` whatever the loss
    scaled         whether the loss is that of scaled targets, as the training's was; all else is in their own unit

    R², MAE and RMSE are those of scikit-learn, `metrics.r2_score` and so on: `r2` is the mean over the columns whose
    targets vary, `mae` and `rmse` over all. Errors: ValueError for shapes that do not fit.
    """

    kind = "numbers"
    loss: float
    targets: Array = field(repr=False)
    predicted: Array = field(repr=False)
    target_names: tuple[str, ...] | None = field(default=None, repr=False)
    sample_weight: Array | None = field(default=None, repr=False)
    loss_name: str = "MSELoss"
    score_name: str = field(default="r2", repr=False)
    score: float = field(default=math.nan, repr=False)
    scaled: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        given = self.targets, self.predicted, self.sample_weight
        for name, array in zip(
            ("targets", "predicted", "sample_weight"), number_rows("RegressionEvaluation", *given), strict=True
        ):
            object.__setattr__(self, name, array)
        names = self.target_names
        if names is not None and len(names) != self.columns:
            raise ValueError(
                f"RegressionEvaluation: target_names has {len(names)} names; it must have {self.columns}, one a column"
            )

    @property
    def rows(self) -> int:
        """N."""
        return len(self.targets)

    @property
    def columns(self) -> int:
        """T, how many numbers a row has."""
        return self.targets.shape[1]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each column on one line, T of them; their numbers where they have none."""
        return words.names(self.target_names or (), self.columns)

    @cached_property
    def residuals(self) -> Array:
        """(N, T) predicted - targets: above 0 where the model says too much."""
        return self.predicted - self.targets

    @cached_property
    def column_r2(self) -> Array:
        """(T,) R² of each column; NaN where its targets are all the same."""
        return r2_score(*self._arrays, multioutput="raw_values")

    @cached_property
    def column_mae(self) -> Array:
        """(T,) the mean absolute error of each column."""
        return mean_absolute_error(*self._arrays, multioutput="raw_values")

    @cached_property
    def column_rmse(self) -> Array:
        """(T,) the root of the mean squared error of each column."""
        return root_mean_squared_error(*self._arrays, multioutput="raw_values")

    @cached_property
    def r2(self) -> float:
        """R²: 1 is no error, 0 that of the targets' mean; the mean over the columns that vary."""
        return r2_score(*self._arrays)

    @cached_property
    def mae(self) -> float:
        """The mean absolute error, in the unit of the targets; the mean over columns."""
        return mean_absolute_error(*self._arrays)

    @cached_property
    def rmse(self) -> float:
        """The root of the mean squared error, in the unit of the targets; the mean over columns."""
        return root_mean_squared_error(*self._arrays)

    @property
    def _arrays(self) -> tuple[Array, Array, Array | None]:
        return self.targets, self.predicted, self.sample_weight

    @cached_property
    def unfinished(self) -> int:
        """How many rows the model has no finite number for."""
        return int(np.count_nonzero(~np.isfinite(self.predicted).all(axis=1)))

    @cached_property
    def worst(self) -> Array:
        """(N, 2) row and column of the residuals, the largest first, a row with its worst column; NaN comes first.

        Columns are compared by their residual over the spread of their targets, as they may have other units.
        """
        spread = self.targets.std(axis=0)
        size = np.abs(self.residuals) / np.where(spread > 0, spread, 1)
        size = np.where(np.isnan(size), np.inf, size)
        column = size.argmax(axis=1)
        order = np.argsort(-size.max(axis=1), kind="stable")
        return np.column_stack([order, column[order]])

    def to_dict(self) -> dict[str, Any]:
        """Every number but those of single rows, as JSON has them: lists for arrays, None for NaN and infinity."""
        numbers = {name: getattr(self, name) for name in ("rows", "loss", "loss_name", "r2", "mae", "rmse")}
        numbers |= {"scaled": True} if self.scaled else {}
        numbers |= {self.score_name: self.score} if self.score_name != "r2" else {}
        columns = {"r2": self.column_r2, "mae": self.column_mae, "rmse": self.column_rmse}
        numbers |= {"columns": {"names": self.names} | columns} if self.columns > 1 or self.target_names else {}
        return for_json(numbers)

    def report(self, limit: int = 20) -> str:
        """A table for people, in at most 100 columns: totals, a line a column of the targets, the worst rows.

        limit: of more columns than these, only as many are shown, those of the lowest R².
        """
        return regression_report(self, limit)

    def __str__(self) -> str:
        return self.report()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RegressionEvaluation):
            return NotImplemented
        if (self.names, self.loss_name) != (other.names, other.loss_name):
            return False
        pairs = zip((self.loss, *self._arrays), (other.loss, *other._arrays), strict=True)
        return all(np.array_equal(np.asarray(a, float), np.asarray(b, float), equal_nan=True) for a, b in pairs)

    __hash__ = None  # type: ignore[assignment]  # it holds arrays
