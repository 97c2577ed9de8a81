"""Adagrad: a step is divided by the root of the sum of all squares so far."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from .. import check
from ..kernels import updates
from .base import Group, Optimizer


class Adagrad(Optimizer):
    """g ← ±g + λp;  s ← s + g²;  p ← p - lr / (1 + (t - 1)η) g / (√s + ε).

    s begins at initial_accumulator_value and only grows, so the steps shrink. η lr_decay, λ weight_decay, ε eps;
    maximize takes -g, and climbs. The state holds t as "step", s as "sum".
    Error: ValueError for options out of range.
    Source: Duchi, Hazan and Singer, JMLR 2011, as PyTorch's documentation of torch.optim.Adagrad has it.
    """

    scale, update = staticmethod(updates.adagrad_scale), staticmethod(updates.adagrad_update)
    arrays = ("sum",)
    starts: ClassVar = {"sum": "initial_accumulator_value"}
    switches = ("maximize",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay}
        options |= {"initial_accumulator_value": initial_accumulator_value, "eps": eps}
        super().__init__(params, {**options, "maximize": maximize})

    def _check(self, group: Group) -> None:
        super()._check(group)
        check.number("Adagrad: lr_decay", group["lr_decay"], 0)
        check.number("Adagrad: initial_accumulator_value", group["initial_accumulator_value"], 0)
        check.above("Adagrad: eps", group["eps"])
