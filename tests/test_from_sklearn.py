"""`from_sklearn`: the net of a fitted MLP says what the estimator says, of 1,000 digits."""

import inspect
import sys
import warnings

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import nn

sklearn = pytest.importorskip("sklearn", reason="scikit-learn is not installed; pip install -e '.[test]' installs it")
from sklearn import neural_network as theirs  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

import fastmlp.sklearn as ours  # noqa: E402

# Sums of 64 terms, each rounded at 6e-8 or 1e-16; a probability is off by as much as its logit. Measured 4e-7, 8e-15
NEAR = {np.float32: 1e-5, np.float64: 1e-12}
DIGITS, CLASSES = load_digits(return_X_y=True)
X, Y = DIGITS[:1000] / 16, CLASSES[:1000]
TARGETS = {
    "several": Y.astype(np.int64) * 3_000_000_000 - 1,
    "strings": np.array([f"digit {value}" for value in Y]),
    "objects": np.array([f"digit {value}" for value in Y], object),
    "floats": Y % 3 + 1.0,
    "two": Y % 2 * 5 + 2,
    "two strings": np.where(Y > 4, "over", "at most four"),
    "booleans": Y > 4,
    "labels": np.stack([Y > 4, Y % 2 == 0, Y % 3 == 0], axis=1).astype(int),
}


@pytest.fixture(autouse=True)
def few_epochs():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def fitted(kind, y, dtype=np.float64, **options):
    """An estimator after a few epochs."""
    return kind(**{"hidden_layer_sizes": (12, 9), "max_iter": 6, "random_state": 0} | options).fit(X.astype(dtype), y)


def likely(z) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def alike(model, estimator, dtype):
    """Both say the same classes, and give them the same probabilities, as a share of each."""
    x = X.astype(dtype)
    z, p = fm.Predictor(model)(x), estimator.predict_proba(x)
    assert z.dtype == dtype
    labels = model.loss_ is not None
    z = z / z.dtype.type(model.temperature_)
    q = 1 / (1 + np.exp(-z)) if labels else likely(z)
    assert (np.abs(q - p) / p).max() <= NEAR[dtype]
    said, expected = fm.predict(model, x), estimator.predict(x)
    np.testing.assert_array_equal(said, expected)
    assert not any(module.training for module in model.modules())
    assert (said.dtype.kind, said.dtype.itemsize) == ("i", 8) or said.dtype.kind in "bU"


@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize("library", [theirs, ours], ids=["scikit-learn", "fastmlp"])
@pytest.mark.parametrize("name", TARGETS)
def test_a_classifier_says_the_same(tmp_path, name, library, dtype):
    estimator = fitted(library.MLPClassifier, TARGETS[name], dtype)
    model = fm.from_sklearn(estimator)
    alike(model, estimator, dtype)
    fm.save(model, tmp_path / "m")
    alike(fm.load_model(tmp_path / "m"), estimator, dtype)
    assert model[-1].out_features == (3 if name in ("labels", "floats") else 10 if name in list(TARGETS)[:3] else 2)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_every_activation(activation, solver):
    estimator = fitted(theirs.MLPClassifier, TARGETS["strings"], activation=activation, solver=solver)
    alike(fm.from_sklearn(estimator), estimator, np.float64)


def test_layers_that_scikit_learn_does_not_have(tmp_path):
    """Norms, slopes, dropout and a temperature are ours alone."""
    options = {"norm": "batch", "activation": "prelu", "dropout": 0.2, "calibrate": True, "early_stopping": True}
    for name in ("strings", "two", "labels"):
        estimator = fitted(ours.MLPClassifier, TARGETS[name], **options)
        model = fm.from_sklearn(estimator)
        assert model.temperature_ == estimator.temperature_ != 1
        alike(model, estimator, np.float64)
        fm.save(model, tmp_path / "m")
        alike(fm.load_model(tmp_path / "m"), estimator, np.float64)


