"""No console, closed streams, a reader that has gone: a training goes on, and a script ends without a traceback."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tqdm import tqdm

import fastmlp as fm
from fastmlp import commandline
from fastmlp.training.progress import Progress, say

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted(path.stem for path in (ROOT / "scripts").glob("*.py") if "run_script" in path.read_text("utf-8"))


class Failing(io.StringIO):
    """A stream that takes `whole` writes and then raises."""

    def __init__(self, error: Exception, whole: int = 0, terminal: bool = True):
        super().__init__()
        self.error, self.whole, self.terminal = error, whole, terminal

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        if not self.whole:
            raise self.error
        self.whole -= 1
        return super().write(text)

    def flush(self) -> None:
        if not self.whole:
            raise self.error


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


STREAMS = {
    "none": lambda: None,
    "closed": closed,
    "a pipe without a reader": lambda: Failing(BrokenPipeError(errno.EPIPE, "Broken pipe"), terminal=False),
    "a terminal that is gone": lambda: Failing(OSError(errno.EIO, "Input/output error")),
    "a full disk": lambda: Failing(OSError(errno.ENOSPC, "No space left on device"), terminal=False),
    "something odd": lambda: Failing(AttributeError("isatty")),
}


def data_set() -> fm.Dataset:
    rng = np.random.default_rng(0)
    return fm.Dataset(rng.normal(size=(60, 5)).astype(np.float32), rng.integers(0, 3, 60))


def trained(progress: bool | str) -> list[bytes]:
    fm.manual_seed(0)
    model = fm.nn.MLP(5, (8,), 3)
    fm.fit(model, data_set(), epochs=2, validation=0.2, progress=progress)
    return [array.tobytes() for array in model.state_dict().values()]


@pytest.mark.parametrize("progress", [True, "table"])
@pytest.mark.parametrize("which", ["stdout", "stderr", "both"])
@pytest.mark.parametrize("stream", [name for name in STREAMS if name != "something odd"])
def test_a_training_goes_on_without(monkeypatch, stream, which, progress):
    expected = trained(False)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, STREAMS[stream]() if which in (name, "both") else io.StringIO())
    assert trained(progress) == expected
    if which == "stderr":  # the table is on the other one
        assert len(sys.stdout.getvalue().splitlines()) == 3


@pytest.mark.parametrize("stream", STREAMS)
def test_a_line_for_nobody_is_no_error(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", STREAMS[stream]())
    if stream != "something odd":
        monkeypatch.setattr(sys, "stdout", STREAMS[stream]())
        say("a line")
        commandline.complain("a line")


@pytest.mark.parametrize("whole", range(12))
@pytest.mark.parametrize("error", [OSError(errno.EIO, "gone"), ValueError("closed"), AttributeError("odd")])
def test_a_bar_that_cannot_be_drawn_any_more_is_dropped(monkeypatch, capsys, whole, error):
    """At its first write, its second ...; what is said goes on, each line once."""
    monkeypatch.setattr(sys, "stderr", Failing(error, whole))
    progress = Progress(True, 2, 100)
    if progress.bar is not None:
        progress.bar.delay, progress.bar.mininterval, progress.bar.miniters = 0, 0, 1
    for _ in range(10):
        progress.batch(10, 0.5, 0.8)
        progress.say("a line")
    progress.row(fm.Epoch(1, 0.4, 0.9, 0.0, 0.0, 1.0, 2000.0))
    progress.close()
    lines = capsys.readouterr().out.splitlines()
    assert lines[:10] == ["a line"] * 10
    assert len(lines) == 12
    assert sys.stderr.whole == 0  # it was drawn until then
    assert not [bar for bar in tqdm._instances if type(bar).__name__ == "Bar"]  # else the next one is a line lower


BAR = """if True:
    import multiprocessing, threading
    import numpy as np
    import fastmlp as fm
    data = fm.Dataset(np.random.default_rng(0).normal(size=(60, 5)).astype("f"), np.arange(60) % 3)
    seen = []
    watch = lambda model, history: seen.extend(thread.name for thread in threading.enumerate())
    fm.fit(fm.nn.MLP(5, (8,), 3), data, epochs=1, callbacks=[watch])
    multiprocessing.set_start_method("spawn")
    print(sorted(name for name in set(seen) if not name.startswith("fastmlp_")))
