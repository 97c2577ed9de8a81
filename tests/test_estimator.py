"""`fastmlp.sklearn`: parameters, targets, rows, and what the estimators have beyond scikit-learn's."""

import copy
import inspect
import math
import pickle
import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn import neural_network as theirs
from sklearn.base import clone
from sklearn.datasets import make_classification, make_multilabel_classification, make_regression
from sklearn.exceptions import ConvergenceWarning

import fastmlp as fm
from fastmlp.sklearn import MLPClassifier, MLPRegressor
from fastmlp.sklearn.labels import as_array

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

PAIRS = [(MLPClassifier, theirs.MLPClassifier), (MLPRegressor, theirs.MLPRegressor)]
BEYOND = {
    "dropout": 0.0, "norm": None, "weight_decay": 0.0, "schedule": None, "clip_norm": None, "average": None,
    "monitor": "score", "callbacks": None, "checkpoint": None, "n_threads": "auto", "time_limit": None,
}  # fmt: skip
OWN = {
    MLPClassifier: {"class_weight": None, "label_smoothing": 0.0, "calibrate": False},
    MLPRegressor: {"delta": 1.0, "quantile": 0.5},
}
X, Y = make_classification(60, 6, n_informative=4, n_classes=3, random_state=0)
T = make_regression(60, 6, random_state=0)[1] / 50
SMALL = {"hidden_layer_sizes": (8,), "max_iter": 5, "random_state": 0, "n_threads": 1}


def same_nets(one, other) -> None:
    for a, b in zip(one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        np.testing.assert_array_equal(a, b)


NEWER = "sample_weight" in inspect.signature(theirs.MLPClassifier.fit).parameters


@pytest.mark.skipif(not NEWER, reason="release 1.7 of scikit-learn has other arguments than those before")
@pytest.mark.parametrize(("ours", "peer"), PAIRS)
def test_arguments_are_those_of_scikit_learn_in_its_order_and_then_our_own(ours, peer):
    mine, other = (inspect.signature(kind).parameters for kind in (ours, peer))
    shared = [name for name in mine if name in other]
    assert shared == list(other) == list(mine)[: len(other)]
    for name in shared:
        assert (mine[name].default, mine[name].kind) == (other[name].default, other[name].kind), name
    rest = {name: p.default for name, p in mine.items() if name not in other}
    assert rest == BEYOND | OWN[ours]
    assert {mine[name].kind for name in rest} == {inspect.Parameter.KEYWORD_ONLY}
    for method in ("fit", "partial_fit", "predict", "score"):
        theirs_ = list(inspect.signature(getattr(peer, method)).parameters)
        assert list(inspect.signature(getattr(ours, method)).parameters)[: len(theirs_)] == theirs_


@pytest.mark.parametrize(("ours", "peer"), PAIRS)
@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"solver": "sgd"}, {"solver": "lbfgs"}])
def test_fitted_attributes_are_those_of_scikit_learn(ours, peer, options):
    y = Y == 1 if ours is MLPClassifier else T
    mine, other = (kind(max_iter=4, random_state=1, **options).fit(X, y) for kind in (ours, peer))
    for name in [name for name in vars(other) if name.endswith("_") and not name.startswith("_")]:
        a, b = getattr(mine, name), getattr(other, name)
        assert type(a) is type(b) or isinstance(a, float), name
        if name not in ("coefs_", "intercepts_"):
            np.testing.assert_allclose(a, b, rtol=1e-4) if not isinstance(b, str) and b is not None else None
            assert a == b if isinstance(b, str | int) or b is None else True
    extra = {name for name in vars(mine) if name.endswith("_") and not name.startswith("_")}
    assert extra == {name for name in vars(other) if name.endswith("_") and not name.startswith("_")}
    assert [c.shape for c in mine.coefs_] == [c.shape for c in other.coefs_]


# --- rows and targets ------------------------------------------------------------------------------------------------

