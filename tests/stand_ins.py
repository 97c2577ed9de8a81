"""Small stand-ins for what a run folder asks of other rooms, where the package does not have it."""

import importlib.util
import sys
import types
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import fastmlp as fm


@dataclass(frozen=True)
class Evaluation:
    """What a run reads of an evaluation."""

    loss: float
    accuracy: float
    rows: int
    labels: np.ndarray
    probabilities: np.ndarray

    @property
    def predicted(self):
        return self.probabilities.argmax(axis=1)

    @property
    def confusion(self):
        counts = np.zeros((self.probabilities.shape[1],) * 2, np.int64)
        np.add.at(counts, (self.labels, self.predicted), 1)
        return counts

    @property
    def wrong(self):
        rows = np.flatnonzero(self.predicted != self.labels)
        return rows[np.argsort(-self.probabilities[rows, self.predicted[rows]], kind="stable")]

    def to_dict(self):
        return {"accuracy": self.accuracy, "loss": self.loss if np.isfinite(self.loss) else None, "rows": self.rows}


def evaluation_of(evaluate):
    def fuller(model, data, *arguments, **options):
        result = evaluate(model, data, *arguments, **options)
        with np.errstate(all="ignore"):
            z = fm.Predictor(model)(data.rows).astype(np.float64)
            p = np.exp(z - z.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
        return Evaluation(result.loss, result.accuracy, result.rows, data.labels, p)

    return fuller


def picture(*arguments, **options):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), dpi=120)
    figure.subplots().plot(np.random.default_rng(0).normal(size=50))
    return figure


def save_wrong_digits(evaluation, data, folder):
    Path(folder).mkdir(exist_ok=True)
    for row in evaluation.wrong:
        name = f"{row}_true{evaluation.labels[row]}_predicted{evaluation.predicted[row]}.png"
        (Path(folder) / name).write_bytes(b"\x89PNG")
    return len(evaluation.wrong)


class Watch:
    def __init__(self, data):
        self.epochs, self.layers = [], []

    def __call__(self, model, history):
        self.epochs.append(history[-1].epoch)


def write_report(path, model, history, evaluation, data, config, diagnosis, watch=None, figures=None):
    names = " ".join(figures or {})
    Path(path).write_text(f"<!doctype html><title>{config['features']}</title>{diagnosis.sentence} {names}")
    return Path(path)


def install() -> None:
    """Put a stand-in where the package lacks the thing; nothing is done where it has all."""
    if not hasattr(fm.Evaluation, "wrong"):
        fm.evaluate = evaluation_of(fm.evaluate)
    for name in ("curves", "confusion_matrix", "wrong_digits", "reliability", "sample_digits", "first_layer",
                 "activations", "gradients", "update_ratio"):  # fmt: skip
        if not hasattr(fm.plots, name):
            setattr(fm.plots, name, picture)
    if not hasattr(fm.plots, "style"):
        fm.plots.style = lambda dark=False: nullcontext()
        fm.plots.save_wrong_digits = save_wrong_digits
    if not hasattr(fm, "Watch"):
        fm.Watch = Watch
    if "fastmlp.report" not in sys.modules and importlib.util.find_spec("fastmlp.report") is None:
        sys.modules["fastmlp.report"] = types.ModuleType("fastmlp.report")
        sys.modules["fastmlp.report"].write_report = write_report
