"""The two pictures of the study of batch norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..show.plots.style import LETTERS, frame, new_figure, palette, styled


@styled
def spread(measured: dict[str, Any]) -> Any:
    """Distance of the units' means from 0 and their spread, a line a hidden layer; left without, right with."""
    colours = palette().layers
    figure = new_figure(6.0)
    axes = figure.subplots(2, 2, sharex=True, sharey="row")
    for column, (heading, kind) in enumerate((("without", "without_raw"), ("with batch norm", "with_hat"))):
        seen = measured[kind]
        for row, words in enumerate(("mean", "spread")):
            ax = frame(axes[row, column])
            for layer in range(seen.shape[1]):
                form = {"color": colours[layer % len(colours)], "marker": "osD^vPX"[layer % 7], "ms": 4.5}
                ax.plot(seen[:, layer, row], lw=2.0, label=f"layer {layer + 1}", **form)
                if column:
                    ax.plot(measured["with_out"][:, layer, row], lw=1.6, ls="--", color=form["color"])
            if row == 0:
                ax.set_title(heading, loc="left")
            if column == 0:
                ax.set_ylabel("|mean| (rms of units)" if words == "mean" else "spread (mean of units)")
            ax.xaxis.get_major_locator().set_params(integer=True)
    axes[0, 1].legend(fontsize=LETTERS - 2.5, borderaxespad=0.2, loc="upper center")
    outside = f"outside [0, 1]:\n{100 * measured['with_hat_outside']:.0f} % of the numbers\n(before γ and β)"
    for ax, words in ((axes[0, 1], "line: before γ and β\ndashed: after"), (axes[1, 1], outside)):
        ax.text(0.5, 0.3, words, transform=ax.transAxes, ha="center", va="center", fontsize=LETTERS - 1.5)
    for ax in axes[:, 0]:
        ax.set_ylim(bottom=0)
    figure.supxlabel("epoch (0: before training)", fontsize=LETTERS)
    figure.suptitle("Pre-activations of the hidden layers", fontsize=LETTERS)
    return figure


@styled
def trains(measured: dict[str, Any], rates: Sequence[float], settings: Sequence[str], layers: int) -> Any:
    """Above: accuracy against the learning rate. Below: the sigmoid net of so many layers, a line a setting."""
    from matplotlib.ticker import PercentFormatter

    colours = palette()
    figure = new_figure(7.0)
    above, below = (frame(ax) for ax in figure.subplots(2, 1))
    for word, colour, marker in (("without", colours.train, "o"), ("with", colours.held_out, "s")):
        accuracies = [measured[f"{word}_accuracy_{rate:g}"] for rate in rates]
        above.plot(rates, accuracies, marker + "-", color=colour, lw=2.2, ms=6)
        below.plot([], [], marker + "-", color=colour, lw=2.2, label=f"{word} batch norm")
        curves = measured[f"{word}_deep"]
        epochs = np.arange(1, curves.shape[1] + 1)
        for curve, line in zip(curves, ("-", "--", "-.", ":"), strict=True):
            below.plot(epochs, curve, line, marker=marker, color=colour, lw=2.0, ms=5)
    for curve, line in zip(measured["chosen_deep"], ("-", "--", "-.", ":"), strict=True):
        below.plot(epochs, curve, line, marker="^", color=colours.layers[2], lw=2.0, ms=5)
    below.plot([], [], "^-", color=colours.layers[2], lw=2.2, label="without, 4 × Xavier")
    for setting, line in zip(settings, ("-", "--", "-.", ":"), strict=True):
        below.plot([], [], line, color=colours.muted, lw=2.0, label=setting)
    above.set(xscale="log", xlabel="learning rate of SGD")
    above.set_title("Learning rates that still train", loc="left")
    below.set(xlabel="epoch")
    below.set_title(f"{layers} hidden layers of sigmoids", loc="left")
    below.xaxis.get_major_locator().set_params(integer=True)
    below.legend(loc="center", ncols=2, fontsize=LETTERS - 2.5)
    for ax in (above, below):
        ax.set(ylim=(0, 1.02), ylabel="validation accuracy")
        ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    return figure
