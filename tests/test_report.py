"""`write_report` as a file: what is in it for runs of each kind, what it escapes, and what it refuses.

`test_report_page.py` opens it in a browser.
"""

import base64
import fnmatch
import json
import math
import re
import tomllib
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from report_stand_ins import MadeDiagnosis, MadeEvaluation, figure, softmax

import fastmlp as fm
from fastmlp.show import report
from fastmlp.show.report import embed, network, numbers, write_report

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "fastmlp" / "show" / "report"
VOID = {"meta", "link", "img", "input", "br", "hr"}


def history(epochs: int = 3, validation: bool = True, diverged: bool = False) -> fm.History:
    made = []
    for n in range(1, epochs + 1):
        held = (0.5 / n + 0.1, 0.9) if validation else (math.nan, math.nan)
        loss = math.nan if diverged and n == epochs else 0.5 / n
        made.append(fm.Epoch(n, loss, 0.9 + n / 100, *held, seconds=0.5, samples_per_second=2000.0))
    return fm.History(made)


def images(rows: int = 40, shape: tuple[int, ...] = (8, 8), classes: int = 10, dtype=np.uint8) -> fm.Dataset:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (rows, *shape))
    return fm.Dataset(x.astype(dtype), rng.integers(0, classes, rows), classes=classes)


def evaluation(data: fm.Dataset, wrong: int) -> MadeEvaluation:
    """Of which exactly the first `wrong` rows are wrong, with rising confidence."""
    logits = np.full((len(data), data.classes), 0.0)
    shift = np.arange(len(data)) < wrong
    logits[np.arange(len(data)), (data.labels + shift) % data.classes] = 3 + np.arange(len(data)) / len(data)
    return MadeEvaluation(data.labels, softmax(logits))


class Page(HTMLParser):
    """The elements of a page; fails where tags do not close in order."""

    def __init__(self, path: Path):
        super().__init__()
        self.stack, self.elements, self.words, self.scripts = [], [], [], []
        self.text = path.read_text("utf-8")
        self.feed(self.text)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag, f"</{tag}> in {self.getpos()}"

    def handle_data(self, data):
        (self.scripts if self.stack[-1:] == ["script"] else self.words).append(data)

    @property
    def seen(self) -> str:
        """What a reader reads, the style apart."""
        return re.sub(r"\s+", " ", "".join(self.words))

    @property
    def run(self) -> dict:
        return json.loads(self.scripts[0], parse_constant=pytest.fail)

    def all(self, tag: str) -> list[dict]:
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture
def write(tmp_path):
    """Write a report, with what is not given made up; returns it as a Page that was checked."""

    def make(**given) -> Page:
        data = given.pop("data", images())
        values = {
            "model": given.pop("model", None) or fm.nn.MLP(data.n_features, (6,), data.classes),
            "history": history(),
            "evaluation": evaluation(data, 5) if data is not None else None,
            "config": {"optimizer": "adam", "lr": 0.001},
            "diagnosis": MadeDiagnosis(),
        } | given
        path = write_report(tmp_path / "report.html", data=data, **values)
        assert path == tmp_path / "report.html"
        assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
        page = Page(path)
        ids = Counter(attrs["id"] for _, attrs in page.elements if "id" in attrs)
        assert set(ids.values()) == {1}
        for attrs in page.all("a"):
            assert attrs["href"][0] == "#"
            assert attrs["href"][1:] in ids
        for _, attrs in page.elements:
            for name in ("src", "href"):
                assert attrs.get(name, "#").startswith(("#", "data:"))
        assert "nan" not in page.seen.lower().split()
        assert "None" not in page.seen.split()
        return page

    return make


def test_the_run_is_told(write):
    page = write(config={"optimizer": "sgd", "lr": 0.1, "data": "some/where/digits", "hidden": [6]})
    for words in (
        "64-6-10 on digits", "sgd, lr 0.1", "3 epochs", "1,000 training rows", "40 test rows", "The run overfits from",
        "Stop at epoch 4", "87.50 %", "35 of 40 rows right", "1.23 %", "1.5 s", "2,000", "Wrong digits", "[6]",
    ):  # fmt: skip
        assert words in page.seen, words
    assert page.run["wrong"]["total"] == 5


