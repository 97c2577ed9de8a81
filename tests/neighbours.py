"""What the libraries beside fastmlp do: the columns of docs/peers.md, and how its figures are compared with measures.

A `Row` is a row of a table on that page, its docstring the bold words that the row begins with. For each column that
it measures it has a function of the column's name, which returns a number, a word, or several. The cell holds them
in bold, **0.01**, in their order; what stands around them is for the reader.
"""

import importlib
import math
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np

import fastmlp as fm

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "peers.md"
COLUMNS = {  # by their heads on the page: the functions of a row, and the packages that they need
    "PyTorch": ("pytorch", ("torch",)),
    "JAX, Flax, optax": ("jax", ("jax", "flax", "optax")),
    "Keras": ("keras", ("keras", "jax")),
    "scikit-learn": ("sklearn", ("scikit-learn",)),
    "fastmlp": ("fastmlp", ()),
}
NOTHING = "–"  # a cell of which the row has no measure

_KERAS_HOME = tempfile.TemporaryDirectory(prefix="keras-")  # it writes its settings when it is imported
os.environ |= {"KERAS_BACKEND": "jax", "KERAS_HOME": _KERAS_HOME.name}


class Package:
    """A package, imported where something of it is used."""

    def __init__(self, name: str):
        self.name = name

    def __getattr__(self, attribute: str):
        return getattr(importlib.import_module(self.name), attribute)


torch, jax, jnp, nnx, optax = (Package(name) for name in ("torch", "jax", "jax.numpy", "flax.nnx", "optax"))
keras, functional = Package("keras"), Package("torch.nn.functional")


class Row:
    """Base of the rows. One that measures several columns alike has `each(column)` for the `columns` that it names."""

    columns: tuple[str, ...] = ()


def measures(row: type[Row]) -> dict[str, Callable]:
    """What a row measures: head of the column -> function."""
    found = {}
    for head, (column, _) in COLUMNS.items():
        if column in vars(row):
            found[head] = vars(row)[column]
        elif column in row.columns:
            found[head] = partial(row.each, column)
    return found


def floats(*numbers) -> np.ndarray:
    return np.array(numbers, np.float32)


def refused(action: Callable) -> str:
    """The word "refused" where an action raises; else what it gives."""
    try:
        return action()
    except (ValueError, TypeError, IndexError, RuntimeError):
        return "refused"


def quiet(model, *arguments, **options):
    """A fit of scikit-learn's whose warnings are known: it says that an epoch or two are not many."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(*arguments, **options)


# --- slopes of a function at a point, in float32 ---------------------------------------------------------------------


def torch_slope(function: Callable, *point: float) -> list[float]:
    x = torch.tensor(point, dtype=torch.float32, requires_grad=True)
    function(x).sum().backward()
    return x.grad.tolist()


def jax_slope(function: Callable, *point: float) -> list[float]:
    return jax.grad(lambda x: jnp.sum(function(x)))(jnp.asarray(point, jnp.float32)).tolist()


def fastmlp_slope(function: Callable, *point: float) -> list[float]:
    x = fm.Tensor(floats(*point), requires_grad=True)
    function(x).sum().backward()
    return x.grad.tolist()


def rows(*modules) -> list[type[Row]]:
    """All rows of these modules, in their order."""
    return [thing for m in modules for thing in vars(m).values() if isinstance(thing, type) and thing.__base__ is Row]


# --- the page --------------------------------------------------------------------------------------------------------


def cells(text: str) -> dict[str, dict[str, str]]:
    """The cells of all tables that have these columns: bold words of the row -> head of the column -> text."""
    found: dict[str, dict[str, str]] = {}
    heads: list[str] = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.strip("|").split("|")] if line.startswith("|") else []
        if parts[1:] == list(COLUMNS):
            heads = parts[1:]
        elif heads and parts and (name := re.match(r"\*\*(.+?)\*\*", parts[0])):
            assert name[1] not in found, f"two rows of docs/peers.md begin with {name[1]}"
            found[name[1]] = dict(zip(heads, parts[1:], strict=True))
    return found


def versions(text: str) -> dict[str, str]:
    """The releases that the page names: package -> version."""
    return dict(re.findall(r"^- ([\w-]+) (\d+(?:\.\d+)+)", text, re.MULTILINE))


def why_not(column: str, wanted: dict[str, str]) -> str | None:
    """Why a column cannot be measured here; None where it can."""
    for package in COLUMNS[column][1]:
        try:
            here = metadata.version(package).partition("+")[0]
        except metadata.PackageNotFoundError:
            return f"{package} is not installed; `make test-peers` installs it and runs this file"
        if here != wanted[package]:
            return f"docs/peers.md speaks of {package} {wanted[package]}, here is {here}; `make test-peers` installs it"
    return None


def flat(measured) -> Iterator:
    """Numbers and words, one by one, whatever they lie in."""
    if isinstance(measured, list | tuple) or (hasattr(measured, "shape") and measured.shape):
        for part in measured:
            yield from flat(part)
    else:
        yield measured.item() if hasattr(measured, "item") else measured


def says(figure: str, value) -> bool:
    """Whether a figure on the page is what was measured.

    A whole number, measured as one, and a word must be the same. A figure of two digits or more with a decimal point is
    what the measure rounds to. Another one, 1 or 0.5, is exact but for the rounding of float32, some 1e-5.
    """
    if isinstance(value, str | int):
        return figure == str(value)
    try:
        number = Decimal(figure)
    except InvalidOperation:
        return False
    if not number.is_finite() or not math.isfinite(value):
        return str(value) == figure
    _, digits, exponent = number.as_tuple()
    rounded = len(digits) > 1 and exponent < 0
    tolerance = 0.5 * 10.0**exponent * (1 + 1e-6) if rounded else 1e-4 * abs(float(number)) + 1e-7
    return abs(value - float(number)) <= tolerance


def cell_fault(cell: str, measured) -> str | None:
    """What a cell says that was not measured, in a sentence; None where all is right."""
    figures, values = re.findall(r"\*\*(.+?)\*\*", cell), list(flat(measured))
    if len(figures) == len(values) and all(says(*pair) for pair in zip(figures, values, strict=True)):
        return None
    return f"the page says {', '.join(figures) or 'nothing'}; measured: {', '.join(map(str, values))}"
