"""What a person sees while a model trains: the bar, a table row an epoch, and lines between.

Nothing here ends a training: where nobody can be shown anything, it goes on without.
"""

from __future__ import annotations

import io
import math
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from ..check import shown
from ..words import SHARES
from .notebook import Cell, in_notebook

if TYPE_CHECKING:
    from ..nn import Module
    from .history import Epoch, History


def say(line: str) -> None:
    """Print a line, if there is somebody to print it for.

    There is not without a console, where `print` does nothing, on a closed stream (ValueError), and on a pipe whose
    reader has gone, a terminal that was closed, a full disk (OSError).
    """
    with suppress(OSError, ValueError):
        print(line, flush=True)


class Progress:
    """The live view of a run of `rows` rows an epoch, from epoch number `first` to number `epochs`.

    held_out  whether rows are held out: the table then has a validation loss and score, whatever they are
    progress  True: a bar with loss, accuracy and rows a second, and a table row an epoch; where the standard error
              is no terminal, and there is no notebook, the rows alone. "table": the rows alone. False: nothing
    Error: ValueError for another progress.
    """

    def __init__(
        self,
        progress: bool | str,
        epochs: int,
        rows: int,
        score: str = "accuracy",
        first: int = 1,
        held_out: bool = False,
    ) -> None:
        if not isinstance(progress, bool | int | str) or progress not in (True, False, "table"):
            raise ValueError(f"fit: progress is {shown(progress)}; it must be True, False or 'table'")
        self.visible, self.epochs, self.header_due, self.score = bool(progress), epochs, True, score
        self.held_out = held_out
        self.bar: Any = None
        if progress is True and (sys.stderr is not None or in_notebook()):
            with self._bar_or_none():
                self.bar = _bar(rows)
                self.bar.set_description_str(f"epoch {first}/{epochs}")

    def words(self, score: float) -> str:
        """A score as people read it: a share, such as that of the rows that are right, in percent."""
        return f"{score:8.2%}" if self.score in SHARES and math.isfinite(score) else f"{score:8.4f}"

    def batch(self, rows: int, loss: float, score: float) -> None:
        """Move the bar by a batch; `loss` and `score` are the epoch's so far."""
        if self.bar is not None:
            with self._bar_or_none():
                self.bar.postfix = f"loss {loss:.4f}, {self.score} {self.words(score).strip()}"
                self.bar.update(rows)

    def row(self, epoch: Epoch) -> None:
        """Print one row of the table, and start the bar anew."""
        held_out, name = self.held_out, f"{self.score:>8}"
        if self.header_due:
            self.say(f"epoch   train loss  {name}" + f"   validation loss  {name}" * held_out + "   samples/s")
            self.header_due = False
        validation = f"   {epoch.validation_loss:15.4f}  {self.words(epoch.validation_score)}" * held_out
        self.say(
            f"{epoch.epoch:5d}   {epoch.train_loss:10.4f}  {self.words(epoch.train_score)}{validation}"
            f"   {epoch.samples_per_second:9,.0f}"
        )
        if self.bar is not None and epoch.epoch < self.epochs:
            with self._bar_or_none():
                self.bar.postfix = ""
                self.bar.set_description_str(f"epoch {epoch.epoch + 1}/{self.epochs}", refresh=False)
                self.bar.reset()

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        said = not self.visible
        if self.bar is not None:
            with self._bar_or_none(), self.bar.external_write_mode():
                say(line)
                said = True
        if not said:
            say(line)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            with self._bar_or_none():
                self.bar.delay = 0  # else one that was drawn by a line above it, and not by time, stays
                self.bar.close()

    @contextmanager
    def _bar_or_none(self) -> Iterator[None]:
        """Within this the bar is drawn; where that fails, whatever the reason, there is no bar from then on."""
        try:
            yield
        except Exception:  # what tqdm raises where it cannot write: AttributeError, ValueError, OSError ...
            if self.bar is not None:
                _forget(type(self.bar))
            self.bar = None


class Told:
    """A callback that tells of the history after each epoch, and when the training ends, also where it had ended."""

    def __init__(self, tell: Callable[[Module, History], Any]) -> None:
        self.tell = tell

    def __call__(self, model: Module, history: History) -> None:
        """After an epoch."""
        self.tell(model, history)

    def finish(self, model: Module, history: History) -> None:
        """At the end."""
        self.tell(model, history)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the history is told of again."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The way back."""


def _bar(rows: int) -> Any:
    """A bar of tqdm's, without the thread that it starts, and with a lock for threads alone; in a notebook, in a cell.

    The lock that tqdm makes is one for processes too: to make it settles multiprocessing's start method for the whole
    program, and starts a process where that is not "fork". Where the program has made it, it is used.
    """
    from tqdm import tqdm

    members = {"monitor_interval": 0, "_lock": getattr(tqdm, "_lock", None) or threading.RLock()}
    place: dict[str, Any] = {"disable": None, "dynamic_ncols": True}
    if in_notebook():
        cell, place = Cell(), {"file": io.StringIO(), "ncols": 100, "ascii": False}

        def display(bar: Any, msg: str | None = None, pos: int | None = None) -> None:
            cell.show(str(bar) if msg is None else msg)

        members["display"] = display
    bar: Any = type("Bar", (tqdm,), members)
    try:
        return bar(
            total=rows,
            unit=" samples",
            unit_scale=True,
            leave=False,
            delay=0.2,
            bar_format="{desc}  {percentage:3.0f}% |{bar}| {rate_fmt}{postfix}, {remaining} left",
            **place,
        )
    except Exception:
        _forget(bar)
        raise


def _forget(kind: Any) -> None:
    """Take the bar of this class off tqdm's list: it would be drawn when deleted, and the next one a line lower."""
    with suppress(RuntimeError):  # another thread has made a bar meanwhile
        for bar in [bar for bar in kind._instances if type(bar) is kind]:
            bar.disable = True
            kind._instances.discard(bar)
