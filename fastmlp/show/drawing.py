"""The graph behind a tensor as a picture: SVG, PNG, and text for Graphviz.

A box is a node: its number in backward's order, its name, its equations, what it saved. Arrows are the edges of
`next_functions`, the way that gradients go; each starts at the name that the equations give its input. Leaves have
another colour.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO, StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

from .. import check
from ..check import shown
from ..files import write
from ..graph import AccumulateGrad, Node, Tensor
from .explain import graph_of, leaf_names, operand, shape_text
from .fonts import FONT, fonts_for, plain
from .layout import Layout

MOST_BOXES = 1000
DPI, LEAST_DPI, MOST_PIXELS = 200, 60, 40_000_000  # of a PNG; 40 million pixels are 160 MB while it is drawn
POINTS, TITLE_POINTS = 9.0, 10.0
PADDING, LINE, LABEL_POINTS = 0.1, 0.185, 8.0  # inches; baseline to baseline
INK = {
    False: {"paper": "#ffffff", "text": "#1a1a1a", "faint": "#6b6b6b", "edge": "#555555",
            "node": "#e8f1fa", "node edge": "#0072b2", "leaf": "#fdebdc", "leaf edge": "#d55e00"},
    True: {"paper": "#14171a", "text": "#f0f0f0", "faint": "#a3abb3", "edge": "#b8c0c8",
           "node": "#17324a", "node edge": "#56b4e9", "leaf": "#4a2a14", "leaf edge": "#f0904a"},
}  # fmt: skip


@dataclass(frozen=True)
class Box:
    """A node as text: its title, the other lines, whether it is a leaf."""

    title: str
    lines: tuple[str, ...]
    leaf: bool


@dataclass(frozen=True)
class Arrow:
    """An edge: from box `start` to box `end` (their places in `Drawing.boxes`), with its input's name."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class Drawing:
    """What `draw` returns: boxes in backward's order, and an arrow for each edge, in the order of `next_functions`.

    It holds texts, not the graph, which may be freed. In a notebook it shows itself.
    """

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    dark: bool = False

    @cached_property
    def svg(self) -> str:
        """The picture as SVG text. Error: ValueError for a graph of more than MOST_BOXES nodes."""
        file = StringIO()
        self._write(file, "svg")
        return file.getvalue()

    @cached_property
    def dot(self) -> str:
        """The graph in Graphviz's language, of any size: `dot -Tsvg graph.dot`."""
        ink = INK[self.dark]
        lines = [
            "digraph autograd {",
            f'  graph [bgcolor="{ink["paper"]}", ordering=out];',
            f'  node [shape=box, style="rounded,filled", fontname="{FONT}", fontsize={POINTS:g}, '
            f'fontcolor="{ink["text"]}", fillcolor="{ink["node"]}", color="{ink["node edge"]}"];',
            f'  edge [fontname="{FONT}", fontsize={LABEL_POINTS:g}, '
            f'fontcolor="{ink["faint"]}", color="{ink["edge"]}"];',
        ]
        for number, box in enumerate(self.boxes, 1):
            colours = f', fillcolor="{ink["leaf"]}", color="{ink["leaf edge"]}"' if box.leaf else ""
            lines.append(f"  n{number} [label={_quoted((box.title, *box.lines))}{colours}];")
        for arrow in self.arrows:
            lines.append(f"  n{arrow.start + 1} -> n{arrow.end + 1} [label={_quoted((arrow.label,))}];")
        return "\n".join([*lines, "}"]) + "\n"

    def save(self, path: str | Path) -> Path:
        """Write .svg, .png (DPI dots an inch, fewer where it is large) or .dot, as the path ends.

        Errors: ValueError for another ending, for a picture of more than MOST_BOXES nodes, and for a PNG whose letters
        could not be read with MOST_PIXELS pixels.
        """
        path = check.path("save: path", path)
        ending = path.suffix.lower()
        if ending not in (".svg", ".png", ".dot"):
            raise ValueError(f"save: path is {shown(str(path))}; it must end with .svg, .png or .dot")
        if ending == ".png":
            file = BytesIO()
            self._write(file, "png")
            write(path, file.getvalue())
        else:
            write(path, self.svg if ending == ".svg" else self.dot)
        return path

    def _repr_svg_(self) -> str:
        return self.svg

    def _write(self, file: Any, kind: str) -> None:
        from matplotlib import rc_context

        # text as outlines looks the same everywhere; without a date and with a fixed salt the file does too. Letters
        # that no font here has stay text in an SVG: who looks at it may have them
        unknown = fonts_for(self._texts())[1]
        if unknown and kind == "png":
            said = f"save: no font of this machine has the letters {unknown}, so a .png shows boxes; use .svg or .dot"
            check.warn(f"{said}, or install one, such as Noto Sans CJK")
        with rc_context({"svg.fonttype": "none" if unknown else "path", "svg.hashsalt": "fastmlp"}), _quiet(unknown):
            figure = self.figure()
            width, height = figure.get_size_inches()
            dpi = min(DPI, int((MOST_PIXELS / (width * height)) ** 0.5))
            if kind == "png" and dpi < LEAST_DPI:
                raise ValueError(
                    f"save: the picture is {width:,.0f} x {height:,.0f} inches; as .png it would be too large, or too "
                    "small to read: use .svg or .dot"
                )
            figure.savefig(file, format=kind, dpi=dpi, metadata={"Date": None} if kind == "svg" else None)

    def _texts(self) -> list[str]:
        """All that is written in it."""
        return [text for box in self.boxes for text in (box.title, *box.lines)] + [a.label for a in self.arrows]

    def figure(self) -> Any:
        """The picture as a matplotlib Figure at its natural size. Error: ValueError for more than MOST_BOXES nodes."""
        if len(self.boxes) > MOST_BOXES:
            raise ValueError(
                f"draw: the graph has {len(self.boxes):,} nodes; a picture may have at most {MOST_BOXES:,}: "
                "use .dot, or explain"
            )
        return _figure(self)


