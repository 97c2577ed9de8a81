"""What holds addresses, copied: a Predictor's copy answers for itself, in any process; everything else refuses."""

import copy
import multiprocessing
import os
import pickle
import signal
import threading
import warnings
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba.core.codegen import JITCodeLibrary
from strategies import FEW, dtypes, nets

import fastmlp as fm
from fastmlp.running.door import asker
from fastmlp.running.engine import Engine
from fastmlp.running.plan import Plan, Weights

WAYS = {"copy": copy.copy, "deepcopy": copy.deepcopy} | {
    f"pickle {protocol}": lambda thing, protocol=protocol: pickle.loads(pickle.dumps(thing, protocol))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
}
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


def a_model():
    """Layers of every form."""
    model = fm.nn.MLP(6, (80, 40), 3, "leaky_relu", dropout=0.2, norm="batch")
    for module in model.modules():
        if isinstance(module, fm.nn.BatchNorm1d):
            module.running_mean[:], module.running_var[:] = 0.3, 2.0
    return model


def rows(count=20, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 6)).astype(np.float32)


def change(model):
    """Other numbers, of parameters and of running statistics."""
    for array in model.state_dict().values():
        array += 1


def answers(predictor, x):
    """Of many rows, and of each on its own."""
    return np.concatenate([predictor(x), [predictor(row) for row in x]])


@FEW
@given(nets(), dtypes, st.sampled_from(sorted(WAYS)))
def test_a_copy_answers_what_the_original_answers(net, dtype, way):
    model, x, _, _ = net.make()
    model = model.double() if dtype == np.float64 else model
    predictor = fm.Predictor(model, 2)
    predictor(x[0])  # what the original has made by now is not what the copy works with
    twin = WAYS[way](predictor)
    expected = answers(predictor, x)
    predictor(x[0] + 1)
    assert np.array_equal(answers(twin, x), expected)
    assert twin.threads == 2
    assert twin.features == predictor.features


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_keeps_the_numbers_of_the_snapshot(way):
    """Not those that the model has had since."""
    model, x = a_model(), rows()
    predictor = fm.Predictor(model)
    old = answers(predictor, x)
    change(model)
    model[2].negative_slope = 0.5
    twin = WAYS[way](predictor)
    del predictor
    assert np.array_equal(answers(twin, x), old)


@pytest.mark.parametrize("way", WAYS)
def test_refresh_of_a_copy_reads_the_model_of_the_copy(way):
    model, x = a_model(), rows()
    predictor = fm.Predictor(model)
    change(model)
    expected = answers(fm.Predictor(model), x)
    twin = WAYS[way](predictor)
    change(model)
    twin.refresh()
    if way == "copy":  # a shallow one: the model is the same
        assert twin.model is model
        expected = answers(fm.Predictor(model), x)
    assert np.array_equal(answers(twin, x), expected)
    assert not np.array_equal(answers(predictor, x), expected)


def test_a_model_and_its_predictor_stay_together():
    """Copied as one, the copied Predictor reads the copied model."""
    model, x = a_model(), rows()
    twin, predictor = copy.deepcopy((model, fm.Predictor(model)))
    change(twin)
    predictor.refresh()
    assert predictor.model is twin
    assert np.array_equal(predictor(x), fm.Predictor(twin)(x))


class Named(fm.Predictor):
    """A subclass with an attribute of its own."""

    def __init__(self, model, name):
        super().__init__(model)
        self.name = name


def test_a_subclass_keeps_what_it_has():
    predictor = Named(a_model(), "digits")
    twin = pickle.loads(pickle.dumps(predictor))
    assert type(twin) is Named
    assert twin.name == "digits"
    assert np.array_equal(twin(rows()), predictor(rows()))


@pytest.mark.parametrize(
    "alter",
    [
        lambda model: setattr(model, "2", fm.nn.Tanh()),
        lambda model: setattr(model, "8", fm.nn.Linear(40, 4)),
        lambda model: model.double(),
        lambda model: setattr(model, "9", fm.nn.ReLU()),
        lambda model: setattr(model[2], "forward", fm.nn.Tanh().forward),
    ],
    ids=["another activation", "another width", "another dtype", "one more layer", "no layer of the engine's"],
)
def test_a_snapshot_of_other_layers_is_not_copied(alter):
    """The copy is planned from the model: with other layers the numbers would be read as something else."""
    model, x = a_model(), rows()
    predictor = fm.Predictor(model)
    before = predictor(x)
    alter(model)
    for way in WAYS.values():
        with pytest.raises(
            ValueError, match="other layers than when its numbers were taken; call refresh\\(\\) before"
        ):
            way(predictor)
    assert np.array_equal(predictor(x), before)


