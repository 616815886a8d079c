"""Requests that once broke the API, or took long, each with the answer that it must get.

A text is sent as JSON to `POST /prediction`. What needs an image of its own is in `images`.
"""

import gzip
import json
import struct
import zlib
from io import BytesIO
from typing import Any, Final, NamedTuple

from PIL import Image

from tests.fuzz.serving import DATA_URI, FEATURES, IMAGE
from tests.support.hostile_images import progressive_jpeg, tiff, tiff_tags, tiles_of


class Request(NamedTuple):
    """A request, and the status of its answer."""

    path: str
    content: bytes
    contenttype: str
    status: int
    headers: dict[str, str] = {}  # noqa: RUF012  # never written to


def as_json(path: str, body: object, status: int, **headers: str) -> Request:
    """Return a request with JSON, whatever Python can write as such."""
    return Request(path, json.dumps(body).encode(), "application/json", status, headers)


def nested(levels: int) -> dict[str, Any]:
    """Return an object with so many levels of lists in it."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return {"a": value}


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """Return a grey PNG that says that it has this size, and has these chunks."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def saved(kind: str, **options: Any) -> bytes:
    """Return an image of a format that the API takes."""
    file = BytesIO()
    Image.frombytes("L", (28, 28), bytes(range(256)) * 3 + bytes(16)).save(file, kind, **options)
    return file.getvalue()


FORM: Final = 'multipart/form-data; boundary="x"'

FORMS: Final = {
    "nothing": Request("/prediction", b"", FORM, 400),
    "a boundary alone": Request("/prediction", b"--x--", FORM, 400),
    "an unended part": Request("/prediction", b"--x\r\nContent-Disposition: form-data; name=file\r\n\r\n", FORM, 400),
    "a form without a boundary": Request("/prediction", b"--x--", "multipart/form-data", 400),
    "ten thousand parts": Request("/prediction", b"--x\r\nA: b\r\n\r\n\r\n" * 10_001 + b"--x--", FORM, 400),
    "a name that is not in its charset": Request(
        "/prediction",
        b"--x\r\nContent-Disposition: form-data; name=file; filename*=x''%ff\r\n\r\n1\r\n--x--",
        FORM,
        400,
    ),
    "a name in a charset with U+0000": Request(
        "/prediction",
        b"--x\r\nContent-Disposition: form-data; name=file; filename*=utf\0-8''a\r\n\r\n1\r\n--x--",
        FORM,
        400,
    ),
    "a name of 900,000 characters in punycode": Request(
        "/prediction",
        b"--x\r\nContent-Disposition: form-data; name=file; filename*=punycode''a-"
        + b"b" * 900_000
        + b"\r\n\r\n1\r\n--x--",
        FORM,
        400,
    ),
    "a thousand semicolons around a name in a charset": Request(
        "/prediction",
        b"--x\r\nContent-Disposition: form-data; name=file; filename*=x" + b";" * 900_000 + b"\r\n\r\n1\r\n--x--",
        FORM,
        400,
    ),
    "a part in no base64": Request(
        "/prediction",
        b"--x\r\nContent-Disposition: form-data; name=file\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAAA\r\n--x--",
        FORM,
        400,
    ),
    "an image of a type with U+0000": Request(
        "/prediction",
        b"--x\r\nContent-Disposition: form-data; name=file; filename=a\r\nContent-Type: image/\0\r\n\r\n%b\r\n--x--"
        % IMAGE,
        FORM,
        415,
    ),
    "a part without a name": Request("/prediction", b"--x\r\nA: b\r\n\r\n1\r\n--x--", FORM, 400),
}
"""Forms for a model that takes images."""

