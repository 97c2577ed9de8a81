"""`diagnose`: the right kind for made runs of each kind, with noise of many seeds, in sentences that are true."""

import dataclasses
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastmlp as fm
from fastmlp import Epoch, History, diagnose
from fastmlp.training.diagnosis import KINDS, SHORTEST, falling, noise, risen

NAN = math.nan
SEEDS = 50


def history(train, held=None, train_right=0.98, held_right=0.97) -> History:
    """A history of these losses; the accuracies are numbers, or one an epoch."""
    n = len(train)
    held = np.full(n, NAN) if held is None else held
    right = np.broadcast_to(train_right, n), np.broadcast_to(NAN if np.isnan(held).all() else held_right, n)
    columns = zip(train, right[0], held, right[1], strict=True)
    return History([Epoch(i, *(float(c) for c in row), 1.0, 1.0) for i, row in enumerate(columns, 1)])


def run(kind: str, epochs: int, spread: float = 0.0, seed: int = 0) -> History:
    """A run of this kind; each loss is off by a normal factor of so much, training by a third of it."""
    e, rng = np.arange(epochs) / epochs, np.random.default_rng(seed)
    fast, slow = np.exp(-10 * e), np.exp(-1.5 * e)
    losses = {
        "fits": (0.02 + 0.4 * np.exp(-8 * e), 0.08 + 0.35 * fast),
        "overfits": (0.4 * np.exp(-6 * e), 0.08 + 0.35 * fast + 0.1 * np.maximum(0, e - 0.3)),
        "still improving": (0.4 * slow, 0.05 + 0.4 * slow),
        "underfits": (0.9 + 1.4 * np.exp(-15 * e), 1 + 1.4 * np.exp(-15 * e)),
        "diverged": (0.3 + 0.3 * fast + 2 * e**2, 0.3 + 0.3 * fast + 2 * e**2),
        "no validation": (0.02 + 0.4 * fast, np.full(epochs, NAN)),
    }
    train, held = losses[kind]
    right = (0.6, 0.58) if kind in ("underfits", "diverged") else (0.98, 0.97)
    train = train * (1 + spread / 3 * rng.standard_normal(epochs))
    return history(train, held * (1 + spread * rng.standard_normal(epochs)), *right)


MADE = ("fits", "overfits", "still improving", "underfits", "diverged", "no validation")


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("epochs", [10, 13, 20, 50, 200])
def test_a_run_without_noise_is_known(kind, epochs):
    assert diagnose(run(kind, epochs)).kind == kind


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize(("epochs", "spread"), [(12, 0.01), (20, 0.01), (50, 0.02), (100, 0.02)])
def test_a_run_with_noise_is_known_for_every_seed(kind, epochs, spread):
    wrong = {seed: found for seed in range(SEEDS) if (found := diagnose(run(kind, epochs, spread, seed)).kind) != kind}
    assert not wrong


def test_noise_alone_is_neither_a_rise_nor_a_fall():
    """Levels with noise of 0.1 to 10 %: 500 of each length; a normal rule of two deviations is fooled by more."""
    for epochs in (12, 30, 100):
        rng = np.random.default_rng(epochs)
        levels = [1 + 10 ** rng.uniform(-3, -1) * rng.standard_normal(epochs) for _ in range(500)]
        assert sum(risen(y) for y in levels) <= 15  # 3 %: the lowest epoch is left out of the noise
        assert sum(falling(y) for y in levels) <= 10


def test_the_noise_of_normal_numbers_is_their_standard_deviation():
    y = 5 + 0.3 * np.random.default_rng(0).standard_normal(20_000)
    assert noise(y) == pytest.approx(0.3, rel=0.02)  # 10,000 numbers: 1 % is a standard deviation


@pytest.mark.parametrize("y", [np.arange(9.0), 1 / np.arange(1.0, 9), np.full(7, 2.0), np.exp(-np.arange(20.0))])
def test_learning_alone_is_no_noise(y):
    assert noise(y) == 0


# --- the contrary of each sentence -----------------------------------------------------------------------------------


def changed(kind: str, name: str, change) -> str:
    """The kind after one column of a made run was changed."""
    made = run(kind, 20)
    new = change(np.array(made.column(name)))
    return diagnose(
        History([dataclasses.replace(e, **{name: float(v)}) for e, v in zip(made.epochs, new, strict=True)])
    ).kind


