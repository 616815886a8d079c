"""What one request's images may cost: under 10 seconds and 1,000 MB, whatever the files are."""

import io
import json
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from functions.shared.inference.decoding_budget import IMAGES_OF_A_REQUEST, MAX_SIDE
from functions.shared.inference.errors import ImageTooLargeError, UndecodableImageError
from functions.shared.inference.image_input import ImageInput
from functions.shared.inference.images import ImageDecoder
from functions.shared.inference.jpeg_frame import MAX_SEGMENTS, read_jpeg_frame
from functions.shared.inference.tiff_layout import MAX_PIECES, read_tiff_layout
from tests.support.graphs import conv_net, package
from tests.support.hostile_images import (
    chunk,
    gif_with_blocks,
    png,
    progressive_jpeg,
    run_length_bmp,
    saved,
    segment,
    tiff,
    tiff_tags,
    tiles_of,
    turned,
)
from tests.support.repository import ROOT

SIDE = 5000
PIXELS = SIDE * SIDE
MNIST = ROOT / "model_artifacts" / "mnist"

MOST_SECONDS = 10
MOST_MEGABYTES = 1000
"""A function has 1,769 MB, and needs some 150 for what the child does not have: the API, the ledger, AWS's client."""


class Cost(NamedTuple):
    """What a request took, and its outcome."""

    seconds: float
    megabytes: float
    errors: dict[str, str]
    predictions: int


