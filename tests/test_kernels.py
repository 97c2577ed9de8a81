"""Every kernel against its slow float64 twin in `oracles`, in float32 and float64.

`CASES` holds one entry a kernel: arguments, the call, the twin, and the largest error that rounding explains. All
entries go through the same tests: twin, pieces of the range, numbers outside it, NaN, infinity.

In the bounds eps is the spacing of the dtype at 1, twice the rounding error of one operation. "n eps Σ|terms|" is the
usual bound of a sum of n terms, doubled.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import oracles
import pytest
import strategies as our
from hypothesis import given
from hypothesis import strategies as st
from strategies import CHECKED, DTYPES, FEW, Source, cuts

from fastmlp import kernels as k
from fastmlp.kernels import exponential, linear, matmul, simd
from fastmlp.kernels.jit import kernel

UNTOUCHED = 7.25  # what outputs hold before a kernel runs
GUARD = 64  # numbers before and after each output that no kernel may touch
DROP = (0.3, 12345678901, 7, 2)  # p, seed, step, layer


# ---------------------------------------------------------------- memory


def placed(array: np.ndarray, shift: int) -> np.ndarray:
    """A copy that starts `shift` numbers after a 64-byte boundary, with GUARD numbers before and after it."""
    raw = np.full(array.size + 3 * GUARD, UNTOUCHED if array.dtype.kind == "f" else 77, array.dtype)
    start = GUARD + -(raw.__array_interface__["data"][0] // array.itemsize) % (64 // array.itemsize) + shift
    inner = raw[start : start + array.size].reshape(array.shape)
    inner[...] = array
    return inner


def guards(array: np.ndarray) -> np.ndarray:
    """The numbers around an array that `placed` made."""
    raw = array.base
    start = (array.__array_interface__["data"][0] - raw.__array_interface__["data"][0]) // array.itemsize
    return np.concatenate([raw[:start], raw[start + array.size :]])


def same_bits(a, b) -> bool:
    return np.array_equal(np.ascontiguousarray(a).view(np.uint8), np.ascontiguousarray(b).view(np.uint8))


def assert_close(got, want, bound, what: str = "") -> None:
    """|got - want| <= bound, number by number; NaN and infinity exactly where the twin has them."""
    got64 = np.asarray(got, np.float64)
    want, bound = np.broadcast_to(want, got64.shape), np.broadcast_to(bound, got64.shape)
    finite = np.isfinite(want)
    assert np.array_equal(got64[~finite], want[~finite], equal_nan=True), f"{what}: {got64[~finite]}, {want[~finite]}"
    tiny = float(np.finfo(np.asarray(got).dtype).tiny)  # below it numbers have fewer digits
    error, allowed = np.abs(got64[finite] - want[finite]), bound[finite] + 4 * tiny
    worst = (error - allowed).argmax() if error.size else 0
    assert np.all(error <= allowed), f"{what}: error {error[worst]:.3g}, allowed {allowed[worst]:.3g}"


# ---------------------------------------------------------------- the kernels


@dataclass(frozen=True)
class Case:
    """One kernel.

    inputs   (source, N, O) -> arrays by name; O is the length of the range
    outputs  shapes by name, in the letters N, O, P (O padded to vectors), B (blocks of O), L (lanes); or the name of
             an input that changes in place
    run      (all arrays, lo, hi) -> calls the kernel
    twin     (all arrays) -> what outputs must be
    bound    (all arrays, twin's results, eps) -> the largest error of each output
    infinite inputs that may be infinite
    """

    name: str
    inputs: Callable
    outputs: dict
    run: Callable
    twin: Callable
    bound: Callable
    infinite: tuple[str, ...] = ()
    blocked: bool = False  # the range begins at multiples of lanes and is filled by whole vectors
    of_rows: bool = False  # the range is of rows

    def make(self, source: Source, N: int, O: int, shift: int = 0) -> SimpleNamespace:
        arrays = {name: placed(np.asarray(a), shift) for name, a in self.inputs(source, N, O).items()}
        lanes = k.lanes(source.dtype)
        sizes = {"N": N, "O": O, "P": -(-O // lanes) * lanes, "B": -(-O // lanes), "L": lanes}
        sizes["I"] = arrays["x"].shape[1] if "x" in arrays else 0
        for name, shape in self.outputs.items():
            if name not in arrays:
                arrays[name] = placed(np.full([sizes[letter] for letter in shape], UNTOUCHED, source.dtype), shift)
        return SimpleNamespace(**arrays, N=N, O=O, lanes=lanes, dtype=source.dtype)

    def length(self, a: SimpleNamespace) -> int:
        return a.N if self.of_rows else a.O

    def filled(self, name: str, a: SimpleNamespace, lo: int, hi: int) -> np.ndarray:
        """Which numbers of an output the range [lo, hi) fills."""
        mask, shape = np.zeros(getattr(a, name).shape, bool), self.outputs[name]
        if self.of_rows:
            mask[lo:hi] = True
        elif shape == "BIL":
            mask[lo // a.lanes : -(-hi // a.lanes)] = True
        else:
            mask[..., lo : -(-hi // a.lanes) * a.lanes if "P" in shape else hi] = True
        return mask


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


def batchnorm_inputs(s: Source, N: int, O: int) -> dict[str, np.ndarray]:
    return {
        "x": s.array(max(N, 2), O), "gamma": s.array(O), "beta": s.array(O),
        "running_mean": s.array(O), "running_var": s.positive(O),
    }  # fmt: skip


def batchnorm_bound(a, want, eps) -> dict[str, np.ndarray]:
    """The mean is off by delta = N eps Σ|x| / N; what follows inherits that and a few roundings."""
    N = len(a.x)
    delta = eps * np.abs(oracles.f64(a.x)).sum(axis=0)
    variance = 1 / want["rstd"] ** 2
    off = (N + 8) * eps + (delta * want["rstd"]) ** 2  # relative error of the variance: its sum, and the mean's square
    hat = np.abs(want["y"] - oracles.f64(a.beta))
    return {
        "mean": delta + eps * np.abs(want["mean"]),
        "rstd": off * want["rstd"],
        "y": delta * np.abs(oracles.f64(a.gamma)) * want["rstd"] * (1 + off) + (off + 4 * eps) * hat
        + eps * np.abs(want["y"]),
        "running_mean": 0.1 * delta + 4 * eps * (np.abs(a.running_mean) + np.abs(want["mean"])),
        "running_var": 0.2 * off * variance + 4 * eps * (np.abs(a.running_var) + variance),
    }  # fmt: skip


def batchnorm_gradient_inputs(s: Source, N: int, O: int) -> dict[str, np.ndarray]:
    return {
        "dy": s.array(N, O), "x": s.array(N, O), "gamma": s.array(O), "mean": s.array(O), "rstd": s.positive(O),
    }  # fmt: skip


def batchnorm_gradient_bound(a, want, eps) -> dict[str, np.ndarray]:
    """n eps Σ|terms| for the two sums; dx adds up three terms, of which two hold a sum."""
    dy, x, gamma, mean, rstd = (oracles.f64(v) for v in (a.dy, a.x, a.gamma, a.mean, a.rstd))
    N = len(x)
    hat = np.abs(x - mean) * rstd
    sum_dy, sum_dy_hat = np.abs(dy).sum(axis=0), (np.abs(dy) * hat).sum(axis=0)
    return {
        "dx": (N + 8) * eps * np.abs(gamma) * rstd * (np.abs(dy) + sum_dy / N + hat * sum_dy_hat / N),
        "dgamma": (N + 4) * eps * sum_dy_hat,
        "dbeta": N * eps * sum_dy,
    }


def batchnorm_eval_gradient_bound(a, want, eps) -> dict[str, np.ndarray]:
    """n eps Σ|terms|, and seven roundings of each term."""
    dy, hat = np.abs(oracles.f64(a.dy)), np.abs(oracles.f64(a.x) - a.running_mean) / np.sqrt(a.running_var + 1e-5)
    N = len(dy)
    return {
        "dx": 8 * eps * np.abs(want["dx"]),
        "dgamma": (N + 8) * eps * (dy * hat).sum(axis=0),
        "dbeta": N * eps * dy.sum(axis=0),
    }


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


def named(*names: str) -> Callable:
    """Turns a tuple of results into a dict."""
    return lambda results: dict(zip(names, results, strict=True))


CASES = [
    Case(
        "relu_forward",
        inputs=lambda s, N, O: {"x": s.array(N, O)},
        outputs={"y": "NO"},
        run=lambda a, lo, hi: k.relu_forward(a.x, a.y, lo, hi),
        twin=lambda a: {"y": oracles.relu(a.x)},
        bound=lambda a, want, eps: {"y": 0},  # copied or 0
        infinite=("x",),
    ),
    Case(
        "relu_backward",
        inputs=lambda s, N, O: {"dy": s.array(N, O), "y": np.maximum(s.array(N, O), 0)},
        outputs={"dx": "NO"},
        run=lambda a, lo, hi: k.relu_backward(a.dy, a.y, a.dx, lo, hi),
        twin=lambda a: {"dx": oracles.relu_backward(a.dy, a.y)},
        bound=lambda a, want, eps: {"dx": 0},  # copied or 0
        infinite=("dy", "y"),
    ),
    Case(
        "tanh_forward",
        inputs=lambda s, N, O: {"x": s.array(N, O)},
        outputs={"y": "NO"},
        run=lambda a, lo, hi: k.tanh_forward(a.x, a.y, lo, hi),
        twin=lambda a: {"y": oracles.tanh(a.x)},
        bound=lambda a, want, eps: {"y": 3 * eps * np.abs(want["y"])},  # the C library's tanh: a few last places
        infinite=("x",),
    ),
    Case(
        "tanh_backward",
        inputs=lambda s, N, O: {"dy": s.array(N, O), "y": np.tanh(s.array(N, O))},
        outputs={"dx": "NO"},
        run=lambda a, lo, hi: k.tanh_backward(a.dy, a.y, a.dx, lo, hi),
        twin=lambda a: {"dx": oracles.tanh_backward(a.dy, a.y)},
        # three roundings of numbers up to |dy|: y² and 1 - y² are at most 1
        bound=lambda a, want, eps: {"dx": 2 * eps * np.abs(a.dy, dtype=float)},
        infinite=("dy",),
    ),
    Case(
        "sigmoid_forward",
        inputs=lambda s, N, O: {"x": s.array(N, O)},
        outputs={"y": "NO"},
        run=lambda a, lo, hi: k.sigmoid_forward(a.x, a.y, lo, hi),
        twin=lambda a: {"y": oracles.sigmoid(a.x)},
        bound=lambda a, want, eps: {"y": 4 * eps * want["y"]},  # exp, a sum and a quotient of positive numbers
        infinite=("x",),
    ),
    Case(
        "sigmoid_backward",
        inputs=lambda s, N, O: {"dy": s.array(N, O), "y": oracles.sigmoid(s.array(N, O)).astype(s.dtype)},
        outputs={"dx": "NO"},
        run=lambda a, lo, hi: k.sigmoid_backward(a.dy, a.y, a.dx, lo, hi),
        twin=lambda a: {"dx": oracles.sigmoid_backward(a.dy, a.y)},
        bound=lambda a, want, eps: {"dx": 2 * eps * np.abs(want["dx"])},  # 1 - y has one rounding, two products follow
        infinite=("dy",),
    ),
    Case(
        "dropout_forward",
        inputs=lambda s, N, O: {"x": s.array(N, O)},
        outputs={"y": "NO"},
        run=lambda a, lo, hi: k.dropout_forward(a.x, a.y, *DROP, lo, hi),
        twin=lambda a: {"y": oracles.dropout(a.x, *DROP)},
        bound=lambda a, want, eps: {"y": eps * np.abs(want["y"])},  # the scale and the product: two roundings
        infinite=("x",),
    ),
    Case(
        "dropout_backward",
        inputs=lambda s, N, O: {"dy": s.array(N, O)},
        outputs={"dx": "NO"},
        run=lambda a, lo, hi: k.dropout_backward(a.dy, a.dx, *DROP, lo, hi),
        twin=lambda a: {"dx": oracles.dropout(a.dy, *DROP)},
        bound=lambda a, want, eps: {"dx": eps * np.abs(want["dx"])},  # as forward
        infinite=("dy",),
    ),
    Case(
        "batchnorm_forward",
        inputs=batchnorm_inputs,
        outputs={"y": "NO", "mean": "O", "rstd": "O", "running_mean": "O", "running_var": "O"},
        run=lambda a, lo, hi: k.batchnorm_forward(
            a.x, a.gamma, a.beta, a.mean, a.rstd, a.running_mean, a.running_var, a.y, 0.1, 1e-5, lo, hi
        ),
        twin=lambda a: oracles.batchnorm(a.x, a.gamma, a.beta, a.running_mean, a.running_var, 0.1, 1e-5),
        bound=batchnorm_bound,
        infinite=("x",),
    ),
    Case(
        "batchnorm_backward",
        inputs=batchnorm_gradient_inputs,
        outputs={"dx": "NO", "dgamma": "O", "dbeta": "O"},
        run=lambda a, lo, hi: k.batchnorm_backward(a.dy, a.x, a.gamma, a.mean, a.rstd, a.dx, a.dgamma, a.dbeta, lo, hi),
        twin=lambda a: named("dx", "dgamma", "dbeta")(oracles.batchnorm_backward(a.dy, a.x, a.gamma, a.mean, a.rstd)),
        bound=batchnorm_gradient_bound,
    ),
    Case(
        "batchnorm_eval_forward",
        inputs=batchnorm_inputs,
        outputs={"y": "NO"},
        run=lambda a, lo, hi: k.batchnorm_eval_forward(
            a.x, a.gamma, a.beta, a.running_mean, a.running_var, a.y, 1e-5, lo, hi
        ),
        twin=lambda a: {"y": oracles.batchnorm_eval(a.x, a.gamma, a.beta, a.running_mean, a.running_var, 1e-5)},
        # seven roundings of the product, one of the sum
        bound=lambda a, want, eps: {"y": 8 * eps * (np.abs(want["y"] - a.beta) + np.abs(want["y"]))},
        infinite=("x",),
    ),
    Case(
        "batchnorm_eval_backward",
        inputs=lambda s, N, O: {"dy": s.array(max(N, 2), O), **batchnorm_inputs(s, N, O)},
        outputs={"dx": "NO", "dgamma": "O", "dbeta": "O"},
        run=lambda a, lo, hi: k.batchnorm_eval_backward(
            a.dy, a.x, a.gamma, a.running_mean, a.running_var, a.dx, a.dgamma, a.dbeta, 1e-5, lo, hi
        ),
        twin=lambda a: named("dx", "dgamma", "dbeta")(
            oracles.batchnorm_eval_backward(a.dy, a.x, a.gamma, a.running_mean, a.running_var, 1e-5)
        ),
        bound=batchnorm_eval_gradient_bound,
    ),
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
        "product",
        inputs=lambda s, N, O: {**packed(s, O, width(s)), "x": s.array(N, 41)},
        outputs={"y": "NP"},
        run=lambda a, lo, hi: k.product(a.x, a.w, a.y, lo, hi),
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
        run=lambda a, lo, hi: k.product_dw(a.x, a.dy, a.dw, lo, hi),
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
        run=lambda a, lo, hi: k.product_dx(a.dy, a.w, a.scratch, a.dx, lo, hi),
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
        run=lambda a, lo, hi: k.linear_forward(a.x, a.w, a.b, a.y, lo, hi),
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
        run=lambda a, lo, hi: k.linear_backward(a.dy, a.x, a.dw, a.db, lo, hi),
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
        "linear_backward_input",
        inputs=lambda s, N, O: {
            **packed(s, o := width(s), O),
            "dy": padded_columns(s, N, o),
            "scratch": np.zeros(k.scratch_size(s.dtype), s.dtype),
        },
        outputs={"dx": "NP"},
        run=lambda a, lo, hi: k.linear_backward_input(a.dy, a.w, a.scratch, a.dx, lo, hi),
        twin=lambda a: {"dx": cut(oracles.product(a.dy[:, : len(a.weight)], a.weight), a.dx)},
        # n eps Σ|terms|
        bound=lambda a, want, eps: {
            "dx": (len(a.weight) + 2) * eps * cut(terms(a.dy[:, : len(a.weight)], a.weight), a.dx)
        },
        blocked=True,
    ),
]  # fmt: skip
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
finite_cases = pytest.mark.parametrize("case", [case for case in CASES if case.infinite], ids=lambda case: case.name)


def check(case: Case, a: SimpleNamespace, padding: bool = True) -> None:
    """Run the kernel over its whole range and hold it to its twin; without `padding`, that may hold NaN (0 · NaN)."""
    with np.errstate(all="ignore"):
        want = case.twin(a)
        bound = case.bound(a, want, float(np.finfo(a.dtype).eps))
    case.run(a, 0, case.length(a))
    for name in case.outputs:
        real = slice(None) if padding else real_numbers(case, name, a)
        got, expected, allowed = (
            np.broadcast_to(v, getattr(a, name).shape) for v in (getattr(a, name), want[name], bound[name])
        )
        assert_close(got[real], expected[real], allowed[real], f"{case.name}: {name}")
        around = guards(getattr(a, name))
        assert same_bits(around, np.full_like(around, UNTOUCHED)), f"{case.name} wrote outside {name}"


def real_numbers(case: Case, name: str, a: SimpleNamespace) -> np.ndarray:
    """Where an output is not padding."""
    real = np.ones(getattr(a, name).shape, bool)
    if case.outputs[name] == "NP":
        real[:, a.O :] = False
    if case.outputs[name] == "BIL":
        real[-1, :, a.O - (len(real) - 1) * a.lanes :] = False
    return real


@every_case
@CHECKED
@given(source=our.sources, N=our.rows, O=our.columns, shift=st.sampled_from([0, 1, 3]))
def test_a_kernel_agrees_with_its_twin(case, source, N, O, shift):
    N = max(N, 2) if "batchnorm" in case.name else N
    check(case, case.make(source, N, O, shift))


@every_case
@FEW
@given(data=st.data(), source=our.sources, N=our.rows, O=our.columns)
def test_pieces_of_the_range_give_the_same_bits_and_touch_nothing_else(case, data, source, N, O):
    N = max(N, 2) if "batchnorm" in case.name else N
    whole, pieces = (case.make(Source(source.dtype, source.seed, source.kind), N, O) for _ in range(2))
    before = {name: getattr(whole, name).copy() for name in case.outputs}
    length = case.length(whole)
    case.run(whole, 0, length)
    done = {name: np.zeros(getattr(whole, name).shape, bool) for name in case.outputs}
    for lo, hi in data.draw(cuts(length, whole.lanes if case.blocked else 1)):
        case.run(pieces, lo, hi)
        for name in case.outputs:
            done[name] |= case.filled(name, pieces, lo, hi)
            expected = np.where(done[name], getattr(whole, name), before[name])
            assert same_bits(getattr(pieces, name), expected), f"{name} after [{lo}, {hi})"
    assert all(mask.all() for mask in done.values())


@every_case
@FEW
@given(source=st.builds(Source, our.dtypes, our.seeds), data=st.data())
def test_nan_in_nan_out(case, source, data):
    """NaN is where the twin has it, and nowhere else."""
    a = case.make(source, 5, 19)
    planted = [name for name, array in vars(a).items() if float_input(case, name, array)]
    name = data.draw(st.sampled_from(planted))
    array = getattr(a, name)
    spot = tuple(data.draw(st.integers(0, n - 1)) for n in real_shape(case, a, name))
    array[spot] = np.nan
    if name == "weight":
        a.w[...] = oracles.pack(array, a.lanes)
    check(case, a, padding=False)


def float_input(case: Case, name: str, array) -> bool:
    """Whether NaN can be planted there: what the kernel reads. w is planted through weight; padding stays zero."""
    fresh = name in case.outputs and not name.startswith("running")
    return isinstance(array, np.ndarray) and array.dtype.kind == "f" and not fresh and name not in ("w", "scratch")


def real_shape(case: Case, a: SimpleNamespace, name: str) -> tuple[int, ...]:
    """The shape without padding."""
    shape = getattr(a, name).shape
    if name == "dy" and case.blocked:
        return (shape[0], len(a.weight) if hasattr(a, "weight") else a.O)
    return (shape[0], a.w.shape[1]) if name == "x" and hasattr(a, "w") else shape


@finite_cases
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity(case, dtype, value):
    for name in case.infinite:
        a = case.make(Source(dtype, 3), 4, 21)
        getattr(a, name)[1, 2] = value
        check(case, a, padding=False)


# ---------------------------------------------------------------- the products, shape by shape


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_at_every_small_shape(dtype):
    """1..40 rows, 1 to over four vectors of columns, from K = 1: each tile, each remainder, against one big product."""
    lanes, eps = k.lanes(dtype), np.finfo(dtype).eps
    source = Source(dtype, 11)
    for K in (1, 2, 7, 33):
        most = 4 * lanes + 2
        x, weight = source.array(40, K), source.array(most, K)
        want = oracles.product(x, weight.T)
        bound = (K + 2) * eps * terms(x, weight.T)  # n eps Σ|terms|
        for O in sorted({1, 2, 3, lanes - 1, lanes, lanes + 1, 2 * lanes, 3 * lanes - 1, 3 * lanes + 1, most}):
            w = oracles.pack(weight[:O], lanes)
            wt = oracles.pack(np.ascontiguousarray(weight[:O].T), lanes)  # as a layer of O inputs and K outputs
            dy = np.zeros((40, k.padded(K, dtype)), dtype)
            dy[:, :K] = x
            scratch = np.empty(k.scratch_size(dtype), dtype)
            for N in range(1, 41):
                y, dx = (np.full((N, k.padded(O, dtype)), np.nan, dtype) for _ in range(2))
                k.product(x[:N], w, y, 0, O)
                assert_close(y[:, :O], want[:N, :O], bound[:N, :O], f"product {N}x{K}x{O}")
                assert not y[:, O:].any()
                k.product_dx(dy[:N], wt, scratch, dx, 0, O)
                assert_close(dx[:, :O], want[:N, :O], bound[:N, :O], f"product_dx {N}x{K}x{O}")
                assert not dx[:, O:].any()
                dw = np.full((len(w), N, lanes), np.nan, dtype)
                columns = np.zeros((K, k.padded(O, dtype)), dtype)
                columns[:, :O] = weight[:O].T
                k.product_dw(np.ascontiguousarray(x[:N].T), columns, dw, 0, O)
                assert_close(oracles.unpack(dw, O), want[:N, :O].T, bound[:N, :O].T, f"product_dw {N}x{K}x{O}")
                assert not dw.transpose(1, 0, 2).reshape(N, -1)[:, O:].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", [matmul.K_BLOCK - 1, matmul.K_BLOCK, matmul.K_BLOCK + 1, 2 * matmul.K_BLOCK + 5])
def test_products_in_blocks_of_k(dtype, K):
    lanes, eps = k.lanes(dtype), np.finfo(dtype).eps
    source = Source(dtype, K)
    N, O = simd.TILE_ROWS + 3, 4 * lanes + 1
    x, weight = source.array(N, K), source.array(O, K)
    want, bound = oracles.product(x, weight.T), (K + 2) * eps * terms(x, weight.T)  # n eps Σ|terms|
    y = np.full((N, k.padded(O, dtype)), np.nan, dtype)
    k.product(x, oracles.pack(weight, lanes), y, 0, O)
    assert_close(y[:, :O], want, bound, "product")
    dw = np.full((-(-O // lanes), N, lanes), np.nan, dtype)
    columns = np.zeros((K, k.padded(O, dtype)), dtype)
    columns[:, :O] = weight.T
    k.product_dw(np.ascontiguousarray(x.T), columns, dw, 0, O)
    assert_close(oracles.unpack(dw, O), want.T, bound.T, "product_dw")
    dy = np.zeros((N, k.padded(K, dtype)), dtype)
    dy[:, :K] = x
    dx = np.full((N, k.padded(O, dtype)), np.nan, dtype)
    wt = oracles.pack(np.ascontiguousarray(weight.T), lanes)
    k.product_dx(dy, wt, np.empty(k.scratch_size(dtype), dtype), dx, 0, O)
    assert_close(dx[:, :O], want, bound, "product_dx")


def test_a_number_is_one_ascending_chain_to_the_last_bit():
    """y = ((x₀w₀ + x₁w₁) + x₂w₂) + ...: where the processor fuses, each step rounds once. Fractions are exact."""
    K, source = matmul.K_BLOCK + 9, Source(np.float64, 5)
    x, weight = source.array(simd.TILE_ROWS + 1, K), source.array(3, K)
    y = np.empty((len(x), k.padded(3, np.float64)))
    k.product(x, oracles.pack(weight, k.lanes(np.float64)), y, 0, 3)
    for n in (0, len(x) - 1):
        for o in range(3):
            total = 0.0
            for a, b in zip(x[n].tolist(), weight[o].tolist(), strict=True):
                total = float(Fraction(a) * Fraction(b) + Fraction(total)) if simd.FUSED else total + a * b
            assert y[n, o] == total


def test_column_sums_leave_the_columns_past_db():
    """A last block of columns may be longer than the bias."""
    dy, db = np.arange(30.0).reshape(3, 10), np.full(4, UNTOUCHED)
    linear.column_sums(dy, db, 2, 9)
    assert db.tolist() == [36, 39, 42, 45]
    db = np.full(4, UNTOUCHED)
    linear.column_sums(dy, db, 2, 4)
    assert db.tolist() == [36, 39, UNTOUCHED, UNTOUCHED]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_number_does_not_depend_on_the_tile(dtype):
    """Row by row and vector by vector gives the bits of one call."""
    lanes, source = k.lanes(dtype), Source(dtype, 6)
    x, weight = source.array(2 * simd.TILE_ROWS - 1, 50), source.array(5 * lanes, 50)
    w = oracles.pack(weight, lanes)
    y = np.empty((len(x), 5 * lanes), dtype)
    k.product(x, w, y, 0, 5 * lanes)
    for n in range(len(x)):
        row = np.empty((1, 5 * lanes), dtype)
        for lo in range(0, 5 * lanes, lanes):
            k.product(x[n : n + 1], w, row, lo, lo + lanes)
        assert same_bits(row[0], y[n])


@CHECKED
@given(source=our.sources, O=our.columns, I=our.columns, data=st.data())
def test_pack_and_unpack(source, O, I, data):
    """Exactly the twin's numbers, zero in the padding, in pieces too; unpack undoes pack."""
    lanes, weight = k.lanes(source.dtype), placed(source.array(O, I), 1)
    w = placed(np.full(k.packed_shape(O, I, source.dtype), UNTOUCHED, source.dtype), 3)
    back = placed(np.full((O, I), UNTOUCHED, source.dtype), 5)
    for lo, hi in data.draw(cuts(O, lanes)):
        k.pack(weight, w, lo, hi)
        assert same_bits(w[lo // lanes : -(-hi // lanes)], oracles.pack(weight, lanes)[lo // lanes : -(-hi // lanes)])
    assert same_bits(w, oracles.pack(weight, lanes))
    lo, hi = data.draw(st.sampled_from([(lo, min(lo + lanes, O)) for lo in range(0, O, lanes)]))
    k.unpack(w, back, lo, hi)
    assert same_bits(back[lo:hi], weight[lo:hi])
    assert np.all(back[:lo] == UNTOUCHED)
    assert np.all(back[hi:] == UNTOUCHED)
    k.unpack(w, back, 0, O)
    assert same_bits(back, oracles.unpack(w, O))
    assert same_bits(back, weight)
    for array in (w, back):
        assert np.all(guards(array) == UNTOUCHED)


def test_buffers():
    """Lengths in whole vectors; every buffer starts on a cache line."""
    for dtype in DTYPES:
        lanes = simd.VECTOR_BYTES // np.dtype(dtype).itemsize
        assert k.lanes(dtype) == lanes
        assert [k.padded(n, dtype) for n in (0, 1, lanes, lanes + 1)] == [0, lanes, lanes, 2 * lanes]
        assert k.packed_shape(lanes + 1, 7, dtype) == (2, 7, lanes)
        for shape in ((), (1,), (3, 5), (0, 4)):
            array = k.empty(shape, dtype)
            assert array.shape == shape
            assert array.dtype == dtype
            assert array.flags.c_contiguous
            assert array.__array_interface__["data"][0] % 64 == 0


# ---------------------------------------------------------------- hard numbers


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_softmax_of_large_logits(dtype):
    """±1e4 overflows no exponential: the row maximum is removed first."""
    z = np.array([[1e4, -1e4, 0], [-1e4, -1e4, -1e4], [1e4, 1e4, 9999], [-1e4, 1e4, 1e4 - 50]], dtype)
    y, p = np.empty_like(z), np.empty_like(z)
    k.log_softmax_forward(z, y, p, 3, 0, 4)
    eps = np.finfo(dtype).eps
    assert_close(y, oracles.log_softmax(z), 11 * eps + 3 * eps * 2e4)  # as in log_softmax_bound
    assert y[0].tolist() == [0, -2e4, -1e4]  # by hand: all others are e⁻¹⁰⁰⁰⁰ = 0 beside the first
    assert np.allclose(y[1], -math.log(3), rtol=4 * eps)  # three equal logits
    assert p[0].tolist() == [1, 0, 0]
    assert np.allclose(p.sum(axis=1), 1, rtol=4 * eps)
    dz = np.empty_like(z)
    k.log_softmax_backward(np.full_like(z, 0.5), p, dz, 3, 0, 4)
    assert_close(dz, oracles.log_softmax_backward(np.full_like(z, 0.5), p), 11 * eps)
    assert np.allclose(dz.sum(axis=1), 0, atol=11 * eps)  # a softmax sums to 1


@CHECKED
@given(source=our.sources, N=our.rows, C=our.classes, more=st.integers(1, 9))
def test_log_softmax_reads_the_classes_only(source, N, C, more):
    """Rows may be longer than C; what is there, NaN too, changes nothing."""
    z = source.array(N, C + more)
    z[:, C:] = source.rng.choice([np.nan, np.inf, -np.inf, 0, 1e4], (N, more))
    y, p, dz, plain_y, plain_p, plain_dz = (np.empty((N, C + (i < 3) * more), source.dtype) for i in range(6))
    dy = source.array(N, C + more)
    k.log_softmax_forward(z, y, p, C, 0, N)
    k.log_softmax_backward(dy, p, dz, C, 0, N)
    k.log_softmax_forward(np.ascontiguousarray(z[:, :C]), plain_y, plain_p, C, 0, N)
    k.log_softmax_backward(np.ascontiguousarray(dy[:, :C]), plain_p, plain_dz, C, 0, N)
    assert same_bits(y[:, :C], plain_y)
    assert same_bits(p[:, :C], plain_p)
    assert same_bits(dz[:, :C], plain_dz)


@kernel
def exponentials(x, y, minus1):
    lowest, highest = exponential.limits(x)
    for i in range(x.size):
        y[i] = exponential.exp(x[i], lowest, highest)
        minus1[i] = exponential.expm1(x[i], lowest, highest)


@pytest.mark.parametrize("dtype", DTYPES)
def test_exponential(dtype):
    """Below one unit in the last place, as it says; 0, infinity and NaN at the ends."""
    lowest = {4: -87, 8: -708}[np.dtype(dtype).itemsize]
    rng = np.random.default_rng(1)
    x = np.concatenate(
        [rng.uniform(lowest, -lowest, 20_000), rng.uniform(-1, 1, 20_000), 10 ** rng.uniform(-9, 0, 999)]
    )
    halves = (np.arange(-120, 121) + 0.5) * math.log(2)  # between two n, where r is largest
    x = np.concatenate([x, halves, -x[-999:], [0.0, -0.0]]).astype(dtype)
    y, minus1 = np.empty_like(x), np.empty_like(x)
    exponentials(x, y, minus1)
    exact = np.exp(x.astype(np.longdouble))
    spacing = np.spacing(exact.astype(dtype)).astype(np.longdouble)
    assert np.all(np.abs(y - exact) <= spacing)
    exact = np.expm1(x.astype(np.longdouble))
    assert np.all(np.abs(minus1 - exact) <= 3 * np.finfo(dtype).eps * np.abs(exact))  # a product and two sums
    assert y[-2:].tolist() == [1, 1]
    assert minus1[-2:].tolist() == [0, 0]
    ends = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, lowest - 1, 800], dtype)
    y, minus1 = np.empty_like(ends), np.empty_like(ends)
    exponentials(ends, y, minus1)
    assert np.array_equal(y, np.array([np.nan, np.inf, 0, np.inf, 0, 0, np.inf], dtype), equal_nan=True)
    assert np.array_equal(minus1[[0, 2, 4, 5]], np.array([np.nan, -1, -1, -1], dtype), equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_far_out(dtype):
    x = np.array([[1e3, -1e3, 0, 80, -80, 1e30, -1e30, 1e-30]], dtype)
    y = np.empty_like(x)
    k.sigmoid_forward(x, y, 0, x.shape[1])
    assert y[0, :3].tolist() == [1, 0, 0.5]
    assert y[0, 5:].tolist() == [1, 0, 0.5]
    assert_close(y, oracles.sigmoid(x), 4 * np.finfo(dtype).eps * oracles.sigmoid(x))
    assert y[0, 4] > 0  # e⁻⁸⁰ is a number in both dtypes: 1 - sigmoid(80) would be 0


@pytest.mark.parametrize("N", [2, 64, 1000])
def test_batchnorm_with_a_mean_far_larger_than_the_spread(N):
    """Mean 1e4, spread 1, float32: E[x²] - E[x]² would lose every digit, since 1e8 eps = 12 is more than 1."""
    rng = np.random.default_rng(N)
    x = (1e4 + rng.standard_normal((N, 20))).astype(np.float32)
    one, zero = np.ones(20, np.float32), np.zeros(20, np.float32)
    mean, rstd, running_mean, running_var, y = zero.copy(), zero.copy(), zero.copy(), one.copy(), np.empty_like(x)
    k.batchnorm_forward(x, one, zero, mean, rstd, running_mean, running_var, y, 0.1, 1e-5, 0, 20)
    want = oracles.batchnorm(x, one, zero, zero, one, 0.1, 1e-5)
    off = 2 * 1e4 * np.finfo(np.float32).eps * np.sqrt(N)  # rounding errors of a sum of N grow like √N: 8 of 1e4 eps
    assert_close(mean, want["mean"], off)
    assert_close(y, want["y"], off * want["rstd"] + 0.01 * np.abs(want["y"]))  # the variance is off by off²
    assert np.all(np.abs(running_var / want["running_var"] - 1) < 0.01)  # it is off by off², below 0.01


@pytest.mark.parametrize("dtype", DTYPES)
def test_batchnorm_of_a_constant_column(dtype):
    """Variance 0: y = beta, and rstd = 1 / √eps, no division by zero."""
    x = np.full((4, 3), 5, dtype)
    gamma, beta = np.full(3, 2, dtype), np.full(3, -1, dtype)
    mean, rstd, running_mean, running_var = (np.zeros(3, dtype) for _ in range(4))
    y = np.empty_like(x)
    k.batchnorm_forward(x, gamma, beta, mean, rstd, running_mean, running_var, y, 0.1, 1e-5, 0, 3)
    assert np.all(y == -1)
    assert np.allclose(rstd, 1 / math.sqrt(1e-5), rtol=2 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_relu_at_zero(dtype):
    """The kink: y = 0 for 0 and -0, and no gradient passes."""
    x, y, dx = np.array([[0.0, -0.0, 1e-30, -1e-30]], dtype), np.empty((1, 4), dtype), np.empty((1, 4), dtype)
    k.relu_forward(x, y, 0, 4)
    assert y.tolist() == [[0, 0, dtype(1e-30), 0]]
    k.relu_backward(np.ones_like(x), y, dx, 0, 4)
    assert dx.tolist() == [[0, 0, 1, 0]]


# ---------------------------------------------------------------- the loss


@CHECKED
@given(source=our.sources, N=our.rows, C=our.classes, smoothing=st.sampled_from([0.0, 0.1, 0.9]), data=st.data())
def test_nll_loss(source, N, C, smoothing, data):
    """The twin's sum, and the same sum from pieces of the rows."""
    y = oracles.log_softmax(source.array(N, C)).astype(source.dtype)
    labels, r = source.rng.integers(0, C, N), source.positive(N)
    eps = float(np.finfo(source.dtype).eps)
    q = oracles.smoothed(labels, C, smoothing)
    bound = (
        (C + 4) * eps * float((r[:, None] * q * np.abs(oracles.f64(y))).sum())
    )  # n eps Σ|terms| of a row; rows in float64
    loss = k.nll_loss_forward(y, labels, r, smoothing, C, 0, N)
    assert isinstance(loss, float)
    assert_close(loss, oracles.nll_loss(y, labels, r, smoothing), bound)
    pieces = [k.nll_loss_forward(y, labels, r, smoothing, C, lo, hi) for lo, hi in data.draw(cuts(N))]
    assert_close(
        sum(pieces), loss, N * 2**-52 * float((r * np.abs(y).max(axis=1)).sum() * 2)
    )  # another order of the same terms


@pytest.mark.parametrize("dtype", DTYPES)
def test_nll_loss_by_hand(dtype):
    y = np.log(np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]])).astype(dtype)
    labels, r = np.array([0, 2]), np.array([0.5, 0.5], dtype)
    plain = 0.5 * math.log(2) + 0.5 * math.log(8)  # -log 1/2 and -log 1/8
    assert k.nll_loss_forward(y, labels, r, 0.0, 3, 0, 2) == pytest.approx(plain, rel=4 * float(np.finfo(dtype).eps))
    spread = -0.5 * math.log(0.5 * 0.25 * 0.25) / 3 - 0.5 * math.log(0.125 * 0.75 * 0.125) / 3
    smooth = k.nll_loss_forward(y, labels, r, 0.3, 3, 0, 2)
    assert smooth == pytest.approx(0.7 * plain + 0.3 * spread, rel=8 * float(np.finfo(dtype).eps))
    y[1, 2] = np.nan
    assert math.isnan(k.nll_loss_forward(y, labels, r, 0.0, 3, 0, 2))
    y[1] = [np.nan, -1, -1]
    assert k.nll_loss_forward(y, labels, r, 0.0, 3, 1, 2) == 0.5  # without smoothing only the label's number counts
    assert math.isnan(k.nll_loss_forward(y, labels, r, 0.1, 3, 1, 2))
    r[0] = np.nan
    dy = np.empty_like(y)
    k.nll_loss_backward(1.0, labels, r, 0.1, dy, 3, 0, 2)
    assert np.isnan(dy[0]).all()
    assert np.isfinite(dy[1]).all()


