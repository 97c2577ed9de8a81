"""Tables: what a column becomes, that training rows alone say how, and that the model's file keeps it."""

import datetime
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pandas
import polars
import pytest
from scripted import runner
from trainings import refuses

import fastmlp as fm
from fastmlp.check import NotInstalledError
from fastmlp.data import Encoding, columns, table

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
CSV = """age,colour,ok,code,price,kind
10,red,true,7,1.5,a
20,blue,false,8,2.5,b
,red,,7,3.5,a
30,green,true,9,4.5,b
40,,true,7,5.5,a
"""
AGE = np.array([10, 20, 25, 30, 40.0])  # with the mean of the others where it is missing
STD = np.sqrt(((np.array([10, 20, 30, 40.0]) - 25) ** 2).mean())
BY_HAND = np.stack([
    (AGE - 25) / STD, [0, 0, 1, 0, 0],  # age, age missing
    [0, 1, 0, 0, 0], [0, 0, 0, 1, 0], [1, 0, 1, 0, 0], [0, 0, 0, 0, 1],  # blue, green, red, missing
    [1, 0, 0.75, 1, 1], [0, 0, 1, 0, 0],  # ok: three of four are true
    [1, 0, 1, 0, 1], [0, 1, 0, 0, 0], [0, 0, 0, 1, 0],  # code: 7, 8, 9
], axis=1)  # fmt: skip
NAMES = ("age", "age missing", "colour=blue", "colour=green", "colour=red", "colour missing", "ok", "ok missing",
         "code=7", "code=8", "code=9")  # fmt: skip
OPTIONS = {"drop": ["price"], "categorical": ["code"]}


@pytest.fixture
def reads_with(monkeypatch):
    """Leaves one library, or none, to be found."""
    find = columns.find_spec

    def leave(*names: str) -> None:
        monkeypatch.setattr(columns, "find_spec", lambda name: find(name) if name in names else None)

    return leave


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def frame(library: str):
    """The table of CSV, with the types that a program would give."""
    rows = {
        "age": [10, 20, None, 30, 40],
        "colour": ["red", "blue", "red", "green", None],
        "ok": [True, False, None, True, True],
        "code": [7, 8, 7, 9, 7],
        "price": [1.5, 2.5, 3.5, 4.5, 5.5],
        "kind": ["a", "b", "a", "b", "a"],
    }
    if library == "polars":
        return polars.DataFrame(rows)
    if library == "polars with NaN":
        return polars.DataFrame(rows | {"age": [10, 20, np.nan, 30, 40]}, strict=False)
    types = {"age": "Int64", "colour": "category", "ok": "boolean"} if library == "nullable" else {}
    return pandas.DataFrame(rows).astype(types)


@pytest.mark.parametrize(
    "given", ["pandas", "nullable", "polars", "polars with NaN", "csv by pandas", "csv by polars", "parquet", "gz", ";"]
)
def test_features_are_those_computed_by_hand(given, tmp_path, reads_with):
    """float32 of float64: half a unit in the last place of numbers below 2."""
    if given.startswith("csv"):
        reads_with(given.split()[-1])
        data = written(tmp_path / "t.csv", CSV)
    elif given == "parquet":
        frame("polars").write_parquet(data := tmp_path / "t.data")
    elif given == "gz":
        frame("pandas").to_csv(data := tmp_path / "t.csv.gz", index=False)
    elif given == ";":
        data = written(tmp_path / "t.csv", CSV.replace(",", ";"))
    else:
        data = frame(given)
    train, test = table(data, "kind", **OPTIONS)
    assert (test, train.validation, train.encoding.names, train.feature_names) == (None, None, NAMES, NAMES)
    np.testing.assert_allclose(train.features, BY_HAND, rtol=0, atol=1.2e-7)
    assert train.classes_[train.labels].tolist() == ["a", "b", "a", "b", "a"]
    numbers, _ = table(data, "price", drop=["kind"])
    assert (numbers.kind, numbers.targets.tolist()) == ("numbers", [1.5, 2.5, 3.5, 4.5, 5.5])
    assert table(data, "code", kind="numbers", drop=["kind"])[0].kind == "numbers"
    assert table(data, ["price", "code"], drop=["kind"])[0].targets.shape == (5, 2)


