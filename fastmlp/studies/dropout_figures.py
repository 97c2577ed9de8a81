"""The three pictures of the study of dropout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..graph import Array
from ..show.plots.style import LETTERS, frame, new_figure, palette, styled

FLOOR = 1e-17  # where a difference of 0 is drawn on a logarithmic axis


@styled
def thinned(widths: Sequence[int], masks: Sequence[Sequence[Array]]) -> Any:
    """The net of these widths with all its units, then a thinned net for each of `masks`: [row][hidden layer]."""
    colours = palette()
    figure = new_figure(5.2)
    whole = [np.ones(width, bool) for width in widths]
    nets = [("evaluation: all units", whole)]
    nets += [(f"training, row {i}", [whole[0], *row, whole[-1]]) for i, row in enumerate(masks, 1)]
    for ax, (title, kept) in zip(figure.subplots(2, 2).reshape(-1), nets, strict=True):
        spots = [[(x, y - (width - 1) / 2) for y in range(width)] for x, width in enumerate(widths)]
        for x, (left, right) in enumerate(pairwise(spots)):
            for i, start in enumerate(left):
                for j, end in enumerate(right):
                    if kept[x][i] and kept[x + 1][j]:
                        ax.plot(*zip(start, end, strict=True), "-", color=colours.muted, lw=0.9, zorder=1)
        for x, column in enumerate(spots):
            for there, spot in zip(kept[x], column, strict=True):
                form = {
                    "mfc": colours.train if there else colours.background,
                    "mec": colours.train if there else colours.grid,
                }
                ax.plot(*spot, "o", ms=13, mew=1.6, zorder=2, **form)
                if not there:
                    ax.plot(*spot, "x", ms=8, mew=2, color=colours.held_out, zorder=3)
        ax.set(xlim=(-0.4, len(widths) - 0.6), ylim=(-max(widths) / 2 - 0.1, max(widths) / 2 + 0.1))
        ax.set_axis_off()
        ax.set_title(title, fontsize=LETTERS - 0.5)
    return figure


@styled
def average(measured: dict[str, Any], nets: Iterable[str], counts: Sequence[int]) -> Any:
    """Above: for each digit, how far the one pass is from either mean of the thinned nets. Below: random masks.

    nets: the three by their names in `measured`; counts: numbers of random masks.
    """
    colours = palette()
    figure = new_figure(8.4)
    above, below = (frame(ax) for ax in figure.subplots(2, 1, height_ratios=(1.1, 1)))
    rng = np.random.default_rng(0)  # of the places across a strip, which mean nothing
    kinds = (("geometric", 0.18, colours.train), ("arithmetic", -0.18, colours.held_out))
    for at, name in enumerate(nets):
        closed = measured[f"{name}_closed"]
        for kind, side, colour in kinds:
            gaps = np.maximum(measured[f"{name}_{kind}"], FLOOR)
            y = side - at + rng.uniform(-0.12, 0.12, len(gaps))
            above.plot(gaps[~closed], y[~closed], "o", ms=2.6, mew=0, alpha=0.45, color=colour)
            above.plot(gaps[closed], y[closed], "o", ms=3, mew=0.8, mfc="none", alpha=0.6, mec=colours.muted)
            above.plot(np.median(gaps[~closed]), side - at, "D", ms=7, mfc=colour, mec=colours.background, mew=1.2)
    for label, form in (
        ("to the geometric mean", {"marker": "o", "ms": 6, "color": colours.train}),
        ("median of a colour", {"marker": "D", "ms": 7, "color": colours.muted}),
        ("to the arithmetic mean", {"marker": "o", "ms": 6, "color": colours.held_out}),
        ("digit that opens no unit", {"marker": "o", "ms": 6, "mfc": "none", "color": colours.muted}),
    ):
        above.plot([], [], ls="", label=label, **form)
    above.set(xscale="log", xlim=(FLOOR / 2, 3), ylim=(-2.5, 0.5))
    above.set_yticks([0, -1, -2], ["one hidden\nlayer", "two hidden\nlayers", "two, less\n2nd ReLU"])
    above.set_title("One pass and the exact mean of 4,096 nets", loc="left")
    above.set_xlabel("largest difference of a probability, by digit")
    under = {"loc": "upper center", "ncols": 2, "fontsize": LETTERS - 2.5, "borderaxespad": 0, "columnspacing": 1}
    above.legend(bbox_to_anchor=(0.42, -0.2), handletextpad=0.1, **under)

    for name, words, colour, marker in (
        ("one", "one layer", colours.train, "o"),
        ("two", "two layers", colours.held_out, "s"),
    ):
        spread, off = measured[f"{name}_spread"], measured[f"{name}_pass_error"]
        below.plot(counts, spread / np.sqrt(counts), "-", color=colour, lw=1.4, alpha=0.7)
        form = {"marker": marker, "ms": 7, "lw": 1.4, "color": colour}
        below.plot(counts, measured[f"{name}_errors"], ls="", **{**form, "lw": 0})
        below.plot([], [], **form, label=f"n random masks, {words}")
        below.axhline(off, color=colour, lw=1.8, ls="--", label=f"the one pass, {words}")
    below.set(xscale="log", yscale="log", xlabel="n, masks averaged", ylabel="error (rms)")
    below.set_title("Error against the exact arithmetic mean\n(line through the marks: exact spread / √n)", loc="left")
    below.legend(bbox_to_anchor=(0.42, -0.24), **under)
    return figure


@styled
def curves(measured: dict[str, Any], rates: Sequence[float], training_rows: int) -> Any:
    """Loss and accuracy over the epochs for each p of `rates`: the mean of the runs, and a band from least to most."""
    from matplotlib.ticker import PercentFormatter

    colours = palette()
    figure = new_figure(6.8)
    above, below = (frame(ax) for ax in figure.subplots(2, 1, sharex=True))
    for p, colour in zip(rates, colours.layers, strict=False):
        panels = ((above, "validation", "-"), (above, "train", ":"), (below, "accuracy", "-"))
        for ax, kind, line in panels:
            runs = measured[f"{kind}_{p:g}"]
            epochs = np.arange(1, runs.shape[1] + 1)
            label = f"p = {p:g}" if kind != "train" else None
            ax.plot(epochs, runs.mean(axis=0), line, color=colour, lw=2.2, label=label)
            ax.fill_between(epochs, runs.min(axis=0), runs.max(axis=0), color=colour, alpha=0.18, lw=0)
    held = measured[f"validation_{rates[0]:g}"]
    above.set_ylim(0, 1.35 * max(held[:, -1].max(), held.min()))
    above.plot([], [], ":", color=colours.muted, lw=2.2, label="training, all units")
    above.set(ylabel="cross-entropy (nats)")
    above.set_title(f"Validation loss after training on {training_rows:,} digits", loc="left")
    above.legend(loc="upper right", ncols=2, fontsize=LETTERS - 2.5)
    final = np.concatenate([measured[f"accuracy_{p:g}"][:, len(epochs) // 4 :].ravel() for p in rates])
    below.set_ylim(final.min() - 0.02, final.max() + 0.008)
    below.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    below.set(xlabel="epoch", xlim=(0.5, epochs[-1] + 0.5), ylabel="accuracy")
    below.set_title("Validation accuracy", loc="left")
    below.legend(loc="lower right", fontsize=LETTERS - 2.5)
    return figure
