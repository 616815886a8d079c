"""Pictures as browsers show them, by kind: mode, depth, transparency, gamma, profile, orientation, animation.

What a picture shows is computed here from its samples, by the formulas of each format's specification. The files are
written by the few lines of encoder that each kind needs, so neither Pillow's encoders nor its decoders say what is
right.
docs/decisions/pictures.md lists what is decided for each kind.
"""

import itertools
import re
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from functions.shared.inference.errors import UndecodableImageError
from tests.inference.test_images import decoder, photo, saved

Samples = NDArray[np.integer[Any]]
Pixels = NDArray[np.uint8]

# --- what is to be seen ----------------------------------------------------------------------------------------------


def eight_bits(samples: Samples, depth: int) -> Pixels:
    """Rescale samples linearly: round(sample * 255 / (2^depth - 1)) (PNG specification, 13.12)."""
    pixels: Pixels = np.floor(samples.astype(np.float64) * 255 / (2**depth - 1) + 0.5).astype(np.uint8)
    return pixels


def rgba(color: Pixels, alpha: Pixels | None = None) -> Pixels:
    """Return [height, width, 4] of grey or RGB samples, and of alpha or none."""
    if color.ndim == 2:
        color = color[:, :, np.newaxis]
    color = np.broadcast_to(color, (*color.shape[:2], 3))
    opaque = np.full(color.shape[:2], 255, np.uint8) if alpha is None else alpha
    return np.dstack([color, opaque]).astype(np.uint8)


def flattened(seen: Pixels) -> Pixels:
    """Lay it over black, or over white if what is drawn is dark."""
    alpha = seen[:, :, 3:] / 255
    on_black = seen[:, :, :3] * alpha
    light = (on_black @ np.array([0.299, 0.587, 0.114])).sum()
    return np.rint(on_black if 2 * light >= 255 * alpha.sum() else on_black + 255 * (1 - alpha)).astype(np.uint8)


def shows(data: bytes, seen: Pixels, *, within: int = 0) -> None:
    """Assert that models of 4, 3 and 1 channels get this picture."""
    with_alpha = decoder(4).decode(data)[0].astype(int)
    hidden = (seen[:, :, 3] == 0) & (with_alpha[:, :, 3] == 0)  # of a colour that nobody sees
    assert with_alpha.shape == seen.shape
    assert np.abs(with_alpha - seen)[~hidden].max(initial=0) <= within
    # Laying half-transparent colours over a sheet rounds once more.
    within += 0 if np.isin(seen[:, :, 3], (0, 255)).all() else 1
    flat = flattened(seen)
    assert np.abs(decoder(3).decode(data)[0].astype(int) - flat).max() <= within
    grey = flat @ np.array([0.299, 0.587, 0.114])
    assert np.abs(decoder(1).decode(data)[0, :, :, 0] - grey).max() <= within + 1


def noise(*shape: int, depth: int, seed: int = 0) -> Samples:
    return np.random.default_rng(seed).integers(0, 2**depth, shape, dtype=np.uint32)


def packed(samples: Samples, depth: int) -> list[bytes]:
    """Return the rows of samples, most significant bit first, each from a byte of its own on."""
    rows = samples.reshape(len(samples), -1).astype(np.uint32)
    bits = (rows[:, :, np.newaxis] >> np.arange(depth - 1, -1, -1, dtype=np.uint32)) & 1
    return [np.packbits(row.ravel().astype(np.uint8)).tobytes() for row in bits]


# --- PNG -------------------------------------------------------------------------------------------------------------

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
PASSES = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    color: int, depth: int, samples: Samples, *extra: bytes, interlaced: bool = False, end: bytes = chunk(b"IEND", b"")
) -> bytes:
    """Encode samples, [height, width] or [height, width, channels], without filters."""
    height, width = samples.shape[:2]
    passes = PASSES if interlaced else [(0, 0, 1, 1)]
    parts = [samples[top::down, left::right] for top, left, down, right in passes]
    rows = b"".join(b"\0" + row for part in parts if part.size for row in packed(part, depth))
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    chunks = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(rows)), end]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_grey(depth: int, interlaced: bool) -> None:
    samples = noise(9, 11, depth=depth)
    shows(png(GREY, depth, samples, interlaced=interlaced), rgba(eight_bits(samples, depth)))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("which", ["darkest", "lightest", "some", "none"])
