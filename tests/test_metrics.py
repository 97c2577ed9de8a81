"""`fastmlp.metrics`: every number against a twin that counts row by row in Python, and the table that people read.

The twins follow the papers' sentences with loops over rows, classes and bins; the measures count with arrays.
"""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastmlp as fm
from fastmlp.training import metrics
from fastmlp.training.evaluation import Evaluation

# Sums of at most 60 fractions, each rounded at 1e-16.
EXACT = 1e-13


# --- twins -----------------------------------------------------------------------------------------------------------


def twin_softmax(row: list[float]) -> list[float]:
    top = max(row)
    powers = [math.exp(z - top) for z in row]
    return [power / math.fsum(powers) for power in powers]


def twin_scores(labels, predicted, classes) -> list[tuple[float, float, float, int]]:
    """(precision, recall, F1, support) of each class, F1 as the harmonic mean."""
    found = []
    for c in range(classes):
        hits = sum(1 for y, p in zip(labels, predicted, strict=True) if y == c and p == c)
        taken, support = sum(1 for p in predicted if p == c), sum(1 for y in labels if y == c)
        precision, recall = hits / taken if taken else 0.0, hits / support if support else 0.0
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        found.append((precision, recall, f1, support))
    return found


def twin_top_k(labels, probabilities, k) -> float:
    """Sorts each row by falling probability; Python's sort keeps the order of equal ones."""
    hits = 0
    for y, row in zip(labels, probabilities, strict=True):
        order = sorted(range(len(row)), key=lambda c, row=row: -row[c])
        hits += y in order[:k]
    return hits / len(labels)


def twin_bins(labels, predicted, confidence, bins) -> list[tuple[float, float, int]]:
    """(mean confidence, accuracy, count) for each bin ((m - 1) / M, m / M]."""
    found = []
    edges = [float(edge) for edge in np.linspace(0, 1, bins + 1)]
    for low, high in itertools.pairwise(edges):
        inside = [n for n, p in enumerate(confidence) if low < p <= high or (p == 0 and low == 0)]
        sure = math.fsum(confidence[n] for n in inside)
        right = sum(labels[n] == predicted[n] for n in inside)
        found.append((sure / len(inside), right / len(inside), len(inside)) if inside else (math.nan, math.nan, 0))
    return found


def twin_calibration_error(labels, predicted, confidence, bins) -> float:
    found = twin_bins(labels, predicted, confidence, bins)
    return math.fsum(count / len(labels) * abs(accuracy - sure) for sure, accuracy, count in found if count)


