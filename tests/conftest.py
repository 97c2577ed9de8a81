"""Kernels compile once a machine: the engine is compiled before the tests, so that none trains on the graph instead."""

import os

import pytest

os.environ["FASTMLP_COMPILE"] = "now"  # for this process and those that tests start


@pytest.fixture(scope="session", autouse=True)
def _engine_is_compiled(request):
    if any("engine" in item.path.name or "train" in item.path.name for item in request.session.items):
        from fastmlp.running.warm import compile_engine

        compile_engine("float32")