def test_one_transparent_grey_is_the_same_as_alpha(depth: int, which: str, interlaced: bool) -> None:
    samples = noise(9, 11, depth=depth)
    most = 2**depth - 1
    transparent = {"darkest": 0, "lightest": most, "some": int(samples[4, 5]), "none": most // 2 or 1}[which]
    if which == "none":
        samples[samples == transparent] = most - transparent
    data = png(GREY, depth, samples, chunk(b"tRNS", struct.pack(">H", transparent)), interlaced=interlaced)
    alpha = np.where(samples == transparent, 0, 255).astype(np.uint8)

    shows(data, rgba(eight_bits(samples, depth), alpha))
    with_alpha = [png(GREY_ALPHA, 8, np.dstack([eight_bits(samples, depth), alpha]))]
    if depth == 16:
        with_alpha.append(png(GREY_ALPHA, 16, np.dstack([samples, alpha.astype(np.uint32) * 257])))
    for channels, other in itertools.product((1, 3, 4), with_alpha):
        assert np.array_equal(decoder(channels).decode(data), decoder(channels).decode(other))


@pytest.mark.parametrize("transparent", [0, 1])
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_of_a_transparent_grey_the_bits_of_a_sample_count(depth: int, transparent: int) -> None:
    samples = noise(6, 6, depth=depth)
    beyond = 0x4230 if depth < 8 else 0x4200
    data = png(GREY, depth, samples, chunk(b"tRNS", struct.pack(">H", transparent | beyond)))
    alpha = np.where(samples == transparent, 0, 255).astype(np.uint8)
    shows(data, rgba(eight_bits(samples, depth), alpha))


def test_greys_that_differ_in_their_lower_bytes_are_not_one_transparent_grey() -> None:
    samples = np.array([[0x8000, 0x8001, 0x80FF, 0x7FFF]], np.uint32)
    data = png(GREY, 16, samples, chunk(b"tRNS", struct.pack(">H", 0x8001)))
    assert decoder(4).decode(data)[0, 0, :, 3].tolist() == [255, 0, 255, 255]


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("transparent", [False, True])
def test_colours(depth: int, transparent: bool, interlaced: bool) -> None:
    samples = noise(70, 13, 3, depth=depth)
    samples[5:9, 2:4] = samples[0, 0]
    samples[6, 2, 2] ^= 1  # almost the transparent colour
    extra = [chunk(b"tRNS", struct.pack(">HHH", *(int(sample) for sample in samples[0, 0])))] if transparent else []
    opaque = (samples != samples[0, 0]).any(axis=2) | (not transparent)
    seen = rgba(eight_bits(samples, depth), np.where(opaque, 255, 0).astype(np.uint8))
    shows(png(RGB, depth, samples, *extra, interlaced=interlaced), seen)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize(("color", "channels"), [(GREY_ALPHA, 2), (RGB_ALPHA, 4)])
def test_alpha(color: int, channels: int, depth: int, interlaced: bool) -> None:
    samples = noise(70, 13, channels, depth=depth)
    pixels = eight_bits(samples, depth)
    seen = rgba(pixels[:, :, :-1], pixels[:, :, -1])
    shows(png(color, depth, samples, interlaced=interlaced), seen)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("alphas", [b"", b"\0", b"\xff\0", b"\x80", b"\x80\xff"])
def test_a_palette(depth: int, alphas: bytes) -> None:
    colors = noise(2**depth, 3, depth=8, seed=1).astype(np.uint8)
    samples = noise(9, 11, depth=depth)
    extra = [chunk(b"PLTE", colors.tobytes())] + ([chunk(b"tRNS", alphas)] if alphas else [])
    table = np.frombuffer(alphas.ljust(2**depth, b"\xff"), np.uint8)
    shows(png(PALETTE, depth, samples, *extra), rgba(colors[samples], table[samples]))


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param(chunk(b"gAMA", struct.pack(">I", 100_000)), id="linear light"),
        pytest.param(chunk(b"sRGB", b"\0"), id="sRGB"),
        pytest.param(
            chunk(b"cHRM", struct.pack(">8I", *[31270, 32900, 70800, 29200, 17000, 79700, 13100, 4600])), id="BT.2020"
        ),
        pytest.param(chunk(b"iCCP", b"a\0\0" + zlib.compress(b"no profile that anything could read")), id="a profile"),
        pytest.param(chunk(b"cICP", bytes((9, 16, 0, 1))), id="HDR, by PQ"),
        pytest.param(chunk(b"bKGD", struct.pack(">HHH", 255, 0, 0)), id="a background"),
        pytest.param(chunk(b"sBIT", bytes((5, 6, 5))), id="significant bits"),
        pytest.param(chunk(b"pHYs", struct.pack(">IIB", 1, 2, 0)), id="pixels that are no squares"),
    ],
)
def test_samples_count_whatever_colours_they_are_said_to_mean(extra: bytes) -> None:
    samples = noise(9, 11, 3, depth=8)
    shows(png(RGB, 8, samples, extra), rgba(samples.astype(np.uint8)))


