"""Pixels into and out of Pillow's images, by the parts of Pillow that it does not document for this.

`Image.frombytes` and `Image.tobytes` do the same. For a small image they take twice as long as the pixels do: each of
their steps asks the image for its size and mode again. A release of Pillow may change what is used here without saying
so: `tests/inference/test_pillow_core.py` then fails, and no other module names it.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, _imaging


class _BlackImage(Image.Image):
    """An image for a decoder to fill, made as Pillow makes its own (its handbook, "Writing your own image plugin")."""

    def __init__(self, mode: str, size: tuple[int, int]) -> None:
        super().__init__()
        self._mode = mode
        self._size = size
        self.im = _imaging.new(mode, size)


def from_png_pixels(compressed: bytes, mode: str, size: tuple[int, int]) -> Image.Image | None:
    """Decode the pixels of a PNG file of 8 bits a sample. Rows that are missing are black.

    Parameters
    ----------
    compressed
        The content of its IDAT chunks.
    mode
        ``L``, ``LA``, ``RGB`` or ``RGBA``, as the file has its samples.
    size
        Width and height.

    Returns
    -------
    Image or None
        None if the pixels are damaged.
    """
    image = _BlackImage(mode, size)
    decoder = _imaging.zip_decoder(mode, mode)
    decoder.setimage(image.im, (0, 0, *size))
    left, error = decoder.decode(compressed)
    return image if left < 0 and not error else None


def to_array(image: Image.Image) -> NDArray[np.uint8]:
    """Return the samples of an image of 8 bits each, as ``[height, width]`` or ``[height, width, channels]``.

    Parameters
    ----------
    image
        Loaded, and of the mode ``L``, ``LA``, ``RGB`` or ``RGBA``.
    """
    mode, (width, height) = image.mode, image.size
    encoder = _imaging.raw_encoder(mode, mode)
    encoder.setimage(image.im, (0, 0, width, height))
    _, _, content = encoder.encode(width * height * len(mode))  # each letter of these modes is a sample
    pixels = np.frombuffer(content, np.uint8)
    return pixels.reshape(height, width) if mode == "L" else pixels.reshape(height, width, len(mode))
