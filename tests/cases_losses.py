"""Cases of the losses and the scores."""

import numpy as np
import oracles
import oracles_losses
from cases_layers import NONE
from kernel_cases import UNTOUCHED, Case
from strategies import Source

from fastmlp import kernels as k
from fastmlp.kernels import distances
from fastmlp.kernels import loss as losses

SMOOTHING = np.array([0.1])


def log_softmax_bound(a, want, eps) -> dict[str, np.ndarray]:
    """The sum of C exponentials is off by (C + 8) eps of itself, its logarithm by as much absolutely.

    z - top is off by eps |z - top|, and its exponential by as much of itself.
    """
    z = oracles.f64(a.z)
    below = np.abs(z - z.max(axis=1, keepdims=True))
    return {
        "y": (z.shape[1] + 8) * eps + 3 * eps * (below + np.abs(want["y"])),
        "p": np.where(want["p"] > 0, (z.shape[1] + 8 + below) * eps * want["p"], 0),
    }


def numbers(s: Source, N: int, O: int) -> np.ndarray:
    """Targets (N, C) in float64."""
    return oracles.f64(s.array(N, O))


def mse_bound(a, want, eps) -> dict[str, np.ndarray]:
    """A target and a difference are rounded once each, to eps of the larger; n eps Σ|terms| of the squares."""
    z, t, r = oracles.f64(a.z), oracles.f64(a.targets), oracles.f64(a.r)
    d, size = np.abs(z - t), np.abs(z) + np.abs(t)
    term = r * ((a.O + 6) * eps * d**2 + 4 * eps * d * size + (eps * size) ** 2).sum(axis=1) / a.O
    return {"terms": np.stack([term, np.zeros(a.N)])}


def mse_dz_bound(a, want, eps) -> dict[str, np.ndarray]:
    """As of the forward: the difference is off by eps of the larger number, and three products follow."""
    z, t, r = oracles.f64(a.z), oracles.f64(a.targets), oracles.f64(a.r)[:, None]
    return {"dz": 2 * r / a.O * (eps * (np.abs(z) + np.abs(t)) + 4 * eps * np.abs(z - t))}


def cross_entropy_twin(a) -> dict[str, np.ndarray]:
    y = oracles.log_softmax(a.z)
    losses = [oracles.nll_loss(y[n : n + 1], labels_of(a)[n : n + 1], a.r[n : n + 1], 0.1) for n in range(a.N)]
    return {"kept": np.concatenate([y, np.exp(y)]), "terms": np.stack([losses, np.full(a.N, UNTOUCHED)])}


def cross_entropy_bound(a, want, eps) -> dict[str, np.ndarray]:
    """y and p as in `log_softmax_bound`; a term inherits y's error, and adds n eps Σ|terms|."""
    y, p = want["kept"][: a.N], want["kept"][a.N :]
    kept = log_softmax_bound(a, {"y": y, "p": p}, eps)
    q = oracles.smoothed(labels_of(a), a.O, 0.1)
    term = a.r * (q * (kept["y"] + (a.O + 4) * eps * np.abs(y))).sum(axis=1)
    return {"kept": np.concatenate([kept["y"], kept["p"]]), "terms": np.stack([term, np.zeros(a.N)])}


def cross_entropy_gradient_twin(a) -> dict[str, np.ndarray]:
    dy = oracles.nll_loss_backward(1.0, labels_of(a), a.r, 0.1, a.O)
    return {"dz": oracles.log_softmax_backward(dy, a.kept[a.N :])}


def cross_entropy_gradient_bound(a, want, eps) -> dict[str, np.ndarray]:
    """As the bounds of nll_loss_backward (three roundings of dy) and log_softmax_backward."""
    dy = np.abs(oracles.nll_loss_backward(1.0, labels_of(a), a.r, 0.1, a.O))
    return {"dz": 4 * eps * dy + (a.O + 7) * eps * dy.sum(axis=1, keepdims=True)}


def soft_numbers(O: int) -> np.ndarray:
    """A smoothing, and weights of the classes of which the first is 0."""
    return np.array([0.1, *np.arange(O) / 4])


def soft_targets(s: Source, N: int, O: int) -> np.ndarray:
    """Probabilities, some of them 0; of one class its label."""
    return s.rng.dirichlet(np.full(O, 0.5), N) * (s.rng.random((N, O)) > 0.3) if O > 1 else np.zeros((N, 1))


def soft_shares(a) -> np.ndarray:
    """q of the targets above."""
    numbers = soft_numbers(a.O)
    targets = a.targets if a.O > 1 else labels_of(a)
    return oracles_losses.class_shares(targets, a.O, numbers[0], numbers[1:])


