"""Overfitting by training set size and by width, and what early stopping, weight decay and dropout give back.

Every net has one hidden layer of ReLU and takes batches of 100 rows with a learning rate of 0.002 (Adam; AdamW where
weights decay). Training rows are the first of a shuffled MNIST.

    sizes      784-128-10 on 100 to 60,000 rows: 6,000 steps, which are 10 epochs of 60,000 rows, or 100 epochs where
               that is less; by then every one of few rows is learned
    widths     784-W-10 for W from 8 to 1,024 on 1,000 rows, 30 epochs
    remedies   784-128-10 on 1,000 rows, 30 epochs, three seeds: other weights and other rows. 1,000 more rows are held
               out to see the losses of each epoch; early stopping alone uses them

Errors and losses of the end are of all training rows and of the 10,000 test rows, in evaluation mode. Dropout has
p = 0.5, as in its paper. The weight decay λ = 1 has the lowest held-out loss of 0.3, 1 and 3.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from .. import data, nn, optim
from ..data import Dataset
from ..show.plots.style import LETTERS, frame, new_figure, palette, styled
from ..training.diagnosis import diagnose
from ..training.history import History
from ..training.stopping import EarlyStopping
from ..training.train import evaluate, fit

SIZES = (100, 300, 1_000, 3_000, 10_000, 30_000, 60_000)
WIDTHS = (8, 16, 32, 64, 128, 256, 512, 1024)
WIDTH, SMALL, BATCH, LR = 128, 1_000, 100, 2e-3
SIZE_STEPS, SIZE_EPOCHS, EPOCHS, SEEDS, PATIENCE = 6_000, 100, 30, 3, 5
DROPOUT, DECAY = 0.5, 1.0
BY_HEART = 1.0  # percent: a training error below this
CHANCE = 0.5  # points of error: nets of other seeds differ by as much
ARMS = {
    "plain": "no remedy",
    "stopping": "early stopping",
    "decay": "weight decay",
    "dropout": "dropout",
    "all": "all three",
}
TITLE = "How do I see overfitting, and what helps?"


def measure(seed: int = 0) -> dict[str, Any]:
    """Train all the nets; numbers by flat names, and `histories`: (remedy, History) of the first seed."""
    train, test = data.mnist()
    found: dict[str, Any] = {}
    order = np.random.default_rng(seed).permutation(len(train))
    for size in SIZES:
        rows = train[order[:size]]
        model, _ = _train(rows, WIDTH, min(SIZE_STEPS * BATCH // size, SIZE_EPOCHS), seed)
        found |= _errors(f"size_{size}", model, rows, test)
    for width in WIDTHS:
        model, _ = _train(train[order[:SMALL]], width, EPOCHS, seed)
        found |= _errors(f"width_{width}", model, train[order[:SMALL]], test)
    return found | _remedies(train, test, seed)


def _train(
    rows: Dataset, width: int, epochs: int, seed: int, arm: str = "plain", held: Dataset | None = None
) -> tuple[nn.Module, History]:
    """A net trained with what the remedy `arm` adds."""
    nn.manual_seed(seed)
    model = nn.MLP(rows.n_features, (width,), rows.classes, dropout=DROPOUT if arm in ("dropout", "all") else 0)
    decays = arm in ("decay", "all")
    optimizer = (
        optim.AdamW(model.parameters(), LR, weight_decay=DECAY) if decays else optim.Adam(model.parameters(), LR)
    )
    callbacks = [EarlyStopping(patience=PATIENCE)] if arm in ("stopping", "all") else []
    return model, fit(model, rows, held, optimizer, epochs, BATCH, seed, progress=False, callbacks=callbacks)


def _errors(name: str, model: nn.Module, rows: Dataset, test: Dataset) -> dict[str, float]:
    """Errors in percent, their gap in points, losses in nats, on the training rows and on the test rows."""
    seen, new = evaluate(model, rows), evaluate(model, test)
    return {
        f"{name}_train_error": 100 * (1 - seen.accuracy),
        f"{name}_test_error": 100 * (1 - new.accuracy),
        f"{name}_gap": 100 * (seen.accuracy - new.accuracy),
        f"{name}_train_loss": seen.loss,
        f"{name}_test_loss": new.loss,
    }


def _remedies(train: Dataset, test: Dataset, seed: int) -> dict[str, Any]:
    """The mean of each number over the seeds, in how many the remedy is better than none, and what diagnose says."""
    runs: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    histories: dict[str, list[History]] = {arm: [] for arm in ARMS}
    for k in range(seed, seed + SEEDS):
        order = np.random.default_rng(k).permutation(len(train))
        rows, held = train[order[:SMALL]], train[order[SMALL : 2 * SMALL]]
        for arm in ARMS:
            model, history = _train(rows, WIDTH, EPOCHS, k, arm, held)
            runs[arm].append(_errors(arm, model, rows, test))
            histories[arm].append(history)
    found: dict[str, Any] = {}
    for arm in ARMS:
        found |= {name: float(np.mean([run[name] for run in runs[arm]])) for name in runs[arm][0]}
        for what in ("test_error", "test_loss"):
            pairs = zip(runs[arm], runs["plain"], strict=True)
            found[f"{arm}_{what}_better"] = float(sum(a[f"{arm}_{what}"] < b[f"plain_{what}"] for a, b in pairs))
        found[f"{arm}_epochs"] = float(np.mean([len(history) for history in histories[arm]]))
    diagnoses = [diagnose(history) for history in histories["plain"]]
    found["plain_overfits"] = float(sum(diagnosis.kind == "overfits" for diagnosis in diagnoses))
    found["plain_best_epoch"] = float(np.mean([diagnosis.best_epoch for diagnosis in diagnoses]))
    found["plain_rise"] = float(np.mean([diagnosis.rise for diagnosis in diagnoses]))
    found["histories"] = {arm: histories[arm][0] for arm in ARMS}
    found["seeds"] = {arm: np.array([run[f"{arm}_test_error"] for run in runs[arm]]) for arm in ARMS}
    return found


def conclude(numbers: dict[str, float]) -> tuple[str, ...]:
    """Three sentences: what size does, what width does, what the remedies give back."""
    return _of_sizes(numbers), _of_widths(numbers), _of_remedies(numbers)


def _of_sizes(n: dict[str, float]) -> str:
    first, last = (f"size_{size}" for size in (SIZES[0], SIZES[-1]))
    gaps = [n[f"size_{size}_gap"] for size in SIZES]
    errors = f"test error goes from {n[first + '_test_error']:.1f} to {n[last + '_test_error']:.1f} %"
    gap = f"from {gaps[0]:.1f} to {gaps[-1]:.1f} points"
    if all(a > b for a, b in pairwise(gaps)):
        verdict = f"the gap to training error shrinks with every step, {gap}: more data is less overfitting"
    elif gaps[-1] < gaps[0]:
        verdict = f"the gap to training error shrinks {gap}, though not with every step"
    else:
        verdict = f"the gap to training error does not shrink, {gap}: more data did not help against overfitting"
    return f"From {SIZES[0]:,} to {SIZES[-1]:,} training rows {errors}, and {verdict}."


def _of_widths(n: dict[str, float]) -> str:
    errors = [n[f"width_{width}_test_error"] for width in WIDTHS]
    best = int(np.argmin(errors))
    seen = f"{n[f'width_{WIDTHS[0]}_train_error']:.1f} to {n[f'width_{WIDTHS[-1]}_train_error']:.1f} %"
    said = f"On {SMALL:,} rows, from width {WIDTHS[0]} to {WIDTHS[-1]:,}, training error goes from {seen}"
    gaps = [n[f"width_{width}_test_error"] - n[f"width_{width}_train_error"] for width in WIDTHS]
    if errors[-1] - errors[best] <= CHANCE:
        learns = "learns the rows by heart and is" if n[f"width_{WIDTHS[-1]}_train_error"] < BY_HEART else "is"
        place = "the lowest of all" if best == len(WIDTHS) - 1 else f"within {CHANCE} points of the lowest"
        verdict = (
            f"and test error from {errors[0]:.1f} to {errors[-1]:.1f} %, {place}: "
            f"a wider net {learns} no worse on new ones"
        )
    else:
        fails = "overfits more" if gaps[-1] - gaps[best] > CHANCE else "trains worse"
        verdict = (
            f"while test error is lowest at width {WIDTHS[best]:,}, {errors[best]:.1f} %, and {errors[-1]:.1f} % at "
            f"the widest: beyond that width the net {fails}"
        )
    return f"{said}, {verdict}."


def _of_remedies(n: dict[str, float]) -> str:
    said = (
        f"{n['plain_overfits']:.0f} of {SEEDS} runs of {EPOCHS} epochs on {SMALL:,} rows are diagnosed as overfitting, "
        f"with a test loss of {n['plain_test_loss']:.2f} nats and a test error of {n['plain_test_error']:.1f} %"
    )
    changes = []
    for arm, name in list(ARMS.items())[1:]:
        loss, error = (n[f"{arm}_{what}"] - n[f"plain_{what}"] for what in ("test_loss", "test_error"))
        changes.append(f"{name} by {loss:+.2f} and {error:+.2f}")
    lower = [_which(n, what) for what in ("test_loss", "test_error")]
    said += f". Loss and error change with {', '.join(changes)}"
    return f"{said}; every seed has a lower loss with {lower[0]}, a lower error with {lower[1]}."


def _which(n: dict[str, float], what: str) -> str:
    """The remedies with which this number is lower for every seed, in words."""
    names = [name for arm, name in ARMS.items() if arm != "plain" and n[f"{arm}_{what}_better"] == SEEDS]
    if len(names) < 2:
        return names[0] if names else "none of them"
    return f"{', '.join(names[:-1])} and {names[-1]}"


def table(numbers: dict[str, float]) -> str:
    """Three tables: by size, by width, by remedy. Errors in percent, gap in points, losses in nats."""
    head = f"{'train error':>12}{'test error':>12}{'gap':>8}{'train loss':>12}{'test loss':>12}"
    lines = [f"{'rows':>14}{head}    784-{WIDTH}-10"]
    lines += [f"{size:>14,}{_row(numbers, f'size_{size}')}" for size in SIZES]
    lines += ["", f"{'width':>14}{head}    {SMALL:,} rows, {EPOCHS} epochs"]
    lines += [f"{width:>14,}{_row(numbers, f'width_{width}')}" for width in WIDTHS]
    lines += ["", f"{'remedy':>14}{head}{'epochs':>8}    means of {SEEDS} seeds"]
    lines += [f"{name:>14}{_row(numbers, arm)}{numbers[arm + '_epochs']:>8.1f}" for arm, name in ARMS.items()]
    return "\n".join(lines)


def _row(n: dict[str, float], name: str) -> str:
    seen, new, gap = (n[f"{name}_{what}"] for what in ("train_error", "test_error", "gap"))
    return f"{seen:>10.2f} %{new:>10.2f} %{gap:>8.2f}{n[name + '_train_loss']:>12.4f}{n[name + '_test_loss']:>12.4f}"


def draw(found: dict[str, Any]) -> dict[str, Any]:
    """Two figures: errors by size and by width; losses of the remedies over the epochs, and their test errors."""
    return {"overfitting-size-width": _draw_errors(found), "overfitting-remedies": _draw_remedies(found)}


@styled
def _draw_errors(found: dict[str, Any]) -> Any:
    colours = palette()
    figure = new_figure(6.6)
    panels = (("size", SIZES, f"784-{WIDTH}-10: training rows"), ("width", WIDTHS, f"{SMALL:,} rows: hidden width"))
    for ax, (name, values, title) in zip(figure.subplots(2, 1), panels, strict=True):
        frame(ax)
        seen, new = ([found[f"{name}_{v}_{what}_error"] for v in values] for what in ("train", "test"))
        ax.fill_between(values, seen, new, color=colours.muted, alpha=0.18, lw=0, label="gap")
        ax.plot(values, new, "s-", color=colours.held_out, lw=2.2, ms=5, label="test")
        ax.plot(values, seen, "o-", color=colours.train, lw=2.2, ms=5, label="training")
        ax.set_xscale("log", base=2 if name == "width" else 10)
        ax.set_xticks(values, [f"{v / 1000:g}k" if v >= 1000 and name == "size" else str(v) for v in values])
        ax.minorticks_off()
        ax.set(xlabel=title, ylabel="error (%)")
        ax.set_ylim(bottom=0)
        ax.legend()
    return figure


@styled
def _draw_remedies(found: dict[str, Any]) -> Any:
    colours = palette()
    figure = new_figure(7.4)
    above, below = (frame(ax) for ax in figure.subplots(2, 1, height_ratios=(3, 2)))
    inks = dict(zip(ARMS, (colours.held_out, *colours.layers[2:4], colours.ink, colours.muted), strict=True))
    plain = found["histories"]["plain"]
    above.plot(
        plain.column("epoch"), plain.column("train_loss"), "--", color=colours.train, lw=2, label="training, no remedy"
    )
    for arm in ("plain", "decay", "dropout"):
        history = found["histories"][arm]
        above.plot(history.column("epoch"), history.column("validation_loss"), color=inks[arm], lw=2.2, label=ARMS[arm])
    held = plain.column("validation_loss")
    best = int(np.argmin(held))
    above.plot(plain[best].epoch, held[best], "o", ms=13, mfc="none", mec=inks["stopping"], mew=2.2)
    above.plot([], [], "o", ms=9, mfc="none", mec=inks["stopping"], mew=2.2, label="early stopping")
    above.set(xlabel="epoch", ylabel="loss (nats)", title=f"Loss of held-out rows; {SMALL:,} training rows")
    above.set_ylim(0, 1.6 * held[-1])
    above.legend(ncols=2, loc="upper right", fontsize=LETTERS - 2.5, handlelength=1.2, columnspacing=1, borderaxespad=0)
    for y, arm in enumerate(reversed(ARMS)):
        below.plot(found["seeds"][arm], [y] * SEEDS, "o", color=inks[arm], ms=6, alpha=0.75)
        below.plot(found[f"{arm}_test_error"], y, "|", color=inks[arm], ms=22, mew=3)
    below.set_yticks(range(len(ARMS)), list(ARMS.values())[::-1])
    below.set_ylim(-0.6, len(ARMS) - 0.4)
    below.set(xlabel=f"test error (%): {SEEDS} seeds, and their mean")
    return figure


def tolerance(name: str, value: float) -> float:
    """How far a rerun on another machine may be: its sums are rounded in another order, so the nets differ.

    Measured with initial weights that are off by a factor of 1 ± 1e-6: errors differ by at most 0.14 points and losses
    by 0.0044 nats, most of them by nothing. The tolerances are three times that, or more.
    """
    if name.endswith("_loss") or name == "plain_rise":
        return 0.02
    if name.endswith(("_better", "_overfits")):
        return 1.0
    return 3.0 if name.endswith(("_epochs", "_epoch")) else 0.5
