"""Imports go one way: between the rooms as the table of `scripts/rooms.py` says, inside a room without a circle.

The sources are read, not run. Imports under `if TYPE_CHECKING:` are for the type checker and do not count; those in a
function do. In each folder a file counts as one thing, and so does a folder: where `show/plots/digits.py` imports
`show/layout.py`, plots imports layout. The rooms are the things in the folder of the package.

The planted faults lie in a package made up for them, so that they stay as they are when files of the real one move.
"""

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "fastmlp"
HEAVY = (
    "tensorboardX", "matplotlib", "PIL", "sklearn", "torch", "tqdm", "safetensors", "pytest", "hypothesis", "pandas",
    "polars", "IPython", "pooch", "requests", "onnx", "mpi4py",
)  # fmt: skip


def load_rooms() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scripts_rooms", ROOT / "scripts" / "rooms.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    path = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


rooms = load_rooms()
Room = rooms.Room


# --- what a file imports ---------------------------------------------------------------------------------------------


def statements(node: ast.AST, called: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """(import statement, whether it runs only when a function is called), without those for the type checker."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, called
        elif isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in child.orelse:
                yield from statements(ast.Module([other], []), called)
        else:
            yield from statements(child, called or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


def imported(file: str, source: str) -> Iterator[tuple[list[str], bool]]:
    """(parts of a dotted name, whether only when called) of all that a file imports; relative names made absolute."""
    package = ["fastmlp", *PurePosixPath(file).parts[:-1]]
    for statement, called in statements(ast.parse(source)):
        if isinstance(statement, ast.Import):
            yield from ((alias.name.split("."), called) for alias in statement.names)
            continue
        base = package[: len(package) + 1 - statement.level] if statement.level else []
        base = base + (statement.module.split(".") if statement.module else [])
        yield from (([*base, alias.name], called) for alias in statement.names)


def file_of(name: list[str], files: set[str]) -> str:
    """The file that a name in the package is, or is defined in: `a/b.py` for fastmlp.a.b and for fastmlp.a.b.thing."""
    for end in range(len(name), 0, -1):
        stem = "/".join(name[1:end])
        for file in (f"{stem}.py", f"{stem}/__init__.py".removeprefix("/")):
            if file in files:
                return file
    raise AssertionError(f"there is no {'.'.join(name)}")


def links(file: str, source: str, files: set[str]) -> Iterator[tuple[str, str, str]]:
    """(folder, thing, other thing that it imports) of all that a file imports of the package."""
    one = PurePosixPath(file).with_suffix("").parts
    for name, _ in imported(file, source):
        if name[0] == "fastmlp" and (target := file_of(name, files)) != file:
            other = PurePosixPath(target).with_suffix("").parts
            depth = next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
            yield "/".join(one[:depth]), one[depth], other[depth]


def faults(file: str, source: str, files: set[str], rows: Mapping[str, Room]) -> list[str]:
    """What a file imports against the table, in words."""
    room = PurePosixPath(file).with_suffix("").parts[0]
    if room == "__init__":
        return []  # the face of the package may import anything
    if room not in rows:
        return [f"{room} has no row in the table"]
    others = {other for folder, _, other in links(file, source, files) if not folder}
    found = [f"{room} imports {other}" for other in sorted(others - set(rows[room].imports.split()))]
    for (top, *_), called in imported(file, source):
        allowed = rows[room].outside.split() + called * rows[room].called.split()
        if top not in ("fastmlp", "numpy", *sys.stdlib_module_names, *allowed):
            found.append(f"{room} imports {top} {'in a function' if called else 'when it is imported'}")
    return found


def circles(sources: Mapping[str, str]) -> list[str]:
    """A circle of each folder that has one, in words, from the first of its names on."""
    graphs: dict[str, dict[str, set[str]]] = {}
    for file, source in sources.items():
        for folder, one, other in links(file, source, set(sources)):
            graphs.setdefault(folder, {}).setdefault(one, set()).add(other)
    found = []
    for folder, graph in sorted(graphs.items()):
        try:
            TopologicalSorter({one: sorted(graph[one]) for one in sorted(graph)}).prepare()
        except CycleError as error:
            names = error.args[1][:0:-1]  # each imports the next; the first stood at both ends
            start = names.index(min(names))
            found.append(f"{folder or 'rooms'}: {' -> '.join([*names[start:], *names[: start + 1]])}")
    return found


def order_faults(rows: Mapping[str, Room]) -> list[str]:
    """Rows that name what is no room before them."""
    return [
        f"{name} names {other}, which is no room before it"
        for i, (name, row) in enumerate(rows.items())
        for other in row.imports.split()
        if other not in list(rows)[:i]
    ]


# --- the package -----------------------------------------------------------------------------------------------------

SOURCES = {path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8") for path in sorted(PACKAGE.glob("**/*.py"))}


def test_each_room_has_a_row_and_each_row_a_room():
    assert len(SOURCES) > 20
    assert {PurePosixPath(file).with_suffix("").parts[0] for file in SOURCES} == {"__init__", *rooms.ROOMS}


def test_a_row_names_only_rooms_before_it():
    assert order_faults(rooms.ROOMS) == []


@pytest.mark.parametrize("file", SOURCES)
def test_each_file_imports_only_what_its_row_says(file):
    assert faults(file, SOURCES[file], set(SOURCES), rooms.ROOMS) == []


@pytest.mark.parametrize("room", rooms.ROOMS)
def test_a_row_says_nothing_that_no_file_does(room):
    """Else table and picture show arrows that are gone: take what is left over out of the row."""
    row, own = rooms.ROOMS[room], [file for file in SOURCES if PurePosixPath(file).with_suffix("").parts[0] == room]
    used = {other for file in own for folder, _, other in links(file, SOURCES[file], set(SOURCES)) if not folder}
    outside = {name[0] for file in own for name, _ in imported(file, SOURCES[file])}
    assert set(row.imports.split()) - used == set()
    assert {*row.outside.split(), *row.called.split()} - outside == set()


def test_no_folder_has_a_circle():
    assert circles(SOURCES) == []


# --- planted faults --------------------------------------------------------------------------------------------------

ROWS = {
    "low": Room("", outside="numba"),
    "middle": Room("", "low", called="matplotlib"),
    "high": Room("", "low middle"),
    "single": Room("", "high"),
}
MADE = {
    "__init__.py": "from . import high\nfrom .single import s",
    "low/__init__.py": "",
    "low/one.py": "import numba\nfrom numba.core import event",
    "middle/__init__.py": "from .first import f",
    "middle/first.py": "from .. import low\nfrom ..low import one\nimport numpy as np",
    "middle/second.py": "from .first import f\ndef draw():\n    from matplotlib.figure import Figure",
    "middle/third.py": "from . import second\nfrom .deep.base import g",
    "middle/deep/__init__.py": "from .top import t",
    "middle/deep/base.py": "from ..second import f\nfrom ...low.one import o",
    "middle/deep/top.py": "from .base import g\nif TYPE_CHECKING:\n    from ...high import h",
    "high/__init__.py": "from fastmlp.middle import f\nimport fastmlp.low.one",
    "single.py": "from .high import h",
}


def test_the_made_up_package_has_no_fault():
    assert order_faults(ROWS) == []
    assert circles(MADE) == []
    for file, source in MADE.items():
        assert faults(file, source, set(MADE), ROWS) == []


@pytest.mark.parametrize(
    ("file", "source", "fault"),
    [
        ("low/one.py", "from ..middle import f", "low imports middle"),
        ("low/one.py", "from ..middle.first import f", "low imports middle"),
        ("low/one.py", "from .. import single", "low imports single"),
        ("low/one.py", "import fastmlp", "low imports __init__"),
        ("low/one.py", "from .. import manual_seed", "low imports __init__"),
        ("low/new.py", "from ..single import *", "low imports single"),
        ("low/__init__.py", "from ..single import s", "low imports single"),
        ("middle/first.py", "import fastmlp.high", "middle imports high"),
        ("middle/first.py", "from fastmlp.high import h", "middle imports high"),
        ("middle/first.py", "def f():\n    from ..high import h", "middle imports high"),
        ("middle/first.py", "if True:\n    from ..high import h", "middle imports high"),
        ("middle/first.py", "try:\n    from ..high import h\nexcept ImportError:\n    pass", "middle imports high"),
        ("middle/first.py", "if TYPE_CHECKING:\n    pass\nelse:\n    from ..high import h", "middle imports high"),
        ("middle/deep/base.py", "from ...high import h", "middle imports high"),
        ("middle/deep/__init__.py", "async def f():\n    from ...single import s", "middle imports single"),
        ("single.py", "from . import high, middle", "single imports middle"),
        ("middle/first.py", "import matplotlib.pyplot as plt", "middle imports matplotlib when it is imported"),
        ("middle/first.py", "class A:\n    import matplotlib", "middle imports matplotlib when it is imported"),
        ("high/__init__.py", "import numba", "high imports numba when it is imported"),
        ("high/__init__.py", "def f():\n    import torch", "high imports torch in a function"),
        ("nowhere.py", "import math", "nowhere has no row in the table"),
    ],
)
def test_a_planted_import_is_found(file, source, fault):
    assert faults(file, source, {*MADE, file}, ROWS) == [fault]


@pytest.mark.parametrize(
    ("added", "circle"),
    [
        ({"middle/first.py": "from .second import f"}, "middle: first -> second -> first"),
        ({"middle/first.py": "from . import second"}, "middle: first -> second -> first"),
        ({"middle/first.py": "import fastmlp.middle.second"}, "middle: first -> second -> first"),
        ({"middle/first.py": "def f():\n    from .second import f"}, "middle: first -> second -> first"),
        ({"middle/first.py": "class A:\n    def f(self):\n        if self:\n            from .deep import t"},
         "middle: deep -> second -> first -> deep"),
        ({"middle/first.py": "from . import f"}, "middle: __init__ -> first -> __init__"),  # f is a name in __init__
        ({"middle/deep/base.py": "from .top import t"}, "middle/deep: base -> top -> base"),
        ({"middle/deep/base.py": "def f():\n    from . import top"}, "middle/deep: base -> top -> base"),
        ({"middle/deep/base.py": "def f():\n    from . import t"}, "middle/deep: __init__ -> top -> base -> __init__"),
        ({"middle/deep/top.py": "from ..third import t"}, "middle: deep -> third -> deep"),  # no circle of files
        ({"middle/second.py": "def f():\n    from .deep import t"}, "middle: deep -> second -> deep"),
        ({"low/new.py": "from ..middle import f"}, "rooms: low -> middle -> low"),
    ],
)  # fmt: skip
def test_a_planted_circle_is_found(added, circle):
    changed = {file: f"{MADE.get(file, '')}\n{source}" for file, source in added.items()}
    assert circles(MADE | changed) == [circle]


def test_a_type_alone_makes_no_circle():
    assert circles(MADE | {"middle/first.py": "if TYPE_CHECKING:\n    from .second import f"}) == []


@pytest.mark.parametrize("name", ["high", "middle", "nowhere"])
def test_a_row_that_names_a_room_above_it_is_found(name):
    rows = ROWS | {"middle": Room("", f"low {name}")}
    assert order_faults(rows) == [f"middle names {name}, which is no room before it"]


# --- CONTRIBUTING ----------------------------------------------------------------------------------------------------


def test_contributing_shows_the_table():
    """Else: python scripts/rooms.py."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    assert rooms.rendered(text) == text


def test_what_is_between_the_markers_is_written_anew_and_nothing_else():
    text = f"# Head\n{rooms.START}what stood here\n{rooms.END}\ntail\n"
    made = rooms.rendered(text)
    assert made.startswith(f"# Head\n{rooms.START}")
    assert made.endswith(f"{rooms.END}\ntail\n")
    assert rooms.table() in made
    assert "what stood here" not in made
    assert rooms.rendered(made) == made


@pytest.mark.parametrize("text", ["", rooms.START, rooms.END, rooms.END + rooms.START, 2 * (rooms.START + rooms.END)])
def test_a_page_without_the_markers_is_refused(text):
    with pytest.raises(ValueError, match="once, in this order"):
        rooms.rendered(text)


def test_the_picture_leaves_out_what_follows(monkeypatch):
    monkeypatch.setattr(rooms, "ROOMS", ROWS)
    assert rooms.arrows() == [("middle", "low"), ("high", "middle"), ("single", "high")]
    lines = rooms.picture().splitlines()
    assert lines[2] == '    single_["single"]'
    assert "    high_ --> middle_" in lines
    assert "    high_ --> low_" not in lines


# --- scripts ---------------------------------------------------------------------------------------------------------


def script_faults(source: str) -> list[str]:
    """What a script imports from this repository besides the package."""
    neighbours = {path.stem for folder in ("scripts", "tests") for path in (ROOT / folder).glob("*.py")}
    found = []
    for statement, _ in statements(ast.parse(source)):
        if isinstance(statement, ast.ImportFrom) and statement.level:
            found.append("a relative import")
            continue
        names = [statement.module] if isinstance(statement, ast.ImportFrom) else [a.name for a in statement.names]
        found += [name for name in names if name.split(".")[0] in neighbours | {"scripts", "tests"}]
    return found


SCRIPTS = sorted(path for folder in ("scripts", "examples") for path in (ROOT / folder).glob("**/*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_import_only_the_package(path):
    assert script_faults(path.read_text("utf-8")) == []


def test_a_planted_import_in_a_script_is_found():
    assert script_faults("import fastmlp as fm\nimport numpy as np\nfrom fastmlp import kernels") == []
    assert script_faults("import oracles\nfrom tests import oracles") == ["oracles", "tests"]
    assert script_faults("from . import train") == ["a relative import"]


def test_import_fastmlp_loads_nothing_heavy():
    code = f"import sys, fastmlp; print([name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[]"
