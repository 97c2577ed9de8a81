"""Plots of numbers and labels, and names from data on every plot: read from the artists."""

import io
import math

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from test_plots import lines, unreadable, words

import fastmlp as fm
from fastmlp import Dataset, MultilabelEvaluation, RegressionEvaluation, plots
from fastmlp.show.plots.style import DARK, LIGHT

rng = np.random.default_rng(0)
NAMES = (
    "plain",
    "a_$b^2$_c",
    '<b> & "q"\'',
    "\\alpha $x",
    "two\nlines",
    "",
    "a very long name that goes on and on",
    "é",
)


def numbers(rows: int = 200, columns: int = 1, names=None, scale: float = 1.0) -> RegressionEvaluation:
    targets = rng.normal(size=(rows, columns)) * scale
    return RegressionEvaluation(0.1, targets, 0.8 * targets + 0.3 * scale * rng.normal(size=targets.shape), names)


def labels(rows: int = 80, count: int = 8, names=None) -> MultilabelEvaluation:
    targets = rng.random((rows, count)) < np.linspace(0.1, 0.6, count)
    return MultilabelEvaluation(
        0.3, targets, np.clip(0.4 * targets + rng.random(targets.shape) * 0.6, 0, 1), None, names
    )


def classes(names, count: int | None = None, rows: int = 200) -> fm.Evaluation:
    count = count or len(names)
    y, z = np.arange(rows) % count, np.random.default_rng(3).normal(size=(rows, count))  # whatever was drawn before
    z[np.arange(rows), y] += 2
    values = None if names is None else np.array(names)
    return fm.Evaluation(1.0, 0.5, rows, y, fm.metrics.softmax(z), classes_=values)


NUMBERS = numbers()
ALL = {
    "predicted against true": lambda: plots.predicted_vs_true(NUMBERS),
    "residuals": lambda: plots.residuals(NUMBERS),
    "one row": lambda: plots.residuals(numbers(1)),
    "many rows": lambda: plots.predicted_vs_true(numbers(5000, scale=1e7)),
    "residuals of many rows": lambda: plots.residuals(numbers(5000, 2, scale=1e-7)),
    "columns": lambda: plots.predicted_vs_true(numbers(50, 3, NAMES[1:4])),
    "residuals of columns": lambda: plots.residuals(numbers(50, 8, NAMES)),
    "all the same": lambda: plots.predicted_vs_true(RegressionEvaluation(0, np.full(9, 3.0), rng.normal(size=9))),
    "not finite": lambda: plots.residuals(RegressionEvaluation(0, np.arange(9.0), np.full(9, math.nan))),
    "labels": lambda: plots.label_scores(labels(names=NAMES)),
    "many labels": lambda: plots.label_scores(labels(count=50)),
    "classes": lambda: plots.confusion_matrix(classes(NAMES)),
    "many classes": lambda: plots.confusion_matrix(classes([f"class {n}" for n in range(40)])),
    "scores of classes": lambda: plots.label_scores(classes(NAMES)),
}  # fmt: skip


@pytest.mark.parametrize(("name", "dark"), [(name, n % 2 == 0) for n, name in enumerate(ALL)])
def test_all_can_be_read_and_nothing_is_cut_off(name, dark, recwarn):
    with plots.style(dark=dark):
        figure = ALL[name]()
    assert to_rgb(figure.get_facecolor()) == to_rgb((DARK if dark else LIGHT).background)
    assert unreadable(figure) == []
    figure.draw_without_rendering()
    box, room = figure.get_tightbbox(), figure.get_size_inches()
    assert min(box.x0, box.y0) >= -0.02
    assert (box.x1, box.y1) <= (room[0] + 0.02, room[1] + 0.02)
    sizes = [t.get_fontsize() for t in figure.findobj(matplotlib.text.Text) if t.get_text().strip()]
    assert min(sizes) / (room[0] * 72) * 300 >= 6.9  # pixels, where the figure is 300 wide
    assert not recwarn.list


def dots(ax) -> np.ndarray:
    return np.concatenate([collection.get_offsets() for collection in ax.collections])