# ---------------------------------------------------------------- dropout


@FEW
@given(seed=st.integers(-(2**63), 2**63 - 1), step=st.integers(0, 2**40), layer=st.integers(0, 100), p=st.floats(0, 1))
def test_dropout_mask_is_the_documented_chain_of_splitmix64(seed, step, layer, p):
    x, y = np.ones((6, 9)), np.empty((6, 9))
    k.dropout_forward(x, y, p, seed, step, layer, 0, 9)
    assert np.array_equal(y != 0, oracles.dropout_mask(x.shape, p, seed, step, layer) & (p < 1))


def test_splitmix64_against_published_numbers():
    """The first outputs of SplitMix64 from state 1234567 (Rosetta Code, "Pseudo-random numbers/Splitmix64")."""
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    states = [1234567 + (i + 1) * oracles.GAMMA for i in range(5)]
    assert [oracles.splitmix64(state) for state in states] == published


def mask(p: float, seed: int = 1, step: int = 0, layer: int = 0, shape: tuple[int, int] = (1000, 1000)) -> np.ndarray:
    y = np.empty(shape, np.float32)
    k.dropout_forward(np.ones(shape, np.float32), y, p, seed, step, layer, 0, shape[1])
    return y != 0


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_one_minus_p(p):
    """Of a million numbers; a fair coin leaves 5 sigma once in 1.7 million tries."""
    kept = mask(p)
    assert abs(kept.mean() - (1 - p)) <= 5 * math.sqrt(p * (1 - p) / kept.size)
    for axis in (0, 1):  # no row and no column is special: 1000 of each, so 6 sigma
        assert np.abs(kept.mean(axis=axis) - (1 - p)).max() <= 6 * math.sqrt(p * (1 - p) / 1000)


