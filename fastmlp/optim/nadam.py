"""NAdam: Adam with Nesterov's momentum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from .. import check
from ..kernels import updates
from .base import Group, Optimizer, as_pair


class NAdam(Optimizer):
    """m ← β₁m + (1 - β₁)g;  v ← β₂v + (1 - β₂)g²;  p ← p - lr ((1 - μₜ)g / (1 - M) + μₜ₊₁m / (1 - Mμₜ₊₁)) / (√v̂ + ε).

    g ← ±g + λp before; with decoupled_weight_decay p ← p (1 - lr λ) in its place. v̂ = v / (1 - β₂ᵗ).
    μₜ = β₁(1 - 0.96^(tψ) / 2) rises from β₁ / 2 to β₁, and M = μ₁μ₂ ⋯ μₜ undoes the start of m at zero. (β₁, β₂) betas,
    ε eps, λ weight_decay, ψ momentum_decay; maximize takes -g, and climbs. The state holds t as "step", m as "exp_avg",
    v as "exp_avg_sq", M as "mu_product": a product over the steps that were made, with the options of their time.
    Error: ValueError for options out of range.
    Source: Dozat, ICLR 2016 workshop, Algorithm 2, as PyTorch's documentation of torch.optim.NAdam has it.
    """

    scale, update = staticmethod(updates.nadam_scale), staticmethod(updates.nadam_update)
    arrays = ("exp_avg", "exp_avg_sq")
    numbers: ClassVar = {"mu_product": 1.0}
    switches = ("decoupled_weight_decay", "maximize")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "betas": as_pair(betas), "eps": eps, "weight_decay": weight_decay}
        options |= {"momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay}
        super().__init__(params, {**options, "maximize": maximize})

    def _check(self, group: Group) -> None:
        super()._check(group)
        check.above("NAdam: eps", group["eps"])
        check.number("NAdam: momentum_decay", group["momentum_decay"], 0)
