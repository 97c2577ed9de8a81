"""The linear layer: y = x weightᵀ + bias.    N rows of the batch, I inputs, O outputs; w the packed weight."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import check, kernels
from ..check import shown
from ..graph import Array, Parameter, Tensor
from ..graph.operation import PACKED, Operation, kernel_array, output, require_tensor, same_float
from ..kernels import flushed
from .layer import Layer
from .module import uniform


class TBackward0(Operation):
    """w = weightᵀ, in column blocks."""

    equation = "dweight = dwᵀ, out of the blocks"
    operands = ("weight",)
    keeps_nothing = "it moves numbers and changes none, so the way back needs none of them"
    twin = "torch.t"
    shape: tuple[int, int]

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        dweight = kernels.empty(self.shape, dy.dtype)
        kernels.unpack(dy, dweight, 0, self.shape[0])
        return (dweight,)


@flushed
def pack_columns(weight: Tensor) -> Tensor:
    """w[o // lanes, i, o % lanes] = weight[o, i].    weight: (O, I)  w: (blocks, I, lanes)

    The transposed weight as the kernels want it: blocks of as many columns as a vector has lanes.
    """
    same_float("pack_columns", weight=require_tensor("pack_columns: weight", weight))
    if weight.ndim != 2:
        raise ValueError(f"pack_columns: weight is {weight.shape}; it must be (out_features, in_features)")
    w = None if PACKED.once is None else PACKED.once.get(id(weight.data))
    if w is None:
        w = kernels.empty(kernels.packed_shape(weight.shape[0], weight.shape[1], weight.dtype), weight.dtype)
        kernels.pack(kernel_array(weight.data), w, 0, weight.shape[0])
        if PACKED.once is not None:
            PACKED.once[id(weight.data)] = w
    return output(TBackward0, (weight,), w, shape=weight.shape, output_shape=weight.shape[::-1])


class AddmmBackward0(Operation):
    """y = b + x w."""

    equation = "db = Σₙ dy,  dx = dy wᵀ,  dw = xᵀ dy"
    operands: tuple[str, ...] = ("b", "x", "w")
    keeps = {
        "x": "dw = xᵀ dy multiplies by it",
        "w": "dx = dy wᵀ multiplies by it; in column blocks, as the kernels read it",
        "weight": "the parameter itself, so that a change in place is noticed",
    }
    twin = "torch.addmm"
    twin_saved = {"x": "mat1", "w": "mat2"}
    twin_holds = {"w": "the matrix in w"}  # without the blocks
    rows: int
    outputs: int
    packed_shape: tuple[int, int, int]

    def name(self) -> str:
        """MmBackward0 without a bias: PyTorch's names."""
        return "AddmmBackward0" if len(self.next_functions) == 3 else "MmBackward0"

    def formula(self) -> str:
        """Without b, where there is no bias."""
        return super().formula() if len(self.next_functions) == 3 else "y = x w"

    def saved_shapes(self) -> dict[str, tuple[int, ...]]:
        """The blocks of w are padded to whole vectors; the matrix that they hold is (inputs, outputs)."""
        matrix = (self.packed_shape[1], self.outputs)
        return {name: matrix if name == "w" else shape for name, shape in super().saved_shapes().items()}

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        dtype, inputs = dy.dtype, self.packed_shape[1]
        dy = _pad_columns(dy)
        dw = dx = None
        db = np.zeros(self.outputs, dtype)
        if "x" in self.saved:
            dw = kernels.empty(self.packed_shape, dtype)
            if not self.rows:
                dw[:] = 0  # a sum over no rows: the product would not write it
            kernels.linear_backward(dy, self.saved["x"], dw, db, kernels.tiles(dtype), 0, self.outputs)
        else:
            dy[:, : self.outputs].sum(axis=0, out=db)
        if "w" in self.saved:
            scratch = kernels.empty((kernels.scratch_size(dtype),), dtype)
            dx = kernels.empty((self.rows, kernels.padded(inputs, dtype)), dtype)
            kernels.product_dx(dy, self.saved["w"], scratch, dx, kernels.tiles(dtype), 0, inputs)
            dx = _cut_columns(dx, inputs)
        return (db, dx, dw) if len(self.next_functions) == 3 else (dx, dw)


_WITHOUT_BIAS = {
    "equation": "dx = dy wᵀ,  dw = xᵀ dy",
    "operands": ("x", "w"),
    "twin": "torch.mm",
    "twin_saved": {"x": "self", "w": "mat2"},
}


@flushed
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y = x weightᵀ + bias.    x: (N, I)  weight: (O, I)  bias: (O,)  y: (N, O)

    Two nodes, as in PyTorch: TBackward0 turns the weight, AddmmBackward0 (MmBackward0 without bias) multiplies.
    The second saves x where the weight wants a gradient, and the weight where x wants one.

    Errors: ValueError for shapes that do not fit, TypeError for dtypes that differ.
    Source: Goodfellow, Bengio, Courville, Deep Learning (2016), 6.5.6.
    """
    require_tensor("linear: x", x), require_tensor("linear: weight", weight)
    if x.ndim != 2 or weight.ndim != 2 or x.shape[1] != weight.shape[1] or not weight.size:
        raise ValueError(
            f"linear: x is {x.shape}, weight is {weight.shape}; x must be (N, in_features) "
            "with x.shape[1] == in_features, the second length of weight; no weight may have length 0"
        )
    if bias is None:
        same_float("linear", x=x, weight=weight)
    else:
        same_float("linear", x=x, weight=weight, bias=require_tensor("linear: bias", bias))
        if bias.shape != weight.shape[:1]:
            raise ValueError(f"linear: bias is {bias.shape}, weight is {weight.shape}; bias must be (out_features,)")
    w, rows, outputs = pack_columns(weight), x.shape[0], weight.shape[0]
    x_array, y = kernel_array(x.data), kernels.empty((rows, w.shape[0] * w.shape[2]), x.dtype)
    if bias is None:
        kernels.product(x_array, w.data, y, kernels.tiles(x.dtype), 0, outputs)
    else:
        kernels.linear_forward(
            x_array, w.data, kernel_array(bias.data), y, kernels.tiles(x.dtype), kernels.NO_LISTS, 0, outputs
        )
    save = {"x": x_array} if weight.requires_grad else {}
    if x.requires_grad:
        save |= {"weight": weight.data, "w": w.data}  # `weight` is kept to notice a change; `w` is used
    facts: dict[str, Any] = {"rows": rows, "outputs": outputs, "packed_shape": w.shape}
    inputs = (x, w) if bias is None else (bias, x, w)
    if bias is None:
        facts |= _WITHOUT_BIAS
    return output(AddmmBackward0, inputs, _cut_columns(y, outputs), save, **facts)


def _pad_columns(array: Array) -> Array:
    """(N, columns) with zeros up to a whole vector; the array itself where none are needed."""
    columns = array.shape[1]
    width = kernels.padded(columns, array.dtype)
    if width == columns:
        return kernel_array(array)
    wide = kernels.empty((array.shape[0], width), array.dtype)
    wide[:, :columns], wide[:, columns:] = array, 0
    return wide


def _cut_columns(array: Array, columns: int) -> Array:
    """The first columns, contiguous: the padding is cut off."""
    return array if array.shape[1] == columns else np.ascontiguousarray(array[:, :columns])


class Linear(Layer):
    """y = x weightᵀ + bias.    x: (N, in_features)  weight: (out_features, in_features)  bias: (out_features,)

    weight and bias start uniform in ±1 / √in_features. Error: ValueError for lengths below 1.
    Source: PyTorch's documentation of torch.nn.Linear; LeCun et al., Efficient BackProp (1998), 4.6.
    """

    form = "linear"
    kernels = {
        "forward": kernels.linear_forward,
        "evaluate": kernels.linear_forward,
        "backward": kernels.product_dx,
        "weights": kernels.linear_update_weight,
        "bias_update": kernels.linear_update_bias,
    }
    weights = ("weight", "bias")
    arguments = ("in_features", "out_features", "bias")
    page = """
  // y = x wᵀ + b      w: (outputs, inputs), row after row; inputs that are 0 are left out
  Linear({ outputs, weight, bias }, x) {
    const y = new x.constructor(outputs), inputs = x.length, there = new Int32Array(inputs);
    let count = 0;
    for (let i = 0; i < inputs; i++) if (x[i] !== 0) there[count++] = i;
    for (let o = 0, row = 0; o < outputs; o++, row += inputs) {
      let sum = bias ? bias[o] : 0;
      for (let k = 0; k < count; k++) sum += x[there[k]] * weight[row + there[k]];
      y[o] = sum;
    }
    return y;
  }"""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, dtype: DTypeLike = np.float32) -> None:
        super().__init__()
        check.width("Linear: in_features", in_features)
        check.width("Linear: out_features", out_features)
        if not isinstance(bias, bool | np.bool_):
            raise TypeError(f"Linear: bias is {shown(bias)}; it must be True or False")
        dtype = check.float_type("Linear: dtype", dtype)
        self.in_features, self.out_features = int(in_features), int(out_features)
        bound = 1 / np.sqrt(self.in_features)
        self.weight = Parameter(uniform(bound, (self.out_features, self.in_features), dtype))
        self.bias = Parameter(uniform(bound, self.out_features, dtype)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, in_features) -> (N, out_features)."""
        return linear(x, self.weight, self.bias)

    def check(self) -> None:
        """weight has the shape that the widths say."""
        super().check()
        if self.weight.shape != (self.out_features, self.in_features):
            raise ValueError(
                f"Linear: weight is {self.weight.shape}; it must be (out_features, in_features), "
                f"({self.out_features}, {self.in_features})"
            )

    def columns(self, columns: int, place: int) -> int:
        """out_features, where in_features columns come."""
        if self.in_features != columns:
            raise ValueError(f"linear: layer {place} has in_features {self.in_features}; {columns} columns come to it")
        return self.out_features

    def argument(self, name: str) -> Any:
        """Whether there is a bias, not the bias itself."""
        return self.bias is not None if name == "bias" else super().argument(name)

    def page_numbers(self) -> dict[str, Any]:
        """The length of y."""
        return {"outputs": self.out_features}

    def equation(self) -> str:
        """Without b where there is none."""
        return "y = x wᵀ + b" if self.bias is not None else "y = x wᵀ"

    def detail(self) -> str:
        """The shapes."""
        out, inputs = self.out_features, self.in_features
        return f"w ({out}, {inputs})" + (f", b ({out},)" if self.bias is not None else "")

    def extra_repr(self) -> str:
        """As PyTorch prints it."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
