"""The estimators within scikit-learn: pipelines, searches, ensembles, calibration, routing, and several processes."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from joblib import parallel_backend
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris, make_multilabel_classification, make_regression
from sklearn.ensemble import StackingClassifier, StackingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import fastmlp as fm
from fastmlp.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
FAST = {"hidden_layer_sizes": (16,), "learning_rate_init": 0.05, "batch_size": 50, "max_iter": 25, "random_state": 0}


def classifier(**options) -> MLPClassifier:
    return MLPClassifier(**FAST | options)


def pipeline(**options) -> Pipeline:
    return make_pipeline(StandardScaler(), classifier(**options))


def test_a_pipeline_with_columns_of_every_kind():
    """Words, numbers that may be missing and booleans become columns; a frame comes out of all steps before."""
    frame = pd.DataFrame(X, columns=list("abcd"))
    frame["color"] = np.where(Y == 0, "red", "blue")
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), list("abcd")), ("words", OneHotEncoder(sparse_output=False), ["color"])]
    ).set_output(transform="pandas")
    model = Pipeline([("columns", columns), ("net", classifier())]).fit(frame, Y)
    assert model.score(frame, Y) > 0.95
    assert model["net"].feature_names_in_.tolist()[-1] == "words__color_red"


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_a_grid_search_on_two_workers_finds_what_one_does(backend):
    grid = {"mlpclassifier__alpha": [1e-4, 300.0], "mlpclassifier__activation": ["relu", "gelu"]}
    one = GridSearchCV(pipeline(), grid, cv=3).fit(X, Y)
    with parallel_backend(backend):
        two = GridSearchCV(pipeline(), grid, cv=3, n_jobs=2).fit(X, Y)
    np.testing.assert_array_equal(one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"])
    assert one.best_params_["mlpclassifier__alpha"] == 1e-4
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))


def test_halving_gives_more_epochs_to_fewer():
    search = HalvingGridSearchCV(
        pipeline(), {"mlpclassifier__alpha": [1e-4, 1.0, 300.0]}, resource="mlpclassifier__max_iter", max_resources=27,
        min_resources=3, cv=3,
    ).fit(X, Y)  # fmt: skip
    assert search.best_params_["mlpclassifier__alpha"] < 300
    assert search.n_resources_ == [3, 9]


def test_cross_validation():
    assert cross_val_score(pipeline(), X, Y, cv=3).mean() > 0.9
    p = cross_val_predict(pipeline(), X, Y, cv=3, method="predict_proba")
    assert (p.argmax(1) == Y).mean() > 0.9
    x, t = make_regression(100, 4, random_state=0)
    assert cross_val_score(MLPRegressor(**FAST | {"max_iter": 150}), x, t / 50, cv=3).mean() > 0.8


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibration(method):
    model = CalibratedClassifierCV(pipeline(), method=method, cv=StratifiedKFold(3)).fit(X, Y)
    assert model.score(X, Y) > 0.9
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1)


def test_the_column_that_tells_matters_most():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 4))
    found = permutation_importance(classifier().fit(x, x[:, 2] > 0), x, x[:, 2] > 0, n_repeats=3, random_state=0)
    assert found.importances_mean.argmax() == 2


def test_in_ensembles():
    stack = StackingClassifier([("net", pipeline()), ("line", LogisticRegression())], cv=3).fit(X, Y)
    assert stack.score(X, Y) > 0.9
    assert OneVsRestClassifier(pipeline()).fit(X, Y).score(X, Y) > 0.9
    x, t = make_regression(60, 4, random_state=0)
    stacked = StackingRegressor([("net", MLPRegressor(**FAST | {"max_iter": 100}))], cv=3).fit(x, t / 50)
    assert stacked.score(x, t / 50) > 0.8


def test_weights_and_held_out_rows_are_routed():
    """What `fit` asked for comes through a pipeline: weights that count the first two classes alone."""
    w = np.where(Y < 2, 1.0, 0.0)
    with sklearn.config_context(enable_metadata_routing=True):
        net = classifier().set_fit_request(sample_weight=True, X_val=True, y_val=True)
        model = Pipeline([("net", net)]).fit(X, Y, sample_weight=w, X_val=X, y_val=Y)
        assert model["net"].set_score_request(sample_weight=True) is model["net"]
    assert set(model.predict(X)) <= {0, 1}
    assert len(model["net"].validation_scores_) == FAST["max_iter"]


# --- the library's own doors -----------------------------------------------------------------------------------------

MANY = make_multilabel_classification(150, 4, n_classes=3, random_state=0)[1]
KINDS = {
    "two classes": Y == 1, "three words": np.array(["x", "y", "z"], object)[Y], "whole floats": Y + 1.0,
    "one class": np.zeros(150, int), "labels": MANY,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_an_evaluation_is_of_the_probabilities_that_the_estimator_gives(kind, tmp_path):
    y, w = KINDS[kind], np.linspace(0.5, 2, 150)
    held = {} if kind in ("labels", "one class") else {"early_stopping": True, "calibrate": True}
    model = classifier(dropout=0.1, norm="batch", **held).fit(X, y)
    found, net = model.evaluation(X, y, w), model.to_module()
    p = model.predict_proba(X)
    np.testing.assert_allclose(found.probabilities[:, : p.shape[1]], p, rtol=1e-12)
    if kind == "labels":
        assert isinstance(found, fm.MultilabelEvaluation)
        assert (found.predicted == model.predict(X)).all(axis=1).mean() == 1
    else:
        assert found.accuracy == pytest.approx(model.score(X, y, w), rel=1e-12)
        columns = np.searchsorted(model.classes_, y)
        assert found.loss == pytest.approx(-np.average(np.log(p[range(150), columns]), weights=w), rel=1e-12)
        assert fm.predict(net, X).tolist() == model.predict(X).tolist()
    fm.save(net, tmp_path / "net.safetensors")
    np.testing.assert_array_equal(fm.Predictor(fm.load_model(tmp_path / "net.safetensors"))(X), fm.Predictor(net)(X))


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile", "poisson"])
def test_an_evaluation_of_numbers_is_of_what_the_estimator_predicts(loss):
    y = np.abs(make_regression(150, 4, n_targets=2, random_state=0)[1]) / 50
    model = MLPRegressor(loss, **FAST, delta=0.3, quantile=0.9).fit(X, y)
    found, e = model.evaluation(X, y), y - model.predict(X)
    np.testing.assert_array_equal(found.predicted, model.predict(X))
    assert found.r2 == pytest.approx(model.score(X, y), rel=1e-9)
    small = np.abs(e) < 0.3
    want = {
        "squared_error": e**2, "absolute_error": np.abs(e), "quantile": np.maximum(0.9 * e, -0.1 * e),
        "huber": np.where(small, e**2 / 2, 0.3 * (np.abs(e) - 0.15)), "poisson": y - e - y * np.log(y - e),
    }[loss]  # fmt: skip
    assert found.loss == pytest.approx(want.mean(), rel=1e-9)


def test_an_evaluation_refuses_what_the_training_had_not():
    model = classifier().fit(X, np.array(["x", "y", "z"])[Y])
    with pytest.raises(ValueError, match=r"evaluation: y has the class 'w'; it must be one of 'x', 'y', 'z'"):
        model.evaluation(X[:2], ["x", "w"])
    with pytest.raises(ValueError, match="3 features, but MLPClassifier is expecting 4"):
        model.evaluation(X[:, :3], Y)
    with pytest.raises(NotFittedError):
        classifier().evaluation(X, Y)


def test_held_out_rows_may_lack_a_class_where_the_start_is_warm():
    model = classifier(warm_start=True).fit(X, Y, X_val=X[:80], y_val=Y[:80])
    assert len(model.fit(X, Y, X_val=X[:80], y_val=Y[:80]).validation_scores_) > 25
