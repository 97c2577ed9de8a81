"""`scripts/train.py`: what it prints, what it leaves in the run folder, and how it refuses.

A process of its own takes a second, so only what needs one has one; the rest runs the same file, from its first line
to its last, inside this process.
"""

import csv
import importlib.util
import json
import math
import re
import runpy
import signal
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastmlp as fm

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "train.py"
FILES = ["config.json", "history.csv", "metrics.json", "model.safetensors", "test.result"]
OPTIONS = [
    "hidden", "epochs", "batch_size", "lr", "lr_find", "loss", "optimizer", "schedule", "schedule_every", "momentum",
    "weight_decay", "clip_norm",
    "clip_value", "average", "dropout", "batch_norm", "norm", "activation", "data", "scale", "task", "test",
    "prefix", "transpose", "zero_based", "n_features", "target", "drop", "categorical", "missing", "sample_weight",
    "targets_file",
    "test_targets_file", "validation", "patience", "monitor", "calibrate",
    "seed", "mpi", "blocks", "local_steps", "threads", "checkpoint_every", "time_limit", "resume", "out", "name",
    "force", "no_plots", "no_report", "open", "save_wrong_digits",
    "tensorboard", "no_progress",
]  # fmt: skip


def kept(folder: Path) -> set[str]:
    """The names of the checkpoints in a run's folder."""
    return {path.name for path in folder.iterdir() if path.name.startswith("checkpoint-")}


def files(folder: Path) -> list[str]:
    """The names of all else, where there is a checkpoint."""
    assert kept(folder)
    return sorted({path.name for path in folder.iterdir()} - kept(folder))


def write_idx(path: Path, array: np.ndarray) -> None:
    """IDX: two zero bytes, type 8 (uint8), the number of axes, their lengths as big-endian words, the numbers."""
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(head + array.astype(np.uint8).tobytes())


def drawing(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of 4 by 4 pixels, one bright, and which of three it is."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, rows)
    labels[:3] = 0, 1, 2
    images = rng.integers(0, 100, (rows, 4, 4))
    images[np.arange(rows), 1, labels] += 150
    return images.astype(np.uint8), labels


@pytest.fixture(scope="module")
def idx_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "small"
    folder.mkdir()
    for name, rows, seed in (("train", 200, 0), ("t10k", 60, 1)):
        images, labels = drawing(rows, seed)
        write_idx(folder / f"{name}-images-idx3-ubyte", images)
        write_idx(folder / f"{name}-labels-idx1-ubyte", labels)
    return folder


@pytest.fixture(scope="module")
def npz_file(tmp_path_factory) -> Path:
    """One set of float64 features: there is no test set."""
    images, labels = drawing(90, 2)
    path = tmp_path_factory.mktemp("data") / "table.npz"
    np.savez(path, features=images.reshape(90, 16) / 255, labels=labels)
    return path


class Run:
    """What a run of the script said and left."""

    def __init__(self, code: int, out: str, err: str, folder: Path):
        self.code, self.out, self.err, self.folder = code, out, err, folder

    @property
    def lines(self) -> list[str]:
        """The lines, without those about a compilation."""
        return [line for line in self.out.splitlines() if not line.startswith("compil")]

    def config(self) -> dict:
        return json.loads((self.folder / "config.json").read_text(), parse_constant=pytest.fail)  # NaN is no JSON

    def history(self) -> list[dict[str, str]]:
        with open(self.folder / "history.csv", newline="") as file:
            return list(csv.DictReader(file))


@pytest.fixture
def train(tmp_path, monkeypatch, capsys, idx_folder):
    """Runs the script with these arguments, on the small data set and into a new folder unless they say otherwise.

    Without plots and report, which take a second, unless `pictures` is true.
    """

    def run(*arguments: str, pictures: bool = False) -> Run:
        given = [str(argument) for argument in arguments]
        folder = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
        for option, value in (("--data", idx_folder), ("--out", folder), ("--epochs", "1")):
            if option not in given:
                given += [option, str(value)]
        given += [] if pictures else [option for option in ("--no-plots", "--no-report") if option not in given]
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *given])
        monkeypatch.setattr(sys, "path", list(sys.path))
        capsys.readouterr()
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
            code = 0
        except SystemExit as exit:
            code = exit.code or 0
        return Run(code, *capsys.readouterr(), folder=Path(given[given.index("--out") + 1]))

    return run


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(SCRIPT), *map(str, arguments)]


