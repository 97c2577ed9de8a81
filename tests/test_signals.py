"""Ctrl-C, SIGTERM and SIGHUP at random moments: noted, and acted on where all is of one whole step."""

import gc
import os
import random
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, nullcontext
from pathlib import Path

import interruptions
import numpy as np
import pytest
from interruptions import ended_at, on_graph, states_of_steps

import fastmlp as fm
from fastmlp import signals
from fastmlp.running import door, nodes
from fastmlp.running.engine import Engine
from fastmlp.running.pace import Fixed
from fastmlp.signals import Signals, Terminated
from fastmlp.training import loop


@contextmanager
def default_handler():
    """Within this Ctrl-C raises KeyboardInterrupt, also where the tests were started with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def states():
    found = states_of_steps()
    assert len(found) == 1 + len(interruptions.SIZES) * interruptions.EPOCHS
    return found


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("where", ["engine", "graph"])
def test_a_signal_leaves_all_parts_of_one_step(where, times, states):
    draw, ended = random.Random(times), 0
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    with on_graph() if where == "graph" else nullcontext():
        length = interruptions.usual_seconds()
        for moment in range(8):
            steps, early = ended_at(numbers[moment % len(numbers)], draw.uniform(0, 0.6 * length), times, states)
            assert len(set(map(str, steps.values()))) == 1, steps
            ended += early
    assert ended >= 2, "signals that come when all is over test nothing"  # a busy machine delivers some late


def lines_until(line, options):
    """(the lines of LOOP that a training on the engine ran, its parts): Ctrl-C comes before the line of that number."""
    model, optimizer = interruptions.make()
    ran = []

    def inside(frame, event, argument):
        if event == "line":
            ran.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")
            if len(ran) == line:
                sys.settrace(None)
                signal.raise_signal(signal.SIGINT)
        return inside

    def entered(frame, event, argument):
        return inside if frame.f_code.co_filename in LOOP else None

    try:
        sys.settrace(entered)
        fm.fit(model, interruptions.data(), optimizer=optimizer, epochs=2, batch_size=20, progress=False, **options)
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    return ran, interruptions.state(model, optimizer)


LOOP = {loop.__file__, door.__file__, signals.__file__}  # what runs between two chunks of steps


@pytest.mark.parametrize("seen", [False, True])
def test_ctrl_c_at_every_line_leaves_all_parts_of_one_step(seen, states):
    """Also between two epochs that nobody looks at, whose weights wait, and when what is left is brought up to date."""
    options = {"n_threads": 1} | ({"callbacks": [lambda model, history: None]} if seen else {})
    torn = []
    with default_handler():
        lines_until(-1, options)  # the second is a usual one
        lines, _ = lines_until(-1, options)
        assert len(lines) > 200
        for line in range(1, len(lines) + 1):
            ran, got = lines_until(line, options)
            if not any(got == state for state in states):
                torn.append(ran[line - 1])
    assert torn == []


def test_parts_of_two_steps_are_seen(states, monkeypatch):
    """The check above finds a training whose update is left half way."""
    real = fm.optim.Adam._update

    def torn(self, state, group, p, g):
        real(self, state, group, p, g)
        if p.ndim == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(fm.optim.Adam, "_update", torn)
    model, optimizer = interruptions.make()
    with on_graph(), pytest.raises(KeyboardInterrupt):
        interruptions.train(model, optimizer)
    got = interruptions.state(model, optimizer)
    assert not any(got == state for state in states)


def test_handlers_are_put_back_and_one_that_was_there_is_called():
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        mine = signal.getsignal(signal.SIGTERM)

        def callback(model, history):
            if len(history) == 2:
                os.kill(os.getpid(), signal.SIGTERM)
                assert not heard  # noted, and looked at after the callbacks

        model, optimizer = interruptions.make()
        history = interruptions.train(model, optimizer, callbacks=[callback])
        assert heard == [signal.SIGTERM]
        assert len(history) == interruptions.EPOCHS  # it raised nothing: the training goes on
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_signal_that_python_loses_ends_the_training():
    class Leaves:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000):
                pass

    def callback(model, history):
        if len(history) == 1:
            Leaves()
            gc.collect()

    epochs = []
    model, optimizer = interruptions.make()
    with default_handler(), pytest.raises(KeyboardInterrupt):
        interruptions.train(model, optimizer, callbacks=[callback, lambda m, h: epochs.append(len(h))])
    assert epochs == [1]


def test_outside_the_main_thread_no_handler_is_set():
    found = []

    def work():
        with Signals() as signals:
            found.append((signals.before, signal.getsignal(signal.SIGINT)))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [({}, before)]


def test_a_signal_that_was_ignored_stays_ignored():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with Signals() as signals:
            assert signal.SIGTERM not in signals.before
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_held_signals_wait_and_one_beyond_patience_does_not():
    def look_later():
        with Signals() as signals:
            with signals.held():
                for _ in range(3):
                    os.kill(os.getpid(), signal.SIGINT)
                assert len(signals.noted) == 3
            signals.look()

    def lose_patience():
        with Signals() as signals, signals.held(patience=1):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("the second one waited")

    def never_look():
        with Signals() as signals, signals.held():
            os.kill(os.getpid(), signal.SIGINT)

    for doing in (look_later, lose_patience, never_look):
        with default_handler(), pytest.raises(KeyboardInterrupt):
            doing()


def test_a_training_within_a_callback_ends_both():
    epochs = []

    def inner(model, history):
        os.kill(os.getpid(), signal.SIGINT)

    def outer(model, history):
        epochs.append(len(history))
        other, optimizer = interruptions.make()
        interruptions.train(other, optimizer, callbacks=[inner])

    model, optimizer = interruptions.make()
    with default_handler(), pytest.raises(KeyboardInterrupt):
        interruptions.train(model, optimizer, callbacks=[outer])
    assert epochs == [1]


def test_terminated_knows_its_signal():
    assert issubclass(Terminated, KeyboardInterrupt)
    assert Terminated(signal.SIGHUP).number == signal.SIGHUP


CHILD = """
import signal
import fastmlp as fm, numpy as np
signal.signal(signal.{name}, signal.SIG_DFL)  # who started the tests may have it ignored
rng = np.random.default_rng(0)
data = fm.Dataset(rng.integers(0, 256, (200, 64), dtype=np.uint8), rng.integers(0, 10, 200))
fm.fit(fm.nn.MLP(64, (32,), 10), data, epochs=10**6, progress=False, checkpoint={folder!r},
       callbacks=[lambda model, history: print("ready", flush=True) if len(history) == 1 else None])
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_program_without_handlers_keeps_a_checkpoint_and_dies_of_the_signal(name, tmp_path):
    code = CHILD.format(folder=str(tmp_path), name=name)
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(getattr(signal, name))
        assert child.wait(60) == -getattr(signal, name)
    finally:
        child.kill()  # else one that goes on takes a core from all tests after it
    assert list(tmp_path.glob("checkpoint-*.safetensors"))


