"""Results from the literature, repeated: is the source's number within what is measured here?

    relu        784-200-100-60-30-10, ReLU, Adam, 10,000 steps of 100 rows, learning rate 0.0001 + 0.003 exp(-t / 2000)
                at step t. 98.2 %, its last step 98.24. Görner, TensorFlow and deep learning without a PhD (2016),
                mnist_2.1_five_layers_relu_lrdecay.py. Here it is whole epochs: 17, which are 10,200 steps
    batchnorm   the same with batch norm before each ReLU and 0.0001 + 0.03 exp(-t / 1000). 98.5 %.
                Görner, mnist_4.1_batchnorm_five_layers_relu.py, which leaves out the factor γ that there is here
    keras       784-512-512-10, ReLU, dropout 0.2 after each, 20 epochs of 128 rows, learning rate 0.001. 98.40 %.
                Keras, examples/mnist_mlp.py (2015), with RMSprop where this has Adam

Each is trained with one seed, which takes a minute on two cores together. The long form, `full`, takes half an hour at
most: three seeds of each, and larger nets with batches of 128 rows, Adam, and a learning rate that falls from 0.001 in
a line, epoch by epoch.

    plain       784-800-800-10, ReLU, no regularisation, 30 epochs. 146 errors, 98.54 %. Hinton, Vinyals and Dean,
                Distilling the Knowledge in a Neural Network (2015), section 3
    dropout     the same with dropout 0.2 of the inputs and 0.5 of the hidden values, 150 epochs. Error 1.25 %.
                Srivastava et al., JMLR 15 (2014), table 2, a net of three layers of 1,024
    maxnorm     and with the norm of each neuron's weights held at c = 2 or less. Error 1.06 %, as before. The paper
                does it after each step of SGD, this does it after each epoch (`MaxNorm`)

Weights begin as PyTorch's linear layers do; in the first source as normal numbers with a spread of 0.1, biases at 0.1.

Two things are chance in an accuracy. One is which rows are in the test set: p on N rows has the standard deviation
√(p (1 - p) / N), 0.13 points for 98.2 % of 10,000. A source's number is called within it if it is at most two of these
from the mean of the seeds; that is generous, as all have used the same test set. The other is the seed. Its standard
deviation s is estimated from all nets that have several seeds, each around its own mean; one number of a source and the
mean of k seeds then differ by chance with the standard deviation s √(1 + 1 / k), and `distance` counts these.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import data, nn, optim
from ..data import Dataset
from ..show.plots.style import frame, new_figure, palette, styled
from ..training.history import History
from ..training.train import fit

GORNER, GORNER_EPOCHS, GORNER_BATCH = (200, 100, 60, 30), 17, 100
KERAS_EPOCHS, PLAIN_EPOCHS, DROPOUT_EPOCHS, BATCH = 20, 30, 150, 128
NORM, DEVIATIONS = 2.0, 2.0
T95 = 2.36  # Student's t: 95 % of chance lies within it, with 7 degrees of freedom: 13 seeds less 6 means
LOG = logging.getLogger(__name__)
TITLE = "Does it give the results that are known?"

Curve = list[tuple[float, float]]  # passes over the training rows, test accuracy in percent


@dataclass(frozen=True)
class Recipe:
    """A result: its net, whose number it is, that number as an accuracy in percent, the seeds of the long form."""

    net: str
    source: str
    accuracy: float
    seeds: int


RECIPES = {
    "relu": Recipe("784-200-100-60-30-10", "Görner 2016", 98.24, 3),
    "batchnorm": Recipe("the same with batch norm", "Görner 2016", 98.5, 3),
    "keras": Recipe("784-512-512-10, dropout 0.2", "Keras mnist_mlp", 98.4, 3),
}
FULL = {
    "plain": Recipe("784-800-800-10", "Hinton 2015", 98.54, 2),
    "dropout": Recipe("the same with dropout 0.5", "Srivastava 2014", 98.75, 1),
    "maxnorm": Recipe("dropout and max-norm", "Srivastava 2014", 98.94, 1),
}
SHORT = {"relu": "ReLU", "batchnorm": "batch norm", "keras": "dropout 0.2"}
SHORT |= {"plain": "800-800", "dropout": "dropout", "maxnorm": "max-norm"}
BASES = {
    "batchnorm": ("relu", "batch norm"),
    "dropout": ("plain", "dropout"),
    "maxnorm": ("plain", "max-norm with dropout"),
}


class Decay(optim.Schedule):
    """rate = b + (start - b) exp(-t / speed) after t steps.    b what it falls to, 0.0001; Görner's decay"""

    schedule_every = "step"

    def __init__(self, speed: float, lowest: float = 1e-4) -> None:
        self.speed, self.lowest = speed, lowest

    def rate(self, start: float, done: int, total: int) -> float:
        """As the class says."""
        return self.lowest + (start - self.lowest) * math.exp(-done / self.speed)


