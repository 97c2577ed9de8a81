"""The graph: tensors, the nodes that made them, and the walk back from a loss to the parameters.

A tensor that an operation made holds its node as `grad_fn`. A node holds `next_functions`: for each input of the
operation a pair (node that made the input, index of its output), in order, `(None, 0)` where the input needs no
gradient. That is the whole graph: a directed acyclic graph of Python objects, held alive by the tensor at its end,
which ends in one `AccumulateGrad` for each leaf.

This file knows no operation; they are in `ops`.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .. import check
from ..check import shown
from .hooks import RemovableHandle, replaced, replaced_all

Array = NDArray[Any]
Edge = tuple["Node | None", int]
Hook = Callable[[tuple["Array | None", ...], tuple[Array]], "tuple[Array | None, ...] | None"]
TensorHook = Callable[[Array], "Array | None"]

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))

_mode = threading.local()  # .enabled: does this thread record nodes? absent means yes
_clock = itertools.count()


def is_grad_enabled() -> bool:
    """Whether operations on this thread record nodes."""
    return getattr(_mode, "enabled", True)


@contextmanager
def no_grad() -> Iterator[None]:
    """Within the block, operations on this thread record no nodes: results have `requires_grad` False.

    Serves as a decorator too: `@no_grad()`. Other threads are not affected.
    """
    before = is_grad_enabled()
    _mode.enabled = False
    try:
        yield
    finally:
        _mode.enabled = before


class Node:
    """One operation in the graph: knows how to send a gradient on to the operation's inputs.

    A subclass has the name that PyTorch gives the operation's backward, an `equation`, and `backward(dy)`, which
    returns one array (or None) for each edge in `next_functions`. `saved` holds by name the arrays that the equation
    needs. They are freed when `backward` has run, unless the graph is retained.

    A node explains itself; `explain` and `draw` print what stands here:

    docstring     its first line is the equation of the forward pass
    equation      the equation of the backward pass
    operands      what the equations call the inputs, one letter or name for each edge
    keeps         name of a saved array -> why the backward pass needs it
    keeps_nothing why it can do without, for a node that saves no array
    twin          PyTorch's function whose result has a node of this name
    twin_saved    name of a saved array -> its name in PyTorch's node, there `grad_fn._saved_<name>`
    twin_holds    name of a saved array -> what of it PyTorch's array holds, where that is not the array as it is
    twin_note     what else is so in PyTorch
    output_shape  shape of the tensor that the operation made, as a person sees it
    made          shape and dtype of its array, which its gradient has too
    checks_itself whether `backward` begins with `check`, for who calls it without the walk
    """

    equation = ""
    operands: tuple[str, ...] = ()
    keeps: Mapping[str, str] = {}
    keeps_nothing = ""
    twin = ""
    twin_saved: Mapping[str, str] = {}
    twin_holds: Mapping[str, str] = {}
    twin_note = ""
    output_shape: tuple[int, ...] = ()
    made: tuple[tuple[int, ...], Any] | None = None
    checks_itself = False
    hooks: tuple[RemovableHandle, ...] = ()  # of register_hook
    tensor_hooks: tuple[RemovableHandle, ...] = ()  # of the output tensor's register_hook; a leaf holds its own

    def __init__(self, next_functions: tuple[Edge, ...], saved: dict[str, Array] | None = None) -> None:
        self.next_functions = next_functions
        self.saved: dict[str, Array] = saved or {}
        self.freed = False
        self._freed_shapes: dict[str, tuple[int, ...]] = {}
        self.retained_by: weakref.ref[Tensor] | None = None  # the output tensor, once it asked for retain_grad()
        self.sequence = next(_clock)  # a node is younger than all nodes it can reach

    def name(self) -> str:
        """The node's name, as PyTorch spells it."""
        return type(self).__name__

    def formula(self) -> str:
        """The equation of the forward pass: the first line of the class's docstring."""
        return (type(self).__doc__ or "").strip().partition("\n")[0].rstrip(".").replace("`", "")

    def saved_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of each saved array, also after it was freed."""
        return self._freed_shapes if self.freed else {name: array.shape for name, array in self.saved.items()}

    def register_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(grad_inputs, grad_outputs)` each time this node's backward has run.

        grad_inputs   what the node sends on: one array or None for each edge
        grad_outputs  (dy,): what has arrived, all paths added up

        What the hook returns, unless it is None, is sent on instead of grad_inputs: a tuple with as many entries, each
        None or an array of the shape and dtype that it replaces. `remove()` of the handle ends it.

        Errors: TypeError for a hook that cannot be called; from backward, TypeError or ValueError for a wrong return.
        """
        return RemovableHandle("Node.register_hook", self, "hooks", hook)

    def backward(self, dy: Array) -> tuple[Array | None, ...]:
        """The gradients of the inputs, one for each edge, from that of the output."""
        raise NotImplementedError(f"{self.name()} has no backward")

    def check(self) -> None:
        """Refuse to run on what is no longer there. Subclasses add: or on what has changed."""
        if self.freed:
            raise RuntimeError(
                f"{self.name()}: backward ran through this graph before and freed what its nodes saved; "
                "to run it twice, call backward(retain_graph=True) the first time"
            )

    def release(self) -> None:
        """Free what was saved. A node that saved nothing can run again."""
        if self.saved:
            self._freed_shapes = self.saved_shapes()
            self.saved, self.freed = {}, True

    def __repr__(self) -> str:
        return f"<{self.name()} object at {hex(id(self))}>"