@st.composite
def predictions(draw):
    """(labels, probabilities (N, C) float64), ties, certain rows and absent classes among them."""
    rows, classes = draw(st.integers(1, 60)), draw(st.integers(1, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    logits = rng.normal(size=(rows, classes)) * draw(st.sampled_from([0.0, 1.0, 5.0, 1000.0]))
    if draw(st.booleans()):
        logits = np.round(logits)  # ties
    labels = rng.integers(0, draw(st.integers(1, classes)), rows)
    return labels, metrics.softmax(logits)


def evaluation_of(labels, probabilities) -> Evaluation:
    predicted = probabilities.argmax(axis=1)
    with np.errstate(divide="ignore"):
        loss = -np.log(probabilities[np.arange(len(labels)), labels]).mean()
    return Evaluation(float(loss), float((predicted == labels).mean()), len(labels), labels, probabilities)


def assert_is_the_twin(e: Evaluation) -> None:
    labels, predicted, confidence = e.labels.tolist(), e.predicted.tolist(), e.probabilities.max(axis=1).tolist()
    classes = e.probabilities.shape[1]
    counts = [[0] * classes for _ in range(classes)]
    for y, p in zip(labels, predicted, strict=True):
        counts[y][p] += 1
    assert e.confusion.tolist() == counts
    scores = twin_scores(labels, predicted, classes)
    for name, expected in zip(("precision", "recall", "f1", "support"), zip(*scores, strict=True), strict=True):
        assert getattr(e, name) == pytest.approx(expected, rel=EXACT, abs=0)
    occurs = sorted({*labels, *predicted})
    for i, name in enumerate(("precision", "recall", "f1")):
        macro = math.fsum(scores[c][i] for c in occurs) / len(occurs)
        weighted = math.fsum(scores[y][i] for y in labels) / len(labels)
        assert getattr(e.macro, name) == pytest.approx(macro, rel=EXACT)
        assert getattr(e.weighted, name) == pytest.approx(weighted, rel=EXACT)
    assert e.top3_accuracy == twin_top_k(labels, e.probabilities.tolist(), 3)
    bins = list(zip(*(column.tolist() for column in e.reliability), strict=True))
    # a mean of up to 60 numbers; Python's sum is exact
    assert np.array(bins) == pytest.approx(
        np.array(twin_bins(labels, predicted, confidence, 15)), rel=EXACT, nan_ok=True
    )
    expected = twin_calibration_error(labels, predicted, confidence, 15)
    assert e.calibration_error == pytest.approx(expected, rel=EXACT, abs=EXACT)  # a difference of numbers up to 1
    worst = sorted((n for n in range(len(labels)) if labels[n] != predicted[n]), key=lambda n: -confidence[n])
    assert e.wrong.tolist() == worst


@settings(deadline=None, max_examples=60)
@given(predictions())
def test_every_number_is_the_twins(case):
    assert_is_the_twin(evaluation_of(*case))


@settings(deadline=None, max_examples=30)
@given(predictions(), st.integers(1, 9), st.integers(1, 30))
def test_any_k_and_any_number_of_bins(case, k, bins):
    labels, probabilities = case
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    assert metrics.top_k_accuracy_score(labels, probabilities, k) == twin_top_k(labels, probabilities.tolist(), k)
    if k == 1:
        assert metrics.top_k_accuracy_score(labels, probabilities, 1) == metrics.accuracy_score(labels, predicted)
    if k >= probabilities.shape[1]:
        assert metrics.top_k_accuracy_score(labels, probabilities, k) == 1
    expected = twin_calibration_error(labels, predicted, confidence.tolist(), bins)
    # as above
    assert metrics.calibration_error(labels, predicted, confidence, bins) == pytest.approx(
        expected, rel=EXACT, abs=EXACT
    )


def test_softmax_is_the_twin_and_keeps_the_type():
    z = np.random.default_rng(0).normal(size=(20, 5)) * 30
    expected = np.array([twin_softmax(row) for row in z.tolist()])
    np.testing.assert_allclose(metrics.softmax(z), expected, rtol=1e-14)  # five terms, each rounded at 1e-16
    assert metrics.softmax(z.astype(np.float32)).dtype == np.float32
    np.testing.assert_array_equal(metrics.softmax(np.array([[1e30, 0.0], [-1e300, -1e300]])), [[1, 0], [0.5, 0.5]])


def case() -> Evaluation:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 5, 60)
    logits = rng.normal(size=(60, 5))
    logits[np.arange(60), labels] += 1
    return evaluation_of(labels, metrics.softmax(logits))


FAULTS = {
    "transposed": lambda e: {"confusion": e.confusion.T},
    "one row too few": lambda e: {"confusion": e.confusion - (np.arange(25).reshape(5, 5) == 0)},
    "precision is recall": lambda e: {"scores": metrics.Scores(e.recall, e.recall, e.f1, e.support)},
    "f1 is the plain mean": lambda e: {
        "scores": metrics.Scores(e.precision, e.recall, (e.precision + e.recall) / 2, e.support)
    },
    "macro is weighted": lambda e: {"macro": e.weighted},
    "weighted is macro": lambda e: {"weighted": e.macro},
    "top two": lambda e: {"top3_accuracy": metrics.top_k_accuracy_score(e.labels, e.probabilities, 2)},
    "14 bins": lambda e: {"calibration_error": metrics.calibration_error(e.labels, e.predicted, e.confidence, 14)},
    "bins not weighted": lambda e: {
        "calibration_error": float(np.nanmean(np.abs(e.reliability.accuracy - e.reliability.confidence)))
    },
    "NaN": lambda e: {"calibration_error": math.nan},
    "mildest first": lambda e: {"wrong": e.wrong[::-1]},
    "a wrong row left out": lambda e: {"wrong": e.wrong[:-1]},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_comparison_finds_a_planted_fault(fault):
    good, bad = case(), case()
    assert_is_the_twin(good)
    bad.__dict__.update(FAULTS[fault](good))
    with pytest.raises(AssertionError):
        assert_is_the_twin(bad)


# --- by hand ---------------------------------------------------------------------------------------------------------


def by_hand() -> Evaluation:
    """Four rows, two classes, one mistake: row 2 is 0, said to be 1 with 0.75."""
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.25, 0.75], [0.6, 0.4]])
    return evaluation_of(np.array([0, 1, 0, 0]), probabilities)


