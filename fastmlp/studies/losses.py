"""Which loss for which target: what the outputs become under each, on rows that are made and whose truth is known.

Where one number z answers for all targets t, each loss has its least somewhere else:

    (z - t)²  mean        |z - t|  median        Huber  between them
    e^z - t z  log of the mean        pinball of q  the number with a share q below

and with inputs, the same for the targets that go with an input. Sources: Koenker and Bassett, Econometrica 46 (1978);
Huber, Ann. Math. Statist. 35 (1964); Hastie, Tibshirani, Friedman, The Elements of Statistical Learning, 4.2 (masking).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import nn
from ..data import Dataset
from ..graph import Array, Tensor, no_grad
from ..optim import Adam, CosineAnnealingLR
from ..training.metrics import softmax
from ..training.train import fit
from . import losses_figures as figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS, HELD_OUT, EPOCHS, BATCH, RATE = 300, 2000, 40, 20, 0.05
LINE, NOISE, OUTLIERS, AWAY = (1.0, 2.0), 0.3, 0.1, 8.0  # t = 1 + 2 x + noise; a tenth of the targets is 8 too high
DELTA = 1.0  # of Huber's loss
LOG_RATE = (0.5, 2.0)  # counts with the mean e^(0.5 + 2 x)
QUANTILES = (0.1, 0.5, 0.9)
SPREAD = (0.6, 0.4)  # of the targets whose quantiles are asked for: 0.6 + 0.4 x
CENTRES = ((-2.0, -2.0), (0.0, 0.0), (2.0, 2.0))  # three classes in a row
LABELS = 4  # half-planes, of which a row lies in any number
LIMITS = tuple(k / 20 for k in range(1, 20))  # a label is said where its probability is above
TITLE = "Which loss for which target: what the outputs become under each"


def lines() -> dict[str, nn.Loss]:
    """The losses that draw a line through the rows with outliers, by their short names."""
    return {"mse": nn.MSELoss(), "l1": nn.L1Loss(), "huber": nn.HuberLoss(delta=DELTA)}


def trained(data: Dataset, loss: nn.Loss | None, outputs: int, seed: int) -> nn.MLP:
    """A linear model, trained with a rate that ends at 0; loss None: what `fit` takes for the kind."""
    nn.manual_seed(seed)
    model = nn.MLP(data.n_features, (), outputs)
    fit(
        model, data, optimizer=Adam(model.parameters(), lr=RATE), schedule=CosineAnnealingLR(), schedule_every="step",
        epochs=EPOCHS, batch_size=BATCH, seed=seed, n_threads=1, progress=False, loss=loss,
    )  # fmt: skip
    return model


def answers(model: nn.Module, x: Array) -> Array:
    """The outputs z for rows x, in float64.    x: (N, D)  z: (N, C)"""
    with no_grad():
        return model(Tensor(x.astype(np.float32))).data.astype(np.float64)


def _weights(model: nn.MLP) -> tuple[float, float]:
    """(intercept, slope) of a model with one input and one output."""
    layer = model[0]
    assert isinstance(layer, nn.Linear)
    assert layer.bias is not None
    return layer.bias.data.item(), layer.weight.data.item()


def _one_number(rng: np.random.Generator, seed: int) -> dict[str, float]:
    """One number for all targets: an input that is always 0 leaves the bias alone to learn."""
    t = np.exp(rng.normal(size=ROWS))  # skew: the mean is above the median
    data = Dataset(np.zeros((ROWS, 1)), t)
    found = {"one_mean": t.mean(), "one_median": np.median(t), "one_high": np.quantile(t, QUANTILES[-1])}
    for name, loss in {**lines(), "pinball": nn.QuantileLoss(QUANTILES[-1]), "poisson": nn.PoissonNLLLoss()}.items():
        z = _weights(trained(data, loss, 1, seed))[0]
        found[f"one_{name}"] = np.exp(z) if name == "poisson" else z
    found["one_pinball_below"] = (t < found["one_pinball"]).mean()
    return found


def _lines(rng: np.random.Generator, seed: int) -> tuple[dict[str, float], dict[str, Array]]:
    """The line through rows of which a tenth is far too high."""
    x = rng.uniform(-1, 1, (ROWS, 1))
    high = rng.random(ROWS) < OUTLIERS
    t = LINE[0] + LINE[1] * x[:, 0] + NOISE * rng.normal(size=ROWS) + AWAY * high
    found = {"line_outliers": high.mean()}
    for name, loss in lines().items():
        intercept, slope = _weights(trained(Dataset(x, t), loss, 1, seed))
        found |= {f"line_{name}_intercept": intercept, f"line_{name}_slope": slope}
        off = (intercept - LINE[0]) ** 2 + (slope - LINE[1]) ** 2 / 3  # x has the mean square 1/3
        found[f"line_{name}_error"] = np.sqrt(off)
    return found, {"line_x": x[:, 0], "line_t": t}


def _counts(rng: np.random.Generator, seed: int) -> tuple[dict[str, float], dict[str, Array]]:
    """Counts whose mean grows by a factor: expected counts under Poisson's loss and under the squared error."""
    x, held = rng.uniform(-1, 1, (ROWS, 1)), np.linspace(-1, 1, HELD_OUT)[:, np.newaxis]
    t = rng.poisson(np.exp(LOG_RATE[0] + LOG_RATE[1] * x[:, 0])).astype(np.float64)
    rate = np.exp(LOG_RATE[0] + LOG_RATE[1] * held[:, 0])
    found: dict[str, float] = {}
    arrays = {"count_x": x[:, 0], "count_t": t, "count_held": held[:, 0], "count_rate": rate}
    for name, loss in (("poisson", nn.PoissonNLLLoss()), ("mse", nn.MSELoss())):
        model = trained(Dataset(x, t), loss, 1, seed)
        arrays[f"count_{name}"] = z = loss.predicted(answers(model, held))[:, 0]
        found[f"count_{name}_below"] = (z < 0).mean()
        found[f"count_{name}_error"] = np.sqrt(((z - rate) ** 2).mean())
        if name == "poisson":
            found["count_intercept"], found["count_slope"] = _weights(model)
    return found, arrays


