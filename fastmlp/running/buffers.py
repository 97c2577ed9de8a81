"""What the engine holds: a plan, flat buffers of all that a step reads and changes, and copies to go back to."""

from __future__ import annotations

import math
from time import perf_counter

import numpy as np

from .. import kernels
from ..graph import Array
from ..kernels import clip as clipping
from ..kernels import forms, layout
from ..kernels.linear import PANEL, PIECE
from ..kernels.lists import NO_LISTS, lists_size, words
from ..kernels.threads import GATE_SIZE
from ..machine import check_memory
from ..nn import CrossEntropyLoss, Loss, Module
from ..optim import Optimizer
from .averaging import Averaging
from .clip import Clip
from .pace import Pace, patience
from .plan import Plan, Weights, obstacle
from .process import OfThisProcess
from .sharing import cores_each
from .team import Team
from .trust import made_for
from .verify import verify, watch

LARGE = 1 << 26  # bytes of a state of which no copies are kept
LOOK_SHARE = 50  # a look at all weights of a large model takes at most a fiftieth of the time
GUARD_ROWS = 16  # between the threads' batches: a processor asks for rows ahead, and takes them from who writes there


class Buffers(OfThisProcess):
    """The buffers of one model with one optimizer and one loss; the arguments are those of `Engine`.

    Error: ValueError for a model that `obstacle` names a reason for.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        features: int,
        room: int,
        ceiling: int,
        pace: Pace | None = None,
        chunk_steps: int | None = None,
        loss: Loss | None = None,
        width: int | None = None,
        row_weights: Array | None = None,
        clip: Clip | None = None,
        averaging: Averaging | None = None,
        at_once: int | None = None,
    ) -> None:
        if reason := obstacle(model, optimizer):
            raise ValueError(f"Engine: {reason}")
        self.model, self.optimizer, self.ceiling, self.clip = model, optimizer, ceiling, clip or Clip()
        self.averaging = averaging if averaging is not None and averaging.by_steps else None
        self.chunk_steps, self.loss = chunk_steps, loss or CrossEntropyLoss()
        self.plan = plan = Plan(model, features, room, at_once=at_once)
        layers = (tuple(plan.rows[what].tolist()) for what in ("forward", "inputs", "width"))
        self.pace = pace or Pace(ceiling, cores_each, (type(optimizer), type(self.loss), room, plan.dtype, *layers))
        dtype, zeros, sizes = plan.dtype, kernels.zeros, plan.sizes
        self.width = width or (1 if "classes" in self.loss.kinds else plan.columns)
        self.row_weights = row_weights
        taken = verify(plan)
        check_memory("fit: the engine's buffers", self.sum_of_buffers(), f"a batch has up to {room:,} rows")
        self.weights = Weights(plan)
        self.kept = self._kept()
        kept = [name in self.kept for name in (*optimizer.arrays, "", "", "")[:3]]
        m, v, u = (zeros(self.weights.p.shape if there else (1,), dtype) for there in kept)
        self.arrays: tuple[Array, Array, Array] = (m, v, u)
        self.g = zeros(self.weights.p.shape if self.clip.on else (1,), dtype)
        self.average = layout.Average(np.zeros(0), zeros(self.weights.p.shape if self.averaging else (1,), dtype), 0)
        self.options = np.zeros((len(plan.slots), len(optimizer.option_numbers(optimizer.param_groups[0]))))
        self.counts = np.zeros(len(plan.slots), np.int64)
        guard = GUARD_ROWS * plan.widest
        self.act, self.dact = (zeros((max(sizes[name], 1),), dtype) for name in ("act", "dact"))
        self.own_kept = zeros((ceiling, self._kept_size() + guard), dtype)
        self.own_x = zeros((ceiling, room * plan.width_in + guard), dtype)
        self.scratch = zeros((ceiling, kernels.scratch_size(dtype)), dtype)
        self.pieces = zeros((ceiling, PIECE * PANEL * plan.lanes), dtype)
        inputs, sparse = plan.at_once, plan.is_sparse
        self.bits = zeros((ceiling, room * words(inputs)), np.uint64)
        self.marks = zeros((ceiling, 2 * words(features) if sparse else 1), np.uint64)
        self.columns = zeros((ceiling, inputs + 1 if sparse else 0), np.int64)
        self.seen, self.all_inputs = zeros((ceiling, features if sparse else 1), np.int64), np.arange(features)
        self.squares = zeros((ceiling, 64), np.uint64)
        self.lists, self.no_lists = zeros((ceiling, lists_size(room, inputs, sparse)), np.int32), NO_LISTS
        self.own_targets, self.own_r = zeros((ceiling, room, self.width), np.float64), zeros((ceiling, room), dtype)
        self.terms = zeros((3, room), np.float64)
        self.scales = zeros((ceiling, len(plan.slots), kernels.SCALES), np.float64)
        self.terms[2] = 1  # what the score of a row is divided by, unless its kernel says something else
        self.net = layout.Net(plan.rows, plan.numbers, plan.slot_rows, plan.lanes, plan.tiles)
        rule, pair, keep = (
            type(optimizer),
            self.loss.pair_for(self.width),
            (clipping.keep_scale, clipping.keep_gradient),
        )
        self.rule_at = forms.address(rule.scale, "scale", dtype), forms.address(rule.update, "rule", dtype)
        self.keep_at = (0, 0)
        if self.clip.on:
            self.keep_at = forms.address(keep[0], "scale", dtype), forms.address(keep[1], "rule", dtype)
        self.loss_at = (
            forms.address(pair[0], "loss_forward", dtype),
            forms.address(pair[1], "loss_backward", dtype),
            forms.address(self.loss.score.kernel, "score", dtype),
        )
        self.made_for = made_for(optimizer, self.loss, self.width)
        self.patience = patience()
        self.team, self.gate = Team(ceiling), np.zeros(GATE_SIZE, np.int64)
        self.kept_state = zeros(self.weights.state.shape, dtype)
        watch(taken, self.weights, self)
        changing = (self.weights.p, *self.arrays, self.average.a)
        self.is_large, self.look_at = sum(array.nbytes for array in changing) > LARGE, 0.0
        self.changed = False  # whether the model lacks what is here
        self.given_at = 0.0  # when it got it last
        self.given_sums = np.zeros(5)
        self.sums, self.given = np.zeros(5), 0  # what `train_steps` adds up, the step it came to, that of the model

    def sum_of_buffers(self) -> int:
        """The bytes of the arrays that `__init__` makes, as the plan has them; those of a fixed size are left out."""
        plan, sizes, kept = self.plan, self.plan.sizes, len(self._kept())
        shared = (1 + kept) * sizes["p"] + 2 * sizes["state"] + sizes["act"] + sizes["dact"]
        shared += ((self.averaging is not None) + self.clip.on) * sizes["p"]
        changing = (1 + kept) * sizes["p"] + sizes["state"]  # of which two copies are kept
        copied = changing + sizes["p"] * (self.averaging is not None)
        shared += 2 * copied if copied * plan.dtype.itemsize <= LARGE else 0
        own = self._kept_size() + plan.room * plan.width_in + 2 * GUARD_ROWS * plan.widest
        inputs = plan.at_once
        lists = 4 * lists_size(plan.room, inputs, plan.is_sparse)  # of what is not zero in a batch
        lists += 16 * (words(plan.columns_in) + inputs + plan.columns_in) * plan.is_sparse
        a_row = 8 * (self.width + words(inputs)) + plan.dtype.itemsize  # of targets, bits, and the loss
        own_bytes = own * plan.dtype.itemsize + plan.room * a_row + lists
        return shared * plan.dtype.itemsize + 24 * plan.room + self.ceiling * own_bytes

    def _kept_size(self) -> int:
        """Numbers that the loss keeps for its backward."""
        return self.loss.kept_rows * self.plan.room * self.plan.width_out

    def shared(self) -> layout.Buffers:
        """What the threads share, as the loop takes it."""
        weights = self.weights
        return layout.Buffers(
            weights.p, self.g, *self.arrays, weights.state, self.kept_state, self.act, self.dact, self.terms
        )  # fmt: skip

    def _kept(self) -> set[str]:
        """The arrays that the rule keeps for any of its groups: those there is room for."""
        return {name for group in self.optimizer.param_groups for name in self.optimizer.arrays_of(group)}

    def snapshot(self, into: list[Array] | None = None) -> list[Array]:
        """Copies of all that a step changes, into those of an earlier one where it is given."""
        now = [
            self.weights.p, self.weights.state, *self.arrays, self.scales[0], self.average.a, self.sums, self.seen[0],
        ]  # fmt: skip
        kept = [np.empty_like(array) for array in now] if into is None else into
        for copy, array in zip(kept, now, strict=True):
            copy[...] = array
        return kept

    def restore(self, kept: list[Array]) -> None:
        """Back to where a snapshot of this epoch was taken."""
        now = (
            self.weights.p, self.weights.state, *self.arrays, self.scales, self.average.a, self.sums, self.seen,
        )  # fmt: skip
        for array, copy in zip(now, kept, strict=True):
            array[...] = copy
        self.changed = True

    def is_finite(self, whole: bool = True) -> bool:
        """Whether all parameters are; not whole: of a large model looked at so seldom that it costs little."""
        start = perf_counter()
        if self.is_large and not whole and start < self.look_at:
            return True
        found = all_finite(self.weights.p)
        now = perf_counter()
        self.look_at = now + LOOK_SHARE * (now - start)
        return found

    def mean(self) -> tuple[float, float]:
        """(mean loss, score) of the steps so far."""
        sums = self.sums
        loss = float(sums[0] / sums[3]) if sums[3] else math.nan
        return loss, self.loss.score.of(float(sums[1]), float(sums[4]))

    def tally(self) -> Array:
        """(5,) what the steps that the model holds have added up, for `open`."""
        return self.given_sums

    def level_copies(self, threads: int) -> None:
        """Bring what each thread has of its own up to date: a chunk of fewer threads left the others' behind."""
        for own in (self.scales, self.seen):
            own[1:threads] = own[0]


def all_finite(array: Array) -> bool:
    """Whether all numbers are: where their sum is, which is there sooner, they are."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(array.sum()) or np.isfinite(array).all())
