"""`scripts/train.py`, `evaluate.py` and `predict.py` on numbers, labels and named classes, from a .npz to a report.

The first three problems are real: scikit-learn's diabetes (numbers), its wine (names), and labels made of its digits.
"""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scripted import runner

import fastmlp as fm
from fastmlp.training.losses import LOSS_NAMES, loss_named

EVIL = '</script><b>alert(1)</b> & "q" $x$'


@pytest.fixture
def script(monkeypatch, capsys):
    """Runs a script of the repository; returns (exit code, output, errors)."""
    return runner(monkeypatch, capsys)


@pytest.fixture
def train(script, tmp_path):
    """Trains on arrays, features then targets, the last third of them a test set; returns (folder, output)."""

    def run(x, y, *options: object, pictures: bool = False, **more) -> tuple[Path, str]:
        cut = 2 * len(x) // 3
        data = tmp_path / "set.npz"
        np.savez(data, x_train=x[:cut], y_train=y[:cut], x_test=x[cut:], y_test=y[cut:], **more)
        folder = tmp_path / "run"
        quiet = () if pictures else ("--no-plots", "--no-report")
        given = ("--data", data, "--out", folder, "--no-progress", "--hidden", 8, "--lr", 0.01, "--force")
        code, out, err = script("train", *given, *quiet, *options)
        assert code == 0, err
        assert err == ""
        return folder, out

    return run


def seen(folder: Path) -> str:
    """What a reader reads in the report."""
    page = (folder / "report.html").read_text("utf-8")
    assert page.count("<script") == 2
    return re.sub(r"<[^>]+>", "", re.sub(r"<(script|style).*?</\1>|data:image[^\"]*", "", page, flags=re.DOTALL))


def results(folder: Path) -> list[dict[str, str]]:
    with (folder / "test.result").open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text(), parse_constant=pytest.fail)["test"]


def files(folder: Path) -> set[str]:
    """The names of a run's files, but for the checkpoint."""
    names = {path.name for path in folder.iterdir()}
    kept = {name for name in names if name.startswith("checkpoint-")}
    assert kept
    return names - kept


ALWAYS = {"activations.png", "config.json", "curves.png", "gradients.png", "history.csv", "loss.png", "metrics.json",
          "model.safetensors", "report.html", "test.result", "update_ratio.png"}  # fmt: skip
REASON = "scikit-learn, which has the data, is not installed; `make test-peers` installs it"


def shuffled(x, y) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(0).permutation(len(x))
    return ((x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9))[order].astype(np.float32), y[order]


# --- to a report -----------------------------------------------------------------------------------------------------


def test_a_regression(train, script):
    diabetes = pytest.importorskip("sklearn.datasets", reason=REASON).load_diabetes()
    x, y = shuffled(diabetes.data, diabetes.target)
    folder, out = train(x, y, "--loss", "mse", "--validation", 0.2, "--epochs", 40, "--lr", 0.1, pictures=True)
    assert files(folder) == ALWAYS | {"predicted_vs_true.png", "residuals.png"}
    found, model = metrics(folder), fm.load_model(folder)
    cut = 2 * len(x) // 3
    predicted, true = fm.Predictor(model)(x[cut:])[:, 0], y[cut:]
    assert found["r2"] == pytest.approx(
        1 - ((predicted - true) ** 2).sum() / ((true - true.mean()) ** 2).sum(), rel=1e-6
    )
    assert found["mae"] == pytest.approx(np.abs(predicted - true).mean(), rel=1e-6)  # of float32 predictions
    assert found["r2"] > 0.3
    assert f"test R² {found['r2']:.4f} (148 rows), RMSE " in out
    lines = results(folder)
    assert [int(line["index"]) for line in lines] == list(range(148))
    np.testing.assert_allclose([float(line["true"]) for line in lines], true)
    np.testing.assert_allclose([float(line["predicted"]) for line in lines], predicted, rtol=1e-6)
    np.testing.assert_allclose([float(line["residual"]) for line in lines], predicted - true, rtol=1e-6, atol=1e-4)
    page = seen(folder)
    for words in ("10-8-1 on set.npz", "Test R²", "Test RMSE", "Test MAE", "Validation R²", "Largest residuals",
                  "Predicted against true.", "Residuals.", "the prediction"):  # fmt: skip
        assert words in page, words
    assert not re.search(r"softmax|ccuracy|nats|[Cc]alibration", page)
    saved = fm.read_run(folder)
    assert (saved.history.score_name, saved.config["targets"], saved.config["loss"]) == ("r2", "numbers", "mse")
    assert saved.metrics["validation"]["rows"] == 59
    code, said, _ = script("evaluate", "--model", folder, "--data", folder.parent / "set.npz")
    assert code == 0
    assert f"MSELoss {found['loss']:.5g}" in said
    code, said, _ = script("evaluate", "--model", folder, "--data", folder.parent / "set.npz", "--loss", "l1")
    assert f"L1Loss {found['mae']:.5g}" in said


