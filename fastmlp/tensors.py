"""The safetensors format: arrays by name behind a header, in which texts may stand too."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from . import check
from .machine import check_memory

_TYPES = {  # of the format, as NumPy has them; BF16 is the upper half of a float32
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
DIGEST = "sha256"  # in the header of a file that is sealed


def as_bytes(arrays: Mapping[str, np.ndarray], texts: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a file; what is not contiguous is copied."""
    from safetensors.numpy import save as serialize

    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}  # () stays ()
    return _in_order(serialize(contiguous, dict(texts) if texts else None))


def _in_order(file: bytes) -> bytes:
    """The file with its metadata by name: safetensors writes them in no order, and one state shall be one file."""
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:end])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text = text.ljust(-(-len(text) // 8) * 8)  # the arrays begin at a multiple of 8
    return b"".join((len(text).to_bytes(8, "little"), text, memoryview(file)[end:]))  # one copy of the arrays


def sealed(arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> bytes:
    """The bytes of a file whose header holds a digest of all the others: one changed bit is seen."""
    file = bytearray(as_bytes(arrays, dict(texts) | {DIGEST: "0" * 64}))
    place = _place_of_seal(file)
    assert place is not None
    file[place : place + 64] = hashlib.sha256(file).hexdigest().encode()
    return bytes(file)


def read_sealed(path: str | os.PathLike[str], caller: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """As `read`. Error: ValueError too for a file whose digest is another than its header says, or has none."""
    found = read(path, caller)
    file = bytearray(Path(path).read_bytes())
    place = _place_of_seal(file)
    said = bytes(file[place : place + 64]) if place is not None else b""
    if place is not None:
        file[place : place + 64] = b"0" * 64
    if hashlib.sha256(file).hexdigest().encode() != said:
        raise ValueError(f"{caller}: {path} is damaged: its digest is not that of its content")
    return found


def _place_of_seal(file: bytearray) -> int | None:
    """Where the digest stands in the header; None where there is none."""
    end = 8 + int.from_bytes(file[:8], "little")
    found = re.search(rb'"sha256":"([0-9a-f]{64})"', file[8:end])
    return None if found is None else 8 + found.start(1)


def read_header(path: str | os.PathLike[str]) -> dict[str, str]:
    """The texts in the header of a safetensors file that `read` has read before."""
    with Path(path).open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    texts: dict[str, str] = header.get("__metadata__", {})
    return texts


def read(path: str | os.PathLike[str], caller: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a safetensors file, and the text in its header."""
    from safetensors import safe_open

    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"{caller}: {path} is not there; it must be a safetensors file")
    try:
        with file.open("rb") as stream:  # first: the library says of a file that may not be read that it is not there
            with safe_open(file, "numpy") as checked:  # it holds names, shapes and places to the size of the file
                header = dict(checked.metadata() or {})
            start = 8 + int.from_bytes(stream.read(8), "little")
            entries = json.loads(stream.read(start - 8))
    except OSError:
        raise
    except Exception as error:  # what the library raises differs by release
        raise ValueError(f"{caller}: {path} is no safetensors file: {check.reason(error)}") from error
    entries.pop("__metadata__", None)
    for name, entry in entries.items():
        if entry["dtype"] not in _TYPES:
            raise ValueError(
                f"{caller}: {path} has {check.short(name)} as {entry['dtype']}; it must be one of {', '.join(_TYPES)}"
            )
    size = sum(math.prod(entry["shape"]) * _item_bytes(entry["dtype"]) for entry in entries.values())
    check_memory(f"{caller}: the arrays of {path}", size)
    with file.open("rb") as stream:
        try:
            return {name: _array(stream, start, entry) for name, entry in entries.items()}, header
        except ValueError as error:  # another program cuts the file meanwhile
            raise ValueError(f"{caller}: {path} is no safetensors file: {check.reason(error)}") from error


def _array(stream: BinaryIO, start: int, entry: Mapping[str, Any]) -> np.ndarray:
    """One array of a file whose numbers begin at `start`."""
    stream.seek(start + entry["data_offsets"][0])
    shape = tuple(entry["shape"])
    array = np.fromfile(stream, _TYPES[entry["dtype"]], math.prod(shape)).reshape(shape)
    if entry["dtype"] != "BF16":
        return array
    whole = array.astype("<u4")
    whole <<= 16
    return whole.view("<f4")


def _item_bytes(kind: str) -> int:
    """Bytes that a number takes once it is read."""
    return 4 if kind == "BF16" else np.dtype(_TYPES[kind]).itemsize
