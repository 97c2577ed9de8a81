"""Sparse rows: put in order when a data set is made of them, and gathered into dense batches.

Compressed sparse rows (CSR): row r has values[k] in the column indices[k], k from indptr[r] to indptr[r + 1] - 1, and 0
in all other columns. Source: SciPy's documentation of `scipy.sparse.csr_array`.
"""

import numpy as np

from .jit import inner, kernel
from .simd import array_at


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


GATHER_SPARSE = {np.dtype(np.float32): gather_sparse_float32, np.dtype(np.float64): gather_sparse_float64}
