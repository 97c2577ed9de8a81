"""`fastmlp.nn`: names, parameters, modes, dtypes, state."""

import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modules import FULL_KEYS, full_model, refuses, x32

from fastmlp import Parameter, Tensor, manual_seed, nn, ops


@pytest.fixture(autouse=True)
def seeded():
    """The same initial weights in every run."""
    manual_seed(0)


# --- parameters and modules ------------------------------------------------------------------------------------------


def test_named_parameters_come_in_the_order_of_the_layers():
    model = full_model()
    names = [name for name, _ in model.named_parameters()]
    assert names == ["0.weight", "0.bias", "1.weight", "1.bias", "4.weight", "4.bias"]
    assert [id(p) for _, p in model.named_parameters()] == [id(p) for p in model.parameters()]
    assert all(isinstance(p, Parameter) and p.requires_grad and p.is_leaf for p in model.parameters())


def test_parameters_is_a_generator():
    parameters = nn.Linear(2, 3).parameters()
    assert isinstance(parameters, types.GeneratorType)
    assert [p.shape for p in parameters] == [(3, 2), (3,)]
    assert list(parameters) == []


class Residual(nn.Module):
    """A module of the reader's own: two layers, a parameter and a buffer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = Parameter(np.ones(1, np.float32))
        self.first = nn.Linear(width, width)
        self.inner = nn.Sequential(nn.ReLU(), nn.Linear(width, width, bias=False))
        self.register_buffer("calls", np.zeros((), np.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x + self.scale * self.inner(self.first(x))


class Net(nn.Module):
    """Modules within modules within a module."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(Residual(3), Residual(3))
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def test_modules_of_ones_own_find_what_is_nested_in_them():
    model = Net()
    block = ["scale", "first.weight", "first.bias", "inner.1.weight"]
    expected = [f"body.{i}.{name}" for i in (0, 1) for name in block] + ["head.weight", "head.bias"]
    assert [name for name, _ in model.named_parameters()] == expected
    assert [name for name, _ in model.named_buffers()] == ["body.0.calls", "body.1.calls"]
    assert [type(child).__name__ for child in model.children()] == ["Sequential", "Linear"]
    names = [name for name, _ in model.named_modules()]
    assert names[:5] == ["", "body", "body.0", "body.0.first", "body.0.inner"]
    assert names[-1] == "head"
    assert len(list(model.modules())) == len(names) == 13


def test_modules_of_ones_own_run_and_get_gradients():
    model = Net()
    ops.cross_entropy(model(x32(5, 3)), [0, 1, 0, 1, 0]).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.shape == parameter.shape
    assert model.state_dict()["body.0.calls"] == 1


def test_a_module_without_forward_says_so():
    class Empty(nn.Module):
        pass

    refuses(NotImplementedError, lambda: Empty()(x32(2, 2)), "Empty has no forward")


def test_a_module_that_forgot_super_says_so():
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.Linear(2, 2)

    refuses(RuntimeError, Forgetful, "Forgetful", "super().__init__()", "layer")


