"""Activations: y = f(x), number by number. A node, its operation and its module stand together."""

from __future__ import annotations

from .. import check
from ..graph import Tensor
from ..graph.operation import flushed
from ..kernels.activations import (
    leaky_relu_backward,
    leaky_relu_forward,
    relu_backward,
    relu_forward,
    sigmoid_backward,
    sigmoid_forward,
    tanh_backward,
    tanh_forward,
)
from .layer import Elementwise, ElementwiseNode, Layer, elementwise
from .prelu import PReLU


class ReluBackward0(ElementwiseNode):
    """y = max(x, 0)."""

    equation = "dx = dy where y > 0, else 0"
    pair = (relu_forward, relu_backward)
    keeps = {"y": "its sign says where dy passes"}
    twin = "torch.relu"
    twin_saved = {"y": "result"}


@flushed
def relu(x: Tensor) -> Tensor:
    """y = max(x, 0), NaN where x is NaN; the gradient at 0 is 0.    x, y: any shape, float32 or float64

    Error: TypeError for other dtypes. Source: Nair and Hinton, ICML 2010.
    """
    return elementwise("relu", ReluBackward0, x)


class ReLU(Elementwise):
    """y = max(x, 0); the gradient at 0 is 0. Source: Nair and Hinton, ICML 2010."""

    node, function = ReluBackward0, staticmethod(relu)
    formula = "v < 0 ? 0 : v"


class TanhBackward0(ElementwiseNode):
    """y = tanh(x)."""

    equation = "dx = dy (1 - y²)"
    pair = (tanh_forward, tanh_backward)
    keeps = {"y": "the derivative 1 - y² is made from the output, so x is not needed"}
    twin = "torch.tanh"
    twin_saved = {"y": "result"}


@flushed
def tanh(x: Tensor) -> Tensor:
    """y = tanh(x) = (eˣ - e⁻ˣ) / (eˣ + e⁻ˣ).    x, y: any shape, float32 or float64

    Error: TypeError for other dtypes. Source: LeCun et al., Efficient BackProp (1998), 4.4.
    """
    return elementwise("tanh", TanhBackward0, x)


class Tanh(Elementwise):
    """y = tanh(x). Source: LeCun et al., Efficient BackProp (1998), 4.4."""

    node, function = TanhBackward0, staticmethod(tanh)
    formula = "Math.tanh(v)"


class SigmoidBackward0(ElementwiseNode):
    """y = 1 / (1 + e⁻ˣ)."""

    equation = "dx = dy y (1 - y)"
    pair = (sigmoid_forward, sigmoid_backward)
    keeps = {"y": "the derivative y (1 - y) is made from the output, so x is not needed"}
    twin = "torch.sigmoid"
    twin_saved = {"y": "result"}


@flushed
def sigmoid(x: Tensor) -> Tensor:
    """y = 1 / (1 + e⁻ˣ).    x, y: any shape, float32 or float64

    Error: TypeError for other dtypes. Source: Rumelhart, Hinton, Williams, Nature 323 (1986).
    """
    return elementwise("sigmoid", SigmoidBackward0, x)


class Sigmoid(Elementwise):
    """y = 1 / (1 + e⁻ˣ). Source: Rumelhart, Hinton, Williams, Nature 323 (1986)."""

    node, function = SigmoidBackward0, staticmethod(sigmoid)
    formula = "1 / (1 + Math.exp(-v))"


class LeakyReluBackward0(ElementwiseNode):
    """y = x where x > 0, else slope x."""

    equation = "dx = dy where x > 0, else slope dy"
    pair = (leaky_relu_forward, leaky_relu_backward)
    keeps = {"x": "its sign says which slope"}
    twin = "torch.nn.functional.leaky_relu"
    twin_saved = {"x": "self"}


@flushed
def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """y = x where x > 0, else negative_slope x; the gradient at 0 is negative_slope.

    x, y: any shape, float32 or float64

    Error: TypeError for other dtypes. Source: Maas, Hannun, Ng, ICML 2013.
    """
    check.number("leaky_relu: negative_slope", negative_slope)
    return elementwise("leaky_relu", LeakyReluBackward0, x, negative_slope)


class LeakyReLU(Elementwise):
    """y = x where x > 0, else negative_slope x; the gradient at 0 is negative_slope. Source: Maas et al., ICML 2013."""

    node, function = LeakyReluBackward0, staticmethod(leaky_relu)
    numbers = ("negative_slope",)
    formula = "v > 0 ? v : l.negative_slope * v"

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = negative_slope
        self.check()


ACTIVATIONS: dict[str, type[Layer]] = {  # by the names of their operations
    layer.function.__name__: layer for layer in (ReLU, Tanh, Sigmoid, LeakyReLU)
} | {"prelu": PReLU}
