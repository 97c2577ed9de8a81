"""Classes as people have them: arrays, frames' columns with types of their own, lists of words."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph import Array


def as_array(y: Any) -> Any:
    """y itself, but for a column of a frame, which becomes an array of the type that its values have.

    Integers of pandas that may be missing, and of pyarrow, stay integers, and booleans booleans: as floats 2⁵³ and
    2⁵³ + 1 would be one. What has missing values, or is no column, is left to who checks it.
    """
    kind = str(getattr(getattr(y, "dtype", None), "name", getattr(y, "dtype", ""))).lower()
    if isinstance(y, np.ndarray) or not hasattr(y, "dtype") or getattr(y, "ndim", 1) != 1:
        return y
    values = y.to_numpy() if hasattr(y, "to_numpy") else np.asarray(y)
    if values.dtype.kind != "O":
        return values
    found = values.tolist()
    if kind.startswith(("bool", "boolean")) and all(type(value) is bool for value in found):
        return values.astype(bool)
    if kind.startswith(("int", "uint")) and all(type(value) is int for value in found):
        return values.astype(np.uint64 if max(found, default=0) >= 2**63 else np.int64)
    return values


def numbered(y: Array, classes: Array) -> Array:
    """(N,) int64: the place of each y among the classes, which are in order."""
    return np.searchsorted(classes, y).astype(np.int64)
