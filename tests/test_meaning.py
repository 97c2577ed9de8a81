"""What a model's outputs mean goes with it: `predict`, `evaluate` and files speak as `fit` was asked to."""

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import nn
from fastmlp.store.header import loss_of

X = np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)
COUNTS = np.random.default_rng(1).poisson(np.exp(1 + X[:, 0] / 2)).astype(float)


def fitted(targets, outputs, loss=None):
    fm.manual_seed(0)
    model = nn.MLP(4, (8,), outputs)
    optimizer = fm.optim.Adam(model.parameters(), lr=0.02)
    fm.fit(model, fm.Dataset(X, targets), optimizer=optimizer, loss=loss, epochs=10, progress=False)
    return model


def both(model, tmp_path):
    """The model, and what comes back from its file."""
    fm.save(model, tmp_path / "model.safetensors")
    return model, fm.load_model(tmp_path / "model.safetensors")


def test_labels_are_predicted_as_labels(tmp_path):
    tags = X[:, :3] > 0.2
    for model in both(fitted(tags, 3), tmp_path):
        said = fm.predict(model, X)
        assert said.shape == tags.shape
        np.testing.assert_array_equal(said, fm.Predictor(model)(X) > 0)
        assert (said == tags).mean() > 0.7
        assert fm.predict(model, X[0]).shape == (3,)


@pytest.mark.parametrize(
    ("loss", "outputs", "of"),
    [
        (None, 1, lambda z: z[:, 0]),
        (nn.PoissonNLLLoss(), 1, lambda z: np.exp(z[:, 0])),
        (nn.PoissonNLLLoss(log_input=False), 1, lambda z: z[:, 0]),
        (nn.QuantileLoss((0.1, 0.5, 0.9)), 3, lambda z: z[:, 1]),
        (nn.HuberLoss(delta=2.0), 1, lambda z: z[:, 0]),
    ],
    ids=["mse", "poisson", "poisson rates", "quantile", "huber"],
)
def test_numbers_are_predicted_and_evaluated_as_the_loss_has_them(loss, outputs, of, tmp_path):
    for model in both(fitted(COUNTS, outputs, loss), tmp_path):
        z = fm.Predictor(model)(X)
        np.testing.assert_array_equal(fm.predict(model, X), of(z))
        assert fm.predict(model, X[3]) == pytest.approx(of(z[3:4])[0], rel=1e-5)  # a row alone is summed another way
        evaluation = fm.evaluate(model, fm.Dataset(X, COUNTS))
        np.testing.assert_allclose(np.ravel(evaluation.predicted), of(z), rtol=1e-6)
        assert type(model.loss_) is type(loss or nn.MSELoss())
        assert repr(model.loss_) == repr(loss or nn.MSELoss())


def test_several_numbers():
    said = fm.predict(fitted(X[:, :2].astype(float), 2), X)
    assert said.shape == (120, 2)
    assert fm.predict(fitted(X[:, :2].astype(float), 2), X[0]).shape == (2,)


def test_the_loss_is_no_part_of_the_model_and_files_of_classes_do_not_name_it(tmp_path):
    model = fitted((X[:, 0] > 0).astype(int), 2, nn.CrossEntropyLoss(label_smoothing=0.1))
    assert isinstance(model.loss_, nn.CrossEntropyLoss)
    assert not any(isinstance(module, nn.Loss) for module in model.modules())
    assert both(model, tmp_path)[1].loss_ is None
    plain = fm.evaluate(model, fm.Dataset(X, (X[:, 0] > 0).astype(int)))
    smooth = fm.evaluate(model, fm.Dataset(X, (X[:, 0] > 0).astype(int)), loss=model.loss_)
    assert plain.loss != smooth.loss  # classes mean the same whatever the loss: cross-entropy as it is


@pytest.mark.parametrize(
    "text", ["", "{", "3", '["mse_loss"]', '["no_loss", {}]', '["mse_loss", {"a": 1}]', "[[], {}]"]
)
def test_a_header_that_another_program_wrote_is_no_loss(text):
    assert loss_of({"loss": text}) is None
    assert loss_of({}) is None
