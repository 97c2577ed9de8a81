"""What the page says of a table: each column, what became of it, and the scale of the targets."""

from __future__ import annotations

from html import escape
from typing import Any

from .numbers import table
from .targets import amount

FEW = 8  # categories that stand in the line; more are folded
MOST = 200  # columns that are shown


def section(encoding: Any) -> str:
    """A line a column of the table that the model was trained on; nothing where it was not trained on one."""
    if encoding is None:
        return ""
    body = [("", _line(column)) for column in encoding.columns[:MOST]]
    for name, mean, std in zip(encoding.target, encoding.target_mean, encoding.target_std, strict=True):
        scaled = encoding.scales_targets
        became = f"(t − {amount(mean)}) / {amount(std)} in the loss" if scaled else "as it comes"
        body.append(("marked", [escape(name), became, "refused", f"target, {encoding.kind}", ""]))
    if encoding.sample_weight is not None:
        body.append(("", [escape(encoding.sample_weight), "how much a row counts", "refused", "weight", ""]))
    caption = (
        f"How the columns of the table become {encoding.n_features:,} features, learned on the training rows alone and "
        "kept in the model's file. A missing value counts as the third column says."
    )
    if encoding.scales_targets:
        caption += " The loss is of scaled targets; all other numbers are in the targets' own unit."
    if (more := len(encoding.columns) - MOST) > 0:
        caption += f" {more:,} further columns are not shown."
    header = ("column", "what becomes of it", "where missing", "kind", "features")
    return "<h2>Table</h2>\n" + table(caption, header, body, "The columns of the table", wordy=True)


def _line(column: Any) -> list[str]:
    """The cells of a column of the table."""
    if column.kind == "category":
        became, missing = _folded(column.values), "all 0"
    elif column.kind == "boolean":
        became, missing = "1 where true, 0 where false", amount(column.fill)
    else:
        became, missing = f"(x − {amount(column.mean)}) / {amount(column.std)}", f"{amount(column.fill)}, the mean"
    if column.missing:
        missing += ", and a feature of its own is 1"
    return [escape(column.name), became, missing, column.kind, f"{len(column.names):,}"]


def _folded(values: tuple[str, ...]) -> str:
    """The categories of a column, each of which is a feature; many of them to be opened."""
    named = [escape(value) for value in values]
    if len(named) <= FEW:
        return f"1 for its category: {', '.join(named)}"
    return (
        f"<details><summary>1 for its category, of {len(named):,}: {', '.join(named[:3])} …</summary>"
        f"{', '.join(named)}</details>"
    )
