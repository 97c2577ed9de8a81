"""The products of a linear layer shape by shape, to the last bit, and fused with the rule's step; packing; buffers."""

from fractions import Fraction

import numpy as np
import oracles
import pytest
import strategies as our
from cases_products import terms
from hypothesis import given
from hypothesis import strategies as st
from kernel_cases import UNTOUCHED, assert_close, guards, placed, same_bits
from strategies import CHECKED, DTYPES, Source, cuts

from fastmlp import kernels as k
from fastmlp import optim
from fastmlp.kernels import forms, linear, matmul, simd
from fastmlp.kernels.jit import kernel


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_at_every_small_shape(dtype):
    """1..40 rows, 1 to over four vectors of columns, from K = 1: each tile, each remainder, against one big product."""
    lanes, eps = k.lanes(dtype), np.finfo(dtype).eps
    source = Source(dtype, 11)
    for K in (1, 2, 7, 33):
        most = 4 * lanes + 2
        x, weight = source.array(40, K), source.array(most, K)
        want = oracles.product(x, weight.T)
        bound = (K + 2) * eps * terms(x, weight.T)  # n eps Σ|terms|
        for O in sorted({1, 2, 3, lanes - 1, lanes, lanes + 1, 2 * lanes, 3 * lanes - 1, 3 * lanes + 1, most}):
            w = oracles.pack(weight[:O], lanes)
            wt = oracles.pack(np.ascontiguousarray(weight[:O].T), lanes)  # as a layer of O inputs and K outputs
            dy = np.zeros((40, k.padded(K, dtype)), dtype)
            dy[:, :K] = x
            scratch = np.empty(k.scratch_size(dtype), dtype)
            for N in range(1, 41):
                y, dx = (np.full((N, k.padded(O, dtype)), np.nan, dtype) for _ in range(2))
                k.product(x[:N], w, y, k.tiles(dtype), 0, O)
                assert_close(y[:, :O], want[:N, :O], bound[:N, :O], f"product {N}x{K}x{O}")
                assert not y[:, O:].any()
                k.product_dx(dy[:N], wt, scratch, dx, k.tiles(dtype), 0, O)
                assert_close(dx[:, :O], want[:N, :O], bound[:N, :O], f"product_dx {N}x{K}x{O}")
                assert not dx[:, O:].any()
                dw = np.full((len(w), N, lanes), np.nan, dtype)
                columns = np.zeros((K, k.padded(O, dtype)), dtype)
                columns[:, :O] = weight[:O].T
                k.product_dw(np.ascontiguousarray(x[:N].T), columns, dw, k.tiles(dtype), 0, O)
                assert_close(oracles.unpack(dw, O), want[:N, :O].T, bound[:N, :O].T, f"product_dw {N}x{K}x{O}")
                assert not dw.transpose(1, 0, 2).reshape(N, -1)[:, O:].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", [matmul.K_BLOCK - 1, matmul.K_BLOCK, matmul.K_BLOCK + 1, 2 * matmul.K_BLOCK + 5])
