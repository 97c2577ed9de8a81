"""Sweeps: what they draw, what the journal holds, who may be killed, and that a trial is the same wherever it runs."""

import errno
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import pytest
import sweeps
from hypothesis import given, settings
from hypothesis import strategies as st

import fastmlp as fm
from fastmlp import scale
from fastmlp.scale import journal, space, trial


def swept(folder, values=sweeps.SPACE, **options):
    options = {"n_trials": 6, "epochs": 3, "progress": False} | options
    return scale.sweep(sweeps.data(), values, folder, **options)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The weights of six trials, one after the other."""
    folder = tmp_path_factory.mktemp("alone")
    return swept(folder), sweeps.weights(folder)


# --- what is drawn ---------------------------------------------------------------------------------------------------


def test_a_grid_has_every_combination():
    found = space.configurations({"a": [1, 2, 3], "b": ["x", "y"]}, "grid", 1, 0, "test")
    assert len(found) == 6
    assert {(values["a"], values["b"]) for values in found} == {(a, b) for a in (1, 2, 3) for b in "xy"}


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_a_longer_list_begins_as_a_shorter_one(method):
    known = {"a": scale.log_uniform(1e-4, 1), "b": scale.integers(1, 3), "c": ["x", "y"]}
    short, long = (space.configurations(known, method, count, 7, "test") for count in (5, 16))
    assert short == long[:5]
    assert len({values["b"] for values in long}) == 3
    assert space.configurations(known, method, 5, 8, "test") != short


def test_sobol_covers_an_argument_evenly():
    found = space.configurations({"a": scale.uniform(0, 1), "b": scale.uniform(0, 1)}, "sobol", 64, 0, "test")
    for name in "ab":
        assert sorted(int(values[name] * 64) for values in found) == list(range(64))  # one in each of 64 parts


@given(st.integers(-5, 5), st.integers(1, 9), st.floats(0, 1, exclude_max=True))
@settings(deadline=None)
def test_whole_numbers_have_equal_shares(low, width, u):
    assert low <= scale.integers(low, low + width).at(u) <= low + width
    shares = [scale.integers(low, low + width).at((k + 0.5) / (10 * (width + 1))) for k in range(10 * (width + 1))]
    assert np.unique(shares, return_counts=True)[1].tolist() == [10] * (width + 1)


def test_logarithms_are_spread_evenly():
    values = [scale.log_uniform(1e-4, 1e4).at(u) for u in (0, 0.25, 0.5, 0.75)]
    assert values == pytest.approx([1e-4, 1e-2, 1, 1e2], rel=1e-12)  # a power of a few roundings


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: scale.uniform(1, 1), "Range: low is 1 and high is 1; low must be below high"),
        (lambda: scale.log_uniform(0, 1), "Range: low is 0 and high is 1; low must be above 0 and below high"),
        (lambda: scale.integers(1, 2.5), "Range: high is 2.5; it must be a whole number"),
        (lambda: scale.uniform(math.nan, 1), "Range: low is nan; it must be a finite number"),
        (lambda: swept("x", {}), "sweep: space is {}; it must be a dict of values, or a Range, by argument"),
        (lambda: swept("x", {"lr": "fast"}), "sweep: lr is 'fast'; it must be a list of values, or a Range"),
        (lambda: swept("x", {"lr": []}), "sweep: lr is []; it must be a list of values, or a Range"),
        (lambda: swept("x", {"lr": scale.uniform(0, 1)}, method="grid"), "sweep: lr is a Range, and method is 'grid'"),
        (lambda: swept("x", method="best"), "sweep: method is 'best'; it must be one of grid, random, sobol"),
        (lambda: swept("x", {"rate": [1]}), "sweep: rate is an argument of nobody; it must be one of the model ("),
        (lambda: swept("x", {"optimizer": ["adma"]}), "sweep: optimizer is 'adma'; it must be one of sgd, adam"),
        (lambda: swept("x", loss="bad"), "sweep: loss is 'bad'; it must be one of cross_entropy"),
        (lambda: swept("x", metric="loss"), "sweep: metric is 'loss'; it must be one of epoch, train_loss"),
        (lambda: swept("x", epochs=0), "sweep: epochs is 0; it must be a whole number of at least 1"),
        (lambda: swept("x", folds=301), "sweep: folds is 301; data has 300 rows, and each fold must have one"),
        (lambda: swept("x", halving=1), "sweep: halving is 1; it must be a whole number of at least 2, or None"),
        (lambda: swept("x", [1]), "sweep: space is [1]; it must be a dict, or a list of configurations"),
        (lambda: scale.sweep(1, {}, "x"), "sweep: data is int; it must be a fastmlp.data.Dataset"),
    ],
)
def test_what_is_out_of_range_is_said(made, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((TypeError, ValueError), match=re.escape(said)):
        made()


# --- the journal -----------------------------------------------------------------------------------------------------


def test_half_a_line_is_passed_over(tmp_path):
    path = tmp_path / "journal.jsonl"
    book = journal.Journal(path)
    book.add({"key": "a", "epochs": 1, "score": 0.5})
    with path.open("ab") as file:
        file.write(b'{"key": "b", "epo')  # a kill
    book.add({"key": "c", "epochs": 1, "score": math.nan})
    assert {key: line["score"] for (key, _), line in book.lines().items()} == {"a": 0.5, "c": None}
    assert path.read_bytes().count(b"\n") == 3


def test_many_append_at_once(tmp_path):
    book = journal.Journal(tmp_path / "journal.jsonl")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda k: book.add({"key": str(k), "epochs": 1, "long": "x" * 10_000}), range(100)))
    assert len(book.lines()) == 100
    assert all(json.loads(text) for text in book.path.read_text().splitlines())


def test_a_full_disk_leaves_the_journal_whole(tmp_path, monkeypatch):
    book = journal.Journal(tmp_path / "journal.jsonl")
    book.add({"key": "a", "epochs": 1})
    before, write = book.path.read_bytes(), os.write

    def full(handle, content):
        if len(content) < 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, content[: len(content) // 2])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        book.add({"key": "b", "epochs": 1})
    monkeypatch.undo()
    assert book.path.read_bytes() == before
    book.add({"key": "b", "epochs": 1})
    assert len(book.lines()) == 2


def test_a_full_disk_ends_the_sweep_and_it_goes_on(tmp_path, monkeypatch, alone):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(trial, "save", full)
    with pytest.raises(OSError, match="No space left"):
        swept(tmp_path)
    monkeypatch.undo()
    swept(tmp_path)
    assert sweeps.weights(tmp_path) == alone[1]


# --- a trial is the same wherever it runs ----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_workers_give_the_bits_of_one(tmp_path, alone, backend):
    with joblib.parallel_config(backend):
        found = swept(tmp_path, n_jobs=2)
    assert sweeps.weights(tmp_path) == alone[1]
    assert [t.score for t in found] == [t.score for t in alone[0]]
    assert found.best.parameters == alone[0].best.parameters


def test_what_is_done_is_not_run_again(tmp_path, alone):
    swept(tmp_path, n_trials=4)
    before = sweeps.lines(tmp_path)
    assert len(before) == 4
    swept(tmp_path)
    assert sweeps.lines(tmp_path)[:4] == before
    assert sweeps.weights(tmp_path) == alone[1]


def test_other_data_are_another_sweep(tmp_path):
    values = {"lr": [0.01]}
    for seed in (0, 1):
        scale.sweep(sweeps.data(seed=seed), values, tmp_path, epochs=1, progress=False)
    scale.sweep(sweeps.data(), values, tmp_path, epochs=1, seed=1, progress=False)
    scale.sweep(sweeps.data(), values, tmp_path, epochs=1, validation=0.2, progress=False)
    assert len(sweeps.weights(tmp_path)) == 4


def test_an_argument_of_another_rule_counts_for_nothing(tmp_path):
    found = swept(tmp_path, {"optimizer": ["adam", "sgd"], "momentum": [0.0, 0.9]}, method="grid")
    assert len(found) == 4
    assert len(sweeps.lines(tmp_path)) == 3  # Adam has no momentum


def test_folds_hold_out_each_row_once(tmp_path):
    data = sweeps.data()
    plan = trial.Plan(tmp_path, None, 1, 5, None, "validation_score", 3, 1)
    parts = [trial.fold_of(data, fold, plan) for fold in range(5)]
    held = np.concatenate([part.features for _, part in parts])
    assert np.array_equal(np.unique(held, axis=0), np.unique(data.features, axis=0))
    assert all(len(train) + len(part) == len(data) for train, part in parts)
    counts = np.array([np.bincount(part.targets, minlength=2) for _, part in parts])
    assert np.all(np.ptp(counts, axis=0) <= 1)  # classes are divided evenly
    found = swept(tmp_path, {"lr": [0.01, 0.03]}, folds=3, method="grid")
    assert [len(t.lines) for t in found] == [3, 3]
    assert found[0].score == pytest.approx(np.mean([line["score"] for line in found[0].lines]))


def test_a_trial_is_the_training_that_fit_makes(tmp_path):
    data = sweeps.data()
    train, held = data.split(0.1, 5)
    found = scale.sweep(data, {"lr": [0.02]}, tmp_path, epochs=3, seed=5, hidden=(8,), batch_size=32,
                        schedule="CosineAnnealingLR", progress=False)  # fmt: skip
    fm.manual_seed(5)
    model = fm.nn.MLP(6, (8,), 2)
    history = fm.fit(
        model, train, validation=held, optimizer=fm.optim.Adam(model.parameters(), lr=0.02), epochs=3, batch_size=32,
        seed=5, schedule=fm.optim.CosineAnnealingLR(), progress=False,
    )  # fmt: skip
    assert found.best.score == history[-1].validation_score
    for ours, theirs in zip(found.best_model().parameters(), model.parameters(), strict=True):
        assert np.array_equal(ours.data, theirs.data)


def test_halving_is_warm(tmp_path):
    """A survivor has the weights of a training that was never ended, and each rung makes its new epochs alone."""
    options = {"n_trials": 6, "epochs": 9, "hidden": (8,), "schedule": "CosineAnnealingLR", "dropout": 0.2}
    found = swept(tmp_path / "halved", {"lr": scale.log_uniform(1e-3, 1e-1)}, halving=3, **options)
    whole = swept(tmp_path / "whole", {"lr": scale.log_uniform(1e-3, 1e-1)}, **options)
    assert sorted(t.epochs for t in found) == [1, 1, 1, 1, 3, 9]
    last = next(t for t in found if t.epochs == 9)
    then = next(t for t in whole if t.parameters == last.parameters)
    assert last.lines[0]["weights"] == then.lines[0]["weights"]
    assert last.lines[0]["history"] == then.lines[0]["history"]
    assert found.best is last
    assert [len(line["history"]) for line in sweeps.lines(tmp_path / "halved")] == [1] * 6 + [3, 3, 9]


def test_a_cold_rung_would_be_seen(tmp_path, monkeypatch):
    """The test above with survivors that begin anew for each rung's epochs: other weights, by the schedule."""
    options = {"n_trials": 1, "hidden": (8,), "schedule": "CosineAnnealingLR"}
    whole = swept(tmp_path / "whole", {"lr": [0.01]}, epochs=4, **options)
    cut = swept(tmp_path / "cut", {"lr": [0.01]}, epochs=2, **options)
    assert whole[0].lines[0]["history"][:2] != cut[0].lines[0]["history"]


