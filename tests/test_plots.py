"""`fm.plots`: what is drawn, read from the artists: numbers, words, colours that can be read and told apart."""

import math
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread

import fastmlp as fm
from fastmlp import Dataset, Epoch, History, nn
from fastmlp.show import plots
from fastmlp.show.plots.style import DARK, LIGHT, contrast, palette

NAN = math.nan


@dataclass(frozen=True)
class Answers:
    """Stands for an Evaluation: the same attributes, computed here in plain NumPy."""

    labels: np.ndarray
    probabilities: np.ndarray
    calibration_error: float = 0.034

    @property
    def rows(self) -> int:
        return len(self.labels)

    @property
    def predicted(self) -> np.ndarray:
        return self.probabilities.argmax(axis=1)

    @property
    def confusion(self) -> np.ndarray:
        counts = np.zeros((self.probabilities.shape[1],) * 2, np.int64)
        np.add.at(counts, (self.labels, self.predicted), 1)
        return counts

    @property
    def wrong(self) -> np.ndarray:
        rows = np.nonzero(self.predicted != self.labels)[0]
        return rows[np.argsort(-self.probabilities.max(axis=1)[rows], kind="stable")]

    @property
    def reliability(self):
        top = self.probabilities.max(axis=1)
        bins = np.minimum((top * 15).astype(int), 14)
        count = np.bincount(bins, minlength=15)
        with np.errstate(invalid="ignore"):
            right = np.bincount(bins, self.predicted == self.labels, 15) / count
            return np.bincount(bins, top, 15) / count, right, count


def answers(rows: int = 400, classes: int = 10, errors: int = 30, seed: int = 0) -> Answers:
    """Labels, and probabilities whose largest is at the label but for `errors` rows."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    top = labels.copy()
    top[:errors] = (labels[:errors] + rng.integers(1, classes, errors)) % classes
    p = rng.random((rows, classes)) * 0.3
    p[np.arange(rows), top] += rng.uniform(0.4, 6, rows)
    return Answers(labels, p / p.sum(axis=1, keepdims=True))


def images(evaluation: Answers, shape=(6, 5), dtype=np.uint8) -> Dataset:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (evaluation.rows, *shape))
    return Dataset(pixels.astype(dtype), evaluation.labels, evaluation.probabilities.shape[1])


def history(train, held_out=None, accuracy=None) -> History:
    held_out = held_out or [NAN] * len(train)
    accuracy = accuracy or [0.5] * len(train)
    rows = zip(train, held_out, accuracy, strict=True)
    return History([Epoch(i, t, 0.9, h, a if math.isfinite(h) else NAN, 1, 1) for i, (t, h, a) in enumerate(rows, 1)])


@cache
def watched(epochs: int = 3) -> fm.Watch:
    fm.manual_seed(0)
    model, data = nn.MLP(30, (8, 6), 10), images(answers(), (30,))
    watch = fm.Watch(data, 64)
    fm.fit(model, data, epochs=epochs, progress=False, callbacks=[watch])
    return watch


def words(figure: Figure) -> str:
    """Everything that is written on a figure."""
    found = [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_visible()]
    return "\n".join(found)


def lines(ax) -> dict[str, tuple[list[float], list[float]]]:
    return {line.get_label().split(",")[0]: (list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines}


ANSWERS = answers()
MODEL = nn.MLP(784, (12,), 10)
HISTORY = history([0.9, 0.5, 0.3], [0.8, 0.6, 0.7], [0.7, 0.8, 0.85])
ALL = {
    "loss_curve": lambda: plots.loss_curve(HISTORY),
    "accuracy_curve": lambda: plots.accuracy_curve(HISTORY),
    "curves": lambda: plots.curves(HISTORY),
    "sample_digits": lambda: plots.sample_digits(images(ANSWERS)),
    "wrong_digits": lambda: plots.wrong_digits(ANSWERS, images(ANSWERS)),
    "confusion_matrix": lambda: plots.confusion_matrix(ANSWERS),
    "reliability": lambda: plots.reliability(ANSWERS),
    "first_layer": lambda: plots.first_layer(MODEL),
    "activations": lambda: plots.activations(watched()),
    "gradients": lambda: plots.gradients(watched()),
    "update_ratio": lambda: plots.update_ratio(watched()),
    "lr_find": lambda: plots.lr_find(fm.LRFind(*np.geomspace((1e-3, 2, 3), (1, 1, 1), 9).T, False, "nats")),
}

# --- what all have in common -----------------------------------------------------------------------------------------


def unreadable(figure: Figure, least: float = 4.5) -> list[str]:
    """Texts whose contrast with the background is below WCAG's 4.5; those in cells of a matrix are judged elsewhere."""
    figure.draw_without_rendering()
    background = figure.get_facecolor()
    texts = [t for t in figure.findobj(matplotlib.text.Text) if t.get_text().strip() and t.get_visible()]
    return [t.get_text() for t in texts if contrast(t.get_color(), background) < least and not t.get_text().isdigit()]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ALL)
