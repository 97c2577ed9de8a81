"""Training: epochs of shuffled batches through a model, its optimizer and the loss; evaluation; what was measured."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from . import kernels
from .data import Dataset
from .graph import Array, Tensor, no_grad
from .nn import BatchNorm1d, Dropout, Module
from .ops import cross_entropy
from .optim import Adam, Optimizer

EVALUATION_BATCH = 1000


@dataclass
class Epoch:
    """What one epoch measured. Losses are means over rows, in nats; accuracies are fractions of rows; time in seconds.

    The training numbers are those of each batch at the step that it trained, in training mode. The validation
    numbers come after the epoch, in evaluation mode, and are NaN where nothing was held out.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float
    samples_per_second: float


@dataclass
class History:
    """The epochs of a run, in order. `history.column("train_loss")` is one number an epoch."""

    epochs: list[Epoch] = field(default_factory=list)

    def column(self, name: str) -> list[float]:
        """One value an epoch. Error: ValueError for a name that `Epoch` does not have."""
        names = [f.name for f in fields(Epoch)]
        if name not in names:
            raise ValueError(f"History: column is {name!r}; it must be one of {', '.join(names)}")
        return [getattr(epoch, name) for epoch in self.epochs]

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a header and a row an epoch, numbers in full precision."""
        with Path(path).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(f.name for f in fields(Epoch))
            writer.writerows(asdict(epoch).values() for epoch in self.epochs)

    def __len__(self) -> int:
        return len(self.epochs)

    def __getitem__(self, index: int) -> Epoch:
        return self.epochs[index]


@dataclass(frozen=True)
class Evaluation:
    """Mean loss over the rows in nats, and the fraction of rows whose largest logit is the label's."""

    loss: float
    accuracy: float
    rows: int


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
    n_threads   a ceiling, "auto" for all cores this process may use. The graph runs on one
    progress    True: a bar, and a table row an epoch; "table": the rows alone; False: silent
    callbacks   called with (model, history) after each epoch; True as an answer stops the training

    A loss that is not finite ends the training after its epoch, with a line that says so.
    Error: ValueError for an argument out of range, in one sentence.
    """
    _check_whole("epochs", epochs, 0)
    _check_whole("batch_size", batch_size, 1)
    _check_whole("seed", seed, 0)
    if n_threads != "auto":
        _check_whole("n_threads", n_threads, 1)
    if not isinstance(data, Dataset):
        raise TypeError(f"fit: data is {type(data).__name__}; it must be a fastmlp.data.Dataset(features, labels)")
    rows, held_out = _hold_out(data, validation, seed)
    optimizer = optimizer if optimizer is not None else Adam(model.parameters())
    _seed_dropout(model, seed)
    report = _Report(progress, epochs, len(rows))
    sizes = _batch_sizes(len(rows), batch_size, any(isinstance(module, BatchNorm1d) for module in model.modules()))
    history, was_training = History(), model.training
    try:
        for epoch in range(1, epochs + 1):
            order = np.random.default_rng((seed, epoch)).permutation(rows)
            model.train()
            loss, accuracy, seconds = _train_epoch(model, data, order, sizes, optimizer, report, first=epoch == 1)
            held = evaluate(model, held_out) if held_out is not None else Evaluation(math.nan, math.nan, 0)
            history.epochs.append(
                Epoch(epoch, loss, accuracy, held.loss, held.accuracy, seconds, len(rows) / max(seconds, 1e-9))
            )
            report.row(history[-1])
            stop = [callback(model, history) is True for callback in callbacks]
            if not math.isfinite(loss):
                report.say(f"stopped: the training loss is {loss} in epoch {epoch}; try a smaller learning rate")
            if any(stop) or not math.isfinite(loss):
                break
    finally:
        report.close()
        model.train(was_training)
    return history


def evaluate(model: Module, data: Dataset, batch_size: int = EVALUATION_BATCH) -> Evaluation:
    """Loss and accuracy of `model` over all rows of `data`, in evaluation mode and without a graph.

    The model is left in the mode it had. Errors: ValueError for shapes or labels that do not fit the model.
    """
    _check_whole("batch_size", batch_size, 1)
    loss = correct = 0.0
    was_training = model.training
    model.eval()
    try:
        with no_grad():
            for x, labels in batches(data, np.arange(len(data)), _batch_sizes(len(data), batch_size), _dtype(model)):
                logits = model(x)
                loss += cross_entropy(logits, labels, reduction="sum").item()
                correct += int((logits.data.argmax(axis=1) == labels).sum())
    finally:
        model.train(was_training)
    return Evaluation(loss / len(data), correct / len(data), len(data))


def batches(data: Dataset, order: Array, sizes: Iterable[int], dtype: Any) -> Iterator[tuple[Tensor, Array]]:
    """(x, labels) for each size: the next rows of `data` in `order`, as floats; uint8 features times 1/255."""
    start = 0
    for size in sizes:
        x = kernels.empty((size, data.n_features), dtype)
        kernels.gather(data.rows, order, start, data.scale, x)
        yield Tensor(x), data.labels[order[start : start + size]]
        start += size


def _train_epoch(
    model: Module, data: Dataset, order: Array, sizes: list[int], optimizer: Optimizer, report: _Report, first: bool
) -> tuple[float, float, float]:
    """One pass over the rows in `order`; returns mean loss, accuracy and seconds."""
    start, loss_sum, correct, done = perf_counter(), 0.0, 0, 0
    for x, labels in batches(data, order, sizes, _dtype(model)):
        with kernels.announce_compiling(report.say) if first and not done else nullcontext():
            logits = model(x)
            loss = cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        loss_sum += loss.item() * len(labels)
        correct += int((logits.data.argmax(axis=1) == labels).sum())
        done += len(labels)
        report.batch(len(labels), loss_sum / done)
    optimizer.zero_grad()
    return loss_sum / done, correct / done, perf_counter() - start


def _hold_out(data: Dataset, validation: float | Dataset | None, seed: int) -> tuple[Array, Dataset | None]:
    """The rows to train on, and the data set to evaluate after each epoch."""
    everything = np.arange(len(data))
    if isinstance(validation, Dataset):
        if validation.n_features != data.n_features or validation.features.dtype != data.features.dtype:
            raise ValueError(f"fit: validation is {validation}, data is {data}; their features must agree")
        return everything, validation
    if not validation:
        return everything, None
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


def _check_whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"fit: {name} is {value!r}; it must be a whole number of at least {least}")


class _Report:
    """What a person sees of a run: the bar, the table, and lines between."""

    def __init__(self, progress: bool | str, epochs: int, rows: int) -> None:
        if progress not in (True, False, "table"):
            raise ValueError(f"fit: progress is {progress!r}; it must be True, False or 'table'")
        self.visible, self.epochs, self.header_due, self.bar = bool(progress), epochs, True, None
        if progress is True:
            from tqdm import tqdm

            self.bar = tqdm(
                total=rows, unit=" rows", unit_scale=True, leave=False, disable=None, dynamic_ncols=True, delay=0.2
            )
            self.bar.set_description(f"epoch 1/{epochs}")

    def batch(self, rows: int, loss: float) -> None:
        """Move the bar by a batch; `loss` is the epoch's mean so far."""
        if self.bar is not None:
            self.bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
            self.bar.update(rows)

    def row(self, epoch: Epoch) -> None:
        """Print one row of the table, and start the bar anew."""
        held_out = math.isfinite(epoch.validation_accuracy)
        if self.header_due:
            self.say("epoch   train loss  accuracy" + "   validation loss  accuracy" * held_out + "   samples/s")
            self.header_due = False
        validation = f"   {epoch.validation_loss:15.4f}  {epoch.validation_accuracy:8.2%}" * held_out
        self.say(
            f"{epoch.epoch:5d}   {epoch.train_loss:10.4f}  {epoch.train_accuracy:8.2%}{validation}"
            f"   {epoch.samples_per_second:9,.0f}"
        )
        if self.bar is not None:
            self.bar.reset()
            self.bar.set_description(f"epoch {min(epoch.epoch + 1, self.epochs)}/{self.epochs}")

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if self.bar is not None:
            self.bar.write(line)
        elif self.visible:
            print(line, flush=True)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()
