"""The matrix product: the three products of a linear layer on one register tile.

    y = x w        product      x: (N, I)   w: (I, O)   y: (N, O)
    dw = xᵀ dy     product_dw   dy: (N, O)  dw: (I, O)
    dx = dy wᵀ     product_dx   dx: (N, I)

N rows of the batch, I inputs, O outputs. Arrays are C-contiguous. Columns come in blocks of one vector of `lanes`
numbers, and w is packed block by block: w[o // lanes, i, o % lanes], shape (blocks, I, lanes). The neurons of a
range of columns are then one contiguous piece of memory. y, dy and dx are padded to whole blocks; the padding of w
is zero, so the padding of y is zero too. x needs no padding: it is read number by number.

Each number is one sum in ascending order of its index, made by one thread. It does not depend on the tile, on the
range [lo, hi) that a call fills, or on the number of threads. `tiles` is the table of the tile's addresses, from
`tiles(dtype)`: the tile is compiled once, for all products that call it.

The tile after K. Goto and R. van de Geijn, Anatomy of High-Performance Matrix Multiplication, ACM TOMS 34 (2008).
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .jit import inner, kernel
from .lists import FIRST, FORWARD, GROUP, IN_COUNTS, IN_LISTS, IN_ROOM, IN_W, ROW_COUNTS, ROW_LISTS, ROW_ROOM
from .simd import (
    K_BLOCK,
    LISTED_VECTORS,
    TILE_PLACES,
    TILE_ROWS,
    TILE_VECTORS,
    multiply_listed_tile,
    multiply_tile,
    prefetch,
    transpose_block,
    view,
    write_tile_addresses,
)


@kernel
def tile_addresses(like, table):
    """Fill a table of TILE_PLACES numbers with the addresses of the tiles for the dtype of the array `like`."""
    write_tile_addresses(like, table)


@cache
def tiles(dtype: DTypeLike) -> NDArray[Any]:
    """The addresses of the register tile's shapes for float32 or float64, as every product takes them."""
    table = np.zeros(TILE_PLACES, np.int64)
    tile_addresses(np.zeros(2, dtype), table)
    return table


@inner
def panel_width(left):
    """Vectors of the next panel when `left` are to come: TILE_VECTORS, but not so that a single one remains."""
    return TILE_VECTORS if left == TILE_VECTORS or left > TILE_VECTORS + 1 else min(left, 2)


@inner
def multiply(a, a0, a_row, a_col, b, b0, b_row, b_vector, c, c0, c_row, c_vector, tiles, M, vectors, K, accumulate):
    """c[M, vectors * lanes] = a[M, K] b[K, vectors * lanes], or += ; the steps are those of `multiply_tile`.

    a, b, c are flat: one signature serves every product. Walks over c in panels of up to TILE_VECTORS vectors, and
    down each panel in tiles of up to TILE_ROWS rows.
    """
    for k in range(0, K, K_BLOCK):
        depth = min(K - k, K_BLOCK)
        j = 0
        while j < vectors:
            width = panel_width(vectors - j)
            i, rows = 0, TILE_ROWS
            while i < M:
                while rows > M - i:
                    rows //= 2
                multiply_tile(
                    tiles, rows, width,
                    a, a0 + i * a_row + k * a_col, a_row, a_col,
                    b, b0 + k * b_row + j * b_vector, b_row, b_vector,
                    c, c0 + i * c_row + j * c_vector, c_row, c_vector,
                    depth, accumulate or k > 0,
                )  # fmt: skip
                i += rows
            j += width


@inner
def listed_width(left):
    """Vectors of the next panel of a listed product when `left` are to come: up to LISTED_VECTORS, and even."""
    panels = (left + LISTED_VECTORS - 1) // LISTED_VECTORS
    return (left + panels - 1) // panels


