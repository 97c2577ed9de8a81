"""The table of the declared schedules for `contract`: sets of options, twins, peers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import oracles

import fastmlp as fm

Options = Mapping[str, Any]


@dataclass(frozen=True)
class ScheduleEntry:
    """A declared schedule.

    options       as of a layer
    twin          (start, done, total, options) -> rate; of one that watches, (start, metrics, options) -> rates after
                  each metric
    peer          the name of the class
    momentum      (done, total, options) -> momentum, or None where these options leave it; False for a schedule of
                  rates alone
    peer_options  (options, total) -> the peer's
    """

    options: Mapping[str, Options] | None = None
    twin: Callable[..., Any] | None = None
    peer: str | None = None
    momentum: Callable[[int, int, Any], float | None] | bool = False
    peer_options: Callable[[Options, int], Options] = lambda options, total: options


def _cycle(first: float, peak: float, last: float, done: int, total: int, o: Any) -> float:
    steps = o.total_steps or (o.epochs or 0) * (o.steps_per_epoch or 0) or total
    return oracles.one_cycle(first, peak, last, done, steps, o.pct_start, o.anneal_strategy == "cos", o.three_phase)


def _cycle_rate(start: float, done: int, total: int, o: Any) -> float:
    low = o.max_lr / o.div_factor
    return _cycle(low, o.max_lr, low / o.final_div_factor, done, total, o)


def _cycle_momentum(done: int, total: int, o: Any) -> float | None:
    return _cycle(o.max_momentum, o.base_momentum, o.max_momentum, done, total, o) if o.cycle_momentum else None


PARTS: dict[fm.optim.Schedule, tuple[str, Options]] = {}  # what a part of a SequentialLR was made of


def _part(name: str, **options: Any) -> fm.optim.Schedule:
    made = fm.optim.SCHEDULES[name](**options)
    PARTS[made] = name, options
    return made


def _lengths(milestones: Sequence[int], total: int) -> list[int]:
    ends = [0, *milestones, max(total, *milestones, 0) if milestones else total]
    return [end - ends[k] for k, end in enumerate(ends[1:])]


def _in_turn(start: float, done: int, total: int, o: Any) -> float:
    own = done
    for part, length in zip(o.schedulers, _lengths(o.milestones, total), strict=True):
        if own < length or part is o.schedulers[-1]:
            name, options = PARTS[part]
            arguments = inspect.signature(fm.optim.SCHEDULES[name]).parameters.values()
            known = {p.name: p.default for p in arguments} | dict(options)
            return SCHEDULES[name].twin(start, own, length, SimpleNamespace(**known))
        own -= length
    raise AssertionError("a training has an end")


def _parts_for_the_peer(o: Options, total: int) -> Options:
    """(name, options) in place of each part."""
    parts = []
    for part, length in zip(o["schedulers"], _lengths(o["milestones"], total), strict=True):
        name, options = PARTS[part]
        parts.append((name, SCHEDULES[name].peer_options(options, length)))
    return {"schedulers": parts, "milestones": list(o["milestones"])}


SCHEDULES: dict[str, ScheduleEntry] = {
    "StepLR": ScheduleEntry(
        options={"plain": {"step_size": 3}, "each": {"step_size": 1, "gamma": 0.9}, "up": {"step_size": 7, "gamma": 2}},
        twin=lambda start, done, total, o: oracles.step_lr(start, done, o.step_size, o.gamma),
        peer="torch.optim.lr_scheduler.StepLR",
    ),
    "MultiStepLR": ScheduleEntry(
        options={
            "plain": {"milestones": [3, 7]},
            "slower": {"milestones": [1, 9, 20], "gamma": 0.5},
            "in any order": {"milestones": [6, 2, 6]},
            "from the first": {"milestones": [0]},
        },
        twin=lambda start, done, total, o: oracles.multi_step_lr(start, done, o.milestones, o.gamma),
        peer="torch.optim.lr_scheduler.MultiStepLR",
    ),
    "ExponentialLR": ScheduleEntry(
        options={"slow": {"gamma": 0.95}, "fast": {"gamma": 0.5}, "up": {"gamma": 1.1}},
        twin=lambda start, done, total, o: oracles.exponential_lr(start, done, o.gamma),
        peer="torch.optim.lr_scheduler.ExponentialLR",
    ),
    "LinearLR": ScheduleEntry(
        options={
            "plain": {},
            "down": {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 31},
            "all": {"start_factor": 0.5, "end_factor": 0.1, "total_iters": None},
        },
        twin=lambda start, done, total, o: oracles.linear_lr(
            start, done, o.start_factor, o.end_factor, o.total_iters or total
        ),
        peer="torch.optim.lr_scheduler.LinearLR",
        peer_options=lambda o, total: dict(o) | ({"total_iters": total} if o.get("total_iters", 5) is None else {}),
    ),
    "CosineAnnealingLR": ScheduleEntry(
        options={"plain": {}, "short": {"T_max": 17}, "floor": {"T_max": 40, "eta_min": 1e-4}},
        twin=lambda start, done, total, o: oracles.cosine_annealing(start, done, o.T_max or total, o.eta_min),
        peer="torch.optim.lr_scheduler.CosineAnnealingLR",
        peer_options=lambda options, total: {"T_max": total} | dict(options),
    ),
    "OneCycleLR": ScheduleEntry(
        options={
            "plain": {"max_lr": 0.4},
            "lines": {"max_lr": 0.05, "total_steps": 70, "anneal_strategy": "linear", "pct_start": 0.45},
            "three": {"max_lr": 0.3, "three_phase": True, "pct_start": 0.35, "div_factor": 10.0},
            "product": {"max_lr": 0.2, "epochs": 9, "steps_per_epoch": 8, "final_div_factor": 100.0},
            "slow": {"max_lr": 0.1, "base_momentum": 0.5, "max_momentum": 0.7},
            "rate alone": {"max_lr": 0.1, "cycle_momentum": False},
        },
        twin=_cycle_rate,
        momentum=_cycle_momentum,
        peer="torch.optim.lr_scheduler.OneCycleLR",
        peer_options=lambda o, total: dict(o) if "epochs" in o else {"total_steps": total} | dict(o),
    ),
    "SequentialLR": ScheduleEntry(
        options={
            "warm up": {"schedulers": [_part("LinearLR"), _part("CosineAnnealingLR", T_max=20)], "milestones": [5]},
            "left out": {
                "schedulers": [_part("LinearLR", total_iters=None), _part("CosineAnnealingLR")],
                "milestones": [7],
            },
            "three": {
                "schedulers": [
                    _part("ExponentialLR", gamma=0.8),
                    _part("MultiStepLR", milestones=[2, 5]),
                    _part("LinearLR", start_factor=1.0, end_factor=0.1, total_iters=9),
                ],
                "milestones": [4, 18],
            },
            "one": {"schedulers": [_part("StepLR", step_size=3)], "milestones": []},
        },
        twin=_in_turn,
        peer="torch.optim.lr_scheduler.SequentialLR",
        peer_options=_parts_for_the_peer,
    ),
    "ReduceLROnPlateau": ScheduleEntry(
        options={
            "plain": {"patience": 2},
            "patient": {"factor": 0.5, "threshold": 0.1},
            "up": {"mode": "max", "patience": 1, "factor": 0.3, "cooldown": 3},
            "absolute": {"threshold_mode": "abs", "threshold": 0.05, "patience": 0, "min_lr": 0.01},
            "up by so much": {"mode": "max", "threshold_mode": "abs", "threshold": 0.05, "patience": 3, "eps": 0.02},
        },
        twin=lambda start, metrics, o: oracles.reduce_on_plateau(start, metrics, **vars(o)),
        peer="torch.optim.lr_scheduler.ReduceLROnPlateau",
    ),
}

OF_DONE = {name: entry for name, entry in SCHEDULES.items() if not fm.optim.SCHEDULES[name].watches}
WATCHING = {name: entry for name, entry in SCHEDULES.items() if name not in OF_DONE}  # a metric


def with_optimizer(name: str, chosen: str, optimizer: Any, total: int, parts_too: bool = True) -> fm.optim.Schedule:
    """A schedule for a loop of `total` epochs or steps, which it is told where the options leave its length out.

    parts_too: whether the parts of a SequentialLR are made with the optimizer
    """
    entry = SCHEDULES[name]
    options = dict(entry.peer_options(dict(entry.options[chosen]), total))
    if "schedulers" in options:
        parts = [(fm.optim.SCHEDULES[part], given) for part, given in options["schedulers"]]
        options["schedulers"] = [kind(*[optimizer] * parts_too, **given) for kind, given in parts]
    return fm.optim.SCHEDULES[name](optimizer, **options)
