"""`Layer`: a module that declares itself, once, for everybody who needs to know of it.

The engine, the report and its page, the file format, `explain` and the tests read what stands on the class; nobody
keeps a list of kinds of their own. A family of layers with one form of kernels has a base: `Elementwise`, `Random`,
`Norm`. A declaration in a user's own file is as good as one of these.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import numpy as np

from .. import check, kernels
from ..check import shown
from ..graph import Array, Parameter, Tensor
from ..graph.operation import Operation, kernel_array, output, require_tensor, same_float
from ..kernels import trial
from . import declared
from . import formula as formulas
from .module import Module

Kernel = Callable[..., Any]
KERNELS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # of a form: those that it needs, those it may have
    "elementwise": (("forward", "evaluate", "backward"), ()),
    "random": (("forward", "evaluate", "backward"), ()),
    "norm": (("forward", "evaluate", "backward"), ("evaluate_backward", "weights")),
    "linear": (("forward", "evaluate", "backward", "weights", "bias_update"), ()),
    "nothing": ((), ()),
}


def declares(thing: Any, method: str, *names: str) -> bool:
    """Whether the class that has the last word on `method` declares one of `names` too, or a class below it does.

    Else the method is another than the one that the declaration speaks of; so it is where the object has its own.
    """
    for kind in type(thing).__mro__:
        if any(name in kind.__dict__ for name in names):
            return method not in thing.__dict__
        if method in kind.__dict__:
            return False
    return False


class Layer(Module):
    """Base of the layers that run on the engine.

    form       of its kernels: "elementwise", "random", "norm" or "linear"; see `kernels.forms`. "nothing" where rows
               (N, columns) come out as they went in: the engine and predictions pass it over
    kernels    the kernels by what they do: forward, evaluate (None: nothing), backward, ... A "norm" may have
               evaluate_backward, the way back of evaluate, to train others while it is in evaluation mode
    numbers    names of the attributes that the kernels get, as float64, in this order
    weights    names of its parameters, in the order in which the kernels take them
    state      names of the arrays that a "norm" keeps, rows of one array; those that are buffers are read and written
    by_rows    whether a thread owns rows of it (it needs whole rows), or columns
    tied       whether a "norm" may have one number for all columns, (1,), in place of (columns,) for each of `weights`:
               its backward makes a gradient for each column all the same, and they are added up, in their order
    absent     numbers that the kernels of a "norm" find in place of `weights` that are None, one for each of them; ()
               where they take as many rows as there are
    least_rows the fewest rows that it can be trained on at once
    arguments  names of its constructor's arguments, as they stand in files
    formula    what it makes of a number v of a row in prediction, as JavaScript of v, Math, erf, the `mean` and the
               biased `variance` of the row, and of its numbers, weights and buffers as l.<name>; an array stands for
               its entry of v's column: "v > 0 ? v : l.weight * v". The exports and `page` are written from it
    page       what it computes in prediction, as JavaScript: a property of an object, (layer, x) => y
    """

    form: ClassVar[str]
    kernels: ClassVar[Mapping[str, Kernel | None]] = {}
    numbers: ClassVar[tuple[str, ...]] = ()
    weights: ClassVar[tuple[str, ...]] = ()
    state: ClassVar[tuple[str, ...]] = ()
    by_rows: ClassVar[bool] = False
    tied: ClassVar[bool] = False
    absent: ClassVar[tuple[float, ...]] = ()
    least_rows: ClassVar[int] = 1
    arguments: ClassVar[tuple[str, ...]] = ()
    formula: ClassVar[str] = ""
    tree: ClassVar[formulas.Tree]
    page: ClassVar[str] = ""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for what in ("numbers", "weights", "state", "arguments"):
            declared.names(cls, what)
        if cls.__dict__.get("kernels") or "form" in cls.__dict__:
            if getattr(cls, "form", None) not in KERNELS:
                given = repr(cls.form) if hasattr(cls, "form") else "missing"
                raise TypeError(f"{cls.__name__}: form is {given}; it must be one of {', '.join(KERNELS)}")
            if "kernels" in cls.__dict__:
                declared.kernels(cls, *KERNELS[cls.form])
        if cls.tied and "weights" in cls.kernels:
            what = "the gradient of one number for all columns is a sum of what backward makes for each of them"
            raise TypeError(f"{cls.__name__}: tied is True, and kernels has weights; it must have none: {what}")
        if "formula" in cls.__dict__:
            cls._read_formula()

    @classmethod
    def _read_formula(cls) -> None:
        """`tree` and `page` from `formula`. Error: TypeError says what is wrong with it."""
        given = (*cls.numbers, *cls.weights, *cls.state)
        try:
            cls.tree = formulas.parse(cls.formula, given)
        except ValueError as error:
            may = ", ".join(("v", *(f"l.{name}" for name in given)))
            raise TypeError(
                f"{cls.__name__}: formula is {shown(cls.formula)} and {error}; it must be JavaScript of {may}, "
                "numbers, Math and erf"
            ) from None
        absent = dict(zip(cls.weights, cls.absent, strict=False))
        arrays = {f"l.{name}": f"at(l.{name}, i, {absent.get(name, 0):g})" for name in (*cls.weights, *cls.state)}
        cls.page = formulas.javascript(cls.__name__, cls.tree, arrays)

    @property
    def passes(self) -> bool:
        """Whether rows come out as they went in, in prediction."""
        return self.form == "nothing" or ("evaluate" in self.kernels and self.kernels["evaluate"] is None)

    def formula_arrays(self) -> dict[str, Array]:
        """The arrays that `formula` names, each (columns,) or, of one number for all columns, (1,) or ()."""
        there, used = self.page_arrays(), set(formulas.names(self.tree))
        there |= {name: np.array(number) for name, number in zip(self.weights, self.absent, strict=False)
                  if name not in there}  # fmt: skip
        return {name: array for name, array in there.items() if f"l.{name}" in used}

    def runs_on_engine(self) -> bool:
        """Whether its kernels say what its `forward` does: not where a subclass has another forward, or a hook."""
        return declares(self, "forward", "kernels", "node")

    def trains_in_evaluation(self) -> bool:
        """Whether its kernels say what it does in evaluation mode while others train: the same, or a backward of it."""
        return self.kernels.get("forward") is self.kernels.get("evaluate") or "evaluate_backward" in self.kernels

    def kernels_to_train(self) -> Mapping[str, Kernel | None]:
        """Those of the mode that it is in: a layer may be frozen in evaluation mode while the others train."""
        if self.training or "evaluate_backward" not in self.kernels:
            return self.kernels
        return {**self.kernels, "forward": self.kernels["evaluate"], "backward": self.kernels["evaluate_backward"]}

    def columns(self, columns: int, place: int) -> int:
        """How many columns it makes of so many; ValueError, with its place among the layers, where they do not fit."""
        return columns

    def check(self) -> None:
        """Refuse options out of range: when it is made, and before each epoch. A subclass adds bounds of its own."""
        dtype = next((parameter.dtype for parameter in self.parameters()), np.float32)
        for name, value in zip(self.numbers, declared.numbers(self), strict=True):
            check.number(f"{type(self).__name__}: {name}", value)
            check.held(f"{type(self).__name__}: {name}", value, dtype)

    def number_array(self) -> Array:
        """`numbers` as the kernels take them."""
        return np.array(declared.numbers(self), np.float64)

    def try_out(self, dtype: Any) -> None:
        """Before a plan trusts it: TypeError where its kernels do not do what its declaration says, as far as seen."""
        if self.form != "linear":
            trial.once(type(self), np.dtype(dtype), lambda: declared.layer(self))

    def engine_parameters(self) -> list[Parameter]:
        """The parameters that it has, in the order of `weights`."""
        found = [getattr(self, name) for name in self.weights]
        return [parameter for parameter in found if parameter is not None]

    def is_tied(self) -> bool:
        """Whether all columns share its parameters, each of which is then one number."""
        return self.tied and all(parameter.shape == (1,) for parameter in self.engine_parameters())

    def counters(self) -> tuple[int, int, int]:
        """(seed, step, layer) of what it draws."""
        return 0, 0, 0

    def trained(self, steps: int) -> None:
        """Take note that the engine has made so many steps with it."""

    def argument(self, name: str) -> Any:
        """The constructor's argument of this name."""
        return getattr(self, name)

    def to_torch(self, peer: Any) -> Any:
        """The module of `peer`, which is `torch.nn`, that computes the same from arrays of the same names."""
        options = inspect.signature(type(self)).parameters  # with PyTorch's defaults: not each release knows them all
        given = {name: self.argument(name) for name in self.arguments}
        given = {name: value for name, value in given.items() if value != options[name].default}
        return getattr(peer, type(self).__name__)(**given)

    @classmethod
    def from_torch(cls, module: Any) -> Self:
        """The layer with the options of a module of `torch.nn` of its name. Errors: those of its constructor."""
        names = [name for name in inspect.signature(cls).parameters if name != "dtype" and hasattr(module, name)]
        given = {name: getattr(module, name) for name in names}
        return cls(**{name: value is not None if name in cls.weights else value for name, value in given.items()})

    def equation(self) -> str:
        """What it computes in prediction, for the report."""
        return "an equation of its own"

    def detail(self) -> str:
        """What else the report says of it: shapes, options."""
        return ""

    def page_numbers(self) -> dict[str, Any]:
        """The numbers that `page` reads beside the arrays."""
        return {name: float(getattr(self, name)) for name in self.numbers}

    def page_arrays(self) -> dict[str, Array]:
        """The arrays that `page` reads."""
        named = {name: getattr(self, name) for name in (*self.weights, *self.state) if hasattr(self, name)}
        return {
            name: array.data if isinstance(array, Parameter) else array
            for name, array in named.items()
            if array is not None
        }

    def extra_repr(self) -> str:
        """As PyTorch prints it."""
        given = ((name, self.argument(name)) for name in self.arguments)
        return ", ".join(f"{name}={value!r}" if isinstance(value, str) else f"{name}={value}" for name, value in given)


