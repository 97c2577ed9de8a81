"""Activations that are x times a gate g(x), from 0 far at the left to 1 far at the right; as in `activations`.

The backward of each takes x: two numbers x can have one y. Gates are made from powers of numbers up to 0, so that none
overflows, and so that a small gate keeps its digits: as 1 + tanh or 1 + erf it would be a difference of almost equals.
"""

from .exponential import exp, limits
from .jit import kernel


@kernel
def silu_forward(x, y, numbers, lo, hi):
    """y = x σ(x),  σ(x) = 1 / (1 + e⁻ˣ)."""
    lowest, highest = limits(x)
    one = x.dtype.type(1)
    for n in range(x.shape[0]):
        source, target = x[n, lo:hi], y[n, lo:hi]
        for o in range(hi - lo):
            small = exp(-abs(source[o]), lowest, highest)
            target[o] = source[o] * ((small if source[o] < 0 else one) / (one + small))


@kernel
def silu_backward(dy, x, dx, numbers, lo, hi):
    """dx = dy σ (1 + x (1 - σ)).  The smaller of σ and 1 - σ is made from the power too: it keeps its digits."""
    lowest, highest = limits(x)
    one = x.dtype.type(1)
    for n in range(x.shape[0]):
        above, source, below = dy[n, lo:hi], x[n, lo:hi], dx[n, lo:hi]
        for o in range(hi - lo):
            small = exp(-abs(source[o]), lowest, highest)
            larger = one / (one + small)
            gate, rest = (small * larger, larger) if source[o] < 0 else (larger, small * larger)
            below[o] = above[o] * (gate * (one + source[o] * rest))


@kernel
def mish_forward(x, y, numbers, lo, hi):
    """y = x tanh(log(1 + eˣ)) = x (s² + 2 s) / (s² + 2 s + 2),  s = eˣ; above and below times e⁻²ˣ where x >= 0."""
    number = x.dtype.type
    lowest, highest = limits(x)
    one, two = number(1), number(2)
    for n in range(x.shape[0]):
        source, target = x[n, lo:hi], y[n, lo:hi]
        for o in range(hi - lo):
            s = exp(-abs(source[o]), lowest, highest)
            a = s * (s + two) if source[o] < 0 else one + two * s
            b = two if source[o] < 0 else two * s * s
            target[o] = source[o] * (a / (a + b))


@kernel
def mish_backward(dy, x, dx, numbers, lo, hi):
    """dx = dy (a + 4 x c / (a + b)) / (a + b),  a / (a + b) the gate as above, c = s (1 + s), times e⁻³ˣ where x >= 0.

    The gate's derivative is σ(x) (1 - tanh²), with σ = s / (1 + s) and 1 - tanh² = 4 (1 + s)² / (a + b)².
    """
    number = x.dtype.type
    lowest, highest = limits(x)
    one, two, four = number(1), number(2), number(4)
    for n in range(x.shape[0]):
        above, source, below = dy[n, lo:hi], x[n, lo:hi], dx[n, lo:hi]
        for o in range(hi - lo):
            s = exp(-abs(source[o]), lowest, highest)
            a = s * (s + two) if source[o] < 0 else one + two * s
            b = two if source[o] < 0 else two * s * s
            c = four * s * (one + s)
            c = c if source[o] < 0 else c * s
            below[o] = above[o] * ((a + source[o] * c / (a + b)) / (a + b))