def test_numbers_worked_out_by_hand():
    e = by_hand()
    assert (e.accuracy, e.rows, e.classes, e.top3_accuracy) == (0.75, 4, 2, 1.0)
    assert e.loss == pytest.approx(-(math.log(0.9) + math.log(0.8) + math.log(0.25) + math.log(0.6)) / 4, rel=1e-15)
    assert e.confusion.tolist() == [[2, 1], [0, 1]]
    assert e.precision.tolist() == [1, 0.5]
    assert e.recall.tolist() == [2 / 3, 1]
    assert e.f1 == pytest.approx([0.8, 2 / 3], rel=1e-15)
    assert e.support.tolist() == [3, 1]
    assert e.wrong.tolist() == [2]
    # bins of 1/15: 0.9 -> 13 (0.867..0.933), 0.8 and 0.75 -> 11 (0.733..0.8], 0.6 -> 8 (0.533..0.6]
    assert {m: n for m, n in enumerate(e.reliability.rows.tolist()) if n} == {8: 1, 11: 2, 13: 1}
    assert e.calibration_error == pytest.approx((0.4 + 2 * abs(0.5 - 0.775) + 0.1) / 4, rel=1e-14)


def test_a_confidence_on_an_edge_falls_in_the_bin_below():
    found = metrics.reliability_bins([0] * 5, [0] * 5, [0.0, 0.25, 0.5, 0.50001, 1.0], bins=4)
    assert found.rows.tolist() == [2, 1, 1, 1]


def test_among_equal_numbers_the_first_class_wins():
    e = evaluation_of(np.array([0, 3, 4]), np.full((3, 5), 0.2))
    assert e.predicted.tolist() == [0, 0, 0]
    assert e.top3_accuracy == 1 / 3
    assert metrics.top_k_accuracy_score([3], [[0.2] * 5], 4) == 1


def test_wrong_rows_of_equal_confidence_keep_their_order():
    probabilities = np.array([[0.6, 0.4], [0.9, 0.1], [0.6, 0.4], [0.9, 0.1]])
    assert evaluation_of(np.array([1, 1, 1, 1]), probabilities).wrong.tolist() == [1, 3, 0, 2]


def test_top_k_is_the_same_in_pieces(monkeypatch):
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 9, 100), rng.normal(size=(100, 9))
    whole = metrics.top_k_accuracy_score(labels, scores)
    monkeypatch.setattr(metrics, "_NUMBERS", 7 * 9)
    assert metrics.top_k_accuracy_score(labels, scores) == whole == twin_top_k(labels, scores.tolist(), 3)


# --- the edges -------------------------------------------------------------------------------------------------------


def test_one_row_one_class_and_a_class_without_rows_have_numbers():
    for labels, probabilities in (
        ([0], [[1.0]]),
        ([1], [[0.5, 0.5]]),
        ([2, 2], [[0.1, 0.2, 0.7], [0.3, 0.6, 0.1]]),
    ):
        e = evaluation_of(np.array(labels), np.array(probabilities))
        assert_is_the_twin(e)
        for column in e.scores:
            assert np.isfinite(column).all()
        assert str(e)


