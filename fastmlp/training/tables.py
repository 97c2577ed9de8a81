"""An evaluation as text: totals, a line a class, label or column, averages, and what is taken for what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..check import whole
from ..words import columns, left, of_class, right, score, short

if TYPE_CHECKING:
    from .evaluation import Evaluation
    from .multilabel import MultilabelEvaluation
    from .regression import RegressionEvaluation

WIDTH = 100  # columns of the widest line
MISTAKES = 10  # lines of the list that stands for a confusion matrix too wide to print
MOST_MATRIX = 16  # classes of a matrix that still reads as one
LEAST_NAME, MOST_NAME = 12, 40  # columns of a name at the head of a line
WORST = 5  # rows of a regression that are shown with their residuals


def evaluation_report(evaluation: Evaluation, limit: int = 20) -> str:
    """The text of `Evaluation.report`. Error: ValueError for a limit below 1."""
    whole("report: limit", limit, 1)
    parts = [_totals(evaluation), _classes(evaluation, limit)]
    if evaluation.classes > 1:
        parts.append(confusion_table(evaluation))
    return "\n\n".join(part for part in parts if part)


def confusion_table(evaluation: Evaluation) -> str:
    """The confusion matrix where it fits in 100 columns, else the ten most frequent mistakes.

    A column has the number of its class where names are too long.
    """
    true, predicted, rows = evaluation.confusion_counts.T
    if evaluation.classes <= MOST_MATRIX:
        text = _matrix(evaluation, max(len(f"{rows.max():,}"), len(str(evaluation.classes - 1))) + 2)
        if columns(text.partition("\n")[2].partition("\n")[0]) <= WIDTH:
            return text
    wrong = np.flatnonzero(true != predicted)
    if not len(wrong):
        return "no mistakes"
    most = wrong[np.argsort(-rows[wrong], kind="stable")[:MISTAKES]]
    names = [[short(evaluation.names[c], MOST_NAME) for c in column[most]] for column in (true, predicted)]
    a, b = (max(least, *map(columns, column)) for least, column in zip((6, 9), names, strict=True))
    lines = [f"most frequent mistakes ({len(wrong):,} kinds in all)", f"{'true':>{a}}  {'predicted':>{b}}      rows"]
    return "\n".join(
        lines + [f"{right(t, a)}  {right(p, b)}  {rows[k]:8,d}" for t, p, k in zip(*names, most, strict=True)]
    )


def _matrix(evaluation: Evaluation, cell: int) -> str:
    classes = range(evaluation.classes)
    heads = [str(c) for c in classes]
    sides = [f"{c:4d}  " for c in classes]
    if evaluation.classes_ is not None:
        names = [short(name, MOST_NAME) for name in evaluation.names]
        longest = max(map(columns, names))
        if longest + 2 + max(cell, longest + 2) * len(names) <= WIDTH:
            heads, cell, sides = names, max(cell, longest + 2), [right(name, max(longest, 4)) + "  " for name in names]
        else:
            wide = max(map(columns, names))
            sides = [f"{left(name, wide)}  {c:2d}  " for c, name in enumerate(names)]
    counts = evaluation.confusion
    lines = ["confusion matrix: a row is a true class, a column what is predicted; · is 0"]
    lines.append(left("true", columns(sides[0])) + "".join(right(head, cell) for head in heads))
    lines += [sides[c] + "".join(f"{n or '·':>{cell}{',' * bool(n)}}" for n in counts[c]) for c in classes]
    return "\n".join(lines)


def _totals(evaluation: Evaluation) -> str:
    e = evaluation
    lines = [
        f"{e.rows:,} row{'s' * (e.rows != 1)}, {e.classes:,} class{'es' * (e.classes != 1)}, {len(e.wrong):,} wrong"
    ]
    unit = " nats" * (e.loss_name == "CrossEntropyLoss")
    figures = [("accuracy", f"{100 * e.accuracy:.2f} %"), ("top-3 accuracy", f"{100 * e.top3_accuracy:.2f} %")]
    figures += [("loss", f"{e.loss:.4f}{unit}"), ("calibration error", f"{100 * e.calibration_error:.2f} %")]
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
    absent = int(np.count_nonzero(e.support == 0))
    averages = {"macro avg": e.macro, "weighted avg": e.weighted}
    table = _score_table("class", [(e.names[c], [column[c] for column in e.scores]) for c in shown], averages)
    return head + table + f"\n{absent} class{'es have' if absent > 1 else ' has'} no row" * bool(absent)


def _score_table(what: str, rows: list[tuple[str, Any]], averages: dict[str, Any]) -> str:
    """Precision, recall, F1 and support: a line each, then the averages."""
    named = [(short(name, MOST_NAME), scores) for name, scores in rows]
    wide = max([LEAST_NAME, *(columns(name) for name, _ in named)])
    lines = [f"{what:>{wide}}  precision  recall      F1  support"]
    lines += [_line(right(name, wide), *scores) for name, scores in named]
    return "\n".join([*lines, "", *(_line(f"{name:>{wide}}", *scores) for name, scores in averages.items())])


def _line(name: str, precision: float, recall: float, f1: float, support: float) -> str:
    return f"{name}  {precision:9.4f}  {recall:6.4f}  {f1:6.4f}  {_amount(support):>7}"


def _amount(support: float) -> str:
    """A count of rows, or a sum of weights."""
    return f"{int(support):,d}" if float(support).is_integer() else f"{support:,.4g}"


def multilabel_report(evaluation: MultilabelEvaluation, limit: int = 20) -> str:
    """The text of `MultilabelEvaluation.report`. Error: ValueError for a limit below 1."""
    whole("report: limit", limit, 1)
    e, shown, head = evaluation, np.arange(evaluation.labels), ""
    if e.labels > limit:
        shown = np.argsort(e.f1, kind="stable")[:limit]
        head = f"the {limit} of {e.labels:,} labels with the lowest F1\n"
    a_row = float(e.targets.sum(axis=1).mean())
    lines = [
        f"{e.rows:,} row{'s' * (e.rows != 1)}, {e.labels:,} label{'s' * (e.labels != 1)}, {a_row:.2f} of them a row on "
        f"average; {len(e.wrong):,} rows with a wrong one",
        f"micro F1 {e.micro.f1:.4f}   macro F1 {e.macro.f1:.4f}   all labels right {100 * e.subset_accuracy:.2f} %   "
        f"{e.loss_name} {e.loss:.4f}",
    ]
    if e.unfinished:
        lines.append(f"{e.unfinished:,} rows have no probabilities: the model's output for them is not finite")
    averages = {"micro avg": e.micro, "macro avg": e.macro}
    table = _score_table("label", [(e.names[k], [column[k] for column in e.scores]) for k in shown], averages)
    return "\n".join(lines) + "\n\n" + head + table


def regression_report(evaluation: RegressionEvaluation, limit: int = 20) -> str:
    """The text of `RegressionEvaluation.report`. Error: ValueError for a limit below 1."""
    whole("report: limit", limit, 1)
    e = evaluation
    lines = [
        f"{e.rows:,} row{'s' * (e.rows != 1)} of {e.columns:,} number{'s' * (e.columns != 1)}",
        f"R² {amount(e.r2)}   RMSE {amount(e.rmse)}   MAE {amount(e.mae)}   {e.loss_name} {amount(e.loss)}"
        + " (of scaled targets)" * e.scaled
        + f"   {score(e.score_name)} {amount(e.score)}" * (e.score_name != "r2"),
    ]
    if e.unfinished:
        lines.append(f"{e.unfinished:,} rows have no finite number: the model's output for them is not finite")
    parts = ["\n".join(lines)]
    if e.columns > 1:
        shown, head = np.arange(e.columns), ""
        if e.columns > limit:
            shown = np.argsort(e.column_r2, kind="stable")[:limit]
            head = f"the {limit} of {e.columns:,} columns with the lowest R²\n"
        named = [(short(e.names[t], MOST_NAME), t) for t in shown]
        wide = max([LEAST_NAME, *(columns(name) for name, _ in named)])
        table = [f"{'column':>{wide}}  {'R²':>10}  {'RMSE':>10}  {'MAE':>10}"]
        for name, t in named:
            cells = (amount(column[t]) for column in (e.column_r2, e.column_rmse, e.column_mae))
            table.append(right(name, wide) + "".join(f"  {cell:>10}" for cell in cells))
        parts.append(head + "\n".join(table))
    worst = e.worst[:WORST]
    table = [f"largest residuals\n{'row':>12}" + "  column" * (e.columns > 1) + "        true   predicted    residual"]
    for row, t in worst:
        cells = (amount(array[row, t]) for array in (e.targets, e.predicted, e.residuals))
        table.append(f"{row:12,d}" + f"  {t:6d}" * (e.columns > 1) + "".join(f"  {cell:>10}" for cell in cells))
    return "\n\n".join([*parts, "\n".join(table)])


def amount(value: float) -> str:
    """A number of any size in at most ten characters: five digits."""
    return "nan" if np.isnan(value) else f"{value:.5g}" if 1e-4 <= abs(value) < 1e5 or value == 0 else f"{value:.3e}"


def answered(result: Any) -> tuple[dict[str, float], list[str]]:
    """The score of the test set for config.json, and what a person reads of it."""
    rows, loss = f"({result.rows:,} rows)", f"loss {result.loss:.4f}"
    if result.kind == "numbers":
        errors = f"RMSE {result.rmse:.5g}, mean absolute error {result.mae:.5g}"
        loss += " of scaled targets" * result.scaled
        return {"test_r2": result.r2}, [f"test R² {result.r2:.4f} {rows}, {errors}, {loss}"]
    if result.kind == "labels":
        micro, macro, low = result.micro.f1, result.macro.f1, int(result.f1.argmin())
        least = f"the lowest F1 is that of {result.names[low]}, {100 * result.f1[low]:.2f} %"
        said = f"test micro F1 {100 * micro:.2f} %, macro F1 {100 * macro:.2f} % {rows}, {loss}"
        return {"test_f1_micro": micro}, [said, f"{len(result.wrong):,} rows have a wrong label; {least}"]
    said = f"test accuracy {100 * result.accuracy:.2f} % {rows}, {loss}"
    return {"test_accuracy": result.accuracy}, [said, mistakes(result)]


def mistakes(result: Any) -> str:
    """How many rows are wrong, and the most frequent mistake, in words."""
    wrong = result.confusion_counts[result.confusion_counts[:, 0] != result.confusion_counts[:, 1]]
    if not len(wrong):
        return "no test row is wrong"
    true, predicted, rows = wrong[wrong[:, 2].argmax()]
    names = of_class(result, true), of_class(result, predicted)
    return f"{wrong[:, 2].sum():,} wrong; most often {names[0]} is taken for {names[1]}: {rows:,} times"
