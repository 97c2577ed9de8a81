"""Classes as people have them: arrays, frames' columns with types of their own, lists of words."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.multiclass import type_of_target

from ..check import shown
from ..graph import Array


def as_array(y: Any) -> Any:
    """y itself, but for a column of a frame, which becomes an array of the type that its values have.

    Integers of pandas that may be missing, and of pyarrow, stay integers, and booleans booleans: as floats 2⁵³ and
    2⁵³ + 1 would be one. What has missing values, or is no column, is left to who checks it.
    """
    if hasattr(y, "toarray"):  # labels of many columns come sparse
        return y.toarray()
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


def checked(y: Array, estimator: str) -> str:
    """What `type_of_target` says of y, which is (N,) classes or (N, K) labels.

    Errors: ValueError for numbers, and for several classes a row; TypeError for values that have no order.
    """
    if y.dtype.kind == "O":
        try:
            np.unique(y)
        except TypeError:
            kinds = sorted({type(value).__name__ for value in y.ravel().tolist()})
            raise TypeError(f"y holds values of the types {', '.join(kinds)}; all classes must be of one") from None
    kind = str(type_of_target(y))
    if kind.startswith("continuous"):
        some = y[y != np.floor(y)].ravel()[0]
        raise ValueError(f"Unknown label type: y holds {some}, no class; {estimator} is for classes")
    if kind == "multiclass-multioutput":
        raise ValueError(
            f"Unknown label type: y is {y.shape} and holds {shown(max(y.ravel().tolist()))}; each row must have one "
            "class, or labels 0 and 1"
        )
    return kind


def numbered(y: Array, classes: Array) -> Array:
    """(N,) int64: the place of each y among the classes, which are in order."""
    return np.searchsorted(classes, y).astype(np.int64)
