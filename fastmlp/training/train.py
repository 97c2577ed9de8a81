"""Training: epochs of shuffled batches through a model, its optimizer and the loss; evaluation; what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from time import perf_counter
from typing import Any

import numpy as np

from .. import kernels
from ..check import whole as _check_whole
from ..data import Dataset
from ..graph import Array, Tensor, no_grad
from ..nn import BatchNorm1d, Dropout, Module
from ..ops import cross_entropy
from ..optim import Adam, Optimizer
from ..running import warm
from ..running.engine import Engine
from ..running.machine import available_cores, available_memory
from ..running.plan import obstacle
from ..running.predict import Predictor
from .history import Epoch, History
from .metrics import Evaluation, softmax
from .progress import Progress

EVALUATION_BATCH, GRAPH_BATCH = 16384, 1000


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
) -> History:
    """Train `model` on `data` with softmax cross-entropy; the model's arrays change in place.

    model       maps (N, data.n_features) to logits (N, classes)
    validation  held out and evaluated after each epoch: a Dataset, a fraction of the rows, a count, or None
    optimizer   Adam with its defaults where None
    epochs      passes over the data, each in a new order
    batch_size  rows a step. The last batch of an epoch is what is left over; it counts by its size. With batch norm,
                a single row left over joins the batch before
    seed        of the order of rows, of what is held out, and of the dropout masks: one seed, one result
    n_threads   a ceiling, "auto" for all cores this process may use: the engine takes the number that is fastest,
                and the result is the same to the last bit for every number
    progress    True: a bar, and a table row an epoch; "table": the rows alone; False: silent
    callbacks   called with (model, history) after each epoch; True as an answer stops the training. Where one has a
                method `start`, start(model, optimizer) is called before the first epoch. Where one has a method
                `finish`, finish(model, history) is called when the training ends, for whatever reason: the last
                epoch, an answer of True, a loss that is not finite, Ctrl-C or any other exception. One whose
                attribute `needs_validation` is True is refused where nothing is held out

    A Sequential of fastmlp's own layers with one of its own optimizers runs on the engine; anything else on the
    graph, with a line that says so. A loss that is not finite ends the training after its epoch, with a line too.
    Error: ValueError for an argument out of range, in one sentence.
    """
    _check_model_and_data("fit", model, data)
    _check_whole("fit: epochs", epochs, 0)
    _check_whole("fit: batch_size", batch_size, 1)
    _check_whole("fit: seed", seed, 0)
    if seed >= 2**63:
        raise ValueError(f"fit: seed is {seed}; it must be below 2**63")
    _check_threads("fit", n_threads)
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
    if data.features.nbytes > available_memory() // 2:
        data.expect_shuffled_reads()
    rows, held_out = _hold_out(data, validation, seed)
    for callback in callbacks:
        if held_out is None and _is_true(getattr(callback, "needs_validation", False)):
            raise ValueError(f"fit: nothing is held out and {callback!r} needs it; validation must be given")
    optimizer = optimizer if optimizer is not None else Adam(model.parameters())
    _seed_dropout(model, seed)
    report = Progress(progress, epochs, len(rows))
    batch_norm = any(isinstance(module, BatchNorm1d) for module in model.modules())
    sizes = _batch_sizes(len(rows), batch_size, batch_norm)
    if batch_norm and min(sizes) == 1:
        raise ValueError(
            "fit: with batch_norm a batch of 1 row cannot be trained on, one row has no spread; "
            f"batch_size is {batch_size} for {len(rows)} rows, both must be at least 2"
        )
    history = History()
    with ExitStack() as stack:
        stack.callback(_restore, _modes(model))
        stack.callback(report.close)
        train_epoch = stack.enter_context(_runner(model, data, optimizer, max(sizes), n_threads, report))
        with kernels.announce_compiling(report.say):
            for callback in callbacks:
                if hasattr(callback, "start"):
                    callback.start(model, optimizer)
        for callback in reversed(callbacks):  # a stack is left from its top: the first callback finishes first
            if hasattr(callback, "finish"):
                stack.callback(callback.finish, model, history)
        for epoch in range(1, epochs + 1):
            order = np.random.default_rng((seed, epoch)).permutation(rows)
            model.train()
            start = perf_counter()
            loss, accuracy = train_epoch(order, sizes)
            seconds = max(perf_counter() - start, 1e-9)
            held = (math.nan, math.nan) if held_out is None else _measure(model, held_out, n_threads=n_threads)
            history.epochs.append(Epoch(epoch, loss, accuracy, *held, seconds, len(rows) / seconds))
            report.row(history[-1])
            stop = [_is_true(callback(model, history)) for callback in callbacks]
            if not math.isfinite(loss):
                report.say(f"stopped: the training loss is {loss} in epoch {epoch}; try a smaller learning rate")
            if any(stop) or not math.isfinite(loss):
                break
    return history


def evaluate(
    model: Module, data: Dataset, batch_size: int = EVALUATION_BATCH, n_threads: int | str = "auto"
) -> Evaluation:
    """What `model` predicts for all rows of `data`, in evaluation mode and without a graph, and how well it does.

    batch_size: rows of logits held at a time; n_threads as in `fit`. The probabilities of all rows are kept in the
    result, (N, C) in the model's type. The model is left in the mode it had.
    Errors: ValueError for shapes or labels that do not fit the model.
    """
    _check_model_and_data("evaluate", model, data)
    _check_whole("evaluate: batch_size", batch_size, 1)
    _check_threads("evaluate", n_threads)
    predicted, probabilities = np.empty(len(data), np.int64), np.empty((0, 0))

    def keep(first: int, logits: Array, classes: Array) -> None:
        nonlocal probabilities
        if first == 0:
            probabilities = np.empty((len(data), logits.shape[1]), logits.dtype)
        predicted[first : first + len(logits)] = classes
        probabilities[first : first + len(logits)] = softmax(logits)

    loss, accuracy = _measure(model, data, batch_size, n_threads, keep)
    return Evaluation(loss, accuracy, len(data), data.labels, probabilities, predicted)


def _measure(
    model: Module,
    data: Dataset,
    batch_size: int = EVALUATION_BATCH,
    n_threads: int | str = "auto",
    keep: Callable[[int, Array, Array], None] | None = None,
) -> tuple[float, float]:
    """Mean loss and accuracy; `keep` is called with (first row, logits, their argmax) of each batch."""
    loss, correct, done = 0.0, 0, 0
    modes = _modes(model)
    model.eval()
    try:
        for logits, labels in _logits(model, data, batch_size, _ceiling(n_threads)):
            with no_grad():
                loss += cross_entropy(Tensor(logits), labels, reduction="sum").item()
            classes = logits.argmax(axis=1)
            correct += int((classes == labels).sum())
            if keep:
                keep(done, logits, classes)
            done += len(labels)
    finally:
        _restore(modes)
    return loss / len(data), correct / len(data)


def _logits(model: Module, data: Dataset, batch_size: int, threads: int) -> Iterator[tuple[Array, Array]]:
    """(logits, labels) of all rows, `batch_size` at a time; on the graph at most GRAPH_BATCH."""
    order = np.arange(len(data))
    if obstacle(model) is None and warm.is_ready(_dtype(model)):
        predictor = Predictor(model, threads)
        for start in range(0, len(data), batch_size):
            rows = order[start : start + batch_size]
            yield predictor.logits(data, rows), data.labels[rows]
    else:
        with no_grad():
            sizes = _batch_sizes(len(data), min(batch_size, GRAPH_BATCH))
            for x, labels in batches(data, order, sizes, _dtype(model)):
                yield model(x).data, labels


@contextmanager
def _runner(
    model: Module, data: Dataset, optimizer: Optimizer, room: int, n_threads: int | str, report: Progress
) -> Iterator[Callable[[Array, list[int]], tuple[float, float]]]:
    """What trains an epoch, (order, sizes) -> (mean loss, accuracy): the engine, or the graph where it cannot.

    After an install, when the engine is not compiled yet, the graph trains until it is: the numbers are the same.
    """
    reason, engine = obstacle(model, optimizer), None
    if reason:
        report.say(f"training on the graph, node by node: {reason}")
    elif not warm.is_ready(_dtype(model)):
        report.say("the engine will be compiled in the background (once after an install); the graph trains until then")
    with ExitStack() as stack:

        def train_epoch(order: Array, sizes: list[int]) -> tuple[float, float]:
            nonlocal engine
            if engine is None and not reason and warm.is_ready(_dtype(model)):
                threads = _ceiling(n_threads)
                engine = stack.enter_context(Engine(model, optimizer, data.n_features, room, threads))
                with kernels.announce_compiling(report.say):
                    engine.prepare(data)
            if engine is None:
                compile_engine = None if reason else lambda: warm.start(_dtype(model))
                return _graph_epoch(model, data, order, sizes, optimizer, report, compile_engine)
            engine.refresh()
            return engine.epoch(data, order, sizes, report.batch)

        yield train_epoch


def _ceiling(n_threads: int | str) -> int:
    """Most threads: what was asked for, and never more than there are cores."""
    return available_cores() if isinstance(n_threads, str) else min(int(n_threads), available_cores())


def batches(data: Dataset, order: Array, sizes: Iterable[int], dtype: Any) -> Iterator[tuple[Tensor, Array]]:
    """(x, labels) for each size: the next rows of `data` in `order`, as floats; uint8 features times 1/255.

    Errors: ValueError where the sizes add up to more than there are rows in `order`; IndexError for a row that `data`
    does not have.
    """
    start = 0
    for size in sizes:
        if start + size > len(order):
            raise ValueError(f"batches: sizes add up to {start + size} rows or more; order has {len(order)}")
        labels = data.labels[order[start : start + size]]  # checks the row numbers, as the kernel does not
        x = kernels.empty((size, data.n_features), dtype)
        kernels.gather(data.rows, order, start, data.scale, x)
        yield Tensor(x), labels
        start += size


def _graph_epoch(
    model: Module,
    data: Dataset,
    order: Array,
    sizes: list[int],
    optimizer: Optimizer,
    report: Progress,
    after_first_step: Callable[[], Any] | None = None,
) -> tuple[float, float]:
    """One pass over the rows in `order`, node by node; returns mean loss and accuracy."""
    loss_sum, correct, done = 0.0, 0, 0
    for x, labels in batches(data, order, sizes, _dtype(model)):
        with nullcontext() if done else kernels.announce_compiling(report.say):
            logits = model(x)
            loss = cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if not done and after_first_step:
            after_first_step()
        loss_sum += loss.item() * len(labels)
        correct += int((logits.data.argmax(axis=1) == labels).sum())
        done += len(labels)
        report.batch(len(labels), loss_sum / done, correct / done)
    optimizer.zero_grad()
    return loss_sum / done, correct / done


def _hold_out(data: Dataset, validation: float | Dataset | None, seed: int) -> tuple[Array, Dataset | None]:
    """The rows to train on, and the data set to evaluate after each epoch."""
    everything = np.arange(len(data))
    if isinstance(validation, Dataset):
        if validation.n_features != data.n_features or validation.features.dtype != data.features.dtype:
            raise ValueError(f"fit: validation is {validation}, data is {data}; their features must agree")
        return everything, validation
    if validation is None or (isinstance(validation, int | float) and validation == 0 and validation is not False):
        return everything, None
    if isinstance(validation, bool) or not isinstance(validation, int | float | np.number):
        what = repr(validation) if isinstance(validation, bool | str) else type(validation).__name__
        raise TypeError(f"fit: validation is {what}; it must be a Dataset, a fraction of the rows, a count, or None")
    if not 0 < validation < len(data):
        raise ValueError(f"fit: validation is {validation}; it must be a fraction, or a count below {len(data)} rows")
    rows, held_out = data.split_rows(validation, seed)
    return rows, data[held_out]


def _seed_dropout(model: Module, seed: int) -> None:
    """Number the dropout layers and start their counters: the masks are a function of `seed` alone."""
    for layer, module in enumerate(m for m in model.modules() if isinstance(m, Dropout)):
        module.seed, module.layer, module.step = seed, layer, 0


def _batch_sizes(rows: int, batch_size: int, batch_norm: bool = False) -> list[int]:
    """Sizes that add up to `rows`: whole batches, then what is left over."""
    sizes = [batch_size] * (rows // batch_size) + ([rows % batch_size] if rows % batch_size else [])
    if batch_norm and len(sizes) > 1 and sizes[-1] == 1:
        sizes[-2:] = [sizes[-2] + 1]  # one row has no spread
    return sizes


def _dtype(model: Module) -> Any:
    parameter = next(model.parameters(), None)
    return np.dtype(np.float32) if parameter is None else parameter.dtype


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


def _check_threads(caller: str, n_threads: Any) -> None:
    if not (isinstance(n_threads, str) and n_threads == "auto"):
        _check_whole(f"{caller}: n_threads", n_threads, 1, " or 'auto'")
