"""Pictures in files become rows for a model: grey, scaled to the model's input, light on dark as MNIST's digits.

H and W are the height and width of the model's input; a pixel is 0 (black) to 255 (white).
"""

from __future__ import annotations

import math
import os
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from .. import check
from ..check import shown

Array = np.ndarray
FORMATS = ("PNG", "JPEG", "BMP", "GIF")  # decoded by Pillow itself, without another program
MOST_PIXELS = 50_000_000
CHOICES = ("auto", "yes", "no")
INK = 16  # of 255: what is darker is paper, for the box around a drawing


def read_image(
    path: str | os.PathLike[str], shape: tuple[int, int] = (28, 28), invert: str = "auto", centre: str = "auto"
) -> Array:
    """The picture in a file as a model's input: grey, of this shape.    -> (H, W) uint8

    shape   (H, W). A picture of this size is not resampled; see `centre` for others
    invert  "yes": 255 minus each pixel, for drawings dark on light; "no": as it is; "auto": where the border is light,
            that is, where the median of the outermost pixels is above 127
    centre  "yes": as MNIST was made: paper taken away, the drawing scaled to fill 20/28 of the input with its aspect
            kept, and moved so that its centre of mass is in the middle pixel; "no": the whole picture, padded to the
            input's aspect and scaled; "auto": "yes" where the picture's size is not the input's

    Transparent parts count as black behind light ink and as white behind dark ink. 16 bits become 8.
    Errors: FileNotFoundError; ValueError for a file that cannot be read as PNG, JPEG, BMP or GIF, for more than 50
    million pixels and for arguments out of range.
    Source of the centring: LeCun et al., Gradient-based learning applied to document recognition (1998), III.A.
    """
    for name, value in (("invert", invert), ("centre", centre)):
        if not isinstance(value, str) or value not in CHOICES:
            raise ValueError(f"read_image: {name} is {shown(value)}; it must be one of {', '.join(CHOICES)}")
    shape = _checked_shape("read_image", shape)
    grey = _read_grey(check.path("read_image: path", path))
    if invert == "yes" or (invert == "auto" and _border(grey) > 127):
        grey = 255 - grey
    if centre == "yes" or (centre == "auto" and grey.shape != shape):
        return centre_by_mass(grey, shape)
    return grey if grey.shape == shape else _padded(grey, shape)


def _checked_shape(caller: str, shape: Any) -> tuple[int, int]:
    """(height, width). Error: ValueError for others than two whole numbers, with at most MOST_PIXELS pixels."""
    pair: Any = shape if isinstance(shape, tuple | list) and len(shape) == 2 else (None, None)
    whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 1 for n in pair)
    if not whole or int(pair[0]) * int(pair[1]) > MOST_PIXELS:
        must = f"(height, width), each at least 1, of at most {MOST_PIXELS:,} pixels"
        raise ValueError(f"{caller}: shape is {shown(shape)}; it must be {must}")
    return int(pair[0]), int(pair[1])


