"""What a report is made of, from small parts: an evaluation, a diagnosis and figures with the attributes it reads."""

import io
from dataclasses import dataclass
from functools import cached_property

import numpy as np

import fastmlp as fm


@dataclass
class MadeEvaluation:
    """The numbers of an evaluation from labels and probabilities, each from its definition."""

    labels: np.ndarray
    probabilities: np.ndarray

    @property
    def rows(self) -> int:
        return len(self.labels)

    @property
    def loss(self) -> float:
        with np.errstate(divide="ignore"):
            return float(-np.log(self.probabilities[np.arange(self.rows), self.labels]).mean())

    @property
    def accuracy(self) -> float:
        return float((self.predicted == self.labels).mean())

    @cached_property
    def predicted(self) -> np.ndarray:
        return self.probabilities.argmax(axis=1)

    @cached_property
    def confusion(self) -> np.ndarray:
        counts = np.zeros((self.probabilities.shape[1],) * 2, np.int64)
        np.add.at(counts, (self.labels, self.predicted), 1)
        return counts

    @property
    def confusion_counts(self) -> np.ndarray:
        places = np.argwhere(self.confusion)
        return np.column_stack([places, self.confusion[tuple(places.T)]])

    @property
    def support(self) -> np.ndarray:
        return self.confusion.sum(axis=1)

    @property
    def recall(self) -> np.ndarray:
        return np.diag(self.confusion) / np.maximum(self.support, 1)

    @property
    def precision(self) -> np.ndarray:
        return np.diag(self.confusion) / np.maximum(self.confusion.sum(axis=0), 1)

    @property
    def f1(self) -> np.ndarray:
        return 2 * np.diag(self.confusion) / np.maximum(self.support + self.confusion.sum(axis=0), 1)

    @property
    def top3_accuracy(self) -> float:
        first = np.argsort(-self.probabilities, axis=1)[:, :3]
        return float((first == self.labels[:, None]).any(axis=1).mean())

    calibration_error = 0.0123

    @property
    def wrong(self) -> np.ndarray:
        rows = np.flatnonzero(self.predicted != self.labels)
        return rows[np.argsort(-self.probabilities[rows, self.predicted[rows]], kind="stable")]


@dataclass(frozen=True)
class MadeDiagnosis:
    kind: str = "overfitting"
    sentence: str = (
        "The run overfits from epoch 4 on: validation loss has risen by 0.012 since, training loss falls on."
    )
    advice: str = "Stop at epoch 4, or try dropout 0.2."
    best_epoch: int | None = 4


def softmax(logits: np.ndarray) -> np.ndarray:
    """In float64, each row on its own."""
    e = np.exp(np.float64(logits) - np.max(logits, axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def probabilities(model: fm.nn.Module, rows: np.ndarray) -> np.ndarray:
    """What the package predicts for rows of pixels."""
    return softmax(fm.Predictor(model)(rows))


def evaluated(model: fm.nn.Module, data: fm.Dataset) -> MadeEvaluation:
    """The evaluation of a model on data."""
    return MadeEvaluation(data.labels, probabilities(model, data.rows))


def figure(history: fm.History, dark: bool = False) -> bytes:
    """The PNG of a loss curve."""
    plot = fm.plots.loss_curve(history)
    if dark:
        plot.set_facecolor("#1d2026")
        for ax in plot.axes:
            ax.set_facecolor("#1d2026")
            ax.tick_params(colors="#e7e6e2")
            ax.title.set_color("#e7e6e2")
            ax.xaxis.label.set_color("#e7e6e2")
            ax.yaxis.label.set_color("#e7e6e2")
            ax.get_legend().get_texts()[0].set_color("#e7e6e2")
    out = io.BytesIO()
    plot.savefig(out, format="png")
    return out.getvalue()
