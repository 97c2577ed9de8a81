"""Prediction on the engine's kernels: a row goes through all layers at once, and rows are divided among threads."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np

from .. import check, kernels
from ..data import Dataset
from ..data.compressed import is_sparse, sparse_rows
from ..data.features import as_kept, checked_scale, usual_scale
from ..data.frames import is_frame, library, rows_of
from ..data.sparse import Sparse
from ..graph import Array
from ..kernels import forms, guard, prediction, trial
from ..kernels.lists import NO_LISTS, lists_size, words
from ..machine import available_cores, thread_limit
from ..nn import Linear, Module, features_of
from .meaning import said_numbers
from .plan import Plan, Weights, obstacle
from .process import OfThisProcess
from .rows import distinct_of, most_inputs, source_of
from .sharing import at_work, cores_each
from .team import side_by_side
from .trust import check_rows
from .verify import verify, watch

ROOM = 128  # rows that go through the layers together
ROWS_A_THREAD = 512  # fewer rows than this are not worth another thread

_swap = threading.RLock()  # held for the moment in which a Predictor changes its snapshot
if hasattr(os, "register_at_fork"):  # else a child could inherit it from a thread that it does not have
    os.register_at_fork(before=_swap.acquire, after_in_parent=_swap.release, after_in_child=_swap.release)


class Predictor:
    """The logits of a model in evaluation mode, for NumPy arrays: a snapshot of its weights, packed once.

    predictor = fastmlp.Predictor(model);  z = predictor(x)

    x: (N, features), (N, ...) or (features,), of the types that `Dataset` takes, sparse ones of SciPy among them; for a
    model that was trained on a table, a frame of its columns too, which are encoded as those of the training rows
    z: (N, classes) or (classes,), of the model's dtype; where a table's targets are scaled, in scaled units:
    `model.encoding_.unscaled(z)`
    scale: what x is multiplied by. None: 1/255 for uint8, and 1 for all else, as `Dataset` has it without a scale: give
    the scale of the data set that the model was trained on. `logits` takes that of the data set it is given

    The model may be trained on: `refresh()` takes its numbers over again. Threads may share a Predictor, and one may
    refresh it while others ask. A copy and a pickle keep the snapshot's numbers; with them goes a copy of the model,
    from which `refresh()` of the copy reads (`copy.copy` shares the model).
    Errors: ValueError for a model that is not a Sequential of fastmlp's own layers, and for x of another shape; for a
    copy where the model has other layers than the snapshot.
    """

    def __init__(self, model: Module, n_threads: int | str = 1, scale: float | None = None) -> None:
        if not isinstance(model, Module):
            raise TypeError(f"Predictor: model is {type(model).__name__}; it must be a fastmlp.nn.Module")
        self.model, self.scale = model, None if scale is None else checked_scale(scale, np.float32, "Predictor")
        self._snapshot = _Snapshot(model, self.scale)
        if isinstance(n_threads, str) and n_threads == "auto":
            n_threads = int(min(thread_limit("Predictor"), available_cores()))
        check.whole("Predictor: n_threads", n_threads, 1, ", or 'auto'")
        self.threads = int(n_threads)
        self._begun = self._done = 0  # calls of `refresh`: how many have begun, and whose snapshot is in place

    @property
    def features(self) -> int:
        """How many numbers a row has."""
        return self._snapshot.features

    @property
    def columns(self) -> int:
        """How many numbers come out for a row."""
        return self._snapshot.plan.columns

    def refresh(self) -> None:
        """Take over the numbers, options and layers that the model has now, as a new Predictor would.

        Calls on other threads that have begun end with the numbers they began with; those that begin when this has
        returned get numbers that are no older than this call. Where the model cannot be taken over, the snapshot
        stays. It reads the model as it stands: while another thread trains it, that may be between two steps.
        """
        with _swap:
            self._begun += 1
            turn = self._begun
        snapshot = _Snapshot(self.model, self.scale)
        with _swap:
            if turn > self._done:  # else one that began later, and has read later, was faster
                self._snapshot, self._done = snapshot, turn

    def __getstate__(self) -> dict[str, Any]:
        """For `copy` and `pickle`: plain arrays in place of packed ones and addresses."""
        return {**self.__dict__, "_snapshot": self._snapshot.numbers(self.model)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Plan, pack and take addresses anew."""
        self.__dict__.update(state)
        self._snapshot = _Snapshot(self.model, self.scale, state["_snapshot"])

    def __call__(self, x: Array) -> Array:
        """The logits of x."""
        snapshot, x = self._snapshot, x if type(x) is np.ndarray else _rows(x, self.model.encoding_)
        if x.shape == snapshot.row_shape and (free := snapshot.desks.get(x.dtype)) is not None:  # one row: no detour
            try:
                desk = free.pop()
            except IndexError:
                desk = snapshot.desk(x.dtype)
            row, arguments, logits = desk
            row[0] = x
            prediction.predict_rows(*arguments)
            z: Array = logits.copy()
            free.append(desk)
            return z
        rows = x.reshape(1, -1) if x.ndim == 1 else x
        if rows.ndim > 2:  # images: the axes of a row count as one, as in a Dataset
            rows = rows.reshape(len(rows), -1)
        if rows.ndim != 2 or rows.shape[1] != snapshot.features:
            raise ValueError(
                f"Predictor: x is {x.shape}; it must be (N, {snapshot.features}) or ({snapshot.features},)"
            )
        if not isinstance(rows, Sparse):
            rows = as_kept(rows, "Predictor: x")
            rows = np.require(rows, rows.dtype.newbyteorder("="), ["C", "A"])  # as the gather's address has to lead
        z = snapshot.logits(rows, snapshot.factor(rows), np.arange(len(rows)), self.threads)
        return z[0] if x.ndim == 1 else z

    def logits(self, data: Dataset, order: Array) -> Array:
        """(len(order), classes): the logits of the rows `order` of a Dataset."""
        snapshot = self._snapshot
        check_rows("evaluate", data, snapshot.features)
        return snapshot.logits(data.rows, data.scale, data.row_numbers("evaluate", order), self.threads)


