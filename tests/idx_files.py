"""IDX files written by `idx_bytes`, which shares no code with the reader; small images and classes."""

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from fastmlp.data import read_idx

MNIST = Path(__file__).parent.parent / "data" / "mnist"
# IDX type code, letter of `struct`, NumPy type
TYPES = [
    (0x08, "B", "u1"),
    (0x09, "b", "i1"),
    (0x0B, "h", "i2"),
    (0x0C, "i", "i4"),
    (0x0D, "f", "f4"),
    (0x0E, "d", "f8"),
]


def idx_bytes(array: np.ndarray) -> bytes:
    """The slow twin: one number after the other, big-endian."""
    code, letter = next((code, letter) for code, letter, dtype in TYPES if array.dtype == dtype)
    parts = [struct.pack(">HBB", 0, code, array.ndim), *(struct.pack(">I", length) for length in array.shape)]
    return b"".join(parts + [struct.pack(">" + letter, value) for value in array.flatten().tolist()])


def images(n: int, shape: tuple[int, ...] = (3, 2), start: int = 0) -> np.ndarray:
    """n small images, each pixel different from its neighbours; the first is bright."""
    count = n * int(np.prod(shape))
    return (250 - np.arange(start, start + count) % 251).astype(np.uint8).reshape(n, *shape)


def classes(n: int, k: int = 3) -> np.ndarray:
    return (np.arange(n) % k).astype(np.uint8)


def refuses(path: Path, *words: str, error: type[Exception] = ValueError, call=read_idx) -> None:
    """`call(path)` raises one sentence that names the file and has these words."""
    with pytest.raises(error) as caught:
        call(path)
    message = str(caught.value)
    assert type(caught.value) is error
    assert "\n" not in message
    for word in (str(path), *words):
        assert word in message, message


def peak_memory(call, *arguments) -> int:
    tracemalloc.start()
    try:
        call(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
