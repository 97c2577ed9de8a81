"""The study of norms: its measures against plain NumPy, its sentences on made numbers."""

import copy

import numpy as np
import once
import pytest

from fastmlp import Tensor, nn
from fastmlp.studies import norms


@pytest.fixture(scope="module")
def study():
    return once.study("norms")


def test_normalised_is_what_the_layers_do():
    a = np.random.default_rng(0).normal(2, 3, size=(7, 5))
    batch, layer = nn.BatchNorm1d(5).double(), nn.LayerNorm(5).double()
    np.testing.assert_allclose(norms.normalised(a, 0), batch(Tensor(a)).data, rtol=1e-10)  # sums of seven
    np.testing.assert_allclose(norms.normalised(a, 1), layer(Tensor(a)).data, rtol=1e-10)


def test_probabilities_come_in_batches_and_the_model_stays():
    nn.manual_seed(0)
    model = nn.MLP(4, (5,), 3, norm="batch").double().eval()
    x = np.random.default_rng(0).normal(size=(9, 4))
    before = copy.deepcopy(model.state_dict())
    together, apart = norms.probabilities(model, x), norms.probabilities(model, x, "eval", 3)
    np.testing.assert_array_equal(together, apart)
    trained = norms.probabilities(model, x, "train", 3)
    assert np.abs(together - trained).max() > 0.01
    np.testing.assert_array_equal(trained[3:6], norms.probabilities(model, x[3:6], "train"))
    assert not model.training
    assert all((before[name] == array).all() for name, array in model.state_dict().items())


def test_one_row_is_refused(monkeypatch):
    assert "one row has no spread" in norms.refusal()
    monkeypatch.setattr(norms.nn, "BatchNorm1d", nn.LayerNorm)
    assert norms.refusal() == ""


def test_what_was_found(study):
    n = study.numbers
    assert n["batch_2"] < n["none_2"]
    assert n["batch_2"] < n["layer_2"] - 0.1
    assert abs(n["batch_64"] - n["layer_64"]) < 0.1
    assert n["layer_modes_differ"] == n["none_modes_differ"] == 0 < n["batch_modes_differ"]
    assert n["batch_train_2"] < n["batch_eval"] - 0.2
    assert n["layer_darker"] > n["batch_darker"]
    assert max(n["layer_shifted"], n["batch_shifted"]) < 0.85 * n["layer_eval"]
    assert n["features_shifted"] == n["features_eval"]
    assert abs(n["batch_shifted_train"] - n["batch_train_1000"]) < 0.005  # rounding at most: exact in real numbers
    assert n["two_rows_least"] > 0.99
    assert n["one_row_refused"] == 1


def test_the_study_is_whole(study):
    assert study.tolerances.keys() == study.numbers.keys()
    assert max(map(len, study.table.splitlines())) <= 100
    assert len(study.conclusions) == 3
    assert set(study.figures) == {"norms_axes", "norms_batches"}
    above, below = study.figures["norms_batches"].axes
    heights = [[bar.get_height() for bar in group] for group in above.containers]
    assert heights == [[study.numbers[f"{word}_{size}"] for size in norms.BATCHES] for word in norms.KINDS]
    assert list(below.lines[0].get_ydata()) == [study.numbers[f"batch_train_{size}"] for size in norms.MODES]
    given, batch, layer = (ax.images[0].get_array().data for ax in study.figures["norms_axes"].axes)
    assert given.shape == norms.SHOWN
    np.testing.assert_allclose(batch.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(layer.mean(axis=1), 0, atol=1e-12)


def test_the_sentences_say_the_opposite_of_opposite_numbers(study):
    first, second, third = norms.conclude(study.numbers)
    assert "batch norm is far behind layer norm" in first
    assert "they are alike" in first
    assert first.endswith("batch norm refuses.")
    assert "are the same with layer norm, and with batch norm not: " in second
    assert "both lose much" in third
    assert third.endswith("keeps what it has.")
    n = dict(study.numbers)
    n |= {"batch_2": 0.9, "layer_2": 0.9, "batch_64": 0.5, "one_row_refused": 0.0, "layer_modes_differ": 0.1}
    n |= {"batch_modes_differ": 0.0, "layer_shifted": 0.9, "features_shifted": 0.1}
    first, second, third = norms.conclude(n)
    assert "batch norm is not far behind" in first
    assert "they are apart" in first
    assert first.endswith("batch norm takes.")
    assert "are not the same with layer norm, and with batch norm the same: " in second
    assert "one of them loses little" in third
    assert third.endswith("does not help.")


def test_the_pages_still_quote_it():
    once.pages_hold("norms")
