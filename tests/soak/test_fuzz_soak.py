"""20,000 mutants of every kind of file that is read, each kind in a process that is watched.

A crash ends that process, a hang is seen because it writes down what it begins; either is told with the number of the
mutant: `mutations.mutant(kind, number)` are its bytes. A sound mutant takes some milliseconds.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import mutations
import pytest

COUNT = int(os.environ.get("FASTMLP_FUZZ", 20_000))  # mutants of a kind
PATIENCE = 60.0  # seconds without a word after which a process hangs: a busy machine may take its core away for long


def watched(command: list[str], log: Path, patience: float = PATIENCE) -> list[str]:
    """Run a command to its end, its words in `log`; the lines that it wrote. It is ended where it hangs."""
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        size, since = 0, time.monotonic()
        while process.poll() is None:
            time.sleep(0.05)
            if log.stat().st_size != size:
                size, since = log.stat().st_size, time.monotonic()
            if time.monotonic() - since > patience:
                process.kill()
                process.wait()
                return [*log.read_text().splitlines(), "fault: it hangs"]
    lines = log.read_text(errors="replace").splitlines()
    return lines if process.returncode == 0 else [*lines, f"fault: it ended with {process.returncode}"]


@pytest.mark.parametrize("kind", mutations.KINDS)
def test_a_mutant_is_read_or_refused_in_a_second_and_in_little_memory(kind, tmp_path):
    command = [sys.executable, mutations.__file__, kind, "0", str(COUNT)]
    lines = watched(command, tmp_path / "log")
    faults = [line for line in lines if "fault" in line]
    assert not faults, "\n".join(faults + lines[-30:])
    assert lines[-2:] == [str(COUNT - 1), "done"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; print(7, flush=True); os.abort()", "ended with -6"),
        ("import ctypes; print(7, flush=True); ctypes.string_at(0)", "ended with -11"),
        ("print(7, flush=True); import time; time.sleep(600)", "it hangs"),
        ("print(7, flush=True); raise SystemExit(3)", "ended with 3"),
    ],
)
def test_the_watch_sees_a_crash_and_a_hang_and_where_it_was(code, words, tmp_path):
    lines = watched([sys.executable, "-c", code], tmp_path / "log", patience=2)
    assert lines[0] == "7"
    assert words in lines[-1]
