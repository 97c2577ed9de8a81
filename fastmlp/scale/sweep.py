"""`sweep`: many trainings, each once, on as many workers as there are; what is done stays done."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import check
from ..check import shown
from ..data import Dataset
from ..data.dataset import held_rows
from ..files import probe
from ..nn import Module, Sequential
from ..show.report import write_sweep
from ..store.pictures import both
from ..store.weights import load_model
from ..training.checkpoint import maker
from ..training.digest import digest_of
from ..training.history import NUMBERS
from . import space as spaces
from .names import said
from .trial import Kept, Parts, Plan, key_of, parted, work

PICTURES = {  # by the function of `plots` that draws it
    "sweep_parallel": "Configurations", "sweep_best": "Best by budget", "sweep_importance": "What the score hangs on",
}  # fmt: skip
DIED = ("TerminatedWorkerError", "BrokenProcessPool", "KilledWorker")  # a worker did, in joblib's and dask's words


class Trial:
    """A configuration of a sweep and what became of it.

    parameters  the configuration
    lines       a line of the journal for each fold, at the most epochs that it was trained for
    score       the mean over the folds; NaN where one failed or diverged
    """

    def __init__(self, parameters: dict[str, Any], keys: list[str]) -> None:
        self.parameters, self.keys, self.lines = parameters, keys, []  # type: dict[str, Any], list[str], list[Any]

    @property
    def score(self) -> float:
        """The mean over the folds."""
        scores = [line["score"] for line in self.lines]
        return float(np.mean(scores)) if scores and None not in scores else math.nan

    @property
    def epochs(self) -> int:
        """How many each fold has had."""
        return max((line["epochs"] for line in self.lines), default=0)

    def __repr__(self) -> str:
        """Its score, epochs and configuration."""
        return f"Trial({self.score:.5g} after {self.epochs} epochs, {self.parameters})"


class Sweep(Sequence[Trial]):
    """The trials of a sweep, in the order in which they were drawn."""

    def __init__(self, trials: list[Trial], plan: Plan) -> None:
        self.trials, self.folder, self.metric = trials, plan.folder, plan.metric
        self.rises = any(line.get("rises") for trial in trials for line in trial.lines)  # whether more of it is better

    def __len__(self) -> int:
        return len(self.trials)

    def __getitem__(self, place: Any) -> Any:
        return self.trials[place]

    def __repr__(self) -> str:
        """How many, and the best."""
        scored = not all(math.isnan(trial.score) for trial in self)
        return f"Sweep({len(self)} trials in {self.folder}, " + (
            f"best {self.best})" if scored else "none with a score)"
        )

    def ranked(self) -> list[Trial]:
        """The best first: those of most epochs before others, then by their score; what failed comes last."""
        sign = -1.0 if self.rises else 1.0
        return sorted(self.trials, key=lambda t: (math.isnan(t.score), -t.epochs, sign * t.score))

    @property
    def best(self) -> Trial:
        """The best trial. Error: ValueError where all have failed; it says what the first one said."""
        best = self.ranked()[0]
        if math.isnan(best.score):
            words = next((line.get("error") or line["ended"] for line in best.lines), "nothing")
            words = f"{self.metric} is no number" if words == "finished" else words
            raise ValueError(f"sweep: no trial has a score; the first one ended with: {words}")
        return best

    def best_model(self, fold: int = 0) -> Sequential:
        """The model of the best trial, as trained without this fold."""
        return load_model(self.folder / "trials" / self.best.keys[fold] / "model.safetensors")

    def page(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Write the sweep's page, one HTML file that loads nothing; `sweep.html` in its folder where path is None."""
        scored = not all(math.isnan(trial.score) for trial in self)
        figures = {name: (title, *both(name, self)) for name, title in PICTURES.items() if scored}
        return write_sweep(self.folder if path is None else path, self, figures)

    def report(self, limit: int = 10) -> str:
        """A line for each of the best trials: score, epochs, seconds, configuration."""
        check.whole("report: limit", limit, 1)
        lines = [f"{self.metric:>20}  epochs   seconds  configuration"]
        for trial in self.ranked()[:limit]:
            words = ", ".join(f"{name}={_short(value)}" for name, value in trial.parameters.items())
            seconds = sum(line["seconds"] for line in trial.lines)
            failed = next((line.get("error") or line["ended"] for line in trial.lines if line["score"] is None), "")
            lines.append(
                f"{trial.score:20.5g}  {trial.epochs:6d}  {seconds:8.1f}  {words}" + f"   {failed}" * bool(failed)
            )
        return "\n".join(lines)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def sweep(
    data: Dataset,
    space: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    folder: str | os.PathLike[str],
    method: str = "random",
    n_trials: int = 16,
    *,
    epochs: int = 10,
    folds: int = 1,
    validation: float | Dataset = 0.1,
    metric: str = "validation_score",
    halving: int | None = None,
    min_epochs: int = 1,
    seed: int = 0,
    model: Callable[..., Module] | None = None,
    n_jobs: int | None = None,
    n_threads: int | str = "auto",
    retries: int = 2,
    progress: bool = True,
    **fixed: Any,
) -> Sweep:
    """Train many configurations and rank them; called again with the same folder, it goes on where it was ended.

    space       values by argument: a list to choose from, or a `Range` (`uniform`, `log_uniform`, `integers`). An
                argument is one of the model (hidden, activation, dropout, norm, ...), "optimizer" or one of its rule
                (lr, weight_decay, ...), or one of `fit` (batch_size, loss, schedule, clip_norm, ...). Or a list of
                whole configurations, such as another library has asked for
    folder      where the journal, the checkpoints and the models lie; all workers must see it by this path
    method      "grid", "random" or "sobol", as `space.configurations` says; n_trials: how many are drawn, but for a
                grid; what is drawn twice is one trial
    epochs      of a whole training
    folds       1: `validation` is held out, a Dataset, a share or a count of rows; k: each configuration is trained k
                times, each time without one of k parts of the rows, by the seed; of classes each part has its share
    metric      a column of `Epoch`, that of the last epoch counts: "validation_score", "validation_loss", ...
    halving     a number such as 3: successive halving. All configurations are trained for min_epochs; the best third
                goes on to three times as many, and so on up to `epochs`. It goes on from its checkpoints: its weights
                are those of a training that was never ended. Source: Jamieson and Talwalkar, AISTATS 2016
    model       None for an `MLP` of the data's inputs and outputs, where a number as hidden is one layer; or a
                function, model(data, **arguments) -> Module. Where it is edited, or what it uses of its own module, its
                trials are others
    n_jobs      workers, as in joblib; None: one, or what joblib's `parallel_config` says, dask's cluster among it
    n_threads   of each training; "auto" follows what joblib and dask set in their workers, so that all of them
                together have no more threads than cores
    retries     how often workers may die, of a kill or for lack of memory, before the sweep is given up
    fixed       arguments that all configurations have

    Each trial is a function of configuration, data, fold and seed alone, to the last bit, wherever it runs. A line of
    the journal is written by the worker that has trained it; what stands there is not run again, whoever is killed.
    -> `Sweep`, the trials; a trial that raises, or diverges, says so in its line and ranks last.
    Errors: ValueError and TypeError for arguments out of range; OSError where the folder cannot be written;
    RuntimeError where workers have died too often; ImportError without joblib.
    """
    plan, kept, held = _planned(data, folder, epochs, folds, validation, metric, seed, model, n_threads)
    check.whole("sweep: n_trials", n_trials, 1)
    check.whole("sweep: min_epochs", min_epochs, 1)
    check.whole("sweep: retries", retries, 0)
    if n_jobs is not None and (isinstance(n_jobs, bool) or not isinstance(n_jobs, int | np.integer) or n_jobs == 0):
        raise ValueError(f"sweep: n_jobs is {shown(n_jobs)}; it must be a whole number but 0, or None")
    if halving is not None:
        check.whole("sweep: halving", halving, 2, ", or None")
    if isinstance(space, Mapping):
        drawn = spaces.configurations(spaces.checked(space, "sweep"), method, n_trials, seed, "sweep")
    else:
        if not check.listed(space) or not all(isinstance(values, Mapping) for values in space) or not len(space):
            raise TypeError(f"sweep: space is {shown(space)}; it must be a dict, or a list of configurations")
        drawn = [dict(values) for values in space]
    trials, parts = [], {}  # type: list[Trial], dict[str, tuple[Parts, int]]
    for values in drawn:
        part = parted({**fixed, **values}, model, "sweep")
        keys = [key_of(part, fold, plan) for fold in range(folds)]
        if isinstance(space, Mapping) and method != "grid" and keys[0] in parts:
            continue  # a choice of few values is drawn again and again; an answer for each goes to who gave a list
        parts |= {key: (part, fold) for fold, key in enumerate(keys)}
        trials.append(Trial(values, keys))
    jobs = _Jobs(plan, kept, held, parts, n_jobs, retries, progress)
    going = list({trial.keys[0]: trial for trial in trials}.values())  # each once, or copies of one would go on
    for rung in _rungs(epochs, halving, min_epochs):
        found = jobs.run([key for trial in going for key in trial.keys], rung)
        for trial in trials:
            if trial.keys[0] in found:
                trial.lines = [found[key] for key in trial.keys]
        if halving and rung < epochs:
            ranked = Sweep(going, plan).ranked()
            going = [trial for trial in ranked if not math.isnan(trial.score)][: math.ceil(len(going) / halving)]
    return Sweep(trials, plan)


