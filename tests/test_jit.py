"""The cache folder of compiled kernels, the lines about a compilation, and that each kernel is compiled once.

Where the folder is decided when the package is imported, so those tests import it in a process of its own.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import fastmlp as fm
from fastmlp import Tensor, kernels, nn, ops, optim
from fastmlp.kernels import jit

ROOT = Path(__file__).resolve().parent.parent
SOURCES = Path(jit.__file__).parent
VARIABLES = ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME", "USERPROFILE")
PROBE = """
import json, numba, numpy as np
from fastmlp import kernels
from fastmlp.kernels import jit
lines, y = [], np.empty((1, 3), np.float32)
with kernels.announce_compiling(lines.append):
    kernels.relu_forward(np.float32([[-1, 0, 2]]), y, np.zeros(0), 0, 3)
folder = jit.CACHE_FOLDER
print(json.dumps({"y": y.tolist(), "lines": lines, "folder": folder and str(folder), "numba": numba.config.CACHE_DIR}))
"""  # relu is compiled in half a second


def start_probe(cwd: Path, **variables: object) -> subprocess.Popen:
    """The probe, with these variables and without the others that say where a cache may be."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment |= {name: str(value) for name, value in variables.items()} | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", PROBE], cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finish_probe(process: subprocess.Popen) -> dict:
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, b"")
    answer = json.loads(out)
    assert answer["y"] == [[0, 0, 2]]
    return answer


def probe(cwd: Path, **variables: object) -> dict:
    return finish_probe(start_probe(cwd, **variables))


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# --- where the folder is ---------------------------------------------------------------------------------------------


def test_kernels_are_compiled_once_and_then_read_from_the_folder(tmp_path):
    place = tmp_path / "numba"
    first = probe(tmp_path, NUMBA_CACHE_DIR=place, XDG_CACHE_HOME=tmp_path / "xdg", HOME=tmp_path / "home")
    assert Path(first["folder"]).parent == place / "fastmlp"
    assert len(first["lines"]) == 2
    assert first["lines"][0].startswith("compiling")
    assert first["lines"][1].startswith("compiled in")
    assert any("relu_forward" in name for name in files_in(place))

    again = probe(tmp_path, NUMBA_CACHE_DIR=place)
    assert (again["lines"], again["folder"]) == ([], first["folder"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["numba"]


def test_two_processes_at_once_share_an_empty_folder(tmp_path):
    started = [start_probe(tmp_path, XDG_CACHE_HOME=tmp_path, HOME="/dev/null") for _ in range(2)]
    folders = {finish_probe(process)["folder"] for process in started}
    assert {Path(folder).parent for folder in folders} == {tmp_path / "fastmlp"}
    assert len(folders) == 1


def test_without_a_place_for_it_kernels_work_uncached(tmp_path):
    (tmp_path / "file").write_text("no folder can be made below a file")
    answer = probe(tmp_path, HOME=tmp_path / "file")
    assert answer["folder"] is None
    assert len(answer["lines"]) == 2
    assert files_in(tmp_path) == ["file"]
    assert not answer["numba"]


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home, and no other variable that says where a cache may be."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    return tmp_path


def test_the_variables_go_before_the_home(home, monkeypatch):
    assert jit._cache_folder().parent == home / ".cache" / "fastmlp"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "xdg"))
    assert jit._cache_folder().parent == home / "xdg" / "fastmlp"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(home / "numba"))
    assert jit._cache_folder().parent == home / "numba" / "fastmlp"


