"""`EarlyStopping`: when it stops, and that the weights are those of the best epoch, to the bit.

Two kinds of runs: made ones, where a callback is told each epoch's metric and changes the weights by a known number;
and real trainings of clusters in eight columns, judged by training again for as many epochs as the best one has.
"""

import dataclasses
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastmlp as fm
from fastmlp import EarlyStopping, Epoch, History, nn, optim

NAN = math.nan
COLUMNS = [f.name for f in dataclasses.fields(Epoch) if f.type == "float" or f.name == "epoch"]


def clusters(rows: int = 300, spread: float = 1.0, seed: int = 0) -> fm.Dataset:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, rows)
    labels[:3] = 0, 1, 2
    features = spread * rng.normal(size=(rows, 8))
    features[np.arange(rows), labels] += 2
    return fm.Dataset(features.astype(np.float32), labels)


def mlp(**options) -> nn.MLP:
    fm.manual_seed(0)
    return nn.MLP(8, (16,), 3, **options)


def bits(model: nn.Module) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in model.state_dict().items()}


def epoch(number: int, metric: str, value: float) -> Epoch:
    return dataclasses.replace(Epoch(number, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), **{metric: value})


def made(values, metric="validation_loss", **options) -> tuple[EarlyStopping, nn.Module, int]:
    """A run whose metric takes these values; the weights and the running mean are the number of the epoch."""
    stopper, model, history = EarlyStopping(metric, **options), nn.Sequential(nn.BatchNorm1d(2)), History()
    stopper.start(model, None)
    for number, value in enumerate(values, 1):
        history.epochs.append(epoch(number, metric, value))
        for array in model.state_dict().values():
            array[...] = number
        if stopper(model, history) is True:
            break
    stopper.finish(model, history)
    return stopper, model, len(history)


# --- made runs -------------------------------------------------------------------------------------------------------

# values, options, epochs that are trained, the best epoch
CASES = [
    ([5, 4, 3, 2, 1], {}, 5, 5),
    ([1, 2, 3, 4, 5, 6, 7], {}, 6, 1),
    ([1, 2, 3, 4, 5, 6, 7], {"patience": 6}, 7, 1),
    ([3, 2, 4, 1, 5, 5, 5], {"patience": 2}, 6, 4),
    ([3, 2, 4, 4, 1], {"patience": 2}, 4, 2),
    ([3, 2, 2, 1], {"patience": 0}, 3, 2),
    ([3, 2, 2, 1], {"patience": 1}, 3, 2),
    ([1, 1, 1], {"patience": None}, 3, 1),
    ([5, 1, 9, 9, 9, 9, 9, 9, 9, 9], {"patience": None}, 10, 2),
    ([NAN, 2, NAN, NAN, 1], {"patience": 2}, 4, 2),
    ([NAN, NAN, NAN], {"patience": 2}, 2, None),
    ([math.inf, 3, math.inf], {"patience": 2}, 3, 2),
    ([math.inf, 3], {"patience": 1}, 1, None),
    ([10, 9.5, 9.0, 8.5, 8.0], {"patience": 2, "min_delta": 0.9}, 5, 5),  # every third is better by more than that
    ([10, 9.9, 9.8, 9.7], {"patience": 2, "min_delta": 1.0}, 3, 3),  # too little to go on, and the best all the same
    ([2, 1, 1 - 2**-53, 1], {"patience": 5}, 4, 3),
]


@pytest.mark.parametrize(("values", "options", "trained", "best"), CASES)
@pytest.mark.parametrize("sign", [1, -1])
def test_where_it_stops_and_which_epoch_is_restored(values, options, trained, best, sign):
    metric = "validation_loss" if sign == 1 else "validation_accuracy"
    stopper, model, epochs = made([sign * value for value in values], metric, **options)
    assert (epochs, stopper.best_epoch) == (trained, best)
    assert stopper.stopped == (epochs < len(values) or options.get("patience") in (stopper.stale, 0))
    for array in model.state_dict().values():
        assert (array == (best or epochs)).all()  # without a best epoch the model is left as it is
    assert stopper.best == sign * values[best - 1] if best else math.isnan(stopper.best)


