"""Rows of a data set as the graph takes them: batches of floats, and targets as kernels have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from .. import kernels
from ..data import Dataset
from ..data.mapped import file_of
from ..data.sparse import Sparse
from ..data.streamed import Shards
from ..graph import Array, Tensor
from ..kernels import forms, layout
from ..kernels.lists import HEAD, lists_size
from ..nn import Loss, Module


def batches(data: Dataset, order: Array, sizes: Iterable[int], dtype: Any) -> Iterator[tuple[Tensor, Array]]:
    """(x, targets) for each size: the next rows of `data` in `order`, as floats, times the scale of `data`.

    Errors: ValueError where the sizes add up to more than there are rows in `order`; IndexError for a row that `data`
    does not have.
    """
    start, order = 0, data.row_numbers("batches", order)  # the kernel checks none
    for size in sizes:
        if start + size > len(order):
            raise ValueError(f"batches: sizes add up to {start + size} rows or more; order has {len(order)}")
        targets = data.targets[order[start : start + size]]
        x = kernels.empty((size, data.n_features), dtype)
        if isinstance(data.rows, np.ndarray) and file_of(data.rows) is None:
            kernels.gather(data.rows, order, start, data.scale, x)
        else:
            gather, source = source_of(data.rows)
            gather(source, order, start, data.scale, x)
        yield Tensor(x), targets
        start += size


def most_inputs(rows: Sparse, room: int) -> int:
    """Most columns that a batch of so many rows needs."""
    counts = np.diff(rows.indptr)
    largest = np.partition(counts, len(counts) - room)[-room:] if room < len(counts) else counts
    most = min(rows.shape[1], max(int(largest.sum()), 1))
    if lists_size(room, most, True) == HEAD:
        raise ValueError(
            f"a batch of {room:,} sparse rows may need {most:,} columns, too many; batches must be smaller"
        )
    return most


def distinct_of(rows: Array | Sparse | Shards, sparse: bool, dtype: Any) -> int:
    """The address of the kernel that makes batches without the columns that they do not need; 0 without such."""
    return forms.address(kernels.GATHER_DISTINCT[rows.dtype], "distinct", dtype) if sparse else 0


def source_of(rows: Array | Sparse | Shards) -> tuple[Any, Array]:
    """(kernel of the form "gather", its source) for rows (N, D) in memory, sparse, or in the file of a large map.

    The source of `Shards` has the address of their table: they must live as long as it is used.
    """
    if isinstance(rows, Shards):
        at = rows.table.__array_interface__["data"][0]
        return kernels.GATHER_SHARDS[rows.dtype], np.array(
            [0, *rows.shape, 0, at, len(rows.table), rows.first], np.int64
        )
    if isinstance(rows, Sparse):
        arrays = (rows.indptr, rows.indices, rows.values)
        indptr, indices, values = (array.__array_interface__["data"][0] for array in arrays)
        return kernels.GATHER_SPARSE[rows.dtype], np.array([indptr, *rows.shape, 0, indices, values], np.int64)
    if (file := file_of(rows)) is not None:
        return kernels.GATHER_FILE[rows.dtype], np.array([0, *rows.shape, 0, *file], np.int64)
    at = rows.__array_interface__["data"][0]
    return kernels.GATHER[rows.dtype], np.array([at, *rows.shape, rows.shape[1] * rows.itemsize], np.int64)


def read_ahead(rows: Any, batches: layout.Batches, first: int, last: int) -> None:
    """Of `Shards`: let the system begin to read what the steps [first, last) need: this chunk and the next."""
    if isinstance(rows, Shards):
        bounds = batches.bounds
        rows.read_ahead(batches.order[bounds[first] : bounds[min(last, len(bounds) - 1)]])


def dtype_of(model: Module) -> Any:
    """The dtype of a model's parameters; float32 where it has none."""
    parameter = next(model.parameters(), None)
    return np.dtype(np.float32) if parameter is None else parameter.dtype


def float_targets(data: Dataset) -> Array:
    """(rows, T) float64: the targets as kernels take them."""
    return np.ascontiguousarray(data.targets.reshape(len(data), -1), np.float64)


def weight_table(loss: Loss, targets: Array, weights: Array | None, scored: Array | None) -> Array:
    """(rows, 3): w of the loss, w q of its divisor, w of the score; (0, 3) where all are 1.    targets: (rows, T)"""
    masses = loss.masses(targets)
    if weights is None and scored is None and masses is None:
        return np.zeros((0, 3))
    ones = np.ones(len(targets))
    w = ones if weights is None else weights
    return np.stack([w, w if masses is None else w * masses, ones if scored is None else scored], axis=1)
