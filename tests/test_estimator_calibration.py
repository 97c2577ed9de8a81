"""The temperature of an estimator, and what its classes count."""

import pickle
import warnings

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss

from fastmlp.sklearn import MLPClassifier

X, Y = load_digits(return_X_y=True)
X = X / 16
TRAIN, HELD, TEST = slice(0, 800), slice(800, 1200), slice(1200, None)
KINDS = {"classes": Y, "two classes": np.where(Y % 2, "odd", "even"), "labels": np.stack([Y % 2, Y > 4], 1).astype(int)}


def fitted(y, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "did not converge"
        given = {"max_iter": 15, "random_state": 0} | options
        return MLPClassifier((40,), **given).fit(X[TRAIN], y[TRAIN], X_val=X[HELD], y_val=y[HELD])


def loss_at(t, z, y):
    """The mean negative log-likelihood of outputs z / t."""
    if z.shape[1] > 1 and y.ndim == 1:
        return -np.take_along_axis(log_softmax(z / t, axis=1), y[:, None], 1).mean()
    y = y.reshape(z.shape)
    return np.logaddexp(0, np.where(y, -z, z) / t).sum(1).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_are_those_of_outputs_over_the_temperature_that_is_best_on_the_held_out_rows(kind):
    y = KINDS[kind]
    plain, calibrated = fitted(y), fitted(y, calibrate=True)
    assert plain.temperature_ == 1
    z = calibrated._outputs(X[HELD])
    codes = np.unique(y, return_inverse=True)[1] if y.ndim == 1 else y
    best = minimize_scalar(loss_at, bounds=(0.05, 5), args=(z, codes[HELD]), method="bounded", options={"xatol": 1e-9})
    assert calibrated.temperature_ == pytest.approx(best.x, rel=1e-4)  # where the loss is flat to 1e-8, T is to 1e-4
    assert calibrated.temperature_ != pytest.approx(1, abs=0.05)
    for a, b in zip(plain.coefs_, calibrated.coefs_, strict=True):
        assert a.tobytes() == b.tobytes()
    assert np.array_equal(plain.predict(X), calibrated.predict(X))
    if y.ndim == 1:
        assert log_loss(y[TEST], calibrated.predict_proba(X[TEST])) < log_loss(y[TEST], plain.predict_proba(X[TEST]))
        np.testing.assert_allclose(calibrated.predict_proba(X).sum(1), 1, rtol=1e-6)
    again = pickle.loads(pickle.dumps(calibrated))
    assert again.predict_proba(X).tobytes() == calibrated.predict_proba(X).tobytes()


def test_a_fit_without_it_has_none_again():
    model = fitted(Y, calibrate=True)
    model.set_params(calibrate=False).fit(X[TRAIN], Y[TRAIN])
    assert model.temperature_ == 1


@pytest.mark.parametrize("options", [{}, {"solver": "lbfgs"}])
def test_it_needs_rows_that_are_held_out(options):
    with pytest.raises(ValueError, match="calibrate=True needs held-out rows"):
        MLPClassifier(calibrate=True, **options).fit(X, Y)


def test_balanced_classes_count_the_same_by_the_weights_of_their_rows():
    model = MLPClassifier(class_weight="balanced")
    model.classes_, model._several = np.arange(3), False
    y, w = np.array([0, 0, 0, 1, 1]), np.array([1.0, 2.0, 3.0, 4.0, 0.0])
    counts = model._weights(y, w)
    assert counts[:3].sum() == pytest.approx(counts[3:].sum())
    assert counts.sum() == pytest.approx(w.sum())
    np.testing.assert_allclose(model._weights(y, None), [5 / 6, 5 / 6, 5 / 6, 5 / 4, 5 / 4])
