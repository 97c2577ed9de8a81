"""Arithmetic on tensors, `+ - * / @ ** T sum mean`, with NumPy's broadcasting.

The numbers are computed by NumPy (the products of `@` by the kernels); the nodes are what a learner compares with
PyTorch. The operators and methods are given to `Tensor` at the end of this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import check, kernels
from ..kernels import flushed
from .axes import Dim, check_broadcast, meant_axes, meant_keep
from .operation import Operation, kernel_array, output
from .tensor import Array, Tensor


def _pair(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    """Both operands as tensors of one dtype. A number or an array is a constant and takes the tensor's dtype.

    A whole-number tensor beside a number with a fraction becomes float32, as in PyTorch.
    Error: TypeError for two tensors of different dtypes, and for operands that are no numbers.
    """
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        if a.dtype != b.dtype:
            raise TypeError(f"arithmetic: the tensors are {a.dtype} and {b.dtype}; they must have one dtype")
        return a, b
    tensor, other = (a, b) if isinstance(a, Tensor) else (b, a)
    array = check.array("arithmetic: the other operand", other, "a number, an array or a Tensor")
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"arithmetic: the other operand is {type(other).__name__}; it must be a number, an array or a Tensor"
        )
    if array.dtype.kind == "f":
        tensor = _fractions(tensor)
    constant = Tensor(array.astype(tensor.dtype))
    return (tensor, constant) if isinstance(a, Tensor) else (constant, tensor)


def _sum_to(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Undo broadcasting: the gradient summed over every axis along which an input of `shape` was repeated."""
    if gradient.shape == shape:
        return gradient
    extra = gradient.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(extra + i for i, n in enumerate(shape) if n == 1 != gradient.shape[extra + i])
    return np.asarray(gradient.sum(axis=axes)).reshape(shape)


class AddBackward0(Operation):
    """c = a + b."""

    equation = "da = dc,  db = dc, summed over broadcast axes"
    operands = ("a", "b")
    keeps_nothing = "the derivative of a sum is 1, whatever a and b are"
    twin = "torch.add"
    shapes: tuple[tuple[int, ...], tuple[int, ...]]

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        return _sum_to(dy, self.shapes[0]), _sum_to(dy.copy(), self.shapes[1])


@flushed
def add(a: Tensor, b: Tensor) -> Tensor:
    """c = a + b, broadcast."""
    return output(AddBackward0, (a, b), np.asarray(a.data + b.data), shapes=(a.shape, b.shape))


class SubBackward0(Operation):
    """c = a - b."""

    equation = "da = dc,  db = -dc, summed over broadcast axes"
    operands = ("a", "b")
    keeps_nothing = "the derivatives are 1 and -1, whatever a and b are"
    twin = "torch.sub"
    shapes: tuple[tuple[int, ...], tuple[int, ...]]

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        return _sum_to(dy, self.shapes[0]), _sum_to(-dy, self.shapes[1])


@flushed
def sub(a: Tensor, b: Tensor) -> Tensor:
    """c = a - b, broadcast."""
    return output(SubBackward0, (a, b), np.asarray(a.data - b.data), shapes=(a.shape, b.shape))


class MulBackward0(Operation):
    """c = a * b."""

    equation = "da = dc * b,  db = dc * a, summed over broadcast axes"
    operands = ("a", "b")
    keeps = {"a": "it is the derivative by b", "b": "it is the derivative by a"}
    twin = "torch.mul"
    twin_saved = {"a": "self", "b": "other"}
    shapes: tuple[tuple[int, ...], tuple[int, ...]]

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        return (
            _sum_to(dy * self.saved["b"], self.shapes[0]) if self.needs(0) else None,
            _sum_to(dy * self.saved["a"], self.shapes[1]) if self.needs(1) else None,
        )


@flushed
def mul(a: Tensor, b: Tensor) -> Tensor:
    """c = a * b, broadcast. Saves b where a needs a gradient, and a where b does."""
    save = _crosswise(a, b)
    return output(MulBackward0, (a, b), np.asarray(a.data * b.data), save, shapes=(a.shape, b.shape))


