"""Several processes that begin at once with one home and one empty cache, two of them for another processor."""

import numpy as np
import pytest
from homes import begun, ended

import fastmlp as fm
from fastmlp.kernels import jit


def test_processes_share_a_home_and_an_empty_cache(tmp_path):
    if jit.CACHE_FOLDER is None:
        pytest.skip("kernels have no cache folder on this machine")
    names = {"a": "", "b": "", "c": "generic", "d": "generic", "e": ""}
    processes = {name: begun(tmp_path, tmp_path / "cache", name, cpu) for name, cpu in names.items()}
    weights = {name: ended(process, 900)[-1] for name, process in processes.items()}
    assert weights["a"] == weights["b"] == weights["e"]
    assert weights["c"] == weights["d"]
    usual, other = (np.frombuffer(bytes.fromhex(weights[name]), np.float32) for name in "ac")
    np.testing.assert_allclose(usual, other, atol=1e-4)  # 18 steps, whose sums round in another order
    for name, cpu in names.items():  # all is in the cache now
        lines = ended(begun(tmp_path, tmp_path / "cache", name + "2", cpu))
        assert lines[0].startswith("epoch")
        assert lines[-1] == weights[name]
    assert not list(tmp_path.rglob("*.partial"))
    data = fm.Dataset(np.random.default_rng(0).normal(size=(60, 6)).astype("f"), np.arange(60) % 3)
    for name in names:
        resumed = fm.resume(tmp_path / name, data, progress=False)
        assert resumed.model[0].weight.data.tobytes().hex() == weights[name]
