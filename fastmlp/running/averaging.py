"""Two sets of weights: the raw ones, which the rule changes, and their average, which everybody else sees."""

from __future__ import annotations

import math
from time import perf_counter
from typing import Any

import numpy as np

from ..data import Dataset
from ..graph import Array, no_grad
from ..graph.operation import kernel_array
from ..kernels import flushed
from ..kernels.average import move_average
from ..nn import Layer, Module
from ..optim import Average, Optimizer
from . import rows

HURRY_SECONDS = 0.3  # for the statistics of an average, where somebody waits


class Averaging:
    """The average of a model's weights over a training; `epochs` are all of it, `done` those made before.

    The model holds the raw numbers within an epoch, between `begin` and `show`, and else the average. Both stay in
    `optimizer.averaged`, so that the next call with this optimizer goes on. An array that somebody changed meanwhile,
    such as a callback, is raw from then on, and the average begins anew.
    """

    def __init__(self, model: Module, optimizer: Optimizer, rule: Average, done: int, epochs: int) -> None:
        self.model, self.optimizer, self.rule = model, optimizer, rule
        self.epoch, self.first, self.inside, self.counted = done, rule.begins(epochs), False, False
        self.average: dict[str, Array] = {}  # of the parameters, by name
        kept = optimizer.averaged
        self.raw: dict[str, Array] = _copied(kept.get("raw", {}))  # of the whole state, while the model has the average
        self.shown: dict[str, Array] = _copied(kept.get("shown", {}))  # what it was left with
        self.count = int(kept["count"]) if kept.get("kind") == self.kind else 0  # how often the average went on

    @property
    def kind(self) -> str:
        """The name of the average."""
        return type(self.rule).__name__

    @property
    def by_steps(self) -> bool:
        """Whether the average goes on after each step, or after each epoch."""
        return self.rule.every == "step"

    def begin(self) -> None:
        """Before an epoch: the model gets its raw numbers back."""
        self.inside, self.counted = True, False
        parameters = dict(self.model.named_parameters())
        for name, array in self.model.state_dict().items():
            if _same(array, self.shown.get(name)) and name in self.raw and self.raw[name].shape == array.shape:
                _put(array, self.raw[name])
            elif name in parameters:
                self.count = 0
        self.average = {
            name: self.shown[name] if self.count else parameter.data.copy() for name, parameter in parameters.items()
        }
        self.raw = {}

    def numbers(self) -> dict[str, Array]:
        """The state of the model as training goes on from it, also where it half has the average."""
        return self.raw if self.inside and self.raw else self.model.state_dict()

    def state_dict(self) -> dict[str, Any]:
        """All that it holds, for a training that goes on later; the arrays are its own."""
        return {
            "epoch": self.epoch, "inside": self.inside, "counted": self.counted, "count": self.count,
            "average": self.average if self.inside else {}, "raw": {} if self.inside else self.raw, "shown": self.shown,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave; the model holds `numbers`."""
        self.epoch, self.inside, self.counted = int(state["epoch"]), state["inside"], state["counted"]
        self.count, self.average = int(state["count"]), state["average"]
        self.raw, self.shown = state["raw"], state["shown"]

    def weights(self, steps: int, first: int = 0) -> Array:
        """(steps,): how far the average goes after each step of this epoch; empty where it waits for the end of it.

        first: how many steps of the epoch it has gone already.
        """
        steps_before = self.count - first
        return np.array([self.rule.weight(max(steps_before + s, 0)) for s in range(steps if self.by_steps else 0)])

    @flushed
    def go_on(self, weight: float) -> None:
        """The average goes this far: after a step on the graph, or after an epoch."""
        for name, parameter in self.model.named_parameters():
            average = self.average[name]
            if average.shape != parameter.shape:
                raise ValueError(f"fit: {name} is {parameter.shape}; its average is {average.shape}")
            move_average(average.reshape(-1), kernel_array(parameter.data).reshape(-1), weight)
        self.count += 1

    def end_of_epoch(self, whole: bool = True) -> None:
        """After an epoch. Until the first that counts, the average is the weights; one that is not whole is none."""
        if not whole or self.counted:
            return
        self.counted = True
        self.epoch += 1
        if self.epoch < self.first:
            self.go_on(1.0)
            self.count = 0
        elif not self.by_steps:
            self.go_on(self.rule.weight(self.count))

    def show(self, data: Dataset, order: Array, sizes: list[int], hurry: bool = False) -> None:
        """The model gets the average, and the statistics of its norms are measured anew, on the rows of `order`.

        hurry: on as many of them as HURRY_SECONDS allow. Nothing happens where it has it; where Ctrl-C ended a first
        call half way, a second makes it whole.
        """
        if not self.inside:
            return
        state = self.model.state_dict()
        self.raw = self.raw or _copied(state)
        for name, average in self.average.items():
            _put(state[name], average)
        if not all(_same(average, self.raw[name]) for name, average in self.average.items()):
            measure_statistics(self.model, data, order, sizes, HURRY_SECONDS if hurry else math.inf)
        self.shown = _copied(state)
        self.optimizer.averaged = {"kind": self.kind, "count": self.count, "raw": self.raw, "shown": self.shown}
        self.inside = False


def measure_statistics(model: Module, data: Dataset, order: Array, sizes: list[int], seconds: float = math.inf) -> None:
    """Running means and variances of the weights that the model has: the mean over these batches, in training mode.

    No batch is begun after so many seconds.

    As torch.optim.swa_utils.update_bn. Layers in evaluation mode keep theirs, counters of dropout stay.
    """
    norms: list[Any] = [m for m in model.modules() if isinstance(m, Layer) and m.training and any(m.named_buffers())]
    if not norms or not sizes:
        return
    measured = [norm for norm in norms if hasattr(norm, "momentum")]
    momenta = [norm.momentum for norm in measured]
    drawing: list[Any] = [m for m in model.modules() if isinstance(m, Layer) and hasattr(m, "step")]
    steps = [layer.step for layer in drawing]
    whole = {name: array.copy() for name, array in model.named_buffers() if array.dtype.kind != "f"}
    start = perf_counter()
    try:
        with no_grad():
            for batch, (x, _) in enumerate(rows.batches(data, order, sizes, rows.dtype_of(model))):
                for norm in measured:
                    norm.momentum = 1 / (batch + 1)
                model(x)
                if perf_counter() - start > seconds:
                    break
    finally:
        for norm, momentum in zip(measured, momenta, strict=True):
            norm.momentum = momentum
        for layer, step in zip(drawing, steps, strict=True):
            layer.step = step
        for name, array in model.named_buffers():
            if name in whole:  # how many batches it was trained on
                array[...] = whole[name]


def _copied(state: dict[str, Array]) -> dict[str, Array]:
    return {name: array.copy() for name, array in state.items()}


def _put(array: Array, numbers: Array) -> None:
    """Into the model's own array, unless it holds them: one that is frozen may be read-only."""
    if not _same(array, numbers):
        array[...] = numbers


def _same(array: Array, other: Array | None) -> bool:
    """To the last bit."""
    return other is not None and array.shape == other.shape and array.tobytes() == other.tobytes()
