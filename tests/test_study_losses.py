"""The study of losses: its answers against sorted targets and NumPy's least squares, its sentences on made numbers."""

import math

import numpy as np
import once
import pytest

from fastmlp import nn
from fastmlp.data import Dataset
from fastmlp.studies import losses


@pytest.fixture(scope="module")
def study():
    return once.study("losses")


def test_a_trained_line_is_that_of_least_squares():
    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, (100, 1))
    t = 1 - 2 * x[:, 0] + rng.normal(size=100)
    model = losses.trained(Dataset(x, t), nn.MSELoss(), 1, seed=0)
    slope, intercept = np.polyfit(x[:, 0], t, 1)
    z = losses.answers(model, np.array([[0.0], [1.0]]))[:, 0]
    assert z == pytest.approx([intercept, intercept + slope], abs=0.03)  # the last steps are small, not 0


def test_it_repeats_to_the_bit():
    x = np.random.default_rng(0).normal(size=(40, 2))
    data = Dataset(x, (x[:, 0] > 0).astype(int))
    first, second = (losses.answers(losses.trained(data, None, 2, seed=1), x) for _ in range(2))
    assert (first == second).all()


def test_one_number_is_the_mean_the_median_and_the_quantile(study):
    n = study.numbers
    for name in ("mse", "poisson"):
        assert n[f"one_{name}"] == pytest.approx(n["one_mean"], abs=0.02)  # as above
    assert n["one_l1"] == pytest.approx(n["one_median"], abs=0.02)
    assert n["one_median"] < n["one_huber"] < n["one_mean"]
    assert abs(n["one_pinball_below"] - 0.9) < 0.03  # nine rows of 300: the targets are sparse there


def test_what_was_found(study):
    n = study.numbers
    assert n["line_l1_error"] < n["line_huber_error"] < 0.2 < n["line_mse_error"]
    lifted = n["line_mse_intercept"] - losses.LINE[0]
    assert lifted == pytest.approx(n["line_outliers"] * losses.AWAY, abs=0.1)  # and the noise of 300 rows
    assert n["count_poisson_below"] == 0 < n["count_mse_below"]
    assert (n["count_intercept"], n["count_slope"]) == pytest.approx(losses.LOG_RATE, abs=0.15)  # 300 counts
    for q in losses.QUANTILES:
        assert abs(n[f"below_{100 * q:.0f}"] - q) < 0.05  # three deviations of a share of 600 rows
    assert n["class_mse_middle"] < 0.3 < 0.9 < n["class_cross_entropy_middle"]
    assert n["label_cross_entropy_best_f1"] < 0.9 < 0.95 < n["label_bce_best_f1"]


def test_the_study_is_whole(study):
    assert study.tolerances.keys() == study.numbers.keys()
    assert all(math.isfinite(value) for value in study.numbers.values())
    assert max(map(len, study.table.splitlines())) <= 100
    assert len(study.conclusions) == 3
    assert set(study.figures) == {"losses_numbers", "losses_classes"}
    line = study.figures["losses_numbers"].axes[0].get_lines()[1]
    assert line.get_label() == "MSE"
    assert np.mean(line.get_ydata()) == pytest.approx(study.numbers["line_mse_intercept"])
    cross, square = study.figures["losses_classes"].axes
    assert [text.get_text() for text in study.figures["losses_classes"].legends[0].get_texts()] == [
        "class 0", "class 1", "class 2",
    ]  # fmt: skip
    probabilities = [curve.get_ydata() for curve in cross.get_lines() if len(curve.get_xdata()) > 1]
    assert np.sum(probabilities, axis=0) == pytest.approx(1)
    assert len(square.get_lines()) == len(cross.get_lines())


def test_the_sentences_say_the_opposite_of_opposite_numbers(study):
    numbers, counts, classes = losses.conclude(study.numbers)
    assert "with Huber, between them." in numbers
    assert "the line of l1 is nearest to the truth" in numbers
    assert "that of mse furthest" in numbers
    assert "loss, as asked: 10%, 50%, 90%." in numbers
    assert "nearer to the true means than those of MSE" in counts
    assert "and 0% of them are below 0" in counts
    assert "which hides it. " in classes
    assert classes.endswith("the labels should not share one probability.")
    n = dict(study.numbers)
    n |= {"one_huber": 9.0, "line_l1_error": 5.0, "line_mse_error": 0.0, "below_90": 0.5, "count_poisson_error": 9.0}
    n |= {"count_poisson_below": 0.25, "class_mse_middle": 1.0, "label_bce_best_f1": 0.1}
    numbers, counts, classes = losses.conclude(n)
    assert "with Huber, which is not between them." in numbers
    assert "the line of mse is nearest to the truth (0.00 off) and that of l1 furthest (5.00)" in numbers
    assert "9%, 52%, 50% lie below" in numbers
    assert "loss, not as asked" in numbers
    assert "no nearer than those of MSE" in counts
    assert "and 25% of them are below 0" in counts
    assert "hides it" not in classes
    assert classes.endswith("the labels may share one probability.")


def test_the_pages_still_quote_it():
    once.pages_hold("losses")
