"""`check`: what passes, what does not, and the sentence."""

import math

import numpy as np
import pytest

from fastmlp.check import held, number, reason, short, shown, whole


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


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (0, "f4"),
        (0.0, "f4"),
        (-1e-37, "f4"),
        (3e38, "f4"),
        (True, "f4"),
        (1e-300, "f8"),
        (1e300, "f8"),
        (5, "f4"),
        ("x", "f4"),
    ],
)
def test_numbers_that_the_type_holds_pass(value, dtype):
    held("f: x", value, dtype)
    held("f: x", np.float64(1.5))


@pytest.mark.parametrize(
    ("value", "dtype", "becomes"),
    [
        (1e-300, "f4", "0"),
        (-1e-39, "f4", "0"),  # float32 has such numbers, and the kernels take them for 0
        (1e39, "f4", "no finite number"),
        (10**400, "f8", "no finite number"),
        (1e-310, "f8", "0"),
        (math.inf, "f4", "no finite number"),
    ],
)
def test_what_a_type_makes_0_or_infinite_is_refused_by_name(value, dtype, becomes):
    with pytest.raises(ValueError) as caught:
        held("f: x", value, dtype)
    assert str(caught.value).startswith(
        f"f: x is {shown(value)}, in {np.dtype(dtype)} {becomes}; it must be 0 or between "
    )


def test_a_whole_number_larger_than_any_float_is_not_finite():
    with pytest.raises(ValueError, match="it must be a finite number"):
        number("f: x", 10**400)


class Grim:
    def __repr__(self):
        raise ZeroDivisionError("no text")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.5, "1.5"),
        ("a", "'a'"),
        ("a\nb", r"'a\nb'"),
        ([1, "b"], "[1, 'b']"),
        (np.array([0.5, 2]), "array([0.5, 2. ])"),
        (np.zeros((30, 40), np.float32), "an array (30, 40) float32"),
        (np.array([[1, 2], [3, 4]]), "array([[1, 2], [3, 4]])"),
        ([1] * 1000, "a list of 1,000"),
        (Grim(), "of the type Grim"),
        ([10**5000], "of the type list"),  # of more digits than Python writes
        ("x" * 10**6, "'" + "x" * 66 + " ... " + "x" * 32 + "'"),
        (b"\0" * 10**6, r"b'" + r"\x00" * 16 + " ... " + r"\x00" * 8 + "'"),
    ],
)
def test_a_value_is_shown_on_one_short_line(value, text):
    found = shown(value)
    if not text.startswith("b'"):
        assert found == text
    assert len(found) <= 105
    assert "\n" not in found


def test_words_of_another_program_are_cut_to_a_line():
    assert reason(ValueError("first\nsecond")) == "first"
    assert reason(KeyError()) == "KeyError"
    assert short("a\tb\x00c\u202ed") == "a b c d"
    assert len(reason(ValueError("x" * 10**6))) < 410
