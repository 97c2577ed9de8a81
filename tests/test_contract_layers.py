"""Every declared layer with every set of options: its twin, gradients, NaN, what prints, draws and stores it."""

import json
import math
import re
import shutil
import subprocess
from pathlib import Path

import contract
import numpy as np
import pytest

import fastmlp as fm
from fastmlp.show.report import embed, network

CASES = contract.cases(contract.LAYERS)
DTYPES = [np.float32, np.float64]
I, O, N = 21, 13, 9  # no whole vector, and neither a multiple of the other

every_layer = pytest.mark.parametrize(("name", "chosen"), CASES)


def net(name, chosen, features=I, dtype=np.float32):
    """The layer between two Linear layers, and once more at the end."""
    layers = (("Linear", "plain", O), (name, chosen, 17), ("Linear", "plain", 5), (name, chosen, 4))
    return contract.Net(features, layers, 0).make(dtype)


def run(layer, x, dy):
    """(y, dx, gradients by name) on the graph."""
    x = fm.Tensor(x, requires_grad=True)
    y = layer(x)
    y.backward(dy.astype(x.dtype))
    return y.data, x.grad, {name: parameter.grad for name, parameter in layer.named_parameters()}


def with_nan(array, *place):
    array = array.copy()
    array[place] = math.nan
    return array


# --- complete --------------------------------------------------------------------------------------------------------


def test_every_declared_layer_has_options_a_twin_gradient_checks_and_a_peer():
    assert contract.gaps(fm.nn.LAYERS, contract.LAYERS) == []


class Planted(fm.nn.Elementwise):
    """Declared, and in no table."""

    node, function = fm.ops.ReluBackward0, staticmethod(fm.ops.relu)

    def __init__(self, slope: float = 0.5) -> None:
        super().__init__()
        self.slope = slope


def test_a_declared_layer_that_is_in_no_table_is_noticed(monkeypatch):
    monkeypatch.setattr(fm.nn, "LAYERS", fm.nn.LAYERS | {"Planted": Planted})
    assert contract.gaps(fm.nn.LAYERS, contract.LAYERS) == ["Planted has no entry in tests/contract.py"]


@pytest.mark.parametrize("lacking", ["twin", "points", "peer", "make"])
def test_an_entry_that_lacks_something_is_noticed(monkeypatch, lacking):
    relu = vars(contract.LAYERS["ReLU"])
    entry = contract.LayerEntry(**relu | {"options": {"other": {"slope": 1.0}}, lacking: None})
    monkeypatch.setattr(fm.nn, "LAYERS", fm.nn.LAYERS | {"Planted": Planted})
    monkeypatch.setattr(contract, "LAYERS", contract.LAYERS | {"Planted": entry})
    assert contract.gaps(fm.nn.LAYERS, contract.LAYERS) == [f"Planted has no {lacking}"]


def test_an_argument_that_no_options_change_and_a_peer_of_nobody_are_noticed(monkeypatch):
    entry = contract.LayerEntry(**vars(contract.LAYERS["ReLU"]) | {"peer": "theirs.ReLU"})
    monkeypatch.setattr(contract, "LAYERS", {"Planted": entry, "Gone": entry})
    assert contract.gaps({"Planted": Planted}, contract.LAYERS) == [
        "Gone is in the table and not declared",
        "Planted has the peer theirs.ReLU; it must be of torch, optax, sklearn",
        "Planted has no options with another slope than 0.5",
    ]


def test_a_layer_that_draws_without_a_replay_is_noticed():
    entry = contract.LayerEntry(**vars(contract.LAYERS["Dropout"]) | {"replay": False})
    assert contract.gaps({"Dropout": fm.nn.Dropout}, {"Dropout": entry}) == ["Dropout draws and has no replay"]


@pytest.mark.parametrize("wrong", [1.001, 0.0, math.nan])
def test_the_comparison_with_a_twin_can_fail(wrong):
    right = np.random.default_rng(0).standard_normal((N, I))
    contract.agree("dx", right, right)
    with pytest.raises(AssertionError, match="dx"):
        contract.agree("dx", right * wrong, right)


# --- numbers ---------------------------------------------------------------------------------------------------------


@every_layer
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [True, False])
def test_forward_and_backward_are_those_of_the_twin(name, chosen, dtype, training):
    layer = contract.layer(name, chosen, I, O, dtype).train(training)
    rng = np.random.default_rng(1)
    for rows in (2, N, 40):
        x = rng.standard_normal((rows, I)).astype(dtype)
        dy = rng.standard_normal((rows, layer.columns(I, 0))).astype(dtype)
        twin = contract.LAYERS[name].twin(contract.facts(layer), x.astype(np.float64), dy.astype(np.float64))
        layer.zero_grad()
        y, dx, gradients = run(layer, x, dy)
        # two rows of batch norm may lie close together: their spread, and all that is divided by it, loses digits
        tolerance = 100 * contract.TOLERANCE[np.dtype(dtype)] if rows == 2 else None
        assert y.dtype == dx.dtype == dtype
        contract.agree("y", y, twin.y, tolerance)
        contract.agree("dx", dx, twin.dx, tolerance)
        for parameter, gradient in gradients.items():
            contract.agree(f"the gradient of {parameter}", gradient, twin.gradients[parameter], tolerance)
        for buffer, expected in twin.buffers.items():
            contract.agree(buffer, getattr(layer, buffer), expected, tolerance)