@pytest.mark.parametrize("metric", COLUMNS)
def test_the_direction_goes_by_the_name(metric):
    rises = "accuracy" in metric or "score" in metric or metric in ("samples_per_second", "epoch")
    assert made([1, 2], metric)[0].best == made([2, 1], metric)[0].best == (2 if rises else 1)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.one_of(st.floats(-5, 5), st.just(NAN)), min_size=1, max_size=20), st.integers(0, 6))
def test_the_best_epoch_is_numpys(values, patience):
    stopper, _, epochs = made(values, patience=patience)
    seen = np.array(values[:epochs])
    expected = None if np.isnan(seen).all() else int(np.nanargmin(seen)) + 1
    assert stopper.best_epoch == expected
    if expected is not None and epochs < len(values):
        assert epochs - expected == max(patience, 1)


def test_one_object_serves_two_trainings():
    stopper = EarlyStopping("train_loss", patience=None)
    data = clusters()
    fm.fit(mlp(), data, epochs=3, progress=False, callbacks=[stopper])
    model = mlp()
    fm.fit(model, data, epochs=1, progress=False, callbacks=[stopper])
    assert stopper.best_epoch == 1
    once = mlp()
    fm.fit(once, data, epochs=1, progress=False)
    assert bits(model) == bits(once)


# --- real trainings --------------------------------------------------------------------------------------------------


def overfitting(callbacks=(), epochs=12, **options) -> tuple[nn.Module, History, fm.Dataset]:
    """Clusters that overlap and a large learning rate: the lowest validation loss comes early."""
    data, held = clusters(120, 2.0), clusters(200, 2.0, seed=1)
    model = mlp(**options)
    optimizer = optim.Adam(model.parameters(), lr=0.05)
    history = fm.fit(model, data, held, optimizer, epochs, 32, progress=False, callbacks=callbacks)
    return model, history, held


@pytest.mark.parametrize("options", [{}, {"batch_norm": True}, {"dropout": 0.3, "batch_norm": True}])
@pytest.mark.parametrize("metric", ["validation_loss", "validation_accuracy"])
def test_at_the_epoch_limit_the_weights_are_the_best_to_the_bit(options, metric):
    stopper = EarlyStopping(metric, patience=None)
    model, history, held = overfitting([stopper], **options)
    best = stopper.best_epoch
    assert len(history) == 12
    assert best < 12  # or this shows nothing
    assert bits(model) == bits(overfitting(epochs=best, **options)[0])
    result = fm.evaluate(model, held)
    assert (result.loss, result.accuracy) == (history[best - 1].validation_loss, history[best - 1].validation_accuracy)


def test_it_ends_the_training_after_patience_epochs():
    stopper = EarlyStopping(patience=3)
    model, history, _ = overfitting([stopper], epochs=100)
    assert stopper.stopped
    assert len(history) == stopper.best_epoch + 3
    assert bits(model) == bits(overfitting(epochs=stopper.best_epoch)[0])


def test_the_arrays_stay_the_same_objects():
    model = mlp(batch_norm=True)
    arrays = [id(array) for array in model.state_dict().values()]
    fm.fit(model, clusters(), 0.2, epochs=5, progress=False, callbacks=[EarlyStopping(patience=0)])
    assert [id(array) for array in model.state_dict().values()] == arrays


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_exception_restores_the_best_weights_too(error):
    stopper, model = EarlyStopping(patience=None), mlp()

    def fail(_, history):
        if len(history) == 9:
            raise error

    optimizer = optim.Adam(model.parameters(), lr=0.05)
    with pytest.raises(error):
        fm.fit(model, clusters(120, 2.0), clusters(200, 2.0, seed=1), optimizer, 12, 32, progress=False,
               callbacks=[stopper, fail])  # fmt: skip
    assert stopper.best_epoch < 9
    assert bits(model) == bits(overfitting(epochs=stopper.best_epoch)[0])


def test_a_training_that_diverges_gives_back_its_best_weights():
    stopper, model = EarlyStopping("train_loss"), mlp()
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def explode(_, history):
        optimizer.param_groups[0]["lr"] = 1e30

    history = fm.fit(model, clusters(), optimizer=optimizer, epochs=5, progress=False, callbacks=[stopper, explode])
    assert not math.isfinite(history[-1].train_loss)
    assert all(np.isfinite(array).all() for array in model.state_dict().values())
    once = mlp()
    fm.fit(once, clusters(), optimizer=optim.SGD(once.parameters(), lr=0.1), epochs=1, progress=False)
    assert bits(model) == bits(once)


