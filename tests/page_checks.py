"""What may be wrong with a page of docs/, besides what `scripts/docs.py` finds when it writes it.

Links, pictures, lines, commands and the code of answers are looked at; each check gives sentences, none where all is
right.
"""

import contextlib
import importlib.util
import io
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def load_script():
    """scripts/docs.py as a module."""
    path = list(sys.path)
    spec = importlib.util.spec_from_file_location("docs_script", ROOT / "scripts" / "docs.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_script"] = module
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


docs = load_script()
LARGEST = docs.LARGEST


def outside_code(text: str) -> str:
    """The text without blocks and inline code."""
    return re.sub(r"`[^`\n]*`", "`x`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def anchors(page: Path) -> set[str]:
    """What `#...` may name in a page: its headings as a code host spells them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def link_faults(page: Path, text: str) -> list[str]:
    """Links and pictures that lead nowhere, lines that no marker keeps right, pictures too large or without words."""
    faults = []
    unmarked = outside_code(re.sub(r"<!-- code .*?<!-- /code -->", "", text, flags=re.DOTALL))
    for picture, words, target in re.findall(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", outside_code(text)):
        if re.match(r"https?:|mailto:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists():
            faults.append(f"the link {target} leads nowhere")
        elif picture and not words:
            faults.append(f"the picture {target} has no words for who cannot see it")
        elif picture and path.stat().st_size > LARGEST:
            faults.append(f"the picture {target} has {path.stat().st_size:,} bytes; it must have at most {LARGEST:,}")
        elif anchor and path.suffix == ".md" and anchor not in anchors(path):
            faults.append(f"the link {target} names no heading")
    faults += [f"the line in {link} is kept right by no marker" for link in re.findall(r"[^\s()]*#L\d+", unmarked)]
    return faults


def answers(text: str) -> Iterator[tuple[str, bool]]:
    """(code, whether it is the hidden answer of an exercise) of every Python block."""
    for match in re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        before = text[: match.start()]
        yield match[1], before.count("<details>") > before.count("</details>")


def answer_faults(page: Path, text: str) -> list[str]:
    """Code that fails; answers that check nothing; exercises without code. Each block runs on its own."""
    faults, checked = [], 0
    for code, hidden in answers(text):
        checked += hidden and "assert " in code
        if hidden and "assert " not in code:
            faults.append(f"an answer asserts nothing: {code.splitlines()[-1]}")
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(code, str(page), "exec"), {"__name__": "answer"})
        except Exception as error:  # whatever the code of a page raises is a fault of the page
            faults.append(f"code fails with {type(error).__name__}: {error}: {code.splitlines()[-1]}")
    if text.count("<details>") > checked:
        faults.append(f"{text.count('<details>')} answers, {checked} of them with code that asserts")
    return faults


def command_faults(text: str, root: Path = ROOT) -> list[str]:
    """Commands in blocks that the scripts or the Makefile would refuse."""
    faults, makefile = [], (root / "Makefile").read_text("utf-8")
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if len(words) > 1 and words[0].endswith("python") and words[1].startswith("scripts/"):
                try:
                    with contextlib.redirect_stderr(io.StringIO()) as said:
                        docs.script(words[1].removeprefix("scripts/")).parse_arguments(words[2:])
                except docs.PageError as error:
                    faults.append(f"the command {line!r}: {error}")
                except SystemExit:
                    faults.append(f"the command {line!r}: {said.getvalue().strip()}")
            elif words and not (words[0] == "make" and all(f"\n{target}:" in f"\n{makefile}" for target in words[1:])):
                faults.append(f"the command {line!r} is neither a script of this repository nor a target of make")
    return faults


def page_faults(page: Path, numbers: dict, root: Path = ROOT) -> list[str]:
    """All that is wrong with a page but for its code, which `answer_faults` runs."""
    text = page.read_text("utf-8")
    fresh, faults = docs.render(page, numbers, root)
    if fresh != text:
        old, new = text.splitlines(), fresh.splitlines()
        at = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
        faults.append(f"line {at + 1} is not what `make docs` writes: {new[at] if at < len(new) else 'nothing'}")
    return faults + docs.claim_faults(text, numbers) + link_faults(page, text) + command_faults(text, root)


def number_faults(stored: dict, fresh: dict) -> list[str]:
    """Stored numbers that their source no longer gives: gone, or off by more than the tolerance. NaN is off."""
    faults = []
    for name, entry in stored.items():
        if name not in fresh:
            faults.append(f"{name} is stored, and its source gives it no more")
            continue
        value, tolerance = fresh[name]["value"], fresh[name]["tolerance"]
        if not entry["tolerance"] <= 1.5 * tolerance:  # not equal: some are a share of the value, which may differ
            faults.append(f"{name} is stored with the tolerance {entry['tolerance']:g}, its source says {tolerance:g}")
        if not (value == entry["value"] or abs(value - entry["value"]) <= tolerance):
            faults.append(f"{name} is stored as {entry['value']:g}, and is {value:g} now; tolerance {tolerance:g}")
    return faults
