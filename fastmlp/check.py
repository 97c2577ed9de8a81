"""Sentences for arguments out of range: who was called, what was given, what it must be."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np


def whole(name: str, value: Any, least: int, other: str = "", below: float = math.inf) -> None:
    """Refuse what is no whole number in [least, below). NumPy's integers are whole numbers, True and 3.0 are not.

    name   the caller and its argument: "fit: epochs"
    other  what the sentence says after `least`: what else is allowed, or `below`
    Error: ValueError.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value < below:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least {least}{other}")


def number(name: str, value: Any, least: float = -math.inf) -> None:
    """Refuse what is no finite number of at least `least`; True is none. Error: ValueError."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float | np.number)
        or not (least <= value and math.isfinite(_float(value)))
    ):
        bound = f" of at least {least}" if least > -math.inf else ""
        raise ValueError(f"{name} is {value!r}; it must be a finite number{bound}")


def held(name: str, value: Any, dtype: Any = np.float32) -> None:
    """Refuse a number that is not 0 and becomes 0 or infinite in `dtype`, the type that it is used in.

    Numbers below the least normal one count as 0, as the kernels have them. What is no number passes: others refuse it.
    Error: ValueError.
    """
    if not isinstance(value, int | float | np.number) or value == 0:
        return
    size = abs(_float(value))
    least, most = _ends(np.dtype(dtype))
    if not least <= size <= most:
        becomes = "0" if size < least else "no finite number"
        raise ValueError(
            f"{name} is {value!r}, in {np.dtype(dtype)} {becomes}; it must be 0 or between {least:.2g} and {most:.2g}"
        )


def _float(value: Any) -> float:
    """The value as a float; infinity for a Python integer that is larger than any."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


@lru_cache
def _ends(dtype: np.dtype[Any]) -> tuple[float, float]:
    """The least normal and the largest number of a type."""
    limits = np.finfo(dtype)
    return float(limits.tiny), float(limits.max)
