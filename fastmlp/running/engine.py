"""The engine: many training steps in one call, with the neurons of every layer divided among threads.

`Engine` packs a model and its optimizer into flat buffers, runs chunks of steps on Python threads without the GIL, and
writes the arrays back, in place. It calls the kernels that the graph calls, with a part of the columns each, so the
result is the same to the last bit: for the graph, for every number of threads, and where that number changes during
the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from ..data import Dataset
from ..data.sparse import Sparse
from ..graph import Array
from ..kernels import clip as clipping
from ..kernels import flushed, forms, guard, layout, steps
from ..kernels.average import move_averages
from ..kernels.threads import BROKEN, DIVERGED, GATE_SIZE, STOP, UNDO
from . import owing
from .buffers import Buffers
from .plan import Slot, obstacle, put, take, trained_parameters
from .rows import distinct_of, most_inputs, read_ahead, source_of, weight_table
from .trust import batch_bounds, check_rows, check_targets, made_for, weights_of

CHUNK_SECONDS = 0.05  # a call returns about this often: for Ctrl-C, progress, another number of threads
SHORT_SECONDS = 0.01  # a step that takes no longer need not be given up half way


class Engine(Buffers):
    """Training of one model with one optimizer and one loss.

    features  columns of a row            room     most rows of a batch
    ceiling   most threads                pace     who chooses their number; `Pace(ceiling)` where None
    chunk_steps  steps a call; None lets a call take about CHUNK_SECONDS
    loss      `CrossEntropyLoss()` where None        width  numbers in a row's targets; where None one for a loss of
              classes, else as many as the model has outputs
    row_weights  (rows,) what each row counts in the loss; where None, the data's `sample_weight`
    clip      of the gradients, before the rule sees them
    averaging of the weights, after each step

    Use `with`: it ends the threads, which the first epoch starts.
    Error: ValueError for a model that `obstacle` names a reason for.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.owed, self.swept_for = owing.NOTHING, ""
        self.has_room_for: Sparse | None = None
        self.refresh()

    def fits(self) -> bool:
        """Whether model and optimizer still are what it was made from, but for numbers, options and state.

        An option that makes the rule keep one more array needs another engine.
        """
        return obstacle(self.model, self.optimizer) is None and self.still_fits()

    def still_fits(self) -> bool:
        """The same, where `obstacle` has named none."""
        same = self.plan.fits(self.model)
        return same and self.made_for == made_for(self.optimizer, self.loss, self.width) and self._kept() <= self.kept

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
        none, gate = (np.zeros(1, np.int64), np.zeros(2, np.int64)), np.zeros(GATE_SIZE, np.int64)
        self.train_on(data)
        self.batches = self._ordered(*none)
        _train_steps(0, *self._arguments(1, gate, self.batches, None, 0, 0))

    def refresh(self) -> None:
        """Take over what the model and the optimizer hold now: a callback may have changed either.

        Error: ValueError for state and options that do not fit, and where `fits` says no.
        """
        self.optimizer.check()
        if not self.fits():
            raise ValueError("Engine: the model or the optimizer is not what the engine was made from; make another")
        self.take_over()

    def take_over(self) -> None:
        """`refresh`, where optimizer and model are checked."""
        self.weights.read()
        for slot, array in self._averages():
            put(self.average.a, slot, array)
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

        on_chunk(rows, mean loss so far, score so far) is called after each chunk. The model's and the optimizer's
        arrays hold the result when this returns, and also when an exception, such as Ctrl-C, ends it early: that of
        whole steps. Where the exception comes from a kernel, its step is not whole: they hold what they held before.
        Where a loss is not finite it ends there with NaN, and they hold the weights that have made it so.
        """
        self.train_on(data)
        self.open(order, sizes, rates)
        try:
            while self.step < len(sizes):
                before = self.step
                if self.chunk(len(sizes)):
                    return math.nan, math.nan
                on_chunk(int(self.batches.bounds[self.step] - self.batches.bounds[before]), *self.mean())
        finally:
            self.give()
        return self.mean()

    def open(
        self, order: Array, sizes: list[int], rates: Array | None = None, first: int = 0, sums: Array | None = None
    ) -> None:
        """An epoch on the rows `order` of those data, in batches of `sizes`, of which `first` are done already.

        sums: what those have added up. rates: (steps, groups), the learning rate of each step for each parameter
        group, (steps, groups, 2) with the momentum, 3 with the weight decay too, as `Optimizer.set_rates` takes them;
        None for what stands in the groups.
        """
        bounds = batch_bounds(sizes, len(order), self.plan.room)
        if rates is not None and rates.shape[:2] != (len(sizes), len(self.optimizer.param_groups)):
            raise ValueError(f"Engine: rates is {rates.shape}; it must be a row a step and a column a parameter group")
        self.batches, self.rates = self._ordered(order, bounds), rates
        self.sums = np.zeros(5) if sums is None else sums.copy()
        self.sums[2] = self.given = first
        self.given_sums, self.changed = self.sums.copy(), False
        if self.averaging is not None:
            self.average = self.average._replace(weights=self.averaging.weights(len(sizes), first))
        self.plan.read_options()
        self.plan.rows["step"] -= first  # the loop adds the step of the epoch
        self.owed, self.swept_for = owing.begin(self, len(sizes))
        self.seen[...] = first

    def _has_room(self, rows: Sparse) -> bool:
        """Whether a batch of these rows needs no more columns than there is room for."""
        if self.has_room_for is not rows:
            if most_inputs(rows, self.plan.room) > self.plan.at_once:
                return False
            self.has_room_for = rows
        return True

    def chunk(self, limit: int, back: list[Array] | None = None) -> bool:
        """Run some steps, to `limit` at most; True where the next one is given up, as its loss is not finite.

        back: a snapshot of now, where there is one: the first step's update can then be left half way too.
        """
        first = self.step
        try:
            self._chunk(self.batches, self.rates, limit, back is not None)
        finally:
            if back is not None and self.gate[STOP] and self.step == first:
                self.restore(back)
        return bool(self.gate[DIVERGED])

    def is_finite(self, whole: bool = True) -> bool:
        if whole:
            owing.bring_up(self)  # what is owed may end beyond all numbers
        return super().is_finite(whole)

    def restore_given(self) -> None:
        """Back to what the model and the optimizer hold: what `give` has given them last."""
        self.take_over()
        self.plan.rows["step"] -= self.given
        self.sums, self.seen[...] = self.given_sums.copy(), self.given

    def stop(self) -> None:
        """Ask the threads to come out: a step that has changed nothing is given up, an update finished or undone."""
        self.gate[STOP] = 1

    def train_on(self, data: Dataset) -> None:
        """Epochs are on these rows from here on: check them, and find what the loop needs to know of them.

        Error: ValueError where `data` has features or targets that the model or the loss does not take.
        """
        check_rows("fit", data, int(self.plan.rows[0]["inputs"]))
        check_targets("fit", self.loss, data, self.plan.columns)
        rows = data.rows
        targets = np.ascontiguousarray(data.targets.reshape(len(data), -1), np.float64)
        if targets.shape[1] != self.width:
            raise ValueError(f"Engine: data has {targets.shape[1]} targets a row; the engine was made for {self.width}")
        kernel, source = source_of(rows)
        gather = forms.address(kernel, "gather", self.plan.dtype)
        weights, self.scored = weights_of("fit", data, self.row_weights)
        counts = weight_table(self.loss, targets, weights, self.scored)
        distinct = distinct_of(rows, self.plan.is_sparse, self.plan.dtype)
        if self.plan.is_sparse and not (isinstance(rows, Sparse) and self._has_room(rows)):
            raise ValueError(
                f"Engine: a batch may need more than {self.plan.at_once:,} columns; the engine was made for so many"
            )
        scale, nothing = float(data.scale), np.zeros(1, np.int64)
        self.held = data, rows  # the kernels read them at their address
        self.batches = layout.Batches(gather, distinct, source, scale, targets, counts, nothing, nothing)

    def _ordered(self, order: Array, bounds: Array) -> layout.Batches:
        """The rows in an order; its numbers are checked here, as no kernel does."""
        order = self.held[0].row_numbers("Engine", order)
        self.score_numbers = self.loss.score.known(self.batches.targets, self.scored, order)
        return self.batches._replace(order=order, bounds=bounds)

    def _chunk(self, batches: layout.Batches, rates: Array | None, limit: int, undo: bool) -> None:
        """Run some steps from `self.step` on, and move it to the step they came to.

        The threads wait for each other at gates, so none may be missing. They are all there before one begins, and a
        thread that fails breaks the gate: the others, which wait at it in vain, come out with an exception too.
        """
        first, start = self.step, perf_counter()
        threads = min(self.pace.threads(start), self.team.start())
        speed = self.pace.expected_speed(threads)
        count = self.chunk_steps or max(1, int(speed * CHUNK_SECONDS))
        last = min(limit, first + count)
        read_ahead(self.held[1], batches, first, last + count)
        self.gate = gate = np.zeros(GATE_SIZE, np.int64)
        gate[UNDO] = first + 1 if undo else 0
        arguments = self._arguments(threads, gate, batches, rates, first, last)
        self.level_copies(threads)
        try:
            self.team.run(
                threads,
                lambda thread: _train_steps(thread, *arguments),
                lambda: gate.__setitem__(BROKEN, 1),
                self.stop,
                here=speed * SHORT_SECONDS >= 1,
            )
        finally:
            if gate[BROKEN]:  # in the middle of a step
                self.sums = self.given_sums.copy()
        guard.look()
        now = perf_counter()
        self.pace.ran(threads, self.step - first, now - start, now)

    def _arguments(
        self, threads: int, gate: Array, batches: layout.Batches, rates: Array | None, first: int, last: int
    ) -> tuple[Any, ...]:
        """What `train_steps` takes after the number of the thread, for the steps [first, last) on so many threads."""
        loss = self.loss
        rule = layout.Rule(
            *self.rule_at, self.options_of(rates, first, last), first, self.counts - self.given, *self.owed
        )
        shared = self.shared()
        own = layout.Own(
            self.own_x, self.own_kept, self.scratch, self.pieces, self.own_targets, self.own_r, self.scales, self.bits,
            self.squares, self.lists, self.no_lists, self.marks, self.columns, self.seen,
        )  # fmt: skip
        return (
            threads, self.patience, gate, self.net, batches,
            layout.Loss(
                *self.loss_at, loss.number_array(), self.score_numbers, loss.kept_rows, loss.factor(self.plan.columns)
            ),
            rule, self._clip(rule, shared, own), self._average(shared), shared, own, first, last, self.sums,
        )  # fmt: skip

    def _clip(self, rule: layout.Rule, shared: layout.Buffers, own: layout.Own) -> layout.Clip:
        """What the loop needs to know of the bounds: a rule that keeps gradients within clip.value, and two passes."""
        slots = len(self.plan.slots)
        keep = layout.Rule(*self.keep_at, np.full((1, slots, 1), self.clip.value), 0, self.counts, *owing.NOTHING)
        clip = layout.Clip(self.clip.on, keep, self.clip.norm, np.zeros(self.plan.counted), 0, 0)
        if not self.clip.on:
            return clip
        squares = forms.address_of_pass(clipping.keep_squares, self.net, clip, shared, own, 1, 0)
        step = forms.address_of_pass(clipping.step_on_kept, self.net, rule, clip, shared, own, 0, 1, 0)
        return clip._replace(squares_at=squares, step_at=step)

    def _average(self, shared: layout.Buffers) -> layout.Average:
        """What the loop needs to know of the average, with its pass where there is one."""
        if self.averaging is None:
            return self.average
        arguments = self.net, self.average, shared.p, 1, 0, 1.0
        return self.average._replace(at=forms.address_of_pass(move_averages, *arguments))

    def _averages(self) -> list[tuple[Slot, Array]]:
        """(slot, array) of the average of each parameter, where there is one: in the engine it lies in average.a."""
        if self.averaging is None or not self.averaging.average:
            return []
        name_of = {id(parameter): name for name, parameter in self.model.named_parameters()}
        arrays = [self.averaging.average[name_of[id(slot.parameter)]] for slot in self.plan.slots]
        return list(zip(self.plan.slots, arrays, strict=True))

    def options_of(self, rates: Array | None, first: int, last: int) -> Array:
        """(steps, slots, n): the options of each of the steps [first, last), or of all of them, (1, slots, n)."""
        if rates is None:
            return self.options[None]
        options = np.repeat(self.options[None], last - first, axis=0)
        given = rates[first:last, self.groups].reshape(last - first, len(self.groups), -1)
        options[:, :, 0] = given[:, :, 0]
        place = self.optimizer.momentum_place()
        if given.shape[2] > 1 and place is not None:
            options[:, :, place] = np.where(np.isnan(given[:, :, 1]), options[:, :, place], given[:, :, 1])
        if given.shape[2] > 2 and (place := self.optimizer.place_of("weight_decay")) is not None:
            options[:, :, place] = given[:, :, 2]
        return options

    def _read_optimizer(self) -> None:
        """Options and state of every parameter, into the engine's buffers."""
        optimizer = self.optimizer
        for group in optimizer.param_groups:
            optimizer.try_out(group)
        self.plan.train_only([id(parameter) for parameter in trained_parameters(self.model, optimizer)])
        number = {id(p): i for i, p in enumerate(optimizer.parameters())}
        group_of = {id(p): k for k, group in enumerate(optimizer.param_groups) for p in group["params"]}
        self.groups = np.array([group_of.get(id(slot.parameter), 0) for slot in self.plan.slots], np.int64)
        for i, slot in self._trained():
            group, state = optimizer.param_groups[self.groups[i]], optimizer.state.get(number[id(slot.parameter)], {})
            self.options[i] = optimizer.option_numbers(group)
            self.counts[i] = optimizer.steps_made(state)
            for k, (name, start) in enumerate(optimizer.numbers.items()):
                self.scales[:, i, k] = state.get(name, start)
            for name, flat in self._flat(i):
                before = state[name] if name in state else optimizer.start_of(name, group, slot.parameter.data)
                put(flat, slot, before)

    def _trained(self) -> list[tuple[int, Slot]]:
        """The places of the parameters that a step changes, with their numbers."""
        return [(i, slot) for i, slot in enumerate(self.plan.slots) if self.plan.slot_rows[i]["trained"]]

    def _flat(self, i: int) -> list[tuple[str, Array]]:
        """(name in the optimizer's state, flat buffer) of what the rule keeps for the parameter of slot i."""
        kept = self.optimizer.arrays_of(self.optimizer.param_groups[self.groups[i]])
        return [pair for pair in zip(self.optimizer.arrays, self.arrays, strict=False) if pair[0] in kept]

    def settle(self) -> None:
        """Count the steps that were made, for `open`; the arrays of the model and the optimizer wait for `give`."""
        done = self.step - self.given
        self.given, self.given_sums = self.step, self.sums.copy()
        self.changed = self.changed or done != 0
        if not self.changed:
            return
        owing.bring_up(self)
        if self.averaging is not None:
            self.averaging.count += done
        for layer in self.plan.layers:
            if layer.training:
                layer.trained(done)
        self.counts += done

    def give(self) -> None:
        """Give the model and the optimizer what they are after `self.step` steps.

        Where memory does not suffice for the optimizer's state, they stay what they are: MemoryError.
        """
        optimizer, wanted = self.optimizer, self.changed or self.step != self.given
        number = {id(p): i for i, p in enumerate(optimizer.parameters())}
        fresh = {}
        for i, slot in self._trained() if wanted else ():
            kept, group = optimizer.state.get(number[id(slot.parameter)], {}), optimizer.param_groups[self.groups[i]]
            fresh[i] = optimizer.missing(kept, group, slot.parameter.data)
        self.settle()
        if not wanted:
            return
        self.changed, self.given_at = False, perf_counter()
        self.weights.write()
        for slot, array in self._averages():
            take(self.average.a, slot, array)
        optimizer.zero_grad()  # as the graph leaves them: a gradient from before belongs to other weights
        self.model.zero_grad()
        for i, slot in self._trained():
            group = optimizer.param_groups[self.groups[i]]
            state = optimizer.state.setdefault(number[id(slot.parameter)], {})
            optimizer.prepare(state, group, slot.parameter.data, int(self.counts[i]), fresh[i])
            state.update(zip(optimizer.numbers, map(float, self.scales[0, i]), strict=False))
            for name, flat in self._flat(i):
                take(flat, slot, state[name])


@flushed
def _train_steps(*arguments: Any) -> int:
    return steps.train_steps(*arguments)
