"""Activations: y = f(x), number by number. A node, its operation and its module stand together."""

from __future__ import annotations

from .. import check
from ..graph import Tensor
from ..kernels import flushed
from ..kernels.activations import (
    elu_backward,
    elu_forward,
    hardtanh_backward,
    hardtanh_forward,
    leaky_relu_backward,
    leaky_relu_forward,
    relu_backward,
    relu_forward,
    sigmoid_backward,
    sigmoid_forward,
    softplus_backward,
    softplus_forward,
    tanh_backward,
    tanh_forward,
)
from .gates import GATES
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


class EluBackward0(ElementwiseNode):
    """y = scale x where x > 0, else scale alpha (eˣ - 1)."""

    equation = "dx = dy scale where x > 0, else dy scale alpha eˣ"
    pair = (elu_forward, elu_backward)
    keeps = {"x": "its sign says which side, and eˣ is the slope of the left"}
    twin = "torch.nn.functional.elu"
    twin_saved = {"x": "self"}


@flushed
def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """y = x where x > 0, else alpha (eˣ - 1); the gradient at 0 is alpha.    x, y: any shape, float32 or float64

    Error: TypeError for other dtypes. Source: Clevert, Unterthiner, Hochreiter, ICLR 2016.
    """
    check.number("elu: alpha", alpha)
    return elementwise("elu", EluBackward0, x, alpha, 1.0)


class ELU(Elementwise):
    """y = x where x > 0, else alpha (eˣ - 1); the gradient at 0 is alpha. Source: Clevert et al., ICLR 2016."""

    node, function = EluBackward0, staticmethod(elu)
    numbers, arguments = ("alpha", "scale"), ("alpha",)
    formula = "v > 0 ? l.scale * v : l.scale * l.alpha * Math.expm1(v)"
    scale = 1.0  # of its node's equation

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha
        self.check()

    def equation(self) -> str:
        """Without the scale."""
        return "y = x where x > 0, else alpha (eˣ - 1)"


# The fixed point of a net whose neurons have mean 0 and variance 1: Klambauer et al., NIPS 2017, equation 14
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


@flushed
def selu(x: Tensor) -> Tensor:
    """y = 1.0507 x where x > 0, else 1.0507 · 1.6733 (eˣ - 1).    x, y: any shape, float32 or float64

    It is `elu` with an alpha and a scale that keep mean and spread. The gradient at 0 is 1.7581, that of the left side.

    Error: TypeError for other dtypes. Source: Klambauer, Unterthiner, Mayr, Hochreiter, NIPS 2017.
    """
    return elementwise("selu", EluBackward0, x, SELU_ALPHA, SELU_SCALE)


class SELU(Elementwise):
    """y = 1.0507 x where x > 0, else 1.0507 · 1.6733 (eˣ - 1). Source: Klambauer et al., NIPS 2017."""

    node, function = EluBackward0, staticmethod(selu)
    numbers, arguments = ("alpha", "scale"), ()
    formula = "v > 0 ? l.scale * v : l.scale * l.alpha * Math.expm1(v)"
    alpha, scale = SELU_ALPHA, SELU_SCALE

    def detail(self) -> str:
        """What its equation calls alpha and scale."""
        return f"alpha = {self.alpha:.4f}, scale = {self.scale:.4f}"


class SoftplusBackward0(ElementwiseNode):
    """y = log(1 + e^(beta x)) / beta, and x where beta x > threshold."""

    equation = "dx = dy / (1 + e^(-beta x)), and dy where beta x > threshold"
    pair = (softplus_forward, softplus_backward)
    keeps = {"x": "the slope is its sigmoid"}
    twin = "torch.nn.functional.softplus"
    twin_saved = {"x": "self"}


@flushed
def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """y = log(1 + e^(beta x)) / beta, and x where beta x > threshold.    x, y: any shape, float32 or float64

    Errors: TypeError for other dtypes; ValueError for a beta of 0. Source: Dugas et al., NIPS 2000.
    """
    check.number("softplus: threshold", threshold)
    _check_beta("softplus", beta)
    return elementwise("softplus", SoftplusBackward0, x, beta, threshold)


def _check_beta(owner: str, beta: float) -> None:
    check.number(f"{owner}: beta", beta)
    if beta == 0:
        raise ValueError(f"{owner}: beta is {beta}; it must not be 0, for the logarithm is divided by it")


class Softplus(Elementwise):
    """y = log(1 + e^(beta x)) / beta, and x where beta x > threshold. Source: Dugas et al., NIPS 2000."""

    node, function = SoftplusBackward0, staticmethod(softplus)
    numbers = ("beta", "threshold")
    formula = (
        "l.beta * v > l.threshold ? v"
        " : (Math.max(l.beta * v, 0) + Math.log1p(Math.exp(-Math.abs(l.beta * v)))) / l.beta"
    )

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold
        self.check()

    def check(self) -> None:
        """A beta of 0 is none."""
        super().check()
        _check_beta("Softplus", self.beta)


class HardtanhBackward0(ElementwiseNode):
    """y = x, brought into [min_val, max_val]."""

    equation = "dx = dy where min_val < x < max_val, else 0"
    pair = (hardtanh_forward, hardtanh_backward)
    keeps = {"x": "where it lies says where dy passes"}
    twin = "torch.nn.functional.hardtanh"
    twin_saved = {"x": "self"}


@flushed
def hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """y = x, brought into [min_val, max_val], NaN where x is NaN; the gradient at both ends is 0.

    x, y: any shape, float32 or float64

    Errors: TypeError for other dtypes; ValueError for a min_val above max_val. Source: Collobert, thesis (2004).
    """
    check.number("hardtanh: min_val", min_val)
    check.number("hardtanh: max_val", max_val)
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val is {min_val}; it must not be above max_val, which is {max_val}")
    return elementwise("hardtanh", HardtanhBackward0, x, min_val, max_val)


class Hardtanh(Elementwise):
    """y = x, brought into [min_val, max_val]; the gradient at both ends is 0. Source: Collobert, thesis (2004)."""

    node, function = HardtanhBackward0, staticmethod(hardtanh)
    numbers = ("min_val", "max_val")
    formula = "v < l.min_val ? l.min_val : v > l.max_val ? l.max_val : v"

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        super().__init__()
        self.min_val, self.max_val = min_val, max_val
        self.check()

    def check(self) -> None:
        """min_val is below max_val, as PyTorch has it."""
        super().check()
        if not self.min_val < self.max_val:
            raise ValueError(f"Hardtanh: min_val is {self.min_val}; it must be below max_val, which is {self.max_val}")


_KINDS: tuple[type[Elementwise], ...] = (ReLU, Tanh, Sigmoid, LeakyReLU, ELU, SELU, Softplus, Hardtanh, *GATES)
ACTIVATIONS: dict[str, type[Layer]] = {  # by the names of their operations
    **{layer.function.__name__: layer for layer in _KINDS},
    "prelu": PReLU,
}
