"""What a Watch saw inside the net: heat maps of activations and gradients, and the size of the updates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import LETTERS, canvas, colour_map, frame, ink, new_figure, palette, styled

if TYPE_CHECKING:
    from ...graph import Array
    from ...training.watch import Histogram, Watch

BEYOND = 0.002  # of the counts that may lie beyond either end of an axis; of a logarithmic one, ten times that below
RULE = 1e-3  # update to weight


@styled
def activations(watch: Watch) -> Any:
    """For each layer and epoch how its activations are spread: a column an epoch, the fuller the darker.

    The line is the median. Zeros, which ReLU makes in plenty, are not in the columns: the heading has their share in
    the last epoch, and the share of units that are 0 for every row. Error: ValueError for a watch that saw nothing.
    """
    _check("activations", watch)
    figure, axes = _panels(watch)
    for ax, layer in zip(axes, watch.layers, strict=True):
        _heat_map(ax, watch.epochs, layer.activations, _span([layer.activations]))
        dead = layer.dead[-1]
        said = f"{_percent(layer.activations.zeros[-1])} zeros" + (f", {_percent(dead)} dead units" if dead else "")
        ax.set_title(f"{layer.title}: {said}", loc="left")
    figure.supylabel("activation", fontsize=LETTERS)
    return figure


@styled
def gradients(watch: Watch) -> Any:
    """For each layer and epoch how the absolute gradients of its weights are spread, on a logarithmic axis.

    One axis for all layers, so that a gradient that vanishes on its way down is seen to. The line is the median;
    zeros are not in the columns, the heading has their share. Error: ValueError for a watch that saw nothing.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    _check("gradients", watch)
    figure, axes = _panels(watch)
    span = _span([layer.gradients for layer in watch.layers])
    for ax, layer in zip(axes, watch.layers, strict=True):
        _heat_map(ax, watch.epochs, layer.gradients, span)
        ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda power, _: f"$10^{{{power:.0f}}}$"))
        ax.set_title(f"{layer.title}: {_percent(layer.gradients.zeros[-1])} zeros", loc="left")
    figure.supylabel("|gradient of a weight|", fontsize=LETTERS)
    return figure


@styled
def update_ratio(watch: Watch, ax: Any = None) -> Any:
    """rms(update) / rms(weight) of each layer over the epochs, on a logarithmic axis, with the rule of thumb of 1e-3.

    ax: a matplotlib Axes, or None for a new figure. Error: ValueError for a watch that saw nothing.
    """
    _check("update_ratio", watch)
    figure, ax = canvas(ax, height=3.8)
    colours, drawn, least, most = palette().layers, 0, RULE, RULE
    for i, layer in enumerate(watch.layers):
        ratios = [ratio if math.isfinite(ratio) and ratio > 0 else math.nan for ratio in layer.ratios]
        if all(math.isnan(ratio) for ratio in ratios):
            continue
        form = {"color": colours[i % len(colours)], "marker": "osD^vPX"[i % 7], "ls": "-" if i < 7 else "--"}
        ax.plot(watch.epochs, ratios, lw=2.2, ms=6 if len(ratios) <= 30 else 0, label=layer.title, **form)
        drawn += 1
        least, most = min(least, np.nanmin(ratios)), max(most, np.nanmax(ratios))
    ax.axhline(RULE, color=ink(ax), lw=1.4, ls="--", label="rule of thumb: 1e-3")
    ax.set(yscale="log", xlabel="epoch (0: before training)", ylabel="update / weight")
    ax.set_xlim(watch.epochs[0] - 0.5, watch.epochs[-1] + 0.5)
    ax.set_ylim(min(least / 1.6, RULE / 3), max(1.6 * most, 3 * RULE))
    ax.xaxis.get_major_locator().set_params(integer=True)
    if drawn:
        ax.legend(fontsize=(LETTERS - 1.5) * (1 if drawn <= 6 else 0.7), ncols=1 if drawn <= 6 else 2)
    else:
        said = "no optimizer is known,\nor no weight was changed"
        ax.text(0.5, 0.7, said, transform=ax.transAxes, ha="center", color=ink(ax))
    return figure


def _check(caller: str, watch: Watch) -> None:
    if not watch.epochs:
        raise ValueError(f"{caller}: the watch has seen no epoch; it must be given to fit(callbacks=[watch])")


def _panels(watch: Watch) -> tuple[Any, list[Any]]:
    """A figure with an axes for each layer, over the same epochs."""
    layers = len(watch.layers)
    figure = new_figure(0.7 + 1.6 * layers)
    axes = [frame(ax, grid=False) for ax in figure.subplots(layers, 1, sharex=True, squeeze=False)[:, 0]]
    axes[-1].set_xlabel("epoch (0: before training)")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    return figure, axes


def _span(histograms: list[Histogram]) -> tuple[float, float]:
    """Where the counts of all epochs lie, but for a few at either end."""
    lows, highs = [], []
    for histogram in histograms:
        total = histogram.counts.sum(axis=0).cumsum()
        if total[-1]:
            edges = histogram.edges
            below = BEYOND * (10 if histogram.log else 1)
            lows.append(edges[np.searchsorted(total, below * total[-1], side="right")])
            highs.append(edges[np.searchsorted(total, (1 - BEYOND) * total[-1]) + 1])
    return (min(lows), max(highs)) if lows else (0.0, 1.0)


def _heat_map(ax: Any, epochs: list[int], histogram: Histogram, span: tuple[float, float]) -> None:
    edges, counts = histogram.edges, histogram.counts
    most = counts.max(axis=1, keepdims=True)
    shades = np.divide(counts, most, out=np.zeros(counts.shape), where=most > 0)
    between = (np.array(epochs[:-1]) + np.array(epochs[1:])) / 2
    sides = np.concatenate([[epochs[0] - 0.5], between, [epochs[-1] + 0.5]])
    ax.pcolormesh(sides, edges, shades.T, cmap=colour_map(palette().density), vmin=0, vmax=1, rasterized=True)
    medians, marker = _medians(edges, counts), "o" if len(epochs) == 1 else ""
    ax.plot(epochs, medians, color=palette().background, lw=4.5, marker=marker, ms=9)  # parts the line from its ground
    ax.plot(epochs, medians, color=palette().held_out, lw=2.2, marker=marker)
    ax.set(xlim=(sides[0], sides[-1]), ylim=span)


def _medians(edges: Array, counts: Array) -> list[float]:
    """The middle of the bin that holds the median of each row; NaN for an empty row."""
    found = []
    for row in counts:
        total = row.cumsum()
        at = int(np.searchsorted(total, total[-1] / 2))
        found.append(float(edges[at] + edges[at + 1]) / 2 if total[-1] else math.nan)
    return found


def _percent(share: float) -> str:
    return "no" if share == 0 else "<1 %" if share < 0.01 else f"{100 * share:.0f} %" if math.isfinite(share) else "?"
