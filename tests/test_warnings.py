"""Warnings name the line that called into the library, whatever lies between."""

import inspect
import warnings
from copy import copy
from functools import cache

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import check

pandas = pytest.importorskip("pandas", reason="the doors are for who has frames")

ROWS = pandas.DataFrame({"size": [1.0, 2, 3, 4], "colour": list("abab"), "kind": list("xyxy")})
OTHER = ROWS.assign(colour="mauve")


@cache
def model() -> fm.nn.Module:
    """A model that knows the columns."""
    train, _ = fm.data.table(ROWS, "kind")
    made = fm.nn.MLP(train.n_features, (4,), 2)
    fm.fit(made, train, epochs=1, progress=False)
    return made


def said_by(function) -> list[tuple[str, str, int]]:
    """(words, file, line) of each warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    return [(str(one.message), one.filename, one.lineno) for one in caught]


def points_here(function, words: str) -> None:
    """One warning, with these words, at the line of the function, which is written on one."""
    said = said_by(function)
    assert [words in text for text, _, _ in said] == [True], said
    assert said[0][1:] == (__file__, inspect.getsourcelines(function)[1]), said


DOORS = {
    "predict": lambda: fm.predict(model(), OTHER),
    "Predictor": lambda: fm.Predictor(model())(OTHER),
    "the copy of a Predictor": lambda: copy(fm.Predictor(model()))(OTHER),
    "Encoding.apply": lambda: model().encoding_.apply(OTHER),
    "Encoding.dataset": lambda: model().encoding_.dataset(OTHER),
    "table, test": lambda: fm.data.table(ROWS, "kind", test=OTHER),
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_that_encodes_a_frame_points_at_who_called_it(door):
    model()  # trained before the warning is looked for
    points_here(DOORS[door], "column colour has 'mauve' in 4 rows")


OTHERS = {
    "brightness": lambda: fm.data.Dataset(np.ones((3, 2), np.uint8), [0, 1, 1]),
    "distinct values": lambda: fm.data.Dataset(np.ones((9000, 2), np.float32), np.arange(9000) + 1),
    "no longer fits": lambda: setattr(fm.nn.Linear(2, 3).weight, "data", np.ones((4, 2), np.float32)),
}


@pytest.mark.parametrize("words", OTHERS)
def test_other_warnings_do_too(words):
    points_here(OTHERS[words], words)


def test_a_line_of_another_package_is_no_ones_line():
    """Frames of fastmlp, scikit-learn and joblib lie between; one whose name merely begins so is a person's."""
    for name, passed in (("sklearn.base", True), ("joblib.parallel", True), ("fastmlp_mine", False), ("mine", False)):
        space = {"__name__": name, "warn": check.warn}
        exec(compile("def call():\n    warn('words')", f"{name}.py", "exec"), space)
        ((_, file, _),) = said_by(space["call"])
        assert file == (__file__ if passed else f"{name}.py")


X, Y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2


def net(**options):
    """An estimator of one epoch."""
    sklearn = pytest.importorskip("fastmlp.sklearn", reason="the estimators are for who has scikit-learn")
    return sklearn.MLPClassifier(4, max_iter=1, random_state=0, **options)


def within(estimator):
    """A pipeline around it."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), estimator)


def searched(**options):
    """A search over a pipeline around it, of which one candidate is trained on all rows, and none scored."""
    from sklearn.model_selection import GridSearchCV

    return GridSearchCV(within(net(**options)), {"standardscaler__with_std": [True]}, cv=[(np.arange(30), [30, 31])])


RARE, SCHEDULE = np.repeat([0, 1, 2], [20, 19, 1]), fm.optim.CosineAnnealingLR()
FITS = {
    "Maximum iterations": lambda: net().fit(X, Y),
    "Maximum iterations (1)": lambda: within(net()).fit(X, Y),
    "lbfgs failed to converge": lambda: net(solver="lbfgs").fit(X, Y),
    "It is going to be clipped": lambda: net(batch_size=99).partial_fit(X, Y, classes=[0, 1]),
    "without regard to the classes": lambda: net(early_stopping=True, schedule=SCHEDULE).fit(X, RARE),
    "Training interrupted by user": lambda: net(callbacks=[interrupt]).fit(X, Y),
}


def interrupt(model, history):
    raise KeyboardInterrupt


@pytest.mark.parametrize("words", FITS)
def test_an_estimator_points_at_the_line_that_fits(words):
    points_here(FITS[words], words)


def test_a_search_points_at_its_own_line():
    search = searched()
    said = said_by(lambda: search.fit(X, Y))
    assert {(file, line) for _, file, line in said} == {(__file__, said[0][2])}
    assert len(said) == 2  # one fit on the part, one on all rows
