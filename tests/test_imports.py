"""Imports go one way: each module of the package may import what its line in the table says, and nothing else.

The sources are read, not run. Imports under `if TYPE_CHECKING:` are for the type checker and do not count.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "fastmlp"

# A new module gets a line here; a line that must grow is a decision about the design. `__init__` may import anything.
MAY_IMPORT = {
    "kernels": "",
    "hooks": "",
    "graph": "hooks",
    "idx": "",
    "data": "idx",
    "tables": "",
    "metrics": "tables",
    "images": "",
    "operation": "kernels graph",
    "ops": "kernels graph operation",
    "arithmetic": "kernels graph operation",
    "nn": "ops graph",
    "optim": "kernels graph operation",
    "gradcheck": "graph ops nn",
    "checkpoint": "nn",
    "plan": "kernels graph nn optim",
    "machine": "",
    "engine": "kernels graph operation nn optim data plan",
    "predict": "kernels graph nn data machine plan",
    "warm": "kernels nn optim data engine predict",
    "progress": "",
    "train": "kernels graph operation ops nn optim data machine metrics plan engine predict warm progress",
    "watch": "graph ops nn optim data",
    "stopping": "graph nn optim train",
    "diagnosis": "graph",
    "tensorboard": "nn train watch",
    "plots": "",
    "explain": "graph nn",
    "layout": "",
    "drawing": "graph explain layout",
    "report": "graph nn plan",
    "run": "nn data metrics train checkpoint diagnosis plots report watch",
    "commandline": "",
    "studies": "graph operation ops arithmetic nn optim gradcheck data train predict watch stopping diagnosis metrics "
    "plots kernels warm",
}
# From outside: what may be imported with the module, and what only by a function that needs it.
AT_IMPORT = {"kernels": "numba llvmlite", "warm": "numba", "idx": "idx2numpy"}
WHEN_CALLED = {
    "plots": "matplotlib",
    "drawing": "matplotlib",
    "progress": "tqdm",
    "checkpoint": "safetensors",
    "images": "PIL",
    "tensorboard": "tensorboardX",
    "studies": "matplotlib",
}
HEAVY = ("tensorboardX", "matplotlib", "PIL", "sklearn", "torch", "tqdm", "safetensors", "pytest", "hypothesis")


def module_of(path: Path) -> str:
    """The name in the table: "kernels" for every file of that folder."""
    inside = path.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


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


def imported(source: str, module: str) -> Iterator[tuple[str, bool]]:
    """(dotted name, whether only when called) of all that a file of `module` imports; relative names made absolute."""
    here = ["fastmlp", module] if (PACKAGE / module).is_dir() else ["fastmlp"]
    for statement, called in statements(ast.parse(source)):
        if isinstance(statement, ast.Import):
            yield from ((alias.name, called) for alias in statement.names)
            continue
        base = here[: len(here) + 1 - statement.level] if statement.level else []
        base = base + (statement.module.split(".") if statement.module else [])
        if base == ["fastmlp"]:  # from . import kernels, nn: each name is a module
            yield from ((f"fastmlp.{alias.name}", called) for alias in statement.names)
        else:
            yield ".".join(base), called


def faults(source: str, module: str) -> list[str]:
    """What a file of `module` imports against the tables, in words."""
    if module != "__init__" and module not in MAY_IMPORT:
        return [f"{module} has no line in the table"]
    found = []
    for name, called in imported(source, module):
        top, _, rest = name.partition(".")
        target = rest.partition(".")[0] or "__init__"
        if top == "fastmlp":
            if module != "__init__" and target != module and target not in MAY_IMPORT[module].split():
                found.append(f"{module} imports {target}")
        elif top not in sys.stdlib_module_names and top != "numpy":
            allowed = AT_IMPORT.get(module, "") + " " + (WHEN_CALLED.get(module, "") if called else "")
            if top not in allowed.split():
                found.append(f"{module} imports {top} {'in a function' if called else 'when it is imported'}")
    return found


SOURCES = sorted(PACKAGE.glob("**/*.py"))


def test_the_package_was_found():
    assert len(SOURCES) > 20
    assert {module_of(path) for path in SOURCES} >= {"__init__", "kernels", "graph", "ops", "nn", "optim", "train"}


def test_every_module_is_in_the_table():
    assert {module_of(path) for path in SOURCES} - {"__init__"} <= MAY_IMPORT.keys()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_file_imports_only_what_its_line_says(path):
    assert faults(path.read_text("utf-8"), module_of(path)) == []


def test_the_table_has_no_circle():
    order = list(TopologicalSorter({name: line.split() for name, line in MAY_IMPORT.items()}).static_order())
    assert order.index("kernels") < order.index("ops") < order.index("nn") < order.index("train")
    assert set(order) == MAY_IMPORT.keys()


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("kernels", "from ..graph import Tensor", "kernels imports graph"),
        ("kernels", "from .. import nn", "kernels imports nn"),
        ("kernels", "import fastmlp", "kernels imports __init__"),
        ("graph", "from . import kernels", "graph imports kernels"),
        ("graph", "import fastmlp.ops", "graph imports ops"),
        ("graph", "def f():\n    from .ops import relu", "graph imports ops"),
        ("graph", "if True:\n    from .ops import relu", "graph imports ops"),
        ("ops", "from .nn import Linear", "ops imports nn"),
        ("ops", "from fastmlp.nn import Linear", "ops imports nn"),
        ("nn", "from . import ops, optim", "nn imports optim"),
        ("nn", "from . import manual_seed", "nn imports manual_seed"),
        ("data", "try:\n    from .train import fit\nexcept ImportError:\n    pass", "data imports train"),
        ("plots", "from ..train import History", "plots imports train"),
        ("plots", "import matplotlib.pyplot as plt", "plots imports matplotlib when it is imported"),
        ("plots", "class A:\n    import matplotlib", "plots imports matplotlib when it is imported"),
        ("progress", "from tqdm import tqdm", "progress imports tqdm when it is imported"),
        ("nn", "def f():\n    import torch", "nn imports torch in a function"),
        ("nn", "import numba", "nn imports numba when it is imported"),
        ("graph", "if TYPE_CHECKING:\n    pass\nelse:\n    from .ops import relu", "graph imports ops"),
    ],
)
def test_a_planted_import_is_found(module, source, fault):
    assert faults(source, module) == [fault]


def test_a_module_without_a_line_is_a_fault():
    assert faults("import math", "nowhere") == ["nowhere has no line in the table"]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("kernels", "from .jit import kernel\nfrom . import matmul\nimport numba\nfrom numba.core import event"),
        ("ops", "from . import kernels\nfrom .graph import Tensor\nimport numpy as np\nimport fastmlp.operation"),
        ("plots", "def draw():\n    from matplotlib.figure import Figure"),
        ("plots", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..train import History"),
        ("__init__", "from .train import fit\nfrom . import nn, plots"),
    ],
)
def test_what_the_table_allows_is_no_fault(module, source):
    assert faults(source, module) == []


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


SCRIPTS = sorted((ROOT / "scripts").glob("**/*.py"))


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
