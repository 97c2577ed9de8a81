"""Schedules in a loop of one's own, and one with an optimizer in `fit`; the lines about the rates."""

import copy
import json

import numpy as np
import pytest
from looping import ByOption, Halving, Slower, bits, data, fit, lines, net, rates, rule, two

import fastmlp as fm
from fastmlp import nn, optim

# --- made with and without an optimizer ------------------------------------------------------------------------------


def test_the_optimizer_is_the_first_argument_or_has_its_name():
    for make in (
        lambda o: optim.StepLR(o, 2, 0.5),
        lambda o: optim.StepLR(o, step_size=2, gamma=0.5),
        lambda o: optim.StepLR(2, 0.5, optimizer=o),
        lambda o: optim.StepLR(optimizer=o, step_size=2, gamma=0.5),
    ):
        optimizer = rule()
        schedule = make(optimizer)
        assert (schedule.optimizer, schedule.step_size, schedule.gamma) == (optimizer, 2, 0.5)
        seen = []
        for _ in range(5):
            seen.append(rates(optimizer))
            assert schedule.get_last_lr() == seen[-1]
            schedule.step()
        assert [pair[0] for pair in seen] == [0.1, 0.1, 0.05, 0.05, 0.025]
        assert all(second == first / 2 for first, second in seen)
        assert schedule.last_epoch == 5
        assert schedule.base_lrs == [0.1, 0.05]


def test_without_an_optimizer_it_is_for_fit():
    schedule = optim.StepLR(2)
    assert schedule.optimizer is None
    for use, what in ((schedule.step, "step"), (schedule.get_last_lr, "get_last_lr")):
        with pytest.raises(
            ValueError, match=rf"StepLR: {what} needs an optimizer; make it with one, StepLR\(optimizer"
        ):
            use()


def test_what_is_no_optimizer_is_refused():
    with pytest.raises(TypeError, match=r"StepLR: optimizer is .adam.; it must be one of fastmlp\.optim"):
        optim.StepLR(2, optimizer="adam")
    with pytest.raises(TypeError, match="StepLR: optimizer is given twice"):
        optim.StepLR(rule(), 2, optimizer=rule())
    with pytest.raises(ValueError, match="step_size is MLP"):
        optim.StepLR(nn.MLP(2, (2,), 2), 30)


def test_a_length_that_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="CosineAnnealingLR: T_max is missing; with an optimizer it must be given"):
        optim.CosineAnnealingLR(rule())


def test_schedules_of_somebodys_own_step_too():
    for schedule in (Halving(rule()), Slower(rule(), 0.5)):
        schedule.step()
        schedule.step()
        assert rates(schedule.optimizer) == [0.025, 0.0125]
        assert schedule.last_epoch == 2


def test_another_number_of_groups_is_refused():
    optimizer = rule()
    schedule = optim.StepLR(optimizer, 2)
    optimizer.add_param_group({"params": [fm.Parameter(np.ones(2))]})
    with pytest.raises(ValueError, match="StepLR: it was made for 2 parameter groups, the optimizer has 3"):
        schedule.step()


def test_a_rate_that_was_set_is_followed():
    """As PyTorch's do; tests/test_peers_schedules.py compares them."""
    optimizer = rule()
    schedule = optim.StepLR(optimizer, 2, 0.5)
    schedule.step()
    optimizer.param_groups[0]["lr"] = 7.0
    schedule.step()
    assert rates(optimizer) == [3.5, 0.025]


# --- states ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [False, True])
def test_a_state_goes_on(text):
    optimizer = rule()
    schedule = optim.CosineAnnealingLR(optimizer, 10, eta_min=0.001)
    for _ in range(4):
        schedule.step()
    optimizer.param_groups[1]["lr"] = 0.03
    schedule.step()
    state = schedule.state_dict()
    state = json.loads(json.dumps(state)) if text else copy.deepcopy(state)
    theirs = copy.deepcopy(optimizer.state_dict())
    schedule.step()
    again = rule(3.0)
    other = optim.CosineAnnealingLR(again, 3)
    again.load_state_dict(theirs)
    other.load_state_dict(state)
    other.step()
    assert rates(again) == rates(optimizer)
    assert other.state_dict() == schedule.state_dict()


def test_a_state_of_another_kind_is_refused_and_changes_nothing():
    schedule = optim.StepLR(rule(), 2)
    before = schedule.state_dict()
    other = optim.StepLR(optim.SGD(two()), 2).state_dict()
    for state in (optim.CosineAnnealingLR(rule(), 2).state_dict(), other, {}, 3):
        with pytest.raises(ValueError, match=r"StepLR: the state is of another kind, .*it must be what state_dict\(\)"):
            schedule.load_state_dict(state)
    assert schedule.state_dict() == before


def test_last_epoch_goes_on_with_a_loaded_optimizer():
    optimizer = rule()
    schedule = optim.StepLR(optimizer, 2, 0.5)
    for _ in range(3):
        schedule.step()
    again = rule(5.0)
    again.load_state_dict(optimizer.state_dict())
    other = optim.StepLR(again, 2, 0.5, last_epoch=2)
    assert (other.last_epoch, rates(again)) == (3, rates(optimizer))
    schedule.step(), other.step()
    assert rates(again) == rates(optimizer) == [0.025, 0.0125]
    with pytest.raises(
        ValueError, match="last_epoch is 2, and the optimizer has had no schedule; load its state first"
    ):
        optim.StepLR(rule(), 2, last_epoch=2)


# --- with an optimizer, in fit ---------------------------------------------------------------------------------------