def draw(loss: Tensor, labels: Any = None, dark: bool = False) -> Drawing:
    """The graph behind a tensor, drawn: `draw(loss, model).save("graph.svg")`.

    loss    a tensor that requires grad, before or after its backward
    labels  names of the leaves: a Module, whose parameters' names are taken, or a dict tensor -> name
    dark    light text on a dark ground

    The loss is at the top, the leaves are at the end of the arrows. A node that several others lead to has one box,
    and x * x has two arrows to one. An input that wants no gradient is no edge; its box says so.

    Errors: TypeError for what is no Tensor and for labels of another kind, ValueError for a tensor without a graph.
    """
    check.flag("draw: dark", dark)
    nodes = graph_of("draw", loss)
    number = {id(node): place for place, node in enumerate(nodes)}
    names = leaf_names("draw", nodes, labels)
    arrows = [
        Arrow(place, number[id(below)], operand(node, index))
        for place, node in enumerate(nodes)
        for index, (below, _) in enumerate(node.next_functions)
        if below is not None
    ]
    boxes = [_box(place, node, names) for place, node in enumerate(nodes, 1)]
    return Drawing(tuple(boxes), tuple(arrows), bool(dark))


def _box(number: int, node: Node, names: dict[int, str]) -> Box:
    """What a node says of itself, in short lines."""
    shape = shape_text(node.output_shape)
    if isinstance(node, AccumulateGrad):
        name = names[id(node.variable)]
        return Box(f"{name}  {shape}", (f"{number}  {node.name()}", ".grad += dy"), True)
    formula, parts = node.formula(), [part for part in node.equation.split(",  ") if part]
    lines = [f"output {shape}"] + ([f"forward  {formula}"] if formula else [])
    lines += [("" if i else "backward  ") + part + ("," if part != parts[-1] else "") for i, part in enumerate(parts)]
    saved = [f"{name} {shape_text(shape)}" for name, shape in node.saved_shapes().items()]
    threes = [", ".join(saved[i : i + 3]) + ("," if i + 3 < len(saved) else "") for i in range(0, len(saved), 3)]
    state = "kept, now freed: " if node.freed else "keeps "
    lines += [("" if i else state) + three for i, three in enumerate(threes)] or ["keeps nothing"]
    unused = [operand(node, index) for index, (below, _) in enumerate(node.next_functions) if below is None]
    lines += [f"{', '.join(unused)} {'want' if len(unused) > 1 else 'wants'} no gradient"] if unused else []
    return Box(f"{number}  {node.name()}", tuple(lines), False)


