"""`fit`, `evaluate` and `History`, through the public names alone.

The measure of `fit` is `by_hand`, the same training written out with the graph, an optimizer and NumPy's permutation.
Data are three clusters in eight columns; a run takes milliseconds.
"""

import csv
import dataclasses
import math
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastmlp as fm
from fastmlp import Dataset, Epoch, History, Tensor, evaluate, fit, nn, ops, optim

# A mean of losses: each batch's loss is rounded to float32 (6e-8), and `fit` may add up rows in another order.
LOSS_TOLERANCE = 1e-6


def clusters(rows: int = 300, dtype=np.float32, seed: int = 0) -> Dataset:
    """Three clusters, five standard deviations from each other: separable."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, rows)
    labels[:3] = 0, 1, 2
    features = rng.normal(size=(rows, 8))
    features[np.arange(rows), labels] += 5
    return Dataset(features.astype(dtype), labels)


def pixels(rows: int = 100) -> Dataset:
    """uint8 features of two axes, and the clusters' labels."""
    data = clusters(rows)
    grey = np.clip(data.features * 20 + 60, 0, 255).astype(np.uint8)
    return Dataset(grey.reshape(rows, 2, 4), data.labels)


def mlp(seed: int = 0, **options) -> nn.MLP:
    fm.manual_seed(seed)
    return nn.MLP(8, (16,), 3, **options)


class Own(nn.Sequential):
    """A reader's own class around an MLP: `fit` cannot know what its forward does, and has to call it."""

    def __init__(self, **options) -> None:
        super().__init__(mlp(**options))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


def bits(model: nn.Module) -> dict[str, bytes]:
    """The state to the last bit."""
    return {name: array.tobytes() for name, array in model.state_dict().items()}


def copied(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in model.state_dict().items()}


def measured(history: History) -> list[str]:
    """What an epoch measured but for the time; as text, because NaN is not equal to NaN."""
    clock = {"seconds", "samples_per_second"}
    return [repr({k: v for k, v in dataclasses.asdict(e).items() if k not in clock}) for e in history.epochs]


def trained(data: Dataset, model: nn.Module | None = None, **options) -> tuple[nn.Module, History]:
    """A silent run of two epochs, unless the options say otherwise."""
    model = mlp() if model is None else model
    return model, fit(model, data, **{"epochs": 2, "progress": False, **options})


def refuses(error: type[Exception], call, *words: str) -> None:
    """`call()` raises this error in one sentence that contains these words."""
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert type(caught.value) is error
    assert message
    assert "\n" not in message
    for word in words:
        assert word in message


# --- the same training by hand ---------------------------------------------------------------------------------------


def by_hand(
    model: nn.Module,
    data: Dataset,
    optimizer: optim.Optimizer,
    sizes: list[int],
    epochs: int = 2,
    seed: int = 0,
    rows: np.ndarray | None = None,
) -> tuple[list[float], list[float]]:
    """Trains `model` in batches of `sizes`; returns the epochs' losses and accuracies, weighted by rows."""
    rows = np.arange(len(data)) if rows is None else rows
    assert sum(sizes) == len(rows)
    dtype = next(model.parameters()).dtype
    dropouts = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    for layer, module in enumerate(dropouts):
        module.seed, module.layer, module.step = seed, layer, 0
    losses, accuracies = [], []
    for epoch in range(1, epochs + 1):
        order = np.random.default_rng((seed, epoch)).permutation(rows)
        loss_sum, correct, start = 0.0, 0, 0
        for size in sizes:
            batch = order[start : start + size]
            start += size
            x, labels = data.rows[batch].astype(dtype) * dtype.type(data.scale), data.labels[batch]
            logits = model(Tensor(x))
            loss = ops.cross_entropy(logits, labels)
            model.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * size
            correct += int((logits.data.argmax(axis=1) == labels).sum())
        losses.append(loss_sum / len(rows))
        accuracies.append(correct / len(rows))
    return losses, accuracies


MODELS = {
    "relu": lambda: mlp(),
    "softmax regression": lambda: nn.MLP(8, (), 3),
    "three layers": lambda: nn.MLP(8, (20, 33, 5), 3),
    "tanh and sigmoid": lambda: nn.Sequential(
        nn.Linear(8, 9), nn.Tanh(), nn.Linear(9, 7, bias=False), nn.Sigmoid(), nn.Linear(7, 3)
    ),
    "dropout": lambda: nn.MLP(8, (16, 12), 3, dropout=0.4),
    "batch norm": lambda: nn.MLP(8, (16, 12), 3, batch_norm=True),
    "batch norm and dropout": lambda: nn.MLP(8, (16,), 3, "tanh", 0.2, True),
    "float64": lambda: nn.MLP(8, (16,), 3, dropout=0.2, batch_norm=True).double(),
    "nested": lambda: nn.Sequential(nn.Sequential(nn.Linear(8, 6), nn.ReLU()), nn.MLP(6, (5,), 3)),
}
OPTIMIZERS = {
    "sgd": lambda parameters: optim.SGD(parameters, lr=0.1),
    "nesterov": lambda parameters: optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=1e-3, nesterov=True),
    "dampened": lambda parameters: optim.SGD(parameters, lr=0.05, momentum=0.5, dampening=0.3),
    "adam": lambda parameters: optim.Adam(parameters, lr=0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.01),
    "adamw": lambda parameters: optim.AdamW(parameters, lr=0.01, weight_decay=0.1),
}


