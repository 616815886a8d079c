"""The `Idempotency-Key` header. Repeating a request with the same key stores nothing more.

It follows the IETF draft "The Idempotency-Key HTTP Header Field", except that the key is plain text, not a string in
quotes.
"""

import re
from http import HTTPStatus
from typing import Final

from fastapi import Request

from functions.shared.api.problems import Problem

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = {"Idempotency-Replayed": "true"}
"""The header of a replayed answer."""

MAX_KEY_LENGTH: Final = 255

PATTERN: Final = r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$"
"""What the OpenAPI document says of a key. HTTP drops spaces around it."""

_KEY = re.compile(rf"[\x20-\x7e]{{1,{MAX_KEY_LENGTH}}}")


def idempotency_key(request: Request) -> str | None:
    """Return the request's key, if any.

    Raises
    ------
    Problem
        422, if it is not 1 to `MAX_KEY_LENGTH` printable ASCII characters.
    """
    key = request.headers.get(HEADER)
    if key is not None and not _KEY.fullmatch(key):
        detail = f"{HEADER} must be 1 to {MAX_KEY_LENGTH} printable ASCII characters."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
    return key
