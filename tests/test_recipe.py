"""Formulas as trees, and the steps that a model is in prediction: what every export is written from."""

import math
import re

import contract
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastmlp as fm
from fastmlp.nn import formula, recipe
from fastmlp.store.export import source

I, H, O = 7, 5, 4
CASES = contract.cases(contract.LAYERS)


def leaves():
    return st.one_of(
        st.sampled_from(["v", "mean", "l.slope", "Math.PI"]).map(formula.Name),
        st.floats(0, 100).map(lambda value: formula.Number(repr(value))),
    )


def branches(inner):
    two = [sign for sign in formula.STRENGTH if sign != "**"]
    powers = inner.filter(lambda tree: not (isinstance(tree, formula.Sign) and len(tree.values) == 1))
    return st.one_of(
        st.tuples(st.sampled_from(two), inner, inner).map(lambda t: formula.Sign(t[0], t[1:])),
        st.tuples(powers, inner).map(lambda values: formula.Sign("**", values)),
        st.tuples(inner, inner, inner).map(lambda values: formula.Sign("?", values)),
        st.tuples(st.sampled_from("+-!"), inner).map(lambda t: formula.Sign(t[0], t[1:])),
        st.tuples(inner, inner).map(lambda values: formula.Call("Math.max", values)),
        inner.map(lambda value: formula.Call("Math.exp", (value,))),
    )


@given(st.recursive(leaves(), branches, max_leaves=12))
@settings(deadline=None)
def test_a_tree_as_text_is_read_as_the_same_tree(tree):
    text = formula.infix(tree, str)
    assert formula.parse(text, ("slope",)) == tree, text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("(v + 1) * 2", "(v + 1) * 2"), ("(v * 1) + 2", "v * 1 + 2"), ("v - (1 - v)", "v - (1 - v)"),
        ("(v - 1) - v", "v - 1 - v"), ("(2 ** 3) ** v", "(2 ** 3) ** v"), ("2 ** (3 ** v)", "2 ** 3 ** v"),
        ("(-v) ** 2", "(-v) ** 2"), ("-(v ** 2)", "-(v ** 2)"), ("(v ? 1 : 2) + 1", "(v ? 1 : 2) + 1"),
        ("v < 0 ? (v < -1 ? 0 : 1) : 2", "v < 0 ? v < -1 ? 0 : 1 : 2"),
    ],
)  # fmt: skip
def test_a_tree_is_written_with_the_brackets_that_it_needs(text, written):
    assert formula.infix(formula.parse(text, ()), str) == written


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("v ? 1 : 2", "v != 0 && v == v ? 1 : 2"), ("v > 0 ? 1 : 2", "v > 0 ? 1 : 2"),
        ("(v > 0) * v", "(v > 0 ? 1 : 0) * v"), ("(v > 0) + (v < 1)", "(v > 0 ? 1 : 0) + (v < 1 ? 1 : 0)"),
        ("v || 1", "v != 0 && v == v ? v : 1"), ("v && 1", "v != 0 && v == v ? 1 : v"),
        ("v > 0 && v < 1 ? v : 0", "v > 0 && v < 1 ? v : 0"), ("!v ? 1 : v", "!(v != 0 && v == v) ? 1 : v"),
        ("v === 1 ? 2 : v !== 3 ? 4 : 5", "v == 1 ? 2 : v != 3 ? 4 : 5"), ("v % 2", "fmod(v, 2)"),
        ("v ** 3 + v ** 2.5", "v * v * v + v ** 2.5"), ("-(v > 0)", "-(v > 0 ? 1 : 0)"),
    ],
)  # fmt: skip
def test_a_plain_tree_has_truths_and_numbers_where_they_are_due(text, plain):
    assert formula.infix(formula.plain(formula.parse(text, ())), str) == plain


def test_full_brackets_and_numbers_in_the_words_of_another_language():
    tree = formula.parse("v < 0 && v > -2 ? Math.exp(v) * 2 - 1 : -v", ())
    written = formula.infix(tree, str, lambda name, values: f"{name}<{values}>", lambda text: f"{text}f", full=True)
    assert written == "((v < 0f) && (v > (-2f))) ? (Math.exp<['v']> * 2f) - 1f : -v"
    assert formula.calls(tree)
    assert formula.calls(formula.parse("v ** 2.5", ()))
    assert not formula.calls(formula.parse("v < 0 ? 0 : 2 * v", ()))