def soft_nll(a) -> np.ndarray:
    """-r Σ_c q y; a class without a share counts nothing, whatever its y."""
    q = soft_shares(a)
    return np.array([-float(r) * sum(float(p) * float(v) for p, v in zip(*row, strict=True) if p)
                     for r, *row in zip(a.r, q, a.y, strict=True)])  # fmt: skip


def soft_nll_bound(a, want, eps) -> dict[str, np.ndarray]:
    """n eps Σ|terms|; q is rounded to the dtype."""
    q = soft_shares(a)
    sizes = np.where(q > 0, np.abs(q * oracles.f64(a.y)), 0).sum(axis=1)
    return {"terms": np.stack([(a.O + 5) * eps * oracles.f64(a.r) * sizes, np.zeros(a.N)])}


def soft_twin(a) -> dict[str, np.ndarray]:
    y = oracles.log_softmax(a.z)
    loss = -oracles.f64(a.r) * (soft_shares(a) * y).sum(axis=1)
    return {"kept": np.concatenate([y, np.exp(y)]), "terms": np.stack([loss, np.full(a.N, UNTOUCHED)])}


def soft_bound(a, want, eps) -> dict[str, np.ndarray]:
    """As that of cross_entropy, with q for its shares, which is rounded too."""
    y = oracles.log_softmax(a.z)
    kept = log_softmax_bound(a, {"y": y, "p": np.exp(y)}, eps)
    term = oracles.f64(a.r) * (soft_shares(a) * (kept["y"] + (a.O + 5) * eps * np.abs(y))).sum(axis=1)
    return {"kept": np.concatenate([kept["y"], kept["p"]]), "terms": np.stack([term, np.zeros(a.N)])}


def soft_gradient(a) -> np.ndarray:
    return -oracles.f64(a.r)[:, None] * soft_shares(a)


def soft_gradient_bound(a, want, eps) -> dict[str, np.ndarray]:
    """As that of cross_entropy."""
    dy = np.abs(soft_gradient(a))
    return {"dz": 4 * eps * dy + (a.O + 7) * eps * dy.sum(axis=1, keepdims=True)}


def label_numbers(O: int) -> np.ndarray:
    """Weights of the labels, and of those that are 1."""
    return np.concatenate([np.arange(O) / 4 + 0.25, 3 - np.arange(O) / O])


def binary_twin(a) -> tuple[np.ndarray, ...]:
    numbers = label_numbers(a.O)
    return oracles_losses.binary_cross_entropy(a.z, a.targets, numbers[: a.O], numbers[a.O :])


def labels_of(a) -> np.ndarray:
    return a.targets[:, 0].astype(int)


def classes(s: Source, N: int, O: int) -> np.ndarray:
    """Labels as the losses' kernels take them."""
    return s.rng.integers(0, O, (N, 1)).astype(np.float64)