def test_the_weights_in_the_page_are_those_of_the_model(write):
    model = fm.nn.MLP(64, (7, 5), 10, "tanh", dropout=0.5, batch_norm=True)
    for array in model.state_dict().values():
        array[...] = np.random.default_rng(1).normal(size=array.shape)
    net = write(model=model).run["net"]
    flat = np.frombuffer(base64.b64decode(net["numbers"]), "<f4")
    state = model.state_dict()
    found = 0
    for place, layer in enumerate(net["layers"]):
        for name, entry in layer.items():
            if isinstance(entry, list):
                start, count = entry
                assert flat[start : start + count].tobytes() == state[f"{place}.{name}"].tobytes()
                found += count
    assert found == flat.size == sum(a.size for n, a in state.items() if not n.endswith("tracked"))


def test_the_default_network_fits_in_five_megabytes(write):
    data = images(2000, (28, 28))
    png = figure(history())
    figures = {name: (name, png, png) for name in report.plates.CAPTIONS}
    model = fm.nn.MLP(784, (128, 64), 10)
    page = write(model=model, data=data, evaluation=evaluation(data, 2000), figures=figures)
    assert len(page.text.encode()) < 5e6
    assert "2,000 of 2,000 digits" in page.seen
    assert "holds the 600 with the most confident" in page.seen
    wrong = page.run["wrong"]
    assert wrong["total"] == 2000
    assert len(wrong["index"]) == len(wrong["true_probability"]) == report.MOST_WRONG == 600
    assert wrong["index"][0] == 1999
    assert wrong["probability"] == sorted(wrong["probability"], reverse=True)
    pixels = np.frombuffer(base64.b64decode(wrong["pixels"]), np.uint8).reshape(600, 784)
    np.testing.assert_array_equal(pixels, data.rows[wrong["index"]])


def test_figures_have_both_variants_and_say_what_they_show(write):
    png, dark = figure(history()), figure(history(), dark=True)
    page = write(figures={"loss_curve": ("Loss & more", png, dark), "own": ("Mine", png, dark)})
    pictures = page.all("img")
    assert [p["class"] for p in pictures] == ["on-light", "on-dark"] * 2
    assert [base64.b64decode(p["src"].partition(",")[2]) for p in pictures] == [png, dark] * 2
    assert pictures[0]["alt"].startswith("Loss & more. Training loss from 0.5000 to 0.1667, validation loss at best")
    assert {p["width"] + "x" + p["height"] for p in pictures} == {"800x544"}
    assert "it learns its rows by heart" in page.seen
    assert "were not recorded" in page.seen
    assert "were not recorded" not in write(figures={"own": ("Mine", png, dark)}, watch=object()).seen


EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>${title}"


def test_nothing_given_becomes_markup(write):
    data = images()
    data.name = EVIL
    png = figure(history())
    page = write(
        data=data,
        config={EVIL: EVIL, "optimizer": EVIL, "list": [EVIL], "lr": EVIL},
        diagnosis=MadeDiagnosis(EVIL, EVIL, EVIL, None),
        figures={"curves": (EVIL, png, png)},
    )
    assert len(page.all("script")) == 2
    assert len(page.all("img")) == 2
    assert page.seen.count(EVIL) == 13  # title and heading, summary 2, diagnosis 3, figure, configuration 5
    assert not any("onerror" in attrs for _, attrs in page.elements)


def test_json_in_the_page_ends_no_script():
    text = embed.json_text({"a": "</script><!--", "b": math.nan, "c": [math.inf, 0.5]})
    assert "<" not in text
    assert json.loads(text) == {"a": "</script><!--", "b": None, "c": [None, 0.5]}


def test_without_validation(write):
    page = write(history=history(validation=False), diagnosis=MadeDiagnosis("unknown", "Nothing held out.", "", None))
    assert "No rows were held out" in page.seen
    assert "Validation accuracy" not in page.seen
    assert "What to try" not in page.seen


def test_without_a_test_set(write):
    page = write(evaluation=None)
    assert "There was no test set" in page.seen
    assert page.run["wrong"] is None
    assert page.run["net"] is not None
    assert {"classes", "wrong"}.isdisjoint(a.get("id") for _, a in page.elements)


def test_without_data_and_diagnosis(write):
    page = write(data=None, model=fm.nn.MLP(64, (), 3), diagnosis=None)
    assert "There is no canvas to draw on: a row of the data is not an image." in page.seen