def test_a_png_that_lacks_only_its_end_is_read_and_a_cut_one_is_not() -> None:
    for depth, color, channels in ((8, GREY, 1), (16, GREY, 1), (16, RGB, 3), (8, RGB_ALPHA, 4)):
        samples = noise(20, 30, channels, depth=depth)
        whole, unended = png(color, depth, samples), png(color, depth, samples, end=b"")
        assert np.array_equal(decoder(4).decode(unended), decoder(4).decode(whole))
        for cut in (40, len(whole) // 2):
            with pytest.raises(UndecodableImageError, match="cut off"):
                decoder(4).decode(whole[:-cut])


def test_of_an_animated_png_the_picture_counts_that_every_viewer_shows() -> None:
    first, second = noise(9, 11, depth=8), noise(9, 11, depth=8, seed=1)
    control = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 11, 9, 0, 0, 1, 1, 0, 0))
    frames = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 1, 11, 9, 0, 0, 1, 1, 0, 0)) + chunk(
        b"fdAT", struct.pack(">I", 2) + zlib.compress(b"".join(b"\0" + row for row in packed(second, 8)))
    )
    animation = chunk(b"acTL", struct.pack(">II", 2, 0))
    shows(png(GREY, 8, first, animation, control, end=frames + chunk(b"IEND", b"")), rgba(first.astype(np.uint8)))


# --- orientation -----------------------------------------------------------------------------------------------------


def exif(orientation: int) -> bytes:
    """Return EXIF metadata of one tag (TIFF 6.0, section 2)."""
    return b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0) + bytes(4)


TURNED = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels.transpose(1, 0, 2)[:, ::-1],
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: pixels.transpose(1, 0, 2)[::-1],
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("depth", [8, 16])
def test_a_picture_is_turned_as_its_exif_says(orientation: int, depth: int) -> None:
    samples = noise(9, 11, 3, depth=depth)
    seen = rgba(eight_bits(samples, depth))
    transparent = chunk(b"tRNS", struct.pack(">HHH", *(int(sample) for sample in samples[0, 0])))
    seen[0, 0, 3] = 0
    shows(png(RGB, depth, samples, transparent, chunk(b"eXIf", exif(orientation))), TURNED[orientation](seen))


def test_the_orientation_of_xmp_does_not_count() -> None:
    samples = noise(9, 11, 3, depth=8)
    text = b"XML:com.adobe.xmp\0\0\0\0\0" + b'<x tiff:Orientation="6"/>'
    without = b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x0100, 3, 1, 11, 0) + bytes(4)
    data = png(RGB, 8, samples, chunk(b"iTXt", text), chunk(b"eXIf", without))
    shows(data, rgba(samples.astype(np.uint8)))


# --- JPEG ------------------------------------------------------------------------------------------------------------


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", 2 + len(content)) + content


ADOBE = 0xEE


