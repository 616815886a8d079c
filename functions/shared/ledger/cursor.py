"""Cursors: opaque tokens that say where the next page starts."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from uuid import UUID

from functions.shared.ledger.errors import InvalidCursorError

_VERSION = b"\x01"
_UUID_VERSION = 7


def encode_cursor(last: UUID) -> str:
    """Return the cursor for the page after a record.

    Parameters
    ----------
    last : UUID
        The id of the last record on a page.

    Returns
    -------
    str
        Letters, digits, ``-`` and ``_``.
    """
    return urlsafe_b64encode(_VERSION + last.bytes).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> UUID:
    """Read a cursor.

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
    try:
        raw = urlsafe_b64decode(cursor.encode("ascii") + b"=")
        last = UUID(bytes=raw[1:])
    except (ValueError, binascii.Error):  # not ASCII, not base64, not 16 bytes
        raise InvalidCursorError("not a cursor of this API") from None
    # Decoding is lenient and skips foreign characters. Encoding again must give the same cursor.
    if last.version != _UUID_VERSION or encode_cursor(last) != cursor:
        raise InvalidCursorError("not a cursor of this API")
    return last