def test_an_empty_variable_counts_as_none(home, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert jit._cache_folder().parent == home / ".cache" / "fastmlp"


@pytest.mark.parametrize("variable", ["HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"])
@pytest.mark.skipif(os.name != "posix", reason="/dev/null and HOME are POSIX's")
def test_a_place_below_a_file_is_no_place(home, monkeypatch, variable):
    monkeypatch.setenv(variable, "/dev/null")
    assert jit._cache_folder() is None


def test_a_user_without_a_home_has_no_folder(home, monkeypatch):
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert jit._cache_folder() is None


def test_a_folder_that_takes_no_file_is_no_place(home, monkeypatch):
    """A read-only folder or a full disk; root may write anywhere, so the refusal is played."""

    def refuse(**_):
        raise OSError("read-only file system")

    monkeypatch.setattr(jit.tempfile, "TemporaryFile", refuse)
    assert jit._cache_folder() is None


def test_looking_for_the_folder_leaves_no_file_in_it(home):
    folder = jit._cache_folder()
    assert folder.is_dir()
    assert files_in(home) == []


# --- its name --------------------------------------------------------------------------------------------------------


@pytest.fixture
def copied_sources(home, monkeypatch) -> Path:
    """A copy of the kernels' sources, which the search for the folder takes for its own."""
    sources = home / "kernels"
    shutil.copytree(SOURCES, sources, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(jit, "__file__", str(sources / "jit.py"))
    return sources


def test_a_copy_of_the_sources_has_the_same_folder(copied_sources):
    name = jit._cache_folder().name
    assert len(name) == 16
    assert set(name) <= set("0123456789abcdef")
    (copied_sources / "matmul.py").touch()  # a new date alone is no change
    (copied_sources / "notes.txt").write_text("no source")
    assert jit._cache_folder().name == name


def test_an_edit_in_any_source_changes_the_folder(copied_sources):
    names = [jit._cache_folder().name]
    for source in sorted(copied_sources.glob("*.py")):
        source.write_bytes(source.read_bytes() + b"#")
        names.append(jit._cache_folder().name)
    assert len(set(names)) == len(names)


def test_a_new_source_changes_the_folder(copied_sources):
    before = jit._cache_folder().name
    (copied_sources / "zzz.py").write_text("x = 1\n")
    assert jit._cache_folder().name != before


# --- the decorator ---------------------------------------------------------------------------------------------------


def double(x):
    return x + x


def test_decorating_leaves_the_configuration_of_numba(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "mine"))
    monkeypatch.setattr(jit, "CACHE_FOLDER", tmp_path / "ours")
    assert jit.kernel(double)(2) == 4
    assert str(tmp_path / "mine") == numba.config.CACHE_DIR
    assert any("double" in name for name in files_in(tmp_path / "ours"))
    assert not (tmp_path / "mine").exists()


def test_a_failing_decoration_leaves_the_configuration_of_numba(tmp_path, monkeypatch):
    def fail(**_):
        raise ZeroDivisionError

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "mine"))
    monkeypatch.setattr(numba, "njit", fail)
    with pytest.raises(ZeroDivisionError):
        jit.kernel(double)
    assert str(tmp_path / "mine") == numba.config.CACHE_DIR


def test_without_a_folder_a_kernel_is_not_cached(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jit, "CACHE_FOLDER", None)
    kernel = jit.kernel(double)
    assert kernel(2) == 4
    assert not kernel.stats.cache_path
    assert files_in(tmp_path) == []


def test_a_division_by_zero_gives_inf_and_nan_passes_through():
    """The options of the decorator: error_model="numpy", and no fastmath."""

    @jit.kernel
    def divide(a, b):
        return a / b

    assert divide(1.0, 0.0) == np.inf
    assert np.isnan(divide(0.0, 0.0))
    assert np.isnan(divide(np.nan, 1.0))


# --- the announcement ------------------------------------------------------------------------------------------------


def test_a_compilation_is_announced_in_two_lines(monkeypatch):
    monkeypatch.setattr(jit, "CACHE_FOLDER", None)
    kernel, other, lines = jit.kernel(double), jit.kernel(double), []
    with kernels.announce_compiling(lines.append):
        assert lines == []
        kernel(1)
        assert len(lines) == 1  # said before, not after
        other(1.0)  # a second compilation says nothing more
        assert len(lines) == 1
    assert len(lines) == 2
    assert lines[1].endswith(" s")


def test_nothing_is_announced_without_a_compilation(monkeypatch):
    monkeypatch.setattr(jit, "CACHE_FOLDER", None)
    kernel, lines = jit.kernel(double), []
    kernel(1)
    with kernels.announce_compiling(lines.append):
        kernel(2)
    with pytest.raises(ZeroDivisionError), kernels.announce_compiling(lines.append):
        raise ZeroDivisionError
    kernel(1.0)  # after the block, nobody listens
    assert lines == []


