"""What is being trained now: no two trainings of a process may change the same arrays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import ref

from ..nn import Module
from ..optim import Optimizer


class _Training:
    """Who trains. One that is gone holds nothing, also where Ctrl-C came before it had let go."""


_at_work: dict[int, ref[_Training]] = {}  # what is being trained now: id -> by whom
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_at_work.clear)  # the copy that the child has is trained by nobody


def check_free(model: Module, optimizer: Optimizer, me: ref[_Training] | None = None) -> dict[int, Any]:
    """RuntimeError where another training of this process has a parameter or the optimizer; `me` takes what is free."""
    things = {id(thing): thing for thing in (*model.parameters(), *optimizer.parameters(), optimizer)}
    for one in things:
        held = _at_work.get(one) if me is None else _at_work.setdefault(one, me)  # one step: of two threads, one
        if held is not None and held is not me and held() is not None:
            raise RuntimeError(
                "fit: the model or the optimizer is being trained by another call of fit; it must end first, as both "
                "would change the same arrays"
            )
        if me is not None:
            _at_work[one] = me
    return things


@contextmanager
def alone(model: Module, optimizer: Optimizer) -> Iterator[None]:
    """Within this no other training of this process may have the model's parameters or the optimizer."""
    training = _Training()
    me, things = ref(training), {}
    try:
        things = check_free(model, optimizer, me)  # held until the end: the number of one that is gone may come again
        yield
    finally:
        del training, things  # with the first all is free: a traceback may keep this frame, and Ctrl-C come below
        for one in [one for one, who in list(_at_work.items()) if who is me]:
            del _at_work[one]
