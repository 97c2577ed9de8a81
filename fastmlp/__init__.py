"""fastmlp: train multi-layer perceptrons, and see how it is done."""

from . import arithmetic as arithmetic
from . import nn as nn
from . import ops as ops
from . import optim as optim
from .graph import AccumulateGrad, Node, Parameter, Tensor, is_grad_enabled, no_grad
from .nn import manual_seed
