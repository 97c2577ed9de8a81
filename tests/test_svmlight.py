"""Files of SVMlight's and LIBSVM's format: the same as scikit-learn reads, and faults named by their line."""

import gzip
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import CHECKED, seeds
from trainings import refuses

from fastmlp.data import load_svmlight_file, sparse_files


def written(path, text) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def read(path, text, **options):
    """A Dataset of five columns that begin at 1, unless the options say otherwise."""
    return load_svmlight_file(written(path, text), **{"n_features": 5, "zero_based": False, **options})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.svm"


def test_lines_comments_and_gaps(path):
    text = "# of nothing\n+1 1:0.5 5:-2e3 # qid:3\r\n\n   \n-1\n3\t2:1\t3:+.25#"
    for content in (text, gzip.compress(text.encode())):
        data = read(path, content)
        assert data.rows.toarray().tolist() == [[0.5, 0, 0, 0, -2000], [0] * 5, [0, 1, 0.25, 0, 0]]
        assert data.classes_.tolist() == [-1, 1, 3]
        assert (data.classes_[data.labels].tolist(), data.name) == ([1, -1, 3], "x")


def test_the_first_column_is_where_it_is_said_to_be(path):
    """Columns 0 and 3 are empty: no file says so."""
    text = "0 1:1\n1 2:2\n"
    assert read(path, text, zero_based=True, n_features=4).rows.toarray().tolist() == [[0, 1, 0, 0], [0, 0, 2, 0]]
    assert read(path, text, zero_based=False, n_features=4).rows.toarray().tolist() == [[1, 0, 0, 0], [0, 2, 0, 0]]
    for options, words in (
        ({"n_features": None}, "n_features must be given: no file says how many columns there are"),
        ({"zero_based": None}, "zero_based is not given; it must be True or False: no file says where"),
        ({"zero_based": "auto"}, "zero_based is 'auto'; it must be True or False"),
    ):
        refuses(TypeError, lambda options=options: read(path, text, **options), "load_svmlight_file: " + words)
    refuses(ValueError, lambda: read(path, text, n_features=0), "n_features is 0")
    refuses(TypeError, lambda: read(path, text, dtype=np.int64), "it must be float32 or float64")


def test_whole_targets_are_classes_and_others_numbers(path):
    assert read(path, "1 1:1\n2 1:1\n").kind == "classes"
    assert read(path, "1 1:1\n2.0 1:1\n").targets.tolist() == [1, 2]
    assert read(path, "1 1:1\n2.5 1:1\n").kind == "numbers"
    assert read(path, "1 1:1\n2 1:1\n", kind="numbers").targets.tolist() == [1, 2]
    assert read(path, "1 1:1\n2 1:1\n", classes=[2, 1, 0]).labels.tolist() == [1, 0]
    assert read(path, "1 1:1.1\n", dtype=np.float32).rows.values.tolist() == [float(np.float32(1.1))]


WRONG = {
    "1 0:1": "has the index 0; with zero_based=False and n_features=5 it must be in 1..5",
    "1 2:1 6:1": "has the index 6; with zero_based=False and n_features=5 it must be in 1..5",
    "1 3:1 2:1": "has the index 2 after 3; they must ascend, none twice",
    "1 3:1 3:1": "has the index 3 after 3; they must ascend, none twice",
    "1,2 3:1": "has several targets, 1,2; it must have one: lines of several labels are not read",
    "3:1 4:1": "begins with '3:1'; it must begin with a target",
    "1 qid:7 3:1": "has a query, qid:7; rankings are not read",
    "cat 3:1": "has the target 'cat'; it must be a finite number",
    "nan 3:1": "has the target 'nan'; it must be a finite number",
    "1_0 3:1": "has the target '1_0'; it must be a finite number",
    "1 3:nan": "has '3:nan'; it must be index:value",
    "1 3:1e999": "has '3:1e999'; it must be index:value",
    "1 3:1_0": "has '3:1_0'; it must be index:value",
    "1 3:": "has '3:'; it must be index:value",
    "1 :3": "has ':3'; it must be index:value",
    "1 3": "has '3'; it must be index:value",
    "1 -3:1": "has '-3:1'; it must be index:value",
    "1 3:1:2 4": "has '3:1:2'; it must be index:value",
    "1 3.5:1": "has '3.5:1'; it must be index:value",
    "1 99999999999999999999:1": "it must be index:value",
    "1 \xff:1": "it must be index:value",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_bad_line_is_named(path, line):
    text = b"0 1:1\n\n# comment\n" + line.encode("latin-1") + b"\n0 1:1\n"
    refuses(ValueError, lambda: read(path, text), f"load_svmlight_file: {path} line 4 ", WRONG[line])


def test_files_that_are_none(path, tmp_path, monkeypatch):
    refuses(FileNotFoundError, lambda: load_svmlight_file(path, n_features=1, zero_based=True), "does not exist")
    refuses(ValueError, lambda: load_svmlight_file(tmp_path, n_features=1, zero_based=True), "is a folder; it must be")
    refuses(ValueError, lambda: read(path, "# nothing\n"), "has no line with a target; it must have at least 1")
    refuses(ValueError, lambda: read(path, gzip.compress(b"1 1:1\n" * 99)[:-9]), "is truncated")
    monkeypatch.setattr(sparse_files, "LONGEST", 100)
    refuses(ValueError, lambda: read(path, b"1 1:1\n" + bytes(200)), "line 2 is longer than 100 bytes")


def test_a_file_is_read_line_by_line(path):
    """Numbers take their bytes in growing arrays, not Python's 32 and more each."""
    lines = "".join(f"{row % 2} " + " ".join(f"{i}:{i}.5" for i in range(1, 51)) + "\n" for row in range(1000))
    written(path, lines)
    load_svmlight_file(path, n_features=50, zero_based=False)  # what a first call keeps
    tracemalloc.start()
    data = load_svmlight_file(path, n_features=50, zero_based=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert data.rows.stored.size == 50_000
    assert peak < 50_000 * 40  # 8 + 8 that are read, 8 + 4 that are kept, and room to grow


@settings(CHECKED, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=seeds, zero_based=st.booleans(), comment=st.sampled_from(["", "one line"]), whole=st.booleans())
def test_scikit_learn_writes_and_reads_the_same(tmp_path, seed, zero_based, comment, whole):
    datasets = pytest.importorskip("sklearn.datasets", reason="the peer: pip install scikit-learn")
    sp = pytest.importorskip("scipy.sparse", reason="the peer: pip install scipy")
    rng = np.random.default_rng(seed)
    x = sp.random(12, 9, 0.3, "csr", random_state=int(rng.integers(2**31)))
    x.data = rng.normal(size=len(x.data)) * 10.0 ** rng.integers(-300, 300, len(x.data))
    y = rng.integers(0, 3, 12) if whole else rng.normal(size=12)
    datasets.dump_svmlight_file(x, y, str(tmp_path / "x"), zero_based=zero_based, comment=comment)
    theirs, targets = datasets.load_svmlight_file(str(tmp_path / "x"), n_features=9, zero_based=zero_based)
    data = load_svmlight_file(tmp_path / "x", n_features=9, zero_based=zero_based, kind=None if whole else "numbers")
    assert data.rows.toarray().tobytes() == theirs.toarray().tobytes()
    assert np.array_equal(data.targets if not whole else data.classes_[data.labels], targets)
