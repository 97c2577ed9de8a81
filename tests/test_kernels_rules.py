"""The update rules step by step, by hand, and what `scale` hands to `update`."""

import math
from collections.abc import Callable

import numpy as np
import oracles
import pytest
import strategies as our
from hypothesis import given
from hypothesis import strategies as st
from kernel_cases import assert_close, same_bits
from strategies import CHECKED, DTYPES

from fastmlp import kernels as k
from fastmlp import optim
from fastmlp.kernels import updates


def stepped(rule: type[optim.Optimizer], option: tuple, t: int, p, g, *state) -> None:
    """Step t of a rule, with the rate that stands in its options."""
    numbers, scale = np.array(option, np.float64), np.zeros(k.SCALES)
    rule.scale(numbers, numbers[0], t, scale)
    rule.update(p, g, *state, *[p[:0]] * (3 - len(state)), numbers, scale)


def sgd_step(p, g, b, lr, momentum, dampening, decay, nesterov, first, maximize=False) -> None:
    stepped(optim.SGD, (lr, momentum, dampening, decay, nesterov, maximize), 1 if first else 2, p, g, b)


def adam_step(p, g, m, v, lr, beta1, beta2, eps, decay, t, u=None, maximize=False, rule=optim.Adam) -> None:
    stepped(rule, (lr, beta1, beta2, eps, decay, u is not None, maximize), t, p, g, m, v, *[u] * (u is not None))


def adamw_step(*arguments, **more) -> None:
    adam_step(*arguments, **more, rule=optim.AdamW)


@CHECKED
@given(
    source=our.sources,
    size=st.integers(1, 100),
    nesterov=st.booleans(),
    decay=st.sampled_from([0.0, 0.1]),
    mode=st.sampled_from(["plain", "first", "later"]),
    maximize=st.booleans(),
)
def test_sgd_step(source, size, nesterov, decay, mode, maximize):
    p, g, b = (source.array(size) for _ in range(3))
    momentum = 0.0 if mode == "plain" else 0.9
    dampening = 0.25 if mode == "later" and not nesterov else 0.0
    up = -g if maximize else g
    want, want_b = oracles.sgd(p, up, b if mode == "later" else None, 0.05, momentum, dampening, decay, nesterov)
    added = np.abs(oracles.f64(g)) + decay * np.abs(oracles.f64(p)) + np.abs(oracles.f64(b))
    eps, before = float(np.finfo(source.dtype).eps), (p.copy(), g.copy(), b.copy())
    sgd_step(p, g, b, 0.05, momentum, dampening, decay, nesterov, mode == "first", maximize)
    least, least_b = before[0].copy(), before[2].copy()
    sgd_step(least, up, least_b, 0.05, momentum, dampening, decay, nesterov, mode == "first")
    assert np.array_equal(p, least)  # maximize is the rule with -g, but for the sign of a 0
    assert np.array_equal(b, least_b)
    # at most eight roundings of the terms that were added up
    assert_close(p, want, 4 * eps * (np.abs(oracles.f64(before[0])) + 0.1 * added))
    assert_close(b, before[2] if mode == "plain" else want_b, 4 * eps * added)
    assert same_bits(g, before[1])


