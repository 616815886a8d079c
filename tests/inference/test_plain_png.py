"""Plain PNG files take a shorter way through Pillow, and come out as they do on the long one."""

import struct
import zlib
from collections.abc import Iterable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from functions.shared.inference.plain_png import read_plain_png

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MODES = ("L", "LA", "RGB", "RGBA")


class TooLargeError(Exception):
    pass


def any_size(width: int, height: int) -> None:
    """Check nothing."""


def picture(mode: str, size: tuple[int, int] = (28, 28), seed: int = 0) -> Image.Image:
    """Smooth enough for an encoder to choose all the filters, noisy enough to be no picture twice."""
    width, height = size
    noise = np.random.default_rng(seed).integers(0, 9, (height, width, len(mode)))
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = ((rows * 7 + columns * 3)[..., np.newaxis] + noise).astype(np.uint8)
    return Image.fromarray(pixels[:, :, 0] if mode == "L" else pixels, mode)


def saved(image: Image.Image, **how: object) -> bytes:
    file = BytesIO()
    image.save(file, "PNG", **how)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Take a file apart: the type and the content of each chunk."""
    found, at = [], len(SIGNATURE)
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def file_of(parts: Iterable[tuple[bytes, bytes]]) -> bytes:
    return SIGNATURE + b"".join(chunk(kind, content) for kind, content in parts)


def with_header(data: bytes, **changed: int) -> bytes:
    names = ("width", "height", "depth", "color", "compression", "filtering", "interlacing")
    (_, content), *rest = chunks(data)
    header = dict(zip(names, struct.unpack(">IIBBBBB", content), strict=True)) | changed
    return file_of([(b"IHDR", struct.pack(">IIBBBBB", *header.values())), *rest])


def as_pillow_reads_it(data: bytes) -> tuple[str, tuple[int, int], bytes]:
    with Image.open(BytesIO(data), formats=["PNG"]) as image:
        return image.mode, image.size, image.tobytes()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(28, 28), (1, 1), (1, 300), (301, 2), (640, 480)], ids=str)
@pytest.mark.parametrize("level", [0, 1, 9])
def test_a_plain_file_is_read_as_pillow_reads_it(mode: str, size: tuple[int, int], level: int) -> None:
    data = saved(picture(mode, size), compress_level=level)
    image = read_plain_png(data, any_size)
    assert image is not None
    assert (image.mode, image.size, image.tobytes()) == as_pillow_reads_it(data)
    assert image.info == {}


@pytest.mark.parametrize("piece", [1, 100, 8192])
def test_the_pixels_may_come_in_pieces(piece: int) -> None:
    """Browsers write 8 kB a chunk."""
    header, (_, pixels), end = chunks(saved(picture("RGB", (200, 100))))
    pieces = [(b"IDAT", pixels[at : at + piece]) for at in range(0, len(pixels), piece)]
    data = file_of([header, *pieces, end])
    image = read_plain_png(data, any_size)
    assert image is not None
    assert image.tobytes() == as_pillow_reads_it(data)[2]


def test_what_follows_the_end_is_ignored() -> None:
    data = saved(picture("L"))
    image = read_plain_png(data + b"and more", any_size)
    assert image is not None
    assert image.tobytes() == as_pillow_reads_it(data)[2]


PLAIN = saved(picture("L"))
HEADER, PIXELS, END = chunks(PLAIN)


def test_rows_that_are_missing_are_black_as_pillow_has_them() -> None:
    data = with_header(PLAIN, height=30)
    image = read_plain_png(data, any_size)
    assert image is not None
    assert (image.mode, image.size, image.tobytes()) == as_pillow_reads_it(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(saved(picture("L").convert("P")), id="palette"),
        pytest.param(saved(picture("L").convert("1")), id="1 bit"),
        pytest.param(saved(Image.fromarray(np.zeros((5, 5), np.uint16))), id="16 bits"),
        pytest.param(saved(picture("L"), transparency=7), id="a transparent colour"),
        pytest.param(saved(picture("L"), dpi=(72, 72)), id="metadata"),
        pytest.param(saved(picture("L"), save_all=True, append_images=[picture("L", seed=1)]), id="animated"),
        pytest.param(with_header(PLAIN, interlacing=1), id="interlaced"),
        pytest.param(with_header(PLAIN, compression=1), id="an unknown compression"),
        pytest.param(with_header(PLAIN, filtering=1), id="unknown filters"),
        pytest.param(with_header(PLAIN, color=1), id="an unknown colour type"),
        pytest.param(with_header(PLAIN, width=0), id="no width"),
        pytest.param(PLAIN[:31] + b"\0" + PLAIN[32:], id="a wrong checksum"),
        pytest.param(file_of([HEADER, END]), id="no pixels"),
        pytest.param(file_of([HEADER, PIXELS]), id="no end"),
        pytest.param(file_of([HEADER, PIXELS, (b"tEXt", b"a\0b"), END]), id="metadata behind the pixels"),
        pytest.param(file_of([HEADER, (b"IDAT", PIXELS[1][:-9]), END]), id="cut-off pixels"),
        pytest.param(file_of([HEADER, (b"IDAT", PIXELS[1][:-1] + b"\0"), END]), id="damaged pixels"),
        pytest.param(PLAIN[:40], id="cut off in the pixels"),
        pytest.param(PLAIN[:20], id="cut off in the header"),
        pytest.param(b"", id="empty"),
        pytest.param(saved(picture("L")).replace(b"PNG", b"GNP"), id="another signature"),
    ],
)
def test_any_other_file_is_left_to_pillow(data: bytes) -> None:
    assert read_plain_png(data, any_size) is None


def test_the_size_is_checked_before_a_pixel_is_decoded() -> None:
    def check(width: int, height: int) -> None:
        assert (width, height) == (2**31 - 1, 3)
        raise TooLargeError

    with pytest.raises(TooLargeError):
        read_plain_png(with_header(PLAIN, width=2**31 - 1, height=3), check)


@pytest.mark.parametrize("mode", MODES)
def test_no_damage_gets_a_picture_through_that_pillow_refuses_or_sees_otherwise(mode: str) -> None:
    random = np.random.default_rng(5)
    data = saved(picture(mode, (9, 7)))
    read = 0
    for _ in range(2000):
        damaged = bytearray(data)
        for at in random.integers(8, len(data), random.integers(1, 4)):
            damaged[at] = random.integers(256)
        image = read_plain_png(bytes(damaged), any_size)
        if image is not None:
            read += 1
            assert (image.mode, image.size, image.tobytes()) == as_pillow_reads_it(bytes(damaged))
    assert read > 0  # a checksum of the pixels, say, that Pillow does not look at either
