"""The columns of a table as they come: numbers, booleans, texts, and which values are missing. Dates are refused.

A CSV or Parquet file is read with polars or pandas, whichever is installed.
"""

from __future__ import annotations

import datetime
import decimal
import os
import re
from collections.abc import Collection, Sequence
from importlib.util import find_spec
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import check
from .frames import Array, declares_categories, library, missing_of, named_columns

MISSING = ("", "NA", "N/A", "#N/A", "<NA>", "NaN", "nan", "null", "NULL")  # what stands for nothing in a CSV
SUFFIXES = (".csv", ".tsv", ".parquet", ".pq")
_DATES = (datetime.date, datetime.time, datetime.timedelta)
_DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}([ T].*)?|\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?")
_OTHERWISE = re.compile(r"[+-]?(\d+,\d+|\d{1,3}([,.' ]\d{3})+([.,]\d+)?|\d+([.,]\d+)? ?%)")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WITH_POINT = re.compile(r"(-?\d+)\.0+")
_PACKED = (".gz", ".zst", ".bz2", ".xz", ".zip")


class Raw(NamedTuple):
    """A column. kind: "number", values float64 with NaN; "boolean", the same of 0 and 1; "text", objects, str or None.

    declared: whether its type says that it holds categories.
    """

    name: str
    kind: str
    values: Array
    declared: bool = False

    def missing(self) -> Array:
        """(N,) whether the value is missing."""
        if self.kind == "text":
            return np.array([value is None for value in self.values], bool)
        return np.isnan(self.values)

    def texts(self) -> Array:
        """(N,) objects: the values as categories, str or None; whole numbers without a point."""
        if self.kind == "text":
            return self.values
        says = _word_of_boolean if self.kind == "boolean" else _word_of_number
        return np.array([None if np.isnan(value) else says(value) for value in self.values.tolist()], object)


def numbers_written_otherwise(texts: Collection[str]) -> bool:
    """Whether all are numbers as people write them: 1,5 or 1,234 or 12 %, some among plain ones."""
    found = [_OTHERWISE.fullmatch(text.strip()) is not None for text in texts]
    return any(found) and all(
        otherwise or _NUMBER.fullmatch(text.strip()) for otherwise, text in zip(found, texts, strict=True)
    )


def without_points(texts: set[str]) -> set[str]:
    """Whole numbers that all have a point, as pandas writes columns with gaps (1.0), without it; others as they are."""
    found = [_WITH_POINT.fullmatch(text.strip()) for text in texts]
    return {match[1] for match in found if match} if all(found) else texts


def places_by_number(texts: Sequence[str]) -> dict[float, int]:
    """The places of those texts that are numbers, by their number; of numbers that are written in two ways none."""
    numbers = [float(text) if _NUMBER.fullmatch(text.strip()) else None for text in texts]
    return {number: at for at, number in enumerate(numbers) if number is not None and numbers.count(number) == 1}


def no_numbers(texts: Sequence[str | None]) -> list[int]:
    """The places of texts that are no numbers; a gap is none of them."""
    return [row for row, text in enumerate(texts) if text is not None and not _NUMBER.fullmatch(text.strip())]


def _word_of_boolean(value: float) -> str:
    return str(bool(value))


def _word_of_number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def is_table(path: Any) -> bool:
    """Whether the name is that of a table, or the file is Parquet by its first bytes."""
    file = Path(path)
    suffixes = [suffix.lower() for suffix in file.suffixes]
    if suffixes[-1:] and suffixes[-1] in _PACKED:
        suffixes.pop()
    if suffixes[-1:] and suffixes[-1] in SUFFIXES:
        return True
    if not file.is_file():
        return False
    with open(file, "rb") as stream:
        return stream.read(4) == b"PAR1"


def raw_columns(frame: Any, where: str, leave_out: Collection[str] = ()) -> dict[str, Raw]:
    """The columns of a frame by name. Error: ValueError names one that is a date or of no type that a net can take."""
    return {name: _raw(name, series, where) for name, series in named_columns(frame, where) if name not in leave_out}


