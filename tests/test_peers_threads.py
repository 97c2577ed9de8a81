"""Trainings side by side in the workers of joblib, which comes with scikit-learn."""

import numpy as np
import pytest

from fastmlp import machine

joblib = pytest.importorskip("joblib", reason="scikit-learn is not installed; `make test-peers` installs it")


def limits():
    """In a worker: (what a training takes, the cores)."""
    from fastmlp import machine
    from fastmlp.running import door

    return door.ceiling("auto"), machine.available_cores()


def trained(seed):
    """In a worker: the weights after a training."""
    import fastmlp as fm

    generator, model = np.random.default_rng(seed), fm.nn.MLP(6, (64, 64), 3)
    data = fm.data.Dataset(generator.normal(size=(400, 6)).astype(np.float32), generator.integers(0, 3, 400))
    for parameter in model.parameters():  # the generator that draws them is shared by threads
        parameter.data[...] = generator.normal(0, 0.2, parameter.shape)
    fm.fit(model, data, epochs=2, batch_size=8, seed=seed, progress=False)
    return np.concatenate([parameter.data.ravel() for parameter in model.parameters()])


def test_workers_of_joblib_share_the_cores(monkeypatch):
    """loky's processes have cores // workers each, or what `inner_max_num_threads` says."""
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "FASTMLP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    cores = machine.available_cores()
    cores = machine.available_cores()
    found = joblib.Parallel(2, backend="loky")(joblib.delayed(limits)() for _ in range(2))
    assert found == [(max(cores // 2, 1), cores)] * 2
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        assert joblib.Parallel(3)(joblib.delayed(limits)() for _ in range(3)) == [(1, cores)] * 3


def test_trainings_by_joblib_have_the_bits_of_those_alone():
    alone = [trained(seed) for seed in range(3)]
    for backend in ("loky", "threading"):
        found = joblib.Parallel(3, backend=backend)(joblib.delayed(trained)(seed) for seed in range(3))
        assert all(np.array_equal(*pair) for pair in zip(found, alone, strict=True)), backend
