"""The study of optimizers: its numbers against twins in plain NumPy, its sentences on made numbers."""

import math

import numpy as np
import pytest

from fastmlp import studies
from fastmlp.graph import Parameter
from fastmlp.studies import optimizers


@pytest.fixture(scope="module")
def measured():
    return optimizers.measure()


@pytest.fixture(scope="module")
def numbers(measured):
    return {name: value for name, value in measured.items() if name != "series"}


@pytest.fixture(scope="module")
def found(measured):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optimizers, "measure", lambda seed: measured)
        return studies.run("optimizers")


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
    for angle in (0.0, 0.7):
        paths = optimizers.quadratic_paths("sgd", 0.03, angle)
        c, s = math.cos(angle), math.sin(angle)
        u = paths @ np.array([[c, s], [-s, c]]).T
        powers = (1 - 0.03 * np.array([1.0, 50.0])) ** np.arange(len(u))[:, None, None]
        assert np.abs(u - powers * u[0]).max() < 1e-12  # rounding of float64 numbers up to 1
        values = 0.5 * (u[..., 0] ** 2 + 50 * u[..., 1] ** 2)
        assert np.allclose(optimizers.quadratic_values(paths, angle), values, rtol=1e-9, atol=1e-15)


def test_steps_are_counted_until_it_stays_below():
    u = np.ones((optimizers.MOST + 1, 1, 2))
    u[5:] = 1e-3
    assert optimizers.steps_needed(u, 0.0) == 5
    u[9] = 1
    assert optimizers.steps_needed(u, 0.0) == 10
    u[-1] = np.inf
    assert optimizers.steps_needed(u, 0.0) == math.inf
    assert not np.isfinite(optimizers.quadratic_paths("sgd", 1.0, 0.0)[-1]).any()  # above 2 / 50: it diverges


def test_turning_changes_adam_alone(numbers):
    for rule in ("sgd", "momentum", "nesterov"):
        assert numbers[f"{rule}_steps_aligned"] == numbers[f"{rule}_steps_rotated"]
    assert numbers["adam_steps_aligned"] != numbers["adam_steps_rotated"]


def test_sentences_of_the_real_numbers(found):
    scale, rates, correction = found.conclusions
    assert scale.endswith("so their scale hardly changes its steps.")
    assert "more than SGD" in rates
    assert "the first steps are too long, not too short" in correction


def test_sentences_of_opposite_numbers(numbers):
    made = numbers | {"adam_scaled_step_ratio": 100.0, "adam_decades": 0.5, "sgd_decades": 2.0}
    made |= {"adam_best_loss": 0.5, "sgd_best_loss": 0.1, "momentum_best_loss": 0.1}
    made |= {"ratio_step_1": 0.3, "ratio_step_20": 0.2, "uncorrected_usual_loss": 9.0, "uncorrected_large_loss": 0.0}
    scale, rates, correction = optimizers.conclude(made)
    assert scale.endswith("here Adam's steps depend on the scale of the gradients.")
    assert "fewer than SGD (2)" in rates
    assert rates.endswith("with tuned rates Adam gains nothing here.")
    assert "left out, the first steps are too short; " in correction
    assert "higher with a learning rate of 0.001" in correction
    assert "lower with 0.01" in correction
    made |= {"adam_scaled_step_ratio": 1.0, "sgd_scaled_step_ratio": 1.0, "sgd_decades": 0.5, "adam_best_loss": 0.01}
    made |= {"ratio_step_20": 2.0, "sgd_scaled_loss": math.inf}
    scale, rates, correction = optimizers.conclude(made)
    assert scale.endswith("hardly changes the steps of either.")
    assert "no number with SGD" in scale
    assert "as many as SGD" in rates
    assert rates.endswith("Adam ends lowest.")
    assert "too short at one time and too long at another" in correction


def test_table_and_figures(found):
    assert max(map(len, found.table.splitlines())) <= 100
    assert f"{found.numbers['adam_best_loss']:.4f}" in found.table
    above, below = found.figures["optimizers_training"].axes
    assert [line.get_label().split(",")[0] for line in above.lines] == list(optimizers.TITLES.values())
    assert above.lines[3].get_ydata()[-1] == found.numbers["adam_best_loss"]
    assert np.nanmin(below.lines[0].get_ydata()) == found.numbers["sgd_best_loss"]
    assert found.figures["optimizers_steps"].axes[1].lines[1].get_ydata()[0] == found.numbers["ratio_step_1"]
    assert len(found.figures["optimizers_paths"].axes) == 4
