"""Every gradient of a model against central finite differences, in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import check, ops
from ..check import flag, shown, takes, whole
from ..graph import Array, Tensor, is_grad_enabled, no_grad
from ..nn import Loss, Module

EPS, TINY = float(np.finfo(np.float64).eps), float(np.finfo(np.float64).tiny)
STEP = EPS ** (1 / 3)  # 6.1e-6: the h at which the errors of the formula, h², and of rounding, eps / h, balance
STEPS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)  # of h: a wrong gradient is wrong at each, a kink near some
LEAST_SIZE = 0.1  # values smaller than this move as if they had this size, zeros too
ROUNDINGS = 30.0  # standard deviations of the rounding error that a difference of two outputs may show


class GradcheckError(AssertionError):
    """A gradient does not agree with the finite differences; the message names each that does not."""


@dataclass(frozen=True, repr=False)
class GradcheckReport:
    """What `gradcheck` found, by name: "x" for the input, "0.weight" ... for the parameters.

    errors     relative error, the largest of all directions
    analytic   directional derivative that backward gave, in the direction of the largest error
    numeric    the same by finite differences
    tolerance  what an error may be
    """

    errors: dict[str, float]
    analytic: dict[str, float]
    numeric: dict[str, float]
    tolerance: float

    @property
    def failing(self) -> list[str]:
        """Names whose error is above the tolerance, or NaN."""
        return [name for name, error in self.errors.items() if not error <= self.tolerance]

    @property
    def ok(self) -> bool:
        """Whether every gradient agrees."""
        return not self.failing

    @property
    def worst(self) -> str:
        """The name with the largest error; NaN counts as the largest."""
        return max(self.errors, key=lambda name: _largest_is_nan(self.errors[name]))

    def __str__(self) -> str:
        good, width = len(self.errors) - len(self.failing), max(map(len, self.errors))
        lines = [f"gradcheck: {good} of {len(self.errors)} gradients agree to {self.tolerance:g} (float64)"]
        for name, error in self.errors.items():
            line = f"  {name:<{width}}  relative error {error:.1e}"
            if name in self.failing:
                line += f"  WRONG: backward {self.analytic[name]:.9g}, finite differences {self.numeric[name]:.9g}"
            lines.append(line)
        return "\n".join(lines)

    __repr__ = __str__


def gradcheck(
    model: Callable[[Tensor], Tensor],
    x: Any,
    y: Any = None,
    *,
    params: Any = None,
    loss: Callable[..., Tensor] | None = None,
    tolerance: float = 1e-6,
    directions: int = 3,
    seed: int = 0,
    raise_exception: bool = True,
) -> GradcheckReport:
    """Check  Σ g d  =  (s(p + h d) - s(p - h d)) / 2h + O(h²)  for the input and for each parameter p.

    s = Σ c · output with random numbers c (the cotangent), g = ds/dp as backward gives it, d a random direction of
    p's shape. One direction tests all numbers of p at once: a wrong one shows, unless d happens to hide it, and
    `directions` draws of c and d leave little to chance. The output is

        model(x)                          without y and loss
        ops.cross_entropy(model(x), y)    with labels y: (N,)
        loss(model(x)) or, with y, loss(model(x), y)

    and may have any shape. A loss of `nn` that names its kernels apart from its node is run twice, by its `forward` and
    by the kernels that `fit` trains with, and each gradient must agree for both. The model runs in float64, in the mode
    (train or eval) it is in. Each evaluation starts from the same buffers and counters, so dropout drops the same
    numbers and batch norm moves nothing. Afterwards the model has its own arrays, dtypes, `.grad`, counters and modes
    again, also after an error; until then no other thread may use it.

    model       a Module, or any function of a tensor; then `params` says which tensors it uses
    x           array or Tensor, (N, ...)
    params      mapping name -> Tensor, or an iterable of Tensors; by default the model's own parameters
    tolerance   what the relative error may be:  |Σ g d - numeric| / (Σ |g d| + |numeric| + floor).  The sum of absolute
                terms is the scale, since terms that cancel leave the rounding of all. floor = 1e6 times the rounding
                error of numeric, as measured: a gradient that is zero in exact arithmetic, as that of a bias
                before batch norm, differs from zero by that error.
    directions  how many directions for each of them

    h is 6e-6, the cube root of eps; d has the size of p, its root mean square, or 0.1 where that is smaller. The
    formula holds for smooth functions. A number within h of a kink, such as an input of a ReLU near 0, spoils it; so
    where the error is above the tolerance, smaller steps down to h / 1000 are tried, and the smallest error counts.
    An input of a ReLU at 0 exactly, or within h / 1000 of it, spoils them all: keep x off such points.

    Errors: GradcheckError (an AssertionError), unless raise_exception is False, names each gradient that is wrong,
    NaN too; and a model that gives two outputs for one input. ValueError or TypeError for arguments that cannot be
    checked. A gradient that never arrives counts as zero. Parameters with requires_grad False are left out.

    Source: Nocedal and Wright, Numerical Optimization, 2nd ed. (2006), 8.1; the random cotangent as in HIPS/autograd.
    """
    named = _named_params(model, params)
    start = _checked_input(x)
    if not is_grad_enabled():
        raise RuntimeError("gradcheck: gradients are switched off here; call it outside no_grad()")
    whole("gradcheck: directions", directions, 1)
    if not check.is_number(tolerance) or not tolerance > 0:
        raise ValueError(f"gradcheck: tolerance is {shown(tolerance)}; it must be above 0")
    whole("gradcheck: seed", seed, 0)
    flag("gradcheck: raise_exception", raise_exception)
    if loss is not None:
        takes("gradcheck: loss", loss, "output", *([] if y is None else ["y"]))
    rng = np.random.default_rng(seed)
    report = GradcheckReport({}, {}, {}, float(tolerance))
    with _in_float64(model, named) as rewind:
        tensors = {"x": Tensor(start, requires_grad=True), **named}
        reached = []
        for by in _ways(loss, y):

            def output(x: Tensor, by: Any = by) -> Tensor:
                rewind()
                return _output(model, x, y, by)

            first, second = (_numbers(output, tensors["x"]) for _ in range(2))
            if not np.array_equal(first, second, equal_nan=True):
                raise GradcheckError(
                    "gradcheck: the model gives two outputs for one input, so no difference can be taken; "
                    "what is random must be a function of a seed that stays the same"
                )
            reached.append(first)
            jitters = _jitters(output, tensors, rng)
            for _ in range(directions):
                cotangent = rng.uniform(0.5, 1.5, first.shape) * rng.choice([-1.0, 1.0], first.shape)
                gradients = _gradients(output, tensors, cotangent)
                floor = 1e6 * _rounding(jitters, first, cotangent)
                for name, tensor in tensors.items():
                    direction = rng.standard_normal(tensor.shape) * _size(tensor.data)
                    measured = _measure(
                        output, tensors["x"], tensor, direction, cotangent, gradients[name], floor, tolerance
                    )
                    _record(report, name, *measured)
        if not np.allclose(reached[0], reached[-1], rtol=1e-6, atol=1e-12, equal_nan=True):
            raise GradcheckError(
                f"gradcheck: {type(loss).__name__}: forward gives {reached[0]:.9g} where its kernels give "
                f"{reached[-1]:.9g}, and fit trains with the kernels; they must be one loss"
            )
    if raise_exception and not report.ok:
        raise GradcheckError(str(report))
    return report


def _ways(loss: Any, y: Any) -> list[Any]:
    """What is checked: the loss, and what `fit` runs in its place where that is named apart."""
    if not isinstance(loss, Loss) or y is None:
        return [loss]
    loss.try_out(np.float64)
    named_once = loss.node is not None and tuple(loss.kernels.values()) == tuple(loss.node.pair)
    return [loss] if named_once or not loss.runs_on_engine() else [loss, loss.by_kernels]


def _measure(
    output: Callable[[Tensor], Tensor],
    x: Tensor,
    tensor: Tensor,
    direction: Array,
    cotangent: Array,
    gradient: Array,
    floor: float,
    tolerance: float,
) -> tuple[float, float, float]:
    """(relative error, analytic, numeric) along one direction, at the first step that agrees, else the best one."""
    analytic, center = _dot(gradient, direction), tensor.data
    scale = _dot(np.abs(gradient), np.abs(direction)) + floor + TINY
    best = (np.nan, analytic, np.nan)
    for factor in STEPS:
        h = STEP * factor
        try:
            tensor.data = center + h * direction
            above = _numbers(output, x)
            tensor.data = center - h * direction
            below = _numbers(output, x)
        finally:
            tensor.data = center
        numeric = _dot(cotangent, above - below) / (2 * h)
        error = abs(analytic - numeric) / (scale + abs(numeric))
        if not np.isfinite(scale):
            error = np.nan  # too large to measure is not right
        if np.isnan(best[0]) or error < best[0]:
            best = (error, analytic, numeric)
        if error <= tolerance:
            break
    return best


def _jitters(
    output: Callable[[Tensor], Tensor], tensors: Mapping[str, Tensor], rng: np.random.Generator
) -> list[Array]:
    """Three times the fourth differences of the output along a line: what is left of a smooth function is rounding.

    The seven points of a line lie h / 1000 apart, too close for a kink to be among them.
    Source: Moré and Wild, Estimating Computational Noise, SIAM J. Sci. Comput. 33 (2011).
    """
    centers = {name: tensor.data for name, tensor in tensors.items()}
    differences = []
    try:
        for _ in range(3):
            line = {name: rng.standard_normal(data.shape) * _size(data) for name, data in centers.items()}
            outputs = []
            for i in range(7):
                for name, tensor in tensors.items():
                    tensor.data = centers[name] + i * STEP / 1000 * line[name]
                outputs.append(_numbers(output, tensors["x"]))
            differences.append(np.diff(outputs, n=4, axis=0))
    finally:
        for name, tensor in tensors.items():
            tensor.data = centers[name]
    return differences


def _rounding(jitters: list[Array], first: Array, cotangent: Array) -> float:
    """The rounding error of the numeric derivative: ROUNDINGS times that of Σ c · output, over 2h.

    A fourth difference weighs the roundings of five outputs with 1, -4, 6, -4, 1, whose squares add up to 70.
    """
    lines = [np.hypot.reduce([_dot(cotangent, change) for change in line]) for line in jitters]
    measured = float(np.median(lines) / np.sqrt(70 * len(jitters[0])))
    least = EPS * float(np.hypot.reduce((cotangent * first).ravel()))  # a last digit of each output
    return ROUNDINGS * max(measured, least) / (2 * STEP)


def _dot(a: Array, b: Array) -> float:
    with np.errstate(invalid="ignore", over="ignore"):  # infinity and NaN are findings here, not mistakes
        return float((a * b).sum())


def _record(report: GradcheckReport, name: str, error: float, analytic: float, numeric: float) -> None:
    """Keep the direction with the largest error."""
    if name not in report.errors or _largest_is_nan(error) > _largest_is_nan(report.errors[name]):
        report.errors[name], report.analytic[name], report.numeric[name] = error, analytic, numeric


def _largest_is_nan(error: float) -> float:
    return np.inf if np.isnan(error) else error


def _output(model: Callable[[Tensor], Tensor], x: Tensor, y: Any, loss: Callable[..., Tensor] | None) -> Tensor:
    out = model(x)
    if loss is not None:
        out = loss(out) if y is None else loss(out, y)
    elif y is not None:
        out = ops.cross_entropy(out, y)
    if not isinstance(out, Tensor) or out.dtype != np.float64:
        what = f"a {out.dtype} tensor" if isinstance(out, Tensor) else type(out).__name__
        raise TypeError(f"gradcheck: a float64 input gives {what}; it must give a float64 tensor")
    return out


def _numbers(output: Callable[[Tensor], Tensor], x: Tensor) -> Array:
    """The output's own numbers, without a graph."""
    with no_grad():
        return output(x).data.copy()


