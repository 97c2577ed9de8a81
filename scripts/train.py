"""Train a multi-layer perceptron on MNIST, or on a data set of your own: classes, numbers or labels.

Prints a table row an epoch, how the test set is answered and what the losses say about overfitting. It leaves a run
folder: weights, history, metrics, configuration, plots, the wrong rows, and report.html to look at it all.
"""

from __future__ import annotations

import argparse
import inspect
import io
import math
import signal
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `python scripts/train.py` runs the checkout it lies in

try:
    import fastmlp as fm
except ImportError as error:  # the compiler is switched off, or does not fit NumPy: the sentence says so
    print(f"{Path(__file__).name}: error: {error}", file=sys.stderr)
    sys.exit(2)
from fastmlp.commandline import (  # noqa: E402
    add_data_options,
    add_mpi_options,
    complain,
    data_options,
    fill_mpi_options,
    from_here,
    held_out,
    make_parser,
    moment,
    options_of_run,
    place,
    real,
    run_script,
    threads,
    told,
    whole,
    widths,
    word,
)
from fastmlp.data.doors import read_sets  # noqa: E402
from fastmlp.data.published import is_named  # noqa: E402
from fastmlp.files import write  # noqa: E402
from fastmlp.kernels import announce_compiling  # noqa: E402
from fastmlp.show.plots.style import need_matplotlib  # noqa: E402
from fastmlp.store.run import draw_pictures  # noqa: E402
from fastmlp.training.checkpoint import Checkpoints, files_of  # noqa: E402
from fastmlp.training.fitting import as_taken  # noqa: E402
from fastmlp.training.losses import LOSS_NAMES, loss_name, loss_named, usual_loss  # noqa: E402
from fastmlp.training.progress import Told, say  # noqa: E402
from fastmlp.training.stopping import METRICS  # noqa: E402
from fastmlp.training.tables import answered  # noqa: E402
from fastmlp.training.trusting import calibrated, check_can_calibrate  # noqa: E402
from fastmlp.words import line  # noqa: E402

SCHEDULES = [  # those that need no number
    name
    for name, kind in fm.optim.SCHEDULES.items()
    if all(p.default is not p.empty for p in inspect.signature(kind).parameters.values())
]


def default_of(rule: str, option: str) -> float | None:
    """The default of a rule's option, None where it has none; SGD's rate is the one that a first run learns with."""
    argument = inspect.signature(fm.optim.RULES[rule]).parameters.get(option)
    if argument is None:
        return None
    return 0.1 if (rule, option) == ("sgd", "lr") else float(argument.default)


