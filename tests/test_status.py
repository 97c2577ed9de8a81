"""What a run's folder says while it goes on and after: who is at work, how it ended, of which step its weights are.

`scripts/train.py` is run in this process; a real signal or an exception ends it at the moment in question.
"""

import importlib.util
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from killing import data_file

import fastmlp as fm
from fastmlp.running import engine
from fastmlp.training.checkpoint import files_of
from fastmlp.training.progress import Progress

ROOT = Path(__file__).parent.parent
STEPS = 16  # of an epoch: 1,000 rows, 64 a step


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("train_script", ROOT / "scripts" / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def train(script, tmp_path, monkeypatch):
    """Runs it with these options in `tmp_path / "run"`: (exit code, what config.json said at each write)."""
    said, data = [], data_file(tmp_path)
    write = fm.Run.write_config

    def noting(self, status):
        write(self, status)
        said.append(json.loads((self.folder / "config.json").read_text()))

    monkeypatch.setattr(fm.Run, "write_config", noting)

    def run(*options):
        said.clear()
        arguments = [
            "--data",
            data,
            "--hidden",
            "16",
            "--no-progress",
            "--no-plots",
            "--out",
            tmp_path / "run",
            *options,
        ]
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        code = 0
        try:
            script.main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        except KeyboardInterrupt:
            code = "KeyboardInterrupt"
        finally:
            signal.signal(signal.SIGINT, before)
        return code, list(said)

    return run


def statuses(said):
    return [config["status"] for config in said]


def newest(folder):
    """How many steps the newest checkpoint has."""
    return int(files_of(folder)[0].name[11:23])


def test_running_evaluating_finished_and_that_is_the_last_write(train, tmp_path, monkeypatch):
    order, write = [], fm.files.write
    for room in ("store.run", "training.checkpoint", "show.report.page"):
        module = sys.modules.get(f"fastmlp.{room}")
        if module is not None and hasattr(module, "write"):
            monkeypatch.setattr(module, "write", lambda path, *a: order.append(Path(path).name) or write(path, *a))
    code, said = train("--epochs", 2)
    assert code == 0
    assert [status for k, status in enumerate(statuses(said)) if k == 0 or status != statuses(said)[k - 1]] == [
        "running", "evaluating", "finished"
    ]  # fmt: skip
    assert [config.get("process") for config in said] == [os.getpid()] * (len(said) - 1) + [None]
    assert order[-1] == "config.json"
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()}
    assert max(times, key=times.get) == "config.json"
    saved = fm.read_run(tmp_path / "run")
    assert (saved.status, saved.process, saved.epoch, saved.step) == ("finished", None, 2, 0)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("where", ["evaluate", "write_report"])
def test_what_ends_it_after_the_training_leaves_evaluating(train, tmp_path, monkeypatch, error, where):
    """Not "finished": a file is not there."""

    def fail(*_, **__):
        raise error("a test")

    monkeypatch.setattr(*(fm, "evaluate", fail) if where == "evaluate" else (fm.Run, "write_report", fail))
    if error is OSError:
        with pytest.raises(OSError, match="a test"):
            train("--epochs", 2)
    else:
        assert train("--epochs", 2)[0] == "KeyboardInterrupt"
    saved = fm.read_run(tmp_path / "run")
    assert (saved.status, saved.process, saved.epoch, saved.step) == ("evaluating", os.getpid(), 2, 0)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("at", [3, STEPS, STEPS + 5])
def test_after_a_signal_the_folder_names_the_step_of_its_weights(train, tmp_path, monkeypatch, number, code, at):
    """Within an epoch and at its end: the weights are those that another training has after as many steps."""
    monkeypatch.setattr(engine, "CHUNK_SECONDS", 0)  # a step a call
    batch, count = Progress.batch, []

    def noting(self, *arguments):
        batch(self, *arguments)
        count.append(1)
        if len(count) == at:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Progress, "batch", noting)
    before = signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(fm.signals.Terminated(signal.SIGTERM)))
    try:
        ended, said = train("--epochs", 4, "--norm", "batch")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended == code
    assert statuses(said)[-1] == "interrupted"
    assert newest(tmp_path / "run") == at
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["weights_of_epoch"], config["weights_of_step"]) == divmod(at, STEPS)
    if at <= STEPS:
        return  # there is no epoch to write down yet: the checkpoint has all
    saved = fm.read_run(tmp_path / "run")
    assert (saved.status, saved.process) == ("interrupted", None)
    assert (saved.epoch, saved.step) == divmod(at, STEPS)
    assert len(saved.history) == at // STEPS
    monkeypatch.setattr(Progress, "batch", batch)
    steps = []

    class Ended(Exception):  # noqa: N818
        pass

    def until(self, *arguments):
        steps.append(1)
        if len(steps) == at:
            raise Ended

    monkeypatch.setattr(Progress, "batch", until)
    fm.manual_seed(0)
    model, data = fm.nn.MLP(784, (16,), 10, norm="batch"), fm.data.load(tmp_path / "classes.npz")[0]
    with pytest.raises(Ended):
        fm.fit(model, data, epochs=4, progress="table")
    for name, array in model.state_dict().items():
        assert np.array_equal(array, saved.model.state_dict()[name]), name


def test_after_early_stopping_the_folder_names_the_best_epoch(train, tmp_path):
    code, said = train("--epochs", 40, "--patience", 2, "--lr", "0.05")
    saved = fm.read_run(tmp_path / "run")
    assert (code, saved.status, saved.process) == (0, "stopped early", None)
    losses = saved.history.column("validation_loss")
    assert (saved.epoch, saved.step) == (1 + losses.index(min(losses)), 0)
    assert len(losses) == saved.epoch + 2
    assert saved.epoch == said[-1]["weights_of_epoch"]


def test_after_a_divergence_the_folder_names_the_last_good_step(train, tmp_path):
    code, said = train("--epochs", 4, "--optimizer", "sgd", "--lr", "1e30")
    assert code == 1
    saved = fm.read_run(tmp_path / "run")
    assert (saved.status, saved.process) == ("diverged", None)
    assert "finished" not in statuses(said)
    assert saved.epoch == said[-1]["weights_of_epoch"] == 0
    assert 0 <= saved.step == said[-1]["weights_of_step"] < STEPS
    assert all(np.isfinite(array).all() for array in saved.model.state_dict().values())
