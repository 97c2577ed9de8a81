"""Losses of numbers that are to be met: a node, its operation and its module each; the scores that go with them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from .. import check
from ..check import shown
from ..graph import Array, Tensor
from ..kernels import distances as kernels
from .loss import Loss
from .rowloss import LossNode, row_loss
from .score import Score, per_spread


def _r2_numbers(targets: Array, weights: Array | None = None) -> Array:
    """w of `r2_score`, by the spread Σ (t - mean)² of the targets, weighted where rows are."""
    if weights is None:
        return per_spread(((targets - targets.mean(axis=0)) ** 2).sum(axis=0), np.ones(len(targets)), targets)
    mean = np.average(targets, axis=0, weights=weights)
    return per_spread((weights[:, None] * (targets - mean) ** 2).sum(axis=0), weights, targets)


R2 = Score("r2", kernels.r2_score, _r2_numbers, start=1.0, best=1.0)


KEEPS = {
    "z": "the distance from the target scales what each output sends back",
    "t": "the targets",
    "r": "the share of each row in the loss",
}


def _above_0(name: str, value: Any) -> None:
    if not (check.is_number(value) and value > 0):
        raise ValueError(f"{name} is {shown(value)}; it must be a finite number above 0")


class MseLossBackward0(LossNode):
    """loss = Σₙ r[n] Σ_c (z[n, c] - t[n, c])² / C."""

    equation = "dz = 2 dloss r[n] (z - t) / C"
    pair = (kernels.mse_forward, kernels.mse_backward)
    keeps = KEEPS
    twin = "torch.nn.functional.mse_loss"
    twin_saved = {"z": "self", "t": "target"}  # PyTorch works r out again


def mse_loss(z: Tensor, targets: Any, *, sample_weight: Any = None, reduction: str = "mean") -> Tensor:
    """loss = Σₙ r[n] Σ_c (z[n, c] - t[n, c])² / C.    z: (N, C)  targets t: (N, C), or (N,) where C is 1  loss: ()

    sample_weight  w (N,) numbers >= 0, one for each row; None counts every row once
    reduction      "mean": r = w / Σ w, 1 / N without weights;  "sum": r = C w, the sum over all numbers;  "none": the
                   loss of each number, (N, C), times w
    The loss has the unit of the targets, squared. Errors: ValueError for shapes that do not fit, weights below 0 and
    another reduction; TypeError for other dtypes than float32 and float64. Source: PyTorch's documentation of MSELoss.
    """
    return row_loss("mse_loss", MseLossBackward0, z, targets, sample_weight=sample_weight, reduction=reduction)


class MSELoss(Loss):
    """loss = mean over n and c of (z[n, c] - t[n, c])².    z: (N, C)  targets t: floats (N, C), or (N,) where C is 1

    The score beside it is R² = 1 - Σ (z - t)² / Σ (t - mean)², the mean over the columns whose targets are not all the
    same; NaN where all are.
    Errors: those of `ops.mse_loss`. Source: PyTorch's documentation of torch.nn.MSELoss; for R²,
    scikit-learn's documentation of r2_score.
    """

    node, targets, score = MseLossBackward0, "numbers", R2
    scales = True

    def forward(self, z: Tensor, targets: Any, sample_weight: Any = None) -> Tensor:  # type: ignore[override]
        """As `ops.mse_loss`."""
        return mse_loss(z, targets, sample_weight=sample_weight, reduction=self.reduction)


class L1LossBackward0(LossNode):
    """loss = Σₙ r[n] Σ_c |z[n, c] - t[n, c]| / C."""

    equation = "dz = dloss r[n] sign(z - t) / C, 0 where z is t"
    pair = (kernels.l1_forward, kernels.l1_backward)
    keeps = {"z": "on which side of its target an output is, is the sign", "t": KEEPS["t"], "r": KEEPS["r"]}
    twin = "torch.nn.functional.l1_loss"
    twin_note = "there it is made of two nodes, MeanBackward0 and AbsBackward0"


def l1_loss(z: Tensor, targets: Any, *, sample_weight: Any = None, reduction: str = "mean") -> Tensor:
    """loss = Σₙ r[n] Σ_c |z[n, c] - t[n, c]| / C.    Shapes, weights, reductions and errors are those of `mse_loss`.

    Source: PyTorch's documentation of L1Loss.
    """
    return row_loss("l1_loss", L1LossBackward0, z, targets, sample_weight=sample_weight, reduction=reduction)


class L1Loss(Loss):
    """loss = mean over n and c of |z[n, c] - t[n, c]|.    z: (N, C)  targets t: floats (N, C), or (N,) where C is 1

    Its least is at the median of the targets. The slope where an output meets its target is 0. The score is R².
    Errors: those of `ops.l1_loss`. Source: PyTorch's documentation of torch.nn.L1Loss.
    """

    node, targets, score = L1LossBackward0, "numbers", R2
    scales = True


class HuberLossBackward0(LossNode):
    """loss = Σₙ r[n] Σ_c h / C,  h = d² / 2 where |d| <= delta, else delta (|d| - delta / 2),  d = z - t."""

    equation = "dz = dloss r[n] d / C where |d| <= delta, else dloss r[n] delta sign(d) / C"
    pair = (kernels.huber_forward, kernels.huber_backward)
    keeps = KEEPS
    twin = "torch.nn.functional.huber_loss"
    twin_saved = {"z": "self", "t": "target"}  # PyTorch works r out again


def huber_loss(
    z: Tensor, targets: Any, *, delta: float = 1.0, sample_weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """loss = Σₙ r[n] Σ_c h / C,  h = d² / 2 where |d| <= delta, else delta (|d| - delta / 2),  d = z - t.

    delta: above 0, the distance from which on it grows in a line. Shapes, weights, reductions and errors are those of
    `mse_loss`. Source: Huber, Robust Estimation of a Location Parameter, Ann. Math. Statist. 35 (1964).
    """
    _above_0("huber_loss: delta", delta)
    return row_loss(
        "huber_loss", HuberLossBackward0, z, targets, delta, sample_weight=sample_weight, reduction=reduction
    )  # fmt: skip


class HuberLoss(Loss):
    """loss = mean over n and c of  d² / 2 where |d| <= delta, else delta (|d| - delta / 2),  d = z[n, c] - t[n, c].

    Squared near the target, in a line far from it: an outlier pulls with delta at most. z: (N, C), targets t: floats
    (N, C), or (N,) where C is 1. The score is R².
    Errors: ValueError for delta of 0 or below; those of `ops.huber_loss`. Source: Huber, Robust Estimation of a
    Location Parameter, Ann. Math. Statist. 35 (1964); PyTorch's documentation of torch.nn.HuberLoss.
    """

    node, targets, score, numbers = HuberLossBackward0, "numbers", R2, ("delta",)
    scales = True

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        _above_0("HuberLoss: delta", delta)
        self.delta = delta


class SmoothL1LossBackward0(LossNode):
    """loss = Σₙ r[n] Σ_c s / C,  s = d² / (2 beta) where |d| < beta, else |d| - beta / 2,  d = z[n, c] - t[n, c]."""

    equation = "dz = dloss r[n] d / beta / C where |d| < beta, else dloss r[n] sign(d) / C"
    pair = (kernels.smooth_l1_forward, kernels.smooth_l1_backward)
    keeps = KEEPS
    twin = "torch.nn.functional.smooth_l1_loss"
    twin_saved = {"z": "self", "t": "target"}  # PyTorch works r out again


def smooth_l1_loss(
    z: Tensor, targets: Any, *, beta: float = 1.0, sample_weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """loss = Σₙ r[n] Σ_c s / C,  s = d² / (2 beta) where |d| < beta, else |d| - beta / 2,  d = z[n, c] - t[n, c].

    beta: at least 0; with 0 it is `l1_loss`. Shapes, weights, reductions and errors are those of `mse_loss`.
    Source: Girshick, Fast R-CNN, ICCV 2015, equation 3; PyTorch's documentation of SmoothL1Loss.
    """
    check.number("smooth_l1_loss: beta", beta, 0)
    return row_loss(
        "smooth_l1_loss", SmoothL1LossBackward0, z, targets, beta, sample_weight=sample_weight, reduction=reduction
    )  # fmt: skip


class SmoothL1Loss(Loss):
    """loss = mean over n and c of  d² / (2 beta) where |d| < beta, else |d| - beta / 2,  d = z[n, c] - t[n, c].

    `HuberLoss(delta=beta)` divided by beta: far from the target the slope is 1 whatever beta is. z: (N, C), targets t:
    floats (N, C), or (N,) where C is 1. The score is R².
    Errors: ValueError for beta below 0; those of `ops.smooth_l1_loss`. Source: Girshick, Fast R-CNN, ICCV 2015;
    PyTorch's documentation of torch.nn.SmoothL1Loss.
    """

    node, targets, score, numbers = SmoothL1LossBackward0, "numbers", R2, ("beta",)
    scales = True

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        check.number("SmoothL1Loss: beta", beta, 0)
        self.beta = beta


def _deviance_numbers(log_input: float, targets: Array, weights: Array | None = None) -> Array:
    """What `poisson_d2_score` knows: log_input, and for each column by how much its targets' mean is off."""
    w = np.ones(len(targets)) if weights is None else weights
    mean = np.average(targets, axis=0, weights=w)
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.where(targets > 0, targets * np.log(targets / mean), 0.0)  # the rest adds up to 0
    return np.array([log_input, *per_spread((w[:, None] * off).sum(axis=0), w, targets)])