class MaxNorm:
    """A callback for `fit`: w ← w min(1, c (1 - p) / ‖w‖) for the weights w that come to a neuron, after each epoch.

    c  the largest norm, for weights as the paper has them        p  of the dropout before the layer, 0 without one
    `Linear.weight` is (out, in), so w is a row of it. In the paper a value that is kept stays as it is in training, and
    the weights are multiplied by 1 - p for evaluation. Here the value is divided by 1 - p in training: the same net has
    weights 1 - p times as large, and so is their norm.
    The paper holds the norm after each step; between the ends of two epochs it may be above its limit here.
    Source: Srivastava et al., JMLR 15 (2014), section 5.1 and appendix B.1, c = 2.
    """

    def __init__(self, c: float) -> None:
        self.c = c

    def __call__(self, model: nn.Module, history: History) -> None:
        """Shorten what is too long, in the model's own arrays."""
        limit = self.c
        for layer in model.modules():
            if isinstance(layer, nn.Dropout):
                limit *= 1 - layer.p
            elif isinstance(layer, nn.Linear):
                w = layer.weight.data
                w *= np.minimum(1, limit / np.maximum(np.linalg.norm(w, axis=1, keepdims=True), 1e-12))
                limit = self.c


def train_epochs(
    model: nn.Module,
    train: Dataset,
    test: Dataset,
    epochs: int,
    seed: int,
    batch: int = BATCH,
    lr: float = 1e-3,
    schedule: optim.Schedule | None = None,
    callbacks: tuple[Any, ...] = (),
) -> Curve:
    """Train with Adam. Returns the curve, a point an epoch; the test rows choose nothing."""
    history = fit(
        model, train, test, optim.Adam(model.parameters(), lr=lr), epochs, batch, seed, progress=False,
        callbacks=callbacks, schedule=schedule,
    )  # fmt: skip
    return [(float(epoch.epoch), 100 * epoch.validation_accuracy) for epoch in history.epochs]


def large(features: int, classes: int, dropout: bool) -> nn.Sequential:
    """D-800-800-C with ReLU; with dropout, 0.2 of the inputs and 0.5 of the hidden values."""
    if not dropout:
        return nn.MLP(features, (800, 800), classes)
    return nn.Sequential(nn.Dropout(0.2), *nn.MLP(features, (800, 800), classes, dropout=0.5).children())


def train_one(name: str, train: Dataset, test: Dataset, seed: int) -> Curve:
    """Train what the recipe says, with this seed."""
    sizes = train.n_features, train.classes
    nn.manual_seed(seed)
    if name in ("relu", "batchnorm"):
        norm, first, speed = (None, 0.003, 2000) if name == "relu" else ("batch", 0.03, 1000)
        deep, decay = nn.MLP(sizes[0], GORNER, sizes[1], norm=norm), Decay(speed)
        return train_epochs(deep, train, test, GORNER_EPOCHS, seed, GORNER_BATCH, decay.lowest + first, decay)
    if name == "keras":
        return train_epochs(nn.MLP(sizes[0], (512, 512), sizes[1], dropout=0.2), train, test, KERAS_EPOCHS, seed)
    model, epochs = large(*sizes, name != "plain"), PLAIN_EPOCHS if name == "plain" else DROPOUT_EPOCHS
    in_a_line = optim.LinearLR(1.0, 0.0, total_iters=epochs)
    held = (MaxNorm(NORM),) if name == "maxnorm" else ()
    return train_epochs(model, train, test, epochs, seed, schedule=in_a_line, callbacks=held)


