"""SequentialLR: schedules one after the other."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Any

from .. import check
from ..check import shown
from .base import Optimizer
from .schedule import Schedule, checked_milestones, first_rates


class SequentialLR(Schedule):
    """rate = that of schedulers[k] after t - milestones[k - 1] epochs or steps, k the milestones of at most t.

    Each schedule begins with the rate that the optimizer had at first. A length that one leaves out goes to the next
    milestone, and of the last one to the end: SequentialLR([LinearLR(), CosineAnnealingLR()], [5]). In a loop of one's
    own they may have the optimizer too, as in PyTorch, where they must. It counts steps where one of them does.

    milestones  rising, one less than schedules
    Errors: TypeError for what is no schedule; ValueError for one that watches a metric, for other milestones, for a
    schedule with another optimizer. Source: PyTorch's documentation of torch.optim.lr_scheduler.SequentialLR.
    """

    def __init__(self, schedulers: Iterable[Schedule], milestones: Iterable[int]) -> None:
        given: list[Any] = list(schedulers) if check.listed(schedulers) else [schedulers]
        for one in given:
            if not isinstance(one, Schedule):
                raise TypeError(f"SequentialLR: schedulers holds {shown(one)}; it must hold schedules of fastmlp.optim")
            if one.watches:
                raise ValueError(f"SequentialLR: schedulers holds {type(one).__name__}, which has no rate of its own")
        self.schedulers, self.milestones = given, checked_milestones("SequentialLR", milestones)
        rising = all(a < b for a, b in zip(self.milestones, self.milestones[1:], strict=False))
        if not given or len(self.milestones) != len(given) - 1 or not rising:
            raise ValueError(
                f"SequentialLR: milestones is {shown(self.milestones)} for {len(given)} schedules; it must rise, with "
                "one number less than there are schedules"
            )
        self.schedule_every = "step" if any(one.schedule_every == "step" for one in given) else "epoch"

    def lacks(self) -> str:
        """The length of the last schedule, where it was left out."""
        lacks = self.schedulers[-1].lacks()
        return lacks and f"{lacks} of {type(self.schedulers[-1]).__name__}"

    def needs(self, optimizer: Optimizer) -> str:
        """What a schedule of it needs."""
        for one in self.schedulers:
            if one.optimizer is not None and one.optimizer is not self.optimizer:
                return f"{type(one).__name__} was made with an optimizer; SequentialLR must be made with the same one"
            if needs := one.needs(optimizer):
                return f"{type(one).__name__}: {needs}"
        return ""

    def rate(self, start: float, done: int, total: int) -> float:
        """As the class says."""
        one, own, length = self._turn(done, total)
        return one.rate(start, own, length)

    def of_groups(self, starts: list[float], done: int, total: int) -> list[float]:
        """The rates of all groups, of the schedule whose turn it is."""
        one, own, length = self._turn(done, total)
        return one.of_groups(starts, own, length)

    @property
    def moves_momentum(self) -> bool:
        """Whether one of them does."""
        return any(schedule.moves_momentum for schedule in self.schedulers)

    def momenta_of_groups(self, groups: int, done: int, total: int) -> list[float] | None:
        """The momenta of the schedule whose turn it is."""
        one, own, length = self._turn(done, total)
        return one.momenta_of_groups(groups, own, length)

    def follow(self, rates: list[float], starts: list[float], done: int, total: int) -> list[float]:
        """What the schedule whose turn it is makes of them; at a milestone it begins anew, and they are forgotten."""
        one, own, length = self._turn(done, total)
        return one.follow(rates, starts, own, length) if own else one.of_groups(starts, own, length)

    def _bind(self, optimizer: Any, last_epoch: int) -> None:
        """Take an optimizer; what the schedules have done to it when they took it is undone."""
        if last_epoch == -1 and isinstance(optimizer, Optimizer):
            for group, first in zip(optimizer.param_groups, first_rates(optimizer), strict=True):
                group["lr"] = first
        super()._bind(optimizer, last_epoch)

    def _turn(self, done: int, total: int) -> tuple[Schedule, int, int]:
        """(the schedule whose turn it is, what it has done, how long it has)."""
        k = bisect_right(self.milestones, done)
        first = self.milestones[k - 1] if k else 0
        end = self.milestones[k] if k < len(self.milestones) else total
        return self.schedulers[k], done - first, end - first
