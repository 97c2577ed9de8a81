"""The order of rows: a permutation that is a function of whole numbers, such as (seed, epoch), here and for ever.

The bits are those of NumPy 2's `default_rng(seeds).permutation(n)`. NumPy may change its own; a training that goes on
after an upgrade needs the old order. Sources: O'Neill, PCG, Harvey Mudd technical report HMC-CS-2014-0905 (PCG64 is
its XSL-RR 128/64), and O'Neill, Developing a seed_seq alternative (2015), for how seeds are mixed.
"""

import numpy as np

from .jit import inner, kernel

WORD, POOL = 0xFFFFFFFF, 4  # words have 32 bits; so many of them are mixed
BLOCKS = 16  # of a window: so many places of the data are in it
MULTIPLIER_HIGH, MULTIPLIER_LOW = np.uint64(0x2360ED051FC65DA4), np.uint64(0x4385DF649FCCF645)
MULTIPLIER = int(MULTIPLIER_HIGH) << 64 | int(MULTIPLIER_LOW)
HALF, LOW = np.uint64(32), np.uint64(WORD)
ONE, SIX, FULL = np.uint64(1), np.uint64(58), np.uint64(64)


def permutation(rows, *seeds):
    """`rows`, (n,) int64, in the order that these whole numbers >= 0 give: a fresh array."""
    order = np.array(rows, np.int64)
    shuffle(order, _stream(seeds))
    return order


def windowed(rows, window, *seeds):
    """`rows`, (n,) int64, shuffled so that they are read nearly as they lie: a fresh array, of these numbers alone.

    Blocks of window // BLOCKS rows, the last perhaps shorter, come in the order of a random permutation; then each
    window, `window` rows of what came, is permuted as a whole. Both by `shuffle`, with one stream after the other: all
    orders of a window are equally likely, and it has rows of BLOCKS places of the whole, or more. A window of n rows
    or more is `permutation`.
    """
    if window >= len(rows):
        return permutation(rows, *seeds)
    stream, block = _stream(seeds), max(window // BLOCKS, 1)
    blocks = np.arange(-(-len(rows) // block), dtype=np.int64)
    shuffle(blocks, stream)
    counts = np.minimum(block, len(rows) - blocks * block)
    places = np.repeat(blocks * block - (np.cumsum(counts) - counts), counts) + np.arange(len(rows))
    order = np.ascontiguousarray(rows, np.int64)[places]
    for first in range(0, len(order), window):
        shuffle(order[first : first + window], stream)
    return order


@kernel
def shuffle(order, stream):
    """Fisher and Yates: from the last place down, each changes places with one of those up to it, drawn with `stream`.

    order: (n,) int64   stream: (4,) uint64, the high and the low half of PCG64's state and of its increment; both
    change. A place up to i is drawn as the lowest bits of a word, again where they are above i: none is likelier.
    """
    spare, there, mask = np.uint64(0), False, ONE
    while mask < np.uint64(order.size):
        mask = mask << ONE | ONE
    for i in range(order.size - 1, 0, -1):
        if np.uint64(i) <= mask >> ONE:
            mask >>= ONE
        j = np.uint64(i) + ONE
        while j > np.uint64(i):
            if i > WORD:
                word = _next(stream)
            elif there:
                word, there = spare, False
            else:
                both = _next(stream)
                word, spare, there = both & LOW, both >> HALF, True
            j = word & mask
        order[i], order[j] = order[j], order[i]


@inner
def _next(stream):
    """64 random bits: state ← state * multiplier + increment  modulo 2¹²⁸; its halves, xor, turned by its top bits."""
    high, low = stream[0], stream[1]
    a, b, c, d = low >> HALF, low & LOW, MULTIPLIER_LOW >> HALF, MULTIPLIER_LOW & LOW
    middle = (b * d >> HALF) + (a * d & LOW) + (b * c & LOW)
    carried = a * c + (a * d >> HALF) + (b * c >> HALF) + (middle >> HALF)  # the high half of low * MULTIPLIER_LOW
    high = carried + high * MULTIPLIER_LOW + low * MULTIPLIER_HIGH + stream[2]
    low = low * MULTIPLIER_LOW + stream[3]
    if low < stream[3]:
        high += ONE
    stream[0], stream[1] = high, low
    bits, turn = high ^ low, high >> SIX
    return bits >> turn | bits << ((FULL - turn) & np.uint64(63))


def _stream(seeds):
    """The start of a stream: the words of the seeds are mixed into a pool, and 256 bits are drawn from it."""
    words = [word for seed in seeds for word in _words(int(seed))]
    times = _Odd(0x43B0D7E5, 0x931E8875)
    pool = [times.scatter(word) for word in (words + [0] * POOL)[:POOL]]
    for word in range(POOL):
        for other in range(POOL):
            if other != word:
                pool[other] = _mixed(pool[other], times.scatter(pool[word]))
    for word in words[POOL:]:
        pool = [_mixed(one, times.scatter(word)) for one in pool]
    times = _Odd(0x8B51F9DD, 0x58F38DED)
    drawn = [times.scatter(pool[k % POOL]) for k in range(8)]
    high, low, top, bottom = (drawn[2 * k] | drawn[2 * k + 1] << 32 for k in range(4))
    increment = (top << 65 | bottom << 1 | 1) % 2**128
    state = ((increment + (high << 64 | low)) * MULTIPLIER + increment) % 2**128
    return np.array([number >> shift & 2**64 - 1 for number in (state, increment) for shift in (64, 0)], np.uint64)


class _Odd:
    """Scatters words; the odd number that it multiplies by goes on with each."""

    def __init__(self, start, factor):
        self.number, self.factor = start, factor

    def scatter(self, word):
        word ^= self.number
        self.number = self.number * self.factor & WORD
        word = word * self.number & WORD
        return word ^ word >> 16


def _mixed(a, b):
    """One word of two."""
    word = (0xCA01F9DD * a - 0x4973F715 * b) & WORD
    return word ^ word >> 16


def _words(number):
    """A whole number in words, the lowest first; 0 has one."""
    words = [number & WORD]
    while number := number >> 32:
        words.append(number & WORD)
    return words
