"""Layers that normalise: a node, its operation and its module each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import check, kernels
from ..check import shown
from ..graph import Array, Parameter, Tensor
from ..graph.operation import Operation, kernel_array, output, require_tensor, same_float
from ..kernels import flushed, layernorm
from .layer import Layer


class Norm(Layer):
    """Base of the layers that normalise.

    The kernels take `weights`, the parameters as rows of one array, and the rows of `state`: as long as the layer has
    columns, or, for a kind `by_rows`, as the batch has rows. `kernels` holds forward, evaluate and backward, which
    also makes the parameters' gradients, unless "weights" names a kernel that does that by columns.
    """

    form = "norm"
    weight: Any  # a Parameter, or None
    bias: Any

    def __init__(self, columns: int, **options: Any) -> None:
        super().__init__()

    def argument(self, name: str) -> Any:
        """Whether there is a bias, not the bias itself; without a weight there is none in any case."""
        return self.bias is not None or self.weight is None if name == "bias" else super().argument(name)

    def equation(self) -> str:
        """In prediction, with the parameters that there are."""
        w, b = "w " * (self.weight is not None), " + b" * (self.bias is not None)
        return f"y = {w}(x − μ) / √(σ² + ε){b}"

    def detail(self) -> str:
        """The shapes."""
        there = {letter: given for letter, given in (("w", self.weight), ("b", self.bias)) if given is not None}
        return f"{', '.join(there)} {next(iter(there.values())).shape}; " if there else ""


def _switch(caller: str, **switches: Any) -> None:
    """Refuse what is neither True nor False."""
    for name, value in switches.items():
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"{caller}: {name} is {shown(value)}; it must be True or False")


def _affine(op: str, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """The parameters, constants of 1 and 0 where there are none."""
    for name, given in (("weight", weight), ("bias", bias)):
        if given is not None:
            require_tensor(f"{op}: {name}", given)
    shape = require_tensor(f"{op}: x", x).shape[1:]
    return (
        Tensor(np.ones(shape, x.dtype)) if weight is None else weight,
        Tensor(np.zeros(shape, x.dtype)) if bias is None else bias,
    )


def _kept(x: Array, weight: Tensor | None) -> dict[str, Array]:
    """What a node saves of its inputs."""
    return {"x": x} if weight is None else {"x": x, "gamma": kernel_array(weight.data)}


class NativeBatchNormBackward0(Operation):
    """y = gamma x̂ + beta,  x̂ = (x - mean) rstd."""

    equation = "dgamma = Σₙ dy x̂,  dbeta = Σₙ dy,  dx = gamma rstd (dy - dbeta / N - x̂ dgamma / N)"
    operands = ("x", "gamma", "beta")
    keeps = {
        "x": "x̂ = (x - mean) rstd is made again from it",
        "gamma": "dx is scaled by it",
        "mean": "the mean of each column, to make x̂ again",
        "rstd": "1 / √(variance + eps) of each column, to make x̂ again and to scale dx",
        "var": "the running variance: rstd = 1 / √(var + eps)",
    }
    twin = "torch.nn.functional.batch_norm"
    twin_saved: Mapping[str, str] = {"x": "input", "gamma": "weight", "mean": "result1", "rstd": "result2"}
    training: bool
    eps: float

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        x, mean, C = self.saved["x"], self.saved["mean"], self.saved["x"].shape[1]
        gamma = self.saved.get("gamma", np.ones(C, x.dtype))
        dx, weights, dweights = np.empty_like(x), np.stack([gamma, gamma]), np.empty((2, C), x.dtype)
        if self.training:
            backward, state = kernels.batchnorm_backward, np.stack([mean, mean, mean, self.saved["rstd"]])
        else:
            backward, state = kernels.batchnorm_eval_backward, np.stack([mean, self.saved["var"], mean, mean])
        backward(kernel_array(dy), x, dx, weights, dweights, state, np.array([0, float(self.eps)]), C, 0, C)
        return dx, *dweights


_IN_EVALUATION: dict[str, Any] = {  # the running statistics are constants: no gradient passes through them
    "equation": "dgamma = Σₙ dy x̂,  dbeta = Σₙ dy,  dx = gamma rstd dy",
    "twin_saved": {"x": "input", "gamma": "weight", "mean": "running_mean", "var": "running_var"},
}


@flushed
def batch_norm(
    x: Tensor,
    running_mean: Array,
    running_var: Array,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """y = weight (x - mean) / √(variance + eps) + bias, column by column.    x, y: (N, C)  the others: (C,)

    In training, mean and biased variance are those of the batch, and the running arrays change in place:
    running ← (1 - momentum) running + momentum batch, with the unbiased variance. Otherwise the running arrays
    are used and stay as they are. None is 1 for weight, 0 for bias.

    Errors: ValueError for shapes that do not fit and for one row in training (it has no spread), TypeError for
    dtypes that differ. Source: Ioffe and Szegedy, ICML 2015, Algorithm 1; PyTorch's documentation of BatchNorm1d.
    """
    gamma, beta = _affine("batch_norm", x, weight, bias)
    check.flag("batch_norm: training", training)
    check.number("batch_norm: momentum", momentum, 0)
    check.number("batch_norm: eps", eps, 0)
    for name, array in (("running_mean", running_mean), ("running_var", running_var)):
        if not isinstance(array, np.ndarray):
            raise TypeError(f"batch_norm: {name} is {type(array).__name__}; it must be an array, changed in place")
        if training and not array.flags.writeable:
            raise ValueError(f"batch_norm: {name} is read-only; it must be writable, as it is changed in place")
    statistics = {"running_mean": running_mean, "running_var": running_var}
    same_float("batch_norm", x=x, weight=gamma, bias=beta, **statistics)
    shapes = [tuple(array.shape) for array in (running_mean, running_var, gamma, beta)]
    if x.ndim != 2 or any(shape != x.shape[1:] for shape in shapes):
        raise ValueError(
            f"batch_norm: x is {x.shape}, the statistics, weight and bias are {shapes}; "
            "x must be (N, num_features) and they (num_features,)"
        )
    if training and x.shape[0] < 2:
        raise ValueError(f"batch_norm: x is {x.shape}; training needs at least 2 rows, one row has no spread")
    check.held("batch_norm: momentum", momentum, x.dtype)
    check.held("batch_norm: eps", eps, x.dtype)
    x_array, C = kernel_array(x.data), x.shape[1]
    y, weights, numbers = (
        np.empty_like(x_array),
        np.stack([gamma.data, beta.data]),
        np.array([float(momentum), float(eps)]),
    )
    state = np.stack([running_mean, running_var, running_mean, running_var])  # mean and rstd take the last two rows
    if training:
        kernels.batchnorm_forward(x_array, y, weights, state, numbers, C, 0, C)
        running_mean[...], running_var[...] = state[0], state[1]
        save, facts = {"mean": state[2], "rstd": state[3]}, {}
    else:
        kernels.batchnorm_eval_forward(x_array, y, weights, state, numbers, C, 0, C)
        save, facts = {"mean": running_mean, "var": running_var}, _IN_EVALUATION
    save = _kept(x_array, weight) | save
    return output(NativeBatchNormBackward0, (x, gamma, beta), y, save, training=training, eps=eps, **facts)


class BatchNorm1d(Norm):
    """y = weight (x - mean) / √(variance + eps) + bias, each column on its own.    x, y: (N, num_features)

    In training with the batch's mean and biased variance, which also move the running ones:
    running ← (1 - momentum) running + momentum batch (the variance unbiased). In evaluation with the running ones.
    weight starts at 1, bias at 0; without affine there is neither, and with bias=False no bias. The buffers are
    running_mean, running_var and num_batches_tracked. A prediction must not depend on the rows beside it, so
    track_running_stats is True.

    Errors: ValueError for x of another shape, for one row in training, for momentum outside [0, 1] or eps <= 0, for
    track_running_stats=False.
    Source: Ioffe and Szegedy, ICML 2015; PyTorch's documentation of torch.nn.BatchNorm1d.
    """

    kernels = {
        "forward": kernels.batchnorm_forward,
        "evaluate": kernels.batchnorm_eval_forward,
        "backward": kernels.batchnorm_backward,
        "evaluate_backward": kernels.batchnorm_eval_backward,
    }
    numbers, arguments = ("momentum", "eps"), ("num_features", "eps", "momentum", "affine", "bias")
    least_rows = 2  # one row has no spread
    weights, state = ("weight", "bias"), ("running_mean", "running_var", "mean", "rstd")
    absent = (1.0, 0.0)
    formula = "l.weight * (v - l.running_mean) / Math.sqrt(l.running_var + l.eps) + l.bias"

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        dtype: DTypeLike = np.float32,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features)
        check.width("BatchNorm1d: num_features", num_features)
        self.num_features = int(num_features)
        _switch("BatchNorm1d", affine=affine, bias=bias)
        if track_running_stats is not True:
            raise ValueError(f"BatchNorm1d: track_running_stats is {shown(track_running_stats)}; it must be True")
        dtype = check.float_type("BatchNorm1d: dtype", dtype)
        self.eps, self.momentum, self.affine = eps, momentum, bool(affine)
        self.weight = Parameter(np.ones(num_features, dtype)) if affine else None
        self.bias = Parameter(np.zeros(num_features, dtype)) if affine and bias else None
        self.register_buffer("running_mean", np.zeros(num_features, dtype))
        self.register_buffer("running_var", np.ones(num_features, dtype))
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64))
        self.check()

    running_mean: Array
    running_var: Array
    num_batches_tracked: Array

    def check(self) -> None:
        """eps is above 0, momentum in [0, 1]; the running arrays are there."""
        super().check()
        kept = dict.fromkeys(self.state[:2], ((self.num_features,), "f")) | {"num_batches_tracked": ((), "iu")}
        for name, (shape, kinds) in kept.items():
            array = getattr(self, name, None)
            if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype.kind not in kinds:
                given = f"{array.shape} {array.dtype}" if isinstance(array, np.ndarray) else shown(array)
                must = f"{shape} of {'floats' if shape else 'a whole number'}"
                raise ValueError(f"BatchNorm1d: {name} is {given}; it must be an array {must}")
        if not self.eps > 0 or not 0 <= self.momentum <= 1:
            raise ValueError(
                f"BatchNorm1d: eps is {self.eps}, momentum is {self.momentum}; they must be above 0 and in [0, 1]"
            )

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, num_features) -> the same shape."""
        y = batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=self.training,
            momentum=self.momentum,
            eps=self.eps,
        )
        if self.training:
            self.num_batches_tracked += 1
        return y

    def columns(self, columns: int, place: int) -> int:
        """num_features, where as many columns come."""
        if self.num_features != columns:
            raise ValueError(
                f"batch_norm: layer {place} has {self.num_features} features; {columns} columns come to it"
            )
        return columns

    def trained(self, steps: int) -> None:
        """Each step has moved the running statistics once."""
        self.num_batches_tracked += steps

    def detail(self) -> str:
        """The shapes, and whose mean and variance it takes."""
        return super().detail() + "μ, σ² running"

    def extra_repr(self) -> str:
        """As PyTorch prints it, without what is as it is by default."""
        without = "" if self.affine and self.bias is not None else ", bias=False" if self.affine else ", affine=False"
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}{without}"


