"""Whether a declaration is whole: what is missing or misspelt is said in one sentence, before anything runs.

What a class states is checked when the class is made, what it lacks when it is first used. A class that is not of this
package is tried too, once: its kernels run in plain Python on small arrays (`kernels.trial`), and are compiled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..check import shown
from ..graph import Array
from ..kernels import forms, trial

ROWS, COLUMNS, WIDTH = 4, 3, 8  # of a trial's arrays: some columns are padding
BOTH = "(forward, backward), two functions under fastmlp.kernels.kernel"


def names(kind: type, what: str) -> None:
    """An attribute that is a tuple of names: a string, of a comma forgotten, is none."""
    value = getattr(kind, what)
    if not isinstance(value, tuple | list) or not all(isinstance(name, str) and name.isidentifier() for name in value):
        raise TypeError(f'{kind.__name__}: {what} is {shown(value)}; it must be a tuple of names, such as ("slope",)')


def numbers(thing: Any) -> list[float]:
    """The attributes that `numbers` names; TypeError where one is not there or is no number."""
    found = []
    for name in thing.numbers:
        value = getattr(thing, name, None)
        if not isinstance(value, int | float | np.integer | np.floating):
            there = f"is {shown(value)}" if hasattr(thing, name) else "is missing"
            raise TypeError(f"{type(thing).__name__}: {name} {there}; numbers names it, so it must be a number")
        found.append(value if isinstance(value, int) else float(value))
    return found


def pair(kind: type, form: str) -> None:
    """`pair` of a node: two kernels, each with the arguments of its form."""
    given = getattr(kind, "pair", None)
    if given is None:
        raise TypeError(f"{kind.__name__}: pair is missing; it must be {BOTH}")
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise TypeError(f"{kind.__name__}: pair is {_shown(given)}; it must be {BOTH}")
    forms.check(given[0], f"{form}_forward", kind.__name__)
    forms.check(given[1], f"{form}_backward", kind.__name__)


def keeps(kind: type, may: tuple[str, ...], count: int | None = None) -> None:
    """`keeps` of a node: name -> reason, of names that it may have."""
    given, words = kind.__dict__.get("keeps", getattr(kind, "keeps", None)), " or ".join(f'"{name}"' for name in may)
    right = isinstance(given, Mapping) and not given.keys() - set(may) and len(given) == (count or len(given))
    if not right or not all(isinstance(why, str) for why in given.values()):
        state = f"is {shown(given)}" if given else "is missing"
        what = f"one name, {words}," if count else f"names among {words}"
        raise TypeError(f"{kind.__name__}: keeps {state}; it must hold {what} with the reason, as a dict")


def kernels(kind: Any, needed: tuple[str, ...], may: tuple[str, ...] = ()) -> None:
    """`kernels` of a layer or a loss: what they do -> a kernel."""
    given = kind.kernels
    if not isinstance(given, Mapping) or not set(needed) <= given.keys() <= {*needed, *may}:
        have = ", ".join(given) if isinstance(given, Mapping) and given else _shown(given)
        words = f"{', '.join(needed)}" + f", and may have {', '.join(may)}" * bool(may)
        raise TypeError(f"{kind.__name__}: kernels has {have}; it must have {words}")


def elementwise(node: Any, options: Array, dtype: DTypeLike) -> None:
    """The trial of a pair that works number by number."""
    form = "elementwise"
    pair(node, form)
    keeps(node, ("x", "y"), 1)
    forward, backward = node.pair
    for lo, hi in ((0, WIDTH), (2, WIDTH - 2)):
        x, y, dx = trial.drawn(ROWS, WIDTH), np.zeros((ROWS, WIDTH)), np.zeros((ROWS, WIDTH))
        rest, mine = {"numbers": options.copy(), "lo": lo, "hi": hi}, np.s_[:, lo:hi]
        trial.run(node.__name__, forward, "elementwise_forward", {"x": x, "y": y} | rest, {"y": mine})
        given = {"dy": trial.drawn(ROWS, WIDTH), "kept": x if "x" in node.keeps else y, "dx": dx}
        trial.run(node.__name__, backward, "elementwise_backward", given | rest, {"dx": mine})
    for kernel, what in ((forward, "forward"), (backward, "backward")):
        forms.address(kernel, f"{form}_{what}", dtype)


def layer(thing: Any) -> None:
    """The trial of a layer whose kernels take counters, or whole rows or columns and a state."""
    name, N, options, fresh = type(thing).__name__, ROWS, np.array(numbers(thing), np.float64), np.zeros((ROWS, WIDTH))
    lo, hi = (1, N - 1) if thing.by_rows else (2, WIDTH - 2)
    rows, state = len(thing.weights), trial.drawn(len(thing.state), WIDTH) ** 2
    for what, kernel in thing.kernels.items():
        x, dy, numbers_ = trial.drawn(N, WIDTH), trial.drawn(N, WIDTH), options.copy()
        counters = {"seed": 1, "step": 0, "layer": 0} if thing.form == "random" else {"columns": COLUMNS}
        rest = {"numbers": numbers_, **counters, "lo": lo, "hi": hi}
        mine = np.s_[lo:hi] if thing.by_rows else np.s_[:, lo:hi]
        if kernel is None:
            continue
        if thing.form == "random":
            trial.run(name, kernel, "random", {"x": x, "y": fresh.copy()} | rest, {"y": mine})
        elif what.endswith("backward"):
            given = {"dy": dy, "x": x, "dx": fresh.copy(), "weights": trial.drawn(rows, WIDTH)}
            given |= {"dweights": np.zeros((rows, WIDTH)), "state": state}
            fills = {"dx": mine, "dweights": np.s_[:], "state": np.s_[:]}
            trial.run(name, kernel, "norm_backward", given | rest, fills)
        elif what == "weights":
            given = {"dy": dy, "x": x, "dweights": np.zeros((rows, WIDTH)), "state": state}
            trial.run(name, kernel, "norm_weights", given | rest | {"lo": 0, "hi": WIDTH}, {"dweights": np.s_[:]})
        else:
            given = {"x": x, "y": fresh.copy(), "weights": trial.drawn(rows, WIDTH), "state": state}
            trial.run(name, kernel, "norm_forward", given | rest, {"y": mine, "state": np.s_[:]})


def _targets(kind: str) -> Array:
    """Targets of a kind, (ROWS, T) float64."""
    if kind == "classes":
        return np.array([[0.0], [1.0], [2.0], [0.0]])
    drawn = trial.drawn(ROWS, COLUMNS)
    positive = {"labels": (drawn > 0).astype(np.float64), "probabilities": np.abs(drawn)}
    positive["probabilities"] /= positive["probabilities"].sum(axis=1, keepdims=True)
    return positive.get(kind, drawn)


def rows(owner: str, forward: Any, backward: Any, kind: str, kept_rows: int, options: Array) -> None:
    """The trial of a loss: it fills rows [lo, hi), its outputs have columns beside those that count."""
    N, C, lo, hi = ROWS, COLUMNS, 1, 3
    z, r, kept = trial.drawn(N, WIDTH), np.full(N, 1 / N), np.zeros((kept_rows * N, WIDTH))
    given = {"z": z, "targets": _targets(kind), "r": r, "kept": kept}
    rest = {"numbers": options.copy(), "columns": C, "lo": lo, "hi": hi}
    terms, dz = {"terms": np.zeros((3, N))}, {"dz": np.zeros((N, WIDTH))}
    trial.run(owner, forward, "loss_forward", given | terms | rest, {"terms": np.s_[0, lo:hi], "kept": np.s_[:]})
    trial.run(owner, backward, "loss_backward", given | dz | rest, {"dz": np.s_[lo:hi, :C], "kept": np.s_[:]})


def score(owner: str, given: Any, kind: str) -> None:
    """The trial of a score."""
    N, C, lo, hi = ROWS, COLUMNS, 1, 3
    targets = _targets(kind)
    known = given.known(targets)
    if not isinstance(known, np.ndarray) or known.ndim != 1 or known.dtype != np.float64:
        what = f"{known.shape} {known.dtype}" if isinstance(known, np.ndarray) else type(known).__name__
        raise TypeError(f"{owner}: the score's numbers(targets) gives {what}; it must give an array (n,) of float64")
    values = {"z": trial.drawn(N, WIDTH), "targets": targets, "terms": np.zeros((3, N)), "numbers": known}
    rest = {"columns": C, "lo": lo, "hi": hi}
    mine = np.s_[1:3, lo:hi] if given.ratio else np.s_[1, lo:hi]
    trial.run(f"{owner}: score", given.kernel, "score", values | rest, {"terms": mine})


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_shown, value))}{',' * (len(value) == 1)})"
    return str(getattr(value, "__name__", repr(value)))
