"""What C has names, texts and numbers as: of any file, of any column, of any float."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np

from ... import check

LONGEST = 4095  # bytes of a text that every C99 compiler takes
_WORDS = """
    auto break case char const continue default do double else enum extern float for goto if inline int long register
    restrict return short signed sizeof static struct switch typedef union unsigned void volatile while asm bool
    catch class const_cast constexpr consteval constinit decltype delete dynamic_cast explicit export false friend
    mutable namespace new noexcept nullptr operator private protected public reinterpret_cast requires static_assert
    static_cast template this thread_local throw true try typeid typename typeof using virtual wchar_t and and_eq
    bitand bitor compl concept not not_eq or or_eq xor xor_eq co_await co_return co_yield char8_t char16_t char32_t
    alignas alignof linux unix errno stdin stdout stderr assert near far signbit
"""
WORDS = frozenset(_WORDS.split())  # no names of members in C, in C++, or as macros of usual headers


def identifier(text: str, other: str) -> str:
    """A name in C for any text: its letters and digits as ASCII has them, `_` for the rest; `other` where none is."""
    ascii_ = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9]+", "_", ascii_).strip("_")[:40].strip("_")
    if not name:
        return other
    return f"{other}_{name}"[:40] if name[0].isdigit() else name


def members(columns: Iterable[str]) -> list[str]:
    """A name of a struct's member for each column, no two the same: small letters where all are capitals, as a macro's.

    Behind one that C, or a usual header, has for itself stands `_`.
    """
    found: list[str] = []
    for column in columns:
        name = identifier(column, "column")
        name = name.lower() if name.isupper() or name.startswith("NAME_") else name
        name = f"{name}_" if name in WORDS else name
        number, first = 2, name
        while name in found:
            name, number = f"{first}_{number}", number + 1
        found.append(name)
    return found


def text(value: str, what: str) -> str:
    """A text as C has it, UTF-8. Error: ValueError for a text that no C99 compiler must take."""
    try:
        raw = value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"export.c: {what} {check.shown(value)} is no text; it has half a character") from None
    if len(raw) > LONGEST or b"\0" in raw:
        why = "has a zero byte" if b"\0" in raw else f"has {len(raw):,} bytes"
        raise ValueError(
            f"export.c: {what} {check.shown(value)} {why}; a text in C has at most {LONGEST:,} bytes, none of them 0"
        )
    safe = set(b"!#$%&'()*+,-.:;<=>@[]^_{|}~ /")
    written = "".join(chr(b) if b in safe or (chr(b).isalnum() and b < 128) else f"\\{b:03o}" for b in raw)
    return '"{}"'.format(written.replace("NAME_", "\\116AME_"))  # else `header` would put its own name there


def comment(value: str) -> str:
    """A text inside a comment: on one line, without what would end it or what a compiler warns of."""
    line = check.short(value, 80)
    line = re.sub(r"\*(?=/)|/(?=\*)|\?(?=\?)", lambda match: match.group() + " ", line)
    return line.replace("NAME_", "NAME-").encode("utf-8", "replace").decode()


def wrapped(items: Iterable[str], indent: str = "    ") -> str:
    """Items with commas between them, on lines of at most 120."""
    lines, line = [], indent
    for item in items:
        if len(line) + len(item) + 2 > 120 and line.strip():
            lines.append(line.rstrip())
            line = indent
        line += f"{item}, "
    return "\n".join([*lines, line.rstrip(" ").rstrip(",")])


class Numbers:
    """How the numbers of a model are written: as short as can be so that they are read back as they are."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.single = dtype == np.float32
        self.type = "float" if self.single else "double"

    def __call__(self, value: Any) -> str:
        """A number of the model's type."""
        written = repr(float(str(np.float32(value)))) if self.single else repr(float(value))
        return written + "f" * self.single

    def array(self, name: str, values: np.ndarray) -> str:
        """The declaration of an array."""
        kind, flat = np.float32 if self.single else np.float64, values.ravel()
        items = (repr(float(s)) for s in flat.astype(kind).astype(str)) if self.single else map(repr, flat.tolist())
        suffix = "f" * self.single
        return f"static const {self.type} {name}[{values.size}] = {{\n{wrapped(i + suffix for i in items)}\n}};\n"
