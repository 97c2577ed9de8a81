"""Where nobody looks at a model between short epochs, not each of them is written to it: the result is the same."""

import numpy as np
import pytest
import scipy.sparse

import fastmlp as fm
from fastmlp.running import door, engine

ROWS, EPOCHS = 120, 5


def nothing(model, history):
    """A callback, for which each epoch is written to the model."""


def data(kind):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(ROWS, 12)).astype(np.float32)
    if kind == "sparse":
        return fm.Dataset(scipy.sparse.csr_array(x * (draw.random(x.shape) < 0.02)), draw.integers(0, 3, ROWS))
    if kind == "numbers":
        return fm.Dataset(x, x[:, :1] + x[:, 1:2])
    return fm.Dataset(x, draw.integers(0, 3, ROWS))


CASES = {
    "plain": {},
    "two threads": {"n_threads": 2},
    "dropout and batch norm": {"dropout": 0.3, "norm": "batch"},
    "a rule that carries a number": {"rule": fm.optim.NAdam},
    "momentum, clipped": {"rule": lambda p: fm.optim.SGD(p, lr=0.05, momentum=0.9), "clip_norm": 0.5},
    "a score of all targets": {"kind": "numbers"},
    "sparse rows": {"kind": "sparse"},
    "weights of rows": {"class_weight": "balanced"},
    "no more than two epochs": {"epochs": 2},
    "diverges in its third epoch": {"rule": lambda p: fm.optim.SGD(p, lr=2.0), "kind": "numbers", "epochs": 30},
}


def trained(case, callbacks):
    """All that a training leaves: weights and statistics, the rule's state, counters, the history."""
    options = {"epochs": EPOCHS, "n_threads": 1} | CASES[case]
    rows = data(options.pop("kind", "classes"))
    fm.manual_seed(0)
    net = {name: options.pop(name) for name in ("dropout", "norm") if name in options}
    model = fm.nn.MLP(12, (9, 5), 1 if rows.kind == "numbers" else 3, **net)
    rule = options.pop("rule", fm.optim.Adam)(model.parameters())
    history = fm.fit(model, rows, optimizer=rule, batch_size=16, progress=False, callbacks=callbacks, **options)
    counters = [layer.counters() for layer in model.flat()]
    epochs = [(e.epoch, e.train_loss, e.train_score) for e in history.epochs]
    return model.state_dict(), rule.state_dict(), counters, (history.ended, history.weights_of, epochs)


@pytest.mark.parametrize("case", CASES)
def test_the_result_is_that_of_a_training_that_is_looked_at(case, monkeypatch):
    monkeypatch.setattr(door, "GIVE_SECONDS", np.inf)
    seen, gives, give = trained(case, [nothing]), [], engine.Engine.give
    monkeypatch.setattr(engine.Engine, "give", lambda self: (gives.append(self.step != self.given), give(self))[1])
    hidden = trained(case, [])
    assert fm.training.state.packed(hidden[1])[0] == fm.training.state.packed(seen[1])[0]
    for ours, theirs in zip(
        (hidden[0], fm.training.state.packed(hidden[1])[1]),
        (seen[0], fm.training.state.packed(seen[1])[1]),
        strict=True,
    ):
        assert ours.keys() == theirs.keys()
        assert all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)
    assert hidden[2] == seen[2]
    assert repr(hidden[3]) == repr(seen[3])  # NaN is there
    if case == "diverges in its third epoch":
        assert hidden[3][0] == "diverged"
        assert len(hidden[3][2]) > 1
    else:
        assert len(gives) == 1  # when it is over


def test_a_model_is_never_older_than_so_many_seconds(monkeypatch):
    monkeypatch.setattr(door, "GIVE_SECONDS", 0.0)
    gives, give = [], engine.Engine.give
    monkeypatch.setattr(engine.Engine, "give", lambda self: (gives.append(self.step), give(self))[1])
    trained("plain", [])
    assert len(gives) == EPOCHS + 1


@pytest.mark.parametrize("more", ["validation", "checkpoint", "callbacks"])
def test_who_looks_sees_each_epoch(more, monkeypatch, tmp_path):
    monkeypatch.setattr(door, "GIVE_SECONDS", np.inf)
    gives, give = [], engine.Engine.give
    monkeypatch.setattr(engine.Engine, "give", lambda self: (gives.append(self.step), give(self))[1])
    options = {"validation": 0.2, "checkpoint": tmp_path, "callbacks": [nothing]}
    model = fm.nn.MLP(12, (9,), 3)
    fm.fit(model, data("classes"), epochs=EPOCHS, progress=False, **{more: options[more]})
    assert len(gives) >= EPOCHS


def test_an_error_leaves_what_was_made(monkeypatch):
    """The fourth epoch fails: the model has the three before it, and the rule counts their steps."""
    monkeypatch.setattr(door, "GIVE_SECONDS", np.inf)
    opening, begun = engine.Engine.open, []

    def failing(self, *arguments, **options):
        begun.append(1)
        if len(begun) == 4:
            raise ValueError("enough")
        opening(self, *arguments, **options)

    fm.manual_seed(0)
    model = fm.nn.MLP(12, (9,), 3)
    rule = fm.optim.Adam(model.parameters())
    twin = fm.nn.MLP(12, (9,), 3)
    twin.load_state_dict(model.state_dict())
    options = {"batch_size": 16, "progress": False, "n_threads": 1}
    fm.fit(twin, data("classes"), optimizer=fm.optim.Adam(twin.parameters()), epochs=3, **options)
    monkeypatch.setattr(engine.Engine, "open", failing)
    with pytest.raises(ValueError, match="enough"):
        fm.fit(model, data("classes"), optimizer=rule, epochs=9, **options)
    assert {k: v.tobytes() for k, v in model.state_dict().items()} == {
        k: v.tobytes() for k, v in twin.state_dict().items()
    }
    assert {int(state["step"]) for state in rule.state.values()} == {3 * -(-ROWS // 16)}
