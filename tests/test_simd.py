"""The vector code: the same products on every vector unit, no spilled register in the loop, the denormal switch."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import numba
import numpy as np
import oracles
import pytest

from fastmlp import kernels as k
from fastmlp.kernels import control, simd
from fastmlp.kernels.control import FLUSH, LOOK

ROOT = Path(__file__).parent.parent
HOST_FEATURES = llvm.get_host_cpu_features()
X86 = simd.MACHINE.startswith("x86_64")

# name: (NUMBA_CPU_NAME, NUMBA_CPU_FEATURES, what the host needs). Both are set: features add to those of the name.
UNITS = {
    "avx512": (
        "skylake-avx512",
        "+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx2,+fma",
        ("avx512f", "avx512bw", "avx512dq", "avx512vl"),
    ),
    "avx2": ("haswell", "+avx2,+fma", ("avx2", "fma", "bmi2")),
    "sse2": ("x86-64", "+sse2", ("sse2",)),
}
SHAPES = [(1, 1, 1), (2, 3, 5), (7, 17, 33), (9, 1, 20), (13, 40, 100), (5, simd.K_BLOCK + 9, 19)]  # N, I, O


# ---------------------------------------------------------------- other vector units, each in a process of its own


def numbers(dtype, N: int, I: int, O: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(N * 10_000 + I * 100 + O)
    shapes = {"x": (N, I), "weight": (O, I), "dy": (N, O)}
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def products(dtype, N: int, I: int, O: int) -> dict[str, np.ndarray]:
    """pack, the three products and unpack on the vector unit of this process, in plain layout."""
    given = numbers(dtype, N, I, O)
    x, weight = given["x"], given["weight"]
    dy = np.zeros((N, k.padded(O, dtype)), dtype)
    dy[:, :O] = given["dy"]
    w, dw = (k.empty(k.packed_shape(O, I, dtype), dtype) for _ in range(2))
    y, dx = k.empty(dy.shape, dtype), k.empty((N, k.padded(I, dtype)), dtype)
    dweight, back = np.empty_like(weight), np.empty_like(weight)
    k.pack(weight, w, 0, O)
    k.unpack(w, back, 0, O)
    tiles = k.tiles(dtype)
    k.product(x, w, y, tiles, 0, O)
    k.product_dw(x, dy, dw, tiles, 0, O)
    k.unpack(dw, dweight, 0, O)
    k.product_dx(dy, w, k.empty((k.scratch_size(dtype),), dtype), dx, tiles, 0, I)
    return {"y": y[:, :O], "dweight": dweight, "dx": dx[:, :I], "weight": back}


def everything(folder: Path) -> None:
    """What the process of one vector unit writes into `folder`: results, machine code, and the unit it found."""
    results, code = {}, {}
    for dtype in ("float32", "float64"):
        for shape in SHAPES:
            for name, array in products(np.dtype(dtype), *shape).items():
                results[f"{dtype} {shape} {name}"] = array
    for signature, text in k.matmul.tile_addresses.inspect_asm().items():
        code[str(signature[0].dtype)] = text
    np.savez(folder / "results.npz", **results)
    unit = (simd.VECTOR_BYTES, simd.TILE_ROWS, simd.TILE_VECTORS, simd.FUSED)
    (folder / "unit.json").write_text(json.dumps({"unit": unit, "code": code}))


@pytest.fixture(scope="module")
def on_unit(tmp_path_factory):
    """on_unit(name) -> (results, machine code by dtype, vector unit) of a process that was made to use that unit."""
    done = {}

    def run(name: str):
        cpu, features, needed = UNITS[name]
        if not X86:
            pytest.skip(f"{name} is a vector unit of x86-64; this is {simd.MACHINE}")
        if missing := [feature for feature in needed if not HOST_FEATURES.get(feature)]:
            pytest.skip(f"this processor has no {', '.join(missing)}")
        if name not in done:
            folder = tmp_path_factory.mktemp(name)
            environment = os.environ | {
                "NUMBA_CPU_NAME": cpu,
                "NUMBA_CPU_FEATURES": features,
                "NUMBA_CACHE_DIR": str(folder / "cache"),  # of its own: a function from a cache has no asm to look at
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
            }
            script = f"import pathlib, test_simd; test_simd.everything(pathlib.Path({str(folder)!r}))"
            ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
            assert ran.returncode == 0, ran.stderr
            found = json.loads((folder / "unit.json").read_text())
            done[name] = (dict(np.load(folder / "results.npz")), found["code"], tuple(found["unit"]))
        return done[name]

    return run


@pytest.mark.parametrize("name", UNITS)
def test_products_on_every_vector_unit(on_unit, name):
    results, _, unit = on_unit(name)
    assert unit == {"avx512": (64, 8, 3, True), "avx2": (32, 4, 3, True), "sse2": (16, 4, 2, False)}[name]
    for dtype in (np.float32, np.float64):
        eps = np.finfo(dtype).eps
        for shape in SHAPES:
            N, I, O = shape
            given = numbers(dtype, *shape)
            x, weight, dy = given["x"], given["weight"], given["dy"]
            got = {name: results[f"{np.dtype(dtype)} {shape} {name}"] for name in ("y", "dweight", "dx", "weight")}
            for result, (a, b, terms) in {
                "y": (x, weight.T, I),
                "dweight": (dy.T, x, N),
                "dx": (dy, weight, O),
            }.items():
                bound = (terms + 2) * eps * oracles.product(np.abs(a), np.abs(b))  # n eps Σ|terms|
                assert np.all(np.abs(got[result] - oracles.product(a, b)) <= bound), (result, shape)
            assert np.array_equal(got["weight"], weight)


def test_avx512_and_avx2_give_the_same_bits(on_unit):
    """Both fuse, and a number is one chain over k on each: the width of a vector changes nothing."""
    wide, narrow = on_unit("avx512")[0], on_unit("avx2")[0]
    assert wide.keys() == narrow.keys()
    for name, array in wide.items():
        assert array.dtype == narrow[name].dtype
        assert array.tobytes() == narrow[name].tobytes(), name


def test_vector_unit():
    x86, arm = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"
    assert simd.vector_unit(x86, "+sse2,+avx,+avx2,+fma,+avx512f,+avx512vl") == (64, 8, 3, True)
    assert simd.vector_unit(x86, "+sse2,+avx,+avx2,+fma,-avx512f") == (32, 4, 3, True)
    assert simd.vector_unit(x86, "+sse2,+avx,+avx2,-fma,-avx512f") == (16, 4, 2, False)
    assert simd.vector_unit(x86, "+sse2,-avx,-avx2,-fma,-avx512f") == (16, 4, 2, False)
    assert simd.vector_unit(x86, "") == (16, 4, 2, False)
    assert simd.vector_unit(arm, "+neon,+fp-armv8") == (16, 8, 3, True)
    assert simd.vector_unit("arm64-apple-darwin23.0.0", "") == (16, 8, 3, True)
    assert simd.vector_unit("powerpc64le-unknown-linux-gnu", "+altivec") == (16, 4, 2, False)
    for machine, features in ((x86, "+avx512f"), (x86, "+avx2,+fma"), (x86, ""), (arm, "")):
        size, rows, vectors, fused = simd.vector_unit(machine, features)
        registers = 32 if size == 64 or machine == arm else 16
        assert rows * vectors + vectors + 1 + (not fused) <= registers
        assert rows & (rows - 1) == 0  # tiles of fewer rows are its halves


def test_tile_row_counts():
    assert simd.tile_row_counts()[0] == simd.TILE_ROWS
    assert simd.tile_row_counts()[-1] == 1
    assert all(a == 2 * b for a, b in zip(simd.tile_row_counts(), simd.tile_row_counts()[1:], strict=False))


# ---------------------------------------------------------------- the machine code of the tile

STORE = re.compile(r"%[xyz]mm\d+.*,\s*[^\s,]*\([^()]*\)\s*$")  # AT&T order: the last operand is written, here memory
STACK = re.compile(r"\(%rsp[^()]*\).*%[xyz]mm\d+")


def loop_of(code: str, function: str) -> list[str]:
    """The instructions from the loop's label to its backward jump. Fails unless there is exactly one loop."""
    start = code.index(f"\n{function}:")
    lines = code[start : code.index(f".size\t{function},", start)].splitlines()
    labels = {line[:-1]: number for number, line in enumerate(lines) if re.match(r"\.LBB\w+:$", line)}
    loops = []
    for number, line in enumerate(lines):
        jump = re.match(r"\s+j\w+\s+(\.LBB\w+)$", line)
        if jump and labels[jump.group(1)] < number:
            loops.append(lines[labels[jump.group(1)] + 1 : number])
    assert len(loops) == 1, f"{function} has {len(loops)} loops"
    return loops[0]


