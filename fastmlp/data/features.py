"""Features as the kernels read them: their types, how far they reach, what they are multiplied by, how large they are.

A byte may be a brightness or a number. Only who made the array knows, so `scale` may be given; without it bytes count
as brightness, as most arrays of bytes are, and a warning says so where the bytes are small.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import check
from ..check import is_number, shown
from ..machine import WORTH_ASKING, check_memory
from .mapped import pieces, rows_at
from .sparse import Sparse

Array = np.ndarray
KEPT = (np.dtype(np.uint8), np.dtype(np.float32), np.dtype(np.float64))  # what the kernels read
PIXEL = 1 / 255
SCALES: dict[Any, float] = {np.dtype(np.uint8): PIXEL}  # what features are multiplied by where nobody says; else 1
BRIGHT = 32  # brightness that stays below this, an eighth of the range, is unusual
FAR = 30.0  # times larger or smaller than 1: training suffers
SEEN = 1 << 16  # numbers that `advice` looks at


def kept_type(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """The type that a Dataset keeps numbers of this type in; None where it keeps none.

    float16, bool and integers of up to 16 bits become float32, which has every number of theirs; wider integers become
    float64, which has them up to 2⁵³, and so do wider floats.
    """
    native = dtype.newbyteorder("=")
    if native in KEPT:
        return native
    if native.kind in "biuf":
        return np.dtype(np.float32 if native.kind == "b" or native.itemsize <= 2 else np.float64)
    return None


def as_kept(x: Array, what: str) -> Array:
    """x as the kernels read it: uint8, float32 and float64 stay as they are, others become a `kept_type`.

    Errors: ValueError for other types; MemoryError where memory does not suffice for the copy.
    """
    kept = kept_type(x.dtype)
    if kept is None:
        advice = "; x.astype(float) makes numbers of objects that are numbers" * (x.dtype.kind == "O")
        raise ValueError(
            f"{what} has the type {x.dtype}; it must be uint8, float32 or float64, or other integers, floats or "
            f"booleans{advice}"
        )
    if x.dtype.newbyteorder("=") == kept:
        return x
    if (size := x.size * kept.itemsize) >= WORTH_ASKING:  # of a memory map, say
        check_memory(f"{what} as {kept}", size)
    return x.astype(kept)


def usual_scale(x: Any) -> float:
    """What features are multiplied by where nobody says: 1/255 where they are, or were, uint8, and 1 for all else."""
    return SCALES.get(x.given if isinstance(x, Sparse) else x.dtype, 1.0)


def checked_scale(scale: Any, x: Any, where: str) -> float:
    """The scale itself, or the usual one of x for None. Error: ValueError for what a float32 above 0 cannot be."""
    if scale is None:
        return usual_scale(x)
    single = np.finfo(np.float32)
    if not is_number(scale) or not float(single.tiny) <= float(scale) <= float(single.max):
        raise ValueError(
            f"{where}: scale is {shown(scale)}; it must be a number above 0 that float32 can hold, or None"
        )
    return float(scale)


Names = tuple[str, ...] | None  # of the columns of x, for errors


def column_word(column: int, names: Names) -> str:
    """What a sentence calls a column: its name, or its number."""
    return f"column {column if names is None else repr(names[column])}"


def stored(x: Any) -> Array:
    """The numbers to look at: all of an array, of sparse rows those that are not 0."""
    return x.stored if isinstance(x, Sparse) else x


def place_of(x: Any, at: int) -> tuple[int, int]:
    """(row, column) of the number with this place among those that are stored."""
    if isinstance(x, Sparse):
        return x.place(at)
    row, column = divmod(at, x.size // len(x))
    return row, column


def reach(x: Any, where: str, of_x: str, names: Names = None) -> float:
    """The largest magnitude of floats, read once, piece by piece. Error: ValueError names the first that is not finite.

    uint8 is not read: 255.
    """
    if x.dtype.kind != "f":
        return 255.0
    low, high = 0.0, 0.0
    for start, piece in pieces(stored(x)):
        with np.errstate(invalid="ignore"):
            low, high = min(low, float(piece.min())), max(high, float(piece.max()))
            bad = not np.isfinite(float(piece.min()) + float(piece.max())) and not np.isfinite(piece).all()
        if bad:
            at = int(np.argmin(np.isfinite(piece)))
            row, column = place_of(x, start + at)
            which = column_word(column, names)
            raise ValueError(f"{where}: {of_x} has {piece[at]} in row {row}, {which}; it must be finite")
    return max(-low, high)


def warn_of_small_bytes(x: Any, what: str) -> None:
    """Say that uint8 counts as brightness where no byte is bright: they may be flags, codes or counts."""
    if usual_scale(x) == 1:
        return
    largest = 0
    for _, piece in pieces(stored(x)):
        largest = max(largest, int(piece.max()))
        if largest >= BRIGHT:
            return
    if largest:
        check.warn(
            f"{what} are uint8 and the largest byte is {largest}; without a scale, bytes are taken for brightness and "
            "multiplied by 1/255: scale=1 takes them as numbers, scale=1/255 says that they are pixels"
        )


def check_range(x: Any, largest: float, dtype: Any, what: str, names: Names = None) -> None:
    """Refuse a number that is finite in x and not in `dtype`, the model's. Error: ValueError names row and column."""
    most = float(np.finfo(dtype).max)
    if largest <= most:
        return
    for start, piece in pieces(stored(x)):
        beyond = np.abs(piece) > most
        if beyond.any():
            at = int(np.argmax(beyond))
            row, column = place_of(x, start + at)
            raise ValueError(
                f"{what} has {piece[at]} in row {row}, {column_word(column, names)}; the model is {np.dtype(dtype)}, "
                f"which ends at {most:.2g}: scale the numbers, or train model.double()"
            )


def advice(x: Any, scale: float, names: Names = None) -> str:
    """A line where rows x (N, D) are far from 1 in size, else an empty text; some of the rows are looked at.

    The size of a column is √(mean of (scale x)²). Large is a column above 30, small is no number above 1/30.
    """
    a_row = x.stored.size // len(x) + 1 if isinstance(x, Sparse) else x.shape[1]
    rows = max(SEEN // a_row, 1)
    numbers = np.arange(0, len(x), max(len(x) // rows, 1))[:rows]
    columns: Array | None = None
    if isinstance(x, Sparse):  # the columns in which these rows have numbers
        part = x[numbers]
        columns, at = np.unique(part.indices, return_inverse=True)
        some = part.stored.astype(np.float64)
        with np.errstate(over="ignore"):
            sizes = np.sqrt(np.bincount(at, np.square(some * scale)) / len(part))
    else:
        some = rows_at(x, numbers).astype(np.float64)
        with np.errstate(over="ignore"):
            sizes = np.sqrt(np.square(some * scale).mean(axis=0))
    if not some.size:
        return ""
    column, size, largest = int(sizes.argmax()), float(sizes.max()), float(np.abs(some).max()) * scale
    column = column if columns is None else int(columns[column])
    if size > FAR:
        if scale == 1 and 127 < some.max() <= 255 and some.min() >= 0 and np.array_equal(some, np.rint(some)):
            remedy = "they look like pixels, and Dataset(..., scale=1/255) brings them to 0 .. 1"
        else:
            remedy = "bring each column to mean 0 and spread 1, x = (x - mean) / std of the training rows"
        return f"features are large, {size:.3g} in {column_word(column, names)} (root mean square): {remedy}"
    if 0 < largest < 1 / FAR:
        return f"features are small, none above {largest:.2g}: nets learn best from numbers near 1; see Dataset's scale"
    return ""