def test_a_rise_without_a_training_loss_that_falls_is_no_overfitting():
    assert changed("overfits", "train_loss", lambda y: np.linspace(0.2, 0.21, len(y))) == "diverged"


def test_a_training_loss_that_has_nothing_left_to_lose_counts_as_fallen():
    assert changed("overfits", "train_loss", lambda y: np.full(len(y), 1e-4)) == "overfits"


def test_a_rise_that_is_taken_back_is_no_overfitting():
    hump = lambda y: np.r_[y[:8], y[8:14] * 1.5, np.full(6, y[:8].min())]  # noqa: E731
    assert changed("overfits", "validation_loss", hump) == "fits"


def test_one_epoch_that_sticks_out_is_no_overfitting():
    for place in (-1, -2, 10):
        spike = lambda y: y + np.eye(1, len(y), place % len(y))[0] * 0.05  # noqa: B023, E731
        noisy = lambda y: spike(y) * (1 + 0.02 * np.random.default_rng(0).standard_normal(len(y)))  # noqa: B023, E731
        if place != -1:  # of the last epoch nobody knows yet
            assert changed("fits", "validation_loss", noisy) == "fits"


def test_a_rise_of_less_than_five_percent_does_not_matter():
    rise = lambda share: lambda y: 0.1 + 0.1 * share * np.maximum(0, np.linspace(-0.5, 1, len(y)))  # noqa: E731
    assert changed("overfits", "validation_loss", rise(0.04)) == "fits"
    assert changed("overfits", "validation_loss", rise(0.10)) == "overfits"


def test_a_net_that_is_still_learning_does_not_underfit_yet():
    assert changed("underfits", "train_loss", lambda y: y * np.linspace(1, 0.3, len(y))) == "fits"
    slow = np.exp(-2 * np.linspace(0, 1, 20))
    assert diagnose(history(1 + slow, 1 + 2 * slow, 0.5, 0.5)).kind == "still improving"


@pytest.mark.parametrize("right", [(0.95, 0.6), (0.95, 0.95)])
def test_a_net_that_knows_its_training_rows_does_not_underfit(right):
    made = run("underfits", 20)
    assert diagnose(history(made.column("train_loss"), made.column("validation_loss"), *right)).kind == "fits"


@pytest.mark.parametrize("name", ["train_loss", "validation_loss"])
@pytest.mark.parametrize("value", [NAN, math.inf])
@pytest.mark.parametrize("kind", ["fits", "overfits", "still improving", "underfits"])
def test_a_loss_that_is_not_finite_diverged_whatever_came_before(kind, name, value):
    assert changed(kind, name, lambda y: np.r_[y[:-1], value]) == "diverged"


def test_a_training_loss_that_grows_from_the_start_diverged():
    y = 2.3 * 1.3 ** np.arange(10)
    assert diagnose(history(y, y)).kind == "diverged"
    assert diagnose(history(y)).kind == "diverged"


def test_a_small_loss_that_doubles_has_not_diverged():
    y = np.r_[0.4 * 0.5 ** np.arange(12), 2e-4, 3e-4, 4e-4]
    assert diagnose(history(y, np.full(15, 0.08))).kind == "fits"


@pytest.mark.parametrize("epochs", range(1, SHORTEST))
def test_few_epochs_tell_nothing(epochs):
    assert diagnose(history([1.0] * epochs, [2.0] * epochs)).kind == "too short"
    assert diagnose(history([1.0] * epochs)).kind == "too short"
    assert diagnose(history([1.0] * (epochs - 1) + [NAN])).kind == "diverged"


def test_five_epochs_are_enough():
    assert diagnose(history([0.3, 0.1, 0.05, 0.03, 0.02], [0.3, 0.1, 0.12, 0.2, 0.3])).kind == "overfits"


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.tuples(*[st.one_of(st.floats(0, 1e6), st.sampled_from([0.0, NAN, math.inf]))] * 2), min_size=1, max_size=30
    )
)
def test_every_history_has_a_diagnosis_that_is_json(losses):
    found = diagnose(history(*zip(*losses, strict=True)))
    assert found.kind in KINDS
    assert found.sentence.endswith(".")
    assert found.advice.endswith(".")
    assert not any(isinstance(v, float) and not math.isfinite(v) for v in found.to_dict().values())


# --- sentences and numbers -------------------------------------------------------------------------------------------


