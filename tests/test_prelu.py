"""PReLU, and what one number for all columns needs: copies that stay equal, one order of the sum, no padding in it."""

import contract
import numpy as np
import pytest
from modules import refuses
from safetensors.numpy import save_file

import fastmlp as fm
from fastmlp import Tensor, nn
from fastmlp.kernels import kernel
from fastmlp.running.engine import Engine
from fastmlp.running.pace import Fixed
from fastmlp.running.plan import Plan
from fastmlp.running.verify import verify

COLUMNS = 21  # no whole vector


def net() -> nn.Sequential:
    fm.manual_seed(0)
    return nn.Sequential(nn.Linear(5, COLUMNS), nn.PReLU(), nn.Linear(COLUMNS, 3))


def data(rows: int = 40) -> fm.Dataset:
    rng = np.random.default_rng(0)
    return fm.Dataset(rng.standard_normal((rows, 5)).astype(np.float32), np.arange(rows) % 3)


@pytest.mark.parametrize("slopes", [1, 4])
def test_at_the_kink_the_slope_is_the_left_sides(slopes):
    layer = nn.PReLU(slopes).double()
    x = Tensor(np.array([[0.0, -0.0, 2.0, -2.0]]), requires_grad=True)
    y = layer(x)
    y.backward(np.ones((1, 4)))
    assert y.data.tolist() == [[0, 0, 2, -0.5]]
    assert x.grad.tolist() == [[0.25, 0.25, 1, 0.25]]
    assert layer.weight.grad.tolist() == ([-2] if slopes == 1 else [0, 0, 0, -2])


def test_one_slope_takes_any_shape():
    """As in PyTorch; with a slope a column x is (N, C)."""
    layer, numbers = nn.PReLU(), np.random.default_rng(0).standard_normal(24)
    for shape in ((24,), (4, 6), (2, 3, 4)):
        x = Tensor(numbers.reshape(shape).astype(np.float32), requires_grad=True)
        layer.zero_grad()
        y = layer(x)
        y.sum().backward()
        assert y.shape == x.grad.shape == shape
        assert layer.weight.grad[0] == pytest.approx(numbers[numbers < 0].sum(), rel=1e-6)  # float32: 7 digits
    refuses(ValueError, lambda: nn.PReLU(4)(Tensor(np.zeros((2, 3, 4), np.float32))), "prelu", "(2, 3, 4)", "(4,)")


def test_another_number_of_slopes_is_refused():
    model = nn.Sequential(nn.Linear(5, COLUMNS), nn.PReLU(4), nn.Linear(COLUMNS, 3))
    refuses(ValueError, lambda: model(Tensor(data().features)), "prelu", "weight is (4,)", "(1,)")
    refuses(ValueError, lambda: fm.fit(model, data(), epochs=1, progress=False), "layer 1", "4", "must be 1 or 21")
    refuses(ValueError, lambda: fm.Predictor(model), "layer 1", "4", "must be 1 or 21")
    refuses(ValueError, lambda: nn.PReLU(0), "PReLU: num_parameters is 0")
    refuses(ValueError, lambda: nn.PReLU(init=np.nan), "PReLU: init is nan")


@pytest.mark.parametrize("rule", contract.RULES)
@pytest.mark.parametrize("threads", [1, 3])
def test_the_copies_of_the_slope_stay_equal_and_so_does_the_rules_state(rule, threads):
    model = net()
    optimizer = contract.optimizer(model, rule, next(reversed(contract.RULES[rule].options)))
    with Engine(model, optimizer, 5, 16, threads, Fixed(threads)) as engine:
        for _ in range(3):
            engine.epoch(data(), np.arange(40), [16, 16, 8])
        (slot,) = (slot for slot in engine.plan.slots if slot.parameter is model[1].weight)
        assert slot.copies == engine.plan.rows[1]["width"] >= COLUMNS
        for flat in (engine.weights.p, *(array for array in engine.arrays if array.size > 1)):
            copies = flat[slot.at : slot.at + slot.copies]
            assert len(set(copies.tolist())) == 1
    assert model[1].weight.data[0] == engine.weights.p[slot.at] != 0.25


@kernel
def one_less(x, y, numbers, lo, hi):
    """y = x - 1."""
    for n in range(x.shape[0]):
        for o in range(lo, hi):
            y[n, o] = x[n, o] - x.dtype.type(1)