def process(*arguments: object, cwd: Path) -> Run:
    """The script in a process of its own."""
    done = subprocess.run(command(*arguments), cwd=cwd, capture_output=True, text=True, timeout=120)
    return Run(done.returncode, done.stdout, done.stderr, cwd / "out")


def model_of(config: dict, train: fm.Dataset) -> fm.nn.MLP:
    """The model that a config.json describes."""
    shape = (train.n_features, config["hidden"], train.classes)
    return fm.nn.MLP(*shape, config["activation"], config["dropout"], config["batch_norm"])


# --- a run -----------------------------------------------------------------------------------------------------------


def test_a_run_in_a_process_of_its_own(tmp_path, idx_folder):
    run = process("--data", idx_folder, "--out", "out", "--epochs", 3, "--validation", 0.1, cwd=tmp_path)
    assert (run.code, run.err) == (0, "")
    first, header, *rows, accuracy, mistakes, said, advice, wrote, last = run.lines
    assert first == "16-128-64-3 on small: 180 training rows, 20 held out, adam, lr 0.001"
    assert header.split()[:2] == ["epoch", "train"]
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]
    assert re.fullmatch(r"test accuracy \d+\.\d\d % \(60 rows\), loss \d+\.\d{4}", accuracy)
    assert re.fullmatch(r"\d+ wrong; most often \d is taken for \d: \d+ times|no test row is wrong", mistakes)
    assert said.startswith("The run is too short to tell")
    assert advice.startswith("Train for 5 epochs")
    names = sorted(path.name for path in run.folder.iterdir())
    assert wrote == f"wrote out/: {', '.join(names)}"
    of_others = {"predicted_vs_true.png", "residuals.png", "label_scores.png"}  # of numbers and of labels
    assert kept(run.folder)
    assert set(names) - kept(run.folder) == fm.store.run.OWN_FILES - of_others
    assert last == "report: out/report.html"


def test_a_refusal_in_a_process_of_its_own(tmp_path):
    run = process("--data", tmp_path / "missing", cwd=tmp_path)
    assert (run.code, run.out) == (2, "")
    assert re.fullmatch(r"train\.py: error: .*missing.*\n", run.err)


def test_the_model_in_the_folder_has_the_accuracy_that_was_printed(train, idx_folder):
    run = train("--epochs", "4", "--hidden", "20,9", "--batch-norm", "--dropout", "0.1", "--activation", "tanh")
    config, (train_set, test_set) = run.config(), fm.data.load(idx_folder)
    model = model_of(config, train_set)
    fm.load(model, run.folder / "model.safetensors")
    result = fm.evaluate(model, test_set)
    assert (result.accuracy, result.loss) == (config["test_accuracy"], config["test_loss"])
    assert f"test accuracy {100 * result.accuracy:.2f} % (60 rows), loss {result.loss:.4f}" in run.lines


def test_it_learns(train):
    run = train("--epochs", "15", "--lr", "0.01")
    assert run.config()["test_accuracy"] > 0.95  # the bright pixel is 50 above any other
    losses = [float(row["train_loss"]) for row in run.history()]
    assert losses[-1] < losses[0] / 2


def test_the_configuration_holds_every_option(train, idx_folder):
    given = {
        "hidden": "7,5", "epochs": "2", "batch_size": "16", "lr": "0.05", "optimizer": "sgd", "momentum": "0.9",
        "weight_decay": "1e-4", "dropout": "0.25", "activation": "sigmoid", "validation": "0.2", "seed": "3",
        "threads": "1",
    }  # fmt: skip
    arguments = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", value)]
    run = train(*arguments, "--batch-norm", "--no-progress")
    config = run.config()
    asked = [name for name in OPTIONS if name not in ("resume", "lr_find")]  # those of a call, not of a run
    assert list(config)[: len(asked)] == asked
    for name, value in given.items():
        read = ",".join(map(str, config[name])) if name == "hidden" else config[name]
        assert read == value or float(read) == float(value)
    assert (config["batch_norm"], config["no_progress"]) == (True, True)
    assert (config["data"], config["out"]) == (str(idx_folder), str(run.folder))
    assert {"fastmlp", "python", "machine", "test_accuracy", "test_loss"} <= config.keys()


