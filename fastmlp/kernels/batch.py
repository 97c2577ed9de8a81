"""A batch gathered row by row from a data set, and the fingerprint of an array."""

import numpy as np

from .jit import kernel


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
def fingerprint(array):
    """A 64-bit sum over a 1-d array of 4- or 8-byte numbers: Σ bits[i] c (2i + 1)  modulo 2⁶⁴, with an odd c.

    It changes when one number changes, in any bit; two changes that cancel out exactly go unseen.
    """
    bits = array.view(np.uint32)
    total, odd = np.uint64(0), np.uint64(0x9E3779B97F4A7C15)
    for i in range(bits.size):
        total += np.uint64(bits[i]) * (odd * np.uint64(2 * i + 1))
    return total
