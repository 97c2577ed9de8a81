"""Buffers that start on a cache line, and layers padded to whole vectors."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import guard
from .simd import K_BLOCK, TILE_VECTORS, VECTOR_BYTES

CACHE_LINE = 64


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """A C-contiguous array that starts on a 64-byte boundary: a vector across two cache lines costs two accesses."""
    dtype = np.dtype(dtype)
    size = dtype.itemsize
    for length in shape:
        size *= length
    raw = np.empty(size + CACHE_LINE + 2 * guard.AROUND, np.uint8)
    start = guard.AROUND + -raw.__array_interface__["data"][0] % CACHE_LINE
    if guard.ON:
        raw[...] = guard.BYTE  # who reads what nobody has written reads large numbers
        guard.around(raw, start, start + size, f"a buffer of {dtype} {shape}")
    return np.ndarray(shape, dtype, raw, start)


def zeros(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros from a cache line on."""
    array = empty(shape, dtype)
    array[...] = 0
    return array


def lanes(dtype: DTypeLike) -> int:
    """Numbers of `dtype` in one vector: 16 float32 with AVX-512."""
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def padded(columns: int, dtype: DTypeLike) -> int:
    """`columns` rounded up to whole vectors."""
    return -(-columns // lanes(dtype)) * lanes(dtype)


def packed_shape(outputs: int, inputs: int, dtype: DTypeLike) -> tuple[int, int, int]:
    """Shape (blocks, I, lanes) of a packed weight of `outputs` columns and `inputs` rows."""
    return -(-outputs // lanes(dtype)), inputs, lanes(dtype)


def scratch_size(dtype: DTypeLike) -> int:
    """Numbers of scratch memory that `product_dx` needs."""
    return K_BLOCK * TILE_VECTORS * lanes(dtype)