def test_the_defaults_are_those_of_the_documentation(train):
    config = train().config()
    defaults = {
        "hidden": [128, 64], "batch_size": 64, "lr": 1e-3, "optimizer": "adam", "momentum": 0, "weight_decay": 0,
        "dropout": 0, "batch_norm": False, "activation": "relu", "validation": 0, "seed": 0, "threads": "auto",
        "no_progress": False,
    }  # fmt: skip
    assert {name: config[name] for name in defaults} == defaults


def test_the_history_has_a_row_an_epoch(train):
    run = train("--epochs", "3", "--validation", "0.25")
    rows = run.history()
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [row.pop("ran_on") for row in rows] == ["engine"] * 3
    assert all(math.isfinite(float(value)) for row in rows for value in row.values())
    assert [line.split()[1] for line in run.lines[2:5]] == [f"{float(row['train_loss']):.4f}" for row in rows]


def test_the_curve_is_a_picture_of_sensible_size_and_there_without_a_report(train):
    folder = train("--epochs", "2", "--no-report", pictures=True).folder
    names = [path.name for path in folder.iterdir()]
    assert "report.html" not in names
    assert "confusion.png" in names
    picture = (folder / "loss.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", picture[16:24])
    assert 600 <= width <= 2000
    assert 400 <= height <= 2000
    assert len(picture) > 12_000  # empty axes of this size are 10,700 bytes
    assert picture[-8:-4] == b"IEND"


VARIANTS = [
    (["--optimizer", "sgd"], {"optimizer": "sgd", "lr": 0.1, "weight_decay": 0.0}),
    (["--optimizer", "sgd", "--momentum", "0.9"], {"momentum": 0.9}),
    (["--optimizer", "adam", "--weight-decay", "0.01"], {"lr": 1e-3, "weight_decay": 0.01}),
    (["--optimizer", "adamw"], {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.01}),
    (["--optimizer", "adamw", "--weight-decay", "0"], {"weight_decay": 0.0}),
    (["--optimizer", "rmsprop", "--momentum", "0.5"], {"lr": 0.01, "momentum": 0.5, "weight_decay": 0.0}),
    (["--optimizer", "adagrad"], {"optimizer": "adagrad", "lr": 0.01}),
    (["--optimizer", "nadam"], {"optimizer": "nadam", "lr": 2e-3}),
    (["--activation", "tanh"], {"activation": "tanh"}),
    (["--activation", "sigmoid"], {"activation": "sigmoid"}),
    (["--batch-norm"], {"batch_norm": True}),
    (["--dropout", "0.5"], {"dropout": 0.5}),
    (["--hidden", ""], {"hidden": []}),
    (["--hidden", " 5 , 6,7"], {"hidden": [5, 6, 7]}),
    (["--validation", "50"], {"validation": 50}),
    (["--validation", "1"], {"validation": 1}),
    (["--validation", ".5"], {"validation": 0.5}),
    (["--lr", "1e-2"], {"lr": 0.01}),
    (["--schedule", "CosineAnnealingLR", "--schedule-every", "step"], {"schedule_every": "step"}),
    (["--schedule", "ReduceLROnPlateau"], {"schedule": "ReduceLROnPlateau", "schedule_every": None}),
    (["--batch-size", "1000"], {"batch_size": 1000}),
    (["--batch-size", "199", "--batch-norm"], {"batch_size": 199}),
    (["--threads", "1"], {"threads": 1}),
    (["--seed", "9223372036854775807", "--dropout", "0.1"], {"seed": 2**63 - 1}),
]


@pytest.mark.parametrize(("arguments", "expected"), VARIANTS, ids=[" ".join(a) for a, _ in VARIANTS])
def test_options_do_what_they_say(train, idx_folder, arguments, expected):
    run = train(*arguments)
    assert (run.code, run.err) == (0, "")
    config = run.config()
    assert {name: config[name] for name in expected} == expected
    model = model_of(config, fm.data.load(idx_folder)[0])
    fm.load(model, run.folder / "model.safetensors")  # refuses a model with other layers
    held_out = math.isfinite(float(run.history()[0]["validation_loss"]))
    assert held_out == bool(config["validation"])


def weights(run: Run) -> bytes:
    return (run.folder / "model.safetensors").read_bytes()


