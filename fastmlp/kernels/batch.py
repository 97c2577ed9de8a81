"""A batch gathered row by row from a data set, and the fingerprint of an array."""

import numpy as np

from .jit import allocating, inner, kernel
from .simd import array_at, prefetch_address, read_file


@kernel
def gather(features, order, start, scale, x):
    """x[n] = scale * features[order[start + n]].    features: (rows, I) any dtype  order: (rows,)  x: (N, >= I) float

    uint8 pixels become floats here, batch by batch: the data set is never copied as floats.
    """
    scale = x.dtype.type(scale)
    for n in range(x.shape[0]):
        row, target = features[order[start + n]], x[n]
        for i in range(row.size):
            target[i] = x.dtype.type(row[i]) * scale


@kernel
def gather_uint8(source, order, start, scale, x):
    """`gather` from features given as (address, rows, columns) in `source`."""
    features = array_at(source[0], np.uint8, (source[1], source[2]))
    gather(features, order, start, scale, x)


@kernel
def gather_float32(source, order, start, scale, x):
    """As `gather_uint8`, for float32."""
    features = array_at(source[0], np.float32, (source[1], source[2]))
    gather(features, order, start, scale, x)


@kernel
def gather_float64(source, order, start, scale, x):
    """As `gather_uint8`, for float64."""
    features = array_at(source[0], np.float64, (source[1], source[2]))
    gather(features, order, start, scale, x)


@inner
def read_whole(descriptor, address, size, offset):
    """`size` bytes of a file from `offset` on, to an address. Error: OSError where it ends before, or cannot be read"""
    done, failed = 0, 0
    while done < size:
        came = read_file(descriptor, address + done, size - done, offset + done)
        if came > 0:
            done += came
        else:
            failed += 1
            if came == 0 or failed == 100:  # else a signal has come between
                raise OSError("the file of data.features cannot be read to its end; has it shrunk?")


@inner
def gather_from_file(source, order, start, scale, row, x):
    """`gather` from the file with the descriptor source[4], whose rows begin at source[5]. row: room for one

    Error: OSError where the file ends before the row, or cannot be read.
    """
    scale, size, place = x.dtype.type(scale), row.size * row.itemsize, row.ctypes.data
    for n in range(x.shape[0]):
        read_whole(source[4], place, size, source[5] + order[start + n] * size)
        target = x[n]
        for i in range(row.size):
            target[i] = x.dtype.type(row[i]) * scale


@allocating
def gather_file_uint8(source, order, start, scale, x):
    """`gather_from_file` of uint8. source: (0, rows, columns, 0, descriptor, place)"""
    gather_from_file(source, order, start, scale, np.empty(source[2], np.uint8), x)


@allocating
def gather_file_float32(source, order, start, scale, x):
    """As `gather_file_uint8`, for float32."""
    gather_from_file(source, order, start, scale, np.empty(source[2], np.float32), x)


@allocating
def gather_file_float64(source, order, start, scale, x):
    """As `gather_file_uint8`, for float64."""
    gather_from_file(source, order, start, scale, np.empty(source[2], np.float64), x)


@inner
def gather_from_shards(source, order, start, scale, row, x):
    """`gather` from many files. source: (0, rows, columns, 0, address of a table, its rows, first)    row: room for one

    table: (files + 1, 3) of each file the number of its first row, its descriptor and the place of that row in it; row
    n of the source has the number first + n. A row is looked for in the file of the row before it, then by halves.
    """
    table, files = array_at(source[4], np.int64, (source[5], 3)), source[5] - 1
    scale, size, place, at = x.dtype.type(scale), row.size * row.itemsize, row.ctypes.data, 0
    for n in range(x.shape[0]):
        number = source[6] + order[start + n]
        if number < table[at, 0] or number >= table[at + 1, 0]:
            at, end = 0, files
            while end - at > 1:  # table[at, 0] <= number < table[end, 0]
                middle = (at + end) // 2
                if number < table[middle, 0]:
                    end = middle
                else:
                    at = middle
        read_whole(table[at, 1], place, size, table[at, 2] + (number - table[at, 0]) * size)
        target = x[n]
        for i in range(row.size):
            target[i] = x.dtype.type(row[i]) * scale


@allocating
def gather_shards_uint8(source, order, start, scale, x):
    """`gather_from_shards` of uint8."""
    gather_from_shards(source, order, start, scale, np.empty(source[2], np.uint8), x)


@allocating
def gather_shards_float32(source, order, start, scale, x):
    """`gather_from_shards` of float32."""
    gather_from_shards(source, order, start, scale, np.empty(source[2], np.float32), x)


@allocating
def gather_shards_float64(source, order, start, scale, x):
    """`gather_from_shards` of float64."""
    gather_from_shards(source, order, start, scale, np.empty(source[2], np.float64), x)


GATHER = {np.dtype(np.uint8): gather_uint8, np.dtype(np.float32): gather_float32, np.dtype(np.float64): gather_float64}
GATHER_FILE = {  # of a large memory map: see data.mapped
    np.dtype(np.uint8): gather_file_uint8,
    np.dtype(np.float32): gather_file_float32,
    np.dtype(np.float64): gather_file_float64,
}
GATHER_SHARDS = {  # see data.streamed
    np.dtype(np.uint8): gather_shards_uint8,
    np.dtype(np.float32): gather_shards_float32,
    np.dtype(np.float64): gather_shards_float64,
}


@inner
def ask_for_rows(source, order, start, end):
    """Ask for the rows order[start:end] before they are gathered: shuffled rows come from main memory.

    source: (address, rows, columns, bytes a row), the last 0 for rows of a file. That is done at the end of a step:
    asked for earlier, they would have to lie in the cache for longer, and leave it.
    """
    address, size = source[0], source[3]
    for n in range(start, end):
        row = address + order[n] * size
        for line in range(0, size + 63, 64):
            prefetch_address(row + line)


@kernel
def fingerprint(bits):
    """A 64-bit sum over a 1-d array of uint32: Σ bits[i] c (2i + 1)  modulo 2⁶⁴, with an odd c.

    It changes when one number changes, in any bit; two changes that cancel out exactly go unseen.
    """
    total, odd = np.uint64(0), np.uint64(0x9E3779B97F4A7C15)
    for i in range(bits.size):
        total += np.uint64(bits[i]) * (odd * np.uint64(2 * i + 1))
    return total
