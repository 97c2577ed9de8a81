"""The layers' operations: each checks shapes, runs kernels, and makes the node that knows the way back.

A node's class stands directly above the function that makes it. N rows of the batch, I inputs, O outputs, C classes;
x input, y output, w packed weight, b bias, z logits; dx is d(loss)/dx. `+ - * / @` are in `arithmetic`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import kernels
from .graph import Array, Tensor
from .graph.operation import Operation, flushed, kernel_array, output, require_tensor, same_float


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
    w = kernels.empty(kernels.packed_shape(weight.shape[0], weight.shape[1], weight.dtype), weight.dtype)
    kernels.pack(kernel_array(weight.data), w, 0, weight.shape[0])
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
            kernels.linear_backward(dy, self.saved["x"], dw, db, 0, self.outputs)
        else:
            dy[:, : self.outputs].sum(axis=0, out=db)
        if "w" in self.saved:
            scratch = kernels.empty((kernels.scratch_size(dtype),), dtype)
            dx = kernels.empty((self.rows, kernels.padded(inputs, dtype)), dtype)
            kernels.linear_backward_input(dy, self.saved["w"], scratch, dx, 0, inputs)
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
        kernels.product(x_array, w.data, y, 0, outputs)
    else:
        kernels.linear_forward(x_array, w.data, kernel_array(bias.data), y, 0, outputs)
    save = {"x": x_array} if weight.requires_grad else {}
    if x.requires_grad:
        save |= {"weight": weight.data, "w": w.data}  # `weight` is kept to notice a change; `w` is used
    facts: dict[str, Any] = {"rows": rows, "outputs": outputs, "packed_shape": w.shape}
    inputs = (x, w) if bias is None else (bias, x, w)
    if bias is None:
        facts |= _WITHOUT_BIAS
    return output(AddmmBackward0, inputs, _cut_columns(y, outputs), save, **facts)


class ReluBackward0(Operation):
    """y = max(x, 0)."""

    equation = "dx = dy where y > 0, else 0"
    operands = ("x",)
    keeps = {"y": "its sign says where dy passes"}
    twin = "torch.relu"
    twin_saved = {"y": "result"}

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        return (_elementwise(kernels.relu_backward, dy, self.saved["y"]),)


@flushed
def relu(x: Tensor) -> Tensor:
    """y = max(x, 0), NaN where x is NaN; the gradient at 0 is 0.    x, y: any shape, float32 or float64

    Error: TypeError for other dtypes. Source: Nair and Hinton, ICML 2010.
    """
    same_float("relu", x=require_tensor("relu: x", x))
    y = _elementwise(kernels.relu_forward, x.data)
    return output(ReluBackward0, (x,), y, {"y": y})


class TanhBackward0(Operation):
    """y = tanh(x)."""

    equation = "dx = dy (1 - y²)"
    operands = ("x",)
    keeps = {"y": "the derivative 1 - y² is made from the output, so x is not needed"}
    twin = "torch.tanh"
    twin_saved = {"y": "result"}

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        return (_elementwise(kernels.tanh_backward, dy, self.saved["y"]),)


@flushed
def tanh(x: Tensor) -> Tensor:
    """y = tanh(x) = (eˣ - e⁻ˣ) / (eˣ + e⁻ˣ).    x, y: any shape, float32 or float64

    Error: TypeError for other dtypes. Source: LeCun et al., Efficient BackProp (1998), 4.4.
    """
    same_float("tanh", x=require_tensor("tanh: x", x))
    y = _elementwise(kernels.tanh_forward, x.data)
    return output(TanhBackward0, (x,), y, {"y": y})


class SigmoidBackward0(Operation):
    """y = 1 / (1 + e⁻ˣ)."""

    equation = "dx = dy y (1 - y)"
    operands = ("x",)
    keeps = {"y": "the derivative y (1 - y) is made from the output, so x is not needed"}
    twin = "torch.sigmoid"
    twin_saved = {"y": "result"}

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        return (_elementwise(kernels.sigmoid_backward, dy, self.saved["y"]),)


@flushed
def sigmoid(x: Tensor) -> Tensor:
    """y = 1 / (1 + e⁻ˣ).    x, y: any shape, float32 or float64

    Error: TypeError for other dtypes. Source: Rumelhart, Hinton, Williams, Nature 323 (1986).
    """
    same_float("sigmoid", x=require_tensor("sigmoid: x", x))
    y = _elementwise(kernels.sigmoid_forward, x.data)
    return output(SigmoidBackward0, (x,), y, {"y": y})


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
        kernels.dropout_backward(_rows(dy), _rows(dx), self.p, *self.counters, 0, _rows(dy).shape[1])
        return (dx,)


@flushed
def dropout(x: Tensor, p: float = 0.5, training: bool = True, *, seed: int, step: int = 0, layer: int = 0) -> Tensor:
    """y = x * mask / (1 - p): each number is dropped with probability p.    x, y: (N, ...)

    The mask is a function of (seed, step, layer, row, column): the same counters give the same mask, on any thread.
    Outside training, and with p = 0, y is x itself.

    Errors: ValueError for p outside [0, 1], TypeError for other dtypes than float32 and float64.
    Source: Srivastava et al., Dropout, JMLR 15 (2014), with the scaling in training.
    """
    same_float("dropout", x=require_tensor("dropout: x", x))
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p is {p}; it is a probability and must lie in [0, 1]")
    if not training or p == 0:
        return x
    x_array = kernel_array(x.data)
    y = np.empty_like(x_array)
    kernels.dropout_forward(_rows(x_array), _rows(y), float(p), seed, step, layer, 0, _rows(y).shape[1])
    return output(NativeDropoutBackward0, (x,), y, p=float(p), counters=(seed, step, layer))


class NativeBatchNormBackward0(Operation):
    """y = gamma x̂ + beta,  x̂ = (x - mean) rstd."""

    equation = "dgamma = Σₙ dy x̂,  dbeta = Σₙ dy,  dx = gamma rstd (dy - dbeta / N - x̂ dgamma / N)"
    operands = ("x", "gamma", "beta")
    keeps = {
        "x": "x̂ = (x - mean) rstd is made again from it",
        "gamma": "dx is scaled by it",
        "mean": "the mean of each column, to make x̂ again",
        "rstd": "1 / √(variance + eps) of each column, to make x̂ again and to scale dx",
        "var": "the running variance: rstd = 1 / √(var + eps)",
    }
    twin = "torch.nn.functional.batch_norm"
    twin_saved: Mapping[str, str] = {"x": "input", "gamma": "weight", "mean": "result1", "rstd": "result2"}
    training: bool
    eps: float

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        dy, x, gamma, saved = kernel_array(dy), self.saved["x"], self.saved["gamma"], self.saved
        dx, dgamma, dbeta = np.empty_like(x), np.empty_like(gamma), np.empty_like(gamma)
        if self.training:
            kernels.batchnorm_backward(dy, x, gamma, saved["mean"], saved["rstd"], dx, dgamma, dbeta, 0, x.shape[1])
        else:
            kernels.batchnorm_eval_backward(
                dy, x, gamma, saved["mean"], saved["var"], dx, dgamma, dbeta, self.eps, 0, x.shape[1]
            )
        return dx, dgamma, dbeta


_IN_EVALUATION: dict[str, Any] = {  # the running statistics are constants: no gradient passes through them
    "equation": "dgamma = Σₙ dy x̂,  dbeta = Σₙ dy,  dx = gamma rstd dy",
    "twin_saved": {"x": "input", "gamma": "weight", "mean": "running_mean", "var": "running_var"},
}


@flushed
def batch_norm(
    x: Tensor,
    running_mean: Array,
    running_var: Array,
    weight: Tensor,
    bias: Tensor,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """y = weight (x - mean) / √(variance + eps) + bias, column by column.    x, y: (N, C)  the others: (C,)

    In training, mean and biased variance are those of the batch, and the running arrays change in place:
    running ← (1 - momentum) running + momentum batch, with the unbiased variance. Otherwise the running arrays
    are used and stay as they are.

    Errors: ValueError for shapes that do not fit and for one row in training (it has no spread), TypeError for
    dtypes that differ. Source: Ioffe and Szegedy, ICML 2015, Algorithm 1; PyTorch's documentation of BatchNorm1d.
    """
    require_tensor("batch_norm: weight", weight), require_tensor("batch_norm: bias", bias)
    statistics = {"running_mean": running_mean, "running_var": running_var}
    same_float("batch_norm", x=require_tensor("batch_norm: x", x), weight=weight, bias=bias, **statistics)
    shapes = [tuple(array.shape) for array in (running_mean, running_var, weight, bias)]
    if x.ndim != 2 or any(shape != x.shape[1:] for shape in shapes):
        raise ValueError(
            f"batch_norm: x is {x.shape}, the statistics, weight and bias are {shapes}; "
            "x must be (N, num_features) and they (num_features,)"
        )
    if training and x.shape[0] < 2:
        raise ValueError(f"batch_norm: x is {x.shape}; training needs at least 2 rows, one row has no spread")
    x_array, gamma, columns = kernel_array(x.data), kernel_array(weight.data), x.shape[1]
    y, inputs = np.empty_like(x_array), (x, weight, bias)
    if training:
        mean, rstd = np.empty_like(gamma), np.empty_like(gamma)
        kernels.batchnorm_forward(
            x_array, gamma, kernel_array(bias.data), mean, rstd, running_mean, running_var, y, momentum, eps, 0, columns
        )
        save, facts = {"x": x_array, "gamma": gamma, "mean": mean, "rstd": rstd}, {}
    else:
        kernels.batchnorm_eval_forward(
            x_array, gamma, kernel_array(bias.data), running_mean, running_var, y, eps, 0, columns
        )
        save, facts = {"x": x_array, "gamma": gamma, "mean": running_mean, "var": running_var}, _IN_EVALUATION
    return output(NativeBatchNormBackward0, inputs, y, save, training=training, eps=eps, **facts)


class LogSoftmaxBackward0(Operation):
    """y[n, c] = z[n, c] - log Σ_k e^z[n, k],  p = e^y."""

    equation = "dz = dy - p Σ_c dy"
    operands = ("z",)
    keeps = {"p": "the probabilities e^y weigh what each row sends back"}
    twin = "torch.log_softmax"
    twin_saved = {"p": "result"}
    twin_holds = {"p": "y = log p"}  # PyTorch takes e^y on the way back

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        p = self.saved["p"]
        dz = np.empty_like(p)
        kernels.log_softmax_backward(kernel_array(dy), p, dz, p.shape[1], 0, p.shape[0])
        return (dz,)


@flushed
def log_softmax(z: Tensor) -> Tensor:
    """y[n, c] = z[n, c] - log Σ_k e^z[n, k]: the logarithm of the probabilities.    z, y: (N, C)

    Errors: ValueError for another number of axes, TypeError for other dtypes than float32 and float64.
    Source: Goodfellow, Bengio, Courville, Deep Learning (2016), 4.1 and 6.2.2.3.
    """
    same_float("log_softmax", z=require_tensor("log_softmax: z", z))
    if z.ndim != 2 or not z.shape[1]:
        raise ValueError(f"log_softmax: z is {z.shape}; it must be (N, C) with at least one class")
    z_array = kernel_array(z.data)
    y, p = np.empty_like(z_array), np.empty_like(z_array)
    kernels.log_softmax_forward(z_array, y, p, z.shape[1], 0, z.shape[0])
    return output(LogSoftmaxBackward0, (z,), y, {"p": p})


class NllLossBackward0(Operation):
    """loss = -Σₙ r[n] Σ_c q[n, c] y[n, c]."""

    equation = "dy[n, c] = -dloss r[n] q[n, c],  q = (1 - s) [c = labels[n]] + s / C"
    operands = ("y",)
    keeps = {
        "labels": "q is 1 at the label of each row, apart from smoothing s",
        "r": "the share of each row in the loss",
    }
    twin = "torch.nn.functional.nll_loss"
    twin_saved = {"labels": "target"}  # PyTorch works r out again
    smoothing: float
    classes: int

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        labels, r = self.saved["labels"], self.saved["r"]
        below = np.empty((labels.size, self.classes), r.dtype)
        kernels.nll_loss_backward(float(dy), labels, r, self.smoothing, below, self.classes, 0, labels.size)
        return (below,)


@flushed
def nll_loss(
    y: Tensor, labels: Any, *, sample_weight: Any = None, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """loss = -Σₙ r[n] Σ_c q[n, c] y[n, c].    y: (N, C) log-probabilities  labels: (N,)  loss: ()

    Arguments and errors are those of `cross_entropy`.
    """
    same_float("nll_loss", y=require_tensor("nll_loss: y", y))
    labels = _checked_labels(labels, y.shape)
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"cross_entropy: label_smoothing is {label_smoothing}; it must lie in [0, 1)")
    r = _row_weights(sample_weight, reduction, len(labels), y.dtype)
    smoothing, (rows, classes) = float(label_smoothing), y.shape
    loss = kernels.nll_loss_forward(kernel_array(y.data), labels, r, smoothing, classes, 0, rows)
    return output(
        NllLossBackward0,
        (y,),
        np.asarray(loss, y.dtype),
        {"labels": labels, "r": r},
        smoothing=smoothing,
        classes=classes,
    )


def cross_entropy(
    z: Tensor, labels: Any, *, sample_weight: Any = None, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """loss = Σₙ r[n] (log Σ_k e^z[n, k] - Σ_c q[n, c] z[n, c]),  q[n, c] = (1 - s) [c = labels[n]] + s / C.

    z                (N, C) logits
    labels           (N,) whole numbers in [0, C): an array, a list or a Tensor
    sample_weight    (N,) numbers >= 0, one for each row; None counts every row once
    label_smoothing  s in [0, 1)
    reduction        "mean": r = sample_weight / Σ sample_weight (1 / N without);  "sum": r = sample_weight

    The loss has no axes and no unit (nats). Two nodes, as in PyTorch: LogSoftmaxBackward0 and NllLossBackward0.

    Errors: ValueError for shapes that do not fit, labels out of range, weights below 0 or all 0; TypeError for
    labels that are no whole numbers. Source: Goodfellow, Bengio, Courville, Deep Learning (2016), 6.2.2.3;
    label smoothing: Szegedy et al., CVPR 2016, section 7.
    """
    return nll_loss(
        log_softmax(z),
        labels,
        sample_weight=sample_weight,
        label_smoothing=label_smoothing,
        reduction=reduction,
    )


def _checked_labels(labels: Any, shape: tuple[int, ...]) -> Array:
    labels = np.asarray(labels.data if isinstance(labels, Tensor) else labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"cross_entropy: labels are {labels.dtype}; they must be whole numbers")
    if len(shape) != 2 or labels.shape != shape[:1] or not labels.size:
        raise ValueError(f"cross_entropy: labels are {labels.shape}, z is {shape}; they must be (N,) and (N, C), N > 0")
    if labels.min() < 0 or labels.max() >= shape[1]:
        row = int(np.argmax((labels < 0) | (labels >= shape[1])))
        raise ValueError(f"cross_entropy: labels[{row}] is {labels[row]}; it must lie in 0 .. {shape[1] - 1}")
    return kernel_array(labels.astype(np.int64, copy=False))


def _row_weights(sample_weight: Any, reduction: str, rows: int, dtype: Any) -> Array:
    """r of the loss: the weight of each row, normalised for the mean."""
    if reduction not in ("mean", "sum"):
        raise ValueError(f"cross_entropy: reduction is {reduction!r}; it must be 'mean' or 'sum'")
    if sample_weight is None:
        return np.full(rows, 1 / rows if reduction == "mean" else 1, dtype)
    weight = np.asarray(sample_weight.data if isinstance(sample_weight, Tensor) else sample_weight, np.float64)
    if weight.shape != (rows,):
        raise ValueError(f"cross_entropy: sample_weight is {weight.shape}; it must be ({rows},), one for each row")
    if not (np.isfinite(weight).all() and weight.min() >= 0 and weight.sum() > 0):
        raise ValueError("cross_entropy: sample_weight must be finite, at least 0, and not all 0")
    return (weight / weight.sum() if reduction == "mean" else weight).astype(dtype)


def _rows(array: Array) -> Array:
    """A view of any shape as (N, columns), as kernels want it; a single row where there are less than two axes."""
    return array.reshape(len(array), -1) if array.ndim > 1 and array.size else array.reshape(1, -1)


def _elementwise(kernel: Any, *arrays: Array) -> Array:
    """A fresh array that a number-by-number kernel fills from arrays of one shape."""
    arrays = tuple(kernel_array(array) for array in arrays)
    filled = kernels.empty(arrays[0].shape, arrays[0].dtype)
    rows = _rows(filled)
    kernel(*(_rows(array) for array in arrays), rows, 0, rows.shape[1])
    return filled


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
