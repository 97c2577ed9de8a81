"""`Module`: what owns parameters and maps a tensor to a tensor. Names, arguments and defaults are PyTorch's."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from .. import check
from ..check import shown
from ..graph import Array, Parameter, Tensor

_generator = np.random.default_rng()
_mode = threading.local()  # set within the block of `evaluating`
_aside: ContextVar[np.random.Generator | None] = ContextVar("_aside", default=None)  # of this thread, in `undrawn`
_seeded: ContextVar[np.random.Generator | None] = ContextVar("_seeded", default=None)  # of this thread, in `seeded`
_PIECE = 1 << 20  # numbers that are drawn together, in float64


def generator() -> np.random.Generator:
    """What modules draw from when they are made."""
    return _aside.get() or _seeded.get() or _generator


def uniform(bound: float, shape: Any, dtype: DTypeLike) -> Array:
    """An array of numbers drawn in ±bound; of zeros within `undrawn`. The float64 numbers are there piece by piece."""
    drawn = np.zeros(shape, dtype)
    flat = drawn.reshape(-1)
    for start in range(0, flat.size if _aside.get() is None else 0, _PIECE):
        piece = flat[start : start + _PIECE]
        piece[...] = generator().uniform(-bound, bound, piece.size)
    return drawn


@contextmanager
def undrawn() -> Iterator[None]:
    """Within this, modules are made with zeros where they would draw: who makes them has other numbers for them.

    What they draw all the same, such as the seed of a dropout, comes from a copy: the generator stands where it stood.
    """
    before = _aside.get()
    try:
        _aside.set(copy.deepcopy(generator()))
        yield
    finally:
        _aside.set(before)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within this, on this thread, modules draw as after `manual_seed(seed)`; what others draw from stays as it is."""
    before = _seeded.get()
    try:
        _seeded.set(np.random.default_rng(seed))
        yield
    finally:
        _seeded.set(before)


def manual_seed(seed: int) -> None:
    """Set the seed of what modules draw when they are made: initial weights, and the seeds of dropout layers.

    Error: ValueError for a seed that is no whole number of at least 0.
    """
    global _generator
    check.whole("manual_seed: seed", seed, 0)
    _generator = np.random.default_rng(seed)


@contextmanager
def evaluating() -> Iterator[None]:
    """Within the block, on this thread, `training` is False in every module; none is touched.

    So a model is asked while another thread trains it or asks it: `eval()` and `train()` would set a mode that all
    threads see. As `no_grad()`, other threads are not affected, also those that a forward starts.
    """
    before = getattr(_mode, "evaluating", False)
    _mode.evaluating = True
    try:
        yield
    finally:
        _mode.evaluating = before


