"""The study of gradients: its numbers against twins in plain NumPy, its sentences on made numbers."""

import math

import numpy as np
import once
import pytest

from fastmlp import nn
from fastmlp.studies import gradients


@pytest.fixture(scope="module")
def found():
    return once.study("gradients")


def test_numbers_have_tolerances_and_are_finite(found):
    assert found.numbers.keys() == found.tolerances.keys()
    assert all(math.isfinite(value) for value in found.numbers.values())


def test_it_repeats_to_the_bit():
    x, labels = np.random.default_rng(0).random((20, 12)), np.arange(20) % 10
    first, second = (gradients.ratios("tanh", "he", 4, x, labels, 3) for _ in range(2))
    assert first == second
    assert first != gradients.ratios("tanh", "he", 4, x, labels, 4)


@pytest.mark.parametrize("activation", gradients.ACTIVATIONS)
def test_ratios_are_those_of_backward_written_by_hand(activation, monkeypatch):
    """dz ← (dz w) σ'(z), from the logits down; one net."""
    monkeypatch.setattr(gradients, "NETS", 1)
    x, labels = np.random.default_rng(1).random((20, 12)), np.arange(20) % 10
    signal, weight = gradients.ratios(activation, "xavier", 3, x, labels, 5)
    nn.manual_seed(5)
    net = gradients.make_net(activation, "xavier", 3, 12, 10)
    layers = [layer for layer in net if isinstance(layer, nn.Linear)]
    function = {"relu": lambda z: np.maximum(z, 0), "tanh": np.tanh, "sigmoid": lambda z: 1 / (1 + np.exp(-z))}
    slope = {
        "relu": lambda z: (z > 0) * 1.0,
        "tanh": lambda z: 1 - np.tanh(z) ** 2,
        "sigmoid": lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2,
    }
    inputs, zs = [x], []
    for layer in layers:
        zs.append(inputs[-1] @ layer.weight.data.T + layer.bias.data)
        inputs.append(function[activation](zs[-1]))
    p = np.exp(zs[-1])
    dz = (p / p.sum(1, keepdims=True) - np.eye(10)[labels]) / 20
    sizes, weights = [], []
    for i in reversed(range(4)):
        sizes.append(np.sqrt((dz**2).mean()))
        weights.append(np.sqrt(((dz.T @ inputs[i]) ** 2).mean()))
        if i:
            dz = dz @ layers[i].weight.data * slope[activation](zs[i - 1])
    assert signal == pytest.approx(sizes[-1] / sizes[0], rel=1e-9)  # float64, some roundings
    assert weight == pytest.approx(weights[-1] / weights[0], rel=1e-9)


@pytest.mark.parametrize("init", gradients.INITS)
def test_weights_have_the_deviation_that_is_named(init):
    nn.manual_seed(0)
    layer = gradients.make_net("relu", init, 2, 30, 10)[2]
    n = gradients.WIDTH
    known = {"default": math.sqrt(1 / (3 * n)), "xavier": math.sqrt(1 / n), "he": math.sqrt(2 / n)}
    known |= {"small": 0.1 * known["he"], "large": 2 * known["he"], "sigmoid": 4 * known["xavier"]}
    assert gradients.deviation(init, n, n) == pytest.approx(known[init])
    assert layer.weight.data.std() == pytest.approx(known[init], rel=0.05)  # 4,096 draws: a standard error of 1 %
    assert (layer.bias.data == 0).all() == (init != "default")


def test_another_initialisation_is_refused():
    with pytest.raises(ValueError, match=r"deviation: init is 'zero'; it must be one of default, xavier"):
        gradients.deviation("zero", 3, 3)


def test_what_is_true_is_what_it_found(found):
    n = found.numbers
    for init in gradients.INITS:  # by the equation for ReLU; 10 %: width 64 is not infinite
        assert n[f"relu_{init}_a_layer"] == pytest.approx(n[f"relu_{init}_a_layer_linear"], rel=0.1)
        for activation in ("tanh", "sigmoid"):  # σ' is largest at 0
            assert n[f"{activation}_{init}_a_layer"] < n[f"{activation}_{init}_a_layer_linear"]
    assert 0.1 < n["relu_he_30"] < 10
    assert n["relu_default_30"] < 1e-9
    assert n["relu_large_30"] > 1e6


