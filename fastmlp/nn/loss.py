"""`Loss`: a loss that declares itself, for the graph and the engine alike; `Score`, what is reported beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from .. import check
from ..graph import Array, Tensor, is_grad_enabled
from ..graph.operation import Operation, kernel_array, output, require_tensor, same_float
from ..kernels import forms, trial
from . import declared
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
    rises    whether more of it is better: a score that is an error has False. Early stopping follows it
    best     the score of no error at all, where a score of 0.9 of it is as good as nine rows of ten; None for another
    """

    name: str
    kernel: Kernel
    numbers: Callable[[Array], Array] = no_numbers
    start: float = 0.0
    rises: bool = True
    best: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not callable(self.numbers):
            raise TypeError(f"Score: name is {self.name!r}, numbers {self.numbers!r}; they must be a str, a function")


def added(total: float, terms: Array) -> float:
    """total + the terms, one by one, as a thread of the engine adds them."""
    return float(np.concatenate([[total], terms]).cumsum()[-1])


class Loss(Module):
    """Base of the losses: loss(z, targets) is a tensor without axes.

    targets    the kind it takes: "classes", whole numbers (N,), or "numbers", floats (N,) or (N, T)
    score      the score that is reported beside it
    node       its class of nodes: the node's `pair` is what the graph runs, and the engine
    numbers    names of the attributes that the kernels get, as float64
    kept_rows  how many matrices as large as z the backward needs from the forward
    unit       what it is measured in, where it has a name: "nats"

    A loss of another shape has a `forward` in place of the node, made of operations, and trains on the graph; where it
    names a pair for the engine beside it, as `kernels`, `gradcheck` checks both.
    """

    targets: ClassVar[str]
    kernels: ClassVar[Mapping[str, Kernel]] = {}
    node: ClassVar[type[LossNode] | None] = None
    numbers: ClassVar[tuple[str, ...]] = ()
    kept_rows: ClassVar[int] = 0
    score: ClassVar[Score]
    unit: ClassVar[str] = ""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.__dict__.get("node") is not None:
            if not isinstance(cls.node, type) or not issubclass(cls.node, LossNode):
                raise TypeError(f"{cls.__name__}: node is {cls.node!r}; it must be a class of LossNode")
            if "kernels" in cls.__dict__:
                raise TypeError(
                    f"{cls.__name__}: kernels are given beside node; its pair is what trains, leave them out"
                )
            declared.pair(cls.node, "loss")
            cls.kernels = dict(zip(("forward", "backward"), cls.node.pair, strict=True))
        elif "kernels" in cls.__dict__:
            declared.kernels(cls, ("forward", "backward"))
            for what, kernel in cls.kernels.items():
                forms.check(kernel, f"loss_{what}", cls.__name__)
        declared.names(cls, "numbers")
        check.whole(f"{cls.__name__}: kept_rows", cls.kept_rows, 0)
        if "targets" in cls.__dict__ and cls.targets not in ("classes", "numbers"):
            raise TypeError(f'{cls.__name__}: targets is {cls.targets!r}; it must be "classes" or "numbers"')
        if "score" in cls.__dict__ and not isinstance(cls.score, Score):
            what = type(cls.score).__name__
            raise TypeError(
                f"{cls.__name__}: score is a {what}; it must be a fastmlp.nn.Score, as MSELoss.score is one"
            )

    def __init__(self) -> None:
        super().__init__()
        kind = type(self)
        for what, must in (
            ("targets", '"classes" or "numbers"'),
            ("score", "a fastmlp.nn.Score, such as MSELoss.score"),
        ):
            if not hasattr(kind, what):
                raise TypeError(f"{kind.__name__}: {what} is missing; it must be {must}")
        forms.check(kind.score.kernel, "score", f"{kind.__name__}: score")
        if kind.node is None and kind.forward is Loss.forward:
            raise TypeError(
                f"{kind.__name__}: node is missing; it must be its class of LossNode, or forward is to be defined"
            )

    def number_array(self) -> Array:
        """`numbers` as the kernels take them, and at least one number."""
        return np.array(declared.numbers(self) or [0.0], np.float64)

    def outputs(self, classes: int, width: int) -> int:
        """How many outputs a model must have at least for targets of so many classes, or of this width."""
        return classes if self.targets == "classes" else width

    def runs_on_engine(self) -> bool:
        """Whether its kernels say what its `forward` does: not where a subclass has another forward."""
        return declares(self, "forward", "kernels", "node") and bool(self.kernels)

    def try_out(self, dtype: DTypeLike, z: Array | None = None, targets: Any = None) -> None:
        """Before it is trusted: TypeError where its kernels do not do what its declaration says, as far as seen.

        With outputs z and their targets, its `forward` too is run, and gives what the kernels give.
        """
        trial.once(type(self), (np.dtype(dtype), self.kept_rows), lambda: self._try_kernels(dtype))
        if z is not None:
            trial.once(type(self), (np.dtype(dtype), "forward"), lambda: self._try_forward(Tensor(z, True), targets))

    def _try_kernels(self, dtype: DTypeLike) -> None:
        name, classes = type(self).__name__, self.targets == "classes"
        if self.runs_on_engine():
            pair = self.kernels["forward"], self.kernels["backward"]
            declared.rows(name, *pair, classes, self.kept_rows, self.number_array())
            forms.address(pair[0], "loss_forward", dtype), forms.address(pair[1], "loss_backward", dtype)
        declared.score(name, self.score, classes)
        forms.address(self.score.kernel, "score", dtype)

    def _try_forward(self, z: Tensor, targets: Any) -> None:
        said, ran = self(z, targets).item(), self.by_kernels(z, targets).item()
        if not np.isclose(said, ran, rtol=1e-2, atol=1e-5, equal_nan=True):  # far from what rounding makes
            raise TypeError(
                f"{type(self).__name__}: forward gives {said:.6g} where its kernels give {ran:.6g}, and fit trains "
                "with the kernels; they must be one loss"
            )

    def by_kernels(self, z: Tensor, targets: Any) -> Tensor:
        """The mean loss as the engine makes it, with its gradient: a node that runs `kernels`."""
        t = np.asarray(targets.data if isinstance(targets, Tensor) else targets).reshape(len(z.data), -1)
        pair = self.kernels["forward"], self.kernels["backward"]
        return _by_rows(LossNode, pair, z, t, 1 / len(t), self.number_array(), self.kept_rows)

    def scores(self, z: Array, targets: Array, score_numbers: Array) -> Array:
        """(N,): what each row adds to the score.    z: (N, C)  targets: (N, T) float64"""
        terms, z = np.zeros((2, len(z))), kernel_array(z)
        self.score.kernel(z, targets, terms, score_numbers, z.shape[1], 0, len(z))
        return terms[1]

    def measure(self, z: Array, targets: Array, score_numbers: Array) -> tuple[float, Array]:
        """(sum of the rows' losses, the terms of their scores).    z: (N, C)  targets: (N, T) float64"""
        rows, columns = z.shape
        kept, terms = np.empty((self.kept_rows * rows, columns), z.dtype), np.zeros((2, rows))
        r, z = np.ones(rows, z.dtype), kernel_array(z)
        terms[1] = self.scores(z, targets, score_numbers)
        if not self.runs_on_engine():
            whole = targets[:, 0].astype(np.int64) if self.targets == "classes" else targets
            return self(Tensor(z), whole).item() * rows, terms[1]
        self.kernels["forward"](z, targets, r, kept, terms, self.number_array(), columns, 0, rows)
        return float(z.dtype.type(added(0.0, terms[0]))), terms[1]

    def __call__(self, z: Tensor, targets: Any) -> Tensor:  # type: ignore[override]
        loss, name = self.forward(z, targets), type(self).__name__
        if not isinstance(loss, Tensor) or loss.shape:
            what = f"a Tensor of the shape {loss.shape}" if isinstance(loss, Tensor) else type(loss).__name__
            raise TypeError(f"{name}: forward returns {what}; it must return the loss, a Tensor without axes")
        if is_grad_enabled() and z.requires_grad and not loss.requires_grad:
            raise TypeError(f"{name}: forward returns a Tensor that no gradient leads back from; it must be made of z")
        if self.node and self.runs_on_engine() and loss.grad_fn is not None and type(loss.grad_fn) is not self.node:
            raise TypeError(
                f"{name}: forward records {type(loss.grad_fn).__name__}, and its node is {self.node.__name__}, whose "
                "kernels train; they must be the same"
            )
        return loss

    def forward(self, z: Tensor, targets: Any) -> Tensor:  # type: ignore[override]
        """The mean loss over the rows, by the pair of its node."""
        assert self.node is not None
        classes, numbers = self.targets == "classes", declared.numbers(self)
        return row_loss(type(self).__name__, self.node, z, targets, *numbers, kept_rows=self.kept_rows, classes=classes)


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

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "pair" in cls.__dict__:
            declared.pair(cls, "loss")
        if "keeps" in cls.__dict__:
            declared.keeps(cls, ("z", "t", "r", "kept"))

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        z, targets, r = self.saved["z"], self.saved["t"].astype(np.float64), self.saved["r"]
        dz, kept = np.empty_like(z), self.saved.get("kept", z[:0])
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
    classes: bool = False,
) -> Tensor:
    """The operation `name`: Σₙ r[n] times the loss of row n, r = 1 / N for the mean.

    z: (N, C)  targets: (N, C), or (N,) where C is 1; with `classes`, (N,) whole numbers in [0, C). With "sum" all
    numbers are added, r = C, where a row's loss is a mean over C. Errors: ValueError for shapes that do not fit, labels
    out of range and another reduction, TypeError for other dtypes.
    """
    same_float(name, z=require_tensor(f"{name}: z", z))
    t = check.array(f"{name}: targets", targets.data if isinstance(targets, Tensor) else targets)
    if t.dtype.kind not in "fiub":
        raise TypeError(f"{name}: targets are {t.dtype}; they must be real numbers")
    fits = (
        t.shape in (z.shape, z.shape[:1] if z.shape[1:] == (1,) else z.shape) if not classes else t.shape == z.shape[:1]
    )
    if z.ndim != 2 or not z.data.size or not fits:
        what = "they must be (N,) and (N, C)" if classes else "they must be (N, C) both, or (N,) and (N, 1)"
        raise ValueError(f"{name}: targets are {t.shape}, z is {z.shape}; {what}")
    if classes and (t.dtype.kind not in "iu" or t.min() < 0 or t.max() >= z.shape[1]):
        what = f"lie in {t.min()} .. {t.max()}" if t.dtype.kind in "iu" else f"are {t.dtype}"
        raise ValueError(f"{name}: targets {what}; they must be whole numbers in 0 .. {z.shape[1] - 1}")
    if reduction not in ("mean", "sum"):
        raise ValueError(f"{name}: reduction is {reduction!r}; it must be 'mean' or 'sum'")
    options = np.array(numbers or (0.0,), np.float64)

    def try_out() -> None:
        declared.pair(node, "loss")
        declared.rows(node.__name__, *node.pair, classes, kept_rows, options)
        forms.address(node.pair[0], "loss_forward", z.dtype), forms.address(node.pair[1], "loss_backward", z.dtype)

    trial.once(node, (z.dtype, len(numbers), kept_rows, classes), try_out)
    share = 1 / len(t) if reduction == "mean" else z.shape[1]
    return _by_rows(node, node.pair, z, t.reshape(len(t), -1), share, options, kept_rows)


def _by_rows(
    node: type[LossNode], pair: tuple[Kernel, Kernel], z: Tensor, t: Array, share: float, options: Array, kept_rows: int
) -> Tensor:
    """Run the forward of a pair on all rows, and record the node that will run its backward.    t: (N, T)"""
    z_array, (N, C) = kernel_array(z.data), z.shape
    t = np.ascontiguousarray(t, z.dtype)
    r, terms, kept = np.full(N, share, z.dtype), np.zeros((2, N)), np.empty((kept_rows * N, C), z.dtype)
    pair[0](z_array, t.astype(np.float64), r, kept, terms, options, C, 0, N)
    save = {"z": z_array, "t": t, "r": r} | ({"kept": kept} if kept_rows else {})
    facts = {} if node is not LossNode else {"pair": pair}  # a node of nobody's class runs what it is given
    return output(node, (z,), np.asarray(added(0.0, terms[0]), z.dtype), save, numbers=options, **facts)
