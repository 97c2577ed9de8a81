"""The engine: many training steps in one call, with the neurons of every layer divided among threads.

`Engine` packs a model and its optimizer into flat buffers, runs chunks of steps on Python threads without the GIL, and
writes the arrays back, in place. It calls the kernels that the graph calls, with a part of the columns each, so the
result is the same to the last bit: for the graph, for every number of threads, and where that number changes during
the run.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from .. import kernels
from ..data import Dataset
from ..graph import Array
from ..graph.operation import flushed
from ..kernels import forms, steps
from ..kernels.linear import PIECE
from ..kernels.threads import BROKEN, GATE_SIZE
from ..machine import check_memory
from ..nn import CrossEntropyLoss, Loss, Module
from ..optim import Optimizer
from .pace import Pace, patience
from .plan import OfThisProcess, Plan, Weights, obstacle, put, take, verify
from .team import Team
from .trust import batch_bounds, check_rows, check_targets

CHUNK_SECONDS = 0.05  # a call returns about this often: for Ctrl-C, progress, another number of threads
GUARD_ROWS = 16  # between the threads' batches: a processor asks for rows ahead, and takes them from who writes there


class Engine(OfThisProcess):
    """Training of one model with one optimizer and one loss.

    features  columns of a row            room     most rows of a batch
    ceiling   most threads                pace     who chooses their number; `Pace(ceiling)` where None
    chunk_steps  steps a call; None lets a call take about CHUNK_SECONDS
    loss      `CrossEntropyLoss()` where None

    Use `with`: it ends the threads, which the first epoch starts.
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
    ) -> None:
        if reason := obstacle(model, optimizer):
            raise ValueError(f"Engine: {reason}")
        self.model, self.optimizer, self.ceiling = model, optimizer, ceiling
        self.pace, self.chunk_steps, self.loss = pace or Pace(ceiling), chunk_steps, loss or CrossEntropyLoss()
        self.plan = plan = Plan(model, features, room)
        dtype, zeros, sizes = plan.dtype, kernels.zeros, plan.sizes
        self.kept_at = plan.take("own_act", self.loss.kept_rows * room * plan.width_out)
        verify(plan)
        check_memory("fit: the engine's buffers", self.sum_of_buffers(), f"a batch has up to {room:,} rows")
        self.weights = Weights(plan, ceiling)
        self.kept = self._kept()
        kept = [name in self.kept for name in (*optimizer.arrays, "", "", "")[:3]]
        m, v, u = (zeros(self.weights.p.shape if there else (1,), dtype) for there in kept)
        self.arrays: tuple[Array, Array, Array] = (m, v, u)
        m, v, u = (zeros(self.weights.own_p.shape if there else (ceiling, 1), dtype) for there in kept)
        self.own_arrays: tuple[Array, Array, Array] = (m, v, u)
        self.options = np.zeros((len(plan.slots), len(optimizer.option_numbers(optimizer.param_groups[0]))))
        self.counts = np.zeros(len(plan.slots), np.int64)
        guard = GUARD_ROWS * plan.widest
        self.act, self.dact = (zeros((max(sizes[name], 1),), dtype) for name in ("act", "dact"))
        self.own_act, self.own_dact = (zeros((ceiling, sizes[name] + guard), dtype) for name in ("own_act", "own_dact"))
        self.own_x = zeros((ceiling, room * plan.width_in + guard), dtype)
        self.scratch = zeros((ceiling, kernels.scratch_size(dtype)), dtype)
        self.pieces = zeros((ceiling, PIECE * kernels.TILE_VECTORS * plan.lanes), dtype)
        columns = 1 if self.loss.targets == "classes" else plan.columns
        self.own_targets, self.own_r = np.zeros((ceiling, room, columns)), np.zeros((ceiling, room), dtype)
        self.terms, self.scales = np.zeros((ceiling, 2, room)), np.zeros((ceiling, len(plan.slots), kernels.SCALES))
        self.net = steps.Net(plan.rows, plan.numbers, plan.lanes, plan.tiles)
        rule, pair = type(optimizer), self.loss.kernels
        self.rule_at = forms.address(rule.scale, "scale", dtype), forms.address(rule.update, "rule", dtype)
        self.loss_at = (
            forms.address(pair["forward"], "loss_forward", dtype),
            forms.address(pair["backward"], "loss_backward", dtype),
            forms.address(self.loss.score.kernel, "score", dtype),
        )
        self.patience = patience()
        self.team, self.sums = Team(ceiling), np.zeros(3)  # of loss and score, and the step that was come to
        self.refresh()

    def sum_of_buffers(self) -> int:
        """The bytes of the arrays that `__init__` makes, as the plan has them; those of a fixed size are left out."""
        plan, sizes, kept = self.plan, self.plan.sizes, len(self._kept())
        shared = (1 + kept) * sizes["p"] + sizes["state"] + sizes["act"] + sizes["dact"]
        own = (1 + kept) * sizes["own_p"] + sizes["own_act"] + sizes["own_dact"]
        own += plan.room * plan.width_in + 3 * GUARD_ROWS * plan.widest
        a_row = 8 * (3 if self.loss.targets == "classes" else 2 + plan.columns) + plan.dtype.itemsize  # and its targets
        return (shared + self.ceiling * own) * plan.dtype.itemsize + self.ceiling * plan.room * a_row

    def fits(self) -> bool:
        """Whether model and optimizer still are what it was made from, but for numbers, options and state.

        An option that makes the rule keep one more array needs another engine.
        """
        same = obstacle(self.model, self.optimizer) is None and self.plan.fits(self.model)
        return same and self._kept() <= self.kept

    def _kept(self) -> set[str]:
        """The arrays that the rule keeps for any of its groups: those there is room for."""
        return {name for group in self.optimizer.param_groups for name in self.optimizer.arrays_of(group)}

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.team.close()

    @property
    def step(self) -> int:
        """How many steps of this epoch are done, by all threads: the loop itself writes it down."""
        return int(self.sums[2])

    def prepare(self, data: Dataset) -> None:
        """Compile, or load from the cache, what an epoch on `data` will run: no step is made.

        Error: ValueError where `data` has targets that the model or the loss does not take.
        """
        batches, gate = self._batches(data, np.zeros(1, np.int64), np.zeros(2, np.int64)), np.zeros(GATE_SIZE, np.int64)
        _train_steps(0, *self._arguments(1, gate, batches, None, 0, 0))

    def refresh(self) -> None:
        """Take over what the model and the optimizer hold now: a callback may have changed either.

        Error: ValueError for state and options that do not fit, and where `fits` says no.
        """
        self.optimizer.check()
        if not self.fits():
            raise ValueError("Engine: the model or the optimizer is not what the engine was made from; make another")
        self.weights.read()
        self.plan.read_options()
        self._read_optimizer()

    def epoch(
        self,
        data: Dataset,
        order: Array,
        sizes: list[int],
        on_chunk: Callable[[int, float, float], Any] = lambda rows, loss, score: None,
        rates: Array | None = None,
    ) -> tuple[float, float]:
        """Train on the rows `order` of a Dataset in batches of `sizes`; returns (mean loss, score).

        on_chunk(rows, mean loss so far, score so far) is called after each chunk. rates: (steps, groups), the learning
        rate of each step for each parameter group; None for those that stand in the groups. The model's and the
        optimizer's arrays hold the result when this returns, and also when an exception, such as Ctrl-C, ends it early:
        that of whole steps. Where the exception comes from a kernel, its step is not whole: they hold what they held
        before the epoch.
        """
        bounds = batch_bounds(sizes, len(order), self.plan.room)
        if rates is not None and rates.shape != (len(sizes), len(self.optimizer.param_groups)):
            raise ValueError(f"Engine: rates is {rates.shape}; it must be a row a step and a column a parameter group")
        batches, sums = self._batches(data, order, bounds), np.zeros(3)
        self.sums = sums
        self.plan.read_options()
        start = self.loss.score.start

        def mean(rows: int) -> tuple[float, float]:
            return float(sums[0] / rows), float(start + sums[1] / rows)

        try:
            while self.step < len(sizes):
                before = self.step
                self._chunk(batches, rates)
                done = int(bounds[self.step])
                on_chunk(done - int(bounds[before]), *mean(done))
        finally:
            self._write_back()
        return mean(len(order))

    def _batches(self, data: Dataset, order: Array, bounds: Array) -> steps.Batches:
        """What the loop needs to know of the rows; the row numbers are checked here, as no kernel does."""
        check_rows("fit", data, int(self.plan.rows[0]["inputs"]))
        check_targets("fit", self.loss, data, self.plan.columns)
        rows, order = data.rows, data.row_numbers("Engine", order)
        targets = np.ascontiguousarray(data.targets.reshape(len(data), -1), np.float64)
        source = np.array([rows.ctypes.data, *rows.shape, rows.shape[1] * rows.itemsize], np.int64)
        gather = forms.address(kernels.GATHER[rows.dtype], "gather", self.plan.dtype)
        self.held = data, rows  # the kernels read them at their address
        self.score_numbers = self.loss.score.numbers(targets[order])
        return steps.Batches(gather, source, float(data.scale), targets, order, bounds)

    def _chunk(self, batches: steps.Batches, rates: Array | None) -> None:
        """Run some steps from `self.step` on, and move it to the step they came to.

        The threads wait for each other at gates, so none may be missing. They are all there before one begins, and a
        thread that fails breaks the gate: the others, which wait at it in vain, come out with an exception too.
        """
        first, start = self.step, perf_counter()
        threads = min(self.pace.threads(start), self.team.start())
        count = self.chunk_steps or max(1, int(self.pace.expected_speed(threads) * CHUNK_SECONDS))
        last = min(len(batches.bounds) - 1, first + count)
        gate = np.zeros(GATE_SIZE, np.int64)
        arguments = self._arguments(threads, gate, batches, rates, first, last)
        self.level_copies(threads)
        try:
            self.team.run(threads, lambda thread: _train_steps(thread, *arguments), lambda: gate.__setitem__(BROKEN, 1))
        finally:
            if gate[BROKEN]:  # in the middle of a step
                self.sums[2] = 0
        now = perf_counter()
        self.pace.ran(threads, self.step - first, now - start, now)

    def level_copies(self, threads: int) -> None:
        """Bring what each thread has of its own up to date: a chunk of fewer threads left the others' behind."""
        for own in (self.weights.own_p, *self.own_arrays, self.scales):
            own[1:threads] = own[0]

    def _arguments(
        self, threads: int, gate: Array, batches: steps.Batches, rates: Array | None, first: int, last: int
    ) -> tuple[Any, ...]:
        """What `train_steps` takes after the number of the thread, for the steps [first, last) on so many threads."""
        slot_rates = np.ascontiguousarray(self.options[:, 0][None] if rates is None else rates[:, self.groups])
        weights, loss = self.weights, self.loss
        return (
            threads, self.patience, gate, self.net, batches,
            steps.Loss(*self.loss_at, loss.number_array(), self.score_numbers, self.kept_at, loss.kept_rows),
            steps.Rule(*self.rule_at, self.options, self.counts, slot_rates),
            steps.Buffers(weights.p, *self.arrays, weights.state, self.act, self.dact),
            steps.Own(
                weights.own_p, *self.own_arrays, self.own_act, self.own_dact, self.own_x, self.scratch, self.pieces,
                self.own_targets, self.own_r, self.terms, self.scales,
            ),
            first, last, self.sums,
        )  # fmt: skip

    def _read_optimizer(self) -> None:
        """Options and state of every parameter, into the engine's buffers."""
        optimizer = self.optimizer
        for group in optimizer.param_groups:
            optimizer.try_out(group)
        number = {id(p): i for i, p in enumerate(optimizer.parameters())}
        group_of = {id(p): k for k, group in enumerate(optimizer.param_groups) for p in group["params"]}
        self.groups = np.array([group_of[id(slot.parameter)] for slot in self.plan.slots], np.int64)
        for i, slot in enumerate(self.plan.slots):
            group, state = optimizer.param_groups[self.groups[i]], optimizer.state.get(number[id(slot.parameter)], {})
            self.options[i] = optimizer.option_numbers(group)
            self.counts[i] = optimizer.steps_made(state)
            for k, (name, start) in enumerate(optimizer.numbers.items()):
                self.scales[:, i, k] = state.get(name, start)
            for name, flat in self._flat(i):
                before = state[name] if name in state else optimizer.start_of(name, group, slot.parameter.data)
                put(flat, slot, before)

    def _flat(self, i: int) -> list[tuple[str, Array]]:
        """(name in the optimizer's state, flat buffer) of what the rule keeps for the parameter of slot i."""
        flat = [own[0] for own in self.own_arrays] if self.plan.slots[i].alone else self.arrays
        kept = self.optimizer.arrays_of(self.optimizer.param_groups[self.groups[i]])
        return [pair for pair in zip(self.optimizer.arrays, flat, strict=False) if pair[0] in kept]

    def _write_back(self) -> None:
        """Give everything back to the model and the optimizer, after `self.step` steps."""
        done, self.sums = self.step, np.zeros(3)
        if not done:
            return
        self.weights.write()
        optimizer = self.optimizer
        optimizer.zero_grad()  # as the graph leaves them: a gradient from before belongs to other weights
        for layer in self.plan.layers:
            layer.trained(done)
        number = {id(p): i for i, p in enumerate(optimizer.parameters())}
        self.counts += done
        for i, slot in enumerate(self.plan.slots):
            group = optimizer.param_groups[self.groups[i]]
            state = optimizer.state.setdefault(number[id(slot.parameter)], {})
            optimizer.prepare(state, group, slot.parameter.data, int(self.counts[i]))
            state.update(zip(optimizer.numbers, map(float, self.scales[0, i]), strict=False))
            for name, flat in self._flat(i):
                take(flat, slot, state[name])


@flushed
def _train_steps(*arguments: Any) -> int:
    return steps.train_steps(*arguments)
