"""Sets as they are published: MedMNIST's and KMNIST's .npz, Kaggle's digits, QMNIST's labels, a folder of EMNIST's."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from idx_files import classes, idx_bytes, images
from trainings import refuses

import fastmlp as fm
from fastmlp.data.doors import again, read_sets

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "train.py"


def medmnist(path: Path, labels=lambda n, start: (classes(n, 4) + start).reshape(n, 1), **more) -> Path:
    sets = {"train": (9, 0), "val": (5, 1), "test": (4, 0)}
    arrays = {f"{part}_images": images(n, (4, 4)) for part, (n, _) in sets.items()}
    arrays |= {f"{part}_labels": labels(n, start) for part, (n, start) in sets.items()}
    np.savez_compressed(path, **arrays | more)
    return path


def test_medmnists_val_is_the_validation_set(tmp_path):
    """Class 4 is in the validation set alone, and a class of all."""
    train, test = fm.data.load(path := medmnist(tmp_path / "some.npz"))
    held = train.validation
    assert [len(rows) for rows in (train, held, test)] == [9, 5, 4]
    assert {rows.classes for rows in (train, held, test)} == {5}
    assert held.labels.tolist() == [1, 2, 3, 4, 1]
    assert (train.features.shape, train.scale, held.name) == ((9, 4, 4), 1 / 255, "some validation")
    for rows in (train, test, held):
        np.testing.assert_array_equal(again(json.loads(json.dumps(rows.source))).labels, rows.labels)
    several = medmnist(path, lambda n, start: (np.arange(3 * n) % 5 == start).astype(np.uint8).reshape(n, 3))
    assert fm.data.load(several)[0].validation.kind == "labels"
    medmnist(path, val_images=images(5, (3, 3)))
    refuses(ValueError, lambda: fm.data.load(path), "val_images has rows (3, 3) uint8; they must be (4, 4) uint8 as in")


@pytest.mark.parametrize("row", [(4, 4, 3), (3, 4, 4)], ids=["colours", "volumes"])
def test_medmnists_images_have_colours_or_are_volumes(tmp_path, row):
    """PathMNIST has (N, 28, 28, 3), OrganMNIST3D (N, 28, 28, 28)."""
    arrays = {f"{part}_images": images(n, row) for part, n in (("train", 9), ("val", 5), ("test", 4))}
    train, test = fm.data.load(medmnist(tmp_path / "some.npz", **arrays))
    assert (train.features.shape[1:], train.validation.rows.shape[1], test.scale) == (row, 48, 1 / 255)


def test_names_of_a_validation_set_are_numbered_with_the_others(tmp_path):
    x = np.eye(3)
    names = {"y_train": ["b", "a", "b"], "y_test": ["c", "a", "b"], "y_val": ["b", "d", "a"]}
    np.savez(path := tmp_path / "a.npz", x_train=x, x_test=x, x_val=x, **names)
    train, test = fm.data.load(path)
    for rows, key in ((train, "y_train"), (test, "y_test"), (train.validation, "y_val")):
        assert rows.classes_.tolist() == ["a", "b", "c", "d"]
        assert rows.classes_[rows.labels].tolist() == names[key]


def test_the_script_takes_the_validation_set_of_a_file(tmp_path, monkeypatch, capsys):
    path, run = medmnist(tmp_path / "some.npz"), tmp_path / "run"

    def script(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        monkeypatch.setattr(sys, "path", list(sys.path))
        capsys.readouterr()
        code = 0
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        except SystemExit as exit:
            code = exit.code or 0
        return (code, *capsys.readouterr())

    quiet = ("--no-plots", "--no-report", "--no-progress", "--hidden", 4, "--epochs", 2)
    code, out, err = script("--data", path, "--out", run, "--patience", 5, *quiet)
    assert (code, err) == (0, "")
    assert "16-4-5 on some.npz: 9 training rows, 5 held out" in out
    assert "a tenth" not in out
    assert json.loads((run / "metrics.json").read_text())["validation"]["rows"] == 5
    code, _, err = script("--resume", run, "--epochs", 3)
    assert (code, err) == (0, "")
    code, _, err = script("--data", path, "--out", tmp_path / "other", "--validation", 0.2, *quiet)
    assert (code, err) == (
        2, f"train.py: error: argument --validation: {path} has a validation set of its own; leave --validation away\n"
    )  # fmt: skip


def kmnist(folder: Path, prefix: str = "kmnist", parts=("train", "test")) -> Path:
    folder.mkdir(exist_ok=True)
    for part, n in zip(("train", "test"), (6, 4), strict=True):
        if part in parts:
            np.savez_compressed(folder / f"{prefix}-{part}-imgs.npz", images(n))
            np.savez_compressed(folder / f"{prefix}-{part}-labels.npz", classes(n))
    return folder


def test_kmnists_files_have_an_array_each(tmp_path):
    train, test = fm.data.load(folder := kmnist(tmp_path / "japan"))
    np.testing.assert_array_equal(train.features, images(6))
    np.testing.assert_array_equal(test.labels, classes(4))
    assert (train.classes, train.scale, train.name) == (3, 1 / 255, "japan train")
    assert fm.data.load(kmnist(tmp_path / "one", parts=("train",)))[1] is None
    kmnist(folder, "k49")
    (folder / "k49_classmap.csv").write_text("index,codepoint,char\n0,U+3042,\u3042\n", "utf-8")  # lies beside them
    refuses(ValueError, lambda: fm.data.load(folder), "holds several sets, k49, kmnist; prefix= names one of them")
    assert len(fm.data.load(folder, prefix="k49")[0]) == 6
    assert len(read_sets(folder, prefix="kmnist")[0]) == 6
    np.savez(folder / "k49-train-imgs.npz", images(6), images(6))
    refuses(ValueError, lambda: fm.data.load(folder, prefix="k49"), "it must hold arr_0")
    (folder / "kmnist-test-labels.npz").unlink()
    refuses(FileNotFoundError, lambda: fm.data.load(folder, prefix="kmnist"), "images and labels of each set must be")


def test_a_folder_of_several_sets_takes_a_prefix(tmp_path):
    for at, word in enumerate(("letters", "digits")):
        for part, n in (("train", 6 + at), ("test", 4)):
            (tmp_path / f"emnist-{word}-{part}-images-idx3-ubyte").write_bytes(idx_bytes(images(n)))
            (tmp_path / f"emnist-{word}-{part}-labels-idx1-ubyte").write_bytes(idx_bytes(classes(n)))
    refuses(ValueError, lambda: fm.data.load(tmp_path), "have different prefixes; prefix= names one of them")
    for prefix, rows in (("emnist-letters", 6), ("emnist-digits-", 7)):
        train, test = fm.data.load(tmp_path, prefix=prefix)
        assert (len(train), len(test)) == (rows, 4)
        assert len(again(json.loads(json.dumps(train.source)))) == rows
    refuses(FileNotFoundError, lambda: fm.data.load(tmp_path, prefix="emnist"), "no IDX files that begin with emnist")
    refuses(ValueError, lambda: fm.data.load(tmp_path, prefix=3), "prefix is 3")
    refuses(ValueError, lambda: fm.data.load(tmp_path / "a", prefix="a"), "it goes with a folder of several sets")


def test_images_that_lie_on_their_side_are_turned_over(tmp_path):
    """As EMNIST's do: pixel (row, column) of a file is (column, row) of the image."""
    there = np.stack([image.T for image in images(6, (3, 4))])
    (tmp_path / "emnist-digits-train-images-idx3-ubyte").write_bytes(idx_bytes(there))
    (tmp_path / "emnist-digits-train-labels-idx1-ubyte").write_bytes(idx_bytes(classes(6)))
    for rows in (fm.data.load(tmp_path, transpose=True)[0], read_sets(tmp_path, transpose=True)[0]):
        for found in (rows, again(json.loads(json.dumps(rows.source)))):
            np.testing.assert_array_equal(found.features, images(6, (3, 4)))
            assert found.rows.base is found.features
    np.testing.assert_array_equal(fm.data.load(tmp_path)[0].features, there)
    np.testing.assert_array_equal(read_sets(tmp_path, transpose=False)[0].features, there)
    np.savez(tmp_path / "flat.npz", x=np.zeros((3, 4)), y=[0, 1, 0])
    refuses(ValueError, lambda: fm.data.load(tmp_path / "flat.npz", transpose=True), "features are (3, 4)")
    refuses(TypeError, lambda: fm.data.load(tmp_path, transpose=2), "transpose is 2")


