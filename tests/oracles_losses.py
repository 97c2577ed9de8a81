"""Slow twins of the losses and scores in plain float64 NumPy, from the papers and PyTorch's documentation.

A loss gives (each, slopes, mass): the loss of each row (N,) or of each number (N, C); slopes (N, C), their derivative
by z; mass (N,), what a row counts in the divisor of the mean.
"""

import math

import numpy as np
from oracles import f64, hits, log_softmax


def class_shares(targets, C: int, smoothing: float, weight) -> np.ndarray:
    """q[n, c] = w[c] ((1 - s) p[n, c] + s / C), p the probabilities, or 1 for the label."""
    p = f64(targets) if np.ndim(targets) == 2 else np.eye(C)[np.asarray(targets)]
    return (np.ones(C) if weight is None else f64(weight)) * ((1 - smoothing) * p + smoothing / C)


def cross_entropy(z, targets, smoothing: float, weight) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """-Σ_c q log softmax(z), divided by the weights of the labels, or by the rows where targets are probabilities."""
    y = log_softmax(z)
    q = class_shares(targets, y.shape[1], smoothing, weight)
    each = np.array([-math.fsum(a * b for a, b in zip(*rows, strict=True) if a) for rows in zip(q, y, strict=True)])
    mass = np.ones(len(y)) if weight is None or np.ndim(targets) == 2 else f64(weight)[np.asarray(targets)]
    return each, np.exp(y) * q.sum(axis=1, keepdims=True) - q, mass


def accuracy(z, targets, w) -> float:
    """The share of rows whose label, or largest probability, has the largest logit; by weights w."""
    return float(np.average(hits(z, targets if np.ndim(targets) == 1 else np.argmax(targets, axis=1)), weights=w))


def columns(t, z) -> np.ndarray:
    """Targets as (N, T), float64."""
    return f64(t).reshape(len(z), -1)


def by_number(each, slopes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return each, slopes, np.ones(len(each))


def binary_cross_entropy(z, t, weight, pos_weight) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """-w (p t log s + (1 - t) log(1 - s)),  s = 1 / (1 + e^-z); what has the share 0 counts nothing, whatever z is."""
    z, t = f64(z), columns(t, z)
    w, p = (1.0 if given is None else f64(given) for given in (weight, pos_weight))
    with np.errstate(over="ignore", invalid="ignore"):
        yes, no = w * p * t, w * (1 - t)
        parts = [(share, share * np.logaddexp(0, power)) for share, power in ((yes, -z), (no, z))]
        each = sum(np.where((share == 0) & ~np.isnan(z), 0, part) for share, part in parts)
        return by_number(each, no / (1 + np.exp(-z)) - yes / (1 + np.exp(z)))


def f1_micro(z, t, w) -> float:
    """2 TP / (2 TP + FP + FN) of all labels, where z > 0 says yes; 0 where there is none."""
    w, said, true = (np.ones(len(z)) if w is None else f64(w))[:, None], f64(z) > 0, columns(t, z) > 0
    counts = {"TP": said & true, "FP": said & ~true, "FN": ~said & true}
    tp, fp, fn = ((w * count).sum() for count in counts.values())
    return float(2 * tp / (2 * tp + fp + fn)) if tp + fp + fn else 0.0


def mse(z, t) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(z - t)²."""
    d = f64(z) - columns(t, z)
    return by_number(d**2, 2 * d)


def varies(t, w) -> np.ndarray:
    """Which columns have targets that are not all the same, of rows that count."""
    return np.array([len(set(column)) > 1 for column in (t if w is None else t[f64(w) > 0]).T])


def l1(z, t) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """|z - t|, and its slope 0 where z is t."""
    d = f64(z) - columns(t, z)
    return by_number(np.abs(d), np.sign(d))


def huber(z, t, delta) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half a square up to delta, a line of the slope delta beyond."""
    d = f64(z) - columns(t, z)
    size = np.abs(d)
    each = np.where(size <= delta, d**2 / 2, delta * (size - delta / 2))
    return by_number(each, np.where(size <= delta, d, delta * np.sign(d)))


def smooth_l1(z, t, beta) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """|d| - beta / 2 from beta on; below it a parabola that goes on from there."""
    d = f64(z) - columns(t, z)
    near, safe = np.abs(d) < beta, beta or 1.0
    return by_number(np.where(near, d**2 / (2 * safe), np.abs(d) - beta / 2), np.where(near, d / safe, np.sign(d)))


def poisson(z, t, log_input, full, eps) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """mean - t log mean, the mean e^z or z; with `full` Stirling's log t! for t > 1."""
    z, t = f64(z), columns(t, z)
    with np.errstate(all="ignore"):
        each, slopes = (np.exp(z) - t * z, np.exp(z) - t) if log_input else (z - t * np.log(z + eps), 1 - t / (z + eps))
        stirling = t * np.log(t) - t + np.log(2 * math.pi * t) / 2
    return by_number(each + np.where(t > 1, stirling, 0) if full else each, slopes)


def quantile(z, t, quantiles) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The larger of q e and (q - 1) e, e = t - z, and its slope 0 where z is t."""
    t, q = columns(t, z), f64(quantiles)
    e, q = np.repeat(t, len(q), axis=1) - f64(z), np.tile(q, t.shape[1])
    slopes = np.where(e > 0, -q, 1 - q)
    return by_number(np.maximum(q * e, (q - 1) * e), np.where((e == 0) | np.isnan(e), e, slopes))


def explained(error, spread, w, varies) -> float:
    """1 - Σ w error / Σ w spread of each column, both (N, C), the mean over the columns that vary."""
    w = np.ones((len(error), 1)) if w is None else f64(w)[:, None]
    scores = 1 - (w * error).sum(axis=0)[varies] / (w * spread).sum(axis=0)[varies]
    return float(scores.mean()) if scores.size else math.nan


def r2(z, t, w) -> float:
    """Scikit-learn's r2_score with sample_weight: the spread is that around the weighted mean."""
    t = columns(t, z)
    return explained((f64(z) - t) ** 2, (t - np.average(t, axis=0, weights=w)) ** 2, w, varies(t, w))


def deviance(mean, t) -> np.ndarray:
    """t log(t / mean) - t + mean, half the unit deviance of a Poisson distribution."""
    mean, t = np.broadcast_arrays(f64(mean), f64(t))
    with np.errstate(all="ignore"):
        return np.where(t > 0, t * np.log(np.where(t > 0, t, 1) / mean), 0) - t + mean


def d2_poisson(z, t, log_input, w) -> float:
    """The share of the deviance from the mean of the targets that is explained."""
    t = columns(t, z)
    mean = np.exp(f64(z)) if log_input else f64(z)
    return explained(deviance(mean, t), deviance(np.average(t, axis=0, weights=w), t), w, varies(t, w))


def d2_pinball(z, t, quantiles, w) -> float:
    """Scikit-learn's d2_pinball_score: the share of the loss of the targets' own quantiles that is explained."""
    t = columns(t, z)
    own = np.array([[_quantile(column, q, w) for column in t.T for q in quantiles]])
    best = quantile(np.repeat(own, len(t), axis=0), t, quantiles)[0]
    return explained(quantile(z, t, quantiles)[0], best, w, np.repeat(varies(t, w), len(quantiles)))


def _quantile(t, q, w) -> float:
    """The one of t whose own pinball loss is the least: that is what a quantile is."""
    w = np.ones(len(t)) if w is None else f64(w)
    losses = [(w * np.maximum(q * (t - best), (q - 1) * (t - best))).sum() for best in t]
    return float(t[int(np.argmin(losses))])
