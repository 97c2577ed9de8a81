"""Files become a `Dataset`: a folder of IDX files, or a `.npz`."""

from __future__ import annotations

import math
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from .. import check
from ..machine import check_memory
from .dataset import Checked, Dataset, checked
from .features import KEPT, checked_scale, warn_of_small_bytes
from .frames import weight_of
from .idx import MAX_RATIO, ROLES, claimed_bytes, find_idx, read_claimed, read_idx
from .targets import KINDS, Targets, together

DIGITS = re.compile(rb"(\xef\xbb\xbf)?label,(pixel0,pixel1|1x1,1x2),")  # the first line of Kaggle's CSV of digits
_AT_ONCE = 1024  # images that are turned over together
_QMNIST_COLUMNS = 8  # of its labels: the digit, its writer, ... (Yadav and Bottou, Cold Case, NeurIPS 2019)


def load(
    path: str | os.PathLike[str],
    scale: float | None = None,
    kind: str | None = None,
    prefix: str | None = None,
    transpose: bool = False,
) -> tuple[Dataset, Dataset | None]:
    """Return `(train, test)` from a folder of IDX files, from a `.npz` file, or from Kaggle's CSV of digits.

    A folder holds the four files of MNIST, plain or `.gz`: `train-images-idx3-ubyte`,
    `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte`, `t10k-labels-idx1-ubyte`. A common prefix
    (`emnist-digits-train-images-idx3-ubyte`), `test` for `t10k` and a dot before `idx` are understood. Of a
    plain file and its `.gz` the plain one is read. Files whose name begins with a dot are passed over. Labels (N, 8),
    as QMNIST has them, have the digit in column 0.

    A `.npz`, known by its bytes, holds `x_train`, `y_train`, `x_test`, `y_test` or `train_features`, `train_targets`,
    `test_features`, `test_targets`, the targets also as `train_labels`, `test_labels`. Beside them it may hold weights
    of the rows (`sample_weight_train`, `sample_weight_test`), `feature_names`, the `target_names` of columns, and
    `kind`, a string. Pickled objects are refused: names of classes are arrays of strings.

    Others are known by their names too. MedMNIST's `.npz`: `train_images`, `train_labels` (N, 1), and so with `val` and
    `test`; `val` becomes `train.validation`, as `x_val` and `y_val` beside `x_train` do. A folder as KMNIST has it:
    `kmnist-train-imgs.npz`, `kmnist-train-labels.npz` and the same with `test`, an array `arr_0` in each. Kaggle's CSV:
    a line `label,pixel0,pixel1,...`, then a digit a line; its rows become square images, and there is no test set.

    A folder with one pair of images and labels, or a `.npz` with `features` and `targets` (or `labels`) or with `x` and
    `y`, and perhaps `sample_weight`, is one set: `(set, None)`. Two sets must have rows of the same shape and type;
    their classes are numbered together, and those of either are classes of both.

    kind: of the targets, as `Dataset` has it; it says more than the file does.
    prefix: which set of a folder that holds several, as EMNIST's does: "emnist-letters".
    transpose: True turns images (N, H, W) over to (N, W, H). EMNIST's files have each image column by column: as they
    come they lie on their side, and a model trained on them knows no digit of MNIST. No file says so.
    scale: what features are multiplied by. None: 1/255 for bytes, and 1 for all else. Bytes in IDX files of images
    are pixels; for those in a `.npz` a warning says so where none is above 31, as in `Dataset`.

    Raises FileNotFoundError if the path or one of the files is missing, ValueError if one is damaged, MemoryError where
    the arrays together take more memory than there is; they are not read then.
    """
    check.flag("load: transpose", transpose)
    train, test = _load(check.path("load: path", path), scale, kind, prefix)
    source = {"path": str(Path(path).absolute()), "scale": scale, "kind": kind}
    source |= ({} if prefix is None else {"prefix": prefix}) | ({"transpose": True} if transpose else {})
    for at, rows in enumerate((train, test, train.validation)):
        if rows is not None:
            if transpose and rows.features.ndim != 3:
                raise ValueError(f"load: transpose is True; features are {rows.features.shape}, they must be (N, H, W)")
            rows.features = _turned_over(rows.features) if transpose else rows.features
            rows.source = source | {"set": at}
    return train, test


def _turned_over(images: np.ndarray) -> np.ndarray:
    """Images (N, H, W) as (N, W, H); square ones in their own memory, as EMNIST's largest set has 547 MB."""
    if images.shape[1] != images.shape[2]:
        return np.ascontiguousarray(images.swapaxes(1, 2))
    for first in range(0, len(images), _AT_ONCE):
        some = images[first : first + _AT_ONCE]
        some[...] = some.swapaxes(1, 2).copy()
    return images


