"""What a run's losses say, in a sentence: did it overfit, from which epoch, by how much, and what to try.

The rule. Training and validation loss are read epoch by epoch; the kinds are tried in this order, the first that
holds is the diagnosis.

1. diverged          the last loss is not finite; or the training loss has risen from its lowest, and lost more than
                     half of what it had gained; or validation loss has risen while training loss did not fall; or the
                     losses end above that of guessing, log(classes), or R² below 0, which is that of the targets' mean:
                     a net that knows nothing and says so costs less, so the rate is too large or the features are not
                     scaled. More than 5 % (MATTERS) above while they fall, more than twice (FAR) in a short run
2. too short         fewer than 5 epochs (SHORTEST): a rise in one of them may be chance, and none of them says so
3. no validation     nothing was held out
4. overfits          validation loss has risen from its lowest, while the training loss fell
5. still improving   validation loss has fallen over the last third of the run
6. underfits         neither loss has fallen over the last third, and more than a tenth (HIGH_ERROR) of the rows is
                     wrong, in training and in validation; of a regression, more than a tenth of the targets' spread is
                     unexplained, 1 - R². A score that declares no best is left out. Where the training loss has risen
                     above its start by 5 % it diverged, however noisy
7. fits              none of these: validation loss levelled without a rise, or with one that may be noise; the
                     sentence says which

"Risen" and "fallen" must be more than noise, and large enough to matter.

The noise σ of a loss is how far epochs stick out from both their neighbours: the mean of |y_e - median(y_{e-1}, y_e,
y_{e+1})| over the later half of the run, at least 5 epochs, over 0.564, which makes it the standard deviation where y
is normal noise around a level; times 1 + 3 / m, because the mean of few epochs, m, may be small by chance. A curve that
only falls or only rises has σ = 0, however steep it is; a standard deviation of all epochs would take the learning
itself for noise. The lowest epoch is left out: where a curve turns, it sticks out without any noise.

Risen, by either of two tests, as one sees a short steep rise and the other a long one in much noise:
- The mean of the last w epochs lies above the lowest mean of w epochs in a row, by more than 4 standard deviations
  (CHANCES) of a difference of two such means, 4 σ √(2 / w), and by more than 5 % (MATTERS) of that lowest mean. w is a
  fifth of the run, from 2 to 5 epochs. 4 and not 2, because the lowest mean is chosen, out of many, for being low, and
  because σ is itself an estimate from a few epochs.
- Of the pairs among the n epochs after the lowest, more rise than fall, by S pairs: S is more than 3 standard
  deviations (TREND), 3 √(n (n - 1) (2n + 5) / 18), of what epochs in no order give (Mann and Kendall), and the mean of
  the last w epochs lies more than 5 % above the lowest epoch. It takes 7 epochs or more after the lowest.

Fallen: the median slope between epochs of the last third, at least 4 epochs (Theil and Sen), times their number less
one, is a fall by more than 5 % (MATTERS) of where they end, and by more than 4 standard deviations of such a fall,
4 σ √(12 (n - 1) / (n (n + 1))). 5 % in a third of the run: less than this, and twice the epochs would bring little.

The training loss is the mean over an epoch while the weights move, and with dropout that of thinned nets; so the gap
between the losses is a little too small, and negative early in a run.

Sources: Prechelt, Early Stopping - But When? (1998); Sen, Journal of the American Statistical Association 63 (1968);
Mann, Econometrica 13 (1945); Kendall, Rank Correlation Methods (1948).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import words
from ..files import for_json
from ..graph import Array

if TYPE_CHECKING:
    from .history import History

SHORTEST, HIGH_ERROR, CHANCES, TREND, MATTERS, FAR = 5, 0.1, 4.0, 3.0, 0.05, 2.0
BELOW_A_CONSTANT = {"r2": "the mean", "d2": "the best constant"}  # scores whose 0 is that of a net that knows nothing
SCALE = "Try a smaller learning rate, and features scaled to mean 0 and spread 1."
KINDS = ("diverged", "too short", "no validation", "overfits", "still improving", "underfits", "fits")


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found.

    kind             one of "diverged", "too short", "no validation", "overfits", "still improving", "underfits", "fits"
    sentence         what happened, with its epochs and numbers
    advice           what to try
    best_epoch       the epoch of the lowest validation loss (training loss where nothing is held out), or None
    gap              validation loss less training loss in the last epoch, in its unit; NaN without validation
    accuracy_gap     training accuracy less validation accuracy in the last epoch, in points; NaN without validation,
                     and where the score is another: the sentence says then how far apart it is
    rise             last validation loss less the lowest, in its unit; NaN without validation
    still_improving  whether the loss (of validation, where there is one) was falling at the end
    """

    kind: str
    sentence: str
    advice: str
    best_epoch: int | None
    gap: float
    accuracy_gap: float
    rise: float
    still_improving: bool

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, as JSON has them: None for what is not finite."""
        return for_json(asdict(self))

    def __str__(self) -> str:
        return f"{self.sentence} {self.advice}"


def diagnose(history: History) -> Diagnosis:
    """Say whether a run overfits, from which epoch, by how much, whether it was still improving, and what to try.

    The rule, its thresholds and their reasons stand at the top of this module.
    Error: ValueError for a history without epochs.
    """
    if not hasattr(history, "column") or not hasattr(history, "epochs"):
        raise TypeError(f"diagnose: history is {type(history).__name__}; it must be the History that fit returned")
    if not len(history):
        raise ValueError("diagnose: the history has no epoch; it must have at least one")
    return _Curves(history).diagnosis()


def noise(y: Array) -> float:
    """σ = (1 + 3 / m) mean |y_e - median(y_{e-1}, y_e, y_{e+1})| / 0.564 over m numbers of the last half of y.

    All but the lowest of y: it is where the curve turns.
    """
    inner = np.abs(y[1:-1] - np.median([y[:-2], y[1:-1], y[2:]], axis=0))
    kept = np.arange(1, len(y) - 1)[-max(len(y) // 2, 5) :]
    inner = inner[kept[kept != y.argmin()] - 1]
    return float((1 + 3 / len(inner)) * inner.mean() / 0.564)


def risen(y: Array) -> bool:
    """Whether y ends above its lowest, by more than noise and more than 5 %."""
    width = window(y)
    means = np.convolve(y, np.full(width, 1 / width), "valid")
    rise = means[-1] - means.min()
    if rise > CHANCES * noise(y) * math.sqrt(2 / width) and rise > MATTERS * means.min():
        return True
    after = y[y.argmin() + 1 :]
    n = len(after)
    first, second = np.triu_indices(n, 1)
    pairs = float(np.sign(after[second] - after[first]).sum())
    chance = math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    return bool(pairs > TREND * chance and means[-1] - y.min() > MATTERS * y.min())


def window(y: Array) -> int:
    """w, the epochs that are averaged: a fifth of the run, from 2 to 5."""
    return min(max(len(y) // 5, 2), 5)


def falling(y: Array) -> bool:
    """Whether y falls over its last third, by more than noise and more than 5 %."""
    n = min(max(math.ceil(len(y) / 3), 4), len(y))
    tail = y[-n:]
    first, second = np.triu_indices(n, 1)
    fall = -float(np.median((tail[second] - tail[first]) / (second - first))) * (n - 1)
    chance = noise(y) * math.sqrt(12 * (n - 1) / (n * (n + 1)))
    return fall > CHANCES * chance and fall > MATTERS * float(np.median(tail[-2:]))


class _Curves:
    """The losses of a history, what is true of them, and the words for it."""

    def __init__(self, history: History) -> None:
        columns = ("train_loss", "validation_loss", "train_score", "validation_score")
        self.train, self.held, self.train_right, self.held_right = (np.array(history.column(c)) for c in columns)
        self.epochs = [int(epoch) for epoch in history.column("epoch")]
        self.name, self.best_score, self.unit = history.score_name, history.score_best, history.unit
        self.accuracies, self.classes = self.name == "accuracy", history.classes
        self.score = words.score(self.name)
        self.validated = not bool(np.isnan(self.held).all())
        y = self.held if self.validated else self.train
        self.best = int(np.nanargmin(y)) if not np.isnan(y).all() else None
        self.finite = bool(np.isfinite(self.train).all() and (np.isfinite(self.held).all() or not self.validated))
        self.long = len(y) >= SHORTEST and self.finite
        self.improving = self.long and falling(y)

    @property
    def last(self) -> int:
        return self.epochs[-1]

    def diagnosis(self) -> Diagnosis:
        kind, sentence, advice = self.verdict()
        train, held = self.train.tolist(), self.held.tolist()  # Python's numbers: infinity less infinity is no warning
        nan = math.nan
        return Diagnosis(
            kind,
            sentence,
            advice,
            None if self.best is None else self.epochs[self.best],
            held[-1] - train[-1] if self.validated else nan,
            float(100 * (self.train_right[-1] - self.held_right[-1])) if self.validated and self.accuracies else nan,
            held[-1] - held[self.best] if self.validated and self.best is not None else nan,
            self.improving,
        )

    def verdict(self) -> tuple[str, str, str]:
        """(kind, sentence, advice): the order of the kinds is that of the rule."""
        if said := self.diverged():
            return "diverged", said, SCALE
        if said := self.worse_than_guessing():
            moved = not self.long or abs(self.train[-1] - self.train[0]) > MATTERS * self.train[0]
            return "diverged", said, SCALE if moved else f"{SCALE[:-1]}; as the loss hardly moved, also a larger rate."
        if not self.long:
            count = "one epoch" if len(self.train) == 1 else f"{len(self.train)} epochs"
            said = f"The run is too short to tell: {count}, and a trend takes at least {SHORTEST}."
            return "too short", said, f"Train for {SHORTEST} epochs or more."
        if not self.validated:
            return self.no_validation()
        if risen(self.held):  # and the training loss fell: else it diverged
            return self.overfits()
        if self.improving:
            lowest = f"lowest in epoch {self.epochs[self.best or 0]} at {self.held.min():.4f}"
            said = (
                f"The run was still improving when it ended after epoch {self.last}: validation loss was falling, "
                f"{lowest}. It does not overfit so far: {self.gap()}."
            )
            return "still improving", said, "Train for more epochs; a larger learning rate may get there sooner."
        if self.is_high() and not falling(self.train):
            if (end := self.train[-window(self.train) :].mean()) > (1 + MATTERS) * self.train[0]:
                said = (
                    f"the training loss rose from {self.train[0]:.4f} in epoch {self.epochs[0]} to {end:.4f} at the end"
                )
                return "diverged", f"The run diverged: {said}.", SCALE
            said = (
                f"The run underfits: training and validation loss have levelled at {self.train[-1]:.4f} and "
                f"{self.held[-1]:.4f}, with "
            )
            ends, form = (self.train_right[-1], self.held_right[-1]), ".1%" if self.name in words.SHARES else ".4f"
            said += (
                f"{ends[0]:.1%} of the training rows right and {ends[1]:.1%} of the held-out ones."
                if self.accuracies
                else f"{self.score} at {ends[0]:{form}} and {ends[1]:{form}}."
            )
            return (
                "underfits",
                said,
                "Try a wider or deeper net, another learning rate, or less dropout and weight decay.",
            )
        return self.fits()

    def diverged(self) -> str:
        """The sentence where the run diverged, else an empty one."""
        if not self.finite:
            train_is_finite = np.isfinite(self.train)
            bad = int(np.argmin(train_is_finite & (np.isfinite(self.held) | (not self.validated))))
            name = "validation" if train_is_finite[bad] else "training"
            value = self.train[bad] if name == "training" else self.held[bad]
            return f"The run diverged: the {name} loss is {value} in epoch {self.epochs[bad]}."
        if not self.long:
            return ""
        low = int(self.train.argmin())
        if risen(self.train) and self.train[-1] - self.train[low] > (self.train[0] - self.train[low]) / 2:
            return (
                f"The run diverged: the training loss rose from {self.train[low]:.4f} in epoch {self.epochs[low]} "
                f"to {self.train[-1]:.4f} in epoch {self.last}."
            )
        if self.validated and risen(self.held) and not self.training_fell():
            return (
                f"The run diverged: after epoch {self.epochs[self.held.argmin()]} the validation loss rose from "
                f"{self.held.min():.4f} to {self.held[-1]:.4f}, and the training loss did not fall meanwhile."
            )
        return ""

    def worse_than_guessing(self) -> str:
        """The sentence where the losses end above that of a guess, else an empty one.

        Both losses: that of training is a mean over an epoch, and lags. R² and D² say so themselves: 1 - R² is the loss
        over that of the targets' mean.
        """
        r2, guess = self.name in BELOW_A_CONSTANT, math.log(self.classes) if self.classes > 1 else math.nan
        ends = (self.train_right, self.held_right) if r2 else (self.train, self.held)
        times = [1 - float(y[-1]) if r2 else float(y[-1]) / guess for y in ends]
        most = FAR if not self.long else 1 + MATTERS if falling(self.train) else 1.0
        if not min(times if self.validated else times[:1]) > most:  # one alone: overfitting, or dropout. NaN: unknown
            return ""
        if r2:
            said = f"{self.score} of the training rows is {self.train_right[-1]:.4f} in epoch {self.last}"
            what = f"{said}, below that of {BELOW_A_CONSTANT[self.name]}, 0"
        else:
            loss = f"The training loss is {self.train[-1]:.4f} in epoch {self.last}"
            what = f"{loss}, above that of guessing, log {self.classes} = {guess:.4f}"
        return f"{what}: the run diverged, or the features are not scaled."

    def training_fell(self) -> bool:
        """Whether training loss ends below what it was when validation loss was lowest.

        A training loss of less than a tenth of the validation loss has fallen as far as matters.
        """
        end = self.train[-2:].mean()
        return bool(end < self.train[self.held.argmin()] or end < self.held[-1] / 10)

    def is_high(self) -> bool:
        best = self.best_score
        return best is not None and bool(
            min(best - self.train_right[-3:].mean(), best - self.held_right[-3:].mean()) > HIGH_ERROR * best
        )

    def gap(self) -> str:
        """The difference of the curves in the last epoch, in words."""
        above, short = self.held[-1] - self.train[-1], self.train_right[-1] - self.held_right[-1]
        unit = f" {self.unit}" * bool(self.unit)
        loss = f"{abs(above):.4f}{unit} {'above' if above >= 0 else 'below'} training loss"
        if math.isnan(short):
            return f"at the end validation loss is {loss}"
        size = f"{abs(100 * short):.1f} points" if self.name in words.SHARES else f"{abs(short):.4f}"
        return f"at the end validation loss is {loss}, {self.score} {size} {'below' if short >= 0 else 'above'}"

    def no_validation(self) -> tuple[str, str, str]:
        said = "Nothing was held out, so nothing can be said about overfitting; "
        said += (
            f"the training loss was still falling in epoch {self.last}, at {self.train[-1]:.4f}."
            if self.improving
            else f"the training loss has levelled at {self.train[-1]:.4f}."
        )
        return "no validation", said, "Hold out a tenth of the rows, as with --validation 0.1."

    def overfits(self) -> tuple[str, str, str]:
        best = int(self.held.argmin())
        said = (
            f"The run overfits from epoch {self.epochs[best] + 1} on: validation loss rose from its lowest, "
            f"{self.held[best]:.4f} in epoch {self.epochs[best]}, to {self.held[-1]:.4f}, while training loss fell "
            f"from {self.train[best]:.4f} to {self.train[-1]:.4f}; {self.gap()}."
        )
        advice = (
            f"Early stopping (--patience 3) keeps the weights of epoch {self.epochs[best]}; "
            "or try dropout, weight decay, a smaller net or more data."
        )
        return "overfits", said, advice

    def fits(self) -> tuple[str, str, str]:
        best = self.best or 0
        last = "" if best == len(self.held) - 1 else f", {self.held[-1]:.4f} in the last"
        lowest = f"lowest in epoch {self.epochs[best]} at {self.held[best]:.4f}{last}; {self.gap()}."
        rise = self.held[-window(self.held) :].mean() - self.held[best]
        if rise > MATTERS * self.held[best]:
            said = (
                f"The run may begin to overfit: validation loss lies {rise:.4f} above its lowest in the mean of the "
                f"last {window(self.held)} epochs, which may still be noise from epoch to epoch, {lowest}"
            )
            return "fits", said, "More epochs will tell; early stopping (--patience 3) keeps the best weights."
        said = f"The run fits and does not overfit: validation loss has levelled without a rise, {lowest}"
        short = self.train_right[-1] - self.held_right[-1]
        if self.best_score is not None and short > HIGH_ERROR * self.best_score:
            return "fits", said, "More epochs bring little; dropout, weight decay or more data may close the gap."
        return "fits", said, "More epochs bring little; a wider net or another learning rate may bring more."