"""


def test_a_bar_leaves_the_start_method_to_the_program_and_starts_no_thread():
    run = subprocess.run([sys.executable, "-c", BAR], capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "['MainThread']"


# --- scripts ---------------------------------------------------------------------------------------------------------


def environment(unbuffered: bool = False) -> dict[str, str]:
    """This one; without PYTHONUNBUFFERED what is printed is written when the buffer is full, or at the end."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return kept | ({"PYTHONUNBUFFERED": "1"} if unbuffered else {})


def into_nothing(*command: object, cwd: Path | None = None, unbuffered: bool = False) -> tuple[int, str]:
    """The exit code and the standard error of a command whose output nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        run = subprocess.run(
            [sys.executable, *map(str, command)], stdout=writer, stderr=subprocess.PIPE, text=True, cwd=cwd,
            timeout=300, check=False, env=environment(unbuffered),
        )  # fmt: skip
    finally:
        os.close(writer)
    return run.returncode, "".join(line for line in run.stderr.splitlines(True) if not line.startswith("compil"))


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("place")
    data = data_set()
    np.savez(place / "data.npz", features=data.features, labels=data.labels)
    fm.save(fm.nn.MLP(5, (8,), 3), place / "model.safetensors")
    return place


@pytest.mark.parametrize(("script", "unbuffered"), [*((script, False) for script in SCRIPTS), ("train", True)])
def test_help_for_nobody(script, unbuffered):
    """Whether or not it is longer than a buffer: without one each text is."""
    assert into_nothing(ROOT / "scripts" / f"{script}.py", "--help", unbuffered=unbuffered) == (141, "")


def test_evaluate_for_nobody(place):
    arguments = ("--model", place / "model.safetensors", "--data", place / "data.npz", "--activation", "relu")
    for unbuffered in (False, True):
        assert into_nothing(ROOT / "scripts" / "evaluate.py", *arguments, unbuffered=unbuffered) == (141, "")


def test_train_for_nobody_trains_and_writes_all_the_same(place):
    arguments = ("--data", place / "data.npz", "--out", "run", "--epochs", "2", "--hidden", "8", "--no-plots")
    assert into_nothing(ROOT / "scripts" / "train.py", *arguments, cwd=place) == (141, "")
    saved = fm.read_run(place / "run")
    assert (saved.config["status"], len(saved.history)) == ("finished", 2)
    assert (place / "run" / "report.html").exists()


@pytest.mark.skipif(os.name != "posix", reason="a shell closes the streams")
def test_train_without_streams(place):
    command = '"$0" "$1" --data data.npz --out without --epochs 2 --hidden 8 --no-plots <&- >&- 2>&-'
    run = subprocess.run(
        ["sh", "-c", command, sys.executable, ROOT / "scripts" / "train.py"], cwd=place, timeout=300, check=False
    )
    assert run.returncode == 0
    assert fm.read_run(place / "without").config["status"] == "finished"


@pytest.mark.parametrize(
    ("main", "code"),
    [("lambda: print('x' * 100_000)", 141),  # more than a buffer holds
     ("lambda: print(1)", 141), ("lambda: print(1) or sys.exit(3)", 141),
     ("lambda: sys.exit(3)", 3), ("lambda: 1", 0), ("lambda: int('x')", 2)],
)  # fmt: skip
def test_the_exit_code_of_a_script_whose_output_nobody_reads(main, code):
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from fastmlp.commandline import run_script; "
    end, err = into_nothing("-c", program + f"run_script({main})")
    assert end == code
    assert err.count("\n") == (code == 2)
    assert "Traceback" not in err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no device that is full")
def test_a_full_disk_under_the_output_is_one_line():
    with open("/dev/full", "w") as full:
        run = subprocess.run(
            [sys.executable, ROOT / "scripts" / "train.py", "--help"], stdout=full, stderr=subprocess.PIPE, text=True,
            timeout=60, check=False, env=environment(),
        )  # fmt: skip
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert "No space left on device" in run.stderr
