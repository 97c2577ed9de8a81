"""The two pictures of the study of activations: functions and slopes; gradients through layers, closed units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..graph import Array
from ..show.plots.style import LETTERS, frame, ink, new_figure, palette, styled

COLUMNS = 3
DRAWN = {"relu": "-", "hardtanh": ":", "leaky_relu": "--", "elu": "-.", "gelu": "-", "sigmoid": ":", "tanh": "--"}


@styled
def functions(curves: Mapping[str, tuple[Array, Array]], grid: Array) -> Any:
    """A small axes for each function: the function in a line, its slope dashed.    curves: (f, f') on the grid"""
    colours = palette()
    rows = -(-len(curves) // COLUMNS)
    figure = new_figure(1.75 * rows + 0.5)
    axes = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[len(curves) :]:
        ax.set_visible(False)
    for ax, (name, (y, slope)) in zip(axes.flat, curves.items(), strict=False):
        frame(ax)
        ax.axhline(0, color=colours.muted, lw=0.8)
        ax.plot(grid, y, color=colours.train, lw=2.2, label="y = f(x)")
        jumps = np.where(np.abs(np.diff(slope, prepend=slope[0])) > 0.2, np.nan, slope)  # no line across a kink
        ax.plot(grid, jumps, "--", color=colours.held_out, lw=2.2, label="slope f'(x)")
        ax.set_title(name, fontsize=LETTERS)
        ax.set(ylim=(-2.1, 3.1), xticks=(-4, 0, 4), yticks=(-2, -1, 0, 1, 2, 3))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


@styled
def layers(ratios: Mapping[str, float], factors: Mapping[str, float], sine: Mapping[str, Array]) -> Any:
    """Above: gradient of the first over that of the tenth layer, and what the slopes say. Below: closed units."""
    colours = palette()
    figure = new_figure(8.6)
    above, below = (frame(ax) for ax in figure.subplots(2, 1, height_ratios=(1.1, 1)))
    names = sorted(ratios, key=lambda name: ratios[name])
    places = np.arange(len(names))
    above.plot([ratios[name] for name in names], places, "o", color=colours.train, ms=8, label="measured")
    form = {"ls": "", "marker": "x", "ms": 9, "mew": 2, "color": colours.held_out}
    above.plot([factors[name] for name in names], places, **form, label="(√2 · rms of the slopes)⁹")
    above.axvline(1, color=ink(above), lw=1.2, ls="--")
    above.set_yticks(places, names)
    above.set(xscale="log", xlabel="gradient, first / tenth hidden layer")
    above.legend(loc="upper left")
    drawn = [name for name in DRAWN if name in sine]
    for i, name in enumerate(drawn):
        epochs = np.arange(1, len(sine[name]) + 1)
        below.plot(epochs, sine[name], DRAWN[name], color=colours.layers[i % len(colours.layers)], lw=2.4, label=name)
    below.set(xlabel="epoch", ylabel="R² on a sine", ylim=(-0.3, 1.05))
    below.set_title("Every hidden unit begins closed, biases -3", loc="left")
    below.legend(loc="upper center", bbox_to_anchor=(0.45, -0.2), ncols=3)
    return figure