def test_dropout_masks_are_not_correlated():
    """Neighbouring columns, rows, steps, layers and seeds, and counters that trade places; 5 sigma of 0 is 5/√n."""
    base = mask(0.5, seed=5, step=3, layer=2)
    pairs = {
        "columns": (base[:, 1:], base[:, :-1]),
        "rows": (base[1:], base[:-1]),
        "steps": (base, mask(0.5, seed=5, step=4, layer=2)),
        "layers": (base, mask(0.5, seed=5, step=3, layer=3)),
        "seeds": (base, mask(0.5, seed=6, step=3, layer=2)),
        "step and layer swapped": (base, mask(0.5, seed=5, step=2, layer=3)),
        "row and column swapped": (base[np.triu_indices(1000, 1)], base.T[np.triu_indices(1000, 1)]),
        "step + 1 and row - 1": (base[1:], mask(0.5, seed=5, step=4, layer=2)[:-1]),
    }
    for name, (a, b) in pairs.items():
        correlation = np.mean((a * 2.0 - 1) * (b * 2.0 - 1))
        assert abs(correlation) <= 5 / math.sqrt(a.size), name


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_of_nothing_and_of_all(dtype):
    x, y = Source(dtype, 1).array(8, 33), np.empty((8, 33), dtype)
    k.dropout_forward(x, y, 0.0, 1, 2, 3, 0, 33)
    assert same_bits(x, y)
    k.dropout_forward(x, y, 1.0, 1, 2, 3, 0, 33)
    assert not y.any()


