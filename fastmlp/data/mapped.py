"""Large memory maps, of which few pages stay in this process.

A page of a map that was read belongs to the process's resident memory until somebody takes it back, and its neighbours
come with it, 64 KB or even 2 MB of them: shuffled rows make all of a map resident within an epoch. To take pages back
and have them again costs more than to read a row from its file, where the system keeps it as well as behind a map. So
the rows of a map of more than RESIDENT bytes are read from the file (`kernels.GATHER_FILE`), and what passes over the
map itself, piece after piece, gives its pages back.

On Linux, and for maps that are shared with their file: a private one, `mmap_mode="c"`, may hold what no file does.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .streamed import Shards

RESIDENT = 1 << 28  # bytes of a map that may be resident
PIECE = 1 << 18  # numbers that are looked at together
SPAN = 1 << 26  # bytes that are passed over before their pages are given back
MAPS = Path("/proc/self/maps")

_files: weakref.WeakKeyDictionary[mmap.mmap, tuple[int, int, int, int] | None] = weakref.WeakKeyDictionary()


def file_of(x: np.ndarray) -> tuple[int, int] | None:
    """(descriptor, place of x in the file) of an array that lies in a large shared map of a file; None for others.

    The descriptor is this module's, and is closed when the map is.
    """
    if x.nbytes <= RESIDENT or not x.flags.c_contiguous or (base := _map_under(x)) is None:
        return None
    if base not in _files:
        _files[base] = _opened(base, x)
    found, at = _files[base], x.__array_interface__["data"][0]
    if found is None or not found[1] <= at <= at + x.nbytes <= found[2]:
        return None
    descriptor, start, _, offset = found
    return descriptor, offset + at - start


def give_back(x: np.ndarray) -> None:
    """The pages of a large map leave this process; they are in the file, and the system may keep them."""
    if file_of(x) is not None and (base := _map_under(x)) is not None:
        base.madvise(mmap.MADV_DONTNEED)


def pieces(x: Any) -> Iterator[tuple[int, np.ndarray]]:
    """(first, numbers from there on): x, flat, piece after piece; the pages of a large map are given back."""
    if isinstance(x, Shards):
        yield from x.pieces()
        return
    flat, passed = x.reshape(-1), 0
    try:
        for first in range(0, flat.size, PIECE):
            piece = flat[first : first + PIECE]
            yield first, piece
            passed += piece.nbytes
            if passed >= SPAN:
                give_back(x)
                passed = 0
    finally:
        give_back(x)


def rows_at(x: Any, index: Any) -> np.ndarray:
    """x[index] for row numbers or a mask, a copy; those of a large map come from its file, of `Shards` from theirs.

    Error: OSError where the file ends before a row.
    """
    if isinstance(x, Shards) or (file := file_of(x)) is None:
        taken: np.ndarray = x[index]
        return taken
    numbers = np.flatnonzero(index) if index.dtype.kind == "b" else index
    descriptor, place = file
    taken = np.empty((len(numbers), *x.shape[1:]), x.dtype)
    for row, target in zip((numbers % len(x)).tolist(), taken.reshape(len(taken), -1).view(np.uint8), strict=True):
        if os.preadv(descriptor, [target.data], place + row * target.size) < target.size:
            raise OSError("Dataset: the file of the features cannot be read to its end; has it shrunk?")
    return taken


def read_in_no_order(x: np.ndarray) -> None:
    """The system shall not read ahead of a row of a map: `posix_fadvise` or `madvise`, where it has them."""
    if (file := file_of(x)) is not None and hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file[0], 0, 0, os.POSIX_FADV_RANDOM)
    elif (base := _map_under(x)) is not None and hasattr(mmap, "MADV_RANDOM"):
        base.madvise(mmap.MADV_RANDOM)


def _map_under(x: np.ndarray) -> mmap.mmap | None:
    base: Any = x
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) else None


def _opened(base: mmap.mmap, x: np.ndarray) -> tuple[int, int, int, int] | None:
    """(descriptor, first address, last, place of the first in the file) of the map under x, as the system has it.

    The file is opened by its name, and taken where it is the one that is mapped.
    """
    at = x.__array_interface__["data"][0]
    try:
        lines = MAPS.read_bytes().splitlines()
    except OSError:  # not Linux
        return None
    for line in lines:
        addresses, rights, offset, device, inode, *name = line.split(maxsplit=5)
        start, end = (int(address, 16) for address in addresses.split(b"-"))
        if not start <= at < end:
            continue
        if b"s" not in rights or not name:
            return None
        try:
            descriptor = os.open(name[0].replace(rb"\012", b"\n"), os.O_RDONLY)
        except OSError:  # it has another name now, or none
            return None
        status = os.fstat(descriptor)
        here = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x} {status.st_ino}"
        if here.encode() != device + b" " + inode:
            os.close(descriptor)
            return None
        weakref.finalize(base, os.close, descriptor)
        return descriptor, start, end, int(offset, 16)
    return None
