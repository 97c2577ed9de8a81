"""Print what `benchmark.py` measured, hold it against the floors, and write the page and the plot.

It reads the file that a run leaves in runs/; so the page can be written again without measuring, when the notes have
changed: benchmark_report.py runs/benchmark-<date>.json --out docs
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NOTES = ROOT / "docs" / "benchmark_notes.md"
EPOCHS = ("small", "tiny", "medium", "large", "regularised")
OURS = {"graph": "fastmlp graph"}  # who is compared with the others; elsewhere it is fastmlp
RIVALS = {
    "best PyTorch": ("PyTorch", "PyTorch, 1 thread"),
    "PyTorch, default Adam": ("PyTorch, default Adam", "PyTorch, default Adam, 1 thread"),
}
# (case, rival, how many times the seconds of fastmlp the rival must take at least)
RATIOS = (
    ("small", "JAX", 2.2), ("small", "best PyTorch", 4.5), ("small", "PyTorch DataLoader", 7.5),
    ("small", "scikit-learn", 6.5), ("tiny", "JAX", 3.8), ("tiny", "best PyTorch", 10.0),
    ("medium", "JAX", 1.3), ("medium", "best PyTorch", 2.2), ("large", "JAX", 1.25), ("large", "best PyTorch", 2.2),
    ("regularised", "best PyTorch", 3.0), ("graph", "PyTorch, default Adam", 1.0), ("one row", "every rival", 1.0),
    ("10,000 rows", "JAX", 1.2), ("10,000 rows", "best PyTorch", 2.2),
    ("warm start", "PyTorch", 1.0), ("warm start", "scikit-learn", 1.0),
)  # fmt: skip
LONGEST = (("one row", 10e-6), ("cold start", 12.0))  # seconds
LEAST_SHARE, LEAST_PRODUCT = {"large": 0.65}, 0.85  # of the ceiling: of all threads, of one
SYSTEMS = """- fastmlp: the engine behind `fit`, all threads; fastmlp graph: the same step node by node, one thread
- JAX: an epoch as one jitted `lax.scan`, the data set on the device
- PyTorch: the data set in memory as one float tensor, fused Adam, all threads unless said; default Adam: not fused
- PyTorch DataLoader: `TensorDataset`, `DataLoader`, Adam with its defaults
- scikit-learn: `MLPClassifier` in float32; NumPy: `x @ w + b` and `np.maximum`
"""
COLOURS = {  # Okabe and Ito's palette: told apart with any colour vision
    "fastmlp": "#0072b2", "fastmlp graph": "#56b4e9", "JAX": "#009e73", "PyTorch DataLoader": "#d55e00",
    "PyTorch": "#e69f00", "scikit-learn": "#cc79a7",
}  # fmt: skip

Best = Callable[[list[float]], float]


@dataclass
class Table:
    """Rows of text under a head; the first column is words, the others are numbers. `notes` are lines below it."""

    title: str
    head: list[str]
    rows: list[list[str]]
    notes: list[str]

    def text(self) -> str:
        """For a terminal."""
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]
        lines = [
            "  ".join(
                [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
            ).rstrip()
            for row in [self.head, *self.rows]
        ]
        return "\n".join([self.title, *(f"  {line}" for line in lines + self.notes)]) + "\n"

    def markdown(self) -> str:
        """For the page."""
        lines = [self.head, ["---", *["--:"] * (len(self.head) - 1)], *self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join([f"**{self.title}**", table, *self.notes]) + "\n"


def digits(value: float) -> str:
    """Three significant digits, never as a power of ten."""
    if not math.isfinite(value) or value <= 0:
        return str(value)
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f}"


def duration(seconds: float) -> str:
    """Seconds in a unit that keeps the number short."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size or not math.isfinite(seconds):
            return f"{digits(seconds / size)} {unit}"
    return f"{digits(seconds * 1e6)} µs"


def at_least(times: float) -> str:
    """A ratio rounded down, so that what is printed does not reach a floor that was missed."""
    return f"{math.floor(100 * times) / 100:.2f} x" if math.isfinite(times) else str(times)


def percent(part: float) -> str:
    """A share, rounded down."""
    return f"{math.floor(1000 * part) / 10:.1f} %" if math.isfinite(part) else str(part)


