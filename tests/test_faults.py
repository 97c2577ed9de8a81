"""What else goes wrong while a model trains: a full disk, a closed folder, no memory, a process that ends or forks.

Each is made to happen for real, most of them in a process of their own.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import nullcontext, suppress

import allocations
import interruptions
import numpy as np
import pytest
from homes import begun, ended
from interruptions import on_graph, states_of_steps

import fastmlp as fm
from fastmlp import files, optim
from fastmlp.kernels import jit
from fastmlp.running import nodes
from fastmlp.training.checkpoint import files_of

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no users, limits and forks of this kind")

SETUP = """if True:
    import hashlib, os, resource, shutil, signal, sys, tempfile, threading, time, warnings
    from pathlib import Path
    import numpy as np
    import fastmlp as fm
    from fastmlp.training.checkpoint import files_of

    rng = np.random.default_rng(0)
    data = fm.Dataset(rng.normal(size=(300, 6)).astype("f"), rng.integers(0, 3, 300))
    warnings.showwarning = lambda message, *_: print(f"warning: {message}")

    def net():
        fm.manual_seed(0)
        return fm.nn.MLP(6, (70,), 3, norm="batch", dropout=0.1)

    def digest(model):
        return hashlib.sha256(b"".join(array.tobytes() for array in model.state_dict().values())).hexdigest()[:8]

    def trained(folder=None, epochs=6, callbacks=(), **options):
        model, optimizer = net(), None
        if folder is not None:
            options = {"checkpoint": folder, "checkpoint_every": "epoch", **options}
        fm.fit(model, data, epochs=epochs, batch_size=10, callbacks=callbacks, **{"progress": "table", **options})
        return digest(model)

    def at(epoch, action):
        return lambda model, history: action() if len(history) == epoch else None
"""


def child(code: str, ends: int = 0, environment: dict[str, str] | None = None, *arguments: str) -> list[str]:
    """The lines that a process prints which runs SETUP and the code and ends with this exit code, soon enough."""
    command = [sys.executable, "-u", "-c", SETUP + code, *map(str, arguments)]  # -u: what is forked inherits no lines
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    try:
        said, wrong = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # what it has forked holds the pipes too
        pytest.fail(f"it hangs, after {process.communicate()[0]}")
    assert process.returncode == ends, wrong
    assert wrong == ""
    return said.splitlines()


def rows(lines: list[str]) -> list[int]:
    """The epochs that a table of progress has."""
    return [int(line.split()[0]) for line in lines if line.split()[0].isdigit()]


# --- disks -----------------------------------------------------------------------------------------------------------


@posix
def test_a_full_disk_ends_no_training_and_later_writes_come_back(tmp_path):
    """No file may grow above 100 bytes from epoch 2 to 4: checkpoints, the run's files, a file of weights."""
    lines = child(
        """
    from fastmlp.store import run as rooms
    rooms.SAVE_SECONDS = 0
    place, most = Path(sys.argv[1]), resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    limit = lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    alone = trained()
    fm.save(net(), place / "old.safetensors")
    before = (place / "old.safetensors").read_bytes()

    def full():
        limit(100)
        try:
            fm.save(net(), place / "old.safetensors")
        except OSError as error:
            print("save:", error.strerror, (place / "old.safetensors").read_bytes() == before)

    run = fm.Run(place / "run", config={})
    seen = lambda model, history: print("kept", files_of(run.folder)[0].name if files_of(run.folder) else "none")
    callbacks = [seen, at(2, full), at(5, lambda: limit(most)), run]
    print("whole", trained(place / "run", callbacks=callbacks, epochs=7) == trained(epochs=7))
    print("epochs", len((place / "run" / "history.csv").read_text().splitlines()) - 1)
    print("left over", list((place / "run").glob(".*")))
    resumed = fm.resume(place / "run", data, callbacks=callbacks, progress=False)
    print("resumed", digest(resumed.model) == trained(epochs=7))
    """,
        0, None, tmp_path,
    )  # fmt: skip
    assert "save: File too large True" in lines
    assert sum("no checkpoint can be written" in line for line in lines) == 1
    assert sum("checkpoints are written again: checkpoint-000000000150" in line for line in lines) == 1
    assert sum("Run: nothing can be written" in line for line in lines) == 1
    assert [line[5:28] for line in lines if line.startswith("kept")] == [
        "none", *["checkpoint-000000000030"] * 4, "checkpoint-000000000150", "checkpoint-000000000180",
    ]  # fmt: skip
    assert [line for line in lines if line.split()[0] in ("whole", "epochs", "left", "resumed")] == [
        "whole True", "epochs 7", "left over []", "resumed True",
    ]  # fmt: skip


