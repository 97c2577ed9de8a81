"""Arrays that another program named become layers: what their shapes say, in the order in which widths follow.

No array is taken by its name alone: names say which arrays belong together, and each layer must take as many numbers a
row as the one before it gives.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from .. import check, nn
from ..nn import Module

ARRAYS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")  # as PyTorch registers them
_NUMBERED = re.compile(rf"([0-9]+)\.({'|'.join(ARRAYS)})")
_NAMED = re.compile(rf"(?:(.*)\.)?({'|'.join(ARRAYS)})", re.DOTALL)
_PARAMETRIZED = re.compile(r".*(parametrizations\..*|weight_(g|v|orig|mask|u))", re.DOTALL)
MOST_LAYERS = 10_000


def check_activation(caller: str, activation: Any, where: str = "") -> None:
    """Refuse what is neither None nor a name in `nn.ACTIVATIONS`. Error: ValueError."""
    if activation is not None and not (isinstance(activation, str) and activation in nn.ACTIVATIONS):
        must = f"it must be one of {', '.join(nn.ACTIVATIONS)}"
        raise ValueError(f"{caller}: activation is {check.shown(activation)}{where}; {must}")


def without_prefix(state: dict[str, np.ndarray], known: Callable[[str], Any]) -> dict[str, np.ndarray]:
    """The state with the words away that all its names begin with, where the rest is known; else the state itself.

    A wrapper, or the attribute that holds a Sequential, puts them there: the arrays are the same.
    """
    for match in re.finditer(r"\.", min(state, key=len, default="")):
        prefix = min(state, key=len)[: match.end()]
        if prefix[:-1].rpartition(".")[2].isdecimal():  # a place in a Sequential: others may lie beside it
            continue
        rest = {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
        if len(rest) == len(state) and all(known(name) for name in rest):
            return rest
    return state


def with_counters(state: dict[str, np.ndarray], model: Module) -> dict[str, np.ndarray]:
    """The state with num_batches_tracked of 0 where a layer has its other arrays in it: some programs leave it out."""
    counters = (name for name in model.state_dict() if name.endswith("num_batches_tracked"))
    lacking = [name for name in counters if name.replace("num_batches_tracked", "running_mean") in state]
    return {name: np.zeros((), np.int64) for name in lacking} | state


def layers_of(
    state: dict[str, np.ndarray], who: str, activation: str, dropout: float = 0.0, ordered: bool | None = None
) -> tuple[list[Module], dict[str, np.ndarray]]:
    """The layers that have these arrays, with those that must lie between them, and the arrays by a Sequential's names.

    who      whose arrays they are, for errors: "load_model: model.safetensors"
    ordered  whether the order of the names is that in which a model has its layers; None of a file, which has none

    Names of one Sequential ("0.weight", "net.3.bias") give its places: between "0.weight" and "3.weight" lie an
    activation and a Dropout. Any other names: Linear and BatchNorm1d follow each other in the order of the names, if
    that is a model's and widths fit; else in the one order in which widths fit. An activation stands before each Linear
    but the first.
    Error: ValueError for arrays that are no such layers, and where more than one order may be meant.
    """
    numbered = without_prefix(state, _NUMBERED.fullmatch)
    if all(_NUMBERED.fullmatch(name) for name in numbered):
        return _by_places(numbered, who, activation, dropout), numbered
    made: dict[str, tuple[nn.Layer, dict[str, np.ndarray]]] = {}
    for name, arrays in _owners(state, who).items():
        if (layer := _layer(arrays)) is None:
            shapes = ", ".join(f"{_joined(name, what)} {array.shape}" for what, array in arrays.items())
            raise ValueError(f"{who} has {check.short(shapes)}; it must be a Linear or a BatchNorm1d")
        made[name] = layer, arrays
    found = [layer for layer, _ in made.values()]
    fault = _fault(found)
    if fault or not (ordered or len(made) == 1):
        order = _by_widths({name: layer for name, (layer, _) in made.items()})
        if order is None and fault and ordered:
            raise ValueError(f"{who} has {fault}, and no other order of its layers is the only one that fits")
        if order is None:
            names = check.short(", ".join(state), 60)
            advice = "make the model in Python and call load" if ordered is None else "model.state_dict() has one"
            raise ValueError(
                f"{who} has {names} in no order of a model, and widths fit in none or in several; {advice}"
            )
        made = {name: made[name] for name in order}
    layers: list[Module] = []
    named: dict[str, np.ndarray] = {}
    begun = False
    for layer, arrays in made.values():
        if isinstance(layer, nn.Linear):
            layers += [_between(activation, f"{who} has no arrays for the layers between")] if begun else []
            begun = True
        named |= {f"{len(layers)}.{what}": array for what, array in arrays.items()}
        layers.append(layer)
    return layers, named


def as_registered(names: Iterable[str]) -> bool:
    """Whether the names stand as modules register their arrays, and not as a sorted file or a hash table has them.

    The arrays of a module stand together, weight before bias: sorted as text, a bias comes first. Names that differ in
    their numbers alone ("fc2", "fc10") count upwards. Where all do, that suffices; else it must be more than chance,
    1 in 1,000: of the n! orders of n arrays of m modules, m! have those of a module together.
    """
    split = [(owner, ARRAYS.index(what) if what in ARRAYS else -1) for owner, _, what in map(_parts, names)]
    owners = {owner: place for place, owner in enumerate(dict.fromkeys(owner for owner, _ in split))}
    series: dict[str, list[list[int]]] = {}
    for owner in owners:
        series.setdefault(re.sub("[0-9]+", "#", owner), []).append([int(n[:18]) for n in re.findall("[0-9]+", owner)])
    if split != sorted(split, key=lambda part: (owners[part[0]], part[1])):
        return False
    if any(numbers != sorted(numbers) for numbers in series.values()):
        return False
    return len(series) == 1 or math.factorial(len(split)) >= 1000 * math.factorial(len(owners))


def _parts(name: str) -> tuple[str, str, str]:
    """(owner, ".", array)."""
    return name.rpartition(".")


def _joined(owner: str, what: str) -> str:
    return f"{owner}.{what}" if owner else what


def _owners(state: Mapping[str, np.ndarray], who: str) -> dict[str, dict[str, np.ndarray]]:
    """The arrays of each layer, by its name."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, array in state.items():
        if (match := _NAMED.fullmatch(name)) is None:
            if _PARAMETRIZED.fullmatch(name):
                what = "which others are made from; remove weight norm, spectral norm or pruning in PyTorch first"
            else:
                what = f"no array of a Linear or a BatchNorm1d; a name must end in {', '.join(ARRAYS)}"
            raise ValueError(f"{who} holds {check.short(name)} {array.shape}, {what}")
        found.setdefault(match[1] or "", {})[match[2]] = array
    return found