def test_a_long_step_is_given_up_and_nothing_is_changed():
    """Asked to stop within the forward pass of a step, both leave the state of before it, statistics too."""
    rng = np.random.default_rng(0)
    rows = fm.Dataset(rng.integers(0, 256, (6000, 64), dtype=np.uint8), rng.integers(0, 10, 6000))
    order, sizes = np.arange(6000), [3000, 3000]
    for threads in (1, 2, 3):
        model, optimizer = interruptions.make()
        with Engine(model, optimizer, 64, 3000, threads, Fixed(threads), 1) as engine:
            engine.train_on(rows)
            engine.open(order, sizes)
            engine.chunk(2)
            engine.give()
            before = interruptions.state(model, optimizer)
            run = engine.team.run
            engine.team.run = lambda *given, run=run, engine=engine, here: (engine.stop(), run(*given))
            assert engine.chunk(2) is False
            assert engine.step == 1
            engine.give()
            assert interruptions.state(model, optimizer) == before
            engine.team.run = run
            engine.chunk(2)
            engine.give()
            after = interruptions.state(model, optimizer)
    model, optimizer = interruptions.make()
    graph = nodes.Nodes(model, optimizer, fm.nn.CrossEntropyLoss())
    graph.train_on(rows)
    graph.open(order, sizes)
    graph.chunk(1)
    before = interruptions.state(model, optimizer)
    forward = model[0].forward

    def stopping(x):
        graph.stop()
        return forward(x)

    model[0].__dict__["forward"] = stopping
    assert graph.chunk(2) is False
    assert interruptions.state(model, optimizer) == before
    del model[0].__dict__["forward"]
    graph.chunk(2)
    assert interruptions.state(model, optimizer) == after


def test_an_update_may_be_left_half_way_where_a_copy_is_there():
    """With a copy of before the step a stop at any moment leaves that, or the step after it; many times."""
    rng = np.random.default_rng(0)
    rows = fm.Dataset(rng.integers(0, 256, (4000, 64), dtype=np.uint8), rng.integers(0, 10, 4000))
    fm.manual_seed(0)
    model = fm.nn.MLP(64, (256, 256), 10, batch_norm=True)
    optimizer = fm.optim.Adam(model.parameters())
    left = whole = 0
    with Engine(model, optimizer, 64, 4000, 2, Fixed(2), 1) as engine:
        engine.train_on(rows)
        engine.open(np.arange(4000), [4000])
        start = engine.snapshot()
        engine.chunk(1)
        after = engine.snapshot()
        for moment in range(40):
            engine.restore(start)
            back = engine.snapshot()
            stop = threading.Timer(0.0005 * moment, engine.stop)
            stop.start()
            engine.chunk(1, back)
            stop.join()
            now, wanted = engine.snapshot(), after if engine.step else start
            left, whole = left + (engine.step == 0), whole + engine.step
            for array, then in zip(now, wanted, strict=True):
                assert array.tobytes() == then.tobytes()
    assert left, "no step was given up: the moments test nothing"
