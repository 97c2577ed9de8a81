"""The pictures of the study of optimizers: trainings, step sizes, paths on a quadratic."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..plots.style import LETTERS, frame, ink, new_figure, palette, styled
from . import optimizers as study


@styled
def draw_training(series: dict[str, Any]) -> Any:
    """Training loss over the epochs, each rule at its best rate; below, the last loss over the learning rates."""
    figure = new_figure(6.6)
    above, below = (frame(ax) for ax in figure.subplots(2, 1))
    for i, (rule, title) in enumerate(study.TITLES.items()):
        form = _form(i)
        curve, final = series["curves"][rule], series["sweep"][rule]
        rate = study.RATES[int(final.argmin())]
        above.plot(range(1, study.EPOCHS + 1), curve, label=f"{title}, lr {rate:g}", **form)
        below.plot(study.RATES, np.where(np.isfinite(final), final, np.nan), label=title, **form)
    above.set(xlabel="epoch", ylabel="cross-entropy (nats)", yscale="log", title="training loss, each at its best rate")
    _plain_ticks(above, (0.1, 0.2, 0.5, 1))
    above.xaxis.get_major_locator().set_params(integer=True)
    below.axhline(study.USEFUL, color=ink(below), lw=1.2, ls="--")
    below.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="cross-entropy (nats)")
    _plain_ticks(below, (0.1, 0.2, 0.5, 1, 2))
    below.set_title(f"loss of the last epoch (dashed: {study.USEFUL})")
    above.legend()
    return figure


@styled
def draw_steps(series: dict[str, Any]) -> Any:
    """|step| of the weights over time for SGD and Adam, plain and scaled loss; below, what bias correction changes."""
    figure = new_figure(6.6)
    above, below = (frame(ax) for ax in figure.subplots(2, 1, height_ratios=(1.4, 1)))
    steps = np.arange(1, study.STEPS + 1)
    for rule in ("sgd", "adam"):
        for word, label in (("plain", ""), ("scaled", f", loss × {study.SCALE:.0f}")):
            low, middle, high = series["steps"][rule, word].T
            colour = palette().layers[0 if rule == "sgd" else 1]
            above.fill_between(steps, low, high, color=colour, alpha=0.18, lw=0)
            line = "-" if word == "plain" else "--"
            above.plot(steps, middle, line, color=colour, lw=2, label=study.TITLES[rule] + label)
    above.set(yscale="log", xlabel="step", ylabel="|change of a weight|", title="median step; shade: from 10 to 90 %")
    above.set_ylim(top=above.get_ylim()[1] * 30)
    above.legend(ncols=2, loc="upper center")
    t = np.arange(1, study.FIRST + 1)
    below.plot(t, series["equation"], color=palette().layers[0], lw=2.2, label="equations")
    below.plot(t, series["ratios"], "o", color=palette().layers[1], ms=6, label="measured, median")
    below.axhline(1, color=ink(below), lw=1.2, ls="--")
    below.set(xlabel="step", ylabel="ratio", ylim=(0, None))
    below.set_title("Adam's step, without / with bias correction")
    below.set_xticks([1, 5, 10, 15, 20])
    below.legend(loc="lower right", bbox_to_anchor=(1, 0.16))
    return figure


@styled
def draw_paths(series: dict[str, Any], numbers: dict[str, float]) -> Any:
    """The path of four rules from one start: the ellipse along the axes, and turned by 45°."""
    figure = new_figure(5.6)
    rules = ("sgd", "momentum", "nesterov", "adam")
    axes = figure.subplots(2, 2).reshape(-1)
    places = [("aligned", 0.0, ("sgd", "adam")), ("aligned", 0.0, ("momentum", "nesterov"))]
    places += [("rotated", np.pi / 4, pair) for _, _, pair in places]
    across = np.linspace(-1.3, 1.3, 201)
    grid = np.stack(np.meshgrid(across, across), axis=-1)
    for ax, (place, angle, pair) in zip(axes, places, strict=True):
        frame(ax, grid=False)
        levels = 25 * np.geomspace(1e-3, 1, 7)
        ax.contour(
            across,
            across,
            study.quadratic_values(grid, angle),
            levels,
            colors=palette().muted,
            linewidths=0.7,
            zorder=0,
        )
        for rule in pair:
            form = _form(rules.index(rule) if rule != "adam" else 3)
            points = series["quadratic"][rule, place]
            steps = numbers[f"{rule}_steps_{place}"]
            label = f"{study.TITLES[rule].split()[0]}: {steps:.0f}"
            ax.plot(*points[:60].T, lw=1.4, ms=3.2, color=form["color"], marker=form["marker"], label=label)
        ax.plot(0, 0, "+", color=ink(ax), ms=11, mew=2)
        ax.set(xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), aspect="equal")
        ax.legend(loc="lower left", fontsize=LETTERS - 3, handlelength=1.2)
        ax.set_title("along the axes" if place == "aligned" else "turned by 45°")
    figure.suptitle(
        f"curvatures {study.CURVATURES[0]:g} and {study.CURVATURES[1]:g}; steps to 1/1000 of the start",
        fontsize=LETTERS,
    )
    return figure


def _form(i: int) -> dict[str, Any]:
    return {"color": palette().layers[i], "marker": "osD^v"[i], "lw": 2, "ms": 6}


def _plain_ticks(ax: Any, ticks: tuple[float, ...]) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

    ax.yaxis.set_major_locator(FixedLocator(ticks))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
