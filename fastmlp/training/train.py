"""Training: epochs of shuffled batches through a model, its optimizer and the loss; evaluation; what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from time import perf_counter
from typing import Any

import numpy as np

from .. import kernels
from ..check import takes
from ..check import whole as _check_whole
from ..data import Dataset
from ..graph import Array
from ..machine import available_memory, check_memory
from ..nn import LOSSES, CrossEntropyLoss, Layer, Loss, Module
from ..nn.loss import added
from ..optim import Adam, Optimizer, Rates, Schedule
from ..running import door
from ..running.nodes import dtype_of, float_targets
from .history import History
from .metrics import Evaluation, softmax
from .progress import Progress

EVALUATION_BATCH = 16384  # rows of outputs that are held at a time


def fit(
    model: Module,
    data: Dataset,
    validation: float | Dataset | None = None,
    optimizer: Optimizer | None = None,
    epochs: int = 10,
    batch_size: int = 64,
    seed: int = 0,
    n_threads: int | str = "auto",
    progress: bool | str = True,
    callbacks: Iterable[Callable[[Module, History], Any]] = (),
    loss: Loss | None = None,
    schedule: Schedule | None = None,
    schedule_every: str | None = None,
    start_epoch: int | None = None,
) -> History:
    """Train `model` on `data`; the model's arrays change in place.

    model       maps (N, data.n_features) to logits (N, classes), or to as many numbers as a row has targets
    validation  held out and evaluated after each epoch: a Dataset, a fraction of the rows, a count, or None
    optimizer   Adam with its defaults where None: a new training. One that has trained before goes on: 5 + 5 epochs
                with one optimizer are 10 in one call, to the last bit
    epochs      passes over the data, each in a new order
    batch_size  rows a step. The last batch of an epoch is what is left over; it counts by its size. With batch norm,
                a single row left over joins the batch before
    seed        of the order of rows, of what is held out, and of the dropout masks: one seed, one result
    n_threads   a ceiling, "auto" for all cores this process may use: the engine takes the number that is fastest,
                and the result is the same to the last bit for every number
    progress    True: a bar, and a table row an epoch; "table": the rows alone; False: silent
    callbacks   called with (model, history) after each epoch; True as an answer stops the training. Where one has a
                method `start`, start(model, optimizer) is called before the first epoch, and before that, where one
                has a method `use_loss`, use_loss(loss). Where one has a method `finish`, finish(model, history) is
                called when the training ends, for whatever reason: the last epoch, an answer of True, a loss that is
                not finite, Ctrl-C or any other exception. One whose attribute `needs_validation` is True is refused
                where nothing is held out, one whose attribute `needs_accuracy` is True where the loss has another
                score. All are refused before the first step where they do not take these arguments
    loss        one of `nn`, which says the targets that it takes; `CrossEntropyLoss()` where None
    schedule    of the learning rate, one of `optim`: the rates that the optimizer has are where it starts. A line says
                what it does. ReduceLROnPlateau sees the validation loss, or the training loss where nothing is held out
    schedule_every  "epoch" or "step": what the schedule counts; None for what it counts of itself, a step for
                OneCycleLR, an epoch for the others. A schedule without a length of its own goes over all epochs, those
                before this call too
    start_epoch  how many epochs are done already, which says in what order the rows of the next ones come and which
                masks dropout draws; `optimizer.epochs` where None

    A Sequential of layers that declare kernels, with an optimizer that does, runs on the engine; anything else on
    the graph, with a line that says so. Engine and graph do the same whatever a callback changes between epochs. A
    model in evaluation mode is set to training as a whole; in one in training mode, a layer in evaluation mode stays
    there, and a parameter without `requires_grad` stays as it is. A loss that is not finite ends the training after its
    epoch, with a line too.
    Error: ValueError for an argument out of range, in one sentence.
    """
    _check_model_and_data("fit", model, data)
    _check_whole("fit: epochs", epochs, 0)
    _check_whole("fit: batch_size", batch_size, 1)
    _check_whole("fit: seed", seed, 0)
    if start_epoch is not None:
        _check_whole("fit: start_epoch", start_epoch, 0, ", or None")
    if seed >= 2**63:
        raise ValueError(f"fit: seed is {seed}; it must be below 2**63")
    _check_threads("fit", n_threads)
    if next(model.parameters(), None) is None:
        raise ValueError(f"fit: model is a {type(model).__name__} without parameters; it must have some to train")
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(f"fit: optimizer is {optimizer!r}; it must be one of fastmlp.optim, made with parameters")
    if optimizer is not None:
        owned = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if not any(id(parameter) in owned for parameter in model.parameters()):
            raise ValueError("fit: optimizer holds none of the model's parameters; make it with model.parameters()")
    callbacks = tuple(callbacks) if isinstance(callbacks, Iterable) else (callbacks,)
    for callback in callbacks:
        if isinstance(callback, type):
            name = callback.__name__
            raise TypeError(f"fit: callbacks holds the class {name}; it must hold an object, {name}(...)")
        if not callable(callback):
            raise TypeError(f"fit: callbacks holds {callback!r}; each must be a function of (model, history)")
        _check_callback(callback)
    epochs, batch_size, seed = int(epochs), int(batch_size), int(seed)  # NumPy's integers of 8 bits end at 255
    data.check_range("fit: data", dtype_of(model))
    if data.features.nbytes > available_memory() // 2:
        data.expect_shuffled_reads()
    rows, held_out = _hold_out(data, validation, seed)
    if isinstance(validation, Dataset):
        validation.check_range("fit: validation", dtype_of(model))
    for callback in callbacks:
        if held_out is None and _is_true(getattr(callback, "needs_validation", False)):
            raise ValueError(f"fit: nothing is held out and {callback!r} needs it; validation must be given")
    optimizer = optimizer if optimizer is not None else Adam(model.parameters())
    loss = _checked_loss(loss)
    for callback in callbacks:
        if loss.score.name != "accuracy" and _is_true(getattr(callback, "needs_accuracy", False)):
            raise ValueError(
                f"fit: {callback!r} needs an accuracy, and {type(loss).__name__} has none: its score is "
                f"{loss.score.name}, in train_score and validation_score"
            )
    done = optimizer.epochs if start_epoch is None else int(start_epoch)
    report = Progress(progress, done + epochs, len(rows), loss.score.name, done + 1, held_out is not None)
    batch_norm = any(isinstance(module, Layer) and module.least_rows > 1 for module in model.modules())
    sizes = _batch_sizes(len(rows), batch_size, batch_norm)
    if batch_norm and min(sizes) == 1:
        raise ValueError(
            "fit: with batch_norm a batch of 1 row cannot be trained on, one row has no spread; "
            f"batch_size is {batch_size} for {len(rows)} rows, both must be at least 2"
        )
    with kernels.announce_compiling(report.say):
        outputs = door.count_outputs("fit", model, data, min(sizes))
    for part in (data, held_out):
        if part is not None:
            door.check_targets("fit", loss, part, outputs, "data" if part is data else "validation")
    classes = max(data.classes, outputs or 0) if loss.targets == "classes" else 0
    if classes and (missing := _missing(data.labels[rows], classes)):
        report.say(missing)
    _seed_dropout(model, seed, done * len(sizes))
    rates = Rates(optimizer, schedule, schedule_every, done + epochs, len(sizes), done, held_out is not None)
    optimizer.epochs = done
    history = History([], loss.score.name, loss.score.rises, loss.score.best, loss.unit, classes)
    with ExitStack() as stack:
        stack.callback(_restore, _modes(model))
        if not model.training:
            model.train()
        training = _modes(model)
        stack.callback(report.close)
        for line in (data.advice(), rates.words()):
            if line:
                report.say(line)
        with kernels.announce_compiling(report.say):
            trainer = stack.enter_context(door.Trainer(model, optimizer, loss, data, max(sizes), n_threads, report.say))
            for callback in callbacks:
                if hasattr(callback, "use_loss"):
                    callback.use_loss(loss)
                if hasattr(callback, "start"):
                    callback.start(model, optimizer)
        for callback in reversed(callbacks):  # a stack is left from its top: the first callback finishes first
            if hasattr(callback, "finish"):
                stack.callback(callback.finish, model, history)
        for epoch in range(done + 1, done + epochs + 1):
            order = np.random.default_rng((seed, epoch)).permutation(rows)
            if not model.training:  # a callback that evaluated the model has left it so
                _restore(training)
            start = perf_counter()
            mean, score = trainer.epoch(order, sizes, report.batch, rates.of_epoch(epoch))
            seconds, optimizer.epochs = max(perf_counter() - start, 1e-9), epoch
            held = (math.nan,) * 2 if held_out is None else _measure(model, held_out, loss, n_threads=n_threads)
            history.add(epoch, (mean, score), held, seconds, len(rows), trainer.ran_on)
            report.row(history[-1])
            if line := rates.after(epoch, history[-1]):
                report.say(line)
            stop = [_is_true(callback(model, history)) for callback in callbacks]
            if not math.isfinite(mean):
                report.say(f"stopped: the training loss is {mean} in epoch {epoch}; try a smaller learning rate")
            if any(stop) or not math.isfinite(mean):
                break
    return history


def evaluate(
    model: Module, data: Dataset, batch_size: int = EVALUATION_BATCH, n_threads: int | str = "auto"
) -> Evaluation:
    """What `model` predicts for all rows of `data`, in evaluation mode and without a graph, and how well it does.

    batch_size: rows of logits held at a time; n_threads as in `fit`. The probabilities of all rows are kept in the
    result, (N, C) in the model's type. The model is not touched, its mode neither: threads may use it meanwhile.
    Errors: ValueError for shapes or labels that do not fit the model, and for targets that are numbers; MemoryError
    where the probabilities are larger than memory.
    """
    _check_model_and_data("evaluate", model, data)
    _check_whole("evaluate: batch_size", batch_size, 1)
    _check_threads("evaluate", n_threads)
    data.check_range("evaluate: data", dtype_of(model))
    batch_size = int(batch_size)
    loss = CrossEntropyLoss()
    door.check_targets("evaluate", loss, data, None)
    predicted, probabilities = np.empty(len(data), np.int64), np.empty((0, 0))

    def keep(first: int, z: Array) -> None:
        nonlocal probabilities
        if first == 0:
            what = f"evaluate: the probabilities of {len(data):,} rows and {z.shape[1]:,} classes"
            check_memory(what, len(data) * z.shape[1] * z.dtype.itemsize, "evaluate a part of the rows, data[:n]")
            probabilities = np.empty((len(data), z.shape[1]), z.dtype)
        predicted[first : first + len(z)] = z.argmax(axis=1)
        probabilities[first : first + len(z)] = softmax(z)

    mean, accuracy = _measure(model, data, loss, batch_size, n_threads, keep)
    return Evaluation(mean, accuracy, len(data), data.labels, probabilities, predicted)


def _measure(
    model: Module,
    data: Dataset,
    loss: Loss,
    batch_size: int = EVALUATION_BATCH,
    n_threads: int | str = "auto",
    keep: Callable[[int, Array], None] = lambda first, z: None,
) -> tuple[float, float]:
    """Mean loss and score; `keep` is called with (first row, outputs) of each batch."""
    loss_sum, score_sum, targets = 0.0, 0.0, float_targets(data)
    numbers = loss.score.numbers(targets)
    for first, z in door.outputs(model, data, batch_size, n_threads):
        if first == 0:
            door.check_targets("evaluate", loss, data, z.shape[1])
        batch_loss, terms = loss.measure(z, targets[first : first + len(z)], numbers)
        loss_sum, score_sum = loss_sum + batch_loss, added(score_sum, terms)
        keep(first, z)
    return loss_sum / len(data), loss.score.start + score_sum / len(data)


def _hold_out(data: Dataset, validation: float | Dataset | None, seed: int) -> tuple[Array, Dataset | None]:
    """The rows to train on, and the data set to evaluate after each epoch."""
    everything = np.arange(len(data))
    if isinstance(validation, Dataset):
        if (validation.n_features, validation.features.dtype, validation.scale) != (
            data.n_features, data.features.dtype, data.scale
        ):  # fmt: skip
            raise ValueError(f"fit: validation is {validation}, data is {data}; their features must agree")
        return everything, validation
    if validation is None or (isinstance(validation, int | float) and validation == 0 and validation is not False):
        return everything, None
    if isinstance(validation, bool) or not isinstance(validation, int | float | np.integer | np.floating):
        what = repr(validation) if isinstance(validation, bool | str) else type(validation).__name__
        raise TypeError(f"fit: validation is {what}; it must be a Dataset, a fraction of the rows, a count, or None")
    if not 0 < validation < len(data):
        raise ValueError(f"fit: validation is {validation}; it must be a fraction, or a count below {len(data)} rows")
    rows, held_out = data.split_rows(validation, seed)
    return rows, data[held_out]


def _checked_loss(loss: Any) -> Loss:
    """The loss itself, or cross-entropy for None."""
    if isinstance(loss, type) and issubclass(loss, Loss):
        raise TypeError(f"fit: loss is the class {loss.__name__}; it must be an object, {loss.__name__}()")
    if loss is not None and not isinstance(loss, Loss):
        kinds = ", ".join(kind.__name__ for kind in LOSSES.values())
        raise TypeError(f"fit: loss is {loss!r}; it must be a loss of fastmlp.nn: {kinds}")
    return loss if loss is not None else CrossEntropyLoss()


def _check_callback(callback: Any) -> None:
    """Refuse one that cannot be called as `fit` will, before the first epoch is lost to it."""
    name = getattr(callback, "__name__", None) or type(callback).__name__
    takes(f"fit: the callback {name}", callback, "model", "history")
    for method, argument in (("start", "optimizer"), ("finish", "history")):
        if hasattr(callback, method):
            takes(f"fit: {method} of the callback {name}", getattr(callback, method), "model", argument)
    if hasattr(callback, "use_loss"):
        takes(f"fit: use_loss of the callback {name}", callback.use_loss, "loss")


def _missing(labels: Array, classes: int) -> str:
    """A line where no row is of a class, or where there is one class only; else an empty text."""
    absent = np.flatnonzero(np.bincount(labels, minlength=classes) == 0)
    if classes == 1:
        return "there is one class, 0: nothing to tell apart"
    if not len(absent):
        return ""
    shown = ", ".join(str(c) for c in absent[:8]) + ", ..." * (len(absent) > 8)
    which = f"the class {shown}" if len(absent) == 1 else f"{len(absent):,} of the {classes:,} classes: {shown}"
    return f"no training row has {which}"


def _seed_dropout(model: Module, seed: int, steps: int) -> None:
    """Number the layers that draw, and set their counters: the masks are a function of `seed` and the step alone."""
    drawing: list[Any] = [m for m in model.modules() if isinstance(m, Layer) and m.form == "random"]
    for layer, module in enumerate(drawing):
        module.seed, module.layer, module.step = seed, layer, steps


def _batch_sizes(rows: int, batch_size: int, batch_norm: bool = False) -> list[int]:
    """Sizes that add up to `rows`: whole batches, then what is left over."""
    sizes = [batch_size] * (rows // batch_size) + ([rows % batch_size] if rows % batch_size else [])
    if batch_norm and len(sizes) > 1 and sizes[-1] == 1:
        sizes[-2:] = [sizes[-2] + 1]  # one row has no spread
    return sizes


def _modes(model: Module) -> list[tuple[Module, bool]]:
    """Each module with the mode it is in: a layer may be frozen in evaluation mode while the others train."""
    return [(module, module.training) for module in model.modules()]


def _restore(modes: list[tuple[Module, bool]]) -> None:
    for module, training in modes:  # from the top down: the mode of a layer is set after that of its container
        module.train(training)


def _is_true(answer: Any) -> bool:
    """True of Python or NumPy; not a number, and not an object that counts as true."""
    return isinstance(answer, bool | np.bool_) and bool(answer)


def _check_model_and_data(caller: str, model: Any, data: Any) -> None:
    if not isinstance(model, Module):
        raise TypeError(f"{caller}: model is {type(model).__name__}; it must be a fastmlp.nn.Module")
    if not isinstance(data, Dataset):
        raise TypeError(f"{caller}: data is {type(data).__name__}; it must be a fastmlp.data.Dataset(features, labels)")
    door.check_rows(caller, data)


def _check_threads(caller: str, n_threads: Any) -> None:
    if not (isinstance(n_threads, str) and n_threads == "auto"):
        _check_whole(f"{caller}: n_threads", n_threads, 1, " or 'auto'")
