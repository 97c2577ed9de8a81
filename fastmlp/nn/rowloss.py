"""A loss on the graph as a pair of row kernels: the weights of rows, the reductions, the node, the operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from .. import check
from ..check import shown
from ..graph import Array, Tensor
from ..graph.operation import Operation, kernel_array, output, require_tensor, same_float
from ..kernels import flushed, forms, trial
from . import declared
from .layer import Kernel
from .score import added

REDUCTIONS = ("mean", "sum", "none")


def row_weights(name: str, sample_weight: Any, rows: int) -> Array:
    """Weights of rows as (N,) float64. Errors: TypeError, ValueError for others than finite numbers of at least 0."""
    given = sample_weight.data if isinstance(sample_weight, Tensor) else sample_weight
    weight = check.array(name, given)
    if weight.dtype.kind not in "fiub":
        raise TypeError(f"{name} is {weight.dtype}; it must hold numbers, one for each row")
    if weight.shape != (rows,):
        raise ValueError(f"{name} is {weight.shape}; it must be ({rows},), one for each row")
    weight = np.ascontiguousarray(weight, np.float64)
    if not (np.isfinite(weight).all() and weight.min() >= 0):
        raise ValueError(f"{name} must be finite and at least 0")
    return weight


def shares(rows: int, dtype: Any, factor: float, weight: Array | None = None, mass: Array | None = None) -> Array:
    """r (N,), the share of each row in the loss, as the loop of the engine makes it.

    factor  0 for the mean, r = w / Σ w q; else r = factor w
    weight  w, (N,) float64; mass: q, what a row counts in the divisor; None for ones

    Where no row counts all shares are 0: so are the loss and its gradient.
    """
    if weight is None and (mass is None or factor):
        return np.full(rows, factor or 1 / rows, dtype)
    w = np.ones(rows) if weight is None else weight
    if factor:
        return (w * factor).astype(dtype)
    total = added(0.0, w if mass is None else w * mass)
    return (w / total if total > 0 else np.zeros(rows)).astype(dtype)


class LossNode(Operation):
    """A node of a loss that is a pair of row kernels. A subclass has `pair`, its equation and what it keeps."""

    pair: ClassVar[tuple[Kernel, Kernel]]
    operands = ("z",)
    keeps: Mapping[str, str] = {
        "z": "the outputs",
        "t": "the targets",
        "r": "the share of each row in the loss",
        "kept": "what the forward has left for it",
    }
    numbers: Array
    columns: Callable[[int], Array] | None = None  # the numbers of a column, where each has a loss of its own
    kept_rows = 0

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "pair" in cls.__dict__:
            declared.pair(cls, "loss")
        if "keeps" in cls.__dict__:
            declared.keeps(cls, ("z", "t", "r", "kept"))

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        z, targets, r = self.saved["z"], self.saved["t"].astype(np.float64), self.saved["r"]
        dz = np.empty_like(z)
        if self.columns is not None:
            for c in range(z.shape[1]):
                dz[:, c : c + 1] = self._column(c, z, targets, r * dy[:, c])
            return (dz,)
        kept = self.saved.get("kept", z[:0])
        self.pair[1](z, targets, r * dy.astype(r.dtype), kept, dz, self.numbers, z.shape[1], 0, len(z))
        return (dz,)

    def _column(self, c: int, z: Array, targets: Array, r: Array) -> Array:
        """dz of one column, (N, 1); what the forward keeps is made again."""
        assert self.columns is not None
        z, t = one_column(z, c), one_column(targets, c * targets.shape[1] // z.shape[1])
        dz, kept, numbers = np.empty_like(z), np.empty((self.kept_rows * len(z), 1), z.dtype), self.columns(c)
        if self.kept_rows:
            self.pair[0](z, t, r, kept, np.zeros((3, len(z))), numbers, 1, 0, len(z))
        self.pair[1](z, t, r, kept, dz, numbers, 1, 0, len(z))
        return dz


def one_column(a: Array, c: int) -> Array:
    """Column c as (N, 1), contiguous."""
    return np.ascontiguousarray(a[:, c : c + 1])


@flushed
def row_loss(
    name: str,
    node: type[LossNode],
    z: Tensor,
    targets: Any,
    *numbers: float | Array,
    sample_weight: Any = None,
    reduction: str = "mean",
    kept_rows: int = 0,
    classes: bool = False,
    masses: Callable[[Array], Array | None] = lambda targets: None,
    outputs: int = 1,
) -> Tensor:
    """The operation `name`: Σₙ r[n] times the loss of row n, r = 1 / N for the mean.

    z: (N, C)  targets: (N, C), or (N,) where C is 1; with `classes`, (N,) whole numbers in [0, C)
    numbers        of the kernels; an array has one for each column, c takes number c modulo their count
    sample_weight  w (N,): r[n] = w[n] / Σ w q, q from `masses`, 1 for each row
    reduction      "sum" adds all numbers up, r = w C where a row's loss is a mean over C; "none" gives the loss of each
                   number, (N, C), or, with `classes`, of each row, (N,), times w
    outputs        columns of z for each column of the targets, if more than one

    Errors: ValueError for shapes that do not fit, labels out of range, weights below 0 and another reduction, TypeError
    for other dtypes.
    """
    same_float(name, z=require_tensor(f"{name}: z", z))
    t = check.array(f"{name}: targets", targets.data if isinstance(targets, Tensor) else targets)
    if t.dtype.kind not in "fiub":
        raise TypeError(f"{name}: targets are {t.dtype}; they must be real numbers")
    width = z.shape[1] / outputs if z.ndim == 2 else 0
    fits = t.shape == z.shape[:1] if classes or (t.ndim == 1 and width == 1) else t.shape == (*z.shape[:1], width)
    if z.ndim != 2 or not z.data.size or not fits:
        what = "they must be (N,) and (N, C)" if classes else "they must be (N, C) both, or (N,) and (N, 1)"
        if outputs > 1:
            what = f"they must be (N, T) and (N, {outputs} T), or (N,) and (N, {outputs})"
        raise ValueError(f"{name}: targets are {t.shape}, z is {z.shape}; {what}")
    if classes and (t.dtype.kind not in "iu" or t.min() < 0 or t.max() >= z.shape[1]):
        what = f"lie in {t.min()} .. {t.max()}" if t.dtype.kind in "iu" else f"are {t.dtype}"
        raise ValueError(f"{name}: targets {what}; they must be whole numbers in 0 .. {z.shape[1] - 1}")
    check_reduction(name, reduction)
    table = np.atleast_2d(np.stack(np.broadcast_arrays(*map(np.atleast_1d, numbers or (0.0,))))).astype(np.float64)
    options = table.reshape(-1)

    def try_out() -> None:
        declared.pair(node, "loss")
        declared.rows(node.__name__, *node.pair, "classes" if classes else "numbers", kept_rows, options)
        forms.address(node.pair[0], "loss_forward", z.dtype), forms.address(node.pair[1], "loss_backward", z.dtype)

    trial.once(node, (z.dtype, len(numbers), kept_rows, classes), try_out)
    weight = None if sample_weight is None else row_weights(f"{name}: sample_weight", sample_weight, len(t))
    t = t.reshape(len(t), -1)
    factor = 0.0 if reduction == "mean" else 1.0 if classes or reduction == "none" else float(z.shape[1])
    r = shares(len(t), z.dtype, factor, weight, masses(t.astype(np.float64)))
    if reduction == "none" and not classes:
        return _by_columns(node, z, t, r, lambda c: np.ascontiguousarray(table[:, c % table.shape[1]]), kept_rows)
    return by_rows(node, node.pair, z, t, r, options, kept_rows, reduction == "none")


def check_reduction(name: str, reduction: Any) -> None:
    """Refuse another reduction than there is. Error: ValueError."""
    if not isinstance(reduction, str) or reduction not in REDUCTIONS:
        raise ValueError(f"{name}: reduction is {shown(reduction)}; it must be 'mean', 'sum' or 'none'")


def by_rows(
    node: type[LossNode],
    pair: tuple[Kernel, Kernel],
    z: Tensor,
    t: Array,
    r: Array,
    options: Array,
    kept_rows: int,
    each: bool = False,
) -> Tensor:
    """Run the forward of a pair on all rows, and record the node that will run its backward.    t: (N, T)

    each: the loss of each row, not their sum.
    """
    z_array, (N, C) = kernel_array(z.data), z.shape
    t = np.ascontiguousarray(t, z.dtype)
    terms, kept = np.zeros((3, N)), np.empty((kept_rows * N, C), z.dtype)
    pair[0](z_array, t.astype(np.float64), r, kept, terms, options, C, 0, N)
    save = {"z": z_array, "t": t, "r": r} | ({"kept": kept} if kept_rows else {})
    facts = {} if node is not LossNode else {"pair": pair}  # a node of nobody's class runs what it is given
    loss = terms[0] if each else np.asarray(added(0.0, terms[0]))
    return output(node, (z,), loss.astype(z.dtype), save, numbers=options, **facts)


def _by_columns(
    node: type[LossNode], z: Tensor, t: Array, r: Array, columns: Callable[[int], Array], kept_rows: int
) -> Tensor:
    """The loss of each number, (N, C): the forward of a pair on one column after the other.    t: (N, T)"""
    z_array, (N, C) = kernel_array(z.data), z.shape
    t, loss = np.ascontiguousarray(t, z.dtype), np.empty((N, C), z.dtype)
    for c in range(C):
        terms, kept = np.zeros((3, N)), np.empty((kept_rows * N, 1), z.dtype)
        target = one_column(t, c * t.shape[1] // C).astype(np.float64)
        node.pair[0](one_column(z_array, c), target, r, kept, terms, columns(c), 1, 0, N)
        loss[:, c] = terms[0]
    return output(node, (z,), loss, {"z": z_array, "t": t, "r": r}, columns=columns, kept_rows=kept_rows)
