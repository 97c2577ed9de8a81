"""Training node by node, on the graph: for models with layers that have no kernels for the engine."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from time import perf_counter
from typing import Any

import numpy as np

from .. import kernels
from ..data import Dataset
from ..graph import Array, Tensor
from ..graph.operation import GivenUpError, interruptible
from ..nn import Layer, Loss, Module
from ..nn.score import added
from ..optim import Optimizer
from .averaging import Averaging
from .clip import Clip
from .plan import trained_parameters
from .rows import batches, dtype_of, float_targets
from .trust import weights_of

CHUNK_SECONDS = 0.05  # a call makes steps for about so long: for Ctrl-C and progress


class Nodes:
    """Training of one model with one optimizer and one loss on the graph; the methods are those of `Engine`.

    say  gets a line where the first step compiles kernels
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        loss: Loss,
        say: Callable[[str], Any] = lambda line: None,
        row_weights: Array | None = None,
        clip: Clip | None = None,
        after_step: Callable[[int], Any] = lambda step: None,
        averaging: Averaging | None = None,
    ) -> None:
        self.model, self.optimizer, self.loss, self.say = model, optimizer, loss, say
        self.row_weights, self.clip, self.after_step = row_weights, clip, after_step
        self.averaging = averaging if averaging is not None and averaging.by_steps else None
        self.sums, self.given, self.asked, self.made, self.updating = np.zeros(5), 0, False, 0, False

    @property
    def step(self) -> int:
        """How many steps of this epoch are done."""
        return int(self.sums[2])

    def train_on(self, data: Dataset) -> None:
        """Epochs are on these rows from here on."""
        self.data, self.every = data, float_targets(data)
        self.weights, self.scored = weights_of("fit", data, self.row_weights)

    def open(
        self, order: Array, sizes: list[int], rates: Array | None = None, first: int = 0, sums: Array | None = None
    ) -> None:
        """An epoch on the rows `order` of those data, in batches of `sizes`, of which `first` are done already."""
        self.order, self.sizes, self.rates = order, sizes, rates
        self.bounds = np.concatenate([[0], np.cumsum(sizes)])
        self.numbers = self.loss.score.known(self.every, self.scored, order)
        self.sums = np.zeros(5) if sums is None else sums.copy()
        self.sums[2] = self.given = first
        self.moves = () if self.averaging is None else self.averaging.weights(len(sizes), first)
        self.dtype, self.trained = dtype_of(self.model), trained_parameters(self.model, self.optimizer)

    def chunk(self, limit: int, back: Any = None) -> bool:
        """Make some steps, to `limit` at most; True where the next one is given up, as its loss is not finite."""
        start, self.asked = perf_counter(), False
        place = int(self.bounds[self.step])
        following = batches(self.data, self.order[place:], self.sizes[self.step : limit], self.dtype)
        with interruptible(self._look):
            for x, targets in following:
                if not self._step(x, targets):
                    return not self.asked
                if self.asked or perf_counter() - start > CHUNK_SECONDS:
                    break
        return False

    def stop(self) -> None:
        """Ask for the end of the chunk: a step that has changed no parameter yet is given up."""
        self.asked = True

    def _look(self) -> None:
        if self.asked and not self.updating:  # a rule of somebody's own may call operations
            raise GivenUpError

    def _step(self, x: Tensor, targets: Array) -> bool:
        """One step; False where it was given up, with all as it was."""
        step, loss, optimizer = self.step, self.loss, self.optimizer
        rows = self.order[self.bounds[step] : self.bounds[step + 1]]
        w, scores_w = (None if given is None else given[rows] for given in (self.weights, self.scored))
        if self.rates is not None:
            optimizer.set_rates(self.rates[step])
        before = statistics_of(self.model)
        try:
            with kernels.announce_compiling(self.say) if not self.made else nullcontext():
                z = self.model(x)
                value = loss(z, targets, w)
                if not math.isfinite(value.item()):
                    put_back(before)
                    return False
                optimizer.zero_grad()
                value.backward()
                if self.clip is not None:
                    self.clip.apply(self.trained)
                after = self._added(value.item(), z.data, self.every[rows], w, scores_w)
            self.updating = True
            optimizer.step()  # where that ends in an error, nothing is changed yet
        except GivenUpError:
            put_back(before)
            return False
        except BaseException:
            put_back(before)
            raise
        finally:
            self.updating = False
        self.after_step(step)
        if len(self.moves):
            assert self.averaging is not None
            self.averaging.go_on(self.moves[step])
        self.made, self.sums = self.made + 1, after
        return True

    def _added(self, value: float, z: Array, targets: Array, w: Array | None, scores_w: Array | None) -> Array:
        """(5,) the sums after one more step, with this loss and these outputs."""
        sums, loss = self.sums.copy(), self.loss
        mass, factor = loss.mass(targets, w), loss.factor(z.shape[1])
        terms, counts = loss.scores(z, targets, self.numbers, scores_w)
        sums[0] += value / factor if factor else value * mass
        sums[1], sums[3], sums[4] = added(sums[1], terms), sums[3] + mass, added(sums[4], counts)
        sums[2] += 1
        return sums

    def give(self) -> None:
        """The model and the optimizer hold what they are; gradients are of other weights."""
        self.given = self.step
        self.optimizer.zero_grad()
        self.model.zero_grad()  # what the optimizer does not hold got gradients all the same

    def settle(self) -> None:
        """As `give`."""
        self.give()

    def mean(self) -> tuple[float, float]:
        """(mean loss, score) of the steps so far."""
        sums = self.sums
        return float(sums[0] / sums[3]) if sums[3] else math.nan, self.loss.score.of(float(sums[1]), float(sums[4]))

    def tally(self) -> Array:
        """(5,) what the steps that the model holds have added up, for `open`."""
        return self.sums.copy()

    def snapshot(self, into: Any = None) -> Any:
        """Copies of all that a step changes."""
        state = {i: {name: np.copy(value) if isinstance(value, np.ndarray) else value for name, value in kept.items()}
                 for i, kept in self.optimizer.state.items()}  # fmt: skip
        parameters = [(p.data, p.data.copy()) for p in self.model.parameters()]
        average = None
        if self.averaging is not None:
            average = self.averaging.count, {name: array.copy() for name, array in self.averaging.average.items()}
        return parameters, statistics_of(self.model), state, average, self.sums.copy()

    def restore(self, kept: Any) -> None:
        """Back to where a snapshot was taken."""
        parameters, statistics, state, average, sums = kept
        for array, before in parameters:
            array[...] = before
        put_back(statistics)
        self.optimizer.state = {
            i: {name: np.copy(value) if isinstance(value, np.ndarray) else value for name, value in values.items()}
            for i, values in state.items()
        }
        if self.averaging is not None and average is not None:
            self.averaging.count = average[0]
            for name, before in average[1].items():
                self.averaging.average[name][...] = before
        self.sums = sums.copy()

    is_large = False  # of which there are copies all the same
    given_at = 0.0  # the model's own arrays are what it works on: what is given are gradients

    def is_finite(self, whole: bool = True) -> bool:
        """Whether all parameters are."""
        return all(bool(np.isfinite(p.data).all()) for p in self.model.parameters())


