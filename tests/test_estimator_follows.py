"""The estimators beside scikit-learn's own, step by step: the same first weights, batches, updates, rates and stops."""

import inspect

import numpy as np
import oracles
import pytest
from sklearn import neural_network as theirs
from sklearn.datasets import load_digits, make_multilabel_classification, make_regression

import fastmlp as fm
from fastmlp.kernels import updates
from fastmlp.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_digits(return_X_y=True)
X, Y = X[:500] / 16, Y[:500]
LABELS = make_multilabel_classification(200, 10, n_classes=4, random_state=0)
NUMBERS = make_regression(200, 5, n_targets=2, random_state=0)
NUMBERS = NUMBERS[0], NUMBERS[1] / 50
HAS_WEIGHTS = "sample_weight" in inspect.signature(theirs.MLPClassifier.fit).parameters
TOLERANCE = 1e-9  # of steps in float64 whose sums have another order: what is found is 1e-15
COUNTED = 1e-6  # of losses: alpha's part is made of the weights at both ends of an epoch, scikit-learn's of each step's

CASES = {
    "adam": {},
    "adam, all its options": {"beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-3, "learning_rate_init": 0.01, "alpha": 1.0},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.1},
    "plain sgd": {"solver": "sgd", "momentum": 0, "alpha": 3.0, "learning_rate_init": 0.1},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.5, "power_t": 0.2},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.2, "tol": 0.05,
                 "n_iter_no_change": 2, "max_iter": 40},
    "batches of 64": {"batch_size": 64, "alpha": 1.0},  # the last is smaller, so its decay is larger
    "in order": {"shuffle": False},
    "tanh": {"activation": "tanh", "hidden_layer_sizes": (20, 10)},
    "logistic": {"activation": "logistic"},
    "identity": {"activation": "identity"},
    "no hidden layer": {"hidden_layer_sizes": ()},
    "lbfgs": {"solver": "lbfgs", "max_iter": 15},
    "it ends": {"tol": 0.02, "n_iter_no_change": 3, "max_iter": 100, "learning_rate_init": 0.01},
    "warm": {"warm_start": True, "max_iter": 3, "solver": "sgd", "momentum": 0},
}  # fmt: skip
WEIGHTED = ("adam", "batches of 64", "sgd", "lbfgs")


def trained(kind, x, y, options, weights=None):
    model = kind(**{"hidden_layer_sizes": (12,), "max_iter": 8, "random_state": 0} | options)
    given = {} if weights is None else {"sample_weight": weights}
    model.fit(x, y, **given)
    return model.fit(x, y, **given) if options.get("warm_start") else model


