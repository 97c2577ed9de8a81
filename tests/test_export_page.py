"""A page of one's own with the exported module, in a real browser: it says what the library says."""

import os
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from scripted import EXAMPLES, runner

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install 'fastmlp[test]'")
pytest.importorskip("sklearn", reason="the example is for who has scikit-learn")
if not (BROWSER and DRIVER):
    gone = " and ".join(name for name, path in (("chromium", BROWSER), ("chromedriver", DRIVER)) if not path)
    pytest.skip(f"no {gone} here; the page is opened in Chromium by its driver", allow_module_level=True)

from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402


class Quiet(SimpleHTTPRequestHandler):
    """What `python -m http.server` runs, without its lines."""

    def log_message(self, *arguments):
        pass


@pytest.fixture
def served(tmp_path):
    """A folder, and the address under which it is served."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def driver(monkeypatch):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    monkeypatch.setenv("SE_OFFLINE", "true")
    driver = webdriver.Chrome(options=options, service=Service(DRIVER, env=dict(os.environ)))
    yield driver
    driver.quit()


def test_the_page_says_what_the_library_says(served, driver, monkeypatch, capsys):
    folder, address = served
    code, said, errors = runner(monkeypatch, capsys, EXAMPLES)("own_page", "--out", folder)
    assert (code, errors) == (0, "")
    driver.get(address)
    status = driver.find_element(By.ID, "said")
    WebDriverWait(driver, 20).until(lambda _: status.text)
    assert f"fm.predict: {status.text.replace(' of 30 are right.', '')} of 30 are right" in said
    shown = driver.find_elements(By.CSS_SELECTOR, "#digits li")
    wrong = driver.find_elements(By.CSS_SELECTOR, "#digits li.wrong")
    assert (len(shown), status.text) == (30, f"{30 - len(wrong)} of 30 are right.")
    assert driver.get_log("browser") == []
