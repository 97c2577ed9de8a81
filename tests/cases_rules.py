"""Cases of the update rules: a step after the first, on pieces of flat arrays."""

from collections.abc import Callable

import numpy as np
import oracles
from kernel_cases import Case
from strategies import Source

from fastmlp import kernels as k
from fastmlp.kernels import updates

# The options of the rules, in the order of their classes, and a later step, where every term counts.
SGD, ADAM, STEP = np.array([0.05, 0.9, 0.25, 0.1, 0.0, 0.0]), np.array([0.003, 0.9, 0.999, 1e-8, 0.1, 0, 0]), 3


def scaled(scale: Callable, option: np.ndarray) -> np.ndarray:
    numbers = np.zeros(k.SCALES)
    scale(option, option[0], STEP, numbers)
    return numbers


def rule_inputs(s: Source, O: int, arrays: int) -> dict[str, np.ndarray]:
    """v and u are positive, as means of squares."""
    return {name: s.array(O) for name in "pgm"} | {name: s.positive(O) for name in "vu"[: arrays - 1]}


LION = np.array([0.003, 0.9, 0.99, 0.1])


def lion_bound(a, want, eps) -> dict[str, np.ndarray]:
    """m: four roundings of two terms. p: three of its two terms.

    Where c is as small as its rounding, its sign may be the other one, and p off by two steps.
    """
    p, g, m = (np.abs(oracles.f64(v)) for v in (a.p, a.g, a.m))
    c = np.abs(0.9 * oracles.f64(a.m) + 0.1 * oracles.f64(a.g))
    unsure = np.where(c <= 4 * eps * (0.9 * m + 0.1 * g), 2 * 0.003, 0)
    return {"p": 2 * eps * (p + 0.003) + unsure, "m": 2 * eps * (0.99 * m + 0.01 * g)}


def sgd_twin(p, g, m) -> dict[str, np.ndarray]:
    lr, momentum, dampening, decay, nesterov, _ = SGD
    return dict(zip(("p", "m"), oracles.sgd(p, g, m, lr, momentum, dampening, decay, bool(nesterov)), strict=True))


def sgd_bound(p, g, m, eps, off=0.0) -> dict[str, np.ndarray]:
    """At most eight roundings of the terms that were added up; `off` is the error of g."""
    added = np.abs(oracles.f64(g)) + 0.1 * np.abs(oracles.f64(p)) + np.abs(oracles.f64(m))
    return {"p": 4 * eps * (np.abs(oracles.f64(p)) + 0.1 * added) + 0.05 * off, "m": 4 * eps * added + off}


RMSPROP = np.array([0.003, 0.9, 1e-8, 0.1, 0.5, 0, 0])


def rmsprop_twin(a) -> dict[str, np.ndarray]:
    lr, alpha, eps, decay, momentum, *_ = RMSPROP
    p, v, b, _ = oracles.rmsprop(a.p, a.g, a.m, a.v, np.zeros(1), lr, alpha, eps, decay, momentum, False)
    return {"p": p, "m": v, "v": b}


def rmsprop_bound(a, want, eps) -> dict[str, np.ndarray]:
    """The mean of squares (called m here): g² has four roundings of g's terms, which may cancel. It is at least 0.09.

    b: ten roundings of a step, and those of g; p: those of b, and two of its own.
    """
    p, g = np.abs(oracles.f64(a.p)), np.abs(oracles.f64(a.g))
    terms, root = g + 0.1 * p, np.sqrt(want["m"]) + 1e-8
    mean = eps * (8 * want["m"] + 0.1 * 4 * terms**2)
    step = eps * (4 * terms / root + 0.5 * np.abs(oracles.f64(a.v))) + terms / root * (mean / want["m"] + 6 * eps)
    return {
        "p": 2 * eps * (p + np.abs(want["p"])) + 0.003 * step + eps * 0.003 * np.abs(want["v"]),
        "m": mean,
        "v": step,
    }


ADAGRAD = np.array([0.003, 0.25, 0.1, 0.5, 1e-10, 0])


def adagrad_bound(a, want, eps) -> dict[str, np.ndarray]:
    """The sum (called m here): g² has four roundings of g's terms, which may cancel. p: those, and ten of the step."""
    p, terms = np.abs(oracles.f64(a.p)), np.abs(oracles.f64(a.g)) + 0.1 * np.abs(oracles.f64(a.p))
    total = eps * (2 * want["m"] + 4 * terms**2)
    step = terms / np.sqrt(want["m"])
    return {"p": 2 * eps * (p + np.abs(want["p"])) + 0.003 * step * (total / want["m"] + 10 * eps), "m": total}


def adam_twin(twin: Callable, a) -> dict[str, np.ndarray]:
    return dict(zip(("p", "m", "v"), twin(a.p, a.g, a.m, a.v, *ADAM[:5], STEP), strict=True))


NADAM = np.array([0.003, 0.9, 0.999, 1e-8, 0.1, 4e-3, 0, 0])


def nadam_twin(a) -> dict[str, np.ndarray]:
    """The product of a first step that nobody made is 0, as the buffer of `scaled` has it: 1 - 0 undoes nothing."""
    p, m, v, _ = oracles.nadam(a.p, a.g, a.m, a.v, 0.0, *NADAM[:6], False, STEP)
    return {"p": p, "m": m, "v": v}


