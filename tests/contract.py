"""The contract of every declared kind: how it is built, with which options, its slow twin and its peer.

`nn.LAYERS`, `nn.LOSSES`, `optim.RULES` and `optim.SCHEDULES` say what there is. A new kind needs an entry in a table
here and a twin in `oracles`, a loss in `contract_losses` and `oracles_losses`, a schedule in `contract_schedules`;
`gaps` names what is missing, and the tests run over the tables:

    test_contract_layers      twin, gradients, NaN, explain, report, page, files
    test_contract_losses      twin, gradients, NaN, score, explain
    test_contract_rules       twin, state, NaN
    test_contract_schedules   twin, rates within `fit`
    test_contract_engine      the engine and the graph, to the last bit, in random nets of all kinds
    test_peers_contract       50 steps with the peer

An entry's fields without a default here must be given; they are None only so that `gaps` can name them all.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any

import numpy as np
import oracles
from contract_layers import ACTIVATIONS, LayerEntry, LayerTwin
from contract_layers import made_by as _activation
from contract_layers import normal as _normal
from contract_losses import LOSSES, targets
from contract_losses import LossEntry as LossEntry
from contract_losses import loss as loss
from contract_rules import RULES
from contract_schedules import OF_DONE, SCHEDULES, WATCHING, ScheduleEntry, with_optimizer
from hypothesis import strategies as st
from strategies import off_kinks

import fastmlp as fm
from fastmlp.running import nodes
from fastmlp.running.engine import Engine
from fastmlp.running.pace import Fixed, Pace

PEERS = ("torch", "optax", "sklearn")  # packages that peers are of; `test_peers_contract` knows how each is called
__all__ = ["OF_DONE", "SCHEDULES", "WATCHING", "ScheduleEntry", "with_optimizer"]  # from there


# --- the tables ------------------------------------------------------------------------------------------------------


def _prelu(s, x, dy) -> LayerTwin:
    dx, dweight = oracles.prelu_backward(dy, x, s.weight)
    return LayerTwin(oracles.prelu(x, s.weight), dx, {"weight": dweight})


def _linear(s, x, dy) -> LayerTwin:
    dx, dweight, dbias = oracles.linear_backward(dy, x, s.weight)
    return LayerTwin(oracles.linear(x, s.weight, s.bias), dx, {"weight": dweight, "bias": dbias})


def _dropout(s, x, dy) -> LayerTwin:
    if not s.training:
        return LayerTwin(x, dy)
    return LayerTwin(oracles.dropout(x, s.p, *s.counters), oracles.dropout(dy, s.p, *s.counters))


def _dropout_replay(s, x):
    mask = oracles.dropout_mask(x.shape, s.p, *s.counters)
    return x * x.new_tensor(np.where(mask, 1 / (1 - s.p) if s.p < 1 else 0, 0))


def _affine(s, C: int) -> tuple[Any, Any, Callable[..., dict[str, Any]]]:
    """(weight, bias, what takes the gradients of both and names those that are wanted)."""
    given = {name: getattr(s, name) for name in ("weight", "bias") if isinstance(getattr(s, name, None), np.ndarray)}
    weight, bias = given.get("weight", np.ones(C)), given.get("bias", np.zeros(C))
    return weight, bias, lambda *both: dict(list(zip(("weight", "bias"), both, strict=True))[: len(given)])


def _batchnorm(s, x, dy) -> LayerTwin:
    weight, bias, named = _affine(s, x.shape[1])
    if s.training:
        now = oracles.batchnorm(x, weight, bias, s.running_mean, s.running_var, s.momentum, s.eps)
        dx, dweight, dbias = oracles.batchnorm_backward(dy, x, weight, now["mean"], now["rstd"])
        buffers = {name: now[name] for name in ("running_mean", "running_var")}
        return LayerTwin(now["y"], dx, named(dweight, dbias), buffers)
    y = oracles.batchnorm_eval(x, weight, bias, s.running_mean, s.running_var, s.eps)
    dx, dweight, dbias = oracles.batchnorm_eval_backward(dy, x, weight, s.running_mean, s.running_var, s.eps)
    return LayerTwin(y, dx, named(dweight, dbias))


def _layernorm(s, x, dy) -> LayerTwin:
    weight, bias, named = _affine(s, x.shape[1])
    now = oracles.layernorm(x, weight, bias, s.eps)
    dx, dweight, dbias = oracles.layernorm_backward(dy, x, weight, now["mean"], now["rstd"])
    return LayerTwin(now["y"], dx, named(dweight, dbias))


LAYERS: dict[str, LayerEntry] = {
    "Linear": LayerEntry(
        options={"plain": {}, "no bias": {"bias": False}},
        make=lambda I, O, **options: fm.nn.Linear(I, O, **options),
        twin=_linear,
        points=_normal,
        peer="torch.nn.Linear",
    ),
    **ACTIVATIONS,
    "PReLU": LayerEntry(
        options={"plain": {}, "steep": {"init": 0.75}, "each": {"num_parameters": lambda I: I, "init": -0.5}},
        make=_activation(fm.nn.PReLU),
        twin=_prelu,
        points=off_kinks,
        peer="torch.nn.PReLU",
    ),
    "Identity": LayerEntry(
        options={"plain": {}},
        make=lambda I, O, **options: fm.nn.Identity(I, unused=O),
        twin=lambda s, x, dy: LayerTwin(x, dy),
        points=_normal,
        peer="torch.nn.Identity",
    ),
    "Flatten": LayerEntry(
        options={"plain": {}, "last": {"start_dim": -1}, "one": {"end_dim": 1}},
        make=_activation(fm.nn.Flatten),
        twin=lambda s, x, dy: LayerTwin(x, dy),  # of rows; test_shapes has other shapes
        points=_normal,
        peer="torch.nn.Flatten",
    ),
    "Dropout": LayerEntry(
        options={"plain": {}, "few": {"p": 0.2}, "none": {"p": 0.0}, "all": {"p": 1.0}},
        make=_activation(fm.nn.Dropout),
        twin=_dropout,
        points=_normal,
        peer="torch.nn.Dropout",
        replay=_dropout_replay,
    ),
    "BatchNorm1d": LayerEntry(
        options={
            "plain": {},
            "fast": {"momentum": 0.7, "eps": 1e-2},
            "still": {"momentum": 0.0, "bias": False},
            "bare": {"affine": False},
        },
        fixed=("track_running_stats",),
        make=lambda I, O, **options: fm.nn.BatchNorm1d(I, **options),
        twin=_batchnorm,
        points=_normal,
        peer="torch.nn.BatchNorm1d",
    ),
    "LayerNorm": LayerEntry(
        options={"plain": {}, "wide": {"eps": 0.1, "bias": False}, "bare": {"elementwise_affine": False}},
        make=lambda I, O, **options: fm.nn.LayerNorm(I, **options),
        twin=_layernorm,
        points=_normal,
        peer="torch.nn.LayerNorm",
    ),
}


# --- what is missing -------------------------------------------------------------------------------------------------


def defaults(kind: type) -> dict[str, Any]:
    """The arguments of a kind's constructor that have a default, apart from the dtype."""
    parameters = inspect.signature(kind).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty and p.name != "dtype"}


