"""What a sweep found: its configurations as lines, the best by budget, and which arguments matter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph import Array
from .letters import literal
from .style import canvas, frame, new_figure, palette, styled

if TYPE_CHECKING:
    from ...scale.sweep import Sweep

MOST_LINES, MOST_NAME, PARTS = 200, 22, 4


def _scored(sweep: Sweep, caller: str) -> list[Any]:
    """The trials that have a score, the best last, to be drawn on top. Error: ValueError where there is none."""
    found = [trial for trial in sweep.ranked() if not math.isnan(trial.score)]
    if not found:
        raise ValueError(f"{caller}: no trial of the sweep has a score; it must have one at least")
    return found[:MOST_LINES][::-1]


def _varied(trials: Sequence[Any]) -> list[str]:
    """The arguments that have more than one value."""
    names = list(dict.fromkeys(name for trial in trials for name in trial.parameters))
    return [name for name in names if len({repr(trial.parameters.get(name)) for trial in trials}) > 1]


def _number(value: float) -> str:
    """A few digits; 512 and not 5.1e+02."""
    return f"{value:,.0f}" if 100 <= abs(value) < 1e6 else f"{value:.2g}"


def _even(at: Array) -> float:
    """How far from the middle of their range half of the values lie."""
    return float(abs((np.median(at) - at.min()) / ((at.max() - at.min()) or 1) - 0.5))


def _worst(sweep: Sweep, scores: Array) -> float:
    """Where a score's axis ends at the bad side: far outliers, as of a net that hardly trained, would hide the rest."""
    sign = 1.0 if sweep.rises else -1.0
    good = sign * scores
    quarter, half = np.quantile(good, [0.25, 0.5])
    bound = half - 10 * (good.max() - quarter)
    return float(sign * good[good >= bound].min())


def _axis(values: list[Any]) -> tuple[Array, list[tuple[float, str]]]:
    """(where each value lies in 0 .. 1, ticks); numbers over more than two powers of ten by their logarithms.

    But not where that leaves them less even: of numbers from 0 to 1 the least may be small.
    """
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values) and len(set(values)) > 2:
        numbers = np.array(values, np.float64)
        log = numbers.min() > 0 and numbers.max() / numbers.min() > 100 and _even(np.log10(numbers)) < _even(numbers)
        at = np.log10(numbers) if log else numbers
        low, high = at.min(), at.max()
        ticks = [(k / 4, low + (high - low) * k / 4) for k in (0, 2, 4)]
        return (at - low) / (high - low), [(place, _number(10**value if log else value)) for place, value in ticks]
    kinds = sorted(set(map(repr, values)), key=lambda text: (len(text), text))
    places = {kind: (k + 0.5) / len(kinds) for k, kind in enumerate(kinds)}
    ticks = [(place, literal(kind.strip("'"), MOST_NAME)) for kind, place in places.items()]
    at = np.array([places[repr(v)] for v in values])
    for place in places.values():  # side by side, in the order of their scores: else they were one line
        same = np.flatnonzero(at == place)
        at[same] += np.linspace(-1, 1, len(same) + 2)[1:-1] * 0.3 / len(kinds)
    return at, ticks


@styled
def sweep_parallel(sweep: Sweep) -> Any:
    """A line for each configuration across an axis for each argument; the better its score, the stronger its colour.

    The best is thick. Only where a line meets an axis counts; lines of one choice lie side by side, the best on top.
    Error: ValueError where no trial has a score.
    """
    trials = _scored(sweep, "sweep_parallel")
    names = _varied(trials) or list(trials[0].parameters)
    colours, figure = palette(), new_figure(4.2)
    figure.set_figwidth(max(5.0, 1.5 * (len(names) + 1)))
    ax = frame(figure.subplots())
    columns = [_axis([trial.parameters.get(name) for trial in trials]) for name in names]
    scores = np.array([trial.score for trial in trials])
    worst = _worst(sweep, scores)
    inside = np.maximum(scores, worst) if sweep.rises else np.minimum(scores, worst)
    low, high = inside.min(), inside.max()
    ends = [(0.0, f"{low:.4g}"), (1.0, f"{high:.4g}")] if high > low else [(0.5, f"{low:.4g}")]
    if outside := int((inside != scores).sum()):
        place, end = ends.pop(0 if sweep.rises else -1)
        ends.append((place, f"{end}, {outside} {'below' if sweep.rises else 'above'}"))
    columns.append(((inside - low) / (high - low) if high > low else np.full(len(scores), 0.5), ends))
    lines = np.stack([places for places, _ in columns], axis=1)
    for rank, line in enumerate(lines):
        best, share = rank == len(lines) - 1, (rank + 1) / len(lines)
        colour = colours.held_out if best else colours.train
        ax.plot(line, color=colour, lw=3 if best else 1.3, alpha=1 if best else 0.15 + 0.6 * share**2)
    for at, (_, ticks) in enumerate(columns):
        ax.axvline(at, color=colours.ink, lw=1)
        for place, text in ticks:
            box = {"facecolor": colours.background, "edgecolor": "none", "pad": 1.2, "alpha": 0.85}
            ax.text(at + 0.04, place, text, va="center", ha="left", fontsize="small", color=colours.ink, bbox=box)
    ax.set_xlim(-0.1, len(columns) - 0.45)
    ax.set_ylim(-0.06, 1.06)
    ax.set_yticks([])
    words = [literal(name, MOST_NAME) for name in names]
    ax.set_xticks(range(len(columns)), [*words, literal(sweep.metric.replace("_", " "), MOST_NAME)])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.tick_params(length=0)
    ax.set_title("Configurations; the best is thick")
    return figure