def _quoted(lines: tuple[str, ...]) -> str:
    """Lines as a string of Graphviz: quotes and backslashes escaped, so that no name is read as an instruction."""
    escaped = [plain(line).replace("\\", "\\\\").replace('"', '\\"') for line in lines]
    return '"' + "\\n".join(escaped) + '"'


@contextmanager
def _quiet(unknown: str) -> Iterator[None]:
    """Without matplotlib's own warning for each of these letters."""
    with warnings.catch_warnings():
        if unknown:
            warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from")
        yield


def _figure(drawing: Drawing) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    ink = INK[drawing.dark]
    families, unknown = fonts_for(drawing._texts())
    title = FontProperties(family=families, size=TITLE_POINTS, weight="bold")
    body, small = FontProperties(family=families, size=POINTS), FontProperties(family=families, size=LABEL_POINTS)
    wide = dict.fromkeys(map(ord, unknown), "\N{EM DASH}")  # as wide as a letter of Chinese
    figure = Figure(dpi=72, facecolor=ink["paper"])
    renderer = FigureCanvasAgg(figure).get_renderer()

    def width(text: str, font: Any) -> float:
        return renderer.get_text_width_height_descent(plain(text).translate(wide), font, False)[0] / figure.dpi

    def size(box: Box) -> tuple[float, float]:
        widest = max([width(box.title, title), *(width(line, body) for line in box.lines)])
        return widest + 2 * PADDING, LINE * (1 + len(box.lines)) + 2 * PADDING

    layout = Layout([size(box) for box in drawing.boxes], [(arrow.start, arrow.end) for arrow in drawing.arrows])
    margin = 0.25
    figure.set_size_inches(layout.width + 2 * margin, layout.height + 2 * margin)
    ax = figure.add_axes((0, 0, 1, 1), xlim=(-margin, layout.width + margin), ylim=(layout.height + margin, -margin))
    ax.set_axis_off()

    def write(x: float, y: float, text: str, font: Any, colour: str, **where: Any) -> Any:
        return ax.text(x, y, plain(text), fontproperties=font, color=colour, parse_math=False, **where)

    for box, (x, y), (w, h) in zip(drawing.boxes, layout.centers, layout.sizes, strict=True):
        kind = "leaf" if box.leaf else "node"
        frame = FancyBboxPatch(
            (x - w / 2, y - h / 2), w, h, boxstyle="round,pad=0,rounding_size=0.08",
            fc=ink[kind], ec=ink[f"{kind} edge"], lw=1.2, zorder=2,
        )  # fmt: skip
        ax.add_patch(frame)
        top = y - h / 2 + PADDING + LINE / 2
        write(x, top, box.title, title, ink["text"], ha="center", va="center", zorder=3)
        for i, line in enumerate(box.lines, 1):
            colour = ink["faint"] if line.startswith(("keeps nothing", "kept")) else ink["text"]
            write(x, top + LINE * i, line, body, colour, ha="center", va="center", zorder=3)
    for arrow, points in zip(drawing.arrows, layout.paths, strict=True):
        edge = FancyArrowPatch(
            path=_curve(points), arrowstyle="-|>", mutation_scale=9, color=ink["edge"], lw=1.1, zorder=1,
            shrinkA=0, shrinkB=0,
        )  # fmt: skip
        ax.add_patch(edge)
        # on the side that the line does not turn to
        side, where = (-0.05, "right") if points[1][0] > points[0][0] else (0.05, "left")
        write(points[0][0] + side, points[0][1] + 0.09, arrow.label, small, ink["faint"], ha=where, va="center")
    return figure


def _curve(points: list[tuple[float, float]]) -> Any:
    """Straight down past boxes, an S between layers."""
    from matplotlib.path import Path as Curve

    vertices, codes = [points[0]], [Curve.MOVETO]
    for i, ((x, y), (to_x, to_y)) in enumerate(pairwise(points)):
        if i % 2:
            vertices.append((to_x, to_y))
            codes.append(Curve.LINETO)
        else:
            half = (y + to_y) / 2
            vertices += [(x, half), (to_x, half), (to_x, to_y)]
            codes += [Curve.CURVE4] * 3
    return Curve(vertices, codes)