def _planned(
    data: Any, folder: Any, epochs: int, folds: int, validation: Any, metric: Any, seed: int, model: Any, n_threads: Any
) -> tuple[Plan, Kept, Any]:
    """The plan, the data in the folder, and what is held out, as workers get them."""
    if not isinstance(data, Dataset):
        raise TypeError(f"sweep: data is {type(data).__name__}; it must be a fastmlp.data.Dataset")
    check.whole("sweep: epochs", epochs, 1)
    check.whole("sweep: folds", folds, 1)
    check.whole("sweep: seed", seed, 0)
    if metric not in NUMBERS:
        raise ValueError(f"sweep: metric is {shown(metric)}; it must be one of {', '.join(NUMBERS)}")
    if metric.endswith("accuracy") and data.kind != "classes":
        raise ValueError(f"sweep: metric is {metric!r}; the targets are {data.kind}: it must be a score or a loss")
    if model is not None and not callable(model):
        raise TypeError(f"sweep: model is {shown(model)}; it must be a function, model(data, **arguments), or None")
    if n_threads != "auto":
        check.whole("sweep: n_threads", n_threads, 1, ", or 'auto'")
    if folds > 1 and isinstance(validation, Dataset):
        raise ValueError(f"sweep: folds is {folds} and validation is a Dataset; one of them must say what is held out")
    if folds == 1 and not isinstance(validation, Dataset):
        held_rows(len(data), validation, seed, "sweep: validation")
    if folds > len(data):
        raise ValueError(f"sweep: folds is {folds}; data has {len(data)} rows, and each fold must have one")
    if data.encoding is not None and (folds > 1 or not isinstance(validation, Dataset)):
        raise ValueError(
            "sweep: data is a table, scaled by all of its rows; hold out others before, table(..., validation=0.1), "
            "and give validation=train.validation, folds=1"
        )
    probe("sweep: folder", folder)
    place = Path(folder).absolute()
    told = [digest_of(data), maker(), model, metric]
    told.append(digest_of(validation) if isinstance(validation, Dataset) else folds if folds > 1 else validation)
    digest = hashlib.sha256(json.dumps(said(told)).encode()).hexdigest()[:20]
    kept, held = Kept(data, place, digest), validation
    if isinstance(validation, Dataset):
        held = Kept(
            validation.encoded(data.classes_) if data.classes_ is not None else validation, place, f"{digest}-v"
        )
    return Plan(place, model, int(epochs), int(folds), None, metric, int(seed), n_threads, digest), kept, held


def _rungs(epochs: int, halving: int | None, least: int) -> list[int]:
    """The numbers of epochs to which trials are trained, the last one `epochs`."""
    found = [epochs]
    if halving is not None:
        found = [least * halving**k for k in range(64) if least * halving**k < epochs] + found
    return found


class _Jobs:
    """What is to be done, on joblib's workers; again where some of them died."""

    def __init__(
        self,
        plan: Plan,
        kept: Kept,
        held: Any,
        parts: dict[str, tuple[Parts, int]],
        n_jobs: Any,
        retries: int,
        said: bool,
    ) -> None:
        self.plan, self.kept, self.held, self.parts = plan, kept, held, parts
        self.n_jobs, self.retries, self.said, self.deaths = n_jobs, retries, said, 0

    def run(self, keys: Iterable[str], epochs: int) -> dict[str, dict[str, Any]]:
        """The lines of these trials at so many epochs, by key; those of the journal as they are."""
        keys = list(dict.fromkeys(keys))
        while True:
            lines = self.plan.journal.lines()
            found = {key: lines[key, epochs] for key in keys if (key, epochs) in lines}
            lost = {
                key: line for (key, _), line in lines.items() if key in keys and line["ended"] in ("failed", "diverged")
            }
            found |= {key: line for key, line in lost.items() if key not in found}  # more epochs mend nothing
            left = [key for key in keys if key not in found]
            if not left:
                return found
            if self.said:
                stand = f", {len(found)} stand in the journal" * bool(found)
                print(f"{len(left)} of {len(keys)} to train for {epochs} epochs{stand}", flush=True)
            try:
                for line in self._results(left, epochs):
                    found[line["key"]] = line
                    self._say(line, len(found), len(keys), epochs)
                return found
            except Exception as error:
                if not any(kind.__name__ in DIED for kind in type(error).__mro__):
                    raise
                self.deaths += 1
                if self.deaths > self.retries:
                    raise RuntimeError(
                        f"sweep: workers have died {self.deaths} times, of a kill or for lack of memory; what is done "
                        f"stands in {self.plan.journal.path}, and the same call goes on from there"
                    ) from error
                if self.said:
                    print(f"a worker died; {len(self._undone(keys, epochs))} trials go on with others", flush=True)

    def _undone(self, keys: list[str], epochs: int) -> list[str]:
        lines = self.plan.journal.lines()
        return [key for key in keys if (key, epochs) not in lines]

    def _results(self, keys: list[str], epochs: int) -> Iterator[dict[str, Any]]:
        try:
            from joblib import Parallel, delayed
        except ImportError:
            what = "sweep: joblib is not installed; pip install 'fastmlp[scale]' brings it"
            raise check.NotInstalledError(what) from None
        tasks = [delayed(work)(self.plan, self.kept, self.held, key, *self.parts[key], epochs) for key in keys]
        yield from Parallel(n_jobs=self.n_jobs, batch_size=1, return_as="generator_unordered")(tasks)

    def _say(self, line: dict[str, Any], done: int, all_: int, epochs: int) -> None:
        if not self.said:
            return
        score = (
            "no score"
            if line["score"] is None or math.isnan(line["score"])
            else f"{self.plan.metric} {line['score']:.5g}"
        )
        what = line.get("error") or ("" if line["ended"] == "finished" else line["ended"])
        print(
            f"{done:4d} of {all_}  {score} after {epochs} epochs, {line['seconds']:.1f} s  {what}".rstrip(), flush=True
        )
