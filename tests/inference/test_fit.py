"""An image gets the model's size as it did in training: stretched, cropped, or in a letterbox.

The references are written from the formulas that torchvision, transformers and Ultralytics document, with Pillow and
NumPy alone.
"""

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image

from functions.shared.inference.errors import ImageTooLargeError, ModelPackageError
from functions.shared.inference.image_input import ImageInput
from functions.shared.inference.model import Model
from functions.shared.inference.package import ModelPackage
from tests.support import graphs

SIDE = 32
PHOTOS = graphs.conv_net("NCHW", channels=3, size=(SIDE, SIDE))
ANY_SIZE = graphs.conv_net("NCHW", channels=3, size=(None, None))
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

# Wide and tall, odd and even, smaller than the crop, of its size, and lines.
SHAPES = [(60, 80), (81, 60), (SIDE, SIDE), (37, 37), (20, 90), (91, 20), (5, 7), (1, 40), (40, 1), (33, 64), (35, 37)]
FILTERS = ["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]

Load = Callable[..., Model]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Return what writes and loads a package: `preprocessor` is the preprocessor_config.json beside the model."""

    def write_and_load(model: Any = PHOTOS, preprocessor: object = None, **settings: object) -> Model:
        folder = graphs.package(tmp_path / "package", model, **settings)
        (folder / "preprocessor_config.json").unlink(missing_ok=True)
        if preprocessor is not None:
            (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
        return Model.load(ModelPackage.load(folder))

    return write_and_load


def load_raw(load: Load, axes: tuple[int, int, int] = (SIDE, SIDE, 3), **settings: object) -> Model:
    """Load a model of raw pixels, which it answers."""
    return load(graphs.pixels(["N", *axes], "uint8"), task="regression", **settings)


def image_input(model: Model) -> ImageInput:
    assert isinstance(model.package.input, ImageInput)
    return model.package.input


def photo(height: int, width: int, mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(height * 1000 + width)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 6 + 2, width // 6 + 2, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noisy = smooth + rng.integers(-20, 20, smooth.shape, dtype=np.int16)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).convert(mode)


def saved(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def pixels(model: Model, image: Image.Image) -> NDArray[Any]:
    """Return what a model of raw pixels takes, [height, width, channels]."""
    (array,) = model.decode_image(saved(image)).arrays
    return np.asarray(array[0])


def shorter_edge(image: Image.Image, edge: int, resample: str = "bilinear") -> Image.Image:
    width, height = image.size
    short, long = min(width, height), max(width, height)
    new = (edge, int(edge * long / short))
    return image.resize(new if width <= height else new[::-1], Image.Resampling[resample.upper()])


def torchvision_crop(image: Image.Image, height: int, width: int) -> NDArray[np.uint8]:
    """Pad with zeros, less on the left and on top, then cut at the rounded middle: Python rounds a half to even."""
    array = np.asarray(image)
    rows, columns = max(0, height - array.shape[0]), max(0, width - array.shape[1])
    array = np.pad(array, ((rows // 2, (rows + 1) // 2), (columns // 2, (columns + 1) // 2), (0, 0)))
    top = round((array.shape[0] - height) / 2.0)
    left = round((array.shape[1] - width) / 2.0)
    return array[top : top + height, left : left + width]


def transformers_crop(image: Image.Image, height: int, width: int) -> NDArray[np.uint8]:
    """Cut at the middle, rounded down; pad with zeros, more on the left and on top."""
    array = np.asarray(image)
    top, left = (array.shape[0] - height) // 2, (array.shape[1] - width) // 2
    padded = np.zeros((max(height, array.shape[0]), max(width, array.shape[1]), 3), np.uint8)
    above = math.ceil((padded.shape[0] - array.shape[0]) / 2)
    before = math.ceil((padded.shape[1] - array.shape[1]) / 2)
    padded[above : above + array.shape[0], before : before + array.shape[1]] = array
    top, left = max(0, top + above), max(0, left + before)
    return padded[top : top + height, left : left + width]


def normalised(array: NDArray[np.uint8], mean: list[float] = MEAN, std: list[float] = STD) -> NDArray[np.float32]:
    return ((array / 255 - mean) / std).astype(np.float32).transpose(2, 0, 1)[np.newaxis]


def scores(tensor: NDArray[np.float32]) -> list[float]:
    (answer,) = onnxruntime.InferenceSession(PHOTOS.SerializeToString()).run(None, {"image": tensor})
    return [float(score) for score in answer[0]]


# --- crop: torchvision, if model.json says it ------------------------------------------------------------------------


@pytest.mark.parametrize("edge", [36, 37, SIDE, 24])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_resize_and_centre_crop_meet_the_scores_of_torchvision(load: Load, shape: tuple[int, int], edge: int) -> None:
    model = load(fit="crop", size=edge, crop_size=SIDE, image_mean=MEAN, image_std=STD)
    image = photo(*shape)
    expected = normalised(torchvision_crop(shorter_edge(image, edge), SIDE, SIDE))
    instance = model.decode_image(saved(image))
    assert np.abs(instance.arrays[0] - expected).max() < 1e-5
    assert model.predict([instance])[0].output == pytest.approx(scores(expected), abs=1e-5)


@pytest.mark.parametrize("resample", FILTERS)
def test_each_filter_is_pillows(load: Load, resample: str) -> None:
    model = load_raw(load, (20, 24, 3), fit="crop", size=29, resample=resample)
    for shape in SHAPES:
        expected = torchvision_crop(shorter_edge(photo(*shape), 29, resample), 20, 24)
        assert np.array_equal(pixels(model, photo(*shape)), expected)


def test_without_a_size_the_shorter_edge_just_fills_the_crop(load: Load) -> None:
    assert image_input(load(fit="crop")).resized_to == SIDE
    wide = image_input(load(graphs.conv_net("NCHW", channels=3, size=(20, 30)), fit="crop"))
    assert (wide.resized_to, wide.crop_size) == (30, (20, 30))
    # as ever, height and width are what the model takes
    assert image_input(load(ANY_SIZE, fit="crop", size=[20, 30])) == wide


def test_one_number_and_a_square_are_the_same_size(load: Load) -> None:
    plain = load(fit="crop", size=40, crop_size=SIDE).package
    assert load(fit="crop", size=[40, 40], crop_size=[SIDE, SIDE]).package.sha256 == plain.sha256


def test_a_model_of_open_size_takes_what_is_cropped(load: Load) -> None:
    model = load(ANY_SIZE, fit="crop", size=40, crop_size=[24, 20])
    assert image_input(model).crop_size == (24, 20)
    assert model.decode_image(saved(photo(90, 50))).arrays[0].shape == (1, 3, 24, 20)


def test_an_image_is_turned_upright_before_it_is_cropped(load: Load) -> None:
    model = load_raw(load, fit="crop", size=40)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = saved(photo(50, 91), exif=exif)
    upright = photo(50, 91).transpose(Image.Transpose.ROTATE_270)
    expected = torchvision_crop(shorter_edge(upright, 40), SIDE, SIDE)
    assert np.array_equal(model.decode_image(turned).arrays[0][0], expected)


def test_colours_are_converted_before_an_image_is_cropped(load: Load) -> None:
    model = load_raw(load, fit="crop", size=40)
    for mode in ("L", "P", "RGBA", "CMYK"):
        image = photo(50, 91, mode) if mode != "P" else photo(50, 91).quantize(16)
        format_ = "JPEG" if mode == "CMYK" else "PNG"
        data = saved(image, format_, **({"quality": 95} if mode == "CMYK" else {}))
        seen = Image.open(io.BytesIO(data)).convert("RGB")
        expected = torchvision_crop(shorter_edge(seen, 40), SIDE, SIDE)
        assert np.array_equal(model.decode_image(data).arrays[0][0], expected), mode


def test_what_a_small_image_has_too_little_is_black_and_transparent_where_there_is_transparency(load: Load) -> None:
    model = load_raw(load, (9, 9, 4), color="rgb", fit="crop", size=4)
    seen = pixels(model, Image.new("RGBA", (4, 4), (200, 100, 50, 255)))
    assert (seen[2:6, 2:6] == (200, 100, 50, 255)).all()
    seen[2:6, 2:6] = 0
    assert not seen.any()


def test_an_image_may_be_stretched_before_it_is_cropped(load: Load) -> None:
    model = load_raw(load, fit="stretch", size=[41, 50], crop_size=SIDE)
    for shape in SHAPES:
        stretched = photo(*shape).resize((50, 41), Image.Resampling.BILINEAR)
        assert np.array_equal(pixels(model, photo(*shape)), torchvision_crop(stretched, SIDE, SIDE))


# --- crop: transformers, if preprocessor_config.json says it ---------------------------------------------------------

CLIP = {
    "crop_size": {"height": SIDE, "width": SIDE},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": MEAN,
    "image_processor_type": "CLIPImageProcessor",
    "image_std": STD,
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 37},
}
UNKNOWN = {"image_processor_type": None, "feature_extractor_type": None}
VIT = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "ViTImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "resample": 2,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": SIDE, "width": SIDE},
}


@pytest.mark.parametrize("edge", [36, 37, SIDE, 25])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_resize_and_centre_crop_meet_the_scores_of_transformers(load: Load, shape: tuple[int, int], edge: int) -> None:
    model = load(preprocessor=CLIP | {"size": {"shortest_edge": edge}})
    image = photo(*shape)
    expected = normalised(transformers_crop(shorter_edge(image, edge, "bicubic"), SIDE, SIDE))
    instance = model.decode_image(saved(image))
    assert np.abs(instance.arrays[0] - expected).max() < 1e-5
    assert model.predict([instance])[0].output == pytest.approx(scores(expected), abs=1e-5)


def test_where_the_middle_lies_between_two_pixels_the_file_decides_whose_it_is(load: Load) -> None:
    """Of 35 columns, 32 are cut out: torchvision begins at round(1.5) = 2, transformers at 1."""
    numbered = Image.fromarray(np.tile(np.arange(35, dtype=np.uint8)[np.newaxis, :, np.newaxis], (32, 1, 3)))
    said = {"do_resize": True, "size": {"shortest_edge": SIDE}, "do_center_crop": True, "crop_size": SIDE}
    quiet = said | {"do_rescale": False}
    assert pixels(load_raw(load, fit="crop"), numbered)[0, 0, 0] == 2
    assert pixels(load_raw(load, preprocessor=quiet), numbered)[0, 0, 0] == 1
    assert pixels(load_raw(load, preprocessor=quiet, fit="crop"), numbered)[0, 0, 0] == 2


def test_a_stretched_image_meets_the_scores_of_transformers(load: Load) -> None:
    model = load(preprocessor=VIT)
    for shape in SHAPES:
        resized = np.asarray(photo(*shape).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
        expected = normalised(resized, [0.5] * 3, [0.5] * 3)
        instance = model.decode_image(saved(photo(*shape)))
        assert model.predict([instance])[0].output == pytest.approx(scores(expected), abs=1e-5)


# --- letterbox -------------------------------------------------------------------------------------------------------


def between_four(image: Image.Image, size: tuple[int, int]) -> NDArray[np.float64]:
    """Interpolate between the four pixels around the middle of each new one, in double precision."""
    array = np.asarray(image, np.float64)
    width, height = size
    down = ((np.arange(height) + 0.5) * array.shape[0] / height - 0.5).clip(0, array.shape[0] - 1)
    across = ((np.arange(width) + 0.5) * array.shape[1] / width - 0.5).clip(0, array.shape[1] - 1)
    top, left = down.astype(int)[:, np.newaxis], across.astype(int)
    bottom, right = np.minimum(top + 1, array.shape[0] - 1), np.minimum(left + 1, array.shape[1] - 1)
    to_the_right, to_the_bottom = (across - left)[:, np.newaxis], (down[:, np.newaxis] - top)[..., np.newaxis]
    above = array[top, left] + (array[top, right] - array[top, left]) * to_the_right
    below = array[bottom, left] + (array[bottom, right] - array[bottom, left]) * to_the_right
    return np.asarray(above + (below - above) * to_the_bottom)


@pytest.mark.parametrize(
    ("shape", "top", "left", "height", "width"),
    [
        ((60, 80), 4, 0, 24, 32),
        ((80, 60), 0, 4, 32, 24),
        ((32, 32), 0, 0, 32, 32),
        ((64, 62), 0, 0, 32, 31),  # one column is left: it goes to the right
        ((64, 58), 0, 1, 32, 29),  # of three, two go to the right
        ((8, 10), 3, 0, 26, 32),  # 25.6 is rounded, and a small image is enlarged
        ((1, 400), 15, 0, 1, 32),  # a line stays a line: 31 are left, 15 above
    ],
)
def test_a_letterbox_is_where_ultralytics_has_it(
    load: Load, shape: tuple[int, int], top: int, left: int, height: int, width: int
) -> None:
    model = load_raw(load, fit="letterbox")
    seen = pixels(model, photo(*shape)).astype(np.float64)
    expected = np.full((SIDE, SIDE, 3), 114.0)
    expected[top : top + height, left : left + width] = between_four(photo(*shape), (width, height))
    # OpenCV interpolates with whole numbers, so a level may be missing
    assert np.abs(seen - expected).max() <= 1
    outside = np.ones((SIDE, SIDE), bool)
    outside[top : top + height, left : left + width] = False
    assert (seen[outside] == 114).all()


@pytest.mark.parametrize(("size", "shape"), [(40, (40, 40)), ([24, 40], (24, 40))])
def test_a_model_of_open_size_gets_a_letterbox_of_the_size_that_is_said(
    load: Load, size: object, shape: tuple[int, int]
) -> None:
    model = load(ANY_SIZE, fit="letterbox", size=size)
    assert model.decode_image(saved(photo(50, 91))).arrays[0].shape == (1, 3, *shape)


@pytest.mark.parametrize("stride", [8, 16, SIDE, 64])
@pytest.mark.parametrize(
    "shape",
    [
        *(*SHAPES, (64, 63), (1, 400), (400, 1)),
        *(pytest.param(shape, marks=pytest.mark.slow) for shape in ((480, 640), (500, 333))),
    ],
    ids=str,
)
def test_a_letterbox_with_a_stride_is_as_small_as_ultralytics_makes_it(
    load: Load, shape: tuple[int, int], stride: int
) -> None:
    """`LetterBox(64, auto=True, stride=stride)`, of which a model that takes any size gets its images."""
    model = load(
        graphs.pixels(["N", None, None, 3], "uint8"), task="regression", fit="letterbox", size=64, stride=stride
    )
    height, width = shape
    scale = min(64 / height, 64 / width)
    inside = max(1, round(height * scale)), max(1, round(width * scale))
    rest = [(64 - side) % stride for side in inside]
    (above, below), (left, right) = ((round(one / 2 - 0.1), round(one / 2 + 0.1)) for one in rest)

    (seen,) = model.decode_image(saved(photo(*shape))).arrays[0]

    assert seen.shape == (above + inside[0] + below, left + inside[1] + right, 3)
    assert all((64 - side) % stride == 0 for side in seen.shape[:2])
    expected = np.pad(
        between_four(photo(*shape), inside[::-1]), ((above, below), (left, right), (0, 0)), constant_values=114
    )
    assert np.abs(seen - expected).max() <= 1


def test_letterboxes_of_several_sizes_are_predicted_in_one_request(load: Load) -> None:
    model = load(ANY_SIZE, fit="letterbox", size=64, stride=SIDE)
    tall, wide = photo(500, 200), photo(200, 500)
    instances = [model.decode_image(saved(image)) for image in (tall, wide, tall)]
    assert [one.arrays[0].shape[2:] for one in instances] == [(64, 32), (32, 64), (64, 32)]
    together = [one.output for one in model.predict(instances)]
    assert together == [model.predict([one])[0].output for one in instances]


def test_the_filter_of_a_letterbox_may_be_pillows(load: Load) -> None:
    model = load_raw(load, fit="letterbox", resample="bilinear")
    expected = np.asarray(photo(60, 80).resize((SIDE, 24), Image.Resampling.BILINEAR))
    assert np.array_equal(pixels(model, photo(60, 80))[4:28], expected)


def test_an_image_may_be_stretched_as_opencv_does_it(load: Load) -> None:
    model = load_raw(load, (20, 24, 3), resample="inter_linear")
    for shape in SHAPES:
        assert np.abs(pixels(model, photo(*shape)) - between_four(photo(*shape), (24, 20))).max() <= 1


@pytest.mark.parametrize(
    ("channels", "settings", "color"),
    [
        (3, {}, (114, 114, 114)),
        (3, {"pad_color": 0}, (0, 0, 0)),
        (3, {"pad_color": [1, 2, 3]}, (1, 2, 3)),
        (3, {"pad_color": [1, 2, 3], "color": "bgr"}, (1, 2, 3)),  # as image_mean: in the order of the model
        (1, {"pad_color": [7]}, (7,)),
        (1, {}, (114,)),
        (4, {"color": "rgb"}, (114, 114, 114, 255)),
        (4, {"pad_color": [1, 2, 3, 4], "color": "bgr"}, (1, 2, 3, 4)),
    ],
)
def test_a_letterbox_is_filled_with_the_colour_that_is_said(
    load: Load, channels: int, settings: dict[str, object], color: tuple[int, ...]
) -> None:
    model = load_raw(load, (SIDE, SIDE, channels), fit="letterbox", **settings)
    seen = pixels(model, photo(20, 80))
    assert (seen[0] == color).all()
    assert (seen[-1] == color).all()
    assert not (seen[SIDE // 2] == color).all()


# --- scale: the edges of DETR and SAM --------------------------------------------------------------------------------

DETR = {
    "image_processor_type": "DetrImageProcessor",
    "do_convert_annotations": True,
    "do_normalize": True,
    "do_pad": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": MEAN,
    "image_std": STD,
    "resample": 2,
    "rescale_factor": 1 / 255,
    "size": {"longest_edge": 60, "shortest_edge": 40},
}


def detr_size(height: int, width: int, shortest: int, longest: int) -> tuple[int, int]:
    """Return height and width by the definition: the shorter edge, or what the longer one leaves of it."""
    short, exact = shortest, float(shortest)
    if max(height, width) / min(height, width) * shortest > longest:
        exact = longest * min(height, width) / max(height, width)
        short = round(exact)
    if short == min(height, width):
        return height, width
    if width < height:
        return int(exact * height / width), short
    return short, int(exact * width / height)


@pytest.mark.parametrize(
    "shape", [(60, 80), (81, 60), (40, 55), (37, 37), (20, 90), (91, 20), (40, 200), (333, 500)], ids=str
)
@pytest.mark.parametrize(
    "said", [{}, {"fit": "scale", "size": {"shortest_edge": 40, "longest_edge": 60}}], ids=["file", "model.json"]
)
def test_limited_edges_meet_the_scores_of_detr(load: Load, shape: tuple[int, int], said: dict[str, object]) -> None:
    model = load(ANY_SIZE, None if said else DETR, **said, **({"image_mean": MEAN, "image_std": STD} if said else {}))
    image = photo(*shape)
    height, width = detr_size(*shape, 40, 60)
    expected = normalised(np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)))
    instance = model.decode_image(saved(image))
    assert instance.arrays[0].shape == expected.shape
    assert np.abs(instance.arrays[0] - expected).max() < 1e-3
    (answer,) = onnxruntime.InferenceSession(ANY_SIZE.SerializeToString()).run(None, {"image": expected})
    assert model.predict([instance])[0].output == pytest.approx(answer[0].tolist(), abs=1e-3)


@pytest.mark.parametrize(
    ("shape", "wanted"), [((60, 80), (38, 50)), ((80, 60), (50, 38)), ((7, 5), (50, 36)), ((1, 400), (1, 50))]
)
def test_the_longer_edge_alone_is_rounded_as_that_of_sam(
    load: Load, shape: tuple[int, int], wanted: tuple[int, int]
) -> None:
    model = load_raw(load, (None, None, 3), fit="scale", size={"longest_edge": 50})  # type: ignore[arg-type]
    expected = photo(*shape).resize(wanted[::-1], Image.Resampling.BILINEAR)
    assert np.array_equal(pixels(model, photo(*shape)), np.asarray(expected))


def test_images_of_several_sizes_are_scaled_and_predicted_in_one_request(load: Load) -> None:
    model = load(ANY_SIZE, DETR)
    instances = [model.decode_image(saved(photo(*shape))) for shape in ((60, 80), (80, 60), (60, 80))]
    assert len(model.predict(instances)) == 3
    assert model.package.describe_input()["size"] == {"shortest_edge": 40, "longest_edge": 60}


def test_a_line_of_an_image_that_is_scaled_stays_a_line(load: Load) -> None:
    model = load(ANY_SIZE, fit="scale", size={"shortest_edge": 40, "longest_edge": 60})
    assert model.decode_image(saved(photo(1, 4000))).arrays[0].shape == (1, 3, 1, 60)


@pytest.mark.parametrize(
    ("size", "edges"),
    [
        ({"size": 40, "max_size": 60}, {"shortest_edge": 40, "longest_edge": 60}),
        ({"size": 800}, {"shortest_edge": 800, "longest_edge": 1333}),
    ],
)
def test_older_files_of_detr_say_its_edges_in_other_words(
    load: Load, size: dict[str, object], edges: dict[str, int]
) -> None:
    """One number is no square here, which other classes make of it."""
    older = {key: value for key, value in DETR.items() if key not in ("size", "image_processor_type")}
    model = load(ANY_SIZE, older | size | {"feature_extractor_type": "DetrFeatureExtractor"})
    assert settings_of(model)["size"] == edges


# --- preprocessor_config.json ----------------------------------------------------------------------------------------


def settings_of(model: Model) -> dict[str, Any]:
    return dict(json.loads(model.package.settings))


@pytest.mark.parametrize(
    ("preprocessor", "settings"),
    [
        (CLIP, {"fit": "crop", "size": 37, "crop_size": [SIDE, SIDE], "resample": "bicubic", "image_mean": MEAN}),
        # what was written before 2023
        (CLIP | {"size": 40, "crop_size": SIDE}, {"fit": "crop", "size": 40, "crop_size": [SIDE, SIDE]}),
        (VIT, {"size": [SIDE, SIDE], "image_mean": [0.5] * 3, "image_std": [0.5] * 3}),
        (VIT | {"size": SIDE}, {"size": [SIDE, SIDE]}),
        (
            VIT | {"size": 40, "do_center_crop": True, "crop_size": SIDE, "image_processor_type": "DeiTImageProcessor"},
            {"fit": "stretch", "size": [40, 40], "crop_size": [SIDE, SIDE]},
        ),
        (
            VIT | {"size": {"shortest_edge": SIDE}, "crop_pct": 0.8, "image_processor_type": "ConvNextImageProcessor"},
            {"fit": "crop", "size": 40, "crop_size": [SIDE, SIDE]},
        ),
        (
            VIT | {"size": {"shortest_edge": SIDE}, "image_processor_type": "ConvNextFeatureExtractor"},
            {"fit": "crop", "size": 36, "crop_size": [SIDE, SIDE]},
        ),
        ({"do_resize": True, "resample": 1}, {"size": [SIDE, SIDE], "resample": "lanczos"}),
        ({"do_rescale": False, "do_normalize": False}, {"rescale_factor": 1.0, "image_mean": [0.0] * 3}),
        ({"do_rescale": True, "rescale_factor": 0.5}, {"rescale_factor": 0.5}),
        ({"do_flip_channel_order": True}, {"color": "bgr"}),
        (
            {
                "image_processor_type": "MobileViTImageProcessor",
                "do_rescale": True,
                "image_mean": MEAN,
                "image_std": STD,
            },
            {"image_mean": [0.0] * 3, "image_std": [1.0] * 3},
        ),
        ({"image_mean": 0.5, "image_std": 0.25}, {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}),
        # null is what is not said, and other libraries have keys of their own
        (
            {"do_pad": None, "size": None, "do_reduce_labels": True, "do_convert_rgb": True, "patch_size": 14},
            {"size": [SIDE, SIDE], "rescale_factor": 1 / 255},
        ),
    ],
)
def test_a_preprocessor_config_is_read_as_its_library_reads_it(
    load: Load, preprocessor: dict[str, object], settings: dict[str, object]
) -> None:
    found = settings_of(load(preprocessor=preprocessor))
    assert {key: found[key] for key in settings} == settings
    assert ("fit" in found) == ("fit" in settings)


@pytest.mark.parametrize(
    ("said", "settings"),
    [
        ({"fit": "letterbox"}, {"fit": "letterbox", "size": [SIDE, SIDE], "image_mean": MEAN}),
        ({"size": 40}, {"fit": "crop", "size": 40, "crop_rounding": "transformers"}),
        ({"fit": "crop"}, {"fit": "crop", "size": 37, "crop_rounding": "torchvision"}),
        ({"fit": "crop", "size": 50}, {"size": 50, "crop_size": [SIDE, SIDE]}),
        ({"resample": "nearest"}, {"resample": "nearest", "fit": "crop", "size": 37}),
        ({"rescale_factor": 1, "image_mean": 0, "image_std": 1}, {"rescale_factor": 1.0, "image_mean": [0.0] * 3}),
        ({"image_mean": 0.25}, {"image_mean": [0.25] * 3, "image_std": STD}),
        ({"color": "bgr"}, {"color": "bgr"}),
    ],
)
def test_model_json_goes_before_a_preprocessor_config_key_by_key(
    load: Load, said: dict[str, object], settings: dict[str, object]
) -> None:
    found = settings_of(load(preprocessor=CLIP, **said))
    assert {key: found[key] for key in settings} == settings


def test_a_size_belongs_to_its_way_of_fitting(load: Load) -> None:
    """The 37 pixels of the shorter edge are none of a stretched image."""
    stretched = settings_of(load(preprocessor=CLIP, fit="stretch"))
    assert stretched["size"] == [SIDE, SIDE]
    assert "fit" not in stretched


def test_an_open_size_is_said_by_a_preprocessor_config_too(load: Load) -> None:
    assert image_input(load(ANY_SIZE, CLIP)).crop_size == (SIDE, SIDE)
    assert image_input(load(ANY_SIZE, VIT)).height == SIDE
    assert image_input(load(ANY_SIZE, {"do_resize": False})).height is None
    assert image_input(load(ANY_SIZE, {"do_resize": False}, size=[8, 9])).height == 8


@pytest.mark.parametrize(
    ("preprocessor", "message"),
    [
        ([], "must be an object, not []"),
        ({"do_pad": True}, "do_pad: is true, which is not done here: do_center_crop, do_flip_channel_order,"),
        ({"do_thumbnail": True}, "do_thumbnail: is true, which is not done here"),
        ({"do_resize": "yes"}, 'do_resize: must be true or false, not "yes"'),
        ({"do_resize": False}, "do_resize: is false, but input 'image' is [N, 3, 32, 32]: say fit in model.json"),
        ({"do_resize": False, "do_center_crop": True}, "do_center_crop: without do_resize is not done here"),
        ({"do_center_crop": True}, "size: is missing, but do_center_crop is true"),
        (CLIP | {"do_center_crop": None}, "do_center_crop: is missing beside crop_size"),
        (CLIP | {"crop_size": {"shortest_edge": 32}}, "crop_size: must be pixels, or height and width"),
        (CLIP | {"crop_size": "32"}, 'crop_size: must be [height, width] in pixels, not "32"'),
        (CLIP | {"crop_size": 24}, "crop_size: height is 24, but that of input 'image' [N, 3, 32, 32] is 32"),
        (CLIP | {"size": {"shortest_edge": 0}}, "size: must be a whole number of pixels"),
        (CLIP | {"size": {"shortest_edge": 9, "longest_edge": 20}}, "longest_edge"),
        (CLIP | {"size": {"longest_edge": 20}}, "is not done here: shortest_edge alone is, or height and width"),
        # pixels of the area to one class, of the edges to others
        (
            VIT | {"size": {"shortest_edge": 3136, "longest_edge": 12845056}}
            | {"image_processor_type": "Qwen2VLImageProcessor"},
            "of Qwen2VL is not done here",
        ),
        (DETR, "size: is scale, which makes images of many sizes, but input 'image' is [N, 3, 32, 32]"),
        (DETR | {"pad_size": {"height": 64, "width": 64}}, "do_pad: is true, which is not done here"),
        (DETR | {"do_center_crop": True}, "do_center_crop: beside a size of"),
        (DETR | {"size": {"shortest_edge": 40}}, "size: resizes the shorter edge to 40"),
        (VIT | {"image_processor_type": "YolosImageProcessor"}, "Yolos's does what no key says"),
        (VIT | {"image_processor_type": "MaskFormerFeatureExtractor"}, "MaskFormer's does what no key says"),
        (VIT | {"max_size": 1333}, "max_size: is 1333, which is not done here"),
        (VIT | {"size_divisibility": 32}, "size_divisibility: is 32, which is not done here"),
        (CLIP | {"size": 40} | UNKNOWN, "size: 40 can be the shorter edge or both sides, which depends on"),
        (CLIP | {"do_center_crop": False}, "size: resizes the shorter edge to 37 and do_center_crop is not true"),
        (VIT | {"size": {"height": 24, "width": SIDE}}, "size: height is 24, but that of input 'image'"),
        (VIT | {"size": {"height": 40, "width": 40}, "do_center_crop": True}, "crop_size: is missing"),
        (VIT | {"resample": 9}, "resample: must be one of nearest, lanczos, bilinear"),
        (VIT | {"rescale_factor": 0}, "rescale_factor: must be a number other than 0"),
        (VIT | {"image_mean": [1, 2]}, "image_mean: has 2 values, but the model's image 3 channels"),
        (VIT | {"image_std": [0, 1, 1]}, "image_std: must not be 0, it divides"),
        (VIT | {"image_mean": None}, "image_mean: is missing, but do_normalize is true"),
        (VIT | {"do_normalize": None}, "do_normalize: is missing beside image_mean"),
        ({"do_normalize": False}, "do_rescale: is missing beside do_normalize"),
        (VIT | {"crop_pct": 0.9}, "crop_pct: is 0.9, which is not done here"),
        (VIT | {"include_top": True}, "include_top: is true, which is not done here"),
        (VIT | {"size_divisor": 32}, "size_divisor: is 32, which is not done here"),
        (VIT | {"image_processor_type": "LevitImageProcessor"}, "image_processor_type: Levit's does what no key says"),
        (VIT | {"image_processor_type": 1}, "image_processor_type: must be a text, not 1"),
        (
            VIT | {"size": {"shortest_edge": 32}, "crop_pct": 0, "image_processor_type": "ConvNextImageProcessor"},
            "crop_pct: must be a number above 0 and at most 1, not 0",
        ),
        ({"feature_size": 80, "sampling_rate": 16000}, "sampling_rate: is a sound's, but the model takes an image"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_as_a_preprocessor_config_says_is_refused(
    load: Load, preprocessor: object, message: str
) -> None:
    with pytest.raises(ModelPackageError) as raised:
        load(preprocessor=preprocessor)
    assert str(raised.value).startswith("preprocessor_config.json: ")
    assert message in str(raised.value)


def test_a_preprocessor_config_that_is_no_json_is_refused_by_name(tmp_path: Path) -> None:
    folder = graphs.package(tmp_path, PHOTOS)
    (folder / "preprocessor_config.json").write_text("{")
    with pytest.raises(ModelPackageError, match=r"^preprocessor_config\.json: is not JSON"):
        ModelPackage.load(folder)


def test_a_preprocessor_config_is_nothing_to_a_model_of_features(tmp_path: Path) -> None:
    linear = graphs.linear(np.ones((2, 3)), then=["Softmax"])
    plain = ModelPackage.load(graphs.package(tmp_path, linear))
    (tmp_path / "preprocessor_config.json").write_text('{"do_pad": true}')
    assert ModelPackage.load(tmp_path).sha256 == plain.sha256


def test_grey_images_and_whole_numbers_are_told_what_contradicts_them(load: Load) -> None:
    with pytest.raises(ModelPackageError, match=r"image_mean: has 3 values, but the model's image 1 channel$"):
        load(graphs.conv_net(), VIT | {"size": 28})
    with pytest.raises(ModelPackageError, match=r"do_flip_channel_order: bgr has 3 channels, the model's input 1"):
        load(graphs.conv_net(), {"do_flip_channel_order": True})
    octets = graphs.conv_net("NCHW", channels=3, size=(SIDE, SIDE), dtype="uint8")
    with pytest.raises(ModelPackageError, match=r"rescale_factor: pixels become 1 at most, but input 'image' is uint8"):
        load(octets, {"rescale_factor": 1 / 255})
    assert image_input(load(octets, {"do_rescale": False})).rescale_factor == 1


# --- what model.json says --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fit": "contain"}, 'fit: must be one of stretch, crop, letterbox, scale, not "contain"'),
        ({"stride": 0}, "stride: must be a whole number of pixels, not 0"),
        ({"stride": 16}, "stride: is about a letterbox"),
        ({"fit": "letterbox", "stride": 16}, "stride: makes images of many sizes, but input 'image' is [N, 3, 32, 32]"),
        ({"fit": "scale"}, 'size: must be {"shortest_edge": pixels, "longest_edge": pixels}'),
        ({"fit": "scale", "size": 40}, 'size: must be {"shortest_edge": pixels, "longest_edge": pixels}'),
        ({"size": {"longest_edge": 40}}, 'size: must be {"shortest_edge": pixels, "longest_edge": pixels}'),
        ({"size": {"shortest_edge": 40}}, "size: must be [height, width] in pixels"),
        ({"size": {"longest_edge": "40"}}, "size: must be [height, width] in pixels"),
        ({"crop_size": {"longest_edge": 40}}, "crop_size: must be [height, width] in pixels"),
        (
            {"fit": "scale", "size": {"longest_edge": 40}},
            "fit: is scale, which makes images of many sizes, but input 'image' is [N, 3, 32, 32]",
        ),
        (
            {"fit": "scale", "size": {"longest_edge": 40}, "crop_size": 9},
            "crop_size: is cut out of an image, but fit is scale",
        ),
        ({"fit": "keep"}, "fit: must be one of"),
        ({"crop_size": 0}, "crop_size: must be [height, width] in pixels, not 0"),
        ({"crop_size": True}, "crop_size: must be [height, width] in pixels, not true"),
        ({"pad_color": 256}, "pad_color: must be a whole number of 0 to 255"),
        ({"pad_color": [1, True, 1]}, "pad_color: must be a whole number of 0 to 255"),
        ({"pad_color": []}, "pad_color: must be a whole number of 0 to 255"),
        ({"pad_color": 1}, "pad_color: is what an image is filled up with where fit is letterbox"),
        ({"fit": "letterbox", "pad_color": [1, 2]}, "pad_color: has 2 values, but the model's image 3 channels"),
        ({"fit": "letterbox", "crop_size": 9}, "crop_size: is cut out of an image, but fit is letterbox"),
        ({"fit": "letterbox", "size": 40}, "size: height is 40, but that of input 'image' [N, 3, 32, 32] is 32"),
        ({"size": 40}, "size: must be [height, width] in pixels, or say fit: crop if 40 is the length of the shorter"),
        ({"fit": "stretch", "size": 40}, "size: must be [height, width] in pixels"),
        ({"crop_size": SIDE}, "fit: is missing beside crop_size"),
        ({"fit": "stretch", "crop_size": SIDE}, "size: is missing beside crop_size"),
        ({"fit": "crop", "size": 40, "crop_size": 24}, "crop_size: height is 24, but that of input 'image'"),
        ({"fit": "crop", "size": [40, 50], "crop_size": SIDE}, "size: must be the length of the shorter edge"),
        ({"fit": "crop", "size": [40, 40]}, "size: height is 40, but that of input 'image'"),
    ],
)
def test_a_fit_that_contradicts_itself_or_the_model_is_refused(
    load: Load, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelPackageError) as raised:
        load(**settings)
    assert f"model.json: {message}" in str(raised.value)


@pytest.mark.parametrize(("fit", "key"), [("crop", "crop_size"), ("letterbox", "size")])
def test_a_model_of_open_size_needs_one_to_be_fitted(load: Load, fit: str, key: str) -> None:
    with pytest.raises(ModelPackageError, match=rf"model\.json: {key}: is missing: input 'image' .*, and fit: {fit}"):
        load(ANY_SIZE, fit=fit)


def test_a_stride_divides_the_size_of_its_letterbox(load: Load) -> None:
    for size in (65, [64, 60]):
        with pytest.raises(ModelPackageError, match=r"model\.json: stride: is 32, of which both sides in size must be"):
            load(ANY_SIZE, fit="letterbox", size=size, stride=32)


@pytest.mark.parametrize("key", ["fit", "crop_size", "pad_color", "stride"])
def test_fitting_is_about_images(tmp_path: Path, key: str) -> None:
    value = {"fit": "crop", "crop_size": 9, "pad_color": 1, "stride": 32}[key]
    folder = graphs.package(tmp_path, graphs.linear(np.ones((2, 3))), **{key: value})
    with pytest.raises(ModelPackageError, match=f"{key}: is about images, but the model takes features"):
        ModelPackage.load(folder)


def test_other_ways_of_fitting_are_other_models(load: Load) -> None:
    plain = load().package
    assert plain.sha256 == plain.files[0].sha256
    said: list[tuple[object, dict[str, object]]] = [
        (None, {}),
        (None, {"fit": "crop"}),
        (None, {"fit": "crop", "size": 40}),
        (None, {"fit": "letterbox"}),
        (None, {"fit": "letterbox", "pad_color": 0}),
        (None, {"fit": "stretch", "size": [40, 40], "crop_size": SIDE}),
        ({"size": {"shortest_edge": 40}, "do_center_crop": True}, {}),
        (VIT, {}),
    ]
    digests = {load(preprocessor=preprocessor, **settings).package.sha256 for preprocessor, settings in said}
    assert len(digests) == 8
    said = [
        (None, {"fit": "letterbox", "size": 64}),
        (None, {"fit": "letterbox", "size": 64, "stride": 32}),
        (None, {"fit": "letterbox", "size": 64, "stride": 16}),
        (None, {"fit": "scale", "size": {"longest_edge": 60}}),
        (None, {"fit": "scale", "size": {"shortest_edge": 40, "longest_edge": 60}}),
    ]
    assert len({load(ANY_SIZE, preprocessor, **settings).package.sha256 for preprocessor, settings in said}) == 5


def test_what_changes_nothing_leaves_the_digest_as_it_is(load: Load) -> None:
    plain = load().package
    said: list[tuple[object, dict[str, object]]] = [
        (None, {"fit": "stretch"}),
        (None, {"fit": "stretch", "size": [SIDE, SIDE], "crop_size": SIDE}),
        ({"do_resize": True, "size": SIDE, "resample": 2, "do_rescale": True}, {}),
    ]
    for preprocessor, settings in said:
        package = load(preprocessor=preprocessor, **settings).package
        assert (package.sha256, package.settings) == (plain.sha256, plain.settings)
        assert "fit" not in package.settings


def test_how_an_image_is_fitted_is_told(load: Load) -> None:
    packages = [load().package, load(fit="letterbox").package, load(preprocessor=CLIP).package]
    told = [package.describe_input() for package in packages]
    assert [(one["fit"], one["crop_size"], one["height"]) for one in told] == [
        ("stretch", None, SIDE),
        ("letterbox", None, SIDE),
        ("crop", (SIDE, SIDE), SIDE),
    ]


# --- what it costs ---------------------------------------------------------------------------------------------------


def test_an_image_that_grows_too_long_is_refused_by_its_header(load: Load) -> None:
    model = load(fit="crop", size=256)
    for line in (Image.new("L", (1, 60_000)), Image.new("L", (60_000, 1))):
        for check in (model.check_image, model.decode_image):
            with pytest.raises(ImageTooLargeError, match="which makes 3932160000 pixels: at most 25000000 are taken"):
                check(saved(line))
    assert model.decode_image(saved(Image.new("L", (380, 1)))).arrays[0].shape == (1, 3, SIDE, SIDE)


def test_a_small_limit_of_pixels_leaves_room_for_the_shorter_edge(tmp_path: Path) -> None:
    package = ModelPackage.load(graphs.package(tmp_path, PHOTOS, fit="crop", size=256))
    model = Model.load(package, max_image_pixels=2_000)
    assert model.decode_image(saved(photo(20, 90))).arrays[0].shape == (1, 3, SIDE, SIDE)
    with pytest.raises(ImageTooLargeError, match="at most 1048576 are taken"):
        model.decode_image(saved(photo(4, 90)))


def test_a_line_is_stretched_and_put_into_a_letterbox_whatever_its_length(load: Load) -> None:
    ways: list[dict[str, object]] = [{}, {"fit": "letterbox"}, {"fit": "stretch", "size": [40, 40], "crop_size": SIDE}]
    for settings in ways:
        for size in ((1, 60_000), (60_000, 1)):
            decoded = load(**settings).decode_image(saved(Image.new("L", size)))
            assert decoded.arrays[0].shape == (1, 3, SIDE, SIDE)
