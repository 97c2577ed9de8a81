"""Files of sparse rows: text in the format of SVMlight and LIBSVM, and what `scipy.sparse.save_npz` writes.

A line of the text is a target and the features that are not 0, "index:value", ascending, and perhaps a comment:

    1 3:0.5 17:1.25   # a comment

Whether indices begin at 0 or at 1 and how many columns there are, no file says. Both are arguments, and none is
guessed: a file whose first column is empty would be shifted by one, and a test set without the last column would not
fit its training set. Source: T. Joachims, SVMlight; C.-C. Chang and C.-J. Lin, LIBSVM, its file README, 2011.
"""

from __future__ import annotations

import math
import os
import re
import zipfile
from array import array
from operator import ge
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import check
from .compressed import from_arrays
from .dataset import Dataset, checked
from .files import read_arrays
from .idx import opened
from .sparse import Sparse

LONGEST = 1 << 28  # bytes of a line
LINE = re.compile(rb"\s*([^\s:#,]+)((?:\s+[0-9]{1,10}:[^\s:#_]+)*)\s*(?:#.*)?", re.DOTALL)
EMPTY = re.compile(rb"\s*(?:#.*)?", re.DOTALL)
PAIR = re.compile(rb"[0-9]{1,10}:[^\s:#_]+")
WHOLE = re.compile(rb"[+-]?[0-9]{1,15}")
_DOOR = "load_svmlight_file"
KEYS = ("indptr", "indices", "data", "shape", "format")


def load_svmlight_file(
    path: str | os.PathLike[str],
    *,
    n_features: int | None = None,
    zero_based: bool | None = None,
    dtype: Any = np.float64,
    classes: int | ArrayLike | None = None,
    kind: str | None = None,
) -> Dataset:
    """A Dataset of sparse rows from a text file of SVMlight's and LIBSVM's format, plain or gzipped.

    n_features: D, how many columns there are. Must be given
    zero_based: True where the first column has the index 0, False where it has 1. Must be given
    dtype: float32 or float64, of the values
    classes, kind: as `Dataset` has them. Targets that are whole numbers in all lines, "-1" or "3", are integers, and
    others floats, so without a kind the first are classes and the second numbers

    The file is read line by line. Errors: TypeError where one of the two is not given; FileNotFoundError; ValueError
    names the line that is no such line: an index outside, or that does not ascend, a value that is not finite, several
    targets, a query (qid).
    """
    if n_features is None:
        raise TypeError(
            f"{_DOOR}: n_features must be given: no file says how many columns there are after its last one"
        )
    if zero_based is None or isinstance(zero_based, str):
        given = "is not given" if zero_based is None else f"is {check.shown(zero_based)}"
        raise TypeError(f"{_DOOR}: zero_based {given}; it must be True or False: no file says where its indices begin")
    check.width(f"{_DOOR}: n_features", n_features)
    check.flag(f"{_DOOR}: zero_based", zero_based)
    dtype = np.dtype(check.float_type(f"{_DOOR}: dtype", dtype))
    first, last = (0, int(n_features) - 1) if zero_based else (1, int(n_features))
    targets, indptr, indices, values = array("d"), array("q", [0]), array("q"), array(dtype.char)
    whole, number = True, 0
    with opened(path, _DOOR, "a text of lines, target index:value ...") as (stream, file, _, _):
        while line := stream.readline(LONGEST):
            number += 1
            if EMPTY.fullmatch(line) and len(line) < LONGEST:
                continue
            try:
                target, pairs = _read(line, first, last)
            except ValueError as error:
                raise ValueError(f"{_DOOR}: {file} line {number} {error}") from None
            whole = whole and WHOLE.fullmatch(target) is not None
            targets.append(float(target))
            indices.extend(pairs[0])
            values.extend(pairs[1])
            indptr.append(len(indices))
        if not targets:
            raise ValueError(f"{_DOOR}: {file} has no line with a target; it must have at least 1")
    y: Any = np.frombuffer(targets, np.float64)
    columns = np.frombuffer(indices, np.int64) if indices else np.zeros(0, np.int64)
    numbers = np.frombuffer(values, dtype) if values else np.zeros(0, dtype)
    if not zero_based:
        columns = columns - 1
    shape = len(y), int(n_features)
    rows = from_arrays(np.frombuffer(indptr, np.int64), columns, numbers, shape, "csr", f"{_DOOR}: {file}")
    y = y.astype(np.int64) if whole else y
    x, _, found, reach = checked(rows, y, classes, kind, _DOOR, str(file), f"{file}, its targets,")
    return Dataset._of(x, found, file.name.split(".")[0], 1.0, reach)


