"""Read base64 as clients write it."""

import binascii
from base64 import b64decode
from typing import Final
from urllib.parse import unquote

# What browsers leave out of base64 (Infra Standard, "forgiving-base64 decode"), and the alphabet for URLs (RFC 4648,
# section 5): its two characters mean nothing else in any base64.
_FORGIVEN: Final = str.maketrans("-_", "+/", "\t\n\f\r ")


def from_base64(text: str) -> bytes:
    """Decode base64, with or without line breaks and padding, in the alphabet of URLs too, or percent-encoded.

    Raises
    ------
    ValueError
        It is none.
    """
    try:
        return b64decode(text, validate=True)
    except binascii.Error:
        plain = (unquote(text) if "%" in text else text).translate(_FORGIVEN)
        return b64decode(plain + "=" * (-len(plain) % 4), validate=True)
