"""Batch norm: what it does to the pre-activations, which learning rates and depths then train, and how it folds away.

For each unit, over the rows of the batch, with a = x wᵀ + b the pre-activation:

    â = (a - mean(a)) / √(var(a) + eps),    y = gamma â + beta

In evaluation mode the running mean and variance stand for those of the batch. Then y is linear in x, and the layer
goes into the weights before it (`fold`):

    w' = w * gamma / √(var + eps),    b' = (b - mean) * gamma / √(var + eps) + beta

Source: Ioffe and Szegedy, ICML 2015, Algorithms 1 and 2 and 4.2.1.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import data, nn
from ..graph import Array, Tensor, no_grad
from ..optim import SGD, Adam, Optimizer
from ..training.metrics import softmax
from ..training.train import evaluate, fit
from . import batchnorm_figures as figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS, VALIDATION_ROWS, BATCH = 10000, 2000, 50
HIDDEN, EPOCHS, RATE = (100,) * 4, 6, 0.1  # of the net whose pre-activations are watched
WATCHED = 500  # training rows
RATES, RATE_EPOCHS, TRAINS = tuple(float(f"{10.0 ** (k / 2):.1g}") for k in range(-6, 5)), 2, 0.8
DEEP, DEEP_EPOCHS = (64,) * 10, 3  # of the sigmoid net
SETTINGS = ("SGD 0.1", "SGD 1", "Adam 0.001", "Adam 0.01")
BATCHES = (2, 10, 100, 1000)  # rows that share a mean in training mode
TITLE = "Why batch norm: means near 0 and spreads near 1, so that larger steps and deeper nets train"
KINDS = {False: "without", True: "with"}
DEEP_KINDS = {"without": "without batch norm", "chosen": "without, weights for sigmoids", "with": "with batch norm"}


def fold(model: nn.Sequential) -> nn.Sequential:
    """A net without batch norm that predicts what `model` predicts in evaluation mode; `model` stays as it is.

    Each BatchNorm1d goes into the Linear directly before it. Error: ValueError where there is none.
    """
    folded: list[nn.Module] = []
    for layer in copy.deepcopy(model):
        if not isinstance(layer, nn.BatchNorm1d):
            folded.append(layer)
            continue
        before = folded[-1] if folded else None
        if not isinstance(before, nn.Linear) or before.bias is None:
            raise ValueError(f"fold: {before!r} is before {layer!r}; it must be a Linear with a bias")
        scale = layer.weight.data / np.sqrt(layer.running_var + layer.eps)
        before.weight.data = before.weight.data * scale[:, np.newaxis]
        before.bias.data = (before.bias.data - layer.running_mean) * scale + layer.bias.data
    return nn.Sequential(*folded).eval()


class PreActivations:
    """A callback that, before the training and after each epoch, notes the pre-activations of each hidden layer.

    `seen[kind]` is a list with an entry an epoch, each (layers, 3): root mean square over the units of their means;
    mean over the units of their spreads (standard deviation over the rows); share of the numbers outside [0, 1].
    kind: "raw" for a, "hat" for â, "out" for y = gamma â + beta; â is what the layer made, (y - beta) / gamma. Without
    batch norm, "raw" alone. All in float64.
    """

    def __init__(self, x: Array) -> None:
        self.x = x
        self.seen: dict[str, list[Array]] = {"raw": [], "hat": [], "out": []}

    def start(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Look before the first epoch."""
        self(model, None)

    def __call__(self, model: nn.Module, history: Any) -> None:
        """Look at a copy: a pass in training mode moves the running statistics."""
        found: dict[str, list[Array]] = {"raw": [], "hat": [], "out": []}
        h = Tensor(self.x.astype(np.float64))
        with no_grad():
            for layer in list(copy.deepcopy(model).double().train().children())[:-1]:
                h = layer(h)
                if isinstance(layer, nn.Linear):
                    found["raw"].append(_measures(h.data))
                elif isinstance(layer, nn.BatchNorm1d):
                    found["hat"].append(_measures((h.data - layer.bias.data) / layer.weight.data))
                    found["out"].append(_measures(h.data))
        for kind, layers in found.items():
            if layers:
                self.seen[kind].append(np.array(layers))


def _measures(a: Array) -> Array:
    """What `PreActivations` notes of one layer.    a: (N, units)"""
    means, outside = a.mean(axis=0), (a < 0) | (a > 1)
    return np.array([np.sqrt(np.square(means).mean()), a.std(axis=0).mean(), outside.mean()])


def _net(train: data.Dataset, hidden: tuple[int, ...], activation: str, batch_norm: bool, seed: int) -> nn.MLP:
    nn.manual_seed(seed)
    return nn.MLP(train.n_features, hidden, train.classes, activation, batch_norm=batch_norm)


