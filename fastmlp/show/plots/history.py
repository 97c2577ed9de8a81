"""Curves over the epochs of a History."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ...check import shown
from ...words import SHARES, score
from .letters import literal
from .style import canvas, frame, ink, new_figure, palette, styled

if TYPE_CHECKING:
    from ...training.history import History

MOST_NAME = 40  # columns of a score's name
ABNORMAL = 100.0  # nats; a guess among C classes costs ln C, so a loss beyond this has left the scale of a useful one


@styled
def loss_curve(history: History, ax: Any = None, title: str = "Loss") -> Any:
    """Mean training and validation loss over the epochs; the lowest validation loss is marked.

    ax: a matplotlib Axes, or None for a new figure. The axis is logarithmic where a loss is above 100 nats, of one in
    other units above 100 times the lowest. Epochs whose loss is not finite have a dotted line and a note.
    Error: ValueError for a history without epochs.
    """
    epochs = _epochs("loss_curve", history, title)
    figure, ax = canvas(ax)
    train, held_out = history.column("train_loss"), history.column("validation_loss")
    _lines(ax, epochs, train, held_out, min, "lowest", ".4f")
    finite = [value for value in train + held_out if math.isfinite(value)]
    limit = ABNORMAL if history.unit == "nats" else ABNORMAL * min(finite, default=0)
    if finite and max(finite) > limit and min(finite) > 0:
        ax.set_yscale("log")
    elif finite and min(finite) >= 0:  # a Poisson loss leaves a constant out, and may be below
        ax.set_ylim(bottom=0)
    _mark_divergence(ax, epochs, train)
    ax.set(xlabel="epoch", ylabel="cross-entropy (nats)" if history.unit == "nats" else "loss", title=title)
    ax.legend()
    return figure


@styled
def accuracy_curve(history: History, ax: Any = None, title: str = "Accuracy") -> Any:
    """Training and validation accuracy over the epochs, in percent; the highest validation accuracy is marked.

    Where the run has another score, such as R², it stands in the place of the accuracy, in its own measure.
    ax: a matplotlib Axes, or None for a new figure. Error: ValueError for a history without epochs.
    """
    from matplotlib.ticker import PercentFormatter

    epochs = _epochs("accuracy_curve", history, title)
    figure, ax = canvas(ax)
    train, held_out = history.column("train_score"), history.column("validation_score")
    share = history.score_name in SHARES
    pick, word = (max, "highest") if history.score_rises else (min, "lowest")
    _lines(ax, epochs, train, held_out, pick, word, ".2%" if share else ".4f")
    if share:
        ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    if title == "Accuracy" and history.score_name != "accuracy":
        title = literal(score(history.score_name), MOST_NAME)
    ax.set(xlabel="epoch", ylabel=literal(score(history.score_name), MOST_NAME), title=title)
    ax.legend(loc="lower right")
    return figure


@styled
def curves(history: History) -> Any:
    """`loss_curve` above `accuracy_curve`, over the same epochs. Error: ValueError for a history without epochs."""
    _epochs("curves", history)
    figure = new_figure(6.2)
    above, below = figure.subplots(2, 1, sharex=True)
    loss_curve(history, frame(above))
    accuracy_curve(history, frame(below))
    above.set_xlabel("")
    return figure


def _epochs(caller: str, history: History, title: Any = "") -> list[float]:
    if not isinstance(title, str):
        raise TypeError(f"{caller}: title is {shown(title)}; it must be a text")
    if not len(history):
        raise ValueError(f"{caller}: the history has no epoch; it must have at least one")
    return history.column("epoch")


def _lines(
    ax: Any, epochs: list[float], train: list[float], held_out: list[float], pick: Any, word: str, form: str
) -> None:
    """Both lines, and a ring where `pick` finds the best validation value."""
    colours = palette()
    _line(ax, epochs, train, "training", colours.train, "o-")
    finite = [at for at, value in enumerate(held_out) if math.isfinite(value)]
    if finite:
        best = pick(finite, key=held_out.__getitem__)  # of equals, the first
        value = format(held_out[best], form).replace("%", " %")
        label = f"validation, {word} in epoch {epochs[best]:g}: {value}"
        _line(ax, epochs, held_out, label, colours.held_out, "s-")
        ax.plot(epochs[best], held_out[best], "o", ms=14, mfc="none", mec=colours.held_out, mew=2)
        ax.axvline(epochs[best], color=colours.held_out, lw=1.2, ls="--", alpha=0.7, zorder=0)
    ax.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    ax.xaxis.get_major_locator().set_params(integer=True)


def _line(ax: Any, x: list[float], y: list[float], label: str, colour: str, form: str) -> None:
    shown = [value if math.isfinite(value) else math.nan for value in y]
    ax.plot(x, shown, form, label=label, color=colour, lw=2.2, ms=5 if len(x) <= 30 else 0)


def _mark_divergence(ax: Any, epochs: list[float], train: list[float]) -> None:
    lost = [(epoch, value) for epoch, value in zip(epochs, train, strict=True) if not math.isfinite(value)]
    if lost:
        epoch, value = lost[0]
        ax.axvline(epoch, color=ink(ax), lw=1.2, ls=":")
        said = f"training loss is {value}\nfrom epoch {epoch:g} on"
        ax.text(0.03, 0.05, said, transform=ax.transAxes, ha="left", va="bottom", color=ink(ax))
