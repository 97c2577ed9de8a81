"""Beyond one training, and beyond one machine: sweeps that survive."""

from .space import Range, integers, log_uniform, uniform
from .sweep import Sweep, Trial, sweep

__all__ = ["Range", "Sweep", "Trial", "integers", "log_uniform", "sweep", "uniform"]
