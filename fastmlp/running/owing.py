"""Weights of inputs that a batch of sparse rows lacks owe their steps: who may, and when they are made up for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..graph import Array
from ..graph.operation import flushed
from ..kernels import forms, layout, owed, steps
from .team import side_by_side

if TYPE_CHECKING:
    from .engine import Engine

TOUCHED = 0.12  # of the inputs; where a batch has more, a step that changes all weights is the faster one
NOTHING: tuple[int, Array] = 0, np.zeros((1, 0))  # (address, table) where every step changes all weights


def begin(engine: Engine, epoch_steps: int) -> tuple[tuple[int, Array], str]:
    """((address, table) of what makes up for the steps of this epoch, why all weights are changed in each, or "")."""
    first, optimizer = engine.plan.rows[0], engine.optimizer
    slot = int(first["slot"])
    if not engine.plan.is_sparse or first["alone"] or not engine.plan.slot_rows["trained"][slot]:
        return NOTHING, ""
    why = optimizer.why_swept(optimizer.param_groups[engine.groups[slot]])
    if engine.clip.on:
        why = "gradients are clipped"
    elif engine.averaging is not None:
        why = "weights are averaged after each step"
    elif touched_share(engine.batches, engine.held[1]) > TOUCHED:
        why = "a batch has so many of the inputs"
    if why:
        return NOTHING, why
    rule, options = type(optimizer), engine.options_of(engine.rates, 0, epoch_steps)[:, slot]
    table = owed.owed_table(rule.scale, rule.lift, options, int(engine.counts[slot] - engine.given), epoch_steps)
    return (forms.address(rule.owed, "owed", engine.plan.dtype), table), ""


def bring_up(engine: Engine) -> None:
    """Make up for all that is owed: somebody will look."""
    if not engine.owed[0]:
        return
    plan, weights, threads = engine.plan, engine.weights, engine.ceiling
    rates = None if engine.rates is None else engine.rates[:1]
    rule = layout.Rule(*engine.rule_at, engine.options_of(rates, 0, 1), engine.step, engine.counts, *engine.owed)
    shared = layout.Buffers(
        weights.p, engine.g, *engine.arrays, weights.state, engine.kept_state, engine.act, engine.dact
    )  # fmt: skip
    engine.seen[1:] = engine.seen[0]
    common = threads, rule, plan.rows[:1], shared, plan.lanes, engine.all_inputs, engine.seen, engine.step
    side_by_side(_bring_all_up, [(thread, *common) for thread in range(threads)])


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