def _quantiles(rng: np.random.Generator, seed: int) -> tuple[dict[str, float], dict[str, Array]]:
    """Three lines by the pinball loss, and the share of new targets below each."""
    x, held = (rng.uniform(-1, 1, (n, 1)) for n in (2 * ROWS, HELD_OUT))
    t, new = (a[:, 0] + (SPREAD[0] + SPREAD[1] * a[:, 0]) * rng.normal(size=len(a)) for a in (x, held))
    model = trained(Dataset(x, t), nn.QuantileLoss(QUANTILES), len(QUANTILES), seed)
    z = answers(model, held)
    found = {f"below_{100 * q:.0f}": (new < z[:, k]).mean() for k, q in enumerate(QUANTILES)}
    inside = (z[:, 0] < new) & (new < z[:, -1])
    ends = answers(model, np.array([[-1.0], [1.0]]))
    found |= {"inside": inside.mean(), "width_left": ends[0, -1] - ends[0, 0], "width_right": ends[1, -1] - ends[1, 0]}
    return found, {"quantile_x": x[:, 0], "quantile_t": t, "quantile_ends": ends}


def _classes(rng: np.random.Generator, seed: int) -> tuple[dict[str, float], dict[str, Array]]:
    """Three classes in a row: cross-entropy against the squared error of 0 and 1."""
    labels = np.arange(ROWS) % len(CENTRES)
    x = np.array(CENTRES)[labels] + 0.5 * rng.normal(size=(ROWS, 2))
    one_hot = np.eye(len(CENTRES))[labels]
    found: dict[str, float] = {}
    along = np.linspace(-3.5, 3.5, 141)
    arrays: dict[str, Array] = {"class_along": along}
    for name, data, loss in (
        ("cross_entropy", Dataset(x, labels), nn.CrossEntropyLoss()),
        ("mse", Dataset(x, one_hot, kind="numbers"), nn.MSELoss()),
    ):
        model = trained(data, loss, len(CENTRES), seed)
        said = answers(model, x).argmax(axis=1)
        found[f"class_{name}_accuracy"] = (said == labels).mean()
        found[f"class_{name}_middle"] = (said == 1)[labels == 1].mean()
        z = answers(model, np.stack([along, along], axis=1))
        arrays[f"class_{name}"] = softmax(z) if name == "cross_entropy" else z
    return found, arrays


