"""How many cores this process may use."""

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
    for folder in _groups():
        quota = _quota(folder)
        if quota is not None:
            cores = min(cores, math.ceil(quota))
    return max(cores, 1)


def _groups() -> Iterator[Path]:
    """The folders of the control groups that this process is in, and of those above them."""
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            top = GROUPS / controllers
            own = top / path.strip("/")
            yield own
            yield from (folder for folder in own.parents if folder.is_relative_to(top))


def _quota(folder: Path) -> float | None:
    """Cores that a group may use; None without a quota ("max", or -1) or without the file."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):
        return None
