"""Runs that are killed by SIGKILL at some moment and go on with `--resume`, held to one that was never killed."""

import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fastmlp.training.checkpoint import files_of

ROOT = Path(__file__).parent.parent
TIMES = ("seconds", "samples_per_second")  # columns of history.csv, and names in config.json, that a clock has written
OF_A_CLOCK = (*TIMES, "started", "process")
OF_A_CALL = ("threads", "out", "force")
LIMIT = 300.0  # seconds after which a process has hung, on a busy machine too

TRAIN = [sys.executable, str(ROOT / "scripts" / "train.py"), "--no-progress"]
NET = ["--hidden", "32", "--epochs", "60", "--checkpoint-every", "25", "--norm", "batch", "--dropout", "0.2"]
USUAL = [*NET, "--validation", "0.2", "--patience", "40", "--schedule", "OneCycleLR"]
BARE = ["--no-plots", "--no-report"]

# A training of the library's own, on the graph, as a layer has no kernels; its run folder looks as those of train.py.
ON_GRAPH = """
import sys
from pathlib import Path
import numpy as np
import fastmlp as fm

class Squared(fm.nn.Module):
    def forward(self, x):
        return x * x

def model():
    fm.manual_seed(3)
    layers = fm.nn.Linear(784, 12), fm.nn.BatchNorm1d(12), Squared(), fm.nn.Dropout(0.2), fm.nn.Linear(12, 10)
    return fm.nn.Sequential(*layers)

file, out, verb, threads = sys.argv[1:]
train, test = fm.data.load(file)
stopper = fm.EarlyStopping("validation_loss", 30)
run = fm.Run(out, config={}, go_on=verb == "--resume", force=verb != "--resume")
if verb == "--resume" and list(Path(out).glob("checkpoint-*")):
    kept = fm.resume(out, model=model(), callbacks=[run, stopper], n_threads=int(threads), progress=False)
    trained, history = kept.model, kept.history
else:
    trained = model()
    history = fm.fit(
        trained, train, 0.2, fm.optim.Adam(trained.parameters()), 25, 50, seed=4, progress=False, clip_norm=1.0,
        callbacks=[run, stopper], schedule=fm.optim.CosineAnnealingLR(), average="ema", checkpoint=out,
        checkpoint_every=7, n_threads=int(threads),
    )
run.write_history(history)
run.write_model(trained)
run.write_config("finished")
"""


def data_file(folder: Path, kind: str = "classes", rows: int = 1200) -> Path:
    """An .npz of 28 x 28 pixels, a sixth of the rows for tests; kind as that of a Dataset."""
    rng, path = np.random.default_rng(0), folder / f"{kind}.npz"
    x, last = rng.integers(0, 256, (rows, 28, 28), dtype=np.uint8), rows - rows // 6
    y = {
        "classes": rng.integers(0, 10, rows),
        "numbers": x[:, 3, :2] / 99 + rng.normal(size=(rows, 2)),
        "labels": (x[:, 5, :3] > 127).astype(np.float64),
    }[kind]
    np.savez(path, x_train=x[:last], y_train=y[:last], x_test=x[last:], y_test=y[last:])
    return path


@dataclass
class Trial:
    """A run as it is started, gone on with, and what it must come to; `options` are those of train.py."""

    name: str
    data: Path
    options: list[str] = field(default_factory=lambda: [*USUAL, *BARE])
    on_graph: bool = False
    seconds: float = 0.0  # that a whole one takes

    def command(self, out: Path) -> list[str]:
        if self.on_graph:
            return [sys.executable, "-c", ON_GRAPH, str(self.data), str(out), "--out", "2"]
        return [*TRAIN, "--data", str(self.data), *self.options, "--out", str(out)]

    def way_on(self, out: Path, threads: int) -> list[str]:
        if self.on_graph:
            return [sys.executable, "-c", ON_GRAPH, str(self.data), str(out), "--resume", str(threads)]
        return [*TRAIN, "--resume", str(out), "--threads", str(threads)]

    def whole(self, out: Path) -> dict[str, object]:
        """The results of one that is never killed; `seconds` is what it takes from its first file on."""
        begun: list[float] = []

        def begins() -> bool:
            if status_of(out):
                begun.append(begun[0] if begun else time.monotonic())
            return False

        code, said = killed(self.command(out), begins)
        assert code == 0, said
        self.seconds = time.monotonic() - begun[0]
        return results(out)


def killed(
    command: list[str], moment: Callable[[], bool], delay: float = 0.0, number: int = signal.SIGKILL
) -> tuple[int, str]:
    """Start it and send a signal so many seconds after `moment` is true: (exit code, its standard error)."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        limit = time.monotonic() + LIMIT
        while process.poll() is None and not moment():
            assert time.monotonic() < limit, "it hangs"
            time.sleep(0.003)
        with suppress(subprocess.TimeoutExpired):
            process.wait(delay)
        process.send_signal(number)
        _, said = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    return process.returncode, said


def steps_kept(out: Path) -> int:
    """How many steps the newest checkpoint of a folder has; 0 without one."""
    found = files_of(out) if out.is_dir() else []
    return int(re.findall(r"\d+", found[0].name)[0]) if found else 0


def status_of(out: Path) -> str:
    """What config.json says, "" without one."""
    try:
        return str(json.loads((out / "config.json").read_text())["status"])
    except FileNotFoundError:
        return ""


def goes_on(trial: Trial, out: Path, threads: int) -> dict[str, object]:
    """Go on with a run to its end, or start it anew where it had come to no folder; the results."""
    command = (
        trial.way_on(out, threads) if status_of(out) else [*trial.command(out), *["--force"] * (not trial.on_graph)]
    )
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stderr
    return results(out)


def results(out: Path) -> dict[str, object]:
    """All that a run has left but for what a clock has written, by file."""
    found: dict[str, object] = {"status": status_of(out)}
    for name in ("model.safetensors", "metrics.json", "test.result"):
        if (out / name).exists():
            found[name] = (out / name).read_bytes()
    head, *rows = [line.split(",") for line in (out / "history.csv").read_text().splitlines()]
    kept = [k for k, name in enumerate(head) if name not in TIMES]
    found["history.csv"] = [[row[k] for k in kept] for row in rows]
    config = json.loads((out / "config.json").read_text())
    found["config.json"] = {name: value for name, value in config.items() if name not in (*OF_A_CLOCK, *OF_A_CALL)}
    found["files"] = sorted(path.name for path in out.iterdir() if not path.name.startswith((".", "checkpoint-")))
    return found


def difference(one: dict[str, object], other: dict[str, object]) -> list[str]:
    """The files that differ; none where all is the same to the last bit."""
    return [name for name in {**one, **other} if one.get(name) != other.get(name)]


def draw(seed: int) -> random.Random:
    """Moments that are the same in every run of the tests, as far as a clock lets them."""
    return random.Random(seed)