def test_every_text_can_be_read_on_its_background(name, dark):
    """Drawn after the block ended: what matplotlib makes late has the colours of the block too."""
    with plots.style(dark=dark):
        figure = ALL[name]()
    assert to_rgb(figure.get_facecolor()) == to_rgb((DARK if dark else LIGHT).background)
    assert unreadable(figure) == []
    assert palette() is LIGHT


def test_a_text_that_cannot_be_read_is_found():
    figure = plots.loss_curve(HISTORY)
    figure.axes[0].set_title("pale", color="#cccccc")
    assert unreadable(figure) == ["pale"]


@pytest.mark.parametrize("name", ALL)
def test_letters_are_large_for_a_thumbnail(name):
    """At 300 pixels wide, letters are at least 7 pixels high (powers of ten and captions), most are 10."""
    figure = ALL[name]()
    figure.draw_without_rendering()
    width = figure.get_size_inches()[0] * 72
    sizes = [t.get_fontsize() for t in figure.findobj(matplotlib.text.Text) if t.get_text().strip()]
    assert min(sizes) / width * 300 >= 6.9


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_cut_off(name):
    figure = ALL[name]()
    figure.draw_without_rendering()
    box, room = figure.get_tightbbox(), figure.get_size_inches()
    assert box.x0 >= -0.02
    assert box.y0 >= -0.02
    assert box.x1 <= room[0] + 0.02
    assert box.y1 <= room[1] + 0.02


@pytest.mark.parametrize("name", ["loss_curve", "accuracy_curve", "confusion_matrix", "reliability", "update_ratio"])
def test_a_given_axes_is_drawn_on_and_keeps_its_colours(name):
    figure = Figure()
    ax = figure.subplots()
    ax.xaxis.label.set_color("#123456")
    argument = {"confusion_matrix": ANSWERS, "reliability": ANSWERS, "update_ratio": watched()}.get(name, HISTORY)
    assert getattr(plots, name)(argument, ax=ax) is figure
    assert ax.has_data()
    assert ax.xaxis.label.get_color() == "#123456"


def test_settings_of_the_caller_are_left_alone():
    before = dict(matplotlib.rcParams)
    with plots.style(dark=True):
        plots.curves(HISTORY)
    assert dict(matplotlib.rcParams) == before


