"""Counter-based random bits: a function of (seed, step, layer, row, column), with no state to carry or to share.

Any thread can make any bit, in any order, and a check can make the same bits again.
"""

import numpy as np

from .jit import inner

GAMMA = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ / golden ratio, odd: the step of SplitMix64
MIX1, MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
S30, S27, S31 = np.uint64(30), np.uint64(27), np.uint64(31)


@inner
def mix(z):
    """The output function of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): a bijection that scatters 64 bits."""
    z = (z ^ (z >> S30)) * MIX1
    z = (z ^ (z >> S27)) * MIX2
    return z ^ (z >> S31)


@inner
def row_key(seed, step, layer, row):
    """The start of the bit stream of one row: each counter in turn is added to the mixed ones before it."""
    key = mix(np.uint64(seed) + GAMMA)
    key = mix(key + np.uint64(step) + GAMMA)
    key = mix(key + np.uint64(layer) + GAMMA)
    return mix(key + np.uint64(row) + GAMMA)


@inner
def column_bits(key, column):
    """64 random bits for a column: output number `column` of the SplitMix64 stream that starts at `key`."""
    return mix(key + (np.uint64(column) + np.uint64(1)) * GAMMA)