# ---------------------------------------------------------------- updates


@CHECKED
@given(
    source=our.sources,
    size=st.integers(1, 100),
    nesterov=st.booleans(),
    decay=st.sampled_from([0.0, 0.1]),
    mode=st.sampled_from(["plain", "first", "later"]),
)
def test_sgd_step(source, size, nesterov, decay, mode):
    p, g, b = (source.array(size) for _ in range(3))
    momentum = 0.0 if mode == "plain" else 0.9
    dampening = 0.25 if mode == "later" and not nesterov else 0.0
    want, want_b = oracles.sgd(p, g, b if mode == "later" else None, 0.05, momentum, dampening, decay, nesterov)
    added = np.abs(oracles.f64(g)) + decay * np.abs(oracles.f64(p)) + np.abs(oracles.f64(b))
    eps, before = float(np.finfo(source.dtype).eps), (p.copy(), g.copy(), b.copy())
    k.sgd_step(p, g, b, 0.05, momentum, dampening, decay, nesterov, mode == "first")
    # at most eight roundings of the terms that were added up
    assert_close(p, want, 4 * eps * (np.abs(oracles.f64(before[0])) + 0.1 * added))
    assert_close(b, before[2] if mode == "plain" else want_b, 4 * eps * added)
    assert same_bits(g, before[1])


