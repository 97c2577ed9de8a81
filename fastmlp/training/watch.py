"""A look inside a net while it trains: activations, gradients and the size of the updates, layer by layer."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..check import shown, whole
from ..data import Dataset
from ..graph import Array, Tensor
from ..kernels.shuffle import permutation
from ..nn import Linear, Loss, Module, features_of
from ..optim import Optimizer
from ..running.door import count_outputs
from ..running.meaning import scaled_targets
from ..running.rows import batches
from .answers import usual_loss
from .fitting import as_taken, numbered

if TYPE_CHECKING:
    from .history import History

BINS = 256  # of a linear histogram; a multiple of 4, so that merged bins meet the middle
LOWEST, HIGHEST, BINS_A_DECADE = -14, 6, 10  # of a logarithmic histogram: powers of ten


class Histogram:
    """Counts of values, a row an epoch: counts[e, b] values lie in [edges[b], edges[b + 1]).

    log=False  the values themselves, from -reach to reach. reach is a power of two that holds 99.9 % of the values of
               each epoch; where it has to grow, neighbouring bins are merged, so that no count is lost
    log=True   log10 |value|, from -14 to 6

    Values that are 0 are in no bin: `zeros[e]` is their share. The outermost bins also hold what lies beyond them.
    Values that are not finite are in no bin and in no share.
    """

    def __init__(self, log: bool) -> None:
        self.log, self.reach = log, 0.0
        self.zeros: list[float] = []
        self._counts = np.zeros((0, (HIGHEST - LOWEST) * BINS_A_DECADE if log else BINS), np.int64)

    def state_dict(self) -> dict[str, Any]:
        """All that it counted."""
        return {"log": self.log, "reach": float(self.reach), "zeros": list(self.zeros), "counts": self._counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.log, self.reach, self.zeros = state["log"], float(state["reach"]), list(state["zeros"])
        self._counts = state["counts"]

    @property
    def edges(self) -> Array:
        """(bins + 1,): the values, or powers of ten, between the bins."""
        low, high = (LOWEST, HIGHEST) if self.log else (-(self.reach or 1.0), self.reach or 1.0)
        return np.linspace(low, high, self._counts.shape[1] + 1)

    @property
    def counts(self) -> Array:
        """(epochs, bins)."""
        return self._counts

    def add(self, values: Array) -> None:
        """Count the values of one more epoch."""
        values = np.asarray(values).reshape(-1)
        values = values[np.isfinite(values)]
        size, values = values.size, values[values != 0]
        self.zeros.append(1 - values.size / size if size else np.nan)
        if self.log:
            with np.errstate(all="ignore"):
                values = np.log10(np.abs(values))
        elif values.size:
            self._reach(float(np.quantile(np.abs(values).astype(np.float64), 0.999)))
        edges = self.edges
        place = (np.clip(values, edges[0], edges[-1]) - edges[0]) * ((len(edges) - 1) / (edges[-1] - edges[0]))
        bins = np.minimum(place.astype(np.int64), len(edges) - 2)
        self._counts = np.vstack([self._counts, np.bincount(bins, minlength=len(edges) - 1)])

    def _reach(self, needed: float) -> None:
        """Let the bins reach so far, each as wide as before or twice, four times ... as wide."""
        if not self.reach:
            self.reach = 2.0 ** np.ceil(np.log2(needed))
        while self.reach < needed:
            self.reach *= 2
            pairs = self._counts.reshape(len(self._counts), BINS // 2, 2).sum(axis=2)
            self._counts = np.zeros_like(self._counts)
            self._counts[:, BINS // 4 : BINS - BINS // 4] = pairs


@dataclass
class WatchedLayer:
    """What a `Watch` knows of one Linear layer; lists and histograms have an entry for each of `Watch.epochs`.

    name         as in `named_modules`: "0", "2", ...
    title        "784 → 128, ReLU"
    activations  what the layer gives on, after batch norm and activation, before dropout; logits for the last
    gradients    log10 |d(loss)/d(weight)|
    ratios       rms of one update of the weight over rms of the weight; NaN where no optimizer is known
    dead         the share of its units that are 0 for every row of the batch
    """

    name: str
    title: str
    activations: Histogram = field(default_factory=lambda: Histogram(log=False))
    gradients: Histogram = field(default_factory=lambda: Histogram(log=True))
    ratios: list[float] = field(default_factory=list)
    dead: list[float] = field(default_factory=list)


class Watch:
    """A callback that looks into a net: `fit(model, data, callbacks=[watch])`.

        update-to-weight ratio = rms(w after - w before) / rms(w before)    of one step on the watched batch

    Before the first epoch and after each, one fixed batch of `rows` rows of `data`, drawn with `seed`, goes through the
    net, its loss back, and the optimizer makes one step: all on a copy of the model and the optimizer. So the training
    is the same to the last bit with a watch and without. The copy is in training mode: dropout drops, and batch norm
    takes the mean and variance of this batch, as they do in a step of training.

    `epochs` holds 0 for before the training, then the number of each epoch; `layers` a `WatchedLayer` for each
    Linear layer in the order they are called; `fastmlp.plots.activations`, `gradients` and `update_ratio` draw them.
    A ratio near 1e-3 is a common rule of thumb: far below, training crawls; far above, it may not settle.
    `loss` is that of the training where None. A second `fit` starts anew. In a loop of one's own: watch.use_loss(loss)
    where it is another than `fit` takes by itself, watch.start(model, optimizer), then watch(model, history).

    Errors: TypeError for data that is no Dataset and a loss that is none, ValueError for rows below 2, a seed below 0
    and a loss of other targets than data has; those of the model for data that do not fit.
    Source: Karpathy, lecture notes of CS231n (2015), Neural Networks 3.
    """

    _data: Dataset

    def __init__(self, data: Dataset, rows: int = 256, seed: int = 0, loss: Loss | None = None) -> None:
        if not isinstance(data, Dataset):
            raise TypeError(f"Watch: data is {type(data).__name__}; it must be a fastmlp.data.Dataset")
        for name, value, least in (("rows", rows, 2), ("seed", seed, 0)):
            whole(f"Watch: {name}", value, least)
        if loss is not None and not isinstance(loss, Loss):
            raise TypeError(f"Watch: loss is {shown(loss)}; it must be a loss of fastmlp.nn, that of the training")
        chosen = np.sort(permutation(np.arange(len(data)), seed)[:rows])
        self._data, self._given = data[chosen], loss
        self._loss = loss or usual_loss(data.kind)
        if loss is not None:
            self._check_loss()
        self._optimizer: Optimizer | None = None
        self._before: tuple[Module, Optimizer | None] | None = None
        self._epochs: list[int] = []
        self._layers: list[WatchedLayer] = []

    @property
    def epochs(self) -> list[int]:
        """The epochs that were done before the training, 0 for a new one, then the number of each epoch."""
        self._look_before()
        return self._epochs

    @property
    def layers(self) -> list[WatchedLayer]:
        """What was seen of each Linear layer."""
        self._look_before()
        return self._layers

    def use_loss(self, loss: Loss) -> None:
        """Look at the loss of the training, where none was given; `fit` calls this before `start`."""
        self._loss = self._given or loss
        self._check_loss()

    def _check_loss(self) -> None:
        self._data, _ = as_taken("Watch", self._loss, self._data)
        if self._loss.reduction == "none":
            raise ValueError("Watch: loss has the reduction 'none', a loss for each row; it must be 'mean' or 'sum'")

    def start(self, model: Module, optimizer: Optimizer | None = None) -> None:
        """Forget what was seen, and keep the net as it is before its training; `fit` calls this.

        It is looked at when the first epoch is done: on a fresh install a look compiles kernels of the graph, and the
        first row of the table need not wait for them.
        """
        self._check_loss()
        features = features_of(model)
        if features is not None and (given := self._data.n_features) != features:
            raise ValueError(f"Watch: data has {given} features; the model's in_features is {features}")
        self._data, _ = numbered("Watch", model, self._data, count_outputs("Watch", model, self._data, 1))
        self._optimizer, self._epochs, self._layers = optimizer, [], []
        self._before = self._twins(model)

    def state_dict(self) -> dict[str, Any]:
        """What it has seen."""
        self._look_before()
        layers = [
            {
                "name": layer.name, "title": layer.title, "ratios": list(layer.ratios), "dead": list(layer.dead),
                "activations": layer.activations.state_dict(), "gradients": layer.gradients.state_dict(),
            }
            for layer in self._layers
        ]  # fmt: skip
        return {"epochs": list(self._epochs), "layers": layers}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self._epochs, self._layers, self._before = list(state["epochs"]), [], None
        for kept in state["layers"]:
            layer = WatchedLayer(kept["name"], kept["title"], ratios=list(kept["ratios"]), dead=list(kept["dead"]))
            layer.activations.load_state_dict(kept["activations"])
            layer.gradients.load_state_dict(kept["gradients"])
            self._layers.append(layer)

    def __call__(self, model: Module, history: History) -> None:
        """Look at the net after an epoch; `fit` calls this."""
        self._look_before()
        self._look(*self._twins(model), history[-1].epoch)

    def _twins(self, model: Module) -> tuple[Module, Optimizer | None]:
        """Copies of the net and the optimizer, made together: the copied optimizer holds the copied net."""
        twins: tuple[Module, Optimizer | None] = copy.deepcopy((model, self._optimizer))
        return twins

    def _look_before(self) -> None:
        before, self._before = self._before, None
        if before is not None:
            self._look(*before, 0 if before[1] is None else before[1].epochs)

    def _look(self, twin: Module, optimizer: Optimizer | None, epoch: int) -> None:
        twin.train()
        twin.zero_grad()
        called = _listen(twin)
        dtype = next(twin.parameters()).dtype
        data = self._data
        x, _ = next(batches(data, np.arange(len(data)), [len(data)], dtype))
        self._loss(twin(x), scaled_targets(twin, data).targets, data.sample_weight).backward()
        seen = list(_outputs(called))
        names = {id(module): name for name, module in twin.named_modules()}
        if not self._layers:
            self._layers = [WatchedLayer(names[id(layer)], _title(layer, follows)) for layer, follows, _ in seen]
        if [layer.name for layer in self._layers] != [names[id(layer)] for layer, _, _ in seen]:
            raise ValueError("Watch: the model has other layers than at the start; call start(model, optimizer) first")
        before = [layer.weight.data.astype(np.float64) for layer, _, _ in seen]
        if optimizer is not None:
            optimizer.step()
        self._epochs.append(epoch)
        for watched, (layer, _, y), weight in zip(self._layers, seen, before, strict=True):
            gradient = layer.weight.grad
            watched.activations.add(y)
            watched.gradients.add(np.zeros(0) if gradient is None else gradient)
            watched.dead.append(float((y == 0).all(axis=0).mean()))
            with np.errstate(all="ignore"):  # a net that diverged
                ratio = _rms(layer.weight.data - weight) / _rms(weight)
            watched.ratios.append(float(ratio) if optimizer is not None else np.nan)


def _listen(model: Module) -> list[tuple[Module, Array]]:
    """A list that fills with (module, output) for each call of a module that has no modules in it."""
    called: list[tuple[Module, Array]] = []

    def listening(module: Module) -> Any:
        forward = module.forward

        def run(x: Tensor) -> Tensor:
            y = forward(x)
            called.append((module, y.data))
            return y

        return run

    for module in model.modules():
        if not module._modules:
            module.__dict__["forward"] = listening(module)
    return called


def _outputs(called: list[tuple[Module, Array]]) -> Iterator[tuple[Linear, list[Module], Array]]:
    """(layer, modules between it and the next, what they give) for each call of a Linear.

    Dropout is left out, and what does nothing.
    """
    kept = [(module, y) for module, y in called if getattr(module, "form", "") not in ("random", "nothing")]
    places = [at for at, (module, _) in enumerate(kept) if isinstance(module, Linear)]
    for at, end in zip(places, [*places[1:], len(kept)], strict=True):
        layer = kept[at][0]
        assert isinstance(layer, Linear)
        yield layer, [module for module, _ in kept[at + 1 : end]], kept[end - 1][1]


def _title(layer: Linear, follows: list[Module]) -> str:
    words = {"BatchNorm1d": "batch norm", "LayerNorm": "layer norm"}
    after = [words.get(type(module).__name__, type(module).__name__) for module in follows]
    return ", ".join([f"{layer.in_features} → {layer.out_features}", *after])


def _rms(x: Array) -> Any:
    return np.sqrt(np.mean(np.square(x)))