def _raw(name: str, series: Any, where: str) -> Raw:
    """One column."""
    what, missing = f"{where}: column {check.short(name)}", missing_of(series)
    if str(series.dtype) in ("Int128", "UInt128"):  # NumPy has no such type; polars reads large integers of a CSV so
        series = series.cast(type(series)([0.0]).dtype)
    try:
        there = series[~missing] if library(series) == "pandas" else series.gather(np.flatnonzero(~missing))
        found = np.asarray(there.to_numpy())
    except Exception as error:  # a type that the library has no NumPy type for
        raise ValueError(f"{what} has the type {series.dtype}; NumPy can make no array of it") from error
    kinds = {type(value) for value in found.reshape(-1).tolist()} if found.dtype.kind in "OT" else set()
    if found.dtype.kind in "Mm" or any(issubclass(kind, _DATES) or kind.__name__ == "Period" for kind in kinds):
        raise ValueError(
            f"{what} holds dates ({series.dtype}); make numbers of it, such as days, or leave it out: drop"
        )
    if found.dtype.kind in "OTU" and all(issubclass(kind, str) for kind in kinds):
        values = np.full(len(missing), None, object)
        values[~missing] = [str(value) for value in found.tolist()]
        if len(found) and all(_DATE.fullmatch(value.strip()) for value in found.tolist()):
            raise ValueError(
                f"{what} holds dates, as {check.shown(found[0])}; make numbers of it, or leave it out: drop"
            )
        return Raw(name, "text", values, declares_categories(series))
    boolean = found.dtype.kind == "b" or bool(kinds and all(issubclass(kind, bool | np.bool_) for kind in kinds))
    numbers = all(issubclass(kind, Real | decimal.Decimal) and not issubclass(kind, bool) for kind in kinds)
    if found.ndim != 1 or not (boolean or (found.dtype.kind in "iufO" and numbers)):
        held = f" of {', '.join(sorted(kind.__name__ for kind in kinds))}" * bool(kinds)
        raise ValueError(
            f"{what} has the type {series.dtype}{held}; it must be numbers, booleans or texts: leave it out: drop"
        )
    numeric = np.full(len(missing), np.nan)
    numeric[~missing] = found.astype(np.float64)
    if np.isinf(numeric).any():
        raise ValueError(f"{what} has {numeric[np.isinf(numeric)][0]} in row {np.argmax(np.isinf(numeric))}; no number "
                         "may be infinite")  # fmt: skip
    return Raw(name, "boolean" if boolean else "number", numeric, declares_categories(series))


def read_frame(path: Any, where: str, texts: Sequence[str] = (), missing: Sequence[str] = ()) -> Any:
    """The frame in a CSV or Parquet file, of polars where it is installed, else of pandas.

    texts: names of columns of a CSV that are texts, whatever they look like. missing: what else stands for nothing.
    The values of a CSV are separated by commas; by semicolons or tabs where its first line has those and no comma.
    Errors: FileNotFoundError; NotInstalledError; ValueError for a file that cannot be read.
    """
    file = check.path(f"{where}: path", path)
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "is not there"
        raise FileNotFoundError(f"{where}: {file} {what}; it must be a CSV or a Parquet file")
    with open(file, "rb") as stream:
        parquet = stream.read(4) == b"PAR1"
    module = next((name for name in ("polars", "pandas") if find_spec(name)), None)
    if module is None:
        raise check.NotInstalledError(
            f"{where}: a table is read with polars or pandas, and neither is installed: pip install 'fastmlp[tables]'"
        )
    try:
        frame = (_with_polars if module == "polars" else _with_pandas)(file, parquet, texts, (*MISSING, *missing))
    except MemoryError:
        raise
    except ImportError as error:  # pandas reads Parquet with pyarrow
        raise check.NotInstalledError(f"{where}: {file} cannot be read: {check.reason(error)}") from error
    except Exception as error:  # what the libraries raise shares no class
        raise ValueError(f"{where}: {file} is no table that {module} can read: {check.reason(error)}") from error
    if not len(frame):
        raise ValueError(f"{where}: {file} has no rows; it must have at least 1 below its header")
    return frame


def _with_polars(file: Path, parquet: bool, texts: Sequence[str], missing: Sequence[str]) -> Any:
    import polars

    if parquet:
        return polars.read_parquet(file, use_pyarrow=False)
    separator, names = _first_line(file)
    overrides = {name: polars.String for name in texts if name in names}
    frame = polars.read_csv(
        file, separator=separator, null_values=list(missing), infer_schema_length=None, schema_overrides=overrides
    )
    for name, kind in frame.schema.items():  # " 1" and "+1" are texts to polars, and numbers to pandas
        if kind == polars.String and name not in overrides:
            bare = frame[name].str.strip_chars().str.strip_prefix("+")
            numbers = bare.cast(polars.Float64, strict=False)
            plain = not bare.str.contains("[a-df-zA-DF-Z]").any()  # inf and nan are words
            if plain and numbers.null_count() == frame[name].null_count() < len(frame):
                frame = frame.with_columns(numbers.alias(name))
    return frame.filter(~polars.all_horizontal(polars.all().is_null()))  # a line without a value is no row


def _with_pandas(file: Path, parquet: bool, texts: Sequence[str], missing: Sequence[str]) -> Any:
    import pandas

    if parquet:
        return pandas.read_parquet(file)
    separator, names = _first_line(file)
    frame = pandas.read_csv(
        file, sep=separator, keep_default_na=False, na_values=list(missing), index_col=False, low_memory=False,
        dtype={name: str for name in texts if name in names},
    )  # fmt: skip
    return frame.dropna(how="all")


def _first_line(file: str | os.PathLike[str]) -> tuple[str, list[str]]:
    """(what separates the values of a CSV, the names in its first line). Error: ValueError for one that comes twice."""
    import csv
    import gzip

    with open(file, "rb") as raw:
        stream: Any = gzip.GzipFile(fileobj=raw) if raw.read(2) == b"\x1f\x8b" else raw
        raw.seek(0)
        first = stream.readline(1 << 24)
    if first[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError("it is UTF-16; it must be UTF-8")
    line = first.decode("utf-8-sig", "replace")
    separator = "," if "," in line else next((mark for mark in "\t;" if mark in line), ",")
    names = next(csv.reader([line], delimiter=separator), [])
    twice = next((name for name in names if names.count(name) > 1), None) if len(names) < 10_000 else None
    if twice is not None:
        raise ValueError(f"its first line names {check.shown(twice)} twice")
    return separator, names
