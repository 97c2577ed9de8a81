"""Cases of the layers that are not products: activations, dropout, batch norm."""

import numpy as np
import oracles
from kernel_cases import UNTOUCHED, Case
from strategies import Source

from fastmlp import kernels as k
from fastmlp.kernels import activations, layernorm, norm, prelu

NONE = np.zeros(0)  # the numbers of a kind without options
DROP = (0.3, 12345678901, 7, 2)  # p, seed, step, layer
NORM = np.array([0.1, 1e-5])  # momentum, eps
STATE = ("running_mean", "running_var", "mean", "rstd")  # rows of the state of a batch norm


def batchnorm_inputs(s: Source, N: int, O: int) -> dict[str, np.ndarray]:
    """weights: gamma, beta.    state: running mean and variance; the rows of mean and rstd are not read"""
    return {
        "x": s.array(N, O), "weights": np.stack([s.array(O), s.array(O)]),
        "state": np.stack([s.array(O), s.positive(O), *np.full((2, O), UNTOUCHED, s.dtype)]),
    }  # fmt: skip


def batchnorm_twin(a) -> dict[str, np.ndarray]:
    found = oracles.batchnorm(a.x, *a.weights, *a.state[:2], *NORM)
    return {"y": found["y"], "state": np.stack([found[row] for row in STATE])}


def batchnorm_bound(a, want, eps) -> dict[str, np.ndarray]:
    """The mean is off by delta = N eps Σ|x| / N; what follows inherits that and a few roundings."""
    N, (gamma, beta), (running_mean, running_var) = len(a.x), oracles.f64(a.weights), oracles.f64(a.state[:2])
    mean, rstd = want["state"][2:]
    delta = eps * np.abs(oracles.f64(a.x)).sum(axis=0)
    variance = 1 / rstd**2
    off = (N + 8) * eps + (delta * rstd) ** 2  # relative error of the variance: its sum, and the mean's square
    state = {
        "mean": delta + eps * np.abs(mean),
        "rstd": off * rstd,
        "running_mean": 0.1 * delta + 4 * eps * (np.abs(running_mean) + np.abs(mean)),
        "running_var": 0.2 * off * variance + 4 * eps * (np.abs(running_var) + variance),
    }
    hat = np.abs(want["y"] - beta)
    return {
        "y": delta * np.abs(gamma) * rstd * (1 + off) + (off + 4 * eps) * hat + eps * np.abs(want["y"]),
        "state": np.stack([state[row] for row in STATE]),
    }


def batchnorm_gradient_inputs(s: Source, N: int, O: int) -> dict[str, np.ndarray]:
    """The gradient reads gamma, and mean and rstd of the state."""
    return {
        "dy": s.array(N, O), "x": s.array(N, O), "weights": np.stack([s.array(O), s.array(O)]),
        "state": np.stack([s.array(O), s.positive(O), s.array(O), s.positive(O)]),
    }  # fmt: skip


SLOPE, EPS = np.array([0.3]), np.array([1e-5])  # of leaky ReLU, of layer norm


def layernorm_inputs(s: Source, N: int, O: int) -> dict[str, np.ndarray]:
    return {"x": s.array(N, O), "weights": np.stack([s.array(O), s.array(O)])}


def layernorm_twin(a) -> dict[str, np.ndarray]:
    found = oracles.layernorm(a.x, *a.weights, EPS[0])
    return {"y": found["y"], "state": np.stack([found["mean"][:, 0], found["rstd"][:, 0]])}


def layernorm_bound(a, want, eps) -> dict[str, np.ndarray]:
    """As of batch norm, row by row: the mean is off by delta = C eps Σ|x| / C."""
    (gamma, beta), (mean, rstd) = oracles.f64(a.weights), want["state"]
    delta = eps * np.abs(oracles.f64(a.x)).sum(axis=1)
    off = (a.O + 8) * eps + (delta * rstd) ** 2
    hat = np.abs(want["y"] - beta)
    y = (delta * rstd * (1 + off))[:, None] * np.abs(gamma) + (off[:, None] + 4 * eps) * hat + eps * np.abs(want["y"])
    return {"y": y, "state": np.stack([delta + eps * np.abs(mean), off * rstd])}


def layernorm_gradient_inputs(s: Source, N: int, O: int) -> dict[str, np.ndarray]:
    return {"dy": s.array(N, O), **layernorm_inputs(s, N, O), "state": np.stack([s.array(N), s.positive(N)])}


def layernorm_gradients(a) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mean, rstd = oracles.f64(a.state)[:, :, None]
    return oracles.layernorm_backward(a.dy, a.x, a.weights[0], mean, rstd)


