"""What the tests of sweeps share: data, models that workers make, a driver to be killed."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np

import fastmlp as fm
from fastmlp import scale

ROOT = Path(__file__).parent.parent
SPACE = {"hidden": [(8,), (8, 8)], "lr": scale.log_uniform(1e-3, 1e-1), "optimizer": ["adam", "sgd"]}


def data(rows=300, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (rows, 6)).astype(np.float32)
    return fm.Dataset(x, (x[:, 0] + x[:, 1] * x[:, 2] > 0).astype(np.int64))


def lines(folder):
    """The journal's lines as they stand, all of them."""
    path = Path(folder) / "journal.jsonl"
    return [json.loads(text) for text in path.read_text("utf-8").splitlines()] if path.exists() else []


def weights(folder):
    """A digest by (key, epochs). AssertionError where a trial ran twice."""
    found = {(line["key"], line["epochs"]): line["weights"] for line in lines(folder)}
    assert len(found) == len(lines(folder)), "a trial that was done ran again"
    return found


def mortal(data, marks, **values):
    """An MLP; the first two workers that make one with marks there are killed in the midst of it."""
    for name in ("first", "second"):
        try:
            (Path(marks) / name).touch(exist_ok=False)
        except FileExistsError:
            continue
        os.kill(os.getpid(), signal.SIGKILL)
    return fm.nn.MLP(data.n_features, (8,), data.n_outputs, **values)


def slow(data, seconds=0.2, **values):
    """An MLP that takes a while to make."""
    time.sleep(seconds)
    return fm.nn.MLP(data.n_features, (8,), data.n_outputs, **values)


DRIVER = """
import sys
sys.path[:0] = [{tests!r}, {root!r}]
import sweeps
from fastmlp import scale

if __name__ == "__main__":
    {before}
    with {around}:
        scale.sweep(sweeps.data(), {{"lr": scale.log_uniform(1e-3, 1e-1)}}, sys.argv[1], n_trials=24, epochs=3,
                    model=sweeps.slow, seconds={seconds}, n_jobs={jobs}, retries=5, progress=False)
    print("done", flush=True)
"""


def driver(folder, place, seconds=0.2, jobs=2, before="pass", around="__import__('contextlib').nullcontext()"):
    """A process that sweeps 24 trials into the folder."""
    text = textwrap.dedent(DRIVER).format(
        tests=str(ROOT / "tests"), root=str(ROOT), seconds=seconds, jobs=jobs, before=before, around=around
    )
    script = Path(place) / "driver.py"
    script.write_text(text, "utf-8")
    return subprocess.Popen(
        [sys.executable, str(script), str(folder)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip


def wait_for(folder, count, process, seconds=60):
    """Until the journal has so many lines."""
    end = time.monotonic() + seconds
    while len(lines(folder)) < count:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < end, f"{len(lines(folder))} lines after {seconds} s"
        time.sleep(0.02)
