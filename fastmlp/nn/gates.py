"""Activations that are x times a gate: y = x g(x), with g from 0 far at the left to 1 far at the right."""

from __future__ import annotations

from typing import Any

from ..check import shown
from ..graph import Tensor
from ..kernels import flushed
from ..kernels.gates import gelu_backward, gelu_forward, mish_backward, mish_forward, silu_backward, silu_forward
from .layer import Elementwise, ElementwiseNode, elementwise


class SiluBackward0(ElementwiseNode):
    """y = x σ(x), σ(x) = 1 / (1 + e⁻ˣ)."""

    equation = "dx = dy σ(x) (1 + x (1 - σ(x)))"
    pair = (silu_forward, silu_backward)
    keeps = {"x": "two numbers x have one y, so the slope is made from x"}
    twin = "torch.nn.functional.silu"
    twin_saved = {"x": "self"}


@flushed
def silu(x: Tensor) -> Tensor:
    """y = x σ(x), σ(x) = 1 / (1 + e⁻ˣ); also known as swish.    x, y: any shape, float32 or float64

    Error: TypeError for other dtypes. Source: Elfwing, Uchibe, Doya, Neural Networks 107 (2018).
    """
    return elementwise("silu", SiluBackward0, x)


class SiLU(Elementwise):
    """y = x σ(x), σ(x) = 1 / (1 + e⁻ˣ). Source: Elfwing et al., Neural Networks 107 (2018)."""

    node, function = SiluBackward0, staticmethod(silu)
    formula = "v / (1 + Math.exp(-v))"


class MishBackward0(ElementwiseNode):
    """y = x tanh(log(1 + eˣ))."""

    equation = "dx = dy (t + x σ(x) (1 - t²)),  t = tanh(log(1 + eˣ))"
    pair = (mish_forward, mish_backward)
    keeps = {"x": "two numbers x have one y, so the slope is made from x"}
    twin = "torch.nn.functional.mish"
    twin_saved = {"x": "self"}


@flushed
def mish(x: Tensor) -> Tensor:
    """y = x tanh(log(1 + eˣ)).    x, y: any shape, float32 or float64

    Error: TypeError for other dtypes. Source: Misra, BMVC 2020.
    """
    return elementwise("mish", MishBackward0, x)


class Mish(Elementwise):
    """y = x tanh(log(1 + eˣ)). Source: Misra, BMVC 2020."""

    node, function = MishBackward0, staticmethod(mish)
    formula = "v * Math.tanh(Math.log1p(Math.exp(v)))"


class GeluBackward0(ElementwiseNode):
    """y = x Φ(x), Φ the normal distribution's, or by tanh."""

    equation = "dx = dy (Φ(x) + x φ(x)),  φ = Φ'"
    pair = (gelu_forward, gelu_backward)
    keeps = {"x": "two numbers x have one y, so the slope is made from x"}
    twin = "torch.nn.functional.gelu"
    twin_saved = {"x": "self"}


@flushed
def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """y = x Φ(x), Φ(x) = (1 + erf(x/√2)) / 2: the share of the normal distribution below x.

    x, y: any shape, float32 or float64.    approximate: "none", or "tanh" for Φ(x) ≈ (1 + tanh u) / 2 with
    u = √(2/π) (x + 0.044715 x³), which is off by up to 0.0005

    Errors: TypeError for other dtypes; ValueError for another approximate. Source: Hendrycks and Gimpel,
    arXiv:1606.08415 (2016).
    """
    _check_approximate("gelu", approximate)
    return elementwise("gelu", GeluBackward0, x, float(approximate == "tanh"))


def _check_approximate(owner: str, approximate: Any) -> None:
    if not (isinstance(approximate, str) and approximate in ("none", "tanh")):
        raise ValueError(f"{owner}: approximate is {shown(approximate)}; it must be 'none' or 'tanh'")


class GELU(Elementwise):
    """y = x Φ(x); approximate="tanh" is cheaper, and off by up to 0.0005. Source: Hendrycks and Gimpel (2016)."""

    node, function = GeluBackward0, staticmethod(gelu)
    numbers, arguments = ("tanh",), ("approximate",)
    formula = (
        "l.tanh ? v / (1 + Math.exp(-2 * Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)))"
        " : v * (1 + erf(v / Math.SQRT2)) / 2"
    )

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate
        self.check()

    @property
    def tanh(self) -> float:
        """`approximate` as the kernels take it."""
        return float(self.approximate == "tanh")

    def check(self) -> None:
        """approximate is one of two words."""
        _check_approximate("GELU", self.approximate)
        super().check()


GATES: tuple[type[Elementwise], ...] = (SiLU, Mish, GELU)
