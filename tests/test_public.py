"""What a reader relies on: docstrings, sources, one version, no paths of one machine, and a README that runs."""

import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fastmlp as fm

ROOT = Path(__file__).resolve().parent.parent
TEXT = {".py", ".md", ".toml", ".in", ".txt", ".cfg", ".yml", ".yaml", ".json", ".ipynb", ".svg", ".csv", ""}
TEXT |= {".html", ".css", ".js"}
NOT_OURS = {"build", "dist", "runs", "__pycache__"}  # and what begins with a dot


def modules() -> list:
    """The package and every module in it."""
    found = [fm]
    for entry in pkgutil.walk_packages(fm.__path__, "fastmlp."):
        if not any(part.startswith("_") for part in entry.name.split(".")):
            found.append(importlib.import_module(entry.name))
    return found


def is_ours(thing) -> bool:
    """A function, jitted or not, or a class, that is defined in the package."""
    plain = getattr(thing, "py_func", thing)
    return (inspect.isfunction(plain) or inspect.isclass(plain)) and plain.__module__.startswith("fastmlp")


def public_things() -> dict[str, object]:
    """Module, function, class, method and property by its full name."""
    found: dict[str, object] = {module.__name__: module for module in modules()}
    found |= {f"fastmlp.{name}": getattr(fm, name) for name in fm.__all__}
    for module in modules():
        for name, thing in vars(module).items():
            if name.startswith("_") or not is_ours(thing):
                continue
            found[f"{module.__name__}.{name}"] = thing
            if inspect.isclass(thing):
                members = {m: getattr(thing, m) for m in dir(thing) if not m.startswith("_")}
                found |= {
                    f"{module.__name__}.{name}.{m}": member
                    for m, member in members.items()
                    if inspect.isroutine(member) or isinstance(member, property)
                }
    return found


def test_all_is_what_the_package_offers():
    assert sorted(fm.__all__) == list(fm.__all__)
    assert len(set(fm.__all__)) == len(fm.__all__)
    for name in fm.__all__:
        assert getattr(fm, name) is not None


def test_the_search_finds_what_it_should():
    things = public_things()
    for name in (
        "fastmlp.fit",
        "fastmlp.kernels.matmul",
        "fastmlp.kernels.relu_forward",
        "fastmlp.graph.tensor.Tensor.shape",
        "fastmlp.nn.MLP.load_state_dict",
        "fastmlp.data.Dataset.rows",
        "fastmlp.optim.AdamW.step",
    ):
        assert name in things
    assert len(things) > 250


def test_everything_public_has_a_docstring():
    """A method may inherit it."""
    missing = [name for name, thing in public_things().items() if not (inspect.getdoc(thing) or "").strip()]
    assert not missing


EQUATIONS = [
    *(f"ops.{name}" for name in fm.ops.__all__ if name not in ("pack_columns", "nll_loss")),  # halves of an operation
    *(f"nn.{kind.__name__}" for kinds in (fm.nn.LAYERS, fm.nn.LOSSES) for kind in kinds.values()),
    *(f"optim.{kind.__name__}" for kinds in (fm.optim.RULES, fm.optim.SCHEDULES) for kind in kinds.values()),
]


@pytest.mark.parametrize("name", EQUATIONS)
def test_an_equation_names_its_source(name):
    room, thing = name.split(".")
    doc = inspect.getdoc(getattr(getattr(fm, room), thing))
    assert re.search(r"Source: .*[A-Z]", doc)
    assert re.search(r"\b(19|20)\d\d\b|documentation", doc)


@pytest.mark.parametrize("name", sorted(set(EQUATIONS) - {"nn.Dropout"}))  # that one says it in words
def test_a_docstring_begins_with_its_equation(name):
    room, thing = name.split(".")
    assert re.match(r"\S.*[=←]", inspect.getdoc(getattr(getattr(fm, room), thing)))


def test_the_version_is_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == fm.__version__


def test_the_changelog_knows_the_version():
    assert f"## {fm.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


# --- the files of the repository -------------------------------------------------------------------------------------


def text_files() -> list[Path]:
    found = []
    for folder, folders, names in os.walk(ROOT):  # which does not go into what is left out here: 40,000 files of .venv
        folders[:] = [
            name for name in folders if not (name.startswith(".") or name in NOT_OURS or name.endswith(".egg-info"))
        ]
        paths = [Path(folder, name) for name in names if name != ".git" and not name.startswith(".coverage")]
        found += [path for path in paths if path.is_file() and path.suffix in TEXT]
    return sorted(found)


