"""OneCycleLR: the rate rises to its peak and falls far below where it began, and the momentum goes the other way."""

from __future__ import annotations

import math
from typing import Any

from .. import check
from ..check import shown
from .base import Optimizer
from .schedule import Schedule


class OneCycleLR(Schedule):
    """rate = from a to b:  b + (a - b)(1 + cos(π s)) / 2,  or a + (b - a) s where linear;  s the share of a phase.

    Two phases: from max_lr / div_factor to max_lr in pct_start of the steps, then to max_lr / (div_factor
    final_div_factor). With three_phase the second is the first backwards, and a third goes to the lowest rate. The
    momentum, SGD's or β₁ of betas, goes from max_momentum to base_momentum and back. It counts steps.

    max_lr         or a list with one for each parameter group; the optimizer's rate where None, which PyTorch has not
    total_steps    or epochs and steps_per_epoch; all of the training where none is given. In a loop of one's own one
                   must be. After the last step the rate stays; a step more is refused
    anneal_strategy  "cos" or "linear"
    cycle_momentum   False leaves the momentum alone; a rule without any needs that
    Errors: ValueError for arguments out of range, for steps beyond the last, for a rule without momentum.
    Source: Smith and Topin, Super-Convergence, 2018; PyTorch's documentation of torch.optim.lr_scheduler.OneCycleLR.
    """

    schedule_every = "step"

    def __init__(
        self,
        max_lr: float | list[float] | None = None,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ) -> None:
        for name, value in (("total_steps", total_steps), ("epochs", epochs), ("steps_per_epoch", steps_per_epoch)):
            if value is not None:
                check.whole(f"OneCycleLR: {name}", value, 1, ", or None")
        if total_steps is None and (epochs is None) != (steps_per_epoch is None):
            given, other = ("epochs", "steps_per_epoch") if epochs is not None else ("steps_per_epoch", "epochs")
            raise ValueError(f"OneCycleLR: {given} is given without {other}; the steps are their product")
        if not (check.is_number(pct_start) and 0 <= pct_start <= 1):
            raise ValueError(f"OneCycleLR: pct_start is {shown(pct_start)}; it must be a number in 0..1")
        if not isinstance(anneal_strategy, str) or anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycleLR: anneal_strategy is {shown(anneal_strategy)}; it must be 'cos' or 'linear'")
        check.flag("OneCycleLR: cycle_momentum", cycle_momentum)
        check.flag("OneCycleLR: three_phase", three_phase)
        for name, factor in (("div_factor", div_factor), ("final_div_factor", final_div_factor)):
            if not (check.is_number(factor) and factor > 0):
                raise ValueError(f"OneCycleLR: {name} is {shown(factor)}; it must be a number above 0")
        for peak in [] if max_lr is None else _each(max_lr):
            check.number("OneCycleLR: max_lr", peak, 0)
        for name, momentum in (("base_momentum", base_momentum), ("max_momentum", max_momentum)):
            for one in _each(momentum) if cycle_momentum else []:
                if not (check.is_number(one) and 0 < one < 1):
                    must = "a number above 0 and below 1; cycle_momentum=False leaves the momentum alone"
                    raise ValueError(f"OneCycleLR: {name} is {shown(one)}; it must be {must}")
        self.max_lr, self.pct_start, self.anneal_strategy = max_lr, pct_start, anneal_strategy
        self.total_steps, self.epochs, self.steps_per_epoch = total_steps, epochs, steps_per_epoch
        self.cycle_momentum, self.base_momentum, self.max_momentum = cycle_momentum, base_momentum, max_momentum
        self.div_factor, self.final_div_factor, self.three_phase = div_factor, final_div_factor, three_phase

    def lacks(self) -> str:
        """total_steps, where it was left out."""
        return "" if self._length(0) else "total_steps"

    def needs(self, optimizer: Optimizer) -> str:
        """A momentum, and as many groups as there are numbers in a list."""
        groups = len(optimizer.param_groups)
        for name in ("max_lr", "base_momentum", "max_momentum"):
            value = getattr(self, name)
            if isinstance(value, list | tuple) and len(value) != groups:
                return f"{name} has {len(value)} numbers; it must have one for each of the {groups} parameter groups"
        if self.cycle_momentum and optimizer.momentum_place() is None:
            rule = type(optimizer).__name__
            return f"cycle_momentum needs a momentum, and {rule} has neither momentum nor betas; it must be False"
        return ""

    def rate(self, start: float, done: int, total: int) -> float:
        """As the class says; `start` is the peak where max_lr is None."""
        peak = start if self.max_lr is None else _each(self.max_lr)[0]
        return self._between(*self._rates(peak), done, total)

    def of_groups(self, starts: list[float], done: int, total: int) -> list[float]:
        """The rates of all groups, each of its own max_lr."""
        peaks = starts if self.max_lr is None else _each(self.max_lr, len(starts))
        return [self._between(*self._rates(peak), done, total) for peak in peaks]

    @property
    def moves_momentum(self) -> bool:
        """As cycle_momentum says."""
        return self.cycle_momentum

    def momenta_of_groups(self, groups: int, done: int, total: int) -> list[float] | None:
        """The momentum of each group; None without cycle_momentum."""
        if not self.cycle_momentum:
            return None
        pairs = zip(_each(self.max_momentum, groups), _each(self.base_momentum, groups), strict=True)
        return [self._between(most, least, most, done, total) for most, least in pairs]

    def follow(self, rates: list[float], starts: list[float], done: int, total: int) -> list[float]:
        """What somebody else has set is forgotten, as in PyTorch: its rates are of its own."""
        return self.of_groups(starts, done, total)

    def _length(self, total: int) -> int:
        """The steps of the cycle."""
        return self.total_steps or (self.epochs or 0) * (self.steps_per_epoch or 0) or total

    def _rates(self, peak: float) -> tuple[float, float, float]:
        """(the first rate, the highest, the last)."""
        return peak / self.div_factor, peak, peak / self.div_factor / self.final_div_factor

    def _between(self, first: float, peak: float, last: float, done: int, total: int) -> float:
        """A number that goes from `first` to `peak` and to `last`, after `done` steps."""
        length = self._length(total)
        if done > length:
            raise ValueError(f"OneCycleLR: its {length} steps are done; total_steps must be as long as the training")
        done, rise = min(done, length - 1), float(self.pct_start * length)
        phases = [(rise - 1, first, peak), (length - 1, peak, last)]
        if self.three_phase:
            phases[1:] = [(2 * rise - 2, peak, first), (length - 1, first, last)]
        at = next(k for k, (end, *_) in enumerate(phases) if done <= end)
        begin, (end, a, b) = phases[at - 1][0] if at else 0.0, phases[at]
        s = (done - begin) / (end - begin) if end != begin else 1.0  # a phase without a length is at its end
        if self.anneal_strategy == "linear":
            return (b - a) * s + a
        return b + (a - b) / 2 * (math.cos(math.pi * s) + 1)


def _each(value: Any, groups: int = 1) -> list[Any]:
    """A number for each group."""
    return list(value) if isinstance(value, list | tuple) else [value] * groups
