"""The ill-conditioned quadratic of the study of optimizers: an ellipse, along the axes or turned."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..graph import Array, Parameter

CURVATURES = (1.0, 50.0)
REACHED, MOST = 1e-3, 600  # the distance to the minimum, over that of the start; steps
RATES = tuple(float(f"{10 ** (k / 8):.2g}") for k in range(-32, 9))  # 1e-4 to 10, eight a decade
ANGLES = (np.arange(16) + 0.5) * math.pi / 8  # starts around the minimum, at the same distance
PLACES = {"aligned": 0.0, "turned": math.pi / 4}
FAR = 1e6  # a path that comes here diverges


def paths(make: Callable[..., Any], angle: float, rates: tuple[float, ...] = RATES) -> Array:
    """Points (MOST + 1, rates, starts, 2) of a rule on  f(p) = ½ Σ λ u²,  u = p Rᵀ:  an ellipse, turned by `angle`.

    make(groups, lr) is the optimizer; each rate is a group of its own, with all starts in one array: the rules treat
    every number by itself, so they do not touch each other. ∇f = (λ u) R. A path that diverges is infinite from there.
    """
    r = turn(angle)
    starts = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1) @ r
    params = [Parameter(starts.copy()) for _ in rates]
    optimizer = make([{"params": [p], "lr": rate} for p, rate in zip(params, rates, strict=True)], lr=1.0)
    points = np.full((MOST + 1, len(rates), *starts.shape), np.inf)
    for t in range(MOST + 1):
        for i, p in enumerate(params):
            p.grad = None  # which `step` leaves alone
            if np.abs(p.data).max() < FAR:  # False for NaN too
                points[t, i], p.grad = p.data, (p.data @ r.T * CURVATURES) @ r
        optimizer.step()
    return points


def turn(angle: float) -> Array:
    """R = (cos sin, -sin cos)."""
    return np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])


def values(points: Array, angle: float) -> Array:
    """The function f at each point."""
    u = points @ turn(angle).T
    return 0.5 * (u * u * CURVATURES).sum(axis=-1)


def steps_needed(points: Array) -> Array:
    """Steps after which |p| is at most REACHED times that of the start, and stays so, for each rate: the median start.

    points: (steps + 1, rates, starts, 2). Infinite where the distance is still larger at the end. It is the distance
    that counts: f is mostly the steep direction, and gets small while the flat one is still far away.
    """
    distance = np.linalg.norm(points, axis=-1)
    away = ~(distance <= REACHED * distance[0])  # NaN is away
    last = len(away) - 1 - away[::-1].argmax(axis=0)
    return np.median(np.where(last < len(away) - 1, last + 1.0, np.inf), axis=-1)
