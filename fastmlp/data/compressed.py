"""SciPy's sparse matrices and arrays become `Sparse`. SciPy is not imported: they are read through their arrays.

A zero that is stored, +0.0 or -0.0, is dropped: it adds nothing to a sum of products, since sums begin at +0.0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import kernels
from ..machine import WORTH_ASKING, check_memory
from .features import as_kept
from .sparse import Sparse, blocks, locked

Array = np.ndarray


def is_sparse(x: Any) -> bool:
    """Whether x is a `Sparse`, or one of SciPy's matrices and arrays, by what it has."""
    return isinstance(x, Sparse) or all(hasattr(x, name) for name in ("tocsr", "toarray", "shape", "dtype", "format"))


def sparse_rows(x: Any, what: str) -> Sparse:
    """x, of SciPy's matrices and arrays, as `Sparse`, with the numbers that x.toarray() would have in a `Dataset`.

    Values are kept where they are canonical already and of a type that is kept, else copied; indices always are.
    what: a word for errors. Error: ValueError for arrays that are no N rows of D features, or of no numbers.
    """
    if isinstance(x, Sparse):
        return x
    if len(x.shape) != 2:
        raise ValueError(f"{what} has the shape {x.shape}; sparse features must be (N, D)")
    if x.format not in ("csr", "csc"):  # others have no such arrays; their own class knows the way
        x = x.tocsr()
    indptr, indices, values = (np.asarray(array) for array in (x.indptr, x.indices, x.data))
    return from_arrays(indptr, indices, values, x.shape, x.format, what)


def from_arrays(indptr: Array, indices: Array, values: Array, shape: tuple[int, int], form: str, what: str) -> Sparse:
    """`Sparse` of the arrays of compressed rows, form "csr", or columns, "csc". Errors as `sparse_rows`."""
    n, d = (int(length) for length in shape)
    if not n or not d:
        raise ValueError(f"{what} has the shape {(n, d)}; it must not be empty")
    if d >= 2**31:
        raise ValueError(f"{what} has {d} columns; sparse features have fewer than 2**31")
    lines, across, word = (n, d, "row") if form == "csr" else (d, n, "column")
    _check(indptr, indices, values, lines, word, what)
    given = values.dtype.newbyteorder("=")
    kept = as_kept(values[:0], what).dtype  # refuses types that are no numbers
    kept = np.dtype(np.float32) if kept == np.uint8 else kept
    indptr, values = np.require(indptr, np.int64, ["C", "A"]), np.require(values, given, ["C", "A"])
    indices = np.require(indices, indices.dtype.newbyteorder("="), ["C", "A"])
    ascend, bad = kernels.look_at_rows(indptr, indices, across)
    if bad >= 0:
        line = int(np.searchsorted(indptr, bad, "right")) - 1
        raise ValueError(f"{what} has the index {indices[bad]} in {word} {line}; it must be in 0..{across - 1}")
    if word == "column":
        indptr, indices, values = _turned(indptr, indices, values, n)
        ascend = kernels.look_at_rows(indptr, indices, d)[0]  # a column that names a row twice
    else:
        indices = indices[: indptr[-1]].astype(np.int32)  # a copy: nobody may change what kernels trust
        indptr, values = indptr.copy(), values[: indptr[-1]]
    if not ascend:
        indptr, indices, values = _in_order(indptr, indices, values, d)
    indptr, indices, values = _without_zeros(indptr, indices, values.astype(kept, copy=False))
    return Sparse(locked(indptr), locked(indices), values, (n, d), given)


def _check(indptr: Array, indices: Array, values: Array, lines: int, word: str, what: str) -> None:
    """Refuse arrays that are not of one compressed matrix with so many rows or columns. Error: ValueError."""
    for name, array in (("indptr", indptr), ("indices", indices), ("data", values)):
        if array.ndim != 1 or (name != "data" and array.dtype.kind not in "iu"):
            kind = "numbers" if name == "data" else "whole numbers"
            raise ValueError(f"{what}.{name} is {array.shape} {array.dtype}; it must be one axis of {kind}")
    if len(indptr) != lines + 1:
        raise ValueError(f"{what}.indptr has {len(indptr)} numbers; it must have {lines + 1}, one more than {word}s")
    falls = np.flatnonzero(indptr[1:] < indptr[:-1])
    if indptr[0] != 0 or falls.size:
        at = f"falls in {word} {falls[0]}" if falls.size else f"begins with {indptr[0]}"
        raise ValueError(f"{what}.indptr {at}; it must begin with 0 and never fall")
    if not (indptr[-1] <= len(indices) and indptr[-1] <= len(values)):
        have = f"{len(indices)} indices and {len(values)} values"
        raise ValueError(f"{what} has {have}; indptr says that there are {indptr[-1]} of each")


def _turned(indptr: Array, indices: Array, values: Array, rows: int) -> tuple[Array, Array, Array]:
    """Compressed columns as compressed rows; values that share a place stay in their order."""
    if (size := 8 * (rows + 1)) >= WORTH_ASKING:
        check_memory(f"Dataset: the beginnings of {rows} sparse rows", size)
    count, begins = int(indptr[-1]), np.zeros(rows + 1, np.int64)
    wide = values.itemsize > 8  # than any number of a kernel: their places are moved then
    given = np.arange(count) if wide else values
    turned, moved = np.empty(count, np.int32), np.empty(count, given.dtype)
    bits = np.dtype(f"u{given.itemsize}")  # the kernel moves them, whatever they are
    kernels.turn(indptr, indices, given.view(bits), begins, turned, moved.view(bits))
    return begins, turned, values[moved] if wide else moved


def _in_order(indptr: Array, indices: Array, values: Array, columns: int) -> tuple[Array, Array, Array]:
    """Indices ascend in each row afterwards; values that share a place are added in their order, as toarray() does.

    A sum is of the type of the values: bytes wrap around, and booleans are joined by "or".
    """
    counts, parts = np.zeros(len(indptr) - 1, np.int64), []
    for first, last in blocks(indptr):
        start, end = indptr[first], indptr[last]
        row = np.repeat(np.arange(last - first), np.diff(indptr[first : last + 1]))
        key = row * columns + indices[start:end]
        order = np.argsort(key, kind="stable")
        key = key[order]
        new = np.concatenate([np.ones(min(len(key), 1), bool), key[1:] != key[:-1]])
        sums = np.zeros(np.count_nonzero(new), values.dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused later, by its place
            np.add.at(sums, np.cumsum(new) - 1, values[start:end][order])
        key = key[new]
        counts[first:last] = np.bincount(key // columns, minlength=last - first)
        parts.append(((key % columns).astype(np.int32), sums))
    ordered, sums = (np.concatenate(part) for part in zip(*parts, strict=True))
    return np.concatenate([[0], np.cumsum(counts)]), ordered, sums


def _without_zeros(indptr: Array, indices: Array, values: Array) -> tuple[Array, Array, Array]:
    """The arrays themselves where no value is 0; else copies without those that are. NaN is none."""
    if np.count_nonzero(values) == len(values):
        return indptr, indices, values
    kept = values != 0
    before = np.zeros(len(values) + 1, np.int64)
    np.cumsum(kept, out=before[1:])
    return before[indptr], indices[kept], values[kept]
