"""Adam with lazy=True: on sparse rows only the weights of inputs that a batch has make its step."""

import copy

import numpy as np
import oracles
import pytest
import scipy.sparse as sp
from test_sparse_engine import CLASSES, INPUTS, ROWS, Own, matrix, model_of, state

import fastmlp as fm
from fastmlp import nn, optim
from fastmlp.running import owing
from fastmlp.running.door import inputs_at_once
from fastmlp.running.engine import Engine

SIZES, EPOCHS = [8] * 11 + [2], 3
SAME = 1e-12  # of numbers near 1: sums of products of float64 in another order, over 36 steps that go on from them


def data_of(x) -> fm.Dataset:
    return fm.Dataset(x, np.arange(x.shape[0]) % CLASSES)


def lazy(model, **options) -> optim.Adam:
    return optim.Adam(model.parameters(), **{"lr": 0.01, "lazy": True} | options)


def trained(model, optimizer, x, threads=1, **options):
    options = {"epochs": EPOCHS, "batch_size": 8} | options
    fm.fit(model, data_of(x), optimizer=optimizer, n_threads=threads, progress=False, **options)
    return state(model, optimizer)


def in_order(model, optimizer, x):
    """The steps of the twin, on two threads of the engine."""
    with Engine(model, optimizer, INPUTS, 8, 2, at_once=inputs_at_once(model, data_of(x).rows, 8)) as engine:
        for _ in range(EPOCHS):
            engine.epoch(data_of(x), np.arange(ROWS), SIZES)


def steps_of_the_twin(model, x, maximize=False):
    """(weights, moments of the first) by oracles.adam, on the rows of the weight that a batch has; all of the rest."""
    model = copy.deepcopy(model)
    loss, targets, at, t = nn.CrossEntropyLoss(), np.arange(ROWS) % CLASSES, 0, 0
    kept = [[np.zeros_like(p.data), np.zeros_like(p.data)] for p in model.parameters()]
    for size in SIZES * EPOCHS:
        rows, t = x[at : at + size], t + 1
        z = model(fm.Tensor(rows.toarray()))
        loss(z, targets[at : at + size]).backward()
        touched = np.unique(rows.indices)
        for i, (p, (m, v)) in enumerate(zip(model.parameters(), kept, strict=True)):
            part = (slice(None), touched) if i == 0 else (Ellipsis,)
            g = -p.grad if maximize else p.grad
            new = oracles.adam(p.data[part], g[part], m[part], v[part], 0.01, 0.9, 0.999, 1e-8, 0.0, t)
            p.data[part], m[part], v[part] = new
            p.grad = None
        at = (at + size) % ROWS
    return [p.data for p in model.parameters()], kept[0]


@pytest.mark.parametrize("maximize", [False, True])
def test_each_step_is_that_of_the_twin(maximize):
    x = matrix(0, dtype=np.float64)
    model = model_of(np.float64)
    wanted, (m, v) = steps_of_the_twin(model, x, maximize)
    optimizer = lazy(model, maximize=maximize)
    in_order(model, optimizer, x)
    for ours, twin in zip(model.parameters(), wanted, strict=True):
        assert np.abs(ours.data - twin).max() <= SAME
    assert np.abs(optimizer.state[0]["exp_avg"] - m).max() <= SAME
    assert np.abs(optimizer.state[0]["exp_avg_sq"] - v).max() <= SAME
    assert {values["step"] for values in optimizer.state.values()} == {len(SIZES) * EPOCHS}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_bits_for_every_number_of_threads_and_others_than_adam_s(dtype):
    x, found = matrix(1, dtype=dtype), []
    for threads in (1, 2, 3):
        model = model_of(dtype)
        found.append(trained(model, lazy(model), x, threads))
    assert found[0] == found[1] == found[2]
    model = model_of(dtype)
    assert trained(model, lazy(model, lazy=False), x) != found[0]


def test_where_every_batch_has_every_input_it_is_adam():
    x = sp.csr_matrix(np.random.default_rng(0).normal(size=(ROWS, 30)).astype(np.float32))
    found = []
    for switch in (False, True):
        model = model_of(inputs=30)
        found.append(trained(model, lazy(model, lazy=switch), x))
    assert found[0] == found[1]


def test_one_layer_alone_and_weights_that_are_averaged_after_each_step():
    """A last layer is computed by every thread; an average takes all weights as they are."""
    x, found = matrix(2), []
    for threads in (1, 3):
        fm.manual_seed(0)
        model = nn.Sequential(nn.Linear(INPUTS, CLASSES))
        start = model[0].weight.data.copy()
        found.append(trained(model, lazy(model), x, threads, average="ema"))
    assert found[0] == found[1]
    never = np.setdiff1d(np.arange(INPUTS), x.indices)
    assert len(never)
    assert np.array_equal(model[0].weight.data[:, never], start[:, never])


def test_a_twin_that_moves_all_weights_is_seen(monkeypatch):
    """The tests above can fail: an engine whose untouched weights make their steps is another."""
    x = matrix(1)
    model = model_of()
    want = trained(model, lazy(model), x)
    monkeypatch.setattr(owing, "LAZY", owing.NOTHING)
    model = model_of()
    assert trained(model, lazy(model), x) != want


def first_group_alone(model):
    first, *rest = model.parameters()
    return optim.Adam([{"params": [first]}, {"params": rest, "lazy": True}], 0.01)


