"""Which activation, and what are slopes for? Their slopes, what ten layers leave of a gradient, units that die.

The backward pass through y = f(x) is dx = dy f'(x): of a function, training sees the slope. A layer of `width` units
with independent weights multiplies the size (rms) of a gradient by about

    √(width · variance of the weights) · rms(f'(x))

A unit of ReLU that is closed for every row has slope 0 for every row, gets no gradient and never opens again. Sources:
He et al., ICCV 2015; Maas et al., ICML 2013 (leaky ReLU); Clevert et al., ICLR 2016 (ELU); Hendrycks and Gimpel (2016)
(GELU).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import nn, ops
from ..data import Dataset, mnist
from ..graph import Array, Tensor
from ..optim import Adam
from ..training.train import evaluate, fit
from . import activations_figures as figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = tuple(nn.ACTIVATIONS)
GRID = np.linspace(-4, 4, 321)
FAR = -10.0
KINKS = {"relu": 0.0, "leaky_relu": 0.0, "prelu": 0.0, "elu": 0.0, "selu": 0.0, "hardtanh": 1.0}  # f' jumps here
WIDTH, DEPTH, NETS, LOOKED_AT = 64, 10, 2, 200  # NETS: drawn anew, their geometric mean counts
HEALTHY = 10.0  # a gradient that is within this factor of its size after ten layers
ROWS, HELD_OUT, BATCH, EPOCHS, RATE = 1000, 2000, 50, 4, 1e-3  # of the trainings, with Adam
HIDDEN = {"two": (WIDTH,) * 2, "ten": (WIDTH,) * DEPTH}
STEEP, STEEP_EPOCHS, DEAD = (
    0.02,
    2,
    1e-3,
)  # a rate of Adam that is too large; the slope of a unit that is dead, for every row
SINE, CLOSED, SINE_EPOCHS, SINE_RATE = 300, -3.0, 30, 0.01  # rows of the sine, biases of its hidden units
BACK = 0.1  # an R² with which a closed layer has come back
TITLE = "Which activation, and what are slopes for?"


def slopes(layer: nn.Module, x: Array) -> tuple[Array, Array]:
    """(f(x), f'(x)) of an activation, the slope as backward gives it.    x, both: (N, C)"""
    given = Tensor(x, requires_grad=True)
    y = layer(given)
    y.sum().backward()
    assert given.grad is not None
    return y.data, given.grad


def slope_at(name: str, x: float) -> float:
    """The slope of an activation with its defaults at one place."""
    return slopes(nn.ACTIVATIONS[name]().double(), np.array([[x]]))[1].item()


def _curves() -> tuple[dict[str, float], dict[str, Any]]:
    """Values and slopes of every function."""
    found: dict[str, float] = {}
    curves: dict[str, Any] = {}
    for name in NAMES:
        y, steep = slopes(nn.ACTIVATIONS[name]().double(), GRID[:, np.newaxis])
        curves[name] = y[:, 0], steep[:, 0]
        found |= {f"{name}_slope_least": steep.min(), f"{name}_slope_most": steep.max()}
        found |= {f"{name}_slope_0": slope_at(name, 0.0), f"{name}_slope_far": slope_at(name, FAR)}
    return found | {f"{name}_slope_kink": slope_at(name, kink) for name, kink in KINKS.items()}, curves


def make_net(name: str, hidden: tuple[int, ...], seed: int, features: int) -> nn.MLP:
    """A net for ten classes, its weights drawn as He has it, N(0, 2 / in), its biases 0."""
    nn.manual_seed(seed)
    return nn.MLP(features, hidden, 10, name, init="he")


def through(name: str, x: Array, labels: Array, seed: int) -> tuple[float, float]:
    """At the start of ten layers: the first layer's gradient over the last one's; the factor that a layer should have.

    The gradient is the rms of d loss / d z, z = x wᵀ + b. The factor is √2 rms(f'(z)), its geometric mean over the
    layers that the gradient passes from the last to the first.
    """
    logs = []
    for number in range(NETS):
        net = make_net(name, HIDDEN["ten"], seed * NETS + number, x.shape[1]).double()
        value, zs, steep = Tensor(x), [], []
        for layer in net:
            if not isinstance(layer, nn.Linear):
                steep.append(math.sqrt(2) * _rms(slopes(layer, value.data)[1]))
            value = layer(value)
            if isinstance(layer, nn.Linear):
                value.retain_grad()
                zs.append(value)
        ops.cross_entropy(value, labels).backward()
        logs.append([math.log(_rms(zs[0].grad) / _rms(zs[-2].grad)), np.log(steep[:-1]).mean()])
    ratio, factor = np.exp(np.mean(logs, axis=0))
    return float(ratio), float(factor)


def _rms(array: Array | None) -> float:
    assert array is not None
    return float(np.sqrt(np.mean(np.square(array))))


def dead_units(net: nn.Sequential, x: Array) -> float:
    """The share of the hidden units whose slope is at most DEAD in size for every row.    x: (N, D)"""
    dead: list[Array] = []
    value = x.astype(np.float32)
    for layer in list(net)[:-1]:
        if not isinstance(layer, nn.Linear):
            dead.append(np.abs(slopes(layer, value)[1]).max(axis=0) <= DEAD)
        value = layer(Tensor(value)).data
    return float(np.concatenate(dead).mean())


def _trainings(train: Dataset, held_out: Dataset, seed: int) -> dict[str, float]:
    """Accuracies with two and with ten hidden layers, and what a rate that is too large leaves of two layers' units."""
    found: dict[str, float] = {}
    options: Any = {"batch_size": BATCH, "seed": seed, "n_threads": 1, "progress": False}
    for name in NAMES:
        for words, hidden in HIDDEN.items():
            net = make_net(name, hidden, seed, train.n_features)
            fit(net, train, optimizer=Adam(net.parameters(), lr=RATE), epochs=EPOCHS, **options)
            found[f"{name}_{words}"] = evaluate(net, held_out).accuracy
        net = make_net(name, HIDDEN["two"], seed, train.n_features)
        fit(net, train, optimizer=Adam(net.parameters(), lr=STEEP), epochs=STEEP_EPOCHS, **options)
        found[f"{name}_dead"] = dead_units(net, train.rows / 255)
    return found


def _closed(seed: int) -> tuple[dict[str, float], dict[str, Array]]:
    """R² on a sine where all hidden units begin far to the left: in the end, and an entry an epoch."""
    x = np.random.default_rng(seed).uniform(-1, 1, (SINE, 1))
    data = Dataset(x, np.sin(3 * x[:, 0]))
    found = {"sine_line": np.corrcoef(x[:, 0], data.targets)[0, 1] ** 2}  # R² of the best straight line
    curves: dict[str, Array] = {}
    for name in NAMES:
        nn.manual_seed(seed)
        net = nn.MLP(1, (WIDTH,), 1, name)
        first = net[0]
        assert isinstance(first, nn.Linear)
        assert first.bias is not None
        first.bias.data[...] = CLOSED
        history = fit(
            net, data, optimizer=Adam(net.parameters(), lr=SINE_RATE), epochs=SINE_EPOCHS, batch_size=BATCH, seed=seed,
            n_threads=1, progress=False,
        )  # fmt: skip
        curves[name] = np.array(history.column("train_score"))
        found[f"{name}_closed"] = curves[name][-1]
    return found, curves


def measure(seed: int = 0) -> dict[str, Any]:
    """Numbers by flat names, and under "curves" and "sine" what the figures show."""
    everything, _ = mnist()
    train, held_out = everything[:ROWS], everything[len(everything) - HELD_OUT :]
    numbers, curves = _curves()
    x, labels = train.rows[:LOOKED_AT] / 255, train.labels[:LOOKED_AT]
    for name in NAMES:
        numbers[f"{name}_ratio"], numbers[f"{name}_factor"] = through(name, x, labels, seed)
        numbers[f"{name}_a_layer"] = numbers[f"{name}_ratio"] ** (1 / (DEPTH - 1))
    closed, sine = _closed(seed)
    numbers |= _trainings(train, held_out, seed) | closed
    return {**{name: float(value) for name, value in numbers.items()}, "curves": curves, "sine": sine}


def conclude(numbers: dict[str, float]) -> tuple[str, ...]:
    """Three sentences: ten layers; units that die and come back; what it does to a training."""
    return _about_layers(numbers), _about_dead(numbers), _about_training(numbers)


def _listed(names: list[str], n: dict[str, float], what: str, form: str) -> str:
    return ", ".join(f"{name} {n[f'{name}_{what}']:{form}}" for name in names)


def _about_layers(n: dict[str, float]) -> str:
    least = min(NAMES, key=lambda name: n[f"{name}_ratio"])
    most = max(NAMES, key=lambda name: n[f"{name}_ratio"])
    kept = [name for name in NAMES if 1 / HEALTHY < n[f"{name}_ratio"] < HEALTHY]
    said = f"Through ten layers with He's weights the gradient keeps its size to a factor of {HEALTHY:g} with "
    said += f"{len(kept)} of {len(NAMES)} activations; least is left with {least} ({n[f'{least}_ratio']:.0e}), most "
    said += f"with {most} ({n[f'{most}_ratio']:.0e}). "
    off = max(abs(math.log(n[f"{name}_a_layer"] / n[f"{name}_factor"])) for name in NAMES)
    if off < 0.1:
        return said + "What a layer multiplies by is √2 times the rms of its slopes, to 10 %."
    return said + f"√2 times the rms of the slopes misses what a layer multiplies by, by up to {math.exp(off) - 1:.0%}."


def _about_dead(n: dict[str, float]) -> str:
    dead = [name for name in NAMES if n[f"{name}_dead"] > 0]
    said = f"After a training with the rate {STEEP:g} units are dead with {_listed(dead, n, 'dead', '.0%')}. " * bool(
        dead
    )
    said = said or f"After a training with the rate {STEEP:g} no unit is dead. "
    lost = [name for name in NAMES if not n[f"{name}_closed"] > BACK]
    if not lost:
        return said + f"From biases of {CLOSED:g} every activation comes back."
    said += f"From biases of {CLOSED:g} all learn but {', '.join(lost)}: R² is "
    return said + f"{_listed(lost, n, 'closed', '.2f')}, and {n['leaky_relu_closed']:.2f} with leaky_relu."


def _about_training(n: dict[str, float]) -> str:
    said = []
    for words in HIDDEN:
        ranked = sorted(NAMES, key=lambda name: n[f"{name}_{words}"])
        low, middle, high = (f"{n[f'{name}_{words}']:.0%}" for name in (ranked[0], ranked[len(NAMES) // 2], ranked[-1]))
        part = f"With {words} hidden layers accuracy is {low} ({ranked[0]}) to {high} ({ranked[-1]})"
        said.append(f"{part}, its median {middle}.")
    return " ".join(said)


def table(numbers: dict[str, float]) -> str:
    """A line an activation."""
    lines = [
        f"{'':12}{'slope':>18}{'gradient, 10 layers':>22}{'accuracy':>16}{f'rate {STEEP:g}':>10}{'closed':>9}",
        f"{'':12}{'least':>9}{'most':>9}{'first / last':>14}{'√2 rms':>8}{'two':>8}{'ten':>8}{'dead':>10}{'R²':>9}",
    ]
    for name in NAMES:
        n = {what: numbers[f"{name}_{what}"] for what in ("slope_least", "slope_most", "ratio", "factor", *HIDDEN)}
        n |= {what: numbers[f"{name}_{what}"] for what in ("dead", "closed")}
        line = f"{name:12}{n['slope_least']:9.2f}{n['slope_most']:9.2f}{n['ratio']:14.1e}{n['factor']:8.2f}"
        lines.append(f"{line}{n['two']:8.1%}{n['ten']:8.1%}{n['dead']:10.1%}{n['closed']:9.2f}")
    lines += ["", f"closed: R² on a sine after {SINE_EPOCHS} epochs, where all hidden biases begin at {CLOSED:g}."]
    return "\n".join(lines)


def tolerance(name: str, value: float) -> float:
    """How far another machine may be: slopes repeat to many digits, trainings as those of another seed."""
    if "_slope_" in name or name.endswith(("_ratio", "_factor", "_a_layer")):
        return 1e-6 * abs(value) + 1e-12  # float64
    return 0.05 if name.endswith("_closed") else 0.04


def draw(measured: dict[str, Any]) -> dict[str, Figure]:
    """Two figures: functions and slopes; what ten layers leave of a gradient, and how closed units come back."""
    ratios = {name: measured[f"{name}_ratio"] for name in NAMES}
    factors = {name: measured[f"{name}_factor"] ** (DEPTH - 1) for name in NAMES}
    return {
        "activations_slopes": figures.functions(measured["curves"], GRID),
        "activations_layers": figures.layers(ratios, factors, measured["sine"]),
    }
