"""Trainings of `fit_parallel`, for tests that run them on ranks that are threads, and on those of MPI.

`mpiexec -n 2 python parallel_cases.py bits FOLDER` writes digests of what they leave; another word than bits is how one
ends.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp as fm

ROOT = Path(__file__).resolve().parent.parent
ONE_AT_A_TIME = threading.Lock()
ROWS, FEATURES = 150, 12  # of a batch of 32 the last one has 22 rows


def classes() -> fm.Dataset:
    draw = np.random.default_rng(1)
    features = draw.normal(size=(ROWS, FEATURES)).astype(np.float32)
    return fm.Dataset(features, (features[:, 0] > 0) + (features[:, 1] > 0.5).astype(int))


def weighted() -> fm.Dataset:
    draw = np.random.default_rng(2)
    weights = draw.integers(0, 3, ROWS).astype(float)
    return fm.Dataset(
        draw.normal(size=(ROWS, FEATURES)).astype(np.float32), draw.normal(size=(ROWS, 2)), sample_weight=weights
    )


def digest(model: fm.nn.Module, history: fm.History) -> str:
    """Of all numbers of the model, and of the losses and scores of each epoch."""
    numbers = [(e.epoch, e.train_loss, e.train_score, e.validation_loss, e.validation_score) for e in history.epochs]
    arrays = b"".join(array.tobytes() for array in model.state_dict().values())
    return hashlib.sha256(arrays + repr(numbers).encode()).hexdigest()[:16]


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "two threads": {"n_threads": 2},
    "batch norm and dropout": {"norm": "batch", "dropout": 0.3, "average": "ema", "clip_norm": 0.5},
    "weights of rows": {"data": weighted, "loss": fm.nn.HuberLoss, "optimizer": fm.optim.SGD},
    "five blocks": {"blocks": 5, "validation": 31, "class_weight": "balanced"},
    "few rows": {"batch_size": 3, "epochs": 1},
}


def trained(case: str, comm: Any, **others: Any) -> tuple[fm.nn.Module, fm.History]:
    options = {"epochs": 3, "batch_size": 32, "n_threads": 1, "progress": False, "data": classes} | CASES[case] | others
    data = options.pop("data")()
    net = {name: options.pop(name) for name in ("norm", "dropout") if name in options}
    with ONE_AT_A_TIME:  # ranks may be threads, and the generator of weights is the process's
        fm.manual_seed(3)
        model = fm.nn.MLP(FEATURES, (9, 6), data.n_outputs, **net)
    kind = options.pop("optimizer", fm.optim.Adam)
    options["optimizer"] = kind(model.parameters(), lr=0.01)
    if "loss" in options:
        options["loss"] = options["loss"]()
    return model, fm.scale.fit_parallel(model, data, comm=comm, **options)


def digests(comm: Any) -> dict[str, str]:
    size = comm.Get_size()
    return {case: digest(*trained(case, comm)) for case in CASES if size <= CASES[case].get("blocks", 8)}


def ended(comm: Any, folder: Path) -> None:
    """Ended within its first epoch, by rank 0's clock, with a checkpoint there."""
    options = {"checkpoint": folder, "checkpoint_every": 2, "time_limit": 1e-9}
    _, history = trained("batch norm and dropout", comm, **options)
    assert (len(history), history.ended, history.weights_of) == (0, "time limit", (0, 2))


def gone_on(comm: Any, folder: Path) -> str:
    """Digest of what that training comes to when it goes on."""
    resumed = fm.scale.resume_parallel(folder, classes(), comm=comm, progress=False)
    return digest(resumed.model, resumed.history)


def local(comm: Any) -> str:
    """Digest of a training whose ranks meet after three steps."""
    return digest(*trained("batch norm and dropout", comm, local_steps=3, average=None))


def dies(comm: Any, how: str, folder: Path) -> None:
    """A long training in which rank 1 fails in its fourth epoch, or which waits for Ctrl-C."""

    def look(model: Any, history: Any) -> None:
        if len(history) == 4 and comm.Get_rank() == 1:
            (folder / f"{how}.time").write_text(str(time.time()))
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "raises":
                raise ValueError("rank 1 has had enough")

    trained("plain", comm, epochs=10**6, callbacks=[look], checkpoint=folder / how, checkpoint_every="epoch")


def launched(size: int, *words: Any) -> subprocess.Popen[str]:
    """A Python program on so many ranks, in a session of its own; MPI's libraries stand beside this interpreter."""
    mpiexec = Path(sys.executable).parent / "mpiexec"
    if not mpiexec.exists():
        pytest.skip("mpiexec is not installed beside Python: the extra `mpi` has it")
    return subprocess.Popen(
        [mpiexec, "-n", str(size), sys.executable, *words], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def output_of(process: subprocess.Popen[str]) -> str:
    """All that it prints, once it has ended."""
    try:
        return process.communicate(timeout=120)[0]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    from mpi4py import MPI

    task, place = sys.argv[1], Path(sys.argv[2])
    if task != "bits":
        dies(MPI.COMM_WORLD, task, place)
        sys.exit("nobody has ended it")
    found = digests(MPI.COMM_WORLD)
    if MPI.COMM_WORLD.size == 2:
        ended(MPI.COMM_WORLD, place / "two")
        found["resumed on as many"] = gone_on(MPI.COMM_WORLD, place / "one")
        found["local steps"] = local(MPI.COMM_WORLD)
    if MPI.COMM_WORLD.rank == 0:
        (place / f"{MPI.COMM_WORLD.size}.json").write_text(json.dumps(found))
