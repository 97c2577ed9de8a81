"""What holds for all tests: the collector of garbage leaves alone what the tests are made of.

Thirteen thousand tests, their parameters and the modules of six packages are some millions of objects that live to the
end. Each full collection went through all of them, in 0.7 s, and there are hundreds.
"""

import gc

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_collection(session):
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()
