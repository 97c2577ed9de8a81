"""The two pictures of the study of losses: lines through numbers and counts, and what says a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..show.plots.style import frame, ink, new_figure, palette, styled

LINES = {"mse": ("MSE", "--"), "l1": ("L1", "-"), "huber": ("Huber", "-.")}


@styled
def numbers(measured: dict[str, Any], line: tuple[float, float], quantiles: Sequence[float]) -> Any:
    """Lines through rows with outliers; expected counts; three quantiles.    line: (intercept, slope) of the truth"""
    colours = palette()
    figure = new_figure(10.2)
    above, middle, below = (frame(ax) for ax in figure.subplots(3, 1, sharex=True))
    ends = np.array([-1.0, 1.0])

    def dots(ax: Any, x: str, y: str) -> None:
        ax.plot(measured[x], measured[y], ".", color=colours.muted, ms=4, alpha=0.7)

    dots(above, "line_x", "line_t")
    for i, (name, (word, dashes)) in enumerate(LINES.items()):
        ys = measured[f"line_{name}_intercept"] + measured[f"line_{name}_slope"] * ends
        above.plot(ends, ys, dashes, color=colours.layers[(1, 0, 2)[i]], lw=2.4, label=word)
    above.plot(ends, line[0] + line[1] * ends, ":", color=ink(above), lw=2, label="truth")
    above.set_title("A tenth of the targets is 8 too high", loc="left")
    above.set_ylim(bottom=-4.5)
    above.legend(loc="lower right", ncols=2)
    dots(middle, "count_x", "count_t")
    middle.plot(measured["count_held"], measured["count_mse"], "--", color=colours.layers[1], lw=2.4, label="MSE")
    form = {"color": colours.layers[0], "lw": 2.4, "label": "Poisson, e^z"}
    middle.plot(measured["count_held"], measured["count_poisson"], **form)
    middle.plot(measured["count_held"], measured["count_rate"], ":", color=ink(middle), lw=2, label="true mean")
    middle.axhline(0, color=colours.muted, lw=1)
    middle.set_title("Counts: with MSE some are expected below 0", loc="left")
    middle.legend(loc="upper left")
    dots(below, "quantile_x", "quantile_t")
    for k, q in enumerate(quantiles):
        form = {"color": colours.layers[k], "ls": ("--", "-", "-.")[k % 3], "lw": 2.4}
        below.plot(ends, measured["quantile_ends"][:, k], **form, label=f"q = {q:g}")
    below.set_title("Pinball loss: a share q of the targets is below", loc="left")
    below.legend(loc="upper left")
    below.set(xlabel="input x", xticks=np.linspace(-1, 1, 5))
    for ax in (above, middle, below):
        ax.set_ylabel("target" if ax is not middle else "count")
    return figure


@styled
def classes(measured: dict[str, Any], centres: Sequence[tuple[float, float]]) -> Any:
    """What says each of three classes, along the line through their centres: probabilities above, numbers below."""
    colours = palette()
    figure = new_figure(6.4)
    axes = [frame(ax) for ax in figure.subplots(2, 1, sharex=True)]
    titles = ("Cross-entropy: probabilities", "Squared error of 0 and 1: outputs")
    for ax, name, title in zip(axes, ("class_cross_entropy", "class_mse"), titles, strict=True):
        for k, centre in enumerate(centres):
            form = {"color": colours.layers[k], "ls": ("--", "-", "-.")[k % 3], "lw": 2.6}
            ax.plot(measured["class_along"], measured[name][:, k], **form, label=f"class {k}")
            ax.plot(centre[0], -0.3, "^", color=colours.layers[k], ms=9, clip_on=False)
        ax.set_title(title, loc="left")
        ax.set(ylim=(-0.35, 1.15), ylabel="probability" if ax is axes[0] else "output")
    axes[1].set_xlabel("place on the line through the three centres (▲)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure
