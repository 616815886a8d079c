"""Make digits to send, as HTTP requests and as API Gateway events."""

import io
from typing import Any
from uuid import uuid4

from PIL import Image, ImageChops

from local.gateway.integration import make_event
from local.runtime.invocation import new_identifiers
from tests.benchmarks.measure import ROOT

SAMPLE = ROOT / "local" / "samples" / "mnist_sample.png"
BOUNDARY = b"----------------------------digits"
_JPEG = b"\xff\xd8"
CONTENT_TYPE = b"multipart/form-data; boundary=" + BOUNDARY


class Context:
    """The context that Lambda passes with the event."""

    def __init__(self) -> None:
        self.aws_request_id = str(uuid4())

    def get_remaining_time_in_millis(self) -> int:
        """Return the 30 seconds that API Gateway waits for an answer."""
        return 30_000


def digits() -> list[bytes]:
    """Return 25 PNG files of 28 x 28 pixels: the repository's sample, moved by up to two pixels each way."""
    moved = []
    with Image.open(SAMPLE) as sample:
        for x in range(-2, 3):
            for y in range(-2, 3):
                file = io.BytesIO()
                ImageChops.offset(sample.convert("L"), x, y).save(file, "PNG")
                moved.append(file.getvalue())
    return moved


def form(*files: bytes, field: str = "file") -> bytes:
    """Return a form with the files, PNG or JPEG, encoded as curl encodes it."""
    parts = []
    for file in files:
        kind = b"jpeg" if file.startswith(_JPEG) else b"png"
        named = b'Content-Disposition: form-data; name="%s"; filename="digit.%s"' % (field.encode(), kind)
        parts.append(
            b"--" + BOUNDARY + b"\r\n" + named + b"\r\nContent-Type: image/" + kind + b"\r\n\r\n" + file + b"\r\n"
        )
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


def form_event(path: str, *files: bytes) -> dict[str, Any]:
    """Return the event that API Gateway makes from a form with files that is POSTed to a path."""
    return event("POST", path, headers=[(b"content-type", CONTENT_TYPE)], body=form(*files))


def event(
    method: str,
    path: str,
    *,
    query: bytes = b"",
    route_key: str | None = None,
    path_parameters: dict[str, str] | None = None,
    headers: list[tuple[bytes, bytes]] | None = None,
    body: bytes = b"",
) -> dict[str, Any]:
    """Return the event that API Gateway makes from a request by curl."""
    own = [(b"host", b"api.example.com"), (b"user-agent", b"curl/8.5.0"), (b"accept", b"*/*")]
    return make_event(
        {
            "method": method,
            "path": path,
            "query_string": query,
            "http_version": "1.1",
            "headers": own + (headers or []),
            "client": ("203.0.113.7", 50000),
        },
        body,
        route_key=route_key or f"{method} {path}",
        path_parameters=path_parameters or {},
        identifiers=new_identifiers(),
        port=443,
    )
