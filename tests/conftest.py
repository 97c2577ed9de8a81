"""What holds for all tests: nothing is compiled while they are collected, and garbage is looked for among what is new.

Each process that shares the tests collects them all: what a file computes when it is imported is done by each.
Thirteen thousand tests, their parameters and the modules of six packages are some millions of objects that live to the
end. A full collection of garbage went through all of them, in 0.7 s, and there are hundreds.
"""

import gc

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
