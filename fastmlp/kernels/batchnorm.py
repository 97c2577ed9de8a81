"""Batch norm (Ioffe and Szegedy, ICML 2015): each column is brought to mean 0 and spread 1 over the batch.

    x̂ = (x - mean) rstd,   y = gamma x̂ + beta,   rstd = 1 / √(variance + eps)

x, y, dy, dx: (N, columns)   weights: gamma, beta and dweights: dgamma, dbeta, (2, columns)
state: running_mean, running_var, mean, rstd, (4, columns)   numbers: (momentum, eps)
Every kernel fills the columns [lo, hi), which need nothing from the others; `columns`, their number without padding,
is for kinds that need it.
"""

import numpy as np

from .jit import kernel


@kernel
def batchnorm_forward(x, y, weights, state, numbers, columns, lo, hi):
    """Training: mean and rstd of the batch, and  running = (1 - momentum) running + momentum batch.

    The batch is normalised by its biased variance (over N); the running variance takes the unbiased one (over
    N - 1), as in PyTorch. N is at least 2. The mean is found first and the variance from x - mean: E[x²] - E[x]²
    loses every digit when the mean is large.
    """
    N = x.shape[0]
    number = x.dtype.type
    momentum, eps, one, count = number(numbers[0]), number(numbers[1]), number(1), number(N)
    mu, r, g, b = state[2, lo:hi], state[3, lo:hi], weights[0, lo:hi], weights[1, lo:hi]
    mu[:] = 0
    r[:] = 0
    for n in range(N):
        row = x[n, lo:hi]
        for o in range(hi - lo):
            mu[o] += row[o]
    for o in range(hi - lo):
        mu[o] /= count
    for n in range(N):
        row = x[n, lo:hi]
        for o in range(hi - lo):
            r[o] += (row[o] - mu[o]) * (row[o] - mu[o])
    run_mu, run_var = state[0, lo:hi], state[1, lo:hi]
    for o in range(hi - lo):
        run_mu[o] = (one - momentum) * run_mu[o] + momentum * mu[o]
        run_var[o] = (one - momentum) * run_var[o] + momentum * (r[o] / (count - one))
        r[o] = one / np.sqrt(r[o] / count + eps)
    for n in range(N):
        row, target = x[n, lo:hi], y[n, lo:hi]
        for o in range(hi - lo):
            target[o] = (row[o] - mu[o]) * r[o] * g[o] + b[o]


@kernel
def batchnorm_backward(dy, x, dx, weights, dweights, state, numbers, columns, lo, hi):
    """dgamma = Σₙ dy x̂,  dbeta = Σₙ dy,  dx = gamma rstd (dy - dbeta / N - x̂ dgamma / N).

    The two last terms are what the batch's mean and variance send back: they depend on every row.
    """
    N = x.shape[0]
    count = x.dtype.type(N)
    mu, r, g = state[2, lo:hi], state[3, lo:hi], weights[0, lo:hi]
    dg, db = dweights[0, lo:hi], dweights[1, lo:hi]
    dg[:] = 0
    db[:] = 0
    for n in range(N):
        above, row = dy[n, lo:hi], x[n, lo:hi]
        for o in range(hi - lo):
            dg[o] += above[o] * (row[o] - mu[o]) * r[o]
            db[o] += above[o]
    for n in range(N):
        above, row, below = dy[n, lo:hi], x[n, lo:hi], dx[n, lo:hi]
        for o in range(hi - lo):
            hat = (row[o] - mu[o]) * r[o]
            below[o] = g[o] * r[o] * (above[o] - db[o] / count - hat * (dg[o] / count))


@kernel
def batchnorm_eval_forward(x, y, weights, state, numbers, columns, lo, hi):
    """Evaluation: the running mean and variance stand for the batch's, and each row is on its own."""
    one, eps = x.dtype.type(1), x.dtype.type(numbers[1])
    mu, var, g, b = state[0, lo:hi], state[1, lo:hi], weights[0, lo:hi], weights[1, lo:hi]
    for n in range(x.shape[0]):
        row, target = x[n, lo:hi], y[n, lo:hi]
        for o in range(hi - lo):
            target[o] = (row[o] - mu[o]) * (one / np.sqrt(var[o] + eps)) * g[o] + b[o]


@kernel
def batchnorm_eval_backward(dy, x, dx, weights, dweights, state, numbers, columns, lo, hi):
    """dgamma = Σₙ dy x̂,  dbeta = Σₙ dy,  dx = gamma rstd dy: the running statistics are constants."""
    one, eps = x.dtype.type(1), x.dtype.type(numbers[1])
    mu, var, g = state[0, lo:hi], state[1, lo:hi], weights[0, lo:hi]
    dg, db = dweights[0, lo:hi], dweights[1, lo:hi]
    dg[:] = 0
    db[:] = 0
    for n in range(x.shape[0]):
        above, row, below = dy[n, lo:hi], x[n, lo:hi], dx[n, lo:hi]
        for o in range(hi - lo):
            r = one / np.sqrt(var[o] + eps)
            dg[o] += above[o] * (row[o] - mu[o]) * r
            db[o] += above[o]
            below[o] = g[o] * r * above[o]
