"""What an estimator does after each epoch: note the loss, score the held-out rows, stop where nothing improves."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import nn
from ..graph import Array
from ..training.history import History
from ..training.measuring import measure
from .net import linears
from .solver import Solver, penalty

NUMBERS = "n_iter_", "t_", "loss_", "best_loss_", "best_validation_score_", "_no_improvement_count"
LISTS = "loss_curve_", "validation_scores_"


class Epochs:
    """A callback of `fit`, for an estimator: fills loss_curve_, validation_scores_ and their kin.

    loop      the training, which knows its batches
    times, offset  of the library's mean loss, to be scikit-learn's
    score     what gives the score of the held-out rows now, of which the loss is given; None where there are none
    """

    def __init__(
        self, estimator: Any, solver: Solver, offset: float, times: float,
        score: Callable[[nn.Module, float], float] | None, once: bool,
    ) -> None:  # fmt: skip
        self.est, self.solver = estimator, solver
        self.loop: Any = None
        self.alone = not estimator.callbacks and estimator.average is None and estimator.schedule is None
        self.offset, self.times, self.score, self.once = offset, times, score, once
        self.squares = penalty(estimator._net)
        self.kept: list[Array] = []
        self.converged = False

    def say(self, line: str) -> None:
        """Print a line where the estimator is verbose."""
        if self.est.verbose:
            print(line)

    def loss(self, model: nn.Module, mean: float, steps: int) -> float:
        """Mean loss, and of each batch α / 2M Σ w², by its rows: Σ w² as if it were linear from end to end of an epoch.

        M = Σ of the sample weights of a batch, or its rows; steps: of the epoch, which may have been cut short
        """
        before, self.squares = self.squares, penalty(model)
        masses, sizes = self.loop.rates.masses()[:steps], np.array(self.loop.sizes[:steps])
        share = np.divide(sizes / sizes.sum(), masses, out=np.zeros(len(masses)), where=masses > 0)
        squares = before + (self.squares - before) * np.arange(len(sizes)) / len(sizes)
        return mean * self.times + self.offset + 0.5 * float(self.est.alpha) * float(share @ squares)

    def __call__(self, model: nn.Module, history: History) -> bool:
        """Look at the epoch that has ended; True ends the training."""
        rate, epoch = self.solver.learning_rate, history[-1]
        self.note(model, epoch.train_loss, epoch.validation_loss, len(self.loop.sizes))
        stop = self.enough()
        unchanged = self.solver.learning_rate == rate
        self.loop.trainer.unseen = self.alone and unchanged  # the engine goes on with what it holds
        return stop

    def note(self, model: nn.Module, mean: float, held: float, steps: int) -> None:
        """Tell the estimator of an epoch of so many steps, its mean loss and that of the held-out rows."""
        est = self.est
        est.n_iter_ += 1
        est.loss_ = self.loss(model, float(mean), steps)
        est.t_ += sum(self.loop.sizes[:steps])
        est.loss_curve_.append(est.loss_)
        self.say(f"Iteration {est.n_iter_}, loss = {est.loss_:.8f}")
        self.look(model, held)
        self.solver.iteration_ends(est.t_)

    def enough(self) -> bool:
        """Whether the epochs without improvement are too many."""
        est = self.est
        if est._no_improvement_count > est.n_iter_no_change and not self.once:
            what = "Validation score" if est.early_stopping else "Training loss"
            message = f"{what} did not improve more than tol={est.tol:f} for {est.n_iter_no_change} consecutive epochs."
            if self.solver.stops(message, self.say):
                self.converged = True
                return True
            est._no_improvement_count = 0
        return False

    def look(self, model: nn.Module, held: float) -> None:
        """Count epochs without improvement, of the score of held-out rows or of the loss, and keep the best weights."""
        est = self.est
        if self.score is not None:
            score = self.score(model, held) if math.isfinite(est.loss_) else math.nan  # then the weights went back
            est.validation_scores_.append(score)
            self.say(f"Validation score: {score:f}")
        if est.early_stopping:
            worse = score < est.best_validation_score_ + est.tol
            if score > est.best_validation_score_:
                est.best_validation_score_ = score
                self.kept = [array.copy() for array in self.arrays(model)]
        else:
            worse = est.loss_ > est.best_loss_ - est.tol
            est.best_loss_ = min(est.best_loss_, est.loss_)
            if self.score is not None and score > est.best_validation_score_:
                est.best_validation_score_ = score
        est._no_improvement_count = est._no_improvement_count + 1 if worse else 0

    def arrays(self, model: nn.Module) -> list[Array]:
        """All arrays of a net: parameters and buffers."""
        return [parameter.data for parameter in model.parameters()] + [array for _, array in model.named_buffers()]

    def finish(self, model: nn.Module, history: History) -> None:
        """Put the best weights back, where there are any. An epoch that was cut short, by True or the limit, counts."""
        loop = self.loop
        if loop.ended and loop.trainer.opened == loop.epoch:
            out = loop.held_out
            held = math.nan if out is None else measure(model, out, loop.loss, n_threads=loop.n_threads)[0]
            made = np.flatnonzero(loop.rates.masses())[: loop.trainer.step]  # the other batches were left out
            self.note(model, loop.trainer.runner.mean()[0], held, int(made[-1]) + 1)
        if loop.ended == "time limit":
            self.say(f"The time limit of {self.est.time_limit:g} s has passed. Stopping.")
        for array, best in zip(self.arrays(model) if self.kept else (), self.kept, strict=True):
            array[...] = best

    def state_dict(self) -> dict[str, Any]:
        """What was seen, and what the order of the epoch that is open is drawn by."""
        numbers = {name: getattr(self.est, name, None) for name in NUMBERS}
        lists = {name: None if (kept := getattr(self.est, name)) is None else list(kept) for name in LISTS}
        drawn = self.loop.order.state_dict(self.loop.epoch)
        return {"numbers": numbers | lists, "squares": self.squares, "kept": list(self.kept), "drawn": drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        for name, value in state["numbers"].items():
            setattr(self.est, name, value)
        self.squares, self.kept = state["squares"], state["kept"]
        self.loop.order.load_state_dict(state["drawn"])


def diverged(net: nn.Module) -> bool:
    """Whether a weight is not finite."""
    return not all(np.isfinite(array).all() for layer in linears(net) for array in (layer.weight.data, layer.bias.data))
