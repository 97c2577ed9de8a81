"""Measure the matrix product against the multiply-add ceiling, and an epoch of MNIST against PyTorch.

Everything that is compared runs in alternation in one process, and the figures are the best and the median of its
rounds: on a shared machine, times drift, and only neighbours compare.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import llvmlite.binding as llvm  # noqa: E402
import numpy as np  # noqa: E402

import fastmlp as fm  # noqa: E402
from fastmlp import kernels  # noqa: E402
from fastmlp.kernels import simd  # noqa: E402
from fastmlp.kernels.jit import kernel  # noqa: E402

SHAPES = ((64, 784, 128), (128, 1024, 1024))  # rows, inputs, outputs
FLOOR = 0.85


@kernel
def ceiling_chains(array, rounds):  # type: ignore[no-untyped-def]
    """Nothing but multiply-adds in registers."""
    return simd.multiply_add_chains(array, rounds)


def alternate(jobs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each job in each round; a round runs every job once."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for job in jobs.values():
        job()
    for _ in range(rounds):
        for name, job in jobs.items():
            start = perf_counter()
            job()
            seconds[name].append(perf_counter() - start)
    return seconds


def repeat(function: Callable[[], Any], times: int) -> Callable[[], None]:
    """A job that is long enough to time."""

    def job() -> None:
        for _ in range(times):
            function()

    return job


def product_table(rounds: int) -> bool:
    """Print GFLOP/s of the three products and their share of the ceiling; whether all reach the floor."""
    print(f"matrix product, one thread, {simd.VECTOR_BYTES}-byte vectors, tile {simd.TILE_ROWS} x {simd.TILE_VECTORS}")
    print(f"{'':34}{'GFLOP/s':>9}{'ceiling':>9}{'share':>8}{'median':>8}")
    reached = True
    for dtype in (np.float32, np.float64):
        for rows, inputs, outputs in SHAPES:
            jobs, work = product_jobs(dtype, rows, inputs, outputs)
            seconds = alternate(jobs, rounds)
            ceiling = work["ceiling"] / min(seconds["ceiling"]) / 1e9
            middle = work["ceiling"] / statistics.median(seconds["ceiling"]) / 1e9
            for name in list(jobs)[1:]:
                best = work[name] / min(seconds[name]) / 1e9
                median = work[name] / statistics.median(seconds[name]) / 1e9
                reached &= best / ceiling >= FLOOR
                label = f"{np.dtype(dtype).name} {rows} x {inputs} x {outputs}  {name}"
                print(f"{label:34}{best:9.1f}{ceiling:9.1f}{best / ceiling:8.1%}{median / middle:8.1%}")
    return reached


def product_jobs(
    dtype: Any, rows: int, inputs: int, outputs: int
) -> tuple[dict[str, Callable[[], None]], dict[str, float]]:
    """The ceiling and the three products as jobs of about 20 ms, and the floating-point operations of each."""
    rng = np.random.default_rng(0)

    def filled(*shape: int) -> Any:
        array = kernels.empty(shape, dtype)
        array[...] = rng.standard_normal(shape)
        return array

    x, dy = filled(rows, inputs), filled(rows, kernels.padded(outputs, dtype))
    w, dw = (filled(*kernels.packed_shape(outputs, inputs, dtype)) for _ in range(2))
    y, dx = filled(*dy.shape), filled(rows, kernels.padded(inputs, dtype))
    scratch = filled(kernels.scratch_size(dtype))
    flops = 2 * rows * inputs * outputs
    times = max(1, round(2e9 / flops))
    chain = 2 * simd.TILE_ROWS * simd.TILE_VECTORS * kernels.lanes(dtype)
    turns = round(2e9 / chain)
    jobs = {
        "ceiling": lambda: ceiling_chains(x.reshape(-1), turns),
        "y = x w": repeat(lambda: kernels.product(x, w, y, 0, outputs), times),
        "dw = xT dy": repeat(lambda: kernels.product_dw(x, dy, dw, 0, outputs), times),
        "dx = dy wT": repeat(lambda: kernels.product_dx(dy, w, scratch, dx, 0, inputs), times),
    }
    work = {"ceiling": float(turns * chain)} | {name: float(times * flops) for name in list(jobs)[1:]}
    return jobs, work


def epoch_table(rounds: int) -> bool:
    """Print seconds of an MNIST epoch, 784-128-64-10, batch 64, Adam; whether the graph is no slower than PyTorch."""
    import torch

    train, _ = fm.data.mnist()
    order = np.random.default_rng(0).permutation(len(train))
    fm.manual_seed(0)
    model = fm.nn.MLP(784, (128, 64), 10)
    optimizer = fm.optim.Adam(model.parameters(), lr=1e-3)

    def graph_epoch() -> None:
        sizes = [64] * (len(train) // 64) + [len(train) % 64]
        for x, labels in fm.train.batches(train, order, sizes, np.float32):
            loss = fm.ops.cross_entropy(model(x), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()

    images = torch.tensor(train.rows).float() / 255
    classes, index = torch.tensor(train.labels), torch.tensor(order)
    layers: list[Any] = []
    for inputs, outputs in ((784, 128), (128, 64), (64, 10)):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers[:-1])
    adam = torch.optim.Adam(net.parameters(), lr=1e-3)

    def torch_epoch(threads: int) -> None:
        torch.set_num_threads(threads)
        for start in range(0, len(images), 64):
            rows = index[start : start + 64]
            loss = torch.nn.functional.cross_entropy(net(images[rows]), classes[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
            loss.item()

    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    jobs: dict[str, Callable[[], Any]] = {
        "fastmlp graph, 1 thread": graph_epoch,
        "PyTorch, resident tensors, 1 thread": lambda: torch_epoch(1),
        f"PyTorch, resident tensors, {threads} threads": lambda: torch_epoch(threads),
    }
    seconds = alternate(jobs, rounds)
    ours = min(seconds["fastmlp graph, 1 thread"])
    print(f"\nan epoch of MNIST, 784-128-64-10, batch 64, Adam, float32; PyTorch {torch.__version__}")
    print(f"{'':42}{'best':>9}{'median':>9}{'ratio':>8}")
    for name, times in seconds.items():
        print(f"{name:42}{min(times):7.3f} s{statistics.median(times):7.3f} s{min(times) / ours:8.2f}")
    return ours <= min(min(times) for times in seconds.values())


def main() -> None:
    """Both tables, and whether the floors are reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="rounds of the products; an epoch takes a third of them")
    parser.add_argument("--no-peers", action="store_true", help="leave PyTorch out")
    options = parser.parse_args()
    print(f"{llvm.get_host_cpu_name()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}")
    reached = product_table(options.rounds)
    if not options.no_peers:
        reached &= epoch_table(max(2, options.rounds // 3))
    print(f"\nfloors (products at {FLOOR:.0%} of the ceiling, the graph no slower than PyTorch): "
          f"{'reached' if reached else 'NOT reached'}")  # fmt: skip


if __name__ == "__main__":
    main()
