"""The files of compiled kernels: damaged, not to be read or written, deleted, shared; none ends a training.

Most tests load a small module of their own again and again: what a new process does, without one.
"""

import compileall
import errno
import importlib.util
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import fastmlp as fm
from fastmlp import kernels
from fastmlp.kernels import cache, jit

ROOT = Path(__file__).resolve().parent.parent
SOURCE = """
from fastmlp.kernels.jit import kernel

@kernel
def double(x):
    return {factor} * x
"""


class Machine:
    """A folder with a module and a cache, and what was said about the cache."""

    def __init__(self, folder: Path, monkeypatch):
        self.file, self.cache, self.said = folder / "mine.py", folder / "cache", []
        self.file.write_text(SOURCE.format(factor=2))
        monkeypatch.setattr(jit, "CACHE_FOLDER", self.cache)
        self.patch = monkeypatch

    def double(self, value: float):
        """What the kernel makes of a number in a new process; (result, loaded from the cache?)."""
        trouble = jit._Trouble()
        self.patch.setattr(jit, "trouble", trouble)
        spec = importlib.util.spec_from_file_location("mine", self.file)
        sys.modules["mine"] = module = importlib.util.module_from_spec(spec)  # a compiled function names its module
        try:
            spec.loader.exec_module(module)
            with kernels.announce_compiling(self.said.append):
                result = module.double(value)
        finally:
            del sys.modules["mine"]
        return result, bool(module.double.stats.cache_hits)

    @property
    def files(self) -> list[Path]:
        return sorted(self.cache.rglob("*"))

    def complaints(self) -> list[str]:
        """The lines about the cache; the others are about the compilation."""
        said, self.said = self.said, []
        return [line for line in said if not line.startswith("compil")]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    made = Machine(tmp_path, monkeypatch)
    assert made.double(3.0) == (6.0, False)
    assert made.double(3.0) == (6.0, True)
    assert made.complaints() == []
    return made


class Odd:
    """A pickle of it raises this when it is read."""

    def __init__(self, error: type[Exception]):
        self.error = error

    def __reduce__(self):
        return _raise, (self.error,)


def _raise(error: type[Exception]) -> None:
    raise error("odd")


def whole(content: bytes) -> bytes:
    """With the right digest."""
    return cache.hashlib.sha256(content).digest() + content


def flipped(content: bytes) -> bytes:
    """One bit of the machine code is another one."""
    at = content.index(b"\x7fELF" if b"\x7fELF" in content else content[-2000:]) + 1000
    return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]