def _fault(layers: list[nn.Layer]) -> str:
    """What does not fit where these layers follow each other, in words; nothing where all does."""
    width: int | None = None
    for i, layer in enumerate(layers):
        if width not in (None, _inputs(layer)):
            return f"{layer!r} after {width} numbers a row"
        if i and not isinstance(layer, nn.Linear) and not isinstance(layers[i - 1], nn.Linear):
            return f"{layer!r} after {layers[i - 1]!r}"
        width = layer.out_features if isinstance(layer, nn.Linear) else _inputs(layer)
    if not layers or not isinstance(layers[-1], nn.Linear):
        return "no Linear layer at its end"
    return ""


def _by_widths(layers: Mapping[str, nn.Layer]) -> list[str] | None:
    """The names in the one order in which widths follow each other; None where none does, or where two layers of a kind
    take the same width: then more than one may.
    """
    linear: dict[int, str] = {}
    norms: dict[int, str] = {}
    given: set[int] = set()
    for name, layer in layers.items():
        kind = linear if isinstance(layer, nn.Linear) else norms
        if _inputs(layer) in kind:
            return None
        kind[_inputs(layer)] = name
        given |= {layer.out_features} if isinstance(layer, nn.Linear) else set()
    first = linear.keys() - given if len(linear) > 1 else set(linear)
    if len(first) != 1:
        return None
    (width,) = first
    order: list[str] = []
    while width in linear:
        order += [norms.pop(width)] if width in norms else []
        order.append(linear.pop(width))
        last: Any = layers[order[-1]]
        width = last.out_features
    return order if len(order) == len(layers) and not _fault([layers[name] for name in order]) else None


