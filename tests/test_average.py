"""`fit(average=...)`: what is averaged, who sees which weights, and that training goes on from the raw ones.

tests/test_peers_steps.py has PyTorch's AveragedModel and update_bn beside it.
"""

import copy

import numpy as np
import pytest
from test_engine import Changing, data_set, same_bits, silent, state_of
from test_frozen import net as deep_net

import fastmlp as fm
from fastmlp import nn, optim
from fastmlp.kernels import average as kernels
from fastmlp.running import nodes
from fastmlp.running.averaging import Averaging, measure_statistics
from fastmlp.running.engine import Engine
from fastmlp.running.pace import Fixed
from fastmlp.training.checks import batch_sizes
from fastmlp.training.progress import Progress

AVERAGES = {"ema": optim.EMA(0.9), "swa": optim.SWA(2), "swa of all": optim.SWA(0)}


class Own(nn.Sequential):
    """On the graph."""

    def forward(self, x: fm.Tensor) -> fm.Tensor:
        return super().forward(x)


def data() -> fm.Dataset:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(170, 8)).astype(np.float32)
    return fm.Dataset(x, (x[:, 0] > 0).astype(int) + (x[:, 1] > 0))


def net(graph: bool = False, norm: str | None = "batch") -> nn.Sequential:
    fm.manual_seed(0)
    model = nn.MLP(8, (16,), 3, dropout=0.3, norm=norm)
    return Own(*model) if graph else model


def fit(model, optimizer, epochs, **options):
    return fm.fit(model, data(), optimizer=optimizer, epochs=epochs, batch_size=32, progress=False, **options)


def copied(state):
    return {name: array.copy() for name, array in state.items()}


def trained(name, graph=False, parts=(5,), **options):
    """(model, optimizer) after so many epochs, in one call or in several."""
    model = net(graph)
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    for epochs in parts:
        fit(model, optimizer, epochs, average=AVERAGES[name] if name else None, **options)
    return model, optimizer


def by_hand(name, epochs, norm):
    """The same training as a loop of one's own on the graph, with a twin of the average; (average, raw weights)."""
    model, rows = net(norm=norm), data()
    optimizer, drawing = optim.Adam(model.parameters(), lr=0.02), [m for m in model if isinstance(m, nn.Dropout)]
    for layer, module in enumerate(drawing):
        module.seed, module.layer, module.step = 0, layer, 0
    average, count = {}, 0

    def take_in(weight):
        for key, parameter in model.named_parameters():
            a, p = average.get(key, parameter.data), parameter.data
            average[key] = p.copy() if weight == 1 else a + np.float32(weight) * (p - a)

    for epoch in range(1, epochs + 1):
        order = np.random.default_rng((0, epoch)).permutation(len(rows))
        for start in range(0, len(rows), 32):
            batch = order[start : start + 32]
            optimizer.zero_grad()
            nn.CrossEntropyLoss()(model(fm.Tensor(rows.features[batch])), rows.labels[batch]).backward()
            optimizer.step()
            if name == "ema":
                take_in(1 - 0.9 if count else 1)
                count += 1
        first = {"ema": 0, "swa": 2, "swa of all": 1}[name]
        if name != "ema" and epoch >= first:
            count += 1
            take_in(1 / count)
    return average, dict(model.named_parameters())


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("name", AVERAGES)
def test_the_average_is_that_of_the_twin(name, graph):
    average, raw = by_hand(name, 5, None)
    model = net(graph, norm=None)
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    fit(model, optimizer, 5, average=AVERAGES[name])
    for key, parameter in model.named_parameters():
        assert np.array_equal(parameter.data, average[key]), key
        assert np.array_equal(optimizer.averaged["raw"][key], raw[key].data), key
        assert not np.array_equal(parameter.data, raw[key].data), key


