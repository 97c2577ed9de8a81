"""Losses of numbers that are to be met: each output z[n, c] has a target t[n, c], d = z - t.

    loss of a row = Σ_c f(z[n, c], t[n, c]) / C        dz[n, c] = r[n] f'(z[n, c], t[n, c]) / C

The form of the pairs and of the scores is that of `loss`.
"""

import numpy as np

from .jit import kernel


@kernel
def mse_forward(z, targets, r, kept, terms, numbers, columns, lo, hi):
    """terms[0, n] = r[n] Σ_c (z[n, c] - t[n, c])² / C.    targets t: (N, C)"""
    number = z.dtype.type
    for n in range(lo, hi):
        total = number(0)
        for c in range(columns):
            d = z[n, c] - number(targets[n, c])
            total += d * d
        terms[0, n] = r[n] * (total / number(columns))


@kernel
def mse_backward(z, targets, r, kept, dz, numbers, columns, lo, hi):
    """dz = 2 r[n] (z - t) / C."""
    number = z.dtype.type
    for n in range(lo, hi):
        factor = number(2) * r[n] / number(columns)
        for c in range(columns):
            dz[n, c] = factor * (z[n, c] - number(targets[n, c]))


@kernel
def l1_forward(z, targets, r, kept, terms, numbers, columns, lo, hi):
    """terms[0, n] = r[n] Σ_c |z[n, c] - t[n, c]| / C.    targets t: (N, C)"""
    number = z.dtype.type
    for n in range(lo, hi):
        total = number(0)
        for c in range(columns):
            total += abs(z[n, c] - number(targets[n, c]))
        terms[0, n] = r[n] * (total / number(columns))


@kernel
def l1_backward(z, targets, r, kept, dz, numbers, columns, lo, hi):
    """dz = r[n] sign(z - t) / C, 0 where z is t."""
    number = z.dtype.type
    for n in range(lo, hi):
        factor = r[n] / number(columns)
        for c in range(columns):
            d = z[n, c] - number(targets[n, c])
            dz[n, c] = factor if d > 0 else -factor if d < 0 else factor * d


@kernel
def huber_forward(z, targets, r, kept, terms, numbers, columns, lo, hi):
    """terms[0, n] = r[n] Σ_c h / C,  h = d² / 2 where |d| <= delta, else delta (|d| - delta / 2).

    numbers: (delta,)  d = z - t
    """
    number = z.dtype.type
    delta, half = number(numbers[0]), number(0.5)
    for n in range(lo, hi):
        total = number(0)
        for c in range(columns):
            d = abs(z[n, c] - number(targets[n, c]))
            total += half * d * d if d <= delta else delta * (d - half * delta)
        terms[0, n] = r[n] * (total / number(columns))


@kernel
def huber_backward(z, targets, r, kept, dz, numbers, columns, lo, hi):
    """dz = r[n] d / C where |d| <= delta, else r[n] delta sign(d) / C."""
    number = z.dtype.type
    delta = number(numbers[0])
    for n in range(lo, hi):
        factor = r[n] / number(columns)
        for c in range(columns):
            d = z[n, c] - number(targets[n, c])
            dz[n, c] = factor * (delta if d > delta else -delta if d < -delta else d)


@kernel
def smooth_l1_forward(z, targets, r, kept, terms, numbers, columns, lo, hi):
    """terms[0, n] = r[n] Σ_c s / C,  s = d² / (2 beta) where |d| < beta, else |d| - beta / 2.    numbers: (beta,)"""
    number = z.dtype.type
    beta, half = number(numbers[0]), number(0.5)
    for n in range(lo, hi):
        total = number(0)
        for c in range(columns):
            d = abs(z[n, c] - number(targets[n, c]))
            total += half * d * d / beta if d < beta else d - half * beta
        terms[0, n] = r[n] * (total / number(columns))


@kernel
def smooth_l1_backward(z, targets, r, kept, dz, numbers, columns, lo, hi):
    """dz = r[n] d / beta / C where |d| < beta, else r[n] sign(d) / C, 0 where d is."""
    number = z.dtype.type
    beta = number(numbers[0])
    for n in range(lo, hi):
        factor = r[n] / number(columns)
        for c in range(columns):
            d = z[n, c] - number(targets[n, c])
            if abs(d) < beta:
                dz[n, c] = factor * d / beta
            else:
                dz[n, c] = factor if d > 0 else -factor if d < 0 else factor * d


