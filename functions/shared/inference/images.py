"""Convert an uploaded image to the model's tensor.

A model predicts worse, and nobody notices, if its images are converted otherwise than in training. So:

- The EXIF orientation turns an image upright, as in every viewer.
- The first frame of an animation, or the first page of a document, is the image.
- How an image gets the model's size, ``image_fit`` says. Colours are converted first.
- A transparent image is laid over black, or over white if what is drawn is dark, unless the model takes transparency.
  White ink and black ink both stay readable.
- 16 bits per sample become 8 over the whole range (65535 becomes 255), as the PNG specification says.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

from functions.shared.inference.content_types import SUPPORTED_CONTENT_TYPES, sniff_contenttype
from functions.shared.inference.decoding_budget import SCANS_LIKE_THE_FIRST, UNTIMED_BYTES, DecodingBudget, TimedFile
from functions.shared.inference.errors import image_too_large, undecodable_image
from functions.shared.inference.image_fit import fitter
from functions.shared.inference.image_input import ImageInput
from functions.shared.inference.instance import Picture
from functions.shared.inference.jpeg_frame import read_jpeg_frame
from functions.shared.inference.pillow_core import to_array
from functions.shared.inference.plain_png import read_plain_png
from functions.shared.inference.tiff_layout import read_tiff_layout

# Pillow warns about odd metadata in files that decode well, and the warnings would fill the log. A filter for each
# image would take time and is not thread-safe (Python, "warnings.catch_warnings").
warnings.filterwarnings("ignore", module=r"PIL\.")

__all__ = ["SUPPORTED_CONTENT_TYPES", "ImageDecoder", "sniff_contenttype"]

_MODES: Final = {1: "L", 3: "RGB", 4: "RGBA"}
_SIXTEEN_BIT_MODES: Final = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
# 32 bits per sample have no fixed white, and Pillow converts none of these to colour.
_REFUSED_MODES: Final = frozenset({"I", "F", "LAB"})
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Of red, green and blue in the luminance, as Pillow weighs them too (ITU-R BT.601-7, section 2.5.1).
_LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)
# Of a picture with more samples, those of pixels in a grid are measured.
_MEASURED_SAMPLES: Final = 1_000_000
_ORIENTATION_TAG: Final = 0x0112
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # of TIFF 6.0
# Pillow raises these on damaged files. While it reads a header, its ImageFile converts the second row to SyntaxError;
# while it reads pixels and metadata, it does not.
_DAMAGED: Final = (
    *(OSError, SyntaxError, ValueError),
    *(IndexError, TypeError, KeyError, EOFError, struct.error, zlib.error),
)


class ImageDecoder:
    """Decodes images for one model. What depends on the model alone is computed once, here.

    Parameters
    ----------
    wanted
        How the model takes its image.
    max_pixels
        The most pixels (width times height) that an image may have. The other limits are multiples of it.
    """

    def __init__(self, wanted: ImageInput, *, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._mode = _MODES[wanted.channels]
        self._size = None if wanted.width is None or wanted.height is None else (wanted.width, wanted.height)
        self._fit = fitter(wanted)
        # An image that has the model's size is not stretched to it, but it may be resized to have a part cut out of it.
        self._fitting_size = None if wanted.resized_to is not None else self._size
        self._shorter_edge = wanted.resized_to if isinstance(wanted.resized_to, int) else 0
        self._layout = wanted.layout
        self._order = (2, 1, 0, 3)[: wanted.channels] if wanted.color == "bgr" else tuple(range(wanted.channels))
        # A pixel has 256 possible values, so a table holds the result for each, computed in double precision: decoding
        # takes one step for any dtype, and no result is rounded twice.
        dtype = np.dtype(wanted.dtype)
        pixels = np.arange(256, dtype=np.float64)
        tables = [(pixels * wanted.rescale_factor - m) / s for m, s in zip(wanted.mean, wanted.std, strict=True)]
        if dtype.kind in "iu":
            tables = [np.rint(table) for table in tables]
        self._tables = [table.astype(dtype) for table in tables]
        size = wanted.channels * dtype.itemsize
        most = self._size[0] * self._size[1] if self._size else wanted.edges.pixels if wanted.edges else 0
        self._bytes_per_pixel = 0 if most else size
        self._fixed_bytes = size * most
        self._one_table = all(np.array_equal(table, self._tables[0]) for table in self._tables)

    def budget(self) -> DecodingBudget:
        """Return what the images of one request may cost."""
        return DecodingBudget(self._max_pixels, self._bytes_per_pixel, self._fixed_bytes, self._shorter_edge)

    def decode(self, data: bytes, budget: DecodingBudget | None = None) -> NDArray[Any]:
        """Decode one image file.

        Parameters
        ----------
        data
            The file's bytes.
        budget
            What is left for the images of the request. None for an image alone.

        Returns
        -------
        NDArray
            ``[1, height, width, channels]``, ``[1, channels, height, width]`` or ``[1, height, width]``, as the model
            takes it, in the model's dtype.

        Raises
        ------
        UndecodableImageError
            The bytes are not an image, or a damaged one, or an image of another kind.
        ImageTooLargeError
            It would cost more than is left.
        """
        return self.decode_and_measure(data, budget)[0]

    def decode_and_measure(self, data: bytes, budget: DecodingBudget | None = None) -> tuple[NDArray[Any], Picture]:
        """Do the same, and return what was measured of the picture, too."""
        budget = budget or self.budget()
        image: Image.Image | None = read_plain_png(data, budget.admit)
        turn = None
        try:
            if image is None:
                image, turn = self._read(data, budget)
            width, height = image.size
            image = _to_mode(image, self._mode)
            if turn is not None:
                image = image.transpose(turn)
            if self._fit is not None and image.size != self._fitting_size:
                image = self._fit(image)
        except _DAMAGED as error:
            raise undecodable_image("the image is damaged or cut off") from error
        pixels = to_array(image)
        return self._to_tensor(pixels), Picture(width, height, len(data), *_brightness_and_contrast(pixels))

    def check(self, data: bytes) -> None:
        """Refuse what `decode` would refuse for its header. This decodes no pixel, so damage behind it does not show.

        Raises
        ------
        UndecodableImageError, ImageTooLargeError
            As `decode` does.
        """
        self._open(data, self.budget())

    def black(self, height: int, width: int) -> NDArray[Any]:
        """Return the tensor of a black, opaque image, in the shape and dtype of `decode`."""
        return self._to_tensor(to_array(Image.new(self._mode, (width, height), "black")))

    def _read(self, data: bytes, budget: DecodingBudget) -> tuple[Image.Image, Image.Transpose | None]:
        """Decode the pixels, and tell how they are turned."""
        image = self._open(data, budget)
        load = _LOADERS.get(image.format or "")
        if load is None:
            image.load()
            return image, _turn(image)
        return load(image, data, lambda file: self._open(file, budget)), _turn(image)

    def _open(self, data: bytes, budget: DecodingBudget) -> ImageFile:
        """Read the header, and take the image's cost off the budget. This decodes no pixel."""
        content_type = sniff_contenttype(data)
        if content_type is None:
            kinds = ", ".join(kind.removeprefix("image/") for kind in SUPPORTED_CONTENT_TYPES)
            what = "the image is empty" if not data else "the bytes are no image of a kind that is taken"
            raise undecodable_image(f"{what}: send one of {kinds}")
        admit = _ADMIT.get(content_type)
        admitted = None if admit is None else admit(data, budget)
        try:
            # Pillow fills a run-length BMP pixel by pixel, whatever the size of the file.
            timed = len(data) > UNTIMED_BYTES or content_type == "image/bmp"
            image = _OPENERS[content_type](TimedFile(data, budget) if timed else io.BytesIO(data))
        except Image.DecompressionBombError as error:  # a frame of a GIF may be larger than the GIF's own size
            raise image_too_large(f"the image has more than the {self._max_pixels} pixels that are taken") from error
        except _DAMAGED as error:
            name = content_type.removeprefix("image/")
            why = "its header is damaged or cut off"
            if content_type == "image/tiff":  # for Pillow, that is all the same
                why += ", or its samples are of a kind that is not taken: send 8 or 16 bits each"
            raise undecodable_image(f"the image begins like {name}, but {why}") from error
        if admitted is None:
            budget.admit(*image.size)
        elif sorted(admitted) != sorted(image.size):
            raise undecodable_image("the image's header says its size in two ways")
        return image

    def _to_tensor(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        if pixels.ndim == 2 and self._layout != "NHW":
            pixels = pixels[:, :, np.newaxis]
        if self._one_table:
            values = self._tables[0].take(pixels if self._order[0] == 0 else pixels[:, :, self._order])
        else:
            planes = zip(self._tables, self._order, strict=True)
            values = np.stack([table.take(pixels[:, :, source]) for table, source in planes], axis=2)
        return (values.transpose(2, 0, 1) if self._layout == "NCHW" else values)[np.newaxis]


def _brightness_and_contrast(pixels: NDArray[np.uint8]) -> tuple[float, float]:
    """Return the mean and the standard deviation of the luminance, each between 0 and 1."""
    if pixels.size > _MEASURED_SAMPLES:
        step = 2
        while pixels[::step, ::step].size > _MEASURED_SAMPLES:
            step += 1
        pixels = pixels[::step, ::step]
    if pixels.ndim == 2:
        # `mean` and `std` do the same, and take several times as long for a small picture. These sums are exact.
        grey = pixels.ravel().astype(np.float64)
        count = grey.size
        total, squares = float(grey.dot(_ones(count))), float(grey.dot(grey))
        return total / count / 255, max(count * squares - total * total, 0.0) ** 0.5 / count / 255
    luminance = (pixels[:, :, :3].astype(np.float32) @ _LUMA).ravel()
    mean = float(np.add.reduce(luminance)) / luminance.size
    luminance -= mean
    return mean / 255, (float(luminance.dot(luminance)) / luminance.size) ** 0.5 / 255


@lru_cache(maxsize=1)
def _ones(count: int) -> NDArray[np.float64]:
    return np.ones(count)


# Image.open would import and try several formats. Here the type is known, so the first image of a type imports one, and
# no format is decoded that is not in this list.


def _open_png(file: io.BytesIO) -> ImageFile:
    from PIL.PngImagePlugin import PngImageFile

    return PngImageFile(file)


def _open_jpeg(file: io.BytesIO) -> ImageFile:
    from PIL.JpegImagePlugin import JpegImageFile

    return JpegImageFile(file)


def _open_webp(file: io.BytesIO) -> ImageFile:
    from PIL.WebPImagePlugin import WebPImageFile

    return WebPImageFile(file)


def _open_gif(file: io.BytesIO) -> ImageFile:
    from PIL.GifImagePlugin import GifImageFile

    return GifImageFile(file)


def _open_bmp(file: io.BytesIO) -> ImageFile:
    from PIL.BmpImagePlugin import BmpImageFile

    return BmpImageFile(file)


def _open_tiff(file: io.BytesIO) -> ImageFile:
    from PIL.TiffImagePlugin import MM, OPEN_INFO, TiffImageFile

    # Pillow knows 16 bits of which 0 is white in the other byte order alone. `_load_tiff` inverts them in both.
    OPEN_INFO.setdefault((MM, 0, (1,), 1, (16,), ()), ("I;16B", "I;16B"))
    return TiffImageFile(file)


_OPENERS: Final[dict[str, Callable[[io.BytesIO], ImageFile]]] = {
    "image/png": _open_png,
    "image/jpeg": _open_jpeg,
    "image/webp": _open_webp,
    "image/gif": _open_gif,
    "image/bmp": _open_bmp,
    "image/tiff": _open_tiff,
}


# The size that Pillow tells does not say what these decoders allocate, or how often they go over the pixels. So their
# headers are read before Pillow sees the file.


def _admit_jpeg(data: bytes, budget: DecodingBudget) -> tuple[int, int]:
    width, height, scans = read_jpeg_frame(data)
    budget.admit(width, height, 1 + scans // SCANS_LIKE_THE_FIRST)
    return width, height


def _admit_tiff(data: bytes, budget: DecodingBudget) -> tuple[int, int]:
    width, height, passes = read_tiff_layout(data)
    budget.admit(width, height, passes)
    return width, height


def _admit_webp(data: bytes, budget: DecodingBudget) -> tuple[int, int]:
    width, height = _webp_size(data)
    budget.admit(width, height)
    return width, height


_ADMIT: Final[dict[str, Callable[[bytes, DecodingBudget], tuple[int, int]]]] = {
    "image/jpeg": _admit_jpeg,
    "image/tiff": _admit_tiff,
    "image/webp": _admit_webp,
}


def _webp_size(data: bytes) -> tuple[int, int]:
    """Read the canvas size of a WebP file (RFC 9649). (0, 0) if there is none."""
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and len(data) >= 30:
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    return 0, 0


# What Pillow's readers see otherwise than browsers do. docs/decisions/pictures.md has the list. What most images do not
# need is imported when one needs it.


def _load_png(image: ImageFile, data: bytes, open_file: Callable[[bytes], ImageFile]) -> Image.Image:
    from functions.shared.inference.png_samples import load_png

    return load_png(image, data, lambda: open_file(data))


def _load_jpeg(image: ImageFile, data: bytes, open_file: Callable[[bytes], ImageFile]) -> Image.Image:
    try:
        image.load()
    except _DAMAGED:
        from functions.shared.inference.jpeg_end import load_unended_jpeg

        return load_unended_jpeg(data, open_file)
    return image


def _load_webp(image: ImageFile, _data: bytes, _open_file: Callable[[bytes], ImageFile]) -> Image.Image:
    image.load()
    return image.copy()  # the decoder holds 12 bytes a pixel as long as it lives


def _load_gif(image: ImageFile, _data: bytes, _open_file: Callable[[bytes], ImageFile]) -> Image.Image:
    """Decode the first frame. What it does not cover is transparent, not the first colour of the palette."""
    covered = image.tile[0].extents if image.tile else None
    image.load()
    if covered in (None, (0, 0, *image.size)) or "transparency" in image.info:
        return image
    whole = image.convert("RGB")
    alpha = Image.new("L", image.size, 0)
    alpha.paste(255, covered)
    whole.putalpha(alpha)
    return whole


def _load_tiff(image: ImageFile, _data: bytes, _open_file: Callable[[bytes], ImageFile]) -> Image.Image:
    """Decode the first page. Pillow leaves 12 bits as they are, and 16 bits of which 0 is white."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    depth, white_is_zero = tags.get(_BITS_PER_SAMPLE), tags.get(_PHOTOMETRIC) == 0
    image.load()
    if image.mode not in _SIXTEEN_BIT_MODES:
        return image
    from functions.shared.inference.png_samples import eight_bits

    samples = np.asarray(image)
    if depth == (12,):
        samples = (samples.astype(np.uint32) * 65535 // 4095).astype(np.uint16)
    pixels = eight_bits().take(samples)
    return Image.fromarray(255 - pixels if white_is_zero else pixels)


_LOADERS: Final[dict[str, Callable[[ImageFile, bytes, Callable[[bytes], ImageFile]], Image.Image]]] = {
    "PNG": _load_png,
    "JPEG": _load_jpeg,
    "WEBP": _load_webp,
    "GIF": _load_gif,
    "TIFF": _load_tiff,
}


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return how the EXIF orientation turns a decoded image. Pillow turns TIFF images itself."""
    if "exif" not in image.info:
        return None
    try:
        exif = Image.Exif()  # not `image.getexif`, which takes the orientation of XMP too: browsers do not
        exif.load(image.info["exif"])
        orientation = exif.get(_ORIENTATION_TAG)
    except _DAMAGED:
        return None  # the pixels are whole, and viewers show them unturned
    return _TURNS.get(orientation) if isinstance(orientation, int) else None


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == mode and "transparency" not in image.info:
        return image  # most images that are made for the model
    if image.mode in _REFUSED_MODES:
        raise undecodable_image(
            f"the image has samples of a kind ({image.mode}) that is not taken: send 8 or 16 bits each"
        )
    if image.mode in ("P", "PA") and image.palette is None:
        raise undecodable_image("the image has a palette, but the palette is missing")
    if mode != "RGBA" and image.has_transparency_data:
        image = _flattened(image if image.mode == "RGBA" else image.convert("RGBA"))
    return image if image.mode == mode else image.convert(mode)


def _flattened(image: Image.Image) -> Image.Image:
    """Lay an RGBA image over black, or over white if what is drawn is dark."""
    alpha = image.getchannel("A")
    if alpha.getextrema() == (255, 255):  # opaque, as most images are
        return image.convert("RGB")
    on_black = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image).convert("RGB")
    light = np.asarray(on_black.convert("L")).sum(dtype=np.int64)
    if 2 * light >= np.asarray(alpha).sum(dtype=np.int64):  # on average, what is drawn is mid-grey or lighter
        return on_black
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
