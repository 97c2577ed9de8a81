"""Gradients against finite differences: every layer, random whole networks, arithmetic; and the checker itself.

The checker's tolerance is its default, 1e-6 of the terms summed: differences have errors of h² = 4e-11 and
eps / h = 4e-11 of the values, so 1e-6 leaves room for deep networks, and a factor 1.001 is a thousand times larger.
"""

import copy

import numpy as np
import pytest
import strategies as our
from hypothesis import given
from hypothesis import strategies as st
from strategies import CHECKED, off_kinks

import fastmlp as fm
from fastmlp import nn, ops
from fastmlp.graph import Tensor, arithmetic, no_grad
from fastmlp.show.gradcheck import GradcheckError, GradcheckReport, gradcheck


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def leaf(*shape: int, seed: int = 1) -> Tensor:
    return Tensor(normal(*shape, seed=seed), requires_grad=True)


# ---------------------------------------------------------------- layers

LAYERS = {
    "Linear": lambda: nn.Linear(7, 5),
    "Linear without bias": lambda: nn.Linear(7, 5, bias=False),
    "Linear, one number": lambda: nn.Sequential(nn.Linear(7, 1), nn.Linear(1, 1)),
    "ReLU": nn.ReLU,
    "Tanh": nn.Tanh,
    "Sigmoid": nn.Sigmoid,
    "Dropout": lambda: nn.Dropout(0.4),
    "BatchNorm1d": lambda: nn.BatchNorm1d(7),
    "BatchNorm1d, eps large": lambda: nn.BatchNorm1d(7, eps=0.3),
    "Sequential": lambda: nn.Sequential(
        nn.Linear(7, 20), nn.BatchNorm1d(20), nn.Tanh(), nn.Dropout(), nn.Linear(20, 3)
    ),
}


@pytest.mark.parametrize("rows", [2, 3, 17])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, training, rows):
    fm.manual_seed(3)
    layer = LAYERS[name]().train(training)
    for module in layer.modules():
        if isinstance(module, nn.BatchNorm1d):  # not the start, at which many faults would not show
            module.weight.data[:] = normal(module.num_features, seed=8)
            module.running_mean[:] = normal(module.num_features, seed=9)
            module.running_var[:] = 0.5 + normal(module.num_features, seed=10) ** 2
    report = gradcheck(layer, off_kinks(np.random.default_rng(rows), (rows, 7)))
    assert report.ok
    assert list(report.errors) == ["x", *dict(layer.named_parameters())]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy(smoothing, reduction, weighted):
    z, labels = 3 * normal(9, 4), np.arange(9) % 4
    weight = np.linspace(0, 2, 9) if weighted else None
    options = {"sample_weight": weight, "label_smoothing": smoothing, "reduction": reduction}
    assert gradcheck(lambda z: ops.cross_entropy(z, labels, **options), z).ok
    assert gradcheck(lambda z: z, z, labels, loss=lambda z, y: ops.cross_entropy(z, y, **options)).ok
    assert gradcheck(ops.log_softmax, z).ok
    assert gradcheck(lambda y: ops.nll_loss(y, labels, **options), -np.abs(z)).ok


def test_one_class_and_one_row():
    assert gradcheck(ops.log_softmax, normal(1, 1)).ok
    assert gradcheck(nn.Linear(1, 1), normal(1, 1), [0]).ok


def test_dropout_of_more_axes_and_of_all():
    for p in (0.3, 1.0):
        for shape in ((6,), (3, 4, 5)):
            assert gradcheck(lambda x, p=p: ops.dropout(x, p, seed=1, step=2, layer=3), normal(*shape)).ok


@CHECKED
@given(our.nets())
def test_whole_networks(net):
    """Every gradient of a random network, its loss with label smoothing and sample weights."""
    model, x, labels, weight = net.make()
    options = {"sample_weight": weight, "label_smoothing": net.label_smoothing}
    report = gradcheck(model, x, labels, loss=lambda z, y: ops.cross_entropy(z, y, **options), seed=net.seed)
    assert report.ok
    assert all(error <= 1e-6 for error in report.errors.values())
    assert report.errors.keys() == {"x", *dict(model.named_parameters())}