def jpeg(
    values: Sequence[int], *extra: bytes, identifiers: bytes = b"\1\2\3\4", height: int = 8, width: int = 8
) -> bytes:
    """Encode one colour: blocks whose mean is coded, and nothing else (T.81, annexes B, F and K)."""
    count = len(values)
    components = b"".join(bytes((identifiers[at], 0x11, 0)) for at in range(count))
    dc_codes = segment(0xC4, b"\x00" + bytes((0, 0, 0, 9, *[0] * 12)) + bytes(range(9)))  # four bits for each size
    ac_codes = segment(0xC4, b"\x10" + bytes((1, *[0] * 15)) + b"\0")  # one bit: the end of the block
    bits = ""
    for value in values:
        mean = value - 128  # the quantizer is 8, which is the scale of the mean
        size = abs(mean).bit_length()
        coded = mean if mean > 0 else mean + 2**size - 1
        bits += f"{size:04b}" + (f"{coded:0{size}b}" if size else "") + "0"
    bits += ("0000" + "0") * count * (height * width // 64 - 1)  # the same mean, and the end of the block
    bits += "1" * (-len(bits) % 8)
    data = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")
    scan = bytes((count,)) + b"".join(bytes((identifiers[at], 0)) for at in range(count)) + bytes((0, 63, 0))
    return b"".join(
        (
            *(b"\xff\xd8", *extra, segment(0xDB, b"\0" + bytes((8, *[1] * 63)))),
            segment(0xC0, struct.pack(">BHHB", 8, height, width, count) + components),
            *(dc_codes, ac_codes, segment(0xDA, scan), data, b"\xff\xd9"),
        )
    )


def adobe(transform: int) -> bytes:
    return segment(ADOBE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform))


def flat(color: Iterable[float]) -> Pixels:
    return rgba(np.full((8, 8, 3), np.rint(np.clip(list(color), 0, 255)), np.uint8))


def from_ycc(y: float, cb: float, cr: float) -> tuple[float, float, float]:
    """JFIF 1.02, "Conversion to and from RGB"."""
    cb, cr = cb - 128, cr - 128
    return y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb


FLAT = [(0, 0, 0), (255, 255, 255), (255, 10, 20), (10, 200, 30), (40, 50, 210), (128, 128, 128)]
JFIF = segment(0xE0, b"JFIF\0\1\2\0\0\1\0\1\0\0")


@pytest.mark.parametrize("grey", [0, 1, 77, 128, 254, 255])
def test_a_grey_jpeg(grey: int) -> None:
    shows(jpeg([grey]), flat([grey] * 3))


@pytest.mark.parametrize("values", FLAT)
@pytest.mark.parametrize("extra", [(), (JFIF,), (adobe(1),)], ids=["bare", "JFIF", "Adobe"])
def test_a_jpeg_has_luminance_and_chrominance(values: tuple[int, int, int], extra: tuple[bytes, ...]) -> None:
    shows(jpeg(values, *extra), flat(from_ycc(*values)), within=1)


@pytest.mark.parametrize("values", FLAT)
def test_a_jpeg_may_have_red_green_and_blue(values: tuple[int, int, int]) -> None:
    shows(jpeg(values, adobe(0)), flat(values))
    shows(jpeg(values, identifiers=b"RGB"), flat(values))


CMYK = [(0, 0, 0, 0), (255, 255, 255, 255), (200, 30, 90, 40), (0, 255, 255, 0), (10, 20, 30, 250)]


def from_cmyk(cyan: int, magenta: int, yellow: int, black: int) -> list[float]:
    """Take ink away from white, as browsers do that ignore the profile."""
    return [(255 - ink) * (255 - black) / 255 for ink in (cyan, magenta, yellow)]


@pytest.mark.parametrize("inks", CMYK)
@pytest.mark.parametrize("extra", [(adobe(0),), ()], ids=["Adobe", "bare"])
def test_a_jpeg_of_inks_is_inverted_as_adobe_writes_it(
    inks: tuple[int, int, int, int], extra: tuple[bytes, ...]
) -> None:
    shows(jpeg([255 - ink for ink in inks], *extra), flat(from_cmyk(*inks)), within=1)


