"""The epochs of a training, from wherever it is to the last; between steps, a look for Ctrl-C and for a checkpoint."""

from __future__ import annotations

import copy
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass, field
from time import monotonic, perf_counter
from typing import Any

import numpy as np

from .. import kernels
from ..data import Dataset
from ..data.streamed import epoch_order
from ..graph import Array
from ..nn import Layer, Loss, Module
from ..optim import Average, Optimizer, Rates
from ..running import door
from ..running.averaging import Averaging
from ..running.clip import Clip
from ..signals import Signals
from .checkpoint import Checkpoints
from .history import Chunk, Epoch, History
from .measuring import measure
from .progress import Progress
from .taken import alone


@dataclass
class Loop(door.Pauses):
    """One training. What `fit` was given, as it is taken; `done` epochs are made, and `epochs` there are to be in all.

    rows: numbers of those to train on, in their order; sizes: of the batches of an epoch. weights: what rows count.
    arguments: what `resume` gives to `fit` again, as a checkpoint holds it. deadline: by `deadline_of(time_limit)`.
    """

    model: Module
    optimizer: Optimizer
    loss: Loss
    data: Dataset
    rows: Array
    held_out: Dataset | None
    sizes: list[int]
    seed: int
    done: int
    epochs: int
    n_threads: int | str
    report: Progress
    callbacks: tuple[Any, ...]
    rates: Rates
    weights: Array | None
    clip: Clip
    rule: Average | None
    history: History
    lines: list[str]
    checkpoints: Checkpoints | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    time_limit: float | None = None
    deadline: float = math.inf
    order: Callable[[int], Array] | None = None  # the rows of an epoch; those of `epoch_order` where None
    after_step: Callable[[door.Trainer], None] | None = None  # makes each step a chunk, and sees it

    def __post_init__(self) -> None:
        self.signals = Signals()
        self.averaging: Averaging | None = None
        self.trainer: door.Trainer
        self.epoch, self.steps, self.sums = self.done + 1, 0, np.zeros(5)  # where it is: the open epoch, its steps
        self.ended, self.seconds = "", 0.0
        self.lookers = [callback.on_chunk_end for callback in self.callbacks if hasattr(callback, "on_chunk_end")]
        self.uncalled: dict[str, Any] | None = None  # what callbacks and rates knew before they saw the epoch that ends
        self.modes, self.process = _modes(self.model), 0

    def run(self, saved: dict[str, Any] | None = None) -> History:
        """Train, from where `saved`, a checkpoint's state, says; returns the history."""
        self.process = os.getpid()
        with alone(self.model, self.optimizer), self.signals, ExitStack() as stack:
            if self.rule is not None:
                self.averaging = Averaging(self.model, self.optimizer, self.rule, self.done, self.epochs)
            else:
                self.optimizer.averaged = {}
            stack.callback(lambda: restore(self.modes))
            if not self.model.training:
                self.model.train()
            self.training = _modes(self.model)
            stack.callback(self.report.close)
            if saved is not None:
                self._load(saved)
                modes = zip(self.training, saved["training"], strict=True)
                self.training = [(module, mode) for (module, _), mode in modes]
                restore(self.training)
            if self.checkpoints is not None:
                self.checkpoints.begin("fit: checkpoint" if saved is None else "resume: folder")
                stack.callback(self.checkpoints.end)
            for line in self.lines:
                self.report.say(line)
            seed_dropout(self.model, self.seed, (self.epoch - 1) * len(self.sizes) + self.steps)
            self._start(stack, saved)
            for callback in reversed(self.callbacks):  # a stack is left from its top: the first callback finishes first
                if hasattr(callback, "finish"):
                    stack.callback(self._whole, callback.finish, self.model, self.history)
            stack.enter_context(self.signals.held(patience=2))  # and looked at, until the model is what was trained
            stack.push(lambda *error: self._whole(self._leave, *error))  # before: who finishes sees the average
            stack.enter_context(self._kept_at_the_end())
            while self.epoch <= self.epochs and not self.ended:
                self._train_again()
                self._epoch()
            self.ended = self.history.ended = self.ended or "finished"
        return self.history

    def _start(self, stack: ExitStack, saved: dict[str, Any] | None) -> None:
        """Compile what will run, and let callbacks begin."""
        with kernels.announce_compiling(self.report.say):
            self.trainer = stack.enter_context(self.make_trainer())
            self.trainer.unseen = not self.callbacks and self.rates.schedule is None and self.rule is None
            self.trainer.hidden = self.trainer.unseen and self.held_out is None and self.checkpoints is None
            for callback in self.callbacks:
                if hasattr(callback, "use_loss"):
                    callback.use_loss(self.loss)
                if hasattr(callback, "start"):
                    callback.start(self.model, self.optimizer)
        for callback, state in zip(self.callbacks, saved["callbacks"] if saved else (), strict=False):
            if state["state"] is not None:
                callback.load_state_dict(state["state"])

    def make_trainer(self) -> door.Trainer:
        """What makes the epochs."""
        return door.Trainer(
            self.model, self.optimizer, self.loss, self.data, max(self.sizes), self.n_threads, self.report.say,
            self.weights, self.clip, self.averaging,
        )  # fmt: skip

    def measure_held_out(self) -> tuple[float, float]:
        """(loss, score) of the rows that are held out; NaN where there are none."""
        if self.held_out is None:
            return math.nan, math.nan
        with self.signals.held(patience=0):  # it changes nothing, and may take long
            return measure(self.model, self.held_out, self.loss, n_threads=self.n_threads)

    def call_callbacks(self) -> str:
        """Call them after an epoch: "stopped" or "paused" where one wants that, else an empty text."""
        answers = [callback(self.model, self.history) for callback in self.callbacks]  # all of them are called
        paused = any(isinstance(answer, str) and answer == PAUSE for answer in answers)
        return "stopped" if any(map(is_true, answers)) else "paused" * paused

    def _leave(self, *error: Any) -> None:
        self.trainer.leave(*error, hurry=self.ended == "time limit")

    def _whole(self, action: Callable[..., Any], *arguments: Any) -> None:
        """Do what ends a training as a whole: Ctrl-C waits, but a third does not."""
        with self.signals.held(patience=2):
            action(*arguments)

    def _train_again(self) -> None:
        """Set the modes for training: a callback that evaluated the model may have left it in the other one."""
        if not self.model.training:
            restore(self.training)

    def _epoch(self) -> None:
        """The open epoch, or what is left of it: steps, validation, callbacks."""
        epoch, report, trainer = self.epoch, self.report, self.trainer
        order = (
            epoch_order(self.data.features, self.rows, self.seed, epoch) if self.order is None else self.order(epoch)
        )
        open_average = self.averaging is not None and self.averaging.inside
        rates, done = self.rates.of_epoch(epoch), self.sums if self.steps or open_average else None
        self.wanted, self.seen_at = "", self.steps  # what `ended` is to be; the step that callbacks were told of last
        self.start = perf_counter() - self.seconds
        try:
            with self.signals.held(), self.signals.heard_by(trainer.stop):
                mean, score = trainer.epoch(order, self.sizes, report.batch, rates, done, self, epoch)
        except _EndedWithinError as end:
            self.ended = str(end)
            self._say_limit(f"in epoch {epoch}, after {trainer.step:,} of its {trainer.steps:,} steps")
            return
        for layer in drawing(self.model):  # an epoch begins at its own masks, also where batches were left out
            layer.step += (len(self.sizes) - trainer.steps) * layer.training
        self.signals.look()
        seconds, found = max(perf_counter() - self.start, 1e-9), trainer.divergence
        held = self.measure_held_out()
        with self.signals.held(patience=1):
            self.uncalled = self._seen() if self.checkpoints is not None else None
            if found is None:
                self.optimizer.epochs = epoch
            made = trainer.rows[1]  # the sizes of the batches that count
            rows = sum(made if found is None else made[: found.step])
            self.history.add(epoch, (mean, score), held, seconds, rows, trainer.ran_on)
            report.row(self.history[-1])
            if found is None and (line := self.rates.after(epoch, self.history[-1])):
                report.say(line)
            said = self.call_callbacks()
            if found is not None:
                report.say(found.sentence)
            self.ended = "diverged" if found is not None else "stopped" if said == "stopped" else self.wanted
            if not self.ended and epoch < self.epochs:
                self.ended = "time limit" if monotonic() >= self.deadline else said
            self._say_limit(f"after epoch {epoch}")
            self.epoch, self.steps, self.sums, self.seconds, self.uncalled = epoch + 1, 0, np.zeros(5), 0.0, None
            if self.checkpoints is not None and self.checkpoints.is_due(epoch * len(self.sizes), True):
                self._keep()
        self.signals.look()

    # --- pauses ---

    def limit(self, step: int) -> int:
        """The step of the epoch at which a chunk must end, for a checkpoint there, or for `after_step`."""
        if self.after_step is not None:
            return step + 1
        if self.checkpoints is None or not self.checkpoints.steps:
            return sys.maxsize
        return step + self.checkpoints.limit((self.epoch - 1) * len(self.sizes) + step)

    def after_chunk(self, trainer: door.Trainer) -> None:
        """Within an epoch, some steps are done."""
        if self.signals.noted:
            self.signals.look()
        if self.after_step is not None:
            self.after_step(trainer)
        step = trainer.runner.step
        done, last = (self.epoch - 1) * len(self.sizes) + step, step == trainer.steps
        if self.lookers and step > self.seen_at:
            self._tell(step, *trainer.runner.mean())
        if not last and monotonic() >= self.deadline:
            self.wanted = self.wanted or "time limit"
        if self.wanted and not last and trainer.is_good():  # after the last step the epoch is brought to its end
            raise _EndedWithinError(self.wanted)
        if self.checkpoints is not None and not last and self.checkpoints.is_due(done, False) and trainer.is_good():
            trainer.give()
            self._keep()

    def _tell(self, step: int, loss: float, score: float) -> None:
        """Tell callbacks of a chunk that has ended. A second Ctrl-C does not wait for them."""
        self.seen_at, made = step, self.trainer.rows[1]  # the sizes of the batches that count
        chunk = Chunk(
            self.epoch, step, len(made), sum(made[:step]), sum(made), loss, score, perf_counter() - self.start
        )  # fmt: skip
        with self.signals.held(patience=1):
            answers = [look(chunk) for look in self.lookers]  # all of them are told
            self.wanted = "stopped" if any(map(is_true, answers)) else ""
        self._train_again()
        self.signals.look()

    def _say_limit(self, where: str) -> None:
        """A line where the limit has ended the training."""
        if self.ended == "time limit":
            self.report.say(f"ended {where}: the time limit of {self.time_limit:g} s has passed")

    @contextmanager
    def _kept_at_the_end(self) -> Iterator[None]:
        """When this is left there is a checkpoint: of the end, or of where Ctrl-C or an error has ended it.

        Where that was within callbacks, they will be called again, and know what they knew before.
        """
        try:
            yield
        except BaseException:
            self._note_weights()
            if self.checkpoints is not None:
                with self.signals.held():
                    self._keep()
            raise
        self._note_weights()
        if self.checkpoints is not None:
            self.ended = self.ended or "finished"
            with self.signals.held():
                self._keep()

    def _note_weights(self) -> None:
        found = self.trainer.divergence
        if found is not None:
            self.history.weights_of = (found.epoch - 1, found.kept) if found.kept >= 0 else (found.epoch - 2, 0)
        else:
            step = self.trainer.step if self.trainer.opened == self.epoch else self.steps
            whole = step > 0 and step == self.trainer.steps
            self.history.weights_of = (self.epoch, 0) if whole else (self.epoch - 1, step)

    def _keep(self) -> None:
        """Write a checkpoint of what is now; not in a child that was forked meanwhile."""
        assert self.checkpoints is not None
        if os.getpid() != self.process:
            return
        try:
            state = self.state_dict()
        except MemoryError as error:
            self.checkpoints.miss(error, self.report.say)
            return
        self.checkpoints.write((state["epoch"] - 1) * len(self.sizes) + state["step"], state, self.report.say)

    def state_dict(self) -> dict[str, Any]:
        """All of it, in the words of `training.state`: what `_load` and `resume` need."""
        model, optimizer, within = self.model, self.optimizer, self.trainer.opened == self.epoch
        seen = self.uncalled or self._seen()
        steps, sums = (self.trainer.step, self.trainer.tally()) if within else (self.steps, self.sums)
        return {
            **self.arguments,
            "epoch": self.epoch, "step": steps, "steps": self.trainer.steps or len(self.sizes), "sums": sums,
            "ended": self.ended,
            "seconds": perf_counter() - self.start if within else self.seconds,
            "done": self.done,
            "weights": dict(self.averaging.numbers() if self.averaging is not None else model.state_dict()),
            "modes": [mode for _, mode in self.modes], "training": [module.training for module in model.modules()],
            "trained": [bool(parameter.requires_grad) for parameter in model.parameters()],
            "classes_": model.classes_,
            "optimizer": optimizer.state_dict() | {"averaged": {}},
            "averaging": None if self.averaging is None else self.averaging.state_dict(),
            **seen, "history": [list(astuple(epoch)) for epoch in self.history.epochs[: seen["epochs"]]],
        }  # fmt: skip

    def _seen(self) -> dict[str, Any]:
        """What was seen of the epochs that are over: by the history, the rates, the callbacks."""
        return {
            "rates": self.rates.state_dict(),
            "groups_rates": [group["lr"] for group in self.optimizer.param_groups],
            "epochs": len(self.history),
            "callbacks": [
                {"name": name_of(callback), "state": state_of(callback) if has_state(callback) else None}
                for callback in self.callbacks
            ],
        }

    def _load(self, saved: dict[str, Any]) -> None:
        """Be where a checkpoint was written; the model and the optimizer are there already."""
        self.epoch, self.steps, self.sums = int(saved["epoch"]), int(saved["step"]), saved["sums"]
        self.seconds, self.ended = float(saved["seconds"]), saved["ended"]
        if self.ended in ("finished", "time limit", "paused"):
            self.ended = ""  # there may be more epochs, and more time, now
        self.optimizer.epochs = self.epoch - 1
        self.history.epochs = [Epoch(*values) for values in saved["history"]]
        self.modes = [(module, mode) for (module, _), mode in zip(self.modes, saved["modes"], strict=True)]
        self.rates.load_state_dict(saved["rates"])
        for group, rate in zip(self.optimizer.param_groups, saved["groups_rates"], strict=True):
            group["lr"] = rate
        if self.averaging is not None and saved["averaging"] is not None:
            self.averaging.load_state_dict(saved["averaging"])
            averaging = self.averaging
            if averaging.raw and not averaging.inside:
                self.optimizer.averaged = {
                    "kind": averaging.kind, "count": averaging.count, "raw": averaging.raw, "shown": averaging.shown
                }  # fmt: skip


