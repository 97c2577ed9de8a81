"""Trainings that are ended at a random moment by a real signal, and the states that they may be left in."""

import os
import signal
import threading
import time
from contextlib import contextmanager

import numpy as np

import fastmlp as fm
from fastmlp.running import door, nodes

SIZES = [20] * 10
EPOCHS = 12


class InterruptedByTestError(Exception):
    """What the handler of this file raises for a signal that is not Ctrl-C."""


def data():
    rng = np.random.default_rng(0)
    return fm.Dataset(rng.integers(0, 256, (200, 64), dtype=np.uint8), rng.integers(0, 10, 200))


def make():
    fm.manual_seed(0)
    model = fm.nn.MLP(64, (32,), 10, dropout=0.2, batch_norm=True)
    return model, fm.optim.Adam(model.parameters())


def state(model, optimizer):
    """Each part of a training as one value."""
    arrays = [optimizer.state[k][n].tobytes() for k in sorted(optimizer.state) for n in ("exp_avg", "exp_avg_sq")]
    return {
        "weights": b"".join(p.data.tobytes() for p in model.parameters()),
        "statistics": model[1].running_mean.tobytes() + model[1].running_var.tobytes(),
        "batches": int(model[1].num_batches_tracked),
        "drawn": model[3].step,
        "moments": b"".join(arrays) or b"".join(bytes(2 * p.data.nbytes) for p in model.parameters()),
        "steps": optimizer.state[0]["step"] if optimizer.state else 0,
    }


def states_of_steps():
    """The state after each step of a whole training on the graph, the one before it first."""
    model, optimizer = make()
    found = [state(model, optimizer)]
    step = nodes.Nodes._step

    def noting(self, x, targets):
        done = step(self, x, targets)
        found.append(state(model, optimizer))
        return done

    with on_graph(), replaced(nodes.Nodes, "_step", noting):
        train(model, optimizer)
    return found


def train(model, optimizer, **options):
    return fm.fit(model, data(), optimizer=optimizer, epochs=EPOCHS, batch_size=20, progress=False, **options)


def usual_seconds():
    """How long a training takes from its second time on."""
    train(*make())
    start = time.monotonic()
    train(*make())
    return time.monotonic() - start


@contextmanager
def replaced(owner, name, value):
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def on_graph():
    return replaced(door, "obstacle", lambda *_: "a test asks for it")


@contextmanager
def sent(number, delay, times=1):
    """Within this the process gets a signal, or several in quick succession; while inside[0] is off they do nothing."""
    inside = [False]

    def shoot():
        time.sleep(delay)
        for _ in range(times):
            os.kill(os.getpid(), number)

    def handler(signum, frame):
        if inside[0]:
            raise KeyboardInterrupt if signum == signal.SIGINT else InterruptedByTestError

    before = signal.signal(number, handler)
    thread = threading.Thread(target=shoot)
    thread.start()
    try:
        yield inside
    finally:
        inside[0] = False
        thread.join()
        signal.signal(number, before)


def ended_at(number, delay, times, states):
    """(the step that each part of a training has seen when a signal ended it, whether one did)."""
    model, optimizer = make()
    ended = False
    with sent(number, delay, times) as inside:
        try:
            inside[0] = True
            train(model, optimizer)
            inside[0] = False
        except (KeyboardInterrupt, InterruptedByTestError):
            inside[0] = False
            ended = True
    assert np.float32(1e-39) * np.float32(0.5) > 0, "denormal numbers count as zero after fit"
    got = state(model, optimizer)
    return {name: next((k for k, s in enumerate(states) if s[name] == got[name]), "torn") for name in got}, ended
