"""Batches gathered from a data set, and the fingerprint of an array."""

import numpy as np
import oracles
import pytest
import strategies as our
from hypothesis import given
from hypothesis import strategies as st
from kernel_cases import UNTOUCHED, assert_close, guards, placed, same_bits
from strategies import CHECKED

from fastmlp import kernels as k


@CHECKED
@given(source=our.sources, N=our.rows, I=our.columns, feature_type=st.sampled_from([np.uint8, np.float32, np.float64]))
def test_gather(source, N, I, feature_type):
    """Rows in shuffled order, from `start`, as scaled floats; columns past the features stay as they are."""
    features = (source.rng.integers(0, 256, (50, I)) if feature_type is np.uint8 else source.array(50, I)).astype(
        feature_type
    )
    order, x = source.rng.permutation(50), placed(np.full((N, I + 3), UNTOUCHED, source.dtype), 1)
    start = int(source.rng.integers(0, 51 - N))
    before = x.copy()
    k.gather(features, order, start, 1 / 255, x)
    want = oracles.gather(features, order, start, 1 / 255, N)
    assert_close(
        x[:, :I], want, 1.5 * np.finfo(source.dtype).eps * np.abs(want)
    )  # number, scale, product: three roundings
    assert np.all(x[:, I:] == UNTOUCHED)
    assert np.all(guards(x) == UNTOUCHED)
    by_address = placed(before, 1)  # as the engine calls it: features by their address, and the kernel by its
    source_numbers = np.array([features.ctypes.data, *features.shape, I * features.itemsize], np.int64)
    k.GATHER[features.dtype](source_numbers, order, start, 1 / 255, by_address)
    assert same_bits(by_address, x)
    assert np.all(guards(by_address) == UNTOUCHED)


def test_there_is_a_gather_for_each_dtype_of_features():
    assert {dtype.name: kernel.__name__ for dtype, kernel in k.GATHER.items()} == {
        name: f"gather_{name}" for name in ("uint8", "float32", "float64")
    }


@CHECKED
@given(source=our.sources, size=st.integers(1, 60), data=st.data())
def test_fingerprint(source, size, data):
    """The twin's sum; one flipped bit changes it; so do two float32 numbers that swap places."""
    array = source.array(size)
    before = k.fingerprint(array.view(np.uint32))
    assert int(before) % 2**64 == oracles.fingerprint(array)
    assert k.fingerprint(array.copy().view(np.uint32)) == before
    bits = array.view(np.uint8)
    spot = data.draw(st.integers(0, bits.size - 1))
    bits[spot] ^= 1 << data.draw(st.integers(0, 7))
    assert k.fingerprint(array.view(np.uint32)) != before
    i, j = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size - 1))
    swapped = array.copy()
    swapped[[i, j]] = array[[j, i]]
    if source.dtype == np.float32 and not same_bits(swapped, array):
        assert k.fingerprint(swapped.view(np.uint32)) != k.fingerprint(array.view(np.uint32))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_byte_becomes_the_float_that_it_is(dtype):
    """Bytes are cast before they are calculated with: in Numba 0.68.1 uint8(1) - uint8(2) is 2⁶⁴ - 1, of arrays 255."""
    features = np.arange(256, dtype=np.uint8).reshape(128, 2)
    order, numbers = np.arange(128)[::-1].copy(), np.array([features.ctypes.data, 128, 2, 2], np.int64)
    for scale in (1.0, 1 / 255, 3.0, 1e30):
        want = features[::-1].astype(dtype) * dtype(scale)
        for kernel, source in ((k.gather, features), (k.GATHER[features.dtype], numbers)):
            x = np.empty((128, 2), dtype)
            kernel(source, order, 0, scale, x)
            assert np.array_equal(x, want)
