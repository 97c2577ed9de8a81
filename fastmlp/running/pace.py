"""How many threads run: the number that makes most steps a second; how long one waits before it asks all to leave."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from math import exp, inf, log2
from time import perf_counter

import numpy as np

from ..kernels.threads import GATE_SIZE, look

PATIENCE_SECONDS = 0.0015  # a thread that waits longer at a gate asks all to leave
MOST_KNOWN = 64  # kinds of steps that a process remembers the speeds of


class Pace:
    """Chooses the number of threads of each chunk, at most `ceiling`: the one that makes most steps a second.

    speed(n) = Σ steps / Σ seconds of the chunks on n threads, both faded by e^(−t / FADE_SECONDS) as t seconds pass on
    n threads. Where BLOCK_SECONDS of them are less than half as fast, or more than twice, these are the sums: somebody
    has come, or gone. A doubling of the threads must be worth MARGIN of the speed, and a change KEEP.

    Every number is tried at first, and the others again after a while: RETRY_SECONDS, and twice as long each time that
    nothing better was found, and four times that where all were less than HOPELESS of the best, but no longer than
    LONGEST_SECONDS. A trial lasts TRIAL_SECONDS where it is clearly slower, half of that where it is hopeless, else
    CONFIRM_SECONDS: beside other processes a core comes and goes in slices of some milliseconds, and a thread that has
    slept is served first. The first chunk of all on a number of threads may be a single step: it gives an estimate for
    the length of the next, and is no part of a trial.

    limit  the most threads now, for trainings that share the cores; None for `ceiling` alone
    kind   what a step is made of: what a Pace has learnt of it, the next one of this process with that kind begins with
    """

    RETRY_SECONDS, LONGEST_SECONDS, TRIAL_SECONDS, CONFIRM_SECONDS = 0.3, 2.0, 0.03, 0.15
    FADE_SECONDS, BLOCK_SECONDS, MARGIN, KEEP, WORSE, HOPELESS = 0.25, 0.04, 0.04, 0.015, 0.85, 0.5

    def __init__(self, ceiling: int, limit: Callable[[], float] | None = None, kind: Hashable = None) -> None:
        self.counts = sorted({ceiling, *(1 << k for k in range(ceiling.bit_length()))} & set(range(1, ceiling + 1)))
        self.counts.reverse()
        self.limit, self.kind = limit or (lambda: inf), kind
        self.sums: dict[int, tuple[float, float]] = {}  # (steps, seconds) of each number of threads
        self.chosen, self.trial, self.queue = self.counts[0], (0.0, 0.0), list(self.counts)
        self.block, self.wait, self.tried_at = (0.0, 0.0), self.RETRY_SECONDS, -inf
        if known := _known.get(kind) if kind is not None else None:
            sums, self.wait, since = known
            self.sums = {count: pair for count, pair in sums.items() if count in self.counts}
            self.queue = [count for count in self.counts if count not in self.sums]
            self.chosen = self.best()
            self.tried_at = perf_counter() - since

    def threads(self, now: float) -> int:
        """The number of threads for the next chunk."""
        allowed = self._allowed()
        if self.tried_at == -inf:
            self.tried_at = now
        best, waiting = self.best(), [count for count in self.queue if count in allowed]
        if not waiting and now - self.tried_at > self.wait:
            self.queue = [count for count in self.counts if count != best]
            waiting = [count for count in self.queue if count in allowed]
        return waiting[0] if waiting else best

    def best(self) -> int:
        """The number of threads that is worth most, of those that the limit allows and of which something is known."""
        known = [count for count in self._allowed() if count in self.sums]
        return max(known, key=self._worth) if known else self._allowed()[0]

    def expected_speed(self, threads: int) -> float:
        """Steps a second that so many threads may make; 0 where nothing has run yet."""
        speed = self.speed
        return speed.get(threads) or min(speed.values(), default=0.0)

    def ran(self, threads: int, steps: int, seconds: float, now: float) -> None:
        """Take note of a chunk: as a part of a trial, or of what is known."""
        if threads not in self.sums:
            self.sums[threads] = steps * 1e-6, seconds * 1e-6
        elif threads in self.queue:
            self._ran_on_trial(threads, steps, seconds, now)
        else:
            fade = exp(-seconds / self.FADE_SECONDS)
            self.sums[threads] = _plus(self.sums[threads], steps, seconds, fade)
            self.block = _plus(self.block, steps, seconds) if threads == self.chosen else (steps, seconds)
            self.chosen = threads
            if self.block[1] >= self.BLOCK_SECONDS:
                there = self.speed[threads] * self.block[1]  # steps that were expected; 0 where all were given up
                if not 0.5 * there < self.block[0] < 2 * there:
                    self.sums[threads], self.wait = self.block, self.RETRY_SECONDS
                self.block = 0.0, 0.0
        if self.kind is not None:
            _remember(self.kind, (dict(self.sums), self.wait, now - self.tried_at))

    def _ran_on_trial(self, threads: int, steps: int, seconds: float, now: float) -> None:
        """Go on with a trial; the last one of a round says when the next round is due."""
        first = self.sums[threads][1] < 1e-3  # nothing but an estimate is known
        self.trial = _plus(self.trial, steps, seconds)
        rivals = [self._worth(count) for count in self._allowed() if count != threads and count in self.sums]
        known, rival = self.sums[threads], max(rivals, default=0.0)
        self.sums[threads] = self.trial
        worth = self._worth(threads)
        hopeless = worth < self.HOPELESS * rival
        if self.trial[1] < self.TRIAL_SECONDS * (0.5 if hopeless else 1):
            self.sums[threads] = known
            return
        if worth >= self.WORSE * rival and not first and self.trial[1] < self.CONFIRM_SECONDS:
            return
        self.queue.remove(threads)
        self.trial = 0.0, 0.0
        if not any(count in self._allowed() for count in self.queue):
            best = self.best()
            wait = self.RETRY_SECONDS if first or best != self.chosen else 2 * self.wait
            others = [self._worth(count) for count in self._allowed() if count != best and count in self.sums]
            close = max(others, default=0.0) >= self.HOPELESS * self._worth(best)
            self.wait = min(wait if close else 4 * wait, self.LONGEST_SECONDS)
            self.chosen, self.tried_at = best, now

    def _allowed(self) -> list[int]:
        """The numbers of threads up to the limit of now, the largest first; one thread is always allowed."""
        limit = self.limit()
        return [count for count in self.counts if count <= limit] or self.counts[-1:]

    @property
    def speed(self) -> dict[int, float]:
        """Steps a second of each number of threads of which something is known."""
        return {count: steps / seconds for count, (steps, seconds) in self.sums.items()}

    def _worth(self, threads: int) -> float:
        """Its speed, less what its threads must be worth, and a little more where it is at work already."""
        return self.speed[threads] * (1 - self.MARGIN) ** log2(threads) * (1 + self.KEEP * (threads == self.chosen))


class Fixed(Pace):
    """Always one number of threads, also more than there are cores."""

    def threads(self, now: float) -> int:
        """That number."""
        return self.counts[0]


def _plus(sums: tuple[float, float], steps: float, seconds: float, fade: float = 1.0) -> tuple[float, float]:
    return sums[0] * fade + steps, sums[1] * fade + seconds


_known: dict[Hashable, tuple[dict[int, tuple[float, float]], float, float]] = {}  # kind: (sums, wait, since a trial)


def _remember(kind: Hashable, what: tuple[dict[int, tuple[float, float]], float, float]) -> None:
    """Keep what is known of a kind of step, and forget the oldest. Trainings on other threads do so too."""
    if kind not in _known:
        for old in list(_known)[: max(len(_known) - MOST_KNOWN + 1, 0)]:
            _known.pop(old, None)
    _known[kind] = what


_looks_a_second: float | None = None


def patience() -> int:
    """How often a thread looks at a shut gate in PATIENCE_SECONDS, measured once a process."""
    global _looks_a_second
    if _looks_a_second is None:
        gate, looks = np.zeros(GATE_SIZE, np.int64), 20_000
        look(gate, looks)
        start = perf_counter()
        look(gate, looks)
        _looks_a_second = looks / max(perf_counter() - start, 1e-6)
    return max(100, int(_looks_a_second * PATIENCE_SECONDS))