@pytest.mark.parametrize("values", [(*color, black) for color in FLAT for black in (0, 100, 255)])
def test_a_jpeg_of_luminance_and_black_is_inverted_as_adobe_writes_it(values: tuple[int, int, int, int]) -> None:
    inks = np.clip(
        from_ycc(*values[:3]), 0, 255
    )  # the red is that of the inverted cyan's complement, so the cyan itself
    shows(jpeg(values, adobe(2)), flat((255 - inks) * values[3] / 255), within=2)


def test_the_profile_of_a_jpeg_does_not_count() -> None:
    profile = segment(0xE2, b"ICC_PROFILE\0\1\1" + b"no profile that anything could read")
    shows(jpeg((100, 90, 200), profile), flat(from_ycc(100, 90, 200)), within=1)
    shows(jpeg((255, 200, 100, 90), adobe(0), profile), flat(from_cmyk(0, 55, 155, 165)), within=1)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_is_turned(orientation: int) -> None:
    data = jpeg([50], segment(0xE1, b"Exif\0\0" + exif(orientation)), height=8, width=16)
    assert decoder(1).decode(data).shape == ((1, 8, 16, 1) if orientation == 1 else (1, 16, 8, 1))


UNENDED: list[tuple[Any, dict[str, Any]]] = [
    (photo(60, 61), {}),
    (photo(60, 61), {"progressive": True}),
    (photo(60, 61), {"optimize": True}),
    (photo(60, 61), {"restart_marker_blocks": 1}),
    (photo(60, 61), {"restart_marker_rows": 1, "progressive": True}),
    (photo(60, 61), {"subsampling": 0, "quality": 100}),
    (photo(60, 61).convert("L"), {}),
    (photo(60, 61).convert("CMYK"), {}),
    (photo(1200, 900), {}),
]


@pytest.mark.parametrize(
    ("image", "options"), UNENDED, ids=[f"{image.mode}, {image.width} wide, {options}" for image, options in UNENDED]
)
def test_a_jpeg_that_lacks_only_its_end_marker_is_read_and_a_cut_one_is_not(
    image: Any, options: dict[str, Any]
) -> None:
    whole = saved(image, "JPEG", **options)
    decode = decoder(3, limit=4_000_000).decode
    seen = decode(whole)
    for ending in (whole[:-2], whole[:-1], whole[:-2] + bytes(20)):
        assert np.array_equal(decode(ending), seen)
    # In the entropy-coded data, and before and behind each marker: after whole scans and whole restart intervals, too
    marks = [found.start() for found in re.finditer(rb"\xff[\xc0-\xfe]", whole[:-2])][-12:]
    cuts = {len(whole) - size for size in (40, 100, 200)} | {len(whole) * share // 100 for share in (1, 50, 90)}
    for cut in sorted(cuts | {mark + more for mark in marks for more in (0, 1, 2, 3) if mark > 2}):
        with pytest.raises(UndecodableImageError, match="cut off"):
            decode(whole[:cut])


def test_a_flat_jpeg_that_is_cut_never_passes_for_another_picture() -> None:
    whole = jpeg((200, 90, 30), height=16, width=24)
    assert np.array_equal(decoder(3).decode(whole[:-2]), decoder(3).decode(whole))
    for cut in range(3, 9):
        with pytest.raises(UndecodableImageError):
            decoder(3).decode(whole[:-cut])


# --- GIF -------------------------------------------------------------------------------------------------------------


def gif(
    indices: Samples, palette: Pixels, *, canvas: tuple[int, int], at: tuple[int, int] = (0, 0), transparent: int = -1
) -> bytes:
    """Encode one frame of indices below 128. The codes are cleared before they become longer than eight bits."""
    height, width = indices.shape
    header = b"GIF89a" + struct.pack("<HHBBB", canvas[1], canvas[0], 0xF6, 0, 0) + palette.tobytes()
    control = b"\x21\xf9\x04" + struct.pack("<BHBB", 1, 0, transparent, 0) if transparent >= 0 else b""
    place = struct.pack("<BHHHHB", 0x2C, at[1], at[0], width, height, 0)
    codes = [code for index in indices.ravel() for code in (128, int(index))] + [129]
    bits = "".join(f"{code:08b}"[::-1] for code in codes)
    bits += "0" * (-len(bits) % 8)
    data = bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))
    blocks = b"".join(bytes((len(part),)) + part for part in (data[at : at + 255] for at in range(0, len(data), 255)))
    return header + control + place + b"\7" + blocks + b"\0\x3b"


