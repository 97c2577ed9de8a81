"""The graph of the network, drawn as SVG: a bar for each vector, a funnel for each product, the equations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from ...nn import Layer, Linear, Module, Sequential, features_of

if TYPE_CHECKING:
    from ...data import Dataset


@dataclass
class Row:
    """A layer: its kind, its equation, what to say of it, how long its input and output are, how many parameters."""

    kind: str
    equation: str
    detail: str
    inputs: int
    outputs: int
    parameters: int


LAST = {  # what becomes of the outputs, by the kind of the targets: a word, its equation, what comes out
    "classes": ("softmax", "pₖ = exp(zₖ) / Σⱼ exp(zⱼ)", "probabilities"),
    "probabilities": ("softmax", "pₖ = exp(zₖ) / Σⱼ exp(zⱼ)", "probabilities"),
    "labels": ("sigmoid", "pₖ = 1 / (1 + exp(−zₖ))", "a probability for each label"),
}


def rows(model: Module) -> list[Row]:
    """The layers in order; a module that computes in a way of its own is one row."""
    layers = model.flat() if isinstance(model, Sequential) else None
    found: list[Row] = []
    width = features_of(model) or 1
    for layer in [model] if layers is None else layers:
        inputs = width
        if isinstance(layer, Layer) and layers is not None:
            equation, detail, width = layer.equation(), layer.detail(), layer.columns(inputs, 0)
        else:
            equation, detail, width = "an equation of its own", "", outputs_of(layer, inputs)
        count = sum(parameter.data.size for parameter in layer.parameters())
        found.append(Row(type(layer).__name__, equation, detail, inputs, width, count))
    return found


def outputs_of(module: Module, inputs: int) -> int:
    """What the last Linear layer in it gives; as much as comes in where there is none."""
    return next((m.out_features for m in reversed(list(module.modules())) if isinstance(m, Linear)), inputs)


def section(layers: list[Row], data: Dataset | None, kind: str = "classes") -> str:
    """The picture in two widths, of which the page's style shows one, and the sum of parameters.

    kind: of the targets, which says what becomes of the outputs.
    """
    total = sum(row.parameters for row in layers)
    entry = "x, one row"
    if data is not None:
        shape = " × ".join(str(n) for n in data.features.shape[1:])
        scale = {1.0: "", 1 / 255: " × 1/255"}.get(data.scale, f" × {data.scale:g}")
        entry = f"x: {shape} {data.features.dtype}{scale}"
    return (
        "<h2>Network</h2>\n<figure class='net'>\n"
        + drawing(layers, entry, 860, 360, kind)
        + drawing(layers, entry, 340, 110, kind)
        + f"<figcaption>A bar is a vector, its length the number of values, by its square root; a funnel is a product "
        f"with a matrix of weights. {total:,} parameters in all.</figcaption>\n</figure>"
    )


def drawing(layers: list[Row], entry: str, width: int, funnel: int, kind: str = "classes") -> str:
    """The SVG: bars and funnels in the left `funnel` units, words at their right."""
    wide = width > 500
    longest = max([row.inputs for row in layers] + [row.outputs for row in layers] + [1])
    middle, at = funnel / 2, funnel + (26 if wide else 14)

    def half(n: int) -> float:
        return max(funnel * math.sqrt(n / longest), 44 if wide else 36) / 2

    marks: list[str] = []
    y = 2.0

    def bar(n: int, words: str, kind: str = "bar") -> None:
        nonlocal y
        h = half(n)
        marks.append(f'<rect class="{kind}" x="{middle - h:.1f}" y="{y:.1f}" width="{2 * h:.1f}" height="24" rx="5"/>')
        marks.append(f'<text class="count" x="{middle}" y="{y + 16.5:.1f}">{n:,}</text>')
        if words:
            marks.append(f'<text class="quiet" x="{at}" y="{y + 16.5:.1f}">{escape(words)}</text>')
        y += 24

    def words(kind: str, equation: str, detail: str, height: float) -> None:
        if wide:
            middle_y = y + height / 2 + 5
            up = 9 if detail else 0
            marks.append(f'<text class="kind" x="{at}" y="{middle_y - up:.1f}">{escape(kind)}</text>')
            marks.append(f'<text class="equation" x="{at + 116}" y="{middle_y - up:.1f}">{escape(equation)}</text>')
            if detail:
                marks.append(f'<text class="quiet" x="{at + 116}" y="{middle_y + 11:.1f}">{escape(detail)}</text>')
            return
        lines = [("kind", kind), ("equation", equation), *([("quiet", detail)] if detail else [])]
        start = y + height / 2 + 5 - 9.5 * (len(lines) - 1)
        for i, (style, text) in enumerate(lines):
            marks.append(f'<text class="{style}" x="{at}" y="{start + 19 * i:.1f}">{escape(text)}</text>')

    bar(layers[0].inputs if layers else 1, entry)
    for row in layers:
        funnelled = row.inputs != row.outputs or row.kind == "Linear"
        counted = f"{row.parameters:,} parameters" if row.parameters else ""
        detail = "; ".join(part for part in (row.detail, counted) if part)
        if not wide and row.parameters:
            detail = row.detail.partition(";")[0] + f" · {row.parameters:,}"
        height = (64.0 if funnelled else 52.0 if detail else 38.0) if wide else (66.0 if detail else 50.0)
        a, b = half(row.inputs), half(row.outputs)
        points = f"{middle - a:.1f},{y:.1f} {middle + a:.1f},{y:.1f} {middle + b:.1f},{y + height:.1f} "
        points += f"{middle - b:.1f},{y + height:.1f}"
        marks.append(f'<polygon class="{"product" if funnelled else "each"}" points="{points}"/>')
        if not funnelled:  # lines from value to value
            for step in (-0.75, -0.25, 0.25, 0.75):
                x = middle + step * a
                marks.append(f'<path class="line" d="M{x:.1f} {y + 5:.1f}V{y + height - 5:.1f}"/>')
        words(row.kind, row.equation, detail, height)
        y += height
        bar(row.outputs, "the prediction" if row is layers[-1] and kind not in LAST else "")
    said = "; ".join(f"{row.kind} {row.equation}, {row.inputs} to {row.outputs}" for row in layers)
    if kind in LAST:
        word, equation, result = LAST[kind]
        height = 38.0 if wide else 50.0
        outputs = layers[-1].outputs if layers else 1
        a = half(outputs)
        marks.append(f'<rect class="each" x="{middle - a:.1f}" y="{y:.1f}" width="{2 * a:.1f}" height="{height}"/>')
        words(word, equation, "", height)
        y += height
        bar(outputs, result, "bar last")
        said += f"; {word}"
    shown = "wide" if wide else "narrow"
    return (
        f'<svg class="{shown}" viewBox="0 0 {width} {y + 2:.0f}" width="{width}" height="{y + 2:.0f}" role="img" '
        f'aria-label="{escape(f"The layers: {said}.")}">\n' + "\n".join(marks) + "\n</svg>\n"
    )