def test_overfitting_is_told_with_its_epochs_and_numbers():
    train = [0.30, 0.20, 0.12, 0.08, 0.05, 0.03, 0.02, 0.01]
    held = [0.32, 0.25, 0.20, 0.21, 0.24, 0.27, 0.30, 0.33]
    found = diagnose(history(train, held, 0.99, 0.95))
    assert (found.kind, found.best_epoch, found.still_improving) == ("overfits", 3, False)
    assert found.gap == pytest.approx(0.32)
    assert found.rise == pytest.approx(0.13)
    assert found.accuracy_gap == pytest.approx(4)
    assert re.search(r"overfits from epoch 4 on.*0\.2000 in epoch 3, to 0\.3300.*0\.1200 to 0\.0100", found.sentence)
    assert "0.3200 nats above" in found.sentence
    assert "4.0 points below" in found.sentence
    assert "epoch 3" in found.advice
    assert str(found) == f"{found.sentence} {found.advice}"


@pytest.mark.parametrize("kind", MADE)
def test_a_sentence_names_its_kind_and_not_the_contrary(kind):
    words = {
        "fits": "does not overfit", "overfits": "The run overfits", "still improving": "still improving",
        "underfits": "underfits", "diverged": "diverged", "no validation": "Nothing was held out",
    }  # fmt: skip
    said = diagnose(run(kind, 20)).sentence
    assert words[kind] in said
    assert ("overfits from" in said) == (kind == "overfits")


def test_without_validation_the_training_loss_says_whether_it_was_still_improving():
    still, level = diagnose(history(0.4 * 0.9 ** np.arange(20))), diagnose(run("no validation", 20))
    assert (still.kind, still.still_improving, level.still_improving) == ("no validation", True, False)
    assert "still falling" in still.sentence
    assert "levelled" in level.sentence
    assert math.isnan(still.gap)
    assert still.best_epoch == 20
    assert still.to_dict()["gap"] is None


def test_a_negative_gap_is_told_as_one():
    found = diagnose(history(np.full(9, 0.3), np.full(9, 0.2), 0.92, 0.95))  # as with dropout
    assert found.gap == pytest.approx(-0.1)
    assert "0.1000 nats below" in found.sentence
    assert "3.0 points above" in found.sentence


def test_a_history_without_epochs_is_refused():
    with pytest.raises(ValueError, match="diagnose: the history has no epoch"):
        diagnose(History())


