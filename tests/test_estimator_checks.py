"""scikit-learn's own tests of estimators, and of its MLP, on ours."""

import importlib.util
import inspect
import itertools
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import pytest
import sklearn
from sklearn.neural_network import tests as their_tests
from sklearn.utils.estimator_checks import check_estimator, check_n_features_in

from fastmlp.sklearn import MLPClassifier, MLPRegressor

NEWEST = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 9)
CHECKS = {MLPClassifier: 66, MLPRegressor: 59}  # that scikit-learn 1.9.1 makes, and that pass


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Hundreds of small trainings: to start threads takes longer than they do."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


SKIPPED = {  # by scikit-learn
    "check_array_api_input": "SCIPY_ARRAY_API is not set; there are no arrays of others",
    "check_classifiers_multilabel_output_format_decision_function": "there is no decision_function, as in scikit-learn",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", CHECKS)
def test_check_estimator(kind, capsys):
    """All of them pass, those of weights and of sparse rows too: none is expected to fail."""
    found = check_estimator(kind(max_iter=40), on_fail=None, on_skip=None)
    counts = Counter(result["status"] for result in found)
    with capsys.disabled():
        print(f"\n{kind.__name__}: check_estimator of scikit-learn {sklearn.__version__}: {dict(counts)}")
    bad = {result["check_name"]: result["exception"] for result in found if result["status"] == "failed"}
    assert bad == {}
    assert {result["check_name"] for result in found if result["status"] == "skipped"} <= SKIPPED.keys()
    assert counts["passed"] == CHECKS[kind] if NEWEST else counts["passed"] > 40


class Forgetful(MLPRegressor):
    """It says nothing of features."""

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        del self.n_features_in_
        return self


@pytest.mark.filterwarnings("ignore")
def test_a_planted_fault_is_found():
    for kind in (MLPRegressor, Forgetful):
        with nullcontext() if kind is MLPRegressor else pytest.raises(AssertionError):
            check_n_features_in("it", kind(max_iter=2))


# --- sklearn/neural_network/tests/test_mlp.py ------------------------------------------------------------------------

PATH = Path(str(their_tests.__file__)).parent / "test_mlp.py"
FAILING = {
    "test_fit": "it sets and calls private names: _fit_stochastic, _coef_grads, _label_binarizer",
    "test_gradient": "it calls the private _loss_grad_lbfgs; tests of ours compare all gradients with differences",
    "test_early_stopping_stratified": "a class of one row is an error there, in the binary case alone; ours warns, and "
    "holds rows out without regard to the classes",
}


def their_module():
    """test_mlp.py as it is installed, with our classes in place of theirs."""
    spec = importlib.util.spec_from_file_location("their_test_mlp", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.MLPClassifier, module.MLPRegressor = MLPClassifier, MLPRegressor
    return module


def own(value):
    """Our class for one of theirs."""
    theirs = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}
    return theirs[value.__name__] if inspect.isclass(value) and value.__name__ in theirs else value


def cases():
    """(name of the function, arguments) of all its tests."""
    module = their_module()
    for name, function in vars(module).items():
        if not name.startswith("test_"):
            continue
        marks = [mark for mark in getattr(function, "pytestmark", []) if mark.name == "parametrize"]
        tables = []
        for mark in marks:
            names = mark.args[0].replace(" ", "").split(",") if isinstance(mark.args[0], str) else list(mark.args[0])
            rows = [row if len(names) > 1 else (row,) for row in mark.args[1]]
            tables.append([dict(zip(names, map(own, row), strict=True)) for row in rows])
        for place, parts in enumerate(itertools.product(*tables)):
            arguments = {key: value for part in parts for key, value in part.items()}
            yield pytest.param(module, function, arguments, id=f"{name}-{place}")


CASES = list(cases())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize(("module", "function", "arguments"), CASES)
def test_mlp_of_scikit_learn(module, function, arguments, request, tmp_path):
    fixtures = {"global_random_seed": 42, "tmp_path": tmp_path}
    names = inspect.signature(function).parameters
    for name in names:
        if name not in arguments:
            arguments[name] = fixtures[name] if name in fixtures else request.getfixturevalue(name)
    if function.__name__ in FAILING:
        with pytest.raises((AttributeError, AssertionError, pytest.fail.Exception)):
            function(**arguments)
        return
    function(**arguments)


def test_most_of_its_tests_pass():
    functions = {case.values[1].__name__ for case in CASES}
    assert len(functions) == 43 if NEWEST else len(functions) > 30
    assert FAILING.keys() <= functions or not NEWEST
    assert len(functions - FAILING.keys()) >= 36 or not NEWEST