def test_read_only_weights_predict():
    """As those of a model that a worker of joblib has in a memory map; a frozen one too. `fit` refuses them, or goes
    another way."""
    model, x = a_model(), rows()
    expected = answers(fm.Predictor(model), x)
    for parameter in model.parameters():
        parameter.data.flags.writeable = False
    model[0].weight.requires_grad = False
    predictor = fm.Predictor(model)
    assert np.array_equal(answers(predictor, x), expected)
    assert np.array_equal(answers(copy.copy(predictor), x), expected)


# --- what refuses ----------------------------------------------------------------------------------------------------


def an_engine():
    model = a_model()
    return Engine(model, fm.optim.Adam(model.parameters()), 6, 4, 1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "make",
    [
        lambda: Plan(a_model(), 6, 4),
        lambda: Weights(Plan(a_model(), 6, 4)),
        an_engine,
        lambda: fm.Predictor(a_model())._snapshot,
    ],
    ids=["Plan", "Weights", "Engine", "_Snapshot"],
)
def test_the_rest_refuses(make, way):
    thing = make()
    words = f"{type(thing).__name__} holds addresses in the memory of this process and cannot be copied or pickled"
    with pytest.raises(TypeError, match=words):
        WAYS[way](thing)


class Doubles(fm.nn.Module):
    def forward(self, x):
        return x * 2


@pytest.mark.parametrize("way", WAYS)
def test_who_asks_on_the_graph_is_copied_too(way):
    model = fm.nn.Sequential(fm.nn.Linear(6, 3), Doubles())
    ask = asker(model)
    assert np.array_equal(WAYS[way](ask)(rows()), ask(rows()))


# --- in another process ----------------------------------------------------------------------------------------------


def test_a_process_of_its_own_answers_the_same():
    model, x = a_model(), rows(8)
    predictor = fm.Predictor(model)
    expected = answers(predictor, x)
    change(model)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert np.array_equal(pool.submit(answers, predictor, x).result(), expected)
        again = pool.submit(copy.copy, predictor).result()  # there and back
    assert np.array_equal(answers(again, x), expected)
    again.refresh()
    assert np.array_equal(answers(again, x), answers(fm.Predictor(model), x))


def in_a_fork(check) -> bool:
    """Whether `check()` is true in a forked process; one that hangs ends after a minute."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of a fork beside other threads
        child = os.fork()
    if child == 0:
        end_in_time_with(check)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def end_in_time_with(check) -> None:
    signal.alarm(60)
    right = False
    try:
        right = bool(check())
    finally:
        os._exit(0 if right else 1)


@forks
def test_a_fork_goes_on_with_the_predictor_while_threads_of_the_parent_ask_and_refresh():
    model, x, stop = a_model(), rows(), threading.Event()
    predictor = fm.Predictor(model, 2)
    many = rows(1200, seed=1)
    expected, of_many = answers(predictor, x), predictor(many)

    def ask():
        while not stop.is_set():
            predictor(x[0])
            predictor(many)
            predictor.refresh()

    def check():
        predictor.refresh()
        return np.array_equal(answers(predictor, x), expected) and np.array_equal(predictor(many), of_many)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        assert all(in_a_fork(check) for _ in range(5))
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_what_has_its_addresses_asks_the_compiler_for_none(monkeypatch):
    """A fork may come while another thread holds the compiler's locks; in the child they stay shut."""
    model, x = a_model(), rows()
    predictor = fm.Predictor(model)
    expected = answers(predictor, x)

    def locked(*_):
        raise AssertionError("the compiler is asked for an address")

    monkeypatch.setattr(JITCodeLibrary, "get_pointer_to_function", locked)
    predictor.refresh()
    assert np.array_equal(answers(predictor, x), expected)
    assert np.array_equal(answers(copy.copy(predictor), x), expected)


@forks
def test_a_training_goes_on_in_a_fork():
    """A callback forks: parent and child come to the same weights. The child has none of the engine's threads."""
    data = fm.Dataset(rows(200), np.arange(200) % 3)

    def train(callback):
        fm.manual_seed(0)
        model = a_model()
        fm.fit(model, data, epochs=3, n_threads=2, progress=False, callbacks=[callback])
        return np.concatenate([array.ravel() for array in model.state_dict().values()])

    expected, parent, children = train(lambda *_: None), os.getpid(), []

    def fork(model, history):
        if len(history) == 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # as above
                children.append(os.fork())
            if children == [0]:
                signal.alarm(60)

    right = False
    try:
        right = np.array_equal(train(fork), expected)
    finally:
        if os.getpid() != parent:
            os._exit(0 if right else 1)
    assert right
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
