"""A mode to look for faults of memory in: FASTMLP_GUARD=1, read when the package is imported.

What holds in it, and is not there in any other run:

    every index in a kernel is checked, and so is every range that a view, the tile or a transpose reaches: IndexError
    bytes of BYTE lie before and after every buffer, and between the places that a plan takes in one; `look` finds what
    was written there, and numbers that are read there are large

Loops are not vectorised then, so it is slower; the results are the same to the last bit. The code is cached apart.
For kernels of your own too: what writes beyond its arrays ends with a sentence here, and not with the process.
"""

import os
import weakref
from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

ON = os.environ.get("FASTMLP_GUARD", "") not in ("", "0")
AROUND = 1024 * ON  # bytes before and after a buffer
APART = 64 * ON  # bytes between the places that a plan takes
BYTE = 0x5A  # 1.5e16 in float32, 5e127 in float64, and no row's number; finite, for who looks whether all numbers are

_laid: dict[int, tuple[Any, list[tuple[int, int, str]]]] = {}  # id -> the bytes, weakly; (start, stop, in words)


def around(raw: NDArray[Any], start: int, stop: int, what: str) -> None:
    """Lay guards in the bytes before `start` and from `stop` on, and watch them for as long as `raw` lives."""
    _lay(raw, [(0, start, f"before {what}"), (stop, raw.size, f"after {what}")])


def between(array: NDArray[Any], places: Iterable[tuple[int, int]], what: str) -> None:
    """Lay guards into what none of the places [start, end) of the last axis takes; array: made by `memory.empty`."""
    raw: Any = array.base
    size = array.itemsize
    first = array.__array_interface__["data"][0] - raw.__array_interface__["data"][0]
    free, end = [], 0
    for start, stop in (*sorted(places), (array.shape[-1],) * 2):
        if start > end:
            free.append((end, start))
        end = max(end, stop)
    for row in range(array.size // array.shape[-1]):
        begin = first + row * array.shape[-1] * size
        parts = [(begin + a * size, begin + b * size, f"between the places of {what}, at {a}") for a, b in free]
        _lay(raw, parts)


def look() -> None:
    """Error: RuntimeError names the buffers around which, or between the places in which, something was written."""
    found = []
    for reference, parts in tuple(_laid.values()):
        raw = reference()
        for start, stop, words in parts if raw is not None else ():
            part = raw[start:stop]
            if written := int((part != BYTE).sum()):
                found.append(f"{written} bytes {words}")
                part[...] = BYTE  # said once
    if found:
        raise RuntimeError(f"guard: a kernel has written {'; '.join(found)}")


def _lay(raw: NDArray[Any], parts: list[tuple[int, int, str]]) -> None:
    for start, stop, _ in parts:
        raw[start:stop] = BYTE
    number = id(raw)
    if number not in _laid:
        _laid[number] = weakref.ref(raw, lambda gone: _laid.pop(number, None)), []
    _laid[number][1].extend(parts)
