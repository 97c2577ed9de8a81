"""Sparse rows: what a `Dataset` makes of SciPy's matrices, and that they count to the bit as the dense array does."""

import copy
import pickle
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import CHECKED, seeds
from trainings import Own, bits, measured, mlp, refuses, trained

import fastmlp as fm
from fastmlp import kernels as k
from fastmlp.data import Dataset, Sparse, read_sparse_npz
from fastmlp.data import sparse as module
from fastmlp.data.compressed import sparse_rows

sp = pytest.importorskip("scipy.sparse", reason="SciPy, of the extra test, makes the matrices: pip install scipy")

TYPES = (np.float32, np.float64, np.int8, np.uint8, np.int64, np.uint16, bool, np.longdouble)
MAKERS = {"csr": (sp.csr_matrix, sp.csr_array), "csc": (sp.csc_matrix, sp.csc_array)}


def values(rng, dtype, size):
    """Numbers of this type, some of them zeros of either sign, denormals, and numbers that float32 does not have."""
    if np.dtype(dtype).kind != "f":
        return rng.integers(0, 2 if dtype is bool else 120, size).astype(dtype)
    special = np.array([0.0, -0.0, 1e-42, -3e-310, 1 / 3, 1e-30])
    drawn = np.where(rng.random(size) < 0.3, rng.choice(special, size), rng.normal(size=size) * 2)
    return drawn.astype(dtype)


