"""Sentences for arguments out of range: who was called, what was given, what it must be."""

from __future__ import annotations

import math
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
        or not (least <= value and math.isfinite(value))
    ):
        bound = f" of at least {least}" if least > -math.inf else ""
        raise ValueError(f"{name} is {value!r}; it must be a finite number{bound}")
