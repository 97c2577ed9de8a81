"""A model as a Python module that imports NumPy and the standard library alone, and its weights beside it."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

import numpy as np

from ...data import Encoding
from ...files import write
from ...nn import formula, recipe
from .source import Source, place, resource, source, title

CALLS = {  # what NumPy calls otherwise than JavaScript
    "erf": "_erf", "fmod": "np.fmod", "Math.max": "np.maximum", "Math.min": "np.minimum", "Math.pow": "_pow",
    "Math.round": "_round", "Math.acos": "np.arccos", "Math.acosh": "np.arccosh", "Math.asin": "np.arcsin",
    "Math.asinh": "np.arcsinh", "Math.atan": "np.arctan", "Math.atan2": "np.arctan2", "Math.atanh": "np.arctanh",
}  # fmt: skip


def numpy(model: Any, path: str | os.PathLike[str], *, scale: float = 1.0) -> None:
    """Write a model as a module of Python that imports NumPy and the standard library alone, and its weights.

        logits(x)         (N, outputs)
        predict_proba(x)  (N, outputs), of classes and labels
        predict(x)        (N,) classes, (N, labels) 0 and 1, (N,) or (N, targets) numbers

    x: (N, features) raw features, which are multiplied by `scale`, or (features,) for a row without the axis N; of a
    model that was trained on a table a dict of its columns, lists or arrays, None and NaN where a value is missing

    model  a Sequential of declared layers, or a fitted estimator of `fastmlp.sklearn`
    path   of the module, "digits.py"; the weights are written first, beside it, as "digits.npz", which NumPy reads
           without pickle. The module knows their SHA-256, and refuses any others
    scale  what the rows are multiplied by, as the model was trained: `Dataset.scale`

    Products are of the model's dtype; what an activation calls, exponentials and their like, is float64.
    Errors: TypeError for what is no model; ValueError for a layer or a loss without a formula, for numbers that are not
    finite, and for a path that ends in .npz.
    """
    target, made = place("export.numpy: path", path), source(model, "export.numpy", scale)
    weights = target.with_suffix(".npz")
    if weights == target:
        raise ValueError(f"export.numpy: path is {target}; it must be that of a module, .py: the weights are .npz")
    raw = packed(made)
    text = module(made, weights.name, hashlib.sha256(raw).hexdigest(), target.stem)
    write(weights, raw)
    write(target, text)
    with suppress(OSError):  # it counts for a file of the same second and length, as one that is written again may be
        Path(cache_from_source(str(target))).unlink(missing_ok=True)


def packed(made: Source) -> bytes:
    """The arrays of the steps as an .npz: "0.weight" (inputs, outputs), "0.bias", and those of formulas by name."""
    arrays: dict[str, np.ndarray] = {}
    for at, step in enumerate(made.steps):
        own = {"weight": step.weight.T, "bias": step.bias} if isinstance(step, recipe.Dense) else step.arrays
        arrays |= {f"{at}.{name}": np.ascontiguousarray(array) for name, array in own.items()}
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]  # names are texts, and none is `allow_pickle`
    return stream.getvalue()


def expression(tree: formula.Tree, arrays: str = "") -> str:
    """A formula of arrays.    arrays: the beginning of their names in the weights"""

    def name(given: str) -> str:
        if given.startswith("l."):
            return f"_W[{arrays + given[2:]!r}]"
        if given in formula.CONSTANTS:
            return {"Infinity": "np.inf", "NaN": "np.nan"}.get(given) or repr(formula.CONSTANTS[given])
        return given

    def call(called: str, values: list[str]) -> str:
        made = CALLS.get(called) or "np." + called.rpartition(".")[2]
        return f"{made}({', '.join(values)})"

    return formula.infix(_called(formula.plain(tree)), name, call, full=True)


def _called(tree: formula.Tree) -> formula.Tree:
    """Choices and what joins truths as calls of NumPy's functions: its arrays have no other."""
    if isinstance(tree, formula.Number | formula.Name):
        return tree
    values = tuple(map(_called, tree.values))
    if isinstance(tree, formula.Call):
        return formula.Call(tree.name, values)
    words = {"?": "where", "&&": "logical_and", "||": "logical_or", "!": "logical_not"}
    return formula.Call(words[tree.sign], values) if tree.sign in words else formula.Sign(tree.sign, values)


