"""Decompress a request's body (RFC 9110, section 8.4.1), up to a limit of bytes."""

import zlib
from http import HTTPStatus
from typing import Final

from functions.shared.api.problems import Problem

CODINGS: Final = ("gzip", "deflate")
"""The content codings of request bodies that are understood, beside `identity`."""

_WINDOW: Final = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
# Each member of a gzip file costs a copy of the rest. A client's library writes one.
_MAX_MEMBERS: Final = 100


def decompressed(body: bytes, content_encoding: str | None, *, limit: int) -> bytes:
    """Return a body as it was before its `Content-Encoding` was applied.

    Decompression stops one byte after the limit, so that a small body that would become a huge one costs no more than
    one that is allowed.

    Parameters
    ----------
    body
        The body as it arrived.
    content_encoding
        The header. None and `identity` leave the body as it is.
    limit
        The most bytes that the result may have.

    Raises
    ------
    Problem
        400 if the body is not in its encoding, 413 if it has more than `limit` bytes once decompressed, 415 if the
        encoding is none of `CODINGS`. The 415 says in `Accept-Encoding` what is understood (RFC 9110, section 12.5.3).
    """
    coding = (content_encoding or "").strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in _WINDOW:
        detail = f"The Content-Encoding {coding[:100]!r} is not understood: send {', '.join(CODINGS)} or none."
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers={"Accept-Encoding": ", ".join(CODINGS)})
    try:
        content = _inflate(body, coding, limit)
    except zlib.error:
        detail = (
            f"The body is not {coding}, which its Content-Encoding says: it is damaged, cut off, or not compressed."
        )
        raise Problem(HTTPStatus.BAD_REQUEST, detail) from None
    if len(content) > limit:
        detail = f"The body is more than {limit} bytes long once decompressed; at most {limit} are allowed."
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    return content


def _inflate(body: bytes, coding: str, limit: int) -> bytes:
    """Decompress a body until its end or beyond `limit` bytes. Raises `zlib.error` if it is damaged."""
    window = _WINDOW[coding]
    if coding == "deflate" and not _has_zlib_header(body):
        window = -zlib.MAX_WBITS  # many clients send the bare stream (RFC 9110, section 8.4.1.2, note)
    content = b""
    rest = body
    for _ in range(_MAX_MEMBERS):
        stream = zlib.decompressobj(window)
        content += stream.decompress(rest, limit + 1 - len(content))
        if len(content) > limit:
            return content
        if not stream.eof:
            raise zlib.error("cut off")
        rest = stream.unused_data
        if not rest:
            return content
        if coding == "deflate":
            break
    raise zlib.error("more bytes than the compressed body has")


def _has_zlib_header(body: bytes) -> bool:
    """Tell whether a body begins as zlib's format does (RFC 1950, section 2.2)."""
    return len(body) > 1 and body[0] & 0x0F == zlib.DEFLATED and int.from_bytes(body[:2], "big") % 31 == 0
