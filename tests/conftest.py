"""What holds for all tests: nothing is compiled while they are collected, and garbage is looked for among what is new;
each leaves the main thread computing with denormal numbers, as it found it.

Each process that shares the tests collects them all: what a file computes when it is imported is done by each.
Thirteen thousand tests, their parameters and the modules of six packages are some millions of objects that live to the
end. A full collection of garbage went through all of them, in 0.7 s, and there are hundreds.
"""

import gc

import numpy as np
import pytest
from numba.core import event


class Refusing(event.Listener):
    def on_start(self, event):
        name = event.data["dispatcher"].py_func.__qualname__
        raise RuntimeError(f"{name} is compiled while tests are collected; a test or a fixture must ask for it")

    def on_end(self, event):
        pass


@pytest.hookimpl(wrapper=True)
def pytest_collection(session):
    gc.disable()
    try:
        with event.install_listener("numba:compile", Refusing()):
            return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


SMALL, HALF = np.float32(1e-39), np.float32(0.5)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item):
    """Who leaves the switch on is named, and it is put back: else all tests after it would count those as zero."""
    ended = yield
    if not SMALL * HALF > 0:
        from fastmlp import kernels
        from fastmlp.kernels import control, simd

        kernels.control_word(kernels.control_word(control.LOOK) & ~simd.FLUSH_BITS)
        pytest.fail(f"after {item.nodeid} denormal numbers count as zero on the main thread")
    return ended
