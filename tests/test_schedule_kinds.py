"""What the contract does not hold of OneCycleLR, SequentialLR and ReduceLROnPlateau: ends, turns, lines, refusals."""

import json

import numpy as np
import pytest
from looping import ByOption, OnGraph, bits, fit, lines, net, rates, rule

import fastmlp as fm
from fastmlp import optim

# --- one cycle -------------------------------------------------------------------------------------------------------


def test_a_cycle_counts_steps_and_takes_the_rate_of_the_optimizer_as_its_peak():
    """The whole training is one cycle, over both calls; SGD had no momentum."""
    model, seen = net(), []
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    rates_of = optim.Rates(optimizer, optim.OneCycleLR(pct_start=0.25), None, 4, 3)
    for epoch in range(1, 5):
        seen.append(rates_of.of_epoch(epoch))
        assert seen[-1].shape == (3, 1, 2)
        assert [optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]] == seen[-1][-1, 0].tolist()
        optimizer.epochs = epoch
        rates_of = optim.Rates(optimizer, optim.OneCycleLR(pct_start=0.25), None, 4, 3, epoch)
    found = np.concatenate(seen)[:, 0]
    assert found[0] == pytest.approx([0.02, 0.95])
    assert found[2] == pytest.approx([0.5, 0.85])  # a quarter of 12 steps is 3, and the third has the peak
    assert found[-1] == pytest.approx([0.02 / 1e4, 0.95])
    assert found[:, 0].argmax() == 2


def test_each_group_has_its_peak():
    optimizer = rule(kind=optim.Adam)
    schedule = optim.OneCycleLR(optimizer, [0.4, 0.1], 9, pct_start=4 / 9, max_momentum=[0.95, 0.8])
    assert [group["betas"] for group in optimizer.param_groups] == [(0.95, 0.999), (0.8, 0.999)]
    for _ in range(3):
        schedule.step()
    assert rates(optimizer) == [0.4, 0.1]
    assert [group["betas"][0] for group in optimizer.param_groups] == pytest.approx([0.85, 0.85])


def test_a_cycle_ends():
    """The step after the last leaves the rate; PyTorch goes a step beyond the cycle, with "linear" below 0."""
    for strategy in ("cos", "linear"):
        optimizer = rule()
        schedule = optim.OneCycleLR(optimizer, 0.5, 4, anneal_strategy=strategy)
        for _ in range(4):
            schedule.step()
        assert rates(optimizer) == pytest.approx([0.5 / 25 / 1e4] * 2)
        with pytest.raises(ValueError, match="OneCycleLR: its 4 steps are done; total_steps must be as long as"):
            schedule.step()
        assert schedule.last_epoch == 4
    model = net()
    with pytest.raises(ValueError, match="OneCycleLR: its 4 steps are done"):
        fit(model, optim.SGD(model.parameters()), 3, schedule=optim.OneCycleLR(0.1, 4))


def test_a_phase_without_a_length_is_at_its_end():
    """A tenth of 10 steps is one, the first, which PyTorch divides by 0."""
    assert optim.OneCycleLR(0.5, 10, pct_start=0.1).rate(0.1, 0, 0) == 0.5
    assert optim.OneCycleLR(0.5, 1).rate(0.1, 0, 0) == pytest.approx(0.5 / 25 / 1e4)


def test_a_rule_without_momentum_has_no_cycle_of_it():
    model = net()
    optimizer = ByOption(model.parameters(), lr=0.1)
    for use in (
        lambda: fit(model, optimizer, 1, schedule=optim.OneCycleLR(0.1)),
        lambda: optim.OneCycleLR(optimizer, 0.1, 9),
    ):
        with pytest.raises(ValueError, match="OneCycleLR: cycle_momentum needs a momentum, and ByOption has neither"):
            use()
    fit(model, optimizer, 1, schedule=optim.OneCycleLR(0.1, cycle_momentum=False))