def measure(seed: int = 0, full: bool = False) -> dict[str, Any]:
    """Train the recipes, with one seed each, or with all their seeds and the larger nets in the long form.

    Returns numbers by flat names, and `curves`: recipe -> a curve a seed.
    """
    train, test = data.mnist()
    found: dict[str, Any] = {"curves": {}}
    for name, recipe in (RECIPES | FULL if full else RECIPES).items():
        curves = []
        for k in range(seed, seed + (recipe.seeds if full else 1)):
            curves.append(train_one(name, train, test, k))
            LOG.info("%s, seed %d: %.2f %%", recipe.net, k, curves[-1][-1][1])
        ends = np.array([curve[-1][1] for curve in curves])
        p = ends.mean() / 100
        found["curves"][name] = curves
        found |= {
            f"{name}_accuracy": float(ends.mean()),
            f"{name}_error": 100 - float(ends.mean()),
            f"{name}_lowest": float(ends.min()),
            f"{name}_highest": float(ends.max()),
            f"{name}_deviation": 100 * math.sqrt(p * (1 - p) / len(test)),
            f"{name}_source": recipe.accuracy,
            f"{name}_seeds": float(len(curves)),
        }
        found[f"{name}_within"] = float(within(name, found))
    return found | distances(found) if full else found


def distances(found: dict[str, Any]) -> dict[str, float]:
    """The standard deviation of the seeds, and each source's distance in units of what they do by chance."""
    ends = {name: np.array([curve[-1][1] for curve in curves]) for name, curves in found["curves"].items()}
    squares = sum(float(((accuracies - accuracies.mean()) ** 2).sum()) for accuracies in ends.values())
    s = math.sqrt(squares / sum(len(accuracies) - 1 for accuracies in ends.values()))
    numbers = {"seed_deviation": s}
    for name, accuracies in ends.items():
        far = abs(found[f"{name}_source"] - found[f"{name}_accuracy"])
        numbers[f"{name}_distance"] = far / (s * math.sqrt(1 + 1 / len(accuracies))) if s else math.inf
    return numbers


def conclude(numbers: dict[str, float]) -> tuple[str, ...]:
    """A sentence for each result that was measured, and with several seeds one about what seeds do."""
    measured = {name: recipe for name, recipe in (RECIPES | FULL).items() if f"{name}_accuracy" in numbers}
    said = [_verdict(name, recipe, numbers) for name, recipe in measured.items()]
    if "seed_deviation" in numbers:
        said.append(_about_seeds({name: numbers[f"{name}_distance"] for name in measured}, numbers["seed_deviation"]))
    return tuple(said)


def _about_seeds(far: dict[str, float], s: float) -> str:
    least, most = min(far.values()), max(far.values())
    said = (
        f"Seeds differ with a standard deviation of {s:.2f} points; by that, the sources are {least:.1f} to {most:.1f} "
    )
    said += "standard deviations away"
    beyond = [SHORT[name] for name, distance in far.items() if not distance <= T95]
    if not beyond:
        return f"{said}, none further than chance brings them in 19 of 20 cases, {T95}."
    return f"{said}: further than chance brings them in 19 of 20 cases, {T95}, for {', '.join(beyond)}."


def within(name: str, numbers: dict[str, float]) -> bool:
    """Whether the source's number is at most two standard deviations from the mean."""
    far = abs(numbers[f"{name}_source"] - numbers[f"{name}_accuracy"])
    return far <= DEVIATIONS * numbers[f"{name}_deviation"]


