"""Modules, with PyTorch's names, arguments and defaults. A file a family: node, operation, module, declaration.

`LAYERS` holds every layer that is declared, `LOSSES` every loss; whoever needs to know of all kinds reads them.
"""

from . import utils
from .activations import ACTIVATIONS, LeakyReLU, ReLU, Sigmoid, Tanh
from .dropout import Dropout
from .layer import Elementwise, ElementwiseNode, Layer, elementwise
from .linear import Linear
from .loss import Loss, LossNode, Score, row_loss
from .losses import LOSSES, CrossEntropyLoss, MSELoss
from .mlp import MLP, features_of
from .module import Module, Sequential, generator, manual_seed
from .norms import NORMS, BatchNorm1d, LayerNorm, Norm

_KINDS: tuple[type[Layer], ...] = (Linear, *ACTIVATIONS.values(), Dropout, *NORMS.values())
LAYERS: dict[str, type[Layer]] = {layer.__name__: layer for layer in _KINDS}

__all__ = [
    "ACTIVATIONS",
    "LAYERS",
    "LOSSES",
    "MLP",
    "NORMS",
    "BatchNorm1d",
    "CrossEntropyLoss",
    "Dropout",
    "Elementwise",
    "ElementwiseNode",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "Loss",
    "LossNode",
    "MSELoss",
    "Module",
    "Norm",
    "ReLU",
    "Score",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "elementwise",
    "features_of",
    "generator",
    "manual_seed",
    "row_loss",
    "utils",
]