def test_an_option_that_says_the_same_changes_nothing(train):
    same = [
        train(),
        train("--threads", "2"),
        train("--no-progress"),
        train("--seed", "0"),
        train("--weight-decay", "0"),
    ]
    assert len({weights(run) for run in same}) == 1


def test_every_option_of_the_training_reaches_it(train):
    runs = [
        train(),
        train("--seed", "1"),
        train("--lr", "0.002"),
        train("--batch-size", "32"),
        train("--epochs", "2"),
        train("--optimizer", "adamw"),
        train("--weight-decay", "0.1"),
        train("--validation", "20"),
        train("--dropout", "0.2"),
        train("--activation", "tanh"),
        train("--optimizer", "sgd"),
        train("--optimizer", "sgd", "--momentum", "0.9"),
    ]
    assert len({weights(run) for run in runs}) == len(runs)


def test_no_progress_prints_the_table_all_the_same(train):
    lines = [train().lines, train("--no-progress").lines]
    for run in lines:
        del run[2:3], run[-1]  # the speed is in the row, the folder in the last line
    assert lines[0] == lines[1]


def test_an_npz_without_a_test_set(train, npz_file):
    run = train("--data", npz_file, "--validation", "0.1")
    assert (run.code, run.err) == (0, "")
    assert run.lines[0].startswith("16-128-64-3 on table.npz: 81 training rows, 9 held out")
    assert "test accuracy" not in run.out
    assert "test_accuracy" not in run.config()
    assert files(run.folder) == FILES[:-1]


def test_a_training_that_diverges_says_so_and_leaves_its_files(train):
    run = train("--optimizer", "sgd", "--lr", "1e30", "--epochs", "3")
    assert (run.code, run.err) == (1, "")  # a script that calls this one can tell
    assert any(line.startswith("stopped: the loss is not finite in layer ") for line in run.lines)
    assert len(run.history()) == 1
    assert run.config()["test_loss"] < 2  # the weights are those of the last finite loss
    assert (run.config()["weights_of_epoch"], run.config()["weights_of_step"]) == (0, 0)
    assert files(run.folder) == FILES


def test_a_refused_run_leaves_no_folder(train):
    run = train("--validation", "70000")
    assert run.code == 2
    assert "held_out is 70000 rows" in run.err
    assert not run.folder.exists()


def test_interrupt_keeps_the_finished_epochs(train, monkeypatch):
    true_fit = fm.fit

    def interrupted(model, data, callbacks=(), **options):
        def stop(model, history):
            if len(history) == 2:
                raise KeyboardInterrupt

        return true_fit(model, data, callbacks=[*callbacks, stop], **options)

    monkeypatch.setattr(fm, "fit", interrupted)
    run = train("--epochs", "9")
    assert run.code == 130
    assert "interrupted after 2 epochs" in run.err
    assert len(run.history()) == 2
    assert files(run.folder) == FILES


def test_an_empty_folder_and_one_that_is_deep_serve_as_run_folders(train, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "a" / "b" / "c"):
        assert train("--out", folder).code == 0
        assert files(folder) == FILES


