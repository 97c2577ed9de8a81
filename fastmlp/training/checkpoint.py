"""Checkpoints: all that a training is at one moment, in one file, so that it goes on from there to the same bits.

A file is a safetensors file: arrays by name, and in its header "state", the rest as JSON, and a digest of the file. It
is written beside its place, brought to the disk and renamed: whoever reads finds it whole or not at all. The two newest
stay, so that an older good one is there where the newest is damaged later.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from .. import check, kernels
from ..files import PARTIAL, probe, write
from ..tensors import read_sealed, sealed
from ..version import __version__
from .state import packed, unpacked

fcntl: Any = None
if os.name == "posix":
    import fcntl

FORM = 1  # of what a checkpoint holds
NAME = re.compile(r"checkpoint-(\d{12})\.safetensors")  # the number is that of the steps that were made
KEPT = 2
FIRST_SECONDS, WITHIN_SECONDS = 10.0, 30.0  # by default: at the end of an epoch, and within one


def files_of(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the newest first."""
    return sorted((path for path in folder.iterdir() if NAME.fullmatch(path.name)), reverse=True)


def maker() -> dict[str, str]:
    """What the bits of a result hang on beside the state: versions, and the processor's instructions."""
    return {
        "fastmlp": __version__, "numpy": np.__version__, "numba": kernels.NUMBA, "python": platform.python_version(),
        "processor": kernels.processor(),
    }  # fmt: skip


class Checkpoints:
    """The checkpoints of one training in a folder, and when there is to be another.

    every    "epoch": at the end of each; a number: after so many steps; "30s": when so many seconds have gone, within
             an epoch too. None: at the end of an epoch 10 seconds after the one before, and within one after 30
    replace  whether those of another training may be in the folder; they are taken away when the first is written
    first    called before the first is written
    There is always one at the end of a training, and where Ctrl-C or SIGTERM ends it early.
    Errors: ValueError for another `every`, and for a folder that has checkpoints; OSError where nothing can be written.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        every: str | int | None = None,
        replace: bool = False,
        first: Callable[[], Any] = lambda: None,
    ) -> None:
        self.first: Callable[[], Any] = first
        self.every, self.seconds, self.steps = every, _seconds_of(every), 0
        if self.seconds is None and every not in ("epoch", None):
            check.whole("fit: checkpoint_every", every, 1, ", 'epoch' or a text such as '30s'")
            self.steps = int(every)
        probe("fit: checkpoint", folder)
        self.folder = Path(folder)
        if not replace and (there := files_of(self.folder)):
            raise ValueError(
                f"fit: checkpoint is {self.folder}, where {there[0].name} of another training lies; resume(folder) "
                "goes on with that one, and a new training needs another folder"
            )
        self.own: list[Path] = []
        self.handle: tuple[int, int] | None = None  # (the open folder, the process that has it) while it is held
        self.at, self.failed = monotonic(), False

    def begin(self, caller: str = "fit: checkpoint") -> None:
        """The training begins now: what was compiled before takes no part in the time to the next one.

        The folder is this training's until `end`: the system takes the lock away from a process that dies.
        Error: ValueError where another training, of any process, has it.
        """
        self.at = monotonic()
        if fcntl is None:
            return
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            if isinstance(error, BlockingIOError):  # else a disk without locks
                raise ValueError(
                    f"{caller} is {self.folder}, where another training is at work; it must have come to its end"
                ) from None
            return
        self.handle = handle, os.getpid()

    def end(self) -> None:
        """Let go of the folder; a child that was forked meanwhile leaves it to its parent."""
        if self.handle is not None and self.handle[1] == os.getpid():
            assert fcntl is not None
            fcntl.flock(self.handle[0], fcntl.LOCK_UN)  # children have the same lock, by handles of their own
            os.close(self.handle[0])
            self.handle = None

    def limit(self, done: int) -> int:
        """How many steps after `done` of the training there must be a pause."""
        return self.steps - done % self.steps if self.steps else sys.maxsize

    def is_due(self, done: int, epoch_ends: bool) -> bool:
        """Whether there is to be one now, after so many steps."""
        gone = monotonic() - self.at
        if self.steps:
            return done % self.steps == 0
        if self.seconds is not None:
            return gone >= self.seconds
        if self.every == "epoch":
            return epoch_ends
        return gone >= (FIRST_SECONDS if epoch_ends else WITHIN_SECONDS)

    def write(self, done: int, state: Any, say: Callable[[str], Any]) -> None:
        """Write one, after so many steps. Where that cannot be done, `say` gets a line, and the training goes on."""
        self.at = monotonic()
        path = self.folder / f"checkpoint-{done:012d}.safetensors"
        try:
            self.first()
            self.first = lambda: None
            text, arrays = packed({"form": FORM, "maker": maker(), **state})
            write(path, sealed(arrays, {"state": text}))
        except (OSError, MemoryError) as error:
            self.miss(error, say)
            return
        if self.failed:
            say(f"checkpoints are written again: {path.name}")
        self.failed, self.own = False, [*(own for own in self.own if own != path), path][-KEPT:]
        with suppress(OSError):  # what cannot be taken away stays
            for other in self.folder.iterdir():
                left_over = PARTIAL.fullmatch(other.name) and other.name.startswith(".checkpoint-")
                if other not in self.own and (left_over or NAME.fullmatch(other.name)):
                    other.unlink()

    def miss(self, error: Exception, say: Callable[[str], Any]) -> None:
        """One could not be written: `say` gets a line, if it is the first."""
        self.at = monotonic()
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if not self.failed:
            say(f"no checkpoint can be written to {self.folder} ({reason}); the training goes on and tries again")
        self.failed = True


def read_newest(folder: str | os.PathLike[str], caller: str, say: Callable[[str], Any]) -> tuple[Path, dict[str, Any]]:
    """(file, state) of the newest checkpoint that is whole; a line for each that is not.

    Errors: FileNotFoundError for a folder without any; ValueError where none is whole.
    """
    place = check.path(f"{caller}: folder", folder)
    found = files_of(place) if place.is_dir() else []
    if not found:
        what = "holds no checkpoint" if place.is_dir() else "is not there" if not place.exists() else "is a file"
        raise FileNotFoundError(f"{caller}: {place} {what}; it must be the folder of a run that wrote one")
    faults = []
    for path in found:
        try:
            arrays, header = read_sealed(path, caller)
            state = unpacked(header.get("state", ""), arrays)
            if not isinstance(state, dict) or state.get("form") != FORM:
                form = state.get("form") if isinstance(state, dict) else None
                raise ValueError(f"{caller}: {path} is of form {check.shown(form)}; this release reads form {FORM}")
        except (ValueError, OSError) as error:
            faults.append(str(error) if str(path) in str(error) else f"{caller}: {path} is none: {error}")
            continue
        for fault in faults:
            say(f"{fault}; the one before is taken, {path.name}")
        return path, state
    raise ValueError(f"{caller}: no checkpoint in {place} can be used: {'; '.join(faults)}")


def _seconds_of(every: Any) -> float | None:
    """The seconds of "30s"; None for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*s", every) if isinstance(every, str) else None
    return float(found[1]) if found else None