def test_the_check_has_its_best_step_near_the_cube_root(found):
    n = found.numbers
    for word in gradients.FORMATS:
        assert 0.1 < n[f"{word}_best_h"] / n[f"{word}_cube_root"] < 10
        assert n[f"{word}_right_slope"] == pytest.approx(2, abs=0.1)
        assert n[f"{word}_left_slope"] == pytest.approx(-1, abs=0.15)  # rounding is noise, a median of 40 remains
    assert n["float32_cube_root"] == pytest.approx(2 ** (-23 / 3))
    assert n["float32_best_error"] > 10 * n["float32_backward_error"]


def test_a_made_v_is_described():
    h = 10.0 ** (np.arange(-48, 1) / 4)
    numbers = {}
    gradients._describe("x", h, 0.5 * h**2 + 1e-16 / h, 2.0**-52, numbers)
    assert numbers["x_best_h"] == pytest.approx(1e-16 ** (1 / 3), rel=0.4)  # the minimum of h²/2 + e/h; four a decade
    assert numbers["x_right_slope"] == pytest.approx(2, abs=0.01)
    assert numbers["x_left_slope"] == pytest.approx(-1, abs=0.01)


def test_sentences_of_the_real_numbers(found):
    depth, factors, check = found.conclusions
    assert "(relu with He, tanh with Xavier, tanh with He); it vanishes in 11 and explodes in 4" in depth
    assert "With sigmoid it vanishes for each of these initialisations, least with 4 × Xavier (" in depth
    assert factors.endswith("the equation explains every ReLU net here, to 15 %.")
    assert "the cut-off term h² against rounding, eps / h, and in float32 as well" in check
    assert "less exact than the backward pass" in check


def test_sentences_of_opposite_numbers(found):
    made = dict(found.numbers)
    for activation in gradients.ACTIVATIONS:
        for init in gradients.INITS:
            made[f"{activation}_{init}_30"] = 1.0
    made |= {"relu_he_a_layer": 2.0, "float64_right_slope": 1.0, "float32_best_error": 1e-9}
    depth, factors, check = gradients.conclude(made)
    assert "in 18 of 18 nets" in depth
    assert depth.endswith("it vanishes in 0 and explodes in 0.")
    assert factors.endswith("the equation misses a ReLU net by a factor of 2.00 a layer.")
    assert "not in both formats is this the h² and eps / h" in check
    assert check.endswith("in float32 it is as exact as the backward pass it checks.")
    made["sigmoid_he_30"] = 1e9
    made["relu_he_30"] = math.nan  # inf / inf: neither vanished nor healthy
    said = gradients.conclude(made)[0]
    assert "vanishes in 0 and explodes in 1 (sigmoid with He); in 1 it is no number (relu with He)." in said
    float32 = gradients.conclude(dict(found.numbers) | {"float32_left_slope": 0.0})[2]
    assert "not in both formats" in float32
    for factor in (math.nan, 0.0, math.inf):
        made["relu_small_a_layer"] = factor
        assert gradients.conclude(made)[1].endswith("there is no such number with He / 10.")


def test_table_and_figures(found):
    assert max(map(len, found.table.splitlines())) <= 100
    assert f"{found.numbers['relu_he_30']:.1e}" in found.table
    depth, check = found.figures["gradients_depth"], found.figures["gradients_check"]
    assert [ax.get_title() for ax in depth.axes] == list(gradients.ACTIVATIONS)
    line = depth.axes[0].lines[gradients.INITS.index("he")]
    assert line.get_ydata()[-1] == found.numbers["relu_he_30"]
    curve = check.axes[0].lines[0]
    assert curve.get_xdata()[curve.get_ydata().argmin()] == found.numbers["float64_best_h"]


def test_the_pages_still_quote_it():
    once.pages_hold("gradients")
