"""Early stopping: keep the best weights of a run, and end it when they get no better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..check import number, shown, whole
from ..graph import Array
from ..nn import Module
from ..optim import Optimizer
from .history import NUMBERS, History

METRICS = NUMBERS


class EarlyStopping:
    """A callback for `fit`: stops after `patience` epochs without improvement, and restores the best weights.

    stopper = fastmlp.EarlyStopping(patience=5);  fastmlp.fit(model, data, validation=0.1, callbacks=[stopper])

    metric     a column of `Epoch`; losses and seconds are better when low, accuracies and samples per second when
               high, and scores as their declaration says, R² when high
    patience   epochs without improvement after which the training ends; 0 and 1 end it at the first such epoch; None
               never ends it
    min_delta  an epoch is an improvement when its metric is better than that of the last improvement by more than
               this; the best epoch is the best one all the same, by however little

    When the training ends, for whatever reason (also at the last epoch, by Ctrl-C or another exception), the model's
    arrays hold the parameters and buffers, such as running statistics, of the best epoch. They are copied into the
    arrays that the model has, which stay the same objects. `best_epoch` is its number and `best` its metric, `stale`
    the number of epochs since the last improvement, `stopped` whether that ended the training. Of equal epochs the
    earlier is the best. NaN is no improvement, nor is a loss of infinity; where no epoch has another number,
    `best_epoch` is None and the model is left as it is. The optimizer's state is that of the last step.

    One object serves any number of trainings, one after the other.
    Errors: ValueError for an unknown metric, for patience or min_delta below 0; from `fit`, before the first epoch,
    for a validation metric where nothing is held out, and for an accuracy where the loss has another score.
    Source: Prechelt, Early Stopping - But When? (1998); the arguments are those of Keras.
    """

    stale: int
    stopped: bool

    def __init__(self, metric: str = "validation_loss", patience: int | None = 5, min_delta: float = 0.0) -> None:
        if not isinstance(metric, str) or metric not in METRICS:
            raise ValueError(f"EarlyStopping: metric is {shown(metric)}; it must be one of {', '.join(METRICS)}")
        if patience is not None:
            whole("EarlyStopping: patience", patience, 0, ", or None")
        number("EarlyStopping: min_delta", min_delta, 0)
        self.metric, self.patience, self.min_delta = metric, patience, float(min_delta)
        self._forget()

    def _forget(self) -> None:
        self._kept: tuple[int | None, float, dict[str, Array]] = None, math.nan, {}  # epoch, metric, the model's state
        self._seen = self.stale = 0
        self._reference, self.stopped = -math.inf, False  # the metric of the last improvement, larger is better

    @property
    def best(self) -> float:
        """The metric of the best epoch; NaN where there is none."""
        return self._kept[1]

    @property
    def best_epoch(self) -> int | None:
        """The number of the best epoch; None where there is none."""
        return self._kept[0]

    @property
    def needs_validation(self) -> bool:
        """Whether the metric is one of the validation; `fit` then refuses to train without one."""
        return self.metric.startswith("validation")

    @property
    def needs_accuracy(self) -> bool:
        """Whether the metric is an accuracy; `fit` then refuses to train with a loss that has another score."""
        return self.metric.endswith("accuracy")

    def start(self, model: Module, optimizer: Optimizer | None = None) -> None:
        """Begin anew; called by `fit` before the first epoch."""
        self._forget()

    def __repr__(self) -> str:
        return f"EarlyStopping({self.metric!r}, patience={self.patience}, min_delta={self.min_delta:g})"

    def __call__(self, model: Module, history: History) -> bool:
        """Look at the epoch that has ended; True stops the training."""
        value = self._look(model, history)
        if value > self._reference + self.min_delta:
            self._reference, self.stale = value, 0
        else:
            self.stale += 1
        self.stopped = self.patience is not None and self.stale >= max(self.patience, 1)
        return self.stopped

    def _look(self, model: Module, history: History) -> float:
        """Keep a copy of the state where the last epoch is the best; returns its metric, larger is better.

        Epoch, metric and state are set in one assignment: a Ctrl-C comes before it or after it.
        """
        sign = 1.0 if history.rises(self.metric) else -1.0
        value = sign * float(getattr(history[-1], self.metric))
        if value > (-math.inf if self.best_epoch is None else sign * self.best):  # NaN is not
            state = {name: array.copy() for name, array in model.state_dict().items()}
            self._kept = history[-1].epoch, sign * value, state
        self._seen = len(history)
        return value

    def finish(self, model: Module, history: History) -> None:
        """Restore the best weights; called by `fit` when the training ends, for whatever reason.

        All of them or none: what interrupts it half way waits until they are there.
        """
        if len(history) > self._seen:  # Ctrl-C came between the end of the last epoch and this callback
            self._look(model, history)
        epoch, best, state = self._kept
        if epoch is None or not state:
            return
        try:
            model.load_state_dict(state)
        except KeyboardInterrupt:
            model.load_state_dict(state)
            raise
        finally:
            self._kept = epoch, best, {}

    def state_dict(self) -> dict[str, Any]:
        """What it has seen, the best weights too; its arguments are not part of it."""
        own = {"stale": self.stale, "seen": self._seen, "reference": self._reference, "stopped": self.stopped}
        return {"metric": self.metric, "kept": self._kept, **own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave. Error: ValueError where that was of another metric."""
        if state["metric"] != self.metric:
            raise ValueError(f"EarlyStopping: metric is {self.metric!r}; the state is of {state['metric']!r}")
        self._kept, self.stale, self._seen = state["kept"], state["stale"], state["seen"]
        self._reference, self.stopped = state["reference"], state["stopped"]