COLORS = noise(128, 3, depth=8, seed=2).astype(np.uint8)


@pytest.mark.parametrize("transparent", [-1, 5])
def test_a_gif(transparent: int) -> None:
    indices = noise(9, 11, depth=7)
    indices[2:5, 3] = 5
    alpha = np.where(indices == transparent, 0, 255).astype(np.uint8)
    shows(gif(indices, COLORS, canvas=(9, 11), transparent=transparent), rgba(COLORS[indices], alpha))


@pytest.mark.parametrize("transparent", [-1, 5])
def test_what_the_frame_of_a_gif_does_not_cover_is_transparent(transparent: int) -> None:
    indices = noise(4, 5, depth=7, seed=5)
    indices[2, 3] = 5
    seen = np.zeros((9, 11, 4), np.uint8)
    alpha = np.where(indices == transparent, 0, 255).astype(np.uint8)
    seen[2:6, 3:8] = rgba(COLORS[indices], alpha)
    shows(gif(indices, COLORS, canvas=(9, 11), at=(2, 3), transparent=transparent), seen)


# --- BMP -------------------------------------------------------------------------------------------------------------


def bmp(
    rows: Sequence[bytes],
    bits: int,
    width: int,
    *,
    table: bytes = b"",
    compression: int = 0,
    more: bytes = b"",
    down: bool = False,
) -> bytes:
    """Encode rows, the lowest first (BITMAPINFOHEADER, or a longer header if there is more)."""
    height = len(rows)
    content = b"".join(row + bytes(-len(row) % 4) for row in (rows if down else rows[::-1]))
    header = struct.pack(
        "<IiiHHIIiiII", 40 + len(more), width, -height if down else height, 1, bits, compression, 0, 0, 0, 0, 0
    )
    start = 14 + len(header) + len(more) + len(table)
    return b"BM" + struct.pack("<IHHI", start + len(content), 0, 0, start) + header + more + table + content


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("depth", [1, 4, 8])
def test_a_bmp_with_a_palette(depth: int, down: bool) -> None:
    samples, colors = noise(9, 11, depth=depth), noise(2**depth, 3, depth=8, seed=3).astype(np.uint8)
    table = np.dstack([colors[np.newaxis, :, ::-1], np.zeros((1, 2**depth, 1), np.uint8)]).tobytes()
    shows(bmp(packed(samples, depth), depth, 11, table=table, down=down), rgba(colors[samples]))


@pytest.mark.parametrize("down", [False, True])
def test_a_bmp_of_colours(down: bool) -> None:
    pixels = noise(9, 11, 3, depth=8).astype(np.uint8)
    shows(bmp([row[:, ::-1].tobytes() for row in pixels], 24, 11, down=down), rgba(pixels))


def test_the_fourth_byte_of_a_bmp_is_no_alpha() -> None:
    pixels = noise(9, 11, 4, depth=8).astype(np.uint8)
    shows(bmp([row[:, [2, 1, 0, 3]].tobytes() for row in pixels], 32, 11), rgba(pixels[:, :, :3]))


def test_a_bmp_that_says_that_it_has_alpha_has_alpha() -> None:
    pixels = noise(9, 11, 4, depth=8).astype(np.uint8)
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + bytes(52)  # BITMAPV4HEADER
    data = bmp([row[:, [2, 1, 0, 3]].tobytes() for row in pixels], 32, 11, compression=3, more=masks)
    shows(data, rgba(pixels[:, :, :3], pixels[:, :, 3]))


def test_a_bmp_of_five_bits_a_colour() -> None:
    samples = noise(9, 12, 3, depth=5)
    words = (samples[:, :, 0] << 10 | samples[:, :, 1] << 5 | samples[:, :, 2]).astype("<u2")
    shows(bmp([row.tobytes() for row in words], 16, 12), rgba(eight_bits(samples, 5)), within=1)