@CHECKED
@given(
    source=our.sources,
    size=st.integers(1, 100),
    t=st.sampled_from([1, 2, 10, 100_000]),
    decay=st.sampled_from([0.0, 0.1]),
    name=st.sampled_from(["adam", "adamw"]),
)
def test_adam_step(source, size, t, decay, name):
    """The kernel's one fraction against Algorithm 1 with its explicit m̂ and v̂."""
    p, g, m = (source.array(size) for _ in range(3))
    v = source.positive(size)
    args = (0.003, 0.9, 0.999, 1e-8, decay, t)
    want, want_m, want_v = getattr(oracles, name)(p, g, m, v, *args)
    eps, before = float(np.finfo(source.dtype).eps), (p.astype(float), g.copy(), m.astype(float))
    {"adam": adam_step, "adamw": adamw_step}[name](p, g, m, v, *args)
    gradient = np.abs(g.astype(float)) + (decay * np.abs(before[0]) if name == "adam" else 0)
    terms_m = 0.9 * np.abs(before[2]) + 0.1 * gradient
    denominator = np.sqrt(want_v / (1 - 0.999**t)) + 1e-8
    alpha = 0.003 / (1 - 0.9**t)
    assert_close(m, want_m, 4 * eps * terms_m)  # eight roundings of the terms
    assert_close(v, want_v, 4 * eps * (want_v + 0.001 * gradient**2))  # g² has two roundings of g, and positive terms
    # m's error and ten roundings of the step (v is at least 0.1: its error is a relative one); in float64, powers
    # that differ by a few units in the last place, of which 1 - β₂ᵗ leaves few digits when t is small
    roundings = 14 * eps * (1 + 0.001 * gradient**2) + 4 * 2**-52 / (1 - 0.999**t)
    assert_close(p, want, eps * (np.abs(want) + np.abs(before[0])) + roundings * alpha * terms_m / denominator)
    assert same_bits(g, before[1])


@pytest.mark.parametrize("rule", ["sgd", "adam", "adamw"])
def test_updates_pass_nan_on_and_stay_in_their_place(rule):
    """NaN in p, g or the state reaches p of the same index, and no other."""
    for dtype in DTYPES:
        for planted in range(4 if rule != "sgd" else 3):
            arrays = [np.full(37, 0.5, dtype) for _ in range(4 if rule != "sgd" else 3)]
            arrays[planted][5] = np.nan
            if rule == "sgd":
                sgd_step(*arrays, 0.1, 0.9, 0.0, 0.0, False, False)
            else:
                {"adam": adam_step, "adamw": adamw_step}[rule](*arrays, 0.1, 0.9, 0.999, 1e-8, 0.01, 3)
            assert np.flatnonzero(np.isnan(arrays[0])).tolist() == [5]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("step", [adam_step, adamw_step])
def test_amsgrad_keeps_the_larger_number_and_nan(step, dtype):
    """u is the larger of u and v, number by number; NaN in either reaches u and p of the same index, and no other."""
    rng = np.random.default_rng(0)
    p, g, m, v, u = (rng.random(37).astype(dtype) for _ in range(5))
    v[5], u[9] = np.nan, np.nan
    before, twins = u.copy(), [array.copy() for array in (p, g, m, v)]
    step(p, g, m, v, 0.01, 0.9, 0.5, 1e-8, 0.1, 3, u)
    step(*twins, 0.01, 0.9, 0.5, 1e-8, 0.1, 3)
    assert same_bits(v, twins[3])  # as without amsgrad
    assert np.array_equal(u, np.maximum(before, v), equal_nan=True)  # NumPy's maximum keeps NaN
    assert np.flatnonzero(np.isnan(p)).tolist() == [5, 9]
    assert (before > v).any()
    assert (before < v).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ams", [False, True])
@pytest.mark.parametrize("step", [adam_step, adamw_step])
def test_maximize_is_the_step_with_the_gradient_turned(step, ams, dtype):
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal(37).astype(dtype) for _ in range(3)] + [rng.random(37).astype(dtype) for _ in "vu"]
    p, g, m, v, u = arrays
    q, h, n, w, x = (array.copy() for array in arrays)
    step(p, g, m, v, 0.01, 0.9, 0.5, 1e-8, 0.1, 3, u if ams else None, maximize=True)
    step(q, -h, n, w, 0.01, 0.9, 0.5, 1e-8, 0.1, 3, x if ams else None)
    assert all(same_bits(a, b) for a, b in ((p, q), (m, n), (v, w), (u, x)))


def three_steps(step: Callable, gradients=(0.1, -0.2, 0.3)) -> list[float]:
    """p after each of three steps from p = 1, in float64; `step(p, g, t)`."""
    p, seen = np.array([1.0]), []
    for t, gradient in enumerate(gradients, 1):
        step(p, np.array([gradient]), t)
        seen.append(p[0])
    return seen


