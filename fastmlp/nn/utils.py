"""What one does with gradients between `backward()` and `step()`; the names are those of torch.nn.utils."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import check
from ..check import shown
from ..graph import Array, Tensor
from ..graph.operation import kernel_array
from ..kernels import clip, flushed


@flushed
def clip_grad_norm_(
    parameters: Iterable[Tensor] | Tensor, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> float:
    """g ← g min(1, max_norm / (‖g‖ + 1e-6)), in place, ‖g‖ over the gradients of all `parameters` together.

    Returns ‖g‖ as it was, in float64. norm_type: 2, or another p above 0; infinity for the largest of all numbers. One
    without a gradient does not count. A norm of NaN makes every gradient NaN, one of infinity makes 0 of what is
    finite, as in PyTorch; with error_if_nonfinite it is a RuntimeError, and no gradient changes.
    Source: Pascanu, Mikolov, Bengio, ICML 2013; PyTorch's documentation of torch.nn.utils.clip_grad_norm_.
    """
    gradients = _gradients("clip_grad_norm_", parameters)
    most = _bound("clip_grad_norm_: max_norm", max_norm)
    check.flag("clip_grad_norm_: error_if_nonfinite", error_if_nonfinite)
    endless = isinstance(norm_type, float) and norm_type == math.inf
    if not endless and not (check.is_number(norm_type) and norm_type > 0):
        raise ValueError(f"clip_grad_norm_: norm_type is {shown(norm_type)}; it must be a number above 0")
    norm = _norm(gradients, float(norm_type))
    if error_if_nonfinite and not math.isfinite(norm):
        raise RuntimeError(f"clip_grad_norm_: the norm of the gradients is {norm}; it must be finite")
    factor = clip.clip_factor(norm, most)
    with np.errstate(all="ignore"):  # of NaN and infinity
        for gradient in gradients:
            gradient *= gradient.dtype.type(factor)
    return np.float64(norm)


@flushed
def clip_grad_value_(parameters: Iterable[Tensor] | Tensor, clip_value: float) -> None:
    """Each number of each gradient into [-clip_value, clip_value], in place; NaN stays NaN.

    Source: PyTorch's documentation of torch.nn.utils.clip_grad_value_.
    """
    gradients, most = _gradients("clip_grad_value_", parameters), _bound("clip_grad_value_: clip_value", clip_value)
    for gradient in gradients:
        np.clip(gradient, gradient.dtype.type(-most), gradient.dtype.type(most), out=gradient)


def _norm(gradients: list[Array], p: float) -> float:
    """(Σ |g|ᵖ)^(1/p); for p = 2 in the order in which the engine adds."""
    if p != 2:
        absolute = np.abs(np.concatenate([np.zeros(0), *(gradient.reshape(-1) for gradient in gradients)]))
        with np.errstate(over="ignore"):
            return float(absolute.max(initial=0) if p == math.inf else (absolute**p).sum() ** (1 / p))
    squares = [np.empty(len(g) if g.ndim else 1) for g in gradients]
    for gradient, columns in zip(gradients, squares, strict=True):
        if gradient.size:
            clip.row_squares(kernel_array(gradient).reshape(len(columns), -1), columns)
    return float(clip.total_norm(np.concatenate([np.zeros(0), *squares])))


def _gradients(caller: str, parameters: Any) -> list[Array]:
    given = [parameters] if isinstance(parameters, Tensor) else parameters
    if not check.listed(given):
        raise TypeError(
            f"{caller}: parameters is {shown(parameters)}; it must be Parameters, as model.parameters() gives"
        )
    given = list(given)
    for parameter in given:
        if not isinstance(parameter, Tensor):
            raise TypeError(f"{caller}: parameters holds {type(parameter).__name__}; each must be a Parameter")
    gradients = [parameter.grad for parameter in given if parameter.grad is not None]
    if any(not gradient.flags.writeable for gradient in gradients):
        raise ValueError(f"{caller}: a gradient is read-only; it must be writable, as it is changed in place")
    return gradients


def _bound(name: str, value: Any) -> float:
    """A number of at least 0, or infinity for no bound."""
    if isinstance(value, float | np.floating) and value == math.inf:
        return math.inf
    check.number(name, value, 0)
    return float(value)
