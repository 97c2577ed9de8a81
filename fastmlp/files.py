"""What goes into a file: written in one piece, and numbers as JSON has them."""

from __future__ import annotations

import math
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from . import check

PARTIAL = re.compile(r"\..+\.[0-9a-f]{16}\.partial")  # the names that `replacing` writes under; a kill may leave one


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path beside `path` to write to; what is there when the block ends well takes the place of the file.

    Who reads it meanwhile finds the old file or the new one, whole; so it is after a kill or a power cut. Where the
    block or the system raises anything, the old file stays and nothing else does. The name is drawn, as a process id
    is not enough: two threads, or two containers on one disk, may write one file.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(8)}.partial")
    try:
        yield partial
        with partial.open("r+b") as file:
            os.fsync(file.fileno())  # else a power cut may keep the new name and lose what it names
        partial.replace(target)
        _sync_folder(target.parent)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def _sync_folder(folder: Path) -> None:
    """Let the disk have the folder's names too: else a power cut may bring the old file back."""
    if hasattr(os, "O_DIRECTORY"):  # where a folder can be opened
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with suppress(OSError):  # a disk that cannot sync folders, as some over a network
                os.fsync(handle)
        finally:
            os.close(handle)


def write(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file in one piece; text is UTF-8. Error: OSError where it cannot be written."""
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def probe(name: str, folder: str | os.PathLike[str]) -> None:
    """Make a folder where it is not there, and see that a file can be written into it: before hours of work, not after.

    name: the caller and its argument, "Run: folder". Errors: TypeError for what is no path, ValueError for a file,
    OSError where nothing can be written.
    """
    place = check.path(name, folder)
    if place.exists() and not place.is_dir():
        raise ValueError(f"{name} is {place}, a file; it must be a folder")
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"probe")
    except OSError as error:
        what = f"{name} is {place}, where no file can be written ({error.strerror}); it must be a folder to write to"
        raise type(error)(what) from error


def for_json(value: Any) -> Any:
    """The value as JSON takes it: lists for arrays and tuples, Python's numbers, None for NaN and infinity."""
    if isinstance(value, dict):
        return {name: for_json(inner) for name, inner in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return for_json(value.tolist())
    if isinstance(value, list | tuple):
        return [for_json(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
