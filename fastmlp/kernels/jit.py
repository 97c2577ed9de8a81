"""The one decorator of all jitted code: its options, their reasons, and the folder of its cache."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import numba
from numba import types
from numba.core import event

F = TypeVar("F", bound=Callable[..., Any])


def _cache_folder() -> Path | None:
    """A writable folder named by the digest of every kernel source, or None where there is none.

    Numba looks at the file of a function only, not at the files of the functions it calls: after an upgrade of
    one kernel its callers would run the old one. A digest of all sources in the folder's name rules that out.
    `NUMBA_CACHE_DIR`, else `XDG_CACHE_HOME`, else `~/.cache` holds it.
    """
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    try:
        base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(base) / "fastmlp" / digest.hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # a read-only folder, a full disk: known here, not in a kernel
            return folder
    except (OSError, RuntimeError):  # RuntimeError: the user has no home
        return None


CACHE_FOLDER = _cache_folder()
if numba.config.DISABLE_JIT:
    raise ImportError(
        "fastmlp: NUMBA_DISABLE_JIT is set; the register tile and the calls by address are machine code and nothing "
        "else, so the package needs the compiler. To step through one kernel call its py_func: "
        "fastmlp.kernels.relu_forward.py_func(x, y, numbers, 0, y.shape[1])"
    )


def kernel(function: F) -> F:
    """Compile `function` on its first call, for the dtypes of that call.

    - `nogil`: threads run kernels side by side.
    - `error_model="numpy"`: a division gives inf or NaN. The default raises ZeroDivisionError, and its branch keeps
      LLVM from vectorising any loop that divides (the Adam loop is 13 times slower with it).
    - `cache`: compiled once after an install, in `CACHE_FOLDER`; without a writable folder, once a process.
    - `no_cfunc_wrapper`: nothing calls a kernel through a C pointer.
    - No fastmath: it assumes that there is no NaN, and a NaN that a kernel swallows hides a broken run. It also
      leaves the order of a sum to the compiler, and results would differ between machines.
    """
    return _compiled(function)


def inner(function: F) -> F:
    """A `kernel` that only kernels call: without the wrapper for calls from Python, which takes time to compile."""
    return _compiled(function, no_cpython_wrapper=True)


def _compiled(function: F, **options: bool) -> F:
    options |= {"nogil": True, "no_cfunc_wrapper": True}
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(CACHE_FOLDER or "")  # Numba reads it while it decorates, and only then
    try:
        compiled = numba.njit(error_model="numpy", cache=CACHE_FOLDER is not None, **options)(function)
    except RuntimeError:  # a function of nobody's file, typed at a prompt, cannot be cached
        compiled = numba.njit(error_model="numpy", **options)(function)
    finally:
        numba.config.CACHE_DIR = before
    return _for_any_number(compiled)


def _for_any_number(compiled: Any) -> Any:
    """Let calls that differ in a literal share one compilation: else f(x, 0) and f(x, n) are two functions to Numba."""
    template = compiled.get_call_template

    def plain(args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
        return template(tuple(map(types.unliteral, args)), {name: types.unliteral(a) for name, a in kws.items()})

    compiled.get_call_template = plain
    return compiled


class _FirstCompile(event.Listener):
    """Calls `say` once, before the first kernel is compiled (not when one is loaded from the cache)."""

    def __init__(self, say: Callable[[str], None]):
        self.say, self.started = say, 0.0

    def on_start(self, event: event.Event) -> None:
        if not self.started:
            self.started = perf_counter()
            self.say("compiling the kernels (once after an install) ...")

    def on_end(self, event: event.Event) -> None:
        pass


@contextmanager
def announce_compiling(say: Callable[[str], None]) -> Iterator[None]:
    """Within the block, `say` one line when kernels must be compiled, and one with the seconds at the end of it."""
    listener = _FirstCompile(say)
    with event.install_listener("numba:compile", listener):
        yield
    if listener.started:
        say(f"compiled in {perf_counter() - listener.started:.1f} s")