def dropout_steps(model: nn.Module) -> list[int]:
    return [module.step for module in model.modules() if isinstance(module, nn.Dropout)]


def assert_fit_equals_by_hand(make_model, make_optimizer, data, sizes, **options) -> None:
    """Weights, buffers, optimizer state and counters to the bit; loss within rounding; accuracy exactly."""
    model, twin = make_model(), make_model()
    twin.load_state_dict(model.state_dict())
    optimizer, twin_optimizer = make_optimizer(model.parameters()), make_optimizer(twin.parameters())
    _, history = trained(data, model, optimizer=optimizer, seed=5, **options)
    losses, accuracies = by_hand(twin, data, twin_optimizer, sizes, seed=5)
    assert history.column("train_loss") == pytest.approx(losses, rel=LOSS_TOLERANCE, abs=0)
    assert history.column("train_accuracy") == accuracies
    assert bits(model) == bits(twin)
    np.testing.assert_equal(optimizer.state_dict()["state"], twin_optimizer.state_dict()["state"])
    assert dropout_steps(model) == dropout_steps(twin)


@pytest.mark.parametrize("kind", MODELS)
def test_fit_is_the_loop_by_hand_for_every_kind_of_model(kind):
    fm.manual_seed(1)
    assert_fit_equals_by_hand(MODELS[kind], optim.Adam, clusters(70), [32, 32, 6], batch_size=32)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_fit_is_the_loop_by_hand_for_every_optimizer(kind):
    assert_fit_equals_by_hand(MODELS["relu"], OPTIMIZERS[kind], clusters(70), [32, 32, 6], batch_size=32)


@settings(deadline=None, max_examples=15)
@given(rows=st.integers(3, 60), batch_size=st.integers(1, 70))
def test_fit_is_the_loop_by_hand_for_every_batch_size(rows, batch_size):
    sizes = [min(batch_size, rows - start) for start in range(0, rows, batch_size)]
    assert_fit_equals_by_hand(MODELS["relu"], optim.Adam, clusters(rows), sizes, batch_size=batch_size)


LAYERS = {
    "linear": nn.Linear,
    "linear without bias": lambda inputs, outputs: nn.Linear(inputs, outputs, bias=False),
    "batch norm": lambda inputs, _: nn.BatchNorm1d(inputs),
    "slow batch norm": lambda inputs, _: nn.BatchNorm1d(inputs, eps=1e-2, momentum=0.01),
    "relu": lambda *_: nn.ReLU(),
    "tanh": lambda *_: nn.Tanh(),
    "sigmoid": lambda *_: nn.Sigmoid(),
    "dropout": lambda *_: nn.Dropout(0.3),
    "dropout of nothing": lambda *_: nn.Dropout(0.0),
    "nothing": lambda *_: nn.Sequential(),
}


def stack(layers: list[tuple[str, int]], last: str) -> nn.Sequential:
    """These layers in this order, a Linear to three classes, and one layer more."""
    width, made = 8, []
    for kind, outputs in layers:
        made.append(LAYERS[kind](width, outputs))
        width = outputs if kind.startswith("linear") else width
    return nn.Sequential(*made, nn.Linear(width, 3), LAYERS[last](3, 3))


@settings(deadline=None, max_examples=30)
@given(
    layers=st.lists(st.tuples(st.sampled_from(sorted(LAYERS)), st.integers(1, 40)), max_size=6),
    last=st.sampled_from(sorted(LAYERS)),
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
)
def test_fit_is_the_loop_by_hand_for_layers_in_any_order(layers, last, optimizer):
    fm.manual_seed(2)
    make = lambda: stack(layers, last)  # noqa: E731
    assert_fit_equals_by_hand(make, OPTIMIZERS[optimizer], clusters(45), [20, 20, 5], batch_size=20)


def test_fit_is_the_loop_by_hand_for_pixels():
    assert_fit_equals_by_hand(MODELS["relu"], optim.Adam, pixels(70), [32, 32, 6], batch_size=32)


def test_without_an_optimizer_fit_takes_adam_with_its_defaults():
    data, twin = clusters(70), mlp()
    model, _ = trained(data, batch_size=35)
    by_hand(twin, data, optim.Adam(twin.parameters()), [35, 35])
    assert bits(model) == bits(twin)


def test_defaults_are_ten_epochs_of_batches_of_64_in_the_order_of_seed_0():
    data, twin, model = clusters(100), mlp(), mlp()
    fit(model, data, progress=False)
    by_hand(twin, data, optim.Adam(twin.parameters()), [64, 36], epochs=10)
    assert bits(model) == bits(twin)


# --- learning, and what a seed fixes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["relu", "batch norm and dropout", "float64"])
def test_fit_learns_separable_classes(kind):
    fm.manual_seed(0)
    model, history = trained(clusters(), MODELS[kind](), epochs=15, batch_size=16)
    assert evaluate(model, clusters(seed=1)).accuracy > 0.99  # two in 10,000 rows are nearer to another cluster
    assert history[-1].train_loss < 0.5 * history[0].train_loss


def full_run(seed: int, **options) -> tuple[dict[str, bytes], list[str]]:
    """A run in which all that is random takes part."""
    model, history = trained(
        clusters(101), mlp(dropout=0.3, batch_norm=True), validation=0.2, batch_size=16, seed=seed, **options
    )
    return bits(model), measured(history)


