"""Activations that are x times a gate: y = x g(x), with g from 0 far at the left to 1 far at the right."""

from __future__ import annotations

from ..graph import Tensor
from ..graph.operation import flushed
from ..kernels.gates import mish_backward, mish_forward, silu_backward, silu_forward
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


GATES: tuple[type[Elementwise], ...] = (SiLU, Mish)