def test_pyplot_is_not_loaded_and_matplotlib_only_when_a_figure_is_drawn():
    code = (
        "import sys, fastmlp as fm; a = 'matplotlib' in sys.modules; h = fm.History([fm.Epoch(1, 1, 1, 1, 1, 1, 1)]);"
        "fm.plots.curves(h); print(a, 'matplotlib' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.split() == ["False", "True", "False"]


def test_the_colours_of_two_lines_differ_in_brightness_or_hue_for_everyone():
    """Okabe and Ito's blue and vermillion, or its sky blue and orange: and each stands out from the background."""
    for colours in (LIGHT, DARK):
        assert contrast(colours.train, colours.background) >= 3
        assert contrast(colours.held_out, colours.background) >= 3
        assert (
            to_rgb(colours.train)[2] - to_rgb(colours.held_out)[2] > 0.5
        )  # blue, the channel red-green blindness spares


# --- curves ----------------------------------------------------------------------------------------------------------


def test_the_lowest_validation_loss_is_marked():
    ax = plots.loss_curve(HISTORY).axes[0]
    assert lines(ax)["training"] == ([1, 2, 3], [0.9, 0.5, 0.3])
    assert lines(ax)["validation"] == ([1, 2, 3], [0.8, 0.6, 0.7])
    ring = next(line for line in ax.lines if line.get_markersize() > 10)
    assert (list(ring.get_xdata()), list(ring.get_ydata())) == ([2], [0.6])
    assert "validation, lowest in epoch 2: 0.6000" in words(ax.figure)
    assert ax.get_ylim()[0] == 0


def test_the_highest_validation_accuracy_is_marked():
    ax = plots.accuracy_curve(HISTORY).axes[0]
    ring = next(line for line in ax.lines if line.get_markersize() > 10)
    assert (list(ring.get_xdata()), list(ring.get_ydata())) == ([3], [0.85])
    assert "validation, highest in epoch 3: 85.00 %" in words(ax.figure)


@pytest.mark.parametrize("train", [[0.9], [0.9, 0.5], [0.5] * 80])
def test_training_alone_has_one_line_and_no_mark(train):
    figure = plots.curves(history(train))
    for ax in figure.axes:
        assert set(lines(ax)) == {"training"}
        assert ax.get_xlim() == (0.5, len(train) + 0.5)
    assert "validation" not in words(figure)


def test_of_equal_losses_the_first_is_best():
    assert "lowest in epoch 2" in words(plots.loss_curve(history([1, 1, 1], [0.5, 0.4, 0.4])))


def test_a_gap_in_the_validation_is_a_gap():
    ax = plots.loss_curve(history([3, 2, 1], [0.5, NAN, 0.4])).axes[0]
    np.testing.assert_array_equal(lines(ax)["validation"][1], [0.5, NAN, 0.4])
    assert "lowest in epoch 3" in words(ax.figure)


@pytest.mark.parametrize("lost", [NAN, math.inf])
def test_a_run_that_diverged_says_so(lost):
    figure = plots.curves(history([2, 1e6, lost], [3, 1e7, lost]))
    figure.draw_without_rendering()
    assert figure.axes[0].get_yscale() == "log"
    assert f"training loss is {lost}\nfrom epoch 3 on" in words(figure)
    assert f"training loss is {lost}\nfrom epoch 1 on" in words(plots.loss_curve(history([lost])))


@pytest.mark.parametrize("draw", [plots.loss_curve, plots.accuracy_curve, plots.curves])
def test_a_history_without_epochs_is_refused(draw):
    with pytest.raises(ValueError, match=r"^\w+: the history has no epoch; it must have at least one$"):
        draw(History())


# --- confusion and reliability ---------------------------------------------------------------------------------------


def cells(figure: Figure) -> np.ndarray:
    return figure.axes[0].images[0].get_array()


@pytest.mark.parametrize("dark", [False, True])
def test_the_matrix_has_its_counts_where_they_belong_and_legible(dark):
    with plots.style(dark=dark):
        figure = plots.confusion_matrix(ANSWERS)
    found = np.zeros((10, 10), int)
    for text in figure.axes[0].texts:
        p, t = text.get_position()
        found[t, p] = int(text.get_text())
        assert contrast(text.get_color(), cells(figure)[t, p, :3]) >= 4.5
    np.testing.assert_array_equal(found, ANSWERS.confusion)
    assert "92.50 % right; 30 of 400 wrong" in words(figure)


@pytest.mark.parametrize("colours", [LIGHT, DARK])
def test_errors_show_beside_thousands_that_are_right(colours):
    """One error among 10,000 is no empty cell; the largest error has the strongest colour, not the diagonal."""
    counts = np.diag([10_000, 9000, 8000])
    counts[0, 1], counts[1, 2] = 1, 40

    class Made:
        confusion = counts

    with plots.style(dark=colours is DARK):
        shown = cells(plots.confusion_matrix(Made()))
    against_empty = lambda t, p: contrast(shown[t, p, :3], shown[2, 0, :3])  # noqa: E731
    np.testing.assert_allclose(shown[2, 0, :3], to_rgb(colours.background))
    assert np.abs(shown[0, 1, :3] - shown[2, 0, :3]).max() > 0.1
    assert against_empty(1, 2) > 2 * max(against_empty(0, 0), against_empty(0, 1))
    np.testing.assert_array_equal(shown[0, 0], shown[2, 2])


@pytest.mark.parametrize(("classes", "written"), [(2, True), (20, True), (21, False), (100, False)])
def test_few_and_many_classes(classes, written):
    evaluation = answers(3000, classes)
    figure = plots.confusion_matrix(evaluation)
    figure.draw_without_rendering()
    assert len(figure.axes[0].texts) == (np.count_nonzero(evaluation.confusion) if written else 0)
    assert len(figure.axes) == (1 if written else 2)
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    cell = figure.axes[0].get_window_extent().width / classes
    assert all(box.width <= 1.02 * cell for box in boxes)


def test_nothing_wrong_gives_a_matrix_too():
    assert "100.00 % right; 0 of 50 wrong" in words(plots.confusion_matrix(answers(50, errors=0)))


def test_the_reliability_diagram_has_bins_counts_and_the_error():
    confidence, accuracy, count = ANSWERS.reliability
    figure = plots.reliability(ANSWERS)
    above, below = figure.axes
    dots = above.lines[1]
    np.testing.assert_array_equal(dots.get_xdata(), confidence[count > 0])
    np.testing.assert_array_equal(dots.get_ydata(), accuracy[count > 0])
    assert [bar.get_height() for bar in below.patches] == list(count)
    assert below.get_yscale() == "log"
    assert "calibration error 3.4 %" in words(figure)


def test_intervals_are_wilsons():
    """7 of 10: from 0.3968 to 0.8922. Source: the interval of scipy.stats.binomtest(7, 10).proportion_ci("wilson")."""
    from fastmlp.show.plots.quality import _wilson

    np.testing.assert_allclose(_wilson(0.7, 10), (0.3968, 0.8922), atol=1e-4)
    np.testing.assert_allclose(_wilson(np.array([0.0, 1.0]), 5)[0], (0, 0.5655), atol=1e-4)


# --- digits ----------------------------------------------------------------------------------------------------------


def pictures(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for image in figure.axes[0].images]


def captions(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts[1:]]


@pytest.mark.parametrize("count", [1, 7, 25, 1000])
def test_samples_stand_below_their_labels(count):
    data = images(answers(60))
    figure = plots.sample_digits(data, count, seed=5)
    assert len(pictures(figure)) == len(captions(figure)) == min(count, 60)
    for picture, caption in zip(pictures(figure), captions(figure), strict=True):
        row = next(i for i in range(60) if np.array_equal(data.features[i], picture))
        assert caption == str(data.labels[row])
    again = plots.sample_digits(data, count, seed=5)
    assert captions(again) == captions(figure)


@pytest.mark.parametrize("dark", [False, True])
def test_wrong_digits_are_worst_first_and_in_red(dark):
    data = images(ANSWERS)
    with plots.style(dark=dark):
        figure = plots.wrong_digits(ANSWERS, data, 12)
    assert len(captions(figure)) == 12
    certainties = []
    for row, picture, text in zip(ANSWERS.wrong, pictures(figure), figure.axes[0].texts[1:], strict=False):
        p, t = ANSWERS.probabilities[row].argmax(), ANSWERS.labels[row]
        assert text.get_text() == f"predicted {p} ({100 * ANSWERS.probabilities[row, p]:.0f} %)\ntrue {t}"
        np.testing.assert_array_equal(picture, data.features[row])
        red, green, blue = to_rgb(text.get_color())
        assert red > 1.5 * max(green, blue)
        certainties.append(ANSWERS.probabilities[row, p])
    assert certainties == sorted(certainties, reverse=True)
    assert "30 of 400 rows are wrong; the worst 12" in words(figure)


def test_a_certainty_is_not_rounded_up_to_100():
    p = np.array([[0.999, 0.001], [1.0, 0.0], [0.98, 0.02], [NAN, NAN]])
    evaluation = Answers(np.array([1, 1, 1, 1]), p)
    said = captions(plots.wrong_digits(evaluation, images(evaluation)))
    assert said == [f"predicted 0 ({share})\ntrue 1" for share in ("100 %", ">99 %", "98 %", "no number")]


@pytest.mark.parametrize("errors", [0, 1, 3])
def test_few_wrong_digits_or_none(errors):
    evaluation = answers(80, errors=errors)
    figure = plots.wrong_digits(evaluation, images(evaluation))
    assert len(pictures(figure)) == errors
    assert ("none of 80 rows is wrong" in words(figure)) == (errors == 0)


def test_captions_stay_in_their_cells():
    evaluation = answers(300, classes=120, errors=40)
    figure = plots.wrong_digits(evaluation, images(evaluation))
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts[1:]]
    assert all(right.x0 >= left.x1 - 1 for left, right in pairwise(boxes) if left.y0 == right.y0)


