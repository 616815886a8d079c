"""What decoding a JPEG file costs, from its markers.

libjpeg goes over all pixels once for each scan, and a scan of a few bytes can be empty: a file of 273 kB had 3,000. The
markers are read as libjpeg reads them (jdmarker.c): a scan that this module did not see would not be counted.

Source: ITU-T T.81, annex B.
"""

import re
from typing import Final, NamedTuple

from functions.shared.inference.errors import image_too_large

MAX_SEGMENTS: Final = 65_536
"""Segments of a file that are read. Photos have up to a few hundred."""

MARKER: Final = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
"""A marker that has a meaning in or between scans: not a stuffed byte, a fill byte, or a restart."""

EOI: Final = 0xD9
"""The second byte of the marker at the end."""

SOS: Final = 0xDA
"""The second byte of the marker of a scan. Its length (2 bytes) and its number of components (1) follow."""

FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The second bytes of the marker of a frame. Its length (2 bytes), precision (1), height (2), width (2) and number of
components (1) follow."""

PROGRESSIVE: Final = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
"""Those of a frame whose coefficients come in several scans."""

_SOI: Final = 0xD8
_FRAME_BYTES: Final = 8


class JpegFrame(NamedTuple):
    """The size of a JPEG file's image in pixels, and the scans that libjpeg reads. 0 where the file has no header."""

    width: int
    height: int
    scans: int


def read_jpeg_frame(data: bytes) -> JpegFrame:
    """Read the size, and count the scans.

    Raises
    ------
    ImageTooLargeError
        The file has more than `MAX_SEGMENTS` segments.
    """
    width = height = components = scans = 0
    several = False
    at = 2
    for _ in range(MAX_SEGMENTS):
        marker = MARKER.search(data, at)
        if marker is None:
            break
        at = marker.end()
        kind = data[at - 1]
        if kind == _SOI:
            continue
        segment = data[at : at + _FRAME_BYTES]
        if kind == EOI or len(segment) < _FRAME_BYTES:
            break
        if kind in FRAMES and not components:
            height, width, components = segment[3] << 8 | segment[4], segment[5] << 8 | segment[6], segment[7]
            several = kind in PROGRESSIVE
        elif kind == SOS:
            scans += 1
            several = several or segment[2] < components
            if not several:
                break  # libjpeg reads no further than this scan
        at += max(2, segment[0] << 8 | segment[1])
    else:
        raise image_too_large(f"the JPEG file has more than the {MAX_SEGMENTS} segments that are read")
    return JpegFrame(width, height, scans)