def nadam_bound(a, want, eps) -> dict[str, np.ndarray]:
    """m and v as of Adam; p: its step is a sum of two like Adam's, of the gradient and of m."""
    bound, p = adam_bound(a, want, eps, decay=0.1), np.abs(oracles.f64(a.p))
    gradient = np.abs(oracles.f64(a.g)) + 0.1 * p
    terms = gradient + 0.9 * np.abs(oracles.f64(a.m))  # 1 - μ and μ are below 1
    step = 0.003 * terms / (np.sqrt(want["v"] / (1 - 0.999**STEP)) + 1e-8)
    roundings = 16 * eps * (1 + 0.001 * gradient**2) + 4 * 2**-52 / (1 - 0.999**STEP)
    return {**bound, "p": eps * (np.abs(want["p"]) + p) + roundings * step}


def adam_bound(a, want, eps, decay) -> dict[str, np.ndarray]:
    """m: eight roundings of the terms. v: g² has two roundings of g, and positive terms.

    p: m's error and ten roundings of the step (v is at least 0.1: its error is a relative one); in float64, powers
    that differ by a few units in the last place, of which 1 - β₂ᵗ leaves few digits when t is small.
    """
    p = oracles.f64(a.p)
    gradient = np.abs(oracles.f64(a.g)) + (decay * np.abs(p) if decay else 0)
    terms_m = 0.9 * np.abs(oracles.f64(a.m)) + 0.1 * gradient
    step = 0.003 / (1 - 0.9**STEP) * terms_m / (np.sqrt(want["v"] / (1 - 0.999**STEP)) + 1e-8)
    roundings = 14 * eps * (1 + 0.001 * gradient**2) + 4 * 2**-52 / (1 - 0.999**STEP)
    return {
        "p": eps * (np.abs(want["p"]) + np.abs(p)) + roundings * step,
        "m": 4 * eps * terms_m,
        "v": 4 * eps * (want["v"] + 0.001 * gradient**2),
    }


def run_rule(update: Callable, scale: np.ndarray, option: np.ndarray, a, lo: int, hi: int) -> None:
    """The rule's step on a piece of the flat arrays."""
    kept = [getattr(a, name)[lo:hi] if hasattr(a, name) else a.p[:0] for name in "mvu"]
    update(a.p[lo:hi], a.g[lo:hi], *kept, option, scale)


CASES = [
    Case(
        "sgd_update",
        inputs=lambda s, N, O: rule_inputs(s, O, 1),
        outputs={"p": "O", "m": "O"},
        run=lambda a, lo, hi: run_rule(k.sgd_update, scaled(k.sgd_scale, SGD), SGD, a, lo, hi),
        twin=lambda a: sgd_twin(a.p, a.g, a.m),
        bound=lambda a, want, eps: sgd_bound(a.p, a.g, a.m, eps),
    ),
    Case(
        "adam_update",
        inputs=lambda s, N, O: rule_inputs(s, O, 2),
        outputs={"p": "O", "m": "O", "v": "O"},
        run=lambda a, lo, hi: run_rule(k.adam_update, scaled(k.adam_scale, ADAM), ADAM, a, lo, hi),
        twin=lambda a: adam_twin(oracles.adam, a),
        bound=lambda a, want, eps: adam_bound(a, want, eps, decay=0.1),
    ),
    Case(
        "adamw_update",
        inputs=lambda s, N, O: rule_inputs(s, O, 2),
        outputs={"p": "O", "m": "O", "v": "O"},
        run=lambda a, lo, hi: run_rule(k.adamw_update, scaled(k.adam_scale, ADAM), ADAM, a, lo, hi),
        twin=lambda a: adam_twin(oracles.adamw, a),
        bound=lambda a, want, eps: adam_bound(a, want, eps, decay=0.0),
    ),
    Case(
        "rmsprop_update",
        inputs=lambda s, N, O: {"p": s.array(O), "g": s.array(O), "m": s.positive(O), "v": s.array(O)},
        outputs={"p": "O", "m": "O", "v": "O"},
        run=lambda a, lo, hi: run_rule(
            updates.rmsprop_update, scaled(updates.rmsprop_scale, RMSPROP), RMSPROP, a, lo, hi
        ),
        twin=rmsprop_twin,
        bound=rmsprop_bound,
    ),
    Case(
        "adagrad_update",
        inputs=lambda s, N, O: {"p": s.array(O), "g": s.array(O), "m": s.positive(O)},
        outputs={"p": "O", "m": "O"},
        run=lambda a, lo, hi: run_rule(
            updates.adagrad_update, scaled(updates.adagrad_scale, ADAGRAD), ADAGRAD, a, lo, hi
        ),
        twin=lambda a: dict(zip("pm", oracles.adagrad(a.p, a.g, a.m, *ADAGRAD[[0, 1, 2, 4]], STEP), strict=True)),
        bound=adagrad_bound,
    ),
    Case(
        "nadam_update",
        inputs=lambda s, N, O: rule_inputs(s, O, 2),
        outputs={"p": "O", "m": "O", "v": "O"},
        run=lambda a, lo, hi: run_rule(updates.nadam_update, scaled(updates.nadam_scale, NADAM), NADAM, a, lo, hi),
        twin=nadam_twin,
        bound=nadam_bound,
    ),
    Case(
        "lion_update",
        inputs=lambda s, N, O: rule_inputs(s, O, 1),
        outputs={"p": "O", "m": "O"},
        run=lambda a, lo, hi: run_rule(updates.lion_update, scaled(updates.lion_scale, LION), LION, a, lo, hi),
        twin=lambda a: dict(zip(("p", "m"), oracles.lion(a.p, a.g, a.m, *LION), strict=True)),
        bound=lion_bound,
    ),
]  # fmt: skip
