"""Measure fastmlp against the machine's multiply-add ceiling, and against PyTorch, JAX, scikit-learn and NumPy.

Everything that is compared runs in alternation, each system in a process of its own, and the figures are the best and
the median of the rounds: on a shared machine, times drift, and only neighbours compare. The tables are printed by
`benchmark_report.py` from a file in runs/, and it can print them, and write the page, again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

SCRIPTS = Path(__file__).resolve().parent
ROOT = SCRIPTS.parent
sys.path.insert(0, str(ROOT))

import llvmlite.binding as llvm  # noqa: E402
import numba  # noqa: E402
import numpy as np  # noqa: E402

from fastmlp import kernels  # noqa: E402
from fastmlp.kernels import simd  # noqa: E402
from fastmlp.machine import available_cores  # noqa: E402

FUSED = ("PyTorch", "PyTorch, 1 thread")
GRAPH = ("fastmlp graph", "PyTorch, default Adam", "PyTorch, default Adam, 1 thread")
EPOCHS = {
    "small": ("fastmlp", GRAPH[0], "JAX", *FUSED, *GRAPH[1:], "PyTorch DataLoader", "scikit-learn"),
    "tiny": ("fastmlp", "JAX", *FUSED),
    "medium": ("fastmlp", "JAX", *FUSED),
    "large": ("fastmlp", "JAX", *FUSED),
    "regularised": ("fastmlp", *FUSED),
}
PREDICTIONS = ("fastmlp", "NumPy", "JAX", *FUSED, "scikit-learn")
MODULES = {"JAX": "jax", "PyTorch": "torch", "scikit-learn": "sklearn"}
DISTRIBUTIONS = ("fastmlp", "numpy", "numba", "llvmlite", "torch", "jax", "jaxlib", "scikit-learn")
SHAPES = ((64, 784, 128), (128, 1024, 1024))  # rows, inputs, outputs of a product
PAUSE = 0.3  # seconds before each run: the idle threads of the one before spin for up to 0.2
LONGEST = 20.0  # a rival that takes longer has no further round
HANGING = 120.0  # a worker that answers no sooner is ended
CASE_SECONDS = 40.0  # the rounds of a case end after this, once there are two

READ_IDX = """
import gzip, sys, warnings
import numpy as np
def read(name, skip):
    return np.frombuffer(gzip.open(f"{sys.argv[1]}/{name}-ubyte.gz").read(), np.uint8, offset=skip)
x, z = (read(f"{part}-images-idx3", 16).reshape(-1, 784) / np.float32(255) for part in ("train", "t10k"))
y, t = (read(f"{part}-labels-idx1", 8).astype(np.int64) for part in ("train", "t10k"))
"""
WHOLE = {
    "PyTorch": """
import torch
x, y, z, t = (torch.from_numpy(a) for a in (x, y, z, t))
L, R = torch.nn.Linear, torch.nn.ReLU
net = torch.nn.Sequential(L(784, 128), R(), L(128, 64), R(), L(64, 10))
adam = torch.optim.Adam(net.parameters(), fused=True)
for rows in torch.randperm(len(x)).split(64):
    loss = torch.nn.functional.cross_entropy(net(x[rows]), y[rows])
    adam.zero_grad()
    loss.backward()
    adam.step()
with torch.inference_mode():
    accuracy = (net(z).argmax(1) == t).float().mean().item()
print(f"test accuracy {100 * accuracy:.2f} %")
""",
    "scikit-learn": """