@pytest.fixture
def script():
    """The script as a module, not run."""
    spec = importlib.util.spec_from_file_location("train_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("arguments", "name"), [([], "16-7-5-3"), (["--name", "first_try"], "first_try")])
def test_without_out_the_folder_has_the_date_and_a_name(script, idx_folder, tmp_path, monkeypatch, arguments, name):
    monkeypatch.setattr(script, "ROOT", tmp_path)
    options = script.parse_arguments(["--hidden", "7,5", *arguments])
    folders = [script.make_run(options, fm.data.load(idx_folder)[0]).folder for _ in range(3)]
    assert len(set(folders)) == 3
    for folder in folders:
        assert folder.is_dir()
        assert folder.parent == tmp_path / "runs"
        assert re.fullmatch(rf"\d{{4}}-\d\d-\d\d-\d{{6}}-{name}(-\d)?", folder.name)


def test_force_replaces_a_run(train, tmp_path):
    first = train("--epochs", "2")
    (first.folder / "notes.txt").write_text("mine")
    (first.folder / "report.html").write_text("of the first")
    assert train("--out", first.folder, "--epochs", "3").code == 2
    assert len(first.history()) == 2
    second = train("--out", first.folder, "--epochs", "3", "--force")
    assert second.code == 0
    assert len(second.history()) == 3
    assert files(second.folder) == sorted([*FILES, "notes.txt"])


def test_a_refused_run_with_force_leaves_the_run_before(train):
    first = train()
    before = {path.name: path.read_bytes() for path in first.folder.iterdir()}
    assert train("--out", first.folder, "--force", "--validation", "70000").code == 2
    assert {path.name: path.read_bytes() for path in first.folder.iterdir()} == before


# --- early stopping --------------------------------------------------------------------------------------------------


def test_patience_stops_and_keeps_the_best_weights(train, idx_folder):
    run = train("--patience", "2", "--epochs", "60", "--lr", "0.05", "--validation", "50")
    rows, config = run.history(), run.config()
    best = min(range(len(rows)), key=lambda i: float(rows[i]["validation_loss"]))
    assert len(rows) == best + 3 < 60
    assert (config["status"], config["monitor"], config["patience"]) == ("stopped early", "validation_loss", 2)
    said = f"validation_loss had not improved for 2 epochs; the weights are those of epoch {best + 1}, "
    assert any(line.startswith(said) for line in run.lines)
    data = fm.data.load(idx_folder)[0]
    saved = fm.read_run(run.folder)
    held = fm.evaluate(saved.model, data[data.split_rows(50, 0)[1]])
    assert held.loss == float(rows[best]["validation_loss"])
    assert saved.metrics["validation"]["loss"] == held.loss


def test_patience_without_validation_holds_out_a_tenth_and_says_so(train):
    run = train("--patience", "3")
    assert "a tenth of the rows is held out for validation_loss; --validation sets how many" in run.lines
    assert run.config()["validation"] == 0.1
    assert math.isfinite(float(run.history()[0]["validation_loss"]))


def test_a_metric_of_the_training_holds_nothing_out(train):
    run = train("--patience", "3", "--monitor", "train_accuracy")
    assert run.config()["validation"] == 0
    assert run.history()[0]["validation_loss"] == "nan"


def test_monitor_alone_restores_the_best_epoch_of_all(train):
    run = train("--monitor", "validation_accuracy", "--epochs", "8", "--lr", "0.05", "--validation", "50")
    rows = run.history()
    best = max(range(8), key=lambda i: float(rows[i]["validation_accuracy"]))
    assert len(rows) == 8
    assert any(line.startswith(f"the weights are those of epoch {best + 1}, ") for line in run.lines)
    assert fm.read_run(run.folder).metrics["validation"]["accuracy"] == float(rows[best]["validation_accuracy"])


# --- what else a run writes ------------------------------------------------------------------------------------------


def test_metrics_and_diagnosis(train):
    run = train("--epochs", "6", "--validation", "0.2")
    metrics = json.loads((run.folder / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert metrics["test"]["accuracy"] == run.config()["test_accuracy"]
    assert metrics["validation"]["rows"] == 40
    assert metrics["diagnosis"]["sentence"] in run.lines


def test_without_plots_the_report_has_none(train, monkeypatch):
    run = train("--no-plots", pictures=True)
    assert files(run.folder) == sorted([*FILES, "report.html"])
    assert run.lines[-1].startswith("report: ")


@pytest.mark.parametrize("found", [True, False])
def test_open_shows_the_report_in_a_browser(train, monkeypatch, found):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or found)
    run = train("--open", "--no-plots", pictures=True)
    assert opened == [(run.folder / "report.html").as_uri()]
    assert ("no browser" in run.err) == (not found)
    assert run.code == 0


def test_wrong_digits_are_saved_one_by_one(train, npz_file):
    run = train("--save-wrong-digits")
    lines = (run.folder / "test.result").read_text().splitlines()
    assert lines[0].split("\t") == ["index", "predicted", "true", "probability"]
    assert len(list((run.folder / "wrong").iterdir())) == len(lines) - 1 > 0
    assert_one_line(train("--save-wrong-digits", "--data", npz_file), "--save-wrong-digits", "table.npz")


def test_tensorboard_writes_an_event_file(train, tmp_path):
    train("--tensorboard", tmp_path / "board", "--epochs", "2")
    assert len(list((tmp_path / "board").iterdir())) == 1


def test_without_tensorboardx_the_option_is_refused_in_a_line(train, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    run = train("--tensorboard", tmp_path / "board")
    assert_one_line(run, "tensorboardX", "install")
    assert not run.folder.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--patience", "-1"], ["--patience"]),
        (["--monitor", "loss"], ["--monitor", "loss"]),
        (["--name", "a/b"], ["--name", "a/b"]),
        (["--name", ""], ["--name"]),
        (["--name", ".."], ["--name"]),
        (["--name", "a"], ["--name", "--out"]),
        (["--open"], ["--open", "--no-report"]),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_line(train, arguments, words):
    run = train(*arguments)
    assert_one_line(run, *words)
    assert not run.folder.exists()


# --- signals ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_real_signal_leaves_a_whole_run(tmp_path, idx_folder, number, code):
    arguments = ("--data", idx_folder, "--out", "out", "--epochs", 10**6, "--monitor", "train_loss", "--no-plots")
    process = subprocess.Popen(
        command(*arguments), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        for line in process.stdout:
            if line.lstrip().startswith("5 "):
                break
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code
    saved = fm.read_run(tmp_path / "out")
    assert err == f"train.py: interrupted after {len(saved.history)} epochs; --resume out goes on\n"
    if number == signal.SIGINT:  # who sends another waits for no report
        assert out.splitlines()[-1] == "report: out/report.html"
    assert saved.config["status"] == "interrupted"
    all_of_it = sorted([*FILES, "report.html"])
    assert files(tmp_path / "out") == (all_of_it if number == signal.SIGINT else ["config.json", *FILES[1:4:2]])
    losses = saved.history.column("train_loss")
    assert f"the weights are those of epoch {losses.index(min(losses)) + 1}, " in out
    if number != signal.SIGINT:
        return
    test = fm.evaluate(saved.model, fm.data.load(idx_folder)[1])
    assert (test.accuracy, test.loss) == (saved.config["test_accuracy"], saved.config["test_loss"])


def test_without_data_it_is_mnist(script):
    assert script.parse_arguments([]).data == ROOT / "data" / "mnist"


# --- what is refused -------------------------------------------------------------------------------------------------

WRONG = [
    ("--epochs", "0"), ("--epochs", "-1"), ("--epochs", "ten"), ("--epochs", "²"), ("--epochs", ""),
    ("--batch-size", "1.5"), ("--batch-size", "0"),
    ("--lr", "-1"), ("--lr", "0"), ("--lr", "nan"), ("--lr", "inf"), ("--lr", "fast"),
    ("--hidden", "3,a"), ("--hidden", "3,,4"), ("--hidden", "0"), ("--hidden", "-5"), ("--hidden", ","),
    ("--hidden", "²"),
    ("--dropout", "1"), ("--dropout", "-0.1"), ("--dropout", "nan"),
    ("--momentum", "1"), ("--momentum", "nan"), ("--weight-decay", "-1"), ("--weight-decay", "nan"),
    ("--optimizer", "rms"), ("--optimizer", ""), ("--activation", "swish"),
    ("--threads", "0"), ("--threads", "many"), ("--threads", "1.5"), ("--seed", "-1"), ("--seed", "1.5"),
    ("--validation", "-1"), ("--validation", "1.5"), ("--validation", "nan"), ("--validation", "inf"),
]  # fmt: skip


def assert_one_line(run: Run, *words: str) -> None:
    """Exit code 2, nothing on the standard error but one line with these words."""
    assert run.code == 2
    assert run.err.count("\n") == 1
    assert run.err.startswith("train.py: error: ")
    for word in words:
        assert word in run.err


@pytest.mark.parametrize(("option", "value"), WRONG)
def test_a_wrong_value_is_refused_in_a_line_that_names_the_option(train, option, value):
    run = train(f"{option}={value}")
    assert_one_line(run, option, value)
    assert not re.search("invalid (parse|widths)", run.err)  # names from inside the script
    assert run.out == ""
    assert not run.folder.exists()


@pytest.mark.parametrize("arguments", [["--epochs"], ["--unknown", "1"], ["word"], ["--lr", "1", "2"]])
def test_a_wrong_command_line_is_refused_in_a_line(train, arguments):
    assert_one_line(train(*arguments))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "nadam"])
def test_momentum_goes_with_the_rules_that_have_one(train, optimizer):
    words = "--momentum", f"{optimizer} has none", "sgd or rmsprop"
    assert_one_line(train("--momentum", "0.9", "--optimizer", optimizer), *words)


def test_the_first_lines_say_the_rates(train):
    """--lr is the peak of a cycle, which counts steps: 4 an epoch."""
    run = train("--schedule", "OneCycleLR", "--lr", "0.05", "--epochs", "3")
    said = (
        "OneCycleLR, step by step: learning rate 0.002 at the start (step 1), 0.0324 in the middle (step 7), 2e-07 at"
    )
    assert [line for line in run.lines if "learning rate" in line] == [f"{said} the end (step 12)"]
    assert_one_line(train("--schedule-every", "step"), "--schedule-every", "it goes with --schedule")
    for option in ("--blocks", "--local-steps"):
        assert_one_line(train(option, "2"), option, "the training is of one process; it goes with --mpi")
    run = train("--schedule", "ReduceLROnPlateau", "--schedule-every", "step")
    assert_one_line(run, "schedule_every is 'step'", "ReduceLROnPlateau")


def test_a_run_folder_that_is_not_empty_is_left_alone(train, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "model.safetensors").write_text("precious")
    assert_one_line(train("--out", tmp_path / "full"), "--out", "full")
    assert (tmp_path / "full" / "model.safetensors").read_text() == "precious"
    assert len(list((tmp_path / "full").iterdir())) == 1


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_run_folder_that_cannot_be_is_refused(train, tmp_path, place):
    (tmp_path / "file").write_text("x")
    assert_one_line(train("--out", tmp_path / place), "file")


def broken_data(folder: Path, kind: str, good: Path) -> Path:
    """A path that holds no data set, for each way not to be one."""
    place = folder / "broken"
    if kind == "missing":
        return place
    if kind == "text":
        place.write_text("no data")
    elif kind == "npz":
        place = place.with_suffix(".npz")
        place.write_bytes(b"PK\x03\x04" + bytes(40))
    elif kind == "arrays":
        place = place.with_suffix(".npz")
        np.savez(place, a=np.zeros(3))
    else:
        place.mkdir()
        for file in good.iterdir() if kind in ("cut", "labels") else ():
            whole = file.read_bytes()
            bad = "images" in file.name if kind == "cut" else "train-labels" in file.name
            (place / file.name).write_bytes(whole[:-7] if bad else whole)
    return place


@pytest.mark.parametrize("kind", ["missing", "text", "npz", "arrays", "empty folder", "cut", "labels"])
def test_data_that_cannot_be_read_are_refused_in_a_line(train, tmp_path, idx_folder, kind):
    run = train("--data", broken_data(tmp_path, kind, idx_folder))
    assert_one_line(run, "broken")
    assert not run.folder.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--validation", "200"], ["200 rows"]),
        (["--batch-size", "1", "--batch-norm"], ["batch_norm"]),
        (["--seed", "9223372036854775808", "--dropout", "0.1"], ["seed"]),
        (["--hidden", "99999999999999"], []),
    ],
)
def test_what_the_data_or_the_machine_cannot_do_is_refused_in_a_line(train, arguments, words):
    assert_one_line(train(*arguments), *words)


def test_ctrl_c_ends_in_a_line(train, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(fm, "fit", interrupted)
    run = train()
    assert (run.code, run.err) == (130, "train.py: interrupted\n")


# --- help ------------------------------------------------------------------------------------------------------------


def test_help_lists_every_option_with_one_default(train):
    run = train("--help")
    assert (run.code, run.err) == (0, "")
    entries = dict(re.findall(r"^  (--[\w-]+)(.*?)(?=^  --|\Z)", run.out, re.MULTILINE | re.DOTALL))
    assert [name.removeprefix("--").replace("-", "_") for name in entries] == OPTIONS
    for name, text in entries.items():
        assert text.count("(default:") == 1, name
        assert "None" not in text, name
    for text in (
        "128,64",
        "0.001; sgd: 0.1",
        "rmsprop: 0.01",
        "of sgd and rmsprop",
        "adamw: 0.01",
        "runs/<date>-<name>",
        "with --patience",
    ):
        assert text in " ".join(run.out.split())
    for name in ("--zero-based", "--n-features", "--target", "--targets-file", "--test-targets-file"):
        assert "it must be given" in " ".join(entries[name].split()), name  # where the data are of its kind
