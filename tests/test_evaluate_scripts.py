"""`scripts/evaluate.py` and `scripts/predict.py`: what they print, and how they refuse.

The scripts run inside this process, from the first line to the last; one of each in a process of its own.
"""

import json
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from scripted import runner

import fastmlp as fm

ROOT = Path(__file__).resolve().parent.parent


class Run:
    """What a run of a script said, without the lines about a compilation."""

    def __init__(self, code: int, out: str, err: str):
        self.code, self.out = code, out
        self.err = "".join(line for line in err.splitlines(keepends=True) if not line.startswith("compil"))


@pytest.fixture
def script(monkeypatch, capsys):
    """Runs a script with these arguments."""

    run = runner(monkeypatch, capsys)
    return lambda name, *arguments: Run(*run(name, *arguments))


def process(name: str, *arguments: object) -> Run:
    """A script in a process of its own."""
    command = [sys.executable, str(ROOT / "scripts" / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return Run(done.returncode, done.stdout, done.stderr)


def digits(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of 8 by 8 pixels with a bar: 0 lies, 1 stands, 2 is a square."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, rows)
    labels[:3] = 0, 1, 2
    images = np.zeros((rows, 8, 8), np.uint8)
    for image, label in zip(images, labels, strict=True):
        height, width = ((2, 6), (6, 2), (5, 5))[label]
        top, left = 5 - (height + 1) // 2, 5 - (width + 1) // 2  # where centring puts them
        image[top : top + height, left : left + width] = rng.integers(150, 256)
    return images, labels


def write_idx(path: Path, array: np.ndarray) -> None:
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(head + array.astype(np.uint8).tobytes())


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with data (IDX and .npz) and a trained model's run folder."""
    place = tmp_path_factory.mktemp("place")
    (place / "idx").mkdir()
    for name, rows, seed in (("train", 120, 0), ("t10k", 45, 1)):
        images, labels = digits(rows, seed)
        write_idx(place / "idx" / f"{name}-images-idx3-ubyte", images)
        write_idx(place / "idx" / f"{name}-labels-idx1-ubyte", labels)
    np.savez(place / "one.npz", features=images, labels=labels)
    train, _ = fm.data.load(place / "idx")
    fm.manual_seed(0)
    model = fm.nn.MLP(64, (12,), 3, "tanh", 0.1, True)
    fm.fit(model, train, epochs=15, optimizer=fm.optim.Adam(model.parameters(), lr=0.01), progress=False)
    (place / "run").mkdir()
    fm.save(model, place / "run" / "model.safetensors")
    config = {"hidden": [12], "activation": "tanh", "dropout": 0.1, "batch_norm": True, "data": "idx", "lr": 0.01}
    (place / "run" / "config.json").write_text(json.dumps(config))
    (place / "bare").mkdir()
    shutil.copy(place / "run" / "model.safetensors", place / "bare")
    save_file(model.state_dict(), place / "bare" / "old.safetensors")  # its header names no layers
    return place


def assert_one_line(run: Run, name: str, *words: str) -> None:
    """Exit code 2, nothing printed but one line on the standard error with these words."""
    assert (run.code, run.out) == (2, "")
    assert run.err.count("\n") == 1
    assert run.err.startswith(f"{name}.py: error: ")
    for word in words:
        assert word in run.err


# --- evaluate --------------------------------------------------------------------------------------------------------


def test_evaluate_prints_the_table_of_the_test_set(script, place):
    run = script("evaluate", "--model", place / "run", "--data", place / "idx")
    assert (run.code, run.err) == (0, "")
    expected = fm.evaluate(fm.load_model(place / "run"), fm.data.load(place / "idx")[1])
    first, _, rest = run.out.partition("\n")
    assert first == f"{place / 'run'} on idx test"
    assert rest == f"{expected}\n"
    assert expected.accuracy > 0.9
    assert expected.rows == 45


def test_evaluate_in_a_process_of_its_own(place):
    run = process("evaluate", "--model", place / "run", "--data", place / "one.npz")
    assert (run.code, run.err) == (0, "")
    assert "45 rows, 3 classes" in run.out
    assert "macro avg" in run.out


def test_the_part_may_be_chosen(script, place):
    for part, rows in (("train", 120), ("test", 45)):
        run = script("evaluate", "--model", place / "run", "--data", place / "idx", "--part", part)
        assert f"\n{rows} rows" in run.out
    assert_one_line(
        script("evaluate", "--model", place / "run", "--data", place / "one.npz", "--part", "test"),
        "evaluate", "--part", "single set",
    )  # fmt: skip


def test_a_bare_file_is_told_its_activation_or_says_what_it_takes(script, place):
    bare = place / "bare" / "old.safetensors"
    told = script("evaluate", "--model", bare, "--data", place / "idx", "--activation", "tanh")
    known = script("evaluate", "--model", place / "run", "--data", place / "idx")
    assert (told.code, told.err) == (0, "")
    assert told.out.splitlines()[1:] == known.out.splitlines()[1:]
    untold = script("evaluate", "--model", bare, "--data", place / "idx")
    assert untold.code == 0
    assert re.fullmatch(r"evaluate\.py: load_model: .*taken to be relu; --activation names it\n", untold.err)
    named = script("evaluate", "--model", place / "bare" / "model.safetensors", "--data", place / "idx")
    assert (named.code, named.err) == (0, "")
    assert named.out.splitlines()[1:] == known.out.splitlines()[1:]


def test_every_class_has_a_line_where_it_is_asked_for(script, tmp_path):
    fm.save(fm.nn.MLP(5, (), 30), tmp_path / "m")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=rng.normal(size=(90, 5)), y=np.arange(90) % 30)

    def count(run: Run) -> int:
        table = run.out.partition("class ")[2].partition("macro avg")[0]
        return len(re.findall(r"^ +\d+ +\d\.\d{4} ", table, re.MULTILINE))

    assert count(script("evaluate", "--model", tmp_path / "m", "--data", tmp_path / "d.npz")) == 20
    assert count(script("evaluate", "--model", tmp_path / "m", "--data", tmp_path / "d.npz", "--every-class")) == 30


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--model"]),
        (["--model"], ["--model"]),
        (["--model", "{place}/missing"], ["missing is not there"]),
        (["--model", "{place}/idx"], ["idx holds no model.safetensors"]),
        (["--model", "{place}/one.npz"], ["one.npz is no safetensors file"]),
        (["--model", "{place}/run", "--data", "{place}/missing"], ["missing does not exist"]),
        (["--model", "{place}/run", "--data", "{place}/run"], ["holds no IDX files"]),
        (["--model", "{place}/run", "--data", "{place}/run/config.json"], ["config.json is one file"]),
        (["--model", "{place}/run", "--data", "{mnist}"], ["784 features", "in_features is 64"]),
        (["--model", "{place}/run", "--data", "{place}/idx", "--part", "all"], ["--part"]),
        (["--model", "{place}/run", "--activation", "swish"], ["--activation", "swish"]),
        (["--model", "{place}/run", "word"], ["word"]),
    ],
)
def test_evaluate_refuses_in_a_line(script, place, arguments, words):
    given = [a.format(place=place, mnist=ROOT / "data" / "mnist") for a in arguments]
    assert_one_line(script("evaluate", *given), "evaluate", *words)


