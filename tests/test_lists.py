"""The lists of what is not zero in a batch, and the products that follow them."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import fastmlp as fm
from fastmlp import kernels as k
from fastmlp import nn, optim
from fastmlp.kernels import flushed, forms, linear, lists, matmul
from fastmlp.kernels.jit import kernel
from fastmlp.kernels.simd import LISTED_ROWS, NARROW_ROWS


class Own(nn.Sequential):
    """A subclass with a forward of its own, which trains on the graph."""

    def forward(self, x):
        return super().forward(x)


DTYPES = (np.float32, np.float64)


@kernel
def mark(x, inputs, bits):
    lists.mark(x, inputs, bits, 0, x.shape[0])


@kernel
def gather(address, source, order, inputs, x, bits):
    lists.gather_and_mark(address, source, order, 0, 1.0, inputs, x, bits)


@kernel
def make(N, inputs, vectors, backward, bits, square, columns, made):
    lists.make_lists(N, inputs, vectors, backward, bits, square, columns, made)


def lists_of(x: np.ndarray, inputs: int, vectors: int) -> np.ndarray:
    """As a thread of the engine makes them."""
    N = len(x)
    bits, made = np.zeros((N, lists.words(inputs)), np.uint64), np.full(lists.lists_size(N, inputs), 77, np.int32)
    mark(x, inputs, bits)
    make(N, inputs, vectors, True, bits, np.zeros(64, np.uint64), np.zeros(0, np.int64), made)
    return made


def entries(made: np.ndarray, which: str, group: int) -> list[int]:
    """The list of one group of rows ("IN") or of inputs ("ROW")."""
    counts, start, room = (made[getattr(lists, f"{which}_{word}")] for word in ("COUNTS", "LISTS", "ROOM"))
    at = start + group * room
    return made[at : at + made[counts + group]].tolist()


def holes(seed: int, rows: int, inputs: int, filled: float, dtype) -> np.ndarray:
    """Numbers of which so many are not zero; of the zeros some are -0, of the others some are denormal."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, inputs))
    x[rng.random(x.shape) >= filled] = 0
    x[(rng.random(x.shape) < 0.05) & (x == 0)] = -0.0
    x[(rng.random(x.shape) < 0.02) & (x != 0)] = np.finfo(dtype).tiny / 8
    return np.ascontiguousarray(x, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vectors", [1, 4])
@pytest.mark.parametrize(
    ("rows", "inputs"), [(1, 1), (3, 5), (4, 64), (9, 65), (64, 130), (65, 784), (130, 63), (7, 300)]
)
def test_lists_hold_what_is_not_zero(dtype, vectors, rows, inputs):
    x = holes(rows + inputs, rows, inputs, 0.08, dtype)
    x[x != 0] = 1  # a denormal number counts as zero, or not, as the thread's switch says
    made, group = lists_of(x, inputs, vectors), NARROW_ROWS if vectors == 1 else LISTED_ROWS
    assert made[lists.GROUP] == group
    if not made[lists.FORWARD]:
        assert max((x[i : i + group] != 0).any(axis=0).mean() for i in range(0, rows, group)) > lists.WORTH / 2
        return
    for g in range(-(-rows // group)):
        assert entries(made, "IN", g) == np.flatnonzero((x[group * g : group * g + group] != 0).any(axis=0)).tolist()
    if made[lists.BACKWARD]:
        for q in range(-(-inputs // group)):
            want = np.flatnonzero((x[:, group * q : group * q + group] != 0).any(axis=1)).tolist()
            assert entries(made, "ROW", q) == want


def test_full_rows_are_not_listed():
    x = np.ones((64, 100), np.float32)
    assert not lists_of(x, 100, 4)[[lists.FORWARD, lists.BACKWARD]].any()
    x[:, ::2] = 0
    assert lists_of(x, 100, 4)[[lists.FORWARD, lists.BACKWARD]].tolist() == [1, 0]  # every group of inputs is needed
    x[:, 20:] = 0
    assert lists_of(x, 100, 4)[[lists.FORWARD, lists.BACKWARD]].tolist() == [1, 1]


@flushed
def products(x: np.ndarray, w: np.ndarray, dy: np.ndarray, made: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(y, w - dw): a forward, and a step of SGD."""
    dtype, (blocks, inputs, lanes) = x.dtype, w.shape
    y, width = np.full((len(x), blocks * lanes), np.nan, dtype), blocks * lanes
    k.linear_forward(x, w, np.zeros(0, dtype), y, k.tiles(dtype), made, 0, width)
    p, none, scale = w.reshape(-1).copy(), np.zeros(0, dtype), np.array([1.0] + [0.0] * (k.SCALES - 1))
    k.linear_update_weight(
        x, dy, p, none, none, none, 0, inputs, np.full(linear.PIECE * k.PANEL * lanes, np.nan, dtype), k.tiles(dtype),
        made, forms.address(optim.SGD.update, "rule", dtype), np.zeros(6), scale, 0, width,
    )  # fmt: skip
    return y, p


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6), rows=st.integers(1, 70), inputs=st.integers(1, 200), blocks=st.integers(1, 9),
    filled=st.sampled_from([0.0, 0.003, 0.02, 0.1, 0.2, 0.5, 1.0]),
)  # fmt: skip
def test_the_listed_products_have_the_bits_of_the_dense_ones(dtype, seed, rows, inputs, blocks, filled):
    rng, lanes = np.random.default_rng(seed), k.lanes(dtype)
    x = holes(seed, rows, inputs, filled, dtype)
    w = rng.normal(size=(blocks, inputs, lanes)).astype(dtype)
    dy = rng.normal(size=(rows, blocks * lanes)).astype(dtype)
    dy[rng.random(dy.shape) < 0.1] = np.finfo(dtype).tiny  # products of it flush to +0 and -0
    made = flushed(lists_of)(x, inputs, blocks)
    for listed, dense in zip(products(x, w, dy, made), products(x, w, dy, k.NO_LISTS), strict=True):
        assert same(listed, dense)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_product_that_flushes_to_minus_zero_leaves_no_sign(dtype):
    """-tiny w + 0 * 1: the dense sum is -0 + 0 = +0, the listed one -0 alone, but for the last + 0.0 of both."""
    lanes, tiny = k.lanes(dtype), np.sqrt(np.finfo(dtype).tiny) / 8
    x = np.zeros((4, 8), dtype)
    x[:, 0] = -tiny
    w = np.ones((2, 8, lanes), dtype)
    w[:, 0] = tiny
    y, _ = products(x, w, np.zeros((4, 2 * lanes), dtype), lists_of(x, 8, 2))
    assert same(y, np.zeros_like(y))


def test_a_weight_that_is_not_finite_counts_where_its_input_is_not_zero():
    """What is documented: by lists 0 times inf is left out for whole groups of rows, by the dense tile it is NaN."""
    x, w, lanes = np.zeros((8, 16), np.float32), np.ones((2, 16, k.lanes(np.float32)), np.float32), k.lanes(np.float32)
    x[:, 0], x[0, 1], w[:, 1] = 1, 2, np.inf
    dy = np.zeros((8, 2 * lanes), np.float32)
    y, _ = products(x, w, dy, lists_of(x, 16, 2))
    assert (y[0] == np.inf).all()  # its input is not zero
    assert np.isnan(y[1:4]).all()  # of the same group
    assert (y[4:] == 1).all()  # of another
    assert np.isnan(products(x, w, dy, k.NO_LISTS)[0][1:]).all()


def test_a_list_that_lacks_an_entry_is_seen():
    """The tests above can fail."""
    x = holes(0, 16, 100, 0.05, np.float32)
    made, lanes = lists_of(x, 100, 4), k.lanes(np.float32)
    rng = np.random.default_rng(0)
    w, dy = (rng.normal(size=shape).astype(np.float32) for shape in ((4, 100, lanes), (16, 4 * lanes)))
    dense = products(x, w, dy, k.NO_LISTS)
    for which, result in (("IN_COUNTS", 0), ("ROW_COUNTS", 1)):
        wrong = made.copy()
        first = made[getattr(lists, which)]
        group = int(np.flatnonzero(made[first : first + 4])[0])
        wrong[first + group] -= 1
        assert not same(products(x, w, dy, wrong)[result], dense[result])
        assert same(products(x, w, dy, made)[result], dense[result])


def test_panels_are_even():
    widths = [[matmul.listed_width.py_func(left) for left in range(n, n + 1)] for n in range(1, 10)]
    assert all(0 < width[0] <= matmul.LISTED_VECTORS for width in widths)


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("filled", [0.0, 0.03, 0.2, 1.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_training_has_the_same_bits_on_the_graph_and_on_any_threads(filled, dtype, dropout):
    x = holes(3, 90, 150, filled, dtype)
    data = fm.Dataset(x, np.arange(90) % 3)
    found = set()
    for threads, graph in ((1, False), (2, False), (3, False), (1, True)):
        fm.manual_seed(0)
        layers = [nn.Linear(150, 40, dtype=dtype), nn.ReLU(), nn.Linear(40, 3, dtype=dtype)]
        if dropout:
            layers.insert(0, nn.Dropout(0.3))
        model = (Own if graph else nn.Sequential)(*layers)
        fm.fit(model, data, epochs=2, batch_size=32, n_threads=threads, progress=False)
        z = fm.Predictor(nn.Sequential(*layers))(x)
        found.add(b"".join(p.data.tobytes() for p in model.parameters()) + z.tobytes())
    assert len(found) == 1


@pytest.mark.parametrize("owed", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("inputs", "filled"), [(5, 1.0), (150, 0.01), (700, 0.002), (40, 0.0)])
def test_linear_update_columns(inputs, filled, dtype, owed):
    """Of a batch without the columns that it does not need: the step of all weights, or of those alone that it has."""
    lanes, blocks, x = k.lanes(dtype), 5, np.abs(holes(inputs, 9, inputs, filled, dtype))
    x[x != 0] += 1
    columns = np.flatnonzero(x.any(axis=0))
    rng, few = np.random.default_rng(0), np.ascontiguousarray(x[:, columns])
    bits, named = np.zeros((9, lists.words(len(columns))), np.uint64), np.array([len(columns), *columns])
    made = np.full(lists.lists_size(9, max(len(columns), 1), True), 77, np.int32)
    mark(few, len(columns), bits)
    make(9, len(columns), blocks, True, bits, np.zeros(64, np.uint64), named, made)
    made[lists.OWED] = owed
    dy, w, m = (rng.normal(size=shape).astype(dtype) for shape in ((9, blocks * lanes), (blocks, inputs, lanes), (1,)))
    m = np.ascontiguousarray(rng.normal(size=w.size), dtype)
    none, option = np.zeros(0, dtype), np.array([1.0, 0.5, 0, 0.1, 0, 0])  # momentum and decay: all weights move
    scale, rule = np.array([1.0] + [0.0] * (k.SCALES - 1)), forms.address(optim.SGD.update, "rule", dtype)
    piece, results = np.full(linear.PIECE * k.PANEL * lanes, np.nan, dtype), []
    for update, rows, which in (
        (k.linear_update_columns, few, made), (k.linear_update_weight, x, k.NO_LISTS),
    ):  # fmt: skip
        p, b = w.reshape(-1).copy(), m.copy()
        for lo, hi in ((0, 2 * lanes), (2 * lanes, blocks * lanes)):
            update(rows, dy, p, b, none, none, 0, inputs, piece, k.tiles(dtype), which, rule, option, scale, lo, hi)
        results.append([array.reshape(w.shape) for array in (p, b)])
    for got, all_of_them, before in zip(*results, (w, m.reshape(w.shape)), strict=True):
        want = before.copy() if owed else all_of_them
        want[:, columns] = all_of_them[:, columns]
        assert same(got, want)


def test_places_beyond_int32_are_not_written(monkeypatch):
    """Dense batches are then taken as if they had no zeros, to the same bits; sparse ones are refused in a sentence."""
    assert lists.lists_size(10**6, 10**5) == lists.HEAD
    x, found = holes(5, 90, 150, 0.05, np.float32), []
    for most in (lists.MOST, 100):
        monkeypatch.setattr(lists, "MOST", most)
        fm.manual_seed(0)
        model = nn.MLP(150, (40,), 3)
        fm.fit(model, fm.Dataset(x, np.arange(90) % 3), epochs=2, batch_size=32, n_threads=2, progress=False)
        found.append(b"".join(p.data.tobytes() for p in model.parameters()) + fm.Predictor(model)(x).tobytes())
    assert found[0] == found[1]
    rows = fm.Dataset(sp.csr_matrix(x), np.arange(90) % 3)
    with pytest.raises(ValueError, match="batches must be smaller"):
        fm.fit(nn.MLP(150, (40,), 3), rows, batch_size=32, progress=False)


def test_where_the_first_rows_are_full_no_others_are_marked():
    x = np.ones((64, 100), np.float32)
    x[8:] = 0
    bits = np.full((64, 2), 7, np.uint64)
    source = np.array([x.__array_interface__["data"][0], 64, 100, 400], np.int64)
    gathered = np.empty_like(x)
    address = forms.address(k.GATHER[x.dtype], "gather", x.dtype)
    gather(address, source, np.arange(64), 100, gathered, bits)
    assert same(gathered, x)
    assert (bits[8:] == 7).all()
    assert bits[:8].tolist() == [[2**64 - 1, 2**36 - 1]] * 8