def test_products_in_blocks_of_k(dtype, K):
    lanes, eps = k.lanes(dtype), np.finfo(dtype).eps
    source = Source(dtype, K)
    N, O = simd.TILE_ROWS + 3, 4 * lanes + 1
    x, weight = source.array(N, K), source.array(O, K)
    want, bound = oracles.product(x, weight.T), (K + 2) * eps * terms(x, weight.T)  # n eps Σ|terms|
    y = np.full((N, k.padded(O, dtype)), np.nan, dtype)
    k.product(x, oracles.pack(weight, lanes), y, k.tiles(dtype), 0, O)
    assert_close(y[:, :O], want, bound, "product")
    dw = np.full((-(-O // lanes), N, lanes), np.nan, dtype)
    columns = np.zeros((K, k.padded(O, dtype)), dtype)
    columns[:, :O] = weight.T
    k.product_dw(np.ascontiguousarray(x.T), columns, dw, k.tiles(dtype), 0, O)
    assert_close(oracles.unpack(dw, O), want.T, bound.T, "product_dw")
    dy = np.zeros((N, k.padded(K, dtype)), dtype)
    dy[:, :K] = x
    dx = np.full((N, k.padded(O, dtype)), np.nan, dtype)
    wt = oracles.pack(np.ascontiguousarray(weight.T), lanes)
    k.product_dx(dy, wt, np.empty(k.scratch_size(dtype), dtype), dx, k.tiles(dtype), 0, O)
    assert_close(dx[:, :O], want, bound, "product_dx")


def test_a_number_is_one_ascending_chain_to_the_last_bit():
    """y = ((x₀w₀ + x₁w₁) + x₂w₂) + ...: where the processor fuses, each step rounds once. Fractions are exact."""
    K, source = matmul.K_BLOCK + 9, Source(np.float64, 5)
    x, weight = source.array(simd.TILE_ROWS + 1, K), source.array(3, K)
    y = np.empty((len(x), k.padded(3, np.float64)))
    k.product(x, oracles.pack(weight, k.lanes(np.float64)), y, k.tiles(np.float64), 0, 3)
    for n in (0, len(x) - 1):
        for o in range(3):
            total = 0.0
            for a, b in zip(x[n].tolist(), weight[o].tolist(), strict=True):
                total = float(Fraction(a) * Fraction(b) + Fraction(total)) if simd.FUSED else total + a * b
            assert y[n, o] == total


@kernel
def column_sums(dy, db, lo, hi):
    linear.column_sums(dy, db, lo, hi)


def test_column_sums_leave_the_columns_past_db():
    """A last block of columns may be longer than the bias."""
    dy, db = np.arange(30.0).reshape(3, 10), np.full(4, UNTOUCHED)
    column_sums(dy, db, 2, 9)
    assert db.tolist() == [36, 39, 42, 45]
    db = np.full(4, UNTOUCHED)
    column_sums(dy, db, 2, 4)
    assert db.tolist() == [36, 39, UNTOUCHED, UNTOUCHED]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_number_does_not_depend_on_the_tile(dtype):
    """Row by row and vector by vector gives the bits of one call."""
    lanes, source = k.lanes(dtype), Source(dtype, 6)
    x, weight = source.array(2 * simd.TILE_ROWS - 1, 50), source.array(5 * lanes, 50)
    w = oracles.pack(weight, lanes)
    y = np.empty((len(x), 5 * lanes), dtype)
    k.product(x, w, y, k.tiles(dtype), 0, 5 * lanes)
    for n in range(len(x)):
        row = np.empty((1, 5 * lanes), dtype)
        for lo in range(0, 5 * lanes, lanes):
            k.product(x[n : n + 1], w, row, k.tiles(dtype), lo, lo + lanes)
        assert same_bits(row[0], y[n])


@CHECKED
@given(source=our.sources, O=our.columns, I=our.columns, data=st.data())
def test_pack_and_unpack(source, O, I, data):
    """Exactly the twin's numbers, zero in the padding, in pieces too; unpack undoes pack."""
    lanes, weight = k.lanes(source.dtype), placed(source.array(O, I), 1)
    w = placed(np.full(k.packed_shape(O, I, source.dtype), UNTOUCHED, source.dtype), 3)
    back = placed(np.full((O, I), UNTOUCHED, source.dtype), 5)
    for lo, hi in data.draw(cuts(O, lanes)):
        k.pack(weight, w, lo, hi)
        assert same_bits(w[lo // lanes : -(-hi // lanes)], oracles.pack(weight, lanes)[lo // lanes : -(-hi // lanes)])
    assert same_bits(w, oracles.pack(weight, lanes))
    lo, hi = data.draw(st.sampled_from([(lo, min(lo + lanes, O)) for lo in range(0, O, lanes)]))
    k.unpack(w, back, lo, hi)
    assert same_bits(back[lo:hi], weight[lo:hi])
    assert np.all(back[:lo] == UNTOUCHED)
    assert np.all(back[hi:] == UNTOUCHED)
    k.unpack(w, back, 0, O)
    assert same_bits(back, oracles.unpack(w, O))
    assert same_bits(back, weight)
    for array in (w, back):
        assert np.all(guards(array) == UNTOUCHED)


def test_buffers():
    """Lengths in whole vectors; every buffer starts on a cache line."""
    for dtype in DTYPES:
        lanes = simd.VECTOR_BYTES // np.dtype(dtype).itemsize
        assert k.lanes(dtype) == lanes
        assert [k.padded(n, dtype) for n in (0, 1, lanes, lanes + 1)] == [0, lanes, lanes, 2 * lanes]
        assert k.packed_shape(lanes + 1, 7, dtype) == (2, 7, lanes)
        for shape in ((), (1,), (3, 5), (0, 4)):
            array = k.empty(shape, dtype)
            assert array.shape == shape
            assert array.dtype == dtype
            assert array.flags.c_contiguous
            assert array.__array_interface__["data"][0] % 64 == 0


# ---------------------------------------------------------------- a product and at once the rule's step


RULES = {  # options in the order of the class, and a step after the first
    "sgd": (0.05, 0.9, 0.25, 0.1, 0.0, 0.0),
    "adam": (0.003, 0.9, 0.999, 1e-8, 0.1, 1, 0),
    "adamw": (0.003, 0.9, 0.999, 1e-8, 0.1, 1, 0),
    "lion": (0.003, 0.9, 0.99, 0.1),
    "adagrad": (0.003, 0.1, 0.1, 0.5, 1e-10, 0),
    "nadam": (0.003, 0.9, 0.999, 1e-8, 0.1, 4e-3, 0, 0),
    "rmsprop": (0.003, 0.9, 1e-8, 0.1, 0.5, 1, 0),
}


def state_of(source: Source, size: int, arrays: int) -> list[np.ndarray]:
    """p and the state m, v, u of a rule that keeps so many arrays; the others are empty."""
    return [source.array(size), *(source.positive(size if n < arrays else 0) for n in range(3))]


def rule_of(name: str, dtype) -> tuple:
    """(update, scale, option) of a rule, and the address of update."""
    rule, option, scale = optim.RULES[name], np.array(RULES[name]), np.zeros(k.SCALES)
    rule.scale(option, option[0], 3, scale)
    return rule.update, scale, option, forms.address(rule.update, "rule", dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("inputs", [1, linear.PIECE - 1, linear.PIECE, 2 * linear.PIECE + 5])
def test_linear_update_weight_is_the_product_and_then_the_rule(dtype, name, inputs):
    """To the last bit, in pieces of the columns, from any place on; what lies around stays as it is."""
    lanes, source, at = k.lanes(dtype), Source(dtype, inputs), 24
    x, dy = source.array(9, inputs), source.array(9, 6 * lanes)
    update, scale, option, rule = rule_of(name, dtype)
    size = 6 * inputs * lanes
    flat = state_of(source, size + at + 40, len(optim.RULES[name].arrays))
    want = [array.copy() for array in flat]
    dw = np.empty((6, inputs, lanes), dtype)
    k.product_dw(x, dy, dw, k.tiles(dtype), 0, 6 * lanes)
    update(want[0][at : at + size], dw.reshape(-1), *(w[at : at + size] for w in want[1:]), option, scale)
    piece = np.empty(linear.PIECE * linear.PANEL * lanes, dtype)
    for lo, hi in ((4, 6), (0, 1), (1, 4)):
        k.linear_update_weight(
            x, dy, *flat, at, inputs, piece, k.tiles(dtype), k.NO_LISTS, rule, option, scale, lo * lanes, hi * lanes
        )  # fmt: skip
    assert all(same_bits(a, b) for a, b in zip(flat, want, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_linear_update_bias_is_the_sum_and_then_the_rule(dtype, name):
    """As the weight; more columns than the piece is long, too."""
    lanes, source, at, columns = k.lanes(dtype), Source(dtype, 3), 7, 70
    dy = source.array(9, columns)
    update, scale, option, rule = rule_of(name, dtype)
    flat = state_of(source, columns + at + 5, len(optim.RULES[name].arrays))
    want, db = [array.copy() for array in flat], np.empty(columns, dtype)
    column_sums(dy, db, 0, columns)
    update(want[0][at : at + columns], db, *(w[at : at + columns] for w in want[1:]), option, scale)
    piece = np.empty(2 * lanes, dtype)
    for lo, hi in ((40, 70), (0, 3), (3, 40)):
        k.linear_update_bias(dy, *flat, at, piece, rule, option, scale, lo, hi)
    assert all(same_bits(a, b) for a, b in zip(flat, want, strict=True))


def test_every_rule_is_fused_with_the_product():
    assert RULES.keys() == optim.RULES.keys()
