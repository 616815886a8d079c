"""Give an image the size that the model takes, as it was done in training.

- ``stretch`` ignores the aspect ratio, as ``tf.keras.utils.load_img`` and most of Hugging Face's image processors do.
  An image that has the model's size already is not resampled.
- ``crop`` resizes the shorter edge, rounds the longer one down, and cuts out the middle, as torchvision's ``Resize``
  and ``CenterCrop`` do with Pillow's images, and as Hugging Face's image processors do with Pillow. Where the image is
  smaller than the crop, the rest is black. Where the middle lies between two pixels, the two libraries differ.
- ``letterbox`` resizes the longer edge and fills up, as Ultralytics' ``LetterBox`` does for a model of fixed size; with
  a ``stride``, for one of open size: then it fills up no more than the stride asks for.
- ``scale`` resizes the shorter edge, or the longer one where that would become too long, and cuts and fills nothing, as
  Hugging Face's image processors of DETR do; if the longer edge alone is said, as that of SAM does.

Source: the documentation of torchvision.transforms, transformers' ``image_transforms`` and Ultralytics' ``LetterBox``.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from functions.shared.inference.image_input import CropRounding, ImageInput
from functions.shared.inference.package_settings import INTER_LINEAR, RESAMPLE_NAMES, Edges

_ONE: Final = 2048  # OpenCV's weights of two neighbours make this together

_SAMPLES_AT_ONCE: Final = 1_000_000  # their four neighbours and sums take 40 times as many bytes

_Resize: TypeAlias = Callable[[Image.Image, tuple[int, int]], Image.Image]


def fitter(wanted: ImageInput) -> Callable[[Image.Image], Image.Image] | None:
    """Return what gives an image the model's size; None if each image keeps its own.

    The image has the mode already that the model takes, and it is upright.
    """
    resize = _resize_inter_linear if wanted.resample == INTER_LINEAR else _resize_with(wanted.resample)
    if wanted.edges is not None:
        edges = wanted.edges
        return lambda image: _resize_once(image, _scaled(image.size, edges), resize)
    if wanted.width is None or wanted.height is None:
        return None
    size = (wanted.width, wanted.height)
    if wanted.fit == "letterbox":
        color = wanted.pad_color[2::-1] + wanted.pad_color[3:] if wanted.color == "bgr" else wanted.pad_color
        stride = wanted.stride
        return lambda image: _letterbox(image, size, resize, color, stride)
    resized_to, rounding = wanted.resized_to, wanted.crop_rounding
    if resized_to is None:
        return lambda image: resize(image, size)
    if isinstance(resized_to, int):
        edge = resized_to
        return lambda image: _centre(_resize_once(image, _with_shorter_edge(image.size, edge), resize), size, rounding)
    whole = (resized_to[1], resized_to[0])
    return lambda image: _centre(_resize_once(image, whole, resize), size, rounding)


def _resize_with(name: str) -> _Resize:
    resample = Image.Resampling(RESAMPLE_NAMES.index(name))
    return lambda image, size: image.resize(size, resample)


def _resize_inter_linear(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize as OpenCV's INTER_LINEAR does: each pixel is a mean of four, however many lie between them.

    OpenCV weighs 8-bit samples with whole numbers. The same numbers here give the same pixels.
    """
    pixels: NDArray[np.uint8] = np.asarray(image).reshape(image.height, image.width, -1)
    left, right, across = _neighbours(image.width, size[0])
    above, below, down = _neighbours(image.height, size[1])
    across, down = across[:, np.newaxis], down[:, np.newaxis, np.newaxis]
    resized = np.empty((size[1], size[0], pixels.shape[2]), np.uint8)
    step = max(1, _SAMPLES_AT_ONCE // resized[0].size)
    for start in range(0, size[1], step):
        part = slice(start, start + step)
        total: NDArray[np.int32] = np.full_like(resized[part], 2, np.int32)
        for row, weight in ((above[part], _ONE - down[part]), (below[part], down[part])):
            rows = row[:, np.newaxis]
            line: NDArray[np.int32] = pixels[rows, left] * (_ONE - across) + pixels[rows, right] * across
            total += (line >> 4) * weight >> 16
        resized[part] = total >> 2
    return Image.fromarray(resized[:, :, 0] if image.mode == "L" else resized)


def _neighbours(length: int, wanted: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int32]]:
    """Return, for each pixel of a resized side, the two that it lies between, and the weight of the second."""
    places = ((np.arange(wanted) + 0.5) * (length / wanted) - 0.5).astype(np.float32).clip(0, length - 1)
    first = places.astype(np.intp)
    return first, np.minimum(first + 1, length - 1), np.rint((places - first) * _ONE).astype(np.int32)


def _resize_once(image: Image.Image, size: tuple[int, int], resize: _Resize) -> Image.Image:
    return image if image.size == size else resize(image, size)


def _with_shorter_edge(size: tuple[int, int], edge: int) -> tuple[int, int]:
    width, height = size
    if width <= height:
        return edge, int(edge * height / width)
    return int(edge * width / height), edge


def _scaled(size: tuple[int, int], edges: Edges) -> tuple[int, int]:
    """Return width and height of an image whose edges are limited. A line stays a line, as in a letterbox."""
    width, height = size
    shorter, longer = float(min(size)), float(max(size))
    if edges.shortest is None:
        scale = edges.longest / longer
        return max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5))
    edge, exact = edges.shortest, float(edges.shortest)
    if longer / shorter * edge > edges.longest:
        exact = edges.longest * shorter / longer
        edge = round(exact)
    if min(size) == edge:
        return size
    edge = max(1, edge)
    if width < height:
        return edge, max(1, int(exact * height / width))
    return max(1, int(exact * width / height)), edge


def _centre(image: Image.Image, size: tuple[int, int], rounding: CropRounding) -> Image.Image:
    """Cut out the middle. Pillow fills with zeros what lies outside of the image."""
    offset = _torchvision_offset if rounding == "torchvision" else _transformers_offset
    left, top = offset(image.width - size[0]), offset(image.height - size[1])
    return image.crop((left, top, left + size[0], top + size[1]))


def _torchvision_offset(excess: int) -> int:
    """Return where the crop begins: half of what is too much, to the even number if that is between two."""
    return round(excess / 2) if excess > 0 else -(-excess // 2)


def _transformers_offset(excess: int) -> int:
    return excess // 2


def _letterbox(
    image: Image.Image, size: tuple[int, int], resize: _Resize, color: tuple[int, ...], stride: int | None
) -> Image.Image:
    width, height = size
    scale = min(height / image.height, width / image.width)
    # A line of one pixel by thousands stays a line, although its width is rounded to nothing.
    shrunk = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    beside, below = width - shrunk[0], height - shrunk[1]
    if stride is not None:
        beside, below = beside % stride, below % stride
    whole = (shrunk[0] + beside, shrunk[1] + below)
    canvas = Image.new(image.mode, whole, color if len(color) > 1 else color[0])
    # Half of what is left, down: the tenth keeps a half from being rounded to the even number.
    left, top = round(beside / 2 - 0.1), round(below / 2 - 0.1)
    canvas.paste(_resize_once(image, shrunk, resize), (left, top))
    return canvas