def _gradients(output: Callable[[Tensor], Tensor], tensors: Mapping[str, Tensor], cotangent: Array) -> dict[str, Array]:
    """What backward puts into `.grad`; zeros where nothing arrives."""
    for tensor in tensors.values():
        tensor.grad = None
    result = output(tensors["x"])
    if result.requires_grad:
        result.backward(cotangent)
    gradients = {}
    for name, tensor in tensors.items():
        gradient = np.zeros(tensor.shape) if tensor.grad is None else tensor.grad
        if gradient.shape != tensor.shape:
            raise GradcheckError(f"gradcheck: the gradient of {name} is {gradient.shape}, {name} is {tensor.shape}")
        gradients[name] = gradient
    return gradients


def _size(array: Array) -> float:
    """Root mean square, at least LEAST_SIZE."""
    return max(float(np.sqrt(np.mean(array * array))), LEAST_SIZE)


def _checked_input(x: Any) -> Array:
    """x as a fresh float64 array. Errors: TypeError for no numbers, ValueError for none at all, NaN or infinity."""
    given = check.array("gradcheck: x", x.data if isinstance(x, Tensor) else x)
    if given.dtype.kind not in "fiub":
        raise TypeError(f"gradcheck: x has dtype {given.dtype}; it must hold real numbers")
    start = np.array(given, np.float64, order="C")
    if not start.size or not np.isfinite(start).all():
        what = "has numbers that are not finite" if start.size else f"is {start.shape}, without a number"
        raise ValueError(f"gradcheck: x {what}; no difference can be taken there")
    return start


