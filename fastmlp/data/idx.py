"""IDX files, the format of MNIST: a short header, then one array of numbers.

    bytes 0, 1    zero
    byte 2        type: 08 uint8, 09 int8, 0B int16, 0C int32, 0D float32, 0E float64
    byte 3        number of dimensions
    4 bytes each  the dimensions, unsigned
    the rest      the numbers, last dimension fastest; everything is big-endian

The library `idx2numpy` turns the bytes into an array. It opens no `.gz`, refuses a `Path`, trusts the header
and returns read-only, big-endian arrays. `read_idx` adds what is missing; `find_idx` knows the file names.

Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits, yann.lecun.com/exdb/mnist.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

import idx2numpy
import numpy as np

from .. import check
from ..machine import check_memory

__all__ = ["find_idx", "read_idx"]

_ITEM_BYTES = {0x08: 1, 0x09: 1, 0x0B: 2, 0x0C: 4, 0x0D: 4, 0x0E: 8}
_MAX_DIMENSIONS = 32  # NumPy 1 allows 32, NumPy 2 allows 64
MAX_RATIO = 1032  # deflate spends at least 2 bits on at most 258 bytes
_CHUNK = 1 << 20


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Return the array in one IDX file, plain or gzipped.

    The first two bytes (1f 8b) decide whether the file is gzipped, not its name. The array has the shape and
    type of the file and native byte order, is C-contiguous and may be written to.

    The header is compared with the size of the file before memory is taken. Memory grows with the bytes that
    are really there, and at most one byte more than the header claims is read.

    Raises FileNotFoundError if there is no such file, ValueError if it is not a whole IDX file, MemoryError if its
    array is larger than memory.
    """
    with opened(path) as (stream, file, size, gzipped):
        header = _header(stream, file, size, gzipped)
        check_memory(f"read_idx: the numbers of {file}", header.claim)
        return _read(stream, file, header)


def claimed_bytes(path: str | os.PathLike[str]) -> int:
    """The bytes of the array in an IDX file, by its header. Errors as `read_idx`."""
    with opened(path) as (stream, file, size, gzipped):
        return _header(stream, file, size, gzipped).claim


@contextmanager
def opened(
    path: str | os.PathLike[str], caller: str = "read_idx", what: str = "an IDX file"
) -> Iterator[tuple[BinaryIO, Path, int, bool]]:
    """The bytes of a file, unpacked where it is gzip; its path, its bytes on the disk, and whether it is gzip."""
    file = check.path(f"{caller}: path", path)
    if not file.exists():
        raise FileNotFoundError(f"{caller}: {file} does not exist; it must be {what}, plain or gzipped")
    if not file.is_file():
        kind = "a folder" if file.is_dir() else "not a regular file"
        raise ValueError(f"{caller}: {file} is {kind}; it must be {what}, plain or gzipped")
    size = file.stat().st_size
    with open(file, "rb") as raw:
        first = raw.read(2)
        raw.seek(0)
        if first != b"\x1f\x8b":
            yield raw, file, size, False
            return
        try:
            with gzip.GzipFile(fileobj=raw) as stream:
                yield stream, file, size, True  # type: ignore[misc]
        except EOFError as error:
            raise ValueError(f"{caller}: {file} is truncated: its gzip stream ends too early") from error
        except (zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{caller}: {file} is damaged: its gzip stream cannot be read ({error})") from error


class _Header(NamedTuple):
    magic: bytes
    lengths: bytes
    start: int  # bytes of the header
    claim: int  # bytes of the numbers
    words: str  # for errors


def _header(stream: BinaryIO, file: Path, size: int, gzipped: bool) -> _Header:
    """Read and check the header; `size` is the number of bytes on disk."""
    magic = stream.read(4)
    if len(magic) < 4:
        raise ValueError(f"read_idx: {file} is too short: it holds {len(magic)} bytes, an IDX header at least 8")
    if magic[:2] != b"\0\0":
        raise ValueError(
            f"read_idx: {file} is not IDX: its first four bytes are '{magic.hex(' ')}' "
            "and must be '00 00', a type code and the number of dimensions"
        )
    if magic[2] not in _ITEM_BYTES:
        raise ValueError(
            f"read_idx: {file} has an unknown type code, {magic[2]:02x} in its first four bytes "
            f"'{magic.hex(' ')}'; it must be one of {' '.join(f'{code:02x}' for code in _ITEM_BYTES)}"
        )
    if not 1 <= magic[3] <= _MAX_DIMENSIONS:
        raise ValueError(
            f"read_idx: {file} has {magic[3]} dimensions by its first four bytes '{magic.hex(' ')}'; "
            f"it must have 1 to {_MAX_DIMENSIONS}"
        )
    lengths = stream.read(4 * magic[3])
    start = 4 + 4 * magic[3]
    if len(lengths) < 4 * magic[3]:
        raise ValueError(
            f"read_idx: {file} is too short: it holds {4 + len(lengths)} bytes, "
            f"a header of {magic[3]} dimensions has {start}"
        )
    shape = struct.unpack(f">{magic[3]}I", lengths)
    if 0 in shape:
        raise ValueError(f"read_idx: {file} has the shape {shape}; every dimension must be at least 1")

    claim = math.prod(shape) * _ITEM_BYTES[magic[2]]  # Python integers do not overflow
    claims = f"its header claims {claim} for the shape {shape}"
    if gzipped and start + claim > MAX_RATIO * size:
        raise ValueError(
            f"read_idx: {file} is truncated or damaged: its {size} bytes of gzip hold at most "
            f"{MAX_RATIO * size} bytes of data, {claims}"
        )
    if not gzipped and start + claim > size:
        raise ValueError(f"read_idx: {file} is truncated: it holds {size - start} bytes of data, {claims}")
    return _Header(magic, lengths, start, claim, claims)


def _read(stream: BinaryIO, file: Path, header: _Header) -> np.ndarray:
    """Read the numbers that the header claims and no more, and convert them."""
    magic, lengths, _, claim, claims = header
    body = read_claimed(stream, claim)
    if len(body) < claim:
        raise ValueError(f"read_idx: {file} is truncated: it holds {len(body)} bytes of data, {claims}")
    if len(body) > claim:
        raise ValueError(f"read_idx: {file} is too long: it holds more bytes of data than claimed, {claims}")

    array: np.ndarray = idx2numpy.convert_from_file(_Parts(magic, lengths, body))
    if not array.dtype.isnative:
        array = array.byteswap(inplace=True).view(array.dtype.newbyteorder("="))
    return array


def read_claimed(stream: IO[bytes], claim: int) -> bytearray:
    """The bytes that are really there, one more than claimed at most: memory grows with them, and not with a claim."""
    body = bytearray()
    while block := stream.read(min(_CHUNK, claim + 1 - len(body))):
        body += block
    return body


class _Parts:
    """The file that idx2numpy reads: header and body in the pieces it asks for.

    The body is handed over itself, so the array lies in it: no copy, writable, and aligned.
    """

    def __init__(self, *parts: bytes | bytearray) -> None:
        self._parts = list(parts)

    def read(self, size: int) -> bytes | bytearray:
        part = self._parts.pop(0) if self._parts else b""
        if len(part) > size:
            raise RuntimeError(f"read_idx: idx2numpy reads {size} bytes where a part has {len(part)}")
        return part


ROLES = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("test", "images"): "t10k-images-idx3-ubyte",
    ("test", "labels"): "t10k-labels-idx1-ubyte",
}
_NAME = re.compile(
    r"(?P<prefix>(?:.*?[-_.])??)(?:(?P<part>train|t10k|test)-)?(?P<kind>images|labels)[-.]idx\d-\w+(?:\.gz)?"
)