@every_layer
@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_those_of_finite_differences(name, chosen, training):
    layer = contract.layer(name, chosen, I, O).train(training)
    x = contract.LAYERS[name].points(np.random.default_rng(2), (N, I))
    report = fm.gradcheck(layer, x)
    assert report.ok
    assert report.errors.keys() == {"x", *(parameter for parameter, _ in layer.named_parameters())}


@every_layer
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [True, False])
def test_nan_stays_nan_both_ways(name, chosen, dtype, training):
    layer = contract.layer(name, chosen, I, O, dtype).train(training)
    rng = np.random.default_rng(3)
    x, dy = rng.standard_normal((N, I)).astype(dtype), rng.standard_normal((N, layer.columns(I, 0))).astype(dtype)
    for bad_x, bad_dy in ((with_nan(x, 4, 2), dy), (x, with_nan(dy, 4))):
        twin = contract.LAYERS[name].twin(contract.facts(layer), bad_x.astype(np.float64), bad_dy.astype(np.float64))
        layer.zero_grad()
        y, dx, gradients = run(layer, bad_x, bad_dy)
        assert np.isnan(y[4]).any() == np.isnan(bad_x).any()
        assert np.isnan(dx[4]).any() or not np.isnan(bad_dy).any()
        pairs = [(y, twin.y), (dx, twin.dx), *((gradients[p], twin.gradients[p]) for p in gradients)]
        for ours, expected in pairs:
            assert np.array_equal(np.isnan(ours), np.isnan(expected))
        layer.load_state_dict(contract.layer(name, chosen, I, O, dtype).state_dict())  # buffers without NaN


@every_layer
@pytest.mark.parametrize("threads", [1, 2])
def test_nan_in_a_weight_comes_out_of_the_engine_and_of_predictions(name, chosen, threads):
    model = net(name, chosen)
    model[0].weight.data[:] = math.nan
    loss = contract.loss("cross_entropy", "plain")
    data = contract.data_set(loss, I, 4, 40, np.float32, 0)
    rule = contract.optimizer(model, "sgd", "plain")
    assert np.isnan(fm.Predictor(model)(data.features)).all()
    state = contract.train(threads, model, rule, loss, data, epochs=1)
    assert np.isnan(state["results"][0, 0])


# --- words -----------------------------------------------------------------------------------------------------------


@every_layer
def test_explain_prints_its_node(name, chosen):
    x = fm.Tensor(np.random.default_rng(4).standard_normal((N, I)), requires_grad=True)
    layer = contract.layer(name, chosen, I, O)
    y = layer(x)
    if y is x:  # it does nothing, and leaves no node
        assert np.array_equal(contract.LAYERS[name].twin(contract.facts(layer), x.data, x.data).y, x.data)
        return
    node = y.grad_fn
    text = fm.explain(y.sum(), layer)
    assert node.name() in text
    assert node.equation.partition(",")[0] in re.sub(r"\s+", " ", text)
    assert (type(node).__doc__ or "").strip()
    assert node.twin.startswith("torch.") or "PyTorch" in node.twin_note


@every_layer
def test_the_report_has_a_row_for_it(name, chosen):
    model = net(name, chosen)
    rows = network.rows(model)
    assert [row.kind for row in rows] == ["Linear", name, "Linear", name]
    width = I
    for layer, row in zip(model, rows, strict=True):
        assert row.equation == layer.equation() != "an equation of its own"
        assert row.equation.startswith("y = ")
        assert (row.inputs, row.outputs) == (width, layer.columns(width, 0))
        assert row.parameters == sum(parameter.data.size for parameter in layer.parameters())
        width = row.outputs
    assert f">{name}</text>" in network.section(rows, None)


@every_layer
def test_repr_names_its_arguments(name, chosen):
    layer = contract.layer(name, chosen, I, O)
    text = repr(layer)
    assert text.startswith(f"{name}(")
    for argument, value in contract.arguments(name, chosen, I).items():
        assert argument in layer.arguments
        assert f"{argument}={value!r}" in text


@every_layer
def test_its_arguments_make_it_again(name, chosen):
    layer = contract.layer(name, chosen, I, O, np.float32)
    again = type(layer)(**{argument: layer.argument(argument) for argument in layer.arguments})
    assert repr(again) == repr(layer)
    assert {key: array.shape for key, array in again.state_dict().items()} == {
        key: array.shape for key, array in layer.state_dict().items()
    }


# --- the page --------------------------------------------------------------------------------------------------------


