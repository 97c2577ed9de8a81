"""The plots of a run as PNG: which there are, and what each is drawn from."""

from __future__ import annotations

import io
from typing import Any

from ..data import Dataset
from ..nn import Module
from ..show import plots
from ..training.history import History
from ..training.watch import Watch
from ..words import score

PICTURES = {  # by the function of `plots` that draws it: its file and its title
    "curves": ("curves.png", "Loss and accuracy"),
    "loss_curve": ("loss.png", "Loss"),
    "predicted_vs_true": ("predicted_vs_true.png", "Predicted against true"),
    "residuals": ("residuals.png", "Residuals"),
    "label_scores": ("label_scores.png", "Scores of each label"),
    "confusion_matrix": ("confusion.png", "Confusion matrix"),
    "wrong_digits": ("wrong_digits.png", "Wrong digits, the worst first"),
    "reliability": ("reliability.png", "Reliability"),
    "sample_digits": ("sample_digits.png", "Digits with their labels"),
    "first_layer": ("first_layer.png", "Weights of the first layer"),
    "activations": ("activations.png", "Activations"),
    "gradients": ("gradients.png", "Gradients"),
    "update_ratio": ("update_ratio.png", "Update-to-weight ratio"),
}

Picture = tuple[str, bytes, bytes]  # title, PNG for a light page, PNG for a dark page


def draw_pictures(
    model: Module,
    history: History,
    test: Any = None,
    data: Dataset | None = None,
    watch: Watch | None = None,
    trust: Any = None,
) -> dict[str, Picture]:
    """Every plot that this run has the numbers for, by its function's name: (title, light PNG, dark PNG).

    test: the evaluation of `data`, or None; data: the Dataset that was evaluated, else the one trained on, or None;
    watch: the Watch of the run, or None; trust: the evaluations before and after
    `calibrate` of the same rows, or None. Digits and first layer are drawn where the rows are images.
    """
    images = data is not None and data.features.ndim == 3
    kind = None if test is None else test.kind
    classes = kind == "classes"
    calls: dict[str, tuple[Any, ...] | None] = {
        "curves": (history,),
        "loss_curve": (history,),
        "predicted_vs_true": (test,) if kind == "numbers" else None,
        "residuals": (test,) if kind == "numbers" else None,
        "label_scores": (test,) if kind == "labels" else None,
        "confusion_matrix": (test,) if classes and test.classes <= plots.quality.MOST_CLASSES else None,
        "wrong_digits": (test, data) if classes and images and getattr(data, "kind", "") == "classes" else None,
        "reliability": (trust[1], None, trust[0]) if trust else (test,) if classes else None,
        "sample_digits": (data,) if images else None,
        "first_layer": (model, data.features.shape[1:]) if data is not None and images else None,
        "activations": (watch,) if watch is not None else None,
        "gradients": (watch,) if watch is not None else None,
        "update_ratio": (watch,) if watch is not None else None,
    }
    pictures: dict[str, Picture] = {}
    for name, (_, title) in PICTURES.items():
        if (arguments := calls[name]) is None:
            continue
        pngs = both(name, *arguments)
        title = title.replace("and accuracy", f"and {score(history.score_name)}")
        if data is not None and not (data.kind == "classes" and data.classes == 10):
            title = title.replace("digits", "images").replace("Digits", "Images")
            title = title.replace("labels", "numbers") if data.kind == "numbers" else title
        pictures[name] = title, pngs[0], pngs[1]
    return pictures


def both(name: str, *arguments: Any) -> tuple[bytes, bytes]:
    """The picture of this function of `plots` as PNG, for a light page and for a dark one."""
    pngs = []
    for dark in (False, True):
        with plots.style(dark=dark):
            figure, buffer = getattr(plots, name)(*arguments), io.BytesIO()
            figure.savefig(buffer, format="png")
        pngs.append(buffer.getvalue())
    return pngs[0], pngs[1]
