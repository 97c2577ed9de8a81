"""docs/estimator.md: each row is run, on scikit-learn's side and on ours, and says what the table says."""

import contextlib
import io
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the estimators are for who has scikit-learn")
ours = pytest.importorskip("fastmlp.sklearn", reason="the estimators are for who has scikit-learn")

import sklearn  # noqa: E402
from scipy import special  # noqa: E402
from sklearn import calibration, datasets, frozen, linear_model, metrics, neural_network  # noqa: E402
from sklearn.base import BaseEstimator, ClassifierMixin  # noqa: E402

import fastmlp as fm  # noqa: E402
from fastmlp.training.calibration import best_temperature  # noqa: E402

PAGE = Path(__file__).resolve().parent.parent / "docs" / "estimator.md"
SPOKEN_OF = sklearn.__version__ == "1.9.1"  # other releases may do something else, and ours the same
TWO = [2**53, 2**53 + 1] * 2
X = np.random.default_rng(0).normal(size=(200, 3))
Y = (X[:, 0] > 0).astype(int)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def theirs(*arguments, **options):
    return neural_network.MLPClassifier(*arguments, random_state=0, **options)


def mine(*arguments, **options):
    return ours.MLPClassifier(*arguments, random_state=0, **options)


def classes(net, y) -> tuple[list, str]:
    """The classes of a net that was trained on so many rows, and their type."""
    found = net.fit(X[: len(y)], y).classes_
    return found.tolist(), found.dtype.name


ROWS = {}  # the first cell of a row -> what runs it


def row(what):
    def note(function):
        ROWS[what] = function
        return function

    return note


def of_ids(dtype):
    pd = pytest.importorskip("pandas", reason="the row is of pandas")
    y = pd.Series(TWO, dtype=dtype)
    assert classes(mine(3, max_iter=1), y) == (TWO[:2], "int64")
    if SPOKEN_OF:
        assert classes(theirs(3, max_iter=1), y) == ([float(2**53)], "float64")


@row("ids 2⁵³ and 2⁵³ + 1, `Int64` of pandas")
def nullable_ids():
    of_ids("Int64")


@row("the same, `int64[pyarrow]`")
def arrow_ids():
    pytest.importorskip("pyarrow", reason="the row is of pyarrow")
    of_ids("int64[pyarrow]")


@row("`boolean` of pandas, `bool[pyarrow]`")
def nullable_booleans():
    pd = pytest.importorskip("pandas", reason="the row is of pandas")
    y = pd.Series([True, False] * 2, dtype="boolean")
    kinds = [y]
    with contextlib.suppress(ImportError, NameError):  # without pyarrow the row is tested by half
        kinds.append(y.astype("bool[pyarrow]"))
    for y in kinds:
        assert classes(mine(3, max_iter=1), y) == ([False, True], "bool")
        if SPOKEN_OF:
            assert classes(theirs(3, max_iter=1), y) == ([0.0, 1.0], "float64")


@row("a class that is missing, `pd.NA`")
def missing():
    pd = pytest.importorskip("pandas", reason="the row is of pandas")
    y = pd.Series([1, 2, pd.NA, 1], dtype="Int64")
    for net in (mine(3, max_iter=1), theirs(3, max_iter=1)):
        with pytest.raises(ValueError, match="Input y contains NaN"):
            net.fit(X[:4], y)


@row("polars' `String`, `Categorical`, `Enum`, `Boolean`, `Int64`")
def polars_labels():
    pl = pytest.importorskip("polars", reason="the row is of polars")
    words = ["a", "b"] * 2
    kinds = [pl.Series(words), pl.Series(words, dtype=pl.Categorical), pl.Series(words, dtype=pl.Enum(["a", "b"]))]
    for y, expected in [
        *((y, (["a", "b"], "str32")) for y in kinds),
        (pl.Series([True, False] * 2), ([False, True], "bool")), (pl.Series(TWO), (TWO[:2], "int64")),
    ]:  # fmt: skip
        for net in (mine(3, max_iter=1), theirs(3, max_iter=1)):
            assert classes(net, y) == expected


