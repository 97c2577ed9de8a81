"""What tells one data set from another, in a few numbers: does a training go on with the rows that it began with?"""

from __future__ import annotations

import hashlib
import mmap
from typing import Any

import numpy as np

from .. import kernels
from ..data import Dataset
from ..data.mapped import rows_at
from ..data.sparse import Sparse
from ..data.streamed import Shards
from ..graph import Array

FIXED_ROWS = 1000  # of a memory map, which may be larger than memory
PIECE = 1 << 24  # bytes that are looked at at a time
WORDS = {
    "rows": "{} rows", "row": "rows of the shape {}", "type": "features of the type {}", "scale": "the scale {}",
    "kind": "targets of the kind {}", "classes": "the classes {}", "features": "features", "targets": "targets",
    "weights": "sample_weight", "file": "a file of {} bytes", "look": "a digest of {}",
    "window": "a shuffle within {} rows",
}  # fmt: skip


def digest_of(data: Dataset) -> dict[str, Any]:
    """Names and values, JSON's alone. Of a memory map: its shape, type and file's size, all targets, 1,000 rows.

    Of `Shards` too, without the files' sizes: the same rows in other files are the same data.
    """
    base: Any = data.features
    while isinstance(base, np.ndarray):
        base = base.base
    mapped = isinstance(base, mmap.mmap)
    some = mapped or isinstance(base, Shards)
    rows = np.linspace(0, len(data) - 1, FIXED_ROWS).astype(np.int64) if some else None
    features = data.rows if rows is None else rows_at(data.rows, np.unique(rows))
    values = None if data.class_values is None else [str(value) for value in data.class_values]
    return {
        "rows": len(data),
        "row": list(data.features.shape[1:]),
        "type": f"{'sparse ' * isinstance(features, Sparse)}{features.dtype}",
        "scale": data.scale,
        "kind": data.kind,
        "classes": values or data.classes,
        "targets": of_array(data.targets),
        "weights": None if data.sample_weight is None else of_array(data.sample_weight),
        "file": base.size() if mapped else None,
        "look": f"{len(features)} rows" if some else "all",
        "window": base.window if isinstance(base, Shards) else None,
        "features": of_sparse(features) if isinstance(features, Sparse) else of_array(features),
    }


def of_sparse(rows: Sparse) -> str:
    """A digest of which numbers lie where."""
    first, last = rows.indptr[0], rows.indptr[-1]
    parts = rows.indptr - first, rows.indices[first:last], rows.stored
    return hashlib.sha256("".join(map(of_array, parts)).encode()).hexdigest()[:32]


def of_array(array: Array) -> str:
    """A digest of the bytes, 32 hexadecimal digits."""
    flat, found = np.ascontiguousarray(array).reshape(-1).view(np.uint8), hashlib.sha256()
    for first in range(0, flat.size, PIECE):
        piece = flat[first : first + PIECE]
        whole = piece.size // 4 * 4
        words = np.frombuffer(piece[:whole], np.uint32)
        if not words.flags.writeable or not words.flags.aligned:
            words = words.copy()
        found.update(int(kernels.fingerprint(words)).to_bytes(8, "little"))
        found.update(piece[whole:].tobytes())
    return found.hexdigest()[:32]


def difference(now: dict[str, Any], then: dict[str, Any]) -> str:
    """The first thing that differs, in words; an empty text for none."""
    for name, word in WORDS.items():
        if now.get(name) != then.get(name):
            if "{}" not in word:
                return f"has other {word}"
            return f"has {_in_words(word, now.get(name))}, it had {_in_words(word, then.get(name))}"
    return ""


def _in_words(word: str, value: Any) -> str:
    if value is None:
        return "no file" if "file" in word else word.format("none")
    if word == WORDS["classes"] and isinstance(value, int):
        return f"{value:,} classes"
    return word.format(_short(value))


def _short(value: Any) -> str:
    text = str(tuple(value)) if isinstance(value, list) else f"{value:,}" if isinstance(value, int) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