def _watched(
    train: data.Dataset, seed: int
) -> tuple[dict[str, float], dict[str, Array], nn.Sequential]:  # and the trained net with batch norm
    """Pre-activations through training, with and without."""
    numbers: dict[str, float] = {}
    arrays: dict[str, Array] = {}
    for batch_norm, word in KINDS.items():
        model = _net(train, HIDDEN, "relu", batch_norm, seed)
        watch = PreActivations((train.rows[:WATCHED] * train.scale).astype(np.float32))
        fit(
            model, train, optimizer=SGD(model.parameters(), lr=RATE), epochs=EPOCHS, batch_size=BATCH, seed=seed,
            progress=False, callbacks=[watch],
        )  # fmt: skip
        for kind, seen in watch.seen.items():
            if seen:
                arrays[f"{word}_{kind}"] = array = np.array(seen)  # (epochs + 1, layers, 3)
                numbers[f"{word}_{kind}_mean_most"] = array[..., 0].max()
                numbers[f"{word}_{kind}_spread_least"] = array[..., 1].min()
                numbers[f"{word}_{kind}_spread_most"] = array[..., 1].max()
                numbers[f"{word}_{kind}_outside"] = array[..., 2].mean()
    return numbers, arrays, model


def _rates(train: data.Dataset, held_out: data.Dataset, seed: int) -> dict[str, float]:
    """Validation accuracy for each learning rate of SGD, and the range of those that train; NaN where none does."""
    numbers: dict[str, float] = {}
    for batch_norm, word in KINDS.items():
        trains = []
        for rate in RATES:
            model = _net(train, HIDDEN, "relu", batch_norm, seed)
            optimizer = SGD(model.parameters(), lr=rate)
            fit(model, train, optimizer=optimizer, epochs=RATE_EPOCHS, batch_size=BATCH, seed=seed, progress=False)
            numbers[f"{word}_accuracy_{rate:g}"] = accuracy = evaluate(model, held_out).accuracy
            if accuracy >= TRAINS:
                trains.append(rate)
        numbers[f"{word}_rates"] = len(trains)
        numbers[f"{word}_rate_least"] = min(trains, default=np.nan)
        numbers[f"{word}_rate_most"] = max(trains, default=np.nan)
    return numbers


def _deep(train: data.Dataset, held_out: data.Dataset, seed: int) -> tuple[dict[str, float], dict[str, Array]]:
    """The sigmoid net with each optimizer: accuracy in the end, and curves (settings, epochs).

    "chosen" is without batch norm and with initial weights for sigmoids: uniform, 4 times as wide as Xavier's, as the
    sigmoid has a quarter of tanh's slope, and biases 0 (Glorot and Bengio, AISTATS 2010).
    """
    numbers: dict[str, float] = {}
    arrays: dict[str, Array] = {}
    for word in DEEP_KINDS:
        curves = []
        for setting in SETTINGS:
            rule, rate = setting.split()
            model = _net(train, DEEP, "sigmoid", word == "with", seed)
            if word == "chosen":
                _choose_weights(model, seed)
            optimizer = {"SGD": SGD, "Adam": Adam}[rule](model.parameters(), lr=float(rate))
            history = fit(
                model, train, held_out, optimizer, epochs=DEEP_EPOCHS, batch_size=BATCH, seed=seed, progress=False
            )
            curves.append(history.column("validation_accuracy"))
            numbers[f"{word}_deep_{rule}_{rate}"] = curves[-1][-1]
        arrays[f"{word}_deep"] = np.array(curves)
        numbers[f"{word}_deep_best"] = arrays[f"{word}_deep"][:, -1].max()
    return numbers, arrays


