"""Checkpoints: when they are written, what is in them, and that a damaged one is never believed."""

import json
import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import fastmlp as fm
from fastmlp import tensors
from fastmlp.files import replacing
from fastmlp.training import checkpoint
from fastmlp.training.checkpoint import Checkpoints, files_of, read_newest
from fastmlp.training.state import packed, unpacked


def rows(n=120):
    rng = np.random.default_rng(0)
    return fm.Dataset(rng.integers(0, 256, (n, 12), dtype=np.uint8), rng.integers(0, 4, n))


def train(folder, epochs=3, **options):
    fm.manual_seed(0)
    return fm.fit(
        fm.nn.MLP(12, (6,), 4), rows(), epochs=epochs, batch_size=10, progress=False, checkpoint=folder, **options
    )


def steps_of(folder):
    return [int(checkpoint.NAME.fullmatch(path.name)[1]) for path in files_of(folder)]


# --- when ------------------------------------------------------------------------------------------------------------


def written(monkeypatch):
    """The steps at which `write` is called."""
    found, write = [], Checkpoints.write

    def noting(self, done, state, say):
        found.append(done)
        write(self, done, state, say)

    monkeypatch.setattr(Checkpoints, "write", noting)
    return found


@pytest.mark.parametrize(
    ("every", "steps"),
    [
        ("epoch", [12, 24, 36, 36]),
        (5, [5, 10, 15, 20, 25, 30, 35, 36]),
        (12, [12, 24, 36, 36]),
        (100, [36]),
        ("0s", [*range(1, 12), 12, *range(13, 24), 24, *range(25, 36), 36, 36]),
        ("1000s", [36]),
        (None, [36]),
    ],
)
def test_they_are_written_when_they_are_due(every, steps, tmp_path, monkeypatch):
    found = written(monkeypatch)
    monkeypatch.setattr("fastmlp.running.engine.CHUNK_SECONDS", 0.0)  # a step a chunk
    train(tmp_path, checkpoint_every=every)
    assert found == steps
    assert steps_of(tmp_path) == sorted(set(steps), reverse=True)[:2]


def test_by_default_ten_seconds_after_the_last_at_the_end_of_an_epoch_and_thirty_within(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(checkpoint, "monotonic", lambda: now[0])
    kept = Checkpoints(tmp_path)
    for seconds, epoch_ends, due in ((9, True, False), (11, True, True), (11, False, False), (31, False, True)):
        now[0] = seconds
        assert kept.is_due(7, epoch_ends) is due


def test_other_intervals_are_refused(tmp_path):
    for every in (0, -3, 2.5, True, "often", "s", "-3s", "", [5]):
        with pytest.raises((ValueError, TypeError), match=r"^fit: checkpoint_every is .*; it must be "):
            train(tmp_path / "new", checkpoint_every=every)
    with pytest.raises(ValueError, match="checkpoint_every is 5 and no folder is given; checkpoint must name it"):
        train(None, checkpoint_every=5)
    with pytest.raises(TypeError, match="fit: checkpoint is int; it must be a path"):
        train(3)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="a file; it must be a folder"):
        train(tmp_path / "file")


# --- what ------------------------------------------------------------------------------------------------------------


def test_a_file_is_a_safetensors_file_and_json(tmp_path):
    from safetensors.numpy import load_file

    train(tmp_path)
    path = files_of(tmp_path)[0]
    found = load_file(path)
    assert {"/weights/0.weight", "/optimizer/state/0/exp_avg", "/sums"} <= found.keys()
    header = tensors.read_header(path)
    assert header.keys() == {"state", "sha256"}
    json.loads(header["state"])
    _, state = read_newest(tmp_path, "test", print)
    assert state["maker"].keys() == {"fastmlp", "numpy", "numba", "python", "processor"}
    assert state["data"]["rows"] == 120


def test_one_state_is_one_file(tmp_path):
    """But for the seconds that epochs took."""
    for name in ("a", "b"):
        train(tmp_path / name)
    kept = [files_of(tmp_path / name)[0] for name in ("a", "b")]
    found = [tensors.read(path, "test") for path in kept]
    for name, array in found[0][0].items():
        assert array.tobytes() == found[1][0][name].tobytes()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    | arrays.arrays(st.sampled_from([np.float32, np.float64, np.int64, np.uint8]), arrays.array_shapes(min_dims=0)),
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple)
    | st.dictionaries(st.text() | st.integers() | st.tuples(st.integers(), st.text()), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(st.text(min_size=1).filter(lambda name: "/" not in name), VALUES, max_size=4))
def test_a_state_comes_back_to_the_last_bit(state):
    text, found = packed(state)
    same(unpacked(text, found), state)


def same(a, b):
    assert type(a) is type(b)
    if isinstance(a, np.ndarray):
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            same(one, other)
    else:
        assert repr(a) == repr(b)  # NaN, -0.0


def test_what_a_file_cannot_hold_is_refused_by_its_place():
    with pytest.raises(TypeError, match=r"the state of /callbacks/0/seen is object; it must be made of None, texts"):
        packed({"callbacks": [{"seen": object()}]})
    with pytest.raises(TypeError, match=r"the state of /a is an array of object; it must be of numbers or texts"):
        packed({"a": np.array([None])})


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path):
    train(tmp_path, checkpoint_every=20)
    assert steps_of(tmp_path) == [36, 20]
    return tmp_path


