"""What is not zero in a batch, as lists: the products of the first layer leave out the rest.

81 % of MNIST's pixels are 0, and one-hot columns, counts and TF-IDF are emptier. A tile of the product y = x w takes a
few rows of x together, and needs only the inputs that are not 0 in all of them; a tile of dw = xᵀ dy takes a few inputs
together, and needs only the rows of the batch that are not 0 in all of those. Both come from one bit a number:

    bits    (N, words) uint64, bit i of word k: whether x[n, 64 k + i] is not 0
    lists   int32, all in one array: a head, the places below; then, for each group of rows, how many inputs it needs
            and which, ascending; for each group of inputs, how many rows it needs and which

Leaving out + 0 w changes no bit of a sum that is finite: see the tile in `simd`. A weight of inf or NaN counts for the
rows whose input is not 0; by the dense tile, 0 times inf would have made NaN of the others too.
Where most numbers are not 0 the lists say so, and the dense tile runs.
"""

import numpy as np

from . import forms
from .jit import inner
from .simd import LISTED_ROWS, NARROW_ROWS, VECTOR_BYTES, count_bits, nonzero_bits, view, write_places

# Places in the head. FORWARD, BACKWARD: 1 where y, dw follow lists. INPUTS: of x. GROUP: rows, or inputs, that a tile
# takes together. *_COUNTS, *_LISTS: where they begin; *_ROOM: from one list to the next. IN_W: where the lists of
# inputs begin as numbers of rows of w. COLUMNS: where the numbers of the inputs begin that x has, -1 where it has all.
# FIRST: the group that the first row of x is in. OWED: 1 where inputs that x lacks take no step now.
FORWARD, BACKWARD, INPUTS, GROUP, FIRST, COLUMNS, OWED = 0, 1, 2, 3, 4, 5, 6
IN_COUNTS, IN_LISTS, IN_W, IN_ROOM, ROW_COUNTS, ROW_LISTS, ROW_ROOM = 7, 8, 9, 10, 11, 12, 13
HEAD = 16
ROWS = 8  # that are gathered and marked together
MOST = 2**31 - 1  # numbers of the lists of a batch
SPARE = 8  # numbers after a list that are written beyond its end
WORTH = 0.7  # lists that hold more than this part of all are not followed: the dense tile has more rows, and no list

NO_LISTS = np.array([-1 if place == COLUMNS else 0 for place in range(HEAD)], np.int32)


