"""Random nets of all declared kinds: the same bits on the graph, on the engine with any threads, and in predictions."""

from functools import partial

import contract
import contract_losses
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastmlp as fm
from fastmlp.running.plan import obstacle
from fastmlp.running.rows import batches as batches_of
from fastmlp.running.rows import dtype_of

# The same examples each run; a first call compiles.
NETS = settings(deadline=None, max_examples=15, derandomize=True, suppress_health_check=list(HealthCheck))
DTYPES = [np.float32, np.float64]
ROWS = 33  # two batches: more threads than there are cores take long for a step
KINDS = [np.uint8, np.float32, np.float64]


def evaluated(model, data):
    """What the graph makes of all rows in evaluation mode."""
    x, _ = next(batches_of(data, np.arange(len(data)), [len(data)], dtype_of(model)))
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    with fm.no_grad():
        z = model(x).data
    for module, training in modes:
        module.train(training)
    return z


def assert_same_bits(make, rule, loss, data, hows=contract.HOWS, **how_long):
    """Train the net that `make` gives in these ways; compare all that changed, and the predictions afterwards."""
    first = None
    for how in hows:
        model = make()
        assert obstacle(model) is None
        state = contract.train(how, model, contract.optimizer(model, *rule), loss, data, **how_long)
        first = first or state
        assert contract.differing(state, first) == [], how
        if how == "graph":
            z = evaluated(model, data)
        elif how != "changing":
            predictor = fm.Predictor(model, how)
            assert np.array_equal(predictor(data.features), z, equal_nan=True)
            assert np.array_equal(predictor(data.features[0]), z[0], equal_nan=True)


@NETS
@given(
    contract.nets(),
    st.sampled_from(contract.cases(contract.RULES)),
    st.sampled_from(contract.cases(contract.LOSSES)),
    st.sampled_from(DTYPES),
    st.sampled_from(KINDS),
    st.integers(4, 33),
    st.integers(1, 7),
)
def test_random_nets_have_the_same_bits(net, rule, loss, dtype, kind, batch, chunk):
    loss = contract.loss(*loss, net.outputs)
    data = contract.data_set(loss, net.features, net.outputs, 50, kind, net.seed)
    assert_same_bits(partial(net.make, dtype), rule, loss, data, batch=batch, chunk=chunk)


@pytest.mark.parametrize(("name", "chosen"), contract.cases(contract.LAYERS))
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_layer_first_between_and_last_has_the_same_bits(name, chosen, dtype):
    place, loss = (name, chosen, 19), contract.loss("cross_entropy", "plain")
    layers = (place, ("Linear", "plain", 37), place, ("Dropout", "few", 1), ("Linear", "plain", 5), place)
    net = contract.Net(21, layers, 1)
    data = contract.data_set(loss, 21, net.outputs, ROWS, np.float32, 2)
    assert_same_bits(partial(net.make, dtype), ("sgd", "momentum"), loss, data, chunk=3)


def plain(outputs=5):
    return contract.Net(21, (("Linear", "plain", 37), ("Tanh", "plain", 1), ("Linear", "plain", outputs)), 1)


@pytest.mark.parametrize(("name", "chosen"), contract.cases(contract.RULES))
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_rule_has_the_same_bits(name, chosen, dtype):
    loss = contract.loss("cross_entropy", "plain")
    data = contract.data_set(loss, 21, 5, ROWS, np.float32, 2)
    assert_same_bits(partial(plain().make, dtype), (name, chosen), loss, data, contract.FEWER, chunk=3)


@pytest.mark.parametrize(("name", "chosen"), contract.cases(contract.LOSSES))
@pytest.mark.parametrize("outputs", [1, 5, 18])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_loss_has_the_same_bits(name, chosen, outputs, dtype):
    outputs = max(outputs, contract_losses.least_columns(contract.loss(name, chosen)))
    loss = contract.loss(name, chosen, outputs)
    data = contract.data_set(loss, 21, outputs, ROWS, np.float32, 2)
    assert_same_bits(partial(plain(outputs).make, dtype), ("adam", "plain"), loss, data, contract.FEWER, chunk=3)


@pytest.mark.parametrize(("name", "chosen"), contract.cases(contract.LOSSES))
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_every_loss_has_the_same_bits_with_weights_of_rows(name, chosen, reduction):
    """Some rows count nothing, and all of the second batch: it moves nothing but the rule's own counters."""
    loss = contract.loss(name, chosen, 5, reduction=reduction)
    data = contract.data_set(loss, 21, 5, ROWS, np.float32, 2, weighted=True)
    data.sample_weight[np.random.default_rng(0).permutation(ROWS)[16:]] = 0  # as the first epoch orders them
    assert_same_bits(partial(plain(5).make, np.float32), ("sgd", "momentum"), loss, data, contract.FEWER, chunk=3)


