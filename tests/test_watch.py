"""`Watch`: that training is the same with it, and that what it writes down is what a twin in NumPy finds."""

import math

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import Dataset, Tensor, nn, ops, optim
from fastmlp.training.watch import Histogram


def clusters(rows: int = 200, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, rows)
    features = rng.normal(size=(rows, 8)).astype(np.float32)
    features[np.arange(rows), labels] += 3
    return Dataset(features, labels, classes=3)


class Own(nn.Sequential):
    """No chain that the engine knows: it trains on the graph."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


def net(kind: str, **options) -> nn.Module:
    fm.manual_seed(1)
    mlp = nn.MLP(8, (16, 12), 3, **options)
    return mlp if kind == "engine" else Own(mlp)


def trained(model: nn.Module, optimizer=None, callbacks=(), **options):
    optimizer = optimizer or optim.Adam(model.parameters(), lr=0.01)
    history = fm.fit(
        model, clusters(), optimizer=optimizer, progress=False, callbacks=callbacks,
        **{"epochs": 3, "batch_size": 32, **options},
    )  # fmt: skip
    return history, optimizer


def everything(model: nn.Module, optimizer: optim.Optimizer) -> dict[str, object]:
    """All that a look could change: state, gradients, modes, counters, the optimizer's numbers."""
    found: dict[str, object] = {name: array.tobytes() for name, array in model.state_dict().items()}
    for name, p in model.named_parameters():
        found[f"{name}.grad"] = None if p.grad is None else p.grad.tobytes()
        found[f"{name}.id"] = id(p.data)
    for name, module in model.named_modules():
        found[f"{name} mode"] = module.training
        found[f"{name} forward"] = "forward" in vars(module)
        if isinstance(module, nn.Dropout):
            found[f"{name} counters"] = module.seed, module.step, module.layer
    for i, state in optimizer.state.items():
        found[f"state {i}"] = {k: v.tobytes() if isinstance(v, np.ndarray) else v for k, v in state.items()}
    return found


def without_ids(found: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in found.items() if not key.endswith(".id")}


# --- the training is the same ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["engine", "graph"])
@pytest.mark.parametrize("rule", [optim.SGD, optim.Adam])
def test_training_is_the_same_to_the_last_bit(kind, rule):
    results = []
    for callbacks in ([], [fm.Watch(clusters(), 50)]):
        model = net(kind, dropout=0.3, batch_norm=True)
        extra = {"momentum": 0.9} if rule is optim.SGD else {}
        history, optimizer = trained(model, rule(model.parameters(), lr=0.01, **extra), callbacks, validation=0.2)
        results.append((without_ids(everything(model, optimizer)), history.column("validation_loss")))
    assert results[0] == results[1]


def planted_run(twin_is_the_model: bool):
    """A training with a callback that looks as a Watch does, on a copy or (the fault) on the model itself."""
    watch, model = fm.Watch(clusters(), 50), net("engine", dropout=0.3, batch_norm=True)
    with pytest.MonkeyPatch.context() as patch:
        if twin_is_the_model:
            patch.setattr("fastmlp.training.watch.copy.deepcopy", lambda pair: pair)
        _, optimizer = trained(model, callbacks=[watch])
    return without_ids(everything(model, optimizer))


def test_a_watch_that_touched_the_model_would_be_found():
    assert planted_run(twin_is_the_model=False) != planted_run(twin_is_the_model=True)


@pytest.mark.parametrize("training", [True, False])
def test_a_look_changes_nothing(training):
    model = net("engine", dropout=0.3, batch_norm=True)
    _, optimizer = trained(model)
    model.train(training)
    model[1].eval()
    for p in model.parameters():
        p.grad = np.full_like(p.data, 0.5)
    before = everything(model, optimizer)
    watch = fm.Watch(clusters())
    watch.start(model, optimizer)
    assert everything(model, optimizer) == before
    assert watch.epochs == [optimizer.epochs]


# --- what it writes down ---------------------------------------------------------------------------------------------


