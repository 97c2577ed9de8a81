"""The one decorator of all jitted code: its options, their reasons, and the folder of its cache."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import numba
from llvmlite import binding as llvm
from llvmlite.binding import ffi
from numba import types
from numba.core import event
from numba.core.compiler_lock import global_compiler_lock

from . import guard
from .cache import KernelCache

NUMBA, PACKAGE = numba.__version__, __name__.partition(".")[0]
F = TypeVar("F", bound=Callable[..., Any])


def _cache_folder() -> Path | None:
    """A writable folder named by the digest of every kernel source, or None where there is none.

    Numba looks at the file of a function only, not at the files of the functions it calls: after an upgrade of
    one kernel its callers would run the old one. A digest of all sources in the folder's name rules that out.
    `NUMBA_CACHE_DIR`, else `XDG_CACHE_HOME`, else `~/.cache` holds it. Where there are no sources to read, as in an
    application that was frozen without them, nothing tells one version from another, and so there is no folder.
    """
    try:
        digest, sources = hashlib.sha256(), sorted(Path(__file__).parent.glob("*.py"))
        for source in sources:
            digest.update(source.read_bytes())
        if not sources:
            return None
        base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(base) / "fastmlp" / digest.hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # a read-only folder, a full disk: known here, not in a kernel
            return folder
    except (OSError, RuntimeError, NameError):  # RuntimeError: the user has no home; NameError: this is no file
        return None


CACHE_FOLDER = _cache_folder()
if numba.config.DISABLE_JIT:
    raise ImportError(
        "fastmlp: NUMBA_DISABLE_JIT is set; the register tile and the calls by address are machine code and nothing "
        "else, so the package needs the compiler. To step through one kernel call its py_func: "
        "fastmlp.kernels.relu_forward.py_func(x, y, numbers, 0, y.shape[1])"
    )


class _Trouble:
    """What is wrong with the cache: one sentence a process, as a damaged file is seldom alone, once it can be said."""

    def __init__(self) -> None:
        self.sentence, self.said = "", False
        self.listening: list[tuple[int, Callable[[str], Any]]] = []  # of which process, and how to say it

    def tell(self, sentence: str = "") -> None:
        self.sentence = self.sentence or sentence
        for process, say in self.listening:
            if self.sentence and not self.said and process == os.getpid():
                self.said = True
                say(self.sentence)


trouble = _Trouble()


def kernel(function: F) -> F:
    """Compile `function` on its first call, for the dtypes of that call.

    - `nogil`: threads run kernels side by side.
    - `error_model="numpy"`: a division gives inf or NaN. The default raises ZeroDivisionError, and its branch keeps
      LLVM from vectorising any loop that divides (the Adam loop is 13 times slower with it).
    - `cache`: compiled once after an install, in `CACHE_FOLDER`; without a writable folder, once a process.
    - `no_cfunc_wrapper`: nothing calls a kernel through a C pointer.
    - `boundscheck` in the mode of `guard` alone.
    - `_nrt` off: nobody counts who refers to an array. A kernel looks at each row through a view, and to count those
      took a twentieth of a step of a small net and a quarter of a tiny one's. Who calls holds the arrays. A kernel of
      the package that makes one says so, `allocating`; one of somebody else's may make as many as it wants.
    - No fastmath: it assumes that there is no NaN, and a NaN that a kernel swallows hides a broken run. It also
      leaves the order of a sum to the compiler, and results would differ between machines.
    """
    return _compiled(function)


def allocating(function: F) -> F:
    """A `kernel` of the package that makes arrays."""
    return _compiled(function, _nrt=True)


def inner(function: F) -> F:
    """A `kernel` that only kernels call: without the wrapper for calls from Python, which takes time to compile."""
    return _compiled(function, no_cpython_wrapper=True)


def _compiled(function: F, **options: bool | None) -> F:
    options = {"_nrt": not function.__module__.startswith(f"{PACKAGE}."), "boundscheck": guard.ON or None} | options
    compiled = numba.njit(error_model="numpy", nogil=True, no_cfunc_wrapper=True, **options)(function)
    if CACHE_FOLDER is not None:
        with suppress(OSError):  # a function of nobody's file, typed at a prompt, cannot be cached
            compiled._cache = KernelCache(function, CACHE_FOLDER, trouble.tell)
    return _for_any_number(compiled)


def _for_any_number(compiled: Any) -> Any:
    """Let calls that differ in a literal share one compilation: else f(x, 0) and f(x, n) are two functions to Numba."""
    template = compiled.get_call_template

    def plain(args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
        return template(tuple(map(types.unliteral, args)), {name: types.unliteral(a) for name, a in kws.items()})

    compiled.get_call_template = plain
    return compiled


def processor() -> str:
    """The processor that kernels are compiled for, and the instructions that it has, as LLVM names them."""
    features = sorted(name for name, there in llvm.get_host_cpu_features().items() if there)
    digest = hashlib.sha256(" ".join(features).encode()).hexdigest()[:8]
    return f"{llvm.get_host_cpu_name()} with {len(features)} features ({digest})"


class _FirstCompile(event.Listener):
    """Calls `say` once, before the first kernel is compiled (not when one is loaded from the cache)."""

    def __init__(self, say: Callable[[str], None]):
        self.say, self.started, self.process = say, 0.0, os.getpid()

    def on_start(self, event: event.Event) -> None:
        if not self.started and self.process == os.getpid():  # a forked child has no part in what its parent does
            self.started = perf_counter()
            often = "in every process: no folder can keep them" if CACHE_FOLDER is None else "once after an install"
            self.say(f"compiling the kernels ({often}) ...")

    def on_end(self, event: event.Event) -> None:
        pass


@contextmanager
def announce_compiling(say: Callable[[str], None]) -> Iterator[None]:
    """Within the block, `say` one line when kernels must be compiled, and one with the seconds at the end of it.

    A line too, once a process, where files of the cache cannot be read or written.
    """
    listener = _FirstCompile(say)
    listening = os.getpid(), say
    try:
        trouble.listening.append(listening)
        trouble.tell()
        with event.install_listener("numba:compile", listener):
            yield
    finally:
        trouble.listening.remove(listening)
    if listener.started:
        say(f"compiled in {perf_counter() - listener.started:.1f} s")


def _hold_locks() -> None:
    """Before a fork: wait until no thread compiles or loads a kernel, and let none begin.

    The child gets a copy of the locks and of the compiler, but not the thread that holds the one and is half way
    through the other: without this it waits for ever at its first kernel.
    """
    for lock in COMPILER_LOCKS:
        lock.__enter__()


def _release_locks() -> None:
    for lock in reversed(COMPILER_LOCKS):
        lock.__exit__(None, None, None)


COMPILER_LOCKS = (global_compiler_lock, ffi.lib._lock)  # in the order in which a compilation takes them
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_locks, after_in_parent=_release_locks, after_in_child=_release_locks)
