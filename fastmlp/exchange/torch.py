"""PyTorch both ways: a Sequential here is a `torch.nn.Sequential` there, with the same numbers under the same names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .. import check, nn
from ..graph import Array, Parameter
from ..nn import Module
from ..nn.layer import declares
from ..nn.module import undrawn
from ..store.foreign import as_registered, check_activation, filled, layers_of

LOGITS = ("Softmax", "LogSoftmax")  # what PyTorch's models may end in


def _library(caller: str) -> Any:
    try:
        import torch
    except ImportError as error:
        raise check.NotInstalledError(f"{caller} needs PyTorch, pip install torch: {check.reason(error)}") from error
    return torch


# --- to PyTorch ------------------------------------------------------------------------------------------------------


def to_torch(model: Module) -> Any:
    """The same model as a `torch.nn.Sequential`, on the CPU, in evaluation mode: call `.train()` to train it there.

    Each layer becomes that of `torch.nn` with its name and its options, in its place, Sequentials within too, so both
    have the same keys in `state_dict()`. Numbers are copied, to the bit, and keep their type; what is frozen stays
    frozen, what layers share they share. No random number of PyTorch is drawn. A layer of your own says by a method
    `to_torch(self, peer)`, `peer` is `torch.nn`, which module computes the same from arrays of the same names.

    It takes what the net takes: rows of the net's type. Bytes are to be multiplied by the scale of the data set, 1/255;
    the columns of a table encoded by `model.encoding_`. It gives logits; `classes_`, `loss_` and `temperature_` stay
    here.

    Errors: NotInstalledError without PyTorch; TypeError for what is no Sequential; ValueError for a layer that does not
    say what it is in PyTorch.
    """
    torch = _library("to_torch")
    if not isinstance(model, nn.Sequential) or model.flat() is None:
        own = "" if isinstance(model, nn.Sequential) else type(model).__name__
        given = own or f"{type(model).__name__}, whose forward is its own"
        raise TypeError(f"to_torch: model is {given}; it must be a fastmlp.nn.Sequential, such as an MLP")
    with torch.device("meta"), torch.inference_mode(False), torch.no_grad():  # no memory, nothing drawn
        made = _there(model, torch, {}, "")
        state = {name: torch.from_numpy(np.array(array)) for name, array in model.state_dict().items()}
        shapes = {name: tuple(tensor.shape) for name, tensor in made.state_dict().items()}
        ours = {name: array.shape for name, array in model.state_dict().items()}
        if odd := [name for name in {**ours, **shapes} if ours.get(name) != shapes.get(name)]:
            here, there = (found.get(odd[0], "missing") for found in (ours, shapes))
            raise ValueError(
                f"to_torch: {odd[0]} is {here} and {there} in PyTorch; its layer must say one of its shape"
            )
        made.load_state_dict(state, assign=True)
    first: dict[int, Any] = {}
    for prefix, module in model.named_modules():
        for name, parameter in vars(module).items():
            if isinstance(parameter, Parameter):
                twin = made.get_submodule(prefix)
                setattr(twin, name, first.setdefault(id(parameter), getattr(twin, name)))  # what is shared is one
                first[id(parameter)].requires_grad_(parameter.requires_grad)
    return made.eval()


def _there(model: Any, torch: Any, made: dict[int, Any], place: str) -> Any:
    """The module, once for each of ours: a layer that is used twice is one there, too."""
    if id(model) not in made:
        if isinstance(model, nn.Sequential):
            layers = [_there(layer, torch, made, f"{place}.{i}".strip(".")) for i, layer in enumerate(model)]
            made[id(model)] = torch.nn.Sequential(*layers)
        else:
            name = type(model).__name__
            ours = nn.LAYERS.get(name) is type(model) and "forward" not in vars(model)
            if not (ours or declares(model, "forward", "to_torch")):
                raise ValueError(
                    f"to_torch: layer {place} is {name}, which is not one of fastmlp's; it must say what it is in "
                    "PyTorch, by a method to_torch(self, peer)"
                )
            made[id(model)] = model.to_torch(torch.nn)
    return made[id(model)]


# --- from PyTorch ----------------------------------------------------------------------------------------------------


def from_torch(source: Any, activation: str | None = None) -> nn.Sequential:
    """A model of PyTorch as a Sequential in evaluation mode, to ask and to train on.

    source      a `torch.nn.Sequential` of layers that `nn.LAYERS` has too. Sequentials within are taken apart: the keys
                of the state are "0.weight", "2.weight", ... in their order. What is frozen or shared stays so
                or the `state_dict()` of any model whose forward is Linear, [BatchNorm1d], activation, ..., Linear: the
                arrays of Linear and BatchNorm1d under any names, such as "fc1.weight", "bn1.running_mean"
    activation  of a state dict: a name in `nn.ACTIVATIONS`, what the model has before each Linear but the first. Names
                of one Sequential ("net.0.weight", "net.3.weight") say where it stands, and where a Dropout does, whose
                p is then 0. BatchNorm1d has its default eps and momentum

    The order of the layers is that of the state dict, where `state_dict()` gave it or where arrays stand as modules
    register them, weight before bias, and where widths fit; else, as for the dict that safetensors' `load_file` sorts
    by name, the one order in which widths fit. Numbers are copied, from any device: float32 and float64 as they are,
    float16 and bfloat16 as the float32 numbers that they are; all become float64 where some are. A file is for
    `load_model`.

    Errors: NotInstalledError without PyTorch; TypeError for what is neither; ValueError, with name and place, for a
    layer or an array that is none of these, for numbers that are not there, and where more than one order may be meant.
    """
    torch = _library("from_torch")
    if isinstance(source, Mapping):
        check_activation("from_torch", activation)
        return _from_state(source, activation, torch)
    if isinstance(source, str | os.PathLike):
        what = "a path; load_model(path, activation) reads safetensors, and what torch.load gives is to be handed in"
        raise TypeError(f"from_torch: source is {what}")
    if not isinstance(source, torch.nn.Sequential):
        other = "; of a module with a forward of its own, its state_dict() with activation"
        raise TypeError(
            f"from_torch: source is {_full(source, torch)}; it must be a torch.nn.Sequential"
            + other * isinstance(source, torch.nn.Module)
        )
    if activation is not None:
        raise ValueError("from_torch: activation is given beside a module, which has its own; it is for a state dict")
    layers: list[Any] = []
    state: dict[str, Array] = {}
    made: dict[int, Any] = {}
    first: dict[int, Parameter] = {}
    frozen: set[int] = set()
    shared: list[tuple[Any, str, int]] = []
    with undrawn():
        for place, module in _flat(source, torch, ""):
            layer = made.get(id(module)) or _here(module, place, torch)
            arrays = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
            if arrays:  # what has no numbers, as one ReLU for all, is as good as two
                made[id(module)] = layer
            state |= {f"{len(layers)}.{name}": _array(f"{place}.{name}", array, torch) for name, array in arrays}
            layers.append(layer)
            shared += [(layer, name, id(p)) for name, p in module.named_parameters(recurse=False)]
            frozen |= {id(p) for p in module.parameters(recurse=False) if not p.requires_grad}
    _check_widths(layers)
    try:
        model = filled(layers, state)
    except RuntimeError as error:
        raise ValueError(f"from_torch: source does not fit: {check.reason(error)}") from error
    for layer, name, key in shared:
        setattr(layer, name, first.setdefault(key, getattr(layer, name)))
        first[key].requires_grad = key not in frozen
    return model


def _flat(module: Any, torch: Any, place: str) -> Iterator[tuple[str, Any]]:
    """(its name, layer) of all layers, those of Sequentials within in their place."""
    name = _full(module, torch)
    if any(torch.nn.parameter.is_lazy(parameter) for parameter in module.parameters(recurse=False)):
        raise ValueError(f"from_torch: {_at(place)} is a {name}, which has no numbers before its first call; call it")
    if module._forward_hooks or module._forward_pre_hooks:
        raise ValueError(
            f"from_torch: {_at(place)} is a {name} with a hook on its forward, as weight norm, spectral norm and "
            "pruning leave; remove it first"
        )
    own = "forward" in vars(module)
    if isinstance(module, torch.nn.Sequential) and type(module).forward is torch.nn.Sequential.forward and not own:
        for key, inner in module._modules.items():  # named_children() leaves out what comes a second time
            yield from _flat(inner, torch, f"{place}.{key}".strip("."))
    elif own:
        raise ValueError(f"from_torch: {_at(place)} is a {name} with a forward of its own, set on the object")
    else:
        yield place, module


def _full(thing: Any, torch: Any) -> str:
    """The name of its class, with its module where it is not one of `torch.nn`."""
    kind = type(thing)
    plain = kind.__module__ == "builtins" or kind is getattr(torch.nn, kind.__name__, None)
    return kind.__name__ if plain else f"{kind.__module__}.{kind.__qualname__}"


def _at(place: str) -> str:
    return f"layer {place}" if place else "source"


def _here(module: Any, place: str, torch: Any) -> nn.Layer:
    """The layer with the name and the options of a module."""
    name = type(module).__name__
    kind = nn.LAYERS.get(name)
    if torch.nn.utils.parametrize.is_parametrized(module):
        raise ValueError(
            f"from_torch: {_at(place)} is a {name}, whose numbers are made from others; "
            "torch.nn.utils.parametrize.remove_parametrizations leaves them as they are"
        )
    if kind is None or type(module) is not getattr(torch.nn, name, None):
        what = "which is none of fastmlp.nn.LAYERS"
        if name in LOGITS:
            what = "and a fastmlp model gives logits; leave it out, as source[:-1] does"
        raise ValueError(f"from_torch: {_at(place)} is {_full(module, torch)}, {what}")
    try:
        return kind.from_torch(module)
    except (TypeError, ValueError) as error:
        raise ValueError(f"from_torch: {_at(place)}: {error}") from error


def _array(name: str, tensor: Any, torch: Any) -> Array:
    """The numbers of a tensor, float16 and bfloat16 as float32."""
    counts = name.endswith("num_batches_tracked")
    if isinstance(tensor, np.ndarray) and (tensor.dtype.kind == "f" or (counts and tensor.dtype.kind in "iu")):
        return tensor.astype(np.float32) if tensor.dtype == np.float16 else tensor
    if not isinstance(tensor, torch.Tensor):
        given = f"an array of {tensor.dtype}" if isinstance(tensor, np.ndarray) else type(tensor).__name__
        raise ValueError(f"from_torch: {check.short(name)} is {given}; it must be a tensor of floats")
    given = ""
    if tensor.is_meta:
        given = "on the meta device, where there are no numbers"
    elif torch.nn.parameter.is_lazy(tensor):
        given = "not initialized"
    elif tensor.layout is not torch.strided or tensor.is_quantized:
        given = "quantized" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.")
    elif tensor.dtype not in (torch.float32, torch.float64, torch.float16, torch.bfloat16) and not counts:
        given = f"of {str(tensor.dtype).removeprefix('torch.')}"
    if given:
        must = "it must hold numbers of float64, float32, float16 or bfloat16"
        raise ValueError(f"from_torch: {check.short(name)} is {given}; {must}")
    try:
        whole = tensor.detach().float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
        return whole.numpy(force=True)
    except Exception as error:  # a subclass of Tensor with numbers elsewhere
        raise ValueError(
            f"from_torch: {check.short(name)} is {type(tensor).__name__}: {check.reason(error)}"
        ) from error


def _check_widths(layers: list[Any]) -> None:
    """Refuse layers that do not fit together. Error: ValueError, in the layer's words."""
    columns = next((layer.in_features for layer in layers if isinstance(layer, nn.Linear)), None)
    if columns is None:
        raise ValueError("from_torch: source has no Linear layer; it must have one at least")
    for place, layer in enumerate(layers):
        try:
            columns = layer.columns(columns, place)
        except ValueError as error:
            raise ValueError(f"from_torch: {error}") from error


