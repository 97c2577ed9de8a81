"""Layers that change no number: Identity and Flatten. The engine passes them over."""

from __future__ import annotations

from typing import Any

from ..graph import Tensor
from .layer import Layer


class Identity(Layer):
    """y = x: holds a place. It takes any arguments and ignores them. Source: PyTorch's torch.nn.Identity."""

    form, kernels = "nothing", {}
    page = "Identity: (l, x) => x"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """x itself, of any shape."""
        return x

    def equation(self) -> str:
        """Nothing happens."""
        return "y = x"