def _rows(x: Any, encoding: Any) -> Any:
    """The array, or `Sparse`, that x is or makes; of a frame by the encoding of a model.

    Error: TypeError for a Dataset, ValueError for what makes none.
    """
    if isinstance(x, Dataset):
        raise TypeError("Predictor: x is a Dataset; it must be an array, data.rows; `evaluate` takes a Dataset")
    if is_sparse(x):
        return sparse_rows(x, "Predictor: x")
    if encoding is not None and library(x) and is_frame(x):
        return encoding.apply(x, "Predictor: x")
    array = rows_of(x, "Predictor: x")[0]
    if array.dtype.kind not in "fiub":
        given = repr(x) if isinstance(x, str | bytes) or x is None else f"{type(x).__name__} of {array.dtype}"
        raise ValueError(f"Predictor: x is {given}; it must be an array of numbers, (N, features)")
    return array


class _Snapshot(OfThisProcess):
    """The numbers that a model held at one moment, packed, and memory to compute with them. The numbers never change.

    Each call takes what it writes to from a list, or makes it, and puts it back: `pop` and `append` are one step each,
    so two calls never have the same, whether on two threads or one inside the other. There is as much of it as calls
    have run at once.

    numbers: of another snapshot of such a model, as its `numbers` gives them; the model's own where None.
    """

    def __init__(
        self, model: Module, scale: float | None, numbers: tuple[Array, list[Array], list[Array]] | None = None
    ) -> None:
        if reason := obstacle(model):
            raise ValueError(f"Predictor: {reason}; call model(fastmlp.Tensor(x)) under no_grad() instead")
        self.features, self.scale = features_of(model) or 0, scale
        self.plan = Plan(model, self.features, ROOM, training=False)
        self.weights = Weights(self.plan)
        if numbers is None:
            self.weights.read()
        else:
            options, parameters, buffers = numbers
            self.plan.numbers[...] = options
            self.weights.fill(parameters, buffers)
        watch(verify(self.plan), self.weights)
        self.row_shape = (self.features,)
        self.desks: dict[Any, list[tuple[Array, tuple[Any, ...], Array]]] = {}
        if all(trial.of_package(type(layer)) for layer in self.plan.layers):  # kernels of somebody's own may raise
            self.desks = {dtype: [] for dtype in kernels.GATHER}
        self.buffers: list[tuple[Array, ...]] = []
        self.takes_sparse = self.plan.layers[0].kernels == Linear.kernels  # others want columns at their places

    def numbers(self, model: Module) -> tuple[Array, list[Array], list[Array]]:
        """(options, parameters, buffers) in arrays of their own, which a snapshot of a copy of the model can take."""
        if obstacle(model) or not self.plan.runs_as(Plan(model, features_of(model) or 0, ROOM, training=False)):
            raise ValueError(
                "Predictor: the model has other layers than when its numbers were taken; call refresh() before a copy"
            )
        return self.plan.numbers.copy(), *self.weights.numbers()

    def factor(self, rows: Any) -> float:
        """What such rows are multiplied by."""
        return usual_scale(rows) if self.scale is None else self.scale

    def desk(self, dtype: Any) -> tuple[Array, tuple[Any, ...], Array]:
        """(row, arguments, logits) for a single row of this dtype.

        All but its numbers is ready, for a call costs as much as the kernel; what the kernel reads lies together.
        """
        row, z = kernels.empty((1, self.features), self.plan.dtype), np.empty((1, self.plan.columns), self.plan.dtype)
        order, nothing = np.zeros(1, np.int64), np.empty(0, dtype)
        return row, self._arguments(row, self.factor(nothing), order, 0, 1, self._buffers(1), 1, z), z[0]

    def _buffers(self, room: int, at_once: int | None = None) -> tuple[Array, ...]:
        """What `predict_rows` writes to: two layers of so many rows, the batch, and what is not zero in it.

        at_once: most inputs that a batch of sparse rows needs; None where it has all.
        """
        plan, zeros, sparse = self.plan, kernels.zeros, at_once is not None
        inputs = self.features if at_once is None else at_once
        return (
            zeros((2 * room * int(plan.rows["width"].max()),), plan.dtype),
            zeros((room * kernels.padded(inputs, plan.dtype),), plan.dtype),
            zeros((room * words(inputs),), np.uint64), zeros((lists_size(room, inputs, sparse),), np.int32),
            zeros((2 * words(self.features) * sparse,), np.uint64), zeros(((inputs + 1) * sparse,), np.int64),
        )  # fmt: skip

    def logits(self, rows: Any, scale: float, order: Array, most_threads: int) -> Array:
        """z[n] = the logits of rows[order[n]], with several threads where there is work for them."""
        z = np.empty((len(order), self.plan.columns), self.plan.dtype)
        with at_work():
            threads = int(max(1, min(most_threads, len(order) // ROWS_A_THREAD, cores_each())))
            cuts = [len(order) * thread // threads for thread in range(threads + 1)]
            side_by_side(self._fill, [(rows, scale, order, cuts[t], cuts[t + 1], z) for t in range(threads)])
        guard.look()
        return z

    @kernels.flushed  # the kernel does it too; but a file may have shrunk, a kernel of somebody's own may raise
    def _fill(self, rows: Any, scale: float, order: Array, first: int, last: int, z: Array) -> None:
        """The rows [first, last) of z. `rows` stays alive as long as this runs: the kernel has its address alone."""
        at_once = most_inputs(rows, ROOM) if self.takes_sparse and isinstance(rows, Sparse) else None
        try:
            buffer = self.buffers.pop() if at_once is None else self._buffers(ROOM, at_once)
        except IndexError:
            buffer = self._buffers(ROOM)
        prediction.predict_rows(*self._arguments(rows, scale, order, first, last, buffer, ROOM, z))
        if at_once is None:
            self.buffers.append(buffer)

    def _arguments(
        self,
        rows: Any,
        scale: float,
        order: Array,
        first: int,
        last: int,
        buffer: tuple[Array, ...],
        room: int,
        z: Array,
    ) -> tuple[Any, ...]:
        """What `predict_rows` takes for the rows [first, last) of `order`."""
        plan, weights = self.plan, self.weights
        kernel, source = source_of(rows)
        gather = forms.address(kernel, "gather", plan.dtype)
        distinct = distinct_of(rows, buffer[-1].size > 0, plan.dtype)
        return (
            plan.rows, plan.numbers, plan.lanes, plan.tiles, gather, distinct, source, scale, order, first, last,
            weights.p, weights.state, buffer[0], room, *buffer[1:], NO_LISTS, z,
        )  # fmt: skip


def predict(model: Module, x: Any, n_threads: int | str = 1, scale: float | None = None) -> Array:
    """What the model says of each row of x.    x: (N, features), or (features,) for a single row without the axis N

    classes  that of the largest logit, (N,): a value of `model.classes_`, where `fit` has left one there, the number,
             boolean or string that the data had; else the number of the output
    labels   1 where the label is more likely than not, else 0, (N, K)
    numbers  what the loss makes of the outputs, (N, T), or (N,) for one: e^z of a Poisson loss, the quantile next to
             the median; else the outputs. Of a model trained on a table in the unit of its targets

    Which of them, `model.loss_` says, the loss that `fit` trained it by; without one, they are classes.
    Packs the weights at each call; `Predictor` does so once. Errors as `Predictor`, and ValueError for a model with one
    output and no loss, which has no class to choose.
    """
    predictor, values, kinds = Predictor(model, n_threads, scale), model.classes_, getattr(model.loss_, "kinds", ())
    if values is None and not kinds and predictor.columns == 1:
        raise ValueError("predict: the model has 1 output, no classes; Predictor(model)(x) gives its numbers")
    z = predictor(x)
    if "labels" in kinds:
        return (z > 0).astype(np.int64)
    if "numbers" in kinds:
        said = said_numbers(model, model.loss_, z.reshape(-1, z.shape[-1]))
        return said.reshape(z.shape[:-1] + (said.shape[1:] if said.shape[1] > 1 else ()))
    largest = z.argmax(axis=-1)
    return largest if values is None else np.asarray(values)[largest]