class Module:
    """Base of all modules. A subclass sets parameters and submodules as attributes and defines `forward`.

    `parameters()`, `state_dict()` and the rest find them by attribute, in the order they were set. `classes_` are the
    values of the classes that the outputs stand for, (C,) int64, bool or str, which `fit` sets; None where they are
    0 .. C - 1, and where there are none. `loss_` is the loss that `fit` trained it by, which says what the outputs
    mean; it is no submodule. `encoding_` says how the columns of a table become the inputs, of a model that `fit` has
    trained on one. `temperature_` is what `calibrate` has found: probabilities are those of
    outputs / it.
    """

    classes_: Array | None = None
    loss_: Any = None
    encoding_: Any = None
    temperature_: float = 1.0

    def __init__(self) -> None:
        self.__dict__.update(training=True, _parameters={}, _buffers={}, _modules={})

    @property
    def training(self) -> bool:
        """Whether the module is in training mode: what `train` or `eval` has set, but False within `evaluating()`."""
        return bool(self.__dict__["training"]) and not getattr(_mode, "evaluating", False)

    @training.setter
    def training(self, mode: bool) -> None:
        self.__dict__["training"] = mode

    def forward(self, x: Tensor) -> Tensor:
        """The output for the input x."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, x: Tensor) -> Tensor:
        return self.forward(x)

    def __setattr__(self, name: str, value: Any) -> None:
        if "_parameters" not in self.__dict__:
            raise RuntimeError(f"{type(self).__name__}: call super().__init__() before you set {name}")
        if name in self._parameters and value is not None and not isinstance(value, Parameter):
            raise TypeError(f"{type(self).__name__}: {name} is a Parameter; {type(value).__name__} cannot replace it")
        home: dict[str, Any] | None = None
        if isinstance(value, Parameter):
            home = self._parameters
        elif isinstance(value, Module):
            home = self._modules
        elif isinstance(value, np.ndarray) and name in self._buffers:
            home = self._buffers
        for kind in (self._parameters, self._buffers, self._modules):
            if kind is not home:
                kind.pop(name, None)
        if home is not None:
            home[name] = value  # a name that was there keeps its place in the order
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        for kind in (self._parameters, self._buffers, self._modules):
            kind.pop(name, None)
        object.__delattr__(self, name)

    def keep_loss(self, loss: Any) -> None:
        """Let `loss_` be the loss, or None."""
        object.__setattr__(self, "loss_", loss)

    def register_buffer(self, name: str, array: Array) -> None:
        """An array that belongs to the state but is not trained, such as a running mean."""
        if name not in self._buffers:
            setattr(self, name, None)  # whatever had the name gives it up
        self._buffers[name] = array
        setattr(self, name, array)

    _parameters: dict[str, Parameter]
    _buffers: dict[str, Array]
    _modules: dict[str, Module]

    def children(self) -> Iterator[Module]:
        """The submodules, one level down."""
        yield from self._modules.values()

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(name, module) for this module, named `prefix`, and all below it: "0", "1.linear"."""
        yield prefix, self
        for name, module in self._modules.items():
            yield from module.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """This module and all below it."""
        for _, module in self.named_modules():
            yield module

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(name, parameter) for each parameter once: "0.weight", "0.bias", ..."""
        seen: set[int] = set()
        for prefix, module in self.named_modules():
            for name, parameter in module._parameters.items():
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield (f"{prefix}.{name}" if prefix else name), parameter

    def parameters(self) -> Iterator[Parameter]:
        """A generator of the parameters of this module and of all below it: leaves with requires_grad."""
        for _, parameter in self.named_parameters():
            yield parameter

    def named_buffers(self) -> Iterator[tuple[str, Array]]:
        """(name, array) of the state that is not trained: "1.running_mean", ..."""
        for prefix, module in self.named_modules():
            for name, array in module._buffers.items():
                yield (f"{prefix}.{name}" if prefix else name), array

    def train(self, mode: bool = True) -> Self:
        """Training behaviour (dropout drops, batch norm uses the batch) for this module and all below it."""
        check.flag("train: mode", mode)
        for module in self.modules():
            module.__dict__["training"] = bool(mode)
        return self

    def eval(self) -> Self:
        """Evaluation behaviour: `train(False)`."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Set `.grad` of every parameter to None."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def _to(self, dtype: DTypeLike) -> Self:
        for module in self.modules():
            for name in getattr(module, "numbers", ()):  # of a layer
                check.held(f"{type(module).__name__}: {name}", getattr(module, name), dtype)
        for parameter in self.parameters():
            grad = None if parameter.grad is None else parameter.grad.astype(dtype)
            parameter.hold(parameter.data.astype(dtype), grad)
        for module in self.modules():
            for name, array in list(module._buffers.items()):
                if array.dtype.kind == "f":
                    module.register_buffer(name, array.astype(dtype))
        return self

    def double(self) -> Self:
        """Parameters and buffers become float64, in new arrays; the Parameter objects stay."""
        return self._to(np.float64)

    def float(self) -> Self:
        """Parameters and buffers become float32, in new arrays; the Parameter objects stay."""
        return self._to(np.float32)

    def state_dict(self) -> dict[str, Array]:
        """Name -> array of every parameter and buffer. These are the arrays themselves: copy them to keep a state."""
        state: dict[str, Array] = {}
        for prefix, module in self.named_modules():
            owned = {name: parameter.data for name, parameter in module._parameters.items()} | module._buffers
            state |= {(f"{prefix}.{name}" if prefix else name): array for name, array in owned.items()}
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> None:
        """Copy the arrays of `state_dict` into this module's arrays, which stay the same objects.

        With strict=False, keys that one side lacks are passed over. Nothing is copied unless all can be.
        Error: RuntimeError that lists the missing, unexpected and misshapen keys.
        """
        if not isinstance(state_dict, Mapping):
            kind = type(state_dict).__name__
            raise TypeError(
                f"load_state_dict: state_dict is {kind}; it must be a dict of arrays, as state_dict() gives"
            )
        check.flag("load_state_dict: strict", strict)
        own = self.state_dict()
        given = {
            name: check.array(
                f"load_state_dict: {name}", array if isinstance(array, np.ndarray) else getattr(array, "data", array)
            )
            for name, array in state_dict.items()
        }
        faults = []
        if strict:
            if missing := sorted(own.keys() - given.keys()):
                faults.append(f"missing: {', '.join(missing)}")
            if unexpected := sorted(given.keys() - own.keys()):
                faults.append(f"unexpected: {', '.join(unexpected)}")
        shared = [name for name in own if name in given]
        if misshapen := [
            f"{name} is {given[name].shape} and must be {own[name].shape}"
            for name in shared
            if given[name].shape != own[name].shape
        ]:
            faults.append(f"misshapen: {', '.join(misshapen)}")
        if no_numbers := [f"{name} is {given[name].dtype}" for name in shared if given[name].dtype.kind not in "fiub"]:
            faults.append(f"not numbers: {', '.join(no_numbers)}")
        if faults:
            raise RuntimeError(f"load_state_dict: {type(self).__name__} does not fit; {'; '.join(faults)}")
        for name in shared:
            own[name][...] = given[name]

    def extra_repr(self) -> str:
        """The module's arguments, for `repr`."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): {module!r}".replace("\n", "\n  ") for name, module in self._modules.items()]
        inside = "\n  ".join(lines)
        return f"{type(self).__name__}({self.extra_repr()}" + (f"\n  {inside}\n)" if lines else ")")


class Sequential(Module):
    """Modules one after the other; keys of the state are "0.weight", "0.bias", "2.weight", ...

    Error: TypeError for an argument that is no Module.
    """

    def __init__(self, *modules: Module) -> None:
        super().__init__()
        for index, module in enumerate(modules):
            if not isinstance(module, Module):
                raise TypeError(f"Sequential: argument {index} is {type(module).__name__}; it must be a Module")
            setattr(self, str(index), module)

    def forward(self, x: Tensor) -> Tensor:
        """The output of the last module."""
        for module in self._modules.values():
            x = module(x)
        return x

    def flat(self) -> list[Module] | None:
        """The modules, those of Sequentials within in their place; None where a subclass does something else."""
        if type(self).forward is not Sequential.forward or self._parameters or self._buffers:
            return None
        found: list[Module] = []
        for module in self.children():
            inner = module.flat() if isinstance(module, Sequential) else [module]
            if inner is None:
                return None
            found += inner
        return found

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __getitem__(self, index: int) -> Module:
        """The module at a place, counted from the end where it is below 0. Errors: TypeError, IndexError."""
        if not isinstance(index, int | np.integer | slice) or isinstance(index, bool):
            raise TypeError(f"{type(self).__name__}: the index is {shown(index)}; it must be a whole number or a slice")
        if not isinstance(index, slice) and not -len(self) <= index < len(self):
            raise IndexError(f"{type(self).__name__}: module {index} is asked for; it has {len(self)}, counted from 0")
        return list(self._modules.values())[index]
