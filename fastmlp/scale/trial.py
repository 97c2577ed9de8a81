"""One trial of a sweep: a configuration trained on the rows outside one fold, and asked about those in it."""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ..check import reason, shown
from ..data import Dataset
from ..data.sparse import Sparse
from ..files import replacing
from ..kernels.shuffle import permutation
from ..nn import LOSSES, MLP, Module
from ..nn.module import seeded
from ..optim import RULES, SCHEDULES, Optimizer
from ..store.resume import resume
from ..store.weights import save
from ..training.checkpoint import files_of, maker
from ..training.digest import of_array
from ..training.history import History
from ..training.loop import PAUSE
from ..training.train import fit
from .journal import Journal, locked
from .names import said

OF_FIT = (
    "batch_size", "loss", "schedule", "schedule_every", "class_weight", "clip_norm", "clip_value", "average",
)  # fmt: skip
NAMED: dict[str, Mapping[str, Any]] = {"loss": LOSSES, "schedule": SCHEDULES}  # what may be given by its name


class Pause:
    """A callback that ends a training for now after so many epochs."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def __call__(self, model: Module, history: History) -> str:
        """PAUSE where the epoch is reached."""
        return PAUSE if len(history) >= self.epochs else ""

    def state_dict(self) -> dict[str, Any]:
        """Nothing: it looks at the history."""
        return {}

    def load_state_dict(self, state: Any) -> None:
        """Nothing."""


@dataclass
class Plan:
    """What all trials of a sweep have in common. It goes to each worker once.

    model      None for an MLP, or a function that makes a Module: model(data, **its arguments)
    epochs     of a whole training, which schedules and averages take their length from
    folds      how many parts the rows fall into; 1: `held` says what is held out, a Dataset, a share or a count of rows
    digest     of the data and of what else all results hang on
    """

    folder: Path
    model: Callable[..., Module] | None
    epochs: int
    folds: int
    held: Any
    metric: str
    seed: int
    n_threads: int | str
    digest: str = ""

    @property
    def journal(self) -> Journal:
        """Where the lines of all trials stand."""
        return Journal(self.folder / "journal.jsonl")


@dataclass(frozen=True)
class Parts:
    """A configuration by who takes what."""

    model: dict[str, Any]
    rule: type[Optimizer]
    options: dict[str, Any]
    fit: dict[str, Any]


def arguments_of(function: Any, without: int) -> tuple[set[str], bool]:
    """The names of its arguments but the first ones, and whether it takes any others."""
    given = list(inspect.signature(function).parameters.values())[without:]
    return {p.name for p in given if p.kind != p.VAR_KEYWORD}, any(p.kind == p.VAR_KEYWORD for p in given)


def parted(values: Mapping[str, Any], model: Callable[..., Module] | None, where: str) -> Parts:
    """The configuration's parts; an argument of another rule than the configuration's counts for nothing.

    A number as `hidden` of an MLP is one layer of this width, so that a `Range` may give it.
    Error: ValueError for an argument that nobody has.
    """
    rest = dict(values)
    name = rest.pop("optimizer", "adam")
    if not isinstance(name, str) or name not in RULES:
        raise ValueError(f"{where}: optimizer is {shown(name)}; it must be one of {', '.join(RULES)}")
    of_model, open_ = arguments_of(MLP if model is None else model, 1)
    of_model -= {"in_features", "out_features"} if model is None else set()
    of_rules = {rule: arguments_of(rule, 1)[0] for rule in RULES.values()}
    known = of_model.union(OF_FIT, *of_rules.values())
    if unknown := [name for name in rest if name not in known and not open_]:
        raise ValueError(
            f"{where}: {unknown[0]} is an argument of nobody; it must be one of the model "
            f"({', '.join(sorted(of_model))}), of the optimizer, or one of {', '.join(OF_FIT)}"
        )
    own = {name: value for name, value in rest.items() if name in of_model or (open_ and name not in known)}
    if model is None and isinstance(own.get("hidden"), int | np.integer):
        own["hidden"] = (int(own["hidden"]),)
    rest = {name: value for name, value in rest.items() if name not in own}
    fits = {name: value for name, value in rest.items() if name in OF_FIT}
    for what, kinds in NAMED.items():
        if isinstance(fits.get(what), str) and fits[what] not in kinds:
            raise ValueError(f"{where}: {what} is {shown(fits[what])}; it must be one of {', '.join(kinds)}")
    rule = RULES[name]
    return Parts(own, rule, {name: value for name, value in rest.items() if name in of_rules[rule]}, fits)


def key_of(parts: Parts, fold: int, plan: Plan) -> str:
    """A name for a configuration and fold: a digest of all that the trial's bits hang on."""
    own = [parts.model, parts.rule.__name__, parts.options, parts.fit, fold, plan.epochs, plan.seed, plan.digest]
    return _digest(own)