def deadline_of(time_limit: float | None) -> float:
    """When a limit of so many seconds from now on will have passed."""
    return monotonic() + (time_limit or math.inf)


class _EndedWithinError(Exception):
    """A callback or the time limit ends the training within an epoch; its text is what `ended` will be."""


def has_state(callback: Any) -> bool:
    """Whether a callback says what it has seen, and takes it back."""
    return hasattr(callback, "state_dict") and hasattr(callback, "load_state_dict")


def state_of(callback: Any) -> Any:
    """What a callback says it has seen: a copy, as one of a user's may go on with the lists that it gives."""
    state = callback.state_dict()
    return state if type(callback).__module__.startswith("fastmlp.") else copy.deepcopy(state)


def name_of(callback: Any) -> str:
    """What a callback is called in a checkpoint: the function's name, or the class of an object."""
    return getattr(callback, "__name__", None) or type(callback).__name__


def seed_dropout(model: Module, seed: int, steps: int) -> None:
    """Number the layers that draw, and set their counters: the masks are a function of `seed` and the step alone."""
    for layer, module in enumerate(drawing(model)):
        module.seed, module.layer, module.step = seed, layer, steps


def drawing(model: Module) -> list[Any]:
    """The layers that draw masks."""
    return [module for module in model.modules() if isinstance(module, Layer) and module.form == "random"]


def restore(modes: list[tuple[Module, bool]]) -> None:
    """Set each module's mode, from the top down: that of a layer after that of its container."""
    for module, training in modes:
        module.train(training)


def _modes(model: Module) -> list[tuple[Module, bool]]:
    """Each module with the mode it is in: a layer may be frozen in evaluation mode while the others train."""
    return [(module, module.training) for module in model.modules()]


def is_true(answer: Any) -> bool:
    """True of Python or NumPy; not a number, and not an object that counts as true."""
    return isinstance(answer, bool | np.bool_) and bool(answer)


PAUSE = "pause"  # an answer of a callback: the training ends here for now, and `resume` goes on
Callback = Callable[[Module, History], Any]
