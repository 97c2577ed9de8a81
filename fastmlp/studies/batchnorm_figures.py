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
    """Above: accuracy by learning rate. Below: that of the sigmoid net of so many layers, three nets a setting."""
    from matplotlib.ticker import PercentFormatter

    colours = palette()
    figure = new_figure(7.4)
    above, below = (frame(ax) for ax in figure.subplots(2, 1))
    for word, colour, marker in (("without", colours.train, "o"), ("with", colours.held_out, "s")):
        accuracies = [measured[f"{word}_accuracy_{rate:g}"] for rate in rates]
        above.plot(rates, accuracies, marker + "-", color=colour, lw=2.2, ms=6)
    above.set(xscale="log", xlabel="learning rate of SGD")
    above.set_title("Learning rates that still train", loc="left")
    places = np.arange(len(settings))
    for side, (word, label, colour) in enumerate((
        ("without", "without batch norm", colours.train),
        ("chosen", "without, 4 × Xavier", colours.layers[2]),
        ("with", "with batch norm", colours.held_out),
    )):  # fmt: skip
        ends = measured[f"{word}_deep"][:, -1]
        bars = below.bar(places + 0.27 * (side - 1), ends, 0.25, color=colour, label=label)
        below.bar_label(bars, [f"{100 * end:.0f}" for end in ends], padding=1, fontsize=LETTERS - 2.5)
    epochs = measured["with_deep"].shape[1]
    below.set_title(f"{layers} hidden layers of sigmoids, after {epochs} epochs", loc="left")
    below.set_xticks(places, settings)
    below.set_xlabel("rule and learning rate")
    below.grid(visible=False, axis="x")
    figure.legend(*below.get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=LETTERS - 1.5)
    for ax in (above, below):
        ax.set(ylim=(0, 1.08), ylabel="validation accuracy", yticks=np.linspace(0, 1, 6))
        ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    return figure
