"""Training on rows that are nearly all 0, as counts of words are: a made set of 20,000 rows of 100,000 columns.

A worker of `benchmark.py`, as `rivals.py` is: `rivals_sparse.py SYSTEM CASE folder=FOLDER` gets ready and prints
"ready", or a sentence that says what it lacks; for each line it reads it makes a run, and answers with the seconds an
epoch took, the peak of its memory, and what that is made of. `rivals_sparse.py make folder=FOLDER [rows=N]` writes the
set, so that the memory of making it is no worker's.

fastmlp makes EPOCHS whole epochs a run, from the first, in one call of `fit`: what the weights are owed at the end is
in it. The others take some tenths of a second a step; they make STEPS of them, which stand for the steps of an epoch.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

ROOT = Path(os.environ.get("FASTMLP_TREE") or Path(__file__).resolve().parent.parent)
sys.path.insert(0, str(ROOT))
Job = Callable[[], float]  # makes a run; the seconds of an epoch
ROWS, COLUMNS, FULL, CLASSES, EXPONENT = 20_000, 100_000, 80, 20, 1.3
HIDDEN, BATCH, EPOCHS, STEPS = 100, 64, 6, 12
TITLE = f"{COLUMNS}-{HIDDEN}-{CLASSES}, batch {BATCH}, {FULL} of {COLUMNS:,} columns a row, Zipf {EXPONENT}"
ARRAYS = ("values", "indices", "indptr", "labels")


def make(rows: int = ROWS, columns: int = COLUMNS, full: int = FULL) -> tuple[np.ndarray, ...]:
    """(values, indices, indptr, labels) of a CSR matrix (rows, columns), the same at each call.

    A row holds the first `full` different columns of draws from Zipf's law, P(k) ~ k^-EXPONENT, with numbers between
    1/2 and 3/2, divided by their norm. The class is the largest of x a, of mean 0 and deviation 1 each; a ~ N(0, 1).
    """
    rng = np.random.default_rng(14)
    law = np.cumsum(np.arange(1.0, columns + 1) ** -EXPONENT)
    drawn = np.empty((rows, full), np.int32)
    for row in drawn:
        found = np.empty(0, np.int64)
        while len(found) < full:
            found = np.concatenate([found, np.searchsorted(law, law[-1] * rng.random(5 * full))])
            found = found[np.sort(np.unique(found, return_index=True)[1])]
        row[:] = np.sort(found[:full])
    values = rng.uniform(0.5, 1.5, (rows, full)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    a = rng.standard_normal((columns, CLASSES), np.float32)
    scores = np.array([v @ a[c] for v, c in zip(values, drawn, strict=True)])
    labels = ((scores - scores.mean(0)) / scores.std(0)).argmax(1)
    return values.ravel(), drawn.ravel(), np.arange(rows + 1, dtype=np.int32) * full, labels


def load(folder: Path) -> tuple[Any, np.ndarray]:
    """The matrix as SciPy has it, and the labels."""
    values, indices, indptr, labels = (np.load(folder / f"{name}.npy") for name in ARRAYS)
    return import_module("scipy.sparse").csr_matrix((values, indices, indptr), (len(labels), COLUMNS)), labels


def memory(what: str) -> float:
    """MB of this process: VmHWM, the most it ever held, or VmRSS, what it holds; 0 where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1e3 for line in status.splitlines() if line.startswith(what)), 0.0)


def fastmlp(folder: Path, known: dict[str, float], lazy: bool = False) -> Job | str:
    """Whole calls of `fit` on a new net; `known` takes the MB that this memory is made of."""
    import fastmlp as fm

    import_module("scipy.sparse")
    known["library"] = memory("VmRSS")
    if lazy and "lazy" not in inspect.signature(fm.optim.Adam).parameters:
        return "Adam has no lazy=True here"
    x, y = load(folder)
    try:
        data = fm.data.Dataset(x, y, CLASSES)
    except (TypeError, ValueError) as error:
        return f"Dataset takes no sparse rows here ({str(error)[:80]})"
    size = sum(array.nbytes for array in (x.data, x.indices, x.indptr, y))
    known |= {"arrays": size / 1e6, "moments": 8e-6 * ((COLUMNS + 1) * HIDDEN + (HIDDEN + 1) * CLASSES)}

    def run(epochs: int = EPOCHS) -> float:
        fm.manual_seed(0)
        model = fm.nn.MLP(COLUMNS, (HIDDEN,), CLASSES)
        options: dict[str, Any] = {"lazy": True} if lazy else {}
        adam = fm.optim.Adam(model.parameters(), **options)
        start = perf_counter()
        fm.fit(model, data, optimizer=adam, epochs=epochs, batch_size=BATCH, progress=False)
        return (perf_counter() - start) / epochs

    run(1)
    return run


