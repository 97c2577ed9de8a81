"""Pictures made of many small pictures: digits, and the weights of the first layer."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import check
from ...check import whole
from ...words import names, of_class
from .letters import is_drawable, literal, literals
from .style import DPI, LETTERS, WIDTH, colour_map, frame, new_figure, palette, styled

if TYPE_CHECKING:
    from ...data import Dataset
    from ...graph import Array
    from ...nn import Module
    from ...training.evaluation import Evaluation

LETTER = 0.57  # mean width of a letter, in heights
FULL = 0.995  # of the weights lie within the colours; a single large one would leave the others pale
LEAST_NAME, MOST_NAME, MOST_WORD = 4, 16, 24  # columns of a short name and of any, letters of one in a file's name
DARK = 32
PNG_PIXELS = 224  # a saved digit is at least so wide


@styled
def sample_digits(data: Dataset, count: int = 25, seed: int = 0) -> Any:
    """`count` rows drawn with `seed`, each below its label: a class, the labels that it has, or its numbers.

    Errors: ValueError for features that are no images (N, height, width), for a count below 1.
    """
    images = _images("sample_digits", data)
    whole("sample_digits: count", count, 1)
    whole("sample_digits: seed", seed, 0)
    rows = np.random.default_rng(seed).permutation(len(data))[:count]
    columns = math.ceil(math.sqrt(len(rows)))
    captions = [_caption(data, row) for row in rows]
    return _gallery(images[rows], captions, columns, palette().ink, _title(data, len(rows)))


@styled
def wrong_digits(evaluation: Evaluation, data: Dataset, count: int = 36) -> Any:
    """The first `count` rows of `evaluation.wrong`, worst first, each below "predicted p (probability)", "true t".

    Above long names the word "predicted" is left out.
    data: what was evaluated. Where nothing is wrong, the figure says so.
    Errors: ValueError for features that are no images, other data than were evaluated, a count below 1.
    """
    images = _images("wrong_digits", data)
    whole("wrong_digits: count", count, 1)
    _check_same("wrong_digits", evaluation, data)
    wrong = np.asarray(evaluation.wrong)
    if not len(wrong):
        return _gallery(images[:0], [], 1, palette().ink, f"none of {evaluation.rows:,} rows is wrong")
    rows, captions, longest = wrong[:count], [], 0
    for row in rows:
        predicted, true = evaluation.predicted[row], evaluation.labels[row]
        percent = _percent(float(evaluation.probabilities[row, predicted]))
        said, own = (_named(evaluation, c) for c in (predicted, true))
        longest = max(longest, len(said), len(own))
        captions.append((said, percent, own))
    title = f"{len(wrong):,} of {evaluation.rows:,} rows are wrong" + (
        "" if len(rows) == len(wrong) else f"; the worst {len(rows)}" if len(rows) > 1 else "; the worst"
    )
    columns, lead = (4, "predicted ") if longest <= LEAST_NAME else (3, "")
    texts = [f"{lead}{said} ({percent})\ntrue {own}" for said, percent, own in captions]
    return _gallery(images[rows], texts, min(columns, len(rows)), palette().wrong, title)


@styled
def save_wrong_digits(evaluation: Evaluation, data: Dataset, folder: str | os.PathLike[str]) -> int:
    """Write each wrong digit as a PNG named <index>_true<t>_predicted<p>.png; returns how many.

    t and p are the classes: of a name, the letters and digits, and "-" for all else, 24 of them at most.
    The grey values are those of the data (floats: from their smallest to their largest), each pixel a square of whole
    pixels. `folder` is made where it is missing. Errors: ValueError as `wrong_digits`; OSError where it cannot write.
    """
    from matplotlib.image import imsave

    images = _images("save_wrong_digits", data)
    _check_same("save_wrong_digits", evaluation, data)
    place = check.path("save_wrong_digits: folder", folder)
    place.mkdir(parents=True, exist_ok=True)
    low, high = grey_range(images)
    for row in evaluation.wrong:
        true, predicted = (_word(evaluation, c[row]) for c in (evaluation.labels, evaluation.predicted))
        name = f"{row}_true{true}_predicted{predicted}.png"
        times = max(1, math.ceil(PNG_PIXELS / max(images[row].shape)))
        square = np.ones((times, times), images.dtype)
        imsave(place / name, np.kron(images[row], square), cmap="gray", vmin=low, vmax=high, dpi=DPI)
    return len(evaluation.wrong)


@styled
def first_layer(model: Module, shape: tuple[int, int] | None = None, count: int = 64) -> Any:
    """The weights of the first `count` units of the first Linear layer, each as an image in the order of the pixels.

    shape: (height, width) of an input; None takes a square. One scale for all, symmetrical about 0: blue below,
    white (black in a dark style) at 0, orange above; 99.5 % of the weights are within it.
    Errors: ValueError for a model without a Linear layer, a shape that does not fit in_features, a count below 1.
    """
    whole("first_layer: count", count, 1)
    linear = next((m for m in model.modules() if hasattr(m, "in_features") and hasattr(m, "weight")), None)
    if linear is None:
        raise ValueError(f"first_layer: {type(model).__name__} has no Linear layer; it must have one")
    weight = np.asarray(linear.weight.data, np.float64)
    height, width = _shape(weight.shape[1], shape)
    shown = weight[:count].reshape(-1, height, width)
    columns = math.ceil(math.sqrt(len(shown) * height / width))
    lines = math.ceil(len(shown) / columns)
    sheet = np.full((lines * (height + 1) - 1, columns * (width + 1) - 1), np.nan)
    for i, image in enumerate(shown):
        top, left = i // columns * (height + 1), i % columns * (width + 1)
        sheet[top : top + height, left : left + width] = image
    finite = np.abs(shown[np.isfinite(shown)])
    reach = (float(np.quantile(finite, FULL)) or float(finite.max()) or 1.0) if finite.size else 1.0
    figure = new_figure(min(max(0.84 * WIDTH * sheet.shape[0] / sheet.shape[1], 1.5), 12) + 0.4)
    ax = frame(figure.subplots(), grid=False)
    colours = colour_map(palette().signed).with_extremes(bad=palette().grid)
    picture = ax.imshow(sheet, cmap=colours, vmin=-reach, vmax=reach, interpolation="nearest")
    ax.set_axis_off()
    of = "" if len(shown) == len(weight) else f" of {len(weight):,}"
    ax.set_title(f"weights of {len(shown)}{of} units, first layer")
    bar = figure.colorbar(picture, ax=ax, fraction=0.05, pad=0.02, extend="both")
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=palette().ink, labelsize=LETTERS - 1, length=0)
    bar.ax.locator_params(nbins=5)
    return figure


def _gallery(images: Array, captions: list[str], columns: int, colour: str, title: str) -> Any:
    """Images in rows of `columns`, a caption above each, on one axes whose unit is an inch."""
    cell = WIDTH / columns
    longest = max((len(line) for caption in captions for line in caption.split("\n")), default=1)
    letters = min(LETTERS + 2, 0.97 * cell * 72 / (LETTER * longest))  # points, so that a caption fits its cell
    above = max((caption.count("\n") + 1 for caption in captions), default=0) * letters * 1.25 / 72 + 0.06
    image_height = 0.92 * cell * (images.shape[1] / images.shape[2])
    rows, head = math.ceil(len(images) / columns), 0.38
    height = head + rows * (above + image_height + 0.08)
    if not rows:
        height = 1.2
    figure = new_figure(height, arrange=False)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, WIDTH), ylim=(height, 0))
    ax.set_axis_off()
    middle = head / 2 if rows else height / 2
    ax.text(WIDTH / 2, middle, title, ha="center", va="center", fontsize=LETTERS, color=palette().ink)
    low, high = grey_range(images)
    for i, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left, top = i % columns * cell + 0.04 * cell, head + i // columns * (above + image_height + 0.08)
        place = (left, left + 0.92 * cell, top + above + image_height, top + above)
        ax.imshow(image, cmap=palette().image, vmin=low, vmax=high, extent=place, interpolation="nearest")
        ax.text(
            left + 0.46 * cell, top + above - 0.04, caption, ha="center", va="bottom",
            fontsize=letters, color=colour, linespacing=1.05,
        )  # fmt: skip
    ax.set(xlim=(0, WIDTH), ylim=(height, 0), aspect="auto")  # imshow moved them
    return figure


def _images(caller: str, data: Dataset) -> Array:
    if data.features.ndim != 3:
        raise ValueError(
            f"{caller}: data has rows of shape {data.features.shape[1:]}; they must be images, (height, width)"
        )
    return data.features


def _check_same(caller: str, evaluation: Evaluation, data: Dataset) -> None:
    if evaluation.rows != len(data) or not np.array_equal(evaluation.labels, data.labels):
        raise ValueError(
            f"{caller}: data has {len(data):,} rows, the evaluation {evaluation.rows:,}; "
            "data must be what was evaluated, row for row"
        )


def _named(evaluation: Evaluation, c: int) -> str:
    """The name of a class on a figure."""
    return literals([of_class(evaluation, c)], MOST_NAME, [c])[0]


def _word(evaluation: Evaluation, c: int) -> str:
    """The name of a class in the name of a file."""
    return re.sub(r"[^\w-]+", "-", of_class(evaluation, c))[:MOST_WORD]


def _caption(data: Dataset, row: int) -> str:
    """What the data say of a row: its class, its labels, its numbers."""
    target, given = np.atleast_1d(data.targets[row]), getattr(data, "target_names", None) or ()
    if data.kind == "classes":
        values = getattr(data, "classes_", None)
        c = int(target[0])
        return literals([str(c if values is None or c >= len(values) else values[c])], MOST_NAME, [c])[0]
    if data.kind == "numbers":
        return ", ".join(f"{value:.4g}" for value in target[:3]) + ", …" * (len(target) > 3)
    named = names(given, len(target))
    if data.kind == "probabilities":
        return literal(named[int(target.argmax())], MOST_NAME)
    own = [named[k] if is_drawable(named[k]) else f"[{k}]" for k in np.flatnonzero(target)]
    return literal(", ".join(own) or "none", MOST_NAME)


def _shape(features: int, shape: Sequence[int] | None) -> tuple[int, int]:
    side = math.isqrt(features)
    if shape is None:
        if side * side != features:
            raise ValueError(f"first_layer: in_features is {features}, no square; pass shape=(height, width)")
        return side, side
    pair = isinstance(shape, Sequence) and len(shape) == 2 and all(isinstance(n, int | np.integer) for n in shape)
    if not pair or shape[0] < 1 or int(shape[0]) * int(shape[1]) != features:
        given = check.shown(tuple(shape) if pair else shape)
        raise ValueError(f"first_layer: shape is {given}; it must be (height, width) of {features} features")
    return int(shape[0]), int(shape[1])


def grey_range(images: Array) -> tuple[float, float]:
    """The values of black and white: 0 and 255 for bytes that are pixels, else the least and the largest.

    Bytes below 32 throughout are no pixels but codes: 0 and 1 of a drawing in two colours.
    """
    if not images.size or (images.dtype == np.uint8 and images.max() >= DARK):
        return 0, 255
    return float(images.min()), float(images.max())


def _percent(probability: float) -> str:
    """98 %; and >99 % where 100 % would not be true."""
    if not math.isfinite(probability):
        return "no number"
    return f"{probability:.0%}".replace("%", " %") if probability < 0.995 or probability == 1 else ">99 %"


def _title(data: Dataset, shown: int) -> str:
    name = f" of {literal(data.name, 2 * MOST_NAME)}" if data.name else ""
    return f"{shown:,} of {len(data):,} rows{name}, with {'numbers' if data.kind == 'numbers' else 'labels'}"