def value(tree, names):
    """The tree's value by Python's own operators, for the tests alone."""
    if isinstance(tree, formula.Number):
        return float(tree.text)
    if isinstance(tree, formula.Name):
        return names[tree.name] if tree.name in names else formula.CONSTANTS[tree.name]
    values = [value(part, names) for part in tree.values]
    if isinstance(tree, formula.Call):
        name = tree.name.removeprefix("Math.")
        return {"max": max, "min": min, "abs": abs}.get(name, getattr(math, name, None))(*values)
    if tree.sign == "?":
        return values[1] if values[0] else values[2]
    if len(values) == 1:
        return {"+": values[0], "-": -values[0], "!": not values[0]}[tree.sign]
    (a, b), sign = values, tree.sign
    return (
        {"+": a + b, "-": a - b, "*": a * b, "<": a < b, ">": a > b}[sign]
        if sign in "+-*<>"
        else (a / b if sign == "/" else a**b)
    )


def computed(steps, x):
    """What the steps make of rows (N, columns), in float64."""
    x = x.astype(np.float64)
    for step in steps:
        if isinstance(step, recipe.Dense):
            x = x @ step.weight.T.astype(np.float64) + step.bias
            continue
        y = np.empty_like(x)
        for n, row in enumerate(x):
            known = {"mean": float(row.mean()), "variance": float(row.var())}
            for c, v in enumerate(row):
                own = {f"l.{name}": float(array[c]) for name, array in step.arrays.items()}
                y[n, c] = value(step.tree, known | own | {"v": float(v)})
        x = y
    return x


def net(name, chosen):
    """Linear, the layer, Linear, with numbers in all its arrays."""
    fm.manual_seed(0)
    layer = contract.layer(name, chosen, H, H, np.float32)
    model = fm.nn.Sequential(fm.nn.Linear(I, H), layer, fm.nn.Linear(H, O))
    rng = np.random.default_rng(1)
    for parameter in model.parameters():
        parameter.data[...] = rng.normal(0, 0.5, parameter.shape)
    for key, array in model.state_dict().items():
        if "running" in key:
            array[...] = rng.uniform(0.1, 2, array.shape)
    return model.eval()


@pytest.mark.parametrize(("name", "chosen"), CASES)
def test_the_steps_compute_what_the_predictor_computes(name, chosen):
    model = net(name, chosen)
    x = np.random.default_rng(2).normal(0, 2, (20, I)).astype(np.float32)
    expected = fm.Predictor(model)(x)
    for fold in (True, False):
        found = computed(recipe.steps(model, fold), x)
        # ours are float32 sums of seven products, its activations right to a few roundings
        assert np.abs(found - expected).max() <= 2e-6 * max(1, np.abs(expected).max())


def kinds(model, fold=True):
    return [getattr(step, "kind", "Dense") for step in recipe.steps(model, fold)]


def test_batch_norm_joins_the_product_beside_it():
    batch = [fm.nn.Linear(I, H), fm.nn.BatchNorm1d(H), fm.nn.ReLU(), fm.nn.Dropout(0.5), fm.nn.BatchNorm1d(H)]
    model = fm.nn.Sequential(fm.nn.BatchNorm1d(I), *batch, fm.nn.Linear(H, O))
    assert kinds(model) == ["Dense", "ReLU", "Dense"]
    assert kinds(model, False) == ["BatchNorm1d", "Dense", "BatchNorm1d", "ReLU", "BatchNorm1d", "Dense"]
    rng = np.random.default_rng(3)
    for array in model.state_dict().values():
        if array.ndim:
            array[...] = rng.uniform(0.2, 2, array.shape)
    x = rng.normal(0, 2, (9, I)).astype(np.float32)
    expected = fm.Predictor(model)(x)
    assert np.abs(computed(recipe.steps(model), x) - expected).max() <= 2e-6 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("text", "line"),
    [("v", (1, 0)), ("3 - 2 * v", (-2, 3)), ("(v - 1) / 4 + l.b", (0.25, 0.25)), ("-(2 * (v + 1))", (-2, -2)),
     ("v * v", None), ("1 / v", None), ("Math.exp(v)", None), ("v > 0 ? v : 0", None), ("v - mean", None),
     ("v * Math.sqrt(4)", (2, 0)), ("Math.sqrt(v)", None)],
)  # fmt: skip
def test_a_straight_line_is_seen(text, line):
    assert formula.affine(formula.parse(text, ("b",)), {"b": np.array(0.5)}) == line


def test_a_choice_by_an_option_is_made():
    tree = fm.nn.GELU("tanh").tree
    bound = [formula.infix(formula.bound(tree, {"tanh": option}), str) for option in (0.0, 1.0)]
    assert ["erf" in text for text in bound] == [True, False]
    assert "l." not in "".join(bound)
    tree = formula.bound(formula.parse("l.a * v", ("a",)), {"a": -2.0})
    assert formula.infix(tree, str) == "-2.0 * v"


