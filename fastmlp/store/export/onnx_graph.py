"""A model as an ONNX file: what goes in, its steps, and what its outputs mean, in one graph that asks for no code."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ... import check
from ...data.encoding import Column, Encoding
from ...files import write
from ...nn import formula, recipe
from ...training.checkpoint import maker
from .onnx_nodes import Nodes
from .source import Source, place, source

OPSET, LEARNING, IR = 15, "ai.onnx.ml", 8  # of 2021: newer programs read it, and onnxruntime since 1.10
TYPES = ("uint8", "float32", "float64")  # that x may have
LARGEST = 2**31 - 2**20  # bytes; protobuf ends at 2 GiB
SIGMOID = formula.parse("1 / (1 + Math.exp(-v))", ())  # no Sigmoid: onnxruntime's of float32 is 17 % off at -15
OUTPUTS = ("label", "probabilities", "logits", "prediction")


def onnx(model: Any, path: str | os.PathLike[str], *, scale: float = 1.0, dtype: Any = None) -> None:
    """Write a model as an ONNX file for prediction.

    Inputs: `x` (N, features), raw features, which are multiplied by `scale`. Of a model that was trained on a table one
    for each of its columns, by its name, (N, 1): float64 for numbers and for booleans, 0 and 1, NaN where missing;
    strings for categories, empty where missing. A category that no training row had is none of the known ones. A column
    whose name an output has is "column label", say.

    Outputs: of classes `label` (N,), of the classes' type, `probabilities` and `logits` (N, classes); of labels
    `label` int64 0 and 1, `probabilities` and `logits`, each (N, labels); of numbers `prediction` (N,), or (N, targets)

    model  a Sequential of declared layers, or a fitted estimator of `fastmlp.sklearn`
    path   of the file, which is written in one piece
    scale  what the rows are multiplied by, as the model was trained: `Dataset.scale`
    dtype  of `x`: "uint8" takes bytes; the model's where None

    The file has IR version 8, opset 15 and opset 2 of ai.onnx.ml; a float64 model's has float64 in it.
    Errors: NotInstalledError without the package onnx; TypeError for what is no model; ValueError for a layer or a loss
    without a formula, for a function that onnxruntime has no kernel for, for numbers that are not finite, for a `dtype`
    beside a table, and for more than 2 GB.
    """
    try:
        from onnx import helper, numpy_helper
    except ImportError as error:
        raise check.NotInstalledError(
            "export.onnx: the package onnx is not installed: pip install 'fastmlp[onnx]'"
        ) from error
    target, made = place("export.onnx: path", path), source(model, "export.onnx", scale)
    given = _type_of_x(dtype, made)
    nodes = Nodes(helper, made.dtype)
    x, inputs = _raw(nodes, given, made) if made.encoding is None else _encoded(nodes, made.encoding, made.dtype)
    try:
        for step in made.steps:
            x = _step(nodes, step, x)
        outputs = _outputs(nodes, x, made)
    except ValueError as error:
        raise ValueError(f"export.onnx: the model cannot be exported: {error}") from None
    if (size := sum(array.nbytes for array in nodes.arrays.values())) > LARGEST:
        raise ValueError(f"export.onnx: the model has {size:,} bytes of weights; an ONNX file ends at {LARGEST:,}")
    constants = [numpy_helper.from_array(array, name) for name, array in nodes.arrays.items()]
    domains = [helper.make_opsetid("", OPSET), helper.make_opsetid(LEARNING, 2)]
    whole = helper.make_model(
        helper.make_graph(nodes.nodes, "fastmlp", inputs, outputs, constants),
        producer_name="fastmlp", producer_version=maker()["fastmlp"], opset_imports=domains, ir_version=IR,
    )  # fmt: skip
    write(target, whole.SerializeToString())


def _type_of_x(dtype: Any, made: Source) -> np.dtype[Any]:
    """The type of `x`."""
    if dtype is None:
        return made.dtype
    if made.encoding is not None:
        raise ValueError(
            f"export.onnx: dtype is {check.shown(dtype)}; it must be None: the model takes the columns of a table"
        )
    try:
        given = np.dtype(dtype)
    except TypeError:
        given = np.dtype(object)
    if given.name not in TYPES:
        raise ValueError(f"export.onnx: dtype is {check.shown(dtype)}; it must be {', '.join(TYPES)}, or None")
    return given


def _value(nodes: Nodes, name: str, dtype: Any, shape: list[Any]) -> Any:
    """What an input or an output is."""
    kind = nodes.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return nodes.helper.make_tensor_value_info(name, kind, shape)


def _raw(nodes: Nodes, given: np.dtype[Any], made: Source) -> tuple[str, list[Any]]:
    """(the features of the first step, the inputs of the graph) where rows are numbers."""
    x = nodes.cast("x", made.dtype) if given != made.dtype else "x"
    x = nodes.node("Mul", x, nodes.number(made.scale)) if made.scale != 1 else x
    return x, [_value(nodes, "x", given, ["N", made.features])]


def _encoded(nodes: Nodes, encoding: Encoding, dtype: np.dtype[Any]) -> tuple[str, list[Any]]:
    """(the features of the first step, the inputs of the graph) where rows are those of a table.

    All numbers go through one node for each thing that is done to them, and so do the features of all categories: a
    graph of thirty columns with nodes for each would be slower than the net behind it. A last Gather puts the features
    into their order.
    """
    names = _input_names(encoding)
    first, count = {}, 0  # the place of each column's first feature
    for column in encoding.columns:
        first[column.name], count = count, count + len(column.names)
    numbers = [c for c in encoding.columns if c.kind != "category"]
    categories = [c for c in encoding.columns if c.kind == "category"]
    parts: list[str] = []
    order: list[int] = []  # the places of the features as they come out of the parts
    if numbers:
        x = nodes.concat([names[c.name] for c in numbers])
        missing = nodes.node("IsNaN", x)
        mean, std, fill = (nodes.array(w, [getattr(c, w) for c in numbers], float) for w in ("mean", "std", "fill"))
        x = nodes.node("Div", nodes.node("Sub", nodes.node("Where", missing, fill, x), mean), std)
        parts.append(nodes.cast(x, np.float32))
        order += [first[c.name] for c in numbers]
        if lacking := [at for at, c in enumerate(numbers) if c.missing]:
            parts.append(nodes.cast(nodes.gather(missing, lacking), np.float32))
            order += [first[numbers[at].name] + 1 for at in lacking]
    if categories:
        codes = nodes.concat([_code(nodes, names[c.name], c) for c in categories])
        repeated = [at for at, c in enumerate(categories) for _ in c.names]
        wanted = nodes.array("category", [code for c in categories for code in range(len(c.names))], np.int64)
        codes = nodes.gather(codes, repeated) if len(categories) > 1 else codes
        parts.append(nodes.cast(nodes.node("Equal", codes, wanted), np.float32))
        order += [first[c.name] + code for c in categories for code in range(len(c.names))]
    x = nodes.concat(parts)
    if order != sorted(order):
        x = nodes.gather(x, np.argsort(order).tolist())
    inputs = [
        _value(nodes, names[c.name], object if c.kind == "category" else float, ["N", 1]) for c in encoding.columns
    ]
    return nodes.cast(x, dtype) if dtype != np.float32 else x, inputs


def _code(nodes: Nodes, name: str, column: Column) -> str:
    """(N, 1) int64: which of its features is 1 for a category, that of a missing one among them; -1 where none is."""
    known = {value: code for code, value in enumerate(column.values)}
    if column.missing:
        known.setdefault("", len(column.values))
    return nodes.node(
        "LabelEncoder", name, domain=LEARNING, keys_strings=list(known), values_int64s=list(known.values()),
        default_int64=-1,
    )  # fmt: skip


def _input_names(encoding: Encoding) -> dict[str, str]:
    """The names of the inputs: those of the columns, but for names that others of the graph have, or that are empty."""
    columns, found = {column.name for column in encoding.columns}, {}
    for name in columns:
        made = name
        while not made or made in OUTPUTS or made.startswith("fastmlp.") or (made != name and made in columns):
            made = f"column {made}"
        found[name] = made
    return found


def _step(nodes: Nodes, step: recipe.Step, x: str) -> str:
    """What a step makes of rows x."""
    if isinstance(step, recipe.Dense):
        return nodes.node("Gemm", x, nodes.array("weight", step.weight), nodes.array("bias", step.bias), transB=1)
    return nodes.written(
        step.tree, x, {name: nodes.array(name, array, nodes.dtype) for name, array in step.arrays.items()}
    )


def _outputs(nodes: Nodes, z: str, made: Source) -> list[Any]:
    """The outputs of the graph, of the outputs z (N, C) of the last step."""
    if made.kind == "numbers":
        shape = ["N"] if len(made.picked) == 1 else ["N", len(made.picked)]
        if len(made.picked) < made.columns:
            z = nodes.gather(z, list(made.picked))
        z = nodes.written(made.predicted, z)
        z = nodes.node("Gather", z, nodes.array("first", 0, np.int64), axis=1) if len(shape) == 1 else z
        nodes.call(z, "prediction")
        return [_value(nodes, "prediction", made.dtype, shape)]
    hot = z if made.temperature == 1 else nodes.node("Div", z, nodes.number(made.temperature))
    wide, values = ["N", made.columns], np.array(made.labels)
    dtype: Any = np.int64
    if made.kind == "labels":
        label = nodes.cast(nodes.node("Greater", z, nodes.number(0)), np.int64)
        probabilities, shape = nodes.written(SIGMOID, hot), wide
    else:
        label = nodes.node("ArgMax", z, axis=1, keepdims=0)
        dtype = object if values.dtype.kind == "U" else values.dtype
        if values.dtype.kind != "i" or values.tolist() != list(range(made.columns)):  # False is 0 in Python
            label = nodes.node("Gather", nodes.array("class", values.astype(dtype)), label, axis=0)
        probabilities, shape = nodes.node("Softmax", hot, axis=1), ["N"]
    for tensor, name in ((label, "label"), (probabilities, "probabilities"), (z, "logits")):
        nodes.call(tensor, name)
    return [
        _value(nodes, "label", dtype, shape), _value(nodes, "probabilities", made.dtype, wide),
        _value(nodes, "logits", made.dtype, wide),
    ]  # fmt: skip
