"""What a training measured, epoch by epoch."""

from __future__ import annotations

import csv
import io
import math
import os
from dataclasses import asdict, dataclass, field, fields
from numbers import Integral
from typing import Any

from .. import check
from ..check import shown
from ..files import write

RISING = ("train_accuracy", "validation_accuracy", "samples_per_second", "epoch")  # losses and seconds are to fall

SCORE = ("score_name", "score_rises", "score_best", "unit")  # of a History, where it is not that of accuracies


@dataclass
class Epoch:
    """What one epoch measured. Losses are means over rows; accuracies are fractions of rows; time in seconds.

    The training numbers are those of each batch at the step that it trained, in training mode. The validation
    numbers come after the epoch, in evaluation mode, and are NaN where nothing was held out. Scores are what
    `History.score_name` says: the accuracies once more, or another measure, where accuracies are NaN. `ran_on` says
    what trained: "engine", or "graph", which is slower; an empty text where nobody wrote it down.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float
    samples_per_second: float
    train_score: float = math.nan
    validation_score: float = math.nan
    ran_on: str = ""

    def __post_init__(self) -> None:
        if math.isnan(self.train_score) and math.isnan(self.validation_score):
            self.train_score, self.validation_score = self.train_accuracy, self.validation_accuracy


NUMBERS = tuple(f.name for f in fields(Epoch) if f.name != "ran_on")  # the columns that can be compared


@dataclass(frozen=True)
class Chunk:
    """Where an epoch is between two chunks of its steps, for a callback's `on_chunk_end`.

    epoch: its number, from 1; step of steps are done, row of rows. train_loss, train_score: means over these rows, as
    the epoch's are over all; seconds: since the epoch began.
    """

    epoch: int
    step: int
    steps: int
    row: int
    rows: int
    train_loss: float
    train_score: float
    seconds: float


@dataclass
class History:
    """The epochs of a run, in order. `history.column("train_loss")` is one number an epoch.

    score_name, score_rises, score_best  of the score, as its `nn.Score` declares them: its name, whether more of it is
                better, the score of no error at all
    unit        of the losses, as the loss declares it
    classes: how many the net tells apart; 0 where targets are numbers, and where nobody wrote it down. A guess among
    them costs log(classes) nats, which `diagnose` compares the losses with.
    weights_of  (epoch, step): the model that `fit` left has the weights after so many whole epochs, and after so many
                steps of the next where Ctrl-C or a divergence ended it within one
    ended       why `fit` ended: "finished", the last epoch; "stopped", a callback's True; "paused", its "pause";
                "time limit"; "diverged"; an empty text where it has not, or by Ctrl-C or an error
    """

    epochs: list[Epoch] = field(default_factory=list)
    score_name: str = "accuracy"
    score_rises: bool = True
    score_best: float | None = 1.0
    unit: str = "nats"
    classes: int = 0
    weights_of: tuple[int, int] = field(default=(0, 0), compare=False)
    ended: str = field(default="", compare=False)

    def rises(self, name: str) -> bool:
        """Whether more of a column is better; a score's declaration says it of the score."""
        return self.score_rises if name.endswith("_score") else name in RISING

    def add(
        self, epoch: int, trained: tuple[float, float], held: tuple[float, ...], seconds: float, rows: int, ran_on: str
    ) -> None:
        """One more epoch: (mean loss, score) of the training and of what was held out, how long it took, on what."""
        loss, score = trained
        held_loss, held_score = held
        accuracies = (score, held_score) if self.score_name == "accuracy" else (math.nan, math.nan)
        self.epochs.append(
            Epoch(
                epoch, loss, accuracies[0], held_loss, accuracies[1], seconds, rows / seconds, score, held_score, ran_on
            )
        )

    def column(self, name: str) -> list[Any]:
        """One value an epoch. Error: ValueError for a name that `Epoch` does not have."""
        names = [f.name for f in fields(Epoch)]
        if not isinstance(name, str) or name not in names:
            raise ValueError(f"History: column is {shown(name)}; it must be one of {', '.join(names)}")
        return [getattr(epoch, name) for epoch in self.epochs]

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a header and a row an epoch, numbers in full precision."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(f.name for f in fields(Epoch))
        writer.writerows(asdict(epoch).values() for epoch in self.epochs)
        write(check.path("History.to_csv: path", path), text.getvalue())

    def __len__(self) -> int:
        return len(self.epochs)

    def __getitem__(self, index: int) -> Epoch:
        if not isinstance(index, slice | Integral):
            advice = f": history.column({shown(index)})" if isinstance(index, str) else ""
            raise TypeError(f"History: the index is {shown(index)}; it must be an epoch's place{advice}")
        if not isinstance(index, slice) and not -len(self.epochs) <= index < len(self.epochs):
            raise IndexError(
                f"History: place {shown(index)} is asked for; it has {len(self.epochs)} epochs, counted from 0"
            )
        return self.epochs[index]
