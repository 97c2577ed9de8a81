"""`fm.export.onnx`: a graph that onnxruntime and onnx's own evaluator answer with as the library does."""

import math
import re
import sys

import exported
import numpy as np
import onnx
import onnxruntime
import pandas
import pytest
from onnx.reference import ReferenceEvaluator

import fastmlp as fm
from fastmlp.nn import formula
from fastmlp.store.export import onnx_nodes

CASES = [case for case in exported.cases() if "without columns" not in case.name]  # a graph asks for all inputs
OF_CASES = {case.name: case for case in CASES}
TAKES = {"classes": ("logits", "probabilities", "label"), "labels": ("logits", "probabilities", "label"),
         "numbers": ("prediction",)}  # fmt: skip
DTYPES = (np.float32, np.float64)


def written(model, folder, scale=1.0, **options):
    """(the file, what it holds), which is what onnx's checker takes."""
    path = folder / "model.onnx"
    fm.export.onnx(model, path, scale=scale, **options)
    made = onnx.load(path)
    onnx.checker.check_model(made, full_check=True)
    onnx.shape_inference.infer_shapes(made, check_type=True, strict_mode=True)
    return path, made


def session(path, optimized=True):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def inputs(case, made, rows=slice(None)):
    """The rows of a case as the graph takes them."""
    if isinstance(case.rows, np.ndarray):
        return {"x": case.rows[rows].astype(case.dtype)}
    kinds = {value.name: value.type.tensor_type.elem_type for value in made.graph.input}
    columns, found = case.columns(), {}
    for name, kind in kinds.items():
        if kind == onnx.TensorProto.STRING:
            values = [value if value is None or isinstance(value, str) else WORDS[value] for value in columns[name]]
            found[name] = np.array(["" if value is None else value for value in values[rows]], object)[:, None]
        else:
            numbers = [math.nan if value is None else float(value) for value in columns[name]]
            found[name] = np.array(numbers[rows], np.float64)[:, None]
    return found


WORDS = {7.0: "7", 8.0: "8", 9.0: "9", 0.25: "0.25", 1e-05: "1e-05"}  # numbers that are categories


def answers(case, run):
    """What `exported.faults` compares; the graph of numbers has the predictions alone."""
    found = dict(zip(TAKES[case.kind], run, strict=True))
    if case.kind == "numbers":
        return {"predict": found["prediction"], "logits": case.expected["logits"]}
    label = found["label"]
    label = label.astype(str) if label.dtype.kind == "O" else label
    return {"predict": label, "proba": found["probabilities"], "logits": found["logits"]}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_answers_as_the_library(case, tmp_path):
    path, made = written(case.model, tmp_path, case.scale)
    takes, given = TAKES[case.kind], inputs(case, made)
    found = session(path).run(takes, given)
    assert exported.faults(case, answers(case, found)) == []
    if case.kind == "classes":
        assert answers(case, found)["predict"].dtype.kind == case.expected["predict"].dtype.kind
    assert found[0].dtype == case.dtype
    with np.errstate(all="ignore"):  # what `Where` does not take may be infinite
        assert exported.faults(case, answers(case, ReferenceEvaluator(made).run(takes, given))) == []


@pytest.mark.parametrize("name", ["Tanh plain float32", "labels float64", "mse_loss 1 float32", "table float32",
                                  "table float64", "texts float32", "LayerNorm plain float32"])  # fmt: skip
def test_any_number_of_rows(name, tmp_path):
    case = OF_CASES[name]
    path, made = written(case.model, tmp_path, case.scale)
    run, takes = session(path).run, TAKES[case.kind]
    every = run(takes, inputs(case, made))
    for rows in (0, 1, 7):
        for some, whole in zip(run(takes, inputs(case, made, slice(rows))), every, strict=True):
            assert some.shape == (rows, *whole.shape[1:])
            # float32 products of other shapes are summed in another order
            np.testing.assert_allclose(some, whole[:rows], rtol=1e-4) if whole.dtype.kind == "f" else None


def test_a_planted_fault_is_seen(tmp_path):
    for name in ("Tanh plain float32", "table float64", "labels float32", "mse_loss 3 float32"):
        case = OF_CASES[name]
        path, made = written(exported.planted(case.model), tmp_path, case.scale)
        assert exported.faults(case, answers(case, session(path).run(TAKES[case.kind], inputs(case, made))))