@CHECKED
@given(
    source=our.sources,
    size=st.integers(1, 100),
    t=st.sampled_from([1, 2, 10, 100_000]),
    decay=st.sampled_from([0.0, 0.1]),
    name=st.sampled_from(["adam", "adamw"]),
)
def test_adam_step(source, size, t, decay, name):
    """The kernel's one fraction against Algorithm 1 with its explicit m̂ and v̂."""
    p, g, m = (source.array(size) for _ in range(3))
    v = source.positive(size)
    args = (0.003, 0.9, 0.999, 1e-8, decay, t)
    want, want_m, want_v = getattr(oracles, name)(p, g, m, v, *args)
    eps, before = float(np.finfo(source.dtype).eps), (p.astype(float), g.copy(), m.astype(float))
    getattr(k, f"{name}_step")(p, g, m, v, *args)
    gradient = np.abs(g.astype(float)) + (decay * np.abs(before[0]) if name == "adam" else 0)
    terms_m = 0.9 * np.abs(before[2]) + 0.1 * gradient
    denominator = np.sqrt(want_v / (1 - 0.999**t)) + 1e-8
    alpha = 0.003 / (1 - 0.9**t)
    assert_close(m, want_m, 4 * eps * terms_m)  # eight roundings of the terms
    assert_close(v, want_v, 4 * eps * (want_v + 0.001 * gradient**2))  # g² has two roundings of g, and positive terms
    # m's error and ten roundings of the step (v is at least 0.1: its error is a relative one); in float64, powers
    # that differ by a few units in the last place, of which 1 - β₂ᵗ leaves few digits when t is small
    roundings = 14 * eps * (1 + 0.001 * gradient**2) + 4 * 2**-52 / (1 - 0.999**t)
    assert_close(p, want, eps * (np.abs(want) + np.abs(before[0])) + roundings * alpha * terms_m / denominator)
    assert same_bits(g, before[1])


