"""Print what `benchmark.py` measured, hold it against the floors, and write the page and the plots.

It reads the files that runs leave in runs/; so the page can be written again without measuring, when the notes have
changed: benchmark_report.py runs/benchmark-<date>.json --out docs. Of several files of one machine it makes one page:
where two have measured the same, the later one counts.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

SCRIPTS = Path(__file__).resolve().parent
ROOT = SCRIPTS.parent
NOTES = ROOT / "docs" / "benchmark_notes.md"
NETS = tuple(f"table {widths}" for widths in ("16-100-26", "36-100-6", "8-16-3", "40-256-128-2"))
TABLES = ("letter", "magic", "satimage")
# Who is compared with the others, where that is not fastmlp.
OURS = {"graph": "fastmlp graph", "calls": "fastmlp, call of one epoch"} | dict.fromkeys(NETS, "fastmlp, 1 thread")
OURS |= dict.fromkeys(("estimator", "grid"), "fastmlp estimator")
TORCH = ("PyTorch", "PyTorch, 1 thread", "PyTorch, 2 threads", "PyTorch, CSR product", "PyTorch, EmbeddingBag")
RIVALS = {
    "best PyTorch": (*TORCH, "PyTorch, dense batches"),
    "PyTorch, default Adam": ("PyTorch, default Adam", "PyTorch, default Adam, 1 thread"),
    "the better of one thread and two": ("fastmlp, 1 thread", "fastmlp, always 2 threads"),
}
# (case, rival, how many times the seconds of fastmlp the rival must take at least)
RATIOS = (
    ("small", "before", 1.5), ("small", "JAX", 2.5), ("small", "best PyTorch", 5.0),
    ("small", "PyTorch DataLoader", 7.5), ("small", "scikit-learn", 6.5),
    ("tiny", "before", 1.25), ("tiny", "JAX", 3.8), ("tiny", "best PyTorch", 10.0),
    ("medium", "before", 1.4), ("medium", "JAX", 1.7), ("medium", "best PyTorch", 2.2),
    ("large", "before", 1.15), ("large", "JAX", 1.25), ("large", "best PyTorch", 2.2),
    ("regularised", "best PyTorch", 3.0), ("standardised", "before", 1 / 1.03),
    ("graph", "PyTorch, default Adam", 1.0), ("one row", "every rival", 1.0),
    ("10,000 rows", "before", 1.6), ("10,000 rows", "JAX", 2.0), ("10,000 rows", "best PyTorch", 2.2),
    *((net, rival, factor) for net in NETS for rival, factor in (("before, 1 thread", 1.5), ("JAX", 3.0))),
    *((table, "scikit-learn", 6.0) for table in TABLES),
    ("estimator", "scikit-learn", 6.0), ("grid", "scikit-learn", 1.0),
    ("sparse", "scikit-learn", 25.0), ("sparse", "best PyTorch", 25.0),
    ("calls", "fastmlp, epoch of a long call", 1 / 1.05),
    ("warm start", "PyTorch", 1.0), ("warm start", "scikit-learn", 1.0),
)  # fmt: skip
# (case, who of ours, who else of ours, how many times the seconds of the first the second must take at least)
OWN = (*((net, "fastmlp, 2 threads", "fastmlp, 1 thread", 1.0) for net in NETS),
       *((table, "fastmlp estimator", "scikit-learn", 1.0) for table in (*TABLES, "penbased", "optdigits", "diamonds")),
       ("sparse", "fastmlp, lazy", "fastmlp", 1.0))  # fmt: skip
BESIDE_ONE = (("JAX", 2.0), ("best PyTorch", 2.5))
BESIDE_MORE = (("JAX", 1.6), ("best PyTorch", 2.5), ("the better of one thread and two", 1 / 1.1))
LONGEST = (("one row", 10e-6), ("cold start", 12.0))  # seconds
LEAST_SHARE, LEAST_PRODUCT = {"large": 0.65}, 0.85  # of the ceiling: of all threads, of one
MOST_MEMORY = 250.0  # MB of the sparse case beyond the imported library, the arrays and the moments
NOISY = 0.1  # cores that others use
SYSTEMS = """- fastmlp: the engine behind `fit`, all threads; fastmlp graph: the same step node by node, one thread
- JAX: an epoch as one jitted `lax.scan`, the data set on the device
- PyTorch: the data set in memory as one float tensor, fused Adam, all threads unless said; default Adam: not fused
- PyTorch DataLoader: `TensorDataset`, `DataLoader`, Adam with its defaults
- scikit-learn: `MLPClassifier` in float32; NumPy: `x @ w + b` and `np.maximum`
- fastmlp estimator: `fastmlp.sklearn.MLPClassifier`, called as scikit-learn's
- before: an older build of fastmlp, with a folder of its own for compiled kernels
- beside K, nice N: at the same time, K processes of that niceness burn a core each
- N threads: at most so many, 1 where that is faster; always N threads: without that choice
- sparse: fastmlp makes six whole epochs from the first, and what the weights are owed at the end is in them; the others
  make some steps, which stand for the steps of an epoch. PyTorch there: Adam over the product of a CSR batch, over a
  dense batch, or `EmbeddingBag` with `SparseAdam`
