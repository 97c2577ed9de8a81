"""Activations, number by number.    x, y, dy, dx: (N, columns), filled for [lo, hi)    numbers: the options, float64

The backward of each takes what its forward left: y where the derivative can be made from it, else x.
"""

from .exponential import exp, expm1, limits, log1p
from .jit import kernel


@kernel
def relu_forward(x, y, numbers, lo, hi):
    """y = max(x, 0), and NaN where x is NaN."""
    for n in range(x.shape[0]):
        source, target = x[n, lo:hi], y[n, lo:hi]
        for o in range(hi - lo):
            value = source[o]
            target[o] = 0 if value <= 0 else value


@kernel
def relu_backward(dy, y, dx, numbers, lo, hi):
    """dx = 0 where y <= 0, else dy: the gradient at the kink is 0."""
    for n in range(y.shape[0]):
        above, result, below = dy[n, lo:hi], y[n, lo:hi], dx[n, lo:hi]
        for o in range(hi - lo):
            below[o] = 0 if result[o] <= 0 else above[o]


@kernel
def tanh_forward(x, y, numbers, lo, hi):
    """y = tanh(x) = (0 - m) / (m + 2) for x >= 0, with m = e⁻²ˣ - 1; and tanh(-x) = -tanh(x)."""
    lowest, highest = limits(x)
    zero, two = x.dtype.type(0), x.dtype.type(2)
    for n in range(x.shape[0]):
        source, target = x[n, lo:hi], y[n, lo:hi]
        for o in range(hi - lo):
            m = expm1(-two * abs(source[o]), lowest, highest)
            size = (zero - m) / (m + two)
            target[o] = -size if source[o] < 0 else size


@kernel
def tanh_backward(dy, y, dx, numbers, lo, hi):
    """dx = dy (1 - y²)."""
    one = y.dtype.type(1)
    for n in range(y.shape[0]):
        above, result, below = dy[n, lo:hi], y[n, lo:hi], dx[n, lo:hi]
        for o in range(hi - lo):
            below[o] = above[o] * (one - result[o] * result[o])


@kernel
def sigmoid_forward(x, y, numbers, lo, hi):
    """y = 1 / (1 + e⁻ˣ).  The exponential is taken of -|x|, so that it never overflows."""
    lowest, highest = limits(x)
    one = x.dtype.type(1)
    for n in range(x.shape[0]):
        source, target = x[n, lo:hi], y[n, lo:hi]
        for o in range(hi - lo):
            small = exp(-abs(source[o]), lowest, highest)
            target[o] = (small if source[o] < 0 else one) / (one + small)


@kernel
def sigmoid_backward(dy, y, dx, numbers, lo, hi):
    """dx = dy y (1 - y)."""
    one = y.dtype.type(1)
    for n in range(y.shape[0]):
        above, result, below = dy[n, lo:hi], y[n, lo:hi], dx[n, lo:hi]
        for o in range(hi - lo):
            below[o] = above[o] * result[o] * (one - result[o])


@kernel
def leaky_relu_forward(x, y, numbers, lo, hi):
    """y = x where x > 0, else slope x.    numbers: (slope,)"""
    slope = x.dtype.type(numbers[0])
    for n in range(x.shape[0]):
        source, target = x[n, lo:hi], y[n, lo:hi]
        for o in range(hi - lo):
            target[o] = source[o] if source[o] > 0 else source[o] * slope


@kernel
def leaky_relu_backward(dy, x, dx, numbers, lo, hi):
    """dx = dy where x > 0, else slope dy: the gradient at the kink is that of the left side."""
    slope = x.dtype.type(numbers[0])
    for n in range(x.shape[0]):
        above, source, below = dy[n, lo:hi], x[n, lo:hi], dx[n, lo:hi]
        for o in range(hi - lo):
            below[o] = above[o] if source[o] > 0 else above[o] * slope


@kernel
def elu_forward(x, y, numbers, lo, hi):
    """y = scale x where x > 0, else scale alpha (eˣ - 1).    numbers: (alpha, scale)"""
    lowest, highest = limits(x)
    scale, left = x.dtype.type(numbers[1]), x.dtype.type(numbers[0] * numbers[1])
    for n in range(x.shape[0]):
        source, target = x[n, lo:hi], y[n, lo:hi]
        for o in range(hi - lo):
            bent = left * expm1(source[o], lowest, highest)
            target[o] = source[o] * scale if source[o] >= 0 else bent


@kernel
def elu_backward(dy, x, dx, numbers, lo, hi):
    """dx = dy scale where x > 0, else dy scale alpha eˣ: the gradient at the kink is that of the left side."""
    lowest, highest = limits(x)
    scale, left = x.dtype.type(numbers[1]), x.dtype.type(numbers[0] * numbers[1])
    for n in range(x.shape[0]):
        above, source, below = dy[n, lo:hi], x[n, lo:hi], dx[n, lo:hi]
        for o in range(hi - lo):
            bent = left * exp(source[o], lowest, highest)
            below[o] = above[o] * (scale if source[o] > 0 else bent)


@kernel
def softplus_forward(x, y, numbers, lo, hi):
    """y = log(1 + e^(beta x)) / beta, and x where beta x > threshold.    numbers: (beta, threshold)

    log(1 + eᵗ) = max(t, 0) + log(1 + e^-|t|): no exponential overflows, and small results keep their digits.
    """
    number = x.dtype.type
    lowest, highest = limits(x)
    beta, threshold = number(numbers[0]), number(numbers[1])
    for n in range(x.shape[0]):
        source, target = x[n, lo:hi], y[n, lo:hi]
        for o in range(hi - lo):
            t = source[o] * beta
            log = log1p(exp(-abs(t), lowest, highest))
            log = (log + t if t > 0 else log) / beta
            target[o] = source[o] if t > threshold else log


@kernel
def softplus_backward(dy, x, dx, numbers, lo, hi):
    """dx = dy / (1 + e^(-beta x)), and dy where beta x > threshold."""
    number = x.dtype.type
    lowest, highest = limits(x)
    beta, threshold, one = number(numbers[0]), number(numbers[1]), number(1)
    for n in range(x.shape[0]):
        above, source, below = dy[n, lo:hi], x[n, lo:hi], dx[n, lo:hi]
        for o in range(hi - lo):
            t = source[o] * beta
            small = exp(-abs(t), lowest, highest)
            slope = (small if t < 0 else one) / (one + small)
            below[o] = above[o] if t > threshold else above[o] * slope


@kernel
def hardtanh_forward(x, y, numbers, lo, hi):
    """y = x, brought into [min_val, max_val]; NaN where x is NaN.    numbers: (min_val, max_val)"""
    least, most = x.dtype.type(numbers[0]), x.dtype.type(numbers[1])
    for n in range(x.shape[0]):
        source, target = x[n, lo:hi], y[n, lo:hi]
        for o in range(hi - lo):
            value = least if source[o] < least else source[o]
            target[o] = most if value > most else value


@kernel
def hardtanh_backward(dy, x, dx, numbers, lo, hi):
    """dx = 0 where x <= min_val or x >= max_val, else dy: the gradient at both kinks is 0."""
    least, most, zero = x.dtype.type(numbers[0]), x.dtype.type(numbers[1]), x.dtype.type(0)
    for n in range(x.shape[0]):
        above, source, below = dy[n, lo:hi], x[n, lo:hi], dx[n, lo:hi]
        for o in range(hi - lo):
            value = zero if source[o] <= least else above[o]
            below[o] = zero if source[o] >= most else value
