"""Targets as a `Dataset` keeps them: of which kind they are, and which values their classes have."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

from .. import check
from ..check import shown

Array = np.ndarray
KINDS = ("classes", "numbers", "labels", "probabilities")
MAX_CLASSES = 1 << 31
_MANY = 20  # distinct classes that are not yet suspicious, whatever the number of rows
_EXACT = 2.0**53  # floats have all whole numbers up to it


class Targets(NamedTuple):
    """The targets of N rows, checked.

    values   (N,) int64 for classes, numbers into their values; float64 (N,) or (N, T) for numbers, (N, K) for labels
             and probabilities
    classes  how many there are; 0 for numbers and labels
    class_values  (classes,) int64, bool or str; None where they are 0 .. classes - 1
    names    of the columns, where they have any
    """

    values: Array
    kind: str
    classes: int = 0
    class_values: Array | None = None
    names: tuple[str, ...] | None = None


def read(
    y: Array,
    kind: str | None,
    classes: Any,
    where: str,
    of_y: str,
    names: tuple[str, ...] | None = None,
    categories: Array | None = None,
) -> Targets:
    """The targets that `Dataset` makes of an array, in a copy. where, of_y are words for errors.

    names: of its columns; categories: the values that its type declares, where it does.
    """
    if kind is not None and not (isinstance(kind, str) and kind in KINDS):
        raise ValueError(f"{where}: kind is {shown(kind)}; it must be one of {', '.join(map(repr, KINDS))}, or None")
    y = typed(y, where, of_y)
    kind = kind or _kind_of(y, where, of_y, names)
    count, values = _given_classes(classes, where)
    if classes is not None and kind in ("numbers", "labels"):
        what = f"has the type {y.dtype}; classes are integers, booleans or strings"
        advice = '; kind="classes" takes whole floats for classes' * (kind == "numbers")
        raise ValueError(f"{where}: classes is {shown(classes)} and {of_y} {what}{advice}")
    if kind == "classes":
        if categories is not None and classes is None:
            values = read_values(categories, f"{where}: {of_y}, its categories,")
        return _classes(y, count, values, where, of_y)
    if kind == "probabilities" and values is None and names is not None:
        values = read_values(np.array(names), f"{where}: {of_y}, the names of its columns,")
    return _columns(y, kind, count, values, where, of_y)._replace(names=names)


def _kind_of(y: Array, where: str, of_y: str, names: tuple[str, ...] | None) -> str:
    """What the type and the shape say; ValueError where they leave it open."""
    letter, has = y.dtype.kind, f"{where}: {of_y} has the shape {y.shape}"
    if letter not in "iubfUO":
        named = f"; {of_y}.astype(str) makes strings of bytes" * (letter == "S")
        must = "an integer, boolean or string type for classes, or floats for numbers"
        raise ValueError(f"{where}: {of_y} has the type {y.dtype}; it must be {must}{named}")
    if letter == "f" and (y.ndim == 1 or (y.ndim == 2 and y.shape[1])):
        return "numbers"
    if letter != "f" and y.ndim == 1:
        return "classes"
    if letter == "f" or y.ndim != 2 or not y.shape[1]:
        raise ValueError(f"{has}; it must be (N,), one class for each row, or floats (N, T)")
    if y.shape[1] == 1:
        one = ', or kind="labels" where it is one label, 0 or 1' * (letter in "iub")
        how = f"{of_y}.reshape(-1)" if names is None else f"{of_y}[{shown(names[0])}]"
        raise ValueError(f"{has}; it must be (N,), one class for each row: {how}{one}")
    if letter in "UO":
        raise ValueError(f"{has} and holds strings; it must be (N,), one class for each row")
    if len(y) and (outside := (y != 0) & (y != 1)).any():
        row = int(np.argmax(outside.any(axis=1)))
        raise ValueError(
            f"{has} and {y[row]} in row {row}; whole numbers (N, K) must be 0 and 1, labels: "
            'kind="numbers" takes them as numbers'
        )
    return "labels"


def typed(y: Array, where: str, of_y: str) -> Array:
    """The array itself; of objects that are all booleans or numbers an array of their type.

    Strings stay objects: one long string among many would make the others as long. Error: ValueError for what is
    missing, for objects of several kinds, and for others.
    """
    if y.dtype.kind not in "OT":
        return y
    y = y.astype(object)
    values = y.reshape(-1).tolist()
    columns = y.size // len(y) if y.ndim and len(y) else 1
    for at, value in enumerate(values):
        if is_missing(value):
            raise ValueError(f"{where}: {of_y} has {shown(value)} in row {at // columns}; none may be missing")
    kinds = {type(value) for value in values}
    if all(issubclass(kind, str) for kind in kinds):
        return y
    if all(issubclass(kind, bool | np.bool_) for kind in kinds):
        return y.astype(bool)
    if all(issubclass(kind, Real) and kind is not bool for kind in kinds):
        whole = all(issubclass(kind, Integral) for kind in kinds)
        try:
            return y.astype(np.int64 if whole else np.float64)
        except OverflowError as error:
            raise ValueError(
                f"{where}: {of_y} has a number that is too large for {'int64' if whole else 'float64'}"
            ) from error
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise ValueError(f"{where}: {of_y} holds objects of the type {names}; it must hold numbers, booleans or strings")


def is_missing(value: Any) -> bool:
    """Whether it is None, NaN, or what pandas has in its place."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _given_classes(classes: Any, where: str) -> tuple[int | None, Array | None]:
    """(their number, their values) as given; None for what is not."""
    must = "it must be an integer, the class values, or None"
    if classes is None:
        return None, None
    if isinstance(classes, Integral) and not isinstance(classes, bool):
        if not 1 <= int(classes) <= MAX_CLASSES:
            raise ValueError(f"{where}: classes is {shown(classes)}; it must be in 1..{MAX_CLASSES}")
        return int(classes), None
    if isinstance(classes, str | bool | float) or not hasattr(classes, "__len__"):
        raise TypeError(f"{where}: classes is {shown(classes)}; {must}")
    values = read_values(check.array(f"{where}: classes", classes, "class values"), f"{where}: classes")
    return len(values), values


