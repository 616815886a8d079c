"""Cursors: opaque tokens that say where the next page starts, and in which order the pages are."""

import binascii
import math
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from uuid import UUID

from functions.shared.ledger.errors import InvalidCursorError

_NEWEST, _LEAST_SURE = b"\x01", b"\x02"
_UUID_VERSION = 7
_confidence = struct.Struct(">d")


def encode_cursor(last: UUID) -> str:
    """Return the cursor for the page after a record, newest first.

    Parameters
    ----------
    last : UUID
        The id of the last record on a page.

    Returns
    -------
    str
        Letters, digits, ``-`` and ``_``.
    """
    return _encode(_NEWEST + last.bytes)


def decode_cursor(cursor: str) -> UUID:
    """Read a cursor of `encode_cursor`.

    Parameters
    ----------
    cursor : str
        As a client sent it.

    Returns
    -------
    UUID
        The page holds only smaller ids.

    Raises
    ------
    InvalidCursorError
        If `encode_cursor` did not produce it.
    """
    return _id(_decode(cursor, _NEWEST))


def encode_least_sure_cursor(confidence: float, last: UUID) -> str:
    """Return the cursor for the page after a record, least sure first.

    Parameters
    ----------
    confidence : float
        The confidence of the last record on a page.
    last : UUID
        Its id.

    Returns
    -------
    str
        As of `encode_cursor`.
    """
    return _encode(_LEAST_SURE + _confidence.pack(confidence) + last.bytes)


def decode_least_sure_cursor(cursor: str) -> tuple[float, UUID]:
    """Read a cursor of `encode_least_sure_cursor`.

    Parameters
    ----------
    cursor : str
        As a client sent it.

    Returns
    -------
    tuple
        The page holds only records of greater confidence, or of the same and a greater id.

    Raises
    ------
    InvalidCursorError
        If `encode_least_sure_cursor` did not produce it.
    """
    raw = _decode(cursor, _LEAST_SURE)
    try:
        [confidence] = _confidence.unpack(raw[: _confidence.size])
    except struct.error:  # too few bytes
        raise _not_ours() from None
    if not math.isfinite(confidence):
        raise _not_ours()
    return confidence, _id(raw[_confidence.size :])


def _encode(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(cursor: str, order: bytes) -> bytes:
    try:
        raw = urlsafe_b64decode(cursor.encode("ascii") + b"==")
    except (ValueError, binascii.Error):  # not ASCII, not base64
        raise _not_ours() from None
    # Decoding is lenient and skips foreign characters. Encoding again must give the same cursor.
    if not raw.startswith(order) or _encode(raw) != cursor:
        raise _not_ours()
    return raw[1:]


def _id(raw: bytes) -> UUID:
    try:
        last = UUID(bytes=raw)
    except ValueError:  # not 16 bytes
        raise _not_ours() from None
    if last.version != _UUID_VERSION:
        raise _not_ours()
    return last


def _not_ours() -> InvalidCursorError:
    return InvalidCursorError("not a cursor of this API and this order")
