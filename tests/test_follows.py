"""What a callback changes between epochs, engine and graph follow alike, to the bit; what is frozen stays frozen."""

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import nn, optim
from fastmlp.running import door

EPOCHS, AFTER = 4, 2  # the callback changes something after so many epochs


class Own(nn.Sequential):
    """No chain that the engine knows: it trains on the graph."""

    def forward(self, x: fm.Tensor) -> fm.Tensor:
        return super().forward(x)


def data() -> fm.Dataset:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(230, 12)).astype(np.float32)
    return fm.Dataset(x, (x[:, 0] > 0).astype(int) + (x[:, 1] > 0))


def net(graph: bool) -> nn.Sequential:
    """0 Linear, 1 BatchNorm1d, 2 ReLU, 3 Dropout, 4 Linear, 5 BatchNorm1d, 6 ReLU, 7 Dropout, 8 Linear."""
    fm.manual_seed(0)
    model = nn.MLP(12, (16, 8), 3, dropout=0.2, norm="batch")
    return Own(*model) if graph else model


def trained(change, graph: bool, before=None, kind=optim.Adam):
    model = net(graph)
    optimizer = kind(model.parameters(), lr=0.01)
    if before is not None:
        before(model)

    def callback(model, history):
        if len(history) == AFTER and change is not None:
            change(model, optimizer)

    history = fm.fit(
        model, data(), validation=30, optimizer=optimizer, epochs=EPOCHS, batch_size=32, progress=False,
        callbacks=[callback],
    )  # fmt: skip
    return model, optimizer, history


def state(model, optimizer):
    arrays = {name: array.copy() for name, array in model.state_dict().items()}
    for i, values in optimizer.state.items():
        arrays |= {f"{i}.{name}": np.copy(value) for name, value in values.items()}
    return arrays


def replace_parameter(model, optimizer):
    fresh = nn.Linear(16, 8)
    old = model[4].weight
    model[4].weight = fresh.weight
    optimizer.param_groups[0]["params"] = [fresh.weight if p is old else p for p in optimizer.parameters()]


def freeze(layer):
    for parameter in layer.parameters():
        parameter.requires_grad = False