def fold_of(data: Dataset, fold: int, plan: Plan) -> tuple[Dataset, Any]:
    """(training rows, what is held out): of classes each fold has its share, as far as rows can be divided."""
    if plan.folds == 1:
        if isinstance(plan.held, Dataset):
            return data, plan.held
        return data.split(plan.held, plan.seed)
    order = permutation(np.arange(len(data)), plan.seed)
    if data.kind == "classes":
        order = order[np.argsort(data.targets[order], kind="stable")]
    held = np.zeros(len(data), bool)
    held[order[fold :: plan.folds]] = True
    return data[~held], data[held]


def made_of(parts: Parts, data: Dataset, plan: Plan) -> tuple[Module, Optimizer, dict[str, Any]]:
    """A fresh model with the weights of the seed, its optimizer, the arguments of `fit`."""
    with seeded(plan.seed):
        if plan.model is None:
            model: Module = MLP(data.n_features, parts.model.get("hidden", (128, 64)), data.n_outputs, **{
                name: value for name, value in parts.model.items() if name != "hidden"
            })  # fmt: skip
        else:
            model = plan.model(data, **parts.model)
            if not isinstance(model, Module):
                raise TypeError(f"sweep: model made {type(model).__name__}; it must make a fastmlp.nn.Module")
    made: Any = parts.rule
    fits = {name: copy.deepcopy(value) for name, value in parts.fit.items()}
    for what, kinds in NAMED.items():
        if isinstance(fits.get(what), str):
            fits[what] = kinds[fits[what]]()
    return model, made(model.parameters(), **parts.options), fits


def run(plan: Plan, key: str, parts: Parts, fold: int, epochs: int, data: Dataset) -> dict[str, Any]:
    """The line of the journal for this trial: read where it stands there, else trained, up to so many epochs.

    Nobody else has the trial meanwhile. A training that was ended, by a kill or at fewer epochs, goes on.
    """
    folder = plan.folder / "trials" / key
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "lock"):
        if line := plan.journal.find(key, epochs):
            return line
        begun = perf_counter()
        line = {"key": key, "epochs": epochs, "fold": fold, **_trained(plan, key, parts, fold, epochs, data)}
        line |= {"seconds": round(perf_counter() - begun, 3), "process": os.getpid(), "machine": platform.node()}
        plan.journal.add(line)
        if epochs >= plan.epochs or line["ended"] in ("failed", "diverged"):
            for path in files_of(folder):
                with suppress(OSError):
                    path.unlink()
    return line


def _trained(plan: Plan, key: str, parts: Parts, fold: int, epochs: int, data: Dataset) -> dict[str, Any]:
    """Score, history and a digest of the weights; of a trial that raised, what it said."""
    folder = plan.folder / "trials" / key
    try:
        with first(plan):
            train, held = fold_of(data, fold, plan)
            model, optimizer, fits = made_of(parts, train, plan)
            once(plan, parts, model, train, held)
        if files_of(folder):
            history = resume(
                folder, train, held, model, [Pause(epochs)], n_threads=plan.n_threads, progress=False
            ).history
        else:
            history = fit(
                model, train, validation=held, optimizer=optimizer, epochs=plan.epochs, seed=plan.seed,
                n_threads=plan.n_threads, progress=False, callbacks=[Pause(epochs)], checkpoint=folder, **fits,
            )  # fmt: skip
        save(model, folder / "model.safetensors")
    except OSError:  # a full disk, say: it is no fault of the configuration
        raise
    except Exception as error:
        return {"score": None, "ended": "failed", "error": f"{type(error).__name__}: {error}", "history": []}
    column = history.column(plan.metric)
    score = float(column[-1]) if len(column) else float("nan")
    ended = "finished" if history.ended == "paused" else history.ended
    weights = hashlib.sha256("".join(map(of_array, model.state_dict().values())).encode()).hexdigest()[:32]
    return {"score": None if ended == "diverged" else score, "ended": ended, "weights": weights,
            "rises": history.rises(plan.metric), "history": [float(value) for value in column]}  # fmt: skip