@pytest.mark.parametrize("name", AVERAGES)
def test_engine_and_graph_average_the_same_for_every_number_of_threads(name):
    """Of all layers, and with frozen parameters."""
    rows, sizes = data_set(20, 3, 110), batch_sizes(110, 16, True)
    results = []
    for how in ("graph", 1, 2, 3, 4, "changing"):
        model = deep_net()
        model[4].weight.requires_grad = model[7].bias.requires_grad = False
        optimizer = optim.AdamW(model.parameters(), lr=0.02)
        averaging = Averaging(model, optimizer, AVERAGES[name], 0, 3)
        pace = Changing(3, 5) if how == "changing" else Fixed(4 if how == "graph" else how)
        with Engine(model, optimizer, 20, max(sizes), 4, pace, 2, averaging=averaging) as engine:
            for epoch in range(3):
                order = np.random.default_rng(epoch).permutation(110)
                averaging.begin()
                if how == "graph":
                    weights, loss = averaging.weights(len(sizes)), nn.CrossEntropyLoss()

                    def after(step, weights=weights, averaging=averaging):
                        if len(weights):
                            averaging.go_on(weights[step])

                    nodes.epoch(model, optimizer, loss, rows, order, sizes, silent, after_step=after)
                else:
                    engine.refresh()
                    engine.epoch(rows, order, sizes)
                averaging.end_of_epoch()
                averaging.show(rows, order, sizes)
        raw = {f"raw {key}": array for key, array in optimizer.averaged["raw"].items()}
        results.append(state_of(model, optimizer) | raw | {"count": optimizer.averaged["count"]})
    for state in results[1:]:
        same_bits(state, results[0])


@pytest.mark.parametrize("name", AVERAGES)
def test_the_raw_weights_are_those_of_a_training_without_an_average(name):
    """With batch norm and dropout: neither the pass that measures nor validation moves a statistic or a mask."""
    plain, plain_optimizer = trained(None, validation=0.2)
    model, optimizer = trained(name, validation=0.2)
    same_bits(optimizer.averaged["raw"], dict(plain.state_dict()))
    same_bits({str(i): s["exp_avg"] for i, s in optimizer.state.items()},
              {str(i): s["exp_avg"] for i, s in plain_optimizer.state.items()})  # fmt: skip
    assert not np.array_equal(model[0].weight.data, plain[0].weight.data)


@pytest.mark.parametrize("name", AVERAGES)
def test_calls_with_one_optimizer_are_one_call(name):
    model, optimizer = trained(name)
    for parts in ((2, 3), (1, 0, 2, 2)):
        again, again_optimizer = trained(name, parts=parts)
        same_bits(dict(again.state_dict()), dict(model.state_dict()))
        same_bits(again_optimizer.averaged["raw"], optimizer.averaged["raw"])
        assert again_optimizer.averaged["count"] == optimizer.averaged["count"]
    graph, graph_optimizer = trained(name, graph=True)
    same_bits(dict(graph.state_dict()), dict(model.state_dict()))
    same_bits(graph_optimizer.averaged["raw"], optimizer.averaged["raw"])


def test_a_fraction_that_moves_on_begins_the_average_anew():
    """5 + 5 epochs: the fifth counted as long as there were five, and does not among ten."""
    states = []
    for parts in ((10,), (5, 5)):
        model = net()
        optimizer = optim.Adam(model.parameters(), lr=0.02)
        for epochs in parts:
            fit(model, optimizer, epochs, average="swa")
        states.append(dict(model.state_dict()))
        assert optimizer.averaged["count"] == 3
    same_bits(*states)


@pytest.mark.parametrize("name", AVERAGES)
def test_a_saved_state_goes_on(name):
    """The model's state and the optimizer's, in another model and another optimizer."""
    whole, _ = trained(name)
    first, optimizer = trained(name, parts=(3,))
    model = net()
    model.load_state_dict(copied(first.state_dict()))
    second = optim.Adam(model.parameters(), lr=7.0)
    second.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    fit(model, second, 2, average=AVERAGES[name])
    same_bits(dict(model.state_dict()), dict(whole.state_dict()))


