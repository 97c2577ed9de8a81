"""Cases of the products and of the linear layer."""

import numpy as np
import oracles
from cases_rules import SGD, scaled, sgd_bound, sgd_twin
from kernel_cases import Case
from strategies import Source

from fastmlp import kernels as k
from fastmlp.kernels import forms
from fastmlp.kernels.linear import PIECE


def width(source: Source) -> int:
    """A second length for the products."""
    return int(source.rng.integers(1, 41))


def packed(source: Source, O: int, I: int) -> dict[str, np.ndarray]:
    weight = source.array(O, I)
    return {"weight": weight, "w": oracles.pack(weight, k.lanes(source.dtype))}


def padded_columns(source: Source, N: int, O: int) -> np.ndarray:
    """(N, padded O) with zeros in the padding, as a layer's dy."""
    array = np.zeros((N, k.padded(O, source.dtype)), source.dtype)
    array[:, :O] = source.array(N, O)
    return array


def terms(a, b) -> np.ndarray:
    """Σ|terms| of a b."""
    return oracles.product(np.abs(a), np.abs(b))


def cut(columns: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Padded with zeros to the width of `like`."""
    wide = np.zeros(like.shape)
    wide[:, : columns.shape[1]] = columns
    return wide


def flat_state(a) -> tuple:
    """p, m, v, u, at: flat, from 0 on, for a rule that keeps m."""
    p = a.p.reshape(-1)
    return p, a.m.reshape(-1), p[:0], p[:0], 0


def piece(a) -> np.ndarray:
    """Where the gradients of a piece of the weights lie."""
    return np.empty(PIECE * k.PANEL * a.lanes, a.dtype)


def sgd_step(a) -> tuple:
    """rule, option, scale of SGD."""
    return forms.address(k.sgd_update, "rule", a.dtype), SGD, scaled(k.sgd_scale, SGD)


CASES = [
    Case(
        "product",
        inputs=lambda s, N, O: {**packed(s, O, width(s)), "x": s.array(N, 41)},
        outputs={"y": "NP"},
        run=lambda a, lo, hi: k.product(a.x, a.w, a.y, a.tiles, lo, hi),
        twin=lambda a: {"y": cut(oracles.product(a.x[:, : a.w.shape[1]], a.weight.T), a.y)},
        # n eps Σ|terms|
        bound=lambda a, want, eps: {
            "y": (a.w.shape[1] + 2) * eps * cut(terms(a.x[:, : a.w.shape[1]], a.weight.T), a.y)
        },
        blocked=True,
    ),
    Case(
        "product_dw",
        inputs=lambda s, N, O: {"x": s.array(N, width(s)), "dy": padded_columns(s, N, O)},
        outputs={"dw": "BIL"},
        run=lambda a, lo, hi: k.product_dw(a.x, a.dy, a.dw, a.tiles, lo, hi),
        twin=lambda a: {"dw": oracles.pack(oracles.product(a.dy[:, : a.O].T, a.x), a.lanes)},
        # n eps Σ|terms|
        bound=lambda a, want, eps: {
            "dw": oracles.pack((a.N + 2) * eps * terms(a.dy[:, : a.O].T, a.x), a.lanes)
        },
        blocked=True,
    ),
    Case(
        "product_dx",  # the range is of inputs: O is I here
        inputs=lambda s, N, O: {
            **packed(s, o := width(s), O),
            "dy": padded_columns(s, N, o),
            "scratch": np.zeros(k.scratch_size(s.dtype), s.dtype),
        },
        outputs={"dx": "NP"},
        run=lambda a, lo, hi: k.product_dx(a.dy, a.w, a.scratch, a.dx, a.tiles, lo, hi),
        twin=lambda a: {"dx": cut(oracles.product(a.dy[:, : len(a.weight)], a.weight), a.dx)},
        # n eps Σ|terms|
        bound=lambda a, want, eps: {
            "dx": (len(a.weight) + 2) * eps * cut(terms(a.dy[:, : len(a.weight)], a.weight), a.dx)
        },
        blocked=True,
    ),
    Case(
        "linear_forward",
        inputs=lambda s, N, O: {**packed(s, O, i := width(s)), "x": s.array(N, i), "b": s.array(O)},
        outputs={"y": "NP"},
        run=lambda a, lo, hi: k.linear_forward(a.x, a.w, a.b, a.y, a.tiles, k.NO_LISTS, lo, hi),
        twin=lambda a: {"y": cut(oracles.linear(a.x, a.weight, a.b), a.y)},
        # n eps Σ|terms|
        bound=lambda a, want, eps: {
            "y": (a.x.shape[1] + 3) * eps * cut(terms(a.x, a.weight.T) + np.abs(a.b), a.y)
        },
        blocked=True,
    ),
    Case(
        "linear_backward",
        inputs=lambda s, N, O: {"x": s.array(N, width(s)), "dy": padded_columns(s, N, O)},
        outputs={"dw": "BIL", "db": "O"},
        run=lambda a, lo, hi: k.linear_backward(a.dy, a.x, a.dw, a.db, a.tiles, lo, hi),
        twin=lambda a: {
            "dw": oracles.pack(oracles.product(a.dy[:, : a.O].T, a.x), a.lanes),
            "db": oracles.f64(a.dy[:, : a.O]).sum(axis=0),
        },
        # n eps Σ|terms|
        bound=lambda a, want, eps: {
            "dw": oracles.pack((a.N + 2) * eps * terms(a.dy[:, : a.O].T, a.x), a.lanes),
            "db": a.N * eps * np.abs(oracles.f64(a.dy[:, : a.O])).sum(axis=0),
        },
        blocked=True,
    ),
    Case(
        "linear_update_weight",  # with SGD's step
        inputs=lambda s, N, O: {
            "x": (x := s.array(N, width(s))), "dy": padded_columns(s, N, O),
            "p": s.array(*k.packed_shape(O, x.shape[1], s.dtype)),
            "m": s.array(*k.packed_shape(O, x.shape[1], s.dtype)),
        },
        outputs={"p": "BIL", "m": "BIL"},
        run=lambda a, lo, hi: k.linear_update_weight(
            a.x, a.dy, *flat_state(a), a.x.shape[1], piece(a), a.tiles, k.NO_LISTS, *sgd_step(a), lo, hi
        ),
        twin=lambda a: sgd_twin(a.p, oracles.pack(oracles.product(a.dy[:, : a.O].T, a.x), a.lanes), a.m),
        bound=lambda a, want, eps: sgd_bound(
            a.p, off := oracles.pack(terms(a.dy[:, : a.O].T, a.x), a.lanes), a.m, eps, (a.N + 2) * eps * off
        ),  # n eps Σ|terms| of the gradient, and the step
        blocked=True,
    ),
    Case(
        "linear_update_bias",  # with SGD's step
        inputs=lambda s, N, O: {"dy": padded_columns(s, N, O), "p": s.array(O), "m": s.array(O)},
        outputs={"p": "O", "m": "O"},
        run=lambda a, lo, hi: k.linear_update_bias(a.dy, *flat_state(a), piece(a), *sgd_step(a), lo, hi),
        twin=lambda a: sgd_twin(a.p, oracles.f64(a.dy[:, : a.O]).sum(axis=0), a.m),
        bound=lambda a, want, eps: sgd_bound(
            a.p, off := np.abs(oracles.f64(a.dy[:, : a.O])).sum(axis=0), a.m, eps, a.N * eps * off
        ),  # n eps Σ|terms| of the gradient, and the step
        blocked=True,
    ),
]  # fmt: skip
