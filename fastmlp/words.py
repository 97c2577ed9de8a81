"""Names that come from data, as people read them: on one line, cut where they are long, padded to a width."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any

_JOINERS = "\u200c\u200d"  # invisible, and needed to write some languages


def line(name: Any) -> str:
    r"""The name on one line: what cannot be seen is written as Python writes it, "\n"; an empty name is two quotes.

    Such are control characters, ends of lines and paragraphs, marks that turn the direction of writing, and halves of
    characters, which a file name may have and no file in UTF-8 can.
    """
    text = str(name)
    seen = [c if c in _JOINERS or c == " " or not _hidden(c) else ascii(c)[1:-1] for c in text]
    return "".join(seen) or '""'


def _hidden(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind[0] == "C" or kind in ("Zl", "Zp")


def short(name: Any, most: int) -> str:
    """The name on one line of at most so many columns; what is cut is cut from the middle, where names differ least."""
    text = line(name)
    if columns(text) <= most:
        return text
    head, tail = "", ""
    for before, after in zip(text, reversed(text), strict=True):
        if columns(head + before + tail) + 1 > most:
            break
        head += before
        if columns(head + after + tail) + 1 > most:
            break
        tail = after + tail
    return f"{head}…{tail}"


def columns(text: str) -> int:
    """How many columns of a terminal it takes: two for a character of East Asia, none for an accent of its own."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def right(text: str, width: int) -> str:
    """The text at the right of so many columns."""
    return " " * (width - columns(text)) + text


def left(text: str, width: int) -> str:
    """The text at the left of so many columns."""
    return text + " " * (width - columns(text))


def names(values: Iterable[Any], count: int) -> tuple[str, ...]:
    """`count` names: a line for each value; what has no value is its number, in brackets where others have one."""
    given = [line(value) for value in values]
    return (*given, *(f"[{n}]" if given else str(n) for n in range(len(given), count)))


def of_class(evaluation: Any, c: int) -> str:
    """The name of a class, of an evaluation that knows names; else its number."""
    known = getattr(evaluation, "names", None)
    return str(int(c)) if known is None else known[int(c)]


SCORES = {"r2": "R²", "d2": "D²", "f1_micro": "micro F1"}  # as a person writes them
SHARES = ("accuracy", "f1_micro")  # scores that a person reads in percent


def score(name: str) -> str:
    """The name of a score as a person writes it, on one line."""
    return SCORES.get(name) or line(name)
