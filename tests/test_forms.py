"""Kernels by their address: which ones are taken, that a call makes what Python's call makes, that an error comes out.

Also the views of memory that stand beside them: `view` and `array_at`.
"""

import numba
import numpy as np
import pytest
from kernel_cases import same_bits
from strategies import DTYPES, Source

from fastmlp import kernels as k
from fastmlp import nn, optim
from fastmlp.kernels import forms
from fastmlp.kernels.jit import kernel
from fastmlp.kernels.simd import array_at, view

NONE = np.zeros(0)

# ---------------------------------------------------------------- which kernels are taken


def plain(x, y, numbers, lo, hi):
    pass


@kernel
def four_arguments(x, y, lo, hi):
    pass


@kernel
def gives_a_number(x, y, numbers, lo, hi):
    return lo + hi


@kernel
def doubles(x, y, numbers, lo, hi):
    for n in range(x.shape[0]):
        for o in range(lo, hi):
            y[n, o] = 2 * x[n, o]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (plain, "plain is function; it must be a function under fastmlp.kernels.kernel"),
        (None, "None is NoneType; it must be a function under fastmlp.kernels.kernel"),
        (
            four_arguments,
            "four_arguments has 4 arguments; a kernel of the form elementwise_forward has 5: (x, y, numbers, lo, hi)",
        ),
        (gives_a_number, "gives_a_number returns int64; a kernel of the form elementwise_forward fills arrays"),
    ],
)
def test_what_is_no_kernel_of_the_form_is_refused(given, message):
    with pytest.raises(TypeError) as caught:
        forms.address(given, "elementwise_forward", np.float32)
    assert str(caught.value) == message


def test_an_address_is_known_and_stays_the_same():
    at = {dtype: forms.address(doubles, "elementwise_forward", dtype) for dtype in DTYPES}
    assert len(set(at.values())) == 2  # another dtype is another machine code
    for dtype, address in at.items():
        assert forms.is_address(address)
        assert forms.address(doubles, "elementwise_forward", dtype) == address
        assert not forms.is_address(address + 1)
    assert not forms.is_address(0)
    assert not forms.is_address(-1)


def test_an_address_and_a_call_from_python_share_one_compilation():
    @kernel
    def halves(x, y, numbers, lo, hi):
        for o in range(lo, hi):
            y[0, o] = x[0, o] / 2

    x, y = np.ones((1, 3)), np.zeros((1, 3))
    halves(x, y, NONE, 0, 3)
    forms.address(halves, "elementwise_forward", np.float64)
    assert len(halves.signatures) == 1
    forms.address(halves, "elementwise_forward", np.float32)
    halves(x.astype(np.float32), y.astype(np.float32), NONE, 0, 3)
    assert len(halves.signatures) == 2


def test_the_letters_of_the_forms():
    for form, letters in forms.FORMS.items():
        assert len(forms.signature(form, np.float32)) == len(letters)
    x, y, numbers, lo, hi = forms.signature("elementwise_forward", np.float32)
    assert (str(x), x) == ("array(float32, 2d, C)", y)
    assert (str(numbers), str(lo), lo) == ("array(float64, 1d, C)", "int64", hi)
    assert str(forms.signature("rule", "float64")[0]) == "array(float64, 1d, C)"


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_declared_kernel_has_the_arguments_of_its_form(dtype):
    """Layers by their form, losses, scores and rules: `address` takes each."""
    names = {
        "elementwise": {"forward": "elementwise_forward", "evaluate": "elementwise_forward",
                        "backward": "elementwise_backward"},
        "random": dict.fromkeys(("forward", "evaluate", "backward"), "random"),
        "norm": {"forward": "norm_forward", "evaluate": "norm_forward", "backward": "norm_backward",
                 "weights": "norm_weights", "evaluate_backward": "norm_backward"},
        "linear": {"forward": "linear_forward", "evaluate": "linear_forward", "backward": "linear_input",
                   "weights": "linear_weight", "bias_update": "linear_bias"},
    }  # fmt: skip
    for layer in nn.LAYERS.values():
        for what, one in layer.kernels.items():
            assert one is None or forms.is_address(forms.address(one, names[layer.form][what], dtype))
    for loss in nn.LOSSES.values():
        for what, one in loss.kernels.items():
            assert forms.is_address(forms.address(one, f"loss_{what}", dtype))
        assert forms.is_address(forms.address(loss.score.kernel, "score", dtype))
    for rule in optim.RULES.values():
        assert forms.is_address(forms.address(rule.scale, "scale", dtype))
        assert forms.is_address(forms.address(rule.update, "rule", dtype))
    for gather in k.GATHER.values():
        assert forms.is_address(forms.address(gather, "gather", dtype))