def test_a_state_without_an_average_has_no_word_of_it():
    _, optimizer = trained(None, parts=(1,))
    assert "averaged" not in optimizer.state_dict()
    _, averaged = trained("ema", parts=(1,))
    state = averaged.state_dict()
    state["averaged"]["raw"]["0.bias"][:] = 7
    assert not (averaged.averaged["raw"]["0.bias"] == 7).any(), "the state is a copy"
    with pytest.raises(ValueError, match="Adam: averaged of the state is of another form; it must be what fit left"):
        optimizer.load_state_dict(state | {"averaged": {"raw": 1}})
    optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.averaged == {}


@pytest.mark.parametrize("graph", [False, True])
def test_what_validation_measures_and_callbacks_see_is_the_average(graph):
    model, seen, held = net(graph), [], data()[:40]
    optimizer = optim.Adam(model.parameters(), lr=0.02)

    def look(model, history):
        seen.append((fm.evaluate(model, held).loss, copied(model.state_dict())))

    history = fit(model, optimizer, 3, average=optim.EMA(0.9), validation=held, callbacks=[look])
    assert [loss for loss, _ in seen] == history.column("validation_loss")
    same_bits(seen[-1][1], dict(model.state_dict()))
    assert seen[-1][0] != fm.evaluate(trained(None, parts=(3,))[0], held).loss


def test_early_stopping_restores_the_best_average():
    model, seen = net(), []
    optimizer = optim.Adam(model.parameters(), lr=0.2)
    stopper = fm.EarlyStopping(patience=None)

    def look(model, history):
        seen.append(copied(model.state_dict()))

    held = data()[:40]
    history = fit(model, optimizer, 6, average=optim.EMA(0.5), validation=held, callbacks=[look, stopper])
    assert stopper.best_epoch is not None
    assert stopper.best_epoch < 6, "else there is nothing to restore"
    same_bits(dict(model.state_dict()), seen[stopper.best_epoch - 1])
    assert fm.evaluate(model, held).loss == min(history.column("validation_loss"))
    fit(model, optimizer, 1, average=optim.EMA(0.5))
    assert optimizer.averaged["count"] == 6, "the average begins anew over the weights that were restored"


CHANGES = {
    "a bias": lambda model: model[4].bias.data.__iadd__(1),
    "an array in place of another": lambda model: setattr(model[0].weight, "data", model[0].weight.data * 2),
    "running statistics": lambda model: model[1].running_mean.__iadd__(1),
    "all of it": lambda model: [p.data.__imul__(0.5) for p in model.parameters()],
}
TOUCHED = {
    "a bias": ["4.bias"],
    "an array in place of another": ["0.weight"],
    "running statistics": ["1.running_mean"],
}


@pytest.mark.parametrize("name", AVERAGES)
@pytest.mark.parametrize("change", CHANGES)
def test_what_a_callback_changes_is_trained_on(change, name):
    """Engine and graph alike; what it does not touch goes on from the raw numbers."""
    results, raw = [], {}
    for graph in (False, True):
        model = net(graph)
        optimizer = optim.Adam(model.parameters(), lr=0.02)

        def callback(model, history, optimizer=optimizer):
            if len(history) == 3:
                raw.update(copied(optimizer.averaged["raw"]))
                CHANGES[change](model)
                raw.update(changed=copied(model.state_dict()))

        begun = []
        begin = Averaging.begin

        def watched(self, begun=begun, begin=begin):
            begin(self)
            begun.append(copied(self.model.state_dict()))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Averaging, "begin", watched)
            fit(model, optimizer, 5, average=AVERAGES[name], callbacks=[callback])
        changed = raw.pop("changed")
        touched = TOUCHED.get(change, list(dict(model.named_parameters())))
        same_bits(begun[3], raw | {key: changed[key] for key in touched})
        results.append(copied(model.state_dict()) | {f"raw {k}": a for k, a in optimizer.averaged["raw"].items()})
    same_bits(*results)