def test_sgd_by_hand():
    b = np.zeros(1)
    # p ← p - 0.5 g
    assert three_steps(lambda p, g, t: sgd_step(p, g, b, 0.5, 0.0, 0.0, 0.0, False, False)) == pytest.approx(
        [1 - 0.05, 0.95 + 0.1, 1.05 - 0.15], rel=1e-15
    )
    # λ = 0.1:  d = 0.1 + 0.1 = 0.2;  -0.2 + 0.09 = -0.11;  0.3 + 0.0955 = 0.3955
    assert three_steps(lambda p, g, t: sgd_step(p, g, b, 0.5, 0.0, 0.0, 0.1, False, False)) == pytest.approx(
        [0.9, 0.955, 0.75725], rel=1e-15
    )
    assert b[0] == 0  # not touched without momentum


def test_sgd_with_momentum_by_hand():
    b = np.zeros(1)
    # μ = 0.9:  b = 0.1;  0.09 - 0.2 = -0.11;  -0.099 + 0.3 = 0.201
    assert three_steps(lambda p, g, t: sgd_step(p, g, b, 0.5, 0.9, 0.0, 0.0, False, t == 1)) == pytest.approx(
        [0.95, 1.005, 0.9045], rel=1e-15
    )
    assert b[0] == pytest.approx(0.201, rel=1e-15)
    # τ = 0.5:  b = 0.1 (the first is not dampened);  0.09 - 0.1 = -0.01;  -0.009 + 0.15 = 0.141
    assert three_steps(lambda p, g, t: sgd_step(p, g, b, 0.5, 0.9, 0.5, 0.0, False, t == 1)) == pytest.approx(
        [0.95, 0.955, 0.8845], rel=1e-15
    )
    # Nesterov:  d = 0.1 + 0.09 = 0.19;  -0.2 - 0.099 = -0.299;  0.3 + 0.1809 = 0.4809
    assert three_steps(lambda p, g, t: sgd_step(p, g, b, 0.5, 0.9, 0.0, 0.0, True, t == 1)) == pytest.approx(
        [0.905, 1.0545, 0.81405], rel=1e-15
    )
    # Nesterov, λ = 0.1:  d₁ = 0.2, b = 0.2, p = 1 - 0.5 (0.2 + 0.18) = 0.81
    # d₂ = -0.2 + 0.081 = -0.119, b = 0.18 - 0.119 = 0.061, p = 0.81 - 0.5 (-0.119 + 0.0549) = 0.84205
    # d₃ = 0.3 + 0.084205 = 0.384205, b = 0.0549 + 0.384205 = 0.439105, p = 0.84205 - 0.5 (0.384205 + 0.3951945)
    assert three_steps(lambda p, g, t: sgd_step(p, g, b, 0.5, 0.9, 0.0, 0.1, True, t == 1)) == pytest.approx(
        [0.81, 0.84205, 0.45235025], rel=1e-14
    )


def test_adam_by_hand():
    """β₁ = 0.8, β₂ = 0.9, ε = 0.01.

    t  m                        v                             m̂                        v̂
    1  0.2 · 0.1 = 0.02         0.1 · 0.01 = 0.001            0.02 / 0.2 = 0.1         0.001 / 0.1 = 0.01
    2  0.016 - 0.04 = -0.024    0.0009 + 0.004 = 0.0049       -0.024 / 0.36 = -1/15    0.0049 / 0.19
    3  -0.0192 + 0.06 = 0.0408  0.00441 + 0.009 = 0.01341     0.0408 / 0.488           0.01341 / 0.271
    """
    m, v = np.zeros(1), np.zeros(1)
    p1 = 1 - 0.5 * 0.1 / (0.1 + 0.01)
    p2 = p1 + 0.5 * (1 / 15) / (math.sqrt(0.0049 / 0.19) + 0.01)
    p3 = p2 - 0.5 * (0.0408 / 0.488) / (math.sqrt(0.01341 / 0.271) + 0.01)
    assert (p1, p2, p3) == pytest.approx((0.545454545454545, 0.740853661788526, 0.561014882172144), rel=1e-14)
    assert three_steps(lambda p, g, t: adam_step(p, g, m, v, 0.5, 0.8, 0.9, 0.01, 0.0, t)) == pytest.approx(
        [p1, p2, p3], rel=1e-13
    )
    assert (m[0], v[0]) == pytest.approx((0.0408, 0.01341), rel=1e-14)


