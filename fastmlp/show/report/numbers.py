"""The page's words and tables: what the run is, its figures, its classes, its epochs, its configuration."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import words
from ...words import of_class, short

if TYPE_CHECKING:
    from ...data import Dataset
    from ...training.diagnosis import Diagnosis
    from ...training.evaluation import Evaluation
    from ...training.history import History
    from .network import Row

NONE = "–"  # where there is no number
MOST_CLASSES = 1000  # lines of the table of classes
MOST_NAME = 40  # columns of a name

Tile = tuple[str, str, str]  # what it is, the figure, a note


def percent(value: float, digits: int = 2) -> str:
    """A fraction as a person reads it; a dash for NaN."""
    return f"{100 * value:.{digits}f} %" if math.isfinite(value) else NONE


def decimal(value: float, digits: int = 4) -> str:
    """A number with `digits` places, in powers of ten where it is large; a dash for NaN."""
    if not math.isfinite(value):
        return NONE if math.isnan(value) else "∞"
    return f"{value:.{digits}f}" if abs(value) < 1e6 else f"{value:.3e}"


def scored(history: History, value: float) -> str:
    """A score of this run: a share such as an accuracy in percent, another as it is."""
    return percent(value) if history.score_name in words.SHARES else decimal(value)


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    if not math.isfinite(seconds):
        return NONE
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def title(rows: Iterable[Row], config: Mapping[str, Any], data: Dataset | None) -> str:
    """The widths, and the data set where it has a name: "784-128-64-10 on mnist"."""
    widths = [row for row in rows if row.kind == "Linear"]
    sizes = "-".join(str(n) for n in [w.inputs for w in widths[:1]] + [w.outputs for w in widths]) or "network"
    name = PurePath(str(config["data"])).name if config.get("data") else (data.name if data is not None else None)
    return escape(f"{sizes} on {words.line(name)}" if name else sizes)


def summary(history: History, config: Mapping[str, Any], evaluation: Any) -> str:
    """One line under the title: how it was trained."""
    parts = [f"{len(history)} epoch{'s' * (len(history) != 1)}"]
    if len(history):
        parts.append(f"{rows_an_epoch(history):,} training rows")
    if evaluation is not None:
        parts.append(f"{evaluation.rows:,} test rows")
    if config.get("weights_of_epoch") is not None:
        parts.append(f"tested with the weights of epoch {config['weights_of_epoch']}")
    if config.get("optimizer"):
        parts.append(str(config["optimizer"]) + (f", lr {config['lr']}" if config.get("lr") is not None else ""))
    if config.get("batch_size"):
        parts.append(f"batch {config['batch_size']}")
    return " · ".join(f"<span>{escape(part)}</span>" for part in parts)


def verdict(diagnosis: Diagnosis | None) -> str:
    """The diagnosis: its sentence, and what to try."""
    if diagnosis is None:
        return ""
    kind, advice = str(diagnosis.kind).replace("_", " "), str(diagnosis.advice or "")
    return (
        '<aside class="verdict" aria-label="Diagnosis">\n'
        f'<p class="sentence"><span class="kind">{escape(kind)}</span> {escape(str(diagnosis.sentence))}</p>\n'
        + (f'<p class="advice"><strong>What to try:</strong> {escape(advice)}</p>\n' if advice else "")
        + "</aside>"
    )


def rows_an_epoch(history: History) -> int:
    """How many rows an epoch trained on."""
    return round(history[-1].samples_per_second * history[-1].seconds)


def class_tiles(e: Evaluation) -> list[Tile]:
    """The figures of an evaluation of classes, large."""
    right, loss = e.rows - len(e.wrong), getattr(e, "loss_name", "CrossEntropyLoss")
    weighted = ", weighted" * (getattr(e, "sample_weight", None) is not None)
    shown = [("Test accuracy", percent(e.accuracy), f"{right:,} of {e.rows:,} rows right{weighted}")]
    shown.append(("Test loss", decimal(e.loss), "cross-entropy, nats a row" if loss == "CrossEntropyLoss" else loss))
    if np.asarray(e.probabilities).shape[1] > 3:
        shown.append(("Top-3 accuracy", percent(e.top3_accuracy), "the truth is among the first three"))
    note = "mean gap between confidence and accuracy"
    return [*shown, ("Calibration error", percent(e.calibration_error), note)]


def tiles(history: History, tested: list[Tile]) -> str:
    """The figures of the run, large; `tested` are those of the test set."""
    shown = list(tested)
    if len(history):
        last = history[-1]
        score = words.score(history.score_name)
        if math.isfinite(last.validation_score) or math.isfinite(last.validation_loss):
            note = f"loss {decimal(last.validation_loss)}, last epoch"
            shown.append((f"Validation {score}", scored(history, last.validation_score), note))
        note = f"loss {decimal(last.train_loss)}, last epoch"
        shown.append((f"Training {score}", scored(history, last.train_score), note))
        seconds = math.fsum(history.column("seconds"))
        speed = float(np.median(history.column("samples_per_second")))
        shown.append(
            (
                "Training time",
                duration(seconds),
                f"{len(history)} epoch{'s' * (len(history) != 1)} of {rows_an_epoch(history):,} rows",
            )
        )
        shown.append(("Speed", f"{speed:,.0f}", "samples a second, the median epoch"))
    cells = "\n".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(note)}</small></dd></div>"
        for name, value, note in shown
    )
    missing = "" if tested else '<p class="note">There was no test set; these are the numbers of the training.</p>'
    return f"<h2>Numbers</h2>\n{missing}\n" + (f'<dl class="tiles">\n{cells}\n</dl>' if cells else "")


def table(
    caption: str, header: Iterable[str], body: Iterable[tuple[str, Iterable[str]]], name: str, wordy: bool = False
) -> str:
    """A table that scrolls in its own frame, where the keyboard reaches it; body: (class of the row, its cells).

    wordy: whether cells are words, which begin at the left and go on in a next line, and not numbers.
    """
    head = "".join(f'<th scope="col">{cell}</th>' for cell in header)
    lines = []
    for kind, cells in body:
        first, *others = cells
        mark = f' class="{kind}"' if kind else ""
        lines.append(f'<tr{mark}><th scope="row">{first}</th>' + "".join(f"<td>{c}</td>" for c in others) + "</tr>")
    rows, kind = "\n".join(lines), ' class="words"' * wordy
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">\n<table{kind}>\n'
        f'<caption class="unseen">{name}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n</div>\n"
        f'<p class="under-table">{caption}</p>'
    )


def classes(evaluation: Evaluation | None) -> str:
    """Precision, recall and F1 of each class, and what it is most often taken for."""
    if evaluation is None:
        return ""
    true, predicted, rows = np.asarray(evaluation.confusion_counts).T
    body = []
    weakness = np.where(np.asarray(evaluation.support) > 0, evaluation.f1, np.inf)
    weakest, shown = int(np.argmin(weakness)), np.arange(len(weakness))
    if len(shown) > MOST_CLASSES:
        shown = np.argsort(weakness, kind="stable")[:MOST_CLASSES]
    ends = np.searchsorted(true, [shown, shown + 1])  # the counts stand by their true class
    for c, first, end in zip(shown.tolist(), *ends.tolist(), strict=True):
        others = np.where(predicted[first:end] == c, 0, rows[first:end])
        worst = int(others.argmax()) if len(others) else -1
        some = worst >= 0 and others[worst]
        taken = f"{_named(evaluation, predicted[first + worst])} ({others[worst]:,} times)" if some else NONE
        scores = (evaluation.precision, evaluation.recall, evaluation.f1)
        cells = [_named(evaluation, c), *(percent(float(column[c])) for column in scores)]
        cells += [f"{int(rows[first:end].sum()):,}", f"{int(others.sum()):,}", taken]
        body.append(("marked" if c == weakest and others.sum() else "", cells))
    caption = (
        "Precision: of the rows predicted as this class, the share that is. Recall: of its rows, the share that was "
        "found. F1: their harmonic mean. The class with the lowest F1 is marked."
    )
    if len(shown) < len(weakness):
        caption += f" Of {len(weakness):,} classes the {len(shown):,} with the lowest F1 are shown."
    header = ("class", "precision", "recall", "F1", "rows", "wrong", "most often taken for")
    return "<h2>Classes</h2>\n" + table(caption, header, body, "Numbers of each class")


def _named(evaluation: Evaluation, c: int) -> str:
    """The name of a class, as HTML."""
    return escape(short(of_class(evaluation, c), MOST_NAME))


def epochs(history: History, diagnosis: Diagnosis | None) -> str:
    """A row an epoch."""
    if not len(history):
        return '<h2>Epochs</h2>\n<p class="note">No epoch was finished.</p>'
    held_out = any(math.isfinite(value) for value in history.column("validation_loss"))
    best = getattr(diagnosis, "best_epoch", None)
    body = []
    for epoch in history.epochs:
        cells = [f"{epoch.epoch}", decimal(epoch.train_loss), scored(history, epoch.train_score)]
        if held_out:
            cells += [decimal(epoch.validation_loss), scored(history, epoch.validation_score)]
        cells += [f"{epoch.seconds:.2f}", f"{epoch.samples_per_second:,.0f}"]
        if epoch.epoch == best:
            cells[0] += ' <span class="tag">best</span>'
        body.append(("marked" if epoch.epoch == best else "", cells))
    score, unit = escape(words.score(history.score_name)), f", in {history.unit}" * bool(history.unit)
    header = ["epoch", "train loss", f"train {score}"]
    header += ["validation loss", f"validation {score}"] * held_out + ["seconds", "samples / s"]
    caption = f"Losses are means over rows{unit}. " + (
        "The training numbers are those of each batch at the step that it "
        "trained, so they lag behind the validation numbers, which come after the epoch."
        if held_out
        else "No rows were held out, so overfitting cannot be seen."
    )
    return "<h2>Epochs</h2>\n" + table(caption, header, body, "Numbers of each epoch")


def configuration(config: Mapping[str, Any]) -> str:
    """Every setting as it was."""
    lines = []
    for name, value in config.items():
        text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
        lines.append(f"<div><dt>{escape(str(name))}</dt><dd>{escape(text)}</dd></div>")
    if not lines:
        return ""
    return '<h2>Configuration</h2>\n<dl class="settings">\n' + "\n".join(lines) + "\n</dl>"
