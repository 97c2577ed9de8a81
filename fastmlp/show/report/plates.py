"""The page's pictures: the plots with their captions, the canvas, the wrong rows."""

from __future__ import annotations

import math
import struct
from base64 import b64encode
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import words
from ...check import shown
from ...words import of_class, short
from .numbers import decimal, percent, scored

if TYPE_CHECKING:
    from ...training.evaluation import Evaluation
    from ...training.history import History
    from ...training.watch import Watch

CAPTIONS = {  # how to read the plot, by the name of its function
    "loss_curve": "Mean loss of each epoch. Both lines falling: the network learns. Training falling on while "
    "validation rises: it learns its rows by heart.",
    "accuracy_curve": "Share of rows predicted right. The gap between the lines is what the network knows of its "
    "training rows only.",
    "curves": "Loss and accuracy of each epoch, training against validation. Validation loss that rises "
    "while training loss falls is overfitting, a gap alone is none; lines that still fall ask for more epochs.",
    "sample_digits": "Rows of the data with their labels: what the network is given.",
    "confusion_matrix": "Each row is a true class, each column a predicted one. The diagonal is right; the stronger "
    "the colour of a cell beside it, the more often the network mixes these two up.",
    "wrong_digits": "The wrong predictions, the most confident first. Some are hard for people too; some tell which "
    "strokes the network overlooks.",
    "first_layer": "The weights of one hidden neuron, each drawn as an image: where ink raises the neuron and where it "
    "lowers it. Noise that never settled says: too little training, or pixels that are always empty.",
    "activations": "How the outputs of each layer are spread, over the epochs. A pile at 0 is ReLU at rest; a layer "
    "with nothing else is dead, one with piles at both ends is saturated.",
    "gradients": "How the gradients of each layer's weights are spread, over the epochs. Layers of one size learn "
    "together; spreads that shrink towards the input are vanishing gradients.",
    "update_ratio": "How far a step moves the weights, relative to their size. Around 0.001 is usual; far below, the "
    "learning rate is too small, far above, too large.",
    "predicted_vs_true": "Each row by its true number and the predicted one. On the dashed line they are the same; a "
    "cloud that is flatter than the line says that the network keeps to the middle.",
    "residuals": "What the network says too much or too little, over what it says, and how often. A cloud without a "
    "shape around 0 is what is left of noise; a bend or a funnel is something that the network missed.",
    "label_scores": "Precision, recall and F1 of each label, in brackets the rows that have it. A dot at the right of "
    "the square: the network gives the label too seldom; at its left, too often.",
    "reliability": "Accuracy of the rows at each confidence. On the diagonal a confidence of 80 % is right in 80 of "
    "100 cases; below it the network is too sure of itself.",
}
MOST_NAME = 40  # columns of a name
WIDE = 1.9  # width over height from which a plot gets a whole row


def plots(
    figures: Mapping[str, tuple[str, bytes, bytes]],
    history: History,
    evaluation: Evaluation | None,
    watch: Watch | None,
) -> str:
    """Each plot in its light and its dark variant; the page's style shows one."""
    if not figures:
        return ""
    alts = {name: f"{title}. {facts(name, history, evaluation)}".strip() for name, (title, _, _) in figures.items()}
    drawn = pictured(figures, {name: caption_of(name, history) for name in figures}, alts)
    missing = ""
    if watch is None:
        missing = (
            '\n<p class="note">Activations, gradients and update ratios were not recorded; '
            "<code>fit(…, callbacks=[Watch(data)])</code> records them.</p>"
        )
    return drawn + missing