def _between(activation: str, who: str) -> Module:
    """An activation that has no arrays."""
    if nn.ACTIVATIONS[activation].weights:
        raise ValueError(f"{who}; {activation} has some")
    return nn.ACTIVATIONS[activation]()


def _by_places(state: Mapping[str, np.ndarray], who: str, activation: str, dropout: float) -> list[Module]:
    """The layers of one Sequential."""
    arrays: dict[int, dict[str, np.ndarray]] = {}
    for key, array in state.items():
        place, what = key.split(".")
        if (len(place) > 1 and place[0] == "0") or int(place[:6]) >= MOST_LAYERS:
            raise ValueError(f"{who} holds {check.short(key)}; its number must be a place in a Sequential, as 0.weight")
        arrays.setdefault(int(place), {})[what] = array
    layers: list[Module] = []
    width: int | None = None
    for index in sorted(arrays):
        if gap := index - len(layers):
            if gap > 2 or not layers:
                raise ValueError(f"{who} has no arrays for the {gap} layers before {index}; unknown layers")
            layers.append(_between(activation, f"{who} has no arrays for the layer before {index}"))
            layers += [nn.Dropout(dropout)] * (gap - 1)
        layer = _layer(arrays[index])
        if layer is None or width not in (None, _inputs(layer)):
            shapes = ", ".join(f"{index}.{name} {array.shape}" for name, array in arrays[index].items())
            after = "" if width is None else f" after {width} numbers a row"
            raise ValueError(f"{who} has {shapes}{after}; it must be a Linear or a BatchNorm1d that fits")
        layers.append(layer)
        width = layer.out_features if isinstance(layer, nn.Linear) else _inputs(layer)
    if not layers or not isinstance(layers[-1], nn.Linear):
        raise ValueError(f"{who} has no Linear layer at its end; it must be the state of an MLP")
    return layers


def _layer(arrays: Mapping[str, np.ndarray]) -> nn.Layer | None:
    """The layer with just these arrays; None where there is none."""
    shapes = {name: array.shape for name, array in arrays.items()}
    weight = shapes.get("weight", shapes.get("running_mean", ()))
    layer: nn.Layer | None = None
    if not all(weight) or any(array.dtype.kind not in "fi" for array in arrays.values()):
        return None
    if len(weight) == 2:
        layer = nn.Linear(weight[1], weight[0], bias="bias" in shapes)
    elif len(weight) == 1:
        layer = nn.BatchNorm1d(weight[0], affine="weight" in shapes, bias="bias" in shapes)
    own = {name: array.shape for name, array in layer.state_dict().items()} if layer else None
    if own and "running_mean" in shapes:
        shapes.setdefault("num_batches_tracked", ())  # some programs leave it out
    return layer if own == shapes else None


def _inputs(layer: Any) -> int:
    return layer.in_features if isinstance(layer, nn.Linear) else layer.num_features


def filled(layers: list[Module], state: dict[str, np.ndarray]) -> nn.Sequential:
    """A Sequential of these layers with these numbers, float64 where some are, in evaluation mode.

    Error: RuntimeError, as `load_state_dict`, where they do not fit.
    """
    model = nn.Sequential(*layers)
    if any(array.dtype == np.float64 for array in state.values()):
        model = model.double()
    model.load_state_dict(with_counters(state, model))
    return model.eval()
