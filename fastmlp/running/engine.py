"""The engine: many training steps in one call, with the neurons of every layer divided among threads.

`Engine` packs a model and its optimizer into flat buffers, runs chunks of steps on Python threads without the GIL, and
writes the arrays back, in place. It calls the kernels that the graph calls, with a part of the columns each, so the
result is the same to the last bit: for the graph, for every number of threads, and where that number changes during
the run.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from time import perf_counter
from typing import Any

import numpy as np

from .. import kernels
from ..data import Dataset
from ..graph import Array
from ..graph.operation import flushed, kernel_array
from ..kernels import steps
from ..kernels.threads import GATE_SIZE, look
from ..nn import BatchNorm1d, Dropout, Module
from ..optim import Optimizer
from .plan import FEATURES, RULES, Plan, Slot, Weights, obstacle, put, take, zeros

CHUNK_SECONDS = 0.05  # a call returns about this often: for Ctrl-C, progress, another number of threads
GUARD_ROWS = 16  # between the threads' batches: a processor asks for rows ahead, and takes them from who writes there
PATIENCE_SECONDS = 0.0015  # a thread that waits longer at a gate asks all to leave


class Pace:
    """Chooses the number of threads of each chunk, at most `ceiling`: the one that makes most steps a second.

    It starts with a trial of every number and tries the others again every RETRY_SECONDS. A chunk that had to be left
    early, because somebody else needs a core, is short and slow. A trial goes on over chunks until it has lasted
    TRIAL_SECONDS, so that a single one of them decides nothing.
    """

    RETRY_SECONDS, TRIAL_SECONDS, MEMORY_SECONDS = 2.0, 0.03, 0.04

    def __init__(self, ceiling: int) -> None:
        self.counts = sorted({ceiling, *(1 << k for k in range(ceiling.bit_length()))} & set(range(1, ceiling + 1)))
        self.counts.reverse()
        self.speed: dict[int, float] = {}
        self.trials, self.tried_at = list(self.counts), 0.0
        self.trial_steps, self.trial_seconds = 0, 0.0

    def threads(self, now: float) -> int:
        """The number of threads for the next chunk."""
        if not self.trials and now - self.tried_at > self.RETRY_SECONDS:
            self.trials = [count for count in self.counts if count != self.best()]
            self.tried_at = now
        return self.trials[0] if self.trials else self.best()

    def best(self) -> int:
        """The fastest number of threads so far."""
        return max(self.speed, key=self.speed.__getitem__, default=self.counts[0])

    def expected_speed(self, threads: int) -> float:
        """Steps a second that so many threads may make; 0 where nothing has run yet."""
        return self.speed.get(threads) or min(self.speed.values(), default=0.0)

    def ran(self, threads: int, steps: int, seconds: float, now: float) -> None:
        """Take note of a chunk: as a part of a trial, or with a weight that grows with its length.

        The first chunk of all on a number of threads may be a single step. It gives an estimate for the length of the
        next, and is no part of the trial.
        """
        if threads not in self.speed:
            self.speed[threads] = steps / seconds
        elif self.trials and self.trials[0] == threads:
            self.trial_steps, self.trial_seconds = self.trial_steps + steps, self.trial_seconds + seconds
            if self.trial_seconds >= self.TRIAL_SECONDS:
                self.speed[threads] = self.trial_steps / self.trial_seconds
                self.trials.pop(0)
                self.trial_steps, self.trial_seconds, self.tried_at = 0, 0.0, now
        else:
            self.speed[threads] += min(0.5, seconds / self.MEMORY_SECONDS) * (steps / seconds - self.speed[threads])


class Fixed(Pace):
    """Always one number of threads, also more than there are cores."""

    def threads(self, now: float) -> int:
        """That number."""
        return self.counts[0]


class Engine:
    """Training of one model with one optimizer.

    features  columns of a row            room     most rows of a batch
    ceiling   most threads                pace     who chooses their number; `Pace(ceiling)` where None
    chunk_steps  steps a call; None lets a call take about CHUNK_SECONDS

    Use `with`: it ends the threads. Error: ValueError for a model that `obstacle` names a reason for.
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
    ) -> None:
        if reason := obstacle(model, optimizer):
            raise ValueError(f"Engine: {reason}")
        self.model, self.optimizer, self.ceiling = model, optimizer, ceiling
        self.pace, self.chunk_steps = pace or Pace(ceiling), chunk_steps
        self.plan = plan = Plan(model, features, room)
        self.weights = Weights(plan, ceiling)
        rule = RULES[type(optimizer)]
        dtype, lanes = plan.dtype, plan.lanes
        self.m, self.own_m = zeros(self.weights.p.shape, dtype), zeros(self.weights.own_p.shape, dtype)
        none = (1,) if rule == steps.SGD else self.weights.p.shape
        self.v = zeros(none, dtype)
        self.own_v = zeros((ceiling, 1) if rule == steps.SGD else self.weights.own_p.shape, dtype)
        self.options = np.zeros((len(plan.slots), steps.OPTION_COLUMNS))
        self.counts = np.zeros(len(plan.slots), np.int64)
        self.rule = rule
        self._read_optimizer()
        self.act, self.dact = (zeros((max(plan.sizes[name], 1),), dtype) for name in ("act", "dact"))
        guard = GUARD_ROWS * plan.widest
        self.own_act, self.own_dact = (
            zeros((ceiling, plan.sizes[name] + guard), dtype) for name in ("own_act", "own_dact")
        )
        self.own_x = zeros((ceiling, room * plan.width_in + guard), dtype)
        self.scratch = zeros((ceiling, kernels.scratch_size(dtype)), dtype)
        self.pieces = zeros((ceiling, steps.PIECE * kernels.TILE_VECTORS * lanes), dtype)
        self.own_labels, self.own_r = np.zeros((ceiling, room), np.int64), np.zeros((ceiling, room), dtype)
        self.terms = np.zeros((2, room))
        self.patience = _patience()
        self.pool = ThreadPoolExecutor(max_workers=ceiling, thread_name_prefix="fastmlp")

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.pool.shutdown()

    def prepare(self, data: Dataset) -> None:
        """Compile, or load from the cache, what an epoch on `data` will run: no step is made.

        Error: ValueError where `data` has a label that the model has no class for.
        """
        if data.classes > self.plan.classes and (highest := int(data.labels.max())) >= self.plan.classes:
            raise ValueError(f"fit: data has the label {highest}; the model's labels are 0 .. {self.plan.classes - 1}")
        self._run(1, data, np.zeros(1, np.int64), np.zeros(2, np.int64), 0, 0, np.zeros(2))

    def refresh(self) -> None:
        """Take over what the model and the optimizer hold now: a callback may have changed either."""
        self.weights.read()
        self._read_optimizer()

    def epoch(
        self,
        data: Dataset,
        order: Array,
        sizes: list[int],
        on_chunk: Callable[[int, float, float], Any] = lambda rows, loss, accuracy: None,
    ) -> tuple[float, float]:
        """Train on the rows `order` of a Dataset in batches of `sizes`; returns (mean loss, accuracy).

        on_chunk(rows, mean loss so far, accuracy so far) is called after each chunk. The model's and the optimizer's
        arrays hold the result when this returns, and also when an exception, such as Ctrl-C, ends it early.
        """
        bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        order, sums = np.ascontiguousarray(order, np.int64), np.zeros(2)
        self.step = 0
        self._read_dropout()
        try:
            while self.step < len(sizes):
                before = self.step
                self._chunk(data, order, bounds, sums)
                done = int(bounds[self.step])
                on_chunk(done - int(bounds[before]), float(sums[0] / done), float(sums[1] / done))
        finally:
            self._write_back()
        return float(sums[0] / len(order)), float(sums[1] / len(order))

    def _chunk(self, data: Dataset, order: Array, bounds: Array, sums: Array) -> None:
        """Run some steps from `self.step` on, and move it to the step they came to."""
        first, start = self.step, perf_counter()
        threads = self.pace.threads(start)
        count = self.chunk_steps or max(1, int(self.pace.expected_speed(threads) * CHUNK_SECONDS))
        last = min(len(bounds) - 1, first + count)
        job = self.pool.submit(self._run, threads, data, order, bounds, first, last, sums)
        try:
            job.result()
        finally:  # Ctrl-C ends the waiting, not the threads: they come to the end of their chunk
            wait([job])
            self.step = job.result()
        now = perf_counter()
        self.pace.ran(threads, self.step - first, now - start, now)

    def _run(self, threads: int, data: Dataset, order: Array, bounds: Array, first: int, last: int, sums: Array) -> int:
        """Run the steps [first, last) on so many threads; returns the step they came to.

        On a thread of the pool, where no Ctrl-C arrives: either all threads start, or none.
        """
        gate, plan, weights, rows = np.zeros(GATE_SIZE, np.int64), self.plan, self.weights, data.rows
        arguments = (
            threads, self.patience, gate, plan.rows, plan.numbers, self.rule, self.options, self.counts,
            plan.lanes, plan.classes, plan.loss_at, rows.ctypes.data, FEATURES[rows.dtype], rows.shape[1],
            float(data.scale), kernel_array(data.labels), order, bounds, first, last,
            weights.p, self.m, self.v, weights.stats, weights.own_p, self.own_m, self.own_v,
            self.act, self.dact, self.own_act, self.own_dact, self.own_x, self.scratch, self.pieces,
            self.own_labels, self.own_r, self.terms, sums,
        )  # fmt: skip
        for own in (weights.own_p, self.own_m, self.own_v):  # a chunk of fewer threads left the others' behind
            own[1:threads] = own[0]
        others = [self.pool.submit(_train_steps, thread, *arguments) for thread in range(1, threads)]
        came_to = _train_steps(0, *arguments)
        for other in others:
            other.result()
        return came_to

    def _read_optimizer(self) -> None:
        """Options and state of every parameter, into the engine's buffers."""
        number = {id(p): i for i, p in enumerate(self.optimizer._params())}
        groups = {id(p): group for group in self.optimizer.param_groups for p in group["params"]}
        for i, slot in enumerate(self.plan.slots):
            group, state = groups[id(slot.parameter)], self.optimizer.state.get(number[id(slot.parameter)], {})
            if self.rule == steps.SGD:
                options = (group["lr"], group["momentum"], group["dampening"], 0.0)
                self.counts[i] = int("momentum_buffer" in state)
            else:
                options = (group["lr"], *group["betas"], group["eps"])
                self.counts[i] = int(state.get("step", 0))
            self.options[i] = *options, group["weight_decay"], float(group.get("nesterov", False))
            for name, flat in self._moments(slot):
                put(flat, slot, state[name] if name in state else np.zeros_like(slot.parameter.data))

    def _moments(self, slot: Slot) -> list[tuple[str, Array]]:
        """(name in the optimizer's state, flat buffer) of what the rule keeps for a parameter."""
        m, v = (self.own_m[0], self.own_v[0]) if slot.alone else (self.m, self.v)
        return [("momentum_buffer", m)] if self.rule == steps.SGD else [("exp_avg", m), ("exp_avg_sq", v)]

    def _read_dropout(self) -> None:
        for row, layer in zip(self.plan.rows, self.plan.layers, strict=True):
            if isinstance(layer, Dropout):
                row[steps.SEED], row[steps.STEP], row[steps.LAYER] = layer.seed, layer.step, layer.layer

    def _write_back(self) -> None:
        """Give everything back to the model and the optimizer, after `self.step` steps."""
        done, self.step = self.step, 0
        if not done:
            return
        self.weights.write()
        self.optimizer.zero_grad()  # as the graph leaves them: a gradient from before belongs to other weights
        for layer in self.plan.layers:
            if isinstance(layer, Dropout):
                layer.step += done
            elif isinstance(layer, BatchNorm1d):
                layer.num_batches_tracked += done
        number = {id(p): i for i, p in enumerate(self.optimizer._params())}
        self.counts += done
        for i, slot in enumerate(self.plan.slots):
            state = self.optimizer.state.setdefault(number[id(slot.parameter)], {})
            if self.rule == steps.SGD and not self.options[i, steps.OPTION1]:
                continue  # without momentum there is nothing to keep
            if self.rule != steps.SGD:
                state["step"] = int(self.counts[i])
            for name, flat in self._moments(slot):
                if name not in state:
                    state[name] = np.zeros_like(slot.parameter.data)
                take(flat, slot, state[name])


@flushed
def _train_steps(*arguments: Any) -> int:
    return steps.train_steps(*arguments)


_looks_a_second: float | None = None


def _patience() -> int:
    """How often a thread looks at a shut gate in PATIENCE_SECONDS, measured once a process."""
    global _looks_a_second
    if _looks_a_second is None:
        gate, looks = np.zeros(GATE_SIZE, np.int64), 20_000
        look(gate, looks)
        start = perf_counter()
        look(gate, looks)
        _looks_a_second = looks / max(perf_counter() - start, 1e-6)
    return max(100, int(_looks_a_second * PATIENCE_SECONDS))
