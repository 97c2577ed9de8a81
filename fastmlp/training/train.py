"""Training: epochs of shuffled batches through a model, its optimizer and the loss; evaluation; what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from time import perf_counter
from typing import Any

import numpy as np

from .. import kernels
from ..check import listed, shown, takes
from ..check import whole as _check_whole
from ..data import Dataset
from ..graph import Array
from ..machine import available_memory
from ..nn import LOSSES, Layer, Loss, Module
from ..nn.score import added
from ..optim import Adam, Average, Optimizer, Rates, Schedule
from ..optim.averaging import checked_average
from ..running import door
from ..running.averaging import Averaging
from ..running.clip import checked_clip
from ..running.nodes import dtype_of, float_targets
from . import fitting
from .answers import Answers, usual_loss
from .history import History
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
    class_weight: str | Mapping[Any, float] | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    average: str | Average | None = None,
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
    loss        one of `nn`, which says the targets that it takes; where None, cross-entropy for classes and
                probabilities, `MSELoss` for numbers, `BCEWithLogitsLoss` for labels. Floats that are all whole become
                classes where it takes those alone, with a line that says so
    schedule    of the learning rate, one of `optim`: the rates that the optimizer has are where it starts. A line says
                what it does. ReduceLROnPlateau sees the validation loss, or the training loss where nothing is held out
    schedule_every  "epoch" or "step": what the schedule counts; None for what it counts of itself, a step for
                OneCycleLR, an epoch for the others. A schedule without a length of its own goes over all epochs, those
                before this call too
    start_epoch  how many epochs are done already, which says in what order the rows of the next ones come and which
                masks dropout draws; `optimizer.epochs` where None
    class_weight  how much the rows of a class count in the loss of the training: "balanced", n / (C n_c) as in
                scikit-learn, or a dict of numbers by class value, 1 for what is not in it. It multiplies the data's
                `sample_weight`
    clip_value  the most that a number of a gradient may be away from 0: what is beyond becomes the bound
    clip_norm   the most that the norm of all gradients together may be, of all parameters that are trained: all are
                multiplied by min(1, clip_norm / (norm + 1e-6)), after clip_value. The rule, and its weight decay, come
                after both. As in PyTorch, a norm of NaN makes all of them NaN: the loss then ends the training
    average     "ema", `optim.EMA(decay=0.999)` after each step, or "swa", `optim.SWA(start=0.75)` after each of the
                last epochs. What validation and callbacks see after an epoch, and what the model is left with, is the
                average; its batch norms are measured anew on the training rows, by a pass more an epoch. The weights
                that training goes on from stay in `optimizer.averaged`. The training loss is theirs

    The model's outputs are the classes of the data in their order, and `model.classes_` says so afterwards where they
    are others than 0 .. C - 1. The classes of `validation` are looked up among them.
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
        raise ValueError(f"fit: seed is {shown(seed)}; it must be below 2**63")
    _check_threads("fit", n_threads)
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
    given: Any = callbacks
    callbacks = tuple(given) if listed(given) else (given,)
    for callback in callbacks:
        if isinstance(callback, type):
            name = callback.__name__
            raise TypeError(f"fit: callbacks holds the class {name}; it must hold an object, {name}(...)")
        if not callable(callback):
            raise TypeError(f"fit: callbacks holds {shown(callback)}; each must be a function of (model, history)")
        _check_callback(callback)
    epochs, batch_size, seed = int(epochs), int(batch_size), int(seed)  # NumPy's integers of 8 bits end at 255
    loss = usual_loss(data.kind) if loss is None else _checked_loss(loss)
    data, line = fitting.as_taken("fit", loss, data)
    data.check_range("fit: data", dtype_of(model))
    if data.features.nbytes > available_memory() // 2:
        data.expect_shuffled_reads()
    rows, held_out = _hold_out(data, validation, seed)
    if isinstance(validation, Dataset):
        held_out, _ = fitting.as_taken("fit", loss, validation, "validation")
        held_out.check_range("fit: validation", dtype_of(model))
    for callback in callbacks:
        if held_out is None and _is_true(getattr(callback, "needs_validation", False)):
            raise ValueError(f"fit: nothing is held out and {shown(callback)} needs it; validation must be given")
    optimizer = optimizer if optimizer is not None else Adam(model.parameters())
    for callback in callbacks:
        if loss.score.name != "accuracy" and _is_true(getattr(callback, "needs_accuracy", False)):
            raise ValueError(
                f"fit: {shown(callback)} needs an accuracy, and {type(loss).__name__} has none: its score is "
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
    data, values = fitting.numbered("fit", model, data, outputs)
    door.check_targets("fit", loss, data, outputs)
    if held_out is not None:
        held_out = fitting.numbered_alike("fit", held_out, values, outputs, "validation")
        door.check_targets("fit", loss, held_out, outputs, "validation")
    classes = max(data.classes, outputs or 0) if data.classes else 0
    weights = fitting.row_weights(data, rows, class_weight, loss, outputs)
    for said in [line, *fitting.lines(data, rows, classes)]:
        if said:
            report.say(said)
    rates = Rates(optimizer, schedule, schedule_every, done + epochs, len(sizes), done, held_out is not None)
    clip, rule = checked_clip("fit", clip_value, clip_norm, dtype_of(model)), checked_average("fit", average)
    model.classes_, optimizer.epochs = values, done  # here nothing is refused any more
    model.keep_loss(loss)
    _seed_dropout(model, seed, done * len(sizes))
    averaging, optimizer.averaged = None, optimizer.averaged if rule is not None else {}
    if rule is not None:
        averaging = Averaging(model, optimizer, rule, done, done + epochs)
    history = History([], loss.score.name, loss.score.rises, loss.score.best, loss.unit, classes)
    with ExitStack() as stack:
        stack.callback(_restore, _modes(model))
        if not model.training:
            model.train()
        training = _modes(model)
        stack.callback(report.close)
        for line in (
            data.advice(),
            rates.words(),
            rule.advice(done + epochs, (done + epochs) * len(sizes)) if rule is not None else "",
        ):
            if line:
                report.say(line)
        with kernels.announce_compiling(report.say):
            trainer = stack.enter_context(
                door.Trainer(model, optimizer, loss, data, max(sizes), n_threads, report.say, weights, clip, averaging)
            )
            for callback in callbacks:
                if hasattr(callback, "use_loss"):
                    callback.use_loss(loss)
                if hasattr(callback, "start"):
                    callback.start(model, optimizer)
        for callback in reversed(callbacks):  # a stack is left from its top: the first callback finishes first
            if hasattr(callback, "finish"):
                stack.callback(callback.finish, model, history)
        stack.push(trainer.leave)  # before that: who finishes sees the average
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
    model: Module,
    data: Dataset,
    batch_size: int = EVALUATION_BATCH,
    n_threads: int | str = "auto",
    loss: Loss | None = None,
) -> Any:
    """What `model` predicts for all rows of `data`, in evaluation mode and without a graph, and how well it does.

    -> `Evaluation` for classes, `RegressionEvaluation` for numbers, `MultilabelEvaluation` for labels; for targets that
    are probabilities an `Evaluation` whose labels are the likeliest classes.
    batch_size: rows of outputs held at a time; n_threads as in `fit`. loss: what is measured beside the scores; None:
    cross-entropy for classes, for numbers what `fit` has trained the model by, else `MSELoss`, `BCEWithLogitsLoss` for
    labels. The answers to all rows are kept
    in the result, (N, outputs) in the model's type. The model is not touched, its mode neither: threads may use it
    meanwhile.
    Errors: ValueError for shapes or labels that do not fit the model, and for targets that the loss does not take;
    MemoryError where the answers are larger than memory.
    """
    _check_model_and_data("evaluate", model, data)
    _check_whole("evaluate: batch_size", batch_size, 1)
    _check_threads("evaluate", n_threads)
    data.check_range("evaluate: data", dtype_of(model))
    if loss is None and data.kind == "numbers" and isinstance(model.loss_, Loss) and "numbers" in model.loss_.kinds:
        loss = model.loss_  # which says what the outputs mean
    loss = usual_loss(data.kind) if loss is None else _checked_loss(loss, "evaluate")
    data, _ = fitting.as_taken("evaluate", loss, data)
    data, classes_ = fitting.as_asked("evaluate", model, data)
    door.check_targets("evaluate", loss, data, None)
    answers = Answers(data, loss, classes_)
    return answers.judged(*_measure(model, data, loss, int(batch_size), n_threads, answers.keep))


def _measure(
    model: Module,
    data: Dataset,
    loss: Loss,
    batch_size: int = EVALUATION_BATCH,
    n_threads: int | str = "auto",
    keep: Callable[[int, Array], None] = lambda first, z: None,
) -> tuple[float, float]:
    """Mean loss and score, with the data's weights; `keep` is called with (first row, outputs) of each batch."""
    targets, (weights, _) = float_targets(data), door.weights_of("evaluate", data)
    numbers = loss.score.known(targets, weights)
    loss_sum = mass = above = below = 0.0
    for first, z in door.outputs(model, data, batch_size, n_threads):
        if first == 0:
            door.check_targets("evaluate", loss, data, z.shape[1])
        rows = slice(first, first + len(z))
        found = loss.measure(z, targets[rows], numbers, None if weights is None else weights[rows])
        loss_sum, mass = loss_sum + found.loss, mass + found.mass
        above, below = added(above, found.above), added(below, found.below)
        keep(first, z)
    return loss_sum / mass if mass else math.nan, loss.score.of(above, below)