def test_labels_that_the_model_does_not_have_are_refused(script, place, tmp_path):
    images, labels = digits(9, 0)
    np.savez(tmp_path / "d.npz", x=images, y=labels + 2)
    assert_one_line(script("evaluate", "--model", place / "run", "--data", tmp_path / "d.npz"), "evaluate", "0 .. 2")


@pytest.fixture
def flags(tmp_path) -> Path:
    """Pictures of 0 and 1, as bytes."""
    images, labels = digits(60, 3)
    np.savez(tmp_path / "flags.npz", x=(images > 0).astype(np.uint8), y=labels)
    return tmp_path / "flags.npz"


def test_bytes_that_are_flags_get_a_line_and_a_run_remembers_its_scale(script, flags, tmp_path):
    train = "train", "--data", flags, "--epochs", 3, "--no-report", "--no-plots", "--no-progress", "--out"
    unsaid = script(*train, tmp_path / "a")
    assert re.fullmatch(r"train\.py: load: the features of \S+ array x are uint8 and the largest .*\n", unsaid.err)
    said = script(*train, tmp_path / "b", "--scale", 1)
    assert (said.code, said.err) == (0, "")
    told = script("evaluate", "--model", tmp_path / "b", "--data", flags, "--scale", 1)
    remembered = script("evaluate", "--model", tmp_path / "b" / "model.safetensors", "--data", flags)
    assert (told.err, remembered.err) == ("", "")
    assert told.out.splitlines()[1:] == remembered.out.splitlines()[1:]
    other = script("evaluate", "--model", tmp_path / "b", "--data", flags, "--scale", 0.001)
    assert other.out.splitlines()[1:] != told.out.splitlines()[1:]
    assert_one_line(
        script("train", "--data", flags, "--scale", 0, "--out", tmp_path / "c"), "train", "--scale", "above 0"
    )


