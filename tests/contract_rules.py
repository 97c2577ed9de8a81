"""The table of update rules for `contract`: options, slow twins, peers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import oracles

import fastmlp as fm

Options = Mapping[str, Any]


@dataclass(frozen=True)
class RuleEntry:
    """A declared rule.

    options       as of a layer; each set has its lr
    twin          (p, g, state, options, t) -> (p, state): step t, counted from 1; state is {} before the first
    peer          the name of the class, or of the function that makes the peer's rule
    peer_options  our options in the peer's words
    fixed         arguments that `step` refuses: another test has them
    """

    options: Mapping[str, Options] | None = None
    twin: Callable[[Any, Any, dict[str, Any], Any, int], tuple[Any, dict[str, Any]]] | None = None
    peer: str | None = None
    peer_options: Callable[[Options], Options] = dict
    fixed: tuple[str, ...] = ()


def ascent(g, o) -> Any:
    """The gradient of a rule that may climb."""
    return -g if o.maximize else g


def _sgd(p, g, state, o, t) -> tuple[Any, dict[str, Any]]:
    p, b = oracles.sgd(
        p, ascent(g, o), state.get("momentum_buffer"), o.lr, o.momentum, o.dampening, o.weight_decay, o.nesterov
    )  # fmt: skip
    return p, {} if b is None else {"momentum_buffer": b}


def _adam(rule) -> Callable[..., Any]:
    def twin(p, g, state, o, t):
        m, v, u = (state.get(name, np.zeros_like(p)) for name in fm.optim.Adam.arrays)
        if not o.amsgrad:
            p, m, v = rule(p, ascent(g, o), m, v, o.lr, *o.betas, o.eps, o.weight_decay, t)
            return p, {"exp_avg": m, "exp_avg_sq": v}
        coupled = o.weight_decay if rule is oracles.adam else 0.0
        beside = o.lr * (o.weight_decay - coupled) * p
        p, m, v, u = oracles.amsgrad(p, ascent(g, o), m, v, u, o.lr, *o.betas, o.eps, coupled, t)
        return p - beside, {"exp_avg": m, "exp_avg_sq": v, "max_exp_avg_sq": u}

    return twin


def _lion(p, g, state, o, t):
    p, m = oracles.lion(p, g, state.get("exp_avg", np.zeros_like(p)), o.lr, *o.betas, o.weight_decay)
    return p, {"exp_avg": m}


def _rmsprop(p, g, state, o, t):
    arrays = fm.optim.RMSprop.arrays
    p, *kept = oracles.rmsprop(
        p, ascent(g, o), *(state.get(name, np.zeros_like(p)) for name in arrays),
        o.lr, o.alpha, o.eps, o.weight_decay, o.momentum, o.centered,
    )  # fmt: skip
    wanted = {"square_avg": True, "momentum_buffer": o.momentum, "grad_avg": o.centered}
    return p, {name: array for name, array in zip(arrays, kept, strict=True) if wanted[name]}


def _adagrad(p, g, state, o, t):
    s = state.get("sum", np.full_like(p, o.initial_accumulator_value))
    p, s = oracles.adagrad(p, ascent(g, o), s, o.lr, o.lr_decay, o.weight_decay, o.eps, t)
    return p, {"sum": s}


def _nadam(p, g, state, o, t):
    m, v = (state.get(name, np.zeros_like(p)) for name in ("exp_avg", "exp_avg_sq"))
    p, m, v, product = oracles.nadam(
        p, ascent(g, o), m, v, state.get("mu_product", 1.0), o.lr, *o.betas, o.eps, o.weight_decay, o.momentum_decay,
        o.decoupled_weight_decay, t,
    )  # fmt: skip
    return p, {"exp_avg": m, "exp_avg_sq": v, "mu_product": product}


ADAM_OPTIONS: dict[str, Options] = {
    "plain": {"lr": 0.01},
    "betas": {"lr": 0.01, "betas": (0.5, 0.9)},
    "eps": {"lr": 0.01, "eps": 1e-2},
    "decay": {"lr": 0.01, "weight_decay": 0.1},
    "all": {"lr": 0.02, "betas": (0.0, 0.99), "eps": 1e-3, "weight_decay": 0.3},
    "amsgrad": {"lr": 0.01, "betas": (0.9, 0.7), "amsgrad": True},
    "amsgrad all": {"lr": 0.02, "betas": (0.5, 0.5), "eps": 1e-3, "weight_decay": 0.3, "amsgrad": True,
                    "maximize": True},
    "maximize": {"lr": 0.01, "weight_decay": 0.1, "maximize": True},
}  # fmt: skip

RULES: dict[str, RuleEntry] = {
    "sgd": RuleEntry(
        options={
            "plain": {"lr": 0.1},
            "momentum": {"lr": 0.05, "momentum": 0.9},
            "nesterov": {"lr": 0.05, "momentum": 0.9, "nesterov": True},
            "dampening": {"lr": 0.05, "momentum": 0.9, "dampening": 0.5},
            "decay": {"lr": 0.1, "weight_decay": 0.01},
            "all": {"lr": 0.05, "momentum": 0.5, "dampening": 0.1, "weight_decay": 0.1},
            "all nesterov": {"lr": 0.05, "momentum": 0.5, "nesterov": True, "weight_decay": 0.1},
            "maximize": {"lr": 0.01, "weight_decay": 0.01, "maximize": True},
            "maximize all": {"lr": 0.01, "momentum": 0.5, "dampening": 0.1, "weight_decay": 0.1, "maximize": True},
            "maximize nesterov": {"lr": 0.01, "momentum": 0.5, "nesterov": True, "weight_decay": 0.1, "maximize": True},
        },
        twin=_sgd,
        peer="torch.optim.SGD",
    ),
    "adam": RuleEntry(ADAM_OPTIONS, _adam(oracles.adam), "torch.optim.Adam",
                      fixed=("lazy", "eps_hat")),  # test_lazy, test_estimator_follows
    "adamw": RuleEntry(ADAM_OPTIONS | {"no decay": {"lr": 0.01, "weight_decay": 0.0}}, _adam(oracles.adamw),
                       "torch.optim.AdamW"),
    "lion": RuleEntry(
        options={
            "plain": {"lr": 0.01},
            "betas": {"lr": 0.01, "betas": (0.5, 0.8)},
            "decay": {"lr": 0.01, "weight_decay": 0.1},
        },
        twin=_lion,
        peer="optax.lion",  # PyTorch has none
        peer_options=lambda o: {
            "b1": o.get("betas", (0.9, 0.99))[0],
            "b2": o.get("betas", (0.9, 0.99))[1],
            "weight_decay": o.get("weight_decay", 0.0),
        },
    ),
    "rmsprop": RuleEntry(
        options={
            "plain": {"lr": 0.01},
            "alpha eps": {"lr": 0.01, "alpha": 0.5, "eps": 1e-2},
            "momentum": {"lr": 0.002, "momentum": 0.9},
            "centered": {"lr": 0.01, "alpha": 0.9, "centered": True},
            "all": {"lr": 0.002, "alpha": 0.9, "eps": 1e-4, "weight_decay": 0.1, "momentum": 0.5, "centered": True},
            "maximize": {"lr": 0.002, "alpha": 0.9, "weight_decay": 0.1, "momentum": 0.5, "centered": True,
                         "maximize": True},
            "maximize decay": {"lr": 0.002, "weight_decay": 0.1, "maximize": True},
        },
        twin=_rmsprop,
        peer="torch.optim.RMSprop",
    ),
    "adagrad": RuleEntry(
        options={
            "plain": {"lr": 0.05},
            "decays": {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1},
            "start": {"lr": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3},
            "all": {"lr": 0.01, "lr_decay": 1e-2, "weight_decay": 0.1, "initial_accumulator_value": 0.1, "eps": 1e-6,
                    "maximize": True},
        },
        twin=_adagrad,
        peer="torch.optim.Adagrad",
    ),
    "nadam": RuleEntry(
        options={
            "plain": {"lr": 0.01},
            "betas eps": {"lr": 0.01, "betas": (0.5, 0.9), "eps": 1e-2},
            "momentum decay": {"lr": 0.01, "momentum_decay": 0.5},
            "decay": {"lr": 0.01, "weight_decay": 0.1},
            "all": {"lr": 0.02, "betas": (0.8, 0.99), "eps": 1e-3, "weight_decay": 0.3, "momentum_decay": 0.1,
                    "decoupled_weight_decay": True},
            "maximize": {"lr": 0.01, "weight_decay": 0.1, "maximize": True},
            "maximize all": {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True},
        },
        twin=_nadam,
        peer="torch.optim.NAdam",
    ),
}  # fmt: skip