def _hold_out(data: Dataset, validation: float | Dataset | None, seed: int) -> tuple[Array, Dataset | None]:
    """The rows to train on, and the data set to evaluate after each epoch."""
    everything = np.arange(len(data))
    if isinstance(validation, Dataset):
        if (validation.n_features, validation.features.dtype, validation.scale) != (
            data.n_features, data.features.dtype, data.scale
        ):  # fmt: skip
            raise ValueError(f"fit: validation is {validation}, data is {data}; their features must agree")
        if (
            None not in (validation.feature_names, data.feature_names)
            and validation.feature_names != data.feature_names
        ):
            own = zip(data.feature_names or (), validation.feature_names or (), strict=True)
            place, (ours, theirs) = next((n, pair) for n, pair in enumerate(own) if pair[0] != pair[1])
            raise ValueError(
                f"fit: column {place} of data is {shown(ours)}, of validation {shown(theirs)}; they must be the same"
            )
        return everything, validation
    if validation is None or (isinstance(validation, int | float) and validation == 0 and validation is not False):
        return everything, None
    if isinstance(validation, bool) or not isinstance(validation, int | float | np.integer | np.floating):
        what = shown(validation) if isinstance(validation, bool | str) else type(validation).__name__
        raise TypeError(f"fit: validation is {what}; it must be a Dataset, a fraction of the rows, a count, or None")
    if not 0 < validation < len(data):
        raise ValueError(
            f"fit: validation is {shown(validation)}; it must be a fraction, or a count below {len(data)} rows"
        )
    rows, held_out = data.split_rows(validation, seed)
    return rows, data[held_out]


