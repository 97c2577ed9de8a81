"""examples/: each script runs, and what it prints proves what it says.

The data are seeded, the training is the same to the last bit for every number of threads; but releases of NumPy and
scikit-learn may draw other data. The bounds are wide enough for those: a share of N rows strays by √(p (1 - p) / N).
"""

import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import numpy as np
import pytest
import sweeps
from scripted import EXAMPLES, runner

import fastmlp as fm

pytest.importorskip("sklearn", reason="the examples are for who has scikit-learn")

BACK = "stepsofL-BFGSthere:%;theweightscamebacktothebit"
NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
PAGE = (EXAMPLES / "README.md").read_text("utf-8")


@pytest.fixture
def example(monkeypatch, capsys):
    """Runs an example, holds examples/README.md to its output, and gives {the words of a line: its numbers}."""
    run = runner(monkeypatch, capsys, EXAMPLES)

    def ran(name, *arguments):
        with warnings.catch_warnings():
            code, said, errors = run(name, *arguments)
        assert (code, errors) == (0, "")
        block = re.search(rf"python examples/{name}\.py\n```\n\n```\n(.*?)```", PAGE, re.DOTALL)[1]
        assert [words(line) for line in block.splitlines()] == [words(line) for line in said.splitlines()]
        return {words(line): [float(n.replace(",", "")) for n in NUMBER.findall(line)] for line in said.splitlines()}

    return ran


def words(line):
    """A line without its numbers, paths, white space and what a search found: a run may have others."""
    return "".join(NUMBER.sub("", re.split("wrote |best of the grid: ", line)[0]).split())


def test_text(example):
    """3 standard deviations of an accuracy of 713 paragraphs are 5 points; scikit-learn's docstrings change, too."""
    said = example("text_tfidf")
    (chance, _), (linear, _) = said["mostfrequentmoduleaccuracy,stofit"], said["LinearSVCaccuracy,stofit"]
    epochs, net, _ = said["fastmlp,epochsaccuracy,stofit"]
    assert epochs == 10
    assert net > 2 * chance
    assert net > linear - 0.05
    assert said["paragraphstolearnfrom,toteston,wordsandpairs,%not"][3] < 1  # of a hundred: the rows are sparse


def test_optuna(example, tmp_path):
    """Of ten classes; 3 standard deviations of an accuracy of 180 rows are 5 points."""
    pytest.importorskip("optuna", reason="optuna is not installed; the extra 'test' brings it")
    said, again = (example("ask_optuna", "--out", tmp_path) for _ in range(2))
    rounds = said["round:bestof,sofar"]
    assert rounds[:2] == [4, 4]
    assert rounds[2] <= rounds[3]
    assert rounds[3] > 0.9
    assert said["configurations,bestlr,width"][0] == 16
    assert again == said
    assert len(sweeps.weights(tmp_path / "optuna")) == 16  # asked for again, and not trained again


def test_quantiles(example, tmp_path):
    """3 standard deviations of a share of 2,000 rows at 80 % are 2.7 points; what the net lacks is allowed as much."""
    said = example("regression_quantiles", "--out", tmp_path)
    within, near, far, _ = said["quantiles%%%min"]
    assert abs(within - 80) < 5.4
    _, near_constant, far_constant, _ = said["meanandconstantband%%%min"]
    assert abs(near - 80) + abs(far - 80) < (near_constant - 80) + (80 - far_constant)
    assert near_constant > 90  # the band is too wide here
    assert far_constant < 72  # and too narrow there
    shares = said["belowq=:%,q=:%,q=:%"]
    assert all(abs(share - 100 * q) < 5.4 for q, share in zip(shares[::2], shares[1::2], strict=True))
    assert (tmp_path / "quantiles.png").stat().st_size > 10_000


def test_imbalanced(example):
    """Of 105 rare rows 10 points are 2 standard deviations; what is measured is four times as much."""
    said = example("imbalanced")
    never, plain, balanced, lower = (
        said[f"{name}%%%%"] for name in ("never", "plain", "balanced", "plain,lowerthreshold")
    )
    assert never[1:] == [50, 0, 0]
    for found in (balanced, lower):  # accuracy, balanced accuracy, recall, precision
        assert found[0] < never[0]
        assert found[1] > plain[1] + 5
        assert found[2] > plain[2] + 20
        assert found[3] < plain[3]
    p_plain, p_balanced, share = said["meanprobabilityoftherareclass:plain%,balanced%;itsshare:%"]
    assert abs(p_plain - share) < 2 < p_balanced - share