def many(rows: int = 120) -> pandas.DataFrame:
    rng = np.random.default_rng(0)
    x, colour = rng.normal(50, 20, rows), rng.choice(["red", "blue", "green"], rows)
    kind = np.where(x + 30 * (colour == "red") > 60, "dear", "cheap")
    return pandas.DataFrame({"x": x, "colour": colour, "kind": kind})


def test_scaling_is_learned_on_the_training_rows_alone():
    rows = many()
    train, test = table(rows, "kind", test=0.25, validation=10, seed=4)
    assert (len(train), len(test), len(train.validation)) == (80, 30, 10)
    rest, aside = fm.Dataset(np.zeros((120, 1)), np.zeros(120)).split_rows(0.25, 4)
    kept, held = fm.Dataset(np.zeros((90, 1)), np.zeros(90)).split_rows(10, 4)
    x = rows["x"].to_numpy()
    own = x[rest][kept]
    for data, numbers in ((train, own), (test, x[aside]), (train.validation, x[rest][held])):
        np.testing.assert_allclose(data.features[:, 0], (numbers - own.mean()) / own.std(), atol=1e-6)  # float32
    other = rows.copy()
    other.loc[[*aside, *rest[held]], "x"] = 1e6
    other.loc[aside[0], "colour"] = "mauve"
    with pytest.warns(
        UserWarning, match=r"table: test set: column colour has 'mauve' in 1 row, and in no training row"
    ):
        again, _ = table(other, "kind", test=0.25, validation=10, seed=4)
    assert again.features.tobytes() == train.features.tobytes()
    assert again.encoding == train.encoding


def test_a_table_of_its_own_is_the_test_set(tmp_path):
    train = written(tmp_path / "a.csv", CSV)
    test = written(tmp_path / "b.csv", "kind,colour,age,ok,code\nc,red,25,true,7\na,blue,,false,7\n")
    first, second = table(train, "kind", test=test, **OPTIONS)
    assert first.classes_.tolist() == second.classes_.tolist() == ["a", "b", "c"]
    assert second.features[0].tolist() == [0, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0]
    assert second.features[1].tolist() == [0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0]


def trained() -> tuple[fm.nn.Module, fm.Dataset, fm.Dataset]:
    train, test = table(many(), "kind", test=0.25, validation=0.1)
    fm.manual_seed(0)
    model = fm.nn.MLP(train.n_features, (8,), 2)
    fm.fit(model, train, validation=train.validation, epochs=40, batch_size=8, progress=False)
    return model, train, test


def test_the_models_file_keeps_how_columns_become_inputs(tmp_path):
    model, train, _ = trained()
    assert model.encoding_ == train.encoding
    fm.save(model, path := tmp_path / "m.safetensors")
    again = fm.load_model(path)
    assert again.encoding_ == train.encoding
    assert fm.evaluate(again, again.encoding_.dataset(many(), again.classes_)).accuracy > 0.8  # a line with a step
    rows = many().drop(columns="kind")
    for frame in (rows, polars.DataFrame(rows.to_dict("list"))):
        said = fm.predict(again, frame)
        np.testing.assert_array_equal(said, fm.predict(model, train.encoding.apply(rows)))
    filled = fm.nn.MLP(train.n_features, (8,), 2)
    fm.load(filled, path)
    assert filled.encoding_ == train.encoding


def test_a_damaged_encoding_is_refused(tmp_path):
    model, *_ = trained()
    for text, words in (
        ("{", "cannot be read"),
        ('{"version": 3}', "it is of another version"),
        (model.encoding_.to_text().replace('"number"', '"date"'), "is of no kind that is known"),
        (model.encoding_.to_text().replace('"blue", ', ""), "encodes 3 features of a table; the model takes 4"),
    ):
        fm.save(model, path := tmp_path / "m.safetensors", {"table": text})
        refuses(ValueError, lambda path=path: fm.load_model(path), words)