def pictured(
    figures: Mapping[str, tuple[str, bytes, bytes]], captions: Mapping[str, str], alts: Mapping[str, str] | None = None
) -> str:
    """Each figure in its light and its dark variant, with its caption; alts: for those who do not see it."""
    plates = []
    for name, (title, light, dark) in figures.items():
        alt = escape((alts or {}).get(name, title))
        pictures = ""
        for theme, png in (("light", light), ("dark", dark)):
            width, height = size(name, png)
            source = "data:image/png;base64," + b64encode(png).decode("ascii")
            pictures += f'<img class="on-{theme}" width="{width}" height="{height}" alt="{alt}" src="{source}">\n'
        wide = ' class="wide"' if width > WIDE * height else ""
        caption = f"<strong>{escape(title)}.</strong> {captions.get(name, '')}".strip()
        plates.append(f"<figure{wide}>\n{pictures}<figcaption>{caption}</figcaption>\n</figure>")
    return '<h2>Plots</h2>\n<div class="plots">\n' + "\n".join(plates) + "\n</div>"


def caption_of(name: str, history: History) -> str:
    """How to read the plot; of another score than the accuracy, only what is true of any."""
    if history.score_name == "accuracy":
        return CAPTIONS.get(name, "")
    return (
        ""
        if name == "accuracy_curve"
        else CAPTIONS.get(name, "").replace("and accuracy", f"and {escape(words.score(history.score_name))}")
    )


def size(name: str, png: bytes) -> tuple[int, int]:
    """Width and height from the head of a PNG: 8 bytes of signature, then the chunk IHDR."""
    if png[:8] != b"\x89PNG\r\n\x1a\n" or png[12:16] != b"IHDR":
        raise ValueError(
            f"write_report: figure {shown(name)} holds bytes that are no PNG; it must be (title, PNG, PNG)"
        )
    return struct.unpack(">II", png[16:24])


def facts(name: str, history: History, evaluation: Evaluation | None) -> str:
    """What a plot shows, in numbers, for those who do not see it."""
    if name in ("loss_curve", "curves") and len(history):
        first, last = history[0], history[-1]
        text = f"Training loss from {decimal(first.train_loss)} to {decimal(last.train_loss)}"
        held_out = [value for value in history.column("validation_loss") if math.isfinite(value)]
        if held_out:
            text += f", validation loss at best {decimal(min(held_out))}, at last {decimal(held_out[-1])}"
        return f"{text}, in {len(history)} epochs."
    if name == "accuracy_curve" and len(history):
        ends = [scored(history, epoch.train_score) for epoch in (history[0], history[-1])]
        return f"Training {words.score(history.score_name)} from {ends[0]} to {ends[1]}."
    if name == "confusion_matrix" and evaluation is not None:
        counts = np.asarray(evaluation.confusion_counts)
        wrong = counts[counts[:, 0] != counts[:, 1]]
        if len(wrong):
            true, predicted, rows = wrong[wrong[:, 2].argmax()]
            names = [short(of_class(evaluation, c), MOST_NAME) for c in (true, predicted)]
            return f"Most often, {rows} times, {names[0]} is taken for {names[1]}."
        return "No row is off the diagonal."
    e: Any = evaluation
    if name in ("predicted_vs_true", "residuals") and hasattr(e, "r2"):
        return f"R² {decimal(e.r2)}, RMSE {decimal(e.rmse)}, mean absolute error {decimal(e.mae)}, {e.rows:,} rows."
    if name == "label_scores" and hasattr(e, "macro"):
        low = int(np.argmin(e.f1))
        return f"Macro F1 {percent(e.macro.f1)}; lowest is that of {e.names[low]}, {percent(float(e.f1[low]))}."
    if name == "reliability" and evaluation is not None:
        return f"The expected calibration error is {percent(evaluation.calibration_error)}."
    return ""