def test_each_row_is_a_dot_at_its_true_and_its_predicted_number():
    ax = plots.predicted_vs_true(NUMBERS).axes[0]
    np.testing.assert_array_equal(dots(ax), np.hstack([NUMBERS.targets, NUMBERS.predicted]))
    assert ax.get_xlim() == ax.get_ylim()
    assert list(ax.lines[0].get_xdata()) == list(ax.lines[0].get_ydata()) == list(ax.get_xlim())
    assert ax.get_title() == f"R² {NUMBERS.r2:.3f}, RMSE {NUMBERS.rmse:.4g}"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("true", "predicted")


def test_each_row_is_a_dot_at_its_residual_and_counts_in_the_histogram():
    left, right = plots.residuals(NUMBERS).axes
    np.testing.assert_array_equal(dots(left), np.hstack([NUMBERS.predicted, NUMBERS.residuals]))
    assert sum(bar.get_width() for bar in right.patches) == 200
    assert left.get_ylim() == right.get_ylim()
    assert max(map(abs, left.get_ylim())) > np.abs(NUMBERS.residuals).max()


def test_of_many_rows_hexagons_count():
    e = numbers(100_000)
    ax = plots.predicted_vs_true(e).axes[0]
    (hexagons,) = ax.collections
    assert hexagons.get_array().sum() == 100_000
    assert len(hexagons.get_array()) < 3000


def test_columns_have_a_panel_each_and_of_many_the_worst():
    e = numbers(50, 7, tuple("abcdefg"))
    e.predicted[:, 2] = 0
    figure = plots.predicted_vs_true(e)
    titles = [ax.get_title().split("\n")[0] for ax in figure.axes if ax.get_title()]
    assert len(titles) == 4
    assert "c" in titles
    assert titles == sorted(titles)
    assert "the 4 of 7 columns with the lowest R²" in words(figure)
    alone = plots.residuals(e, column=6)
    assert alone.axes[0].get_title().startswith("g\n")
    for column in (7, -1, 1.0):
        with pytest.raises(ValueError, match=rf"^residuals: column is {column}; it must be .* below 7"):
            plots.residuals(e, column=column)


def test_rows_without_a_finite_number_are_left_out_and_counted():
    predicted = np.where(np.arange(30) < 7, np.nan, 1.0)
    figure = plots.predicted_vs_true(RegressionEvaluation(0.1, np.arange(30.0), predicted))
    assert len(dots(figure.axes[0])) == 23
    assert "7 rows without a finite number" in words(figure)


def test_scores_of_labels_are_bars_dots_and_squares():
    e = labels(names=tuple("abcdefgh"))
    (ax,) = plots.label_scores(e).axes
    assert [bar.get_width() for bar in ax.patches] == e.f1.tolist()
    found = lines(ax)
    assert found["precision"][0] == e.precision.tolist()
    assert found["recall"][0] == e.recall.tolist()
    names = [t.get_text() for t in ax.get_yticklabels()]
    assert names == [f"{name} ({n})" for name, n in zip("abcdefgh", e.support, strict=True)]
    many = labels(count=50)
    (ax,) = plots.label_scores(many).axes
    assert [bar.get_width() for bar in ax.patches] == many.f1[np.sort(np.argsort(many.f1, kind="stable")[:30])].tolist()


@pytest.mark.parametrize("name", ["predicted_vs_true", "residuals", "label_scores"])
def test_a_given_axes_is_drawn_on_and_keeps_its_colours(name):
    figure = Figure()
    ax = figure.subplots()
    ax.xaxis.label.set_color("#123456")
    argument = labels() if name == "label_scores" else numbers(20, 3)
    assert getattr(plots, name)(argument, ax=ax) is figure
    assert ax.has_data()
    assert ax.xaxis.label.get_color() == "#123456"


def test_an_evaluation_of_other_targets_is_refused():
    with pytest.raises(TypeError, match=r"^residuals: evaluation is MultilabelEvaluation; it must be the Regression"):
        plots.residuals(labels())
    with pytest.raises(TypeError, match=r"^label_scores: evaluation is RegressionEvaluation; it must be the Multi"):
        plots.label_scores(NUMBERS)
    with pytest.raises(TypeError, match=r"^confusion_matrix: evaluation is RegressionEvaluation|^reliability: "):
        plots.reliability(NUMBERS)


# --- names -----------------------------------------------------------------------------------------------------------


