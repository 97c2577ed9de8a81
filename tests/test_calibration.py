"""`calibrate`: the temperature against a slow twin, where it is applied, and that it goes with the model."""

import copy
import importlib.util
import math
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastmlp as fm
from fastmlp import nn
from fastmlp.show.report.embed import contents
from fastmlp.store.header import temperature_of
from fastmlp.training import calibration
from fastmlp.training.calibration import best_temperature

NEAR = 1e-6  # relative: a comparison of values, not of slopes, finds a minimum to the root of float64's ε


def twin_loss(z, targets, temperature, weights=None) -> float:
    """Mean negative log-likelihood, row by row in plain Python."""
    kinds = np.asarray(targets)
    rows = []
    for n, row in enumerate(np.asarray(z, float) / temperature):
        if kinds.dtype == bool:
            rows.append(sum(math.log1p(math.exp(-v if has else v)) for v, has in zip(row, kinds[n], strict=True)))
        else:
            shares = np.eye(len(row))[kinds[n]] if kinds.ndim == 1 else kinds[n]
            total = math.log(sum(math.exp(v) for v in row))
            rows.append(sum(t * (total - v) for t, v in zip(shares, row, strict=True)))
    return float(np.average(rows, weights=weights))


def twin(z, targets, weights=None) -> float:
    """The temperature of least loss, by the golden section on its logarithm."""
    low, high, golden = math.log(0.02), math.log(50), (math.sqrt(5) - 1) / 2
    while high - low > 1e-8:
        a, b = high - golden * (high - low), low + golden * (high - low)
        if twin_loss(z, targets, math.exp(a), weights) < twin_loss(z, targets, math.exp(b), weights):
            high = b
        else:
            low = a
    return math.exp((low + high) / 2)