@pytest.mark.parametrize("rule", ["sgd", "adam", "adamw"])
def test_updates_pass_nan_on_and_stay_in_their_place(rule):
    """NaN in p, g or the state reaches p of the same index, and no other."""
    for dtype in DTYPES:
        for planted in range(4 if rule != "sgd" else 3):
            arrays = [np.full(37, 0.5, dtype) for _ in range(4 if rule != "sgd" else 3)]
            arrays[planted][5] = np.nan
            if rule == "sgd":
                k.sgd_step(*arrays, 0.1, 0.9, 0.0, 0.0, False, False)
            else:
                getattr(k, f"{rule}_step")(*arrays, 0.1, 0.9, 0.999, 1e-8, 0.01, 3)
            assert np.flatnonzero(np.isnan(arrays[0])).tolist() == [5]


def three_steps(step: Callable, gradients=(0.1, -0.2, 0.3)) -> list[float]:
    """p after each of three steps from p = 1, in float64; `step(p, g, t)`."""
    p, seen = np.array([1.0]), []
    for t, gradient in enumerate(gradients, 1):
        step(p, np.array([gradient]), t)
        seen.append(p[0])
    return seen


# The literals below are worked out by hand from the published equations with g = 0.1, -0.2, 0.3, p = 1, lr = 0.5.