def _crosswise(a: Tensor, b: Tensor) -> dict[str, Array]:
    """What a product saves: each factor is the other's derivative."""
    return ({"a": a.data} if b.requires_grad else {}) | ({"b": b.data} if a.requires_grad else {})


def _fractions(tensor: Tensor) -> Tensor:
    """The tensor itself, or one of whole numbers as float32: what holds its fractions, as in PyTorch."""
    return tensor if tensor.dtype.kind == "f" else Tensor(tensor.data.astype(np.float32))


class DivBackward0(Operation):
    """c = a / b."""

    equation = "da = dc / b,  db = -dc * a / b², summed over broadcast axes"
    operands = ("a", "b")
    keeps = {"a": "db multiplies by it", "b": "both gradients divide by it"}
    twin = "torch.div"
    twin_saved = {"a": "self", "b": "other"}
    shapes: tuple[tuple[int, ...], tuple[int, ...]]

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        b = self.saved["b"]
        with np.errstate(divide="ignore", invalid="ignore"):
            return (
                _sum_to(dy / b, self.shapes[0]) if self.needs(0) else None,
                _sum_to(-dy * self.saved["a"] / (b * b), self.shapes[1]) if self.needs(1) else None,
            )


@flushed
def div(a: Tensor, b: Tensor) -> Tensor:
    """c = a / b, broadcast; float32 for whole numbers. Saves b, and a where b needs a gradient."""
    a, b = _fractions(a), _fractions(b)
    save = {"b": b.data} | ({"a": a.data} if b.requires_grad else {})
    with np.errstate(divide="ignore", invalid="ignore"):
        c = np.asarray(a.data / b.data)
    return output(DivBackward0, (a, b), c, save, shapes=(a.shape, b.shape))


class NegBackward0(Operation):
    """c = -a."""

    equation = "da = -dc"
    operands = ("a",)
    keeps_nothing = "the derivative is -1, whatever a is"
    twin = "torch.neg"

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        return (-dy,)


@flushed
def neg(a: Tensor) -> Tensor:
    """c = -a."""
    return output(NegBackward0, (a,), np.asarray(-a.data))


class PowBackward0(Operation):
    """c = a ** n, for a number n."""

    equation = "da = dc * n * a ** (n - 1)"
    operands = ("a",)
    keeps = {"a": "the derivative n a ** (n - 1) is taken there"}
    twin = "torch.pow"
    twin_saved = {"a": "self"}
    exponent: float

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        if self.exponent == 0:
            return (np.zeros_like(dy),)
        with np.errstate(divide="ignore", invalid="ignore"):
            return (dy * (self.exponent * self.saved["a"] ** (self.exponent - 1)),)


@flushed
def power(a: Tensor, exponent: float) -> Tensor:
    """c = a ** exponent. Error: TypeError where the exponent is no number."""
    if not isinstance(exponent, int | float | np.integer | np.floating):
        raise TypeError(f"**: the exponent is {type(exponent).__name__}; it must be a number")
    if isinstance(exponent, np.generic):
        exponent = exponent.item()  # a Python number takes the dtype of a; NumPy's float64 would not
    check.held("**: the exponent", exponent, np.float64)
    if isinstance(exponent, float):
        a = _fractions(a)
    elif exponent < 0 and a.dtype.kind != "f":
        raise ValueError(f"**: the tensor is {a.dtype}, the exponent {exponent}; it must be at least 0, or a float")
    with np.errstate(divide="ignore", invalid="ignore"):
        c = np.asarray(a.data**exponent)
    return output(PowBackward0, (a,), c, {"a": a.data}, exponent=exponent)


