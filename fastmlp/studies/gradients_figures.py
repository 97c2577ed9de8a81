"""The pictures of the study of gradients: their size by depth, and the error of a central difference by its step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..graph import Array
from ..show.plots.style import frame, ink, new_figure, palette, styled


@styled
def draw_depth(series: dict[str, Any], titles: Mapping[str, str], depths: Sequence[int]) -> Any:
    """For each activation, the gradient of the first layer over that of the last, by the number of hidden layers.

    titles: of the initial weights, by their names in series["depth"]; depths: hidden layers.
    """
    figure = new_figure(8.4)
    axes = [frame(ax) for ax in figure.subplots(3, 1, sharex=True)]
    for ax, activation in zip(axes, dict.fromkeys(name for name, _ in series["depth"]), strict=True):
        for i, init in enumerate(titles):
            form = {"color": palette().layers[i], "marker": "osD^vP"[i], "lw": 2, "ms": 6}
            ax.plot(depths, series["depth"][activation, init], label=titles[init], **form)
        ax.axhline(1, color=ink(ax), lw=1.2, ls="--")
        ax.set(yscale="log", title=activation)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    axes[-1].set_xlabel("hidden layers")
    figure.supylabel("d loss / d z, first layer / last layer", fontsize=12)
    return figure


@styled
def draw_check(measured: dict[str, Any], steps_of: Mapping[str, Array]) -> Any:
    """Relative error of a central difference over its step h, with the lines h² and eps / h, and ∛eps.

    steps_of: h by the name of the format.
    """
    figure = new_figure(4.6)
    ax = frame(figure.subplots())
    for i, word in enumerate(steps_of):
        colour, steps, errors = palette().layers[i], steps_of[word], measured["series"]["check"][word]
        ax.plot(steps, errors, color=colour, marker="os"[i], ms=4.5, lw=1.6, label=word)
        ax.axvline(measured[f"{word}_cube_root"], color=colour, ls=":", lw=1.8)
        ax.text(measured[f"{word}_cube_root"] * 1.25, 3e2, "∛eps", color=colour, va="top")
    errors, steps = measured["series"]["check"]["float64"], steps_of["float64"]
    wide = steps[steps >= 1e-6]
    ax.plot(wide, errors[-5] * (wide / steps[-5]) ** 2, "--", color=ink(ax), lw=1.2, label="∝ h²")
    narrow = steps[steps <= 1e-4]
    ax.plot(narrow, errors[16] * steps[16] / narrow, "-.", color=ink(ax), lw=1.2, label="∝ eps / h")
    ax.set(xscale="log", yscale="log", xlabel="step h", ylabel="relative error", ylim=(1e-12, 1e3))
    ax.set_title("(loss(p + h d) − loss(p − h d)) / 2h")
    ax.legend(loc="lower left")
    return figure