def test_sgd_by_hand():
    b = np.zeros(1)
    # p ← p - 0.5 g
    assert three_steps(lambda p, g, t: k.sgd_step(p, g, b, 0.5, 0.0, 0.0, 0.0, False, False)) == pytest.approx(
        [1 - 0.05, 0.95 + 0.1, 1.05 - 0.15], rel=1e-15
    )
    # λ = 0.1:  d = 0.1 + 0.1 = 0.2;  -0.2 + 0.09 = -0.11;  0.3 + 0.0955 = 0.3955
    assert three_steps(lambda p, g, t: k.sgd_step(p, g, b, 0.5, 0.0, 0.0, 0.1, False, False)) == pytest.approx(
        [0.9, 0.955, 0.75725], rel=1e-15
    )
    assert b[0] == 0  # not touched without momentum


def test_sgd_with_momentum_by_hand():
    b = np.zeros(1)
    # μ = 0.9:  b = 0.1;  0.09 - 0.2 = -0.11;  -0.099 + 0.3 = 0.201
    assert three_steps(lambda p, g, t: k.sgd_step(p, g, b, 0.5, 0.9, 0.0, 0.0, False, t == 1)) == pytest.approx(
        [0.95, 1.005, 0.9045], rel=1e-15
    )
    assert b[0] == pytest.approx(0.201, rel=1e-15)
    # τ = 0.5:  b = 0.1 (the first is not dampened);  0.09 - 0.1 = -0.01;  -0.009 + 0.15 = 0.141
    assert three_steps(lambda p, g, t: k.sgd_step(p, g, b, 0.5, 0.9, 0.5, 0.0, False, t == 1)) == pytest.approx(
        [0.95, 0.955, 0.8845], rel=1e-15
    )
    # Nesterov:  d = 0.1 + 0.09 = 0.19;  -0.2 - 0.099 = -0.299;  0.3 + 0.1809 = 0.4809
    assert three_steps(lambda p, g, t: k.sgd_step(p, g, b, 0.5, 0.9, 0.0, 0.0, True, t == 1)) == pytest.approx(
        [0.905, 1.0545, 0.81405], rel=1e-15
    )
    # Nesterov, λ = 0.1:  d₁ = 0.2, b = 0.2, p = 1 - 0.5 (0.2 + 0.18) = 0.81
    # d₂ = -0.2 + 0.081 = -0.119, b = 0.18 - 0.119 = 0.061, p = 0.81 - 0.5 (-0.119 + 0.0549) = 0.84205
    # d₃ = 0.3 + 0.084205 = 0.384205, b = 0.0549 + 0.384205 = 0.439105, p = 0.84205 - 0.5 (0.384205 + 0.3951945)
    assert three_steps(lambda p, g, t: k.sgd_step(p, g, b, 0.5, 0.9, 0.0, 0.1, True, t == 1)) == pytest.approx(
        [0.81, 0.84205, 0.45235025], rel=1e-14
    )


