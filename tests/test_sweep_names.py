"""What a trial is named by: two configurations or functions that may give other weights have other names."""

import functools
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import sweeps

import fastmlp as fm
from fastmlp import scale
from fastmlp.scale.names import said

ROOT = Path(__file__).parent.parent


def of_width(width):
    return lambda data: fm.nn.MLP(data.n_features, (width,), data.n_outputs)


class Wide:
    """A model's maker with a width of its own."""

    def __init__(self, width):
        self.width = width

    def __call__(self, data):
        return fm.nn.MLP(data.n_features, (self.width,), data.n_outputs)


def module(text):
    """The function `made` of a module with this text."""
    found = types.ModuleType("notebook")
    exec(text, found.__dict__)
    return found.made


TEXT = "WIDTH = 8\ndef width():\n    return WIDTH\ndef made(data):\n    return 'elu', width()\n"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda data: 8, lambda data: 16),
        (of_width(8), of_width(16)),
        (functools.partial(of_width, 8), functools.partial(of_width, width=8)),
        (Wide(8), Wide(16)),
        (Wide(8).__call__, Wide(16).__call__),
        (module(TEXT), module(TEXT.replace("elu", "gelu"))),
        (module(TEXT), module(TEXT.replace("8", "16"))),  # a constant that a function uses which it calls
        (type("Net", (), {"width": 8}), type("Net", (), {"width": 16})),
        (fm.optim.StepLR(1), fm.optim.StepLR(3)),
        (fm.nn.CrossEntropyLoss(weight=np.array([1, 2])), fm.nn.CrossEntropyLoss(weight=np.array([1, 3]))),
        (np.zeros(2000), np.eye(1, 2000, 1000)[0]),  # NumPy writes both with three dots
        ({0: 1.0}, {"0": 1.0}),
        (1, 1.0),
        (True, 1),
    ],
)
def test_what_differs_has_another_name(one, other):
    assert json.dumps(said(one)) != json.dumps(said(other))


@pytest.mark.parametrize(
    "made",
    [
        lambda: of_width(8), lambda: Wide(8), lambda: module(TEXT), lambda: fm.optim.CosineAnnealingLR(T_max=4),
        lambda: fm.nn.HuberLoss(delta=2.0), lambda: {"b": 1, "a": np.arange(3)}, lambda: module("\n\n" + TEXT),
    ],
)  # fmt: skip
def test_what_is_equal_has_one_name(made):
    assert said(made()) == said(made())
    assert said(module(TEXT)) == said(module("\n\n" + TEXT))  # moved in its file


def test_what_holds_itself_comes_to_an_end():
    held: list = []
    held.append(held)
    assert said(held) == ["itself"]
    names = [f"f{n}" for n in range(60)]  # each calls all others: 60! ways through them
    text = "\n".join(f"def {name}():\n    return {', '.join(names)}" for name in names)
    found = types.ModuleType("notebook")
    exec(text, found.__dict__)
    assert said(found.f0)


def test_a_name_is_that_of_every_process():
    """Sets of texts come in another order in every process."""
    text = "from fastmlp.scale.names import said\nprint(said([lambda x: x in {'a', 'b', 'c', 'd'}, {'a', 'b', 'c'}]))"
    found = {
        subprocess.run([sys.executable, "-c", text], env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
                       capture_output=True, text=True, check=True).stdout for seed in "123"
    }  # fmt: skip
    assert len(found) == 1


def test_another_function_is_another_sweep(tmp_path):
    for width in (8, 16):
        found = scale.sweep(sweeps.data(), {"lr": [0.01]}, tmp_path, epochs=1, model=of_width(width), progress=False)
        assert found.best_model()[0].weight.shape[0] == width
    assert len(sweeps.lines(tmp_path)) == 2


def test_two_schedules_are_two_trials(tmp_path):
    schedules = [fm.optim.StepLR(1, gamma=0.1), fm.optim.StepLR(2, gamma=0.1)]
    space = {"schedule": schedules}
    scale.sweep(sweeps.data(), space, tmp_path, "grid", epochs=3, hidden=(8,), progress=False)
    assert len(set(sweeps.weights(tmp_path).values())) == 2


