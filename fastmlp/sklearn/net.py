"""The net of an estimator: layers from its parameters, first weights as scikit-learn draws them, numbers in and out."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from .. import nn
from ..check import shown
from ..graph import Array
from ..nn.module import undrawn

NAMES = {"logistic": "sigmoid"}  # what scikit-learn calls an activation -> what the library does
ACTIVATIONS = ("identity", "logistic", *nn.ACTIVATIONS)  # that an estimator takes


def build(units: list[int], activation: str, dropout: float, norm: str | None, dtype: Any) -> nn.Sequential:
    """For each hidden width Linear, [norm], activation, [Dropout]; then Linear.    units: (in, hidden..., outputs)"""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(units[:-1]):
        layers.append(nn.Linear(fan_in, fan_out, dtype=dtype))
        if norm is not None:
            made: Any = nn.NORMS[norm]
            layers.append(made(fan_out, dtype=dtype))
        if activation != "identity":
            kind: Any = nn.ACTIVATIONS[NAMES.get(activation, activation)]
            layers.append(kind(dtype=dtype) if kind is nn.PReLU else kind())
        if dropout:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(units[-2], units[-1], dtype=dtype))


def with_two_outputs(net: Any) -> nn.Sequential:
    """A copy of a net that has one output z for two classes, with outputs 0 and z: their softmax is 1 - p and p."""
    *layers, last = copy.deepcopy(net)
    with undrawn():  # zeros
        two: Any = nn.Linear(last.weight.shape[1], 2, dtype=last.weight.dtype)
    two.weight.data[1], two.bias.data[1] = last.weight.data[0], last.bias.data[0]
    return nn.Sequential(*layers, two)


def linears(net: nn.Module) -> Iterator[Any]:
    """The Linear layers, from the first to the last."""
    return (layer for layer in net.modules() if isinstance(layer, nn.Linear))


def draw(
    units: list[int], activation: str, random: np.random.RandomState, dtype: Any
) -> tuple[list[Array], list[Array]]:
    """(weights (in, out), biases (out,)): U(-b, b), b = √(6 / (in + out)), of logistic 2 in place of 6.

    Source: Glorot and Bengio, AISTATS 2010; in the order of draws that scikit-learn has.
    """
    coefs, intercepts = [], []
    for fan_in, fan_out in pairwise(units):
        bound = np.sqrt((2.0 if activation == "logistic" else 6.0) / (fan_in + fan_out))
        coefs.append(random.uniform(-bound, bound, (fan_in, fan_out)).astype(dtype, copy=False))
        intercepts.append(random.uniform(-bound, bound, fan_out).astype(dtype, copy=False))
    return coefs, intercepts


def views(net: nn.Module) -> tuple[list[Array], list[Array]]:
    """(coefs_, intercepts_): the net's own arrays, weights turned over to (in, out)."""
    layers = list(linears(net))
    return [layer.weight.data.T for layer in layers], [layer.bias.data for layer in layers]


def put(net: nn.Module, coefs: list[Array], intercepts: list[Array]) -> None:
    """Let the net have these numbers, where it does not have them already. Error: ValueError for other shapes."""
    layers = list(linears(net))
    for name, given, own in (
        ("coefs_", coefs, [layer.weight.data.T for layer in layers]),
        ("intercepts_", intercepts, [layer.bias.data for layer in layers]),
    ):
        if [np.shape(array) for array in given] != [array.shape for array in own]:
            shapes = shown([np.shape(array) for array in given])
            raise ValueError(f"{name} has the shapes {shapes}; the parameters say {[array.shape for array in own]}")
        for array, mine in zip(given, own, strict=True):
            if not (array is mine or (isinstance(array, np.ndarray) and np.shares_memory(array, mine))):
                mine[...] = array


def others(net: nn.Module) -> dict[str, Array]:
    """Copies of all numbers of a net that are no weights of a Linear: those of norms, slopes."""
    own = {id(array) for layer in linears(net) for array in (layer.weight.data, layer.bias.data)}
    known = {name: p.data for name, p in net.named_parameters()} | dict(net.named_buffers())
    return {name: array.copy() for name, array in known.items() if id(array) not in own}


def put_others(net: nn.Module, kept: dict[str, Array]) -> None:
    """Take over what `others` gave."""
    known = {name: p.data for name, p in net.named_parameters()} | dict(net.named_buffers())
    for name, array in kept.items():
        known[name][...] = array