def _from_state(source: Mapping[Any, Any], activation: str | None, torch: Any) -> nn.Sequential:
    """The model whose state this is."""
    who = "from_torch: the state dict"
    for name, value in source.items():
        if not isinstance(name, str):
            raise ValueError(f"{who} has the key {check.shown(name)}; it must be a name")
        if isinstance(value, Mapping):
            raise ValueError(f"{who} holds {check.shown(name)}, a {type(value).__name__}; hand in the one of tensors")
    state = {name: _array(name, value, torch) for name, value in source.items()}
    places: dict[int, str] = {}
    for name, value in source.items():
        if isinstance(value, torch.Tensor) and value.numel():
            other = places.setdefault(value.data_ptr(), name)
            if other != name:
                raise ValueError(
                    f"{who} has {check.short(other)} and {check.short(name)} as one tensor, and a state dict does not "
                    "say whether to train them as one; hand in a Sequential, or a copy of one of them"
                )
    with undrawn():
        layers, state = layers_of(
            state, who, activation or "relu", ordered=_as_modules(source) or as_registered(source)
        )
        if activation is None and len(layers) > 1:
            what = (
                f"a state dict does not say what lies between its layers; it must be one of {', '.join(nn.ACTIVATIONS)}"
            )
            raise ValueError(f"from_torch: activation is left out, and {what}")
        return filled(layers, state)


def _as_modules(source: Any) -> bool:
    """Whether the names come in the order of the modules, which `state_dict()` leaves in an attribute of the dict."""
    owners = dict.fromkeys(name.rpartition(".")[0] for name in source)
    return [name for name in getattr(source, "_metadata", None) or () if name in owners] == list(owners)