def test_a_real_run_that_overfits():
    """Half of the labels are drawn by lot: what is learned by heart helps with no other row."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 8)).astype(np.float32)
    y = np.where(rng.random(400) < 0.5, rng.integers(0, 3, 400), x[:, :3].argmax(axis=1))
    fm.manual_seed(0)
    model = fm.nn.MLP(8, (64,), 3)
    optimizer = fm.optim.Adam(model.parameters(), lr=0.01)
    done = fm.fit(model, fm.Dataset(x, y), 0.5, optimizer, 30, 32, progress=False)
    assert diagnose(done).kind == "overfits"


@pytest.mark.parametrize(("step", "after"), [(0.005, 3), (0.005, 4), (0.01, 2), (0.01, 3), (0.02, 2), (0.02, 4)])
def test_a_rise_is_seen_where_early_stopping_stops(after, step):
    """A turn sticks out from both sides without any noise: 2 to 4 epochs past it, where a patience ends."""
    falling = 0.2 * 0.8 ** np.arange(7) + 0.05
    held = np.concatenate([falling, falling[-1] + step * np.arange(1, after + 1)])
    train = 0.3 * 0.75 ** np.arange(len(held))
    assert fm.diagnose(history(train, held)).kind == "overfits"


def test_a_rise_that_may_be_noise_is_not_called_level():
    """The last two epochs lie 20 % above the lowest, in noise of the same size: neither overfitting nor a level."""
    held = np.array([0.30, 0.20, 0.15, 0.10, 0.14, 0.10, 0.15, 0.11, 0.13, 0.115])
    told = fm.diagnose(history(np.geomspace(0.3, 0.05, 10), held))
    assert told.kind == "fits"
    assert "may begin to overfit" in told.sentence
    assert "without a rise" not in told.sentence


@pytest.mark.parametrize("kind", ["underfits", "still improving", "fits", "no validation"])
def test_a_loss_above_that_of_guessing_asks_for_scaled_features_not_for_a_wider_net(kind):
    made = run(kind, 20)
    made.classes = 2
    for epoch in made.epochs:  # a guess costs log 2 = 0.6931
        epoch.train_loss, epoch.validation_loss = epoch.train_loss + 0.8, epoch.validation_loss + 0.8
    found = diagnose(made)
    assert found.kind == "diverged"
    assert "above that of guessing, log 2 = 0.6931: the run diverged, or the features are not scaled." in found.sentence
    assert "smaller learning rate" in found.advice
    assert "scaled" in found.advice
    made.classes = 0  # nobody wrote it down
    assert diagnose(made).kind != "diverged"


def test_a_validation_loss_above_guessing_is_overfitting_where_the_training_loss_is_low():
    made = run("overfits", 20)
    made.classes = 2
    for epoch in made.epochs:
        epoch.validation_loss *= 20
    assert made[-1].validation_loss > 1
    assert diagnose(made).kind == "overfits"


def test_features_that_are_not_scaled_are_named():
    rng = np.random.default_rng(0)
    data = fm.Dataset(1000 * rng.normal(size=(200, 5)).astype(np.float32), np.arange(200) % 2)
    fm.manual_seed(0)
    history = fm.fit(fm.nn.MLP(5, (4,), 2), data, epochs=6, validation=0.2, progress=False)
    assert history.classes == 2
    assert "above that of guessing" in diagnose(history).sentence


GUESS = math.log(10)  # 2.3026


@pytest.mark.parametrize(
    ("train", "held"),
    [
        ([5e4, 2e4, 1e4], [2e4, 1e4, 1e4]),  # too few epochs for a trend, and far above
        ([40.0], [30.0]),
        ([40.0], None),
        ([2.9] + [GUESS + 0.001] * 9, [GUESS + 0.001] * 10),  # a net whose units died when it diverged
        ([2.9] + [2.35] * 9, None),
        (list(np.linspace(1e4, 1e3, 12)), list(np.linspace(1e4, 1e3, 12))),  # features of 0 .. 255, still falling
        ([1.0, NAN], [1.0, 1.0]),
        ([1.0, math.inf], None),
        ([0.9, 1.4, 1.0, 1.5, 1.1, 1.4, 1.2, 1.5, 1.2, 1.3], [1.2] * 10),  # above its start, in much noise
    ],
)
def test_what_diverged_is_told_to_scale_and_never_to_widen(train, held):
    made = history(np.array(train), None if held is None else np.array(held), 0.1, 0.1)
    made.classes = 10
    found = diagnose(made)
    assert found.kind == "diverged"
    assert found.advice.startswith("Try a smaller learning rate, and features scaled")
    assert "wider" not in found.advice


@pytest.mark.parametrize(
    ("train", "held", "kind"),
    [
        ([2.5, 2.4, 2.3], [2.4, 2.35, 2.3], "too short"),  # as every net begins
        (list(2.6 * 0.97 ** np.arange(10)), list(2.6 * 0.97 ** np.arange(10)), "still improving"),
        ([0.5] * 10, [0.5] * 10, "underfits"),  # below that of guessing
        ([2.35] * 10, [1.5] * 10, "underfits"),  # much dropout: the net itself knows something
    ],
)
def test_what_may_still_learn_or_knows_something_has_not_diverged(train, held, kind):
    made = history(np.array(train), np.array(held), 0.5, 0.5)
    made.classes = 10
    assert diagnose(made).kind == kind


def test_a_loss_that_never_moved_may_want_a_larger_rate_too():
    made = history(np.full(10, 2.31), np.full(10, 2.31), 0.1, 0.1)
    made.classes = 10
    assert "also a larger rate" in diagnose(made).advice


def test_a_regression_worse_than_the_mean_of_the_targets_is_not_told_to_widen():
    made = history(np.full(10, 5.0), np.full(10, 5.0))
    made.score_name = "r2"
    for epoch in made.epochs:
        epoch.train_score = epoch.validation_score = -3.0
    found = diagnose(made)
    assert found.kind == "diverged"
    assert "R² of the training rows is -3.0000 in epoch 10, below that of the mean, 0" in found.sentence
    assert "scaled" in found.advice
    for epoch in made.epochs:
        epoch.train_score = epoch.validation_score = 0.2
    assert diagnose(made).kind == "underfits"