@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 2**63 - 1))
def test_the_same_seed_gives_the_same_bits(seed):
    assert full_run(seed) == full_run(seed)


def test_another_seed_gives_other_bits():
    results = [full_run(seed)[0]["0.weight"] for seed in (0, 1, 2, 2**63 - 1)]
    assert len(set(results)) == len(results)


def test_a_numpy_integer_is_the_same_seed():
    assert full_run(np.int32(3)) == full_run(3)


@pytest.mark.parametrize("n_threads", [2, 3, 64, np.int64(2), "auto"])
def test_every_thread_count_gives_the_same_bits(n_threads):
    assert full_run(0, n_threads=n_threads) == full_run(0, n_threads=1)


def test_a_run_does_not_depend_on_the_runs_before():
    """The counters of dropout start anew; from the same weights, the same seed gives the same masks."""
    data, start = clusters(), copied(mlp(dropout=0.5))
    model, _ = trained(data, mlp(dropout=0.5))
    first = bits(model)
    model.load_state_dict(start)
    trained(data, model)
    assert bits(model) == first


@pytest.mark.parametrize("make", [mlp, Own])
def test_fit_trains_in_training_mode_whatever_the_mode_was(make):
    data = clusters()
    expected = bits(trained(data, make(dropout=0.5, batch_norm=True))[0])
    assert bits(trained(data, make(dropout=0.5, batch_norm=True).eval())[0]) == expected
    model = make(dropout=0.5, batch_norm=True)
    trained(data, model, callbacks=[lambda model, _: model.eval() and None])
    assert bits(model) == expected


def test_the_loss_counts_rows_and_not_batches():
    """With lr 0 the model stays as it is: the mean over the rows is the loss of the whole set."""
    data, model = clusters(70), mlp()
    optimizer = optim.SGD(model.parameters(), lr=0)
    _, history = trained(data, model, optimizer=optimizer, batch_size=64, epochs=1)
    order = np.random.default_rng((0, 1)).permutation(70)
    batches = [evaluate(model, data[order[:64]]).loss, evaluate(model, data[order[64:]]).loss]
    assert history[0].train_loss == pytest.approx((64 * batches[0] + 6 * batches[1]) / 70, rel=LOSS_TOLERANCE)
    assert abs(history[0].train_loss - sum(batches) / 2) > 1e-3  # the mean of batch means is another number
    assert history[0].train_accuracy == evaluate(model, data).accuracy


def test_no_epochs_change_nothing():
    model, history = trained(clusters(), epochs=0)
    assert len(history) == 0
    assert bits(model) == bits(mlp())


