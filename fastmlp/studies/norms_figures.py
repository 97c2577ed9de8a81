"""The two pictures of the study of norms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..show.plots.style import LETTERS, colour_map, contrast, frame, new_figure, palette, styled


@styled
def axes(panels: Mapping[str, Any]) -> Any:
    """The numbers of some rows and columns before and after; a frame round a column, and one round a row."""
    from matplotlib.patches import Rectangle

    colours = palette()
    figure = new_figure(4.6)
    row = figure.subplots(1, len(panels), sharey=True)
    for ax, (title, a) in zip(row, panels.items(), strict=True):
        most = max(1.8, np.abs(a).max())
        shown = frame(ax, grid=False).imshow(a, cmap=colour_map(colours.signed), vmin=-most, vmax=most, aspect="auto")
        for (n, c), value in np.ndenumerate(a):
            behind = shown.to_rgba(value)
            ink = max((colours.ink, colours.background), key=lambda colour: contrast(colour, behind))
            ax.text(
                c, n, f"{value:.1f}".replace("-0.0", "0.0"), ha="center", va="center", fontsize=LETTERS - 4.5, color=ink
            )
        N, C = a.shape
        corner, wide, high = {"batch norm": ((1.5, -0.5), 1, N), "layer norm": ((-0.5, 1.5), C, 1)}.get(
            title, ((0, 0), 0, 0)
        )
        if wide:
            ax.add_patch(Rectangle(corner, wide, high, fill=False, ec=colours.wrong, lw=2.6, clip_on=False, zorder=5))
        ax.set_title(title, loc="left", fontsize=LETTERS - 1)
        ax.set_xticks(range(C), [str(c + 1) for c in range(C)])
        ax.set_yticks(range(N), [str(n + 1) for n in range(N)])
        ax.tick_params(length=0)
    row[0].set_ylabel("row of the batch")
    figure.supxlabel("column (unit of the layer)", fontsize=LETTERS)
    figure.suptitle("Framed: the numbers that share a mean and a spread", fontsize=LETTERS)
    return figure


@styled
def batches(
    measured: Mapping[str, Any], titles: Mapping[str, str], sizes: Sequence[int], modes: Sequence[int], usual: int
) -> Any:
    """Accuracy by the rows of a batch in training; below, by the rows that come together in training mode."""
    from matplotlib.ticker import PercentFormatter

    colours = palette()
    figure = new_figure(6.6)
    above, below = (frame(ax) for ax in figure.subplots(2, 1))
    places = np.arange(len(sizes))
    forms = {"none": colours.muted, "batch": colours.held_out, "layer": colours.train}
    for side, (word, title) in enumerate(titles.items()):
        ends = [measured[f"{word}_{size}"] for size in sizes]
        bars = above.bar(places + 0.27 * (side - 1), ends, 0.25, color=forms[word], label=title)
        above.bar_label(bars, [f"{100 * end:.0f}" for end in ends], padding=1, fontsize=LETTERS - 2.5)
        if word != "none":
            shown = [measured[f"{word}_train_{size}"] for size in modes]
            below.plot(range(len(modes)), shown, "o-", color=forms[word], lw=2.2, ms=7, label=title)
            below.axhline(measured[f"{word}_eval"], color=forms[word], lw=1.6, ls="--")
    above.set_xticks(places, [f"{size} rows" for size in sizes])
    above.set_xlabel("batch in training")
    above.grid(visible=False, axis="x")
    below.set_xticks(range(len(modes)), [f"{size:,}" for size in modes])
    below.set_xlabel("rows that come together in training mode")
    above.set_title("Trained in small and in large batches", loc="left")
    below.set_title(f"Batches of {usual} (dashed: evaluation mode)", loc="left")
    above.legend(ncols=3, loc="upper center", fontsize=LETTERS - 2.5)
    below.legend(loc="lower right")
    for ax in (above, below):
        ax.set(ylim=(0, 1.3 if ax is above else 1.05), ylabel="accuracy", yticks=np.linspace(0, 1, 6))
        ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    return figure
