"""Wrong arguments for every public name: values that fit nowhere, calls that are right, and what may come of a mix.

`CALLS` has for every public function and class a right call, its arguments by name; `blame` makes one with some of them
replaced and says what is wrong with the error that comes, or nothing.
"""

from __future__ import annotations

import contextlib
import decimal
import fractions
import inspect
import io
import linecache
import math
import os
import re
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import nn, ops, optim
from fastmlp.check import NotInstalledError

HOME = str(Path(fm.__file__).parent)
REFUSALS = (TypeError, ValueError, IndexError, FileNotFoundError, MemoryError, RuntimeError, NotInstalledError)
MOST = 600  # characters of a sentence
CALLER = re.compile(r"[\w.*+/=@-]+(: | is | has )\S")  # of a sentence: "fit: epochs is ..."


class Foreign:
    """A tensor of another library that NumPy cannot read."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on a Tensor that requires grad.\nUse detach().")


class Sparse:
    """What SciPy's sparse matrices have in common: NumPy makes one object of them."""

    def toarray(self):
        return np.eye(8)


class Grim:
    """No text, no truth, no length and no equal."""

    def __repr__(self):
        raise ZeroDivisionError("repr\nof two lines")

    __bool__ = __len__ = __repr__

    def __eq__(self, other):
        raise ZeroDivisionError("eq")

    __hash__ = None


def read_only(shape) -> np.ndarray:
    array = np.ones(shape, np.float32)
    array.flags.writeable = False
    return array


NUMBERS: list[Callable[[], Any]] = [  # each makes a new one, as a call may change what it is given
    *(partial(lambda v: v, v) for v in (
        None, True, False, 0, 1, -1, 0.5, 1.5, -0.5, math.nan, math.inf, -math.inf, 1e308, 1e-320, 1j, -(10**5000),
        -(10**30), np.True_, np.float32("nan"), np.int64(-1), np.uint8(255), np.float16(0.5), np.complex64(1),
        np.datetime64("2001-02-03"),
        decimal.Decimal("0.5"), fractions.Fraction(1, 2),
    )),
]  # fmt: skip
HUGE: list[Callable[[], Any]] = [partial(lambda v: v, v) for v in (2**31 - 1, 2**31, 2**40, 2**63, 10**30, 10**5000)]
THINGS: list[Callable[[], Any]] = [
    *(partial(lambda v: v, v) for v in (
        "", "text", "0", "a\nb", "x" * 10_000, "\0", "\ud800", b"", b"bytes", (), (1,), (1, "a"), frozenset(), Ellipsis,
        NotImplemented, slice(3), range(3), len, math, object, nn.ReLU, optim.Adam, nn.CrossEntropyLoss,
        Path("no/where"),
        memoryview(b"abc"),
    )),
    list, dict, set, object, Foreign, Sparse, Grim,
    lambda: [1, [2, 3]], lambda: ["a", None], lambda: {"a": 1}, lambda: {1, 2}, lambda: (i for i in range(3)),
    lambda: iter([1, 2]), lambda: lambda: None, lambda: lambda *a, **k: None, lambda: [1] * 10_000,
    lambda: bytearray(9),
    lambda: nn.Linear(3, 2), lambda: nn.Sequential(), lambda: nn.MSELoss(), lambda: optim.StepLR(3),
    lambda: fm.History(),
    lambda: fm.Dataset(np.ones((4, 3), np.float32), np.arange(4) % 2), lambda: adam(), lambda: model(),
]  # fmt: skip
ARRAYS: list[Callable[[], Any]] = [
    *(partial(np.ones, shape, kind) for shape, kind in (
        ((), "f4"), ((), "i8"), (0, "f4"), ((0, 3), "f4"), ((4, 0), "f4"), (3, "f4"), ((4, 3), "f4"), ((4, 3), "f8"),
        ((4, 3), ">f4"), ((4, 3), "f2"), ((4, 3), "c8"), ((4, 3), "?"), ((4, 3), "i8"), ((4, 3), "u1"), ((4, 3),
        "m8[s]"),
        ((4, 2, 3), "f4"), ((1,) * 32, "f4"), (4, "i8"), (4, ">i4"), (4, "u8"), ((70, 70), "f4"), (5, "g"),
    )),
    lambda: np.full((4, 3), np.nan, np.float32), lambda: np.full((4, 3), np.inf), lambda: np.full(4, -7),
    lambda: np.full(4, 2**62), lambda: np.array(["a", "b", "c", "d"]), lambda: np.array([b"a"] * 4),
    lambda: np.array([1, "a", None, 2.5], object), lambda: np.array([1, 2, 3, 1], object), lambda: np.array(None),
    lambda: np.zeros(4, [("a", "f4"), ("b", "i4")]), lambda: np.ones((6, 3), np.float32)[::-2], lambda: read_only((4,
    3)),
    lambda: np.ones((3, 4), np.float32).T, lambda: np.broadcast_to(np.float32(1), (4, 3)),
    lambda: np.ma.masked_array(np.ones(4), [0, 1, 0, 0]), lambda: np.frombuffer(bytes(49), np.uint8)[1:].view("f4"),
    lambda: fm.Tensor(np.ones((4, 3), np.float32)), lambda: fm.Tensor(np.ones((4, 3))), lambda: fm.Tensor(np.ones(())),
    lambda: fm.Tensor(np.ones((0, 3), np.float32), True), lambda: fm.Tensor(np.ones((4, 3), np.int64)),
    lambda: fm.Tensor(np.full((4, 3), np.nan, np.float32), True), lambda: fm.Parameter(np.ones((2, 2, 3), np.float32)),
]  # fmt: skip
WRONG = [*NUMBERS, *HUGE, *THINGS, *ARRAYS]


# --- right calls -----------------------------------------------------------------------------------------------------


def model(**options: Any) -> nn.MLP:
    fm.manual_seed(0)
    return nn.MLP(3, (4,), 2, **options)


def adam() -> optim.Adam:
    return optim.Adam(model().parameters())


def rows(seed: int = 0) -> fm.Dataset:
    rng = np.random.default_rng(seed)
    return fm.Dataset(rng.normal(size=(12, 3)).astype(np.float32), np.arange(12) % 2)


def digits() -> fm.Dataset:
    return fm.Dataset((np.arange(12 * 12) % 251).astype(np.uint8).reshape(12, 4, 3), np.arange(12) % 2)


def t(*shape: int, grad: bool = True) -> fm.Tensor:
    return fm.Tensor(np.linspace(0.1, 0.9, math.prod(shape), dtype=np.float32).reshape(shape), grad)


def loss() -> fm.Tensor:
    return ops.mse_loss(model()(t(4, 3)), np.zeros((4, 2)))


def history() -> fm.History:
    return fm.History([fm.Epoch(n, 1 / n, 0.5, 1.5 / n, 0.4, 1.0, 12.0) for n in (1, 2, 3)])


def judged() -> fm.Evaluation:
    return fm.evaluate(model(), rows(), n_threads=1)


@pytest.fixture(autouse=True, scope="module")
def elsewhere(tmp_path_factory):
    """Some of the wrong arguments are names of folders, which are made."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    yield
    os.chdir(before)


class Call(NamedTuple):
    """A right call. huge: the arguments for which a huge number is right, and takes for ever."""

    function: Callable[..., Any]
    arguments: Callable[[], dict[str, Any]] = dict
    huge: tuple[str, ...] = ()

    def places(self, argument: str) -> list[int]:
        """The places in WRONG of what may be tried for this argument."""
        return [place for place, make in enumerate(WRONG) if not (argument in self.huge and make in HUGE)]


class Blame(NamedTuple):
    error: BaseException | None
    words: str  # what is wrong with it; empty where nothing is


def blame(function: Callable[..., Any], arguments: dict[str, Any]) -> Blame:
    """Make the call: the error that came, and what is wrong with it in words."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", UserWarning)  # the package's own, to people
            warnings.filterwarnings("ignore", "overflow|invalid value|divide by zero", RuntimeWarning)  # of numbers
            function(**arguments)
    except Exception as error:
        texts = [value for value in arguments.values() if isinstance(value, str) and len(value) > 1]
        return Blame(error, _fault(error, texts))
    return Blame(None, "")


def quiet(function: Callable[..., Any], arguments: dict[str, Any]) -> Blame:
    """`blame`, without what the call prints."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return blame(function, arguments)


def _fault(error: Exception, given: list[str]) -> str:
    """What is wrong with an error. A sentence may quote a text as it was given: a path, say."""
    said = str(error)
    for text in given:
        said = said.replace(text, "...").replace(repr(text)[1:-1], "...")
    start = f"{type(error).__name__}: {said[:MOST]!r}"
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
        return ""  # NumPy's or the system's own, which say what does not fit, or which path
    if type(error) not in REFUSALS:
        return f"{start} -- of a class that is not documented"
    if len(said) > MOST or not said.isprintable() or not CALLER.match(said):
        return f"{start} -- not one sentence that begins with who was called"
    last = traceback.extract_tb(error.__traceback__)[-1]
    if not last.filename.startswith(HOME):
        return f"{start} -- from {last.filename}:{last.lineno}"
    if not linecache.getline(last.filename, last.lineno).strip().startswith("raise"):
        return f"{start} -- not said by the package: {last.filename}:{last.lineno} {last.line}"
    return ""


def defaults(function: Callable[..., Any], **given: Any) -> Callable[[], dict[str, Any]]:
    """The arguments of a call by their defaults, and `given`, functions that make the value anew."""
    signature = inspect.signature(function)
    plain = {
        name: p.default
        for name, p in signature.parameters.items()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.default is not p.empty
    }
    return lambda: plain | {name: make() for name, make in given.items()}


def of(function: Callable[..., Any], huge: tuple[str, ...] = (), **given: Any) -> Call:
    return Call(function, defaults(function, **given), huge)
