"""What the benchmark's workers compute of made numbers: their data, their tables, their cases. Nothing is measured."""

import hashlib
import importlib.util
import json
import sys
import types
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


def script(name: str) -> ModuleType:
    """A script as a module; `dataclass` looks it up."""
    spec = importlib.util.spec_from_file_location(f"worker_{name}", ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


rivals, whole, sparse = script("rivals"), script("rivals_whole"), script("rivals_sparse")


def digest(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()[:16]


# --- made data --------------------------------------------------------------------------------------------------------


def test_the_sparse_set_is_the_same_at_each_call():
    """Of integers alone the digest is written down: sums of floats may differ from one processor to another."""
    values, indices, indptr, labels = sparse.make(50, 1000, 10)
    assert digest(values, labels) == digest(*(sparse.make(50, 1000, 10)[part] for part in (0, 3)))
    assert digest(indices, indptr) == "32d2357bba40803a"
    rows = indices.reshape(50, 10)
    assert (np.diff(rows, axis=1) > 0).all()  # ascending, none twice
    assert (rows.min(), rows.max()) >= (0, 0)
    assert rows.max() < 1000
    assert list(indptr) == list(range(0, 501, 10))
    assert values.dtype == np.float32
    assert (values > 0).all()
    np.testing.assert_allclose((values.reshape(50, 10) ** 2).sum(1), 1, rtol=1e-6)  # ten roundings of float32
    assert set(labels) <= set(range(sparse.CLASSES))


def test_the_sparse_classes_are_even_and_the_columns_follow_zipf():
    _, indices, _, labels = sparse.make(4000, 10_000, 20)
    counts = np.bincount(labels, minlength=sparse.CLASSES)
    assert counts.min() > 4000 / sparse.CLASSES / 2
    seen = np.bincount(indices, minlength=10_000)
    assert seen[0] > 3900  # the most common word is nearly everywhere
    assert seen[:10].sum() > 10 * seen[1000:1010].sum()


def test_the_set_is_written_and_read(tmp_path, monkeypatch):
    scipy = pytest.importorskip("scipy.sparse", reason="the matrix is SciPy's")
    monkeypatch.setattr(sys, "argv", ["rivals_sparse.py", "make", f"folder={tmp_path}", "rows=3"])
    sparse.main()
    x, y = sparse.load(tmp_path)
    assert scipy.issparse(x)
    assert x.shape == (3, sparse.COLUMNS)
    assert (x.nnz, len(y)) == (3 * sparse.FULL, 3)


def test_made_tables_are_the_same_at_each_call():
    x, y = rivals.table(200, 8, 3)
    assert x.shape == (200, 8)
    assert x.dtype == np.float32
    again = rivals.table(200, 8, 3)
    assert digest(x, y) == digest(*again)
    assert set(y) == {0, 1, 2}


def test_standardised_pixels_have_no_zero(monkeypatch):
    pixels = np.array([[0, 0, 255], [0, 10, 30]], np.uint8)
    monkeypatch.setattr(rivals, "images", lambda rows: (pixels, np.zeros(2, np.int64)))
    x, _ = rivals.features(rivals.CASES["standardised"])
    assert x.dtype == np.float32
    assert x.all()
    assert abs(x.mean()) < 1e-6  # six roundings
    assert rivals.floats(rivals.CASES["standardised"], x) is x
    assert rivals.floats(rivals.CASES["small"], pixels).max() == 1


# --- tables -----------------------------------------------------------------------------------------------------------

TEXT = """@relation made
@data
1, 10, 5, b

3,30,5,a
"""


def test_a_table_is_read(tmp_path):
    (tmp_path / "made.dat").write_text(TEXT)
    x, y = whole.read_table(tmp_path / "made.dat")
    assert x.dtype == np.float32
    assert x.tolist() == [[-1, -1, 0], [1, 1, 0]]  # a column that does not vary is 0
    assert y.tolist() == [1, 0]  # a before b


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("1,2,a\n1,a\n", "made.dat: a line has 2 values; it must have 3, as the first"),
        ("1,b,a\n", "could not convert string to float"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, text, fault):
    (tmp_path / "made.dat").write_text(text)
    with pytest.raises(ValueError, match=fault):
        whole.read_table(tmp_path / "made.dat")


def test_what_is_lacking_is_said(tmp_path):
    assert whole.made("fastmlp", "letter", None).startswith("needs --tables FOLDER")
    assert whole.made("fastmlp", "letter", tmp_path) == "there is no letter.dat in the folder of --tables"


def test_sparse_rows_that_are_not_taken_are_said(tmp_path, monkeypatch):
    """A fastmlp of another time: no `lazy`, and no sparse rows."""

    def refuse(*arguments):
        raise TypeError("features is a csr_matrix")

    data = types.SimpleNamespace(Dataset=refuse)
    optim = types.SimpleNamespace(Adam=lambda parameters: None)
    monkeypatch.setitem(sys.modules, "fastmlp", types.SimpleNamespace(data=data, optim=optim))
    matrix = types.SimpleNamespace(data=np.ones(1), indices=np.ones(1), indptr=np.ones(1))
    monkeypatch.setattr(sparse, "load", lambda folder: (matrix, np.zeros(1)))
    monkeypatch.setattr(sparse, "import_module", lambda name: None)
    assert sparse.fastmlp(tmp_path, {}, lazy=True) == "Adam has no lazy=True here"
    assert sparse.fastmlp(tmp_path, {}) == "Dataset takes no sparse rows here (features is a csr_matrix)"


# --- figures ----------------------------------------------------------------------------------------------------------


def test_steps_stand_for_an_epoch(monkeypatch):
    """130 rows are 3 steps an epoch; each of the 12 takes 2 s of the test's clock, in one call or in twelve."""
    clock, sizes = [0.0], []
    monkeypatch.setattr(sparse, "perf_counter", lambda: clock[0])

    def step(rows):
        sizes.append(len(rows))
        clock[0] += 2.0 * -(-len(rows) // sparse.BATCH)

    run = sparse.scaled(step, 130)
    assert run() == pytest.approx(6.0)  # a sum of twelve
    assert sizes == [64] * 13  # the first is not timed
    sizes.clear()
    sparse.scaled(step, 12 * 64, each=12)
    assert sizes == [12 * 64]


def test_operations_of_a_step_and_whole_batches():
    listed = {case["name"]: case for case in rivals.listing()}
    one = rivals.CASES["table 16-100-26"]
    assert (one.widths, one.batch, one.what) == ((16, 100, 26), 200, "a step")
    assert listed["table 16-100-26"]["flops"] == 200 * (6 * (1600 + 2600) - 2 * 1600)
    assert listed["small"]["flops"] == 60_000 * rivals.CASES["small"].flops_a_row
    assert listed["10,000 rows"]["flops"] == 10_000 * rivals.CASES["10,000 rows"].flops_a_row
    assert all(set(case.sizes) == {case.batch} for case in rivals.CASES.values() if case.data == "table")


def test_every_worker_lists_its_cases(monkeypatch, capsys):
    names = {"rivals_whole": {*whole.TABLES, "estimator", "grid", "calls"}, "rivals_sparse": {"sparse"}}
    names["rivals_start"] = {"warm start", "cold start"}
    for name, cases in names.items():
        monkeypatch.setattr(sys, "argv", [f"{name}.py"])
        script(name).main()
        listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert {one["name"] for one in listed} == cases
        assert all(one.keys() == {"name", "title", "what", "rows", "flops"} for one in listed)