def test_what_the_training_did_not_have_is_said():
    encoding = table(frame("pandas"), "kind", **OPTIONS)[0].encoding
    rows = pandas.DataFrame({"age": [25, 25], "colour": ["mauve", "red"], "code": [7.0, None]})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        x = encoding.apply(rows)
    said = [str(warning.message) for warning in caught]
    assert said == [
        "Encoding: the table has no column ok; it counts as missing in every row",
        "Encoding: column colour has 'mauve' in 1 row, and in no training row; no category counts",
        "Encoding: column code is missing in 1 row, and in no training row; no category counts",
    ]
    assert {warning.filename for warning in caught} == {__file__}
    assert x.tolist() == [[0, 0, 0, 0, 0, 0, 0.75, 1, 1, 0, 0], [0, 0, 0, 0, 1, 0, 0.75, 1, 0, 0, 0]]
    with pytest.warns(UserWarning, match="column b has no value in the training rows; it is left out"):
        assert table(pandas.DataFrame({"a": [1, 2], "b": [None, None], "y": [0, 1]}), "y")[0].feature_names == ("a",)


DAY = datetime.date(2024, 1, 2)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (pandas.to_datetime(["2024-01-02"] * 3), "column day holds dates (datetime64"),
        (pandas.to_datetime(["2024-01-02"] * 3, utc=True), "column day holds dates (datetime64"),
        (pandas.period_range("2024-01", periods=3, freq="M"), "column day holds dates (period[M])"),
        ([DAY] * 3, "column day holds dates (object)"),
        (polars.Series([DAY] * 3), "column day holds dates (Date)"),
        (polars.Series([datetime.timedelta(1)] * 3), "column day holds dates (Duration"),
        (polars.Series([datetime.time(1)] * 3), "column day holds dates (Time)"),
        (["2024-01-02", None, "2024-12-31 10:00"], "column day holds dates, as '2024-01-02'"),
        (["1/2/24"] * 3, "column day holds dates, as '1/2/24'"),
        ([[1], [2], [3]], "column day has the type object of list; it must be numbers, booleans or texts"),
        ([1, "a", 2.5], "column day has the type object of float, int, str"),
        ([1j, 2j, 3j], "column day has the type complex128"),
        ([1.0, np.inf, 2.0], "column day has inf in row 1; no number may be infinite"),
    ],
)
def test_columns_of_no_use_are_refused_by_name(values, words):
    rows = {"day": values, "x": [1, 2, 3], "y": ["a", "b", "a"]}
    data = polars.DataFrame(rows) if isinstance(values, polars.Series) else pandas.DataFrame(rows)
    refuses(ValueError, lambda: table(data, "y"), f"table: {words}")
    assert table(data, "y", drop=["day"])[0].feature_names == ("x",)


