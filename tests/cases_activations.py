"""Cases of the activations that keep x: a pair of kernels each."""

import numpy as np
import oracles
from kernel_cases import Case

from fastmlp.kernels import activations, gates

# Gates are made from powers that count as 0 below the least normal number: what is lost of one, in float32 and float64.
LOST = {4: np.exp(-87.0), 8: np.exp(-708.0)}


def lost(a) -> float:
    return LOST[a.dtype.itemsize]


def pair(name: str, arguments: tuple[float | str, ...], numbers: tuple[float, ...], y, dx) -> list[Case]:
    """The kernels `name`_forward and `name`_backward with their twins.

    arguments  of the twins, and the numbers that the kernels get for them
    y, dx      (all arrays, the twin's result, eps) -> the largest error
    """
    module = gates if hasattr(gates, f"{name}_forward") else activations
    forward, backward = getattr(module, f"{name}_forward"), getattr(module, f"{name}_backward")
    y_twin, dx_twin, given = getattr(oracles, name), getattr(oracles, f"{name}_backward"), np.array(numbers, np.float64)
    return [
        Case(
            f"{name}_forward",
            inputs=lambda s, N, O: {"x": s.array(N, O)},
            outputs={"y": "NO"},
            run=lambda a, lo, hi: forward(a.x, a.y, given, lo, hi),
            twin=lambda a: {"y": y_twin(a.x, *arguments)},
            bound=lambda a, want, eps: {"y": y(a, np.abs(want["y"]), eps)},
            infinite=("x",),
        ),
        Case(
            f"{name}_backward",
            inputs=lambda s, N, O: {"dy": s.array(N, O), "x": s.array(N, O)},
            outputs={"dx": "NO"},
            run=lambda a, lo, hi: backward(a.dy, a.x, a.dx, given, lo, hi),
            twin=lambda a: {"dx": dx_twin(a.dy, a.x, *arguments)},
            bound=lambda a, want, eps: {"dx": dx(a, np.abs(want["dx"]), eps)},
            infinite=("dy",),
        ),
    ]


def silu_error(a, dx, eps):
    """Both terms of the slope, σ and x σ (1 - σ), have some four roundings."""
    x = oracles.f64(a.x)
    terms = oracles.sigmoid(x) + np.abs(x) * oracles.sigmoid(x) * oracles.sigmoid(-x)
    return np.abs(a.dy) * (4 * eps * terms + (1 + np.abs(x)) * lost(a))


def mish_error(a, dx, eps):
    """Both terms of the slope, t and x σ (1 - t²), have some six roundings."""
    x = oracles.f64(a.x)
    t = np.tanh(oracles.log_1_plus_power(x))
    terms = t + np.abs(oracles.mish_backward(1.0, x) - t)
    return np.abs(a.dy) * (6 * eps * terms + 2 * (1 + np.abs(x)) * lost(a))


def gelu_error(a, dx, eps):
    """Both terms of the slope, Φ and x φ, have some six roundings: of the quotient's sums, of the power, a product."""
    share, density = oracles.gelu_gate(a.x, "none")
    return np.abs(a.dy) * (6 * eps * (share + np.abs(density)) + (1 + np.abs(a.x)) * lost(a))


def tanh_exponent(a) -> np.ndarray:
    """By how many eps an error of eps in 2u, relative to it, moves σ(2u): the power's error is that of its exponent."""
    u = np.sqrt(2 / np.pi) * (oracles.f64(a.x) + 0.044715 * oracles.f64(a.x) ** 3)
    return 2 * np.abs(2 * u) * oracles.sigmoid(-2 * u)


def gelu_tanh_y_error(a, y, eps):
    return (5 + tanh_exponent(a)) * eps * y + np.abs(a.x) * lost(a)


def gelu_tanh_dx_error(a, dx, eps):
    share, density = oracles.gelu_gate(a.x, "tanh")
    u = np.sqrt(2 / np.pi) * (oracles.f64(a.x) + 0.044715 * oracles.f64(a.x) ** 3)
    moved = tanh_exponent(a) * share + 2 * np.abs(2 * u * density)
    steep = 1 + 5 * np.abs(a.x) * (1 + oracles.f64(a.x) ** 2)
    return np.abs(a.dy) * (eps * (7 * (share + np.abs(density)) + moved) + steep * lost(a))


CASES = [
    *pair("silu", (), (), lambda a, y, eps: 4 * eps * y + np.abs(a.x) * lost(a), silu_error),
    *pair("mish", (), (), lambda a, y, eps: 4 * eps * y + 2 * np.abs(a.x) * lost(a), mish_error),
    *pair("gelu", ("none",), (0.0,), lambda a, y, eps: 6 * eps * y + np.abs(a.x) * lost(a), gelu_error),
    *pair("gelu", ("tanh",), (1.0,), gelu_tanh_y_error, gelu_tanh_dx_error),
    # a product of a power; the slopes of either side are rounded too
    *pair(
        "elu",
        (1.3, 1.5),
        (1.3, 1.5),
        lambda a, y, eps: 3 * eps * y,
        lambda a, dx, eps: 3 * eps * dx + 2 * np.abs(a.dy) * lost(a),
    ),
    # beta x is exact; a power, a logarithm and a quotient follow
    *pair(
        "softplus",
        (2.0, 5.0),
        (2.0, 5.0),
        lambda a, y, eps: 4 * eps * y + lost(a),
        lambda a, dx, eps: 4 * eps * dx + np.abs(a.dy) * lost(a),
    ),
    # nothing is rounded
    *pair("hardtanh", (-0.5, 1.0), (-0.5, 1.0), lambda a, y, eps: 0 * y, lambda a, dx, eps: 0 * dx),
]
