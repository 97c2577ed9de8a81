"""Flush denormal numbers to zero on the calling thread, and undo it."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from .jit import kernel
from .simd import swap_control_word

FLUSH, LOOK = -1, -2  # no control word is negative
F = TypeVar("F", bound=Callable[..., Any])


@kernel
def control_word(word):
    """Put `word` in place of this thread's floating-point control word; returns the one before.

    FLUSH sets that one's bits by which numbers too small to be normal (below 1.2e-38 in float32) count as zero.
    Adam's moments of an input that is always zero decay into such numbers, and each costs a hundred cycles.
    LOOK changes nothing.
    """
    before = swap_control_word(FLUSH)
    if word != FLUSH:
        swap_control_word(before if word == LOOK else word)
    return before


def flushed(function: F) -> F:
    """Run `function` with denormal numbers flushed to zero, as every other run of a kernel does.

    A handler of a signal may raise as soon as a call has ended. So the word is read first, and changed where what
    follows is undone whatever happens; and the call that undoes it is compiled by then.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        word = control_word(LOOK)
        try:
            control_word(FLUSH)
            return function(*args, **kwargs)
        finally:
            control_word(word)

    return run  # type: ignore[return-value]
