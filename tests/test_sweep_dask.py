"""A sweep on a dask cluster of three processes: a worker is killed, then the driver, and nothing is lost or done twice.

All runs on this machine: the scheduler is the driver's, as `LocalCluster` has it, so both go with one kill.
"""

import os
import signal
from contextlib import suppress

import pytest
import sweeps

from fastmlp import scale

pytest.importorskip("distributed", reason="distributed is not installed; the extra 'dask' brings it")

BEFORE = """from distributed import Client, LocalCluster
    import joblib
    cluster = LocalCluster(n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None)
    client = Client(cluster)"""


def sweep(folder, place):
    return sweeps.driver(folder, place, 0.15, "None", BEFORE, "joblib.parallel_config('dask')")


def test_kills_lose_nothing_and_nothing_runs_twice(tmp_path):
    folder = tmp_path / "sweep"
    first = sweep(folder, tmp_path)
    sweeps.wait_for(folder, 4, first)
    worker = sweeps.lines(folder)[-1]["process"]
    os.kill(worker, signal.SIGKILL)
    sweeps.wait_for(folder, 10, first)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    done = sweeps.lines(folder)
    assert 10 <= len(done) < 24
    assert worker not in [line["process"] for line in done[-2:]]
    second = sweep(folder, tmp_path)
    try:
        said = second.communicate(timeout=120)[0]
    finally:
        with suppress(ProcessLookupError):
            os.killpg(second.pid, signal.SIGKILL)
    assert "done" in said
    assert sweeps.lines(folder)[: len(done)] == done
    assert len({line["process"] for line in sweeps.lines(folder)}) >= 4  # of two clusters
    scale.sweep(
        sweeps.data(), {"lr": scale.log_uniform(1e-3, 1e-1)}, tmp_path / "alone", n_trials=24, epochs=3,
        model=sweeps.slow, seconds=0.15, progress=False,
    )  # fmt: skip
    assert len(sweeps.weights(folder)) == 24
    assert sweeps.weights(folder) == sweeps.weights(tmp_path / "alone")