@inner
def multiply_listed(
    a, a0, a_row, a_col, b, b0, b_row, b_vector, c, c0, c_row, c_vector, tiles, M, vectors, lists, group, counts, of_a,
    of_b, room,
):  # fmt: skip
    """`multiply` where each `group` of rows follows a list of its own.

    lists[counts + g]: how long that of group g is; it begins at of_a + g * room, and as rows of b at of_b + g * room.
    """
    j = 0
    while j < vectors:
        width = listed_width(vectors - j)
        i, g, rows = 0, 0, group
        while i < M:
            while rows > M - i:
                rows //= 2
            multiply_listed_tile(
                tiles, rows, width, a, a0 + i * a_row, a_row, a_col, b, b0 + j * b_vector, b_row, b_vector,
                c, c0 + i * c_row + j * c_vector, c_row, c_vector, lists[counts + g], False,
                lists, of_a + g * room, of_b + g * room,
            )  # fmt: skip
            i += rows
            g += (i & (group - 1)) == 0  # the last group may come in pieces
        j += width


@kernel
def product_listed(x, w, y, tiles, lists, lo, hi):
    """`product` where lists say so: of each group of rows only the inputs that are not 0 in all of them.

    x may have columns of its own; then the lists say which rows of w those are.
    """
    if lists[FORWARD] == 0:
        product(x, w, y, tiles, lo, hi)
        return
    _, I, lanes = w.shape
    first, room = lists[FIRST], lists[IN_ROOM]
    multiply_listed(
        view(x, 0, (x.size,)), 0, x.shape[1], 1, view(w, 0, (w.size,)), lo * I, lanes, I * lanes,
        view(y, 0, (y.size,)), lo, y.shape[1], lanes, tiles, x.shape[0], (hi - lo + lanes - 1) // lanes, lists,
        lists[GROUP], lists[IN_COUNTS] + first, lists[IN_LISTS] + first * room, lists[IN_W] + first * room, room,
    )  # fmt: skip


@kernel
def product(x, w, y, tiles, lo, hi):
    """y = x w  for the columns [lo, hi) of y.    x: (N, >= I)  w: (blocks, I, lanes)  y: (N, blocks * lanes)

    lo is a multiple of lanes. hi too, or the end of the layer: the last block is filled whole.
    """
    _, K, lanes = w.shape
    vectors = (hi - lo + lanes - 1) // lanes
    multiply(
        view(x, 0, (x.size,)), 0, x.shape[1], 1, view(w, 0, (w.size,)), lo * K, lanes, K * lanes,
        view(y, 0, (y.size,)), lo, y.shape[1], lanes, tiles, x.shape[0], vectors, K, False
    )  # fmt: skip


@kernel
def product_dw(x, dy, dw, tiles, lo, hi):
    """dw = xᵀ dy  for the columns [lo, hi) of dw.    x: (N, >= I)  dy: (N, blocks * lanes)  dw: (blocks, I, lanes)"""
    _, I, lanes = dw.shape
    product_dw_rows(x, dy, view(dw, 0, (dw.size,)), lo * I, lanes, tiles, 0, I, lo, hi)


@inner
def product_dw_rows(x, dy, dw, at, lanes, tiles, first, last, lo, hi):
    """The rows [first, last) of dw for the columns [lo, hi), as (blocks, last - first, lanes) from dw[at] on."""
    rows, vectors = last - first, (hi - lo + lanes - 1) // lanes
    multiply(
        view(x, 0, (x.size,)), first, 1, x.shape[1], view(dy, 0, (dy.size,)), lo, dy.shape[1], lanes,
        dw, at, lanes, rows * lanes, tiles, rows, vectors, x.shape[0], False,
    )  # fmt: skip


