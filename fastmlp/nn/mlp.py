"""The multi-layer perceptron as one module."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import check
from ..check import shown
from .activations import ACTIVATIONS
from .dropout import Dropout
from .init import METHODS, zeros_
from .linear import Linear
from .module import Module, Sequential
from .norms import NORMS


class MLP(Sequential):
    """A multi-layer perceptron: for each hidden width Linear, [norm], activation, [Dropout]; then Linear.

    in_features   inputs of a row
    hidden        widths of the hidden layers; empty for softmax regression
    out_features  classes
    activation    a name in `nn.ACTIVATIONS`: "relu", "tanh", "sigmoid", ...
    dropout       p of the dropout after each hidden layer; 0 for none
    batch_norm    another spelling of norm="batch"
    norm          what normalises each hidden layer before its activation: a name in `nn.NORMS`, or None
    init          the first weights: a name in `nn.init.METHODS`, or None for those of `Linear`. With a name the biases
                  of all Linear layers begin at 0, and the weights as
                  "he"          N(0, 2 / in)                         for ReLU and its like
                  "xavier"      U(-b, b),  b = √(6 / (in + out))     for tanh and sigmoid
                  "lecun"       N(0, 1 / in), cut off at 2 σ         for SELU
                  "orthogonal"  rows or columns of length 1 that are at right angles

    Errors: TypeError for a hidden that is one number; ValueError for widths below 1, an unknown activation, norm or
    init, dropout outside [0, 1], and for both batch_norm and norm.
    """

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        out_features: int,
        activation: str = "relu",
        dropout: float = 0.0,
        batch_norm: bool = False,
        norm: str | None = None,
        init: str | None = None,
    ) -> None:
        widths = list(hidden) if check.listed(hidden) else None
        if widths is None:
            raise TypeError(
                f"MLP: hidden is {shown(hidden)}; it must be the widths of the hidden layers, as in (128,) or ()"
            )
        check.width("MLP: in_features", in_features)
        for place, width in enumerate(widths):
            check.width(f"MLP: hidden[{place}]", width)
        check.width("MLP: out_features", out_features)
        if not (isinstance(activation, str) and activation in ACTIVATIONS):
            what = f"MLP: activation is {shown(activation)}; it must be one of {', '.join(ACTIVATIONS)}"
            widths_here = "; all hidden widths stand in hidden, as in (128, 64)" * isinstance(activation, int)
            raise ValueError(what + widths_here)
        if not isinstance(batch_norm, bool | np.bool_):
            raise TypeError(f"MLP: batch_norm is {shown(batch_norm)}; it must be True or False")
        if batch_norm and norm is not None:
            raise ValueError(f"MLP: batch_norm is {batch_norm} and norm is {shown(norm)}; one of them must be left out")
        norm = "batch" if batch_norm else norm
        if norm is not None and not (isinstance(norm, str) and norm in NORMS):
            raise ValueError(f"MLP: norm is {shown(norm)}; it must be None or one of {', '.join(NORMS)}")
        if init is not None and not (isinstance(init, str) and init in METHODS):
            raise ValueError(f"MLP: init is {shown(init)}; it must be None or one of {', '.join(METHODS)}")
        if not (check.is_number(dropout) and 0 <= dropout <= 1):
            raise ValueError(f"MLP: dropout is {shown(dropout)}; it is a probability and must lie in [0, 1]")
        layers: list[Module] = []
        width = in_features
        for hidden_width in widths:
            layers.append(Linear(width, hidden_width))
            if norm is not None:
                layers.append(NORMS[norm](hidden_width))
            layers.append(ACTIVATIONS[activation]())
            if dropout:
                layers.append(Dropout(dropout))
            width = hidden_width
        super().__init__(*layers, Linear(width, out_features))
        for layer in self:
            if init is not None and isinstance(layer, Linear) and layer.bias is not None:
                METHODS[init](layer.weight)
                zeros_(layer.bias)


def features_of(model: Module) -> int | None:
    """How many numbers a row must have for a model: what its first Linear layer takes; None where it has none."""
    if not isinstance(model, Module):
        raise TypeError(f"features_of: model is {shown(model)}; it must be a Module")
    return next((module.in_features for module in model.modules() if isinstance(module, Linear)), None)