def find_idx(folder: Path, prefix: str | None = None) -> list[Path]:
    """Return images and labels of the training set, then of the test set, as far as they are there.

    The names are those of MNIST (`ROLES`). A common prefix, `test` for `t10k`, a dot before `idx`, and `.gz`
    are understood; a name without `train` or `t10k` is of the training set. Of a plain file and its `.gz` the
    plain one is taken. Names that begin with a dot are passed over: `._name` is what a Mac leaves beside `name`.
    A folder without such names gives an empty list. prefix: only names that begin with it are looked at, with a sign
    such as "-" behind it or without: a folder may then hold several sets.

    Raises FileNotFoundError if a set has only images or only labels, ValueError if a file is not the only
    candidate for its place.
    """
    found: dict[tuple[str, str], Path] = {}
    prefixes: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):  # the plain name sorts before the one with .gz
        match = _NAME.fullmatch(file.name)
        if file.name.startswith(".") or not match or file.is_dir():
            continue
        if prefix is not None and match["prefix"].rstrip("-_.") != prefix.rstrip("-_."):
            continue
        role = ("test" if match["part"] in ("t10k", "test") else "train", match["kind"])
        other = found.setdefault(role, file).name
        prefixes.setdefault(match["prefix"], file)
        if len(prefixes) > 1:
            names = " and ".join(file.name for file in prefixes.values())
            raise ValueError(f"load: {folder} is ambiguous: {names} have different prefixes; prefix= names one of them")
        if file.name not in (other, f"{other}.gz"):
            names = f"{other} and {file.name}"
            raise ValueError(f"load: {folder} is ambiguous: {names} may both be the {_words(role)}")
    parts = {part for part, _ in found}
    missing = [role for role in ROLES if role[0] in parts and role not in found]
    if missing:
        names = " and ".join(f"the {_words(role)} ({ROLES[role]}, plain or .gz)" for role in missing)
        held = " and ".join(file.name for file in found.values())
        raise FileNotFoundError(f"load: {folder} lacks {names}; it must lie beside {held}")
    return [found[role] for role in ROLES if role in found]


def _words(role: tuple[str, str]) -> str:
    return f"{'training' if role[0] == 'train' else 'test'} {role[1]}"
