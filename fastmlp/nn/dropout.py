"""Dropout: a node, its operation and its module."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import check, kernels
from ..check import shown
from ..graph import Array, Tensor
from ..graph.operation import Operation, kernel_array, output, require_tensor, same_float
from ..kernels import flushed
from .layer import Layer, as_rows
from .module import generator


class NativeDropoutBackward0(Operation):
    """y = x * mask / (1 - p)."""

    equation = "dx = dy * mask / (1 - p)"
    operands = ("x",)
    keeps_nothing = "the mask is drawn again: its bits are a function of (seed, step, layer, row, column)"
    twin = "torch.native_dropout"
    twin_note = (
        "it keeps the mask, as _saved_result1. torch.nn.functional.dropout calls it on a GPU; on a CPU it multiplies "
        "by mask / (1 - p) instead, in a MulBackward0 that keeps this array as _saved_other"
    )
    p: float
    counters: tuple[int, int, int]

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        dy = kernel_array(dy)
        dx = np.empty_like(dy)
        numbers = np.array([self.p])
        kernels.dropout_backward(as_rows(dy), as_rows(dx), numbers, *self.counters, 0, as_rows(dy).shape[1])
        return (dx,)


def _check_p(caller: str, p: Any) -> None:
    if not (check.is_number(p) and 0 <= p <= 1):
        raise ValueError(f"{caller}: p is {shown(p)}; it is a probability and must lie in [0, 1]")


@flushed
def dropout(x: Tensor, p: float = 0.5, training: bool = True, *, seed: int, step: int = 0, layer: int = 0) -> Tensor:
    """y = x * mask / (1 - p): each number is dropped with probability p.    x, y: (N, ...)

    The mask is a function of (seed, step, layer, row, column): the same counters give the same mask, on any thread.
    Outside training, and with p = 0, y is x itself.

    Errors: ValueError for p outside [0, 1], TypeError for other dtypes than float32 and float64.
    Source: Srivastava et al., Dropout, JMLR 15 (2014), with the scaling in training.
    """
    same_float("dropout", x=require_tensor("dropout: x", x))
    _check_p("dropout", p)
    check.flag("dropout: training", training)
    if not training or p == 0:
        return x
    check.whole("dropout: seed", seed, 0, " and below 2**64", below=2**64)
    check.whole("dropout: step", step, 0, " and below 2**63", below=2**63)
    check.whole("dropout: layer", layer, 0, " and below 2**63", below=2**63)
    x_array = kernel_array(x.data)
    y = np.empty_like(x_array)
    kernels.dropout_forward(
        as_rows(x_array), as_rows(y), np.array([float(p)]), seed, step, layer, 0, as_rows(y).shape[1]
    )
    return output(NativeDropoutBackward0, (x,), y, p=float(p), counters=(seed, step, layer))


class Dropout(Layer):
    """In training, each number is 0 with probability p, else divided by 1 - p; in evaluation, nothing happens.

    The mask is a function of (seed, step, layer, row, column). `step` grows by one with each forward in training.
    `seed` is drawn when the module is made, after `manual_seed`; `layer` tells layers of one seed apart. All three
    may be set.

    Error: ValueError for p outside [0, 1]. Source: Srivastava et al., JMLR 15 (2014).
    """

    form, numbers, arguments = "random", ("p",), ("p",)
    kernels = {"forward": kernels.dropout_forward, "evaluate": None, "backward": kernels.dropout_backward}
    page = "Dropout: (l, x) => x"

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p
        self.check()
        self.seed, self.step, self.layer = int(generator().integers(2**63)), 0, 0

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, ...) -> the same shape."""
        y = dropout(x, self.p, self.training, seed=self.seed, step=self.step, layer=self.layer)
        if self.training:
            self.step += 1
        return y

    def check(self) -> None:
        """p is a probability; the counters of the mask are whole numbers."""
        super().check()
        for name in ("seed", "step", "layer"):
            check.whole(f"Dropout: {name}", getattr(self, name, 0), 0, " and below 2**63", below=2**63)
        if not 0 <= self.p <= 1:
            raise ValueError(f"Dropout: p is {self.p}; it is a probability and must lie in [0, 1]")

    def counters(self) -> tuple[int, int, int]:
        """As they stand now."""
        return self.seed, self.step, self.layer

    def trained(self, steps: int) -> None:
        """Each step has drawn one mask."""
        self.step += steps

    def equation(self) -> str:
        """It drops nothing when it predicts."""
        return "y = x"

    def detail(self) -> str:
        """What it does in training."""
        return f"training: x · mask / (1 − p), p = {self.p:g}"