def test_rows_with_nan_are_counted_as_argmax_has_them():
    """NaN is the largest for NumPy's argmax; a row of NaN alone is predicted as class 0."""
    probabilities = np.array([[0.1, 0.9], [np.nan, np.nan], [np.nan, np.nan], [0.7, 0.3]])
    e = evaluation_of(np.array([1, 0, 1, 1]), probabilities)
    assert e.predicted.tolist() == [1, 0, 0, 0]
    assert (e.accuracy, e.confusion.tolist()) == (0.5, [[1, 0], [2, 1]])
    assert metrics.top_k_accuracy_score(e.labels, probabilities, 1) == e.accuracy
    assert e.wrong.tolist() == [3, 2]  # that with NaN last
    assert e.reliability.rows.sum() == 2
    assert math.isnan(e.calibration_error)
    assert "2 rows have no probabilities" in str(e)
    text = json.dumps(e.to_dict(), allow_nan=False)
    assert json.loads(text)["calibration_error"] is None


def test_predicted_is_the_largest_logits_class_where_probabilities_are_equal():
    logits = np.array([[0.01, np.nextafter(np.float32(0.01), np.float32(1))]], np.float32)
    p = metrics.softmax(logits)
    assert p[0, 0] == p[0, 1]
    model = fm.nn.Sequential(fm.nn.Linear(1, 2))
    model[0].weight.data[:] = 0
    model[0].bias.data[:] = logits[0]
    e = fm.evaluate(model, fm.Dataset(np.zeros((1, 1), np.float32), [1], classes=2))
    assert (e.predicted.tolist(), e.accuracy) == ([1], 1.0)


def test_equal_are_those_with_the_same_arrays():
    assert case() == case()
    assert case() != dataclasses.replace(case(), loss=0.0)
    changed = case().probabilities.copy()
    changed[7] = changed[7][::-1]
    assert case() != dataclasses.replace(case(), probabilities=changed)
    assert case() != by_hand()
    assert case() != "an evaluation"
    nan = dataclasses.replace(case(), loss=math.nan)
    assert nan == dataclasses.replace(case(), loss=math.nan)


def test_repr_is_short_and_an_evaluation_cannot_be_changed():
    assert repr(by_hand()).startswith("Evaluation(loss=0.5")
    assert len(repr(by_hand())) < 100
    with pytest.raises(dataclasses.FrozenInstanceError):
        by_hand().loss = 0.0  # type: ignore[misc]


def test_to_dict_is_json_with_every_measure():
    e = case()
    numbers = e.to_dict()
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    assert numbers["confusion"] == e.confusion.tolist()
    assert numbers["f1"] == e.f1.tolist()
    assert numbers["weighted"]["recall"] == e.weighted.recall
    assert numbers["wrong"] == len(e.wrong) > 0
    assert (numbers["accuracy"], numbers["loss"], numbers["rows"], numbers["classes"]) == (e.accuracy, e.loss, 60, 5)
    assert numbers["reliability"]["rows"] == e.reliability.rows.tolist()
    assert None in numbers["reliability"]["confidence"]  # a bin without rows


# --- what is refused -------------------------------------------------------------------------------------------------

