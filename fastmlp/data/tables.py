"""A table becomes a training set, and what is set aside of it: CSV, Parquet, frames of pandas and polars."""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from .. import check
from .columns import raw_columns, read_frame
from .dataset import Dataset, held_rows
from .encoding import Encoding, learn, made, spread, target_of, weights_in
from .frames import is_frame, library, named_columns, weight_of
from .targets import KINDS, read, together

_DOOR = "table"


def table(
    data: Any,
    target: str | Sequence[str],
    *,
    test: Any = None,
    validation: float = 0.0,
    seed: int = 0,
    kind: str | None = None,
    drop: Sequence[str] = (),
    categorical: Sequence[str] = (),
    missing: Sequence[str] = (),
    max_categories: int = 100,
    sample_weight: str | None = None,
) -> tuple[Dataset, Dataset | None]:
    """`(train, test)` from a table whose column `target` is to be predicted; test is None where none is asked for.

    data        the path of a CSV or Parquet file, read with polars or pandas; or a frame of theirs
    target      the name of a column, or the names of several
    test        how many rows are set aside as test set, a fraction or a count; or another table, with the same target
    validation  the same for a validation set, of the rest: `fit(model, train, validation=train.validation)`
    seed        of which rows those are
    kind        of the targets, as `Dataset` has it: "classes", "numbers", "labels". None: as their type says
    drop        columns that are left out
    categorical  columns of numbers that are categories, such as codes; texts are anyway
    missing     what stands for nothing in a CSV, beside an empty place, NA, N/A, NaN and null: ("?",)
    max_categories  most values of a category; a column of more, a name or an id, is refused
    sample_weight   the name of a column of numbers >= 0, how much each row counts in losses and scores; no feature

    Numbers are scaled and categories become features as `Encoding` says, by what the training rows are, without those
    that are set aside. `train.encoding` has it; `fit` hands it to the model, and `save` keeps it. Targets that are
    numbers stay in the data set as they are; `fit` scales them, where the loss allows it, and all that a person sees is
    in their own unit again, but for the loss.

    Errors: FileNotFoundError; NotInstalledError without polars and pandas; ValueError names a column that is not
    there, holds dates or other things, has too many categories, and the row in which the target is missing.
    """
    names = (target,) if isinstance(target, str) else _texts("target", target, "the name of a column, or several")
    if not names:
        raise TypeError(f"{_DOOR}: target is {check.shown(target)}; it must be the name of a column, or several")
    if sample_weight is not None and (not isinstance(sample_weight, str) or sample_weight in names):
        what = "it is the target" if sample_weight in names else "it must be the name of a column, or None"
        raise ValueError(f"{_DOOR}: sample_weight is {check.shown(sample_weight)}; {what}")
    if kind is not None and not (isinstance(kind, str) and kind in KINDS):
        raise ValueError(f"{_DOOR}: kind is {check.shown(kind)}; it must be one of {', '.join(KINDS)}, or None")
    drop, categorical, missing = (
        _texts(word, given) for word, given in (("drop", drop), ("categorical", categorical), ("missing", missing))
    )
    lists = {"drop": drop, "categorical": categorical, "missing": missing}
    other = test is not None and not isinstance(test, Real)
    if other and not isinstance(test, str | os.PathLike) and not (library(test) and is_frame(test)):
        what = "it must be a fraction, a number of rows, a path or a frame of pandas or polars"
        raise TypeError(f"{_DOOR}: test is {check.shown(test)}; {what}")
    check.whole(f"{_DOOR}: max_categories", max_categories, 1)
    texts = [name for name in categorical if name not in names]
    frame = _frame(data, texts, missing)
    named = [name for name, _ in named_columns(frame, _DOOR)]
    for word in ("drop", "categorical"):
        if lacks := [name for name in lists[word] if name not in named]:
            has = check.short(", ".join(named), 300)
            raise ValueError(f"{_DOOR}: {word} has {check.shown(lacks[0])}; the table has {has}")
    y, columns, categories = target_of(frame, names, _DOOR)
    t = read(y, kind, None, _DOOR, f"column {check.short(', '.join(names))}", columns, categories)
    weights = weights_in(frame, sample_weight, _DOOR)
    raws = raw_columns(frame, _DOOR, {*names, *drop, *([] if sample_weight is None else [sample_weight])})
    if not raws:
        beside = "the target" if sample_weight is None else "the target and the weights"
        raise ValueError(f"{_DOOR}: the table has no column beside {beside}; it must have at least 1")
    train_rows, test_rows = np.arange(len(y)), np.zeros(0, np.int64)
    if test is not None and not other:
        train_rows, test_rows = held_rows(len(y), test, seed, f"{_DOOR}: test")
    held = np.zeros(0, np.int64)
    if validation is not None and not (isinstance(validation, Real) and validation == 0):
        rest, held = held_rows(len(train_rows), validation, seed, f"{_DOOR}: validation")
        train_rows, held = train_rows[rest], train_rows[held]
    learned = learn(raws, train_rows, categorical, max_categories, _DOOR)
    if not learned:
        raise ValueError(f"{_DOOR}: no column has a value in the training rows")
    scale: list[tuple[float, ...]] = [(), ()]
    if t.kind == "numbers":
        scale = list(zip(*map(spread, t.values[train_rows].reshape(len(train_rows), -1).T), strict=True))
    encoding = Encoding(tuple(learned), names, t.kind, tuple(missing), scale[0], scale[1], sample_weight)

    def part(rows: np.ndarray, what: str) -> Dataset:
        some = {name: raw._replace(values=raw.values[rows]) for name, raw in raws.items()}
        x = encoding._features(some, len(rows), f"{_DOOR}: {what} set")
        of = f"{_DOOR}: {f'{what} set' if what else 'data'}"
        own = None if weights is None else weight_of(weights[rows], len(rows), of, "sample_weight")
        return made(x, t._replace(values=t.values[rows]), f"{name} {what}".strip(), encoding, own)

    name = Path(data).name.split(".")[0] if not library(data) else "table"
    test_set = None
    if other:
        second = encoding.frame(test, _DOOR)
        y, columns, categories = target_of(second, names, f"{_DOOR}: test set")
        t_test = read(y, t.kind, None, _DOOR, "the test set's target", columns, categories)
        if t.kind == "classes":
            t, t_test = together(t, t_test, _DOOR, "the test set")
        own = weights_in(second, sample_weight, f"{_DOOR}: test set")
        test_set = made(encoding.apply(second, f"{_DOOR}: test set"), t_test, f"{name} test", encoding, own)
    elif len(test_rows):
        test_set = part(test_rows, "test")
    train = part(train_rows, "train" if test_set is not None or len(held) else "")
    train.validation = part(held, "validation") if len(held) else None
    if not library(data) and not (other and library(test)):
        options = {"target": list(names), "seed": int(seed), "kind": kind, "max_categories": int(max_categories)}
        options |= {"sample_weight": sample_weight}
        options |= {word: list(given) for word, given in lists.items()}
        numbers = {name: np.asarray(value).tolist() for name, value in (("test", test), ("validation", validation))}
        options |= numbers | ({"test": str(Path(test).absolute())} if other else {})
        for at, rows in enumerate((train, test_set, train.validation)):
            if rows is not None:
                rows.source = {"path": str(Path(data).absolute()), "options": options, "set": at}
    return train, test_set


def _texts(word: str, given: Any, must: str = "a list of texts") -> tuple[str, ...]:
    """The texts of a list. Error: TypeError for anything else."""
    found = tuple(given) if check.listed(given) else (None,)
    if not all(isinstance(text, str) for text in found):
        raise TypeError(f"{_DOOR}: {word} is {check.shown(given)}; it must be {must}")
    return found


def _frame(data: Any, texts: Sequence[str], missing: Sequence[str]) -> Any:
    """The frame that is given, or is in a file. Error: TypeError for neither."""
    if library(data) and is_frame(data):
        return data
    if not isinstance(data, str | os.PathLike):
        raise TypeError(f"{_DOOR}: data is {type(data).__name__}; it must be a path, or a frame of pandas or polars")
    return read_frame(data, _DOOR, texts, missing)
