"""A state as a file holds it: arrays by name, and all else as JSON, to the last bit and without pickle."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..check import reason
from ..graph import Array

# Whatever JSON has no form for stands there as an object of one of these names.
ARRAY, TEXTS, FLOAT, TUPLE, DICT = "array", "texts", "float", "tuple", "dict"


def packed(state: Any) -> tuple[str, dict[str, Array]]:
    """(JSON, arrays by name) of None, texts, numbers, arrays, and lists, tuples and dicts of them.

    Error: TypeError for anything else, which is named by its place.
    """
    arrays: dict[str, Array] = {}
    return json.dumps(_plain(state, "", arrays), allow_nan=False, ensure_ascii=False), arrays


def unpacked(text: str, arrays: Mapping[str, Array]) -> Any:
    """What `packed` was given. Error: ValueError for another text."""
    try:
        return _whole(json.loads(text), arrays)
    except (ValueError, TypeError, KeyError, RecursionError, AttributeError) as error:
        raise ValueError(f"its state is not one: {type(error).__name__} {reason(error)}") from error


def _plain(value: Any, place: str, arrays: dict[str, Array]) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {FLOAT: repr(value)}
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "U":
            return {TEXTS: [value.tolist()]}
        if value.dtype.kind not in "fiub":
            raise TypeError(f"the state of {place} is an array of {value.dtype}; it must be of numbers or texts")
        arrays[place] = value
        return {ARRAY: place}
    if isinstance(value, list | tuple):
        found = [_plain(part, f"{place}/{k}", arrays) for k, part in enumerate(value)]
        return found if isinstance(value, list) else {TUPLE: found}
    if isinstance(value, Mapping):
        pairs = [[_plain(key, place, arrays), _plain(part, f"{place}/{key}", arrays)] for key, part in value.items()]
        return {DICT: pairs}
    what = "None, texts, numbers, arrays, and lists, tuples and dicts of them"
    raise TypeError(f"the state of {place} is {type(value).__name__}; it must be made of {what}")


def _whole(value: Any, arrays: Mapping[str, Array]) -> Any:
    if isinstance(value, list):
        return [_whole(part, arrays) for part in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == ARRAY:
        return arrays[content]
    if kind == TEXTS:
        return np.array(*content)
    if kind == FLOAT:
        return float(content)
    if kind == TUPLE:
        return tuple(_whole(part, arrays) for part in content)
    if kind == DICT:
        return {_key(_whole(key, arrays)): _whole(part, arrays) for key, part in content}
    raise ValueError(f"{kind!r} is none of its forms")


def _key(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
