"""Steps whose batch is cut into row blocks, on several ranks and threads: the runner of `fit_parallel`.

Each block goes through a copy of the model that shares its parameters, on the graph. What comes of it, gradients,
losses, counts and what the forward pass did to statistics, is added over the blocks by the tree of `scale.tree`; then
every rank makes the same step with the same sums.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from .. import kernels
from ..check import reason
from ..graph import Array, Parameter
from ..graph.hooks import replaced
from ..graph.operation import packed_once
from ..kernels import flushed
from ..nn import Layer, Loss, Module
from ..nn.score import added
from ..optim import Optimizer
from ..running.averaging import Averaging
from ..running.clip import Clip
from ..running.nodes import CHUNK_SECONDS, Nodes, put_back, statistics_of
from ..running.rows import batches
from ..training.loop import drawing
from .ranks import Ranks
from .sums import Sum, bucketed
from .tree import bounds_of, tree_of

BUCKET = 1 << 16  # numbers of gradients that go on their way together, at least
LOOK_SECONDS = 2e-4  # between looks for messages, while other threads work
ASKED, TIME, INTS = 0, 1, 2  # places in the whole numbers of a step: who asks for an end; then one count a parameter


class Blocks(Nodes):
    """Training of one model with one optimizer and one loss, block by block; the methods are those of `Nodes`.

    blocks       most blocks of a batch         threads  of this rank
    local_steps  1: gradients are added over all blocks, each step. K: each rank trains alone on its blocks, and after
                 K steps, and at an epoch's end, weights, the optimizer's arrays and statistics become the mean of all
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        loss: Loss,
        ranks: Ranks,
        say: Callable[[str], Any] = lambda line: None,
        row_weights: Array | None = None,
        clip: Clip | None = None,
        averaging: Averaging | None = None,
        blocks: int = 8,
        threads: int = 1,
        local_steps: int = 1,
    ) -> None:
        super().__init__(model, optimizer, loss, say, row_weights, clip, averaging=averaging)
        self.ranks, self.blocks, self.local_steps = ranks, blocks, local_steps
        self.leaving = False
        self.pool = ThreadPoolExecutor(threads, "fastmlp_blocks") if threads > 1 else None
        self.interrupted = False  # whether a rank has asked for an end: all of them know at the same step

    def close(self) -> None:
        """End the threads."""
        if self.pool is not None:
            self.pool.shutdown()

    def open(
        self, order: Array, sizes: list[int], rates: Array | None = None, first: int = 0, sums: Array | None = None
    ) -> None:
        """An epoch on the rows `order` of those data, in batches of `sizes`, of which `first` are done already."""
        super().open(order, sizes, rates, first, sums)
        self.least = max((m.least_rows for m in self.model.modules() if isinstance(m, Layer)), default=1)
        self.buffers = dict(self.model.named_buffers())
        self.floats = [name for name, array in self.buffers.items() if array.dtype.kind == "f"]
        self.wholes = [name for name, array in self.buffers.items() if array.dtype.kind != "f" and array.size]
        self.layers = drawing(self.model)
        shapes, dtypes = [p.shape for p in self.trained], [p.dtype for p in self.trained]
        self.buckets = bucketed(shapes, dtypes, BUCKET)
        whole = INTS + len(self.trained) + sum(self.buffers[name].size for name in self.wholes)
        self.gradients = [
            Sum([shapes[k] for k in group], dtypes[group[0]], 10 + b) for b, group in enumerate(self.buckets)
        ]
        self.numbers_sum, self.whole_sum = Sum([(3,)], np.float64, 1), Sum([(whole,)], np.int64, 2)
        self.statistics = Sum([self.buffers[name].shape for name in self.floats], self.dtype, 3)
        self.all = [*self.gradients, self.numbers_sum, self.whole_sum, *[self.statistics] * bool(self.floats)]
        self.place = {k: (b, at) for b, group in enumerate(self.buckets) for at, k in enumerate(group)}
        most = -(-self.blocks // self.ranks.size)
        self.copies = [_Copy(self, slot) for slot in range(most)]
        self.local_sums = np.zeros(5)

    def chunk(self, limit: int, back: Any = None) -> bool:
        """Make some steps, to `limit` at most; True where the next one is given up, as its loss is not finite.

        All ranks end it at the same step: where one has asked for that, or the time of rank 0 has come.
        """
        self.start, self.asked, self.interrupted = perf_counter(), False, False
        while self.step < limit:
            if not self._blocks_step():
                return True
            if self.leaving:
                break
        return False

    def _flags(self) -> list[int]:
        late = self.ranks.rank == 0 and perf_counter() - self.start > CHUNK_SECONDS
        return [int(self.asked), int(late)]

    @flushed
    def _blocks_step(self) -> bool:
        """One step; False where it was given up, with all as it was."""
        step, optimizer, ranks, model = self.step, self.optimizer, self.ranks, self.model
        rows = self.order[self.bounds[step] : self.bounds[step + 1]]
        edges = bounds_of(len(rows), self.blocks, self.least)
        self.tree = tree_of(len(edges) - 1, ranks.size)
        mine = self.tree.blocks_of(ranks.rank)
        alone = self.local_steps > 1
        own = rows[edges[mine.start] : edges[mine.stop]] if alone else rows
        mass = self.loss.mass(self.every[own], None if self.weights is None else self.weights[own])
        if self.rates is not None:
            optimizer.set_rates(self.rates[step])
        before = statistics_of(model)
        self.packed: dict[int, Array] = {}  # the weights as products take them, of this step
        for one in self.all:
            one.begin(self.tree, ranks.rank)
        try:
            with kernels.announce_compiling(self.say) if not self.made else nullcontext():
                self._run([
                    partial(self.copies[slot].run, block, rows[edges[block] : edges[block + 1]], mass)
                    for slot, block in enumerate(mine)
                ])  # fmt: skip
            for one in self.all:
                one.alone() if alone else one.go_on(ranks)
            ranks.finish()
            whole = self.whole_sum.parts[0]
            value, above, below = self.numbers_sum.parts[0]
            good = math.isfinite(value)
            together = alone and ((step + 1) % self.local_steps == 0 or step + 1 == len(self.sizes))
            if alone:
                good = self._agreed(whole, good, together)
            self.interrupted, self.leaving = bool(whole[ASKED]), bool(whole[ASKED] or whole[TIME])
            if not good:
                put_back(before)
                return False
            self._take(whole, len(mine) if alone else self.tree.blocks)
            optimizer.step()
        except BaseException:
            put_back(before)
            raise
        self._finish_step(step, np.array([value, above, 0, mass, below]), alone, together)
        return True

    def _run(self, work: list[Callable[[], None]]) -> None:
        """All of it, side by side where there are threads; messages are sent by this thread alone, between."""
        if self.pool is None or len(work) < 2 or not self.made:
            for one in work:
                one()
                self.look()
            return
        waiting: set[Future[None]] = {self.pool.submit(flushed(one)) for one in work}
        while waiting:
            done, waiting = wait(waiting, LOOK_SECONDS)
            for future in done:
                future.result()
            self.look()

    def look(self) -> None:
        """Send what is ready, and let sums go on."""
        if self.local_steps == 1:
            for one in self.gradients:
                one.go_on(self.ranks)
            self.ranks.pump()

    def _take(self, whole: Array, blocks: int) -> None:
        """The model gets its gradients, and what the forward passes have made of its statistics."""
        self.optimizer.zero_grad()
        for bucket, group in zip(self.gradients, self.buckets, strict=True):
            for k, gradient in zip(group, bucket.parts, strict=True):
                parameter = self.trained[k]
                if whole[INTS + k]:  # else no block has a gradient of it
                    for handle in parameter._hooks:
                        gradient = replaced("fit_parallel", handle.hook(gradient), gradient)
                    parameter.grad = gradient
        if self.clip is not None:
            self.clip.apply(self.trained)
        if not blocks:
            return
        for name, moved in zip(self.floats, self.statistics.parts if self.floats else (), strict=True):
            self.buffers[name] += moved / self.dtype.type(blocks)
        at = INTS + len(self.trained)
        for name in self.wholes:
            array = self.buffers[name]
            array += (whole[at : at + array.size].reshape(array.shape) // blocks).astype(array.dtype)
            at += array.size

    def _finish_step(self, step: int, terms: Array, alone: bool, together: bool) -> None:
        for layer in self.layers:
            layer.step += layer.training
        if len(self.moves):
            assert self.averaging is not None
            self.averaging.go_on(self.moves[step])
        self.made += 1
        if alone:
            self.local_sums += terms
            if together:
                self._meet()
                terms, self.local_sums = self.local_sums, np.zeros(5)
        if together or not alone:
            count = self.sums[2]
            self.sums = self.sums + terms
            self.sums[2] = count
        self.sums[2] += 1

    # --- steps of each rank alone ---

    def _agreed(self, whole: Array, good: bool, together: bool) -> bool:
        """Whether the losses of all ranks are finite; `whole` gets their flags. Within K steps nobody is asked."""
        if together:
            *whole[:INTS], bad = self.ranks.total([*self._flags(), not good])
            return not bad
        whole[:INTS] = 0
        return True

    def _meet(self) -> None:
        """Weights, arrays of the optimizer and statistics become the mean over the ranks; losses are added up."""
        state = [value for values in self.optimizer.state.values() for value in values.values()]
        arrays = [p.data for p in self.trained] + [a for a in state if isinstance(a, np.ndarray)]
        arrays += [self.buffers[name] for name in self.floats]
        tree, rank = tree_of(self.ranks.size, self.ranks.size), self.ranks.rank
        flats = [np.concatenate([array.reshape(-1) for array in arrays]), self.local_sums]
        sums = [
            self.ranks.start(channel, tree, {(rank, rank + 1): flat}, flat.size, flat.dtype)
            for channel, flat in enumerate(flats, 4)
        ]
        self.ranks.finish()
        at, total = 0, sums[0]
        total /= total.dtype.type(self.ranks.size)
        for array in arrays:
            array[...] = total[at : at + array.size].reshape(array.shape)
            at += array.size
        self.local_sums = sums[1]


def mask_layer(layer: int, block: int) -> int:
    """The number that a layer's masks in a block are drawn with: rows count anew in each."""
    return layer + (block << 32)


class _Copy:
    """A copy of the model that shares its parameters' arrays, for one block after the other."""

    def __init__(self, runner: Blocks, slot: int) -> None:
        self.runner, self.slot = runner, slot
        model = runner.model
        shared = {id(parameter.data): parameter.data for parameter in model.parameters()}
        try:
            self.model = copy.deepcopy(model, shared)
        except Exception as error:  # of somebody else's code
            name = type(model).__name__
            raise TypeError(f"fit_parallel: {name} cannot be copied, for each block one: {reason(error)}") from error
        number = {id(parameter): k for k, parameter in enumerate(model.parameters())}
        own = list(self.model.parameters())
        self.parameters: list[Parameter] = [own[number[id(parameter)]] for parameter in runner.trained]
        for k, parameter in enumerate(self.parameters):
            parameter.register_hook(partial(self.keep, k))
        self.buffers = dict(self.model.named_buffers())
        self.layers = drawing(self.model)
        self.alone = runner.pool is None

    def run(self, block: int, rows: Array, mass: float) -> None:
        """The block's rows forward and back, and all that comes of it into the sums. mass: Σ w q of the whole batch."""
        runner, loss = self.runner, self.runner.loss
        self.block = block
        self.there: list[list[Array | None]] = [[None for _ in group] for group in runner.buckets]
        self.missing = [len(group) for group in runner.buckets]
        self.model.zero_grad()
        for name, array in self.buffers.items():
            array[...] = runner.buffers[name]
        for layer, original in zip(self.layers, runner.layers, strict=True):
            layer.step, layer.seed, layer.layer = original.step, original.seed, mask_layer(original.layer, block)
        x, targets = next(batches(runner.data, rows, [len(rows)], runner.dtype))
        w, scored = (None if given is None else given[rows] for given in (runner.weights, runner.scored))
        with packed_once(runner.packed):
            z = self.model(x)
        value = loss(z, targets, w)
        own, factor = loss.mass(runner.every[rows], w), loss.factor(z.shape[1])
        above, below = loss.scores(z.data, runner.every[rows], runner.numbers, scored)
        total = value.item() / factor if factor else value.item() * own
        runner.numbers_sum.put(block, [np.array([total, added(0.0, above), added(0.0, below)])])
        share = 1.0 if factor else own / mass if mass else 0.0
        value.backward(np.asarray(share, value.dtype))
        for b, left in enumerate(self.missing):
            if left:
                runner.gradients[b].put(block, self.there[b])
        counts = [
            int(self.there[b][at] is not None) for b, at in map(runner.place.__getitem__, range(len(self.parameters)))
        ]
        moved = [(self.buffers[name].astype(np.int64) - runner.buffers[name]).reshape(-1) for name in runner.wholes]
        flags = runner._flags() if block == runner.tree.blocks_of(runner.ranks.rank).start else [0, 0]
        runner.whole_sum.put(block, [np.concatenate([flags, counts, *moved]).astype(np.int64)])
        if runner.floats:
            runner.statistics.put(block, [self.buffers[name] - runner.buffers[name] for name in runner.floats])

    def keep(self, k: int, gradient: Array) -> None:
        """A gradient is there: where it is the last of its group, the group goes on its way."""
        b, at = self.runner.place[k]
        self.there[b][at] = gradient
        self.missing[b] -= 1
        if not self.missing[b]:
            self.runner.gradients[b].put(self.block, self.there[b])
            if self.alone:
                self.runner.look()
