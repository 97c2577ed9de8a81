"""`fastmlp.images`: pictures of every kind become what the model was trained on, or are refused in a sentence."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import fastmlp as fm
from fastmlp.data.images import centre_by_mass, read_image


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return fm.data.mnist()[1].features[:100]


def drawing() -> np.ndarray:
    """A light stroke on black, 28 by 28, with grey pixels."""
    grey = np.zeros((28, 28), np.uint8)
    grey[5:24, 12:15] = 255
    grey[5:8, 10:20] = 200
    grey[20:23, 8:22] = 90
    return grey


def write(path: Path, image: np.ndarray | Image.Image, **options) -> Path:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(path, **options)
    return path


def refused(call) -> str:
    """The one sentence in which `call()` is refused."""
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        call()
    message = str(caught.value)
    assert message.startswith("read_image: ")
    assert "\n" not in message
    return message


# --- a picture of the input's size -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.gif", "no suffix"])
def test_a_picture_of_the_inputs_size_is_read_to_the_bit(tmp_path, name):
    write(tmp_path / name, drawing(), format=None if "." in name else "PNG")
    read = read_image(tmp_path / name)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, drawing())


def test_a_drawing_dark_on_light_is_inverted_and_one_light_on_dark_is_not(tmp_path):
    light, dark = write(tmp_path / "l.png", 255 - drawing()), write(tmp_path / "d.png", drawing())
    for invert, of_light, of_dark in (
        ("auto", drawing(), drawing()),
        ("yes", drawing(), 255 - drawing()),
        ("no", 255 - drawing(), drawing()),
    ):
        np.testing.assert_array_equal(read_image(light, invert=invert), of_light)
        np.testing.assert_array_equal(read_image(dark, invert=invert), of_dark)


def test_a_stroke_across_the_border_does_not_decide(tmp_path):
    grey = drawing()
    grey[0:28, 12:14] = 255
    np.testing.assert_array_equal(read_image(write(tmp_path / "a.png", grey)), grey)
    np.testing.assert_array_equal(read_image(write(tmp_path / "a.png", 255 - grey)), grey)


def modes() -> dict[str, Image.Image]:
    grey = drawing()
    two, image = np.where(grey > 127, 255, 0).astype(np.uint8), Image.fromarray(grey)
    clear = np.zeros((28, 28), np.uint8)
    return {
        "1": Image.fromarray(two).convert("1"),
        "L": image,
        "P": image.convert("P"),
        "RGB": image.convert("RGB"),
        "LA opaque": image.convert("LA"),
        "RGBA opaque": image.convert("RGBA"),
        "white ink on nothing": Image.merge("LA", [Image.new("L", (28, 28), 255), image]),
        "black ink on nothing": Image.merge("LA", [Image.fromarray(clear), image]),
        "I;16": Image.fromarray(grey.astype(np.uint16) * 257),
    }


@pytest.mark.parametrize("mode", modes())
def test_every_mode_of_a_png_gives_the_same_grey(tmp_path, mode):
    write(tmp_path / "a.png", modes()[mode])
    expected = np.where(drawing() > 127, 255, 0) if mode == "1" else drawing()
    read = read_image(tmp_path / "a.png").astype(int)
    assert np.abs(read - expected).max() <= 1  # blending rounds to whole numbers


def test_colours_become_their_brightness(tmp_path):
    image = np.zeros((28, 28, 3), np.uint8)
    image[10:18, 10:18] = (255, 0, 0)
    read = read_image(write(tmp_path / "a.png", image))
    assert read[14, 14] == round(0.299 * 255)  # ITU-R 601
    assert np.count_nonzero(read) == 64


# --- pictures of other sizes -----------------------------------------------------------------------------------------


def test_mnists_digits_are_where_centring_puts_them(digits):
    """They were made so: cut out, 20 by 20, the centre of mass in the middle. What is left is grey below the limit."""
    errors = [np.abs(centre_by_mass(digit).astype(float) - digit).mean() for digit in digits]
    assert np.mean(errors) < 0.5
    assert np.median(errors) == 0
    moved = np.roll(digits[0], (-3, 2), axis=(0, 1))
    np.testing.assert_array_equal(centre_by_mass(moved), centre_by_mass(digits[0]))


def test_half_a_pixel_off_would_be_seen(digits):
    """The same measure on digits moved by a pixel."""
    errors = [np.abs(np.roll(centre_by_mass(digit), 1, axis=0).astype(float) - digit).mean() for digit in digits]
    assert np.mean(errors) > 10


def test_a_square_by_hand():
    grey = np.zeros((100, 60), np.uint8)
    grey[70:80, 5:15] = 180
    expected = np.zeros((28, 28), np.uint8)
    expected[5:25, 5:25] = 255  # 20 wide; its mean, 10, at pixel 14's middle, 14.5: from 4.5, halves up
    np.testing.assert_array_equal(centre_by_mass(grey), expected)
    wide = np.zeros((100, 100), np.uint8)
    wide[3:13, 10:50] = 255
    expected = np.zeros((14, 28), np.uint8)
    expected[5:10, 5:25] = 255  # 4 to 1: 20 by 5 in 28 columns; the middle row 7.5 less 2.5
    np.testing.assert_array_equal(centre_by_mass(wide, (14, 28)), expected)


def test_the_middle_of_mass_and_not_of_the_box():
    grey = np.zeros((22, 22), np.uint8)
    grey[1:21, 1:13] = 255
    grey[1, 1:21] = 255
    placed = centre_by_mass(grey)
    rows, columns = (placed.sum(axis=axis, dtype=float) @ (np.arange(28) + 0.5) / placed.sum() for axis in (1, 0))
    assert columns == pytest.approx(14.5, abs=0.5)
    assert rows == pytest.approx(14.5, abs=0.5)
    assert np.flatnonzero(placed.any(axis=0))[0] == 8  # centred by its box it would be 4


def test_a_drawing_that_would_leave_the_picture_is_not_cut():
    grey = np.zeros((30, 30), np.uint8)
    grey[10, 5:25], grey[8:13, 5:8] = 20, 255
    placed = centre_by_mass(grey)
    assert placed.any(axis=0).sum() == 20
    assert placed[:, 8:].any()
    assert np.flatnonzero(placed.any(axis=0))[0] == 8  # the right end is at the border


def test_grey_paper_is_taken_away():
    paper = np.full((60, 60), 70, np.uint8)
    paper[20:40, 28:32] = 220
    clean = np.where(paper == 220, 255, 0).astype(np.uint8)
    np.testing.assert_array_equal(centre_by_mass(paper), centre_by_mass(clean))


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("shape", [(28, 28), (50, 40), (1, 1)])
def test_a_picture_without_a_drawing_is_black_when_it_is_centred(tmp_path, value, shape):
    path = write(tmp_path / "a.png", np.full(shape, value, np.uint8))
    assert not read_image(path, centre="yes").any()


@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(1, 90), width=st.integers(1, 90), shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 99), centre=st.sampled_from(["auto", "yes", "no"]),
)  # fmt: skip
def test_every_size_becomes_the_inputs(tmp_path_factory, height, width, shape, seed, centre):
    rng = np.random.default_rng(seed)
    grey = rng.integers(0, 256, (height, width)).astype(np.uint8) * (rng.random((height, width)) < 0.2)
    path = write(tmp_path_factory.mktemp("size") / "a.png", grey.astype(np.uint8))
    read = read_image(path, shape, centre=centre)
    assert (read.shape, read.dtype) == (shape, np.uint8)


def test_auto_centres_where_the_size_is_another(tmp_path, digits):
    moved = np.roll(digits[0], -2, axis=0)
    same = write(tmp_path / "same.png", moved)
    other = write(tmp_path / "other.png", np.pad(moved, 30))
    np.testing.assert_array_equal(read_image(same), moved)
    np.testing.assert_array_equal(read_image(same, centre="yes"), digits[0])
    np.testing.assert_array_equal(read_image(other), digits[0])


def test_without_centring_the_whole_picture_is_scaled(tmp_path):
    path = write(tmp_path / "a.png", np.kron(drawing(), np.ones((5, 5), np.uint8)))
    np.testing.assert_array_equal(read_image(path, centre="no"), drawing())
    tall = np.full((56, 28), 10, np.uint8)
    tall[20:30] = 255
    read = read_image(write(tmp_path / "b.png", tall), centre="no")
    assert (read[:, :7] == 10).all()  # padded at the sides with its border's brightness
    assert (read[:, 21:] == 10).all()
    np.testing.assert_array_equal(read[:, 7:21], np.repeat(tall.reshape(28, 2, 28).max(axis=1)[:, :1], 14, axis=1))


def test_large_drawings_of_digits_keep_most_of_what_they_were(tmp_path, digits):
    """Ten times as large, dark on grey paper, anywhere: nearer to the digit than any other of the hundred."""
    rng, hits = np.random.default_rng(0), 0
    for n in range(20):
        large = np.asarray(Image.fromarray(digits[n]).resize((280, 280), Image.Resampling.BICUBIC))
        page = np.zeros((500, 700), np.uint8)
        top, left = rng.integers(0, 220), rng.integers(0, 420)
        page[top : top + 280, left : left + 280] = large
        path = write(tmp_path / f"{n}.png", (230 - page * 0.8).astype(np.uint8))
        distance = np.square(digits.astype(float) - read_image(path)).sum(axis=(1, 2))
        hits += int(distance.argmin()) == n
    assert hits >= 19  # one may be as near to its like


# --- what is refused -------------------------------------------------------------------------------------------------


def broken(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / "broken.png"
    whole = write(tmp_path / "whole.png", np.random.default_rng(0).integers(0, 256, (60, 60)).astype(np.uint8))
    content = whole.read_bytes()
    if kind == "missing":
        return path
    if kind == "folder":
        path.mkdir()
        return path
    bad = bytearray(content)
    bad[-30] ^= 0xFF
    huge = struct.pack(">IIBBBBB", 200_000, 200_000, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + huge + struct.pack(">I", zlib.crc32(b"IHDR" + huge))
    path.write_bytes(
        {
            "empty": b"",
            "text": b"not a picture at all",
            "cut": content[: len(content) // 2],
            "header alone": content[:20],
            "a bit turned": bytes(bad),
            "huge": content[:8] + chunk + content[33:],
            "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
        }[kind]
    )
    return path


KINDS = ["missing", "folder", "empty", "text", "cut", "header alone", "a bit turned", "huge", "postscript"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("error")
def test_files_that_are_no_pictures_are_refused_in_a_sentence(tmp_path, kind):
    assert "broken.png" in refused(lambda: read_image(broken(tmp_path, kind)))


@pytest.mark.parametrize(
    "options", [{"invert": "maybe"}, {"centre": True}, {"shape": (28,)}, {"shape": (0, 28)}, {"shape": (28, 28, 3)}]
)
def test_arguments_out_of_range_are_refused(tmp_path, options):
    name, value = next(iter(options.items()))
    assert f"{name} is {value!r}" in refused(lambda: read_image(write(tmp_path / "a.png", drawing()), **options))
