"""Linear layer: y = x w + b.    N rows, I inputs, O outputs; the layout of w is that of `matmul`."""

import numpy as np

from .jit import allocating, inner, kernel
from .lists import BACKWARD, COLUMNS, INPUTS, OWED
from .matmul import listed_width, panel_width, product_dw, product_dw_listed, product_dw_rows, product_listed
from .simd import LISTED_VECTORS, TILE_VECTORS
from .updates import step

PIECE = 64  # rows of dw that are made before they are used: the piece, a panel wide, stays in the first-level cache
PANEL = max(TILE_VECTORS, LISTED_VECTORS)


@kernel
def linear_forward(x, w, b, y, tiles, lists, lo, hi):
    """y = x w + b  for the columns [lo, hi) of y.    x: (N, >= I)  w: (blocks, I, lanes)  b: (>= hi,)  y: (N, padded O)

    b is added after the sum. Columns of y past b.size keep the product alone, which is zero in the padding.
    lists: what is not zero in x, or NO_LISTS: see `lists`
    """
    product_listed(x, w, y, tiles, lists, lo, hi)
    bias = b[lo:hi]
    for n in range(x.shape[0]):
        row = y[n, lo:hi]
        for o in range(bias.size):
            row[o] += bias[o]


@kernel
def linear_backward(dy, x, dw, db, tiles, lo, hi):
    """dw = xᵀ dy,  db = Σₙ dy  for the columns [lo, hi) of dy.    shapes as forward; dw as w, db as b

    A column's weights need the column's dy only. dx needs every column of dy and is `matmul.product_dx`.
    """
    product_dw(x, dy, dw, tiles, lo, hi)
    column_sums(dy, db[lo:hi], lo, hi)


@inner
def column_sums(dy, db, lo, hi):
    """db[o - lo] = Σₙ dy[n, o]  for the columns o in [lo, hi), row after row; columns past the end of db are left."""
    total = db[: hi - lo]
    for o in range(total.size):
        total[o] = 0
    for n in range(dy.shape[0]):
        row = dy[n, lo:hi]
        for o in range(total.size):
            total[o] += row[o]


@kernel
def linear_update_weight(x, dy, p, m, v, u, at, inputs, piece, tiles, lists, rule, option, scale, lo, hi):
    """dw = xᵀ dy  of the columns [lo, hi), a piece at a time, and at once the rule's step on that piece.

    The packed weight lies in p from `at` on, its state in m, v, u at the same places. lo is a multiple of lanes. hi
    too, or the end of the layer: the last block is updated whole, its padding with the zeros of dy's.
    piece: (PIECE * PANEL * lanes,)  lists: as in `linear_forward`
    """
    lanes = piece.size // (PIECE * PANEL)
    j = lo
    while j < hi:
        left = (hi - j + lanes - 1) // lanes
        vectors = listed_width(left) if lists[BACKWARD] else panel_width(left)
        for i in range(0, inputs, PIECE):
            rows = min(PIECE, inputs - i)
            if lists[BACKWARD]:
                product_dw_listed(x, dy, piece, 0, lanes, tiles, lists, i, i + rows, j, j + vectors * lanes)
            else:
                product_dw_rows(x, dy, piece, 0, lanes, tiles, i, i + rows, j, j + vectors * lanes)
            for vector in range(vectors):
                start = at + (j + vector * lanes) * inputs + i * lanes
                step(rule, p, piece, vector * rows * lanes, m, v, u, start, rows * lanes, option, scale)
        j += vectors * lanes


@allocating
def linear_update_columns(x, dy, p, m, v, u, at, inputs, piece, tiles, lists, rule, option, scale, lo, hi):
    """`linear_update_weight` where x has only the inputs that lists[COLUMNS] names: the gradient of the others is +0.

    They take their steps too, unless lists[OWED] says that somebody will make up for them. Neighbours go together.
    """
    lanes, named, j = piece.size // (PIECE * PANEL), lists[COLUMNS], lo
    zeros = np.zeros(PIECE * lanes, piece.dtype)
    while j < hi:
        vectors, done = listed_width((hi - j + lanes - 1) // lanes), 0
        for i in range(0, lists[INPUTS], PIECE):
            rows = min(PIECE, lists[INPUTS] - i)
            product_dw_listed(x, dy, piece, 0, lanes, tiles, lists, i, i + rows, j, j + vectors * lanes)
            r = 0
            while r < rows:
                first = lists[named + i + r]
                many = 1
                while r + many < rows and lists[named + i + r + many] == first + many:
                    many += 1
                for vector in range(vectors):
                    start = at + (j + vector * lanes) * inputs
                    if lists[OWED] == 0:
                        sweep(rule, p, zeros, m, v, u, start, done, first, lanes, option, scale)
                    g = (vector * rows + r) * lanes
                    step(rule, p, piece, g, m, v, u, start + first * lanes, many * lanes, option, scale)
                done, r = first + many, r + many
        if lists[OWED] == 0:
            for vector in range(vectors):
                sweep(rule, p, zeros, m, v, u, at + (j + vector * lanes) * inputs, done, inputs, lanes, option, scale)
        j += vectors * lanes


@inner
def sweep(rule, p, zeros, m, v, u, start, first, last, lanes, option, scale):
    """The rule's step without a gradient, on the inputs [first, last) of a block."""
    for i in range(first, last, PIECE):
        step(rule, p, zeros, 0, m, v, u, start + i * lanes, min(PIECE, last - i) * lanes, option, scale)


@kernel
def linear_update_bias(dy, p, m, v, u, at, piece, rule, option, scale, lo, hi):
    """db = Σₙ dy  of the columns [lo, hi), and the rule's step on it: b lies in p from `at` on."""
    for j in range(lo, hi, piece.size):
        columns = min(hi - j, piece.size)
        column_sums(dy, piece, j, j + columns)
        step(rule, p, piece, 0, m, v, u, at + j, columns, option, scale)
