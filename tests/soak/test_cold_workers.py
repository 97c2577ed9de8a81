"""Cold workers of a sweep share the compiler's work: no kernel is compiled twice for the same types."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("joblib", reason="a sweep's workers are joblib's")

TESTS = Path(__file__).parent.parent

# Each Python process that starts with this in its path writes a line for each function that it has compiled.
NOTES = """
import os
from fastmlp.kernels.cache import KernelCache

save = KernelCache.save_overload

def noted(self, sig, data):
    with open(os.environ["NOTED"], "a") as file:
        file.write(f"{self._place(sig, data.codegen)[0]} {os.getpid()}\\n")
    return save(self, sig, data)

KernelCache.save_overload = noted
"""

DRIVER = """
import sys
import sweeps
from fastmlp import scale

if __name__ == "__main__":
    kinds = [{"optimizer": "adam"}, {"optimizer": "sgd", "momentum": 0.9}, {"dropout": 0.2}, {"norm": "batch"}]
    found = scale.sweep(sweeps.data(), kinds, sys.argv[1], epochs=1, n_jobs=2, hidden=(8,), progress=False)
    assert all(trial.score >= 0 for trial in found), found.report()
"""


def compiled(place):
    """How often each file of the cache was made, and by how many processes, of a sweep with nothing compiled before."""
    (place / "sitecustomize.py").write_text(NOTES, "utf-8")
    (place / "driver.py").write_text(DRIVER, "utf-8")
    paths = [str(place), str(TESTS), str(TESTS.parent)]
    env = os.environ | {
        "XDG_CACHE_HOME": str(place / "cache"), "NOTED": str(place / "noted"), "PYTHONPATH": os.pathsep.join(paths)
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(place / "driver.py"), str(place / "sweep")], env=env, capture_output=True, text=True,
        timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line.rsplit(" ", 1) for line in (place / "noted").read_text("utf-8").splitlines()]
    return Counter(Path(path).name for path, _ in lines), {process for _, process in lines}


def test_no_kernel_is_compiled_twice(tmp_path):
    times, processes = compiled(tmp_path)
    assert len(times) > 10  # the kernels of a training were noted
    assert len(processes) > 1  # and several processes made some
    assert not {name: count for name, count in times.items() if count > 1}
