"""Layers that normalise: a node, its operation and its module each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import check, kernels
from ..graph import Array, Parameter, Tensor
from ..graph.operation import Operation, flushed, kernel_array, output, require_tensor, same_float
from ..kernels import layernorm
from .layer import Layer


class Norm(Layer):
    """Base of the layers that normalise.

    The kernels take `weights`, the parameters as rows of one array, and the rows of `state`: as long as the layer has
    columns, or, for a kind `by_rows`, as the batch has rows. `kernels` holds forward, evaluate and backward, which
    also makes the parameters' gradients, unless "weights" names a kernel that does that by columns.
    """

    form = "norm"

    def __init__(self, columns: int, **options: Any) -> None:
        super().__init__()


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
        x, gamma, mean, C = self.saved["x"], self.saved["gamma"], self.saved["mean"], self.saved["x"].shape[1]
        dx, weights, dweights = np.empty_like(x), np.stack([gamma, gamma]), np.empty((2, C), x.dtype)
        if self.training:
            backward, state = kernels.batchnorm_backward, np.stack([mean, mean, mean, self.saved["rstd"]])
        else:
            backward, state = kernels.batchnorm_eval_backward, np.stack([mean, self.saved["var"], mean, mean])
        backward(kernel_array(dy), x, dx, weights, dweights, state, np.array([0, self.eps]), C, 0, C)
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
    weight: Tensor,
    bias: Tensor,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """y = weight (x - mean) / √(variance + eps) + bias, column by column.    x, y: (N, C)  the others: (C,)

    In training, mean and biased variance are those of the batch, and the running arrays change in place:
    running ← (1 - momentum) running + momentum batch, with the unbiased variance. Otherwise the running arrays
    are used and stay as they are.

    Errors: ValueError for shapes that do not fit and for one row in training (it has no spread), TypeError for
    dtypes that differ. Source: Ioffe and Szegedy, ICML 2015, Algorithm 1; PyTorch's documentation of BatchNorm1d.
    """
    require_tensor("batch_norm: weight", weight), require_tensor("batch_norm: bias", bias)
    check.number("batch_norm: momentum", momentum, 0)
    check.number("batch_norm: eps", eps, 0)
    for name, array in (("running_mean", running_mean), ("running_var", running_var)):
        if not isinstance(array, np.ndarray):
            raise TypeError(f"batch_norm: {name} is {type(array).__name__}; it must be an array, changed in place")
    statistics = {"running_mean": running_mean, "running_var": running_var}
    same_float("batch_norm", x=require_tensor("batch_norm: x", x), weight=weight, bias=bias, **statistics)
    shapes = [tuple(array.shape) for array in (running_mean, running_var, weight, bias)]
    if x.ndim != 2 or any(shape != x.shape[1:] for shape in shapes):
        raise ValueError(
            f"batch_norm: x is {x.shape}, the statistics, weight and bias are {shapes}; "
            "x must be (N, num_features) and they (num_features,)"
        )
    if training and x.shape[0] < 2:
        raise ValueError(f"batch_norm: x is {x.shape}; training needs at least 2 rows, one row has no spread")
    check.held("batch_norm: momentum", momentum, x.dtype)
    check.held("batch_norm: eps", eps, x.dtype)
    x_array, gamma, C = kernel_array(x.data), kernel_array(weight.data), x.shape[1]
    y, weights, numbers = np.empty_like(x_array), np.stack([gamma, bias.data]), np.array([momentum, eps])
    state = np.stack([running_mean, running_var, running_mean, running_var])  # mean and rstd take the last two rows
    if training:
        kernels.batchnorm_forward(x_array, y, weights, state, numbers, C, 0, C)
        running_mean[...], running_var[...] = state[0], state[1]
        save, facts = {"x": x_array, "gamma": gamma, "mean": state[2], "rstd": state[3]}, {}
    else:
        kernels.batchnorm_eval_forward(x_array, y, weights, state, numbers, C, 0, C)
        save, facts = {"x": x_array, "gamma": gamma, "mean": running_mean, "var": running_var}, _IN_EVALUATION
    return output(NativeBatchNormBackward0, (x, weight, bias), y, save, training=training, eps=eps, **facts)


class BatchNorm1d(Norm):
    """y = weight (x - mean) / √(variance + eps) + bias, each column on its own.    x, y: (N, num_features)

    In training with the batch's mean and biased variance, which also move the running ones:
    running ← (1 - momentum) running + momentum batch (the variance unbiased). In evaluation with the running ones.
    weight starts at 1, bias at 0. The buffers are running_mean, running_var and num_batches_tracked.

    Errors: ValueError for x of another shape, for one row in training, for momentum outside [0, 1] or eps <= 0.
    Source: Ioffe and Szegedy, ICML 2015; PyTorch's documentation of torch.nn.BatchNorm1d.
    """

    kernels = {
        "forward": kernels.batchnorm_forward,
        "evaluate": kernels.batchnorm_eval_forward,
        "backward": kernels.batchnorm_backward,
    }
    numbers, arguments = ("momentum", "eps"), ("num_features", "eps", "momentum")
    least_rows = 2  # one row has no spread
    weights, state = ("weight", "bias"), ("running_mean", "running_var", "mean", "rstd")
    page = """
  // y = weight (x - mean) / √(variance + eps) + bias, with the running mean and variance
  BatchNorm1d: ({ weight, bias, running_mean, running_var, eps }, x) =>
    x.map((v, i) => (weight[i] * (v - running_mean[i])) / Math.sqrt(running_var[i] + eps) + bias[i])"""

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, dtype: DTypeLike = np.float32
    ) -> None:
        super().__init__(num_features)
        check.width("BatchNorm1d: num_features", num_features)
        self.num_features = int(num_features)
        self.eps, self.momentum = eps, momentum
        self.weight = Parameter(np.ones(num_features, dtype))
        self.bias = Parameter(np.zeros(num_features, dtype))
        self.register_buffer("running_mean", np.zeros(num_features, dtype))
        self.register_buffer("running_var", np.ones(num_features, dtype))
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64))
        self.check()

    running_mean: Array
    running_var: Array
    num_batches_tracked: Array

    def check(self) -> None:
        """eps is above 0, momentum in [0, 1]."""
        super().check()
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

    def equation(self) -> str:
        """In prediction."""
        return "y = w (x − μ) / √(σ² + ε) + b"

    def detail(self) -> str:
        """The shapes."""
        return f"w, b ({self.num_features},); μ, σ² running"

    def extra_repr(self) -> str:
        """As PyTorch prints it."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


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
        x, gamma, (N, C), numbers = self.saved["x"], self.saved["gamma"], self.saved["x"].shape, np.zeros(1)
        dy, dx, dweights = kernel_array(dy), np.empty_like(x), np.empty((2, C), x.dtype)
        state = np.stack([self.saved["mean"].reshape(N), self.saved["rstd"].reshape(N)])
        layernorm.layernorm_backward(dy, x, dx, np.stack([gamma, gamma]), dweights, state, numbers, C, 0, N)
        layernorm.layernorm_weights(dy, x, dweights, state, numbers, C, 0, C)
        return dx, *dweights


