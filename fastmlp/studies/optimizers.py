"""What differs between SGD and Adam? Five update rules from the same weights, on the same batches."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import nn, ops
from ..data import Dataset, mnist
from ..graph import Array, Parameter
from ..optim import SGD, Adam, AdamW, Optimizer
from ..running.rows import batches
from ..training.train import fit
from . import optimizers_quadratic as quadratic
from .optimizers_figures import draw_paths, draw_steps, draw_training

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RULES: dict[str, Any] = {
    "sgd": SGD,
    "momentum": lambda params, lr: SGD(params, lr, momentum=0.9),
    "nesterov": lambda params, lr: SGD(params, lr, momentum=0.9, nesterov=True),
    "adam": Adam,
    "adamw": AdamW,
}
TITLES = {"sgd": "SGD", "momentum": "momentum 0.9", "nesterov": "Nesterov 0.9", "adam": "Adam", "adamw": "AdamW"}
HIDDEN, BATCH = (128, 64), 64
ROWS, EPOCHS = 6000, 4  # of a training
RATES = tuple(float(f"{10 ** (k / 2):.1e}") for k in range(-10, 1))  # 1e-5 to 1, two a decade
USEFUL = 0.4  # nats: a rate whose last epoch has a mean training loss below this has trained
NEAR = 2.0  # times a rule's own best loss: the other measure, which does not favour the rule that is ahead
CLEAR = 2  # rates: a count that is one higher is another seed's equal
USUAL = {"sgd": 0.1, "momentum": 0.01, "nesterov": 0.01, "adam": 1e-3, "adamw": 1e-3}
STEPS, SCALE, LAYER = 120, 100.0, "2.weight"  # LAYER: between the hidden layers, its steps are measured
QUANTILES = (0.1, 0.5, 0.9)
SHOWN = 1  # the start on the quadratic whose path is drawn
TITLE = "What differs between SGD and Adam?"
ALIKE = 1.1  # a quotient of steps on the quadratic below this is no difference
FIRST = 20  # steps in which bias correction is looked at


class UncorrectedAdam(Adam):
    """m ← β₁m + (1 - β₁)g;  v ← β₂v + (1 - β₂)g²;  p ← p - lr m / (√v + ε): Adam as it is often quoted.

    Without bias correction and weight decay. Source: the rule of Kingma and Ba, ICLR 2015, less two of its lines.
    """

    def _update(self, state: dict[str, Any], group: dict[str, Any], p: Array, g: Array) -> None:
        if not state:
            state.update(step=0, exp_avg=np.zeros_like(p), exp_avg_sq=np.zeros_like(p))
        state["step"] += 1
        m, v, (beta1, beta2) = state["exp_avg"], state["exp_avg_sq"], group["betas"]
        m[...] = beta1 * m + (1 - beta1) * g
        v[...] = beta2 * v + (1 - beta2) * g * g
        p -= group["lr"] * m / (np.sqrt(v) + group["eps"])


def measure(seed: int = 0) -> dict[str, Any]:
    """Numbers, and under "series" the arrays that the figures show."""
    data, _ = mnist()
    data = data[np.random.default_rng(seed).permutation(len(data))[:ROWS]]
    numbers: dict[str, float] = {}
    series: dict[str, Any] = {"quadratic": {}, "curves": {}, "sweep": {}, "steps": {}, "ends": {}}
    for rule in RULES:
        _sweep(rule, data, seed, numbers, series)
        _step_sizes(rule, data, seed, numbers, series)
        _quadratic(rule, numbers, series)
    _bias_correction(data, seed, numbers, series)
    return {**numbers, "series": series}


def _model(seed: int, data: Dataset) -> nn.MLP:
    """The same weights whenever it is called."""
    nn.manual_seed(seed)
    return nn.MLP(data.n_features, HIDDEN, data.classes)


def _sweep(rule: str, data: Dataset, seed: int, numbers: dict[str, float], series: dict[str, Any]) -> None:
    """A training for each learning rate."""
    curves = []
    for rate in RATES:
        model = _model(seed, data)
        history = fit(
            model, data, optimizer=RULES[rule](model.parameters(), lr=rate),
            epochs=EPOCHS, batch_size=BATCH, seed=seed, progress=False,
        )  # fmt: skip
        losses = history.column("train_loss")
        curves.append(losses + [math.inf] * (EPOCHS - len(losses)))
    final = np.nan_to_num([curve[-1] for curve in curves], nan=math.inf)
    best = int(final.argmin())
    numbers[f"{rule}_best_rate"], numbers[f"{rule}_best_loss"] = RATES[best], float(final[best])
    numbers[f"{rule}_trains"] = float((final < USEFUL).sum())
    numbers[f"{rule}_near"] = float((final <= NEAR * final[best]).sum()) if np.isfinite(final[best]) else 0.0
    series["sweep"][rule], series["curves"][rule] = final, curves[best]


def train_steps(
    model: nn.Module, optimizer: Optimizer, data: Dataset, seed: int, count: int, scale: float = 1.0
) -> Any:
    """Train on the graph with `scale` times the loss; yields (loss, step of the weights of LAYER) `count` times."""
    rng, passes = np.random.default_rng((seed, 1)), -(-count * BATCH // len(data))
    order = np.concatenate([rng.permutation(len(data)) for _ in range(passes)])
    weight = dict(model.named_parameters())[LAYER]
    for x, labels in batches(data, order, [BATCH] * count, np.float32):
        loss = ops.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        (loss * scale).backward()
        before = weight.data.copy()
        optimizer.step()
        yield loss.item(), weight.data - before


def _step_sizes(rule: str, data: Dataset, seed: int, numbers: dict[str, float], series: dict[str, Any]) -> None:
    """Quantiles of |step| over the weights of one layer, step by step, for the loss and for SCALE times the loss."""
    firsts = []
    for scale, word in ((1.0, "plain"), (SCALE, "scaled")):
        model = _model(seed, data)
        weight = dict(model.named_parameters())[LAYER]
        optimizer, quantiles, losses = RULES[rule](model.parameters(), lr=USUAL[rule]), [], []
        for loss, steps in train_steps(model, optimizer, data, seed, STEPS, scale):
            losses.append(loss)
            size = np.abs(steps[weight.grad != 0])  # a unit that is 0 for the whole batch has no gradient
            quantiles.append(np.quantile(size, QUANTILES) if size.size else [math.nan] * 3)
        series["steps"][rule, word] = np.array(quantiles)
        last = weight.grad
        assert last is not None
        series["ends"][rule, word] = "" if last.any() else "all units dead"
        if not np.isfinite(last).all():
            series["ends"][rule, word] = "no number"
        firsts.append(quantiles[0][1])
        loss = float(np.mean(losses[-20:]))
        numbers[f"{rule}_{word}_loss"] = loss if math.isfinite(loss) else math.inf
    numbers[f"{rule}_scaled_step_ratio"] = float(firsts[1] / firsts[0])
    low, middle, high = np.median(series["steps"][rule, "plain"][-50:], axis=0)
    numbers[f"{rule}_step"], numbers[f"{rule}_spread"] = float(middle), float(high / low)


def _quadratic(rule: str, numbers: dict[str, float], series: dict[str, Any]) -> None:
    """The best rate along the axes and turned; what the rate that is best along the axes does on the turned one."""
    for place, angle in quadratic.PLACES.items():
        points = quadratic.paths(RULES[rule], angle)
        counts = quadratic.steps_needed(points)
        best = int(np.argmin(counts))
        numbers[f"{rule}_steps_{place}"], numbers[f"{rule}_rate_{place}"] = float(counts[best]), quadratic.RATES[best]
        series["quadratic"][rule, place] = points[:, best, SHOWN]
    before = quadratic.RATES.index(numbers[f"{rule}_rate_aligned"])
    numbers[f"{rule}_steps_same_rate"] = float(counts[before])


def correction_ratio(t: Array, beta1: float = 0.9, beta2: float = 0.999) -> Array:
    """(1 - β₁ᵗ) / √(1 - β₂ᵗ): the step t of Adam without bias correction over that with it, for the same gradients."""
    return (1 - beta1**t) / np.sqrt(1 - beta2**t)


def _bias_correction(data: Dataset, seed: int, numbers: dict[str, float], series: dict[str, Any]) -> None:
    """Both rules on one sequence of gradients, that of Adam's training; then each in a training of its own."""
    model = _model(seed, data)
    adam = Adam(model.parameters(), lr=1e-3)
    twin = Parameter(model.state_dict()[LAYER].astype(np.float64))
    uncorrected, ratios = UncorrectedAdam([twin], lr=1e-3), []
    weight = dict(model.named_parameters())[LAYER]
    exact = Parameter(weight.data.astype(np.float64))  # a step of float32 weights is rounded to their last digit
    corrected = Adam([exact], lr=1e-3)
    for _ in train_steps(model, adam, data, seed, FIRST):
        assert weight.grad is not None
        sizes = []
        for parameter, optimizer in ((twin, uncorrected), (exact, corrected)):
            before = parameter.data.copy()
            parameter.grad = weight.grad.astype(np.float64)
            optimizer.step()
            sizes.append(np.abs(parameter.data - before))
        moved = sizes[1] > 0
        ratios.append(float(np.median(sizes[0][moved] / sizes[1][moved])))
    equation = correction_ratio(np.arange(1, FIRST + 1))
    series["ratios"], series["equation"] = np.array(ratios), equation
    for t in (1, FIRST):
        numbers[f"ratio_step_{t}"], numbers[f"ratio_step_{t}_equation"] = ratios[t - 1], float(equation[t - 1])
    for rate, word in ((1e-3, "usual"), (1e-2, "large")):
        for kind, name in ((Adam, "corrected"), (UncorrectedAdam, "uncorrected")):
            model = _model(seed, data)
            losses = [loss for loss, _ in train_steps(model, kind(model.parameters(), lr=rate), data, seed, FIRST + 5)]
            numbers[f"{name}_{word}_loss"] = float(np.mean(losses[FIRST:]))  # of the five batches after the first 20


