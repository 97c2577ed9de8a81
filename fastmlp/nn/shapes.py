"""Layers that change no number: Identity and Flatten. The engine passes them over."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..check import shown
from ..graph import Array, Tensor
from ..graph.operation import Operation, output, require_tensor
from .layer import Layer


class Identity(Layer):
    """y = x: holds a place. It takes any arguments and ignores them. Source: PyTorch's documentation."""

    form, kernels = "nothing", {}
    page = "Identity: (l, x) => x"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """x itself, of any shape."""
        return x

    def equation(self) -> str:
        """Nothing happens."""
        return "y = x"


class ViewBackward0(Operation):
    """y = x in another shape."""

    equation = "dx = dy in the shape of x"
    operands = ("x",)
    keeps_nothing = "it moves no number; the shape of x is enough"
    twin = "torch.flatten"
    twin_note = "there _saved_self_sym_sizes is the shape"
    shape: tuple[int, ...]
    copied: bool

    def name(self) -> str:
        """PyTorch's name, also where the numbers did not lie in one piece and were copied."""
        return "UnsafeViewBackward0" if self.copied else "ViewBackward0"

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        return (dy.reshape(self.shape),)


def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """y = x with the axes start_dim .. end_dim as one.    x: any shape and dtype

    x itself where that is one axis already, else a view of its numbers, or a copy where they do not lie in one piece.
    Error: ValueError for an axis that x does not have, and for a start behind the end. Source: PyTorch's documentation.
    """
    axes, most = require_tensor("flatten: x", x).ndim, max(x.ndim, 1)
    for name, dim in (("start_dim", start_dim), ("end_dim", end_dim)):
        _check_dim("flatten", name, dim)
        if not -most <= dim < most:
            raise ValueError(f"flatten: {name} is {shown(dim)}, x is {x.shape}; it must be in {-most} .. {most - 1}")
    start, end = start_dim % most, end_dim % most
    if start > end:
        raise ValueError(f"flatten: start_dim is {start_dim} and end_dim {end_dim}, x is {x.shape}; it ends too early")
    if axes and start == end:
        return x
    length = int(np.prod(x.shape[start : end + 1]))
    y = x.data.reshape(*x.shape[:start], length, *x.shape[end + 1 :])
    return output(ViewBackward0, (x,), y, shape=x.shape, copied=not np.may_share_memory(y, x.data))


def _check_dim(caller: str, name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ValueError(f"{caller}: {name} is {shown(value)}; it must be a whole number, the place of an axis")


class Flatten(Layer):
    """y = x with the axes start_dim .. end_dim as one, by default a vector a row.    x: (N, ...)  y: (N, numbers)

    Rows (N, columns) stay as they are. `fit`, `evaluate` and `Predictor` give a model such rows whatever shape the data
    have: there it does nothing, on the engine too.
    Error: ValueError for what is no whole number, and from `forward` for axes that x does not have.
    Source: PyTorch's documentation of torch.nn.Flatten.
    """

    form, kernels = "nothing", {}
    arguments = ("start_dim", "end_dim")
    page = "Flatten: (l, x) => x"

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim
        self.check()

    def check(self) -> None:
        """Both are whole numbers."""
        super().check()
        for name in self.arguments:
            _check_dim("Flatten", name, getattr(self, name))

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, ...) -> (N, numbers), by default."""
        return flatten(x, self.start_dim, self.end_dim)

    def runs_on_engine(self) -> bool:
        """Where it leaves rows (N, columns) as they are."""
        alone = (self.start_dim, self.end_dim) in {(i, j) for i in (1, -1) for j in (1, -1)}
        return alone and super().runs_on_engine()

    def equation(self) -> str:
        """Of a row."""
        return "y = x"

    def detail(self) -> str:
        """What it does."""
        return "a row as one vector"