POISSON_D2 = {  # by log_input
    flag: Score("d2", kernels.poisson_d2_score, partial(_deviance_numbers, float(flag)), start=1.0, best=1.0)
    for flag in (True, False)
}


class PoissonNllLossBackward0(LossNode):
    """loss = Σₙ r[n] Σ_c (e^z[n, c] - t[n, c] z[n, c]) / C; with `log_input=False` z - t log(z + eps) for each."""

    equation = "dz = dloss r[n] (e^z - t) / C; with log_input=False dloss r[n] (1 - t / (z + eps)) / C"
    pair = (kernels.poisson_nll_forward, kernels.poisson_nll_backward)
    keeps = {"z": "the mean that it stands for is compared with the target", "t": KEEPS["t"], "r": KEEPS["r"]}
    twin = "torch.nn.functional.poisson_nll_loss"
    twin_note = "there it is made of several nodes, of which MeanBackward0 is the last"


def poisson_nll_loss(
    z: Tensor,
    targets: Any,
    *,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """loss = Σₙ r[n] Σ_c (e^z[n, c] - t[n, c] z[n, c]) / C,  the outputs z are logarithms of the expected counts.

    log_input  False where z are the expected counts: z - t log(z + eps) for each
    full       whether log t!, which no output changes, is added, by Stirling's formula where t > 1
    Shapes, weights, reductions and errors are those of `mse_loss`. Source: PyTorch's documentation of PoissonNLLLoss.
    """
    _check_poisson("poisson_nll_loss", log_input, full, eps)
    return row_loss(
        "poisson_nll_loss", PoissonNllLossBackward0, z, targets, log_input, full, eps, sample_weight=sample_weight,
        reduction=reduction,
    )  # fmt: skip


def _check_poisson(caller: str, log_input: Any, full: Any, eps: Any) -> None:
    for name, value in (("log_input", log_input), ("full", full)):
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"{caller}: {name} is {shown(value)}; it must be True or False")
    _above_0(f"{caller}: eps", eps)


