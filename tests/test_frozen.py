"""Frozen parameters, an optimizer that holds some of the model's, and groups with options of their own.

Engine and graph do the same to the bit, for every number of threads. tests/test_peers_steps.py has PyTorch beside it.
"""

import numpy as np
import pytest
from test_engine import Changing, data_set, same_bits, silent, state_of

import fastmlp as fm
from fastmlp import nn, optim
from fastmlp.running import nodes
from fastmlp.running.engine import Engine
from fastmlp.running.pace import Fixed
from fastmlp.running.plan import obstacle
from fastmlp.running.rows import batches as batches_of
from fastmlp.running.verify import verify
from fastmlp.training.checks import batch_sizes


def net(dtype=np.float32) -> nn.Sequential:
    """0 norm, 1 linear, 2 norm by rows, 3 relu, 4 linear, 5 norm, 6 tanh, 7 linear."""
    fm.manual_seed(0)
    model = nn.Sequential(
        nn.BatchNorm1d(20), nn.Linear(20, 70), nn.LayerNorm(70), nn.ReLU(), nn.Linear(70, 40), nn.BatchNorm1d(40),
        nn.Tanh(), nn.Linear(40, 3),
    )  # fmt: skip
    return model.double() if dtype == np.float64 else model


def parts(*wanted: str):
    """What freezes all parameters but those whose name begins so."""

    def freeze(model: nn.Module) -> None:
        for name, parameter in model.named_parameters():
            parameter.requires_grad = name.startswith(wanted)

    return freeze


FROZEN = {
    "nothing": lambda model: None,
    "all but the last layer": parts("7"),
    "all but the first": parts("0"),
    "all but a norm of the middle": parts("5"),
    "all but a norm by rows": parts("2"),
    "the weights": parts("1.bias", "4.bias", "7.bias"),
    "the biases": parts("1.weight", "4.weight", "7.weight"),
    "a norm's half": parts("0.weight", "5.bias", "7"),
    "the first linear": parts("0", "2", "4", "5", "7"),
}


def trained(how, freeze=lambda model: None, rule=None, dtype=np.float32, rates=None):
    """(model, optimizer) after two epochs on the graph, or on so many threads, or on a changing number of them."""
    model, data = net(dtype), data_set(20, 3, 110, dtype)
    freeze(model)
    optimizer = rule(model) if rule else optim.AdamW(model.parameters(), lr=0.02)
    sizes = batch_sizes(len(data), 16, True)
    orders = [np.random.default_rng(epoch).permutation(len(data)) for epoch in range(2)]
    if how == "graph":
        for order in orders:
            nodes.epoch(model, optimizer, nn.CrossEntropyLoss(), data, order, sizes, silent, rates)
    else:
        pace = Changing(3, 5) if how == "changing" else Fixed(how)
        with Engine(model, optimizer, 20, max(sizes), 4, pace, None if how == 1 else 2) as engine:
            for order in orders:
                engine.epoch(data, order, sizes, rates=rates)
    return model, optimizer


@pytest.mark.parametrize("name", FROZEN)
def test_engine_and_graph_freeze_the_same_for_every_number_of_threads(name):
    want = state_of(*trained("graph", FROZEN[name]))
    for how in (1, 2, 3, 4, "changing"):
        same_bits(state_of(*trained(how, FROZEN[name])), want)


@pytest.mark.parametrize("how", ["graph", 2])
@pytest.mark.parametrize("name", FROZEN)
def test_what_is_frozen_keeps_its_numbers_and_gets_no_state(name, how):
    fresh = net()
    model, optimizer = trained(how, FROZEN[name])
    for i, ((_, before), (_, after)) in enumerate(zip(fresh.named_parameters(), model.named_parameters(), strict=True)):
        assert np.array_equal(before.data, after.data) != after.requires_grad
        assert (i in optimizer.state) == after.requires_grad
    assert not np.array_equal(model[0].running_mean, fresh[0].running_mean), "a frozen norm still measures in training"


@pytest.mark.parametrize("how", ["graph", 1, 2])
def test_what_the_optimizer_does_not_hold_is_frozen(how):
    """PyTorch makes gradients for it, and changes it no more than we do."""

    def some(model):
        return optim.AdamW([*model[4].parameters(), model[7].weight], lr=0.02)

    model, optimizer = trained(how, rule=some)
    want = trained("graph", parts("4", "7.weight"))[0]
    same_bits(dict(model.state_dict()), dict(want.state_dict()))
    assert sorted(optimizer.state) == [0, 1, 2]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_parameter_of_another_model_in_the_optimizer_gets_no_step():
    other = nn.Linear(2, 2)
    kept = other.weight.data.copy()

    def rule(model):
        return optim.AdamW([other.weight, *model.parameters()], lr=0.02)

    for how in ("graph", 2):
        model, optimizer = trained(how, rule=rule)
        same_bits(dict(model.state_dict()), dict(trained("graph")[0].state_dict()))
        assert np.array_equal(other.weight.data, kept)
        assert 0 not in optimizer.state


