"""A second call of `fit` with one optimizer goes on where the first stopped; without one it begins again."""

import copy

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import nn, optim

RULES = {  # with what each keeps, and what it does not
    "SGD": lambda p: optim.SGD(p, lr=0.1),
    "SGD with momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    "Adam": lambda p: optim.Adam(p, lr=0.01),
    "Adam with amsgrad": lambda p: optim.Adam(p, lr=0.01, amsgrad=True),
    "RMSprop": lambda p: optim.RMSprop(p, lr=1e-3, momentum=0.5, centered=True),
    "Adagrad": lambda p: optim.Adagrad(p, lr_decay=0.01, initial_accumulator_value=0.1),
    "NAdam": lambda p: optim.NAdam(p, lr=0.01, momentum_decay=0.1),
    "Lion": lambda p: optim.Lion(p, lr=0.01),
}
SCHEDULES = {
    "none": {},
    "steps": {"schedule": optim.StepLR(2, 0.5)},
    "cosine of a length": {"schedule": optim.CosineAnnealingLR(10), "schedule_every": "epoch"},
    "every step": {"schedule": optim.StepLR(5, 0.9), "schedule_every": "step"},
    "one after the other": {
        "schedule": optim.SequentialLR([optim.LinearLR(), optim.CosineAnnealingLR(9)], [4]), "schedule_every": "step",
    },
    "a plateau": {"schedule": optim.ReduceLROnPlateau(factor=0.5, patience=0, threshold=0.2)},
    "a cycle of a length": {"schedule": optim.OneCycleLR(0.2, total_steps=40, cycle_momentum=False)},
    "a cycle of momentum too": {"schedule": optim.OneCycleLR(0.2, total_steps=40)},
}  # fmt: skip


class Own(nn.Sequential):
    """On the graph."""

    def forward(self, x: fm.Tensor) -> fm.Tensor:
        return super().forward(x)


def data() -> fm.Dataset:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(170, 8)).astype(np.float32)
    return fm.Dataset(x, (x[:, 0] > 0).astype(int) + (x[:, 1] > 0))


def net(graph: bool = False) -> nn.Sequential:
    fm.manual_seed(0)
    model = nn.MLP(8, (16,), 3, dropout=0.3, norm="batch")
    return Own(*model) if graph else model


def fit(model, optimizer, epochs, **options):
    return fm.fit(model, data(), optimizer=optimizer, epochs=epochs, batch_size=32, progress=False, **options)


def bits(model):
    return {name: array.tobytes() for name, array in model.state_dict().items()}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("rule", RULES)
def test_calls_with_one_optimizer_are_one_call(rule, schedule):
    if schedule == "a cycle of momentum too" and RULES[rule](net().parameters()).momentum_place() is None:
        with pytest.raises(ValueError, match="needs a momentum"):
            fit(model := net(), RULES[rule](model.parameters()), 1, **SCHEDULES[schedule])
        return
    whole, parts = net(), net()
    history = fit(whole, RULES[rule](whole.parameters()), 5, validation=0.2, **SCHEDULES[schedule])
    optimizer, losses, epochs = RULES[rule](parts.parameters()), [], []
    for count in (1, 0, 2, 2):
        part = fit(parts, optimizer, count, validation=0.2, **SCHEDULES[schedule])
        losses += part.column("validation_loss")
        epochs += part.column("epoch")
    assert bits(parts) == bits(whole)
    assert losses == history.column("validation_loss")
    assert epochs == [1, 2, 3, 4, 5]
    assert optimizer.epochs == 5


def test_engine_and_graph_take_turns_over_calls():
    whole, parts = net(), net()
    fit(whole, optim.Adam(whole.parameters()), 4)
    optimizer = optim.Adam(parts.parameters())
    for graph in (False, True, True, False):
        fit(Own(*parts) if graph else parts, optimizer, 1)
    assert bits(parts) == bits(whole)


