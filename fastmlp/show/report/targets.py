"""What the page says where targets are numbers or labels: the figures, a line a column or label, the worst rows."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from ...words import score, short
from .numbers import MOST_CLASSES, NONE, Tile, decimal, percent, table

if TYPE_CHECKING:
    from ...training.multilabel import MultilabelEvaluation
    from ...training.regression import RegressionEvaluation

MOST_ROWS = 100  # worst rows in a page
MOST_NAME = 40  # columns of a name
MOST_LABELS = 12  # of a row that are named


def amount(value: float) -> str:
    """A number of any size in five digits; a dash for NaN."""
    value = float(value)
    if not np.isfinite(value):
        return NONE if np.isnan(value) else "∞" if value > 0 else "−∞"
    text = f"{value:.5g}" if 1e-4 <= abs(value) < 1e5 or value == 0 else f"{value:.3e}"
    return text.replace("-", "−")


def number_tiles(e: RegressionEvaluation) -> list[Tile]:
    """The figures of a regression, large."""
    mean = f", mean over {e.columns:,} columns" * (e.columns > 1)
    tiles = [
        ("Test R²", decimal(e.r2), f"1 is no error, 0 that of the targets' mean{mean}"),
        ("Test RMSE", amount(e.rmse), f"in the unit of the targets{mean}"),
        ("Test MAE", amount(e.mae), f"mean absolute error{mean}"),
        ("Test loss", amount(e.loss), e.loss_name + " of scaled targets" * e.scaled),
    ]
    if e.score_name != "r2":
        tiles.insert(1, (f"Test {score(e.score_name)}", decimal(e.score), f"the score of {e.loss_name}"))
    if e.unfinished:
        tiles.append(("Not finite", f"{e.unfinished:,}", "rows that the network has no number for"))
    return tiles


def label_tiles(e: MultilabelEvaluation) -> list[Tile]:
    """The figures of rows that may have any of several labels, large."""
    right = e.rows - len(e.wrong)
    return [
        ("Test micro F1", percent(e.micro.f1), "of all labels of all rows together"),
        ("Test macro F1", percent(e.macro.f1), f"mean over the {e.labels:,} labels"),
        ("All labels right", percent(e.subset_accuracy), f"{right:,} of {e.rows:,} rows"),
        ("Test loss", decimal(e.loss), e.loss_name),
    ]


def columns(e: RegressionEvaluation) -> str:
    """R², RMSE and MAE of each column of the targets; nothing where there is one."""
    if e.columns == 1:
        return ""
    shown, lowest = np.arange(e.columns), np.where(np.isnan(e.column_r2), np.inf, e.column_r2)
    if e.columns > MOST_CLASSES:
        shown = np.argsort(lowest, kind="stable")[:MOST_CLASSES]
    body = []
    for t in shown.tolist():
        cells = [named(e, t), decimal(float(e.column_r2[t])), amount(e.column_rmse[t]), amount(e.column_mae[t])]
        cells += [amount(e.targets[:, t].mean()), amount(e.targets[:, t].std())]
        body.append(("marked" if t == lowest.argmin() else "", cells))
    caption = (
        "R²: the share of the targets' spread that the network explains. RMSE and MAE are in the unit of the column, "
        "as are the mean and the spread (standard deviation) of its targets. The column with the lowest R² is marked."
    )
    if len(shown) < e.columns:
        caption += f" Of {e.columns:,} columns the {len(shown):,} with the lowest R² are shown."
    header = ("column", "R²", "RMSE", "MAE", "mean", "spread")
    return "<h2>Columns</h2>\n" + table(caption, header, body, "Numbers of each column")


def labels(e: MultilabelEvaluation) -> str:
    """Precision, recall and F1 of each label."""
    shown = np.arange(e.labels)
    if e.labels > MOST_CLASSES:
        shown = np.argsort(e.f1, kind="stable")[:MOST_CLASSES]
    missed = np.count_nonzero(e.targets & ~e.predicted, axis=0)
    wrongly = np.count_nonzero(~e.targets & e.predicted, axis=0)
    body = []
    for k in shown.tolist():
        cells = [named(e, k), *(percent(float(column[k])) for column in (e.precision, e.recall, e.f1))]
        cells += [f"{int(n):,}" for n in (e.targets[:, k].sum(), missed[k], wrongly[k])]
        body.append(("marked" if k == e.f1.argmin() else "", cells))
    caption = (
        "Precision: of the rows that are given this label, the share that has it. Recall: of the rows that have it, "
        "the share that was found. F1: their harmonic mean. The label with the lowest F1 is marked."
    )
    if len(shown) < e.labels:
        caption += f" Of {e.labels:,} labels the {len(shown):,} with the lowest F1 are shown."
    header = ("label", "precision", "recall", "F1", "rows", "missed", "wrongly given")
    return "<h2>Labels</h2>\n" + table(caption, header, body, "Numbers of each label")


def worst_numbers(e: RegressionEvaluation) -> str:
    """The rows with the largest residuals."""
    body = []
    for row, t in e.worst[:MOST_ROWS]:
        cells = [f"{row:,}", *([named(e, t)] if e.columns > 1 else [])]
        body.append(("", [*cells, *(amount(array[row, t]) for array in (e.targets, e.predicted, e.residuals))]))
    caption = "The residual is the predicted number less the true one."
    if e.columns > 1:
        caption += " Of each row its worst column, measured by the spread of the column's targets."
    caption += f" Of {e.rows:,} rows the {len(body):,} with the largest are shown." * (len(body) < e.rows)
    header = ("row", *["column"] * (e.columns > 1), "true", "predicted", "residual")
    return "<h2>Largest residuals</h2>\n" + table(caption, header, body, "Rows with the largest residuals")


def worst_labels(e: MultilabelEvaluation) -> str:
    """The rows with wrong labels, the most surely wrong first: which are missed, which wrongly given."""
    if not len(e.wrong):
        return f'<h2>Wrong rows</h2>\n<p class="note">None: all labels of all {e.rows:,} rows are right.</p>'
    body = []
    for row in e.wrong[:MOST_ROWS]:
        true, given = e.targets[row], e.predicted[row]
        parts = (true & ~given, ~true & given, true & given)
        body.append(("", [f"{row:,}", *(_listed(e, row, part) for part in parts)]))
    caption = (
        f"{len(e.wrong):,} of {e.rows:,} rows have a wrong label. Beside each label the network's probability for it; "
        "the row with the most confident wrong answer comes first."
    )
    caption += f" The first {len(body):,} are shown." * (len(body) < len(e.wrong))
    header = ("row", "missed", "wrongly given", "rightly given")
    return "<h2>Wrong rows</h2>\n" + table(caption, header, body, "Rows with wrong labels", wordy=True)


def _listed(e: MultilabelEvaluation, row: int, which: Any) -> str:
    own = np.flatnonzero(which)
    said = [f"{named(e, k)} ({percent(float(e.probabilities[row, k]), 0)})" for k in own[:MOST_LABELS]]
    return ", ".join(said) + f" and {len(own) - MOST_LABELS:,} more" * (len(own) > MOST_LABELS) or NONE


def named(e: Any, place: Any) -> str:
    """The name of a column or a label, as HTML."""
    return escape(short(e.names[place], MOST_NAME))