def drawn(kind: str, temperature: float, rows: int = 120, seed: int = 0):
    """Logits, and targets that are drawn from those over the temperature: it is near the best one."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(rows, 4)) * 3
    p = np.exp(z / temperature)
    p /= p.sum(axis=1, keepdims=True)
    if kind == "labels":
        return z, rng.random(z.shape) < 1 / (1 + np.exp(-z / temperature))
    y = np.array([rng.choice(4, p=row) for row in p])
    return z, y if kind == "classes" else 0.7 * p + 0.3 * np.eye(4)[y]


@pytest.mark.parametrize("kind", ["classes", "labels", "probabilities"])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_the_twins(kind, temperature, weighted):
    z, targets = drawn(kind, temperature)
    weights = np.random.default_rng(1).integers(0, 4, len(z)).astype(float) if weighted else None
    found = best_temperature(z, targets, weights)
    assert found == pytest.approx(twin(z, targets, weights), rel=NEAR)
    assert abs(math.log(found / temperature)) < 0.5  # 120 rows leave so much


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.floats(0.05, 20), st.integers(2, 6))
def test_no_other_temperature_is_better(seed, spread, classes):
    rng = np.random.default_rng(seed)
    z, y = rng.normal(size=(30, classes)) * spread, rng.integers(0, classes, 30)
    z[np.arange(30), y] += spread  # better than chance
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # all right, or no better than chance: rare, and tested below
        found = best_temperature(z, y)
    if found != 1:
        least = twin_loss(z, y, found)
        assert all(least <= twin_loss(z, y, found * factor) + 1e-14 for factor in (0.9, 0.999, 1.001, 1.1))


def test_pieces_give_the_same(monkeypatch):
    z, y = drawn("classes", 2.0)
    whole = best_temperature(z, y)
    monkeypatch.setattr(calibration, "_NUMBERS", 28)  # 7 rows at a time
    assert best_temperature(z, y) == pytest.approx(whole, rel=1e-12)  # sums in another order


def test_far_numbers_and_float32():
    """No overflow; a number added to all logits of a row changes nothing."""
    z, y = drawn("classes", 2.0)
    found = best_temperature(z, y)
    assert best_temperature(z * 1000 + 5e5, y) == pytest.approx(1000 * found, rel=1e-8)  # 5e5 costs six digits
    assert best_temperature(z.astype(np.float32), y) == pytest.approx(found, rel=1e-6)  # float32's digits
    assert best_temperature(z * 1e-3, y) == pytest.approx(found / 1000, rel=1e-12)


def test_where_none_is_best_it_is_1_with_a_warning():
    z, _ = drawn("classes", 2.0)
    with pytest.warns(UserWarning, match="right on all of these rows"):
        assert best_temperature(z, z.argmax(axis=1)) == 1
    with pytest.warns(UserWarning, match="no better than chance"):
        assert best_temperature(z, z.argmin(axis=1)) == 1
    with pytest.warns(UserWarning, match="no better than chance"):
        assert best_temperature(np.ones((3, 2)), np.array([0, 1, 1])) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda z, y: (np.where(z == z[3, 1], np.nan, z), y), "outputs of row 3 are not finite"),
        (lambda z, y: (z, y[:-1]), r"targets is \(119,\)"),
        (lambda z, y: (z[0], y), r"logits is \(4,\)"),
        (lambda z, y: (z, y, np.zeros(120)), "weights of all rows are 0"),
    ],
)
def test_refused(change, words):
    with pytest.raises(ValueError, match=words):
        best_temperature(*change(*drawn("classes", 2.0)))


# --- with a model ----------------------------------------------------------------------------------------------------

X = np.random.default_rng(2).normal(size=(600, 5)).astype(np.float32)
NOISE = np.random.default_rng(3).normal(size=(600, 3))
TARGETS = {
    "classes": np.array(["a", "b", "c"])[(2 * X[:, :3] + 3 * NOISE).argmax(axis=1)],
    "labels": X[:, :3] + NOISE > 0,
    "probabilities": (lambda e: e / e.sum(axis=1, keepdims=True))(np.exp(X[:, :3] + 3 * NOISE)),
}


def data(kind: str) -> fm.Dataset:
    return fm.Dataset(X, TARGETS[kind], kind=kind)


def trained(kind: str) -> nn.MLP:
    """A model that knows 200 rows by heart, so that it is too sure of others."""
    fm.manual_seed(0)
    model = nn.MLP(5, (32,), 3)
    optimizer = fm.optim.Adam(model.parameters(), lr=0.02)
    fm.fit(model, data(kind)[:200], optimizer=optimizer, epochs=60, progress=False)
    return model


@pytest.mark.parametrize("kind", TARGETS)
def test_evaluate_has_probabilities_and_loss_of_z_over_t(kind):
    model, held_out, test = trained(kind), data(kind)[200:400], data(kind)[400:]
    before = fm.evaluate(model, test)
    found = fm.calibrate(model, held_out)
    after = fm.evaluate(model, test)
    z = fm.Predictor(model)(X[400:]).astype(float)
    assert found == model.temperature_
    assert found > 1.2  # too sure: by far more than rounding
    p = 1 / (1 + np.exp(-z / found)) if kind == "labels" else np.exp(z / found)
    p = p if kind == "labels" else p / p.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(after.probabilities, p, rtol=2e-5)  # float32, an exponent of some 10
    np.testing.assert_array_equal(after.predicted, before.predicted)
    targets = test.targets > 0.5 if kind == "labels" else test.targets
    columns = 3 if kind == "labels" else 1  # the loss of labels is a mean over these too
    assert after.loss == pytest.approx(twin_loss(z, targets, found) / columns, rel=1e-5)  # float32
    assert after.loss < before.loss
    if kind == "classes":
        assert after.accuracy == before.accuracy
        assert after.calibration_error < before.calibration_error


def test_it_is_saved_loaded_copied_and_given_up_by_fit(tmp_path):
    model = trained("classes")
    found = fm.calibrate(model, data("classes")[200:400])
    fm.save(model, tmp_path / "m.safetensors")
    back = fm.load_model(tmp_path / "m.safetensors")
    assert back.temperature_ == copy.deepcopy(model).temperature_ == found
    np.testing.assert_array_equal(
        fm.evaluate(back, data("classes")[400:]).probabilities, fm.evaluate(model, data("classes")[400:]).probabilities
    )
    other = nn.MLP(5, (32,), 3)
    fm.load(other, tmp_path / "m.safetensors")
    assert other.temperature_ == found
    fm.fit(other, data("classes")[:200], epochs=1, progress=False)
    assert other.temperature_ == 1
    fm.save(other, tmp_path / "plain.safetensors")
    assert b"temperature" not in (tmp_path / "plain.safetensors").read_bytes()
    fm.load(model, tmp_path / "plain.safetensors")
    assert model.temperature_ == 1


@pytest.mark.parametrize("text", ["", "{", "3", '"2.0"', "[2.0]", "0.0", "-1.0", "NaN", "Infinity", "true", "null"])
def test_a_header_that_another_program_wrote_is_no_temperature(text):
    assert temperature_of({"temperature": text}) == temperature_of({}) == 1


def test_numbers_and_unknown_classes_are_refused():
    fm.manual_seed(0)
    with pytest.raises(ValueError, match="calibrate: the targets are numbers; they must be classes, labels or prob"):
        fm.calibrate(nn.MLP(5, (4,), 1), fm.Dataset(X, X[:, 0]))
    with pytest.raises(ValueError, match=r"calibrate: .*'d'"):
        fm.calibrate(trained("classes"), fm.Dataset(X[:4], np.array(["a", "b", "c", "d"])))


def asked(temperature):
    """What `answer` reads of a model."""
    return SimpleNamespace(temperature_=temperature, encoding_=None)


def test_the_command_line_and_the_page_say_probabilities_of_z_over_t():
    path = Path(__file__).resolve().parent.parent / "scripts" / "predict.py"
    spec = importlib.util.spec_from_file_location("predict_script", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    z = np.array([0.0, math.log(9.0)])
    assert "b: 90.00 %" in script.answer(asked(1.0), z, "classes", ("a", "b"))
    assert "b: 75.00 %" in script.answer(asked(2.0), z, "classes", ("a", "b"))
    assert script.answer(asked(2.0), z, "labels", ("a", "b")) == "b (75.00 %)"
    model = nn.MLP(4, (3,), 2)
    model.temperature_ = 2.5
    assert contents(model, None, None)["temperature"] == 2.5


def test_the_reliability_plot_shows_before_and_after():
    pytest.importorskip("matplotlib", reason="the extra [report] has it")
    model, test = trained("classes"), data("classes")[400:]
    before = fm.evaluate(model, test)
    fm.calibrate(model, data("classes")[200:400])
    after = fm.evaluate(model, test)
    figure = fm.plots.reliability(after, before=before)
    above, below = figure.axes
    lines = {line.get_label(): line for line in above.lines}
    for name, evaluation in (("before", before), ("after", after)):
        confidence, accuracy, rows = evaluation.reliability
        np.testing.assert_array_equal(lines[name].get_xdata(), confidence[rows > 0])
        np.testing.assert_array_equal(lines[name].get_ydata(), accuracy[rows > 0])
    assert [text.get_text() for text in above.get_legend().get_texts()] == ["before", "after"]
    most = 3 * max(before.reliability.rows.max(), after.reliability.rows.max())
    assert below.get_ylim()[1] == fm.plots.reliability(before, before=after).axes[1].get_ylim()[1] == most
    errors = [f"{100 * e.calibration_error:.1f} %" for e in (before, after)]
    assert above.get_title() == f"calibration error {' → '.join(errors)}"
    with pytest.raises(TypeError, match="reliability: before is str; it must be the Evaluation"):
        fm.plots.reliability(after, before="no")
