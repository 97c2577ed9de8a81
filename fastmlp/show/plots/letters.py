"""Names from data on a figure: drawn as they are, in a font that has their letters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ...words import line, short
from ..fonts import fonts_for

_missing: ContextVar[frozenset[str]] = ContextVar("missing", default=frozenset())  # letters that no font here has


def literal(name: Any, most: int) -> str:
    r"""The name on one line of at most so many columns; "$" begins no formula.

    matplotlib writes an escaped "\$" as "$" where a text has no formula.
    """
    return short(name, most).replace("$", r"\$")


def literals(names: Iterable[str], most: int, numbers: Iterable[int]) -> list[str]:
    """The names as `literal` has them; a name that no font here has the letters of is its number, in brackets."""
    pairs = zip(names, numbers, strict=True)
    return [literal(name if is_drawable(name) else f"[{number}]", most) for name, number in pairs]


def is_drawable(name: str) -> bool:
    """Whether a font has each letter of the name, of those that are drawn `lettered`."""
    return _missing.get().isdisjoint(name)


@contextmanager
def lettered(values: Iterable[Any]) -> Iterator[list[str]]:
    """The fonts to draw with, in the order in which a letter is looked for, for the names that these values have.

    Within the block `is_drawable` knows what they lack. A value is what a plot is given: an evaluation, a data set.
    """
    from matplotlib import rcParams

    families, missing = list(rcParams["font.family"]), ""
    texts = [line(text) for value in values for text in _names(value)]
    if not all(text.isascii() for text in texts):
        found, missing = fonts_for(texts)
        families += [name for name in found if name not in families]
    token = _missing.set(frozenset(missing))
    try:
        yield families
    finally:
        _missing.reset(token)


def _names(value: Any) -> Iterator[str]:
    """The names that come from data: of classes, of labels or columns, of the data set, of the score."""
    for attribute in ("classes_", "target_names", "name", "score_name"):
        given = getattr(value, attribute, None)
        if isinstance(given, str):
            yield given
        elif isinstance(given, tuple | list) or getattr(getattr(given, "dtype", None), "kind", "") == "U":
            yield from map(str, given)  # type: ignore[arg-type]