def ratio(seconds: dict[str, list[float]], ours: str, rivals: list[str], best: Best) -> float | None:
    """How many times our seconds the fastest of the rivals takes; None where one side has not been measured."""
    theirs = [best(seconds[name]) for name in rivals if seconds.get(name)]
    return min(theirs) / best(seconds[ours]) if theirs and seconds.get(ours) else None


def share(case: dict[str, Any], best: Best) -> float | None:
    """fastmlp's part of the multiply-adds that all cores can do: the share of its fastest, or of its median run."""
    ours, ceiling = case["seconds"].get("fastmlp"), case["ceiling"]
    if not ours or not ceiling or not case["flops"]:
        return None
    return case["flops"] / best(ours) / 1e9 / (max(ceiling) if best is min else median(ceiling))


def machine_table(results: dict[str, Any]) -> Table:
    """Where and with what the figures were measured."""
    notes = [f"{name} is not installed: left out" for name in results["missing"]]
    notes += ["a --quick run: fewer rows and rounds, and the figures are rough"] if results["quick"] else []
    return Table("Machine", ["", "value"], results["machine"], notes)


def ceiling_table(results: dict[str, Any]) -> Table:
    """Multiply-adds of one thread, and of all threads at once."""
    rows = []
    for dtype, speeds in results["ceiling"].items():
        for threads, values in speeds.items():
            rows.append(
                [f"{dtype}, {'one thread' if threads == 'one' else 'all threads at once'}", digits(max(values))]
            )
            rows[-1] += [digits(median(values)), digits(max(values) / max(speeds["one"]))]
    head = ["", "GFLOP/s, best", "median", "best / best of one thread"]
    return Table("Ceiling: nothing but multiply-adds in registers", head, rows, [])


def product_table(results: dict[str, Any]) -> Table:
    """The three products of a linear layer against the ceiling of one thread."""
    rows = [
        [f"{one['of']}  {one['name']}", digits(max(one["gflops"])), digits(max(one["ceiling"]))]
        + [percent(best(one["gflops"]) / best(one["ceiling"])) for best in (max, median)]
        for one in results["products"]
    ]
    head = ["rows x inputs x outputs", "GFLOP/s", "ceiling", "share", "share of medians"]
    return Table("Products of matrices, one thread", head, rows, [])


def case_table(name: str, case: dict[str, Any]) -> Table:
    """One case: the fastest and the median run of each system, and how many times ours the others take."""
    seconds, ours, rows = case["seconds"], OURS.get(name, "fastmlp"), []
    accuracy = case.get("accuracy")
    for system in sorted(seconds, key=lambda system: (system != ours, min(seconds[system], default=math.inf))):
        if seconds[system]:
            row = [system, *(duration(best(seconds[system])) for best in (min, median))]
            for best in (min, median):
                times = ratio(seconds, ours, [system], best)
                row.append("" if times is None or system == ours else f"{digits(times)} x")
            rows.append(row + [str(len(seconds[system]))] + ([accuracy.get(system, "")] if accuracy else []))
    notes = [f"{system}: {note}" for system, note in case["notes"].items()]
    part, middle = share(case, min), share(case, median)
    if part is not None and middle is not None:
        speed = case["flops"] / min(seconds["fastmlp"]) / 1e9
        notes.insert(0, f"fastmlp: {digits(speed)} GFLOP/s, {percent(part)} of the ceiling of all threads "
                     f"({digits(max(case['ceiling']))}); medians {percent(middle)}")  # fmt: skip
    head = ["", "best", "median", "best / ours", "median / ours", "runs"] + (["test accuracy"] if accuracy else [])
    return Table(f"{name}: {case['title']}", head, rows, notes)


def growth_tables(results: dict[str, Any]) -> Iterator[Table]:
    """How fastmlp's epoch grows, one table for each thing that grows."""
    for group, cases in results["growth"].items():
        rows = [
            [f"{name.split()[0]} {int(name.split()[1]):,}", one["title"], f"{one['rows']:,}"]
            + [duration(best(one["seconds"])) for best in (min, median)]
            + [digits(size / min(one["seconds"]) / scale) for size, scale in ((one["rows"], 1e3), (one["flops"], 1e9))]
            for name, one in cases.items()
            if one["seconds"]
        ]
        head = ["", "layers", "rows", "best", "median", "1,000 rows / s", "GFLOP/s"]
        yield Table(f"Growth of fastmlp's epoch with {group}", head, rows, [])