@posix
def test_folders_that_may_not_be_written_to():
    """As an ordinary user: refused before the training, survived within it; one that may not be read is passed over."""
    lines = child("""
    trained(tempfile.mkdtemp(), progress=False)  # what is imported late may be out of reach as somebody else
    fm.Run(tempfile.mkdtemp(), config={}).write_config("running")
    expected = trained(progress=False)
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    place = Path(tempfile.mkdtemp())
    (place / "closed").mkdir()
    (place / "closed").chmod(0o555)
    for make in (lambda: trained(place / "closed"), lambda: trained(place / "closed" / "new"),
                 lambda: fm.Run(place / "closed")):
        try:
            make()
        except PermissionError as error:
            print("refused:", str(error).replace(str(place), ""))
    run, kept = fm.Run(place / "run", config={}), place / "kept"
    close, again = [lambda mode=mode: [folder.chmod(mode) for folder in (run.folder, kept)] for mode in (0o555, 0o755)]
    print("whole", trained(kept, callbacks=[at(2, close), at(5, again), run]) == expected)
    print("epochs", len((run.folder / "history.csv").read_text().splitlines()) - 1, len(files_of(kept)))
    files_of(kept)[0].chmod(0)
    callbacks = [at(1, close), at(1, again), run]
    print("resumed", digest(fm.resume(kept, data, callbacks=callbacks, progress="table").model) == expected)
    shutil.rmtree(place)
    """)
    refused = [line for line in lines if line.startswith("refused")]
    assert [line.split(",")[0] for line in refused] == [
        "refused: fit: checkpoint is /closed", "refused: fit: checkpoint is /closed/new",
        "refused: Run: folder is /closed",
    ]  # fmt: skip
    assert all("(Permission denied)" in line for line in refused)
    assert sum("no checkpoint can be written" in line for line in lines) == 1
    assert sum("checkpoints are written again" in line for line in lines) == 1
    assert sum("Run: nothing can be written" in line for line in lines) == 1
    assert sum("Permission denied" in line and "the one before is taken" in line for line in lines) == 1
    assert {"whole True", "epochs 6 2", "resumed True"} <= set(lines)


@posix
def test_without_a_home(tmp_path):
    """HOME is not set: the list of users has one. Where it has none either, kernels have no cache and models train."""
    lines = child(
        """
    from fastmlp.kernels import jit
    print("trained", len(trained(sys.argv[1])))
    cached = jit.CACHE_FOLDER
    os.environ.pop("NUMBA_CACHE_DIR", None), os.environ.pop("XDG_CACHE_HOME", None)
    print("of the list of users", jit._cache_folder() is not None or not os.access(Path.home(), os.W_OK))
    if os.getuid() == 0:
        os.setuid(54321)
        print("of nobody", jit._cache_folder())
    else:
        print("of nobody", None)
    """,
        0, {name: value for name, value in os.environ.items() if name != "HOME"}, tmp_path,
    )  # fmt: skip
    assert lines[-3:] == ["trained 8", "of the list of users True", "of nobody None"]
    assert rows(lines[:-3]) == [1, 2, 3, 4, 5, 6]


# --- files -----------------------------------------------------------------------------------------------------------


