"""Read JPEG files that lack their end marker, and only that.

Pillow refuses every file that ends early. libjpeg, if it is given an end marker, decodes any: what is missing is grey,
and nothing tells. So the file is decoded again, with noise of several kinds between its last byte and the marker. A
decoder that has all it needs does not look at the noise. One that still needs a bit takes the noise for it, and sees
another picture with one kind or another.

Source: ITU-T T.81, annexes B and G.
"""

import re
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from PIL.ImageFile import ImageFile

from functions.shared.inference.jpeg_frame import EOI, FRAMES, MARKER, PROGRESSIVE, SOS

_END: Final = bytes((0xFF, EOI))
_RESTART: Final = re.compile(rb"\xff([\xd0-\xd7])")
_RESTARTS: Final = 8
_COEFFICIENTS: Final = 64
# A missing code is decoded from the first bits of the noise, so each kind begins with others. Of 10,800 tiny files, cut
# within the last 11 bytes, two kinds let 10 pass as another picture, and eight none. In a large file, those bytes are
# few, and decoding takes long.
_KINDS: Final = 8
_KINDS_FOR_LARGE: Final = 2
_LARGE: Final = 1_000_000
_NOISE_BYTES: Final = 48


def load_unended_jpeg(data: bytes, open_file: Callable[[bytes], ImageFile]) -> ImageFile:
    """Decode a file that Pillow refuses, if it lacks no more than its end marker.

    Parameters
    ----------
    data
        The file.
    open_file
        Reads a file's header.

    Raises
    ------
    OSError
        More is missing.
    """
    if not _has_all_scans(data):
        raise OSError("scans are missing")
    data = data.rstrip(b"\xff")  # half a marker
    image = open_file(data + _END)
    image.load()
    seen = sha256(image.tobytes()).digest()
    kinds = _KINDS_FOR_LARGE if image.width * image.height > _LARGE else _KINDS
    for kind in range(kinds):
        other = open_file(data + _in_each_interval(_noise(kind, kinds), data) + _END)
        other.load()
        if sha256(other.tobytes()).digest() != seen:
            raise OSError("the last scan is cut off")
    return image


def _noise(kind: int, kinds: int) -> bytes:
    """Return bytes of which none begins a marker."""
    first = (2 * kind + 1) * 0xFF // (2 * kinds)
    return bytes((first, *(1 + (at * at + first) * 89 % 254 for at in range(1, _NOISE_BYTES))))


def _in_each_interval(noise: bytes, data: bytes) -> bytes:
    """Return noise, and again after each restart marker that the decoder may wait for (T.81, B.2.1)."""
    restarts = _RESTART.findall(data)
    expected = restarts[-1][0] + 1 if restarts else 0
    markers = (bytes((0xFF, 0xD0 | (expected + step) % _RESTARTS)) for step in range(_RESTARTS))
    return noise + b"".join(marker + noise for marker in markers)


def _has_all_scans(data: bytes) -> bool:
    """Tell whether each coefficient of each component has come, to its last bit."""
    missing_bits: dict[int, list[int | None]] = {}
    progressive = False
    at = 2
    while (marker := MARKER.search(data, at)) is not None:
        at = marker.end()
        kind = data[at - 1]
        if kind in FRAMES and not missing_bits:
            components = data[at + 8 : at + 8 + 3 * data[at + 7] : 3]
            missing_bits = {component: [None] * _COEFFICIENTS for component in components}
            progressive = kind in PROGRESSIVE
        elif kind == SOS:
            end = at + 3 + 2 * data[at + 2]
            first, last, approximation = (data[end], data[end + 1], data[end + 2] & 0x0F) if progressive else (0, 63, 0)
            for component in data[at + 3 : end : 2]:
                missing_bits[component][first : last + 1] = [approximation] * (last + 1 - first)
            if not progressive and _is_whole(missing_bits):
                break  # libjpeg reads no further
        at += max(2, data[at] << 8 | data[at + 1])
    return _is_whole(missing_bits)


def _is_whole(missing_bits: dict[int, list[int | None]]) -> bool:
    return all(bits == [0] * _COEFFICIENTS for bits in missing_bits.values())