class PoissonNLLLoss(Loss):
    """loss = mean over n and c of  e^z[n, c] - t[n, c] z[n, c]:  -log of a Poisson probability, without log t!.

    For counts t, floats of at least 0, (N, C), or (N,) where C is 1: the outputs z are logarithms of the expected
    counts, with `log_input=False` the counts themselves, and z - t log(z + eps) is the loss of each. `full` adds log t!
    by Stirling's formula where t > 1. The score is D² = 1 - deviance / deviance of the mean of the targets, over the
    columns whose targets are not all the same.
    Errors: ValueError for counts below 0; those of `ops.poisson_nll_loss`. Source: PyTorch's documentation of
    torch.nn.PoissonNLLLoss; for D², McCullagh and Nelder, Generalized Linear Models, 2nd ed. (1989), 2.3.
    """

    node, targets, score = PoissonNllLossBackward0, "numbers", POISSON_D2[True]
    numbers = ("log_input", "full", "eps")
    formula = "l.log_input ? Math.exp(v) : v"

    def __init__(self, log_input: bool = True, full: bool = False, eps: float = 1e-8, reduction: str = "mean") -> None:
        super().__init__(reduction)
        _check_poisson("PoissonNLLLoss", log_input, full, eps)
        self.log_input, self.full, self.eps = log_input, full, eps
        self.score = POISSON_D2[bool(log_input)]

    def check_targets(self, caller: str, targets: Array, outputs: int | None) -> None:
        """Counts are at least 0."""
        if targets.min() < 0:
            row = int(np.argmin(targets.min(axis=1)))
            raise ValueError(f"{caller} has the target {targets[row].min()} in row {row}; a count is at least 0")

    def predicted(self, z: Array) -> Array:
        """The expected counts: e^z where the outputs are their logarithms."""
        with np.errstate(over="ignore"):  # of a model that diverges it is infinite
            return np.exp(z) if self.log_input else z


def _pinball_numbers(quantiles: Array, targets: Array, weights: Array | None = None) -> Array:
    """What `quantile_d2_score` knows: K, the quantiles, and what an error of each output counts."""
    w = np.ones(len(targets)) if weights is None else weights
    lost = [
        (w * np.maximum(q * (t - best), (q - 1) * (t - best))).sum()
        for t in targets.T
        for q in quantiles
        for best in [_weighted_quantile(t, q, w)]
    ]
    each = np.repeat(targets, len(quantiles), axis=1)
    return np.array([len(quantiles), *quantiles, *per_spread(np.array(lost), w, each)])


