"""IDX files, folders of them and `.npz` files.

The IDX files here are written by `idx_bytes`, which shares no code with the reader.
"""

import gzip
import hashlib
import os
import struct
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from idx_files import MNIST, TYPES, classes, idx_bytes, images, peak_memory, refuses

from fastmlp import data
from fastmlp.data import load, mnist, read_idx

# ---------------------------------------------------------------- IDX files


@given(
    st.sampled_from(TYPES).flatmap(
        lambda kind: hnp.arrays(kind[2], hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5))
    ),
    st.booleans(),
    st.booleans(),
)
@settings(deadline=None, max_examples=150)
def test_read_idx_returns_what_was_written(tmp_path_factory, array, gzipped, as_text):
    content = idx_bytes(array)
    path = tmp_path_factory.getbasetemp() / ("round.gz" if gzipped else "round")
    path.write_bytes(gzip.compress(content, 1) if gzipped else content)
    back = read_idx(str(path) if as_text else path)
    assert back.dtype == array.dtype
    assert back.dtype.isnative
    assert back.shape == array.shape
    assert back.flags.c_contiguous
    assert back.flags.writeable
    assert back.flags.aligned
    np.testing.assert_array_equal(back, array)
    back.flat[0] = 1  # really writable
    assert back.flat[0] == 1


def test_read_idx_looks_at_the_content_not_at_the_name(tmp_path):
    array = images(4)
    path = tmp_path / "packed-without-suffix"
    path.write_bytes(gzip.compress(idx_bytes(array)))
    np.testing.assert_array_equal(read_idx(path), array)


def test_read_idx_reads_a_gzip_of_several_members(tmp_path):
    array, path = images(5), tmp_path / "a.gz"
    content = idx_bytes(array)
    path.write_bytes(gzip.compress(content[:11]) + gzip.compress(content[11:]))
    np.testing.assert_array_equal(read_idx(path), array)


def test_read_idx_reads_more_than_one_chunk(tmp_path):
    array, path = images(400, (70, 90)), tmp_path / "a"  # 2.5 MB
    path.write_bytes(struct.pack(">HBBIII", 0, 8, 3, 400, 70, 90) + array.tobytes())
    np.testing.assert_array_equal(read_idx(path), array)


def test_missing_file_and_folder(tmp_path):
    refuses(tmp_path / "absent.gz", "does not exist", error=FileNotFoundError)
    refuses(tmp_path, "is a folder")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refuses(tmp_path / "pipe", "not a regular file")


def test_a_name_that_promises_gzip_is_no_promise(tmp_path):
    """A browser unpacks a download and keeps its name."""
    path = tmp_path / "a.gz"
    path.write_bytes(idx_bytes(images(2)))
    np.testing.assert_array_equal(read_idx(path), images(2))
    path.write_bytes(b"")
    refuses(path, "too short", "holds 0 bytes")


GOOD = idx_bytes(images(3))  # header 16 bytes, data 18 bytes
HEADER_FAULTS = [
    (b"", ("too short", "holds 0 bytes")),
    (b"\0\0\x08", ("too short", "holds 3 bytes")),
    (b"\x89PNG\r\n\x1a\n", ("is not IDX", "'89 50 4e 47'", "must be '00 00'")),
    (b"\0\x01" + GOOD[2:], ("is not IDX", "'00 01 08 03'")),
    (b"\0\0\x0a\x03" + GOOD[4:], ("unknown type code", "0a", "must be one of 08 09 0b 0c 0d 0e")),
    (b"\0\0\x08\x00" + GOOD[4:], ("has 0 dimensions", "must have 1 to")),
    (b"\0\0\x08\xff" + bytes(4 * 255), ("has 255 dimensions", "must have 1 to")),
    (GOOD[:15], ("too short", "holds 15 bytes", "3 dimensions has 16")),
    (struct.pack(">HBBII", 0, 8, 2, 0, 5), ("(0, 5)", "at least 1")),
    (struct.pack(">HBBII", 0, 8, 2, 5, 0), ("(5, 0)", "at least 1")),
    (GOOD[:-1], ("truncated", "holds 17 bytes", "claims 18", "(3, 3, 2)")),
    (GOOD[:16], ("truncated", "holds 0 bytes", "claims 18")),
    (GOOD + b"\0", ("too long", "claims 18", "(3, 3, 2)")),
    # 2**64 numbers: the product is 0 in 64 bits
    (struct.pack(">HBBIII", 0, 0x0E, 3, 2**31, 2**31, 4) + bytes(8), ("claims 147573952589676412928",)),
]


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize(("content", "words"), HEADER_FAULTS)
def test_faulty_content_is_refused(tmp_path, content, words, gzipped):
    path = tmp_path / ("bad.gz" if gzipped else "bad")
    path.write_bytes(gzip.compress(content) if gzipped else content)
    refuses(path, *words)


