"""Targets fitted to a loss and a model before the first step: their kind, the numbers of their classes, weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import check
from ..check import shown
from ..data import Dataset
from ..data.targets import in_words, is_plain, places
from ..graph import Array
from ..nn import Loss, Module
from ..running import door
from ..running.trust import check_kind, kinds_of


def as_taken(caller: str, loss: Loss, data: Dataset, what: str = "data") -> tuple[Dataset, str]:
    """(the data as the loss takes them, a line for a person or an empty text).

    Floats that are whole numbers become classes where the loss takes those and no numbers. Error: ValueError for
    another kind than it takes.
    """
    kinds, line = kinds_of(loss), ""
    if data.kind == "numbers" and "classes" in kinds and "numbers" not in kinds and data.has_whole_targets():
        data = data.as_kind("classes")
        line = f"the targets are floats, all of them whole; {type(loss).__name__} takes them for classes"
        line += f", 0 .. {data.classes - 1}" * (data.class_values is None)
    check_kind(caller, loss, data, what)
    return data, line


def numbered(
    caller: str, model: Module, data: Dataset, outputs: int | None, what: str = "data"
) -> tuple[Dataset, Array | None]:
    """(the data with classes numbered as the outputs are, the values of the outputs; None for 0 .. C - 1).

    The outputs of a model that was fitted are the classes that it has, `classes_`, where all these rows are of them;
    else the data's own. outputs: how many there are, where that is known. Whole numbers below it are those of outputs
    where there are more outputs than classes. Error: ValueError where there are not as many of both.
    """
    own, known = data.class_values, model.classes_
    if data.kind != "classes":
        return data, own
    if known is not None and outputs in (None, len(known)) and data.has_classes_among(known):
        return data.encoded(known), None if is_plain(known) else known
    if own is None or outputs in (None, len(own)):
        return data, own
    assert outputs is not None
    if own.dtype.kind == "i" and own.min() >= 0 and own.max() < outputs:
        return data.encoded(np.arange(outputs)), None
    advice, some = "", f"{outputs} output{'s' * (outputs != 1)}"
    if outputs == 1:
        advice = '; kind="numbers" takes them as numbers' if own.dtype.kind == "i" else ""
        advice = '; kind="labels" takes them as one label' if own.dtype.kind == "b" else advice
    raise ValueError(
        f"{caller}: {what} has {len(own)} classes, {in_words(own)}; the model has {some}, they must be as many{advice}"
    )


def as_asked(caller: str, model: Module, data: Dataset) -> tuple[Dataset, Array | None]:
    """The same for a model that is asked: by the classes that it has, and no others.

    Whole numbers are those of outputs where it has none: who has trained it another way may set `classes_`. Names are
    numbered in their own order then.
    """
    known, own = model.classes_, data.class_values
    if known is not None or own is None or data.kind != "classes":
        return numbered_alike(caller, data, known, None, "data"), own if known is None else known
    outputs = door.count_outputs(caller, model, data, 1)
    if own.dtype.kind != "i":
        return numbered(caller, model, data, outputs)
    try:
        return data.encoded(np.arange(outputs or own.max() + 1), f"{caller}: data"), None
    except ValueError as error:
        raise ValueError(f"{error}, as model.classes_ is not set") from None


def numbered_alike(caller: str, data: Dataset, values: Array | None, outputs: int | None, what: str) -> Dataset:
    """The data with classes numbered by these values, of a training; None: 0 .. outputs - 1.

    Error: ValueError names a class that is not among them.
    """
    if data.kind != "classes" or (values is None and data.class_values is None):
        return data
    return data.encoded(np.arange(outputs or data.classes) if values is None else values, f"{caller}: {what}")


def row_weights(data: Dataset, rows: Array, class_weight: Any, loss: Loss, outputs: int | None) -> Array | None:
    """(N,) what each row counts in the loss, sample_weight · the weight of its class; None where class_weight is.

        "balanced"  n / (C n_c),  n rows, of them n_c of the class c, and C classes that have rows; with sample_weight
                    their sums in place of their numbers
        a dict      weights by class value; 1 for a class that is not in it

    rows: those that are trained on. Errors: ValueError, TypeError for another class_weight, for targets that are no
    classes, and beside weights of classes that the loss has. Source: scikit-learn's documentation of class_weight.
    """
    if class_weight is None:
        return None
    if data.kind != "classes":
        raise ValueError(f"fit: class_weight is for classes; the targets are {data.kind}")
    if getattr(loss, "weight", None) is not None:
        raise ValueError(f"fit: class_weight is given, and {type(loss).__name__} has a weight too; one of them may be")
    own = np.ones(len(data)) if data.sample_weight is None else data.sample_weight
    classes = max(data.classes, outputs or 0)
    if isinstance(class_weight, str) and class_weight == "balanced":
        counts = np.bincount(data.labels[rows], own[rows], classes)
        there = counts > 0
        by_class = np.where(there, counts.sum() / (max(there.sum(), 1) * np.where(there, counts, 1)), 1.0)
    elif isinstance(class_weight, Mapping):
        values = np.arange(classes) if data.class_values is None else data.class_values
        by_class = np.ones(classes)
        for key, weight in class_weight.items():
            place = places(np.array([key], object), values)[0] if isinstance(key, str | int | np.generic) else -1
            if place < 0:
                raise ValueError(f"fit: class_weight has the class {shown(key)}; the classes are {in_words(values)}")
            check.number(f"fit: class_weight of {shown(key)}", weight, 0)
            by_class[place] = weight
    else:
        raise TypeError(
            f'fit: class_weight is {shown(class_weight)}; it must be "balanced", a dict of weights by class, or None'
        )
    weights: Array = own * by_class[data.labels]
    if not weights[rows].any():
        raise ValueError("fit: class_weight is 0 for all rows to train on; one at least must count")
    return weights


def lines(data: Dataset, rows: Array, classes: int) -> list[str]:
    """What a person should know of the targets: which classes outputs are, classes without rows, one-hot rows."""
    said = []
    if data.kind == "classes":
        values = data.class_values
        if values is not None:
            said.append(f"the outputs are the classes {in_words(values)}")
        if missing := _missing(data.labels[rows], classes, values):
            said.append(missing)
    if data.kind == "labels" and data.targets.shape[1] > 1 and (data.targets.sum(axis=1) == 1).all():
        said.append(
            "each row has one label that is 1: where a row is of one class, targets.argmax(axis=1) are classes, and "
            "CrossEntropyLoss trains on them"
        )
    return said


def _missing(labels: Array, classes: int, values: Array | None) -> str:
    """A line where no row is of a class, or where there is one class only; else an empty text."""
    if classes == 1:
        return f"there is one class, {0 if values is None else repr(values.tolist()[0])}: nothing to tell apart"
    absent = np.flatnonzero(np.bincount(labels, minlength=classes) == 0)
    if not len(absent):
        return ""
    names = absent[:8].tolist() if values is None else values[absent[:8]].tolist()
    shown = ", ".join(map(repr, names)) + ", ..." * (len(absent) > 8)
    which = f"the class {shown}" if len(absent) == 1 else f"{len(absent):,} of the {classes:,} classes: {shown}"
    return f"no training row has {which}"
