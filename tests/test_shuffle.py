"""The order of rows: the same for ever, whatever NumPy does."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastmlp as fm
from fastmlp.kernels.shuffle import permutation, shuffle

# (rows, seeds) -> digest of the order, written down of NumPy 2.4.6: NumPy's own may change, these may not.
ORDERS = {
    (10, (0, 1)): "6d6766770fd8e7b7",
    (1000, (5, 3)): "18ce34e3065748a9",
    (65537, (1099511627783, 12)): "59a5432abafde7bf",
    (333, (4611686018427387904, 1)): "17c7561148e2c016",
    (60000, (0, 1)): "0445a5ae5f8ab8aa",
    (999, (7,)): "7c0572c48fa515d2",
}


def test_orders_are_those_that_were_written_down():
    found = {
        key: hashlib.sha256(permutation(np.arange(key[0]), *key[1]).astype("<i8").tobytes()).hexdigest()[:16]
        for key in ORDERS
    }
    assert found == ORDERS


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 3000), st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4))
def test_it_is_numpys_of_today(n, seeds):
    """A peer, while NumPy keeps its stream: its documentation lets it change, and then this test may go."""
    wanted = np.random.default_rng(seeds if len(seeds) > 1 else seeds[0]).permutation(n)
    assert np.array_equal(permutation(np.arange(n), *seeds), wanted)


def test_a_plain_python_twin_of_the_shuffle():
    """The kernel against Fisher and Yates in Python's whole numbers, on a stream of its own."""
    stream = np.array([0x853C49E6748FEA9B, 0xDA3E39CB94B95BDB, 0x5851F42D4C957F2D, 0x14057B7EF767814F], np.uint64)
    state, step = (int(stream[0]) << 64 | int(stream[1])), (int(stream[2]) << 64 | int(stream[3]))
    order, words = list(range(500)), []

    def word():
        nonlocal state
        if not words:
            state = (state * 0x2360ED051FC65DA44385DF649FCCF645 + step) % 2**128
            bits, turn = (state >> 64) ^ (state % 2**64), state >> 122
            bits = (bits >> turn | bits << (64 - turn)) % 2**64
            words.extend([bits >> 32, bits % 2**32])
        return words.pop()

    for i in range(499, 0, -1):
        j = i + 1
        while j > i:
            j = word() % 2 ** i.bit_length()
        order[i], order[j] = order[j], order[i]
    found = np.arange(500)
    shuffle(found, stream)
    assert found.tolist() == order


def test_every_row_is_there_once_and_places_are_even():
    n, rounds = 6, 6000
    counts = np.zeros((n, n), int)
    for epoch in range(rounds):
        order = permutation(np.arange(n), 11, epoch)
        assert sorted(order) == list(range(n))
        counts[order, np.arange(n)] += 1
    deviation = (rounds / n * (1 - 1 / n)) ** 0.5
    assert np.abs(counts - rounds / n).max() < 5 * deviation  # 5 standard deviations of a binomial, 36 numbers


def test_rows_that_are_given_are_not_changed():
    rows = np.arange(5)[::-1].copy()
    permutation(rows, 1)
    assert rows.tolist() == [4, 3, 2, 1, 0]


def test_fit_and_split_take_it(monkeypatch):
    """No other order: a NumPy whose stream is another trains the same weights."""
    rng = np.random.default_rng(0)
    data = fm.Dataset(rng.normal(size=(50, 4)).astype(np.float32), rng.integers(0, 3, 50))

    def trained():
        fm.manual_seed(0)
        model = fm.nn.MLP(4, (5,), 3)
        fm.fit(model, data, validation=0.2, epochs=2, batch_size=8, progress=False)
        return b"".join(p.data.tobytes() for p in model.parameters())

    before = trained()
    real = np.random.default_rng

    class Other:
        def __init__(self, *seed):
            self.real = real(*seed)

        def permutation(self, n):
            return self.real.permutation(n)[::-1]

        def __getattr__(self, name):
            return getattr(self.real, name)

    monkeypatch.setattr(np.random, "default_rng", Other)
    assert trained() == before


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows(rows):
    assert permutation(np.arange(rows), 5).tolist() == list(range(rows))