def _labels(rng: np.random.Generator, seed: int) -> dict[str, float]:
    """Rows with any number of labels: BCE against cross-entropy on shares, which cannot take a row without any."""
    angles = np.pi / 4 * np.arange(LABELS)
    normals = np.stack([np.cos(angles), np.sin(angles)])  # (2, LABELS)
    x, held = (rng.normal(size=(n, 2)) for n in (ROWS, HELD_OUT))
    t, new = ((a @ normals > 0).astype(np.int64) for a in (x, held))
    some, new_some = t.any(axis=1), new.any(axis=1)
    found = {"label_none": 1 - some.mean()}
    shares = t[some] / t[some].sum(axis=1, keepdims=True)
    for name, data in (
        ("bce", Dataset(x[some], t[some])),
        ("cross_entropy", Dataset(x[some], shares, kind="probabilities")),
    ):
        z = answers(trained(data, None, LABELS, seed), held[new_some])
        p = 1 / (1 + np.exp(-z)) if name == "bce" else softmax(z)
        true = new[new_some].astype(bool)
        f1 = [2 * (said & true).sum() / (said.sum() + true.sum()) for said in (p > limit for limit in LIMITS)]
        found[f"label_{name}_f1"], found[f"label_{name}_best_f1"] = f1[LIMITS.index(0.5)], max(f1)
        found[f"label_{name}_best_limit"] = LIMITS[int(np.argmax(f1))]
        found[f"label_{name}_all"] = ((p > LIMITS[int(np.argmax(f1))]) == true).all(axis=1).mean()
    return found


def measure(seed: int = 0) -> dict[str, Any]:
    """Train the linear models: numbers by flat names, and arrays for the figures."""
    rng = np.random.default_rng(seed)
    numbers = _one_number(rng, seed) | _labels(rng, seed)
    arrays: dict[str, Array] = {}
    for part in (_lines, _counts, _quantiles, _classes):
        found, drawn = part(rng, seed)
        numbers |= found
        arrays |= drawn
    return {**{name: float(value) for name, value in numbers.items()}, **arrays}


def conclude(numbers: dict[str, float]) -> tuple[str, ...]:
    """Three sentences: mean, median and quantile; counts; classes and labels."""
    return _about_numbers(numbers), _about_counts(numbers), _about_classes(numbers)


def _about_numbers(n: dict[str, float]) -> str:
    mean, median = n["one_mean"], n["one_median"]
    low, high = sorted((mean, median))
    said = f"One number for all targets becomes {n['one_mse']:.2f} with MSE (their mean is {mean:.2f}), "
    said += f"{n['one_l1']:.2f} with L1 (their median is {median:.2f}) and {n['one_huber']:.2f} with Huber, "
    said += "between them. " if low < n["one_huber"] < high else "which is not between them. "
    off = {name: n[f"line_{name}_error"] for name in lines()}
    best, worst = min(off, key=lambda name: off[name]), max(off, key=lambda name: off[name])
    said += f"With {n['line_outliers']:.0%} outliers, the line of {best} is nearest to the truth ({off[best]:.2f} off) "
    said += f"and that of {worst} furthest ({off[worst]:.2f}). "
    shares = {q: n[f"below_{100 * q:.0f}"] for q in QUANTILES}
    close = all(abs(share - q) < 0.05 for q, share in shares.items())
    said += (
        f"Of new targets {', '.join(f'{share:.0%}' for share in shares.values())} lie below the lines of the pinball "
    )
    asked = ", ".join(f"{q:.0%}" for q in shares)
    return f"{said}loss, {'as' if close else 'not as'} asked: {asked}."


def _about_counts(n: dict[str, float]) -> str:
    better = "nearer to the true means than" if n["count_poisson_error"] < n["count_mse_error"] else "no nearer than"
    said = f"Counts under Poisson's loss: the expected counts are {better} those of MSE "
    said += f"({n['count_poisson_error']:.2f} against {n['count_mse_error']:.2f} off, rms), "
    return said + f"and {n['count_poisson_below']:.0%} of them are below 0, where MSE has {n['count_mse_below']:.0%}."


