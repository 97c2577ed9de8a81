"""Training: epochs of shuffled batches through a model, its optimizer and the loss; evaluation; what was measured."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..check import whole
from ..data import Dataset
from ..nn import Loss, Module
from ..optim import Average, Optimizer, Schedule
from ..running import door
from ..running.meaning import scaled_targets
from ..running.rows import dtype_of
from . import fitting
from .answers import Answers, usual_loss
from .assembly import assembled
from .checkpoint import Checkpoints
from .checks import check_model_and_data, check_threads, checked_loss
from .history import History
from .measuring import EVALUATION_BATCH, measure


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
    checkpoint: str | os.PathLike[str] | Checkpoints | None = None,
    checkpoint_every: str | int | None = None,
    time_limit: float | None = None,
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
    n_threads   a ceiling, "auto" for all cores this process may use, or fewer where FASTMLP_NUM_THREADS says so, else
                OMP_NUM_THREADS or NUMBA_NUM_THREADS, which joblib and dask set in their workers. A number that is
                given here counts in their place, as in PyTorch and scikit-learn. Trainings and predictions side by
                side in one process share the cores. The engine takes the number that is fastest, and the result is the
                same to the last bit for every number
    progress    True: a bar, and a table row an epoch; "table": the rows alone; False: silent
    callbacks   called with (model, history) after each epoch; True as an answer stops the training, "pause" ends it for
                now: `history.ended` is "paused", and `resume` goes on from the checkpoint. Where one has a method
                `start`, start(model, optimizer) is called before the first epoch, and before that, where one has a
                method `use_loss`, use_loss(loss). Where one has a method `finish`, finish(model, history) is called
                when the training ends, for whatever reason: the last epoch, an answer, a loss that is not finite,
                Ctrl-C or any other exception. One whose attribute `needs_validation` is True is refused where nothing
                is held out, one whose attribute `needs_accuracy` is True where the loss has another score. All are
                refused before the first step where they do not take these arguments. Where one has a method
                `on_chunk_end`, on_chunk_end(chunk) is called within epochs too, each time that some steps are done,
                about every 50 ms: a `training.history.Chunk` with the epoch, the steps and the rows that are done and
                their loss and score so far. True as an answer stops the training there. The model's arrays are brought
                up to date at the end of the epoch, and what is to be changed is changed then
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

    checkpoint  a folder, new or without checkpoints: all of the training at one moment is kept there, and
                `resume(folder)` goes on from it to the same bits. The two newest files stay
    checkpoint_every  "epoch"; a number of steps; "30s", seconds; None: at an epoch's end 10 seconds after the last one,
                within an epoch after 30. At the end of the training too, and where Ctrl-C, SIGTERM or an error ends it
    time_limit  seconds after which the training ends, compiling and validation counted: at the next step where all is
                whole, within an epoch too. A line says so, `history.ended` is "time limit", the epoch that is open
                leaves no row in the history, and `resume` goes on from its checkpoint to the same bits

    Ctrl-C, SIGTERM and SIGHUP are noted, and end the training where model, optimizer, counters and statistics are those
    of whole steps: a step that has changed nothing yet is given up. They wait for callbacks, but a second one does not.
    A batch whose rows all have the weight 0 is left out: no step is made, and nothing of model, optimizer or average
    changes. A schedule of steps counts it.
    The model's outputs are the classes of the data in their order, and `model.classes_` says so afterwards where they
    are others than 0 .. C - 1. The classes of `validation` are looked up among them.
    A Sequential of layers that declare kernels, with an optimizer that does, runs on the engine; anything else on
    the graph, with a line that says so. Engine and graph do the same whatever a callback changes between epochs. A
    model in evaluation mode is set to training as a whole; in one in training mode, a layer in evaluation mode stays
    there, and a parameter without `requires_grad` stays as it is. A loss, gradient or weight that is not finite ends
    the training there, with a line that says where; the model keeps the weights of the last finite loss, and the
    epoch's loss in the history is NaN.
    Errors: ValueError for an argument out of range, in one sentence; RuntimeError where the model or the optimizer is
    being trained by another call.
    """
    return assembled(
        model, data, validation, optimizer, epochs, batch_size, seed, n_threads, progress, callbacks, loss, schedule,
        schedule_every, start_epoch, class_weight, clip_norm, clip_value, average, checkpoint, checkpoint_every,
        time_limit,
    ).run()  # fmt: skip


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
    in the result, (N, outputs) in the model's type. Probabilities, and a loss in nats, are those of outputs /
    `model.temperature_`, which `calibrate` finds. The model is not touched, its mode neither: threads may use it
    meanwhile.
    Errors: ValueError for shapes or labels that do not fit the model, and for targets that the loss does not take;
    MemoryError where the answers are larger than memory.
    """
    check_model_and_data("evaluate", model, data)
    whole("evaluate: batch_size", batch_size, 1)
    check_threads("evaluate", n_threads)
    data.check_range("evaluate: data", dtype_of(model))
    if loss is None and data.kind == "numbers" and isinstance(model.loss_, Loss) and "numbers" in model.loss_.kinds:
        loss = model.loss_  # which says what the outputs mean
    loss = usual_loss(data.kind) if loss is None else checked_loss(loss, "evaluate")
    data, _ = fitting.as_taken("evaluate", loss, data)
    data, classes_ = fitting.as_asked("evaluate", model, data)
    door.check_targets("evaluate", loss, data, None)
    answers = Answers(model, data, loss, classes_)
    data = scaled_targets(model, data)
    found = measure(model, data, loss, int(batch_size), n_threads, answers.keep, model.temperature_)
    return answers.judged(*found)