BOTH = {
    "epochs": ({"step_size": 2, "gamma": 0.5}, "epoch"),
    "steps": ({"step_size": 2, "gamma": 0.9}, "step"),
}


@pytest.mark.parametrize("chosen", BOTH)
def test_fit_takes_one_that_has_the_optimizer(chosen):
    options, every = BOTH[chosen]
    nets = [net() for _ in range(3)]
    rules = [optim.SGD(model.parameters(), lr=0.1, momentum=0.9) for model in nets]
    fit(nets[0], rules[0], 5, schedule=optim.StepLR(**options), schedule_every=every)
    fit(nets[1], rules[1], 5, schedule=optim.StepLR(rules[1], **options), schedule_every=every)
    schedule = optim.StepLR(rules[2], **options)
    for epochs in (2, 0, 3):
        fit(nets[2], rules[2], epochs, schedule=schedule, schedule_every=every)
    assert bits(nets[0]) == bits(nets[1]) == bits(nets[2])
    assert schedule.last_epoch == (5 if every == "epoch" else 15)
    assert rates(rules[2]) == schedule.get_last_lr() == [0.1 * options["gamma"] ** (schedule.last_epoch // 2)]


def test_a_loop_and_fit_take_turns():
    """Two epochs by hand and two by fit have the rates of four by hand."""
    seen = []
    for by_hand in ((0, 1, 2, 3), (0, 1), (2, 3)):
        model = net()
        optimizer, found = optim.SGD(model.parameters(), lr=0.8), []
        schedule = Halving(optimizer)
        look = lambda model, history, schedule=schedule, found=found: found.append(schedule.get_last_lr()[0])  # noqa: E731
        for epoch in range(4):
            if epoch in by_hand:
                schedule.step()
                found.append(rates(optimizer)[0])
            else:
                fit(model, optimizer, 1, schedule=schedule, callbacks=[look])
        seen.append(found)
    assert seen[0] == seen[1] == seen[2] == [0.4, 0.2, 0.1, 0.05]


def test_one_with_another_optimizer_is_refused():
    model = net()
    for optimizer in (optim.SGD(model.parameters()), None):
        with pytest.raises(ValueError, match="fit: schedule StepLR was made with another optimizer; make it with the"):
            fit(model, optimizer, 1, schedule=optim.StepLR(optim.SGD(model.parameters()), 2))


def test_an_epoch_that_was_interrupted_is_made_again_at_its_own_rates():
    model = net()
    optimizer = optim.SGD(model.parameters(), lr=0.8)
    schedule = optim.StepLR(optimizer, 1, 0.5)
    rates_of = optim.Rates(optimizer, schedule, "step", 2, 3)
    first = rates_of.of_epoch(1)  # and its training is broken off
    assert rates(optimizer) == [0.2]
    assert optim.Rates(optimizer, schedule, "step", 2, 3).of_epoch(1).tolist() == first.tolist()


# --- the line about the rates ----------------------------------------------------------------------------------------


def test_the_first_lines_say_the_rates(capsys):
    model = net()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    options = {"schedule": optim.CosineAnnealingLR(10), "progress": "table"}
    fit(model, optimizer, 5, **options)
    fit(model, optimizer, 5, **options)
    fit(model, optimizer, 0, **options)
    fit(model, optimizer, 1, **options | {"progress": False})
    model = net()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    fit(model, optimizer, 1, **options)
    fit(model, optimizer, 2, schedule=optim.StepLR(3), schedule_every="step", progress="table")
    assert lines(capsys) == [
        "CosineAnnealingLR, epoch by epoch: learning rate 0.1 at the start (epoch 1), 0.0905 in the middle (epoch 3), "
        "0.0655 at the end (epoch 5)",
        "CosineAnnealingLR, epoch by epoch: learning rate 0.05 at the start (epoch 6), 0.0206 in the middle (epoch 8), "
        "0.00245 at the end (epoch 10)",
        "CosineAnnealingLR, epoch by epoch: learning rate 0.1 at the start (epoch 1)",
        "StepLR, step by step: learning rate 0.01 at the start (step 4), 0.001 in the middle (step 7), "
        "0.001 at the end (step 9)",
    ]


def test_the_line_tells_of_several_groups(capsys):
    model = net()
    first, *others = model.parameters()
    optimizer = optim.SGD([{"params": [first], "lr": 1.0}, {"params": others}], lr=0.1)
    fit(model, optimizer, 1, schedule=optim.StepLR(3), progress="table")
    assert lines(capsys) == [
        "StepLR, epoch by epoch: learning rate 1 (of the first of 2 groups) at the start (epoch 1)"
    ]


def test_fit_without_a_schedule_says_nothing_of_rates(capsys):
    fit(net(), None, 1, progress="table")
    assert lines(capsys) == []


# --- options of a step -----------------------------------------------------------------------------------------------


def test_the_options_of_a_step_have_its_rate():
    """In float64, where a half of each is the whole: the rule that reads the options is plain SGD."""
    found = []
    for kind in (ByOption, optim.SGD):
        fm.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 16, dtype=np.float64), nn.ReLU(), nn.Linear(16, 3, dtype=np.float64))
        history = fm.fit(
            model, data(np.float64), optimizer=kind(model.parameters(), lr=0.1), epochs=2, batch_size=10,
            schedule=optim.StepLR(1, 0.8), schedule_every="step", progress=False,
        )  # fmt: skip
        assert history[-1].ran_on == "engine"
        found.append(bits(model))
    assert found[0] == found[1]
