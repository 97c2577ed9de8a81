"""Who trains holds the model, and nobody holds it afterwards."""

import sys
from contextlib import suppress

import interruptions

from fastmlp.training import taken


def test_ctrl_c_where_a_training_takes_or_lets_go_leaves_the_model_free():
    """At each line of it: a second Ctrl-C may come there."""
    model, optimizer = interruptions.make()
    counted, target = 0, -1

    def line(frame, event, argument):
        nonlocal counted
        if event == "line":
            counted += 1
            if counted == target:
                raise KeyboardInterrupt
        return line

    def interrupted(at):
        nonlocal counted, target
        counted, target = 0, at
        sys.settrace(lambda frame, *_: line if frame.f_code.co_filename == taken.__file__ else None)
        try:
            with suppress(KeyboardInterrupt), taken.alone(model, optimizer):
                pass
        finally:
            sys.settrace(None)
        return counted

    lines = interrupted(-1)
    for at in range(1, lines + 1):
        interrupted(at)
        with taken.alone(model, optimizer):  # RuntimeError where somebody still has it
            pass
    assert lines > 20
