"""`fm.export.numpy`: a module that imports NumPy alone answers as the library does."""

import ast
import importlib.util
import math
import subprocess
import sys
import warnings

import exported
import numpy as np
import pytest

import fastmlp as fm

CASES = exported.cases()


def loaded(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def written(model, folder, scale=1.0, name="m.py"):
    fm.export.numpy(model, folder / name, scale=scale)
    return loaded(folder / name)


def answers(case, module):
    x = case.rows if isinstance(case.rows, np.ndarray) else case.columns()
    with warnings.catch_warnings():  # of columns that are not there
        warnings.simplefilter("ignore", UserWarning)
        found = {"logits": module.logits(x), "predict": module.predict(x)}
        return found | ({"proba": module.predict_proba(x)} if case.kind != "numbers" else {})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_answers_as_the_library(case, tmp_path):
    found = answers(case, written(case.model, tmp_path, case.scale))
    assert exported.faults(case, found) == []
    assert found["logits"].dtype == case.dtype
    if case.kind == "classes":
        assert found["predict"].dtype.kind == case.expected["predict"].dtype.kind


def test_one_row_has_no_axis(tmp_path):
    for case in CASES:
        if isinstance(case.rows, np.ndarray) and "ReLU" not in case.name:
            module = written(case.model, tmp_path, case.scale)
            assert np.shape(module.predict(case.rows[0])) == case.expected["predict"].shape[1:]
            assert np.shape(module.logits(case.rows[0])) == case.expected["logits"].shape[1:]


def test_a_module_that_is_written_again_is_the_new_one(tmp_path):
    """Also within the second in which the old one was: Python compares whole seconds and lengths."""
    for seed in range(3):
        fm.manual_seed(seed)
        model = fm.nn.MLP(4, (3,), 2)
        x = np.ones((1, 4), np.float32)
        assert np.allclose(written(model, tmp_path).logits(x), fm.Predictor(model)(x), rtol=1e-5)


def test_a_planted_fault_is_seen(tmp_path):
    for name in ("Tanh plain float32", "table float64", "labels float32"):
        case = next(case for case in CASES if case.name == name)
        assert exported.faults(case, answers(case, written(exported.planted(case.model), tmp_path, case.scale)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_formula_means_what_javascript_means(dtype, tmp_path):
    found = written(exported.odd_net(dtype), tmp_path).logits(exported.V[:, None])
    assert np.allclose(found, exported.odd_outputs(), rtol=8 * np.finfo(dtype).eps, atol=0)


def test_it_imports_numpy_and_the_standard_library_alone(tmp_path):
    for case in CASES:
        fm.export.numpy(case.model, tmp_path / "m.py", scale=case.scale)
        tree = ast.parse((tmp_path / "m.py").read_text("utf-8"))
        names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        assert set(names) <= {"hashlib", "io", "math", "os", "warnings", "numpy"}
        assert len(names) == len(set(names))
        assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(tree))


def test_it_runs_in_a_process_that_knows_nothing_of_the_library(tmp_path):
    case = CASES[0]
    fm.export.numpy(case.model, tmp_path / "digits.py", scale=case.scale)
    script = f"import digits, sys; print(digits.predict([{case.rows[0].tolist()}])[0], 'fastmlp' in sys.modules)"
    ended = subprocess.run([sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, '.'); {script}"],
                           capture_output=True, text=True, cwd=tmp_path, check=True)  # fmt: skip
    assert ended.stdout.split() == [str(case.expected["predict"][0]), "False"]


def test_the_error_function(tmp_path):
    """To a rounding and a half of float64: one of the table's value at the node, and of the sum."""
    case = next(case for case in CASES if case.name.startswith("GELU plain"))
    erf = written(case.model, tmp_path)._erf
    x = np.concatenate([np.linspace(-7, 7, 20_001), 10.0 ** -np.arange(1, 20), [1e300, -1e300, 0, -0.0]])
    expected = np.array([math.erf(v) for v in x])
    assert np.all(np.abs(erf(x) - expected) <= 1.5 * np.spacing(np.abs(expected)))
    with np.errstate(invalid="ignore"):  # a cast of NaN
        assert np.array_equal(erf(np.array([[np.inf, -np.inf, np.nan]])), [[1, -1, np.nan]], equal_nan=True)


def test_other_weights_are_refused(tmp_path):
    module = written(CASES[0].model, tmp_path)
    fm.export.numpy(CASES[1].model, tmp_path / "other.py")
    (tmp_path / "other.npz").replace(tmp_path / "m.npz")
    with pytest.raises(ValueError, match="is not the file that was written with"):
        loaded(tmp_path / "m.py")
    assert module.logits(CASES[0].rows).shape == (exported.N, exported.O)


def test_the_weights_are_the_same_bytes_again(tmp_path):
    for name in ("a.py", "b.py"):
        fm.export.numpy(CASES[2].model, tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_what_is_no_row_is_refused(tmp_path):
    module = written(CASES[0].model, tmp_path)
    for x in (np.zeros((2, 3)), "text", np.zeros((2, 3, exported.I)), [None] * exported.I):
        with pytest.raises(ValueError, match=r"x is .*; it must be numbers, \(N, 49\) or \(49,\)"):
            module.predict(x)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"age": ["old"]}, "column 'age' has 'old'; it must be a number"),
        ({"age": [math.inf]}, "column 'age' has inf; no number may be infinite"),
        ({"owns": [2]}, "column 'owns' has 2.0; it must be a boolean, 0 or 1"),
        ({"age": 3}, "column 'age' is 3; it must be a list or an array"),
        ({"int": "red"}, "column 'int' is 'red'; it must be a list or an array"),
        ({"age": [1, 2], "Int": [True]}, "the columns have different lengths"),
        ({"other": [1]}, "the table has none of the columns 'age'"),
    ],
)
@pytest.mark.filterwarnings("ignore:the table has no column")
def test_what_is_no_column_is_refused(table, words, tmp_path):
    module = written(exported.table_net(np.float32, [0, 1]), tmp_path)
    with pytest.raises(ValueError) as error:
        module.predict(table)
    assert str(error.value).startswith(words)
    with pytest.raises(TypeError, match="it must be a dict of columns"):
        module.predict([1, 2])


def test_frames_arrays_and_words_are_columns_too(tmp_path):
    case = next(case for case in CASES if case.name == "table float32")
    module = written(case.model, tmp_path)
    right = case.expected["logits"]
    assert np.abs(module.logits(case.rows) - right).max() <= 1e-5 * np.abs(right).max()  # a frame of pandas
    columns = case.columns()
    columns["owns"] = [None if value is None else str(value).upper() for value in columns["owns"]]
    columns["age"] = np.array(columns["age"], float)
    assert np.array_equal(module.logits(columns), module.logits(case.rows))
    with pytest.warns(UserWarning, match="the table has no column 'int'; it counts as missing in every row"):
        module.logits({name: values for name, values in columns.items() if name != "int"})


def test_refusals(tmp_path):
    with pytest.raises(TypeError, match=r"export.numpy: model is int; it must be"):
        fm.export.numpy(1, tmp_path / "m.py")
    with pytest.raises(ValueError, match=r"export.numpy: path is .*m.npz; it must be that of a module"):
        fm.export.numpy(CASES[0].model, tmp_path / "m.npz")
    model = exported.net("ReLU", "plain", np.float32)
    model[0].weight.data[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"export.numpy: 0.weight of the model has nan; all must be finite"):
        fm.export.numpy(model, tmp_path / "m.py")
    assert list(tmp_path.iterdir()) == []
