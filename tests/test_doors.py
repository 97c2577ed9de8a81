"""The data door of the command lines: sparse rows from text and from scipy's files, with options that are stated."""

import json
from pathlib import Path

import numpy as np
import pytest
from scripted import runner
from trainings import refuses

from fastmlp.data.doors import again, read_sets

scipy_sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")


@pytest.fixture
def script(monkeypatch, capsys):
    """Runs a script of the repository; returns (exit code, output, errors)."""
    return runner(monkeypatch, capsys)


def rows(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sparse rows of seven columns, the first one empty, and their class, -1 or 1."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 7)) * (rng.random((count, 7)) < 0.4)
    x[:, 0] = 0
    return x.astype(np.float32), np.where(x[:, 1] + x[:, 2] > 0, 1, -1)


def svm(path: Path, x: np.ndarray, y: np.ndarray, first: int = 1) -> Path:
    lines = (
        " ".join([str(t), *(f"{c + first}:{float(v)!r}" for c, v in enumerate(row) if v)])
        for row, t in zip(x, y, strict=True)
    )
    path.write_text("\n".join(lines) + "\n")
    return path


def npz(path: Path, x: np.ndarray) -> Path:
    scipy_sparse.save_npz(path, scipy_sparse.csr_matrix(x))
    return path


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    (x, y), (x_test, y_test) = rows(90, 0), rows(30, 1)
    np.save(tmp_path / "y.npy", y)
    np.save(tmp_path / "y_test.npy", y_test)
    np.savez(tmp_path / "both.npz", x=x, y=y)
    return {
        "both": tmp_path / "both.npz",
        "svm": svm(tmp_path / "a.svm", x, y), "svm_test": svm(tmp_path / "a.t", x_test, y_test),
        "npz": npz(tmp_path / "x.npz", x), "npz_test": npz(tmp_path / "x_test.npz", x_test),
        "y": tmp_path / "y.npy", "y_test": tmp_path / "y_test.npy",
    }  # fmt: skip


def test_text_and_scipys_file_hold_the_same_rows(files):
    text = read_sets(files["svm"], zero_based=False, n_features=7, test=files["svm_test"])
    npz = read_sets(files["npz"], targets_file=files["y"], test=files["npz_test"], test_targets_file=files["y_test"])
    for ours, theirs, count, seed in zip(text, npz, (90, 30), (0, 1), strict=True):
        x, y = rows(count, seed)
        for data in (ours, theirs):
            assert data.classes_.tolist() == [-1, 1]
            np.testing.assert_array_equal(data.rows.toarray(), x)
            np.testing.assert_array_equal(data.classes_[data.labels], y)
            np.testing.assert_array_equal(again(json.loads(json.dumps(data.source))).rows.toarray(), x)


def test_rows_are_set_aside_as_a_test_set(files):
    options = {"zero_based": False, "n_features": 7, "seed": 3}
    train, test = read_sets(files["svm"], **options, test=0.2)
    whole = read_sets(files["svm"], **options)[0]
    assert (len(train), len(test), len(whole)) == (72, 18, 90)
    rest, held = whole.split_rows(0.2, 3)
    np.testing.assert_array_equal(train.rows.toarray(), whole.rows.toarray()[rest])
    np.testing.assert_array_equal(again(test.source).rows.toarray(), whole.rows.toarray()[held])


def test_nothing_is_guessed(files):
    def refused(words: str, path: str, **options: object) -> None:
        refuses(ValueError, lambda: read_sets(files[path], **options), words)

    refused("argument --zero-based: it must be given", "svm", n_features=7)
    refused("argument --n-features: it must be given", "svm", zero_based=True)
    refused("argument --targets-file: it must be given", "npz")
    refused("argument --test-targets-file: it must be given", "npz", targets_file=files["y"], test=files["npz_test"])
    refused(
        "argument --test-targets-file: it goes with --test FILE",
        "npz",
        targets_file=files["y"],
        test_targets_file=files["y"],
    )
    refused("argument --zero-based: it is for a text", "npz", zero_based=True, targets_file=files["y"])
    refused("argument --targets-file: it is for a .npz of sparse rows", "svm", zero_based=True, targets_file=files["y"])
    refused("is no .npy file of numbers", "npz", targets_file=files["svm"])
    refused("has the index 7; with zero_based=True and n_features=7", "svm", zero_based=True, n_features=7)
    refused("argument --test: 90 of 90 rows", "svm", zero_based=False, n_features=7, test=90)
    refused("--test is a fraction or a number of rows", "both", test=files["svm"])


def test_the_script_trains_evaluates_and_goes_on(files, script, tmp_path):
    quiet = ("--no-plots", "--no-progress", "--hidden", 8, "--lr", 0.01)
    said = ("--zero-based", "no", "--n-features", 7)
    out = tmp_path / "run"
    options = ("--data", files["svm"], *said, "--test", files["svm_test"], "--out", out, "--epochs", 20)
    code, told, err = script("train", *options, *quiet)
    assert (code, err) == (0, "")
    assert "7-8-2 on a.svm: 90 training rows" in told
    assert "test accuracy" in told
    accuracy = json.loads((out / "metrics.json").read_text())["test"]["accuracy"]
    assert accuracy > 0.7  # 20 epochs of a sum of two columns
    code, told, err = script("evaluate", "--model", out, "--data", files["svm_test"], *said)
    assert (code, err) == (0, "")
    assert f"{100 * accuracy:.2f}" in told
    code, _, err = script("train", "--resume", out, "--epochs", 21)
    assert (code, err) == (0, "")
    older = tmp_path / "older"
    code, _, err = script("train", "--out", older, "--data", files["both"], "--test", 9, "--epochs", 1, *quiet)
    assert (code, err) == (0, "")
    config = json.loads((older / "config.json").read_text())
    new = ("task", "prefix", "transpose", "target", "drop", "categorical", "missing", "zero_based", "n_features",
           "sample_weight")  # fmt: skip
    left = {name: value for name, value in config.items() if name not in new}  # as a run of an older release has it
    (older / "config.json").write_text(json.dumps(left))
    code, _, err = script("train", "--resume", older, "--epochs", 2)
    assert (code, err) == (0, "")
    code, _, err = script("train", "--data", files["svm"], "--n-features", 7, *quiet)
    assert (code, err.count("\n")) == (2, 1)
    assert "--zero-based: it must be given" in err


def test_what_the_targets_are_is_said_once(files, script, tmp_path):
    quiet = ("--no-plots", "--no-report", "--no-progress", "--epochs", 1)
    code, out, err = script("train", "--data", files["both"], "--task", "regression", "--out", tmp_path / "r", *quiet)
    assert (code, err) == (0, "")
    assert "7-128-64-1 on both.npz: 90 training rows, adam, lr 0.001, mse" in out
    code, out, err = script("evaluate", "--model", tmp_path / "r", "--data", files["both"])
    assert (code, err) == (0, "")
    assert "R²" in out
