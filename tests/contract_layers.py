"""What an entry of a layer in `contract` has, and the entries of the activations."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import oracles
from strategies import off_kinks

import fastmlp as fm

Options = Mapping[str, Any]


@dataclass(frozen=True)
class LayerTwin:
    """What the twin of a layer gives: y, dx, the parameters' gradients, buffers as they are afterwards."""

    y: Any
    dx: Any
    gradients: Mapping[str, Any] = field(default_factory=dict)
    buffers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LayerEntry:
    """A declared layer.

    options  sets of arguments, by a word for each; all together give every argument another value than its default;
             a function is called with I for the value
    make     (I, O, **options) -> the layer for rows of I numbers; O is for kinds that choose how many they make
    twin     (s, x, dy) -> LayerTwin; s has the layer's arguments, arrays in float64, `training`, `counters`
    points   (rng, shape) -> x where the layer is smooth: for gradient checks
    peer     the name of the class that does the same, with the same arguments
    replay   (s, x) -> y for a layer that draws: the peer's operations on x, with the numbers that the twin draws
    fixed    arguments that take their default alone
    """

    options: Mapping[str, Options] | None = None
    make: Callable[..., fm.nn.Layer] | None = None
    twin: Callable[[Any, Any, Any], LayerTwin] | None = None
    points: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray] | None = None
    peer: str | None = None
    replay: Callable[[Any, Any], Any] | bool = False
    fixed: tuple[str, ...] = ()


def made_by(kind: type[fm.nn.Layer]) -> Callable[..., fm.nn.Layer]:
    """`make` of a kind that takes rows of any length."""
    return lambda I, O, **options: kind(**options)


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """`points` of a kind without kinks."""
    return rng.standard_normal(shape)


def apart(rng: np.random.Generator, shape: tuple[int, ...], *kinks: float) -> np.ndarray:
    """Float64 numbers between -2 and 2, at least 0.01 away from each kink."""
    x = rng.uniform(-2, 2, shape)
    for kink in kinks:
        x = np.where(np.abs(x - kink) < 0.01, x + 0.03, x)
    return x


def _relu(s, x, dy) -> LayerTwin:
    y = oracles.relu(x)
    return LayerTwin(y, oracles.relu_backward(dy, y))


def _leaky_relu(s, x, dy) -> LayerTwin:
    return LayerTwin(oracles.leaky_relu(x, s.negative_slope), oracles.leaky_relu_backward(dy, x, s.negative_slope))


def _tanh(s, x, dy) -> LayerTwin:
    y = oracles.tanh(x)
    return LayerTwin(y, oracles.tanh_backward(dy, y))


def _sigmoid(s, x, dy) -> LayerTwin:
    y = oracles.sigmoid(x)
    return LayerTwin(y, oracles.sigmoid_backward(dy, y))


def _silu(s, x, dy) -> LayerTwin:
    return LayerTwin(oracles.silu(x), oracles.silu_backward(dy, x))


def _mish(s, x, dy) -> LayerTwin:
    return LayerTwin(oracles.mish(x), oracles.mish_backward(dy, x))


def _gelu(s, x, dy) -> LayerTwin:
    return LayerTwin(oracles.gelu(x, s.approximate), oracles.gelu_backward(dy, x, s.approximate))


def _elu(s, x, dy) -> LayerTwin:
    return LayerTwin(oracles.elu(x, s.alpha), oracles.elu_backward(dy, x, s.alpha))


def _selu(s, x, dy) -> LayerTwin:
    constants = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946  # of the paper's published code
    return LayerTwin(oracles.elu(x, *constants), oracles.elu_backward(dy, x, *constants))


def _softplus(s, x, dy) -> LayerTwin:
    options = s.beta, s.threshold
    return LayerTwin(oracles.softplus(x, *options), oracles.softplus_backward(dy, x, *options))


def _hardtanh(s, x, dy) -> LayerTwin:
    ends = s.min_val, s.max_val
    return LayerTwin(oracles.hardtanh(x, *ends), oracles.hardtanh_backward(dy, x, *ends))


ACTIVATIONS: dict[str, LayerEntry] = {
    "ReLU": LayerEntry({"plain": {}}, made_by(fm.nn.ReLU), _relu, off_kinks, "torch.nn.ReLU"),
    "Tanh": LayerEntry({"plain": {}}, made_by(fm.nn.Tanh), _tanh, normal, "torch.nn.Tanh"),
    "Sigmoid": LayerEntry({"plain": {}}, made_by(fm.nn.Sigmoid), _sigmoid, normal, "torch.nn.Sigmoid"),
    "LeakyReLU": LayerEntry(
        options={"plain": {}, "steep": {"negative_slope": 0.3}, "down": {"negative_slope": -0.5}},
        make=made_by(fm.nn.LeakyReLU),
        twin=_leaky_relu,
        points=off_kinks,
        peer="torch.nn.LeakyReLU",
    ),
    "SiLU": LayerEntry({"plain": {}}, made_by(fm.nn.SiLU), _silu, normal, "torch.nn.SiLU"),
    "Mish": LayerEntry({"plain": {}}, made_by(fm.nn.Mish), _mish, normal, "torch.nn.Mish"),
    "GELU": LayerEntry(
        {"plain": {}, "tanh": {"approximate": "tanh"}}, made_by(fm.nn.GELU), _gelu, normal, "torch.nn.GELU"
    ),
    "ELU": LayerEntry({"plain": {}, "steep": {"alpha": 1.7}}, made_by(fm.nn.ELU), _elu, off_kinks, "torch.nn.ELU"),
    "SELU": LayerEntry({"plain": {}}, made_by(fm.nn.SELU), _selu, off_kinks, "torch.nn.SELU"),
    "Softplus": LayerEntry(
        options={"plain": {}, "sharp": {"beta": 3.0, "threshold": 1.5}},  # beta x > threshold from 0.5 on: a jump
        make=made_by(fm.nn.Softplus),
        twin=_softplus,
        points=lambda rng, shape: apart(rng, shape, 0.5),
        peer="torch.nn.Softplus",
    ),
    "Hardtanh": LayerEntry(
        options={"plain": {}, "narrow": {"min_val": -0.5, "max_val": 0.25}},
        make=made_by(fm.nn.Hardtanh),
        twin=_hardtanh,
        points=lambda rng, shape: apart(rng, shape, -1, -0.5, 0.25, 1),
        peer="torch.nn.Hardtanh",
    ),
}