def control_table(results: dict[str, Any]) -> Table:
    """How much the same work varied from one end of the run to the other."""
    taken = results["control"]
    rows = [[*map(duration, (min(taken), median(taken), max(taken))), digits(max(taken) / min(taken))]] if taken else []
    title = "Noise: the same multiply-adds on one thread, once a round throughout the run"
    return Table(title, ["min", "median", "max", "max / min"], rows, [f"{len(taken)} rounds"])


def floors(results: dict[str, Any]) -> Iterator[tuple[list[str], bool | None]]:
    """([what, floor, best, median], reached) of each floor whose case was run; None: nothing to compare with."""
    cases = results["cases"]
    for name, rival, factor in RATIOS:
        if name in cases:
            seconds, ours = cases[name]["seconds"], OURS.get(name, "fastmlp")
            everyone = [system for system in seconds if system != ours]
            names = everyone if rival == "every rival" else list(RIVALS.get(rival, (rival,)))
            low, middle = (ratio(seconds, ours, names, best) for best in (min, median))
            yield _floor(f"{name}, {rival}", factor, low, middle, at_least)
    for name, least in LEAST_SHARE.items():
        if name in cases:
            low, middle = (share(cases[name], best) for best in (min, median))
            yield _floor(f"{name}, of the ceiling of all threads", least, low, middle, percent)
    for name, longest in LONGEST:
        if name in cases:
            taken = cases[name]["seconds"].get("fastmlp")
            low, middle = (best(taken) if taken else None for best in (min, median))
            line, _ = _floor(name, longest, low, middle, duration)
            yield [line[0], f"under {line[1]}", *line[2:]], None if low is None else low < longest
    if products := results.get("products"):
        low, middle = (min(best(one["gflops"]) / best(one["ceiling"]) for one in products) for best in (max, median))
        yield _floor("products, the slowest, of the ceiling", LEAST_PRODUCT, low, middle, percent)


def _floor(
    what: str, least: float, low: float | None, middle: float | None, form: Callable[[float], str]
) -> tuple[list[str], bool | None]:
    cells = [form(least), *("" if value is None else form(value) for value in (low, middle))]
    return [what, *cells], None if low is None else low >= least


def floor_table(results: dict[str, Any]) -> Table:
    """What was promised, and what this run found."""
    words = {True: "yes", False: "NO", None: "not measured"}
    checked = list(floors(results))
    rows = [[*line, words[reached]] for line, reached in checked]
    missed = sum(reached is False for _, reached in checked)
    known = sum(reached is not None for _, reached in checked)
    notes = [f"{known - missed} of {known} reached, by the best runs; ratios are the rival's seconds / fastmlp's"]
    return Table("Floors", ["", "floor", "best", "median", "reached"], rows, notes if known else [])


def tables(results: dict[str, Any], part: str | None = None) -> list[Table]:
    """The tables of one part, or of all that has been measured."""
    made: dict[str, list[Table]] = {"machine": [machine_table(results)]}
    made |= {"ceiling": [ceiling_table(results)]} if "ceiling" in results else {}
    made |= {"products": [product_table(results)]} if "products" in results else {}
    for name, case in results["cases"].items():
        group = "predict" if "row" in name else "starts" if name.endswith("start") else name
        made.setdefault(group, []).append(case_table(name, case))
    made["growth"] = list(growth_tables(results))
    made |= {"control": [control_table(results)], "floors": [floor_table(results)]}
    return [table for name, group in made.items() if part in (None, name) for table in group if table.rows]


