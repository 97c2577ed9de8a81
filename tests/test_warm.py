"""The engine is compiled beside a first training, once, and the training is the same with and without it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastmlp as fm
from fastmlp.running import warm
from fastmlp.training import train as training


@pytest.fixture
def cold(tmp_path, monkeypatch):
    """A cache folder without the engine, and no order to compile at once."""
    monkeypatch.setattr(warm, "CACHE_FOLDER", tmp_path)
    monkeypatch.delenv("FASTMLP_COMPILE", raising=False)
    return tmp_path


def data():
    generator = np.random.default_rng(0)
    return fm.data.Dataset(generator.normal(size=(90, 6)).astype(np.float32), np.arange(90) % 3)


def trained(epochs=3, **options):
    fm.manual_seed(0)
    model = fm.nn.MLP(6, (20,), 3)
    history = fm.fit(model, data(), epochs=epochs, batch_size=16, progress=options.pop("progress", False), **options)
    return model.state_dict(), history.column("train_loss")


def test_marker_makes_it_ready_and_another_stamp_does_not(cold):
    assert not warm.is_ready(np.float32)
    (cold / "engine-float32").write_text(warm._stamp())
    assert warm.is_ready(np.float32)
    assert not warm.is_ready(np.float64)
    (cold / "engine-float32").write_text("older sources")
    assert not warm.is_ready(np.float32)


def test_without_a_cache_folder_the_engine_is_compiled_here(monkeypatch):
    monkeypatch.setattr(warm, "CACHE_FOLDER", None)
    monkeypatch.delenv("FASTMLP_COMPILE", raising=False)
    assert warm.is_ready(np.float32)


def test_training_goes_over_to_the_engine_between_epochs_with_the_same_bits(cold, monkeypatch, capsys):
    reference, losses = trained(progress=False, callbacks=[])
    started, engines = [], []
    monkeypatch.setattr(warm, "start", started.append)
    monkeypatch.setattr(training, "Engine", lambda *a: engines.append(a) or REAL_ENGINE(*a))

    def ready_after_the_first_epoch(model, history):
        (cold / "engine-float32").write_text(warm._stamp())

    (cold / "engine-float32").unlink(missing_ok=True)
    state, other = trained(progress="table", callbacks=[ready_after_the_first_epoch])
    assert started == [np.float32]
    assert len(engines) == 1
    assert "in the background" in capsys.readouterr().out
    assert losses == other
    for name in reference:
        assert np.array_equal(reference[name], state[name]), name


REAL_ENGINE = training.Engine


def test_only_one_process_compiles(cold, monkeypatch):
    class Process:
        pid = os.getpid()  # one that lives

        def poll(self):
            return None

    calls = []
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: calls.append(a) or Process())
    monkeypatch.setattr(warm, "_started", [])
    warm.start(np.float32)
    warm.start(np.float32)
    assert len(calls) == 1


def test_a_claim_of_a_process_that_ended_is_void(cold, monkeypatch):
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    claim = cold / "engine-float32.process"
    claim.write_text(ended.stdout.decode())
    assert not warm._compiling(claim)
    claim.write_text("no number")
    assert not warm._compiling(claim)
    claim.write_text(str(os.getpid()))
    assert warm._compiling(claim)
    os.utime(claim, (0, 0))
    assert not warm._compiling(claim)
    assert not warm._compiling(cold / "nothing")


def test_the_code_of_the_other_process_names_what_exists():
    assert callable(warm.compile_engine)
    assert (Path(warm.__file__).parent.parent / "fastmlp" / "warm.py").is_file()
