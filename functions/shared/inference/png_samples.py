"""Decode PNG files with all the bits that decide what a browser shows.

Pillow keeps the upper bytes of 16-bit colours alone, and compares the transparent colour of a file, which has the depth
of the file, with samples that it has converted to 8 bits. So most such files lose their transparency.

Source: PNG specification, 3rd edition, sections 11.3.1.1 (tRNS) and 13.12 (sample depth rescaling).
"""

import struct
from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

_DEPTHS: Final = {"1": 1, "L;2": 2, "L;4": 4, "L": 8, "RGB": 8}
# Little-endian samples are unpacked to their second bytes. PNG is big-endian, so those are the lower ones.
_LOWER_BYTES: Final = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}
_ROWS_AT_ONCE: Final = 64
_SIGNATURE_BYTES: Final = 8
_CHUNK: Final = struct.Struct(">I4s")
_CRC_BYTES: Final = 4


def load_png(image: ImageFile, data: bytes, reopen: Callable[[], ImageFile]) -> Image.Image:
    """Decode a PNG file.

    Parameters
    ----------
    image
        The file as Pillow opened it.
    data
        The file.
    reopen
        Opens it again: 16-bit colours are decoded twice, for their upper and for their lower bytes.

    Returns
    -------
    Image
        With an alpha channel if one colour is transparent. 16 bits are rounded to 8.
    """
    rawmode = image.tile[0].args if image.tile else None
    if rawmode == "LA;16B":  # four bytes a pixel, as RGBA has
        image.tile = [image.tile[0]._replace(args="RGBA")]
        image.load()
        return Image.fromarray(eight_bits().take(np.asarray(image).view(">u2")))
    if rawmode in _LOWER_BYTES:
        return _load_deep_colors(image, reopen(), _LOWER_BYTES[rawmode])
    image.load()
    transparent = image.info.get("transparency")
    if image.mode == "I;16":
        samples = np.asarray(image)
        pixels = eight_bits().take(samples)
        return Image.fromarray(pixels) if transparent is None else _with_alpha(pixels, samples != transparent)
    if transparent is None or image.mode == "P":
        return image
    depth = _DEPTHS[str(rawmode)]
    most = 2**depth - 1
    if image.mode == "1":
        return _with_alpha(np.asarray(image.convert("L")), np.asarray(image) != _transparent_bit(data))
    # As libpng does, take no more bits of the colour than a sample has.
    pixels = np.asarray(image)
    color = (np.asarray(transparent) & most) * (255 // most)
    differs = pixels != color.astype(np.uint8)
    return _with_alpha(pixels, differs.any(axis=2) if pixels.ndim == 3 else differs)


def _transparent_bit(data: bytes) -> bool:
    """Return the last bit of the transparent grey: Pillow looks whether any bit is set. ValueError if there is none."""
    at = _SIGNATURE_BYTES
    while at < len(data):
        length, kind = _CHUNK.unpack_from(data, at)
        at += _CHUNK.size + length + _CRC_BYTES
        if kind == b"tRNS":
            return bool(data[at - length - _CRC_BYTES + 1] & 1)
    raise ValueError("no tRNS chunk")


def _load_deep_colors(image: ImageFile, again: ImageFile, lower: str) -> Image.Image:
    image.load()
    pixels = np.array(image)
    again.tile = [again.tile[0]._replace(args=lower)]
    again.load()
    transparent = image.info.get("transparency")
    opaque = np.ones(pixels.shape[:2], np.bool_)
    for top in range(0, len(pixels), _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        low = np.asarray(again.crop((0, top, image.width, min(rows.stop, image.height))))
        samples = pixels[rows].astype(np.uint16) << 8 | low
        pixels[rows] = eight_bits().take(samples)
        if transparent is not None:
            opaque[rows] = (samples != np.asarray(transparent, np.uint16)).any(axis=2)
    return Image.fromarray(pixels) if transparent is None else _with_alpha(pixels, opaque)


def _with_alpha(pixels: NDArray[np.uint8], opaque: NDArray[np.bool_]) -> Image.Image:
    return Image.fromarray(np.dstack([pixels, np.where(opaque, np.uint8(255), np.uint8(0))]))


@cache
def eight_bits() -> NDArray[np.uint8]:
    """Return the 8-bit sample of each 16-bit one: floor(sample * 255 / 65535 + 0.5) (PNG specification, 13.12)."""
    return ((np.arange(65536, dtype=np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
