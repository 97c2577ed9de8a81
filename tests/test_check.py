"""`check`: what passes, what does not, and the sentence."""

import math

import numpy as np
import pytest

from fastmlp.check import number, whole


@pytest.mark.parametrize("value", [2, 3, 10**30, np.int8(2), np.uint64(2**64 - 1)])
def test_whole_numbers_pass(value):
    whole("f: n", value, 2)


@pytest.mark.parametrize("value", [1, -2, 2.0, np.float64(2), math.nan, math.inf, True, np.True_, "2", None, [2]])
def test_what_is_no_whole_number_is_refused_by_name(value):
    with pytest.raises(ValueError) as caught:
        whole("f: n", value, 2, ", or None")
    assert str(caught.value) == f"f: n is {value!r}; it must be a whole number of at least 2, or None"


@pytest.mark.parametrize("kind", [int, np.int64])
def test_a_whole_number_may_have_an_upper_end(kind):
    whole("f: n", kind(7), 0, " and below 8", below=8)
    with pytest.raises(ValueError, match=r"f: n is .*8.*; it must be a whole number of at least 0 and below 8"):
        whole("f: n", kind(8), 0, " and below 8", below=8)


@pytest.mark.parametrize("value", [0, 0.0, 1e300, np.float32(0.5), np.int64(3)])
def test_finite_numbers_pass(value):
    number("f: x", value, 0)


@pytest.mark.parametrize("value", [-1e-300, math.nan, math.inf, np.float32(np.inf), True, False, "0", None])
def test_what_is_no_finite_number_is_refused_by_name(value):
    with pytest.raises(ValueError) as caught:
        number("f: x", value, 0)
    assert str(caught.value) == f"f: x is {value!r}; it must be a finite number of at least 0"