@pytest.mark.parametrize("call", ["sample_digits", "wrong_digits", "save_wrong_digits"])
def test_features_that_are_no_images_are_refused(call, tmp_path):
    table = images(ANSWERS, (30,))
    arguments = {"sample_digits": (table,), "wrong_digits": (ANSWERS, table)}.get(call, (ANSWERS, table, tmp_path))
    with pytest.raises(ValueError, match=rf"^{call}: data has rows of shape \(30,\); they must be images"):
        getattr(plots, call)(*arguments)


def test_other_data_than_were_evaluated_are_refused():
    data = images(ANSWERS)
    for other in (data[:50], Dataset(data.features, (data.labels + 1) % 10, 10)):
        with pytest.raises(ValueError, match=r"^wrong_digits: .*must be what was evaluated"):
            plots.wrong_digits(ANSWERS, other)


@pytest.mark.parametrize(
    ("call", "arguments", "name"),
    [
        ("loss_curve", (None,), "history"),
        ("accuracy_curve", ([0.1, 0.2],), "history"),
        ("curves", (ANSWERS,), "history"),
        ("sample_digits", (np.zeros((3, 28, 28)),), "data"),
        ("wrong_digits", (MODEL, images(ANSWERS)), "evaluation"),
        ("wrong_digits", (ANSWERS, None), "data"),
        ("save_wrong_digits", (ANSWERS, 3, "x"), "data"),
        ("first_layer", ("model.safetensors",), "model"),
        ("activations", (None,), "watch"),
        ("gradients", (None,), "watch"),
        ("update_ratio", (None,), "watch"),
        ("reliability", (0.9,), "evaluation"),
        ("lr_find", (0.1,), "found"),
    ],
)
def test_a_thing_of_another_kind_is_refused_by_its_name(call, arguments, name):
    with pytest.raises(TypeError, match=rf"^{call}: {name} is \w+; it must be "):
        getattr(plots, call)(*arguments)