def test_ctrl_c_between_the_end_of_an_epoch_and_the_callback_counts_the_epoch():
    stopper, model = EarlyStopping("train_loss", patience=None), mlp()

    def fail(_, history):
        if len(history) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fm.fit(model, clusters(), epochs=5, progress=False, callbacks=[fail, stopper])
    assert stopper.best_epoch == 3  # an easy set: each epoch is better
    once = mlp()
    fm.fit(once, clusters(), epochs=3, progress=False)
    assert bits(model) == bits(once)


SIGNALLED = """
import sys, numpy as np, fastmlp as fm
sys.path.insert(0, {tests!r})
from test_stopping import bits, clusters, mlp
data, model, stopper = clusters(3000), mlp(batch_norm=True), fm.EarlyStopping("train_loss", patience=None)
kept = []
def note(model, history):
    kept.append(bits(model))
    if len(history) == 3:
        print("three", flush=True)
try:
    fm.fit(model, data, epochs=10**6, progress=False, callbacks=[stopper, note])
except KeyboardInterrupt:
    print(bits(model) == kept[stopper.best_epoch - 1], len(kept) >= 3)
"""


def test_a_real_ctrl_c_restores_the_best_weights():
    code = SIGNALLED.format(tests=str(Path(__file__).parent))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout.readline() == "three\n"
        time.sleep(0.05)  # somewhere in an epoch
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[0] == "True True\n"
    finally:
        process.kill()


# --- finish ----------------------------------------------------------------------------------------------------------


class Finishing:
    """Notes when `finish` is called."""

    def __init__(self, log: list, name: str) -> None:
        self.log, self.name = log, name

    def __call__(self, model, history) -> None:
        self.log.append(f"{self.name} {len(history)}")

    def finish(self, model, history) -> None:
        assert isinstance(model, nn.Module)
        self.log.append(f"{self.name} finish {len(history)}")


@pytest.mark.parametrize("end", ["limit", "answer", "error", "no epochs"])
def test_finish_is_called_once_in_order_however_the_training_ends(end):
    log = []

    def last(_, history):
        if end == "error" and len(history) == 2:
            raise ZeroDivisionError
        return end == "answer" and len(history) == 2

    callbacks = [Finishing(log, "a"), Finishing(log, "b"), last]
    try:
        fm.fit(mlp(), clusters(), epochs=0 if end == "no epochs" else 2, progress=False, callbacks=callbacks)
    except ZeroDivisionError:
        assert end == "error"
    epochs = [] if end == "no epochs" else ["a 1", "b 1", "a 2", "b 2"]
    assert log == [*epochs, f"a finish {len(epochs) // 2}", f"b finish {len(epochs) // 2}"]


def test_an_error_in_a_finish_comes_through_and_the_others_are_called():
    log = []
    failing = Finishing(log, "a")
    failing.finish = lambda model, history: 1 / 0
    with pytest.raises(ZeroDivisionError):
        fm.fit(mlp(), clusters(), epochs=1, progress=False, callbacks=[failing, Finishing(log, "b")])
    assert log[-1] == "b finish 1"


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"metric": "ran_on"}, "validation_loss"), ({"metric": "loss"}, "validation_loss"), ({"metric": ""}, "metric"),
        ({"metric": None}, "metric"),
        ({"patience": -1}, "patience"), ({"patience": 1.5}, "patience"), ({"patience": True}, "patience"),
        ({"patience": "3"}, "patience"), ({"min_delta": -0.1}, "min_delta"), ({"min_delta": NAN}, "min_delta"),
        ({"min_delta": "x"}, "min_delta"), ({"min_delta": float("inf")}, "min_delta"),
    ],
)  # fmt: skip
def test_a_bad_argument_is_refused_in_a_sentence(options, word):
    with pytest.raises(ValueError, match=word) as caught:
        EarlyStopping(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("metric", ["validation_loss", "validation_accuracy"])
def test_a_validation_metric_without_validation_is_refused_before_the_training(metric):
    model = mlp()
    before = bits(model)
    with pytest.raises(ValueError, match="validation") as caught:
        fm.fit(model, clusters(), progress=False, callbacks=[EarlyStopping(metric)])
    assert metric in str(caught.value)
    assert bits(model) == before
    fm.fit(model, clusters(), epochs=1, progress=False, callbacks=[EarlyStopping("train_loss")])