def test_fit_announces_a_compilation_above_the_table(monkeypatch, capsys):
    """A kernel that was never compiled, in a model's forward pass."""
    monkeypatch.setattr(jit, "CACHE_FOLDER", None)
    kernel = jit.kernel(double)

    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            kernel(1)
            return super().forward(x)

    data = dataset()
    fm.fit(mlp(9, ()), data, epochs=1, progress=False)  # what fit itself needs
    capsys.readouterr()
    fm.fit(Doubled(9, 3), data, epochs=2, progress="table")
    lines = capsys.readouterr().out.splitlines()
    first_words = [line.split()[0] for line in lines if not line.startswith("training on")]
    assert first_words == ["compiling", "compiled", "epoch", "1", "2"]


# --- compile once ----------------------------------------------------------------------------------------------------


def dataset(features: int = 9, rows: int = 70) -> fm.Dataset:
    rng = np.random.default_rng(0)
    return fm.Dataset(rng.normal(size=(rows, features)).astype(np.float32), rng.integers(0, 3, rows))


def mlp(features: int, hidden: tuple[int, ...], **options) -> nn.MLP:
    return nn.MLP(features, hidden, 3, **options)


def signatures() -> dict[str, int]:
    """How many times each jitted function of the package is compiled, by its name."""
    rooms = [module for name, module in sys.modules.items() if name.split(".")[0] == "fastmlp"]
    found = {}
    for room in rooms:
        for thing in vars(room).values():
            if hasattr(thing, "signatures") and hasattr(thing, "py_func"):
                found[f"{thing.py_func.__module__}.{thing.py_func.__name__}"] = len(thing.signatures)
    return found


def graph_step(model: nn.Module, optimizer: optim.Optimizer, rows: int, features: int) -> None:
    data = dataset(features, rows)
    ops.cross_entropy(model(Tensor(data.features)), data.labels).backward()
    optimizer.step()
    optimizer.zero_grad()


def use_everything(features: int, hidden: tuple[int, ...], rows: int) -> None:
    """Each activation, each optimizer, batch norm, dropout; the graph, `fit` and `evaluate`."""
    for activation in nn.ACTIVATIONS:
        model = mlp(features, hidden, activation=activation, dropout=0.1, batch_norm=True)
        for kind in optim.RULES.values():
            graph_step(model, kind(model.parameters()), rows, features)
            engine = {"optimizer": kind(model.parameters()), "batch_size": rows, "validation": 0.2}
            fm.fit(model, dataset(features), epochs=1, progress=False, **engine)
        fm.evaluate(model, dataset(features))


def test_the_count_sees_a_compilation(monkeypatch):
    use_everything(9, (16,), 32)
    before = signatures()
    assert len(before) > 20
    monkeypatch.setattr(jit, "CACHE_FOLDER", None)
    monkeypatch.setattr(kernels, "planted", jit.kernel(double), raising=False)
    counts = []
    for value in (1, 2, 1.0):
        kernels.planted(value)
        counts.append(sum(signatures().values()) - sum(before.values()))
    assert counts == [1, 1, 2]


def test_a_second_step_and_a_new_architecture_compile_nothing():
    use_everything(9, (16,), 32)
    before = signatures()
    assert before["fastmlp.kernels.steps.train_steps"] > 0
    assert before["fastmlp.kernels.prediction.predict_rows"] > 0
    use_everything(9, (16,), 32)
    assert signatures() == before
    for features, hidden, rows in (
        (9, (), 32),
        (9, (1,), 2),
        (1, (5, 33, 64), 7),
        (200, (100,), 69),
        (13, (7,) * 5, 70),
    ):
        use_everything(features, hidden, rows)
        assert signatures() == before


def test_calls_that_differ_in_a_literal_share_one_compilation():
    theirs, ours = numba.njit(lambda a, b: a + b), jit.inner(lambda a, b: a + b)
    for inner, compiled in ((theirs, 3), (ours, 1)):
        outer = numba.njit(lambda a, f=inner: f(a, 1) + f(a, 2) + f(a, a))
        assert outer(1) == 7
        assert len(inner.signatures) == compiled
