"""`lr_find`: the learning rate range test, a short training of a copy whose rate grows step by step."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import check
from ..check import reason, shown
from ..data import Dataset
from ..data.streamed import epoch_order
from ..graph import Array
from ..machine import check_memory
from ..nn import Loss, Module
from ..optim import Adam, Optimizer, Rates, Schedule
from ..running import door
from ..running.trust import weights_of
from .assembly import assembled
from .checks import check_model_and_data
from .loop import Loop
from .taken import check_free

LEAST_STEPS, MOST_STEPS = 20, 100_000
FALL = 0.9  # of the whole fall of the loss: where the valley begins
SHARE = 10  # the smoothed loss looks back over a tenth of the steps, and a tenth of a rate is what is suggested
TIMES = 4.0  # the loss has diverged where it is so many times the least


@dataclass(frozen=True, eq=False)
class LRFind:
    """What `lr_find` measured, a number a step; the arrays end where the loss diverged, or with the last step.

    lr        rate of the step; where there are several parameter groups, of the first
    loss      mean loss of the step's batch, before its update; a batch whose rows all have the weight 0 is no step
    smoothed  s / (1 - bᵗ) after t steps,  s ← b s + (1 - b) loss,  s = 0 before the first,  b = 1 - 10 / steps
    diverged  whether the loss left its scale before the last step
    unit      of the losses, as the loss declares it: "nats", or an empty text
    """

    lr: Array
    loss: Array
    smoothed: Array
    diverged: bool
    unit: str

    @property
    def bottom(self) -> float | None:
        """The rate from which on the smoothed loss has made nine tenths of its fall, on its way to the lowest; or None.

        None where it does not fall. The fall begins at 10 times the first rate: the steps before show the loss without
        a training. Why not where it is lowest: in a flat valley that is anywhere, by chance.
        """
        start = int(np.searchsorted(self.lr, SHARE * self.lr[0]))
        later, before = self.smoothed[start:], self.smoothed[start - 1]
        if not np.isfinite(later).any() or not np.nanmin(later) < before:
            return None
        level = before - FALL * (before - np.nanmin(later))
        above = np.flatnonzero(later[: np.nanargmin(later)] > level)
        return float(self.lr[start + (above[-1] + 1 if len(above) else 0)])

    @property
    def suggestion(self) -> float | None:
        """A tenth of `bottom`; None where that is."""
        return None if self.bottom is None else self.bottom / SHARE

    @property
    def sentence(self) -> str:
        """What came out, in words."""
        last = f"at {self.lr[-1]:.2g}, the last rate, it is {self.smoothed[-1]:.3g}"
        if self.suggestion is None:
            falls = f"from {SHARE * self.lr[0]:.2g} on the smoothed loss falls no more"
            return f"no learning rate to suggest: {falls}; {last}"
        if np.nanargmin(self.smoothed) == len(self.lr) - 1:
            last = "it falls to the end, so a larger max_lr says more"
        where = f"a tenth of {self.bottom:.2g}, where the smoothed loss has made nine tenths of its fall"
        return f"suggested learning rate {self.suggestion:.2g}: {where}; {last}"


def lr_find(
    model: Module,
    data: Dataset,
    optimizer: Optimizer | None = None,
    min_lr: float = 1e-6,
    max_lr: float = 10.0,
    steps: int = 100,
    batch_size: int = 64,
    seed: int = 0,
    n_threads: int | str = "auto",
    loss: Loss | None = None,
    class_weight: str | Mapping[Any, float] | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
) -> LRFind:
    """Which learning rate to train `model` with: the loss of some steps, whose rate grows from `min_lr` to `max_lr`.

        lr = min_lr (max_lr / min_lr)^(t / (steps - 1))      in step t = 0, 1, ...

    A rate that is too small leaves the loss where it is, one that is too large throws it up; in between it falls. A
    tenth of the rate by which nine tenths of the fall are made is `suggestion`. `fm.plots.lr_find` draws the curve. Why
    not where the loss falls fastest: where the losses of batches are noisy, they fall fastest anywhere, by chance.

    A copy of the model is trained, with a copy of the optimizer: both stay as they are, to the bit, and so does all
    that is random. It ends where the smoothed loss is above 4 times its least.

    optimizer   says the rule, its options and what it remembers; Adam with its defaults where None. Of several groups
                the first has the rates above, and the others theirs in the proportion in which their own stand to it
    steps       from 20 to 100,000; where the data have fewer batches it goes over them again, in another order
    All else as in `fit`, which would make the same steps with a schedule of these rates.
    Errors: ValueError for an argument out of range, and where the first step ends in numbers that are not finite;
    TypeError for a model that cannot be copied.
    Source: Smith, Cyclical Learning Rates for Training Neural Networks, 2015, arXiv:1506.01186, section 3.3; the tenth
    is that of fastai's first release, there of the rate with the lowest loss.
    """
    check_model_and_data("lr_find", model, data)
    for name, rate in (("min_lr", min_lr), ("max_lr", max_lr)):
        check.above(f"lr_find: {name}", rate)
        check.held(f"lr_find: {name}", rate)
    if not SHARE * float(min_lr) <= float(max_lr):
        raise ValueError(
            f"lr_find: min_lr is {shown(min_lr)} and max_lr {shown(max_lr)}; max_lr must be at least 10 times min_lr"
        )
    check.whole("lr_find: steps", steps, LEAST_STEPS, f" and at most {MOST_STEPS:,}", MOST_STEPS + 1)
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"lr_find: optimizer is {shown(optimizer)}; it must be one of fastmlp.optim, made with parameters"
        )
    with _named():
        if optimizer is not None:
            check_free(model, optimizer)
        twin, rule = _copied(model, optimizer)
        _set_rates(rule, float(min_lr))
        loop = assembled(
            twin, data, None, rule, 1, batch_size, seed, n_threads, False, (), loss, None, None, 0, class_weight,
            clip_norm, clip_value, None, None, None,
        )  # fmt: skip
        growing, losses = Growing(float(max_lr) / float(min_lr)), _Losses(int(steps))
        _arrange(loop, growing, losses)
        made = _run(loop, losses)
    lr = np.array([growing.rate(float(min_lr), done, losses.steps) for done in range(made)])
    smoothed = np.array(losses.smoothed[:made])
    return LRFind(lr, np.array(losses.loss[:made]), smoothed, made < losses.steps, loop.loss.unit)


class Growing(Schedule):
    """rate = start g^(t / (T - 1))  after t of T steps: from start to g start.    g growth"""

    schedule_every = "step"

    def __init__(self, growth: float) -> None:
        self.growth = growth

    def rate(self, start: float, done: int, total: int) -> float:
        """As the class says."""
        return float(start * self.growth ** (done / (total - 1)))


class _EnoughError(Exception):
    """The loss has diverged: the training of the copy ends."""


class _Losses:
    """The loss of each step, as it is and smoothed; called after every one."""

    def __init__(self, steps: int) -> None:
        self.steps, self.memory = steps, 1 - SHARE / steps
        self.loss: list[float] = []
        self.smoothed: list[float] = []
        self.sums, self.mean, self.mass = np.zeros(5), 0.0, 0.0

    def __call__(self, trainer: door.Trainer) -> None:
        """Note the step. Error: _EnoughError where the loss has diverged."""
        if trainer.runner.step == len(self.loss):
            return  # it was given up, and will be made again
        before, self.sums = self.sums, trainer.runner.sums.copy()
        total, counted = self.sums[0] - before[0], self.sums[3] - before[3]
        self.loss.append(float(total / counted) if counted else math.nan)
        if counted:  # a class may have the weight 0 in the loss
            self.mean = self.memory * self.mean + (1 - self.memory) * self.loss[-1]
            self.mass = self.memory * self.mass + (1 - self.memory)
        self.smoothed.append(self.mean / self.mass if self.mass else math.nan)
        if has_diverged(self.smoothed[self.steps // SHARE :]) and len(self.loss) < self.steps:
            raise _EnoughError


def has_diverged(smoothed: list[float]) -> bool:
    """Whether the last is above 4 times the least: above it by 3 |least|, and by 3 times what the loss has fallen by.

    The second where losses may be below 0, or 0.
    """
    known = [value for value in smoothed if not math.isnan(value)]
    if not known:
        return False
    least = min(known)
    return known[-1] > least + (TIMES - 1) * max(abs(least), known[0] - least)


def _copied(model: Module, optimizer: Optimizer | None) -> tuple[Module, Optimizer]:
    """Copies that belong together; Adam where there is no optimizer. Error: TypeError."""
    kind = type(model).__name__
    if any("forward" in vars(module) for module in model.modules()):
        raise TypeError(
            f"lr_find: model is a {kind} whose forward was replaced; a copy of it would change the original"
        )
    try:
        twin, rule = copy.deepcopy((model, optimizer))
    except MemoryError:
        raise
    except Exception as error:  # of somebody else's code
        said = f"lr_find: model is a {kind} that cannot be copied ({reason(error)}); it must be, a copy is trained"
        raise TypeError(said) from error
    return twin, Adam(twin.parameters()) if rule is None else rule


def _set_rates(optimizer: Optimizer, least: float) -> None:
    """The first group begins with `least`, the others in proportion. Error: ValueError where the first has the lr 0."""
    groups = optimizer.param_groups
    rates = [float(group["lr"]) for group in groups]
    if not rates[0] > 0:
        raise ValueError(
            f"lr_find: lr of the optimizer's first group is {rates[0]:g}; it must be above 0, the others' are set by it"
        )
    for group, rate in zip(groups, rates, strict=True):
        group["lr"] = least * (rate / rates[0])


def _arrange(loop: Loop, growing: Growing, losses: _Losses) -> None:
    """Make of the training of one epoch one of so many steps, through the data again and again."""
    steps, weights = losses.steps, weights_of("fit", loop.data, loop.weights)[0]
    passes = -(-steps // len(loop.sizes))
    check_memory("lr_find: the numbers of the rows of all steps", 8 * passes * len(loop.rows), "give fewer steps")
    parts: list[Array] = []
    sizes: list[int] = []
    while len(sizes) < steps:
        part, made = epoch_order(loop.data.features, loop.rows, loop.seed, len(parts) + 1), loop.sizes
        if weights is not None:
            part, made, _ = door.with_weight(weights, part, made, None)
        parts.append(part)
        sizes += made
    loop.sizes = sizes[:steps]
    order = np.concatenate(parts)[: sum(loop.sizes)]
    loop.order, loop.after_step = (lambda epoch: order), losses
    loop.rates = Rates(loop.optimizer, growing, "step", 1, steps)


def _run(loop: Loop, losses: _Losses) -> int:
    """Train; how many steps were made whose numbers are finite. Error: ValueError for none."""
    try:
        loop.run()
    except _EnoughError:
        return len(losses.loss)
    found = loop.trainer.divergence
    made = losses.steps if found is None else found.step - 1
    if found is not None and not made:
        raise ValueError(
            f"lr_find: {found.what} is not finite in the first step, with the rate {found.lr:.2g}; the weights and the "
            "rows must be finite, or min_lr smaller"
        )
    return made


@contextmanager
def _named() -> Iterator[None]:
    """Sentences of `fit` about the arguments begin with `lr_find`."""
    try:
        yield
    except (ValueError, TypeError, RuntimeError) as error:
        if not str(error).startswith("fit: "):
            raise
        raise type(error)(f"lr_find: {str(error).removeprefix('fit: ')}") from error
