"""Trainings on sparse rows that are ended within an epoch, or diverge: the bits of dense ones, which owe no steps."""

import os
import signal

import interruptions
import numpy as np
import pytest
from test_sparse_engine import CLASSES, ROWS, matrix, model_of, state

import fastmlp as fm
from fastmlp import optim
from fastmlp.running import buffers, divergence, door, owing
from fastmlp.running import engine as engine_module
from fastmlp.running.buffers import Buffers
from fastmlp.running.engine import Engine
from fastmlp.store.resume import resume
from fastmlp.training import checkpoint, loop

STEPS, EPOCHS = 12, 3  # of an epoch of batches of 8 rows
RULES = {
    "SGD": lambda p: optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    "Adam": lambda p: optim.Adam(p, 0.01),
    "AdamW": lambda p: optim.AdamW(p, 0.01),
    "lazy": lambda p: optim.Adam(p, 0.01, lazy=True),
}


class EndedError(Exception):
    """Ends a training right behind a checkpoint, as SIGKILL may."""


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch):
    """A step a chunk, so that an epoch is looked into wherever a long one may be."""
    monkeypatch.setattr(engine_module, "CHUNK_SECONDS", 0.0)


def data_of(x) -> fm.Dataset:
    return fm.Dataset(x, np.arange(ROWS) % CLASSES)


def trained(x, rule, threads=2, epochs=EPOCHS, **options):
    model = model_of()
    optimizer = rule(model.parameters())
    history = fm.fit(
        model, data_of(x), optimizer=optimizer, epochs=epochs, batch_size=8, n_threads=threads, progress=False,
        **options,
    )  # fmt: skip
    return state(model, optimizer), [epoch.train_loss for epoch in history], history


@pytest.fixture
def looks(monkeypatch):
    """How many steps were owed when somebody looked."""
    found, bring_up = [], owing.bring_up

    def noting(engine):
        found.append(int((engine.step - engine.seen[0]).max()) if engine.owed[0] > 0 else 0)
        bring_up(engine)

    monkeypatch.setattr(owing, "bring_up", noting)
    return found


# ---------------------------------------------------------------- resumed


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("name", RULES)
def test_what_was_ended_within_an_epoch_goes_on_to_the_same_bits(name, large, tmp_path, monkeypatch, looks):
    """large: the model and the optimizer are the way back, and there is no copy."""
    monkeypatch.setattr(buffers, "LARGE", 0 if large else 1 << 40)
    x, rule, write = matrix(5), RULES[name], checkpoint.Checkpoints.write
    want, losses, _ = trained(x, rule)
    if name != "lazy":
        assert trained(x.toarray(), rule)[:2] == (want, losses)
    for end in (4, STEPS + 7, 2 * STEPS + 1):
        folder = tmp_path / str(end)

        def writing(self, done, kept, say, end=end):
            write(self, done, kept, say)
            if done >= end:
                raise EndedError

        with interruptions.replaced(checkpoint.Checkpoints, "write", writing), pytest.raises(EndedError):
            trained(x, rule, checkpoint=folder, checkpoint_every=3)
        result = resume(folder, data_of(x), n_threads=1, progress=False)
        assert state(result.model, result.optimizer) == want
        assert [epoch.train_loss for epoch in result.history] == losses
        assert all(group.get("lazy", False) == (name == "lazy") for group in result.optimizer.param_groups)
    assert name == "lazy" or max(looks) >= 3


def test_a_checkpoint_that_forgets_what_is_owed_is_seen(tmp_path, monkeypatch):
    """The test above can fail: where only the end of an epoch brings all up, what a checkpoint holds lags behind."""
    x, rule, bring_up, write = matrix(5), RULES["AdamW"], owing.bring_up, checkpoint.Checkpoints.write
    want = trained(x, rule)[0]

    def writing(self, done, kept, say):
        write(self, done, kept, say)
        raise EndedError

    with monkeypatch.context() as planted:
        planted.setattr(owing, "bring_up", lambda engine: engine.step % STEPS == 0 and bring_up(engine))
        planted.setattr(checkpoint.Checkpoints, "write", writing)
        with pytest.raises(EndedError):
            trained(x, rule, checkpoint=tmp_path, checkpoint_every=5)
    result = resume(tmp_path, data_of(x), progress=False)
    assert state(result.model, result.optimizer) != want


# ---------------------------------------------------------------- Ctrl-C


def interrupted(x, rule, at, threads=2):
    """The state that Ctrl-C leaves when it comes at the end of a chunk."""
    model = model_of()
    optimizer, after_chunk = rule(model.parameters()), loop.Loop.after_chunk

    def pressed(self, trainer):
        if (self.epoch - 1) * STEPS + trainer.runner.step == at:
            os.kill(os.getpid(), signal.SIGINT)
        after_chunk(self, trainer)

    options = {"optimizer": optimizer, "epochs": EPOCHS, "batch_size": 8, "n_threads": threads, "progress": False}
    with interruptions.replaced(loop.Loop, "after_chunk", pressed), pytest.raises(KeyboardInterrupt):
        fm.fit(model, data_of(x), **options)
    return state(model, optimizer), optimizer.state[0].get("step", at)