def _load(place: Path, scale: float | None, kind: str | None, prefix: str | None) -> tuple[Dataset, Dataset | None]:
    if prefix is not None and not (isinstance(prefix, str) and place.is_dir()):
        raise ValueError(
            f"load: prefix is {check.shown(prefix)} and path {place}; it goes with a folder of several sets"
        )
    if place.is_dir():
        if files := find_idx(place, prefix):
            return _load_folder(place, files, scale, kind)
        if pairs := _find_pairs(place, prefix):
            return _load_pairs(place, pairs, scale, kind)
        names, begin = ", ".join(ROLES.values()), "" if prefix is None else f" that begin with {prefix}"
        raise FileNotFoundError(f"load: {place} holds no IDX files{begin}; looked for {names}, plain or .gz")
    if not place.exists():
        raise FileNotFoundError(f"load: {place} does not exist; it must be a folder or a .npz file")
    with open(place, "rb") as file:
        first = file.read(1 << 12)
        if DIGITS.match(first):
            return _load_digits(place, scale, kind), None
        if first[:2] != b"PK" and place.suffix.lower() != ".npz":
            raise ValueError(f"load: {place} is one file; it must be a folder of IDX files or a .npz file")
    return _load_npz(place, scale, kind)


_Part = tuple[np.ndarray, str]  # an array and the file it is from


class _Beside(NamedTuple):
    """What a file may hold beside features and targets: parts, names; `weights` of as many sets as there are."""

    kind: str | None = None
    weights: tuple[_Part | None, ...] = (None, None)
    feature_names: _Part | None = None
    target_names: _Part | None = None
    validation: Sequence[_Part] = ()


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
        warn_of_small_bytes(x, f"load: the features of {of_x}")
    weights = [
        weight and weight_of(weight[0], len(rows), "load", weight[1])
        for weight, rows in zip(beside.weights, (x, test[0][0] if test else ()), strict=True)
    ]
    names = _names(beside.feature_names, x[0].size)
    if t.kind != "classes":
        t = t._replace(names=_names(beside.target_names, t.values[0].size))
    others = {what: parts for what, parts in (("test", test), ("validation", beside.validation)) if parts}
    fit = {what: _fitting(parts, x, t, of_x, of_y, beside.kind) for what, parts in others.items()}
    if t.kind == "classes":  # numbered together: those of any set are classes of all
        for what, found in fit.items():
            t, _ = together(t, found.targets, "load", others[what][1][1])
        fit = {what: f._replace(targets=together(t, f.targets, "load", "")[1]) for what, f in fit.items()}
    of_rows = dict(zip(("train", "test"), weights, strict=True))
    made = {
        what: Dataset._of(
            f.x, f.targets._replace(names=t.names), f"{name} {what}", factor, f.reach, of_rows.get(what), names
        )
        for what, f in fit.items()
    }
    train_set = Dataset._of(x, t, f"{name} train" if test else name, factor, reach, of_rows["train"], names)
    train_set.validation = made.get("validation")
    return train_set, made.get("test")


def _fitting(parts: Sequence[_Part], x: Any, t: Targets, of_x: str, of_y: str, kind: str | None) -> Checked:
    """Another set of the same problem. Error: ValueError where its rows or targets are of another shape or type."""
    (images, of_test), (given, of_y_test) = parts
    found = checked(images, given, None, kind, "load", of_test, of_y_test)
    if x.shape[1:] != found.x.shape[1:] or x.dtype != found.x.dtype:
        raise ValueError(
            f"load: {of_test} has rows {found.x.shape[1:]} {images.dtype}; "
            f"they must be {x.shape[1:]} {x.dtype} as in {of_x}"
        )
    if t.values.shape[1:] != found.targets.values.shape[1:] or t.kind != found.targets.kind:
        wanted = "an integer type" if t.kind == "classes" else f"{t.kind} {t.values.shape[1:]}"
        raise ValueError(
            f"load: {of_y_test} has the type {given.dtype} and rows {given.shape[1:]}; it must be {wanted} as in {of_y}"
        )
    return found


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
    (("train_images", "train_labels", "test_images", "test_labels"), ("sample_weight_train", "sample_weight_test")),
    (("features", "targets"), ("sample_weight",)),
    (("features", "labels"), ("sample_weight",)),
    (("x", "y"), ("sample_weight",)),
)


