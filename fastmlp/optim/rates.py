"""`Rates`: what a schedule gives a training, epoch by epoch, for `fit`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import check
from ..graph import Array
from .base import Optimizer
from .schedule import Schedule, first_rates
from .schedules import SCHEDULES

MOST_RATE = float(np.finfo(np.float32).max)


class Rates:
    """The learning rates of a training, epoch by epoch; without a schedule they are the groups' own.

    every   what the schedule counts, "epoch" or "step"; what it counts of itself where None
    epochs  all of the training, those of earlier calls too, and of these `done` are made
    steps   of an epoch
    held_out  whether rows are: what a schedule that watches a metric looks at
    A group whose rate is still the one that a schedule left goes on from where that schedule began; one whose rate was
    set since begins there.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedule: Schedule | None,
        every: str | None,
        epochs: int,
        steps: int,
        done: int = 0,
        held_out: bool = False,
    ) -> None:
        if schedule is not None and not isinstance(schedule, Schedule):
            kinds = ", ".join(SCHEDULES)
            raise TypeError(f"fit: schedule is {check.shown(schedule)}; it must be one of fastmlp.optim: {kinds}")
        if every is not None and not (isinstance(every, str) and every in ("epoch", "step")):
            raise ValueError(f"fit: schedule_every is {check.shown(every)}; it must be 'epoch', 'step' or None")
        self.optimizer, self.schedule = optimizer, schedule
        optimizer.moves_momentum = schedule is not None and schedule.moves_momentum
        self.every = every or (schedule.schedule_every if schedule is not None else "epoch")
        self.epochs, self.steps, self.done, self.ahead = epochs, steps, done, 0
        goes_on = optimizer.epochs > 0
        self.start = first_rates(optimizer) if goes_on else [float(group["lr"]) for group in optimizer.param_groups]
        narrow = any(parameter.dtype == np.float32 for parameter in optimizer.parameters())
        self.least = float(np.finfo(np.float32 if narrow else np.float64).tiny)  # what is below it is 0 to the kernels
        self.unit = 1 if self.every == "epoch" else steps  # an epoch, as the schedule counts
        if schedule is not None:
            name = type(schedule).__name__
            check.takes(f"fit: schedule {name}.rate", schedule.rate, "start", "done", "total")
            if needs := schedule.needs(optimizer):
                raise ValueError(f"fit: schedule {name}: {needs}")
            if schedule.optimizer not in (None, optimizer):
                raise ValueError(
                    f"fit: schedule {name} was made with another optimizer; make it with the one that fit gets, or "
                    "without any"
                )
            if schedule.watches:
                self._begin_to_watch(schedule, held_out)
                return
            if schedule.optimizer is not None:
                self._take_over(schedule)
            self._look_ahead()

    def _take_over(self, schedule: Schedule) -> None:
        """Go on with a schedule that has an optimizer from where it is."""
        rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        known = zip(rates, schedule.get_last_lr(), schedule.base_lrs, strict=True)
        self.start = [start if rate == left else rate for rate, left, start in known]
        self.ahead = schedule.last_epoch - self.done * self.unit

    def _begin_to_watch(self, schedule: Schedule, held_out: bool) -> None:
        """A new training begins anew, another goes on; a schedule that has an optimizer goes on as it is."""
        name = type(schedule).__name__
        if self.every != "epoch":
            raise ValueError(
                f"fit: schedule_every is {check.shown(self.every)}; it must be 'epoch' for {name}, which watches one"
            )
        self.column = schedule.column(held_out)
        if self.done == 0 and schedule.optimizer is None:
            schedule.reset()

    def _look_ahead(self) -> None:
        """Refuse a schedule that gives no rate, before the first step: of every epoch, of steps the first and last."""
        for epoch in range(self.done, self.epochs):
            for done in {epoch * self.unit, (epoch + 1) * self.unit - 1}:
                self._at(done)

    def of_epoch(self, epoch: int) -> Array | None:
        """The rates of the steps of an epoch, counted from 1; None where the groups hold them.

        (steps, groups), or (steps, groups, 2) with the momentum where the schedule moves it.
        The groups hold the last ones when this returns.
        """
        if self.schedule is None or self.schedule.watches:
            return None
        first = (epoch - 1) * self.unit
        rates = np.array([self._at(done) for done in range(first, first + self.unit)])
        rates = self._with_momenta(rates)
        self.optimizer.set_rates(rates[-1])
        left = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.optimizer.schedule_rates = [list(pair) for pair in zip(self.start, left, strict=True)]
        if self.schedule.optimizer is not None:
            self.schedule.note(self.start, left)
        return rates if self.every == "step" else None

    def _with_momenta(self, rates: Array) -> Array:
        """(steps, groups, 2) where a momentum is moved, those that are not being that of the step before; else
        (steps, groups).
        """
        place = self.optimizer.momentum_place()
        if place is None or np.isnan(rates[:, :, 1]).all():
            return np.ascontiguousarray(rates[:, :, 0])
        momenta = np.array([self.optimizer.option_numbers(group)[place] for group in self.optimizer.param_groups])
        for row in rates:
            momenta = row[:, 1] = np.where(np.isnan(row[:, 1]), momenta, row[:, 1])
        return rates

    def state_dict(self) -> dict[str, Any]:
        """Where the rates began, and what the schedule has seen."""
        schedule = None if self.schedule is None else self.schedule.state_dict()
        return {"start": list(self.start), "ahead": self.ahead, "schedule": schedule}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.start, self.ahead = [float(rate) for rate in state["start"]], int(state["ahead"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])

    def words(self) -> str:
        """A line: the rates at the start of this call, in the middle and at the end; an empty text for none."""
        if self.schedule is None or self.done == self.epochs:
            return ""
        if self.schedule.watches:
            rates = np.array([group["lr"] for group in self.optimizer.param_groups])
            return f"{type(self.schedule).__name__} watches {self.column}: learning rate {_short(rates)} at the start"
        first, last = self.done * self.unit, self.epochs * self.unit - 1
        places = {last: "at the end", (first + last + 1) // 2: "in the middle", first: "at the start"}
        said = [
            f"{_short(self._at(at)[:, 0])} {where} ({self.every} {at + 1:,})" for at, where in sorted(places.items())
        ]
        return f"{type(self.schedule).__name__}, {self.every} by {self.every}: learning rate {', '.join(said)}"

    def after(self, epoch: int, measured: object) -> str:
        """An epoch is made, and this was measured; a line where that changes the rates.

        A schedule with an optimizer goes to where a loop would leave it.
        """
        schedule = self.schedule
        if schedule is not None and schedule.watches:
            return self._watch(schedule, getattr(measured, self.column))
        if schedule is not None and schedule.optimizer is not None:
            schedule.go_to(epoch * self.unit + self.ahead)
        return ""

    def _watch(self, schedule: Schedule, metric: float) -> str:
        groups = self.optimizer.param_groups
        before = np.array([float(group["lr"]) for group in groups])
        bad = schedule.watch(metric, groups)
        after = np.array([float(group["lr"]) for group in groups])
        if not bad or (before == after).all():
            return ""
        epochs = f"{bad} epochs" if bad > 1 else "an epoch"
        return f"{self.column} is no better for {epochs}: learning rate from {_short(before)} to {_short(after)}"

    def _at(self, done: int) -> Array:
        """(groups, 2): rate and momentum after so many epochs or steps, NaN for one that stays as it is."""
        assert self.schedule is not None
        name, total = type(self.schedule).__name__, self.epochs * self.unit
        try:
            rates: list[Any] = self.schedule.of_groups(self.start, done + self.ahead, total)
        except OverflowError:  # of Python's numbers: NumPy's become infinite
            rates = [math.inf]
        for rate in rates:
            if not (check.is_number(rate) and 0 <= rate <= MOST_RATE):
                raise ValueError(
                    f"fit: schedule {name} gives the rate {check.shown(rate)} after {done} of {total} {self.every}s; "
                    f"it must be a number in 0..{MOST_RATE:.2g}"
                )
        momenta = self.schedule.momenta_of_groups(len(rates), done + self.ahead, total) or [math.nan] * len(rates)
        return np.array([[rate if rate >= self.least else 0.0, m] for rate, m in zip(rates, momenta, strict=True)])


def _short(rates: Array) -> str:
    """Rates for a line: that of the first group, and whether others differ."""
    return f"{rates[0]:.3g}" + f" (of the first of {len(rates)} groups)" * (len(set(rates)) > 1)
