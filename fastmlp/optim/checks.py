"""What a rule's class declares, and the form of a state that is loaded: checked in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import check, kernels
from ..check import shown
from ..graph import Parameter, Tensor
from ..kernels import forms, trial


def check_declaration(kind: Any, defaults: Mapping[str, Any], has_kernels: bool) -> None:
    """Refuse a rule that lacks something, or states what it cannot be. has_kernels: its step is that of its kernels."""
    rule = kind.__name__
    if has_kernels:
        for what, form in (("scale", "scale"), ("update", "rule")):
            if not hasattr(kind, what):
                must = "a function under fastmlp.kernels.kernel, as staticmethod(...)"
                raise TypeError(f"{rule}: {what} is missing; it must be {must}")
            forms.check(getattr(kind, what), form, rule)
    arrays = kind.arrays
    if not isinstance(arrays, tuple | list) or not all(isinstance(a, str) for a in arrays) or len(arrays) > 3:
        raise TypeError(
            f'{rule}: arrays is {shown(arrays)}; it must be a tuple of up to three names, such as ("momentum_buffer",)'
        )
    names = [*arrays, *kind.numbers, "step"]
    if len(set(names)) < len(names):
        given = f"arrays is {shown(arrays)}" + f" and numbers {list(kind.numbers)}" * bool(kind.numbers)
        raise TypeError(f'{rule}: {given}; the names must differ, and none may be "step"')
    if len(kind.numbers) > kernels.SCALES:
        raise TypeError(f"{rule}: numbers has {len(kind.numbers)} names; scale has room for {kernels.SCALES}")
    for what in ("only_with", "starts"):
        for name, option in getattr(kind, what).items():
            if name not in arrays or option not in defaults:
                raise TypeError(f"{rule}: {what} has {name}: {option}; it must be an array and an option of it")
    if next(iter(defaults), None) != "lr":
        first = f"begin with {next(iter(defaults))}" if defaults else "are empty"
        raise ValueError(f"{rule}: the options {first}; lr must be the first, the kernels take it as option[0]")


def owes(kind: Any) -> bool:
    """Whether the rule's `owed` is of this package and of its own `scale` and `update`: no class between has others."""
    place = {
        what: next(i for i, c in enumerate(kind.__mro__) if what in vars(c)) for what in ("owed", "scale", "update")
    }
    first = place["owed"]
    return kind.owed is not None and trial.of_package(kind.__mro__[first]) and first == min(place.values())


def check_groups(rule: str, groups: Any, state: Any) -> None:
    """Refuse groups and a state that hold something else than they did: who has an optimizer may set both."""
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise TypeError(f"{rule}: param_groups is {shown(groups)}; it must be a list of dicts, a group each")
    params = [p for group in groups for p in (group["params"] if isinstance(group.get("params"), list) else [None])]
    if other := [p for p in params if not isinstance(p, Tensor)]:
        raise TypeError(f'{rule}: "params" of a group holds {shown(other[0])}; each must be a Parameter, in a list')
    if len({id(p) for p in params}) < len(params):
        raise ValueError(f"{rule}: one parameter is in the groups twice; a step would change it twice")
    numbered = isinstance(state, dict) and all(isinstance(key, int) and key >= 0 for key in state)
    if not numbered or not all(isinstance(values, dict) for values in state.values()):
        raise TypeError(f"{rule}: state is {shown(state)}; it must be a dict of dicts, by the number of the parameter")


def check_form(rule: str, state_dict: Any) -> None:
    """Refuse what is not of the form that `state_dict` gives: dicts by number, a list of groups."""
    given: Mapping[str, Any] = state_dict if isinstance(state_dict, Mapping) else {}
    state: Any = given.get("state")
    groups: Any = given.get("param_groups")
    right = isinstance(state, Mapping) and isinstance(groups, list | tuple)
    right = right and all(isinstance(group, Mapping) and "params" in group for group in groups)
    right = right and all(str(key).isdecimal() and isinstance(one, Mapping) for key, one in state.items())
    if not right:
        raise ValueError(
            f"{rule}: state_dict is {type(state_dict).__name__} of another form; it must be what "
            'state_dict() gives, {"state": {0: {...}}, "param_groups": [...]}'
        )


def checked_state(optimizer: Any, i: int, values: Mapping[str, Any], params: list[Parameter]) -> dict[str, Any]:
    """The state of parameter i as the rule keeps it; arrays of another type or layout are converted.

    What `only_with` names may be there without its option, which was on before, and lack where it was just set.
    """
    rule = type(optimizer).__name__
    allowed = {*optimizer.arrays, *optimizer.numbers, *(["step"] if optimizer.counts_steps else [])}
    needed = allowed - optimizer.only_with.keys()
    if values and not needed <= values.keys() <= allowed:
        names = " and ".join(
            f"{must} hold {', '.join(sorted(some))}"
            for must, some in (("must", needed), ("may", allowed - needed))
            if some
        )
        raise ValueError(f"{rule}: the state of parameter {i} holds {list(values)}; it {names}")
    if not 0 <= i < len(params):
        raise ValueError(f"{rule}: the state has a parameter {i}; the optimizer has 0 .. {len(params) - 1}")
    kept = dict(values)
    for name, value in values.items():
        if name == "step":
            check.whole(f"{rule}: step of parameter {i}", value, 0)
            if value >= 2**53:
                raise ValueError(f"{rule}: step of parameter {i} is {value}; it must be below 2**53")
            continue
        if name in optimizer.numbers:
            check.number(f"{rule}: {name} of parameter {i}", value)
            continue
        given = np.asarray(value)
        if given.shape != params[i].shape or given.dtype.kind != "f":
            what = f"{given.shape} {given.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
            raise ValueError(
                f"{rule}: {name} of parameter {i} is {what} and does not fit; "
                f"it must be {params[i].shape} {params[i].dtype}"
            )
        if not (isinstance(value, np.ndarray) and value.dtype == params[i].dtype and value.flags.carray):
            kept[name] = np.array(value, params[i].dtype, order="C")
    return kept