@flushed
def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """y = weight (x - mean) / √(variance + eps) + bias, row by row, with the biased variance.    x, y: (N, C)

    weight, bias: (C,). Errors: ValueError for shapes that do not fit, TypeError for dtypes that differ.
    Source: Ba, Kiros, Hinton, Layer Normalization (2016); PyTorch's documentation of torch.nn.LayerNorm.
    """
    require_tensor("layer_norm: weight", weight), require_tensor("layer_norm: bias", bias)
    check.number("layer_norm: eps", eps, 0)
    same_float("layer_norm", x=require_tensor("layer_norm: x", x), weight=weight, bias=bias)
    if x.ndim != 2 or not x.shape[1] or weight.shape != x.shape[1:] or bias.shape != x.shape[1:]:
        raise ValueError(
            f"layer_norm: x is {x.shape}, weight and bias are {weight.shape} and {bias.shape}; x must be (N, C) and "
            "they (C,)"
        )
    check.held("layer_norm: eps", eps, x.dtype)
    x_array, gamma, (N, C) = kernel_array(x.data), kernel_array(weight.data), x.shape
    y, state = np.empty_like(x_array), np.empty((2, N), x.dtype)
    layernorm.layernorm_forward(x_array, y, np.stack([gamma, bias.data]), state, np.array([eps]), C, 0, N)
    save = {"x": x_array, "gamma": gamma, "mean": state[0].reshape(N, 1), "rstd": state[1].reshape(N, 1)}
    return output(NativeLayerNormBackward0, (x, weight, bias), y, save)


class LayerNorm(Norm):
    """y = weight (x - mean) / √(variance + eps) + bias, each row on its own.    x, y: (N, normalized_shape)

    The variance is the biased one. weight starts at 1, bias at 0. Training and evaluation are the same.
    Errors: ValueError for x of another shape, for a normalized_shape that is no whole number, for eps <= 0.
    Source: Ba, Kiros, Hinton, Layer Normalization (2016); PyTorch's documentation of torch.nn.LayerNorm.
    """

    by_rows = True
    kernels = {
        "forward": layernorm.layernorm_forward,
        "evaluate": layernorm.layernorm_eval_forward,
        "backward": layernorm.layernorm_backward,
        "weights": layernorm.layernorm_weights,
    }
    numbers, arguments = ("eps",), ("normalized_shape", "eps")
    weights, state = ("weight", "bias"), ("mean", "rstd")
    page = """
  // y = weight (x - mean) / √(variance + eps) + bias, with the mean and variance of the row
  LayerNorm({ weight, bias, eps }, x) {
    const mean = x.reduce((a, b) => a + b, 0) / x.length;
    const variance = x.reduce((a, b) => a + (b - mean) ** 2, 0) / x.length;
    return x.map((v, i) => (weight[i] * (v - mean)) / Math.sqrt(variance + eps) + bias[i]);
  }"""

    def __init__(self, normalized_shape: int, eps: float = 1e-5, dtype: DTypeLike = np.float32) -> None:
        super().__init__(normalized_shape)
        check.width("LayerNorm: normalized_shape", normalized_shape)
        self.normalized_shape, self.eps = int(normalized_shape), eps
        self.weight = Parameter(np.ones(normalized_shape, dtype))
        self.bias = Parameter(np.zeros(normalized_shape, dtype))
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

    def equation(self) -> str:
        """With the mean and the variance of the row."""
        return "y = w (x − μ) / √(σ² + ε) + b"

    def detail(self) -> str:
        """The shapes."""
        return f"w, b ({self.normalized_shape},); μ, σ² of the row"


NORMS: dict[str, type[Norm]] = {"batch": BatchNorm1d, "layer": LayerNorm}  # by the names that `MLP(norm=...)` takes