def page(results: dict[str, Any], notes: str) -> str:
    """The Markdown page: what was run where, the plot, the tables, and the notes."""
    how = (
        f"Measured with `{results['command']}`. Every system has a process of its own. A round runs each of them once, "
        "and the rounds follow each other, so that a slow phase of the machine meets all. A run is as many epochs as "
        "fill half a second, and its figure is their mean. *best* is the fastest run, "
        "*median* the middle one; *best / ours* is a system's best divided by fastmlp's: above 1 is slower than "
        "fastmlp. The ceiling is what the cores do with nothing but multiply-adds in registers, timed in every round.\n"
    )
    picture = ["![Seconds of an epoch, by case and system](benchmark.png)\n"] if epochs(results) else []
    first, *others = [table.markdown() for table in tables(results)]
    last = ["## What each change was expected to give, and gave\n", notes.strip() + "\n"]
    return "\n".join(["# Benchmark\n", how, SYSTEMS, first, *picture, *others, *last])


def epochs(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The cases that the plot shows: those with a time."""
    found = {name: results["cases"][name] for name in EPOCHS if name in results["cases"]}
    return {name: case for name, case in found.items() if any(case["seconds"].values())}


def plot(results: dict[str, Any]) -> Any:
    """Bars of the best seconds an epoch, for each case and system; returns the figure."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import StrMethodFormatter

    cases = epochs(results)
    counts = [sum(map(bool, case["seconds"].values())) for case in cases.values()]
    figure = Figure(figsize=(9, 0.9 * len(cases) + 0.3 * sum(counts) + 0.6), dpi=120, layout="constrained")
    axes = figure.subplots(len(cases), 1, sharex=True, squeeze=False, height_ratios=[n + 1 for n in counts])[:, 0]
    for ax, (name, case) in zip(axes, cases.items(), strict=True):
        _bars(ax, f"{name}: {case['title'].removeprefix('an epoch: ')}", case)
    left = min(map(limit, cases.values())) / 1.6
    right = max(min(taken) for case in cases.values() for taken in case["seconds"].values() if taken) * 1.9
    axes[-1].set(xscale="log", xlim=(left, right), xlabel="seconds of one epoch, best run (log scale)")
    axes[-1].xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    return figure


def limit(case: dict[str, Any]) -> float:
    """Seconds of an epoch at the ceiling of all threads."""
    return case["flops"] / max(case["ceiling"]) / 1e9


def _bars(ax: Any, title: str, case: dict[str, Any]) -> None:
    best = sorted(((min(taken), name) for name, taken in case["seconds"].items() if taken), reverse=True)
    for place, (seconds, name) in enumerate(best):
        colour = next(colour for known, colour in sorted(COLOURS.items(), reverse=True) if name.startswith(known))
        own = name == "fastmlp"
        ax.barh(place, seconds, color=colour, height=0.75, edgecolor="black" if own else colour, lw=1.2)
        ax.text(seconds * 1.03, place, duration(seconds), va="center", fontsize=9, weight="bold" if own else "normal")
    ax.set_yticks(range(len(best)), [name for _, name in best], fontsize=9)
    for label in ax.get_yticklabels():
        label.set_weight("bold" if label.get_text() == "fastmlp" else "normal")
    ax.axvline(limit(case), color="black", ls="--", lw=1.2)
    ax.text(limit(case), len(best) - 0.4, " ceiling", fontsize=8, va="bottom")
    ax.set_title(title, fontsize=10, loc="left", pad=12)
    ax.spines[["top", "right"]].set_visible(False)


def write(results: dict[str, Any], folder: Path, notes: Path = NOTES) -> None:
    """Leave benchmark.md and benchmark.png in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmark.md").write_text(page(results, notes.read_text("utf-8") if notes.exists() else ""), "utf-8")
    if epochs(results):
        plot(results).savefig(folder / "benchmark.png")


def main(arguments: list[str] | None = None) -> None:
    """Print, or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="file that benchmark.py left in runs/")
    parser.add_argument("--part", help="print the tables of one part of the run only")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write benchmark.md and benchmark.png there")
    options = parser.parse_args(arguments)
    results = json.loads(options.results.read_text("utf-8"))
    if options.out:
        write(results, options.out)
        print(f"wrote {options.out}/: benchmark.md" + (", benchmark.png" if epochs(results) else ""))
    else:
        print("\n".join(table.text() for table in tables(results, options.part)), flush=True)


if __name__ == "__main__":
    main()