def layernorm_dx_bound(a, want, eps) -> dict[str, np.ndarray]:
    """n eps Σ|terms| of the two sums over the row; dx adds up three terms, of which two hold one."""
    mean, rstd = oracles.f64(a.state)[:, :, None]
    d, hat = np.abs(oracles.f64(a.dy) * oracles.f64(a.weights[0])), np.abs(oracles.f64(a.x) - mean) * rstd
    total, along = d.mean(axis=1, keepdims=True), (d * hat).mean(axis=1, keepdims=True)
    return {"dx": (a.O + 10) * eps * rstd * (d + total + hat * along)}


def layernorm_weights_bound(a, want, eps) -> dict[str, np.ndarray]:
    """n eps Σ|terms|, and three roundings of each term."""
    mean, rstd = oracles.f64(a.state)[:, :, None]
    dy, hat = np.abs(oracles.f64(a.dy)), np.abs(oracles.f64(a.x) - mean) * rstd
    return {"dweights": (a.N + 4) * eps * np.stack([(dy * hat).sum(axis=0), dy.sum(axis=0)])}


def prelu_terms(a) -> np.ndarray:
    """What each row adds to the gradient of its column's slope."""
    return np.where(a.x > 0, 0.0, oracles.f64(a.dy) * a.x)


def prelu_gradients(a) -> dict[str, np.ndarray]:
    """A slope for each column, also where there is one column."""
    dx, _ = oracles.prelu_backward(a.dy, a.x, a.weights[0])
    return {"dx": dx, "dweights": prelu_terms(a).sum(axis=0)[None]}


def gradients(dx, dgamma, dbeta) -> dict[str, np.ndarray]:
    return {"dx": dx, "dweights": np.stack([dgamma, dbeta])}


def batchnorm_gradient_bound(a, want, eps) -> dict[str, np.ndarray]:
    """n eps Σ|terms| for the two sums; dx adds up three terms, of which two hold a sum."""
    dy, x, gamma, mean, rstd = (oracles.f64(v) for v in (a.dy, a.x, a.weights[0], *a.state[2:]))
    N = len(x)
    hat = np.abs(x - mean) * rstd
    sum_dy, sum_dy_hat = np.abs(dy).sum(axis=0), (np.abs(dy) * hat).sum(axis=0)
    return gradients(
        (N + 8) * eps * np.abs(gamma) * rstd * (np.abs(dy) + sum_dy / N + hat * sum_dy_hat / N),
        (N + 4) * eps * sum_dy_hat,
        N * eps * sum_dy,
    )


def batchnorm_eval_gradient_bound(a, want, eps) -> dict[str, np.ndarray]:
    """n eps Σ|terms|, and seven roundings of each term."""
    running_mean, running_var = a.state[:2]
    dy, hat = np.abs(oracles.f64(a.dy)), np.abs(oracles.f64(a.x) - running_mean) / np.sqrt(running_var + 1e-5)
    N = len(dy)
    return gradients(8 * eps * np.abs(want["dx"]), (N + 8) * eps * (dy * hat).sum(axis=0), N * eps * dy.sum(axis=0))


