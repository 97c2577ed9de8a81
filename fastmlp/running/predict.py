"""Prediction on the engine's kernels: a row goes through all layers at once, and rows are divided among threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from .. import kernels
from ..data import Dataset
from ..data.features import SCALES, as_kept, checked_scale
from ..graph import Array
from ..kernels import forms, steps
from ..machine import available_cores
from ..nn import Module, features_of
from .plan import Plan, Weights, obstacle, verify

ROOM = 128  # rows that go through the layers together
ROWS_A_THREAD = 512  # fewer rows than this are not worth another thread


class Predictor:
    """The logits of a model in evaluation mode, for NumPy arrays: a snapshot of its weights, packed once.

    predictor = fastmlp.Predictor(model);  z = predictor(x)

    x: (N, features), (N, ...) or (features,), of the types that `Dataset` takes
    z: (N, classes) or (classes,), of the model's dtype
    scale: what x is multiplied by. None: 1/255 for uint8, and 1 for all else, as `Dataset` has it without a scale: give
    the scale of the data set that the model was trained on. `logits` takes that of the data set it is given

    The model may be trained on: `refresh()` takes its numbers over again. Calls from several threads at once are
    safe where each has a Predictor of its own.
    Errors: ValueError for a model that is not a Sequential of fastmlp's own layers, and for x of another shape.
    """

    def __init__(self, model: Module, n_threads: int | str = 1, scale: float | None = None) -> None:
        if not isinstance(model, Module):
            raise TypeError(f"Predictor: model is {type(model).__name__}; it must be a fastmlp.nn.Module")
        if reason := obstacle(model):
            raise ValueError(f"Predictor: {reason}; call model(fastmlp.Tensor(x)) under no_grad() instead")
        if n_threads == "auto":
            n_threads = available_cores()
        if isinstance(n_threads, bool | str) or n_threads < 1:
            raise ValueError(
                f"Predictor: n_threads is {n_threads!r}; it must be a whole number of at least 1, or 'auto'"
            )
        self.features, self.threads = features_of(model) or 0, int(n_threads)
        self.scale = None if scale is None else checked_scale(scale, np.float32, "Predictor")
        self.plan = Plan(model, self.features, ROOM, training=False)
        verify(self.plan)
        self.weights = Weights(self.plan, 1)
        self.refresh()
        self.buffers = [kernels.empty((2 * ROOM * self.plan.widest,), self.plan.dtype) for _ in range(self.threads)]
        for buffer in self.buffers:
            buffer[:] = 0
        self.row = kernels.empty((1, self.features), self.plan.dtype)
        self.row_logits = np.empty((1, self.plan.columns), self.plan.dtype)
        self.row_arguments: dict[Any, tuple[Any, ...]] = {}  # made at the first single row

    def refresh(self) -> None:
        """Take over the numbers that the model holds now."""
        self.weights.read()

    def __call__(self, x: Array) -> Array:
        """The logits of x."""
        x = np.asarray(x)
        if x.shape == self.row.shape[1:] and x.dtype in kernels.GATHER:
            return self._one(x)
        rows = x.reshape(1, -1) if x.ndim == 1 else x
        if rows.ndim > 2:  # images: the axes of a row count as one, as in a Dataset
            rows = rows.reshape(len(rows), -1)
        if rows.ndim != 2 or rows.shape[1] != self.features:
            raise ValueError(f"Predictor: x is {x.shape}; it must be (N, {self.features}) or ({self.features},)")
        rows = as_kept(rows, "Predictor: x")
        rows = np.ascontiguousarray(rows, rows.dtype.newbyteorder("="))
        z = np.empty((len(rows), self.plan.columns), self.plan.dtype)
        self._fill(rows, self._scale(rows.dtype), np.arange(len(rows)), z)
        return z[0] if x.ndim == 1 else z

    def _scale(self, dtype: Any) -> float:
        return SCALES.get(dtype, 1.0) if self.scale is None else self.scale

    def _one(self, x: Array) -> Array:
        """The logits of one row: all but its numbers is ready, for the call costs as much as the kernel."""
        self.row[0] = x
        if x.dtype not in self.row_arguments:
            scale = self._scale(x.dtype)
            self.row_arguments[x.dtype] = self._arguments(
                self.row, scale, np.zeros(1, np.int64), self.row_logits, 0, 1, 0
            )
        steps.predict_rows(*self.row_arguments[x.dtype])
        return self.row_logits[0].copy()

    def _fill(self, rows: Array, scale: float, order: Array, z: Array) -> None:
        """z[n] = the logits of rows[order[n]], with several threads where there is work for them."""
        threads = max(1, min(self.threads, len(order) // ROWS_A_THREAD))
        cuts = [len(order) * thread // threads for thread in range(threads + 1)]
        parts = [self._arguments(rows, scale, order, z, cuts[t], cuts[t + 1], t) for t in range(threads)]
        if threads == 1:
            steps.predict_rows(*parts[0])
            return
        with ThreadPoolExecutor(threads - 1, thread_name_prefix="fastmlp") as pool:
            jobs = [pool.submit(steps.predict_rows, *part) for part in parts[1:]]
            steps.predict_rows(*parts[0])
        for job in jobs:
            job.result()

    def _arguments(
        self, rows: Array, scale: float, order: Array, z: Array, first: int, last: int, thread: int
    ) -> tuple[Any, ...]:
        """What `predict_rows` takes for the rows [first, last) of `order`."""
        plan, weights = self.plan, self.weights
        gather = forms.address(kernels.GATHER[rows.dtype], "gather", plan.dtype)
        at = rows.__array_interface__["data"][0]
        source = np.array([at, *rows.shape, rows.shape[1] * rows.itemsize], np.int64)
        return (
            plan.rows, plan.numbers, plan.lanes, plan.tiles, gather, source, scale, order, first, last,
            weights.p, weights.own_p[0], weights.state, self.buffers[thread], ROOM, z,
        )  # fmt: skip

    def logits(self, data: Dataset, order: Array) -> Array:
        """(len(order), classes): the logits of the rows `order` of a Dataset."""
        if data.n_features != self.features:
            raise ValueError(
                f"evaluate: data has {data.n_features} features; the model's in_features is {self.features}"
            )
        order = data.row_numbers("evaluate", order)
        z = np.empty((len(order), self.plan.columns), self.plan.dtype)
        self._fill(data.rows, data.scale, order, z)
        return z


def predict(model: Module, x: Any, n_threads: int | str = 1, scale: float | None = None) -> Array:
    """The class of each row of x: the index of its largest logit.    x: (N, features) or (features,) -> (N,) or ()

    Packs the weights at each call; `Predictor` does so once. Errors as `Predictor`.
    """
    return Predictor(model, n_threads, scale)(x).argmax(axis=-1)