def _weighted_quantile(t: Array, q: float, weights: Array) -> Any:
    """The least of t such that those up to it have a share q of the weights: no number has a smaller pinball loss."""
    order = np.argsort(t, kind="stable")
    reached = np.cumsum(weights[order])
    return t[order[min(int(np.searchsorted(reached, q * reached[-1])), len(t) - 1)]]


class QuantileLossBackward0(LossNode):
    """loss = Σₙ r[n] Σ_c h / C,  h = q e where e > 0, else (q - 1) e,  e = t[n, c // K] - z[n, c],  q = q[c % K]."""

    equation = "dz = -dloss r[n] q / C where z < t, dloss r[n] (1 - q) / C where z > t, 0 where z is t"
    pair = (kernels.quantile_forward, kernels.quantile_backward)
    keeps = {"z": "on which side of its target an output is, decides the slope", "t": KEEPS["t"], "r": KEEPS["r"]}
    twin_note = "PyTorch has no such loss"


def quantile_loss(
    z: Tensor, targets: Any, *, quantiles: Any = (0.5,), sample_weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """loss = Σₙ r[n] Σ_c h / C,  h = q e where e > 0, else (q - 1) e,  e = t - z: the pinball loss.

    quantiles  K numbers q in (0, 1), or one
    z          (N, T K): output t K + k is quantile k of target t    targets: (N, T), or (N,) where T is 1
    The slope where an output meets its target is 0. Weights, reductions and errors are those of `mse_loss`.
    Source: Koenker and Bassett, Regression Quantiles, Econometrica 46 (1978).
    """
    return _quantile_loss("quantile_loss", z, targets, _quantiles("quantile_loss", quantiles), sample_weight, reduction)


def _quantile_loss(name: str, z: Tensor, targets: Any, q: Array, sample_weight: Any, reduction: str) -> Tensor:
    return row_loss(
        name, QuantileLossBackward0, z, targets, q, sample_weight=sample_weight, reduction=reduction, outputs=len(q)
    )


def _quantiles(caller: str, quantiles: Any) -> Array:
    q = np.atleast_1d(check.array(f"{caller}: quantiles", quantiles))
    if q.ndim != 1 or q.dtype.kind != "f" or not q.size or not ((q > 0) & (q < 1)).all():
        raise ValueError(
            f"{caller}: quantiles is {shown(quantiles)}; it must be one number between 0 and 1, or several"
        )
    return q.astype(np.float64)


class QuantileLoss(Loss):
    """loss = mean over n and c of  q e where e > 0, else (q - 1) e,  e = t - z: the pinball loss.

    For K quantiles q in (0, 1) a model has K outputs for each target, z: (N, T K), output t K + k for quantile k of
    target t; targets: floats (N, T), or (N,) where T is 1. Its least is at the quantiles of the targets; 0.5 is the
    median, and half the absolute error. The score is D² = 1 - loss / loss of the targets' own quantiles, the mean over
    the outputs whose targets are not all the same.
    Errors: ValueError for quantiles outside (0, 1); those of `ops.quantile_loss`. Source: Koenker and Bassett,
    Regression Quantiles, Econometrica 46 (1978); for D², scikit-learn's documentation of d2_pinball_score.
    """

    node, targets = QuantileLossBackward0, "numbers"
    scales = True
    score = Score("d2", kernels.quantile_d2_score, partial(_pinball_numbers, np.array([0.5])), start=1.0, best=1.0)

    def __init__(self, quantiles: Any = (0.5,), reduction: str = "mean") -> None:
        super().__init__(reduction)
        q = _quantiles("QuantileLoss", quantiles)
        self.quantiles = tuple(q.tolist())
        self.score = replace(type(self).score, numbers=partial(_pinball_numbers, q))

    def number_array(self) -> Array:
        """The quantiles."""
        return np.array(self.quantiles)

    def outputs(self, classes: int, width: int) -> int:
        """K for each target."""
        return width * len(self.quantiles)

    def predicted(self, z: Array) -> Array:
        """The quantile next to the median, of each target."""
        return z[:, self.picked(z.shape[1])]

    def picked(self, columns: int) -> slice:
        """Of each target the quantile next to the median."""
        nearest = int(np.argmin(np.abs(self.number_array() - 0.5)))
        return slice(nearest, columns, len(self.quantiles))

    def forward(self, z: Tensor, targets: Any, sample_weight: Any = None) -> Tensor:  # type: ignore[override]
        """As `ops.quantile_loss`."""
        return _quantile_loss("QuantileLoss", z, targets, self.number_array(), sample_weight, self.reduction)


DISTANCES: dict[str, type[Loss]] = {  # by the names of their operations
    "mse_loss": MSELoss,
    "l1_loss": L1Loss,
    "huber_loss": HuberLoss,
    "smooth_l1_loss": SmoothL1Loss,
    "poisson_nll_loss": PoissonNLLLoss,
    "quantile_loss": QuantileLoss,
}