@inner
def product_dw_listed(x, dy, dw, at, lanes, tiles, lists, first, last, lo, hi):
    """`product_dw_rows`: of each group of inputs from the rows that are not 0 in all of them; `first` begins one."""
    rows, group, room = last - first, lists[GROUP], lists[ROW_ROOM]
    q = first // group
    of_x = lists[ROW_LISTS] + q * room
    multiply_listed(
        view(x, 0, (x.size,)), first, 1, x.shape[1], view(dy, 0, (dy.size,)), lo, dy.shape[1], lanes,
        dw, at, lanes, rows * lanes, tiles, rows, (hi - lo + lanes - 1) // lanes, lists,
        group, lists[ROW_COUNTS] + q, of_x, of_x, room,
    )  # fmt: skip


@kernel
def product_dx(dy, w, scratch, dx, tiles, lo, hi):
    """dx = dy wᵀ  for the columns [lo, hi) of dx.    dy: (N, blocks * lanes)  w: (blocks, I, lanes)  dx: (N, padded I)

    A vector of dx needs wᵀ with the inputs side by side. It is made in `scratch`, a piece of K_BLOCK outputs and up
    to TILE_VECTORS vectors of inputs at a time: scratch[o, vector, lane] = w[o // lanes, i, o % lanes]. Within a
    piece, w is asked for two blocks ahead: the blocks lie I * lanes numbers apart, and the processor does not guess
    that step.    scratch: (>= K_BLOCK * TILE_VECTORS * lanes,); lo is a multiple of lanes.
    """
    blocks, I, lanes = w.shape
    vectors = (hi - lo + lanes - 1) // lanes
    depth = K_BLOCK // lanes
    for start in range(0, blocks, depth):
        end, j = min(start + depth, blocks), 0
        while j < vectors:
            width = panel_width(vectors - j)
            first = lo + j * lanes
            for block in range(start, end):
                if block + 2 < end:
                    for i in range(first, min(first + width * lanes, I)):
                        prefetch(w, ((block + 2) * I + i) * lanes)
                for v in range(width):
                    i, at = first + v * lanes, ((block - start) * lanes * width + v) * lanes
                    if i + lanes <= I:
                        transpose_block(w, (block * I + i) * lanes, lanes, scratch, at, width * lanes)
                    else:
                        for row in range(lanes):
                            for lane in range(lanes):
                                inside = i + lane < I
                                scratch[at + row * width * lanes + lane] = w[block, i + lane, row] if inside else 0
            multiply(
                view(dy, 0, (dy.size,)), start * lanes, dy.shape[1], 1, scratch, 0, width * lanes, lanes,
                view(dx, 0, (dx.size,)), first, dx.shape[1], lanes, tiles, dy.shape[0], width, (end - start) * lanes,
                start > 0,
            )  # fmt: skip
            j += width


@kernel
def pack(weight, w, lo, hi):
    """w[o // lanes, i, o % lanes] = weight[o, i]  for the outputs [lo, hi).    weight: (O, I)  w: (blocks, I, lanes)

    lo is a multiple of lanes; the padding of the last block becomes zero.
    """
    (O, I), lanes = weight.shape, w.shape[2]
    for first in range(lo, hi, lanes):
        block = first // lanes
        whole = I // lanes * lanes if first + lanes <= O else 0
        for i in range(0, whole, lanes):
            transpose_block(weight, first * I + i, I, w, (block * I + i) * lanes, lanes)
        for i in range(whole, I):
            for lane in range(lanes):
                w[block, i, lane] = weight[first + lane, i] if first + lane < O else 0


@kernel
def unpack(w, weight, lo, hi):
    """weight[o, i] = w[o // lanes, i, o % lanes]  for the outputs [lo, hi): the way back from `pack`."""
    (O, I), lanes = weight.shape, w.shape[2]
    for first in range(lo, hi, lanes):
        block = first // lanes
        whole = I // lanes * lanes if first + lanes <= O else 0
        for i in range(0, whole, lanes):
            transpose_block(w, (block * I + i) * lanes, lanes, weight, first * I + i, I)
        for i in range(whole, I):
            for lane in range(min(lanes, O - first)):
                weight[first + lane, i] = w[block, i, lane]
