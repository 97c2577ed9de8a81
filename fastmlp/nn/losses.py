"""Losses of classes and labels: a node, its operation and its module each; the score that goes with a loss."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import check, kernels
from ..check import shown
from ..graph import Array, Tensor
from ..graph.operation import Operation, kernel_array, output, require_tensor, same_float
from ..kernels import flushed
from ..kernels import loss as pairs
from .layer import Kernel
from .loss import Loss
from .rowloss import LossNode, check_reduction, row_loss, row_weights, shares
from .score import Score, added

ACCURACY = Score("accuracy", kernels.accuracy_score, best=1.0)


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
    """loss = -Σₙ y[n, labels[n]] / N.

    With weights of rows or classes, label smoothing or probabilities: -Σₙ r[n] Σ_c q[n, c] y[n, c]. The node of a loss
    with none of them shows the short form.
    """

    equation = "dy[n, c] = -dloss / N where c is labels[n], else 0"
    operands = ("y",)
    keeps = {
        "labels": "the column of each row that has the gradient",
        "r": "the share of each row in the loss, 1 / N where all count alike",
    }
    general = (  # forward, backward, why labels are kept, with weights r or smoothing s
        "loss = -Σₙ r[n] Σ_c q[n, c] y[n, c]",
        "dy[n, c] = -dloss r[n] q[n, c],  q = s / C, and 1 - s more where c is labels[n]",
        {**keeps, "labels": "the column of each row where q is largest"},
    )
    soft = (
        "dy[n, c] = -dloss r[n] q[n, c],  q = w[c] ((1 - s) p[n, c] + s / C)"  # classes that weigh w, probabilities p
    )
    twin = "torch.nn.functional.nll_loss"
    twin_saved = {"labels": "target"}  # PyTorch works r out again
    smoothing: float
    classes: int
    numbers: Array | None = None  # (s, w...) of the soft form, which any targets may have

    def formula(self) -> str:
        """Of this node's loss: the short one, or that with weights and smoothing."""
        return super().formula() if self.equation == type(self).equation else self.general[0]

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        labels, r = self.saved["labels"], self.saved["r"]
        rows = len(labels)
        below, targets = np.empty((rows, self.classes), r.dtype), labels.astype(np.float64)
        if self.numbers is None:
            kernels.nll_loss_backward(float(dy), targets, r, self.smoothing, below, self.classes, 0, rows)
        else:
            share = r * dy.astype(r.dtype)  # of each row's loss, or of their sum
            kernels.soft_nll_loss_backward(
                targets.reshape(rows, -1), share, below, self.numbers, self.classes, 0, rows
            )  # fmt: skip
        return (below,)


