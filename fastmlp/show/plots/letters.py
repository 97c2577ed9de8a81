"""Names from data on a figure: drawn as they are, in a font that has their letters."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from ...words import short

FONTS = (  # with the letters of East Asia and others, as systems install them: taken where matplotlib's own has none
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Source Han Sans SC", "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei", "Droid Sans Fallback", "PingFang SC", "Hiragino Sans", "Microsoft YaHei", "Yu Gothic",
    "Malgun Gothic", "Arial Unicode MS", "Noto Sans", "Noto Sans Devanagari", "Noto Sans Arabic", "Noto Sans Hebrew",
)  # fmt: skip


def literal(name: Any, most: int) -> str:
    r"""The name on one line of at most so many columns; "$" begins no formula.

    matplotlib writes an escaped "\$" as "$" where a text has no formula.
    """
    return short(name, most).replace("$", r"\$")


def literals(names: Iterable[str], most: int, numbers: Iterable[int]) -> list[str]:
    """The names as `literal` has them; a name that no font here has the letters of is its number, in brackets."""
    pairs = zip(names, numbers, strict=True)
    return [literal(name if is_drawable(name) else f"[{number}]", most) for name, number in pairs]


def families() -> list[str]:
    """The fonts in the order in which a letter is looked for: those that are set, then the installed ones of FONTS."""
    from matplotlib import rcParams

    return [*rcParams["font.family"], *(name for name in _installed() if name not in rcParams["font.family"])]


@lru_cache
def _installed() -> tuple[str, ...]:
    from matplotlib.font_manager import fontManager

    there = {font.name for font in fontManager.ttflist}
    return tuple(name for name in FONTS if name in there)


def is_drawable(name: str) -> bool:
    """Whether each letter of the name is in one of the fonts."""
    return name.isascii() or _covered(name, tuple(families()))


@lru_cache(maxsize=4096)
def _covered(name: str, fonts: tuple[str, ...]) -> bool:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    found = [get_font(findfont(FontProperties(family=[font]))) for font in fonts]
    return all(any(font.get_char_index(ord(c)) for font in found) for c in name)
