"""The journal of a sweep: a line of JSON for each trial that has come to its end, appended and never changed.

Several processes append to it, also on other machines where the disk locks files for all of them. Who is killed while
writing leaves half a line at most: it is passed over, and the next line begins on one of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..files import for_json

fcntl: Any = None
if os.name == "posix":
    import fcntl


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """The file, made where it is not there, opened to append; nobody else has it meanwhile, of any process or thread.

    The system takes the lock away from a process that dies. On a disk without locks there is none.
    """
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)  # and with it the lock


class Journal:
    """The lines of a file, one for each key and number of epochs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> dict[tuple[str, int], dict[str, Any]]:
        """What is written, by (key, epochs); what is no whole line is passed over."""
        found: dict[tuple[str, int], dict[str, Any]] = {}
        if not self.path.exists():
            return found
        for text in self.path.read_bytes().split(b"\n"):
            try:
                line = json.loads(text)
                found.setdefault((line["key"], line["epochs"]), line)
            except (ValueError, TypeError, KeyError, RecursionError):
                continue
        return found

    def find(self, key: str, epochs: int) -> dict[str, Any] | None:
        """The line of this trial, if there is one."""
        return self.lines().get((key, epochs))

    def add(self, line: dict[str, Any]) -> None:
        """Append a line, to the disk. Error: OSError where it cannot be written; nothing of it is there then."""
        content = json.dumps(for_json(line), ensure_ascii=False, allow_nan=False).encode() + b"\n"
        with locked(self.path) as handle:
            size = os.fstat(handle).st_size
            if size and os.pread(handle, 1, size - 1) != b"\n":
                content = b"\n" + content
            try:
                written = 0
                while written < len(content):
                    written += os.write(handle, content[written:])
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, size)
                raise
