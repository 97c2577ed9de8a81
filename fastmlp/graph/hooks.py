"""Hooks of the graph: the handle that ends one, and the check of what one returns."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class RemovableHandle:
    """What `register_hook` returns: `remove()` ends the hook.

    It adds itself to a tuple of handles that `owner` has under `name`. A hook that is registered twice has two handles.
    Error: TypeError for a hook that cannot be called.
    """

    def __init__(self, function: str, owner: Any, name: str, hook: Callable[..., Any]) -> None:
        if not callable(hook):
            raise TypeError(f"{function}: hook is {type(hook).__name__}; it must be a function")
        self.hook, self._owner, self._name = hook, weakref.ref(owner), name
        setattr(owner, name, (*getattr(owner, name), self))

    def remove(self) -> None:
        """The hook is not called any more. A second call does nothing."""
        if (owner := self._owner()) is not None:
            setattr(owner, self._name, tuple(h for h in getattr(owner, self._name) if h is not self))


def replaced(where: str, returned: Any, gradient: Array) -> Array:
    """The gradient, or what a hook returned instead.

    Errors: TypeError where that is no array or has another dtype, ValueError where it has another shape.
    """
    if returned is None:
        return gradient
    if not isinstance(returned, np.ndarray | np.generic):  # NumPy turns arrays without axes into its numbers
        raise TypeError(f"{where}: a hook returned {type(returned).__name__}; it must be an array or None")
    if returned.dtype != gradient.dtype:
        raise TypeError(f"{where}: a hook returned {returned.dtype}; the gradient is {gradient.dtype}")
    if returned.shape != gradient.shape:
        raise ValueError(f"{where}: a hook returned the shape {returned.shape}; the gradient is {gradient.shape}")
    return np.array(returned)  # a copy: `.grad` must not be an array that the hook holds


def replaced_all(where: str, returned: Any, gradients: tuple[Array | None, ...]) -> tuple[Array | None, ...]:
    """The gradients for a node's edges, or what a hook returned instead; errors as `replaced`.

    A gradient may become None, which sends nothing on; one that is not sent stays so.
    """
    if returned is None:
        return gradients
    if not isinstance(returned, tuple):
        raise TypeError(f"{where}: a hook returned {type(returned).__name__}; it must be a tuple or None")
    if len(returned) != len(gradients):
        raise ValueError(f"{where}: a hook returned {len(returned)} gradients; the node has {len(gradients)} edges")
    return tuple(
        None if old is None or new is None else replaced(where, new, old)
        for old, new in zip(gradients, returned, strict=True)
    )