def spills(loop: list[str]) -> list[str]:
    """Instructions that store a vector register, or fetch one from the stack."""
    return [line for line in loop if STORE.search(line) or STACK.search(line)]


@pytest.mark.parametrize("name", UNITS)
def test_no_vector_register_is_stored_inside_the_k_loop(on_unit, name):
    """Accumulators stay in registers: a spill halves the speed. Every tile shape, both dtypes."""
    _, code, (_, rows, vectors, fused) = on_unit(name)
    assert set(code) == {"float32", "float64"}
    for dtype, text in code.items():
        for r in (rows >> shift for shift in range(rows.bit_length())):
            for v in range(1, vectors + 1):
                loop = loop_of(text, f"fastmlp_tile_{r}x{v}_f{dtype[5:]}")
                assert not spills(loop), (dtype, r, v, spills(loop))
                multiplies = [line for line in loop if re.search(r"\bvfmadd\d+p[sd]" if fused else r"\bmulp[sd]", line)]
                assert len(multiplies) == r * v  # not unrolled, and none is missing


SPILLED = """
fastmlp_tile_2x1_f32:
\tpushq\t%rbx
\tvmovups\t%zmm1, -64(%rsp)
.LBB10_4:
\tvmovups\t(%rdx), %zmm24
\tvfmadd231ps\t(%rdi,%rsi,4){1to16}, %zmm24, %zmm0
PLANT
\tincq\t%r12
\tcmpq\t%r12, %r10
\tjne\t.LBB10_4
\tvmovups\t%zmm0, (%r9)
\tretq
.Lfunc_end10:
\t.size\tfastmlp_tile_2x1_f32, .Lfunc_end10-fastmlp_tile_2x1_f32
"""