def _verdict(name: str, recipe: Recipe, n: dict[str, float]) -> str:
    mean, source, spread = n[f"{name}_accuracy"], n[f"{name}_source"], DEVIATIONS * n[f"{name}_deviation"]
    seeds = "one seed"
    if n[f"{name}_seeds"] > 1:
        seeds = f"{n[f'{name}_seeds']:.0f} seeds, {n[f'{name}_lowest']:.2f} to {n[f'{name}_highest']:.2f}"
    said = f"{recipe.net[0].upper()}{recipe.net[1:]} reaches {mean:.2f} % ({seeds}), and the {source:.2f} % of"
    if within(name, n):
        said += f" {recipe.source} lie within two standard deviations of it, {spread:.2f} points"
    else:
        side = "above" if source > mean else "below"
        said += f" {recipe.source} lie {abs(source - mean):.2f} points {side}, more than two standard deviations"
        said += f", {spread:.2f}"
    if name not in BASES:
        return f"{said}."
    base, words = BASES[name]
    here, there = (n[f"{name}_{what}"] - n[f"{base}_{what}"] for what in ("accuracy", "source"))
    return f"{said}; {words} brings {here:+.2f} points here and {there:+.2f} in the sources."


def table(numbers: dict[str, float]) -> str:
    """A line a result: net, accuracy here with its lowest and highest seed, two standard deviations, the source's."""
    lines = [f"{'net':<28}{'seeds':>6}{'accuracy':>10}{'lowest':>8}{'highest':>9}{'± 2 sd':>8}{'source':>8}  "]
    for name, recipe in (RECIPES | FULL).items():
        if f"{name}_accuracy" in numbers:
            values = [numbers[f"{name}_{what}"] for what in ("accuracy", "lowest", "highest", "deviation", "source")]
            line = "{:>8.2f} %{:>8.2f}{:>9.2f}{:>8.2f}{:>8.2f}".format(*values[:3], DEVIATIONS * values[3], values[4])
            lines.append(f"{recipe.net:<28}{numbers[f'{name}_seeds']:>6.0f}{line}  {recipe.source}")
    return "\n".join(line.rstrip() for line in lines)


@styled
def draw(found: dict[str, Any]) -> dict[str, Any]:
    """One figure: test error over the passes, and below the accuracies here, their interval, the source's number."""
    colours = palette()
    recipes = list(found["curves"])
    figure = new_figure(7.0)
    above, below = (frame(ax) for ax in figure.subplots(2, 1, height_ratios=(3, 2)))
    for colour, name in zip(colours.layers, recipes, strict=False):
        for k, curve in enumerate(found["curves"][name]):
            passes, right = np.array(curve).T
            label = SHORT[name] if k == 0 else None
            above.plot(
                passes, 100 - right, color=colour, lw=2 if k == 0 else 1, alpha=1 if k == 0 else 0.6, label=label
            )
    above.set(xscale="log", yscale="log")
    for axis, ticks in ((above.xaxis, (0.5, 1, 2, 5, 10, 20, 50, 100)), (above.yaxis, (1, 1.5, 2, 3, 5, 10))):
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    above.minorticks_off()
    above.set_xlim(right=1.1 * max(curve[-1][0] for curves in found["curves"].values() for curve in curves))
    above.set(xlabel="passes over the training rows", ylabel="test error (%)")
    above.legend()
    for y, (colour, name) in enumerate(zip(colours.layers, recipes, strict=False)):
        mean, spread = found[f"{name}_accuracy"], DEVIATIONS * found[f"{name}_deviation"]
        below.plot([mean - spread, mean + spread], [y, y], color=colour, lw=9, alpha=0.3, solid_capstyle="butt")
        ends = [curve[-1][1] for curve in found["curves"][name]]
        below.plot(ends, [y] * len(ends), "o", color=colour, ms=7)
        below.plot(found[f"{name}_source"], y, "D", mfc="none", mec=colours.ink, mew=2, ms=9)
    below.set_yticks(range(len(recipes)), [SHORT[name] for name in recipes])
    below.set_ylim(len(recipes) - 0.4, -0.6)
    below.set(xlabel="test accuracy (%): ● here, ◇ the source")
    return {"known": figure}


def tolerance(name: str, value: float) -> float:
    """How far another machine may be: sums rounded in another order make nets as far apart as seeds."""
    near = {"source": 0.0, "seeds": 0.0, "deviation": 0.1, "within": 1.0, "distance": 3.0}
    return near.get(name.rpartition("_")[2], 0.3)
