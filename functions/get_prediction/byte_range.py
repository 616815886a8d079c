"""Which part of some bytes a request asks for (RFC 9110, section 14)."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from functions.shared.api.problems import Problem
from functions.shared.object_storage.bucket import LARGEST_UNLENT

_ONE_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def asked_part(headers: Mapping[str, str], etag: str, size: int, what: str) -> range | None:
    """Return which bytes a request asks for, at most as many as an answer has room for; None if it asks for all.

    A request for several ranges, or in another unit, is one for all (section 14.2).

    Parameters
    ----------
    headers
        Of the request.
    etag
        The bytes' own.
    size
        How many there are.
    what
        What they are, for the refusal.

    Raises
    ------
    Problem
        416, if there are no such bytes.
    """
    asked = headers.get("range")
    found = _ONE_RANGE.fullmatch(asked.strip()) if asked is not None else None
    if found is None or found.group() == "bytes=-" or headers.get("if-range") not in (None, etag):
        return None
    first, last = found.groups()
    if first and last and int(last) < int(first):
        return None
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1 if first and last else size)
    if start >= stop:
        detail = f"This {what} has {size} bytes, which are those from 0 to {size - 1}."
        raise Problem(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, detail, headers={"Content-Range": f"bytes */{size}"})
    return range(start, min(stop, start + LARGEST_UNLENT))


def content_range(part: range, size: int) -> dict[str, str]:
    """Return the header that says which part of how many bytes an answer has."""
    return {"Content-Range": f"bytes {part.start}-{part.stop - 1}/{size}"}