def test_bytes_then_name_then_folder_are_brought_to_the_disk(tmp_path, monkeypatch):
    """The order that a power cut cannot undo, also for a checkpoint: what comes later is on the disk only with it."""
    seen, fsync, rename = [], os.fsync, type(tmp_path).replace

    def syncing(handle):
        place = os.readlink(f"/proc/self/fd/{handle}") if os.path.exists("/proc/self/fd") else ""
        seen.append(("folder" if os.path.isdir(place) else "file", os.fstat(handle).st_size if place else 0))
        fsync(handle)

    def renaming(part, to):
        seen.append(("name", part.stat().st_size))
        return rename(part, to)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(type(tmp_path), "replace", renaming)
    files.write(tmp_path / "a", "four")
    assert [what for what, _ in seen] == ["file", "name", "folder"]
    assert [size for what, size in seen if what != "folder"] == [4, 4]
    seen.clear()
    model, optimizer = interruptions.make()
    interruptions.train(model, optimizer, checkpoint=tmp_path / "kept", checkpoint_every="epoch")
    assert [what for what, _ in seen] == ["file", "name", "folder"] * (interruptions.EPOCHS + 1)


CUT_SHORT = """
    def halfway(path, content, write=Path.write_bytes):
        if path.parent == Path(sys.argv[1]) and len(files_of(path.parent)) == 2 and "checkpoint" in path.name:
            write(path, content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return write(path, content)

    Path.write_bytes = halfway
    trained(sys.argv[1], progress=False)
"""
IN_PLACE = """
    import contextlib
    from fastmlp import files
    files.replacing = contextlib.contextmanager(lambda path: iter([Path(path)]))
"""