def test_qmnists_digit_is_the_first_of_eight_numbers(tmp_path):
    for part, n in (("train", 6), ("test", 4)):
        labels = np.full((n, 8), 77, np.int32)
        labels[:, 0] = classes(n)
        (tmp_path / f"qmnist-{part}-images-idx3-ubyte").write_bytes(idx_bytes(images(n)))
        (tmp_path / f"qmnist-{part}-labels-idx2-int").write_bytes(idx_bytes(labels))
    assert fm.data.load(tmp_path)[1].labels.tolist() == classes(4).tolist()


@pytest.mark.parametrize("first", ["label,pixel0,pixel1,pixel2,pixel3", "label,1x1,1x2,2x1,2x2"])
def test_kaggles_digits_are_images(tmp_path, first):
    path = tmp_path / "train.csv"
    path.write_text(first + "\n1,0,255,3,4\n0,5,6,7,8\n")
    train, test = fm.data.load(path)
    assert train.features.tolist() == [[[0, 255], [3, 4]], [[5, 6], [7, 8]]]
    assert (train.labels.tolist(), train.scale, test) == ([1, 0], 1 / 255, None)
    rows, held = read_sets(path, test=1)
    assert (rows.features.shape, held.features.shape, rows.features.dtype) == ((1, 2, 2), (1, 2, 2), np.uint8)
    assert read_sets(path, target="label")[0].encoding is not None  # a target makes a table of it
    for text, words in (
        ("1,0,256,3,4\n", "is no table of bytes"),
        ("1,0,2,3\n", "has 5 names in its first line and 1 rows of 4"),
        ("", "has 5 names in its first line and 0 rows"),
    ):
        path.write_text(f"{first}\n{text}")
        refuses(ValueError, lambda: fm.data.load(path), words)
