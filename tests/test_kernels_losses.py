"""The losses on hard numbers, and by hand; the pair of the engine against the two steps of the graph."""

import math

import numpy as np
import oracles
import pytest
import strategies as our
from cases_layers import NONE
from hypothesis import given
from hypothesis import strategies as st
from kernel_cases import assert_close, same_bits
from strategies import CHECKED, DTYPES, cuts

from fastmlp import kernels as k


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_softmax_of_large_logits(dtype):
    """±1e4 overflows no exponential: the row maximum is removed first."""
    z = np.array([[1e4, -1e4, 0], [-1e4, -1e4, -1e4], [1e4, 1e4, 9999], [-1e4, 1e4, 1e4 - 50]], dtype)
    y, p = np.empty_like(z), np.empty_like(z)
    k.log_softmax_forward(z, y, p, 3, 0, 4)
    eps = np.finfo(dtype).eps
    assert_close(y, oracles.log_softmax(z), 11 * eps + 3 * eps * 2e4)  # as in log_softmax_bound
    assert y[0].tolist() == [0, -2e4, -1e4]  # by hand: all others are e⁻¹⁰⁰⁰⁰ = 0 beside the first
    assert np.allclose(y[1], -math.log(3), rtol=4 * eps)  # three equal logits
    assert p[0].tolist() == [1, 0, 0]
    assert np.allclose(p.sum(axis=1), 1, rtol=4 * eps)
    dz = np.empty_like(z)
    k.log_softmax_backward(np.full_like(z, 0.5), p, dz, 3, 0, 4)
    assert_close(dz, oracles.log_softmax_backward(np.full_like(z, 0.5), p), 11 * eps)
    assert np.allclose(dz.sum(axis=1), 0, atol=11 * eps)  # a softmax sums to 1


@CHECKED
@given(source=our.sources, N=our.rows, C=our.classes, more=st.integers(1, 9))
def test_log_softmax_reads_the_classes_only(source, N, C, more):
    """Rows may be longer than C; what is there, NaN too, changes nothing."""
    z = source.array(N, C + more)
    z[:, C:] = source.rng.choice([np.nan, np.inf, -np.inf, 0, 1e4], (N, more))
    y, p, dz, plain_y, plain_p, plain_dz = (np.empty((N, C + (i < 3) * more), source.dtype) for i in range(6))
    dy = source.array(N, C + more)
    k.log_softmax_forward(z, y, p, C, 0, N)
    k.log_softmax_backward(dy, p, dz, C, 0, N)
    k.log_softmax_forward(np.ascontiguousarray(z[:, :C]), plain_y, plain_p, C, 0, N)
    k.log_softmax_backward(np.ascontiguousarray(dy[:, :C]), plain_p, plain_dz, C, 0, N)
    assert same_bits(y[:, :C], plain_y)
    assert same_bits(p[:, :C], plain_p)
    assert same_bits(dz[:, :C], plain_dz)


@CHECKED
@given(source=our.sources, N=our.rows, C=our.classes, smoothing=st.sampled_from([0.0, 0.1, 0.9]), data=st.data())
def test_nll_loss(source, N, C, smoothing, data):
    """The twin's sum, and the same sum from pieces of the rows."""
    y = oracles.log_softmax(source.array(N, C)).astype(source.dtype)
    labels, r = source.rng.integers(0, C, N), source.positive(N)
    eps = float(np.finfo(source.dtype).eps)
    q = oracles.smoothed(labels, C, smoothing)
    bound = (
        (C + 4) * eps * float((r[:, None] * q * np.abs(oracles.f64(y))).sum())
    )  # n eps Σ|terms| of a row; rows in float64
    loss = k.nll_loss_forward(y, labels, r, smoothing, C, 0, N)
    assert isinstance(loss, float)
    assert_close(loss, oracles.nll_loss(y, labels, r, smoothing), bound)
    pieces = [k.nll_loss_forward(y, labels, r, smoothing, C, lo, hi) for lo, hi in data.draw(cuts(N))]
    assert_close(
        sum(pieces), loss, N * 2**-52 * float((r * np.abs(y).max(axis=1)).sum() * 2)
    )  # another order of the same terms


@pytest.mark.parametrize("dtype", DTYPES)
def test_nll_loss_by_hand(dtype):
    y = np.log(np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]])).astype(dtype)
    labels, r = np.array([0, 2]), np.array([0.5, 0.5], dtype)
    plain = 0.5 * math.log(2) + 0.5 * math.log(8)  # -log 1/2 and -log 1/8
    assert k.nll_loss_forward(y, labels, r, 0.0, 3, 0, 2) == pytest.approx(plain, rel=4 * float(np.finfo(dtype).eps))
    spread = -0.5 * math.log(0.5 * 0.25 * 0.25) / 3 - 0.5 * math.log(0.125 * 0.75 * 0.125) / 3
    smooth = k.nll_loss_forward(y, labels, r, 0.3, 3, 0, 2)
    assert smooth == pytest.approx(0.7 * plain + 0.3 * spread, rel=8 * float(np.finfo(dtype).eps))
    y[1, 2] = np.nan
    assert math.isnan(k.nll_loss_forward(y, labels, r, 0.0, 3, 0, 2))
    y[1] = [np.nan, -1, -1]
    assert k.nll_loss_forward(y, labels, r, 0.0, 3, 1, 2) == 0.5  # without smoothing only the label's number counts
    assert math.isnan(k.nll_loss_forward(y, labels, r, 0.1, 3, 1, 2))
    r[0] = np.nan
    dy = np.empty_like(y)
    k.nll_loss_backward(1.0, labels, r, 0.1, dy, 3, 0, 2)
    assert np.isnan(dy[0]).all()
    assert np.isfinite(dy[1]).all()


