"""Draw what `benchmark.py` measured: `benchmark_plot.py FOLDER < run.json` writes pictures, and prints their names.

benchmark.png has a row a case, and a point a system: its time divided by fastmlp's, the best runs; a line goes from
there to the ratio of the medians. Points and not bars: a bar has no beginning on a logarithmic axis.
benchmark_threads.png, where more than two numbers of threads were measured, is the gain of each net.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

OURS = {"graph": "fastmlp graph", "calls": "fastmlp, call of one epoch"}
# Okabe and Ito's palette, told apart with any colour vision, and markers. The older build is black, with our markers.
MARKS = {
    "fastmlp": ("#0072b2", "D"), "fastmlp, 1 thread": ("#0072b2", "v"), "fastmlp, 2 threads": ("#0072b2", "o"),
    "fastmlp, always 2 threads": ("#0072b2", "^"), "fastmlp, epoch of a long call": ("#0072b2", ">"),
    "fastmlp, call of one epoch": ("#0072b2", "<"),
    "fastmlp graph": ("#56b4e9", "h"), "fastmlp, lazy": ("#56b4e9", "*"), "JAX": ("#009e73", "s"),
    "NumPy": ("#999999", "X"),
    "PyTorch": ("#e69f00", "^"), "PyTorch, 1 thread": ("#e69f00", "v"), "PyTorch, default Adam": ("#d55e00", "^"),
    "PyTorch DataLoader": ("#d55e00", "P"), "PyTorch, default Adam, 1 thread": ("#d55e00", "v"),
    "PyTorch, CSR product": ("#e69f00", "<"), "PyTorch, EmbeddingBag": ("#e69f00", ">"),
    "PyTorch, 2 threads": ("#e69f00", "^"), "PyTorch, dense batches": ("#e69f00", "d"),
    "scikit-learn": ("#cc79a7", "p"),
}  # fmt: skip
MARKS |= {
    name.replace("fastmlp", "before"): ("#000000", MARKS[name][1]) for name in MARKS if name.startswith("fastmlp")
}
MARKS |= {"ceiling": ("#777777", "|")}
TICKS = (0.2, 0.5, 1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)


def ours(name: str) -> str:
    """Who is compared with the others."""
    return "fastmlp, 1 thread" if name.startswith("table") else OURS.get(name, "fastmlp")


def ratios(name: str, case: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """{system: (best / our best, median / our median)} of all but ours; the ceiling too, with its best time alone."""
    seconds = {system: taken for system, taken in case["seconds"].items() if taken}
    if ours(name) not in seconds:
        return {}
    own = seconds.pop(ours(name))
    found = {system: (min(taken) / min(own), median(taken) / median(own)) for system, taken in seconds.items()}
    whole = case["title"].startswith("an epoch") and ours(name) == "fastmlp" and " beside " not in name
    if found and whole and case["flops"] and case["ceiling"]:
        share = case["flops"] / max(case["ceiling"]) / 1e9 / min(own)
        found["ceiling"] = share, share
    return found


def gains(results: dict[str, Any]) -> dict[str, dict[int, float]]:
    """{net: {threads: best seconds with one / best seconds with so many}} where more than two numbers were measured."""
    found: dict[str, dict[int, float]] = {}
    for group, cases in results["growth"].items():
        best = {int(name.split()[-1]): min(one["seconds"]) for name, one in cases.items() if one["seconds"]}
        if group.startswith("threads") and 1 in best and len(best) > 2:
            title = next(iter(cases.values()))["title"]
            found[title] = {count: best[1] / taken for count, taken in best.items()}
    return found


def machine(results: dict[str, Any]) -> str:
    """Where it was measured, in a line."""
    facts = dict(map(tuple, results["machine"]))
    return ", ".join(str(facts[name]) for name in ("processor", "date") if name in facts) + (
        f", {facts['cores']} cores" if "cores" in facts else ""
    )


def label(name: str, case: dict[str, Any]) -> str:
    """A case in two lines."""
    title = case["title"].partition(": ")[2] or case["title"]
    words = title.split(", ")
    return f"{name}\n{', '.join([word for word in words if word not in name][:2])[:44]}"


def plot(results: dict[str, Any]) -> Any:
    """The figure of ratios, or None where nothing can be compared."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator, StrMethodFormatter

    rows = {name: ratios(name, case) for name, case in results["cases"].items()}
    rows = {name: found for name, found in rows.items() if found}
    if not rows:
        return None
    figure = Figure(figsize=(9.5, 0.52 * len(rows) + 1.9), dpi=120, layout="constrained")
    ax, known = figure.subplots(), dict[str, Any]()
    for place, found in enumerate(rows.values()):
        ax.axhline(place, color="#dddddd", lw=0.8, zorder=0)
        # Points that would cover each other are moved up and down in turn.
        for turn, (system, (best, middle)) in enumerate(sorted(found.items(), key=lambda one: one[1])):
            colour, marker = MARKS.get(system, ("#999999", "."))
            height = place + (0 if len(found) == 1 else (-0.2, 0.0, 0.2)[turn % 3])
            ax.plot([best, middle], [height, height], color=colour, lw=1.2, alpha=0.6, zorder=1)
            style = {"ms": 11, "mew": 2} if marker == "|" else {"ms": 7, "mec": "white", "mew": 0.6}
            known[system] = ax.plot(best, height, marker, color=colour, zorder=2, **style)[0]
    ax.axvline(1, color="black", lw=1.2)
    values = [value for found in rows.values() for pair in found.values() for value in pair]
    ax.set(xscale="log", xlim=(min(*values, 0.9) / 1.15, max(*values, 1.1) * 1.15), ylim=(len(rows) - 0.5, -0.5))
    ax.set_xticks([tick for tick in TICKS if ax.get_xlim()[0] <= tick <= ax.get_xlim()[1]])
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.grid(axis="x", color="#eeeeee")
    ax.set_yticks(range(len(rows)), [label(name, results["cases"][name]) for name in rows], fontsize=8)
    ax.set_xlabel(
        "time / time of fastmlp, best runs, with a line to that of the medians (log scale); right of 1: slower"
    )
    ax.spines[["top", "right"]].set_visible(False)
    ax.annotate("fastmlp", (1, 1), (3, 2), xycoords=("data", "axes fraction"), textcoords="offset points", fontsize=8)
    ax.set_title(machine(results), fontsize=9, pad=16)
    names = [name for name in MARKS if name in known] + sorted(known.keys() - MARKS.keys())
    figure.legend(
        [known[name] for name in names], names, loc="outside upper center", ncols=4, fontsize=8, frameon=False
    )
    return figure


