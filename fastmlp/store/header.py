"""What the outputs of a saved model mean, in the header of its file: the values of classes, the loss."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..nn import LOSSES, Loss, Module

CLASSES, LOSS = "classes", "loss"


def meaning(model: Module) -> dict[str, str]:
    """JSON by name: `classes_`, and the package's own loss of numbers or labels, by its operation and its arguments."""
    found = {}
    if model.classes_ is not None:
        found[CLASSES] = json.dumps(np.asarray(model.classes_).tolist())
    loss = model.loss_
    name = next((name for name, kind in LOSSES.items() if type(loss) is kind), None)
    if loss is not None and name is not None and "classes" not in loss.kinds:
        values = {argument: getattr(loss, argument) for argument in inspect.signature(type(loss)).parameters}
        found[LOSS] = json.dumps([name, {key: np.asarray(value).tolist() for key, value in values.items()}])
    return found


def loss_of(header: Mapping[str, str]) -> Loss | None:
    """The loss in a header that `meaning` wrote; None where there is none, or another program's."""
    try:
        name, arguments = json.loads(header.get(LOSS, "null"))
        made: Any = LOSSES[name]
        return made(**arguments)
    except (TypeError, ValueError, KeyError, RecursionError):
        return None


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