def conclude(numbers: dict[str, float]) -> tuple[str, ...]:
    """Four sentences: the gradient's scale; the learning rate; curvature; bias correction."""
    return _about_scale(numbers), _about_rates(numbers), _about_curvature(numbers), _about_correction(numbers)


def _about_scale(n: dict[str, float]) -> str:
    sgd, adam = n["sgd_scaled_step_ratio"], n["adam_scaled_step_ratio"]
    said = (
        f"A loss times {SCALE:.0f} makes the first step of SGD {sgd:,.2f} times as long and that of Adam {adam:,.2f} "
    )
    said += f"times; {STEPS} steps end at a loss of {n['sgd_plain_loss']:.2f} and, times {SCALE:.0f}, "
    said += f"{_loss(n['sgd_scaled_loss'])} with SGD, {n['adam_plain_loss']:.2f} and {_loss(n['adam_scaled_loss'])} "
    said += "with Adam: "
    if 0.5 <= adam <= 2 and not 0.5 <= sgd <= 2:
        return said + "Adam divides by the size of the gradients, so their scale hardly changes its steps."
    if 0.5 <= adam <= 2:
        return said + "the scale of the gradients hardly changes the steps of either."
    return said + "here Adam's steps depend on the scale of the gradients."


def _about_rates(n: dict[str, float]) -> str:
    said = (
        f"Of {len(RATES)} learning rates from 1e-5 to 1, {n['adam_trains']:.0f} end below a loss of {USEFUL} with Adam "
    )
    said += f"and {n['sgd_trains']:.0f} with SGD, and within {NEAR:g} times the rule's own best loss "
    said += f"{n['adam_near']:.0f} and {n['sgd_near']:.0f}: {_about_sensitivity(n)}; "
    sgd, momentum, adam = (n[f"{rule}_best_loss"] for rule in ("sgd", "momentum", "adam"))
    said += f"at its best rate ({n['adam_best_rate']:.2g}) Adam ends at {adam:.3f}, SGD ({n['sgd_best_rate']:.2g}) at "
    said += f"{sgd:.3f} and momentum ({n['momentum_best_rate']:.2g}) at {momentum:.3f}: "
    if not sgd - adam > 0:  # NaN too
        return said + "with tuned rates Adam gains nothing here."
    if sgd - momentum >= 0.5 * (sgd - adam):
        return said + "at least half of what Adam gains over SGD, momentum gains too."
    return said + "momentum gains less than half of what Adam gains over SGD."


