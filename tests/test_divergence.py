"""Numbers that leave what a float can hold: noticed within the chunk, and the weights of the last finite loss stay."""

import math
from contextlib import nullcontext

import interruptions
import numpy as np
import pytest

import fastmlp as fm
from fastmlp.kernels.shuffle import permutation
from fastmlp.running import divergence, door, nodes
from fastmlp.running.divergence import Divergence
from fastmlp.running.engine import Engine
from fastmlp.training.checkpoint import read_newest
from fastmlp.training.checks import batch_sizes
from fastmlp.training.progress import Progress


def rows(n=2000, seed=0):
    rng = np.random.default_rng(seed)
    return fm.Dataset(rng.normal(size=(n, 8)).astype(np.float32), rng.integers(0, 3, n))


def make(**options):
    fm.manual_seed(0)
    return fm.nn.MLP(8, (16,), 3, **options)


def weights(model):
    return b"".join(array.tobytes() for array in model.state_dict().values())


def fit(lr, rule=fm.optim.SGD, graph=False, batch_size=32, data=None, model=None, **options):
    model = make(batch_norm=True) if model is None else model
    optimizer = rule(model.parameters(), lr=lr)
    with interruptions.on_graph() if graph else nullcontext():
        history = fm.fit(
            model, data or rows(), optimizer=optimizer, epochs=3, batch_size=batch_size, progress="table", **options
        )
    return model, optimizer, history


def after(steps, lr, rule=fm.optim.SGD, epochs=(1,)):
    """The weights after so many steps, made one by one on the graph."""
    model, data = make(batch_norm=True), rows()
    optimizer = rule(model.parameters(), lr=lr)
    one = nodes.Nodes(model, optimizer, fm.nn.CrossEntropyLoss())
    one.train_on(data)
    one.open(permutation(np.arange(len(data)), 0, 1), batch_sizes(len(data), 32, True))
    while one.step < steps:
        assert not one.chunk(steps)
    one.give()
    return model, optimizer


def bad_step(lr, rule=fm.optim.SGD):
    """The first step of epoch 1 whose loss is not finite, found on the graph without a way back."""
    model, data = make(batch_norm=True), rows()
    optimizer = rule(model.parameters(), lr=lr)
    one = nodes.Nodes(model, optimizer, fm.nn.CrossEntropyLoss())
    sizes = batch_sizes(len(data), 32, True)
    one.train_on(data)
    one.open(permutation(np.arange(len(data)), 0, 1), sizes)
    with np.errstate(all="ignore"):
        while one.step < len(sizes):
            if one.chunk(one.step + 1):
                return one.step
    return None


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("lr", [1e30, 1e38])
def test_the_weights_are_those_of_the_last_finite_loss(lr, graph, threads, capsys):
    bad = bad_step(lr)
    assert bad is not None
    model, optimizer, history = fit(lr, graph=graph, n_threads=threads)
    wanted, _ = after(max(bad - 1, 0), lr)
    assert weights(model) == weights(wanted)
    assert (len(history), history.weights_of, optimizer.epochs) == (1, (0, max(bad - 1, 0)), 0)
    assert math.isnan(history[0].train_loss)
    said = capsys.readouterr().out
    assert f"in epoch 1, step {bad + 1} of 63" in said or "a weight is not finite" in said
    assert f"the learning rate {lr:.3g}" in said
    assert "the largest gradient of the last step was " in said
    assert "try a smaller learning rate" in said


@pytest.mark.parametrize("chunk", [1, 2, 5, None])
def test_they_hang_on_no_clock(chunk, monkeypatch):
    """Whatever the length of a chunk, and whenever copies are made."""
    start = Engine.__init__

    def made(self, *arguments, **options):
        start(self, *arguments, **{**options, "chunk_steps": chunk})

    monkeypatch.setattr(Engine, "__init__", made)
    monkeypatch.setattr(divergence, "SNAPSHOT_SECONDS", 0.0 if chunk == 2 else 1.0)
    monkeypatch.setattr(divergence, "SNAPSHOT_SHARE", 0)
    model, optimizer, _ = fit(1e4, model=make())
    monkeypatch.undo()
    wanted, its, _ = fit(1e4, model=make())
    assert weights(model) == weights(wanted)
    assert optimizer.state.keys() == its.state.keys()


def test_steps_of_one_epoch_each_go_back_to_before_the_last(capsys):
    model, optimizer, history = fit(1e30, fm.optim.Adam, batch_size=2000, model=make())
    assert weights(model) == weights(make())
    assert optimizer.state[0]["step"] == 0
    assert len(history) == 2
    assert "the weights are those from before epoch 1" in capsys.readouterr().out
    assert history.weights_of == (0, 0)


