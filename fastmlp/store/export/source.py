"""What every export is written from: the steps of a model, and what goes in and what comes out, read from it once."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from ... import check
from ...check import shown
from ...data import Encoding
from ...data.features import checked_scale
from ...nn import Module, formula, recipe
from ...nn.layer import declares


@dataclass(frozen=True)
class Source:
    """A model as plain data.

    steps        what turns a row of features into outputs, batch norm folded in; arrays of `dtype`
    dtype        float32 or float64
    features     D, how many numbers the first step takes
    scale        what raw features are multiplied by before it; 1 for a table
    encoding     how the columns of a table become features, or None
    columns      C, how many outputs there are
    kind         "classes": the largest output's; "labels": each where its output is above 0; "numbers"
    classes      of "classes": what each output stands for, whole numbers, truths or texts; 0 .. C - 1 where None
    temperature  what logits are divided by for probabilities: softmax of "classes", sigmoid of "labels"
    picked       of "numbers": the outputs that are taken for the prediction
    predicted    of "numbers": what is made of each of them, a formula of v
    """

    steps: tuple[recipe.Step, ...]
    dtype: np.dtype[Any]
    features: int
    scale: float
    encoding: Encoding | None
    columns: int
    kind: str
    classes: list[Any] | None
    temperature: float
    picked: tuple[int, ...]
    predicted: formula.Tree

    @property
    def labels(self) -> list[Any]:
        """The value of each class: `classes`, or their numbers."""
        found = list(range(self.columns)) if self.classes is None else self.classes
        return found + found[-1:] * (self.columns - len(found))  # an estimator of one class has two outputs


def source(model: Any, where: str, scale: float = 1.0) -> Source:
    """The Source of a Sequential of declared layers.    where: the caller, for errors; scale: that of the data set

    model: it may be a fitted estimator, whose `to_module` makes it
    Errors: TypeError for what is no model; ValueError for a layer or a loss without a formula, and for numbers that are
    not finite.
    """
    given = type(model).__name__
    model = model.to_module() if hasattr(model, "to_module") else model
    if not isinstance(model, Module):
        raise TypeError(f"{where}: model is {given}; it must be a fastmlp.nn.Module, or a fitted estimator of fastmlp")
    for name, array in model.state_dict().items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{where}: {name} of the model has {array[~np.isfinite(array)][0]}; all must be finite")
    if model.encoding_ is not None and scale != 1:
        raise ValueError(
            f"{where}: scale is {shown(scale)}; the model of a table scales its columns itself: it must be 1"
        )
    try:
        steps = recipe.steps(model)
    except ValueError as error:
        raise ValueError(f"{where}: the model cannot be exported: {error}") from None
    first = next(step for step in steps if isinstance(step, recipe.Dense))
    features, columns = first.weight.shape[1], steps[-1].columns
    loss, tree = model.loss_, formula.parse("v", ())
    kinds = getattr(loss, "kinds", ())
    kind = "labels" if "labels" in kinds else "numbers" if "numbers" in kinds else "classes"
    picked = range(columns)
    if kind == "numbers":
        if not declares(loss, "predicted", "formula", "picked"):
            name = type(loss).__name__
            raise ValueError(f"{where}: {name} makes its predictions in Python, and declares no formula of them")
        numbers = {name: float(getattr(loss, name)) for name in loss.numbers}
        tree = formula.bound(formula.parse(loss.formula, loss.numbers), numbers)
        picked = picked[loss.picked(columns)]
        steps = _in_units(steps, model.encoding_, columns, tree, where)
    if kind == "classes" and columns == 1 and loss is None:
        kind = "numbers"
    return Source(
        tuple(steps), first.weight.dtype, features, checked_scale(scale, np.float32, where), model.encoding_,
        columns, kind, None if model.classes_ is None else np.asarray(model.classes_).tolist(),
        float(model.temperature_), tuple(picked), tree,
    )  # fmt: skip


def _in_units(steps: list[recipe.Step], encoding: Encoding | None, columns: int, tree: Any, where: str) -> list[Any]:
    """The steps with outputs in the unit of a table's targets, z std + mean, where the training had them scaled."""
    if encoding is None or not encoding.scales_targets:
        return steps
    if tree != formula.parse("v", ()):
        raise ValueError(
            f"{where}: the loss has scaled targets, and a formula of its predictions; it may have one of both"
        )
    each = columns // len(encoding.target_mean)  # outputs of a target, such as its quantiles
    arrays = {name: np.repeat(np.array(values, np.float64), each)
              for name, values in (("mean", encoding.target_mean), ("std", encoding.target_std))}  # fmt: skip
    units = recipe.Formula("Units", formula.parse("v * l.std + l.mean", ("std", "mean")), arrays, columns)
    return recipe.folded([*steps, units])


def title(made: Source) -> str:
    """What a file says of itself: what it is, of which widths, and of which dtype."""
    widths = [made.features, *(step.columns for step in made.steps if isinstance(step, recipe.Dense))]
    return f"A network of fastmlp, {'-'.join(map(str, widths))}, {made.dtype}"


def resource(name: str) -> str:
    """The text of a file beside this one, out of which an export is made."""
    return (files(__package__) / name).read_text("utf-8")


def place(where: str, path: Any) -> Path:
    """The file that an export is written to. Errors: TypeError for no path; ValueError where no file can be there."""
    found = check.path(where, path)
    if not found.parent.is_dir():
        raise ValueError(f"{where} is {found}; {found.parent} is no folder")
    if found.exists() and not found.is_file():
        what = "a folder" if found.is_dir() else "a device"
        raise ValueError(f"{where} is {found}, {what}; it must be the name of a file")
    return found
