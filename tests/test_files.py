"""`files`: a file is the old one or the new one, whole, whatever comes between; JSON gets no NaN."""

import json
import math
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import files
from fastmlp.files import PARTIAL, for_json, replacing, write


def test_text_and_bytes_are_written_over_what_is_there(tmp_path):
    for content in ("old", "λ = ½\n", b"\x00\r\n"):
        write(tmp_path / "a", content)
        assert (tmp_path / "a").read_bytes() == (content.encode() if isinstance(content, str) else content)
    write(str(tmp_path / "b"), "")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no umask")
def test_others_may_read_it_as_any_file(tmp_path):
    (tmp_path / "plain").write_text("")
    write(tmp_path / "own", "")
    assert (tmp_path / "own").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt(), SystemExit(), ZeroDivisionError()])
@pytest.mark.parametrize("where", ["block", "fsync", "rename"])
def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, error, where):
    write(tmp_path / "a", "old")

    def fail(*_):
        raise error

    if where == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    if where == "rename":
        monkeypatch.setattr(Path, "replace", fail)

    def cut_short():
        with replacing(tmp_path / "a") as partial:
            partial.write_text("half")
            if where == "block":
                fail()

    with pytest.raises(type(error)):
        cut_short()
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a"):
        pass
    assert os.listdir(tmp_path) == []


def test_the_bytes_are_on_the_disk_before_the_name(tmp_path, monkeypatch):
    seen = []
    fsync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: seen.append(("fsync", os.fstat(number).st_size)) or fsync(number))
    monkeypatch.setattr(
        Path, "replace", lambda part, to: seen.append(("rename", part.stat().st_size)) or rename(part, to)
    )
    write(tmp_path / "a", "four")
    assert seen[:2] == [("fsync", 4), ("rename", 4)]
    assert [what for what, _ in seen[2:]] == ["fsync"]  # the folder's, which has the name


def test_the_name_in_between_is_hidden_and_known(tmp_path):
    with replacing(tmp_path / "a.b") as partial:
        assert partial.parent == tmp_path
        assert PARTIAL.fullmatch(partial.name)
        partial.write_text("x")
    assert not any(PARTIAL.fullmatch(name) for name in ("a.b", ".a.partial", ".0123456789abcdef.partial", ".gitignore"))


def together(path: Path) -> tuple[list[str], list[Exception]]:
    """What readers see while four threads write one file, and what the writers raise."""
    texts, errors, done = [letter * 100_000 for letter in "abcd"], [], []

    def writer(text: str) -> None:
        try:
            for _ in range(30):
                write(path, text)
        except OSError as error:
            errors.append(error)
        done.append(text)

    seen = set()
    write(path, texts[0])
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(writer, text) for text in texts]
        while len(done) < 4:
            seen.add(path.read_text())
        for each in waiting:
            each.result()
    return sorted(seen - set(texts)), errors


def test_threads_that_write_one_file_never_meet(tmp_path):
    assert together(tmp_path / "a") == ([], [])
    assert os.listdir(tmp_path) == ["a"]


def test_threads_that_share_a_name_in_between_do_meet(tmp_path, monkeypatch):
    """The control: with one name for all, as a process id is, one writer takes another's file away."""
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "0" * 16)
    torn, errors = together(tmp_path / "a")
    assert torn or errors


def a_model():
    return fm.nn.MLP(2, (3,), 2)


def a_drawing():
    return fm.draw(fm.ops.cross_entropy(a_model()(fm.Tensor(np.ones((2, 2), np.float32))), [0, 1]))


WRITERS = {
    "weights": lambda path: fm.save(a_model(), path),
    "history.csv": lambda path: fm.History().to_csv(path),
    "graph.svg": lambda path: a_drawing().save(path),
    "graph.dot": lambda path: a_drawing().save(path),
    "graph.png": lambda path: a_drawing().save(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_who_writes_a_file_writes_it_in_one_piece(tmp_path, monkeypatch, name):
    """Two threads may save to one path: each writes under a name of its own, and the file is one of the two."""
    seen, rename = [], Path.replace
    monkeypatch.setattr(Path, "replace", lambda part, to: seen.append(part.name) or rename(part, to))
    for _ in range(2):
        WRITERS[name](tmp_path / name)
    assert os.listdir(tmp_path) == [name]
    assert len(set(seen)) == 2
    assert all(PARTIAL.fullmatch(part) for part in seen)


def test_json_gets_python_numbers_and_no_nan():
    value = {
        "nan": math.nan, "numbers": (1, 2.5, -math.inf, True, None, "word"), "inner": {"x": np.float64("nan")},
        "array": np.array([[1.5, np.inf], [0, 2]], np.float32), "scalar": np.int64(3), "empty": np.zeros((0, 2)),
        "flag": np.bool_(True), "zero": np.array(np.nan),
    }  # fmt: skip
    made = for_json(value)
    assert made == {
        "nan": None, "numbers": [1, 2.5, None, True, None, "word"], "inner": {"x": None},
        "array": [[1.5, None], [0.0, 2.0]], "scalar": 3, "empty": [], "flag": True, "zero": None,
    }  # fmt: skip
    assert json.loads(json.dumps(made, allow_nan=False)) == made
