"""Cursors: where the next page starts, in a form that promises nothing about what is inside."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from uuid import UUID

from functions.shared.ledger.errors import InvalidCursorError

_VERSION = b"\x01"
_UUID_VERSION = 7


def encode_cursor(last: UUID) -> str:
    """Make the cursor of the page after a record.

    Parameters
    ----------
    last : UUID
        Id of the last record of a page.

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
        The page holds smaller ids than this.

    Raises
    ------
    InvalidCursorError
        If `encode_cursor` cannot have made it.
    """
    try:
        raw = urlsafe_b64decode(cursor.encode("ascii") + b"=")
        last = UUID(bytes=raw[1:])
    except (ValueError, binascii.Error):  # not ASCII, not base64, not 16 bytes
        raise InvalidCursorError("not a cursor of this API") from None
    # Decoding is lenient (it skips foreign characters); what was encoded is the same again.
    if last.version != _UUID_VERSION or encode_cursor(last) != cursor:
        raise InvalidCursorError("not a cursor of this API")
    return last