def drawn(text: str) -> str:
    """What matplotlib draws for a text: a formula is not what it says."""
    _, is_formula = matplotlib.text.Text(text=text)._preprocess_math(text)
    assert not is_formula, text
    return matplotlib.text.Text()._preprocess_math(text)[0]


SHOWN = ["plain", "a_$b^2$_c", '<b> & "q"\'', "\\alpha $x", "two\\nlines", '""', "a very …and on", "é"]


def test_the_names_of_classes_stand_beside_the_cells_as_they_are():
    ax = plots.confusion_matrix(classes(NAMES)).axes[0]
    for axis in (ax.get_xticklabels(), ax.get_yticklabels()):
        assert [drawn(label.get_text()) for label in axis] == SHOWN
    plain = plots.confusion_matrix(classes(None, 5)).axes[0]
    assert [label.get_text() for label in plain.get_xticklabels()] == list("01234")
    some = plots.confusion_matrix(classes([f"n{n}" for n in range(60)])).axes[0]
    some.figure.draw_without_rendering()
    found = [label.get_text() for label in some.get_yticklabels() if label.get_text()]
    assert 3 < len(found) < 12
    assert all(name.startswith("n") for name in found)


def test_no_name_becomes_a_formula():
    """On figures with names of each kind; each is saved, too, where a formula that cannot be read is an error."""
    e = classes(NAMES, rows=30)
    data = Dataset(rng.integers(0, 255, (30, 4, 4)).astype(np.uint8), e.labels, name="of $a$ and $b$")
    images = Dataset(data.features, rng.normal(size=(30, 2)), name="$\\frac$")
    history = fm.History([fm.Epoch(1, 1, 1, 1, 1, 1, 1)], score_name="$\\frac$ score_1")
    for figure in (
        plots.wrong_digits(e, data), plots.sample_digits(data), plots.sample_digits(images), plots.curves(history),
        plots.predicted_vs_true(numbers(9, 2, ("$\\frac$", "_x_"))), plots.label_scores(labels(names=NAMES)),
    ):  # fmt: skip
        figure.savefig(io.BytesIO(), format="png")
        for text in figure.findobj(matplotlib.text.Text):
            drawn(text.get_text())
    assert "25 of 30 rows of of $a$ and $b$, with labels" in [
        drawn(text.get_text()) for text in plots.sample_digits(data).findobj(matplotlib.text.Text)
    ]


def test_a_wrong_row_is_captioned_with_the_names_of_its_classes():
    e = classes(["cat", "a_horse_$1$"], rows=20)
    data = Dataset(np.zeros((20, 4, 4), np.uint8), e.labels, scale=1)
    captions = [drawn(t.get_text()) for t in plots.wrong_digits(e, data).axes[0].texts[1:]]
    own = [("cat", "a_horse_$1$")[c] for c in e.labels[e.wrong]]
    assert [caption.split("\ntrue ")[1] for caption in captions] == own
    assert all(caption.startswith(("cat (", "a_horse_$1$ (")) for caption in captions)


def test_files_of_wrong_rows_have_safe_names(tmp_path):
    e = classes(["../../etc", "a/b\\c:d" * 9], rows=20)
    data = Dataset(np.zeros((20, 4, 4), np.uint8), e.labels, scale=1)
    count = plots.save_wrong_digits(e, data, tmp_path / "wrong")
    names = [path.name for path in (tmp_path / "wrong").iterdir()]
    assert len(names) == count > 0
    assert {path.name for path in tmp_path.iterdir()} == {"wrong"}
    for name in names:
        assert "_true-etc_predicteda-b-c-d" in name or "_truea-b-c-da" in name
        assert len(name) < 80


def test_a_name_in_letters_that_no_font_has_is_its_number(monkeypatch, recwarn):
    from fastmlp.show import fonts

    e = classes(["cat", "猫", "é"])
    monkeypatch.setattr(fonts, "_having", lambda letters, _: ((), "".join(letters)))
    ax = plots.confusion_matrix(e).axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["cat", "[1]", "é"]
    ax.figure.draw_without_rendering()
    assert not recwarn.list
    monkeypatch.setattr(fonts, "_having", lambda letters, _: (("Squares",), ""))
    label = plots.confusion_matrix(e).axes[0].get_xticklabels()[1]
    assert label.get_text() == "猫"
    assert label.get_fontfamily()[-1] == "Squares"
