"""The one door of the command lines: sets from a path, whatever the format of its files, and the same sets again.

Which format it is follows from the path and its first bytes. What no file says, where indices begin, how many columns
there are, which column is the target, are arguments; one that is of another format is refused.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import check
from .columns import is_table, read_frame
from .dataset import Dataset
from .files import DIGITS, load
from .frames import named_columns
from .published import is_named, read_named
from .shard_files import shards
from .sparse_files import KEYS, load_svmlight_file, read_sparse_npz
from .tables import table

Sets = tuple[Dataset, Dataset | None]
NAMED, TABLE, LINES, SPARSE, ARRAYS = (
    "a published set",
    "a table",
    "a text of SVMlight's format",
    "a .npz of sparse rows",
    "a folder of IDX files or a .npz",
)
_SUFFIXES = (".svm", ".svmlight", ".libsvm")
_OWN = {  # the options of each format, beside those of all
    NAMED: (),
    TABLE: ("target", "drop", "categorical", "missing", "sample_weight"),
    LINES: ("zero_based", "n_features"),
    SPARSE: ("targets_file", "test_targets_file"),
    ARRAYS: ("prefix", "transpose"),
}


def format_of(path: str | os.PathLike[str], options: Mapping[str, Any]) -> str:
    """Which of the formats it is, in words. options: some belong to one format alone and say so."""
    if is_named(path):
        return NAMED
    file = Path(path)
    if file.is_file() and "target" not in options:
        with open(file, "rb") as stream:
            if DIGITS.match(stream.read(1 << 12)):
                return ARRAYS
    if "target" in options or is_table(file):
        return TABLE if not file.is_dir() else ARRAYS
    suffixes = [suffix.lower() for suffix in file.suffixes[-2:]]
    if not file.is_file():
        return ARRAYS  # a folder, or nothing: `load` has the words
    with open(file, "rb") as stream:
        first = stream.read(4)
    if first[:2] == b"PK":
        try:
            names = zipfile.ZipFile(file).namelist()
        except Exception:  # `load` has the words for a damaged file
            names = []
        return SPARSE if {f"{key}.npy" for key in KEYS} <= set(names) else ARRAYS
    lines = any(options.get(name) is not None for name in _OWN[LINES])
    if lines or any(suffix in _SUFFIXES for suffix in suffixes):
        return LINES
    return ARRAYS


def read_sets(path: str | os.PathLike[str], **options: Any) -> Sets:
    """`(train, test)` from a path, or by the name of a published set; test is None where there is none.

    path         the texts "mnist", "fashion_mnist", "kmnist" and "emnist:SPLIT" are sets as `fm.data` has them, and
                 Path("kmnist") is a folder. None is an option that is not given

    scale, kind, prefix, transpose  as `load` has them
    test         another file of the same format, the test set; or how much of a file's rows is set aside as one: a
                 fraction, or a count. seed: of those rows
    zero_based, n_features  of SVMlight's format, both to be given
    target, drop, categorical, missing, sample_weight  of a table, as `table` has them; it needs a target, and takes
                 `validation`
    usual_validation  where validation is not given
    targets_file, test_targets_file   the .npy files with the targets of sparse rows

    Errors: ValueError names an option that is of another format, or lacks; and those of the readers.
    """
    given = {name: value for name, value in options.items() if value is not None and value != ()}
    form = format_of(path, given)
    for name in (name for own in _OWN.values() for name in own if name in given and name not in _OWN[form]):
        kind = next(words for words, own in _OWN.items() if name in own)
        raise ValueError(f"argument {_spelled(name)}: it is for {kind}; {path} is {_what(path, form)}")
    kept = {name: _as_text(value) for name, value in given.items()}
    if form == NAMED:
        return _named(str(path), None, given, kept)
    sets = _READERS[form](Path(path), given)
    for at, rows in enumerate(sets):
        if rows is not None:
            rows.source = {"path": str(Path(path).absolute()), "options": kept, "set": at}
    if sets[0].validation is not None:
        sets[0].validation.source = {"path": str(Path(path).absolute()), "options": kept, "set": 2}
    return sets


def again(source: Mapping[str, Any]) -> Dataset | None:
    """The set that was read from a path, or by its name: `Dataset.source` says how."""
    if "published" in source:
        kept = source.get("options", {})
        train, test = _named(source["published"], source["path"], kept, kept)
        return (train, test)[source["set"]]
    if "shards" in source:
        return shards(source["path"], **source["shards"])
    if "options" in source:
        train, test = read_sets(source["path"], **source["options"])
        return (train, test, train.validation)[source["set"]]
    train, test = load(
        source["path"], source["scale"], source["kind"], source.get("prefix"), source.get("transpose", False)
    )
    return (train, test, train.validation)[source["set"]]


def _named(name: str, root: str | None, options: Mapping[str, Any], kept: dict[str, Any]) -> Sets:
    """The sets of a name, from a folder where root is one. kept: the options as `Dataset.source` has them."""
    sets = read_named(name, root)
    if options.get("test") is not None:
        raise ValueError(f"argument --test: {name} has a test set already; leave --test away")
    made = tuple(_scaled(rows.as_kind(options.get("kind", rows.kind)), options) for rows in sets)
    for was, rows in zip(sets, made, strict=True):
        rows.source = None if was.source is None else was.source | {"options": kept}
    return made[0], made[1]


def _spelled(name: str) -> str:
    return "--" + name.replace("_", "-")


def _what(path: Any, form: str) -> str:
    return form if form != ARRAYS else "a folder" if Path(path).is_dir() else "none"


def _as_text(value: Any) -> Any:
    """As JSON has it: paths are whole, so that they mean the same from another folder."""
    if isinstance(value, Path):
        return str(value.absolute())
    return list(value) if isinstance(value, tuple) else value


def is_file(test: Any) -> bool:
    """Whether the test set is a file of its own, and not so many rows."""
    return isinstance(test, str | os.PathLike)


def _arrays(path: Path, options: dict[str, Any]) -> Sets:
    if is_file(options.get("test")):
        raise ValueError(f"argument --test: {path} names its test set itself; --test is a fraction or a number of rows")
    names = "scale", "kind", "prefix", "transpose"
    found = load(path, **{name: options[name] for name in names if name in options})
    if options.get("validation") and found[0].validation is not None:
        raise ValueError(f"argument --validation: {path} has a validation set of its own; leave --validation away")
    return _set_aside(path, *found, options)


def _set_aside(path: Path, rows: Dataset, test: Dataset | None, options: Mapping[str, Any]) -> Sets:
    """The sets, with as many rows as the options say set aside as test set."""
    wanted = options.get("test")
    if wanted is None:
        return rows, test
    if test is not None:
        raise ValueError(f"argument --test: {path} has a test set already; leave --test away")
    if isinstance(wanted, int) and not 1 <= wanted < len(rows):
        raise ValueError(f"argument --test: {wanted} of {len(rows)} rows; it must be in 1..{len(rows) - 1}")
    return rows.split(wanted, options.get("seed", 0))


def _table(path: Path, options: dict[str, Any]) -> Sets:
    if "target" not in options:
        columns = check.short(", ".join(name for name, _ in named_columns(read_frame(path, "table"), "table")), 300)
        raise ValueError(f"argument --target: it must be given: which column of {path} is to be predicted: {columns}")
    if "scale" in options:
        raise ValueError(
            f"argument --scale: each column of {path} is scaled by what its training rows are; leave it away"
        )
    options = dict(options)
    usual = options.pop("usual_validation", 0.0)
    options["validation"] = options.get("validation") or usual
    return table(path, options.pop("target"), **options)


def _lines(path: Path, options: dict[str, Any]) -> Sets:
    for name, why in (("zero_based", "where its indices begin, at 0 or at 1"), ("n_features", "how many columns")):
        if name not in options:
            raise ValueError(f"argument {_spelled(name)}: it must be given: {path} does not say {why}")

    def read(file: Path, like: Dataset | None) -> Dataset:
        kind, classes = (options.get("kind"), None) if like is None else (like.kind, _classes_of(like))
        return load_svmlight_file(
            file, n_features=options["n_features"], zero_based=options["zero_based"], dtype=np.float32,
            classes=classes, kind=kind,
        )  # fmt: skip

    rows = _scaled(read(path, None), options)
    if not is_file(options.get("test")):
        return _set_aside(path, rows, None, options)
    return rows, _scaled(read(Path(options["test"]), rows), options)


def _sparse(path: Path, options: dict[str, Any]) -> Sets:
    test: Any = options.get("test")
    for file, name in ((path, "targets_file"), *([(test, "test_targets_file")] if is_file(test) else [])):
        if name not in options:
            raise ValueError(f"argument {_spelled(name)}: it must be given: {file} holds rows and no targets")
    if "test_targets_file" in options and not is_file(test):
        raise ValueError("argument --test-targets-file: it goes with --test FILE")

    def read(file: Path, targets: Path, like: Dataset | None) -> Dataset:
        kind, classes = (options.get("kind"), None) if like is None else (like.kind, _classes_of(like))
        rows = read_sparse_npz(file)
        if like is not None and rows.shape[1] != like.n_features:
            raise ValueError(
                f"read_sets: {file} has {rows.shape[1]} columns; they must be {like.n_features} as in {path}"
            )
        return Dataset(rows, _npy(targets), classes, file.stem, options.get("scale"), kind)

    rows = read(path, options["targets_file"], None)
    if not is_file(test):
        return _set_aside(path, rows, None, options)
    return rows, read(Path(test), options["test_targets_file"], rows)


def _scaled(rows: Dataset, options: Mapping[str, Any]) -> Dataset:
    if "scale" in options:
        rows.scale = float(options["scale"])
    return rows


def _classes_of(rows: Dataset) -> Any:
    """What numbers the classes of a test set as those of the training set; None where targets are no classes."""
    return None if rows.kind != "classes" else rows.classes if rows.class_values is None else rows.class_values


def _npy(path: str | os.PathLike[str]) -> Any:
    """The array in a .npy file. Errors: FileNotFoundError; ValueError for another file, or one of Python objects."""
    file = check.path("argument --targets-file", path)
    if not file.is_file():
        raise FileNotFoundError(f"argument --targets-file: {file} is not there; it must be a .npy file")
    try:
        return np.load(file, allow_pickle=False) if file.suffix.lower() == ".npy" else _not_npy()
    except Exception as error:  # NumPy raises what its parser meets
        raise ValueError(
            f"argument --targets-file: {file} is no .npy file of numbers: {check.reason(error)}"
        ) from error


def _not_npy() -> Any:
    raise ValueError("its name must end in .npy")


_READERS = {TABLE: _table, LINES: _lines, SPARSE: _sparse, ARRAYS: _arrays}