@contextmanager
def first(plan: Plan) -> Iterator[None]:
    """Where this machine has compiled nothing for the sweep yet, the others wait: they would compile the same."""
    folder = plan.folder / "compiled"
    mark = folder / f"{_digest([platform.node(), maker()])}.first"
    with ExitStack() as stack:
        if begun := not mark.exists():
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(mark.with_suffix(".lock")))
            if mark.exists():
                stack.close()
        yield
        if begun:
            mark.touch()


def once(plan: Plan, parts: Parts, model: Module, train: Dataset, held: Dataset) -> None:
    """See that the kernels of such a training are compiled by one worker of a machine alone: the others wait for it.

    Those of another kind of training wait too: most kernels are the same.
    """
    kinds = [type(module).__name__ for module in model.modules()]
    features = f"{train.features.dtype}{isinstance(train.features, Sparse)}"
    rule = [parts.rule.__name__, sorted((name, value) for name, value in parts.options.items() if value is True)]
    own = [kinds, rule, sorted(parts.fit), str(parts.fit.get("loss")), str(parts.fit.get("average")), features, maker()]
    mark = plan.folder / "compiled" / _digest([own, platform.node()])
    if mark.exists():
        return
    mark.parent.mkdir(parents=True, exist_ok=True)
    with locked(mark.parent / f"{_digest(platform.node())}.lock"):
        if mark.exists():
            return
        rows = min(len(train), 2 * int(parts.fit.get("batch_size", 64)))
        few, asked = train[np.linspace(0, len(train) - 1, rows).astype(np.int64)], held[: min(len(held), 64)]
        with suppress(Exception):  # the trial itself has the words
            model, optimizer, fits = made_of(parts, few, plan)
            fit(model, few, validation=asked, optimizer=optimizer, epochs=1, progress=False,
                n_threads=plan.n_threads, **fits)  # fmt: skip
        mark.touch()


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(said(value)).encode()).hexdigest()[:20]


# --- data, as workers get it -----------------------------------------------------------------------------------------


class Kept:
    """A data set whose arrays lie in a folder, written once; who gets this maps them, read-only, and copies nothing.

    name: of a sub-folder. It holds no array itself, so that it travels in a few bytes.
    """

    def __init__(self, data: Dataset, folder: Path, name: str) -> None:
        self.folder = folder / "data" / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state, arrays = dict(data.__dict__), {"targets": data.targets, "sample_weight": data.sample_weight}
        self.state.update(validation=None, source=None, features=None, targets=None, sample_weight=None)
        self.sparse = isinstance(data.features, Sparse)
        if self.sparse:
            x = data.features
            self.of_sparse: dict[str, Any] = {"shape": x.shape, "given": x.given}
            arrays |= {"indptr": x.indptr - x.indptr[0], "indices": x.indices[x.indptr[0] : x.indptr[-1]]}
            arrays |= {"values": x.stored}
        else:
            arrays["features"] = data.features
        self.names = [name for name, array in arrays.items() if array is not None]
        for name in self.names:
            path = self.folder / f"{name}.npy"
            if not path.exists():
                try:
                    with replacing(path) as partial, partial.open("wb") as file:
                        np.lib.format.write_array(file, np.ascontiguousarray(arrays[name]), allow_pickle=False)
                except OSError as error:  # NumPy's own names two numbers of items and no file
                    what = f"sweep: {path} cannot be written whole ({reason(error)}); a full disk, or a limit of files"
                    raise OSError(error.errno, what) if error.errno else OSError(what) from error

    def data(self) -> Dataset:
        """The data set."""
        found: dict[str, Any] = {
            name: np.load(self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in self.names
        }
        if self.sparse:
            parts: dict[str, Any] = {name: np.asarray(found.pop(name)) for name in ("indptr", "indices", "values")}
            found["features"] = Sparse(**parts, **self.of_sparse)
        made = Dataset.__new__(Dataset)
        made.__dict__.update(self.state | found)
        return made


_LAST: dict[Path, tuple[Dataset, Any]] = {}  # of this process: the data of the sweep that it worked for last


def work(plan: Plan, kept: Kept, held: Any, key: str, parts: Parts, fold: int, epochs: int) -> dict[str, Any]:
    """`run`, in a worker. held: another Kept, or what `Plan.held` is else."""
    there = _LAST.get(kept.folder)
    if there is None:
        there = kept.data(), held.data() if isinstance(held, Kept) else held
        _LAST.clear()  # another thread may work for another sweep: what it has taken stays its own
        _LAST[kept.folder] = there
    data, found = there
    return run(replace(plan, held=found), key, parts, fold, epochs, data)
