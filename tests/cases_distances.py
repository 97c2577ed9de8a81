"""Cases of the losses of numbers, and of the scores that go with them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import oracles
import oracles_losses
from cases_losses import numbers
from kernel_cases import UNTOUCHED, Case
from strategies import Source

from fastmlp.kernels import distances as d


def both(s: Source, N: int, O: int) -> dict[str, np.ndarray]:
    return {"z": s.array(N, O), "targets": numbers(s, N, O)}


def sizes(z, t) -> np.ndarray:
    """|d| (1 + |d|): no loss here, and none of its parts, is larger than some times that."""
    apart = np.abs(oracles.f64(z) - oracles.f64(t))
    return apart * (1 + apart)


def forward(a, *options) -> tuple[Any, ...]:
    """The arguments of a forward, but for the rows."""
    return a.z, a.targets, a.r, a.z, a.terms, np.array(options or (0.0,), np.float64), a.O


def backward(a, *options) -> tuple[Any, ...]:
    return a.z, a.targets, a.r, a.z, a.dz, np.array(options or (0.0,), np.float64), a.O


def score_terms(a, terms) -> dict[str, np.ndarray]:
    return {"terms": np.stack([np.full(a.N, UNTOUCHED), terms])}


def pair(
    name: str,
    run: tuple[Callable[..., Any], Callable[..., Any]],
    twin: Callable[[Any], Any],
    draw: Callable[[Source, int, int], dict[str, np.ndarray]] = both,
    parts: Callable[[Any, Any], np.ndarray] = sizes,
) -> list[Case]:
    """The forward and the backward of a loss that is a mean over the columns.

    twin   (a) -> (each, slopes, mass)    parts  (z, t) -> what is added up for a number, without signs
    """

    def inputs(s: Source, N: int, O: int) -> dict[str, np.ndarray]:
        return {**draw(s, N, O), "r": s.positive(N)}

    def terms(a) -> dict[str, np.ndarray]:
        return {"terms": np.stack([oracles.f64(a.r) * twin(a)[0].mean(axis=1), np.full(a.N, UNTOUCHED)])}

    def terms_bound(a, want, eps) -> dict[str, np.ndarray]:
        """n eps Σ|terms|; each term is off by some roundings of its parts."""
        term = (a.O + 12) * eps * oracles.f64(a.r) * parts(a.z, a.targets).mean(axis=1)
        return {"terms": np.stack([term, np.zeros(a.N)])}

    def dz_bound(a, want, eps) -> dict[str, np.ndarray]:
        """Some products, and the rounding of a difference."""
        return {"dz": 8 * eps * (np.abs(want["dz"]) + oracles.f64(a.r)[:, None] * parts(a.z, a.targets) / a.O)}

    return [
        Case(f"{name}_forward", inputs, {"terms": "2N"}, run[0], terms, terms_bound, of_rows=True, wide=("terms",)),
        Case(
            f"{name}_backward", inputs, {"dz": "NO"}, run[1],
            lambda a: {"dz": oracles.f64(a.r)[:, None] * twin(a)[1] / a.O}, dz_bound, of_rows=True,
        ),
    ]  # fmt: skip


def counts(s: Source, N: int, O: int) -> dict[str, np.ndarray]:
    """Outputs whose exponential is a number of either dtype, and counts."""
    return {"z": np.clip(s.array(N, O), -80, 80).astype(s.dtype), "targets": s.rng.poisson(2.0, (N, O)) / 1.0}


def poisson_parts(z, t) -> np.ndarray:
    """The absolute values that are added up for each number; an exponential is off by eps |z| of itself at most."""
    z, t = np.abs(oracles.f64(z)), oracles.f64(t)
    log = np.abs(np.log(np.maximum(t, 1)))
    return np.exp(np.minimum(oracles.f64(z), 80)) * 1.0 + t * z + t * log + t + log + 2


def quantiles(count: int) -> np.ndarray:
    return (np.arange(count) + 0.5) / count


CASES = [
    *pair(
        "l1",
        (lambda a, lo, hi: d.l1_forward(*forward(a), lo, hi), lambda a, lo, hi: d.l1_backward(*backward(a), lo, hi)),
        lambda a: oracles_losses.l1(a.z, a.targets),
    ),
    *pair(
        "huber",
        (
            lambda a, lo, hi: d.huber_forward(*forward(a, 0.75), lo, hi),
            lambda a, lo, hi: d.huber_backward(*backward(a, 0.75), lo, hi),
        ),
        lambda a: oracles_losses.huber(a.z, a.targets, 0.75),
    ),
    *pair(
        "smooth_l1",
        (
            lambda a, lo, hi: d.smooth_l1_forward(*forward(a, 0.75), lo, hi),
            lambda a, lo, hi: d.smooth_l1_backward(*backward(a, 0.75), lo, hi),
        ),
        lambda a: oracles_losses.smooth_l1(a.z, a.targets, 0.75),
    ),
    *pair(
        "poisson_nll",
        (
            lambda a, lo, hi: d.poisson_nll_forward(*forward(a, 1, 1, 1e-8), lo, hi),
            lambda a, lo, hi: d.poisson_nll_backward(*backward(a, 1, 1, 1e-8), lo, hi),
        ),
        lambda a: oracles_losses.poisson(a.z, a.targets, True, True, 1e-8),
        counts,
        poisson_parts,
    ),
    Case(
        "poisson_d2_score",
        inputs=lambda s, N, O: {**counts(s, N, O), "w": oracles.f64(s.positive(O))},
        outputs={"terms": "2N"},
        run=lambda a, lo, hi: d.poisson_d2_score(a.z, a.targets, a.terms, np.array([1.0, *a.w]), a.O, lo, hi),
        twin=lambda a: score_terms(
            a, -(a.w * oracles_losses.deviance(np.exp(oracles.f64(a.z)), a.targets)).sum(axis=1)
        ),
        # float64 throughout: n roundings of the parts, which cancel
        bound=lambda a, want, eps: {
            "terms": np.stack([np.zeros(a.N), (a.O + 8) * 2.0**-52 * (a.w * poisson_parts(a.z, a.targets)).sum(axis=1)])
        },
        of_rows=True,
        wide=("terms",),
    ),
    *pair(
        "quantile",
        (
            lambda a, lo, hi: d.quantile_forward(*forward(a, *quantiles(a.O)), lo, hi),
            lambda a, lo, hi: d.quantile_backward(*backward(a, *quantiles(a.O)), lo, hi),
        ),
        lambda a: oracles_losses.quantile(a.z, a.targets, quantiles(a.O)),
        lambda s, N, O: {"z": s.array(N, O), "targets": numbers(s, N, 1)},
        lambda z, t: sizes(z, t) + 1,  # 1 - q is off by the rounding of 1
    ),
    Case(
        "quantile_d2_score",
        inputs=lambda s, N, O: {"z": s.array(N, O), "targets": numbers(s, N, O), "w": oracles.f64(s.positive(O))},
        outputs={"terms": "2N"},
        run=lambda a, lo, hi: d.quantile_d2_score(a.z, a.targets, a.terms, np.array([1, 0.3, *a.w]), a.O, lo, hi),
        twin=lambda a: score_terms(a, -(a.w * oracles_losses.quantile(a.z, a.targets, (0.3,))[0]).sum(axis=1)),
        bound=lambda a, want, eps: {"terms": (a.O + 4) * 2.0**-52 * np.abs(want["terms"])},
        of_rows=True,
        wide=("terms",),
    ),
]
