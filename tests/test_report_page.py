"""The report in a browser: real mouse, finger and keyboard events in headless Chromium, and the network's answers.

Nothing is installed or downloaded: the browser and its driver are those of the machine.
"""

import json
import math
import os
import shutil
import time

import numpy as np
import pytest
from report_stand_ins import MadeDiagnosis, evaluated, figure, probabilities

import fastmlp as fm
from fastmlp.show.report import write_report

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install 'fastmlp[test]'")
if not (BROWSER and DRIVER):
    gone = " and ".join(name for name, path in (("chromium", BROWSER), ("chromedriver", DRIVER)) if not path)
    said = f"no {gone} here; the page of the report is tested in Chromium by its driver"
    pytest.skip(f"{said} (Debian: chromium, chromium-driver)", allow_module_level=True)

from selenium.webdriver import ActionChains, Keys  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.actions.action_builder import ActionBuilder  # noqa: E402
from selenium.webdriver.common.actions.pointer_input import PointerInput  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import Select  # noqa: E402

SAME = 1e-5  # float32 sums in another order than Python's


class Reader:
    """A person at the browser."""

    def __init__(self, driver):
        self.driver, self.js = driver, driver.execute_script

    def open(self, path, dark=False, width=1200) -> None:
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.complaints(), self.requests()
        self.driver.get(path.as_uri())

    def complaints(self) -> list:
        """What the page wrote to the console since it was asked last."""
        return self.driver.get_log("browser")

    def requests(self) -> list[str]:
        """The addresses that the page asked for."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def find(self, name: str):
        return self.driver.find_element(By.ID, name)

    def all(self, selector: str) -> list:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def to(self, name: str):
        """The element, in the middle of the window."""
        element = self.find(name)
        self.js("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        return element

    def stroke(self, *points, kind: str = "mouse") -> None:
        """Draw a line on the canvas; points in fractions of its side, from the top left corner."""
        pad = self.to("pad")
        half = pad.size["width"] / 2
        builder = ActionBuilder(self.driver, mouse=PointerInput(kind, kind), duration=8)
        pointer = builder.pointer_action
        for number, (x, y) in enumerate(points):
            pointer.move_to(pad, round((2 * x - 1) * half), round((2 * y - 1) * half))
            if not number:
                pointer.pointer_down()
        pointer.pointer_up()
        builder.perform()
        self.settle()

    def settle(self) -> None:
        """Wait until the page has drawn."""
        self.driver.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => setTimeout(done))")

    def clear(self) -> None:
        self.to("clear").click()
        self.settle()

    def bars(self) -> dict[int, str]:
        """class -> the percentage beside its bar."""
        lines = self.js("return [...document.querySelectorAll('#bars li')].map(e => [e.dataset.class, e.innerText])")
        return {int(name): text.split("\n")[-1] for name, text in lines}

    def answer(self) -> int:
        """The class with the longest bar, as it is seen on the page; nothing drawn is an error."""
        time.sleep(0.1)  # a bar takes 80 ms to its new length
        widths = self.js(
            "return [...document.querySelectorAll('#bars .track span')].map(e => e.getBoundingClientRect().width)"
        )
        assert max(widths) > 0
        return int(np.argmax(widths))


@pytest.fixture(scope="module")
def reader():
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SE_OFFLINE", "true")
        driver = webdriver.Chrome(options=options, service=Service(DRIVER, env=dict(os.environ)))
    driver.set_script_timeout(20)
    yield Reader(driver)
    driver.quit()


@pytest.fixture(scope="module")
def trained():
    """A small network that has seen the digits twice, how it came about, and 2,000 digits it has not seen."""
    train, test = fm.data.mnist()
    fm.manual_seed(0)
    model = fm.nn.MLP(784, (64,), 10)
    history = fm.fit(model, train, epochs=2, batch_size=128, seed=0, progress=False)
    test = test[:2000]
    return model, history, test, evaluated(model, test)


@pytest.fixture(scope="module")
def page(trained, tmp_path_factory):
    model, history, test, evaluation = trained
    light, dark = figure(history), figure(history, dark=True)
    figures = {"loss_curve": ("Loss", light, dark), "confusion_matrix": ("Confusion", light, dark)}
    path = tmp_path_factory.mktemp("report") / "report.html"
    return write_report(path, model, history, evaluation, test, {"lr": 0.001}, MadeDiagnosis(), figures=figures)


@pytest.fixture
def opened(reader, page):
    """The page, open; afterwards it must not have complained, and must have asked for nothing but itself."""
    reader.open(page)
    yield reader
    assert reader.complaints() == []
    assert {url for url in reader.requests() if not url.startswith("data:")} <= {page.as_uri()}


def circle(turns: float = 1.0) -> list[tuple[float, float]]:
    angles = np.linspace(0, 2 * math.pi * turns, 25)
    return [(0.5 + 0.2 * math.sin(a), 0.5 - 0.3 * math.cos(a)) for a in angles]


DIGITS = {
    0: [circle()],
    1: [[(0.5, 0.2), (0.5, 0.8)]],
    3: [[(0.35, 0.25), (0.5, 0.2), (0.63, 0.3), (0.6, 0.42), (0.48, 0.5),
         (0.62, 0.58), (0.65, 0.7), (0.5, 0.8), (0.33, 0.74)]],
    4: [[(0.4, 0.2), (0.33, 0.52), (0.65, 0.52)], [(0.62, 0.2), (0.6, 0.8)]],
    7: [[(0.3, 0.22), (0.68, 0.22), (0.45, 0.8)]],
}  # fmt: skip


def test_every_picture_is_there(opened):
    sizes = opened.js("return [...document.images].map(i => [i.naturalWidth, i.getBoundingClientRect().width > 0])")
    assert [width for width, _ in sizes] == [800] * 4
    assert [seen for _, seen in sizes] == [True, False] * 2


def test_complaints_and_requests_are_noticed(reader, page, tmp_path):
    """The checks of `opened` see what they look for."""
    planted = tmp_path / "planted.html"
    planted.write_text("<script>console.warn('x'); fetch('http://localhost:9/').catch(() => 0)</script>")
    reader.open(planted)
    time.sleep(0.1)
    assert any("x" in entry["message"] for entry in reader.complaints())
    assert "http://localhost:9/" in reader.requests()


@pytest.mark.parametrize("digit", DIGITS)
def test_a_digit_drawn_with_the_mouse_is_read(opened, digit):
    assert opened.find("says").text == "Draw something."
    for line in DIGITS[digit]:
        opened.stroke(*line)
    assert opened.answer() == digit
    assert f"It is a {digit}," in opened.find("says").text
    opened.clear()
    assert set(opened.bars().values()) == {"–"}


def test_a_digit_drawn_with_a_finger_or_a_pen_is_read(opened):
    before = opened.js("return scrollY")
    for kind, digit in (("touch", 1), ("pen", 7)):
        for line in DIGITS[digit]:
            opened.stroke(*line, kind=kind)
        assert opened.answer() == digit
        assert opened.js("return getComputedStyle(document.getElementById('pad')).touchAction") == "none"
        opened.clear()
    assert opened.js("return scrollY") != before  # the page is where `stroke` put it, not at its top


def test_a_digit_drawn_with_the_keyboard_is_read(opened):
    pad = opened.to("pad")
    pad.send_keys(Keys.ARROW_UP * 8, Keys.SPACE)
    assert opened.find("pad-state").text == "The pen is down."
    pad.send_keys(Keys.ARROW_DOWN * 16, Keys.ENTER)
    assert opened.find("pad-state").text == "The pen is up."
    opened.settle()
    assert opened.answer() == 1
    assert opened.driver.switch_to.active_element.get_attribute("id") == "pad"
    assert opened.js("return getComputedStyle(document.getElementById('pen')).display") == "block"
    pad.send_keys(Keys.DELETE)
    opened.settle()
    assert opened.find("says").text == "Draw something."


def test_the_keyboard_reaches_what_can_be_used(opened):
    """Tab goes through the page; the first stop leads past the navigation."""
    stops = []
    for _ in range(24):
        ActionChains(opened.driver).send_keys(Keys.TAB).perform()
        active = opened.driver.switch_to.active_element
        stops.append(active.get_attribute("id") or active.get_attribute("class") or active.tag_name)
    assert stops[0] == "skip"
    order = ["theme", "pad", "clear", "wrong-sort", "wrong-true", "wrong-predicted", "wrong-least"]
    assert [name for name in stops if name in order] == order


def test_the_same_probabilities_as_in_python(opened, trained):
    model, _, test, _ = trained
    rows = test.rows[np.random.default_rng(3).choice(len(test), 20, replace=False)]
    got = np.array(opened.js("return arguments[0].map(row => fastmlp.predict(row))", rows.tolist()))
    np.testing.assert_allclose(got, probabilities(model, rows), atol=SAME, rtol=0)
    moved = fm.nn.MLP(784, (64,), 10)
    moved.load_state_dict(model.state_dict())
    moved[0].weight.data[...] *= 1.001
    assert not np.allclose(got, probabilities(moved, rows), atol=SAME, rtol=0)  # a planted fault is seen


@pytest.mark.parametrize(
    ("activation", "hidden", "dropout", "batch_norm", "dtype"),
    [
        ("relu", (32, 16), 0.3, True, np.float32),
        ("tanh", (24,), 0.0, True, np.float32),
        ("sigmoid", (16, 16, 16), 0.1, False, np.float64),
        ("relu", (), 0.0, False, np.float32),
    ],
)
def test_every_layer_that_an_mlp_can_have(reader, trained, tmp_path, activation, hidden, dropout, batch_norm, dtype):
    train = trained[2]
    fm.manual_seed(1)
    model = fm.nn.MLP(784, hidden, 10, activation, dropout, batch_norm)
    fm.fit(model, train, epochs=1, batch_size=50, seed=0, progress=False)
    rows = train.rows[np.random.default_rng(4).choice(len(train), 20, replace=False)]
    want = probabilities(model, rows)
    model = model.double() if dtype == np.float64 else model  # the same numbers
    reader.open(write_report(tmp_path, model, fm.History(), None, train, {}, None))
    got = np.array(reader.js("return arguments[0].map(row => fastmlp.predict(row))", rows.tolist()))
    np.testing.assert_allclose(got, want, atol=SAME, rtol=0)
    outputs = reader.js("return fastmlp.forward(arguments[0]).map(l => [l.kind, l.output.length])", rows[0].tolist())
    assert outputs == [[type(layer).__name__, width] for layer, width in zip(model, widths(model), strict=True)]
    assert reader.complaints() == []


def widths(model):
    """The length of each layer's output."""
    width = 0
    for layer in model:
        width = getattr(layer, "out_features", width)
        yield width