def _choose_weights(model: nn.Sequential, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for layer in model:
        if isinstance(layer, nn.Linear):
            assert layer.bias is not None
            wide = 4 * np.sqrt(6 / (layer.in_features + layer.out_features))
            layer.weight.data[...] = rng.uniform(-wide, wide, layer.weight.shape)
            layer.bias.data[...] = 0


def _in_batches(model: nn.Sequential, x: Array, order: Array, size: int) -> Array:
    """(N, C): the probabilities where the rows come `size` at a time in this order; in the order of x again."""
    p = np.empty((len(x), 10), x.dtype)
    with no_grad():
        for start in range(0, len(x), size):
            rows = order[start : start + size]
            p[rows] = softmax(model(Tensor(x[rows])).data)
    return p


def _modes(model: nn.Sequential, held_out: data.Dataset, seed: int) -> dict[str, float]:
    """The same rows in evaluation mode and in training mode, in batches of several sizes, each in two orders."""
    rows = held_out[: BATCHES[-1]]
    x = (rows.rows * rows.scale).astype(np.float32)
    orders = [np.random.default_rng((seed, order)).permutation(len(x)) for order in range(2)]
    numbers: dict[str, float] = {}
    for mode, sizes in (("eval", (10,)), ("train", BATCHES)):
        for size in sizes:
            twin = copy.deepcopy(model).train(mode == "train")
            one, other = (_in_batches(twin, x, order, size) for order in orders)
            key = "eval" if mode == "eval" else f"train_{size}"
            numbers[f"{key}_accuracy"] = (one.argmax(axis=1) == rows.labels).mean()
            numbers[f"{key}_change"] = np.abs(one - other).max(axis=1).mean()
    return numbers


def _folded(model: nn.Sequential, held_out: data.Dataset) -> dict[str, float]:
    """Largest difference of a logit after folding, in float32 and float64, and rows whose class changes."""
    numbers: dict[str, float] = {}
    for word, net in (("float32", copy.deepcopy(model)), ("float64", copy.deepcopy(model).double())):
        x = Tensor((held_out.rows * held_out.scale).astype(word))
        with no_grad():
            z, folded = net.eval()(x).data, fold(net)(x).data
        numbers[f"fold_{word}"] = np.abs(z - folded).max()
        numbers[f"fold_{word}_classes"] = (z.argmax(axis=1) != folded.argmax(axis=1)).sum()
        numbers["largest_logit"] = np.abs(z).max()
    return numbers


def measure(seed: int = 0) -> dict[str, Any]:
    """Train the nets and look into them: numbers by flat names, and arrays for the figures."""
    everything, _ = data.mnist()
    train, held_out = everything[:ROWS], everything[len(everything) - VALIDATION_ROWS :]
    numbers, arrays, model = _watched(train, seed)
    numbers |= _rates(train, held_out, seed)
    deep, curves = _deep(train, held_out, seed)
    numbers |= deep | _modes(model, held_out, seed) | _folded(model, held_out)
    return {**{name: float(value) for name, value in numbers.items()}, **arrays, **curves}


def conclude(numbers: dict[str, float]) -> tuple[str, ...]:
    """Three sentences: the pre-activations; what trains; the two modes and the fold."""
    n = numbers
    kept = n["with_hat_mean_most"] < 0.01 and 0.99 < n["with_hat_spread_least"] <= n["with_hat_spread_most"] < 1.01
    spread = f"{n['with_hat_spread_least']:.4f} to {n['with_hat_spread_most']:.4f}"
    outside = n["with_hat_outside"]
    first = f"Before γ and β, batch norm {'keeps' if kept else 'does not keep'} the mean of each pre-activation at 0 "
    first += f"and its spread at 1 (means within {n['with_hat_mean_most']:.0e}, spreads {spread}), "
    first += f"{'not' if outside > 0.01 else 'and'} in [0, 1]: {100 * outside:.0f} % of them lie outside; "
    first += f"without it the means reach {n['without_raw_mean_most']:.2f} and the spreads run from "
    first += f"{n['without_raw_spread_least']:.2f} to {n['without_raw_spread_most']:.2f}."

    second = f"SGD trains (accuracy of {100 * TRAINS:.0f} % after {RATE_EPOCHS} epochs) "
    second += " and ".join(f"{_range(n, word)} {word} batch norm" for word in ("without", "with"))
    second += f"; a sigmoid net of {len(DEEP)} hidden layers reaches at best {100 * n['without_deep_best']:.1f} % "
    second += f"without and {100 * n['with_deep_best']:.1f} % with it, so that with PyTorch's initial weights it "
    second += f"{_only(n)}; with weights for sigmoids (4 times Xavier's) it "
    second += f"{'trains' if n['chosen_deep_best'] >= TRAINS else 'does not train'} without batch norm"
    second += f"{', too' if n['chosen_deep_best'] >= TRAINS else ', either'} ({100 * n['chosen_deep_best']:.1f} %)."

    small = f"train_{BATCHES[0]}"
    third = "In evaluation mode a row's probabilities "
    third += "do not depend" if n["eval_change"] == 0 else "depend"
    third += f" on the rows beside it (accuracy {100 * n['eval_accuracy']:.1f} %), in training mode they "
    third += "do not" if n[f"{small}_change"] == 0 else "do"
    third += f" (batches of {BATCHES[0]}: {100 * n[f'{small}_accuracy']:.1f} %); folded into the linear layers, "
    same = n["fold_float64"] < 1e-9 and not n["fold_float64_classes"]
    third += "batch norm gives the same logits" if same else "batch norm gives other logits"
    third += f" (largest difference {n['fold_float32']:.0e} in float32, {n['fold_float64']:.0e} in float64)."
    return first, second, third


def _range(n: dict[str, float], word: str) -> str:
    least, most = n[f"{word}_rate_least"], n[f"{word}_rate_most"]
    if not least <= most:  # NaN
        return "with none of the learning rates"
    if least == most:
        return f"with the learning rate {least:g} alone"
    return f"with {n[f'{word}_rates']:.0f} of {len(RATES)} learning rates, {least:g} to {most:g},"


def _only(n: dict[str, float]) -> str:
    without, with_it = n["without_deep_best"] >= TRAINS, n["with_deep_best"] >= TRAINS
    if without:
        return "trains either way" if with_it else "trains only without it"
    return "trains only with it" if with_it else "trains with neither"


def table(numbers: dict[str, float]) -> str:
    """The pre-activations, the learning rates, the sigmoid net, the two modes, the fold."""
    n = numbers
    lines = [f"784-{'-'.join(map(str, HIDDEN))}-10, SGD {RATE}, {EPOCHS} epochs: pre-activations of all hidden layers"]
    lines.append(f"{'':34}largest mean   spread from     to   outside [0, 1]")
    for key, words in (
        ("without_raw", "without batch norm"),
        ("with_raw", "with: what batch norm is given"),
        ("with_hat", "with: before gamma and beta"),
        ("with_out", "with: after gamma and beta"),
    ):
        mean, least, most, outside = (n[f"{key}_{m}"] for m in ("mean_most", "spread_least", "spread_most", "outside"))
        lines.append(f"  {words:32}{mean:12.1e}{least:14.4f}{most:7.2f}{100 * outside:15.1f} %")
    lines += ["", f"validation accuracy in %, SGD, {RATE_EPOCHS} epochs, learning rate"]
    lines.append(f"{'':10}" + "".join(f"{rate:>8g}" for rate in RATES))
    for word in KINDS.values():
        lines.append(f"  {word:8}" + "".join(f"{100 * n[f'{word}_accuracy_{rate:g}']:8.1f}" for rate in RATES))
    lines += ["", f"validation accuracy in %, {len(DEEP)} hidden layers of {DEEP[0]} sigmoids, {DEEP_EPOCHS} epochs"]
    lines.append(f"{'':32}" + "".join(f"{setting:>12}" for setting in SETTINGS))
    for word, title in DEEP_KINDS.items():
        keys = [f"{word}_deep_{setting.replace(' ', '_')}" for setting in SETTINGS]
        lines.append(f"  {title:30}" + "".join(f"{100 * n[key]:12.1f}" for key in keys))
    lines += ["", f"the same {BATCHES[-1]:,} rows{'':15}evaluation   training mode, batches of"]
    lines.append(f"{'':43}" + "".join(f"{size:>8}" for size in BATCHES))
    for key, words, scale in (("accuracy", "accuracy in %", 100), ("change", "mean change with other companions", 1)):
        cells = "".join(f"{scale * n[f'train_{size}_{key}']:8.{1 if scale > 1 else 3}f}" for size in BATCHES)
        lines.append(f"  {words:34}{scale * n[f'eval_{key}']:7.{1 if scale > 1 else 3}f}{cells}")
    lines += ["", "folded into the linear layers: largest difference of a logit, rows that change their class"]
    for word in ("float32", "float64"):
        lines.append(f"  {word}{n[f'fold_{word}']:10.1e}{n[f'fold_{word}_classes']:6.0f} of {VALIDATION_ROWS:,}")
    return "\n".join(lines)


def draw(measured: dict[str, Any]) -> dict[str, Figure]:
    """The figures "batchnorm_spread" and "batchnorm_trains"."""
    return {
        "batchnorm_spread": figures.spread(measured),
        "batchnorm_trains": figures.trains(measured, RATES, SETTINGS, len(DEEP)),
    }


def tolerance(name: str, value: float) -> float:
    """How far a rerun may be off: some times what initial weights moved by 1e-6 of themselves change."""
    exact = {"eval_change": 0.0, "fold_float32": 2e-5, "fold_float64": 1e-12, "with_hat_mean_most": 1e-12}
    exact |= {"without_rate_most": 0.2, "largest_logit": 5.0, "without_accuracy_0.3": 0.15, "without_accuracy_1": 0.6}
    exact |= {"fold_float32_classes": 2.0, "with_hat_spread_least": 1e-3, "with_hat_spread_most": 1e-3}
    if name in exact:
        return exact[name]
    if name.endswith("_rates"):
        return 1.0
    if "_rate_" in name or name == "fold_float64_classes":
        return 0.0
    return 0.15 if "_raw_mean" in name or "_raw_spread_most" in name else 0.05
