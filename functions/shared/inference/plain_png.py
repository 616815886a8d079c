"""Decode plain PNG files (header, pixels and end, as browsers write them) without Pillow's reader.

docs/decisions/plain-png.md says why. A file that this module took and Pillow would refuse, or see differently, would
get a wrong prediction. So it leaves every other file to Pillow.

Source: the PNG specification, 3rd edition, sections 5 and 11.2.
"""

import struct
from collections.abc import Callable
from typing import Final
from zlib import crc32

from PIL import Image

from functions.shared.inference.pillow_core import from_png_pixels

# Signature; length and type of the first chunk; width, height, bit depth, colour type; the methods of compression,
# filtering and interlacing; CRC.
_HEADER: Final = struct.Struct(">8sI4sIIBBBBBI")
_BEGINNING: Final = (b"\x89PNG\r\n\x1a\n", 13, b"IHDR")
_CHECKED: Final = slice(12, 29)  # the bytes that the CRC covers
_CHUNK: Final = struct.Struct(">I4s")
_CRC_BYTES: Final = 4
_BIT_DEPTH: Final = 8
_MODES: Final = {0: "L", 2: "RGB", 4: "LA", 6: "RGBA"}


def read_plain_png(data: bytes, check_size: Callable[[int, int], None]) -> Image.Image | None:
    """Decode a file if it is plain.

    Parameters
    ----------
    data
        The file.
    check_size
        Called with width and height, before a pixel is decoded and only if the file is plain. Raises if they are too
        large.

    Returns
    -------
    Image or None
        The image that Pillow's reader would return. None if Pillow must read the file.
    """
    if len(data) < _HEADER.size:
        return None
    *beginning, width, height, depth, color, compression, filtering, interlacing, crc = _HEADER.unpack_from(data)
    if tuple(beginning) != _BEGINNING or crc32(data[_CHECKED]) != crc:
        return None
    mode = _MODES.get(color)
    if mode is None or depth != _BIT_DEPTH or compression or filtering or interlacing or not width or not height:
        return None
    pixels = _pixels(data)
    if pixels is None:
        return None
    check_size(width, height)
    return from_png_pixels(pixels, mode, (width, height))


def _pixels(data: bytes) -> bytes | None:
    """Return the compressed pixels. None if the file has any other chunk."""
    pieces: list[bytes] = []
    at = _HEADER.size
    while len(data) - at >= _CHUNK.size:
        length, kind = _CHUNK.unpack_from(data, at)
        at += _CHUNK.size
        if kind == b"IEND":
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if kind != b"IDAT":
            return None
        pieces.append(data[at : at + length])
        at += length + _CRC_BYTES
    return None
