"""Who is at work in this process: trainings and predictions on threads of the user's share the cores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from time import monotonic

from ..machine import available_cores

LOOK_SECONDS = 1.0  # the number of cores is asked for so often, as that reads files

_at_work: set[object] = set()
_cores: tuple[float, int] | None = None  # (when it was asked for, how many)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_at_work.clear)  # the parent's threads are not at work in the child


@contextmanager
def at_work() -> Iterator[None]:
    """Within this an epoch or a prediction counts as one that wants its share of the cores."""
    me = object()
    try:
        _at_work.add(me)  # a handler of a signal may raise as soon as a call has ended: what undoes it is there by then
        yield
    finally:
        _at_work.discard(me)


def cores_each() -> float:
    """The threads that each of those at work may have: cores // how many there are, and at least 1; alone, no limit.

    It is asked for each chunk of steps, so that a share grows and shrinks as others end and begin.
    """
    global _cores
    if (many := len(_at_work)) < 2:
        return inf
    if _cores is None or monotonic() - _cores[0] > LOOK_SECONDS:
        _cores = monotonic(), available_cores()
    return max(_cores[1] // many, 1)
