"""examples/: each script runs, and what it prints proves what it says.

The data are seeded, the training is the same to the last bit for every number of threads; but releases of NumPy and
scikit-learn may draw other data. The bounds are wide enough for those: a share of N rows strays by √(p (1 - p) / N).
"""

import re
import shutil
import warnings

import pytest
from scripted import EXAMPLES, runner

pytest.importorskip("sklearn", reason="the examples are for who has scikit-learn")

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
