"""What the outputs of a saved model mean, in the header of its file: classes, loss, temperature."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..data import Encoding
from ..nn import LOSSES, Loss, Module
from ..nn.described import described

CLASSES, LOSS, TABLE, TEMPERATURE = "classes", "loss", "table", "temperature"


def meaning(model: Module) -> dict[str, str]:
    """JSON by name: `classes_`, how the columns of a table become inputs, the temperature where `calibrate` has found
    one, and the package's own loss of numbers or labels, by its operation and its arguments.
    """
    found = {}
    if model.classes_ is not None:
        found[CLASSES] = json.dumps(np.asarray(model.classes_).tolist())
    if model.encoding_ is not None:
        found[TABLE] = model.encoding_.to_text()
    loss = model.loss_
    said = described(loss, LOSSES)
    if loss is not None and said is not None and "classes" not in loss.kinds:
        name, values = said
        found[LOSS] = json.dumps([name, {key: np.asarray(value).tolist() for key, value in values.items()}])
    if model.temperature_ != 1:
        found[TEMPERATURE] = json.dumps(float(model.temperature_))
    return found


def loss_of(header: Mapping[str, str]) -> Loss | None:
    """The loss in a header that `meaning` wrote; None where there is none, or another program's."""
    try:
        name, arguments = json.loads(header.get(LOSS, "null"))
        made: Any = LOSSES[name]
        return made(**arguments)
    except (TypeError, ValueError, KeyError, RecursionError):
        return None


def encoding_of(header: Mapping[str, str], path: Any, inputs: int | None) -> Encoding | None:
    """The encoding of a table in a header that `meaning` wrote; None without. Error: ValueError for a damaged one."""
    if TABLE not in header:
        return None
    try:
        found = Encoding.from_text(header[TABLE])
    except ValueError as error:
        raise ValueError(f"load_model: {path}: {error}") from error
    if inputs not in (None, found.n_features):
        raise ValueError(f"load_model: {path} encodes {found.n_features} features of a table; the model takes {inputs}")
    return found


def temperature_of(header: Mapping[str, str]) -> float:
    """The temperature in a header that `meaning` wrote; 1 where there is none, or another program's."""
    try:
        found = json.loads(header.get(TEMPERATURE, "1.0"))
    except (ValueError, RecursionError):
        return 1.0
    return found if isinstance(found, float) and 0 < found < math.inf else 1.0


def classes_of(header: Mapping[str, str], outputs: int | None = None) -> np.ndarray | None:
    """The values of the classes in a header that `save` wrote; None where there are none, or others than so many.

    What another program calls "classes" is something else.
    """
    try:
        values = json.loads(header.get(CLASSES, "null"))
    except (ValueError, RecursionError):
        return None
    kinds = {type(value) for value in values} if isinstance(values, list) else set()
    if len(kinds) != 1 or not kinds <= {int, bool, str} or len(set(values)) != len(values):
        return None
    if outputs not in (None, len(values)) or any(isinstance(value, int) and abs(value) >= 2**63 for value in values):
        return None
    return np.array(values, None if kinds != {int} else np.int64)