def read_values(values: Array, what: str) -> Array:
    """The values of classes, checked: (C,) int64, bool or str, no two the same. what: a word for errors."""
    values = typed(values, *what.split(": ", 1))
    if values.dtype.kind == "O":
        values = values.astype(str)
    if values.ndim != 1 or not values.size or values.dtype.kind not in "iubU":
        raise ValueError(
            f"{what} is an array {values.shape} {values.dtype}; it must be a number, or class values (C,): integers, "
            "booleans or strings"
        )
    if values.dtype.kind in "iu":
        if values.dtype.kind == "u" and values.max() > np.iinfo(np.int64).max:
            raise ValueError(f"{what} has {values.max()}; a class must be below 2**63")
        values = values.astype(np.int64)
    distinct, count = np.unique(values, return_counts=True)
    if len(distinct) != len(values):
        raise ValueError(f"{what} has {shown(distinct.tolist()[int(count.argmax())])} more than once")
    return values


def is_plain(values: Array | None) -> bool:
    """Whether class values are 0 .. C - 1, which needs no table."""
    return values is None or (values.dtype.kind == "i" and np.array_equal(values, np.arange(len(values))))


def _classes(y: Array, count: int | None, values: Array | None, where: str, of_y: str) -> Targets:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y.reshape(-1)
    if y.ndim != 1:
        how = f": {of_y}.argmax(axis=1) of one-hot rows" * (y.ndim == 2 and y.dtype.kind in "iubf")
        raise ValueError(f"{where}: {of_y} has the shape {y.shape}; it must be (N,), one class for each row{how}")
    if y.dtype.kind == "f":
        y = whole(y, where, of_y)
    if y.dtype.kind not in "iubUO":
        raise ValueError(f"{where}: {of_y} has the type {y.dtype}; classes are whole numbers, booleans or strings")
    if values is None and y.dtype.kind in "iu" and (count is not None or y.min() == 0):
        return _plain(y, count, where, of_y)
    if count is not None and values is None:
        held = "booleans" if y.dtype.kind == "b" else "strings"
        raise ValueError(f"{where}: classes is {count} and {of_y} holds {held}; leave it out, or give the class values")
    distinct, at = distinct_values(y)
    if values is None:
        values = np.array([False, True]) if y.dtype.kind == "b" else read_values(distinct, f"{where}: {of_y}")
        if len(distinct) > max(_MANY, len(y) // 2):
            check.warn(
                f"{where}: {of_y} has {len(distinct):,} distinct values in {len(y):,} rows, each of them a class"
                + ('; kind="numbers" takes them as numbers' if y.dtype.kind in "iu" else "")
            )
    numbers = places(distinct, values)
    if (numbers < 0).any():
        refuse_unknown(distinct, numbers, at, values, f"{where}: {of_y}")
    return Targets(numbers[at], "classes", len(values), None if is_plain(values) else values)


def _plain(y: Array, count: int | None, where: str, of_y: str) -> Targets:
    """Labels that are the numbers of their classes, 0 .. count - 1."""
    low, high, limit = int(y.min()), int(y.max()), count or MAX_CLASSES
    if low < 0 or high >= limit:
        row = int(np.argmax((y < 0) | (y >= limit)))
        advice = "" if count is None else "; without classes, or with their values as classes, any whole numbers are"
        raise ValueError(f"{where}: {of_y} has the label {y[row]} in row {row}; it must be in 0..{limit - 1}{advice}")
    return Targets(np.array(y, np.int64, order="C"), "classes", count or high + 1)


def whole(y: Array, where: str, of_y: str) -> Array:
    """Floats that are whole numbers, as int64. Error: ValueError names the first that is not."""
    with np.errstate(invalid="ignore"):
        bad = ~((np.rint(y) == y) & (np.abs(y) <= _EXACT))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"{where}: {of_y} has {y[row]} in row {row}; classes are whole numbers, booleans or strings")
    return y.astype(np.int64)


