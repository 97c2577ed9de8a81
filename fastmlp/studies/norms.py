"""Batch norm and layer norm: the same net on the same digits, in batches of 2, 8 and 64 rows, and with changed rows.

With a = x wᵀ + b the pre-activations of a layer, (N rows, C columns), both make

    â = (a - mean(a)) / √(var(a) + eps),    y = gamma â + beta

and differ in what the mean is over: batch norm takes a column, over the rows of the batch, layer norm a row, over its
columns. So batch norm needs a batch, and running statistics to predict with; layer norm needs neither.

Sources: Ioffe and Szegedy, ICML 2015; Ba, Kiros and Hinton, Layer Normalization (2016); Wu and He, Group
Normalization, ECCV 2018, for small batches.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import data, nn
from ..graph import Array, Tensor, no_grad
from ..optim import Adam
from ..training.metrics import softmax
from ..training.train import fit
from . import norms_figures as figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS, HELD_OUT, HIDDEN, EPOCHS, RATE = 1000, 1000, (32, 32), 3, 0.002
BATCHES, USUAL = (2, 8, 64), 64  # rows of a batch in training; the nets of the last are looked into
MODES = (2, 8, 64, 1000)  # rows that come together in training mode
KINDS: dict[str, tuple[str, str | None]] = {
    "none": ("neither", None), "batch": ("batch norm", "batch"), "layer": ("layer norm", "layer"),
}  # fmt: skip
DARKER, SHIFT = 0.5, 0.2  # rows with half the brightness; rows with so much more of it in every pixel
SHOWN = (8, 6)  # rows and columns in the picture
TITLE = "Batch norm or layer norm: over the rows of a batch, or over the columns of a row"


def normalised(a: Array, axis: int, eps: float = 1e-5) -> Array:
    """â of the text above, with mean and variance over an axis: 0 is batch norm, 1 is layer norm."""
    return (a - a.mean(axis, keepdims=True)) / np.sqrt(a.var(axis, keepdims=True) + eps)


def probabilities(model: nn.Module, x: Array, mode: str = "eval", size: int | None = None) -> Array:
    """What the model makes of x, `size` rows at a time, in a mode, "eval" or "train"; the model stays as it is."""
    twin, size = copy.deepcopy(model).train(mode == "train"), size or len(x)
    with no_grad():
        parts = [softmax(twin(Tensor(x[at : at + size])).data) for at in range(0, len(x), size)]
    return np.concatenate(parts)


def _train(
    norm: str | None, on_features: bool, train: data.Dataset, held_out: data.Dataset, size: int, seed: int
) -> Any:
    nn.manual_seed(seed)
    model: nn.Sequential = nn.MLP(train.n_features, HIDDEN, train.classes, norm=norm)
    if on_features:
        model = nn.Sequential(nn.LayerNorm(train.n_features), *model)
    history = fit(
        model, train, held_out, Adam(model.parameters(), lr=RATE), EPOCHS, size, seed, progress=False, n_threads=1
    )
    return model, history


def _looked_into(word: str, model: nn.Module, x: Array, labels: Array) -> dict[str, float]:
    """The same rows in both modes and in batches of several sizes; darker; shifted."""

    def accuracy(*arguments: Any) -> float:
        return float((probabilities(model, *arguments).argmax(axis=1) == labels).mean())

    numbers = {f"{word}_eval": accuracy(x)}
    for size in MODES:
        numbers[f"{word}_train_{size}"] = accuracy(x, "train", size)
    one, other = probabilities(model, x), probabilities(model, x, "train", MODES[0])
    numbers[f"{word}_modes_differ"] = float(np.abs(one - other).max())
    for change, changed in (("darker", x * np.float32(DARKER)), ("shifted", x + np.float32(SHIFT))):
        numbers[f"{word}_{change}"] = accuracy(changed)
        numbers[f"{word}_{change}_train"] = accuracy(changed, "train", len(x))
        numbers[f"{word}_{change}_differ"] = float(np.abs(one - probabilities(model, changed)).max())
    return numbers


def refusal() -> str:
    """What batch norm says to one row in training mode; an empty text where it takes it."""
    try:
        nn.BatchNorm1d(3)(Tensor(np.zeros((1, 3), np.float32)))
    except ValueError as error:
        return str(error)
    return ""


def measure(seed: int = 0) -> dict[str, Any]:
    """Train nine nets, and one that normalises the features; numbers by flat names, arrays for the figures."""
    everything, _ = data.mnist()
    train, held_out = everything[:ROWS], everything[len(everything) - HELD_OUT :]
    x, labels = (held_out.rows * held_out.scale).astype(np.float32), held_out.labels
    numbers: dict[str, float] = {}
    for word, (_, norm) in KINDS.items():
        for size in BATCHES:
            model, history = _train(norm, False, train, held_out, size, seed)
            numbers[f"{word}_{size}"] = history.column("validation_accuracy")[-1]
            numbers[f"{word}_{size}_train_loss"] = history.column("train_loss")[-1]
        numbers |= _looked_into(word, model, x, labels)
        if word == "none":
            a = model[0](Tensor(x[: SHOWN[0]])).data[:, : SHOWN[1]].astype(np.float64)
    model, _ = _train("layer", True, train, held_out, USUAL, seed)
    numbers |= _looked_into("features", model, x, labels)
    two = normalised(a[:2], 0)
    numbers["two_rows_least"] = float(np.abs(two).min())
    units = {"a": a, "batch": normalised(a, 0), "layer": normalised(a, 1)}
    numbers |= {f"second_unit_{word}": float(values[:, 1].max()) for word, values in units.items()}
    numbers["one_row_refused"] = float(bool(refusal()))
    return {**{name: float(value) for name, value in numbers.items()}, "a": a}


def conclude(numbers: dict[str, float]) -> tuple[str, ...]:
    """Three sentences: small batches; the modes; changed rows."""
    n, small = numbers, BATCHES[0]
    worse = n[f"batch_{small}"] < n[f"layer_{small}"] - 0.05
    near = abs(n[f"batch_{USUAL}"] - n[f"layer_{USUAL}"]) <= 0.05
    first = f"Trained in batches of {small} rows, batch norm is {'' if worse else 'not '}far behind layer norm "
    first += (
        f"({100 * n[f'batch_{small}']:.0f} % right against {100 * n[f'layer_{small}']:.0f} %), in batches of {USUAL} "
    )
    first += f"they are {'alike' if near else 'apart'} ({100 * n[f'batch_{USUAL}']:.0f} and "
    first += f"{100 * n[f'layer_{USUAL}']:.0f} %); one row in training mode batch norm "
    first += "refuses." if n["one_row_refused"] else "takes."
    second = "Training mode and evaluation mode are "
    second += "the same" if n["layer_modes_differ"] == 0 else "not the same"
    second += " with layer norm, and with batch norm "
    second += "the same" if n["batch_modes_differ"] == 0 else "not"
    second += (
        f": {100 * n['batch_eval']:.0f} % in evaluation mode, {100 * n[f'batch_train_{small}']:.0f} % in training "
    )
    second += f"mode with {small} rows at a time."
    lost = {word: n[f"{word}_eval"] - n[f"{word}_darker"] for word in ("batch", "layer")}
    third = f"At half the brightness layer norm loses {100 * lost['layer']:.1f} points and batch norm "
    third += f"{100 * lost['batch']:.1f}; brighter by {SHIFT:g} in every pixel, "
    either = max(n["batch_shifted"], n["layer_shifted"]) > n["layer_eval"] - 0.05
    third += "one of them loses little" if either else "both lose much"
    third += (
        f" ({100 * n['batch_shifted']:.0f} and {100 * n['layer_shifted']:.0f} %), and a layer norm on the features "
    )
    kept = abs(n["features_eval"] - n["features_shifted"]) < 0.005
    return first, second, third + ("keeps what it has." if kept else "does not help.")


def table(numbers: dict[str, float]) -> str:
    """Accuracies by the size of a batch, by mode, and of changed rows."""
    n, titles = numbers, {word: title for word, (title, _) in KINDS.items()}
    lines = [f"accuracy in % of {HELD_OUT:,} digits held out; 784-{'-'.join(map(str, HIDDEN))}-10, {EPOCHS} epochs"]
    lines.append(f"{'':20}" + "".join(f"{f'batches of {size}':>16}" for size in BATCHES))
    for word, title in titles.items():
        lines.append(f"  {title:18}" + "".join(f"{100 * n[f'{word}_{size}']:16.1f}" for size in BATCHES))
    lines += ["", f"trained in batches of {USUAL}:  evaluation mode   training mode, rows at a time"]
    lines.append(f"{'':42}" + "".join(f"{size:>9,}" for size in MODES))
    for word, title in titles.items():
        cells = "".join(f"{100 * n[f'{word}_train_{size}']:9.1f}" for size in MODES)
        lines.append(f"  {title:25}{100 * n[f'{word}_eval']:15.1f}{cells}")
    lines += ["", f"{'rows changed':34}{'as they are':>12}{f'x {DARKER:g}':>10}{f'+ {SHIFT:g}':>10}"]
    for word, title in (titles | {"features": "layer norm, features too"}).items():
        lines.append(f"  {title:32}" + f"{100 * n[f'{word}_eval']:12.1f}" + "".join(
            f"{100 * n[f'{word}_{change}']:10.1f}" for change in ("darker", "shifted")))  # fmt: skip
        if word == "batch":
            cells = "".join(f"{100 * n[f'{word}_{change}_train']:10.1f}" for change in ("darker", "shifted"))
            lines.append(
                f"  {f'  in training mode, {MODES[-1]:,} rows':32}{100 * n[f'batch_train_{MODES[-1]}']:12.1f}{cells}"
            )
    return "\n".join(lines)


def draw(measured: dict[str, Any]) -> dict[str, Figure]:
    """The figures "norms_axes" and "norms_batches"."""
    a = measured["a"]
    panels = {"pre-activations": a, "batch norm": normalised(a, 0), "layer norm": normalised(a, 1)}
    titles = {word: title for word, (title, _) in KINDS.items()}
    return {
        "norms_axes": figures.axes(panels),
        "norms_batches": figures.batches(measured, titles, BATCHES, MODES, USUAL),
    }


def tolerance(name: str, value: float) -> float:
    """How far a rerun may be off: some times what initial weights moved by 1e-6 of themselves change."""
    if name in ("one_row_refused", "none_modes_differ", "layer_modes_differ"):
        return 0.0
    if name in ("features_shifted_differ", "features_darker_differ"):  # rounding of the row's mean, through the net
        return 1e-4
    if name == "batch_2":  # by chance, as its means are
        return 0.25
    if name == "two_rows_least":
        return 1e-3
    return 0.5 if name.endswith(("_differ", "_train_loss")) else 0.1 if "shifted" in name else 0.06