"""

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
    return f"{math.floor(100 * times + 1e-9) / 100:.2f} x" if math.isfinite(times) else str(times)


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
    notes += [f"before: fastmlp at {results['against']}"] if results.get("against") else []
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
    more, columns = case.get("more", {}), {"accuracy": "test accuracy", "peak": "peak memory"}
    columns = {key: column for key, column in columns.items() if any(key in one for one in more.values())}
    for system in sorted(seconds, key=lambda system: (system != ours, min(seconds[system], default=math.inf))):
        if seconds[system]:
            row = [system, *(duration(best(seconds[system])) for best in (min, median))]
            for best in (min, median):
                times = ratio(seconds, ours, [system], best)
                row.append("" if times is None or system == ours else f"{digits(times)} x")
            found = [more.get(system, {}).get(key, "") for key in columns]
            found = [one if isinstance(one, str) else f"{one:,.0f} MB" for one in found]
            rows.append([*row, str(len(seconds[system])), *found])
    notes = [f"{system}: {note}" for system, note in case["notes"].items()]
    part, middle = share(case, min), share(case, median)
    if part is not None and middle is not None:
        speed = case["flops"] / min(seconds["fastmlp"]) / 1e9
        notes.insert(0, f"fastmlp: {digits(speed)} GFLOP/s, {percent(part)} of the ceiling of all threads "
                     f"({digits(max(case['ceiling']))}); medians {percent(middle)}")  # fmt: skip
    notes += [
        f"{system}: {one['peak']:,.0f} MB are {one['library']:,.0f} of the imported library, {one['arrays']:,.0f} of "
        f"the arrays, {one['moments']:,.0f} of the moments and {beyond(one):,.0f} more"
        for system, one in more.items()
        if "library" in one
    ]
    noise = case.get("others") or 0
    notes += [f"not quiet: others used {noise:.1f} cores before it"] if rows and noise > NOISY else []
    head = ["", "best", "median", "best / ours", "median / ours", "runs", *columns.values()]
    return Table(f"{name}: {case['title']}", head, rows, notes)


def beyond(memory: dict[str, float]) -> float:
    """MB of a peak that are neither the library's nor the arrays' nor the moments'."""
    return memory["peak"] - memory["library"] - memory["arrays"] - memory["moments"]


