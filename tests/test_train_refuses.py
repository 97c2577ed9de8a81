"""What `fit` and `evaluate` refuse; `evaluate` and `History`."""

import csv
import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trainings import (
    LOSS_TOLERANCE,
    Own,
    bits,
    clusters,
    mlp,
    pixels,
    refuses,
    trained,
)

import fastmlp as fm
from fastmlp import Dataset, Epoch, History, evaluate, fit, nn, optim

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
    refuses(ValueError, lambda: run(Dataset(data.features, data.labels * 2), mlp()), "the label 4", "labels are 0 .. 2")


@pytest.mark.parametrize(
    "other", [Dataset(clusters().features[:, :5].copy(), clusters().labels), clusters(dtype=np.float64)]
)
def test_validation_data_must_have_the_features_of_the_training_data(other):
    refuses(ValueError, lambda: trained(clusters(), validation=other), "validation", "features")


def test_the_mode_is_restored_when_the_data_do_not_fit():
    model = mlp().eval()
    data = Dataset(clusters().features, clusters().labels * 2)
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
        expected = [[float(value) for value in dataclasses.astuple(epoch)[:-1]] for epoch in history.epochs]
        np.testing.assert_equal([[float(cell) for cell in row[:-1]] for row in rows], expected)
        assert [row[-1] for row in rows] == history.column("ran_on")


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
        list(fm.running.rows.batches(data, np.arange(5), [3, 3], np.float32))
    with pytest.raises(IndexError):
        list(fm.running.rows.batches(data, np.array([0, 9]), [2], np.float32))
