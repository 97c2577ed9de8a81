"""Damaged files: some hundred mutants of every kind that is read, and the watch over them seen to find planted faults.

`tests/soak` has the many. Nothing here counts seconds: a mutant that takes long is looked for there.
"""

import gzip
import inspect
import io
import os
import struct
import time
import warnings
import zipfile

import mutations
import numpy as np
import pytest
from idx_files import images, peak_memory, refuses
from mutations import FILE, KINDS, SLACK, Kind, look, mutant, trouble, valid
from PIL import Image

import fastmlp as fm

COUNT = 200  # mutants of a kind


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_file_is_read(kind, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (tmp_path / "whole").write_bytes(valid(kind))
        KINDS[kind].open(tmp_path / "whole")


@pytest.mark.parametrize("kind", KINDS)
def test_a_mutant_is_read_or_refused_as_is_documented(kind, tmp_path):
    found = {number: text for number in range(COUNT) if (text := look(kind, number, tmp_path, seconds=60))}
    assert not found


@pytest.mark.parametrize("kind", KINDS)
def test_mutants_are_many_and_the_same_each_time(kind):
    made = [mutant(kind, number) for number in range(60)]
    assert made == [mutant(kind, number) for number in range(60)]
    assert len(set(made)) > 40  # some changes give the same empty file


@pytest.mark.parametrize("kind", KINDS)
def test_the_doors_documented_errors_are_those_that_are_looked_for(kind):
    """FileNotFoundError, ValueError and MemoryError are said in the docstrings; RuntimeError by `load` alone."""
    doors = {
        "sparse": fm.data.read_sparse_npz,
        "svm": fm.data.load_svmlight_file,
        "idx": fm.data.read_idx,
        "npz": fm.data.load,
        "safetensors": fm.load,
        "checkpoint": fm.resume,
    }
    door = next((door for start, door in doors.items() if kind.startswith(start)), fm.read_run)
    for error in KINDS[kind].refusals:
        assert error is MemoryError or error.__name__ in inspect.getdoc(door)


PLANTED = {
    "another error": (lambda path: {}["key"], "KeyError"),
    "an error of Python's own": (lambda path: None.shape, "AttributeError"),
    "a relative of what is documented": (lambda path: b"\xff".decode(), "UnicodeDecodeError, of another class"),
    "what is no Exception": (lambda path: exec("raise BaseException('panic')"), "BaseException: panic"),
    "two lines": (lambda path: exec(r"raise ValueError(f'{path.parent}\nno')"), "not one sentence"),
    "a novel": (lambda path: exec("raise ValueError('no ' * 999)"), "not one sentence"),
    "no file's name": (lambda path: exec("raise ValueError('it is damaged')"), "does not name the file"),
    "a warning of NumPy's": (lambda path: np.float32(3e38) * np.float32(3e38), "RuntimeWarning"),
    "memory that is asked for": (lambda path: np.empty(SLACK + 2**20, np.uint8) is None, "bytes of memory"),
    "memory that is used": (lambda path: bytes(SLACK + 2**20) is None, "bytes of memory"),
    "time": (lambda path: time.sleep(0.05), "it took 0."),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name, tmp_path):
    opened, words = PLANTED[name]
    kind = Kind(bytes, (), opened, FILE)
    assert words in trouble(kind, b"content", tmp_path, seconds=0.01 if name == "time" else 60)


def test_memory_that_a_file_really_holds_is_no_fault(tmp_path):
    kind = Kind(bytes, (), lambda path: bytes(SLACK + 2**20), FILE, lambda content: 2**21)
    assert trouble(kind, b"content", tmp_path, seconds=60) == ""


def test_the_bytes_behind_a_packed_file_are_counted():
    assert mutations._gunzipped(gzip.compress(bytes(10**6))) == 10**6
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", bytes(10**6))
    assert 10**6 < mutations._unzipped(out.getvalue()) < 1_010_000


# --- what was found ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [2**20, 2**31 - 1])
def test_a_chunk_of_a_picture_takes_no_more_memory_than_the_file_has(tmp_path, length):
    out = io.BytesIO()
    Image.fromarray(np.arange(784, dtype=np.uint8).reshape(28, 28)).save(out, "PNG")
    whole = out.getvalue()
    path = tmp_path / "p.png"
    path.write_bytes(whole[:33] + struct.pack(">I", length) + b"tEXt" + whole[33:])
    assert peak_memory(lambda: refuses(path, "cannot be read as a picture", call=fm.images.read_image)) < 2**19


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_a_pipe_is_no_picture_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refuses(tmp_path / "pipe", "is no regular file", call=fm.images.read_image)


def test_a_history_of_many_columns_and_lines_takes_memory_for_its_own_columns(tmp_path):
    """A dict a line, with a place for every column of the header, was a thousand times the file."""
    run = tmp_path / "run"
    run.mkdir()
    for name, content in mutations._run().items():
        (run / name).write_bytes(content)
    head, *lines = (run / "history.csv").read_text().splitlines()
    more = "".join(f",c{n}" for n in range(20_000))
    (run / "history.csv").write_text("\n".join([head + more, *lines * 700]))
    fm.read_run(run)  # what is compiled and imported once
    assert peak_memory(lambda: fm.read_run(run)) < (run / "history.csv").stat().st_size + 2**24
    assert fm.read_run(run).history[0] == fm.read_run(run).history[len(lines)]


def packed(path, method=zipfile.ZIP_DEFLATED, **arrays: bytes):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in arrays.items():
            archive.writestr(f"{name}.npy", content)
    return path


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


X, Y = npy(images(6, (4,)).astype(np.float32)), npy(np.arange(6) % 3)


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_an_archive_packed_in_another_way_is_refused(tmp_path, method):
    """An LZMA header of five bytes may ask for gigabytes."""
    path = packed(tmp_path / "a.npz", method, x=X, y=Y)
    refuses(path, "array x", "it must be stored or deflated", call=fm.data.load)


@pytest.mark.parametrize("shape", ["(-6, -4)", "(-24,)", "(6, -4)"])
def test_lengths_below_0_in_an_arrays_header_are_refused(tmp_path, shape):
    content = X.replace(b"(6, 4), }" + b" " * (len(shape) - 6), shape.encode() + b", }")
    assert content != X
    refuses(packed(tmp_path / "a.npz", x=content, y=Y), "array x", shape, "at least 0", call=fm.data.load)


def test_strings_of_no_length_are_refused(tmp_path):
    """A billion of them take no byte, and all the memory there is once they are read."""
    content = npy(np.array(["a"])).replace(b"<U1", b"<U0").replace(b"(1,), }" + b" " * 9, b"(1000000000,), }")
    refuses(packed(tmp_path / "a.npz", x=X, y=content), "array y", "(1000000000,) <U0", call=fm.data.load)


@pytest.mark.parametrize("more", [-1, 1, 5000])
def test_an_array_of_more_or_fewer_bytes_than_its_header_says_is_refused(tmp_path, more):
    content = X[:more] if more < 0 else X + bytes(more)
    refuses(packed(tmp_path / "a.npz", x=content, y=Y), "array x", "claims 96 bytes", call=fm.data.load)


def test_arrays_of_all_orders_and_types_come_out_as_numpy_reads_them(tmp_path):
    arrays = [np.arange(24).reshape(6, 4).astype(kind) for kind in ("u1", "<f4", ">f4", "f8", "<f2", "i2", "?")]
    for array in (*arrays, np.asfortranarray(arrays[1]), arrays[3].reshape(6, 2, 2).T.reshape(6, 2, 2, order="F")):
        data, _ = fm.data.load(packed(tmp_path / "a.npz", x=npy(array), y=Y), scale=1)
        np.testing.assert_array_equal(data.features, array)
        assert data.features.flags.writeable


@pytest.mark.parametrize(
    "kind", [np.array("a\nb"), np.array(3.5), np.array(["classes"]), np.zeros((40, 40)), np.array("x" * 10_000)]
)
def test_another_kind_of_targets_in_a_file_is_refused_by_the_files_name(tmp_path, kind):
    path = packed(tmp_path / "a.npz", x=X, y=Y, kind=npy(kind))
    refuses(path, "array kind is", "must be one of classes, numbers, labels, probabilities", call=fm.data.load)