def _named_params(model: Any, params: Any) -> dict[str, Tensor]:
    """name -> each tensor that is to be checked beside x."""
    if not callable(model):
        raise TypeError(f"gradcheck: model is {type(model).__name__}; it must be a Module or a function of a Tensor")
    takes("gradcheck: model", model, "x")
    if params is None:
        named = dict(model.named_parameters()) if isinstance(model, Module) else {}
    elif isinstance(params, Mapping):
        named = dict(params)
    elif not check.listed(params):
        raise TypeError(
            f"gradcheck: params is {shown(params)}; it must be Tensors, as model.parameters() gives, or None"
        )
    else:
        named = {f"params[{index}]": tensor for index, tensor in enumerate(params)}
    for name, tensor in named.items():
        if not isinstance(tensor, Tensor) or not tensor.is_leaf or tensor.dtype.kind != "f":
            what = type(tensor).__name__ if not isinstance(tensor, Tensor) else "no leaf of float32 or float64"
            raise TypeError(f"gradcheck: {name} is {what}; each of params must be a leaf Tensor of floats")
        if not np.isfinite(tensor.data).all():
            raise ValueError(f"gradcheck: {name} has numbers that are not finite; no difference can be taken there")
    if "x" in named:
        raise ValueError('gradcheck: a parameter is named "x", as the input is; give params other names')
    return {name: tensor for name, tensor in named.items() if tensor.requires_grad and tensor.size}


