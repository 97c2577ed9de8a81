"""Averages of weights: what `fit(average=...)` takes. Names and values are those of torch.optim.swa_utils."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from .. import check
from ..check import shown


class Average:
    """Base of the averages. After each step or epoch, the average moves by `weight` of the way to the weights.

    every  "step" or "epoch": when it moves
    """

    every: ClassVar[str]

    def weight(self, count: int) -> float:
        """How far the average goes towards the weights, after it went `count` times; 1 makes it the weights."""
        raise NotImplementedError(f"{type(self).__name__} has no weight")

    def begins(self, epochs: int) -> int:
        """The first epoch of so many, counted from 1, that counts; until then the average is the weights."""
        return 1

    def advice(self, epochs: int, steps: int) -> str:
        """A line where it does not fit a training of so many epochs, of so many steps in all; else an empty text."""
        return ""


class EMA(Average):
    """a ← d a + (1 - d) p after each step, a = p after the first; d decay: it looks back about 1 / (1 - d) steps.

    Error: ValueError for a decay outside [0, 1).
    Source: Polyak and Juditsky, SIAM J. Control Optim. 30 (1992); torch.optim.swa_utils.get_ema_multi_avg_fn.
    """

    every = "step"

    def __init__(self, decay: float = 0.999) -> None:
        if not (check.is_number(decay) and 0 <= decay < 1):
            raise ValueError(f"EMA: decay is {shown(decay)}; it must be a number in [0, 1)")
        self.decay = float(decay)

    def weight(self, count: int) -> float:
        """As the class says."""
        return 1 - self.decay if count else 1.0

    def advice(self, epochs: int, steps: int) -> str:
        """It needs more steps than it looks back."""
        back = 1 / (1 - self.decay)
        lags = f"the average looks back {back:,.0f} steps and the training has {steps:,}, so it lags behind the weights"
        return f"{lags}; a smaller decay, EMA(decay=...), looks back less" if steps < 2 * back else ""

    def __repr__(self) -> str:
        return f"EMA(decay={self.decay:g})"


class SWA(Average):
    """a = the mean of the weights after each epoch, from `start` on.

    start  a fraction of all epochs, those of earlier calls too, that is left out; or the number of the first epoch that
           counts, which stays where it is when a training goes on over several calls
    Error: ValueError for another start.
    Source: Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, UAI 2018;
    torch.optim.swa_utils.get_swa_multi_avg_fn.
    """

    every = "epoch"

    def __init__(self, start: float = 0.75) -> None:
        whole = check.is_number(start) and start >= 1 and float(start).is_integer()
        if not (check.is_number(start) and (whole or 0 <= start < 1)):
            must = "a fraction of the epochs in [0, 1), or the number of the first epoch that counts"
            raise ValueError(f"SWA: start is {shown(start)}; it must be {must}")
        self.start = start

    def weight(self, count: int) -> float:
        """As the class says."""
        return 1 / (count + 1)

    def begins(self, epochs: int) -> int:
        """As `start` says."""
        return int(self.start) if self.start >= 1 else math.floor(self.start * epochs) + 1

    def advice(self, epochs: int, steps: int) -> str:
        """One epoch is no average."""
        count = epochs - self.begins(epochs) + 1
        few = f"the average takes in {'the last epoch alone' if count == 1 else 'no epoch'} of {epochs}"
        return f"{few}; an earlier start, SWA(start=...), takes in more" if count < 2 else ""

    def __repr__(self) -> str:
        return f"SWA(start={self.start:g})"


AVERAGES: dict[str, type[Average]] = {average.__name__.lower(): average for average in (EMA, SWA)}


def checked_average(caller: str, given: Any) -> Average | None:
    """The average that a name or an object stands for. Error: TypeError, ValueError for another name."""
    names = " or ".join(repr(name) for name in AVERAGES)
    if isinstance(given, str) and given not in AVERAGES:
        raise ValueError(f"{caller}: average is {shown(given)}; it must be {names}, or None")
    if isinstance(given, type) and issubclass(given, Average):
        raise TypeError(f"{caller}: average is the class {given.__name__}; it must be an object, {given.__name__}()")
    if given is not None and not isinstance(given, str | Average):
        raise TypeError(f"{caller}: average is {shown(given)}; it must be {names}, one of fastmlp.optim, or None")
    return AVERAGES[given]() if isinstance(given, str) else given