def test_damaged_gzip_is_refused(tmp_path):
    path, packed = tmp_path / "bad.gz", gzip.compress(idx_bytes(images(50)), mtime=0)
    for length in (2, 9, 12, len(packed) // 2, len(packed) - 8, len(packed) - 1):
        path.write_bytes(packed[:length])
        refuses(path, "truncated", "gzip stream ends too early")
    for at, value in (
        (2, 0),
        (10, 7),
        (-8, packed[-8] ^ 1),
        (-4, packed[-4] ^ 1),
    ):  # method, block, crc, length
        damaged = bytearray(packed)
        damaged[at] = value
        path.write_bytes(damaged)
        refuses(path, "damaged", "gzip stream cannot be read")
    path.write_bytes(packed + b"tail")
    refuses(path, "damaged")


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255), st.booleans(), st.booleans())
@settings(deadline=None, max_examples=200)
def test_a_changed_byte_gives_an_array_or_a_value_error(tmp_path_factory, at, change, gzipped, before):
    """Nothing but ValueError escapes, wherever a byte changes, before or after compression."""
    content = bytearray(gzip.compress(GOOD, mtime=0) if gzipped and not before else GOOD)
    content[at % len(content)] ^= change
    path = tmp_path_factory.getbasetemp() / "changed"
    path.write_bytes(gzip.compress(content) if gzipped and before else content)
    try:
        assert read_idx(path).size
    except ValueError as error:
        assert str(path) in str(error)


RANDOM = np.random.default_rng(0).bytes(900_000)  # does not compress
BOMB = struct.pack(">HBBII", 0, 8, 2, 2**20, 2**20)  # claims 2**40 bytes


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("plain", BOMB + bytes(100), ("holds 100 bytes", "claims 1099511627776")),
        # what is there is not read if the size tells that more is missing
        ("half", struct.pack(">HBBI", 0, 8, 1, 40_000_000) + bytes(30_000_000), ("holds 30000000 bytes",)),
        ("packed.gz", gzip.compress(BOMB + bytes(100)), ("hold at most", "claims 1099511627776")),
        # within the ratio of deflate (100 kB on disk, 90 MB claimed): found while reading
        (
            "believable.gz",
            gzip.compress(struct.pack(">HBBI", 0, 8, 1, 90_000_000) + RANDOM[:100_000]),
            ("holds 100000 bytes", "claims 90000000"),
        ),
        # the other way round: 100 kB on disk, 100 MB inside, 10 bytes claimed
        (
            "flood.gz",
            gzip.compress(struct.pack(">HBBI", 0, 8, 1, 10) + bytes(100_000_000), 6),
            ("too long", "claims 10 "),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # not the bytes: a .gz holds the time it was made
)
def test_header_bomb_takes_no_memory(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    assert peak_memory(refuses, path, *words) < 5e6


def test_nothing_is_read_beyond_the_claim(tmp_path):
    """The damage lies at the end of 900 kB, the header claims 10 bytes: the reader never gets there."""
    path = tmp_path / "a.gz"
    content = struct.pack(">HBBI", 0, 8, 1, 10) + RANDOM
    packed = bytearray(gzip.compress(content, 1))
    packed[-8] ^= 1
    path.write_bytes(packed)
    refuses(path, "too long", "claims 10 ")


def test_reading_holds_one_copy(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(struct.pack(">HBBI", 0, 0x0D, 1, 5_000_000) + bytes(20_000_000), 1))
    # the array, up to 1/8 more because the buffer grows, and chunks
    assert 20e6 < peak_memory(read_idx, path) < 27e6


# ---------------------------------------------------------------- MNIST


@pytest.mark.parametrize(
    ("name", "shape", "md5"),
    [
        ("train-images-idx3-ubyte.gz", (60000, 28, 28), "6bbc9ace898e44ae57da46a324031adb"),
        ("train-labels-idx1-ubyte.gz", (60000,), "a25bea736e30d166cdddb491f175f624"),
        ("t10k-images-idx3-ubyte.gz", (10000, 28, 28), "2646ac647ad5339dbf082846283269ea"),
        ("t10k-labels-idx1-ubyte.gz", (10000,), "27ae3e4e09519cfbb04c329615203637"),
    ],
)
def test_mnist_files_are_the_official_ones(name, shape, md5):
    array = read_idx(MNIST / name)
    assert array.shape == shape
    assert array.dtype == np.uint8
    header = struct.pack(">HBB", 0, 8, len(shape)) + struct.pack(f">{len(shape)}I", *shape)
    assert hashlib.md5(header + array.tobytes()).hexdigest() == md5  # written back, the file as it was


def test_mnist():
    train, test = mnist()
    assert train.features.shape == (60000, 28, 28)
    assert test.features.shape == (10000, 28, 28)
    assert train.features.dtype == test.features.dtype == np.uint8
    assert train.classes == test.classes == 10
    assert (train.name, test.name) == ("mnist train", "mnist test")
    assert repr(train) == "Dataset(60000 rows, features (28, 28) uint8, 10 classes)"
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(train.labels).tolist() == counts
    assert np.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]


