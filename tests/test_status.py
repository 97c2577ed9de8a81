"""What a run's folder says while it goes on and after: who is at work, how it ended, of which step its weights are.

`scripts/train.py` is run in this process; a real signal or an exception ends it at the moment in question.
"""

import errno
import importlib.util
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from killing import LIMIT, data_file

import fastmlp as fm
from fastmlp.running import engine
from fastmlp.training import loop
from fastmlp.training.checkpoint import Checkpoints, files_of
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


@pytest.mark.parametrize("where", ["evaluate", "write_report"])
def test_what_ends_it_after_the_training_leaves_evaluating(train, tmp_path, monkeypatch, where):
    """Not "finished": a file is not there."""

    def fail(*_, **__):
        raise KeyboardInterrupt("a test")

    monkeypatch.setattr(*(fm, "evaluate", fail) if where == "evaluate" else (fm.Run, "write_report", fail))
    assert train("--epochs", 2)[0] == "KeyboardInterrupt"
    saved = fm.read_run(tmp_path / "run")
    assert (saved.status, saved.process, saved.epoch, saved.step) == ("evaluating", os.getpid(), 2, 0)


@pytest.mark.parametrize("last", ["history.csv", "report.html", "config.json"])
def test_a_disk_that_is_full_after_the_training_leaves_incomplete(script, train, tmp_path, monkeypatch, last):
    """From a file on, or for all but the status, nothing can be written; with room again --resume ends it."""
    out, full, write, end = tmp_path / "run", [], fm.files.replacing, fm.Run.write_config

    def ends(self, status):
        if status == "finished" and last == "config.json":
            full.append(1)
        end(self, status)

    @contextmanager
    def filling(path):
        if Path(path).name == last != "config.json" and files_of(out):
            full.append(1)
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        with write(path) as partial:
            yield partial

    with monkeypatch.context() as patch:
        patch.setattr(fm.Run, "write_config", ends)
        for name, module in list(sys.modules.items()):
            if name.startswith("fastmlp.") and getattr(module, "replacing", None) is write:
                patch.setattr(module, "replacing", filling)
        with pytest.raises(OSError, match="is incomplete, as not all of its files could be written") as raised:
            train("--epochs", 2, "--checkpoint-every", 40)  # the one at the end alone
    assert str(raised.value).endswith(
        f"(No space left on device); with room, --resume {script.from_here(out)} writes all of it"
    )
    config = json.loads((out / "config.json").read_text())
    assert (config["status"], config.get("process")) == ("incomplete", None)
    script.main(["--resume", str(out), "--no-progress"])
    assert fm.read_run(out).status == "finished"


HOLDS = """if True:
    import sys, time
    from fastmlp.training.checkpoint import Checkpoints
    kept = Checkpoints(sys.argv[1], replace=True)
    kept.begin()
    print("held", flush=True)
    time.sleep(600)
"""


def test_two_at_once_are_refused_and_one_that_was_killed_is_not_in_the_way(script, train, tmp_path):
    train("--epochs", 2)
    before = (tmp_path / "run" / "config.json").read_bytes()
    resume = ["--resume", str(tmp_path / "run"), "--no-progress", "--epochs", "3"]
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path / "run")], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout.readline() == b"held\n"
            with pytest.raises(
                ValueError, match=r"^resume: folder is .*run, where another training is at work; it must"
            ):
                script.main(resume)
            assert (tmp_path / "run" / "config.json").read_bytes() == before
        finally:
            other.kill()
    script.main(resume)
    assert len(fm.read_run(tmp_path / "run").history) == 3