GOOD = np.array([[0.5, 0.5], [0.1, 0.9]])
REFUSED = {
    "labels of floats": (lambda: metrics.accuracy_score([0.0], [0]), "labels is (1,) float64"),
    "no rows": (lambda: metrics.accuracy_score(np.zeros(0, int), np.zeros(0, int)), "labels is (0,)"),
    "two axes": (lambda: metrics.confusion_matrix([[0]], [0]), "labels is (1, 1)"),
    "below 0": (lambda: metrics.confusion_matrix([0, 1], [0, -1]), "predicted has the class -1"),
    "above C - 1": (lambda: metrics.confusion_matrix([0, 5], [0, 1], 5), "labels has the class 5; it must be in 0..4"),
    "C of 0": (lambda: metrics.confusion_matrix([0], [0], 0), "classes is 0"),
    "lengths": (lambda: metrics.precision_recall_fscore_support([0, 1], [0]), "labels has 2 rows, predicted has 1"),
    "k": (lambda: metrics.top_k_accuracy_score([0, 1], GOOD, 0), "k is 0"),
    "a score of one axis": (lambda: metrics.top_k_accuracy_score([0, 1], GOOD[0]), "probabilities is (2,)"),
    "rows of scores": (lambda: metrics.top_k_accuracy_score([0], GOOD), "labels has 1 rows, probabilities 2"),
    "a label without score": (lambda: metrics.top_k_accuracy_score([0, 2], GOOD), "class 2"),
    "bins": (lambda: metrics.calibration_error([0], [0], [0.5], bins=0), "bins is 0"),
    "a confidence above 1": (lambda: metrics.calibration_error([0], [0], [1.5]), "confidence is in [1.5, 1.5]"),
    "confidences": (lambda: metrics.calibration_error([0], [0], [0.5, 0.5]), "confidence is (2,)"),
    "logits of integers": (lambda: metrics.softmax([[1, 2]]), "logits is (1, 2) int64"),
    "rows": (lambda: Evaluation(0.0, 0.0, 3, np.array([0, 1]), GOOD), "rows is 3"),
    "predicted": (lambda: Evaluation(0.0, 0.0, 2, np.array([0, 1]), GOOD, np.array([0, 2])), "predicted has"),
    "limit": (lambda: by_hand().report(0), "limit is 0"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_arguments_that_do_not_fit_are_refused_in_a_sentence(kind):
    call, words = REFUSED[kind]
    with pytest.raises(ValueError) as caught:
        call()
    message = str(caught.value)
    assert words in message
    assert "\n" not in message
    assert message.split(":")[0] in {*dir(metrics), *fm.__all__, "report"}


# --- the table -------------------------------------------------------------------------------------------------------


def many(classes: int, rows: int, sharp: float = 3.0, absent: int | None = None) -> Evaluation:
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, rows)
    labels[labels == absent] = 0
    logits = rng.normal(size=(rows, classes))
    logits[np.arange(rows), labels] += sharp
    return evaluation_of(labels, metrics.softmax(logits))


def lines_of_classes(text: str) -> dict[str, list[str]]:
    """The lines between the header of the classes and the next part, by their first words."""
    lines = text.splitlines()
    start = next(n for n, line in enumerate(lines) if line.split()[:2] == ["class", "precision"])
    rows = [line.rsplit(maxsplit=4) for line in lines[start + 1 : start + 200]]
    return {row[0].strip(): row[1:] for row in rows if len(row) == 5 and "." in row[1]}


@pytest.mark.parametrize(("classes", "rows"), [(1, 3), (2, 1), (2, 5000), (10, 1_000_000), (100, 3000), (1000, 2000)])
def test_the_table_fits_in_100_columns(classes, rows):
    lines = str(many(classes, rows)).splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) < 60
    assert all(line == line.rstrip() for line in lines)


def test_the_table_says_what_the_numbers_are():
    e = many(10, 500)
    text = str(e)
    assert text == e.report()
    assert text.startswith(f"500 rows, 10 classes, {len(e.wrong)} wrong\n")
    assert f"accuracy {100 * e.accuracy:.2f} %   top-3 accuracy {100 * e.top3_accuracy:.2f} %" in text
    assert f"loss {e.loss:.4f} nats   calibration error {100 * e.calibration_error:.2f} %" in text
    shown = lines_of_classes(text)
    assert [*shown] == [*map(str, range(10)), "macro avg", "weighted avg"]
    for c in range(10):
        expected = [e.precision[c], e.recall[c], e.f1[c], e.support[c]]
        assert [float(number) for number in shown[str(c)]] == pytest.approx(expected, abs=5e-5)  # four digits
    assert [float(number) for number in shown["macro avg"]] == pytest.approx(list(e.macro), abs=5e-5)
    assert [float(number) for number in shown["weighted avg"]] == pytest.approx(list(e.weighted), abs=5e-5)
    matrix = [line.split()[1:] for line in text.splitlines()[-10:]]
    assert [[int(n.replace("·", "0")) for n in line] for line in matrix] == e.confusion.tolist()


