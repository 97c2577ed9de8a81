"""First numbers of parameters, in place: what `torch.nn.init` has for an MLP, by its names, and LeCun's two.

Each function fills a tensor with numbers from the generator that `manual_seed` sets, and returns the tensor. A weight
is (out, in): fan_in is in and fan_out is out; each is multiplied by the lengths of further axes, as in PyTorch.

    nn.init.kaiming_normal_(layer.weight)
    nn.init.zeros_(layer.bias)

Errors: TypeError for what is no tensor of float32 or float64; ValueError for numbers out of range, and for a tensor
with less than two axes where a fan is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import check
from ..check import shown
from ..graph import FLOATS, Array, Tensor
from .module import generator

PIECE = 1 << 20  # numbers that are drawn together, in float64
CUT = 2.0  # lecun_normal_ draws nothing further away, in standard deviations before the cut
LEFT = math.sqrt(1 - 2 * CUT * math.exp(-CUT * CUT / 2) / math.sqrt(2 * math.pi) / math.erf(CUT / math.sqrt(2)))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor of the spread that keeps a signal's size through an activation, with PyTorch's names and values.

    linear, sigmoid 1    tanh 5/3    relu √2    leaky_relu √(2 / (1 + param²)), param 0.01 if None    selu 3/4

    Error: ValueError for another name. Source: PyTorch's documentation of torch.nn.init.calculate_gain.
    """
    known = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}
    if isinstance(nonlinearity, str) and nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        check.number("calculate_gain: param", slope)
        return math.sqrt(2 / (1 + float(slope) ** 2)) if abs(slope) < 1e150 else math.sqrt(2) / abs(float(slope))
    if not (isinstance(nonlinearity, str) and nonlinearity in known):
        names = ", ".join(sorted([*known, "leaky_relu"]))
        raise ValueError(f"calculate_gain: nonlinearity is {shown(nonlinearity)}; it must be one of {names}")
    return known[nonlinearity]


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """tensor ~ U(a, b). Source: PyTorch's documentation of torch.nn.init."""
    check.number("uniform_: a", a)
    check.number("uniform_: b", b)
    if a > b:
        raise ValueError(f"uniform_: a is {a} and b is {b}; a must not be above b")
    return _fill("uniform_", tensor, lambda rng, n: rng.uniform(a, b, n))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """tensor ~ N(mean, std²). Source: PyTorch's documentation of torch.nn.init."""
    check.number("normal_: mean", mean)
    check.number("normal_: std", std, 0)
    return _fill("normal_", tensor, lambda rng, n: rng.normal(mean, std, n))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """tensor = val. Source: PyTorch's documentation of torch.nn.init."""
    check.number("constant_: val", val)
    return _fill("constant_", tensor, lambda rng, n: np.full(n, val))


def zeros_(tensor: Tensor) -> Tensor:
    """tensor = 0. Source: PyTorch's documentation of torch.nn.init."""
    return _fill("zeros_", tensor, lambda rng, n: np.zeros(n))


def ones_(tensor: Tensor) -> Tensor:
    """tensor = 1. Source: PyTorch's documentation of torch.nn.init."""
    return _fill("ones_", tensor, lambda rng, n: np.ones(n))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """tensor ~ U(-b, b),  b = gain √(6 / (fan_in + fan_out)).

    Source: Glorot and Bengio, AISTATS 2010, (16).
    """
    return _uniform("xavier_uniform_", tensor, _xavier("xavier_uniform_", tensor, gain))


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """tensor ~ N(0, std²),  std = gain √(2 / (fan_in + fan_out)).

    Source: Glorot and Bengio, AISTATS 2010, (12), with a normal distribution.
    """
    return _normal("xavier_normal_", tensor, _xavier("xavier_normal_", tensor, gain))


