import os

import pytest

from fastmlp import machine


def test_available_cores_respects_the_affinity_mask():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no affinity masks")
    mask = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(mask)})
        assert machine.available_cores() == 1
    finally:
        os.sched_setaffinity(0, mask)


def groups(tmp_path, monkeypatch, own, files):
    """A process on 64 cores, in the control groups `own`, with these files below the groups' folder."""
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text)
    monkeypatch.setattr(machine, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(machine, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)


@pytest.mark.parametrize(("text", "count"), [("50000 100000", 1), ("150000 100000", 2), ("max 100000", 64), ("", 64)])
def test_available_cores_respects_the_quota(tmp_path, monkeypatch, text, count):
    groups(tmp_path, monkeypatch, "0::/\n", {"cpu.max": text})
    assert machine.available_cores() == count


@pytest.mark.parametrize(("quota", "count"), [("250000", 3), ("-1", 64)])
def test_available_cores_respects_the_quota_of_version_1(tmp_path, monkeypatch, quota, count):
    files = {"cpu,cpuacct/box/cpu.cfs_quota_us": quota, "cpu,cpuacct/box/cpu.cfs_period_us": "100000"}
    groups(tmp_path, monkeypatch, "3:cpuset:/\n2:cpu,cpuacct:/box\n0::/\n", files)
    assert machine.available_cores() == count


def test_the_smallest_quota_on_the_way_up_counts(tmp_path, monkeypatch):
    files = {"cpu.max": "max 100000", "a/cpu.max": "300000 100000", "a/b/cpu.max": "800000 100000"}
    groups(tmp_path, monkeypatch, "0::/a/b\n", files)
    assert machine.available_cores() == 3


def test_a_group_whose_folder_is_not_shown_has_the_quota_of_the_top(tmp_path, monkeypatch):
    """In a container the path may be the one outside; what is mounted is the container's own group."""
    groups(tmp_path, monkeypatch, "0::/outside/box\n", {"cpu.max": "200000 100000"})
    assert machine.available_cores() == 2


def test_without_control_groups_the_mask_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "OWN_GROUPS", tmp_path / "none")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    assert machine.available_cores() == 64


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        ("0::/a\n", {"memory.max": "max", "a/memory.max": "300000000"}, 300_000_000),
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "200000000"}, 200_000_000),
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("0::/a\n", {"a/memory.max": "max"}, None),
    ],
)
def test_available_memory_respects_limits(tmp_path, monkeypatch, own, files, limit):
    whole = machine.available_memory()
    groups(tmp_path, monkeypatch, own, files)
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert machine.available_memory() == (limit or physical)
    assert whole <= physical


def test_what_is_no_line_of_control_groups_is_passed_over(tmp_path, monkeypatch):
    files = {"cpu.max": "200000 100000", "a/cpu.max": "100000 0"}  # a period of 0 is none
    groups(tmp_path, monkeypatch, "\nno line\n0:\n0::/a\n", files)
    assert machine.available_cores() == 2
