"""Data sets larger than memory: a folder of `.npy` pairs, or Parquet files that become such a folder once."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import ArrayLike

from .. import check
from .dataset import Dataset
from .features import KEPT, checked_scale, reach, warn_of_small_bytes
from .parquet import converted
from .streamed import WINDOW, Part, Shards
from .targets import read

NAME = re.compile(r"features(.*)\.npy")
PAIRS = "features*.npy, each beside its targets*.npy"
_DOOR = "shards"


def shards(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    window: int = WINDOW,
    target: str | None = None,
    cache: str | os.PathLike[str] | None = None,
    classes: int | ArrayLike | None = None,
    kind: str | None = None,
    scale: float | None = None,
) -> Dataset:
    """A Dataset whose features stay in many files: rows are read when a batch needs them, and none stays resident.

    path    a folder of pairs, `features-0001.npy` (n, ...) uint8, float32 or float64, and `targets-0001.npy` (n, ...),
            what `numpy.save` writes; whatever stands between "features" and ".npy" names the pair, and numbers in it
            are ordered as numbers. Or the paths of such features, in their order. Or a Parquet file, or a folder of
            those, with `target` and `cache`
    window  W, how many rows `fit` shuffles among each other, exactly: all orders of a window are equally likely. Blocks
            of W // 16 rows come in random order, and W of the rows that come are a window. The order is a function of
            (seed, epoch, number of rows, W) alone; where W is the number of rows or more, it is that of a data set in
            memory. Until a window is over, W rows should fit into what memory the system has left for files
    target  of Parquet, the column that is the target
    cache   of Parquet, a folder for the pairs: its rows cannot be read by number. It is written once, a row group at a
            time, and used again while the files are the same
    classes, kind, scale  as `Dataset` has them

    Features are read once, here, as floats must be finite. Targets are in memory. The same rows in files of any lengths
    are the same data: they train to the same bits. A slice `data[a:b]` shares the files, so it makes a validation set;
    row numbers, masks and `split` copy their rows into memory.

    Errors, each names the file: FileNotFoundError; ValueError for features of another type or shape than those of the
    first file, numbers that are not finite, targets that are missing, too few, or of another type; OSError where the
    system cannot open so many files.
    """
    check.whole(f"{_DOOR}: window", window, 1)
    folder = None if cache is None else check.path(f"{_DOOR}: cache", cache)
    where = _places(path)
    source: dict[str, Any] | None = None
    if isinstance(path, str | os.PathLike) and (classes is None or isinstance(classes, int)):
        given = {"window": int(window), "target": target, "classes": classes, "kind": kind, "scale": scale}
        kept = {name: value for name, value in given.items() if value is not None}
        kept |= {} if folder is None else {"cache": os.path.abspath(folder)}
        source = {"path": os.path.abspath(path), "shards": kept}
    if where[0].suffix == ".parquet":
        where = _places(converted(where, target, folder, _DOOR))
    elif target is not None or cache is not None:
        name = "cache" if target is None else "target"
        raise ValueError(f"{_DOOR}: {name} is given; it is for Parquet, and {where[0]} is .npy")
    parts, first = [], _header(where[0])
    targets: list[np.ndarray] = []
    for file in where:
        shape, dtype, place = _header(file)
        if (shape[1:], dtype) != (first[0][1:], first[1]):
            raise ValueError(
                f"{_DOOR}: {file} has rows of {shape[1:]} {dtype}; they must be {first[0][1:]} {first[1]}, as those of "
                f"{where[0].name}"
            )
        parts.append(Part(file, shape[0], place, file.stat().st_size))
        targets.append(_targets(file, shape[0], targets))
    x = Shards(parts, first[0][1:], first[1], int(window), _DOOR)
    found = read(np.concatenate(targets), kind, classes, _DOOR, "targets")
    largest, row = 0.0, 0
    for part in parts:
        largest = max(largest, reach(x[row : row + part.rows], _DOOR, str(part.path)))
        row += part.rows
    name = where[0].parent.name if source is None else Path(source["path"]).stem
    data = Dataset._of(x, found, name, checked_scale(scale, x, _DOOR), largest)
    data.source = source
    if scale is None:
        warn_of_small_bytes(x, f"{_DOOR}: features")
    return data


def _places(path: Any) -> list[Path]:
    """The files of features, or of Parquet, in their order. Errors: FileNotFoundError, ValueError, TypeError."""
    if not isinstance(path, str | os.PathLike):
        if not isinstance(path, Sequence) or not path:
            raise TypeError(f"{_DOOR}: path is {check.shown(path)}; it must be a folder, or paths of features*.npy")
        found = [check.path(f"{_DOOR}: path", one) for one in path]
        kinds = {file.suffix for file in found}
        if kinds != {".parquet"} and (other := next((f for f in found if not NAME.fullmatch(f.name)), None)):
            raise ValueError(f"{_DOOR}: {other} has another name; it must be one of {PAIRS}")
    else:
        given = check.path(f"{_DOOR}: path", path)
        if not given.is_dir():
            if given.is_file() and given.suffix != ".parquet":
                raise ValueError(f"{_DOOR}: {given} is a file; path must be a folder, paths in a list, or Parquet")
            found = [given]
        else:
            there = sorted((f for f in given.iterdir() if not f.name.startswith(".")), key=_by_numbers)
            found = [file for file in there if NAME.fullmatch(file.name)]
            found = found or [file for file in there if file.suffix == ".parquet"]
            if not found:
                raise FileNotFoundError(f"{_DOOR}: {given} has no shards; it must hold {PAIRS}, or *.parquet")
            alone = {f"features{file.name.removeprefix('targets')}" for file in there if file.name[:7] == "targets"}
            if lost := sorted(alone - {file.name for file in found}):
                raise FileNotFoundError(f"{_DOOR}: {given / lost[0]} is not there, and its targets are")
    for file in found:
        if not file.is_file():
            raise FileNotFoundError(f"{_DOOR}: {file} is not there")
    return found


def _by_numbers(file: Path) -> list[Any]:
    """Names with their numbers as numbers: 10 stands after 9."""
    parts = re.split(r"([0-9]+)", file.name)
    return [(int(part), part) if at % 2 else part for at, part in enumerate(parts)]


def _header(file: Path) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """(shape, type, where the numbers begin) of features. Error: ValueError for what cannot be read by rows."""
    with open(file, "rb") as stream:
        try:
            version = npy.read_magic(stream)
            header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, turned, dtype = header(stream)
        except Exception as error:  # NumPy's words differ
            raise ValueError(f"{_DOOR}: {file} is no .npy file: {check.reason(error)}") from error
        place = stream.tell()
    if dtype not in KEPT or not dtype.isnative:
        raise ValueError(f"{_DOOR}: {file} has the type {dtype}; it must be uint8, float32 or float64 as rows are read")
    if len(shape) < 2 or 0 in shape or (turned and len(shape) > 1):
        order = " in Fortran's order" * turned
        raise ValueError(f"{_DOOR}: {file} has the shape {shape}{order}; it must be (n, ...), not empty, row after row")
    wanted, there = int(np.prod(shape, dtype=object)) * dtype.itemsize, file.stat().st_size - place
    if there < wanted:
        raise ValueError(f"{_DOOR}: {file} has {there} of {wanted} bytes of its numbers; it is cut off")
    return shape, dtype, place


def _targets(features: Path, rows: int, before: list[np.ndarray]) -> np.ndarray:
    """The targets beside a file of features, of the type and the columns of those before."""
    file = features.with_name(f"targets{features.name.removeprefix('features')}")
    if not file.is_file():
        raise FileNotFoundError(f"{_DOOR}: {file} is not there; it must hold the targets of {features.name}")
    try:
        y: np.ndarray = np.load(file, allow_pickle=False)
    except Exception as error:  # of NumPy, whose words differ
        raise ValueError(f"{_DOOR}: {file} is no .npy file of targets: {check.reason(error)}") from error
    if not y.ndim or len(y) != rows:
        raise ValueError(f"{_DOOR}: {file} has the shape {y.shape}; {features.name} has {rows} rows")
    if before and (y.shape[1:], _kind(y)) != (before[0].shape[1:], _kind(before[0])):
        raise ValueError(
            f"{_DOOR}: {file} has targets of {y.shape[1:]} {y.dtype}; they must be {before[0].shape[1:]} "
            f"{before[0].dtype}, as those of the first file"
        )
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        row = int(np.argmin(np.isfinite(y.reshape(len(y), -1)).all(axis=1)))
        raise ValueError(f"{_DOOR}: {file} has {check.shown(y[row])} in row {row}; it must be finite")
    return y


def _kind(y: np.ndarray) -> str:
    """The type of targets; strings of all lengths are one."""
    return "strings" if y.dtype.kind == "U" else str(y.dtype)