@kernel
def one_more_back(dy, x, dx, numbers, lo, hi):
    """dx = dy + 1, which is no gradient: it makes padding that is not 0."""
    for n in range(x.shape[0]):
        for o in range(lo, hi):
            dx[n, o] = dy[n, o] + x.dtype.type(1)


class OneLessBackward0(nn.ElementwiseNode):
    """y = x - 1."""

    equation = "dx = dy + 1"
    pair = (one_less, one_more_back)
    keeps = {"x": "the form wants one"}


class OneLess(nn.Elementwise):
    """y = x - 1: where the engine has padding of 0, it is -1 afterwards."""

    node, function = OneLessBackward0, staticmethod(lambda x: nn.elementwise("one_less", OneLessBackward0, x))


@pytest.mark.parametrize("threads", [1, 2])
def test_padding_adds_nothing_to_the_gradient(threads):
    """Below the PReLU padding is -1, above it the gradient of padding is 1; the graph has no padding."""
    states = []
    for how in ("graph", threads):
        fm.manual_seed(0)
        layers = nn.Linear(5, COLUMNS), OneLess(), nn.PReLU(), OneLess(), nn.Linear(COLUMNS, 3)
        model = nn.Sequential(*layers)
        rule = fm.optim.SGD(model.parameters(), lr=0.1)
        states.append(contract.train(how, model, rule, fm.nn.CrossEntropyLoss(), data()))
    assert contract.differing(*states) == []


FAULTS = {
    "too few copies": (lambda plan: setattr(plan.slots[2], "copies", 1), "a number of copies is odd"),
    "copies of a vector": (lambda plan: plan.rows[1].__setitem__("tied", 0), "a number of copies is odd"),
    "sums behind the buffer": (
        lambda plan: plan.sizes.__setitem__("state", int(plan.rows[1]["dweights"])),
        "dweights at .* is outside state",
    ),
    "gradients too late": (
        lambda plan: plan.rows[1].__setitem__("weights", plan.rows[1]["backward"]),
        "gradients are not there in time",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_of_the_plan_is_refused(name):
    plant, words = FAULTS[name]
    made = Plan(net(), 5, 9)
    verify(made)
    plant(made)
    with pytest.raises(RuntimeError, match=f"plan: layer 1: .*{words}"):
        verify(made)


def test_a_layer_whose_weights_come_too_late_is_refused_when_it_is_declared():
    kernels = nn.PReLU.kernels | {"weights": nn.LayerNorm.kernels["weights"]}
    with pytest.raises(TypeError, match="Late: tied is True, and kernels has weights; it must have none"):
        type("Late", (nn.Layer,), {"form": "norm", "kernels": kernels, "tied": True})


def test_it_comes_back_from_a_file_with_its_slope(tmp_path):
    model = nn.Sequential(nn.Linear(5, 4), nn.PReLU(init=2), nn.Linear(4, 4), nn.PReLU(4, init=-1), nn.Linear(4, 3))
    fm.save(model, tmp_path / "model.safetensors")
    loaded = fm.load_model(tmp_path / "model.safetensors")
    assert repr(loaded) == repr(model)
    assert [layer.weight.data.tolist() for layer in loaded][1::2] == [[2], [-1] * 4]


def test_an_mlp_takes_it_by_its_name(tmp_path):
    fm.manual_seed(0)
    model = nn.MLP(5, (COLUMNS, 8), 3, "prelu", dropout=0.1, norm="layer")
    fm.fit(model, data(), epochs=2, progress=False)
    slopes = [layer.weight.data[0] for layer in model if isinstance(layer, nn.PReLU)]
    assert len(slopes) == 2
    assert 0.25 not in slopes
    fm.save(model, tmp_path / "model.safetensors")
    loaded = fm.load_model(tmp_path / "model.safetensors")
    assert np.array_equal(fm.Predictor(loaded)(data().features), fm.Predictor(model)(data().features))


def test_a_file_without_names_of_layers_has_no_prelu_between_its_arrays(tmp_path):
    save_file(nn.MLP(5, (4,), 3).state_dict(), tmp_path / "bare")  # of another program
    words = "has no arrays for the layer before 2", "prelu has some"
    refuses(ValueError, lambda: fm.load_model(tmp_path / "bare", activation="prelu"), *words)