# ---------------------------------------------------------------- a call


@kernel
def call(address, x, y, numbers, lo, hi):
    forms.call_elementwise(address, x, y, numbers, lo, hi)


@kernel
def call_often(address, x, y, numbers, done):
    for n in range(5):
        forms.call_elementwise(address, x, y, numbers, n, n + 1)
        done[0] += 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["relu_forward", "tanh_forward", "sigmoid_forward"])
def test_a_call_by_address_gives_the_bits_of_a_call_from_python(dtype, name):
    one, x = getattr(k, name), Source(dtype, 1).array(7, 37)
    want, got = np.zeros_like(x), np.zeros_like(x)
    one(x, want, NONE, 3, 30)
    call(forms.address(one, "elementwise_forward", dtype), x, got, NONE, 3, 30)
    assert same_bits(want, got)


def test_one_loop_calls_every_kernel_of_a_form():
    """The loop is compiled once; a new kernel comes in as a number."""
    x, y = Source(np.float64, 1).array(2, 9), np.zeros((2, 9))
    call(forms.address(k.relu_forward, "elementwise_forward", np.float64), x, y, NONE, 0, 9)
    before = len(call.signatures)
    call(forms.address(doubles, "elementwise_forward", np.float64), x, y, NONE, 0, 9)
    assert same_bits(y, 2 * x)
    assert len(call.signatures) == before


@kernel
def fails_at_three(x, y, numbers, lo, hi):
    if lo == 3:
        raise ValueError("planted")
    y[0, lo] = x[0, lo]


def test_an_error_in_a_kernel_comes_out_of_the_loop():
    """What was done before it stays, and nothing after it is done."""
    x, y, done = np.ones((1, 5)), np.zeros((1, 5)), np.zeros(1, np.int64)
    with pytest.raises(ValueError, match=r"^planted$"):
        call_often(forms.address(fails_at_three, "elementwise_forward", np.float64), x, y, NONE, done)
    assert done[0] == 3
    assert y.tolist() == [[1, 1, 1, 0, 0]]


def test_arrays_that_a_kernel_cannot_take_are_refused_where_the_loop_is_compiled():
    at, y = forms.address(doubles, "elementwise_forward", np.float64), np.zeros((4, 4))
    read_only = np.zeros((4, 4))
    read_only.flags.writeable = False
    for x in (np.zeros((4, 4)).T, np.zeros((4, 8))[:, ::2], read_only):
        with pytest.raises(numba.TypingError, match="not C-contiguous, aligned and writable"):
            call(at, x, y, NONE, 0, 4)


# ---------------------------------------------------------------- views


@kernel
def fill_view(flat, at, rows, columns, value):
    matrix = view(flat, at, (rows, columns))
    for n in range(matrix.shape[0]):
        for o in range(matrix.shape[1]):
            matrix[n, o] = value + 10 * n + o


@kernel
def read_at(address, numbers, rows, columns, result):
    matrix = array_at(address, numbers, (rows, columns))
    result[0], result[1], result[2] = matrix.shape[0], matrix.shape[1], matrix.size
    for n in range(rows):
        row = matrix[n]
        for o in range(columns):
            result[3 + n * columns + o] = row[o]


@kernel
def read_uint8(address, rows, columns, result):
    read_at(address, np.uint8, rows, columns, result)


@kernel
def read_float32(address, rows, columns, result):
    read_at(address, np.float32, rows, columns, result)


@kernel
def read_float64(address, rows, columns, result):
    read_at(address, np.float64, rows, columns, result)


@pytest.mark.parametrize("dtype", [*DTYPES, np.int64])
def test_a_view_is_the_memory_of_its_array(dtype):
    flat = np.zeros(12, dtype)
    fill_view(flat, 3, 2, 4, 100)
    assert flat.tolist() == [0, 0, 0, 100, 101, 102, 103, 110, 111, 112, 113, 0]
    fill_view(flat, 0, 0, 4, 7)  # no rows
    fill_view(flat, 12, 0, 0, 7)  # at the end
    assert flat.sum() == 852


@pytest.mark.parametrize(
    ("dtype", "read"), [(np.uint8, read_uint8), (np.float32, read_float32), (np.float64, read_float64)]
)
def test_array_at_reads_what_lies_there(dtype, read):
    array, result = np.arange(5, 17).astype(dtype).reshape(3, 4), np.zeros(15)
    read(array.ctypes.data, 3, 4, result)
    assert result.tolist() == [3, 4, 12, *range(5, 17)]
    result[...] = 0
    read(array[1:].ctypes.data, 2, 4, result)
    assert result.tolist() == [2, 4, 8, *range(9, 17), *[0] * 4]
