"""The pages of docs/ say what is so: their numbers, excerpts, links, commands and answers are computed again.

`scripts/docs.py` and `page_checks` find the faults; each kind is seen to be found, on a page that is made for it.
After a change that is meant, `make docs` writes the pages anew.
"""

import json
import re
from pathlib import Path

import once
import page_checks
import pytest
from page_checks import docs

import fastmlp as fm
from fastmlp.studies import known

ROOT = Path(__file__).resolve().parent.parent


NUMBERS = docs.load_numbers()
PAGES = docs.pages()
LEARN = [page for page in PAGES if re.match(r"\d\d-", page.name)]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


# --- the pages as they are -------------------------------------------------------------------------------------------


def test_the_pages_were_found():
    assert len(LEARN) >= 13
    assert {ROOT / "README.md", ROOT / "docs" / "learn" / "README.md"} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_is_what_make_docs_writes(page):
    """Numbers as stored, excerpts as printed now, lines of definitions, claims, links, pictures, commands."""
    assert page_checks.page_faults(page, NUMBERS) == []


@pytest.mark.parametrize(
    "page",
    [p for p in PAGES if p.parent not in (ROOT, ROOT / "docs") and "```python" in p.read_text("utf-8")],
    ids=name,
)
def test_the_code_of_a_page_runs(page):
    """Each block on its own. (Those of the README and of docs/extend.md go on from each other: test_public and
    test_extend run them.)"""
    assert page_checks.answer_faults(page, page.read_text("utf-8")) == []


@pytest.mark.parametrize("page", LEARN, ids=name)
def test_a_page_has_what_each_should_have(page):
    text = page.read_text("utf-8")
    assert text.count("<details>") >= 2  # exercises
    assert "```sh\n" in text  # the command
    assert "<!-- code " in text  # the lines that compute it
    assert "![" in text or "<!-- excerpt " in text
    assert "<!-- nav -->" in text


def test_numbers_and_figures_are_those_that_pages_use():
    assert set(NUMBERS) == docs.quoted()
    assert {path.stem for path in docs.FIGURES.glob("*.png")} == docs.shown()


@pytest.mark.parametrize("source", [name for name in docs.sources() if name not in docs.studies.NAMES])
def test_a_source_still_gives_what_the_pages_quote(source):
    """Runs the training or the walk anew. A tolerance is for other machines; here, it is mostly 0."""
    once.pages_hold(source)


@pytest.mark.parametrize("study", [name for name in docs.studies.NAMES if name not in docs.studies.SLOW])
def test_a_study_is_held_to_what_the_pages_quote(study):
    """By its own tests, which have measured it: one process runs a file."""
    assert f'once.pages_hold("{study}")' in (ROOT / "tests" / f"test_study_{study}.py").read_text("utf-8")


def test_a_known_result_is_still_what_the_pages_quote():
    """The first of the slow study's nets, with one seed; all of them take up to half an hour."""
    stored = {"known.relu_accuracy": NUMBERS["known.relu_accuracy"]}
    with once.one_thread():
        accuracy = known.train_one("relu", *fm.data.mnist(), seed=0)[-1][1]
    fresh = {"value": accuracy, "tolerance": known.tolerance("relu_accuracy", accuracy)}
    assert page_checks.number_faults(stored, {"known.relu_accuracy": fresh}) == []


# --- planted faults --------------------------------------------------------------------------------------------------

MADE = {
    "a.x": {"value": 0.058321, "tolerance": 0.001},
    "a.y": {"value": 0.5, "tolerance": 0.0},
}
CODE = """import os

LIMIT = 3


class A:
    @property
    def size(self):
        return 1


@staticmethod
def f():
    pass
"""


@pytest.fixture
def page(tmp_path):
    """Writes a page into docs/learn of a small tree and gives its path."""
    folder = tmp_path / "docs" / "learn"
    folder.mkdir(parents=True)
    (tmp_path / "Makefile").write_text("train:\n\ndocs:\n")
    (tmp_path / "code.py").write_text(CODE)
    (folder / "README.md").write_text("# Contents\n")

    def write(text: str, name: str = "02-page.md") -> Path:
        (folder / name).write_text(text, encoding="utf-8")
        return folder / name

    return write


def faults(page, root=None) -> str:
    return "\n".join(page_checks.page_faults(page, MADE, page.parents[2]))