LOSSES = {"squared_error": nn.MSELoss} | (
    {"poisson": nn.PoissonNLLLoss} if "loss" in inspect.signature(theirs.MLPRegressor).parameters else {}
)
OWN = {"huber": nn.HuberLoss, "absolute_error": nn.L1Loss, "quantile": nn.QuantileLoss, **LOSSES}
CASES = [(library, loss) for library, losses in ((theirs, LOSSES), (ours, OWN)) for loss in losses]


@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize(("library", "loss"), CASES, ids=[f"{lib.__name__}-{loss}" for lib, loss in CASES])
def test_a_regressor_says_the_same(tmp_path, library, loss, columns, dtype):
    y = np.stack([Y / 2, X.sum(axis=1) / 8], axis=1)
    options = {} if (library, loss) == (theirs, "squared_error") else {"loss": loss}
    options |= {"quantile": 0.9} if loss == "quantile" else {"delta": 0.3} if loss == "huber" else {}
    estimator = fitted(library.MLPRegressor, y if columns == 2 else y[:, 0], dtype, **options)
    model, x = fm.from_sklearn(estimator), X.astype(dtype)
    for found in (model, saved(model, tmp_path / "m")):
        said, expected = fm.predict(found, x), estimator.predict(x)
        assert said.shape == expected.shape
        assert (np.abs(said - expected) <= NEAR[dtype] * (1 + np.abs(expected))).all()
        assert type(found.loss_) is OWN[loss]
        assert getattr(found.loss_, "delta", 0.3) == 0.3
    if columns == 1:
        r2 = fm.evaluate(model, fm.Dataset(x, y[:, 0])).r2
        assert abs(r2 - estimator.score(x, y[:, 0])) <= NEAR[dtype]


def saved(model, path):
    fm.save(model, path)
    return fm.load_model(path)


def test_two_outputs_for_two_classes_are_exact_where_one_is_sure():
    """σ(z) and 1 - σ(z) are the softmax of (0, z), in float32 down to its least normal number."""
    estimator = fitted(theirs.MLPClassifier, TARGETS["two"], np.float32)
    estimator.coefs_ = [coef * 4 for coef in estimator.coefs_]
    model, x = fm.from_sklearn(estimator), X.astype(np.float32)
    z = fm.Predictor(model)(x)
    assert not z[:, 0].any()
    assert np.abs(z[:, 1]).max() > 50
    exact = 1 / (1 + np.exp(-z[:, 1].astype(np.float64)))
    p = likely(z)
    assert (np.abs(p[:, 1] - exact) / exact).max() <= 1e-6  # e^z, a sum and a quotient, each rounded at 6e-8
    np.testing.assert_array_equal(fm.predict(model, x), estimator.predict(x))


def test_what_is_sure_of_the_second_class_keeps_the_first():
    """1 - σ(40) is 0 in float64, and its logarithm minus infinity; the softmax of (0, 40) is not."""
    estimator = theirs.MLPClassifier((1,), activation="identity", max_iter=1).fit(X[:, 10:11], TARGETS["two"])
    estimator.coefs_, estimator.intercepts_ = [np.ones((1, 1)), np.ones((1, 1))], [np.zeros(1), np.zeros(1)]
    rows = np.array([[40.0], [-40.0]])
    with np.errstate(divide="ignore"):
        assert np.isneginf(estimator.predict_log_proba(rows)).tolist() == [[True, False], [False, False]]
    p = likely(fm.Predictor(fm.from_sklearn(estimator))(rows))
    assert p[0, 0] == p[1, 1]
    assert abs(p[0, 0] / np.exp(-40) - 1) < 1e-12


@pytest.mark.parametrize("library", [theirs, ours], ids=["scikit-learn", "fastmlp"])
def test_it_is_a_copy_that_trains_on(library):
    estimator = fitted(library.MLPClassifier, TARGETS["two strings"])
    before = [array.copy() for array in (*estimator.coefs_, *estimator.intercepts_)]
    fm.manual_seed(5)
    expected = nn.Linear(2, 2).weight.data
    fm.manual_seed(5)
    model = fm.from_sklearn(estimator)
    np.testing.assert_array_equal(nn.Linear(2, 2).weight.data, expected)
    data = fm.Dataset(X, TARGETS["two strings"])
    first = fm.evaluate(model, data)
    assert abs(first.accuracy - estimator.score(X, TARGETS["two strings"])) < 1e-12
    history = fm.fit(model, data, epochs=3, seed=0, progress=False)
    assert history[0].ran_on == "engine"
    assert fm.evaluate(model, data).loss < first.loss
    for array, kept in zip((*estimator.coefs_, *estimator.intercepts_), before, strict=True):
        np.testing.assert_array_equal(array, kept)


