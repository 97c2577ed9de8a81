"""Twenty gigabytes of rows in many files, made by a generator, train with less than 800 MB resident.

FASTMLP_SHARDS_GB=5 makes it smaller; where the disk has no room for it, what fits is taken, and said. The quick half is
`test_shards`.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import fences
import numpy as np
import pytest

BYTES = int(float(os.environ.get("FASTMLP_SHARDS_GB", 20)) * 1e9)
COLUMNS = 784
SHARD = 40_000  # rows of most files; lengths differ
MOST_MB = 800

TRAIN = """
import json, sys, threading
from time import perf_counter
import numpy as np
import fastmlp as fm

def status():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return {name: int(lines[name].split()[0]) / 1024 for name in ("VmHWM", "VmRSS", "RssFile", "RssAnon")}

ended, seen = threading.Event(), []

def watch():
    while not ended.wait(0.02):
        seen.append(status())

watcher = threading.Thread(target=watch)
watcher.start()
start = perf_counter()
data = fm.data.shards(sys.argv[1])
opened = perf_counter() - start
fm.manual_seed(0)
model = fm.nn.MLP(784, (64,), 10)
history = fm.fit(model, data[:-20_000], data[-20_000:], epochs=1, batch_size=256, progress=False)
found = fm.evaluate(model, data[-20_000:])
ended.set()
watcher.join()
highest = {name: round(max(one[name] for one in seen)) for name in seen[0]}
print(json.dumps({"rows": len(data), "files": len(data.features.parts), "GB": round(data.features.nbytes / 1e9, 2),
                  "MB": highest, "seconds to open": round(opened, 1), "seconds": round(history[-1].seconds, 1),
                  "loss": history[-1].train_loss, "accuracy": found.accuracy}))
"""


def generate(folder: Path, size: int) -> None:
    """Rows of ten classes, each a mean and noise: pieces of noise are used again, with the class's mean."""
    rng = np.random.default_rng(0)
    noise, means = rng.standard_normal((SHARD + 5000, COLUMNS), np.float32), rng.standard_normal((10, COLUMNS)) / 8
    means, number = means.astype(np.float32), 0
    while size > 0:
        rows = min(SHARD + int(rng.integers(-5000, 5000)), size // (4 * COLUMNS) + 1)
        y = rng.integers(0, 10, rows)
        np.save(folder / f"features-{number}.npy", noise[:rows] + means[y])
        np.save(folder / f"targets-{number}.npy", y)
        size, number = size - 4 * COLUMNS * rows, number + 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="what is resident is read from Linux's /proc")
def test_twenty_gigabytes_train_with_less_than_800_megabytes_resident(tmp_path):
    size = min(BYTES, shutil.disk_usage(tmp_path).free - (4 << 30))
    if size < 1 << 30:
        pytest.skip(f"{tmp_path} has no room for a data set that is larger than {MOST_MB} MB")
    try:
        generate(tmp_path, size)
        command = [sys.executable, "-c", TRAIN, str(tmp_path)]
        environment = os.environ | {"PYTHONPATH": str(fences.ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    finally:
        for file in tmp_path.glob("*.npy"):
            file.unlink()
    found = json.loads(done.stdout or "{}")
    print(f"\nshards: {found}" + f"; {BYTES / 1e9:.0f} GB had no room" * (size < BYTES))
    assert done.returncode == 0, done.stderr
    assert found["GB"] >= size / 1e9 - 0.01
    assert np.isfinite(found["loss"])
    assert found["accuracy"] > 0.5  # a tenth by chance
    assert found["MB"]["VmHWM"] < MOST_MB
