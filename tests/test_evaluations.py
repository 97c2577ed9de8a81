"""`RegressionEvaluation`, `MultilabelEvaluation` and class names: numbers by hand, words, JSON, what is refused.

`test_peers_metrics.py` compares the numbers with scikit-learn's, `test_metrics.py` those of classes with twins.
"""

import dataclasses
import json
import math

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import MultilabelEvaluation, RegressionEvaluation, metrics, words

TARGETS = np.array([[1.0, 10.0], [2.0, 10.0], [3.0, 10.0], [6.0, 10.0]])
PREDICTED = np.array([[1.0, 11.0], [2.0, 10.0], [4.0, 9.0], [4.0, 10.0]])
LABELS = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 0], [1, 0, 1]])
CHANCES = np.array([[0.9, 0.1, 0.6], [0.7, 0.2, 0.8], [0.2, 0.9, 0.1], [0.8, 0.5, 0.51]])


def regression(**changes) -> RegressionEvaluation:
    return dataclasses.replace(RegressionEvaluation(0.5, TARGETS, PREDICTED), **changes)


def multilabel(**changes) -> MultilabelEvaluation:
    return dataclasses.replace(MultilabelEvaluation(0.5, LABELS, CHANCES), **changes)


# --- numbers ---------------------------------------------------------------------------------------------------------


def test_a_regression_by_hand():
    """Column 0: errors 0, 0, 1, -2, targets 3 on average, squared distances from it 4 + 1 + 0 + 9. Column 1 is flat."""
    e = regression()
    assert (e.rows, e.columns) == (4, 2)
    assert e.residuals.tolist() == [[0, 1], [0, 0], [1, -1], [-2, 0]]
    assert e.column_r2.tolist() == [pytest.approx(1 - 5 / 14), pytest.approx(math.nan, nan_ok=True)]
    assert e.r2 == pytest.approx(1 - 5 / 14)  # the mean over the columns that vary
    assert e.column_mae.tolist() == [0.75, 0.5]
    assert e.mae == 0.625
    assert e.rmse == pytest.approx((math.sqrt(5 / 4) + math.sqrt(2 / 4)) / 2)
    assert e.worst.tolist() == [[3, 0], [0, 1], [2, 1], [1, 0]]  # over the spread; a flat column as it is


def test_labels_by_hand():
    """Given: 0 and 2; 0 and 2; 1; 0 and 2. Rows 1 and 2 have a wrong label, row 2 two of them, the surer 1 - 0.2."""
    e = multilabel()
    assert (e.rows, e.labels) == (4, 3)
    assert e.precision.tolist() == [2 / 3, 0, 1]
    assert e.recall.tolist() == [2 / 3, 0, 1]
    assert e.f1.tolist() == [2 / 3, 0, 1]
    assert e.support.tolist() == [3, 0, 3]
    assert e.micro.f1 == pytest.approx(2 * 5 / (2 * 5 + 2 + 1))
    assert e.macro.f1 == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert e.subset_accuracy == 0.5
    assert e.wrong.tolist() == [2, 1]


def test_a_row_with_weight_two_counts_twice():
    twice = np.array([0, 1, 2, 2, 3])
    w = np.array([1.0, 1, 2, 1])
    a, b = regression(sample_weight=w), RegressionEvaluation(0.5, TARGETS[twice], PREDICTED[twice])
    assert (a.r2, a.mae, a.rmse) == pytest.approx((b.r2, b.mae, b.rmse))
    c, d = multilabel(sample_weight=w), MultilabelEvaluation(0.5, LABELS[twice], CHANCES[twice])
    assert (*c.micro, *c.macro, c.subset_accuracy) == pytest.approx((*d.micro, *d.macro, d.subset_accuracy))
    p = metrics.softmax(np.random.default_rng(0).normal(size=(4, 3)))
    f = fm.Evaluation(1.0, 0.5, 4, np.array([0, 1, 2, 0]), p, sample_weight=w)
    g = fm.Evaluation(1.0, 0.5, 5, np.array([0, 1, 2, 0])[twice], p[twice])
    for one, other in zip((*f.scores, *f.macro[:3], *f.weighted[:3]), (*g.scores, *g.macro[:3], *g.weighted[:3]),
                          strict=True):  # fmt: skip
        np.testing.assert_allclose(one, other, rtol=1e-15)


def test_rows_that_are_not_finite_are_counted_and_come_first():
    bad = PREDICTED.copy()
    bad[1, 0], bad[2, 1] = np.nan, np.inf
    e = regression(predicted=bad)
    assert e.unfinished == 2
    assert e.worst[:2].tolist() == [[1, 0], [2, 1]]
    assert math.isnan(e.r2)
    assert "2 rows have no finite number" in str(e)
    lost = multilabel(probabilities=np.where(CHANCES == 0.7, np.nan, CHANCES))
    assert lost.unfinished == 1
    assert "1 rows have no probabilities" in str(lost)
    assert json.loads(json.dumps(e.to_dict(), allow_nan=False))["r2"] is None
    assert json.dumps(lost.to_dict(), allow_nan=False)


