"""Ranks that add what they have: sums by the tree of `scale.tree`, sent from one to one, while work goes on.

Of MPI it takes messages alone, `Isend`, `Irecv` and `Test`, never a reduction. A message moves on when somebody looks:
`pump` does, between other work, and `finish` until all has come. Who waits for others sleeps between looks, so that
more ranks than cores are not in each other's way.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .. import kernels
from ..check import NotInstalledError, reason
from ..graph import Array
from .tree import Node, Tree, tree_of

SPINS, SLEEP_SECONDS = 200, 5e-5  # looks in vain before the first sleep, and how long one is
LEAST_PIECE = 4096  # numbers; what is smaller goes in one message


class Alone:
    """A communicator of one rank, without MPI."""

    def Get_rank(self) -> int:
        """Of one, the first."""
        return 0

    def Get_size(self) -> int:
        """One."""
        return 1


def world(caller: str) -> Any:
    """MPI's communicator of all ranks, a copy for our messages alone. Error: NotInstalledError without MPI."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: of mpi4py, where it finds no MPI library
        raise NotInstalledError(
            f"{caller}: mpi4py and an MPI library are needed; pip install 'fastmlp[mpi]' ({reason(error)})"
        ) from error
    return MPI.COMM_WORLD.Dup()


def rank() -> int:
    """The number of this process among those that mpiexec has started, from 0. Error: as `world`."""
    comm = world("rank")
    found = int(comm.Get_rank())
    comm.Free()
    return found


class Ranks:
    """The ranks of a communicator, and the sums that are under way."""

    def __init__(self, comm: Any) -> None:
        self.comm, self.rank, self.size = comm, int(comm.Get_rank()), int(comm.Get_size())
        self.under_way: list[Iterator[None]] = []
        self.spare: dict[tuple[int, Any], list[Array]] = {}

    def here(self) -> int:
        """How many of the ranks are on this machine."""
        if not hasattr(self.comm, "Split_type"):
            return self.size
        from mpi4py import MPI

        near = self.comm.Split_type(MPI.COMM_TYPE_SHARED)
        found = int(near.Get_size())
        near.Free()
        return found

    def start(self, channel: int, tree: Tree, tops: dict[Node, Array], size: int, dtype: Any) -> Array:
        """Begin to add up: returns the array, (size,), that has the sum of all blocks once `finish` has returned.

        tops: the sums of the nodes that this rank has alone, (size,) each; they are written to. channel: a number below
        1,000 that tells sums apart that are under way at the same time, the same on all ranks.
        """
        result = next(iter(tops.values())) if tops else np.empty(size, dtype)
        pieces = tree.pieces if size >= LEAST_PIECE * tree.pieces else 1
        for piece in range(pieces):
            part = slice(size * piece // pieces, size * (piece + 1) // pieces)
            self.under_way.append(self._piece(channel * 2048 + 2 * piece, tree, piece, tops, result, part))
        self.pump()
        return result

    def pump(self) -> bool:
        """Let sums go on that have got what they waited for; whether there is any under way."""
        self.under_way = [one for one in self.under_way if next(one, self) is not self]
        return bool(self.under_way)

    def finish(self) -> None:
        """Wait until all sums are there."""
        looks = 0
        while self.pump():
            looks += 1
            if looks > SPINS:
                time.sleep(SLEEP_SECONDS)

    def _piece(
        self, tag: int, tree: Tree, piece: int, tops: dict[Node, Array], result: Array, part: slice
    ) -> Iterator[None]:
        """One piece of a sum, up the tree and down again; it yields where it has to wait."""
        rank, comm = self.rank, self.comm
        values, sent = {node: flat[part] for node, flat in tops.items()}, []
        for up in tree.ups(piece):
            if rank not in (up.left_at, up.right_at):
                continue
            own = up.left if up.left_at == rank else up.right
            if rank != up.at:
                sent.append(comm.Isend(values[own], up.at, tag))
                continue
            came = None
            if up.left_at != up.right_at:
                came = self._buffer(values[own])
                coming = comm.Irecv(came, up.right_at if own == up.left else up.left_at, tag)
                while not coming.Test():
                    yield
            left = values[up.left] if came is None or own == up.left else came
            right = values[up.right] if came is None or own == up.right else came
            values[up.node] = add(left, right, values[own])
            if came is not None:
                self.spare[came.size, came.dtype].append(came)
        if rank == tree.place(tree.root, piece):
            result[part] = values[tree.root]
        for source, target in tree.downs(piece):
            if source == rank:
                sent.append(comm.Isend(result[part], target, tag + 1))
            elif target == rank:
                while not all(one.Test() for one in sent):  # the sum comes to where they are sent from
                    yield
                coming = comm.Irecv(result[part], source, tag + 1)
                while not coming.Test():
                    yield
        while not all(one.Test() for one in sent):
            yield

    def _buffer(self, like: Array) -> Array:
        spare = self.spare.setdefault((like.size, like.dtype), [])
        return spare.pop() if spare else np.empty_like(like)

    def total(self, numbers: Sequence[int] | Array) -> Array:
        """The sum over the ranks of arrays of whole numbers, (n,) int64, on all of them."""
        own = np.array(numbers, np.int64)
        if self.size == 1:
            return own
        tree = tree_of(self.size, self.size)
        result = self.start(0, tree, {(self.rank, self.rank + 1): own}, own.size, own.dtype)
        self.finish()
        return result

    def gathered(self, numbers: Sequence[int]) -> Array:
        """(ranks, n) int64: what each rank has given, on all of them."""
        table = np.zeros((self.size, len(numbers)), np.int64)
        table[self.rank] = numbers
        return self.total(table.reshape(-1)).reshape(table.shape)

    def spread(self, arrays: Sequence[Array]) -> None:
        """Give all ranks the arrays of rank 0, into their own, which must be as large."""
        for array in arrays:
            raw = array.tobytes() if self.rank == 0 else bytes(array.nbytes)
            there = self.total(np.frombuffer(raw.ljust(-(-len(raw) // 8) * 8, b"\0"), np.int64))
            array[...] = np.frombuffer(there.tobytes()[: array.nbytes], array.dtype).reshape(array.shape)


@kernels.flushed
def add(left: Array, right: Array, out: Array) -> Array:
    """out = left + right, with denormal numbers flushed to zero as in every kernel."""
    with np.errstate(all="ignore"):  # of numbers that are not finite; the loss ends the training
        return np.add(left, right, out=out)