# --- validation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("validation", "held"), [(0.2, 60), (0.001, 1), (45, 45), (np.int64(45), 45)])
def test_validation_is_held_out_of_the_data(validation, held):
    data = clusters()
    model, history = trained(data, validation=validation, seed=3)
    rest, held_out = data.split_rows(validation, seed=3)
    assert len(held_out) == held
    expected = evaluate(model, data[held_out])
    assert history[-1].validation_loss == pytest.approx(expected.loss, rel=LOSS_TOLERANCE)
    assert history[-1].validation_accuracy == expected.accuracy
    twin = mlp()
    by_hand(twin, data, optim.Adam(twin.parameters()), [64] * (len(rest) // 64) + [len(rest) % 64], seed=3, rows=rest)
    assert bits(model) == bits(twin)


def test_validation_as_a_data_set_leaves_all_rows_to_the_training():
    data, other = clusters(), clusters(50, seed=9)
    model, history = trained(data, validation=other)
    without, _ = trained(data)
    assert bits(model) == bits(without)
    expected = evaluate(model, other)
    assert (history[-1].validation_loss, history[-1].validation_accuracy) == (expected.loss, expected.accuracy)


@pytest.mark.parametrize("validation", [None, 0, 0.0])
def test_without_validation_its_numbers_are_nan(validation):
    _, history = trained(clusters(), validation=validation)
    assert all(math.isnan(value) for value in history.column("validation_loss"))
    assert all(math.isnan(value) for value in history.column("validation_accuracy"))


def test_a_held_out_row_is_never_trained_on():
    """Whatever the held-out rows hold, the model becomes the same, to the bit."""
    data = clusters()
    _, held_out = data.split_rows(0.2, seed=0)
    features, labels = data.features.copy(), data.labels.copy()
    features[held_out] = 1000
    labels[held_out] = 2 - labels[held_out]
    spoilt = Dataset(features, labels)
    model, history = trained(data, validation=0.2)
    other, spoilt_history = trained(spoilt, validation=0.2)
    assert bits(model) == bits(other)
    assert history[-1].validation_loss != spoilt_history[-1].validation_loss


@pytest.mark.parametrize("make", [mlp, Own])
def test_validation_is_in_evaluation_mode(make):
    data = clusters()
    model, history = trained(data, make(dropout=0.9, batch_norm=True), validation=data)
    assert history[-1].validation_loss == evaluate(model, data).loss
    assert history[-1].validation_loss < history[-1].train_loss  # dropout of 0.9 is in the training loss alone


# --- the last batch, and the data's types ----------------------------------------------------------------------------


def batches_of_an_epoch(rows: int, batch_size: int) -> int:
    """The batches that batch norm saw in one epoch."""
    model, _ = trained(clusters(rows), mlp(batch_norm=True), epochs=1, batch_size=batch_size)
    return int(model[1].num_batches_tracked)


@pytest.mark.parametrize(
    ("rows", "batch_size", "batches"), [(64, 32, 2), (65, 32, 2), (66, 32, 3), (33, 32, 1), (5, 2, 2), (20, 64, 1)]
)
def test_with_batch_norm_a_last_row_alone_joins_the_batch_before(rows, batch_size, batches):
    assert batches_of_an_epoch(rows, batch_size) == batches


def test_the_row_that_joins_is_trained_on():
    make = MODELS["batch norm"]
    assert_fit_equals_by_hand(make, optim.Adam, clusters(65), [32, 33], batch_size=32)


def test_without_batch_norm_a_last_row_is_a_batch():
    assert_fit_equals_by_hand(MODELS["relu"], optim.Adam, clusters(65), [32, 32, 1], batch_size=32)


@pytest.mark.parametrize(("rows", "batch_size"), [(1, 64), (10, 1)])
def test_batch_norm_refuses_batches_of_one_row(rows, batch_size):
    data = Dataset(np.ones((rows, 8), np.float32), np.zeros(rows, np.int64), classes=3)
    refuses(ValueError, lambda: trained(data, mlp(batch_norm=True), batch_size=batch_size), "batch_norm", "1")


def test_uint8_features_count_255_as_one():
    grey = pixels()
    floats = Dataset(grey.rows.astype(np.float32) * np.float32(1 / 255), grey.labels)
    (model, history), (twin, twin_history) = trained(grey, validation=0.2), trained(floats, validation=0.2)
    assert bits(model) == bits(twin)
    assert measured(history) == measured(twin_history)
    assert evaluate(model, grey) == evaluate(model, floats)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_model_keeps_its_dtype_whatever_the_data_are(dtype):
    model = mlp(batch_norm=True)
    model = model.double() if dtype == np.float64 else model
    for data in (clusters(), clusters(dtype=np.float64), pixels()):
        trained(data, model, validation=0.1)
        assert {array.dtype for name, array in model.state_dict().items() if "num" not in name} == {np.dtype(dtype)}


def test_float64_features_train_a_float32_model_as_float32_features_do():
    wide = clusters(dtype=np.float64)
    narrow = Dataset(wide.features.astype(np.float32), wide.labels)
    assert bits(trained(wide)[0]) == bits(trained(narrow)[0])


def test_a_float64_model_is_near_its_float32_twin():
    """Two epochs of Adam move a weight by about 0.01 in all; rounding differs by 1e-7 a step."""
    single, double = trained(clusters())[0], trained(clusters(), mlp().double())[0]
    for name, array in single.state_dict().items():
        np.testing.assert_allclose(array, double.state_dict()[name], rtol=0, atol=1e-5)


def test_a_read_only_memory_map_serves_as_data(tmp_path):
    grey = pixels()
    np.save(tmp_path / "features.npy", grey.features)
    mapped = Dataset(np.load(tmp_path / "features.npy", mmap_mode="r"), grey.labels)
    assert isinstance(mapped.features, np.memmap)
    assert bits(trained(mapped, validation=0.1)[0]) == bits(trained(grey, validation=0.1)[0])


def test_fit_leaves_the_data_alone():
    data = clusters()
    features, labels = data.features.copy(), data.labels.copy()
    trained(data, validation=0.3)
    np.testing.assert_array_equal(data.features, features)
    np.testing.assert_array_equal(data.labels, labels)


# --- callbacks -------------------------------------------------------------------------------------------------------


def test_a_callback_sees_each_epoch_when_it_is_over():
    seen = []
    model = mlp()

    def callback(given, so_far):
        seen.append((given is model, len(so_far), so_far[-1].epoch))

    history = fit(model, clusters(), epochs=3, progress=False, callbacks=[callback])
    assert seen == [(True, 1, 1), (True, 2, 2), (True, 3, 3)]
    assert history.column("epoch") == [1, 2, 3]


def test_a_callback_sees_the_weights_of_its_epoch():
    data, seen = clusters(), []
    trained(data, epochs=3, callbacks=[lambda model, _: seen.append(bits(model))])
    assert seen == [bits(trained(data, epochs=n)[0]) for n in (1, 2, 3)]


@pytest.mark.parametrize("answer", [True, np.True_])
def test_true_from_a_callback_stops_the_training(answer):
    calls = []
    second = lambda model, history: calls.append(len(history))  # noqa: E731
    _, history = trained(clusters(), epochs=5, callbacks=[lambda _, history: len(history) == 2 and answer, second])
    assert len(history) == 2
    assert calls == [1, 2]  # the others still see the last epoch


@pytest.mark.parametrize("answer", [None, False, np.False_, 1, "yes", [1]])
def test_any_other_answer_goes_on(answer):
    assert len(trained(clusters(), epochs=3, callbacks=(lambda *_: answer,))[1]) == 3


def test_callbacks_from_an_iterator_are_called_in_each_epoch():
    calls = []
    trained(clusters(), epochs=3, callbacks=iter([lambda *_: calls.append(1)]))
    assert len(calls) == 3


def test_a_learning_rate_that_a_callback_sets_holds_from_the_next_epoch():
    data, model = clusters(), mlp()
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def freeze(*_):
        optimizer.param_groups[0]["lr"] = 0.0

    trained(data, model, optimizer=optimizer, epochs=3, callbacks=[freeze])
    once = mlp()
    trained(data, once, optimizer=optim.SGD(once.parameters(), lr=0.1), epochs=1)
    assert bits(model) == bits(once)


def test_weights_that_a_callback_sets_hold_from_the_next_epoch():
    data, model, start = clusters(), mlp(batch_norm=True), copied(mlp(seed=7, batch_norm=True))

    def set_once(model, history):
        if len(history) == 1:
            model.load_state_dict(start)

    trained(data, model, optimizer=optim.SGD(model.parameters(), lr=0.1), callbacks=[set_once])
    twin = mlp(batch_norm=True)
    optimizer = optim.SGD(twin.parameters(), lr=0.1)
    by_hand(twin, data, optimizer, [64, 64, 64, 64, 44], epochs=1)
    twin.load_state_dict(start)
    order = np.random.default_rng((0, 2)).permutation(300)
    for begin in range(0, 300, 64):
        rows = order[begin : begin + 64]
        twin.zero_grad()
        ops.cross_entropy(twin(Tensor(data.features[rows])), data.labels[rows]).backward()
        optimizer.step()
    assert bits(model) == bits(twin)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_error_in_a_callback_comes_through_and_the_mode_is_restored(error):
    model = mlp(dropout=0.5).eval()

    def fail(*_):
        raise error

    with pytest.raises(error):
        trained(clusters(), model, callbacks=[fail])
    assert not any(module.training for module in model.modules())


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no interval timer")
def test_ctrl_c_during_an_epoch_leaves_a_model_that_goes_on():
    """A tenth of a second into a run without an end, the main thread gets what Ctrl-C sends."""
    data, model = clusters(5000), mlp(dropout=0.5).eval()
    trained(data, model, epochs=1)  # compiled, so that the signal meets a training
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(KeyboardInterrupt):
            trained(data, model, epochs=10**6)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not any(module.training for module in model.modules())
    assert all(np.isfinite(array).all() for array in model.state_dict().values())
    _, history = trained(data, model, epochs=1)
    assert history[0].train_accuracy > 0.9  # it had learned, and goes on


def test_two_runs_side_by_side_do_not_meet():
    def run(seed: int) -> dict[str, bytes]:
        return bits(trained(data, models[seed], seed=seed, epochs=5, validation=0.1)[0])

    data = clusters(1000)
    models = [mlp(seed, dropout=0.3, batch_norm=True) for seed in (0, 1, 2)]
    alone = [bits(trained(data, mlp(seed, dropout=0.3, batch_norm=True), seed=seed, epochs=5, validation=0.1)[0])
             for seed in (0, 1, 2)]  # fmt: skip
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(run, (0, 1, 2))) == alone


# --- a loss that is not finite ---------------------------------------------------------------------------------------


def diverging(**options) -> tuple[nn.Module, History]:
    model = mlp()
    return trained(clusters(), model, optimizer=optim.SGD(model.parameters(), lr=1e30), epochs=5, **options)


def test_a_loss_that_is_not_finite_stops_with_a_line(capsys):
    _, history = diverging(progress="table")
    assert len(history) == 1
    assert not math.isfinite(history[0].train_loss)
    line = capsys.readouterr().out.splitlines()[-1]
    for word in ("stopped", "loss", "epoch 1", "learning rate"):
        assert word in line


def test_a_loss_that_is_not_finite_is_recorded_and_told_to_callbacks_in_silence(capsys):
    told = []
    _, history = diverging(callbacks=[lambda _, history: told.append(len(history))])
    assert (len(history), told) == (1, [1])
    assert capsys.readouterr() == ("", "")


# --- what a person sees ----------------------------------------------------------------------------------------------


def shown(capsys, **options) -> tuple[list[str], str]:
    """Lines on the standard output, and the standard error, of a run on kernels that are compiled already."""
    trained(clusters(), validation=0.1)
    capsys.readouterr()
    trained(clusters(), epochs=3, **options)
    out, err = capsys.readouterr()
    return out.splitlines(), err


def test_progress_false_prints_nothing(capsys):
    assert shown(capsys, progress=False, validation=0.1) == ([], "")


def test_progress_table_prints_a_header_and_a_row_an_epoch(capsys):
    lines, err = shown(capsys, progress="table")
    assert err == ""
    assert lines[0].split() == ["epoch", "train", "loss", "accuracy", "samples/s"]
    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "3"]
    assert all(len(line.split()) == 4 for line in lines[1:])