def _about_sensitivity(n: dict[str, float]) -> str:
    """Which rule takes more rates, by both measures; a lead of one rate is none."""
    leads = [n[f"adam_{measure}"] - n[f"sgd_{measure}"] for measure in ("trains", "near")]
    ahead = ["Adam" if lead >= CLEAR else "SGD" if lead <= -CLEAR else "neither" for lead in leads]
    if ahead[0] != ahead[1]:
        return f"by the first measure {ahead[0]} is ahead by more than one rate, by the second {ahead[1]}"
    return f"by both measures {ahead[0]} is ahead by more than one rate"


def _about_curvature(n: dict[str, float]) -> str:
    sgd, momentum, adam = (n[f"{rule}_steps_aligned"] for rule in ("sgd", "momentum", "adam"))
    same, turned = n["adam_steps_same_rate"], n["adam_steps_turned"]
    flat, steep = quadratic.CURVATURES
    said = (
        f"On an ellipse of curvatures {flat:g} and {steep:g}, at the best of {len(quadratic.RATES)} rates, 1/1000 of "
    )
    said += f"the distance is reached after {_count(sgd)} steps with SGD, {_count(momentum)} with momentum and "
    said += (
        f"{_count(adam)} with Adam: momentum {_speed(momentum, sgd)} than SGD, whose rate the steep direction keeps "
    )
    said += (
        f"below {2 / steep:g}; turned by 45°, Adam needs {_count(same)} steps at the same rate and {_count(turned)} "
    )
    said += "at its best there: "
    if 1 / ALIKE <= same / adam <= ALIKE and 1 / ALIKE <= turned / adam <= ALIKE:
        return said + "turning hardly changes it."
    if same > ALIKE * adam and turned <= ALIKE * adam:
        return said + "it works by coordinate, so turning changes it, and another rate makes up for that."
    if turned > ALIKE * adam:
        return said + "it works by coordinate, and turning makes it slower at any rate."
    return said + "turning makes it no slower."


