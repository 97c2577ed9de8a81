"""PReLU: a node, its operation and its module."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from .. import check
from ..graph import Array, Parameter, Tensor
from ..graph.operation import Operation, kernel_array, output, require_tensor, same_float
from ..kernels import flushed
from ..kernels.norm import add_columns
from ..kernels.prelu import prelu_backward, prelu_forward
from .layer import Layer, as_rows


class PreluKernelBackward0(Operation):
    """y = x where x > 0, else w x."""

    equation = "dx = dy where x > 0, else w dy,  dw = Σₙ dy x where x ≤ 0; one w for all columns gets their sum"
    operands = ("x", "w")
    keeps = {"x": "its sign says which slope, and dw multiplies by it", "w": "the slope where x ≤ 0"}
    twin = "torch.nn.functional.prelu"
    twin_saved = {"x": "self", "w": "weight"}
    twin_note = "a ViewBackward0 before it gives w the axes of x"

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        x, w = as_rows(self.saved["x"]), self.saved["w"]
        columns, dx = x.shape[1], np.empty_like(self.saved["x"])
        dweights, nothing = np.empty((1, columns), x.dtype), np.empty((0, columns), x.dtype)
        given = as_rows(kernel_array(dy)), x, as_rows(dx), _slopes(w, columns)
        prelu_backward(*given, dweights, nothing, np.zeros(0), columns, 0, columns)
        if w.size == 1:
            total = np.empty((1, 1), x.dtype)
            add_columns(dweights, total, columns, 0, 1)
            dweights = total
        return dx, dweights.reshape(-1)


def _slopes(w: Array, columns: int) -> Array:
    """(1, columns): the slope of each column, in an array that may be written to, as kernels take it."""
    return np.array(np.broadcast_to(w, (1, columns)), order="C")


@flushed
def prelu(x: Tensor, weight: Tensor) -> Tensor:
    """y = x where x > 0, else weight x; the gradient at 0 is weight.    x, y: (N, C)  weight: (C,), or (1,) for all

    With one slope x has any shape. Errors: ValueError for shapes that do not fit, TypeError for dtypes that differ.
    Source: He, Zhang, Ren, Sun, Delving Deep into Rectifiers, ICCV 2015; PyTorch's documentation of torch.nn.PReLU.
    """
    same_float("prelu", x=require_tensor("prelu: x", x), weight=require_tensor("prelu: weight", weight))
    if weight.shape != (1,) and not (x.ndim == 2 and weight.shape == x.shape[1:] and weight.data.size):
        raise ValueError(f"prelu: x is {x.shape}, weight is {weight.shape}; x must be (N, C) and weight (C,) or (1,)")
    x_array, w = kernel_array(x.data), kernel_array(weight.data)
    y, rows = np.empty_like(x_array), as_rows(x_array)
    columns = rows.shape[1]
    nothing = np.empty((0, columns), x.dtype)
    prelu_forward(rows, as_rows(y), _slopes(w, columns), nothing, np.zeros(0), columns, 0, columns)
    return output(PreluKernelBackward0, (x, weight), y, {"x": x_array, "w": w})


class PReLU(Layer):
    """y = x where x > 0, else weight x; the gradient at 0 is weight.    x, y: (N, columns)

    num_parameters is 1, one slope for all columns, or their number. weight starts at init. It is trained as any other
    parameter: a weight decay draws it towards ReLU.

    Errors: ValueError for another num_parameters, for an init that is no finite number.
    Source: He, Zhang, Ren, Sun, Delving Deep into Rectifiers, ICCV 2015; PyTorch's documentation of torch.nn.PReLU.
    """

    form = "norm"  # of its kernels: they take weights
    kernels = {"forward": prelu_forward, "evaluate": prelu_forward, "backward": prelu_backward}
    weights, arguments, tied = ("weight",), ("num_parameters", "init"), True
    formula = "v > 0 ? v : l.weight * v"

    def __init__(self, num_parameters: int = 1, init: float = 0.25, dtype: DTypeLike = np.float32) -> None:
        super().__init__()
        check.width("PReLU: num_parameters", num_parameters)
        check.number("PReLU: init", init)
        dtype = check.float_type("PReLU: dtype", dtype)
        check.held("PReLU: init", init, dtype)
        self.num_parameters, self.init = int(num_parameters), float(init)
        self.weight = Parameter(np.full(self.num_parameters, init, dtype))

    def forward(self, x: Tensor) -> Tensor:
        """x and the result have one shape."""
        return prelu(x, self.weight)

    def columns(self, columns: int, place: int) -> int:
        """As many as come, which num_parameters must be, or 1."""
        if self.num_parameters not in (1, columns):
            raise ValueError(
                f"prelu: layer {place} has num_parameters {self.num_parameters}; {columns} columns come to it, so it "
                f"must be 1 or {columns}"
            )
        return columns

    def equation(self) -> str:
        """With the slopes as w."""
        return "y = x where x > 0, else w x"

    def detail(self) -> str:
        """How many slopes there are."""
        return f"w ({self.num_parameters},)"
