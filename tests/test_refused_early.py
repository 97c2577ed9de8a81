"""What `fit` can refuse is refused before the first step, on the engine and on the graph; and what gets a line."""

import errno
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from trainings import Own, bits, clusters, refuses, trained

import fastmlp as fm
from fastmlp import Dataset, nn, optim

ROOT = Path(__file__).resolve().parent.parent
DATA = clusters(60)
RNG = np.random.default_rng(0)
NUMBERS = Dataset(DATA.features, RNG.normal(size=60))
PAIRS = Dataset(DATA.features, RNG.normal(size=(60, 2)))


def with_last_label(label: int) -> Dataset:
    """The clusters, with another label in the last row: an epoch in batches would come to it late."""
    labels = DATA.labels.copy()
    labels[-1] = label
    return Dataset(DATA.features, labels, 10)


class Rates(optim.Schedule):
    """A schedule of these rates, one an epoch."""

    def __init__(self, *rates) -> None:
        self.rates = rates

    def rate(self, start, done, total):
        return self.rates[done]


class Short(optim.Schedule):
    """A schedule that takes too little."""

    def rate(self, start):
        return start


class Callback:
    """Counts its calls; `methods` are set by name."""

    def __init__(self, **methods) -> None:
        self.__dict__.update(methods)

    def __call__(self, model, history) -> None:
        raise AssertionError("an epoch was trained")


MODELS = {
    "engine": lambda outputs=3: nn.MLP(8, (16,), outputs),
    "graph": lambda outputs=3: Own() if outputs == 3 else OwnWidth(outputs),
}


class OwnWidth(nn.Sequential):
    """A reader's own class, whose number of outputs is declared nowhere."""

    def __init__(self, outputs: int) -> None:
        super().__init__(nn.Linear(8, outputs))

    def forward(self, x):
        return super().forward(x)


REFUSED = {  # what is given to fit -> the error, words of its sentence, outputs of the model
    "a validation label without an output": ({"validation": with_last_label(7)}, ValueError, "fit: validation", "7"),
    "a training label without an output": ({"data": with_last_label(7)}, ValueError, "fit: data has the label 7"),
    "validation of numbers": ({"validation": NUMBERS}, ValueError, "fit: validation has numbers", "CrossEntropyLoss"),
    "validation of another width": ({"validation": Dataset(DATA.features[:, :5].copy(), DATA.labels)},
                                    ValueError, "validation", "features must agree"),
    "validation with other targets": ({"data": PAIRS, "validation": NUMBERS, "loss": nn.MSELoss(), "outputs": 2},
                                      ValueError, "fit: validation has 1 targets a row", "2 outputs"),
    "targets of another width": ({"data": PAIRS, "loss": nn.MSELoss()}, ValueError, "2 targets", "3 outputs"),
    "a callback of one argument": ({"callbacks": [lambda model: None]}, TypeError, "takes (model)", "(model, history)"),
    "a start of one argument": ({"callbacks": [Callback(start=lambda model: None)]}, TypeError,
                                "start of the callback Callback takes (model)", "(model, optimizer)"),
    "a finish of none": ({"callbacks": [Callback(finish=lambda: None)]}, TypeError, "finish of", "(model, history)"),
    "a start that is a number": ({"callbacks": [Callback(start=3)]}, TypeError, "start of", "int", "function"),
    "an accuracy that the loss has not": (
        {"data": PAIRS, "loss": nn.MSELoss(), "outputs": 2, "validation": 0.2,
         "callbacks": [fm.EarlyStopping("validation_accuracy")]}, ValueError, "MSELoss has none", "r2"),
    "a schedule that ends early": ({"schedule": Rates(0.1, 0.1, None), "epochs": 3}, ValueError,
                                   "schedule Rates gives the rate None after 2 of 3 epochs"),
    "a schedule below 0": ({"schedule": Rates(0.1, -0.1), "epochs": 2}, ValueError, "rate -0.1", "in 0.."),
    "a schedule that overflows": ({"schedule": optim.StepLR(1, 1e300), "epochs": 3}, ValueError, "rate 1e+297 after 1"),
    "a rate of one argument": ({"schedule": Short()}, TypeError, "rate takes (start)", "(start, done, total)"),
    "a watch behind its TensorBoard": ({"tensorboard": True}, ValueError, "TensorBoard: the watch", "stand before"),
}  # fmt: skip


@pytest.mark.parametrize("place", MODELS)
@pytest.mark.parametrize("case", REFUSED)
def test_what_can_be_refused_is_refused_before_the_first_step(case, place, tmp_path):
    given, error, *words = REFUSED[case]
    given = dict(given)
    model = MODELS[place](given.pop("outputs", 3))
    if given.pop("tensorboard", False):
        watch = fm.Watch(DATA)
        given["callbacks"] = [fm.TensorBoard(tmp_path, watch), watch]
    before, optimizer = bits(model), optim.Adam(model.parameters())
    data, callbacks = given.pop("data", DATA), [*given.pop("callbacks", ()), Callback()]
    refuses(
        error, lambda: trained(data, model, optimizer=optimizer, callbacks=callbacks, batch_size=16, **given), *words
    )
    assert bits(model) == before
    assert not optimizer.state
    assert model.training


def test_to_ask_a_model_of_ones_own_for_its_outputs_changes_nothing():
    """Its numbers, modes, running statistics, masks and counters: a training after it is the same to the bit."""

    class Counting(Own):
        calls = 0

        def forward(self, x):
            type(self).calls += 1
            self.seen = len(x)
            return super().forward(x)

    model = Counting(dropout=0.5, batch_norm=True)
    model.train()
    before, masks = bits(model), [m.step for m in model.modules() if isinstance(m, nn.Dropout)]
    assert fm.running.door.count_outputs("fit", model, DATA, 5) == 3
    assert Counting.calls == 1
    assert not hasattr(model, "seen")  # a copy was asked
    assert bits(model) == before
    assert [m.step for m in model.modules() if isinstance(m, nn.Dropout)] == masks
    assert all(module.training for module in model.modules())


