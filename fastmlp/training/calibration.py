"""Temperature scaling: one number that makes a trained model's probabilities as sure as they may be."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .. import check
from ..data import Dataset
from ..graph import Array
from ..machine import check_memory
from ..nn import Module
from ..running import door
from ..running.rows import dtype_of
from . import fitting
from .answers import usual_loss
from .checks import check_model_and_data, check_threads
from .measuring import EVALUATION_BATCH

MOST_STEPS = 200  # some ten are enough; halving alone would take 60 from a bracket of a factor of 2
_NUMBERS = 1 << 20  # logits that are worked on at a time, in float64


def calibrate(model: Module, data: Dataset, n_threads: int | str = "auto") -> float:
    """The temperature T > 0 that makes `data` likeliest, which the model keeps as `temperature_`.

        p[n] = softmax(z[n] / T)      of labels p[n, k] = 1 / (1 + e^(-z[n, k] / T))

    data: rows that the model was not trained on, at least some hundred, with their classes, labels or probabilities.
    Rows that it knows by heart are all predicted rightly, and give a T that is too small.

    Afterwards `evaluate`, whose loss is then that of z / T where it is in nats, the command line and the report's page
    give probabilities of z / T, and `save` writes T beside the weights. What is predicted stays: z / T has its largest
    number where z has. `Predictor` gives z itself. `fit` sets T back to 1, as other weights need another one.

    No T is best where every row is right, so that a smaller one is always better, or where the answers are no better
    than chance, so that a larger one is: T is 1 then, with a warning.
    Errors: ValueError for targets that are numbers, for outputs that are not finite and for what `evaluate` refuses.
    Source: Guo, Pleiss, Sun, Weinberger, On Calibration of Modern Neural Networks, ICML 2017, section 4.2.
    """
    check_model_and_data("calibrate", model, data)
    check_threads("calibrate", n_threads)
    if data.kind == "numbers":
        raise ValueError("calibrate: the targets are numbers; they must be classes, labels or probabilities")
    data.check_range("calibrate: data", dtype_of(model))
    loss = usual_loss(data.kind)
    data, _ = fitting.as_asked("calibrate", model, data)
    kept: Array = np.empty((0, 0))
    for first, z in door.outputs(model, data, EVALUATION_BATCH, n_threads):
        if first == 0:
            door.check_targets("calibrate", loss, data, z.shape[1])
            what = f"calibrate: the outputs of {len(data):,} rows and {z.shape[1]:,} columns"
            check_memory(what, len(data) * z.shape[1] * z.dtype.itemsize, "calibrate on a part of the rows, data[:n]")
            kept = np.empty((len(data), z.shape[1]), z.dtype)
        kept[first : first + len(z)] = z
    weights = getattr(data, "sample_weight", None)
    model.temperature_ = best_temperature(kept, data.targets > 0.5 if data.kind == "labels" else data.targets, weights)
    return model.temperature_


def best_temperature(logits: Array, targets: Array, sample_weight: Array | None = None) -> float:
    """argmin over T > 0 of -Σₙ w[n] Σ_c t[n, c] log p[n, c] / Σₙ w[n],  p[n] = softmax(z[n] / T).

    logits: z, (N, C) floats.  targets: (N,) whole numbers, the classes, whose t is 1 there; (N, C) booleans, of labels
    that each have a p of their own, 1 / (1 + e^(-z / T)); or (N, C) probabilities.  sample_weight: w, (N,); None is 1

    In b = 1 / T it is convex. With d[n, c] = z[n, c] - max z[n]

        slope(b) = mean of Σ_c (p - t) d        curvature(b) = mean of Σ_c p d² - (Σ_c p d)² ≥ 0

    so that Newton's steps, kept between two b whose slopes are below and above 0, find the b of slope 0.
    Errors: ValueError for shapes that do not fit, logits that are not finite and weights that are all 0.
    1, with a warning, where no slope is 0: see `calibrate`.
    """
    z = np.asarray(logits)
    if z.ndim != 2 or z.dtype.kind != "f" or not z.size:
        raise ValueError(f"calibrate: logits is {z.shape} {z.dtype}; it must be (N, C) floats, not empty")
    if not np.isfinite(z).all():
        rows = np.flatnonzero(~np.isfinite(z).all(axis=1))
        raise ValueError(f"calibrate: the outputs of row {rows[0]} are not finite; all must be")
    t = np.asarray(targets)
    if t.shape not in ((len(z),), z.shape):
        raise ValueError(f"calibrate: targets is {t.shape}; it must be ({len(z)},) classes or {z.shape}")
    w = np.ones(len(z)) if sample_weight is None else check.array("calibrate: sample_weight", sample_weight)
    if not w.any():
        raise ValueError("calibrate: the weights of all rows are 0; some row must count")
    parts = _Parts(z, t, w.astype(np.float64))
    if parts.derivatives(0.0)[0] >= -parts.noise:
        check.warn("calibrate: the model is no better than chance on these rows; the temperature is 1")
        return 1.0
    if parts.at_infinity() <= parts.noise:
        check.warn("calibrate: the model is right on all of these rows; the temperature is 1")
        return 1.0
    low, high = 0.0, 1.0
    while parts.derivatives(high)[0] < 0:
        low, high = high, 2 * high
    b = high
    for _ in range(MOST_STEPS):
        slope, curvature = parts.derivatives(b)
        low, high = (b, high) if slope < 0 else (low, b)
        step = b - slope / curvature if curvature > 0 else low
        new = step if low < step < high else (low + high) / 2
        if abs(new - b) <= 1e-13 * b:
            break
        b = new
    return float(1 / new)


class _Parts:
    """The rows, some at a time as d, t and w: d is 0 at a row's largest logit. A label is a row of (z, 0)."""

    def __init__(self, z: Array, targets: Array, weights: Array) -> None:
        self.z, self.targets, self.weights = z, targets, weights
        self.labels = targets.ndim == 2 and targets.dtype.kind == "b"
        self.mass = float(weights.sum()) * (z.shape[1] if self.labels else 1)
        # what a slope of 0 can be by rounding: ε times the numbers that are added
        self.noise = 8 * float(np.finfo(np.float64).eps) * float(np.abs(z).max(initial=0))

    def __iter__(self) -> Iterator[tuple[Array, Array, Array]]:
        rows = max(_NUMBERS // self.z.shape[1], 1)
        for start in range(0, len(self.z), rows):
            part = slice(start, start + rows)
            z, t, w = self.z[part].astype(np.float64), self.targets[part], self.weights[part]
            if self.labels:
                w = np.repeat(w, z.shape[1])
                z, t = np.stack([z.ravel(), np.zeros(z.size)], axis=1), np.stack([t.ravel(), ~t.ravel()], axis=1)
            d = z - z.max(axis=1, keepdims=True)
            known = np.take_along_axis(d, t[:, None], axis=1)[:, 0] if t.ndim == 1 else (t * d).sum(axis=1)
            yield d, known, w  # known: Σ_c t d

    def derivatives(self, b: float) -> tuple[float, float]:
        """(slope, curvature) of the mean negative log-likelihood at b."""
        slope = curvature = 0.0
        for d, known, w in self:
            p = np.exp(b * d)
            p /= p.sum(axis=1, keepdims=True)
            mean = (p * d).sum(axis=1)
            slope += float(w @ (mean - known))
            curvature += float(w @ ((p * d * d).sum(axis=1) - mean * mean))
        return slope / self.mass, curvature / self.mass

    def at_infinity(self) -> float:
        """The slope that b → ∞ comes to, where p d is 0: 0 where every row is right."""
        return sum(-float(w @ known) for _, known, w in self) / self.mass
