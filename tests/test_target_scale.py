"""Targets of a table that are numbers: scaled where a loss meets them, in their own unit where a person does."""

import json
import re

import numpy as np
import pandas
import pytest
from scripted import runner

import fastmlp as fm
from fastmlp import nn
from fastmlp.data import Encoding, table

SCALING = [nn.MSELoss(), nn.L1Loss(), nn.HuberLoss(), nn.SmoothL1Loss(), nn.QuantileLoss((0.5,))]


def prices(rows: int = 90) -> pandas.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 2))
    return pandas.DataFrame({"x": x[:, 0], "z": x[:, 1], "price": 5e4 + 2e4 * x[:, 0] + rng.normal(size=rows)})


def by_hand(train: fm.Dataset) -> tuple[float, float, fm.Dataset]:
    """The mean and deviation of the training rows, and a plain data set with scaled targets."""
    mean, std = train.targets.mean(), train.targets.std()
    return mean, std, fm.Dataset(train.features, (train.targets - mean) / std)


def fitted(data: fm.Dataset, loss: nn.Loss | None = None, **more):
    fm.manual_seed(0)
    model = nn.MLP(data.n_features, (8,), 1)
    return model, fm.fit(model, data, epochs=3, batch_size=16, progress=False, loss=loss, **more)


@pytest.mark.parametrize("loss", SCALING, ids=lambda loss: type(loss).__name__)
def test_training_is_that_on_targets_scaled_by_hand(loss):
    """1e-12: the targets are float64 made by the same two operations, the mean summed in another order."""
    train, test = table(prices(), "price", test=0.2, validation=0.1)
    mean, std, plain = by_hand(train)
    assert train.encoding.target_mean == pytest.approx((mean,), rel=1e-12)
    assert train.encoding.target_std == pytest.approx((std,), rel=1e-12)
    held = fm.Dataset(train.validation.features, (train.validation.targets - mean) / std)
    model, history = fitted(train, loss, validation=train.validation)
    twin, then = fitted(plain, loss, validation=held)
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(ours.data, theirs.data, rtol=1e-5, atol=1e-6)  # float32 weights, other last bits
    assert [e.validation_loss for e in history] == pytest.approx([e.validation_loss for e in then], rel=1e-5)
    said = loss.predicted(fm.Predictor(twin)(test.features)).astype(float)[:, 0] * std + mean
    np.testing.assert_allclose(fm.predict(model, test.features), said, rtol=1e-5)
    np.testing.assert_allclose(fm.predict(model, prices().drop(columns="price")[:1])[0], fm.predict(
        model, table(prices(), "price", test=0.2, validation=0.1)[0].encoding.apply(prices()[:1]))[0])  # fmt: skip
    result = fm.evaluate(model, test)
    np.testing.assert_array_equal(result.targets[:, 0], test.targets)
    np.testing.assert_allclose(result.predicted[:, 0], said, rtol=1e-5)
    assert result.rmse == pytest.approx(np.sqrt(((said - test.targets) ** 2).mean()), rel=1e-4)
    assert fm.evaluate(model, train.validation).loss == history[-1].validation_loss  # the loss is one number everywhere
    assert fm.evaluate(model, fm.Dataset(test.features, test.targets)).rmse == result.rmse  # of arrays, the same unit
    assert " (of scaled targets)" in str(result)


def test_counts_are_not_scaled():
    rows = prices().assign(price=np.random.default_rng(0).poisson(3, 90).astype(float))
    train, _ = table(rows, "price")
    model, _ = fitted(train, nn.PoissonNLLLoss())
    twin, _ = fitted(fm.Dataset(train.features, train.targets), nn.PoissonNLLLoss())
    assert (model.encoding_.target_mean, model.encoding_.target_std) == ((0.0,), (1.0,))
    np.testing.assert_array_equal(fm.predict(model, train.features), fm.predict(twin, train.features))
    assert "scaled" not in str(fm.evaluate(model, train))
    fm.fit(model, train, epochs=1, progress=False, loss=nn.PoissonNLLLoss())  # the same rows again