# --- predict ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path) -> list[Path]:
    """A lying, a standing bar and a square: as the model knows them, large and dark on light, and with colours."""
    images, _ = digits(3, 5)
    large = np.full((90, 120), 250, np.uint8)
    large[10:70, 80:100] = 20
    colours = np.zeros((60, 40, 3), np.uint8)
    colours[20:40, 10:30] = (250, 220, 30)
    for name, image in (("lies", images[0]), ("stands", large), ("square", colours)):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    return [tmp_path / f"{name}.png" for name in ("lies", "stands", "square")]


LINE = re.compile(r"(?P<name>\S+) +(?P<cls>\d+)  \((?P<best>.*)\)")


def read(line: str) -> tuple[str, int, list[tuple[int, float]]]:
    match = LINE.fullmatch(line)
    assert match, line
    best = [re.fullmatch(r"(\d+): (\d+\.\d\d) %", part).groups() for part in match["best"].split(", ")]
    return Path(match["name"]).stem, int(match["cls"]), [(int(c), float(p)) for c, p in best]


def test_predict_says_the_class_and_the_largest_probabilities(script, place, pictures):
    run = script("predict", "--model", place / "run", *pictures)
    assert (run.code, run.err) == (0, "")
    found = [read(line) for line in run.out.splitlines()]
    assert [(name, cls) for name, cls, _ in found] == [("lies", 0), ("stands", 1), ("square", 2)]
    for _, cls, best in found:
        assert best[0][0] == cls
        assert sorted(best, key=lambda pair: -pair[1]) == best
        assert sum(p for _, p in best) == pytest.approx(100, abs=0.02)  # three classes, two digits each
    row = np.asarray(Image.open(pictures[0])).reshape(1, 64)
    expected = fm.metrics.softmax(fm.Predictor(fm.load_model(place / "run"))(row))[0]
    assert dict(found[0][2]) == {c: float(f"{100 * expected[c]:.2f}") for c in range(3)}


