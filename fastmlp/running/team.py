"""Threads that work side by side: started before they are needed, so that none waits for one that cannot be had."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

WATCH_SECONDS = 1.0  # who waits for threads looks this often whether they live
CANNOT_START = (RuntimeError, MemoryError)  # "can't start new thread", "... at interpreter shutdown"


class _Call:
    """One `Team.run`: the work, who has ended his part of it, and the errors, the first of all in front."""

    def __init__(self, work: Callable[[int], Any], threads: int, give_up: Callable[[], Any]) -> None:
        self.work, self.threads, self.give_up = work, threads, give_up
        self.begun, self.over, self.lock = Lock(), Lock(), Lock()
        self.over.acquire()  # until the last has ended
        self.ended: set[int] = set()
        self.errors: list[BaseException] = []

    def do(self, thread: int) -> None:
        """This thread's part."""
        try:
            self.work(thread)
        except BaseException as error:
            self.fail(error)
        self.end(thread)

    def fail(self, error: BaseException) -> None:
        """Keep the error, and let the others know that somebody will not come."""
        self.errors.append(error)
        self.give_up()

    def end(self, thread: int) -> None:
        """Take note that a part has ended; the last one wakes the caller."""
        with self.lock:
            last = len(self.ended | {thread}) == self.threads > len(self.ended)
            self.ended.add(thread)
        if last:
            self.over.release()


class Team:
    """Up to `size` threads that do one thing together, again and again; `len(team)` of them could be started.

    A process may be allowed fewer threads than were asked for, or none: a limit on processes, a container's on pids,
    an interpreter that is ending. So they are started first, and then counted; where there is none, the caller's own
    thread works. They are daemons: they go on after the main thread where another one trains, and keep no program
    from ending. In a forked child, where threads of the parent do not live, they are started anew.
    """

    def __init__(self, size: int) -> None:
        self.size, self._process = size, 0
        self._threads: list[Thread] = []
        self._calls: list[SimpleQueue[_Call | None]] = []

    def __len__(self) -> int:
        return len(self._threads)

    def start(self) -> int:
        """Start the threads, where that was not done in this process; returns on how many `run` may work."""
        if self._process != os.getpid():
            self._process, self._threads, self._calls = os.getpid(), [], []
            for number in range(self.size):
                calls: SimpleQueue[_Call | None] = SimpleQueue()
                thread = Thread(target=self._serve, args=(number, calls), name=f"fastmlp_{number}", daemon=True)
                try:
                    thread.start()
                except CANNOT_START:
                    break
                self._threads.append(thread)
                self._calls.append(calls)
        return max(1, len(self))

    def close(self) -> None:
        """End the threads, and wait until they have ended."""
        threads, self._threads, self._process = self._threads, [], 0
        for calls in self._calls:
            calls.put(None)
        for thread in threads:
            thread.join()

    def run(
        self,
        threads: int,
        work: Callable[[int], Any],
        give_up: Callable[[], Any],
        hurry: Callable[[], Any] = lambda: None,
        here: bool = False,
    ) -> None:
        """work(0) ... work(threads - 1) side by side; `threads` is at most what `start` returned.

        here: whether the caller's own thread may do it where it is for one alone. To hand it on and to be woken takes
        0.3 ms and leaves the caches of a core behind; but until it ends, no handler of a signal can ask for its end.

        Either all begin or none: the caller hands the work to the first thread in one piece, and that one, where no
        Ctrl-C arrives, to the others. When this returns or raises, nobody is at work any more: Ctrl-C, and whatever
        else a signal's handler raises, waits for the end of the work, which `hurry` asks for. Where a part fails, or
        its thread dies, `give_up` is called, which must let the others come out, and its error is raised here.
        """
        if not self._threads or (here and threads == 1):
            try:
                work(0)
            except Exception:
                give_up()
                raise
            return
        call, interrupt = _Call(work, threads, give_up), None
        try:
            self._calls[0].put(call)
        except BaseException as error:
            interrupt = error
        while len(call.ended) < threads:
            try:
                if interrupt and call.begun.acquire(blocking=False):
                    break  # nobody has begun, and now nobody will
                if not call.over.acquire(timeout=WATCH_SECONDS):
                    self._watch(call)
            except BaseException as error:
                interrupt = interrupt or error
                hurry()
        if interrupt:
            raise interrupt
        if call.errors:
            raise call.errors[0]

    def _watch(self, call: _Call) -> None:
        """A thread that has died, as an exception from outside may let it, ends its part too."""
        for number in range(call.threads):
            if number not in call.ended and not self._threads[number].is_alive():
                call.fail(RuntimeError(f"the thread {self._threads[number].name} has died"))
                call.end(number)

    def _serve(self, number: int, calls: SimpleQueue[_Call | None]) -> None:
        """The life of a thread: one call after the other."""
        while (call := calls.get()) is not None:
            if number > 0:
                call.do(number)
            elif call.begun.acquire(blocking=False):
                self._lead(call)
            del call  # it holds what the work holds

    def _lead(self, call: _Call) -> None:
        """The first thread's part: hand the call on, then do as the others do."""
        given = 1
        try:
            while given < call.threads:
                self._calls[given].put(call)
                given += 1
        except BaseException as error:  # who has it will leave, and who does not has ended
            call.fail(error)
            for number in (0, *range(given, call.threads)):
                call.end(number)
            return
        call.do(0)


def side_by_side(work: Callable[..., Any], parts: Sequence[tuple[Any, ...]]) -> None:
    """work(*part) for every part, each on a thread of its own; the first, and those without a thread, on this one.

    When this returns or raises, nobody is at work any more. The parts must not wait for each other.
    """
    errors: list[BaseException] = []

    def do(part: tuple[Any, ...]) -> None:
        try:
            work(*part)
        except BaseException as error:
            errors.append(error)

    threads: list[Thread] = []
    here, interrupt = list(parts[:1]), None
    try:
        for part in parts[1:]:
            threads.append(Thread(target=do, args=(part,), name="fastmlp", daemon=True))
            try:
                threads[-1].start()
            except CANNOT_START:
                threads.pop()
                here.append(part)
        for part in here:
            work(*part)
    finally:
        for thread in threads:
            while thread.is_alive():
                try:
                    thread.join()
                except BaseException as error:
                    interrupt = interrupt or error
    if interrupt or errors:
        raise interrupt or errors[0]