def module(made: Source, weights: str, digest: str, name: str) -> str:
    """The text of the module."""
    forward = [line for at, step in enumerate(made.steps) for line in _step(at, step, made)]
    wanted = f"(N, {made.features}) or ({made.features},)"
    x = f"x: {wanted} raw features" + f", which are multiplied by {made.scale!r}" * (made.scale != 1)
    if made.encoding is not None:
        x = "x: a dict of the columns of a table, lists or arrays; None and NaN where a value is missing"
    parts = {
        "title": title(made), "x": x, "weights": repr(weights), "digest": digest, "name": name,
        "dtype": made.dtype.name, "features": str(made.features), "wanted": wanted,
        "scaled": f"x * np.{made.dtype.name}({made.scale!r})" if made.scale != 1 else "x",
        "forward": "\n".join(f"        {line}" for line in forward), "temperature": repr(made.temperature),
        "ends": "\n\n\n".join(_ends(made)),
    }  # fmt: skip
    if made.encoding is not None:
        parts["columns"] = _columns(made.encoding)
    code = parts["forward"] + parts["ends"]
    used = {"table": made.encoding is not None, "array": made.encoding is None}
    used |= {name: f"_{name}(" in code for name in ("erf", "pow", "round")}

    def section(match: re.Match[str]) -> str:
        return match[2] if used[match[1]] else ""

    text = re.sub(
        r"^# begin (\w+)\n(.*?)^# end \1\n", section, resource("numpy_module.txt"), flags=re.DOTALL | re.MULTILINE
    )
    return re.sub(r"\$(\w+)", lambda match: parts[match[1]], text)


def _step(at: int, step: recipe.Step, made: Source) -> list[str]:
    """The lines that make x of x."""
    if isinstance(step, recipe.Dense):
        return [f'x = x @ _W["{at}.weight"] + _W["{at}.bias"]']
    wide = made.dtype != np.float64 and (formula.calls(step.tree) or step.of_row)
    lines = [f"v = x{'.astype(np.float64)' * wide}  # {step.kind}: {formula.infix(step.tree, str)}"]
    if step.of_row:
        lines.append("mean, variance = v.mean(axis=1, keepdims=True), v.var(axis=1, keepdims=True)")
    said = expression(step.tree, f"{at}.")
    return [*lines, f"x = ({said}).astype(_DTYPE, copy=False)"]


def _columns(encoding: Encoding) -> str:
    """The columns as Python has them."""
    return "".join(
        f"    ({c.name!r}, {c.kind!r}, {c.mean!r}, {c.std!r}, {c.fill!r}, {c.missing!r}, {c.values!r}),\n"
        for c in encoding.columns
    )


def _ends(made: Source) -> Iterator[str]:
    """The source of what gives probabilities and predictions."""
    if made.kind == "classes":
        labels = made.labels
        values = np.asarray(labels)
        written = f"np.array({labels!r}" + (f", np.{values.dtype})" if values.dtype.kind in "iufb" else ")")
        yield f"classes = {written}  # in the order of the outputs"
        yield (
            'def predict_proba(x):\n    """p, (N, outputs): the softmax of z / temperature."""\n'
            "    z = logits(x).astype(np.float64) / temperature\n"
            "    e = np.exp(z - z.max(axis=-1, keepdims=True))\n"
            "    return (e / e.sum(axis=-1, keepdims=True)).astype(_DTYPE)"
        )
        yield (
            'def predict(x):\n    """(N,): the class of the largest output."""\n'
            "    return classes[logits(x).argmax(axis=-1)]"
        )
    elif made.kind == "labels":
        yield (
            'def predict_proba(x):\n    """p, (N, outputs): 1 / (1 + e^(-z / temperature)), of each label."""\n'
            '    with np.errstate(over="ignore"):\n'
            "        return (1 / (1 + np.exp(-logits(x).astype(np.float64) / temperature))).astype(_DTYPE)"
        )
        yield (
            'def predict(x):\n    """(N, outputs): 1 where the label is more likely than not, else 0."""\n'
            "    return (logits(x) > 0).astype(np.int64)"
        )
    else:
        picked = made.picked
        step = picked[1] - picked[0] if len(picked) > 1 else 1
        which = str(picked[0]) if len(picked) == 1 else f"{picked[0]}:{picked[-1] + 1}:{step}"
        wide = ".astype(np.float64)" * (made.dtype != np.float64 and formula.calls(made.predicted))
        shape = "(N,)" if len(picked) == 1 else f"(N, {len(picked)})"
        yield (
            f'def predict(x):\n    """{shape}: the numbers that are predicted."""\n'
            f'    v = logits(x)[..., {which}]{wide}\n    with np.errstate(all="ignore"):\n'
            f"        return np.asarray({expression(made.predicted)}, _DTYPE)[()]"
        )