class AccumulateGrad(Node):
    """The end of a path: adds what arrives to `.grad` of its leaf, the `variable`."""

    equation = "variable.grad += dy"
    keeps_nothing = "it holds the leaf itself, as `variable`"
    twin = "a leaf"

    def __init__(self, variable: Tensor) -> None:
        super().__init__(())
        self.variable = variable
        self.output_shape = variable.shape

    def formula(self) -> str:
        """Empty: no operation made a leaf."""
        return ""

    def backward(self, dy: Array) -> tuple[Array | None, ...]:
        """Adds; it has nothing to send on."""
        leaf = self.variable
        if leaf.shape != self.output_shape:  # its array was replaced since
            raise ValueError(
                f"AccumulateGrad: the gradient is {dy.shape}, the leaf's data {leaf.shape}; they must be alike: "
                "data was replaced after the forward pass"
            )
        leaf._grad = np.asarray(dy if leaf._grad is None else leaf._grad + dy)
        return ()


class Tensor:
    """An array and the place it has in the graph.

    data           array-like of any shape. An ndarray is not copied: the tensor and the caller see the same numbers.
                   Python floats become float32, as in PyTorch.
    requires_grad  whether `backward` is to fill `.grad`; float32 and float64 only.

    Errors: TypeError for data that are no numbers; ValueError where requires_grad meets whole numbers.
    """

    _hooks: tuple[RemovableHandle, ...] = ()  # of a leaf's register_hook

    def __init__(self, data: Any, requires_grad: bool = False, *, dtype: DTypeLike | None = None) -> None:
        self._data = _as_array(data, dtype)
        self._grad: Array | None = None
        self.grad_fn: Node | None = None
        self._accumulate: weakref.ref[AccumulateGrad] | None = None  # alive as long as a graph leads to it
        self._requires_grad = False
        self.requires_grad = requires_grad

    @property
    def data(self) -> Array:
        """The NumPy array itself, outside the graph: writing to it changes the tensor.

        It may be set to another of the same dtype. One of another shape is taken, as PyTorch does, with a warning: a
        gradient, an optimizer's state or a plan that was made for the old one is refused then. Error: ValueError for
        another dtype, and for what is no array.
        """
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        if isinstance(value, np.ndarray) and value.dtype == self.dtype and value.shape != self.shape:
            check.warn(
                f"data is {value.shape}; the tensor was {self.shape}: what was made for that shape no longer fits"
            )
            self._data = value
        else:
            self._data = self._like("data", value, "")

    @property
    def grad(self) -> Array | None:
        """d(what `backward` was called on) / d(this tensor): an array of the tensor's shape and dtype, or None.

        It may be set. Error: ValueError for an array of another shape or dtype, and for what is no array.
        """
        return self._grad

    @grad.setter
    def grad(self, value: Array | None) -> None:
        self._grad = None if value is None else self._like("grad", value, ", or None")

    def _like(self, name: str, value: Any, other: str) -> Array:
        """The value, an array of this tensor's shape and dtype."""
        if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.dtype.isnative):
            value = _as_array(value, None)  # NumPy turns arrays without axes into its numbers
        if not isinstance(value, np.ndarray) or value.shape != self._data.shape or value.dtype != self._data.dtype:
            array = isinstance(value, np.ndarray)
            what = f"{value.shape} {value.dtype}" if array else f"{type(value).__name__}"
            article = "" if array else "an array "
            raise ValueError(f"{name} is {what}; it must be {article}{self.shape} {self.dtype}, as the tensor{other}")
        return value

    def hold(self, data: Array, grad: Array | None = None) -> None:
        """Let the tensor hold other arrays, of whatever shape and dtype: `Module.double` and `float` do."""
        self._data = _as_array(data, None)
        self.grad = grad

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient flows to this tensor."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        check.flag(f"{type(self).__name__}: requires_grad", value)
        if value and self._data.dtype not in FLOATS:
            raise ValueError(
                f"requires_grad: the tensor is {self._data.dtype}; only float32 and float64 have gradients"
            )
        if not value and self.grad_fn is not None:
            raise RuntimeError("requires_grad: only a leaf can be switched off; use detach() for the result of an op")
        self._requires_grad = bool(value)

    @property
    def is_leaf(self) -> bool:
        """True where no recorded operation made the tensor: parameters, inputs, results under no_grad()."""
        return self.grad_fn is None

    shape = property(lambda self: self._data.shape, doc="Lengths of the axes, a tuple.")
    ndim = property(lambda self: self._data.ndim, doc="Number of axes.")
    size = property(lambda self: self._data.size, doc="Number of numbers.")
    dtype = property(lambda self: self._data.dtype, doc="NumPy dtype of the numbers.")

    def item(self) -> float:
        """The one number of a tensor of size 1, as a Python number. Error: ValueError for any other size."""
        if self._data.size != 1:
            raise ValueError(f"item: the tensor has shape {self.shape}; it must hold exactly one number")
        return self._data.item()

    def __float__(self) -> float:
        return float(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())

    def numpy(self) -> Array:
        """The same array as `data`. Error: RuntimeError where the tensor requires grad; use detach() first."""
        if self._requires_grad:
            raise RuntimeError("numpy: the tensor requires grad; use tensor.detach().numpy() or tensor.data")
        return self._data

    def detach(self) -> Tensor:
        """A tensor with the same numbers (not a copy) and no place in the graph."""
        return Tensor(self._data)

    def retain_grad(self) -> None:
        """Ask for `.grad` of a tensor that is no leaf. Error: RuntimeError where it requires no gradient."""
        if not self._requires_grad:
            raise RuntimeError("retain_grad: the tensor has requires_grad False, so no gradient reaches it")
        if self.grad_fn is not None:
            self.grad_fn.retained_by = weakref.ref(self)

    def register_hook(self, hook: TensorHook) -> RemovableHandle:
        """Call `hook(grad)` in each backward when the gradient of this tensor is there, all paths added up.

        What the hook returns, unless it is None, takes the gradient's place: an array of its shape and dtype. With a
        leaf that is before it is added to `.grad`. Hooks run in the order in which they came. `remove()` of the handle
        ends it. `fit` on the engine makes no graph, and calls none.

        Errors: RuntimeError where the tensor requires no gradient, TypeError for a hook that cannot be called; from
        backward, TypeError or ValueError for what does not fit.
        """
        if not self._requires_grad:
            raise RuntimeError("register_hook: the tensor has requires_grad False, so no gradient reaches it")
        if self.grad_fn is None:
            return RemovableHandle("Tensor.register_hook", self, "_hooks", hook)
        return RemovableHandle("Tensor.register_hook", self.grad_fn, "tensor_hooks", hook)

    def zero_grad(self) -> None:
        """Forget `.grad`: None, as PyTorch does it, so that the next backward starts anew."""
        self._grad = None

    def gradient_edge(self) -> Edge:
        """The pair that stands for this tensor in the `next_functions` of what is made from it."""
        if not self._requires_grad:
            return (None, 0)
        if self.grad_fn is not None:
            return (self.grad_fn, 0)
        node = self._accumulate() if self._accumulate is not None else None
        if node is None or node.output_shape != self.shape:  # an older graph, of the array before
            node = AccumulateGrad(self)
            self._accumulate = weakref.ref(node)
        return (node, 0)

    def backward(self, gradient: Any = None, retain_graph: bool = False) -> None:
        """Fill `.grad` of every leaf this tensor was made from with d(this tensor) / d(leaf), times `gradient`.

        The walk starts with `gradient` (1 for a tensor of size 1, the loss) and takes the nodes from the youngest to
        the oldest, so that a node runs when all that it feeds has run. Where two paths meet, gradients are added.
        What arrives at a leaf is added to its `.grad`.

        gradient      array of this tensor's shape; needed unless the tensor has one number
        retain_graph  keep what the nodes saved, for a second backward

        Errors: RuntimeError for a tensor that requires no gradient, for a graph whose nodes were freed, and for a
        saved array that was changed in place; TypeError for a gradient that is no numbers, ValueError for one of
        another shape.
        """
        check.flag("backward: retain_graph", retain_graph)
        if not self._requires_grad:
            raise RuntimeError("backward: the tensor does not require grad; nothing it was made from does")
        run_backward(self, self._first_gradient(gradient), retain_graph)

    def _first_gradient(self, gradient: Any) -> Array:
        if gradient is None:
            if self.size != 1:
                raise RuntimeError(
                    f"backward: the tensor has shape {self.shape}; "
                    "a gradient is implied for one number only, so pass gradient="
                )
            return np.ones_like(self._data)
        kind = type(gradient).__name__
        gradient = gradient.data if isinstance(gradient, Tensor) else gradient
        gradient = check.array("backward: gradient", gradient, f"an array {self.shape}")
        if gradient.dtype.kind not in "fiub":
            raise TypeError(f"backward: gradient is {kind}; it must be an array or a Tensor of real numbers")
        gradient = np.array(gradient, dtype=self.dtype)
        if gradient.shape != self.shape:
            raise ValueError(f"backward: gradient is {gradient.shape}, the tensor is {self.shape}; they must agree")
        return gradient

    def __getstate__(self) -> dict[str, Any]:
        """For `copy.deepcopy`: a copy is a leaf of its own; neither gradients nor hooks lead to the original."""
        return {**self.__dict__, "_accumulate": None, "_hooks": ()}

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len: the tensor has no axes")
        return len(self._data)

    def __repr__(self) -> str:
        text = np.array2string(self._data, separator=", ", prefix="tensor(", precision=4, threshold=1000)
        if self._data.dtype != np.float32 and self._data.dtype != np.int64:
            text += f", dtype={self._data.dtype}"
        if self.grad_fn is not None:
            text += f", grad_fn=<{self.grad_fn.name()}>"
        elif self._requires_grad:
            text += ", requires_grad=True"
        return f"tensor({text})"

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    __array_ufunc__ = None  # array * tensor asks the tensor, so that the node is not lost

    def _in_place(self, name: str, other: Any, operation: Any) -> Tensor:
        if is_grad_enabled() and (self._requires_grad or getattr(other, "requires_grad", False)):
            raise RuntimeError(
                f"{name}: a tensor that requires grad cannot be changed in place while nodes are recorded; "
                "do it under no_grad(), or write a new tensor"
            )
        other = other.data if isinstance(other, Tensor) else other
        try:
            operation(self._data, other, out=self._data, casting="same_kind")
        except (TypeError, ValueError) as error:
            array = isinstance(other, np.ndarray)
            what = f"{other.shape} {other.dtype}" if array else f"{type(other).__name__} {shown(other)}"
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(
                f"{name}: the tensor is {self.shape} {self.dtype}, the other operand {what}; "
                "it must be a number or an array that fits into the tensor"
            ) from None
        return self

    def __iadd__(self, other: Any) -> Tensor:
        return self._in_place("+=", other, np.add)

    def __isub__(self, other: Any) -> Tensor:
        return self._in_place("-=", other, np.subtract)

    def __imul__(self, other: Any) -> Tensor:
        return self._in_place("*=", other, np.multiply)

    def __itruediv__(self, other: Any) -> Tensor:
        return self._in_place("/=", other, np.divide)

    if TYPE_CHECKING:  # `ops` gives Tensor these; the graph itself knows no operation

        @property
        def T(self) -> Tensor: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __pow__(self, exponent: float) -> Tensor: ...
        def sum(
            self, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False
        ) -> Tensor: ...
        def mean(
            self, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False
        ) -> Tensor: ...


