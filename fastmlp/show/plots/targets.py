"""How good the answers are where targets are numbers or labels: predicted against true, residuals, scores of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...check import whole
from .letters import literals
from .style import LETTERS, canvas, colour_map, frame, ink, new_figure, palette, styled

if TYPE_CHECKING:
    from ...graph import Array
    from ...training.multilabel import MultilabelEvaluation
    from ...training.regression import RegressionEvaluation

MOST_DOTS = 3000  # rows that are drawn as dots; of more, how many lie where
MOST_PANELS = 4  # columns of the targets that have a panel of their own
MOST_LABELS = 30  # lines with the scores of a label
MOST_NAME = 18  # columns of a name


@styled
def predicted_vs_true(evaluation: RegressionEvaluation, ax: Any = None, column: int | None = None) -> Any:
    """The predicted number of each row (up) over the true one (across); on the dashed line they are the same.

    Of more than 3000 rows, how many lie where: the darker, the more. Where a row has several numbers, a panel for each
    column of the targets, the four of the lowest R² where there are more; column: that one alone.
    ax: a matplotlib Axes, which gets one column, or None for a new figure. Error: ValueError for a column that is not
    there.
    """
    e, chosen = evaluation, _columns("predicted_vs_true", evaluation, column, ax)
    if len(chosen) == 1:
        figure, first = canvas(ax, height=4.6)
        panels, own = [first], ax is None
    else:
        lines = (len(chosen) + 1) // 2
        figure, own = new_figure(0.5 + 2.6 * lines), True
        grid = figure.subplots(lines, 2, squeeze=False).ravel()
        for empty in grid[len(chosen) :]:
            empty.set_axis_off()
        panels = [frame(part) for part in grid[: len(chosen)]]
    for panel, t in zip(panels, chosen, strict=True):
        true, predicted = e.targets[:, t], e.predicted[:, t]
        seen = np.isfinite(predicted)
        span = _span(np.concatenate([true, predicted[seen]]))
        panel.set(xlim=span, ylim=span, aspect="equal" if own else "auto")
        panel.plot(span, span, ls="--", color=ink(panel), lw=1.2, zorder=1)
        _cloud(panel, true[seen], predicted[seen], span, span, 1.0)
        _few_ticks(panel, len(panels))
        title = f"R² {_score(float(e.column_r2[t]))}, RMSE {_number(float(e.column_rmse[t]))}"
        _title(panel, e, t, title, seen, len(panels))
    _label(figure, panels, "true", "predicted", e)
    return figure


@styled
def residuals(evaluation: RegressionEvaluation, ax: Any = None, column: int | None = None) -> Any:
    """Predicted less true number of each row (up) over the predicted one (across), and beside it how many are where.

    Residuals of a model that has found all there is to find have no shape: a bend or a funnel is something it missed.
    Of more than 3000 rows, how many lie where. Where a row has several numbers, a panel for each column of the targets,
    the four of the lowest R² where there are more; column: that one alone.
    ax: a matplotlib Axes, which gets one column, or None for a new figure. Error: ValueError for a column that is not
    there.
    """
    e, chosen = evaluation, _columns("residuals", evaluation, column, ax)
    if ax is None:
        figure = new_figure(3.8 if len(chosen) == 1 else 0.4 + 2.1 * len(chosen))
        grid = figure.subplots(len(chosen), 2, squeeze=False, width_ratios=(4, 1), sharey="row")
        pairs = [(frame(left), frame(right, grid=False)) for left, right in grid]
    else:
        figure, ax = canvas(ax)
        pairs = [(ax, ax.inset_axes((1.03, 0, 0.22, 1), sharey=ax))]
        pairs[0][1].spines[["top", "right"]].set_visible(False)
        pairs[0][1].set_facecolor("none")
        pairs[0][1].tick_params(colors=ink(ax))
    for (left, right), t in zip(pairs, chosen, strict=True):
        predicted, residual = e.predicted[:, t], e.residuals[:, t]
        seen = np.isfinite(predicted)
        reach = float(np.abs(residual[seen]).max(initial=0)) or 1.0
        across, up = _span(predicted[seen]), (-1.06 * reach, 1.06 * reach)
        left.axhline(0, ls="--", color=ink(left), lw=1.2, zorder=1)
        left.set(xlim=across, ylim=up)
        _cloud(left, predicted[seen], residual[seen], across, up, 0.9 if len(pairs) == 1 else 0.4)
        bins = min(max(int(np.sqrt(seen.sum())), 5), 60)
        counts, edges = np.histogram(residual[seen], bins=bins, range=(-reach, reach))
        right.barh(edges[:-1], counts, np.diff(edges), align="edge", color=palette().train)
        right.set_xlim(0, 1.05 * max(int(counts.max(initial=0)), 1))
        right.tick_params(labelleft=False, left=False)
        right.locator_params(axis="x", nbins=2, integer=True)
        _few_ticks(left, len(pairs))
        title = f"MAE {_number(float(e.column_mae[t]))}, RMSE {_number(float(e.column_rmse[t]))}"
        _title(left, e, t, title, seen, len(pairs))
    pairs[-1][1].set_xlabel("rows")
    pairs[-1][1].xaxis.label.set_color(ink(pairs[-1][0]))
    _label(figure, [left for left, _ in pairs], "predicted", "residual", e)
    return figure


@styled
def label_scores(evaluation: MultilabelEvaluation, ax: Any = None) -> Any:
    """F1 of each label as a bar, its precision as a dot and its recall as a square; in brackets, how many rows have it.

    Of more than 30 labels, those with the lowest F1. An `Evaluation` of classes is drawn in the same way.
    ax: a matplotlib Axes, or None for a new figure.
    """
    from matplotlib.ticker import PercentFormatter

    e = evaluation
    count = len(e.f1)
    shown = np.arange(count) if count <= MOST_LABELS else np.sort(np.argsort(e.f1, kind="stable")[:MOST_LABELS])
    height = 0.36 if len(shown) <= 12 else 0.25
    own = ax is None
    figure, ax = canvas(ax, height=1.5 + height * len(shown))
    colours, places = palette(), np.arange(len(shown))
    ax.barh(places, e.f1[shown], 0.62, color=colours.right, label="F1")
    ax.plot(e.precision[shown], places, "o", color=colours.train, ms=7, label="precision", clip_on=False, zorder=3)
    ax.plot(
        e.recall[shown], places, "s", color=colours.held_out, ms=6, mfc="none", mew=2, label="recall", clip_on=False,
        zorder=4,
    )  # fmt: skip
    names = literals((e.names[k] for k in shown), MOST_NAME, shown)
    rows = [f"{name} ({_number(float(n))})" for name, n in zip(names, e.support[shown], strict=True)]
    small = {} if len(shown) <= 12 else {"fontsize": LETTERS - 3}
    ax.set_yticks(places, labels=rows, **small)
    ax.grid(False, axis="y")
    ax.set(xlim=(0, 1), ylim=(len(shown) - 0.4, -0.6))
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    averages = f"macro F1 {100 * e.macro.f1:.1f} %"
    if hasattr(e, "micro"):
        averages = f"micro F1 {100 * e.micro.f1:.1f} %, {averages}"
    left_out = f"\nthe {len(shown)} of {count:,} with the lowest F1" if len(shown) < count else ""
    if own:
        figure.suptitle(averages + left_out, fontsize=LETTERS)
        figure.legend(loc="outside lower center", ncols=3)
    else:
        ax.set_title(averages + left_out)
        ax.legend()
    return figure


def _columns(caller: str, e: RegressionEvaluation, column: int | None, ax: Any) -> list[int]:
    """The columns to draw: those of the lowest R² first in line, then in their own order."""
    if column is not None:
        whole(f"{caller}: column", column, 0, f", below {e.columns}", below=e.columns)
        return [int(column)]
    lowest = np.argsort(np.where(np.isnan(e.column_r2), np.inf, e.column_r2), kind="stable")
    return sorted(lowest[: MOST_PANELS if ax is None else 1].tolist())


def _cloud(ax: Any, x: Array, y: Array, across: tuple[float, float], up: tuple[float, float], shape: float) -> None:
    """Dots; or, of many rows, how many lie in each hexagon, on a logarithmic scale. shape: height over width of ax."""
    if len(x) > MOST_DOTS:
        extent = (*across, *up)
        colours = colour_map(palette().density[1:])
        ax.hexbin(
            x, y, gridsize=(48, round(28 * shape)), bins="log", mincnt=1, cmap=colours, extent=extent, lw=0.2, zorder=2
        )
        ax.set(xlim=across, ylim=up)
        return
    few = len(x) <= 100
    alpha = 0.75 if few else 0.55 if len(x) <= 1000 else 0.35
    ax.scatter(x, y, s=30 if few else 14, color=palette().train, alpha=alpha, lw=0, zorder=2)


def _span(values: Array) -> tuple[float, float]:
    """The ends of an axis with a margin; of numbers that are all the same, with them in the middle."""
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 0.05 * abs(low) or 1.0
    return low - margin, high + margin


def _few_ticks(ax: Any, panels: int) -> None:
    ax.locator_params(nbins=5 if panels == 1 else 4)
    ax.ticklabel_format(scilimits=(-3, 5))


def _title(ax: Any, e: RegressionEvaluation, t: int, text: str, seen: Array, panels: int) -> None:
    """What a panel says: its column, where there are several or it has a name; the scores; rows that are not drawn."""
    lines = [text]
    if e.columns > 1 or e.target_names:
        name = literals([e.names[t]], MOST_NAME if panels > 1 else 40, [t])[0]
        lines.insert(0, name if e.target_names else f"column {name}")
    if lost := int(np.count_nonzero(~seen)):
        lines.append(f"{lost:,} row{'s' * (lost != 1)} without a finite number")
    ax.set_title("\n".join(lines), fontsize=LETTERS if panels == 1 else LETTERS - 2)


def _label(figure: Any, panels: list[Any], across: str, up: str, e: RegressionEvaluation) -> None:
    if len(panels) == 1:
        panels[0].set(xlabel=across, ylabel=up)
        return
    figure.supxlabel(across, fontsize=LETTERS)
    figure.supylabel(up, fontsize=LETTERS)
    if len(panels) < e.columns:
        figure.suptitle(f"the {len(panels)} of {e.columns:,} columns with the lowest R²", fontsize=LETTERS)


def _score(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}" if abs(value) < 1000 else f"{value:.2e}"


def _number(value: float) -> str:
    """Four digits, and a comma in thousands."""
    return "–" if np.isnan(value) else f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.4g}"
