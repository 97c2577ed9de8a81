"""Schedules in a loop of one's own, and one with an optimizer in `fit`; the lines about the rates."""

import copy
import json

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import kernels, nn, optim


def data(dtype=np.float32) -> fm.Dataset:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 8)).astype(dtype)
    return fm.Dataset(x, (x[:, 0] > 0).astype(int) + (x[:, 1] > 0))


def net() -> nn.Sequential:
    fm.manual_seed(0)
    return nn.MLP(8, (16,), 3, dropout=0.3)


def rule(lr=0.1, kind=optim.SGD, **options) -> optim.Optimizer:
    """A rule with two groups, the second at half the rate."""
    return kind([{"params": [p], "lr": r} for p, r in zip(two(), (lr, lr / 2), strict=True)], **options)


def two() -> list[fm.Parameter]:
    return [fm.Parameter(np.ones(2)), fm.Parameter(np.ones(3))]


def rates(optimizer) -> list[float]:
    return [group["lr"] for group in optimizer.param_groups]


def fit(model, optimizer, epochs, **options):
    options = {"batch_size": 32, "progress": False} | options
    return fm.fit(model, data(), optimizer=optimizer, epochs=epochs, **options)


def bits(model):
    return {name: array.tobytes() for name, array in model.state_dict().items()}


class OnGraph(nn.Sequential):
    """On the graph."""

    def forward(self, x: fm.Tensor) -> fm.Tensor:
        return super().forward(x)


class Halving(optim.Schedule):
    """Somebody's own, without a constructor."""

    def rate(self, start, done, total):
        return start / 2**done


class Slower(optim.StepLR):
    """Somebody's own, with PyTorch's way to write a constructor."""

    def __init__(self, optimizer, factor):
        super().__init__(optimizer, step_size=1, gamma=factor)


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


def lines(capsys) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if "learning rate" in line]


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


# --- options of a step -----------------------------------------------------------------------------------------------


@kernels.kernel
def option_scale(option, lr, t, scale):
    """scale = (lr as the options have it,)."""
    scale[0] = option[0]


@kernels.kernel
def option_update(p, g, m, v, u, option, scale):
    """p ← p - lr g."""
    for i in range(p.size):
        p[i] -= p.dtype.type(option[0] * 0.5 + scale[0] * 0.5) * g[i]


class ByOption(optim.Optimizer):
    """Takes the rate from its options, where a rule of somebody's own may look for it."""

    scale, update = staticmethod(option_scale), staticmethod(option_update)
    counts_steps = False

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})


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
