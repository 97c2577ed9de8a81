"""Optimizers: each keeps its own state and calls one pair of kernels a parameter. Names and defaults are PyTorch's.

`RULES` holds every rule, `SCHEDULES` every schedule; whoever needs to know of all of them reads these.
"""

from .adagrad import Adagrad
from .adam import Adam, AdamW
from .averaging import AVERAGES, EMA, SWA, Average
from .base import Optimizer
from .lion import Lion
from .nadam import NAdam
from .onecycle import OneCycleLR
from .plateau import ReduceLROnPlateau
from .rates import Rates
from .rmsprop import RMSprop
from .schedule import Schedule
from .schedules import SCHEDULES, CosineAnnealingLR, ExponentialLR, LinearLR, MultiStepLR, StepLR
from .sequential import SequentialLR
from .sgd import SGD

RULES: dict[str, type[Optimizer]] = {
    rule.__name__.lower(): rule for rule in (SGD, Adam, AdamW, Lion, RMSprop, Adagrad, NAdam)
}

__all__ = [
    "AVERAGES",
    "EMA",
    "RULES",
    "SCHEDULES",
    "SGD",
    "SWA",
    "Adagrad",
    "Adam",
    "AdamW",
    "Average",
    "CosineAnnealingLR",
    "ExponentialLR",
    "LinearLR",
    "Lion",
    "MultiStepLR",
    "NAdam",
    "OneCycleLR",
    "Optimizer",
    "RMSprop",
    "Rates",
    "ReduceLROnPlateau",
    "Schedule",
    "SequentialLR",
    "StepLR",
]
