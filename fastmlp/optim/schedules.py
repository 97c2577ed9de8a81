"""Schedules that are a function of the epochs or steps that are done. Names and values are PyTorch's."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable

from .. import check
from ..check import shown
from .onecycle import OneCycleLR
from .plateau import ReduceLROnPlateau
from .schedule import Schedule, checked_milestones
from .sequential import SequentialLR


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


class MultiStepLR(Schedule):
    """rate = start γ^m after t epochs or steps, m the milestones of at most t.    γ gamma

    milestones  in any order; one that is there twice counts twice
    Error: ValueError for a milestone below 0, a gamma below 0.
    Source: PyTorch's documentation of torch.optim.lr_scheduler.MultiStepLR.
    """

    def __init__(self, milestones: Iterable[int], gamma: float = 0.1) -> None:
        self.milestones, self.gamma = checked_milestones("MultiStepLR", milestones), gamma
        check.number("MultiStepLR: gamma", gamma, 0)

    def rate(self, start: float, done: int, total: int) -> float:
        """As the class says."""
        return start * self.gamma ** bisect_right(sorted(self.milestones), done)


class LinearLR(Schedule):
    """rate = start (a + (b - a) min(t, total_iters) / total_iters)  after t epochs or steps.    a, b the factors

    A warm-up as it is, LinearLR(), a third of the rate to all of it in five; LinearLR(1.0, 0.0, None) falls in a line.
    start_factor  above 0 and at most 1    end_factor  in 0..1
    total_iters   epochs or steps from the one to the other; all of the training where None
    Error: ValueError for arguments out of range.
    Source: PyTorch's documentation of torch.optim.lr_scheduler.LinearLR.
    """

    def __init__(self, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int | None = 5) -> None:
        if not (check.is_number(start_factor) and 0 < start_factor <= 1):
            raise ValueError(
                f"LinearLR: start_factor is {shown(start_factor)}; it must be a number above 0 and at most 1"
            )
        if not (check.is_number(end_factor) and 0 <= end_factor <= 1):
            raise ValueError(f"LinearLR: end_factor is {shown(end_factor)}; it must be a number in 0..1")
        if total_iters is not None:
            check.whole("LinearLR: total_iters", total_iters, 1, ", or None")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters

    def lacks(self) -> str:
        """total_iters, where it was left out."""
        return "" if self.total_iters else "total_iters"

    def rate(self, start: float, done: int, total: int) -> float:
        """As the class says."""
        length = self.total_iters or total
        return start * (self.start_factor + (self.end_factor - self.start_factor) * min(done, length) / length)


class ExponentialLR(Schedule):
    """rate = start γ^t after t epochs or steps.    γ gamma

    Error: ValueError for a gamma below 0.
    Source: PyTorch's documentation of torch.optim.lr_scheduler.ExponentialLR.
    """

    def __init__(self, gamma: float) -> None:
        check.number("ExponentialLR: gamma", gamma, 0)
        self.gamma = gamma

    def rate(self, start: float, done: int, total: int) -> float:
        """As the class says."""
        return start * self.gamma**done


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
        self.floor = float(eta_min)

    def lacks(self) -> str:
        """T_max, where it was left out."""
        return "" if self.T_max else "T_max"

    def rate(self, start: float, done: int, total: int) -> float:
        """As the class says."""
        half = (1 + math.cos(math.pi * done / (self.T_max or total))) / 2
        return self.eta_min + (start - self.eta_min) * half


SCHEDULES: dict[str, type[Schedule]] = {
    schedule.__name__: schedule
    for schedule in (
        StepLR,
        MultiStepLR,
        ExponentialLR,
        CosineAnnealingLR,
        LinearLR,
        OneCycleLR,
        SequentialLR,
        ReduceLROnPlateau,
    )
}
