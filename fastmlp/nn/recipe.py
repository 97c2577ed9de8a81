"""What a model computes in prediction, as a few plain steps that any language can write: the exports read it.

Each layer's declaration says which step it is: Linear is a product, a layer with a `formula` works number by number or
row by row, one of the form "nothing" is none. A step that is a v + b joins the product beside it (batch norm does).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..graph import Array
from . import formula
from .layer import Layer
from .linear import Linear
from .mlp import features_of
from .module import Module, Sequential


class Dense(NamedTuple):
    """y = x weightᵀ + bias.    weight: (out, in)  bias: (out,), zeros where the layer has none"""

    weight: Array
    bias: Array

    @property
    def columns(self) -> int:
        """How many numbers come out for a row."""
        return len(self.weight)


class Formula(NamedTuple):
    """y[c] = the tree's value for v = x[c], and entry c of the arrays as l.<name>; the layer's numbers stand in it."""

    kind: str  # of the layer
    tree: formula.Tree
    arrays: dict[str, Array]  # each (columns,)
    columns: int

    @property
    def of_row(self) -> bool:
        """Whether the tree names the mean or the variance of the row."""
        return formula.of_row(self.tree)


Step = Dense | Formula


def steps(model: Module, fold: bool = True) -> list[Step]:
    """The steps of a Sequential in evaluation mode, their arrays copies of the model's dtype.

    fold: whether steps that are a v + b join the products beside them, computed in float64
    Error: ValueError names the layer that has no formula, as the end of a sentence on the model.
    """
    layers = model.flat() if isinstance(model, Sequential) else None
    if layers is None:
        raise ValueError(f"{type(model).__name__} computes in a way of its own; it must be a Sequential of layers")
    found: list[Step] = []
    columns = features_of(model)
    if columns is None:
        raise ValueError("the model has no Linear layer, so nothing says how many numbers a row has")
    for place, layer in enumerate(layers):
        own = isinstance(layer, Layer) and layer.runs_on_engine()
        if not isinstance(layer, Layer) or not own or not (layer.passes or layer.formula or isinstance(layer, Linear)):
            raise ValueError(f"layer {place} is {type(layer).__name__}, whose declaration has no formula")
        columns = layer.columns(columns, place)
        if isinstance(layer, Linear):
            bias = np.zeros(len(layer.weight.data), layer.weight.dtype) if layer.bias is None else layer.bias.data
            found.append(Dense(layer.weight.data.copy(), np.array(bias)))
        elif not layer.passes:
            arrays = {name: np.broadcast_to(array, columns).copy() for name, array in layer.formula_arrays().items()}
            numbers = {name: float(getattr(layer, name)) for name in layer.numbers}
            tree = formula.bound(layer.tree, numbers)
            found.append(Formula(type(layer).__name__, tree, arrays, columns))
    return folded(found) if fold else found


def folded(steps: list[Step]) -> list[Step]:
    """The same function in fewer steps: a Formula that is a v + b is multiplied into the Dense before or behind it."""
    found: list[Step] = []
    waiting: tuple[Array, Array] | None = None  # a v + b, to join the Dense that comes next
    for at, step in enumerate(steps):
        before, behind = found[-1] if found else None, steps[at + 1] if at + 1 < len(steps) else None
        if isinstance(step, Formula):
            line = formula.affine(step.tree, step.arrays)
            if line is not None and isinstance(before, Dense):
                a, b = line
                wide = before.weight.astype(np.float64) * np.broadcast_to(a, step.columns)[:, None]
                found[-1] = _dense(wide, before.bias * a + b, before.weight.dtype)
                continue
            if line is not None and isinstance(behind, Dense):
                waiting = (np.broadcast_to(line[0], step.columns), np.broadcast_to(line[1], step.columns))
                continue
        elif waiting is not None:
            a, b = waiting
            wide = step.weight.astype(np.float64)
            step, waiting = _dense(wide * a, step.bias + wide @ b, step.weight.dtype), None
        found.append(step)
    return found


def _dense(weight: Array, bias: Array, dtype: Any) -> Dense:
    return Dense(np.ascontiguousarray(weight, dtype), np.ascontiguousarray(bias, dtype))
