"""An estimator's `checkpoint`: a `fit` that was ended goes on to the bits of one that was not."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
from sklearn.base import clone
from test_without_weight import EndedError

from fastmlp import optim
from fastmlp.running import engine
from fastmlp.sklearn import MLPClassifier, MLPRegressor
from fastmlp.training.checkpoint import Checkpoints, files_of

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4))
Y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
LEARNT = "loss_curve_", "n_iter_", "t_", "best_loss_", "validation_scores_", "best_validation_score_"
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def ended(monkeypatch):
    """Fits a model, and ends it as a kill does, behind its `writes`-th checkpoint; one after every 3 steps."""

    def end(model, writes, *rows, **options):
        write, made, begin = Checkpoints.write, [], Checkpoints.__init__

        def ending(self, *arguments):
            if len(made) == writes:
                raise EndedError
            made.append(arguments[0])
            write(self, *arguments)

        def often(self, folder, every=None, **given):
            begin(self, folder, 3, **given)

        with monkeypatch.context() as planted:
            planted.setattr(Checkpoints, "write", ending)
            planted.setattr(Checkpoints, "__init__", often)
            with pytest.raises(EndedError):
                model.fit(*rows, **options)

    return end


def small(folder=None, kind=MLPClassifier, **options):
    options = {"batch_size": 12, "max_iter": 6, "random_state": 0, "learning_rate_init": 0.02} | options
    return kind(hidden_layer_sizes=(8,), checkpoint=folder, **options)


def assert_same(one, other):
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(one, name), getattr(other, name), strict=True):
            np.testing.assert_array_equal(a, b)
    for name in LEARNT:
        assert getattr(one, name) == getattr(other, name), name
    np.testing.assert_array_equal(one.predict(X), other.predict(X))


CASES = {
    "adam": {},
    "stopped early": {"early_stopping": True, "validation_fraction": 0.3, "calibrate": True},
    "adaptive sgd": {"solver": "sgd", "learning_rate": "adaptive", "tol": 1.0, "n_iter_no_change": 1},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling"},
    "all beyond": {
        "dropout": 0.2, "norm": "batch", "average": "ema", "schedule": optim.CosineAnnealingLR(),
        "class_weight": "balanced",
    },
}  # fmt: skip


@pytest.mark.parametrize("writes", [1, 4])
@pytest.mark.parametrize("case", CASES)
def test_the_bits_are_those_of_a_fit_that_was_not_ended(case, writes, tmp_path, ended):
    whole = small(**CASES[case]).fit(X, Y)
    ended(small(tmp_path, **CASES[case]), writes, X, Y)
    assert len(files_of(tmp_path)) == min(writes, 2)
    assert_same(small(tmp_path, **CASES[case]).fit(X, Y), whole)


def test_rows_held_out_by_hand_and_a_regressor(tmp_path, ended):
    held = {"X_val": X[40:], "y_val": X[40:, 0]}
    whole = small(kind=MLPRegressor, monitor="loss").fit(X[:40], X[:40, 0], **held)
    ended(small(tmp_path, MLPRegressor, monitor="loss"), 3, X[:40], X[:40, 0], **held)
    with pytest.raises(ValueError, match="this one has other held-out rows"):
        small(tmp_path, MLPRegressor, monitor="loss").fit(X[:40], X[:40, 0])
    assert_same(small(tmp_path, MLPRegressor, monitor="loss").fit(X[:40], X[:40, 0], **held), whole)


def test_a_generator_that_nobody_has_any_more_goes_on_too(tmp_path, ended):
    whole = small(random_state=np.random.RandomState(3)).fit(X, Y)
    ended(small(tmp_path, random_state=np.random.RandomState(3)), 4, X, Y)
    assert_same(small(tmp_path, random_state=np.random.RandomState(4)).fit(X, Y), whole)


def test_a_second_call_that_went_on_is_gone_on_with(tmp_path, ended):
    whole = small(warm_start=True).fit(X, Y).fit(X, Y)
    model = small(tmp_path, warm_start=True).fit(X, Y)
    ended(model, 4, X, Y)
    assert_same(small(tmp_path, warm_start=True).fit(X, Y), whole)


def test_after_its_end_fit_begins_anew(tmp_path):
    whole = small(tmp_path).fit(X, Y)
    assert_same(clone(whole).fit(X, Y), whole)
    assert_same(clone(whole).set_params(alpha=1.0).fit(X, Y), small(alpha=1.0).fit(X, Y))


@pytest.mark.parametrize("case", ["adam", "stopped early", "all beyond"])
def test_what_the_time_limit_ended_goes_on(case, tmp_path, monkeypatch):
    """Twice, after a step each: the epoch that was cut counts in what they show, and not in what goes on."""
    whole = small(**CASES[case]).fit(X, Y)
    with monkeypatch.context() as planted:
        planted.setattr(engine, "CHUNK_SECONDS", 0)  # a step a chunk
        cut = [small(tmp_path, time_limit=1e-9, **CASES[case]).fit(X, Y) for _ in range(2)]
    rows = [12 * (step + 1) for step in range(2)]
    assert [(model.n_iter_, model.t_) for model in cut] == [(1, many) for many in rows]
    assert_same(small(tmp_path, **CASES[case]).fit(X, Y), whole)


def test_one_sentence_where_another_training_lies(tmp_path, ended):
    ended(small(tmp_path), 2, X, Y)
    for model, rows, words in (
        (small(tmp_path, alpha=1.0), (X, Y), "this one has alpha 1.0, it had 0.0001; it must be the same to go on"),
        (small(tmp_path), (X + 1, Y), "this one has other features"),
        (small(tmp_path), (X[:50], Y[:50]), "this one has 50 rows, it had 60 rows"),
        (small(tmp_path, callbacks=print), (X, Y), "this one has callbacks print, it had none"),
        (small(tmp_path, MLPRegressor), (X, X[:, 0]), "this one has class MLPRegressor, it had MLPClassifier"),
    ):
        with pytest.raises(ValueError, match=words):
            model.fit(*rows)
    with pytest.raises(ValueError, match="checkpoint must be left out"):
        small(tmp_path, solver="lbfgs").fit(X, Y)
    small(tmp_path, n_threads=1, verbose=False, time_limit=60).fit(X, Y)  # on which no bit hangs