def lists_size(rows: int, inputs: int, columns: bool = False) -> int:
    """Numbers that the lists of up to so many rows of so many inputs take; columns: of x that has not all inputs.

    Places in the lists are int32: above MOST there can be none, and a batch is taken as if it had no zeros.
    """
    groups, across = -(-rows // LISTED_ROWS), -(-inputs // LISTED_ROWS)
    own = groups * (1 + (inputs + SPARE) * (1 + columns)) + across * (1 + rows + SPARE)
    size = HEAD + own + inputs * columns
    return size if size <= MOST else HEAD


def words(inputs: int) -> int:
    """Words of bits that a row of so many inputs takes."""
    return -(-inputs // 64)


@inner
def mark(x, inputs, bits, first, last):
    """bits of the rows [first, last) of x: (N, >= inputs)."""
    numbers, width = view(x, 0, (x.size,)), x.shape[1]
    for n in range(first, last):
        for k in range(bits.shape[1]):
            at, left = n * width + 64 * k, inputs - 64 * k
            if at + 64 <= x.size:
                word = nonzero_bits(numbers, at)
                if left < 64:  # the rest are numbers of the next row
                    word &= (np.uint64(1) << np.uint64(left)) - np.uint64(1)
            else:
                word = np.uint64(0)
                for i in range(min(left, 64)):
                    word |= np.uint64(numbers[at + i] != 0) << np.uint64(i)
            bits[n, k] = word


@inner
def append(word, size, first, lists, at):
    """Write first + i for each bit i < size of a word from lists[at] on, ascending; returns the place after the last.

    A byte at a time, eight numbers by a table, and on by as many as count: no branch that nobody can guess.
    """
    for byte in range((size + 7) // 8):
        eight = (word >> np.uint64(8 * byte)) & np.uint64(255)
        write_places(eight, first + 8 * byte, lists, at)
        at += count_bits(eight)
    return at


@inner
def turn(square):
    """A square of 64 x 64 bits turned over its diagonal: bit j of word i becomes bit i of word j.

    For s = 32, 16 ... 1 each pair of words (r, r + s) swaps its off-diagonal s x s blocks.
    Source: H. Warren, Hacker's Delight (2012), 7-3.
    """
    s, mask = 32, np.uint64(0xFFFFFFFF)
    while s > 0:
        by = np.uint64(s)
        for first in range(0, 64, 2 * s):
            for r in range(first, first + s):
                swapped = ((square[r] >> by) ^ square[r + s]) & mask
                square[r] ^= swapped << by
                square[r + s] ^= swapped
        s //= 2
        mask ^= mask << np.uint64(s)


@inner
def list_inputs(bits, N, lists):
    """The lists of inputs of each group of rows; returns how many numbers they hold."""
    group, held = lists[GROUP], 0
    for g in range((N + group - 1) // group):
        start = lists[IN_LISTS] + g * lists[IN_ROOM]
        at = start
        for k in range(bits.shape[1]):
            word = np.uint64(0)
            for n in range(group * g, min(group * g + group, N)):
                word |= bits[n, k]
            if word != 0:
                at = append(word, min(lists[INPUTS] - 64 * k, 64), 64 * k, lists, at)
        lists[lists[IN_COUNTS] + g] = at - start
        held += at - start
    return held


@inner
def list_rows(bits, N, lists, square):
    """The lists of rows of each group of inputs; returns how many numbers they hold.    square: (64,) uint64

    Of 64 rows, and as many words as a group has inputs: a bit for each group says whether it is needed, and the bits
    of the words lie beside each other. Turned, a word holds the rows that one group needs.
    """
    group, held, counts = lists[GROUP], 0, lists[ROW_COUNTS]
    groups, each = (lists[INPUTS] + group - 1) // group, 64 // group
    lowest = np.uint64(0x1111111111111111 if group == 4 else 0x0101010101010101)
    for q in range(groups):
        lists[counts + q] = 0
    for first in range(0, N, 64):
        rows = min(64, N - first)
        for k in range(0, bits.shape[1], group):
            wide = min(group, bits.shape[1] - k)
            for n in range(64):
                square[n] = 0
            for n in range(rows):
                together = np.uint64(0)
                for j in range(wide):
                    word = bits[first + n, k + j]
                    word |= word >> np.uint64(1)
                    word |= word >> np.uint64(2)
                    if group == 8:
                        word |= word >> np.uint64(4)
                    together |= (word & lowest) << np.uint64(j)
                square[n] = together
            turn(square)
            for j in range(wide):
                q = (k + j) * each
                for i in range(min(each, groups - q)):
                    word = square[group * i + j]
                    if word != 0:
                        start = lists[ROW_LISTS] + (q + i) * lists[ROW_ROOM] + lists[counts + q + i]
                        taken = append(word, rows, first, lists, start) - start
                        lists[counts + q + i] += taken
                        held += taken
    return held


@inner
def are_full(bits, rows, inputs):
    """Whether so many of the inputs are not zero in the first rows together that no list would be followed."""
    wanted = 0
    for k in range(bits.shape[1]):
        word = np.uint64(0)
        for n in range(rows):
            word |= bits[n, k]
        wanted += count_bits(word)
    return wanted > WORTH * inputs


@inner
def gather_and_mark(gather, source, order, start, scale, inputs, x, bits):
    """x and its bits, some rows at a time: they are marked while they are in the first-level cache.

    Where the first rows are full no others are marked: `make_lists` will look no further either.
    """
    full = False
    for n in range(0, x.shape[0], ROWS):
        last = min(n + ROWS, x.shape[0])
        forms.call_gather(gather, source, order, start + n, scale, x[n:last])
        if not full:
            mark(x, inputs, bits, n, last)
            full = n == 0 and are_full(bits, min(last, LISTED_ROWS), inputs)


@inner
def gather_batch(gather, distinct, source, order, start, N, scale, inputs, width, x, bits, marks, columns):
    """(inputs, width) of a batch of N rows in x, all of them or, with the address `distinct`, those that it needs."""
    if distinct != 0:
        forms.call_distinct(distinct, source, order, start, N, scale, x, bits, marks, columns)
        inputs = columns[0]
        lanes = VECTOR_BYTES // x.itemsize
        return inputs, (inputs + lanes - 1) // lanes * lanes
    rows = view(x, 0, (N, width))
    gather_and_mark(gather, source, order, start, scale, inputs, rows, view(bits, 0, (N, (inputs + 63) // 64)))
    return inputs, width


@inner
def make_lists(N, inputs, vectors, backward, bits, square, columns, lists):
    """Fill `lists` for a batch of N rows from its bits, (>= N, words).    square: (64,) uint64

    vectors: how many the widest tile of the layer is to have; backward: whether the lists of rows are wanted too.
    columns: how many inputs x has and which, as `sparse.gather_distinct` says it; none where x has all.
    """
    always = columns.size > 0
    group = NARROW_ROWS if vectors == 1 else LISTED_ROWS
    groups, rows_of = (N + group - 1) // group, (inputs + group - 1) // group
    for place in range(HEAD):
        lists[place] = 0
    lists[INPUTS], lists[GROUP], lists[COLUMNS] = inputs, group, -1
    lists[IN_ROOM], lists[ROW_ROOM] = inputs + SPARE, N + SPARE
    lists[IN_COUNTS], lists[IN_LISTS] = HEAD, HEAD + groups
    lists[IN_W] = lists[IN_LISTS]
    lists[ROW_COUNTS] = lists[IN_LISTS] + groups * lists[IN_ROOM]
    lists[ROW_LISTS] = lists[ROW_COUNTS] + rows_of
    if not always and list_inputs(bits, min(N, group), lists) > WORTH * inputs:  # so are, most likely, the others
        return
    lists[FORWARD] = list_inputs(bits, N, lists) <= WORTH * inputs * groups or always
    if lists[FORWARD] and backward:
        lists[BACKWARD] = list_rows(bits, N, lists, square) <= WORTH * N * rows_of or always
    if always:
        name_inputs(groups, columns, lists)


@inner
def name_inputs(groups, columns, lists):
    """Write down which rows of w the inputs of x are, one by one and in the order of each group's list."""
    lists[COLUMNS] = lists[ROW_LISTS] + (lists[INPUTS] + lists[GROUP] - 1) // lists[GROUP] * lists[ROW_ROOM]
    lists[IN_W] = lists[COLUMNS] + lists[INPUTS]
    for i in range(lists[INPUTS]):
        lists[lists[COLUMNS] + i] = columns[1 + i]
    for g in range(groups):
        at = g * lists[IN_ROOM]
        for k in range(lists[lists[IN_COUNTS] + g]):
            lists[lists[IN_W] + at + k] = columns[1 + lists[lists[IN_LISTS] + at + k]]
