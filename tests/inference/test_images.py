"""From an uploaded file to the model's tensor: every kind of image that users send, and every way to break one."""

import io
import os
import random
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from functions.shared.inference.content_types import SUPPORTED_CONTENT_TYPES, sniff_contenttype
from functions.shared.inference.errors import ImageTooLargeError, InputError, UndecodableImageError
from functions.shared.inference.image_input import ImageInput
from functions.shared.inference.images import ImageDecoder

LIMIT = 1_000_000
ROOT = Path(__file__).parents[2]


def decoder(
    channels: int = 1, size: tuple[int, int] | None = None, *, color: str = "", limit: int = LIMIT, **settings: Any
) -> ImageDecoder:
    """Make a decoder for raw bytes, [1, height, width, channels], unless `settings` say otherwise."""
    wanted: dict[str, Any] = {
        "name": "image",
        "dtype": "uint8",
        "layout": "NHWC",
        "channels": channels,
        "height": size and size[0],
        "width": size and size[1],
        "batch": None,
        "unbatched": False,
        "color": color or ("grey" if channels == 1 else "rgb"),
        "resample": "bilinear",
        "rescale_factor": 1.0,
        "mean": (0.0,) * channels,
        "std": (1.0,) * channels,
    }
    return ImageDecoder(ImageInput(**(wanted | settings)), max_pixels=limit)


def saved(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def photo(height: int = 20, width: int = 30, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def grey_levels() -> Image.Image:
    return Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))