def test_a_run_goes_on_from_another_folder_and_says_where(script, train, tmp_path, monkeypatch, capsys):
    """Paths that were relative are found; it began when it began, and took what both calls took."""
    monkeypatch.chdir(tmp_path)
    train("--epochs", 2, "--data", "classes.npz", "--tensorboard", "events")
    file = tmp_path / "run" / "config.json"
    config = json.loads(file.read_text()) | {"started": "2020-02-02T02:02:02+00:00", "seconds": 5000.0}
    file.write_text(json.dumps(config))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    capsys.readouterr()
    resume = ["--resume", str(tmp_path / "run"), "--no-progress"]
    script.main(resume)
    assert "the training had come to its end, after epoch 2; none is left to make\n" in capsys.readouterr().out
    script.main([*resume, "--epochs", "3"])
    assert "the training goes on in epoch 3 of 3\n" in capsys.readouterr().out
    now = json.loads(file.read_text())
    assert now["started"] == "2020-02-02T02:02:02+00:00"
    assert 5000 < now["seconds"] < 5000 + LIMIT
    assert list((tmp_path / "elsewhere").iterdir()) == []


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


@pytest.mark.parametrize("limit", [2, STEPS + 3])
def test_after_the_time_limit_the_folder_says_so_and_resume_goes_on(
    script, train, tmp_path, monkeypatch, capsys, limit
):
    """Within the first epoch, of which there is nothing to evaluate yet, and within the second."""
    train("--epochs", 3, "--out", tmp_path / "whole", "--time-limit", 1000)
    monkeypatch.setattr(engine, "CHUNK_SECONDS", 0)  # a step a call
    ticks = count()
    with monkeypatch.context() as patch:
        patch.setattr(loop, "monotonic", lambda: next(ticks))
        code, said = train("--epochs", 3, "--time-limit", limit)
    out = tmp_path / "run"
    (epoch, step), lines = divmod(newest(out), STEPS), capsys.readouterr().out
    assert (code, statuses(said)[-1], epoch) == (0, "time limit", limit // STEPS)
    assert step
    assert f"ended in epoch {epoch + 1}, after {step} of its {STEPS} steps: the time limit of {limit} s has" in lines
    assert f"--resume {out} goes on" in lines
    assert (said[-1]["weights_of_epoch"], said[-1]["weights_of_step"]) == (epoch, step)
    assert (out / "report.html").exists() == (epoch > 0)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "monotonic", lambda: next(ticks))
        script.main(["--resume", str(out), "--no-progress"])  # without a limit, as the one before was of that call
    ours, theirs = fm.read_run(out), fm.read_run(tmp_path / "whole")
    assert ours.status == "finished"
    for name, array in theirs.model.state_dict().items():
        assert np.array_equal(array, ours.model.state_dict()[name]), name


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


@pytest.mark.parametrize("text", ["epoch", "30s", "30 s", "2.5s", "7", "0", "-1", "s", ".5s", "2min", "30 S", ""])
def test_the_script_takes_the_times_of_a_checkpoint_that_fit_takes(script, text, tmp_path, capsys):
    try:
        Checkpoints(tmp_path, int(text) if text.lstrip("-").isdecimal() else text)
    except ValueError:
        with pytest.raises(SystemExit):
            script.parse_arguments(["--checkpoint-every", text])
        assert "argument --checkpoint-every: " in capsys.readouterr().err
    else:
        assert str(script.parse_arguments(["--checkpoint-every", text]).checkpoint_every) == text


@pytest.mark.parametrize("option", ["--out", "--resume", "--data", "--tensorboard"])
def test_an_empty_path_is_not_the_folder_one_is_in(script, option, capsys):
    with pytest.raises(SystemExit):
        script.parse_arguments([option, ""])
    assert capsys.readouterr().err.endswith(f"error: argument {option}: it is empty; it must be a path\n")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "is a file; it must be the folder of a run"),
        ("{}", "is not that of a run of train.py: it has no 'hidden'"),
        ("[]", "is not that of a run of train.py: a value in it is of another type"),
        ("{", "is not that of a run of train.py: Expecting property name"),
    ],
)
def test_what_is_no_run_to_go_on_with_is_told_in_words(script, tmp_path, capsys, config, words):
    place = tmp_path / "model.npz"
    if config is None:
        place.touch()
    else:
        place.mkdir()
        (place / "config.json").write_text(config)
    with pytest.raises(SystemExit):
        script.parse_arguments(["--resume", str(place)])
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert "Error" not in said