from sklearn.neural_network import MLPClassifier
warnings.simplefilter("ignore")
net = MLPClassifier((128, 64), batch_size=64, max_iter=1).fit(x, y)
print(f"test accuracy {100 * net.score(z, t):.2f} %")
""",
}


@numba.njit(nogil=True)  # not `kernel`: a cached one keeps its module's name, and a script has another in tests
def ceiling_chains(array, rounds):  # type: ignore[no-untyped-def]
    """Nothing but multiply-adds in registers."""
    return simd.multiply_add_chains(array, rounds)


class Chains:
    """A fixed piece of work that no product can be faster than: about 10 ms of multiply-adds a thread."""

    def __init__(self, dtype: Any, pool: ThreadPoolExecutor) -> None:
        self.array, self.pool = kernels.empty((2,), dtype), pool
        self.array[...] = 0.5, 1.0
        chain = 2 * simd.TILE_ROWS * simd.TILE_VECTORS * kernels.lanes(dtype)
        self.turns = round(2e9 / chain)
        self.flops = self.turns * chain
        ceiling_chains(self.array, 1)

    def run(self) -> None:
        """All of it on this thread."""
        ceiling_chains(self.array, self.turns)

    def gflops(self, threads: int) -> float:
        """GFLOP/s of so many threads at once."""
        start = perf_counter()
        if threads == 1:
            self.run()
        else:
            for job in [self.pool.submit(self.run) for _ in range(threads)]:
                job.result()
        return threads * self.flops / (perf_counter() - start) / 1e9


class Worker:
    """A process of `rivals.py`; a call is a run, and gives its seconds, or None where the process has ended."""

    def __init__(self, system: str, case: str, changes: list[str]) -> None:
        command = [sys.executable, str(SCRIPTS / "rivals.py"), system, case, *changes]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ready = self._answer() == "ready"

    def _answer(self) -> str:
        assert self.process.stdout
        alarm = threading.Timer(HANGING, self.process.kill)
        alarm.start()
        line = self.process.stdout.readline()
        alarm.cancel()
        return line.strip()

    def __call__(self) -> float | None:
        assert self.process.stdin
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except OSError:
            return None
        line = self._answer()
        return float(line) if line else None

    def end(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.wait()


class Session:
    """The options, the machine's own speed, and what has been measured so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.quick, self.cores = options.quick, available_cores()
        self.rounds = options.rounds or (2 if options.quick else 5)
        self.longest = CASE_SECONDS if options.rounds is None else float("inf")
        self.missing = [name for name, module in MODULES.items() if find_spec(module) is None]
        pool = ThreadPoolExecutor(self.cores)
        self.chains = {name: Chains(name, pool) for name in ("float32", "float64")}
        listed = subprocess.run(
            [sys.executable, str(SCRIPTS / "rivals.py")], capture_output=True, text=True, check=True
        )
        self.listed = [line.split("\t") for line in listed.stdout.splitlines()]  # name, title, rows, flops of a row
        self.results: dict[str, Any] = {
            "machine": machine(self.cores), "command": command(options), "quick": self.quick,
            "missing": self.missing, "cases": {}, "growth": {}, "control": [],
        }  # fmt: skip

    def control(self) -> None:
        """Time the same piece of work as ever: what it varies by is the machine's doing."""
        start = perf_counter()
        self.chains["float32"].run()
        self.results["control"].append(perf_counter() - start)

    def installed(self, systems: tuple[str, ...]) -> list[str]:
        """The systems that can run here."""
        return [name for name in systems if not name.startswith(tuple(self.missing))]

    def case(self, name: str) -> tuple[str, int, int, list[str]]:
        """(title, rows, floating-point operations of all rows, changes for a worker): the case, or its quick form."""
        title, rows, flops = next(line[1:] for line in self.listed if line[0] == name)
        fewer = 6_000 if self.quick and int(rows) > 10_000 else int(rows)
        changes = [f"rows={fewer}"] if fewer < int(rows) else []
        if self.quick and name in ("one row", "10,000 rows"):
            changes += ["repeat=200" if name == "one row" else "repeat=1"]
        return title, fewer, int(flops) * fewer, changes

    def race(self, runners: Mapping[str, Callable[[], float | None]], rounds: int, pause: float) -> dict[str, Any]:
        """Run each of `runners` once a round, and the ceiling of all cores with it. Who runs first changes by round."""
        seconds: dict[str, list[float]] = {name: [] for name in runners}
        notes: dict[str, str] = {}
        ceiling, start = [], perf_counter()
        for turn in range(rounds):
            if turn >= 2 and perf_counter() - start > self.longest:
                break
            sleep(pause)
            self.control()
            ceiling += [self.chains["float32"].gflops(self.cores) for _ in range(3)]
            names = list(runners)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                if name in notes:
                    continue
                sleep(pause)
                taken = runners[name]()
                seconds[name] += [] if taken is None else [taken]
                if taken is None:
                    notes[name] = f"ended without an answer in round {turn + 1}"
                elif taken > LONGEST and name != "fastmlp":
                    notes[name] = f"took {taken:.0f} s in round {turn + 1}: no further round"
                    getattr(runners[name], "end", lambda: None)()
        return {"seconds": seconds, "notes": notes, "ceiling": ceiling}

    def race_workers(self, entries: dict[str, tuple[str, str]], rounds: int, pause: float) -> dict[str, Any]:
        """Race processes of `rivals.py`, {label: (system, case)}; one that does not get ready is noted."""
        workers: dict[str, Worker] = {}
        try:
            for label, (system, case) in entries.items():
                workers[label] = Worker(system, case, self.case(case)[3])
            late = {label: "did not start" for label, worker in workers.items() if not worker.ready}
            result = self.race({k: worker for k, worker in workers.items() if k not in late}, rounds, pause)
        finally:
            for worker in workers.values():
                worker.end()
        result["notes"] |= late
        return result


