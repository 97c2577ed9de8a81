"""The losses as scikit-learn counts them: a row's loss is a sum over the outputs, and squared errors count half.

The kernels are the library's, which take the mean over the T outputs. What a row counts in the divisor, q, makes the
difference: r[n] = w[n] / Σ w q, so q = 1 / (T c) makes c times the sum over the outputs of it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

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


LOSSES = ("squared_error", "poisson", "absolute_error", "huber", "quantile")
