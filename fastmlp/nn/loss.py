"""`Loss`: a loss that declares itself, for the graph and the engine alike."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from .. import check
from ..check import shown
from ..graph import Array, Tensor, is_grad_enabled
from ..graph.operation import kernel_array
from ..kernels import flushed, forms, trial
from . import declared
from .layer import Kernel, declares
from .module import Module
from .rowloss import LossNode, by_rows, check_reduction, row_loss, row_weights, shares
from .score import Score, added

KINDS = ("classes", "numbers", "labels", "probabilities")  # of targets
WORDS = " or ".join(f'"{kind}"' for kind in KINDS)


class Measured(NamedTuple):
    """Of some rows: loss, Σ w times their losses; mass, Σ w q; above, below: (N,), the terms of the score times w."""

    loss: float
    mass: float
    above: Array
    below: Array


class Loss(Module):
    """Base of the losses: loss(z, targets) is a tensor without axes.

    targets    the kind it takes: "classes", whole numbers (N,), "numbers", floats (N,) or (N, T), "labels", 0 or 1 in
               (N, K), or "probabilities" (N, K), rows that sum to 1; a tuple where it takes several
    reduction  of the rows' losses: "mean", or "sum"; on the graph also "none", the losses themselves
    score      the score that is reported beside it
    node       its class of nodes: the node's `pair` is what the graph runs, and the engine
    numbers    names of the attributes that the kernels get, as float64
    kept_rows  how many matrices as large as z the backward needs from the forward
    unit       what it is measured in, where it has a name: "nats"
    formula    what `predicted` makes of an output v that is `picked`, as a layer has one, for the exports
    scales     whether its targets may be scaled, (t - mean) / std, as `fit` does with those of a table: not where their
               own scale means something, as that of counts, so only a loss that says so

    A loss of another shape has a `forward` in place of the node, made of operations, and trains on the graph; where it
    names a pair for the engine beside it, as `kernels`, `gradcheck` checks both.

    Rows may have weights: loss(z, targets, sample_weight) is Σ w[n] loss[n] / Σ w[n] q[n], q from `masses`. The kernels
    know nothing of them but the share r; a `forward` without kernels has an argument `sample_weight`, or refuses them.
    """

    targets: ClassVar[str | tuple[str, ...]]
    reduction: str = "mean"
    kernels: ClassVar[Mapping[str, Kernel]] = {}
    node: ClassVar[type[LossNode] | None] = None
    numbers: ClassVar[tuple[str, ...]] = ()
    kept_rows: ClassVar[int] = 0
    score: Score
    unit: ClassVar[str] = ""
    formula: ClassVar[str] = "v"
    scales: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.__dict__.get("node") is not None:
            if not isinstance(cls.node, type) or not issubclass(cls.node, LossNode):
                raise TypeError(f"{cls.__name__}: node is {shown(cls.node)}; it must be a class of LossNode")
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
        if "targets" in cls.__dict__:
            given = cls.targets if isinstance(cls.targets, tuple) else (cls.targets,)
            if not given or not all(isinstance(kind, str) and kind in KINDS for kind in given):
                raise TypeError(
                    f"{cls.__name__}: targets is {shown(cls.targets)}; it must be {WORDS}, or a tuple of them"
                )
        if "score" in cls.__dict__ and not isinstance(cls.score, Score):
            what = type(cls.score).__name__
            raise TypeError(
                f"{cls.__name__}: score is a {what}; it must be a fastmlp.nn.Score, as MSELoss.score is one"
            )

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        kind = type(self)
        check_reduction(kind.__name__, reduction)
        self.reduction = reduction
        for what, must in (
            ("targets", f"{WORDS}, or a tuple of them"),
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

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of targets that it takes."""
        return self.targets if isinstance(self.targets, tuple) else (self.targets,)

    def outputs(self, classes: int, width: int) -> int:
        """How many outputs a model must have at least for targets of so many classes, or (0 classes) of this width."""
        return classes or width

    def pair_for(self, width: int) -> tuple[Kernel, Kernel]:
        """The forward and the backward that run for targets (N, width): those of `kernels`, for most losses."""
        return self.kernels["forward"], self.kernels["backward"]

    def picked(self, columns: int) -> slice:
        """The outputs, of so many, from which `predicted` makes numbers: all, for most losses."""
        return slice(columns)

    def predicted(self, z: Array) -> Array:
        """What the outputs z, (N, C), say of targets that are numbers: (N, T). Themselves, for most losses."""
        return z

    def factor(self, columns: int) -> float:
        """0 for the mean, else what a row's loss counts in the sum: C times where it is a mean over C outputs."""
        return 0.0 if self.reduction == "mean" else 1.0 if "classes" in self.kinds else float(columns)

    def masses(self, targets: Array) -> Array | None:
        """q (N,): what a row of weight 1 counts in the divisor of the mean; None for 1.    targets: (N, T) float64"""
        return None

    def check_targets(self, caller: str, targets: Array, outputs: int | None) -> None:
        """Refuse targets, right in kind and shape, or a model's outputs that the options do not fit. ValueError."""

    def check(self) -> None:
        """Refuse options out of range, which may have been set since it was made: before each epoch.

        Of the package's own losses, in the words of their constructors. Errors: theirs; ValueError for reduction
        "none", which leaves nothing to train by.
        """
        if trial.of_package(type(self)):
            kind: Any = type(self)
            kind(**{name: getattr(self, name) for name in _options_of(kind)})
        if self.reduction == "none":
            what = "a loss for each row; it must be 'mean' or 'sum'"
            raise ValueError(f"{type(self).__name__}: reduction is 'none', {what} to train by")

    def _classes_given(self, targets: Any) -> bool:
        """Whether these are class numbers, for a loss that takes more than one kind."""
        if self.kinds != ("classes",) and "classes" in self.kinds:
            given = np.asarray(targets.data if isinstance(targets, Tensor) else targets)
            return given.ndim == 1 and given.dtype.kind in "iu"
        return "classes" in self.kinds

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
        name = type(self).__name__
        for kind in self.kinds:
            if self.runs_on_engine():
                pair = self.pair_for(1 if kind == "classes" else declared.COLUMNS)
                declared.rows(name, *pair, kind, self.kept_rows, self.number_array())
                forms.address(pair[0], "loss_forward", dtype), forms.address(pair[1], "loss_backward", dtype)
            declared.score(name, self.score, kind)
        forms.address(self.score.kernel, "score", dtype)

    def _try_forward(self, z: Tensor, targets: Any) -> None:
        said, ran = self(z, targets).item(), self.by_kernels(z, targets).item()
        if not np.isclose(said, ran, rtol=1e-2, atol=1e-5, equal_nan=True):  # far from what rounding makes
            raise TypeError(
                f"{type(self).__name__}: forward gives {said:.6g} where its kernels give {ran:.6g}, and fit trains "
                "with the kernels; they must be one loss"
            )

    @flushed
    def by_kernels(self, z: Tensor, targets: Any, sample_weight: Any = None) -> Tensor:
        """The loss as the engine makes it, with its gradient: a node that runs `kernels`."""
        t = np.asarray(targets.data if isinstance(targets, Tensor) else targets).reshape(len(z.data), -1)
        self._check_rows(z.data, t)
        pair = self.pair_for(t.shape[1])
        name = type(self).__name__
        weight = None if sample_weight is None else row_weights(f"{name}: sample_weight", sample_weight, len(t))
        r = shares(len(t), z.dtype, self.factor(z.shape[1]), weight, self.masses(t.astype(np.float64)))
        node = self.node if self.node is not None and tuple(self.node.pair) == pair else LossNode
        return by_rows(node, pair, z, t, r, self.number_array(), self.kept_rows)

    def mass(self, targets: Array, weights: Array | None) -> float:
        """Σ w q: what the sum of the rows' losses, times their weights, is divided by.    targets: (N, T) float64"""
        q = self.masses(targets)
        if weights is None and q is None:
            return float(len(targets))
        w = np.ones(len(targets)) if weights is None else weights
        return added(0.0, w if q is None else w * q)

    def scores(
        self, z: Array, targets: Array, score_numbers: Array, weights: Array | None = None
    ) -> tuple[Array, Array]:
        """Both (N,): what each row adds to the score, and to its divisor.    z: (N, C)  targets: (N, T) float64"""
        self._check_rows(z, targets, weights)
        terms, z = np.zeros((3, len(z))), kernel_array(z)
        terms[2] = 1
        self.score.kernel(z, targets, terms, score_numbers, z.shape[1], 0, len(z))
        if weights is None:
            return terms[1], terms[2]
        with np.errstate(invalid="ignore"):  # 0 times an infinite error is NaN here as in the loop
            return terms[1] * weights, terms[2] * weights

    def measure(self, z: Array, targets: Array, score_numbers: Array, weights: Array | None = None) -> Measured:
        """The loss of rows, whatever the reduction, and their score.    z: (N, C)  targets: (N, T) float64"""
        self._check_rows(z, targets, weights)
        rows, columns = z.shape
        mass, scores = self.mass(targets, weights), self.scores(z, targets, score_numbers, weights)
        if not self.runs_on_engine():
            whole = targets[:, 0].astype(np.int64) if "classes" in self.kinds and targets.shape[1] == 1 else targets
            factor = self.factor(columns)
            loss = self(Tensor(z), whole, weights).item()
            return Measured(loss / factor if factor else loss * mass, mass, *scores)
        kept, terms = np.empty((self.kept_rows * rows, columns), z.dtype), np.zeros((3, rows))
        r = np.ones(rows, z.dtype) if weights is None else weights.astype(z.dtype)
        forward, _ = self.pair_for(targets.shape[1])
        forward(kernel_array(z), targets, r, kept, terms, self.number_array(), columns, 0, rows)
        return Measured(float(z.dtype.type(added(0.0, terms[0]))), mass, *scores)

    def _check_rows(self, z: Array, targets: Array, weights: Array | None = None) -> None:
        """Refuse what kernels would not notice: other numbers of rows, a label that z has no column for. ValueError."""
        name, rows = type(self).__name__, len(z)
        if (
            z.ndim != 2
            or targets.ndim != 2
            or len(targets) != rows
            or (weights is not None and weights.shape != (rows,))
        ):
            given = "" if weights is None else f", weights are {weights.shape}"
            raise ValueError(f"{name}: z is {z.shape}, targets are {targets.shape}{given}; they must have as many rows")
        if "classes" in self.kinds and targets.shape[1] == 1 and rows:
            low, high = targets.min(), targets.max()
            if not 0 <= low <= high < z.shape[1]:  # NaN too
                raise ValueError(f"{name}: labels lie in {low:g} .. {high:g}; they must lie in 0 .. {z.shape[1] - 1}")

    def extra_repr(self) -> str:
        """The arguments that are not the defaults, as PyTorch prints them."""
        shown = []
        for name, parameter in inspect.signature(type(self)).parameters.items():
            value, default = getattr(self, name, parameter.default), parameter.default
            value = value.tolist() if isinstance(value, np.ndarray) else value
            if default is not parameter.empty and value != default:
                shown.append(f"{name}={value!r}")
        return ", ".join(shown)

    def takes_weights(self) -> bool:
        """Whether rows may have weights: its kernels know them by their share, a forward by an argument."""
        return self.runs_on_engine() or "sample_weight" in inspect.signature(self.forward).parameters

    def __call__(self, z: Tensor, targets: Any, sample_weight: Any = None) -> Tensor:  # type: ignore[override]
        name = type(self).__name__
        if sample_weight is None:
            loss = self.forward(z, targets)
        elif "sample_weight" in inspect.signature(self.forward).parameters:
            loss = self.forward(z, targets, sample_weight=sample_weight)
        elif self.runs_on_engine():
            loss = self.by_kernels(z, targets, sample_weight)
        else:
            raise TypeError(f"{name}: rows have weights, and its forward has no argument sample_weight that takes them")
        if not isinstance(loss, Tensor) or (loss.shape and self.reduction != "none"):
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

    def forward(self, z: Tensor, targets: Any, sample_weight: Any = None) -> Tensor:  # type: ignore[override]
        """The loss of the rows, by the pair of its node."""
        assert self.node is not None
        return row_loss(
            type(self).__name__, self.node, z, targets, *declared.numbers(self), kept_rows=self.kept_rows,
            classes=self._classes_given(targets), reduction=self.reduction, sample_weight=sample_weight,
            masses=self.masses,
        )  # fmt: skip


@lru_cache
def _options_of(kind: type[Loss]) -> tuple[str, ...]:
    """The names of what a loss of the package is made with."""
    return tuple(inspect.signature(kind).parameters)
