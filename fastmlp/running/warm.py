"""Compile the engine into the cache, in a process of its own, while the graph trains.

The engine is one large function and takes some 20 s to compile after an install; the kernels that the graph calls take
a third of that. Both give the same numbers to the last bit, so a first training starts on the graph and goes over to
the engine when that is ready.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from time import time

import numba
import numpy as np
from numpy.typing import DTypeLike

from ..data import Dataset
from ..kernels.jit import CACHE_FOLDER
from ..nn import MLP
from ..optim import Adam
from .engine import Engine
from .predict import Predictor

LONGEST = 300.0  # seconds that compiling may take
_started: list[subprocess.Popen[bytes]] = []


def _stamp() -> str:
    """What Numba's cache depends on besides the sources' contents: their dates, its version, the processor."""
    dates = [source.stat().st_mtime_ns for source in sorted(Path(__file__).parent.parent.glob("kernels/*.py"))]
    return f"{dates} {numba.__version__} {numba.core.config.CPU_NAME} {numba.core.config.CPU_FEATURES} {sys.version}"


def _marker(dtype: DTypeLike) -> Path | None:
    return CACHE_FOLDER / f"engine-{np.dtype(dtype).name}" if CACHE_FOLDER else None


def is_ready(dtype: DTypeLike) -> bool:
    """Whether the engine for this dtype is in the cache. Also True where it is to be compiled here, at once.

    That is so without a writable cache folder, and with FASTMLP_COMPILE=now in the environment.
    """
    marker = _marker(dtype)
    if marker is None or os.environ.get("FASTMLP_COMPILE") == "now":
        return True
    try:
        return marker.read_text() == _stamp()
    except OSError:
        return False


def start(dtype: DTypeLike) -> None:
    """Start to compile the engine in another process, unless one is at it.

    That process goes on when this one ends, so that the next one finds the engine.
    """
    marker = _marker(dtype)
    if marker is None or _compiling(claim := marker.with_name(f"{marker.name}.process")):
        return
    code = f"from fastmlp.running.warm import compile_engine; compile_engine({np.dtype(dtype).name!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent.parent), *sys.path])},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    _started.append(process)  # a Popen that is collected while its process runs warns
    claim.write_text(str(process.pid))


def _compiling(claim: Path) -> bool:
    """Whether the process whose number stands in the file is alive; not after LONGEST, when it may be another one."""
    try:
        if time() - claim.stat().st_mtime > LONGEST:
            return False
        number = int(claim.read_text())
        return any(p.pid == number and p.poll() is None for p in _started) or _alive(number)
    except (OSError, ValueError):
        return False


def _alive(number: int) -> bool:
    if any(process.pid == number for process in _started):
        return False  # a child of ours that has ended
    if os.name != "posix":
        return True  # no way to ask without harm; the claim's age decides
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def compile_engine(dtype: DTypeLike) -> None:
    """Compile training and prediction for `dtype` in this process, and mark the cache as ready."""
    rows = np.zeros((4, 8), np.uint8)
    model = MLP(8, (8,), 2)
    model = model.double() if np.dtype(dtype) == np.float64 else model
    with Engine(model, Adam(model.parameters()), 8, 4, 1) as trainer:
        trainer.prepare(Dataset(rows, [0, 1, 0, 1]))
    Predictor(model)(rows)
    if marker := _marker(dtype):
        partial = marker.with_name(f"{marker.name}.{os.getpid()}")
        partial.write_text(_stamp())
        partial.replace(marker)
