"""Optimizers: each keeps its own state and calls one update kernel a parameter. Names and defaults are PyTorch's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from . import kernels
from .graph import FLOATS, Array, Parameter, Tensor
from .graph.operation import flushed

Group = dict[str, Any]


class Optimizer:
    """Base of the optimizers: parameter groups, state, zero_grad.

    params  an iterable of Parameters, or of dicts {"params": [...], "lr": ...}: groups with options of their own
    `param_groups` is the list of groups; an option may be changed between steps. `state[i]` holds the arrays of
    parameter number i, counted through the groups in order.

    Errors: TypeError for what is no Parameter, ValueError for none at all, for one that is given twice, and for an
    option out of range.
    """

    _state_names: frozenset[str] = frozenset()

    def __init__(self, params: Iterable[Any], defaults: Group) -> None:
        if isinstance(params, Tensor | str):
            raise TypeError(
                f"{self._name}: params is one {type(params).__name__}; it must be an iterable of Parameters"
            )
        self.defaults = defaults
        self.param_groups: list[Group] = []
        self.state: dict[int, dict[str, Any]] = {}
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
        params = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        if unknown := sorted(group.keys() - self.defaults.keys() - {"params"}):
            raise ValueError(f"{self._name}: a group has {', '.join(unknown)}; it knows {', '.join(self.defaults)}")
        known = {id(p) for p in self._params()}
        for parameter in params:
            if not isinstance(parameter, Tensor) or not parameter.is_leaf or parameter.dtype not in FLOATS:
                raise TypeError(f"{self._name}: params holds {type(parameter).__name__}; each must be a Parameter")
            if id(parameter) in known:
                raise ValueError(f"{self._name}: one parameter was given twice; a step would change it twice")
            known.add(id(parameter))
        filled = {**self.defaults, **group, "params": params}
        self._check(filled)
        self.param_groups.append(filled)

    def _check(self, group: Group) -> None:
        """Refuse options out of range."""
        for name in ("lr", "weight_decay"):
            value = group[name]
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"{self._name}: {name} is {value}; it must be a finite number of at least 0")

    def _params(self) -> list[Parameter]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set `.grad` of every parameter to None, or to zeros with set_to_none=False. `step` does not do it."""
        for parameter in self._params():
            if set_to_none or parameter.grad is None:
                parameter.zero_grad()
            else:
                parameter.grad[...] = 0

    @flushed
    def step(self) -> None:
        """Change every parameter that has a `.grad`, in its own array; `.grad` stays as it is.

        Error: ValueError where a gradient or the state does not fit its parameter, or the parameter's array is not
        contiguous; then no parameter of this call is changed.
        """
        index, work = 0, []
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    work.append((index, group, *self._flat(index, parameter)))
                index += 1
        for index, group, p, g in work:
            self._update(self.state.setdefault(index, {}), group, p, g)

    def _flat(self, index: int, parameter: Parameter) -> tuple[Array, Array]:
        p, g = parameter.data, parameter.grad
        assert g is not None
        if g.shape != p.shape or g.dtype != p.dtype:
            raise ValueError(f"{self._name}: parameter {index} is {p.shape} {p.dtype}, its grad {g.shape} {g.dtype}")
        if not (p.flags.c_contiguous and p.flags.writeable):
            raise ValueError(f"{self._name}: the array of parameter {index} must be contiguous and writable")
        for name, array in self.state.get(index, {}).items():
            if isinstance(array, np.ndarray) and (array.shape != p.shape or array.dtype != p.dtype):
                raise ValueError(
                    f"{self._name}: parameter {index} is {p.shape} {p.dtype}, its {name} {array.shape} {array.dtype}"
                )
        return p, np.ascontiguousarray(g)

    def _update(self, state: dict[str, Any], group: Group, p: Array, g: Array) -> None:
        """One parameter's step: p and the state change in place."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """{"state": {number: arrays and step}, "param_groups": options with numbers for params}; arrays are copies."""
        numbers = iter(range(len(self._params())))
        groups = [{**group, "params": [next(numbers) for _ in group["params"]]} for group in self.param_groups]
        state = {i: {name: np.copy(v) if isinstance(v, np.ndarray) else v for name, v in values.items()}
                 for i, values in self.state.items()}  # fmt: skip
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over options and state. Error: ValueError where groups or shapes do not fit; then nothing is changed."""
        groups = state_dict["param_groups"]
        sizes, own = [len(group["params"]) for group in groups], [len(group["params"]) for group in self.param_groups]
        if sizes != own:
            raise ValueError(f"{self._name}: the state has groups of {sizes} parameters, the optimizer of {own}")
        filled = [{**new, "params": old["params"]} for new, old in zip(groups, self.param_groups, strict=True)]
        for group in filled:
            if group.keys() != self.defaults.keys() | {"params"}:
                raise ValueError(f"{self._name}: the state is not one of {self._name}: its options are {list(group)}")
            self._check(group)
        params = self._params()
        state: dict[int, dict[str, Any]] = {}
        for key, values in state_dict["state"].items():
            i, state[int(key)] = int(key), {}
            if values and values.keys() != self._state_names:
                names = ", ".join(sorted(self._state_names))
                raise ValueError(f"{self._name}: the state of parameter {i} holds {list(values)}; it must hold {names}")
            for name, value in values.items():
                if isinstance(value, np.ndarray) and (i >= len(params) or value.shape != params[i].shape):
                    raise ValueError(f"{self._name}: {name} of parameter {i} is {value.shape} and does not fit")
                kept = np.array(value, params[i].dtype, order="C") if isinstance(value, np.ndarray) else value
                state[i][name] = kept
        self.param_groups, self.state = filled, state

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in self.defaults.items())
        return f"{self._name}({options})"