DAMAGED = {
    "empty": lambda content: b"",
    "the half": lambda content: content[: len(content) // 2],
    "without its end": lambda content: content[:-1],
    "shorter than a digest": lambda content: content[:7],
    "zeros": lambda content: bytes(len(content)),
    "noise": lambda content: np.random.default_rng(0).bytes(len(content)),
    "one bit": flipped,
    "text": lambda content: b"version https://git-lfs.github.com/spec/v1\n",
    "no pickle": lambda content: whole(b"nonsense"),
    "nothing in it": lambda content: whole(b""),
    "another shape": lambda content: whole(pickle.dumps([1, 2, 3])),
    "a module that is gone": lambda content: whole(b"cgone_away\nThing\n."),
    "a name that is gone": lambda content: whole(b"cnumba\nno_such_thing\n."),
} | {
    kind.__name__: lambda content, kind=kind: whole(pickle.dumps(Odd(kind)))
    for kind in (KeyError, TypeError, MemoryError, RecursionError, OSError, AssertionError)
}


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_file_is_compiled_again_and_replaced(machine, how):
    (file,) = machine.files
    good = file.read_bytes()
    file.write_bytes(DAMAGED[how](good))
    assert machine.double(3.0) == (6.0, False)
    (line,) = machine.complaints()
    assert str(file) in line
    assert "is compiled again" in line
    assert len(machine.files) == 1
    assert machine.double(3.0) == (6.0, True)
    assert machine.complaints() == []


def test_the_right_file_with_another_key_is_not_trusted(machine):
    (file,) = machine.files
    key, result = pickle.loads(file.read_bytes()[cache.DIGEST :])
    file.write_bytes(whole(cache.dumps(((("0.1", *key[0][1:]), *key[1:]), result))))
    assert machine.double(3.0) == (6.0, False)
    assert machine.complaints() == []


def test_a_folder_in_the_place_of_a_file(machine):
    """It cannot be replaced: the kernel is compiled each time, and the first thing that went wrong is said."""
    (file,) = machine.files
    file.unlink()
    file.mkdir()
    for _ in range(2):
        assert machine.double(3.0) == (6.0, False)
        assert len(machine.complaints()) == 1
    assert machine.files == [file]


def test_a_file_that_may_not_be_read(machine, monkeypatch):
    """Root may read everything, so the refusal is played."""

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        assert machine.double(3.0) == (6.0, False)
    assert "Permission denied" in machine.complaints()[0]
    assert machine.double(3.0) == (6.0, True)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
def test_a_disk_that_takes_no_file(machine, monkeypatch, number):
    def refuse(path, content):
        with open(path, "wb") as file:
            file.write(content[:10])
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", refuse)
        assert machine.double(3) == (6, False)  # of an int64: another file
        assert machine.double(3) == (6, False)
    lines = machine.complaints()
    assert len(lines) == 2
    assert os.strerror(number) in lines[0]
    assert "compiled again next time" in lines[0]
    assert len(machine.files) == 1  # the old one, and nothing half written
    assert machine.double(3) == (6, False)
    assert machine.double(3) == (6, True)


def test_a_folder_that_is_deleted_while_the_program_runs(machine):
    shutil.rmtree(machine.cache)
    assert machine.double(3.0) == (6.0, False)
    assert machine.double(3.0) == (6.0, True)
    shutil.rmtree(machine.cache)
    machine.cache.write_text("a file where the folder was")
    assert machine.double(3.0) == (6.0, False)
    assert len(machine.complaints()) == 1


def test_each_type_has_a_file_whoever_writes_first(machine, monkeypatch):
    """Two processes that compile at once see nothing of each other; with numbered files both would take the same."""
    read = Path.read_bytes

    def nothing_there(path):
        if path.suffix == ".nbc":
            raise FileNotFoundError
        return read(path)

    values = (3.0, 3, np.float32(3), 3j)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", nothing_there)
        for value in values:
            assert machine.double(value) == (2 * value, False)
    assert len(machine.files) == len(values)
    for value in values:
        assert machine.double(value) == (2 * value, True)


def test_an_edit_replaces_the_file(machine):
    machine.file.write_text(SOURCE.format(factor=30))  # of another size, should the clock be coarse
    assert machine.double(3.0) == (90.0, False)
    assert machine.double(3.0) == (90.0, True)
    assert len(machine.files) == 1


def test_a_recompilation_forgets_the_files(machine):
    spec = importlib.util.spec_from_file_location("mine", machine.file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.double(3.0)
    (machine.cache / "another.py311.nbc").write_text("of another function")
    module.double.recompile()
    assert len(machine.files) == 2
    module.double._cache.flush()
    assert [path.name for path in machine.files] == ["another.py311.nbc"]


def test_one_line_a_process_and_only_when_somebody_listens():
    trouble = jit._Trouble()
    trouble.tell("the first")
    trouble.tell("the second")
    heard = []
    trouble.listening.append((os.getpid() + 1, heard.append))  # of the process that forked this one
    trouble.tell()
    assert heard == []
    trouble.listening.append((os.getpid(), heard.append))
    trouble.tell("the third")
    trouble.tell("the fourth")
    assert heard == ["the first"]


# --- trainings -------------------------------------------------------------------------------------------------------

TRAIN = """if True:
    import sys
    import numpy as np
    import fastmlp as fm
    if len(sys.argv) > 1:
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
    fm.manual_seed(0)
    data = fm.Dataset(np.random.default_rng(0).normal(size=(60, 6)).astype("f"), np.arange(60) % 3)
    model = fm.nn.MLP(6, (8,), 3)
    fm.fit(model, data, epochs=2, batch_size=10, progress="table", n_threads=2)
    print(model[0].weight.data.tobytes().hex()[:60], flush=True)
"""


def train(*arguments: str, **environment: object) -> list[str]:
    """The lines of a training in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-c", TRAIN, *arguments], capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | {name: str(value) for name, value in environment.items()},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return run.stdout.splitlines()


def test_a_training_with_a_damaged_cache_and_then_with_a_full_disk(tmp_path):
    if jit.CACHE_FOLDER is None:
        pytest.skip("kernels have no cache folder on this machine")
    expected = train()[-1]
    place = tmp_path / "fastmlp" / jit.CACHE_FOLDER.name
    shutil.copytree(jit.CACHE_FOLDER, place)
    damaged = [file for file in place.glob("*.nbc") if "relu_forward" in file.name or "gather" in file.name]
    for file in damaged:
        file.write_bytes(file.read_bytes()[:3000])
    lines = train(NUMBA_CACHE_DIR=tmp_path)
    assert sum("cannot be read" in line for line in lines) == 1
    assert lines[-1] == expected
    lines = train(NUMBA_CACHE_DIR=tmp_path)
    assert lines[0].startswith("epoch")
    assert lines[-1] == expected
    for file in damaged:
        file.unlink()
    lines = train("1000", NUMBA_CACHE_DIR=tmp_path)  # no file may grow above 1,000 bytes
    assert sum("cannot be written" in line for line in lines) == 1
    assert lines[-1] == expected
    assert not list(place.glob("*.partial"))


PROBE = """if True:
    import json, numpy as np
    from fastmlp import kernels
    from fastmlp.kernels import jit
    lines, y = [], np.empty((1, 3), np.float32)
    with kernels.announce_compiling(lines.append):
        kernels.relu_forward(np.float32([[-1, 0, 2]]), y, np.zeros(0), 0, 3)
    print(json.dumps([y.tolist(), lines[0], jit.CACHE_FOLDER, jit.__file__]))
"""


def test_without_sources_there_is_no_cache(tmp_path):
    """A frozen application: two versions of it would share the folder of no sources at all."""
    shutil.copytree(ROOT / "fastmlp", tmp_path / "fastmlp", ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(tmp_path / "fastmlp", quiet=2, legacy=True)
    for source in (tmp_path / "fastmlp").rglob("*.py"):
        source.unlink()
    run = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    y, line, folder, file = json.loads(run.stdout)
    assert (y, folder) == ([[0, 0, 2]], None)
    assert file == str(tmp_path / "fastmlp" / "kernels" / "jit.pyc")
    assert line == "compiling the kernels (in every process: no folder can keep them) ..."
    assert not (tmp_path / "cache").exists()


def test_a_module_without_a_file_has_no_cache(monkeypatch):
    monkeypatch.delattr(jit, "__file__")
    assert jit._cache_folder() is None


# --- fork ------------------------------------------------------------------------------------------------------------

FORK = """if True:
    import os, signal, sys, threading, time
    import numpy as np
    from numba.core import event
    from fastmlp.kernels import jit
    jit.CACHE_FOLDER = None  # so that something is compiled

    @jit.kernel
    def double(x):
        return 2 * x

    inside = threading.Event()

    class Slow(event.Listener):
        def on_start(self, what):
            inside.set()
            time.sleep(0.3)  # time enough for a fork that does not wait
        def on_end(self, what):
            pass

    with event.install_listener("numba:compile", Slow()):
        other = threading.Thread(target=double, args=(1,))
        other.start()
        inside.wait()
        child = os.fork()
    if child == 0:
        signal.alarm(60)  # else it waits for ever, with the fault in place
        os._exit(not double(1.5) == 3.0)
    other.join()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), double(2.5), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_waits_until_no_thread_compiles():
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK], capture_output=True, text=True, timeout=120, check=False
    )
    assert (run.stdout, run.stderr) == ("0 5.0\n", "")


def test_the_locks_of_the_compiler_are_free_after_a_fork():
    """RLocks of the forking thread: another thread takes them at once."""
    if hasattr(os, "fork"):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
    for lock in (numba.core.compiler_lock.global_compiler_lock._lock, jit.ffi.lib._lock._lock):
        assert not lock._is_owned()
    assert fm.nn.MLP(3, (), 2)(fm.Tensor(np.zeros((1, 3), np.float32))).data.shape == (1, 2)
