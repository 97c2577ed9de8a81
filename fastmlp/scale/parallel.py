"""One training on several machines: `fit_parallel` and `resume_parallel`."""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from ..check import reason, whole
from ..data import Dataset
from ..nn import Module
from ..store.resume import Resumed, gone_on, resume
from ..training.assembly import assembled
from ..training.digest import of_array
from ..training.history import History
from ..training.loop import Loop
from ..training.state import packed
from ..training.train import fit
from .ranks import Ranks, world
from .training import ParallelLoop, fingerprint_of, same_on_all

T = TypeVar("T")


def fit_parallel(
    model: Module, data: Dataset, *, blocks: int = 8, local_steps: int = 1, comm: Any = None, **arguments: Any
) -> History:
    """Train `model` on `data` as `fit` does, on all ranks of MPI: each runs this same call.

    The batch of every step is cut into `blocks` blocks of rows, each rank makes the gradients of its blocks, and they
    are added in a binary tree over the blocks (`scale.tree`); every rank then makes the same step. So the result is the
    same to the last bit for every number of ranks and of threads. It hangs on `blocks`: other blocks are another order
    of sums. Without batch norm and dropout it agrees with `fit` to rounding.

    blocks       at least as many as there are ranks; batches of fewer rows have fewer. Powers of two share out evenly
    local_steps  1: as above. K: each rank takes K steps on its own blocks alone, then the weights, the optimizer's
                 arrays and the statistics of all ranks become their mean. A K-th of the messages, for a slow network;
                 the result is another one, and hangs on the number of ranks. Source: Stich, Local SGD Converges Fast
                 and Communicates Little, ICLR 2019
    comm         an mpi4py communicator; None for all ranks of the program
    arguments    those of `fit`, by name. n_threads: of each rank; "auto" shares the cores of a machine among its ranks

    Batch norm takes mean and variance from the rows of a block, and a step moves the running statistics by the mean
    over the blocks of what each would have moved them by. A dropout mask is a function of (seed, step, layer, block,
    row of the block, column). A row's share in the loss is that in the whole batch. Held-out rows are divided alike.
    A rank reads the features of its own rows alone. All begin with the weights of rank 0.
    Rank 0 prints and writes checkpoints; `resume_parallel` goes on from them on any number of ranks. Callbacks are
    called on every rank that has some; one that writes belongs to rank 0 alone, and where one rank's stops, all stop.

    An argument that is refused is an error on every rank. Where one fails within the training, it says so in a line,
    and all end (MPI's Abort); Ctrl-C on any ends all after the same step.
    Errors: those of `fit`; NotInstalledError without mpi4py; ValueError for fewer blocks than ranks, for ranks with
    other data, and for checkpoints by steps beside local_steps.
    """
    ranks = Ranks(world("fit_parallel") if comm is None else comm)

    def begin() -> ParallelLoop:
        try:
            given = inspect.signature(fit).bind(model, data, **arguments)
        except TypeError as error:
            raise TypeError(f"fit_parallel: {reason(error)}") from None
        given.apply_defaults()
        make = _maker(ranks, blocks, local_steps)
        if ranks.rank:
            given.arguments |= {"progress": False, "checkpoint": None, "checkpoint_every": None}
        kind = {"parallel": {"blocks": int(blocks), "local_steps": int(local_steps)}}
        loop = assembled(**given.arguments, loop=make, more=kind)
        assert isinstance(loop, ParallelLoop)
        return loop

    loop = _together(ranks, begin)
    _check_alike(ranks, loop)
    ranks.spread(list(model.state_dict().values()))
    return _run(ranks, loop, None)


def resume_parallel(
    folder: str | os.PathLike[str], data: Dataset | None = None, *, comm: Any = None, **arguments: Any
) -> Resumed:
    """Go on with a training of `fit_parallel` whose checkpoints are in a folder, to the same bits, on all ranks of MPI.

    The ranks may be more or fewer than before; each must be able to read the folder. arguments: those of `resume`.
    Errors: those of `resume` and `fit_parallel`; ValueError for a checkpoint that `fit` has written.
    """
    ranks = Ranks(world("resume_parallel") if comm is None else comm)
    made: list[ParallelLoop] = []

    def begin(kept: dict[str, Any]) -> tuple[Callable[..., Loop], bool]:
        kind = kept["parallel"]
        make = _maker(ranks, kind["blocks"], kind["local_steps"])

        def loop(*given: Any) -> Loop:
            made.append(make(*given))
            return _Begun()  # type: ignore[return-value]

        return loop, ranks.rank == 0

    try:
        given = inspect.signature(resume).bind(folder, data, **arguments)
    except TypeError as error:
        raise TypeError(f"resume_parallel: {reason(error)}") from None
    given.apply_defaults()
    if ranks.rank:
        given.arguments["progress"] = False
    resumed: Any = _together(ranks, lambda: gone_on(**given.arguments, kind="parallel", begin=begin))
    loop, saved = made[0], resumed.history
    same_on_all(ranks, saved["epoch"] * (1 << 40) + saved["step"], "checkpoints")
    _check_alike(ranks, loop)
    return Resumed(resumed.model, resumed.optimizer, _run(ranks, loop, saved))


