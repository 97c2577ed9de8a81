"""The measures of `fastmlp.metrics` and of `Evaluation` against scikit-learn's."""

import numpy as np
import pytest

import fastmlp as fm
from fastmlp.training import metrics

peer = pytest.importorskip(
    "sklearn.metrics", reason="scikit-learn is not installed; `make test-peers` installs it and runs this file"
)

# Both divide the same counts; averages over classes may be added up in another order.
SAME = {"rtol": 1e-14, "atol": 0}
CASES = {
    "two classes": (2, 300, None),
    "ten classes": (10, 500, None),
    "a class without rows": (7, 200, 3),
    "a hundred classes": (100, 400, 5),
    "one row": (5, 1, None),
}


def evaluation(classes: int, rows: int, absent: int | None) -> fm.Evaluation:
    """A trained model's, so that what is compared is what `evaluate` returns."""
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, rows)
    labels[labels == absent] = 0
    features = rng.normal(size=(rows, 12)) + np.random.default_rng(1).normal(size=(classes, 12))[labels]
    data = fm.Dataset(features, labels, classes=classes)
    fm.manual_seed(0)
    model = fm.nn.MLP(12, (8,), classes).double()
    fm.fit(model, data, epochs=30, optimizer=fm.optim.Adam(model.parameters(), lr=0.01), progress=False)
    return fm.evaluate(model, data)


@pytest.fixture(scope="module", params=CASES)
def e(request) -> fm.Evaluation:
    return evaluation(*CASES[request.param])


def test_loss_and_accuracy(e):
    classes = np.arange(e.classes)
    # a mean of up to 500 logarithms, of logits there and of probabilities here
    assert e.loss == pytest.approx(peer.log_loss(e.labels, e.probabilities, labels=classes), rel=1e-12)
    assert e.accuracy == peer.accuracy_score(e.labels, e.predicted) == metrics.accuracy_score(e.labels, e.predicted)


def test_confusion_matrix(e):
    expected = peer.confusion_matrix(e.labels, e.predicted, labels=np.arange(e.classes))
    np.testing.assert_array_equal(e.confusion, expected)
    np.testing.assert_array_equal(metrics.confusion_matrix(e.labels, e.predicted, e.classes), expected)


def test_precision_recall_f1_support_of_each_class(e):
    options = {"labels": np.arange(e.classes), "zero_division": 0}
    expected = peer.precision_recall_fscore_support(e.labels, e.predicted, **options)
    own = metrics.precision_recall_fscore_support(e.labels, e.predicted, e.classes)
    for name, mine, again, theirs in zip(own._fields, own, e.scores, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, **SAME, err_msg=name)
        np.testing.assert_array_equal(mine, again)
        np.testing.assert_array_equal(getattr(e, name), mine)


def test_the_averages_of_the_report(e):
    report = peer.classification_report(e.labels, e.predicted, output_dict=True, zero_division=0)
    for kind in ("macro", "weighted"):
        expected = [report[f"{kind} avg"][name] for name in ("precision", "recall", "f1-score", "support")]
        np.testing.assert_allclose(getattr(e, kind), expected, **SAME)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_top_k_accuracy(e, k):
    labels = np.arange(e.classes)
    if k >= e.classes:
        assert metrics.top_k_accuracy_score(e.labels, e.probabilities, k) == 1  # scikit-learn warns
        return
    scores = e.probabilities[:, 1] if e.classes == 2 else e.probabilities  # its form for two classes
    expected = peer.top_k_accuracy_score(e.labels, scores, k=k, labels=labels)
    assert metrics.top_k_accuracy_score(e.labels, e.probabilities, k) == expected
    if k == 3:
        assert e.top3_accuracy == expected


def test_reliability_is_the_calibration_curve_of_being_right(e):
    """scikit-learn has the curve of two classes: here, whether the prediction is right, against its probability."""
    calibration = pytest.importorskip("sklearn.calibration", reason="it comes with sklearn.metrics")
    right = (e.labels == e.predicted).astype(int)
    accuracy, confidence = calibration.calibration_curve(right, e.confidence, n_bins=metrics.BINS)
    used = e.reliability.rows > 0
    np.testing.assert_allclose(e.reliability.accuracy[used], accuracy, **SAME)
    np.testing.assert_allclose(e.reliability.confidence[used], confidence, **SAME)
    weights = e.reliability.rows[used] / e.rows
    # differences of numbers up to 1
    assert e.calibration_error == pytest.approx(weights @ np.abs(accuracy - confidence), abs=1e-14)


def test_the_comparison_says_something():
    """The models are neither right everywhere nor wrong everywhere, and the measures differ from each other."""
    e = evaluation(*CASES["ten classes"])
    assert 0.2 < e.accuracy < 0.95
    assert len({round(float(x), 6) for x in (*e.macro[:3], *e.weighted[:3], e.accuracy)}) > 4
    assert e.accuracy < e.top3_accuracy < 1