def test_a_saved_state_of_the_optimizer_goes_on():
    """SGD without momentum keeps nothing but the number of epochs; a schedule goes on from where it began."""
    schedule = {"schedule": optim.StepLR(2, 0.5)}
    whole, parts = net(), net()
    fit(whole, optim.SGD(whole.parameters(), lr=0.1), 5, **schedule)
    first = optim.SGD(parts.parameters(), lr=0.1)
    fit(parts, first, 3, **schedule)
    state = copy.deepcopy(first.state_dict())
    assert state["epochs"] == 3
    second = optim.SGD(parts.parameters(), lr=7.0)
    second.load_state_dict(state)
    fit(parts, second, 2, **schedule)
    assert bits(parts) == bits(whole)


def test_a_state_without_epochs_begins_at_the_first():
    model = net()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    optimizer.epochs = 9
    optimizer.load_state_dict({key: optimizer.state_dict()[key] for key in ("state", "param_groups")})
    assert optimizer.epochs == 0
    with pytest.raises(ValueError, match=r"epochs of the state is -1; it must be a whole number of at least 0"):
        optimizer.load_state_dict(optimizer.state_dict() | {"epochs": -1})


def test_without_an_optimizer_each_call_is_a_new_training():
    whole, again = net(), net()
    fit(whole, optim.Adam(whole.parameters()), 1)
    fit(again, None, 1)
    assert bits(again) == bits(whole)
    history = fit(again, None, 2)
    assert history.column("epoch") == [1, 2]


def test_a_number_says_where_to_start():
    """start_epoch=0 repeats the order and the masks of the first call."""
    orders = []
    for start in (None, 0, 3):
        model = net()
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        fit(model, optimizer, 3)
        before = [array.copy() for array in model.state_dict().values()]
        history = fit(model, optimizer, 1, start_epoch=start)
        orders.append((before, bits(model), history.column("epoch"), optimizer.epochs))
    assert [entry[2:] for entry in orders] == [([4], 4), ([1], 1), ([4], 4)]
    assert orders[0][1] == orders[2][1] != orders[1][1]
    with pytest.raises(ValueError, match="fit: start_epoch is -1; it must be a whole number of at least 0, or None"):
        fit(net(), None, 1, start_epoch=-1)


def test_what_is_held_out_never_moves():
    model, seen = net(), []
    optimizer = optim.Adam(model.parameters())
    split = fm.Dataset.split_rows

    def watching(self, held_out, seed=0):
        rest, held = split(self, held_out, seed)
        seen.append(held.tobytes())
        return rest, held

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fm.Dataset, "split_rows", watching)
        for _ in range(3):
            fit(model, optimizer, 1, validation=0.2)
    assert len(seen) == 3
    assert len(set(seen)) == 1


def test_an_interrupted_epoch_does_not_count():
    model = net()
    optimizer = optim.Adam(model.parameters())
    fit(model, optimizer, 2)

    def stop(model, history):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model, optimizer, 3, callbacks=[stop])
    assert optimizer.epochs == 3, "the third was whole when the callback was called"
    data_of_numbers = fm.Dataset(np.ones((4, 8), np.float32), np.ones(4))
    with pytest.raises(ValueError, match="data has 1 targets a row; the model has 3 outputs"):
        fm.fit(model, data_of_numbers, optimizer=optimizer, epochs=1, progress=False)
    assert optimizer.epochs == 3


def test_a_rate_that_was_set_between_calls_is_where_a_schedule_begins():
    model = net()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    fit(model, optimizer, 2, schedule=optim.StepLR(1, 0.5))
    assert optimizer.param_groups[0]["lr"] == 0.05
    optimizer.param_groups[0]["lr"] = 0.4
    fit(model, optimizer, 1, schedule=optim.StepLR(1, 0.5))
    assert optimizer.param_groups[0]["lr"] == 0.1  # 0.4 times 0.5², after two epochs


def test_the_rows_of_the_table_go_on(capsys):
    model = net()
    optimizer = optim.Adam(model.parameters())
    for _ in range(2):
        fm.fit(model, data(), optimizer=optimizer, epochs=2, progress="table")
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.split()[0].isdigit()]
    assert rows == ["1", "2", "3", "4"]
