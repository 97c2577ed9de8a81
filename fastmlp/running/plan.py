"""A model lowered to integers and flat buffers, as `kernels.steps` runs it.

`obstacle` says whether that can be done, `Plan` holds where everything lies, `Weights` the numbers. The engine trains
with them and `predict` predicts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import kernels
from ..graph import FLOATS, Array, Parameter
from ..kernels import steps
from ..nn import BatchNorm1d, Dropout, Linear, Module, ReLU, Sequential, Sigmoid, Tanh
from ..optim import SGD, Adam, AdamW, Optimizer

ALONE_NUMBERS = 1 << 15  # a last layer of at most so many weights is computed by every thread

_KINDS = {Linear: steps.LINEAR, ReLU: steps.RELU, Tanh: steps.TANH, Sigmoid: steps.SIGMOID}
_KINDS |= {Dropout: steps.DROPOUT, BatchNorm1d: steps.BATCHNORM}
RULES = {SGD: steps.SGD, Adam: steps.ADAM, AdamW: steps.ADAMW}
FEATURES = {np.dtype(np.uint8): steps.UINT8, np.dtype(np.float32): steps.FLOAT32, np.dtype(np.float64): steps.FLOAT64}


def obstacle(model: Module, optimizer: Optimizer | None = None) -> str | None:
    """Why the engine cannot run this model with this optimizer, in a few words; None where it can."""
    layers = flat_layers(model)
    if layers is None:
        return f"{type(model).__name__} is not a Sequential of fastmlp's own layers"
    for layer in layers:
        if type(layer) not in _KINDS:
            return f"{type(layer).__name__} is not one of fastmlp's own layers"
    if not any(isinstance(layer, Linear) for layer in layers):
        return "there is no Linear layer"
    parameters = [parameter for layer in layers for parameter in layer._parameters.values()]
    if len({id(parameter) for parameter in parameters}) < len(parameters):
        return "layers share a parameter"
    dropouts = [id(layer) for layer in layers if isinstance(layer, Dropout)]
    if len(set(dropouts)) < len(dropouts):
        return "a Dropout is used twice, and its counter moves with each use"
    if len({parameter.dtype for parameter in parameters}) != 1 or parameters[0].dtype not in FLOATS:
        return "its parameters are not all float32 or all float64"
    if not all(parameter.requires_grad and parameter.data.flags.carray for parameter in parameters):
        return "a parameter does not require grad, or is not contiguous"
    if optimizer is not None:
        if type(optimizer) not in RULES:
            return f"{type(optimizer).__name__} is not one of fastmlp's own optimizers"
        owned = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if owned != {id(parameter) for parameter in parameters}:
            return "the optimizer does not hold just the model's parameters"
    return None


def flat_layers(model: Module) -> list[Module] | None:
    """The layers of a Sequential, those of Sequentials within it in their place; None for another module."""
    if type(model).forward is not Sequential.forward or model._parameters or model._buffers:
        return None
    layers: list[Module] = []
    for module in model.children():
        inner = flat_layers(module) if isinstance(module, Sequential) else [module]
        if inner is None:
            return None
        layers += inner
    return layers


@dataclass
class Slot:
    """A parameter's place: its layer, its row in the options, where it lies in which flat buffer."""

    parameter: Parameter
    at: int
    alone: bool
    packed: tuple[int, int, int] | None  # the shape of a packed weight; None for a vector