def test_adam_with_weight_decay_by_hand():
    """λ = 0.1 is added to g: g₁ = 0.1 + 0.1 = 0.2, so m̂ = 0.2, v̂ = 0.04 and p = 1 - 0.5 · 0.2 / 0.21 = 11 / 21."""
    m, v = np.zeros(1), np.zeros(1)
    p1 = 11 / 21
    g2 = -0.2 + 0.1 * p1
    m2, v2 = 0.8 * 0.04 + 0.2 * g2, 0.9 * 0.004 + 0.1 * g2**2
    p2 = p1 - 0.5 * (m2 / 0.36) / (math.sqrt(v2 / 0.19) + 0.01)
    g3 = 0.3 + 0.1 * p2
    m3, v3 = 0.8 * m2 + 0.2 * g3, 0.9 * v2 + 0.1 * g3**2
    p3 = p2 - 0.5 * (m3 / 0.488) / (math.sqrt(v3 / 0.271) + 0.01)
    assert (p1, p2, p3) == pytest.approx((0.523809523809524, 0.505159352716194, 0.225426297100194), rel=1e-14)
    assert three_steps(lambda p, g, t: adam_step(p, g, m, v, 0.5, 0.8, 0.9, 0.01, 0.1, t)) == pytest.approx(
        [p1, p2, p3], rel=1e-13
    )


def test_adamw_by_hand():
    """λ = 0.1 shrinks p by 1 - 0.5 · 0.1 = 0.95 before Adam's step, whose m and v are those without decay."""
    m, v = np.zeros(1), np.zeros(1)
    p1 = 0.95 - 0.5 * 0.1 / 0.11
    p2 = 0.95 * p1 + 0.5 * (1 / 15) / (math.sqrt(0.0049 / 0.19) + 0.01)
    p3 = 0.95 * p2 - 0.5 * (0.0408 / 0.488) / (math.sqrt(0.01341 / 0.271) + 0.01)
    assert (p1, p2, p3) == pytest.approx((0.495454545454545, 0.666080934515798, 0.452938108173627), rel=1e-14)
    assert three_steps(lambda p, g, t: adamw_step(p, g, m, v, 0.5, 0.8, 0.9, 0.01, 0.1, t)) == pytest.approx(
        [p1, p2, p3], rel=1e-13
    )
    assert (m[0], v[0]) == pytest.approx((0.0408, 0.01341), rel=1e-14)


def test_the_first_step_of_adam_is_lr_for_every_gradient():
    """m̂ / √v̂ = g / |g| at t = 1: the size of a gradient does not matter, in float32 neither."""
    g = np.array([1e-4, -1.0, 1e4, 0.0], np.float32)
    p, m, v = (np.zeros(4, np.float32) for _ in range(3))
    adam_step(p, g, m, v, 0.001, 0.9, 0.999, 1e-8, 0.0, 1)
    assert p[:3] == pytest.approx([-0.001, 0.001, -0.001], rel=2e-4)  # ε is 1e-4 of the first gradient
    assert p[3] == 0


# ---------------------------------------------------------------- the scale of a step


def scale_of(kernel: Callable, option: list[float], lr: float, t: int) -> list[float]:
    """What `kernel` writes; the rest stays as it is."""
    scale = np.full(k.SCALES, np.nan)
    assert kernel(np.array(option), lr, t, scale) is None
    written = int(np.isnan(scale).argmax())
    assert np.isnan(scale[written:]).all()
    return scale[:written].tolist()


def test_sgd_scale():
    """(lr, whether this is the first step); lr is the argument's, as a schedule gives it."""
    option = [0.5, 0.9, 0.0, 0.0, 0.0, 0.0]
    assert [scale_of(k.sgd_scale, option, 0.25, t) for t in (1, 2, 1000)] == [[0.25, 1], [0.25, 0], [0.25, 0]]


