"""Weights in files: the safetensors format, with the keys of `state_dict`; and models rebuilt from such files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import check, nn
from ..check import shown
from ..files import for_json, write
from ..nn import Module
from ..nn.described import layers_of as described_layers
from ..nn.described import made_layers
from ..nn.module import undrawn
from ..tensors import as_bytes, read
from ..version import __version__
from .foreign import check_activation, filled, layers_of, with_counters, without_prefix
from .header import CLASSES, LOSS, classes_of, encoding_of, loss_of, meaning, temperature_of

WEIGHTS, CONFIG = "model.safetensors", "config.json"  # their names in a run folder
LAYERS, WRITER = "layers", "fastmlp"  # in the header of a file of weights: its layers, and the version that wrote it


def save(model: Module, path: str | os.PathLike[str], metadata: dict[str, str] | None = None) -> None:
    """Write the model's state to a safetensors file. The file is complete or not there at all.

    metadata: text by name, kept in the file's header. The header also says which version wrote it, under "fastmlp". Of
    a Sequential of declared layers it keeps the layers, as JSON under "layers": `load_model` then needs nothing else;
    and what the outputs mean: the values of `classes_` under "classes", a loss of numbers or labels under "loss", the
    encoding of a table under "table", `temperature_` under "temperature".
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
    layers = described_layers(model, nn.LAYERS)
    named = {WRITER: __version__} | ({LAYERS: json.dumps(for_json(layers))} if layers else {})
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


def _written(header: Mapping[str, str]) -> str:
    """For an error: which other version of fastmlp wrote the file; nothing where it was this one, or does not say."""
    other = header.get(WRITER, __version__)
    return "" if other == __version__ else f", written by fastmlp {check.short(other, 40)} and read by {__version__},"


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
        state = without_prefix(state, own.__contains__)
    model.load_state_dict(with_counters(state, model), strict)
    if _entries(header) is not None or CLASSES in header or LOSS in header:
        model.classes_ = classes_of(header)
        model.keep_loss(loss_of(header))
        model.encoding_ = encoding_of(header, path, nn.features_of(model))
    model.temperature_ = temperature_of(header)  # 1 for weights of another program


def load_model(path: str | os.PathLike[str], activation: str | None = None) -> nn.Sequential:
    """The model of a run folder, or of a safetensors file: a Sequential with its weights, in evaluation mode.

    A file of `save` names its layers and their options in its header. Another file, or an older one, holds the state of
    an `MLP`, or of a Sequential in the same order: for each hidden width Linear, [BatchNorm1d], activation, [Dropout];
    then Linear. Widths, biases and which layers there are follow from the names and shapes of its arrays: between
    "0.weight" and "3.weight" lie an activation and a Dropout. What has no arrays is read from the config.json beside
    the file: "activation", and "dropout", its p. Arrays of other names ("fc1.weight", "bn1.running_mean") are those of
    Linear and BatchNorm1d in the one order in which their widths fit, for a file keeps none. What else config.json says
    of the model ("features", "hidden", "classes", "batch_norm") must be true of the arrays.

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
    check_activation("load_model", named, f" in {file.with_name(CONFIG)}" if "activation" in config else "")
    entries = _entries(header)
    with undrawn():
        if entries is not None:
            layers = made_layers(entries, state, f"load_model: {file}{_written(header)}", nn.LAYERS)
        else:
            layers, state = layers_of(state, f"load_model: {file}", named or "relu", config.get("dropout", 0.0))
    _check_config(layers, config, file.with_name(CONFIG))
    if named is None and len(layers) > 1 and entries is None:
        check.warn(f"load_model: no {CONFIG} names the activation of {file}; it is taken to be relu")
    try:
        model = filled(layers, state)
    except RuntimeError as error:
        what = f"{file}{_written(header)} does not hold what its header says"
        raise ValueError(f"load_model: {what}: {check.reason(error)}") from error
    last = [layer.out_features for layer in model if isinstance(layer, nn.Linear)][-1:]
    model.classes_ = classes_of(header, *last)
    model.keep_loss(loss_of(header))
    model.encoding_ = encoding_of(header, file, nn.features_of(model))
    model.temperature_ = temperature_of(header)
    return model


def _check_config(layers: list[Module], config: Mapping[str, Any], file: Path) -> None:
    """Refuse a configuration that says something else of the model than its arrays."""
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    if not linear:
        return
    kinds = {type(layer) for layer in layers}
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
