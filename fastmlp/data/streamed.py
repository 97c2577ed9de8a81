"""`Shards`: rows of features that stay in many files, read by row number. None of them is resident.

A row is found by its number among all rows, so where one file ends and the next begins changes nothing: N rows in one
file and in a thousand are the same data set, and train to the same bits. How they are shuffled is in
`kernels.shuffle.windowed`: a function of (seed, epoch, N, window), and of no file.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import check
from ..kernels.shuffle import permutation, windowed
from ..machine import WORTH_ASKING, check_memory

Array = np.ndarray
GAP = 1 << 18  # bytes between two rows that are read ahead together with them
PIECE = 1 << 22  # bytes that are looked at together
WINDOW = 1 << 16  # rows that are shuffled among each other where nobody says


class Part(NamedTuple):
    """The rows of one file: where they begin in it, how many there are, and the file's size."""

    path: Path
    rows: int
    place: int
    size: int


class Shards:
    """(N, ...) features in the files of `parts`, one after the other; `window` rows are shuffled among each other.

    dtype: uint8, float32 or float64.   table: (parts + 1, 3) int64, of each part its first row, the descriptor of its
    file and where the rows begin in it; the last row of the table has the number of rows and the last file again.
    first: the row of the table's numbers that row 0 is. Rows of a slice share files and table.
    """

    def __init__(
        self, parts: list[Part], row: tuple[int, ...], dtype: np.dtype[Any], window: int, where: str = "shards"
    ) -> None:
        """Open the files. row: the shape of one. Error: OSError where the system opens no more of them."""
        descriptors: list[int] = []
        try:
            for part in parts:
                descriptors.append(os.open(part.path, os.O_RDONLY))
        except OSError as error:
            for descriptor in descriptors:
                os.close(descriptor)
            raise OSError(
                f"{where}: {parts[len(descriptors)].path}, file {len(descriptors) + 1:,} of {len(parts):,}, cannot be "
                f"opened: {error.strerror}; where files are too many, larger ones or a higher `ulimit -n` help"
            ) from error
        ends = np.cumsum([0, *(part.rows for part in parts)])
        places = [part.place for part in parts]
        self.table = np.column_stack([ends, [*descriptors, descriptors[-1]], [*places, places[-1]]]).astype(np.int64)
        self.table.flags.writeable = False
        self.parts, self.dtype, self.window, self.first = parts, dtype, window, 0
        self.shape = (int(ends[-1]), *row)
        self._open = _Open()
        weakref.finalize(self._open, _close, descriptors)

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return int(np.prod(self.shape, dtype=object))

    @property
    def nbytes(self) -> int:
        """The bytes that these rows take, in their files."""
        return self.size * self.dtype.itemsize

    @property
    def a_row(self) -> int:
        """The bytes of a row."""
        return self.nbytes // len(self) if len(self) else 0

    def __len__(self) -> int:
        """N."""
        return self.shape[0]

    def __repr__(self) -> str:
        """Shape, type, files, window."""
        return f"Shards({self.shape}, {self.dtype}, {self.in_words()})"

    def in_words(self) -> str:
        """In how many files they are, and their window."""
        return f"in {len(self.parts):,} file{'s' * (len(self.parts) > 1)}, window {self.window:,}"

    def flat(self) -> Shards:
        """The rows as (N, D); files are shared."""
        return self._view(self.first, (len(self), self.size // len(self)))

    def _view(self, first: int, shape: tuple[int, ...]) -> Shards:
        made = Shards.__new__(Shards)
        made.__dict__.update(self.__dict__, first=first, shape=shape)
        return made

    def __getitem__(self, index: Any) -> Any:
        """The rows of a slice; of row numbers or a mask as an array, a copy; of a number that row.

        A slice of step 1 shares the files. Errors: MemoryError where memory does not suffice for the copy; OSError
        where a file ends before a row.
        """
        if isinstance(index, slice):
            first, last, step = index.indices(len(self))
            if step == 1:
                return self._view(self.first + first, (max(last - first, 0), *self.shape[1:]))
            index = np.arange(first, last, step)
        rows, n = np.asarray(index), len(self)
        if rows.dtype.kind == "b" and rows.shape == (n,):
            rows = np.flatnonzero(rows)
        if rows.dtype.kind not in "iu" * bool(rows.size) + "iuf" * (not rows.size) or rows.ndim > 1:
            raise TypeError(f"Shards: the index is {check.shown(index)}; it must be rows: a number, numbers or a mask")
        if (outside := rows[(rows < -n) | (rows >= n)]).size:
            raise IndexError(f"Shards: row {outside.flat[0]} is asked for; it must be in {-n}..{n - 1}")
        numbers = np.where(rows < 0, rows + n, rows).astype(np.int64).reshape(-1) + self.first
        if (size := len(numbers) * self.a_row) >= WORTH_ASKING:
            check_memory(
                f"Shards: a copy of {len(numbers):,} rows", size, "a slice of step 1, data[a:b], copies none of them"
            )
        taken = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        self._read(numbers, taken.reshape(len(numbers), -1).view(np.uint8))
        return taken[0] if not rows.ndim else taken

    def _read(self, numbers: Array, taken: Array) -> None:
        """Rows by their numbers in the table, into (n, bytes of a row)."""
        at = np.searchsorted(self.table[:, 0], numbers, "right") - 1
        places = self.table[at, 2] + (numbers - self.table[at, 0]) * self.a_row
        for part, place, target in zip(at.tolist(), places.tolist(), taken, strict=True):
            self._fill(part, place, target)

    def _fill(self, part: int, place: int, target: Array) -> None:
        done = 0
        while done < target.size:
            came = os.preadv(int(self.table[part, 1]), [target[done:].data], place + done)
            if not came:
                raise OSError(f"Shards: {self.parts[part].path} cannot be read to its end; has it shrunk?")
            done += came

    def pieces(self) -> Iterator[tuple[int, Array]]:
        """(first, numbers from there on): all rows, flat, piece after piece, each a copy."""
        at_once, a_row = max(PIECE // self.a_row, 1), self.size // len(self)
        for first, last, part in self._ranges():
            place = int(self.table[part, 2]) + (first + self.first - int(self.table[part, 0])) * self.a_row
            for row in range(first, last, at_once):
                piece = np.empty((min(at_once, last - row), a_row), self.dtype)
                self._fill(part, place + (row - first) * self.a_row, piece.reshape(-1).view(np.uint8))
                yield row * a_row, piece.reshape(-1)

    def _ranges(self) -> Iterator[tuple[int, int, int]]:
        """(first row, last, part): the rows of each file that are among these."""
        starts = self.table[:, 0] - self.first
        for part in range(len(self.parts)):
            first, last = max(int(starts[part]), 0), min(int(starts[part + 1]), len(self))
            if first < last:
                yield first, last, part

    def read_ahead(self, order: Array) -> None:
        """The system shall have these rows soon: `posix_fadvise`, where it has it; rows that are near go together.

        Else each shuffled row of a file that is not cached would wait for the disk alone.
        """
        if not hasattr(os, "posix_fadvise") or not len(order):
            return
        numbers = np.sort(order) + self.first
        at = np.searchsorted(self.table[:, 0], numbers, "right") - 1
        cut = np.flatnonzero((np.diff(numbers) * self.a_row > GAP) | (np.diff(at) > 0)) + 1
        for first, last in zip([0, *cut.tolist()], [*cut.tolist(), len(numbers)], strict=True):
            start, descriptor, place = self.table[at[first]].tolist()
            begin, end = (int(number) - start for number in (numbers[first], numbers[last - 1] + 1))
            os.posix_fadvise(descriptor, place + begin * self.a_row, (end - begin) * self.a_row, os.POSIX_FADV_WILLNEED)

    def __array__(self, *_: Any, **__: Any) -> Array:
        """Refused: NumPy would read all of it into memory without a word."""
        raise TypeError(f"{self!r} is in its files; where an array is wanted, x[a:b][:] or x[row numbers] copies rows")

    def __reduce__(self) -> Any:
        """Refused: open files do not travel."""
        raise TypeError(f"{self!r} holds open files; another process makes it again, fm.data.shards(...)")


class _Open:
    """Lives as long as any `Shards` of these files does."""


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def epoch_order(features: Any, rows: Array, seed: int, epoch: int) -> Array:
    """The rows of an epoch in their order: `permutation`; of `Shards`, `windowed`."""
    if isinstance(features, Shards):
        return windowed(rows, features.window, seed, epoch)
    return permutation(rows, seed, epoch)
