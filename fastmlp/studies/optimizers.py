"""What differs between SGD and Adam? Five update rules from the same weights, on the same batches."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import nn, ops
from ..arithmetic import matmul
from ..data import Dataset, mnist
from ..graph import Array, Parameter, Tensor
from ..optim import SGD, Adam, AdamW, Optimizer
from ..train import batches, fit

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
USUAL = {"sgd": 0.1, "momentum": 0.01, "nesterov": 0.01, "adam": 1e-3, "adamw": 1e-3}
STEPS, SCALE, LAYER = 120, 100.0, "2.weight"  # LAYER: between the hidden layers, its steps are measured
QUANTILES = (0.1, 0.5, 0.9)
CURVATURES, REACHED, MOST = (1.0, 50.0), 1e-3, 150
ANGLES = (np.arange(16) + 0.5) * math.pi / 8  # starts around the minimum, at the same distance
SHOWN = 1  # the start whose path is drawn
QUADRATIC_RATES = tuple(float(f"{10 ** (k / 4):.1e}") for k in range(-10, 1))  # 3.2e-3 to 1, four a decade
TITLE = "What differs between SGD and Adam?"
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
    series: dict[str, Any] = {"quadratic": {}, "curves": {}, "sweep": {}, "steps": {}}
    for rule in RULES:
        _sweep(rule, data, seed, numbers, series)
        _step_sizes(rule, data, seed, numbers, series)
        for place, angle in (("aligned", 0.0), ("rotated", math.pi / 4)):
            runs = [quadratic_paths(rule, rate, angle) for rate in QUADRATIC_RATES]
            counts = [steps_needed(paths, angle) for paths in runs]
            best = int(np.argmin(counts))
            numbers[f"{rule}_steps_{place}"] = counts[best]
            numbers[f"{rule}_rate_{place}"] = QUADRATIC_RATES[best]
            series["quadratic"][rule, place] = runs[best][:, SHOWN]
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
    numbers[f"{rule}_decades"] = 0.5 * int((final < USEFUL).sum())
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
        firsts.append(quantiles[0][1])
        loss = float(np.mean(losses[-20:]))
        numbers[f"{rule}_{word}_loss"] = loss if math.isfinite(loss) else math.inf
    numbers[f"{rule}_scaled_step_ratio"] = float(firsts[1] / firsts[0])
    low, middle, high = np.median(series["steps"][rule, "plain"][-50:], axis=0)
    numbers[f"{rule}_step"], numbers[f"{rule}_spread"] = float(middle), float(high / low)


def quadratic_paths(rule: str, lr: float, angle: float) -> Array:
    """Points (MOST + 1, starts, 2) of `rule` on  f(p) = ½ Σ λ u²,  u = p Rᵀ:  an ellipse, turned by `angle`.

    All starts in one array: each rule treats every number by itself, so they do not touch each other.
    """
    turn = _turn(angle)
    p = Parameter(np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1) @ turn)
    optimizer, points = RULES[rule]([p], lr=lr), [p.data.copy()]
    across, curvatures = Tensor(turn.T.copy()), Tensor(np.array([CURVATURES]))
    for _ in range(MOST):
        u = matmul(p, across)
        loss = (u * u * curvatures).sum() * 0.5
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        points.append(p.data.copy())
        if not np.abs(p.data).max() < 1e6:  # NaN too: it diverges
            points += [np.full(p.shape, np.inf)] * (MOST + 1 - len(points))
            break
    return np.array(points)


def _turn(angle: float) -> Array:
    return np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])


def quadratic_values(paths: Array, angle: float) -> Array:
    """f at each point of the paths; infinite where they are."""
    finite: Any = np.isfinite(paths).all(axis=-1)
    u = np.where(finite[..., None], paths, 0) @ _turn(angle).T
    return np.where(finite, 0.5 * (u * u * CURVATURES).sum(axis=-1), np.inf)


def steps_needed(paths: Array, angle: float) -> float:
    """Steps after which f is below REACHED of its start, and stays there: the median start; infinite where never."""
    values = quadratic_values(paths, angle)
    above = ~(values <= REACHED * values[0])  # NaN is not below
    last = len(above) - 1 - above[::-1].argmax(axis=0)
    return float(np.median(np.where(last < len(above) - 1, last + 1.0, np.inf)))


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
    """Three sentences: the gradient's scale; learning rate and curvature; bias correction."""
    return _about_scale(numbers), _about_rates(numbers), _about_correction(numbers)


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
    sgd, adam = n["sgd_decades"], n["adam_decades"]
    wider = "as many as" if sgd == adam else "more than" if adam > sgd else "fewer than"
    said = (
        f"With 5 decades of learning rates from 1e-5 to 1, Adam trains below a loss of {USEFUL} on {adam:g} of them, "
    )
    said += f"{wider} SGD ({sgd:g}); the best rate is {n['adam_best_rate']:.2g} for Adam and {n['sgd_best_rate']:.2g} "
    said += f"for SGD, and with its best, the final loss is {n['adam_best_loss']:.3f} with Adam, "
    said += f"{n['sgd_best_loss']:.3f} with SGD and {n['momentum_best_loss']:.3f} with momentum: "
    if n["momentum_best_loss"] <= 1.25 * n["adam_best_loss"] < n["sgd_best_loss"]:
        return said + "most of what Adam gains, momentum with a tuned rate gains too."
    if n["adam_best_loss"] < min(n["sgd_best_loss"], n["momentum_best_loss"]):
        return said + "Adam ends lowest."
    return said + "with tuned rates Adam gains nothing here."


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
    harm = {word: n[f"uncorrected_{word}_loss"] - n[f"corrected_{word}_loss"] for word in ("usual", "large")}
    words = {word: "higher" if more > 0 else "lower" if more < 0 else "equal" for word, more in harm.items()}
    said += f"the loss after {FIRST} steps is then {words['usual']} with a learning rate of 0.001 "
    said += f"({n['uncorrected_usual_loss']:.2f}, with correction {n['corrected_usual_loss']:.2f}) and "
    said += f"{words['large']} with 0.01 ({n['uncorrected_large_loss']:.2f}, {n['corrected_large_loss']:.2f})."
    return said


