"""Write the figures, numbers, excerpts and links into the pages of docs/, and say which of them cannot be.

Text between markers is made by this script; a code host does not show the markers:

    <!-- n dropout.gap .2e -->3.10e-17<!-- /n -->            a number of a source, in Python's format
    <!-- claim dropout.gap < 2 * dropout.spread -->          what the words beside it say, as a comparison
    <!-- excerpt explain.py --hidden 6 | first | last -->    what a script prints, from the line that begins with
    <!-- /excerpt -->                                        `first` to the next that begins with `last`
    <!-- code fastmlp/graph/tensor.py Tensor.backward --><!-- /code -->     a link to the line of a definition
    <!-- nav --><!-- /nav -->                                the page before, the contents, the page after

The sources are the studies, the training run of `RUN` and the walk through one step. docs/learn/numbers.json keeps
their numbers, each with the tolerance within which another machine must give it.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib.util
import io
import json
import math
import operator
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `python scripts/docs.py` runs the checkout it lies in

import fastmlp as fm  # noqa: E402
from fastmlp import studies  # noqa: E402
from fastmlp.commandline import make_parser, run_script  # noqa: E402
from fastmlp.files import write  # noqa: E402

NUMBERS, FIGURES = ROOT / "docs" / "learn" / "numbers.json", ROOT / "docs" / "learn" / "figures"
LARGEST = 150_000  # bytes of a figure
RUN = ("--epochs", "30", "--validation", "0.1", "--no-plots", "--no-report", "--no-progress")
RUN_TOLERANCES = {  # another processor adds in another order; 30 epochs on, the weights are those of another seed
    "accuracy": 0.006, "loss": 0.04, "best_epoch": 6, "wrong": 60, "rows": 0, "epochs": 0, "gap": 0.05,
}  # fmt: skip
PAIRS = ("n", "excerpt", "code", "nav")
MARKED = re.compile(r"<!-- (n|excerpt|code|nav)\b *(.*?) *-->(.*?)<!-- /\1 -->", re.DOTALL)
COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq,
}  # fmt: skip

Numbers = dict[str, dict[str, float]]  # "dropout.gap" -> {"value": ..., "tolerance": ...}


class PageError(ValueError):
    """What is wrong with a page, in a sentence."""


@dataclass
class Source:
    """What one source measured: numbers with tolerances, figures as PNG."""

    numbers: Numbers = field(default_factory=dict)
    figures: dict[str, bytes] = field(default_factory=dict)


# --- sources ---------------------------------------------------------------------------------------------------------


@cache
def script(name: str) -> ModuleType:
    """A script of this folder as a module. Error: PageError where there is none of this name."""
    path = ROOT / "scripts" / name
    if not path.is_file():
        raise PageError(f"there is no scripts/{name}")
    spec = importlib.util.spec_from_file_location(f"scripts_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@cache
def printed(command: str) -> tuple[str, ...]:
    """The lines that a script prints: "explain.py --hidden 6"."""
    name, *arguments = shlex.split(command)
    text, refusal = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(refusal):
            script(name).main(arguments)
    except SystemExit:
        raise PageError(f"{command!r} is refused: {refusal.getvalue().strip()}") from None
    return tuple(text.getvalue().splitlines())


def study_source(name: str) -> Source:
    """The numbers and figures of a study, in the long form of a slow one."""
    study = studies.run(name, full=name in studies.SLOW)
    numbers = {
        f"{name}.{key}": {"value": float(value), "tolerance": float(study.tolerances.get(key, 0.0))}
        for key, value in study.numbers.items()
    }
    figures = {stem if stem.startswith(name) else f"{name}-{stem}": figure for stem, figure in study.figures.items()}
    return Source(numbers, {stem: png(figure) for stem, figure in figures.items()})


def run_source() -> Source:
    """A training with scripts/train.py: its last and its best epoch, what it makes of the test set."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        script("train.py").main([*RUN, "--out", folder])
        saved = fm.read_run(folder)
    digits = fm.data.mnist()[1]
    with fm.plots.style():
        figures = {
            "run-curves": png(fm.plots.curves(saved.history)),
            "run-worst": png(fm.plots.wrong_digits(fm.evaluate(saved.model, digits), digits, count=12)),
        }
    assert saved.metrics is not None
    history, test = saved.history, saved.metrics["test"]
    best = min(history.epochs, key=lambda epoch: epoch.validation_loss)
    found: dict[str, float] = {"epochs": len(history), "best_epoch": best.epoch, "test_rows": test["rows"]}
    for when, epoch in (("first", history[0]), ("best", best), ("last", history[-1])):
        for part in ("train", "validation"):
            found |= {f"{when}_{part}_{what}": getattr(epoch, f"{part}_{what}") for what in ("loss", "accuracy")}
    found |= {f"test_{what}": test[what] for what in ("loss", "accuracy", "top3_accuracy", "wrong")}
    found["gap"] = found["last_validation_loss"] - found["last_train_loss"]
    found["best_gap"] = found["best_validation_loss"] - found["best_train_loss"]

    def tolerance(name: str) -> float:
        return next(value for ending, value in RUN_TOLERANCES.items() if name.endswith(ending))

    return Source({f"run.{k}": {"value": float(v), "tolerance": tolerance(k)} for k, v in found.items()}, figures)


