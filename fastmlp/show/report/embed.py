"""What the page's own code needs, as JSON: the network's numbers and the wrong rows."""

from __future__ import annotations

import json
import math
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import words
from ...files import for_json
from ...graph import Array
from ...nn import LAYERS, Layer, Module, Sequential, features_of
from ..plots.digits import grey_range
from .network import outputs_of

if TYPE_CHECKING:
    from ...data import Dataset
    from ...training.evaluation import Evaluation

MOST_WRONG = 600  # wrong rows in a page; the worst come first
MOST_WRONG_NUMBERS = 1_000_000  # of their pixels
MOST_PARAMETERS = 4_000_000  # 21 MB in base64
LEAST_SIDE, MOST_SIDE = 8, 128  # pixels of an image that can be drawn by hand
SEEN = 10_000  # rows that tell black from white


def contents(model: Module, evaluation: Evaluation | None, data: Dataset | None) -> dict[str, Any]:
    """All that the page's scripts read: `net` or the reason `no_canvas`, and `wrong` or None."""
    shape = image_shape(data)
    black, white = levels(data)
    page: dict[str, Any] = {"shape": shape, "black": black, "white": white}
    page["scale"] = 1.0 if data is None else data.scale
    page["classes"] = None if data is None else data.classes
    page["whole"] = data is not None and data.features.dtype == np.uint8
    page["temperature"] = float(model.temperature_)
    page["net"], page["no_canvas"] = packed(model, shape, data)
    page["names"] = class_names(evaluation, data, page["net"])
    page["wrong"] = None
    if evaluation is not None and getattr(evaluation, "kind", "classes") == "classes":
        page["wrong"] = wrong_rows(evaluation, data, shape, black, white)
    return page


def class_names(evaluation: Any, data: Dataset | None, net: dict[str, Any] | None) -> list[str] | None:
    """The name of each class, as the evaluation or the data have them; None where classes are 0 .. C - 1."""
    values = getattr(evaluation, "classes_", None)
    if values is None and data is not None:
        values = getattr(data, "classes_", None)
    if values is None or (values.dtype.kind in "iu" and np.array_equal(values, np.arange(len(values)))):
        return None
    count = max(len(values), net["classes"] if net else 0, getattr(evaluation, "classes", 0))
    return list(words.names(values.tolist(), count))


def forward_script(model: Module) -> str:
    """JavaScript: an object that maps the name of each kind of layer, declared or of the model, to its forward."""
    kinds = dict(LAYERS) | {type(m).__name__: type(m) for m in model.modules() if isinstance(m, Layer)}
    pages = [kind.page.strip("\n") for kind in kinds.values() if kind.page]
    return "const FORWARD = {\n" + ",\n".join(pages) + ",\n};\n"


def image_shape(data: Dataset | None) -> tuple[int, int] | None:
    """(height, width) of a row that is one grey image, also with an axis of length 1; None for other rows."""
    if data is None or data.features.ndim < 3:
        return None
    axes = [n for n in data.features.shape[1:] if n > 1]
    return (axes[0], axes[1]) if len(axes) == 2 else None


def levels(data: Dataset | None) -> tuple[float, float]:
    """The values of no ink and of full ink in the first rows, as the plots have them; 0 and 1 of what is no image."""
    if data is None or image_shape(data) is None:
        return 0.0, 1.0
    low, high = grey_range(data.rows[:SEEN])
    return low, high if high > low else low + 1


def packed(model: Module, shape: tuple[int, int] | None, data: Dataset | None) -> tuple[dict[str, Any] | None, str]:
    """The layers and their numbers as base64 of little-endian float32; or None, and why the page has no canvas."""
    layers = model.flat() if isinstance(model, Sequential) else None
    if layers is None:
        return None, f"{type(model).__name__} computes in a way of its own, which the page does not know"
    known: list[Layer] = []
    for layer in layers:
        if not (isinstance(layer, Layer) and layer.page and layer.runs_on_engine()):
            return None, f"{type(layer).__name__} is a layer that the page does not know"
        known.append(layer)
    features = features_of(model)
    if features is None:
        return None, "the network has no Linear layer"
    if shape is None:
        return None, "a row of the data is not an image"
    if shape[0] != shape[1] or not LEAST_SIDE <= shape[0] <= MOST_SIDE:
        return None, f"an image is {shape[0]} × {shape[1]} pixels, and the canvas is for squares of 8 to 128"
    if data is None or features != data.n_features:
        return None, "the data are not those of the network"
    if data.kind in ("numbers", "labels"):
        return None, f"the targets are {data.kind}, and the canvas is for classes"
    flat: list[Array] = []
    entries: list[dict[str, Any]] = []
    start = 0
    for layer in known:
        entry: dict[str, Any] = {"kind": type(layer).__name__, **layer.page_numbers()}
        for name, values in layer.page_arrays().items():
            entry[name] = [start, values.size]
            start += values.size
            flat.append(values.reshape(-1).astype("<f4"))
        entries.append(entry)
    if start > MOST_PARAMETERS:
        return None, f"the network has {start:,} numbers, and a page holds at most {MOST_PARAMETERS:,}"
    net = {"features": features, "classes": outputs_of(model, features), "layers": entries}
    return net | {"numbers": base64(np.concatenate(flat))}, ""


def wrong_rows(
    evaluation: Evaluation, data: Dataset | None, shape: tuple[int, int] | None, black: float, white: float
) -> dict[str, Any]:
    """The worst wrong rows, an array for each column, and their pixels as base64 of uint8 where they are images."""
    most = MOST_WRONG if shape is None else min(MOST_WRONG, MOST_WRONG_NUMBERS // math.prod(shape))
    worst = np.asarray(evaluation.wrong, np.int64)
    chosen = worst[:most]
    true, predicted = np.asarray(evaluation.labels)[chosen], np.asarray(evaluation.predicted)[chosen]
    probabilities = np.asarray(evaluation.probabilities)[chosen]
    each = np.arange(len(chosen))
    pixels = ""
    if shape is not None and data is not None:
        values = data.rows[chosen]
        if values.dtype != np.uint8 or white != 255:
            values = np.rint((values - black) / (white - black) * 255).clip(0, 255).astype(np.uint8)
        pixels = base64(values)
    return {
        "total": len(worst),
        "index": chosen.tolist(),
        "true": true.tolist(),
        "predicted": predicted.tolist(),
        "probability": probabilities[each, predicted].astype(float).round(6).tolist(),
        "true_probability": probabilities[each, true].astype(float).round(6).tolist(),
        "pixels": pixels,
    }


def base64(array: Array) -> str:
    """The bytes of an array as text."""
    return b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def json_text(value: Any) -> str:
    """JSON that may stand in a <script> element: no "<", so nothing in it ends the element; NaN becomes null."""
    return json.dumps(for_json(value), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
