"""Layers, losses and other declared things in words that a file can hold, and made again from them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import check
from .layer import Layer
from .module import Module, Sequential


def described(thing: Any, kinds: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """(its name among `kinds`, the arguments that make it again); None for a thing of another class.

    An argument is the attribute of that name.
    """
    name = next((name for name, kind in kinds.items() if type(thing) is kind), None)
    if name is None:
        return None
    return name, {argument: getattr(thing, argument) for argument in inspect.signature(type(thing)).parameters}


def layers_of(model: Module, kinds: Mapping[str, type[Layer]]) -> list[dict[str, Any]]:
    """The kind and the arguments of each layer of a Sequential; empty for another model.

    A layer that is not one of fastmlp's is marked as somebody's own: nobody can make it from its name.
    """
    layers = list(model.children()) if isinstance(model, Sequential) and model.flat() is not None else []
    if any(isinstance(layer, Sequential) for layer in layers):
        return []
    return [
        {"kind": type(layer).__name__, **{name: layer.argument(name) for name in layer.arguments}}
        if isinstance(layer, Layer) and kinds.get(type(layer).__name__) is type(layer)
        else {"kind": type(layer).__name__, "own": True}
        for layer in layers
    ]


def made_layers(
    entries: list[dict[str, Any]], state: Mapping[str, np.ndarray], what: str, kinds: Mapping[str, type[Layer]]
) -> list[Module]:
    """The layers that `layers_of` described. Nothing is made that is larger than the arrays of the file.

    what: the caller and the file, for errors. Error: ValueError where a layer cannot be made.
    """
    longest = max((length for array in state.values() for length in array.shape), default=0)
    layers: list[Module] = []
    numbers = 0
    if own := [check.short(str(entry["kind"])) for entry in entries if entry.get("own") is True]:
        raise ValueError(
            f"{what} was saved from a model with the layer {own[0]}, which is not one of fastmlp's; "
            "make the model in Python and call load"
        )
    try:
        for entry in entries:
            arguments = dict(entry)
            kind = kinds[arguments.pop("kind")]
            if not arguments.keys() <= set(kind.arguments):
                raise ValueError(f"{kind.__name__} has no argument {', '.join(arguments.keys() - set(kind.arguments))}")
            sizes = [value for name, value in arguments.items() if name not in kind.numbers and isinstance(value, int)]
            if any(abs(size) > longest for size in sizes):
                raise ValueError(f"{kind.__name__} is larger than the arrays")
            layers.append(kind(**arguments))
            numbers += sum(array.size for array in layers[-1].state_dict().values())  # zeros, not yet in memory
            if numbers > sum(array.size for array in state.values()) + len(layers):  # counters may be left out
                raise ValueError("they are larger than the arrays")
    except Exception as error:  # a constructor may raise what it likes of arguments it was not made for
        raise ValueError(f"{what} has layers in its header that cannot be made: {check.reason(error)}") from error
    return layers
