"""The losses as scikit-learn counts them: a row's loss is a sum over the outputs, and squared errors count half.

The kernels are the library's, which take the mean over the T outputs. What a row counts in the divisor, q, makes the
difference: r[n] = w[n] / Σ w q, so q = 1 / (T c) makes c times the sum over the outputs of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from sklearn.metrics import d2_absolute_error_score, d2_pinball_score, r2_score

from .. import nn
from ..graph import Array, Tensor


class Summed(nn.Loss):
    """A loss of numbers or labels whose row counts `times` the sum over its outputs, and not the mean."""

    times: ClassVar[float] = 1.0

    def masses(self, targets: Array) -> Array | None:
        """q = 1 / (T times) for each row.    targets: (N, T)"""
        q = 1 / (targets.shape[1] * self.times)
        return None if q == 1 else np.full(len(targets), q)

    def forward(self, z: Tensor, targets: Any, sample_weight: Any = None) -> Tensor:  # type: ignore[override]
        """As the kernels: `by_kernels` knows q."""
        return self.by_kernels(z, targets, sample_weight)


class SquaredError(Summed, nn.MSELoss):
    """½ Σ_c (z - t)² of a row."""

    node = nn.MSELoss.node

    times = 0.5


class AbsoluteError(Summed, nn.L1Loss):
    """Σ_c |z - t| of a row."""

    node = nn.L1Loss.node


class Huber(Summed, nn.HuberLoss):
    """Σ_c ½ (z - t)² of a row near the target, delta (|z - t| - ½ delta) beyond delta."""

    node = nn.HuberLoss.node


class Quantile(Summed, nn.QuantileLoss):
    """Σ_c of the pinball loss of a row."""

    node = nn.QuantileLoss.node


class Poisson(Summed, nn.PoissonNLLLoss):
    """Σ_c e^z - t z of a row."""

    node = nn.PoissonNLLLoss.node


class Labels(Summed, nn.BCEWithLogitsLoss):
    """Σ_k of the cross-entropy of each label of a row."""

    node = nn.BCEWithLogitsLoss.node


class SmoothedLabels(Labels):
    """The same for shares between 0 and 1 in place of labels."""

    targets, score = "numbers", nn.MSELoss.score


def regression_loss(name: str, delta: float, quantile: float) -> nn.Loss:
    """The loss that a regressor's `loss` names."""
    made: dict[str, Any] = {
        "squared_error": SquaredError,
        "poisson": Poisson,
        "absolute_error": AbsoluteError,
        "huber": lambda: Huber(delta=delta),
        "quantile": lambda: Quantile(quantile),
    }
    loss: nn.Loss = made[name]()
    return loss


def plain_loss(name: str, delta: float = 1.0, quantile: float = 0.5) -> nn.Loss:
    """The same as the library counts it, a mean over the outputs."""
    options: dict[str, Any] = {"huber": {"delta": delta}, "quantile": {"quantiles": quantile}}
    kind = type(regression_loss(name, delta, quantile)).__bases__[-1]
    loss: nn.Loss = kind(**options.get(name, {}))
    return loss


LOSSES = ("squared_error", "poisson", "absolute_error", "huber", "quantile")


def regression_score(
    name: str, delta: float, quantile: float, y: Array, said: Array, weights: Array | None
) -> float:  # fmt: skip
    """R² of squared errors; of another loss D² = 1 - loss / loss of the best number, the same for all rows.

    y, said: (N, T) targets and predictions; weights (N,) of rows. The mean over the T targets.
    Source: scikit-learn's documentation of r2_score, d2_absolute_error_score, d2_pinball_score and d2_tweedie_score.
    """
    if name == "squared_error":
        return float(r2_score(y, said, sample_weight=weights))
    if name == "absolute_error":
        return float(d2_absolute_error_score(y, said, sample_weight=weights))
    if name == "quantile":
        return float(d2_pinball_score(y, said, sample_weight=weights, alpha=quantile))
    from scipy.special import huber, kl_div

    w = np.ones(len(y)) if weights is None else weights
    if name == "poisson":
        return _d2(kl_div, y, said, np.average(y, axis=0, weights=w), w)
    best = np.array([_best_of_huber(t, delta, w) for t in y.T])
    return _d2(lambda t, z: huber(delta, t - z), y, said, best, w)


def _d2(loss: Callable[[Array, Array], Array], y: Array, said: Array, best: Array, w: Array) -> float:
    """Where no number is better than the targets themselves 1 for no error, 0 for any, as scikit-learn's R²."""
    found, least = (np.average(loss(y, z), axis=0, weights=w) for z in (said, best))
    share = np.divide(found, least, out=(found > 0).astype(float), where=least > 0)
    return float(np.mean(1 - share))


def _best_of_huber(t: Array, delta: float, w: Array) -> float:
    """The c at which the slope Σ w clip(t - c, ±delta) is 0."""
    from scipy.optimize import brentq

    low, high = float(t.min()), float(t.max())
    return low if low == high else float(brentq(lambda c: w @ np.clip(t - c, -delta, delta), low, high))