def test_a_trial_that_raises_ranks_last(tmp_path):
    found = swept(tmp_path, {"hidden": [(8,), (0,)], "lr": [0.01]}, method="grid")
    assert [math.isnan(t.score) for t in found] == [False, True]
    assert "MLP: hidden[0] is 0" in found[1].lines[0]["error"]
    assert "MLP: hidden[0] is 0" in found.report()
    assert found.ranked()[-1] is found[1]
    found = swept(tmp_path / "all", {"hidden": [(0,)]}, method="grid")
    with pytest.raises(ValueError, match=re.escape("no trial has a score; the first one ended with: ValueError: MLP")):
        _ = found.best


def test_a_trial_that_diverges_ranks_last_and_ends_there(tmp_path):
    values = {"optimizer": ["sgd"], "lr": [0.1, 1e30]}
    found = swept(tmp_path, values, method="grid", halving=3, hidden=(8,), loss="cross_entropy")
    assert [t.lines[0]["ended"] for t in found] == ["finished", "diverged"]
    assert found.best is found[0]


def test_sparse_rows_reach_the_workers(tmp_path):
    from scipy import sparse

    rng = np.random.default_rng(0)
    rows = sparse.random_array((200, 40), density=0.1, format="csr", dtype=np.float32, rng=rng)
    y = (rows.sum(axis=1) > 1.5).astype(np.int64)
    found = [
        scale.sweep(fm.Dataset(x, y), {"lr": [0.01]}, tmp_path / name, epochs=2, hidden=(8,), progress=False)[0]
        for name, x in (("sparse", rows), ("dense", rows.toarray()))
    ]
    assert found[0].lines[0]["weights"] == found[1].lines[0]["weights"]