@kernel
def poisson_nll_forward(z, targets, r, kept, terms, numbers, columns, lo, hi):
    """terms[0, n] = r[n] Σ_c p / C,  p = e^z - t z, or z - t log(z + eps).    numbers: (log_input, full, eps)

    With `full`, Stirling's log t! = t log t - t + log(2πt) / 2 is added where t > 1.
    """
    number = z.dtype.type
    log_input, full, eps = numbers[0] != 0, numbers[1] != 0, number(numbers[2])
    for n in range(lo, hi):
        total = number(0)
        for c in range(columns):
            value, t = z[n, c], number(targets[n, c])
            total += np.exp(value) - t * value if log_input else value - t * np.log(value + eps)
            if full and t > 1:
                total += t * np.log(t) - t + number(0.5) * np.log(number(2 * np.pi) * t)
        terms[0, n] = r[n] * (total / number(columns))


@kernel
def poisson_nll_backward(z, targets, r, kept, dz, numbers, columns, lo, hi):
    """dz = r[n] (e^z - t) / C, or r[n] (1 - t / (z + eps)) / C."""
    number = z.dtype.type
    log_input, eps = numbers[0] != 0, number(numbers[2])
    for n in range(lo, hi):
        factor = r[n] / number(columns)
        for c in range(columns):
            value, t = z[n, c], number(targets[n, c])
            dz[n, c] = factor * (np.exp(value) - t if log_input else number(1) - t / (value + eps))


@kernel
def quantile_forward(z, targets, r, kept, terms, numbers, columns, lo, hi):
    """terms[0, n] = r[n] Σ_c h / C,  h = q e where e > 0, else (q - 1) e,  e = t - z.    numbers: quantiles (K,)

    Output c is quantile c modulo K of target c // K.    targets t: (N, C / K)
    """
    number, K = z.dtype.type, numbers.size
    for n in range(lo, hi):
        total = number(0)
        for c in range(columns):
            e, q = number(targets[n, c // K]) - z[n, c], number(numbers[c % K])
            total += (q if e > 0 else q - number(1)) * e
        terms[0, n] = r[n] * (total / number(columns))


@kernel
def quantile_backward(z, targets, r, kept, dz, numbers, columns, lo, hi):
    """dz = -r[n] q / C where z < t, r[n] (1 - q) / C where z > t, 0 where z is t."""
    number, K = z.dtype.type, numbers.size
    for n in range(lo, hi):
        factor = r[n] / number(columns)
        for c in range(columns):
            e, q = number(targets[n, c // K]) - z[n, c], number(numbers[c % K])
            dz[n, c] = factor * (-q if e > 0 else number(1) - q if e < 0 else e)


@kernel
def r2_score(z, targets, terms, numbers, columns, lo, hi):
    """terms[1, n] = -Σ_c w[c] (z[n, c] - t[n, c])².    numbers w: N / (C times the spread of column c's targets)

    The spread is Σₙ (t - mean)²: R² = 1 + the mean of the terms.
    """
    for n in range(lo, hi):
        total = 0.0
        for c in range(columns):
            d = z[n, c] - targets[n, c]
            total += numbers[c] * d * d
        terms[1, n] = -total


@kernel
def poisson_d2_score(z, targets, terms, numbers, columns, lo, hi):
    """terms[1, n] = -Σ_c w[c] (t log(t / m) - t + m),  m = e^z or z.    numbers: (log_input, w...)

    w: N / (C times the same of the mean of column c's targets): D², the share of the deviance that is explained.
    """
    for n in range(lo, hi):
        total = 0.0
        for c in range(columns):
            value, t = np.float64(z[n, c]), targets[n, c]
            mean = np.exp(value) if numbers[0] != 0 else value
            off = mean - t
            if t > 0:
                off += t * (np.log(t) - (value if numbers[0] != 0 else np.log(mean)))
            total += numbers[1 + c] * off
        terms[1, n] = -total


@kernel
def quantile_d2_score(z, targets, terms, numbers, columns, lo, hi):
    """terms[1, n] = -Σ_c w[c] h[n, c], h as in `quantile_forward`.    numbers: (K, K quantiles, C weights w)

    w: N / (C times Σₙ h of the targets' own quantile): D², the share of the pinball loss that is explained.
    """
    K = int(numbers[0])
    for n in range(lo, hi):
        total = 0.0
        for c in range(columns):
            e, q = targets[n, c // K] - z[n, c], numbers[1 + c % K]
            total += numbers[1 + K + c] * (q if e > 0 else q - 1) * e
        terms[1, n] = -total