def cost(folder: Path, files: Sequence[bytes], model: Path = MNIST) -> Cost:
    """Predict files together in a process of their own."""
    paths = []
    for position, data in enumerate(files):
        paths.append(folder / f"{position}")
        paths[-1].write_bytes(data)
    command = [sys.executable, "-m", "tests.support.decoding_child", str(model), *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    return Cost(**json.loads(done.stdout))


def decoder(max_pixels: int = PIXELS, size: int | None = 28, **settings: Any) -> ImageDecoder:
    """Make a decoder of grey images for a model of a size, or of open size."""
    wanted: dict[str, Any] = {
        "name": "image",
        "dtype": "uint8",
        "layout": "NHWC",
        "channels": 1,
        "height": size,
        "width": size,
        "batch": None,
        "unbatched": False,
        "color": "grey",
        "resample": "bilinear",
        "rescale_factor": 1.0,
        "mean": (0.0,),
        "std": (1.0,),
    }
    return ImageDecoder(ImageInput(**(wanted | settings)), max_pixels=max_pixels)


# --- what is decoded stays within the limits -------------------------------------------------------------------------


def translucent() -> Image.Image:
    return Image.new("RGBA", (SIDE, SIDE), (10, 20, 30, 100))


LARGEST: dict[str, Callable[[], bytes]] = {
    "a one-bit PNG": lambda: png(SIDE, SIDE, depth=1),
    "a PNG of 16 bits": lambda: png(SIDE, SIDE, depth=16),
    "a PNG of 16 bits of grey and alpha": lambda: png(SIDE, SIDE, depth=16, color=4),
    "a PNG of 16 bits a colour and alpha": lambda: png(SIDE, SIDE, depth=16, color=6),
    "a PNG of 16 bits a colour, of which one is transparent": lambda: png(
        SIDE, SIDE, chunk(b"tRNS", bytes(6)), depth=16, color=2
    ),
    "a PNG of one transparent grey": lambda: png(SIDE, SIDE, chunk(b"tRNS", bytes(2)), depth=16),
    "a PNG of one transparent colour": lambda: png(SIDE, SIDE, chunk(b"tRNS", bytes(6)), color=2),
    "a transparent PNG": lambda: saved(translucent()),
    "a transparent PNG, turned by EXIF": lambda: saved(translucent(), exif=turned()),
    "a JPEG": lambda: saved(translucent().convert("RGB"), "JPEG"),
    "a JPEG without an end": lambda: saved(translucent().convert("RGB"), "JPEG")[:-2],
    "a JPEG for print without an end": lambda: saved(translucent().convert("CMYK"), "JPEG")[:-2],
    "a progressive JPEG for print": lambda: saved(translucent().convert("CMYK"), "JPEG", progressive=True),
    "a progressive JPEG of 60 scans more": lambda: progressive_jpeg(SIDE, 60),
    "a GIF": lambda: saved(Image.new("P", (SIDE, SIDE)), "GIF"),
    "a GIF whose frame does not cover it": lambda: saved(Image.new("P", (SIDE, SIDE)), "GIF").replace(
        struct.pack("<cHHHH", b"\x2c", 0, 0, SIDE, SIDE), struct.pack("<cHHHH", b"\x2c", 0, 0, SIDE - 1, SIDE - 1), 1
    ),
    "a transparent WebP": lambda: saved(translucent(), "WEBP", lossless=True, method=0),
    "a lossy WebP": lambda: saved(translucent().convert("RGB"), "WEBP", method=0),
    "a run-length BMP": lambda: run_length_bmp(SIDE, SIDE, (b"\xfa\x05" * 20 + b"\0\0") * SIDE),
    "a BMP": lambda: saved(Image.new("L", (SIDE, SIDE)), "BMP"),
    "a transparent TIFF": lambda: saved(translucent(), "TIFF", compression="tiff_adobe_deflate"),
    "a TIFF without compression": lambda: saved(Image.new("L", (SIDE, SIDE)), "TIFF"),
    "a TIFF of 16 bits of which 0 is white": lambda: saved(
        Image.fromarray(np.zeros((SIDE, SIDE), np.uint16)), "TIFF", tiffinfo={262: 0}
    ),
    "a fax": lambda: saved(Image.new("1", (SIDE, SIDE)), "TIFF", compression="group4"),
}


@pytest.mark.server
@pytest.mark.parametrize("kind", LARGEST)
def test_an_image_of_the_limit_is_predicted_in_time_and_memory(kind: str, tmp_path: Path) -> None:
    took = cost(tmp_path, [LARGEST[kind]()])
    assert (took.errors, took.predictions) == ({}, 1)
    assert took.seconds < MOST_SECONDS
    assert took.megabytes < MOST_MEGABYTES


@pytest.mark.server
@pytest.mark.parametrize("resample", ["lanczos", "inter_linear"])
@pytest.mark.parametrize("files", [1, 4])
def test_a_line_that_is_resized_to_the_most_pixels_stays_within_time_and_memory(
    files: int, resample: str, tmp_path: Path
) -> None:
    net = conv_net("NCHW", channels=4, size=(224, 224))
    model = package(tmp_path, net, color="rgb", fit="crop", size=256, resample=resample)
    line = saved(Image.new("RGBA", (172, 65_500), (10, 20, 30, 100)))  # becomes 256 x 97,488
    took = cost(tmp_path, [line] * files, model)
    assert took.predictions == 1 or files > 1
    assert took.seconds < MOST_SECONDS
    assert took.megabytes < MOST_MEGABYTES


# --- what would take more is refused ---------------------------------------------------------------------------------

MANY_EXIF_SEGMENTS = "a JPEG of 60,000 EXIF segments, which Pillow joins one by one"
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "a PNG of one column, turned by EXIF": (
        lambda: saved(Image.new("L", (1, PIXELS)), exif=turned()),
        f"1 x 25000000 pixels, more than the {MAX_SIDE} pixels of a side that are taken",
    ),
    "a TIFF of 28 x 28 in a tile of 46336 x 46336": (
        lambda: tiff(tiff_tags(28, 28, 100, **tiles_of(46336)), bytes(100)),
        "scans, strips or tiles that decoding it takes as long as 4294049792 pixels: at most 100000000 are decoded",
    ),
    "a TIFF of strips that lie on one another": (
        lambda: tiff(tiff_tags(28, 28, 100, t273=(8,) * 150_000), bytes(100)),
        f"more than the {MAX_PIECES} strips or tiles that are taken",
    ),
    "a progressive JPEG of 1,000 scans more": (
        lambda: progressive_jpeg(SIDE, 1000),
        "takes as long as 1575000000 pixels: at most 100000000 are decoded",
    ),
    "a progressive JPEG of 3,000 scans more": (
        lambda: progressive_jpeg(SIDE, 3000),
        "takes as long as 4700000000 pixels: at most 100000000 are decoded",
    ),
    "a JPEG of a million segments": (
        lambda: b"\xff\xd8" + segment(0xE1, b"Exif\0\0") * 1_000_000,
        f"more than the {MAX_SEGMENTS} segments that are read",
    ),
    MANY_EXIF_SEGMENTS: (
        lambda: b"\xff\xd8" + segment(0xE1, b"Exif\0\0" + bytes(290)) * 60_000 + progressive_jpeg(28, 0)[2:],
        "decoding takes longer than 5 seconds",
    ),
}


@pytest.mark.server
@pytest.mark.parametrize("kind", REFUSED)
def test_an_image_that_would_take_more_is_refused_in_words(kind: str, tmp_path: Path) -> None:
    make, message = REFUSED[kind]
    took = cost(tmp_path, [make()])
    assert message in took.errors["0"]
    assert took.errors["0"].startswith(ImageTooLargeError.__name__)
    assert took.seconds < MOST_SECONDS
    assert took.megabytes < MOST_MEGABYTES


