"""Training node by node, on the graph: for models with layers that have no kernels for the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np

from .. import kernels
from ..data import Dataset
from ..graph import Array, Tensor
from ..nn import Loss, Module
from ..nn.loss import added
from ..optim import Optimizer


def batches(data: Dataset, order: Array, sizes: Iterable[int], dtype: Any) -> Iterator[tuple[Tensor, Array]]:
    """(x, targets) for each size: the next rows of `data` in `order`, as floats, times the scale of `data`.

    Errors: ValueError where the sizes add up to more than there are rows in `order`; IndexError for a row that `data`
    does not have.
    """
    start = 0
    for size in sizes:
        if start + size > len(order):
            raise ValueError(f"batches: sizes add up to {start + size} rows or more; order has {len(order)}")
        targets = data.targets[order[start : start + size]]  # checks the row numbers, as the kernel does not
        x = kernels.empty((size, data.n_features), dtype)
        kernels.gather(data.rows, order, start, data.scale, x)
        yield Tensor(x), targets
        start += size


def dtype_of(model: Module) -> Any:
    """The dtype of a model's parameters; float32 where it has none."""
    parameter = next(model.parameters(), None)
    return np.dtype(np.float32) if parameter is None else parameter.dtype


def epoch(
    model: Module,
    optimizer: Optimizer,
    loss: Loss,
    data: Dataset,
    order: Array,
    sizes: list[int],
    on_rows: Callable[[int, float, float], Any],
    rates: Array | None = None,
    say: Callable[[str], Any] = lambda line: None,
) -> tuple[float, float]:
    """One pass over the rows in `order`; returns (mean loss, score). The arguments are those of `Engine.epoch`.

    `say` gets a line where the first step compiles kernels.
    """
    loss_sum, score_sum, done, dtype = 0.0, 0.0, 0, dtype_of(model)
    numbers = loss.score.numbers(float_targets(data)[order])
    for step, (x, targets) in enumerate(batches(data, order, sizes, dtype)):
        if rates is not None:
            optimizer.set_rates(rates[step])
        with nullcontext() if step else kernels.announce_compiling(say):
            z = model(x)
            value = loss(z, targets)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        rows = len(targets)
        loss_sum += value.item() * rows
        terms = loss.scores(z.data, np.asarray(targets, np.float64).reshape(rows, -1), numbers)
        score_sum = added(score_sum, terms)
        done += rows
        on_rows(rows, loss_sum / done, loss.score.start + score_sum / done)
    optimizer.zero_grad()
    return loss_sum / done, loss.score.start + score_sum / done


def float_targets(data: Dataset) -> Array:
    """(rows, T) float64: the targets as kernels take them."""
    return np.ascontiguousarray(data.targets.reshape(len(data), -1), np.float64)