def scaled(step: Callable[[np.ndarray], Any], rows: int, each: int = 1) -> Job:
    """STEPS steps, `each` in one call, timed and taken times the steps of an epoch."""
    rng, steps = np.random.default_rng(0), -(-rows // BATCH)

    def run() -> float:
        batches = [np.sort(rng.choice(rows, min(each * BATCH, rows), replace=False)) for _ in range(STEPS // each)]
        start = perf_counter()
        for batch in batches:
            step(batch)
        return (perf_counter() - start) / (len(batches) * each) * steps

    step(np.arange(min(each * BATCH, rows)))
    return run


def sklearn(folder: Path) -> Job:
    """MLPClassifier.partial_fit on CSR float32: each call is a pass over its rows in batches."""
    warnings.simplefilter("ignore")
    x, y = load(folder)
    net = import_module("sklearn.neural_network").MLPClassifier((HIDDEN,), batch_size=BATCH, random_state=0)
    net.partial_fit(x[:BATCH], y[:BATCH], classes=np.arange(CLASSES))
    return scaled(lambda rows: net.partial_fit(x[rows], y[rows]), len(y), each=STEPS)


def torch_steps(folder: Path, way: str) -> Job:
    """PyTorch, all threads: Adam over a product of CSR batches, over dense batches, or EmbeddingBag and SparseAdam."""
    import torch

    x, y = load(folder)
    warnings.simplefilter("ignore")  # CSR tensors are in beta state
    labels, last = torch.from_numpy(y), torch.nn.Linear(HIDDEN, CLASSES)
    bag = torch.nn.EmbeddingBag(COLUMNS, HIDDEN, mode="sum", sparse=way == "bag")
    torch.nn.init.uniform_(bag.weight, -(COLUMNS**-0.5), COLUMNS**-0.5)
    bias = torch.nn.Parameter(torch.zeros(HIDDEN))
    rules: list[Any] = [torch.optim.SparseAdam([bag.weight])] if way == "bag" else []
    others = [bias, *last.parameters(), *([] if way == "bag" else [bag.weight])]
    rules.append(torch.optim.Adam(others, fused=True))

    def step(rows: np.ndarray) -> None:
        batch = x[rows]
        if way == "bag":
            indices, starts = torch.from_numpy(batch.indices), torch.from_numpy(batch.indptr[:-1])
            hidden = bag(indices, starts, per_sample_weights=torch.from_numpy(batch.data))
        elif way == "csr":
            parts = [torch.from_numpy(part) for part in (batch.indptr, batch.indices, batch.data)]
            hidden = torch.sparse.mm(torch.sparse_csr_tensor(*parts, size=batch.shape), bag.weight)
        else:
            hidden = torch.from_numpy(batch.toarray()) @ bag.weight
        loss = torch.nn.functional.cross_entropy(last(torch.relu(hidden + bias)), labels[torch.from_numpy(rows)])
        for rule in rules:
            rule.zero_grad()
        loss.backward()
        for rule in rules:
            rule.step()

    return scaled(step, len(y))


SYSTEMS: dict[str, Callable[[Path, dict[str, float]], Job | str]] = {
    "fastmlp": fastmlp,
    "fastmlp, lazy": lambda folder, known: fastmlp(folder, known, lazy=True),
    "scikit-learn": lambda folder, known: sklearn(folder),
    "PyTorch, CSR product": lambda folder, known: torch_steps(folder, "csr"),
    "PyTorch, EmbeddingBag": lambda folder, known: torch_steps(folder, "bag"),
    "PyTorch, dense batches": lambda folder, known: torch_steps(folder, "dense"),
}


def main() -> None:
    """List the case, make the set, or work."""
    if len(sys.argv) < 3:
        print(json.dumps({"name": "sparse", "title": TITLE, "what": "an epoch", "rows": ROWS, "flops": 0}))
        return
    options = dict(word.split("=", 1) for word in sys.argv[2:] if "=" in word)
    folder, known = Path(options["folder"]), dict[str, float]()
    if sys.argv[1] == "make":
        for name, array in zip(ARRAYS, make(int(options.get("rows", ROWS))), strict=True):
            np.save(folder / f"{name}.npy", array)
        return
    job = SYSTEMS[sys.argv[1]](folder, known)
    if isinstance(job, str):
        print(job, flush=True)
        return
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps({"seconds": job(), "peak": memory("VmHWM"), **known}), flush=True)


if __name__ == "__main__":
    main()
