"""Frames and series of pandas and polars become arrays, column by column, with the names of the columns.

Neither library is imported: whoever hands over a frame has imported it. Rows go by their place; an index is not looked
at.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import numpy as np

from .. import check
from ..machine import check_memory
from .features import kept_type
from .targets import typed

Array = np.ndarray
_LIBRARIES = ("pandas", "polars")


def library(value: Any) -> str:
    """Whose frame or series it is: "pandas", "polars", or an empty text for anything else."""
    tops = (kind.__module__.partition(".")[0] for kind in type(value).__mro__)
    return next((top for top in tops if top in _LIBRARIES), "")


def rows_of(given: Any, what: str) -> tuple[Array, tuple[str, ...] | None]:
    """(an array, the names of its columns or None) of features. what: a word for errors.

    The columns of a frame, numbers and booleans, become one type: uint8 where all are, float32 where it has every
    number of theirs, else float64. Error: ValueError names a column of another type and a value that is missing.
    """
    if not library(given):
        return check.array(what, given), None
    columns, names = _columns(given, what)
    if not is_frame(given):
        return _column(columns[0][1], what, columns[0][0]), None
    arrays = []
    for name, series in columns:
        array, kept = _column(series, what, name), None
        if array.dtype.kind == "O":
            with suppress(ValueError):  # objects that are neither numbers nor booleans alone
                array = typed(array, "", "")
        if array.ndim == 1 and _categories(series) is None:
            kept = kept_type(array.dtype)
        if kept is None:
            raise ValueError(
                f"{what} has the column {name} of the type {series.dtype}; it must be numbers or booleans: "
                "make numbers of it, or leave it out"
            )
        arrays.append((array, kept))
    kinds = {kept for _, kept in arrays}
    dtype = kinds.pop() if len(kinds) == 1 else np.float64 if np.dtype(np.float64) in kinds else np.float32
    shape = len(given), len(arrays)
    check_memory(f"{what} as one array", shape[0] * shape[1] * np.dtype(dtype).itemsize)
    x = np.empty(shape, dtype)
    for place, (array, _) in enumerate(arrays):
        x[:, place] = array
    return x, names


def targets_of(given: Any, what: str) -> tuple[Array, tuple[str, ...] | None, Array | None]:
    """(an array, the names of its columns or None, the categories that a series declares or None) of targets."""
    if not library(given):
        array = check.array(what, given)
        if array.dtype.kind == "U" and not isinstance(given, np.ndarray):  # NumPy writes what is among strings as one
            array = check.array(what, np.array(given, object))
        return array, None, None
    columns, names = _columns(given, what)
    arrays = [_column(series, what, name) for name, series in columns]
    if is_frame(given):
        kinds = {array.dtype.kind for array in arrays}
        if len(arrays) == 1 or len(kinds) == 1 or not kinds <= set("biuf"):
            return np.stack(arrays, axis=1), names, None
        return np.stack(arrays, axis=1).astype(np.float64 if "f" in kinds else np.int64), names, None
    return arrays[0], names, _categories(columns[0][1])


def weight_of(given: Any, rows: int, where: str, of_weight: str = "sample_weight") -> Array | None:
    """(rows,) float64, a copy: what each row counts. Error: ValueError for others than numbers >= 0, not all 0."""
    if given is None:
        return None
    what = f"{where}: {of_weight}"
    weight = targets_of(given, what)[0]
    if weight.dtype.kind not in "iubf":
        raise ValueError(f"{what} has the type {weight.dtype}; it must be numbers, one for each row")
    if weight.shape != (rows,):
        raise ValueError(f"{what} has the shape {weight.shape}; it must be ({rows},), one for each row")
    weight = np.array(weight, np.float64)
    if not (np.isfinite(weight) & (weight >= 0)).all():
        row = int(np.argmin(np.isfinite(weight) & (weight >= 0)))
        raise ValueError(f"{what} has {weight[row]} in row {row}; it must be finite and at least 0")
    if not weight.any():
        raise ValueError(f"{what} is 0 in all rows; some row must count")
    return weight


def is_frame(given: Any) -> bool:
    """Whether a thing of pandas or polars has rows and columns."""
    return getattr(given, "ndim", 2) == 2 and hasattr(given, "columns")


def named_columns(given: Any, what: str) -> list[tuple[str, Any]]:
    """(name, series) of each column of a frame. Error: ValueError for no frame, and for a name that is there twice."""
    if not is_frame(given):
        raise ValueError(f"{what}: data is a {type(given).__name__}; it must be a frame, with columns")
    columns, names = _columns(given, what)
    names = names or tuple(map(str, range(len(columns))))
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{what}: the table has the column {check.short(twice[0])} twice; each name must be of one")
    return [(name, series) for name, (_, series) in zip(names, columns, strict=True)]


def missing_of(series: Any) -> Array:
    """(N,) whether the value is missing, NaN too."""
    if library(series) == "pandas":
        return np.asarray(series.isna().to_numpy(), bool)
    missing = np.asarray(series.is_null().to_numpy(), bool)
    if series.dtype.is_float():
        missing |= np.isnan(np.asarray(series.to_numpy(), np.float64))
    return missing


def declares_categories(series: Any) -> bool:
    """Whether the type says that it holds categories: a categorical of pandas, an Enum or Categorical of polars."""
    return hasattr(series.dtype, "categories") or type(series.dtype).__name__ in ("Categorical", "Enum")


def _columns(given: Any, what: str) -> tuple[list[tuple[str, Any]], tuple[str, ...] | None]:
    """([(name in words, series)], names or None): the columns of a frame, or a series alone."""
    if hasattr(given, "collect") and not hasattr(given, "to_numpy"):
        raise ValueError(f"{what} is a {type(given).__name__}; it must be a frame, as collect() gives")
    pandas = library(given) == "pandas"
    if not is_frame(given):
        if pandas and not hasattr(given, "iloc"):  # an index, a categorical, an array of pandas
            given = sys.modules["pandas"].Series(given)
        name = given.name if given.name not in (None, "") else None
        return [("" if name is None else repr(name), given)], None if name is None else (str(name),)
    names, places = [_word(name) for name in given.columns], range(len(given.columns))
    series = [given.iloc[:, place] for place in places] if pandas else given.get_columns()
    told = tuple(map(str, names)) if names != list(places) else None  # 0, 1, ... are nobody's names
    return list(zip(map(repr, names), series, strict=True)), told


def _word(name: Any) -> Any:
    """The name of a column; of one below another in a MultiIndex, "outer/inner"."""
    return "/".join(map(str, name)) if isinstance(name, tuple) else name


def _column(series: Any, what: str, name: str) -> Array:
    """The values of a series. Error: ValueError for one that is missing, by its row."""
    pandas = library(series) == "pandas"
    missing = np.asarray((series.isna() if pandas else series.is_null()).to_numpy(), bool)
    array, of = None, f", column {name}" * bool(name)
    if not missing.any():
        try:
            array = np.asarray(series.to_numpy())
        except Exception as error:  # a type that the library has no NumPy type for
            why = str(error).partition("\n")[0]
            raise ValueError(f"{what}{of} has the type {series.dtype}; NumPy can make no array of it: {why}") from error
        if array.dtype.kind == "f":
            missing = np.isnan(array)
    if array is None or missing.any():
        raise ValueError(
            f"{what} has a missing value in row {int(np.argmax(missing))}{of}; fill it, or leave the row out"
        )
    return array


def _categories(series: Any) -> Array | None:
    """The values that the type of a series declares, in its order: a categorical of pandas, an Enum of polars."""
    declared = getattr(series.dtype, "categories", None)
    if declared is None or not hasattr(declared, "to_numpy"):
        return None
    return np.asarray(declared.to_numpy())
