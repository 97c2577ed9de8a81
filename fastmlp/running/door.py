"""The one door: how a model is trained and asked, whoever runs it.

Whether the engine or the graph runs is a secret of this room. `Trainer` makes epochs, `outputs` gives what a model
makes of rows; `fit`, `evaluate` and the scripts come through here.
"""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter
from typing import Any, cast

import numpy as np

from ..data import Dataset
from ..data.features import usual_scale
from ..data.sparse import Sparse
from ..graph import Array, Tensor, no_grad
from ..machine import available_cores, thread_limit
from ..nn import Layer, Loss, Module, features_of
from ..nn.module import evaluating
from ..optim import Optimizer
from . import owing
from .averaging import Averaging
from .clip import Clip
from .divergence import FEATURES, Divergence, WayBack, is_good, largest_gradient, name_of_first
from .engine import Engine
from .nodes import Nodes
from .plan import flat_layers, obstacle
from .predict import ROWS_A_THREAD, Predictor
from .rows import batches, dtype_of, most_inputs
from .sharing import at_work
from .trust import check_model, check_rows, check_takes_weights, check_targets, weights_of

GRAPH_BATCH = 1000  # most rows that go through the graph at once
MOST_OUTPUTS = 1 << 24  # numbers that are made at once: with many classes fewer rows
GIVE_SECONDS = 0.1  # most that a model lags behind its training where nobody looks at it


def ceiling(n_threads: int | str) -> int:
    """Most threads: what was asked for, "auto" what the environment allows, and never more than there are cores."""
    return int(min(thread_limit("fit") if isinstance(n_threads, str) else int(n_threads), available_cores()))


def inputs_at_once(model: Module, rows: Any, room: int) -> int | None:
    """Most columns that a batch of `room` sparse rows needs; None where a batch has to have all of them.

    That is where rows are dense, and where the first layer that changes a number is no Linear: dropout draws by places.
    """
    takes = isinstance(rows, Sparse) and owing.takes_columns(owing.first_layer(model))
    return most_inputs(rows, room) if takes else None


def count_outputs(caller: str, model: Module, data: Dataset, rows: int) -> int | None:
    """How many numbers `model` makes of a row of `data`, found before the first step; None where nobody can say.

    Declared layers say it. Any other model is asked for the first `rows` rows: a copy of it, in evaluation mode and
    without a graph, so that neither its numbers nor its counters change. Who cannot be copied or asked so is not known.
    """
    layers = flat_layers(model)
    if layers and all(isinstance(layer, Layer) and layer.runs_on_engine() for layer in layers):
        columns = data.n_features
        for place, layer in enumerate(layers):
            columns = layer.columns(columns, place)
        return columns
    if any("forward" in module.__dict__ for module in model.modules()):  # a copy would call the original
        return None
    try:
        x, _ = next(batches(data, np.arange(rows), [rows], dtype_of(model)))
        twin = copy.deepcopy(model)
        with no_grad(), evaluating():
            z = twin(x)
    except Exception:  # of somebody else's code; the first step will say it
        return None
    return checked_output(caller, model, z, rows).shape[1]


def checked_output(caller: str, model: Module, z: Any, rows: int) -> Array:
    """The numbers of what a model gave for so many rows, (rows, outputs). Error: TypeError for anything else."""
    if not isinstance(z, Tensor) or z.ndim != 2 or len(z) != rows:
        given = f"a Tensor {z.shape}" if isinstance(z, Tensor) else type(z).__name__
        what = f"a Tensor ({rows}, outputs)"
        raise TypeError(f"{caller}: {type(model).__name__} gives {given} for {rows} rows; it must give {what}")
    return z.data


class Pauses:
    """What a training does between chunks of steps: look for Ctrl-C, keep a checkpoint. This one does nothing."""

    def limit(self, step: int) -> int:
        """The step of the epoch, above this one, at which a chunk must end."""
        return sys.maxsize

    def after_chunk(self, trainer: Trainer) -> None:
        """Called when some steps are done; `trainer.give()` brings the model up to date. What it raises ends all."""