def test_without_an_epoch(write):
    assert "No epoch was finished." in write(history=fm.History()).seen


def test_nothing_wrong(write):
    page = write(evaluation=evaluation(images(), 0))
    assert "None: all 40 digits are predicted right." in page.seen


def test_a_diverged_run(write):
    data = images()
    model = fm.nn.MLP(64, (6,), 10)
    for parameter in model.parameters():
        parameter.data[...] = np.nan
    lost = MadeEvaluation(data.labels, np.full((40, 10), np.nan))
    page = write(model=model, data=data, evaluation=lost, history=history(diverged=True))
    assert set(page.run["wrong"]["probability"]) == {None}
    assert np.isnan(np.frombuffer(base64.b64decode(page.run["net"]["numbers"]), "<f4")).all()
    assert numbers.NONE in page.seen


@pytest.mark.parametrize(
    ("shape", "dtype", "why"),
    [
        ((64,), np.float32, "a row of the data is not an image"),
        ((8, 9), np.uint8, "an image is 8 × 9 pixels"),
        ((4, 4), np.uint8, "an image is 4 × 4 pixels"),
        ((8, 8, 3), np.uint8, "a row of the data is not an image"),
    ],
)
def test_rows_that_cannot_be_drawn_have_no_canvas(write, shape, dtype, why):
    page = write(data=images(shape=shape, dtype=dtype))
    assert f"There is no canvas to draw on: {why}" in page.seen
    assert not page.all("canvas")
    assert page.run["wrong"]["index"]
    assert bool(page.run["wrong"]["pixels"]) == (len(shape) == 2)


def test_an_axis_of_length_one_is_still_an_image(write):
    assert write(data=images(shape=(1, 8, 8))).run["shape"] == [8, 8]


class Doubled(fm.nn.Sequential):
    """A reader's own module."""

    def forward(self, x):
        return super().forward(x * 2)


def test_a_module_of_the_readers_own_has_no_canvas_but_a_place_in_the_graph(write):
    page = write(model=Doubled(fm.nn.Linear(64, 10)))
    assert "Doubled computes in a way of its own" in page.seen
    assert "an equation of its own" in page.seen
    assert "650 parameters in all" in page.seen


def test_a_network_too_large_is_not_embedded(write, monkeypatch):
    monkeypatch.setattr(embed, "MOST_PARAMETERS", 100)
    page = write()
    assert "the network has 460 numbers, and a page holds at most 100" in page.seen
    assert page.run["net"] is None


def test_floats_are_drawn_between_their_least_and_largest_value(write):
    data = images()
    floats = fm.Dataset(data.features / 255.0 * 3 - 1, data.labels, classes=10)
    low, high = float(floats.features.min()), float(floats.features.max())
    page = write(data=floats, evaluation=evaluation(floats, 40))
    assert (page.run["black"], page.run["white"], page.run["scale"]) == (low, high, 1.0)
    pixels = np.frombuffer(base64.b64decode(page.run["wrong"]["pixels"]), np.uint8)
    worst = floats.rows[page.run["wrong"]["index"]].reshape(-1)
    np.testing.assert_allclose(pixels / 255, (worst - low) / (high - low), atol=0.5 / 255 + 1e-9)  # rounding to bytes


def test_bytes_of_0_and_1_are_drawn_as_black_and_white(write):
    data = images()
    flags = fm.Dataset((data.features > 100).astype(np.uint8), data.labels, classes=10, scale=1)
    page = write(data=flags, evaluation=evaluation(flags, 40))
    assert (page.run["black"], page.run["white"], page.run["scale"], page.run["whole"]) == (0.0, 1.0, 1.0, True)
    pixels = np.frombuffer(base64.b64decode(page.run["wrong"]["pixels"]), np.uint8)
    np.testing.assert_array_equal(pixels, 255 * flags.rows[page.run["wrong"]["index"]].reshape(-1))
    assert "uint8 × " not in page.seen
    tenth = fm.Dataset(data.features, data.labels, classes=10, scale=0.1)
    assert "uint8 × 0.1" in write(data=tenth, evaluation=evaluation(tenth, 40)).seen


