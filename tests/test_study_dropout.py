"""The study of dropout: its exact means against nets that are really thinned, its sentences on made numbers."""

import itertools
import math

import numpy as np
import once
import pytest

from fastmlp import nn
from fastmlp.studies import dropout


@pytest.fixture(scope="module")
def study():
    return once.study("dropout")


def thinned_means(layers, x, p):
    """Arithmetic and normalised geometric mean over all thinned nets of one row, unit by unit in plain Python.

    layers: (weight, bias) of each linear layer. A dropped unit is cut out, and weights upon a kept one are divided
    by 1 - p.
    """
    widths = [len(bias) for _, bias in layers[:-1]]
    logs, sums = [], []
    for mask in itertools.product((False, True), repeat=sum(widths)):
        h, kept, scale, first = list(x), range(len(x)), 1.0, 0
        for at, (weight, bias) in enumerate(layers):
            a = [bias[o] + math.fsum(weight[o][i] * scale * h[i] for i in kept) for o in range(len(bias))]
            if at < len(widths):
                h = [max(v, 0.0) for v in a]
                kept = [o for o in range(len(a)) if mask[first + o]]
                first, scale = first + len(a), 1 / (1 - p)
        total = math.fsum(math.exp(v) for v in a)
        sums.append([math.exp(v) / total for v in a])
        logs.append([v - math.log(total) for v in a])
    classes = range(len(a))
    arithmetic = [math.fsum(p[c] for p in sums) / len(sums) for c in classes]
    geometric = [math.exp(math.fsum(log[c] for log in logs) / len(logs)) for c in classes]
    return arithmetic, [g / sum(geometric) for g in geometric]


@pytest.mark.parametrize("hidden", [(5,), (3, 3)])
def test_the_means_are_those_of_nets_that_are_cut_unit_by_unit(hidden):
    nn.manual_seed(1)
    model = nn.MLP(4, hidden, 3, dropout=0.5).double()
    for parameter in model.parameters():
        parameter.data *= 3  # so that the masks matter
    x = np.random.default_rng(0).normal(size=(2, 4))
    found = dropout.averages(model, x, dropout.all_masks(sum(hidden)))
    layers = [(m.weight.data.tolist(), m.bias.data.tolist()) for m in model if isinstance(m, nn.Linear)]
    for row in range(2):
        arithmetic, geometric = thinned_means(layers, x[row].tolist(), 0.5)
        assert np.abs(found["arithmetic"][row] - arithmetic).max() < 1e-13  # rounding of sums over 64 nets
        assert np.abs(found["geometric"][row] - geometric).max() < 1e-13
    exact = np.abs(found["geometric"] - dropout.one_pass(model, x)).max() < 1e-13
    assert exact == (len(hidden) == 1)


def test_all_masks_are_different_and_all_there():
    masks = dropout.all_masks(5)
    assert masks.shape == (32, 5)
    assert len({tuple(mask) for mask in masks}) == 32


def test_what_was_found(study):
    n = study.numbers
    assert n["one_geometric_gap"] < 1e-12
    assert n["linear_geometric_gap"] < 1e-12
    assert n["two_geometric_gap"] > 1e-3
    assert n["one_arithmetic_gap"] > 0.05
    for name in ("one", "two"):
        assert abs(n[f"{name}_slope"] + 0.5) < 0.05
        assert n[f"{name}_arithmetic_loss"] < n[f"{name}_thinned_loss"]  # Jensen
        assert n[f"{name}_geometric_loss"] < n[f"{name}_thinned_loss"]  # the means of the logs, divided by at most 1
    assert n["p50_validation_loss"] < n["p20_validation_loss"] < n["p0_validation_loss"]


def test_the_study_is_whole(study):
    assert study.tolerances.keys() == study.numbers.keys()
    assert all(math.isfinite(value) for value in study.numbers.values())
    assert max(map(len, study.table.splitlines())) <= 100
    assert len(study.conclusions) == 3
    assert set(study.figures) == {"dropout_thinned", "dropout_average", "dropout_curves"}
    above, below = study.figures["dropout_curves"].axes
    assert [t.get_text() for t in below.get_legend().get_texts()] == ["p = 0", "p = 0.2", "p = 0.5"]
    assert len(above.get_lines()[0].get_xdata()) == dropout.EPOCHS
    gaps = study.figures["dropout_average"].axes[0].get_lines()[0].get_xdata()
    assert gaps.max() == pytest.approx(max(study.numbers["one_geometric_gap"], 1e-17))


