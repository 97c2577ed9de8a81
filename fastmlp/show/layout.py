"""Places for the boxes of a directed acyclic graph: in layers from top to bottom, with few crossings, none overlapping.

Four steps. 1. A box's layer is the longest path to it from a root. 2. An edge over several layers gets a bend, a
thing of no width, in each layer between, so that it goes around boxes. 3. Each layer is ordered by the mean place
of the neighbours in the layer beside it, again and again; the order with the fewest crossings is kept. 4. Each layer
is moved as near to its neighbours as the gaps allow.

Source: Sugiyama, Tagawa, Toda, IEEE Transactions on Systems, Man, and Cybernetics 11 (1981).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from itertools import pairwise

Point = tuple[float, float]

SWEEPS = 12  # passes over all layers, for the order and for the places
MOST_BENDS = 20_000


class Layout:
    """Centres of boxes and the points that edges pass through, y downwards, in the unit of the sizes.

    sizes    (width, height) of each box
    edges    (box above, box below) in order; the same pair may come several times
    gap      least distance of boxes side by side, and of layers

    Gives `centers[i]` of box i, `paths[e]` the points of edge e, from the bottom of a box to the top of another, and
    (width, height) of the whole. Errors: ValueError for a circle, and for edges too long to be drawn.
    """

    def __init__(self, sizes: Sequence[Point], edges: Sequence[tuple[int, int]], gap: Point = (0.25, 0.45)) -> None:
        self.sizes, self.edges, self.gap = list(sizes), list(edges), gap
        self.layer = _longest_paths(len(sizes), edges)
        self._bend()
        self._order()
        self._place()

    def _bend(self) -> None:
        """Chains of things that neighbour each other: box, bends, box; one chain for each edge."""
        bends = sum(self.layer[b] - self.layer[a] - 1 for a, b in self.edges)
        if bends > MOST_BENDS:
            raise ValueError(f"draw: the edges have {bends:,} bends; a picture may have at most {MOST_BENDS:,}")
        self.layer_of, self.width_of = list(self.layer), [width for width, _ in self.sizes]
        self.chains: list[list[int]] = []
        for a, b in self.edges:
            between = range(len(self.layer_of), len(self.layer_of) + self.layer[b] - self.layer[a] - 1)
            self.layer_of += range(self.layer[a] + 1, self.layer[b])
            self.width_of += [0.0] * len(between)
            self.chains.append([a, *between, b])
        self.below: list[list[int]] = [[] for _ in self.layer_of]
        self.above: list[list[int]] = [[] for _ in self.layer_of]
        for chain in self.chains:
            for a, b in pairwise(chain):
                self.below[a].append(b)
                self.above[b].append(a)

    def _order(self) -> None:
        """Layers as lists of things from left to right."""
        self.layers: list[list[int]] = [[] for _ in range(max(self.layer_of, default=-1) + 1)]
        seen: set[int] = set()
        waiting = [thing for thing in reversed(range(len(self.layer_of))) if not self.above[thing]]
        while waiting:  # depth first, edges in order: the first drawing of a tree has no crossing
            thing = waiting.pop()
            if thing not in seen:
                seen.add(thing)
                self.layers[self.layer_of[thing]].append(thing)
                waiting += reversed(self.below[thing])
        best, fewest = [list(layer) for layer in self.layers], self.crossings()
        for sweep in range(SWEEPS):
            if not fewest:
                break
            down = sweep % 2 == 0
            for layer in self.layers[1:] if down else self.layers[-2::-1]:
                place = self._places()
                ends = {thing: self._ends(thing, place, down) or [place[thing]] for thing in layer}
                layer.sort(key=lambda thing: sum(ends[thing]) / len(ends[thing]))
            if (crossings := self.crossings()) < fewest:
                best, fewest = [list(layer) for layer in self.layers], crossings
        self.layers = best

    def _ends(self, thing: int, place: dict[int, float], down: bool) -> list[float]:
        """Where the edges of a thing end in the layer above, or below: there edges leave a box in their order."""
        if not down:
            return [place[below] for below in self.below[thing]]
        ends = []
        for above in set(self.above[thing]):
            row, ports = len(self.layers[self.layer_of[above]]), self.below[above]
            ends += [place[above] + (i / len(ports) - 0.5) / row for i, t in enumerate(ports) if t == thing]
        return ends

    def _places(self) -> dict[int, float]:
        """Where each thing is in its layer, from 0 to 1."""
        return {thing: (i + 0.5) / len(layer) for layer in self.layers for i, thing in enumerate(layer)}

    def crossings(self) -> int:
        """Pairs of edges between neighbouring layers that cross."""
        place = {thing: i for layer in self.layers for i, thing in enumerate(layer)}
        count = 0
        for layer in self.layers:
            ends: list[int] = []
            for thing in layer:
                for end in (place[below] for below in self.below[thing]):
                    count += len(ends) - bisect_left(ends, end + 1)
                    insort(ends, end)
        return count

    def _place(self) -> None:
        """x of each thing, y of each layer, ports, paths."""
        x = [0.0] * len(self.layer_of)
        for layer in self.layers:
            at = 0.0
            for thing in layer:
                x[thing] = at + self.width_of[thing] / 2
                at += self.width_of[thing] + self.gap[0]
        for sweep in range(2 * SWEEPS + 1):
            down = sweep % 2 == 0
            for layer in self.layers if down else reversed(self.layers):
                wanted, weights = [], []
                for thing in layer:
                    ends = self._hangs_from(thing, x) if down else [x[below] for below in self.below[thing]]
                    wanted.append(sum(ends) / len(ends) if ends else x[thing])
                    weights.append(1.0 if self.width_of[thing] else 4.0)  # bends keep a long edge straight
                room = [self.width_of[thing] / 2 for thing in layer]
                least = [a + b + self.gap[0] for a, b in pairwise(room)]
                for thing, value in zip(layer, _apart(wanted, weights, least), strict=True):
                    x[thing] = value
        left = min((x[t] - self.width_of[t] / 2 for t in range(len(x))), default=0.0)
        right = max((x[t] + self.width_of[t] / 2 for t in range(len(x))), default=0.0)
        tops, bottoms, y = [], [], 0.0
        for layer in self.layers:
            height = max((self.sizes[t][1] for t in layer if t < len(self.sizes)), default=0.0)
            tops.append(y)
            bottoms.append(y + height)
            y += height + self.gap[1]
        self.width, self.height = right - left, bottoms[-1] if bottoms else 0.0
        middle = [(top + bottom) / 2 for top, bottom in zip(tops, bottoms, strict=True)]
        self.centers: list[Point] = [(x[i] - left, middle[self.layer[i]]) for i in range(len(self.sizes))]
        x = [value - left for value in x]
        out_port = self._ports(x, [(chain[0], chain[1]) for chain in self.chains], keep_order=True)
        in_port = self._ports(x, [(chain[-1], chain[-2]) for chain in self.chains], keep_order=False)
        self.paths: list[list[Point]] = []
        for edge, chain in enumerate(self.chains):
            (a, b), points = self.edges[edge], [(out_port[edge], self.centers[self.edges[edge][0]][1])]
            points[0] = (points[0][0], points[0][1] + self.sizes[a][1] / 2)
            for bend in chain[1:-1]:
                points += [(x[bend], tops[self.layer_of[bend]]), (x[bend], bottoms[self.layer_of[bend]])]
            self.paths.append([*points, (in_port[edge], self.centers[b][1] - self.sizes[b][1] / 2)])

    def _hangs_from(self, thing: int, x: list[float]) -> list[float]:
        """x of the ports of the edges that come from above."""
        return [
            x[above] + ((i + 1) / (len(ports) + 1) - 0.5) * self.width_of[above]
            for above in set(self.above[thing])
            for ports in (self.below[above],)
            for i, below in enumerate(ports)
            if below == thing
        ]

    def _ports(self, x: list[float], ends: list[tuple[int, int]], keep_order: bool) -> list[float]:
        """x where each edge leaves or enters its box: evenly along the side, in the order of the edges, or of x."""
        of_box: dict[int, list[int]] = {}
        for edge, (box, _) in enumerate(ends):
            of_box.setdefault(box, []).append(edge)
        port = [0.0] * len(ends)
        for box, edges in of_box.items():
            if not keep_order:
                edges = sorted(edges, key=lambda edge: x[ends[edge][1]])
            for i, edge in enumerate(edges):
                port[edge] = x[box] + ((i + 1) / (len(edges) + 1) - 0.5) * self.sizes[box][0]
        return port


def _longest_paths(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The longest path from a root to each box, in edges."""
    below: list[list[int]] = [[] for _ in range(count)]
    open_edges = [0] * count
    for a, b in edges:
        below[a].append(b)
        open_edges[b] += 1
    layer = [0] * count
    ready = [box for box in range(count) if not open_edges[box]]
    for box in ready:
        for other in below[box]:
            layer[other] = max(layer[other], layer[box] + 1)
            open_edges[other] -= 1
            if not open_edges[other]:
                ready.append(other)
    if len(ready) < count:
        raise ValueError("draw: the edges go round in a circle; a graph must have none")
    return layer


def _apart(wanted: list[float], weights: list[float], least: list[float]) -> list[float]:
    """x with the least Σ weight (x - wanted)² for which x[i + 1] - x[i] >= least[i].

    With the distances taken off, x must only grow: neighbours that would fall behind form a block at their mean.
    Source: Barlow et al., Statistical Inference under Order Restrictions (1972): pooling adjacent violators.
    """
    offsets = [0.0]
    for distance in least:
        offsets.append(offsets[-1] + distance)
    blocks: list[tuple[float, float, int]] = []  # weighted mean, weight, length
    for value, weight, offset in zip(wanted, weights, offsets, strict=False):
        block = (value - offset, weight, 1)
        while blocks and blocks[-1][0] >= block[0]:
            mean, mass, length = blocks.pop()
            total = mass + block[1]
            block = ((mean * mass + block[0] * block[1]) / total, total, length + block[2])
        blocks.append(block)
    means = [mean for mean, _, length in blocks for _ in range(length)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=False)]