class Trainer:
    """What trains a model epoch by epoch, in batches of at most `room` rows. Use `with`: it ends the threads.

    Before each epoch it looks at what has changed since the last: a callback may freeze a layer, swap an array, change
    an option or add a layer. So engine and graph do the same, to the bit, and what runs may change between epochs.
    `ran_on` says what ran last, or will first: "engine" or "graph". `say` gets a line where the graph runs, and why.
    weights: (N,) what each row of `data` counts in the loss; where None, its `sample_weight`.
    `divergence` says what was found where an epoch ended as its numbers left what a float can hold.
    `unseen` says that nobody else's code, such as a callback, has run since the last look, or can have: the engine then
    goes on with what it holds, without another look.
    `hidden` says that nobody looks at the model between epochs either: of epochs shorter than GIVE_SECONDS not each is
    written to it, but so that what it holds is never older than that; `leave` brings it up to date.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        loss: Loss,
        data: Dataset,
        room: int,
        n_threads: int | str,
        say: Callable[[str], Any],
        weights: Array | None = None,
        clip: Clip | None = None,
        averaging: Averaging | None = None,
    ) -> None:
        self.weights = weights
        if weights is not None:
            check_takes_weights("fit: rows have weights", loss)
        self.model, self.optimizer, self.loss, self.data = model, optimizer, loss, data
        self.room, self.most_threads, self.say = room, ceiling(n_threads), say
        self.clip, self.averaging = clip or Clip(), averaging
        self.rows: tuple[Array, list[int]] = np.zeros(0, np.int64), []  # of the last epoch, and its batches' sizes
        self.engine: Engine | None = None
        self.nodes = Nodes(model, optimizer, loss, say, weights, self.clip, averaging=averaging)
        self.runner: Engine | Nodes = self.nodes
        self.way_back, self.divergence = WayBack(), cast("Divergence | None", None)
        self.reason, self.ran_on, self.opened = "", "engine", 0  # the number of the epoch that was opened last
        self.unseen, self.hidden, self.swept_for = False, False, ""
        self.prepare()

    def __enter__(self) -> Trainer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the engine's threads, where there are any."""
        engine, self.engine = self.engine, None
        if engine is not None:
            engine.__exit__()

    def prepare(self) -> None:
        """Choose engine or graph for what the model and the optimizer are now, and compile what will run."""
        check_model(self.model, self.loss)
        self.optimizer.check()
        self.loss.try_out(dtype_of(self.model))
        reason = obstacle(self.model, self.optimizer) or ""
        if not reason and not self.loss.runs_on_engine():
            reason = f"{type(self.loss).__name__} declares no kernels for its forward"
        if why := owing.why_not_lazy(self.model, self.optimizer, self.data.features, reason, self.clip.on):
            raise ValueError(f"fit: {type(self.optimizer).__name__} has lazy=True, and {why}; it must be False then")
        if reason != self.reason:
            self.say(f"training on the graph, node by node: {reason}" if reason else "training on the engine again")
        self.reason, self.ran_on = reason, "graph" if reason else "engine"
        if reason:
            self.close()
            check_rows("fit", self.data, features_of(self.model))
            check_targets("fit", self.loss, self.data, None)
        elif self.engine is not None and self.engine.still_fits() and self.engine.width == self._width():
            self.engine.take_over()
        else:
            self.close()
            self.engine = self._engine()
        self.runner = self.engine or self.nodes

    def _width(self) -> int:
        """Numbers in a row's targets; 0 where a callback has put something else in their place, which is refused."""
        targets = self.data.targets
        return targets.size // max(len(targets), 1) if isinstance(targets, np.ndarray) and targets.shape else 0

    def _engine(self) -> Engine:
        """An engine with its kernels compiled and its threads started."""
        features = self.data.n_features
        engine = Engine(
            self.model, self.optimizer, features, self.room, self.most_threads, loss=self.loss, width=self._width(),
            row_weights=self.weights, clip=self.clip, averaging=self.averaging,
            at_once=inputs_at_once(self.model, self.data.rows, self.room),
        )  # fmt: skip
        engine.prepare(self.data)
        targets = self.data.targets[:4]
        z = np.random.default_rng(0).normal(size=(len(targets), engine.plan.columns))
        self.loss.try_out(engine.plan.dtype, z.astype(engine.plan.dtype), targets)
        if (started := engine.team.start()) < engine.ceiling or not len(engine.team):
            threads = started if len(engine.team) else "none"
            self.say(f"of {engine.ceiling} threads {threads} could be started; the training goes on without the others")
        return engine

    def stop(self) -> None:
        """Ask for the end of the chunk that runs: a step that has changed nothing yet is given up."""
        self.runner.stop()

    def give(self) -> None:
        """Bring the model and the optimizer up to date, within an epoch."""
        self.runner.give()
        self.way_back.given()

    def is_good(self) -> bool:
        """Whether all that the engine holds is finite: before a checkpoint is made of it."""
        return is_good(self.runner, whole=True)

    @property
    def step(self) -> int:
        """The steps of this epoch that the model and the optimizer hold."""
        return self.runner.given

    @property
    def steps(self) -> int:
        """How many steps the last epoch has: one for each batch that counts."""
        return len(self.rows[1])

    def tally(self) -> Array:
        """(5,) what the steps of this epoch have added up so far."""
        return self.runner.tally()

    def epoch(
        self,
        order: Array,
        sizes: list[int],
        on_rows: Callable[[int, float, float], Any],
        rates: Array | None = None,
        done: Array | None = None,
        pauses: Pauses | None = None,
        number: int = 1,
    ) -> tuple[float, float]:
        """One pass over the rows `order` in batches of `sizes`: (mean loss, score).

        on_rows(rows, mean loss so far, score so far) is called after each chunk of steps, and `pauses` too. rates as
        those of `Engine.open`. done: `tally()` where some steps of this epoch are done already; its number is for
        sentences. The loss is that of the weights that are trained; where they are averaged, the model holds their
        average after. Where it is not finite, `divergence` is set, and the model holds the last good weights.
        A batch whose rows all have the weight 0 is left out: no step is made, so weights, moments, statistics and masks
        are as if its rows were not there. The other steps have the rates of their places; `rows` says which there are.
        """
        weights, _ = weights_of("fit", self.data, self.weights)
        if weights is not None:
            order, sizes, rates = with_weight(weights, order, sizes, rates)
        self.rows = order, sizes
        if self.averaging is not None and done is None:
            self.averaging.begin()
        with at_work():
            mean = self._epoch(order, sizes, on_rows, rates, done, pauses or Pauses(), number)
        if self.averaging is not None:
            self.averaging.end_of_epoch(self.divergence is None)
            self.averaging.show(self.data, order, sizes)
        return mean

    def leave(self, kind: type[BaseException] | None, *exception: object, hurry: bool = False) -> None:
        """Give the model its average, also where an epoch was not whole; called with what has ended the training.

        Where that is an error, the rows may be at fault: then nothing is measured on them. After Ctrl-C and in a hurry
        it is measured on the first of them, so that nobody waits.
        """
        if self.hidden:
            self.runner.give()
        if self.averaging is not None:
            order, sizes = self.rows
            interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
            sizes = sizes if kind is None or interrupted else []
            self.averaging.show(self.data, order, sizes, hurry=hurry or interrupted)

    def _epoch(
        self, order: Array, sizes: list[int], on_rows: Callable[[int, float, float], Any], rates: Array | None,
        done: Array | None, pauses: Pauses, number: int,
    ) -> tuple[float, float]:  # fmt: skip
        if not (self.unseen and self.engine is not None):
            self.prepare()
            self.runner.train_on(self.data)
        runner, first = self.runner, 0 if done is None else int(done[2])
        runner.open(order, sizes, rates, first, done)
        self.opened = number
        if isinstance(runner, Engine) and runner.swept_for not in ("", owing.MANY, self.swept_for):
            self.swept_for = runner.swept_for
            self.say(f"sparse rows: each step changes all weights of the first layer, as {self.swept_for}")
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        try:
            self.way_back.begin(runner)
            while runner.step < len(sizes):
                before = runner.step
                bad = runner.chunk(min(len(sizes), pauses.limit(before)), self.way_back.of(before))
                due = self.way_back.is_due()
                if bad or not is_good(runner, whole=due or runner.step == len(sizes)):
                    self._go_back(order, bounds, first, rates, number)
                    return math.nan, math.nan
                if runner.step > before:
                    on_rows(int(bounds[runner.step] - bounds[before]), *runner.mean())
                    self.way_back.after(due)
                pauses.after_chunk(self)
        except BaseException:
            runner.give()
            raise
        late = perf_counter() - runner.given_at > GIVE_SECONDS
        runner.settle() if self.hidden and not late and not runner.is_large else runner.give()
        return runner.mean()

    def _go_back(self, order: Array, bounds: Array, first: int, rates: Array | None, number: int) -> None:
        """Back to the weights of the last finite loss, and say in `divergence` what was found.

        Either the update of step `bad` has made a weight, or a sum, that is not finite, or the weights are, and the
        loss of step `bad` is not: then its weights are those that the update before made.
        """
        runner, steps = self.runner, len(bounds) - 1
        bad, target = runner.step, runner.step - 1
        what, layer = "the loss", ""
        if runner.step > first and not is_good(runner, whole=True):
            bad = target = self.way_back.first_bad(runner.step)
            what = "a weight" if np.isfinite(runner.sums[0]) else what
        if bad < steps and not runner.is_large:  # there the model holds the way back
            runner.give()
            layer = self._ask(order[bounds[bad] : bounds[bad + 1]], lambda x, *_: name_of_first(self.model, x)) or ""
            what = layer if layer == FEATURES else what
        gradient = math.nan, ""
        kept = target if self.way_back.go(target, steps) else runner.given
        runner.give()
        if kept >= 0 and (bad or target == bad):
            rows = order[bounds[kept] : bounds[kept + 1]]
            gradient = self._ask(rows, lambda *batch: largest_gradient(self.model, self.loss, *batch)) or gradient
        lr = float(self.optimizer.param_groups[0]["lr"] if rates is None else rates[max(kept, 0)].flat[0])
        self.divergence = Divergence(number, bad + 1, steps, what, layer, lr, *gradient, kept)

    def _ask(self, rows: Array, measure: Callable[..., Any]) -> Any:
        """What `measure` says of a batch of these rows; None where the model cannot be copied, or asked."""
        try:
            x, targets = next(batches(self.data, rows, [len(rows)], dtype_of(self.model)))
            weights, _ = weights_of("fit", self.data, self.weights)
            return measure(x, targets, None if weights is None else weights[rows])
        except Exception:  # of somebody else's code: what is said is then shorter
            return None