def test_a_spill_is_seen():
    """The check itself: stores outside the loop are no matter, one inside is found, in each spelling."""
    assert spills(loop_of(SPILLED.replace("PLANT", "\tnop"), "fastmlp_tile_2x1_f32")) == []
    for planted in (
        "\tvmovups\t%zmm1, -64(%rsp)",
        "\tvmovaps\t%ymm3, 32(%rsp)",
        "\tmovaps\t%xmm15, (%rsp)",
        "\tvmovupd\t%zmm1, (%rdx,%r8,8)",
        "\tvmovdqu64\t%zmm31, 448(%rsp)",
        "\tvextractf128\t$1, %ymm1, 16(%rsp)",
        "\tvmovups\t-64(%rsp), %zmm1",
        "\tvfmadd231ps\t128(%rsp), %zmm24, %zmm0",
    ):
        assert spills(loop_of(SPILLED.replace("PLANT", planted), "fastmlp_tile_2x1_f32")) == [planted]
    for harmless in ("\tvbroadcastss\t(%rdi,%r12,4), %zmm2", "\tmovq\t%rax, -8(%rsp)", "\tvmovaps\t%zmm1, %zmm2"):
        assert spills(loop_of(SPILLED.replace("PLANT", harmless), "fastmlp_tile_2x1_f32")) == []


def test_the_peak_measure_runs():
    """`multiply_add_chains`: chain i is i · factorⁿ + term · Σ factorʲ; here factor 1, so i + n · term in each lane."""

    @numba.njit
    def chains(array, rounds):
        return simd.multiply_add_chains(array, rounds)

    for dtype in (np.float32, np.float64):
        count = simd.TILE_ROWS * simd.TILE_VECTORS
        want = k.lanes(dtype) * (count * (count - 1) / 2 + count * 10 * 0.5)  # whole and half numbers: exact
        assert chains(np.array([1, 0.5], dtype), 10) == want


