"""What scikit-learn's solvers do beside the update itself: rates, the decay of each batch, and when it is enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import nn, optim
from ..graph import Array
from .net import linears

OPTIONS = (
    "solver", "learning_rate", "learning_rate_init", "power_t", "momentum", "nesterovs_momentum", "beta_1", "beta_2",
    "epsilon",
)  # fmt: skip


class Solver:
    """An update rule with the learning rate that it has come to.

    The weights of Linear layers are a group of their own, whose decay is alpha over the rows of the batch.
    """

    def __init__(self, net: nn.Module, options: dict[str, Any]) -> None:
        self.options = {name: options[name] for name in OPTIONS}
        self.kind = options["solver"]
        weights = [layer.weight for layer in linears(net)]
        held = {id(weight) for weight in weights}
        groups = [{"params": weights}, {"params": [p for p in net.parameters() if id(p) not in held]}]
        if self.kind == "adam":
            betas = options["beta_1"], options["beta_2"]
            self.rule: Any = optim.Adam(
                groups, self.options["learning_rate_init"], betas, options["epsilon"], eps_hat=True
            )
        else:
            momentum = float(options["momentum"])
            nesterov = bool(options["nesterovs_momentum"]) and momentum > 0
            self.rule = optim.SGD(groups, self.options["learning_rate_init"], momentum, nesterov=nesterov)

    def renew(self, options: dict[str, Any]) -> None:
        """Another call of `fit` that goes on: its options count, and the rate begins anew; the moments stay."""
        self.options = {name: options[name] for name in OPTIONS}
        self.learning_rate = self.options["learning_rate_init"]
        momentum = float(options["momentum"])
        for group in self.rule.param_groups:
            if self.kind == "adam":
                group["betas"], group["eps"] = (options["beta_1"], options["beta_2"]), options["epsilon"]
            else:
                group["momentum"], group["nesterov"] = momentum, bool(options["nesterovs_momentum"]) and momentum > 0

    def state_dict(self) -> dict[str, Any]:
        """Options, arrays and numbers."""
        return {"options": self.options, "rule": self.rule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.rule.load_state_dict(state["rule"])

    @property
    def learning_rate(self) -> float:
        """That of the next step."""
        return float(self.rule.param_groups[0]["lr"])

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        """v = -lr b is what scikit-learn keeps: b is scaled where lr changes, so that v stays."""
        before = self.learning_rate
        for group in self.rule.param_groups:
            group["lr"] = float(rate)
        for state in self.rule.state.values():
            if "momentum_buffer" in state:
                state["momentum_buffer"] *= before / rate

    def iteration_ends(self, rows_seen: int) -> None:
        """After an epoch: the rate of "invscaling"."""
        if self.kind == "sgd" and self.options["learning_rate"] == "invscaling":
            self.learning_rate = self.options["learning_rate_init"] / (rows_seen + 1) ** self.options["power_t"]

    def stops(self, message: str, say: Callable[[str], Any]) -> bool:
        """Whether no improvement ends the training; "adaptive" divides the rate by 5 first, down to 1e-6."""
        if self.kind != "sgd" or self.options["learning_rate"] != "adaptive":
            say(f"{message} Stopping.")
            return True
        if self.learning_rate <= 1e-6:
            say(f"{message} Learning rate too small. Stopping.")
            return True
        self.learning_rate = self.learning_rate / 5.0
        say(f"{message} Setting learning rate to {self.learning_rate:f}")
        return False


class DecayingRates:
    """The rates of a training with the decay of each batch, alpha / Σ w + λ, for the weights of Linear layers.

    rates   those of `fit`, with its schedule        alpha, decay  α and λ
    masses  of an epoch's batches, Σ w of the rows of each in the order `order`
    """

    def __init__(self, rates: Any, solver: Solver, alpha: float, decay: float, rows: int, sizes: list[int]) -> None:
        self.rates, self.solver, self.alpha, self.decay = rates, solver, alpha, decay
        self.sizes, self.weights = sizes, None  # type: tuple[list[int], Array | None]
        self.order = np.arange(rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rates, name)

    def masses(self) -> Array:
        """Σ w of each batch of the epoch; the rows where none have weights."""
        if self.weights is None:
            return np.array(self.sizes, np.float64)
        return np.add.reduceat(self.weights[self.order], np.concatenate([[0], np.cumsum(self.sizes)[:-1]]))

    def of_epoch(self, epoch: int) -> Array | None:
        """(steps, groups, 3): rate, momentum, decay; None where one decay is that of all steps."""
        rates, rule = self.rates.of_epoch(epoch), self.solver.rule
        masses = self.masses()
        decays = np.divide(self.alpha, masses, out=np.zeros(len(masses)), where=masses > 0)  # no step where none weighs
        decays += self.decay
        rule.moves_decay = bool((decays != decays[0]).any())
        if rates is None and not rule.moves_decay and self.weights is None:
            rule.param_groups[0]["weight_decay"] = float(decays[0])
            return None
        found = np.full((len(self.sizes), len(rule.param_groups), 3), np.nan)
        found[:, :, 0] = [group["lr"] for group in rule.param_groups]
        if rates is not None:
            given = rates.reshape(*rates.shape[:2], -1)
            found[:, :, : given.shape[2]] = given
        found[:, :, 2], found[:, 0, 2] = 0, decays
        return found


def penalty(net: nn.Module) -> float:
    """Σ w² of all Linear layers."""
    return float(sum(np.vdot(layer.weight.data, layer.weight.data) for layer in linears(net)))
