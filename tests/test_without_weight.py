"""A batch whose rows all have the weight 0: `fit` goes on as if its rows were not there."""

import numpy as np
import pytest
import scipy.sparse as sp
from test_goes_on import RULES, Own, bits

import fastmlp as fm
from fastmlp import nn, optim
from fastmlp.running import engine
from fastmlp.store.resume import resume
from fastmlp.training.checkpoint import Checkpoints

rng = np.random.default_rng(0)
ROWS, SIZES, EPOCHS = 90, [4] * 22 + [2], 3
X = rng.normal(size=(ROWS, 8)).astype(np.float32) * (rng.random((ROWS, 8)) < 0.4)
Y = rng.integers(0, 3, ROWS)
W = np.where(rng.random(ROWS) < 0.3, rng.uniform(0.5, 2, ROWS), 0.0)  # a batch of 4 has no weight once in four times
BY_STEPS = {"schedule": optim.StepLR(5, 0.9), "schedule_every": "step"}


def net(graph: bool = False) -> nn.Sequential:
    fm.manual_seed(0)
    model = nn.MLP(8, (16,), 3, dropout=0.3, norm="batch")
    return Own(*model) if graph else model


def batches(epoch):
    """The rows of each batch of an epoch."""
    return np.split(np.random.default_rng((0, epoch)).permutation(ROWS), np.cumsum(SIZES)[:-1])


def trained(rule, threads=1, graph=False, x=X, **options):
    """(model, optimizer, history)"""
    model = net(graph)
    optimizer = RULES[rule](model.parameters()) if isinstance(rule, str) else rule(model.parameters())
    options = {"epochs": EPOCHS, "batch_size": 4} | options
    data = fm.Dataset(x, Y, sample_weight=options.pop("sample_weight", W))
    return model, optimizer, fm.fit(model, data, optimizer=optimizer, n_threads=threads, progress=False, **options)


def by_hand(rule, **options):
    """(model, optimizer, losses): steps of the graph with the batches that have a weight, and no others."""
    model, loss = net(), nn.CrossEntropyLoss()
    optimizer, losses = RULES[rule](model.parameters()), []
    rates = optim.Rates(optimizer, options.get("schedule"), options.get("schedule_every"), EPOCHS, len(SIZES))
    dropout = next(module for module in model.modules() if isinstance(module, nn.Dropout))
    dropout.seed, dropout.layer = 0, 0
    for epoch in range(EPOCHS):
        of_steps, dropout.step, total = rates.of_epoch(epoch + 1), epoch * len(SIZES), 0.0
        for place, rows in enumerate(batches(epoch + 1)):
            if not W[rows].any():
                continue
            if of_steps is not None:
                optimizer.set_rates(of_steps[place])
            model.zero_grad()
            value = loss(model(fm.Tensor(X[rows])), Y[rows], W[rows])
            value.backward()
            optimizer.step()
            total += value.item() * W[rows].sum()
        losses.append(total / W.sum())
    return model, optimizer, losses


@pytest.mark.parametrize("options", [{}, BY_STEPS], ids=["one rate", "rates of steps"])
@pytest.mark.parametrize("rule", RULES)
def test_it_changes_nothing(rule, options):
    """Weights, moments, counts of steps and batch norm's statistics, by the engine on one thread and three, the graph.

    A rate is that of the batch's place, whether those before it count or not.
    """
    model, optimizer, losses = by_hand(rule, **options)
    for how in ({"threads": 1}, {"threads": 3}, {"graph": True}):
        other, other_optimizer, history = trained(rule, **how, **options)
        assert bits(other) == bits(model), how
        np.testing.assert_equal(other_optimizer.state_dict()["state"], optimizer.state_dict()["state"])
        assert history.column("train_loss") == pytest.approx(losses, rel=1e-6)  # each is rounded to float32, 6e-8


