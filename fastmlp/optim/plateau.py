"""ReduceLROnPlateau: the rate falls where a metric has stopped to get better."""

from __future__ import annotations

import math
from typing import Any

from .. import check
from ..check import shown
from .base import Group, Optimizer
from .schedule import Schedule


class ReduceLROnPlateau(Schedule):
    """rate ← max(factor rate, min_lr) after more than `patience` epochs in which a metric was no better than its best.

    In `fit` the metric is validation_loss, or train_loss where nothing is held out; with mode="max" the score in its
    place. In a loop of one's own scheduler.step(metric) is called after each epoch. What it has seen stays in it:
    `fit` goes on with it in a later call, and begins anew with a new training.

    mode       "min" or "max": what is better
    threshold  better is below best (1 - threshold), above best (1 + threshold) with "max"; with threshold_mode "abs"
               below best - threshold, above best + threshold
    cooldown   epochs after a reduction in which nothing is counted
    min_lr     or a list with one for each parameter group
    eps        a smaller reduction is not made
    Error: ValueError for arguments out of range.
    Source: PyTorch's documentation of torch.optim.lr_scheduler.ReduceLROnPlateau.
    """

    watches = True

    def __init__(
        self,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        for name, word, words in (("mode", mode, ("min", "max")), ("threshold_mode", threshold_mode, ("rel", "abs"))):
            if not isinstance(word, str) or word not in words:
                raise ValueError(
                    f"ReduceLROnPlateau: {name} is {shown(word)}; it must be {shown(words[0])} or {shown(words[1])}"
                )
        if not (check.is_number(factor) and 0 <= factor < 1):
            raise ValueError(
                f"ReduceLROnPlateau: factor is {shown(factor)}; it must be a number of at least 0 and below 1"
            )
        for name, count in (("patience", patience), ("cooldown", cooldown)):
            check.whole(f"ReduceLROnPlateau: {name}", count, 0)
        for name, least in (("threshold", threshold), ("eps", eps), *(("min_lr", one) for one in _list(min_lr))):
            check.number(f"ReduceLROnPlateau: {name}", least, 0)
        self.mode, self.factor, self.patience, self.cooldown = mode, factor, patience, cooldown
        self.threshold, self.threshold_mode, self.min_lr, self.eps = threshold, threshold_mode, min_lr, eps
        self.reset()

    def reset(self) -> None:
        """Forget all metrics that were seen."""
        self.best = math.inf if self.mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0

    def needs(self, optimizer: Optimizer) -> str:
        """As many groups as there are numbers in min_lr."""
        groups = len(optimizer.param_groups)
        if isinstance(self.min_lr, list | tuple) and len(self.min_lr) != groups:
            return f"min_lr has {len(self.min_lr)} numbers; it must have one for each of the {groups} parameter groups"
        return ""

    def step(self, metrics: Any = None) -> None:
        """Look at the metric of an epoch, and reduce the rates where it is time. Error: TypeError without a metric."""
        groups = self._groups("step")
        try:
            metric = float(metrics)
        except (TypeError, ValueError):
            raise TypeError(
                f"ReduceLROnPlateau: step got {shown(metrics)}; "
                "it must be the metric of the epoch, step(validation_loss)"
            ) from None
        if isinstance(self.min_lr, list | tuple) and len(self.min_lr) != len(groups):
            raise ValueError(
                f"ReduceLROnPlateau: min_lr has {len(self.min_lr)} numbers, the optimizer has {len(groups)} groups"
            )
        self.watch(metric, groups)

    def watch(self, metric: float, groups: list[Group]) -> int:
        """Count an epoch with this metric; how many bad ones there were if the rates are to fall, else 0."""
        self.last_epoch += 1
        if self._better(metric):
            self.best, self.num_bad_epochs = metric, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        bad = self.num_bad_epochs
        if bad > self.patience:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
            for group, least in zip(groups, _list(self.min_lr, len(groups)), strict=True):
                rate = max(float(group["lr"]) * self.factor, least)
                if float(group["lr"]) - rate > self.eps:
                    group["lr"] = rate
        if self.optimizer is not None:
            self._last_lr = [float(group["lr"]) for group in groups]
        return bad if bad > self.patience else 0

    def column(self, held_out: bool) -> str:
        """The loss, and with mode "max" the score."""
        return ("validation" if held_out else "train") + ("_loss" if self.mode == "min" else "_score")

    def _better(self, metric: float) -> bool:
        """Whether a metric is better than the best by the threshold; NaN is not."""
        sign = 1 if self.mode == "max" else -1
        if self.threshold_mode == "rel":
            return sign * metric > sign * self.best * (1 + sign * self.threshold)
        return sign * metric > sign * (self.best + sign * self.threshold)

    def _groups(self, what: str) -> list[Group]:
        """The optimizer's groups; there may be more than at first."""
        if self.optimizer is not None:
            return self.optimizer.param_groups
        return super()._groups(what)

    def _bind(self, optimizer: Any, last_epoch: int) -> None:
        """Take an optimizer, whose rates stay as they are."""
        if last_epoch != -1:
            raise ValueError(f"ReduceLROnPlateau: last_epoch is {last_epoch}; load_state_dict says where it goes on")
        self._accept(optimizer)
        self.base_lrs, self._moved = [], []
        self._last_lr = [float(group["lr"]) for group in optimizer.param_groups]


def _list(value: Any, groups: int = 1) -> list[Any]:
    """A number for each group."""
    return list(value) if isinstance(value, list | tuple) else [value] * groups