def defaults(option: str) -> str:
    """The defaults of the rules for the help: Adam's, and those that differ from it."""
    usual = default_of("adam", option)
    others = {name: default_of(name, option) for name in fm.optim.RULES}
    return "; ".join([f"{usual:g}", *(f"{name}: {value:g}" for name, value in others.items() if value != usual)])


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    with_momentum = [name for name in fm.optim.RULES if default_of(name, "momentum") is not None]
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--hidden", type=widths, default="128,64", metavar="W,W,...", help="widths of the hidden layers")
    add("--epochs", type=whole(1), default=10, metavar="N", help="passes over the training set")
    add("--batch-size", type=whole(1), default=64, metavar="N", help="rows a step")
    lr_help = f"learning rate (default: {defaults('lr')})"
    add("--lr", type=real(0, above=True), default=None, metavar="X", help=lr_help)
    find_help = "instead of a training: try rates from small to large, suggest one, and draw lr_find.png"
    add("--lr-find", action="store_true", help=find_help)
    loss_help = (
        f"what is made small: {', '.join(LOSS_NAMES)}, or the first words of one (default: cross_entropy for classes, "
        "mse for numbers, bce_with_logits for labels)"
    )
    add("--loss", type=told(loss_named), default=None, metavar="NAME", help=loss_help)
    add("--optimizer", choices=fm.optim.RULES, default="adam", help="update rule")
    schedule_help = "of the learning rate, from --lr on; of OneCycleLR, --lr is the peak (default: none)"
    add("--schedule", choices=SCHEDULES, default=None, help=schedule_help)
    every_help = "what the schedule counts (default: epoch; OneCycleLR: step)"
    add("--schedule-every", choices=("epoch", "step"), default=None, help=every_help)
    add("--momentum", type=real(0, 1), default=0.0, metavar="X", help=f"momentum of {' and '.join(with_momentum)}")
    decay_help = f"weight decay (default: {defaults('weight_decay')})"
    add("--weight-decay", type=real(0), default=None, metavar="X", help=decay_help)
    clip_norm_help = "most that the norm of all gradients together may be (default: any)"
    add("--clip-norm", type=real(0, above=True), default=None, metavar="X", help=clip_norm_help)
    clip_value_help = "most that a number of a gradient may be away from 0 (default: any)"
    add("--clip-value", type=real(0, above=True), default=None, metavar="X", help=clip_value_help)
    average_help = "of the weights: after each step, or of the last epochs; what is evaluated and saved (default: none)"
    add("--average", choices=fm.optim.AVERAGES, default=None, help=average_help)
    add("--dropout", type=real(0, 1), default=0.0, metavar="P", help="probability to drop a hidden value")
    add("--batch-norm", action="store_true", help="another spelling of --norm batch")
    add("--norm", choices=fm.nn.NORMS, default=None, help="what normalises each hidden layer (default: nothing)")
    add("--activation", choices=fm.nn.ACTIVATIONS, default="relu", help="activation of the hidden layers")
    add_data_options(parser, ROOT / "data" / "mnist", "default: 1/255 for bytes, 1 for all else", is_named)
    add("--validation", type=held_out, default=0.0, metavar="X", help="share or number of rows held out and evaluated")
    patience_help = (
        "stop after so many epochs without improvement and restore the best weights; holds out a tenth of the rows "
        "where --validation does not (default: train for all epochs)"
    )
    add("--patience", type=whole(0), default=None, metavar="N", help=patience_help)
    monitor_help = (
        f"what has to improve: {', '.join(METRICS)}; without --patience, the best weights are restored after all "
        "epochs (default: validation_loss, with --patience)"
    )
    add("--monitor", choices=METRICS, default=None, metavar="METRIC", help=monitor_help)
    add("--calibrate", action="store_true", help="set the temperature of the probabilities by the held-out rows")
    add("--seed", type=whole(0), default=0, metavar="N", help="seed of weights, order and dropout")
    add_mpi_options(parser)
    add("--threads", type=threads, default="auto", metavar="N", help="most threads to use; auto: all cores")
    every_help = "all is kept on the disk: epoch, steps, or seconds as 30s (default: about every 10 s and at the end)"
    add("--checkpoint-every", type=moment, metavar="WHEN", help=every_help)
    add("--time-limit", type=real(0, above=True), metavar="SECONDS", help="end then; --resume goes on (default: none)")
    resume_help = (
        "go on with the run of this folder, to the same result; beside it may stand --threads, --epochs, --time-limit, "
        "--open and --no-progress (default: a new run)"
    )
    add("--resume", type=place, default=None, metavar="RUN", help=resume_help)
    add("--out", type=place, default=None, metavar="DIR", help="run folder (default: runs/<date>-<name>)")
    add("--name", type=word, default=None, metavar="NAME", help="name of the run (default: the net's sizes)")
    add("--force", action="store_true", help="replace the run that is in the folder of --out; other files stay")
    add("--no-plots", action="store_true", help="draw no plots, neither as PNG nor in the report")
    add("--no-report", action="store_true", help="write no report.html")
    add("--open", action="store_true", help="open the report in a browser")
    add("--save-wrong-digits", action="store_true", help="write each wrong test digit as a PNG")
    add("--tensorboard", type=place, metavar="DIR", help="folder for TensorBoard's event files (default: none)")
    add("--no-progress", action="store_true", help="no progress bar; the table is printed all the same")
    options = parser.parse_args(arguments)
    if options.resume is not None:
        return options_of_run(parser, arguments, options)
    fill_mpi_options(parser, options)
    if options.momentum and options.optimizer not in with_momentum:
        what = f"{options.optimizer} has none; it goes with --optimizer {' or '.join(with_momentum)}"
        parser.error(f"argument --momentum: {what}")
    if options.schedule_every and not options.schedule:
        parser.error("argument --schedule-every: there is no schedule; it goes with --schedule")
    if options.batch_norm and options.norm:
        parser.error(f"argument --norm: --batch-norm is --norm batch; give one of them, not {options.norm} too")
    options.norm = "batch" if options.batch_norm else options.norm
    options.batch_norm = options.norm == "batch"
    if options.name and options.out:
        parser.error("argument --name: --out names the folder already; give one of them")
    if options.open and (options.no_report or options.lr_find):
        parser.error(f"argument --open: {'--no-report' if options.no_report else '--lr-find'} leaves nothing to open")
    options.lr = default_of(options.optimizer, "lr") if options.lr is None else options.lr
    if options.weight_decay is None:
        options.weight_decay = default_of(options.optimizer, "weight_decay")
    if options.patience is not None and options.monitor is None:
        options.monitor = "validation_loss"
    return options


