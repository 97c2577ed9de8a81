"""`scripts/export.py`: it writes what `fm.export` writes, with the scale of the run, and refuses in a line."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from scripted import SCRIPTS, runner

import fastmlp as fm


@pytest.fixture
def script(monkeypatch, capsys):
    """Runs the script, and gives (exit code, output, errors)."""
    run = runner(monkeypatch, capsys)
    return lambda *arguments: run("export", *arguments)


@pytest.fixture
def model(tmp_path):
    """A folder as a run leaves it, and the model in it."""
    made = fm.nn.MLP(4, (3,), 2).eval()
    (tmp_path / "run").mkdir()
    fm.save(made, tmp_path / "run" / "model.safetensors")
    (tmp_path / "run" / "config.json").write_text(json.dumps({"activation": "relu", "scale": None, "scaled_by": 0.5}))
    return made


FILES = {"c": ("h", ["model.h"]), "numpy": ("py", ["model.npz", "model.py"]), "javascript": ("js", ["model.js"])}


@pytest.mark.parametrize("to", FILES)
def test_it_writes_what_the_function_writes(to, script, model, tmp_path):
    end, files = FILES[to]
    before = {path.name for path in (tmp_path / "run").iterdir()}
    code, said, errors = script("--model", tmp_path / "run", "--to", to)
    assert (code, errors) == (0, "")
    beside = " and model.npz, which goes with it" * (to == "numpy")
    assert said == f"wrote {tmp_path / 'run' / f'model.{end}'}{beside}\n"
    assert sorted({path.name for path in (tmp_path / "run").iterdir()} - before) == files
    getattr(fm.export, to)(model, tmp_path / f"model.{end}", scale=0.5)
    for name in files:
        assert (tmp_path / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


def test_output_and_scale_are_what_is_given(script, model, tmp_path):
    code, said, _ = script("--model", tmp_path / "run" / "model.safetensors", "--to", "c", "--output",
                           tmp_path / "net.h", "--scale", "0.25")  # fmt: skip
    assert (code, said) == (0, f"wrote {tmp_path / 'net.h'}\n")
    fm.export.c(model, tmp_path / "other.h", scale=0.25, name="net")
    assert (tmp_path / "net.h").read_bytes() == (tmp_path / "other.h").read_bytes()


def test_a_run_that_does_not_say_its_scale_is_asked_for_it(script, model, tmp_path):
    config = tmp_path / "run" / "config.json"
    config.write_text(json.dumps({"activation": "relu", "scale": None}))
    code, said, errors = script("--model", tmp_path / "run", "--to", "c")
    assert (code, said) == (2, "")
    assert errors.startswith("export.py: error: argument --scale: ")
    assert errors.count("\n") == 1
    config.write_text(json.dumps({"activation": "relu", "scale": 0.125}))
    assert script("--model", tmp_path / "run", "--to", "c")[0] == 0
    assert "0.125f * x[i]" in (tmp_path / "run" / "model.h").read_text("utf-8")


def test_a_run_of_the_training_script_says_its_scale(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 4, 4)).astype(np.uint8)
    np.savez(tmp_path / "d.npz", x=images, y=np.arange(40) % 2)
    train = [sys.executable, SCRIPTS / "train.py", "--data", tmp_path / "d.npz", "--epochs", "1", "--hidden", "4",
             "--out", tmp_path / "run", "--no-plots", "--no-report", "--no-progress", "--threads", "1"]  # fmt: skip
    subprocess.run(train, check=True, capture_output=True)
    export = [sys.executable, SCRIPTS / "export.py", "--model", tmp_path / "run", "--to", "numpy"]
    ended = subprocess.run(export, check=True, capture_output=True, text=True, cwd=tmp_path)
    assert ended.stdout == "wrote run/model.py and model.npz, which goes with it\n"
    assert f"np.float32({1 / 255!r})" in (tmp_path / "run" / "model.py").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "none", "--to", "c"], "export.py: error: load_model: none is not there"),
        (["--model", "none", "--to", "fortran"], "export.py: error: argument --to: invalid choice: 'fortran'"),
        (["--model", "none"], "export.py: error: the following arguments are required: --to"),
    ],
)
def test_a_refusal_is_a_line(arguments, words, script):
    code, said, errors = script(*arguments)
    assert (code, said) == (2, "")
    assert errors.startswith(words)
    assert errors.count("\n") == 1


def test_what_is_no_export_is_not_written_over(script, model, tmp_path):
    run = tmp_path / "run"
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    for name in before:
        code, said, errors = script("--model", run, "--to", "c", "--output", run / name)
        assert (code, said) == (2, "")
        assert errors.count("\n") == 1
        assert "is there, and no file of an earlier export to c by its name; give one that ends in .h" in errors
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.parametrize("to", FILES)
def test_a_place_where_no_file_can_be_is_named(to, model, tmp_path):
    (tmp_path / "folder").mkdir()
    for place, why in (
        (tmp_path / "new" / "m", "new is no folder"),
        (tmp_path / "folder", "folder, a folder; it must"),
    ):
        with pytest.raises(ValueError, match=rf"export\.{to}: path is .*{why}"):
            getattr(fm.export, to)(model, place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "run"]
    if os.path.exists(os.devnull) and os.name == "posix":
        with pytest.raises(ValueError, match="a device; it must be the name of a file"):
            getattr(fm.export, to)(model, os.devnull)


@pytest.mark.parametrize("to", FILES)
def test_a_scale_is_refused_for_a_model_of_a_table(to, tmp_path):
    (tmp_path / "table.csv").write_text("a,y\n1,0.5\n2,1.5\n4,2.5\n")
    train, _ = fm.data.table(tmp_path / "table.csv", target="y")
    model = fm.nn.MLP(train.n_features, (3,), 1)
    fm.fit(model, train, epochs=1, progress=False)
    with pytest.raises(ValueError, match=rf"export\.{to}: scale is 0\.5; the model of a table scales its columns"):
        getattr(fm.export, to)(model, tmp_path / "net", scale=0.5)
    getattr(fm.export, to)(model, tmp_path / "net", scale=1)