@pytest.mark.parametrize(("name", "chosen"), exported.LAYERS)
def test_nan_and_infinity_are_what_they_are_to_the_library(name, chosen, tmp_path):
    """onnxruntime has 1 for erf(NaN) up to 1.26."""
    x = np.random.default_rng(5).normal(0, 1, (40, exported.I))
    x[::3, 4] = np.nan
    for dtype in DTYPES:
        model = exported.net(name, chosen, dtype)
        (logits,) = session(written(model, tmp_path)[0]).run(["logits"], {"x": x.astype(dtype)})
        expected = fm.Predictor(model)(x.astype(dtype))
        assert np.array_equal(np.isnan(logits), np.isnan(expected)), name
        assert np.isnan(expected[::3]).all()
        assert np.isfinite(expected[1::3]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("labels", [True, False])
def test_small_probabilities_are_right_to_a_part_of_themselves(labels, dtype, tmp_path):
    """onnxruntime's Sigmoid is 17 % off at -15 and 0 from -18 down, of float64 0 at -80."""
    model = fm.nn.Sequential(fm.nn.Linear(1, 1 if labels else 2, dtype=dtype))
    model[0].weight.data[...], model[0].bias.data[...] = [[1]] if labels else [[0], [1]], 0
    if labels:
        model.keep_loss(fm.nn.BCEWithLogitsLoss())
    z = np.array([[-87.0], [-80], [-30], [-18], [-15], [-1], [0], [1], [15], [80]], dtype)
    path, made = written(model, tmp_path)
    for run in (session(path).run, session(path, optimized=False).run, ReferenceEvaluator(made).run):
        label, p = run(["label", "probabilities"], {"x": z})
        right = np.array([[1 / (1 + math.exp(-float(v)))] for v in z[:, 0]])
        # a float32 e⁸⁰ is right to a few roundings
        assert np.abs(p[:, -1:] / right - 1).max() <= (2e-6 if dtype == np.float32 else 1e-14)
        assert np.array_equal(label.reshape(-1), (z[:, 0] > 0).astype(np.int64))
    assert "Sigmoid" not in {node.op_type for node in made.graph.node}


class Turned(fm.nn.LayerNorm):
    """The same as a product the other way round, of the parts that onnxruntime joins."""

    formula = "(v - mean) / Math.sqrt(variance + l.eps) * l.weight + l.bias"


@pytest.mark.parametrize("layer", [fm.nn.LayerNorm, Turned])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_far_from_0_is_normed(dtype, layer, tmp_path):
    """Up to 1.26 onnxruntime makes one LayerNormalization by E[v²] - E[v]² of ReduceMean, Sub, Pow and so on."""
    model = fm.nn.Sequential(layer(64, dtype=dtype), fm.nn.Linear(64, 3, dtype=dtype)).eval()
    path, _ = written(model, tmp_path)
    for far in (0, 1000, 1e4):
        x = (far + np.random.default_rng(6).normal(0, 1, (20, 64))).astype(dtype)
        normed = (x - x.mean(axis=1, keepdims=True, dtype=float)) / np.sqrt(
            x.var(axis=1, keepdims=True, dtype=float) + 1e-5
        )
        expected = normed @ model[1].weight.data.T + model[1].bias.data
        (found,) = session(path).run(["logits"], {"x": x})
        # the mean is a float32 near `far`, and every number is off by what it is off
        assert np.abs(found - expected).max() <= (far * 1e-6 + 1e-5 if dtype == np.float32 else 1e-10)


def test_classes_beyond_int32_and_of_other_types(tmp_path):
    """skl2onnx 1.20 gives 3,000,000,000 as -1,294,967,296."""
    model = fm.nn.Sequential(fm.nn.Linear(2, 2)).eval()
    model[0].weight.data[...], model[0].bias.data[...] = [[1, 0], [0, 1]], 0
    x = np.array([[2, 1], [1, 2], [3, 3]], np.float32)
    for classes in ([3_000_000_000, -(2**63)], [False, True], ["nein", "größer 二"], [0, 1], [1, 0], ["", "0"]):
        model.classes_ = np.array(classes)
        (label,) = session(written(model, tmp_path)[0]).run(["label"], {"x": x})
        assert label.tolist() == [classes[0], classes[1], classes[0]]
        assert type(label.tolist()[0]) is type(classes[0])


def test_bytes_may_come_as_they_are(tmp_path):
    case = OF_CASES["ReLU plain float32"]
    path, made = written(case.model, tmp_path, case.scale, dtype="uint8")
    assert made.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    found = session(path).run(TAKES["classes"], {"x": case.rows})
    assert exported.faults(case, answers(case, found)) == []


# --- tables ----------------------------------------------------------------------------------------------------------


def test_columns_may_have_any_names(tmp_path):
    """An input and an output of a graph cannot share a name, and the name of nothing is empty."""
    rng = np.random.default_rng(7)
    names = ["label", "column label", "", "fastmlp.weight.1", "logits", "a=b", "a", "x"]
    table = pandas.DataFrame({name: rng.normal(0, 1, 50) for name in names})
    table["a"] = rng.choice(["b", "c"], 50)
    table["y"] = rng.choice(["u", "v"], 50)
    train, _ = fm.data.table(table, "y")
    model = exported.mlp(2, np.float32, train.features.shape[1])
    model.encoding_, model.classes_ = train.encoding, np.array(["u", "v"])
    path, made = written(model, tmp_path)
    takes = [value.name for value in made.graph.input]
    changed = ["column column label", "column label", "column ", "column fastmlp.weight.1", "column logits"]
    assert takes == [*changed, *names[5:]]
    given = {name: table[[column]].to_numpy() for name, column in zip(takes, names, strict=True)}
    label, logits = session(path).run(["label", "logits"], given)
    expected = fm.Predictor(model)(table.drop(columns="y"))
    assert np.abs(logits - expected).max() <= 1e-5
    assert label.tolist() == fm.predict(model, table.drop(columns="y")).tolist()


def test_numbers_of_a_table_keep_their_digits(tmp_path):
    """A float32 input would make one number of all seconds within two minutes."""
    seconds = 1.7e9 + np.arange(60.0)
    table = pandas.DataFrame({"seconds": seconds, "y": np.arange(60.0)})
    train, _ = fm.data.table(table, "y")
    model = fm.nn.Sequential(fm.nn.Linear(1, 1)).eval()
    model.encoding_ = train.encoding
    model.keep_loss(fm.nn.MSELoss())
    (found,) = session(written(model, tmp_path)[0]).run(["prediction"], {"seconds": seconds[:, None]})
    # of the largest: its scale and that of the targets are folded into one float32 product
    assert np.abs(found - fm.predict(model, table[["seconds"]])).max() <= 1e-6 * np.abs(found).max()
    assert len(set(found.tolist())) == 60


# --- the graph -------------------------------------------------------------------------------------------------------


def test_the_file_says_what_wrote_it_and_what_it_needs(tmp_path):
    path, made = written(OF_CASES["table float32"].model, tmp_path)
    assert (made.producer_name, made.producer_version) == ("fastmlp", fm.__version__)
    assert {entry.domain: entry.version for entry in made.opset_import} == {"": 15, "ai.onnx.ml": 2}
    assert made.ir_version == 8
    first = path.read_bytes()
    assert written(OF_CASES["table float32"].model, tmp_path)[0].read_bytes() == first


def test_a_graph_is_for_evaluation_and_its_tensors_have_names_of_their_own(tmp_path):
    """A folded weight is no longer the model's "0.weight": who takes it by that name must find none."""
    model = fm.nn.MLP(exported.I, (8, 8), 3, batch_norm=True, dropout=0.5)
    expected = None
    for mode in (model.train, model.eval):
        mode()
        path, made = written(model, tmp_path)
        assert {node.op_type for node in made.graph.node} == {"Gemm", "Relu", "Softmax", "ArgMax"}
        names = {tensor.name for tensor in made.graph.initializer}
        assert not names & set(model.state_dict())
        assert len(names) == 6
        expected = path.read_bytes() if expected is None else expected
        assert path.read_bytes() == expected


@pytest.mark.parametrize(
    ("layer", "single", "double"),
    [("ReLU plain", "Relu", "Relu"), ("LeakyReLU steep", "LeakyRelu", "Where"), ("PReLU each", "PRelu", "Where"),
     ("ELU plain", "Selu", "Where"), ("SELU plain", "Selu", "Where"), ("Hardtanh narrow", "Clip", "Clip"),
     ("Tanh plain", "Tanh", "Tanh"), ("Sigmoid plain", "Exp", "Exp")],
)  # fmt: skip
def test_a_formula_that_is_an_operator_is_one(layer, single, double, tmp_path):
    for dtype, wanted in (("float32", single), ("float64", double)):
        made = written(OF_CASES[f"{layer} {dtype}"].model, tmp_path)[1]
        found = {node.op_type for node in made.graph.node}
        assert wanted in found
        if wanted not in ("Where", "Exp"):
            assert found - {"Neg"} == {"Gemm", wanted, "Softmax", "ArgMax"}


def own(text):
    """A layer with such a formula, whose kernels are not asked."""
    members = {"node": fm.nn.ReLU.node, "function": fm.nn.ReLU.function, "formula": text}
    return type("Own", (fm.nn.Elementwise,), members)()


def through(layer, v, folder):
    """What the graph makes of numbers v, where the layer is all there is."""
    model = fm.nn.Sequential(fm.nn.Linear(1, 1, dtype=v.dtype), layer, fm.nn.Linear(1, 1, dtype=v.dtype)).eval()
    for place in (0, 2):
        model[place].weight.data[...], model[place].bias.data[...] = 1, 0
    model.keep_loss(fm.nn.MSELoss())
    path, made = written(model, folder)
    with np.errstate(all="ignore"):
        return [run(["prediction"], {"x": v[:, None]})[0] for run in (session(path).run, ReferenceEvaluator(made).run)]


def by_python(name, v):
    """A function of JavaScript's Math by Python's."""
    short = name.removeprefix("Math.")
    functions = {
        "abs": abs, "sign": np.sign, "round": lambda v: math.floor(v) + (v - math.floor(v) >= 0.5),
        "max": lambda v: max(v, 0.5), "min": lambda v: min(v, 0.5), "pow": lambda v: abs(v) ** 1.7, "cbrt": np.cbrt,
    }  # fmt: skip
    return functions.get(short, getattr(math, short, None))(v)


DOMAINS = {"acos": (-1, 1), "acosh": (1, 1e6), "asin": (-1, 1), "atanh": (-0.999, 0.999), "log": (1e-9, 1e9),
           "log10": (1e-9, 1e9), "log1p": (-0.999, 1e9), "log2": (1e-9, 1e9), "sqrt": (0, 1e9), "exp": (-80, 80),
           "cosh": (-80, 80), "sinh": (-80, 80), "expm1": (-80, 80), "tan": (-1.5, 1.5), "sin": (-30, 30),
           "cos": (-30, 30)}  # fmt: skip
STEEP = ("exp", "expm1", "sinh", "cosh")  # v is as large as 80, and a rounding of it that part of them


def points(name, dtype):
    low, high = DOMAINS.get(name.removeprefix("Math."), (-1e3, 1e3))
    spread = np.concatenate([np.linspace(low, high, 99), np.geomspace(1e-7, 1, 40), -np.geomspace(1e-7, 1, 40),
                             [0.5, 1.5, -0.5, -1.5, 2.5, 0]])  # fmt: skip
    return spread[(spread >= low) & (spread <= high)].astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(set(formula.FUNCTIONS) - {"Math.atan2"}))