@row("a batch whose sample weights are all 0")
def empty_batch():
    w = np.r_[np.ones(20), np.zeros(20)]
    for options in ({"solver": "sgd"}, {"solver": "adam", "norm": "batch", "average": "ema"}):
        same = {"batch_size": 5, "shuffle": False, "max_iter": 3, **options}
        weighted, first = mine(4, **same).fit(X[:40], Y[:40], w), mine(4, **same).fit(X[:20], Y[:20], w[:20])
        for name, array in first._net.state_dict().items():
            np.testing.assert_array_equal(weighted._net.state_dict()[name], array)
        for one, other in zip(*(net._optimizer.rule.state.values() for net in (weighted, first)), strict=True):
            np.testing.assert_equal(one, other)
        assert np.isfinite(weighted.loss_)
    if SPOKEN_OF:
        for solver in ("adam", "sgd"):
            with pytest.raises(ZeroDivisionError):
                theirs(4, solver=solver, batch_size=5, shuffle=False, max_iter=1).fit(X[:40], Y[:40], w)


@row("all sample weights 0")
def no_weights():
    for net in (mine(4), *[theirs(4)] * SPOKEN_OF):
        with pytest.raises(ValueError, match="at least one non-zero"):
            net.fit(X, Y, np.zeros(200))