class SGD(Optimizer):
    """g ← g + λp;  b ← μb + (1 - τ)g, b = g in the first step;  d = g + μb with nesterov, else b;  p ← p - lr d.

    lr learning rate (default 1e-3), μ momentum, τ dampening, λ weight_decay.
    Errors: ValueError for options out of range and for nesterov without momentum or with dampening.
    Source: PyTorch's documentation of torch.optim.SGD; Sutskever et al., ICML 2013.
    """

    _state_names = frozenset({"momentum_buffer"})

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        options = {"lr": lr, "momentum": momentum, "dampening": dampening}
        super().__init__(params, {**options, "weight_decay": weight_decay, "nesterov": nesterov})

    def _check(self, group: Group) -> None:
        super()._check(group)
        if not (np.isfinite(group["momentum"]) and group["momentum"] >= 0):
            raise ValueError(f"SGD: momentum is {group['momentum']}; it must be a finite number of at least 0")
        if group["nesterov"] and not (group["momentum"] > 0 and group["dampening"] == 0):
            raise ValueError("SGD: nesterov needs momentum above 0 and dampening 0")

    def _update(self, state: dict[str, Any], group: Group, p: Array, g: Array) -> None:
        first = bool(group["momentum"]) and "momentum_buffer" not in state
        if first:
            state["momentum_buffer"] = np.zeros_like(p)
        kernels.sgd_step(
            p.reshape(-1),
            g.reshape(-1),
            state["momentum_buffer"].reshape(-1) if group["momentum"] else g.reshape(-1),  # not touched without
            float(group["lr"]),
            float(group["momentum"]),
            float(group["dampening"]),
            float(group["weight_decay"]),
            bool(group["nesterov"]),
            first,
        )


class Adam(Optimizer):
    """g ← g + λp;  m ← β₁m + (1 - β₁)g;  v ← β₂v + (1 - β₂)g²;  p ← p - lr m̂ / (√v̂ + ε).

    m̂ = m / (1 - β₁ᵗ) and v̂ = v / (1 - β₂ᵗ) undo the start of m and v at zero. (β₁, β₂) betas, ε eps,
    λ weight_decay. The state holds t as "step", m as "exp_avg", v as "exp_avg_sq".
    Error: ValueError for options out of range. Source: Kingma and Ba, ICLR 2015, Algorithm 1.
    """

    _state_names = frozenset({"step", "exp_avg", "exp_avg_sq"})
    _kernel = staticmethod(kernels.adam_step)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay})

    def _check(self, group: Group) -> None:
        super()._check(group)
        betas = group["betas"]
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"{self._name}: betas is {betas}; it must be two numbers in [0, 1)")
        if not group["eps"] > 0:
            raise ValueError(f"{self._name}: eps is {group['eps']}; it must be above 0")

    def _update(self, state: dict[str, Any], group: Group, p: Array, g: Array) -> None:
        if not state:
            state.update(step=0, exp_avg=np.zeros_like(p), exp_avg_sq=np.zeros_like(p))
        state["step"] += 1
        self._kernel(
            p.reshape(-1),
            g.reshape(-1),
            state["exp_avg"].reshape(-1),
            state["exp_avg_sq"].reshape(-1),
            float(group["lr"]),
            float(group["betas"][0]),
            float(group["betas"][1]),
            float(group["eps"]),
            float(group["weight_decay"]),
            int(state["step"]),
        )


class AdamW(Adam):
    """p ← p (1 - lr λ), then Adam's step with the gradient as it is: the decay does not pass through m and v.

    Arguments and state as `Adam`; λ weight_decay is 0.01 by default.
    Source: Loshchilov and Hutter, ICLR 2019, Algorithm 2.
    """

    _kernel = staticmethod(kernels.adamw_step)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)