def of_the_first(make: Callable[[], T] | None) -> T | None:
    """What `make` makes on rank 0, which alone has one, before a training begins; None on the others.

    Where it fails, its error is raised there, and the others, who would wait for ever, end. Error: SystemExit, there.
    """
    ranks = Ranks(world("of_the_first"))
    try:
        return _together(ranks, make or (lambda: None))
    except RuntimeError:
        if make is None:
            raise SystemExit(2) from None
        raise


class _Begun:
    """A loop that is made and not run before all ranks have theirs; in place of a history, what it goes on from."""

    def run(self, saved: Any) -> Any:
        """Nothing yet."""
        return saved


def _maker(ranks: Ranks, blocks: Any, local_steps: Any) -> Callable[..., ParallelLoop]:
    """What makes the loop; these arguments are checked."""
    whole("fit_parallel: blocks", blocks, 1)
    whole("fit_parallel: local_steps", local_steps, 1)
    if blocks < ranks.size:
        raise ValueError(f"fit_parallel: blocks is {blocks} for {ranks.size} ranks; it must be as many at least")
    return partial(ParallelLoop, ranks=ranks, blocks=int(blocks), local_steps=int(local_steps))


def _together(ranks: Ranks, work: Callable[[], T]) -> T:
    """What `work` returns, where it succeeds on all ranks; else its error, or a sentence that names another rank."""
    error: Exception | None = None
    try:
        result = work()
    except Exception as raised:
        error = raised
    failed = ranks.gathered([error is not None])[:, 0]
    if error is not None:
        raise error
    if failed.any():
        raise RuntimeError(f"fit_parallel: rank {failed.argmax()} was refused, and says why; no training has begun")
    return result


def _check_alike(ranks: Ranks, loop: ParallelLoop) -> None:
    """Refuse ranks that were given different things; learn from rank 0 when all pause. Error: ValueError, on all."""
    model, data = loop.model, loop.data
    shapes = [(name, array.shape, str(array.dtype)) for name, array in model.state_dict().items()]
    text, arrays = packed(loop.optimizer.state_dict())
    numbers = {
        "targets": int(of_array(data.targets)[:15], 16),
        "rows": _number(len(data), data.n_features, loop.rows.tobytes(), str(data.features.dtype), data.scale),
        "arguments": _number(
            loop.clip, loop.seed, loop.epochs, loop.done, loop.sizes, loop.blocks, loop.local_steps, loop.time_limit
        ),
        "layers": _number(type(model).__name__, shapes, type(loop.loss).__name__),
        "held-out rows": 0 if loop.held_out is None else int(of_array(loop.held_out.targets)[:15], 16),
        "numbers in the optimizer": _number(text, fingerprint_of(list(arrays.values()))),
        "weights of rows": 0 if loop.weights is None else int(of_array(loop.weights)[:15], 16),
    }
    found = ranks.gathered(list(numbers.values()))
    for k, what in enumerate(numbers):
        if other := [rank for rank in range(ranks.size) if found[rank, k] != found[0, k]]:
            raise ValueError(f"fit_parallel: rank {other[0]} has other {what} than rank 0; all must be given the same")
    loop.every = int(ranks.total([0 if loop.checkpoints is None else loop.checkpoints.steps])[0])
    if loop.every and loop.local_steps > 1:
        raise ValueError(
            f"fit_parallel: checkpoint_every is {loop.every} and local_steps {loop.local_steps}; between their "
            "meetings ranks have weights of their own, so it must be 'epoch' or a text such as '30s'"
        )


def _number(*things: Any) -> int:
    return int.from_bytes(hashlib.sha256(repr(things).encode()).digest()[:7], "little")


def _run(ranks: Ranks, loop: ParallelLoop, saved: dict[str, Any] | None) -> History:
    """Train. Where this rank fails and the others do not know, a line says so and all end."""
    try:
        history = loop.run(saved)
        ranks.total([0])  # who leaves earlier would have no answer for the others
    except BaseException as error:
        if ranks.size == 1 or loop.together:
            raise
        if not isinstance(error, KeyboardInterrupt):
            traceback.print_exc()
        what = f"{type(error).__name__}: {reason(error)}" if str(error) else type(error).__name__
        print(f"fit_parallel: rank {ranks.rank} of {ranks.size} ends all ranks: {what}", file=sys.stderr, flush=True)
        ranks.comm.Abort(1)
        raise
    return history
