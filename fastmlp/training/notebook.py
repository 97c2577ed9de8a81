"""The cell of a notebook, in which a line can be replaced: the bar of a training is shown there."""

from __future__ import annotations

import sys
from time import monotonic
from typing import Any

FIRST_SECONDS, EVERY_SECONDS = 0.2, 0.1  # a training that is over by then has no bar; a browser draws no faster


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook: IPython runs it, and its shell talks to a frontend."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class Cell:
    """One line in the output of a cell, replaced by the next text, by an update of IPython's display.

    An empty text takes it away at once. Others are shown from FIRST_SECONDS on, every EVERY_SECONDS; those between are
    left out.
    """

    def __init__(self) -> None:
        self.handle: Any = None
        self.due = monotonic() + FIRST_SECONDS

    def show(self, text: str) -> None:
        """Replace the line."""
        now, what = monotonic(), {"text/plain": text}
        if self.handle is None and text and now >= self.due:
            from IPython.display import DisplayHandle

            self.handle = DisplayHandle()
            self.handle.display(what, raw=True)
        elif self.handle is not None and (now >= self.due or not text):
            self.handle.update(what, raw=True)
        else:
            return
        self.due = now + EVERY_SECONDS
