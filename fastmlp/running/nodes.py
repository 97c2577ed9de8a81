"""Training node by node, on the graph: for models with layers that have no kernels for the engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np

from .. import kernels
from ..data import Dataset
from ..graph import Array, Tensor
from ..nn import Loss, Module
from ..nn.score import added
from ..optim import Optimizer
from .clip import Clip
from .plan import trained_parameters
from .trust import weights_of


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
    row_weights: Array | None = None,
    clip: Clip | None = None,
    after_step: Callable[[int], Any] = lambda step: None,
) -> tuple[float, float]:
    """One pass over the rows in `order`; returns (mean loss, score). The arguments are those of `Engine.epoch`.

    `say` gets a line where the first step compiles kernels; `row_weights` are those of `Engine`. clip: of the
    gradients, before each step; after_step is called with its number after it.
    """
    dtype, every, trained = dtype_of(model), float_targets(data), trained_parameters(model, optimizer)
    weights, scored = weights_of("fit", data, row_weights)
    numbers = loss.score.known(every[order], None if scored is None else scored[order])
    loss_sum = mass_sum = above = below = 0.0
    start = 0

    def mean() -> tuple[float, float]:
        return loss_sum / mass_sum if mass_sum else math.nan, loss.score.of(above, below)

    for step, (x, targets) in enumerate(batches(data, order, sizes, dtype)):
        if rates is not None:
            optimizer.set_rates(rates[step])
        rows = order[start : start + len(targets)]
        w, scores_w = (None if given is None else given[rows] for given in (weights, scored))
        with nullcontext() if step else kernels.announce_compiling(say):
            z = model(x)
            value = loss(z, targets, w)
            optimizer.zero_grad()
            value.backward()
            if clip is not None:
                clip.apply(trained)
            optimizer.step()
            after_step(step)
        mass, factor = loss.mass(every[rows], w), loss.factor(z.shape[1])
        loss_sum += value.item() / factor if factor else value.item() * mass
        mass_sum += mass
        terms, counts = loss.scores(z.data, every[rows], numbers, scores_w)
        above, below = added(above, terms), added(below, counts)
        start += len(rows)
        on_rows(len(rows), *mean())
    optimizer.zero_grad()
    model.zero_grad()  # what the optimizer does not hold got gradients all the same
    return mean()


def float_targets(data: Dataset) -> Array:
    """(rows, T) float64: the targets as kernels take them."""
    return np.ascontiguousarray(data.targets.reshape(len(data), -1), np.float64)
