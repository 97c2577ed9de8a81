"""Whole processes, from the command to one trained epoch of 784-128-64-10 and the accuracy on the test set.

A worker of `benchmark.py`, as `rivals.py` is: `rivals_start.py SYSTEM CASE` starts a process for each line it reads,
and answers with its seconds and the accuracy that it printed. `rivals_start.py run SYSTEM FOLDER` is such a process of
a rival, with MNIST's four IDX files in the folder; fastmlp's is `train.py`.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

ROOT = Path(os.environ.get("FASTMLP_TREE") or Path(__file__).resolve().parent.parent)
TITLE = "784-128-64-10, batch 64, 60,000 rows, one epoch and the test set"
CASES = {"warm start": "a process", "cold start": "a process that compiles"}
TRAIN = [str(ROOT / "scripts" / "train.py"), *["--epochs", "1", "--no-progress", "--no-plots", "--no-report"]]


def read(name: str, skip: int) -> np.ndarray:
    """The bytes behind the head of an IDX file."""
    with gzip.open(f"{sys.argv[3]}/{name}-ubyte.gz") as file:
        return np.frombuffer(file.read(), np.uint8, offset=skip)


def pytorch(x: Any, y: Any, z: Any, t: Any) -> float:
    """A training loop as people write it, with the data set in memory and fused Adam."""
    import torch

    x, y, z, t = (torch.from_numpy(a) for a in (x, y, z, t))
    linear, relu = torch.nn.Linear, torch.nn.ReLU
    net = torch.nn.Sequential(linear(784, 128), relu(), linear(128, 64), relu(), linear(64, 10))
    adam = torch.optim.Adam(net.parameters(), fused=True)
    for rows in torch.randperm(len(x)).split(64):
        loss = torch.nn.functional.cross_entropy(net(x[rows]), y[rows])
        adam.zero_grad()
        loss.backward()
        adam.step()
    with torch.inference_mode():
        return (net(z).argmax(1) == t).float().mean().item()


def sklearn(x: Any, y: Any, z: Any, t: Any) -> float:
    """MLPClassifier in float32."""
    warnings.simplefilter("ignore")
    net = import_module("sklearn.neural_network").MLPClassifier((128, 64), batch_size=64, max_iter=1).fit(x, y)
    return float(net.score(z, t))


RIVALS: dict[str, Callable[..., float]] = {"PyTorch": pytorch, "scikit-learn": sklearn}


def run(system: str) -> None:
    """Train, and print the accuracy."""
    x, z = (read(f"{part}-images-idx3", 16).reshape(-1, 784) / np.float32(255) for part in ("train", "t10k"))
    y, t = (read(f"{part}-labels-idx1", 8).astype(np.int64) for part in ("train", "t10k"))
    print(f"test accuracy {100 * RIVALS[system](x, y, z, t):.2f} %")


def start(words: list[str], cold: bool = False) -> dict[str, Any] | None:
    """Seconds of a process from its command to its end, and the accuracy it printed; None where it fails.

    {run} among the words stands for a folder that is not there yet. cold: nothing is compiled before.
    """
    with tempfile.TemporaryDirectory() as fresh:
        environment = os.environ | ({"NUMBA_CACHE_DIR": fresh} if cold else {})
        words = [word.replace("{run}", f"{fresh}/run") for word in words]
        began = perf_counter()
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment)
        taken = perf_counter() - began
    print(done.stderr, end="", file=sys.stderr)
    found = "".join(re.findall(r"test accuracy ([\d.]+ %)", done.stdout))
    return None if done.returncode else {"seconds": taken, "accuracy": found}


def main() -> None:
    """List the cases, work, or be such a process."""
    if len(sys.argv) < 3:
        for name, what in CASES.items():
            print(json.dumps({"name": name, "title": TITLE, "what": what, "rows": 0, "flops": 0}))
        return
    if sys.argv[1] == "run":
        run(sys.argv[2])
        return
    system, cold = sys.argv[1], sys.argv[2] == "cold start"
    words = (
        [*TRAIN, "--out", "{run}"] if system == "fastmlp" else [__file__, "run", system, str(ROOT / "data" / "mnist")]
    )
    if not cold:
        start(words)  # the kernels compiled, and every library's files read once
    print("ready", flush=True)
    for _ in sys.stdin:
        answer = start(words, cold)
        if answer is None:
            return
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
