"""The one door: how a model is trained and asked, whoever runs it.

Whether the engine or the graph runs is a secret of this room. `trainer` makes epochs, `outputs` gives what a model
makes of rows; `fit`, `evaluate` and the scripts come through here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from ..data import Dataset
from ..graph import Array, Tensor, no_grad
from ..nn import Layer, Loss, Module
from ..optim import Optimizer
from . import nodes
from .engine import Engine
from .machine import available_cores
from .plan import flat_layers, obstacle
from .predict import SCALES, Predictor

GRAPH_BATCH = 1000  # most rows that go through the graph at once


class Epoch(Protocol):
    """One pass over rows: (order, sizes, on_rows, rates) -> (mean loss, score); see `Engine.epoch`."""

    def __call__(
        self,
        order: Array,
        sizes: list[int],
        on_rows: Callable[[int, float, float], Any],
        rates: Array | None = None,
    ) -> tuple[float, float]: ...


def ceiling(n_threads: int | str) -> int:
    """Most threads: what was asked for, and never more than there are cores."""
    return available_cores() if isinstance(n_threads, str) else min(int(n_threads), available_cores())


def check_targets(caller: str, loss: Loss, data: Dataset, outputs: int | None, what: str = "data") -> None:
    """Refuse targets that the loss does not take, or that a model with so many outputs has no place for.

    what: the argument that `data` is.
    """
    name = type(loss).__name__
    if data.kind != loss.targets:
        raise ValueError(f"{caller}: {what} has {data.kind} as targets; {name} takes {loss.targets}")
    if outputs is None:
        return
    if data.kind == "classes":
        if data.classes > outputs and (highest := int(data.labels.max())) >= outputs:
            raise ValueError(f"{caller}: {what} has the label {highest}; the model's labels are 0 .. {outputs - 1}")
    elif (width := data.targets.size // len(data)) != outputs:
        raise ValueError(f"{caller}: {what} has {width} targets a row; the model has {outputs} outputs")


def count_outputs(caller: str, model: Module, data: Dataset, rows: int) -> int | None:
    """How many numbers `model` makes of a row of `data`, found before the first step; None where nobody can say.

    Declared layers say it. Any other model is asked for the first `rows` rows: a copy of it, in evaluation mode and
    without a graph, so that neither its numbers nor its counters change. Who cannot be copied or asked so is not known.
    """
    layers = flat_layers(model)
    if layers and all(isinstance(layer, Layer) and layer.runs_on_engine() for layer in layers):
        columns = data.n_features
        for place, layer in enumerate(layers):
            columns = layer.columns(columns, place)
        return columns
    if any("forward" in module.__dict__ for module in model.modules()):  # a copy would call the original
        return None
    try:
        twin, (x, _) = copy.deepcopy(model).eval(), next(nodes.batches(data, np.arange(rows), [rows], nodes.dtype_of(model)))
        with no_grad():
            z = twin(x)
    except Exception:  # of somebody else's code; the first step will say it
        return None
    return checked_output(caller, model, z, rows).shape[1]


def checked_output(caller: str, model: Module, z: Any, rows: int) -> Array:
    """The numbers of what a model gave for so many rows, (rows, outputs). Error: TypeError for anything else."""
    if not isinstance(z, Tensor) or z.ndim != 2 or len(z) != rows:
        given = f"a Tensor {z.shape}" if isinstance(z, Tensor) else type(z).__name__
        raise TypeError(f"{caller}: {type(model).__name__} gives {given} for {rows} rows; it must give a Tensor "
                        f"({rows}, outputs)")
    return z.data


@contextmanager
def trainer(
    model: Module,
    optimizer: Optimizer,
    loss: Loss,
    data: Dataset,
    room: int,
    n_threads: int | str,
    say: Callable[[str], Any],
) -> Iterator[Epoch]:
    """What trains an epoch on `data`, in batches of at most `room` rows.

    `say` gets a line where the graph runs, and why, and one where its first step compiles kernels.
    """
    reason = obstacle(model, optimizer)
    if not reason and not loss.runs_on_engine():
        reason = f"{type(loss).__name__} declares no kernels for its forward"
    if reason:
        say(f"training on the graph, node by node: {reason}")
        check_targets("fit", loss, data, None)
        yield lambda order, sizes, on_rows, rates=None: nodes.epoch(
            model, optimizer, loss, data, order, sizes, on_rows, rates, say
        )
        return
    with Engine(model, optimizer, data.n_features, room, ceiling(n_threads), loss=loss) as engine:
        check_targets("fit", loss, data, engine.plan.columns)
        engine.prepare(data)

        def on_engine(
            order: Array, sizes: list[int], on_rows: Callable[[int, float, float], Any], rates: Array | None = None
        ) -> tuple[float, float]:
            engine.refresh()
            return engine.epoch(data, order, sizes, on_rows, rates)

        yield on_engine


def outputs(
    model: Module, data: Dataset, batch_size: int, n_threads: int | str = 1, predictor: Predictor | None = None
) -> Iterator[tuple[int, Array]]:
    """(first row, outputs) of all rows in evaluation mode, `batch_size` at a time; on the graph at most GRAPH_BATCH."""
    order = np.arange(len(data))
    if obstacle(model) is None:
        predictor = predictor or Predictor(model, ceiling(n_threads))
        for start in range(0, len(data), batch_size):
            yield start, predictor.logits(data, order[start : start + batch_size])
        return
    size, done = min(batch_size, GRAPH_BATCH), 0
    sizes = [min(size, len(data) - start) for start in range(0, len(data), size)]
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with no_grad():
            for x, _ in nodes.batches(data, order, sizes, nodes.dtype_of(model)):
                z = checked_output("evaluate", model, model(x), len(x))
                yield done, z
                done += len(z)
    finally:
        for module, training in modes:  # from the top down: the mode of a layer is set after that of its container
            module.train(training)


def asker(model: Module) -> Callable[[Array], Array]:
    """What gives a model's outputs for arrays (N, features) in evaluation mode: a `Predictor`, or the graph."""
    if obstacle(model) is None:
        return Predictor(model)
    dtype = nodes.dtype_of(model)

    def ask(x: Array) -> Array:
        model.eval()
        with no_grad():
            return model(Tensor(x.astype(dtype) * dtype.type(SCALES.get(x.dtype, 1.0)))).data

    return ask