def test_one_number_a_row_may_come_without_an_axis():
    """Numbers (N,) for a model with one output are those of (N, 1)."""
    for loss in (contract.loss(*case, 1) for case in contract.cases(contract.LOSSES)):
        if loss.targets != "numbers":
            continue
        wide = contract.data_set(loss, 21, 1, ROWS, np.float32, 2)
        flat = fm.Dataset(wide.features, wide.targets.reshape(-1))
        for how in ("graph", 2):
            states = []
            for data in (wide, flat):
                model = plain(1).make(np.float64)
                states.append(contract.train(how, model, contract.optimizer(model, "sgd", "plain"), loss, data))
            assert contract.differing(*states) == []


@pytest.mark.parametrize(("name", "chosen"), contract.cases(contract.OF_DONE))
@pytest.mark.parametrize(("every", "rule_of"), [("epoch", "adam"), ("step", "adam"), ("step", "sgd")])
def test_every_schedule_has_the_same_bits(name, chosen, every, rule_of):
    """Plain SGD gets a momentum from a schedule that moves it."""
    loss, first = contract.loss("cross_entropy", "plain"), None
    data = contract.data_set(loss, 21, 5, ROWS, np.float32, 2)
    for how in contract.FEWER:
        model = plain().make(np.float32)
        rule = contract.optimizer(model, rule_of, "plain")
        schedule = fm.optim.SCHEDULES[name](**contract.SCHEDULES[name].options[chosen])
        rates = fm.optim.Rates(rule, schedule, every, 3, len(contract.batch_sizes(ROWS, 16)))
        state = contract.train(how, model, rule, loss, data, epochs=3, chunk=2, rates=rates.of_epoch)
        state["rates"] = np.array([group["lr"] for group in rule.param_groups])
        first = first or state
        assert contract.differing(state, first) == [], how


@pytest.mark.parametrize(("name", "chosen"), contract.cases(contract.WATCHING))
def test_what_watches_has_the_same_bits(name, chosen):
    """With the losses that engine and graph have found themselves."""
    loss, first = contract.loss("cross_entropy", "plain"), None
    data = contract.data_set(loss, 21, 5, ROWS, np.float32, 2)
    for how in contract.HOWS:
        model, seen = plain().make(np.float32), []
        rule = contract.optimizer(model, "adam", "plain")
        schedule = fm.optim.SCHEDULES[name](rule, **contract.SCHEDULES[name].options[chosen])

        def look(model, mean, score, schedule=schedule, seen=seen):
            schedule.step(mean if schedule.mode == "min" else score)
            seen.append(schedule.get_last_lr())

        state = contract.train(how, model, rule, loss, data, epochs=14, chunk=2, after=look)
        state["rates"] = np.array(seen)
        first = first or state
        assert contract.differing(state, first) == [], how


def test_the_comparison_of_bits_can_fail():
    """One number, one bit away; a result of another dtype; one that is not there."""
    state = {"weight": np.ones(3, np.float32)}
    assert contract.differing(state, {"weight": np.ones(3, np.float32)}) == []
    assert contract.differing(state, {"weight": np.nextafter(state["weight"], [1, 1, 2], dtype=np.float32)}) == [
        "weight"
    ]
    assert contract.differing(state, {"weight": np.ones(3)}) == ["weight"]
    assert contract.differing(state, {}) == ["weight"]


def test_numbers_that_only_the_engine_has_are_noticed():
    """The control of all of the above: another rate for one parameter changes bits."""
    loss, states = contract.loss("cross_entropy", "plain"), []
    data = contract.data_set(loss, 21, 5, ROWS, np.float32, 2)
    for factor in (1, 1 + 1e-6):
        model = plain().make(np.float32)
        rule = contract.optimizer(model, "sgd", "plain")
        rule.param_groups[1]["lr"] *= factor
        states.append(contract.train(2, model, rule, loss, data))
    assert contract.differing(*states) != []


def test_the_random_nets_hold_every_layer_with_every_option_in_every_place():
    """No kind is left out by the strategy: before the first Linear, between two, after the last."""
    seen = set()

    @settings(NETS, max_examples=2000)
    @given(contract.nets())
    def look(net):
        linear = [i for i, (name, *_) in enumerate(net.layers) if name == "Linear"]
        for i, (name, chosen, _) in enumerate(net.layers):
            where = "first" if i < linear[0] else "last" if i > linear[-1] else "between"
            seen.add((name, chosen) if name == "Linear" else (name, chosen, where))

    look()
    expected = {
        place
        for case in contract.cases(contract.LAYERS)
        for place in ([case] if case[0] == "Linear" else [(*case, where) for where in ("first", "between", "last")])
    }
    assert seen == expected
