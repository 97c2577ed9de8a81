"""How good the answers are: the confusion matrix, and whether probabilities mean what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ... import check
from ...words import columns
from .letters import literals
from .style import LETTERS, canvas, colour_map, frame, ink, letters_on, new_figure, palette, styled

if TYPE_CHECKING:
    from ...training.evaluation import Evaluation

MOST_COUNTS = 20  # classes; with more, a cell has no room for a number
MOST_NAME = 14  # columns of a class's name
MOST_CLASSES = 1000  # with more, a cell is less than a pixel, and there would be more than a million
Z95 = 1.96  # standard deviations either side of a mean that hold 95 % of a normal distribution


@styled
def confusion_matrix(evaluation: Evaluation | Any, ax: Any = None) -> Any:
    """How many rows of each true class (down) were predicted as which class (across).

    The right ones, on the diagonal, have one pale colour; the colour of an error is its count over the largest error,
    so that errors show beside thousands that are right. Empty cells have no number. With more than 20 classes no cell
    has a number, and a colour bar gives the counts. Classes have the names that the evaluation knows, cut where they
    are long. evaluation: an Evaluation, or the counts themselves as (C, C); ax: a matplotlib Axes, or None for a new
    figure.
    Error: ValueError for more than 1000 classes: `print(evaluation)` lists the most frequent mistakes.
    """
    from matplotlib.colors import to_rgba

    if getattr(evaluation, "classes", 0) > MOST_CLASSES:
        raise ValueError(
            f"confusion_matrix: evaluation has {evaluation.classes:,} classes; a picture has room for {MOST_CLASSES:,}"
        )
    counts = check.array("confusion_matrix: evaluation", getattr(evaluation, "confusion", evaluation))
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.dtype.kind not in "iu":
        raise ValueError(
            f"confusion_matrix: evaluation is {counts.dtype} {counts.shape}; it must be an Evaluation or whole numbers "
            "(C, C)"
        )
    classes = len(counts)
    own = ax is None
    figure, ax = canvas(ax, height=5.0)
    errors = counts.copy()
    np.fill_diagonal(errors, 0)
    worst = max(int(errors.max(initial=0)), 1)
    shades = colour_map(palette().errors)
    cells = shades(errors / worst)
    cells[errors == 0] = to_rgba(palette().background)
    cells[np.diag_indices(classes)] = to_rgba(palette().right)
    ax.imshow(cells, interpolation="nearest")
    ax.grid(False)
    _name(ax, getattr(evaluation, "names", ()) if getattr(evaluation, "classes_", None) is not None else (), classes)
    if classes <= MOST_COUNTS:
        if own:
            figure.draw_without_rendering()  # the names take their room, and the cells what is left
        digits = max(len(str(int(counts.max(initial=0)))), 2)
        ax.apply_aspect()
        cell = ax.get_position().width * ax.figure.bbox.width / ax.figure.dpi * 72 / classes  # points
        letters = min(cell / (0.66 * digits), 0.6 * cell, 18)
        for t, p in zip(*np.nonzero(counts), strict=True):
            ax.text(p, t, str(counts[t, p]), ha="center", va="center", fontsize=letters, color=letters_on(cells[t, p]))
    else:
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        bar = figure.colorbar(ScalarMappable(Normalize(0, worst), shades), ax=ax, fraction=0.045, label="errors")
        bar.outline.set_visible(False)
        bar.ax.tick_params(colors=ink(ax), labelsize=LETTERS - 1)
    if own:
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    lines = np.arange(classes + 1) - 0.5
    ax.hlines(lines, -0.5, classes - 0.5, color=palette().grid, lw=0.6 if classes <= MOST_COUNTS else 0.15)
    ax.vlines(lines, -0.5, classes - 0.5, color=palette().grid, lw=0.6 if classes <= MOST_COUNTS else 0.15)
    wrong, rows = int(errors.sum()), int(counts.sum())
    ax.set(xlabel="predicted", ylabel="true", title=f"{_share(rows - wrong, rows)} right; {wrong:,} of {rows:,} wrong")
    return figure


def _name(ax: Any, names: tuple[str, ...], classes: int) -> None:
    """The names of the classes beside the cells, of many as many as have room; their numbers where there are none."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    if classes > MOST_COUNTS:
        short = literals(names, MOST_NAME // 2, range(classes)) if names else []
        for axis in (ax.xaxis, ax.yaxis) if names else ():
            axis.set_major_locator(MaxNLocator(8, integer=True))
            axis.set_major_formatter(FuncFormatter(lambda c, _: short[int(c)] if 0 <= c < classes else ""))
        longest = 3 * max(map(columns, short), default=0)
    else:
        short = literals(names, MOST_NAME, range(classes)) if names else [str(c) for c in range(classes)]
        letters = {"fontsize": LETTERS - (1 if classes <= 12 else 3)}
        ax.set_xticks(range(classes), labels=short, **letters)
        ax.set_yticks(range(classes), labels=short, **letters)
        longest = max(map(columns, short)) * max(classes, 3) // 3  # a third of the width has ten letters
    if names and longest > 10:
        ax.tick_params(axis="x", rotation=90 if classes > 6 else 30)
        for label in ax.get_xticklabels():
            label.set(ha="center" if classes > 6 else "right", rotation_mode="anchor" if classes <= 6 else "default")


@styled
def reliability(evaluation: Evaluation, ax: Any = None, before: Evaluation | None = None) -> Any:
    """Of the rows predicted with a confidence of c, the share that is right; below, how many rows that are.

    A dot a bin at (mean confidence, accuracy), with the 95 % interval that its count leaves (Wilson 1927); on the
    dashed line, probabilities mean what they say; below it, the net is too sure of itself. The counts are on a
    logarithmic axis. ax: a matplotlib Axes, or None for a new figure. before: the evaluation of the same rows before
    `calibrate`, drawn beside it with hollow squares and steps.
    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    from matplotlib.ticker import PercentFormatter

    if ax is not None:
        canvas(ax)
    confidence, accuracy, count = (np.asarray(column) for column in evaluation.reliability)
    bins, filled = len(count), np.asarray(count) > 0
    if ax is None:
        figure = new_figure(5.0)
        ax, below = (frame(part) for part in figure.subplots(2, 1, sharex=True, height_ratios=(7, 3)))
        below.grid(False)
    else:
        figure, below = ax.figure, ax.inset_axes((0, -0.42, 1, 0.36), sharex=ax)
        below.tick_params(colors=ink(ax))
        below.set_facecolor("none")
        below.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelbottom=False)
    colours = palette()
    ax.plot([0, 1], [0, 1], ls="--", color=ink(ax), lw=1.2)
    x, y, n = confidence[filled], accuracy[filled], count[filled]
    low, high = _wilson(y, n)
    ax.vlines(x, low, high, color=colours.train, lw=2, alpha=0.55)
    ax.plot(x, y, "o-", color=colours.train, lw=2, ms=6, label="after" if before is not None else None)
    if before is None:
        ax.fill_between(x, x, y, color=colours.held_out, alpha=0.25, lw=0)
    else:
        _before(ax, below, before)
    ax.set(xlim=(0, 1.02), ylim=(0, 1.04), ylabel="accuracy")
    was = "" if before is None else f"{100 * before.calibration_error:.1f} % → "
    ax.set_title(f"calibration error {was}{100 * evaluation.calibration_error:.1f} %")
    ax.text(0.97, 0.04, "below the line:\ntoo sure", transform=ax.transAxes, ha="right", color=ink(ax))
    percent = PercentFormatter(1, decimals=0, symbol=" %")
    ax.yaxis.set_major_formatter(percent)
    below.bar((np.arange(bins) + 0.5) / bins, count, 0.9 / bins, color=colours.train)
    if before is not None:
        count = np.maximum(count, before.reliability[2])
    scale = "log" if count.any() else "linear"  # no row with a finite probability, nothing to scale by
    below.set(xlabel="confidence", ylabel="rows", yscale=scale, ylim=(0.7, 3 * max(int(count.max(initial=1)), 1)))
    below.xaxis.set_major_formatter(percent)
    below.minorticks_off()
    for label in (below.xaxis.label, below.yaxis.label):
        label.set_color(ink(ax))
    return figure


def _before(ax: Any, below: Any, evaluation: Any) -> None:
    """The bins of an evaluation before it was calibrated: hollow squares, and the outline of its counts."""
    confidence, accuracy, count = (np.asarray(column) for column in evaluation.reliability)
    filled, colour = count > 0, palette().held_out
    x, y = confidence[filled], accuracy[filled]
    low, high = _wilson(y, count[filled])
    ax.vlines(x, low, high, color=colour, lw=2, alpha=0.55)
    ax.plot(x, y, "s-", color=colour, lw=1.6, ms=6, mfc=ax.get_facecolor(), mew=1.6, zorder=3, label="before")
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles[::-1], labels[::-1], loc="upper left", labelcolor=ink(ax), frameon=False)
    below.stairs(count, np.linspace(0, 1, len(count) + 1), color=colour, lw=1.6, zorder=3)


def _wilson(share: Any, n: Any) -> tuple[Any, Any]:
    """Bounds of the 95 % interval of a share of n. Source: Wilson, JASA 22 (1927)."""
    middle = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * np.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    return middle - half, middle + half


def _share(part: int, whole: int) -> str:
    return f"{100 * part / max(whole, 1):.2f} %"