class NativeLayerNormBackward0(Operation):
    """y = gamma x̂ + beta,  x̂ = (x - mean) rstd, row by row."""

    equation = "dgamma = Σₙ dy x̂,  dbeta = Σₙ dy,  dx = rstd (d - Σ_c d / C - x̂ Σ_c d x̂ / C),  d = gamma dy"
    operands = ("x", "gamma", "beta")
    keeps = {
        "x": "x̂ = (x - mean) rstd is made again from it",
        "gamma": "dx is scaled by it",
        "mean": "the mean of each row, to make x̂ again",
        "rstd": "1 / √(variance + eps) of each row, to make x̂ again and to scale dx",
    }
    twin = "torch.nn.functional.layer_norm"
    twin_saved = {"x": "input", "gamma": "weight", "mean": "result1", "rstd": "result2"}

    def run(self, dy: Array) -> tuple[Array | None, ...]:
        x, (N, C), numbers = self.saved["x"], self.saved["x"].shape, np.zeros(1)
        gamma = self.saved.get("gamma", np.ones(C, x.dtype))
        dy, dx, dweights = kernel_array(dy), np.empty_like(x), np.empty((2, C), x.dtype)
        state = np.stack([self.saved["mean"].reshape(N), self.saved["rstd"].reshape(N)])
        layernorm.layernorm_backward(dy, x, dx, np.stack([gamma, gamma]), dweights, state, numbers, C, 0, N)
        layernorm.layernorm_weights(dy, x, dweights, state, numbers, C, 0, C)
        return dx, *dweights


