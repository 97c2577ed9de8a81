"""Sparse rows: put in order when a data set is made of them, and gathered into batches, dense or of fewer columns.

Compressed sparse rows (CSR): row r has values[k] in the column indices[k], k from indptr[r] to indptr[r + 1] - 1, and 0
in all other columns. Source: SciPy's documentation of `scipy.sparse.csr_array`.
"""

import numpy as np

from .jit import inner, kernel
from .simd import VECTOR_BYTES, array_at, count_bits


@kernel
def look_at_rows(indptr, indices, columns):
    """(whether indices ascend in each row, the first place whose index is not in [0, columns), or -1)."""
    ascend = True
    for r in range(indptr.size - 1):
        last = np.int64(-1)
        for k in range(indptr[r], indptr[r + 1]):
            column = np.int64(indices[k])
            if column < 0 or column >= columns:
                return ascend, k
            ascend = ascend and column > last
            last = column
    return ascend, np.int64(-1)


@kernel
def turn(indptr, indices, values, begins, turned, moved):
    """Compressed columns become compressed rows: a counting sort by row, which keeps the order of equal ones.

    indices: the row of each value.   begins: (rows + 1,) 0 before, the indptr of the rows afterwards
    turned[k], moved[k] = the column and the value that come to lie at k.   The columns of a row ascend
    """
    for k in range(indptr[indptr.size - 1]):
        begins[indices[k] + 1] += 1
    for r in range(begins.size - 1):
        begins[r + 1] += begins[r]
    for column in range(indptr.size - 1):
        for k in range(indptr[column], indptr[column + 1]):
            at = begins[indices[k]]
            turned[at], moved[at] = column, values[k]
            begins[indices[k]] = at + 1
    for r in range(begins.size - 1, 0, -1):  # each has come to the begin of the next
        begins[r] = begins[r - 1]
    begins[0] = 0


@inner
def gather_sparse(source, order, start, scale, values, x):
    """x[n] = scale * row order[start + n], zeros included.    x: (N, >= columns) float

    source: (address of indptr, rows, columns, 0, address of indices, address of values)
    """
    scale, rows, columns = x.dtype.type(scale), source[1], source[2]
    indptr = array_at(source[0], np.int64, (rows + 1,))
    indices = array_at(source[4], np.int32, (indptr[rows],))
    for n in range(x.shape[0]):
        row, target = order[start + n], x[n]
        target[:columns] = 0
        for k in range(indptr[row], indptr[row + 1]):
            target[indices[k]] = x.dtype.type(values[k]) * scale


@kernel
def gather_sparse_float32(source, order, start, scale, x):
    """`gather_sparse` of float32."""
    values = array_at(source[5], np.float32, (array_at(source[0], np.int64, (source[1] + 1,))[source[1]],))
    gather_sparse(source, order, start, scale, values, x)


@kernel
def gather_sparse_float64(source, order, start, scale, x):
    """As `gather_sparse_float32`, for float64."""
    values = array_at(source[5], np.float64, (array_at(source[0], np.int64, (source[1] + 1,))[source[1]],))
    gather_sparse(source, order, start, scale, values, x)


@inner
def gather_distinct(source, order, start, rows, scale, values, x, bits, marks, columns):
    """x = scale * rows order[start ...] without the columns that are 0 in all of them, and the bits of what is not 0.

    columns[0] is how many it has, U, and columns[1 : 1 + U] which they are, ascending.    x: (>= rows * width,), filled
    as (rows, width), width the whole vectors of U   bits: as (rows, words of U)   marks: (2 words of all columns,)
    """
    scale, all_words, lanes = x.dtype.type(scale), (source[2] + 63) // 64, VECTOR_BYTES // x.itemsize
    indptr = array_at(source[0], np.int64, (source[1] + 1,))
    indices = array_at(source[4], np.int32, (indptr[source[1]],))
    none, one, low = np.uint64(0), np.uint64(1), np.uint64(63)
    for word in range(all_words):
        marks[word] = none
    for n in range(rows):
        row = order[start + n]
        for k in range(indptr[row], indptr[row + 1]):
            marks[indices[k] >> 6] |= one << (np.uint64(indices[k]) & low)
    many = 0
    for word in range(all_words):
        left = marks[word]
        marks[all_words + word] = np.uint64(many)
        while left != none:
            many += 1
            columns[many] = 64 * word + count_bits((left & (~left + one)) - one)
            left &= left - one
    columns[0] = many
    width, words = (many + lanes - 1) // lanes * lanes, (many + 63) // 64
    for i in range(rows * width):
        x[i] = 0
    for i in range(rows * words):
        bits[i] = none
    for n in range(rows):
        row = order[start + n]
        for k in range(indptr[row], indptr[row + 1]):
            word, bit = indices[k] >> 6, np.uint64(indices[k]) & low
            at = np.int64(marks[all_words + word]) + count_bits(marks[word] & ((one << bit) - one))
            x[n * width + at] = x.dtype.type(values[k]) * scale
            bits[n * words + (at >> 6)] |= one << np.uint64(at & 63)


@kernel
def gather_distinct_float32(source, order, start, rows, scale, x, bits, marks, columns):
    """`gather_distinct` of float32."""
    values = array_at(source[5], np.float32, (array_at(source[0], np.int64, (source[1] + 1,))[source[1]],))
    gather_distinct(source, order, start, rows, scale, values, x, bits, marks, columns)


@kernel
def gather_distinct_float64(source, order, start, rows, scale, x, bits, marks, columns):
    """As `gather_distinct_float32`, for float64."""
    values = array_at(source[5], np.float64, (array_at(source[0], np.int64, (source[1] + 1,))[source[1]],))
    gather_distinct(source, order, start, rows, scale, values, x, bits, marks, columns)


GATHER_DISTINCT = {np.dtype(np.float32): gather_distinct_float32, np.dtype(np.float64): gather_distinct_float64}
GATHER_SPARSE = {np.dtype(np.float32): gather_sparse_float32, np.dtype(np.float64): gather_sparse_float64}
