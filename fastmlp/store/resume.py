"""A training that was ended goes on: `resume` makes again what a checkpoint holds, for the loop of `fit`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import check
from ..data import Dataset
from ..data.doors import again
from ..nn import LAYERS, LOSSES, Loss, Module, Sequential
from ..nn.described import made_layers
from ..nn.module import undrawn
from ..optim import AVERAGES, RULES, Average, Optimizer, Schedule
from ..training.assembly import assembled
from ..training.checkpoint import Checkpoints, files_of, maker, read_newest
from ..training.digest import difference, digest_of
from ..training.history import History
from ..training.loop import Loop, has_state, name_of
from ..training.progress import Progress
from ..training.saved import made_schedule

KINDS = {"parallel": "scale.resume_parallel"}  # an argument that only trainings of a kind have: what goes on with it
BITS = ("numpy", "numba", "processor")  # of another one the last bits of a result may be others


def resume(
    folder: str | os.PathLike[str],
    data: Dataset | None = None,
    validation: Dataset | None = None,
    model: Module | None = None,
    callbacks: Iterable[Callable[[Module, History], Any]] = (),
    *,
    epochs: int | None = None,
    n_threads: int | str | None = None,
    progress: bool | str = True,
    time_limit: float | None = None,
    optimizer: Optimizer | None = None,
    loss: Loss | None = None,
    schedule: Schedule | None = None,
    average: Average | None = None,
) -> Resumed:
    """Go on with the training whose checkpoints are in a folder, to the same bits as if it had never ended.

    The newest checkpoint that is whole is taken, with a line for one that is damaged. What the training read from a
    path by `fm.data.load` is read again; other data sets are handed in again, and so are a model with classes of your
    own and callbacks, in their order: what they had seen goes back to those with `load_state_dict`.

    epochs     as many as `fit` is to make in all, where they are to be others than before
    n_threads  as for `fit`; the result does not hang on it
    time_limit  seconds, of this call alone
    optimizer, loss, schedule, average  where the training had one of your own class: it is handed in again, the
               optimizer as it is made with the model's parameters

    -> `Resumed`: the model, its optimizer and the history. Where the training had come to its end, its callbacks finish
    once more and nothing else is done.
    Errors: FileNotFoundError for a folder without checkpoints. ValueError, which names the difference, for a data set,
    model, callback or release of fastmlp that is not that of the checkpoint; for a training that diverged; for other
    epochs where a schedule or an average took its length from them.
    """
    return gone_on(
        folder, data, validation, model, callbacks, epochs, n_threads, progress, time_limit, optimizer, loss, schedule,
        average,
    )  # fmt: skip


def gone_on(
    folder: str | os.PathLike[str],
    data: Dataset | None,
    validation: Dataset | None,
    model: Module | None,
    callbacks: Iterable[Callable[[Module, History], Any]],
    epochs: int | None,
    n_threads: int | str | None,
    progress: bool | str,
    time_limit: float | None,
    optimizer: Optimizer | None,
    loss: Loss | None,
    schedule: Schedule | None,
    average: Average | None,
    kind: str = "",
    begin: Callable[[dict[str, Any]], tuple[Callable[..., Loop], bool]] = lambda arguments: (Loop, True),
) -> Resumed:
    """`resume`, for trainings of a kind. `begin` gets its arguments and says what makes the loop, and who writes.

    kind: the argument that only its checkpoints have. begin -> (what makes the loop, whether checkpoints are written).
    """
    report = Progress(progress, 0, 0)
    try:
        path, saved = read_newest(folder, "resume", report.say)
    finally:
        report.close()
    place = _Place(path, saved)
    place.check_kind(kind)
    place.check_maker(report.say)
    arguments = dict(saved["arguments"])
    if saved["ended"] == "diverged":
        raise ValueError(
            f"resume: the training in {path.parent} diverged in epoch {saved['epoch'] - 1}, and would again; a new one "
            "needs a smaller learning rate or clip_norm"
        )
    data = place.rows("data", data, saved["source"], saved["data"])
    held: Any = arguments.pop("validation")
    if saved["held_out"] is not None:
        held = place.rows("validation", validation, saved["held_out_source"], saved["held_out"])
    elif validation is not None:
        raise ValueError(f"resume: validation is given; the training held out {held!r} of its own rows")
    model = place.model(model)
    optimizer = place.optimizer(optimizer, model)
    loss = place.thing("loss", loss, lambda said: _made(said, LOSSES))
    schedule = place.thing("schedule", schedule, made_schedule)
    average = place.thing("average", average, lambda said: _made(said, AVERAGES))
    said = saved["of"]["schedule"]
    if schedule is not None and said["made"] is not None and said["made"][2]:
        schedule._bind(optimizer, -1)
        optimizer.load_state_dict(saved["optimizer"])
    make, writes = begin(arguments)
    given: Any = callbacks
    if not writes:
        saved["callbacks"] = _of_these(tuple(given), saved["callbacks"])
    callbacks = place.callbacks(tuple(given) if check.listed(given) else (given,), report.say)
    before = arguments.pop("epochs")
    epochs = place.length(before, epochs, schedule, average)
    checkpoints = None
    if writes:
        checkpoints = Checkpoints(path.parent, arguments["checkpoint_every"], replace=True)
        checkpoints.own = [other for other in files_of(path.parent) if other <= path][1::-1]  # what is newer is damaged
    threads = arguments.pop("n_threads") if n_threads is None else n_threads
    arguments.pop("n_threads", None)
    report.say(place.words(epochs))
    loop = assembled(
        model, data, held, optimizer, epochs, arguments["batch_size"], arguments["seed"], threads, progress, callbacks,
        loss, schedule, arguments["schedule_every"], saved["done"], arguments["class_weight"], arguments["clip_norm"],
        arguments["clip_value"], average, checkpoints, None, time_limit, saved, make,
        {name: arguments[name] for name in KINDS if name in arguments},
    )  # fmt: skip
    return Resumed(model, optimizer, loop.run(saved))


class Resumed:
    """What a training that went on leaves: the model, its optimizer, the history of all its epochs."""

    def __init__(self, model: Module, optimizer: Optimizer, history: History) -> None:
        self.model, self.optimizer, self.history = model, optimizer, history

    def __repr__(self) -> str:
        return f"Resumed({self.model!r}, {len(self.history)} epochs)"


class _Place:
    """One checkpoint: its things are made again, or compared with those that are handed in."""

    def __init__(self, path: Path, saved: dict[str, Any]) -> None:
        self.path, self.saved = path, saved

    def check_kind(self, kind: str) -> None:
        """Refuse the checkpoint of a training of another kind: its sums are others."""
        for name, function in KINDS.items():
            if name in self.saved["arguments"] and name != kind:
                raise ValueError(
                    f"resume: the training in {self.path.parent} is another kind; {function} goes on with it"
                )
        if kind and kind not in self.saved["arguments"]:
            raise ValueError(
                f"{KINDS[kind]}: the training in {self.path.parent} was one of fit; resume goes on with it"
            )

    def check_maker(self, say: Callable[[str], Any]) -> None:
        """Refuse the checkpoint of another release; say where last bits may differ."""
        now, then = maker(), self.saved["maker"]
        if now["fastmlp"] != then["fastmlp"]:
            raise ValueError(
                f"resume: {self.path} was written by fastmlp {then['fastmlp']}, and this is {now['fastmlp']}; it must "
                "be the same release"
            )
        for name in BITS:
            if now[name] != then[name]:
                say(f"the {name} is {now[name]}, it was {then[name]}: the last bits of the result may be others")

    def words(self, epochs: int) -> str:
        """From where the training goes on, for a person. epochs: that `fit` is to make in all."""
        saved, last = self.saved, self.saved["done"] + epochs
        epoch, step = saved["epoch"], saved["step"]
        if saved["ended"] == "stopped" or (epoch > last and not step):
            return f"{self.path}: the training had come to its end, after epoch {epoch - 1}; none is left to make"
        within = f", after {step:,} of its {saved['steps']:,} steps" if step else ""
        return f"{self.path}: the training goes on in epoch {epoch} of {last}{within}"

    def rows(self, what: str, given: Dataset | None, source: Any, then: dict[str, Any]) -> Dataset:
        """A data set: the one that is given, or what the training read from a path."""
        if given is None and source is None:
            raise ValueError(f"resume: {what} is not given; the training had it as arrays, so it must be given again")
        if given is not None and not isinstance(given, Dataset):
            raise TypeError(f"resume: {what} is {type(given).__name__}; it must be a fastmlp.data.Dataset")
        if given is None:
            given = again(source)
            if given is None:
                raise ValueError(f"resume: {source['path']} holds one data set; it held two")
        if found := difference(digest_of(given), then):
            where = "" if source is None else f" of {source['path']}"
            raise ValueError(f"resume: {what}{where} {found}; it must be what the training began with")
        return given

    def model(self, given: Module | None) -> Module:
        """The model with its weights: made from its layers, or the one that is given."""
        saved, said = self.saved, self.saved["of"]["model"]
        state = saved["weights"]
        if given is None:
            if said["made"] is None:
                raise ValueError(
                    f"resume: model is not given; it is a {said['class']} of your own making, so it must be given again"
                )
            with undrawn():
                given = Sequential(*made_layers(said["made"]["layers"], state, f"resume: {self.path}", LAYERS))
            given = given.double() if saved["dtype"] == "float64" else given
        elif not isinstance(given, Module):
            raise TypeError(f"resume: model is {type(given).__name__}; it must be a fastmlp.nn.Module")
        elif type(given).__name__ != said["class"] and said["made"] is None:
            raise ValueError(f"resume: model is a {type(given).__name__}; it was a {said['class']}")
        own = {name: (array.shape, str(array.dtype)) for name, array in given.state_dict().items()}
        for name in {**own, **state}:
            then = (state[name].shape, str(state[name].dtype)) if name in state else None
            if own.get(name) != then:
                raise ValueError(f"resume: {name} of model is {_array(own.get(name))}; it was {_array(then)}")
        given.load_state_dict(state)
        given.classes_ = saved["classes_"]
        for parameter, trained in zip(given.parameters(), saved["trained"], strict=True):
            parameter.requires_grad = trained
        for (module, _), mode in zip([(m, m.training) for m in given.modules()], saved["modes"], strict=True):
            module.train(mode)
        return given

    def optimizer(self, given: Optimizer | None, model: Module) -> Optimizer:
        """The optimizer with its state, of this model's parameters."""
        said, saved = self.saved["of"]["optimizer"], self.saved
        if given is None:
            if said["made"] is None:
                raise ValueError(
                    f"resume: optimizer is not given; it is a {said['class']} of your own making, or holds other "
                    "parameters than the model's, so it must be given again"
                )
            named, kind = dict(model.named_parameters()), RULES[said["made"]]
            groups: list[dict[str, Any]] = []
            for names, group in zip(saved["groups"], saved["optimizer"]["param_groups"], strict=True):
                groups.append({**group, "params": [named[name] for name in names]})
            made: Any = kind
            given = made(groups)
        elif type(given).__name__ != said["class"]:
            raise ValueError(f"resume: optimizer is a {type(given).__name__}; it was a {said['class']}")
        given.load_state_dict(saved["optimizer"])
        return given

    def thing(self, name: str, given: Any, make: Callable[[Any], Any]) -> Any:
        """A loss, schedule or average: made from its description, or the one that is given."""
        said = self.saved["of"][name]
        if said is None or said["made"] is not None:
            if given is not None:
                what = "none" if said is None else f"a {said['class']}, which is made again"
                raise ValueError(f"resume: {name} is given; the training had {what}")
            return None if said is None else make(said["made"])
        if given is None:
            raise ValueError(
                f"resume: {name} is not given; it is a {said['class']} of your own making, so it must be given again"
            )
        if type(given).__name__ != said["class"]:
            raise ValueError(f"resume: {name} is a {type(given).__name__}; it was a {said['class']}")
        return given

    def callbacks(self, given: tuple[Any, ...], say: Callable[[str], Any]) -> tuple[Any, ...]:
        """The callbacks, which must be those of before by their names."""
        names, then = [name_of(callback) for callback in given], [kept["name"] for kept in self.saved["callbacks"]]
        if names != then:
            now, were = (", ".join(some) or "none" for some in (names, then))
            raise ValueError(
                f"resume: callbacks holds {now}; it must hold those of the training in their order, {were}"
            )
        for callback, kept in zip(given, self.saved["callbacks"], strict=True):
            if kept["state"] is not None and not has_state(callback):
                raise ValueError(f"resume: the callback {kept['name']} has no load_state_dict for what it had seen")
            if kept["state"] is None:
                say(f"the callback {kept['name']} has no state_dict: it begins anew")
        return given

    def length(self, before: int, now: int | None, schedule: Schedule | None, average: Average | None) -> int:
        """How many epochs there are to be in all."""
        if now is None or now == before:
            return before
        done = self.saved["epoch"] - 1 - self.saved["done"]
        if isinstance(now, bool) or not isinstance(now, int | np.integer) or now < done + (self.saved["step"] > 0):
            raise ValueError(
                f"resume: epochs is {check.shown(now)}; it must be a whole number of at least {done}, those made"
            )
        if schedule is not None and (taken := schedule.lacks()):
            raise ValueError(
                f"resume: epochs is {now}, it was {before}; {type(schedule).__name__} took its length from it ({taken} "
                "was left out), so it must stay"
            )
        if average is not None and average.begins(self.saved["done"] + before) != average.begins(
            self.saved["done"] + int(now)
        ):
            raise ValueError(
                f"resume: epochs is {now}, it was {before}; {average!r} begins at a fraction of them, so it must stay"
            )
        if self.saved["ended"] == "stopped":
            raise ValueError(
                f"resume: epochs is {now}; a callback had stopped the training after {done}, so it must stay"
            )
        return int(now)


def _of_these(callbacks: tuple[Any, ...], kept: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a checkpoint has of callbacks, for others: those of its names, and such as it does not know."""
    by_name = {one["name"]: one for one in reversed(kept)}
    return [by_name.get(name_of(c), {"name": name_of(c), "state": None}) for c in callbacks]


def _made(said: Any, kinds: Mapping[str, Any]) -> Any:
    """What `described` has described."""
    name, arguments = said
    return kinds[name](**arguments)


def _array(found: tuple[tuple[int, ...], str] | None) -> str:
    return "not there" if found is None else f"{found[0]} {found[1]}"
