"""The pictures of the study of optimizers: trainings, step sizes, paths on a quadratic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..show.plots.style import LETTERS, frame, ink, new_figure, palette, styled
from . import optimizers_quadratic as quadratic


@styled
def draw_training(series: dict[str, Any], titles: Mapping[str, str], rates: Sequence[float], useful: float) -> Any:
    """Training loss over the epochs, each rule at its best rate; below, the last loss over the learning rates.

    titles: of the rules, by their names in the series; useful: a loss that is marked.
    """
    figure = new_figure(6.6)
    above, below = (frame(ax) for ax in figure.subplots(2, 1))
    for i, (rule, title) in enumerate(titles.items()):
        form = _form(i)
        curve, final = series["curves"][rule], series["sweep"][rule]
        rate = rates[int(final.argmin())]
        above.plot(range(1, len(curve) + 1), curve, label=f"{title}, lr {rate:g}", **form)
        below.plot(rates, np.where(np.isfinite(final), final, np.nan), label=title, **form)
    above.set(xlabel="epoch", ylabel="cross-entropy (nats)", yscale="log", title="training loss, each at its best rate")
    _plain_ticks(above, (0.1, 0.2, 0.5, 1))
    above.xaxis.get_major_locator().set_params(integer=True)
    below.axhline(useful, color=ink(below), lw=1.2, ls="--")
    below.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="cross-entropy (nats)")
    _plain_ticks(below, (0.1, 0.2, 0.5, 1, 2))
    below.set_title(f"loss of the last epoch (dashed: {useful})")
    above.legend()
    return figure


@styled
def draw_steps(series: dict[str, Any], titles: Mapping[str, str], usual: Mapping[str, float], scale: float) -> Any:
    """|step| of the weights over time, a panel a rule, plain and scaled loss; below, what bias correction changes.

    A step in which no weight has a gradient has no length: a line goes past it, to the last that has one, and the
    cross there says how the training ends. usual: the learning rate of each rule; scale: of the loss.
    """
    figure = new_figure(8.6)
    grid = figure.add_gridspec(4, 2, height_ratios=(1, 1, 1, 1.25))
    panels = [figure.add_subplot(grid[i // 2, i % 2]) for i in range(6)]
    for ax, (rule, title) in zip(panels, titles.items(), strict=False):
        for word, colour, line in (("plain", palette().train, "-"), ("scaled", palette().held_out, ":")):
            sizes = series["steps"][rule, word]
            has = np.isfinite(sizes[:, 1])
            steps, (low, middle, high) = np.arange(1, len(sizes) + 1)[has], sizes[has].T
            frame(ax).fill_between(steps, low, high, color=colour, alpha=0.25, lw=0)
            ax.plot(steps, middle, line, color=colour, lw=1.8)
            if series["ends"][rule, word]:
                ax.plot(steps[-1], middle[-1], "x", color=colour, ms=8, mew=2.4)
                place = {"transform": ax.transAxes, "ha": "right", "fontsize": LETTERS - 1.5}
                ax.text(0.99, 0.86, f"×: {series['ends'][rule, word]}", **place)
        ax.set(yscale="log", ylim=(1e-6, 1e5), xlim=(0, len(sizes) + 1), xticks=(1, 40, 80, 120))
        ax.set_yticks([1e-5, 1e-3, 1e-1, 1e1, 1e3])
        ax.minorticks_off()
        ax.set_title(f"{title}, lr {usual[rule]:g}", fontsize=LETTERS - 1)
    legend = panels[-1]
    legend.axis("off")
    for label, colour, line in (
        ("loss", palette().train, "-"),
        (f"loss × {scale:.0f}", palette().held_out, ":"),
    ):
        legend.plot([], [], line, color=colour, lw=1.8, label=label)
    legend.legend(loc="upper center", title="line: median\nshade: 10 to 90 %", title_fontsize=LETTERS - 1.5)
    panels[2].set_ylabel("|change of a weight|")
    panels[4].set_xlabel("step")
    below = frame(figure.add_subplot(grid[3, :]))
    t = np.arange(1, len(series["ratios"]) + 1)
    below.plot(t, series["equation"], color=palette().layers[0], lw=2.2, label="equations")
    below.plot(t, series["ratios"], "o", color=palette().layers[1], ms=6, label="measured, median")
    below.axhline(1, color=ink(below), lw=1.2, ls="--")
    below.set(xlabel="step", ylabel="ratio", ylim=(0, None))
    below.set_title("Adam's step, without / with bias correction")
    below.set_xticks([1, 5, 10, 15, 20])
    below.legend(loc="lower right", bbox_to_anchor=(1, 0.16))
    return figure


@styled
def draw_paths(series: dict[str, Any], numbers: dict[str, float], titles: Mapping[str, str]) -> Any:
    """The path of four rules from one start: the ellipse along the axes, and turned by 45°."""
    figure = new_figure(5.8)
    rules = ("sgd", "momentum", "nesterov", "adam")
    axes = figure.subplots(2, 2).reshape(-1)
    across = np.linspace(-1.3, 1.3, 201)
    grid = np.stack(np.meshgrid(across, across), axis=-1)
    shown = [(place, pair) for place in quadratic.PLACES for pair in (("sgd", "adam"), ("momentum", "nesterov"))]
    for ax, (place, pair) in zip(axes, shown, strict=True):
        frame(ax, grid=False)
        levels, heights = 25 * np.geomspace(1e-3, 1, 7), quadratic.values(grid, quadratic.PLACES[place])
        ax.contour(across, across, heights, levels, colors=palette().muted, linewidths=0.7, zorder=0)
        for rule in pair:
            form = _form(rules.index(rule))
            points = series["quadratic"][rule, place]
            label = f"{titles[rule].split()[0]}: {numbers[f'{rule}_steps_{place}']:.0f}"
            ax.plot(*points[:60].T, lw=1.4, ms=3.2, color=form["color"], marker=form["marker"], label=label)
        ax.plot(0, 0, "+", color=ink(ax), ms=11, mew=2)
        ax.set(xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), aspect="equal")
        ax.legend(loc="lower left", fontsize=LETTERS - 3, handlelength=1.2)
        ax.set_title("along the axes" if place == "aligned" else "turned by 45°")
    flat, steep = quadratic.CURVATURES
    words = f"curvatures {flat:g} and {steep:g}; steps to 1/1000 of the distance,\n"
    figure.suptitle(f"{words}each rule at its best rate in that valley", fontsize=LETTERS)
    return figure


def _form(i: int) -> dict[str, Any]:
    return {"color": palette().layers[i], "marker": "osD^v"[i], "lw": 2, "ms": 6}


def _plain_ticks(ax: Any, ticks: tuple[float, ...]) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

    ax.yaxis.set_major_locator(FixedLocator(ticks))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