# ---------------------------------------------------------------- denormal numbers


@numba.njit(error_model="numpy")
def times(array, factor, result):
    for i in range(array.size):
        result[i] = array[i] * factor


@numba.njit
def times_flushed(array, factor, result):
    word = k.control_word(FLUSH)
    times(array, factor, result)
    k.control_word(word)


KNOWN_MACHINE = pytest.mark.skipif(
    not simd.MACHINE.startswith(("x86_64", "i386", "i686", "aarch64", "arm64")),
    reason="the control word of this processor is not known; numbers are left as they are",
)


@KNOWN_MACHINE
@pytest.mark.parametrize(("dtype", "denormal"), [(np.float32, 1e-39), (np.float64, 1e-310)])
def test_denormals_count_as_zero_between_flush_and_restore(dtype, denormal):
    small, result = np.full(20, denormal, dtype), np.empty(20, dtype)
    one, half = dtype(1), dtype(0.5)
    word = k.control_word(FLUSH)
    try:
        times(small, one, result)  # a denormal operand
        operands = result.copy()
        times(np.full(20, np.finfo(dtype).tiny, dtype), half, result)  # a denormal result
        results = result.copy()
    finally:
        k.control_word(word)
    assert not operands.any()
    assert not results.any()
    times(small, one, result)
    assert np.all(result == small)
    assert result[0] > 0


@KNOWN_MACHINE
def test_denormals_are_flushed_inside_a_jitted_function():
    small, result = np.full(20, 1e-39, np.float32), np.ones(20, np.float32)
    times_flushed(small, np.float32(1), result)
    assert not result.any()
    times(small, np.float32(1), result)
    assert np.all(result == small)


@KNOWN_MACHINE
def test_the_control_word_comes_back():
    """FLUSH returns the word before it: nested, the inner pair changes nothing; after the outer, all is as before."""
    outer = k.control_word(FLUSH)
    inner = k.control_word(FLUSH)
    k.control_word(inner)
    still_flushed = k.control_word(FLUSH)
    k.control_word(outer)
    assert outer & simd.FLUSH_BITS != simd.FLUSH_BITS
    assert inner == still_flushed == outer | simd.FLUSH_BITS
    after = k.control_word(LOOK)
    assert after == k.control_word(LOOK)
    # the six lowest bits of x86's word note what happened: inexact, denormal, ...
    assert after & ~0x3F == outer & ~0x3F


def held_too_late(function):
    """`flushed` with the fault that it must not have: what FLUSH has changed is undone from the line after it on."""

    def run():
        word = control.control_word(FLUSH)
        try:
            return function()
        finally:
            control.control_word(word)

    return run


@KNOWN_MACHINE
@pytest.mark.parametrize(
    ("how", "call", "left_on"),
    [(k.flushed, 0, False), (k.flushed, 1, False), (k.flushed, 2, False), (held_too_late, 0, True)],
)
def test_a_signal_leaves_the_switch_as_it_was(monkeypatch, how, call, left_on):
    """A handler raises as soon as a call of compiled code has ended, before its caller has what it returned."""
    real, calls, before = k.control_word, [], k.control_word(LOOK)

    def control_word(word):
        found = real(word)
        calls.append(word)
        if len(calls) == 1 + call:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(control, "control_word", control_word)
    with pytest.raises(KeyboardInterrupt):
        how(lambda: None)()
    assert (real(before) & simd.FLUSH_BITS == simd.FLUSH_BITS) == left_on


@KNOWN_MACHINE
def test_flush_keeps_nan_infinity_and_rounding():
    word = k.control_word(FLUSH)
    try:
        result = np.empty(4)
        times(np.array([np.nan, np.inf, 1 / 3, 1e300]), 3.0, result)
    finally:
        k.control_word(word)
    assert math.isnan(result[0])
    assert result[1] == np.inf
    assert result[2:].tolist() == [1 / 3 * 3, 1e300 * 3]
