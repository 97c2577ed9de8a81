"""What a checkpoint keeps of the arguments of `fit`, so that `resume` can give them again."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data import Dataset
from ..nn import LAYERS, LOSSES, Loss, Module
from ..nn.described import described, layers_of
from ..optim import AVERAGES, RULES, SCHEDULES, Average, Optimizer, Schedule
from .digest import digest_of


def as_saved(
    model: Module,
    optimizer: Optimizer,
    loss: Loss,
    data: Dataset,
    validation: Any,
    class_weight: Any,
    schedule: Schedule | None,
    rule: Average | None,
    **numbers: Any,
) -> tuple[dict[str, Any], list[str]]:
    """(what a checkpoint holds of them, lines that name what `resume` is to be given again).

    What is of this package is described, and made again from that. numbers: arguments that are kept as they are.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = [[names.get(id(parameter)) for parameter in group["params"]] for group in optimizer.param_groups]
    known = all(name is not None for group in groups for name in group)
    things: dict[str, tuple[Any, Any]] = {
        "model": (model, {"layers": layers_of(model, LAYERS)} if made_again(model) else None),
        "optimizer": (optimizer, described_kind(optimizer, RULES) if known else None),
        "loss": (loss, described(loss, LOSSES)),
        "schedule": (schedule, described_schedule(schedule)),
        "average": (rule, described(rule, AVERAGES)),
    }
    found: dict[str, Any] = {}
    lines = []
    for name, (thing, said) in things.items():
        found[name] = None if thing is None else {"class": type(thing).__name__, "made": said}
        if thing is not None and said is None:
            lines.append(f"checkpoint: resume(folder, {name}=...) needs the {name}, a {type(thing).__name__}, again")
    held = None if validation is None else np.asarray(validation).item() if not isinstance(validation, Dataset) else {}
    return {
        "arguments": numbers | {"class_weight": class_weight, "validation": held},
        "of": found,
        "groups": groups,
        "dtype": str(next(model.parameters()).dtype),
        "data": digest_of(data),
        "source": data.source,
        "held_out": digest_of(validation) if isinstance(validation, Dataset) else None,
        "held_out_source": validation.source if isinstance(validation, Dataset) else None,
    }, lines


def made_again(model: Module) -> bool:
    """Whether the layers say all that is needed to make it again."""
    layers = layers_of(model, LAYERS)
    return bool(layers) and not any(layer.get("own") for layer in layers)


def described_kind(optimizer: Optimizer, kinds: Any) -> str | None:
    """The name of the optimizer's rule."""
    return next((name for name, kind in kinds.items() if type(optimizer) is kind), None)


def described_schedule(schedule: Any) -> Any:
    """A schedule's name and arguments, those of the schedules in it too; whether it has an optimizer."""
    said = described(schedule, SCHEDULES) if schedule is not None else None
    if said is None:
        return None
    name, arguments = said
    for key, value in arguments.items():
        if isinstance(value, list | tuple) and any(isinstance(part, Schedule) for part in value):
            parts = [described_schedule(part) for part in value]
            if None in parts:
                return None
            arguments[key] = {"schedules": parts}
    return name, arguments, schedule.optimizer is not None


def made_schedule(said: Any) -> Schedule:
    """The schedule that `described_schedule` has described, without an optimizer."""
    name, arguments, _ = said
    given = {
        key: [made_schedule(part) for part in value["schedules"]] if isinstance(value, dict) else value
        for key, value in arguments.items()
    }
    kind: Any = SCHEDULES[name]
    made: Schedule = kind(**given)
    return made