def evaluating(*places: int, freeze=lambda model: None):
    """Layers in evaluation mode while the others train."""

    def change(model: nn.Module) -> None:
        freeze(model)
        for place in places:
            model[place].eval()

    return change


MODES = {
    "a norm": evaluating(0),
    "both norms, with frozen parameters": evaluating(0, 5, freeze=parts("1", "4", "7")),
    "all that do the same in both modes": evaluating(1, 3, 4, 6, 7),
    "a norm over what is frozen": evaluating(5, freeze=parts("5", "7")),
}


@pytest.mark.parametrize("name", MODES)
def test_layers_in_evaluation_mode_stay_there_while_others_train(name):
    want_model, want_optimizer = trained("graph", MODES[name])
    want = state_of(want_model, want_optimizer)
    for how in (1, 2, 3, 4, "changing"):
        same_bits(state_of(*trained(how, MODES[name])), want)
    for place in (0, 5):
        moved = want_model[place].num_batches_tracked == 14
        assert moved == want_model[place].training
        assert moved == (not np.array_equal(want_model[place].running_mean, np.zeros(len(net()[place].running_mean))))


def test_a_dropout_in_evaluation_mode_drops_nothing_and_counts_no_step():
    results = []
    for graph in (False, True):
        fm.manual_seed(0)
        model = nn.Sequential(nn.Dropout(0.5), nn.Linear(20, 8), nn.Dropout(0.5), nn.Linear(8, 3), nn.Dropout(0.5))
        model[0].eval(), model[4].eval()
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        data, order = data_set(20, 3, 60), np.arange(60)
        if graph:
            nodes.epoch(model, optimizer, nn.CrossEntropyLoss(), data, order, [20] * 3, silent)
        else:
            with Engine(model, optimizer, 20, 20, 2, Fixed(2)) as engine:
                assert len(engine.plan.rows) == 3
                engine.epoch(data, order, [20] * 3)
                model[0].train()
                assert not engine.fits(), "another mode is another plan"
        assert [model[k].step for k in (0, 2, 4)] == [0, 3, 0]
        results.append(state_of(model, optimizer))
    same_bits(*results)


def test_a_layer_that_declares_no_way_back_for_evaluation_trains_on_the_graph_in_it():
    model = net()
    optimizer = optim.SGD(model.parameters())
    model[2].eval()
    words = "a LayerNorm is in evaluation mode and declares no kernels to train in it"
    assert obstacle(model, optimizer) == words
    assert obstacle(model) is None, "to predict"


def test_a_frozen_array_may_be_read_only():
    """Such as a memory map of a large embedding: nobody writes to it."""

    def freeze(model):
        parts("7")(model)
        for parameter in model[1].parameters():
            parameter.data.flags.writeable = False

    same_bits(state_of(*trained(2, freeze)), state_of(*trained("graph", parts("7"))))


def test_a_frozen_array_need_not_be_contiguous():
    model = net()
    model[1].weight.data = np.asfortranarray(model[1].weight.data)
    assert obstacle(model, optim.SGD(model.parameters())) == "a parameter is not contiguous"
    assert obstacle(model, optim.SGD(model[7].parameters())) is None


def sends(model, optimizer) -> list[int]:
    engine = Engine(model, optimizer, 20, 16, 1)
    return list(engine.plan.rows["sends"])


def test_no_gradient_goes_below_the_lowest_that_is_trained():
    for name, want in (
        ("7", [0, 0, 0, 0, 0, 0, 0, 0]),
        ("4", [0, 0, 0, 0, 0, 1, 1, 1]),
        ("5", [0, 0, 0, 0, 0, 1, 1, 1]),  # its backward makes its own gradients
        ("2", [0, 0, 0, 1, 1, 1, 1, 1]),  # a kernel of its own makes them
        ("0", [1, 1, 1, 1, 1, 1, 1, 1]),
    ):
        model = net()
        parts(name)(model)
        assert sends(model, optim.SGD(model.parameters())) == want, name
    model = net()
    assert sends(model, optim.SGD(model[7].parameters())) == [0] * 8


