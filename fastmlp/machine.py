"""How many cores and how much memory this process may use, and a sentence where memory does not suffice."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

OWN_GROUPS = Path("/proc/self/cgroup")  # a line for each hierarchy: "number:controllers:path"
GROUPS = Path("/sys/fs/cgroup")
WORTH_ASKING = 1 << 26  # bytes; fewer are had in one piece or with the next error
OURS = "FASTMLP_NUM_THREADS"
OTHERS = "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"


def available_cores() -> int:
    """The cores of the affinity mask, or fewer where a CPU quota of Linux's control groups allows fewer, rounded up.

    Source: Linux's documentation of control groups: `cpu.max` (version 2), `cpu.cfs_quota_us` (version 1).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _groups("cpu"):
        quota, period = (
            _numbers(folder, "cpu.max")
            or (_numbers(folder, "cpu.cfs_quota_us") + _numbers(folder, "cpu.cfs_period_us") + [-1, 1])[:2]
        )
        if quota > 0 and period > 0:
            cores = min(cores, math.ceil(quota / period))
    return max(cores, 1)


def thread_limit(caller: str) -> float:
    """The most threads that the environment asks for: FASTMLP_NUM_THREADS, else the least of OTHERS; without, inf.

    It is read at each call. Of OMP_NUM_THREADS "4,2", a number for each level of nesting, the first counts, as OpenMP
    has it. What is empty does not count, nor what is no number above 0 in another library's variable.
    Who runs trainings side by side sets these. joblib 1.6 sets both, and those of OpenBLAS, MKL, BLIS and NumExpr, to
    cores // workers in the workers of loky, where the user has not, and none with its threads or multiprocessing; in
    the workers of dask (distributed 2026.8) OMP_NUM_THREADS is 1, as MKL's and OpenBLAS's.
    Error: ValueError for FASTMLP_NUM_THREADS that is no whole number above 0.
    """
    if ours := os.environ.get(OURS, "").strip():
        if not (limit := _count(ours)):
            raise ValueError(f"{caller}: {OURS} is {ours!r}; it must be a whole number of at least 1")
        return limit
    found = [_count(os.environ.get(name, "").split(",")[0].strip()) for name in OTHERS]
    return min((count for count in found if count), default=math.inf)


def _count(text: str) -> int:
    """The number that a text is; 0 where it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def available_memory() -> int:
    """Bytes of the machine's memory, or fewer where Linux's control groups or a limit of the process (`ulimit -v`)
    allow fewer; 0 where it is unknown.

    Source: as above, `memory.max` (version 2), `memory.limit_in_bytes` (version 1).
    """
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return 0
    for folder in _groups("memory"):
        for limit in _numbers(folder, "memory.max") or _numbers(folder, "memory.limit_in_bytes"):
            memory = min(memory, limit)
    return min([memory, *_process_limit()])


def check_memory(what: str, size: int, remedy: str = "") -> None:
    """Refuse to begin what will take `size` bytes in all where they cannot be had.

    what: the caller and the thing, "load: the arrays of x.npz"; remedy: what may be done, or nothing. The whole
    size is asked for at once and given back: it is not touched, so that costs nothing.
    Error: MemoryError, in one sentence with the sum.
    """
    there = available_memory()
    asked = not there or size <= there
    if asked and size >= WORTH_ASKING:
        try:
            mmap.mmap(-1, size).close()
        except (OSError, OverflowError, ValueError):  # the last two: more than an address can reach
            asked = False
    if not asked:
        limit = f"; this process may have {size_text(there)}" if there else ""
        raise MemoryError(f"{what} take {size_text(size)} of memory{limit}{remedy and '; ' + remedy}")


def size_text(size: int) -> str:
    """Bytes as people read them: 3.2 GB."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size} bytes"


def _process_limit() -> list[int]:
    """The bytes of address space that the process may have, where there is such a limit."""
    try:
        import resource
    except ImportError:  # Windows
        return []
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return [] if soft == resource.RLIM_INFINITY else [soft]


def _groups(controller: str) -> Iterator[str]:
    """The folders of the control groups that this process is in, and of those above them."""
    try:
        lines = OWN_GROUPS.read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if not colon:  # no line of this file
            continue
        if not controllers or controller in controllers.split(","):
            names = [name for name in path.split("/") if name]
            for depth in range(len(names), -1, -1):
                yield "/".join([str(GROUPS), *filter(None, [controllers]), *names[:depth]])


def _numbers(folder: str, name: str) -> list[int]:
    """The whole numbers in a file of a group; none where there is no such file, or no limit ("max")."""
    try:
        with open(f"{folder}/{name}") as file:
            return [int(word) for word in file.read().split()]
    except (OSError, ValueError):
        return []