STEP = {  # numbers of the walk through one step, by what stands before them in its text
    "loss": r"the second half: the loss, (\S+):",
    "weight": r"by hand +(\S+) - ",
    "gradient": r"by hand .* · (\S+) = ",
    "after_sgd": r"SGD\.step +(\S+)",
    "difference": r"\(loss\(p \+ h\) .* / 2h +(\S+)",
    "after_adam": r"p +p - step +(\S+)",
    "adam_step": r"step +lr m̂ .* (\S+)$",
    "uncorrected_step": r"without bias correction the step were ([-.\d]+);",
    "sgd_step": r"SGD's is lr g = (\S+)",
    "twice": r"after the first, (\S+) after the second",
}


def step_source() -> Source:
    """The numbers that scripts/explain.py prints, and the picture of its graph."""
    text, numbers = "\n".join(printed("explain.py")), {}
    for name, pattern in STEP.items():
        match = re.search(pattern, text, re.MULTILINE)
        if match is None:
            raise PageError(f"scripts/explain.py prints nothing like {pattern}")
        numbers[f"step.{name}"] = {"value": float(match[1].rstrip(".")), "tolerance": 0.0}
    explain = script("explain.py")
    walk = explain.Walk(explain.parse_arguments([]))
    x = fm.Tensor(3.0, requires_grad=True)
    with tempfile.TemporaryDirectory() as folder:
        for stem, drawing in (
            ("graph", fm.draw(walk.loss_of(walk.model), walk.model)),
            ("square", fm.draw(x * x, {x: "x"})),
        ):
            drawing.save(Path(folder) / f"step-{stem}.png")
        figures = {path.stem: path.read_bytes() for path in Path(folder).glob("*.png")}
    return Source(numbers, figures)


def sources() -> dict[str, Callable[[], Source]]:
    """Every source by its name."""
    found: dict[str, Callable[[], Source]] = {"step": step_source, "run": run_source}
    return found | {name: lambda name=name: study_source(name) for name in studies.NAMES}


