"""eˣ, eˣ - 1, e^(-x²/2) and log(1 + x) in plain arithmetic, so that a loop of them becomes vector code.

A call to the C library does not.

    x = n ln 2 + r,  |r| <= ln 2 / 2            n a whole number
    q = e^r - 1 = r + r²/2! + r³/3! + ... + r¹³/13!   the next term is below 4e-18 of the sum
    e^x = 2ⁿ (1 + q),   e^x - 1 = 2ⁿ q + (2ⁿ - 1)

ln 2 is taken off in two parts, the first with so few bits that n times it is exact (Cody and Waite, Software Manual
for the Elementary Functions, 1980). The same source serves float32 and float64; the error of eˣ is below one unit in
the last place. NaN gives NaN.

    log(1 + x) = 2 atanh(s) = 2 s + 2 s³/3 + ... + 2 s²¹/21,   s = x / (2 + x)    |s| <= 0.172 where |x| <= √2 - 1

The next term is below 1e-17 of the sum, of which x itself, which is exact, is the first part (fdlibm, e_log.c).
"""

import math

import numpy as np

from .jit import inner
from .simd import power_of_two

LOG2_E, LN2_HIGH, LN2_LOW = 1 / math.log(2), 0.693145751953125, 1.42860682030941723212e-6
LOG_BELOW = math.sqrt(2) - 1  # from here on log(1 + x) is ln 2 + log((1 + x) / 2)
A1, A2, A3, A4, A5, A6, A7, A8, A9, A10 = (2 / (2 * k + 1) for k in range(1, 11))  # of 2 atanh(s) / s, after the 2
T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13 = (1 / math.factorial(k) for k in range(2, 14))


@inner
def limits(array):
    """(lowest, highest) argument for the dtype of `array`: below the lowest eˣ is 0.

    The kernels take eˣ of numbers up to 0. It is inf from 88.4 (float32) and 709.5 (float64) on, where n comes to the
    end of the exponent's range.
    """
    number = array.dtype.type
    return (number(-87), number(89)) if array.itemsize == 4 else (number(-708), number(710))


@inner
def parts(x, lowest, highest):
    """(2ⁿ, q) of x, brought into [lowest, highest] first; NaN stays NaN."""
    number = type(x)
    x = lowest if x < lowest else x
    x = highest if x > highest else x
    n = np.rint(x * number(LOG2_E))
    return power_of_two(n), series(x - n * number(LN2_HIGH) - n * number(LN2_LOW))


@inner
def series(r):
    """q = e^r - 1 for small r, by its series."""
    number = type(r)
    q = number(T13)
    q = q * r + number(T12)
    q = q * r + number(T11)
    q = q * r + number(T10)
    q = q * r + number(T9)
    q = q * r + number(T8)
    q = q * r + number(T7)
    q = q * r + number(T6)
    q = q * r + number(T5)
    q = q * r + number(T4)
    q = q * r + number(T3)
    q = q * r + number(T2)
    return r + r * r * q


@inner
def exp(x, lowest, highest):
    """eˣ; 0 below `lowest`, inf towards `highest` and above."""
    power, q = parts(x, lowest, highest)
    return type(x)(0) if x < lowest else power * (type(x)(1) + q)


@inner
def expm1(x, lowest, highest):
    """eˣ - 1, without the loss of digits of that difference near x = 0."""
    power, q = parts(x, lowest, highest)
    return power * q + (power - type(x)(1))


@inner
def splitter(array):
    """What cuts a number of the dtype of `array` in two halves of its bits."""
    number = array.dtype.type
    return number(2**12 + 1) if array.itemsize == 4 else number(2**27 + 1)


@inner
def exp_square(x, lowest, split):
    """e^(-x²/2) for |x| <= 40; 0 where that is below e^lowest.

    x² has twice the digits of x, and the error of an exponent is the relative error of the power. So x is cut in two,
    x = high + low: high² is exact, and the rest, (x + high) low, is small (Veltkamp 1968; Dekker, Numerische Mathematik
    18, 1971).
    """
    number = type(x)
    c = x * split
    high = c - (c - x)
    top = number(-0.5) * high * high
    cut = lowest if top < lowest else top
    n = np.rint(cut * number(LOG2_E))
    rest = number(-0.5) * (x + high) * (x - high)
    q = series(cut - n * number(LN2_HIGH) - n * number(LN2_LOW) + rest)
    return number(0) if top < lowest else power_of_two(n) * (number(1) + q)


@inner
def log1p(x):
    """log(1 + x) for x in [0, 1], without the loss of digits of that sum near x = 0."""
    number = type(x)
    large = x > number(LOG_BELOW)
    f = number(0.5) * (x - number(1)) if large else x
    s = f / (number(2) + f)
    z = s * s
    a = number(A10)
    a = a * z + number(A9)
    a = a * z + number(A8)
    a = a * z + number(A7)
    a = a * z + number(A6)
    a = a * z + number(A5)
    a = a * z + number(A4)
    a = a * z + number(A3)
    a = a * z + number(A2)
    a = a * z + number(A1)
    half = number(0.5) * f * f
    log = f - (half - s * (half + z * a))
    return number(LN2_HIGH) + (number(LN2_LOW) + log) if large else log