def test_weights_that_were_set_by_hand_are_taken():
    for library in (theirs, ours):
        estimator = fitted(library.MLPClassifier, TARGETS["several"])
        estimator.coefs_ = [np.asfortranarray(coef) / 2 for coef in estimator.coefs_]
        alike(fm.from_sklearn(estimator), estimator, np.float64)


def test_bytes_are_the_numbers_that_they_are():
    """An estimator does not divide them by 255, and a Predictor does without scale=1."""
    x = DIGITS[:1000].astype(np.uint8)
    estimator = theirs.MLPClassifier((12,), max_iter=6, random_state=0).fit(x, Y)
    model = fm.from_sklearn(estimator)
    np.testing.assert_array_equal(fm.predict(model, x, scale=1), estimator.predict(x))
    assert (fm.predict(model, x) != estimator.predict(x)).any()


REFUSED = {
    "not fitted": (lambda: theirs.MLPClassifier(), ValueError, "this MLPClassifier is not fitted; call fit first"),
    "ours, not fitted": (lambda: ours.MLPRegressor(), ValueError, "this MLPRegressor is not fitted; call fit first"),
    "one class": (lambda: fitted(theirs.MLPClassifier, Y * 0), ValueError, "knows the class .*0.* alone; there must"),
    "ours, one class": (lambda: fitted(ours.MLPClassifier, Y * 0 == 0), ValueError, "knows the class .*True.* alone"),
    "another estimator": (lambda: LogisticRegression(), TypeError, "is LogisticRegression; it must be a fitted MLP"),
    "a class": (lambda: theirs.MLPClassifier, TypeError, "estimator is ABCMeta; it must be a fitted MLPClassifier"),
    "a pipeline": (
        lambda: make_pipeline(StandardScaler(), theirs.MLPClassifier()), TypeError, r"its net may be pipeline\[-1\]",
    ),
    "a search": (
        lambda: GridSearchCV(theirs.MLPClassifier(), {}), TypeError, "its net may be search.best_estimator_",
    ),
    "wide classes": (
        lambda: fitted(theirs.MLPClassifier, np.where(Y > 4, 2**63, 3).astype(np.uint64)), ValueError,
        "classes_ are .* of uint64; they must be whole numbers, booleans or strings",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_fitted_net_is_refused(name):
    make, kind, words = REFUSED[name]
    with pytest.raises(kind, match=words) as caught:
        fm.from_sklearn(make())
    assert str(caught.value).startswith("from_sklearn: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "package"),
    [
        (lambda: fm.from_sklearn(3), "sklearn.neural_network"),
        (lambda: fm.from_torch({}), "torch"),
        (lambda: fm.to_torch(nn.MLP(2, (), 2)), "torch"),
    ],
)
def test_what_is_not_installed_is_named(call, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"(from|to)_(sklearn|torch) needs (scikit-learn|PyTorch), pip install \w+"):
        call()


@pytest.mark.parametrize("broken", ["activation", "sign", "class"])
def test_the_comparison_sees_what_is_planted(broken):
    estimator = fitted(theirs.MLPClassifier, TARGETS["two"])
    model = fm.from_sklearn(estimator)
    if broken == "activation":
        model = nn.Sequential(*[nn.GELU() if isinstance(layer, nn.ReLU) else layer for layer in model]).eval()
        model.classes_ = estimator.classes_
    elif broken == "sign":
        model[-1].weight.data[...] = model[-1].weight.data[::-1].copy()
    else:
        model.classes_ = model.classes_[::-1].copy()
    with pytest.raises(AssertionError):
        alike(model, estimator, np.float64)