def distinct_values(y: Array) -> tuple[Array, Array]:
    """(the distinct values, sorted; which of them each row has). Of objects, all strings, without long copies."""
    if y.dtype.kind != "O":
        distinct, at = np.unique(y, return_inverse=True)
        return distinct, at.reshape(-1)
    rows = y.tolist()
    values = sorted(set(rows))
    table = {value: place for place, value in enumerate(values)}
    return np.array(values, str), np.array([table[value] for value in rows], np.int64)


def places(values: Array, class_values: Array) -> Array:
    """Where each of `values` stands in `class_values`, int64; -1 where it does not. True is 1; "1" is not."""
    table = {value: place for place, value in enumerate(class_values.tolist())}
    return np.array([table.get(value, -1) for value in values.tolist()], np.int64)


def same(t: Targets, values: Array) -> bool:
    """Whether targets are numbered by these class values already."""
    if t.class_values is None:
        return len(values) == t.classes and is_plain(values)
    return t.class_values.dtype.kind == values.dtype.kind and np.array_equal(t.class_values, values)


def renumbered(t: Targets, values: Array, what: str) -> Targets:
    """The same classes as numbers into other values. Error: ValueError names one that is not among them."""
    present, at = np.unique(t.values, return_inverse=True)
    distinct = present if t.class_values is None else t.class_values[present]
    numbers = places(distinct, values)
    if (numbers < 0).any():
        refuse_unknown(distinct, numbers, at, values, what)
    return Targets(numbers[at.reshape(-1)], "classes", len(values), None if is_plain(values) else values)