_VALIDATION = (  # of those sets that have one: its keys, and whether bytes are known to be pixels
    (_KEYS[0][0], ("x_val", "y_val"), False),
    (_KEYS[3][0], ("val_images", "val_labels"), True),
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
        own, pixels = next(((own, pixels) for of, own, pixels in _VALIDATION if of == keys), (("",), False))
        others = own if set(own) <= set(have) else ()
        beside = [key for key in (*others, *of_rows, "feature_names", "target_names", "kind") if key in have]
        size = file.stat().st_size
        arrays_of = read_arrays("load", file, archive, (*keys, *beside), size)
        read = {key: (array, f"{file} array {key}") for key, array in arrays_of.items()}
    arrays, validation = ([_without_axis(read[key], key) for key in some] for some in (keys, others))
    weights = [read.get(key) for key in of_rows] + [None]
    if kind is None and "kind" in read:
        kind = str(read["kind"][0]) if read["kind"][0].ndim == 0 else ""
        if kind not in KINDS:
            raise ValueError(f"load: {read['kind'][1]} is {check.shown(kind)}; it must be one of {', '.join(KINDS)}")
    return _pair(
        file.stem, arrays[:2], arrays[2:], scale, pixels,
        _Beside(kind, tuple(weights[:2]), read.get("feature_names"), read.get("target_names"), validation),
    )  # fmt: skip


def _without_axis(part: _Part, key: str) -> _Part:
    """Labels (N, 1) of whole numbers, as MedMNIST has them, as (N,)."""
    array, of = part
    one = key.endswith("_labels") and array.ndim == 2 and array.shape[1] == 1 and array.dtype.kind in "iu"
    return (array.reshape(-1) if one else array), of


_PAIRS = {  # KMNIST's files, each with the array arr_0
    ("train", "imgs"): 0, ("train", "labels"): 1, ("test", "imgs"): 2, ("test", "labels"): 3,
}  # fmt: skip
_PAIR_NAME = re.compile(r"(?P<prefix>[^.].*?)[-_](?P<part>train|test)[-_](?P<kind>imgs|labels)\.npz")


def _find_pairs(folder: Path, prefix: str | None) -> list[Path]:
    """KMNIST's files in a folder, in the order of `_PAIRS`; none where it has none. Errors: as `find_idx`."""
    found: dict[str, dict[int, Path]] = {}
    for file in sorted(folder.iterdir()):
        match = _PAIR_NAME.fullmatch(file.name)
        if match and prefix in (None, match["prefix"], f"{match['prefix']}-"):
            found.setdefault(match["prefix"], {})[_PAIRS[match["part"], match["kind"]]] = file
    if len(found) > 1:
        raise ValueError(f"load: {folder} holds several sets, {', '.join(found)}; prefix= names one of them")
    files = next(iter(found.values()), {})
    if (files and not {0, 1} <= files.keys()) or len(files) == 3:
        has = " and ".join(file.name for file in files.values())
        raise FileNotFoundError(f"load: {folder} holds {has}; images and labels of each set must be there")
    return [files[at] for at in sorted(files)]


def _load_pairs(
    folder: Path, files: list[Path], scale: float | None, kind: str | None
) -> tuple[Dataset, Dataset | None]:
    parts = []
    for file in files:
        with open(file, "rb") as raw:
            try:
                archive = zipfile.ZipFile(raw)
            except Exception as error:  # zipfile, zlib and NumPy share no class for damaged files
                raise ValueError(f"load: {file} is not a whole .npz archive: {check.reason(error)}") from error
            if archive.namelist() != ["arr_0.npy"]:
                raise ValueError(f"load: {file} holds {check.short(' '.join(archive.namelist()))}; it must hold arr_0")
            parts.append((read_arrays("load", file, archive, ["arr_0"], file.stat().st_size)["arr_0"], str(file)))
    return _pair(folder.resolve().name, parts[:2], parts[2:], scale, True, _Beside(kind))


def _load_digits(file: Path, scale: float | None, kind: str | None) -> Dataset:
    """Kaggle's digits: a label and D pixels a line, bytes; (N, √D, √D) where D is a square. Error: ValueError."""
    with open(file, "rb") as stream:
        columns = stream.readline().count(b",") + 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a file without lines
                rows = np.loadtxt(stream, np.uint8, delimiter=",", ndmin=2)
        except ValueError as error:
            raise ValueError(f"load: {file} is no table of bytes: {check.reason(error)}") from error
    if rows.shape[1] != columns or not len(rows):
        raise ValueError(f"load: {file} has {columns} names in its first line and {len(rows)} rows of {rows.shape[1]}")
    side = math.isqrt(columns - 1)
    shape = (len(rows), side, side) if side * side == columns - 1 else (len(rows), columns - 1)
    x, y = np.ascontiguousarray(rows[:, 1:]).reshape(shape), rows[:, 0]
    return _pair(file.stem, [(x, str(file)), (y, f"{file}, its labels,")], [], scale, True, _Beside(kind))[0]


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
