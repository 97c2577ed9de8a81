"""Ten minutes of trainings, a thousand small ones, and a memory map of 4 GB: nothing grows, little is resident.

FASTMLP_SOAK_SECONDS=60 makes the first one shorter. The quick half is `test_long`, and `test_mapped` for the map.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import fences
import numpy as np
import pytest
from long_runs import Held, growth, training, trainings

import fastmlp as fm

SECONDS = float(os.environ.get("FASTMLP_SOAK_SECONDS", "600"))
MAP_BYTES = 1 << 32
MOST_MB = 16  # that the heap may grow by, in pieces that are free and not given back to the system


def assert_same(before: Held, after: Held, count: int) -> None:
    assert (after.threads, after.handles) == (before.threads, before.handles)
    assert after.objects - before.objects < 100  # a cache of Python's own may take a few; not one for ten trainings
    assert after.resident - before.resident < MOST_MB, growth(before, after, count)


def larger(number: int) -> None:
    """A training that takes a second, with predictions from it and an evaluation."""
    rng = np.random.default_rng(number)
    data = fm.Dataset(rng.integers(0, 256, (8000, 28, 28), np.uint8), np.arange(8000) % 10)
    model = fm.nn.MLP(784, (64, 32), 10, dropout=0.1, norm="batch")
    fm.fit(model, data, 0.1, epochs=3, progress=False, seed=number)
    predictor = fm.Predictor(model, "auto")
    for row in data.features[:200]:
        predictor(row.reshape(-1))
    predictor(data.features)
    predictor.refresh()
    str(fm.evaluate(model, data))


def test_a_process_that_trains_for_minutes_does_not_grow(tmp_path):
    """The last four fifths of the time against the first one."""
    start, number, before, count, highest = perf_counter(), 0, None, 0, 0.0
    while (passed := perf_counter() - start) < SECONDS or before is None:
        training(number, tmp_path)
        if number % 20 == 0:
            larger(number)
            highest = max(highest, Held.now().resident)
        number += 1
        count += before is not None
        if before is None and passed > SECONDS / 5:
            before = Held.now()
    after = Held.now()
    print(f"\n{perf_counter() - start:.0f} s, at most {highest:.0f} MB; {growth(before, after, count)}")
    assert_same(before, after, count)


def test_a_thousand_trainings_leave_nothing_behind(tmp_path):
    trainings(0, 100, tmp_path)
    before = Held.now()
    trainings(100, 1100, tmp_path)
    after = Held.now()
    print("\n" + growth(before, after, 1000))
    assert_same(before, after, 1000)


# --- a large map -----------------------------------------------------------------------------------------------------

MAP = """
import json, sys, threading
import numpy as np
import fastmlp as fm

def status():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return {name: int(lines[name].split()[0]) / 1024 for name in ("VmHWM", "VmRSS", "RssFile", "RssAnon")}

columns, ended, seen = 784, threading.Event(), []

def watch():
    while not ended.wait(0.02):
        seen.append(status())

watcher = threading.Thread(target=watch)
watcher.start()
x = np.memmap(sys.argv[1], np.float32, "r").reshape(-1, columns)
data = fm.Dataset(x, np.arange(len(x)) % 10)
fm.manual_seed(0)
model = fm.nn.MLP(columns, (64,), 10)
history = fm.fit(model, data, 0.02, epochs=2, batch_size=256, progress=False)
found = fm.evaluate(model, data)
ended.set()
watcher.join()
highest = {name: round(max(one[name] for one in seen)) for name in seen[0]}
print(json.dumps({"rows": len(x), "MB": highest, "seconds": [round(e.seconds, 1) for e in history.epochs],
                  "loss": [e.train_loss for e in history.epochs], "evaluated": found.rows}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="what is resident is read from Linux's /proc")
def test_a_map_of_4_gigabytes_trains_with_less_than_600_megabytes_resident(tmp_path):
    if shutil.disk_usage(tmp_path).free < 2 * MAP_BYTES:
        pytest.skip(f"{tmp_path} has no room for a file of 4 GB")
    path, row = tmp_path / "x.bin", 4 * 784
    piece = np.random.default_rng(0).standard_normal((1 << 26) // row * row // 4, np.float32)
    try:
        with open(path, "wb") as file:
            while file.tell() < MAP_BYTES:
                file.write(piece.data)
        environment = os.environ | {"PYTHONPATH": str(fences.ROOT)}
        command = [sys.executable, "-c", MAP, str(path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        found = json.loads(done.stdout or "{}")
        print(f"\na map of {path.stat().st_size / 1e9:.2f} GB: {found}")
    finally:
        path.unlink()
    assert done.returncode == 0, done.stderr
    assert found["evaluated"] == found["rows"] >= MAP_BYTES // row
    assert all(np.isfinite(found["loss"]))
    assert found["MB"]["VmHWM"] < 600