def _loss(value: float) -> str:
    return f"{value:.2f}" if value < 1000 else "no number" if not math.isfinite(value) else f"{value:.1e}"


def _count(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else f"more than {MOST}"


def table(numbers: dict[str, float]) -> str:
    """A line a rule, and two lines about bias correction."""
    n = numbers
    last = f"ratio_step_{FIRST}"
    lines = [
        f"{'':14}{'training':^27}{'one step of a weight':^34}{'quadratic, steps':^20}",
        f"{'':14}{'best rate':>10}{'loss':>8}{'decades':>9}{'median':>10}{'90 % / 10 %':>13}{'loss x100':>11}"
        f"{'aligned':>10}{'turned':>10}",
    ]
    for rule, title in TITLES.items():
        lines.append(
            f"{title:14}{n[f'{rule}_best_rate']:10.2g}{n[f'{rule}_best_loss']:8.4f}{n[f'{rule}_decades']:9.1f}"
            f"{n[f'{rule}_step']:10.1e}{n[f'{rule}_spread']:13.1f}{n[f'{rule}_scaled_step_ratio']:10.2f}x"
            f"{n[f'{rule}_steps_aligned']:10.0f}{n[f'{rule}_steps_rotated']:10.0f}"
        )
    lines += [
        "",
        f"784-128-64-10 on {ROWS:,} rows, {EPOCHS} epochs, batches of {BATCH}; loss: mean of the last epoch, nats.",
        f"decades: of learning rates from 1e-5 to 1 that end below {USEFUL}. Steps: of the 8,192 weights between",
        "the hidden layers, at the usual rate (SGD 0.1, momentum 0.01, Adam 0.001); x100: step 1.",
        f"quadratic: curvatures 1 and 50, to 1/1000 of the start, the best of {len(QUADRATIC_RATES)} rates.",
        "",
        "Adam's step without / with bias correction:",
        f"    step 1: {n['ratio_step_1']:.3f}, by the equations {n['ratio_step_1_equation']:.3f}",
        f"    step {FIRST}: {n[last]:.3f}, by the equations {n[last + '_equation']:.3f}",
    ]
    return "\n".join(lines)


def tolerance(name: str, value: float) -> float:
    """How far another machine may be: its vectors add up in another order, and a training carries that on."""
    if name.endswith("_equation") or "aligned" in name or "rotated" in name:
        return 1e-9  # float64; the paths are no longer than 300 steps and damped
    if "ratio_step" in name:
        return 1e-3
    if name.endswith(("_best_rate", "_decades")):
        return value * 2.2 if name.endswith("_best_rate") else 0.5  # the neighbour on the grid of rates
    return 0.1 * abs(value) if math.isfinite(value) else 0.0


def draw(measured: dict[str, Any]) -> dict[str, Figure]:
    """Three figures: trainings, step sizes, paths."""
    from .optimizers_figures import draw_paths, draw_steps, draw_training

    series = measured["series"]
    return {
        "optimizers_training": draw_training(series),
        "optimizers_steps": draw_steps(series),
        "optimizers_paths": draw_paths(series, measured),
    }
