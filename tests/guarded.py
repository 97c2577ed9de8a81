"""A pytest plugin for FASTMLP_GUARD=1: guards around NumPy's buffers of the package too, looked at after each test.

`python -m pytest -p guarded tests/test_engine.py`; `soak/test_guard.py` says which files.
"""

import sys
from types import ModuleType

import numpy as np
import pytest

from fastmlp import kernels
from fastmlp.kernels import guard


class GuardedNumPy(ModuleType):
    """NumPy, but for arrays that are made without numbers: those have guards around them."""

    def __getattr__(self, name):
        return getattr(np, name)

    @staticmethod
    def empty(shape, dtype=float):
        return kernels.empty(tuple(np.atleast_1d(shape).tolist()), dtype)

    @staticmethod
    def zeros(shape, dtype=float):
        return kernels.zeros(tuple(np.atleast_1d(shape).tolist()), dtype)

    @staticmethod
    def empty_like(array):
        return kernels.empty(array.shape, array.dtype)

    @staticmethod
    def zeros_like(array):
        return kernels.zeros(array.shape, array.dtype)

    @staticmethod
    def full(shape, value, dtype=None):
        made = GuardedNumPy.empty(shape, np.asarray(value).dtype if dtype is None else dtype)
        made[...] = value
        return made


ROOMS = ("graph", "nn", "optim", "running")  # where what kernels fill is made


def surround() -> list[str]:
    """From now on these rooms make their arrays with guards around them; returns the names of their files."""
    found = []
    for name, module in sorted(sys.modules.items()):
        if name.startswith(tuple(f"fastmlp.{room}" for room in ROOMS)) and getattr(module, "np", None) is np:
            module.np = GuardedNumPy("numpy")
            found.append(name)
    return found


@pytest.fixture(autouse=True)
def _guards_are_whole():
    yield
    guard.look()


def pytest_configure(config):
    assert guard.ON, "FASTMLP_GUARD=1 must be set"
    assert "fastmlp.running.engine" in surround()
