"""eˣ and eˣ - 1 in plain arithmetic, so that a loop of them becomes vector code; a call to the C library does not.

    x = n ln 2 + r,  |r| <= ln 2 / 2            n a whole number
    q = e^r - 1 = r + r²/2! + r³/3! + ... + r¹³/13!   the next term is below 4e-18 of the sum
    e^x = 2ⁿ (1 + q),   e^x - 1 = 2ⁿ q + (2ⁿ - 1)

ln 2 is taken off in two parts, the first with so few bits that n times it is exact (Cody and Waite, Software Manual
for the Elementary Functions, 1980). The same source serves float32 and float64; the error of eˣ is below one unit in
the last place. NaN gives NaN.
"""

import math

import numpy as np

from .jit import inner
from .simd import power_of_two

LOG2_E, LN2_HIGH, LN2_LOW = 1 / math.log(2), 0.693145751953125, 1.42860682030941723212e-6
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
    r = x - n * number(LN2_HIGH) - n * number(LN2_LOW)
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
    return power_of_two(n), r + r * r * q


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
