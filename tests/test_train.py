"""`fit` against the same training by hand, through the public names alone.

The measure of `fit` is `by_hand`, the same training written out with the graph, an optimizer and NumPy's permutation.
Data are three clusters in eight columns; a run takes milliseconds.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trainings import (
    LOSS_TOLERANCE,
    MODELS,
    OPTIMIZERS,
    Own,
    assert_fit_equals_by_hand,
    bits,
    by_hand,
    clusters,
    copied,
    measured,
    mlp,
    pixels,
    refuses,
    trained,
)

import fastmlp as fm
from fastmlp import Dataset, Tensor, evaluate, fit, nn, ops, optim


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
