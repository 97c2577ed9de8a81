"""Schedules: one net, one problem, the same first weights and batches; only the learning rate is another.

The rows are three arms of a spiral that overlap, so that no net gets all of them right: the gradient of a batch stays
away from 0, and a step of SGD is rate × (gradient of all rows + noise). Far from the minimum the first part rules, and
a large rate is fast; near it the noise is left, and the loss hovers above the lowest by about rate × noise. All losses
here are those of 2,000 fresh rows.

Sources: Robbins and Monro, Ann. Math. Statist. 22 (1951); Bottou, Curtis and Nocedal, SIAM Review 60 (2018), section 4;
PyTorch's documentation of torch.optim.lr_scheduler.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import data, nn, ops
from ..graph import Array, Tensor, no_grad
from ..optim import (
    EMA,
    SGD,
    Average,
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    Schedule,
    SequentialLR,
    StepLR,
)
from ..training.train import fit
from . import schedules_figures as figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS, FRESH_ROWS, HIDDEN, BATCH, EPOCHS = 600, 2000, (32,), 8, 40
STEPS = ROWS // BATCH  # of an epoch
LARGE, SMALL, CYCLE = (
    1.0,
    0.03,
    0.2,
)  # the last is the peak of the one cycle, whose momentum makes steps 10 times as long
LAST = 5  # epochs at the end that are looked at
TITLE = "What a schedule does: a large rate is fast, a small one ends low, a falling one is both"

SHOWN: dict[str, Callable[[], Schedule]] = {  # every kind, as its rates are drawn
    "StepLR": lambda: StepLR(15, 0.2),
    "MultiStepLR": lambda: MultiStepLR([20, 30], 0.3),
    "ExponentialLR": lambda: ExponentialLR(0.92),
    "CosineAnnealingLR": CosineAnnealingLR,
    "LinearLR": LinearLR,
    "OneCycleLR": OneCycleLR,
    "SequentialLR": lambda: SequentialLR([LinearLR(), CosineAnnealingLR()], [5]),
    "ReduceLROnPlateau": lambda: ReduceLROnPlateau(factor=0.3, patience=3),
}
RUNS: dict[str, tuple[str, float, str, str | None, Average | None]] = {  # title, rate, schedule, every, average
    "large": ("constant, large", LARGE, "", None, None),
    "small": ("constant, small", SMALL, "", None, None),
    "step": ("step", LARGE, "StepLR", None, None),
    "cosine": ("cosine, each epoch", LARGE, "CosineAnnealingLR", None, None),
    "bystep": ("cosine, each step", LARGE, "CosineAnnealingLR", "step", None),
    "warm": ("warm-up, then cosine", LARGE, "SequentialLR", None, None),
    "cycle": ("one cycle", CYCLE, "OneCycleLR", None, None),
    "plateau": ("on a plateau", LARGE, "ReduceLROnPlateau", None, None),
    "average": ("large, averaged (EMA)", LARGE, "", None, EMA(0.99)),
}


def spiral(rows: int, rng: np.random.Generator) -> data.Dataset:
    """Three arms of a spiral, a class each, with noise in the angle.    features: (rows, 2)"""
    arm, radius = rng.integers(0, 3, rows), rng.uniform(0.2, 2, rows)
    angle = 2 * np.pi / 3 * arm + 1.6 * radius + rng.normal(0, 0.6, rows)
    features = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return data.Dataset(features.astype(np.float32), arm, classes=3)


def rates(name: str, start: float, epochs: int = EPOCHS, steps: int = STEPS) -> tuple[Array, Array | None]:
    """The rates of a kind in SHOWN over a training, as it counts, and its momenta where it moves them."""
    schedule = SHOWN[name]()
    total = epochs * (steps if schedule.schedule_every == "step" else 1)
    momenta = [schedule.momenta_of_groups(1, done, total) for done in range(total)]
    moved = np.array([m[0] for m in momenta if m is not None])
    return np.array([schedule.rate(start, done, total) for done in range(total)]), moved if len(moved) else None


def _train(name: str, train: data.Dataset, fresh: data.Dataset, seed: int) -> tuple[nn.Module, Array, Array]:
    """(the net, the loss after each epoch, the rate at the end of each epoch)"""
    _, rate, schedule, every, average = RUNS[name]
    nn.manual_seed(seed)
    model = nn.MLP(2, HIDDEN, 3, "tanh")
    optimizer = SGD(model.parameters(), lr=rate, momentum=0.9 if name == "cycle" else 0.0)
    seen: list[float] = []
    history = fit(
        model, train, fresh, optimizer, EPOCHS, BATCH, seed, progress=False, n_threads=1, average=average,
        schedule=SHOWN[schedule]() if schedule else None, schedule_every=every,
        callbacks=[lambda model, history: seen.append(optimizer.param_groups[0]["lr"])],
    )  # fmt: skip
    return model, np.array(history.column("validation_loss")), np.array(seen)


def _loss(model: nn.Module, x: Tensor, labels: Array) -> float:
    with no_grad():
        return ops.cross_entropy(model(x), labels).item()


def on(model: nn.Module, rate: float, train: data.Dataset, fresh: data.Dataset, seed: int) -> tuple[Array, float]:
    """(the loss after each step of an epoch more with this rate, the loss of the mean of those steps' weights)

    `model` stays as it is. It is a loop of one's own, on the graph.
    """
    twin = copy.deepcopy(model)
    optimizer, losses = SGD(twin.parameters(), lr=rate), []
    x, everything = Tensor(train.features), Tensor(fresh.features)
    sums = [np.zeros(p.shape) for p in twin.parameters()]
    order = np.random.default_rng((seed, 1)).permutation(len(train)).reshape(STEPS, BATCH)
    for rows in order:
        optimizer.zero_grad()
        ops.cross_entropy(twin(Tensor(x.data[rows])), train.targets[rows]).backward()
        optimizer.step()
        losses.append(_loss(twin, everything, fresh.targets))
        for total, p in zip(sums, twin.parameters(), strict=True):
            total += p.data
    for total, p in zip(sums, twin.parameters(), strict=True):
        p.data[...] = total / STEPS
    return np.array(losses), _loss(twin, everything, fresh.targets)


def measure(seed: int = 0) -> dict[str, Any]:
    """Train with each of RUNS, and go on for an epoch with three of them: numbers by flat names, arrays for figures."""
    rng = np.random.default_rng((seed, 0))
    train, fresh = spiral(ROWS, rng), spiral(FRESH_ROWS, rng)
    numbers: dict[str, Any] = {}
    curves: dict[str, Array] = {}
    seen: dict[str, Array] = {}
    after: dict[str, Array] = {}
    for name in RUNS:
        model, curves[name], seen[name] = _train(name, train, fresh, seed)
        end = curves[name][-LAST:]
        numbers[f"{name}_end"], numbers[f"{name}_first"] = float(end.mean()), float(curves[name][0])
        numbers[f"{name}_half"] = float(curves[name][EPOCHS // 2 - 1])
        if name in ("large", "small", "cosine"):
            after[name], mean = on(model, float(seen[name][-1]), train, fresh, seed)
            numbers[f"{name}_swing"] = float(after[name].max() - after[name].min())
            numbers[f"{name}_after"], numbers[f"{name}_mean_weights"] = float(after[name].mean()), mean
    numbers["cosine_last_rate"], numbers["plateau_last_rate"] = float(seen["cosine"][-1]), float(seen["plateau"][-1])
    numbers["plateau_falls"] = float((np.diff(seen["plateau"]) < 0).sum())
    peak, momenta = rates("OneCycleLR", CYCLE)
    assert momenta is not None
    numbers |= {"cycle_first_rate": float(peak[0]), "cycle_last_rate": float(peak[-1])}
    numbers |= {"cycle_peak_epoch": float(peak.argmax() / STEPS), "cycle_least_momentum": float(momenta.min())}
    numbers["warm_first_rate"] = float(rates("SequentialLR", LARGE)[0][0])
    return numbers | {"curves": curves, "rates": seen, "after": after}


def conclude(numbers: dict[str, float]) -> tuple[str, ...]:
    """Three sentences: large, small and falling; why; the other ways."""
    n = numbers
    large, small, cosine = n["large_end"], n["small_end"], n["cosine_end"]
    sooner = "sooner" if n["large_half"] < n["small_half"] else "no sooner"
    first = (
        f"A constant rate of {LARGE:g} gets down {sooner} than one of {SMALL:g} (loss {n['large_half']:.3f} against "
    )
    first += f"{n['small_half']:.3f} at half time) and ends at {large:.3f}, the small one at {small:.3f}; the cosine "
    first += f"from {LARGE:g} to 0 ends at {cosine:.3f}, "
    first += "lower than both." if cosine < min(large, small) else "not lower than both."
    calm = n["large_swing"] > 5 * n["cosine_swing"]
    second = f"In an epoch more at the rate it ended with, the loss of the large rate swings by {n['large_swing']:.3f} "
    second += f"from step to step, that of the cosine by {n['cosine_swing']:.4f}: "
    second += "the noise of the last steps is gone" if calm else "the noise of the last steps is not much smaller"
    lower = n["large_mean_weights"] < n["large_after"]
    second += f"; the mean of the large rate's weights has the loss {n['large_mean_weights']:.3f}, "
    second += f"{'lower' if lower else 'no lower'} than its steps have on average ({n['large_after']:.3f})."
    others = ("step", "bystep", "warm", "cycle", "plateau", "average")
    below = [name for name in others if n[f"{name}_end"] < large]
    third = f"{len(below)} of the {len(others)} others end below the constant large rate"
    if below:
        third += ": " + ", ".join(f"{RUNS[name][0]} {n[f'{name}_end']:.3f}" for name in below)
    change = n["warm_first"] - n["cosine_first"]
    warm = "hardly changes" if abs(change) < 0.05 else "lowers" if change < 0 else "raises"
    third += f"; a warm-up {warm} the loss after the first epoch ({n['warm_first']:.2f} against "
    return first, second, third + f"{n['cosine_first']:.2f})."


def table(numbers: dict[str, float]) -> str:
    """A row a training."""
    n = numbers
    lines = [f"loss of {FRESH_ROWS:,} fresh rows, {EPOCHS} epochs of {STEPS} steps of SGD"]
    lines.append(f"{'':26}{'rate':>6}{'epoch 1':>10}{f'epoch {EPOCHS // 2}':>10}{f'last {LAST}':>10}")
    for name, (title, rate, *_) in RUNS.items():
        cells = "".join(f"{n[f'{name}_{when}']:10.3f}" for when in ("first", "half", "end"))
        lines.append(f"  {title:24}{rate:6g}{cells}")
    lines += [
        "",
        "an epoch more, at the rate it ended with",
        f"{'':26}{'swing':>10}{'mean loss':>12}{'of mean weights':>18}",
    ]
    for name in ("large", "small", "cosine"):
        cells = f"{n[f'{name}_swing']:10.4f}{n[f'{name}_after']:12.3f}{n[f'{name}_mean_weights']:18.3f}"
        lines.append(f"  {RUNS[name][0]:24}{cells}")
    return "\n".join(lines)


def draw(measured: dict[str, Any]) -> dict[str, Figure]:
    """The figures "schedules_rates" and "schedules_losses"."""
    panels = {
        name: rates(name, CYCLE if name == "OneCycleLR" else LARGE) for name in SHOWN if name != "ReduceLROnPlateau"
    }
    panels["ReduceLROnPlateau"] = np.concatenate([[LARGE], measured["rates"]["plateau"][:-1]]), None
    titles = {name: run[0] for name, run in RUNS.items()}
    return {
        "schedules_rates": figures.rates(panels, EPOCHS),
        "schedules_losses": figures.losses(measured, titles),
    }


def tolerance(name: str, value: float) -> float:
    """How far a rerun may be off: some times what initial weights moved by 1e-6 of themselves change."""
    if "_rate" in name or name.startswith("cycle_peak") or name == "cycle_least_momentum":
        return 1.0 if name == "plateau_last_rate" else 1e-9
    if name == "plateau_falls":
        return 3.0
    return 0.3 * abs(value) if name.endswith("_swing") else 0.05