def _speed(steps: float, others: float) -> str:
    if not math.isfinite(steps) or not math.isfinite(others):
        return "is faster" if steps < others else "is slower" if steps > others else "is no faster"
    return "is faster" if steps * ALIKE < others else "is slower" if steps > others * ALIKE else "is no faster"


def _about_correction(n: dict[str, float]) -> str:
    first, last = n["ratio_step_1"], n[f"ratio_step_{FIRST}"]
    said = f"Without bias correction Adam's step 1 is {first:.2f} times as long and step {FIRST} {last:.2f} times "
    said += f"(by the equations {n['ratio_step_1_equation']:.2f} and {n[f'ratio_step_{FIRST}_equation']:.2f}): "
    if first > 1 and last > 1:
        said += "left out, the first steps are too long, not too short; "
    elif first < 1 and last < 1:
        said += "left out, the first steps are too short; "
    else:
        said += "left out, the first steps are too short at one time and too long at another; "
    usual, large = (
        _compared(n[f"uncorrected_{word}_loss"], n[f"corrected_{word}_loss"]) for word in ("usual", "large")
    )
    return said + f"the loss after {FIRST} steps is then {usual} with a learning rate of 0.001 and {large} with 0.01."


def _compared(without: float, corrected: float) -> str:
    word = ""
    if math.isfinite(without) and math.isfinite(corrected):
        more = round(without, 2) - round(corrected, 2)
        word = "higher, " if more > 0 else "lower, " if more < 0 else "equal, "
    return f"{word}{_loss(without)} (with correction {_loss(corrected)})"


