"""The two pictures of the study of schedules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..show.plots.style import LETTERS, frame, new_figure, palette, styled


@styled
def rates(panels: Mapping[str, tuple[Any, Any]], epochs: int) -> Any:
    """A panel a kind: its rate over the epochs, and its momentum, dashed, where it moves one."""
    colours = palette()
    figure = new_figure(1.75 * ((len(panels) + 1) // 2) + 0.3)
    axes = figure.subplots((len(panels) + 1) // 2, 2, sharex=True).reshape(-1)
    for ax, (name, (rate, momentum)) in zip(axes, panels.items(), strict=False):
        at = np.arange(len(rate)) * epochs / len(rate)
        frame(ax).step(at, rate, where="post", color=colours.train, lw=2.2)
        ax.set(ylim=(0, 1.1 * max(rate)), xlim=(0, epochs))
        ax.set_title(name, loc="left", fontsize=LETTERS - 1)
        if momentum is not None:
            other = frame(ax.twinx(), grid=False)
            other.plot(at, momentum, "--", color=colours.held_out, lw=2)
            other.set(ylim=(0.8, 1.0), yticks=[0.85, 0.95])
            other.set_ylabel("momentum", fontsize=LETTERS - 3, color=colours.held_out)
    for ax in axes[len(panels) :]:
        ax.axis("off")
    figure.supxlabel("epoch", fontsize=LETTERS)
    figure.supylabel("learning rate", fontsize=LETTERS)
    return figure


@styled
def losses(measured: dict[str, Any], titles: Mapping[str, str]) -> Any:
    """Above: loss by epoch. Below: loss by step of an epoch more, and that of the mean of the large rate's weights."""
    colours = palette()
    figure = new_figure(8.0)
    above, below = (frame(ax) for ax in figure.subplots(2, 1, height_ratios=(1.35, 1)))
    shown = ("large", "small", "step", "cosine", "cycle", "average")
    for i, name in enumerate(shown):
        curve = measured["curves"][name]
        form = {"color": colours.layers[i], "lw": 2, "ls": "--" if name == "average" else "-"}
        above.plot(range(1, len(curve) + 1), curve, label=titles[name], **form)
        above.plot(len(curve), curve[-1], "osD^vP"[i], ms=6, color=form["color"], clip_on=False)
        if name in measured["after"]:
            steps = measured["after"][name]
            marks = {"marker": "osD^vP"[i], "ms": 3.5, "color": form["color"], "lw": 1.6}
            below.plot(range(1, len(steps) + 1), steps, label=titles[name], **marks)
    below.axhline(
        measured["large_mean_weights"], color=colours.layers[0], lw=2, ls=":", label="large: mean of the weights"
    )
    above.set(xlabel="epoch", ylabel="loss of fresh rows (nats)", xlim=(1, None))
    above.set_title("One training, six ways to set the rate", loc="left")
    below.set(xlabel="step of an epoch more, at the last rate", ylabel="loss (nats)", xlim=(1, None))
    below.set_title("The noise of the last steps", loc="left")
    for ax, room in ((above, 1.4), (below, 1.5)):
        low, high = ax.get_ylim()
        ax.set_ylim(low, low + room * (high - low))
        ax.legend(ncols=2, loc="upper center", fontsize=LETTERS - 2)
    return figure
