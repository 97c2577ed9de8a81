"""The study of activations: slopes, gradients and dead units by hand in NumPy, its sentences on made numbers."""

import math

import numpy as np
import once
import pytest

from fastmlp import nn
from fastmlp.studies import activations


@pytest.fixture(scope="module")
def study():
    return once.study("activations")


SLOPES = {  # of the functions that have no arguments, by hand
    "relu": lambda x: (x > 0) * 1.0,
    "tanh": lambda x: 1 - np.tanh(x) ** 2,
    "sigmoid": lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2,
    "silu": lambda x: 1 / (1 + np.exp(-x)) * (1 + x * (1 - 1 / (1 + np.exp(-x)))),
}


@pytest.mark.parametrize("name", SLOPES)
def test_slopes_are_those_by_hand(name):
    x = np.linspace(-5, 5, 40).reshape(20, 2)
    slope = activations.slopes(nn.ACTIVATIONS[name]().double(), x)[1]
    assert np.abs(slope - SLOPES[name](x)).max() < 1e-12  # float64, some roundings


@pytest.mark.parametrize("name", activations.NAMES)
def test_slopes_are_differences_of_the_function(name):
    x = np.array([[-3.3, -0.7, 0.4, 2.2]]).T  # no kink
    layer, h = nn.ACTIVATIONS[name]().double(), 1e-6
    ends = [activations.slopes(layer, x + side * h)[0] for side in (1, -1)]
    assert np.abs((ends[0] - ends[1]) / (2 * h) - activations.slopes(layer, x)[1]).max() < 1e-8  # h², eps / h


def test_the_ratio_is_that_of_backward_written_by_hand(monkeypatch):
    """dz ← (dz w) f'(z), from the logits down; one net of three hidden layers of tanh."""
    monkeypatch.setattr(activations, "NETS", 1)
    monkeypatch.setattr(activations, "DEPTH", 3)
    monkeypatch.setitem(activations.HIDDEN, "ten", (6, 6, 6))
    x, labels = np.random.default_rng(1).random((20, 12)), np.arange(20) % 10
    ratio, factor = activations.through("tanh", x, labels, 5)
    net = activations.make_net("tanh", (6, 6, 6), 5, 12).double()
    weights = [layer.weight.data for layer in net if isinstance(layer, nn.Linear)]  # biases are 0
    value, zs = x, []
    for weight in weights:
        zs.append(value @ weight.T)
        value = np.tanh(zs[-1])
    p = np.exp(zs[-1])
    dz, sizes, steep = (p / p.sum(1, keepdims=True) - np.eye(10)[labels]) / 20, [], []
    for i in (2, 1, 0):
        slope = 1 - np.tanh(zs[i]) ** 2
        dz = dz @ weights[i + 1] * slope
        sizes.append(np.sqrt((dz**2).mean()))
        steep.append(np.sqrt(2 * (slope**2).mean()))
    assert ratio == pytest.approx(sizes[-1] / sizes[0], rel=1e-9)  # float64, some roundings
    assert factor == pytest.approx(math.sqrt(steep[1] * steep[2]), rel=1e-9)  # the upper layer's slopes count in both


def test_dead_units_are_counted():
    nn.manual_seed(0)
    net = nn.MLP(2, (4, 2), 3)
    x = np.random.default_rng(0).uniform(-1, 1, (50, 2))
    net[0].bias.data[...] = [-9, 9, 9, -9]
    net[2].bias.data[...] = 99
    assert activations.dead_units(net, x) == 2 / 6
    net = nn.MLP(2, (4,), 3, "leaky_relu")
    net[0].bias.data[...] = -9
    assert activations.dead_units(net, x) == 0


def test_slopes_at_kinks_are_those_that_are_declared(study):
    declared = {"relu": 0, "leaky_relu": 0.01, "prelu": 0.25, "elu": 1, "selu": 1.7580993408473766, "hardtanh": 0}
    assert {name: study.numbers[f"{name}_slope_kink"] for name in activations.KINKS} == pytest.approx(declared)


def test_what_was_found(study):
    n = study.numbers
    assert n["relu_factor"] == pytest.approx(1, abs=0.05)  # half of the values are above 0
    assert n["sigmoid_slope_most"] == 0.25
    for name in activations.NAMES:
        assert n[f"{name}_a_layer"] == pytest.approx(n[f"{name}_factor"], rel=0.1)  # widths of 64
    assert n["sigmoid_ratio"] < 1e-3
    assert n["sigmoid_ten"] < 0.3 < 0.75 < n["relu_ten"]
    assert n["relu_dead"] > 0.05
    assert n["leaky_relu_dead"] == n["elu_dead"] == 0
    assert n["relu_closed"] < 0.05
    assert all(n[f"{name}_closed"] > 0.4 for name in ("leaky_relu", "elu", "gelu"))


def test_the_study_is_whole(study):
    assert study.tolerances.keys() == study.numbers.keys()
    assert all(math.isfinite(value) for value in study.numbers.values())
    assert max(map(len, study.table.splitlines())) <= 100
    assert len(study.conclusions) == 3
    assert set(study.figures) == {"activations_slopes", "activations_layers"}
    shown = [ax.get_title() for ax in study.figures["activations_slopes"].axes if ax.get_visible()]
    assert shown == list(nn.ACTIVATIONS)
    above, below = study.figures["activations_layers"].axes
    assert list(above.get_lines()[0].get_xdata()) == sorted(study.numbers[f"{name}_ratio"] for name in nn.ACTIVATIONS)
    ends = {line.get_label(): line.get_ydata()[-1] for line in below.get_lines()}
    assert ends == {name: study.numbers[f"{name}_closed"] for name in ends}


def test_the_sentences_say_the_opposite_of_opposite_numbers(study):
    layers, dead, training = activations.conclude(study.numbers)
    assert "least is left with sigmoid" in layers
    assert layers.endswith("√2 times the rms of its slopes, to 10 %.")
    assert "units are dead with relu" in dead
    assert "all learn but relu, hardtanh: R² is" in dead
    assert "(sigmoid) to" in training
    n = dict(study.numbers)
    for name in activations.NAMES:
        n |= {f"{name}_ratio": 1.0, f"{name}_dead": 0.0, f"{name}_closed": 1.0, f"{name}_two": 0.5, f"{name}_ten": 0.5}
    n |= {"gelu_ratio": 1e3, "relu_ratio": 0.5, "relu_factor": 2 * n["relu_a_layer"], "sigmoid_ten": 0.75}
    layers, dead, training = activations.conclude(n)
    assert "with 11 of 12 activations; least is left with relu (5e-01), most with gelu (1e+03)" in layers
    assert layers.endswith("misses what a layer multiplies by, by up to 100%.")
    assert dead.startswith("After a training with the rate 0.02 no unit is dead.")
    assert dead.endswith("From biases of -3 every activation comes back.")
    assert training.endswith("With ten hidden layers accuracy is 50% (relu) to 75% (sigmoid), its median 50%.")


def test_the_pages_still_quote_it():
    once.pages_hold("activations")
