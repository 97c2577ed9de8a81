"""What the machine can do: multiply-adds in registers, which no product can be faster than, and the products.

A worker of `benchmark.py`. For each line it reads it prints a line of JSON:

    describe    [name, value] of the processor, of the versions and of the date
    control     seconds of the same piece of work as ever: what they vary by is the machine's doing
    gflops      GFLOP/s of multiply-adds in registers, on all threads at once
    ceiling N   the same of one thread and of all, for float32 and float64, N times
    products N  GFLOP/s of the three products of a linear layer, N times, each round beside the ceiling of one thread
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import llvmlite.binding as llvm  # noqa: E402
import numba  # noqa: E402
import numpy as np  # noqa: E402

from fastmlp import kernels  # noqa: E402
from fastmlp.kernels import simd  # noqa: E402
from fastmlp.machine import available_cores  # noqa: E402

DISTRIBUTIONS = ("fastmlp", "numpy", "numba", "llvmlite", "scipy", "torch", "jax", "jaxlib", "scikit-learn")
SHAPES = ((64, 784, 128), (128, 1024, 1024))  # rows, inputs, outputs of a product


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


def describe(cores: int) -> list[list[str]]:
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


def ceilings(chains: dict[str, Chains], cores: int, times: int) -> dict[str, dict[str, list[float]]]:
    """GFLOP/s of multiply-adds in registers, on one thread and on all at once."""
    found: dict[str, dict[str, list[float]]] = {name: {"one": [], "all": []} for name in chains}
    for _ in range(times):
        for name, own in chains.items():
            found[name]["one"].append(own.gflops(1))
            found[name]["all"].append(own.gflops(cores))
    return found


def measure_products(chains: dict[str, Chains], times: int) -> list[dict[str, Any]]:
    """GFLOP/s of the three products of a linear layer, each round beside the ceiling."""
    measured = []
    for dtype, own in chains.items():
        for shape in SHAPES:
            jobs, flops = product_jobs(dtype, *shape)
            found: dict[str, list[float]] = {name: [] for name in jobs}
            ceiling = []
            for turn in range(times + 1):
                ceiling.append(own.gflops(1))
                for name, job in jobs.items():
                    start = perf_counter()
                    job()
                    found[name] += [flops / (perf_counter() - start) / 1e9] if turn else []  # the first compiles
            for name, speeds in found.items():
                label = f"{dtype} {' x '.join(map(str, shape))}"
                measured.append({"of": label, "name": name, "gflops": speeds, "ceiling": ceiling})
    return measured


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


def main() -> None:
    """Answer line by line."""
    cores = available_cores()
    pool = ThreadPoolExecutor(cores)
    chains = {name: Chains(name, pool) for name in ("float32", "float64")}

    def control() -> float:
        start = perf_counter()
        chains["float32"].run()
        return perf_counter() - start

    answers: dict[str, Callable[..., Any]] = {
        "describe": lambda: describe(cores),
        "control": control,
        "gflops": lambda: chains["float32"].gflops(cores),
        "ceiling": lambda times: ceilings(chains, cores, int(times)),
        "products": lambda times: measure_products(chains, int(times)),
    }
    print("ready", flush=True)
    for line in sys.stdin:
        what, *numbers = line.split()
        print(json.dumps(answers[what](*numbers)), flush=True)


if __name__ == "__main__":
    main()