class Parameter(Tensor):
    """A leaf that a module owns and an optimizer changes: requires grad from the start, contiguous in memory."""

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(np.asarray(_as_array(data, None), order="C"), requires_grad)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


def result(data: Array, node: Node | None) -> Tensor:
    """The output tensor of an operation: `node` made it (None where nothing is recorded)."""
    tensor = Tensor(data)
    if node is not None:
        tensor.grad_fn = node
        node.output_shape, node.made = node.output_shape or tensor.shape, (tensor.shape, tensor.dtype)
        tensor._requires_grad = True
    return tensor


def nodes_of(tensor: Tensor) -> list[Node]:
    """Every node that `tensor` was made with, the youngest first: the order in which backward runs them."""
    root, _ = tensor.gradient_edge()
    found: dict[int, Node] = {}
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node is not None and id(node) not in found:
            found[id(node)] = node
            waiting.extend(edge[0] for edge in node.next_functions)
    return sorted(found.values(), key=_backward_order)


def _backward_order(node: Node) -> tuple[bool, int]:
    """Leaves last; before them the youngest node first."""
    return (isinstance(node, AccumulateGrad), -node.sequence)


def run_backward(tensor: Tensor, gradient: Array, retain_graph: bool) -> None:
    """The walk of `Tensor.backward`, without recursion: a graph may be deeper than Python's stack."""
    root, _ = tensor.gradient_edge()
    assert root is not None
    arrived: dict[int, Array] = {id(root): gradient}
    waiting: list[tuple[tuple[bool, int], Node]] = [(_backward_order(root), root)]
    while waiting:
        _, node = heapq.heappop(waiting)
        dy = arrived.pop(id(node))
        for handle in node.variable._hooks if isinstance(node, AccumulateGrad) else node.tensor_hooks:
            dy = replaced("backward", handle.hook(dy), dy)
        kept = node.retained_by() if node.retained_by is not None else None
        if kept is not None:
            kept._grad = np.array(dy) if kept._grad is None else np.asarray(kept._grad + dy)
        if not node.checks_itself:
            node.check()
        gradients = node.backward(dy)
        for handle in node.hooks:
            gradients = replaced_all(node.name(), handle.hook(gradients, (dy,)), gradients)
        if not retain_graph:
            node.release()
        for (below, _), dx in zip(node.next_functions, gradients, strict=True):
            if below is None or dx is None:
                continue
            if id(below) in arrived:
                arrived[id(below)] = arrived[id(below)] + dx
            else:
                arrived[id(below)] = dx
                heapq.heappush(waiting, (_backward_order(below), below))


def _as_array(data: Any, dtype: DTypeLike | None) -> Array:
    """`data` as a NumPy array of a kind a tensor may hold; no copy of an array that is one already."""
    if isinstance(data, Tensor):
        data = data.data
    if dtype is not None:
        try:
            dtype = np.dtype(dtype)
        except Exception as error:  # NumPy's words for what is no type are of several classes
            raise TypeError(f"Tensor: dtype is {shown(dtype)}; it must be a type of numbers, np.float32") from error
    plain = type(data) is np.ndarray or isinstance(data, np.generic)
    array = data if plain else check.array("Tensor: data", data)
    try:
        array = np.asarray(array, dtype=dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"Tensor: data is {array.dtype}; it must be numbers that {dtype} can hold") from error
    if dtype is None and not isinstance(data, np.ndarray | np.generic) and array.dtype == np.float64:
        array = array.astype(np.float32)  # Python floats: the default dtype, as in PyTorch
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise TypeError(f"Tensor: data has dtype {array.dtype}; it must hold real numbers of at most 8 bytes")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array
