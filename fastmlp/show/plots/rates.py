"""The curve of `lr_find`: loss over learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...check import shown
from .style import canvas, palette, styled

if TYPE_CHECKING:
    from ...training.finder import LRFind

ABOVE = 0.4  # of the height that the loss falls by: room above it, beyond which nothing is drawn


@styled
def lr_find(found: LRFind, ax: Any = None, title: str = "Learning rate") -> Any:
    """Loss of each step over its learning rate, as it is and smoothed, with the suggestion.

    ax: a matplotlib Axes, or None for a new figure. The curve leaves the picture at the top where the loss diverges.
    """
    if not isinstance(title, str):
        raise TypeError(f"lr_find: title is {shown(title)}; it must be a text")
    figure, ax = canvas(ax)
    colours = palette()
    ax.plot(found.lr, found.loss, "o", color=colours.train, ms=3.5, alpha=0.55, mew=0, label="loss of a batch")
    ax.plot(found.lr, found.smoothed, color=colours.train, lw=2.2, label="smoothed")
    ax.set_xscale("log")
    if found.bottom is not None and found.suggestion is not None:
        height = float(found.smoothed[found.lr == found.bottom][0])
        ring = {"ms": 12, "mfc": "none", "mec": colours.held_out, "mew": 2}
        ax.plot(found.bottom, height, "o", **ring, label=f"90 % of the fall: {found.bottom:.2g}")
        label = f"suggested: {found.suggestion:.2g}"
        ax.axvline(found.suggestion, color=colours.held_out, lw=2, ls="--", label=label)
    low, high = _heights(found)
    ax.set_ylim(low, high)
    ax.set(
        xlabel="learning rate", ylabel="cross-entropy (nats)" if found.unit == "nats" else "loss of a step", title=title
    )
    ax.set_xlim(found.lr[0] / 1.3, found.lr[-1] * 1.3)
    ax.legend(loc="lower left")
    return figure


def _heights(found: LRFind) -> tuple[float, float]:
    """From below the lowest loss to above what the smoothed one falls from."""
    smoothed, losses = (array[np.isfinite(array)] for array in (found.smoothed, found.loss))
    at = int(smoothed.argmin())
    first, least = float(smoothed[: at + 1].max()), float(losses.min())
    fall = (first - least) or abs(first) or 1.0
    return least - 0.1 * fall, first + ABOVE * fall