def test_one_row_and_targets_that_are_all_the_same():
    for targets in ([2.0], [2.0, 2.0]):
        e = RegressionEvaluation(0.1, np.array(targets), np.array(targets) + 0.5)
        assert math.isnan(e.r2)
        assert (e.mae, e.rmse) == (0.5, 0.5)
        assert "R² nan" in str(e)
    e = MultilabelEvaluation(0.1, np.ones((1, 1), bool), np.ones((1, 1)))
    assert (e.micro.f1, e.subset_accuracy) == (1, 1)


# --- evaluate --------------------------------------------------------------------------------------------------------


def test_evaluate_says_what_fits_the_targets():
    """Also in batches: what is kept is what the model gives for every row."""
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    targets = x[:, :2] * 3 + 1
    fm.manual_seed(0)
    model = fm.nn.MLP(4, (5,), 2)
    data = fm.Dataset(x, targets)
    e = fm.evaluate(model, data)
    assert isinstance(e, RegressionEvaluation)
    np.testing.assert_array_equal(e.predicted, fm.Predictor(model)(x))
    np.testing.assert_array_equal(e.targets, targets)
    assert e.loss == pytest.approx(float(((e.predicted - targets) ** 2).mean()), rel=1e-6)  # float32 sums
    assert e.loss_name == "MSELoss"
    small = fm.evaluate(model, data, batch_size=7)  # one product of another size rounds otherwise
    np.testing.assert_allclose(small.predicted, e.predicted, rtol=1e-5, atol=1e-6)
    assert fm.evaluate(model, data, loss=fm.nn.MSELoss()) == e


def test_probabilities_are_judged_by_their_likeliest_class():
    x, p = np.random.default_rng(0).normal(size=(30, 4)), np.random.default_rng(1).dirichlet([1, 1, 1], 30)
    model = fm.nn.MLP(4, (), 3)
    e = fm.evaluate(model, fm.Dataset(x, p, kind="probabilities"))
    assert isinstance(e, fm.Evaluation)
    np.testing.assert_array_equal(e.labels, p.argmax(axis=1))
    assert e.accuracy == np.mean(fm.predict(model, x) == p.argmax(axis=1))
    assert e.loss == pytest.approx(-(p * np.log(e.probabilities)).sum(axis=1).mean(), rel=1e-5)  # float32 outputs


def test_the_weights_of_the_data_are_those_of_the_evaluation():
    x, w = np.random.default_rng(0).normal(size=(30, 4)), np.random.default_rng(1).exponential(size=30)
    model, labels = fm.nn.MLP(4, (), 3), np.arange(30) % 3
    e = fm.evaluate(model, fm.Dataset(x, labels, sample_weight=w))
    np.testing.assert_array_equal(e.sample_weight, w)
    assert e.accuracy == pytest.approx(np.average(e.predicted == labels, weights=w))
    assert e.support.sum() == pytest.approx(w.sum())
    numbers = fm.evaluate(fm.nn.MLP(4, (), 1), fm.Dataset(x, x[:, 0], sample_weight=w))
    assert numbers.loss == pytest.approx(np.average(numbers.residuals[:, 0] ** 2, weights=w), rel=1e-5)
    assert numbers.score == pytest.approx(numbers.r2, rel=1e-5)  # the loss's own, from float32 outputs too


def test_a_loss_for_other_targets_is_refused():
    data = fm.Dataset(np.zeros((3, 2)), np.array([0.5, 1, 2]))
    with pytest.raises(ValueError, match=r"^evaluate: data has numbers as targets; CrossEntropyLoss takes classes"):
        fm.evaluate(fm.nn.MLP(2, (), 1), data, loss=fm.nn.CrossEntropyLoss())
    with pytest.raises(TypeError, match=r"^evaluate: loss is the class MSELoss; it must be an object, MSELoss\(\)$"):
        fm.evaluate(fm.nn.MLP(2, (), 1), data, loss=fm.nn.MSELoss)


# --- words -----------------------------------------------------------------------------------------------------------


def test_the_table_of_a_regression():
    text = regression(target_names=("price", "a_$rea")).report()
    assert text.splitlines()[0] == "4 rows of 2 numbers"
    assert "R² 0.64286" in text
    assert [line.split()[0] for line in text.splitlines()[4:6]] == ["price", "a_$rea"]
    assert "           3       0           6           4          -2" in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_table_of_labels():
    text = multilabel(target_names=("a", "b", "c")).report()
    assert "2 rows with a wrong one" in text
    assert "micro F1 0.7692" in text
    assert [line.split()[0] for line in text.splitlines()[4:7]] == ["a", "b", "c"]
    rng = np.random.default_rng(0)
    many = MultilabelEvaluation(0.1, rng.integers(0, 2, (9, 300)), rng.random((9, 300)))
    assert "the 20 of 300 labels with the lowest F1" in str(many)
    assert "the 1 of 300" in many.report(1)
    with pytest.raises(ValueError, match="report: limit is 0"):
        many.report(0)


