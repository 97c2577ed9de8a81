"""`scripts/study.py` and `studies.run`: what is printed, what is written, and how they refuse."""

import json
import math
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from matplotlib.figure import Figure
from PIL import Image

from fastmlp import studies
from fastmlp.show.plots.style import palette

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "study.py"


def measure(seed: int = 0) -> dict[str, object]:
    return {"loss": 0.25, "worst": math.inf, "seed": float(seed), "curve": [3.0, 0.25]}


def module(measure) -> SimpleNamespace:
    """A study's module that measures so, and says and draws whatever comes."""
    return SimpleNamespace(
        TITLE="Why?",
        measure=measure,
        tolerance=lambda name, value: 0.5 if name == "loss" else 0.0,
        table=lambda numbers: "a table",
        conclude=lambda numbers: (f"The loss is {numbers['loss']}. " * 10,),
        draw=lambda measured: {"f": Figure(facecolor=palette().background)},
    )


@pytest.fixture
def script(monkeypatch, capsys, tmp_path):
    """Runs the script with a made study in place of a real one."""

    def run(*arguments: object, measure=measure) -> tuple[int, str, str]:
        monkeypatch.setattr(studies, "import_module", lambda name: module(measure))
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.chdir(tmp_path)
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
            code = 0
        except SystemExit as exit:
            code = exit.code or 0
        return (code, *capsys.readouterr())

    return run


def test_it_prints_and_writes(script, tmp_path):
    code, out, err = script("dropout", "--seed", 3, "--dark", "--out", "here/there")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[:5] == ["Why?", "", "a table", "", lines[4]]
    assert lines[4].startswith("- The loss is 0.25.")
    assert lines[-1].startswith("wrote here/there/: f.png, numbers.json (")
    assert max(map(len, lines)) <= 100
    written = json.loads((tmp_path / "here/there/numbers.json").read_text(), parse_constant=pytest.fail)
    assert written["numbers"] == {"loss": 0.25, "worst": None, "seed": 3.0}
    assert written["tolerances"] == {"loss": 0.5, "worst": 0.0, "seed": 0.0}
    assert written["seed"] == 3
    with Image.open(tmp_path / "here/there/f.png") as picture:
        assert max(picture.convert("RGB").getpixel((0, 0))) < 64  # --dark


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["x"], "argument NAME: invalid choice: 'x'"),
        ([], "the following arguments are required: NAME"),
        (["dropout", "--seed", "-1"], "argument --seed: '-1' is not a whole number of at least 0"),
        (["dropout", "--full"], "run: the study dropout has no long form; full must be False"),
        (["dropout", "--out", "taken"], "argument --out: taken is a file; it must be a folder, new or old"),
        (["dropout", "--seed", "9223372036854775808"], "run: seed is 9223372036854775808; it must be"),
    ],
)
def test_a_wrong_argument_gets_one_line(script, tmp_path, arguments, said):
    (tmp_path / "taken").write_text("")
    arguments = arguments if "taken" in arguments else [*arguments, "--out", "new"]
    code, out, err = script(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"study.py: error: {said}")
    assert err.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_the_long_form_is_asked_for(script):
    asked = []

    def long(seed: int, full: bool = False) -> dict[str, object]:
        asked.append(full)
        return measure(seed)

    assert script("known", "--full", "--out", "a", measure=long)[0] == 0
    assert script("known", "--out", "b", measure=long)[0] == 0
    assert asked == [True, False]


def test_ctrl_c_leaves_no_empty_folder(script, tmp_path):
    def interrupted(seed: int) -> dict[str, object]:
        raise KeyboardInterrupt

    code, _, err = script("known", "--out", "a", measure=interrupted)
    assert (code, err) == (130, "study.py: interrupted\n")
    assert not (tmp_path / "a").exists()
    (tmp_path / "mine").mkdir()
    assert script("known", "--out", "mine", measure=interrupted)[0] == 130
    assert (tmp_path / "mine").is_dir()


def test_run_refuses():
    with pytest.raises(ValueError, match=r"run: name is 'x'; it must be one of optimizers, dropout"):
        studies.run("x")
    with pytest.raises(ValueError, match=r"run: seed is True"):
        studies.run("known", True)
