"""What is measured of a picture while it is decoded: its size as it was sent, its light as the model sees it."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from functions.shared.inference.instance import Picture
from functions.shared.inference.model import Model
from functions.shared.inference.package import ModelPackage
from tests.inference.test_images import decoder, photo, saved
from tests.support.repository import DIGIT, ROOT


def measured(content: bytes, channels: int = 1, size: tuple[int, int] | None = None, **settings: Any) -> Picture:
    return decoder(channels, size, **settings).decode_and_measure(content)[1]


def light(pixels: Any) -> tuple[float, float]:
    """Return mean and standard deviation of a luminance, as NumPy has them."""
    luminance = np.asarray(pixels, np.float64) / 255
    return float(luminance.mean()), float(luminance.std())


def test_a_grey_picture_has_the_mean_and_the_deviation_of_its_pixels() -> None:
    content = saved(photo().convert("L"))
    picture = measured(content)
    assert picture[:3] == (30, 20, len(content))
    assert picture[3:] == pytest.approx(light(photo().convert("L")), rel=1e-5)


@pytest.mark.parametrize(("channels", "color"), [(3, "rgb"), (3, "bgr"), (4, "rgb")])
def test_a_picture_in_colour_has_those_of_its_luminance_whatever_the_order_of_its_channels(
    channels: int, color: str
) -> None:
    picture = measured(saved(photo()), channels, color=color)
    # Pillow rounds the luminance of each pixel to a whole number.
    assert picture[3:] == pytest.approx(light(photo().convert("L")), abs=1 / 255)


def test_what_the_model_takes_of_a_number_changes_nothing_of_the_light() -> None:
    content = saved(photo())
    scaled = measured(content, 3, dtype="float32", rescale_factor=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    assert scaled == measured(content, 3)


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_a_picture_of_one_grey_has_no_contrast(level: int) -> None:
    picture = measured(saved(Image.new("L", (300, 200), level)))
    assert picture.brightness == pytest.approx(level / 255, rel=1e-6)
    assert picture.contrast == 0


def test_the_size_is_that_of_the_file_and_the_light_that_of_what_the_model_sees() -> None:
    wide = Image.new("L", (100, 50), 0)
    wide.paste(255, (25, 0, 75, 50))  # the middle half is white
    sent = measured(saved(wide), size=(10, 10), fit="crop", resized_to=10, resample="box")
    assert sent[:2] == (100, 50)
    assert sent.brightness == 1
    whole = measured(saved(wide), size=(10, 10), resample="box")
    assert whole.brightness == pytest.approx(0.5, abs=1 / 255)


def test_a_picture_that_is_to_be_turned_has_the_size_that_it_was_sent_with() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert measured(saved(photo(20, 30), "JPEG", exif=exif), 3)[:2] == (30, 20)


def test_a_large_picture_is_measured_in_a_grid() -> None:
    ramp = np.add.outer(np.arange(1100), np.arange(1000)) % 256
    picture = measured(saved(Image.fromarray(ramp.astype(np.uint8))), limit=2_000_000)
    assert picture[3:] == pytest.approx(light(ramp), abs=0.01)


def test_an_instance_of_the_shipped_digit_model_has_what_was_measured() -> None:
    model = Model.load(ModelPackage.load(ROOT / "model_artifacts" / "mnist"))
    content = DIGIT.read_bytes()
    picture = model.decode_image(content).picture
    assert picture is not None
    assert picture[:3] == (28, 28, len(content))
    with Image.open(DIGIT) as image:
        assert picture[3:] == pytest.approx(light(image.convert("L")), rel=1e-5)
    assert model.made_up_instance().picture is None
