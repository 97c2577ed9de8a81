"""`Case`: a kernel, its slow float64 twin and the error that rounding explains; `check` holds one to the other.

`kernel_registry` has a case for each kernel, `test_kernels` sends all of them through the same tests.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from strategies import Source

from fastmlp import kernels as k

UNTOUCHED = 7.25  # what outputs hold before a kernel runs
GUARD = 64  # numbers before and after each output that no kernel may touch


def placed(array: np.ndarray, shift: int) -> np.ndarray:
    """A copy that starts `shift` numbers after a 64-byte boundary, with GUARD numbers before and after it."""
    raw = np.full(array.size + 3 * GUARD, UNTOUCHED if array.dtype.kind == "f" else 77, array.dtype)
    start = GUARD + -(raw.__array_interface__["data"][0] // array.itemsize) % (64 // array.itemsize) + shift
    inner = raw[start : start + array.size].reshape(array.shape)
    inner[...] = array
    return inner


def guards(array: np.ndarray) -> np.ndarray:
    """The numbers around an array that `placed` made."""
    raw = array.base
    start = (array.__array_interface__["data"][0] - raw.__array_interface__["data"][0]) // array.itemsize
    return np.concatenate([raw[:start], raw[start + array.size :]])


def same_bits(a, b) -> bool:
    return np.array_equal(np.ascontiguousarray(a).view(np.uint8), np.ascontiguousarray(b).view(np.uint8))


def assert_close(got, want, bound, what: str = "") -> None:
    """|got - want| <= bound, number by number; NaN and infinity exactly where the twin has them."""
    got64 = np.asarray(got, np.float64)
    want, bound = np.broadcast_to(want, got64.shape), np.broadcast_to(bound, got64.shape)
    finite = np.isfinite(want)
    assert np.array_equal(got64[~finite], want[~finite], equal_nan=True), f"{what}: {got64[~finite]}, {want[~finite]}"
    tiny = float(np.finfo(np.asarray(got).dtype).tiny)  # below it numbers have fewer digits
    error, allowed = np.abs(got64[finite] - want[finite]), bound[finite] + 4 * tiny
    worst = (error - allowed).argmax() if error.size else 0
    assert np.all(error <= allowed), f"{what}: error {error[worst]:.3g}, allowed {allowed[worst]:.3g}"


@dataclass(frozen=True)
class Case:
    """One kernel.

    inputs   (source, N, O) -> arrays by name; O is the length of the range
    outputs  shapes by name, in the letters N, D (2 N), O, P (O padded to vectors), B (blocks of O), I, L (lanes) and
             digits; an input that changes in place has its name and shape here too
    run      (all arrays, lo, hi) -> calls the kernel
    twin     (all arrays) -> what outputs must be
    bound    (all arrays, twin's results, eps) -> the largest error of each output
    infinite inputs that may be infinite
    """

    name: str
    inputs: Callable
    outputs: dict
    run: Callable
    twin: Callable
    bound: Callable
    infinite: tuple[str, ...] = ()
    blocked: bool = False  # the range begins at multiples of lanes and is filled by whole vectors
    of_rows: bool = False  # the range is of rows
    wide: tuple[str, ...] = ()  # outputs that are float64 whatever the dtype
    least_rows: int = 1

    def make(self, source: Source, N: int, O: int, shift: int = 0) -> SimpleNamespace:
        N = max(N, self.least_rows)
        arrays = {name: placed(np.asarray(a), shift) for name, a in self.inputs(source, N, O).items()}
        given = frozenset(arrays)
        lanes = k.lanes(source.dtype)
        sizes = {"N": N, "D": 2 * N, "O": O, "P": -(-O // lanes) * lanes, "B": -(-O // lanes), "L": lanes}
        sizes["I"] = arrays["x"].shape[1] if "x" in arrays else 0
        for name, shape in self.outputs.items():
            if name not in arrays:
                lengths = [int(letter) if letter.isdigit() else sizes[letter] for letter in shape]
                dtype = np.float64 if name in self.wide else source.dtype
                arrays[name] = placed(np.full(lengths, UNTOUCHED, dtype), shift)
        tiles = k.tiles(source.dtype)
        return SimpleNamespace(**arrays, N=N, O=O, lanes=lanes, dtype=source.dtype, given=given, tiles=tiles)

    def length(self, a: SimpleNamespace) -> int:
        return a.N if self.of_rows else a.O

    def filled(self, name: str, a: SimpleNamespace, lo: int, hi: int) -> np.ndarray:
        """Which numbers of an output the range [lo, hi) fills."""
        mask, shape = np.zeros(getattr(a, name).shape, bool), self.outputs[name]
        if self.of_rows and shape in ("2N", "3N"):
            mask[:, lo:hi] = True
        elif self.of_rows:
            mask[lo:hi] = True
            if shape[0] == "D":
                mask[a.N + lo : a.N + hi] = True
        elif shape == "BIL":
            mask[lo // a.lanes : -(-hi // a.lanes)] = True
        else:
            mask[..., lo : -(-hi // a.lanes) * a.lanes if "P" in shape else hi] = True
        return mask


def check(case: Case, a: SimpleNamespace, padding: bool = True) -> None:
    """Run the kernel over its whole range and hold it to its twin; without `padding`, that may hold NaN (0 · NaN)."""
    with np.errstate(all="ignore"):
        want = case.twin(a)
        bound = case.bound(a, want, float(np.finfo(a.dtype).eps))
    case.run(a, 0, case.length(a))
    for name in case.outputs:
        real = slice(None) if padding else real_numbers(case, name, a)
        got, expected, allowed = (
            np.broadcast_to(v, getattr(a, name).shape) for v in (getattr(a, name), want[name], bound[name])
        )
        assert_close(got[real], expected[real], allowed[real], f"{case.name}: {name}")
        around = guards(getattr(a, name))
        assert same_bits(around, np.full_like(around, UNTOUCHED)), f"{case.name} wrote outside {name}"


def real_numbers(case: Case, name: str, a: SimpleNamespace) -> np.ndarray:
    """Where an output is not padding."""
    real = np.ones(getattr(a, name).shape, bool)
    if case.outputs[name] == "NP":
        real[:, a.O :] = False
    if case.outputs[name] == "BIL":
        real[-1, :, a.O - (len(real) - 1) * a.lanes :] = False
    return real
