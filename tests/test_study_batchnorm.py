"""The study of batch norm: its measures and the fold against plain NumPy, its sentences on made numbers."""

import copy
import math

import numpy as np
import once
import pytest

from fastmlp import Tensor, nn
from fastmlp.studies import batchnorm


@pytest.fixture(scope="module")
def study():
    return once.study("batchnorm")


def trained_looking() -> nn.Sequential:
    """A float64 net with batch norm in which no number has its first value."""
    nn.manual_seed(0)
    model = nn.MLP(6, (5, 4), 3, batch_norm=True).double()
    rng = np.random.default_rng(0)
    for array in model.state_dict().values():
        if array.ndim:
            array += rng.uniform(0.1, 1, array.shape)
    return model


def test_a_folded_net_predicts_the_same_and_the_model_stays():
    model, x = trained_looking(), np.random.default_rng(1).normal(size=(50, 6))
    before = copy.deepcopy(model.state_dict())
    folded = batchnorm.fold(model)
    assert not any(isinstance(layer, nn.BatchNorm1d) for layer in folded)
    a, b = model.eval()(Tensor(x)).data, folded(Tensor(x)).data
    assert np.abs(a - b).max() < 1e-12 * np.abs(a).max()  # rounding of sums of six
    assert all((before[name] == array).all() for name, array in model.state_dict().items())
    first, norm = model[0], model[1]
    by_hand = [w * g / math.sqrt(v + 1e-5) for w, g, v in zip(first.weight.data[:, 2], norm.weight.data,
               norm.running_var, strict=True)]  # fmt: skip
    np.testing.assert_allclose(folded[0].weight.data[:, 2], by_hand, rtol=1e-14)


def test_fold_names_a_batch_norm_without_a_linear():
    with pytest.raises(ValueError, match="fold: None is before BatchNorm1d"):
        batchnorm.fold(nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)))


def test_the_pre_activations_are_measured_and_the_model_stays():
    model, x = trained_looking(), np.random.default_rng(1).normal(size=(40, 6))
    before = copy.deepcopy(model.state_dict())
    watch = batchnorm.PreActivations(x)
    watch(model, None)
    assert all((before[name] == array).all() for name, array in model.state_dict().items())
    a = x @ model[0].weight.data.T + model[0].bias.data
    for kind, values in (("raw", a), ("hat", (a - a.mean(0)) / np.sqrt(a.var(0) + 1e-5))):
        mean, spread, outside = watch.seen[kind][0][0]
        assert mean == pytest.approx(math.sqrt((values.mean(0) ** 2).mean()), abs=1e-12)
        assert spread == pytest.approx(np.sqrt(values.var(0)).mean(), rel=1e-12)
        assert outside == np.mean([v < 0 or v > 1 for v in values.ravel()])
    assert watch.seen["hat"][0].shape == (2, 3)


def test_a_batch_norm_that_does_something_else_is_seen():
    model, x = trained_looking(), np.random.default_rng(1).normal(size=(40, 6))
    model[1].forward = lambda a: a * 5 + 7
    watch = batchnorm.PreActivations(x)
    watch(model, None)
    assert watch.seen["hat"][0][0][0] > 1  # the mean
    assert watch.seen["hat"][0][1][0] < 1e-12  # of the next layer, which is as it should be


def test_what_was_found(study):
    n = study.numbers
    assert n["with_hat_mean_most"] < 1e-12
    assert 0.999 < n["with_hat_spread_least"] <= n["with_hat_spread_most"] <= 1
    assert n["with_hat_outside"] > 0.5
    assert n["with_rate_least"] < n["without_rate_least"]
    assert n["without_rate_most"] < n["with_rate_most"]
    assert n["without_deep_best"] < 0.3 < 0.8 < n["with_deep_best"]
    assert n["chosen_deep_best"] > 0.8
    assert n["eval_change"] == 0 < n["train_2_change"]
    assert n["fold_float64"] < 1e-11


def test_the_study_is_whole(study):
    assert study.tolerances.keys() == study.numbers.keys()
    assert max(map(len, study.table.splitlines())) <= 100
    assert len(study.conclusions) == 3
    assert set(study.figures) == {"batchnorm_spread", "batchnorm_trains"}
    above = study.figures["batchnorm_trains"].axes[0]
    with_it = above.get_lines()[1]
    assert list(with_it.get_ydata()) == [study.numbers[f"with_accuracy_{rate:g}"] for rate in batchnorm.RATES]
    bars = study.figures["batchnorm_trains"].axes[1].containers
    best = [max(bar.get_height() for bar in group) for group in bars]
    assert best == [study.numbers[f"{word}_deep_best"] for word in ("without", "chosen", "with")]


def test_the_sentences_say_the_opposite_of_opposite_numbers(study):
    first, second, third = batchnorm.conclude(study.numbers)
    assert "keeps the mean" in first
    assert "not in [0, 1]: 7" in first
    assert "with PyTorch's initial weights it trains only with it" in second
    assert "it trains without batch norm, too (" in second
    assert f"with {study.numbers['with_rates']:.0f} of 11 learning rates, 0.003 to 3, with batch norm" in second
    assert "do not depend" in third
    assert "gives the same logits" in third
    n = dict(study.numbers)
    n |= {"with_hat_mean_most": 0.5, "with_hat_outside": 0.0, "with_rate_least": math.nan, "with_rate_most": math.nan}
    n |= {"without_rate_least": 0.1, "without_rate_most": 0.1, "chosen_deep_best": 0.2}
    n |= {"without_deep_best": 0.95, "with_deep_best": 0.1, "eval_change": 0.1, "train_2_change": 0.0}
    first, second, third = batchnorm.conclude(n | {"fold_float64": 0.1})
    assert "does not keep" in first
    assert ", and in [0, 1]: 0 %" in first
    assert "with none of the learning rates with batch norm" in second
    assert "with the learning rate 0.1 alone without batch norm" in second
    assert "trains only without it" in second
    assert "it does not train without batch norm, either (20.0 %)" in second
    assert "probabilities depend" in third
    assert "they do not" in third
    assert "gives other logits" in third
    assert "trains either way" in batchnorm.conclude(n | {"with_deep_best": 0.9})[1]
    assert "trains with neither" in batchnorm.conclude(n | {"without_deep_best": 0.1})[1]


def test_the_pages_still_quote_it():
    once.pages_hold("batchnorm")
