"""A kernel of somebody's own, run once in plain Python before the loop trusts it.

Compiled code checks no index: a kernel that writes scale[9], or an array that its rule does not keep, writes into
memory of others. Its Python function, on small arrays of just the sizes that are declared, raises IndexError instead.
What a trial sees is one run, with numbers that are drawn: an index that depends on them, and what other shapes bring
out, it does not see. The kernels of this package are held by tests and are not tried.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numba.core.dispatcher import Dispatcher
from numpy.typing import NDArray

from . import forms

_tried: WeakKeyDictionary[type, set[Any]] = WeakKeyDictionary()


def of_package(kind: type) -> bool:
    """Whether a class is one of this package."""
    return kind.__module__.partition(".")[0] == __name__.partition(".")[0]


def once(kind: type, key: Any, trial: Callable[[], Any]) -> None:
    """Run the trial of a class that is not of this package, until it has passed for this key."""
    if of_package(kind):
        return
    passed = _tried.setdefault(kind, set())
    if key not in passed:
        trial()
        passed.add(key)


def drawn(*shape: int) -> NDArray[Any]:
    """An array of small numbers of both signs."""
    return np.random.default_rng(0).normal(size=shape)


def run(owner: str, kernel: Any, form: str, given: Mapping[str, Any], fills: Mapping[str, Any]) -> None:
    """Run a kernel on arrays by the names of its form; fills: name -> the part of the array that it may change.

    Errors: TypeError for a kernel that reaches beyond an array, or changes what is not its own, in a sentence. Other
    exceptions are left for the run itself, where they come out as they are.
    """
    forms.check(kernel, form, owner)
    function = plain(kernel)
    if function is None:
        return
    before = {name: value.copy() for name, value in given.items() if isinstance(value, np.ndarray)}
    try:
        with np.errstate(all="ignore"):
            function(*given.values())
    except Exception as error:
        if any(word in str(error) for word in ("out of bounds", "broadcast")):
            sizes = ", ".join(f"{name} {_size(value)}" for name, value in given.items())
            raise TypeError(
                f"{owner}: {kernel.__name__} reaches beyond its arguments: {error}; it got {sizes}"
            ) from error
        return
    for name, array in before.items():
        if name in fills:
            array[fills[name]] = given[name][fills[name]]
        if not np.array_equal(array, given[name], equal_nan=True):
            parts = " and ".join(filled + _part(part) for filled, part in fills.items())
            raise TypeError(f"{owner}: {kernel.__name__} changes {name} where it must not; it may change {parts} alone")


def _size(value: Any) -> str:
    return str(value.shape) if isinstance(value, np.ndarray) else str(value)


def _part(index: Any) -> str:
    """An index as it is written: (slice(None), slice(2, 6)) is "[:, 2:6]"; nothing for all of an array."""
    if index == np.s_[:]:
        return ""
    parts = index if isinstance(index, tuple) else (index,)
    ends = [[part.start, part.stop] if isinstance(part, slice) else [part] for part in parts]
    return f"[{', '.join(':'.join('' if end is None else str(end) for end in part) for part in ends)}]"


def plain(kernel: Any) -> Any:
    """The Python function of a kernel, which calls the Python functions of the kernels that its file names.

    None where it calls, by a module's name, one without a wrapper for calls from Python: that must not be tried.
    """
    function = kernel.py_func
    names = function.__code__.co_names
    for module in (function.__globals__.get(name) for name in names):
        if isinstance(module, types.ModuleType):
            for called in (getattr(module, name, None) for name in names):
                if isinstance(called, Dispatcher) and called.targetoptions.get("no_cpython_wrapper"):
                    return None
    return _plain(kernel, {})


def _plain(value: Any, done: dict[int, Any]) -> Any:
    """What stands in Python for a value that a kernel names: itself, unless it is jitted."""
    if not isinstance(value, Dispatcher):
        return value
    if id(value) not in done:
        function: Any = value.py_func
        names: dict[str, Any] = {}
        cells = tuple(types.CellType() for _ in function.__closure__ or ())
        code, defaults = function.__code__, function.__defaults__
        done[id(value)] = types.FunctionType(code, names, function.__name__, defaults, cells)
        names.update({name: _plain(other, done) for name, other in function.__globals__.items()})
        for cell, old in zip(cells, function.__closure__ or (), strict=True):
            cell.cell_contents = _plain(old.cell_contents, done)
    return done[id(value)]