# ---------------------------------------------------------------- the pair of the engine, and the score


@CHECKED
@given(source=our.sources, N=our.rows, C=our.classes, smoothing=st.sampled_from([0.0, 0.1, 0.9]))
def test_cross_entropy_is_the_two_steps_of_the_graph(source, N, C, smoothing):
    """To the last bit: row by row the loss, and dz."""
    z, r = source.array(N, C), source.positive(N)
    labels, numbers = source.rng.integers(0, C, N), np.array([smoothing])
    y, p, dy, want, dz = (np.empty_like(z) for _ in range(5))
    kept, terms = np.empty((2 * N, C), source.dtype), np.full((2, N), np.nan)
    targets = labels.astype(np.float64)[:, None]
    k.cross_entropy_forward(z, targets, r, kept, terms, numbers, C, 0, N)
    k.cross_entropy_backward(z, targets, r, kept, dz, numbers, C, 0, N)
    k.log_softmax_forward(z, y, p, C, 0, N)
    k.nll_loss_backward(1.0, labels, r, smoothing, dy, C, 0, N)
    k.log_softmax_backward(dy, p, want, C, 0, N)
    assert same_bits(kept[N:], p)
    assert smoothing == 0 or same_bits(kept[:N], y)
    assert terms[0].tolist() == [k.nll_loss_forward(y, labels, r, smoothing, C, n, n + 1) for n in range(N)]
    assert np.isnan(terms[1]).all()
    assert same_bits(dz, want)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_by_hand(dtype):
    """Probabilities 1/2, 1/4, 1/4, label 1: the loss is log 4 and dz = p - q; with s = 0.3, q is 0.8 and twice 0.1."""
    eps = float(np.finfo(dtype).eps)
    z, targets, r = np.log(np.array([[2.0, 1.0, 1.0]])).astype(dtype), np.array([[1.0]]), np.ones(1, dtype)
    for smoothing, loss, dz in (
        (0.0, math.log(4), [0.5, -0.75, 0.25]),
        (0.3, 0.8 * math.log(4) + 0.1 * math.log(4) + 0.1 * math.log(2), [0.4, -0.55, 0.15]),
    ):
        kept, terms, got = np.empty((2, 3), dtype), np.zeros((2, 1)), np.empty_like(z)
        k.cross_entropy_forward(z, targets, r, kept, terms, np.array([smoothing]), 3, 0, 1)
        k.cross_entropy_backward(z, targets, r, kept, got, np.array([smoothing]), 3, 0, 1)
        assert terms[0, 0] == pytest.approx(loss, rel=8 * eps)  # a few roundings of positive terms
        assert got[0] == pytest.approx(dz, abs=8 * eps)  # of terms up to 1


@CHECKED
@given(source=our.sources, N=our.rows, C=our.classes, more=st.integers(1, 9))
def test_the_pair_and_the_score_read_the_classes_only(source, N, C, more):
    """Rows are padded in the engine; what is there, NaN too, changes nothing."""
    z, r = source.array(N, C + more), source.positive(N)
    z[:, C:] = source.rng.choice([np.nan, np.inf, -np.inf, 0, 1e4], (N, more))
    targets, numbers = source.rng.integers(0, C, (N, 1)).astype(np.float64), np.array([0.1])
    results = []
    for logits in (z, np.ascontiguousarray(z[:, :C])):
        kept, terms, dz = np.empty((2 * N, logits.shape[1]), source.dtype), np.zeros((2, N)), np.zeros_like(logits)
        k.cross_entropy_forward(logits, targets, r, kept, terms, numbers, C, 0, N)
        k.cross_entropy_backward(logits, targets, r, kept, dz, numbers, C, 0, N)
        k.accuracy_score(logits, targets, terms, NONE, C, 0, N)
        results.append((kept.reshape(-1)[: 2 * N * C], terms, dz[:, :C]))
    for wide, plain in zip(*results, strict=True):
        assert same_bits(wide, plain)


@pytest.mark.parametrize("dtype", DTYPES)
def test_accuracy_score_by_hand(dtype):
    """Of equal logits the first counts, and NaN counts as the largest, the first of several."""
    nan, inf = np.nan, np.inf
    rows = [
        ([1, 3, 2], 1), ([3, 1, 3], 0), ([0, -0.0, 0], 0), ([nan, 1, 2], 0), ([1, nan, nan], 1), ([1, nan, 2], 1),
        ([inf, nan, 0], 1), ([-inf, -inf, -inf], 0), ([inf, 1, inf], 0), ([-1, -3, -2], 0),
    ]  # fmt: skip
    z = np.array([row for row, _ in rows], dtype)
    for shift in range(3):
        targets = np.array([[(best + shift) % 3] for _, best in rows], np.float64)
        terms = np.full((2, len(rows)), 7.0)
        k.accuracy_score(z, targets, terms, NONE, 3, 0, len(rows))
        assert terms[1].tolist() == [float(shift == 0)] * len(rows)
        assert terms[0].tolist() == [7.0] * len(rows)
    assert z.argmax(axis=1).tolist() == [best for _, best in rows]  # NumPy agrees
