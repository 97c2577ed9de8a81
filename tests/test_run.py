"""`Run` and `read_run`: what the folder holds, what is never overwritten, and that it is readable at any moment."""

import csv
import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import fastmlp as fm
import fastmlp.store.run as rooms
from fastmlp import Run, read_run

CONFIG = {"features": 16, "hidden": [6, 5], "classes": 3, "activation": "tanh", "dropout": 0.1, "batch_norm": True}
NET = (16, (6, 5), 3, "tanh", 0.1, True)
OF_OTHER_TARGETS = {rooms.PICTURES[name][0] for name in ("predicted_vs_true", "residuals", "label_scores")}


def data(rows: int = 90, seed: int = 0) -> fm.Dataset:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, rows)
    labels[:3] = 0, 1, 2
    images = rng.integers(0, 160, (rows, 4, 4))
    images[np.arange(rows), 1, labels] += 90
    return fm.Dataset(images.astype(np.uint8), labels)


def trained(run: Run | None = None, epochs: int = 3) -> tuple[fm.nn.MLP, fm.History]:
    fm.manual_seed(0)
    model = fm.nn.MLP(*NET)
    return model, fm.fit(model, data(), 0.2, epochs=epochs, progress=False, callbacks=[run] if run else [])


def bits(model) -> list[bytes]:
    return [array.tobytes() for array in model.state_dict().values()]


def text(history: fm.History) -> list[str]:
    return [repr(dataclasses.asdict(epoch)) for epoch in history.epochs]


def complete(folder: Path) -> tuple[Run, fm.nn.MLP, fm.History]:
    """A run with every file there is."""
    run = Run(folder, config=CONFIG)
    watch = fm.Watch(data())
    fm.manual_seed(0)
    model = fm.nn.MLP(*NET)
    history = fm.fit(model, data(), 0.2, epochs=3, progress=False, callbacks=[run, watch])
    test = fm.evaluate(model, data(seed=1))
    run.write_history(history)
    run.write_model(model, 3)
    run.write_metrics(test, None, fm.diagnose(history))
    run.write_wrong(test)
    run.write_wrong_digits(test, data(seed=1))
    pictures = rooms.draw_pictures(model, history, test, data(seed=1), watch)
    run.write_pictures(pictures)
    run.write_report(model, history, test, data(seed=1), fm.diagnose(history), watch, pictures)
    run.write_config("finished")
    return run, model, history


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, fm.nn.MLP, fm.History]:
    """A complete run, made once."""
    run, model, history = complete(tmp_path_factory.mktemp("runs") / "whole")
    own = (rooms.OWN_FILES - OF_OTHER_TARGETS) | {"wrong"}
    assert {path.name for path in run.folder.iterdir()} == own == set(run.files)
    return run.folder, model, history


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    """A copy of that run's folder."""
    return shutil.copytree(whole[0], tmp_path / "copy")


