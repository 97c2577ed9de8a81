"""Files become a `Dataset`: a folder of IDX files, or a `.npz`."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from .. import check
from ..machine import check_memory
from .dataset import Dataset, checked
from .features import KEPT, checked_scale, warn_of_small_bytes
from .frames import weight_of
from .idx import MAX_RATIO, ROLES, claimed_bytes, find_idx, read_claimed, read_idx
from .targets import KINDS, together

_QMNIST_COLUMNS = 8  # of its labels: the digit, its writer, ... (Yadav and Bottou, Cold Case, NeurIPS 2019)


def load(
    path: str | os.PathLike[str], scale: float | None = None, kind: str | None = None
) -> tuple[Dataset, Dataset | None]:
    """Return `(train, test)` from a folder of IDX files or from a `.npz` file.

    A folder holds the four files of MNIST, plain or `.gz`: `train-images-idx3-ubyte`,
    `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte`, `t10k-labels-idx1-ubyte`. A common prefix
    (`emnist-digits-train-images-idx3-ubyte`), `test` for `t10k` and a dot before `idx` are understood. Of a
    plain file and its `.gz` the plain one is read. Files whose name begins with a dot are passed over. Labels (N, 8),
    as QMNIST has them, have the digit in column 0.

    A `.npz`, known by its bytes, holds `x_train`, `y_train`, `x_test`, `y_test` or `train_features`, `train_targets`,
    `test_features`, `test_targets`, the targets also as `train_labels`, `test_labels`. Beside them it may hold weights
    of the rows (`sample_weight_train`, `sample_weight_test`), `feature_names`, the `target_names` of columns, and
    `kind`, a string. Pickled objects are refused: names of classes are arrays of strings.

    A folder with one pair of images and labels, or a `.npz` with `features` and `targets` (or `labels`) or with `x` and
    `y`, and perhaps `sample_weight`, is one set: `(set, None)`. Two sets must have rows of the same shape and type;
    their classes are numbered together, and those of either are classes of both.

    kind: of the targets, as `Dataset` has it; it says more than the file does.
    scale: what features are multiplied by. None: 1/255 for bytes, and 1 for all else. Bytes in IDX files of images
    are pixels; for those in a `.npz` a warning says so where none is above 31, as in `Dataset`.

    Raises FileNotFoundError if the path or one of the files is missing, ValueError if one is damaged, MemoryError where
    the arrays together take more memory than there is; they are not read then.
    """
    train, test = _load(check.path("load: path", path), scale, kind)
    train.source = {"path": str(Path(path).absolute()), "scale": scale, "kind": kind, "set": 0}
    if test is not None:
        test.source = train.source | {"set": 1}
    return train, test


def _load(place: Path, scale: float | None, kind: str | None) -> tuple[Dataset, Dataset | None]:
    if place.is_dir():
        if files := find_idx(place):
            return _load_folder(place, files, scale, kind)
        names = ", ".join(ROLES.values())
        raise FileNotFoundError(f"load: {place} holds no IDX files; looked for {names}, plain or .gz")
    if not place.exists():
        raise FileNotFoundError(f"load: {place} does not exist; it must be a folder or a .npz file")
    with open(place, "rb") as file:
        if file.read(2) != b"PK" and place.suffix.lower() != ".npz":
            raise ValueError(f"load: {place} is one file; it must be a folder of IDX files or a .npz file")
    return _load_npz(place, scale, kind)


_Part = tuple[np.ndarray, str]  # an array and the file it is from


class _Beside(NamedTuple):
    """What a file may hold beside features and targets: parts, names; `weights` of as many sets as there are."""

    kind: str | None = None
    weights: tuple[_Part | None, ...] = (None, None)
    feature_names: _Part | None = None
    target_names: _Part | None = None


def _pair(
    name: str, train: Sequence[_Part], test: Sequence[_Part], scale: float | None, pixels: bool, beside: _Beside
) -> tuple[Dataset, Dataset | None]:
    """Check the features and targets of both sets, and that they fit together; an empty `test` gives None.

    pixels: whether bytes are known to be pixels.
    """
    (x, of_x), (y, of_y) = train
    x, _, t, reach = checked(x, y, None, beside.kind, "load", of_x, of_y)
    factor = checked_scale(scale, x, "load")
    if scale is None and not pixels:
        warn_of_small_bytes(x, f"load: the features of {of_x}", stacklevel=4)
    weights = [
        weight and weight_of(weight[0], len(rows), "load", weight[1])
        for weight, rows in zip(beside.weights, (x, test[0][0] if test else ()), strict=True)
    ]
    names = _names(beside.feature_names, x[0].size)
    if t.kind != "classes":
        t = t._replace(names=_names(beside.target_names, t.values[0].size))
    if not test:
        return Dataset._of(x, t, name, factor, reach, weights[0], names), None
    (images, of_test), (given, of_y_test) = test
    x_test, _, t_test, reach_test = checked(images, given, None, beside.kind, "load", of_test, of_y_test)
    if x.shape[1:] != x_test.shape[1:] or x.dtype != x_test.dtype:
        raise ValueError(
            f"load: {of_test} has rows {x_test.shape[1:]} {images.dtype}; "
            f"they must be {x.shape[1:]} {x.dtype} as in {of_x}"
        )
    if t.values.shape[1:] != t_test.values.shape[1:] or t.kind != t_test.kind:
        wanted = "an integer type" if t.kind == "classes" else f"{t.kind} {t.values.shape[1:]}"
        raise ValueError(
            f"load: {of_y_test} has the type {given.dtype} and rows {given.shape[1:]}; it must be {wanted} as in {of_y}"
        )
    if t.kind == "classes":
        t, t_test = together(t, t_test, "load", of_y_test)
    return (
        Dataset._of(x, t, f"{name} train", factor, reach, weights[0], names),
        Dataset._of(x_test, t_test._replace(names=t.names), f"{name} test", factor, reach_test, weights[1], names),
    )


def _names(part: _Part | None, columns: int) -> tuple[str, ...] | None:
    """The names of columns in a file; None without. Error: ValueError for others than so many strings."""
    if part is None:
        return None
    names, of = part
    if names.dtype.kind != "U" or names.shape != (columns,):
        raise ValueError(f"load: {of} is {names.shape} {names.dtype}; it must be {columns} strings, a name a column")
    return tuple(names.tolist())


def _load_folder(
    folder: Path, files: list[Path], scale: float | None = None, kind: str | None = None
) -> tuple[Dataset, Dataset | None]:
    check_memory(f"load: the arrays of {folder}", sum(claimed_bytes(file) for file in files))
    arrays = [(read_idx(file), str(file)) for file in files]
    for i in range(1, len(arrays), 2):
        labels, of_labels = arrays[i]
        if labels.ndim == 2 and labels.shape[1] == _QMNIST_COLUMNS and labels.dtype.kind in "iu":
            arrays[i] = labels[:, 0], of_labels
    return _pair(folder.resolve().name, arrays[:2], arrays[2:], scale, True, _Beside(kind))


_KEYS = (  # of features and targets, with those of the weights of their rows
    (("x_train", "y_train", "x_test", "y_test"), ("sample_weight_train", "sample_weight_test")),
    (
        ("train_features", "train_targets", "test_features", "test_targets"),
        ("sample_weight_train", "sample_weight_test"),
    ),
    (("train_features", "train_labels", "test_features", "test_labels"), ("sample_weight_train", "sample_weight_test")),
    (("features", "targets"), ("sample_weight",)),
    (("features", "labels"), ("sample_weight",)),
    (("x", "y"), ("sample_weight",)),
)


def _load_npz(file: Path, scale: float | None, kind: str | None) -> tuple[Dataset, Dataset | None]:
    with open(file, "rb") as raw:
        try:
            archive = zipfile.ZipFile(raw)
        except Exception as error:  # zipfile, zlib and NumPy share no class for damaged files
            raise ValueError(f"load: {file} is not a whole .npz archive: {check.reason(error)}") from error
        have = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        keys, of_rows = next(((keys, rest) for keys, rest in _KEYS if set(keys) <= set(have)), ((), ()))
        if not keys:
            if {"indptr", "indices", "data", "shape", "format"} <= set(have):
                way = "Dataset(read_sparse_npz(path), targets) takes it"
                raise ValueError(f"load: {file} holds a sparse matrix of SciPy and no targets; {way}")
            held, needed = (
                check.short(" ".join(have) or "(none)", 200),
                ", or ".join(" ".join(keys) for keys, _ in _KEYS),
            )
            raise ValueError(f"load: {file} holds the arrays {held}; it must hold {needed}")
        beside = [key for key in (*of_rows, "feature_names", "target_names", "kind") if key in have]
        size = file.stat().st_size
        arrays_of = read_arrays("load", file, archive, (*keys, *beside), size)
        read = {key: (array, f"{file} array {key}") for key, array in arrays_of.items()}
    arrays = [read[key] for key in keys]
    weights = [read.get(key) for key in of_rows] + [None]
    if kind is None and "kind" in read:
        kind = str(read["kind"][0]) if read["kind"][0].ndim == 0 else ""
        if kind not in KINDS:
            raise ValueError(f"load: {read['kind'][1]} is {check.shown(kind)}; it must be one of {', '.join(KINDS)}")
    return _pair(
        file.stem, arrays[:2], arrays[2:], scale, False,
        _Beside(kind, tuple(weights[:2]), read.get("feature_names"), read.get("target_names")),
    )  # fmt: skip


def read_arrays(caller: str, file: Path, archive: zipfile.ZipFile, keys: Sequence[str], size: int) -> dict[str, Any]:
    """The arrays of these names in a .npz of so many bytes, whose headers are looked at before memory is taken."""

    def told(key: str, read: Callable[..., Any], *arguments: Any) -> Any:
        """What `read` gives; whatever it raises becomes a ValueError that names the array."""
        try:
            return read(archive, key, *arguments)
        except Exception as error:
            raise ValueError(f"{caller}: {file} array {key} cannot be read: {check.reason(error)}") from error

    check_memory(f"{caller}: the arrays of {file}", sum(told(key, _claimed, size) for key in keys))
    return {key: told(key, _read_npy) for key in keys}


def _claimed(archive: zipfile.ZipFile, key: str, size: int) -> int:
    """Return the bytes of memory that one array of a .npz of `size` bytes will take, by its header.

    An array that a Dataset keeps in another type or order of memory counts with its copy.
    """
    entry = archive.getinfo(f"{key}.npy")
    if entry.compress_type not in (
        zipfile.ZIP_STORED,
        zipfile.ZIP_DEFLATED,
    ):  # LZMA takes the memory that a header says
        raise ValueError("it is packed by another method than NumPy's; it must be stored or deflated")
    with archive.open(entry) as stream:
        shape, fortran, dtype = _npy_header(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects and must hold numbers, booleans or strings, as array.astype(str)")
    if not dtype.itemsize or min(shape, default=0) < 0:
        raise ValueError(f"its header says {shape} {dtype}; lengths must be at least 0, and a number has bytes")
    claim, most = math.prod(shape) * dtype.itemsize, min(entry.file_size, MAX_RATIO * size)
    if claim > most:
        raise ValueError(f"its header claims {claim} bytes, the file holds at most {most}")
    copied = (fortran and len(shape) > 1) or dtype not in KEPT
    return claim + copied * math.prod(shape) * 8


def _npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """(shape, whether the first axis runs fastest, type) of an array; the stream stands before its numbers then."""
    first = npy.read_magic(stream) == (1, 0)
    return (npy.read_array_header_1_0 if first else npy.read_array_header_2_0)(stream)


def _read_npy(archive: zipfile.ZipFile, key: str) -> np.ndarray:
    """One array. NumPy's own reader takes the memory that a header claims before it reads; here it is really there."""
    with archive.open(f"{key}.npy") as stream:
        shape, fortran, dtype = _npy_header(stream)
        claim = math.prod(shape) * dtype.itemsize
        body = read_claimed(stream, claim)
    if len(body) != claim:
        holds = "more" if len(body) > claim else len(body)
        raise ValueError(f"its header claims {claim} bytes for {shape} {dtype}; it holds {holds}")
    return np.ndarray(shape, dtype, body, order="F" if fortran else "C")


def mnist(root: str | os.PathLike[str] | None = None) -> tuple[Dataset, Dataset]:
    """Return `(train, test)` of MNIST: 60,000 and 10,000 digits, (28, 28) uint8, 10 classes.

    Reads the folder `root`; without it, `data/mnist` of the source tree the package lies in, or
    `./data/mnist`. Nothing is downloaded. Raises FileNotFoundError if none of them has the files.

    Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits (CC BY-SA 3.0).
    """
    tree = Path(__file__).resolve().parent.parent.parent
    places = (
        [check.path("mnist: root", root)]
        if root is not None
        else [tree / "data" / "mnist", Path.cwd() / "data" / "mnist"]
    )
    for place in places:
        if place.is_dir() and (files := find_idx(place)):
            train, test = _load_folder(place, files)
            if test is None:
                raise FileNotFoundError(f"mnist: {place} holds one set; it must hold training and test set")
            return train, test
    raise FileNotFoundError(
        f"mnist: no MNIST files in {' or '.join(map(str, places))}; the installed wheel does not carry them: "
        "pass root, the folder that holds them, or use load"
    )