def gaps(declared: Mapping[str, type], table: Mapping[str, Any]) -> list[str]:
    """In words: kinds without an entry, entries without a field, arguments that no set of options changes."""
    found = [f"{name} is in the table and not declared" for name in table if name not in declared]
    for name, kind in declared.items():
        entry = table.get(name)
        if entry is None:
            found.append(f"{name} has no entry in tests/contract{'_losses' * (table is LOSSES)}.py")
            continue
        found += [f"{name} has no {f.name}" for f in fields(entry) if getattr(entry, f.name) is None]
        if entry.peer is not None and entry.peer.partition(".")[0] not in PEERS:
            found.append(f"{name} has the peer {entry.peer}; it must be of {', '.join(PEERS)}")
        sets = list((entry.options or {}).values())
        for argument, default in defaults(kind).items():
            if argument == "reduction":  # goes with every set: test_contract_losses
                continue
            fixed = argument in getattr(entry, "fixed", ())
            if not fixed and all(options.get(argument, default) == default for options in sets):
                found.append(f"{name} has no options with another {argument} than {default}")
        if getattr(kind, "form", "") == "random" and not entry.replay:
            found.append(f"{name} draws and has no replay")
    return found


def cases(table: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(kind, set of options) of a table."""
    return [(name, chosen) for name, entry in table.items() for chosen in entry.options or ()]


def options_of(table: Mapping[str, Any], declared: Mapping[str, type], name: str, chosen: str) -> Any:
    """All arguments with a default by name, as this set of options has them."""
    return SimpleNamespace(**defaults(declared[name]) | dict(table[name].options[chosen]))


# --- building --------------------------------------------------------------------------------------------------------


def arguments(name: str, chosen: str, I: int) -> dict[str, Any]:
    """This set of options of a layer for rows of I numbers."""
    options = LAYERS[name].options[chosen]
    return {argument: value(I) if callable(value) else value for argument, value in options.items()}


def layer(name: str, chosen: str, I: int, O: int, dtype: Any = np.float64, seed: int = 0) -> fm.nn.Layer:
    """A layer with numbers of its own in its parameters and buffers."""
    fm.manual_seed(seed)
    made = LAYERS[name].make(I, O, **arguments(name, chosen, I))
    return stirred(made.double() if dtype == np.float64 else made, seed)


def stirred(model: Any, seed: int) -> Any:
    """The model, its parameters and running statistics moved away from where they start."""
    rng = np.random.default_rng(seed)
    for parameter in model.parameters():
        parameter.data += (0.3 * rng.standard_normal(parameter.shape)).astype(parameter.dtype)
    for _, array in model.named_buffers():
        if array.dtype.kind == "f":
            array += rng.uniform(0.1, 1, array.shape).astype(array.dtype)
    return model


def facts(made: fm.nn.Layer) -> SimpleNamespace:
    """What the twin of a layer gets to know: arguments, float64 arrays, mode and counters, as they are now."""
    known = {name: made.argument(name) for name in made.arguments}
    known |= {
        name: np.array(a, np.float64 if a.dtype.kind == "f" else a.dtype) for name, a in made.state_dict().items()
    }
    return SimpleNamespace(**known, training=made.training, counters=made.counters())


def data_set(
    loss: fm.nn.Loss, features: int, columns: int, rows: int, kind: Any, seed: int, weighted: bool = False
) -> fm.Dataset:
    """Rows of uint8, float32 or float64 with targets for the loss, and weights."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (rows, features)) if kind == np.uint8 else rng.standard_normal((rows, features))
    classes = columns if loss.kind == "classes" else None
    weights = rng.integers(0, 4, rows) / 2 if weighted else None  # some rows count nothing
    drawn = targets(loss, rng, rows, columns)
    return fm.Dataset(x.astype(kind), drawn, classes, kind=loss.kind, sample_weight=weights)


def optimizer(model: fm.nn.Module, name: str, chosen: str) -> fm.optim.Optimizer:
    """The rule, with two groups of parameters where there are two parameters: the first at half the rate."""
    options, parameters = RULES[name].options[chosen], list(model.parameters())
    first = parameters[: len(parameters) // 2]
    groups = [{"params": first, "lr": options["lr"] / 2}, {"params": parameters[len(first) :]}]
    return fm.optim.RULES[name](groups if first else parameters, **options)


@dataclass(frozen=True)
class Net:
    """Layers as (kind, set of options, O)."""

    features: int
    layers: tuple[tuple[str, str, int], ...]
    seed: int

    def make(self, dtype: Any) -> fm.nn.Sequential:
        """Always the same numbers, and the same draws."""
        fm.manual_seed(self.seed)
        made, width = [], self.features
        for place, (name, chosen, O) in enumerate(self.layers):
            made.append(LAYERS[name].make(width, O, **arguments(name, chosen, width)))
            width = made[-1].columns(width, place)
        model = fm.nn.Sequential(*made)
        return stirred(model.double() if dtype == np.float64 else model, self.seed)

    @property
    def outputs(self) -> int:
        """Columns of what it gives."""
        width = self.features
        for name, chosen, O in self.layers:
            width = LAYERS[name].make(width, O, **arguments(name, chosen, width)).columns(width, 0)
        return width


@st.composite
def nets(draw) -> Net:
    """All declared kinds in any order: up to two before the first Linear, three after each, two at the end."""
    linear = [case for case in cases(LAYERS) if fm.nn.LAYERS[case[0]].form == "linear"]
    others = [case for case in cases(LAYERS) if case not in linear]
    widths = st.integers(1, 40)

    def some(most: int) -> list[tuple[str, str, int]]:
        return [(*draw(st.sampled_from(others)), 1) for _ in range(draw(st.integers(0, most)))]

    layers = some(2)
    for _ in range(draw(st.integers(1, 3))):
        layers += [(*draw(st.sampled_from(linear)), draw(widths)), *some(3)]
    return Net(draw(widths), (*layers, (*draw(st.sampled_from(linear)), draw(st.integers(2, 20))), *some(2)),
               draw(st.integers(0, 99)))  # fmt: skip


# --- training --------------------------------------------------------------------------------------------------------


class Changing(Pace):
    """Another number of threads for each chunk, drawn from a seed."""

    def __init__(self, ceiling: int, seed: int = 0):
        super().__init__(ceiling)
        self.generator = np.random.default_rng(seed)

    def threads(self, now: float) -> int:
        return int(self.generator.integers(1, self.counts[0] + 1))


HOWS = ("graph", 1, 2, 3, 4, "changing")  # who trains: the graph, or the engine on so many threads, up to 3 that change
FEWER = ("graph", 1, 2, "changing")  # where the layers, which threads share, are always the same


def batch_sizes(rows: int, batch: int) -> list[int]:
    """Whole batches and the rest; a single row left over joins the batch before, as batch norm needs it."""
    sizes = [batch] * (rows // batch) + ([rows % batch] if rows % batch else [])
    if len(sizes) > 1 and sizes[-1] == 1:
        sizes[-2:] = [sizes[-2] + 1]
    return sizes


def train(
    how: Any,
    model: fm.nn.Module,
    rule: fm.optim.Optimizer,
    loss: fm.nn.Loss,
    data: fm.Dataset,
    *,
    batch: int = 16,
    epochs: int = 2,
    chunk: int | None = None,
    rates: Callable[[int], Any] = lambda epoch: None,
    after: Callable[[fm.nn.Module, float, float], Any] = lambda model, loss, score: None,
) -> dict[str, np.ndarray]:
    """Every number that training changes, by name, and the losses and scores. rates: epoch -> (steps, groups).

    after  called with the model, the loss and the score of each epoch
    """
    sizes = batch_sizes(len(data), batch)
    orders = [np.random.default_rng(epoch).permutation(len(data)) for epoch in range(epochs)]
    results = []
    if how == "graph":
        for epoch, order in enumerate(orders, 1):
            results.append(nodes.epoch(model, rule, loss, data, order, sizes, lambda *_: None, rates(epoch)))
            after(model, *results[-1])
    else:
        threads, pace = (3, Changing(3)) if how == "changing" else (how, Fixed(how))
        width = data.targets.size // len(data)
        with Engine(model, rule, data.n_features, max(sizes), threads, pace, chunk, loss=loss, width=width) as engine:
            for epoch, order in enumerate(orders, 1):
                rates_of_steps = rates(epoch)  # changes the groups' rates, which the engine takes over then
                engine.refresh()
                results.append(engine.epoch(data, order, sizes, rates=rates_of_steps))
                after(model, *results[-1])
    state = {name: np.copy(array) for name, array in model.state_dict().items()}
    for i, values in rule.state.items():
        state |= {f"{i}.{name}": np.copy(value) for name, value in values.items()}
    counters = [module.counters() for module in model.modules() if isinstance(module, fm.nn.Layer)]
    return state | {"counters": np.array(counters, object), "results": np.array(results)}


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Names of arrays that differ in a bit; NaN is NaN."""

    def same(x: Any, y: Any) -> bool:
        floats = x.dtype.kind == "f"
        return x.shape == y.shape and x.dtype == y.dtype and np.array_equal(x, y, equal_nan=floats)

    return [name for name in a.keys() | b.keys() if not (name in a and name in b and same(a[name], b[name]))]


# --- comparing -------------------------------------------------------------------------------------------------------

# What a kernel may differ from its twin by, relative to the largest number of the array: some ten roundings of 1e-16
# (6e-8 in float32), and where terms cancel, as in a batch norm's dx, some ten times that.
TOLERANCE = {np.dtype(np.float64): 1e-13, np.dtype(np.float32): 2e-5}


def agree(what: str, ours: Any, expected: Any, tolerance: float | None = None) -> None:
    """Fail where arrays differ in shape, in where they have NaN, or by more than the tolerance."""
    ours, expected = np.asarray(ours), np.asarray(expected, np.float64)
    assert ours.shape == expected.shape, f"{what} is {ours.shape}, its twin {expected.shape}"
    nan = np.isnan(expected)
    assert np.array_equal(np.isnan(ours), nan), f"{what} has NaN elsewhere than its twin"
    if nan.all():
        return
    tolerance = TOLERANCE[ours.dtype] if tolerance is None else tolerance
    error = np.abs(ours[~nan] - expected[~nan]).max()
    allowed = tolerance * max(np.abs(expected[~nan]).max(), 0.1)  # 0.1: what is 0 is left over from terms of that size
    assert error <= allowed, f"{what} differs from its twin by {error:.2e}; it may by {allowed:.2e}"
