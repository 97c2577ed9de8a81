"""What a data file is, its bytes say: hidden companions, labels in columns, names that promise another format."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from idx_files import classes, idx_bytes, images, refuses

import fastmlp as fm
from fastmlp.data import load, mnist, read_idx

FOUR = {
    "train-images-idx3-ubyte": images(6), "train-labels-idx1-ubyte": classes(6),
    "t10k-images-idx3-ubyte": images(4, start=100), "t10k-labels-idx1-ubyte": classes(4),
}  # fmt: skip


def folder_of(place: Path, files: dict[str, bytes]) -> Path:
    place.mkdir()
    for name, content in files.items():
        (place / name).write_bytes(content)
    return place


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_macs_hidden_companions_are_passed_over(tmp_path, ending):
    files = {f"{name}{ending}": idx_bytes(array) for name, array in FOUR.items()}
    files |= {f"._{name}": b"\0\5\x16\7" + bytes(100) for name in files} | {".DS_Store": b"\0\0\0\1Bud1"}
    files |= {f".{name}.0123456789abcdef.partial": b"half" for name in FOUR}
    folder = folder_of(tmp_path / "a", files)
    for train, test in (load(folder), mnist(folder)):
        assert (len(train), len(test)) == (6, 4)
    with pytest.raises(FileNotFoundError, match="holds no IDX files"):
        load(folder_of(tmp_path / "b", {name: content for name, content in files.items() if name.startswith(".")}))


@pytest.mark.parametrize("kind", [np.int32, np.int16, np.uint8])
def test_labels_as_qmnist_has_them_are_column_0(tmp_path, kind):
    labels = np.zeros((6, 8), kind)
    labels[:, 0], labels[:, 1:] = classes(6), 99
    files = {"qmnist-train-images-idx3-ubyte": idx_bytes(images(6)), "qmnist-train-labels-idx2-int": idx_bytes(labels)}
    files |= {"qmnist-test-images-idx3-ubyte.gz": gzip.compress(idx_bytes(images(6)))}
    files |= {"qmnist-test-labels-idx2-int.gz": gzip.compress(idx_bytes(labels)), "qmnist-test-labels.tsv.gz": b""}
    for part in load(folder_of(tmp_path / "a", files)):
        np.testing.assert_array_equal(part.labels, classes(6))
        assert part.labels.flags.carray
        assert part.classes == 3


@pytest.mark.parametrize(
    ("columns", "words"), [(1, "(N,), one class for each row"), (7, "must be 0 and 1, labels"), (9, "must be 0 and 1")]
)
def test_labels_in_other_columns_are_refused(tmp_path, columns, words):
    files = {
        "images-idx3-ubyte": idx_bytes(images(6)),
        "labels-idx2-int": idx_bytes(np.full((6, columns), 3, np.int32)),
    }
    folder = folder_of(tmp_path / "a", files)
    refuses(folder, f"(6, {columns})", words, call=load)


def test_gzip_is_known_by_its_bytes_whatever_the_name(tmp_path):
    files = {f"{name}.gz": idx_bytes(array) for name, array in FOUR.items()}  # a browser unpacked them
    train, _ = load(folder_of(tmp_path / "a", files))
    np.testing.assert_array_equal(train.features, images(6))
    files = {name: gzip.compress(idx_bytes(array)) for name, array in FOUR.items()}
    train, _ = load(folder_of(tmp_path / "b", files))
    np.testing.assert_array_equal(train.features, images(6))
    (tmp_path / "c.gz").write_bytes(b"BZh9" + bytes(30))
    refuses(tmp_path / "c.gz", "is not IDX", "'42 5a 68 39'", call=read_idx)


def test_an_npz_is_known_by_its_bytes_whatever_the_name(tmp_path):
    np.savez(tmp_path / "a.npz", x=images(6), y=classes(6))
    (tmp_path / "a.npz").rename(tmp_path / "a.zip")
    assert len(load(tmp_path / "a.zip")[0]) == 6
    (tmp_path / "b.npz").write_bytes(idx_bytes(images(6)))
    refuses(tmp_path / "b.npz", "not a whole .npz archive", call=load)
    (tmp_path / "c").write_bytes(b"")
    refuses(tmp_path / "c", "is one file", call=load)


def test_a_folder_with_hidden_files_alone_is_empty_for_a_run(tmp_path):
    folder = folder_of(tmp_path / "run", {".DS_Store": b"x"})
    fm.Run(folder)
    (folder / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match="is not empty"):
        fm.Run(folder)


def test_a_configuration_that_is_a_folder_is_refused_in_a_sentence(tmp_path):
    fm.save(fm.nn.MLP(4, (), 2), tmp_path / "model.safetensors")
    (tmp_path / "config.json").mkdir()
    refuses(tmp_path, "load_model: ", "config.json", call=fm.load_model)
