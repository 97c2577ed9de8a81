"""Threads that cannot be had, that fail, that die, and a main thread that ends: a training goes on or says why not.

What would hang with a fault in it runs in a process of its own, which is killed after a while.
"""

import _thread
import ctypes
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest

import fastmlp as fm
from fastmlp.running import engine, team
from fastmlp.running.engine import Engine
from fastmlp.running.pace import Fixed
from fastmlp.running.team import Team, side_by_side

SETUP = """if True:
    import hashlib, os, sys, threading
    import numpy as np
    import fastmlp as fm
    from fastmlp.kernels import kernel
    from fastmlp.running import door, engine

    door.available_cores = lambda: 3  # as many threads on every machine
    rng = np.random.default_rng(0)
    data = fm.Dataset(rng.normal(size=(300, 6)).astype("f"), rng.integers(0, 3, 300))

    def digest(model):
        return hashlib.sha256(b"".join(array.tobytes() for array in model.state_dict().values())).hexdigest()[:8]

    def trained(n_threads, progress=False, layer=fm.nn.ReLU):
        fm.manual_seed(0)
        model = fm.nn.Sequential(fm.nn.Linear(6, 70), layer(), fm.nn.Linear(70, 3))
        before = digest(model)
        try:
            fm.fit(model, data, epochs=3, batch_size=10, n_threads=n_threads, progress=progress)
        except Exception as error:
            return type(error).__name__, digest(model) == before
        return digest(model)
"""


