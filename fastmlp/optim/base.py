"""`Optimizer`: parameter groups, options, state, and the step that every rule makes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from .. import check, kernels
from ..check import shown
from ..graph import FLOATS, Array, Parameter, Tensor
from ..kernels import flushed, forms, trial
from .checks import check_declaration, check_form, check_groups, checked_state, owes

Group = dict[str, Any]
Kernel = Callable[..., Any]


def as_pair(betas: Any) -> Any:
    """A list or an array as a tuple; anything else as it is, for `_check` to refuse."""
    return tuple(betas) if isinstance(betas, list) or (isinstance(betas, np.ndarray) and betas.ndim) else betas


class Optimizer:
    """Base of the optimizers: parameter groups, state, zero_grad.

    params  an iterable of Parameters, or of dicts {"params": [...], "lr": ...}: groups with options of their own
    `param_groups` is the list of groups; an option may be changed between steps. `state[i]` holds the arrays of
    parameter number i, counted through the groups in order. `epochs` is the number of whole epochs that `fit` has made
    with it: the next call goes on from there.

    A rule is a subclass that declares itself, for the graph and the engine alike:

    scale, update  its pair of kernels; see `kernels.updates`
    arrays         names in the state of what the kernels call m, v, u, as many as it keeps
    only_with      array -> the option without which it is not kept; where that is 0 or False, `update` leaves the array
                   alone, which may be there for another group
    starts         array -> the option whose value it begins with, in place of 0
    numbers        names in the state of numbers that `scale` carries from step to step -> what they start at
    counts_steps   whether the state holds the number of steps, as "step"
    switches       options that are True or False; a state that lacks one is of before there was it, and has it off
    owed, lift     kernels that make up for steps without a gradient, of a rule of this package; see `kernels.owed`
    `defaults` holds the options in the order in which the kernels take them, lr first; a pair counts as two numbers.
    A rule that is not of this package is tried before its first step: see `kernels.trial`.

    Errors: TypeError for what is no Parameter, ValueError for none at all, for one that is given twice, and for an
    option out of range.
    """

    scale: ClassVar[Kernel]
    update: ClassVar[Kernel]
    arrays: ClassVar[tuple[str, ...]] = ()
    only_with: ClassVar[Mapping[str, str]] = {}
    starts: ClassVar[Mapping[str, str]] = {}
    numbers: ClassVar[Mapping[str, float]] = {}
    counts_steps: ClassVar[bool] = True
    switches: ClassVar[tuple[str, ...]] = ()
    owed: ClassVar[Kernel | None] = None
    lift: ClassVar[Kernel | None] = None

    def __init__(self, params: Iterable[Any], defaults: Group) -> None:
        if isinstance(params, Tensor) or not check.listed(params):
            what = (
                f"params is {shown(params)}"
                if isinstance(params, str | int | float)
                else f"params is one {type(params).__name__}"
            )
            raise TypeError(f"{self._name}: {what}; it must be an iterable of Parameters, as model.parameters() gives")
        kind = type(self)
        steps = kind is not Optimizer and kind.step is Optimizer.step and kind._update is Optimizer._update
        check_declaration(kind, defaults, has_kernels=steps)
        self.defaults = defaults
        self.param_groups: list[Group] = []
        self.state: dict[int, dict[str, Any]] = {}
        self.epochs = 0
        self._scales: dict[tuple[float, ...], tuple[Array, Array]] = {}  # of one call of `step`
        self._fresh: dict[int, dict[str, Array]] = {}  # of one call too: arrays for the states that lack them
        self.moves_momentum = False  # whether the schedule of `fit` does
        self.moves_decay = False  # whether `fit` has another weight decay for some step
        self.averaged: dict[str, Any] = {}  # of `fit(average=...)`: the raw weights, and how often the average went on
        self.schedule_rates: list[list[float]] = []  # of each group: where a schedule began, and the rate it left
        entries = list(params)
        if not entries:
            raise ValueError(f"{self._name}: params is empty; it must hold at least one Parameter")
        for group in entries if isinstance(entries[0], Mapping) else [{"params": entries}]:
            self.add_param_group(group)

    @property
    def _name(self) -> str:
        return type(self).__name__

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """One more group; options that it does not name take the optimizer's defaults."""
        if not isinstance(group, Mapping) or "params" not in group:
            raise TypeError(f'{self._name}: a parameter group must be a dict with "params"')
        params = [group["params"]] if isinstance(group["params"], Tensor) else group["params"]
        if not check.listed(params):
            raise TypeError(f'{self._name}: "params" of a group is {shown(params)}; it must be Parameters')
        params = list(params)
        if unknown := sorted(group.keys() - self.defaults.keys() - {"params"}):
            raise ValueError(f"{self._name}: a group has {', '.join(unknown)}; it knows {', '.join(self.defaults)}")
        known = {id(p) for p in self.parameters()}
        for parameter in params:
            if not isinstance(parameter, Tensor) or not parameter.is_leaf or parameter.dtype not in FLOATS:
                kind = type(parameter)
                other = f"{kind.__module__}." * (kind.__name__ == "Parameter" and not isinstance(parameter, Parameter))
                raise TypeError(f"{self._name}: params holds {other}{kind.__name__}; each must be a Parameter")
            if id(parameter) in known:
                raise ValueError(f"{self._name}: one parameter was given twice; a step would change it twice")
            known.add(id(parameter))
        filled = {**self.defaults, **group, "params": params}
        for name in self.defaults:
            parts = filled[name] if isinstance(filled[name], tuple | list) else [filled[name]]
            if not all(hasattr(part, "__float__") for part in parts):
                raise TypeError(
                    f"{self._name}: {name} is {shown(filled[name])}; it must be a number, or a pair of numbers"
                )
        self._check(filled)
        self.param_groups.append(filled)

    def _check(self, group: Group) -> None:
        """Refuse options out of range."""
        for name in ("lr", *(["weight_decay"] if "weight_decay" in group else [])):
            check.number(f"{self._name}: {name}", group[name], 0)
        narrow = any(parameter.dtype == np.float32 for parameter in group["params"])
        for name in self.defaults:  # as the kernels take them
            for value in group[name] if isinstance(group[name], tuple | list) else [group[name]]:
                check.held(f"{self._name}: {name}", value, np.float32 if narrow else np.float64)
        for name in self.switches:
            if not isinstance(group[name], bool | int | np.bool_):
                raise TypeError(f"{self._name}: {name} is {shown(group[name])}; it must be True or False")
        betas = group.get("betas", (0.0, 0.0))
        pair = isinstance(betas, tuple | list) and len(betas) == 2
        if not (pair and all(check.is_number(beta) and 0 <= beta < 1 for beta in betas)):
            raise ValueError(f"{self._name}: betas is {shown(betas)}; it must be two numbers in [0, 1)")

    def check(self) -> None:
        """Refuse options and state that the kernels cannot trust, in one sentence: before each epoch."""
        check_groups(self._name, self.param_groups, self.state)
        for group in self.param_groups:
            if missing := sorted({*self.defaults, *self.switches} - group.keys()):
                raise ValueError(f"{self._name}: a group has no {', '.join(missing)}")
            self._check(group)
        if not self.runs_on_engine():  # a rule of somebody's own, whose `step` knows its state
            return
        params = self.parameters()
        for key, values in self.state.items():
            for name, value in checked_state(self, key, values, params).items():
                if value is not values[name]:
                    was = values[name].dtype if isinstance(values[name], np.ndarray) else type(values[name]).__name__
                    raise ValueError(
                        f"{self._name}: {name} of parameter {key} is {was}; it must be {params[key].dtype}, as the "
                        "parameter is, and contiguous"
                    )

    def parameters(self) -> list[Parameter]:
        """All parameters, numbered as in `state`."""
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set `.grad` of every parameter to None, or to zeros with set_to_none=False. `step` does not do it."""
        for parameter in self.parameters():
            if set_to_none or parameter.grad is None:
                parameter.zero_grad()
            else:
                parameter.grad[...] = 0

    @flushed
    def step(self) -> None:
        """Change every parameter that has a `.grad`, in its own array; `.grad` stays as it is.

        Errors: ValueError where gradient, state and parameter do not fit, or an array is not contiguous; MemoryError.
        Then no parameter of this call is changed.
        """
        index, work = 0, []
        for group in self.param_groups:
            if self.is_lazy(group):
                raise ValueError(
                    f"{self._name}: lazy is True, and a gradient does not say which inputs the batch had; it must be "
                    "False where fit does not train on sparse rows"
                )
            self.try_out(group)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    work.append((index, group, *self._flat(index, parameter)))
                index += 1
        self._scales, self._fresh = {}, {}
        states = [self.state.get(index, {}) for index, *_ in work]
        if self.runs_on_engine():  # what takes memory comes before the first change
            for state, (_, group, p, _) in zip(states, work, strict=True):
                self._fresh[id(state)] = self.missing(state, group, p)
                carried = (float(state.get(name, start)) for name, start in self.numbers.items())
                self._scaled(group, self.steps_made(state) + 1, tuple(carried))
        for state, (index, group, p, g) in zip(states, work, strict=True):
            self.state[index] = state
            self._update(state, group, p, g)
        self._scales, self._fresh = {}, {}

    def _flat(self, index: int, parameter: Parameter) -> tuple[Array, Array]:
        p, g = parameter.data, parameter.grad
        assert g is not None
        if g.shape != p.shape or g.dtype != p.dtype:
            raise ValueError(f"{self._name}: parameter {index} is {p.shape} {p.dtype}, its grad {g.shape} {g.dtype}")
        if not p.flags.carray:
            raise ValueError(f"{self._name}: the array of parameter {index} must be contiguous and writable")
        for name, value in self.state.get(index, {}).items():
            if isinstance(value, np.ndarray) and (value.shape != p.shape or value.dtype != p.dtype):
                raise ValueError(
                    f"{self._name}: parameter {index} is {p.shape} {p.dtype}, its {name} {value.shape} {value.dtype}"
                )
            if name in self.arrays and not (isinstance(value, np.ndarray) and value.flags.carray):
                given = "an array" if isinstance(value, np.ndarray) else shown(value)
                raise ValueError(
                    f"{self._name}: {name} of parameter {index} is {given}; it must be a contiguous, writable array"
                )
            if name == "step" or name in self.numbers:
                check.number(f"{self._name}: {name} of parameter {index}", value)
        return p, np.require(g, None, ["C", "A"])

    def runs_on_engine(self) -> bool:
        """Whether its kernels say what its `step` does: not where a subclass has another step, or a hook."""
        own = {"step": Optimizer.step, "_update": Optimizer._update}
        replaced = any(name in self.__dict__ or getattr(type(self), name) is not own[name] for name in own)
        return not replaced and hasattr(type(self), "update")

    def option_numbers(self, group: Group) -> list[float]:
        """The options of a group as the kernels take them."""
        found: list[float] = []
        for name in self.defaults:
            value = group[name]
            try:
                found += [float(part) for part in value] if isinstance(value, tuple | list) else [float(value)]
            except (TypeError, ValueError):  # set by hand since it was checked
                raise ValueError(f"{self._name}: {name} of a group is {shown(value)}; it must be a number") from None
        return found

    def why_swept(self, group: Group) -> str:
        """Why each step must change all weights of a group, in words; "" where `owed` can make up for steps later."""
        if not self.runs_on_engine() or not owes(type(self)):
            return f"{self._name} cannot make up for steps"
        moves = "the schedule moves the momentum" * self.moves_momentum or "the decay moves" * self.moves_decay
        return moves or self._swept_for(group)

    def _swept_for(self, group: Group) -> str:
        """As `why_swept`: what the options of a rule with `owed` have to do with it."""
        return ""

    def is_lazy(self, group: Group) -> bool:
        """Whether, in the first layer, only the weights of inputs that a batch has make its step: see `Adam`."""
        return False

    def momentum_place(self) -> int | None:
        """Where `option_numbers` has the momentum that a schedule may move: β₁ of betas, or momentum; None without."""
        return self.place_of("betas" if "betas" in self.defaults else "momentum")

    def place_of(self, option: str) -> int | None:
        """Where `option_numbers` has an option; None without."""
        names = [n for n, value in self.defaults.items() for _ in (value if isinstance(value, tuple | list) else (0,))]
        return names.index(option) if option in names else None

    def set_momentum(self, group: Group, momentum: float) -> None:
        """Give a group another momentum, as a schedule has it."""
        if "betas" in self.defaults:
            group["betas"] = (momentum, *group["betas"][1:])
        else:
            group["momentum"] = momentum

    def set_rates(self, rates: Array) -> None:
        """Give the groups the rates of a step: (groups,), (groups, 2) with momenta, NaN for none, 3 with decays too."""
        for group, given in zip(self.param_groups, rates.reshape(len(rates), -1), strict=True):
            group["lr"] = float(given[0])
            if len(given) > 1 and given[1] == given[1]:
                self.set_momentum(group, float(given[1]))
            if len(given) > 2 and "weight_decay" in self.defaults:
                group["weight_decay"] = float(given[2])

    def try_out(self, group: Group) -> None:
        """Before its kernels are trusted with these options: TypeError where they reach beyond their arguments."""
        if trial.of_package(type(self)) or not self.runs_on_engine() or not group["params"]:
            return
        option, kept = np.array(self.option_numbers(group)), self.arrays_of(group)
        dtypes = {parameter.dtype for parameter in group["params"]}
        trial.once(type(self), (tuple(option[1:]), kept, *map(str, dtypes)), lambda: self._try(option, kept, dtypes))

    def _try(self, option: Array, kept: tuple[str, ...], dtypes: set[Any]) -> None:
        kind, size = type(self), 5
        m, v, u = ([np.zeros(size if name in kept else 0) for name in self.arrays] + [np.zeros(0)] * 3)[:3]
        carried = [float(start) for start in self.numbers.values()]
        for t in (1, 2):  # a first step may be another
            scale, p, g = np.zeros(kernels.SCALES), trial.drawn(size), trial.drawn(size)
            scale[: len(carried)] = carried
            given: dict[str, Any] = {"option": option.copy(), "lr": float(option[0]), "t": t, "scale": scale}
            trial.run(self._name, kind.scale, "scale", given, {"scale": np.s_[:]})
            carried = list(scale[: len(carried)])
            given = {"p": p, "g": g, "m": m, "v": v, "u": u, "option": option.copy(), "scale": scale}
            trial.run(self._name, kind.update, "rule", given, dict.fromkeys("pmvu", np.s_[:]))
        for dtype in dtypes:
            forms.address(kind.scale, "scale", dtype), forms.address(kind.update, "rule", dtype)

    def arrays_of(self, group: Group) -> tuple[str, ...]:
        """Names of the arrays that the rule keeps with these options, and with a momentum where a schedule moves it."""
        needs = ((name, self.only_with.get(name)) for name in self.arrays)
        moved = "momentum" if self.moves_momentum else None
        return tuple(name for name, need in needs if need is None or need == moved or group.get(need))

    def steps_made(self, state: Mapping[str, Any]) -> int:
        """How many steps a parameter with this state has made, as far as the rule needs to know."""
        return int(state.get("step", 0))

    def missing(self, state: Mapping[str, Any], group: Group, p: Array) -> dict[str, Array]:
        """The arrays that the state of a parameter lacks, as they are before its first step."""
        return {name: self.start_of(name, group, p) for name in self.arrays_of(group) if name not in state}

    def prepare(
        self, state: dict[str, Any], group: Group, p: Array, steps: int, fresh: dict[str, Array] | None = None
    ) -> None:
        """Let the state be that of a parameter that has made so many steps; what it lacks starts as it does.

        fresh: what `missing` has made for it, where it was asked before.
        """
        if self.counts_steps:
            state["step"] = steps
        for name, start in self.numbers.items():
            state.setdefault(name, float(start))
        state.update(self.missing(state, group, p) if fresh is None else fresh)

    def start_of(self, name: str, group: Group, p: Array) -> Array:
        """An array of the state as it is before the first step of a parameter."""
        return np.full_like(p, group[self.starts[name]] if name in self.starts else 0)

    def _update(self, state: dict[str, Any], group: Group, p: Array, g: Array) -> None:
        """One parameter's step: p and the state change in place."""
        t = self.steps_made(state) + 1
        self.prepare(state, group, p, t, self._fresh.pop(id(state), None))
        option, scale = self._scaled(group, t, tuple(float(state[name]) for name in self.numbers))
        state.update(zip(self.numbers, map(float, scale), strict=False))
        flat = p.reshape(-1)
        kept = self.arrays_of(group)
        arrays = [state[name].reshape(-1) if name in kept else flat[:0] for name in self.arrays]
        m, v, u = (arrays + [flat[:0]] * 3)[:3]
        type(self).update(flat, g.reshape(-1), m, v, u, option, scale)

    def _scaled(self, group: Group, t: int, carried: tuple[float, ...]) -> tuple[Array, Array]:
        """(options, what `scale` makes of them) of step t: once for all parameters of a group that are as far."""
        key = id(group), t, *carried
        if key not in self._scales:
            option, scale = np.array(self.option_numbers(group)), np.zeros(kernels.SCALES)
            scale[: len(carried)] = carried
            type(self).scale(option, float(group["lr"]), t, scale)
            self._scales[key] = option, scale
        return self._scales[key]

    def state_dict(self) -> dict[str, Any]:
        """{"state": {number: arrays and step}, "param_groups": options with numbers for params, "epochs": ...}

        Arrays are copies. "schedule_rates" is what a schedule needs to go on; "averaged", where weights were averaged,
        what an average does.
        """
        numbers = iter(range(len(self.parameters())))
        groups = [{**group, "params": [next(numbers) for _ in group["params"]]} for group in self.param_groups]
        state = {i: {name: np.copy(v) if isinstance(v, np.ndarray) else v for name, v in values.items()}
                 for i, values in self.state.items()}  # fmt: skip
        rates = [list(pair) for pair in self.schedule_rates]
        averaged = {"averaged": copy.deepcopy(self.averaged)} if self.averaged else {}
        return {"state": state, "param_groups": groups, "epochs": self.epochs, "schedule_rates": rates, **averaged}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over options and state. Error: ValueError where groups or shapes do not fit; then nothing is changed."""
        check_form(self._name, state_dict)
        groups = state_dict["param_groups"]
        sizes, own = [len(group["params"]) for group in groups], [len(group["params"]) for group in self.param_groups]
        if sizes != own:
            raise ValueError(f"{self._name}: the state has groups of {sizes} parameters, the optimizer of {own}")
        off = dict.fromkeys(self.switches, False)
        filled = [{**off, **new, "params": old["params"]} for new, old in zip(groups, self.param_groups, strict=True)]
        for group in filled:
            if group.keys() != self.defaults.keys() | {"params"}:
                raise ValueError(f"{self._name}: the state is not one of {self._name}: its options are {list(group)}")
            self._check(group)
        params = self.parameters()
        state: dict[int, dict[str, Any]] = {}
        for key, values in state_dict["state"].items():
            kept = checked_state(self, int(key), values, params)
            state[int(key)] = {name: np.copy(v) if isinstance(v, np.ndarray) else v for name, v in kept.items()}
        epochs = state_dict.get("epochs", 0)
        check.whole(f"{self._name}: epochs of the state", epochs, 0)
        averaged = copy.deepcopy(dict(state_dict.get("averaged", {})))
        if averaged and averaged.keys() != {"kind", "count", "raw", "shown"}:
            raise ValueError(f"{self._name}: averaged of the state is of another form; it must be what fit left there")
        self.param_groups, self.state, self.epochs, self.averaged = filled, state, int(epochs), averaged
        self.schedule_rates = [[float(rate) for rate in pair] for pair in state_dict.get("schedule_rates", [])]

    def __repr__(self) -> str:
        return f"{self._name}({', '.join(f'{name}={value}' for name, value in self.defaults.items())})"