def test_rows_that_are_not_finite_are_named(capsys):
    data = rows()
    data.features[77, 3] = np.inf
    model, _, _ = fit(0.01, data=data)
    said = capsys.readouterr().out
    assert "stopped: a feature is not finite in epoch 1, step " in said
    assert "the rows must be finite" in said
    assert all(np.isfinite(p.data).all() for p in model.parameters())


def test_a_weight_that_is_not_finite_behind_a_finite_loss():
    """A hidden bias of -inf is 0 behind ReLU: the loss stays finite."""
    for graph in (False, True):
        model, data = make(), rows()
        optimizer = fm.optim.SGD(model.parameters(), lr=0.1)
        with (
            interruptions.on_graph() if graph else nullcontext(),
            door.Trainer(model, optimizer, fm.nn.CrossEntropyLoss(), data, 32, 1, print) as trainer,
        ):
            model[0].bias.data[2] = -np.inf
            mean, _ = trainer.epoch(np.arange(64), [32, 32], lambda *_: None)
        assert math.isnan(mean)
        assert trainer.divergence.what == "a weight"


def test_a_first_step_without_a_finite_loss_changes_nothing(capsys):
    model = make()
    model[0].weight.data[0, 0] = np.nan
    before = weights(model)
    fit(0.1, model=model)
    assert weights(model) == before
    assert "the weights are as before" in capsys.readouterr().out


def test_an_average_is_that_of_good_weights():
    for average in (fm.optim.EMA(0.5), fm.optim.SWA(1)):
        model, optimizer, _ = fit(1e30, average=average)
        assert all(np.isfinite(p.data).all() for p in model.parameters())
        assert all(np.isfinite(array).all() for array in optimizer.averaged["raw"].values())


def test_what_is_not_finite_is_never_in_a_checkpoint(tmp_path):
    fit(1e30, checkpoint=tmp_path, checkpoint_every=1)
    _, state = read_newest(tmp_path, "test", print)
    assert state["ended"] == "diverged"
    assert all(np.isfinite(array).all() for array in state["weights"].values())


def test_the_sentence_has_all_of_it():
    found = Divergence(3, 5, 200, "the loss", "2 (Linear)", 0.1, 1e9, "0.weight", 3)
    assert found.sentence == (
        "stopped: the loss is not finite in layer 2 (Linear) in epoch 3, step 5 of 200; the largest gradient of the "
        "last step was 1e+09, of 0.weight, the learning rate 0.1; the weights are those after 3 steps of it; try a "
        "smaller learning rate, or clip_norm=1"
    )
    assert "clip_norm" not in Divergence(3, 5, 200, "the loss", "", 0.1, 1.0, "0.weight", 3).sentence


def test_without_a_check_the_weights_are_lost(monkeypatch):
    """The tests above see a trainer that does not look: its weights are not finite."""
    monkeypatch.setattr(door, "is_good", lambda runner, whole=False: True)
    monkeypatch.setattr(door.Trainer, "_go_back", lambda self, *arguments: None)
    model, _, _ = fit(1e38, fm.optim.Adam)
    wanted, _ = after(max(bad_step(1e38, fm.optim.Adam) - 1, 0), 1e38, fm.optim.Adam)
    assert weights(model) != weights(wanted)


@pytest.mark.parametrize("graph", [False, True])
def test_a_score_that_is_none_is_no_divergence(graph):
    """R² of targets that are all equal is 0 / 0; the loss is finite, and the training goes on."""
    data = fm.Dataset(rows().features, np.ones(2000), kind="numbers")
    model = fm.nn.MLP(8, (4,), 1)
    with interruptions.on_graph() if graph else nullcontext():
        history = fm.fit(model, data, epochs=3, progress=False)
    assert len(history) == 3
    assert np.isfinite(history.column("train_loss")).all()


def test_the_row_of_an_epoch_that_diverged_counts_the_rows_that_were_trained_on(capsys):
    model = make()
    history = fm.fit(
        model, rows(), optimizer=fm.optim.SGD(model.parameters(), lr=1e30), epochs=3, batch_size=50, progress="table"
    )
    (epoch,), text = history.epochs, capsys.readouterr().out
    step = int(text[text.index("step ") + 5 :].split()[0])
    assert step < 40
    assert epoch.samples_per_second * epoch.seconds == pytest.approx(50 * step, rel=1e-9)  # two roundings of float64
    assert "nan%" not in text


def test_a_score_that_is_no_number_is_no_share():
    assert Progress(False, 1, 1).words(math.nan) == "     nan"
    assert Progress(False, 1, 1).words(0.5) == "  50.00%"
