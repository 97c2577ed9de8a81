"""Trainings in processes of their own that share a home and a cache."""

import os
import subprocess
import sys
from pathlib import Path

TRAIN = """if True:
    import sys
    import numpy as np
    import fastmlp as fm
    fm.manual_seed(0)
    data = fm.Dataset(np.random.default_rng(0).normal(size=(60, 6)).astype("f"), np.arange(60) % 3)
    model = fm.nn.MLP(6, (8,), 3)
    fm.fit(model, data, epochs=3, batch_size=10, progress="table", n_threads=2,
           checkpoint=sys.argv[1], checkpoint_every="epoch")
    print(model[0].weight.data.tobytes().hex(), flush=True)
"""


def begun(home: Path, cache: Path, name: str, cpu: str = "") -> subprocess.Popen:
    """A training that keeps its checkpoints in home/name; cpu: what Numba compiles for, else this one."""
    environment = os.environ | {"HOME": str(home), "NUMBA_CACHE_DIR": str(cache)}
    environment |= {"NUMBA_CPU_NAME": cpu} if cpu else {}
    return subprocess.Popen(
        [sys.executable, "-c", TRAIN, str(home / name)], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def ended(process: subprocess.Popen, seconds: float = 120) -> list[str]:
    """The lines of a training, the last one its weights."""
    try:
        said, wrong = process.communicate(timeout=seconds)
    finally:
        process.kill()
    assert (process.returncode, wrong) == (0, "")
    return said.splitlines()