def test_a_page_is_filled_once_and_then_stays(page, tmp_path):
    page("# First\n", "01-first.md")
    page("# Third\n", "03-third.md")
    path = page(
        "# Second\n\n"
        "Numbers <!-- n a.x .4f -->?<!-- /n --> <!-- n a.y .0% --><!-- /n --> <!-- claim a.x < 0.2 * a.y -->\n"
        "Lines <!-- code code.py A.size --><!-- /code --> <!-- code code.py LIMIT -->[x](y#L1)<!-- /code -->\n"
        "<!-- excerpt explain.py | 6. What does a step | rule --><!-- /excerpt -->\n<!-- nav --><!-- /nav -->\n"
    )
    text, found = docs.render(path, MADE, tmp_path)
    assert found == []
    assert "<!-- n a.x .4f -->0.0583<!-- /n --> <!-- n a.y .0% -->50%<!-- /n -->" in text
    assert "[`A.size`](../../code.py#L8)" in text
    assert "[`LIMIT`](../../code.py#L3)" in text
    assert "\n```text\n6. What does a step of SGD change?" in text
    assert "\n  rule       p ← p - lr g,  for p = 0.weight[2, 2]\n```\n<!-- /excerpt -->" in text
    assert (
        "<!-- nav -->\n[← First](01-first.md) · [Contents](README.md) · [Third →](03-third.md)\n<!-- /nav -->" in text
    )
    assert "is not what `make docs` writes" in faults(path)
    path.write_text(text, encoding="utf-8")
    assert faults(path) == ""
    assert docs.render(path, MADE, tmp_path)[0] == text


def test_the_line_of_a_definition_is_followed(page, tmp_path):
    path = page("# P\nIn <!-- code code.py A.size -->[`A.size`](../../code.py#L8)<!-- /code -->\n")
    assert faults(path) == ""
    source = tmp_path / "code.py"
    source.write_text("\n" + source.read_text())
    assert "../../code.py#L9" in faults(path)


def test_an_excerpt_that_differs_is_found(page, tmp_path):
    path = page("# P\n<!-- excerpt explain.py | rule | by hand --><!-- /excerpt -->\n")
    path.write_text(docs.render(path, MADE, tmp_path)[0], encoding="utf-8")
    assert faults(path) == ""
    path.write_text(path.read_text("utf-8").replace("0.316513", "0.316514"), encoding="utf-8")
    assert "line 5 is not what `make docs` writes:   by hand    0.315854" in faults(path)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<!-- n a.z .4f -->0.1<!-- /n -->", "no source gives a number named a.z"),
        ("<!-- n a.x .4f -->0.0584<!-- /n -->", "writes: <!-- n a.x .4f -->0.0583"),
        ("<!-- n a.x -->0.0583<!-- /n -->", "the marker n has the arguments 'a.x'"),
        ("<!-- n a.x .4q -->0.0583<!-- /n -->", "format"),
        ("<!-- n a.x .4f -->0.0583<!-- /n -->", "a line begins with a marker"),
        ("<!-- n a.x .4f -->0.0583", "has no partner"),
        ("0.0583<!-- /n -->", "has no partner"),
        ("<!-- number a.x .4f -->", "none that is known"),
        ("<!-- claim a.x > a.y -->", "the claim a.x > a.y is false: 0.058321 against 0.5"),
        ("<!-- claim a.z > a.y -->", "no source gives a number named a.z"),
        ("<!-- claim a.x is small -->", "cannot be read"),
        ("<!-- code code.py B --><!-- /code -->", "code.py defines no B"),
        ("<!-- code code.py A.height --><!-- /code -->", "code.py defines no A.height"),
        ("<!-- code none.py B --><!-- /code -->", "none.py defines no B"),
        ("<!-- excerpt explain.py | no such line | x --><!-- /excerpt -->", "prints no line that begins with 'no such"),
        ("<!-- excerpt explain.py | rule | no such --><!-- /excerpt -->", "'no such' after 'rule'"),
        ("<!-- excerpt none.py | a | b --><!-- /excerpt -->", "there is no scripts/none.py"),
        ("<!-- excerpt explain.py --hiden 3 | a | b --><!-- /excerpt -->", "'explain.py --hiden 3' is refused: "),
        ("[x](../nowhere.md)", "the link ../nowhere.md leads nowhere"),
        ("[x](README.md#nothing)", "the link README.md#nothing names no heading"),
        ("[x](#nothing)", "the link #nothing names no heading"),
        ("[x](../../code.py#L3)", "the line in ../../code.py#L3 is kept right by no marker"),
        ("![](README.md)", "has no words"),
        ("```sh\n.venv/bin/python scripts/explain.py --hiden 5\n```", "unrecognized arguments: --hiden 5"),
        ("```sh\n.venv/bin/python scripts/none.py\n```", "there is no scripts/none.py"),
        ("```sh\nmake nothing\n```", "neither a script of this repository nor a target of make"),
    ],
)
def test_a_planted_fault_is_found(page, text, fault):
    assert fault in faults(page(f"# P\n\n{text}\n"))


@pytest.mark.parametrize(
    "text",
    [
        "[x](https://example.org) [y](README.md#contents) [z](#p) [w](../../code.py) `[v](nowhere)`",
        "```sh\nmake train\n.venv/bin/python scripts/explain.py --hidden 8,6  # a comment\n```",
        "So: <!-- claim a.y == 0.5 --><!-- claim a.x < 2 * a.y --><!-- claim a.y >= a.x --><!-- claim a.x <= 0.06 -->",
    ],
)
def test_what_is_right_is_no_fault(page, text):
    assert faults(page(f"# P\n\n{text}\n")) == ""