def answer(code: str) -> list[str]:
    """The lines that a process prints which runs SETUP and the code; it has a minute, with what must be compiled."""
    run = subprocess.run([sys.executable, "-c", SETUP + code], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


# --- a training ------------------------------------------------------------------------------------------------------


def test_a_training_goes_on_with_the_threads_that_can_be_started():
    alone, *others = answer("""
    print(trained(1))
    start, left = threading.Thread.start, [0]

    def limited(self):
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(self)

    threading.Thread.start = limited
    for left[0] in (0, 1, 2, 3):
        print(trained(3, "table"))
    """)
    lines = [line for line in others if "could be started" in line]
    assert lines == [
        f"of 3 threads {number} could be started; the training goes on without the others"
        for number in ("none", "1", "2")
    ]
    assert [line for line in others if len(line) == len(alone)] == [alone] * 4


def test_an_exception_in_one_thread_comes_out_of_fit_and_leaves_the_model_as_it_was():
    """Before the kernel, after it, and in it; others wait at a gate meanwhile. A second training is as ever."""
    lines = answer("""
    alone, train_steps = trained(1), engine._train_steps
    for which in (0, 1, 2):
        for after in (False, True):
            def failing(thread, *arguments):
                if thread == which and arguments[0] == 3 and not after:
                    raise MemoryError
                came_to = train_steps(thread, *arguments)
                if thread == which and arguments[0] == 3 and after:
                    raise MemoryError
                return came_to

            engine._train_steps = failing
            print(*trained(3))
            engine._train_steps = train_steps
    print(trained(3) == alone)
    """)
    assert lines == ["MemoryError True"] * 6 + ["True"]
    assert answer("""
    @kernel
    def brittle_forward(x, y, numbers, lo, hi):
        if lo > 0:  # not in the first thread
            raise ValueError("brittle")
        y[0, lo] = x[0, lo]

    @kernel
    def brittle_backward(dy, x, dx, numbers, lo, hi):
        dx[0, lo] = dy[0, lo]

    class BrittleBackward0(fm.nn.ElementwiseNode):
        equation, keeps = "dx = dy", {"x": "it is there"}
        pair = (brittle_forward, brittle_backward)

    class Brittle(fm.nn.Elementwise):
        node, function = BrittleBackward0, staticmethod(lambda x: fm.nn.elementwise("brittle", BrittleBackward0, x))

    print(*trained(3, layer=Brittle), trained(3) == trained(1))
    """) == ["ValueError True True"]


def test_a_training_goes_on_where_the_main_thread_ends():
    """Python waits for threads that are no daemons; an executor refuses work from then on, and so may a new thread."""
    alone, first, second = answer("""
    print(trained(1), flush=True)

    def job():
        threading.main_thread().join()
        for _ in range(2):  # the second training begins when the end has begun
            print(trained(3), flush=True)

    threading.Thread(target=job).start()
    """)
    assert first == second == alone


def test_predictions_go_on_with_the_threads_that_can_be_started(monkeypatch):
    model = fm.nn.MLP(6, (5,), 3)
    x = np.random.default_rng(0).normal(size=(4000, 6)).astype(np.float32)
    expected, started = fm.Predictor(model)(x), []
    start = threading.Thread.start

    def limited(self):
        if started:
            raise RuntimeError("can't start new thread")
        started.append(self)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", limited)
    assert np.array_equal(fm.Predictor(model, 4)(x), expected)
    assert len(started) == 1


def test_an_interrupt_after_the_kernel_on_the_callers_thread_loses_no_step(monkeypatch):
    """Where no thread can be started, Ctrl-C may come between the loop's end and what Python makes of its answer."""

    def refused(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    train_steps, chunks, states = engine._train_steps, [], []

    def interrupted(*arguments):
        train_steps(*arguments)
        chunks.append(arguments)
        if len(chunks) == 4:
            raise KeyboardInterrupt

    rng = np.random.default_rng(0)
    data = fm.Dataset(rng.normal(size=(100, 6)).astype(np.float32), rng.integers(0, 3, 100))
    for whole in (False, True):
        fm.manual_seed(0)
        model = fm.nn.MLP(6, (20,), 3)
        optimizer = fm.optim.Adam(model.parameters())
        with Engine(model, optimizer, 6, 10, 2, Fixed(2), 2) as made:
            if whole:
                made.epoch(data, np.arange(80), [10] * 8)  # four chunks of two steps
            else:
                monkeypatch.setattr(engine, "_train_steps", interrupted)
                with pytest.raises(KeyboardInterrupt):
                    made.epoch(data, np.arange(100), [10] * 10)
                monkeypatch.setattr(engine, "_train_steps", train_steps)
        states.append([a.tobytes() for a in model.state_dict().values()] + [optimizer.state[0]["step"]])
    assert states[0] == states[1]
    assert states[0][-1] == 8


# --- Team ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def three():
    made = Team(3)
    assert made.start() == 3
    yield made
    made.close()


def never():
    raise AssertionError("nothing failed")


def test_every_thread_does_its_part_and_none_stays_behind():
    before, done = threading.active_count(), []
    made = Team(3)
    assert (made.start(), len(made), made.start()) == (3, 3, 3)
    for threads in (1, 3, 2, 3):
        made.run(threads, lambda thread: done.append((thread, threading.current_thread().name)), never)
        assert sorted(done) == [(thread, f"fastmlp_{thread}") for thread in range(threads)]
        done.clear()
    assert threading.active_count() == before + 3
    made.close()
    assert threading.active_count() == before


def test_the_first_error_comes_out_when_all_have_ended(three):
    given_up, ended = threading.Event(), []

    def work(thread):
        if thread == 1:
            raise ZeroDivisionError
        assert given_up.wait(30)
        ended.append(thread)
        raise RuntimeError("that follows from it")

    with pytest.raises(ZeroDivisionError):
        three.run(3, work, given_up.set)
    assert sorted(ended) == [0, 2]
    three.run(3, lambda thread: None, never)


def test_an_error_on_the_callers_thread_gives_up_too():
    given_up = []
    with pytest.raises(ZeroDivisionError):
        Team(0).run(1, lambda thread: 1 / thread, lambda: given_up.append(1))
    assert given_up == [1]


def test_an_interrupt_waits_for_the_end_of_the_work(three, request):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins without
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    ended = []

    def work(thread):
        if thread == 0:
            _thread.interrupt_main()  # as Ctrl-C
            time.sleep(0.05)
            _thread.interrupt_main()  # and once more
        time.sleep(0.05)
        ended.append(thread)

    with pytest.raises(KeyboardInterrupt):
        three.run(3, work, never)
    assert len(ended) == 3


def test_an_interrupt_before_the_work_has_begun_leaves_it_undone(three, monkeypatch):
    """It arrives where the call is on its way to a thread that is busy, or not yet on its way."""
    done, busy, free = [], threading.Event(), threading.Event()
    calls = three._calls[0]

    class Interrupted:
        def __init__(self, sends):
            self.sends = sends

        def put(self, call):
            if self.sends:
                calls.put(call)
            raise KeyboardInterrupt

    first = threading.Thread(target=three.run, args=(1, lambda thread: busy.set() or free.wait(30), never))
    first.start()
    assert busy.wait(30)
    for sends in (False, True):
        monkeypatch.setattr(three, "_calls", [Interrupted(sends), *three._calls[1:]])
        with pytest.raises(KeyboardInterrupt):
            three.run(2, done.append, never)
    monkeypatch.undo()
    free.set()
    first.join()
    three.run(3, lambda thread: None, never)
    assert done == []


def test_a_thread_that_died_is_noticed(three, monkeypatch):
    """An exception from outside may end a thread of the team; the others wait for its part in vain."""
    monkeypatch.setattr(team, "WATCH_SECONDS", 0.01)
    monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
    given_up = threading.Event()
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(three._threads[2].ident), ctypes.py_object(SystemExit))
    three._calls[2].put(None)  # it wakes up, and dies
    three._threads[2].join()
    with pytest.raises(RuntimeError, match="the thread fastmlp_2 has died"):
        three.run(3, lambda thread: given_up.wait(30), given_up.set)


def test_a_team_keeps_nothing_of_the_work(three):
    class Thing:
        pass

    thing = Thing()
    gone = weakref.ref(thing)
    three.run(3, lambda thread, thing=thing: None, never)
    three.run(3, lambda thread: None, never)  # each thread is past the first call when it begins the second
    del thing
    gc.collect()
    assert gone() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own(three):
    child = os.fork()
    if child == 0:
        done = []
        three.start()
        three.run(3, done.append, never)
        os._exit(sorted(done) != [0, 1, 2])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_parts_side_by_side_all_end_before_an_error_comes_out():
    ended = []

    def work(part):
        if part == 1:
            raise ZeroDivisionError
        time.sleep(0.02)
        ended.append(part)

    with pytest.raises(ZeroDivisionError):
        side_by_side(work, [(part,) for part in range(4)])
    assert sorted(ended) == [0, 2, 3]
    side_by_side(work, [])
