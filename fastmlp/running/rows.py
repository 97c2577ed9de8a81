"""Rows of a data set as the graph takes them: batches of floats, and targets as kernels have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from .. import kernels
from ..data import Dataset
from ..graph import Array, Tensor
from ..nn import Module


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


def float_targets(data: Dataset) -> Array:
    """(rows, T) float64: the targets as kernels take them."""
    return np.ascontiguousarray(data.targets.reshape(len(data), -1), np.float64)