def write_set(folder: Path, prefix: str = "", suffix: str = "", **arrays: np.ndarray) -> Path:
    """Write IDX files; `train_images=` becomes `train-images-idx3-ubyte`."""
    folder.mkdir(exist_ok=True)
    for key, array in arrays.items():
        kind = "images-idx3" if key.endswith("images") else "labels-idx1"
        part = key.rpartition("_")[0]
        content = idx_bytes(array)
        name = f"{prefix}{part}{'-' if part else ''}{kind}-ubyte{suffix}"
        (folder / name).write_bytes(gzip.compress(content) if suffix == ".gz" else content)
    return folder


FOUR = {
    "train_images": images(6),
    "train_labels": classes(6),
    "t10k_images": images(4, start=100),
    "t10k_labels": classes(4, 4),
}


def test_mnist_places(tmp_path, monkeypatch):
    here = write_set(tmp_path / "here", **FOUR)
    np.testing.assert_array_equal(mnist(here)[0].features, FOUR["train_images"])
    np.testing.assert_array_equal(mnist(str(here))[1].features, FOUR["t10k_images"])
    refuses(
        tmp_path / "absent",
        "mnist: no MNIST files",
        "pass root",
        "wheel",
        error=FileNotFoundError,
        call=mnist,
    )

    half = write_set(tmp_path / "half", train_images=images(3), train_labels=classes(3))
    refuses(half, "one set", error=FileNotFoundError, call=mnist)

    # an installed package: nothing beside it, then the working folder
    monkeypatch.setattr(data.published, "__file__", str(tmp_path / "site" / "fastmlp" / "data" / "published.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        mnist()
    assert str(tmp_path / "site" / "data" / "mnist") in str(caught.value)
    assert str(tmp_path / "data" / "mnist") in str(caught.value)
    (tmp_path / "data").mkdir()
    write_set(tmp_path / "data" / "mnist", **FOUR)
    assert len(mnist()[0]) == 6
    # a folder with a note only, beside the package, does not hide the other place
    (tmp_path / "site" / "data" / "mnist").mkdir(parents=True)
    (tmp_path / "site" / "data" / "mnist" / "README.md").write_text("")
    assert len(mnist()[0]) == 6


# ---------------------------------------------------------------- folders


@pytest.mark.parametrize("prefix", ["", "emnist-digits-", "my.set_"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("word", ["t10k", "test"])
@pytest.mark.parametrize("dot", [False, True])
def test_load_folder(tmp_path, prefix, suffix, word, dot):
    arrays = {key.replace("t10k", word): value for key, value in FOUR.items()}
    folder = write_set(tmp_path / "digits", prefix, suffix, **arrays)
    if dot:
        for file in folder.iterdir():
            file.rename(folder / file.name.replace("-idx", ".idx"))
    (folder / "README-train-images.txt").write_text("not IDX")
    train, test = load(str(folder))
    assert test is not None
    for part, images_, labels in (
        (train, FOUR["train_images"], FOUR["train_labels"]),
        (test, FOUR["t10k_images"], FOUR["t10k_labels"]),
    ):
        np.testing.assert_array_equal(part.features, images_)
        np.testing.assert_array_equal(part.labels, labels)
        assert part.features.dtype == np.uint8
        assert part.classes == 4
    assert (train.name, test.name) == ("digits train", "digits test")


@pytest.mark.parametrize("part", ["train_", "t10k_", ""])
def test_load_folder_with_one_pair(tmp_path, part):
    folder = write_set(tmp_path / "one", "kmnist-", **{f"{part}images": images(5), f"{part}labels": classes(5)})
    only, nothing = load(folder)
    assert nothing is None
    assert only.name == "one"
    np.testing.assert_array_equal(only.features, images(5))


def test_load_folder_prefers_the_plain_file(tmp_path):
    folder = write_set(tmp_path / "both", train_images=images(5), train_labels=classes(5))
    write_set(folder, suffix=".gz", train_images=images(4), train_labels=classes(4))
    (folder / "t10k-images-idx3-ubyte").mkdir()  # a folder by such a name is passed over
    assert len(load(folder)[0]) == 5


def test_load_names_what_is_missing(tmp_path):
    refuses(tmp_path / "absent", "does not exist", error=FileNotFoundError, call=load)
    empty = tmp_path / "empty"
    empty.mkdir()
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    refuses(empty, "holds no IDX files", *names, error=FileNotFoundError, call=load)
    words = {"train": "training", "t10k": "test"}
    for i, key in enumerate(FOUR):
        part, kind = key.split("_")
        folder = write_set(tmp_path / key, **{k: v for k, v in FOUR.items() if k != key})
        with pytest.raises(FileNotFoundError) as caught:
            load(folder)
        message = str(caught.value)
        assert f"{folder} lacks the {words[part]} {kind} ({names[i]}-ubyte, plain or .gz);" in message
        assert message.count("plain or .gz") == 1  # one is missing, one is named
    folder = write_set(tmp_path / "two", train_images=images(3), t10k_labels=classes(3))
    refuses(folder, "training labels", "test images", error=FileNotFoundError, call=load)


def test_load_refuses_an_ambiguous_folder(tmp_path):
    folder = write_set(tmp_path / "a", **FOUR)
    write_set(folder, test_images=images(4))
    refuses(folder, "ambiguous", "t10k-images-idx3-ubyte and test-images-idx3-ubyte", "test images", call=load)
    folder = write_set(tmp_path / "b", "emnist-digits-", train_images=images(3))
    write_set(folder, "emnist-letters-", train_labels=classes(3))
    refuses(folder, "emnist-digits-train-images", "emnist-letters-train-labels", "different prefixes", call=load)


@pytest.mark.parametrize(
    ("change", "culprit", "words"),
    [
        ({"train_images": classes(6)}, "train-images", ("(6,)", "at least 2-D")),
        ({"train_labels": images(6)}, "train-labels", ("(6, 3, 2)", "must be (N,)")),
        ({"train_labels": classes(5)}, "train-labels", ("6 rows", "5", "lengths must be equal")),
        ({"t10k_images": images(4, (2, 2))}, "t10k-images", ("(2, 2)", "(3, 2)", "train-images")),
        ({"t10k_images": images(4).astype("f4")}, "t10k-images", ("float32", "uint8")),
        ({"t10k_images": images(4).astype("i2")}, "t10k-images", ("int16", "must be (3, 2) uint8")),
        ({"t10k_labels": classes(4).astype("f4")}, "t10k-labels", ("float32", "integer")),
        ({"t10k_labels": classes(4).astype("i1") - 1}, "t10k-labels", ("label -1 in row 0",)),
    ],
)
def test_load_folder_names_the_unfit_file(tmp_path, change, culprit, words):
    folder = write_set(tmp_path / "a", **(FOUR | {key: np.asarray(value) for key, value in change.items()}))
    refuses(folder, f"{folder}{os.sep}{culprit}", *words, call=load)


# ---------------------------------------------------------------- .npz

NPZ = {
    "x_train": images(6),
    "y_train": classes(6),
    "x_test": images(4, start=100),
    "y_test": classes(4, 4),
}
LONG = {
    "x_train": "train_features",
    "y_train": "train_labels",
    "x_test": "test_features",
    "y_test": "test_labels",
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("long", [False, True])
def test_load_npz(tmp_path, save, long):
    path = tmp_path / "set.npz"
    save(path, extra=np.zeros(3), **{LONG[key] if long else key: value for key, value in NPZ.items()})
    train, test = load(path)
    assert test is not None
    np.testing.assert_array_equal(train.features, NPZ["x_train"])
    np.testing.assert_array_equal(train.labels, NPZ["y_train"])
    np.testing.assert_array_equal(test.features, NPZ["x_test"])
    np.testing.assert_array_equal(test.labels, NPZ["y_test"])
    assert train.classes == test.classes == 4
    assert train.features.dtype == np.uint8


@pytest.mark.parametrize("keys", [("features", "labels"), ("x", "y")])
def test_load_npz_with_one_set(tmp_path, keys):
    path = tmp_path / "set.npz"
    np.savez(path, **{keys[0]: np.asfortranarray(images(6, (4,)).astype(">f4")), keys[1]: classes(6)})
    only, nothing = load(str(path))
    assert nothing is None
    assert only.features.flags.c_contiguous
    assert only.features.dtype == np.float32
    np.testing.assert_array_equal(only.features, images(6, (4,)))


def test_load_npz_names_the_keys(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, x_train=images(3), y_train=classes(3), x_test=images(3), other=classes(3))
    refuses(
        path,
        "holds the arrays x_train y_train x_test other",
        "y_test",
        "train_features",
        "features labels",
        call=load,
    )
    np.savez(path)
    refuses(path, "(none)", call=load)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x_test": np.array([[1, "a"]], dtype=object)}, ("array x_test", "Python objects")),
        ({"x_train": classes(6)}, ("array x_train", "at least 2-D")),
        ({"y_test": images(4)}, ("array y_test", "must be (N,)")),
        ({"x_test": images(4, (7,))}, ("array x_test", "(7,)", "(3, 2)")),
        ({"x_train": np.full((6, 2), np.nan)}, ("array x_train", "nan in row 0, column 0")),
    ],
)
def test_load_npz_names_the_unfit_array(tmp_path, change, words):
    path = tmp_path / "set.npz"
    np.savez(path, **(NPZ | change))
    refuses(path, *words, call=load)


def test_load_refuses_files_that_are_not_npz(tmp_path):
    path = tmp_path / "set.npz"
    for content in (b"", b"PK", idx_bytes(images(2)), b"PK\x05\x06" + bytes(17)):
        path.write_bytes(content)
        refuses(path, "not a whole .npz archive", call=load)
    np.savez(path, **NPZ)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    refuses(path, "not a whole .npz archive", call=load)
    at = content.index(NPZ["x_test"].tobytes())  # a changed pixel: the checksum of the archive tells
    path.write_bytes(content[:at] + b"\xff" + content[at + 1 :])
    refuses(path, "array x_test", "cannot be read", call=load)
    other = tmp_path / "train-images-idx3-ubyte.gz"
    other.write_bytes(gzip.compress(GOOD))
    refuses(other, "is one file", "must be a folder", call=load)


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_a_changed_byte_in_npz_gives_a_set_or_a_value_error(tmp_path_factory, data):
    buffer = BytesIO()
    np.savez_compressed(buffer, x=images(3), y=classes(3))
    content = bytearray(buffer.getvalue())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "changed.npz"
    path.write_bytes(content)
    try:
        assert len(load(path)[0])
    except ValueError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize(("shape", "lie"), [((2**20, 2**20), False), ((2**20, 2**11), True), ((32, 32), False)])
def test_npz_header_bomb_takes_no_memory(tmp_path, shape, lie):
    """A .npy header claims more than its entry holds; or the size of the entry is a lie too."""
    path, header = tmp_path / "bomb.npz", BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header.getvalue())
        archive.writestr("y.npy", b"")
    if lie:
        content = bytearray(path.read_bytes())
        struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, 0xF0000000)  # of the central directory
        path.write_bytes(content)
    words = "array x", f"claims {shape[0] * shape[1]} bytes", "at most"
    assert peak_memory(lambda: refuses(path, *words, call=load)) < 5e6
