"""Memory that NumPy does not get: within `refused`, an allocation fails as it does where the system has none left.

It is NumPy's own handler of memory that is replaced, by its C interface: any array of this thread may be the one. The
handler is machine code, as Python's may not run where memory is freed on the way of an exception.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numba
import numpy as np
from numba import types

SET_HANDLER = 304  # the place of PyDataMem_SetHandler in NumPy's table of functions, which never changes
ASKED, FAILED, FIRST, LAST, LEAST = range(5)  # of the counts: allocations, failed ones; which fail; of so many bytes

_libc = ctypes.CDLL(None)
_malloc, _calloc, _realloc, _free = _libc.malloc, _libc.calloc, _libc.realloc, _libc.free
for _function, _arguments in ((_malloc, 1), (_calloc, 2), (_realloc, 2), (_free, 1)):
    _function.restype, _function.argtypes = ctypes.c_size_t, [ctypes.c_size_t] * _arguments
_free.restype = None


class _Handler(ctypes.Structure):
    """PyDataMem_Handler."""

    _fields_ = (
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        *((name, ctypes.c_void_p) for name in ("context", "malloc", "calloc", "realloc", "free")),
    )


@numba.njit
def _refuses(counts, size):
    if size < counts[LEAST]:
        return False
    number = counts[ASKED]
    counts[ASKED] += 1
    fails = counts[FIRST] <= number <= counts[LAST]
    counts[FAILED] += fails
    return fails


_one, _counts = types.uintp, types.CPointer(types.int64)


def _to_malloc(counts, size):
    return 0 if _refuses(numba.carray(counts, 5), size) else _malloc(size)


def _to_calloc(counts, n, size):
    return 0 if _refuses(numba.carray(counts, 5), n * size) else _calloc(n, size)


def _to_realloc(counts, at, size):
    return 0 if _refuses(numba.carray(counts, 5), size) else _realloc(at, size)


def _to_free(counts, at, size):
    _free(at)


@cache
def _handler() -> tuple[np.ndarray, object]:
    """(counts, the capsule of a handler); made once, as arrays of it may live until the end of the process."""
    counts = np.zeros(5, np.int64)
    forms = {_to_malloc: 1, _to_calloc: 2, _to_realloc: 2}
    made = [numba.cfunc(_one(_counts, *[_one] * n))(function) for function, n in forms.items()]
    made.append(numba.cfunc(types.void(_counts, _one, _one))(_to_free))
    handler = _Handler(b"of a test", 1, counts.ctypes.data, *(function.address for function in made))
    name = ctypes.create_string_buffer(b"mem_handler")
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p] * 3
    capsule = new(ctypes.addressof(handler), ctypes.addressof(name), None)
    _kept.extend((made, handler, name))
    return counts, capsule


_kept: list[object] = []


def _set_handler(capsule: object) -> object:
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    core = getattr(np, "_core", None) or np.core
    functions = ctypes.cast(pointer(core._multiarray_umath._ARRAY_API, None), ctypes.POINTER(ctypes.c_void_p))
    return ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(functions[SET_HANDLER])(capsule)


@contextmanager
def refused(first: int, more: int = 0, least: int = 1) -> Iterator[np.ndarray]:
    """Within this, NumPy's allocation number `first` of this thread fails, and so many after it; gives the counts.

    least: of so many bytes; smaller ones are not counted and never fail
    """
    counts, capsule = _handler()
    counts[:] = 0, 0, first, first + more, least
    before = _set_handler(capsule)
    try:
        yield counts
    finally:
        _set_handler(before)
        counts[LEAST] = np.iinfo(np.int64).max