@flushed
def layer_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """y = weight (x - mean) / √(variance + eps) + bias, row by row, with the biased variance.    x, y: (N, C)

    weight, bias: (C,); None is 1 for weight, 0 for bias.
    Errors: ValueError for shapes that do not fit, TypeError for dtypes that differ.
    Source: Ba, Kiros, Hinton, Layer Normalization (2016); PyTorch's documentation of torch.nn.LayerNorm.
    """
    gamma, beta = _affine("layer_norm", x, weight, bias)
    check.number("layer_norm: eps", eps, 0)
    same_float("layer_norm", x=x, weight=gamma, bias=beta)
    if x.ndim != 2 or not x.shape[1] or gamma.shape != x.shape[1:] or beta.shape != x.shape[1:]:
        raise ValueError(
            f"layer_norm: x is {x.shape}, weight and bias are {gamma.shape} and {beta.shape}; x must be (N, C) and "
            "they (C,)"
        )
    check.held("layer_norm: eps", eps, x.dtype)
    x_array, (N, C) = kernel_array(x.data), x.shape
    y, state = np.empty_like(x_array), np.empty((2, N), x.dtype)
    layernorm.layernorm_forward(x_array, y, np.stack([gamma.data, beta.data]), state, np.array([float(eps)]), C, 0, N)
    save = _kept(x_array, weight) | {"mean": state[0].reshape(N, 1), "rstd": state[1].reshape(N, 1)}
    return output(NativeLayerNormBackward0, (x, gamma, beta), y, save)


