"""A model as an ES module: the code that the report's page runs, with the numbers of the model in it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import numpy as np

from ...files import write
from ...nn import Linear, formula, recipe
from ...show import report
from ...show.report.embed import base64, json_text
from .source import Source, place, resource, source, title

EXACT = 2**53  # whole numbers from here on are BigInts, which JavaScript has exactly


def javascript(model: Any, path: str | os.PathLike[str], *, scale: float = 1.0) -> None:
    """Write a model as an ES module without imports: a page, node, or a worker imports it.

        logits(row)         its outputs, a Float32Array, or a Float64Array of a float64 model
        probabilities(row)  of classes and labels
        predict(row)        the class, an array of 0 and 1 for labels, the number, or an array of numbers

    row: an array of raw features, which are multiplied by `scale`; of a model that was trained on a table an object
    {column: value}, where null, undefined and NaN stand for nothing. `classes` are in the order of the outputs, BigInts
    where one of them is 2⁵³ or more.

    model  a Sequential of declared layers, or a fitted estimator of `fastmlp.sklearn`
    path   of the module, "digits.js" or "digits.mjs", which is written in one piece
    scale  what the rows are multiplied by, as the model was trained: `Dataset.scale`

    Errors: TypeError for what is no model; ValueError for a layer or a loss without a formula, and for numbers that are
    not finite.
    """
    target = place("export.javascript: path", path)
    write(target, module(source(model, "export.javascript", scale)))


def module(made: Source) -> str:
    """The text of the module."""
    forward, entries, numbers = _layers(made)
    net = {
        "features": made.features, "double": made.dtype == np.float64, "layers": entries, "numbers": base64(numbers),
    }  # fmt: skip
    columns = None if made.encoding is None else [
        {"name": c.name, "kind": c.kind, "mean": c.mean, "std": c.std, "fill": c.fill, "missing": c.missing,
         "values": list(c.values)} for c in made.encoding.columns
    ]  # fmt: skip
    of_page = (files(report.__package__ or "") / "forward.js").read_text("utf-8")
    return "\n".join([
        f"// {title(made)}: an ES module without imports. Import logits, predict"
        + ", probabilities" * (made.kind != "numbers") + ".\n",
        "const FORWARD = {\n" + "".join(f"  {text.strip()},\n" for text in forward.values()) + "};\n",
        of_page,
        f"const NET = {json_text(net)};",
        f"const COLUMNS = {json_text(columns)};",
        f"const SCALE = {made.scale!r};\n",
        resource("module.js"),
        *_ends(made),
    ])  # fmt: skip


def _layers(made: Source) -> tuple[dict[str, str], list[dict[str, Any]], np.ndarray]:
    """(the forward of each kind, the layers, all their arrays as one)."""
    forward: dict[str, str] = {}
    entries: list[dict[str, Any]] = []
    flat: list[np.ndarray] = []
    start = 0
    for step in made.steps:
        if isinstance(step, recipe.Dense):
            kind, own = "Linear", {"weight": step.weight, "bias": step.bias}
            forward[kind] = Linear.page
            entry: dict[str, Any] = {"kind": kind, "outputs": step.columns}
        else:
            own, places = step.arrays, {f"l.{name}": f"l.{name}[i]" for name in step.arrays}
            first, number = step.kind, 2
            kind = first
            while forward.get(kind) not in (None, text := formula.javascript(kind, step.tree, places)):
                kind, number = f"{first}_{number}", number + 1  # the same layer with other numbers
            forward[kind], entry = text, {"kind": kind}
        for name, array in own.items():
            entry[name] = [start, array.size]
            start += array.size
            flat.append(array.ravel())
        entries.append(entry)
    return forward, entries, np.concatenate(flat).astype(made.dtype.newbyteorder("<"))


def _ends(made: Source) -> Iterator[str]:
    """The source of what gives probabilities and predictions."""
    T = repr(made.temperature)
    if made.kind == "classes":
        values = made.labels
        whole = all(isinstance(value, int) and not isinstance(value, bool) for value in values)
        large = whole and any(abs(value) >= EXACT for value in values)
        written = ", ".join(f"{value}n" if large else _literal(value) for value in values)
        yield f"/** The classes in the order of the outputs. */\nexport const classes = [{written}];\n"
        yield (
            "/** The probability of each class. */\nexport function probabilities(row) {\n"
            f"  return softmax(logits(row), {T});\n}}\n"
        )
        yield (
            "/** The class of the largest output. */\nexport function predict(row) {\n"
            "  const z = logits(row);\n  return classes[z.reduce((most, v, k) => (v > z[most] ? k : most), 0)];\n}\n"
        )
    elif made.kind == "labels":
        yield (
            "/** The probability of each label. */\nexport function probabilities(row) {\n"
            f"  return Array.from(logits(row), (v) => 1 / (1 + Math.exp(-v / {T})));\n}}\n"
        )
        yield (
            "/** 1 for each label that is more likely than not, else 0. */\nexport function predict(row) {\n"
            "  return Array.from(logits(row), (v) => Number(v > 0));\n}\n"
        )
    else:
        one = len(made.picked) == 1
        said = formula.infix(made.predicted, str)
        what = "The number that is" if one else "The numbers that are"
        yield (
            f"/** {what} predicted. */\nexport function predict(row) {{\n  const z = logits(row);\n"
            f"  const said = {list(made.picked)}.map((k) => ((v) => {said})(z[k]));\n"
            f"  return said{'[0]' * one};\n}}\n"
        )


def _literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True).replace("<", "\\u003c")