def together(train: Targets, test: Targets, where: str, of_test: str) -> tuple[Targets, Targets]:
    """Two sets of one problem with their classes numbered alike.

    0 .. the largest label of both where those of the training set are numbers from 0 on, else all values of both.
    """
    if train.class_values is None and test.class_values is not None and test.class_values.dtype.kind == "i":
        test = _plain(test.class_values[test.values], None, where, of_test)
    if train.class_values is None and test.class_values is None:
        count = max(train.classes, test.classes)
        return train._replace(classes=count), test._replace(classes=count)
    sets = [np.arange(t.classes) if t.class_values is None else t.class_values for t in (train, test)]
    if len({values.dtype.kind for values in sets}) > 1:
        kinds = [values.dtype.name.rstrip("0123456789") for values in sets]
        raise ValueError(f"{where}: {of_test} has classes of the type {kinds[1]}; the training set's are {kinds[0]}")
    values = np.union1d(*sets)
    return renumbered(train, values, ""), renumbered(test, values, "")


def refuse_unknown(distinct: Array, numbers: Array, at: Array, class_values: Array, what: str) -> None:
    """Raise the ValueError for values of which `numbers` says -1; `at` says which value each row has."""
    unknown = int(np.argmax(numbers < 0))
    row = int(np.argmax(at == unknown))
    value = distinct.tolist()[unknown]
    raise ValueError(f"{what} has the class {shown(value)} in row {row}; the classes are {in_words(class_values)}")


def in_words(class_values: Array, most: int = 8) -> str:
    """The values in a sentence: 'ann', 'bob'; -1, 1; 0 .. 9."""
    if is_plain(class_values) and len(class_values) > 2:
        return f"0 .. {len(class_values) - 1}"
    some = ", ".join(shown(value) for value in class_values[:most].tolist())
    return some + f", ... ({len(class_values):,})" * (len(class_values) > most)


def _columns(y: Array, kind: str, count: int | None, values: Array | None, where: str, of_y: str) -> Targets:
    """Numbers (N,) or (N, T), labels (N, K), probabilities (N, K)."""
    if y.dtype.kind not in "iubf":
        raise ValueError(f"{where}: {of_y} has the type {y.dtype}; {kind} are floats, integers or booleans")
    if kind == "labels" and y.ndim == 1:
        y = y.reshape(-1, 1)  # one label
    least = {"numbers": (1, 1), "labels": (2, 1), "probabilities": (2, 2)}[kind]
    if not least[0] <= y.ndim <= 2 or (y.ndim == 2 and y.shape[1] < least[1]):
        must = {"numbers": "(N,) or (N, T)", "labels": "(N, K)", "probabilities": "(N, K) with K of at least 2"}[kind]
        raise ValueError(f"{where}: {of_y} has the shape {y.shape}; {kind} must be {must}")
    t = np.array(y, np.float64, order="C")
    if not (finite := np.isfinite(t).reshape(len(t), -1).all(axis=1)).all():
        row = int(np.argmin(finite))
        raise ValueError(f"{where}: {of_y} has {t[row]} in row {row}; it must be finite")
    if kind == "labels":
        good, must = ((t == 0) | (t == 1)).all(axis=1), "labels are 0 and 1"
    elif kind == "probabilities":
        good, must = (t >= 0).all(axis=1) & (np.abs(t.sum(axis=1) - 1) <= 1e-6), "each row must be >= 0 and sum to 1"
    else:
        return Targets(t, kind)
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(f"{where}: {of_y} has {t[row]} in row {row}; {must}")
    if kind == "labels":
        return Targets(t, kind)
    if count is not None and count != t.shape[1]:
        raise ValueError(f"{where}: classes is {count}; {of_y} has {t.shape[1]} columns, a probability each")
    return Targets(t, kind, t.shape[1], None if is_plain(values) else values)