def test_who_trains_nothing_is_refused_before_the_first_step():
    model, data = net(), data_set(20, 3, 60)
    parts("nothing")(model)
    optimizer = optim.SGD(model.parameters())
    assert obstacle(model, optimizer) == "the optimizer holds no parameter of the model that requires grad"
    with pytest.raises(
        ValueError, match="fit: no parameter that optimizer holds requires grad; one at least must be trained"
    ):
        fm.fit(model, data, optimizer=optimizer, progress=False)
    with pytest.raises(ValueError, match="fit: no parameter requires grad; one at least must be trained"):
        fm.fit(model, data, progress=False)


# Groups: each option of each rule differs between the first and the second, one of them the biases without decay.
GROUPS = {
    "sgd": (optim.SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True},
            {"lr": 0.01, "momentum": 0.5, "dampening": 0.3, "weight_decay": 0.0}),
    "sgd with momentum in one": (optim.SGD, {"lr": 0.05}, {"lr": 0.02, "momentum": 0.9}),
    "adam": (optim.Adam, {"lr": 0.02, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.2},
             {"lr": 0.005, "betas": (0.95, 0.999), "eps": 1e-8}),
    "adamw": (optim.AdamW, {"lr": 0.02, "weight_decay": 0.3, "betas": (0.5, 0.6)}, {"lr": 0.01, "weight_decay": 0.0}),
    "lion": (optim.Lion, {"lr": 0.002, "betas": (0.9, 0.99), "weight_decay": 0.5}, {"lr": 0.001, "weight_decay": 0.0}),
}  # fmt: skip


def in_groups(name):
    """An optimizer of two groups, weights and biases, whose options differ."""
    kind, first, second = GROUPS[name]

    def rule(model):
        named = list(model.named_parameters())
        biases = [parameter for key, parameter in named if key.endswith("bias")]
        weights = [parameter for key, parameter in named if key.endswith("weight")]
        return kind([{"params": biases, **second}, {"params": weights, **first}])

    return rule


@pytest.mark.parametrize("rates", [None, "a schedule"])
@pytest.mark.parametrize("name", GROUPS)
def test_options_of_a_group_are_its_own(name, rates):
    """On the graph, on the engine, and in two optimizers, each with the options of one group."""
    given = np.random.default_rng(3).uniform(0.001, 0.02, (7, 2)) if rates else None
    want_model, want = trained("graph", rule=in_groups(name), rates=given)
    for how in (1, 2, 4, "changing"):
        same_bits(state_of(*trained(how, rule=in_groups(name), rates=given)), state_of(want_model, want))
    if rates is None:
        apart = net()
        both = in_groups(name)(apart)
        kind, *options = GROUPS[name]
        alone = [kind(g["params"], **o) for g, o in zip(both.param_groups, reversed(options), strict=True)]
        data, sizes = data_set(20, 3, 110), batch_sizes(110, 16, True)
        for epoch in range(2):
            order = np.random.default_rng(epoch).permutation(len(data))
            for x, y in batches_of(data, order, sizes, np.float32):
                apart.zero_grad()
                nn.CrossEntropyLoss()(apart(x), y).backward()
                [optimizer.step() for optimizer in alone]
        same_bits(dict(apart.state_dict()), dict(want_model.state_dict()))


@pytest.mark.parametrize("kind", optim.RULES.values())
def test_every_option_of_every_rule_may_differ_by_group(kind):
    """The kernels get the numbers of the group: each option is changed in one group, and only that group notices."""
    base = net()
    plain = trained(2, rule=lambda m: kind([{"params": [*m[1].parameters()]}, {"params": [*m[7].parameters()]}]))[0]
    defaults = kind(base.parameters()).defaults
    for name, value in defaults.items():
        if name == "lazy":  # of sparse rows alone: the graph refuses it
            continue
        other = {"lr": 0.5, "nesterov": True, "betas": (0.5, 0.6), "dampening": 0.5, "momentum": 0.3}.get(name, 0.4)
        if isinstance(value, bool) and name != "nesterov":
            other = not value
        with_it = {name: other} | ({"momentum": 0.3} if name in ("nesterov", "dampening") else {})

        def rule(model, with_it=with_it):
            groups = [{"params": [*model[1].parameters()]}, {"params": [*model[7].parameters()], **with_it}]
            return kind(groups)

        got, graph = trained(2, rule=rule)[0], trained("graph", rule=rule)[0]
        same_bits(dict(got.state_dict()), dict(graph.state_dict()))
        if name in ("lr", "weight_decay", "momentum", "betas"):
            assert not np.array_equal(got[7].weight.data, plain[7].weight.data), name


def test_a_plan_that_sends_no_gradient_to_what_is_trained_is_refused():
    model = net()
    plan = Engine(model, optim.SGD(model.parameters()), 20, 16, 1).plan
    plan.rows[4]["sends"] = 0
    with pytest.raises(RuntimeError, match="plan: layer 4: a layer below is trained, and gets no gradient"):
        verify(plan)