def test_classes_with_names(train, script):
    wine = pytest.importorskip("sklearn.datasets", reason=REASON).load_wine()
    names = np.array(["barolo", EVIL, "grignolino"])
    x, y = shuffled(wine.data, names[wine.target])
    folder, out = train(x, y, "--loss", "cross-entropy", "--epochs", 4, pictures=True)
    assert files(folder) == ALWAYS | {"confusion.png", "reliability.png"}
    found, model = metrics(folder), fm.load_model(folder)
    assert found["classes_"] == sorted(names)
    assert found["accuracy"] == np.mean(fm.predict(model, x[118:]) == y[118:])
    lines = results(folder)
    assert found["wrong"] == len(lines) > 0
    for line in lines:
        assert line["true"] == y[118:][int(line["index"])] != line["predicted"]
        assert line["predicted"] in names
    assert re.search(r"^\d+ wrong; most often .* is taken for .*: ", out, re.MULTILINE)
    page = (folder / "report.html").read_text("utf-8")
    assert "alert(1)</b>" not in page
    assert "&lt;/script&gt;&lt;b&gt;alert(1)&lt;/b&gt; &amp; &quot;q" in page
    assert "barolo" in seen(folder)
    code, said, _ = script("evaluate", "--model", folder, "--data", folder.parent / "set.npz")
    assert code == 0
    assert "  barolo     " in said


def test_labels(train, script):
    """A digit has the labels: it is even, it is round, its upper half has more ink."""
    digits = pytest.importorskip("sklearn.datasets", reason=REASON).load_digits()
    images = digits.images[:600]
    heavy = images[:, :4].sum(axis=(1, 2)) > images[:, 4:].sum(axis=(1, 2))
    y = np.stack([digits.target[:600] % 2 == 0, np.isin(digits.target[:600], (0, 6, 8, 9)), heavy], axis=1)
    names = np.array(["even", EVIL, ""])
    folder, out = train(images / 16, y, "--loss", "bce", "--epochs", 5, pictures=True, target_names=names)
    assert files(folder) == ALWAYS | {"label_scores.png", "first_layer.png", "sample_digits.png"}
    found = metrics(folder)
    assert found["names"] == ["even", EVIL, '""']
    z = fm.Predictor(fm.load_model(folder))(images[400:].reshape(200, 64) / 16)
    given, true = z > 0, y[400:]
    assert found["micro"]["f1"] == pytest.approx(2 * (given & true).sum() / (given.sum() + true.sum()), rel=1e-12)
    assert found["subset_accuracy"] == (given == true).all(axis=1).mean()
    assert f"test micro F1 {100 * found['micro']['f1']:.2f} %" in out
    wrong = [(int(line["index"]), line["label"], line["true"]) for line in results(folder)]
    assert wrong == [(n, found["names"][k], str(int(true[n, k]))) for n, k in np.argwhere(given != true)]
    page = seen(folder)
    for words in ("Test micro F1", "All labels right", "Training micro F1", "Wrong rows", "Scores of each label.",
                  "sigmoid", "wrongly given", "the targets are labels, and the canvas is for classes"):  # fmt: skip
        assert words in page, words
    assert not re.search(r"softmax|ccuracy|alibration", page)
    Image.fromarray((images[0] * 15).astype(np.uint8)).save(folder / "digit.png")
    code, said, err = script("predict", "--model", folder, folder / "digit.png")
    assert (code, err) == (0, "")
    assert re.search(r"digit.png  (no label|\[?\w+\]? \(\d+\.\d\d %\))", said)


# --- each loss -------------------------------------------------------------------------------------------------------

rng = np.random.default_rng(1)
x = rng.normal(size=(90, 4)).astype(np.float32)
COUNTS = rng.poisson(np.exp(x[:, 0])).astype(np.float64)


@pytest.mark.parametrize("name", [name for name, kind in LOSS_NAMES.items() if "numbers" in kind().kinds])
def test_every_loss_of_numbers_goes_through(train, name):
    folder, out = train(x, COUNTS, "--loss", name, "--epochs", 1)
    assert out.splitlines()[0].endswith(f", {name}")
    loss = LOSS_NAMES[name]()
    test = fm.data.load(folder.parent / "set.npz")[1]
    expected = fm.evaluate(fm.load_model(folder), test, loss=loss)
    assert metrics(folder) == expected.to_dict()
    assert metrics(folder)["loss_name"] == type(loss).__name__