BIG = 2**53  # above it, float64 has no odd numbers
LABELS = {
    "strings": (np.array(["a", "bb", "a"] * 20), np.array(["a", "bb"])),
    "objects": (np.array(["a", "bb", "c"] * 20, object), np.array(["a", "bb", "c"], object)),
    "booleans": (np.array([True, False] * 30), np.array([False, True])),
    "pandas Int64": (pd.Series([BIG, BIG + 1, BIG] * 20, dtype="Int64"), np.array([BIG, BIG + 1])),
    "pandas boolean": (pd.Series([True, False] * 30, dtype="boolean"), np.array([False, True])),
    "pandas string": (pd.Series(["a", "b"] * 30, dtype="string"), np.array(["a", "b"], object)),
    "pandas category": (pd.Series(["a", "b"] * 30, dtype="category"), np.array(["a", "b"], object)),
    "polars String": (pl.Series(["a", "b"] * 30), np.array(["a", "b"], object)),
    "polars Categorical": (pl.Series(["a", "b"] * 30, dtype=pl.Categorical), np.array(["a", "b"], object)),
    "polars Boolean": (pl.Series([True, False] * 30), np.array([False, True])),
    "polars Int64": (pl.Series([BIG, BIG + 1] * 30), np.array([BIG, BIG + 1])),
}


@pytest.mark.parametrize("name", LABELS)
def test_classes_keep_their_type(name):
    y, classes = LABELS[name]
    model = MLPClassifier(**SMALL).fit(X, y)
    assert model.classes_.dtype.kind == classes.dtype.kind.replace("O", "U")  # scikit-learn's own makes text of objects
    assert model.classes_.tolist() == classes.tolist()
    assert set(model.predict(X).tolist()) <= set(classes.tolist())
    assert model.score(X, y) > 0.3
    again = MLPClassifier(**SMALL).partial_fit(X, y, classes=classes).partial_fit(X, y)
    assert again.classes_.tolist() == classes.tolist()


@pytest.mark.parametrize(
    ("name", "values"), [("Int64", [BIG, BIG + 1]), ("int64[pyarrow]", [1, 2]), ("boolean", [True])]
)
def test_columns_that_come_as_objects_keep_their_type(name, values):
    """As releases of pandas before 3 give them."""

    class Column:
        dtype, ndim = name, 1

        def to_numpy(self):
            return np.array(values, object)

    found = as_array(Column())
    assert found.dtype == (bool if name == "boolean" else np.int64)
    assert found.tolist() == values


def test_missing_labels_are_refused():
    with pytest.raises(ValueError, match=r"NaN|missing|NA"):
        MLPClassifier(**SMALL).fit(X, pd.Series([1, None] * 30, dtype="Int64"))


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
@pytest.mark.parametrize("options", [{}, {"solver": "sgd"}, {"solver": "lbfgs"}, {"early_stopping": True, "alpha": 0}])
def test_sparse_rows_are_the_dense_ones(make, options):
    x = np.where(np.abs(X) > 0.7, X, 0)
    dense, thin = (MLPClassifier(**SMALL | options).fit(rows, Y) for rows in (x, make(x)))
    same_nets(dense, thin)
    np.testing.assert_array_equal(dense.predict_proba(x), thin.predict_proba(make(x)))


def test_arrays_of_any_order_and_read_only():
    x = np.asfortranarray(X)
    x.flags.writeable = False
    same_nets(MLPClassifier(**SMALL).fit(X, Y), MLPClassifier(**SMALL).fit(x, Y))


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frames_name_their_columns(frame):
    if frame is pl.DataFrame and not NEWER:
        pytest.skip("scikit-learn before release 1.7 reads no names of this polars")
    x = frame({f"column {i}": X[:, i] for i in range(6)})
    model = MLPClassifier(**SMALL).fit(x, Y)
    assert model.feature_names_in_.tolist() == [f"column {i}" for i in range(6)]
    same_nets(model, MLPClassifier(**SMALL).fit(X, Y))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.predict(x)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(x.rename({"column 0": "other"}) if frame is pl.DataFrame else x.rename(columns={"column 0": "o"}))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("kind", "y"), [(MLPClassifier, Y), (MLPRegressor, T)])