def test_calibrated(example, tmp_path):
    """The plain net is too sure by 15 points; 3 standard deviations of an accuracy of 899 rows are 5."""
    said = example("calibrated", "--out", tmp_path)
    accuracy, confidence, loss, error = said["before%%%"]
    after = said["after%%%"]
    assert after[0] == accuracy
    assert confidence > accuracy + 5
    assert abs(after[1] - after[0]) < 5
    assert after[2] < loss
    assert after[3] < error / 2
    assert (tmp_path / "reliability.png").stat().st_size > 10_000


def test_columns_of_every_kind(example):
    """3 standard deviations of an accuracy of 1,500 rows are 3 points; nobody can be right more often than `truth`."""
    pytest.importorskip("pandas", reason="the rows come in a frame of pandas")
    with pytest.warns(UserWarning, match="column region has 'overseas' in 1 row, and in no training row"):
        said = example("columns_of_every_kind")
    _, pipeline, table = said["accuracyonnewrows:pipeline%,fm.data.table%"]
    chance, truth = said["alwaysthesameanswer%,thetrueprobabilities%"]
    for accuracy in (pipeline, table):
        assert chance + 15 < accuracy < truth + 3
        assert accuracy > truth - 5  # what gaps take, and 3 points
    assert "twonewcustomers:pipeline[FalseTrue],fm.predict[FalseTrue]" in said


def test_web_service(example):
    """How many answers there are a second is the machine's; that they come at all is what is held."""
    said = example("web_service")
    clients, rate = said["atonce:answersasecond,tothebitthoseofPredictor:yes"]  # of the second line, as of the first
    assert clients == 8
    assert rate > 10
    assert "arowofthree:,rowsare(,)ofint;theymustbe(N,)ofnumbers" in said


@pytest.fixture
def service():
    """The example's names, and its service for a net of six inputs on a thread."""
    names = runpy.run_path(str(EXAMPLES / "web_service.py"))
    fm.manual_seed(0)
    made = names["Service"](0, fm.Predictor(fm.nn.MLP(6, (5,), 3), scale=1 / 255))
    thread = threading.Thread(target=made.serve_forever, args=(0.02,))
    thread.start()
    yield names, made
    made.shutdown()
    made.server_close()
    thread.join()


def test_eight_clients_at_once_get_what_predictor_says(service):
    """Each asks for 1 to 8 rows at a time; all begin together. A thread that is slow keeps the others from nothing."""
    names, served = service
    rows = np.random.default_rng(0).integers(0, 256, (8, 20, 8, 6)).astype(np.float32)
    begin = threading.Barrier(8)

    def client(number):
        begin.wait(30)
        return [
            names["ask"](served.server_port, {"rows": some[: 1 + at % 8].tolist()})
            for at, some in enumerate(rows[number])
        ]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(client, range(8)))
    for number, answers in enumerate(found):
        for at, (code, answer) in enumerate(answers):
            z = served.predictor(rows[number, at, : 1 + at % 8])
            assert code == 200
            np.testing.assert_array_equal(np.array(answer["logits"], np.float32), z, strict=True)
            assert answer["classes"] == z.argmax(axis=1).tolist()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", "the body is no JSON: Expecting value"),
        ("{", "the body is no JSON: "),
        ("[" * 100_000, "the body is no JSON: "),
        (b"\xff\xfe\x00", "the body is no JSON: "),
        ("[1]", 'the body must be {"rows": [[numbers], ...]}'),
        ('{"row": [[1]]}', 'the body must be {"rows": [[numbers], ...]}'),
        ('{"rows": []}', "rows are (0,) of float64; they must be (N, 6) of numbers"),
        ('{"rows": [1, 2, 3, 4, 5, 6]}', "rows are (6,) of int64; they must be (N, 6) of numbers"),
        ('{"rows": [[1, 2, 3, 4, 5, 6], [1]]}', "rows are of different lengths"),
        ('{"rows": [["1", "2", "3", "4", "5", "6"]]}', "rows are (1, 6) of <U1; they must be (N, 6) of numbers"),
        ('{"rows": [[1, 2, 3, 4, 5, null]]}', "rows are (1, 6) of object; they must be (N, 6) of numbers"),
        ('{"rows": [[1, 2, 3, 4, 5, NaN]]}', "rows have a number that is no pixel; it must be from 0 to 255"),
        ('{"rows": [[1, 2, 3, 4, 5, 1e400]]}', "rows have a number that is no pixel; it must be from 0 to 255"),
        ('{"rows": [[1, 2, 3, 4, 5, -1]]}', "rows have a number that is no pixel; it must be from 0 to 255"),
        (f'{{"rows": [[1, 2, 3, 4, 5, {10**30}]]}}', "rows are (1, 6) of object; they must be (N, 6) of numbers"),
        (None, "Content-Length is 9000000; it must be a number of bytes up to 8388608"),
    ],
)
def test_a_bad_question_gets_a_sentence(service, body, words):
    names, served = service
    asked = HTTPConnection("127.0.0.1", served.server_port, timeout=30)
    asked.request("POST", "/predict", body, {} if body is not None else {"Content-Length": "9000000"})
    answer = asked.getresponse()
    said = json.loads(answer.read())
    assert answer.status == 400
    assert said["error"].startswith(words)
    assert "\n" not in said["error"]
    asked.close()
    assert names["ask"](served.server_port, {"rows": [[0] * 6]})[0] == 200  # the next is served


