"""`running.verify.verify` refuses a plan with a fault in it: each is planted in a plan that was right."""

import numpy as np
import pytest

import fastmlp as fm
from fastmlp.kernels import layout
from fastmlp.running.engine import Engine
from fastmlp.running.plan import Plan
from fastmlp.running.verify import verify

ROOM = 9


def plan() -> Plan:
    """Layers of every form: 0 norm, 1 linear, 2 norm, 3 relu, 4 dropout, 5 linear, 6 tanh, 7 linear, 8 sigmoid."""
    nn = fm.nn
    model = nn.Sequential(
        nn.BatchNorm1d(11), nn.Linear(11, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(40, 20, bias=False), nn.Tanh(), nn.Linear(20, 3), nn.Sigmoid(),
    )  # fmt: skip
    return Plan(model, 11, ROOM)


def test_a_plan_as_it_is_made_passes():
    verify(plan())
    for model, features in (
        (fm.nn.MLP(5, (), 2), 5),
        (fm.nn.MLP(700, (300,), 1000, norm="batch"), 700),
        (fm.nn.MLP(3, (4, 5), 2, "tanh", 0.5).double(), 3),
    ):
        verify(Plan(model, features, ROOM))
        verify(Plan(model, features, ROOM, training=False))


def column(layer: int, name: str, change):
    """The fault that changes one number of a layer's row."""

    def plant(plan: Plan) -> None:
        plan.rows[layer][name] = change(plan, int(plan.rows[layer][name]))

    return plant


def slot(number: int, change):
    def plant(plan: Plan) -> None:
        plan.slots[number].at = change(plan, plan.slots[number].at)

    return plant


def passed(number: int, name: str, change):
    """The fault that changes what the passes over all parameters know of one."""

    def plant(plan: Plan) -> None:
        plan.slot_rows[number][name] = change(plan, int(plan.slot_rows[number][name]))

    return plant


def option_of_layer_4(plan: Plan) -> None:
    plan.numbers[4, 0] = np.nan


def size(name: str):
    def plant(plan: Plan) -> None:
        plan.sizes[name] -= 8 * plan.lanes

    return plant


def to(value: int):
    return lambda plan, was: value


def more(plan: Plan, was: int) -> int:
    return was + 2 * plan.lanes


def one_more(plan: Plan, was: int) -> int:
    return was + 1


FAULTS = {
    "a width that is no whole vector": (column(3, "width", one_more), 3, "width is odd"),
    "a width with a vector too many": (column(3, "width", more), 3, "width is odd"),
    "no columns": (column(1, "columns", to(0)), 1, "width is odd"),
    "more columns than the width": (column(1, "columns", to(10**6)), 1, "width is odd"),
    "an input of another width": (column(5, "width_in", more), 5, "width_in is odd"),
    "an input of other columns": (column(5, "inputs", lambda plan, was: was - 1), 5, "widths do not chain"),
    "an output before its buffer": (column(1, "y", to(-8)), 1, "y at -8 .* is outside act"),
    "an output behind its buffer": (column(6, "y", to(1 << 40)), 6, "y at .* is outside act"),
    "a gradient behind its buffer": (column(6, "dy", lambda plan, was: plan.sizes["dact"] - 1), 6, "outside dact"),
    "two outputs in one place": (column(3, "y", lambda plan, was: plan.rows[2]["y"]), 3, "y at .* overlaps"),
    "outputs that share a number": (column(2, "y", lambda plan, was: plan.rows[1]["y"] + 1), 2, "y at .* overlaps"),
    "two gradients in one place": (column(6, "dy", lambda plan, was: plan.rows[5]["dy"]), 6, "dy at .* overlaps"),
    "the first layer reads an output": (column(0, "x", to(0)), 0, "the first layer reads the batch"),
    "a layer reads another input": (column(3, "x", more), 3, "does not read the layer before"),
    "a layer sends its gradient elsewhere": (column(3, "dx", more), 3, "does not read the layer before"),
    "a weight behind its buffer": (slot(6, to(1 << 40)), 5, "a parameter elsewhere"),
    "a weight where its row does not say": (slot(2, more), 1, "a parameter elsewhere"),
    "a bias elsewhere": (column(1, "bias", more), 1, "a parameter elsewhere"),
    "a pass over a weight elsewhere": (passed(2, "at", more), 1, "passes over all find elsewhere"),
    "a pass over more inputs": (passed(2, "inputs", one_more), 1, "passes over all find elsewhere"),
    "a pass over more columns": (passed(3, "width", more), 1, "passes over all find elsewhere"),
    "more columns in the norm": (passed(8, "columns", to(1000)), 7, "passes over all find elsewhere"),
    "a place in the norm beyond all": (passed(8, "first", one_more), 7, "passes over all find elsewhere"),
    "state behind its buffer": (column(2, "state", to(1 << 40)), 2, "state at .* is outside state"),
    "two states in one place": (column(2, "state", lambda plan, was: plan.rows[0]["state"]), 2, "state at .* overlaps"),
    "a state too short": (column(2, "state_width", to(8)), 2, "its state is too short"),
    "gradients of a norm behind the buffer": (column(2, "dweights", to(1 << 40)), 2, "dweights at .* is outside state"),
    "a buffer of outputs too short": (size("act"), 8, "outside act"),
    "a buffer of parameters too short": (size("p"), 7, "outside p"),
    "no address": (column(1, "forward", to(0)), 1, "forward is no kernel's address"),
    "an address one byte off": (column(3, "backward", one_more), 3, "backward is no kernel's address"),
    "an address from nowhere": (column(4, "evaluate", to(12345)), 4, "evaluate is no kernel's address"),
    "an update from nowhere": (column(7, "weights", to(-1)), 7, "weights is no kernel's address"),
    "a linear layer that does not wait": (column(5, "waits", to(0)), 5, "does not wait for its input"),
    "an option that is no number": (option_of_layer_4, 4, "an option is not finite"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_refused(name):
    plant, layer, words = FAULTS[name]
    made = plan()
    plant(made)
    with pytest.raises(RuntimeError, match=f"plan: layer {layer}: .*{words}"):
        verify(made)


def test_rows_after_columns_wait():
    """A kind that owns rows reads columns that other threads made, and the other way round."""
    fm.manual_seed(0)
    nn = fm.nn
    model = nn.Sequential(nn.Linear(8, 600), nn.ReLU(), nn.LayerNorm(600), nn.Tanh(), nn.Linear(600, 100))
    for layer in (2, 3):
        made = Plan(model, 8, ROOM)
        verify(made)
        assert made.rows[layer]["waits"]
        made.rows[layer]["waits"] = 0
        with pytest.raises(RuntimeError, match=f"plan: layer {layer}: it does not wait for its input"):
            verify(made)


def test_a_missing_wait_of_the_way_back_is_refused():
    made = plan()
    waiting = [i for i, row in enumerate(made.rows) if row["waits_back"]]
    assert waiting == [1, 5, 7, 8]  # products, and columns of a gradient of which the loss has made rows
    for layer in waiting:
        made = plan()
        made.rows[layer]["waits_back"] = 0
        with pytest.raises(RuntimeError, match=f"plan: layer {layer}: it does not wait for its gradient"):
            verify(made)


def test_the_last_layer_waits_for_the_loss_but_where_it_owns_rows_too():
    """The loss makes rows of its gradient: one wait stands between them, in the row of the layer."""
    nn = fm.nn
    for last, waits in (
        (nn.Linear(20, 5), True),
        (nn.Tanh(), True),
        (nn.BatchNorm1d(20), True),
        (nn.LayerNorm(20), False),
    ):
        made = Plan(nn.Sequential(nn.Linear(8, 20), last), 8, ROOM)
        verify(made)
        assert made.rows[-1]["waits_back"] == waits


def test_the_engine_trusts_no_plan_with_a_fault(monkeypatch):
    """It is verified before the first step: with a fault in it no engine is made."""
    lower = Plan._lower

    def faulty(self, i):
        lower(self, i)
        self.rows[i]["y"] += 1 << 40

    monkeypatch.setattr(Plan, "_lower", faulty)
    model = fm.nn.MLP(5, (4,), 2)
    with pytest.raises(RuntimeError, match=r"plan: layer 0: y at .* is outside"):
        Engine(model, fm.optim.Adam(model.parameters()), 5, ROOM, 1)
    with pytest.raises(RuntimeError, match=r"plan: layer 0: y at .* is outside"):
        fm.Predictor(model)


def test_every_form_is_in_the_plan():
    assert set(plan().rows["form"]) == {layout.ELEMENTWISE, layout.RANDOM, layout.NORM, layout.LINEAR}
