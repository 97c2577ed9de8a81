"""RMSprop: a step is divided by the root of a mean of squares."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from .. import check
from ..check import shown
from ..kernels import updates
from .base import Group, Optimizer


class RMSprop(Optimizer):
    """g ← ±g + λp;  v ← αv + (1 - α)g²;  d = g / (√v + ε);  with momentum b ← μb + d and d = b;  p ← p - lr d.

    centered: a ← αa + (1 - α)g, and v - a² stands below the root in place of v; where rounding makes it less than 0, it
    is 0. α alpha, ε eps, λ weight_decay, μ momentum; maximize takes -g, and climbs. v begins at 0 and nothing undoes
    that: the first step is lr / √(1 - α), ten times the rate. The state holds "step", v as "square_avg", b as
    "momentum_buffer", a as "grad_avg". Error: ValueError for options out of range.
    Source: Tieleman and Hinton, Lecture 6.5, COURSERA 2012, as PyTorch's documentation of torch.optim.RMSprop has it;
    centered: Graves, arXiv:1308.0850, 2013.
    """

    scale, update = staticmethod(updates.rmsprop_scale), staticmethod(updates.rmsprop_update)
    arrays = ("square_avg", "momentum_buffer", "grad_avg")
    only_with: ClassVar = {"momentum_buffer": "momentum", "grad_avg": "centered"}
    switches = ("centered", "maximize")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(params, {**options, "centered": centered, "maximize": maximize})

    def _check(self, group: Group) -> None:
        super()._check(group)
        check.above("RMSprop: eps", group["eps"])
        check.number("RMSprop: momentum", group["momentum"], 0)
        if not (check.is_number(group["alpha"]) and 0 <= group["alpha"] <= 1):
            raise ValueError(f"RMSprop: alpha is {shown(group['alpha'])}; it must be a number in [0, 1]")
