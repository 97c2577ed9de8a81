"""SIGKILL at some moment of a run: `--resume` goes on to the files of a run that was never killed, bit for bit."""

import signal
import sys

import pytest
from killing import BARE, NET, USUAL, Trial, data_file, difference, draw, goes_on, killed, status_of, steps_kept

import fastmlp as fm

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    return Trial("usual", data_file(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def expected(trial, tmp_path_factory):
    return trial.whole(tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.parametrize("kill", range(1))  # `soak/test_kills_soak.py` has fifty
def test_a_run_that_was_killed_goes_on_to_the_same_bits(trial, expected, tmp_path, kill):
    """Batch norm, dropout, a schedule of every step, early stopping, rows held out; each time with other threads."""
    moment, out = draw(kill), tmp_path / "run"
    after = moment.randrange(25, 300)  # steps, of 533: so early that it still trains when the signal comes
    code, _ = killed(trial.command(out), lambda: steps_kept(out) >= after, moment.uniform(0, 0.05))
    assert code == -signal.SIGKILL
    assert status_of(out) == "running"
    assert 25 <= steps_kept(out) < 533
    assert difference(goes_on(trial, out, 1 + kill % 2), expected) == []


def test_a_kill_before_the_first_checkpoint_and_one_while_the_report_is_drawn(tmp_path):
    """The status says what it was at; who goes on after the training does what is left, the report too."""
    options = [*NET[:2], "--epochs", "3", *NET[6:], "--checkpoint-every", "100000s", "--no-plots"]
    trial = Trial("report", data_file(tmp_path), options)
    expected = trial.whole(tmp_path / "whole")
    assert "report.html" in expected["files"]
    out = tmp_path / "early"
    killed(trial.command(out), lambda: bool(status_of(out)))
    assert status_of(out) == "running"
    assert steps_kept(out) == 0
    assert difference(goes_on(trial, out, 2), expected) == []
    out = tmp_path / "late"
    code, _ = killed(trial.command(out), lambda: status_of(out) == "evaluating")
    assert code == -signal.SIGKILL
    assert status_of(out) == "evaluating"
    saved = fm.read_run(out)
    assert saved.status == "evaluating"
    assert saved.process is not None
    assert (saved.epoch, saved.step) == (3, 0)
    assert not (out / "report.html").exists()
    assert difference(goes_on(trial, out, 1), expected) == []
    assert fm.read_run(out).process is None


def test_one_that_had_trained_to_its_end_knows_its_score(tmp_path):
    """Nothing is left to train: the name of the score comes from the checkpoint."""
    trial = Trial("numbers", data_file(tmp_path, "numbers"), [*NET[:2], "--epochs", "2", *NET[6:], "--no-plots"])
    expected, out = trial.whole(tmp_path / "whole"), tmp_path / "run"
    killed(trial.command(out), lambda: status_of(out) == "evaluating")
    assert status_of(out) == "evaluating"
    assert difference(goes_on(trial, out, 2), expected) == []
    assert fm.read_run(out).history.score_name == "r2"


def test_what_differs_is_seen(trial, expected, tmp_path):
    """The comparison above finds a run of another seed."""
    other = Trial("other", trial.data, [*USUAL, *BARE, "--seed", "1"]).whole(tmp_path / "run")
    assert {"model.safetensors", "history.csv", "metrics.json", "test.result"} <= set(difference(other, expected))
