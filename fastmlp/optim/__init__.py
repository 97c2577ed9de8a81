"""Optimizers: each keeps its own state and calls one pair of kernels a parameter. Names and defaults are PyTorch's.

`RULES` holds every rule, `SCHEDULES` every schedule; whoever needs to know of all of them reads these.
"""

from .adagrad import Adagrad
from .adam import Adam, AdamW
from .base import Optimizer
from .lion import Lion
from .nadam import NAdam
from .rmsprop import RMSprop
from .schedules import SCHEDULES, CosineAnnealingLR, Rates, Schedule, StepLR
from .sgd import SGD

RULES: dict[str, type[Optimizer]] = {
    rule.__name__.lower(): rule for rule in (SGD, Adam, AdamW, Lion, RMSprop, Adagrad, NAdam)
}

__all__ = [
    "RULES",
    "SCHEDULES",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "CosineAnnealingLR",
    "Lion",
    "NAdam",
    "Optimizer",
    "RMSprop",
    "Rates",
    "Schedule",
    "StepLR",
]
