"""No kernel reads or writes beyond its arrays: between pages without access, and in the mode FASTMLP_GUARD=1.

`fences` runs the very machine code that trains, in every edge shape; `guard_faults` trains in the mode. Each is seen to
fail on planted faults. The long half, all shapes, all kinds and other vector units, is `soak/test_guard.py`.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import fences
import guard_faults
import numpy as np
import pytest

from fastmlp import kernels
from fastmlp.kernels import cache, guard

TESTS = Path(__file__).resolve().parent
posix = pytest.mark.skipif(os.name != "posix", reason="pages are protected by mprotect, which is POSIX's")


# ---------------------------------------------------------------- pages without access


@posix
@pytest.mark.parametrize("part", fences.PARTS)
def test_kernels_stay_within_their_arrays(part, tmp_path):
    status, where, said = fences.run(f"fences.main({part!r}, False)", tmp_path)
    assert status == 0, f"{where}: {said}"
    print(said.strip())


FAR = """
a = fences.fenced(np.zeros((3, 4), np.float32), True)
{fault}
print("still here")
"""
FAULTS = {  # in a: 3 rows of 4 numbers, up to the end of its page
    "writes one number past": "y = np.ndarray((3, 4), np.float32, a.base, fences.PAGE * 2 - 44); "
    "k.relu_forward(np.ones((3, 4), np.float32), y, np.zeros(0), 0, 4)",
    "reads one number past": "x = np.ndarray((3, 4), np.float32, a.base, fences.PAGE * 2 - 44); "
    "k.relu_forward(x, np.ones((3, 4), np.float32), np.zeros(0), 0, 4)",
    "a product of one row too many": "y = fences.fenced(np.zeros((2, 64), np.float32), True); "
    "w = np.zeros(k.packed_shape(64, 4, np.float32), np.float32); k.product(a, w, y, k.tiles(np.float32), 0, 64)",
    "a product that reads one row too many": "dy = fences.fenced(np.zeros((2, 64), np.float32), True); "
    "w = np.zeros(k.packed_shape(64, 4, np.float32), np.float32); k.product_dw(a, dy, w, k.tiles(np.float32), 0, 64)",
}


@posix
@pytest.mark.parametrize("name", FAULTS)
def test_a_fence_ends_the_process_that_reaches_beyond(name, tmp_path):
    status, _, said = fences.run(FAR.format(fault=FAULTS[name]), tmp_path)
    assert status == -signal.SIGSEGV, said
    assert "still here" not in said


# ---------------------------------------------------------------- the mode


def run(mode: str, *faults: str) -> dict[str, str]:
    environment = os.environ | {"FASTMLP_GUARD": mode, "PYTHONPATH": os.pathsep.join([str(fences.ROOT), str(TESTS)])}
    done = subprocess.run(
        [sys.executable, str(TESTS / "guard_faults.py"), *faults], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def guarded() -> dict[str, str]:
    return run("1", *guard_faults.FAULTS)


def test_a_training_in_the_mode_gives_the_same_bits(guarded):
    assert guarded["digest"] == guard_faults.train(guard_faults.sound)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("writes past", "IndexError: index is out of bounds"),
        ("reads past", "IndexError: index is out of bounds"),
        ("writes by address", "RuntimeError: guard: a kernel has written 4 bytes between the places of act, at "),
        ("a product of too few rows", "IndexError: guard: c of a tile reaches beyond its array"),
        ("before a buffer", "RuntimeError: guard: a kernel has written 4 bytes before a buffer of float32 (4,)"),
        ("places that overlap", "RuntimeError: plan: layer 0: "),
    ],
)
def test_the_mode_sees_what_is_planted(guarded, fault, sentence):
    assert guarded[fault].startswith(sentence)


def test_without_the_mode_nothing_is_laid_and_nothing_is_checked():
    assert not guard.ON
    assert (guard.AROUND, guard.APART) == (0, 0)
    array = kernels.zeros((3,), np.float32)
    assert array.base.nbytes == 12 + 64
    guard.look()
    assert guard._laid == {}
    assert guard_faults.said(lambda: guard_faults.train(guard_faults.writes_by_address)) == ""  # which is the danger


# ---------------------------------------------------------------- the guards themselves


def test_guards_are_laid_around_a_buffer_and_between_its_places():
    raw = np.zeros(100, np.uint8)
    array = np.ndarray((2, 8), np.float32, raw, 20)
    guard.around(raw, 20, 84, "it")
    guard.between(array, [(4, 6), (0, 3)], "p")
    free = [*range(20), *range(84, 100)]
    free += [20 + 32 * row + 4 * number + byte for row in (0, 1) for number in (3, 6, 7) for byte in range(4)]
    assert sorted(free) == np.flatnonzero(raw == guard.BYTE).tolist()
    guard.look()
    array[1, 3], raw[99] = 0, 0
    with pytest.raises(RuntimeError, match=r"written 1 bytes after it; 4 bytes between the places of p, at 3$"):
        guard.look()
    guard.look()  # said once
    del array, raw
    assert guard._laid == {}


def test_a_number_of_guards_is_finite():
    for dtype in (np.float32, np.float64):
        assert np.isfinite(np.full(64, guard.BYTE, np.uint8).view(dtype).sum())


# ---------------------------------------------------------------- the cache


def test_code_of_another_mode_is_never_run_from_the_cache(tmp_path):
    """Else who once looked for a fault would keep the slow code for all later runs, and who looks gets the fast one."""
    script = (
        "import numpy as np\nfrom fastmlp import kernels as k\nlines = []\n"
        "with k.announce_compiling(lines.append):\n"
        "    k.relu_forward(np.ones((1, 3)), np.ones((1, 3)), np.zeros(0), 0, 3)\nprint(len(lines))"
    )
    modes = {"FASTMLP_GUARD": "1"}, {"NUMBA_OPT": "0"}, {}
    found = []
    for mode in (*modes, *modes[::2]):
        environment = {name: text for name, text in os.environ.items() if name not in {**modes[0], **modes[1]}}
        environment |= {"PYTHONPATH": str(fences.ROOT), "NUMBA_CACHE_DIR": str(tmp_path), **mode}
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
        found.append(done.stdout.strip() or done.stderr)
    assert found == ["2"] * 3 + ["0"] * 2  # two lines where it is compiled: once in each mode


def test_the_options_that_the_cache_knows_exist():
    import numba

    assert all(hasattr(numba.config, option) for option in cache.OPTIONS)