def growth_tables(results: dict[str, Any]) -> Iterator[Table]:
    """How fastmlp's epoch grows, one table for each thing that grows."""
    for group, cases in results["growth"].items():
        rows = [
            [f"{group.split()[0]} {int(name.split()[-1]):,}", one["title"], f"{one['rows']:,}"]
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
    wanted = [(name, OURS.get(name, "fastmlp"), rival, factor) for name, rival, factor in RATIOS]
    for name in cases:
        if " beside " in name:
            known = BESIDE_ONE if " beside 1," in name else BESIDE_MORE
            wanted += [(name, "fastmlp", rival, factor) for rival, factor in known]
    for name, ours, rival, factor in [*wanted, *OWN]:
        if name in cases:
            seconds = cases[name]["seconds"]
            everyone = [system for system in seconds if not system.startswith(("fastmlp", "before"))]
            names = everyone if rival == "every rival" else list(RIVALS.get(rival, (rival,)))
            low, middle = (ratio(seconds, ours, names, best) for best in (min, median))
            who = f"{ours.removeprefix('fastmlp, ')} and {rival.removeprefix('fastmlp, ')}"
            what = who if (name, ours, rival, factor) in OWN else rival
            if rival in seconds or not rival.startswith("before"):
                yield _floor(f"{name}, {what}", factor, low, middle, at_least)
    for one in [cases.get("sparse", {}).get("more", {}).get("fastmlp")]:
        if one:
            line, _ = _floor("sparse, memory", MOST_MEMORY, beyond(one), None, lambda size: f"{size:,.0f} MB")
            yield [line[0], f"under {line[1]}", *line[2:]], beyond(one) <= MOST_MEMORY
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


def part_of(name: str) -> str:
    """The part of a run that measures a case."""
    parts = {"one row": "predict", "10,000 rows": "predict"} | dict.fromkeys(TABLES, "tables")
    parts |= dict.fromkeys(NETS, "nets") | {"warm start": "starts", "cold start": "starts"}
    return "busy" if " beside " in name else parts.get(name, name)


def tables(results: dict[str, Any], part: str | None = None) -> list[Table]:
    """The tables of one part, or of all that has been measured."""
    made: dict[str, list[Table]] = {"machine": [machine_table(results)]}
    made |= {"ceiling": [ceiling_table(results)]} if "ceiling" in results else {}
    made |= {"products": [product_table(results)]} if "products" in results else {}
    for name, case in results["cases"].items():
        made.setdefault(part_of(name), []).append(case_table(name, case))
    made["growth"] = list(growth_tables(results))
    made |= {"control": [control_table(results)], "floors": [floor_table(results)]}
    found = [table for name, group in made.items() if part in (None, name) for table in group]
    return [table for table in found if table.rows or (table.notes and table.head[0] == "")]


def page(results: dict[str, Any], notes: str, drawn: list[str]) -> str:
    """The Markdown page: what was run where, the plots, the tables, and the notes."""
    how = (
        f"Measured with `{results['command']}`. Every system has a process of its own. A round runs each of them once, "
        "and the rounds follow each other, so that a slow phase of the machine meets all. A run is as many epochs as "
        "fill half a second, or one whole call, and its figure is their mean. *best* is the fastest run, *median* the "
        "middle one; *best / ours* is a system's best divided by fastmlp's: above 1 is slower than fastmlp. The "
        "ceiling is what the cores do with nothing but multiply-adds in registers, timed in every round.\n"
    )
    words = {"benchmark.png": "Time of each system divided by fastmlp's, a row a case"}
    words |= {"benchmark_threads.png": "How many times faster an epoch is with more threads"}
    picture = [f"![{words[name]}]({name})\n" for name in drawn]
    first, *others = [table.markdown() for table in tables(results)]
    last = ["## What each change was expected to give, and gave\n", notes.strip() + "\n"]
    return "\n".join(["# Benchmark\n", how, SYSTEMS, first, *picture, *others, *last])


def merged(files: list[dict[str, Any]]) -> dict[str, Any]:
    """One run of several, of one machine. Error: ValueError where they are of two."""
    whole = files[0]
    for one in files[1:]:
        machines = [[row for row in each["machine"] if row[0] in ("processor", "cores")] for each in (whole, one)]
        if machines[0] != machines[1]:
            raise ValueError(f"the runs are of two machines, {machines[0]} and {machines[1]}; they must be of one")
        values = dict(map(tuple, one["machine"]))
        rows = [[name, value if values.get(name) in (value, None) else f"{value}; {values[name]}"]
                for name, value in whole["machine"]]  # fmt: skip
        whole = whole | one | {
            "machine": rows, "command": f"{whole['command']}; {one['command']}",
            "quick": whole["quick"] or one["quick"], "missing": sorted({*whole["missing"], *one["missing"]}),
            "against": one.get("against") or whole.get("against"), "cases": whole["cases"] | one["cases"],
            "growth": whole["growth"] | one["growth"], "control": whole["control"] + one["control"],
        }  # fmt: skip
    return whole


def write(results: dict[str, Any], folder: Path, notes: Path = NOTES) -> list[str]:
    """Leave benchmark.md and the plots in the folder; returns the names of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, str(SCRIPTS / "benchmark_plot.py"), str(folder)]
    drawn = subprocess.run(words, input=json.dumps(results), capture_output=True, text=True, check=True).stdout.split()
    text = page(results, notes.read_text("utf-8") if notes.exists() else "", drawn)
    (folder / "benchmark.md").write_text(text, "utf-8")
    return ["benchmark.md", *drawn]


def main(arguments: list[str] | None = None) -> None:
    """Print, or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", help="files that benchmark.py left in runs/")
    parser.add_argument("--part", help="print the tables of one part of the run only")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write benchmark.md and its plots there")
    options = parser.parse_args(arguments)
    try:
        results = merged([json.loads(path.read_text("utf-8")) for path in options.results])
    except ValueError as error:
        parser.error(str(error))
    if options.out:
        print(f"wrote {options.out}/: {', '.join(write(results, options.out))}")
    else:
        print("\n".join(table.text() for table in tables(results, options.part)), flush=True)


if __name__ == "__main__":
    main()