def prepared(ink: np.ndarray) -> np.ndarray:
    """The preparation, with areas averaged over whole pixels of a repeated image; ink: (height, width) from 0 to 1."""
    ys, xs = np.nonzero(ink > 0.02)
    cut = ink[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    h, w = cut.shape
    size = max(1, int(w * 20 / max(w, h) + 0.5)), max(1, int(h * 20 / max(w, h) + 0.5))
    repeated = np.repeat(np.repeat(cut, size[1], axis=0), size[0], axis=1)
    small = repeated.reshape(size[1], h, size[0], w).mean(axis=(1, 3))
    y = int(14 - (small.sum(1) @ np.arange(size[1])) / small.sum() + 0.5)
    x = int(14 - (small.sum(0) @ np.arange(size[0])) / small.sum() + 0.5)
    y, x = min(max(y, 0), 28 - size[1]), min(max(x, 0), 28 - size[0])
    out = np.zeros((28, 28))
    out[y : y + size[1], x : x + size[0]] = small * 255
    return out


def test_a_drawing_is_prepared_as_in_numpy(opened):
    rng = np.random.default_rng(5)
    for height, width, fill in [(100, 100, (10, 70, 5, 45)), (90, 120, (3, 90, 60, 67)), (64, 64, (0, 64, 0, 64))]:
        ink = np.zeros((height, width))
        top, bottom, left, right = fill
        ink[top:bottom, left:right] = rng.uniform(0.1, 1, (bottom - top, right - left)) ** np.linspace(
            1, 4, right - left
        )
        call = "return Array.from(fastmlp.prepare(arguments[0], arguments[1]))"
        got = np.reshape(opened.js(call, ink.ravel().tolist(), width), (28, 28))
        want = prepared(ink)
        assert np.abs(got - want).max() <= 0.51  # rounded to bytes
        assert np.abs(np.roll(got, 1, axis=1) - want).max() > 50  # one pixel aside would be seen
    assert set(opened.js("return Array.from(fastmlp.prepare(new Float32Array(400)))")) == {0}


def test_digits_of_mnist_are_left_as_they_are(opened, trained):
    """They were prepared in this way. Of a digit whose outermost ink is faint, the box is another."""
    images = trained[2].features[:200] / 255
    ys = [np.ptp(np.nonzero((image > 0.02).any(axis))[0]) + 1 for image in images for axis in (0, 1)]
    whole = [image for image, longest in zip(images, np.reshape(ys, (-1, 2)).max(1), strict=True) if longest == 20][:40]
    got = opened.js("return arguments[0].map(i => Array.from(fastmlp.prepare(i)))", [i.ravel().tolist() for i in whole])
    same = [np.abs(np.reshape(g, (28, 28)) - 255 * image).max() <= 5 for g, image in zip(got, whole, strict=True)]
    assert len(same) == 40
    assert sum(same) >= 36  # centres that lie on half a pixel may be rounded to the other side


def shown(reader) -> list[dict]:
    return reader.js("return [...document.querySelectorAll('#wrong-list li')].map(e => ({...e.dataset}))")


def test_wrong_digits_are_sorted_and_filtered(opened, trained):
    evaluation = trained[3]
    wrong = evaluation.wrong
    true, predicted = evaluation.labels[wrong], evaluation.predicted[wrong]
    opened.to("wrong-controls")
    assert [int(card["index"]) for card in shown(opened)] == wrong[:48].tolist()
    opened.to("wrong-more").click()
    assert [int(card["index"]) for card in shown(opened)] == wrong[:96].tolist()
    Select(opened.find("wrong-sort")).select_by_value("true")
    assert [int(card["true"]) for card in shown(opened)] == sorted(true)[:48]
    Select(opened.find("wrong-sort")).select_by_value("index")
    assert [int(card["index"]) for card in shown(opened)] == sorted(wrong)[:48]
    Select(opened.find("wrong-sort")).select_by_value("true_probability")
    p = evaluation.probabilities[wrong, true]
    assert [int(card["index"]) for card in shown(opened)[:10]] == wrong[np.argsort(-p, kind="stable")][:10].tolist()
    pair = max(zip(true.tolist(), predicted.tolist(), strict=True), key=list(zip(true, predicted, strict=True)).count)
    Select(opened.find("wrong-true")).select_by_value(str(pair[0]))
    Select(opened.find("wrong-predicted")).select_by_value(str(pair[1]))
    chosen = wrong[(true == pair[0]) & (predicted == pair[1])]
    assert {int(card["index"]) for card in shown(opened)} == set(chosen.tolist())
    assert opened.find("wrong-count").text == f"{len(chosen)} of {len(wrong)} match."
    opened.to("wrong-controls").find_element(By.CSS_SELECTOR, "[type=reset]").click()
    opened.settle()
    opened.find("wrong-least").send_keys(Keys.ARROW_RIGHT * 18)  # by 5 %
    assert opened.find("wrong-least-text").text == "90 %"
    sure = (evaluation.probabilities[wrong, predicted].round(6) >= 0.9).sum()
    assert opened.find("wrong-count").text == f"{sure} of {len(wrong)} match."


def test_a_wrong_digit_is_drawn_and_can_be_chosen_with_the_keyboard(opened, trained):
    _, _, test, evaluation = trained
    first = opened.all("#wrong-list button")[0]
    opened.js("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'}); arguments[0].focus()", first)
    drawn = opened.js(
        "const c = arguments[0].querySelector('canvas');"
        "return Array.from(c.getContext('2d').getImageData(0, 0, 28, 28).data.filter((_, i) => i % 4 === 3))",
        first,
    )
    row = int(evaluation.wrong[0])
    np.testing.assert_array_equal(drawn, test.rows[row])
    first.send_keys(Keys.ARROW_RIGHT)
    second = opened.driver.switch_to.active_element
    row = int(evaluation.wrong[1])
    assert f"row {row}" in second.text.replace("\xa0", " ")
    second.send_keys(Keys.ENTER)
    opened.settle()
    assert opened.answer() == evaluation.predicted[row]
    assert f"Row {row}:" in opened.find("source").text
    top = evaluation.probabilities[row].max()
    assert abs(float(opened.bars()[evaluation.predicted[row]].removesuffix(" %")) - 100 * top) < 0.06  # one decimal


def background(reader) -> str:
    return reader.js("return getComputedStyle(document.body).backgroundColor")


def test_light_and_dark(opened, page):
    light = background(opened)
    button = opened.find("theme")
    assert button.text == "Dark"
    button.click()
    dark = background(opened)
    assert dark != light
    assert [i.is_displayed() for i in opened.all(".plots img")] == [False, True] * 2
    button.click()
    assert background(opened) == light
    opened.open(page, dark=True)
    assert background(opened) == dark
    assert opened.find("theme").text == "Light"
    assert [i.is_displayed() for i in opened.all(".plots img")] == [False, True] * 2


@pytest.mark.parametrize("width", [320, 390, 800])
def test_no_page_is_wider_than_the_window(opened, page, width):
    opened.open(page, width=width)
    assert opened.js("return document.documentElement.scrollWidth") <= width
    assert [svg.is_displayed() for svg in opened.all(".net svg")] == [width > 640, width <= 640]


def test_a_diverged_network_says_so(reader, trained, tmp_path):
    model = fm.nn.MLP(784, (4,), 10)
    model[0].weight.data[...] = np.nan
    reader.open(write_report(tmp_path, model, fm.History(), None, trained[2], {}, None))
    reader.stroke((0.5, 0.2), (0.5, 0.8))
    assert "not finite" in reader.find("says").text
    assert set(reader.bars().values()) == {"–"}
    assert reader.complaints() == []


def test_classes_have_their_names_in_the_filter_on_the_cards_and_at_the_bars(reader, trained, tmp_path):
    model, history, test, evaluation = trained
    names = np.array(["</script><b>", "\"' &amp;", "two\nlines", "${x}", "", "f\u2028g", "猫", "h" * 99, "i", "j"])
    named = fm.Evaluation(0.1, 0.9, 2000, test.labels, evaluation.probabilities, classes_=names)
    shown_names = list(named.names)
    reader.open(write_report(tmp_path, model, history, named, test, {"data": "a<b>"}, MadeDiagnosis()))
    true = Select(reader.find("wrong-true"))
    wrong = sorted(set(test.labels[named.wrong].tolist()))
    cut = {7: "h" * 20 + "…" + "h" * 19}
    assert [option.text for option in true.options] == ["any", *(cut.get(c, shown_names[c]) for c in wrong)]
    reader.to("wrong-controls")
    true.select_by_value("0")
    assert {card["true"] for card in shown(reader)} == {"0"}
    card = reader.all("#wrong-list li")[0].text
    assert "true </script><b>" in card
    reader.stroke((0.5, 0.2), (0.5, 0.8))
    assert "It is a \"' &amp;," in reader.find("says").text
    bars = reader.js("return [...document.querySelectorAll('#bars .class')].map(e => e.textContent)")
    assert bars == shown_names
    assert reader.js("return document.documentElement.scrollWidth") <= 1200
    assert reader.complaints() == []


def test_rows_that_are_no_images_are_listed_without_a_canvas(reader, trained, tmp_path):
    flat = fm.Dataset(np.float32(trained[2].rows) / 255, trained[2].labels, classes=10)
    reader.open(write_report(tmp_path, trained[0], trained[1], trained[3], flat, {}, MadeDiagnosis()))
    assert not reader.all("canvas")
    assert len(shown(reader)) == 48
    assert reader.complaints() == []