@pytest.mark.parametrize("t", [1, 2, 10, 100_000])
def test_adam_scale(t):
    """α m / (√v + ε̂) is lr m̂ / (√v̂ + ε) with the explicit m̂ and v̂; lr is the argument's."""
    lr, beta1, beta2, eps = 0.25, 0.9, 0.999, 1e-3
    alpha, eps_hat, rate = scale_of(k.adam_scale, [0.5, beta1, beta2, eps, 0.0], lr, t)
    assert rate == lr
    for m, v in ((0.3, 0.04), (-2.0, 1e-6), (0.1, 0.0)):
        want = lr * (m / (1 - beta1**t)) / (math.sqrt(v / (1 - beta2**t)) + eps)
        # powers that differ by a few units in the last place, of which 1 - β₂ᵗ leaves few digits when t is small
        assert alpha * m / (math.sqrt(v) + eps_hat) == pytest.approx(want, rel=1e-14 + 4 * 2**-52 / (1 - beta2**t))


def test_adam_scale_by_hand():
    """β₁ = 0.8, β₂ = 0.75, t = 2: α = 0.5 √(7/16) / 0.36, ε̂ = 0.01 √(7/16)."""
    root = math.sqrt(7) / 4
    got = scale_of(k.adam_scale, [1.0, 0.8, 0.75, 0.01, 0.1], 0.5, 2)
    assert got == pytest.approx([0.5 * root / 0.36, 0.01 * root, 0.5], rel=1e-15 * 4)


def rmsprop_step(p, g, v, b, a, maximize=False, alpha=0.75, momentum=0.5, centered=True, lr=0.5) -> None:
    stepped(optim.RMSprop, (lr, alpha, 0.01, 0.0, momentum, centered, maximize), 1, p, g, v, b, a)


