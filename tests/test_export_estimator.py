"""`to_module`: what a fitted estimator has learned as a model, which every export takes."""

import copy
import importlib.util
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the estimators are for who has scikit-learn")

from sklearn.exceptions import NotFittedError

import fastmlp as fm
from fastmlp.sklearn import MLPClassifier, MLPRegressor

N, D = 90, 5
rng = np.random.default_rng(0)
X = rng.standard_normal((N, D))
THREE = np.array(["red", "blue", "green"])[np.argmax(X[:, :3], axis=1)]
TARGETS = {
    "three classes": THREE,
    "two classes": THREE == "red",
    "whole numbers": np.where(X[:, 0] > 0, 3_000_000_000, 5),
}
OPTIONS = {"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0}


def fitted(kind, y, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(**(OPTIONS | options)).fit(X, y)


def exported(estimator, folder):
    fm.export.numpy(estimator, folder / "m.py")
    spec = importlib.util.spec_from_file_location("m", folder / "m.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_classifier(name, solver, tmp_path):
    estimator = fitted(MLPClassifier, TARGETS[name], solver=solver)
    made = exported(estimator, tmp_path)
    assert np.array_equal(made.predict(X), estimator.predict(X))
    assert np.abs(made.predict_proba(X) - estimator.predict_proba(X)).max() <= 1e-14  # some roundings of float64
    assert made.classes.tolist() == estimator.classes_.tolist()
    assert np.array_equal(fm.predict(estimator.to_module(), X), estimator.predict(X))


def test_labels_a_single_class_and_a_temperature(tmp_path):
    labels = fitted(MLPClassifier, np.stack([X[:, 0] > 0, X[:, 1] > 0], axis=1).astype(int))
    made = exported(labels, tmp_path)
    assert np.array_equal(made.predict(X), labels.predict(X))
    assert np.abs(made.predict_proba(X) - labels.predict_proba(X)).max() <= 1e-14
    single = fitted(MLPClassifier, np.full(N, "only"))
    assert exported(single, tmp_path).predict(X).tolist() == ["only"] * N
    unsure = np.where(np.arange(N) % 4 == 0, X[:, 0] < 0, X[:, 0] > 0)  # a quarter is the other way round
    options = {"early_stopping": True, "validation_fraction": 0.3, "calibrate": True, "max_iter": 100}
    warm = fitted(MLPClassifier, unsure, learning_rate_init=0.03, **options)
    assert warm.to_module().temperature_ == warm.temperature_ != 1
    assert np.abs(exported(warm, tmp_path).predict_proba(X) - warm.predict_proba(X)).max() <= 1e-14


@pytest.mark.parametrize(
    ("loss", "columns"), [("squared_error", 1), ("squared_error", 2), ("poisson", 1), ("quantile", 2)]
)
def test_a_regressor(loss, columns, tmp_path):
    y = np.abs(X[:, :columns]) * 3
    estimator = fitted(MLPRegressor, y[:, 0] if columns == 1 else y, loss=loss)
    made = exported(estimator, tmp_path)
    assert made.predict(X).shape == estimator.predict(X).shape
    assert np.allclose(made.predict(X), estimator.predict(X), rtol=1e-13, atol=1e-14)


def test_it_is_a_copy_of_what_the_estimator_has_now():
    estimator = fitted(MLPRegressor, X[:, 0])
    before = copy.deepcopy(estimator.coefs_)
    estimator.to_module()[0].weight.data[...] = 7
    assert all(np.array_equal(a, b) for a, b in zip(before, estimator.coefs_, strict=True))
    estimator.coefs_[0] = np.zeros_like(estimator.coefs_[0])  # set by hand
    assert not estimator.to_module()[0].weight.data.any()
    assert np.array_equal(fm.predict(estimator.to_module(), X), estimator.predict(X))


def test_one_that_is_not_fitted_has_none(tmp_path):
    with pytest.raises(NotFittedError):
        MLPClassifier().to_module()
    with pytest.raises(NotFittedError, match="This MLPClassifier instance is not fitted yet"):
        fm.export.c(MLPClassifier(), tmp_path / "m.h")


def test_a_model_keeps_what_the_module_is_told(tmp_path):
    estimator = fitted(MLPClassifier, THREE)
    fm.save(estimator.to_module(), tmp_path / "m.safetensors")
    again = fm.load_model(tmp_path / "m.safetensors")
    assert np.array_equal(fm.predict(again, X), estimator.predict(X))