@pytest.mark.parametrize("count", [0, -1, 2.5, True])
def test_a_count_out_of_range_is_refused(count):
    for draw in (
        lambda: plots.sample_digits(images(ANSWERS), count),
        lambda: plots.wrong_digits(ANSWERS, images(ANSWERS), count),
        lambda: plots.first_layer(MODEL, count=count),
    ):
        with pytest.raises(ValueError, match="count is"):
            draw()


@pytest.mark.parametrize(("shape", "dtype"), [((6, 5), np.uint8), ((28, 28), np.uint8), ((300, 240), np.float32)])
def test_each_wrong_digit_is_a_file_with_its_pixels(tmp_path, shape, dtype):
    evaluation = answers(40, errors=5)
    data = images(evaluation, shape, dtype)
    assert plots.save_wrong_digits(evaluation, data, tmp_path / "a" / "wrong") == 5
    files = sorted(path.name for path in (tmp_path / "a" / "wrong").iterdir())
    expected = {
        f"{row}_true{evaluation.labels[row]}_predicted{evaluation.predicted[row]}.png": row for row in evaluation.wrong
    }
    assert files == sorted(expected)
    for name, row in expected.items():
        grey = imread(tmp_path / "a" / "wrong" / name)[..., 0]
        times = grey.shape[0] // shape[0]
        assert grey.shape == (shape[0] * times, shape[1] * times)
        assert max(grey.shape) >= 224
        picture = data.features[row].astype(np.float64)
        low, high = (0, 255) if dtype == np.uint8 else (data.features.min(), data.features.max())
        expected_grey = (picture - low) / (high - low)
        np.testing.assert_allclose(grey[::times, ::times], expected_grey, atol=1 / 255)  # a PNG has 256 greys
        np.testing.assert_array_equal(grey, np.kron(grey[::times, ::times], np.ones((times, times))))


