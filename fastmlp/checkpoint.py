"""Weights in files: the safetensors format, with the keys of `state_dict`."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from .nn import Module


def save(model: Module, path: str | os.PathLike[str], metadata: dict[str, str] | None = None) -> None:
    """Write the model's state to a safetensors file. The file is complete or not there at all.

    metadata: text by name, kept in the file's header.
    """
    from safetensors.numpy import save_file

    target = Path(path)
    partial = target.with_name(target.name + ".partial")
    state = {name: np.ascontiguousarray(array) for name, array in model.state_dict().items()}
    save_file(state, partial, metadata)
    partial.replace(target)


def load(model: Module, path: str | os.PathLike[str], strict: bool = True) -> None:
    """Copy the state in a safetensors file into the model's arrays.

    Errors: FileNotFoundError; ValueError for a file in another format; RuntimeError that lists the keys that do not
    fit, as `Module.load_state_dict`.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not Path(path).is_file():
        raise FileNotFoundError(f"load: {path} is not there; it must be a safetensors file")
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"load: {path} is no safetensors file: {error}") from error
    model.load_state_dict(state, strict)
