"""`Dataset`: rows of features with a target each: a class, or numbers.

Axis letters: N rows, D features of a row. uint8 stays uint8 (`Dataset.scale` says what to multiply by), and a
memory map stays a memory map, so a set may be larger than memory. Targets are copied: what the caller does to an array
of labels later does not change the set.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike

from .. import check
from .features import SCALES, advice, as_kept, check_range, checked_scale, reach, warn_of_small_bytes

_MAX_CLASSES = 1 << 31


class Dataset:
    """N rows of features and the target of each row: its class, or numbers to be met.

    features: (N, ...) uint8, float32 or float64. An array is kept, not copied, unless it is not C-contiguous,
    not aligned or not in native byte order. bool, float16 and integers of up to 16 bits are converted to float32, wider
    integers to float64. Floats must be finite: they are read once, here, piece by piece.
    labels: (N,) integers in 0 .. classes - 1, kept as a copy in int64; or (N,) or (N, T) floats, numbers for a
    regression, kept as a copy in float64.
    classes: their number; without it, the largest label + 1. 0 where the targets are numbers.
    name: a word for reports, or None.
    scale: what features are multiplied by when a batch is gathered, above 0. None: 1/255 for uint8, brightness, and 1
    for all else; a warning says so where no byte is above 31, as for flags, codes and counts, which want scale=1.
    A `Predictor` of a model that is trained on bytes of another scale is to be made with the same one.

    Raises ValueError if an array has the wrong type, shape or values, TypeError if classes is not an integer.
    """

    features: np.ndarray
    targets: np.ndarray
    classes: int
    name: str | None
    scale: float

    def __init__(
        self,
        features: ArrayLike,
        labels: ArrayLike,
        classes: int | None = None,
        name: str | None = None,
        scale: float | None = None,
    ) -> None:
        x, y, classes, self._reach = checked(features, labels, classes, "Dataset", "features", "labels")
        self.features, self.targets, self.classes, self.name = x, y, classes, name
        self.scale = checked_scale(scale, x.dtype, "Dataset")
        if scale is None:
            warn_of_small_bytes(x, "Dataset: features", stacklevel=2)

    @classmethod
    def _of(
        cls,
        features: np.ndarray,
        targets: np.ndarray,
        classes: int,
        name: str | None,
        scale: float,
        reach: float,  # no feature is larger in magnitude
    ) -> Dataset:
        """Make a data set of arrays that are checked already."""
        made = cls.__new__(cls)
        made.features, made.targets, made.classes, made.name = _plain(features), _plain(targets), classes, name
        made.scale, made._reach = scale, reach
        return made

    @property
    def kind(self) -> str:
        """What the targets are: "classes" or "numbers"."""
        return "classes" if self.targets.dtype.kind == "i" else "numbers"

    @property
    def labels(self) -> np.ndarray:
        """The class of each row, (N,) int64. Error: ValueError where the targets are numbers."""
        if self.kind != "classes":
            raise ValueError(f"Dataset: the targets are {self.kind}; labels are for classes, targets for both")
        return self.targets

    @property
    def rows(self) -> np.ndarray:
        """The features as (N, D), a view."""
        return self.features.reshape(len(self), self.n_features)

    @property
    def n_features(self) -> int:
        """D, the number of features in a row."""
        return self.features.size // len(self)

    def advice(self) -> str:
        """A line for a person where features, times `scale`, are far from 1 in size; else an empty text."""
        return advice(self.rows, self.scale)

    def check_range(self, what: str, dtype: Any) -> None:
        """Refuse numbers that are finite here and not in `dtype`, a model's. what: "fit: data". Error: ValueError."""
        check_range(self.features, self._reach, dtype, what)
        if self.kind == "numbers":
            check_range(self.targets, float(np.abs(self.targets).max()), dtype, f"{what}.targets")

    def row_numbers(self, caller: str, order: ArrayLike) -> np.ndarray:
        """Return row numbers as kernels take them, which check none: (n,) int64, each in 0 .. N - 1.

        Negative numbers count from the end, as in an index. Raises TypeError for numbers that are not whole, IndexError
        for a row that is not there.
        """
        given = check.array(f"{caller}: order", order, "row numbers (n,)")
        if given.size and given.dtype.kind not in "iu":
            raise TypeError(f"{caller}: row numbers are {given.dtype}; they must be whole numbers")
        if given.ndim != 1:  # a kernel that is called by its address reads one axis
            raise TypeError(f"{caller}: row numbers are {given.shape}; they must be (n,)")
        n = len(self)
        outside = given[(given < -n) | (given >= n)]
        if outside.size:
            raise IndexError(f"{caller}: row {outside[0]} is asked for; data has the rows 0..{n - 1}")
        rows = np.ascontiguousarray(given, np.int64)
        return np.where(rows < 0, rows + n, rows) if rows.size and rows.min() < 0 else rows

    def expect_shuffled_reads(self) -> None:
        """Tell the system that the rows of a memory map will be read in no order.

        Else it reads ahead of each row, 128 KB or so: what makes room for those pages in a memory that is too small
        would be read again soon. (`madvise` of POSIX, where the system has it.)
        """
        base: Any = self.features
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_RANDOM"):
            base.madvise(mmap.MADV_RANDOM)

    def __len__(self) -> int:
        """N, the number of rows."""
        return len(self.features)

    def __repr__(self) -> str:
        """Rows, shape and type of a row, the scale where it is not that of the type, classes."""
        x = self.features
        what = f"{self.classes} classes" if self.kind == "classes" else f"targets {self.targets.shape[1:]} numbers"
        scale = "" if self.scale == SCALES.get(x.dtype, 1.0) else f" times {self.scale:g}"
        return f"Dataset({len(self)} rows, features {x.shape[1:]} {x.dtype}{scale}, {what})"

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> tuple[np.ndarray, Any]: ...
    @overload
    def __getitem__(self, index: slice | np.ndarray | Sequence[int]) -> Dataset: ...
    def __getitem__(self, index: Any) -> Dataset | tuple[np.ndarray, Any]:
        """Return `(features, label)` of one row, or the Dataset of a slice, of row numbers or of a mask.

        The classes stay the same. A slice of step 1 is a view; row numbers and a mask copy.
        """
        n = len(self)
        if isinstance(index, Integral) and not isinstance(index, bool):
            if not -n <= int(index) < n:
                raise IndexError(f"Dataset: row {index} is asked for; it must be in {-n}..{n - 1}")
            target = self.targets[index]
            return self.features[index], int(target) if self.kind == "classes" else target
        if not isinstance(index, slice):
            index = _check_index(index, n)
        targets = self.targets[index]
        if not len(targets):
            raise ValueError(f"Dataset: the index selects 0 of {n} rows; it must select at least 1")
        return Dataset._of(self.features[index], targets, self.classes, self.name, self.scale, self._reach)

    def split(self, held_out: float, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Return `(rest, held_out)`: a random part of the rows set aside, in two copies; see `split_rows`."""
        rest, held = self.split_rows(held_out, seed)
        return self[rest], self[held]

    def split_rows(self, held_out: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return the row numbers of `(rest, held_out)`, each ascending, without a copy of the data.

        held_out: a fraction of the rows, 0 < held_out < 1, rounded, with at least one row in each part; or
        their count, an integer in 1 .. N - 1. They are the first of `default_rng(seed).permutation(N)`.
        """
        n = len(self)
        if n < 2:
            raise ValueError(f"split: the data set has {n} row; it must have at least 2")
        if isinstance(held_out, bool) or not isinstance(held_out, Real):
            raise TypeError(f"split: held_out is {held_out!r}; it must be a fraction or a count")
        if isinstance(held_out, Integral):
            count = int(held_out)
            if not 1 <= count <= n - 1:
                raise ValueError(f"split: held_out is {count} rows; it must be in 1..{n - 1}, or a fraction")
        else:
            if not 0 < held_out < 1:
                raise ValueError(f"split: held_out is {held_out}; a fraction must be between 0 and 1")
            count = min(max(round(float(held_out) * n), 1), n - 1)
        check.whole("split: seed", seed, 0)
        order = np.random.default_rng(seed).permutation(n)
        return np.sort(order[count:]), np.sort(order[:count])


def _plain(x: np.ndarray) -> np.ndarray:
    """Return x itself if it is C-contiguous, aligned and native, else a copy that is."""
    if x.flags.c_contiguous and x.flags.aligned and x.dtype.isnative:
        return x
    return np.array(x, dtype=x.dtype.newbyteorder("="), order="C")


def _check_index(index: Any, n: int) -> np.ndarray:
    """Return an index array or a boolean mask of n rows."""
    kinds = "an integer, a slice, row numbers or a mask"
    if isinstance(index, tuple):
        raise TypeError(f"Dataset: the index is the tuple {index!r}; it must be {kinds}")
    rows = np.asarray(index)
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "biu"):
        raise TypeError(f"Dataset: the index is {index!r}; it must be {kinds}")
    if rows.dtype.kind == "b" and rows.size != n:
        raise IndexError(f"Dataset: the mask has {rows.size} entries; it must have {n}, one for each row")
    if rows.dtype.kind != "b":
        bad = (rows < -n) | (rows >= n)
        if bad.any():
            raise IndexError(f"Dataset: row {rows[bad][0]} is asked for; it must be in {-n}..{n - 1}")
        rows = rows.astype(np.int64)
    return rows


