"""What a rule keeps: arrays that depend on its options, in one group or in all, on the engine and on the graph."""

import copy
from functools import partial

import contract
import numpy as np
import pytest

import fastmlp as fm
from fastmlp import nn, optim
from fastmlp.kernels import kernel
from fastmlp.running.engine import Engine

LOSS = contract.loss("cross_entropy", "plain")
SWITCHED = {  # rule -> the option that is set, and what is kept with it
    "sgd": [({"momentum": 0.9}, "momentum_buffer")],
    "adam": [({"amsgrad": True}, "max_exp_avg_sq")],
    "rmsprop": [({"momentum": 0.9}, "momentum_buffer"), ({"centered": True}, "grad_avg")],
    "adamw": [({"amsgrad": True}, "max_exp_avg_sq")],
}
CASES = [(name, options, array) for name, cases in SWITCHED.items() for options, array in cases]

every_switch = pytest.mark.parametrize(("name", "options", "array"), CASES)


def data() -> fm.Dataset:
    return contract.data_set(LOSS, 21, 5, 50, np.float32, 2)


def net() -> nn.Sequential:
    return contract.Net(21, (("Linear", "plain", 37), ("Tanh", "plain", 1), ("Linear", "plain", 5)), 1).make(np.float32)


class OnTheGraph(nn.Sequential):
    """The same layers, without the engine."""

    def forward(self, x: fm.Tensor) -> fm.Tensor:
        return super().forward(x)


def plain(state) -> dict[str, np.ndarray]:
    return {name: np.array(value) for name, value in state.items()}


def groups(model, **options) -> list[dict]:
    """The parameters in two groups; the second, and with it the last layer, has the options."""
    parameters = list(model.parameters())
    return [{"params": parameters[:2]}, {"params": parameters[2:], **options}]


def engine(model, optimizer) -> Engine:
    return Engine(model, optimizer, 21, 16, 2, loss=LOSS)


def test_every_array_that_an_option_decides_is_tried():
    declared = {(name, array) for name, rule in optim.RULES.items() for array in rule.only_with}
    assert declared == {(name, array) for name, _, array in CASES}


@every_switch
def test_an_array_that_no_group_keeps_has_no_memory(name, options, array):
    model, sizes = net(), []
    make = partial(optim.RULES[name], lr=0.01)
    at = optim.RULES[name].arrays.index(array)
    for optimizer in (make(model.parameters()), make(groups(model, **options)), make(model.parameters(), **options)):
        with engine(model, optimizer) as made:
            sizes.append((made.arrays[at].size, made.sum_of_buffers()))
    weights = made.weights.p.size
    assert [size for size, _ in sizes] == [1, weights, weights]
    assert sizes[1][1] - sizes[0][1] == 4 * 3 * weights  # float32, and two copies to go back to
    assert sizes[2][1] == sizes[1][1]


@every_switch
def test_an_option_of_one_group_alone_has_the_same_bits_everywhere(name, options, array):
    first = None
    for how in contract.HOWS:
        model = net()
        optimizer = optim.RULES[name](groups(model, **options), lr=0.01)
        state = contract.train(how, model, optimizer, LOSS, data(), chunk=2)
        first = first or state
        assert contract.differing(state, first) == [], how
        assert [array in optimizer.state.get(i, {}) for i in range(4)] == [False, False, True, True]
        stored = optimizer.state_dict()
        optimizer.load_state_dict(stored)
        optimizer.check()


@every_switch
def test_an_option_may_be_set_and_unset_between_epochs(name, options, array):
    """The engine is made again where the rule keeps one more array; what was kept before waits in the state."""
    option, value = next(iter(options.items()))

    def trained(model, ran_on):
        optimizer, states = optim.RULES[name](groups(model), lr=0.01), []

        def switch(model, history):
            optimizer.param_groups[1][option] = value if len(history) in (1, 3) else type(value)()
            states.append(copy.deepcopy(optimizer.state))

        history = fm.fit(
            model, data(), optimizer=optimizer, epochs=5, batch_size=16, progress=False, callbacks=[switch]
        )  # fmt: skip
        assert set(history.column("ran_on")) == {ran_on}
        return history.column("train_loss"), model.state_dict(), states

    results = trained(net(), "engine"), trained(OnTheGraph(*net()), "graph")
    (losses, weights, states), (others, twins, expected) = results
    assert losses == others
    assert contract.differing(weights, twins) == []
    for ours, theirs in zip(states, expected, strict=True):
        for i in range(4):
            assert contract.differing(*(plain(state.get(i, {})) for state in (ours, theirs))) == []
    assert [array in state.get(3, {}) for state in states] == [False, True, True, True, True]
    first, without, again = (state[3][array] for state in states[1:4])
    assert np.array_equal(first, without)  # nobody touches it
    assert not np.array_equal(without, again)


