"""Every declared schedule with every set of options: its twin, and the rates that `fit` trains with."""

import json

import contract
import numpy as np
import pytest

import fastmlp as fm

CASES = contract.cases(contract.OF_DONE)
LONG = 60  # epochs or steps, past every length in the table

every_schedule = pytest.mark.parametrize(("name", "chosen"), CASES)


def made(name, chosen):
    return fm.optim.SCHEDULES[name](**contract.SCHEDULES[name].options[chosen])


def expected(name, chosen, start, done, total):
    known = contract.options_of(contract.SCHEDULES, fm.optim.SCHEDULES, name, chosen)
    return contract.SCHEDULES[name].twin(start, done, total, known)


def expected_momentum(name, chosen, done, total):
    """None where the schedule leaves it."""
    known = contract.options_of(contract.SCHEDULES, fm.optim.SCHEDULES, name, chosen)
    momentum = contract.SCHEDULES[name].momentum
    return momentum(done, total, known) if momentum else None


# --- complete --------------------------------------------------------------------------------------------------------


def test_every_declared_schedule_has_options_a_twin_and_a_peer():
    assert contract.gaps(fm.optim.SCHEDULES, contract.SCHEDULES) == []


def test_a_declared_schedule_that_is_in_no_table_is_noticed(monkeypatch):
    monkeypatch.setattr(fm.optim, "SCHEDULES", fm.optim.SCHEDULES | {"Planted": fm.optim.StepLR})
    assert contract.gaps(fm.optim.SCHEDULES, contract.SCHEDULES) == ["Planted has no entry in tests/contract.py"]


@pytest.mark.parametrize("lacking", ["twin", "peer"])
def test_an_entry_that_lacks_something_is_noticed(monkeypatch, lacking):
    entry = contract.ScheduleEntry(**vars(contract.SCHEDULES["StepLR"]) | {lacking: None})
    monkeypatch.setattr(contract, "SCHEDULES", contract.SCHEDULES | {"StepLR": entry})
    assert contract.gaps(fm.optim.SCHEDULES, contract.SCHEDULES) == [f"StepLR has no {lacking}"]


# --- numbers ---------------------------------------------------------------------------------------------------------


@every_schedule
@pytest.mark.parametrize("start", [1e-3, 0.1, 7.0])
@pytest.mark.parametrize("total", [1, 10, LONG])
def test_rates_are_those_of_the_twin(name, chosen, start, total):
    schedule = made(name, chosen)
    for done in range(total):
        rate = schedule.rate(start, done, total)
        assert isinstance(rate, float)
        # a power against a product of as many factors: a rounding each
        assert abs(rate - expected(name, chosen, start, done, total)) <= 1e-13 * max(start, rate)
        momentum = expected_momentum(name, chosen, done, total)
        momenta = schedule.momenta_of_groups(2, done, total)
        assert momenta is None if momentum is None else momenta == pytest.approx([momentum] * 2, rel=1e-13)


@every_schedule
def test_a_rate_is_a_function_of_what_is_done_alone(name, chosen):
    """Asked in any order it gives the same: a training that goes on has the rates of one that never ended."""
    schedule, order = made(name, chosen), np.random.default_rng(0).permutation(LONG)
    forward = [schedule.rate(0.1, done, LONG) for done in range(LONG)]
    assert [schedule.rate(0.1, int(done), LONG) for done in order] == [forward[done] for done in order]