def kaiming_uniform_(tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """tensor ~ U(-b, b),  b = gain √(3 / fan),  gain = calculate_gain(nonlinearity, a).

    a is the negative slope of leaky_relu, and 0 is ReLU; mode "fan_in" keeps the size of a signal on its way forward,
    "fan_out" that of its gradient. Source: He, Zhang, Ren, Sun, Delving Deep into Rectifiers, ICCV 2015, (10), (14).
    """
    return _uniform("kaiming_uniform_", tensor, _kaiming("kaiming_uniform_", tensor, a, mode, nonlinearity))


def kaiming_normal_(tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """tensor ~ N(0, std²),  std = gain / √fan,  gain = calculate_gain(nonlinearity, a).

    The arguments are those of `kaiming_uniform_`. Source: He, Zhang, Ren, Sun, ICCV 2015, (10), (14).
    """
    return _normal("kaiming_normal_", tensor, _kaiming("kaiming_normal_", tensor, a, mode, nonlinearity))


def lecun_uniform_(tensor: Tensor) -> Tensor:
    """tensor ~ U(-b, b),  b = √(3 / fan_in).

    PyTorch has none; the name is that of JAX and Keras. Source: LeCun et al., Efficient BackProp (1998), 4.6, (16).
    """
    return _uniform("lecun_uniform_", tensor, math.sqrt(1 / _fans("lecun_uniform_", tensor)[0]))


def lecun_normal_(tensor: Tensor) -> Tensor:
    """tensor ~ N(0, s²) without what is further from 0 than 2 s;  s such that the variance is 1 / fan_in.

    PyTorch has none; JAX and Keras cut in the same place. Source: LeCun et al., Efficient BackProp (1998), 4.6, (16).
    """
    std = math.sqrt(1 / _fans("lecun_normal_", tensor)[0]) / LEFT

    def drawn(rng: np.random.Generator, n: int) -> Array:
        numbers = rng.normal(size=n)
        while len(far := np.flatnonzero(np.abs(numbers) > CUT)):
            numbers[far] = rng.normal(size=len(far))
        return std * numbers

    return _fill("lecun_normal_", tensor, drawn)


def orthogonal_(tensor: Tensor, gain: float = 1) -> Tensor:
    """tensor tensorᵀ = gain² 1 where there are no more rows than columns, else tensorᵀ tensor = gain² 1.

    q of normal numbers = q r, with signs that make each such matrix as likely; axes behind the first count as columns.
    Source: Saxe, McClelland, Ganguli, ICLR 2014; Mezzadri, How to Generate Random Matrices (2007).
    """
    check.number("orthogonal_: gain", gain)
    _fans("orthogonal_", tensor)
    check.held("orthogonal_: gain", gain, tensor.dtype)
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    q, r = np.linalg.qr(generator().normal(size=(max(rows, columns), min(rows, columns))))
    q = q * np.where(np.diagonal(r) < 0, -float(gain), float(gain))
    tensor.data[...] = (q if rows >= columns else q.T).reshape(tensor.shape)
    return tensor


METHODS: dict[str, Callable[[Tensor], Tensor]] = {  # of a weight, by the names that `MLP(init=...)` takes
    "he": kaiming_normal_,
    "xavier": xavier_uniform_,
    "lecun": lecun_normal_,
    "orthogonal": orthogonal_,
}


def _checked(caller: str, tensor: Any) -> Tensor:
    if not isinstance(tensor, Tensor) or tensor.dtype not in FLOATS:
        given = str(tensor.dtype) if isinstance(tensor, Tensor) else type(tensor).__name__
        raise TypeError(f"{caller}: tensor is {given}; it must be a Tensor or Parameter of float32 or float64")
    return tensor


def _fill(caller: str, tensor: Tensor, draw: Callable[[np.random.Generator, int], Array]) -> Tensor:
    """The tensor, filled piece by piece."""
    flat, size, rng = _checked(caller, tensor).data.flat, tensor.data.size, generator()
    for start in range(0, size, PIECE):
        end = min(start + PIECE, size)
        flat[start:end] = draw(rng, end - start)
    return tensor


def _uniform(caller: str, tensor: Tensor, std: float) -> Tensor:
    """Uniform with this spread: that of U(-b, b) is b / √3."""
    check.held(f"{caller}: the spread of the numbers", std, _checked(caller, tensor).dtype)
    bound = math.sqrt(3) * std
    return _fill(caller, tensor, lambda rng, n: rng.uniform(-bound, bound, n))


def _normal(caller: str, tensor: Tensor, std: float) -> Tensor:
    check.held(f"{caller}: the spread of the numbers", std, _checked(caller, tensor).dtype)
    return _fill(caller, tensor, lambda rng, n: rng.normal(0, std, n))


def _fans(caller: str, tensor: Any) -> tuple[int, int]:
    """(fan_in, fan_out)."""
    shape = _checked(caller, tensor).shape
    if len(shape) < 2 or not all(shape):
        raise ValueError(f"{caller}: tensor is {shape}; it must be a weight, (out, in), as a fan is asked for")
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def _xavier(caller: str, tensor: Tensor, gain: float) -> float:
    check.number(f"{caller}: gain", gain, 0)
    return gain * math.sqrt(2 / sum(_fans(caller, tensor)))


def _kaiming(caller: str, tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    fans = dict(zip(("fan_in", "fan_out"), _fans(caller, tensor), strict=True))
    if not (isinstance(mode, str) and mode in fans):
        raise ValueError(f"{caller}: mode is {shown(mode)}; it must be 'fan_in' or 'fan_out'")
    check.number(f"{caller}: a", a)
    return calculate_gain(nonlinearity, a) / math.sqrt(fans[mode])
