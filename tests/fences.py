"""Arrays between pages that may not be touched: the very machine code that trains ends the process where it reaches
beyond an array, be it to read one number.

`fenced` makes them. `products`, `tiles` and `registry` run kernels on nothing else, in every edge shape, in a process
of their own: `run` starts it, and says where it ended.
"""

import ctypes
import mmap
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import kernel_cases
import numpy as np
from strategies import Source

from fastmlp import kernels as k
from fastmlp.kernels.jit import kernel
from fastmlp.kernels.linear import PIECE
from fastmlp.kernels.simd import K_BLOCK, TILE_VECTORS, multiply_tile, tile_row_counts

ROOT = Path(__file__).resolve().parent.parent
PAGE, LIBC = mmap.PAGESIZE, ctypes.CDLL(None, use_errno=True)
DTYPES = (np.float32, np.float64)
ENDS = (True, False)  # the array ends where a fence begins, or begins where one ends
WHERE = "FASTMLP_TEST_WHERE"  # the file in which the process says what it is at


def fenced(array: np.ndarray, end: bool) -> np.ndarray:
    """A copy that ends at a page without access, or begins behind one; on its other side there is one too."""
    room = max(-(-array.nbytes // PAGE), 1) * PAGE
    pages = mmap.mmap(-1, room + 2 * PAGE)
    raw = np.frombuffer(pages, np.uint8)
    start = raw.__array_interface__["data"][0]
    for fence in (start, start + PAGE + room):
        if LIBC.mprotect(ctypes.c_void_p(fence), ctypes.c_size_t(PAGE), 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    inner = np.ndarray(array.shape, array.dtype, raw, PAGE + (room - array.nbytes if end else 0))
    inner[...] = array
    return inner


# ---------------------------------------------------------------- the three products, and the way into blocks and back


@dataclass(frozen=True)
class Product:
    """make(source, N, I, O) -> arrays by name; run(arrays, tiles, lo, hi)."""

    make: Callable[[Source, int, int, int], dict[str, np.ndarray]]
    run: Callable[[SimpleNamespace, np.ndarray, int, int], None]
    of_inputs: bool = False  # the range is of inputs, not of outputs


def wide(s: Source, rows: int, columns: int) -> np.ndarray:
    """Padded to whole vectors."""
    return s.array(rows, k.padded(columns, s.dtype))


def packed(s: Source, I: int, O: int) -> np.ndarray:
    return s.array(*k.packed_shape(O, I, s.dtype))


PRODUCTS = {
    "product": Product(
        lambda s, N, I, O: {"x": s.array(N, I), "w": packed(s, I, O), "y": wide(s, N, O)},
        lambda a, tiles, lo, hi: k.product(a.x, a.w, a.y, tiles, lo, hi),
    ),
    "product_dw": Product(
        lambda s, N, I, O: {"x": s.array(N, I), "dy": wide(s, N, O), "dw": packed(s, I, O)},
        lambda a, tiles, lo, hi: k.product_dw(a.x, a.dy, a.dw, tiles, lo, hi),
    ),
    "product_dx": Product(
        lambda s, N, I, O: {
            "dy": wide(s, N, O), "w": packed(s, I, O), "dx": wide(s, N, I),
            "scratch": np.zeros(k.scratch_size(s.dtype), s.dtype),
        },
        lambda a, tiles, lo, hi: k.product_dx(a.dy, a.w, a.scratch, a.dx, tiles, lo, hi),
        of_inputs=True,
    ),
    "pack": Product(
        lambda s, N, I, O: {"weight": s.array(O, I), "w": packed(s, I, O)},
        lambda a, tiles, lo, hi: k.pack(a.weight, a.w, lo, hi),
    ),
    "unpack": Product(
        lambda s, N, I, O: {"weight": s.array(O, I), "w": packed(s, I, O)},
        lambda a, tiles, lo, hi: k.unpack(a.w, a.weight, lo, hi),
    ),
}  # fmt: skip


def edges(lanes: int, most: int) -> list[int]:
    """1, and one less and one more than each number of whole vectors, up to `most` of them."""
    return sorted({1, 2} | {v * lanes + off for v in range(1, most + 1) for off in (-1, 0, 1)} - {0})


def cuts(length: int, lanes: int) -> list[tuple[int, int]]:
    """All of a range, and its pieces at every number of whole vectors: from the start, to the end."""
    places = range(lanes, length, lanes)
    return [(0, length), *((0, at) for at in places), *((at, length) for at in places)]


def products(long: bool) -> Iterator[tuple[str, Callable[[bool], None]]]:
    """(what it is, a run with arrays that end at a fence or begin there) of all products in all edge shapes."""
    for dtype in DTYPES:
        lanes, tiles = k.lanes(dtype), k.tiles(dtype)
        rows = range(1, 18) if long else (1, 2, 3, 7, 9)
        few, many = edges(lanes, 2 if long else 1), edges(lanes, 2 * TILE_VECTORS + 1 if long else TILE_VECTORS + 1)
        shapes = [(N, I, O) for N in rows for I in few for O in many]
        shapes += [(N, I, O) for N in rows for I in many for O in few]
        deep = [n + off for n in (PIECE, K_BLOCK) for off in (-1, 0, 1)] + [2 * K_BLOCK + 1] * long
        shapes += [shape for n in deep for shape in ((n, 3, lanes + 1), (3, n, lanes + 1), (3, lanes + 1, n))]
        for name, one in PRODUCTS.items():
            for N, I, O in shapes:
                length = I if one.of_inputs else O
                pieces = cuts(length, lanes) if length < PIECE else [(0, length)]

                def run(end: bool, one=one, N=N, I=I, O=O, pieces=pieces, dtype=dtype, tiles=tiles) -> None:
                    made = one.make(Source(dtype, 0), N, I, O)
                    a = SimpleNamespace(**{name: fenced(array, end) for name, array in made.items()})
                    for lo, hi in pieces:
                        one.run(a, tiles, lo, hi)

                yield f"{name} {np.dtype(dtype)} N {N} I {I} O {O}", run


# ---------------------------------------------------------------- the tile itself: another one is another entry


@kernel
def dense_tile(tiles, rows, vectors, a, a_row, a_col, b, b_row, b_vector, c, c_row, c_vector, K, accumulate):
    """c = a b, or +=, as `multiply_tile` has it, from the first number of each array on."""
    multiply_tile(
        tiles, rows, vectors, a, 0, a_row, a_col, b, 0, b_row, b_vector, c, 0, c_row, c_vector, K, accumulate
    )  # fmt: skip


TILES: dict[str, Callable[..., None]] = {"dense": dense_tile}


def strided(shape: tuple[int, ...], steps: tuple[int, ...]) -> np.ndarray:
    """The places of an array of this shape in flat memory, no longer than it must be."""
    return sum(np.arange(n).reshape([-1 if i == axis else 1 for i in range(len(shape))]) * step
               for axis, (n, step) in enumerate(zip(shape, steps, strict=True)))  # fmt: skip


def multiply(call: Callable[..., None], dtype, rows: int, vectors: int, K: int, gap: int, end: bool) -> None:
    """One tile on arrays of just the numbers that it needs, rows or columns of a side by side, held to NumPy."""
    lanes, table, rng = k.lanes(dtype), k.tiles(dtype), np.random.default_rng(0)
    columns = vectors * lanes
    c_steps = (columns + gap, lanes)
    for a_steps, b_steps in product(
        ((K + gap, 1), (1, rows + gap)), ((columns + gap, lanes), (lanes, K * lanes + gap))
    ):
        places = (
            strided((rows, K), a_steps), strided((K, vectors, lanes), (*b_steps, 1)),
            strided((rows, vectors, lanes), (*c_steps, 1)),
        )  # fmt: skip
        flat = [rng.uniform(-1, 1, int(place.max()) + 1).astype(dtype) for place in places]
        a, b, c = (fenced(one, end) for one in flat)
        A, B, C = (one[place].astype(np.float64) for one, place in zip(flat, places, strict=True))
        for accumulate in (0, 1):
            call(table, rows, vectors, a, *a_steps, b, *b_steps, c, *c_steps, K, accumulate)
            C = A @ B.reshape(K, columns) + accumulate * C.reshape(rows, columns)
            error = np.abs(c[places[2]].reshape(rows, columns) - C)
            assert (error <= (2 * K + 2) * np.finfo(dtype).eps * 2 * K).all()  # n eps Σ|terms|; a term is at most 1


def tiles(long: bool) -> Iterator[tuple[str, Callable[[bool], None]]]:
    """Each tile in each of its shapes."""
    depths = range(1, 12) if long else (1, 2, 5)
    shapes = DTYPES, TILES, tile_row_counts(), range(1, TILE_VECTORS + 1), depths, (0, 1, 5)
    for dtype, name, rows, vectors, K, gap in product(*shapes):
        run = partial(multiply, TILES[name], dtype, rows, vectors, K, gap)
        yield f"{name} tile {np.dtype(dtype)} {rows} x {vectors} vectors, K {K}, gap {gap}", run


# ---------------------------------------------------------------- every kernel that has a case


def registry(long: bool) -> Iterator[tuple[str, Callable[[bool], None]]]:
    """Each case of `kernel_registry`."""
    from kernel_registry import CASES

    for dtype in DTYPES:
        lanes = k.lanes(dtype)
        for case in CASES:
            for N in range(1, 10) if long else (1, 3, 9):
                for O in edges(lanes, TILE_VECTORS + 1) if long else (1, lanes - 1, lanes, lanes + 1):

                    def run(end: bool, case=case, N=N, O=O, dtype=dtype) -> None:
                        kernel_cases.placed = lambda array, shift: fenced(array, end)
                        a = case.make(Source(dtype, 0), N, O)
                        length, step = case.length(a), a.lanes if case.blocked else 1
                        middle = length // 2 // step * step
                        for lo, hi in [(0, length), (0, middle), (middle, length)]:
                            if hi > lo:
                                case.run(a, lo, hi)

                    yield f"{case.name} {np.dtype(dtype)} N {N} O {O}", run


def others(long: bool) -> Iterator[tuple[str, Callable[[bool], None]]]:
    """Kernels without a range that take rows and bits of somebody else."""
    for kind in (np.uint8, *DTYPES):
        for dtype in DTYPES:
            for N in (1, 2, 5):
                for I in (*range(1, 20), *edges(k.lanes(dtype), 4)) if long else (1, 3, k.lanes(dtype)):

                    def run(end: bool, kind=kind, dtype=dtype, N=N, I=I) -> None:
                        rows, order = fenced(np.ones((6, I), kind), end), fenced(np.array([5, 0, 3, 5, 1][:N]), end)
                        x = fenced(np.zeros((N, k.padded(I, dtype)), dtype), end)
                        k.gather(rows, order, 0, 2.0, x)
                        source = fenced(np.array([rows.ctypes.data, *rows.shape, rows[0].nbytes]), end)
                        k.GATHER[np.dtype(kind)](source, order, 0, 2.0, x)
                        assert (x[:, :I] == 2).all()
                        k.fingerprint(fenced(np.ones(I, np.uint32), end))

                    yield f"gather {np.dtype(kind)} to {np.dtype(dtype)} N {N} I {I}", run


PARTS = {"products": products, "tiles": tiles, "registry": registry, "others": others}


def main(part: str, long: bool) -> None:
    """What the process does: everything, and before each piece it says in the file WHERE what it is."""
    count = 0
    with open(os.environ[WHERE], "w", buffering=1) as where:
        for what, run in PARTS[part](long):
            for end in ENDS:
                where.seek(0)
                where.write(f"{what}, {'at the end' if end else 'at the beginning'} of a page".ljust(200))
                run(end)
                count += 1
    print(f"{part}: {count} runs between fences")


def run(script: str, folder: Path, timeout: int = 600, **variables: str) -> tuple[int, str, str]:
    """(exit status, where it was, what it said) of a process that runs a script; `fences` and NumPy are imported."""
    where = folder / "where.txt"
    where.write_text("nowhere")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), WHERE: str(where)}
    code = f"import numpy as np, fences\nfrom fastmlp import kernels as k\n{script}"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment | variables, capture_output=True, text=True, timeout=timeout
    )
    return done.returncode, where.read_text().strip(), done.stdout + done.stderr