def _about_classes(n: dict[str, float]) -> str:
    cross, square = n["class_cross_entropy_middle"], n["class_mse_middle"]
    said = f"Of three classes in a row, the middle one is found in {cross:.0%} of its rows with cross-entropy and in "
    said += f"{square:.0%} with the squared error of 0 and 1"
    said += ", which hides it. " if square < 0.5 < cross else ". "
    bce, shares = n["label_bce_best_f1"], n["label_cross_entropy_best_f1"]
    said += (
        f"Where several labels may be true, F1 is {bce:.2f} with BCE and {shares:.2f} with cross-entropy on shares, "
    )
    said += f"each with its best limit: the labels {'should not' if bce > shares else 'may'} share one probability."
    return said


def table(numbers: dict[str, float]) -> str:
    """A part a kind of target."""
    n = numbers
    rows = [f"{'one number for all targets':40}{'becomes':>12}{'theirs':>12}"]
    for words, key, of in (
        ("MSE: mean", "mse", "mean"),
        ("L1: median", "l1", "median"),
        (f"Huber, delta {DELTA:g}: between", "huber", None),
        (f"pinball {QUANTILES[-1]:g}: that quantile", "pinball", "high"),
        ("Poisson, e^z: mean", "poisson", "mean"),
    ):
        rows.append(f"{words:40}{n[f'one_{key}']:12.3f}" + (f"{n[f'one_{of}']:12.3f}" if of else ""))
    rows += ["", f"{'line through rows with outliers':40}{'intercept':>12}{'slope':>12}{'off':>12}"]
    rows.append(f"{'the truth':40}{LINE[0]:12.3f}{LINE[1]:12.3f}{0:12.3f}")
    for name in lines():
        cells = "".join(f"{n[f'line_{name}_{what}']:12.3f}" for what in ("intercept", "slope", "error"))
        rows.append(f"{name:40}{cells}")
    rows += ["", f"{'counts':40}{'off, rms':>12}{'below 0':>12}"]
    for name in ("poisson", "mse"):
        rows.append(f"{name:40}{n[f'count_{name}_error']:12.3f}{n[f'count_{name}_below']:12.1%}")
    rows += ["", f"{'pinball loss, quantile':40}" + "".join(f"{q:12g}" for q in QUANTILES)]
    rows.append(f"{'new targets below':40}" + "".join(f"{n[f'below_{100 * q:.0f}']:12.1%}" for q in QUANTILES))
    rows += ["", f"{'three classes in a row':40}{'accuracy':>12}{'middle':>12}"]
    for name in ("cross_entropy", "mse"):
        rows.append(f"{name:40}{n[f'class_{name}_accuracy']:12.1%}{n[f'class_{name}_middle']:12.1%}")
    rows += ["", f"{f'{LABELS} labels, any number true':40}{'F1 at 0.5':>12}{'best F1':>12}{'at':>12}{'all right':>12}"]
    for name in ("bce", "cross_entropy"):
        cells = "".join(f"{n[f'label_{name}_{what}']:12.3f}" for what in ("f1", "best_f1"))
        rows.append(f"{name:40}{cells}{n[f'label_{name}_best_limit']:12.2f}{n[f'label_{name}_all']:12.1%}")
    return "\n".join(rows)


def tolerance(name: str, value: float) -> float:
    """How far another machine may be: what is drawn is the same, what is trained nearly so."""
    drawn = ("one_mean", "one_median", "one_high", "line_outliers", "label_none")
    if name in drawn:
        return 1e-9
    return 0.1 if name.endswith(("_limit", "_accuracy", "_middle", "width_left", "width_right")) else 0.03


def draw(measured: dict[str, Any]) -> dict[str, Figure]:
    """Two figures: numbers and counts; classes."""
    return {
        "losses_numbers": figures.numbers(measured, LINE, QUANTILES),
        "losses_classes": figures.classes(measured, CENTRES),
    }
