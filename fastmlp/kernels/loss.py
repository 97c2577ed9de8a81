"""Softmax cross-entropy in two steps: z -> log-probabilities -> loss.

    y[n, c] = z[n, c] - log Σ_k e^z[n, k]                        log_softmax
    loss = -Σₙ r[n] Σ_c q[n, c] y[n, c]                          nll_loss
    q[n, c] = (1 - s) [c = labels[n]] + s / C                    s: label smoothing (Szegedy et al., CVPR 2016)

N rows, C classes; z, y, dy, dz: (N, >= C); labels: (N,) integers in [0, C); r: (N,) the weight of each row, 1 / N
for the mean. A softmax needs its whole row: these are the only kernels that fill a range of rows [lo, hi).
"""

import numpy as np

from .jit import kernel


@kernel
def log_softmax_forward(z, y, classes, lo, hi):
    """y = z - top - log Σ e^(z - top), with the row's maximum `top`: no exponential overflows, and one is 1."""
    for n in range(lo, hi):
        row, out = z[n, :classes], y[n, :classes]
        top = row[0]
        for c in range(1, classes):
            if row[c] > top:
                top = row[c]
        total = z.dtype.type(0)
        for c in range(classes):
            total += np.exp(row[c] - top)
        shift = np.log(total)
        for c in range(classes):
            out[c] = row[c] - top - shift


@kernel
def log_softmax_backward(dy, y, dz, classes, lo, hi):
    """dz = dy - e^y Σ_c dy:  e^y is the softmax."""
    for n in range(lo, hi):
        above, out, below = dy[n, :classes], y[n, :classes], dz[n, :classes]
        total = y.dtype.type(0)
        for c in range(classes):
            total += above[c]
        for c in range(classes):
            below[c] = above[c] - np.exp(out[c]) * total


@kernel
def nll_loss_forward(y, labels, r, smoothing, classes, lo, hi):
    """Returns Σ over the rows [lo, hi) of  -r[n] Σ_c q[n, c] y[n, c], summed in float64."""
    number = y.dtype.type
    on, off = number(1 - smoothing), number(smoothing / classes)
    loss = 0.0
    for n in range(lo, hi):
        row = y[n, :classes]
        term = on * row[labels[n]]
        if smoothing > 0:
            total = number(0)
            for c in range(classes):
                total += row[c]
            term += off * total
        loss -= r[n] * term
    return loss


@kernel
def nll_loss_backward(dloss, labels, r, smoothing, dy, classes, lo, hi):
    """dy[n, c] = -dloss r[n] q[n, c]."""
    number = dy.dtype.type
    on, off, dloss = number(1 - smoothing), number(smoothing / classes), number(dloss)
    for n in range(lo, hi):
        out, label = dy[n, :classes], labels[n]
        for c in range(classes):
            q = on + off if c == label else off
            out[c] = -dloss * r[n] * q
