"""The study of schedules: its rates against PyTorch's formulas by hand, its sentences on made numbers."""

import copy
import math

import numpy as np
import once
import pytest

from fastmlp import Tensor, nn, ops, optim
from fastmlp.studies import schedules


@pytest.fixture(scope="module")
def study():
    return once.study("schedules")


def test_every_schedule_is_shown(study):
    assert set(schedules.SHOWN) == set(optim.SCHEDULES)
    axes = study.figures["schedules_rates"].axes
    assert [ax.get_title(loc="left") for ax in axes if ax.get_title(loc="left")] == list(schedules.SHOWN)


def test_the_rates_are_those_of_the_formulas():
    found, momenta = schedules.rates("SequentialLR", 2.0, epochs=9)
    by_hand = [2 * (1 / 3 + 2 / 3 * t / 5) for t in range(5)] + [1 + math.cos(math.pi * t / 4) for t in range(4)]
    np.testing.assert_allclose(found, by_hand, rtol=1e-12)
    assert momenta is None
    found, momenta = schedules.rates("OneCycleLR", 0.5, epochs=2, steps=10)
    assert len(found) == len(momenta) == 20
    assert found.argmax() == momenta.argmin() == 5
    assert found.max() == 0.5


def test_the_rates_that_were_trained_with_are_those_that_are_drawn():
    measured = once.measured("schedules")
    for run, kind in (("step", "StepLR"), ("cosine", "CosineAnnealingLR"), ("warm", "SequentialLR")):
        np.testing.assert_array_equal(measured["rates"][run], schedules.rates(kind, schedules.LARGE)[0])
    last_of_epochs = schedules.rates("OneCycleLR", schedules.CYCLE)[0][schedules.STEPS - 1 :: schedules.STEPS]
    np.testing.assert_array_equal(measured["rates"]["cycle"], last_of_epochs)
    assert (np.diff(measured["rates"]["plateau"]) <= 0).all()


def test_an_epoch_more_is_sgd_and_the_model_stays():
    nn.manual_seed(0)
    model = nn.MLP(2, (4,), 3, "tanh")
    rng = np.random.default_rng(0)
    train, fresh = schedules.spiral(schedules.ROWS, rng), schedules.spiral(50, rng)
    before, by_hand = copy.deepcopy(model.state_dict()), copy.deepcopy(model)
    losses, mean = schedules.on(model, 0.1, train, fresh, 3)
    assert all((before[name] == array).all() for name, array in model.state_dict().items())
    assert losses.shape == (schedules.STEPS,)
    still, same = schedules.on(model, 0.0, train, fresh, 3)
    assert len(set(still)) == 1
    assert same == pytest.approx(still[0], rel=1e-6)  # a sum of 75 equal float32 numbers, and its mean
    rows = np.random.default_rng((3, 1)).permutation(len(train))[: schedules.BATCH]
    ops.cross_entropy(by_hand(Tensor(train.features[rows])), train.targets[rows]).backward()
    for p in by_hand.parameters():
        p.data -= 0.1 * p.grad
    first = ops.cross_entropy(by_hand(Tensor(fresh.features)), fresh.targets).item()
    assert losses[0] == pytest.approx(first, rel=1e-6)
    assert math.isfinite(mean)


def test_what_was_found(study):
    n = study.numbers
    assert n["large_half"] < n["small_half"]
    assert max(n["cosine_end"], n["step_end"], n["cycle_end"], n["warm_end"]) < min(n["large_end"], n["small_end"])
    assert n["large_swing"] > 20 * n["cosine_swing"]
    assert n["large_mean_weights"] < n["large_after"]
    assert n["average_end"] < n["large_end"]


def test_the_study_is_whole(study):
    assert study.tolerances.keys() == study.numbers.keys()
    assert max(map(len, study.table.splitlines())) <= 100
    assert f"{study.numbers['warm_end']:.3f}" in study.table
    assert len(study.conclusions) == 3
    assert set(study.figures) == {"schedules_rates", "schedules_losses"}
    above, below = study.figures["schedules_losses"].axes
    assert np.mean(above.lines[0].get_ydata()[-schedules.LAST :]) == study.numbers["large_end"]
    assert below.lines[-1].get_ydata()[0] == study.numbers["large_mean_weights"]


def test_the_sentences_say_the_opposite_of_opposite_numbers(study):
    first, second, third = schedules.conclude(study.numbers)
    assert "gets down sooner than" in first
    assert first.endswith("lower than both.")
    assert "is gone" in second
    assert ", lower than its steps" in second
    assert third.startswith("6 of the 6 others end below")
    assert "hardly changes the loss after the first epoch" in third
    n = dict(study.numbers)
    n |= {"large_half": 0.9, "small_half": 0.2, "cosine_end": 0.6, "large_end": 0.1, "large_swing": 0.0}
    n |= {"large_mean_weights": 0.9, "large_after": 0.3, "warm_first": 0.2, "cosine_first": 0.9}
    first, second, third = schedules.conclude(n)
    assert "gets down no sooner than" in first
    assert first.endswith("not lower than both.")
    assert "is not much smaller" in second
    assert ", no lower than its steps" in second
    assert third.startswith("0 of the 6 others end below the constant large rate; a warm-up lowers")
    assert "a warm-up raises" in schedules.conclude(n | {"warm_first": 2.0})[2]


def test_the_pages_still_quote_it():
    once.pages_hold("schedules")