def dates(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


# --- what is in it ---------------------------------------------------------------------------------------------------


def test_a_run_is_read_as_it_was_written(whole):
    folder, model, history = whole
    saved = read_run(folder)
    assert bits(saved.model) == bits(model)
    assert text(saved.history) == text(history)
    assert saved.config["status"] == "finished"
    assert {name: saved.config[name] for name in CONFIG} == CONFIG
    assert saved.metrics["diagnosis"] == fm.diagnose(history).to_dict()
    assert saved.metrics["test"]["accuracy"] == fm.evaluate(saved.model, data(seed=1)).accuracy
    assert saved.metrics["validation"] is None


def test_the_configuration_knows_versions_machine_and_time(tmp_path):
    run = Run(tmp_path / "a", config=CONFIG | {"data": Path("some") / "where"})
    run.write_config("finished")
    config = json.loads((run.folder / "config.json").read_text())
    assert config["numpy"] == np.__version__
    assert config["data"] == str(Path("some") / "where")
    assert 0 <= config["seconds"] < 60
    assert {"fastmlp", "numba", "python", "machine", "cores", "started"} <= config.keys()


def test_a_line_for_each_wrong_row_by_its_index(whole):
    folder, model, _ = whole
    test = fm.evaluate(model, data(seed=1))
    with (folder / "test.result").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    logits = fm.Predictor(model)(data(seed=1).rows).astype(np.float64)
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wrong = [n for n in range(90) if logits[n].argmax() != data(seed=1).labels[n]]
    assert [int(row["index"]) for row in rows] == wrong
    assert 0 < len(wrong) == len(test.wrong) == len(list((folder / "wrong").iterdir()))
    for row, n in zip(rows, wrong, strict=True):
        assert int(row["predicted"]) == logits[n].argmax()
        assert int(row["true"]) == data(seed=1).labels[n]
        assert float(row["probability"]) == pytest.approx(share[n].max(), abs=2e-6)  # six decimals of a float32


def test_pictures_are_drawn_for_what_there_is():
    model, history = trained()
    pictures = rooms.draw_pictures(model, history)
    assert set(pictures) == {"curves", "loss_curve"}
    plain = fm.Dataset(data().rows, data().labels)
    without = set(rooms.draw_pictures(model, history, fm.evaluate(model, plain), plain))
    assert without == {"curves", "loss_curve", "confusion_matrix", "reliability"}
    for title, light, dark in pictures.values():
        assert title
        assert light[:4] == dark[:4] == b"\x89PNG"


# --- the folder ------------------------------------------------------------------------------------------------------


def test_without_a_folder_it_is_date_and_name(tmp_path):
    run = Run(name="784-10", root=tmp_path / "runs")
    assert run.folder == tmp_path / "runs" / f"{run.started:%Y-%m-%d-%H%M%S}-784-10"
    assert run.folder.is_dir()


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: Run(name="x", root=tmp_path).folder, range(24)))
    assert len(set(folders)) == 24 == len(list(tmp_path.iterdir()))


@pytest.mark.parametrize("force", [False, True])
def test_a_file_is_no_folder(tmp_path, force):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="is a file"):
        Run(tmp_path / "file", force=force)
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize("name", ["a/b", "../a", "", "/"])
def test_a_name_that_is_no_part_of_a_folders_name_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"^Run: name is .*; it must be a part of a folder's name"):
        Run(name=name, root=tmp_path / "runs")
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_without_force(folder):
    before = dates(folder)
    with pytest.raises(ValueError, match="not empty"):
        Run(folder, config=CONFIG)
    assert dates(folder) == before


def test_force_replaces_the_files_of_a_run_and_no_other(folder):
    (folder / "notes.txt").write_text("mine")
    (folder / "wrong" / "mine.png").write_text("mine")
    (folder / "more").mkdir()
    (folder / "more" / "report.html").write_text("mine")
    run = Run(folder, config=CONFIG, force=True)
    assert (folder / "report.html").exists()  # until the first epoch is done, the run before is whole
    assert read_run(folder).config["status"] == "finished"
    trained(run, 1)
    assert len(read_run(folder).history) == 1
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "history.csv", "model.safetensors", "notes.txt", "more", "wrong",
    }  # fmt: skip
    assert [path.name for path in (folder / "wrong").iterdir()] == ["mine.png"]
    assert (folder / "more" / "report.html").read_text() == "mine"


def test_a_training_that_fails_before_its_first_epoch_leaves_the_run_before(folder):
    before = dates(folder)
    run = Run(folder, config=CONFIG, force=True)
    with pytest.raises(ValueError, match="epochs"):
        trained(run, -1)
    run.discard()
    assert dates(folder) == before


@pytest.mark.parametrize("there", [False, True])
def test_discard_takes_away_what_the_run_has_made(tmp_path, there):
    if there:
        (tmp_path / "a").mkdir()
    run = Run(tmp_path / "a", config=CONFIG)
    run.start(fm.nn.MLP(*NET))
    assert (tmp_path / "a" / "config.json").exists()
    run.discard()
    assert (tmp_path / "a").exists() == there
    assert not there or not any((tmp_path / "a").iterdir())


# --- at any moment ---------------------------------------------------------------------------------------------------