def test_a_model_that_cannot_be_asked_is_trained_all_the_same():
    class Uncopied(Own):
        def __deepcopy__(self, memo):
            raise TypeError("no copies")

    model = Uncopied()
    assert fm.running.door.count_outputs("fit", model, DATA, 5) is None
    _, history = trained(DATA, model)
    assert len(history) == 2
    refuses(ValueError, lambda: trained(with_last_label(7), Uncopied(), batch_size=60), "7")


def test_a_model_that_gives_no_tensor_is_refused_by_fit_and_evaluate():
    class Bare(Own):
        def forward(self, x):
            return super().forward(x).data

    for call in (lambda: trained(DATA, Bare()), lambda: fm.evaluate(Bare(), DATA)):
        refuses(TypeError, call, "Bare gives ndarray", "must give a Tensor", "outputs)")


# --- a line ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", MODELS)
def test_a_class_without_a_training_row_gets_a_line(capsys, place):
    rows = np.flatnonzero(DATA.labels != 1)
    trained(DATA[rows], MODELS[place](), epochs=1, progress="table")
    assert "no training row has the class 1\n" in capsys.readouterr().out
    trained(DATA, MODELS[place](), epochs=1, progress="table")
    assert "no training row" not in capsys.readouterr().out


def test_a_class_whose_rows_are_all_held_out_gets_a_line(capsys):
    labels = np.zeros(60, np.int64)
    data = Dataset(DATA.features, labels, 2)
    labels[data.split_rows(0.2, seed=0)[1]] = 1
    data = Dataset(DATA.features, labels)
    trained(data, nn.MLP(8, (4,), 2), epochs=1, validation=0.2, progress="table")
    assert "no training row has the class 1" in capsys.readouterr().out


def test_many_classes_without_rows_are_counted(capsys):
    trained(DATA, nn.MLP(8, (4,), 1000), epochs=1, progress="table")
    assert "no training row has 997 of the 1,000 classes: 3, 4, 5, 6, 7, 8, 9, 10, ...\n" in capsys.readouterr().out


def test_one_class_gets_a_line(capsys):
    trained(Dataset(DATA.features, DATA.labels * 0), nn.MLP(8, (4,), 1), epochs=1, progress="table")
    assert "there is one class" in capsys.readouterr().out


# --- folders and packages --------------------------------------------------------------------------------------------


@pytest.fixture
def read_only(monkeypatch):
    """No file can be made in any folder, as on a read-only disk; a test that runs as root cannot take rights away."""

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("fastmlp.files.tempfile.TemporaryFile", refuse)


@pytest.mark.parametrize("make", [lambda p: fm.Run(p), lambda p: fm.Run(p, force=True), lambda p: fm.TensorBoard(p)])
def test_a_folder_that_cannot_be_written_to_is_refused_when_the_object_is_made(tmp_path, read_only, make):
    refuses(PermissionError, lambda: make(tmp_path), "folder is", str(tmp_path), "Permission denied")


def test_a_probe_leaves_nothing(tmp_path):
    fm.Run(tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())


def test_a_file_is_no_folder_for_tensorboard(tmp_path):
    (tmp_path / "file").write_text("x")
    refuses(ValueError, lambda: fm.TensorBoard(tmp_path / "file"), "TensorBoard: folder is", "a file", "a folder")


def script(monkeypatch, capsys, *arguments: str) -> str:
    """What `train.py` says where it refuses, before it trains."""
    monkeypatch.setattr(sys, "argv", [str(ROOT / "scripts" / "train.py"), *arguments])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(sys.argv[0], run_name="__main__")
    assert caught.value.code == 2
    streams = capsys.readouterr()
    assert "epoch " not in streams.out
    assert len(streams.err.splitlines()) == 1
    return streams.err


@pytest.mark.parametrize("option", [(), ("--no-plots", "--save-wrong-digits")])
def test_train_py_says_before_it_trains_that_matplotlib_is_missing(monkeypatch, capsys, tmp_path, option):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    said = script(monkeypatch, capsys, "--out", str(tmp_path / "run"), *option)
    assert "matplotlib is not installed" in said
    assert ("--no-plots" in said) == (not option)
    assert not (tmp_path / "run").exists()


def test_train_py_names_the_option_of_a_folder_that_cannot_be_made(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").write_text("x")
    said = script(monkeypatch, capsys, "--out", str(tmp_path / "file" / "run"), "--no-plots")
    assert "argument --out: Run: folder is" in said


def test_train_py_says_that_features_are_not_scaled(monkeypatch, capsys, tmp_path):
    """The verdict needs to know the number of classes, and the script's history is made in a callback."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=1e4 * rng.normal(size=(60, 4)).astype(np.float32), y=np.arange(60) % 3)
    options = ["--data", str(tmp_path / "d.npz"), "--out", str(tmp_path / "run"), "--epochs", "5", "--hidden", "4"]
    monkeypatch.setattr(sys, "argv", [str(ROOT / "scripts" / "train.py"), *options, "--no-plots", "--no-report"])
    runpy.run_path(sys.argv[0], run_name="__main__")
    said = capsys.readouterr().out
    assert "above that of guessing, log 3 = 1.0986: the run diverged, or the features are not scaled." in said
    assert fm.read_run(tmp_path / "run").history.classes == 3
