"""The quick half of `soak/test_long.py`: trainings that leave nothing behind, and what `make test` leaves out."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from long_runs import Held, growth, trainings

import fastmlp as fm

ROOT = Path(__file__).resolve().parent.parent


def left(count: int, folder: Path) -> tuple[Held, Held]:
    """What the process holds before and after so many trainings; they have all run once before, on other numbers."""
    trainings(0, count, folder)
    before = Held.now()
    trainings(0, count, folder)
    after = Held.now()
    print(growth(before, after, count))
    return before, after


def test_trainings_leave_no_thread_no_file_and_no_object(tmp_path):
    before, after = left(32, tmp_path)
    assert (after.threads, after.handles) == (before.threads, before.handles)
    assert after.objects - before.objects < 32  # not one a training; a cache of Python's own may take a few
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.npy"]


@pytest.mark.parametrize("what", ["threads", "handles", "objects"])
def test_what_is_left_behind_is_seen(what, tmp_path, monkeypatch):
    kept = []
    opened = {
        "threads": lambda: kept.append(_waiting()),
        "handles": lambda: kept.append(os.open(__file__, os.O_RDONLY)),
        "objects": lambda: kept.append([[]]),
    }
    before = Held.now()
    for _ in range(3):
        opened[what]()
    after = Held.now()
    assert getattr(after, what) >= getattr(before, what) + 3
    for one in kept:
        if what == "threads":
            one.set()
        elif what == "handles":
            os.close(one)


def _waiting() -> threading.Event:
    event = threading.Event()
    threading.Thread(target=event.wait, daemon=True).start()
    return event


def test_a_predictor_that_is_refreshed_keeps_nothing():
    model, x = fm.nn.MLP(6, (8,), 3), np.zeros((2000, 6), np.float32)
    predictor = fm.Predictor(model, n_threads=2)
    predictor(x)
    before = Held.now()
    for _ in range(50):
        predictor.refresh()
        predictor(x)
    after = Held.now()
    assert (after.threads, after.handles) == (before.threads, before.handles)
    assert after.objects - before.objects < 50


def test_what_takes_minutes_is_run_where_it_is_named_alone(tmp_path):
    """`make test` and `pytest` leave two folders of tests out; `make soak` and `make test-exports` name them."""
    for folder in ("soak", "exports"):
        (tmp_path / "tests" / folder).mkdir(parents=True)
        (tmp_path / "tests" / folder / "test_slow.py").write_text("def test_slow(): pass\n")
    (tmp_path / "tests" / "test_quick.py").write_text("def test_quick(): pass\n")
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path)]
    plain = {name: text for name, text in os.environ.items() if name != "PYTEST_ADDOPTS"}  # of who runs this
    for given in ("tests", "tests/soak", "tests/exports"):
        found = ["test_quick" if given == "tests" else "test_slow"]
        options = ["-p", "no:cacheprovider", "--collect-only", given]
        done = subprocess.run([*command, *options], capture_output=True, text=True, cwd=tmp_path, env=plain)
        assert [line.split("::")[1] for line in done.stdout.splitlines() if "::" in line] == found, done.stdout
    for folder in ("soak", "exports"):
        assert f"-m pytest tests/{folder}" in (ROOT / "Makefile").read_text("utf-8")
