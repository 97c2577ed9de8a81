"""Modules, with PyTorch's names, arguments and defaults. A file a family: node, operation, module, declaration.

`LAYERS` holds every layer that is declared, `LOSSES` every loss; whoever needs to know of all kinds reads them.
"""

from . import init, utils
from .activations import ACTIVATIONS, ELU, SELU, Hardtanh, LeakyReLU, ReLU, Sigmoid, Softplus, Tanh
from .distances import DISTANCES, HuberLoss, L1Loss, MSELoss, PoissonNLLLoss, QuantileLoss, SmoothL1Loss
from .dropout import Dropout
from .gates import GELU, Mish, SiLU
from .layer import Elementwise, ElementwiseNode, Layer, elementwise
from .linear import Linear
from .loss import Loss
from .losses import CLASSIFIERS, BCEWithLogitsLoss, CrossEntropyLoss
from .mlp import MLP, features_of
from .module import Module, Sequential, generator, manual_seed
from .norms import NORMS, BatchNorm1d, LayerNorm, Norm
from .prelu import PReLU
from .rowloss import LossNode, row_loss
from .score import Score
from .shapes import Flatten, Identity

_KINDS: tuple[type[Layer], ...] = (Linear, *ACTIVATIONS.values(), Dropout, *NORMS.values(), Identity, Flatten)
LAYERS: dict[str, type[Layer]] = {layer.__name__: layer for layer in _KINDS}
LOSSES: dict[str, type[Loss]] = {**CLASSIFIERS, **DISTANCES}  # by the names of their operations

__all__ = [
    "ACTIVATIONS",
    "ELU",
    "GELU",
    "LAYERS",
    "LOSSES",
    "MLP",
    "NORMS",
    "SELU",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "CrossEntropyLoss",
    "Dropout",
    "Elementwise",
    "ElementwiseNode",
    "Flatten",
    "Hardtanh",
    "HuberLoss",
    "Identity",
    "L1Loss",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "Loss",
    "LossNode",
    "MSELoss",
    "Mish",
    "Module",
    "Norm",
    "PReLU",
    "PoissonNLLLoss",
    "QuantileLoss",
    "ReLU",
    "Score",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "Softplus",
    "Tanh",
    "elementwise",
    "features_of",
    "generator",
    "init",
    "manual_seed",
    "row_loss",
    "utils",
]
