"""Dropout with inverted scaling (Srivastava et al., JMLR 2014).    numbers: (p,)

x, y, dy, dx: (N, columns), filled for [lo, hi)
"""

import numpy as np

from .jit import kernel
from .random import column_bits, row_key


@kernel
def dropout_forward(x, y, numbers, seed, step, layer, lo, hi):
    """y = x * scale with probability 1 - p, else x * 0;  scale = 1 / (1 - p), so that the mean of y is x.

    A number is dropped when the upper 32 of its random bits, as a fraction of 2³², are below p. x * 0 and not 0:
    NaN stays NaN.
    """
    p = numbers[0]
    threshold = np.uint64(p * 4294967296.0)
    scale = x.dtype.type(1 / (1 - p) if p < 1 else 0)
    zero = x.dtype.type(0)
    for n in range(x.shape[0]):
        source, target, key = x[n, lo:hi], y[n, lo:hi], row_key(seed, step, layer, n)
        for o in range(hi - lo):
            dropped = column_bits(key, lo + o) >> np.uint64(32) < threshold
            target[o] = source[o] * (zero if dropped else scale)


@kernel
def dropout_backward(dy, dx, numbers, seed, step, layer, lo, hi):
    """dx = dy * scale where x was kept, else dy * 0: the same mask, made again from its counters."""
    dropout_forward(dy, dx, numbers, seed, step, layer, lo, hi)