def test_float32_stays(kind, y, dtype):
    model = kind(**SMALL).fit(X.astype(dtype), y)
    assert {a.dtype for a in model.coefs_ + model.intercepts_} == {np.dtype(dtype)}
    asked = model.predict_proba(X.astype(dtype)) if kind is MLPClassifier else model.predict(X.astype(dtype))
    assert asked.dtype == dtype


def test_several_labels_and_several_numbers():
    x, y = make_multilabel_classification(80, 6, n_classes=4, random_state=0)
    model = MLPClassifier(max_iter=300, random_state=0, learning_rate_init=0.01).fit(x, y)
    assert model.predict(x).shape == (80, 4)
    assert model.predict_proba(x).shape == (80, 4)
    assert model.score(x, y) > 0.8
    x, t = make_regression(80, 6, n_targets=3, random_state=0)
    model = MLPRegressor(max_iter=300, random_state=0, learning_rate_init=0.05).fit(x, t / 100)
    assert model.predict(x).shape == (80, 3)
    assert model.score(x, t / 100) > 0.9


def test_weights_count_as_rows_do():
    """All rows in one batch: a weight of 2 is the row twice, but for alpha, which counts rows too."""
    w = np.arange(60) % 3
    twice = np.repeat(np.arange(60), w)
    options = SMALL | {"solver": "sgd", "shuffle": False, "learning_rate_init": 0.1}
    one, two = MLPClassifier(**options).fit(X, Y, w), MLPClassifier(**options).fit(X[twice], Y[twice])
    for a, b in zip(one.coefs_, two.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)  # sums in another order
    with pytest.raises(ValueError, match=r"[Nn]egative"):
        MLPClassifier(**SMALL).fit(X, Y, -w)


def test_a_batch_without_weight_is_a_step_that_changes_nothing():
    w = np.r_[np.zeros(30), np.ones(30)]
    options = SMALL | {"shuffle": False, "batch_size": 30, "max_iter": 1, "solver": "sgd"}
    np.testing.assert_array_equal(
        MLPClassifier(**options).fit(X, Y, w).coefs_[0], MLPClassifier(**options).fit(X[30:], Y[30:]).coefs_[0]
    )


# --- going on, copies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"solver": "sgd", "learning_rate": "invscaling"}, {"norm": "batch"}])
@pytest.mark.parametrize(("kind", "y"), [(MLPClassifier, Y), (MLPRegressor, T)])
def test_a_copy_says_the_same_and_goes_on_to_the_same_bits(kind, y, options):
    model = kind(**SMALL | {"random_state": np.random.RandomState(0)} | options)
    if options.get("learning_rate") is None:
        model.fit(X, y)
    first = {"classes": np.unique(y)} if kind is MLPClassifier and not hasattr(model, "coefs_") else {}
    model.partial_fit(X, y, **first)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(model.predict(X), other.predict(X))
    other = pickle.loads(pickle.dumps(model))
    same_nets(model.partial_fit(X, y), other.partial_fit(X, y))
    assert model.loss_curve_ == other.loss_curve_
    fresh = clone(model)
    assert not hasattr(fresh, "coefs_")


def test_a_second_fit_with_warm_start_goes_on_with_the_moments():
    """5 and 5 epochs are 10; scikit-learn begins Adam's moments anew."""
    options = SMALL | {"shuffle": False}
    whole = MLPClassifier(**options | {"max_iter": 10}).fit(X, Y)
    parts = MLPClassifier(**options, warm_start=True).fit(X, Y).fit(X, Y)
    same_nets(whole, parts)
    assert len(parts.loss_curve_) == 10
    assert parts.n_iter_ == 5


