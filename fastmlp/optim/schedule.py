"""`Schedule`: the base of the schedules, and how one steps in a loop of one's own.

A schedule knows no rule, and a rule no schedule: the rate of a step is an argument of the rule's kernels.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .. import check
from ..check import shown
from .base import Group, Optimizer


class Schedule:
    """Base of the schedules: the learning rate as a function of the epochs or steps that are done.

    For `fit` it is made without an optimizer: fit(..., schedule=StepLR(30)). For a loop of one's own the optimizer is
    the first argument, or `optimizer=`, as in PyTorch: scheduler = StepLR(optimizer, 30), which sets the first rates,
    and scheduler.step() after each epoch, or each step, sets the next. `last_epoch` counts them; last_epoch=k, of
    the constructor, goes on after k of them with an optimizer whose state was loaded. `fit` takes one with an optimizer
    too, the same, goes on where it is, and leaves it where a loop would.

    A subclass has `rate`, and says nothing of optimizers:
    schedule_every  what it counts in `fit` where that argument does not say: "epoch" or "step"
    floor           the rate's distance from it is what the schedule multiplies; see `follow`
    watches         whether it has no `rate`, and changes the rates where it sees how an epoch went: see
                    `ReduceLROnPlateau`
    `total` is how many epochs or steps the training has: a length that was left out is all of it. In a loop of one's
    own nobody knows, and it is 0.
    Errors: TypeError for what is no optimizer, ValueError for a length that is left out in a loop of one's own.
    """

    schedule_every: str = "epoch"
    floor: float = 0.0
    watches: bool = False
    optimizer: Optimizer | None = None
    last_epoch: int
    base_lrs: list[float]
    _last_lr: list[float]
    _moved: list[bool]  # whether somebody else has set a group's rate since

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls) and "optimizer" not in inspect.signature(cls.__init__).parameters:
            cls.__init__ = _with_optimizer(cls.__init__)  # type: ignore[method-assign]

    def __init__(self, optimizer: Optimizer | None = None, last_epoch: int = -1) -> None:
        if optimizer is not None:
            self._bind(optimizer, last_epoch)

    @property
    def _name(self) -> str:
        return type(self).__name__

    # --- what a subclass says ---

    def rate(self, start: float, done: int, total: int) -> float:
        """The learning rate after `done` of `total` epochs or steps, for a group that began with `start`."""
        raise NotImplementedError(f"{self._name} has no rate")

    def of_groups(self, starts: list[float], done: int, total: int) -> list[float]:
        """The learning rates of all groups: `rate` of each."""
        return [self.rate(start, done, total) for start in starts]

    def momenta_of_groups(self, groups: int, done: int, total: int) -> list[float] | None:
        """The momentum of so many groups, where the schedule moves it too; None leaves it as it is."""
        return None

    @property
    def moves_momentum(self) -> bool:
        """Whether it moves a momentum in any epoch or step: a rule then keeps what it keeps with one."""
        return type(self).momenta_of_groups is not Schedule.momenta_of_groups

    def follow(self, rates: list[float], starts: list[float], done: int, total: int) -> list[float]:
        """The rates after `done`, where somebody else has set those before to `rates`: PyTorch's chainable form.

        The distance from `floor` is multiplied by what the schedule multiplies its own by in this epoch or step. So two
        schedules of one optimizer multiply each other.
        """
        before = self.of_groups(starts, done - 1, total) if done else starts
        after, floor = self.of_groups(starts, done, total), self.floor
        return [
            floor + (rate - floor) * ((a - floor) / (b - floor)) if b != floor else rate + a - b
            for rate, b, a in zip(rates, before, after, strict=True)
        ]

    def lacks(self) -> str:
        """The length that was left out, in words, which a loop of one's own must give; an empty text for none."""
        return ""

    def needs(self, optimizer: Optimizer) -> str:
        """What the schedule needs of an optimizer that this one lacks, in a sentence; an empty text for nothing."""
        return ""

    def reset(self) -> None:
        """Forget what it has seen of a training, where it `watches`."""

    def watch(self, metric: float, groups: list[Group]) -> int:
        """See the metric of an epoch; how long it has been no better if that changes the groups' rates, else 0."""
        return 0

    def column(self, held_out: bool) -> str:
        """The column of the history that it watches in `fit`."""
        return ("validation" if held_out else "train") + "_loss"

    # --- a loop of one's own ---

    def step(self) -> None:
        """Set the rates of the next epoch or step; to be called after the optimizer's `step`.

        A rate that somebody else has set since is taken as it is, and `follow`ed from then on.
        Error: ValueError without an optimizer, or where it has got another number of groups.
        """
        groups = self._groups("step")
        done, before = self.last_epoch + 1, [float(group["lr"]) for group in groups]
        moved = [m or rate != left for m, rate, left in zip(self._moved, before, self._last_lr, strict=True)]
        rates = self.of_groups(self.base_lrs, done, 0)
        if any(moved):
            follow = self.follow(before, self.base_lrs, done, 0)
            rates = [f if m else rate for m, f, rate in zip(moved, follow, rates, strict=True)]
        self._moved = moved
        self._set(done, rates)

    def get_last_lr(self) -> list[float]:
        """The rates that it has set last, a number a parameter group."""
        self._groups("get_last_lr")
        return list(self._last_lr)

    def state_dict(self) -> dict[str, Any]:
        """All that it holds, its arguments too, but for the optimizer, which has a `state_dict` of its own."""
        return {name: _saved(value) for name, value in vars(self).items() if name != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave. Error: ValueError for the state of another kind; nothing changes then."""
        own = self.state_dict()
        if not _fits(own, state_dict):
            what = f"holds {', '.join(state_dict)}" if isinstance(state_dict, Mapping) else type(state_dict).__name__
            raise ValueError(
                f"{self._name}: the state is of another kind, {what}; it must be what state_dict() gives for as many "
                f"parameter groups: {', '.join(own)}"
            )
        for name, value in state_dict.items():
            setattr(self, name, _loaded(getattr(self, name), value))

    def _bind(self, optimizer: Any, last_epoch: int) -> None:
        """Take an optimizer, and set its first rates, or those after `last_epoch` epochs or steps."""
        self._accept(optimizer)
        check.whole(f"{self._name}: last_epoch", last_epoch, -1)
        self.last_epoch = int(last_epoch)
        if last_epoch >= 0 and len(optimizer.schedule_rates) != len(optimizer.param_groups):
            raise ValueError(
                f"{self._name}: last_epoch is {last_epoch}, and the optimizer has had no schedule; load its state first"
            )
        self.base_lrs = first_rates(optimizer)
        self._moved = [False] * len(self.base_lrs)
        self._last_lr = [float(group["lr"]) for group in optimizer.param_groups] if last_epoch >= 0 else self.base_lrs
        self.step()

    def _accept(self, optimizer: Any) -> None:
        """Refuse what is no optimizer, and one that the schedule cannot work with."""
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{self._name}: optimizer is {shown(optimizer)}; it must be one of fastmlp.optim")
        self.optimizer = optimizer
        if lacks := self.lacks():
            raise ValueError(f"{self._name}: {lacks} is missing; with an optimizer it must be given, nobody knows it")
        if needs := self.needs(optimizer):
            raise ValueError(f"{self._name}: {needs}")

    def _groups(self, what: str) -> list[Group]:
        """The optimizer's groups, as many as it began with."""
        if self.optimizer is None:
            raise ValueError(f"{self._name}: {what} needs an optimizer; make it with one, {self._name}(optimizer, ...)")
        groups = self.optimizer.param_groups
        if len(groups) != len(self.base_lrs):
            raise ValueError(
                f"{self._name}: it was made for {len(self.base_lrs)} parameter groups, the optimizer has {len(groups)}"
            )
        return groups

    def note(self, starts: list[float], rates: list[float]) -> None:
        """`fit` has trained with it, from these first rates, and the groups hold these."""
        self.base_lrs, self._last_lr, self._moved = list(starts), list(rates), [False] * len(starts)

    def go_to(self, done: int) -> None:
        """Be where a loop of `done` epochs or steps would leave it."""
        self._set(done, self.of_groups(self.base_lrs, done, 0))

    def _set(self, done: int, rates: list[float]) -> None:
        """Be after `done` epochs or steps, and give the groups these rates."""
        assert self.optimizer is not None
        momenta = self.momenta_of_groups(len(rates), done, 0)
        for i, group in enumerate(self.optimizer.param_groups):
            group["lr"] = rates[i]
            if momenta is not None:
                self.optimizer.set_momentum(group, momenta[i])
        self.last_epoch, self._last_lr = done, list(rates)
        self.optimizer.schedule_rates = [list(pair) for pair in zip(self.base_lrs, rates, strict=True)]


def first_rates(optimizer: Optimizer) -> list[float]:
    """Where a schedule begins with each group: where the last one began, if the rate is the one that it left."""
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    before = optimizer.schedule_rates if len(optimizer.schedule_rates) == len(rates) else [[r, r] for r in rates]
    return [start if rate == left else rate for rate, (start, left) in zip(rates, before, strict=True)]


def checked_milestones(name: str, milestones: Iterable[int]) -> list[int]:
    """Milestones as a list of whole numbers. Error: ValueError for another."""
    if not check.listed(milestones):
        raise ValueError(f"{name}: milestones is {shown(milestones)}; it must be a list of whole numbers, [30, 80]")
    found = list(milestones)
    for milestone in found:
        check.whole(f"{name}: a milestone", milestone, 0)
    return [int(milestone) for milestone in found]


def _with_optimizer(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor that takes an optimizer too, as its first argument or by its name."""

    @functools.wraps(init)
    def with_optimizer(
        self: Schedule, *arguments: Any, optimizer: Any = None, last_epoch: int = -1, **options: Any
    ) -> None:
        if arguments and isinstance(arguments[0], Optimizer):
            if optimizer is not None:
                raise TypeError(f"{type(self).__name__}: optimizer is given twice")
            optimizer, *arguments = arguments  # type: ignore[assignment]
        init(self, *arguments, **options)
        if optimizer is not None:
            self._bind(optimizer, last_epoch)

    return with_optimizer


def _saved(value: Any) -> Any:
    """A value as a state holds it: a copy, and the state of a schedule in its place."""
    if isinstance(value, Schedule):
        return value.state_dict()
    return [_saved(part) for part in value] if isinstance(value, list | tuple) else value


def _loaded(own: Any, value: Any) -> Any:
    """The value of a state; a schedule takes its own state over, and stays."""
    if isinstance(own, Schedule):
        own.load_state_dict(value)
        return own
    if isinstance(value, list | tuple):
        holds = isinstance(own, list | tuple) and len(own) == len(value)
        return [_loaded(own[i] if holds else None, part) for i, part in enumerate(value)]
    return value


def _fits(own: Any, given: Any) -> bool:
    """Whether a state has the names of one's own, and that of each schedule in it too."""
    if isinstance(own, Mapping):
        return (
            isinstance(given, Mapping)
            and given.keys() == own.keys()
            and all(_fits(value, given[name]) for name, value in own.items())
            and all(len(given[name]) == len(own[name]) for name in ("base_lrs",) if name in own)
        )
    if isinstance(own, list) and any(isinstance(part, Mapping) for part in own):
        return isinstance(given, list | tuple) and len(given) == len(own) and all(map(_fits, own, given))
    return True