def test_what_outputs_say_of_numbers():
    z = np.array([[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]])
    assert fm.nn.MSELoss().predicted(z) is z
    assert fm.nn.PoissonNLLLoss().predicted(z).tolist() == np.exp(z).tolist()
    assert fm.nn.PoissonNLLLoss(log_input=False).predicted(z) is z
    assert fm.nn.QuantileLoss((0.1, 0.6, 0.9)).predicted(z).tolist() == [[1, 4]]
    model = fm.nn.MLP(4, (), 1)
    e = fm.evaluate(model, fm.Dataset(x, COUNTS), loss=fm.nn.PoissonNLLLoss())
    np.testing.assert_allclose(e.predicted, np.exp(fm.Predictor(model)(x)))


def test_without_a_loss_the_targets_say_which(train):
    for targets, loss in ((COUNTS, "mse"), (COUNTS > 1, "cross_entropy"),
                          (np.stack([COUNTS > 1, COUNTS > 2], 1), "bce_with_logits")):  # fmt: skip
        folder, _ = train(x, targets, "--epochs", 1)
        assert json.loads((folder / "config.json").read_text())["loss"] == loss


def test_whole_floats_become_classes_where_the_loss_asks_for_them(train):
    folder, out = train(x, (COUNTS > 1).astype(float) + 3, "--loss", "cross_entropy", "--epochs", 1)
    assert out.splitlines()[1].startswith("the targets are floats, all of them whole")
    assert metrics(folder)["classes_"] == [3, 4]


def test_several_numbers_a_row_have_a_column_each(train):
    y = np.stack([COUNTS, 1000 * x[:, 1], np.ones(90)], axis=1)
    folder, _ = train(
        x, y, "--epochs", 2, "--no-plots", pictures=True, target_names=np.array(["count", "$size$", "one"])
    )
    lines = results(folder)
    assert [line["column"] for line in lines[:4]] == ["count", "$size$", "one", "count"]
    assert metrics(folder)["columns"]["names"] == ["count", "$size$", "one"]
    assert metrics(folder)["columns"]["r2"][2] is None
    assert "Numbers of each column" in seen(folder)


def test_refused_in_a_line(script, tmp_path):
    np.savez(tmp_path / "set.npz", x=x, y=COUNTS + 0.5)
    for name, words in (("bce", "BCEWithLogitsLoss takes labels"), ("cross", "takes classes or probabilities"),
                        ("sum", "'sum' is no loss; it must be one of cross_entropy, ")):  # fmt: skip
        code, out, err = script("train", "--data", tmp_path / "set.npz", "--loss", name, "--out", tmp_path / "run")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith("train.py: error: argument --loss: ")
        assert words in err
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "name"),
    [("mse", "mse"), ("MSE", "mse"), ("mse_loss", "mse"), ("smooth-l1", "smooth_l1"), ("poisson", "poisson_nll"),
     ("bce", "bce_with_logits"), ("binary_cross_entropy_with_logits", "bce_with_logits"), ("huber", "huber"),
     ("cross-entropy", "cross_entropy"), ("quantile", "quantile"), ("L1", "l1")],
)  # fmt: skip
def test_a_loss_is_known_by_its_first_words(text, name):
    assert loss_named(text) == name


@pytest.mark.parametrize("text", ["", "l", "loss", "ms", "smooth_l", "nll"])
def test_what_is_no_loss(text):
    with pytest.raises(ValueError, match="is no loss; it must be one of cross_entropy, "):
        loss_named(text)


def test_pictures_are_predicted_with_names_or_numbers(train, script, tmp_path):
    images = rng.integers(0, 255, (60, 8, 8)).astype(np.uint8)
    bright = images.mean(axis=(1, 2))
    Image.fromarray(images[0]).save(tmp_path / "a.png")
    folder, _ = train(images, np.where(bright > 127, "light", "dark\none"), "--epochs", 1)
    _, said, _ = script("predict", "--model", folder, tmp_path / "a.png")
    assert re.search(r"a\.png  (light|dark\\none)  \((light|dark\\none): \d+\.\d\d %, ", said)
    folder, _ = train(images, bright, "--epochs", 1, "--loss", "poisson")
    _, said, _ = script("predict", "--model", folder, tmp_path / "a.png")
    expected = np.exp(fm.Predictor(fm.load_model(folder))(images[:1].reshape(1, 64)))[0, 0]
    assert float(said.split()[-1]) == pytest.approx(expected, rel=1e-5)