def said(net, y) -> list[str]:
    """What a training warns of, but for epochs that were too few."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        net.fit(X, y)
    return [str(w.message) for w in caught if "converge" not in str(w.message)]


STOPS = {"early_stopping": True, "max_iter": 1}


@row("`early_stopping`, two classes, one of them of one row")
def one_row_of_two():
    y = np.repeat([0, 1], [199, 1])
    assert "without regard to the classes" in "".join(said(mine(2, **STOPS), y))
    if SPOKEN_OF:
        with pytest.raises(ValueError, match="too few"):
            theirs(2, **STOPS).fit(X, y)


@row("`early_stopping`, three classes and more")
def shares(monkeypatch):
    held = []

    def watch(module, place):
        split = module.train_test_split

        def watched(*arrays, **options):
            parts = split(*arrays, **options)
            held.append(np.asarray(parts[place]))
            return parts

        monkeypatch.setattr(module, "train_test_split", watched)

    y = np.repeat([0, 1, 2], [170, 20, 10])
    watch(ours.base, 1)  # row numbers
    for seed in range(6):
        assert said(ours.MLPClassifier(2, random_state=seed, **STOPS), y) == []
    assert [np.bincount(y[rows]).tolist() for rows in held] == [[17, 2, 1]] * 6
    if SPOKEN_OF:
        held.clear()
        watch(neural_network._multilayer_perceptron, 3)  # a column a class
        for seed in range(6):
            assert said(neural_network.MLPClassifier(2, random_state=seed, **STOPS), y) == []
        assert sum(part.sum(axis=0).tolist() != [17, 2, 1] for part in held) > 2


@row("`early_stopping`, three classes, one of them of one row")
def one_row_of_three():
    y = np.repeat([0, 1, 2], [100, 99, 1])
    assert "without regard to the classes" in "".join(said(mine(2, **STOPS), y))
    if SPOKEN_OF:
        assert said(theirs(2, **STOPS), y) == []


HELD = {"hidden_layer_sizes": 3, "max_iter": 2, "random_state": 0, "early_stopping": True}
NUMBERS = np.abs(X[:, :2].cumsum(axis=1)) + 0.1
WEIGHTS = np.random.default_rng(1).uniform(0.5, 2, 50)


def held_score(loss, y, w, **options) -> tuple[float, np.ndarray]:
    """The best score of held-out rows, and what is predicted for them by its weights."""
    net = ours.MLPRegressor(loss, **HELD, **options)
    net.fit(X[50:], y[50:], X_val=X[:50], y_val=y[:50], sample_weight_val=w)
    return net.best_validation_score_, net.predict(X[:50])


@row('`early_stopping` with `loss="poisson"`')
def counts():
    y = NUMBERS.round()
    for w in (None, WEIGHTS):
        score, said = held_score("poisson", y, w)
        each = [metrics.d2_tweedie_score(y[:50, c], said[:, c], sample_weight=w, power=1) for c in range(2)]
        assert score == pytest.approx(np.mean(each), rel=1e-12)
    assert held_score("poisson", np.where(np.arange(200) < 50, 0.0, y[:, 0]), None)[0] == 0  # as R² of no spread
    if SPOKEN_OF:
        net = neural_network.MLPRegressor("poisson", **HELD).fit(X, y[:, 0])
        assert net._score(X, y[:, 0]) == metrics.r2_score(y[:, 0], net.predict(X))


@row('the same, `loss="quantile"`, `"absolute_error"`, `"huber"`')
def own_losses():
    for w in (None, WEIGHTS):
        score, said = held_score("quantile", NUMBERS, w, quantile=0.9)
        same = metrics.d2_pinball_score(NUMBERS[:50], said, sample_weight=w, alpha=0.9)
        assert score == pytest.approx(same, rel=1e-12)
        score, said = held_score("absolute_error", NUMBERS, w)
        assert score == pytest.approx(metrics.d2_absolute_error_score(NUMBERS[:50], said, sample_weight=w), rel=1e-12)
        score, said = held_score("huber", NUMBERS, w, delta=0.3)
        lines = np.linspace(0, 6, 60_001)  # one of them is within 5e-5 of the best number, where the slope is 0
        t, weights = NUMBERS[:50], np.ones(50) if w is None else w
        least = [min(weights @ special.huber(0.3, column[:, None] - lines)) for column in t.T]
        assert score == pytest.approx(np.mean(1 - weights @ special.huber(0.3, t - said) / least), abs=1e-7)
    net = ours.MLPRegressor("quantile", **HELD).fit(X, NUMBERS)
    assert net.score(X, NUMBERS) == metrics.r2_score(NUMBERS, net.predict(X))


EPOCHS = {"shuffle": False, "tol": 0.0, "n_iter_no_change": 100}


def farthest(a, b) -> float:
    return max(float(np.abs(p - q).max()) for p, q in zip(a.coefs_, b.coefs_, strict=True))


@row("`warm_start=True`, `fit` with `max_iter=5`, twice")
def warm():
    for make, least, most in ((mine, 0, 0), *[(theirs, 1e-5, 1)] * SPOKEN_OF):
        twice = make(4, max_iter=5, warm_start=True, **EPOCHS).fit(X, Y).fit(X, Y)
        assert least <= farthest(twice, make(4, max_iter=10, **EPOCHS).fit(X, Y)) <= most


@row("`partial_fit`, ten times")
def parts():
    for make in (mine, theirs):
        net = make(4, **EPOCHS)
        for _ in range(10):
            net.partial_fit(X, Y, classes=[0, 1])
        assert farthest(net, make(4, max_iter=10, **EPOCHS).fit(X, Y)) == 0


@row("`dump_svmlight_file`, then `load_svmlight_file`, all defaults, a first column of zeros")
def shifted(tmp_path):
    x, file = np.array([[0.0, 1, 2], [0, 3, 0]]), io.BytesIO()
    datasets.dump_svmlight_file(x, [0, 1], file)
    (tmp_path / "x.svm").write_bytes(file.getvalue())
    if SPOKEN_OF:
        back, _ = datasets.load_svmlight_file(str(tmp_path / "x.svm"))
        assert back.toarray().tolist() == [[1, 2], [3, 0]]
    for given in ({}, {"n_features": 3}, {"zero_based": True}):
        with pytest.raises(TypeError, match=r"n_features|zero_based"):
            fm.data.load_svmlight_file(tmp_path / "x.svm", **given)
    data = fm.data.load_svmlight_file(tmp_path / "x.svm", n_features=3, zero_based=True)
    assert data.rows[np.arange(2)].toarray().tolist() == x.tolist()


@row("a frame's array, read-only and column by column")
def frames():
    pd = pytest.importorskip("pandas", reason="the row is of pandas")
    array = pd.DataFrame({"a": X[:, 0], "b": X[:, 1]}).to_numpy()
    if pd.__version__.startswith("3."):
        assert (array.flags.writeable, array.flags.c_contiguous) == (False, False)
    for make in (mine, theirs):
        one, other = make(4, max_iter=2).fit(array, Y), make(4, max_iter=2).fit(np.array(array, order="C"), Y)
        assert farthest(one, other) == 0 or make is theirs


def scaled(model, x, y):
    """scikit-learn's 1 / T and the net that has it, found without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frozen_one = frozen.FrozenEstimator(model)
        net = calibration.CalibratedClassifierCV(frozen_one, method="temperature").fit(x, y)
    return float(net.calibrated_classifiers_[0].calibrators[0].beta_), net