@contextmanager
def _in_float64(model: Any, named: Mapping[str, Tensor]) -> Iterator[Callable[[], None]]:
    """Within the block, parameters and buffers are float64 copies; after it the model is as it was, array by array.

    Yields a function that puts buffers, counters and modes back to the start: forward passes move them.
    """
    modules = list(model.modules()) if isinstance(model, Module) else []
    own = {id(p): p for module in modules for p in module._parameters.values()}
    tensors = list({**own, **{id(t): t for t in named.values()}}.values())
    kept = [(tensor, tensor.data, tensor.grad) for tensor in tensors]
    attributes = [(dict(module.__dict__), dict(module._buffers)) for module in modules]
    numbers = [{name: array.copy() for name, array in buffers.items()} for _, buffers in attributes]

    def rewind() -> None:
        for module, (values, _), buffers in zip(modules, attributes, numbers, strict=True):
            module.__dict__.clear()
            module.__dict__.update(values)
            for name, array in buffers.items():
                module._buffers[name] = array.astype(np.float64 if array.dtype.kind == "f" else array.dtype)
                module.__dict__[name] = module._buffers[name]

    try:
        for tensor in tensors:
            tensor.hold(tensor.data.astype(np.float64))
        yield rewind
    finally:
        for tensor, data, grad in kept:
            tensor.hold(data, grad)
        for module, (values, buffers) in zip(modules, attributes, strict=True):
            module.__dict__.clear()
            module.__dict__.update(values)
            module._buffers.clear()
            module._buffers.update(buffers)
