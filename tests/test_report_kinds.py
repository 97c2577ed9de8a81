"""The report of numbers, of labels and of classes with names: what it says, and that no name becomes markup."""

import json
import re

import numpy as np
import pytest
from test_report import Page, history

import fastmlp as fm
from fastmlp.show.report import write_report

rng = np.random.default_rng(0)
EVIL = "</script><img src=x onerror=alert(1)>"  # no longer than a name may be in a table
NAMES = (EVIL, "\"'&amp;<!--", "a\u2028b\nc\x00\ud800", "${title}", "ünïcode 猫", "")
SHOWN = (EVIL, "\"'&amp;<!--", "a\\u2028b\\nc\\x00\\ud800", "${title}", "ünïcode 猫", '""')


def classes(rows: int = 60, images: bool = False) -> tuple[fm.Evaluation, fm.Dataset]:
    labels = np.arange(rows) % 6
    x = rng.integers(0, 255, (rows, 8, 8)).astype(np.uint8) if images else rng.normal(size=(rows, 5))
    data = fm.Dataset(x, np.array(NAMES, object)[labels], classes=np.array(NAMES))
    p = fm.metrics.softmax(rng.normal(size=(rows, 6)))
    return fm.Evaluation(1.0, 0.5, rows, data.labels, p, classes_=data.classes_), data


def numbers(rows: int = 60, columns: int = 6) -> tuple[fm.RegressionEvaluation, fm.Dataset]:
    targets = rng.normal(size=(rows, columns))
    names = NAMES[:columns] if columns > 1 else None
    data = fm.Dataset(rng.normal(size=(rows, 5)), targets)
    return fm.RegressionEvaluation(0.5, targets, targets + 0.5 * rng.normal(size=targets.shape), names), data


def labels(rows: int = 60) -> tuple[fm.MultilabelEvaluation, fm.Dataset]:
    targets = rng.random((rows, 6)) < 0.3
    data = fm.Dataset(rng.normal(size=(rows, 5)), targets)
    p = np.clip(0.5 * targets + 0.6 * rng.random((rows, 6)), 0, 1)
    return fm.MultilabelEvaluation(0.5, targets, p, target_names=NAMES), data


def page(tmp_path, evaluation, data, model=None, **given) -> Page:
    model = model or fm.nn.MLP(data.n_features, (4,), data.n_outputs)
    values = {"history": history(), "config": {}, "diagnosis": None} | given
    score = {"numbers": "r2", "labels": "f1_micro"}.get(data.kind, "accuracy")
    values["history"].score_name = score
    return Page(write_report(tmp_path / "report.html", model, evaluation=evaluation, data=data, **values))


@pytest.mark.parametrize("make", [classes, numbers, labels])
def test_no_name_becomes_markup_and_each_is_read_as_it_is(tmp_path, make):
    evaluation, data = make()
    data.name = NAMES[2]
    found = page(tmp_path, evaluation, data, config={"data": f"some/{EVIL.replace('/', '')}\ud800", EVIL: list(NAMES)})
    assert len(found.all("script")) == 2
    assert not found.all("img")
    assert not any("onerror" in attrs for _, attrs in found.elements)
    for name in SHOWN:
        assert re.sub(r"\s+", " ", name) in found.seen
    assert "?" in found.seen  # half a character of the file's name
    assert json.loads(found.scripts[0]).get("names") == (list(SHOWN) if make is classes else None)


def test_the_names_of_classes_are_in_the_filter_and_the_table(tmp_path):
    evaluation, data = classes(images=True)
    found = page(tmp_path, evaluation, data)
    options = [attrs["value"] for attrs in found.all("option") if attrs["value"].isdigit()]
    wrong = found.run["wrong"]
    assert options == [str(c) for key in ("true", "predicted") for c in sorted(set(wrong[key]))]
    assert found.text.count('<option value="3">${title}</option>') == 2
    assert found.run["net"] is not None
    assert "Wrong images" in found.seen  # and not digits


def test_a_regression(tmp_path):
    evaluation, data = numbers(columns=1)
    found = page(tmp_path, evaluation, data)
    worst, column = evaluation.worst[0]
    residual = evaluation.residuals[worst, column]
    for words in ("Test R²", f"{evaluation.r2:.4f}", "Test RMSE", f"{evaluation.rmse:.5g}", "Test MAE", "MSELoss",
                  "Training R²", "Largest residuals", f"{residual:.5g}".replace("-", "−"),
                  "There is no canvas to draw on: a row of the data is not an image.", "the prediction"):  # fmt: skip
        assert words in found.seen, words
    assert not re.search(r"softmax|ccuracy|calibration|Wrong", found.seen)
    assert found.run["wrong"] is None
    assert not found.all("canvas")
    ids = [attrs["id"] for _, attrs in found.elements if "id" in attrs]
    assert {"numbers", "residuals", "network"} <= set(ids)
    assert {"classes", "wrong", "columns"}.isdisjoint(ids)


def test_of_several_columns_the_worst_is_marked(tmp_path):
    evaluation, data = numbers()
    evaluation.predicted[:, 3] += 5
    text = page(tmp_path, evaluation, data).text
    assert re.search(r'<tr class="marked"><th scope="row">\$\{title\}</th>', text)
    assert text.count('class="marked"') == 1


def test_labels(tmp_path):
    evaluation, data = labels()
    found = page(tmp_path, evaluation, data)
    for words in ("Test micro F1", f"{100 * evaluation.micro.f1:.2f} %", "Test macro F1", "All labels right",
                  "Training micro F1", "sigmoid", "a probability for each label", "wrongly given",
                  f"{len(evaluation.wrong)} of 60 rows have a wrong label"):  # fmt: skip
        assert words in found.seen, words
    assert "softmax" not in found.seen
    assert found.run["wrong"] is None
    right = fm.MultilabelEvaluation(0.1, evaluation.targets, evaluation.targets.astype(float))
    assert "None: all labels of all 60 rows are right." in page(tmp_path, right, data).seen


@pytest.mark.parametrize("make", [numbers, labels])
def test_images_whose_targets_are_no_classes_have_no_canvas(tmp_path, make):
    evaluation, data = make()
    data = fm.Dataset(np.zeros((60, 8, 8), np.uint8), data.targets, kind=data.kind, scale=1)
    found = page(tmp_path, evaluation, data)
    assert f"the targets are {data.kind}, and the canvas is for classes" in found.seen
    assert "fastmlp.predict" not in found.seen


def test_rows_without_a_number_are_counted(tmp_path):
    evaluation, data = numbers(columns=1)
    evaluation.predicted[:9] = np.nan
    found = page(tmp_path, evaluation, data)
    assert "rows that the network has no number for" in found.seen
    assert "nan" not in found.seen.lower().split()


def test_many_rows_columns_and_labels_end_somewhere(tmp_path):
    targets = rng.random((3000, 4)) < 0.5
    evaluation = fm.MultilabelEvaluation(0.5, targets, rng.random((3000, 4)))
    data = fm.Dataset(np.zeros((3000, 2)), targets)
    found = page(tmp_path, evaluation, data)
    assert "The first 100 are shown." in found.seen
    assert len(found.text) < 300_000