def make_optimizer(options: argparse.Namespace, model: fm.nn.Module) -> fm.optim.Optimizer:
    """The optimizer that the options name."""
    momentum = {"momentum": options.momentum} if options.momentum else {}
    kind: Any = fm.optim.RULES[options.optimizer]
    return kind(model.parameters(), lr=options.lr, weight_decay=options.weight_decay, **momentum)


def make_run(
    options: argparse.Namespace, train: fm.Dataset, outputs: int | None = None, goes_on: bool = False
) -> fm.Run:
    """The run folder, with what config.json will say. outputs: of the model; None: one for each class or target."""
    outputs = outputs or train.n_outputs
    sizes = "-".join(str(n) for n in (train.n_features, *options.hidden, outputs))
    config = vars(options) | {"features": train.n_features, "scaled_by": train.scale, "targets": train.kind}
    config |= {"classes": outputs} if train.classes else {"outputs": outputs}
    config |= {name: path.absolute() for name, path in config.items() if isinstance(path, Path) and name != "out"}
    del config["resume"], config["lr_find"]  # a run that went on says what it would have said without
    name = options.name or (sizes if len(sizes) <= 60 else f"{len(options.hidden)}-layers")
    what = "--out" if options.resume is None else "--resume"
    try:
        if options.resume is not None:
            return fm.Run(options.resume, config=config, go_on=goes_on, force=not goes_on)
        return fm.Run(options.out, name, ROOT / "runs", config, options.force)
    except (ValueError, OSError) as error:
        raise ValueError(f"argument {what}: {error}") from error


def train_model(
    options: argparse.Namespace, model: fm.nn.Module, train: fm.Dataset, own: fm.Dataset | None, loss: fm.nn.Loss,
    history: fm.History, callbacks: list[Any], run: fm.Run | None, goes_on: bool,
) -> None:  # fmt: skip
    """Train as the options say; `history` has the epochs that are done also where Ctrl-C ends it. A rank has no run."""

    def keep(model: fm.nn.Module, so_far: fm.History) -> None:
        vars(history).update(vars(so_far))  # the number of classes too, which the diagnosis asks for

    callbacks = [Told(keep), *(one for one in callbacks if one is not None)]
    progress = "table" if options.no_progress else True
    fit: Any = fm.scale.fit_parallel if options.mpi else fm.fit
    resume: Any = fm.scale.resume_parallel if options.mpi else fm.resume
    if goes_on:
        resume(
            options.resume, train, validation=own, model=model, callbacks=callbacks, epochs=options.epochs,
            n_threads=options.threads, progress=progress, time_limit=options.time_limit,
        )  # fmt: skip
        return
    checkpoints = None if run is None else Checkpoints(
        run.folder, options.checkpoint_every, replace=True, first=partial(run.write_config, "running")
    )  # fmt: skip
    fit(
        model, train, validation=options.validation if own is None else own, optimizer=make_optimizer(options, model),
        epochs=options.epochs, batch_size=options.batch_size, seed=options.seed, n_threads=options.threads,
        progress=progress, callbacks=callbacks, loss=loss, checkpoint=checkpoints, time_limit=options.time_limit,
        schedule=fm.optim.SCHEDULES[options.schedule]() if options.schedule else None,
        schedule_every=options.schedule_every, clip_norm=options.clip_norm, clip_value=options.clip_value,
        average=options.average,
        **({"blocks": options.blocks, "local_steps": options.local_steps} if options.mpi else {}),
    )  # fmt: skip


