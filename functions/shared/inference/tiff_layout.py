"""What decoding a TIFF file costs, from its first directory.

libtiff allocates a whole tile before it decodes one, whatever the size of the image: 28 x 28 pixels in a tile of
46336 x 46336 took 2 GB. A tag that Pillow and libtiff could read differently is refused.

Source: TIFF, revision 6.0, section 2; BigTIFF design (libtiff).
"""

import struct
from typing import Final, NamedTuple

from functions.shared.inference.errors import UndecodableImageError, image_too_large, undecodable_image

MAX_ENTRIES: Final = 4_096
"""Entries of a directory. libtiff compares each with each."""

MAX_PIECES: Final = 100_000
"""Strips or tiles of an image."""

_WIDTH, _HEIGHT, _BITS, _COMPRESSION = 256, 257, 258, 259
_STRIPS, _SAMPLES, _ROWS, _PLANES = 273, 277, 278, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILES = 322, 323, 324
_LISTS: Final = frozenset({_BITS, _STRIPS, _TILES})
_SINGLE: Final = frozenset(
    {_WIDTH, _HEIGHT, _COMPRESSION, _SAMPLES, _ROWS, _PLANES, _TILE_WIDTH, _TILE_HEIGHT},
)
_NUMBERS: Final = {1: "B", 3: "H", 4: "L", 16: "Q"}
_COMPRESSIONS: Final = {
    1: "none",
    2: "CCITT",
    3: "CCITT",
    4: "CCITT",
    5: "LZW",
    7: "JPEG",
    8: "deflate",
    32946: "deflate",
    32773: "PackBits",
}
_JPEG: Final = 7
# libtiff holds a strip or tile beside the image, so each pixel counts twice.
_PASSES: Final = 2
# libtiff decodes up to 100 scans of a strip's or tile's JPEG, whose sides are multiples of 16 pixels.
_JPEG_PASSES: Final = 7
_JPEG_BLOCK: Final = 16
_SEPARATE_PLANES: Final = 2


class TiffLayout(NamedTuple):
    """The size of a TIFF file's first image, and how many pixels are decoded for it.

    Attributes
    ----------
    width, height
        In pixels, before it is turned upright.
    passes
        Pixels that are decoded, padding and repetition included, over those of the image.
    """

    width: int
    height: int
    passes: float


def read_tiff_layout(data: bytes) -> TiffLayout:
    """Read how the first image of a file lies in it.

    Raises
    ------
    UndecodableImageError
        The directory is damaged or ambiguous, or the compression is none that is taken.
    ImageTooLargeError
        The directory has too many entries, or the image too many pieces.
    """
    try:
        tags = _read_directory(data)
    except struct.error as error:
        raise _undecodable("its header is damaged or cut off") from error
    width, height = tags.get(_WIDTH, 0), tags.get(_HEIGHT, 0)
    if not width or not height:
        raise _undecodable("it does not say the size of its image")
    compression = tags.get(_COMPRESSION, 1)
    if compression not in _COMPRESSIONS:
        taken = ", ".join(dict.fromkeys(_COMPRESSIONS.values()))
        raise _undecodable(f"its compression, {compression}, is none that is taken: send one of {taken}")
    tiled = _TILES in tags or _TILE_WIDTH in tags or _TILE_HEIGHT in tags
    if tiled and _STRIPS in tags:
        raise _undecodable("it has both strips and tiles")
    piece_width, piece_height = width, min(tags.get(_ROWS, height), height)
    if tiled:
        piece_width, piece_height = tags.get(_TILE_WIDTH, 0), tags.get(_TILE_HEIGHT, 0)
    if not piece_width or not piece_height:
        raise _undecodable("its tiles or strips have no size")
    pieces = -(-width // piece_width) * -(-height // piece_height)
    planes = tags.get(_SAMPLES, 1) if tags.get(_PLANES, 1) == _SEPARATE_PLANES else 1
    listed = max(tags.get(_STRIPS, 0), tags.get(_TILES, 0))
    if max(pieces * planes, listed) > MAX_PIECES:
        raise image_too_large(f"the TIFF file has more than the {MAX_PIECES} strips or tiles that are taken")
    if listed < pieces * planes:  # Pillow leaves black what is in none of them
        raise _undecodable(f"it has {listed} strips or tiles, and its image is made of {pieces * planes}")
    passes = _PASSES
    if compression == _JPEG:
        passes = _JPEG_PASSES
        piece_width, piece_height = (-(-side // _JPEG_BLOCK) * _JPEG_BLOCK for side in (piece_width, piece_height))
    # Pillow decodes every listed strip of a file without compression, and each is within the image.
    pieces = max(pieces, -(-listed // planes))
    return TiffLayout(width, height, passes * pieces * piece_width * piece_height / (width * height))


def _read_directory(data: bytes) -> dict[int, int]:
    """Return the numbers of the tags that say how the image lies, or how many numbers a tag lists."""
    order = "<" if data.startswith(b"II") else ">"
    big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    if big and order == ">":
        raise _undecodable("it is a big-endian BigTIFF, which Pillow misreads: send a little-endian one")
    (at,) = struct.unpack_from(f"{order}Q" if big else f"{order}L", data, 8 if big else 4)
    number_of_entries, entry = (
        (struct.Struct(f"{order}Q"), struct.Struct(f"{order}HHQ8s"))
        if big
        else (struct.Struct(f"{order}H"), struct.Struct(f"{order}HHL4s"))
    )
    if at > len(data):
        raise struct.error("the directory is not in the file")
    (count,) = number_of_entries.unpack_from(data, at)
    if count > MAX_ENTRIES:
        raise image_too_large(f"the TIFF file has more than the {MAX_ENTRIES} tags that are read")
    at += number_of_entries.size
    tags: dict[int, int] = {}
    for tag, kind, length, value in (entry.unpack_from(data, at + index * entry.size) for index in range(count)):
        if tag not in _SINGLE and tag not in _LISTS:
            continue
        if tag in tags:
            raise _undecodable(f"it has the tag {tag} twice")
        if kind not in _NUMBERS or (tag in _SINGLE and length != 1):
            raise _undecodable(f"its tag {tag} is not {'one whole number' if tag in _SINGLE else 'whole numbers'}")
        tags[tag] = length if tag in _LISTS else struct.unpack_from(f"{order}{_NUMBERS[kind]}", value)[0]
    return tags


def _undecodable(why: str) -> UndecodableImageError:
    return undecodable_image(f"the image begins like tiff, but {why}")