def test_which_losses_scale_is_declared():
    kinds = {kind for kind in nn.LOSSES.values() if "numbers" in np.atleast_1d(kind.targets)}
    assert {kind for kind in kinds if not kind.scales} == {nn.PoissonNLLLoss}
    assert {type(loss) for loss in SCALING} == kinds - {nn.PoissonNLLLoss}
    assert not nn.Loss.scales  # a loss of somebody else's, which may be of counts


def test_columns_of_other_units_meet_on_one_scale():
    rows = prices().assign(share=np.random.default_rng(1).random(90), same=7.0)
    train, _ = table(rows, ["price", "share", "same"], kind="numbers")
    assert train.encoding.target_std[2] == 1
    scaled = train.encoding.scaled(train)
    np.testing.assert_allclose(scaled.targets.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(scaled.targets.std(axis=0), (1, 1, 0), atol=1e-12)
    np.testing.assert_allclose(train.encoding.unscaled(scaled.targets), train.targets, rtol=1e-14)
    fm.manual_seed(0)
    model = nn.MLP(2, (8,), 3)
    watch = fm.Watch(train)
    fm.fit(model, train, epochs=1, progress=False, callbacks=[watch])
    assert fm.predict(model, train.features).shape == (90, 3)
    assert all(abs(ratio) < 0.1 for layer in watch.layers for ratio in layer.ratios)  # of a step, not of prices


def test_the_file_keeps_the_scale_and_older_files_load(tmp_path):
    train, _ = table(prices(), "price")
    model, _ = fitted(train)
    fm.save(model, tmp_path / "m.safetensors")
    again = fm.load_model(tmp_path / "m.safetensors")
    assert again.encoding_ == model.encoding_
    assert again.encoding_.scales_targets
    np.testing.assert_array_equal(fm.predict(again, train.features), fm.predict(model, train.features))
    found = json.loads(model.encoding_.to_text())
    assert found["version"] == 2
    old = {name: value for name, value in found.items() if not name.startswith("target_")} | {"version": 1}
    assert Encoding.from_text(json.dumps(old)) == model.encoding_.with_targets_as_they_are()
    assert json.loads(Encoding.from_text(json.dumps(old)).to_text())["version"] == 1
    for damaged in ({"target_std": [0]}, {"target_mean": [1, 2]}, {"target_std": ["1"]}, {"version": 3}):
        with pytest.raises(ValueError, match="the encoding of the table cannot be read"):
            Encoding.from_text(json.dumps(found | damaged))


def test_the_scripts_speak_in_the_targets_unit(tmp_path, monkeypatch, capsys):
    prices(200).to_csv(data := tmp_path / "prices.csv", index=False)
    run = tmp_path / "run"
    script = runner(monkeypatch, capsys)
    options = ["--epochs", "20", "--hidden", "16", "--lr", "0.02", "--out", str(run), "--no-plots", "--no-progress"]
    out = script("train", "--data", str(data), "--target", "price", "--test", "40", "--validation", "40", *options)[1]
    assert "the loss is of scaled targets, (t - mean) / std: price (4" in out
    rmse = float(re.search(r"RMSE ([\d.]+)", out)[1])
    assert 10 < rmse < 1e4
    assert re.search(r"loss 0\.\d+ of scaled targets", out)
    said = script("evaluate", "--model", run, "--data", data)[1]
    assert "(of scaled targets)" in said
    prices(200)[:3].drop(columns="price").to_csv(new := tmp_path / "new.csv", index=False)
    numbers = [float(line.split()[-1]) for line in script("predict", "--model", run, new)[1].splitlines()]
    np.testing.assert_allclose(numbers, prices(200)["price"][:3], atol=1e4)