def test_it_looks_before_the_training_and_after_each_epoch():
    watch = fm.Watch(clusters(), 64)
    trained(net("engine", dropout=0.2, batch_norm=True), callbacks=[watch])
    assert watch.epochs == [0, 1, 2, 3]
    assert [layer.title for layer in watch.layers] == [
        "8 → 16, batch norm, ReLU",
        "16 → 12, batch norm, ReLU",
        "12 → 3",
    ]
    assert [layer.name for layer in watch.layers] == ["0", "4", "8"]
    for layer in watch.layers:
        assert len(layer.ratios) == len(layer.dead) == len(layer.activations.counts) == len(layer.gradients.counts) == 4
        assert all(0 < ratio < 1 for ratio in layer.ratios)
    trained(net("engine"), callbacks=[watch], epochs=1)  # a second training starts anew
    assert watch.epochs == [0, 1]


def test_the_look_before_the_training_waits_for_the_first_epoch(monkeypatch):
    """On a fresh install a look compiles kernels of the graph, and the first row need not wait for them."""
    looks = []
    look = fm.Watch._look
    monkeypatch.setattr(fm.Watch, "_look", lambda self, *args: (looks.append(args[-1]), look(self, *args)))
    watch, at_rows = fm.Watch(clusters(), rows=64), []
    trained(net("engine"), callbacks=[lambda model, history: at_rows.append(list(looks)), watch])
    assert (at_rows[0], looks) == ([], [0, 1, 2, 3])
    asked = fm.Watch(clusters(), rows=64)
    asked.start(net("engine"))
    assert looks == [0, 1, 2, 3]
    assert (asked.epochs, looks[4:]) == ([0], [0])


def test_features_that_do_not_fit_are_refused_before_the_training():
    with pytest.raises(ValueError, match="data has 8 features; the model's in_features is 5"):
        fm.Watch(clusters()).start(nn.MLP(5, (4,), 3))


def test_activations_and_gradients_are_those_of_numpy():
    """Float64 twin. A value within rounding of an edge may be counted one bin on, which is a difference of 2."""
    data, model = clusters(), net("engine").double()
    watch = fm.Watch(data, rows=len(data))
    watch.start(model)
    x, (first, second, third) = data.rows.astype(np.float64), [m for m in model if isinstance(m, nn.Linear)]
    a = np.maximum(x @ first.weight.data.T + first.bias.data, 0)
    b = np.maximum(a @ second.weight.data.T + second.bias.data, 0)
    z = b @ third.weight.data.T + third.bias.data
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    p[np.arange(len(x)), data.labels] -= 1
    dw = (p / len(x)).T @ b
    for layer, y in zip(watch.layers, (a, b, z), strict=True):
        histogram = layer.activations
        assert histogram.zeros == [pytest.approx((y == 0).mean(), abs=1e-12)]
        assert layer.dead == [pytest.approx((y == 0).all(axis=0).mean(), abs=1e-12)]
        shown = np.clip(y[y != 0], histogram.edges[0], histogram.edges[-1])
        assert abs(np.histogram(shown, histogram.edges)[0] - histogram.counts[0]).sum() <= 2
        assert histogram.reach >= np.quantile(abs(y[y != 0]), 0.999) > histogram.reach / 2
    histogram = watch.layers[2].gradients
    expected = np.histogram(np.log10(abs(dw[dw != 0])), histogram.edges)[0]
    assert abs(expected - histogram.counts[0]).sum() <= 2
    assert histogram.counts.sum() == np.count_nonzero(dw) > 20
    assert histogram.zeros == [pytest.approx((dw == 0).mean(), abs=1e-12)]


def test_the_ratio_is_one_step_of_the_optimizer():
    """SGD: the update is lr times the gradient, so the ratio is lr rms(gradient) / rms(weight)."""
    data, model = clusters(), net("engine")
    watch = fm.Watch(data, rows=len(data))
    watch.start(model, optim.SGD(model.parameters(), lr=0.25))
    ops.cross_entropy(model(Tensor(data.rows)), data.labels).backward()
    for layer, linear in zip(watch.layers, (m for m in model if isinstance(m, nn.Linear)), strict=True):
        g, w = linear.weight.grad.astype(np.float64), linear.weight.data.astype(np.float64)
        expected = 0.25 * np.sqrt((g**2).mean()) / np.sqrt((w**2).mean())
        assert layer.ratios == [
            pytest.approx(expected, rel=1e-3)
        ]  # weights are rounded to 6e-8, updates are 1e-3 of them