def test_the_graph_names_each_layer_and_counts_its_parameters():
    model = fm.nn.MLP(20, (8, 8), 3, "sigmoid", dropout=0.25, batch_norm=True)
    rows = network.rows(model)
    assert [row.kind for row in rows] == [type(layer).__name__ for layer in model]
    assert sum(row.parameters for row in rows) == sum(p.data.size for p in model.parameters())
    assert [(row.inputs, row.outputs) for row in rows if row.kind == "Linear"] == [(20, 8), (8, 8), (8, 3)]
    html = network.section(rows, None)
    for words in ("y = x wᵀ + b", "y = 1 / (1 + e⁻ˣ)", "√(σ² + ε)", "p = 0.25", "w (8, 20), b (8,); 168 parameters"):
        assert words in html, words
    no_bias = network.rows(fm.nn.Sequential(fm.nn.Linear(4, 2, bias=False)))
    assert (no_bias[0].equation, no_bias[0].parameters) == ("y = x wᵀ", 8)


def test_a_folder_gets_report_html_and_an_old_report_is_replaced(tmp_path):
    arguments = (fm.nn.MLP(64, (), 10), history(), None, images(), {}, None)
    assert write_report(tmp_path, *arguments) == tmp_path / "report.html"
    (tmp_path / "report.html").write_text("old")
    write_report(str(tmp_path / "report.html"), *arguments)
    assert (tmp_path / "report.html").read_text("utf-8").startswith("<!doctype html>")


def test_what_is_refused(tmp_path):
    model, data = fm.nn.MLP(64, (), 10), images()
    with pytest.raises(TypeError, match=r"write_report: model is str; it must be a fastmlp.nn.Module"):
        write_report(tmp_path, "model", history(), None, data, {}, None)
    right = (history(), None, data, {}, None)
    for at, name in enumerate(("history", "evaluation", "data", "config", "diagnosis")):
        with pytest.raises(TypeError, match=rf"^write_report: {name} is int; it must be "):
            write_report(tmp_path, model, *right[:at], 3, *right[at + 1 :])
    with pytest.raises(
        TypeError, match=r"^write_report: history is NoneType; it must be the History that fit returned"
    ):
        write_report(tmp_path, model, None, *right[1:])
    with pytest.raises(ValueError, match=r"evaluation has 40 rows, data has 30; it must be of this data"):
        write_report(tmp_path, model, history(), evaluation(data, 1), data[:30], {}, None)
    with pytest.raises(ValueError, match=r"figure 'x' holds bytes that are no PNG"):
        write_report(tmp_path, model, history(), None, data, {}, None, figures={"x": ("X", b"GIF89a", b"")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (99.9, "99.9 s"), (99.96, "1 min 40 s"), (3725, "1 h 02 min"), (math.nan, "–")],
)
def test_durations(seconds, words):
    assert numbers.duration(seconds) == words


# --- the files beside the code ---------------------------------------------------------------------------------------


def test_an_installed_package_carries_the_files_of_the_page():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]
    beside = [p.name for p in FOLDER.iterdir() if p.is_file() and p.suffix != ".py"]
    assert {"template.html", "style.css", *report.SCRIPTS} == set(beside)
    for name in beside:
        assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns["fastmlp.show.report"]), name


def test_no_script_or_style_can_end_its_element():
    for path in FOLDER.iterdir():
        if path.suffix in (".js", ".css"):
            assert not re.search(r"</|<!--", path.read_text("utf-8").replace("</span>", "").replace("</b>", "")
                                 .replace("</small>", "")), path.name  # fmt: skip


def contrast(one: str, other: str) -> float:
    """Ratio of the luminances of two colours, "#rrggbb" (WCAG 2.2)."""

    def luminance(colour: str) -> float:
        parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)  # the best known grey that just passes


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(theme):
    """4.5 for words, 3 for the outlines of controls: level AA."""
    style = (FOLDER / "style.css").read_text("utf-8")
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", style)
    colour = {name: light if theme == "light" else dark for name, light, dark in pairs}
    assert len(colour) >= 12
    for behind in ("page", "card"):
        for word in ("text", "quiet", "accent", "bad"):
            assert contrast(colour[word], colour[behind]) >= 4.5, (word, behind)
        assert contrast(colour["field"], colour[behind]) >= 3
    for word, behind in [("on-accent", "accent"), ("accent", "soft"), ("text", "mark"), ("accent", "mark")]:
        assert contrast(colour[word], colour[behind]) >= 4.5, (word, behind)