def canvas(page: Mapping[str, Any]) -> str:
    """The canvas to draw on, and what the network makes of it; a sentence where there can be none."""
    if page["net"] is None:
        return f'<h2>Draw</h2>\n<p class="note">There is no canvas to draw on: {escape(page["no_canvas"])}.</p>'
    side = page["shape"][0]
    return f"""<h2>Draw {"a digit" if things(page) == "digits" else "an image"}</h2>
<p>The network is in this page, and predicts while you draw. Use a mouse, a finger or a pen; or the keyboard:
<kbd>←</kbd> <kbd>↑</kbd> <kbd>→</kbd> <kbd>↓</kbd> move the pen, <kbd>Space</kbd> puts it down and lifts it,
<kbd>Delete</kbd> clears.</p>
<div class="bench">
<div class="drawing">
<div class="pad"><canvas id="pad" width="280" height="280" tabindex="0" role="application"
 aria-label="Drawing area" aria-describedby="pad-state"></canvas><span id="pen" aria-hidden="true"></span></div>
<div class="under"><button type="button" id="clear">Clear</button><span id="pad-state" role="status"></span></div>
</div>
<div class="inside">
<h3>What the network sees</h3>
<canvas id="seen" class="pixels" width="{side}" height="{side}" role="img" aria-label="Nothing yet"></canvas>
<p class="note" id="source">Your drawing, cut out, scaled to {round(side * 20 / 28)} pixels
and centred by its mass in {side} × {side}, as MNIST does.</p>
<details id="strips"><summary>What each layer makes of it</summary><div></div></details>
</div>
<div class="answer">
<h3 id="answer">Prediction</h3>
<p id="says" class="says" role="status" aria-live="polite">Draw something.</p>
<ol id="bars" aria-labelledby="answer"></ol>
</div>
</div>
<noscript><p class="note">The canvas needs JavaScript.</p></noscript>"""


def things(page: Mapping[str, Any]) -> str:
    """What a row is, in a word: square images of ten classes without names are most likely digits."""
    if page["shape"] is None:
        return "rows"
    return (
        "digits" if page["classes"] == 10 and not page["names"] and page["shape"][0] == page["shape"][1] else "images"
    )


def wrong(page: Mapping[str, Any], evaluation: Evaluation | None) -> str:
    """The gallery of wrong rows, filled by the page's script."""
    if evaluation is None:
        return ""
    rows, count = page["wrong"], len(page["wrong"]["index"])
    total = rows["total"]
    noun = things(page)
    head = f"<h2>Wrong {noun}</h2>\n"
    if not total:
        return head + f'<p class="note">None: all {evaluation.rows:,} {noun} are predicted right.</p>'
    share = f"{total:,} of {evaluation.rows:,} {noun} ({percent(total / evaluation.rows)}) are predicted wrong."
    if count < total:
        share += f" This page holds the {count:,} with the most confident wrong answer."
    if page["net"] is not None:
        share += " Choose one to see the network's probabilities above."

    def options(values: list[int]) -> str:
        classes = [(c, escape(short(of_class(evaluation, c), MOST_NAME))) for c in sorted(set(values))]
        return "".join(f'<option value="{c}">{name}</option>' for c, name in classes)

    return f"""{head}<p>{share}</p>
<form class="controls" id="wrong-controls">
<label>Sort by <select id="wrong-sort"><option value="probability">most confident first</option>
<option value="true_probability">nearest miss first</option><option value="true">true class</option>
<option value="predicted">predicted class</option><option value="index">row</option></select></label>
<label>True class <select id="wrong-true"><option value="">any</option>{options(rows["true"])}</select></label>
<label>Predicted as <select id="wrong-predicted">
<option value="">any</option>{options(rows["predicted"])}</select></label>
<label class="range">Probability at least <input id="wrong-least" type="range" min="0" max="100" step="5" value="0">
<output id="wrong-least-text" for="wrong-least">0 %</output></label>
<button type="reset">Reset</button>
</form>
<p id="wrong-count" role="status"></p>
<ul id="wrong-list" aria-label="Wrong {noun}"></ul>
<button type="button" id="wrong-more">Show more</button>
<noscript><p class="note">The rows are drawn by JavaScript.</p></noscript>"""
