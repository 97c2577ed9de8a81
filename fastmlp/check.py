"""Sentences for arguments out of range: who was called, what was given, what it must be."""

from __future__ import annotations

import inspect
import math
import os
import sys
import warnings
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np


def whole(name: str, value: Any, least: int, other: str = "", below: float = math.inf) -> None:
    """Refuse what is no whole number in [least, below). NumPy's integers are whole numbers, True and 3.0 are not.

    name   the caller and its argument: "fit: epochs"
    other  what the sentence says after `least`: what else is allowed, or `below`
    Error: ValueError.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value < below:
        raise ValueError(f"{name} is {shown(value)}; it must be a whole number of at least {least}{other}")


def number(name: str, value: Any, least: float = -math.inf) -> None:
    """Refuse what is no finite number of at least `least`; True is none. Error: ValueError."""
    if not is_number(value) or not least <= value:
        bound = f" of at least {least}" if least > -math.inf else ""
        raise ValueError(f"{name} is {shown(value)}; it must be a finite number{bound}")


def above(name: str, value: Any, least: float = 0) -> None:
    """Refuse what is no finite number above `least`; True is none. Error: ValueError."""
    if not (is_number(value) and value > least):
        raise ValueError(f"{name} is {shown(value)}; it must be a finite number above {least}")


def held(name: str, value: Any, dtype: Any = np.float32) -> None:
    """Refuse a number that is not 0 and becomes 0 or infinite in `dtype`, the type that it is used in.

    Numbers below the least normal one count as 0, as the kernels have them. What is no number passes: others refuse it.
    Error: ValueError.
    """
    if not isinstance(value, int | float | np.integer | np.floating) or value == 0:
        return
    size = abs(_float(value))
    least, most = _ends(np.dtype(dtype))
    if not least <= size <= most:
        becomes = "0" if size < least else "no finite number"
        raise ValueError(
            f"{name} is {shown(value)}, in {np.dtype(dtype)} {becomes}; "
            f"it must be 0 or between {least:.2g} and {most:.2g}"
        )


def _float(value: Any) -> float:
    """The value as a float; infinity for a Python integer that is larger than any."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


@lru_cache
def _ends(dtype: np.dtype[Any]) -> tuple[float, float]:
    """The least normal and the largest number of a type."""
    limits = np.finfo(dtype)
    return float(limits.tiny), float(limits.max)


def is_number(value: Any) -> bool:
    """Whether it is a finite real number, Python's or NumPy's; True, "3" and complex numbers are none."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number above all floats
        return False


def array(name: str, value: Any, must: str = "an array of numbers") -> np.ndarray:
    """Return the array that NumPy makes of `value`, or `value` itself where it is one, a memory map too.

    name   the caller and its argument: "Predictor: x"
    must   what the sentence says that it must be
    Error: ValueError for a masked array, a sparse matrix, of which NumPy would make one object, and for anything that
    NumPy can make no array of.
    """
    kind = type(value).__name__
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array; it must have no gaps, as x.filled() gives")
    if isinstance(value, np.ndarray):
        return value
    if callable(getattr(value, "toarray", None)):
        raise ValueError(f"{name} is a sparse matrix, {kind}; it must be dense, as x.toarray() gives")
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: a tensor that requires grad
        why = "its rows are uneven" if "inhomogeneous" in str(error) else str(error).partition("\n")[0]
        raise ValueError(f"{name} is a {kind} that NumPy can make no array of: {why}; it must be {must}") from error


def flag(name: str, value: Any) -> None:
    """Refuse what is neither True nor False; 1 and 0 are. Error: TypeError."""
    if not (isinstance(value, bool | np.bool_) or (isinstance(value, int) and value in (0, 1))):
        raise TypeError(f"{name} is {shown(value)}; it must be True or False")


def listed(value: Any) -> bool:
    """Whether it holds other things, one after the other: no text, no array without an axis."""
    return isinstance(value, Iterable) and not isinstance(value, str | bytes) and bool(getattr(value, "ndim", 1))


def float_type(name: str, value: Any) -> Any:
    """The NumPy type of a value: float32 or float64. Error: TypeError for anything else."""
    try:
        dtype = np.dtype(value)
        if value is not None and dtype.kind == "f" and dtype.itemsize in (4, 8):
            return dtype.newbyteorder("=")
    except Exception:  # NumPy's words for what is no type are of several classes
        pass
    raise TypeError(f"{name} is {shown(value)}; it must be float32 or float64")


def shown(value: Any, most: int = 100) -> str:
    """The value as Python writes it, on one line, cut in the middle where that is long; of a large one what it is."""
    if isinstance(value, np.ndarray) and value.size > 8:
        return f"an array {value.shape} {value.dtype}"
    if isinstance(value, list | tuple | dict | set | frozenset) and len(value) > most:
        return f"a {type(value).__name__} of {len(value):,}"
    try:
        if isinstance(value, str | bytes) and len(value) > 2 * most:
            value = value[:most] + value[-most:]  # type: ignore[operator]
        text = repr(value)
    except Exception:  # somebody else's words; a number of more digits than Python writes
        text = f"of the type {type(value).__name__}"
    return short(text, most)


def short(text: str, most: int = 100) -> str:
    """The text on one line, cut in the middle where it is longer than `most`."""
    line = "".join(c if c.isprintable() else " " for c in text)
    line = " ".join(line.split())
    return line if len(line) <= most else f"{line[: most - most // 3]} ... {line[-(most // 3) :]}"


def reason(error: BaseException) -> str:
    """What an error of another program says, for the end of a sentence: its first line, short; else its class."""
    return short(str(error).partition("\n")[0], 400) or type(error).__name__


def path(name: str, value: Any) -> Path:
    """Return the value as a path. Errors: TypeError for what is none, ValueError for a text that can name no file."""
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise TypeError(f"{name} is {type(value).__name__}; it must be a path, a text or a Path")
    try:
        good = bool(os.fspath(value)) and b"\0" not in os.fsencode(value)
    except UnicodeError:  # half of a character
        good = False
    if not good:
        raise ValueError(f"{name} is {shown(os.fspath(value))}; it must be a path, and no file has such a name")
    return Path(value)


class NotInstalledError(ImportError):
    """A package that something optional needs is not there."""


def width(name: str, value: Any) -> None:
    """Refuse what is no number of columns: NumPy has no words for lengths beyond its own. Error: ValueError."""
    whole(name, value, 1, " and below 2**31", below=2**31)


def takes(name: str, function: Any, *arguments: str) -> None:
    """Refuse what cannot be called with so many arguments; `arguments` are words for them. Error: TypeError.

    A function whose signature Python does not know, as of a class in C, passes.
    """
    if not callable(function):
        raise TypeError(f"{name} is {type(function).__name__}; it must be a function of ({', '.join(arguments)})")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*arguments)
    except TypeError:
        raise TypeError(f"{name} takes {signature}; it must take ({', '.join(arguments)})") from None


BETWEEN = "fastmlp", "sklearn", "joblib"  # packages whose lines a person did not write


def warn(words: str, category: type[Warning] = UserWarning) -> None:
    """Warn, with the line that called into the library, through scikit-learn's doors too, as the place.

    Why not a number of frames: it would hang on the door, and on decorators of others. Why not `skip_file_prefixes`:
    Python 3.11 has none.
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in BETWEEN:
        level, frame = level + 1, frame.f_back
    warnings.warn(words, category, stacklevel=level)
