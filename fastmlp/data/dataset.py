"""`Dataset`: rows of features with a target each: a class, numbers, labels or probabilities.

Axis letters: N rows, D features of a row. uint8 stays uint8 (`Dataset.scale` says what to multiply by), and a
memory map stays a memory map, so a set may be larger than memory (`mapped` says how little of it is resident). Targets
are copied: what the caller does to an array of labels later does not change the set.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike

from .. import check
from ..kernels.shuffle import permutation
from ..machine import WORTH_ASKING, check_memory
from .compressed import is_sparse, sparse_rows
from .features import advice, as_kept, check_range, checked_scale, reach, usual_scale, warn_of_small_bytes
from .frames import rows_of, targets_of, weight_of
from .mapped import read_in_no_order, rows_at
from .sparse import Sparse
from .streamed import Shards
from .targets import Targets, in_words, places, read, read_values, renumbered, same


class Dataset:
    """N rows of features and the target of each row: its class, numbers, labels or probabilities.

    features: (N, ...) uint8, float32 or float64. An array is kept, not copied, unless it is not C-contiguous,
    not aligned or not in native byte order. bool, float16 and integers of up to 16 bits are converted to float32, wider
    integers to float64. Floats must be finite: they are read once, here, piece by piece. A sparse matrix or array of
    SciPy, (N, D), is kept as what is not 0 in it, `Sparse`, and counts as the dense array that its toarray() would be.
    targets: kept as a copy. What they are, `kind`, follows from their type where it is None:
        "classes"  (N,) integers, booleans or strings: `targets` is (N,) int64, numbers into `classes_`, the values.
                   Integers whose smallest is 0 are classes 0 .. largest; of all others the distinct values are the
                   classes, in order
        "numbers"  (N,) or (N, T) floats, for a regression: float64
        "labels"   (N, K) booleans or integers 0 and 1, any number of them in a row: float64
        "probabilities"  (N, K), each row >= 0 and of the sum 1: float64. Only where kind says so
    classes: their number, where integers are 0 .. classes - 1; or their values, in the order of the outputs
    (`classes=train.classes_` numbers a test set as the training set).
    name: a word for reports, or None.
    scale: what features are multiplied by when a batch is gathered, above 0. None: 1/255 for uint8, brightness, and 1
    for all else; a warning says so where no byte is above 31, as for flags, codes and counts, which want scale=1.
    A `Predictor` of a model that is trained on bytes of another scale is to be made with the same one.
    sample_weight: (N,) numbers >= 0, how much each row counts in losses and scores; None counts all once.
    labels: another name for targets, the older one.

    `classes` is the number of classes, of probabilities that of their columns, and 0 for numbers and labels.
    Raises ValueError if an array has the wrong type, shape or values, TypeError if classes is no number and no array.
    """

    features: Any  # an array, Sparse, or Shards
    targets: np.ndarray
    kind: str
    classes: int
    name: str | None
    scale: float
    sample_weight: np.ndarray | None
    feature_names: tuple[str, ...] | None
    target_names: tuple[str, ...] | None
    encoding: Any = None  # of rows of a table: the `Encoding` that made them, which `table` learned
    validation: Dataset | None = None  # of a training set that came with one: its validation set
    source: dict[str, Any] | None = None  # of a set that was read from a path: what `load` was given, and which it is

    def __init__(
        self,
        features: ArrayLike,
        targets: ArrayLike | None = None,
        classes: int | ArrayLike | None = None,
        name: str | None = None,
        scale: float | None = None,
        kind: str | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        labels: ArrayLike | None = None,
    ) -> None:
        if (targets is None) == (labels is None):
            what = "are not given" if targets is None else "are given as targets and as labels"
            raise TypeError(f"Dataset: targets {what}; they must be given once, as targets")
        given: Any = targets if labels is None else labels
        of_y = "targets" if labels is None else "labels"
        self.features, self.feature_names, found, self._reach = checked(
            features, given, classes, kind, "Dataset", "features", of_y
        )
        self._take(found)
        self.name, self.scale = name, checked_scale(scale, self.features, "Dataset")
        self.sample_weight = weight_of(sample_weight, len(self), "Dataset")
        if scale is None:
            warn_of_small_bytes(self.features, "Dataset: features")

    @classmethod
    def _of(
        cls,
        features: Any,
        targets: Targets,
        name: str | None,
        scale: float,
        reach: float,  # no feature is larger in magnitude
        sample_weight: np.ndarray | None = None,
        feature_names: tuple[str, ...] | None = None,
    ) -> Dataset:
        """Make a data set of arrays that are checked already."""
        made = cls.__new__(cls)
        made.features, made.name, made.scale, made._reach = _plain(features), name, scale, reach
        made._take(targets._replace(values=_plain(targets.values)))
        made.sample_weight, made.feature_names = sample_weight, feature_names
        return made

    def _take(self, targets: Targets) -> None:
        self.targets, self.kind, self.classes, self._class_values, self.target_names = targets

    def _targets(self) -> Targets:
        return Targets(self.targets, self.kind, self.classes, self._class_values, self.target_names)

    def _with(self, features: Any, targets: Targets, sample_weight: np.ndarray | None) -> Dataset:
        """Rows of this data set, or all of them with other targets."""
        made = Dataset._of(features, targets, self.name, self.scale, self._reach, sample_weight, self.feature_names)
        made.encoding = self.encoding
        return made

    @property
    def labels(self) -> np.ndarray:
        """The class of each row as a number into `classes_`, (N,) int64. Error: ValueError where there are none."""
        if self.kind != "classes":
            raise ValueError(f"Dataset: the targets are {self.kind}; labels are for classes, targets for all")
        return self.targets

    @property
    def classes_(self) -> np.ndarray | None:
        """The values of the classes, (classes,) int64, bool or str, in the order of a model's outputs; else None."""
        if self.classes and self._class_values is None:
            return np.arange(self.classes)
        return self._class_values

    @property
    def class_values(self) -> np.ndarray | None:
        """`classes_` where they are others than 0 .. classes - 1, the numbers of a model's outputs; else None."""
        return self._class_values

    @property
    def n_outputs(self) -> int:
        """How many outputs a model for these targets has: one a class, a label or a number of the row."""
        return self.classes or (self.targets.shape[1] if self.targets.ndim > 1 else 1)

    def encoded(self, classes_: ArrayLike, what: str = "Dataset") -> Dataset:
        """The data set with its labels numbered by other class values, such as a model's: `targets` follows them.

        Features are shared. Itself where the values are the same, and where the targets are no classes. what: a word
        for errors. Error: ValueError names a class of these rows that is not among them.
        """
        values = read_values(check.array("encoded: classes_", classes_, "class values"), "encoded: classes_")
        t = self._targets()
        if t.kind != "classes" or same(t, values):
            return self
        return self._with(self.features, renumbered(t, values, what), self.sample_weight)

    def has_classes_among(self, classes_: np.ndarray) -> bool:
        """Whether every row is of one of these classes."""
        present = np.unique(self.labels)
        values = present if self._class_values is None else self._class_values[present]
        return bool((places(values, classes_) >= 0).all())

    def has_whole_targets(self) -> bool:
        """Whether the targets are a whole number for each row, floats or not."""
        t = self.targets
        return t.ndim == 1 and bool((np.rint(t) == t).all())

    def as_kind(self, kind: str) -> Dataset:
        """The data set with the same targets as another kind, where they can be that. Features are shared.

        Error: ValueError, as that of `Dataset(..., kind=kind)`.
        """
        t = self._targets()
        if isinstance(kind, str) and kind == t.kind:
            return self
        if t.class_values is not None:
            t = t._replace(values=t.class_values[t.values])
        found = read(t.values, kind, None, "Dataset", "targets", t.names)
        return self._with(self.features, found, self.sample_weight)

    @property
    def rows(self) -> Any:
        """The features as (N, D), a view; sparse ones as they are."""
        if isinstance(self.features, Sparse):
            return self.features
        if isinstance(self.features, Shards):
            return self.features.flat()
        return self.features.reshape(len(self), self.n_features)

    @property
    def n_features(self) -> int:
        """D, the number of features in a row."""
        return int(self.features.size) // len(self)

    def advice(self) -> str:
        """A line for a person where features, times `scale`, are far from 1 in size; else an empty text."""
        return advice(self.rows, self.scale, self.feature_names)

    def check_range(self, what: str, dtype: Any) -> None:
        """Refuse numbers that are finite here and not in `dtype`, a model's. what: "fit: data". Error: ValueError."""
        check_range(self.features, self._reach, dtype, what, self.feature_names)
        if self.kind == "numbers":  # others end at 1
            largest = float(np.abs(self.targets).max())
            check_range(self.targets, largest, dtype, f"{what}.targets", self.target_names)

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
        would be read again soon.
        """
        if isinstance(self.features, np.ndarray):
            read_in_no_order(self.features)

    def __len__(self) -> int:
        """N, the number of rows."""
        return len(self.features)

    def __repr__(self) -> str:
        """Rows, shape and type of a row, the scale where it is not that of the type, targets, weights."""
        x, row = self.features, self.targets.shape[1:]
        what = f"{self.classes} classes" if self.kind == "classes" else f"targets {row} {self.kind}"
        if self._class_values is not None:
            what += f" {in_words(self._class_values, 3)}"
        what += ", weighted" * (self.sample_weight is not None)
        scale = "" if self.scale == usual_scale(x) else f" times {self.scale:g}"
        sparse = f" sparse, {x.filled()}" if isinstance(x, Sparse) else ""
        sparse += f" {x.in_words()}" if isinstance(x, Shards) else ""
        return f"Dataset({len(self)} rows, features {x.shape[1:]} {x.dtype}{sparse}{scale}, {what})"

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> tuple[np.ndarray, Any]: ...
    @overload
    def __getitem__(self, index: slice | np.ndarray | Sequence[int]) -> Dataset: ...
    def __getitem__(self, index: Any) -> Dataset | tuple[np.ndarray, Any]:
        """Return `(features, target)` of one row, or the Dataset of a slice, of row numbers or of a mask.

        The classes stay the same. A slice of step 1 is a view; row numbers and a mask copy. One row of sparse features
        comes as a dense array, (D,).
        """
        n = len(self)
        if isinstance(index, Integral) and not isinstance(index, bool):
            if not -n <= int(index) < n:
                raise IndexError(f"Dataset: row {check.shown(index)} is asked for; it must be in {-n}..{n - 1}")
            target = self.targets[index]
            return self.features[index], int(target) if self.kind == "classes" else target
        if not isinstance(index, slice):
            index = _check_index(index, n)
        targets, weight = self.targets[index], self.sample_weight
        if not len(targets):
            raise ValueError(f"Dataset: the index selects 0 of {n} rows; it must select at least 1")
        weight = None if weight is None else _plain(weight[index])
        x = self.features
        features = x[index] if isinstance(index, slice) or isinstance(x, Sparse) else rows_at(x, index)
        return self._with(features, self._targets()._replace(values=targets), weight)

    def split(self, held_out: float, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Return `(rest, held_out)`: a random part of the rows set aside, in two copies; see `split_rows`."""
        rest, held = self.split_rows(held_out, seed)
        return self[rest], self[held]

    def split_rows(self, held_out: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return the row numbers of `(rest, held_out)`, each ascending, without a copy of the data.

        held_out: a fraction of the rows, 0 < held_out < 1, rounded, with at least one row in each part; or
        their count, an integer in 1 .. N - 1. They are the first of `kernels.shuffle.permutation`.
        """
        return held_rows(len(self), held_out, seed)


def held_rows(n: int, held_out: float, seed: int, what: str = "split: held_out") -> tuple[np.ndarray, np.ndarray]:
    """`Dataset.split_rows` of n rows. what: the argument, for errors."""
    if n < 2:
        raise ValueError(f"{what.partition(':')[0]}: the data set has {n} row; it must have at least 2")
    if isinstance(held_out, bool) or not isinstance(held_out, Real):
        raise TypeError(f"{what} is {check.shown(held_out)}; it must be a fraction or a count")
    if isinstance(held_out, Integral):
        count = int(held_out)
        if not 1 <= count <= n - 1:
            raise ValueError(f"{what} is {check.shown(count)} rows; it must be in 1..{n - 1}, or a fraction")
    else:
        if not 0 < held_out < 1:
            raise ValueError(f"{what} is {check.shown(held_out)}; a fraction must be between 0 and 1")
        count = min(max(round(float(held_out) * n), 1), n - 1)
    check.whole(f"{what.partition(':')[0]}: seed", seed, 0)
    order = permutation(np.arange(n), int(seed))
    return np.sort(order[count:]), np.sort(order[:count])


def _plain(x: Any) -> Any:
    """Return x itself if it is C-contiguous, aligned and native, or sparse; else a copy that is."""
    if isinstance(x, Sparse | Shards) or (x.flags.c_contiguous and x.flags.aligned and x.dtype.isnative):
        return x
    if x.nbytes >= WORTH_ASKING:  # of a memory map, say
        check_memory("Dataset: a copy of the features in one piece", x.nbytes)
    return np.array(x, dtype=x.dtype.newbyteorder("="), order="C")


def _check_index(index: Any, n: int) -> np.ndarray:
    """Return an index array or a boolean mask of n rows."""
    kinds = "an integer, a slice, row numbers or a mask"
    if isinstance(index, tuple):
        raise TypeError(f"Dataset: the index is the tuple {check.shown(index)}; it must be {kinds}")
    rows = check.array("Dataset: the index", index, kinds)
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "biu"):
        raise TypeError(f"Dataset: the index is {check.shown(index)}; it must be {kinds}")
    if rows.dtype.kind == "b" and rows.size != n:
        raise IndexError(f"Dataset: the mask has {rows.size} entries; it must have {n}, one for each row")
    if rows.dtype.kind != "b":
        bad = (rows < -n) | (rows >= n)
        if bad.any():
            raise IndexError(f"Dataset: row {rows[bad][0]} is asked for; it must be in {-n}..{n - 1}")
        rows = rows.astype(np.int64)
    return rows


class Checked(NamedTuple):
    """What a Dataset keeps of features and targets."""

    x: Any  # an array, or Sparse
    names: tuple[str, ...] | None  # of the columns of x
    targets: Targets
    reach: float  # the largest magnitude in x


def checked(features: Any, targets: Any, classes: Any, kind: str | None, where: str, of_x: str, of_y: str) -> Checked:
    """Features and targets as a Dataset keeps them; the targets are a copy. where, of_x, of_y are words for errors."""
    x: Any
    if is_sparse(features):
        x, names = sparse_rows(features, f"{where}: {of_x}"), None
    else:
        x, names = rows_of(features, f"{where}: {of_x}")
    y, columns, categories = targets_of(targets, f"{where}: {of_y}")
    if not isinstance(x, Sparse):
        x = as_kept(x, f"{where}: {of_x}")
    if x.ndim < 2:
        raise ValueError(f"{where}: {of_x} has the shape {x.shape}; it must be (N, ...), at least 2-D")
    if not y.ndim:
        raise ValueError(f"{where}: {of_y} has the shape (); it must be (N,), one class for each row, or floats (N, T)")
    if len(x) != len(y):
        raise ValueError(f"{where}: {of_x} has {len(x)} rows, {of_y} has {len(y)}; the lengths must be equal")
    if x.size == 0:
        raise ValueError(f"{where}: {of_x} has the shape {x.shape}; it must not be empty")
    t = read(y, kind, classes, where, of_y, columns, categories)
    x = _plain(x)
    return Checked(x, names, t, reach(x, where, of_x, names))