class SumBackward0(Operation):
    """c = Σ a over all axes, or over `dim`."""

    equation = "da = dc, repeated along the summed axes"
    operands = ("a",)
    keeps_nothing = "the derivative by each number is 1; the shape of a is enough"
    twin = "torch.sum"
    shape: tuple[int, ...]
    dim: Dim
    share: float = 1.0

    def name(self) -> str:
        """PyTorch numbers the two forms: ...0 over all axes, ...1 over chosen ones."""
        return type(self).__name__[:-1] + ("0" if self.dim is None else "1")

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        if self.dim is not None and dy.ndim < len(self.shape):
            dy = np.expand_dims(dy, self.dim)
        return (np.array(np.broadcast_to(dy * dy.dtype.type(self.share), self.shape)),)


@flushed
def total(a: Tensor, dim: Dim = None, keepdim: bool = False, *, axis: Dim = None, keepdims: bool = False) -> Tensor:
    """c = Σ a over the axes `dim`, all of them for None.    keepdim leaves summed axes in place with length 1

    axis and keepdims are NumPy's words for dim and keepdim. Error: ValueError for an axis that is not there.
    """
    dim, keepdim = meant_axes("sum", a, dim, axis), meant_keep("sum", keepdim, keepdims)
    c = np.asarray(a.data.sum(axis=dim, keepdims=keepdim))
    return output(SumBackward0, (a,), c, shape=a.shape, dim=dim)


class MeanBackward0(SumBackward0):
    """c = Σ a / n over all axes, or over `dim`; n numbers go into each."""

    equation = "da = dc / n, repeated along the summed axes"
    keeps_nothing = "the derivative by each number is 1 / n; the shape of a is enough"
    twin = "torch.mean"


@flushed
def mean(a: Tensor, dim: Dim = None, keepdim: bool = False, *, axis: Dim = None, keepdims: bool = False) -> Tensor:
    """c = mean of a over the axes `dim`, all of them for None; arguments as those of `sum`.

    Errors: TypeError for whole numbers, as in PyTorch; ValueError for an axis that is not there.
    """
    dim, keepdim = meant_axes("mean", a, dim, axis), meant_keep("mean", keepdim, keepdims)
    if a.dtype.kind != "f":
        raise TypeError(f"mean: the tensor is {a.dtype}; it must be float32 or float64")
    c = np.asarray(a.data.mean(axis=dim, keepdims=keepdim))
    return output(MeanBackward0, (a,), c, shape=a.shape, dim=dim, share=c.size / max(a.size, 1))


class TransposeBackward0(Operation):
    """c = aᵀ."""

    equation = "da = dcᵀ"
    operands = ("a",)
    keeps_nothing = "it moves numbers and changes none"
    twin = "torch.t"

    def name(self) -> str:
        """PyTorch's name for the transpose of a matrix."""
        return "TBackward0"

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        return (np.asarray(dy.T, order="C"),)


def transpose(a: Tensor) -> Tensor:
    """c = aᵀ, a view of the same numbers.    a: (A, B)  c: (B, A). Error: ValueError for more than two axes."""
    if a.ndim > 2:
        raise ValueError(f"T: the tensor is {a.shape}; it must have at most two axes")
    return output(TransposeBackward0, (a,), a.data.T)


class MmBackward0(Operation):
    """c = a @ b."""

    equation = "da = dc bᵀ,  db = aᵀ dc"
    operands = ("a", "b")
    keeps = {"a": "db = aᵀ dc multiplies by it", "b": "da = dc bᵀ multiplies by it"}
    twin = "torch.mm"
    twin_saved: Mapping[str, str] = {"a": "self", "b": "mat2"}

    def name(self) -> str:
        """PyTorch's names: dot for two vectors, mv for a matrix and a vector, else mm."""
        return {(1, 1): "DotBackward0", (2, 1): "MvBackward0"}.get(self.axes, "MmBackward0")

    axes: tuple[int, int]
    shapes: tuple[tuple[int, ...], tuple[int, ...]]

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        (rows, _), (_, columns) = self.shapes[0], self.shapes[1]
        dy = dy.reshape(rows, columns)
        da = db = None
        if self.needs(0):
            b = self.saved["b"]
            da = matrix_product(dy, b.reshape(self.shapes[1]).T).reshape(self.shapes[0])
            da = da.reshape(-1) if self.axes[0] == 1 else da
        if self.needs(1):
            a = self.saved["a"]
            db = matrix_product(a.reshape(self.shapes[0]).T, dy).reshape(self.shapes[1])
            db = db.reshape(-1) if self.axes[1] == 1 else db
        return da, db


