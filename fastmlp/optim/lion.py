"""Lion: only the sign of the momentum moves a parameter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..kernels import updates
from .base import Optimizer, as_pair


class Lion(Optimizer):
    """c = β₁m + (1 - β₁)g;  p ← p (1 - lr λ) - lr sign(c);  m ← β₂m + (1 - β₂)g.

    Each number moves by lr, whatever the gradient's size. (β₁, β₂) betas, λ weight_decay. The state holds m as
    "exp_avg". A learning rate a third to a tenth of Adam's is the authors' advice.
    Error: ValueError for options out of range. Source: Chen et al., NeurIPS 2023, Algorithm 2; its defaults.
    """

    scale, update = staticmethod(updates.lion_scale), staticmethod(updates.lion_update)
    arrays, counts_steps = ("exp_avg",), False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": as_pair(betas), "weight_decay": weight_decay})
