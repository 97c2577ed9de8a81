"""50 SIGKILLs at random moments of runs of all kinds, each gone on with to the end: equal bit for bit."""

import os
import shutil
import signal
import sys
import time
from collections import Counter

import pytest
from killing import (
    BARE,
    NET,
    USUAL,
    Trial,
    data_file,
    difference,
    draw,
    goes_on,
    killed,
    results,
    status_of,
    steps_kept,
)

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
    """From a run's first file to its last; every fifth is killed once more while it goes on."""
    moment, torn, seen, kill = draw(13), [], Counter(), 0
    while seen["killed"] < KILLS and kill < 4 * KILLS:  # one that comes when all is over is none
        (trial, expected), out = trials[kill % len(trials)], tmp_path / f"run{kill}"
        begun = lambda out=out: bool(status_of(out))  # noqa: E731
        code, _ = killed(trial.command(out), begun, moment.uniform(0, trial.seconds))
        if code == -signal.SIGKILL:
            seen["killed"] += 1
            seen[f"{status_of(out)}, {'a' if steps_kept(out) else 'no'} checkpoint"] += 1
            if kill % 5 == 4:
                code, _ = killed(trial.way_on(out, 1 + kill % 2), begun, moment.uniform(0.5, 2.0))
                seen["killed again"] += code == -signal.SIGKILL
            if found := difference(goes_on(trial, out, 1 + kill % 2), expected):
                torn.append((kill, trial.name, found))
        kill += 1
        shutil.rmtree(out, ignore_errors=True)
    print(f"\n{dict(seen)}; other bits than those of a run never killed: {len(torn)}")
    assert torn == []
    assert seen["killed"] >= KILLS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_train_py_is_ended_by_a_signal_at_random_moments(trials, tmp_path, number):
    """Its exit code, its status, a checkpoint; and `--resume` goes on to the same bits."""
    (trial, expected), moment, waits, seen = trials[0], draw(number), [], Counter()
    for shot in range(20):
        out, start = tmp_path / f"run{shot}", [0.0]

        def begun(out=out, start=start):
            start[0] = time.monotonic()
            return steps_kept(out) > 0

        delay = moment.uniform(0, 0.8 * trial.seconds)
        code, said = killed(trial.command(out), begun, delay, number)
        took = time.monotonic() - start[0] - delay
        status = status_of(out)
        seen[f"{code}, {status}"] += 1
        assert code in (128 + number, 0, -number), said  # -number: when Python itself was at its end
        assert status in ("interrupted", "running", "evaluating", expected["status"])
        assert steps_kept(out)
        if status == expected["status"]:
            assert difference(results(out), expected) == []
        else:
            assert code == 128 + number, said
            assert "interrupted" in said
            waits.append(took)
        assert difference(goes_on(trial, out, 1 + shot % 2), expected) == []
    mean = sum(waits) / len(waits)
    print(f"\n{number.name}: {dict(seen)}; out after {max(waits):.2f} s at most, {mean:.2f} s on average")
    assert len(waits) >= 10
    assert max(waits) < 60  # a bound for any machine; on a quiet one it is a second
