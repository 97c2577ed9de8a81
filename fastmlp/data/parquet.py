"""Parquet files become a folder of `.npy` pairs, a row group at a time: rows of Parquet cannot be read by number."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from .. import check, files
from .features import kept_type

NOTE = "made_of.json"


def converted(sources: list[Path], target: Any, folder: Path | None, where: str) -> Path:
    """The folder, with a pair for each row group; written where it is not, used again where it is of these.

    Features are all columns but `target`, of one type: uint8 where all are, float32 where it has every number of
    theirs, else float64. Errors: TypeError where target or cache is not given; ValueError names file and column of what
    is no number, or missing, and a cache that was made of other files; NotInstalledError without pyarrow.
    """
    if not isinstance(target, str) or folder is None:
        lacks = "target" if not isinstance(target, str) else "cache"
        what = "the column that is the target" if lacks == "target" else "a folder for the rows as .npy"
        raise TypeError(f"{where}: {lacks} is not given; Parquet needs it, {what}")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{where}: cache {folder} is a file; it must be a folder, new or of an earlier call")
    note = {
        "target": target,
        "sources": [[str(file.absolute()), (s := file.stat()).st_size, s.st_mtime_ns] for file in sources],
    }
    if (found := _note_in(folder)) is not None:
        if found != note:
            raise ValueError(f"{where}: cache {folder} was made of other files; it must be another folder, or removed")
        return folder
    if find_spec("pyarrow") is None:
        raise check.NotInstalledError(f"{where}: Parquet is read with pyarrow: pip install 'fastmlp[tables]'")
    folder.mkdir(parents=True, exist_ok=True)
    if any(not name.startswith(("features-", "targets-", ".")) for name in os.listdir(folder)):
        raise ValueError(f"{where}: cache {folder} holds other files; it must be a folder of its own")
    for old in [*folder.glob("features-*.npy"), *folder.glob("targets-*.npy")]:  # of one that was not finished
        old.unlink()
    _write(sources, target, folder, where)
    files.write(folder / NOTE, json.dumps(note))  # last: with it the cache is whole
    return folder


def _note_in(folder: Path) -> Any:
    """What a cache was made of; None where there is none that is whole."""
    try:
        return json.loads((folder / NOTE).read_text())
    except (OSError, ValueError):
        return None


def _write(sources: list[Path], target: str, folder: Path, where: str) -> None:
    import pyarrow.parquet

    number, dtype = 0, np.dtype(np.float32)
    names: list[str] = []
    for file in sources:
        try:
            stream = pyarrow.parquet.ParquetFile(file)
        except Exception as error:  # what pyarrow raises shares no class
            raise ValueError(f"{where}: {file} is no Parquet file: {check.reason(error)}") from error
        with stream:
            schema = stream.schema_arrow
            own = [field for field in schema if field.name != target]
            if target not in schema.names or not own:
                raise ValueError(f"{where}: {file} has the columns {', '.join(schema.names)}; {target} must be one")
            types = [_type(field, file, where) for field in own]
            mixed = types[0] if len(set(types)) == 1 else np.result_type(np.float32, *types)
            if not names:
                names, dtype = [field.name for field in own], mixed
            if ([field.name for field in own], mixed) != (names, dtype):
                raise ValueError(f"{where}: {file} has other columns or types than {sources[0].name}; they must agree")
            for group in range(stream.num_row_groups):
                table = stream.read_row_group(group, use_threads=False)
                if not table.num_rows:
                    continue
                if (bad := next((n for n in table.column_names if table[n].null_count), None)) is not None:
                    raise ValueError(
                        f"{where}: {file} has {table[bad].null_count} missing in the column {check.shown(bad)}, row "
                        f"group {group}; none may be"
                    )
                x = np.empty((table.num_rows, len(names)), dtype)
                for at, name in enumerate(names):
                    x[:, at] = table[name].to_numpy()
                y = table[target].to_numpy()
                _write_pair(folder, number, x, y.astype(str) if y.dtype == object else y)
                number += 1
    if not number:
        raise ValueError(f"{where}: {sources[0]} has no rows; it must have at least 1")


def _type(field: Any, file: Path, where: str) -> np.dtype[Any]:
    """The type in which a column's numbers are kept."""
    try:
        kept = kept_type(np.dtype(field.type.to_pandas_dtype()))
    except (NotImplementedError, TypeError):
        kept = None
    if kept is None:
        raise ValueError(
            f"{where}: {file} has the column {check.shown(field.name)} of the type {field.type}; it must be numbers or "
            "booleans"
        )
    return kept


def _write_pair(folder: Path, number: int, x: np.ndarray, y: np.ndarray) -> None:
    for name, array in (("features", x), ("targets", y)):
        with files.replacing(folder / f"{name}-{number:06d}.npy") as partial, partial.open("wb") as stream:
            np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