def test_nothing_wrong_writes_no_file(tmp_path):
    evaluation = answers(40, errors=0)
    assert plots.save_wrong_digits(evaluation, images(evaluation), tmp_path) == 0
    assert list(tmp_path.iterdir()) == []


# --- weights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("features", "shape"), [(784, None), (784, (28, 28)), (12, (3, 4)), (12, (4, 3)), (7, (1, 7))])
def test_each_unit_is_its_weights_in_the_order_of_pixels(features, shape):
    model = nn.MLP(features, (5,), 3)
    figure = plots.first_layer(model, shape)
    image = figure.axes[0].images[0]
    sheet, (height, width) = np.ma.filled(image.get_array(), NAN), shape or (28, 28)
    columns = (sheet.shape[1] + 1) // (width + 1)
    for unit in range(5):
        top, left = unit // columns * (height + 1), unit % columns * (width + 1)
        picture = sheet[top : top + height, left : left + width]
        np.testing.assert_array_equal(picture.reshape(-1), model[0].weight.data[unit])
    assert image.norm.vmin == -image.norm.vmax < 0
    assert "weights of 5 units" in words(figure)


def test_the_map_is_symmetrical_about_zero():
    """0 is the background, the ends are as far from it as each other, blue below and orange above."""
    for dark in (False, True):
        with plots.style(dark=dark):
            shades = plots.first_layer(MODEL).axes[0].images[0].get_cmap()
        background = (DARK if dark else LIGHT).background
        np.testing.assert_allclose(shades(0.5)[:3], to_rgb(background), atol=0.03)
        low, high = contrast(shades(0.0), background), contrast(shades(1.0), background)
        assert low / high == pytest.approx(1, abs=0.1)
        assert shades(0.0)[2] > shades(0.0)[0]
        assert shades(1.0)[0] > shades(1.0)[2]


def test_one_large_weight_does_not_pale_the_others_and_nan_is_no_end():
    model = nn.MLP(784, (12,), 10)
    model[0].weight.data[0, 0], model[0].weight.data[0, 1] = 1000, NAN
    assert plots.first_layer(model).axes[0].images[0].norm.vmax < 0.04
    model[0].weight.data[:] = 0
    assert plots.first_layer(model).axes[0].images[0].norm.vmax == 1


def test_count_takes_the_first_units():
    figure = plots.first_layer(nn.MLP(4, (9,), 2), count=2)
    assert "weights of 2 of 9 units" in words(figure)