CASES = [
    Case(
        "log_softmax_forward",
        inputs=lambda s, N, O: {"z": s.array(N, O)},
        outputs={"y": "NO", "p": "NO"},
        run=lambda a, lo, hi: k.log_softmax_forward(a.z, a.y, a.p, a.O, lo, hi),
        twin=lambda a: {"y": oracles.log_softmax(a.z), "p": np.exp(oracles.log_softmax(a.z))},
        bound=log_softmax_bound,
        infinite=("z",),
        of_rows=True,
    ),
    Case(
        "log_softmax_backward",
        inputs=lambda s, N, O: {"dy": s.array(N, O), "p": np.exp(oracles.log_softmax(s.array(N, O))).astype(s.dtype)},
        outputs={"dz": "NO"},
        run=lambda a, lo, hi: k.log_softmax_backward(a.dy, a.p, a.dz, a.O, lo, hi),
        twin=lambda a: {"dz": oracles.log_softmax_backward(a.dy, a.p)},
        # n eps Σ|dy|, times a softmax of at most 1, and one difference
        bound=lambda a, want, eps: {
            "dz": eps * np.abs(a.dy) + (a.O + 4) * eps * np.abs(oracles.f64(a.dy)).sum(axis=1, keepdims=True)
        },
        of_rows=True,
    ),
    Case(
        "nll_loss_backward",
        inputs=lambda s, N, O: {"labels": s.rng.integers(0, O, N), "r": s.positive(N)},
        outputs={"dy": "NO"},
        run=lambda a, lo, hi: k.nll_loss_backward(1.5, a.labels, a.r, 0.1, a.dy, a.O, lo, hi),
        twin=lambda a: {"dy": oracles.nll_loss_backward(1.5, a.labels, a.r, 0.1, a.O)},
        bound=lambda a, want, eps: {"dy": 3 * eps * np.abs(want["dy"])},  # q from three numbers, two products
        of_rows=True,
    ),
    Case(
        "soft_nll_loss_forward",
        inputs=lambda s, N, O: {"y": s.array(N, O), "targets": soft_targets(s, N, O), "r": s.positive(N)},
        outputs={"terms": "2N"},
        run=lambda a, lo, hi: k.soft_nll_loss_forward(a.y, a.targets, a.r, a.terms, soft_numbers(a.O), a.O, lo, hi),
        twin=lambda a: {"terms": np.stack([soft_nll(a), np.full(a.N, UNTOUCHED)])},
        bound=soft_nll_bound,
        of_rows=True,
        wide=("terms",),
    ),
    Case(
        "soft_nll_loss_backward",
        inputs=lambda s, N, O: {"targets": soft_targets(s, N, O), "r": s.positive(N)},
        outputs={"dy": "NO"},
        run=lambda a, lo, hi: k.soft_nll_loss_backward(a.targets, a.r, a.dy, soft_numbers(a.O), a.O, lo, hi),
        twin=lambda a: {"dy": -oracles.f64(a.r)[:, None] * soft_shares(a)},
        bound=lambda a, want, eps: {"dy": 3 * eps * np.abs(want["dy"])},  # q rounded, a product
        of_rows=True,
    ),
    Case(
        "cross_entropy_forward",
        inputs=lambda s, N, O: {"z": s.array(N, O), "targets": classes(s, N, O), "r": s.positive(N)},
        outputs={"kept": "DO", "terms": "2N"},
        run=lambda a, lo, hi: k.cross_entropy_forward(a.z, a.targets, a.r, a.kept, a.terms, SMOOTHING, a.O, lo, hi),
        twin=cross_entropy_twin,
        bound=cross_entropy_bound,
        infinite=("z",),
        of_rows=True,
        wide=("terms",),
    ),
    Case(
        "cross_entropy_backward",
        inputs=lambda s, N, O: {
            "z": s.array(N, O), "targets": classes(s, N, O), "r": s.positive(N),
            "kept": np.concatenate([y := oracles.log_softmax(s.array(N, O)), np.exp(y)]).astype(s.dtype),
        },
        outputs={"dz": "NO"},
        run=lambda a, lo, hi: k.cross_entropy_backward(a.z, a.targets, a.r, a.kept, a.dz, SMOOTHING, a.O, lo, hi),
        twin=cross_entropy_gradient_twin,
        bound=cross_entropy_gradient_bound,
        of_rows=True,
    ),
    Case(
        "soft_cross_entropy_forward",
        inputs=lambda s, N, O: {"z": s.array(N, O), "targets": soft_targets(s, N, O), "r": s.positive(N)},
        outputs={"kept": "DO", "terms": "2N"},
        run=lambda a, lo, hi: k.soft_cross_entropy_forward(
            a.z, a.targets, a.r, a.kept, a.terms, soft_numbers(a.O), a.O, lo, hi
        ),
        twin=soft_twin,
        bound=soft_bound,
        of_rows=True,
        wide=("terms",),
    ),
    Case(
        "soft_cross_entropy_backward",
        inputs=lambda s, N, O: {
            "z": s.array(N, O), "targets": soft_targets(s, N, O), "r": s.positive(N),
            "kept": np.concatenate([y := oracles.log_softmax(s.array(N, O)), np.exp(y)]).astype(s.dtype),
        },
        outputs={"dz": "NO"},
        run=lambda a, lo, hi: k.soft_cross_entropy_backward(
            a.z, a.targets, a.r, a.kept, a.dz, soft_numbers(a.O), a.O, lo, hi
        ),
        twin=lambda a: {"dz": oracles.log_softmax_backward(soft_gradient(a), a.kept[a.N :])},
        bound=soft_gradient_bound,
        of_rows=True,
    ),
    Case(
        "binary_cross_entropy_with_logits_forward",
        inputs=lambda s, N, O: {"z": s.array(N, O), "targets": s.rng.integers(0, 2, (N, O)) / 1.0, "r": s.positive(N)},
        outputs={"terms": "2N"},
        run=lambda a, lo, hi: losses.binary_cross_entropy_with_logits_forward(
            a.z, a.targets, a.r, a.z, a.terms, label_numbers(a.O), a.O, lo, hi
        ),
        twin=lambda a: {
            "terms": np.stack([oracles.f64(a.r) * binary_twin(a)[0].mean(axis=1), np.full(a.N, UNTOUCHED)])
        },
        # n eps Σ|terms|; e^-|z| is off by eps |z| of itself, and so is log1p of it
        bound=lambda a, want, eps: {
            "terms": np.stack([(a.O + 12) * eps * np.abs(want["terms"][0]), np.zeros(a.N)])
        },
        infinite=("z",),
        of_rows=True,
        wide=("terms",),
    ),
    Case(
        "binary_cross_entropy_with_logits_backward",
        inputs=lambda s, N, O: {"z": s.array(N, O), "targets": s.rng.integers(0, 2, (N, O)) / 1.0, "r": s.positive(N)},
        outputs={"dz": "NO"},
        run=lambda a, lo, hi: losses.binary_cross_entropy_with_logits_backward(
            a.z, a.targets, a.r, a.z, a.dz, label_numbers(a.O), a.O, lo, hi
        ),
        twin=lambda a: {"dz": oracles.f64(a.r)[:, None] * binary_twin(a)[1] / a.O},
        bound=lambda a, want, eps: {"dz": 12 * eps * np.abs(want["dz"])},  # an exponential, a division, products
        infinite=("z",),
        of_rows=True,
    ),
    Case(
        "f1_score",
        inputs=lambda s, N, O: {"z": s.array(N, O), "targets": s.rng.integers(0, 2, (N, O)) / 1.0},
        outputs={"terms": "3N"},
        run=lambda a, lo, hi: losses.f1_score(a.z, a.targets, a.terms, NONE, a.O, lo, hi),
        twin=lambda a: {
            "terms": np.stack(
                [
                    np.full(a.N, UNTOUCHED),
                    2 * ((a.z > 0) & (a.targets > 0)).sum(axis=1),
                    (a.z > 0).sum(axis=1) + a.targets.sum(axis=1),
                ]
            )
        },
        bound=lambda a, want, eps: {"terms": 0},  # counts
        infinite=("z",),
        of_rows=True,
        wide=("terms",),
    ),
    Case(
        "accuracy_score",
        inputs=lambda s, N, O: {"z": s.array(N, O), "targets": classes(s, N, O)},
        outputs={"terms": "2N"},
        run=lambda a, lo, hi: k.accuracy_score(a.z, a.targets, a.terms, NONE, a.O, lo, hi),
        twin=lambda a: {"terms": np.stack([np.full(a.N, UNTOUCHED), oracles.hits(a.z, labels_of(a))])},
        bound=lambda a, want, eps: {"terms": 0},  # 1 or 0
        infinite=("z",),
        of_rows=True,
        wide=("terms",),
    ),
    Case(
        "mse_forward",
        inputs=lambda s, N, O: {"z": s.array(N, O), "targets": numbers(s, N, O), "r": s.positive(N)},
        outputs={"terms": "2N"},
        run=lambda a, lo, hi: distances.mse_forward(a.z, a.targets, a.r, a.z, a.terms, NONE, a.O, lo, hi),
        twin=lambda a: {
            "terms": np.stack(
                [oracles.f64(a.r) * ((oracles.f64(a.z) - a.targets) ** 2).mean(axis=1), np.full(a.N, UNTOUCHED)]
            )
        },
        bound=mse_bound,
        of_rows=True,
        wide=("terms",),
    ),
    Case(
        "mse_backward",
        inputs=lambda s, N, O: {"z": s.array(N, O), "targets": numbers(s, N, O), "r": s.positive(N)},
        outputs={"dz": "NO"},
        run=lambda a, lo, hi: distances.mse_backward(a.z, a.targets, a.r, a.z, a.dz, NONE, a.O, lo, hi),
        twin=lambda a: {"dz": 2 * oracles.f64(a.r)[:, None] * (oracles.f64(a.z) - a.targets) / a.O},
        bound=mse_dz_bound,
        of_rows=True,
    ),
    Case(
        "r2_score",
        inputs=lambda s, N, O: {"z": s.array(N, O), "targets": numbers(s, N, O), "w": oracles.f64(s.positive(O))},
        outputs={"terms": "2N"},
        run=lambda a, lo, hi: distances.r2_score(a.z, a.targets, a.terms, a.w, a.O, lo, hi),
        twin=lambda a: {
            "terms": np.stack([np.full(a.N, UNTOUCHED), -(a.w * (oracles.f64(a.z) - a.targets) ** 2).sum(axis=1)])
        },
        # summed in float64: n roundings of 2⁻⁵³ of terms of one sign, doubled
        bound=lambda a, want, eps: {"terms": (a.O + 4) * 2.0**-52 * np.abs(want["terms"])},
        of_rows=True,
        wide=("terms",),
    ),
]  # fmt: skip
