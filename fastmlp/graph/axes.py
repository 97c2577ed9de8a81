"""Which axes a caller means, and whether shapes fit: refused in one sentence, before NumPy is asked."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..check import flag, shown
from .tensor import Tensor

Dim = int | tuple[int, ...] | None


def check_broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    """Refuse shapes that do not fit: from the last axis on, lengths must be equal, or one of them 1."""
    if any(m != n and 1 not in (m, n) for m, n in zip(reversed(a), reversed(b), strict=False)):
        raise ValueError(
            f"arithmetic: shapes are {a} and {b}; from the last axis on, lengths must be equal, or one of them 1"
        )


def meant_keep(name: str, keepdim: Any, keepdims: Any) -> bool:
    """Whether summed axes stay in place: `keepdim`, or NumPy's word for it, `keepdims`."""
    flag(f"{name}: keepdim", keepdim)
    flag(f"{name}: keepdims", keepdims)
    return bool(keepdim or keepdims)


def meant_axes(name: str, a: Tensor, dim: Any, axis: Any) -> Dim:
    """The axes that are meant: `dim`, or NumPy's word for it, `axis`, as PyTorch takes both."""
    if dim is not None and axis is not None:
        raise TypeError(
            f"{name}: dim is {shown(dim)} and axis is {shown(axis)}; they are one thing, one must be left out"
        )
    given = dim if axis is None else axis
    if given is None:
        return None
    axes = tuple(given) if isinstance(given, tuple | list) else (given,)
    for one in axes:
        if isinstance(one, bool) or not isinstance(one, int | np.integer) or not -a.ndim <= one < max(a.ndim, 1):
            which = f"in {-a.ndim}..{a.ndim - 1}" if a.ndim else "None, as it has no axes"
            raise ValueError(
                f"{name}: dim is {shown(given)}, the tensor is {a.shape}; it must be an axis {which}, or several"
            )
    if len({one % max(a.ndim, 1) for one in axes}) < len(axes):
        raise ValueError(f"{name}: dim is {shown(given)}; it must name each axis once")
    return axes if isinstance(given, tuple | list) else int(given)