class Plan:
    """A model lowered to integers: the plan, the slots of its parameters, the sizes of the buffers.

    room: most rows of a batch. Error: ValueError for widths that do not fit together, in `linear`'s words.
    """

    def __init__(self, model: Module, features: int, room: int) -> None:
        layers = flat_layers(model)
        assert layers is not None
        self.layers, self.room = layers, room
        self.dtype = next(model.parameters()).dtype
        self.lanes = kernels.lanes(self.dtype)
        self.rows = np.full((len(layers), steps.PLAN_COLUMNS), -1, np.int64)
        self.numbers = np.zeros((len(layers), 2))
        self.slots: list[Slot] = []
        self.sizes = dict.fromkeys(("p", "own_p", "act", "own_act", "dact", "own_dact", "stats"), 0)
        last = max(i for i, layer in enumerate(layers) if isinstance(layer, Linear))
        tail = layers[last:]
        small = self._weights(layers[last]) <= ALONE_NUMBERS
        self.alone_from = last if small and not any(isinstance(m, BatchNorm1d) for m in tail) else len(layers)
        width, y, dy = features, -1, -1
        for i, layer in enumerate(layers):
            width, y, dy = self._lower(i, layer, width, y, dy)
        self.classes = width
        self.width_in = int(self.rows[0, steps.WIDTH_IN])
        self.width_out = int(self.rows[-1, steps.WIDTH])
        self.widest = max(self.width_in, int(self.rows[:, steps.WIDTH].max()))
        self.loss_at = self._take("own_act", 2 * room * self.width_out)

    @staticmethod
    def _weights(layer: Module) -> int:
        return layer.in_features * layer.out_features if isinstance(layer, Linear) else 0

    def _take(self, buffer: str, size: int) -> int:
        """A place of `size` numbers in a buffer, rounded up so that the next one starts on a cache line."""
        at = self.sizes[buffer]
        self.sizes[buffer] = at + -(-size // (2 * self.lanes)) * 2 * self.lanes
        return at

    def _lower(self, i: int, layer: Module, width: int, x: int, dx: int) -> tuple[int, int, int]:
        """Fill row i of the plan; returns the real width of the layer's output and where y and dy lie."""
        row, alone, pad = self.rows[i], i >= self.alone_from, self.lanes
        row[steps.KIND] = _KINDS[type(layer)]
        row[steps.INPUTS], row[steps.WIDTH_IN], row[steps.X] = width, -(-width // pad) * pad, x
        has_parameters_below = any(earlier._parameters for earlier in self.layers[:i])
        out = width
        if isinstance(layer, Linear):
            if layer.in_features != width:
                raise ValueError(f"linear: layer {i} has in_features {layer.in_features}; {width} columns come to it")
            out = layer.out_features
        row[steps.WIDTH] = -(-out // pad) * pad
        row[steps.ALONE] = alone
        row[steps.WAITS] = isinstance(layer, Linear) and x >= 0
        row[steps.SENDS] = has_parameters_below or (bool(layer._parameters) and not isinstance(layer, Linear))
        own = "own_" if alone else ""
        row[steps.Y] = self._take(own + "act", self.room * int(row[steps.WIDTH]))
        row[steps.DX] = dx if i else self._take("dact", self.room * int(row[steps.WIDTH_IN]))
        row[steps.DY] = self._take(own + "dact", self.room * int(row[steps.WIDTH]))
        if isinstance(layer, Linear):
            self._parameters(row, layer.weight, layer.bias, alone, (out, width))
        elif isinstance(layer, BatchNorm1d):
            if layer.num_features != width:
                raise ValueError(f"batch_norm: layer {i} has {layer.num_features} features; {width} columns come to it")
            row[steps.STATS] = self._take("stats", 6 * int(row[steps.WIDTH]))
            self.numbers[i] = layer.momentum, layer.eps
            self._parameters(row, layer.weight, layer.bias, alone, None)
        elif isinstance(layer, Dropout):
            self.numbers[i, steps.RATE] = layer.p
            row[steps.SEED], row[steps.STEP], row[steps.LAYER] = layer.seed, layer.step, layer.layer
        return out, int(row[steps.Y]), int(row[steps.DY])

    def _parameters(
        self, row: Array, weight: Parameter, bias: Parameter | None, alone: bool, shape: tuple[int, int] | None
    ) -> None:
        buffer = "own_p" if alone else "p"
        packed = kernels.packed_shape(*shape, self.dtype) if shape else None
        row[steps.SLOT] = len(self.slots)
        row[steps.WEIGHT] = self._take(buffer, math.prod(packed) if packed else int(row[steps.WIDTH]))
        self.slots.append(Slot(weight, int(row[steps.WEIGHT]), alone, packed))
        if bias is not None:
            row[steps.BIAS] = self._take(buffer, int(row[steps.WIDTH]))
            self.slots.append(Slot(bias, int(row[steps.BIAS]), alone, None))


def zeros(shape: tuple[int, ...], dtype: Any) -> Array:
    """Zeros from a cache line on."""
    array = kernels.empty(shape, dtype)
    array[...] = 0
    return array


class Weights:
    """The parameters and running statistics of a model in the engine's buffers; `own` ones once a thread."""

    def __init__(self, plan: Plan, threads: int) -> None:
        self.plan, self.threads = plan, threads
        self.p = zeros((plan.sizes["p"],), plan.dtype)
        self.own_p = zeros((threads, max(plan.sizes["own_p"], 1)), plan.dtype)
        self.stats = zeros((plan.sizes["stats"],), plan.dtype)
        self.read()

    def read(self) -> None:
        """Take the model's numbers over."""
        for slot in self.plan.slots:
            put(self.own_p[0] if slot.alone else self.p, slot, slot.parameter.data)
        for at, width, layer in self._norms():
            self.stats[at : at + layer.num_features] = layer.running_mean
            self.stats[at + width : at + width + layer.num_features] = layer.running_var
            self.stats[at + width + layer.num_features : at + 2 * width] = 1

    def write(self) -> None:
        """Give the numbers back, into the model's own arrays."""
        for slot in self.plan.slots:
            take(self.own_p[0] if slot.alone else self.p, slot, slot.parameter.data)
        for at, width, layer in self._norms():
            layer.running_mean[...] = self.stats[at : at + layer.num_features]
            layer.running_var[...] = self.stats[at + width : at + width + layer.num_features]

    def _norms(self) -> list[tuple[int, int, BatchNorm1d]]:
        return [
            (int(row[steps.STATS]), int(row[steps.WIDTH]), layer)
            for row, layer in zip(self.plan.rows, self.plan.layers, strict=True)
            if isinstance(layer, BatchNorm1d)
        ]


def put(flat: Array, slot: Slot, array: Array) -> None:
    """A parameter-shaped array into its place in a flat buffer, a weight packed."""
    if slot.packed is None:
        flat[slot.at : slot.at + array.size] = array
    else:
        size = math.prod(slot.packed)
        kernels.pack(np.ascontiguousarray(array), flat[slot.at : slot.at + size].reshape(slot.packed), 0, len(array))


def take(flat: Array, slot: Slot, array: Array) -> None:
    """The way back from `put`, into `array`."""
    if slot.packed is None:
        array[...] = flat[slot.at : slot.at + array.size]
    else:
        size = math.prod(slot.packed)
        kernels.unpack(flat[slot.at : slot.at + size].reshape(slot.packed), array, 0, len(array))
