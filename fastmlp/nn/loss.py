"""`Loss`: a loss that declares itself, for the graph and the engine alike; `Score`, what is reported beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import check
from ..graph import Array, Tensor
from ..graph.operation import Operation, kernel_array, output, require_tensor, same_float
from .layer import Kernel, declares
from .module import Module


def no_numbers(targets: Array) -> Array:
    """What a score needs to know of all targets where that is nothing."""
    return np.zeros(1)


@dataclass(frozen=True)
class Score:
    """How good outputs are, in the number that people read beside the loss.

    name     "accuracy"
    kernel   terms[1, n] = what row n adds: the score is start + the sum of the terms over the rows / their number
    numbers  targets (N, T) of the rows that are scored -> what the kernel needs to know of all of them
    start    the score of no error at all, where terms are errors below 0; else 0
    """

    name: str
    kernel: Kernel
    numbers: Callable[[Array], Array] = no_numbers
    start: float = 0.0


def added(total: float, terms: Array) -> float:
    """total + the terms, one by one, as a thread of the engine adds them."""
    return float(np.concatenate([[total], terms]).cumsum()[-1])


class Loss(Module):
    """Base of the losses: loss(z, targets) is a tensor without axes.

    targets    the kind it takes: "classes", whole numbers (N,), or "numbers", floats (N,) or (N, T)
    kernels    its pair for the engine, forward and backward; see `kernels.loss`
    numbers    names of the attributes that the kernels get, as float64
    kept_rows  how many matrices as large as z the backward needs from the forward
    score      the score that is reported beside it
    """

    targets: ClassVar[str]
    kernels: ClassVar[Mapping[str, Kernel]] = {}
    numbers: ClassVar[tuple[str, ...]] = ()
    kept_rows: ClassVar[int] = 1
    score: ClassVar[Score]

    def number_array(self) -> Array:
        """`numbers` as the kernels take them, and at least one number."""
        return np.array([getattr(self, name) for name in self.numbers] or [0.0], np.float64)

    def outputs(self, classes: int, width: int) -> int:
        """How many outputs a model must have at least for targets of so many classes, or of this width."""
        return classes if self.targets == "classes" else width

    def runs_on_engine(self) -> bool:
        """Whether its kernels say what its `forward` does: not where a subclass has another forward."""
        return declares(self, "forward", "kernels")

    def measure(self, z: Array, targets: Array, score_numbers: Array) -> tuple[float, Array]:
        """(sum of the rows' losses, the terms of their scores).    z: (N, C)  targets: (N, T) float64"""
        rows, columns = z.shape
        kept, terms = np.empty((self.kept_rows * rows, columns), z.dtype), np.zeros((2, rows))
        r, z = np.ones(rows, z.dtype), kernel_array(z)
        self.kernels["forward"](z, targets, r, kept, terms, self.number_array(), columns, 0, rows)
        self.score.kernel(z, targets, terms, score_numbers, columns, 0, rows)
        if not self.runs_on_engine():
            whole = targets[:, 0].astype(np.int64) if self.targets == "classes" else targets
            return self.forward(Tensor(z), whole).item() * rows, terms[1]
        return float(z.dtype.type(added(0.0, terms[0]))), terms[1]

    def __call__(self, z: Tensor, targets: Any) -> Tensor:  # type: ignore[override]
        return self.forward(z, targets)

    def forward(self, z: Tensor, targets: Any) -> Tensor:  # type: ignore[override]
        """The mean loss over the rows."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")


class LossNode(Operation):
    """A node of a loss that is a pair of row kernels. A subclass has `pair`, its equation and what it keeps."""

    pair: ClassVar[tuple[Kernel, Kernel]]
    operands = ("z",)
    keeps: Mapping[str, str] = {"z": "the outputs", "t": "the targets", "r": "the share of each row in the loss"}
    numbers: Array

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        z, targets, r = self.saved["z"], self.saved["t"].astype(np.float64), self.saved["r"]
        dz, kept = np.empty_like(z), self.saved.get("kept", z)
        self.pair[1](z, targets, r * r.dtype.type(dy), kept, dz, self.numbers, z.shape[1], 0, len(z))
        return (dz,)


def row_loss(
    name: str,
    node: type[LossNode],
    z: Tensor,
    targets: Any,
    *numbers: float,
    reduction: str = "mean",
    kept_rows: int = 0,
) -> Tensor:
    """The operation `name` of targets that are numbers: Σₙ r[n] times the loss of row n, r = 1 / N for the mean.

    z: (N, C)  targets: (N, C), or (N,) where C is 1. With "sum" all numbers are added, r = C, where a row's loss is a
    mean over C. Errors: ValueError for shapes that do not fit and another reduction, TypeError for other dtypes.
    """
    same_float(name, z=require_tensor(f"{name}: z", z))
    t = check.array(f"{name}: targets", targets.data if isinstance(targets, Tensor) else targets)
    if t.dtype.kind not in "fiub":
        raise TypeError(f"{name}: targets are {t.dtype}; they must be real numbers")
    if z.ndim != 2 or not z.data.size or t.shape not in (z.shape, z.shape[:1] if z.shape[1] == 1 else z.shape):
        what = "they must be (N, C) both, or (N,) and (N, 1)"
        raise ValueError(f"{name}: targets are {t.shape}, z is {z.shape}; {what}")
    if reduction not in ("mean", "sum"):
        raise ValueError(f"{name}: reduction is {reduction!r}; it must be 'mean' or 'sum'")
    z_array, (N, C) = kernel_array(z.data), z.shape
    t = np.ascontiguousarray(t.reshape(N, C), z.dtype)
    r, terms, options = (
        np.full(N, 1 / N if reduction == "mean" else C, z.dtype),
        np.zeros((2, N)),
        np.array(numbers or (0.0,)),
    )
    kept = np.empty((max(kept_rows, 1) * N, C), z.dtype)
    node.pair[0](z_array, t.astype(np.float64), r, kept, terms, options, C, 0, N)
    save = {"z": z_array, "t": t, "r": r} | ({"kept": kept} if kept_rows else {})
    return output(node, (z,), np.asarray(added(0.0, terms[0]), z.dtype), save, numbers=options)
