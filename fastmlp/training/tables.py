"""An evaluation as text: totals, a line a class, averages, and what is taken for what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..check import whole

if TYPE_CHECKING:
    from .metrics import Evaluation

WIDTH = 100  # columns of the widest line
MISTAKES = 10  # lines of the list that stands for a confusion matrix too wide to print
MOST_MATRIX = 16  # classes of a matrix that still reads as one


def evaluation_report(evaluation: Evaluation, limit: int = 20) -> str:
    """The text of `Evaluation.report`. Error: ValueError for a limit below 1."""
    whole("report: limit", limit, 1)
    parts = [_totals(evaluation), _classes(evaluation, limit)]
    if evaluation.classes > 1:
        parts.append(confusion_table(evaluation))
    return "\n\n".join(part for part in parts if part)


def confusion_table(evaluation: Evaluation) -> str:
    """The confusion matrix where it fits in 100 columns, else the ten most frequent mistakes."""
    true, predicted, rows = evaluation.confusion_counts.T
    cell = max(len(f"{rows.max():,}"), len(str(evaluation.classes - 1))) + 2
    if evaluation.classes <= MOST_MATRIX and 6 + cell * evaluation.classes <= WIDTH:
        counts = evaluation.confusion
        lines = ["confusion matrix: a row is a true class, a column what is predicted; · is 0"]
        lines.append("true  " + "".join(f"{c:{cell}d}" for c in range(evaluation.classes)))
        lines += [
            f"{c:4d}  " + "".join(f"{n or '·':>{cell}{',' * bool(n)}}" for n in counts[c]) for c in range(len(counts))
        ]
        return "\n".join(lines)
    wrong = np.flatnonzero(true != predicted)
    if not len(wrong):
        return "no mistakes"
    most = wrong[np.argsort(-rows[wrong], kind="stable")[:MISTAKES]]
    lines = [f"most frequent mistakes ({len(wrong):,} kinds in all)", "  true  predicted      rows"]
    return "\n".join(lines + [f"{true[k]:6d}  {predicted[k]:9d}  {rows[k]:8,d}" for k in most])


def _totals(evaluation: Evaluation) -> str:
    e = evaluation
    lines = [
        f"{e.rows:,} row{'s' * (e.rows != 1)}, {e.classes:,} class{'es' * (e.classes != 1)}, {len(e.wrong):,} wrong"
    ]
    figures = [("accuracy", f"{100 * e.accuracy:.2f} %"), ("top-3 accuracy", f"{100 * e.top3_accuracy:.2f} %")]
    figures += [("loss", f"{e.loss:.4f} nats"), ("calibration error", f"{100 * e.calibration_error:.2f} %")]
    lines.append("   ".join(f"{name} {value}" for name, value in figures if e.classes > 3 or name != "top-3 accuracy"))
    if bad := int(np.count_nonzero(np.isnan(e.confidence))):
        lines.append(f"{bad:,} rows have no probabilities: the model's output for them is not finite")
    return "\n".join(lines)


def _classes(evaluation: Evaluation, limit: int) -> str:
    e, shown = evaluation, np.arange(evaluation.classes)
    head = ""
    if e.classes > limit:
        occurs = np.flatnonzero(e.occurs)
        shown = occurs[np.argsort(e.f1[occurs], kind="stable")][:limit]
        head = f"the {len(shown)} of {e.classes:,} classes with the lowest F1\n"
    lines = [f"{'class':>12}  precision  recall      F1  support"]
    lines += [_line(str(c), *(column[c] for column in e.scores)) for c in shown]
    absent = int(np.count_nonzero(e.support == 0))
    lines += ["", _line("macro avg", *e.macro), _line("weighted avg", *e.weighted)]
    if absent:
        lines.append(f"{absent} class{'es have' if absent > 1 else ' has'} no row")
    return head + "\n".join(lines)


def _line(name: str, precision: float, recall: float, f1: float, support: int) -> str:
    return f"{name:>12}  {precision:9.4f}  {recall:6.4f}  {f1:6.4f}  {support:7,d}"
