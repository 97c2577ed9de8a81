"""Sums of arrays over the blocks of a batch: what a rank adds alone, on whatever threads, and then with the others."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np

from ..graph import Array
from .ranks import Ranks, add
from .tree import Node, Tree, halves

Parts = list[Array]  # arrays of the shapes of a sum, in its order


class Sum:
    """The sum of some arrays over all blocks of a step, made by the tree, on as many ranks as there are.

    shapes, dtype: of the arrays   channel: as `Ranks.start` has it
    `put` may be called by any thread; `go_on` by the one that may send messages, at any time; when `Ranks.finish` has
    returned after it, `parts` are the sums.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], dtype: Any, channel: int) -> None:
        self.shapes, self.dtype, self.channel = list(shapes), dtype, channel
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        self.bounds = [0, *np.cumsum(sizes).tolist()]
        self.size, self.lock = self.bounds[-1], Lock()
        self.spare: list[Array] = []
        self.result: Array | None = None
        self.started = False

    def begin(self, tree: Tree, rank: int) -> None:
        """A step begins; what the one before left in `parts` may be written to."""
        if self.result is not None:
            self.spare.append(self.result)
        self.tree, self.tops = tree, tree.tops(rank)
        self.parents = {half: node for top in self.tops for node in _inside(top) for half in halves(node)}
        self.values: dict[Node, Parts | Array] = {}
        self.result, self.started = None, False

    def put(self, block: int, parts: Sequence[Array | None]) -> None:
        """What a block has, None for zeros. It adds what can be added: halves of a node, whoever comes last."""
        node: Node = (block, block + 1)
        value: Parts | Array = [
            np.zeros(shape, self.dtype) if part is None else part
            for part, shape in zip(parts, self.shapes, strict=True)
        ]
        while True:
            with self.lock:
                above = self.parents.get(node)
                other = next((half for half in halves(above) if half != node), node) if above else node
                if above is None or other not in self.values:
                    self.values[node] = value
                    return
                pair = self.values.pop(other), value
                spare = self.spare.pop() if self.spare and all(isinstance(one, list) for one in pair) else None
            value = self._added(*(pair if other < node else pair[::-1]), spare)
            if all(isinstance(one, np.ndarray) for one in pair):
                with self.lock:
                    self.spare += [one for one in pair if isinstance(one, np.ndarray) and one is not value]
            node = above

    def _added(self, left: Parts | Array, right: Parts | Array, spare: Array | None) -> Array:
        own = next((one for one in (left, right) if isinstance(one, np.ndarray)), spare)
        out = np.empty(self.size, self.dtype) if own is None else own
        if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
            return add(left, right, out)
        for a, b, c in zip(self.views(left), self.views(right), self.views(out), strict=True):
            add(a, b, c)
        return out

    def views(self, value: Parts | Array) -> Parts:
        """The arrays of a sum in their shapes."""
        if isinstance(value, list):
            return value
        places = zip(self.bounds[:-1], self.bounds[1:], self.shapes, strict=True)
        return [value[first:last].reshape(shape) for first, last, shape in places]

    def go_on(self, ranks: Ranks) -> None:
        """Begin to add with the other ranks, where all of this one's is there."""
        with self.lock:
            if self.started or any(top not in self.values for top in self.tops):
                return
            self.started = True
        tops = {top: self._flat(self.values[top]) for top in self.tops}
        self.result = ranks.start(self.channel, self.tree, tops, self.size, self.dtype)

    def alone(self) -> None:
        """Add what this rank has, and no more: its largest nodes, from the left. Without a block the sum is 0."""
        flats = [self._flat(self.values[top]) for top in self.tops] or [np.zeros(self.size, self.dtype)]
        for flat in flats[1:]:
            add(flats[0], flat, flats[0])
        self.result, self.started = flats[0], True

    def _flat(self, value: Parts | Array) -> Array:
        if isinstance(value, np.ndarray):
            return value
        flat = self.spare.pop() if self.spare else np.empty(self.size, self.dtype)
        for part, view in zip(value, self.views(flat), strict=True):
            view[...] = part
        return flat

    @property
    def parts(self) -> Parts:
        """The sums."""
        assert self.result is not None
        return self.views(self.result)


def _inside(top: Node) -> list[Node]:
    """A node and those in it, of more than one block."""
    found, waiting = [], [top]
    while waiting:
        node = waiting.pop()
        if node[1] - node[0] > 1:
            found.append(node)
            waiting += halves(node)
    return found


def bucketed(shapes: Sequence[tuple[int, ...]], dtypes: Sequence[Any], least: int) -> list[list[int]]:
    """The numbers of arrays, the last first, in groups of one dtype with at least `least` numbers each, if there are.

    The last gradients are there first: a group is what goes on its way together.
    """
    groups: list[list[int]] = []
    size = 0
    for k in reversed(range(len(shapes))):
        if not groups or size >= least or dtypes[groups[-1][0]] != dtypes[k]:
            groups.append([])
            size = 0
        groups[-1].append(k)
        size += int(np.prod(shapes[k]))
    return groups