MACHINE_PATH = re.compile(r"(?<![\w.])/(work|tmp|root|home/\w+|Users/\w+|var/folders)/|\b[A-Z]:\\Users")
REGISTRY = re.compile(
    r"https?://[^\s)\"'>]*(pypi|pythonhosted|anaconda|npmjs|crates\.io|download\.pytorch|artifactory|nexus|mirror)"
    r"|--(extra-)?index-url"
)


def lines_with(pattern: re.Pattern) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (MACHINE_PATH, 'path = "' + "/tm" + 'p/x"'),
        (MACHINE_PATH, "see " + "/wor" + "k/main/README.md"),
        (MACHINE_PATH, "/hom" + "e/someone/fastmlp"),
        (REGISTRY, "https:" + "//pypi.org/simple"),
        (REGISTRY, "pip install --index-" + "url x"),
    ],
)
def test_the_patterns_find_what_they_look_for(pattern, line):
    assert pattern.search(line)


def test_no_file_holds_a_path_of_one_machine():
    assert len(text_files()) > 30
    assert not lines_with(MACHINE_PATH)


def test_no_file_holds_the_address_of_a_package_registry():
    assert not lines_with(REGISTRY)


# --- README ----------------------------------------------------------------------------------------------------------


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_in_the_readme_runs(tmp_path, monkeypatch):
    """Block after block in one namespace, as a reader would type them; on 2,000 digits, to be done in seconds."""
    blocks = re.findall(r"^```python\n(.*?)^```", readme(), re.MULTILINE | re.DOTALL)
    assert blocks
    train, test = fm.data.mnist()
    monkeypatch.setattr(fm.data, "mnist", lambda root=None: (train[:2000], test[:500]))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    namespace: dict[str, object] = {"__name__": "readme"}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"README.md, python block {number}", "exec"), namespace)


def test_the_files_and_commands_that_the_readme_names_exist():
    text = readme()
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        assert re.match(r"https?:|mailto:", target) or (ROOT / target).exists(), target
    for name in re.findall(r"\b((?:scripts|fastmlp|tests)/[\w/]+\.py)\b", text):
        assert (ROOT / name).exists(), name
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\bmake ([a-z][a-z-]*)`", text):
        assert f"\n{target}:" in makefile, target


def test_the_options_that_the_readme_gives_to_the_script_exist():
    files = ROOT / "scripts" / "train.py", ROOT / "fastmlp" / "commandline.py"
    script = "".join(file.read_text(encoding="utf-8") for file in files)
    for command in re.findall(r"scripts/train\.py(.*)", readme()):
        for option in re.findall(r"--[a-z][\w-]*", command):
            assert option == "--help" or f'"{option}"' in script, option


# --- make test -------------------------------------------------------------------------------------------------------


def test_what_is_skipped_is_said_at_the_end_with_its_reason(tmp_path):
    """By the settings of pyproject.toml alone: `make test` gives pytest no other option than who runs the tests."""
    options = "--numprocesses auto --maxprocesses 4 --dist loadfile"
    assert re.search(rf"^test: .*\n\t\S+ -m pytest {options}$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    (tmp_path / "test_made.py").write_text(
        "import pytest\n\n\ndef test_made():\n    pytest.skip('no chromedriver here')\n"
    )
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path)]
    command += ["-p", "no:cacheprovider", str(tmp_path)]
    plain = {name: text for name, text in os.environ.items() if name != "PYTEST_ADDOPTS"}  # of who runs this
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, env=plain)
    assert re.search(r"^SKIPPED \[1\] test_made.py:5: no chromedriver here$", done.stdout, re.MULTILINE), done.stdout


def test_every_skip_has_a_reason():
    """A call or a mark without one would be a line that says nothing."""
    bare = re.compile(r"pytest\.skip\(\)|mark\.skip\b(?!if)(?!\(reason=)|importorskip\(\s*\"[\w.]+\"\s*\)")
    assert bare.search('pytest.importorskip("x")')
    for path in sorted((ROOT / "tests").glob("*.py")):
        found = bare.search(path.read_text("utf-8")) if path.name != Path(__file__).name else None
        assert found is None, f"{path.name}: {found[0]}"
