"""The undocumented parts of Pillow do what its documented methods do."""

import zlib

import numpy as np
import pytest
from PIL import Image

from functions.shared.inference.pillow_core import from_png_pixels, to_array

MODES = ("L", "LA", "RGB", "RGBA")
SIZES = [(28, 28), (1, 1), (1, 300), (301, 2), (640, 480)]


def picture(mode: str, size: tuple[int, int]) -> Image.Image:
    """Every sample is noise."""
    width, height = size
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, len(mode)), np.uint8)
    return Image.frombytes(mode, size, pixels.tobytes())


def unfiltered(image: Image.Image) -> bytes:
    """Return the pixels as a PNG file has them, each row with the filter 0 before it."""
    rows = np.asarray(image).reshape(image.height, -1)
    return zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_an_image_gives_the_array_that_numpy_makes_of_it(mode: str, size: tuple[int, int]) -> None:
    image = picture(mode, size)
    for one in (image, image.transpose(Image.Transpose.ROTATE_90), image.crop((0, 0, 1, 1)), image.resize((5, 3))):
        array = to_array(one)
        assert array.dtype == np.uint8
        np.testing.assert_array_equal(array, np.asarray(one))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pixels_of_a_file_give_the_image_that_pillow_makes_of_them(mode: str, size: tuple[int, int]) -> None:
    compressed = unfiltered(picture(mode, size))
    image = from_png_pixels(compressed, mode, size)
    assert image is not None
    assert (image.mode, image.size, image.info) == (mode, size, {})
    assert image.tobytes() == Image.frombytes(mode, size, compressed, "zip", mode).tobytes()
    assert image.convert("RGB").resize((4, 4)).size == (4, 4)


def test_rows_that_are_missing_are_black() -> None:
    image = from_png_pixels(unfiltered(picture("L", (28, 28))), "L", (28, 30))
    assert image is not None
    assert not to_array(image)[28:].any()


@pytest.mark.parametrize("cut", [0, 1, 20])
def test_damaged_pixels_give_no_image(cut: int) -> None:
    assert from_png_pixels(unfiltered(picture("RGB", (28, 28)))[:cut] + b"\xff" * cut, "RGB", (28, 28)) is None
