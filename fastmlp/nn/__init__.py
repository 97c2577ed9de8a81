"""Modules, with PyTorch's names, arguments and defaults. A file a family: node, operation, module, declaration.

`LAYERS` holds every layer that is declared, `LOSSES` every loss; whoever needs to know of all kinds reads them.
"""

from .activations import ACTIVATIONS, LeakyReLU, ReLU, Sigmoid, Tanh
from .distances import DISTANCES, HuberLoss, L1Loss, MSELoss, PoissonNLLLoss, QuantileLoss, SmoothL1Loss
from .dropout import Dropout
from .layer import Elementwise, ElementwiseNode, Layer, elementwise
from .linear import Linear
from .loss import Loss
from .losses import CLASSIFIERS, BCEWithLogitsLoss, CrossEntropyLoss
from .mlp import MLP, features_of
from .module import Module, Sequential, generator, manual_seed
from .norms import NORMS, BatchNorm1d, LayerNorm, Norm
from .rowloss import LossNode, row_loss
from .score import Score

_KINDS: tuple[type[Layer], ...] = (Linear, *ACTIVATIONS.values(), Dropout, *NORMS.values())
LAYERS: dict[str, type[Layer]] = {layer.__name__: layer for layer in _KINDS}
LOSSES: dict[str, type[Loss]] = {**CLASSIFIERS, **DISTANCES}  # by the names of their operations

__all__ = [
    "ACTIVATIONS",
    "LAYERS",
    "LOSSES",
    "MLP",
    "NORMS",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "CrossEntropyLoss",
    "Dropout",
    "Elementwise",
    "ElementwiseNode",
    "HuberLoss",
    "L1Loss",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "Loss",
    "LossNode",
    "MSELoss",
    "Module",
    "Norm",
    "PoissonNLLLoss",
    "QuantileLoss",
    "ReLU",
    "Score",
    "Sequential",
    "Sigmoid",
    "SmoothL1Loss",
    "Tanh",
    "elementwise",
    "features_of",
    "generator",
    "manual_seed",
    "row_loss",
]
