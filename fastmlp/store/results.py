"""test.result: what a model said to single rows, as lines whose columns are divided by tabs; the first names them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import numpy as np


def result_text(evaluation: Any) -> str:
    """The lines of an evaluation, by the index of the row.

    classes  each wrong row: index, predicted, true, and the probability that the net gives to the class it predicts
    numbers  each row: index, true, predicted, residual; with the column, where a row has several
    labels   each wrong label of a row: index, label, whether the row has it, whether it is given, its probability
    """
    text = io.StringIO()
    lines = {"classes": _classes, "numbers": _numbers, "labels": _labels}[evaluation.kind]
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows(lines(evaluation))
    return text.getvalue()


def _classes(e: Any) -> Iterator[tuple[Any, ...]]:
    yield "index", "predicted", "true", "probability"
    for row in sorted(int(row) for row in e.wrong):
        predicted = int(e.predicted[row])
        yield row, e.names[predicted], e.names[int(e.labels[row])], f"{e.probabilities[row, predicted]:.6f}"


def _numbers(e: Any) -> Iterator[tuple[Any, ...]]:
    several = e.columns > 1
    yield "index", *["column"] * several, "true", "predicted", "residual"
    for row in range(e.rows):
        for t, name in enumerate(e.names):
            numbers = (float(array[row, t]) for array in (e.targets, e.predicted, e.residuals))
            yield row, *[name] * several, *(f"{number:.9g}" for number in numbers)


def _labels(e: Any) -> Iterator[tuple[Any, ...]]:
    yield "index", "label", "true", "predicted", "probability"
    for row, k in np.argwhere(e.targets != e.predicted).tolist():
        true, given = int(e.targets[row, k]), int(e.predicted[row, k])
        yield row, e.names[k], true, given, f"{e.probabilities[row, k]:.6f}"
