"""How many cores and how much memory this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

OWN_GROUPS = Path("/proc/self/cgroup")  # a line for each hierarchy: "number:controllers:path"
GROUPS = Path("/sys/fs/cgroup")


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
        if quota > 0:
            cores = min(cores, math.ceil(quota / period))
    return max(cores, 1)


def available_memory() -> int:
    """Bytes of the machine's memory, or fewer where Linux's control groups allow fewer; 0 where it is unknown.

    Source: as above, `memory.max` (version 2), `memory.limit_in_bytes` (version 1).
    """
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return 0
    for folder in _groups("memory"):
        for limit in _numbers(folder, "memory.max") or _numbers(folder, "memory.limit_in_bytes"):
            memory = min(memory, limit)
    return memory


def _groups(controller: str) -> Iterator[Path]:
    """The folders of the control groups that this process is in, and of those above them."""
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            top = GROUPS / controllers
            own = top / path.strip("/")
            yield own
            yield from (folder for folder in own.parents if folder.is_relative_to(top))


def _numbers(folder: Path, name: str) -> list[int]:
    """The whole numbers in a file of a group; none where there is no such file, or no limit ("max")."""
    try:
        return [int(word) for word in (folder / name).read_text().split()]
    except (OSError, ValueError):
        return []
