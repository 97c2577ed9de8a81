"""Blocks that change something for a while: where a signal ends one as it begins, all is as it was.

Python runs a signal's handler as soon as a call has ended, before the next instruction. What a call has changed must
have its undoing around it by then: else who catches KeyboardInterrupt goes on with half of the cores, without
gradients, or drawing from another generator.
"""

import signal
import sys
from contextlib import contextmanager

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import commandline
from fastmlp.graph import operation, tensor
from fastmlp.kernels import jit
from fastmlp.nn import module
from fastmlp.running import sharing
from fastmlp.show.plots.style import palette, style
from fastmlp.signals import NAMES, Signals
from fastmlp.training import taken

MODEL = fm.nn.Linear(2, 2)
RULE = fm.optim.SGD(MODEL.parameters(), lr=0.1)
SIGNALS = Signals()
NUMBERS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]


def handlers():
    return [signal.getsignal(number) for number in NUMBERS]


def nothing(*_):
    pass


BLOCKS = {  # how it begins, and what it changes
    "no_grad": (fm.no_grad, tensor.is_grad_enabled),
    "evaluating": (module.evaluating, lambda: MODEL.training),
    "seeded": (lambda: module.seeded(3), lambda: id(module.generator())),
    "undrawn": (module.undrawn, lambda: id(module.generator())),
    "at_work": (sharing.at_work, lambda: len(sharing._at_work)),
    "alone": (lambda: taken.alone(MODEL, RULE), lambda: taken.check_free(MODEL, RULE).keys()),
    "style": (lambda: style(dark=True), palette),
    "packed_once": (lambda: operation.packed_once({}), lambda: operation.PACKED.once),
    "interruptible": (lambda: operation.interruptible(nothing), lambda: operation._interruption.look),
    "announce_compiling": (lambda: jit.announce_compiling(nothing), lambda: len(jit.trouble.listening)),
    "held": (SIGNALS.held, lambda: SIGNALS.patience),
    "heard_by": (lambda: SIGNALS.heard_by(nothing), lambda: len(SIGNALS.listeners)),
    "Signals": (Signals, handlers),
    "terminable": (commandline.terminable, handlers),
}


def ended_after(call, make):
    """Whether a block that begins was ended as soon as so many calls of compiled code had ended."""
    calls = 0

    def look(frame, event, argument):
        nonlocal calls
        calls += event == "c_return"
        if calls > call:
            raise KeyboardInterrupt

    try:
        sys.setprofile(look)
        with make():
            sys.setprofile(None)
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


def faults(make, state):
    """The calls after which a block that is ended leaves something changed, of how many."""
    before, found, call = state(), [], 0
    while ended_after(call, make):
        found += [call] * (state() != before)
        call += 1
    return found, call


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_that_is_ended_as_it_begins_leaves_all_as_it_was(name):
    make, state = BLOCKS[name]
    before = state()
    with make():
        assert name == "alone" or state() != before  # for that one, to look is to be refused
    assert state() == before
    found, calls = faults(make, state)
    assert found == []
    assert calls > 0


def test_one_whose_undoing_comes_late_is_seen():
    changed = []

    @contextmanager
    def late():
        changed.append(1)
        try:
            yield
        finally:
            changed.pop()

    found, _ = faults(late, lambda: len(changed))
    assert found


def test_a_prediction_that_is_ended_leaves_its_share_of_the_cores():
    predictor, x = fm.Predictor(fm.nn.MLP(3, (4,), 2)), np.zeros((5, 3), np.float32)

    @contextmanager
    def asked():
        predictor(x)
        yield

    predictor(x)  # compiled
    found, calls = faults(asked, lambda: len(sharing._at_work))
    assert found == []
    assert calls > 5
