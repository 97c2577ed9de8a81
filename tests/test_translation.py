"""The Chinese pages say what the English ones say: same markers, code, figures, links, and numbers in tables.

What the markers hold is checked in tests/test_docs.py, for every language; the words are for a reader to check.
"""

import ast
import re
from collections import Counter
from itertools import zip_longest
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LEARN, CHINESE = ROOT / "docs" / "learn", ROOT / "docs" / "zh"
PAIRS = [(ROOT / "README.md", ROOT / "README.zh-CN.md")]
PAIRS += [(page, CHINESE / page.name) for page in sorted(LEARN.glob("*.md"))]


def markers(text: str) -> list[str]:
    """Every HTML comment, in order."""
    return re.findall(r"<!-- .*? -->", text)


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, code) of every block, that of Python without its comments."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [(kind, ast.unparse(ast.parse(code)) if kind == "python" else code) for kind, code in found]


def indented(text: str) -> list[str]:
    """Lines of formulas, which are indented by four spaces."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [line for line in prose.splitlines() if line.startswith("    ")]


def table_numbers(text: str) -> list[list[str]]:
    """For every row of a table its number of cells and its numbers, those between markers too."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    rows = [line for line in prose.splitlines() if line.startswith("|")]
    return [[str(row.count("|")), *re.findall(r"\d[\d.,]*(?<=\d)", re.sub(r"<!--.*?-->", "", row))] for row in rows]


def links(text: str) -> Counter[str]:
    """Where links and pictures lead, seen from docs/learn; another language names its own pages alike."""
    found = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^\[(中文|English)\]\(\S+\)$", "", text, flags=re.MULTILINE))
    return Counter(target.removeprefix("../learn/").replace("docs/zh/", "docs/learn/") for target in found)


def differences(english: str, chinese: str) -> list[str]:
    """What one page has and its translation has not, in sentences."""
    faults = []
    for what, read in (("marker", markers), ("block", blocks), ("formula", indented), ("row", table_numbers)):
        pairs = zip_longest(read(english), read(chinese))
        faults += [f"the {what} {a!r} is {b!r} in the translation" for a, b in pairs if a != b][:1]
    faults += [f"the link {link} is missing" for link in links(english) - links(chinese)]
    headings = [len(re.findall(r"^#+ ", text, re.MULTILINE)) for text in (english, chinese)]
    if headings[0] != headings[1]:
        faults.append(f"{headings[0]} headings are {headings[1]} in the translation")
    return faults


def test_every_page_has_its_translation_and_no_other():
    assert {page.name for page in CHINESE.glob("*.md")} == {page.name for page in LEARN.glob("*.md")}


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_translation_has_what_the_page_has(english, chinese):
    assert differences(english.read_text("utf-8"), chinese.read_text("utf-8")) == []


def test_the_readmes_link_to_each_other():
    for page, other in zip(PAIRS[0], PAIRS[0][::-1], strict=True):
        assert f"]({other.name})" in "".join(page.read_text("utf-8").splitlines()[:3])


ENGLISH = """# A

Loss <!-- n a.b .1f -->1.5<!-- /n -->.<!-- claim a.b > 1 --> See [next](02.md).

    p ← p - lr g

![words](figures/a.png)

```python
x = 1  # one
```

```sh
make train
```

| a | b |
|---|---|
| 1,000 rows | 0.25 |
"""
TRANSLATED = ENGLISH.replace("Loss", "损失").replace("# one", "# 一").replace("(figures", "(../learn/figures")


def test_a_good_translation_has_no_difference():
    assert differences(ENGLISH, TRANSLATED) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("<!-- claim a.b > 1 -->", "", "the marker '<!-- claim a.b > 1 -->' is None"),
        ("n a.b .1f", "n a.c .1f", "the marker '<!-- n a.b .1f -->' is '<!-- n a.c .1f -->'"),
        ("x = 1", "x = 2", "the block ('python', 'x = 1') is ('python', 'x = 2')"),
        ("make train", "make test", "the block ('sh', 'make train\\n') is ('sh', 'make test\\n')"),
        ("p - lr g", "p + lr g", "the formula '    p ← p - lr g' is '    p ← p + lr g'"),
        ("0.25", "0.52", "the row ['3', '1,000', '0.25'] is ['3', '1,000', '0.52']"),
        ("| 1,000 rows | 0.25 |\n", "", "the row ['3', '1,000', '0.25'] is None"),
        ("figures/a.png", "figures/b.png", "the link figures/a.png is missing"),
        ("(02.md)", "(03.md)", "the link 02.md is missing"),
        ("# A\n", "A\n", "1 headings are 0"),
    ],
)
def test_a_planted_difference_is_found(old, new, fault):
    assert old in TRANSLATED
    assert any(found.startswith(fault) for found in differences(ENGLISH, TRANSLATED.replace(old, new, 1)))