def test_of_many_classes_those_of_the_lowest_f1_and_the_most_frequent_mistakes_are_shown():
    e = many(100, 3000, absent=7)
    shown = lines_of_classes(str(e))
    classes = [int(name) for name in shown if name.isdecimal()]
    assert len(classes) == 20
    assert max(e.f1[classes]) <= min(np.delete(e.f1, classes))
    assert "the 20 of 100 classes with the lowest F1" in str(e)
    assert "1 class has no row" in str(e)
    mistakes = [tuple(map(int, line.split())) for line in str(e).splitlines()[-10:]]
    off = sorted((int(n) for (t, p), n in np.ndenumerate(e.confusion) if t != p), reverse=True)
    assert [n for _, _, n in mistakes] == off[:10]
    assert all(e.confusion[t, p] == n for t, p, n in mistakes)
    assert len(lines_of_classes(e.report(limit=100))) == 102


def test_a_model_without_mistakes_says_so():
    assert "no mistakes" in str(many(50, 300, sharp=100.0))


# --- evaluate --------------------------------------------------------------------------------------------------------


def small(rows: int = 50) -> tuple[fm.nn.MLP, fm.Dataset]:
    fm.manual_seed(0)
    rng = np.random.default_rng(0)
    return fm.nn.MLP(6, (5,), 4), fm.Dataset(rng.normal(size=(rows, 6)).astype(np.float32), rng.integers(0, 4, rows))


@pytest.mark.parametrize("batch_size", [1, 7, 50, 1000])
def test_evaluate_keeps_the_probabilities_of_every_row(batch_size):
    model, data = small()
    e = fm.evaluate(model, data, batch_size)
    with fm.no_grad():
        logits = model.eval()(fm.Tensor(data.features)).data
    assert e.probabilities.dtype == np.float32
    expected = np.array([twin_softmax(row) for row in logits.tolist()])
    np.testing.assert_allclose(e.probabilities, expected, rtol=2e-6)  # float32, four terms rounded at 6e-8
    np.testing.assert_array_equal(e.predicted, logits.argmax(axis=1))
    np.testing.assert_array_equal(e.labels, data.labels)
    assert e.accuracy == metrics.accuracy_score(e.labels, e.predicted) == np.trace(e.confusion) / 50
    assert e.loss == pytest.approx(-np.log(expected[np.arange(50), data.labels]).mean(), rel=1e-6)  # as above


def test_a_model_of_nan_has_a_defined_evaluation():
    model, data = small()
    model[0].weight.data[:] = np.nan
    e = fm.evaluate(model, data)
    assert math.isnan(e.loss)
    assert e.accuracy == np.mean(data.labels == 0) == e.recall @ e.support / 50
    assert json.dumps(e.to_dict(), allow_nan=False)
    assert "50 rows have no probabilities" in str(e)


def test_fit_keeps_no_probabilities_to_know_loss_and_accuracy(monkeypatch):
    model, data = small()
    expected = fm.fit(model, data, validation=0.5, epochs=1, progress=False)

    def refuse(logits):
        raise AssertionError("softmax is called")

    monkeypatch.setattr("fastmlp.training.answers.softmax", refuse)
    again = fm.fit(small()[0], data, validation=0.5, epochs=1, progress=False)
    assert again[0].validation_loss == expected[0].validation_loss
    with pytest.raises(AssertionError, match="softmax is called"):
        fm.evaluate(model, data)