class ElementwiseNode(Operation):
    """A node of a kind that works number by number: the pair of kernels, and `keeps`, whose one name is "x" or "y"."""

    pair: ClassVar[tuple[Kernel, Kernel]]
    operands = ("x",)
    numbers: Array

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "pair" in cls.__dict__:
            declared.pair(cls, "elementwise")
        if "keeps" in cls.__dict__:
            declared.keeps(cls, ("x", "y"), 1)

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        (kept,) = self.saved.values()
        return (_filled(self.pair[1], self.numbers, dy, kept),)


def elementwise(name: str, node: type[ElementwiseNode], x: Tensor, *numbers: float) -> Tensor:
    """The operation `name`: checks x, runs the node's forward kernel, and records the node."""
    same_float(name, x=require_tensor(f"{name}: x", x))
    for number in numbers:
        check.held(f"{name}: an option", number, x.dtype)
    options = np.array(numbers, np.float64)
    trial.once(node, (x.dtype, len(numbers)), lambda: declared.elementwise(node, options, x.dtype))
    y = _filled(node.pair[0], options, x.data)
    (kept,) = node.keeps
    return output(node, (x,), y, {kept: y if kept == "y" else kernel_array(x.data)}, numbers=options)


class Elementwise(Layer):
    """Base of the activations: y = f(x), number by number.

    A subclass has `node`, its class of nodes, and `function`, its operation, which takes x and the `arguments`: the
    `numbers`, unless the class names others that its numbers are made from. `formula` is f.
    """

    form = "elementwise"
    node: ClassVar[type[ElementwiseNode]]
    function: ClassVar[Callable[..., Tensor]]

    def __init_subclass__(cls, **options: Any) -> None:
        if "node" in cls.__dict__:
            if not isinstance(cls.node, type) or not issubclass(cls.node, ElementwiseNode):
                raise TypeError(f"{cls.__name__}: node is {shown(cls.node)}; it must be a class of ElementwiseNode")
            declared.pair(cls.node, "elementwise")
            declared.keeps(cls.node, ("x", "y"), 1)
            forward, backward = cls.node.pair
            cls.kernels = {"forward": forward, "evaluate": forward, "backward": backward}
            cls.arguments = cls.__dict__.get("arguments", cls.numbers)
        super().__init_subclass__(**options)

    def __init__(self) -> None:
        super().__init__()
        for what in ("node", "function"):
            if not hasattr(type(self), what):
                must = {"node": "the class of its nodes", "function": "its operation, under staticmethod"}[what]
                raise TypeError(f"{type(self).__name__}: {what} is missing; it must be {must}")

    def try_out(self, dtype: Any) -> None:
        """Its function on a few numbers: the node that it records is the one whose kernels the engine runs."""
        trial.once(type(self), np.dtype(dtype), lambda: self.forward(Tensor(np.ones((2, 3), dtype), True)))

    def forward(self, x: Tensor) -> Tensor:
        """x and the result have one shape."""
        numbers = dict(zip(self.numbers, declared.numbers(self), strict=True))
        given = (numbers[name] if name in numbers else self.argument(name) for name in self.arguments)
        return self._ran(type(self).function(x, *given))

    def _ran(self, y: Any) -> Tensor:
        """The result of `function`; TypeError where another node made it, or one with other numbers."""
        if not isinstance(y, Tensor):
            raise TypeError(f"{type(self).__name__}: its function returns {type(y).__name__}; it must return a Tensor")
        if y.grad_fn is not None and type(y.grad_fn) is not self.node:
            raise TypeError(
                f"{type(self).__name__}: its function records {type(y.grad_fn).__name__}, and its node is "
                f"{self.node.__name__}, whose kernels train; they must be the same"
            )
        if isinstance(y.grad_fn, ElementwiseNode) and not np.array_equal(y.grad_fn.numbers, self.number_array()):
            raise TypeError(
                f"{type(self).__name__}: its function gives its kernels the numbers {y.grad_fn.numbers.tolist()}, and "
                f"its own numbers are {self.number_array().tolist()}, which train; they must be the same"
            )
        return y

    def equation(self) -> str:
        """As its node says it."""
        return (self.node.__doc__ or "").partition("\n")[0].rstrip(".")

    def detail(self) -> str:
        """Its options."""
        return self.extra_repr()


def _filled(kernel: Kernel, numbers: Array, *arrays: Array) -> Array:
    """A fresh array that a number-by-number kernel fills from arrays of one shape."""
    arrays = tuple(kernel_array(array) for array in arrays)
    filled = kernels.empty(arrays[0].shape, arrays[0].dtype)
    rows = as_rows(filled)
    kernel(*(as_rows(array) for array in arrays), rows, numbers, 0, rows.shape[1])
    return filled


def as_rows(array: Array) -> Array:
    """A view of any shape as (N, columns), as kernels want it; a single row where there are less than two axes."""
    if array.ndim == 2:
        return array
    return array.reshape(len(array), -1) if array.ndim > 2 and array.size else array.reshape(1, -1)