def test_rows_of_a_class_that_counts_nothing():
    """class_weight makes weights of rows, and those of 0 are the same ones."""
    by_class = np.array([0.0, 2, 0])[Y]
    assert sum(not by_class[rows].any() for rows in batches(1))
    model, *_ = trained("Adam", sample_weight=None, class_weight={0: 0, 1: 2, 2: 0})
    assert bits(model) == bits(trained("Adam", sample_weight=by_class)[0])


@pytest.mark.parametrize("average", ["ema", "swa"])
def test_an_average_takes_the_steps_that_are_made(average):
    rule = optim.EMA(0.9) if average == "ema" else optim.SWA(1)
    states = []
    for how in ({"threads": 1}, {"threads": 2}, {"graph": True}):
        model, optimizer, _ = trained("Adam", average=rule, **how)
        states.append((bits(model), optimizer.averaged["count"]))
    assert states[0] == states[1] == states[2]
    made = next(iter(optimizer.state.values()))["step"]
    assert 0 < made < EPOCHS * len(SIZES)
    assert states[0][1] == (made if average == "ema" else EPOCHS)


@pytest.mark.parametrize("rule", [*RULES, "lazy"])
def test_weights_of_inputs_that_a_sparse_batch_lacks_owe_no_step_either(rule):
    made = (lambda p: optim.Adam(p, 0.01, lazy=True)) if rule == "lazy" else rule
    sparse = [trained(made, threads, x=sp.csr_matrix(X)) for threads in (1, 2)]
    assert bits(sparse[0][0]) == bits(sparse[1][0])
    if rule != "lazy":
        assert bits(sparse[0][0]) == bits(trained(rule)[0])


class EndedError(Exception):
    """Ends a training where a checkpoint was written."""


@pytest.mark.parametrize("graph", [False, True], ids=["engine", "graph"])
@pytest.mark.parametrize("writes", [2, 6])
def test_a_training_goes_on_within_an_epoch(graph, writes, tmp_path, monkeypatch):
    whole, _, history = trained("Adam", graph=graph, average=optim.EMA(0.9))
    write, made = Checkpoints.write, []

    def ending(self, *arguments):
        if len(made) == writes:
            raise EndedError
        made.append(arguments[0])
        write(self, *arguments)

    monkeypatch.setattr(Checkpoints, "write", ending)
    with pytest.raises(EndedError):
        trained("Adam", graph=graph, average=optim.EMA(0.9), checkpoint=tmp_path, checkpoint_every=5)
    monkeypatch.undo()
    assert made[-1] % len(SIZES)  # within an epoch
    own = {"model": net(True)} if graph else {}
    gone_on = resume(tmp_path, fm.Dataset(X, Y, sample_weight=W), progress=False, **own)
    assert bits(gone_on.model) == bits(whole)
    assert gone_on.history.column("train_loss") == history.column("train_loss")


def test_what_is_counted_are_the_rows_of_the_batches_that_count():
    """An epoch's rows per second, and after which epoch the weights are."""
    _, _, history = trained("SGD", epochs=2)
    rows = sum(len(rows) for rows in batches(2) if W[rows].any())
    assert round(history[-1].samples_per_second * history[-1].seconds) == rows
    assert history.weights_of == (2, 0)
    assert trained("SGD", epochs=0)[2].weights_of == (0, 0)

    seen = []

    def ends(model, history):
        seen.append(history)
        raise EndedError

    with pytest.raises(EndedError):
        trained("SGD", callbacks=[ends])
    assert seen[0].weights_of == (1, 0)


def test_a_callback_within_the_epoch_counts_the_batches_that_are_made(monkeypatch):
    monkeypatch.setattr(engine, "CHUNK_SECONDS", 0)  # a step a chunk
    told = []

    class Look:
        def __call__(self, model, history):
            return False

        def on_chunk_end(self, chunk):
            told.append((chunk.step, chunk.steps, chunk.row, chunk.rows))

    trained(optim.Adam, epochs=1, callbacks=[Look()])
    made = [len(rows) for rows in batches(1) if W[rows].any()]
    assert len(made) < len(SIZES)
    assert told == [(n, len(made), sum(made[:n]), sum(made)) for n in range(1, len(made) + 1)]