def find_rate(
    options: argparse.Namespace, model: fm.nn.Module, train: fm.Dataset, loss: fm.nn.Loss, run: fm.Run
) -> None:
    """Say which learning rate the range test suggests, and leave its curve in the run's folder."""
    try:
        with announce_compiling(say):
            found = fm.lr_find(
                model, train, make_optimizer(options, model), batch_size=options.batch_size, seed=options.seed,
                n_threads=options.threads, loss=loss, clip_norm=options.clip_norm, clip_value=options.clip_value,
            )  # fmt: skip
        say(found.sentence)
        if not options.no_plots:
            fm.plots.lr_find(found).savefig(picture := io.BytesIO(), format="png")
            write(run.folder / "lr_find.png", picture.getvalue())
            say(f"wrote {from_here(run.folder)}/lr_find.png")
    finally:
        run.discard()  # the folder, where nothing is in it


def write_run(
    options: argparse.Namespace, run: fm.Run, model: fm.nn.Module, history: fm.History, status: str,
    loss: fm.nn.Loss, train: fm.Dataset, aside: fm.Dataset | None, test: fm.Dataset | None, watch: fm.Watch | None,
    trust: Any,
) -> None:  # fmt: skip
    """Evaluate, leave the run's files in its folder, and say what came out; the status is the last that is written."""
    run.write_config(status if status == "interrupted" else "evaluating")
    result = fm.evaluate(model, test, loss=loss) if test is not None else None
    held = None if aside is None else fm.evaluate(model, aside, loss=loss)
    diagnosis = fm.diagnose(history)
    if result is not None:
        figures, said = answered(result)
        for words in said:
            say(words)
        figures |= {"test_loss": result.loss}
        run.config |= {name: value if math.isfinite(value) else None for name, value in figures.items()}
        run.write_wrong(result)
    say(f"{diagnosis.sentence}\n{diagnosis.advice}")
    run.write_metrics(result, held, diagnosis)
    data = test if test is not None else train
    if options.save_wrong_digits and result is not None and test is not None:
        run.write_wrong_digits(result, test)
    pictures = None if options.no_plots else draw_pictures(model, history, result, data, watch, trust)
    run.write_pictures(pictures or {})
    if not options.no_report:
        run.write_report(model, history, result, data, diagnosis, watch, pictures)
    run.write_config(status)
    say(f"wrote {from_here(run.folder)}/: {', '.join(run.files)}")


@contextmanager
def told_of_what_is_missing(run: fm.Run) -> Iterator[None]:
    """Where a disk is full after the training, the status says so, and the sentence what helps. Error: OSError."""
    try:
        yield
    except OSError as error:
        run.end_incomplete()
        said = f"{from_here(run.folder)} is incomplete, as not all of its files could be written"
        way_on = f"; with room, --resume {from_here(run.folder)} writes all of it" * bool(files_of(run.folder))
        raise OSError(f"{said} ({error.strerror or error}){way_on}") from error