def test_a_frozen_parameter_stays_and_may_be_read_only():
    model = net()
    model[0].weight.requires_grad = False
    model[0].weight.data.flags.writeable = False
    kept = model[0].weight.data.copy()
    fit(model, optim.Adam(model.parameters()), 3, average="ema")
    assert np.array_equal(model[0].weight.data, kept)


@pytest.mark.parametrize("name", AVERAGES)
def test_an_interrupted_training_leaves_the_average(name):
    model, calls = net(), []
    optimizer = optim.Adam(model.parameters(), lr=0.02)

    def interrupt(self, rows, loss, score):
        calls.append(rows)
        if len(calls) > 2:
            raise KeyboardInterrupt

    fit(model, optimizer, 2, average=AVERAGES[name])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "batch", interrupt)
        patch.setattr("fastmlp.running.engine.CHUNK_SECONDS", 0.0)  # a step a chunk
        with pytest.raises(KeyboardInterrupt):
            fit(model, optimizer, 1, average=AVERAGES[name])
    same_bits(optimizer.averaged["shown"], dict(model.state_dict()))
    assert not np.array_equal(optimizer.averaged["raw"]["0.weight"], model[0].weight.data)
    assert optimizer.averaged["raw"]["1.num_batches_tracked"] == 2 * 6 + 3
    fit(model, optimizer, 1, average=AVERAGES[name])
    assert optimizer.epochs == 3


def test_an_interruption_while_the_average_is_shown_is_made_good():
    model = net()
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    fit(model, optimizer, 1, average="ema")

    def interrupted(*arguments):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastmlp.running.averaging.measure_statistics", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(model, optimizer, 1, average="ema")
    want, want_optimizer = net(), None
    want_optimizer = optim.Adam(want.parameters(), lr=0.02)
    fit(want, want_optimizer, 2, average="ema")
    for key, parameter in model.named_parameters():
        assert np.array_equal(parameter.data, dict(want.named_parameters())[key].data)


def test_an_error_of_the_data_is_the_one_that_comes_out():
    """Nothing more is measured on rows that may be at fault."""
    rows = data()

    def break_it(model, history):
        rows.labels[5] = -3

    with pytest.raises(ValueError, match="the label -3; a label is at least 0"):
        fm.fit(net(), rows, epochs=3, progress=False, average="ema", callbacks=[break_it])


def test_statistics_are_the_mean_over_the_batches():
    rows, sizes = data_set(20, 3, 90), [32, 32, 26]
    model = deep_net()
    model[5].eval()
    frozen = copied(dict(model[5].named_buffers()))
    order = np.random.default_rng(1).permutation(90)
    measure_statistics(model, rows, order, sizes)
    batches = np.split(rows.features[order].astype(np.float64), [32, 64])
    # three numbers and their mean in float32
    assert np.allclose(model[0].running_mean, np.mean([b.mean(axis=0) for b in batches], axis=0), rtol=0, atol=1e-6)
    assert np.allclose(model[0].running_var, np.mean([b.var(axis=0, ddof=1) for b in batches], axis=0), rtol=1e-6)
    assert (model[0].momentum, model[0].num_batches_tracked) == (0.1, 0)
    same_bits(dict(model[5].named_buffers()), frozen)


def test_swa_counts_from_its_start():
    for start, epochs, first in (
        (0.75, 10, 8),
        (0.75, 4, 4),
        (0.75, 1, 1),
        (0, 3, 1),
        (0.5, 4, 3),
        (3, 10, 3),
        (1, 2, 1),
    ):
        assert optim.SWA(start).begins(epochs) == first
    late, plain = net(), net()
    optimizer = optim.Adam(late.parameters(), lr=0.02)
    fit(late, optimizer, 3, average=optim.SWA(9))
    fit(plain, optim.Adam(plain.parameters(), lr=0.02), 3)
    assert optimizer.averaged["count"] == 0
    same_bits(dict(late.state_dict()), dict(plain.state_dict()))


