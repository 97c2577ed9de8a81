"""A regression is spoken of in its own score: stopping, diagnosis, table, report, plots, files."""

import math
import re

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import nn
from fastmlp.store.run import draw_pictures

rng = np.random.default_rng(0)
x = rng.normal(size=(200, 4)).astype(np.float32)
line = x[:, :1] * 2 + 0.1 * rng.normal(size=(200, 1))


def history(score: list[float], held: list[float], **facts) -> fm.History:
    """A run whose losses fall from 1, with these scores."""
    found = fm.History([], "r2", **facts)
    for epoch, pair in enumerate(zip(score, held, strict=True), 1):
        loss = 1 - 0.01 * epoch
        found.add(epoch, (loss, pair[0]), (loss + 0.02, pair[1]), 1.0, 100, "engine")
    return found


def fitted(targets=line, epochs=6, callbacks=(), loss=None, progress=False) -> tuple[fm.nn.Module, fm.History]:
    fm.manual_seed(0)
    model = nn.MLP(4, (8,), targets.shape[1])
    optimizer = fm.optim.Adam(model.parameters(), lr=0.01)
    data, loss = fm.Dataset(x, targets), loss or nn.MSELoss()
    return model, fm.fit(model, data, 0.25, optimizer, epochs=epochs, loss=loss, progress=progress, callbacks=callbacks)


# --- which way is better ---------------------------------------------------------------------------------------------


class Worse(nn.MSELoss):
    """The squared error as a score of its own: less of it is better."""

    score = nn.Score("error", nn.MSELoss.score.kernel, lambda t: np.full(t.shape[1], -1.0), rises=False)


@pytest.mark.parametrize("metric", ["train_score", "validation_score"])
@pytest.mark.parametrize("loss", [nn.MSELoss, Worse])
def test_early_stopping_follows_the_scores_declaration(metric, loss):
    """Of both the last epoch is the best: R² rises, the error falls."""
    stopper = fm.EarlyStopping(metric, patience=2)
    _, run = fitted(callbacks=[stopper], loss=loss())
    scores = run.column(metric)
    assert scores == sorted(scores, reverse=loss is Worse)
    assert (stopper.best_epoch, stopper.best) == (6, scores[-1])


def test_a_history_knows_which_way_each_column_is_better():
    rises = {name for name in fm.Epoch.__dataclass_fields__ if fm.History().rises(name)}
    assert rises == {"epoch", "train_accuracy", "validation_accuracy", "train_score", "validation_score",
                     "samples_per_second"}  # fmt: skip
    assert not fm.History(score_rises=False).rises("validation_score")


# --- words -----------------------------------------------------------------------------------------------------------


def test_the_diagnosis_of_a_regression_speaks_of_its_score():
    found = fm.diagnose(history([0.91] * 8, [0.875] * 8, unit=""))
    assert "validation loss is 0.0200 above training loss, R² 0.0350 below" in found.sentence
    assert math.isnan(found.accuracy_gap)
    unknown = fm.diagnose(history([math.nan] * 8, [math.nan] * 8, unit=""))
    assert "validation loss is 0.0200 above training loss" in unknown.sentence
    for said in (str(found), str(unknown)):
        assert not re.search(r"nan|nats|accuracy|points", said)


def test_a_regression_underfits_where_a_tenth_of_the_spread_is_unexplained():
    """Its losses have levelled; a score that declares no best is no reason."""
    run = history([0.5] * 8, [0.4] * 8, unit="")
    for epoch in run.epochs:
        epoch.train_loss, epoch.validation_loss = 1.0, 1.1
    found = fm.diagnose(run)
    assert found.kind == "underfits"
    assert found.sentence.endswith("with R² at 0.5000 and 0.4000.")
    run.score_best = None
    assert fm.diagnose(run).kind == "fits"


def test_the_page_the_files_and_the_plots_of_a_regression(tmp_path):
    data = fm.Dataset(x, line)
    watch = fm.Watch(data)
    run = fm.Run(tmp_path / "run", config={"activation": "relu", "dropout": 0.0})
    model, seen = fitted(callbacks=[run, watch])
    found = fm.diagnose(seen)
    pictures = draw_pictures(model, seen, None, data, watch)
    assert pictures["curves"][0] == "Loss and R²"
    page = run.write_report(model, seen, None, data, found, watch, pictures).read_text("utf-8")
    words = re.sub(r"<script.*?</script>|data:image[^\"]*", "", page, flags=re.S)
    assert "Validation R²" in words
    assert not re.search(r"\bnan\b|nats|ccuracy", words)
    read = fm.read_run(run.folder).history
    assert (read.score_name, read.score_rises, read.score_best, read.unit) == ("r2", True, 1.0, "")
    assert fm.diagnose(read) == found
    axis, below = fm.plots.curves(read).axes
    assert (axis.get_ylabel(), below.get_ylabel(), below.get_title()) == ("loss", "R²", "R²")
    assert f"highest in epoch 6: {seen[-1].validation_score:.4f}" in below.get_legend_handles_labels()[1][1]


def test_a_watch_takes_the_loss_of_the_training():
    """Given one, it keeps it; without one in a loop of one's own it is the one that `fit` takes for such targets."""
    watch, given = fm.Watch(fm.Dataset(x, line)), fm.Watch(fm.Dataset(x, line), loss=nn.MSELoss())
    fitted(callbacks=[watch, given])
    assert watch.epochs == [0, 1, 2, 3, 4, 5, 6]
    for one, other in zip(watch.layers, given.layers, strict=True):
        assert np.array_equal(one.gradients.counts, other.gradients.counts)
    kept = nn.MSELoss()
    watch = fm.Watch(fm.Dataset(x, line), loss=kept)
    watch.use_loss(Worse())
    assert watch._loss is kept
    assert isinstance(fm.Watch(fm.Dataset(x, line))._loss, nn.MSELoss)
    assert isinstance(fm.Watch(fm.Dataset(x, np.arange(len(x)) % 2))._loss, nn.CrossEntropyLoss)


# --- constant targets ------------------------------------------------------------------------------------------------


def test_the_table_has_the_validation_loss_where_the_score_is_unknown(capsys):
    _, run = fitted(np.full((200, 1), 3.5), epochs=2, progress="table")
    assert math.isnan(run[-1].validation_score)
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split()[:6] == ["epoch", "train", "loss", "r2", "validation", "loss"]
    for row, epoch in ((first, run[0]), (second, run[1])):
        assert row.split()[3:5] == [f"{epoch.validation_loss:.4f}", "nan"]


def test_r2_is_the_mean_over_the_columns_that_vary():
    targets = np.hstack([line, np.full_like(line, 3.5)])
    loss, z = nn.MSELoss(), rng.normal(size=(200, 2))
    terms = loss.measure(z, targets, loss.score.numbers(targets)).above
    alone = loss.measure(z[:, :1].copy(), line, loss.score.numbers(line)).above
    np.testing.assert_allclose(terms, alone, rtol=1e-12)  # a few roundings
    assert np.isnan(loss.score.numbers(targets[:, 1:])).all()
