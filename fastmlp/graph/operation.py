"""What every operation shares: how it becomes a node, and how a node guards what it saved."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import kernels
from .tensor import FLOATS, Array, Node, Tensor, is_grad_enabled, result


class GivenUpError(Exception):
    """A pass is given up, on the way; see `interruptible`."""


class _Interruption(threading.local):
    """Who is asked in this thread, before each operation, whether to go on."""

    look: Callable[[], None] | None = None


_interruption = _Interruption()


@contextmanager
def interruptible(look: Callable[[], None]) -> Iterator[None]:
    """Within this, `look` is called before each operation of this thread; what it raises ends the pass."""
    _interruption.look = look
    try:
        yield
    finally:
        _interruption.look = None


class _Packed(threading.local):
    """Weights that are packed already, by the number of their array; None where each is packed when it is used."""

    once: dict[int, Array] | None = None


PACKED = _Packed()


@contextmanager
def packed_once(weights: dict[int, Array]) -> Iterator[None]:
    """Within this, on this thread, a weight that is in `weights` is not packed again, and one that is not comes there.

    For who uses the same weights many times, and changes none meanwhile.
    """
    before, PACKED.once = PACKED.once, weights
    try:
        yield
    finally:
        PACKED.once = before


class Operation(Node):
    """A node of an operation. A subclass has an `equation` and `run(dy)`: one gradient for each input.

    NumPy arrays do not count their changes, so `save` keeps a fingerprint of each array, and `check` compares it
    before `run` uses the array.
    """

    def __init__(self, inputs: tuple[Tensor, ...]) -> None:
        super().__init__(tuple(tensor.gradient_edge() for tensor in inputs))
        self._fingerprints: dict[str, int] = {}

    def save(self, **arrays: Array) -> None:
        """Keep the arrays that `run` will need, by the name they have in the equation."""
        for name, array in arrays.items():
            self.saved[name] = array
            self._fingerprints[name] = _fingerprint(array)

    def check(self) -> None:
        """RuntimeError where a saved array was freed or changed."""
        super().check()
        for name, array in self.saved.items():
            if _fingerprint(array) != self._fingerprints[name]:
                raise RuntimeError(
                    f"{self.name()}: {name} {array.shape} was changed in place after the forward pass saved it; "
                    "its gradient would be wrong. Change arrays after backward, or work on a copy"
                )

    def needs(self, index: int) -> bool:
        """Whether input number `index` wants a gradient."""
        return self.next_functions[index][0] is not None

    checks_itself = True

    def backward(self, dy: Array) -> tuple[Array | None, ...]:
        """`run`, with denormal numbers flushed to zero; dy has the shape and the dtype of the output.

        Errors: ValueError for another dy, also where the output's data was replaced by another shape; those of `check`.
        """
        if _interruption.look is not None:
            _interruption.look()
        self.check()
        if not isinstance(dy, np.ndarray | np.generic) or self.made not in (None, (dy.shape, dy.dtype)):
            given = f"{dy.shape} {dy.dtype}" if isinstance(dy, np.ndarray | np.generic) else type(dy).__name__
            must = " ".join(map(str, self.made or ("an array",)))
            raise ValueError(
                f"{self.name()}: the gradient is {given}; it must be {must}, as what the forward pass made"
            )
        return self._run(dy)

    @kernels.flushed
    def _run(self, dy: Array) -> tuple[Array | None, ...]:
        return self.run(dy)

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        """The equation: fresh arrays, one for each input, None where none is needed."""
        raise NotImplementedError(f"{self.name()} has no run")


def _fingerprint(array: Array) -> int:
    return kernels.fingerprint(kernel_array(array.reshape(-1)).view(np.uint32))


def output(
    kind: type[Operation], inputs: tuple[Tensor, ...], y: Array, save: dict[str, Array] | None = None, **facts: Any
) -> Tensor:
    """The result y of an operation. Where it is recorded, a node of this kind that saved arrays and knows facts."""
    if _interruption.look is not None:
        _interruption.look()
    if not (is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)):
        return Tensor(y)
    node = kind(inputs)
    node.__dict__.update(facts)
    node.save(**(save or {}))
    return result(y, node)


def kernel_array(array: Array) -> Array:
    """The array as kernels take it, C-contiguous and writable; a copy only where it is not.

    A read-only array is another type to Numba, and every kernel would be compiled a second time for it.
    """
    return array if array.flags.carray else np.array(array, order="C")


def same_float(op: str, **tensors: Tensor | Array) -> None:
    """TypeError, in one sentence, unless all tensors are float32 or all are float64."""
    dtypes = {tensor.dtype for tensor in tensors.values()}
    if len(dtypes) != 1 or dtypes.pop() not in FLOATS:
        what = ", ".join(f"{name} is {tensor.dtype}" for name, tensor in tensors.items())
        raise TypeError(f"{op}: {what}; all must be float32, or all float64")


def require_tensor(op: str, value: Any) -> Tensor:
    """The tensor itself; TypeError for anything else."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{op} is {type(value).__name__}; it must be a Tensor: fastmlp.Tensor(array)")
    return value
