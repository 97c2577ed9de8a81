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


# --- weights of rows, numbers, labels --------------------------------------------------------------------------------

rng = np.random.default_rng(5)
WEIGHTS = {"none": None, "of rows": np.where(np.arange(80) % 9, rng.exponential(size=80), 0.0)}


@pytest.fixture(params=WEIGHTS)
def weights(request):
    return WEIGHTS[request.param]


def test_classes_with_weights(weights):
    labels, p = rng.integers(0, 5, 80), metrics.softmax(rng.normal(size=(80, 5)))
    accuracy = peer.accuracy_score(labels, p.argmax(axis=1), sample_weight=weights)
    e = fm.Evaluation(1.0, accuracy, 80, labels, p, sample_weight=weights)
    assert metrics.accuracy_score(labels, e.predicted, weights) == pytest.approx(accuracy, rel=1e-14)
    report = peer.classification_report(labels, e.predicted, output_dict=True, sample_weight=weights)
    for c, (precision, recall, f1, support) in enumerate(zip(*e.scores, strict=True)):
        expected = [report[str(c)][name] for name in ("precision", "recall", "f1-score", "support")]
        np.testing.assert_allclose([precision, recall, f1, support], expected, **SAME)
    for kind in ("macro", "weighted"):
        expected = [report[f"{kind} avg"][name] for name in ("precision", "recall", "f1-score")]
        np.testing.assert_allclose(getattr(e, kind)[:3], expected, **SAME)
    top3 = peer.top_k_accuracy_score(labels, p, k=3, sample_weight=weights)
    assert e.top3_accuracy == pytest.approx(top3, rel=1e-14)


@pytest.mark.parametrize("columns", [1, 3])
def test_a_regression(weights, columns):
    targets = rng.normal(size=(80, columns)) * [[1, 10, 1000][:columns]] + 5
    predicted = targets + rng.normal(size=targets.shape)
    e = fm.RegressionEvaluation(1.0, targets, predicted, sample_weight=weights)
    close = {"rtol": 1e-12, "atol": 0}  # sums of 80 numbers in another order
    for name, own, of_columns in (
        ("r2_score", e.r2, e.column_r2),
        ("mean_absolute_error", e.mae, e.column_mae),
        ("root_mean_squared_error", e.rmse, e.column_rmse),
    ):
        theirs, mine = getattr(peer, name), getattr(metrics, name)
        np.testing.assert_allclose(own, theirs(targets, predicted, sample_weight=weights), **close)
        options = {"sample_weight": weights, "multioutput": "raw_values"}
        np.testing.assert_allclose(of_columns, theirs(targets, predicted, **options), **close)
        np.testing.assert_array_equal(of_columns, mine(targets, predicted, **options))
    mse = peer.mean_squared_error(targets, predicted, sample_weight=weights)
    assert metrics.mean_squared_error(targets, predicted, weights) == pytest.approx(mse, rel=1e-12)


def test_labels(weights):
    """A label that no row has and one that no row is given are among them."""
    targets, p = rng.integers(0, 2, (80, 6)), rng.random((80, 6))
    targets[:, 0], p[:, 1] = 0, 0.1
    e = fm.MultilabelEvaluation(1.0, targets, p, sample_weight=weights)
    options = {"zero_division": 0, "sample_weight": weights}
    given = (p > 0.5).astype(int)
    expected = peer.precision_recall_fscore_support(targets, given, **options)
    own = metrics.precision_recall_fscore_support(targets, given, sample_weight=weights)
    for name, mine, again, theirs in zip(own._fields, own, e.scores, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, **SAME, err_msg=name)
        np.testing.assert_array_equal(mine, again)
    for kind in ("macro", "micro"):
        expected = peer.precision_recall_fscore_support(targets, given, average=kind, **options)[:3]
        np.testing.assert_allclose(getattr(e, kind)[:3], expected, rtol=1e-13)  # sums in another order
    right = peer.accuracy_score(targets, given, sample_weight=weights)
    assert e.subset_accuracy == pytest.approx(right, rel=1e-14)