def test_ctrl_c_ends_the_service_and_no_answer():
    """A question is on its way, half of its body sent, when the signal comes."""
    child = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "web_service.py"), "--port", "0"], stdout=subprocess.PIPE, text=True,
        stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": os.pathsep.join([str(EXAMPLES.parent), *sys.path])},
    )  # fmt: skip
    try:
        port = int(re.search(r":(\d+)/predict answers", child.stdout.readline())[1])
        body = json.dumps({"rows": [[0] * 784]}).encode()
        asked = HTTPConnection("127.0.0.1", port, timeout=30)
        asked.putrequest("POST", "/predict")
        asked.putheader("Content-Length", str(len(body)))
        asked.endheaders(body[:9])
        assert status_of_another(port) == 404  # one that came later has its answer: the first is with its thread
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "no more questions\n"
        asked.send(body[9:])
        assert len(json.loads(asked.getresponse().read())["logits"][0]) == 10
        out, errors = child.communicate(timeout=30)
        assert (out, errors, child.returncode) == ("", "", 0)
    finally:
        child.kill()


def status_of_another(port):
    other = HTTPConnection("127.0.0.1", port, timeout=30)
    other.request("POST", "/other", "")
    answer = other.getresponse()
    answer.read()
    return answer.status


def test_through_torch(example):
    """3 standard deviations of an accuracy of 450 rows are 2.4 points. The script compares the weights to the bit."""
    pytest.importorskip("torch", reason="PyTorch is not installed; `make test-peers` installs it")
    said = example("through_torch")
    (_, before), (_, after) = said["epochsoffit:%;PyTorch'sprobabilitiesarethesame"], said[BACK]
    assert before + 20 < after > 94
    assert min(said["fc,bn,fcofaclass:%,inbfloat%"][i] for i in (3, 5)) > 94
    accuracy, same, rows = said["scikit-learn'sMLP:%;ofanswersarethesame"]
    assert accuracy > 94
    assert same == rows == 450


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed; the example compiles a C program")
def test_c_program(example, tmp_path):
    """3 standard deviations of an accuracy of 450 rows are 3 points; probabilities of float32 differ by roundings."""
    said = example("c_program", "--out", tmp_path)
    assert said["accuracy%"][0] > 90
    assert said["otheranswersthanfm.predict:"] == [0]
    (line,) = (words for words in said if words.startswith("largestdifference"))
    assert float(re.search(r"a part of (\S+)", PAGE)[1]) < 1e-5
    assert said[line]


def test_own_page(example, tmp_path):
    """test_export_page opens it in a browser."""
    said = example("own_page", "--out", tmp_path)
    assert said["fm.predict:ofareright"][0] > 25
    assert {path.name for path in tmp_path.iterdir()} == {"digits.js", "digits.json", "index.html"}


def test_each_example_has_its_test_and_its_line_on_the_page():
    names = sorted(path.stem for path in EXAMPLES.glob("*.py"))
    with open(__file__, encoding="utf-8") as file:
        tested = re.findall(r'example\("(\w+)"', file.read())
    assert names == sorted(tested) == sorted(re.findall(r"^\| \[(\w+)\.py\]\(\1\.py\)", PAGE, re.MULTILINE))