def named(names) -> fm.Evaluation:
    p = metrics.softmax(np.random.default_rng(0).normal(size=(30, 3)))
    return fm.Evaluation(1.0, 0.5, 30, np.arange(30) % 3, p, classes_=names)


def test_the_table_of_classes_has_their_names():
    text = str(named(np.array(["cat", "dog", "a\nfish"])))
    assert "\n         cat     0." in text
    assert "\n     a\\nfish     0." in text
    assert "\ntrue           cat      dog  a\\nfish\n" in text
    wide = str(named(np.array(["x" * 60, "y" * 60, "z"])))
    assert f"\n{'x' * 20}…{'x' * 19}   0 " in wide  # cut, and numbered
    assert max(map(len, wide.splitlines())) <= 100
    assert str(named(np.array([False, True]))).count("[2]") == 3  # an output without a value is its number
    assert str(named(np.array([-3, 4, 10]))).count("-3 ") == 3


def test_a_name_on_a_line():
    assert words.line("") == '""'
    assert words.line("a\u2028b\x00\u202e\ud800") == "a\\u2028b\\x00\\u202e\\ud800"
    assert words.line("क्षि\u200d 猫 é") == "क्षि\u200d 猫 é"
    assert words.short("0123456789", 10) == "0123456789"
    assert words.short("0123456789x", 10) == "01234…789x"
    assert words.short("猫猫猫猫猫猫", 8) == "猫猫…猫"
    assert words.right("猫", 4) == "  猫"
    assert words.left("e\u0301", 3) == "e\u0301  "
    assert words.names(["a"], 3) == ("a", "[1]", "[2]")
    assert words.names([], 2) == ("0", "1")


# --- values ----------------------------------------------------------------------------------------------------------


def test_equal_are_those_with_the_same_arrays_and_names():
    for make in (regression, multilabel):
        assert make() == make()
        assert make() != make(loss=1.0)
        assert make() != make(sample_weight=np.array([1.0, 1, 1, 2]))
        assert make() != make(target_names=("a", "b", "c")[: len(make().names)])
        assert make() != "an evaluation"
    assert regression() != regression(predicted=TARGETS)
    assert multilabel() != multilabel(probabilities=1 - CHANCES, predicted=CHANCES > 0.5)
    assert named(None) != named(np.array(["a", "b", "c"]))


def test_to_dict_is_json():
    for e in (regression(), multilabel(), named(np.array(["a", "b", "c"])), multilabel(target_names=("a", "b", "c"))):
        assert json.loads(json.dumps(e.to_dict(), allow_nan=False)) == e.to_dict()
    assert named(np.array([True, False, True])).to_dict()["classes_"] == [True, False, True]
    assert regression().to_dict()["columns"]["mae"] == [0.75, 0.5]
    assert multilabel().to_dict()["micro"]["f1"] == pytest.approx(10 / 13)


REFUSED = {
    "shapes": (lambda: regression(predicted=PREDICTED[:3]), "targets is (4, 2), predicted is (3, 2)"),
    "names": (lambda: regression(target_names=("a",)), "target_names has 1 names; it must have 2"),
    "words": (lambda: metrics.r2_score(["a"], [1.0]), "targets is (1,) <U1"),
    "no rows": (lambda: metrics.mean_squared_error([], []), "targets is (0,)"),
    "multioutput": (lambda: metrics.r2_score([1, 2], [1, 2], multioutput="x"), "multioutput is 'x'"),
    "weights": (lambda: metrics.r2_score([1, 2], [1, 2], [1]), "sample_weight is (1,) int64; it must be (2,)"),
    "weights below 0": (lambda: metrics.accuracy_score([1, 2], [1, 2], [1, -1]), "sample_weight has a number below 0"),
    "weights of 0": (lambda: metrics.accuracy_score([1, 2], [1, 2], [0, 0]), "or all are 0"),
    "labels of 2": (lambda: multilabel(targets=2 * LABELS), "targets is (4, 3) int64; it must be (N, K) of 0 and 1"),
    "labels": (lambda: multilabel(targets=LABELS[:, :2]), "targets is (4, 2), predicted is (4, 3)"),
    "label names": (lambda: multilabel(target_names=()), "target_names has 0 names; it must have 3"),
    "chances": (lambda: multilabel(probabilities=LABELS), "probabilities is (4, 3) int64"),
    "classes of labels": (
        lambda: metrics.precision_recall_fscore_support(LABELS, LABELS, 3), "classes is 3; for labels (N, K)"
    ),
    "values": (lambda: named(np.array(["a"] * 4)), "classes_ is (4,); it must be at most (3,)"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_fit_is_refused_in_a_sentence(kind):
    call, said = REFUSED[kind]
    with pytest.raises(ValueError) as caught:
        call()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
