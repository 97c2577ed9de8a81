"""Weights of inputs that a batch of sparse rows lacks owe their steps: who may, and when they are made up for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.sparse import Sparse
from ..graph import Array
from ..kernels import flushed, forms, layout, owed, steps
from ..nn import Linear
from .plan import flat_layers, trained_parameters, working
from .team import side_by_side

if TYPE_CHECKING:
    from ..nn import Layer, Module
    from ..optim import Optimizer
    from .engine import Engine

TOUCHED = 0.12  # of the inputs; where a batch has more, a step that changes all weights is the faster one
NOTHING: tuple[int, Array] = 0, np.zeros((1, 0))  # (address, table) where every step changes all weights
LAZY: tuple[int, Array] = -1, np.zeros((1, 0))  # where a step changes the weights of a batch's inputs, and nobody owes
MANY = "a batch has so many of the inputs"  # why the faster way was taken, which costs nobody anything


def begin(engine: Engine, epoch_steps: int) -> tuple[tuple[int, Array], str]:
    """((address, table) of what makes up for the steps of this epoch, why all weights are changed in each, or "")."""
    first, optimizer = engine.plan.rows[0], engine.optimizer
    slot = int(first["slot"])
    if not engine.plan.is_sparse or not engine.plan.slot_rows["trained"][slot]:
        return NOTHING, ""
    group = optimizer.param_groups[engine.groups[slot]]
    if optimizer.is_lazy(group):
        return LAZY, ""
    why = optimizer.why_swept(group)
    if touched_share(engine.batches, engine.held[1]) > TOUCHED:
        why = MANY
    elif engine.clip.on:
        why = "gradients are clipped"
    elif engine.averaging is not None:
        why = "weights are averaged after each step"
    if why:
        return NOTHING, why
    rule, options = type(optimizer), engine.options_of(engine.rates, 0, epoch_steps)[:, slot]
    table = owed.owed_table(rule.scale, rule.lift, options, int(engine.counts[slot] - engine.given), epoch_steps)
    return (forms.address(rule.owed, "owed", engine.plan.dtype), table), ""


def bring_up(engine: Engine) -> None:
    """Make up for all that is owed: somebody will look."""
    if engine.owed[0] <= 0 or (engine.seen[0] == engine.step).all():
        return
    plan, threads = engine.plan, engine.ceiling
    rates = None if engine.rates is None else engine.rates[:1]
    rule = layout.Rule(*engine.rule_at, engine.options_of(rates, 0, 1), engine.step, engine.counts, *engine.owed)
    engine.seen[1:] = engine.seen[0]
    common = threads, rule, plan.rows[:1], engine.shared(), plan.lanes, engine.all_inputs, engine.seen, engine.step
    side_by_side(_bring_all_up, [(thread, *common) for thread in range(threads)])


def why_not_lazy(model: Module, optimizer: Optimizer, rows: Any, graph: str, clipped: bool) -> str:
    """Why nothing would be lazy, where a group of the optimizer is to be, in words; else "".

    graph: why the graph runs, or "".
    """
    if not any(map(optimizer.is_lazy, optimizer.param_groups)):
        return ""
    if graph:
        return f"the graph runs, as {graph}"
    if not isinstance(rows, Sparse):
        return "the rows are dense"
    if clipped:
        return "gradients are clipped"
    first = first_layer(model)
    if first is None or not takes_columns(first):
        return f"the first layer is a {type(first).__name__} and no Linear of this package"
    lazy = {id(p) for group in optimizer.param_groups if optimizer.is_lazy(group) for p in group["params"]}
    if id(first.engine_parameters()[0]) not in lazy & {id(p) for p in trained_parameters(model, optimizer)}:
        return "none of its parameters is the weight of the first layer"
    return ""


def first_layer(model: Module) -> Layer | None:
    """The first of a Sequential that changes a number in training."""
    layers = working(flat_layers(model) or [], True)
    return layers[0][1] if layers else None


def takes_columns(layer: Layer | None) -> bool:
    """Whether a batch may lack columns that are 0: a Linear names its inputs; dropout, say, draws by their places."""
    return layer is not None and layer.form == "linear" and layer.kernels == Linear.kernels


def touched_share(batches: layout.Batches, rows: Any) -> float:
    """The part of the columns of sparse rows that a batch of the epoch may be expected to have.

    A column that a part s of the rows has is in a batch of N with the probability 1 - (1 - s)ᴺ.
    """
    stored = rows.indices[rows.indptr[0] : rows.indptr[-1]]
    share = np.bincount(stored, minlength=rows.shape[1]) / len(rows)
    with np.errstate(divide="ignore"):
        return float(-np.expm1(np.log1p(-share) * int(np.diff(batches.bounds).max(initial=1))).mean())


@flushed
def _bring_all_up(*arguments: Any) -> None:
    steps.bring_all_up(*arguments)
