"""The study of optimizers: its numbers against twins in plain NumPy, its sentences on made numbers."""

import math

import numpy as np
import once
import pytest

from fastmlp.graph import Parameter
from fastmlp.studies import optimizers
from fastmlp.studies import optimizers_quadratic as quadratic


@pytest.fixture(scope="module")
def measured():
    return once.measured("optimizers")


@pytest.fixture(scope="module")
def numbers(measured):
    return {name: value for name, value in measured.items() if name != "series"}


@pytest.fixture(scope="module")
def found():
    return once.study("optimizers")


def test_numbers_have_tolerances(found, numbers):
    assert found.numbers == numbers
    assert found.numbers.keys() == found.tolerances.keys()


def test_adam_does_not_see_the_scale_of_the_loss_and_sgd_does(numbers):
    for rule in ("sgd", "momentum", "nesterov"):
        assert numbers[f"{rule}_scaled_step_ratio"] == pytest.approx(100, rel=0.01)  # of rounded float32 weights
        assert numbers[f"{rule}_scaled_loss"] > 2
    for rule in ("adam", "adamw"):
        assert numbers[f"{rule}_scaled_step_ratio"] == pytest.approx(1, abs=0.01)
        assert numbers[f"{rule}_scaled_loss"] == pytest.approx(numbers[f"{rule}_plain_loss"], rel=0.1)
        assert numbers[f"{rule}_spread"] < numbers["sgd_spread"] / 3


def test_the_first_step_of_adam_is_the_learning_rate(measured):
    low, middle, high = measured["series"]["steps"]["adam", "plain"][0]
    assert (low, middle, high) == pytest.approx([1e-3] * 3, rel=0.01)  # g / (|g| + eps), |g| far above eps


def test_bias_correction_by_hand(numbers, measured):
    m = v = 0.0
    for t in range(1, 21):  # a gradient of 1, step by step
        m, v = 0.9 * m + 0.1, 0.999 * v + 0.001
        ratio = (m / math.sqrt(v)) / ((m / (1 - 0.9**t)) / math.sqrt(v / (1 - 0.999**t)))
        assert measured["series"]["equation"][t - 1] == pytest.approx(ratio, rel=1e-12)
        assert measured["series"]["ratios"][t - 1] == pytest.approx(ratio, rel=2e-3)  # eps beside small gradients
    assert numbers["ratio_step_1_equation"] == pytest.approx(math.sqrt(10))


def test_uncorrected_adam_is_the_rule_without_the_two_lines():
    p = Parameter(np.array([1.0, -2.0]))
    optimizer, gradients = optimizers.UncorrectedAdam([p], lr=0.1), np.array([[0.5, 3.0], [-1.0, 2.0]])
    expected, m, v = np.array([1.0, -2.0]), 0.0, 0.0
    for g in gradients:
        p.grad = g
        optimizer.step()
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        expected = expected - 0.1 * m / (v**0.5 + 1e-8)
    assert p.data == pytest.approx(expected, rel=1e-12)


def test_sgd_on_the_quadratic_is_a_power_of_a_matrix():
    """u ← (1 - lr λ) u in each step, in the axes of the ellipse."""
    rates = (0.03, 0.01)
    for angle in (0.0, 0.7):
        paths = quadratic.paths(optimizers.RULES["sgd"], angle, rates)
        c, s = math.cos(angle), math.sin(angle)
        u = paths @ np.array([[c, s], [-s, c]]).T
        for i, lr in enumerate(rates):
            powers = (1 - lr * np.array([1.0, 50.0])) ** np.arange(len(u))[:, None, None]
            assert np.abs(u[:, i] - powers * u[0, i]).max() < 1e-12  # rounding of float64 numbers up to 1
        values = 0.5 * (u[..., 0] ** 2 + 50 * u[..., 1] ** 2)
        assert np.allclose(quadratic.values(paths, angle), values, rtol=1e-9, atol=1e-15)


def test_steps_are_counted_until_it_stays_near():
    p = np.ones((quadratic.MOST + 1, 1, 1, 2))
    p[5:] = 1e-3
    assert quadratic.steps_needed(p) == [5]
    p[9] = 1
    assert quadratic.steps_needed(p) == [10]
    p[10:, ..., 0] = 0.1  # far in one direction is far, however flat it is
    assert quadratic.steps_needed(p) == [math.inf]
    p[-1] = np.inf
    assert quadratic.steps_needed(p) == [math.inf]
    assert not np.isfinite(quadratic.paths(optimizers.RULES["sgd"], 0.0, (1.0,))[-1]).any()  # above 2 / 50: diverges


def test_turning_changes_adam_alone(numbers):
    for rule in ("sgd", "momentum", "nesterov"):
        assert numbers[f"{rule}_steps_aligned"] == numbers[f"{rule}_steps_turned"] == numbers[f"{rule}_steps_same_rate"]
    assert numbers["adam_steps_same_rate"] > 1.2 * numbers["adam_steps_aligned"]


def test_the_best_rates_lie_within_the_grid(numbers):
    for rule in ("sgd", "momentum", "nesterov", "adam"):  # AdamW's decay pulls to the minimum, the more the larger lr
        assert quadratic.RATES[0] < numbers[f"{rule}_rate_aligned"] < quadratic.RATES[-1]


