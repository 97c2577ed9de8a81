"""What a value is, in JSON's words: equal for equal values in every process, different where results may be."""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

from ..graph import Tensor
from ..training.digest import of_array

PLAIN = (bool, int, float, str, bytes, complex, type(None), np.generic, np.ndarray, tuple, list, dict)


def said(value: Any, above: tuple[int, ...] = (), seen: dict[int, int] | None = None) -> Any:
    """The value as lists, texts and numbers.

    A function or class is its code, its defaults, what it closes over, and what it takes of its own module by name:
    numbers, texts, arrays, functions and classes there. What it takes from other modules is their names alone. Any
    other object is its class and its attributes.

    above  the ids of what holds the value, for what holds itself
    seen   the functions and classes that were said before, by id: their number is said, or the calls of a module's
           functions would be followed on every way through it
    """
    seen = {} if seen is None else seen
    if isinstance(value, types.FunctionType | type):
        if id(value) in seen:
            return f"again {seen[id(value)]}"
        seen[id(value)] = len(seen)
    if id(value) in above:
        return "itself"
    if len(above) > 200:  # far below Python's own limit; no argument of a training is so deep
        return type(value).__qualname__
    inner = functools.partial(said, above=(*above, id(value)), seen=seen)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return inner(value.item()) if value.dtype.kind in "biufU" else repr(value)
    if isinstance(value, np.ndarray):
        return ["array", str(value.dtype), list(value.shape), _content(value, inner)]
    if isinstance(value, Tensor):
        return ["Tensor", value.requires_grad, inner(value.data)]
    if isinstance(value, list | tuple):
        return [inner(item) for item in value]
    if isinstance(value, set | frozenset):
        return ["set", *sorted(repr(inner(item)) for item in value)]
    if isinstance(value, Mapping):
        return ["dict", *sorted(([repr(name), inner(item)] for name, item in value.items()), key=lambda pair: pair[0])]
    if isinstance(value, functools.partial):
        return ["partial", inner(value.func), inner(value.args), inner(value.keywords)]
    if isinstance(value, types.MethodType):
        return ["method", inner(value.__func__), inner(value.__self__)]
    if isinstance(value, types.FunctionType):
        return _function(value, inner)
    if isinstance(value, type):
        return _class(value, inner)
    if isinstance(value, types.CodeType | types.ModuleType | types.BuiltinFunctionType | PurePath):
        return _code(value) if isinstance(value, types.CodeType) else _bare(value)
    if attributes := getattr(value, "__dict__", None):
        kind = type(value)
        return [inner(kind) if kind.__module__ == "__main__" else f"{kind.__module__}.{kind.__qualname__}",
                inner(attributes)]  # fmt: skip
    return _bare(value)


def _bare(value: Any) -> str:
    return re.sub(r" at 0x[0-9A-Fa-f]+", "", repr(value))


def _content(array: np.ndarray, inner: Any) -> Any:
    return inner(array.tolist()) if array.dtype.hasobject else of_array(array)


def _code(code: types.CodeType) -> list[Any]:
    """What it does, without its lines in the file."""
    constants = [_code(item) if isinstance(item, types.CodeType) else said(item) for item in code.co_consts]
    return [code.co_code.hex(), list(map(repr, constants)), code.co_names, code.co_varnames, code.co_freevars]


def _names(code: types.CodeType) -> set[str]:
    found = set(code.co_names)
    return found.union(*(_names(item) for item in code.co_consts if isinstance(item, types.CodeType)))


def _function(function: types.FunctionType, inner: Any) -> list[Any]:
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(inner(cell.cell_contents))
        except ValueError:  # the cell is empty as yet
            cells.append("empty")
    around = {}
    for name in sorted(_names(function.__code__) & set(function.__globals__)):
        value = function.__globals__[name]
        own = isinstance(value, types.FunctionType | type) and value.__module__ == function.__module__
        if own or isinstance(value, PLAIN):
            around[name] = value
    given = inner(function.__defaults__), inner(function.__kwdefaults__)
    return [function.__qualname__, _code(function.__code__), *given, cells, inner(around)]


def _class(kind: type, inner: Any) -> list[Any]:
    """Its own attributes and those of its bases in the same module; of other classes the name."""
    found: list[Any] = []
    for base in kind.__mro__:
        found.append(f"{base.__module__}.{base.__qualname__}")
        if base.__module__ == kind.__module__ and not base.__module__.startswith(("fastmlp.", "builtins")):
            for name, value in sorted(vars(base).items()):
                if isinstance(value, staticmethod | classmethod):
                    value = value.__func__
                if isinstance(value, property):
                    value = [value.fget, value.fset]
                if isinstance(value, types.FunctionType | list) or (
                    not name.startswith("__") and isinstance(value, PLAIN)
                ):
                    found.append([name, inner(value)])
    return found