def test_history_is_there_after_each_epoch_and_weights_are_written_anew_after_a_while(tmp_path, monkeypatch):
    seen = []

    def look(model, history):
        saved = read_run(run.folder)
        seen.append((len(saved.history), bits(saved.model) == bits(model), saved.config["status"]))

    for seconds, expected in (
        (1e9, [(1, True, "running"), (2, False, "running"), (3, False, "running")]),
        (0, [(n, True, "running") for n in (1, 2, 3)]),
    ):
        monkeypatch.setattr(rooms, "SAVE_SECONDS", seconds)
        seen.clear()
        run = Run(tmp_path / f"{seconds}", config=CONFIG)
        fm.fit(fm.nn.MLP(*NET), data(), 0.2, epochs=3, progress=False, callbacks=[run, look])
        assert seen == expected


@pytest.mark.parametrize("write", ["history", "config", "report"])
def test_a_write_that_fails_leaves_the_file_before_and_nothing_else(tmp_path, monkeypatch, write):
    run = Run(tmp_path / "a", config=CONFIG)
    model, history = trained(run)
    run.write_report(model, history, None, data(), fm.diagnose(history))
    before = {path.name: path.read_bytes() for path in run.folder.iterdir() if path.is_file()}

    def half_a_file(path, content):
        with path.open("wb") as file:
            file.write(content[:10])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", half_a_file)
    calls = {
        "history": lambda: run.write_history(history),
        "config": lambda: run.write_config("finished"),
        "report": lambda: run.write_report(model, history, None, data(), fm.diagnose(history)),
    }
    with pytest.raises(KeyboardInterrupt):
        calls[write]()
    assert {path.name: path.read_bytes() for path in run.folder.iterdir() if path.is_file()} == before


KILLED = """
import sys
sys.path.insert(0, {tests!r})
import fastmlp.store.run as rooms
from test_run import CONFIG, data, trained
rooms.SAVE_SECONDS = 0
run = rooms.Run({folder!r}, config=CONFIG)
said = run.__call__
def noisy(model, history):
    said(model, history)
    if len(history) == 3:
        print("three", flush=True)
import fastmlp as fm
fm.fit(fm.nn.MLP(16, (6, 5), 3, "tanh", 0.1, True), data(), 0.2, epochs=10**6, progress=False, callbacks=[noisy])
"""


def test_kill_9_leaves_a_folder_that_can_be_read_and_forced(tmp_path):
    code = KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path / "a"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout.readline() == "three\n"
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    saved = read_run(tmp_path / "a")
    assert len(saved.history) >= 3
    assert saved.metrics is None
    assert math.isfinite(fm.evaluate(saved.model, data()).loss)
    for name in ("history.csv", "report.html", "model.safetensors"):
        (tmp_path / "a" / f".{name}.{'0123456789abcdef'}.partial").write_text(
            "half"
        )  # what a kill during a write leaves
    run = Run(tmp_path / "a", config=CONFIG, force=True)
    trained(run, 1)
    assert {path.name for path in run.folder.iterdir()} == {"config.json", "history.csv", "model.safetensors"}


def test_a_history_of_before_ran_on_was_written_down_is_read(folder):
    _, history = trained()
    history.to_csv(folder / "history.csv")
    assert read_run(folder).history.column("ran_on") == ["engine"] * len(history)
    lines = (folder / "history.csv").read_text().splitlines()
    assert lines[0].endswith(",ran_on")
    (folder / "history.csv").write_text("".join(line.rpartition(",")[0] + "\n" for line in lines))
    saved = read_run(folder).history
    assert saved.column("ran_on") == [""] * len(history)
    assert saved.column("train_loss") == history.column("train_loss")


# --- read_run refuses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", "history.csv", "model.safetensors"])
def test_a_folder_that_lacks_a_file_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        read_run(folder)


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("config.json", "{", "no JSON"), ("config.json", "[]", "list"), ("config.json", "{}", "no activation"),
        ("history.csv", "a,b\n1,2\n", "no history"), ("history.csv", "epoch,train_loss\n1,x\n", "no history"),
        ("model.safetensors", "x", "no safetensors"), ("metrics.json", "nonsense", "no JSON"),
    ],
)  # fmt: skip
def test_a_broken_file_is_refused_by_its_name(folder, name, content, word):
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=word) as caught:
        read_run(folder)
    assert name.split(".")[0] in str(caught.value)
