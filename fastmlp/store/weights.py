"""Weights in files: the safetensors format, with the keys of `state_dict`; and models rebuilt from such files."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import check, nn
from ..check import shown
from ..files import for_json, write
from ..nn import Module
from ..nn.described import layers_of, made_layers
from ..nn.module import undrawn
from ..tensors import as_bytes, read
from .header import CLASSES, LOSS, classes_of, encoding_of, loss_of, meaning, temperature_of

WEIGHTS, CONFIG = "model.safetensors", "config.json"  # their names in a run folder
LAYERS = "layers"  # in the header of a file of weights


def save(model: Module, path: str | os.PathLike[str], metadata: dict[str, str] | None = None) -> None:
    """Write the model's state to a safetensors file. The file is complete or not there at all.

    metadata: text by name, kept in the file's header. Of a Sequential of declared layers the header also keeps the
    layers, as JSON under "layers": `load_model` then needs nothing else; and what the outputs mean: the values of
    `classes_` under "classes", a loss of numbers or labels under "loss", the encoding of a table under "table",
    `temperature_` under "temperature".
    Error: OSError where the file cannot be written.
    """
    if not isinstance(model, Module):
        raise TypeError(f"save: model is {type(model).__name__}; it must be a Module, as in save(model, path)")
    target, metadata = check.path("save: path", path), {} if metadata is None else metadata
    if target.is_dir() or not target.parent.is_dir():
        what = "is a folder" if target.is_dir() else "lies in no folder that is there"
        raise FileNotFoundError(f"save: {target} {what}; path must be a file in a folder that is there")
    if not isinstance(metadata, Mapping) or not all(
        isinstance(text, str) for pair in metadata.items() for text in pair
    ):
        raise TypeError(f"save: metadata is {shown(metadata)}; it must be a dict of texts by name")
    state = {name: np.asarray(array, order="C") for name, array in model.state_dict().items()}  # () stays ()
    layers = layers_of(model, nn.LAYERS)
    named = {LAYERS: json.dumps(for_json(layers))} if layers else {}
    named |= meaning(model) | metadata
    write(path, as_bytes(state, named))


def _entries(header: Mapping[str, str]) -> list[dict[str, Any]] | None:
    """The layers in a header that `save` wrote; None where what another program calls "layers" is something else."""
    try:
        entries = json.loads(header.get(LAYERS, "null"))
    except (ValueError, RecursionError):
        return None
    ours = isinstance(entries, list) and all(isinstance(entry, dict) and "kind" in entry for entry in entries)
    return entries if ours else None


def load(model: Module, path: str | os.PathLike[str] | None = None, strict: bool = True) -> None:
    """Copy the state in a safetensors file into the model's arrays.

    bfloat16 numbers are read as the float32 numbers that they are. Names that all begin with the same words and a dot
    ("module.0.weight", "net.0.weight") are read without them where the model has no such names. Where a file lacks
    num_batches_tracked, which nothing is computed from, it is 0. `classes_` become those of a file that `save` wrote.

    Errors: TypeError without a model or a path; FileNotFoundError; ValueError for a file in another format, or with
    numbers of another type; RuntimeError that lists the keys that do not fit, as `Module.load_state_dict`.
    """
    if not isinstance(model, Module) or path is None:
        what = f"model is {type(model).__name__}" if not isinstance(model, Module) else "path is left out"
        raise TypeError(f"load: {what}; it fills a model that is there, load(model, path): load_model(path) makes one")
    (state, header), own = read(check.path("load: path", path), "load"), model.state_dict().keys()
    if not own & state.keys():
        state = _without_prefix(state, own.__contains__)
    model.load_state_dict(_with_counters(state, model), strict)
    if _entries(header) is not None or CLASSES in header or LOSS in header:
        model.classes_ = classes_of(header)
        model.keep_loss(loss_of(header))
        model.encoding_ = encoding_of(header, path, nn.features_of(model))
    model.temperature_ = temperature_of(header)  # 1 for weights of another program


def _without_prefix(state: dict[str, np.ndarray], known: Callable[[str], bool]) -> dict[str, np.ndarray]:
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


def _with_counters(state: dict[str, np.ndarray], model: Module) -> dict[str, np.ndarray]:
    """The state with num_batches_tracked of 0 where a layer has its other arrays in it: some programs leave it out."""
    counters = (name for name in model.state_dict() if name.endswith("num_batches_tracked"))
    lacking = [name for name in counters if name.replace("num_batches_tracked", "running_mean") in state]
    return {name: np.zeros((), np.int64) for name in lacking} | state


def load_model(path: str | os.PathLike[str], activation: str | None = None) -> nn.Sequential:
    """The model of a run folder, or of a safetensors file: a Sequential with its weights, in evaluation mode.

    A file of `save` names its layers and their options in its header. Another file, or an older one, holds the state of
    an `MLP`, or of a Sequential in the same order: for each hidden width Linear, [BatchNorm1d], activation, [Dropout];
    then Linear. Widths, biases and which layers there are follow from the names and shapes of its arrays: between
    "0.weight" and "3.weight" lie an activation and a Dropout. What has no arrays is read from the config.json beside
    the file: "activation", and "dropout", its p. What else config.json says of the model ("features", "hidden",
    "classes", "batch_norm") must be true of the arrays.

    activation: of the hidden layers where neither names it; without any it is taken to be "relu", with a warning.
    Dropout that no config.json gives has p = 0. BatchNorm1d has its default eps and momentum.

    The random numbers of `manual_seed` stay where they are. Errors: FileNotFoundError; ValueError for files in another
    format, for arrays of another kind of model, for a config.json that does not fit.
    """
    place = check.path("load_model: path", path)
    file = place / WEIGHTS if place.is_dir() else place
    if not file.is_file():
        what = f"{place} holds no {WEIGHTS}" if place.is_dir() else f"{place} is not there"
        raise FileNotFoundError(f"load_model: {what}; path must be a run folder or a safetensors file")
    (state, header), config = read(file, "load_model"), _config(file.with_name(CONFIG))
    named = config.get("activation", activation)
    if named is not None and not (isinstance(named, str) and named in nn.ACTIVATIONS):
        at = f" in {file.with_name(CONFIG)}" if "activation" in config else ""
        must = f"it must be one of {', '.join(nn.ACTIVATIONS)}"
        raise ValueError(f"load_model: activation is {check.shown(named)}{at}; {must}")
    entries = _entries(header)
    if entries is None:
        state = _without_prefix(state, lambda name: bool(_TENSOR.fullmatch(name)))
    with undrawn():
        if entries is not None:
            layers = made_layers(entries, state, f"load_model: {file}", nn.LAYERS)
        else:
            layers = _layers(state, file, named or "relu", config.get("dropout", 0.0))
        model = nn.Sequential(*layers)
    _check_config(model, config, file.with_name(CONFIG))
    if named is None and len(model) > 1 and entries is None:
        check.warn(f"load_model: no {CONFIG} names the activation of {file}; it is taken to be relu")
    floats = {array.dtype for array in state.values() if array.dtype.kind == "f"}
    model = model.double() if floats == {np.dtype(np.float64)} else model
    try:
        model.load_state_dict(_with_counters(state, model))
    except RuntimeError as error:
        raise ValueError(f"load_model: {file} does not hold what its header says: {check.reason(error)}") from error
    last = [layer.out_features for layer in model if isinstance(layer, nn.Linear)][-1:]
    model.classes_ = classes_of(header, *last)
    model.keep_loss(loss_of(header))
    model.encoding_ = encoding_of(header, file, nn.features_of(model))
    model.temperature_ = temperature_of(header)
    return model.eval()


_TENSOR = re.compile(r"(0|[1-9]\d{0,3})\.(weight|bias|running_mean|running_var|num_batches_tracked)")


def _layers(state: Mapping[str, np.ndarray], file: Path, activation: str, dropout: float) -> list[Module]:
    """The layers that have these arrays, and those that must lie between them."""
    arrays: dict[int, dict[str, np.ndarray]] = {}
    for key, array in state.items():
        match = _TENSOR.fullmatch(key)
        if not match:
            raise ValueError(
                f"load_model: {file} holds {check.short(key)}; it must hold the arrays of a Sequential, as 0.weight: "
                "make the model in Python and call load"
            )
        arrays.setdefault(int(match[1]), {})[match[2]] = array
    layers: list[Module] = []
    width: int | None = None
    for index in sorted(arrays):
        if gap := index - len(layers):
            if gap > 2 or not layers:
                raise ValueError(
                    f"load_model: {file} has no arrays for the {gap} layers before {index}; unknown layers"
                )
            if nn.ACTIVATIONS[activation].weights:
                raise ValueError(
                    f"load_model: {file} has no arrays for the layer before {index}; {activation} has some"
                )
            layers.append(nn.ACTIVATIONS[activation]())
            layers += [nn.Dropout(dropout)] * (gap - 1)
        layer = _layer(arrays[index])
        if layer is None or width not in (None, _inputs(layer)):
            shapes = ", ".join(f"{index}.{name} {array.shape}" for name, array in arrays[index].items())
            after = "" if width is None else f" after {width} numbers a row"
            raise ValueError(f"load_model: {file} has {shapes}{after}; it must be a Linear or a BatchNorm1d that fits")
        layers.append(layer)
        width = layer.out_features if isinstance(layer, nn.Linear) else _inputs(layer)
    if not layers or not isinstance(layers[-1], nn.Linear):
        raise ValueError(f"load_model: {file} has no Linear layer at its end; it must be the state of an MLP")
    return layers


def _layer(arrays: Mapping[str, np.ndarray]) -> Module | None:
    """The layer with just these arrays; None where there is none."""
    shapes = {name: array.shape for name, array in arrays.items()}
    weight = shapes.get("weight", ())
    layer: Module | None = None
    if not all(weight) or any(array.dtype.kind not in "fi" for array in arrays.values()):
        return None
    if len(weight) == 2:
        layer = nn.Linear(weight[1], weight[0], bias="bias" in shapes)
    elif len(weight) == 1:
        layer = nn.BatchNorm1d(weight[0])
    own = {name: array.shape for name, array in layer.state_dict().items()} if layer else None
    if own and "running_mean" in shapes:
        shapes.setdefault("num_batches_tracked", ())  # some programs leave it out
    return layer if own == shapes else None


def _inputs(layer: Any) -> int:
    return layer.in_features if isinstance(layer, nn.Linear) else layer.num_features


def _check_config(model: nn.Sequential, config: Mapping[str, Any], file: Path) -> None:
    """Refuse a configuration that says something else of the model than its arrays."""
    linear = [layer for layer in model if isinstance(layer, nn.Linear)]
    if not linear:
        return
    kinds = {type(layer) for layer in model}
    true: dict[str, Any] = {"hidden": [layer.out_features for layer in linear[:-1]]}
    true |= {"features": linear[0].in_features, "classes": linear[-1].out_features}
    if true["hidden"]:
        true["batch_norm"] = nn.BatchNorm1d in kinds
        if (nn.Dropout in kinds) != bool(config.get("dropout", nn.Dropout in kinds)):
            raise ValueError(f"load_model: {file} has dropout {config['dropout']}; the arrays beside it say otherwise")
    for name, value in true.items():
        if config.get(name, value) != value:
            raise ValueError(
                f"load_model: {file} has {name} {check.short(str(config[name]))}; the arrays beside it say {value}"
            )


def trained_with(path: str | os.PathLike[str], name: str) -> Any:
    """What the run of this folder, or of the file in it, was told by this name: "scale", "loss", "targets"; else None.

    Errors: ValueError for a config.json that cannot be read, as `load_model`.
    """
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    return _config(folder / CONFIG).get(name)


def _config(file: Path) -> dict[str, Any]:
    """What a config.json says; nothing where it is not there."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError, IsADirectoryError) as error:
        raise ValueError(f"load_model: {file} is no JSON: {check.reason(error)}") from error
    if not isinstance(config, dict):
        raise ValueError(f"load_model: {file} holds {type(config).__name__}; it must hold an object")
    p = config.get("dropout", 0)
    if isinstance(p, bool) or not isinstance(p, int | float) or not 0 <= p <= 1:
        raise ValueError(f"load_model: {file} has dropout {check.shown(p)}; it must be a number in [0, 1]")
    return config
