"""`Pace`: how many threads a chunk gets, by the steps a second that are reported to it. No clock is read here."""

import numpy as np

from fastmlp.running.pace import Pace


def pace_of(speeds, chunks, pace=None, now=0.0):
    """Run a pace where `speeds(now)` gives steps a second for each number of threads; returns what it chose."""
    pace, used = pace or Pace(4), []
    for _ in range(chunks):
        threads = pace.threads(now)
        used.append(threads)
        now += 0.05
        pace.ran(threads, int(0.05 * speeds(now)[threads]), 0.05, now)
    return used


def test_pace_takes_the_fastest_count_and_tries_others_again():
    used = pace_of(lambda now: {4: 1000, 2: 1800, 1: 1200}, 400)
    assert used[:6] == [4, 4, 2, 2, 1, 1]  # one chunk for an estimate, one for the choice
    assert used.count(2) > 0.85 * len(used)
    assert 4 in used[200:]
    assert 1 in used[200:]


def test_pace_leaves_a_count_that_became_slow_and_comes_back():
    used = pace_of(lambda now: {4: 100 if 5 < now < 20 else 3000, 2: 1000, 1: 1200}, 800)
    times = np.arange(1, 801) * 0.05
    assert np.mean(np.array(used)[(times > 5.5) & (times < 20)] == 4) < 0.1
    assert np.mean(np.array(used)[times > 23] == 4) > 0.9


def test_pace_forgives_one_short_stall():
    pace = Pace(2)
    pace_of(lambda now: {2: 2000, 1: 1100}, 20, pace)
    pace.ran(2, 1, 0.002, 1.0)  # a chunk left after 2 ms: one step
    assert pace.best() == 2
    for _ in range(20):  # but not the twentieth
        pace.ran(2, 1, 0.002, 1.0)
    assert pace.best() == 1


def test_pace_does_not_judge_a_trial_by_one_short_chunk():
    """On one thread since a busy time; in the next trial of two, only the first chunk is left after 3 ms."""
    pace = Pace(2)
    pace_of(lambda now: {2: 300, 1: 1100}, 20, pace)
    assert pace.best() == 1
    now = 1.0 + pace.RETRY_SECONDS + 0.1
    assert pace.threads(now) == 2
    pace.ran(2, 1, 0.003, now)
    assert pace.threads(now) == 2
    pace.ran(2, 100, 0.05, now)
    assert pace.best() == 2
