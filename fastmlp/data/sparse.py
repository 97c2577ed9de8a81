"""`Sparse`: rows of features that are mostly 0, held as what is not 0.

Axis letters: N rows, D features of a row. What is held is canonical, so that kernels can trust it and the same rows are
the same arrays: indices ascend in a row, none twice, and no value is 0. `compressed` makes it of SciPy's matrices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import check
from ..machine import WORTH_ASKING, check_memory

Array = np.ndarray
BLOCK = 1 << 18  # values that are put in order together


@dataclass(frozen=True, eq=False, repr=False)
class Sparse:
    """N rows of D features: row r has values[k] in column indices[k], indptr[r] <= k < indptr[r + 1], and 0 elsewhere.

    indptr: (N + 1,) int64, of a slice beginning above 0.   indices: int32, ascending in a row.   values: float32 or
    float64, not 0.   All three are contiguous; the first two are nobody else's, and read-only.
    shape: (N, D).   given: the type of the numbers it was made of: uint8 counts as brightness, as in a dense array
    """

    indptr: Array
    indices: Array
    values: Array
    shape: tuple[int, int]
    given: np.dtype[Any]
    ndim = 2

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64."""
        return self.values.dtype

    @property
    def size(self) -> int:
        """N · D, zeros included."""
        return self.shape[0] * self.shape[1]

    @property
    def stored(self) -> Array:
        """The values of these rows, a view."""
        return self.values[self.indptr[0] : self.indptr[-1]]

    @property
    def nbytes(self) -> int:
        """The bytes that these rows take."""
        return int(self.indptr.nbytes + self.stored.size * (self.indices.itemsize + self.values.itemsize))

    def __len__(self) -> int:
        """N."""
        return self.shape[0]

    def __repr__(self) -> str:
        """Shape, type, and how much of it is stored."""
        return f"Sparse({self.shape}, {self.dtype}, {self.filled()})"

    def filled(self) -> str:
        """How much of it is not 0, in words: "0.08 % filled"."""
        return f"{100 * self.stored.size / self.size:.2g} % filled"

    def place(self, k: int) -> tuple[int, int]:
        """(row, column) of stored[k]."""
        k += int(self.indptr[0])
        return int(np.searchsorted(self.indptr, k, "right")) - 1, int(self.indices[k])

    def __getitem__(self, index: Any) -> Any:
        """The rows of a slice, of row numbers or of a mask; of a number that row, dense, (D,).

        A slice of step 1 shares the arrays. Error: IndexError for a row that is not there.
        """
        if isinstance(index, slice):
            first, last, step = index.indices(len(self))
            if step == 1:
                return self._with(self.indptr[first : max(first, last) + 1], self.indices, self.values)
            index = np.arange(first, last, step)
        rows, n = np.asarray(index), len(self)
        if rows.dtype.kind == "b" and rows.shape == (n,):
            rows = np.flatnonzero(rows)
        if rows.dtype.kind not in "iu" * bool(rows.size) + "iuf" * (not rows.size) or rows.ndim > 1:
            raise TypeError(f"Sparse: the index is {check.shown(index)}; it must be rows: a number, numbers or a mask")
        if (outside := rows[(rows < -n) | (rows >= n)]).size:
            raise IndexError(f"Sparse: row {outside.flat[0]} is asked for; it must be in {-n}..{n - 1}")
        rows = np.where(rows < 0, rows + n, rows).astype(np.int64)
        if not rows.ndim:
            return self[int(rows) : int(rows) + 1].toarray()[0]
        counts = self.indptr[rows + 1] - self.indptr[rows]
        indptr = np.concatenate([[0], np.cumsum(counts)])
        taken = np.empty(indptr[-1], self.indices.dtype), np.empty(indptr[-1], self.values.dtype)
        for first, last in blocks(indptr):
            start, end = indptr[first], indptr[last]
            behind = np.repeat(self.indptr[rows[first:last]] - indptr[first:last], counts[first:last])
            source = behind + np.arange(start, end)
            taken[0][start:end], taken[1][start:end] = self.indices[source], self.values[source]
        return self._with(indptr, *taken)

    def _with(self, indptr: Array, indices: Array, values: Array) -> Sparse:
        return Sparse(locked(indptr), locked(indices), values, (len(indptr) - 1, self.shape[1]), self.given)

    def __array__(self, *_: Any, **__: Any) -> Array:
        """Refused: NumPy would go through all N · D numbers without a word."""
        raise TypeError(f"{self!r} is sparse; where the dense array is wanted, toarray() makes it")

    def toarray(self) -> Array:
        """(N, D), the dense array. Error: MemoryError where memory does not suffice for it."""
        if (size := self.size * self.dtype.itemsize) >= WORTH_ASKING:
            check_memory("toarray: the dense array", size)
        dense = np.zeros(self.shape, self.dtype)
        for first, last in blocks(self.indptr):
            start, end = self.indptr[first], self.indptr[last]
            rows = np.repeat(np.arange(first, last), np.diff(self.indptr[first : last + 1]))
            dense[rows, self.indices[start:end]] = self.values[start:end]
        return dense


def blocks(indptr: Array) -> Iterator[tuple[int, int]]:
    """(first, last): all rows, in ranges with about BLOCK values each: what is made on the way is small."""
    first, rows = 0, len(indptr) - 1
    while first < rows:
        full = int(np.searchsorted(indptr, indptr[first] + BLOCK, "right")) - 1
        last = min(max(full, first + 1), first + BLOCK, rows)
        yield first, last
        first = last


def locked(x: Array) -> Array:
    """x, read-only: kernels follow these numbers without a look at them."""
    x = x.view()
    x.flags.writeable = False
    return x