@pytest.mark.parametrize(
    ("model", "shape", "words"),
    [
        (nn.MLP(20, (3,), 2), None, r"in_features is 20, no square; pass shape=\(height, width\)"),
        (nn.MLP(20, (3,), 2), (3, 6), r"shape is \(3, 6\); it must be \(height, width\) of 20 features"),
        (nn.MLP(20, (3,), 2), (20,), r"shape is \(20,\)"),
        (nn.Sequential(nn.ReLU()), None, "Sequential has no Linear layer"),
    ],
)
def test_weights_that_are_no_images_are_refused(model, shape, words):
    with pytest.raises(ValueError, match=f"^first_layer: {words}"):
        plots.first_layer(model, shape)


# --- inside ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["activations", "gradients"])
def test_a_heat_map_is_the_watchs_histogram(name):
    figure = getattr(plots, name)(watched())
    assert len(figure.axes) == 3
    for ax, layer in zip(figure.axes, watched().layers, strict=True):
        histogram = getattr(layer, name)
        (mesh,) = ax.collections
        shares = histogram.counts / histogram.counts.max(axis=1, keepdims=True)
        np.testing.assert_allclose(np.asarray(mesh.get_array()).reshape(shares.T.shape), shares.T)
        low, high = ax.get_ylim()
        edges = histogram.edges
        shown = histogram.counts[:, (edges[1:] <= high + 1e-9) & (edges[:-1] >= low - 1e-9)].sum()
        assert shown >= 0.97 * histogram.counts.sum()
        assert ax.get_title("left").startswith(f"{layer.title}: {100 * histogram.zeros[-1]:.0f} % zeros") or (
            histogram.zeros[-1] < 0.01
        )
    if name == "gradients":
        assert len({ax.get_ylim() for ax in figure.axes}) == 1


def test_the_line_is_the_median():
    values = [np.random.default_rng(i).normal(3 * i, 1, 4001) for i in range(3)]
    histogram = fm.training.watch.Histogram(log=False)
    for column in values:
        histogram.add(column)
    watch = fm.Watch(images(ANSWERS, (30,)))
    watch._epochs = [0, 1, 2]
    watch._layers = [fm.training.watch.WatchedLayer("0", "a", histogram, dead=[0, 0, 0])]
    drawn = plots.activations(watch).axes[0].lines[-1].get_ydata()
    width = np.diff(histogram.edges)[0]
    np.testing.assert_allclose(drawn, [np.median(column) for column in values], atol=width)


def test_ratios_are_on_a_logarithmic_axis_with_the_rule_named():
    figure = plots.update_ratio(watched())
    ax = figure.axes[0]
    assert ax.get_yscale() == "log"
    for layer in watched().layers:
        line = next(line for line in ax.lines if line.get_label() == layer.title)
        np.testing.assert_array_equal(line.get_xdata(), [0, 1, 2, 3])
        np.testing.assert_array_equal(line.get_ydata(), layer.ratios)
    rule = next(line for line in ax.lines if "1e-3" in line.get_label())
    assert list(rule.get_ydata()) == [1e-3, 1e-3]
    assert "rule of thumb" in words(figure)
    low, high = ax.get_ylim()
    assert all(low < ratio < high for layer in watched().layers for ratio in (*layer.ratios, 1e-3))


def test_one_look_a_diverged_net_and_no_optimizer():
    watch, model = fm.Watch(images(ANSWERS, (30,))), nn.MLP(30, (8,), 10)
    watch.start(model)
    assert "no optimizer is known" in words(plots.update_ratio(watch))
    model[0].weight.data[:] = NAN
    watch.start(model, fm.optim.Adam(model.parameters()))
    for draw in (plots.activations, plots.gradients, plots.update_ratio):
        draw(watch).draw_without_rendering()


@pytest.mark.parametrize("draw", [plots.activations, plots.gradients, plots.update_ratio])
def test_a_watch_that_saw_nothing_is_refused(draw):
    with pytest.raises(ValueError, match=r"^\w+: the watch has seen no epoch; it must be given to fit"):
        draw(fm.Watch(images(ANSWERS, (30,))))