def test_rmsprop_by_hand():
    """α = 0.75, ε = 0.01, from 0:  v = 0.25 · 0.04 = 0.01, so √v = 0.1 and d = 0.2 / 0.11; the second is a later mean.

    t  v                              √v
    1  0.25 · 0.04 = 0.01             0.1
    2  0.0075 + 0.25 · 0.01 = 0.01    0.1
    """
    v, b, a = (np.zeros(1) for _ in range(3))
    steps = 0.2 / 0.11, -0.1 / 0.11
    got = three_steps(lambda p, g, t: rmsprop_step(p, g, v, b[:0], a[:0], momentum=0.0, centered=False), (0.2, -0.1))
    # roundings of 0.2 and of 0.1: a few
    assert got == pytest.approx([1 - 0.5 * steps[0], 1 - 0.5 * (steps[0] + steps[1])], rel=1e-14)
    v[:] = 0
    got = three_steps(lambda p, g, t: rmsprop_step(p, g, v, b, a[:0], centered=False), (0.2, -0.1))
    # μ = 0.5:  b = d₁;  0.5 d₁ + d₂
    assert got == pytest.approx([1 - 0.5 * steps[0], 1 - 0.5 * (1.5 * steps[0] + steps[1])], rel=1e-14)
    v[:] = 0
    got = three_steps(lambda p, g, t: rmsprop_step(p, g, v, b[:0], a, momentum=0.0), (0.2,))
    # a = 0.25 · 0.2 = 0.05, v - a² = 0.01 - 0.0025
    assert got == pytest.approx([1 - 0.5 * 0.2 / (math.sqrt(0.0075) + 0.01)], rel=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_centered_mean_of_squares_is_never_below_0(dtype):
    """A gradient that stays the same leaves v - a² at a rounding, of either sign: PyTorch's root is NaN then."""
    size, below = 2000, 0
    g = np.linspace(1e-3, 1, size).astype(dtype)
    p, v, a = np.zeros(size, dtype), np.zeros(size, dtype), np.zeros(size, dtype)
    for _ in range(400):
        rmsprop_step(p, g, v, p[:0], a, alpha=0.9, momentum=0.0, lr=1e-6)
        below += ((v - a * a) < 0).sum()
    assert below  # it did happen
    assert np.isfinite(p).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("planted", range(5))
def test_rmsprop_passes_nan_on(dtype, planted):
    """From any array, to p of the same index and no other."""
    arrays = [np.full(37, 0.5, dtype) for _ in range(5)]
    arrays[planted][5] = np.nan
    rmsprop_step(*arrays)
    assert np.flatnonzero(np.isnan(arrays[0])).tolist() == [5]


def test_rmsprop_scale():
    """The rate of the step, whatever step it is."""
    option = [0.5, 0.9, 1e-8, 0.0, 0.0, 0.0, 0.0]
    assert [scale_of(updates.rmsprop_scale, option, 0.25, t) for t in (1, 2, 1000)] == [[0.25]] * 3


def test_adagrad_by_hand():
    """From s = 0.11, η = 0.5, ε = 0.1:  s = 0.11 + 0.25 = 0.36, 0.36 + 0.28 = 0.64, and rates 0.5, 0.5 / 1.5."""
    s = np.array([0.11])
    option = (0.5, 0.5, 0.0, 0.0, 0.1, 0)
    got = three_steps(lambda p, g, t: stepped(optim.Adagrad, option, t, p, g, s), (0.5, -math.sqrt(0.28)))
    first = 1 - 0.5 * 0.5 / 0.7
    assert got == pytest.approx([first, first + 0.5 / 1.5 * math.sqrt(0.28) / 0.9], rel=1e-14)  # some ten roundings
    s[:] = 0.11
    option = (0.5, 0.5, 0.1, 0.0, 0.1, 1)  # maximize, λ = 0.1: -0.4 + 0.1 is -0.3, so s = 0.2
    got = three_steps(lambda p, g, t: stepped(optim.Adagrad, option, t, p, g, s), (0.4,))
    assert got == pytest.approx([1 + 0.5 * 0.3 / (math.sqrt(0.2) + 0.1)], rel=1e-14)


def test_adagrad_scale():
    """lr / (1 + (t - 1)η)."""
    option = [0.5, 0.5, 0.0, 0.0, 1e-10, 0.0]
    assert [scale_of(updates.adagrad_scale, option, 0.25, t) for t in (1, 2, 5)] == [[0.25], [0.25 / 1.5], [0.25 / 3]]


def scales_of(kernel: Callable, option: list[float], steps: int, lr: float = 0.25) -> list[list[float]]:
    """What `kernel` writes in each of so many steps, one after the other; its first number begins at 1."""
    scale, seen = np.array([1.0, *[np.nan] * (k.SCALES - 1)]), []
    for t in range(1, steps + 1):
        kernel(np.array(option), lr, t, scale)
        assert np.isnan(scale[5:]).all()
        seen.append(scale[:5].tolist())
    return seen


def test_nadam_scale():
    """β₁ = 0.8, β₂ = 0.75, ε = 0.01, and ψ = 0: μ is 0.4 in every step, M = 0.4ᵗ and √(1 - β₂ᵗ) = 1/2, √7 / 4."""
    first, second = scales_of(updates.nadam_scale, [1.0, 0.8, 0.75, 0.01, 0.1, 0.0, 0, 0], 2)
    assert first == pytest.approx([0.4, 0.25 * 0.5, 0.25 * 0.4 / 0.84 / 2, 0.005, 0.25], rel=1e-14)  # a few roundings
    root = math.sqrt(7) / 4
    want = [0.16, 0.25 * 0.6 / 0.84 * root, 0.25 * 0.4 / (1 - 0.064) * root, 0.01 * root, 0.25]
    assert second == pytest.approx(want, rel=1e-14)


def test_the_product_of_nadam_is_that_of_its_momenta():
    """With ψ they differ from step to step; the step is one of m̂ and g as the paper has them."""
    option = [1.0, 0.9, 0.999, 1e-8, 0.0, 0.1, 0, 0]
    mu = [0.9 * (1 - 0.5 * 0.96 ** (0.1 * t)) for t in range(1, 202)]
    for t, (product, *_) in enumerate(scales_of(updates.nadam_scale, option, 200), 1):
        assert product == pytest.approx(math.prod(mu[:t]), rel=1e-13)  # two hundred roundings


def test_lion_scale():
    """The rate of the step, whatever step it is."""
    assert [scale_of(updates.lion_scale, [1e-4, 0.9, 0.99, 0.1], 0.25, t) for t in (1, 2, 1000)] == [[0.25]] * 3
