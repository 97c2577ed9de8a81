"""What a fresh install does: no other process, an empty cache folder, the engine from the first step."""

import multiprocessing
import os
import subprocess
import sys

import numpy as np
import pytest

import fastmlp as fm

# It refuses processes before the package is there, and counts the steps of the engine and of the graph. With "spawn",
# a lock that processes share would start the one that keeps the books of such locks.
CODE = """if True:
    import multiprocessing.process, multiprocessing.util, os, subprocess, sys

    def refused(*arguments, **options):
        raise AssertionError(f"a process was started: {arguments}")

    subprocess.Popen.__init__ = refused
    os.fork = os.posix_spawn = os.posix_spawnp = os.system = refused
    multiprocessing.process.BaseProcess.start = multiprocessing.util.spawnv_passfds = refused
    multiprocessing.set_start_method("spawn")
    sys.executable = None  # an embedded interpreter

    import numpy as np
    import fastmlp as fm
    from fastmlp.kernels import steps
    from numba.core import event
    compiled = []  # module.name of what is compiled, the functions of Numba that kernels use too

    class Listener(event.Listener):
        def on_start(self, event):
            function = event.data["dispatcher"].py_func
            compiled.append(f"{function.__module__}.{function.__name__}")

        def on_end(self, event):
            pass

    event.register("numba:compile", Listener())
    from fastmlp.running import engine, nodes

    made = {"engine": 0, "graph": 0}
    train_steps = steps.train_steps

    def counted(*arguments):
        came_to = train_steps(*arguments)
        made["engine"] += came_to - arguments[-3] if arguments[0] == 0 else 0
        return came_to

    def on_the_graph(*arguments):
        made["graph"] += 1

    engine.steps.train_steps, nodes.epoch = counted, on_the_graph
    data = fm.Dataset(np.random.default_rng(0).normal(size=(60, 6)).astype("f"), np.arange(60) % 3)
    fm.fit(fm.nn.MLP(6, (8,), 3), data, epochs=2, batch_size=10, n_threads=1, progress=True)
    print(*compiled)
    print(made)
"""
# What this training does not use: who neither clips nor averages, nor weighs classes, waits for none of it. An array
# that is assigned to a slice brings the texts of its errors with it, seconds of Numba's "unicode".
UNUSED = ("kernels.clip.", "kernels.average.", "kernels.norm.", "kernels.prelu.", "soft_", "numba.cpython.unicode")


def test_a_first_training_runs_on_the_engine_from_its_first_step_and_starts_no_process(tmp_path):
    cache = tmp_path / "cache"
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment["XDG_CACHE_HOME"] = str(cache)
    run = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=300, check=False, env=environment
    )
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0].startswith("compiling the kernels")
    assert lines[-1] == "{'engine': 12, 'graph': 0}"
    compiled = lines.pop(-2).split()
    assert "fastmlp.kernels.steps.train_steps" in compiled
    assert [name for name in compiled if any(word in name for word in UNUSED)] == []
    assert "graph" not in "".join(lines[:-1])
    assert any((cache / "fastmlp").rglob("*.nbc"))


def test_a_training_starts_no_process(monkeypatch):
    def refused(*arguments, **options):
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refused)
    monkeypatch.setattr(multiprocessing.Process, "start", refused)
    with pytest.raises(AssertionError, match="a process was started"):  # the guard can fail
        subprocess.run([sys.executable, "-c", ""], check=False)
    data = fm.Dataset(np.random.default_rng(0).normal(size=(60, 6)).astype("f"), np.arange(60) % 3)
    model = fm.nn.MLP(6, (8,), 3, dropout=0.1, norm="batch")
    fm.fit(model, data, epochs=1, validation=0.2, progress=False)
    fm.evaluate(model, data)
    fm.predict(model, data.features)
