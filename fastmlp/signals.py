"""Ctrl-C and its kin: noted by a handler, and acted on where everything is of one whole step.

Python raises KeyboardInterrupt between any two lines, also within an update of two arrays that belong together; and it
is lost where Python ignores exceptions, in a `__del__` or the callback of a weak reference. A note is not lost.
"""

from __future__ import annotations

import atexit
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C; `kill`, a container's end; a terminal that was closed
END = 0  # no signal's number: the interpreter ends
END_SECONDS = 10.0  # how long it waits for trainings of other threads


class Terminated(KeyboardInterrupt):
    """What SIGTERM and SIGHUP raise: a program ends as it does by Ctrl-C. `number` is that of the signal."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__()
        self.number = int(number)


def handlers() -> dict[int, Any]:
    """The handlers of those signals of NAMES that this system has and that nobody ignores, as `nohup` does SIGHUP."""
    numbers = [int(getattr(signal, name)) for name in NAMES if hasattr(signal, name)]
    found = {number: signal.getsignal(number) for number in numbers}
    return {number: handler for number, handler in found.items() if handler not in (None, signal.SIG_IGN)}


class Signals:
    """Within `with Signals() as signals` the signals of NAMES are noted. In another thread than the main one it is the
    end of the interpreter, for which SystemExit is raised.

    Who does the work calls `look()` where it may be ended: it calls the handler that was there before, which raises
    KeyboardInterrupt of itself or does what its owner wanted. Outside of `held()` that happens at once. A signal that
    was ignored stays so; one that would have ended the process raises `Terminated`, and ends it when the block ends.
    """

    def __init__(self) -> None:
        self.before: dict[int, Any] = {}
        self.noted: list[tuple[int, FrameType | None]] = []
        self.patience: float = 0  # so many may be noted before one is acted on at once
        self.listeners: list[Callable[[], Any]] = []
        self.process, self.over = os.getpid(), threading.Event()

    def __enter__(self) -> Signals:
        if threading.current_thread() is not threading.main_thread():
            _elsewhere.append(self)
            self.noted += [(END, None)] * _ending.is_set()
        else:
            self.before = handlers()
            try:
                for number in self.before:
                    signal.signal(number, self._note)
            except ValueError:  # in an interpreter that is not the main one
                self.before = {}
            except BaseException:  # another signal's handler: its error comes before there is a block to leave
                self._put_back()
                raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self in _elsewhere:
            _elsewhere.remove(self)
            self.over.set()
        self._put_back()
        if isinstance(error, Terminated) and self.before.get(error.number) == signal.SIG_DFL:
            os.kill(os.getpid(), error.number)
        if error is None:
            self.look()

    def _put_back(self) -> None:
        for number, handler in self.before.items():
            if signal.getsignal(number) == self._note:  # else somebody else's is there by now
                signal.signal(number, handler)

    def look(self) -> None:
        """Act on what was noted: raise KeyboardInterrupt, or what the handler that was there before raises."""
        while self.noted:
            number, frame = self.noted.pop(0)
            if number == END:
                raise SystemExit
            handler = self.before[number]
            if callable(handler):
                handler(number, frame)
                if getattr(handler, "__func__", None) is not Signals._note:
                    continue  # it has done what its owner wanted
            raise Terminated(number) if number != signal.SIGINT else KeyboardInterrupt

    @contextmanager
    def held(self, patience: float = math.inf) -> Iterator[None]:
        """Within this a signal is noted and no more; but where more than `patience` were, the next acts at once."""
        before, self.patience = self.patience, patience
        try:
            yield
        finally:
            self.patience = before

    @contextmanager
    def heard_by(self, listener: Callable[[], Any]) -> Iterator[None]:
        """Within this `listener` is called when a signal is noted: it asks for the end of what runs."""
        try:
            self.listeners.append(listener)
            yield
        finally:
            self.listeners.remove(listener)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process:  # a forked child, where nobody looks: what was there before acts
            signal.signal(number, self.before[number])
            os.kill(os.getpid(), number)
            return
        self.noted.append((number, frame))
        for listener in self.listeners:
            listener()
        if len(self.noted) > self.patience:
            try:
                self.look()
            except BaseException:
                self.noted.insert(0, (number, frame))  # where nobody sees it raised, the next look raises it again
                raise


_elsewhere: list[Signals] = []  # those in use by other threads than the main one
_ending = threading.Event()


def _end() -> None:
    """Before the interpreter ends: let trainings in threads end, and keep a checkpoint.

    Python waits for threads before it comes here, but not for daemons: it ends those wherever they are, and where that
    is within compiled code, the process may crash.
    """
    _ending.set()
    mine = [signals for signals in _elsewhere if signals.process == os.getpid()]  # else the threads of who forked it
    for signals in mine:
        signals.noted.append((END, None))
        for listener in list(signals.listeners):
            listener()
    limit = monotonic() + END_SECONDS
    for signals in mine:
        signals.over.wait(max(0.0, limit - monotonic()))


atexit.register(_end)
