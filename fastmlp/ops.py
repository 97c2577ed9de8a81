"""The operations of the layers and losses, by their names: relu, linear, cross_entropy, ...

Each stands in the file of its family in `nn`, directly below the class of its node. `+ - * / @` are in
`graph.arithmetic`.
"""

import sys
from types import FunctionType
from typing import Any

from .graph import Node
from .nn import LAYERS, LOSSES

_FAMILIES = [sys.modules[file] for file in dict.fromkeys(kind.__module__ for kind in (LAYERS | LOSSES).values())]
_FOUND = {
    name: thing
    for family in _FAMILIES
    for name, thing in vars(family).items()
    if getattr(thing, "__module__", "") == family.__name__
    and not name.startswith("_")
    and (isinstance(thing, FunctionType) or (isinstance(thing, type) and issubclass(thing, Node)))
}
__all__ = sorted(name for name, thing in _FOUND.items() if isinstance(thing, FunctionType))


def __getattr__(name: str) -> Any:
    try:
        return _FOUND[name]
    except KeyError:
        raise AttributeError(f"fastmlp.ops has no {name}; its operations are {', '.join(__all__)}") from None


def __dir__() -> list[str]:
    return __all__