def test_a_shared_parameter_counts_once_and_has_a_key_at_each_place():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    model = nn.Sequential(first, second)
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert list(model.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    model.double()
    assert first.weight is second.weight
    assert first.weight.dtype == np.float64


def test_a_shared_module_adds_the_gradients_of_both_uses():
    layer = nn.Linear(3, 3)
    model = nn.Sequential(layer, nn.Tanh(), layer).double()
    assert len(list(model.parameters())) == 2
    model(Tensor(np.ones((2, 3)))).sum().backward()
    both = layer.bias.grad
    h = ops.tanh(layer(Tensor(np.ones((2, 3))))).detach()
    layer.zero_grad()
    layer(h).sum().backward()
    last = layer.bias.grad
    first = ((1 - h.data**2) @ np.diag(layer.weight.data.sum(0))).sum(0)
    # two float64 terms of order 1
    np.testing.assert_allclose(both, last + first, rtol=1e-13)


def test_attributes_replace_one_another_and_keep_their_place():
    layer = nn.Linear(2, 3)
    new = Parameter(np.zeros((3, 2), np.float32))
    layer.weight = new
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    assert next(layer.parameters()) is new
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    setattr(model, "0", nn.Linear(2, 4))
    assert [type(module).__name__ for module in model] == ["Linear", "ReLU"]
    layer.bias = None
    assert list(layer.state_dict()) == ["weight"]
    np.testing.assert_array_equal(layer(x32(2, 2)).data, np.zeros((2, 3)))


def test_a_deleted_attribute_is_gone_from_the_state():
    model = Net()
    del model.head
    assert not [key for key in model.state_dict() if key.startswith("head")]
    assert not hasattr(model, "head")


@pytest.mark.parametrize("value", [np.zeros((3, 2)), Tensor(np.zeros((3, 2))), 1.0])
def test_only_a_parameter_replaces_a_parameter(value):
    layer = nn.Linear(2, 3)
    refuses(TypeError, lambda: setattr(layer, "weight", value), "Linear", "weight", type(value).__name__)
    assert len(list(layer.parameters())) == 2


def test_a_buffer_that_is_set_anew_stays_a_buffer():
    layer = nn.BatchNorm1d(3)
    mean = np.arange(3, dtype=np.float32)
    layer.running_mean = mean
    assert layer.state_dict()["running_mean"] is mean
    assert list(layer.state_dict()) == [key[2:] for key in FULL_KEYS if key.startswith("1.")]


def test_sequential_is_a_list_of_modules():
    model = full_model()
    assert len(model) == 5
    assert model[0] is next(iter(model))
    assert isinstance(model[-1], nn.Linear)
    with pytest.raises(IndexError):
        model[5]
    x = x32(2, 4)
    assert nn.Sequential()(x) is x
    refuses(TypeError, lambda: nn.Sequential(nn.ReLU(), np.tanh), "Sequential: argument 1 is ufunc")


# --- modes and dtypes ------------------------------------------------------------------------------------------------


def test_train_and_eval_reach_every_module():
    model = Net()
    assert model.training
    assert model.eval() is model
    assert not any(module.training for module in model.modules())
    assert model.train() is model
    assert all(module.training for module in model.modules())
    model.train(False)
    assert not any(module.training for module in model.modules())


def test_zero_grad_reaches_every_parameter():
    model = Net()
    model(x32(2, 3)).sum().backward()
    model.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_double_and_float_change_arrays_and_keep_objects_and_order():
    model = full_model()
    before = {name: array.copy() for name, array in model.state_dict().items()}
    objects = list(model.parameters())
    model(x32(3, 4)).sum().backward()
    assert model.double() is model
    for parameter, same in zip(model.parameters(), objects, strict=True):
        assert parameter is same
        assert parameter.dtype == np.float64
        assert parameter.grad.dtype == np.float64
    assert list(model.state_dict()) == FULL_KEYS
    for name, array in model.state_dict().items():
        assert array.dtype == (np.int64 if name.endswith("tracked") else np.float64)
    assert model(Tensor(np.ones((3, 4)))).dtype == np.float64
    model.float()
    for name, parameter in model.named_parameters():
        np.testing.assert_array_equal(parameter.data, before[name])  # float32 -> float64 -> float32 loses nothing
        assert parameter.dtype == np.float32
    assert model(x32(3, 4)).dtype == np.float32


# --- state -----------------------------------------------------------------------------------------------------------


def test_state_dict_has_the_keys_of_pytorch_before_and_after_a_training_step():
    model = full_model()
    assert list(model.state_dict()) == FULL_KEYS
    model(x32(3, 4))
    assert list(model.state_dict()) == FULL_KEYS


def test_state_dict_holds_the_arrays_themselves():
    model = full_model()
    assert model.state_dict()["0.weight"] is model[0].weight.data
    assert model.state_dict()["1.running_mean"] is model[1].running_mean


def test_load_state_dict_copies_into_the_same_arrays():
    source, model = full_model(), full_model()
    source(x32(3, 4))  # moves the running statistics
    arrays = model.state_dict()
    model.load_state_dict(source.state_dict())
    for name, array in model.state_dict().items():
        assert array is arrays[name]
        assert array is not source.state_dict()[name]
        np.testing.assert_array_equal(array, source.state_dict()[name])
    assert model[1].num_batches_tracked == 1


def test_load_state_dict_takes_other_dtypes_lists_and_tensors():
    layer = nn.Linear(2, 1)
    layer.load_state_dict({"weight": [[1, 2]], "bias": Tensor(np.array([3.0]))})
    np.testing.assert_array_equal(layer.weight.data, [[1, 2]])
    np.testing.assert_array_equal(layer.bias.data, [3])
    assert layer.weight.dtype == layer.bias.dtype == np.float32
    layer.load_state_dict({"weight": np.array([[4, 5]], ">f8"), "bias": np.ones(1, np.float16)})
    np.testing.assert_array_equal(layer.weight.data, [[4, 5]])


def test_load_state_dict_lists_every_fault_and_copies_nothing():
    model = full_model()
    before = {name: array.copy() for name, array in model.state_dict().items()}
    state = {name: array + 1 for name, array in before.items()}
    del state["4.bias"], state["0.bias"]
    state["9.weight"] = np.zeros(2)
    state["0.weight"] = np.zeros((3, 5))
    state["1.bias"] = np.array(["a", "b", "c"])
    refuses(
        RuntimeError,
        lambda: model.load_state_dict(state),
        "Sequential",
        "missing: 0.bias, 4.bias",
        "unexpected: 9.weight",
        "misshapen: 0.weight is (3, 5) and must be (3, 4)",
        "not numbers: 1.bias",
    )
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_load_state_dict_without_strict_passes_over_keys_but_not_over_shapes():
    model = full_model()
    model.load_state_dict({"0.bias": np.ones(3), "other": np.ones(1)}, strict=False)
    np.testing.assert_array_equal(model[0].bias.data, [1, 1, 1])
    refuses(RuntimeError, lambda: model.load_state_dict({"0.bias": np.ones(4)}, strict=False), "misshapen: 0.bias")


@given(seed=st.integers(0, 2**63))
@settings(deadline=None, max_examples=10)
def test_a_state_copied_over_gives_the_same_outputs(seed):
    manual_seed(seed)
    source, model = nn.MLP(4, [3], 2, batch_norm=True), nn.MLP(4, [3], 2, batch_norm=True)
    source(x32(6, 4))
    model.load_state_dict(source.state_dict())
    np.testing.assert_array_equal(model.eval()(x32(5, 4)).data, source.eval()(x32(5, 4)).data)


def test_repr_shows_the_tree():
    model = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.25)), nn.ReLU())
    assert repr(model) == (
        "Sequential(\n"
        "  (0): Linear(in_features=4, out_features=3, bias=True)\n"
        "  (1): Sequential(\n"
        "    (0): BatchNorm1d(3, eps=1e-05, momentum=0.1)\n"
        "    (1): Dropout(p=0.25)\n"
        "  )\n"
        "  (2): ReLU()\n"
        ")"
    )
    assert repr(nn.Linear(2, 1, bias=False)) == "Linear(in_features=2, out_features=1, bias=False)"