LINE = np.arange(20.0).reshape(-1, 1) - 9.5
RIGHT = (LINE[:, 0] > 0).astype(int)


@row("temperature of rows that are all right, ±0.5 … ±9.5 by a model that says 53 % of ±0.5")
def all_right():
    model = linear_model.LogisticRegression(C=1e-2).fit(LINE, RIGHT)
    assert round(model.predict_proba([[0.5]])[0, 1], 2) == 0.53
    with pytest.warns(UserWarning, match="right on all of these rows"):
        assert best_temperature(model.decision_function(LINE)[:, None] * [-0.5, 0.5], RIGHT) == 1
    if SPOKEN_OF:
        found, net = scaled(model, LINE, RIGHT)
        assert round(found) == 166
        assert 0 < net.predict_proba([[0.5]])[0, 0] < 1e-14


@row("temperature of rows that are all wrong")
def all_wrong():
    model = linear_model.LogisticRegression(C=1e-2).fit(LINE, RIGHT)
    with pytest.warns(UserWarning, match="no better than chance"):
        assert best_temperature(model.decision_function(LINE)[:, None] * [-0.5, 0.5], 1 - RIGHT) == 1
    if SPOKEN_OF:
        found, net = scaled(model, LINE, 1 - RIGHT)
        assert round(1 / found) == 22026
        np.testing.assert_allclose(net.predict_proba(LINE), 0.5, atol=1e-3)


class Scores(ClassifierMixin, BaseEstimator):
    """A classifier whose scores are its features."""

    def fit(self, x, y):
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, x):
        return np.asarray(x)

    def predict(self, x):
        return self.classes_[np.asarray(x).argmax(axis=1)]


@row("scores of a `decision_function` that are all in 0 … 1 and sum to 1")
def simplex():
    rng = np.random.default_rng(0)
    z = rng.dirichlet(np.ones(3), 200)
    y = np.array([rng.choice(3, p=np.exp(5 * row) / np.exp(5 * row).sum()) for row in z])
    assert best_temperature(z, y) == pytest.approx(best_temperature(z + 0.001, y), rel=1e-12)
    if SPOKEN_OF:
        model = Scores().fit(z, y)
        assert scaled(model, z + 0.001, y)[0] == pytest.approx(1 / best_temperature(z, y), rel=1e-6)
        assert scaled(model, z, y)[0] == pytest.approx(1 / best_temperature(np.log(z), y), rel=1e-6)


def cells() -> list[str]:
    """The first cell of each row of the page."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return [line.split(" | ")[0].removeprefix("| ") for line in lines if not line.startswith("| what |")]


def test_every_row_has_a_test():
    assert cells() == list(ROWS)
    assert all(line.count(" | ") == 3 for line in re.findall(r"^\| .*$", PAGE.read_text("utf-8"), re.MULTILINE))


@pytest.mark.parametrize("what", ROWS)
def test_a_row_says_what_is(what, monkeypatch, tmp_path):
    function = ROWS[what]
    given = {"monkeypatch": monkeypatch, "tmp_path": tmp_path}
    function(**{name: given[name] for name in function.__code__.co_varnames[: function.__code__.co_argcount]})


def test_the_code_of_the_page_runs(tmp_path, monkeypatch, capsys):
    """One block after the other, as a person would type them."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        exec(block, names)
    score, shown = capsys.readouterr().out.split("\n", 1)
    assert float(score) == pytest.approx(names["found"].accuracy)
    assert float(score) > 0.85
    assert "confusion matrix" in shown
    said = fm.predict(fm.load_model("digits.safetensors"), names["x"][1500:] / 16)
    assert said.tolist() == names["model"].predict(names["x"][1500:] / 16).tolist()