# --- TIFF ------------------------------------------------------------------------------------------------------------

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, STRIP, ORIENTATION, SAMPLES = 256, 257, 258, 259, 262, 273, 274, 277
ROWS, COUNTS, PLANES, COLOR_MAP, EXTRA, FORMAT = 278, 279, 284, 320, 338, 339
WHITE_IS_ZERO, BLACK_IS_ZERO, TIFF_RGB, TIFF_PALETTE, TIFF_CMYK = 0, 1, 2, 3, 5


def tiff(
    order: str,
    rows: Sequence[bytes],
    width: int,
    bits: Sequence[int],
    photometric: int,
    more: Mapping[int, Sequence[int]] | None = None,
) -> bytes:
    """Encode one strip without compression (TIFF 6.0, sections 2 to 8)."""
    content = b"".join(rows)
    tags: dict[int, Sequence[int]] = {
        WIDTH: [width],
        LENGTH: [len(rows)],
        BITS: bits,
        COMPRESSION: [1],
        PHOTOMETRIC: [photometric],
        STRIP: [8],
        SAMPLES: [len(bits)],
        ROWS: [len(rows)],
        COUNTS: [len(content)],
    } | dict(more or {})
    at = 8 + len(content) + len(content) % 2
    beyond = at + 2 + 12 * len(tags) + 4
    directory, values = struct.pack(f"{order}H", len(tags)), b""
    for tag, numbers in sorted(tags.items()):
        kind, code = (4, "I") if tag in (STRIP, COUNTS) else (3, "H")
        raw = struct.pack(f"{order}{len(numbers)}{code}", *numbers)
        if len(raw) > 4:
            raw, values = struct.pack(f"{order}I", beyond + len(values)), values + raw
        directory += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + raw.ljust(4, b"\0")
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", at)
    return start + content.ljust(at - 8, b"\0") + directory + bytes(4) + values


orders = pytest.mark.parametrize("order", ["<", ">"], ids=["little-endian", "big-endian"])


def deep(samples: Samples, order: str) -> list[bytes]:
    return [row.astype(f"{order}u2").tobytes() for row in samples]


@orders
@pytest.mark.parametrize("depth", [1, 4, 8, 16])
@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, BLACK_IS_ZERO])
def test_a_grey_tiff(order: str, depth: int, photometric: int) -> None:
    samples = noise(9, 12, depth=depth)
    rows = deep(samples, order) if depth == 16 else packed(samples, depth)
    grey = eight_bits(samples if photometric == BLACK_IS_ZERO else 2**depth - 1 - samples, depth)
    shows(tiff(order, rows, 12, [depth], photometric), rgba(grey))


def test_a_grey_tiff_of_twelve_bits() -> None:
    samples = noise(9, 12, depth=12)
    shows(tiff("<", packed(samples, 12), 12, [12], BLACK_IS_ZERO), rgba(eight_bits(samples, 12)), within=1)