@every_schedule
@pytest.mark.parametrize("every", ["epoch", "step"])
def test_fit_leaves_the_rates_of_the_twin_in_the_groups(name, chosen, every):
    """Of two groups, each from its own start; the last rate of an epoch stands there when it ends."""
    loss = contract.loss("cross_entropy", "plain")
    data = contract.data_set(loss, 7, 4, 50, np.float32, 0)
    model = contract.Net(7, (("Linear", "plain", 5), ("Tanh", "plain", 1), ("Linear", "plain", 4)), 0).make(np.float32)
    rule = contract.optimizer(model, "sgd", "momentum")
    starts, before = ([group[option] for group in rule.param_groups] for option in ("lr", "momentum"))
    seen, momenta = [], []

    def look(model, history):
        seen.append([group["lr"] for group in rule.param_groups])
        momenta.append([group["momentum"] for group in rule.param_groups])

    options = {"schedule": made(name, chosen), "schedule_every": every, "callbacks": [look]}
    fm.fit(model, data, optimizer=rule, epochs=10, batch_size=10, progress=False, **options)
    total, last = (10, range(10)) if every == "epoch" else (50, range(4, 50, 5))
    wanted = [[expected(name, chosen, start, done, total) for start in starts] for done in last]
    np.testing.assert_allclose(seen, wanted, rtol=1e-13)  # as above
    moved = [expected_momentum(name, chosen, done, total) for done in last]
    wanted = [before if momentum is None else [momentum] * 2 for momentum in moved]
    np.testing.assert_allclose(momenta, wanted, rtol=1e-13)


@every_schedule
@pytest.mark.parametrize("every", ["epoch", "step"])
def test_fit_trains_with_the_rates_of_the_twin(name, chosen, every):
    """A rule whose step is its rate: plain SGD on a loss with a gradient of ones, told step by step."""
    data = contract.data_set(contract.loss("cross_entropy", "plain"), 7, 4, 50, np.float64, 0)
    nets = []
    for by_hand in (False, True):
        model = contract.Net(7, (("Linear", "plain", 4),), 0).make(np.float64)
        rule = fm.optim.SGD(model.parameters(), lr=0.1)
        if not by_hand:
            options = {"schedule": made(name, chosen), "schedule_every": every}
            fm.fit(model, data, optimizer=rule, epochs=6, batch_size=10, progress=False, seed=3, **options)
        else:
            total = 6 if every == "epoch" else 30
            for step in range(30):
                epoch, batch = divmod(step, 5)
                rows = np.random.default_rng((3, epoch + 1)).permutation(50)[10 * batch : 10 * batch + 10]
                done = epoch if every == "epoch" else step
                rule.param_groups[0]["lr"] = expected(name, chosen, 0.1, done, total)
                if (momentum := expected_momentum(name, chosen, done, total)) is not None:
                    rule.param_groups[0]["momentum"] = momentum
                model.zero_grad()
                fm.ops.cross_entropy(model(fm.Tensor(data.features[rows])), data.labels[rows]).backward()
                rule.step()
        nets.append(model)
    for name, array in nets[0].state_dict().items():
        np.testing.assert_allclose(array, nets[1].state_dict()[name], rtol=1e-11, atol=1e-13)  # 30 steps of roundings


@pytest.mark.parametrize(("name", "chosen"), contract.cases(contract.SCHEDULES))
def test_a_state_goes_on_in_another_object(name, chosen):
    """Through a text, after 8 steps with rates that a hand has set, into a schedule that begins."""
    watches = fm.optim.SCHEDULES[name].watches
    step = lambda schedule, at: schedule.step(*[METRICS[at]] * watches)  # noqa: E731
    rules, schedules = [], []
    for _ in range(2):
        rules.append(
            fm.optim.SGD([{"params": [fm.Parameter(np.ones(2))], "lr": lr} for lr in (0.1, 3.0)], momentum=0.5)
        )
        schedules.append(contract.with_optimizer(name, chosen, rules[-1], LONG))
    for at in range(8):
        if at == 4:
            rules[0].param_groups[1]["lr"] = 0.7
        step(schedules[0], at)
    rules[1].load_state_dict(rules[0].state_dict())
    schedules[1].load_state_dict(json.loads(json.dumps(schedules[0].state_dict())))
    for at in range(8, LONG):
        for schedule in schedules:
            step(schedule, at)
        for option in ("lr", "momentum"):
            ours, theirs = ([group[option] for group in rule.param_groups] for rule in rules)
            assert ours == theirs
    assert schedules[0].state_dict() == schedules[1].state_dict()


