"""Studies: a question each, answered with measurements on MNIST and on nets small enough to be exact.

    study = studies.run("dropout")
    print(study.table, study.conclusions)

One module a study. In each, `measure(seed)` trains and counts: its floats are the numbers of the study, and the rest is
for the figures. `conclude(numbers)` says in words what the numbers show, whatever they are, `table(numbers)` and
`draw(measured)` show them, `TITLE` is the question. A seed gives the same numbers to the last bit on one machine;
`tolerance(name, value)` says how far another machine may be from them. `run` does all of it.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..check import whole
from ..files import for_json
from ..show import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = (
    "optimizers", "dropout", "batchnorm", "overfitting", "gradients", "known", "losses", "activations", "schedules",
    "norms",
)  # fmt: skip
SLOW = ("known",)  # pages quote its long form, half an hour on two cores; the others take seconds


@dataclass(frozen=True)
class Study:
    """What a study found.

    name         as in NAMES
    title        the question
    numbers      every number that a sentence, a table or a page quotes, by a flat name; may be infinite or NaN
    tolerances   for each of them, how far a rerun on another machine may be from it (absolute); 0 where exact
    table        text of at most 100 columns
    conclusions  two or three sentences, computed from the numbers
    figures      file stem -> matplotlib Figure
    """

    name: str
    title: str
    numbers: dict[str, float]
    tolerances: dict[str, float]
    table: str
    conclusions: tuple[str, ...]
    figures: dict[str, Figure]

    def to_dict(self) -> dict[str, Any]:
        """All but the figures, as JSON takes it: a number that is not finite is None."""
        names = ("name", "title", "numbers", "tolerances", "table", "conclusions")
        return for_json({name: getattr(self, name) for name in names})


def run(name: str, seed: int = 0, dark: bool = False, full: bool = False) -> Study:
    """Run a study, a few seconds.

    name  one of NAMES        seed  of weights, order of rows and all else that is drawn
    dark  figures for a dark page        full  the long form, minutes, of a study that has one
    Errors: ValueError for another name, a seed below 0, and for full where there is no long form.
    """
    if name not in NAMES:
        raise ValueError(f"run: name is {name!r}; it must be one of {', '.join(NAMES)}")
    whole("run: seed", seed, 0, " and below 2**63", below=2**63)
    module = import_module(f"{__name__}.{name}")
    if full and "full" not in inspect.signature(module.measure).parameters:
        raise ValueError(f"run: the study {name} has no long form; full must be False")
    measured = module.measure(seed, **({"full": True} if full else {}))
    numbers = {key: value for key, value in measured.items() if isinstance(value, float)}
    tolerances = {key: module.tolerance(key, value) for key, value in numbers.items()}
    with plots.style(dark):
        figures = module.draw(measured)
    return Study(name, module.TITLE, numbers, tolerances, module.table(numbers), module.conclude(numbers), figures)