def test_each_function_is_what_it_is_in_python(name, dtype, tmp_path):
    second = {"Math.max": ", 0.5", "Math.min": ", 0.5"}.get(name, "")
    text = "Math.pow(Math.abs(v), 1.7)" if name == "Math.pow" else f"{name}(v{second})"
    if dtype == np.float64 and name in ("Math.acos", "Math.asin", "Math.atan"):
        words = f"export.onnx: the model cannot be exported: onnxruntime has no kernel of float64 for {name}"
        with pytest.raises(ValueError, match=re.escape(words)):
            through(own(text), np.zeros(1), tmp_path)
        return
    v, short = points(name, dtype), name.removeprefix("Math.")
    right = np.array([by_python(name, float(one)) for one in v])
    least = 1 if short in ("sin", "cos", "tan") else np.finfo(dtype).tiny  # between their zeros, v is as large as 30
    roundings = (80 if short in STEEP else 10) * np.finfo(dtype).eps
    for found in through(own(text), np.append(v, dtype(np.nan)), tmp_path):
        assert np.isnan(found[-1])
        off = np.abs(found[:-1] - right) / np.maximum(np.abs(right), least)
        assert off.max() <= roundings, (v[off.argmax()], found[off.argmax()], right[off.argmax()])


def test_what_composes_a_function_names_what_there_is():
    known = {*onnx_nodes.FUNCTIONS, *onnx_nodes.COMPOSED}
    for name, text in onnx_nodes.COMPOSED.items():
        used = {word for word in formula.names(formula.parse(text, ())) if word in formula.FUNCTIONS}
        assert used <= known, name


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_formula_of_everything(dtype, tmp_path):
    """Truths as numbers and numbers as truths, remainders of negative numbers, a choice of choices."""
    text = exported.Odd.formula.replace(" + Math.atan2(v, 2)", "")
    v = exported.V.astype(dtype)
    right = np.array([exported.odd(one) - np.arctan2(one, 2) for one in exported.V])
    for found in through(own(text), v, tmp_path):
        assert np.abs(found - right).max() <= (1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("text", ["3", "Math.PI", "mean", "mean > 0 ? 1 : 2", "variance"])
def test_a_formula_without_v_has_a_number_for_each_column(text, tmp_path):
    model = fm.nn.Sequential(own("v * v"), own(text), fm.nn.Linear(3, 2)).eval()
    x = np.random.default_rng(8).normal(0, 1, (5, 3)).astype(np.float32)
    square = x.astype(float) ** 2
    column = {"3": 3, "Math.PI": np.pi, "mean": square.mean(axis=1, keepdims=True), "mean > 0 ? 1 : 2": 1,
              "variance": square.var(axis=1, keepdims=True)}[text]  # fmt: skip
    expected = np.broadcast_to(column, (5, 3)) @ model[2].weight.data.T + model[2].bias.data
    (found,) = session(written(model, tmp_path)[0]).run(["logits"], {"x": x})
    assert np.abs(found - expected).max() <= 1e-5


# --- what is refused -------------------------------------------------------------------------------------------------


def test_what_cannot_be_written_is_said_in_a_sentence(tmp_path, monkeypatch):
    model, path = fm.nn.MLP(3, (4,), 2), tmp_path / "m.onnx"
    for given, options, words in (
        (model, {"dtype": "int8"}, "export.onnx: dtype is 'int8'; it must be uint8, float32, float64, or None"),
        (model, {"dtype": 3}, "export.onnx: dtype is 3; it must be uint8, float32, float64, or None"),
        (OF_CASES["table float32"].model, {"dtype": "uint8"}, "export.onnx: dtype is 'uint8'; it must be None"),
        (model, {"scale": 0}, "export.onnx: scale is 0"),
        (exported.odd_net(np.float32), {}, "the model cannot be exported: ONNX has no operator for Math.atan2"),
    ):
        with pytest.raises(ValueError, match=re.escape(words)):
            fm.export.onnx(given, path, **options)
    with pytest.raises(TypeError, match=re.escape("export.onnx: path is int")):
        fm.export.onnx(model, 3)
    with pytest.raises(TypeError, match=re.escape("export.onnx: model is int")):
        fm.export.onnx(3, path)
    monkeypatch.setattr(sys.modules["fastmlp.store.export.onnx_graph"], "LARGEST", 90)
    with pytest.raises(ValueError, match=re.escape("the model has 104 bytes of weights; an ONNX file ends at 90")):
        fm.export.onnx(model, path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=re.escape("export.onnx: the package onnx is not installed: pip install")):
        fm.export.onnx(model, path)
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_no_file_can_be_is_named(tmp_path):
    model = fm.nn.MLP(3, (4,), 2)
    (tmp_path / "folder").mkdir()
    for place, why in (
        (tmp_path / "new" / "m", "new is no folder"),
        (tmp_path / "folder", "folder, a folder; it must"),
    ):
        with pytest.raises(ValueError, match=rf"export\.onnx: path is .*{why}"):
            fm.export.onnx(model, place)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