def _checked_loss(loss: Any, caller: str = "fit") -> Loss:
    """The loss itself."""
    if isinstance(loss, type) and issubclass(loss, Loss):
        raise TypeError(f"{caller}: loss is the class {loss.__name__}; it must be an object, {loss.__name__}()")
    if not isinstance(loss, Loss):
        kinds = ", ".join(kind.__name__ for kind in LOSSES.values())
        raise TypeError(f"{caller}: loss is {shown(loss)}; it must be a loss of fastmlp.nn: {kinds}")
    if loss.reduction == "none":
        raise ValueError(f"{caller}: loss has the reduction 'none', a loss for each row; it must be 'mean' or 'sum'")
    return loss


def _check_callback(callback: Any) -> None:
    """Refuse one that cannot be called as `fit` will, before the first epoch is lost to it."""
    name = getattr(callback, "__name__", None) or type(callback).__name__
    takes(f"fit: the callback {name}", callback, "model", "history")
    for method, argument in (("start", "optimizer"), ("finish", "history")):
        if hasattr(callback, method):
            takes(f"fit: {method} of the callback {name}", getattr(callback, method), "model", argument)
    if hasattr(callback, "use_loss"):
        takes(f"fit: use_loss of the callback {name}", callback.use_loss, "loss")


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
    if not isinstance(model, Module) or isinstance(model, Loss):
        raise TypeError(f"{caller}: model is {type(model).__name__}; it must be a fastmlp.nn.Module")
    if not isinstance(data, Dataset):
        raise TypeError(f"{caller}: data is {type(data).__name__}; it must be a fastmlp.data.Dataset(features, labels)")
    door.check_rows(caller, data)


def _check_threads(caller: str, n_threads: Any) -> None:
    if not (isinstance(n_threads, str) and n_threads == "auto"):
        _check_whole(f"{caller}: n_threads", n_threads, 1, " or 'auto'")
