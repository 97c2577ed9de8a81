"""`nn.init` beside `torch.nn.init`, JAX's and Keras's initializers: names, defaults, gains and what is drawn."""

import inspect
import math
from importlib.util import find_spec

import numpy as np
import pytest
from neighbours import keras

import fastmlp as fm
from fastmlp.nn import init

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed; `make test-peers` installs it and runs this file"
)
NAMES = [name for name, thing in vars(init).items() if name.endswith("_") and not name.startswith("_")]
OURS_ALONE = {"lecun_uniform_", "lecun_normal_"}
SHAPE = (200, 500)


def test_the_names_are_those_of_pytorch():
    assert len(NAMES) == 12
    assert {name for name in NAMES if not hasattr(torch.nn.init, name)} == OURS_ALONE


@pytest.mark.parametrize("name", [*sorted(set(NAMES) - OURS_ALONE), "calculate_gain"])
def test_arguments_and_defaults_are_those_of_pytorch(name):
    ours, theirs = (inspect.signature(getattr(side, name)).parameters for side in (init, torch.nn.init))
    assert {n: p.default for n, p in ours.items()} == {n: p.default for n, p in theirs.items() if n != "generator"}
    assert list(ours) == [n for n in theirs if n != "generator"]  # ours draw from that of manual_seed


@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "selu", "leaky_relu"])
@pytest.mark.parametrize("param", [None, 0, 0.2, 3])
def test_gains_are_those_of_pytorch(name, param):
    assert init.calculate_gain(name, param) == torch.nn.init.calculate_gain(name, param)


DRAWS = {
    "kaiming_uniform_": [{}, {"a": math.sqrt(5)}, {"mode": "fan_out", "nonlinearity": "tanh"}],
    "kaiming_normal_": [{}, {"mode": "fan_out", "nonlinearity": "selu"}],
    "xavier_uniform_": [{}, {"gain": 0.5}],
    "xavier_normal_": [{}, {"gain": 3}],
    "orthogonal_": [{}, {"gain": 2}],
}


@pytest.mark.parametrize(("name", "options"), [(name, o) for name, sets in DRAWS.items() for o in sets])
@pytest.mark.parametrize("shape", [SHAPE, (20, 50, 10, 10)])
def test_what_is_drawn_is_as_wide_as_in_pytorch(name, options, shape):
    """test_init holds ours to its formula; this holds the formula to PyTorch."""
    fm.manual_seed(0), torch.manual_seed(0)
    ours = getattr(init, name)(fm.Tensor(np.zeros(shape, np.float32)), **options).data
    theirs = getattr(torch.nn.init, name)(torch.zeros(shape), **options).numpy()
    # 100,000 numbers show their spread to 0.2 %, and a uniform draw its bound to some 1e-5
    assert ours.std() == pytest.approx(theirs.std(), rel=0.015)
    if "uniform" in name:
        assert np.abs(ours).max() == pytest.approx(np.abs(theirs).max(), rel=1e-3)


@pytest.mark.parametrize("name", sorted(OURS_ALONE))
def test_lecuns_are_those_of_jax_and_keras(name):
    jax = pytest.importorskip("jax", reason="JAX is not installed; `make test-peers` installs it")
    if not find_spec("keras"):
        pytest.skip("Keras is not installed; `make test-peers` installs it")
    fm.manual_seed(0)
    ours = getattr(init, name)(fm.Tensor(np.zeros(SHAPE, np.float32))).data
    theirs = getattr(jax.nn.initializers, name[:-1])()(jax.random.key(0), SHAPE[::-1], np.float32)
    kerass = {"lecun_uniform_": "LecunUniform", "lecun_normal_": "LecunNormal"}[name]
    for peer in (theirs, getattr(keras.initializers, kerass)(seed=0)(SHAPE[::-1])):
        # as above; the largest of 100,000 numbers that are cut off lies within 1 % of the cut
        assert ours.std() == pytest.approx(np.asarray(peer).std(), rel=0.015)
        assert np.abs(ours).max() == pytest.approx(np.abs(np.asarray(peer)).max(), rel=0.01)
