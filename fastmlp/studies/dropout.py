"""Dropout: the average of 2ⁿ thinned nets beside the one pass with scaled weights, and what it does to overfitting.

A net whose n hidden units may be dropped is 2ⁿ thinned nets that share weights. Here n = 12 and p = 1/2, so that all
4,096 masks can be listed and each is as likely as any other. With z[m, i, c] the logits of mask m for row i:

    arithmetic mean             A[i, c] = mean_m softmax(z[m, i])[c]
    normalised geometric mean   G[i, c] = exp(mean_m log softmax(z[m, i])[c]) / the same summed over the classes
    one pass                    S[i, c] = softmax(z of the net in evaluation mode)[c]

log softmax(z)[c] = z[c] - (a number of the row), which the division by the sum takes out again, so that
G = softmax(mean_m z[m]). With one hidden layer z is linear in the mask, and the mean of the mask times 1/(1 - p) is
1: G = S. With two, the ReLU of the second layer lies between the first mask and z, and the mean of a ReLU is not the
ReLU of the mean.

Sources: Hinton, Srivastava, Krizhevsky, Sutskever, Salakhutdinov, arXiv:1207.0580 (2012); Srivastava et al., JMLR 15
(2014), 1 and 7.5; Baldi and Sadowski, NeurIPS 2013 (the geometric mean).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import data, nn
from ..graph import Array, Tensor, no_grad
from ..nn.module import evaluating
from ..training.history import History
from ..training.metrics import softmax
from ..training.train import evaluate, fit
from . import dropout_figures as figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

P = 0.5  # of the nets whose masks are listed
NETS = {"one": (12,), "two": (6, 6)}  # hidden widths: 12 units in either, 2¹² masks
ROWS, CHUNK = 400, 50  # test digits for the exact averages; so many at a time
COUNTS, REPEATS, MONTE_CARLO_ROWS = tuple(4**k for k in range(6)), 20, 60  # masks that are averaged; how often; digits
RATES, HIDDEN, EPOCHS, RUNS = (0.0, 0.2, 0.5), (128, 128), 40, 3  # of the trained nets
TRAINING_ROWS, VALIDATION_ROWS, BATCH = 1000, 2000, 50
THINNED = (3, 5, 4, 2)  # widths of the net whose thinned nets are drawn
LAST = 5  # epochs over which the end of a curve is averaged
TITLE = "Why dropout: one net that stands for the average of its thinned nets"

WORDS = {"one": "one hidden layer", "two": "two hidden layers", "linear": "two less the second ReLU"}


def all_masks(units: int) -> Array:
    """(2ⁿ, n): every row of zeros and ones, 1 for a unit that is kept."""
    return np.array(list(itertools.product((0.0, 1.0), repeat=units)))


def thinned_masks() -> list[list[Array]]:
    """What `nn.Dropout` keeps of the hidden layers of THINNED, for three rows: [row][layer] of booleans."""
    nn.manual_seed(0)
    layers = [nn.Dropout(P) for _ in THINNED[1:-1]]
    with no_grad():
        kept = [layer(Tensor(np.ones((3, width)))).data > 0 for layer, width in zip(layers, THINNED[1:-1], strict=True)]
    return [list(row) for row in zip(*kept, strict=True)]


def thinned_logits(model: nn.Sequential, x: Array, masks: Array) -> Array:
    """The logits of every thinned net, in float64.    x: (N, features)  masks: (M, units) -> (M, N, C)

    The columns of `masks` belong to the units of the Dropout layers, in order; a kept number is divided by 1 - p.
    """
    h, first = np.asarray(x, np.float64)[np.newaxis], 0  # (1, N, width), and (M, N, width) behind the first mask
    for layer in model:
        if isinstance(layer, nn.Linear):
            assert layer.bias is not None
            h = h @ layer.weight.data.T.astype(np.float64) + layer.bias.data
        elif isinstance(layer, nn.Dropout):
            mask = masks[:, first : first + h.shape[2]]
            h, first = h * mask[:, np.newaxis] / (1 - layer.p), first + h.shape[2]
        else:
            h = np.maximum(h, 0)
    return h


def averages(model: nn.Sequential, x: Array, masks: Array) -> dict[str, Array]:
    """Over all thinned nets: "arithmetic" and "geometric" mean and "spread" of the probabilities, all (N, C), and
    "log", the mean of the log probabilities.
    """  # fmt: skip
    found: dict[str, list[Array]] = {"arithmetic": [], "geometric": [], "spread": [], "log": []}
    for start in range(0, len(x), CHUNK):
        z = thinned_logits(model, x[start : start + CHUNK], masks)
        z -= z.max(axis=2, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(axis=2, keepdims=True))
        p, mean_log = np.exp(log_p), log_p.mean(axis=0)
        geometric = np.exp(mean_log)
        found["arithmetic"].append(p.mean(axis=0))
        found["geometric"].append(geometric / geometric.sum(axis=1, keepdims=True))
        found["spread"].append(p.std(axis=0))
        found["log"].append(mean_log)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def one_pass(model: nn.Sequential, x: Array) -> Array:
    """(N, C): the probabilities of the net in evaluation mode, whose weights dropout has scaled in training."""
    with no_grad(), evaluating():
        return softmax(model(Tensor(x)).data)


def closed_rows(model: nn.Sequential, x: Array) -> Array:
    """(N,) bool: whether all units of the first hidden layer are 0 for a row, so that its mask changes nothing."""
    with no_grad():
        return (nn.Sequential(*list(model)[:2])(Tensor(x)).data == 0).all(axis=1)


def without_second_relu(model: nn.Sequential) -> nn.Sequential:
    """The same layers, but for the second ReLU."""
    relus = [layer for layer in model if isinstance(layer, nn.ReLU)]
    return nn.Sequential(*(layer for layer in model if layer is not relus[1]))


def monte_carlo(model: nn.Sequential, x: Array, exact: Array) -> Array:
    """Root mean square error of the mean of n random thinned nets against the exact mean, for each n of COUNTS.

    The layers above the first ReLU run in training mode, with `nn.Dropout`'s own masks, on each row COUNTS[-1] times.
    """
    below, above = nn.Sequential(*list(model)[:2]), nn.Sequential(*list(model)[2:])
    above.train()
    squares = np.zeros((REPEATS, len(COUNTS)))
    with no_grad():
        copies = Tensor(np.tile(below(Tensor(x)).data, (COUNTS[-1], 1)))
        for squares_of_repeat in squares:
            p = softmax(above(copies).data).reshape(COUNTS[-1], *exact.shape)
            for at, count in enumerate(COUNTS):
                squares_of_repeat[at] = np.square(p[:count].mean(axis=0) - exact).mean()
    return np.sqrt(squares.mean(axis=0))


def _loss(p: Array, labels: Array) -> float:
    return float(-np.log(p[np.arange(len(labels)), labels]).mean())


def _small_nets(train: data.Dataset, test: data.Dataset, seed: int) -> tuple[dict[str, float], dict[str, Array]]:
    """The part with every mask: numbers, and arrays for the figure."""
    numbers: dict[str, float] = {}
    arrays: dict[str, Array] = {}
    masks, test = all_masks(12), test[:ROWS]
    x = test.rows * test.scale
    for name, hidden in NETS.items():
        nn.manual_seed(seed)
        model = nn.MLP(train.n_features, hidden, train.classes, dropout=P)
        fit(model, train[:20000], epochs=10, batch_size=64, seed=seed, progress=False)
        model.double()
        variants = {name: model} | ({"linear": without_second_relu(model)} if len(hidden) == 2 else {})
        for variant, net in variants.items():
            mean, p = averages(net, x, masks), one_pass(net, x)
            arrays[f"{variant}_closed"] = closed = closed_rows(net, x)
            numbers[f"{variant}_closed_rows"] = closed.sum()
            for kind in ("geometric", "arithmetic"):
                gap = np.abs(p - mean[kind]).max(axis=1)
                arrays[f"{variant}_{kind}"] = gap
                numbers[f"{variant}_{kind}_gap"], numbers[f"{variant}_{kind}_mean_gap"] = gap.max(), gap.mean()
            if variant == "linear":
                continue
            for kind, predicted in (("pass", p), ("geometric", mean["geometric"]), ("arithmetic", mean["arithmetic"])):
                numbers[f"{name}_{kind}_accuracy"] = (predicted.argmax(axis=1) == test.labels).mean()
                numbers[f"{name}_{kind}_loss"] = _loss(predicted, test.labels)
            numbers[f"{name}_thinned_loss"] = -mean["log"][np.arange(ROWS), test.labels].mean()
            few = slice(MONTE_CARLO_ROWS)
            errors = monte_carlo(model, x[few], mean["arithmetic"][few])
            spread = np.sqrt(np.square(mean["spread"][few]).mean())
            off = np.sqrt(np.square(p[few] - mean["arithmetic"][few]).mean())
            arrays[f"{name}_errors"] = errors
            numbers[f"{name}_spread"], numbers[f"{name}_pass_error"] = spread, off
            numbers[f"{name}_slope"] = np.polyfit(np.log(COUNTS), np.log(errors), 1)[0]
            numbers[f"{name}_equal_masks"] = (spread / off) ** 2
    return numbers, arrays


def _curves(train: data.Dataset, seed: int) -> tuple[dict[str, float], dict[str, Array]]:
    """The part that trains with each p: numbers, and curves (runs, epochs)."""
    small = train[:TRAINING_ROWS]
    held_out = train[len(train) - VALIDATION_ROWS :]
    arrays: dict[str, Array] = {}
    for p in RATES:
        curves = np.zeros((3, RUNS, EPOCHS))  # training loss without dropout, validation loss, validation accuracy
        for run in range(RUNS):
            nn.manual_seed(seed + run)
            model = nn.MLP(train.n_features, HIDDEN, train.classes, dropout=p)
            losses: list[float] = []

            def note(model: nn.Module, history: History, losses: list[float] = losses) -> None:
                losses.append(evaluate(model, small).loss)

            history = fit(
                model, small, held_out, epochs=EPOCHS, batch_size=BATCH, seed=seed + run, progress=False,
                callbacks=[note],
            )  # fmt: skip
            curves[0, run] = losses
            curves[1, run] = history.column("validation_loss")
            curves[2, run] = history.column("validation_accuracy")
        arrays |= {f"{kind}_{p:g}": curves[at] for at, kind in enumerate(("train", "validation", "accuracy"))}
    numbers: dict[str, float] = {}
    ends = {name: curve[:, -LAST:].mean(axis=1) for name, curve in arrays.items()}  # (runs,)
    for p in RATES:
        key = f"p{100 * p:.0f}"
        numbers[f"{key}_train_loss"] = ends[f"train_{p:g}"].mean()
        numbers[f"{key}_validation_loss"] = ends[f"validation_{p:g}"].mean()
        numbers[f"{key}_best_loss"] = arrays[f"validation_{p:g}"].min(axis=1).mean()
        numbers[f"{key}_accuracy"] = ends[f"accuracy_{p:g}"].mean()
        if p:
            for kind, sign in (("accuracy", 1), ("validation", -1)):
                gains = sign * (ends[f"{kind}_{p:g}"] - ends[f"{kind}_0"])
                numbers[f"{key}_{kind}_gain_least"], numbers[f"{key}_{kind}_gain_most"] = gains.min(), gains.max()
    return numbers, arrays


def measure(seed: int = 0) -> dict[str, Any]:
    """Train the nets and average them: numbers by flat names, and arrays for the figures."""
    train, test = data.mnist()
    small, arrays = _small_nets(train, test, seed)
    trained, curves = _curves(train, seed)
    return {**{name: float(value) for name, value in (small | trained).items()}, **arrays, **curves}


ROUNDING = 1e-12  # of probabilities in float64, after sums over 4,096 nets


def conclude(numbers: dict[str, float]) -> tuple[str, ...]:
    """Three sentences: the one pass against the exact mean, random masks against it, and p on few digits."""
    n = numbers
    parts = []
    for name, words in WORDS.items():
        gap = n[f"{name}_geometric_gap"]
        equal = f"equal to rounding (largest difference {gap:.0e})" if gap < ROUNDING else f"off by up to {gap:.3f}"
        parts.append(f"{words}: {equal}")
    first = "The one pass with scaled weights against the normalised geometric mean of all 4,096 thinned nets is, with "
    first += "; with ".join(parts) + "."

    slope, equal_masks = n["two_slope"], n["two_equal_masks"]
    law = "as 1/√n says" if abs(slope + 0.5) < 0.1 else "which is not the 1/√n of independent masks"
    near = f"as near to it as the mean of about {equal_masks:.0f} random ones"
    if equal_masks < 1.5:
        near = "no nearer to it than one random thinned net"
    goes = "falls" if slope < 0 else "does not fall, but goes"
    second = f"The error of the mean of n random thinned nets {goes} as n^{slope:.2f}, {law}; with two hidden layers "
    second += f"the one pass is {near}."

    third = [_effect(n, key) for key in ("p20", "p50")]
    return first, second, f"On {TRAINING_ROWS:,} digits, against no dropout: " + "; ".join(third) + "."


def _effect(n: dict[str, float], key: str) -> str:
    """What one p did, in words: a change counts where it has one sign in all runs."""
    said = [f"p = 0.{key[1]} "]
    for kind, what, scale, unit, form in (
        ("validation", "validation loss", -1, "nats", "+.2f"),
        ("accuracy", "validation accuracy", 100, "points", "+.1f"),
    ):
        least, most = sorted(scale * n[f"{key}_{kind}_gain_{end}"] for end in ("least", "most"))
        verb = "raises the" if least > 0 else "lowers the" if most < 0 else "moves neither way the"
        said.append(f"{verb} {what} ({least:{form}} to {most:{form}} {unit} in {RUNS} runs)")
    return said[0] + " and ".join(said[1:])


def table(numbers: dict[str, float]) -> str:
    """The averages, then the trainings."""
    n = numbers
    lines = [f"{ROWS} test digits, 12 hidden units, p = 0.5        one hidden layer   two hidden layers"]

    def row(words: str, key: str, form: str) -> None:
        lines.append(f"  {words:<46}" + "".join(f"{n[f'{name}_{key}']:>{width}{form}}" for name, width in COLUMNS))

    row("one pass - geometric mean, largest", "geometric_gap", ".1e")
    row("one pass - geometric mean, mean of the rows", "geometric_mean_gap", ".1e")
    row("one pass - arithmetic mean, largest", "arithmetic_gap", ".1e")
    row("one pass - arithmetic mean, mean of the rows", "arithmetic_mean_gap", ".1e")
    row("loss of a thinned net on its own, mean", "thinned_loss", ".4f")
    row("loss of the arithmetic mean", "arithmetic_loss", ".4f")
    row("loss of the geometric mean", "geometric_loss", ".4f")
    row("loss of the one pass", "pass_loss", ".4f")
    row("accuracy of the arithmetic mean", "arithmetic_accuracy", ".4f")
    row("accuracy of the one pass", "pass_accuracy", ".4f")
    row("error of n random masks: power of n", "slope", ".3f")
    row("random masks as near as the one pass", "equal_masks", ".1f")
    lines.append(f"  second ReLU left out: one pass - geometric mean, largest {n['linear_geometric_gap']:>26.1e}")
    lines += [
        "",
        f"{TRAINING_ROWS:,} training digits, {EPOCHS} epochs, mean of {RUNS} runs and their last {LAST} epochs",
    ]
    lines.append("     p   training loss   validation loss      gap   lowest validation loss   validation accuracy")
    for p in RATES:
        train, held, best, accuracy = (
            n[f"p{100 * p:.0f}_{kind}"] for kind in ("train_loss", "validation_loss", "best_loss", "accuracy")
        )
        lines.append(f"  {p:4.1f}{train:16.4f}{held:18.4f}{held - train:9.4f}{best:25.4f}{accuracy:22.4f}")
    lines.append("  (training loss in evaluation mode: all units, as the validation loss)")
    return "\n".join(lines)


COLUMNS = (("one", 19), ("two", 20))


def draw(measured: dict[str, Any]) -> dict[str, Figure]:
    """The figures "dropout_thinned", "dropout_average" and "dropout_curves"."""
    return {
        "dropout_thinned": figures.thinned(THINNED, thinned_masks()),
        "dropout_average": figures.average(measured, WORDS, COUNTS),
        "dropout_curves": figures.curves(measured, RATES, TRAINING_ROWS),
    }


def tolerance(name: str, value: float) -> float:
    """How far a rerun may be off: some times what initial weights moved by 1e-6 of themselves change."""
    if name in ("one_geometric_gap", "one_geometric_mean_gap", "linear_geometric_gap", "linear_geometric_mean_gap"):
        return ROUNDING
    if name.endswith("_closed_rows"):
        return 20.0
    if not name.startswith("p"):
        return 2e-3
    kinds = {"_train_loss": 1e-3, "_best_loss": 5e-3, "_validation_loss": 0.01, "_accuracy": 5e-3}
    return next((value for end, value in kinds.items() if name.endswith(end)), 0.02 if "validation" in name else 0.01)
