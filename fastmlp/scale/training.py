"""The loop and the trainer of `fit_parallel`: what one rank may not decide alone, all of them do at the same step."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import numpy as np

from .. import kernels
from ..graph import Array
from ..graph.operation import kernel_array
from ..machine import available_cores
from ..nn import Loss, Module, features_of
from ..optim import Optimizer
from ..running import door
from ..running.divergence import Divergence, WayBack
from ..running.rows import dtype_of, float_targets
from ..running.trust import check_model, check_rows, check_targets, weights_of
from ..training.history import History
from ..training.loop import Loop
from ..training.measuring import EVALUATION_BATCH
from .blocks import Blocks
from .ranks import Alone, Ranks
from .sums import Sum
from .tree import bounds_of, tree_of

COPY_STEPS = 512  # between copies of the weights to go back to: by steps, as no two clocks agree
MOST_NAMED = 16  # ranks
HELD_OUT = 6  # the channel of what is measured on held-out rows


class EvenWayBack(WayBack):
    """Copies to go back to that all ranks take at the same steps."""

    def is_due(self) -> bool:
        """Whether so many steps were made since the last."""
        return bool(self.runner.step - self.kept[0][1] >= COPY_STEPS)


class ParallelTrainer(door.Trainer):
    """`Trainer` whose runner is `Blocks`."""

    def __init__(self, make: Callable[..., Blocks], *arguments: Any) -> None:
        self.make = make
        super().__init__(*arguments)
        self.way_back = EvenWayBack()

    def prepare(self) -> None:
        """Look at what the model and the optimizer are now."""
        check_model(self.model, self.loss)
        self.optimizer.check()
        self.loss.try_out(dtype_of(self.model))
        check_rows("fit", self.data, features_of(self.model))
        check_targets("fit", self.loss, self.data, None)
        if not isinstance(self.nodes, Blocks):
            self.nodes = self.make(
                self.model, self.optimizer, self.loss, say=self.say, row_weights=self.weights, clip=self.clip,
                averaging=self.averaging,
            )  # fmt: skip
        self.runner, self.reason, self.ran_on = self.nodes, "", "graph"

    def close(self) -> None:
        """End the threads."""
        super().close()
        if isinstance(self.nodes, Blocks):
            self.nodes.close()

    def epoch(self, *arguments: Any, **options: Any) -> tuple[float, float]:
        """As `Trainer.epoch`; at its end the weights of all ranks must be the same. Error: RuntimeError."""
        mean = super().epoch(*arguments, **options)
        assert isinstance(self.nodes, Blocks)
        same_on_all(self.nodes.ranks, fingerprint_of(list(self.model.state_dict().values())), "weights")
        return mean

    def _go_back(self, order: Array, bounds: Array, first: int, rates: Array | None, number: int) -> None:
        assert isinstance(self.nodes, Blocks)
        if self.nodes.local_steps == 1:
            super()._go_back(order, bounds, first, rates, number)
            return
        (_, kept, _), steps = self.way_back.kept[0], len(bounds) - 1  # where ranks had met
        self.way_back.go(kept, steps)
        self.nodes.give()
        lr = float(self.optimizer.param_groups[0]["lr"] if rates is None else rates[kept].flat[0])
        self.divergence = Divergence(number, kept + 1, steps, "the loss", "", lr, math.nan, "", kept)


@dataclass
class ParallelLoop(Loop):
    """`Loop` on several ranks. Each has all of it; rank 0 alone prints and keeps checkpoints.

    every: steps between checkpoints, 0 for none by steps: rank 0 alone has the checkpoints, and all pause for them.
    """

    ranks: Ranks = field(default_factory=lambda: Ranks(Alone()))
    blocks: int = 8
    local_steps: int = 1
    every: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.limit_at, self.deadline = self.deadline, math.inf  # -inf once rank 0 says that it has passed
        self.together = False  # whether all ranks end by the same interrupt
        self.threads = 1

    def run(self, saved: dict[str, Any] | None = None) -> History:
        """Train; all ranks have their loop by now."""
        self.threads = self._threads()
        ranks, threads = self.ranks.size, f" of {self.threads} threads" * (self.threads > 1)
        processes = ", ".join(map(str, self.ranks.gathered([os.getpid()])[:MOST_NAMED, 0].tolist()))
        processes += ", ..." * (ranks > MOST_NAMED)
        line = f"{self.blocks} blocks a batch, on {ranks} rank{'s' * (ranks > 1)}{threads}: process {processes}"
        self.lines.append(line)
        return super().run(saved)

    def _threads(self) -> int:
        """Of this rank: what was asked for; "auto" shares the cores among the ranks of this machine."""
        most = door.ceiling(self.n_threads)
        if isinstance(self.n_threads, str):
            most = min(most, max(available_cores() // self.ranks.here(), 1))
        return min(most, -(-self.blocks // self.ranks.size))

    def make_trainer(self) -> door.Trainer:
        """What makes the epochs, block by block."""

        def make(model: Module, optimizer: Optimizer, loss: Loss, **options: Any) -> Blocks:
            return Blocks(
                model, optimizer, loss, self.ranks, blocks=self.blocks, threads=self.threads,
                local_steps=self.local_steps, **options,
            )  # fmt: skip

        return ParallelTrainer(
            make, self.model, self.optimizer, self.loss, self.data, max(self.sizes), self.n_threads, self.report.say,
            self.weights, self.clip, self.averaging,
        )  # fmt: skip

    def _start(self, stack: ExitStack, saved: dict[str, Any] | None) -> None:
        stack.callback(self._wait_for_all)  # after the last checkpoint, and what callbacks do at the end
        super()._start(stack, saved)

    def _wait_for_all(self) -> None:
        """Where an interrupt ends all ranks: who went first would take those along that still write."""
        if self.together:
            with self.signals.held():
                self.ranks.total([0])

    def measure_held_out(self) -> tuple[float, float]:
        """(loss, score) of the rows that are held out: each rank measures its blocks of them."""
        data, loss, ranks = self.held_out, self.loss, self.ranks
        if data is None:
            return math.nan, math.nan
        targets, (weights, _) = float_targets(data), weights_of("evaluate", data)
        numbers = loss.score.known(targets, weights)
        edges = bounds_of(len(data), self.blocks)
        tree = tree_of(len(edges) - 1, ranks.size)
        total = Sum([(4,)], np.float64, HELD_OUT)
        total.begin(tree, ranks.rank)
        for block in tree.blocks_of(ranks.rank):
            first, last = edges[block], edges[block + 1]
            sums = np.zeros(4)
            for start, z in door.outputs(self.model, data[first:last], EVALUATION_BATCH, self.threads):
                rows = slice(first + start, first + start + len(z))
                w = None if weights is None else weights[rows]
                found = loss.measure(z, targets[rows], numbers, w)
                sums += [found.loss, found.mass, found.above.sum(), found.below.sum()]
            total.put(block, [sums])
        total.go_on(ranks)
        ranks.finish()
        value, mass, above, below = total.parts[0].tolist()
        return value / mass if mass else math.nan, loss.score.of(above, below)

    def call_callbacks(self) -> str:
        """Call those of this rank; what one of any rank wants. Ctrl-C meanwhile, on one, is for all."""
        said = super().call_callbacks()
        wants = [said == "stopped", said == "paused", bool(self.signals.noted)]
        stops, pauses, noted = self.ranks.total(wants).tolist()
        if noted:
            self.together = True
            if not self.signals.noted and signal.SIGINT in self.signals.before:
                self.signals.noted.append((signal.SIGINT, None))
        return "stopped" if stops else "paused" * bool(pauses)

    def limit(self, step: int) -> int:
        """The step of the epoch at which a chunk must end, on all ranks, for a checkpoint there."""
        if not self.every:
            return super().limit(step)
        return step + self.every - ((self.epoch - 1) * len(self.sizes) + step) % self.every

    def after_chunk(self, trainer: door.Trainer) -> None:
        """Within an epoch: Ctrl-C on one rank, and the time limit on rank 0, are for all."""
        late = self.ranks.rank == 0 and monotonic() >= self.limit_at
        noted, passed = self.ranks.total([bool(self.signals.noted), late]).tolist()
        if noted:
            self.together = True
            self.signals.look()
            raise KeyboardInterrupt
        if passed:
            self.deadline = -math.inf
        super().after_chunk(trainer)

    def _tell(self, step: int, loss: float, score: float) -> None:
        super()._tell(step, loss, score)
        self.wanted = "stopped" if self.ranks.total([self.wanted == "stopped"])[0] else ""


def fingerprint_of(arrays: list[Array]) -> int:
    """A number of 62 bits that changes when a bit of the arrays does."""
    total = 0
    for array in arrays:
        raw = kernel_array(np.ascontiguousarray(array).reshape(-1)).view(np.uint8)
        words = np.frombuffer(raw.tobytes() + bytes(-raw.size % 4), np.uint32).copy()
        total = (total * 1_000_003 + int(kernels.fingerprint(words)) + array.size) % (1 << 62)
    return total


def same_on_all(ranks: Ranks, number: int, what: str) -> None:
    """Refuse ranks that have come apart. Error: RuntimeError, on all of them."""
    found = ranks.gathered([number])[:, 0]
    if other := [rank for rank in range(ranks.size) if found[rank] != found[0]]:
        raise RuntimeError(
            f"fit_parallel: rank {other[0]} has other {what} than rank 0; all ranks must run the same on the same data"
        )
