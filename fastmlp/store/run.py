"""The run folder: what a training leaves behind, one function a file.

    run = Run(name="784-128-64-10", config={...})     makes runs/<date>-<name>/
    history = fit(model, train, callbacks=[run])      config, history and weights, from the first epoch on
    run.write_metrics(test=evaluate(model, test))     and so on, file by file
    saved = read_run(run.folder)                      the model, its history and its numbers

    config.json        the options of the run, the sizes of the net, versions, the machine, the time
    history.csv        an epoch a line                     metrics.json     of test and validation, and the diagnosis
    model.safetensors  the weights                         test.result      a line for each wrong test row, or each row
    *.png              the plots                           report.html      all of it to look at
    wrong/             the wrong digits, a PNG each

    checkpoint-*.safetensors  the training as a whole, the two newest, to go on from: `fastmlp.resume`

A file is written beside its place and moved there, so it is whole or not there: a run may be killed at any moment.
Then history.csv has every epoch that was done, and the weights are at most SAVE_SECONDS old; of which epoch they are
stands in their file. config.json says "running" or "evaluating", and which process does it, until all files are there.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import monotonic
from typing import Any

from .. import check
from ..data import Dataset
from ..files import PARTIAL, for_json, probe, write
from ..nn import Module
from ..show import plots
from ..show.report import write_report
from ..training.checkpoint import NAME as CHECKPOINT
from ..training.checkpoint import files_of
from ..training.diagnosis import Diagnosis
from ..training.evaluation import Evaluation
from ..training.history import SCORE, History
from ..training.multilabel import MultilabelEvaluation
from ..training.regression import RegressionEvaluation
from ..training.watch import Watch
from ..version import __version__
from .pictures import PICTURES, Picture
from .pictures import draw_pictures as draw_pictures
from .results import result_text
from .weights import save

FILES = ("config.json", "history.csv", "metrics.json", "model.safetensors", "report.html", "test.result")
OWN_FILES = {*FILES, *(file for file, _ in PICTURES.values())}  # what `force` may replace, and in wrong/ these:
OWN_DIGIT = re.compile(r"\d+_true[\w-]*_predicted[\w-]*\.png")
AnyEvaluation = Evaluation | RegressionEvaluation | MultilabelEvaluation
AT_WORK = ("running", "evaluating")
SAVE_SECONDS = 30.0  # a run writes its weights at most this often while it trains


class Run:
    """A run's folder. As a callback of `fit` it keeps history.csv and model.safetensors up to date while a run goes.

    folder  where to write; None makes <root>/<date>-<name>/, with -2, -3 ... behind where that is taken
    name    what the folder is called after; "run" where neither it nor folder is given
    config  name -> value for config.json: JSON's types, NumPy's numbers and arrays, and paths. "features", "hidden",
            "classes", "activation", "dropout" and "batch_norm" are the arguments of `nn.MLP`; `read_run` needs the
            activation and the dropout
    force   whether a folder that is not empty may be used. The files of the run in it are replaced when the first
            epoch is done, not before; other files stay
    go_on   whether the run that is in the folder goes on, after `resume`: its files stay until they are written anew

    A disk that is full, or gone, ends no training: a warning says so, and the next epoch tries again.

    Errors: ValueError for a folder that is not empty (without force) or no folder; TypeError for a config that JSON
    cannot hold; OSError where the folder cannot be made or written to. Files whose name begins with a dot do not count:
    a file manager or a killed run leaves them.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        name: str = "run",
        root: str | os.PathLike[str] = "runs",
        config: Mapping[str, Any] | None = None,
        force: bool = False,
        go_on: bool = False,
    ) -> None:
        config = _checked(config)
        for flag, on in (("force", force), ("go_on", go_on)):
            check.flag(f"Run: {flag}", on)
        if not isinstance(name, str) or not name or Path(name).name != name:
            raise ValueError(f"Run: name is {check.shown(name)}; it must be a part of a folder's name, without a slash")
        self.started, self._clock, self._before = datetime.now().astimezone(), monotonic(), 0.0
        self.made = folder is None or not check.path("Run: folder", folder).exists()
        if folder is None:
            self.folder = _dated(check.path("Run: root", root), f"{self.started:%Y-%m-%d-%H%M%S}-{name}")
        else:
            self.folder = Path(folder)
            if self.folder.exists() and not self.folder.is_dir():
                raise ValueError(f"Run: {self.folder} is a file; it must be a new or an empty folder")
            used = not self.made and any(not path.name.startswith(".") for path in self.folder.iterdir())
            if used and not (force or go_on):
                raise ValueError(
                    f"Run: {self.folder} is not empty; name a new folder, or replace the run in it with force"
                )
        probe("Run: folder", self.folder)
        self.config = config
        if go_on:
            self._go_on()
        self._stale = not go_on and any(self.folder.iterdir())  # the files of another run are in it
        self._old = {
            path.name: path.stat().st_mtime_ns for path in self.folder.iterdir() if CHECKPOINT.fullmatch(path.name)
        }
        self._failed = False  # whether the last write did
        self._saved: float | None = None  # when history and weights were written last
        self._wrote: set[str] = set()

    def _go_on(self) -> None:
        """When the run had begun, and how long it has taken so far, stay what they are."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            was = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
            self._before = max(float(was["seconds"]), 0.0)
            self.started = datetime.fromisoformat(was["started"])

    def start(self, model: Module, optimizer: Any = None) -> None:
        """Write config.json, unless the files of another run are still there; called by `fit`."""
        if not self._stale:
            self._try(lambda: self.write_config("running"))

    def __call__(self, model: Module, history: History) -> None:
        """Write the history, and the weights at most every SAVE_SECONDS; called by `fit` after each epoch."""
        self._try(lambda: self._write_epoch(model, history))

    def _write_epoch(self, model: Module, history: History) -> None:
        self.write_history(history)
        if self._saved is None or monotonic() - self._saved >= SAVE_SECONDS:
            self.write_config("running")
            self.write_model(model, history[-1].epoch)
            self._saved = monotonic()

    def _try(self, action: Callable[[], None]) -> None:
        """What is written while a training goes on; where that fails it is said once, and the training goes on."""
        try:
            action()
            self._failed = False
        except OSError as error:
            if not self._failed:
                what = f"Run: nothing can be written to {self.folder} ({error.strerror or error})"
                check.warn(f"{what}; the training goes on, and the next epoch tries again")
            self._failed = True

    def state_dict(self) -> dict[str, Any]:
        """Nothing: all that it knows is in its files."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The way back from `state_dict`."""

    # --- a function a file ------------------------------------------------------------------------------------------

    def write_config(self, status: str) -> None:
        """config.json: the run's options, its status, versions, machine, when it started and how long it took.

        Both are of the run as a whole, also where it was ended and went on; without the time from the last write of
        config.json, 30 seconds or less, to a kill.

        status: "running" or "evaluating", with the number of the process that does it; "finished", "stopped early",
        "time limit", "interrupted", "diverged", or "incomplete" where files could not be written.
        """
        config = _plain(self.config)
        config |= {"fastmlp": __version__, "numpy": _version("numpy"), "numba": _version("numba")}
        config |= {"python": platform.python_version(), "machine": platform.platform(), "cores": os.cpu_count()}
        config |= {"started": self.started.isoformat(timespec="seconds")}
        config |= {"seconds": round(self._before + monotonic() - self._clock, 3), "status": status}
        config |= {"process": os.getpid()} if status in AT_WORK else {}
        self._write("config.json", _json(config))

    def end_incomplete(self) -> None:
        """The status is "incomplete", on a full disk too: config.json has room for the word where it is."""
        try:
            self.write_config("incomplete")
        except OSError:
            with suppress(OSError), (self.folder / "config.json").open("r+b") as file:
                was = file.read()
                at_work = rb'"status": "(running|evaluating)",\s*"process": \d+'
                now = re.sub(at_work, lambda found: b'"status": "incomplete"'.ljust(len(found[0])), was)
                if len(now) == len(was):
                    file.seek(0)
                    file.write(now)

    def write_history(self, history: History) -> None:
        """history.csv: a header and a line an epoch; config.json will say which score it has."""
        if history.score_name != "accuracy":
            self.config["score"] = {name: getattr(history, name) for name in SCORE}
        with self._writing("history.csv") as path:
            history.to_csv(path)

    def write_model(self, model: Module, epoch: int | None = None, step: int = 0) -> None:
        """model.safetensors: the weights; after how many epochs, and steps of the next, stands in the file's header."""
        with self._writing("model.safetensors") as path:
            save(model, path, None if epoch is None else {"epoch": str(epoch), "step": str(step)})

    def write_metrics(
        self,
        test: AnyEvaluation | None = None,
        validation: AnyEvaluation | None = None,
        diagnosis: Diagnosis | None = None,
    ) -> None:
        """metrics.json: the evaluations of test and validation set and the diagnosis; null for what is not there."""
        parts: dict[str, Any] = {"test": test, "validation": validation, "diagnosis": diagnosis}
        self._write("metrics.json", _json({name: part and part.to_dict() for name, part in parts.items()}))

    def write_wrong(self, test: AnyEvaluation) -> None:
        """test.result: a line for each wrong row of classes, each row of numbers, each wrong label: `result_text`."""
        self._write("test.result", result_text(test))

    def write_wrong_digits(self, test: Evaluation, data: Dataset) -> int:
        """wrong/: each wrong digit as a PNG; returns their number."""
        self._clear()
        self._wrote.add("wrong")
        return plots.save_wrong_digits(test, data, self.folder / "wrong")

    def write_pictures(self, pictures: Mapping[str, Picture]) -> None:
        """The plots as PNG, in their light variant."""
        for name, (_, light, _) in pictures.items():
            self._write(PICTURES[name][0], light)

    def write_report(
        self,
        model: Module,
        history: History,
        test: AnyEvaluation | None,
        data: Dataset,
        diagnosis: Diagnosis,
        watch: Watch | None = None,
        pictures: Mapping[str, Picture] | None = None,
    ) -> Path:
        """report.html; arguments as those of `fastmlp.report.write_report`."""
        shown = {name: picture for name, picture in (pictures or {}).items() if name != "loss_curve"}  # in "curves"
        with self._writing("report.html") as path:
            write_report(path, model, history, test, data, self.config, diagnosis, watch=watch, figures=shown)
        return path

    # --- how a file comes into the folder ---------------------------------------------------------------------------

    @property
    def files(self) -> list[str]:
        """What this run has written so far, and the checkpoints of the training."""
        return sorted(self._wrote | {path.name for path in files_of(self.folder)})

    def discard(self) -> None:
        """Take away what this run has written, and the folder where it was made for it and is empty then."""
        if not self._stale:
            for name in self._wrote - {"wrong"}:
                (self.folder / name).unlink(missing_ok=True)
        if self.made:
            with suppress(OSError):
                self.folder.rmdir()

    def _write(self, name: str, content: str | bytes) -> None:
        with self._writing(name) as path:
            write(path, content)

    @contextmanager
    def _writing(self, name: str) -> Iterator[Path]:
        """The path of a file of this run; it counts as written when the block ends well."""
        self._clear()
        yield self.folder / name
        self._wrote.add(name)

    def _clear(self) -> None:
        """Take away the files of the run before, so that those of two runs are never mixed."""
        if not self._stale:
            return
        self._stale = False
        for path in list(self.folder.iterdir()):
            old = self._old.get(path.name) == path.stat().st_mtime_ns  # a checkpoint that is not of this run
            if path.name in OWN_FILES or PARTIAL.fullmatch(path.name) or old:
                path.unlink()
        wrong = self.folder / "wrong"
        if wrong.is_dir() and not wrong.is_symlink():
            for path in list(wrong.iterdir()):
                if OWN_DIGIT.fullmatch(path.name):
                    path.unlink()
            with suppress(OSError):  # somebody else's file is in it
                wrong.rmdir()


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as JSON takes it."""
    return for_json({key: str(value) if isinstance(value, os.PathLike) else value for key, value in config.items()})


def _checked(config: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy of the configuration; refused here, before a training, where JSON cannot hold it."""
    if config is not None and not isinstance(config, Mapping):
        raise TypeError(f"Run: config is {type(config).__name__}; it must be a dict of names and values")
    for key, value in (config or {}).items():
        try:
            json.dumps(_plain({key: value}))
        except (TypeError, ValueError) as error:
            what = "it must be a text, a number, a list or dict of them, None or a path"
            raise TypeError(f"Run: config[{check.shown(key)}] is {type(value).__name__}; {what}") from error
    return dict(config or {})


def _dated(root: Path, name: str) -> Path:
    """Make a folder of this name that nobody else has; mkdir alone can tell, as runs start side by side."""
    root.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = root / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "source"