@flushed
def nll_loss(
    y: Tensor,
    labels: Any,
    *,
    weight: Any = None,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """loss = -Σₙ r[n] Σ_c q[n, c] y[n, c].    y: (N, C) log-probabilities  loss: ()

    Arguments and errors are those of `cross_entropy`.
    """
    same_float("nll_loss", y=require_tensor("nll_loss: y", y))
    labels = _checked_targets(labels, y.shape)
    _check_smoothing("cross_entropy", label_smoothing)
    check_reduction("cross_entropy", reduction)
    w, (rows, classes) = _class_weights("cross_entropy", weight, y.shape[1]), y.shape
    mass = None if w is None or labels.ndim > 1 else w[labels]
    each = None if sample_weight is None else row_weights("cross_entropy: sample_weight", sample_weight, rows)
    r = shares(rows, y.dtype, 0.0 if reduction == "mean" else 1.0, each, mass)
    smoothing, targets = float(label_smoothing), labels.astype(np.float64)  # as the engine hands them over
    facts: dict[str, Any] = {"smoothing": smoothing, "classes": classes}
    if w is None and labels.ndim == 1 and reduction != "none":
        loss = np.asarray(kernels.nll_loss_forward(kernel_array(y.data), targets, r, smoothing, classes, 0, rows))
        if sample_weight is not None or reduction == "sum" or smoothing:
            facts |= {"equation": NllLossBackward0.general[1], "keeps": NllLossBackward0.general[2]}
    else:
        terms, numbers = np.zeros((3, rows)), np.array([smoothing, *([] if w is None else w)])
        targets = targets.reshape(rows, -1)
        kernels.soft_nll_loss_forward(kernel_array(y.data), targets, r, terms, numbers, classes, 0, rows)
        loss = terms[0] if reduction == "none" else np.asarray(added(0.0, terms[0]))
        keeps = {**NllLossBackward0.keeps, "labels": "the class of each row, or its probabilities p: q is made of them"}
        facts |= {"numbers": numbers, "equation": NllLossBackward0.soft, "keeps": keeps}
    return output(NllLossBackward0, (y,), loss.astype(y.dtype), {"labels": labels, "r": r}, **facts)


def cross_entropy(
    z: Tensor,
    labels: Any,
    *,
    weight: Any = None,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """loss = Σₙ r[n] Σ_c q[n, c] (log Σ_k e^z[n, k] - z[n, c]),  q[n, c] = w[c] ((1 - s) p[n, c] + s / C).

    z                (N, C) logits
    labels           (N,) whole numbers in [0, C): an array, a list or a Tensor; p is 1 for the label, else 0. Or the
                     probabilities p, floats (N, C), C > 1, whose rows sum to 1
    weight           w (C,): what each class counts; None counts all once
    sample_weight    v (N,) numbers >= 0, one for each row; None counts every row once
    label_smoothing  s in [0, 1)
    reduction        "mean": r = v / Σ v[n] w[labels[n]], so 1 / N without weights; with probabilities r = v / Σ v, as
                     in PyTorch.  "sum": r = v.  "none": the loss of each row, (N,), times v

    The loss has no axes and no unit (nats). Two nodes, as in PyTorch: LogSoftmaxBackward0 and NllLossBackward0. Where
    all weights are 0, the loss is 0. There is no `ignore_index`: a row of weight 0 is ignored.

    Errors: ValueError for shapes that do not fit, labels out of range, rows that are no probabilities, weights below 0;
    TypeError for labels that are no whole numbers. Source: Goodfellow, Bengio, Courville, Deep Learning (2016),
    6.2.2.3; label smoothing: Szegedy et al., CVPR 2016, section 7; weights: PyTorch's documentation.
    """
    return nll_loss(
        log_softmax(z),
        labels,
        weight=weight,
        sample_weight=sample_weight,
        label_smoothing=label_smoothing,
        reduction=reduction,
    )


def _check_smoothing(caller: str, label_smoothing: Any) -> None:
    if not (check.is_number(label_smoothing) and 0 <= label_smoothing < 1):
        raise ValueError(f"{caller}: label_smoothing is {shown(label_smoothing)}; it must lie in [0, 1)")


def _class_weights(caller: str, weight: Any, classes: int | None = None) -> Array | None:
    """w (C,) float64, one for each class. Error: ValueError for others than finite numbers of at least 0."""
    if weight is None:
        return None
    w = check.array(f"{caller}: weight", weight.data if isinstance(weight, Tensor) else weight)
    if w.ndim != 1 or w.dtype.kind not in "fiub" or not w.size:
        raise ValueError(f"{caller}: weight is {w.shape} {w.dtype}; it must be numbers (C,), one for each class")
    if not (np.isfinite(w).all() and w.min() >= 0 and w.max() > 0):
        raise ValueError(f"{caller}: weight must be finite, at least 0, and not 0 for all classes")
    if classes is not None and len(w) != classes:
        raise ValueError(f"{caller}: weight is {w.shape}; it must be ({classes},), one for each class")
    return np.array(w, np.float64)


def _checked_targets(labels: Any, shape: tuple[int, ...]) -> Array:
    """Labels (N,) int64, or probabilities (N, C)."""
    labels = check.array("cross_entropy: labels", labels.data if isinstance(labels, Tensor) else labels)
    if labels.ndim == 2 and labels.size and labels.shape == shape and shape[1] > 1 and labels.dtype.kind == "f":
        return _checked_probabilities(labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(
            f"cross_entropy: labels are {labels.dtype} {labels.shape}, z is {shape}; they must be whole numbers, or "
            "probabilities, floats (N, C) with C > 1"
        )
    if len(shape) != 2 or labels.shape != shape[:1] or not labels.size:
        raise ValueError(f"cross_entropy: labels are {labels.shape}, z is {shape}; they must be (N,) and (N, C), N > 0")
    if labels.min() < 0 or labels.max() >= shape[1]:
        row = int(np.argmax((labels < 0) | (labels >= shape[1])))
        ignored = "; a row of sample_weight 0 is ignored" * int(labels[row] == -100)  # PyTorch's ignore_index
        raise ValueError(f"cross_entropy: labels[{row}] is {labels[row]}; it must lie in 0 .. {shape[1] - 1}{ignored}")
    return kernel_array(labels.astype(np.int64, copy=False))


def _checked_probabilities(p: Array) -> Array:
    good = (p >= 0).all(axis=1) & (np.abs(p.sum(axis=1, dtype=np.float64) - 1) <= 1e-3)  # of float16 too
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(f"cross_entropy: labels[{row}] is {p[row]}; probabilities must be >= 0 and sum to 1")
    return kernel_array(p)


class CrossEntropyLoss(Loss):
    """loss = mean over n of  Σ_c q[n, c] (log Σ_k e^z[n, k] - z[n, c]),  q[n, c] = w[c] ((1 - s) p[n, c] + s / C).

    z: (N, C) logits; targets: labels (N,), whole numbers in [0, C), with p = 1 for the label, else 0; or probabilities
    p (N, C). w: `weight` (C,), 1 where None; s: `label_smoothing` in [0, 1). The loss is in nats. The mean is divided
    by Σ w[labels[n]], with probabilities by N, as PyTorch has it.
    Error: ValueError for label_smoothing outside [0, 1) and weights below 0; those of `ops.cross_entropy`.
    Source: Goodfellow, Bengio, Courville, Deep Learning (2016), 6.2.2.3; label smoothing: Szegedy et al., CVPR 2016.
    """

    targets, score, kept_rows, unit = ("classes", "probabilities"), ACCURACY, 2, "nats"
    soft = (kernels.soft_cross_entropy_forward, kernels.soft_cross_entropy_backward)
    kernels = {"forward": kernels.cross_entropy_forward, "backward": kernels.cross_entropy_backward}
    numbers = ("label_smoothing",)

    def __init__(self, weight: Any = None, reduction: str = "mean", label_smoothing: float = 0.0) -> None:
        super().__init__(reduction)
        _check_smoothing("CrossEntropyLoss", label_smoothing)
        self.weight, self.label_smoothing = _class_weights("CrossEntropyLoss", weight), label_smoothing

    def forward(self, z: Tensor, targets: Any, sample_weight: Any = None) -> Tensor:  # type: ignore[override]
        """As `ops.cross_entropy`."""
        return cross_entropy(
            z,
            targets,
            weight=self.weight,
            sample_weight=sample_weight,
            label_smoothing=self.label_smoothing,
            reduction=self.reduction,
        )

    def pair_for(self, width: int) -> tuple[Kernel, Kernel]:
        """Another pair for probabilities and for weights of classes: who has neither compiles the plain one alone."""
        return self.soft if width > 1 or self.weight is not None else super().pair_for(width)

    def number_array(self) -> Array:
        """(s, w...)."""
        return np.concatenate([super().number_array(), [] if self.weight is None else self.weight])

    def masses(self, targets: Array) -> Array | None:
        """The weight of each row's label."""
        return None if self.weight is None or targets.shape[1] > 1 else self.weight[targets[:, 0].astype(np.int64)]

    def check_targets(self, caller: str, targets: Array, outputs: int | None) -> None:
        """One weight for each class."""
        least = int(targets.max()) + 1 if targets.shape[1] == 1 else targets.shape[1]
        if self.weight is not None and (len(self.weight) != outputs if outputs else len(self.weight) < least):
            raise ValueError(
                f"{caller} has {outputs or least} classes; the weight of the loss is {self.weight.shape}, one for each"
            )


class BinaryCrossEntropyWithLogitsBackward0(LossNode):
    """loss = Σₙ r[n] Σ_c w[c] (p[c] t log(1 + e^-z) + (1 - t) log(1 + e^z)) / C,  z = z[n, c], t = t[n, c]."""

    equation = "dz = dloss r[n] w[c] ((1 - t) s - p[c] t (1 - s)) / C,  s = 1 / (1 + e^-z)"
    pair = (pairs.binary_cross_entropy_with_logits_forward, pairs.binary_cross_entropy_with_logits_backward)
    keeps = {
        "z": "the probability 1 / (1 + e^-z) is compared with the label",
        "t": "the labels",
        "r": "the share of each row in the loss",
    }
    twin = "torch.nn.functional.binary_cross_entropy_with_logits"
    twin_saved = {"z": "self", "t": "target"}  # PyTorch works r out again


def binary_cross_entropy_with_logits(
    z: Tensor,
    targets: Any,
    *,
    weight: Any = None,
    sample_weight: Any = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Tensor:
    """loss = Σₙ r[n] Σ_c w[c] (p[c] t log(1 + e^-z) + (1 - t) log(1 + e^z)) / C,  z = z[n, c], t = t[n, c].

    z              (N, C) logits, one for each label         targets  t: 0, 1 or between (N, C), or (N,) where C is 1
    weight         w, what each label counts, (C,) or one number; the mean is not divided by it, as in PyTorch
    pos_weight     p, what a label of 1 counts beside one of 0, (C,) or one number: N₀ / N₁ lets both count alike
    sample_weight  v (N,) numbers >= 0, one for each row; None counts every row once
    reduction      "mean": r = v / Σ v, 1 / N without;  "sum": r = C v, the sum over all labels;  "none": the loss of
                   each label, (N, C), times v
    Errors: ValueError for shapes that do not fit, targets outside [0, 1], weights below 0; TypeError for other dtypes.
    Source: Bishop, Pattern Recognition and Machine Learning (2006), 4.3.2; PyTorch's documentation.
    """
    name = "binary_cross_entropy_with_logits"
    return _binary(name, z, targets, *_label_weights(name, weight, pos_weight), sample_weight, reduction)


def _binary(
    name: str, z: Tensor, targets: Any, weight: Array, pos_weight: Array, sample_weight: Any, reduction: str
) -> Tensor:
    t = check.array(f"{name}: targets", targets.data if isinstance(targets, Tensor) else targets)
    if t.dtype.kind in "fiub" and t.size and not ((t >= 0) & (t <= 1)).all():
        raise ValueError(f"{name}: targets lie in {t.min()} .. {t.max()}; they must be 0, 1 or between")
    for what, w in (("weight", weight), ("pos_weight", pos_weight)):
        if isinstance(z, Tensor) and z.ndim == 2 and len(w) not in (1, z.shape[1]):
            raise ValueError(
                f"{name}: {what} is {w.shape}, z is {z.shape}; it must be one number, or one for each label"
            )
    return row_loss(
        name, BinaryCrossEntropyWithLogitsBackward0, z, t, weight, pos_weight, sample_weight=sample_weight,
        reduction=reduction,
    )  # fmt: skip


def _label_weights(caller: str, weight: Any, pos_weight: Any) -> tuple[Array, Array]:
    """w and p of the labels: (C,), or (1,) for all."""
    found = []
    for name, given in (("weight", weight), ("pos_weight", pos_weight)):
        w = check.array(
            f"{caller}: {name}", given.data if isinstance(given, Tensor) else 1.0 if given is None else given
        )
        if w.ndim > 1 or not w.size or w.dtype.kind not in "fiub" or not (np.isfinite(w) & (w >= 0)).all():
            raise ValueError(
                f"{caller}: {name} is {w.shape} {w.dtype}; it must be finite and at least 0, one number or one for "
                "each label; what a row counts is sample_weight"
            )
        found.append(np.array(np.atleast_1d(w), np.float64))
    return found[0], found[1]


class BCEWithLogitsLoss(Loss):
    """loss = mean over n and c of  w[c] (p[c] t log(1 + e^-z) + (1 - t) log(1 + e^z)),  z = z[n, c], t = t[n, c].

    For K labels of which any number may be true: z: (N, K) logits, targets t: 0 or 1, (N, K). w: `weight`, p:
    `pos_weight`, each (K,), one number, or None for 1. The score is F1 of all labels together (micro), 2 TP / (2 TP +
    FP + FN), where z > 0 says yes.
    Errors: ValueError for weights below 0; those of `ops.binary_cross_entropy_with_logits`. Source: Bishop, Pattern
    Recognition and Machine Learning (2006), 4.3.2; PyTorch's documentation of torch.nn.BCEWithLogitsLoss.
    """

    node, targets, unit = BinaryCrossEntropyWithLogitsBackward0, "labels", "nats"
    score = Score("f1_micro", pairs.f1_score, best=1.0, ratio=True)

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction)
        w, p = _label_weights("BCEWithLogitsLoss", weight, pos_weight)
        self.weight, self.pos_weight = None if weight is None else w, None if pos_weight is None else p

    def forward(self, z: Tensor, targets: Any, sample_weight: Any = None) -> Tensor:  # type: ignore[override]
        """As `ops.binary_cross_entropy_with_logits`."""
        weights = _label_weights("BCEWithLogitsLoss", self.weight, self.pos_weight)
        return _binary("BCEWithLogitsLoss", z, targets, *weights, sample_weight, self.reduction)

    def number_array(self) -> Array:
        """(w..., p...)."""
        weights = _label_weights("BCEWithLogitsLoss", self.weight, self.pos_weight)
        return np.concatenate(np.broadcast_arrays(*weights))

    def check_targets(self, caller: str, targets: Array, outputs: int | None) -> None:
        """One weight for all labels, or one for each."""
        for name, w in (("weight", self.weight), ("pos_weight", self.pos_weight)):
            if w is not None and len(w) not in (1, targets.shape[1]):
                raise ValueError(
                    f"{caller} has {targets.shape[1]} labels; {name} of the loss is {w.shape}, one for each"
                )


CLASSIFIERS: dict[str, type[Loss]] = {  # by the names of their operations
    "cross_entropy": CrossEntropyLoss,
    "binary_cross_entropy_with_logits": BCEWithLogitsLoss,
}
