"""Whole requests in files, which `load.py` and wrk (`load.lua`) send as they are."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from uuid import uuid4

from tests.benchmarks.digits import CONTENT_TYPE, form

_DIGITS: Final = 12
KEY: Final = b"key-of-each-request-" + b"0" * _DIGITS
"""What stands for a key of its own in a request: the digits are those of the request's number."""

_NUMBERS: Final = 10**11
_SUFFIX: Final = ".http"


def write_requests(
    folder: Path,
    images: Sequence[bytes],
    *,
    path: str = "/prediction",
    field: str = "file",
    headers: Mapping[str, str] | None = None,
    keys: bool = False,
) -> Path:
    """Write a POST request with each image to a folder, and return the folder.

    Parameters
    ----------
    folder
        Where to; made if missing.
    images
        The images.
    path, field
        Where the server takes them, and the name of the form's field.
    headers
        More headers.
    keys
        Whether each request has an `Idempotency-Key` of its own, also on the next run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    more = dict(headers or {})
    if keys:
        more["Idempotency-Key"] = f"{uuid4().hex}-{KEY.decode()}"
    for number, image in enumerate(images):
        (folder / f"{number:04}{_SUFFIX}").write_bytes(_request(path, form(image, field=field), more))
    return folder


def read_requests(folder: Path) -> list[bytes]:
    """Return the requests in a folder.

    Raises
    ------
    FileNotFoundError
        If there are none.
    """
    found = [file.read_bytes() for file in sorted(folder.glob(f"*{_SUFFIX}"))]
    if not found:
        raise FileNotFoundError(f"{folder} has no files *{_SUFFIX}")
    return found


def first_number() -> int:
    """Return the number of a run's first request: that of a later run is larger than those of all its requests."""
    return time.time_ns() // 1000 % _NUMBERS


def with_key(request: bytes, number: int) -> bytes:
    """Return a request with a key for its number, if it has any."""
    return request.replace(KEY, KEY[:-_DIGITS] + b"%0*d" % (_DIGITS, number), 1) if KEY in request else request


def _request(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1".encode(),
        b"Host: 127.0.0.1",
        b"User-Agent: load",
        b"Accept: */*",
        b"Content-Type: " + CONTENT_TYPE,
        b"Content-Length: %d" % len(body),
        *(f"{name}: {value}".encode() for name, value in headers.items()),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