def test_the_table_shows_validation_where_there_is_one(capsys):
    lines, _ = shown(capsys, progress="table", validation=0.1)
    assert "validation loss" in lines[0]
    assert all(len(line.split()) == 6 for line in lines[1:])


def test_the_table_shows_what_the_history_holds(capsys):
    trained(clusters())
    capsys.readouterr()
    _, history = trained(clusters(), progress="table", validation=0.1)
    for line, epoch in zip(capsys.readouterr().out.splitlines()[1:], history.epochs, strict=True):
        number, loss, accuracy, held_loss, held_accuracy, speed = line.split()
        assert int(number) == epoch.epoch
        assert (loss, held_loss) == (f"{epoch.train_loss:.4f}", f"{epoch.validation_loss:.4f}")
        assert (accuracy, held_accuracy) == (f"{epoch.train_accuracy:.2%}", f"{epoch.validation_accuracy:.2%}")
        assert int(speed.replace(",", "")) == round(epoch.samples_per_second)


def test_progress_true_prints_the_same_table_where_no_terminal_shows_a_bar(capsys):
    lines, err = shown(capsys, progress=True)
    assert err == ""
    assert len(lines) == 4


def test_an_epoch_knows_its_speed():
    _, history = trained(clusters(), validation=100)
    for epoch in history.epochs:
        assert epoch.seconds > 0
        assert epoch.samples_per_second * epoch.seconds == pytest.approx(200, rel=1e-9)  # two roundings of float64


