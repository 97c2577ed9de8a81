"""Which installed fonts have the letters of a text."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

FONT = "DejaVu Sans"  # comes with matplotlib, and has the letters of the equations
LAST_RESORT = "Last Resort"  # a font whose letters are all boxes; newer releases of matplotlib have it


def plain(text: str) -> str:
    """On one line, without what cannot be printed."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def fonts_for(texts: Iterable[str]) -> tuple[list[str], str]:
    """(families, letters that none of them has): DejaVu Sans, and installed fonts with the letters that it lacks."""
    from matplotlib.font_manager import findfont, fontManager

    known = _letters(findfont(FONT))
    lacking = tuple(dict.fromkeys(letter for text in texts for letter in plain(text) if letter not in known))
    if not lacking:
        return [FONT], ""
    families, unknown = _having(lacking, tuple((font.name, font.fname) for font in fontManager.ttflist))
    return [FONT, *families], unknown


@lru_cache(maxsize=16)
def _letters(path: str) -> frozenset[str]:
    from matplotlib.font_manager import get_font

    return frozenset(chr(code) for code in get_font(path).get_charmap())


@lru_cache(maxsize=64)
def _having(letters: tuple[str, ...], fonts: tuple[tuple[str, str], ...]) -> tuple[tuple[str, ...], str]:
    """(families that have some of the letters, letters that none has) of fonts, each (family, file)."""
    families, unknown = [], dict.fromkeys(letters)
    for name, path in fonts:
        if not unknown:
            break
        try:
            has = set() if name.startswith(LAST_RESORT) else unknown.keys() & _letters(path)
        except (OSError, RuntimeError):  # matplotlib's list may be older than the folder of fonts
            continue
        if has:
            families.append(name)
            unknown = {letter: None for letter in unknown if letter not in has}
    return tuple(families), "".join(unknown)