def test_the_arrays_are_copies():
    model = fm.nn.Sequential(fm.nn.Linear(I, H), fm.nn.PReLU(), fm.nn.LayerNorm(H)).eval()
    for fold in (True, False):
        for step in recipe.steps(model, fold):
            for array in [step.weight, step.bias] if isinstance(step, recipe.Dense) else step.arrays.values():
                assert not any(np.shares_memory(array, own) for own in model.state_dict().values())


class Unsaid(fm.nn.Elementwise):
    node, function = fm.nn.ReLU.node, fm.nn.ReLU.function


def test_a_layer_without_a_formula_is_named():
    model = fm.nn.Sequential(fm.nn.Linear(I, H), Unsaid(), fm.nn.Linear(H, O))
    with pytest.raises(ValueError, match=re.escape("layer 1 is Unsaid, whose declaration has no formula")):
        recipe.steps(model)


# --- what goes in and what comes out ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "chosen"), [c for c in contract.cases(contract.LOSSES) if "numbers" in contract.loss(*c).kinds]
)
def test_the_formula_of_a_loss_predicts_what_it_predicts(name, chosen):
    loss = contract.loss(name, chosen)
    outputs = 3 * (len(loss.quantiles) if hasattr(loss, "quantiles") else 1)
    model = fm.nn.Sequential(fm.nn.Linear(I, outputs))
    model.keep_loss(loss)
    made = source.source(model, "test")
    z = np.random.default_rng(4).normal(0, 1, (6, outputs))
    expected = loss.predicted(z)
    found = np.array([[value(made.predicted, {"v": row[c]}) for c in made.picked] for row in z])
    assert made.kind == "numbers"
    assert np.allclose(found, expected, rtol=1e-15, atol=0)  # one exponential, of NumPy and of Python


def test_a_source_says_what_outputs_mean():
    model = fm.nn.Sequential(fm.nn.Linear(I, 3))
    made = source.source(model, "test", 0.5)
    assert (made.kind, made.labels, made.scale, made.features, made.dtype) == ("classes", [0, 1, 2], 0.5, I, np.float32)
    model.classes_, model.temperature_ = np.array([3_000_000_000, 4, 5]), 2.0
    made = source.source(model, "test")
    assert (made.labels, made.temperature) == ([3_000_000_000, 4, 5], 2.0)
    model.keep_loss(fm.nn.BCEWithLogitsLoss())
    assert source.source(model, "test").kind == "labels"
    assert source.source(fm.nn.Sequential(fm.nn.Linear(I, 1)), "test").kind == "numbers"


class Own(fm.nn.MSELoss):
    def predicted(self, z):
        return z + 1


def test_what_cannot_be_exported_is_refused():
    model = fm.nn.Sequential(fm.nn.Linear(I, 3))
    model.keep_loss(Own())
    with pytest.raises(
        ValueError, match=re.escape("test: Own makes its predictions in Python, and declares no formula")
    ):
        source.source(model, "test")
    with pytest.raises(TypeError, match=re.escape("test: model is int; it must be a fastmlp.nn.Module, or a")):
        source.source(1, "test")
    with pytest.raises(ValueError, match=re.escape("test: the model cannot be exported: layer 1 is Unsaid")):
        source.source(fm.nn.Sequential(fm.nn.Linear(I, H), Unsaid()), "test")


@pytest.mark.parametrize("loss", [fm.nn.MSELoss(), fm.nn.QuantileLoss((0.1, 0.5, 0.9)), fm.nn.PoissonNLLLoss()])
def test_outputs_of_a_table_come_in_the_unit_of_its_targets(loss):
    """What training scaled the exports scale back, as `predict` does; counts are not scaled."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed; the extra 'tables' brings it")
    rng = np.random.default_rng(5)
    frame = pandas.DataFrame({"a": rng.normal(0, 1, 80), "price": rng.integers(3000, 9000, 80).astype(float)})
    train, _ = fm.data.table(frame, "price", kind="numbers")
    model = fm.nn.MLP(train.n_features, (4,), len(getattr(loss, "quantiles", (0,))))
    fm.fit(model, train, epochs=1, loss=loss, progress=False)
    made = source.source(model, "test")
    outputs = computed(made.steps, model.encoding_.apply(frame))
    found = [value(made.predicted, {"v": row[made.picked[0]]}) for row in outputs]
    expected = fm.predict(model, frame)
    assert (expected.mean() > 1000) == (not isinstance(loss, fm.nn.PoissonNLLLoss))
    assert np.allclose(found, expected, rtol=1e-5)  # float32 sums in another order