@pytest.mark.parametrize("name", RULES)
def test_ctrl_c_leaves_the_weights_of_whole_steps(name, looks, request):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins without
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    x = matrix(6)
    for at in (3, STEPS + 8):
        found = interrupted(x, RULES[name], at)
        assert found[1] == at
        assert found == interrupted(x if name == "lazy" else x.toarray(), RULES[name], at, 1)
    assert name == "lazy" or max(looks) >= 3


# ---------------------------------------------------------------- diverged

DIVERGING = {
    "Adam": lambda p: optim.Adam(p, 1e37),
    "AdamW": lambda p: optim.AdamW(p, 1e4),  # p is multiplied by -99 in each step, also where nothing comes
    "SGD": lambda p: optim.SGD(p, 1e4, weight_decay=1.0),
    "SGD with momentum": lambda p: optim.SGD(p, 1e3, momentum=0.9, weight_decay=0.1),
    "AdamW, unseen": lambda p: optim.AdamW(p, 1e4),
    "SGD, unseen": lambda p: optim.SGD(p, 100.0, weight_decay=1.0),
    "lazy": lambda p: optim.Adam(p, 1e37, lazy=True),
}


def diverged(x, name, lr_from=0, threads=2):
    """(weights and state, what was found) of a training that leaves the numbers in its first or second epoch."""
    rule, found, go_back = DIVERGING[name], [], door.Trainer._go_back

    def noting(self, *arguments):
        go_back(self, *arguments)
        found.append(self.divergence)

    with interruptions.replaced(door.Trainer, "_go_back", noting):
        model = model_of()
        optimizer = rule(model.parameters())
        if "unseen" in name:  # weights that no row asks for leave the numbers first
            model[0].weight.data[:, ~np.asarray(x.astype(bool).sum(axis=0)).ravel().astype(bool)] = 1e30
        (group,) = optimizer.param_groups
        rate, group["lr"] = group["lr"], 1e-4 if lr_from else group["lr"]
        history = fm.fit(
            model, data_of(x), optimizer=optimizer, epochs=EPOCHS, batch_size=8, n_threads=threads, progress=False,
            callbacks=[lambda *_: group.__setitem__("lr", rate)],
        )  # fmt: skip
    assert len(found) == 1
    assert all(np.isfinite(p.data).all() for p in model.parameters())
    return state(model, optimizer), found[0], len(history)


@pytest.mark.parametrize("chunk", [1, 5, 100])
@pytest.mark.parametrize("name", DIVERGING)
def test_the_way_back_is_that_of_dense_rows(name, chunk, monkeypatch):
    """The same weights and the same sentence, wherever the weights were looked at."""
    x = matrix(7)
    for lr_from in (0, 1):
        want = diverged(x if name == "lazy" else x.toarray(), name, lr_from, 1)
        with monkeypatch.context() as planted:
            planted.setattr(
                Engine, "chunk_steps", property(lambda self: chunk, lambda self, value: None), raising=False
            )
            found = diverged(x, name, lr_from)
        assert repr(found) == repr(want)


@pytest.mark.parametrize("name", ["AdamW, unseen", "SGD, unseen"])
def test_a_copy_is_of_weights_that_were_looked_at(name, monkeypatch):
    """Copies after each chunk: none of them is of weights that owe steps beyond all numbers."""
    monkeypatch.setattr(divergence, "SNAPSHOT_SECONDS", 0.0)
    monkeypatch.setattr(divergence, "SNAPSHOT_SHARE", 0.0)
    x = matrix(7)
    want = diverged(x.toarray(), name)
    assert want[1].kept > 2  # copies were taken before
    assert repr(diverged(x, name)) == repr(want)
    is_good = door.is_good
    monkeypatch.setattr(door, "is_good", lambda runner, whole=False: is_good(runner, runner.step == STEPS))
    with pytest.raises((AssertionError, StopIteration)):
        assert repr(diverged(x, name)) == repr(want)


def test_a_look_that_does_not_bring_all_up_is_seen(monkeypatch):
    """The test above can fail: what is owed ends beyond all numbers, and nobody sees it in time."""
    x = matrix(7)
    want = diverged(x.toarray(), "AdamW, unseen")
    assert want[1].what == "a weight"
    monkeypatch.setattr(Engine, "is_finite", Buffers.is_finite)
    with pytest.raises(AssertionError, match=r"isfinite|generator"):  # such weights are left
        diverged(x, "AdamW, unseen")