def png(figure: Any) -> bytes:
    """A matplotlib figure as PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def small(picture: bytes) -> bytes:
    """The same picture with a palette of 256 colours: a third of the bytes, and no difference that is seen."""
    from PIL import Image

    file = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(256).save(file, "PNG", optimize=True)
    return file.getvalue()


# --- pages -----------------------------------------------------------------------------------------------------------


def pages(root: Path = ROOT) -> list[Path]:
    """README and every page below docs/, translations too."""
    return sorted([*root.glob("README*.md"), *(root / "docs").rglob("*.md")])


def number_of(numbers: Numbers, name: str) -> float:
    """A number by its name. Error: PageError where there is none."""
    if name not in numbers:
        raise PageError(f"no source gives a number named {name}")
    return numbers[name]["value"]


def definition_line(path: Path, name: str) -> int:
    """The line of `class A`, `def f`, `A.method` or `NAME = ...`. Error: PageError where it is not defined."""
    scope: list[ast.stmt] = ast.parse(path.read_text("utf-8")).body if path.is_file() else []
    line = 0
    for part in name.split("."):
        for statement in scope:
            targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
            names = {n.id for t in targets if t is not None for n in ast.walk(t) if isinstance(n, ast.Name)}
            if getattr(statement, "name", None) == part or part in names:
                line, scope = statement.lineno, getattr(statement, "body", [])
                break
        else:
            raise PageError(f"{path.name} defines no {name}")
    return line


def excerpt(command: str, first: str, last: str) -> str:
    """Lines of what a script prints, as a block. Error: PageError where they are not found."""
    lines = printed(command)
    start = next((i for i, line in enumerate(lines) if line.strip().startswith(first)), None)
    if start is None:
        raise PageError(f"{command} prints no line that begins with {first!r}")
    end = next((i for i in range(start, len(lines)) if lines[i].strip().startswith(last)), None)
    if end is None:
        raise PageError(f"{command} prints no line that begins with {last!r} after {first!r}")
    return "\n```text\n" + "\n".join(lines[start : end + 1]) + "\n```\n"


def title(page: Path) -> str:
    """The heading of a page. Error: PageError where there is none."""
    match = re.search(r"^# (.+)$", page.read_text("utf-8"), re.MULTILINE)
    if match is None:
        raise PageError(f"{page.name} has no heading")
    return match[1]


def navigation(page: Path) -> str:
    """Links to the page before, the contents and the page after; pages stand in the order of their numbers."""
    row = sorted(page.parent.glob("[0-9]*.md"))
    at, links = row.index(page), [f"[{title(page.parent / 'README.md')}](README.md)"]
    if at:
        links.insert(0, f"[← {title(row[at - 1])}]({row[at - 1].name})")
    if at + 1 < len(row):
        links.append(f"[{title(row[at + 1])} →]({row[at + 1].name})")
    return "\n" + " · ".join(links) + "\n"


def made(kind: str, argument: str, page: Path, numbers: Numbers, root: Path) -> str:
    """The text that belongs between two markers. Error: PageError where nothing does."""
    parts = argument.split()
    if kind == "nav":
        return navigation(page)
    if kind == "excerpt" and argument.count(" | ") == 2:
        return excerpt(*(part.strip() for part in argument.split(" | ")))
    if kind == "n" and len(parts) == 2:
        return format(number_of(numbers, parts[0]), parts[1])
    if kind == "code" and len(parts) == 2:
        target = os.path.relpath(root / parts[0], page.parent).replace(os.sep, "/")
        return f"[`{parts[1]}`]({target}#L{definition_line(root / parts[0], parts[1])})"
    raise PageError(f"the marker {kind} has the arguments {argument!r}")


def render(page: Path, numbers: Numbers, root: Path = ROOT) -> tuple[str, list[str]]:
    """The page as it should be, and what stands in the way of it, in sentences."""
    text, faults = page.read_text("utf-8"), []

    def replace(match: re.Match[str]) -> str:
        kind, argument, old = match.groups()
        try:
            new = made(kind, argument, page, numbers, root)
        except ValueError as error:
            faults.append(str(error))
            new = old
        return f"<!-- {kind}{' ' * bool(argument)}{argument} -->{new}<!-- /{kind} -->"

    fresh = MARKED.sub(replace, text)
    for comment in re.findall(r"<!--.*?-->", MARKED.sub("", text), re.DOTALL):
        if not comment.startswith("<!-- claim "):
            faults.append(f"the marker {comment!r} is none that is known, or has no partner")
    for line in text.splitlines():
        if re.match(r" {0,3}<!-- (n|code|claim) ", line):  # in Markdown such a line is HTML: no link works in it
            faults.append(f"a line begins with a marker, and must begin with text: {line}")
    return fresh, faults


def claim_faults(text: str, numbers: Numbers) -> list[str]:
    """Claims that the numbers do not bear out: `a < b`, each side a product of names and numbers."""
    faults = []

    def side(product: str) -> float:
        factors = [factor.strip() for factor in product.split("*")]
        return math.prod(float(f) if re.match(r"[-.\d]", f) else number_of(numbers, f) for f in factors)

    for claim in re.findall(r"<!-- claim (.*?) -->", text):
        try:
            left, sign, right = re.split(r" (<=|>=|==|<|>) ", claim)
            if not COMPARE[sign](side(left), side(right)):
                faults.append(f"the claim {claim} is false: {side(left):g} against {side(right):g}")
        except ValueError as error:
            faults.append(f"the claim {claim} cannot be read: {error}")
    return faults


def quoted(root: Path = ROOT) -> set[str]:
    """The names of all numbers that the pages quote or claim something about."""
    text = "\n".join(page.read_text("utf-8") for page in pages(root))
    names = set(re.findall(r"<!-- n (\S+) \S+ -->", text))
    return names.union(
        *(re.findall(r"\b[a-z]\w*\.[^\s*]+", claim) for claim in re.findall(r"<!-- claim (.*?) -->", text))
    )


def shown_on(text: str) -> set[str]:
    """The names of the figures that a page shows."""
    return set(re.findall(r"figures/([\w-]+)\.png", text))


def shown(root: Path = ROOT) -> set[str]:
    """The names of all figures that the pages show."""
    return set().union(*(shown_on(page.read_text("utf-8")) for page in pages(root)))


# --- the command line ------------------------------------------------------------------------------------------------


def load_numbers() -> Numbers:
    """What numbers.json holds. Error: PageError where it is no JSON."""
    try:
        return json.loads(NUMBERS.read_text("utf-8")) if NUMBERS.is_file() else {}
    except json.JSONDecodeError as error:
        raise PageError(f"{NUMBERS.relative_to(ROOT)} is no JSON: {error}") from error


def write_numbers(numbers: Numbers) -> None:
    """Write numbers.json, in the order of the names."""
    write(NUMBERS, json.dumps(dict(sorted(numbers.items())), indent=1) + "\n")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = make_parser((__doc__ or "").partition("\n")[0])
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help=f"which to run anew, of {', '.join(sources())}; "
                        f"all but {', '.join(studies.SLOW)} where none is named; 'none': only the pages")  # fmt: skip
    options = parser.parse_args(arguments)
    if unknown := set(options.sources) - {*sources(), "none"}:
        parser.error(f"there is no source named {', '.join(map(repr, sorted(unknown)))}")
    return options


def main(arguments: list[str] | None = None) -> None:
    """Run the sources, write their numbers and figures, then the pages; exit code 1 where a page is at fault.

    Numbers and figures that no page uses are removed, but not while a page is at fault: it may only spell them wrongly.
    """
    options = parse_arguments(arguments)
    chosen = options.sources or [name for name in sources() if name not in studies.SLOW]
    numbers, figures = load_numbers(), shown()
    FIGURES.mkdir(exist_ok=True)
    for name in (name for name in chosen if name != "none"):
        print(f"running {name}", flush=True)
        source = sources()[name]()
        numbers = {key: entry for key, entry in numbers.items() if key.partition(".")[0] != name} | source.numbers
        for stem in figures & source.figures.keys():
            write(FIGURES / f"{stem}.png", small(source.figures[stem]))
        write_numbers(numbers)  # after each source: the next one may take half an hour
    faults = []
    for page in pages():
        fresh, found = render(page, numbers)
        if fresh != page.read_text("utf-8"):
            write(page, fresh)
            print(f"wrote {page.relative_to(ROOT)}")
        missing = {stem for stem in shown_on(fresh) if not (FIGURES / f"{stem}.png").is_file()}
        found += [f"there is no figure {stem}" for stem in sorted(missing)] + claim_faults(fresh, numbers)
        faults += [f"{page.relative_to(ROOT)}: {fault}" for fault in found]
    if faults:
        print("\n".join(faults), file=sys.stderr)
        sys.exit(1)
    names = quoted()
    write_numbers({name: entry for name, entry in numbers.items() if name in names})
    for path in FIGURES.glob("*.png"):
        if path.stem not in figures:
            path.unlink()


if __name__ == "__main__":
    run_script(main)
