"""Schedules: the learning rate as a function of the epochs or steps that are done. Names and values are PyTorch's.

A schedule knows no rule, and a rule no schedule: the rate of a step is an argument of the rule's kernels.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import check
from ..graph import Array
from .base import Optimizer

MOST_RATE = float(np.finfo(np.float32).max)


class Schedule:
    """Base of the schedules. A subclass has `rate`, and says nothing of optimizers.

    `total` is how many epochs or steps the training has: a length that was left out is all of it.
    """

    def rate(self, start: float, done: int, total: int) -> float:
        """The learning rate after `done` of `total` epochs or steps, for a group that began with `start`."""
        raise NotImplementedError(f"{type(self).__name__} has no rate")


class StepLR(Schedule):
    """rate = start γ^⌊t / step_size⌋ after t epochs or steps.    γ gamma

    Error: ValueError for a step_size below 1, a gamma below 0.
    Source: PyTorch's documentation of torch.optim.lr_scheduler.StepLR.
    """

    def __init__(self, step_size: int, gamma: float = 0.1) -> None:
        check.whole("StepLR: step_size", step_size, 1)
        check.number("StepLR: gamma", gamma, 0)
        self.step_size, self.gamma = int(step_size), gamma

    def rate(self, start: float, done: int, total: int) -> float:
        """As the class says."""
        return start * self.gamma ** (done // self.step_size)


class CosineAnnealingLR(Schedule):
    """rate = η + (start - η)(1 + cos(π t / T_max)) / 2  after t epochs or steps.    η eta_min

    T_max  epochs or steps to the lowest rate; all of the training where None
    Errors: ValueError for a T_max below 1 or an eta_min below 0. Source: Loshchilov and Hutter, SGDR, ICLR 2017,
    without restarts; PyTorch's documentation of torch.optim.lr_scheduler.CosineAnnealingLR.
    """

    def __init__(self, T_max: int | None = None, eta_min: float = 0.0) -> None:
        if T_max is not None:
            check.whole("CosineAnnealingLR: T_max", T_max, 1, ", or None")
        check.number("CosineAnnealingLR: eta_min", eta_min, 0)
        self.T_max, self.eta_min = T_max, eta_min

    def rate(self, start: float, done: int, total: int) -> float:
        """As the class says."""
        half = (1 + math.cos(math.pi * done / (self.T_max or total))) / 2
        return self.eta_min + (start - self.eta_min) * half


SCHEDULES: dict[str, type[Schedule]] = {schedule.__name__: schedule for schedule in (StepLR, CosineAnnealingLR)}


class Rates:
    """The learning rates of a training, epoch by epoch, for `fit`; without a schedule they are the groups' own.

    `epochs` are all of the training, those of earlier calls too. A group whose rate is still the one that a schedule
    left goes on from where that schedule began; one whose rate was set since begins there.
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule | None, every: str, epochs: int, steps: int) -> None:
        if schedule is not None and not isinstance(schedule, Schedule):
            kinds = ", ".join(SCHEDULES)
            raise TypeError(f"fit: schedule is {schedule!r}; it must be one of fastmlp.optim: {kinds}")
        if every not in ("epoch", "step"):
            raise ValueError(f"fit: schedule_every is {every!r}; it must be 'epoch' or 'step'")
        self.optimizer, self.schedule, self.every = optimizer, schedule, every
        self.epochs, self.steps = epochs, steps
        rates = [float(group["lr"]) for group in optimizer.param_groups]
        before = optimizer.schedule_rates if len(optimizer.schedule_rates) == len(rates) else [[r, r] for r in rates]
        goes_on = optimizer.epochs > 0
        self.start = [b if goes_on and rate == left else rate for rate, (b, left) in zip(rates, before, strict=True)]
        narrow = any(parameter.dtype == np.float32 for parameter in optimizer.parameters())
        self.least = float(np.finfo(np.float32 if narrow else np.float64).tiny)  # what is below it is 0 to the kernels
        if schedule is not None:
            check.takes(f"fit: schedule {type(schedule).__name__}.rate", schedule.rate, "start", "done", "total")
            self._look_ahead()

    def _look_ahead(self) -> None:
        """Refuse a schedule that gives no rate, before the first step: of every epoch, of steps the first and last."""
        total, size = (self.epochs, 1) if self.every == "epoch" else (self.epochs * self.steps, self.steps)
        for first in range(0, total, size):
            for done in {first, first + size - 1}:
                for start in self.start:
                    self._rate(start, done, total)

    def of_epoch(self, epoch: int) -> Array | None:
        """(steps, groups): the rates of the steps of an epoch, counted from 1; None where the groups hold them.

        The groups hold the last rate when this returns, as PyTorch leaves it.
        """
        if self.schedule is None:
            return None
        if self.every == "epoch":
            rates = np.array([[self._rate(start, epoch - 1, self.epochs) for start in self.start]])
        else:
            total, first = self.epochs * self.steps, (epoch - 1) * self.steps
            rates = np.array(
                [[self._rate(start, first + step, total) for start in self.start] for step in range(self.steps)]
            )
        for group, rate in zip(self.optimizer.param_groups, rates[-1], strict=True):
            group["lr"] = float(rate)
        self.optimizer.schedule_rates = [list(pair) for pair in zip(self.start, map(float, rates[-1]), strict=True)]
        return rates if self.every == "step" else None

    def _rate(self, start: float, done: int, total: int) -> float:
        assert self.schedule is not None
        name = type(self.schedule).__name__
        try:
            rate: Any = self.schedule.rate(start, done, total)
        except OverflowError:  # of Python's numbers: NumPy's become infinite
            rate = math.inf
        if not (check.is_number(rate) and 0 <= rate <= MOST_RATE):
            raise ValueError(
                f"fit: schedule {name} gives the rate {rate!r} after {done} of {total} {self.every}s; "
                f"it must be a number in 0..{MOST_RATE:.2g}"
            )
        return float(rate) if rate >= self.least else 0.0
