"""`Pace`: how many threads a chunk gets, by the steps a second that are reported to it. No clock is read here."""

import numpy as np
import pytest

from fastmlp.running import pace as pace_module
from fastmlp.running.pace import Fixed, Pace


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


# --- a machine with two cores, simulated: no second passes here ---


class Machine:
    """Two cores, and busy processes that take one in turns with our threads, in slices of about 3 ms.

    Quiet, two threads make `gain` times the steps of one. One thread goes where a core is free; two get on while both
    have one, and a chunk on two is left after 1.5 ms without (`PATIENCE_SECONDS`). time: what has passed.
    """

    def __init__(self, burners, gain=1.7, seed=0, one=1000.0):
        self.burners, self.gain, self.one = burners, gain, one
        self.draw, self.time = np.random.default_rng(seed), 0.0
        self.ours, self.left = [True, True], [0.0, 0.0]  # whether a core runs our thread, and for how long still

    def slices(self, threads, tick):
        """Let a tick pass; whether all of our threads have run in it."""
        burners = self.burners(self.time)
        for core in range(threads):
            self.left[core] -= tick
            if self.left[core] <= 0:
                mine = 1.0 if burners + threads <= 2 else 0.5 if threads == 2 else 2 / 3
                if threads == 2 and burners == 1:
                    mine = (0.5, 1.0)[core]
                self.ours[core] = self.draw.random() < mine
                self.left[core] = self.draw.exponential(0.003)
        return all(self.ours[:threads])

    def chunk(self, threads, most):
        """(steps, seconds) of a chunk of at most `most` steps, at least one."""
        steps, seconds, stalled, tick = 0.0, 0.0, 0.0, 0.0005
        speed = self.one * (self.gain if threads == 2 else 1) * self.draw.normal(1, 0.03)
        while steps < most and not (threads == 2 and stalled > 0.0015 and steps >= 1):
            if self.slices(threads, tick):
                steps, stalled = steps + speed * tick, 0.0
            else:
                stalled += tick
            seconds, self.time = seconds + tick, self.time + tick
        return max(1, int(steps)), seconds


def trained(machine, seconds, pace=None):
    """((time, threads, steps, seconds) of each chunk) of a training of so many seconds, as the engine asks a pace."""
    pace, noted = pace or Pace(2), []
    while machine.time < seconds:
        threads = pace.threads(machine.time)
        steps, took = machine.chunk(threads, max(1, pace.expected_speed(threads) * 0.05))
        pace.ran(threads, steps, took, machine.time)
        noted.append((machine.time, threads, steps, took))
    return np.array(noted)


def share_on(noted, threads, since=0.0, until=np.inf):
    inside = (noted[:, 0] > since) & (noted[:, 0] <= until)
    return noted[inside & (noted[:, 1] == threads), 3].sum() / noted[inside, 3].sum()


def speed(noted, since=0.0):
    late = noted[noted[:, 0] > since]
    return late[:, 2].sum() / late[:, 3].sum()


@pytest.mark.parametrize(
    ("burners", "gain", "best", "least"),
    [(0, 1.7, 2, 0.9), (0, 1.02, 1, 0.7), (0, 0.8, 1, 0.9), (1, 1.7, 1, 0.9), (2, 1.7, 1, 0.9)],
)
def test_pace_settles_on_the_better_number(burners, gain, best, least):
    """Of 20 s, nine tenths are spent on it, and the speed is that of who knows it within a tenth.

    Where two threads gain 2 %, one is preferred; trials of two are long then, as they are no loss.
    """
    for seed in range(3):
        noted = trained(Machine(lambda _: burners, gain, seed), 20.0)
        known = trained(Machine(lambda _: burners, gain, seed), 20.0, Fixed(best))
        assert share_on(noted, best) > least
        assert speed(noted) > 0.9 * speed(known)  # the trials


def test_pace_follows_who_comes_and_goes():
    """Two burners from second 10 to 20: two threads are left within half a second, and come back within three."""
    for seed in range(3):
        noted = trained(Machine(lambda now: 2 * (10 < now < 20), 1.7, seed), 30.0)
        assert share_on(noted, 2, 1, 10) > 0.9
        assert share_on(noted, 1, 10.5, 20) > 0.85
        assert share_on(noted, 2, 23) > 0.9


# --- what stays from call to call, and what is shared ---


def test_the_next_pace_of_a_kind_begins_with_what_the_last_has_learnt(monkeypatch):
    """No trial at its start, and the first chunk is as long as the others; another kind knows nothing of it."""
    monkeypatch.setattr(pace_module, "_known", {})
    noted = trained(Machine(lambda _: 0), 5.0, Pace(2, None, "kind"))
    later = trained(Machine(lambda _: 0), 0.25, pace := Pace(2, None, "kind"))
    assert set(noted[:, 1]) == {1, 2}
    assert set(later[:, 1]) == {2}
    assert later[0, 2] > 50
    assert pace.speed.keys() == {1, 2}
    assert set(trained(Machine(lambda _: 0), 0.25, Pace(2, None, "another"))[:, 1]) == {1, 2}
    assert Pace(1, None, "kind").threads(0.0) == 1  # a smaller ceiling holds


def test_what_is_remembered_has_an_end(monkeypatch):
    monkeypatch.setattr(pace_module, "_known", {})
    for kind in range(200):
        Pace(1, None, kind).ran(1, 10, 0.1, 1.0)
    assert list(pace_module._known) == list(range(200 - pace_module.MOST_KNOWN, 200))


def test_pace_keeps_to_its_limit_and_goes_back_when_it_rises():
    """One of two cores while another training is at work: two threads, if known, come back at once, else are tried."""
    others = [0]
    for seconds in (3.0, 0.0):
        pace, machine = Pace(2, lambda: 1 if others[0] else 2), Machine(lambda _: 0)
        trained(machine, seconds, pace)
        others[0] = 1
        assert set(trained(machine, seconds + 3, pace)[:, 1]) == {1}
        others[0] = 0
        assert share_on(trained(machine, seconds + 6, pace), 2) > 0.9