@pytest.mark.parametrize(("name", "chosen"), contract.cases(contract.SCHEDULES))
def test_arguments_are_kept_by_their_names(name, chosen):
    schedule = made(name, chosen)
    for option, value in contract.SCHEDULES[name].options[chosen].items():
        assert getattr(schedule, option) == value


# --- what watches a metric -------------------------------------------------------------------------------------------

METRICS = np.random.default_rng(2).uniform(0.9, 1.1, LONG) * np.linspace(1, 0.5, LONG)  # one an epoch, up and down
watching = pytest.mark.parametrize(("name", "chosen"), contract.cases(contract.WATCHING))


def twin_of(name, chosen, start, metrics):
    known = contract.options_of(contract.SCHEDULES, fm.optim.SCHEDULES, name, chosen)
    return contract.SCHEDULES[name].twin(start, metrics, known)


@watching
@pytest.mark.parametrize("turned", [False, True])
def test_what_watches_has_the_rates_of_the_twin(name, chosen, turned):
    """In a loop of one's own, for groups with rates of their own."""
    metrics, seen = METRICS[::-1] if turned else METRICS, []
    optimizer = fm.optim.SGD([{"params": [fm.Parameter(np.ones(2))], "lr": lr} for lr in (0.1, 3.0)])
    schedule = fm.optim.SCHEDULES[name](optimizer, **contract.SCHEDULES[name].options[chosen])
    for metric in metrics:
        schedule.step(metric)
        seen.append(schedule.get_last_lr())
    np.testing.assert_array_equal(np.array(seen).T, [twin_of(name, chosen, start, metrics) for start in (0.1, 3.0)])
    assert seen[-1] != [0.1, 3.0]


@watching
@pytest.mark.parametrize("validation", [None, 0.3])
def test_fit_watches_what_is_held_out_or_the_training(name, chosen, validation):
    """In two calls, with the rates that the twin has for what the history tells, of rows without anything to learn."""
    data = fm.Dataset(np.zeros((60, 7), np.float32), np.arange(60) % 4)
    model = contract.Net(7, (("Linear", "plain", 5), ("Tanh", "plain", 1), ("Linear", "plain", 4)), 0).make(np.float32)
    rule, schedule = fm.optim.SGD(model.parameters(), lr=1.0), made(name, chosen)
    column = ("train" if validation is None else "validation") + ("_score" if schedule.mode == "max" else "_loss")
    seen, metrics = [], []
    for epochs in (13, 17):
        look = lambda model, history: seen.append(rule.param_groups[0]["lr"])  # noqa: E731
        history = fm.fit(
            model, data, validation, rule, epochs, 10, schedule=schedule, callbacks=[look], progress=False
        )  # fmt: skip
        metrics += history.column(column)
    assert seen == twin_of(name, chosen, 1.0, metrics)
    assert seen[-1] < 1


@pytest.mark.parametrize("every", ["epoch", "step"])
def test_a_rate_that_a_schedule_lets_vanish_does_not_end_the_training(every):
    """After 36 divisions by 10 it is below what float32 holds, and 0 to the kernels: no fault of anybody's."""
    data = fm.Dataset(np.eye(20, dtype=np.float32), np.arange(20) % 2)
    model = fm.nn.MLP(20, (4,), 2)
    optimizer = fm.optim.Adam(model.parameters())
    options = {"epochs": 45, "batch_size": 20} if every == "epoch" else {"epochs": 3, "batch_size": 1}
    schedule = fm.optim.StepLR(1)
    history = fm.fit(model, data, None, optimizer, **options, schedule=schedule, schedule_every=every, progress=False)
    assert len(history) == options["epochs"]
    assert optimizer.param_groups[0]["lr"] == 0
