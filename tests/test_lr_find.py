"""`lr_find`: the steps are those of a loop by hand, nothing that it was given changes, and it ends where losses do."""

import copy
import math
import os
import re
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from matplotlib.image import imread
from test_scripts import idx_folder, train  # noqa: F401  fixtures
from trainings import Own, bits, clusters, mlp

import fastmlp as fm
from fastmlp import Dataset, nn, optim
from fastmlp.kernels.shuffle import permutation
from fastmlp.training import finder


def found(model=None, data=None, **options) -> fm.LRFind:
    return fm.lr_find(mlp() if model is None else model, clusters() if data is None else data, **options)


def numbers(result: fm.LRFind) -> list[bytes]:
    """All that was measured, to the bit."""
    return [array.tobytes() for array in (result.lr, result.loss, result.smoothed)]


# --- what the steps are ----------------------------------------------------------------------------------------------


def by_hand(model, data, optimizer, lrs, batch_size, weights) -> list[float]:
    """The losses of a loop on the graph; lrs: (steps, groups)."""
    losses, order, number = [], [], 0
    for rates in lrs:
        if not len(order):
            number += 1
            order = permutation(np.arange(len(data)), 0, number)
        rows, order = order[:batch_size], order[batch_size:]
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = float(rate)
        loss = nn.CrossEntropyLoss()(model(fm.Tensor(data.features[rows])), data.labels[rows], weights[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_the_steps_are_those_of_a_loop_by_hand():
    """Through the data twice and more, with two groups whose rates stay as 1 to 3, and rows that have weights."""
    plain, weights = clusters(70, np.float64), np.random.default_rng(0).random(70)
    model, steps = mlp().double(), 30
    layers = [[*model[0].parameters()], [*model[2].parameters()]]
    groups = [{"params": layers[0], "lr": 0.1}, {"params": layers[1], "lr": 0.3}]
    optimizer = optim.SGD(groups, lr=1.0, momentum=0.5)
    data = Dataset(plain.features, plain.labels, sample_weight=weights)
    result = found(model, data, optimizer=optimizer, min_lr=1e-4, max_lr=0.5, steps=steps, batch_size=16)
    lrs = np.geomspace(1e-4, 0.5, steps)
    np.testing.assert_allclose(result.lr, lrs, rtol=1e-12)  # a power in place of the sum of logarithms
    expected = by_hand(model, data, optimizer, np.outer(lrs, [1, 3]), 16, weights)
    np.testing.assert_allclose(result.loss, expected, rtol=1e-10)  # differences of sums of some tens, in float64


def test_the_smoothed_loss_is_a_mean_that_forgets():
    result = found(steps=50)
    b, s, expected = 1 - 10 / 50, 0.0, []
    for t, loss in enumerate(result.loss, 1):
        s = b * s + (1 - b) * loss
        expected.append(s / (1 - b**t))
    np.testing.assert_allclose(result.smoothed, expected, rtol=1e-12)  # the same sums in another order


def test_a_planted_parabola_has_its_rate():
    """loss = w², w ← (1 - 2 lr) w: best is lr = 1/2, and from 1 on each step throws w further."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False)).double()
    model[0].weight.data[...] = 3.0
    data = Dataset(np.ones((64, 1)), np.zeros(64))
    result = found(model, data, optimizer=optim.SGD(model.parameters(), lr=1.0), max_lr=100.0, steps=200)
    w = 3.0
    for lr, loss in zip(result.lr, result.loss, strict=True):
        assert loss == pytest.approx(w * w, rel=1e-6, abs=1e-15 * sum(result.loss))  # a difference of their sums
        w *= 1 - 2 * lr
    assert result.diverged
    assert result.suggestion == result.bottom / 10
    assert 0.25 < result.bottom < 1.0  # from half of the best to twice, where nothing converges any more
    optimizer = optim.SGD(model.parameters(), lr=result.suggestion)
    history = fm.fit(model, data, optimizer=optimizer, epochs=50, progress=False)
    assert history[-1].train_loss < 1e-6 * history[0].train_loss


def test_a_trained_optimizer_goes_on_from_what_it_remembers():
    model, data = mlp(), clusters()
    optimizer = optim.Adam(model.parameters())
    fm.fit(model, data, optimizer=optimizer, epochs=2, progress=False, schedule=optim.CosineAnnealingLR(9))
    fresh, warm = found(model, data), found(model, data, optimizer=optimizer)
    assert fresh.loss[0] == warm.loss[0]
    assert (fresh.loss[:20] != warm.loss[:20]).any()
    assert fresh.lr[:50].tobytes() == warm.lr[:50].tobytes()


LOSSES = {
    "classes": (None, lambda z: z[:, :3].argmax(axis=1), 3),
    "smooth": (nn.CrossEntropyLoss(label_smoothing=0.1), lambda z: z[:, :3].argmax(axis=1), 3),
    "labels": (nn.BCEWithLogitsLoss(), lambda z: (z[:, :3] > 0).astype(np.int64), 3),
    "numbers": (None, lambda z: z[:, 0] * 2.0, 1),
    "huber": (nn.HuberLoss(), lambda z: z[:, 0] * 2.0, 1),
    "counts, below 0": (nn.PoissonNLLLoss(), lambda z: np.floor(np.exp(z[:, 0] + 2)) + 0.5, 1),
    "sum": (nn.MSELoss(reduction="sum"), lambda z: z[:, :2] * 2.0, 2),
}


@pytest.mark.parametrize("name", LOSSES)
def test_every_kind_of_loss(name):
    """Also those of sparse rows, which are the same to the bit."""
    loss, targets, outputs = LOSSES[name]
    x = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    x[np.abs(x) < 0.5] = 0
    fm.manual_seed(0)
    model = nn.MLP(8, (16,), outputs)
    dense = found(model, Dataset(x, targets(x)), loss=loss, batch_size=16)
    assert dense.suggestion is not None
    assert np.isfinite(dense.loss).all()
    sparse = found(model, Dataset(scipy.sparse.csr_matrix(x), targets(x)), loss=loss, batch_size=16)
    assert numbers(sparse) == numbers(dense)


@pytest.mark.parametrize("options", [{}, {"dropout": 0.3, "norm": "batch"}])
def test_engine_and_graph_and_every_number_of_threads_measure_the_same(options):
    data = clusters(400)
    one = found(mlp(**options), data, n_threads=1)
    assert numbers(found(mlp(**options), data, n_threads=2)) == numbers(one)
    graph = found(Own(**options), data)
    assert len(graph.loss) == len(one.loss)
    np.testing.assert_allclose(graph.loss, one.loss, rtol=2e-6)  # a mean in float32 there, a sum in float64 here
    assert graph.suggestion == one.suggestion


def test_a_batch_whose_rows_do_not_count_is_no_step():
    """Two rows of 40 count, one or two batches of ten: all 100 rates are tried all the same, on those."""
    data = clusters(40)
    weights = np.zeros(40)
    weights[:2] = 1.0
    result = found(mlp(), Dataset(data.features, data.labels, sample_weight=weights), batch_size=4, max_lr=0.1)
    assert len(result.lr) == 100
    assert np.isfinite([result.loss, result.smoothed]).all()


def test_a_batch_that_the_loss_does_not_count_has_none():
    """Its one row is of a class that has the weight 0 in the loss."""
    data = clusters(40)
    loss = nn.CrossEntropyLoss(weight=[0.0, *[1.0] * (data.classes - 1)])
    result = found(mlp(), data, batch_size=1, loss=loss)
    empty = np.isnan(result.loss)
    assert 0 < empty.sum() < len(empty)
    after = np.flatnonzero(empty[1:]) + 1
    known = after[~np.isnan(result.smoothed[after - 1])]
    assert (result.smoothed[known] == result.smoothed[known - 1]).all()
    assert fm.plots.lr_find(result).axes


# --- what stays as it is ---------------------------------------------------------------------------------------------


def everything(model, optimizer) -> list:
    """All that a training changes, as text and bits."""
    arrays = [bits(model), [p.grad if p.grad is None else p.grad.tobytes() for p in model.parameters()]]
    modules = [
        {name: value for name, value in vars(module).items() if isinstance(value, int | float | str | bool | None)}
        for module in model.modules()
    ]
    state = [
        {k: v.tobytes() if isinstance(v, np.ndarray) else v for k, v in s.items()} for s in optimizer.state.values()
    ]
    groups = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    others = optimizer.epochs, optimizer.schedule_rates, optimizer.averaged, optimizer.moves_momentum
    return copy.deepcopy(
        [arrays, modules, state, groups, others, model.classes_, repr(model.loss_), model.temperature_]
    )


def trained() -> tuple[nn.MLP, optim.Optimizer, Dataset]:
    """A model with all that a step changes beside weights, half way through its training."""
    model, data = mlp(dropout=0.2, norm="batch"), clusters()
    model[0].bias.requires_grad = False
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    fm.fit(model, data, optimizer=optimizer, epochs=1, progress=False, schedule=optim.OneCycleLR(0.1, total_steps=50))
    model.temperature_ = 1.5
    model.eval()
    model[1].train()
    return model, optimizer, data


def end_it(smoothed, how):
    """Stands in for `has_diverged`: ends the training in the middle."""
    if len(smoothed) == 5:
        if how == "error":
            raise OSError("the disk is gone")
        os.kill(os.getpid(), signal.SIGINT)
    return False


@pytest.mark.parametrize("how", ["whole", "error", "Ctrl-C"])
def test_model_optimizer_and_random_numbers_stay_to_the_bit(how, monkeypatch):
    model, optimizer, data = trained()
    before, rows = everything(model, optimizer), data.features.tobytes()
    numpys = np.random.get_state()[1].tobytes()
    fm.manual_seed(3)
    if how == "whole":
        assert len(found(model, data, optimizer=optimizer).loss) > 20
    else:
        monkeypatch.setattr(finder, "has_diverged", lambda smoothed: end_it(smoothed, how))
        with pytest.raises(OSError if how == "error" else KeyboardInterrupt):
            found(model, data, optimizer=optimizer)
    assert everything(model, optimizer) == before
    assert (data.features.tobytes(), np.random.get_state()[1].tobytes()) == (rows, numpys)
    drawn = nn.Linear(4, 4).weight.data.tobytes()
    fm.manual_seed(3)
    assert drawn == nn.Linear(4, 4).weight.data.tobytes()
    other, rule, _ = trained()  # which has seen no `lr_find`
    for net, its in ((model, optimizer), (other, rule)):
        fm.fit(net, data, optimizer=its, epochs=1, progress=False)
    assert bits(model) == bits(other)


# --- where it ends, and what it says ---------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1e3, 1e30])
def test_it_ends_where_the_loss_diverges(most):
    """Also where numbers leave what a float can hold, without a warning; nothing that is kept is infinite."""
    data, options = clusters(), {"min_lr": 1e-3, "max_lr": most, "steps": 60 if most < 1e9 else 20}
    model = mlp(activation="leaky_relu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = found(model, data, optimizer=optim.SGD(model.parameters(), lr=1.0), **options)
    assert result.diverged
    assert len(result.lr) == len(result.loss) == len(result.smoothed) < options["steps"]
    assert np.isfinite([result.loss, result.smoothed]).all()
    smoothed = list(result.smoothed[options["steps"] // 10 :])
    assert not any(finder.has_diverged(smoothed[:n]) for n in range(len(smoothed)))


@pytest.mark.parametrize(
    ("smoothed", "diverged"),
    [
        ([1.0, 1.0, 3.9], False),
        ([1.0, 1.0, 4.1], True),
        ([1.0, 0.1, 2.7], False),  # 0.1 and 3 times what it has fallen by, 2.8
        ([1.0, 0.1, 2.9], True),
        ([-2.0, -2.0, 3.9], False),
        ([-2.0, -2.0, 4.1], True),
        ([math.nan, 1.0, math.nan, 4.1], True),
        ([1.0, math.nan], False),
        ([], False),
    ],
)
def test_what_diverging_is(smoothed, diverged):
    assert finder.has_diverged(smoothed) is diverged


def curve(*smoothed: float) -> fm.LRFind:
    """Rates of 1, 10, 100 and so on."""
    return fm.LRFind(10.0 ** np.arange(len(smoothed)), np.array(smoothed), np.array(smoothed), False, "")


@pytest.mark.parametrize(
    ("smoothed", "bottom"),
    [
        ((2.0, 1.5, 1.05, 1.0, 9.0), 1e2),
        ((2.0, 1.09, 1.5, 1.05, 1.0, 9.0), 1e3),  # the first is a dip: from 1,000 on the fall is made
        ((0.5, 1.0, 2.0), None),
        ((1.0, 1.0, 1.0), None),
        ((2.0, 1.0, 1.0), 1e1),
        ((math.nan, 2.0, 1.0), None),  # nobody knows what it was before
    ],
)
def test_where_nine_tenths_of_the_fall_are_made(smoothed, bottom):
    result = curve(*smoothed)
    assert result.bottom == bottom
    assert result.suggestion == (None if bottom is None else bottom / 10)


def test_where_the_loss_falls_nowhere_nothing_is_suggested():
    model = mlp()
    result = found(model, optimizer=optim.SGD(model.parameters(), lr=1.0), min_lr=1e3, max_lr=1e6)
    assert (result.bottom, result.suggestion) == (None, None)
    assert result.sentence.startswith("no learning rate to suggest: from 1e+04 on the smoothed loss falls no more; at ")
    assert [line.get_label() for line in fm.plots.lr_find(result).axes[0].lines] == ["loss of a batch", "smoothed"]


def test_the_sentence_has_the_rates():
    said = found().sentence
    assert said.startswith("suggested learning rate 0.")
    assert "where the smoothed loss has made nine tenths of its fall; at " in said
    assert found(max_lr=1e-3).sentence.endswith("; it falls to the end, so a larger max_lr says more")


WRONG = {
    "min_lr": ({"min_lr": 0}, "lr_find: min_lr is 0; it must be a finite number above 0"),
    "max_lr": ({"max_lr": math.nan}, "lr_find: max_lr is nan; it must be a finite number above 0"),
    "too large": ({"max_lr": 1e39}, "lr_find: max_lr is 1e+39, in float32 no finite number"),
    "order": (
        {"min_lr": 0.1, "max_lr": 0.01},
        "lr_find: min_lr is 0.1 and max_lr 0.01; max_lr must be at least 10 times min_lr",
    ),
    "steps": ({"steps": 19}, "lr_find: steps is 19; it must be a whole number of at least 20 and at most 100,000"),
    "many steps": ({"steps": 10**9}, "lr_find: steps is 1000000000; it must be"),
    "optimizer": ({"optimizer": 0.1}, "lr_find: optimizer is 0.1; it must be one of fastmlp.optim"),
    "of fit": ({"batch_size": 0}, "lr_find: batch_size is 0; it must be a whole number of at least 1"),
    "loss": ({"loss": 3}, "lr_find: loss is 3; it must be a loss of fastmlp.nn"),
    "clip_norm": ({"clip_norm": -1}, "lr_find: clip_norm is -1"),
    "class_weight": ({"class_weight": {9: 1.0}}, "lr_find: class_weight has the class 9"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_argument_out_of_range_is_refused_in_a_sentence(name):
    options, words = WRONG[name]
    with pytest.raises((ValueError, TypeError)) as error:
        found(**options)
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


def test_the_page_runs(capsys):
    page = (Path(__file__).resolve().parent.parent / "docs" / "rates.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(code, "docs/rates.md", "exec"), {"__name__": "page"})
    sentence, *rest = capsys.readouterr().out.splitlines()
    assert sentence in page
    assert not rest


def test_a_first_group_with_the_rate_0_is_refused():
    model = mlp()
    optimizer = optim.SGD(model.parameters(), lr=0.0)
    with pytest.raises(ValueError, match=r"^lr_find: lr of the optimizer's first group is 0; it must be above 0"):
        found(model, optimizer=optimizer)


def test_weights_that_are_not_finite_are_refused():
    model = mlp()
    model[0].weight.data[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"^lr_find: .* not finite in the first step, with the rate 1e-06; "):
        found(model)


def test_a_model_that_cannot_be_copied_is_refused():
    """Also one whose copy would call the original: it would be changed."""

    class Held(nn.Sequential):
        def __deepcopy__(self, memo):
            raise RuntimeError("it holds a file")

    with pytest.raises(TypeError, match=r"^lr_find: model is a Held that cannot be copied \(it holds a file\)"):
        found(Held(nn.Linear(8, 3)))
    model = mlp()
    model.forward = model.forward
    with pytest.raises(TypeError, match=r"^lr_find: model is a MLP whose forward was replaced"):
        found(model)


# --- the picture, and the command line -------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["nats", ""])
def test_the_picture_has_the_losses_and_the_suggestion(unit):
    result = found() if unit else found(mlp(), Dataset(clusters().features, np.ones((300, 3))))
    (ax,) = fm.plots.lr_find(result, title="Rates").axes
    drawn = {line.get_label(): line for line in ax.lines}
    assert list(drawn) == [
        "loss of a batch", "smoothed", f"90 % of the fall: {result.bottom:.2g}", f"suggested: {result.suggestion:.2g}",
    ]  # fmt: skip
    dots, line, ring, mark = drawn.values()
    assert [list(part.get_xdata()) for part in (dots, line)] == [list(result.lr)] * 2
    assert [list(part.get_ydata()) for part in (dots, line)] == [list(result.loss), list(result.smoothed)]
    assert (list(ring.get_xdata()), list(mark.get_xdata())) == ([result.bottom], [result.suggestion] * 2)
    low, high = ax.get_ylim()
    assert low < min(result.loss)
    assert max(result.smoothed[:10]) < high
    assert (ax.get_xscale(), ax.get_xlabel(), ax.get_title()) == ("log", "learning rate", "Rates")
    assert ax.get_ylabel() == ("cross-entropy (nats)" if unit else "loss of a step")


def test_a_loss_that_diverges_leaves_the_picture_at_its_top():
    model = mlp()
    result = found(model, optimizer=optim.SGD(model.parameters(), lr=1.0), max_lr=1e6)
    low, high = fm.plots.lr_find(result).axes[0].get_ylim()
    assert result.smoothed[-1] > high
    assert high - low < 2 * (max(result.smoothed[:10]) - min(result.loss))


def test_the_command_line_suggests_and_draws_in_place_of_a_training(train, idx_folder, tmp_path):  # noqa: F811
    run = train("--lr-find", "--optimizer", "sgd", "--hidden", "8", "--batch-size", "16", pictures=True)
    assert (run.code, run.err) == (0, "")
    assert [path.name for path in run.folder.iterdir()] == ["lr_find.png"]
    assert imread(run.folder / "lr_find.png").shape[2] == 4
    data, _ = fm.data.load(idx_folder)
    fm.manual_seed(0)
    model = fm.nn.MLP(data.n_features, (8,), data.classes)
    result = fm.lr_find(model, data, optim.SGD(model.parameters(), lr=0.1), batch_size=16)
    assert result.sentence in run.out
    assert "epoch" not in run.out


def test_the_command_line_leaves_nothing_where_nothing_is_drawn(train):  # noqa: F811
    run = train("--lr-find", "--hidden", "8")  # the fixture says --no-plots
    assert (run.code, run.err, run.folder.exists()) == (0, "", False)
    assert "suggested learning rate 0.0" in run.out


def test_the_command_line_touches_no_other_run(train):  # noqa: F811
    before = train("--hidden", "8")
    files = {path: path.read_bytes() for path in before.folder.iterdir()}
    options = ("--lr-find", "--hidden", "8", "--out", str(before.folder))
    refused = train(*options)
    assert (refused.code, "is not empty" in refused.err) == (2, True)
    assert train(*options, "--force", pictures=True).code == 0
    assert {path: path.read_bytes() for path in before.folder.iterdir() if path.name != "lr_find.png"} == files
    opened = train("--lr-find", "--open", pictures=True)
    assert (opened.code, "--lr-find leaves nothing to open" in opened.err) == (2, True)