def transparent(ink: tuple[int, int, int], *, hidden: tuple[int, int, int]) -> Image.Image:
    """Draw a stroke of ink, half of it faint, on a transparent sheet of a colour that nobody sees."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, :, :3] = hidden
    pixels[3, :, :3] = ink
    pixels[3, :4, 3] = 255
    pixels[3, 4:, 3] = 128
    return Image.fromarray(pixels)


# --- kinds of image --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["PNG", "BMP", "TIFF", "GIF", "WEBP"])
def test_every_lossless_format_gives_the_exact_pixels(format_: str) -> None:
    options = {"lossless": True} if format_ == "WEBP" else {}
    pixels = decoder().decode(saved(grey_levels(), format_, **options))
    assert np.array_equal(pixels[0, :, :, 0], np.asarray(grey_levels()))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_gives_the_pixels_that_pillow_gives(mode: str, progressive: bool) -> None:
    data = saved(photo().convert(mode), "JPEG", progressive=progressive)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decoder(3).decode(data)[0], expected)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "packbits"])
def test_compressed_tiff_gives_the_exact_pixels(compression: str | None) -> None:
    pixels = decoder(3).decode(saved(photo(), "TIFF", compression=compression))
    assert np.array_equal(pixels[0], np.asarray(photo()))


def test_an_interlaced_png_gives_the_exact_pixels() -> None:
    # Pillow cannot write one: seven passes of one 8 x 8 image (PNG specification, 8.1)
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = [b"\0" + row.tobytes() for top, left, down, right in passes for row in pixels[top::down, left::right]]
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1)
    assert np.array_equal(decoder().decode(png(header, b"".join(rows)))[0, :, :, 0], pixels)


def test_colour_becomes_grey_by_luminance_and_grey_becomes_colour_by_copying() -> None:
    red = Image.new("RGB", (1, 1), (255, 0, 0))
    assert decoder(1).decode(saved(red)).item() == 76  # ITU-R 601-2: 0.299 * 255
    assert decoder(3).decode(saved(Image.new("L", (1, 1), 9))).tolist() == [[[[9, 9, 9]]]]


def test_a_palette_is_looked_up() -> None:
    pixels = decoder(3).decode(saved(photo().quantize(200)))
    assert np.array_equal(pixels[0], np.asarray(photo().quantize(200).convert("RGB")))


def test_one_bit_is_black_and_white() -> None:
    pattern = np.indices((6, 7)).sum(axis=0) % 2 == 0
    pixels = decoder().decode(saved(Image.fromarray(pattern)))
    assert np.array_equal(pixels[0, :, :, 0], pattern * 255)


def test_sixteen_bit_grey_is_scaled_over_the_whole_range() -> None:
    samples = np.array([[0, 128, 129, 257, 32896, 65406, 65407, 65535]], np.uint16)
    expected = [0, 0, 1, 1, 128, 254, 255, 255]  # round(sample / 257)
    for format_ in ("PNG", "TIFF"):
        assert decoder().decode(saved(Image.fromarray(samples), format_)).ravel().tolist() == expected


def test_thirty_two_bit_samples_are_refused_in_words() -> None:
    for samples in (np.zeros((2, 2), np.float32), np.zeros((2, 2), np.int32)):
        with pytest.raises(UndecodableImageError, match="send 8 or 16 bits each"):
            decoder().decode(saved(Image.fromarray(samples), "TIFF"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_photo_is_turned_upright_as_its_exif_says(orientation: int, format_: str) -> None:
    # where a camera held this way would have put the corners: https://exiftool.org/TagNames/EXIF.html, 0x0112
    corners = {1: "abcd", 2: "badc", 3: "dcba", 4: "cdab", 5: "acbd", 6: "bdac", 7: "dbca", 8: "cadb"}[orientation]
    grey = {"a": 250, "b": 170, "c": 90, "d": 10}
    height, width = (16, 32) if orientation < 5 else (32, 16)
    pixels = np.zeros((height, width), np.uint8)
    for corner, (top, left) in zip(corners, [(0, 0), (0, 1), (1, 0), (1, 1)], strict=True):
        pixels[top * height // 2 :, left * width // 2 :][: height // 2, : width // 2] = grey[corner]
    exif = Image.Exif()
    exif[0x0112] = orientation
    quality = {"quality": 100} if format_ in ("JPEG", "WEBP") else {}
    upright = decoder().decode(saved(Image.fromarray(pixels), format_, exif=exif, **quality))[0, :, :, 0]
    assert upright.shape == (16, 32)
    seen = [int(upright[top, left]) for top, left in ((3, 3), (3, 28), (12, 3), (12, 28))]
    assert seen == pytest.approx([250, 170, 90, 10], abs=8)


def test_damaged_exif_leaves_the_image_as_it_lies() -> None:
    data = bytearray(saved(photo(), "JPEG", exif=b"Exif\0\0" + b"MM\0*\0\0\0\x08\xff\xff" + bytes(9)))
    assert decoder(3).decode(bytes(data)).shape == (1, 20, 30, 3)


@pytest.mark.slow
def test_what_pillow_says_of_a_files_metadata_is_neither_raised_nor_written(tmp_path: Path) -> None:
    file = tmp_path / "damaged_exif.jpg"
    file.write_bytes(saved(photo(), "JPEG", exif=b"Exif\0\0" + b"MM\0*\0\0\0\x08\xff\xff" + bytes(9)))
    script = (
        "import sys, tests.inference.test_images as t; from pathlib import Path;"
        "print(t.decoder(3).decode(Path(sys.argv[1]).read_bytes()).shape)"
    )
    for how in ("error", "always"):
        command = [sys.executable, "-c", script, str(file)]
        environment = os.environ | {"PYTHONWARNINGS": f"{how}::UserWarning"}
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == ("(1, 20, 30, 3)\n", "")


@pytest.mark.parametrize("format_", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_counts(format_: str) -> None:
    options = {"lossless": True} if format_ == "WEBP" else {}
    frames = [Image.new("L", (8, 8), grey) for grey in (40, 200)]
    data = saved(frames[0], format_, save_all=True, append_images=frames[1:], **options)
    assert np.unique(decoder().decode(data)).tolist() == [40]


def test_the_many_pictures_of_a_phones_jpeg_are_one_image() -> None:
    data = saved(photo(), "MPO", save_all=True, append_images=[photo(seed=1)])
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decoder(3).decode(data)[0], expected)


# --- transparency ----------------------------------------------------------------------------------------------------


def test_light_ink_on_a_transparent_sheet_lies_on_black_whatever_colour_the_sheet_hides() -> None:
    for hidden in ((0, 0, 0), (255, 255, 255)):
        pixels = decoder().decode(saved(transparent((255, 255, 255), hidden=hidden)))[0, :, :, 0]
        assert pixels[3].tolist() == [255] * 4 + [128] * 4
        assert pixels[0].max() == 0


def test_dark_ink_on_a_transparent_sheet_lies_on_white() -> None:
    for hidden in ((0, 0, 0), (255, 255, 255)):
        pixels = decoder().decode(saved(transparent((0, 0, 0), hidden=hidden)))[0, :, :, 0]
        assert pixels[3].tolist() == [0] * 4 + [127] * 4
        assert pixels[0].min() == 255


def test_an_image_that_is_all_transparent_is_black() -> None:
    assert decoder().decode(saved(Image.new("RGBA", (3, 3), (255, 255, 255, 0)))).max() == 0


def test_opaque_images_with_an_alpha_channel_keep_their_pixels() -> None:
    assert np.array_equal(decoder(3).decode(saved(photo().convert("RGBA")))[0], np.asarray(photo()))
    grey = photo().convert("L")
    assert np.array_equal(decoder().decode(saved(grey.convert("LA")))[0, :, :, 0], np.asarray(grey))


def test_a_transparent_palette_entry_and_a_transparent_colour_are_transparent() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 255, 255, 0, 255, 0])
    palette.putpixel((1, 0), 1)
    for format_ in ("PNG", "GIF"):
        data = saved(palette, format_, transparency=0)
        assert decoder(3).decode(data).tolist() == [[[[0, 0, 0], [0, 255, 0]]]]
    white_is_transparent = saved(Image.fromarray(np.array([[255, 200]], np.uint8)), transparency=255)
    assert decoder().decode(white_is_transparent).ravel().tolist() == [0, 200]


def test_a_model_of_four_channels_gets_the_transparency_itself() -> None:
    sheet = transparent((10, 20, 30), hidden=(1, 2, 3))
    assert np.array_equal(decoder(4).decode(saved(sheet))[0], np.asarray(sheet))
    assert decoder(4).decode(saved(photo()))[0, :, :, 3].min() == 255


# --- the tensor ------------------------------------------------------------------------------------------------------


def bare(image: Image.Image, size: tuple[int, int], resample: Image.Resampling) -> NDArray[Any]:
    """Do what a user's own script does: Pillow's resize, then numpy."""
    return np.asarray(image.resize((size[1], size[0]), resample))


@pytest.mark.parametrize("resample", ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"])
@pytest.mark.parametrize("size", [(28, 28), (50, 10), (7, 90)])
def test_an_image_is_stretched_to_the_models_size_as_pillow_does_it(resample: str, size: tuple[int, int]) -> None:
    expected = bare(photo(), size, Image.Resampling[resample.upper()])
    assert np.array_equal(decoder(3, size, resample=resample).decode(saved(photo()))[0], expected)


def test_an_image_of_the_models_size_keeps_its_exact_pixels() -> None:
    pixels = decoder(1, (16, 16), resample="lanczos").decode(saved(grey_levels()))
    assert np.array_equal(pixels[0, :, :, 0], np.asarray(grey_levels()))


def test_without_a_size_an_image_keeps_its_own() -> None:
    assert decoder(3).decode(saved(photo(13, 17))).shape == (1, 13, 17, 3)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize(("channels", "color"), [(3, "rgb"), (3, "bgr"), (4, "rgb"), (4, "bgr"), (1, "grey")])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_are_rescaled_and_normalised_as_hugging_face_does(
    layout: str, channels: int, color: str, dtype: str
) -> None:
    mean, std = (0.485, 0.456, 0.406, 0.5)[:channels], (0.229, 0.224, 0.225, 0.25)[:channels]
    wanted = decoder(
        channels, (12, 14), color=color, layout=layout, dtype=dtype, rescale_factor=1 / 255, mean=mean, std=std
    )
    image = photo().convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])
    pixels = bare(image, (12, 14), Image.Resampling.BILINEAR).reshape(12, 14, channels)
    if color == "bgr":
        pixels = pixels[:, :, [2, 1, 0, 3][:channels]]
    expected = (pixels * (1 / 255) - np.array(mean)) / np.array(std)
    tensor = wanted.decode(saved(image))
    assert tensor.dtype == dtype
    as_last = tensor[0] if layout == "NHWC" else tensor[0].transpose(1, 2, 0)
    assert np.abs(as_last - expected).max() < (2e-3 if dtype == "float16" else 1e-6)


def test_one_value_for_all_channels_gives_the_same_as_one_for_each() -> None:
    data = saved(photo())
    settings: dict[str, Any] = {"dtype": "float32", "rescale_factor": 1 / 127.5, "layout": "NCHW", "color": "bgr"}
    same = decoder(3, (9, 8), mean=(1.0,) * 3, std=(1.0,) * 3, **settings)
    almost = decoder(3, (9, 8), mean=(1.0, 1.0, 1.0 + 1e-9), std=(1.0,) * 3, **settings)
    assert np.allclose(same.decode(data), almost.decode(data), atol=1e-8)


def test_the_default_is_the_division_by_255() -> None:
    pixels = decoder(dtype="float32", rescale_factor=1 / 255).decode(saved(grey_levels()))
    assert np.array_equal(pixels[0, :, :, 0], np.asarray(grey_levels()).astype(np.float32) / 255)


@pytest.mark.parametrize(
    ("dtype", "mean", "expected"), [("uint8", 0, [0, 255]), ("int64", 0, [0, 255]), ("int8", 128, [-128, 127])]
)
def test_whole_numbers_stay_whole_numbers(dtype: str, mean: float, expected: list[int]) -> None:
    tensor = decoder(dtype=dtype, mean=(float(mean),)).decode(saved(Image.fromarray(np.array([[0, 255]], np.uint8))))
    assert tensor.dtype == dtype
    assert tensor.ravel().tolist() == expected


def test_whole_numbers_are_rounded_not_cut_off() -> None:
    tensor = decoder(rescale_factor=0.5).decode(saved(Image.fromarray(np.array([[3, 255]], np.uint8))))
    assert tensor.ravel().tolist() == [2, 128]


def test_a_grey_image_may_have_no_channel_axis() -> None:
    assert decoder(1, (6, 5), layout="NHW").decode(saved(photo())).shape == (1, 6, 5)


@pytest.mark.parametrize(("layout", "channels"), [("NHWC", 3), ("NCHW", 3), ("NHWC", 1), ("NHW", 1), ("NCHW", 4)])
def test_a_made_up_black_image_has_the_shape_of_a_real_one(layout: str, channels: int) -> None:
    wanted = decoder(channels, (6, 5), layout=layout, dtype="float32")
    real, black = wanted.decode(saved(photo())), wanted.black(6, 5)
    assert (black.shape, black.dtype) == (real.shape, real.dtype)


# --- what is refused -------------------------------------------------------------------------------------------------


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(header: bytes, rows: bytes, *extra: bytes) -> bytes:
    parts = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def bomb() -> bytes:
    """50 megapixels of white, 60 kB on the wire."""
    width, height = 10_000, 5_000
    return png(struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0), (b"\0" + b"\xff" * width) * height)


def test_fifty_megapixels_in_sixty_kilobytes_are_refused_before_they_are_decoded() -> None:
    data = bomb()
    assert len(data) < 61_000
    tracemalloc.start()
    with pytest.raises(ImageTooLargeError, match=r"10000 x 5000 = 50000000 pixels, more than the 25000000"):
        decoder(limit=25_000_000).decode(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def _claims(format_: str, side: int) -> bytes:
    """Make a small image whose header claims `side` x `side` pixels."""
    data = bytearray(saved(Image.new("RGB", (8, 8)), format_, **({"lossless": True} if format_ == "WEBP" else {})))
    if format_ == "WEBP":
        bits = (side - 1) | (side - 1) << 14
        data[21:25] = bits.to_bytes(4, "little")
    elif format_ == "GIF":
        data[6:10] = struct.pack("<HH", side, side)
    elif format_ == "BMP":
        data[18:26] = struct.pack("<ii", side, side)
    elif format_ == "JPEG":
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", side, side)
    elif format_ == "TIFF":
        for tag in (256, 257, 278):  # width, height, and the rows of its one strip
            at = data.index(struct.pack("<HHI", tag, 4, 1)) + 8
            data[at : at + 4] = struct.pack("<I", side)
    return bytes(data)


@pytest.mark.parametrize("format_", ["WEBP", "GIF", "BMP", "JPEG", "TIFF"])
def test_a_claim_of_too_many_pixels_is_refused_in_every_format(format_: str) -> None:
    with pytest.raises(ImageTooLargeError, match="10000 x 10000"):
        decoder().decode(_claims(format_, 10_000))


def test_the_largest_webp_is_refused_before_its_decoder_allocates_a_canvas() -> None:
    # Pillow makes the decoder as soon as it opens the file: told by the size, which Pillow's own refusal leaves out
    with pytest.raises(ImageTooLargeError, match="16383 x 16383"):
        decoder().decode(_claims("WEBP", 16_383))


def test_the_limit_itself_is_taken() -> None:
    data = saved(Image.new("L", (100, 50)))
    assert decoder(limit=5000).decode(data).shape == (1, 50, 100, 1)
    with pytest.raises(ImageTooLargeError, match="5000 pixels, more than the 4999"):
        decoder(limit=4999).decode(data)


def test_a_gif_whose_frame_is_larger_than_the_gif_is_refused() -> None:
    data = bytearray(saved(Image.new("L", (8, 8)), "GIF"))
    at = data.index(b"\x2c\0\0\0\0\x08\0\x08\0")
    data[at + 5 : at + 9] = struct.pack("<HH", 60_000, 60_000)
    with pytest.raises(ImageTooLargeError, match="more than the 1000000 pixels"):
        decoder().decode(bytes(data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the image is empty: send one of png, jpeg, webp, gif, bmp, tiff"),
        (b"seven", "the bytes are no image of a kind that is taken"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "the bytes are no image of a kind that is taken"),
        (b"%PDF-1.7", "the bytes are no image of a kind that is taken"),
        (b"BMW is a car", "begins like bmp, but its header is damaged or cut off"),
        (b"\x89PNG\r\n\x1a\n", "begins like png, but its header is damaged or cut off"),
        (b"GIF89a", "begins like gif"),
        (b"\xff\xd8\xff", "begins like jpeg"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "begins like webp"),
        (b"II*\0\x08\0\0\0", "begins like tiff"),
    ],
)
def test_what_is_no_image_is_refused_in_words(data: bytes, message: str) -> None:
    with pytest.raises(UndecodableImageError, match=message) as caught:
        decoder().decode(data)
    assert [problem.pointer for problem in caught.value.problems] == ["/image"]


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_a_truncated_image_is_refused(format_: str) -> None:
    data = saved(photo(60, 60), format_)
    for share in (0.25, 0.5, 0.75):
        with pytest.raises(UndecodableImageError, match="cut off"):
            decoder().decode(data[: int(len(data) * share)])


def test_a_png_whose_palette_is_missing_is_refused() -> None:
    header = struct.pack(">IIBBBBB", 1, 1, 8, 3, 0, 0, 0)
    with pytest.raises(UndecodableImageError, match="the palette is missing"):
        decoder().decode(png(header, b"\0\0"))


def test_a_png_with_a_text_that_unpacks_to_gigabytes_is_refused_without_unpacking_it() -> None:
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    packed = zlib.compress(bytes(50_000_000))
    data = png(header, b"\0\0", chunk(b"zTXt", b"comment\0\0" + packed))
    tracemalloc.start()
    with pytest.raises(UndecodableImageError):
        decoder().decode(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000


def seeds() -> Iterator[bytes]:
    rgb = photo(17, 19)
    rgba = rgb.convert("RGBA")
    rgba.putalpha(rgb.convert("L"))
    exif = Image.Exif()
    exif[0x0112] = 6
    for image in (rgb, rgba, rgb.convert("L"), rgb.convert("1"), rgb.quantize(16), rgba.convert("LA")):
        yield saved(image)
    for options in ({}, {"compression": "tiff_lzw"}, {"compression": "tiff_deflate"}, {"compression": "jpeg"}):
        yield saved(rgb, "TIFF", **options)
    yield saved(rgb, "JPEG", exif=exif)
    yield saved(rgb.convert("CMYK"), "JPEG")
    yield saved(rgb, "GIF", save_all=True, append_images=[rgb.rotate(90)])
    yield saved(rgb, "WEBP", exif=exif)
    yield saved(rgba, "WEBP", lossless=True)
    yield saved(rgb, "BMP")
    yield saved(Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8)))


def mutated(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        at = chance.randrange(min(len(changed), chance.choice((64, 4096))) or 1)
        match chance.randrange(4):
            case 0 | 1:
                changed[at : at + 1] = bytes([chance.choice((0, 1, 127, 255, chance.randrange(256)))])
            case 2:
                del changed[at : at + chance.randrange(1, 9)]
            case 3:
                changed[at:at] = chance.randbytes(chance.randrange(1, 9))
    return bytes(changed[: chance.randrange(len(changed) + 1)] if chance.random() < 0.1 else changed)


@pytest.mark.slow
def test_three_thousand_damaged_images_are_decoded_or_refused_and_never_crash(
    capfd: pytest.CaptureFixture[str],
) -> None:
    chance = random.Random(11)
    originals = list(seeds())
    decoders = [decoder(channels, (28, 28), dtype="float32") for channels in (1, 3, 4)]
    refused = 0
    for turn in range(3000):
        data = mutated(originals[turn % len(originals)], chance)
        try:
            decoders[turn % 3].decode(data)
        except InputError:
            refused += 1
    capfd.readouterr()  # libtiff complains on stderr
    assert 1000 < refused < 3000


# --- content types ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format_", "content_type"),
    list(zip(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"], SUPPORTED_CONTENT_TYPES, strict=True)),
)
def test_the_content_type_is_told_by_the_first_bytes(format_: str, content_type: str) -> None:
    assert sniff_contenttype(saved(photo(), format_)[:12]) == content_type


@pytest.mark.parametrize("data", [b"", b"RIFF\0\0\0\0WAVE", b"text", b"\x89PN"])
def test_anything_else_has_no_content_type(data: bytes) -> None:
    assert sniff_contenttype(data) is None
