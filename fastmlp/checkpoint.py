"""Weights in files: the safetensors format, with the keys of `state_dict`."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np

from .nn import Module


def save(model: Module, path: str | os.PathLike[str], metadata: dict[str, str] | None = None) -> None:
    """Write the model's state to a safetensors file. The file is complete or not there at all.

    metadata: text by name, kept in the file's header. Error: OSError where the file cannot be written.
    """
    from safetensors.numpy import save as serialize

    target = Path(path)
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    state = {name: np.asarray(array, order="C") for name, array in model.state_dict().items()}  # () stays ()
    content = serialize(state, metadata)
    try:
        partial.write_bytes(content)
        partial.replace(target)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


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