CASES = [
    Case(
        "relu_forward",
        inputs=lambda s, N, O: {"x": s.array(N, O)},
        outputs={"y": "NO"},
        run=lambda a, lo, hi: k.relu_forward(a.x, a.y, NONE, lo, hi),
        twin=lambda a: {"y": oracles.relu(a.x)},
        bound=lambda a, want, eps: {"y": 0},  # copied or 0
        infinite=("x",),
    ),
    Case(
        "relu_backward",
        inputs=lambda s, N, O: {"dy": s.array(N, O), "y": np.maximum(s.array(N, O), 0)},
        outputs={"dx": "NO"},
        run=lambda a, lo, hi: k.relu_backward(a.dy, a.y, a.dx, NONE, lo, hi),
        twin=lambda a: {"dx": oracles.relu_backward(a.dy, a.y)},
        bound=lambda a, want, eps: {"dx": 0},  # copied or 0
        infinite=("dy", "y"),
    ),
    Case(
        "tanh_forward",
        inputs=lambda s, N, O: {"x": s.array(N, O)},
        outputs={"y": "NO"},
        run=lambda a, lo, hi: k.tanh_forward(a.x, a.y, NONE, lo, hi),
        twin=lambda a: {"y": oracles.tanh(a.x)},
        bound=lambda a, want, eps: {"y": 3 * eps * np.abs(want["y"])},  # the C library's tanh: a few last places
        infinite=("x",),
    ),
    Case(
        "tanh_backward",
        inputs=lambda s, N, O: {"dy": s.array(N, O), "y": np.tanh(s.array(N, O))},
        outputs={"dx": "NO"},
        run=lambda a, lo, hi: k.tanh_backward(a.dy, a.y, a.dx, NONE, lo, hi),
        twin=lambda a: {"dx": oracles.tanh_backward(a.dy, a.y)},
        # three roundings of numbers up to |dy|: y² and 1 - y² are at most 1
        bound=lambda a, want, eps: {"dx": 2 * eps * np.abs(a.dy, dtype=float)},
        infinite=("dy",),
    ),
    Case(
        "sigmoid_forward",
        inputs=lambda s, N, O: {"x": s.array(N, O)},
        outputs={"y": "NO"},
        run=lambda a, lo, hi: k.sigmoid_forward(a.x, a.y, NONE, lo, hi),
        twin=lambda a: {"y": oracles.sigmoid(a.x)},
        bound=lambda a, want, eps: {"y": 4 * eps * want["y"]},  # exp, a sum and a quotient of positive numbers
        infinite=("x",),
    ),
    Case(
        "sigmoid_backward",
        inputs=lambda s, N, O: {"dy": s.array(N, O), "y": oracles.sigmoid(s.array(N, O)).astype(s.dtype)},
        outputs={"dx": "NO"},
        run=lambda a, lo, hi: k.sigmoid_backward(a.dy, a.y, a.dx, NONE, lo, hi),
        twin=lambda a: {"dx": oracles.sigmoid_backward(a.dy, a.y)},
        bound=lambda a, want, eps: {"dx": 2 * eps * np.abs(want["dx"])},  # 1 - y has one rounding, two products follow
        infinite=("dy",),
    ),
    Case(
        "dropout_forward",
        inputs=lambda s, N, O: {"x": s.array(N, O)},
        outputs={"y": "NO"},
        run=lambda a, lo, hi: k.dropout_forward(a.x, a.y, np.array(DROP[:1]), *DROP[1:], lo, hi),
        twin=lambda a: {"y": oracles.dropout(a.x, *DROP)},
        bound=lambda a, want, eps: {"y": eps * np.abs(want["y"])},  # the scale and the product: two roundings
        infinite=("x",),
    ),
    Case(
        "dropout_backward",
        inputs=lambda s, N, O: {"dy": s.array(N, O)},
        outputs={"dx": "NO"},
        run=lambda a, lo, hi: k.dropout_backward(a.dy, a.dx, np.array(DROP[:1]), *DROP[1:], lo, hi),
        twin=lambda a: {"dx": oracles.dropout(a.dy, *DROP)},
        bound=lambda a, want, eps: {"dx": eps * np.abs(want["dx"])},  # as forward
        infinite=("dy",),
    ),
    Case(
        "batchnorm_forward",
        inputs=batchnorm_inputs,
        outputs={"y": "NO", "state": "4O"},
        run=lambda a, lo, hi: k.batchnorm_forward(a.x, a.y, a.weights, a.state, NORM, a.O, lo, hi),
        twin=batchnorm_twin,
        bound=batchnorm_bound,
        infinite=("x",),
        least_rows=2,
    ),
    Case(
        "batchnorm_backward",
        inputs=batchnorm_gradient_inputs,
        outputs={"dx": "NO", "dweights": "2O"},
        run=lambda a, lo, hi: k.batchnorm_backward(
            a.dy, a.x, a.dx, a.weights, a.dweights, a.state, NORM, a.O, lo, hi
        ),
        twin=lambda a: gradients(*oracles.batchnorm_backward(a.dy, a.x, a.weights[0], *a.state[2:])),
        bound=batchnorm_gradient_bound,
        least_rows=2,
    ),
    Case(
        "batchnorm_eval_forward",
        inputs=batchnorm_inputs,
        outputs={"y": "NO"},
        run=lambda a, lo, hi: k.batchnorm_eval_forward(a.x, a.y, a.weights, a.state, NORM, a.O, lo, hi),
        twin=lambda a: {"y": oracles.batchnorm_eval(a.x, *a.weights, *a.state[:2], 1e-5)},
        # seven roundings of the product, one of the sum
        bound=lambda a, want, eps: {"y": 8 * eps * (np.abs(want["y"] - a.weights[1]) + np.abs(want["y"]))},
        infinite=("x",),
        least_rows=2,
    ),
    Case(
        "batchnorm_eval_backward",
        inputs=batchnorm_gradient_inputs,
        outputs={"dx": "NO", "dweights": "2O"},
        run=lambda a, lo, hi: k.batchnorm_eval_backward(
            a.dy, a.x, a.dx, a.weights, a.dweights, a.state, NORM, a.O, lo, hi
        ),
        twin=lambda a: gradients(*oracles.batchnorm_eval_backward(a.dy, a.x, a.weights[0], *a.state[:2], 1e-5)),
        bound=batchnorm_eval_gradient_bound,
        least_rows=2,
    ),
    Case(
        "leaky_relu_forward",
        inputs=lambda s, N, O: {"x": s.array(N, O)},
        outputs={"y": "NO"},
        run=lambda a, lo, hi: activations.leaky_relu_forward(a.x, a.y, SLOPE, lo, hi),
        twin=lambda a: {"y": oracles.leaky_relu(a.x, SLOPE[0])},
        bound=lambda a, want, eps: {"y": eps * np.abs(want["y"])},  # the slope and the product: two roundings
        infinite=("x",),
    ),
    Case(
        "leaky_relu_backward",
        inputs=lambda s, N, O: {"dy": s.array(N, O), "x": s.array(N, O)},
        outputs={"dx": "NO"},
        run=lambda a, lo, hi: activations.leaky_relu_backward(a.dy, a.x, a.dx, SLOPE, lo, hi),
        twin=lambda a: {"dx": oracles.leaky_relu_backward(a.dy, a.x, SLOPE[0])},
        bound=lambda a, want, eps: {"dx": eps * np.abs(want["dx"])},  # as forward
        infinite=("dy",),
    ),
    Case(
        "prelu_forward",
        inputs=lambda s, N, O: {"x": s.array(N, O), "weights": s.array(1, O)},
        outputs={"y": "NO"},
        run=lambda a, lo, hi: prelu.prelu_forward(a.x, a.y, a.weights, a.weights, NONE, a.O, lo, hi),
        twin=lambda a: {"y": oracles.prelu(a.x, a.weights[0])},
        bound=lambda a, want, eps: {"y": eps * np.abs(want["y"])},  # one product
        infinite=("x",),
    ),
    Case(
        "prelu_backward",
        inputs=lambda s, N, O: {"dy": s.array(N, O), "x": s.array(N, O), "weights": s.array(1, O)},
        outputs={"dx": "NO", "dweights": "1O"},
        run=lambda a, lo, hi: prelu.prelu_backward(
            a.dy, a.x, a.dx, a.weights, a.dweights, a.weights, NONE, a.O, lo, hi
        ),
        twin=prelu_gradients,
        bound=lambda a, want, eps: {
            "dx": eps * np.abs(want["dx"]),  # one product
            "dweights": (a.N + 2) * eps * np.abs(prelu_terms(a)).sum(axis=0)[None],  # n eps Σ|terms|
        },
    ),
    Case(
        "add_columns",
        inputs=lambda s, N, O: {"dweights": s.array(2, O)},
        outputs={"total": "2O"},
        run=lambda a, lo, hi: norm.add_columns(a.dweights, a.total, a.O, lo, hi),
        twin=lambda a: {"total": oracles.f64(a.dweights).sum(axis=1, keepdims=True)},
        # n eps Σ|terms|
        bound=lambda a, want, eps: {"total": a.O * eps * np.abs(oracles.f64(a.dweights)).sum(axis=1, keepdims=True)},
    ),
    Case(
        "layernorm_forward",
        inputs=layernorm_inputs,
        outputs={"y": "NO", "state": "2N"},
        run=lambda a, lo, hi: layernorm.layernorm_forward(a.x, a.y, a.weights, a.state, EPS, a.O, lo, hi),
        twin=layernorm_twin,
        bound=layernorm_bound,
        of_rows=True,
        wide=("state",),
    ),
    Case(
        "layernorm_eval_forward",
        inputs=layernorm_inputs,
        outputs={"y": "NO"},
        run=lambda a, lo, hi: layernorm.layernorm_eval_forward(a.x, a.y, a.weights, a.weights, EPS, a.O, lo, hi),
        twin=lambda a: {"y": layernorm_twin(a)["y"]},
        bound=lambda a, want, eps: {"y": layernorm_bound(a, layernorm_twin(a), eps)["y"]},
        of_rows=True,
    ),
    Case(
        "layernorm_backward",
        inputs=layernorm_gradient_inputs,
        outputs={"dx": "NO"},
        run=lambda a, lo, hi: layernorm.layernorm_backward(
            a.dy, a.x, a.dx, a.weights, a.weights, a.state, EPS, a.O, lo, hi
        ),
        twin=lambda a: {"dx": layernorm_gradients(a)[0]},
        bound=layernorm_dx_bound,
        of_rows=True,
    ),
    Case(
        "layernorm_weights",
        inputs=layernorm_gradient_inputs,
        outputs={"dweights": "2O"},
        run=lambda a, lo, hi: layernorm.layernorm_weights(a.dy, a.x, a.dweights, a.state, EPS, a.O, lo, hi),
        twin=lambda a: {"dweights": np.stack(layernorm_gradients(a)[1:])},
        bound=layernorm_weights_bound,
    ),
]  # fmt: skip
