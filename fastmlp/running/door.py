"""The one door: how a model is trained and asked, whoever runs it.

Whether the engine or the graph runs is a secret of this room. `trainer` makes epochs, `outputs` gives what a model
makes of rows; `fit`, `evaluate` and the scripts come through here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from ..data import Dataset
from ..graph import Array, Tensor, no_grad
from ..nn import Loss, Module
from ..optim import Optimizer
from . import nodes
from .engine import Engine
from .machine import available_cores
from .plan import obstacle
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


def check_targets(caller: str, loss: Loss, data: Dataset, outputs: int | None) -> None:
    """Refuse targets that the loss does not take, or that a model with so many outputs has no place for."""
    name = type(loss).__name__
    if data.kind != loss.targets:
        raise ValueError(f"{caller}: data has {data.kind} as targets; {name} takes {loss.targets}")
    if outputs is None:
        return
    if data.kind == "classes":
        if data.classes > outputs and (highest := int(data.labels.max())) >= outputs:
            raise ValueError(f"{caller}: data has the label {highest}; the model's labels are 0 .. {outputs - 1}")
    elif (width := data.targets.size // len(data)) != outputs:
        raise ValueError(f"{caller}: data has {width} targets a row; the model has {outputs} outputs")


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
    loss.try_out(nodes.dtype_of(model))
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
        z = np.random.default_rng(0).normal(size=(min(4, len(data)), engine.plan.columns)).astype(engine.plan.dtype)
        loss.try_out(engine.plan.dtype, z, data.targets[: len(z)])
        engine.prepare(data)
        engine.team.start()
        if len(engine.team) < engine.ceiling:
            started = len(engine.team) or "none"
            say(f"of {engine.ceiling} threads {started} could be started; the training goes on without the others")

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
                z = model(x).data
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
