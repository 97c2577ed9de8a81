"""Flush denormal numbers to zero on the calling thread, and undo it."""

from .jit import kernel
from .simd import swap_control_word


@kernel
def flush_denormals():
    """From here on, numbers too small to be normal (below 1.2e-38 in float32) count as zero on this thread.

    Adam's moments of an input that is always zero decay into such numbers, and each costs a hundred cycles.
    Returns the control word to give back to `restore_denormals`.
    """
    return swap_control_word(-1)


@kernel
def restore_denormals(word):
    """Put the control word that `flush_denormals` returned back in place."""
    swap_control_word(word)