CYCLES = {
    "a list of another length": ({"max_lr": [0.1, 0.2]}, "max_lr has 2 numbers; it must have one for each of the 1"),
    "no momentum": ({"base_momentum": 0.0}, "base_momentum is 0.0; it must be a number above 0 and below 1"),
    "epochs alone": ({"epochs": 3}, "epochs is given without steps_per_epoch; the steps are their product"),
    "a share above 1": ({"pct_start": 30}, "pct_start is 30; it must be a number in 0..1"),
    "a strategy": ({"anneal_strategy": "exp"}, "anneal_strategy is 'exp'; it must be 'cos' or 'linear'"),
    "a factor of 0": ({"div_factor": 0}, "div_factor is 0; it must be a number above 0"),
    "a rate below 0": ({"max_lr": -1.0}, "max_lr is -1.0; it must be a finite number of at least 0"),
    "no steps": ({"total_steps": 0}, "total_steps is 0; it must be a whole number of at least 1, or None"),
}


@pytest.mark.parametrize("case", CYCLES)
def test_a_cycle_that_cannot_be_is_refused(case):
    options, words = CYCLES[case]
    model = net()
    with pytest.raises(ValueError, match="OneCycleLR: " + words):
        fit(model, optim.SGD(model.parameters()), 1, schedule=optim.OneCycleLR(**{"max_lr": 0.1} | options))


# --- one after the other ---------------------------------------------------------------------------------------------


def test_a_length_left_out_goes_to_the_next_milestone_or_to_the_end():
    model = net()
    optimizer, seen = optim.SGD(model.parameters(), lr=1.0), []
    schedule = optim.SequentialLR([optim.LinearLR(0.5, total_iters=None), optim.CosineAnnealingLR()], [2])
    look = lambda model, history: seen.append(rates(optimizer)[0])  # noqa: E731
    fit(model, optimizer, 3, schedule=schedule, callbacks=[look])
    assert seen == [0.5, 0.75, 1.0]
    fit(model, optimizer, 3, schedule=schedule, callbacks=[look])  # now there are 6, and 4 of them are the cosine's
    assert seen[3:] == pytest.approx([(1 + np.cos(np.pi * t / 4)) / 2 for t in (1, 2, 3)])


IN_TURN = {  # with what the momentum is after each of three epochs of three steps
    "the cycle last": (lambda: optim.SequentialLR([optim.LinearLR(), optim.OneCycleLR(0.1)], [4]), [0.3, None, 0.95]),
    "the cycle first": (lambda: optim.SequentialLR([optim.OneCycleLR(0.1), optim.LinearLR()], [4]), [None, 0.95, 0.95]),
}


@pytest.mark.parametrize("case", IN_TURN)
def test_a_cycle_moves_the_momentum_in_its_turn_alone(case):
    """Engine and graph to the bit. Before its turn the momentum is the rule's own, after it what it has left."""
    make, expected = IN_TURN[case]
    found, momenta = [], []
    for graph in (False, True):
        model = net()
        model = OnGraph(*model) if graph else model
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.3)
        assert make().schedule_every == "step"
        look = lambda model, history, o=optimizer: momenta.append(o.param_groups[0]["momentum"])  # noqa: E731
        history = fit(model, optimizer, 3, schedule=make(), callbacks=[look])
        assert history[-1].ran_on == ("graph" if graph else "engine")
        found.append(bits(model))
    assert found[0] == found[1]
    assert momenta[:3] == momenta[3:]
    assert all(e is None or m == pytest.approx(e) for m, e in zip(momenta, expected * 2, strict=True))


def test_before_its_turn_in_an_epoch_the_momentum_is_that_of_the_epoch_before():
    optimizer = rule(momentum=0.3)
    rates_of = optim.Rates(optimizer, optim.SequentialLR([optim.LinearLR(), optim.OneCycleLR(0.1)], [4]), None, 3, 3)
    assert rates_of.of_epoch(1).shape == (3, 2)
    second = rates_of.of_epoch(2)
    assert second[:, :, 1].tolist()[:2] == [[0.3, 0.3], [0.95, 0.95]]
    assert [group["momentum"] for group in optimizer.param_groups] == second[-1, :, 1].tolist()