def matrix(rng, form="csr", dtype=np.float32, shape=(40, 8), density=0.3, tidy=False, array=True):
    """A matrix whose indices are in no order, some twice or three times; in order where it is tidy."""
    lines, across = shape if form == "csr" else shape[::-1]
    count = round(density * lines * across)
    places = rng.choice(lines * across, count, replace=False)
    places = np.sort(places) if tidy else rng.permutation(np.concatenate([places, *[places[: count // 2]] * 2]))
    line, index = np.divmod(places, across)
    order = np.argsort(line, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(line, minlength=lines))])
    return MAKERS[form][array]((values(rng, dtype, len(places)), index[order], indptr), shape=shape)


def labels(rows: int) -> np.ndarray:
    return np.arange(rows) % 3


def quiet(x, y=None, **options) -> Dataset:
    """A Dataset, whose bytes may be dark."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Dataset(x, labels(x.shape[0]) if y is None else y, **options)


def same(a: Sparse, b: Sparse) -> bool:
    return (a.shape, a.dtype, a.given) == (b.shape, b.dtype, b.given) and all(
        one.tobytes() == other.tobytes()
        for one, other in ((np.diff(a.indptr), np.diff(b.indptr)), (a.toarray(), b.toarray()))
    )


# --- what is kept ----------------------------------------------------------------------------------------------------


@CHECKED
@given(
    seed=seeds, form=st.sampled_from(["csr", "csc"]), dtype=st.sampled_from(TYPES), density=st.floats(0, 1),
    rows=st.integers(1, 30), columns=st.integers(1, 30), tidy=st.booleans(), array=st.booleans(),
)  # fmt: skip
def test_a_matrix_has_the_numbers_of_its_dense_array_in_order(seed, form, dtype, density, rows, columns, tidy, array):
    x = matrix(np.random.default_rng(seed), form, dtype, (rows, columns), density, tidy, array)
    before = [part.copy() for part in (x.indptr, x.indices, x.data)]
    data, dense = quiet(x), quiet(x.toarray())
    found = data.rows
    kept = np.dtype(np.float32) if dense.features.dtype == np.uint8 else dense.features.dtype
    assert (found.dtype, found.indices.dtype, found.indptr.dtype) == (kept, np.int32, np.int64)
    want = dense.features.astype(kept) + kept.type(0)  # + 0 makes +0.0 of -0.0
    assert found.toarray().tobytes() == want.tobytes()
    assert (found.stored != 0).all()
    inner = np.ones(len(found.indices), bool)
    inner[found.indptr[:-1][found.indptr[:-1] < len(inner)]] = False  # where a row begins
    assert (np.diff(found.indices, prepend=-1)[inner] > 0).all()
    assert (data.scale, data.n_features, found.size) == (dense.scale, columns, rows * columns)
    assert all(np.array_equal(old, new) for old, new in zip(before, (x.indptr, x.indices, x.data), strict=True))
    assert data.advice() == dense.advice()


@pytest.mark.parametrize("form", ["coo", "lil", "dok", "bsr", "dia"])
def test_other_formats_go_their_own_way_to_rows(form):
    x = matrix(np.random.default_rng(3), tidy=True).asformat(form)
    assert np.array_equal(Dataset(x, labels(40)).rows.toarray(), x.toarray())


def test_values_that_are_in_order_are_shared_and_indices_are_not():
    """Kernels follow indices without a look at them, so nobody else may change those."""
    x = sp.csr_array(np.eye(6, dtype=np.float32)[:, ::-1] * 3)
    rows = Dataset(x, labels(6)).rows
    assert np.shares_memory(rows.values, x.data)
    assert not np.shares_memory(rows.indices, x.indices)
    for part in (rows.indptr, rows.indices):
        assert not part.flags.writeable
    x.indices[:] = 10**6
    assert (rows.indices < 6).all()
    with pytest.raises(AttributeError):
        rows.indices = x.indices


@pytest.mark.parametrize("block", [1, 7, 1 << 18])
def test_blocks_of_any_size_give_the_same(block, monkeypatch):
    x = matrix(np.random.default_rng(5), shape=(50, 30), dtype=np.float64)
    want = sparse_rows(x, "x")
    monkeypatch.setattr(module, "BLOCK", block)
    assert same(sparse_rows(x, "x"), want)
    rows = np.array([3, 3, 49, 0, 17])
    assert np.array_equal(want[rows].toarray(), want.toarray()[rows])


def test_wide_rows_take_the_memory_of_their_numbers():
    """A dense array of 10¹² numbers is nowhere; what is made on the way is of the size of the arrays."""
    n = 10**6
    x = sp.csr_array((np.ones(n, np.float32), np.arange(n)[::-1].copy(), np.arange(n + 1)), shape=(n, n))
    size = x.data.nbytes + x.indices.nbytes + x.indptr.nbytes
    y = labels(n)
    for form in ("csr", "csc"):
        made = x.asformat(form)
        tracemalloc.start()
        data = Dataset(made, y)
        first, held = data[: n // 2], data[np.arange(0, n, 2)]
        word, row, found = data.advice(), data[3][0], repr(data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        targets = 5 * y.nbytes  # copies, and what looks at the values of classes
        assert peak < 4 * size + targets + row.nbytes + (16 << 20)  # rows, two parts of them, blocks on the way
        assert (first.rows.nbytes, len(held), word) == (8 * (n // 2 + 1) + 8 * (n // 2), n // 2, "")
        assert np.flatnonzero(row).tolist() == [n - 4]
        assert found == "Dataset(1000000 rows, features (1000000,) float32 sparse, 0.0001 % filled, 3 classes)"


# --- what is refused -------------------------------------------------------------------------------------------------


def changed(form="csr", **arrays):
    """A matrix whose arrays were changed behind SciPy's back."""
    x = (sp.csr_array if form == "csr" else sp.csc_array)(np.array([[1.0, 0, 2], [0, 3, 0]]))
    for name, value in arrays.items():
        setattr(x, name, np.asarray(value))
    return x


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (lambda: changed(data=[1.0, np.nan, 3]), "features has nan in row 0, column 2; it must be finite"),
        (lambda: changed("csc", data=[1.0, 2, -np.inf]), "features has -inf in row 0, column 2; it must be finite"),
        (lambda: changed(indices=[0, 3, 1]), "the index 3 in row 0; it must be in 0..2"),
        (lambda: changed(indices=[0, 2, -1]), "the index -1 in row 1; it must be in 0..2"),
        (lambda: changed("csc", indices=[0, 2, 1]), "the index 2 in column 1; it must be in 0..1"),
        (lambda: changed(indptr=[0, 3, 2]), "indptr falls in row 1; it must begin with 0 and never fall"),
        (lambda: changed(indptr=[1, 2, 3]), "indptr begins with 1"),
        (lambda: changed(indptr=[0, 3]), "indptr has 2 numbers; it must have 3, one more than rows"),
        (lambda: changed(indptr=[0, 2, 4]), "3 indices and 3 values; indptr says that there are 4 of each"),
        (lambda: changed(indices=[0.0, 2, 1]), "indices is (3,) float64; it must be one axis of whole numbers"),
        (lambda: changed(data=[1j, 2, 3]), "has the type complex128; it must be uint8, float32 or float64"),
        (lambda: sp.csr_array((0, 3)), "has the shape (0, 3); it must not be empty"),
        (lambda: sp.csr_array((2, 0)), "has the shape (2, 0); it must not be empty"),
        (lambda: sp.csr_array((2, 2**31)), "has 2147483648 columns; sparse features have fewer than 2**31"),
    ],
)
def test_what_is_no_matrix_of_numbers_is_refused_in_one_sentence(x, words):
    x = x()
    refuses(ValueError, lambda: Dataset(x, np.arange(x.shape[0])), "Dataset: features", words)


def test_a_number_that_the_model_does_not_have_is_named():
    x = np.zeros((6, 8))
    x[0, 0], x[4, 3] = 2, 1e300
    data = Dataset(sp.csr_array(x), labels(6))
    refuses(ValueError, lambda: trained(data[1:]), "data has 1e+300 in row 3, column 3; the model is float32")


def test_numpy_and_the_wrong_sizes_are_told_no():
    data = Dataset(matrix(np.random.default_rng(0)), labels(40))
    refuses(TypeError, lambda: np.asarray(data.rows), "is sparse; where the dense array is wanted, toarray() makes it")
    refuses(TypeError, lambda: data.rows["a"], "Sparse: the index is 'a'; it must be rows")
    refuses(IndexError, lambda: data.rows[40], "Sparse: row 40 is asked for; it must be in -40..39")
    refuses(ValueError, lambda: Dataset(data.rows, labels(39)), "features has 40 rows, targets has 39")
    refuses(ValueError, lambda: fm.Predictor(mlp())(sp.csr_array((3, 9))), "x is (3, 9); it must be (N, 8) or (8,)")
    refuses(ValueError, lambda: trained(data, validation=Dataset(np.ones((3, 8)), labels(3))), "features must agree")
    refuses(TypeError, lambda: fm.predict(mlp(), data), "x is a Dataset; it must be an array, data.rows")


# --- parts -----------------------------------------------------------------------------------------------------------


def test_parts_are_those_of_the_dense_array():
    x = matrix(np.random.default_rng(1), dtype=np.float64)
    data, dense = Dataset(x, labels(40)), Dataset(x.toarray(), labels(40))
    mask = np.arange(40) % 3 == 1
    for index in (slice(3, 30), slice(None, None, -2), slice(35, None), [5, -1, 5], mask, slice(7, 8)):
        part = data[index]
        assert np.array_equal(part.rows.toarray(), dense[index].rows)
        assert np.array_equal(part.labels, dense[index].labels)
        assert np.array_equal(
            part[1:].rows.toarray() if len(part) > 1 else 0, dense[index].rows[1:] if len(part) > 1 else 0
        )
    assert np.shares_memory(data[3:30].rows.values, data.rows.values)
    row, target = data[-7]
    assert np.array_equal(row, dense[-7][0])
    assert target == dense[-7][1]
    for ours, theirs in zip(data.split(0.3, seed=4), dense.split(0.3, seed=4), strict=True):
        assert np.array_equal(ours.rows.toarray(), theirs.rows)
    refuses(ValueError, lambda: data[40:], "selects 0 of 40 rows")
    for other in (copy.deepcopy(data.rows), pickle.loads(pickle.dumps(data.rows)), data[:].rows):
        assert same(other, data.rows)


def test_weights_kinds_scale_and_words():
    x = matrix(np.random.default_rng(1))
    data = Dataset(x, labels(40), sample_weight=np.arange(40.0), scale=0.5, name="n")
    assert repr(data).startswith("Dataset(40 rows, features (8,) float32 sparse, ")
    assert "times 0.5, 3 classes, weighted)" in repr(data)
    assert data.as_kind("numbers").rows is data.rows
    assert data[5:7].sample_weight.tolist() == [5, 6]
    with pytest.warns(UserWarning, match="the largest byte is 3; without a scale"):
        assert Dataset(sp.csr_array(np.eye(3, dtype=np.uint8) * 3), [0, 1, 2]).scale == 1 / 255


# --- the same bits ---------------------------------------------------------------------------------------------------


def outcome(model, data, x, **options) -> tuple:
    """All that training, evaluation and prediction give."""
    model, history = trained(data, model, **options)
    answers = (
        () if isinstance(model, Own) else (fm.Predictor(model)(x).tobytes(), fm.predict(model, data.rows).tolist())
    )
    judged = fm.evaluate(model, data)
    return bits(model), measured(history), judged.loss, judged.probabilities.tobytes(), answers


@settings(CHECKED, max_examples=20)
@given(
    seed=seeds, form=st.sampled_from(["csr", "csc"]), dtype=st.sampled_from(TYPES[:-1]), density=st.floats(0, 1),
    on=st.sampled_from(["engine", "graph", "two threads", "float64", "dropout"]),
)  # fmt: skip
def test_training_is_that_of_the_dense_array_to_the_bit(seed, form, dtype, density, on):
    x = matrix(np.random.default_rng(seed), form, dtype, density=density)
    data, dense = quiet(x), quiet(x.toarray())

    def net():
        if on == "dropout":
            fm.manual_seed(1)
            return fm.nn.Sequential(fm.nn.Dropout(0.3), fm.nn.Linear(8, 5), fm.nn.ReLU(), fm.nn.Linear(5, 3))
        return Own() if on == "graph" else mlp().double() if on == "float64" else mlp()

    options = {"batch_size": 7, "validation": 0.25, "n_threads": 1 + (on == "two threads")}
    assert outcome(net(), data, x, **options) == outcome(net(), dense, x.toarray(), **options)


def test_another_set_to_validate_weights_and_an_average_are_the_same_too():
    rng = np.random.default_rng(8)
    x, held = matrix(rng), matrix(rng, shape=(20, 8))
    found = []
    for of in (lambda x: x, lambda x: x.toarray()):
        data = Dataset(of(x), labels(40), sample_weight=np.arange(40) + 1)
        watch = fm.Watch(data, rows=16)
        model, history = trained(
            data, fm.nn.MLP(8, (6,), 3, batch_norm=True) if fm.manual_seed(2) is None else None,
            validation=Dataset(of(held), labels(20)), average="swa", class_weight="balanced", callbacks=[watch],
        )  # fmt: skip
        found.append((bits(model), measured(history), str(watch.state_dict()["layers"])))
    assert found[0] == found[1]


def test_a_training_goes_on_with_the_rows_it_began_with(tmp_path):
    x = matrix(np.random.default_rng(9))
    data = Dataset(x, labels(40))
    whole, _ = trained(data, epochs=4)
    trained(data, epochs=2, checkpoint=tmp_path / "run")
    resumed = fm.resume(tmp_path / "run", Dataset(x.tocsc(), labels(40)), epochs=4, progress=False)
    assert bits(resumed.model) == bits(whole)
    trained(data, epochs=2, checkpoint=tmp_path / "other")
    other = x.copy()
    other.data[5] += 1
    refuses(
        ValueError,
        lambda: fm.resume(tmp_path / "other", Dataset(other, labels(40)), epochs=4, progress=False),
        "has other features",
    )


def test_a_page_of_a_run_on_sparse_rows(tmp_path):
    data = Dataset(matrix(np.random.default_rng(9)), labels(40))
    model, history = trained(data)
    fm.report.write_report(
        tmp_path / "r.html", model, history, fm.evaluate(model, data), data, {}, fm.diagnose(history)
    )
    assert "x: 8 float32" in (tmp_path / "r.html").read_text("utf-8")


# --- kernels ---------------------------------------------------------------------------------------------------------


@CHECKED
@given(seed=seeds, dtype=st.sampled_from([np.float32, np.float64]), to=st.sampled_from([np.float32, np.float64]))
def test_gather_sparse(seed, dtype, to):
    """Rows in shuffled order, from `start`, zeros included; columns past the features stay as they are."""
    rng = np.random.default_rng(seed)
    rows = sparse_rows(matrix(rng, dtype=dtype, shape=(30, 9)), "x")[3:28]
    order, start = rng.permutation(25), int(rng.integers(0, 20))
    source = [part.ctypes.data for part in (rows.indptr, rows.indices, rows.values)]
    x = np.full((5, 12), 7, to)
    k.GATHER_SPARSE[rows.dtype](np.array([source[0], *rows.shape, 0, *source[1:]], np.int64), order, start, 1 / 255, x)
    want = rows.toarray()[order[start : start + 5]].astype(to) * to(1 / 255)
    assert x[:, :9].tobytes() == want.tobytes()
    assert (x[:, 9:] == 7).all()


@CHECKED
@given(seed=seeds, rows=st.integers(1, 20), columns=st.integers(1, 20))
def test_turn_and_look(seed, rows, columns):
    """The kernel's order is that of a stable sort by row."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, 50))
    column, row = np.sort(rng.integers(0, columns, count)), rng.integers(0, rows, count)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(column, minlength=columns))])
    begins, turned, moved = np.zeros(rows + 1, np.int64), np.empty(count, np.int32), np.empty(count, np.uint32)
    k.turn(indptr, row, np.arange(count, dtype=np.uint32), begins, turned, moved)
    order = np.argsort(row, kind="stable")
    assert moved.tolist() == order.tolist()
    assert turned.tolist() == column[order].tolist()
    assert begins.tolist() == [0, *np.cumsum(np.bincount(row, minlength=rows))]
    pairs = list(zip(row[order], turned, strict=True))
    assert k.look_at_rows(begins, turned, columns) == (len(set(pairs)) == len(pairs), -1)
    if count:
        outside = int(rng.integers(0, count))
        turned[outside] = rng.choice([-1, columns])
        assert k.look_at_rows(begins, turned, columns)[1] == outside


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csr", "csc"])
@pytest.mark.parametrize("array", [False, True])
def test_the_file_that_scipy_writes(form, array, tmp_path):
    x = matrix(np.random.default_rng(2), form, array=array)
    sp.save_npz(tmp_path / "x.npz", x)
    assert same(read_sparse_npz(tmp_path / "x.npz"), sparse_rows(x, "x"))


def test_files_of_other_formats_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    refuses(FileNotFoundError, lambda: read_sparse_npz(path), "does not exist; it must be a .npz file that scipy")
    sp.save_npz(path, sp.coo_array(np.eye(3)))
    refuses(ValueError, lambda: read_sparse_npz(path), "is of the format coo; it must be csr or csc: save x.tocsr()")
    np.savez(path, x=np.eye(3), y=[1, 2, 3])
    refuses(
        ValueError, lambda: read_sparse_npz(path), "has no array indptr; it must have those of scipy.sparse.save_npz"
    )
    path.write_bytes(b"PK")
    refuses(ValueError, lambda: read_sparse_npz(path), "is not a whole .npz archive")
    sp.save_npz(path, sp.csr_array(np.eye(3)))
    refuses(
        ValueError, lambda: fm.data.load(path), "sparse matrix of SciPy and no targets; Dataset(read_sparse_npz(path)"
    )
    arrays = {"format": b"csc", "indptr": [0, 1], "indices": [0], "data": [1.0]}
    np.savez(path, **arrays, shape=[2**60, 1])
    refuses(MemoryError, lambda: read_sparse_npz(path), "the beginnings of 1152921504606846976 sparse rows")
    np.savez(path, **arrays, shape=[5])
    refuses(ValueError, lambda: read_sparse_npz(path), "has the shape array([5]); it must be two whole numbers")
