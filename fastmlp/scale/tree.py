"""The order in which the row blocks of a batch are added: a binary tree that is a function of their number alone.

A node is a range [lo, hi) of blocks, its value the sum of their numbers: that of its two halves, the left one first.
Who makes a sum, which rank and which thread, changes nothing in it: each number is one sum of the same pairs. MPI's own
Allreduce promises that neither for other numbers of ranks nor for other machines.

A gradient is cut into pieces. A node whose blocks lie with several ranks is made of each piece at one place, that of
its left or of its right half, so that the pieces of a node lie with all of its ranks, evenly: what recursive halving
and doubling does (Thakur, Rabenseifner, Gropp, Optimization of Collective Communication Operations in MPICH, IJHPCA
2005), here with the sums of one tree.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

Node = tuple[int, int]


class Up(NamedTuple):
    """A sum that needs what two ranks have, or one has at two places: `node` is made of its halves at rank `at`."""

    node: Node
    left: Node
    right: Node
    left_at: int
    right_at: int
    at: int


def halves(node: Node) -> tuple[Node, Node]:
    """The two parts of a node of more than one block: the left one has the largest power of two that is less."""
    lo, hi = node
    middle = lo + (1 << ((hi - lo - 1).bit_length() - 1))
    return (lo, middle), (middle, hi)


class Tree:
    """The tree over so many blocks, which so many ranks have: block b lies with rank b * ranks // blocks."""

    def __init__(self, blocks: int, ranks: int) -> None:
        self.blocks, self.ranks, self.root = blocks, ranks, (0, blocks)
        self.active = sorted({self.owner(block) for block in range(blocks)})  # the ranks that have blocks
        self.pieces = 1 << (len(self.active) - 1).bit_length()
        self.crossing: list[Node] = []  # the nodes that no rank has all blocks of; halves before the whole
        self._heights: dict[Node, int] = {}
        self._find(self.root)

    def owner(self, block: int) -> int:
        """The rank that a block lies with."""
        return block * self.ranks // self.blocks

    def blocks_of(self, rank: int) -> range:
        """The blocks of a rank."""
        first, last = (-(-part * self.blocks // self.ranks) for part in (rank, rank + 1))
        return range(first, last)

    def tops(self, rank: int) -> list[Node]:
        """The largest nodes that a rank has all blocks of, in their order: what it adds up alone."""
        found, waiting = [], [self.root]
        while waiting:
            node = waiting.pop()
            low, high = self.owner(node[0]), self.owner(node[1] - 1)
            if low == high == rank:
                found.append(node)
            elif low <= rank <= high and low != high:
                waiting += reversed(halves(node))
        return found

    def _find(self, node: Node) -> int:
        """Note the crossing nodes in a node; returns how many lie above each other there."""
        if self.owner(node[0]) == self.owner(node[1] - 1):
            return 0
        self._heights[node] = height = max(map(self._find, halves(node)))
        self.crossing.append(node)
        return height + 1

    def place(self, node: Node, piece: int) -> int:
        """The rank that makes a piece of a node's sum: where the piece of its left half is, or of its right."""
        while node in self._heights:
            node = halves(node)[piece >> self._heights[node] & 1]
        return self.owner(node[0])

    def ups(self, piece: int) -> list[Up]:
        """The sums of a piece that are made across ranks, in an order in which they can be."""
        found = []
        for node in self.crossing:
            left, right = halves(node)
            at = self.place(left, piece), self.place(right, piece)
            found.append(Up(node, left, right, *at, self.place(node, piece)))
        return found

    def downs(self, piece: int) -> list[tuple[int, int]]:
        """(from rank, to rank): how the whole sum of a piece comes to all ranks, the way back; each gets it once."""
        have, found = {self.place(self.root, piece)}, []
        for up in reversed(self.ups(piece)):
            other = up.right_at if up.at == up.left_at else up.left_at
            if other not in have:
                have.add(other)
                found.append((up.at, other))
        idle = [rank for rank in range(self.ranks) if rank not in self.active]
        return found + [(self.active[rank % len(self.active)], rank) for rank in idle]


@lru_cache
def tree_of(blocks: int, ranks: int) -> Tree:
    """The tree over so many blocks with so many ranks, made once."""
    return Tree(blocks, ranks)


def bounds_of(rows: int, blocks: int, least: int = 1) -> list[int]:
    """Where the blocks of a batch begin, and its end: as even as can be, with at least so many rows each.

    A batch of few rows has fewer blocks, `rows // least`, and at least one: a function of the two numbers alone.
    """
    blocks = min(blocks, max(rows // least, 1))
    return [rows * block // blocks for block in range(blocks + 1)]
