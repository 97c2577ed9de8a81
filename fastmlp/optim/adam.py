"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from .. import check, kernels
from ..kernels import owed
from .base import Group, Optimizer, as_pair


class Adam(Optimizer):
    """g ← ±g + λp;  m ← β₁m + (1 - β₁)g;  v ← β₂v + (1 - β₂)g²;  p ← p - lr m̂ / (√v̂ + ε).

    m̂ = m / (1 - β₁ᵗ) and v̂ = v / (1 - β₂ᵗ) undo the start of m and v at zero. (β₁, β₂) betas, ε eps,
    λ weight_decay; maximize takes -g, and climbs. amsgrad: u ← max(u, v) stands in place of v below the root, so that
    no step grows because v shrinks; the start of v is undone after the maximum, as PyTorch does.
    lazy is another rule, `torch.optim.SparseAdam`'s, for `fit` on sparse rows: of the weight of the first Linear layer,

        m, v, p of input i make the step above where a row of the batch has input i, and stay what they are elsewhere,

    so that a word that is rare keeps its momentum until it comes again. t counts all steps, and all other parameters
    make all of them. It stands alone: weight_decay 0, no amsgrad. ε is Adam's, added to √v̂; SparseAdam adds it to √v.
    eps_hat adds ε to √v as it is, the ε̂ of the end of the paper's section 2, and what scikit-learn and TensorFlow do:

        p ← p - lr (√(1 - β₂ᵗ) / (1 - β₁ᵗ)) m / (√v + ε)

    The state holds t as "step", m as "exp_avg", v as "exp_avg_sq", u as "max_exp_avg_sq".
    Error: ValueError for options out of range.
    Source: Kingma and Ba, ICLR 2015, Algorithm 1; Reddi, Kale and Kumar, ICLR 2018, Algorithm 2.
    """

    scale, update = staticmethod(kernels.adam_scale), staticmethod(kernels.adam_update)
    owed, lift = staticmethod(owed.adam_owed), staticmethod(owed.adam_lift)
    arrays = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    only_with: ClassVar = {"max_exp_avg_sq": "amsgrad"}
    switches: ClassVar[tuple[str, ...]] = ("amsgrad", "maximize", "lazy", "eps_hat")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        lazy: bool = False,
        eps_hat: bool = False,
    ) -> None:
        options = {"lr": lr, "betas": as_pair(betas), "eps": eps, "weight_decay": weight_decay}
        given = {"amsgrad": amsgrad, "maximize": maximize, "lazy": lazy, "eps_hat": eps_hat}
        super().__init__(params, {**options, **{name: given[name] for name in self.switches}})

    def _check(self, group: Group) -> None:
        super()._check(group)
        check.above(f"{self._name}: eps", group["eps"])
        if self.is_lazy(group):
            for name in ("weight_decay", "amsgrad"):
                if group[name]:
                    must = "0" if name == "weight_decay" else "False"
                    raise ValueError(f"{self._name}: {name} is {group[name]} beside lazy=True; it must be {must}")

    def is_lazy(self, group: Group) -> bool:
        return bool(group.get("lazy"))

    def _swept_for(self, group: Group) -> str:
        """The least ε̂ must be a normal number: else the step of a weight without gradient is 0 / 0."""
        if group["amsgrad"]:
            return f"{self._name} has amsgrad"
        if group.get("eps_hat"):
            return f"{self._name} has eps_hat"
        least = min(group["eps"], group["eps"] * (1 - group["betas"][1]) ** 0.5)
        if not all(least > np.finfo(parameter.dtype).tiny for parameter in group["params"]):
            return f"eps is {group['eps']:.3g}, too small"
        return ""


class AdamW(Adam):
    """p ← p (1 - lr λ), then Adam's step with the gradient as it is: the decay does not pass through m and v.

    Arguments and state as `Adam`, but for lazy and eps_hat; λ weight_decay is 0.01 by default.
    Source: Loshchilov and Hutter, ICLR 2019, Algorithm 2.
    """

    update = staticmethod(kernels.adamw_update)
    switches = ("amsgrad", "maximize")
    owed, lift = staticmethod(owed.adamw_owed), staticmethod(owed.adamw_lift)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
