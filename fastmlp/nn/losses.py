"""Losses of classes and labels: a node, its operation and its module each; the score that goes with a loss."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import check, kernels
from ..graph import Array, Tensor
from ..graph.operation import Operation, flushed, kernel_array, output, require_tensor, same_float
from .loss import Loss
from .score import Score

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

    With weights of rows or label smoothing: -Σₙ r[n] Σ_c q[n, c] y[n, c]. The node of a loss with neither shows the
    short form.
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
    twin = "torch.nn.functional.nll_loss"
    twin_saved = {"labels": "target"}  # PyTorch works r out again
    smoothing: float
    classes: int

    def formula(self) -> str:
        """Of this node's loss: the short one, or that with weights and smoothing."""
        return super().formula() if self.equation == type(self).equation else self.general[0]

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        labels, r = self.saved["labels"], self.saved["r"]
        below = np.empty((labels.size, self.classes), r.dtype)
        kernels.nll_loss_backward(
            float(dy), labels.astype(np.float64), r, self.smoothing, below, self.classes, 0, labels.size
        )
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
    _check_smoothing("cross_entropy", label_smoothing)
    r = _row_weights(sample_weight, reduction, len(labels), y.dtype)
    smoothing, (rows, classes) = float(label_smoothing), y.shape
    numbers = labels.astype(np.float64)  # as the engine hands them over
    loss = kernels.nll_loss_forward(kernel_array(y.data), numbers, r, smoothing, classes, 0, rows)
    facts: dict[str, Any] = {"smoothing": smoothing, "classes": classes}
    if sample_weight is not None or reduction == "sum" or smoothing:
        facts |= {"equation": NllLossBackward0.general[1], "keeps": NllLossBackward0.general[2]}
    return output(NllLossBackward0, (y,), np.asarray(loss, y.dtype), {"labels": labels, "r": r}, **facts)


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


def _check_smoothing(caller: str, label_smoothing: Any) -> None:
    if not (check.is_number(label_smoothing) and 0 <= label_smoothing < 1):
        raise ValueError(f"{caller}: label_smoothing is {label_smoothing!r}; it must lie in [0, 1)")


def _checked_labels(labels: Any, shape: tuple[int, ...]) -> Array:
    labels = check.array("cross_entropy: labels", labels.data if isinstance(labels, Tensor) else labels)
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
    given = sample_weight.data if isinstance(sample_weight, Tensor) else sample_weight
    weight = check.array("cross_entropy: sample_weight", given)
    if weight.dtype.kind not in "fiub":
        raise TypeError(f"cross_entropy: sample_weight is {weight.dtype}; it must hold numbers, one for each row")
    weight = weight.astype(np.float64)
    if weight.shape != (rows,):
        raise ValueError(f"cross_entropy: sample_weight is {weight.shape}; it must be ({rows},), one for each row")
    if not (np.isfinite(weight).all() and weight.min() >= 0 and weight.sum() > 0):
        raise ValueError("cross_entropy: sample_weight must be finite, at least 0, and not all 0")
    return (weight / weight.sum() if reduction == "mean" else weight).astype(dtype)


class CrossEntropyLoss(Loss):
    """loss = mean over n of  log Σ_k e^z[n, k] - Σ_c q[n, c] z[n, c],  q[n, c] = (1 - s) [c = labels[n]] + s / C.

    z: (N, C) logits, labels: (N,) whole numbers in [0, C), s label_smoothing in [0, 1). The loss is in nats.
    Error: ValueError for label_smoothing outside [0, 1); those of `ops.cross_entropy`.
    Source: Goodfellow, Bengio, Courville, Deep Learning (2016), 6.2.2.3; label smoothing: Szegedy et al., CVPR 2016.
    """

    targets, score, kept_rows, unit = "classes", ACCURACY, 2, "nats"
    kernels = {"forward": kernels.cross_entropy_forward, "backward": kernels.cross_entropy_backward}
    numbers = ("label_smoothing",)

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        _check_smoothing("CrossEntropyLoss", label_smoothing)
        self.label_smoothing = label_smoothing

    def forward(self, z: Tensor, targets: Any) -> Tensor:  # type: ignore[override]
        """As `ops.cross_entropy`."""
        return cross_entropy(z, targets, label_smoothing=self.label_smoothing)

    def extra_repr(self) -> str:
        """As PyTorch prints it, where it is not the default."""
        return f"label_smoothing={self.label_smoothing}" if self.label_smoothing else ""


CLASSIFIERS: dict[str, type[Loss]] = {  # by the names of their operations
    "cross_entropy": CrossEntropyLoss,
}