SEQUENCES = {
    "no schedule": (lambda: optim.SequentialLR([optim.StepLR(2), 3], [1]), TypeError, "schedulers holds 3; it must"),
    "none": (lambda: optim.SequentialLR([], []), ValueError, r"milestones is \[\] for 0 schedules"),
    "too few": (lambda: optim.SequentialLR([optim.StepLR(2)] * 2, []), ValueError, r"milestones is \[\] for 2 sched"),
    "falling": (lambda: optim.SequentialLR([optim.StepLR(2)] * 3, [5, 4]), ValueError, r"\[5, 4\] for 3 .* must rise"),
    "a text": (lambda: optim.SequentialLR([optim.StepLR(2)] * 2, "5"), ValueError, "milestones is '5'; it must be a"),
    "below 0": (lambda: optim.SequentialLR([optim.StepLR(2)] * 2, [-5]), ValueError, "a milestone is -5; it must be"),
    "others": (
        lambda: optim.SequentialLR(rule(), [optim.StepLR(rule(), 2), optim.StepLR(2)], [5]), ValueError,
        "SequentialLR: StepLR was made with an optimizer; SequentialLR must be made with the same one",
    ),
    "the last has no length": (
        lambda: optim.SequentialLR(rule(), [optim.LinearLR(), optim.CosineAnnealingLR()], [5]), ValueError,
        "SequentialLR: T_max of CosineAnnealingLR is missing; with an optimizer it must be given",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SEQUENCES)
def test_a_sequence_that_cannot_be_is_refused(case):
    make, error, words = SEQUENCES[case]
    with pytest.raises(error, match=words):
        make()


def test_fit_refuses_parts_with_an_optimizer_in_a_sequence_without():
    model = net()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    parts = [optim.LinearLR(optimizer), optim.StepLR(2)]
    with pytest.raises(
        ValueError, match="SequentialLR: LinearLR was made with an optimizer; SequentialLR must be made"
    ):
        fit(model, optimizer, 1, schedule=optim.SequentialLR(parts, [5]))
    schedule = optim.SequentialLR(optimizer, parts, [5])
    fit(model, optimizer, 2, schedule=schedule)
    assert schedule.last_epoch == 2
    assert rates(optimizer) == pytest.approx([0.1 * (1 / 3 + 2 / 3 * 2 / 5)])


# --- what watches a metric -------------------------------------------------------------------------------------------


def nothing_to_learn(model, optimizer, epochs, **options):
    rows = fm.Dataset(np.zeros((90, 8), np.float32), np.arange(90) % 3)
    return fm.fit(model, rows, optimizer=optimizer, epochs=epochs, batch_size=30, progress="table", **options)


def test_fit_says_what_is_watched_and_each_reduction(capsys):
    model = net()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    schedule = optim.ReduceLROnPlateau(patience=1, threshold=0.3)
    nothing_to_learn(model, optimizer, 6, schedule=schedule)
    nothing_to_learn(model, optimizer, 1, schedule=schedule, validation=0.2)
    nothing_to_learn(model, optimizer, 0, schedule=schedule)
    nothing_to_learn(model, None, 1, schedule=optim.ReduceLROnPlateau("max", patience=0))
    assert lines(capsys) == [
        "ReduceLROnPlateau watches train_loss: learning rate 0.1 at the start",
        "train_loss is no better for 2 epochs: learning rate from 0.1 to 0.01",
        "train_loss is no better for 2 epochs: learning rate from 0.01 to 0.001",
        "ReduceLROnPlateau watches validation_loss: learning rate 0.001 at the start",
        "validation_loss is no better for 2 epochs: learning rate from 0.001 to 0.0001",
        "ReduceLROnPlateau watches train_score: learning rate 0.001 at the start",
    ]


def test_a_new_training_begins_anew_and_one_with_the_optimizer_goes_on():
    model = net()
    schedule = optim.ReduceLROnPlateau(patience=9, threshold=0.9)
    for _ in range(2):
        nothing_to_learn(model, optim.SGD(model.parameters()), 3, schedule=schedule)
        assert (schedule.last_epoch, schedule.num_bad_epochs) == (3, 2)
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    schedule = optim.ReduceLROnPlateau(optimizer, patience=1, threshold=0.9)
    schedule.step(0.1)
    schedule.step(0.1)
    nothing_to_learn(model, optimizer, 1, schedule=schedule)
    assert (schedule.last_epoch, schedule.num_bad_epochs, schedule.get_last_lr()) == (3, 0, [0.05])


def test_a_plateau_that_was_saved_goes_on():
    """Its state and the optimizer's, in another object each."""
    whole, parts = net(), net()
    schedule = lambda: optim.ReduceLROnPlateau(factor=0.5, patience=1, threshold=0.2)  # noqa: E731
    first = optim.SGD(whole.parameters(), lr=0.1)
    fit(whole, first, 6, schedule=schedule())
    second, one, another = optim.SGD(parts.parameters(), lr=0.1), schedule(), schedule()
    fit(parts, second, 3, schedule=one)
    third = optim.SGD(parts.parameters())
    third.load_state_dict(second.state_dict())
    another.load_state_dict(json.loads(json.dumps(one.state_dict())))
    fit(parts, third, 3, schedule=another)
    assert bits(parts) == bits(whole)
    assert rates(third) == rates(first) != [0.1]


PLATEAUS = {
    "a mode": ({"mode": "least"}, "mode is 'least'; it must be 'min' or 'max'"),
    "a threshold mode": ({"threshold_mode": "none"}, "threshold_mode is 'none'; it must be 'rel' or 'abs'"),
    "no reduction": ({"factor": 1.0}, "factor is 1.0; it must be a number of at least 0 and below 1"),
    "half an epoch": ({"patience": 0.5}, "patience is 0.5; it must be a whole number of at least 0"),
    "a rate below 0": ({"min_lr": [-1.0]}, "min_lr is -1.0; it must be a finite number of at least 0"),
    "as many rates": ({"min_lr": [0.1, 0.2]}, "min_lr has 2 numbers; it must have one for each of the 1 parameter"),
}


@pytest.mark.parametrize("case", PLATEAUS)
def test_a_plateau_that_cannot_be_is_refused(case):
    options, words = PLATEAUS[case]
    model = net()
    optimizer = optim.SGD(model.parameters())
    for make in (
        lambda: fit(model, optimizer, 1, schedule=optim.ReduceLROnPlateau(**options)),
        lambda: optim.ReduceLROnPlateau(optimizer, **options),
    ):
        with pytest.raises(ValueError, match="ReduceLROnPlateau: " + words):
            make()


def test_what_watches_an_epoch_is_refused_elsewhere():
    model = net()
    plateau = optim.ReduceLROnPlateau()
    with pytest.raises(ValueError, match="schedule_every is 'step'; it must be 'epoch' for ReduceLROnPlateau, which"):
        fit(model, None, 1, schedule=plateau, schedule_every="step")
    with pytest.raises(ValueError, match="schedulers holds ReduceLROnPlateau, which has no rate of its own"):
        optim.SequentialLR([plateau, optim.StepLR(3)], [2])
    with pytest.raises(ValueError, match="ReduceLROnPlateau: step needs an optimizer"):
        plateau.step(1.0)
    with pytest.raises(ValueError, match="last_epoch is 3; load_state_dict says where it goes on"):
        optim.ReduceLROnPlateau(rule(), last_epoch=3)
    for nothing in ((), (None,), ("0.1x",)):
        with pytest.raises(TypeError, match=r"ReduceLROnPlateau: step got .*; it must be the metric of the epoch"):
            optim.ReduceLROnPlateau(rule()).step(*nothing)


def test_a_group_that_came_later_is_reduced_too():
    optimizer = rule()
    schedule = optim.ReduceLROnPlateau(optimizer, patience=0)
    optimizer.add_param_group({"params": [fm.Parameter(np.ones(2))], "lr": 3.0})
    schedule.step(1.0), schedule.step(1.0)
    assert rates(optimizer) == pytest.approx([0.01, 0.005, 0.3])
