"""Layer norm (Ba, Kiros, Hinton, 2016): each row is brought to mean 0 and spread 1 over its columns.

    x̂ = (x - mean) rstd,   y = gamma x̂ + beta,   rstd = 1 / √(variance + eps), the variance over C

x, y, dy, dx: (N, >= C)   weights: gamma, beta and dweights: dgamma, dbeta, (2, >= C)   state: mean, rstd, (2, >= N)
numbers: (eps,)   C is `columns`, without padding. A thread owns rows; the gradients of gamma and beta are sums over
rows, and for them it owns columns.
"""

import numpy as np

from .jit import inner, kernel


@inner
def moments(row, eps):
    """(mean, rstd) of a row. The mean is found first and the variance from x - mean, as in batch norm."""
    number = row.dtype.type
    mean, variance = number(0), number(0)
    for c in range(row.size):
        mean += row[c]
    mean /= number(row.size)
    for c in range(row.size):
        variance += (row[c] - mean) * (row[c] - mean)
    return mean, number(1) / np.sqrt(variance / number(row.size) + eps)


@kernel
def layernorm_forward(x, y, weights, state, numbers, columns, lo, hi):
    """y = gamma x̂ + beta  for the rows [lo, hi); mean and rstd are kept for the way back."""
    eps, g, b = x.dtype.type(numbers[0]), weights[0, :columns], weights[1, :columns]
    for n in range(lo, hi):
        row, target = x[n, :columns], y[n, :columns]
        mean, rstd = moments(row, eps)
        state[0, n], state[1, n] = mean, rstd
        for c in range(row.size):
            target[c] = (row[c] - mean) * rstd * g[c] + b[c]


@kernel
def layernorm_backward(dy, x, dx, weights, dweights, state, numbers, columns, lo, hi):
    """dx = rstd (d - Σ_c d / C - x̂ Σ_c d x̂ / C),  d = gamma dy,  for the rows [lo, hi).

    The two last terms are what the row's mean and variance send back.
    """
    count, g = x.dtype.type(columns), weights[0, :columns]
    for n in range(lo, hi):
        above, row, below = dy[n, :columns], x[n, :columns], dx[n, :columns]
        mean, rstd = state[0, n], state[1, n]
        total, along = x.dtype.type(0), x.dtype.type(0)
        for c in range(row.size):
            d = above[c] * g[c]
            total += d
            along += d * ((row[c] - mean) * rstd)
        total, along = total / count, along / count
        for c in range(row.size):
            below[c] = rstd * (above[c] * g[c] - total - (row[c] - mean) * rstd * along)


@kernel
def layernorm_weights(dy, x, dweights, state, numbers, columns, lo, hi):
    """dgamma = Σₙ dy x̂,  dbeta = Σₙ dy  for the columns [lo, hi), row after row."""
    dg, db = dweights[0, lo:hi], dweights[1, lo:hi]
    dg[:] = 0
    db[:] = 0
    for n in range(x.shape[0]):
        above, row = dy[n, lo:hi], x[n, lo:hi]
        mean, rstd = state[0, n], state[1, n]
        for o in range(hi - lo):
            dg[o] += above[o] * (row[o] - mean) * rstd
            db[o] += above[o]


@kernel
def layernorm_eval_forward(x, y, weights, state, numbers, columns, lo, hi):
    """As in training; nothing is kept, so that threads with rows of their own need no state."""
    eps, g, b = x.dtype.type(numbers[0]), weights[0, :columns], weights[1, :columns]
    for n in range(lo, hi):
        row, target = x[n, :columns], y[n, :columns]
        mean, rstd = moments(row, eps)
        for c in range(row.size):
            target[c] = (row[c] - mean) * rstd * g[c] + b[c]