class LayerNorm(Norm):
    """y = weight (x - mean) / √(variance + eps) + bias, each row on its own.    x, y: (N, normalized_shape)

    The variance is the biased one. weight starts at 1, bias at 0; without elementwise_affine there is neither, and
    with bias=False no bias. Training and evaluation are the same.
    Errors: ValueError for x of another shape, for a normalized_shape that is not the length of a row, for eps <= 0.
    Source: Ba, Kiros, Hinton, Layer Normalization (2016); PyTorch's documentation of torch.nn.LayerNorm.
    """

    by_rows = True
    kernels = {
        "forward": layernorm.layernorm_forward,
        "evaluate": layernorm.layernorm_eval_forward,
        "backward": layernorm.layernorm_backward,
        "weights": layernorm.layernorm_weights,
    }
    numbers, arguments = ("eps",), ("normalized_shape", "eps", "elementwise_affine", "bias")
    weights, state, absent = ("weight", "bias"), ("mean", "rstd"), (1.0, 0.0)
    formula = "l.weight * (v - mean) / Math.sqrt(variance + l.eps) + l.bias"

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
    ) -> None:
        given: Any = normalized_shape
        columns = given[0] if isinstance(given, tuple | list) and len(given) == 1 else given
        super().__init__(columns)
        check.width("LayerNorm: normalized_shape", columns)
        _switch("LayerNorm", elementwise_affine=elementwise_affine, bias=bias)
        dtype = check.float_type("LayerNorm: dtype", dtype)
        self.normalized_shape, self.eps, self.elementwise_affine = int(columns), eps, bool(elementwise_affine)
        self.weight = Parameter(np.ones(columns, dtype)) if elementwise_affine else None
        self.bias = Parameter(np.zeros(columns, dtype)) if elementwise_affine and bias else None
        self.check()

    def check(self) -> None:
        """eps is above 0."""
        super().check()
        if not self.eps > 0:
            raise ValueError(f"LayerNorm: eps is {self.eps}; it must be above 0")

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, normalized_shape) -> the same shape."""
        return layer_norm(x, self.weight, self.bias, self.eps)

    def columns(self, columns: int, place: int) -> int:
        """normalized_shape, where as many columns come."""
        if self.normalized_shape != columns:
            raise ValueError(
                f"layer_norm: layer {place} has normalized_shape {self.normalized_shape}; {columns} columns come to it"
            )
        return columns

    def detail(self) -> str:
        """The shapes, and whose mean and variance it takes."""
        return super().detail() + "μ, σ² of the row"


NORMS: dict[str, type[Norm]] = {"batch": BatchNorm1d, "layer": LayerNorm}  # by the names that `MLP(norm=...)` takes