def checked(
    features: ArrayLike, labels: ArrayLike, classes: int | None, where: str, of_x: str, of_y: str
) -> tuple[np.ndarray, np.ndarray, int, float]:
    """Return features, labels and classes as a Dataset keeps them, and the largest magnitude of a feature.

    where, of_x, of_y are words for errors. The targets are a copy.
    """
    x, y = check.array(f"{where}: {of_x}", features), check.array(f"{where}: {of_y}", labels)
    x = as_kept(x, f"{where}: {of_x}")
    if x.ndim < 2:
        raise ValueError(f"{where}: {of_x} has the shape {x.shape}; it must be (N, ...), at least 2-D")
    numbers = y.dtype.kind == "f"
    if y.ndim == 2 and y.dtype.kind in "iub":
        how = "labels.argmax(axis=1) of one-hot rows" if y.shape[1] > 1 else "labels.reshape(-1)"
        raise ValueError(f"{where}: {of_y} has the shape {y.shape}; it must be (N,), one class for each row: {how}")
    if y.ndim != 1 and not (numbers and y.ndim == 2 and y.shape[1]):
        raise ValueError(
            f"{where}: {of_y} has the shape {y.shape}; it must be (N,), one class for each row, or floats (N, T)"
        )
    if len(x) != len(y):
        raise ValueError(f"{where}: {of_x} has {len(x)} rows, {of_y} has {len(y)}; the lengths must be equal")
    if x.size == 0:
        raise ValueError(f"{where}: {of_x} has the shape {x.shape}; it must not be empty")
    if y.dtype.kind not in "iuf":
        named = "; np.unique(labels, return_inverse=True)[1] numbers the names" * (y.dtype.kind in "UOSb")
        raise ValueError(
            f"{where}: {of_y} has the type {y.dtype}; it must be an integer type, or floats for numbers{named}"
        )
    if numbers:
        if classes is not None:
            raise ValueError(f"{where}: classes is {classes} and {of_y} has the type {y.dtype}; classes are integers")
        y = np.array(y, np.float64, order="C")
        if not np.isfinite(y).all():
            row = int(np.argmin(np.isfinite(y).reshape(len(y), -1).all(axis=1)))
            raise ValueError(f"{where}: {of_y} has {y[row]} in row {row}; it must be finite")
        x = _plain(x)
        return x, y, 0, reach(x, where, of_x)

    if classes is not None:
        if isinstance(classes, bool) or not isinstance(classes, Integral):
            raise TypeError(f"{where}: classes is {classes!r}; it must be an integer or None")
        classes = int(classes)
        if not 1 <= classes <= _MAX_CLASSES:
            raise ValueError(f"{where}: classes is {classes}; it must be in 1..{_MAX_CLASSES}")
    low, high, limit = int(y.min()), int(y.max()), classes or _MAX_CLASSES
    if low < 0 or high >= limit:
        row = int(np.argmax((y < 0) | (y >= limit)))
        raise ValueError(f"{where}: {of_y} has the label {y[row]} in row {row}; it must be in 0..{limit - 1}")

    x = _plain(x)
    return x, np.array(y, np.int64, order="C"), classes or high + 1, reach(x, where, of_x)