def test_predict_in_a_process_of_its_own_goes_on_after_a_bad_file(place, pictures, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    run = process("predict", "--model", place / "run", tmp_path / "text.png", *pictures, tmp_path / "missing.png")
    assert run.code == 2
    assert [read(line)[:2] for line in run.out.splitlines()] == [("lies", 0), ("stands", 1), ("square", 2)]
    first, second = run.err.splitlines()
    assert re.fullmatch(
        r"predict\.py: error: .*text\.png cannot be read as a picture: it must be PNG, JPEG, BMP or GIF", first
    )
    assert re.fullmatch(r"predict\.py: error: .*missing\.png is not there.*", second)


def test_a_picture_that_is_cut_off_is_one_line(script, place, pictures):
    content = pictures[1].read_bytes()
    pictures[1].write_bytes(content[: len(content) // 2])
    run = script("predict", "--model", place / "run", *pictures)
    assert (run.code, len(run.out.splitlines()), run.err.count("\n")) == (2, 2, 1)
    assert "stands.png cannot be read" in run.err


def test_inversion_and_centring_are_options(script, place, pictures):
    def answer(*options: str) -> str:
        run = script("predict", "--model", place / "run", *options, pictures[1])
        assert (run.code, run.err) == (0, "")
        return run.out

    assert answer() == answer("--invert", "auto", "--centre", "auto") == answer("--invert=yes", "--center=yes")
    assert len({answer(), answer("--invert", "no"), answer("--centre", "no")}) == 3


def test_a_model_whose_input_is_no_square_wants_a_shape(script, tmp_path):
    fm.save(fm.nn.MLP(12, (), 2), tmp_path / "m")
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Image.fromarray(image).save(tmp_path / "a.png")
    arguments = ("predict", "--model", tmp_path / "m", tmp_path / "a.png")
    assert_one_line(script(*arguments), "predict", "12 numbers", "--shape")
    assert_one_line(script(*arguments, "--shape", "4x4"), "predict", "12 numbers", "4x4 are 16")
    run = script(*arguments, "--shape", "3x4")
    logits = fm.Predictor(fm.load_model(tmp_path / "m"))(image.reshape(12))
    assert read(run.out.strip())[1] == logits.argmax()
    assert len(read(run.out.strip())[2]) == 2  # of two classes


def test_a_model_of_nan_says_so(script, tmp_path):
    model = fm.nn.MLP(64, (), 3)
    model[0].weight.data[:] = np.nan
    fm.save(model, tmp_path / "m")
    Image.fromarray(digits(3, 0)[0][0]).save(tmp_path / "a.png")
    run = script("predict", "--model", tmp_path / "m", tmp_path / "a.png")
    assert run.code == 0
    assert "?  (the model's output is not finite)" in run.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--model"]),
        (["a.png"], ["--model"]),
        (["--model", "{place}/run"], ["image.png"]),
        (["--model", "{place}/missing", "a.png"], ["missing is not there"]),
        (["--model", "{place}/run", "--invert", "maybe", "a.png"], ["--invert", "maybe"]),
        (["--model", "{place}/run", "--centre", "1", "a.png"], ["--centre"]),
        (["--model", "{place}/run", "--shape", "28", "a.png"], ["--shape", "28x28"]),
        (["--model", "{place}/run", "--shape", "0x64", "a.png"], ["--shape"]),
    ],
)
def test_predict_refuses_in_a_line(script, place, arguments, words):
    assert_one_line(script("predict", *(a.format(place=place) for a in arguments)), "predict", *words)


@pytest.mark.parametrize("name", ["evaluate", "predict"])
def test_help_explains_every_option(script, name):
    run = script(name, "--help")
    assert (run.code, run.err) == (0, "")
    for option in re.findall(r'add\("(--[\w-]+)"', (ROOT / "scripts" / f"{name}.py").read_text()):
        assert option in run.out
    assert "MNIST" in run.out or name == "evaluate"


@pytest.mark.parametrize("name", ["evaluate", "predict"])
def test_ctrl_c_ends_in_a_line(script, monkeypatch, name, place):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(fm, "load_model", interrupted)
    run = script(name, "--model", place / "run", *(["a.png"] if name == "predict" else []))
    assert (run.code, run.err) == (130, f"{name}.py: interrupted\n")


def test_a_model_with_a_batch_norm_before_its_first_layer_predicts(script, tmp_path):
    fm.save(fm.nn.Sequential(fm.nn.BatchNorm1d(64), fm.nn.Linear(64, 3)), tmp_path / "m")
    Image.fromarray(digits(3, 0)[0][0]).save(tmp_path / "a.png")
    assert script("predict", "--model", tmp_path / "m", "--activation", "relu", tmp_path / "a.png").code == 0
