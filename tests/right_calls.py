"""A right call of every public name: what `wrong_arguments` replaces the arguments of."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from idx_files import idx_bytes
from wrong_arguments import Call, adam, digits, history, judged, loss, model, of, rows, t

import fastmlp as fm
from fastmlp import nn, ops, optim

MODULES = {"": fm, "nn": nn, "nn.init": nn.init, "nn.utils": nn.utils, "optim": optim, "ops": ops, "data": fm.data,
           "metrics": fm.metrics, "plots": fm.plots, "images": fm.images, "report": fm.report}  # fmt: skip

NO_DOORS = {  # -> why nobody passes arguments there
    "data.Shards": "`data.shards` makes it", "report.joined": "what the pages of a run and of a sweep share",
    **dict.fromkeys(("data.emnist", "data.fashion_mnist", "data.kmnist"), "test_published, test_fetching: they fetch"),
    "data.shards": "test_shards: it needs files",
    **dict.fromkeys(("from_sklearn", "from_torch", "to_torch"), "test_from_sklearn, test_peers_exchange, _states"),
    **dict.fromkeys(("plots.sweep_best", "plots.sweep_importance", "plots.sweep_parallel", "report.write_sweep"),
                    "test_sweep_page: they need a sweep"),
    **dict.fromkeys(("Diagnosis", "Drawing", "Epoch", "Evaluation", "LRFind", "MultilabelEvaluation",
                     "RegressionEvaluation", "metrics.Reliability", "metrics.Scores"),
                    "a record that the package fills"),
    **dict.fromkeys(("AccumulateGrad", "Node", "nn.ElementwiseNode", "nn.LossNode", "nn.Elementwise", "nn.Layer",
                     "nn.Loss",
                     "nn.Module", "nn.Norm", "nn.Score", "optim.Average", "optim.Optimizer", "optim.Schedule"),
                    "a base of a reader's own classes, which takes what they give it"),
    **dict.fromkeys(("optim.Rates", "nn.elementwise", "nn.row_loss", "metrics.class_scores", "metrics.classes_of_rows",
                     "metrics.label_rows", "metrics.label_scores", "metrics.labels_of_rows", "metrics.number_rows",
                     "metrics.confusion_counts", "metrics.checked_weights", "metrics.scores_of"),
                    "a part of other functions, which have checked"),
    "data.Encoding": "a record that `table` fills",
    "data.Sparse": "a record that `Dataset` and `read_sparse_npz` fill",
    "nn.Identity": "takes and ignores any arguments, as PyTorch's",
}  # fmt: skip


def public() -> dict[str, Any]:
    """The functions and classes of the public modules, by name; each once."""
    found: dict[str, Any] = {}
    for prefix, module in MODULES.items():
        names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
        for name in names:
            thing = getattr(module, name)
            ours = inspect.isfunction(thing) or inspect.isclass(thing)
            own = thing.__module__.startswith(module.__name__) if ours and not hasattr(module, "__all__") else ours
            if own and thing.__module__.startswith("fastmlp") and not any(thing is other for other in found.values()):
                found[f"{prefix}.{name}".lstrip(".")] = thing
    return found


@lru_cache(1)
def shelf() -> Path:
    """A folder with a file of each kind, for as long as the tests run."""
    folder = tempfile.TemporaryDirectory()
    shelf.folder = folder  # type: ignore[attr-defined]
    place = Path(folder.name)
    fm.save(model(), place / "m.safetensors")
    np.savez(place / "d.npz", x=rows().features, y=rows().labels)
    np.savez(place / "s.npz", format=b"csr", shape=[1, 3], indptr=[0, 1], indices=[2], data=[0.5])
    (place / "x.svm").write_text("1 0:0.5 3:2\n0 1:1\n")
    (place / "t.csv").write_text("a,b,y\n" + "".join(f"{n % 7},{'uvw'[n % 3]},{n % 2}\n" for n in range(20)))
    (place / "i").write_bytes(b"\0\0\x08\x02\0\0\0\x02\0\0\0\x03abcdef")
    (place / "mnist").mkdir()
    for name, shape in (("images-idx3", (6, 2, 2)), ("labels-idx1", (6,))):
        for part in ("train", "t10k"):
            numbers = (np.arange(np.prod(shape)) % 5).astype(np.uint8).reshape(shape)
            (place / "mnist" / f"{part}-{name}-ubyte").write_bytes(idx_bytes(numbers))
    from PIL import Image

    Image.fromarray(np.arange(784, dtype=np.uint8).reshape(28, 28)).save(place / "p.png")
    run = fm.Run(place / "run", config={"activation": "relu"})
    fm.fit(model(), rows(), epochs=1, progress=False, n_threads=1, callbacks=[run], checkpoint=place / "kept")
    return place


def kept() -> fm.Run:
    """The callback of the training whose checkpoint is there, in a folder of its own each time."""
    return fm.Run(name="again", root=shelf() / "runs")


@lru_cache(1)
def watched() -> fm.Watch:
    watch = fm.Watch(rows(), rows=4)
    fm.fit(model(), rows(), epochs=1, progress=False, n_threads=1, callbacks=[watch])
    return watch


def found() -> fm.LRFind:
    return fm.LRFind(*np.geomspace((1e-3, 2, 3), (1, 1, 1), 9).T, False, "nats")


def drawn(function: Callable[..., Any]) -> Callable[..., None]:
    """A plot whose figure is closed again."""

    def draw(**arguments: Any) -> None:
        import matplotlib.pyplot as plt

        try:
            function(**arguments)
        finally:
            plt.close("all")

    return draw


def new(name: str) -> Callable[[], Path]:
    """A path on the shelf where nothing is."""
    counter = iter(range(10**9))
    return lambda: shelf() / f"{name}-{next(counter)}"


def regression() -> fm.RegressionEvaluation:
    fm.manual_seed(0)
    return fm.evaluate(nn.Sequential(nn.Linear(3, 1)), fm.Dataset(X, X[:, 0]), n_threads=1)


def labelled() -> fm.MultilabelEvaluation:
    return fm.evaluate(model(), fm.Dataset(X, np.eye(2, dtype=int)[Y]), n_threads=1)


def _step(grad: Any) -> None:
    optimizer = adam()
    optimizer.parameters()[0].grad = grad
    optimizer.step()


def _made(kind: type) -> Any:
    """A layer of three columns."""
    return kind(3, 2) if kind is nn.Linear else kind(3) if kind in (nn.BatchNorm1d, nn.LayerNorm) else kind()


X, Y = rows().features, rows().labels
LABELS = {"labels": lambda: Y.copy(), "predicted": lambda: Y[::-1].copy()}
NUMBERS = {"targets": lambda: X.astype(float), "predicted": lambda: X.astype(float) + 1}
PARAMS = {"params": lambda: list(model().parameters())}
HALF = {"confidence": lambda: np.full(12, 0.5)}
NOTHING: Callable[[], Any] = lambda: None  # noqa: E731
FIT = {
    "epochs": 1, "batch_size": 4, "seed": 0, "n_threads": 1, "progress": False, "validation": 3, "callbacks": (),
    **dict.fromkeys(("optimizer", "loss", "schedule", "schedule_every", "start_epoch", "class_weight", "clip_norm",
                     "clip_value", "average")),
}  # fmt: skip

CALLS: dict[str, Call] = {
    "Dataset": of(fm.Dataset, features=X.copy, targets=Y.copy),
    "EarlyStopping": of(fm.EarlyStopping, ("patience",)),
    "History": Call(fm.History, lambda: {"epochs": history().epochs}),
    "Parameter": of(fm.Parameter, data=lambda: np.ones((2, 3), np.float32)),
    "Predictor": of(fm.Predictor, ("n_threads",), model=model),
    "Run": of(fm.Run, folder=new("run"), root=lambda: shelf() / "root"),
    "Tensor": of(fm.Tensor, data=lambda: np.ones((2, 3), np.float32)),
    "TensorBoard": of(fm.TensorBoard, folder=new("board"), watch=watched),
    "Watch": of(fm.Watch, ("rows",), data=rows),
    "calibrate": of(fm.calibrate, ("n_threads",), model=model, data=rows, n_threads=lambda: 1),
    "diagnose": of(fm.diagnose, history=history),
    "draw": of(fm.draw, loss=loss),
    "evaluate": of(fm.evaluate, ("batch_size", "n_threads"), model=model, data=rows, n_threads=lambda: 1),
    "explain": of(fm.explain, loss=loss),
    "explain_backward": of(fm.explain_backward, loss=loss),
    "fit": Call(
        fm.fit, lambda: {"model": model(), "data": rows(), **FIT}, ("epochs", "start_epoch", "n_threads", "batch_size")
    ),
    "gradcheck": of(
        fm.gradcheck, ("directions",), model=lambda: model().double(), x=lambda: X[:4].astype(float),
        y=lambda: Y[:4].copy(), directions=lambda: 1, raise_exception=lambda: False,
    ),
    "is_grad_enabled": of(fm.is_grad_enabled),
    "load": of(fm.load, model=model, path=lambda: shelf() / "m.safetensors"),
    "load_model": of(fm.load_model, path=lambda: shelf() / "m.safetensors", activation=lambda: "relu"),
    "lr_find": of(
        fm.lr_find, ("n_threads", "batch_size"), model=model, data=rows, steps=lambda: 20, batch_size=lambda: 4,
        n_threads=lambda: 1,
    ),
    "manual_seed": of(fm.manual_seed, ("seed",), seed=lambda: 3),
    "no_grad": of(fm.no_grad),
    "predict": of(fm.predict, ("n_threads",), model=model, x=X.copy),
    "read_run": of(fm.read_run, folder=lambda: shelf() / "run"),
    "resume": of(
        fm.resume, ("n_threads",), folder=lambda: shelf() / "kept", progress=lambda: False, data=rows,
        callbacks=lambda: [kept()],
    ),
    "save": of(fm.save, model=model, path=new("saved")),
    "data.load": of(fm.data.load, path=lambda: shelf() / "d.npz"),
    "data.load_svmlight_file": of(
        fm.data.load_svmlight_file, path=lambda: shelf() / "x.svm", n_features=lambda: 4, zero_based=lambda: True
    ),
    "data.mnist": of(fm.data.mnist, root=lambda: shelf() / "mnist"),
    "data.read_idx": of(fm.data.read_idx, path=lambda: shelf() / "i"),
    "data.table": of(
        fm.data.table, data=lambda: shelf() / "t.csv", target=lambda: "y", test=lambda: 0.2, validation=lambda: 2,
        seed=lambda: 0, kind=NOTHING, drop=lambda: ["b"], categorical=lambda: ["a"], missing=lambda: ["?"],
        max_categories=lambda: 9, sample_weight=NOTHING,
    ),
    "data.read_sparse_npz": of(fm.data.read_sparse_npz, path=lambda: shelf() / "s.npz"),
    "images.read_image": of(fm.images.read_image, path=lambda: shelf() / "p.png"),
    "images.centre_by_mass": of(fm.images.centre_by_mass, grey=lambda: np.eye(28, dtype=np.uint8) * 255),
    "report.write_report": Call(
        fm.report.write_report,
        lambda: {
            "path": new("report")(), "model": model(), "history": history(), "evaluation": judged(), "data": rows(),
            "config": {"activation": "relu"}, "diagnosis": fm.diagnose(history()), "watch": None, "figures": {},
        },
    ),
    # --- metrics
    "metrics.accuracy_score": of(fm.metrics.accuracy_score, **LABELS),
    "metrics.calibration_error": of(fm.metrics.calibration_error, ("bins",), **LABELS, **HALF),
    "metrics.reliability_bins": of(fm.metrics.reliability_bins, ("bins",), **LABELS, **HALF),
    "metrics.confusion_matrix": of(fm.metrics.confusion_matrix, ("classes",), **LABELS),
    **{
        f"metrics.{name}": of(getattr(fm.metrics, name), **NUMBERS)
        for name in ("mean_absolute_error", "mean_squared_error", "root_mean_squared_error", "r2_score")
    },
    "metrics.precision_recall_fscore_support": of(
        fm.metrics.precision_recall_fscore_support, ("classes",), **LABELS
    ),
    "metrics.softmax": of(fm.metrics.softmax, logits=X.copy),
    "metrics.top_k_accuracy_score": of(
        fm.metrics.top_k_accuracy_score, labels=Y.copy, probabilities=lambda: np.full((12, 4), 0.25)
    ),
    # --- plots
    "plots.accuracy_curve": of(drawn(fm.plots.accuracy_curve), history=history, ax=NOTHING, title=lambda: "t"),
    "plots.loss_curve": of(drawn(fm.plots.loss_curve), history=history, ax=NOTHING, title=lambda: "t"),
    "plots.lr_find": of(drawn(fm.plots.lr_find), found=found, ax=NOTHING, title=lambda: "t"),
    "plots.curves": of(drawn(fm.plots.curves), history=history),
    "plots.activations": of(drawn(fm.plots.activations), watch=watched),
    "plots.gradients": of(drawn(fm.plots.gradients), watch=watched),
    "plots.update_ratio": of(drawn(fm.plots.update_ratio), watch=watched, ax=NOTHING),
    "plots.confusion_matrix": of(drawn(fm.plots.confusion_matrix), evaluation=judged, ax=NOTHING),
    "plots.reliability": of(drawn(fm.plots.reliability), evaluation=judged, ax=NOTHING, before=judged),
    "plots.label_scores": of(drawn(fm.plots.label_scores), evaluation=labelled, ax=NOTHING),
    **{
        f"plots.{name}": of(drawn(getattr(fm.plots, name)), evaluation=regression, ax=NOTHING, column=NOTHING)
        for name in ("predicted_vs_true", "residuals")
    },
    "plots.first_layer": of(
        drawn(fm.plots.first_layer), ("count",), model=lambda: nn.MLP(12, (4,), 2), shape=lambda: (4, 3),
        count=lambda: 4,
    ),
    "plots.sample_digits": of(drawn(fm.plots.sample_digits), ("count",), data=digits, count=lambda: 4, seed=lambda: 0),
    "plots.wrong_digits": of(
        drawn(fm.plots.wrong_digits), ("count",), evaluation=judged, data=digits, count=lambda: 4
    ),
    "plots.save_wrong_digits": of(fm.plots.save_wrong_digits, evaluation=judged, data=digits, folder=new("wrong")),
    "plots.style": of(lambda dark: fm.plots.style(dark).__enter__(), dark=lambda: False),
    # --- nn
    "nn.MLP": of(nn.MLP, ("in_features", "hidden", "out_features"), in_features=lambda: 3, hidden=lambda: (4,),
    out_features=lambda: 2),
    "nn.Linear": of(nn.Linear, ("in_features", "out_features"), in_features=lambda: 3, out_features=lambda: 2),
    "nn.BatchNorm1d": of(nn.BatchNorm1d, ("num_features",), num_features=lambda: 3),
    "nn.LayerNorm": of(nn.LayerNorm, ("normalized_shape",), normalized_shape=lambda: 3),
    "nn.Sequential": Call(lambda module: nn.Sequential(nn.Linear(3, 2), module), lambda: {"module": nn.ReLU()}),
    "nn.features_of": of(nn.features_of, model=model),
    "nn.generator": of(nn.generator),
    **{
        f"nn.{kind.__name__}": of(kind, ("num_parameters",))
        for kind in (*nn.LAYERS.values(), *nn.LOSSES.values())
        if kind not in (nn.Linear, nn.BatchNorm1d, nn.LayerNorm, nn.Identity)
    },
    **{
        f"nn.init.{name}": of(getattr(nn.init, name), tensor=lambda: t(4, 3))
        for name in vars(nn.init)
        if name.endswith("_") and not name.startswith("_") and name != "constant_"
    },
    "nn.init.constant_": of(nn.init.constant_, tensor=lambda: t(4, 3), val=lambda: 0.5),
    "nn.init.calculate_gain": of(nn.init.calculate_gain, nonlinearity=lambda: "tanh"),
    "nn.utils.clip_grad_norm_": of(nn.utils.clip_grad_norm_, parameters=PARAMS["params"], max_norm=lambda: 1.0),
    "nn.utils.clip_grad_value_": of(nn.utils.clip_grad_value_, parameters=PARAMS["params"], clip_value=lambda: 1.0),
    # --- optim
    **{f"optim.{kind.__name__}": of(kind, **PARAMS) for kind in optim.RULES.values()},
    "optim.EMA": of(optim.EMA),
    "optim.SWA": of(optim.SWA),
    "optim.CosineAnnealingLR": of(optim.CosineAnnealingLR, ("T_max",)),
    "optim.ExponentialLR": of(optim.ExponentialLR, gamma=lambda: 0.9),
    "optim.LinearLR": of(optim.LinearLR, ("total_iters",)),
    "optim.MultiStepLR": of(optim.MultiStepLR, milestones=lambda: [1, 2]),
    "optim.OneCycleLR": of(optim.OneCycleLR, ("total_steps", "epochs", "steps_per_epoch"), max_lr=lambda: 0.1),
    "optim.ReduceLROnPlateau": of(optim.ReduceLROnPlateau, ("patience", "cooldown")),
    "optim.SequentialLR": of(
        optim.SequentialLR, schedulers=lambda: [optim.StepLR(1), optim.StepLR(2)], milestones=lambda: [2]
    ),
    "optim.StepLR": of(optim.StepLR, ("step_size",), step_size=lambda: 2),
    # --- ops
    **{
        f"ops.{name}": of(getattr(ops, name), x=lambda: t(4, 3))
        for name in (
            "elu", "flatten", "gelu", "hardtanh", "leaky_relu", "mish", "relu", "selu", "sigmoid", "silu", "softplus",
            "tanh", "layer_norm",
        )
    },
    "ops.dropout": of(ops.dropout, ("seed", "step", "layer"), x=lambda: t(4, 3), seed=lambda: 3),
    "ops.batch_norm": of(
        ops.batch_norm, x=lambda: t(4, 3), running_mean=lambda: np.zeros(3, np.float32),
        running_var=lambda: np.ones(3, np.float32), weight=lambda: t(3), bias=lambda: t(3),
    ),
    "ops.linear": of(ops.linear, x=lambda: t(4, 3), weight=lambda: t(2, 3), bias=lambda: t(2)),
    "ops.prelu": of(ops.prelu, x=lambda: t(4, 3), weight=lambda: t(3)),
    "ops.pack_columns": of(ops.pack_columns, weight=lambda: t(2, 3)),
    "ops.log_softmax": of(ops.log_softmax, z=lambda: t(4, 3)),
    "ops.nll_loss": of(ops.nll_loss, y=lambda: ops.log_softmax(t(4, 3)), labels=lambda: np.arange(4) % 3),
    "ops.cross_entropy": of(ops.cross_entropy, z=lambda: t(4, 3), labels=lambda: np.arange(4) % 3),
    "ops.quantile_loss": of(ops.quantile_loss, z=lambda: t(4, 1), targets=lambda: np.ones((4, 1))),
    **{
        f"ops.{name}": of(getattr(ops, name), z=lambda: t(4, 3), targets=lambda: np.ones((4, 3)))
        for name in (
            "binary_cross_entropy_with_logits", "huber_loss", "l1_loss", "mse_loss", "poisson_nll_loss",
            "smooth_l1_loss",
        )
    },
    # --- what is called on them
    **{
        f"nn.{kind.__name__}()": Call(lambda x, kind=kind: _made(kind)(x), lambda: {"x": t(4, 3)})
        for kind in nn.LAYERS.values()
        if kind is not nn.Identity
    },
    "nn.MLP()": Call(lambda x: model()(x), lambda: {"x": t(4, 3)}),
    "Module.load_state_dict": Call(
        lambda state_dict, strict: model().load_state_dict(state_dict, strict),
        lambda: {"state_dict": model().state_dict(), "strict": True},
    ),
    "Module.load_state_dict of one": Call(
        lambda weight: model().load_state_dict(model().state_dict() | {"0.weight": weight}),
        lambda: {"weight": np.ones((4, 3), np.float32)},
    ),
    "Module.train": Call(lambda mode: model().train(mode), lambda: {"mode": True}),
    "Predictor()": Call(lambda x: fm.Predictor(model())(x), lambda: {"x": X.copy()}),
    "Predictor.logits": Call(
        lambda data, order: fm.Predictor(model()).logits(data, order), lambda: {"data": rows(), "order": np.arange(4)}
    ),
    "Dataset[]": Call(lambda index: rows()[index], lambda: {"index": 3}),
    "Dataset.split": Call(
        lambda held_out, seed: rows().split(held_out, seed), lambda: {"held_out": 3, "seed": 0}, ("seed",)
    ),
    "Dataset.as_kind": Call(lambda kind: rows().as_kind(kind), lambda: {"kind": "numbers"}),
    "Dataset.encoded": Call(lambda classes_: rows().encoded(classes_), lambda: {"classes_": [0, 1]}),
    "History.column": Call(lambda name: history().column(name), lambda: {"name": "train_loss"}),
    "History[]": Call(lambda index: history()[index], lambda: {"index": 1}),
    "History.to_csv": Call(lambda path: history().to_csv(path), lambda: {"path": new("h")()}),
    "Tensor.backward": Call(
        lambda gradient, retain_graph: (t(4, 3) * 2).backward(gradient, retain_graph),
        lambda: {"gradient": np.ones((4, 3), np.float32), "retain_graph": False},
    ),
    **{
        f"Tensor.{name}": Call(
            lambda value, name=name: setattr(t(4, 3), name, value), lambda: {"value": np.ones((4, 3), np.float32)}
        )
        for name in ("data", "grad")
    },
    "Tensor.requires_grad": Call(lambda value: setattr(t(4, 3), "requires_grad", value), lambda: {"value": True}),
    **{
        f"Tensor.{name}": Call(
            lambda dim, keepdim, name=name: getattr(t(4, 3), name)(dim, keepdim), lambda: {"dim": 1, "keepdim": False}
        )
        for name in ("sum", "mean")
    },
    **{
        f"Tensor.{name}": Call(lambda other, name=name: getattr(t(4, 3), name)(other), lambda: {"other": 2.0})
        for name in ("__add__", "__sub__", "__mul__", "__truediv__", "__pow__", "__rsub__", "__rtruediv__")
    },
    "Tensor.__matmul__": Call(lambda other: t(4, 3) @ other, lambda: {"other": t(3, 2)}),
    "Tensor.register_hook": Call(lambda hook: t(4, 3).register_hook(hook), lambda: {"hook": print}),
    "Optimizer.step": Call(_step, lambda: {"grad": np.ones((4, 3), np.float32)}),
    "Optimizer.load_state_dict": Call(
        lambda state_dict: adam().load_state_dict(state_dict), lambda: {"state_dict": adam().state_dict()}
    ),
    "Optimizer.add_param_group": Call(
        lambda params, lr: adam().add_param_group({"params": params, "lr": lr}),
        lambda: {"params": [fm.Parameter(np.ones(3, np.float32))], "lr": 0.1},
    ),
}  # fmt: skip


def _loss_call(kind: Any) -> Call:
    wide = 1 if kind is nn.QuantileLoss else 3
    targets = np.arange(4) % 3 if kind is nn.CrossEntropyLoss else np.ones((4, wide))
    return Call(
        lambda z, targets, sample_weight: kind()(z, targets, sample_weight),
        lambda: {"z": t(4, wide), "targets": targets.copy(), "sample_weight": None},
    )


CALLS |= {f"nn.{kind.__name__}()": _loss_call(kind) for kind in nn.LOSSES.values()}

# Those that take no argument: to ask for arguments is to train and to save, too much for when tests are collected.
BARE = (
    "is_grad_enabled",
    "no_grad",
    "nn.generator",
    "nn.ReLU",
    "nn.Tanh",
    "nn.Sigmoid",
    "nn.SELU",
    "nn.SiLU",
    "nn.Mish",
)