def test_weights_set_by_hand_are_asked():
    model = MLPRegressor(**SMALL).fit(X, T)
    model.coefs_[-1] = np.zeros_like(model.coefs_[-1])
    model.intercepts_[-1][:] = 3
    assert (model.predict(X) == 3).all()
    model.coefs_[0] = np.zeros((6, 9))
    with pytest.raises(ValueError, match="coefs_ has the shapes"):
        model.predict(X)


# --- beyond scikit-learn ---------------------------------------------------------------------------------------------

CHANGES = {
    "dropout": {"dropout": 0.3}, "batch norm": {"norm": "batch"}, "layer norm": {"norm": "layer"},
    "weight decay": {"weight_decay": 0.1}, "schedule": {"schedule": fm.optim.CosineAnnealingLR()},
    "clip": {"clip_norm": 0.01}, "average": {"average": "ema"},
    "gelu": {"activation": "gelu"}, "prelu": {"activation": "prelu"},
    "smoothing": {"label_smoothing": 0.2}, "class weight": {"class_weight": {0: 5.0}},
    "swa": {"average": fm.optim.SWA(start=0)},
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("binary", [False, True])
def test_each_option_changes_the_net_and_survives_a_pickle(name, binary):
    y = Y == 1 if binary else Y
    plain, model = (MLPClassifier(**SMALL | options).fit(X, y) for options in ({}, CHANGES[name]))
    assert not np.array_equal(plain.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(model.predict_proba(X), pickle.loads(pickle.dumps(model)).predict_proba(X))
    same_nets(model, MLPClassifier(**SMALL | CHANGES[name] | {"n_threads": 2}).fit(X, y))


def test_balanced_classes_count_as_scikit_learn_weighs_them():
    from sklearn.utils import compute_sample_weight

    y = np.where(Y == 2, 0, Y)
    one = MLPClassifier(**SMALL, class_weight="balanced").fit(X, y)
    same_nets(one, MLPClassifier(**SMALL).fit(X, y, compute_sample_weight("balanced", y)))
    w = 1.0 + np.arange(60) % 2
    both = MLPClassifier(**SMALL, class_weight={0: 2.0}).fit(X, y, w)
    same_nets(both, MLPClassifier(**SMALL).fit(X, y, w * np.where(y == 0, 2, 1)))
    with pytest.raises(ValueError, match="class_weight is for classes"):
        MLPClassifier(**SMALL, class_weight="balanced").fit(X, np.stack([Y == 0, Y == 1], 1).astype(int))


@pytest.mark.parametrize("loss", ["huber", "absolute_error", "quantile", "poisson"])
def test_each_loss_of_a_regressor_finds_its_number(loss):
    """Of a net that cannot see the rows: Huber's and the median stay near the bulk, the quantile above it."""
    rows, t = np.zeros((400, 1)), np.r_[np.ones(320), np.full(80, 4.0)]
    options = {"quantile": 0.9} if loss == "quantile" else {"delta": 0.1} if loss == "huber" else {}
    model = MLPRegressor(
        loss, (), learning_rate_init=0.05, max_iter=400, n_iter_no_change=400, random_state=0, **options
    )
    said = model.fit(rows, t).predict(rows)[0]
    want = {"huber": 1.025, "absolute_error": 1, "quantile": 4, "poisson": 1.6}[loss]
    assert said == pytest.approx(want, abs=0.1)  # the steps of Adam are up to 0.05
    assert model.out_activation_ == ("exp" if loss == "poisson" else "identity")


def test_given_rows_are_scored_in_place_of_a_part():
    options = {"learning_rate_init": 0.5, "early_stopping": True, "n_iter_no_change": 3, "tol": 0.01}
    model = MLPClassifier(**SMALL | {"max_iter": 30} | options)
    model.fit(X[:40], Y[:40], X_val=X[40:], y_val=Y[40:], sample_weight_val=np.ones(20))
    assert model.t_ == 40 * len(model.validation_scores_)
    assert model.score(X[40:], Y[40:]) == model.best_validation_score_ == max(model.validation_scores_)
    assert model.validation_scores_[-1] < model.best_validation_score_  # so that the best weights are others
    watched = MLPClassifier(**SMALL, monitor="loss").fit(X[:40], Y[:40], X_val=X[40:], y_val=Y[40:])
    p = watched.predict_proba(X[40:])[np.arange(20), Y[40:]]
    assert watched.validation_scores_[-1] == pytest.approx(np.log(p).mean(), rel=1e-6)
    with pytest.raises(ValueError, match="X_val and y_val must be given together"):
        model.fit(X, Y, X_val=X)


def test_callbacks_and_time_limit():
    seen = []

    def stop(model, history):
        seen.append(history[-1].epoch)
        return len(seen) == 3

    model = MLPClassifier(**SMALL, callbacks=[stop]).fit(X, Y)
    assert (seen, model.n_iter_) == ([1, 2, 3], 3)
    assert MLPClassifier(**SMALL, time_limit=1e-9).fit(X, Y).n_iter_ == 1


@pytest.mark.parametrize("more", [{}, {"early_stopping": True}, {"early_stopping": True, "monitor": "loss"}])
def test_an_epoch_that_is_cut_short_counts(more, monkeypatch, capsys):
    """By the limit, or by a callback's True within it: all attributes are those of its steps."""
    monkeypatch.setattr(fm.running.engine, "CHUNK_SECONDS", 0)  # a step a chunk

    class Stop:
        def __call__(self, model, history):
            return False

        def on_chunk_end(self, chunk):
            return True

    options = {**SMALL, **more, "batch_size": 20, "shuffle": False, "alpha": 0.5}
    limited = MLPClassifier(**options, time_limit=1e-9, verbose=True).fit(X, Y)
    assert capsys.readouterr().out.splitlines()[-1] == "The time limit of 1e-09 s has passed. Stopping."
    stopped = MLPClassifier(**options, callbacks=[Stop()]).fit(X, Y)
    for model in (limited, stopped):
        assert (model.n_iter_, model.t_, len(model.loss_curve_)) == (1, 20, 1)
        assert math.isfinite(model.loss_)
        if more:
            (score,) = model.validation_scores_
            assert model.best_validation_score_ == score
            assert math.isfinite(score)
    np.testing.assert_array_equal(limited.coefs_[0], stopped.coefs_[0])
    if not more:
        step = MLPClassifier(**(options | {"max_iter": 1})).partial_fit(X[:20], Y[:20], classes=np.unique(Y))
        np.testing.assert_array_equal(limited.coefs_[0], step.coefs_[0])
        assert limited.loss_ == step.loss_
        without = MLPClassifier(**options, time_limit=1e-9).fit(X, Y, np.arange(len(X)) >= 20)  # no step for 20 rows
        assert (without.t_, math.isfinite(without.loss_)) == (40, True)
        step = MLPClassifier(**(options | {"max_iter": 1})).partial_fit(X[20:40], Y[20:40], classes=np.unique(Y))
        np.testing.assert_array_equal(without.coefs_[0], step.coefs_[0])


def test_early_stopping_says_where_a_class_is_too_small():
    y = np.r_[Y[:-1], 7]
    for labels in (y, np.where(y == 7, 1, 0)):
        with pytest.warns(UserWarning, match="the rarest of . classes has 1 of 60 rows, and what is held out has 6"):
            MLPClassifier(**SMALL, early_stopping=True).fit(X, labels)


def test_a_class_is_held_out_by_its_share():
    y = np.r_[np.zeros(30), np.ones(20), np.full(10, 2)].astype(int)
    model = MLPClassifier(**SMALL, early_stopping=True)
    model.n_outputs_, model._several, model._random_state = 3, False, np.random.RandomState(0)
    _, out = model._split(y)
    assert np.bincount(y[out]).tolist() == [3, 2, 1]


def test_one_sentence_for_what_does_not_fit_together():
    with pytest.raises(ValueError, match="solver='lbfgs' makes no steps"):
        MLPClassifier(**SMALL, solver="lbfgs", dropout=0.1).fit(X, Y)
    with pytest.raises(ValueError, match="schedule is given and learning_rate is 'adaptive'"):
        MLPClassifier(**SMALL, solver="sgd", schedule=fm.optim.CosineAnnealingLR(), learning_rate="adaptive").fit(X, Y)
    with pytest.raises(ValueError, match="it must be at least 0"):
        MLPRegressor("poisson", **SMALL).fit(X, T)
    with pytest.raises(ValueError, match="non-finite"), np.errstate(all="ignore"):
        MLPRegressor(**SMALL | {"max_iter": 30}, solver="sgd", learning_rate_init=1e3).fit(X, T)


def test_log_probabilities_are_finite():
    model = MLPClassifier(**SMALL).fit(X, Y)
    model.coefs_[-1] *= 1e4
    p, log = model.predict_proba(X), model.predict_log_proba(X)
    assert (p == 0).any()
    assert np.isfinite(log).all()
    np.testing.assert_allclose(np.exp(log), p, rtol=1e-12)


def test_a_training_that_ends_at_max_iter_says_so():
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(5\) reached"):
        MLPClassifier(**SMALL).fit(X, Y)


def test_a_schedule_ends_at_max_iter_as_it_was_planned():
    """One that watches has no end of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MLPClassifier(**SMALL, schedule=fm.optim.CosineAnnealingLR()).fit(X, Y)
    with pytest.warns(ConvergenceWarning):
        MLPClassifier(**SMALL, schedule=fm.optim.ReduceLROnPlateau()).fit(X, Y)


WRONG = {  # what is given -> the sentence, where scikit-learn's shows the whole array, or a loop of NumPy's
    "hidden_layer_sizes must be whole numbers > 0, got [5.7]": lambda: MLPClassifier((5.7,)).fit(X, Y),
    "hidden_layer_sizes must be whole numbers > 0, got ['5']": lambda: MLPClassifier(("5",)).fit(X, Y),
    "hidden_layer_sizes must be whole numbers > 0, got [[5, 4]]": lambda: MLPClassifier([[5, 4]]).fit(X, Y),
    "validation_fraction is 0": lambda: MLPClassifier(early_stopping=True, validation_fraction=0.0).fit(X, Y),
    "y holds 0.5, no class; MLPClassifier is for classes": lambda: MLPClassifier().fit(X, np.r_[Y[:-1], 0.5]),
    "y is (60, 2) and holds 2; each row must have one class": lambda: MLPClassifier().fit(X, np.stack([Y, Y], 1)),
    "y holds values of the types int, str": lambda: MLPClassifier().fit(X, np.array([1, "a"] * 30, object)),
    "y holds values of the types NoneType, str": lambda: MLPClassifier().fit(X, np.array([None, "a"] * 30, object)),
    "y holds 'a'; it must hold numbers": lambda: MLPRegressor().fit(X, ["a"] * 60),
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_input_is_one_short_sentence(words):
    with pytest.raises((ValueError, TypeError), match=re.escape(words)) as caught:
        WRONG[words]()
    assert "\n" not in str(caught.value)


def test_labels_come_sparse():
    labels = np.stack([Y == 0, Y != 1], axis=1).astype(int)
    dense = MLPClassifier(**SMALL).fit(X, labels)
    for given in (sparse.csr_matrix(labels), sparse.csc_array(labels)):
        same_nets(MLPClassifier(**SMALL).fit(X, given), dense)