def test_the_network_of_the_readme_at_full_size():
    fm.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
    rng = np.random.default_rng(0)
    assert gradcheck(model, rng.integers(0, 256, (64, 784)) / 255, rng.integers(0, 10, 64)).ok


def test_a_parameter_used_twice_gets_both_gradients():
    shared = nn.Linear(6, 6)
    assert gradcheck(nn.Sequential(shared, nn.Tanh(), shared), normal(4, 6)).ok
    assert gradcheck(lambda x: x * x + x, normal(3)).ok


# ---------------------------------------------------------------- arithmetic

A, B = (4, 3), (3, 5)
ARITHMETIC = {
    "a + b": (lambda a, b: a + b, A, A),
    "a - b": (lambda a, b: a - b, A, A),
    "a * b": (lambda a, b: a * b, A, A),
    "a / b": (lambda a, b: a / (b * b + 1), A, A),
    "a @ b": (lambda a, b: a @ b, A, B),
    "vector @ matrix": (lambda a, b: a @ b, (3,), B),
    "matrix @ vector": (lambda a, b: a @ b, A, (3,)),
    "vector @ vector": (lambda a, b: a @ b, (3,), (3,)),
    "row broadcast": (lambda a, b: a * b + b - a / (b * b + 1), A, (3,)),
    "column broadcast": (lambda a, b: a * b + b - a / (b * b + 1), A, (4, 1)),
    "number broadcast": (lambda a, b: a * b + b - a / (b * b + 1), A, ()),
    "both broadcast": (lambda a, b: a * b - a / (b * b + 1), (4, 1), (1, 5)),
    "constants": (lambda a, b: 2 * a - 3 + (1 - b) / 2 + 1 / (b * b + 2) - a, A, A),
    "-a": (lambda a, b: -a * b, A, A),
    "a ** 3": (lambda a, b: a**3 + b**2 + a**1 + b**0, A, A),
    "a ** -0.5": (lambda a, b: (a * a + 1) ** -0.5 * b, A, A),
    "sum": (lambda a, b: a.sum() * b, A, A),
    "sum of rows": (lambda a, b: a.sum(dim=0) * b, A, (3,)),
    "sum, keepdim": (lambda a, b: a.sum(dim=-1, keepdim=True) * b, A, A),
    "sum of two axes": (lambda a, b: a.sum(dim=(0, 2)) * b, (2, 3, 4), (3,)),
    "mean": (lambda a, b: a.mean() * b, A, A),
    "mean of columns": (lambda a, b: a.mean(dim=1) * b, A, (4,)),
    "mean, keepdim": (lambda a, b: a.mean(dim=0, keepdim=True) * b, A, A),
    "T": (lambda a, b: a.T @ b, A, (4, 2)),
    "softmax by hand": (lambda a, b: ((a * b).sum(dim=1, keepdim=True) ** 2 / ((a * a).sum() + 1)).mean(), A, A),
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic(name):
    function, a, b = ARITHMETIC[name]
    other = leaf(*b)
    assert gradcheck(lambda x: function(x, other), normal(*a), params={"b": other}).ok


@CHECKED
@given(
    rows=st.integers(1, 5),
    columns=st.integers(1, 5),
    short=st.sampled_from(["ab", "1b", "a1", "11", "b", "1", ""]),
    operation=st.sampled_from(["+", "-", "*", "/"]),
    swapped=st.booleans(),
    seed=our.seeds,
)
def test_broadcasting_of_every_kind(rows, columns, short, operation, swapped, seed):
    shape = tuple({"a": rows, "b": columns, "1": 1}[letter] for letter in short)
    rng = np.random.default_rng(seed)
    x, other = off_kinks(rng, (rows, columns), 0.5), Tensor(off_kinks(rng, shape, 0.5), requires_grad=True)
    apply = {
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "/": lambda a, b: a / b,
    }[operation]
    assert gradcheck(lambda x: apply(other, x) if swapped else apply(x, other), x, params=[other]).ok


# ---------------------------------------------------------------- kinks


def test_relu_has_gradient_zero_at_zero():
    x = Tensor(np.array([[0.0, -0.0, 1e-300, 2.0, -1.0]]), requires_grad=True)
    ops.relu(x).sum().backward()
    assert x.grad.tolist() == [[0, 0, 1, 1, 0]]


def test_a_number_at_the_kink_spoils_the_check_and_one_near_it_does_not():
    x = off_kinks(np.random.default_rng(0), (4, 5))
    x[1, 2] = 1e-7 * np.sqrt(np.mean(x**2))  # within h, outside h / 1000
    for seed in range(5):
        assert gradcheck(nn.ReLU(), x, seed=seed).ok
    x[1, 2] = 0
    assert not gradcheck(nn.ReLU(), x, raise_exception=False).ok


# ---------------------------------------------------------------- values that are hard for differences


def test_a_gradient_that_is_zero_in_exact_arithmetic():
    """A bias before batch norm is subtracted with the mean. Backward and differences both leave rounding errors."""
    for seed in range(5):
        fm.manual_seed(seed)
        model = nn.MLP(20, [30, 30], 4, "tanh", batch_norm=True)
        assert gradcheck(model, normal(16, 20), np.arange(16) % 4, seed=seed).ok


def test_a_confident_network():
    """A loss of 1e-7 beside logits of 20: the differences have few digits, and the checker knows how few."""
    labels = np.arange(8) % 3
    z = 20.0 * np.eye(3)[labels] + 0.1 * normal(8, 3)
    assert gradcheck(ops.log_softmax, z).ok
    assert gradcheck(lambda z: z, z, labels).ok


@pytest.mark.parametrize("offset", [1e2, 1e4])
def test_inputs_far_from_zero(offset):
    assert gradcheck(nn.Sequential(nn.BatchNorm1d(5), nn.Tanh()), offset + normal(9, 5)).ok


@pytest.mark.parametrize("size", [1e-6, 1e-3, 1e3, 1e6, 1e100])
def test_values_of_any_size(size):
    assert gradcheck(nn.Linear(6, 4), size * normal(5, 6)).ok
    assert gradcheck(lambda x: x * x, size * normal(5, 6)).ok


# ---------------------------------------------------------------- planted faults

FAULTS = {
    "a thousandth too large": lambda g: g * 1.001,
    "a ten thousandth too large": lambda g: g * 1.0001,
    "zero": lambda g: g * 0,
    "NaN": lambda g: g * np.nan,
    "one NaN": lambda g: np.where(np.arange(g.size).reshape(g.shape) == g.size // 2, np.nan, g),
    "infinity": lambda g: g + np.inf,
    "missing": lambda g: None,
    "sign swapped": lambda g: -g,
    "upside down": lambda g: np.ascontiguousarray(g[::-1]),
    "one number off": lambda g: g + 0.01 * (np.arange(g.size).reshape(g.shape) == g.size // 3),
}
NODES = {  # node class, index of the gradient, a name that must be reported for it in `all_in_one`
    "linear, bias": (ops.AddmmBackward0, 0, "3.bias"),
    "linear, x": (ops.AddmmBackward0, 1, "6.weight"),
    "linear, w": (ops.AddmmBackward0, 2, "0.weight"),
    "weight turned": (ops.TBackward0, 0, "0.weight"),
    "tanh": (ops.TanhBackward0, 0, "3.weight"),
    "sigmoid": (ops.SigmoidBackward0, 0, "6.weight"),
    "relu": (ops.ReluBackward0, 0, "0.weight"),
    "dropout": (ops.NativeDropoutBackward0, 0, "3.weight"),
    "batch norm, x": (ops.NativeBatchNormBackward0, 0, "0.weight"),
    "batch norm, weight": (ops.NativeBatchNormBackward0, 1, "1.weight"),
    "batch norm, bias": (ops.NativeBatchNormBackward0, 2, "1.bias"),
    "log-softmax": (ops.LogSoftmaxBackward0, 0, "8.weight"),
    "loss": (ops.NllLossBackward0, 0, "8.weight"),
}


def plant(monkeypatch, node: type, index: int, fault) -> None:
    """Let gradient number `index` of every such node go wrong."""
    right = node.run

    def wrong(self, dy):
        gradients = list(right(self, dy))
        if gradients[index] is not None:
            gradients[index] = fault(gradients[index])
        return tuple(gradients)

    monkeypatch.setattr(node, "run", wrong)


def all_in_one() -> nn.Sequential:
    """Every layer once."""
    fm.manual_seed(5)
    return nn.Sequential(
        nn.Linear(7, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 9), nn.Tanh(), nn.Dropout(0.3),
        nn.Linear(9, 6), nn.Sigmoid(), nn.Linear(6, 4),
    )  # fmt: skip


def test_the_network_of_the_planted_faults_is_right_without_them():
    assert gradcheck(all_in_one(), normal(12, 7), np.arange(12) % 4).ok


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("node", NODES)
def test_a_planted_fault_is_refused(monkeypatch, node, fault):
    kind, index, name = NODES[node]
    plant(monkeypatch, kind, index, FAULTS[fault])
    report = gradcheck(all_in_one(), normal(12, 7), np.arange(12) % 4, raise_exception=False)
    assert not report.ok
    assert name in report.failing
    assert not report.errors[report.worst] <= report.tolerance


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "upside down"])
@pytest.mark.parametrize(
    ("kind", "function"),
    [
        (arithmetic.AddBackward0, lambda x: x + 1),
        (arithmetic.SubBackward0, lambda x: x - 1),
        (arithmetic.MulBackward0, lambda x: x * 3),
        (arithmetic.DivBackward0, lambda x: x / 3),
        (arithmetic.NegBackward0, lambda x: -x),
        (arithmetic.PowBackward0, lambda x: x**2),
        (arithmetic.SumBackward0, lambda x: x.sum()),
        (arithmetic.MeanBackward0, lambda x: x.mean(dim=1)),
        (arithmetic.TransposeBackward0, lambda x: x.T),
        (arithmetic.MmBackward0, lambda x: x @ normal(5, 2)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_fault_in_arithmetic_is_refused(monkeypatch, kind, function, fault):
    plant(monkeypatch, kind, 0, FAULTS[fault])
    with pytest.raises(GradcheckError):
        gradcheck(function, normal(4, 5))


def test_a_small_wrong_gradient_where_zero_is_right_is_refused(monkeypatch):
    """The floor forgives the rounding error of a bias before batch norm, not more."""
    plant(monkeypatch, ops.AddmmBackward0, 0, lambda g: g + 1e-6)
    with pytest.raises(GradcheckError, match=r"0\.bias"):
        gradcheck(all_in_one(), normal(12, 7), np.arange(12) % 4)


@pytest.mark.parametrize("size", [1e-200, 1e-100, 1e150, 1e200, 1e305])
def test_a_fault_is_refused_at_any_size(monkeypatch, size):
    """No overflow on the way makes the scale infinite, and every error small."""
    plant(monkeypatch, arithmetic.MulBackward0, 0, FAULTS["sign swapped"])
    assert not gradcheck(lambda x: x * size, normal(4, 5), raise_exception=False).ok


def test_a_fault_in_one_of_many_numbers_is_refused(monkeypatch):
    plant(monkeypatch, ops.TBackward0, 0, lambda g: g * np.where(np.arange(g.size).reshape(g.shape) == 1234, 0, 1))
    with pytest.raises(GradcheckError, match=r"weight"):
        gradcheck(nn.Linear(100, 100), normal(8, 100))


def test_a_gradient_of_another_shape_is_refused(monkeypatch):
    plant(monkeypatch, ops.TBackward0, 0, lambda g: g.T)
    with pytest.raises(GradcheckError, match=r"the gradient of weight is \(7, 5\), weight is \(5, 7\)"):
        gradcheck(nn.Linear(7, 5), normal(3, 7))


# ---------------------------------------------------------------- the report and the errors


def test_the_error_names_each_wrong_gradient_and_no_other(monkeypatch):
    plant(monkeypatch, ops.AddmmBackward0, 0, lambda g: g * 1.01)
    with pytest.raises(GradcheckError) as caught:
        gradcheck(nn.Linear(7, 5), normal(3, 7))
    assert isinstance(caught.value, AssertionError)
    first, *lines = str(caught.value).splitlines()
    assert first == "gradcheck: 2 of 3 gradients agree to 1e-06 (float64)"
    assert [line.split()[0] for line in lines] == ["x", "weight", "bias"]
    assert ["WRONG: backward" in line for line in lines] == [False, False, True]
    report = gradcheck(nn.Linear(7, 5), normal(3, 7), raise_exception=False)
    assert (report.failing, report.worst) == (["bias"], "bias")
    assert report.analytic["bias"] == pytest.approx(1.01 * report.numeric["bias"], rel=1e-6)


def test_the_report():
    report = gradcheck(nn.Linear(3, 2), normal(4, 3))
    assert isinstance(report, GradcheckReport)
    assert report.ok
    assert report.failing == []
    assert report.worst in report.errors
    assert str(report) == repr(report)
    assert str(report).startswith("gradcheck: 3 of 3 gradients agree to 1e-06 (float64)\n  x ")
    broken = GradcheckReport({"x": 0.5, "w": float("nan"), "b": 1e-9}, {}, {}, 1e-6)
    assert broken.worst == "w"
    assert broken.failing == ["x", "w"]


def test_the_same_seed_gives_the_same_report():
    model = nn.Linear(3, 2)
    assert gradcheck(model, normal(4, 3), seed=1) == gradcheck(model, normal(4, 3), seed=1)
    assert gradcheck(model, normal(4, 3), seed=1) != gradcheck(model, normal(4, 3), seed=2)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda m: gradcheck(3, normal(2, 3)), TypeError, "model is int; it must be a Module or a function"),
        (lambda m: gradcheck(m, np.array([["a"]])), TypeError, "x has dtype <U1; it must hold real numbers"),
        (lambda m: gradcheck(m, np.empty((0, 3))), ValueError, r"x is \(0, 3\), without a number"),
        (lambda m: gradcheck(m, [[1, 2, np.nan]]), ValueError, "x has numbers that are not finite"),
        (lambda m: gradcheck(m, normal(2, 3), tolerance=0), ValueError, "tolerance is 0; it must be above 0"),
        (lambda m: gradcheck(m, normal(2, 3), tolerance=np.nan), ValueError, "tolerance is nan"),
        (lambda m: gradcheck(m, normal(2, 3), directions=0), ValueError, "directions is 0; it must be a whole number"),
        (lambda m: gradcheck(m, normal(2, 3), params=[3]), TypeError, r"params\[0\] is int"),
        (lambda m: gradcheck(m, normal(2, 3), params={"x": leaf(1)}), ValueError, 'a parameter is named "x"'),
        (lambda m: gradcheck(m, normal(2, 3), params=[leaf(2) * 2]), TypeError, r"params\[0\] is no leaf"),
        (lambda m: gradcheck(m, normal(2, 3), params=[Tensor(np.array([np.inf]))]), ValueError, "not finite"),
        (lambda m: gradcheck(lambda x: 3.0, normal(2, 3)), TypeError, "gives float; it must give a float64 tensor"),
        (lambda m: gradcheck(m, normal(2, 4)), ValueError, r"linear: x is \(2, 4\)"),
    ],
)  # fmt: skip
def test_bad_input_gets_one_clear_sentence(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call(nn.Linear(3, 2))
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


def test_without_gradients_nothing_can_be_checked():
    with no_grad(), pytest.raises(RuntimeError, match="call it outside no_grad"):
        gradcheck(nn.Linear(3, 2), normal(2, 3))


def test_a_random_model_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(GradcheckError, match="two outputs for one input"):
        gradcheck(lambda x: x * rng.standard_normal(), normal(2, 3))


def test_what_can_be_checked():
    """Inputs: arrays of any real dtype, lists, tensors. Parameters: frozen ones are left out, unused ones are zero."""
    model = nn.Linear(3, 2)
    for x in (
        [[1, 2, 3]],
        np.ones((2, 3), np.uint8),
        np.ones((2, 3), np.float32),
        Tensor(normal(2, 3)),
        np.ones((3, 2)).T,
    ):
        assert gradcheck(model, x).ok
    model.weight.requires_grad = False
    assert list(gradcheck(model, normal(2, 3)).errors) == ["x", "bias"]
    used, unused = leaf(3), leaf(4)
    report = gradcheck(lambda x: x * used, normal(2, 3), params={"used": used, "unused": unused})
    assert report.errors["unused"] == 0
    assert gradcheck(lambda x: Tensor(np.ones(2)), normal(2)).ok  # a constant
    assert gradcheck(lambda x: x.detach() * used, normal(3), params=[used], raise_exception=False).failing == ["x"]
    assert gradcheck(ops.tanh, 0.3).ok  # a number


# ---------------------------------------------------------------- the model stays as it was


def everything(model: nn.Module) -> list:
    """All that a check could change: objects by identity, and their contents."""
    seen = []
    for name, module in model.named_modules():
        seen.append(
            (name, sorted(module.__dict__), list(module._parameters), list(module._buffers), list(module._modules))
        )
        for key, value in module.__dict__.items():
            seen.append((name, key, id(value), repr(value) if not isinstance(value, dict | nn.Module) else ""))
        for array in [*module._buffers.values(), *(p.data for p in module._parameters.values())]:
            seen.append((id(array), array.dtype, array.tobytes()))
        for parameter in module._parameters.values():
            grad = parameter.grad
            seen.append((id(grad), None if grad is None else grad.tobytes(), parameter.requires_grad))
    return seen


@pytest.mark.parametrize("training", [True, False])
def test_the_model_stays_as_it_was(training):
    model = all_in_one().train(training)
    model[1].eval()
    x, labels = normal(12, 7).astype(np.float32), np.arange(12) % 4
    model(Tensor(x)).sum().backward()
    before, x_before, state = everything(model), x.copy(), {n: a.copy() for n, a in model.state_dict().items()}
    assert gradcheck(model, x, labels).ok
    assert everything(model) == before
    assert np.array_equal(x, x_before)
    assert all(array.dtype in (np.float32, np.int64) for array in state.values())
    twin = copy.copy(model)
    assert np.array_equal(twin(Tensor(x)).data, model(Tensor(x)).data) or training


@pytest.mark.parametrize("training", [True, False])
def test_the_model_stays_as_it_was_after_an_error(monkeypatch, training):
    model, x, labels = all_in_one().train(training), normal(12, 7), np.arange(12) % 4
    model(Tensor(x.astype(np.float32))).sum().backward()
    before = everything(model)
    calls = 0

    def fails_later(z, y):
        nonlocal calls
        calls += 1
        if calls == 9:
            raise KeyError("in the middle")
        return ops.cross_entropy(z, y)

    with pytest.raises(KeyError, match="in the middle"):
        gradcheck(model, x, labels, loss=fails_later)
    assert everything(model) == before
    plant(monkeypatch, ops.TanhBackward0, 0, FAULTS["NaN"])
    with pytest.raises(GradcheckError):
        gradcheck(model, x, labels)
    assert everything(model) == before


def test_tensors_of_a_function_stay_as_they_were():
    used = Tensor(normal(3).astype(np.float32), requires_grad=True)
    data, grad = used.data, np.ones(3, np.float32)
    used.grad = grad
    assert gradcheck(lambda x: x * used, normal(2, 3), params=[used]).ok
    assert used.data is data
    assert used.grad is grad
    assert np.array_equal(data, normal(3).astype(np.float32))


def test_a_live_graph_is_not_disturbed():
    """A graph made before the check still runs backward after it, into the same leaves."""
    model = nn.Linear(3, 2)
    x = Tensor(np.ones((2, 3), np.float32))
    loss = model(x).sum()
    gradcheck(model, normal(2, 3))
    loss.backward()
    assert model.bias.grad.tolist() == [2, 2]
    assert model.bias.grad.dtype == np.float32


def test_every_evaluation_sees_the_same_dropout_and_the_same_statistics():
    """A module that counts its calls in an attribute and in a buffer starts each time from the same count."""

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 5
            self.register_buffer("seen", np.array([5.0], np.float32))

        def forward(self, x):
            factor = self.calls + self.seen[0]
            assert self.seen.dtype == x.dtype
            self.calls += 1
            self.seen += 1
            return x * factor

    model = Counting()
    assert gradcheck(model, normal(2, 3)).ok
    assert model.calls == 5
    assert model.seen.tolist() == [5]
