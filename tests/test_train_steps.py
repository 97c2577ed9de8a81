"""`scripts/train.py --clip-norm --clip-value --average`: what reaches `fit`, and what is said of it."""

import numpy as np
import pytest
from test_scripts import idx_folder, train  # noqa: F401  fixtures

import fastmlp as fm

GIVEN = {
    "clip_norm": ("--clip-norm", "0.01", 0.01),
    "clip_value": ("--clip-value", "0.0001", 0.0001),
    "average ema": ("--average", "ema", "ema"),
    "average swa": ("--average", "swa", "swa"),
}


@pytest.mark.parametrize("name", GIVEN)
def test_an_option_reaches_fit_and_the_config(name, train, idx_folder):  # noqa: F811
    option, text, value = GIVEN[name]
    run = train(option, text, "--epochs", "5", "--hidden", "8", "--validation", "0.2")
    assert (run.code, run.err) == (0, "")
    assert run.config()[name.partition(" ")[0]] == value
    data, _ = fm.data.load(idx_folder)
    fm.manual_seed(0)
    model = fm.nn.MLP(data.n_features, (8,), data.classes)
    fm.fit(model, data, validation=0.2, epochs=5, progress=False, **{name.partition(" ")[0]: value})
    saved = fm.load_model(run.folder / "model.safetensors").state_dict()
    for key, array in model.state_dict().items():
        assert np.array_equal(saved[key], array), key
    plain = train("--epochs", "5", "--hidden", "8", "--validation", "0.2")
    assert plain.config()[name.partition(" ")[0]] is None
    assert not np.array_equal(fm.load_model(plain.folder / "model.safetensors")[0].weight.data, saved["0.weight"])


def test_the_best_weights_are_an_average(train, idx_folder):  # noqa: F811
    """--patience restores what validation measured."""
    run = train("--average", "ema", "--epochs", "3", "--patience", "3", "--lr", "0.1")
    assert run.code == 0
    best = min(float(row["validation_loss"]) for row in run.history())
    data, _ = fm.data.load(idx_folder)
    held = data[data.split_rows(0.1, 0)[1]]
    assert fm.evaluate(fm.load_model(run.folder / "model.safetensors"), held).loss == pytest.approx(best, rel=1e-6)
    assert "the average looks back 1,000 steps" in run.out


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--clip-norm", "0", "argument --clip-norm: "),
        ("--clip-norm", "nan", "argument --clip-norm: "),
        ("--clip-value", "-1", "argument --clip-value: "),
        ("--average", "mean", "argument --average: invalid choice: 'mean'"),
    ],
)
def test_other_values_are_refused(option, value, words, train):  # noqa: F811
    run = train(option, value)
    assert run.code == 2
    assert words in run.err