def test_a_large_picture_is_found(page, tmp_path):
    (tmp_path / "docs" / "learn" / "big.png").write_bytes(bytes(docs.LARGEST + 1))
    assert "the picture big.png has 150,001 bytes" in faults(page("# P\n\n![words](big.png)\n"))


def answer(code: str) -> str:
    return f"<details><summary>Answer</summary>\n\n```python\n{code}\n```\n</details>\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (answer("assert 1 + 1 == 3"), "AssertionError"),
        (answer("assert undefined"), "NameError"),
        (answer("x = 1") + answer("assert x == 1"), "NameError: name 'x' is not defined"),  # each on its own
        (answer("print(2)"), "an answer asserts nothing: print(2)"),
        ("<details><summary>Answer</summary>\n\nIt is so.\n</details>\n", "1 answers, 0 of them with code"),
        ("```python\nraise KeyError('k')\n```\n", "KeyError"),
    ],
)
def test_an_answer_that_fails_is_found(page, text, fault):
    path = page(text)
    assert fault in "\n".join(page_checks.answer_faults(path, text))


def test_an_answer_that_holds_is_no_fault(page):
    text = "```python\nprint(1)\n```\n" + answer("import fastmlp as fm\nassert fm.nn.ReLU().training")
    assert page_checks.answer_faults(page(text), text) == []


@pytest.mark.parametrize(
    ("fresh", "fault"),
    [
        ({"a.x": (0.0594, 0.001)}, "a.x is stored as 0.058321, and is 0.0594 now; tolerance 0.001"),
        ({"a.x": (float("nan"), 0.001)}, "is nan now"),
        ({"a.x": (0.058321, 0.0005)}, "its source says 0.0005"),
        ({}, "a.x is stored, and its source gives it no more"),
    ],
)
def test_a_number_that_its_source_no_longer_gives_is_found(fresh, fault):
    made = {key: {"value": value, "tolerance": tolerance} for key, (value, tolerance) in fresh.items()}
    assert fault in "\n".join(page_checks.number_faults({"a.x": MADE["a.x"]}, made))


def test_a_number_within_its_tolerance_is_no_fault():
    stored = {"a.x": MADE["a.x"], "a.inf": {"value": float("inf"), "tolerance": 0.0}}
    assert page_checks.number_faults(stored, stored | {"a.x": {"value": 0.0592, "tolerance": 0.001}}) == []


def test_numbers_json_is_json():
    assert json.loads(docs.NUMBERS.read_text("utf-8"), parse_constant=pytest.fail) == NUMBERS


def test_a_source_that_there_is_not_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        docs.parse_arguments(["nosuch"])
    assert stop.value.code == 2
    assert "there is no source named 'nosuch'" in capsys.readouterr().err
    assert docs.parse_arguments(["step", "none"]).sources == ["step", "none"]


@pytest.fixture
def tree(page, tmp_path, monkeypatch):
    """A tree of its own for `docs.main`: a page, numbers and figures of which one each is not used."""
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    monkeypatch.setattr(docs, "NUMBERS", tmp_path / "docs" / "learn" / "numbers.json")
    monkeypatch.setattr(docs, "FIGURES", tmp_path / "docs" / "learn" / "figures")
    path = page("# P\n\nSo <!-- n a.x .4f -->?<!-- /n --> ![words](figures/a-one.png)\n")
    monkeypatch.setattr(docs, "pages", lambda root=tmp_path: [path])
    docs.FIGURES.mkdir()
    for stem in ("a-one", "a-two"):
        (docs.FIGURES / f"{stem}.png").write_bytes(b"old")
    docs.write_numbers(MADE)
    return path


def kept() -> tuple[set[str], set[str]]:
    return set(docs.load_numbers()), {path.stem for path in docs.FIGURES.iterdir()}


def test_what_no_page_uses_is_removed(tree):
    docs.main(["none"])
    assert "-->0.0583<!--" in tree.read_text("utf-8")
    assert kept() == ({"a.x"}, {"a-one"})


@pytest.mark.parametrize(("right", "wrong"), [("a.x", "a.z"), ("a-one", "a-on")])
def test_nothing_is_removed_while_a_page_is_at_fault(tree, capsys, right, wrong):
    tree.write_text(tree.read_text("utf-8").replace(right, wrong), encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        docs.main(["none"])
    assert stop.value.code == 1
    assert re.search(rf"02-page.md: .* {wrong}$", capsys.readouterr().err, re.MULTILINE)
    assert kept() == ({"a.x", "a.y"}, {"a-one", "a-two"})


def test_broken_numbers_are_said_in_a_sentence(tree):
    docs.NUMBERS.write_text('{"a.x": ')
    with pytest.raises(docs.PageError, match=r"docs/learn/numbers.json is no JSON: "):
        docs.main(["none"])
    assert docs.NUMBERS.read_text() == '{"a.x": '
