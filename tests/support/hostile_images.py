"""Small image files that would take much memory or time to decode."""

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

from PIL import Image

EOI = b"\xff\xd9"


def saved(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    """Return an image's file."""
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def turned() -> Image.Exif:
    """Return the EXIF data of an image that lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


# --- PNG -------------------------------------------------------------------------------------------------------------


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *extra: bytes, depth: int = 8, color: int = 0, end: Sequence[bytes] = ()) -> bytes:
    """Return a black PNG file, with extra chunks before or behind the pixels."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    rows = zlib.compress(bytes((1 + (width * samples * depth + 7) // 8) * height), 9)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"".join([b"\x89PNG\r\n\x1a\n", header, *extra, chunk(b"IDAT", rows), *end, chunk(b"IEND", b"")])


# --- JPEG ------------------------------------------------------------------------------------------------------------


def segment(kind: int, content: bytes) -> bytes:
    """Return a segment of a JPEG file: a marker, the length, the content."""
    return bytes((0xFF, kind)) + struct.pack(">H", len(content) + 2) + content


def progressive_jpeg(side: int, extra_scans: int, *, between: bytes = b"") -> bytes:
    """Return a grey square whose extra scans refine nothing, each of them in some 30 bytes.

    `between` stands before each extra scan.
    """
    blocks = (-(-side // 8)) ** 2
    frame = segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + bytes((1, 0x11, 0)))
    tables = [segment(0xC4, bytes((kind, 1, *[0] * 15, symbol))) for kind, symbol in ((0x00, 0), (0x10, 0xE0))]
    first = segment(0xDA, bytes((1, 1, 0, 0, 0, 0))) + _entropy("0" * blocks)
    # The only code of the table says a run of 2^14 or more blocks in which nothing changes; 14 bits follow.
    runs = []
    while blocks >= 1 << 14:
        run = min(blocks, (1 << 15) - 1)
        runs.append("0" + format(run - (1 << 14), "014b"))
        blocks -= run
    extra = between + segment(0xDA, bytes((1, 1, 0, 1, 63, 0x10))) + _entropy("".join(runs))
    quantization = segment(0xDB, bytes([0, *[1] * 64]))
    return b"".join([b"\xff\xd8", quantization, frame, *tables, first, extra * extra_scans, EOI])


def _entropy(bits: str) -> bytes:
    bits += "1" * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")


# --- TIFF ------------------------------------------------------------------------------------------------------------


def tiff(tags: dict[int, int | tuple[int, ...]], data: bytes, *, twice: dict[int, int] | None = None) -> bytes:
    """Return a TIFF file of LONG tags. `data` begins at byte 8, where offsets point to by default."""
    entries, lists = [], b""
    start = 8 + len(data)
    count = len(tags) + len(twice or {})
    behind = start + 2 + 12 * count + 4
    for tag, value in [*sorted(tags.items()), *sorted((twice or {}).items())]:
        values = value if isinstance(value, tuple) else (value,)
        packed = struct.pack(f"<{len(values)}L", *values)
        if len(values) > 1:
            packed, lists = struct.pack("<L", behind + len(lists)), lists + packed
        entries.append(struct.pack("<HHL", tag, 4, len(values)) + packed)
    directory = struct.pack("<H", count) + b"".join(entries) + struct.pack("<L", 0)
    return b"II*\0" + struct.pack("<L", start) + data + directory + lists


def tiff_tags(
    width: int, height: int, size: int, **changed: int | tuple[int, ...] | None
) -> dict[int, int | tuple[int, ...]]:
    """Return the tags of a grey image in one strip; `t322=16` changes or adds the tag 322, and None drops one."""
    tags: dict[int, Any] = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 273: 8, 277: 1, 278: height, 279: size}
    tags |= {int(name[1:]): value for name, value in changed.items()}
    return {tag: value for tag, value in tags.items() if value is not None}


def tiles_of(side: int) -> dict[str, int | None]:
    """Return the tags that put a TIFF's image into one tile instead of strips."""
    return {
        "t273": None,
        "t278": None,
        "t279": None,
        "t322": side,
        "t323": side,
        "t324": 8,
        "t325": side * side % 2**32,
    }


# --- GIF, BMP --------------------------------------------------------------------------------------------------------


def gif_with_blocks(count: int) -> bytes:
    """Return a GIF file with a comment of `count` blocks of one byte before its picture."""
    plain = saved(Image.new("L", (28, 28)), "GIF")
    at = plain.index(b"\x2c\0\0\0\0\x1c\0\x1c\0")
    return plain[:at] + b"\x21\xfe" + b"\x01a" * count + b"\0" + plain[at:]


def run_length_bmp(width: int, height: int, data: bytes) -> bytes:
    """Return a BMP file of run-length encoded pixels, which Pillow decodes in Python."""
    palette = b"".join(bytes((value, 255 - value, value, 0)) for value in range(256))
    offset = 14 + 40 + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(data), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + header + palette + data