def machine(cores: int) -> list[list[str]]:
    """(name, value) of the machine, the versions and the date."""
    try:
        names = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        names = []
    cpu = f"{names[0] if names else platform.processor()} ({llvm.get_host_cpu_name()})"
    rows = [["processor", cpu], ["cores", f"{cores} of {os.cpu_count()}"]]
    rows += [["vectors", f"{simd.VECTOR_BYTES} bytes, tile {simd.TILE_ROWS} x {simd.TILE_VECTORS}"]]
    rows += [["system", f"{platform.system()} {platform.machine()}"], ["Python", platform.python_version()]]
    for name in DISTRIBUTIONS:
        try:
            rows.append([name, version(name)])
        except PackageNotFoundError:
            rows += [[name, "source tree"]] if name == "fastmlp" else []
    return [*rows, ["date", datetime.now().strftime("%Y-%m-%d %H:%M")]]


def command(options: argparse.Namespace) -> str:
    """The command line that measures the same."""
    words = ["python scripts/benchmark.py"]
    words += ["--quick"] if options.quick else []
    words += [f"--only {','.join(options.only)}"] if options.only != list(PARTS) else []
    words += [f"--rounds {options.rounds}"] if options.rounds else []
    return " ".join(words + ([f"--out {options.out.name}"] if options.out else []))


def measure_ceiling(session: Session) -> None:
    """GFLOP/s of multiply-adds in registers, on one thread and on all at once."""
    found: dict[str, dict[str, list[float]]] = {name: {"one": [], "all": []} for name in session.chains}
    for _ in range(3 * session.rounds):
        session.control()
        for name, chains in session.chains.items():
            found[name]["one"].append(chains.gflops(1))
            found[name]["all"].append(chains.gflops(session.cores))
    session.results["ceiling"] = found


def measure_products(session: Session) -> None:
    """GFLOP/s of the three products of a linear layer, each round beside the ceiling."""
    session.results["products"] = []
    for dtype, chains in session.chains.items():
        for shape in SHAPES:
            jobs, flops = product_jobs(dtype, *shape)
            found: dict[str, list[float]] = {name: [] for name in jobs}
            ceiling = []
            for turn in range(3 * session.rounds + 1):
                ceiling.append(chains.gflops(1))
                for name, job in jobs.items():
                    start = perf_counter()
                    job()
                    found[name] += [flops / (perf_counter() - start) / 1e9] if turn else []  # the first compiles
            for name, speeds in found.items():
                label = f"{dtype} {' x '.join(map(str, shape))}"
                session.results["products"].append({"of": label, "name": name, "gflops": speeds, "ceiling": ceiling})


def product_jobs(dtype: Any, rows: int, inputs: int, outputs: int) -> tuple[dict[str, Callable[[], None]], float]:
    """The three products, each long enough to time, and the floating-point operations of a job."""
    rng = np.random.default_rng(0)

    def filled(*shape: int) -> Any:
        array = kernels.empty(shape, dtype)
        array[...] = rng.standard_normal(shape)
        return array

    def repeated(function: Callable[..., Any], *arguments: Any) -> Callable[[], None]:
        def job() -> None:
            for _ in range(times):
                function(*arguments)

        return job

    x, dy = filled(rows, inputs), filled(rows, kernels.padded(outputs, dtype))
    w, dw = (filled(*kernels.packed_shape(outputs, inputs, dtype)) for _ in range(2))
    y, dx = filled(*dy.shape), filled(rows, kernels.padded(inputs, dtype))
    scratch, tiles = filled(kernels.scratch_size(dtype)), kernels.tiles(dtype)
    times = max(1, round(2e9 / (2 * rows * inputs * outputs)))
    jobs = {
        "y = x w": repeated(kernels.product, x, w, y, tiles, 0, outputs),
        "dw = xT dy": repeated(kernels.product_dw, x, dy, dw, tiles, 0, outputs),
        "dx = dy wT": repeated(kernels.product_dx, dy, w, scratch, dx, tiles, 0, inputs),
    }
    return jobs, times * 2.0 * rows * inputs * outputs


def measure_case(session: Session, name: str, systems: tuple[str, ...]) -> None:
    """One case in all systems that are installed."""
    title, rows, flops, _ = session.case(name)
    entries = {system: (system, name) for system in session.installed(systems)}
    found = session.race_workers(entries, session.rounds, PAUSE)
    what = "a prediction" if systems == PREDICTIONS else "an epoch"
    count = "1 row" if rows == 1 else f"{rows:,} rows"
    session.results["cases"][name] = {"title": f"{what}: {title}, {count}", "flops": flops, **found}


