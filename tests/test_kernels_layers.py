"""Layers number by number: the exponential, activations at their ends, batch norm on hard numbers, dropout's bits."""

import math
import re

import numba
import numpy as np
import oracles
import pytest
from cases_layers import NONE, NORM
from hypothesis import given
from hypothesis import strategies as st
from kernel_cases import assert_close, same_bits
from strategies import DTYPES, FEW, Source

from fastmlp import kernels as k
from fastmlp import nn
from fastmlp.kernels import exponential, forms
from fastmlp.kernels.jit import kernel


@kernel
def exponentials(x, y, minus1):
    lowest, highest = exponential.limits(x)
    for i in range(x.size):
        y[i] = exponential.exp(x[i], lowest, highest)
        minus1[i] = exponential.expm1(x[i], lowest, highest)


@pytest.mark.parametrize("dtype", DTYPES)
def test_exponential(dtype):
    """Below one unit in the last place, as it says; 0, infinity and NaN at the ends."""
    lowest = {4: -87, 8: -708}[np.dtype(dtype).itemsize]
    rng = np.random.default_rng(1)
    x = np.concatenate(
        [rng.uniform(lowest, -lowest, 20_000), rng.uniform(-1, 1, 20_000), 10 ** rng.uniform(-9, 0, 999)]
    )
    halves = (np.arange(-120, 121) + 0.5) * math.log(2)  # between two n, where r is largest
    x = np.concatenate([x, halves, -x[-999:], [0.0, -0.0]]).astype(dtype)
    y, minus1 = np.empty_like(x), np.empty_like(x)
    exponentials(x, y, minus1)
    exact = np.exp(x.astype(np.longdouble))
    spacing = np.spacing(exact.astype(dtype)).astype(np.longdouble)
    assert np.all(np.abs(y - exact) <= spacing)
    exact = np.expm1(x.astype(np.longdouble))
    assert np.all(np.abs(minus1 - exact) <= 3 * np.finfo(dtype).eps * np.abs(exact))  # a product and two sums
    assert y[-2:].tolist() == [1, 1]
    assert minus1[-2:].tolist() == [0, 0]
    ends = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, lowest - 1, 800], dtype)
    y, minus1 = np.empty_like(ends), np.empty_like(ends)
    exponentials(ends, y, minus1)
    assert np.array_equal(y, np.array([np.nan, np.inf, 0, np.inf, 0, 0, np.inf], dtype), equal_nan=True)
    assert np.array_equal(minus1[[0, 2, 4, 5]], np.array([np.nan, -1, -1, -1], dtype), equal_nan=True)


@kernel
def logarithms_and_squares(x, log, power):
    lowest, _ = exponential.limits(x)
    split = exponential.splitter(x)
    for i in range(x.size):
        log[i] = exponential.log1p(x[i])
        power[i] = exponential.exp_square(x[i], lowest, split)