def test_adam_by_hand():
    """β₁ = 0.8, β₂ = 0.9, ε = 0.01.

    t  m                        v                             m̂                        v̂
    1  0.2 · 0.1 = 0.02         0.1 · 0.01 = 0.001            0.02 / 0.2 = 0.1         0.001 / 0.1 = 0.01
    2  0.016 - 0.04 = -0.024    0.0009 + 0.004 = 0.0049       -0.024 / 0.36 = -1/15    0.0049 / 0.19
    3  -0.0192 + 0.06 = 0.0408  0.00441 + 0.009 = 0.01341     0.0408 / 0.488           0.01341 / 0.271
    """
    m, v = np.zeros(1), np.zeros(1)
    p1 = 1 - 0.5 * 0.1 / (0.1 + 0.01)
    p2 = p1 + 0.5 * (1 / 15) / (math.sqrt(0.0049 / 0.19) + 0.01)
    p3 = p2 - 0.5 * (0.0408 / 0.488) / (math.sqrt(0.01341 / 0.271) + 0.01)
    assert (p1, p2, p3) == pytest.approx((0.545454545454545, 0.740853661788526, 0.561014882172144), rel=1e-14)
    assert three_steps(lambda p, g, t: k.adam_step(p, g, m, v, 0.5, 0.8, 0.9, 0.01, 0.0, t)) == pytest.approx(
        [p1, p2, p3], rel=1e-13
    )
    assert (m[0], v[0]) == pytest.approx((0.0408, 0.01341), rel=1e-14)


def test_adam_with_weight_decay_by_hand():
    """λ = 0.1 is added to g: g₁ = 0.1 + 0.1 = 0.2, so m̂ = 0.2, v̂ = 0.04 and p = 1 - 0.5 · 0.2 / 0.21 = 11 / 21."""
    m, v = np.zeros(1), np.zeros(1)
    p1 = 11 / 21
    g2 = -0.2 + 0.1 * p1
    m2, v2 = 0.8 * 0.04 + 0.2 * g2, 0.9 * 0.004 + 0.1 * g2**2
    p2 = p1 - 0.5 * (m2 / 0.36) / (math.sqrt(v2 / 0.19) + 0.01)
    g3 = 0.3 + 0.1 * p2
    m3, v3 = 0.8 * m2 + 0.2 * g3, 0.9 * v2 + 0.1 * g3**2
    p3 = p2 - 0.5 * (m3 / 0.488) / (math.sqrt(v3 / 0.271) + 0.01)
    assert (p1, p2, p3) == pytest.approx((0.523809523809524, 0.505159352716194, 0.225426297100194), rel=1e-14)
    assert three_steps(lambda p, g, t: k.adam_step(p, g, m, v, 0.5, 0.8, 0.9, 0.01, 0.1, t)) == pytest.approx(
        [p1, p2, p3], rel=1e-13
    )


def test_adamw_by_hand():
    """λ = 0.1 shrinks p by 1 - 0.5 · 0.1 = 0.95 before Adam's step, whose m and v are those without decay."""
    m, v = np.zeros(1), np.zeros(1)
    p1 = 0.95 - 0.5 * 0.1 / 0.11
    p2 = 0.95 * p1 + 0.5 * (1 / 15) / (math.sqrt(0.0049 / 0.19) + 0.01)
    p3 = 0.95 * p2 - 0.5 * (0.0408 / 0.488) / (math.sqrt(0.01341 / 0.271) + 0.01)
    assert (p1, p2, p3) == pytest.approx((0.495454545454545, 0.666080934515798, 0.452938108173627), rel=1e-14)
    assert three_steps(lambda p, g, t: k.adamw_step(p, g, m, v, 0.5, 0.8, 0.9, 0.01, 0.1, t)) == pytest.approx(
        [p1, p2, p3], rel=1e-13
    )
    assert (m[0], v[0]) == pytest.approx((0.0408, 0.01341), rel=1e-14)


def test_the_first_step_of_adam_is_lr_for_every_gradient():
    """m̂ / √v̂ = g / |g| at t = 1: the size of a gradient does not matter, in float32 neither."""
    g = np.array([1e-4, -1.0, 1e4, 0.0], np.float32)
    p, m, v = (np.zeros(4, np.float32) for _ in range(3))
    k.adam_step(p, g, m, v, 0.001, 0.9, 0.999, 1e-8, 0.0, 1)
    assert p[:3] == pytest.approx([-0.001, 0.001, -0.001], rel=2e-4)  # ε is 1e-4 of the first gradient
    assert p[3] == 0


# ---------------------------------------------------------------- data


@CHECKED
@given(source=our.sources, N=our.rows, I=our.columns, feature_type=st.sampled_from([np.uint8, np.float32, np.float64]))
def test_gather(source, N, I, feature_type):
    """Rows in shuffled order, from `start`, as scaled floats; columns past the features stay as they are."""
    features = (source.rng.integers(0, 256, (50, I)) if feature_type is np.uint8 else source.array(50, I)).astype(
        feature_type
    )
    order, x = source.rng.permutation(50), placed(np.full((N, I + 3), UNTOUCHED, source.dtype), 1)
    start = int(source.rng.integers(0, 51 - N))
    k.gather(features, order, start, 1 / 255, x)
    want = oracles.gather(features, order, start, 1 / 255, N)
    assert_close(
        x[:, :I], want, 1.5 * np.finfo(source.dtype).eps * np.abs(want)
    )  # number, scale, product: three roundings
    assert np.all(x[:, I:] == UNTOUCHED)
    assert np.all(guards(x) == UNTOUCHED)


@CHECKED
@given(source=our.sources, size=st.integers(1, 60), data=st.data())
def test_fingerprint(source, size, data):
    """The twin's sum; one flipped bit changes it; so do two float32 numbers that swap places."""
    array = source.array(size)
    before = k.fingerprint(array)
    assert int(before) % 2**64 == oracles.fingerprint(array)
    assert k.fingerprint(array.copy()) == before
    bits = array.view(np.uint8)
    spot = data.draw(st.integers(0, bits.size - 1))
    bits[spot] ^= 1 << data.draw(st.integers(0, 7))
    assert k.fingerprint(array) != before
    i, j = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size - 1))
    swapped = array.copy()
    swapped[[i, j]] = array[[j, i]]
    if source.dtype == np.float32 and not same_bits(swapped, array):
        assert k.fingerprint(swapped) != k.fingerprint(array)