@pytest.mark.server
def test_a_batch_of_256_images_of_25_megapixels_is_refused_after_four(tmp_path: Path) -> None:
    took = cost(tmp_path, [png(SIDE, SIDE, depth=1)] * 256)
    assert sorted(map(int, took.errors)) == list(range(IMAGES_OF_A_REQUEST, 256))
    assert f"at most {IMAGES_OF_A_REQUEST * PIXELS} are decoded for one request: send fewer" in took.errors["4"]
    assert took.seconds < MOST_SECONDS
    assert took.megabytes < MOST_MEGABYTES


@pytest.mark.server
@pytest.mark.parametrize(("side", "count"), [(SIDE, 8), (2500, 9), (2500, 8), (2500, 1)])
def test_a_model_of_open_size_gets_no_more_than_memory_has_room_for(side: int, count: int, tmp_path: Path) -> None:
    model = package(tmp_path / "model", conv_net(size=(None, None)))
    took = cost(tmp_path, [png(side, side)] * count, model)
    if side == SIDE:
        assert "at most 25000000 are taken: send a smaller image" in took.errors["0"]
    elif count == 9:
        assert "at most 200000000 are taken in one request: send fewer at once" in took.errors["8"]
    else:
        assert took.predictions == count
    assert took.seconds < MOST_SECONDS
    assert took.megabytes < MOST_MEGABYTES


@pytest.mark.server
def test_a_batch_for_a_large_model_is_refused_before_its_tensors_fill_the_memory(tmp_path: Path) -> None:
    model = package(tmp_path / "model", conv_net(size=(1000, 1000), channels=3))
    took = cost(tmp_path, [png(28, 28)] * 40, model)
    assert "at most 200000000 are taken in one request: send fewer at once" in took.errors["16"]
    assert took.megabytes < MOST_MEGABYTES


def test_one_image_of_a_model_larger_than_the_limit_is_taken() -> None:
    assert decoder(100, 28).decode(png(10, 10)).shape == (1, 28, 28, 1)


@pytest.mark.slow
def test_the_header_alone_refuses_what_decoding_would_refuse_for_its_cost() -> None:
    for kind, (make, message) in REFUSED.items():
        if kind != MANY_EXIF_SEGMENTS:  # which takes the five seconds here as well
            with pytest.raises(ImageTooLargeError, match=re.escape(message)):
                decoder().check(make())


@pytest.mark.parametrize(
    ("images", "options"),
    [
        (4, {"format_": "PNG"}),
        (4, {"format_": "PNG", "exif": turned()}),
        (4, {"format_": "JPEG"}),
        (4, {"format_": "JPEG", "progressive": True}),
        (4, {"format_": "WEBP"}),
        (4, {"format_": "GIF"}),
        (4, {"format_": "BMP"}),
        (2, {"format_": "TIFF"}),  # libtiff holds a strip beside the image
    ],
)
def test_each_image_of_a_request_counts_once(images: int, options: dict[str, Any]) -> None:
    data = saved(Image.new("L", (28, 28), 3), **options)
    limited = decoder(28 * 28)
    budget = limited.budget()
    for _ in range(images):
        limited.decode(data, budget)
    with pytest.raises(ImageTooLargeError, match="at most 3136 are decoded for one request: send fewer at once"):
        limited.decode(data, budget)
    limited.decode(data)


# --- what is many but costs little is taken --------------------------------------------------------------------------