@every_switch
def test_the_check_of_a_state_knows_what_the_options_allow(name, options, array):
    model = net()
    optimizer = optim.RULES[name](groups(model, **options), lr=0.01)
    contract.train("graph", model, optimizer, LOSS, data(), epochs=1)
    stored = optimizer.state_dict()
    own = np.array(stored["state"][3].pop(array))
    optimizer.load_state_dict(stored)  # as where the option was set just now
    assert array not in optimizer.state[3]
    with pytest.raises(ValueError, match=f"parameter 3 holds .*'other'.*; it .*may hold .*{array}"):
        optimizer.load_state_dict(stored | {"state": {3: {**stored["state"][3], array: own, "other": own}}})
    with pytest.raises(ValueError, match=f"{array} of parameter 3 is "):
        optimizer.load_state_dict(stored | {"state": {3: {**stored["state"][3], array: own[:2]}}})


@kernel
def own_scale(option, lr, t, scale):
    """scale = (lr,)."""
    scale[0] = lr


@kernel
def careless_update(p, g, m, v, u, option, scale):
    """It writes to m with and without momentum."""
    for i in range(p.size):
        m[i] = g[i]


class Careless(optim.Optimizer):
    """A rule whose kernel does not look at its option."""

    scale, update = staticmethod(own_scale), staticmethod(careless_update)
    arrays, only_with = ("momentum_buffer",), {"momentum_buffer": "momentum"}

    def __init__(self, params, lr=1e-3, momentum=0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum})


def test_a_kernel_that_touches_what_it_does_not_keep_is_refused():
    parameter = fm.Parameter(np.ones(3))
    parameter.grad = np.ones(3)
    Careless([parameter], momentum=0.5).step()
    with pytest.raises(TypeError, match="Careless: careless_update reaches beyond its arguments"):
        Careless([parameter]).step()


@pytest.mark.parametrize("declared", [{"momentum_buffer": "mu"}, {"m": "momentum"}])
def test_a_declaration_of_what_is_not_there_is_refused(declared):
    kind = type("Own", (Careless,), {"only_with": declared})
    with pytest.raises(TypeError, match=r"Own: only_with has .*; it must be an array and an option"):
        kind([fm.Parameter(np.ones(3))])


# --- numbers that are carried from step to step ----------------------------------------------------------------------


@kernel
def product_scale(option, lr, t, scale):
    """P ← P (1 - μ / t);  scale = (P, lr (1 - P))."""
    scale[0] *= 1 - option[1] / t
    scale[1] = lr * (1 - scale[0])


@kernel
def product_update(p, g, m, v, u, option, scale):
    """p ← p - lr (1 - P) g."""
    rate = p.dtype.type(scale[1])
    for i in range(p.size):
        p[i] -= rate * g[i]


class Product(optim.Optimizer):
    """A rate that rises with a product over the steps."""

    scale, update = staticmethod(product_scale), staticmethod(product_update)
    numbers = {"product": 1.0}

    def __init__(self, params, lr=1e-3, momentum=0.5):
        super().__init__(params, {"lr": lr, "momentum": momentum})


def expected_product(steps, momentum=0.5):
    return float(np.prod([1 - momentum / t for t in range(1, steps + 1)]))


def halves(model) -> list[dict]:
    return [{**group, "momentum": momentum} for group, momentum in zip(groups(model), (0.5, 0.25), strict=True)]


def test_a_number_is_carried_the_same_everywhere():
    first = None
    for how in contract.HOWS:
        model = net()
        optimizer = Product(halves(model), lr=0.1)
        state = contract.train(how, model, optimizer, LOSS, data(), batch=4, chunk=1)  # threads come and go in an epoch
        first = first or state
        assert contract.differing(state, first) == [], how
        for i, momentum in enumerate((0.5, 0.5, 0.25, 0.25)):
            # twice 26 roundings
            assert optimizer.state[i]["product"] == pytest.approx(expected_product(26, momentum), rel=1e-14)
            assert type(optimizer.state[i]["product"]) is float


