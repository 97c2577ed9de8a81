"""News within an epoch, by `on_chunk_end`, and the time limit: between chunks, to the same bits."""

import math
from contextlib import nullcontext
from itertools import count

import pytest
from trainings import Own, bits, clusters, measured, mlp, refuses, trained

import fastmlp as fm
from fastmlp.kernels.shuffle import permutation
from fastmlp.running import averaging, engine, nodes
from fastmlp.training import loop

STEPS = 5  # of an epoch of 300 rows
ROOM = {"batch_size": 64, "epochs": 3, "n_threads": 1}


@pytest.fixture
def step_by_step(monkeypatch):
    """A chunk is one step."""
    for runner in (engine, nodes):
        monkeypatch.setattr(runner, "CHUNK_SECONDS", 0)


@pytest.fixture
def clock(monkeypatch):
    """The loop's clock counts how often it is looked at: a limit of n + 0.5 has passed at the look n + 1."""
    ticks = count()
    monkeypatch.setattr(loop, "monotonic", lambda: float(next(ticks)))


class Look:
    """A callback of both kinds; `answer(chunk)` is what it says to a chunk."""

    def __init__(self, answer=lambda chunk: None) -> None:
        self.chunks, self.epochs, self.finished, self.answer = [], [], 0, answer

    def __call__(self, model, history):
        self.epochs.append(history[-1])

    def on_chunk_end(self, chunk):
        self.chunks.append(chunk)
        return self.answer(chunk)

    def finish(self, model, history):
        self.finished += 1

    def state_dict(self):
        return {"chunks": len(self.chunks)}

    def load_state_dict(self, state):
        self.chunks = [None] * state["chunks"]


@pytest.mark.parametrize("make", [mlp, Own])
def test_a_callback_is_told_of_each_chunk_and_changes_no_bit(make, step_by_step):
    data, look = clusters(), Look()
    alone, history = trained(data, make(), **ROOM)
    model, told = trained(data, make(), callbacks=[look], **ROOM)
    assert bits(model) == bits(alone)
    assert measured(told) == measured(history)
    places = [(e, step, STEPS, min(64 * step, 300), 300) for e in (1, 2, 3) for step in range(1, STEPS + 1)]
    assert [(c.epoch, c.step, c.steps, c.row, c.rows) for c in look.chunks] == places
    ends = look.chunks[STEPS - 1 :: STEPS]  # what an epoch has summed up at its end is its loss and its score
    assert [(c.train_loss, c.train_score) for c in ends] == [(e.train_loss, e.train_score) for e in look.epochs]
    assert all(c.seconds > 0 for c in look.chunks)


@pytest.mark.parametrize("make", [mlp, Own])
@pytest.mark.parametrize("answer", [True, KeyError, KeyboardInterrupt])
def test_what_ends_an_epoch_there_leaves_the_steps_that_were_made(make, answer, step_by_step):
    """True, an error and Ctrl-C: the same weights. No row is written, and no callback called, for the open epoch."""

    def end(chunk):
        if (chunk.epoch, chunk.step) == (2, 3):
            if answer is True:
                return True
            raise answer
        return False

    data, look, seen = clusters(), Look(end), Look()
    model = make()
    with nullcontext() if answer is True else pytest.raises(answer):
        _, history = trained(data, model, callbacks=[look, seen], **ROOM)
    assert (len(look.epochs), look.finished, len(look.chunks)) == (1, 1, STEPS + 3)
    assert len(seen.chunks) == STEPS + 3 - (answer is not True)  # all of them are told, whatever the first answers
    if answer is True:
        assert (history.ended, len(history), history.weights_of) == ("stopped", 1, (1, 3))
    wanted = make()
    by_steps = fm.optim.Adam(wanted.parameters())
    trained(data, wanted, optimizer=by_steps, **(ROOM | {"epochs": 1}))
    order = permutation(range(300), 0, 2)[: 3 * 64]
    wanted.train()
    for rows in order.reshape(3, 64):
        by_steps.zero_grad()
        fm.nn.CrossEntropyLoss()(wanted(fm.Tensor(data.features[rows])), data.labels[rows]).backward()
        by_steps.step()
    assert bits(model) == bits(wanted)


