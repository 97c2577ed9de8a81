"""train.py --calibrate: the temperature of the held-out rows, said, drawn and saved."""

import json
import re

import numpy as np
import pytest
from scripted import runner

import fastmlp as fm


@pytest.fixture
def script(monkeypatch, capsys):
    """Runs a script of the repository; returns (exit code, output, errors)."""
    return runner(monkeypatch, capsys)


@pytest.fixture
def noisy(tmp_path):
    """Two classes that no net can tell apart well, so that one that knows its rows by heart is too sure."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 6)).astype(np.float32)
    y = (x[:, 0] + 1.5 * rng.normal(size=400) > 0).astype(np.int64)
    np.savez(path := tmp_path / "noisy.npz", x_train=x[:250], y_train=y[:250], x_test=x[250:], y_test=y[250:])
    return path


QUIET = ("--no-progress", "--hidden", "64", "--epochs", 40, "--lr", 0.02)


def test_the_error_falls_and_the_file_keeps_the_temperature(tmp_path, script, noisy):
    run = tmp_path / "run"
    code, out, err = script("train", "--data", noisy, "--validation", 100, "--calibrate", *QUIET, "--out", run)
    assert (code, err) == (0, "")
    said = re.search(r"temperature ([\d.]+), by 100 held-out rows; test calibration error ([\d.]+) % → ([\d.]+) %", out)
    temperature, before, after = map(float, said.groups())
    model, (_, test) = fm.load_model(run), fm.data.load(noisy)
    assert model.temperature_ == pytest.approx(temperature, abs=5e-5)  # four digits are printed
    assert after == pytest.approx(100 * fm.evaluate(model, test).calibration_error, abs=5e-3)
    model.temperature_ = 1.0
    assert before == pytest.approx(100 * fm.evaluate(model, test).calibration_error, abs=5e-3)
    assert temperature > 1.5
    assert after < before / 2
    assert (run / "reliability.png").exists()
    loss = json.loads((run / "metrics.json").read_text())["test"]["loss"]
    assert loss == fm.evaluate(fm.load_model(run), test).loss  # of calibrated probabilities


def test_without_a_test_set_it_speaks_of_the_held_out_rows(tmp_path, script, noisy):
    with np.load(noisy) as whole:
        np.savez(single := tmp_path / "single.npz", x=whole["x_train"], y=whole["y_train"])
    options = ("--data", single, "--validation", 0.4, "--calibrate", *QUIET[:-4], "--epochs", 3, "--no-report")
    code, out, err = script("train", *options, "--out", tmp_path / "run")
    assert (code, err) == (0, "")
    assert re.search(r"by 100 held-out rows; held-out calibration error [\d.]+ % → [\d.]+ %", out)
    assert (tmp_path / "run" / "reliability.png").exists()


def test_it_is_refused_without_held_out_rows_and_for_numbers(tmp_path, script, noisy):
    options = ("--calibrate", *QUIET, "--no-plots", "--out", tmp_path / "run")
    code, _, err = script("train", "--data", noisy, *options)
    assert (code, err) == (
        2, "train.py: error: argument --calibrate: no rows are held out to calibrate on; --validation says how many\n"
    )  # fmt: skip
    code, _, err = script("train", "--data", noisy, "--task", "regression", "--validation", 0.2, *options)
    assert code == 2
    assert "argument --calibrate: the targets are numbers; it is for classes, labels or probabilities" in err
    assert not (tmp_path / "run").exists()
