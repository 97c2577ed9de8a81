"""How many threads run: the number that makes most steps a second; how long one waits before it asks all to leave."""

from __future__ import annotations

from time import perf_counter

import numpy as np

from ..kernels.threads import GATE_SIZE, look

PATIENCE_SECONDS = 0.0015  # a thread that waits longer at a gate asks all to leave


class Pace:
    """Chooses the number of threads of each chunk, at most `ceiling`: the one that makes most steps a second.

    It starts with a trial of every number and tries the others again every RETRY_SECONDS. A chunk that had to be left
    early, because somebody else needs a core, is short and slow. A trial goes on over chunks until it has lasted
    TRIAL_SECONDS, so that a single one of them decides nothing.
    """

    RETRY_SECONDS, TRIAL_SECONDS, MEMORY_SECONDS = 2.0, 0.03, 0.04

    def __init__(self, ceiling: int) -> None:
        self.counts = sorted({ceiling, *(1 << k for k in range(ceiling.bit_length()))} & set(range(1, ceiling + 1)))
        self.counts.reverse()
        self.speed: dict[int, float] = {}
        self.trials, self.tried_at = list(self.counts), 0.0
        self.trial_steps, self.trial_seconds = 0, 0.0

    def threads(self, now: float) -> int:
        """The number of threads for the next chunk."""
        if not self.trials and now - self.tried_at > self.RETRY_SECONDS:
            self.trials = [count for count in self.counts if count != self.best()]
            self.tried_at = now
        return self.trials[0] if self.trials else self.best()

    def best(self) -> int:
        """The fastest number of threads so far."""
        return max(self.speed, key=self.speed.__getitem__, default=self.counts[0])

    def expected_speed(self, threads: int) -> float:
        """Steps a second that so many threads may make; 0 where nothing has run yet."""
        return self.speed.get(threads) or min(self.speed.values(), default=0.0)

    def ran(self, threads: int, steps: int, seconds: float, now: float) -> None:
        """Take note of a chunk: as a part of a trial, or with a weight that grows with its length.

        The first chunk of all on a number of threads may be a single step. It gives an estimate for the length of the
        next, and is no part of the trial.
        """
        if threads not in self.speed:
            self.speed[threads] = steps / seconds
        elif self.trials and self.trials[0] == threads:
            self.trial_steps, self.trial_seconds = self.trial_steps + steps, self.trial_seconds + seconds
            if self.trial_seconds >= self.TRIAL_SECONDS:
                self.speed[threads] = self.trial_steps / self.trial_seconds
                self.trials.pop(0)
                self.trial_steps, self.trial_seconds, self.tried_at = 0, 0.0, now
        else:
            self.speed[threads] += min(0.5, seconds / self.MEMORY_SECONDS) * (steps / seconds - self.speed[threads])


class Fixed(Pace):
    """Always one number of threads, also more than there are cores."""

    def threads(self, now: float) -> int:
        """That number."""
        return self.counts[0]


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
