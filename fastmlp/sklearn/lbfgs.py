"""L-BFGS on all rows at once: loss and gradient from the graph, the steps from `scipy.optimize`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import nn
from ..data import Dataset
from ..graph import Array
from ..running.rows import batches, dtype_of
from .net import linears
from .solver import penalty


def minimize(
    net: nn.Module, loss: nn.Loss, data: Dataset, alpha: float, options: dict[str, Any]
) -> tuple[Any, float, float]:
    """Train `net` on all rows of `data`; returns (scipy's result, mean loss, Σ w² at its end).

    f = mean loss + α / 2M Σ w²,  df/dw = dloss/dw + α / M w,  M = Σ w of the rows, or their number
    """
    from scipy.optimize import minimize as scipy_minimize

    dtype, n = dtype_of(net), len(data)
    x, targets = next(batches(data, np.arange(n), [n], dtype))
    weight = data.sample_weight
    mass = float(n if weight is None else weight.sum())
    parameters = list(net.parameters())
    decays = {id(layer.weight) for layer in linears(net)}
    cuts = np.cumsum([p.data.size for p in parameters])[:-1]
    seen: dict[str, float] = {}

    def put(packed: Array) -> None:
        for parameter, piece in zip(parameters, np.split(packed, cuts), strict=True):
            parameter.data[...] = piece.reshape(parameter.shape)

    def value(packed: Array) -> tuple[float, Array]:
        put(packed)
        net.zero_grad()
        mean = loss(net(x), targets, weight)
        mean.backward()
        gradients = []
        for p in parameters:
            g = np.zeros_like(p.data) if p.grad is None else p.grad
            gradients.append((g + alpha / mass * p.data if id(p) in decays else g).reshape(-1))
        seen["squares"], seen["mean"] = penalty(net), mean.item()
        return seen["mean"] + 0.5 * alpha / mass * seen["squares"], np.concatenate(gradients).astype(np.float64)

    start = np.concatenate([p.data.reshape(-1) for p in parameters]).astype(np.float64)
    net.train()
    try:
        result = scipy_minimize(value, start, method="L-BFGS-B", jac=True, options=options)
        value(result.x)
    finally:
        net.zero_grad()
        net.eval()
    return result, seen["mean"], seen["squares"] / mass