def test_true_at_the_last_step_ends_after_the_whole_epoch(step_by_step):
    look = Look(lambda chunk: chunk.step == STEPS)
    _, history = trained(clusters(), callbacks=[look], **ROOM)
    assert (history.ended, len(history), history.weights_of, len(look.epochs)) == ("stopped", 1, (1, 0), 1)


def test_a_callback_that_evaluates_leaves_the_training_in_its_mode(step_by_step):
    data, model = clusters(), Own(dropout=0.5)
    alone = trained(data, Own(dropout=0.5), **ROOM)[0]
    trained(data, model, callbacks=[Look(lambda chunk: model.eval())], **ROOM)
    assert bits(model) == bits(alone)


def test_one_that_takes_no_chunk_is_refused_before_the_first_step():
    look = Look()
    look.on_chunk_end = lambda: None
    refuses(TypeError, lambda: trained(clusters(), callbacks=[look]), "on_chunk_end of the callback Look", "(chunk)")
    assert not look.epochs


# --- the time limit ---


@pytest.mark.parametrize("make", [mlp, Own])
@pytest.mark.parametrize("average", [None, "ema"])
def test_after_the_limit_it_ends_within_the_epoch_and_goes_on_to_the_same_bits(
    make, average, step_by_step, clock, tmp_path, capsys
):
    data = clusters()
    options = ROOM | {"average": average, "validation": 0.1}
    whole, history = trained(data, make(norm="batch"), **options)
    model, cut = trained(
        data, make(norm="batch"), checkpoint=tmp_path, time_limit=8.5, progress="table", callbacks=[Look()], **options
    )
    epoch, step = cut.weights_of
    assert (cut.ended, len(cut), epoch) == ("time limit", 1, 1)
    assert 0 < step < STEPS
    said = f"ended in epoch 2, after {step} of its 5 steps: the time limit of 8.5 s has passed"
    assert capsys.readouterr().out.splitlines()[-1] == said
    assert bits(model) != bits(whole)
    look = Look()
    again = fm.resume(tmp_path, data, model=make(norm="batch"), callbacks=[look], progress=False)
    assert len(look.chunks) == 3 * STEPS  # what it had seen came back
    assert again.history.ended == "finished"
    assert bits(again.model) == bits(whole)
    assert measured(again.history) == measured(history)


def test_after_the_last_step_the_epoch_is_brought_to_its_end(clock, capsys):
    """One chunk an epoch: the limit is seen after validation and callbacks. The last epoch is no sooner over by it."""
    _, history = trained(clusters(), time_limit=1.5, progress="table", validation=0.1, **ROOM)
    assert (history.ended, history.weights_of[1]) == ("time limit", 0)
    assert not math.isnan(history[-1].validation_loss)
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"ended after epoch {len(history)}: the time limit")
    assert trained(clusters(), time_limit=0.5, **(ROOM | {"epochs": 1, "batch_size": 300}))[1].ended == "finished"


def test_each_call_of_resume_has_its_own_limit(step_by_step, clock, tmp_path):
    data, calls = clusters(), 0
    whole = trained(data, **ROOM)[0]
    trained(data, checkpoint=tmp_path, time_limit=2.5, **ROOM)
    while True:
        calls += 1
        again = fm.resume(tmp_path, data, time_limit=2.5, progress=False)
        if again.history.ended == "finished":
            break
        assert again.history.ended == "time limit"
    assert calls > 3
    assert bits(again.model) == bits(whole)


@pytest.mark.parametrize(("limit", "hurry"), [(None, False), (8.5, True)])
def test_norms_of_an_average_are_measured_in_a_hurry_where_time_has_passed(
    limit, hurry, step_by_step, clock, monkeypatch
):
    seen, measure = [], averaging.measure_statistics
    monkeypatch.setattr(averaging, "measure_statistics", lambda *a: (seen.append(a[-1] < math.inf), measure(*a)))
    trained(clusters(), mlp(norm="batch"), average="ema", time_limit=limit, **ROOM)
    assert seen[-1] is hurry


@pytest.mark.parametrize("limit", [0, -1, math.nan, math.inf, True, "60"])
def test_another_limit_is_refused(limit):
    refuses(ValueError, lambda: trained(clusters(), time_limit=limit), "fit: time_limit", "finite number above 0")
