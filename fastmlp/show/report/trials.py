"""The page of a sweep: its figures, and a line for each configuration, the best first."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Any

from ...words import short
from . import numbers

if TYPE_CHECKING:
    from ...scale.sweep import Sweep, Trial

MOST_ROWS, MOST_VALUE = 200, 40
CAPTIONS = {
    "sweep_parallel": "A line is a configuration, from axis to axis; the stronger its colour, the better its score, "
    "and the best is thick. Strong lines that meet an axis in one place say what that argument should be; strong lines "
    "all over it say that it hardly matters.",
    "sweep_best": "The best score so far over the epochs of all trials together. A line that has long been flat says "
    "that more trials of this kind are not worth their time.",
    "sweep_importance": "How much of the spread of the scores each argument explains alone. Arguments may matter "
    "together where neither does alone.",
}


def summary(sweep: Sweep) -> str:
    """One line under the title."""
    folds = max(len(trial.keys) for trial in sweep)
    parts = [f"{len(sweep):,} configurations", f"{folds} folds" if folds > 1 else "one part of the rows held out"]
    parts.append(f"by {sweep.metric.replace('_', ' ')}")
    return " · ".join(f"<span>{escape(part)}</span>" for part in parts)


def tiles(sweep: Sweep) -> str:
    """The figures of the sweep, large."""
    lines = [line for trial in sweep for line in trial.lines]
    failed = sum(math.isnan(trial.score) for trial in sweep)
    shown: list[tuple[str, str, str]] = []
    if failed < len(sweep):
        best = sweep.best
        shown.append(("Best", f"{best.score:.5g}", f"{sweep.metric.replace('_', ' ')} after {best.epochs} epochs"))
    shown.append(("Trials", f"{len(lines):,}", f"{failed} of the configurations without a score" if failed else ""))
    seconds = math.fsum(line["seconds"] for line in lines)
    workers = len({(line["machine"], line["process"]) for line in lines})
    shown.append(("Time", numbers.duration(seconds), f"of all trials; {workers} workers" if workers > 1 else ""))
    cells = "\n".join(f"<div><dt>{a}</dt><dd>{b}<small>{escape(c)}</small></dd></div>" for a, b, c in shown)
    return f'<h2>Numbers</h2>\n<dl class="tiles">\n{cells}\n</dl>'


def table(sweep: Sweep) -> str:
    """A line for each configuration."""
    names = list(dict.fromkeys(name for trial in sweep for name in trial.parameters))
    ranked = sweep.ranked()[:MOST_ROWS]
    head = ["Rank", escape(sweep.metric.replace("_", " ")), "epochs", "seconds", *(escape(name) for name in names)]
    rows = [("", _cells(rank, trial, names)) for rank, trial in enumerate(ranked, 1)]
    left = f" The first {MOST_ROWS} of {len(sweep):,}." if len(sweep) > MOST_ROWS else ""
    return "<h2>Trials</h2>\n" + numbers.table(f"The best first.{left}", head, rows, "trials")


def _cells(rank: int, trial: Trial, names: list[str]) -> list[str]:
    said = next((line.get("error") or line["ended"] for line in trial.lines if line["score"] is None), "")
    score = escape(short(said, 80)) if math.isnan(trial.score) else f"{trial.score:.5g}"
    seconds = f"{math.fsum(line['seconds'] for line in trial.lines):.1f}"
    values = [_value(trial.parameters[name]) if name in trial.parameters else "" for name in names]
    return [str(rank), score, str(trial.epochs), seconds, *values]


def _value(value: Any) -> str:
    return escape(short(f"{value:.4g}" if isinstance(value, float) else str(value), MOST_VALUE))