def ran_by_node(page, kinds, expression):
    """What the page's JavaScript, run by node, makes of an expression: NaN and the infinities are texts."""
    text = json.dumps(json.dumps(page))
    folder = Path(embed.__file__).parent
    script = (
        f"const document = {{ getElementById: () => ({{ textContent: {text} }}) }};\n"
        + kinds
        + "".join((folder / name).read_text("utf-8") for name in ("forward.js", "net.js"))
        + "const named = (key, v) => typeof v === 'number' && !Number.isFinite(v) ? String(v) : v;\n"
        + f"console.log(JSON.stringify({expression}, named));\n"
    )
    ended = subprocess.run(["node", "-"], input=script, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def page_outputs(model, data):
    """What the page's JavaScript, run by node, makes of the rows."""
    net, why = embed.packed(model, embed.image_shape(data), data)
    assert net is not None, why
    rows = json.dumps(data.rows.tolist())
    expression = f"{rows}.map((row) => Array.from(forward(row).at(-1).output))"
    return np.array(ran_by_node({"net": net, "scale": data.scale}, embed.forward_script(model), expression))


@every_layer
def test_the_page_has_javascript_for_it(name, chosen):
    model = net(name, chosen)
    page = model[1].page.strip()
    assert re.search(rf"^\s*{name}\b", page, re.MULTILINE)
    assert page in embed.forward_script(model)


needs_node = pytest.mark.skipif(
    shutil.which("node") is None, reason="node is not installed; test_report_page runs the page in a browser"
)


@needs_node
@every_layer
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_the_page_computes_what_the_predictor_computes(name, chosen, kind):
    model = net(name, chosen, 64)
    flat = contract.data_set(contract.loss("cross_entropy", "plain"), 64, 4, 7, kind, 5)
    data = fm.Dataset(flat.features.reshape(7, 8, 8), flat.labels)
    expected = fm.Predictor(model)(data.features)
    outputs = page_outputs(model, data)
    assert outputs.shape == expected.shape
    # float32 sums in another order than Python's
    assert np.abs(outputs - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


@needs_node
def test_the_error_function_of_the_page():
    """Some ten roundings of a sum of positive terms; 1 from 6 on, where float64 has no number between."""
    x = np.concatenate([np.linspace(-7, 7, 401), 10.0 ** -np.arange(1, 20), [1e300, -1e300, 0]])
    ours = np.array(ran_by_node({}, "const FORWARD = {};\n", f"{json.dumps(x.tolist())}.map(erf)"), float)
    expected = np.array([math.erf(v) for v in x])
    assert np.all(np.abs(ours - expected) <= 1e-14 * np.abs(expected))
    ends = ran_by_node({}, "const FORWARD = {};\n", "[Infinity, -Infinity, NaN].map(erf)")
    assert ends == [1, -1, "NaN"]


@needs_node
@pytest.mark.parametrize(
    ("name", "chosen"), [case for case in CASES if issubclass(fm.nn.LAYERS[case[0]], fm.nn.Elementwise)]
)
def test_the_page_computes_an_activation_far_out_and_keeps_nan(name, chosen):
    """Where a power overflows, and where all but a few digits have gone: as the kernel, to float32's rounding."""
    layer = contract.layer(name, chosen, I, O, np.float32)
    x = [0, 0.5, -0.5, 3, -3, 12, -12, 80, -80, 1e4, -1e4, 1e30, -1e30, math.nan]
    numbers = json.dumps({"kind": name, **layer.page_numbers()})
    script = f"Array.from(FORWARD.{name}({numbers}, Float32Array.from({json.dumps(x)})))"
    ours = np.array(ran_by_node({}, embed.forward_script(layer), script), float)
    expected = layer(fm.Tensor(np.array(x, np.float32))).data
    assert np.isnan(ours[-1])
    assert np.isnan(expected[-1])
    # the page's powers are of float64: what the kernel has flushed to 0 it may still have, below 1e-30
    assert np.all(np.abs(ours - expected)[:-1] <= 1e-6 * np.abs(expected)[:-1] + 1e-30)


@needs_node
def test_a_page_that_computes_something_else_is_noticed(monkeypatch):
    model = net("Tanh", "plain", 64)
    data = fm.Dataset(np.random.default_rng(5).standard_normal((7, 8, 8)), np.arange(7) % 4)
    right = page_outputs(model, data)
    monkeypatch.setattr(fm.nn.Tanh, "page", "Tanh: (l, x) => x.map((v) => Math.tanh(v * 1.001))")
    assert np.abs(page_outputs(model, data) - right).max() > 1e-5


# --- files -----------------------------------------------------------------------------------------------------------


@every_layer
@pytest.mark.parametrize("dtype", DTYPES)
def test_it_is_saved_and_loaded_back(name, chosen, dtype, tmp_path):
    model, again = net(name, chosen, dtype=dtype), net(name, chosen, dtype=dtype)
    for parameter in again.parameters():
        parameter.data[...] = 7
    fm.save(model, tmp_path / "model.safetensors")
    fm.load(again, tmp_path / "model.safetensors")
    assert contract.differing(again.state_dict(), model.state_dict()) == []
    x = np.random.default_rng(6).standard_normal((N, I))
    assert np.array_equal(fm.Predictor(again)(x), fm.Predictor(model)(x))
