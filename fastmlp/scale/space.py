"""Where a sweep looks: the values that an argument may have, and how configurations are drawn from them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import check
from ..check import shown

METHODS = ("grid", "random", "sobol")


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included; `log`: their logarithms are spread evenly, `whole`: whole numbers."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            value = getattr(self, name)
            if not check.is_number(value) or not math.isfinite(value) or (self.whole and value != int(value)):
                what = "a whole number" if self.whole else "a finite number"
                raise ValueError(f"Range: {name} is {shown(value)}; it must be {what}")
        if not self.low < self.high or (self.log and self.low <= 0):
            least = "above 0 and " * self.log
            raise ValueError(f"Range: low is {self.low} and high is {self.high}; low must be {least}below high")

    def at(self, u: float) -> float | int:
        """The value at the share u of the way, 0 <= u < 1."""
        low, high = self.low, self.high + self.whole  # of whole numbers each has its share
        value = low * (high / low) ** u if self.log else low + (high - low) * u
        return min(math.floor(value), int(self.high)) if self.whole else min(value, float(self.high))


def uniform(low: float, high: float) -> Range:
    """Numbers from low to high."""
    return Range(low, high)


def log_uniform(low: float, high: float) -> Range:
    """Numbers from low to high whose logarithms are spread evenly, such as learning rates."""
    return Range(low, high, log=True)


def integers(low: int, high: int, log: bool = False) -> Range:
    """Whole numbers from low to high, both included."""
    return Range(low, high, log, whole=True)


def checked(space: Any, where: str) -> dict[str, Any]:
    """The space, choices as lists. Errors: TypeError, ValueError in one sentence."""
    if not isinstance(space, Mapping) or not all(isinstance(name, str) for name in space) or not space:
        raise TypeError(f"{where}: space is {shown(space)}; it must be a dict of values, or a Range, by argument")
    found: dict[str, Any] = {}
    for name, values in space.items():
        if not isinstance(values, Range):
            if isinstance(values, str) or not check.listed(values) or not len(values):
                raise ValueError(f"{where}: {name} is {shown(values)}; it must be a list of values, or a Range")
            values = list(values)
        found[name] = values
    return found


def configurations(space: Mapping[str, Any], method: str, count: int, seed: int, where: str) -> list[dict[str, Any]]:
    """`count` configurations; of a grid all. The first of a longer list are those of a shorter one, but for a grid.

    grid    every combination of the values, in their order; a Range has none
    random  each argument drawn on its own. Source: Bergstra and Bengio, JMLR 13 (2012)
    sobol   a scrambled Sobol sequence, which covers the space more evenly. Source: Owen, J. Complexity 14 (1998)
    """
    if method not in METHODS:
        raise ValueError(f"{where}: method is {shown(method)}; it must be one of {', '.join(METHODS)}")
    names = list(space)
    if method == "grid":
        if ranges := [name for name in names if isinstance(space[name], Range)]:
            raise ValueError(f"{where}: {ranges[0]} is a Range, and method is 'grid'; it must be a list of values")
        return [dict(zip(names, values, strict=True)) for values in itertools.product(*space.values())]
    if method == "sobol":
        from scipy.stats import qmc

        sequence = qmc.Sobol(len(names), seed=seed)
        drawn = sequence.random_base2(max(0, math.ceil(math.log2(count))))[:count]
    else:
        rng = np.random.default_rng(seed)
        drawn = np.array([rng.random(len(names)) for _ in range(count)])
    return [{name: _value(space[name], float(u)) for name, u in zip(names, row, strict=True)} for row in drawn]


def _value(values: Any, u: float) -> Any:
    return values.at(u) if isinstance(values, Range) else values[int(u * len(values))]