def threads_plot(results: dict[str, Any]) -> Any:
    """The figure of gains by number of threads, or None."""
    from matplotlib.figure import Figure

    found = gains(results)
    if not found:
        return None
    figure = Figure(figsize=(6.5, 4.2), dpi=120, layout="constrained")
    ax, most = figure.subplots(), max(count for net in found.values() for count in net)
    ax.plot([1, most], [1, most], color="#999999", lw=1, ls="--", label="as many times as there are threads")
    for (title, net), name in zip(found.items(), ("fastmlp", "PyTorch", "JAX", "scikit-learn"), strict=False):
        colour, marker = MARKS[name]
        ax.plot(list(net), list(net.values()), marker=marker, color=colour, label=title)
    ticks = sorted({count for net in found.values() for count in net})
    for axis, scale in ((ax.xaxis, ax.set_xscale), (ax.yaxis, ax.set_yscale)):
        scale("log", base=2)
        axis.set_ticks(ticks, list(map(str, ticks)))
    ax.set(xlabel="threads, at most", ylabel="times as fast as one thread, best runs")
    ax.set_title(machine(results), fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(fontsize=8, frameon=False)
    return figure


def main() -> None:
    """Draw what there is to draw."""
    results, folder = json.load(sys.stdin), Path(sys.argv[1])
    for name, figure in (("benchmark.png", plot(results)), ("benchmark_threads.png", threads_plot(results))):
        if figure is not None:
            figure.savefig(folder / name)
            print(name)


if __name__ == "__main__":
    main()
