"""Compiled kernels in files: one whole file each, with a digest of its content, and never a reason to end a training.

Numba's own cache keeps an index and numbered files. What is damaged in it ends every later run with whatever `pickle`
raises, or runs as machine code; and two processes that compile one function for two types at once may give both the
same number. Here a file is named by all that its machine code depends on, and is checked before it is trusted.

The result of a compilation has no other form than Numba's, which is pickled. It lies in the user's own cache folder and
nowhere else: no file that is given from hand to hand, such as weights or a run, holds a pickle.
"""

import hashlib
import os
import pickle
import secrets
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core.caching import FunctionCache
from numba.core.compiler import CompileResult
from numba.core.runtime import rtsys
from numba.core.serialize import dumps

from . import guard

DIGEST = hashlib.sha256().digest_size
VERSIONS = (numba.__version__, llvmlite.__version__, sys.version_info[:3])
# What changes the machine code and Numba's own key leaves out: who once ran with NUMBA_OPT=0 would keep the slow code.
OPTIONS = ("BOUNDSCHECK", "DEBUGINFO_DEFAULT", "OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE")
MODE = guard.ON, *(str(getattr(numba.config, option, None)) for option in OPTIONS)


class KernelCache(FunctionCache):
    """The machine code of one function, a file for each signature and processor.

    folder   where the files lie; made again where it was deleted
    trouble  called with a sentence where a file cannot be read or written. It is then compiled, and goes on without

    A file is the SHA-256 digest of the rest and the rest: the key, and Numba's result of a compilation. It is written
    beside its place and moved there, so another process finds it whole or not at all.
    """

    def __init__(self, function: Callable[..., Any], folder: Path, trouble: Callable[[str], Any]) -> None:
        self._py_func, self._name, self._cache_path = function, repr(function), str(folder)
        self._folder, self._trouble = folder, trouble
        code = function.__code__
        status = os.stat(code.co_filename)
        self._source = code.co_filename, status.st_mtime_ns, status.st_size
        self._ours = Path(code.co_filename).parent == Path(__file__).parent
        name = f"{Path(code.co_filename).stem}.{function.__qualname__}-{code.co_firstlineno}"
        self._prefix = "".join(c if c.isalnum() or c in "._-" else "" for c in name)
        self.enable()

    def flush(self) -> None:
        """Forget every signature."""
        for path in self._folder.glob(f"{self._prefix}.*.nbc"):
            path.unlink(missing_ok=True)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled function for a signature, or None where there is no file of it that can be trusted."""
        if self._ours:
            rtsys.initialize(target_context)  # reference counts are all that these kernels need of Numba
        else:
            target_context.refresh()  # every type and function that Numba knows: a third of a second
        path, key = self._place(sig, target_context.codegen())
        if path is None:
            return None
        try:
            content = path.read_bytes()
            if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
                raise ValueError("its digest is not that of its content")
            kept, result = pickle.loads(content[DIGEST:])
            return CompileResult._rebuild(target_context, *result) if kept == key else None
        except FileNotFoundError:
            return None
        except Exception as error:  # whatever unpickling and LLVM raise: what cannot be loaded is compiled
            self._trouble(f"{path} cannot be read ({error}); what is damaged in it is compiled again")
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write a compiled function down."""
        path, key = self._place(sig, data.codegen)
        if path is None or data.lifted or data.library.has_dynamic_globals:
            return
        partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}.partial")
        try:
            content = dumps((key, data._reduce()))
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                partial.write_bytes(hashlib.sha256(content).digest() + content)
                partial.replace(path)
            except BaseException:
                with suppress(OSError):
                    partial.unlink()
                raise
        except Exception as error:  # a full disk, a folder that may not be written any more
            self._trouble(f"{path} cannot be written ({error}); what is compiled now is compiled again next time")

    def _place(self, sig: Any, codegen: Any) -> tuple[Path | None, Any]:
        """(the file of a signature, all that its content depends on); no file where an address is part of that."""
        key = VERSIONS, MODE, self._source, self._index_key(sig, codegen)
        name = repr((VERSIONS, MODE, self._source[0], sig, codegen.magic_tuple()))  # an edit replaces the file
        if not self._enabled or " at 0x" in name:
            return None, key
        return self._folder / f"{self._prefix}.{hashlib.sha256(name.encode()).hexdigest()[:16]}.nbc", key
