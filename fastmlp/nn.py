"""Modules: what owns parameters and maps a tensor to a tensor. Names, arguments and defaults are PyTorch's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from . import ops
from .graph import Array, Parameter, Tensor

_generator = np.random.default_rng()


def manual_seed(seed: int) -> None:
    """Set the seed of what modules draw when they are made: initial weights, and the seeds of dropout layers.

    Error: ValueError for a seed that is no whole number of at least 0.
    """
    global _generator
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"manual_seed: seed is {seed!r}; it must be a whole number of at least 0")
    _generator = np.random.default_rng(seed)


class Module:
    """Base of all modules. A subclass sets parameters and submodules as attributes and defines `forward`.

    `parameters()`, `state_dict()` and the rest find them by attribute, in the order they were set.
    """

    training: bool

    def __init__(self) -> None:
        self.__dict__.update(training=True, _parameters={}, _buffers={}, _modules={})

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
        for parameter in self.parameters():
            parameter.data = parameter.data.astype(dtype)
            parameter.grad = None if parameter.grad is None else parameter.grad.astype(dtype)
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
        own = self.state_dict()
        given = {name: np.asarray(getattr(array, "data", array)) for name, array in state_dict.items()}
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


class Linear(Module):
    """y = x weightᵀ + bias.    x: (N, in_features)  weight: (out_features, in_features)  bias: (out_features,)

    weight and bias start uniform in ±1 / √in_features. Error: ValueError for lengths below 1.
    Source: PyTorch's documentation of torch.nn.Linear; LeCun et al., Efficient BackProp (1998), 4.6.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, dtype: DTypeLike = np.float32) -> None:
        super().__init__()
        self.in_features = _count("Linear: in_features", in_features)
        self.out_features = _count("Linear: out_features", out_features)
        bound = 1 / np.sqrt(in_features)
        self.weight = Parameter(_generator.uniform(-bound, bound, (out_features, in_features)).astype(dtype))
        self.bias = Parameter(_generator.uniform(-bound, bound, out_features).astype(dtype)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, in_features) -> (N, out_features)."""
        return ops.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """As PyTorch prints it."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class ReLU(Module):
    """y = max(x, 0); the gradient at 0 is 0. Source: Nair and Hinton, ICML 2010."""

    def forward(self, x: Tensor) -> Tensor:
        """x and the result have one shape."""
        return ops.relu(x)


class Tanh(Module):
    """y = tanh(x). Source: LeCun et al., Efficient BackProp (1998), 4.4."""

    def forward(self, x: Tensor) -> Tensor:
        """x and the result have one shape."""
        return ops.tanh(x)


class Sigmoid(Module):
    """y = 1 / (1 + e⁻ˣ). Source: Rumelhart, Hinton, Williams, Nature 323 (1986)."""

    def forward(self, x: Tensor) -> Tensor:
        """x and the result have one shape."""
        return ops.sigmoid(x)


class Dropout(Module):
    """In training, each number is 0 with probability p, else divided by 1 - p; in evaluation, nothing happens.

    The mask is a function of (seed, step, layer, row, column). `step` grows by one with each forward in training.
    `seed` is drawn when the module is made, after `manual_seed`; `layer` tells layers of one seed apart. All three
    may be set.

    Error: ValueError for p outside [0, 1]. Source: Srivastava et al., JMLR 15 (2014).
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p is {p}; it is a probability and must lie in [0, 1]")
        self.p = p
        self.seed, self.step, self.layer = int(_generator.integers(2**63)), 0, 0

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, ...) -> the same shape."""
        y = ops.dropout(x, self.p, self.training, seed=self.seed, step=self.step, layer=self.layer)
        if self.training:
            self.step += 1
        return y

    def extra_repr(self) -> str:
        """As PyTorch prints it."""
        return f"p={self.p}"


class BatchNorm1d(Module):
    """y = weight (x - mean) / √(variance + eps) + bias, each column on its own.    x, y: (N, num_features)

    In training with the batch's mean and biased variance, which also move the running ones:
    running ← (1 - momentum) running + momentum batch (the variance unbiased). In evaluation with the running ones.
    weight starts at 1, bias at 0. The buffers are running_mean, running_var and num_batches_tracked.

    Errors: ValueError for x of another shape, for one row in training, for momentum outside [0, 1] or eps <= 0.
    Source: Ioffe and Szegedy, ICML 2015; PyTorch's documentation of torch.nn.BatchNorm1d.
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, dtype: DTypeLike = np.float32
    ) -> None:
        super().__init__()
        self.num_features = _count("BatchNorm1d: num_features", num_features)
        if not eps > 0 or not 0 <= momentum <= 1:
            raise ValueError(f"BatchNorm1d: eps is {eps}, momentum is {momentum}; they must be above 0 and in [0, 1]")
        self.eps, self.momentum = eps, momentum
        self.weight = Parameter(np.ones(num_features, dtype))
        self.bias = Parameter(np.zeros(num_features, dtype))
        self.register_buffer("running_mean", np.zeros(num_features, dtype))
        self.register_buffer("running_var", np.ones(num_features, dtype))
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64))

    running_mean: Array
    running_var: Array
    num_batches_tracked: Array

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, num_features) -> the same shape."""
        y = ops.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=self.training,
            momentum=self.momentum,
            eps=self.eps,
        )
        if self.training:
            self.num_batches_tracked += 1
        return y

    def extra_repr(self) -> str:
        """As PyTorch prints it."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


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

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __getitem__(self, index: int) -> Module:
        return list(self._modules.values())[index]


ACTIVATIONS: dict[str, type[Module]] = {"relu": ReLU, "tanh": Tanh, "sigmoid": Sigmoid}


class MLP(Sequential):
    """A multi-layer perceptron: for each hidden width Linear, [BatchNorm1d], activation, [Dropout]; then Linear.

    in_features   inputs of a row
    hidden        widths of the hidden layers; empty for softmax regression
    out_features  classes
    activation    "relu", "tanh" or "sigmoid"
    dropout       p of the dropout after each hidden layer; 0 for none
    batch_norm    whether each hidden layer is normalised before its activation

    Errors: ValueError for widths below 1, an unknown activation, dropout outside [0, 1].
    """

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        out_features: int,
        activation: str = "relu",
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ValueError(f"MLP: activation is {activation!r}; it must be one of {', '.join(ACTIVATIONS)}")
        layers: list[Module] = []
        width = in_features
        for hidden_width in hidden:
            layers.append(Linear(width, hidden_width))
            if batch_norm:
                layers.append(BatchNorm1d(hidden_width))
            layers.append(ACTIVATIONS[activation]())
            if dropout:
                layers.append(Dropout(dropout))
            width = hidden_width
        super().__init__(*layers, Linear(width, out_features))


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")
    return int(value)