def test_adams_first_step_is_the_learning_rate():
    """m̂ / √v̂ is ±1 in the first step, where the gradient is not 0."""
    model = net("engine", activation="tanh")
    watch = fm.Watch(clusters(), 64)
    watch.start(model, optim.Adam(model.parameters(), lr=0.01))
    w = model[0].weight.data.astype(np.float64)
    assert watch.layers[0].ratios[0] == pytest.approx(0.01 / np.sqrt((w**2).mean()), rel=1e-3)  # eps, rounding


def test_batch_statistics_are_watched_not_running_ones():
    """Normalised by the batch, a column has mean 0: as many logits above as below, whatever the running mean is."""
    model = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6))
    model[1].running_mean[:] = 1000
    watch = fm.Watch(Dataset(clusters().features, clusters().labels, 6), 100)
    watch.start(model.eval())
    assert watch.layers[0].activations.reach <= 8


def test_without_an_optimizer_there_is_no_ratio():
    watch = fm.Watch(clusters())
    watch.start(net("engine"))
    assert all(math.isnan(ratio) for layer in watch.layers for ratio in layer.ratios)


def test_a_frozen_weight_has_no_gradient_and_no_update():
    model = net("engine")
    model[0].weight.requires_grad = False
    watch = fm.Watch(clusters())
    trained(model, callbacks=[watch], epochs=1)
    assert watch.layers[0].gradients.counts.sum() == 0
    assert watch.layers[0].ratios == [0, 0]


def test_a_net_that_diverged_is_watched():
    model, watch = net("engine"), fm.Watch(clusters())
    model[0].weight.data[0, 0] = np.nan
    model[2].weight.data[:] = 1e30
    history, _ = trained(model, callbacks=[watch])
    assert len(history) == 1
    assert watch.epochs == [0, 1]
    assert math.isnan(watch.layers[0].ratios[-1])


def test_uint8_is_scaled_and_rows_are_drawn_once():
    pixels = Dataset((clusters().features * 20 + 100).clip(0, 255).astype(np.uint8), clusters().labels)
    watch = fm.Watch(pixels, 40, seed=3)
    watch.start(nn.Sequential(nn.Linear(8, 3)))
    assert watch.layers[0].activations.reach <= 4
    again = fm.Watch(pixels, 40, seed=3)
    np.testing.assert_array_equal(watch._data.rows, again._data.rows)
    assert len(watch._data) == 40


# --- histograms ------------------------------------------------------------------------------------------------------


def test_a_histogram_that_grows_keeps_every_count():
    """Merged bins hold what NumPy counts in the wider bins."""
    rng = np.random.default_rng(0)
    epochs = [rng.uniform(-spread, spread, 5000) for spread in (0.9, 0.1, 31, 3)]  # none beyond the outermost bin
    histogram = Histogram(log=False)
    for values in epochs:
        histogram.add(values)
    assert histogram.reach == 32
    for values, counts in zip(epochs, histogram.counts, strict=True):
        np.testing.assert_array_equal(np.histogram(values, histogram.edges)[0], counts)


@pytest.mark.parametrize("log", [True, False])
def test_zeros_nan_and_what_lies_beyond(log):
    histogram = Histogram(log)
    histogram.add(np.zeros(0))
    histogram.add(np.array([0.0, 0, np.nan, np.inf]))
    histogram.add(np.array([0.0, 1e-300, 1e3, -1e3]))
    np.testing.assert_array_equal(histogram.zeros, [np.nan, 1, 0.25])
    np.testing.assert_array_equal(histogram.counts.sum(axis=1), [0, 0, 3])


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"data": np.zeros((3, 8))}, TypeError, "ndarray"),
        ({"rows": 1}, ValueError, "rows is 1"),
        ({"rows": 2.0}, ValueError, "rows is 2.0"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"seed": True}, ValueError, "seed is True"),
    ],
)
def test_a_bad_argument_is_refused_in_one_sentence(options, error, word):
    with pytest.raises(error, match=word) as caught:
        fm.Watch(**{"data": clusters(), **options})
    assert str(caught.value).startswith("Watch: ")


def test_another_model_is_refused():
    watch = fm.Watch(clusters())
    watch.start(net("engine"))
    with pytest.raises(ValueError, match="other layers"):
        watch(nn.Sequential(nn.Linear(8, 3)), fm.History([fm.Epoch(1, 0, 0, 0, 0, 1, 1)]))
