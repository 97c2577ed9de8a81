"""A column of a table that says how much each row counts."""

import json

import numpy as np
import pandas
import polars
import pytest
from scripted import runner

import fastmlp as fm
from fastmlp.data import Encoding, table


def rows(library: str = "pandas", n: int = 60):
    rng = np.random.default_rng(0)
    x = rng.normal(size=n)
    values = {"x": x, "w": np.arange(n) % 4, "kind": np.where(x + rng.normal(size=n) > 0, "up", "down")}
    return polars.DataFrame(values) if library == "polars" else pandas.DataFrame(values)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_the_column_is_weights_of_every_part_and_no_feature(library):
    train, test = table(rows(library), "kind", test=0.25, validation=0.2, sample_weight="w")
    w = np.arange(60) % 4
    rest, aside = fm.Dataset(np.zeros((60, 1)), np.zeros(60)).split_rows(0.25, 0)
    kept, held = fm.Dataset(np.zeros((len(rest), 1)), np.zeros(len(rest))).split_rows(0.2, 0)
    assert train.feature_names == ("x",)
    for part, which in ((train, rest[kept]), (train.validation, rest[held]), (test, aside)):
        np.testing.assert_array_equal(part.sample_weight, w[which])
    fm.manual_seed(0)
    model = fm.nn.MLP(1, (4,), 2)
    fm.fit(model, train, validation=train.validation, epochs=1, progress=False)
    result = fm.evaluate(model, test)
    right = result.predicted == test.labels
    assert result.accuracy == pytest.approx(np.average(right, weights=w[aside]), rel=1e-12)
    assert result.accuracy != right.mean()  # the weights are seen
    other = model.encoding_.dataset(rows(library), model.classes_)
    np.testing.assert_array_equal(other.sample_weight, w)
    own, second = table(rows(library), "kind", test=rows(library), sample_weight="w")
    np.testing.assert_array_equal(second.sample_weight, w)
    assert Encoding.from_text(own.encoding.to_text()) == own.encoding
    assert json.loads(own.encoding.to_text())["version"] == 2


def test_a_later_table_without_weights_says_so():
    train, _ = table(rows(), "kind", sample_weight="w")
    with pytest.warns(UserWarning, match="the table has no column w, the weights; each row counts once"):
        assert train.encoding.dataset(rows().drop(columns="w")).sample_weight is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([-1.0] + [1.0] * 59, r"column w, the weights, has -1\.0 in row 0; it must be finite and at least 0"),
        ([np.nan] + [1.0] * 59, r"column w, the weights,.* row 0"),
        (["much"] * 60, "column w, the weights, has the type"),
        ([0] * 60, "column w, the weights, is 0 in all rows"),
        (pandas.array([1] * 59 + [None], "Int64"), r"column w, the weights,.* row 59"),
    ],
)
def test_what_is_no_weight_is_refused_by_name(values, words):
    with pytest.raises(ValueError, match=f"table: {words}"):
        table(rows().assign(w=values), "kind", sample_weight="w")


def test_wrong_names_and_parts_without_weight_are_refused():
    with pytest.raises(ValueError, match="table: the table has no column v, the weights; it has x, w, kind"):
        table(rows(), "kind", sample_weight="v")
    with pytest.raises(ValueError, match="table: test set: the table has no column w, the weights"):
        table(rows(), "kind", test=rows().drop(columns="w"), sample_weight="w")
    with pytest.raises(ValueError, match="table: sample_weight is 'kind'; it is the target"):
        table(rows(), "kind", sample_weight="kind")
    with pytest.raises(ValueError, match="table: sample_weight is 3; it must be the name of a column, or None"):
        table(rows(), "kind", sample_weight=3)
    _, aside = fm.Dataset(np.zeros((60, 1)), np.zeros(60)).split_rows(0.25, 0)
    nothing = rows()
    nothing.loc[aside, "w"] = 0
    with pytest.raises(ValueError, match="table: test set: sample_weight is 0 in all rows; some row must count"):
        table(nothing, "kind", test=0.25, sample_weight="w")


def test_the_script_takes_the_column_and_goes_on_with_it(tmp_path, monkeypatch, capsys):
    script = runner(monkeypatch, capsys)
    rows().to_csv(path := tmp_path / "t.csv", index=False)
    options = ("--target", "kind", "--test", 0.25, "--sample-weight", "w", "--hidden", 4, "--no-plots", "--no-progress")
    code, out, err = script("train", "--data", path, *options, "--epochs", 1, "--out", tmp_path / "run")
    assert (code, err) == (0, "")
    assert "1-4-2 on t.csv" in out  # w is no input
    code, _, err = script("train", "--resume", tmp_path / "run", "--epochs", 2)
    assert (code, err) == (0, "")
    code, _, err = script("train", "--data", path, *options[:4], "--sample-weight", "no", "--out", tmp_path / "other")
    assert code == 2
    assert "the table has no column no, the weights" in err