def test_digits_that_open_no_unit_stand_apart(study):
    """Coloured marks first, hollow ones second, then the median of the coloured, for each of six strips."""
    lines = study.figures["dropout_average"].axes[0].get_lines()
    for strip, name in enumerate(name for name in dropout.WORDS for _ in ("geometric", "arithmetic")):
        counts = [len(line.get_xdata()) for line in lines[3 * strip : 3 * strip + 3]]
        closed = int(study.numbers[f"{name}_closed_rows"])
        assert counts == [dropout.ROWS - closed, closed, 1]
    assert 0 < study.numbers["two_closed_rows"] < dropout.ROWS


def test_a_row_that_opens_no_unit_is_found():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)).double()
    model[0].weight.data[...], model[0].bias.data[...] = np.eye(2), 0
    rows = np.array([[-1.0, -1.0], [-1.0, 1.0], [0.0, 0.0]])
    assert dropout.closed_rows(model, rows).tolist() == [True, False, True]


def test_the_thinned_nets_that_are_drawn_lack_what_dropout_drops(study):
    """A cross for each unit that is 0, and no line to or from it."""
    masks = dropout.thinned_masks()
    whole, *thinned = study.figures["dropout_thinned"].axes
    crosses = [sum(line.get_marker() == "x" for line in ax.get_lines()) for ax in (whole, *thinned)]
    assert crosses == [0, *(sum(int((~layer).sum()) for layer in row) for row in masks)]
    assert len({tuple(np.concatenate(row)) for row in masks}) == len(masks) == len(thinned)  # another net for each row
    for ax, row in zip(thinned, masks, strict=True):
        kept = [dropout.THINNED[0], *(int(layer.sum()) for layer in row), dropout.THINNED[-1]]
        edges = sum(line.get_linestyle() == "-" for line in ax.get_lines())
        assert edges == sum(a * b for a, b in itertools.pairwise(kept))


def test_the_sentences_say_the_opposite_of_opposite_numbers(study):
    before = dropout.conclude(study.numbers)
    assert "one hidden layer: equal to rounding" in before[0]
    assert "two hidden layers: off by" in before[0]
    assert "as 1/√n says" in before[1]
    assert "p = 0.5 lowers the validation loss" in before[2]
    n = dict(study.numbers)
    n |= {"one_geometric_gap": 0.3, "two_geometric_gap": 1e-15, "two_slope": -0.1, "two_equal_masks": 1.0}
    n |= {"p50_validation_gain_least": -0.2, "p50_validation_gain_most": -0.1}
    n |= {"p20_validation_gain_least": -0.2, "p20_validation_gain_most": 0.1}
    n |= {"p50_accuracy_gain_least": -0.02, "p50_accuracy_gain_most": -0.01}
    after = dropout.conclude(n)
    assert "one hidden layer: off by up to 0.300" in after[0]
    assert "two hidden layers: equal to rounding" in after[0]
    assert "not the 1/√n" in after[1]
    assert "no nearer to it than one random" in after[1]
    assert "p = 0.5 raises the validation loss (+0.10 to +0.20 nats" in after[2]
    assert "lowers the validation accuracy (-2.0 to -1.0 points" in after[2]
    assert "p = 0.2 moves neither way the validation loss" in after[2]
    n |= {"two_slope": 0.3, "p50_accuracy_gain_least": -0.02, "p50_accuracy_gain_most": 0.01}
    after = dropout.conclude(n)
    assert "nets does not fall, but goes as n^0.30, which is not the 1/√n" in after[1]
    assert "moves neither way the validation accuracy (-2.0 to +1.0 points" in after[2]


def test_the_pages_still_quote_it():
    once.pages_hold("dropout")