def test_a_number_goes_on_after_a_save_from_graph_to_engine_and_back():
    whole, parts = net(), net()
    fm.fit(whole, data(), optimizer=Product(whole.parameters(), 0.1), epochs=4, batch_size=16, progress=False)
    state = None
    for graph in (False, True, True, False):
        optimizer = Product(parts.parameters(), 0.1)
        if state is not None:
            optimizer.load_state_dict(state)
        model = OnTheGraph(*parts) if graph else parts
        fm.fit(model, data(), optimizer=optimizer, epochs=1, batch_size=16, progress=False)
        state = optimizer.state_dict()
    assert contract.differing(whole.state_dict(), parts.state_dict()) == []
    assert state["state"][0]["step"] == 16


def test_a_late_parameter_begins_its_own_number():
    late, early = (fm.Parameter(np.ones(3)) for _ in range(2))
    optimizer = Product([late, early])
    early.grad = np.ones(3)
    optimizer.step()
    late.grad = np.ones(3)
    optimizer.step()
    assert [optimizer.state[i]["product"] for i in (0, 1)] == [expected_product(1), expected_product(2)]


@pytest.mark.parametrize("value", [np.nan, "much", None, np.ones(2)])
def test_a_number_that_is_none_is_refused(value):
    optimizer = Product([fm.Parameter(np.ones(3))])
    with pytest.raises(ValueError, match=r"Product: product of parameter 0 is .*; it must be a finite number"):
        optimizer.load_state_dict(optimizer.state_dict() | {"state": {0: {"product": value, "step": 1}}})
    with pytest.raises(ValueError, match="it must hold product, step"):
        optimizer.load_state_dict(optimizer.state_dict() | {"state": {0: {"step": 1}}})


def test_numbers_that_cannot_be_declared_are_refused():
    parameter = fm.Parameter(np.ones(3))
    for numbers, words in (
        ({"step": 1.0}, 'none may be "step"'),
        ({f"n{i}": 0.0 for i in range(9)}, "numbers has 9 names; scale has room for 8"),
    ):
        with pytest.raises(TypeError, match=words):
            type("Own", (Product,), {"numbers": numbers})([parameter])


# --- what arrays start at, and switches ------------------------------------------------------------------------------


@kernel
def sum_update(p, g, m, v, u, option, scale):
    """m ← m + g²;  p ← p - lr g / (√m + ε)."""
    rate, eps = p.dtype.type(scale[0]), p.dtype.type(1e-8)
    for i in range(p.size):
        m[i] += g[i] * g[i]
        p[i] -= rate * g[i] / (np.sqrt(m[i]) + eps)


class Summed(optim.Optimizer):
    """A rule whose array starts at an option, and which has a switch."""

    scale, update = staticmethod(own_scale), staticmethod(sum_update)
    arrays, starts, switches = ("sum",), {"sum": "start"}, ("on",)

    def __init__(self, params, lr=0.1, start=0.5, on=False):
        super().__init__(params, {"lr": lr, "start": start, "on": on})


def test_an_array_starts_at_its_option_everywhere():
    first = None
    for how in contract.HOWS:
        model = net()
        second = {"params": list(model.parameters())[2:], "start": 2.0}
        optimizer = Summed([{"params": list(model.parameters())[:2]}, second])
        state = contract.train(how, model, optimizer, LOSS, data(), chunk=2)
        first = first or state
        assert contract.differing(state, first) == [], how
    for i, start in enumerate((0.5, 0.5, 2.0, 2.0)):
        assert state[f"{i}.sum"].min() >= start
        assert state[f"{i}.sum"].min() < start + 0.1


def test_a_start_that_is_declared_of_nothing_is_refused():
    with pytest.raises(TypeError, match="Own: starts has sum: begin; it must be an array and an option"):
        type("Own", (Summed,), {"starts": {"sum": "begin"}})([fm.Parameter(np.ones(3))])


def test_a_switch_is_true_or_false_and_off_in_a_state_that_lacks_it():
    parameter = fm.Parameter(np.ones(3))
    with pytest.raises(TypeError, match=r"Summed: on is 0\.5; it must be True or False"):
        Summed([parameter], on=0.5)
    optimizer = Summed([parameter], on=True)
    state = optimizer.state_dict()
    del state["param_groups"][0]["on"]
    optimizer.load_state_dict(state)
    assert optimizer.param_groups[0]["on"] is False
    del state["param_groups"][0]["start"]
    with pytest.raises(ValueError, match="not one of Summed"):
        optimizer.load_state_dict(state)