def test_another_average_goes_on_from_the_raw_weights_and_none_gives_them_up():
    model, optimizer = trained("ema", parts=(3,))
    raw = copied(optimizer.averaged["raw"])
    fit(model, optimizer, 0, average="swa")
    fit(model, optimizer, 1, average=optim.SWA(1))
    assert optimizer.averaged["kind"] == "SWA"
    assert optimizer.averaged["count"] == 1
    plain = trained(None, parts=(4,))[0]
    same_bits(optimizer.averaged["raw"], dict(plain.state_dict()))
    assert not np.array_equal(raw["0.weight"], plain[0].weight.data)
    fit(model, optimizer, 1)
    assert optimizer.averaged == {}


def test_a_line_where_the_average_looks_back_further_than_the_training(capsys):
    line = "the average looks back 1,000 steps and the training has 18, so it lags behind the weights"
    for average, said in (("ema", True), (optim.EMA(0.5), False), ("swa", False)):
        fm.fit(net(), data(), epochs=3, batch_size=32, progress="table", average=average)
        assert (line in capsys.readouterr().out) == said
    for average, said in ((optim.SWA(3), "the last epoch alone"), (optim.SWA(9), "no epoch"), (optim.SWA(2), "")):
        fm.fit(net(), data(), epochs=3, batch_size=32, progress="table", average=average)
        out = capsys.readouterr().out
        assert f"the average takes in {said} of 3; an earlier start" in out if said else "the average" not in out


def test_the_kernel_goes_a_part_of_the_way():
    p, a = np.array([1, 2, np.nan, 4], np.float32), np.array([3, 2, 1, np.inf], np.float32)
    kernels.move_average(a, p, 0.25)
    assert np.array_equal(a, [2.5, 2, np.nan, np.nan], equal_nan=True)  # infinity and a part of minus infinity
    kernels.move_average(a, p, 1.0)
    assert np.array_equal(a, p, equal_nan=True)


def test_other_averages_are_refused_in_a_sentence():
    for given, error, words in (
        ("mean", ValueError, "fit: average is 'mean'; it must be 'ema' or 'swa', or None"),
        (0.99, TypeError, "fit: average is 0.99; it must be 'ema' or 'swa', one of fastmlp.optim, or None"),
        (optim.EMA, TypeError, r"fit: average is the class EMA; it must be an object, EMA\(\)"),
    ):
        with pytest.raises(error, match=words):
            fit(net(), None, 1, average=given)
    for decay in (1, -0.1, np.nan, "0.9", True):
        with pytest.raises(ValueError, match=r"EMA: decay is .*; it must be a number in \[0, 1\)"):
            optim.EMA(decay)
    for start in (-0.1, 1.5, np.nan, "half", True):
        with pytest.raises(ValueError, match=r"SWA: start is .*; it must be a fraction of the epochs in \[0, 1\), or"):
            optim.SWA(start)
    with pytest.raises(NotImplementedError, match="Average has no weight"):
        optim.Average().weight(1)
    assert (repr(optim.EMA()), repr(optim.SWA())) == ("EMA(decay=0.999)", "SWA(start=0.75)")


def test_the_buffers_of_the_average_count_in_the_memory():
    model = nn.MLP(20, (8,), 3)
    optimizer = optim.SGD(model.parameters())
    given = [None, Averaging(model, optimizer, optim.EMA(), 0, 1), Averaging(model, optimizer, optim.SWA(), 0, 1)]
    plain, ema, swa = (Engine(model, optimizer, 20, 16, 2, averaging=a).sum_of_buffers() for a in given)
    sizes = Engine(model, optimizer, 20, 16, 2).plan.sizes
    assert ema - plain == 3 * 4 * sizes["p"]  # the average, and two copies to go back to
    assert swa == plain