def followed(ours, peer, x, y, options, weights=None, counted=COUNTED) -> None:
    mine, other = (trained(kind, x, y, options, weights) for kind in (ours, peer))
    for a, b in zip(mine.coefs_ + mine.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        assert np.abs(a - b).max() <= TOLERANCE * max(1, np.abs(b).max())
    assert (mine.n_iter_, mine.t_, mine.n_outputs_) == (other.n_iter_, other.t_, other.n_outputs_)
    assert mine.loss_ == pytest.approx(other.loss_, rel=counted)
    if options.get("solver") != "lbfgs":
        np.testing.assert_allclose(mine.loss_curve_, other.loss_curve_, rtol=counted)
        if mine.solver == "sgd":  # Adam's has the correction in it there
            assert mine._optimizer.learning_rate == pytest.approx(other._optimizer.learning_rate)
        assert mine.best_loss_ is other.best_loss_ is None or mine.best_loss_ == pytest.approx(
            other.best_loss_, counted
        )
        assert (mine.validation_scores_ is None) == (other.validation_scores_ is None)
        if mine.validation_scores_ is not None:
            np.testing.assert_allclose(mine.validation_scores_, other.validation_scores_, rtol=1e-9)
    np.testing.assert_allclose(mine.predict(x), other.predict(x), rtol=1e-9, atol=1e-9)
    assert mine.score(x, y) == pytest.approx(other.score(x, y), rel=1e-9)
    if hasattr(other, "predict_proba"):
        np.testing.assert_allclose(mine.predict_proba(x), other.predict_proba(x), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_a_classifier_follows(name):
    for y in (Y, Y > 4):
        counted = COUNTED if CASES[name].get("alpha", 0) < 1 else 5e-4
        followed(MLPClassifier, theirs.MLPClassifier, X, y, CASES[name], counted=counted)


@pytest.mark.parametrize("name", CASES)
def test_a_regressor_follows(name):
    """With lbfgs of one number: of several, scikit-learn's loss is a mean over them, its gradient that of the sum."""
    x, t = NUMBERS
    t = t[:, 0] if name == "lbfgs" else t
    followed(MLPRegressor, theirs.MLPRegressor, x, t, CASES[name], counted=2e-4 if "alpha" in CASES[name] else 1e-5)


@pytest.mark.parametrize("name", ["adam", "sgd", "lbfgs", "batches of 64"])
def test_labels_and_counts_follow(name):
    followed(MLPClassifier, theirs.MLPClassifier, *LABELS, CASES[name], counted=1e-5)
    counts = np.abs(NUMBERS[1][:, 0]).round()
    if HAS_WEIGHTS:  # and the loss, of the same release
        followed(MLPRegressor, theirs.MLPRegressor, NUMBERS[0], counts, CASES[name] | {"loss": "poisson"}, counted=1e-5)


@pytest.mark.skipif(not HAS_WEIGHTS, reason="scikit-learn's MLP takes sample_weight from release 1.7 on")
@pytest.mark.parametrize("name", WEIGHTED)
def test_weighted_rows_follow(name):
    """The loss of an epoch is a mean over batches there and over weights here, which is one number for one batch."""
    weights = np.random.default_rng(0).integers(1, 4, 200).astype(float)
    options = CASES[name] | ({"batch_size": 200} if name != "batches of 64" else {})
    counted = 0.1 if name == "batches of 64" else COUNTED
    followed(MLPClassifier, theirs.MLPClassifier, X[:200], Y[:200], options, weights, counted)


@pytest.mark.parametrize(("ours", "peer", "y"), [(MLPClassifier, theirs.MLPClassifier, Y > 4),
                                                 (MLPRegressor, theirs.MLPRegressor, Y / 10)])  # fmt: skip
def test_early_stopping_holds_the_same_rows_out(ours, peer, y):
    options = {"early_stopping": True, "max_iter": 60, "n_iter_no_change": 3, "learning_rate_init": 0.01}
    followed(ours, peer, X, y, options)


def test_partial_fit_follows():
    models = [kind((12,), random_state=0) for kind in (MLPClassifier, theirs.MLPClassifier)]
    for first in range(0, 500, 100):
        for model in models:
            model.partial_fit(X[first : first + 100], Y[first : first + 100], classes=range(10))
    for a, b in zip(models[0].coefs_, models[1].coefs_, strict=True):
        assert np.abs(a - b).max() <= TOLERANCE
    assert models[0].t_ == models[1].t_ == 500


def test_the_losses_are_the_same_numbers_where_there_is_no_alpha():
    a, b = (trained(kind, X, Y, {"alpha": 0}) for kind in (MLPClassifier, theirs.MLPClassifier))
    np.testing.assert_allclose(a.loss_curve_, b.loss_curve_, rtol=TOLERANCE)


# --- Adam with eps_hat -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_eps_hat_is_added_to_the_root_as_it_is(dtype, amsgrad):
    """A twin in float64: lr m̂ / (√v̂ + ε / √(1 - β₂ᵗ)), both parts of the fraction times √(1 - β₂ᵗ)."""
    rng = np.random.default_rng(0)
    p = fm.Parameter(rng.normal(size=7).astype(dtype))
    q, m, v, u = p.data.astype(float), np.zeros(7), np.zeros(7), np.zeros(7)
    optimizer = fm.optim.Adam([p], 0.1, (0.8, 0.9), 0.5, 0.1, amsgrad, eps_hat=True)
    for t in range(1, 6):
        p.grad = rng.normal(size=7).astype(dtype)
        optimizer.step()
        options = 0.1, 0.8, 0.9, 0.5 / np.sqrt(1 - 0.9**t), 0.1, t
        if amsgrad:
            q, m, v, u = oracles.amsgrad(q, p.grad, m, v, u, *options)
        else:
            q, m, v = oracles.adam(q, p.grad, m, v, *options)
    np.testing.assert_allclose(p.data, q, rtol=20 * np.finfo(dtype).eps, atol=20 * np.finfo(dtype).eps)


def test_eps_hat_is_off_where_nobody_asks():
    scales = np.zeros((3, updates.SCALES))
    usual = [0.1, 0.9, 0.99, 0.5, 0.0, 0.0, 0.0]
    for scale, option in zip(scales, (usual, [*usual, 0.0, 0.0], [*usual, 0.0, 1.0]), strict=True):
        updates.adam_scale(np.array(option), 0.1, 1, scale)
    np.testing.assert_array_equal(scales[0], scales[1])
    assert scales[2, 1] == 0.5 != scales[0, 1]
    parameter = fm.Parameter([1.0])
    state = fm.optim.Adam([parameter]).state_dict()
    del state["param_groups"][0]["eps_hat"]  # of before there was it
    optimizer = fm.optim.Adam([parameter], eps_hat=True)
    optimizer.load_state_dict(state)
    assert optimizer.param_groups[0]["eps_hat"] is False


def test_the_graph_makes_the_same_steps_as_the_engine_where_the_decay_moves():
    def nodes(model):
        model[0].forward = type(model[0]).forward.__get__(model[0])  # a forward of its own: not for the engine

    nets = []
    for change in (lambda model: None, nodes):
        model = MLPClassifier((12,), batch_size=64, alpha=1.0, max_iter=3, random_state=0, norm="batch")
        build = model._begin

        def begin(units, dtype, build=build, change=change, model=model):
            build(units, dtype)
            change(model._net)

        model._begin = begin
        nets.append(model.fit(X, Y))
    for a, b in zip(nets[0].coefs_, nets[1].coefs_, strict=True):
        np.testing.assert_array_equal(a, b)