def damaged(path, how, draw):
    content = bytearray(path.read_bytes())
    if how == "truncated":
        del content[draw.randrange(len(content)) :]
    elif how == "emptied":
        content.clear()
    elif how == "foreign":
        content[:] = tensors.as_bytes({"x": np.zeros(3)}, {"made": "elsewhere"})
    elif how == "longer":
        content += b"\0"
    elif how == "of another form":
        text, found = packed({"form": 99})
        content[:] = tensors.sealed(found, {"state": text})
    elif how == "no state":
        content[:] = tensors.sealed({}, {"state": '{"dict": 3}'})
    else:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


@pytest.mark.parametrize(
    "how", ["truncated", "emptied", "foreign", "longer", "of another form", "no state", *["a bit flipped"] * 12]
)
def test_of_a_damaged_one_the_one_before_is_taken_and_a_line_says_so(two, how, request):
    newest, older = files_of(two)
    damaged(newest, how, random.Random(request.node.name))
    said = []
    path, state = read_newest(two, "resume", said.append)
    assert (path, state["epoch"], state["step"]) == (older, 2, 8)
    assert len(said) == 1
    assert said[0].endswith(f"; the one before is taken, {older.name}")
    assert str(newest) in said[0]
    result = fm.resume(two, rows(), progress=False)
    assert len(result.history) == 3
    read_newest(two, "resume", lambda line: pytest.fail(line))  # what was damaged is written anew


@pytest.mark.parametrize("state", ['{"dict": [["form", "a\\nb"]]}', '{"dict": [["form", "\\ud800"]]}',
                                   '{"array": "' + "9" * 5000 + '"}'])  # fmt: skip
def test_what_stands_in_a_state_is_shown_short_and_on_one_line(tmp_path, state):
    (tmp_path / "checkpoint-000000000001.safetensors").write_bytes(tensors.sealed({}, {"state": state}))
    with pytest.raises(ValueError, match="can be used") as raised:
        read_newest(tmp_path, "resume", print)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 1000


def test_where_none_is_whole_it_says_what_is_wrong_with_each(two):
    for path in files_of(two):
        damaged(path, "emptied", None)
    with pytest.raises(ValueError, match=r"^resume: no checkpoint in .* can be used: .*000036.*; .*000020"):
        fm.resume(two, rows(), progress=False)


def test_folders_without_any(tmp_path):
    for place, said in (
        (tmp_path, "holds no checkpoint"),
        (tmp_path / "none", "is not there"),
    ):
        with pytest.raises(FileNotFoundError, match=f"^resume: .* {said}; it must be the folder of a run"):
            fm.resume(place, rows(), progress=False)
    with pytest.raises(TypeError, match="resume: folder is "):
        fm.resume(None, rows(), progress=False)


def test_without_the_digest_a_flipped_bit_would_be_believed(two, monkeypatch):
    """The planted fault: a reader that takes no look at the digest."""
    newest = files_of(two)[0]
    content = bytearray(newest.read_bytes())
    content[-3] ^= 4  # in the numbers
    newest.write_bytes(content)
    assert read_newest(two, "resume", print)[0] != newest
    monkeypatch.setattr(checkpoint, "read_sealed", tensors.read)
    assert read_newest(two, "resume", print)[0] == newest


def test_the_last_good_one_stays_until_the_next_is_complete(tmp_path, monkeypatch):
    """A write that fails at any point leaves what was there."""
    train(tmp_path)
    (good,) = files_of(tmp_path)
    kept = Checkpoints(tmp_path, replace=True)
    said = []
    for fails in ("fsync", "replace"):
        with monkeypatch.context() as patch:

            def refuse(*arguments):
                raise OSError(28, "No space left on device")

            patch.setattr("os.fsync" if fails == "fsync" else "pathlib.Path.replace", refuse)
            kept.write(99, {"epoch": 1}, said.append)
        assert files_of(tmp_path) == [good]
        assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert len(said) == 1
    assert "no checkpoint can be written to " in said[0]
    assert "(No space left on device); the training goes on and tries again" in said[0]
    kept.write(99, {"epoch": 1}, said.append)
    assert said[1] == "checkpoints are written again: checkpoint-000000000099.safetensors"


def test_file_and_folder_are_brought_to_the_disk_before_and_after_the_rename(tmp_path, monkeypatch):
    """In this order: a power cut between any two leaves the old file or the new one."""
    calls = []
    fsync, replace = os.fsync, Path.replace

    def noting_fsync(handle):
        name = os.path.realpath(f"/proc/self/fd/{handle}")
        calls.append(("fsync", "folder" if os.path.isdir(name) else "file"))
        fsync(handle)

    def noting_replace(self, target):
        calls.append(("rename", Path(target).name))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "replace", noting_replace)
    with replacing(tmp_path / "a") as partial:
        partial.write_text("whole")
    assert calls == [("fsync", "file"), ("rename", "a"), ("fsync", "folder")]


def test_a_state_costs_little_to_take(tmp_path, monkeypatch):
    """It does not copy the weights: only the optimizer's arrays, and none before it is due."""
    taken, state_dict = [], fm.training.loop.Loop.state_dict

    def noting(self):
        taken.append(time.monotonic())
        return state_dict(self)

    monkeypatch.setattr(fm.training.loop.Loop, "state_dict", noting)
    train(tmp_path, epochs=20)
    assert len(taken) == 1