def statistics_of(model: Module) -> list[tuple[Any, str | None, Any]]:
    """What a forward pass in training mode changes: statistics, and the counters of layers that draw."""
    arrays: list[tuple[Any, str | None, Any]] = [(array, None, array.copy()) for _, array in model.named_buffers()]
    drawing: list[Any] = [layer for layer in model.modules() if isinstance(layer, Layer) and layer.form == "random"]
    return arrays + [(layer, "step", layer.step) for layer in drawing]


def put_back(kept: list[tuple[Any, str | None, Any]]) -> None:
    """All as it was when `statistics_of` was asked."""
    for thing, name, value in kept:
        if name is None:
            thing[...] = value
        else:
            setattr(thing, name, value)


def epoch(
    model: Module,
    optimizer: Optimizer,
    loss: Loss,
    data: Dataset,
    order: Array,
    sizes: list[int],
    on_rows: Callable[[int, float, float], Any],
    rates: Array | None = None,
    row_weights: Array | None = None,
    clip: Clip | None = None,
    after_step: Callable[[int], Any] = lambda step: None,
) -> tuple[float, float]:
    """One pass over the rows in `order`; returns (mean loss, score). The arguments are those of `Engine.epoch`.

    row_weights: those of `Engine`. clip: of the gradients, before each step; after_step is called with its number after
    it.
    """
    nodes = Nodes(model, optimizer, loss, row_weights=row_weights, clip=clip, after_step=after_step)
    nodes.train_on(data)
    nodes.open(order, sizes, rates)
    while nodes.step < len(sizes):
        before = nodes.step
        if nodes.chunk(before + 1):
            return math.nan, math.nan
        on_rows(sizes[before], *nodes.mean())
    nodes.give()
    return nodes.mean()