@orders
@pytest.mark.parametrize("depth", [8, 16])
def test_a_tiff_of_colours(order: str, depth: int) -> None:
    samples = noise(9, 12, 3, depth=depth)
    rows = deep(samples, order) if depth == 16 else packed(samples, depth)
    shows(tiff(order, rows, 12, [depth] * 3, TIFF_RGB), rgba(eight_bits(samples, depth)), within=depth // 16)


@orders
def test_a_tiff_of_separate_planes_is_read_whole_or_not_at_all(order: str) -> None:
    pixels = noise(8, 10, 3, depth=8).astype(np.uint8)
    rows = [row.tobytes() for plane in range(3) for row in pixels[:, :, plane]]
    strips: dict[int, Sequence[int]] = {PLANES: [2], LENGTH: [8], ROWS: [8], STRIP: [8, 88, 168], COUNTS: [80] * 3}
    shows(tiff(order, rows, 10, [8] * 3, TIFF_RGB, strips), rgba(pixels))
    with pytest.raises(UndecodableImageError, match="it has 2 strips or tiles, and its image is made of 3"):
        decoder().decode(tiff(order, rows, 10, [8] * 3, TIFF_RGB, strips | {STRIP: [8, 88], COUNTS: [80] * 2}))


@orders
def test_a_tiff_that_lacks_a_strip_is_refused(order: str) -> None:
    rows = [row.tobytes() for row in noise(8, 10, 3, depth=8).astype(np.uint8)]
    half = {ROWS: [4], STRIP: [8], COUNTS: [120]}
    with pytest.raises(UndecodableImageError, match="it has 1 strips or tiles, and its image is made of 2"):
        decoder().decode(tiff(order, rows, 10, [8] * 3, TIFF_RGB, half))


@orders
def test_a_tiff_with_a_palette(order: str) -> None:
    samples, colors = noise(9, 12, depth=8), noise(256, 3, depth=8, seed=4).astype(np.uint8)
    table = (colors.T.astype(int) * 257).ravel().tolist()
    shows(tiff(order, packed(samples, 8), 12, [8], TIFF_PALETTE, {COLOR_MAP: table}), rgba(colors[samples]))


@orders
@pytest.mark.parametrize("extra", [1, 2], ids=["premultiplied", "straight"])
def test_a_tiff_with_alpha(order: str, extra: int) -> None:
    pixels = noise(9, 12, 4, depth=8).astype(np.uint8)
    alpha = pixels[:, :, 3:]
    stored = np.dstack([np.rint(pixels[:, :, :3] * (alpha / 255)), alpha]) if extra == 1 else pixels
    data = tiff(order, packed(stored.astype(np.uint32), 8), 12, [8] * 4, TIFF_RGB, {EXTRA: [extra]})
    if extra == 1:  # what is stored of a faint colour is rounded, so it is compared as it lies on a sheet
        flat = flattened(rgba(pixels[:, :, :3], pixels[:, :, 3]))
        assert np.abs(decoder(3).decode(data)[0].astype(int) - flat).max() <= 2
    else:
        shows(data, rgba(pixels[:, :, :3], pixels[:, :, 3]))


@orders
def test_a_tiff_whose_fourth_sample_means_nothing_is_opaque(order: str) -> None:
    pixels = noise(9, 12, 4, depth=8)
    data = tiff(order, packed(pixels, 8), 12, [8] * 4, TIFF_RGB, {EXTRA: [0]})
    shows(data, rgba(pixels[:, :, :3].astype(np.uint8)))


@orders
def test_a_tiff_of_inks_is_not_inverted(order: str) -> None:
    inks = noise(9, 12, 4, depth=8).astype(int)
    seen = np.rint((255 - inks[:, :, :3]) * (255 - inks[:, :, 3:]) / 255).astype(np.uint8)
    shows(tiff(order, packed(inks.astype(np.uint32), 8), 12, [8] * 4, TIFF_CMYK), rgba(seen), within=1)


@orders
@pytest.mark.parametrize("orientation", TURNED)
def test_a_tiff_is_turned(order: str, orientation: int) -> None:
    pixels = noise(9, 12, 3, depth=8)
    data = tiff(order, packed(pixels, 8), 12, [8] * 3, TIFF_RGB, {ORIENTATION: [orientation]})
    shows(data, TURNED[orientation](rgba(pixels.astype(np.uint8))))


@orders
@pytest.mark.parametrize(
    ("samples", "format_"),
    [
        (np.linspace(0, 40, 108, dtype=np.float32).reshape(9, 12), 3),  # HDR: 1.0 is white in some files, not in others
        (np.arange(108, dtype=np.int32).reshape(9, 12), 2),
        (np.arange(108, dtype=np.uint32).reshape(9, 12), 1),
        (np.arange(-54, 54, dtype=np.int16).reshape(9, 12), 2),
        (np.ones((9, 12), np.float64), 3),
    ],
    ids=["float32", "int32", "uint32", "int16", "float64"],
)
def test_samples_without_a_white_are_refused(order: str, samples: NDArray[Any], format_: int) -> None:
    rows = [row.astype(f"{order}{samples.dtype.kind}{samples.dtype.itemsize}").tobytes() for row in samples]
    data = tiff(order, rows, 12, [samples.dtype.itemsize * 8], BLACK_IS_ZERO, {FORMAT: [format_]})
    with pytest.raises(UndecodableImageError, match=r"of a kind .*that is not taken: send 8 or 16 bits each"):
        decoder().decode(data)