# --- what fit leaves as it was ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_fit_restores_the_mode(training):
    model, _ = trained(clusters(), mlp(dropout=0.5, batch_norm=True).train(training), validation=0.1)
    assert {module.training for module in model.modules()} == {training}


def test_the_arrays_stay_the_same_objects():
    model = mlp(batch_norm=True)
    before = {name: id(array) for name, array in model.state_dict().items()}
    parameters = [id(p) for p in model.parameters()]
    trained(clusters(), model, validation=0.1)
    assert {name: id(array) for name, array in model.state_dict().items()} == before
    assert [id(p) for p in model.parameters()] == parameters


def test_a_view_that_was_taken_before_sees_the_training():
    model = mlp()
    view, before = model[0].weight.data[3:5], model[0].weight.data[3:5].copy()
    trained(clusters(), model)
    assert (view != before).any()
    np.testing.assert_array_equal(view, model[0].weight.data[3:5])


def test_fit_leaves_no_gradients():
    model, _ = trained(clusters())
    assert all(p.grad is None for p in model.parameters())


def test_a_gradient_from_before_is_not_trained_with():
    model = mlp()
    for p in model.parameters():
        p.grad = np.full(p.shape, 100, np.float32)
    assert bits(trained(clusters(), model)[0]) == bits(trained(clusters())[0])
    assert all(p.grad is None for p in model.parameters())


def test_an_optimizer_of_some_parameters_leaves_the_others():
    model = mlp()
    before = copied(model)
    trained(clusters(), model, optimizer=optim.Adam(model[2].parameters(), lr=0.1))
    after = model.state_dict()
    np.testing.assert_array_equal(after["0.weight"], before["0.weight"])
    np.testing.assert_array_equal(after["0.bias"], before["0.bias"])
    assert (after["2.weight"] != before["2.weight"]).any()


def test_a_parameter_without_requires_grad_stays():
    model = mlp()
    before = copied(model)
    model[0].weight.requires_grad = False
    trained(clusters(), model)
    np.testing.assert_array_equal(model[0].weight.data, before["0.weight"])
    assert (model[0].bias.data != before["0.bias"]).any()


def test_parameter_groups_have_their_own_learning_rate():
    model = mlp()
    before = copied(model)
    groups = [{"params": list(model[0].parameters()), "lr": 0.0}, {"params": list(model[2].parameters())}]
    trained(clusters(), model, optimizer=optim.SGD(groups, lr=0.1))
    np.testing.assert_array_equal(model[0].weight.data, before["0.weight"])
    assert (model[2].weight.data != before["2.weight"]).any()


def test_an_optimizer_goes_on_where_it_was():
    """Two runs with one optimizer are the loop by hand twice: moments and the step count are kept."""
    data, model, twin = clusters(70), mlp(), mlp()
    optimizer, twin_optimizer = optim.Adam(model.parameters()), optim.Adam(twin.parameters())
    for _ in range(2):
        trained(data, model, optimizer=optimizer, batch_size=35)
        by_hand(twin, data, twin_optimizer, [35, 35])
    assert bits(model) == bits(twin)
    assert {state["step"] for state in optimizer.state.values()} == {8}


def test_the_graph_goes_on_where_fit_stopped():
    """After fit, a step by hand uses the moments that fit left."""
    data, model, twin = clusters(70), mlp(), mlp()
    pairs = [(net, optim.Adam(net.parameters())) for net in (model, twin)]
    trained(data, model, optimizer=pairs[0][1], batch_size=35)
    by_hand(twin, data, pairs[1][1], [35, 35])
    for net, optimizer in pairs:
        by_hand(net, data, optimizer, [70], epochs=1, seed=1)
    assert bits(model) == bits(twin)


# --- a model of one's own --------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """y = l(x) + m(relu(l(x))): no chain of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        return first + self.second(ops.relu(first))


def test_fit_trains_a_module_that_is_no_chain_of_layers():
    assert_fit_equals_by_hand(Residual, optim.Adam, clusters(70), [32, 32, 6], batch_size=32)