@pytest.mark.parametrize("dtype", DTYPES)
def test_log1p_and_the_power_of_a_square(dtype):
    """log(1 + x) to one and a half eps; e^(-x²/2) as accurate as eˣ, though x² has twice the digits."""
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.uniform(0, 1, 20_000), 10 ** rng.uniform(-30, 0, 999), [0, 1, math.sqrt(2) - 1]])
    x = x.astype(dtype)
    log, power = np.empty_like(x), np.empty_like(x)
    logarithms_and_squares(x, log, power)
    exact, eps = np.log1p(x.astype(np.longdouble)), np.finfo(dtype).eps
    assert np.all(np.abs(log - exact) <= 1.5 * eps * exact)
    far = math.sqrt({4: 2 * 87, 8: 2 * 708}[np.dtype(dtype).itemsize]) - 0.01  # where it becomes 0, as rounded
    x = np.concatenate([x, rng.uniform(-far, far, 20_000).astype(dtype)])
    log, power = np.empty_like(x), np.empty_like(x)
    logarithms_and_squares(x, log, power)
    exact = np.exp(-(x.astype(np.longdouble) ** 2) / 2)
    assert np.all(np.abs(power - exact) <= eps * exact)
    ends = np.array([np.nan, 40, -40], dtype)
    log, power = np.empty_like(ends), np.empty_like(ends)
    logarithms_and_squares(ends, log, power)
    assert np.array_equal(power, np.array([np.nan, 0, 0], dtype), equal_nan=True)
    assert np.isnan(log[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_far_out(dtype):
    x = np.array([[1e3, -1e3, 0, 80, -80, 1e30, -1e30, 1e-30]], dtype)
    y = np.empty_like(x)
    k.sigmoid_forward(x, y, NONE, 0, x.shape[1])
    assert y[0, :3].tolist() == [1, 0, 0.5]
    assert y[0, 5:].tolist() == [1, 0, 0.5]
    assert_close(y, oracles.sigmoid(x), 4 * np.finfo(dtype).eps * oracles.sigmoid(x))
    assert y[0, 4] > 0  # e⁻⁸⁰ is a number in both dtypes: 1 - sigmoid(80) would be 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_relu_at_zero(dtype):
    """The kink: y = 0 for 0 and -0, and no gradient passes."""
    x, y, dx = np.array([[0.0, -0.0, 1e-30, -1e-30]], dtype), np.empty((1, 4), dtype), np.empty((1, 4), dtype)
    k.relu_forward(x, y, NONE, 0, 4)
    assert y.tolist() == [[0, 0, dtype(1e-30), 0]]
    k.relu_backward(np.ones_like(x), y, dx, NONE, 0, 4)
    assert dx.tolist() == [[0, 0, 1, 0]]


@pytest.mark.parametrize("N", [2, 64, 1000])
def test_batchnorm_with_a_mean_far_larger_than_the_spread(N):
    """Mean 1e4, spread 1, float32: E[x²] - E[x]² would lose every digit, since 1e8 eps = 12 is more than 1."""
    rng = np.random.default_rng(N)
    x = (1e4 + rng.standard_normal((N, 20))).astype(np.float32)
    one, zero = np.ones(20, np.float32), np.zeros(20, np.float32)
    weights, state, y = np.stack([one, zero]), np.stack([zero, one, zero, zero]), np.empty_like(x)
    k.batchnorm_forward(x, y, weights, state, NORM, 20, 0, 20)
    _, running_var, mean, _ = state
    want = oracles.batchnorm(x, one, zero, zero, one, 0.1, 1e-5)
    off = 2 * 1e4 * np.finfo(np.float32).eps * np.sqrt(N)  # rounding errors of a sum of N grow like √N: 8 of 1e4 eps
    assert_close(mean, want["mean"], off)
    assert_close(y, want["y"], off * want["rstd"] + 0.01 * np.abs(want["y"]))  # the variance is off by off²
    assert np.all(np.abs(running_var / want["running_var"] - 1) < 0.01)  # it is off by off², below 0.01


@pytest.mark.parametrize("dtype", DTYPES)
def test_batchnorm_of_a_constant_column(dtype):
    """Variance 0: y = beta, and rstd = 1 / √eps, no division by zero."""
    x = np.full((4, 3), 5, dtype)
    weights, state, y = np.array([[2] * 3, [-1] * 3], dtype), np.zeros((4, 3), dtype), np.empty_like(x)
    k.batchnorm_forward(x, y, weights, state, NORM, 3, 0, 3)
    assert np.all(y == -1)
    assert np.allclose(state[3], 1 / math.sqrt(1e-5), rtol=2 * np.finfo(dtype).eps)


@FEW
@given(seed=st.integers(-(2**63), 2**63 - 1), step=st.integers(0, 2**40), layer=st.integers(0, 100), p=st.floats(0, 1))
def test_dropout_mask_is_the_documented_chain_of_splitmix64(seed, step, layer, p):
    x, y = np.ones((6, 9)), np.empty((6, 9))
    k.dropout_forward(x, y, np.array([p]), seed, step, layer, 0, 9)
    assert np.array_equal(y != 0, oracles.dropout_mask(x.shape, p, seed, step, layer) & (p < 1))


def test_splitmix64_against_published_numbers():
    """The first outputs of SplitMix64 from state 1234567 (Rosetta Code, "Pseudo-random numbers/Splitmix64")."""
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    states = [1234567 + (i + 1) * oracles.GAMMA for i in range(5)]
    assert [oracles.splitmix64(state) for state in states] == published


def mask(p: float, seed: int = 1, step: int = 0, layer: int = 0, shape: tuple[int, int] = (1000, 1000)) -> np.ndarray:
    y = np.empty(shape, np.float32)
    k.dropout_forward(np.ones(shape, np.float32), y, np.array([p]), seed, step, layer, 0, shape[1])
    return y != 0


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_one_minus_p(p):
    """Of a million numbers; a fair coin leaves 5 sigma once in 1.7 million tries."""
    kept = mask(p)
    assert abs(kept.mean() - (1 - p)) <= 5 * math.sqrt(p * (1 - p) / kept.size)
    for axis in (0, 1):  # no row and no column is special: 1000 of each, so 6 sigma
        assert np.abs(kept.mean(axis=axis) - (1 - p)).max() <= 6 * math.sqrt(p * (1 - p) / 1000)


def test_dropout_masks_are_not_correlated():
    """Neighbouring columns, rows, steps, layers and seeds, and counters that trade places; 5 sigma of 0 is 5/√n."""
    base = mask(0.5, seed=5, step=3, layer=2)
    pairs = {
        "columns": (base[:, 1:], base[:, :-1]),
        "rows": (base[1:], base[:-1]),
        "steps": (base, mask(0.5, seed=5, step=4, layer=2)),
        "layers": (base, mask(0.5, seed=5, step=3, layer=3)),
        "seeds": (base, mask(0.5, seed=6, step=3, layer=2)),
        "step and layer swapped": (base, mask(0.5, seed=5, step=2, layer=3)),
        "row and column swapped": (base[np.triu_indices(1000, 1)], base.T[np.triu_indices(1000, 1)]),
        "step + 1 and row - 1": (base[1:], mask(0.5, seed=5, step=4, layer=2)[:-1]),
    }
    for name, (a, b) in pairs.items():
        correlation = np.mean((a * 2.0 - 1) * (b * 2.0 - 1))
        assert abs(correlation) <= 5 / math.sqrt(a.size), name


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_of_nothing_and_of_all(dtype):
    x, y = Source(dtype, 1).array(8, 33), np.empty((8, 33), dtype)
    k.dropout_forward(x, y, np.array([0.0]), 1, 2, 3, 0, 33)
    assert same_bits(x, y)
    k.dropout_forward(x, y, np.array([1.0]), 1, 2, 3, 0, 33)
    assert not y.any()


POWERS = [name for name in nn.ACTIVATIONS if name not in ("relu", "leaky_relu", "hardtanh", "prelu")]


@pytest.mark.parametrize("name", POWERS)
def test_loops_with_a_power_become_vector_code(name):
    """In float32: products of whole vectors, and no call of another function, which LLVM leaves where one is too long.

    Eight or sixteen numbers are then made at once; GELU takes eight times as long without.
    """
    for what, one in zip(("forward", "backward"), nn.ACTIVATIONS[name].node.pair, strict=True):
        compiled = numba.njit(error_model="numpy", nogil=True)(one.py_func)  # the cache keeps no text
        compiled.compile(forms.signature(f"elementwise_{what}", np.float32))
        text = compiled.inspect_llvm(compiled.signatures[0])
        assert re.search(r"fmul <\d+ x float>", text), one.__name__
        called = re.findall(r"call [^@\n]*@(\w*fastmlp\w*)", text)
        assert [function for function in called if one.__name__ not in function] == []