_WITH_VECTORS = {(1, 1): ("torch.dot", "tensor"), (2, 1): ("torch.mv", "vec")}  # PyTorch has nodes of their own


@flushed
def matmul(a: Tensor, b: Tensor) -> Tensor:
    """c = a @ b.    a: (M, K) or (K,)  b: (K, N) or (K,)  c: (M, N), an axis less for each vector

    Saves b where a needs a gradient, and a where b does.
    Errors: ValueError for shapes that do not fit, TypeError for dtypes that differ.
    """
    if a.ndim not in (1, 2) or b.ndim not in (1, 2) or a.shape[-1] != b.shape[0]:
        raise ValueError(f"@: shapes are {a.shape} and {b.shape}; they must be (M, K) or (K,), and (K, N) or (K,)")
    if a.dtype != b.dtype or a.dtype.kind != "f":
        raise TypeError(f"@: dtypes are {a.dtype} and {b.dtype}; both must be float32, or both float64")
    matrix_a = a.data.reshape(1, -1) if a.ndim == 1 else a.data
    matrix_b = b.data.reshape(-1, 1) if b.ndim == 1 else b.data
    c = matrix_product(matrix_a, matrix_b)
    c = c.reshape((a.shape[:-1] if a.ndim == 2 else ()) + (b.shape[1:] if b.ndim == 2 else ()))
    facts: dict[str, Any] = {"axes": (a.ndim, b.ndim), "shapes": (matrix_a.shape, matrix_b.shape)}
    if facts["axes"] in _WITH_VECTORS:
        function, second = _WITH_VECTORS[facts["axes"]]
        facts |= {"twin": function, "twin_saved": {"a": "self", "b": second}}
    return output(MmBackward0, (a, b), c, _crosswise(a, b), **facts)


def matrix_product(a: Array, b: Array) -> Array:
    """c = a b on the register tile: b is packed in column blocks first.    a: (M, K)  b: (K, N)  c: (M, N)"""
    (M, K), N = a.shape, b.shape[1]
    if not (M and N and K):
        return np.zeros((M, N), a.dtype)
    w = kernels.empty(kernels.packed_shape(N, K, b.dtype), b.dtype)
    kernels.pack(kernel_array(b.T), w, 0, N)
    c = kernels.empty((M, kernels.padded(N, b.dtype)), b.dtype)
    kernels.product(kernel_array(a), w, c, kernels.tiles(b.dtype), 0, N)
    return np.ascontiguousarray(c[:, :N])


def _operators() -> None:
    """Give `Tensor` its operators: a number or an array on either side becomes a constant."""

    def both(function: Any) -> tuple[Any, Any]:
        def run(a: Tensor, b: Tensor) -> Tensor:
            if a.shape != b.shape and function is not matmul:
                check_broadcast(a.shape, b.shape)
            return function(a, b)

        def forward(self: Tensor, other: Any) -> Tensor:
            return run(*_pair(self, other))

        def reflected(self: Tensor, other: Any) -> Tensor:
            return run(*_pair(other, self))

        return forward, reflected

    for name, function in (("add", add), ("sub", sub), ("mul", mul), ("truediv", div), ("matmul", matmul)):
        forward, reflected = both(function)
        setattr(Tensor, f"__{name}__", forward)
        # 2 * a is a * 2, as in PyTorch: the edge of the constant comes second
        setattr(Tensor, f"__r{name}__", forward if function in (add, mul) else reflected)
    for name, value in (
        ("__neg__", neg),
        ("__pow__", power),
        ("sum", total),
        ("mean", mean),
        ("T", property(transpose)),
    ):
        setattr(Tensor, name, value)


_operators()