def centre_by_mass(grey: Array, shape: tuple[int, int] = (28, 28)) -> Array:
    """A light drawing on dark, scaled and placed as MNIST's digits are.    grey: (h, w) uint8 -> (H, W) uint8

    The border's brightness is subtracted and the lightest pixel made 255. The box around what is lighter than 16 is
    scaled to fit 20/28 of H and of W, with its aspect kept, and placed with its centre of mass in the middle of the
    pixel (H / 2, W / 2), counted from 0, as near as whole pixels allow without cutting it: for MNIST's digits that is
    where they are. A picture without a drawing is black. Error: ValueError for a wrong shape, for no picture.
    """
    shape = _checked_shape("centre_by_mass", shape)
    grey = check.array("centre_by_mass: grey", grey, "a picture (h, w)")
    if grey.ndim != 2 or not grey.size or grey.dtype.kind not in "uifb" or not np.isfinite(grey).all():
        raise ValueError(f"centre_by_mass: grey is {grey.shape} {grey.dtype}; it must be a picture (h, w) of numbers")
    ink: Array = np.clip(grey.astype(np.float64) - _border(grey), 0, None)
    ink *= 255 / max(ink.max(), 1)
    inside: Array = ink > INK
    if not inside.any():
        return np.zeros(shape, np.uint8)
    rows, columns = (_span(np.asarray(inside.any(axis=axis))) for axis in (1, 0))
    box = ink[rows, columns]
    scale = min(20 / 28 * side / length for side, length in zip(shape, box.shape, strict=True))
    size = [min(side, max(1, round(scale * length))) for side, length in zip(shape, box.shape, strict=True)]
    small = _resized(box, (size[0], size[1]))
    placed = np.zeros(shape, np.uint8)
    start = []
    for axis, (side, length) in enumerate(zip(shape, small.shape, strict=True)):
        weights = small.sum(axis=1 - axis, dtype=np.float64)
        mean = float(weights @ (np.arange(length) + 0.5)) / max(float(weights.sum()), 1.0)
        start.append(min(max(math.floor(side / 2 + 1 - mean), 0), side - length))  # rounded, halves up
    placed[start[0] : start[0] + small.shape[0], start[1] : start[1] + small.shape[1]] = small
    return placed


def _span(line: Array) -> slice:
    """From the first to the last index where it is true."""
    where = np.flatnonzero(line)
    return slice(int(where[0]), int(where[-1]) + 1)


def _border(grey: Array) -> float:
    """The median of the outermost pixels."""
    return float(np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])))


def _padded(grey: Array, shape: tuple[int, int]) -> Array:
    """The whole picture, padded with its border's brightness to the aspect of `shape`, and scaled."""
    scale = min(side / length for side, length in zip(shape, grey.shape, strict=True))
    size = [min(side, max(1, round(scale * length))) for side, length in zip(shape, grey.shape, strict=True)]
    padded = np.full(shape, round(_border(grey)), np.uint8)
    top, left = ((side - length) // 2 for side, length in zip(shape, size, strict=True))
    padded[top : top + size[0], left : left + size[1]] = _resized(grey, (size[0], size[1]))
    return padded


def _resized(grey: Array, size: tuple[int, int]) -> Array:
    """(h, w) numbers in 0 .. 255 -> uint8 of this size: means of areas where it shrinks, cubic where it grows."""
    from PIL import Image

    kind = Image.Resampling.BOX if max(size) < max(grey.shape) else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(np.round(grey).astype(np.uint8)).resize(size[::-1], kind))


def _read_grey(path: Path) -> Array:
    """(h, w) uint8: the first picture of the file."""
    from PIL import Image, ImageOps

    if not path.exists():
        raise FileNotFoundError(f"read_image: {path} is not there; it must be a picture")
    if not path.is_file():
        raise ValueError(
            f"read_image: {path} is {'a folder' if path.is_dir() else 'no regular file'}; it must be a picture"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about large pictures and odd metadata
        try:
            content = BytesIO(path.read_bytes())  # a chunk cannot ask for more bytes than there are
            with Image.open(content, formats=FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise ValueError(f"it has {image.width} x {image.height} pixels, and may have {MOST_PIXELS:,}")
                return _grey(ImageOps.exif_transpose(image))
        except Exception as error:  # Pillow's readers and zlib share no class for damaged files
            reason = str(error).partition("\n")[0] or type(error).__name__
            if type(error).__name__ == "UnidentifiedImageError":
                reason = f"it must be {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
            raise ValueError(f"read_image: {path} cannot be read as a picture: {reason}") from error


def _grey(image: Any) -> Array:
    """(h, w) uint8 of a Pillow picture in any mode."""
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits; Pillow's own conversion would clip them
        return np.clip(np.round(np.asarray(image, np.float64) / 257), 0, 255).astype(np.uint8)
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A"), np.float64) / 255
        ink = float((np.asarray(image.convert("L")) * alpha).sum() / max(alpha.sum(), 1e-9))
        paper = Image.new("RGBA", image.size, (0, 0, 0, 255) if ink > 127 else (255, 255, 255, 255))
        image = Image.alpha_composite(paper, image)
    return np.asarray(image.convert("L"))
