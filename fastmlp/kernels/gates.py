"""Activations that are x times a gate g(x), from 0 far at the left to 1 far at the right; as in `activations`.

The backward of each takes x: two numbers x can have one y. Gates are made from powers of numbers up to 0, so that none
overflows, and so that a small gate keeps its digits: as 1 + tanh or 1 + erf it would be a difference of almost equals.
"""

import math

from .exponential import exp, exp_square, limits, splitter
from .jit import inner, kernel

FAR = 40  # from here on the gates are 0 or 1 in float64 too
SLOPE, CUBE = 2 * math.sqrt(2 / math.pi), 2 * math.sqrt(2 / math.pi) * 0.044715  # of the approximation by tanh
DENSITY = 1 / math.sqrt(2 * math.pi)
# What lies beyond x in the normal distribution is e^(-x²/2) P(x) / Q(x) for x in [0, 40], but for 1.2e-16 of it: fitted
# in 60 digits, with the errors levelled at the Chebyshev points of (x - 3.3) / (x + 3.3). All terms are positive, so no
# digits cancel. The form is that of Hart et al., Computer Approximations (1968), and of Cody, Math. Comp. 23 (1969).
P0, P1, P2, P3 = 0.5, 0.77520667631171, 0.5944606623519388, 0.28958401984602755
P4, P5, P6 = 0.09779144090131532, 0.023643660722755214, 0.0040921691444177795
P7, P8, P9 = 0.0004905504774763464, 3.723516617900987e-05, 1.3830004015303682e-06
Q1, Q2, Q3, Q4 = 2.348297913426281, 2.562591973992458, 1.715633174930136, 0.7827210001971491
Q5, Q6, Q7 = 0.25519765748538537, 0.06048856322467766, 0.010350881592621358
Q8, Q9, Q10 = 0.001233094365053414, 9.333472035316431e-05, 3.4666679103100594e-06


@inner
def within(x):
    """x, brought into [-FAR, FAR]; NaN stays NaN."""
    number = type(x)
    x = number(-FAR) if x < number(-FAR) else x
    return number(FAR) if x > number(FAR) else x


@inner
def tail(a):
    """P(a) / Q(a): the share of the normal distribution beyond a, over e^(-a²/2), for a in [0, FAR]."""
    number = type(a)
    p = number(P9)
    p = p * a + number(P8)
    p = p * a + number(P7)
    p = p * a + number(P6)
    p = p * a + number(P5)
    p = p * a + number(P4)
    p = p * a + number(P3)
    p = p * a + number(P2)
    p = p * a + number(P1)
    p = p * a + number(P0)
    q = number(Q10)
    q = q * a + number(Q9)
    q = q * a + number(Q8)
    q = q * a + number(Q7)
    q = q * a + number(Q6)
    q = q * a + number(Q5)
    q = q * a + number(Q4)
    q = q * a + number(Q3)
    q = q * a + number(Q2)
    q = q * a + number(Q1)
    q = q * a + number(1)
    return p / q


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


@kernel
def gelu_forward(x, y, numbers, lo, hi):
    """y = x Φ(x).    numbers: (tanh,): not 0 for Φ(x) ≈ (1 + tanh u) / 2 = 1 / (1 + e⁻²ᵘ).

    u = √(2/π) (x + 0.044715 x³).
    """
    number = x.dtype.type
    lowest, highest = limits(x)
    split, one = splitter(x), number(1)
    for n in range(x.shape[0]):
        source, target = x[n, lo:hi], y[n, lo:hi]
        if numbers[0] == 0:
            for o in range(hi - lo):
                a = abs(within(source[o]))
                beyond = exp_square(a, lowest, split) * tail(a)
                target[o] = source[o] * (beyond if source[o] < 0 else one - beyond)
        else:
            for o in range(hi - lo):
                z = within(source[o])
                small = exp(-abs(z * (number(SLOPE) + number(CUBE) * z * z)), lowest, highest)
                target[o] = source[o] * ((small if z < 0 else one) / (one + small))


@kernel
def gelu_backward(dy, x, dx, numbers, lo, hi):
    """dx = dy (Φ(x) + x φ(x)),  φ = Φ': e^(-x²/2) / √(2π), or 2 u' Φ (1 - Φ) for the approximation."""
    number = x.dtype.type
    lowest, highest = limits(x)
    split, one = splitter(x), number(1)
    for n in range(x.shape[0]):
        above, source, below = dy[n, lo:hi], x[n, lo:hi], dx[n, lo:hi]
        if numbers[0] == 0:
            for o in range(hi - lo):
                a = abs(within(source[o]))
                power = exp_square(a, lowest, split)
                beyond = power * tail(a)
                share = beyond if source[o] < 0 else one - beyond
                below[o] = above[o] * (share + source[o] * (number(DENSITY) * power))
        else:
            for o in range(hi - lo):
                z = within(source[o])
                small = exp(-abs(z * (number(SLOPE) + number(CUBE) * z * z)), lowest, highest)
                steep, larger = number(SLOPE) + number(3 * CUBE) * z * z, one / (one + small)
                share, rest = (small * larger, larger) if z < 0 else (larger, small * larger)
                below[o] = above[o] * (share * (one + z * steep * rest))
