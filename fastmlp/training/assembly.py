"""From what `fit` was given to a training that can begin: everything is checked, and nothing is changed before."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .. import kernels
from ..check import above, listed, shown, whole
from ..data import Dataset
from ..machine import WORTH_ASKING, available_memory
from ..nn import Layer, Loss, Module
from ..optim import Adam, Average, Optimizer, Rates, Schedule
from ..optim.averaging import checked_average
from ..running import door
from ..running.clip import checked_clip
from ..running.meaning import scaled_targets
from ..running.rows import dtype_of
from . import fitting
from .answers import usual_loss
from .checkpoint import Checkpoints
from .checks import (
    batch_sizes,
    check_callback,
    check_encoding,
    check_model_and_data,
    check_threads,
    checked_loss,
    hold_out,
)
from .history import History
from .loop import Loop, deadline_of, has_state, is_true, name_of
from .progress import Progress
from .saved import as_saved
from .taken import check_free


def assembled(
    model: Module,
    data: Dataset,
    validation: float | Dataset | None,
    optimizer: Optimizer | None,
    epochs: int,
    batch_size: int,
    seed: int,
    n_threads: int | str,
    progress: bool | str,
    callbacks: Iterable[Callable[[Module, History], Any]],
    loss: Loss | None,
    schedule: Schedule | None,
    schedule_every: str | None,
    start_epoch: int | None,
    class_weight: str | Mapping[Any, float] | None,
    clip_norm: float | None,
    clip_value: float | None,
    average: str | Average | None,
    checkpoint: str | os.PathLike[str] | Checkpoints | None,
    checkpoint_every: str | int | None,
    time_limit: float | None = None,
    saved: dict[str, Any] | None = None,
    loop: Callable[..., Loop] = Loop,
    more: Mapping[str, Any] | None = None,
) -> Loop:
    """The training that these arguments of `fit` are; saved: the state of a checkpoint that it goes on from.

    loop: what makes it. more: arguments of another kind of training, for its checkpoints.
    """
    check_model_and_data("fit", model, data)
    whole("fit: epochs", epochs, 0)
    whole("fit: batch_size", batch_size, 1)
    whole("fit: seed", seed, 0)
    if start_epoch is not None:
        whole("fit: start_epoch", start_epoch, 0, ", or None")
    if time_limit is not None:
        above("fit: time_limit", time_limit)
        time_limit = float(time_limit)
    deadline = deadline_of(time_limit)
    if seed >= 2**63:
        raise ValueError(f"fit: seed is {shown(seed)}; it must be below 2**63")
    check_threads("fit", n_threads)
    if next(model.parameters(), None) is None:
        raise ValueError(f"fit: model is a {type(model).__name__} without parameters; it must have some to train")
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(f"fit: optimizer is {shown(optimizer)}; it must be one of fastmlp.optim, made with parameters")
    if optimizer is not None:
        owned = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if not any(id(parameter) in owned for parameter in model.parameters()):
            raise ValueError("fit: optimizer holds none of the model's parameters; make it with model.parameters()")
    if not any(p.requires_grad for p in model.parameters() if optimizer is None or id(p) in owned):
        which = "" if optimizer is None else " that optimizer holds"
        raise ValueError(f"fit: no parameter{which} requires grad; one at least must be trained")
    calls: Any = callbacks
    callbacks = tuple(calls) if listed(calls) else (calls,)
    for callback in callbacks:
        if isinstance(callback, type):
            name = callback.__name__
            raise TypeError(f"fit: callbacks holds the class {name}; it must hold an object, {name}(...)")
        if not callable(callback):
            raise TypeError(f"fit: callbacks holds {shown(callback)}; each must be a function of (model, history)")
        check_callback(callback)
    epochs, batch_size, seed = int(epochs), int(batch_size), int(seed)  # NumPy's integers of 8 bits end at 255
    loss = usual_loss(data.kind) if loss is None else checked_loss(loss)
    given = data, validation, class_weight
    data, line = fitting.as_taken("fit", loss, data)
    data.check_range("fit: data", dtype_of(model))
    if data.features.nbytes > WORTH_ASKING and data.features.nbytes > available_memory() // 2:
        data.expect_shuffled_reads()
    rows, held_out = hold_out(data, validation, seed)
    if isinstance(validation, Dataset):
        check_encoding("fit: validation", model if data.encoding is None else data, validation)
        held_out, _ = fitting.as_taken("fit", loss, validation, "validation")
        held_out.check_range("fit: validation", dtype_of(model))
    for callback in callbacks:
        if held_out is None and is_true(getattr(callback, "needs_validation", False)):
            raise ValueError(f"fit: nothing is held out and {shown(callback)} needs it; validation must be given")
    optimizer = optimizer if optimizer is not None else Adam(model.parameters())
    check_free(model, optimizer)
    if checkpoint is not None and not isinstance(checkpoint, Checkpoints):
        checkpoint = Checkpoints(checkpoint, checkpoint_every)
    elif checkpoint is None and checkpoint_every is not None:
        raise ValueError(
            f"fit: checkpoint_every is {shown(checkpoint_every)} and no folder is given; checkpoint must name it"
        )
    for callback in callbacks:
        if loss.score.name != "accuracy" and is_true(getattr(callback, "needs_accuracy", False)):
            raise ValueError(
                f"fit: {shown(callback)} needs an accuracy, and {type(loss).__name__} has none: its score is "
                f"{loss.score.name}, in train_score and validation_score"
            )
    done = optimizer.epochs if start_epoch is None else int(start_epoch)
    first = done + 1 if saved is None else int(saved["epoch"])
    report = Progress(progress, done + epochs, len(rows), loss.score.name, first, held_out is not None)
    batch_norm = any(isinstance(module, Layer) and module.least_rows > 1 for module in model.modules())
    sizes = batch_sizes(len(rows), batch_size, batch_norm)
    if batch_norm and min(sizes) == 1:
        raise ValueError(
            "fit: with batch_norm a batch of 1 row cannot be trained on, one row has no spread; "
            f"batch_size is {batch_size} for {len(rows)} rows, both must be at least 2"
        )
    with kernels.announce_compiling(report.say):
        outputs = door.count_outputs("fit", model, data, min(sizes))
    data, values = fitting.numbered("fit", model, data, outputs)
    door.check_targets("fit", loss, data, outputs)
    if held_out is not None:
        held_out = fitting.numbered_alike("fit", held_out, values, outputs, "validation")
        door.check_targets("fit", loss, held_out, outputs, "validation")
    classes = max(data.classes, outputs or 0) if data.classes else 0
    weights = fitting.row_weights(data, rows, class_weight, loss, outputs)
    lines = [line, *fitting.lines(data, rows, classes)]
    rates = Rates(optimizer, schedule, schedule_every, done + epochs, len(sizes), done, held_out is not None)
    clip, rule = checked_clip("fit", clip_value, clip_norm, dtype_of(model)), checked_average("fit", average)
    lines += [
        data.advice(),
        rates.words(),
        "" if rule is None else rule.advice(done + epochs, (done + epochs) * len(sizes)),
    ]
    arguments: dict[str, Any] = {}
    if checkpoint is not None:
        arguments, said = as_saved(
            model, optimizer, loss, *given, schedule, rule,
            epochs=epochs, batch_size=batch_size, seed=seed, n_threads=n_threads, schedule_every=schedule_every,
            clip_norm=clip_norm, clip_value=clip_value, checkpoint_every=checkpoint.every, **(more or {}),
        )  # fmt: skip
        lines += said + [f"checkpoint: {name_of(c)} has no state_dict; what it has seen is not kept" for c in callbacks
                         if not has_state(c)]  # fmt: skip
    model.classes_, optimizer.epochs = values, done  # here nothing is refused any more
    model.keep_loss(loss)
    if data.encoding is not None:
        model.encoding_ = data.encoding
    if model.encoding_ is not None and not loss.scales:
        model.encoding_ = model.encoding_.with_targets_as_they_are()
    if data.kind == "numbers" and model.encoding_ is not None:
        lines.append(model.encoding_.words_of_targets())
    data, held_out = scaled_targets(model, data), None if held_out is None else scaled_targets(model, held_out)
    model.temperature_ = 1.0  # that of the weights before
    history = History([], loss.score.name, loss.score.rises, loss.score.best, loss.unit, classes)
    return loop(
        model, optimizer, loss, data, rows, held_out, sizes, seed, done, done + epochs, n_threads, report, callbacks,
        rates, weights, clip, rule, history, [said for said in lines if said], checkpoint, arguments,
        time_limit, deadline,
    )  # fmt: skip