class Halved(nn.Sequential):
    """A Sequential whose forward does more than its layers."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 0.5


def test_fit_runs_the_forward_of_a_subclass():
    make = lambda: Halved(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 3))  # noqa: E731
    assert_fit_equals_by_hand(make, optim.Adam, clusters(70), [32, 32, 6], batch_size=32)


def test_fit_trains_a_layer_that_is_used_twice():
    def make() -> nn.Sequential:
        shared = nn.Linear(8, 8)
        return nn.Sequential(shared, nn.ReLU(), shared, nn.Tanh(), nn.Linear(8, 3))

    assert_fit_equals_by_hand(make, optim.Adam, clusters(70), [32, 32, 6], batch_size=32)


def test_fit_trains_with_a_dropout_layer_that_is_used_twice():
    """Its counter moves twice a step, so that the two places have masks of their own."""

    def make() -> nn.Sequential:
        shared = nn.Dropout(0.4)
        return nn.Sequential(nn.Linear(8, 16), shared, nn.ReLU(), nn.Linear(16, 16), shared, nn.Linear(16, 3))

    assert_fit_equals_by_hand(make, optim.Adam, clusters(70), [32, 32, 6], batch_size=32)


# --- what is refused -------------------------------------------------------------------------------------------------

BAD = [
    ({"epochs": -1}, ValueError, "epochs"),
    ({"epochs": 1.0}, ValueError, "epochs"),
    ({"epochs": True}, ValueError, "epochs"),
    ({"epochs": "3"}, ValueError, "epochs"),
    ({"batch_size": 0}, ValueError, "batch_size"),
    ({"batch_size": 1.5}, ValueError, "batch_size"),
    ({"batch_size": None}, ValueError, "batch_size"),
    ({"seed": -1}, ValueError, "seed"),
    ({"seed": 0.5}, ValueError, "seed"),
    ({"seed": None}, ValueError, "seed"),
    ({"seed": 2**63}, ValueError, "seed"),
    ({"n_threads": 0}, ValueError, "n_threads"),
    ({"n_threads": -2}, ValueError, "n_threads"),
    ({"n_threads": 1.0}, ValueError, "n_threads"),
    ({"n_threads": True}, ValueError, "n_threads"),
    ({"n_threads": "all"}, ValueError, "auto"),
    ({"n_threads": None}, ValueError, "n_threads"),
    ({"progress": "bar"}, ValueError, "progress"),
    ({"progress": None}, ValueError, "progress"),
    ({"validation": 1.0}, ValueError, "1.0"),
    ({"validation": 1.5}, ValueError, "1.5"),
    ({"validation": -0.1}, ValueError, "-0.1"),
    ({"validation": math.nan}, ValueError, "nan"),
    ({"validation": math.inf}, ValueError, "inf"),
    ({"validation": -1}, ValueError, "-1"),
    ({"validation": 300}, ValueError, "300"),
    ({"validation": True}, TypeError, "True"),
    ({"validation": "half"}, TypeError, "half"),
    ({"optimizer": "adam"}, TypeError, "optimizer"),
    ({"optimizer": optim.Adam}, TypeError, "optimizer"),
    ({"callbacks": [3]}, TypeError, "callbacks"),
    ({"callbacks": None}, TypeError, "callbacks"),
]


@pytest.mark.parametrize(("options", "error", "word"), BAD, ids=[str(options) for options, _, _ in BAD])
def test_fit_refuses_a_bad_argument_in_one_sentence(options, error, word):
    model = mlp(dropout=0.1)
    before = bits(model)
    refuses(error, lambda: trained(clusters(), model, **options), word)
    assert bits(model) == before


@pytest.mark.parametrize("other", [clusters().features, (clusters().features, clusters().labels), None])
def test_fit_and_evaluate_want_a_data_set(other):
    refuses(TypeError, lambda: trained(other), "fit", "Dataset")
    refuses(TypeError, lambda: evaluate(mlp(), other), "evaluate", "Dataset")


@pytest.mark.parametrize("other", [None, print, nn.MLP])
def test_fit_and_evaluate_want_a_module(other):
    refuses(TypeError, lambda: fit(other, clusters()), "fit", "Module")
    refuses(TypeError, lambda: evaluate(other, clusters()), "evaluate", "Module")


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, True, None, "all"])
def test_evaluate_refuses_a_bad_batch_size(batch_size):
    refuses(ValueError, lambda: evaluate(mlp(), clusters(), batch_size), "evaluate", "batch_size")


@pytest.mark.parametrize("run", [trained, lambda data, model: evaluate(model, data)], ids=["fit", "evaluate"])
def test_data_that_do_not_fit_the_model_are_refused(run):
    data = clusters()
    refuses(ValueError, lambda: run(Dataset(data.features[:, :5].copy(), data.labels), mlp()), "5", "8")
    refuses(ValueError, lambda: run(Dataset(data.features, data.labels + 1), mlp()), "labels", "3")


@pytest.mark.parametrize(
    "other", [Dataset(clusters().features[:, :5].copy(), clusters().labels), clusters(dtype=np.float64)]
)
def test_validation_data_must_have_the_features_of_the_training_data(other):
    refuses(ValueError, lambda: trained(clusters(), validation=other), "validation", "features")


def test_the_mode_is_restored_when_the_data_do_not_fit():
    model = mlp().eval()
    data = Dataset(clusters().features, clusters().labels + 1)
    refuses(ValueError, lambda: trained(data, model))
    assert not model.training
    model.train()
    refuses(ValueError, lambda: evaluate(model, data))
    assert model.training


# --- evaluate --------------------------------------------------------------------------------------------------------


def numpy_evaluation(model: nn.MLP, data: Dataset) -> tuple[float, float]:
    """Loss and accuracy of a ReLU network in float64."""
    layers = [m for m in model if isinstance(m, nn.Linear)]
    x = data.rows.astype(np.float64) * data.scale
    for layer in layers[:-1]:
        x = np.maximum(x @ layer.weight.data.T.astype(np.float64) + layer.bias.data, 0)
    z = x @ layers[-1].weight.data.T.astype(np.float64) + layers[-1].bias.data
    top = z.max(axis=1, keepdims=True)
    log_p = z - top - np.log(np.exp(z - top).sum(axis=1, keepdims=True))
    loss = -log_p[np.arange(len(data)), data.labels].mean()
    return float(loss), float((z.argmax(axis=1) == data.labels).mean())


@pytest.mark.parametrize("data", [clusters(), pixels()], ids=["floats", "pixels"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_evaluate_is_what_numpy_computes(data, dtype, tolerance):
    """Tolerances: sums of 16 products and of 300 losses, each rounded to 6e-8 or 1e-16."""
    model = mlp() if dtype == np.float32 else mlp().double()
    result = evaluate(model, data)
    loss, accuracy = numpy_evaluation(model, data)
    assert result.loss == pytest.approx(loss, rel=tolerance)
    assert (result.accuracy, result.rows) == (accuracy, len(data))


@settings(deadline=None, max_examples=15)
@given(batch_size=st.integers(1, 400))
def test_evaluate_does_not_depend_on_the_batch_size(batch_size):
    model, data = mlp(batch_norm=True, dropout=0.5), clusters()
    result, whole = evaluate(model, data, batch_size), evaluate(model, data, len(data))
    assert result.loss == pytest.approx(whole.loss, rel=LOSS_TOLERANCE)
    assert (result.accuracy, result.rows) == (whole.accuracy, whole.rows)


@pytest.mark.parametrize("training", [True, False])
def test_evaluate_leaves_the_mode_the_state_and_the_gradients(training):
    model = mlp(dropout=0.5, batch_norm=True).train(training)
    gradients = [np.ones_like(p.data) for p in model.parameters()]
    for p, gradient in zip(model.parameters(), gradients, strict=True):
        p.grad = gradient
    before, dropout_step = bits(model), model[3].step
    evaluate(model, clusters())
    assert {module.training for module in model.modules()} == {training}
    assert (bits(model), model[3].step) == (before, dropout_step)
    for p, gradient in zip(model.parameters(), gradients, strict=True):
        assert p.grad is gradient
        np.testing.assert_array_equal(gradient, 1)


@pytest.mark.parametrize("run", [trained, lambda data, model: evaluate(model, data)], ids=["fit", "evaluate"])
def test_a_layer_that_is_frozen_in_evaluation_mode_is_so_afterwards(run):
    model = mlp(batch_norm=True)
    model[1].eval()
    run(clusters(), model)
    assert [module.training for module in model.modules()] == [True, True, False, True, True]


def test_a_class_of_ones_own_is_evaluated_as_the_layers_in_it():
    """In either mode: without dropout, with the running statistics."""
    model = Own(dropout=0.9, batch_norm=True)
    trained(clusters(), model)
    expected = evaluate(model[0], clusters())
    for training in (True, False):
        result = evaluate(model.train(training), clusters())
        assert result.loss == pytest.approx(expected.loss, rel=LOSS_TOLERANCE)
        assert result.accuracy == expected.accuracy


def test_evaluate_counts_nan_as_a_loss_of_nan():
    model = mlp()
    model[0].weight.data[0, 0] = np.nan
    assert math.isnan(evaluate(model, clusters()).loss)


# --- history ---------------------------------------------------------------------------------------------------------


def small_history() -> History:
    return History(
        [Epoch(1, 0.1, 0.5, math.nan, math.nan, 2.0, 1 / 3), Epoch(2, 1e-300, 1.0, math.inf, 0.25, 0.5, 1e20)]
    )


def test_a_column_is_one_number_an_epoch():
    history = small_history()
    assert history.column("epoch") == [1, 2]
    assert history.column("train_loss") == [0.1, 1e-300]
    assert (len(history), history[-1].epoch, history[0]) == (2, 2, history.epochs[0])
    assert History().column("seconds") == []


@pytest.mark.parametrize("name", ["loss", "", "__class__", 3, None])
def test_a_column_that_is_not_there_is_refused_with_the_names_that_are(name):
    refuses(ValueError, lambda: small_history().column(name), repr(name), "train_loss", "samples_per_second")


def test_csv_gives_back_every_number_to_the_bit(tmp_path):
    history = small_history()
    for path in (tmp_path / "history.csv", str(tmp_path / "again.csv")):
        history.to_csv(path)
        with open(path, newline="") as file:
            header, *rows = csv.reader(file)
        assert header == [field.name for field in dataclasses.fields(Epoch)]
        expected = [[float(value) for value in dataclasses.astuple(epoch)] for epoch in history.epochs]
        np.testing.assert_equal([[float(cell) for cell in row] for row in rows], expected)


def test_csv_of_a_run_and_of_no_epochs(tmp_path):
    _, history = trained(clusters(), validation=0.1)
    history.to_csv(tmp_path / "run.csv")
    with open(tmp_path / "run.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["validation_loss"]) for row in rows] == history.column("validation_loss")
    assert [row["epoch"] for row in rows] == ["1", "2"]
    History().to_csv(tmp_path / "none.csv")
    assert len((tmp_path / "none.csv").read_text().splitlines()) == 1


def test_batches_refuse_rows_that_are_not_there():
    data = fm.Dataset(np.zeros((5, 2), np.uint8), np.zeros(5, np.int64))
    with pytest.raises(ValueError, match="batches: sizes add up to 6 rows or more; order has 5"):
        list(fm.running.nodes.batches(data, np.arange(5), [3, 3], np.float32))
    with pytest.raises(IndexError):
        list(fm.running.nodes.batches(data, np.array([0, 9]), [2], np.float32))