def test_what_is_drawn_twice_is_one_trial(tmp_path):
    found = scale.sweep(sweeps.data(), {"lr": [0.1, 0.01]}, tmp_path, n_trials=8, epochs=3, halving=3, hidden=(8,),
                        progress=False)  # fmt: skip
    assert sorted(trial.parameters["lr"] for trial in found) == [0.01, 0.1]
    assert sorted(trial.epochs for trial in found) == [1, 3]


def test_copies_in_a_list_are_answered_and_do_not_push_others_out(tmp_path):
    asked = [{"lr": 0.01}, {"lr": 0.01}, {"lr": 0.01}, {"lr": 1e-3}, {"lr": 1e-4}, {"lr": 0.1}]
    found = scale.sweep(sweeps.data(), asked, tmp_path, epochs=2, halving=2, hidden=(8,), progress=False)
    assert [trial.parameters for trial in found] == asked
    assert len({tuple(trial.keys) for trial in found if trial.epochs == 2}) == 2  # of four, not three copies of one
    assert not any(np.isnan(trial.score) for trial in found)


def test_a_number_is_the_width_of_one_layer(tmp_path):
    found = scale.sweep(sweeps.data(), {"hidden": scale.integers(8, 8 + 1)}, tmp_path, n_trials=1, epochs=1,
                        progress=False)  # fmt: skip
    assert found.best_model()[0].weight.shape[0] == found.best.parameters["hidden"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"validation": 0}, "sweep: validation is 0 rows; it must be in 1..299"),
        ({"validation": 1.0}, "sweep: validation is 1.0; a fraction must be between 0 and 1"),
        ({"folds": 3, "validation": sweeps.data(20)}, "sweep: folds is 3 and validation is a Dataset"),
        ({"n_threads": 0}, "sweep: n_threads is 0; it must be a whole number of at least 1, or 'auto'"),
        ({"n_jobs": 0}, "sweep: n_jobs is 0; it must be a whole number but 0, or None"),
        ({"n_jobs": "2"}, "sweep: n_jobs is '2'; it must be a whole number but 0, or None"),
        ({"model": "MLP"}, "sweep: model is 'MLP'; it must be a function"),
    ],
)
def test_what_no_trial_could_do_is_said_at_once(given, words, tmp_path):
    with pytest.raises((ValueError, TypeError)) as raised:
        scale.sweep(sweeps.data(), {"lr": [0.1]}, tmp_path, epochs=1, progress=False, **given)
    assert str(raised.value).startswith(words)
    assert not sweeps.lines(tmp_path)


def test_a_score_that_is_no_number_is_said(tmp_path, capsys):
    """R² of targets that are all the same is none."""
    data = fm.Dataset(sweeps.data().features, np.full(300, 3.0))
    found = scale.sweep(data, {"lr": [0.1]}, tmp_path, epochs=1, hidden=(8,))
    with pytest.raises(ValueError, match="the first one ended with: validation_score is no number"):
        _ = found.best
    assert "no score after 1 epochs" in capsys.readouterr().out
    assert "none with a score" in repr(found)


def test_a_call_says_what_there_is_to_do(tmp_path, capsys):
    for count, words in ((2, "2 of 2 to train for 1 epochs\n"), (3, "1 of 3 to train for 1 epochs, 2 stand in the")):
        scale.sweep(
            sweeps.data(), {"lr": scale.log_uniform(0.01, 0.1)}, tmp_path, n_trials=count, epochs=1, hidden=(8,)
        )
        assert words in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of a file's size")
def test_data_that_do_not_fit_are_named(tmp_path):
    """NumPy says "7200 requested and 1000 written" alone."""
    text = (
        "import resource, sweeps\nfrom fastmlp import scale\ndata = sweeps.data()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        f"scale.sweep(data, {{'lr': [0.1]}}, {str(tmp_path / 'sweep')!r}, epochs=1)"
    )
    paths = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    done = subprocess.run([sys.executable, "-c", text], env=os.environ | {"PYTHONPATH": paths}, capture_output=True,
                          text=True)  # fmt: skip
    said_last = done.stderr.strip().splitlines()[-1]
    assert "sweep: " in said_last
    assert "features.npy cannot be written whole (" in said_last
    assert not list((tmp_path / "sweep").rglob("features.npy"))