def test_wrong_arguments_get_a_sentence(tmp_path, reads_with):
    rows = frame("pandas")

    def refused(words: str, data=rows, target="kind", error=ValueError, **options) -> None:
        refuses(error, lambda: table(data, target, **options), words)

    refused("table: the table has no column sort, the target; it has age, colour, ok, code, price, kind", target="sort")
    refused("table: target is 3; it must be the name of a column, or several", target=3, error=TypeError)
    refused("table: target has a missing value in row 2, column 'age'", target="age")
    refused("table: drop has 'x'; the table has age", drop=["x"])
    refused("table: drop is 'x'; it must be a list of texts", drop="x", error=TypeError)
    refused("column colour has 3 different values in 5 training rows, and each would be a feature", max_categories=2)
    refused("table: test is 5 rows; it must be in 1..4", test=5)
    refused("table: validation is 1.5; a fraction must be between 0 and 1", validation=1.5)
    refused("table: kind is 'regression'", kind="regression")
    refused("table: data is list; it must be a path, or a frame", data=[1], error=TypeError)
    refused("it must be a CSV or a Parquet file", data=tmp_path / "none.csv", error=FileNotFoundError)
    refused("is no table that polars can read", data=written(tmp_path / "a.csv", "a,b\n1,2,3\n"))
    refused("its first line names 'a' twice", data=written(tmp_path / "b.csv", "a,a\n1,2\n"))
    refused("has no rows", data=written(tmp_path / "c.csv", "age,kind\n"))
    refused("the table has the column a twice", data=pandas.DataFrame([[1, 2]], columns=["a", "a"]))
    reads_with()
    refused("with polars or pandas, and neither is installed: pip install 'fastmlp[tables]'", error=NotInstalledError,
            data=written(tmp_path / "d.csv", CSV))  # fmt: skip
    encoding = table(rows, "kind", **OPTIONS)[0].encoding
    for bad, words in (
        ({"other": [1]}, "Encoding: the table has none of the columns age, code, colour, ok"),
        ({**rows, "age": ["x"] * 5}, "Encoding: column age has 'x' in row 0; it must be numbers, as in the training"),
        ({**rows, "ok": [2] * 5}, "Encoding: column ok holds other numbers than 0 and 1"),
        ({**rows, "ok": ["x"] * 5}, "Encoding: column ok has 'x' in row 0; it must be true or false"),
    ):
        refuses(ValueError, lambda bad=bad: encoding.apply(pandas.DataFrame(bad)), words)


def test_rows_that_were_encoded_otherwise_are_refused():
    model, train, _ = trained()
    other = table(many().iloc[:60], "kind")[0]
    for call in (lambda: fm.evaluate(model, other), lambda: fm.fit(model, other, epochs=1, progress=False),
                 lambda: fm.fit(fm.nn.MLP(4, (8,), 2), train, validation=other, epochs=1, progress=False)):  # fmt: skip
        refuses(ValueError, call, "is a table whose columns were scaled by other rows than the training's")
    refuses(
        ValueError, lambda: fm.fit(model, train, validation=0.1, epochs=1), "fit: validation is 0.1; the columns of"
    )
    assert fm.evaluate(model, train[:10]).rows == 10
    assert train[:10].encoding is train.encoding


def test_texts_that_are_true_and_false_are_booleans():
    rows = pandas.DataFrame({"a": ["TRUE", "False", None, "true"], "y": [0, 1, 0, 1]})
    column = table(rows, "y")[0].encoding.columns[0]
    assert (column.kind, column.missing, column.fill) == ("boolean", True, 2 / 3)
    assert table(rows, "y", categorical=["a"])[0].encoding.columns[0].values == ("False", "TRUE", "true")


def test_large_numbers_constants_and_text():
    rows = pandas.DataFrame({"big": [1e300, 3e300], "same": [0.1, 0.1], "y": [0, 1]})
    train, _ = table(rows, "y")
    np.testing.assert_allclose(train.features, [[-1, 0], [1, 0]], atol=1e-6)  # float32
    assert Encoding.from_text(train.encoding.to_text()) == train.encoding


@pytest.fixture
def script(monkeypatch, capsys):
    """Runs a script of the repository; returns (exit code, output, errors)."""
    return runner(monkeypatch, capsys)


