"""When numbers leave what a float can hold: the way back to weights that were good, and what to say of it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from ..graph import Array, no_grad
from ..nn import Loss, Module
from .plan import flat_layers

SNAPSHOT_SHARE = 100  # copies are made at most so seldom that they take a hundredth of the time
SNAPSHOT_SECONDS = 1.0
FEATURES = "a feature"  # in the place of a layer


@dataclass(frozen=True)
class Divergence:
    """What was found: the epoch, its step counted from 1 and how many it has, and where.

    what  is not finite: "the loss", "a weight"      layer  the first whose numbers are not finite, or ""
    lr    of the last step that was made             gradient, of  the largest of that step, and of which parameter
    kept  the step of this epoch after which the weights were good: those that the model has. -1: before the last epoch
    """

    epoch: int
    step: int
    steps: int
    what: str
    layer: str
    lr: float
    gradient: float
    of: str
    kept: int

    @property
    def sentence(self) -> str:
        """All of it, and what to try."""
        of_rows = self.what == FEATURES
        where = f" in layer {self.layer}" if self.layer and not of_rows else ""
        said = f"stopped: {self.what} is not finite{where} in epoch {self.epoch}, step {self.step:,} of {self.steps:,}"
        if self.of:
            said += f"; the largest gradient of the last step was {self.gradient:.3g}, of {self.of}"
        left = (
            f"the weights are those after {self.kept:,} steps of it" if self.kept > 0 else "the weights are as before"
        )
        left = f"the weights are those from before epoch {self.epoch - 1}" if self.kept < 0 else left
        if of_rows:
            return f"{said}; {left}; the rows must be finite"
        try_it = "a smaller learning rate" + (", or clip_norm=1" if not self.gradient < 10 else "")
        return f"{said}, the learning rate {self.lr:.3g}; {left}; try {try_it}"


class WayBack:
    """Copies of the state of a runner, an `Engine` or a `Nodes`, so that steps can be undone.

    Two are kept: the newer may be of weights that are bad already, and on the older a step with a finite loss was made.
    One is taken at the start of an epoch, and others within it so seldom that they cost little.

    Of a runner whose state is so large that copies would fill the memory (`is_large`), the model's and the optimizer's
    own arrays are the one copy: they are what was given last, until somebody looks again. Then there is no way back to
    the start of the epoch before.
    """

    def __init__(self) -> None:
        self.kept: list[tuple[int, int, Any]] = []  # (epoch, step, snapshot), the newest first
        self.runner: Any = None
        self.epoch = 0  # counted by `begin`
        self.at = self.cost = 0.0

    def begin(self, runner: Any) -> None:
        """An epoch begins, or goes on."""
        if runner is not self.runner:
            self.runner, self.kept = runner, []
        self.epoch += 1
        self._take()

    def of(self, step: int) -> Any:
        """The copy of the state after so many steps of this epoch, where there is one."""
        epoch, at, kept = self.kept[0]
        return kept if (epoch, at) == (self.epoch, step) else None

    def is_due(self) -> bool:
        """Whether it is time for a copy, which all weights are looked at for."""
        rests = max(SNAPSHOT_SECONDS, SNAPSHOT_SHARE * self.cost)
        return not self.runner.is_large and perf_counter() - self.at > rests

    def after(self, due: bool) -> None:
        """Some steps were made, with finite losses; due: and all weights are finite, so that a copy may be taken."""
        if due:
            self._take()

    def given(self) -> None:
        """The model and the optimizer are brought up to date, within an epoch."""
        if self.runner is not None and self.runner.is_large:
            self._take()

    def _take(self) -> None:
        if self.runner.is_large:
            if self.runner.step == self.runner.given:
                self.kept = [(self.epoch, self.runner.step, None)]
            return
        start = perf_counter()
        spare = self.kept.pop()[2] if len(self.kept) > 1 else None
        self.kept.insert(0, (self.epoch, self.runner.step, self.runner.snapshot(spare)))
        self.at = perf_counter()
        self.cost = self.at - start

    def _restore(self, kept: tuple[int, int, Any]) -> None:
        if kept[2] is None:
            self.runner.restore_given()
        else:
            self.runner.restore(kept[2])

    def go(self, step: int, steps: int) -> bool:
        """Bring the runner to where it was after so many steps of this epoch of `steps`; False where nobody can.

        From the last copy before it the same steps are made again: the result hangs on no clock. The step -1 is the
        start of the epoch before.
        """
        epoch, least = (self.epoch, step) if step >= 0 else (self.epoch - 1, 0)
        found = [kept for kept in self.kept if kept[0] == epoch and kept[1] <= least]
        if not found:
            return False
        self._restore(found[0])
        if step < 0:
            self.runner.given = steps  # which are undone
            return True
        while self.runner.step < step:
            self.runner.chunk(step)
        return True

    def first_bad(self, end: int) -> int:
        """The first step of this epoch, from 0, up to `end`, after which the losses' sum or a weight is not finite."""
        self._restore(next(kept for kept in self.kept if kept[0] == self.epoch and kept[1] < end))
        while self.runner.step < end:
            before = self.runner.step
            if self.runner.chunk(before + 1) or not is_good(self.runner, whole=True):
                return int(before)
        return end


def is_good(runner: Any, whole: bool = False) -> bool:
    """Whether the losses' sum so far and all parameters are finite; a score may be none, as R² of equal targets.

    whole: also where that was looked at just now and takes long.
    """
    return bool(np.isfinite(runner.sums[0])) and runner.is_finite(whole)


def name_of_first(model: Module, x: Any) -> str:
    """The name of the first layer of a Sequential that makes numbers of x that are not finite; "" where none does.

    FEATURES where x itself is not.
    """
    if not np.isfinite(x.data).all():
        return FEATURES
    twin = copy.deepcopy(model)
    names = {id(module): name for name, module in twin.named_modules()}
    with no_grad(), np.errstate(all="ignore"):
        for layer in flat_layers(twin) or []:
            x = layer(x)
            if not np.isfinite(x.data).all():
                return f"{names[id(layer)]} ({type(layer).__name__})"
    return ""


def largest_gradient(model: Module, loss: Loss, x: Any, targets: Array, weights: Array | None) -> tuple[float, str]:
    """(the largest number of all gradients of this batch, the parameter), NaN and infinity being the largest."""
    twin = copy.deepcopy(model)
    loss(twin(x), targets, weights).backward()
    found = (-1.0, "")
    for name, parameter in twin.named_parameters():
        if parameter.grad is not None and parameter.grad.size:
            value = float(np.abs(parameter.grad).max())
            if not value <= found[0]:
                found = value, name
            if not np.isfinite(value):
                break
    return max(found[0], 0.0) if found[0] == found[0] else found[0], found[1]
