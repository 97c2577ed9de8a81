"""50 SIGKILLs at random moments of runs of all kinds, each gone on with to the end: equal bit for bit."""

import os
import signal
import sys
import time
from collections import Counter

import pytest
from killing import BARE, NET, USUAL, Trial, data_file, difference, draw, goes_on, killed, status_of, steps_kept

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
KILLS = int(os.environ.get("FASTMLP_KILLS", 50))

EMA = [
    "--hidden",
    "24",
    "--optimizer",
    "sgd",
    "--momentum",
    "0.9",
    "--lr",
    "0.02",
    "--average",
    "ema",
    "--norm",
    "layer",
]
SWA = ["--hidden", "24,16", "--average", "swa", "--norm", "batch", "--dropout", "0.1", "--clip-norm", "1"]
PLATEAU = ["--hidden", "24", "--schedule", "ReduceLROnPlateau", "--norm", "batch", "--optimizer", "adagrad"]
LENGTH = ["--epochs", "40", "--checkpoint-every", "20", "--validation", "0.2", *BARE]


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    classes, numbers, labels = (data_file(folder, kind) for kind in ("classes", "numbers", "labels"))
    found = [
        Trial("usual", classes),
        Trial("ema", classes, [*EMA, *LENGTH]),
        Trial("swa", classes, [*SWA, *LENGTH]),
        Trial("plateau", classes, [*PLATEAU, *LENGTH]),
        Trial("numbers", numbers, [*NET, "--patience", "20", *BARE]),
        Trial("labels", labels, [*NET, "--validation", "150", "--schedule", "CosineAnnealingLR", *BARE]),
        Trial("every second", classes, [*USUAL[:4], *USUAL[6:], "--checkpoint-every", "0.1s", *BARE]),
        Trial("graph", classes, on_graph=True),
    ]
    wholes = [trial.whole(tmp_path_factory.mktemp("whole") / "run") for trial in found]
    return list(zip(found, wholes, strict=True))


def test_killed_at_random_moments_and_gone_on_with(trials, tmp_path):
    """From the start of the process to its end; every fifth is killed once more while it goes on."""
    moment, torn, seen = draw(13), [], Counter()
    for kill in range(KILLS):
        (trial, expected), out = trials[kill % len(trials)], tmp_path / f"run{kill}"
        begun = lambda out=out: bool(status_of(out))  # noqa: E731
        delay = moment.uniform(0, max(trial.seconds - 1.0, 0.3))  # a process takes a second to begin
        code, _ = killed(trial.command(out), begun, delay)
        seen[f"{status_of(out)}, {'a' if steps_kept(out) else 'no'} checkpoint"] += 1
        seen["killed"] += code == -signal.SIGKILL
        if kill % 5 == 4:
            code, _ = killed(trial.way_on(out, 1 + kill % 2), begun, moment.uniform(0.5, 2.0))
            seen["killed again"] += code == -signal.SIGKILL
        if found := difference(goes_on(trial, out, 1 + kill % 2), expected):
            torn.append((kill, trial.name, found))
    print(f"\n{KILLS} runs, {dict(seen)}; other bits than those of a run never killed: {len(torn)}")
    assert torn == []
    assert seen["killed"] >= KILLS // 2, "kills that come when all is over test nothing"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_train_py_is_ended_by_a_signal_at_random_moments(trials, tmp_path, number):
    """Its exit code, its status, a checkpoint; and `--resume` goes on to the same bits."""
    (trial, expected), moment, waits, seen = trials[0], draw(number), [], Counter()
    for shot in range(20):
        out = tmp_path / f"run{shot}"
        start = [0.0]

        def begun(out=out, start=start):
            start[0] = time.monotonic()
            return steps_kept(out) > 0

        delay = moment.uniform(0, max(trial.seconds - 1.5, 0.3))
        code, said = killed(trial.command(out), begun, delay, number)
        took = time.monotonic() - start[0] - delay
        seen[code] += 1
        if code:
            waits.append(took)
            assert code == 128 + number, said
            assert "interrupted" in said
            assert status_of(out) == "interrupted"
            assert steps_kept(out)
            assert difference(goes_on(trial, out, 1 + shot % 2), expected) == []
        else:
            assert difference(expected, goes_on(trial, out, 1)) == []
    mean = sum(waits) / len(waits)
    print(f"\n{number.name}: {dict(seen)}; out after {max(waits):.2f} s at most, {mean:.2f} s on average")
    assert seen[128 + number] >= 10
    assert max(waits) < 60  # a bound for any machine; on a quiet one it is a second
