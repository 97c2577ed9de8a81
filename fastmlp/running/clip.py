"""How far gradients may go before the rule sees them: `fit(clip_value=..., clip_norm=...)`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import check
from ..check import shown
from ..graph import Parameter
from ..nn.utils import clip_grad_norm_, clip_grad_value_


@dataclass(frozen=True)
class Clip:
    """The largest absolute value of each number, and then the largest norm of all together; infinity for any."""

    value: float = math.inf
    norm: float = math.inf

    @property
    def on(self) -> bool:
        """Whether there is a bound."""
        return self.value < math.inf or self.norm < math.inf

    def apply(self, parameters: list[Parameter]) -> None:
        """On the graph, between the backward pass and the step."""
        if self.value < math.inf:
            clip_grad_value_(parameters, self.value)
        if self.norm < math.inf:
            clip_grad_norm_(parameters, self.norm)


def checked_clip(caller: str, value: Any, norm: Any, dtype: Any) -> Clip:
    """Both bounds as they were given, None for none. Error: ValueError for what is no number above 0."""
    bounds = []
    for name, bound in (("clip_value", value), ("clip_norm", norm)):
        if bound is not None and not (check.is_number(bound) and bound > 0):
            raise ValueError(f"{caller}: {name} is {shown(bound)}; it must be a finite number above 0, or None")
        if bound is not None:
            check.held(f"{caller}: {name}", bound, np.dtype(dtype))
        bounds.append(math.inf if bound is None else float(bound))
    return Clip(*bounds)
