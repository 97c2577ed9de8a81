"""The contract of the losses: what `contract` says of every kind, for `nn.LOSSES`.

A set of options is named after its word; where an option has a number for each output, it is a function of how many
there are. A loss that `loss` makes knows how its targets are drawn.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import oracles_losses as oracles

import fastmlp as fm

Options = Mapping[str, Any]
Draw = Callable[[np.random.Generator, int, int], np.ndarray]


class LossTwin(NamedTuple):
    """The loss of each row (N,) or number (N, C), its slope by z (N, C), what a row counts in the divisor (N,)."""

    each: np.ndarray
    slopes: np.ndarray
    mass: np.ndarray

    def reduced(self, reduction: str = "mean", w: Any = None) -> tuple[Any, np.ndarray]:
        """(loss, dz) with weights w of the rows; dz of Σ loss where that has axes."""
        w = np.ones(len(self.slopes)) if w is None else np.asarray(w, np.float64)
        wide = w.reshape(-1, *[1] * (self.each.ndim - 1))
        if reduction == "none":
            return wide * self.each, w[:, None] * self.slopes
        if reduction == "sum":
            return float((wide * self.each).sum()), w[:, None] * self.slopes
        share = w / (w * self.mass).sum()
        size = self.each[0].size
        return float((share.reshape(wide.shape) * self.each).sum() / size), share[:, None] * self.slopes / size


@dataclass(frozen=True)
class LossEntry:
    """A declared loss.

    options  sets of arguments, by a word for each; all together give every argument another value than its default.
             `reduction` and weights of rows go with every set: test_contract_losses
    twin     (z, targets, options) -> (each, slopes, mass) of `LossTwin`
    score    (z, targets, options, w) -> the score with weights w of the rows, or None
    points   (rng, shape) -> z where the loss is smooth
    peer     the name of the class, or of a function (targets, outputs) -> the losses; of PyTorch, where it has one
    kinds    word -> kind of targets, where it is not the first that the loss takes
    draw     (rng, rows, columns) -> targets, where those of the kind are not right
    """

    options: Options | None = None
    twin: Callable[[Any, Any, Options], tuple[Any, Any, Any]] | None = None
    score: Callable[[Any, Any, Options, Any], float] | None = None
    points: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray] | None = None
    peer: str | None = None
    kinds: Mapping[str, str] = field(default_factory=dict)
    draw: Draw | bool = False


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape)


def _probabilities(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return rng.dirichlet(np.full(columns, 0.5), rows)


DRAWS: dict[str, Draw] = {
    "classes": lambda rng, rows, columns: rng.integers(0, columns, rows),
    "numbers": lambda rng, rows, columns: rng.standard_normal((rows, columns)),
    "labels": lambda rng, rows, columns: rng.integers(0, 2, (rows, columns)).astype(np.float64),
    "probabilities": _probabilities,
}


def _class_weights(columns: int) -> list[float]:
    """One is 0, unless there is no other."""
    return [0.5 + 0.25 * c if c != 1 else 0.0 for c in range(columns)]


def _quantiles(count: int) -> tuple[float, ...]:
    return tuple(((np.arange(count) + 0.5) / count).tolist())


def _targets(columns: int) -> int:
    """Two or three where the outputs can be divided so, else one."""
    return next((count for count in (2, 3) if columns % count == 0), 1)


LOSSES: dict[str, LossEntry] = {
    "cross_entropy": LossEntry(
        options={
            "plain": {},
            "smoothed": {"label_smoothing": 0.1},
            "nearly flat": {"label_smoothing": 0.9},
            "weighted": {"weight": _class_weights},
            "weighted, smoothed": {"weight": _class_weights, "label_smoothing": 0.2},
            "probabilities": {},
            "all of probabilities": {"weight": _class_weights, "label_smoothing": 0.2},
        },
        twin=lambda z, t, o: oracles.cross_entropy(z, t, o.get("label_smoothing", 0.0), o.get("weight")),
        score=lambda z, t, o, w: oracles.accuracy(z, t, w),
        points=normal,
        peer="torch.nn.CrossEntropyLoss",
        kinds={"probabilities": "probabilities", "all of probabilities": "probabilities"},
    ),
    "binary_cross_entropy_with_logits": LossEntry(
        options={
            "plain": {},
            "weighted": {"weight": _class_weights},
            "positive": {"pos_weight": lambda columns: [2.5]},
            "all": {
                "weight": _class_weights,
                "pos_weight": lambda columns: [3.0 - 2 * c / columns for c in range(columns)],
            },
        },
        twin=lambda z, t, o: oracles.binary_cross_entropy(z, t, o.get("weight"), o.get("pos_weight")),
        score=lambda z, t, o, w: oracles.f1_micro(z, t, w),
        points=normal,
        peer="torch.nn.BCEWithLogitsLoss",
    ),
    "mse_loss": LossEntry(
        options={"plain": {}},
        twin=lambda z, t, o: oracles.mse(z, t),
        score=lambda z, t, o, w: oracles.r2(z, t, w),
        points=normal,
        peer="torch.nn.MSELoss",
    ),
    "l1_loss": LossEntry(
        options={"plain": {}},
        twin=lambda z, t, o: oracles.l1(z, t),
        score=lambda z, t, o, w: oracles.r2(z, t, w),
        points=normal,
        peer="torch.nn.L1Loss",
    ),
    "huber_loss": LossEntry(
        options={"plain": {}, "near": {"delta": 0.3}, "far": {"delta": 2.5}},
        twin=lambda z, t, o: oracles.huber(z, t, o.get("delta", 1.0)),
        score=lambda z, t, o, w: oracles.r2(z, t, w),
        points=normal,
        peer="torch.nn.HuberLoss",
    ),
    "smooth_l1_loss": LossEntry(
        options={"plain": {}, "narrow": {"beta": 0.2}, "wide": {"beta": 3.0}, "L1": {"beta": 0.0}},
        twin=lambda z, t, o: oracles.smooth_l1(z, t, o.get("beta", 1.0)),
        score=lambda z, t, o, w: oracles.r2(z, t, w),
        points=normal,
        peer="torch.nn.SmoothL1Loss",
    ),
    "poisson_nll_loss": LossEntry(
        options={
            "plain": {},
            "full": {"full": True},
            "counts": {"log_input": False, "eps": 5.0},  # so large that the logarithm is there for all outputs
            "all": {"log_input": False, "full": True, "eps": 4.0},
        },
        twin=lambda z, t, o: oracles.poisson(z, t, o.get("log_input", True), o.get("full", False), o.get("eps", 1e-8)),
        score=lambda z, t, o, w: oracles.d2_poisson(z, t, o.get("log_input", True), w),
        points=lambda rng, shape: np.abs(rng.standard_normal(shape)) + 0.1,
        peer="torch.nn.PoissonNLLLoss",
        draw=lambda rng, rows, columns: rng.poisson(2.0, (rows, columns)).astype(np.float64),
    ),
    "quantile_loss": LossEntry(
        options={
            "plain": {},
            "high": {"quantiles": (0.9,)},
            "several": {"quantiles": _quantiles},
            "of several targets": {"quantiles": lambda columns: _quantiles(columns // _targets(columns))},
        },
        twin=lambda z, t, o: oracles.quantile(z, t, o.get("quantiles", (0.5,))),
        score=lambda z, t, o, w: oracles.d2_pinball(z, t, o.get("quantiles", (0.5,)), w),
        points=normal,
        peer="sklearn.metrics.mean_pinball_loss",  # PyTorch has none
    ),
}


def options(name: str, chosen: str, columns: int) -> dict[str, Any]:
    """This set of options for a model with so many outputs."""
    given = (LOSSES[name].options or {})[chosen]
    return {option: value(columns) if callable(value) else value for option, value in given.items()}


def loss(name: str, chosen: str, columns: int = 5, **more: Any) -> Any:
    """The loss with these options, for a model with so many outputs. It knows how its targets are drawn."""
    made = fm.nn.LOSSES[name](**options(name, chosen, columns), **more)
    entry = LOSSES[name]
    made.kind = entry.kinds.get(chosen, made.kinds[0])
    made.draw = entry.draw or DRAWS[made.kind]
    return made


def least_columns(loss: Any) -> int:
    """The fewest outputs that a model for it may have."""
    return 2 if loss.kind == "probabilities" else 1


def targets(loss: Any, rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Targets of the kind that the loss takes, for a model with so many outputs."""
    return loss.draw(rng, rows, columns // loss.outputs(0, 1) if loss.kind == "numbers" else columns)


def twin(name: str, chosen: str, z: Any, targets: Any) -> LossTwin:
    """What the twin of a loss gives for outputs z (N, C)."""
    return LossTwin(*LOSSES[name].twin(z, targets, options(name, chosen, z.shape[1])))


def score(name: str, chosen: str, z: Any, targets: Any, w: Any = None) -> float:
    """The score that the twin gives, with weights of the rows."""
    return LOSSES[name].score(z, targets, options(name, chosen, z.shape[1]), w)