def test_the_scripts_train_evaluate_predict_and_go_on(tmp_path, script):
    many().to_csv(path := tmp_path / "t.csv", index=False)
    run, quiet = tmp_path / "run", ("--no-progress", "--no-plots", "--hidden", 8, "--lr", 0.01)
    options = ("--data", path, "--target", "kind", "--test", 0.25, "--validation", 0.1, "--batch-size", 8)
    code, out, err = script("train", *options, *quiet, "--epochs", 20, "--out", run)
    assert (code, err) == (0, "")
    assert "4-8-2 on t.csv: 81 training rows, 9 held out" in out
    measures = json.loads((run / "metrics.json").read_text())
    assert (measures["test"]["rows"], measures["validation"]["rows"]) == (30, 9)
    assert measures["test"]["accuracy"] > 0.8  # a line with a step
    code, out, err = script("evaluate", "--model", run, "--data", path)
    assert (code, err) == (0, "")
    assert "120 rows, 2 classes" in out
    rows = many().drop(columns="kind").head(3)
    rows.loc[1, "colour"] = "mauve"
    rows.to_csv(new := tmp_path / "new.csv", index=False)
    code, out, err = script("predict", "--model", run, new)
    assert code == 0
    said = fm.predict(fm.load_model(run), many().head(3))
    assert [line.split()[:3] for line in out.splitlines()][::2] == [[str(new), str(n), said[n]] for n in (0, 2)]
    assert err == f"predict.py: {new}: column colour has 'mauve' in 1 row, and in no training row; no category counts\n"
    surest = max(float(share) for share in re.findall(r"([\d.]+) %", out))
    model = fm.load_model(run)
    model.temperature_ = 10.0  # as of a net that was ten times too sure
    fm.save(model, calibrated := tmp_path / "calibrated.safetensors")
    code, out, err = script("predict", "--model", calibrated, new)
    assert code == 0
    assert 50 < max(float(share) for share in re.findall(r"([\d.]+) %", out)) < surest
    code, out, err = script("train", "--resume", run, "--epochs", 21)
    assert (code, err) == (0, "")
    regression = ("--data", path, "--target", "x", "--task", "regression", "--patience", 2, "--epochs", 3)
    code, out, err = script("train", *regression, *quiet, "--out", tmp_path / "other", "--drop", "kind")
    assert (code, err) == (0, "")
    assert "3-8-1 on t.csv: 108 training rows, 12 held out, adam, lr 0.01, mse" in out
    assert "a tenth of the rows is held out for validation_loss" in out


def test_the_scripts_refuse_in_a_sentence(tmp_path, script, reads_with):
    many().to_csv(path := tmp_path / "t.csv", index=False)
    for options, words in (
        ((), "argument --target: it must be given: which column of {path} is to be predicted: x, colour, kind"),
        (("--target", "kind", "--scale", 2), "argument --scale: each column of {path} is scaled"),
        (("--target", "kind", "--zero-based", "no"), "argument --zero-based: it is for a text of SVMlight's format;"),
        (("--target", "a,,b"), "argument --target: 'a,,b' is not a list of names such as age,colour"),
    ):
        code, _, err = script("train", "--data", path, "--out", tmp_path / "run", *options)
        assert (code, err.count("\n")) == (2, 1)
        assert err.startswith(f"train.py: error: {words.format(path=path)}")
    reads_with()
    code, _, err = script("train", "--data", path, "--target", "kind", "--out", tmp_path / "run")
    assert (code, err.count("\n")) == (2, 1)
    assert "neither is installed: pip install 'fastmlp[tables]'" in err


def test_a_training_on_a_file_goes_on_without_it(tmp_path):
    many().to_csv(path := tmp_path / "t.csv", index=False)

    def model() -> fm.nn.Module:
        fm.manual_seed(0)
        return fm.nn.MLP(4, (8,), 2)

    train, _ = table(path, "kind", test=np.float64(0.25), validation=np.int64(9), seed=np.int32(1))
    options = {"validation": train.validation, "progress": False, "batch_size": 16}
    whole, part = model(), model()
    fm.fit(whole, train, epochs=4, **options)
    fm.fit(part, train, epochs=2, checkpoint=tmp_path / "run", **options)
    done = fm.resume(tmp_path / "run", epochs=4, progress=False).model
    assert done.encoding_ == train.encoding
    for name, array in whole.state_dict().items():
        assert array.tobytes() == done.state_dict()[name].tobytes()


# ---------------------------------------------------------------- docs/tables.md


def test_the_page_runs(tmp_path, monkeypatch, capsys):
    page = (SCRIPTS.parent / "docs" / "tables.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/tables.md", "exec"), {"__name__": "page"})
    names, first, said, second = capsys.readouterr().out.splitlines()
    assert names == str(re.search(r"feature_names\)  # (.*)", code)[1])
    assert min(float(first), float(second)) > 0.85  # the sizes of a ninth of the rows are not known
    assert said.startswith("['cheap' ")