def measure_graph(session: Session) -> None:
    """The graph against PyTorch's default Adam: taken from the small case where that has been measured."""
    cases = session.results["cases"]
    if "small" not in cases:
        measure_case(session, "small", GRAPH)
        cases["graph"] = cases.pop("small")
    else:
        seconds = {name: taken for name, taken in cases["small"]["seconds"].items() if name in GRAPH}
        cases["graph"] = cases["small"] | {"seconds": seconds}


def measure_predictions(session: Session) -> None:
    """One row, and 10,000."""
    for name in ("one row", "10,000 rows"):
        measure_case(session, name, PREDICTIONS)


def measure_growth(session: Session) -> None:
    """How fastmlp's epoch grows with the width, the batch, the rows and the threads."""
    for group in ("width", "batch", "rows", "threads"):
        names = [line[0] for line in session.listed if line[0].startswith(group)]
        if session.quick:
            names = [name for name in names if group != "rows" or int(name.split()[1]) <= 10_000]
        found = session.race_workers({name: ("fastmlp", name) for name in names}, min(session.rounds, 3), PAUSE / 3)
        session.results["growth"][group] = {
            name: {"title": title, "rows": rows, "flops": flops, "seconds": found["seconds"].get(name, [])}
            for name, (title, rows, flops, _) in ((name, session.case(name)) for name in names)
        }


def start_process(name: str, words: list[str], accuracy: dict[str, str], cold: bool = False) -> float | None:
    """Seconds of a process from its command to its end, None where it fails; `accuracy` takes what it printed."""
    with tempfile.TemporaryDirectory() as fresh:
        last = ["--out", f"{fresh}/run"] if name == "fastmlp" else [str(ROOT / "data" / "mnist")]
        environment = os.environ | ({"NUMBA_CACHE_DIR": fresh} if cold else {})
        start = perf_counter()
        done = subprocess.run([sys.executable, *words, *last], capture_output=True, text=True, env=environment)
        taken = perf_counter() - start
    accuracy[name] = "".join(re.findall(r"test accuracy ([\d.]+ %)", done.stdout))
    print(done.stderr, end="", file=sys.stderr)
    return None if done.returncode else taken


def measure_starts(session: Session) -> None:
    """Whole processes, from the command to one trained epoch; with the compiled kernels at hand, and without."""
    accuracy: dict[str, str] = {}
    words = {"fastmlp": [str(SCRIPTS / "train.py"), *["--epochs", "1", "--no-progress", "--no-plots", "--no-report"]]}
    words |= {name: ["-c", READ_IDX + WHOLE[name]] for name in session.installed(tuple(WHOLE))}
    runners = {name: partial(start_process, name, own, accuracy) for name, own in words.items()}
    for run in [] if session.quick else runners.values():
        run()  # the kernels compiled, and every library's files read once
    warm = session.race(runners, 1 if session.quick else 3, PAUSE)
    compiling = partial(start_process, "fastmlp", words["fastmlp"], {}, cold=True)
    cold = session.race({"fastmlp": compiling}, 0 if session.quick else 1, PAUSE)
    title = "784-128-64-10, batch 64, 60,000 rows, one epoch and the test set"
    cases = session.results["cases"]
    cases["warm start"] = {"title": f"a process: {title}", "flops": 0, "accuracy": accuracy, **warm}
    cases["cold start"] = {"title": f"a process that compiles: {title}", "flops": 0, **cold}


PARTS: dict[str, Callable[[Session], None]] = {"ceiling": measure_ceiling, "products": measure_products}
PARTS |= {name: partial(measure_case, name=name, systems=systems) for name, systems in EPOCHS.items()}
PARTS |= {"graph": measure_graph, "predict": measure_predictions, "growth": measure_growth, "starts": measure_starts}


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows and rounds: to see that all runs")
    parser.add_argument("--only", metavar="NAME,...", help=f"parts to run, of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of each part (default: 5, as time allows)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write benchmark.md and benchmark.png there")
    options = parser.parse_args(arguments)
    wanted = options.only.split(",") if options.only else list(PARTS)
    if unknown := set(wanted) - PARTS.keys():
        parser.error(f"argument --only: {', '.join(sorted(unknown))}: the parts are {', '.join(PARTS)}")
    if options.rounds is not None and options.rounds < 1:
        parser.error(f"argument --rounds: {options.rounds} is not a whole number of at least 1")
    options.only = [name for name in PARTS if name in wanted]
    return options


def main(arguments: list[str] | None = None) -> None:
    """Measure part by part; each is written down and printed as soon as it is there."""
    options = parse_arguments(arguments)
    session = Session(options)
    file = ROOT / "runs" / f"benchmark-{datetime.now():%Y-%m-%d-%H%M%S}.json"
    file.parent.mkdir(exist_ok=True)

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