IMAGES: Final = {
    "empty": (b"", 400),
    "a text": (b"I am a text", 400),
    "the start of a PNG": (IMAGE[:20], 400),
    "half a PNG": (IMAGE[: len(IMAGE) // 2], 400),
    "a PNG of no size": (png(0, 0), 400),
    "a PNG of 2^31 pixels a side": (png(2**31 - 1, 2**31 - 1), 413),
    "a PNG larger than is taken": (png(5_001, 5_001), 413),
    "a PNG without pixels": (png(28, 28), 400),
    "a PNG whose pixels are no zlib": (png(28, 28, chunk(b"IDAT", b"no zlib")), 400),
    "a JPEG of a thousand scans": (progressive_jpeg(5_000, 1_000), 413),
    "a TIFF in a tile of 46336 x 46336": (
        tiff(tiff_tags(28, 28, 100, **tiles_of(46336)), bytes(100)),
        413,
    ),
    "a JPEG without an end": (saved("JPEG")[:-2], 201),
    "a JPEG that is cut off": (saved("JPEG")[:-12], 400),
    "a PNG of one transparent grey": (
        png(28, 28, chunk(b"tRNS", b"\0\1"), chunk(b"IDAT", zlib.compress(bytes(812)))),
        201,
    ),
    "a PNG of half a transparent grey": (
        png(28, 28, chunk(b"tRNS", b"\0"), chunk(b"IDAT", zlib.compress(bytes(812)))),
        400,
    ),
    "a PNG of 20,000 chunks": (png(28, 28, *[chunk(b"prVt", b"")] * 20_000), 400),
    **{kind: (saved(kind), 201) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")},
}
"""Images, as the body of a request, and the answer's status."""

JSON: Final = {
    "nothing": Request("/prediction", b"", "application/json", 400),
    "a brace": Request("/prediction", b"{", "application/json", 400),
    "no UTF-8": Request("/prediction", b'{"a": "\xff"}', "application/json", 400),
    "a list": as_json("/prediction", [], 422),
    "a hundred thousand brackets": Request("/prediction", b"[" * 100_000, "application/json", 400),
    # Python 3.12 reads what is nested a thousand deep.
    "nested a hundred thousand deep": Request(
        "/prediction", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "application/json", 400
    ),
    "an integer of 5,000 digits": Request("/prediction", b'{"a": ' + b"9" * 5_000 + b"}", "application/json", 400),
    "a member twice": Request("/prediction", b'{"a": 1, "a": 2}', "application/json", 400),
    "60,000 members, the last one twice": Request(
        "/prediction",
        ("{" + ", ".join(f'"{number}": 0' for number in (*range(60_000), 59_999)) + "}").encode(),
        "application/json",
        400,
    ),
    "a bomb": Request(
        "/prediction", gzip.compress(bytes(50_000_000)), "application/json", 413, {"content-encoding": "gzip"}
    ),
    "no gzip": Request("/prediction", b"{}", "application/json", 400, {"content-encoding": "gzip"}),
    "an unknown encoding": Request("/prediction", b"{}", "application/json", 415, {"content-encoding": "br"}),
    "no instances": as_json("/predictions", {"instances": []}, 422),
    "too many instances": as_json("/predictions", {"instances": [{}] * 300}, 413),
}
"""JSON that no model takes."""

UPLOADS: Final = {
    "an upload without a size": as_json("/upload", {"contenttype": "image/png"}, 422),
    "an upload of a size as a text": as_json("/upload", {"contenttype": "image/png", "size": "1"}, 422),
    "an upload of 10^400 bytes": as_json("/upload", {"contenttype": "image/png", "size": 10**400}, 413),
    "an upload of a type with U+0000": as_json("/upload", {"contenttype": "image/\0", "size": 1}, 415),
    "an upload of a type of 200 characters": as_json("/upload", {"contenttype": f"image/{'x' * 194}", "size": 1}, 415),
    "an upload of no known type": as_json("/upload", {"contenttype": "application/octet-stream", "size": 1}, 201),
    "an upload of a size of 8000000.0": as_json("/upload", {"contenttype": "image/png", "size": 8_000_000.0}, 201),
}
"""Announcements of uploads, for a model that takes images."""


def accompanied(given: dict[str, Any]) -> dict[str, Request]:
    """Return requests with an input that the model takes, and something else that is wrong or unusual."""

    def with_metadata(metadata: object, status: int) -> Request:
        return as_json("/prediction", given | {"metadata": metadata}, status)

    return {
        "metadata 32 deep": with_metadata(nested(31), 201),
        **{f"metadata {levels} deep": with_metadata(nested(levels), 422) for levels in (32, 254, 255, 900)},
        "metadata 32 deep, queued": as_json(
            "/prediction", given | {"metadata": nested(31)}, 202, prefer="respond-async"
        ),
        "metadata 255 deep, queued": as_json(
            "/prediction", given | {"metadata": nested(255)}, 422, prefer="respond-async"
        ),
        "metadata with U+0000": with_metadata({"a": "\x00"}, 422),
        "metadata with a lone surrogate": with_metadata({"a": "\ud800"}, 422),
        "metadata with NaN": with_metadata({"a": float("nan")}, 422),
        "metadata with an integer of 400 digits": with_metadata({"a": 10**400}, 201),
        "metadata with a float of JSON that Python reads as infinity": Request(
            "/prediction",
            json.dumps(given | {"metadata": {"a": 0}}).replace('"a": 0', '"a": 1e999').encode(),
            "application/json",
            422,
        ),
        "a user of 256 characters": as_json("/prediction", given | {"user_id": "x" * 256}, 422),
        "a user with a lone surrogate": as_json("/prediction", given | {"user_id": "\ud800"}, 422),
        "a user of 255 characters of four bytes": as_json("/prediction", given | {"user_id": "🙂" * 255}, 201),
        "a user who is a number": as_json("/prediction", given | {"user_id": 0}, 422),
        "a user who is empty": as_json("/prediction", given | {"user_id": ""}, 422),
        "a user who is null": as_json("/prediction", given | {"user_id": None}, 201),
        "an unknown member": as_json("/prediction", given | {"colour": "red"}, 422),
        "both kinds of input": as_json("/prediction", {"image": DATA_URI, "features": FEATURES}, 422),
        "Prefer in quotes that do not end": as_json("/prediction", given, 201, prefer='"respond-async'),
        "an idempotency key of 256 characters": as_json("/prediction", given, 422, **{"idempotency-key": "x" * 256}),
    }


CURSORS: Final = ["", " ", "a", "AAAA", "AQ", "AQ==", "null", "x" * 256, "-_-_", "é", "🙂", "%00", "AQ" + "A" * 22]
"""Cursors that the API has not given out."""
