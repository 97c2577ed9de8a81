"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from .. import check, kernels
from ..kernels import owed
from .base import Group, Optimizer


class SGD(Optimizer):
    """g ← ±g + λp;  b ← μb + (1 - τ)g, b = g in the first step;  d = g + μb with nesterov, else b;  p ← p - lr d.

    lr learning rate (default 1e-3), μ momentum, τ dampening, λ weight_decay; maximize takes -g, and climbs.
    Errors: ValueError for options out of range and for nesterov without momentum or with dampening.
    Source: PyTorch's documentation of torch.optim.SGD; Sutskever et al., ICML 2013.
    """

    scale, update = staticmethod(kernels.sgd_scale), staticmethod(kernels.sgd_update)
    owed = staticmethod(owed.sgd_owed)
    arrays, counts_steps = ("momentum_buffer",), False
    switches = ("nesterov", "maximize")
    only_with: ClassVar = {"momentum_buffer": "momentum"}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {**options, "nesterov": nesterov, "maximize": maximize})

    def _check(self, group: Group) -> None:
        super()._check(group)
        check.number("SGD: momentum", group["momentum"], 0)
        check.number("SGD: dampening", group["dampening"])
        if group["nesterov"] and not (group["momentum"] > 0 and group["dampening"] == 0):
            raise ValueError("SGD: nesterov needs momentum above 0 and dampening 0")

    def steps_made(self, state: Mapping[str, Any]) -> int:
        """Whether b is there: the first step makes it."""
        return int("momentum_buffer" in state)
