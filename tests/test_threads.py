"""How many threads there may be: what the environment says, and what others at work in this process leave."""

import os
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

import fastmlp as fm
from fastmlp.running import door, pace, sharing
from fastmlp.running.engine import Engine
from fastmlp.running.team import Team

OMP, NUMBA, OURS = "OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "FASTMLP_NUM_THREADS"


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    """As many on every machine, no variable set, nothing known of any step, nobody at work."""
    for name in (OMP, NUMBA, OURS):
        monkeypatch.delenv(name, raising=False)
    for room in (door, sharing):
        monkeypatch.setattr(room, "available_cores", lambda: 8)
    monkeypatch.setattr(pace, "_known", {})
    monkeypatch.setattr(sharing, "_cores", None)
    assert not sharing._at_work


@pytest.fixture
def used(monkeypatch):
    """The numbers of threads that teams are asked to run on."""
    found, run = [], Team.run
    monkeypatch.setattr(Team, "run", lambda self, n, *rest, **more: (found.append(n), run(self, n, *rest, **more))[1])
    return found


def rows(count=400):
    generator = np.random.default_rng(0)
    return fm.data.Dataset(generator.normal(size=(count, 6)).astype(np.float32), generator.integers(0, 3, count))


def trained(data, n_threads="auto"):
    generator, model = np.random.default_rng(1), fm.nn.MLP(6, (64, 64), 3)
    for parameter in model.parameters():  # the generator that draws them is shared by threads
        parameter.data[...] = generator.normal(0, 0.2, parameter.shape)
    fm.fit(model, data, epochs=2, batch_size=8, n_threads=n_threads, progress=False)
    return np.concatenate([parameter.data.ravel() for parameter in model.parameters()])


@pytest.mark.parametrize(
    ("given", "most"),
    [
        ({}, 8),
        ({OMP: "3"}, 3),
        ({OMP: " 2,1 "}, 2),  # a number for each level of nesting
        ({NUMBA: "4"}, 4),
        ({OMP: "5", NUMBA: "2"}, 2),
        ({OURS: "6", OMP: "2", NUMBA: "1"}, 6),  # ours is for us
        ({OURS: "99"}, 8),  # no more than there are cores
        ({OURS: "", OMP: "3"}, 3),
        ({OURS: " 3 "}, 3),
        *(({OMP: nonsense}, 8) for nonsense in ("", " ", "0", "-2", "many", "2.5", ",2", "٣", "9" * 5000)),
        ({OMP: "many", NUMBA: "2"}, 2),
    ],
)
def test_auto_follows_the_environment(monkeypatch, given, most):
    for name, text in given.items():
        monkeypatch.setenv(name, text)
    assert door.ceiling("auto") == most
    assert door.ceiling(7) == 7  # who names a number is asked for no other
    assert door.ceiling(9) == 8


@pytest.mark.parametrize("text", ["two", "0", "-1", "2,1", "1.0", "1e1", "99999999999"])
def test_nonsense_in_our_variable_is_refused_in_one_sentence(monkeypatch, text):
    monkeypatch.setenv(OURS, text)
    model, data = fm.nn.MLP(6, (5,), 3), rows(20)
    for caller, call in (
        ("fit", lambda **how: fm.fit(model, data, epochs=1, progress=False, **how)),
        ("evaluate", lambda **how: fm.evaluate(model, data, **how)),
        ("Predictor", lambda n_threads="auto": fm.Predictor(model, n_threads)),
    ):
        with pytest.raises(ValueError, match=f"^{caller}: ") as error:
            call()
        assert str(error.value) == f"{caller}: {OURS} is {text!r}; it must be a whole number of at least 1"
        call(n_threads=2)


def test_a_training_has_its_share_of_the_cores_and_the_same_bits(used):
    data = rows()
    alone = trained(data)
    assert max(used) == 8
    for others, share in ((1, 4), (3, 2), (20, 1)):
        used.clear()
        with_others = [sharing.at_work() for _ in range(others)]
        for other in with_others:
            other.__enter__()
        pace._known.clear()
        bits = trained(data)
        for other in with_others:
            other.__exit__(None, None, None)
        assert max(used) == share
        assert np.array_equal(bits, alone)


class Most(pace.Pace):
    """Always as many threads as the limit allows."""

    def threads(self, now):
        return self._allowed()[0]


def test_the_share_follows_who_begins_and_ends_within_an_epoch(used):
    """A training of chunks of one step: seven others come after ten of them, and go after 20."""
    others, model = [sharing.at_work() for _ in range(7)], fm.nn.MLP(6, (64, 64), 3)

    def between(*_):
        for other in others:
            if len(used) == 10:
                other.__enter__()
            if len(used) == 20:
                other.__exit__(None, None, None)

    most = Most(2, sharing.cores_each)
    with Engine(model, fm.optim.Adam(model.parameters()), 6, 2, 2, most, 1) as engine, sharing.at_work():
        engine.epoch(rows(60), np.arange(60), [2] * 30, between)
    assert used == [2] * 10 + [1] * 10 + [2] * 10


def test_fits_in_a_pool_of_threads_share_the_cores(monkeypatch, used):
    """Two that begin together have four of eight cores each, and the bits of one that is alone."""
    data, together, begin = rows(), Barrier(2), door.WayBack.begin
    alone = trained(data)
    assert max(used) == 8
    used.clear()
    pace._known.clear()
    monkeypatch.setattr(
        door.WayBack, "begin", lambda self, runner: (self.epoch == 0 and together.wait(60), begin(self, runner))
    )
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(trained, [data, data]))
    assert max(used[:2]) == 4
    assert all(np.array_equal(bits, alone) for bits in results)


def test_a_prediction_has_its_share(monkeypatch):
    asked, run = [], sharing.cores_each
    monkeypatch.setattr("fastmlp.running.predict.side_by_side", lambda work, parts: asked.append(len(parts)))
    monkeypatch.setattr("fastmlp.running.predict.cores_each", run)
    predictor, x = fm.Predictor(fm.nn.MLP(6, (5,), 3), 8), np.zeros((8 * 512, 6), np.float32)
    predictor(x)
    with sharing.at_work():
        predictor(x)
    predictor(x)
    assert asked == [8, 4, 8]
    assert not sharing._at_work


def test_who_fails_is_no_longer_at_work():
    with pytest.raises(RuntimeError), sharing.at_work():
        raise RuntimeError
    assert sharing.cores_each() == np.inf


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_in_a_forked_child_nobody_is_at_work():
    with sharing.at_work():
        child = os.fork()
        if child == 0:
            os._exit(len(sharing._at_work))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(sharing._at_work) == 1