def _loss(value: float) -> str:
    return f"{value:.2f}" if value < 1000 else "no number" if not math.isfinite(value) else f"{value:.1e}"


def _count(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else f"more than {quadratic.MOST}"


def table(numbers: dict[str, float]) -> str:
    """A line a rule, and two lines about bias correction."""
    n = numbers
    last = f"ratio_step_{FIRST}"
    lines = [
        f"{'':14}{'training':^31}{'one step of a weight':^32}{'quadratic, steps':^22}",
        f"{'':14}{'best rate':>10}{'loss':>8}{'train':>6}{'near':>6}{'median':>10}{'90 % / 10 %':>12}{'loss x100':>10}"
        f"{'aligned':>9}{'turned':>7}{'same':>6}",
    ]
    for rule, title in TITLES.items():
        lines.append(
            f"{title:14}{n[f'{rule}_best_rate']:10.2g}{n[f'{rule}_best_loss']:8.4f}{n[f'{rule}_trains']:6.0f}"
            f"{n[f'{rule}_near']:6.0f}{n[f'{rule}_step']:10.1e}{n[f'{rule}_spread']:12.1f}"
            f"{n[f'{rule}_scaled_step_ratio']:9.2f}x{n[f'{rule}_steps_aligned']:9.0f}{n[f'{rule}_steps_turned']:7.0f}"
            f"{n[f'{rule}_steps_same_rate']:6.0f}"
        )
    lines += [
        "",
        f"784-128-64-10 on {ROWS:,} rows, {EPOCHS} epochs, batches of {BATCH}; loss: mean of the last epoch, nats.",
        f"train: how many of {len(RATES)} rates from 1e-5 to 1, two a decade, end below {USEFUL}; near: within",
        f"{NEAR:g} times the rule's best loss. Steps: of the 8,192 weights between the hidden layers, those with a",
        "gradient, at the usual rate (SGD 0.1, momentum 0.01, Adam 0.001); x100: step 1.",
        f"quadratic: curvatures 1 and 50, until |p| is 1/1000 of the start's, at the best of {len(quadratic.RATES)}",
        "rates; same: turned by 45 degrees, at the rate that is best aligned. AdamW's decay pulls to 0, the",
        "minimum.",
        "",
        "Adam's step without / with bias correction:",
        f"    step 1: {n['ratio_step_1']:.3f}, by the equations {n['ratio_step_1_equation']:.3f}",
        f"    step {FIRST}: {n[last]:.3f}, by the equations {n[last + '_equation']:.3f}",
    ]
    return "\n".join(lines)


def tolerance(name: str, value: float) -> float:
    """How far another machine may be: its vectors add up in another order, and a training carries that on."""
    if name.endswith("_equation"):
        return 1e-9
    if name.endswith(("_aligned", "_turned", "_same_rate")):  # a step or two; the neighbour on the grid of rates
        return 0.4 * value if "_rate_" in name else 2.0
    if "ratio_step" in name:
        return 1e-3
    if name.endswith(("_best_rate", "_trains", "_near")):
        return value * 2.2 if name.endswith("_best_rate") else 1.0  # the neighbour on the grid of rates
    return 0.1 * abs(value) if math.isfinite(value) else 0.0


def draw(measured: dict[str, Any]) -> dict[str, Figure]:
    """Three figures: trainings, step sizes, paths."""
    series = measured["series"]
    return {
        "optimizers_training": draw_training(series, TITLES, RATES, USEFUL),
        "optimizers_steps": draw_steps(series, TITLES, USUAL, SCALE),
        "optimizers_paths": draw_paths(series, measured, TITLES),
    }