def with_weight(
    weights: Array, order: Array, sizes: list[int], rates: Array | None
) -> tuple[Array, list[int], Array | None]:
    """(order, sizes, rates) of the batches in which a row has a weight.    weights: (N,) of all rows

    Error: ValueError where there are none.
    """
    counts = np.logical_or.reduceat(weights[order] != 0, np.cumsum([0, *sizes[:-1]]))
    if not counts.any():
        raise ValueError("fit: all rows to train on have the weight 0; one at least must count")
    if counts.all():
        return order, sizes, rates
    kept = [size for size, there in zip(sizes, counts, strict=True) if there]
    return order[np.repeat(counts, sizes)], kept, None if rates is None else rates[counts]


def outputs(
    model: Module, data: Dataset, batch_size: int, n_threads: int | str = 1, predictor: Predictor | None = None
) -> Iterator[tuple[int, Array]]:
    """(first row, outputs) of all rows in evaluation mode, `batch_size` at a time.

    Fewer at a time where there are more than MOST_OUTPUTS numbers in them; on the graph at most GRAPH_BATCH. The model
    is not touched: another thread may train it or ask it meanwhile.
    """
    order = np.arange(len(data))
    if obstacle(model) is None:
        predictor = predictor or Predictor(model, ceiling(n_threads) if len(data) >= 2 * ROWS_A_THREAD else 1)
        batch_size = min(batch_size, max(MOST_OUTPUTS // predictor.columns, 1))
        for start in range(0, len(data), batch_size):
            yield start, predictor.logits(data, order[start : start + batch_size])
        return
    size, done = min(batch_size, GRAPH_BATCH), 0
    sizes = [min(size, len(data) - start) for start in range(0, len(data), size)]
    for x, _ in batches(data, order, sizes, dtype_of(model)):
        z = _evaluated(model, x)
        yield done, z
        done += len(z)


def asker(model: Module) -> Callable[[Array], Array]:
    """What gives a model's outputs for arrays (N, features) in evaluation mode: a `Predictor`, or the graph."""
    return Predictor(model) if obstacle(model) is None else partial(_asked, model)


def _asked(model: Module, x: Array) -> Array:
    dtype = dtype_of(model)
    return _evaluated(model, Tensor(x.astype(dtype) * dtype.type(usual_scale(x))))


def _evaluated(model: Module, x: Tensor) -> Array:
    """What the graph makes of x in evaluation mode. No block is open while a caller has the numbers."""
    with no_grad(), evaluating():
        z = model(x)
    return checked_output("evaluate", model, z, len(x))