def test_a_validation_set_of_its_own(tmp_path):
    data, held = sweeps.data(), sweeps.data(100, 9)
    found = scale.sweep(data, {"lr": [0.01]}, tmp_path, epochs=2, validation=held, progress=False)
    assert found.best.score == fm.evaluate(found.best_model(), held).accuracy


def test_a_table_is_held_out_before_it_is_scaled(tmp_path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed; the extra 'tables' brings it")
    data = sweeps.data()
    frame = pandas.DataFrame(data.features, columns=list("abcdef")).assign(y=data.targets)
    train, _ = fm.data.table(frame, "y", validation=0.2)
    with pytest.raises(ValueError, match="sweep: data is a table, scaled by all of its rows"):
        scale.sweep(train, {"lr": [0.01]}, tmp_path, progress=False)
    found = scale.sweep(train, {"lr": [0.01]}, tmp_path, epochs=2, validation=train.validation, progress=False)
    assert fm.predict(found.best_model(), frame).shape == (300,)


def test_configurations_that_another_asks_for(tmp_path):
    asked = [{"lr": 0.01, "hidden": (8,)}, {"lr": 0.03, "hidden": (4,)}]
    found = swept(tmp_path, asked)
    assert [t.parameters for t in found] == asked
    again = swept(tmp_path, [*asked, {"lr": 0.1, "hidden": (4,)}])
    assert [t.score for t in again][:2] == [t.score for t in found]
    assert len(sweeps.weights(tmp_path)) == 3


# --- workers behave --------------------------------------------------------------------------------------------------


def test_the_arrays_are_written_once_and_mapped(tmp_path):
    data = sweeps.data()
    kept = trial.Kept(data, tmp_path, "one")
    before = {path.name: path.stat().st_mtime_ns for path in kept.folder.iterdir()}
    trial.Kept(data, tmp_path, "one")
    assert {path.name: path.stat().st_mtime_ns for path in kept.folder.iterdir()} == before
    again = kept.data()
    assert isinstance(again.features, np.memmap) or isinstance(again.features.base, np.memmap)
    assert not again.features.flags.writeable
    assert np.array_equal(again.features, data.features)
    assert np.array_equal(again.targets, data.targets)
    size = len(joblib.hashing.pickle.dumps(kept))
    assert size < 2_000, size  # what goes to a worker has no array in it


def counted(data, folder, **values):
    """An MLP; how many threads each worker's training may have is written down."""
    from fastmlp.machine import thread_limit

    (Path(folder) / f"{os.getpid()}-{threading.get_ident()}").write_text(str(thread_limit("test")))
    return fm.nn.MLP(data.n_features, (8,), data.n_outputs, **values)


def test_all_threads_together_are_no_more_than_the_cores(tmp_path):
    (tmp_path / "threads").mkdir()
    values = {"lr": scale.log_uniform(1e-3, 1e-1)}
    made = _counted_in(tmp_path / "threads")
    scale.sweep(
        sweeps.data(), values, tmp_path / "sweep", n_trials=6, epochs=1, model=made, n_jobs=2, progress=False
    )  # fmt: skip
    found = [int(path.read_text()) for path in (tmp_path / "threads").iterdir()]
    assert 1 <= len(found) <= 2
    assert sum(found) <= max(2, os.cpu_count() or 1)


def _counted_in(folder):
    def made(data):
        return counted(data, str(folder))

    return made


def test_kernels_are_compiled_by_one_alone(tmp_path, monkeypatch):
    """Two threads with trials of the same kind: one of them warms up, the other waits for it."""
    seen, fit = [], trial.fit

    def noted(*arguments, **options):
        seen.append(options["epochs"])
        return fit(*arguments, **options)

    monkeypatch.setattr(trial, "fit", noted)
    with joblib.parallel_config("threading"):
        swept(tmp_path, {"lr": scale.log_uniform(1e-3, 1e-1)}, n_jobs=2, hidden=(8,), n_trials=4)
    assert sorted(seen) == [1, 3, 3, 3, 3]
    assert len([path for path in (tmp_path / "compiled").iterdir() if not path.suffix]) == 1


def test_a_killed_worker_loses_nothing(tmp_path):
    values = {"lr": scale.log_uniform(1e-3, 1e-1)}
    marks = tmp_path / "marks"
    marks.mkdir()
    options = {"n_trials": 6, "model": sweeps.mortal, "marks": str(marks), "n_jobs": 2}
    swept(tmp_path / "killed", values, **options)
    assert len(list(marks.iterdir())) == 2
    found = sweeps.weights(tmp_path / "killed")
    swept(tmp_path / "alone", values, **options)
    assert len(found) == 6
    assert found == sweeps.weights(tmp_path / "alone")


def test_workers_that_die_too_often_end_the_sweep(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    with pytest.raises(RuntimeError, match="sweep: workers have died 1 times, of a kill or for lack of memory"):
        swept(tmp_path / "killed", {"lr": [0.01]}, model=sweeps.mortal, marks=str(marks), n_jobs=2, retries=0)


def test_a_killed_driver_goes_on(tmp_path):
    folder = tmp_path / "sweep"
    first = sweeps.driver(folder, tmp_path, 0.1)
    sweeps.wait_for(folder, 5, first)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    done = len(sweeps.lines(folder))
    assert 5 <= done < 24
    second = sweeps.driver(folder, tmp_path, 0.1)
    said = second.communicate(timeout=120)[0]
    assert "done" in said
    assert len(sweeps.weights(folder)) == 24


def test_the_page_of_the_docs_runs(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).resolve().parent.parent / "docs" / "scale.md").read_text("utf-8")
    code, cluster, shards = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    exec(compile(code, "docs/scale.md", "exec"), names)
    exec(compile(shards, "docs/scale.md", "exec"), names)
    assert "validation_score" in capsys.readouterr().out
    assert (tmp_path / "runs" / "first_sweep" / "sweep.html").is_file()
    compile(cluster, "docs/scale.md", "exec")  # test_sweep_dask runs such a cluster


def test_the_package_stays_light():
    code = "import sys, fastmlp; fastmlp.scale; print([m for m in ('joblib', 'dask') if m in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
