"""Norms without weight or bias, and an `MLP` with each of them."""

import contract
import numpy as np
import pytest
from modules import refuses, x32

import fastmlp as fm
from fastmlp import Tensor, nn
from fastmlp.running.plan import Plan, obstacle
from fastmlp.running.verify import verify

BARE = {
    "batch": lambda n, **o: nn.BatchNorm1d(n, affine=False, **o),
    "layer": lambda n, **o: nn.LayerNorm(n, elementwise_affine=False, **o),
}
WITHOUT_BIAS = {"batch": lambda n: nn.BatchNorm1d(n, bias=False), "layer": lambda n: nn.LayerNorm(n, bias=False)}


@pytest.mark.parametrize("kind", nn.NORMS)
def test_what_is_left_out_is_1_and_0(kind):
    x = x32(6, 5)
    whole = nn.NORMS[kind](5)(x).data
    for make in (BARE, WITHOUT_BIAS):
        assert np.array_equal(make[kind](5)(x).data, whole)
    assert [name for name, _ in BARE[kind](5).named_parameters()] == []
    assert [name for name, _ in WITHOUT_BIAS[kind](5).named_parameters()] == ["weight"]
    for bias in (True, False):  # bias says nothing where there is no affine map
        assert BARE[kind](5, bias=bias).bias is None


@pytest.mark.parametrize("kind", nn.NORMS)
def test_the_node_keeps_no_weight_that_is_not_there(kind):
    x = Tensor(x32(6, 5).data, requires_grad=True)
    y = BARE[kind](5)(x)
    assert "gamma" not in y.grad_fn.saved
    assert [node is None for node, _ in y.grad_fn.next_functions] == [False, True, True]
    assert "gamma (" not in str(fm.explain(y.sum()))
    assert "gamma (5,)" in str(fm.explain(nn.NORMS[kind](5)(x).sum()))


@pytest.mark.parametrize("kind", nn.NORMS)
def test_it_says_what_it_has(kind, tmp_path):
    model = nn.Sequential(nn.Linear(4, 5), BARE[kind](5), WITHOUT_BIAS[kind](5), nn.NORMS[kind](5), nn.Linear(5, 3))
    equations = [layer.equation().replace("(x − μ) / √(σ² + ε)", "x̂") for layer in model][1:4]
    assert equations == ["y = x̂", "y = w x̂", "y = w x̂ + b"]
    assert [layer.detail().partition("μ")[0] for layer in model][1:4] == ["", "w (5,); ", "w, b (5,); "]
    fm.save(model, tmp_path / "model.safetensors")
    loaded = fm.load_model(tmp_path / "model.safetensors")
    assert repr(loaded) == repr(model)
    assert contract.differing(loaded.state_dict(), model.state_dict()) == []


def test_pytorchs_spellings_are_taken_and_others_refused():
    assert nn.LayerNorm((5,)).normalized_shape == nn.LayerNorm([5]).normalized_shape == 5
    refuses(ValueError, lambda: nn.LayerNorm((3, 4)), "LayerNorm: normalized_shape is (3, 4)", "whole number")
    refuses(TypeError, lambda: nn.LayerNorm(5, elementwise_affine=np.float32), "LayerNorm: elementwise_affine is")
    refuses(TypeError, lambda: nn.LayerNorm(5, bias=0), "LayerNorm: bias is 0; it must be True or False")
    refuses(TypeError, lambda: nn.BatchNorm1d(5, affine=None), "BatchNorm1d: affine is None")
    refuses(ValueError, lambda: nn.BatchNorm1d(5, track_running_stats=False), "track_running_stats is False", "True")
    assert repr(nn.BatchNorm1d(5, track_running_stats=True)) == "BatchNorm1d(5, eps=1e-05, momentum=0.1)"


def test_a_bias_without_a_weight_goes_to_the_graph():
    model = nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 3))
    model[1].weight = None
    assert obstacle(model) == "a layer lacks a parameter before one that it has"
    model[1].bias = None
    assert obstacle(model) is None
    verify(Plan(model, 4, 9))


FAULTS = {
    "fewer rows than parameters": ("weight_rows", lambda row: 1, "a number of rows of weights is odd"),
    "more rows than stand in": ("weight_rows", lambda row: 5, "a number of rows of weights is odd"),
    "rows behind the buffer": ("weight", lambda row: row["weight"] + (1 << 40), "a parameter elsewhere|is outside p"),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("make", [BARE["layer"], nn.LayerNorm])
def test_a_planted_fault_of_the_plan_is_refused(name, make):
    made = Plan(nn.Sequential(nn.Linear(4, 5), make(5), nn.Linear(5, 3)), 4, 9)
    verify(made)
    column, fault, words = FAULTS[name]
    made.rows[1][column] = fault(made.rows[1]) - (make is not nn.LayerNorm and column == "weight_rows") * 2
    with pytest.raises(RuntimeError, match=f"plan: layer 1: .*({words})"):
        verify(made)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("activation", nn.ACTIVATIONS)
@pytest.mark.parametrize("norm", [None, *nn.NORMS])
def test_every_mlp_has_its_layers_and_the_same_bits_on_engine_and_graph(norm, activation, dropout):
    def make() -> nn.MLP:
        fm.manual_seed(0)
        return nn.MLP(6, (9, 7), 3, activation, dropout, norm=norm)

    kinds = [nn.Linear, *([nn.NORMS[norm]] if norm else []), nn.ACTIVATIONS[activation], *[nn.Dropout] * bool(dropout)]
    assert [type(layer) for layer in make()] == [*kinds, *kinds, nn.Linear]
    loss, states = contract.loss("cross_entropy", "plain"), []
    data = contract.data_set(loss, 6, 3, 20, np.float32, 0)
    for how in ("graph", 2):
        model = make()
        states.append(contract.train(how, model, fm.optim.Adam(model.parameters(), lr=0.1), loss, data, batch=8))
    assert contract.differing(*states) == []