PLENTY: dict[str, Callable[[], bytes]] = {
    "an animation of 1,000 pictures": lambda: saved(
        Image.new("L", (28, 28)),
        "GIF",
        save_all=True,
        append_images=[Image.new("L", (28, 28), value % 255 + 1) for value in range(1000)],
    ),
    "an animated PNG": lambda: saved(
        Image.new("L", (28, 28)), save_all=True, append_images=[Image.new("L", (28, 28), 9)] * 20
    ),
    "an animated WebP": lambda: saved(
        Image.new("L", (28, 28)),
        "WEBP",
        save_all=True,
        append_images=[Image.new("L", (28, 28), value) for value in range(1, 200)],
    ),
    "a GIF with a comment of 100,000 blocks": lambda: gif_with_blocks(100_000),
    "a PNG with 20,000 chunks more": lambda: png(
        28, 28, *[chunk(b"prVt", b"")] * 10_000, end=[chunk(b"prVt", b"")] * 10_000
    ),
    "a small JPEG of 20,000 scans": lambda: progressive_jpeg(28, 20_000),
    "a TIFF in tiles": lambda: saved(Image.new("L", (100, 100)), "TIFF", compression="tiff_lzw"),
    "a TIFF in a tile larger than it": lambda: tiff(
        tiff_tags(28, 28, 0, t259=1, **tiles_of(512)),
        bytes(512 * 512),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", PLENTY)
def test_many_parts_that_cost_little_are_taken(kind: str) -> None:
    assert decoder().decode(PLENTY[kind]()).shape == (1, 28, 28, 1)


# --- the cost of a JPEG is counted as libjpeg reads it ---------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 100}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpegs_size_and_scans_are_read(mode: str, options: dict[str, Any]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (40, 50, 4), dtype=np.uint8)
    image = Image.fromarray(noise, "CMYK").convert(mode)
    width, height, scans = read_jpeg_frame(saved(image, "JPEG", exif=turned(), **options))
    assert (width, height) == (50, 40)
    # jpeg_simple_progression (libjpeg): six scans of grey, ten of colour, and 2 + 4 for each ink of print
    assert scans == ({"L": 6, "RGB": 10, "CMYK": 18}[mode] if options.get("progressive") else 1)


@pytest.mark.parametrize(
    "between",
    [
        b"",
        segment(0xFE, b"a comment that ends: \xff\xd9 and begins: \xff\xd8"),
        segment(0xFE, b"\xff\xda" * 9),
        segment(0xC4, bytes((0x10, 1, *[0] * 15, 0xE0))),
        b"\xff\xff\xff",
        b"\xff\xd0",
        b"\x00\xff\x00\x01",
    ],
)
def test_no_scan_hides_from_the_count(between: bytes) -> None:
    data = progressive_jpeg(64, 9, between=between)
    assert read_jpeg_frame(data).scans == 10
    assert Image.open(io.BytesIO(data)).size == (64, 64)


def test_a_picture_that_follows_a_jpegs_end_is_not_counted() -> None:
    photo = saved(Image.new("RGB", (64, 64)), "JPEG", progressive=True)
    assert read_jpeg_frame(photo + photo).scans == read_jpeg_frame(photo).scans == 10


def test_a_jpeg_without_a_header_has_no_size() -> None:
    for data in (b"\xff\xd8\xff", b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xc0\0\x0b", b"\xff\xd8" + bytes(100)):
        assert read_jpeg_frame(data) == (0, 0, 0)


# --- the cost of a TIFF is counted as libtiff reads it ---------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_a_tiff_of_pillow_is_read(compression: str | None) -> None:
    layout = read_tiff_layout(saved(Image.new("RGB", (50, 40)), "TIFF", compression=compression))
    assert layout[:2] == (50, 40)
    assert layout.passes < (11 if compression == "jpeg" else 3)


def test_a_little_endian_bigtiff_is_read_and_decoded() -> None:
    assert decoder().decode(saved(Image.new("L", (28, 28), 7), "TIFF", big_tiff=True)).tolist()[0][0][0] == [7]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tiff(tiff_tags(28, 28, 9), bytes(9), twice={256: 9000}), "it has the tag 256 twice"),
        (tiff(tiff_tags(28, 28, 9, t278=(1, 2)), bytes(9)), "its tag 278 is not one whole number"),
        (tiff(tiff_tags(28, 28, 9, t256=0), bytes(9)), "it does not say the size"),
        (tiff(tiff_tags(28, 28, 9, t257=None), bytes(9)), "it does not say the size"),
        (tiff(tiff_tags(28, 28, 9, t322=16, t323=16), bytes(9)), "it has both strips and tiles"),
        (tiff(tiff_tags(28, 28, 9, t278=0), bytes(9)), "its tiles or strips have no size"),
        (
            tiff(tiff_tags(28, 28, 9, t259=34925), bytes(9)),
            "its compression, 34925, is none that is taken: send one of",
        ),
        (b"MM\0\x2b" + struct.pack(">HHQ", 8, 0, 16) + bytes(100), "it is a big-endian BigTIFF"),
        (b"II*\0" + struct.pack("<L", 2**31), "its header is damaged or cut off"),
    ],
)
def test_a_tiff_that_can_be_read_in_two_ways_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(UndecodableImageError, match=message):
        decoder().decode(data)


def test_a_tiff_of_too_many_tags_is_refused() -> None:
    with pytest.raises(ImageTooLargeError, match="more than the 4096 tags"):
        decoder().decode(tiff(tiff_tags(28, 28, 9) | dict.fromkeys(range(40_000, 45_000), 1), bytes(9)))


def test_progressive_jpeg_in_a_tiff_counts_as_many_passes() -> None:
    scans = progressive_jpeg(28, 90)
    assert decoder().decode(tiff(tiff_tags(28, 28, len(scans), t259=7), scans)).shape == (1, 28, 28, 1)
    with pytest.raises(ImageTooLargeError, match="takes as long as 175560448 pixels"):
        decoder().check(tiff(tiff_tags(SIDE, SIDE, len(scans), t259=7), scans))