def frozen(model):
    model[0].weight.requires_grad = False
    return lazy(model)


def with_dropout():
    return nn.Sequential(nn.Dropout(0.5), nn.Linear(INPUTS, CLASSES))


GRAPH = "the graph runs, as Own is not a Sequential of declared layers"
WEIGHT = "none of its parameters is the weight of the first layer"
DROPOUT = "the first layer is a Dropout and no Linear of this package"
REFUSED = {
    "dense rows": (model_of, lazy, lambda: matrix(0).toarray(), {}, "the rows are dense"),
    "graph": (lambda: Own(*model_of()), lazy, lambda: matrix(0), {}, GRAPH),
    "clipped": (model_of, lazy, lambda: matrix(0), {"clip_norm": 1.0}, "gradients are clipped"),
    "another first layer": (with_dropout, lazy, lambda: matrix(0), {}, DROPOUT),
    "another group": (model_of, first_group_alone, lambda: matrix(0), {}, WEIGHT),
    "frozen": (model_of, frozen, lambda: matrix(0), {}, WEIGHT),
}  # fmt: skip


@pytest.mark.parametrize(("make", "rule", "x", "options", "why"), REFUSED.values(), ids=REFUSED)
def test_where_it_would_be_another_rule_in_silence_fit_refuses(make, rule, x, options, why):
    model = make()
    optimizer, before = rule(model), [p.data.copy() for p in model.parameters()]
    with pytest.raises(ValueError, match=f"^fit: Adam has lazy=True, and {why}; it must be False then$"):
        trained(model, optimizer, x(), **options)
    assert all(np.array_equal(p.data, was) for p, was in zip(model.parameters(), before, strict=True))
    assert optimizer.state == {}


def test_a_group_of_the_first_layer_alone_may_be_lazy():
    """The others make Adam's usual step either way."""
    x, found = matrix(3), []
    for everywhere in (True, False):
        model = model_of()
        first, *rest = model.parameters()
        groups = [{"params": [first], "lazy": True}, {"params": rest, "lazy": everywhere}]
        found.append(trained(model, optim.Adam(groups, 0.01), x))
    assert found[0] == found[1]


def test_it_may_be_switched_on_by_a_callback_and_is_looked_at_again():
    model = model_of()
    optimizer = lazy(model, lazy=False)

    def switch(*_):
        optimizer.param_groups[0]["lazy"] = True

    trained(model, optimizer, matrix(0), callbacks=[switch])
    model = model_of()
    optimizer = lazy(model, lazy=False)
    with pytest.raises(ValueError, match="the rows are dense"):
        trained(model, optimizer, matrix(0).toarray(), callbacks=[switch])


def test_step_refuses_it():
    weight = fm.Parameter(np.ones((2, 3), np.float32))
    weight.grad = np.ones((2, 3), np.float32)
    optimizer = optim.Adam([weight], lazy=True)
    with pytest.raises(ValueError, match=r"Adam: lazy is True, and a gradient does not say .* it must be False where"):
        optimizer.step()
    assert optimizer.state == {}
    assert np.array_equal(weight.data, np.ones((2, 3)))


def test_options_that_go_with_it():
    weight = [fm.Parameter(np.ones(3))]
    with pytest.raises(ValueError, match=r"^Adam: weight_decay is 0.1 beside lazy=True; it must be 0$"):
        optim.Adam(weight, weight_decay=0.1, lazy=True)
    with pytest.raises(ValueError, match=r"^Adam: amsgrad is True beside lazy=True; it must be False$"):
        optim.Adam(weight, amsgrad=True, lazy=True)
    with pytest.raises(TypeError, match=r"^Adam: lazy is 0.5; it must be True or False$"):
        optim.Adam(weight, lazy=0.5)
    with pytest.raises(TypeError, match="lazy"):
        optim.AdamW(weight, lazy=True)


def test_a_state_from_before_there_was_the_switch_has_it_off():
    model = model_of()
    optimizer = lazy(model)
    stored = optimizer.state_dict()
    assert stored["param_groups"][0]["lazy"] is True
    del stored["param_groups"][0]["lazy"]
    optimizer.load_state_dict(stored)
    assert optimizer.param_groups[0]["lazy"] is False


def test_a_line_says_once_why_each_step_sweeps(capfd):
    x = matrix(0)
    for options, rule, why in (
        ({}, lambda p: optim.Adam(p, amsgrad=True), "Adam has amsgrad"),
        ({"clip_value": 0.1}, optim.AdamW, "gradients are clipped"),
        ({}, optim.Lion, "Lion cannot make up for steps"),
        ({}, optim.AdamW, ""),
    ):
        model = model_of()
        fm.fit(model, data_of(x), optimizer=rule(model.parameters()), epochs=3, batch_size=8, **options)
        said = "".join(capfd.readouterr())
        line = f"sparse rows: each step changes all weights of the first layer, as {why}"
        assert said.count("each step changes all") == bool(why)
        assert not why or line in said


def test_no_line_where_a_step_that_sweeps_is_the_faster_one(capfd):
    x = sp.csr_matrix(np.ones((ROWS, 50), np.float32))
    model = model_of(inputs=50)
    fm.fit(model, data_of(x), optimizer=optim.Adam(model.parameters(), amsgrad=True), epochs=1, batch_size=8)
    assert "each step" not in "".join(capfd.readouterr())