def test_sentences_of_the_real_numbers(found):
    scale, rates, curvature, correction = found.conclusions
    assert scale.endswith("so their scale hardly changes its steps.")
    assert "by the first measure Adam is ahead by more than one rate" in rates
    assert rates.endswith("at least half of what Adam gains over SGD, momentum gains too.")
    assert "momentum is faster than SGD" in curvature
    assert "the first steps are too long, not too short" in correction


def test_sentences_of_opposite_numbers(numbers):
    made = numbers | {"adam_scaled_step_ratio": 100.0, "adam_best_loss": 0.5, "sgd_best_loss": 0.1}
    made |= {"ratio_step_1": 0.3, "ratio_step_20": 0.2, "uncorrected_usual_loss": 9.0, "uncorrected_large_loss": 0.0}
    scale, rates, _, correction = optimizers.conclude(made)
    assert scale.endswith("here Adam's steps depend on the scale of the gradients.")
    assert rates.endswith("with tuned rates Adam gains nothing here.")
    assert "left out, the first steps are too short; " in correction
    assert "is then higher, 9.00 (with correction " in correction
    assert "and lower, 0.00 (with correction " in correction
    made |= {"adam_scaled_step_ratio": 1.0, "sgd_scaled_step_ratio": 1.0, "sgd_scaled_loss": math.inf}
    made |= {"ratio_step_20": 2.0, "corrected_usual_loss": 0.5, "uncorrected_usual_loss": math.nan}
    made |= {"corrected_large_loss": 0.25, "uncorrected_large_loss": 0.25}
    scale, _, _, correction = optimizers.conclude(made)
    assert scale.endswith("hardly changes the steps of either.")
    assert "no number with SGD" in scale
    assert "too short at one time and too long at another" in correction
    assert "is then no number (with correction 0.50)" in correction
    assert "and equal, 0.25 (with correction 0.25) with 0.01" in correction


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ((0.126, 0.125, 0.100), "momentum gains less than half of what Adam gains over SGD."),
        ((0.126, 0.112, 0.100), "at least half of what Adam gains over SGD, momentum gains too."),
        ((0.100, 0.100, 0.100), "with tuned rates Adam gains nothing here."),
        ((math.inf, math.inf, math.nan), "with tuned rates Adam gains nothing here."),
    ],
)
def test_what_momentum_gains_is_a_share(numbers, losses, words):
    made = numbers | {f"{rule}_best_loss": loss for rule, loss in zip(("sgd", "momentum", "adam"), losses, strict=True)}
    assert optimizers.conclude(made)[1].endswith(words)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ((5, 2, 3, 2), "by the first measure Adam is ahead by more than one rate, by the second neither"),
        ((5, 2, 5, 2), "by both measures Adam is ahead"),
        ((2, 5, 2, 5), "by both measures SGD is ahead"),
        ((3, 3, 4, 3), "by both measures neither is ahead"),
    ],
)
def test_sensitivity_is_judged_by_two_measures(numbers, counts, words):
    names = ("adam_trains", "sgd_trains", "adam_near", "sgd_near")
    assert words in optimizers.conclude(numbers | dict(zip(names, map(float, counts), strict=True)))[1]


@pytest.mark.parametrize(
    ("sgd", "momentum", "adam", "same", "turned", "words"),
    [
        (200, 100, 100, 200, 105, ("momentum is faster than SGD", "and another rate makes up for that.")),
        (100, 200, 100, 200, 150, ("momentum is slower than SGD", "turning makes it slower at any rate.")),
        (100, 100, 100, 101, 99, ("momentum is no faster than SGD", "turning hardly changes it.")),
        (math.inf, 100, 100, 50, 50, ("more than 600 steps with SGD", "turning makes it no slower.")),
        (100, math.inf, 100, 50, 50, ("momentum is slower than SGD", "turning makes it no slower.")),
    ],
)
def test_sentences_about_curvature(numbers, sgd, momentum, adam, same, turned, words):
    made = {"sgd_steps_aligned": sgd, "momentum_steps_aligned": momentum, "adam_steps_aligned": adam}
    made |= {"adam_steps_same_rate": same, "adam_steps_turned": turned}
    said = optimizers.conclude(numbers | {name: float(value) for name, value in made.items()})[2]
    assert all(word in said for word in words), said


def test_table_and_figures(found):
    assert max(map(len, found.table.splitlines())) <= 100
    assert f"{found.numbers['adam_best_loss']:.4f}" in found.table
    above, below = found.figures["optimizers_training"].axes
    assert [line.get_label().split(",")[0] for line in above.lines] == list(optimizers.TITLES.values())
    assert above.lines[3].get_ydata()[-1] == found.numbers["adam_best_loss"]
    assert np.nanmin(below.lines[0].get_ydata()) == found.numbers["sgd_best_loss"]
    *panels, correction = found.figures["optimizers_steps"].axes
    assert [ax.get_title().split(",")[0] for ax in panels[:5]] == list(optimizers.TITLES.values())
    assert correction.lines[1].get_ydata()[0] == found.numbers["ratio_step_1"]
    for ax in panels[:5]:  # no line with a hole in it, of which pieces would float
        assert all(np.isfinite(line.get_ydata()).all() for line in ax.lines)
    assert len(found.figures["optimizers_paths"].axes) == 4


def test_the_pages_still_quote_it():
    once.pages_hold("optimizers")
