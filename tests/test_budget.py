"""No file is longer than a reader holds in mind: a file that needs a table of contents is two files.

A file that must be longer stands in the table with its reason, and leaves it when it is short again.
"""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MOST = {"fastmlp": 400, "scripts": 400, "examples": 90, "tests": 600}  # lines of a Python file in each folder
LONGER = {
    "examples/web_service.py": "a service and the clients that try it, in one file to copy",
    "fastmlp/graph/tensor.py": "Tensor, Node and backward name each other",
    "fastmlp/kernels/simd.py": "all LLVM IR in one place, so that no other file has any",
    "scripts/explain.py": "one walk through one step, read from top to bottom",
    "tests/test_scripts.py": "to be split at its rulers: a run, what it writes, what is refused",
}


def lengths(root: Path) -> dict[str, int]:
    """Lines of each Python file in the folders of MOST."""
    files = [path for folder in MOST for path in sorted((root / folder).rglob("*.py"))]
    return {path.relative_to(root).as_posix(): len(path.read_text("utf-8").splitlines()) for path in files}


def faults(lines: dict[str, int], longer: dict[str, str]) -> list[str]:
    """What does not fit, in words."""
    most = {file: MOST[file.partition("/")[0]] for file in lines}
    found = [
        f"{file} has {count} lines; it must have at most {most[file]}, or a reason"
        for file, count in lines.items()
        if count > most[file] and file not in longer
    ]
    for file, reason in longer.items():
        if file not in lines:
            found.append(f"{file} is not there; it must leave the table")
        elif lines[file] <= most[file]:
            found.append(f"{file} has {lines[file]} lines, which is short; it must leave the table")
        elif not reason:
            found.append(f"{file} has no reason")
    return found


def test_files_are_short_or_have_a_reason():
    lines = lengths(ROOT)
    assert {file.partition("/")[0] for file in lines} == MOST.keys()
    assert faults(lines, LONGER) == []


@pytest.mark.parametrize(
    ("lines", "longer", "fault"),
    [
        ({"fastmlp/a/b.py": 401}, {}, "fastmlp/a/b.py has 401 lines; it must have at most 400, or a reason"),
        ({"tests/a.py": 601}, {}, "tests/a.py has 601 lines; it must have at most 600, or a reason"),
        (
            {"tests/a.py": 600},
            {"tests/a.py": "why"},
            "tests/a.py has 600 lines, which is short; it must leave the table",
        ),
        ({}, {"scripts/a.py": "why"}, "scripts/a.py is not there; it must leave the table"),
        ({"scripts/a.py": 401}, {"scripts/a.py": ""}, "scripts/a.py has no reason"),
    ],
)
def test_a_planted_fault_is_found(lines, longer, fault):
    assert faults(lines, longer) == [fault]


def test_what_is_short_or_has_a_reason_is_no_fault():
    assert faults({"fastmlp/a.py": 400, "tests/a.py": 600, "scripts/a.py": 500}, {"scripts/a.py": "why"}) == []