CHANGES = {  # -> on what the engine's run goes on
    "nothing": (None, "engine"),
    "requires_grad of a weight": (lambda m, o: setattr(m[0].weight, "requires_grad", False), "engine"),
    "requires_grad of a bias": (lambda m, o: setattr(m[4].bias, "requires_grad", False), "engine"),
    "requires_grad of a layer": (lambda m, o: freeze(m[0]), "engine"),
    "requires_grad of a norm": (lambda m, o: freeze(m[1]), "engine"),
    "requires_grad of all but the last layer": (lambda m, o: [freeze(layer) for layer in list(m)[:8]], "engine"),
    "p": (lambda m, o: setattr(m[3], "p", 0.6), "engine"),
    "p of 0": (lambda m, o: setattr(m[3], "p", 0.0), "engine"),
    "momentum of the statistics": (lambda m, o: setattr(m[1], "momentum", 0.5), "engine"),
    "eps": (lambda m, o: setattr(m[5], "eps", 0.1), "engine"),
    "a norm in evaluation mode": (lambda m, o: m[1].eval(), "engine"),
    "a dropout in evaluation mode": (lambda m, o: m[7].eval(), "engine"),
    "the model left in evaluation mode": (lambda m, o: m.eval(), "engine"),
    "an array in place of another": (lambda m, o: setattr(m[0].weight, "data", m[0].weight.data * 2), "engine"),
    "numbers in place": (lambda m, o: m[4].bias.data.__imul__(3), "engine"),
    "running statistics": (lambda m, o: m[1].running_mean.__iadd__(1), "engine"),
    "the learning rate": (lambda m, o: o.param_groups[0].update(lr=0.001), "engine"),
    "the optimizer's state": (lambda m, o: o.state[0]["exp_avg"].fill(0), "engine"),
    "a gradient's hook": (lambda m, o: m[0].weight.register_hook(lambda g: g * 0), "graph"),
    "another parameter": (replace_parameter, "engine"),
    "another activation": (lambda m, o: setattr(m, "2", nn.Tanh()), "engine"),
    "a layer more": (lambda m, o: setattr(m, "9", nn.LeakyReLU()), "engine"),
    "dropout's counter": (lambda m, o: setattr(m[3], "step", 1000), "engine"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_engine_and_graph_follow_what_a_callback_changes(name):
    change, goes_on = CHANGES[name]
    model, optimizer, history = trained(change, graph=False)
    assert history.column("ran_on") == ["engine"] * AFTER + [goes_on] * (EPOCHS - AFTER)
    twin, twin_optimizer, twin_history = trained(change, graph=True)
    assert set(twin_history.column("ran_on")) == {"graph"}
    got, want = state(model, optimizer), state(twin, twin_optimizer)
    assert got.keys() == want.keys()
    for key, array in want.items():
        assert np.array_equal(got[key], array), key
    assert history.column("validation_loss") == twin_history.column("validation_loss")


def test_each_change_changes_the_training():
    """Else the test above would compare two runs that ignore it."""
    plain = state(*trained(None, graph=False)[:2])
    for name, (change, _) in CHANGES.items():
        changed = state(*trained(change, graph=False)[:2])
        same = plain.keys() == changed.keys() and all(np.array_equal(plain[k], changed[k]) for k in plain)
        assert same == (name in ("nothing", "the model left in evaluation mode")), name


@pytest.mark.parametrize("graph", [False, True])
def test_what_thaws_goes_on_with_the_state_that_it_had(graph):
    """Frozen for one epoch of four: its step and its moments stand still meanwhile, and it is trained again."""
    seen = []

    def callback(model, history):
        model[4].weight.requires_grad = len(history) != 2
        seen.append((model[4].weight.data.copy(), optimizer.state[4]["step"], optimizer.state[4]["exp_avg"].copy()))

    model = net(graph)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    history = fm.fit(model, data(), optimizer=optimizer, epochs=4, batch_size=32, progress=False, callbacks=[callback])
    assert set(history.column("ran_on")) == {"graph" if graph else "engine"}
    assert [step for _, step, _ in seen] == [8, 16, 16, 24]
    assert all(np.array_equal(a, b) for a, b in zip(seen[1], seen[2], strict=True))
    assert not np.array_equal(seen[2][0], seen[3][0])


@pytest.mark.parametrize("graph", [False, True])
def test_a_frozen_layer_stays_as_it_is(graph):
    kept = {}

    def freeze(model, optimizer):
        for parameter in model[0].parameters():
            parameter.requires_grad = False
        kept.update(weight=model[0].weight.data.copy(), bias=model[0].bias.data.copy())

    model, *_ = trained(freeze, graph)
    assert np.array_equal(model[0].weight.data, kept["weight"])
    assert np.array_equal(model[0].bias.data, kept["bias"])


@pytest.mark.parametrize("graph", [False, True])
def test_a_norm_that_is_in_evaluation_mode_before_fit_keeps_its_statistics(graph):
    model, *_ = trained(None, graph, before=lambda m: m[1].eval())
    assert np.array_equal(model[1].running_mean, np.zeros(16))
    assert np.array_equal(model[1].running_var, np.ones(16))
    assert model[5].num_batches_tracked == EPOCHS * 7
    assert not model[1].training
    assert model[5].training


def test_a_model_in_evaluation_mode_trains_as_a_whole_and_goes_back():
    model, *_ = trained(None, graph=False, before=lambda m: m.eval())
    assert not any(module.training for module in model.modules())
    want, *_ = trained(None, graph=False)
    for name, array in want.state_dict().items():
        assert np.array_equal(model.state_dict()[name], array), name


def test_a_callback_that_evaluates_leaves_frozen_layers_frozen():
    """`model.eval()` in a callback, and no `train()` after it: the modes of before come back, not all to training."""
    model, *_ = trained(lambda m, o: m.eval(), graph=False, before=lambda m: m[1].eval())
    assert np.array_equal(model[1].running_mean, np.zeros(16))
    assert model[5].num_batches_tracked == EPOCHS * 7


def test_a_line_says_what_moved_the_training_to_the_graph_and_back(capsys):
    handles = []

    def listen(model, history):
        if len(history) == 1:
            handles.append(model[0].weight.register_hook(lambda gradient: None))
        else:
            handles[0].remove()

    history = fm.fit(net(False), data(), epochs=3, batch_size=32, progress="table", callbacks=[listen])
    assert history.column("ran_on") == ["engine", "graph", "engine"]
    said = capsys.readouterr().out
    assert "training on the graph, node by node: a parameter has a hook, which wants to see its gradient\n" in said
    assert "training on the engine again\n" in said


def test_an_epoch_that_nobody_has_looked_in_on_needs_no_other_look(monkeypatch):
    """With and without a callback that changes nothing: the same bits, and a look before each epoch only with it."""
    looks, prepare, results = [], door.Trainer.prepare, []
    monkeypatch.setattr(door.Trainer, "prepare", lambda self: (looks.append(1), prepare(self))[1])
    for callbacks in ([], [lambda model, history: None]):
        model = net(False)
        optimizer = optim.Adam(model.parameters(), lr=0.01)
        fm.fit(
            model, data(), validation=30, optimizer=optimizer, epochs=EPOCHS, batch_size=32, progress=False,
            callbacks=callbacks,
        )  # fmt: skip
        results.append((len(looks), state(model, optimizer)))
        looks.clear()
    (without, first), (with_one, second) = results
    assert (without, with_one) == (1, 1 + EPOCHS)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
