"""`train.py --mpi`: one run of all ranks, which rank 0 writes and prints; its bits on one rank and on two."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from idx_files import idx_bytes
from parallel_cases import ROOT, launched, output_of

import fastmlp as fm

SCRIPT = ROOT / "scripts" / "train.py"
SMALL = ["--hidden", "9", "--dropout", "0.2", "--batch-size", "32", "--validation", "40", "--threads", "1"]
SMALL += ["--no-plots", "--no-report", "--no-progress"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set of images of 4 by 4 pixels in three classes."""
    place = tmp_path_factory.mktemp("images")
    for name, rows in (("train", 200), ("t10k", 60)):
        draw = np.random.default_rng(rows)
        labels = np.arange(rows) % 3
        images = draw.integers(0, 100, (rows, 4, 4))
        images[np.arange(rows), 1, labels] += 150
        (place / f"{name}-images-idx3-ubyte").write_bytes(idx_bytes(images.astype(np.uint8)))
        (place / f"{name}-labels-idx1-ubyte").write_bytes(idx_bytes(labels.astype(np.uint8)))
    return place


def run(size, *words):
    """(status, output) of `train.py` on so many ranks."""
    process = launched(size, SCRIPT, *map(str, words))
    text = output_of(process)
    return process.returncode, text


def weights(place: Path) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in fm.load_model(place).state_dict().items()}


def test_two_ranks_leave_one_run_with_the_weights_of_one_and_another_number_goes_on(folder, tmp_path):
    options = ["--mpi", "--data", folder, *SMALL, "--epochs", "4"]
    one, two, ended = tmp_path / "one", tmp_path / "two", tmp_path / "ended"
    code, text = run(1, *options, "--out", one)
    assert code == 0, text
    code, text = run(2, *options, "--out", two)
    assert code == 0, text
    assert "8 blocks a batch, on 2 ranks: process " in text
    assert text.count("16-9-3 on ") == text.count("wrote ") == 1, text  # by one rank alone
    assert "Error" not in text
    assert weights(two) == weights(one)
    assert (two / "history.csv").read_text().splitlines()[0] == (one / "history.csv").read_text().splitlines()[0]
    found, theirs = (json.loads((place / "metrics.json").read_text()) for place in (two, one))
    assert found["test"] == theirs["test"]

    code, text = run(2, *options, "--out", ended, "--checkpoint-every", 3, "--time-limit", "0.000001")
    assert code == 0, text
    assert json.loads((ended / "config.json").read_text())["status"] == "time limit"
    assert not (ended / "model.safetensors").exists()  # ended within its first epoch
    code, text = run(1, "--resume", ended)
    assert code == 0, text
    assert weights(ended) == weights(one)
    assert json.loads((ended / "config.json").read_text())["status"] == "finished"


def test_a_folder_that_rank_0_refuses_ends_all(folder, tmp_path):
    """It alone has the run; the others would wait for it for ever."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    code, text = run(2, "--mpi", "--data", folder, *SMALL, "--epochs", "1", "--out", tmp_path / "run")
    assert code == 2, text
    assert text.count("error: argument --out: ") == 1
    assert "Traceback" not in text


@pytest.mark.parametrize("words", [["--lr-find"], ["--blocks", "1"]])
def test_what_is_refused_is_said_and_leaves_no_run(folder, tmp_path, words):
    code, text = run(2, "--mpi", "--data", folder, *SMALL, *words, "--out", tmp_path / "run")
    assert code
    assert "train.py: error: " in text or "fit_parallel: blocks is 1 for 2 ranks" in text, text
    assert "Traceback" not in text
    assert not (tmp_path / "run").exists()


def test_the_script_runs_without_mpiexec(folder, tmp_path):
    """One rank, which no launcher has started."""
    words = [sys.executable, SCRIPT, "--mpi", "--data", folder, *SMALL, "--epochs", "1", "--out", tmp_path / "run"]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "on 1 rank" in done.stdout