@posix
@pytest.mark.parametrize("in_place", [False, True])
def test_a_kill_in_the_middle_of_a_file_leaves_no_half_one(tmp_path, in_place, capsys):
    """But it does where files are written in place: the check finds them."""
    child((IN_PLACE if in_place else "") + CUT_SHORT, -9, None, tmp_path)
    names = [path.name for path in files_of(tmp_path)]
    assert names == [f"checkpoint-{number:012d}.safetensors" for number in (90, 60, 30)[not in_place :]]
    rng = np.random.default_rng(0)
    data = fm.Dataset(rng.normal(size=(300, 6)).astype("f"), rng.integers(0, 3, 300))
    fm.resume(tmp_path, data, progress="table")
    assert ("the one before is taken" in capsys.readouterr().out) is in_place
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_a_flipped_bit_of_a_checkpoint_is_seen(tmp_path):
    """Wherever it is: safetensors alone takes most of them, and a training would go on with another weight."""
    model, optimizer = interruptions.make()
    interruptions.train(model, optimizer, checkpoint=tmp_path, checkpoint_every="epoch")
    newest, older = files_of(tmp_path)
    sound, draw = newest.read_bytes(), np.random.default_rng(0)
    older.unlink()
    for bit in draw.integers(0, 8 * len(sound), 60):
        file = bytearray(sound)
        file[bit // 8] ^= 1 << bit % 8
        newest.write_bytes(file)
        with pytest.raises(ValueError, match=r"no checkpoint in .* can be used"):
            fm.resume(tmp_path, interruptions.data(), progress=False)
    newest.write_bytes(sound)
    fm.resume(tmp_path, interruptions.data(), progress=False)


# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def states():
    return states_of_steps()


@posix
@pytest.mark.parametrize("more", [0, 10**9], ids=["one", "all from there on"])
@pytest.mark.parametrize("where", ["engine", "graph"])
def test_memory_that_is_not_there_leaves_all_parts_of_one_step(where, more, states, monkeypatch):
    """NumPy gets no memory for an array of 64 bytes or more; the model trains on when there is some again."""
    monkeypatch.setattr(interruptions, "EPOCHS", 2)
    counted, ended = 0, set()
    with on_graph() if where == "graph" else nullcontext():
        for first in (10**9, *np.linspace(0, 1, 24)):
            model, optimizer = interruptions.make()
            first = int(first * (counted - 1)) if counted else first
            with allocations.refused(first, more, least=64) as counts:
                with suppress(MemoryError):
                    interruptions.train(model, optimizer, n_threads=1)
                counted = counted or int(counts[allocations.ASKED])
            got = interruptions.state(model, optimizer)
            steps = {name: next((k for k, s in enumerate(states) if s[name] == got[name]), "torn") for name in got}
            assert len(set(map(str, steps.values()))) == 1, (first, steps)
            ended.add(steps["weights"])
            interruptions.train(model, optimizer)
    assert len(ended) >= (3 if where == "engine" else 10)


@posix
def test_a_rule_that_has_no_memory_for_its_state_changes_nothing():
    """Of no parameter: the state of all comes before the first update."""
    for rule in (optim.Adam, optim.NAdam, optim.RMSprop, optim.Adagrad):
        for first in range(4):
            model = fm.nn.MLP(3, (5,), 2)
            optimizer = rule(model.parameters())
            for parameter in model.parameters():
                parameter.grad = np.ones_like(parameter.data)
            before = [parameter.data.copy() for parameter in model.parameters()]
            with allocations.refused(first), pytest.raises(MemoryError):
                optimizer.step()
            assert all(np.array_equal(p.data, b) for p, b in zip(model.parameters(), before, strict=True))
            assert optimizer.state == {}
            optimizer.step()


@posix
def test_no_memory_for_a_checkpoint_ends_no_training(tmp_path, capsys):
    model, optimizer = interruptions.make()
    expected = interruptions.make()
    interruptions.train(*expected)
    state = optim.Adam.state_dict
    calls = []

    def without(self):
        calls.append(1)
        with allocations.refused(2, 10**9) if len(calls) in (2, 3) else nullcontext():
            return state(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optim.Adam, "state_dict", without)
        fm.fit(
            model, interruptions.data(), optimizer=optimizer, epochs=interruptions.EPOCHS, batch_size=20,
            progress="table", checkpoint=tmp_path, checkpoint_every="epoch",
        )  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert sum("no checkpoint can be written" in line for line in lines) == 1
    assert sum("checkpoints are written again" in line for line in lines) == 1
    assert interruptions.state(model, optimizer) == interruptions.state(*expected)


def test_a_rule_of_ones_own_that_calls_operations_is_not_given_up_half_way():
    """Asked to stop while it updates, the graph ends the step: an operation looks for Ctrl-C, but not here."""

    class Twice(optim.SGD):
        def step(self):
            super().step()
            graph.stop()
            with fm.no_grad():
                done = fm.ops.relu(fm.Tensor(np.ones((1, 1), np.float32)))
            assert done.data[0, 0] == 1
            super().step()

    model, _ = interruptions.make()
    optimizer = Twice(model.parameters(), lr=0.1)
    graph = nodes.Nodes(model, optimizer, fm.nn.CrossEntropyLoss())
    graph.train_on(interruptions.data())
    graph.open(np.arange(200), interruptions.SIZES)
    assert graph.chunk(10) is False
    assert graph.step == 1
    assert int(model[1].num_batches_tracked) == 1


# --- two trainings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", ["model", "optimizer", "layer"])
def test_two_trainings_of_one_model_at_once_are_refused(shared):
    """Of two threads one trains; the other is refused in a line before it has changed anything."""
    model, optimizer = interruptions.make()
    other, its_own = interruptions.make()
    if shared == "model":
        other, its_own = model, optim.Adam(model.parameters())
    if shared == "optimizer":
        both = optim.Adam([*model.parameters(), *other.parameters()])
        optimizer = its_own = both
    if shared == "layer":
        other = fm.nn.Sequential(model[0], fm.nn.Linear(32, 10))
        its_own = optim.Adam(other.parameters())
    inside, refused, found = threading.Event(), threading.Event(), []

    def wait(model, history):
        inside.set()
        assert refused.wait(60)

    def train():
        found.append(interruptions.train(model, optimizer, callbacks=[wait]))

    thread = threading.Thread(target=train)
    thread.start()
    assert inside.wait(60)
    try:
        before = its_own.epochs, other.classes_
        with pytest.raises(RuntimeError, match=r"fit: the model or the optimizer is being trained by another call"):
            interruptions.train(other, its_own, start_epoch=5)
        assert (its_own.epochs, other.classes_) == before
        third, free = interruptions.make()
        interruptions.train(third, free)
    finally:
        refused.set()
        thread.join()
    assert len(found[0]) == interruptions.EPOCHS
    assert interruptions.state(third, free) == interruptions.state(model, optimizer) or shared != "model"
    interruptions.train(other, its_own)


def test_a_callback_that_trains_the_model_is_refused_and_the_model_trains_again():
    model, optimizer = interruptions.make()
    with pytest.raises(RuntimeError, match="being trained by another call of fit"):
        interruptions.train(model, optimizer, callbacks=[lambda m, h: interruptions.train(m, optimizer)])
    assert optimizer.epochs == 1
    with pytest.raises(ZeroDivisionError):
        interruptions.train(model, optimizer, callbacks=[lambda m, h: 1 / 0])
    assert len(interruptions.train(model, optimizer)) == interruptions.EPOCHS


def test_of_many_that_begin_at_once_one_trains():
    """The question and the answer are one step: two may not both find the model free."""
    model, start, results = interruptions.make()[0], threading.Barrier(4), []

    def train():
        optimizer = optim.Adam(model.parameters())
        start.wait()
        try:
            interruptions.train(model, optimizer)
            results.append("trained")
        except RuntimeError as error:
            results.append(str(error)[:9])

    threads = [threading.Thread(target=train) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(results) <= {"trained", "fit: the "}
    assert "trained" in results


# --- a process that ends ---------------------------------------------------------------------------------------------

ENDING = """
    going = threading.Event()

    def train():
        options = {"checkpoint_every": "100000s", "progress": False}  # one at the end alone
        print(trained(sys.argv[1], epochs=EPOCHS, callbacks=[at(2, going.set)], **options), flush=True)

    thread = threading.Thread(target=train, daemon=DAEMON)
    thread.start()
    going.wait()
    END
"""


def ending(epochs: int, daemon: bool, end: str) -> str:
    return ENDING.replace("EPOCHS", str(epochs)).replace("DAEMON", str(daemon)).replace("END", end, 1)


def test_the_end_of_a_program_ends_a_training_in_a_daemon(tmp_path):
    """No crash and no waiting for it: it ends between two steps, and keeps a checkpoint."""
    assert child(ending(10**6, True, "sys.exit(3)"), 3, None, tmp_path) == []
    (kept,) = files_of(tmp_path)
    rng = np.random.default_rng(0)
    data = fm.Dataset(rng.normal(size=(300, 6)).astype("f"), rng.integers(0, 3, 300))

    def stop(model, history):
        return True

    stop.__name__ = "<lambda>"  # as that of the program
    assert len(fm.resume(tmp_path, data, callbacks=[stop], progress=False).history) >= int(kept.name[11:23]) // 30 >= 2


def test_the_end_of_a_program_waits_for_a_training_in_a_usual_thread(tmp_path):
    lines = child(ending(8, False, "sys.exit(3)"), 3, None, tmp_path)
    assert len(lines) == 1
    assert [path.name[11:23] for path in files_of(tmp_path)] == ["000000000240"]


@posix
def test_a_fork_within_a_training(tmp_path):
    """A child trains a model of its own, or leaves through the training: no hang, and its parent's files stay as they
    are. SIGTERM ends it as any process."""
    lines = child(
        """
    kept = Path(sys.argv[1])
    look = lambda: sorted((path.name, path.stat().st_mtime_ns) for path in kept.iterdir())

    def fork(action):
        before, child = look(), os.fork()
        if child == 0:
            action()
        def end():
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return before, child, end

    def other():
        os._exit(trained(epochs=3, progress=False) != short)

    def leave():
        raise SystemExit(7)

    def forks(model, history):
        if len(history) != 3 or os.getpid() != parent:
            return
        for action in (other, leave, lambda: os._exit(5)):
            before, _, end = fork(action)
            print(action.__name__, end(), look() == before)
        ready, tell = os.pipe()
        _, child, end = fork(lambda: [os.write(tell, b"1"), time.sleep(600)])
        os.read(ready, 1)  # Python forgets signals of before its own work after a fork
        os.kill(child, signal.SIGTERM)
        print("terminated", end())

    def goes_on(model, history):
        if len(history) == 4 and os.getpid() == parent:
            before, _, end = fork(lambda: None)
            if os.getpid() == parent:
                print("trained on", end(), look() == before)

    parent, short = os.getpid(), trained(epochs=3, progress=False)
    found = trained(kept, callbacks=[forks, goes_on], progress=False)
    if os.getpid() == parent:
        print("parent", found == trained(progress=False))
    """,
        0, None, tmp_path,
    )  # fmt: skip
    assert lines == [
        "other 0 True",
        "leave 7 True",
        "<lambda> 5 True",
        "terminated -15",
        "trained on 0 True",
        "parent True",
    ]


# --- what the doors survive, with checkpoints on ---------------------------------------------------------------------


def test_processes_that_share_a_damaged_cache_train_to_the_same_bits(tmp_path):
    """Two at once find some kernels missing and one damaged; a third finds all of them."""
    if jit.CACHE_FOLDER is None:
        pytest.skip("kernels have no cache folder on this machine")
    place = tmp_path / "fastmlp" / jit.CACHE_FOLDER.name
    shutil.copytree(jit.CACHE_FOLDER, place)
    for file in place.glob("*.nbc"):
        if "relu_forward" in file.name:
            file.write_bytes(file.read_bytes()[:3000])
        if "gather" in file.name:
            file.unlink()
    together = [begun(tmp_path, tmp_path, name) for name in "ab"]
    lines = [ended(process) for process in together]
    assert sum("cannot be read" in line for line in lines[0] + lines[1]) >= 1
    last = ended(begun(tmp_path, tmp_path, "c"))
    assert last[0].startswith("epoch")
    assert [said[-1] for said in lines] == [last[-1]] * 2
    assert [len(files_of(tmp_path / name)) for name in "abc"] == [2, 2, 2]


def test_without_a_console_and_with_a_thread_that_fails(tmp_path):
    """Nobody to tell it to, then an error in one of three threads; from its checkpoint it goes on to the same bits."""
    lines = child(
        """
    from fastmlp.running import door, engine
    door.available_cores = lambda: 3
    expected, place, out = trained(progress=False), Path(sys.argv[1]), sys.stdout
    for name, stream in (("none", None), ("closed", open(os.devnull, "w"))):
        if stream is not None:
            stream.close()
        sys.stdout = sys.stderr = stream
        found = trained(place / name, progress=True)
        sys.stdout, sys.stderr = out, sys.__stderr__
        print(name, found == expected, len(files_of(place / name)))
    train_steps, calls = engine._train_steps, []

    def failing(thread, *arguments):
        if thread == 1 and arguments[0] > 1:
            calls.append(1)
            if len(calls) == 3:
                raise MemoryError
        return train_steps(thread, *arguments)

    engine._train_steps, engine.CHUNK_SECONDS = failing, 0
    from fastmlp.running.pace import Pace
    Pace.threads = lambda self, now: 3
    try:
        trained(place / "failed", n_threads=3, progress=False)
    except MemoryError:
        print("failed", len(files_of(place / "failed")))
    engine._train_steps = train_steps
    print("gone on", digest(fm.resume(place / "failed", data, progress=False).model) == expected)
    """,
        0, None, tmp_path,
    )  # fmt: skip
    assert lines == ["none True 2", "closed True 2", "failed 1", "gone on True"]