@styled
def sweep_best(sweep: Sweep, ax: Any = None, title: str = "Best by budget") -> Any:
    """The best score so far over the epochs that all trials together were trained for, each trial as a dot.

    ax: a matplotlib Axes, or None for a new figure. Error: ValueError where no trial has a score.
    """
    _scored(sweep, "sweep_best")
    figure, ax = canvas(ax)
    colours = palette()
    spent, best, dots, steps = 0, math.nan, [], []
    for trial in sweep:
        spent += sum(line["epochs"] for line in trial.lines)
        if math.isnan(trial.score):
            continue
        dots.append((spent, trial.score))
        better = math.isnan(best) or (trial.score > best if sweep.rises else trial.score < best)
        best = trial.score if better else best
        steps.append((spent, best))
    ax.plot(*np.array(dots).T, "o", color=colours.train, ms=5, alpha=0.7, label="a configuration")
    ax.step(*np.array(steps).T, where="post", color=colours.held_out, lw=2.2, label="the best so far")
    ax.set(
        xlabel="epochs, of all trials together", ylabel=literal(sweep.metric.replace("_", " "), MOST_NAME), title=title
    )
    scores = np.array([score for _, score in dots])
    worst, top = _worst(sweep, scores), scores.max() if sweep.rises else scores.min()
    if outside := int((scores < worst).sum() if sweep.rises else (scores > worst).sum()):
        edge = worst - 0.05 * ((top - worst) or 1)
        ax.set_ylim(**({"bottom": edge, "top": top + 0.05 * (top - worst)} if sweep.rises
                       else {"top": edge, "bottom": top + 0.05 * (top - worst)}))  # fmt: skip
        ax.set_title(f"{title}; {outside} {'below' if sweep.rises else 'above'}")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(loc="best")
    return figure


def importances(sweep: Sweep) -> dict[str, float]:
    """For each argument that was varied, how much of the spread of the scores it explains alone, from 0 to 1.

    ε² = 1 - (N - 1) / (N - G) · Σ_g Σ_{i in g} (s_i - s̄_g)² / Σ_i (s_i - s̄)²  over the groups g of its values, of
    numbers four groups of equal size; below 0 it is 0. Trials of the most epochs that all had count.
    Source: Kelley, An Unbiased Correlation Ratio Measure, PNAS 21 (1935).
    """
    trials = [trial for trial in sweep if trial.lines and not math.isnan(trial.score)]
    least = min((trial.epochs for trial in trials), default=0)
    rows = [(trial, [line["history"][:least][-1] for line in trial.lines]) for trial in trials]
    scores = np.array([np.mean(values) for _, values in rows])
    found = {}
    for name in _varied(trials):
        groups = _groups([trial.parameters.get(name) for trial in trials])
        N, G = len(scores), len(set(groups.tolist()))
        total = ((scores - scores.mean()) ** 2).sum()
        within = sum(((scores[groups == g] - scores[groups == g].mean()) ** 2).sum() for g in range(G))
        known = N > G and total > 0
        found[name] = float(max(0.0, 1 - (N - 1) / (N - G) * within / total)) if known else 0.0
    return found


def _groups(values: list[Any]) -> Array:
    """A number for each value: of few values each its own, of many numbers a quarter of them."""
    kinds = list(dict.fromkeys(map(repr, values)))
    if len(kinds) <= PARTS or not all(isinstance(v, int | float) for v in values):
        return np.array([kinds.index(repr(v)) for v in values])
    order = np.argsort(np.argsort(np.array(values, np.float64), kind="stable"), kind="stable")
    return order * PARTS // len(values)


@styled
def sweep_importance(sweep: Sweep, ax: Any = None, title: str = "What the score hangs on") -> Any:
    """How much of the spread of the scores each argument explains alone, see `importances`.

    Arguments may matter together where neither does alone, which this does not see.
    ax: a matplotlib Axes, or None for a new figure. Error: ValueError where no trial has a score.
    """
    _scored(sweep, "sweep_importance")
    found = sorted(importances(sweep).items(), key=lambda pair: pair[1])
    figure, ax = canvas(ax)
    colours = palette()
    if not found:
        ax.text(0.5, 0.5, "no argument has two values", transform=ax.transAxes, ha="center", color=colours.ink)
    ax.hlines(range(len(found)), 0, [share for _, share in found], color=colours.train, lw=3)
    ax.plot([share for _, share in found], range(len(found)), "o", color=colours.train, ms=9)
    ax.set_yticks(range(len(found)), [literal(name, MOST_NAME) for name, _ in found])
    ax.set_xlim(0, max([0.1, *(share for _, share in found)]) * 1.15)
    ax.set_ylim(-0.6, max(len(found) - 0.4, 0.6))
    ax.set(xlabel="share of the spread of scores", title=title)
    ax.grid(axis="y", visible=False)
    return figure
