"""The operations of the layers and losses, by their names: relu, linear, cross_entropy, ...

Each stands in the file of its family in `nn`, directly below the class of its node. `+ - * / @` are in
`graph.arithmetic`.
"""

from collections.abc import Callable
from types import FunctionType
from typing import Any

from .nn import activations, dropout, linear, losses, norms

_FOUND = {
    name: thing
    for family in (linear, activations, dropout, norms, losses)
    for name, thing in vars(family).items()
    if isinstance(thing, FunctionType) and thing.__module__ == family.__name__ and not name.startswith("_")
}
__all__ = sorted(_FOUND)


def __getattr__(name: str) -> Callable[..., Any]:
    try:
        return _FOUND[name]
    except KeyError:
        raise AttributeError(f"fastmlp.ops has no {name}; it has {', '.join(__all__)}") from None


def __dir__() -> list[str]:
    return __all__