def _read(line: bytes, first: int, last: int) -> tuple[bytes, tuple[list[int], list[float]]]:
    """(target, (indices, values)) of a line. Error: ValueError says what is wrong with it."""
    if len(line) == LONGEST:
        raise ValueError(f"is longer than {LONGEST} bytes; it must be a text of lines, target index:value ...")
    if (found := LINE.fullmatch(line)) is None:
        raise ValueError(_wrong(line))
    target, pairs = found.groups()
    numbers = pairs.replace(b":", b" ").split()
    try:
        values = [*map(float, numbers[1::2])]
        good = math.isfinite(float(target)) and b"_" not in target
    except ValueError:
        good = False
    if not good or not all(map(math.isfinite, values)):
        raise ValueError(_wrong(line))
    indices = [*map(int, numbers[::2])]
    if any(map(ge, indices, indices[1:])):
        at = next(at for at in range(len(indices)) if indices[at] >= indices[at + 1])
        raise ValueError(f"has the index {indices[at + 1]} after {indices[at]}; they must ascend, none twice")
    if indices and not first <= indices[0] <= indices[-1] <= last:
        bad = indices[0] if indices[0] < first else indices[-1]
        zero_based = first == 0
        raise ValueError(
            f"has the index {bad}; with zero_based={zero_based} and n_features={last + zero_based} it must be in "
            f"{first}..{last}"
        )
    return target, (indices, values)


def _wrong(line: bytes) -> str:
    """What is wrong with a line, in words."""
    words = line.partition(b"#")[0].split()
    target = words[0]
    shown = check.short(target.decode("utf-8", "replace"), 40)
    if b":" in target:
        return f"begins with {shown!r}; it must begin with a target"
    if b"," in target:
        return f"has several targets, {shown}; it must have one: lines of several labels are not read"
    if not _is_finite(target):
        return f"has the target {shown!r}; it must be a finite number"
    for word in words[1:]:
        shown = check.short(word.decode("utf-8", "replace"), 40)
        if word.startswith(b"qid:"):
            return f"has a query, {shown}; rankings are not read"
        if not PAIR.fullmatch(word) or not _is_finite(word.partition(b":")[2]):
            return f"has {shown!r}; it must be index:value, a whole number and a finite one"
    return "is not target index:value ..."


def _is_finite(word: bytes) -> bool:
    try:
        return b"_" not in word and math.isfinite(float(word))
    except ValueError:
        return False


def read_sparse_npz(path: str | os.PathLike[str]) -> Sparse:
    """The rows in a `.npz` that `scipy.sparse.save_npz` has written, of the format csr or csc: features of a Dataset.

    Such a file has no targets: `Dataset(read_sparse_npz(path), targets)`. Errors: FileNotFoundError; ValueError for a
    file that is damaged or of another format; MemoryError where its arrays take more memory than there is.
    """
    file = check.path("read_sparse_npz: path", path)
    if not file.is_file():
        what = "is no file" if file.exists() else "does not exist"
        raise (ValueError if file.exists() else FileNotFoundError)(
            f"read_sparse_npz: {file} {what}; it must be a .npz file that scipy.sparse.save_npz has written"
        )
    with open(file, "rb") as raw:
        try:
            archive = zipfile.ZipFile(raw)
        except Exception as error:  # zipfile and zlib share no class for damaged files
            raise ValueError(f"read_sparse_npz: {file} is not a whole .npz archive: {check.reason(error)}") from error
        have = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        if "format" in have:
            form = _text(read_arrays("read_sparse_npz", file, archive, ["format"], file.stat().st_size)["format"])
            if form not in ("csr", "csc"):
                raise ValueError(
                    f"read_sparse_npz: {file} is of the format {form}; it must be csr or csc: save x.tocsr()"
                )
        if missing := [key for key in KEYS if key not in have]:
            raise ValueError(
                f"read_sparse_npz: {file} has no array {missing[0]}; it must have those of scipy.sparse.save_npz, "
                f"{', '.join(KEYS)}"
            )
        found = read_arrays("read_sparse_npz", file, archive, KEYS, file.stat().st_size)
    shape = found["shape"]
    if shape.shape != (2,) or shape.dtype.kind not in "iu" or (shape < 0).any():
        raise ValueError(f"read_sparse_npz: {file} has the shape {check.shown(shape)}; it must be two whole numbers")
    indptr, indices, values = (found[key] for key in KEYS[:3])
    return from_arrays(indptr, indices, values, tuple(shape.tolist()), form, f"read_sparse_npz: {file}")


def _text(value: np.ndarray) -> str:
    """The format, which SciPy writes as bytes."""
    word = value.item() if value.size == 1 else ""
    return word.decode("ascii", "replace") if isinstance(word, bytes) else check.shown(word)
