"""Pictures of a run. Each function draws on `ax` where one is given, and returns the figure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .train import History

BLUE, ORANGE = "#0072b2", "#d55e00"  # Okabe and Ito's palette: told apart with any colour vision


def loss_curve(history: History, ax: Any = None, title: str = "Loss") -> Any:
    """Mean training and validation loss in nats over the epochs; the lowest validation loss is marked.

    ax: a matplotlib Axes, or None for a new figure. Error: ValueError for a history without epochs.
    """
    if not len(history):
        raise ValueError("loss_curve: the history has no epoch; it must have at least one")
    figure, ax = _axes(ax)
    epochs, held_out = history.column("epoch"), history.column("validation_loss")
    _line(ax, epochs, history.column("train_loss"), "training", BLUE)
    if all(math.isfinite(value) for value in held_out):
        best = min(range(len(held_out)), key=held_out.__getitem__)
        label = f"validation, lowest in epoch {epochs[best]}: {held_out[best]:.4f}"
        _line(ax, epochs, held_out, label, ORANGE)
        ax.plot(epochs[best], held_out[best], "o", ms=12, mfc="none", mec=ORANGE, mew=1.5)
    ax.set(xlabel="epoch", ylabel="cross-entropy (nats)", title=title)
    ax.set_ylim(bottom=0)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    return figure


def _line(ax: Any, x: list[float], y: list[float], label: str, color: str) -> None:
    ax.plot(x, y, "o-", label=label, color=color, lw=2, ms=4 if len(x) <= 30 else 0)


def _axes(ax: Any) -> tuple[Any, Any]:
    """The figure and axes to draw on. A new figure is not registered with pyplot: nothing must close it."""
    if ax is not None:
        return ax.figure, ax
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), dpi=120, layout="constrained")
    return figure, figure.subplots()