def main(arguments: list[str] | None = None) -> None:
    """Train, evaluate, write."""
    options = parse_arguments(arguments)
    if follows := options.mpi and fm.scale.rank() > 0:  # rank 0 has the run, and speaks for all
        sys.stdout = None
    if not options.no_plots:
        need_matplotlib("plots", ", or give --no-plots")
    if options.save_wrong_digits:
        need_matplotlib("argument --save-wrong-digits")
    fm.manual_seed(options.seed)
    tenth = not options.validation and (options.monitor or "").startswith("validation")
    told = {"seed": options.seed, "validation": options.validation, "usual_validation": 0.1 * tenth}
    train, test = read_sets(options.data, **told, **data_options(options))
    own = train.validation
    loss = LOSS_NAMES[options.loss]() if options.loss else usual_loss(train.kind)
    options.loss = loss_name(type(loss))
    train, said = as_taken("argument --loss", loss, train)
    test = as_taken("argument --loss", loss, test, "the test set")[0] if test is not None else None
    if options.save_wrong_digits and (test is None or test.features.ndim != 3 or test.kind != "classes"):
        raise ValueError(f"argument --save-wrong-digits: {options.data} has no test set of images with classes")
    tenth = tenth and (own is None or own.encoding is not None)
    options.validation = 0.1 if tenth else options.validation
    held = len(train.split_rows(options.validation, options.seed)[1]) if options.validation and own is None else 0
    if options.calibrate:
        check_can_calibrate(train.kind, held or len(own or ()))
    outputs = loss.outputs(train.classes, train.n_outputs)
    model = fm.nn.MLP(train.n_features, options.hidden, outputs, options.activation, options.dropout, norm=options.norm)
    watch = None if options.no_plots and not options.tensorboard else fm.Watch(train)
    stopper = fm.EarlyStopping(options.monitor, options.patience) if options.monitor else None
    board = fm.TensorBoard(options.tensorboard, watch) if options.tensorboard else None
    goes_on = options.resume is not None and bool(files_of(options.resume))
    make = partial(make_run, options, train, outputs, goes_on)
    run = fm.scale.parallel.of_the_first(None if follows else make) if options.mpi else make()
    if run is None:
        return train_model(options, model, train, own, loss, fm.History(), [stopper], None, goes_on)
    sizes = "-".join(str(n) for n in (train.n_features, *options.hidden, outputs))
    rows = f"{len(train) - held:,} training rows" + f", {held or len(own or ()):,} held out" * bool(held or own)
    measure = f", {options.loss}" * (not isinstance(loss, fm.nn.CrossEntropyLoss))
    rate = f", lr {options.lr:g}" * (not options.lr_find)
    say(f"{sizes} on {line(Path(options.data).name)}: {rows}, {options.optimizer}{rate}{measure}")
    if said:
        say(said)
    if tenth:
        say(f"a tenth of the rows is held out for {options.monitor}; --validation sets how many")
    if options.lr_find:
        return find_rate(options, model, train, loss, run)
    if options.resume is not None:
        say(
            f"going on with {from_here(run.folder)}" + ", which holds no checkpoint yet: from the start" * (not goes_on)
        )
    history, code, status = fm.History(), 0, "finished"
    try:
        train_model(options, model, train, own, loss, history, [run, stopper, watch, board], run, goes_on)
    except KeyboardInterrupt as interrupt:
        resumable = bool(files_of(run.folder))
        if not len(history) and not resumable:
            raise
        code, status = 128 + getattr(interrupt, "number", signal.SIGINT), "interrupted"
        way_on = f"; --resume {from_here(run.folder)} goes on" if resumable else ""
        complain(f"train.py: interrupted after {len(history)} epochs{way_on}")
    finally:
        if not len(history) and not files_of(run.folder):
            run.discard()  # nothing to leave in it
    (epoch, step), end, trust, aside = history.weights_of, "", None, own
    if stopper is not None and stopper.best_epoch is not None:
        (epoch, step), status = (stopper.best_epoch, 0), "stopped early" if stopper.stopped else status
        ended = f"{options.monitor} had not improved for {stopper.stale} epochs; " * stopper.stopped
        end = f"{ended}the weights are those of epoch {epoch}, {options.monitor} {stopper.best:.4f}"
    if len(history) and not math.isfinite(history[-1].train_loss):
        code, status = 1, "diverged"
    if history.ended == "time limit":
        status = history.ended
        say(f"--resume {from_here(run.folder)} goes on")
    run.config |= {"weights_of_epoch": epoch, "weights_of_step": step}
    if options.validation and own is None:
        aside = train[train.split_rows(options.validation, options.seed)[1]]
    if options.calibrate and aside is not None and len(history) and not code:
        trust, said = calibrated(model, aside, test, loss)
        end = f"{end}\n{said}".strip()
    with told_of_what_is_missing(run):
        if len(history):
            run.write_history(history)
            run.write_model(model, epoch, step)
        if end:
            say(end)
        if not len(history) or (status == "interrupted" and code != 128 + signal.SIGINT):
            run.write_config(status)  # who sends another signal than Ctrl-C waits for no report
            sys.exit(code)
        write_run(options, run, model, history, status, loss, train, aside, test, watch, trust)
    if not options.no_report:
        report = run.folder / "report.html"
        if options.open and not webbrowser.open(report.absolute().as_uri()):
            complain("train.py: no browser was found; open the report yourself")
        say(f"report: {from_here(report)}")
    if code:
        sys.exit(code)


if __name__ == "__main__":
    run_script(main, fm.check.NotInstalledError)
