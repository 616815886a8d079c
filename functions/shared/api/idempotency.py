"""The `Idempotency-Key` header: a caller's name for a request, so that sending it again stores nothing more.

As the IETF draft "The Idempotency-Key HTTP Header Field" describes it, but that the key is the header's text itself.
"""

import re
from http import HTTPStatus
from typing import Final

from fastapi import Request

from functions.shared.api.problems import Problem

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = {"Idempotency-Replayed": "true"}
"""The header of an answer that was given before."""

_KEY = re.compile(r"[\x20-\x7e]{1,255}")


def idempotency_key(request: Request) -> str | None:
    """Return the request's key; None where it has none.

    Raises
    ------
    Problem
        422, if it is not 1 to 255 printable ASCII characters.
    """
    key = request.headers.get(HEADER)
    if key is not None and not _KEY.fullmatch(key):
        detail = f"{HEADER} must be 1 to 255 printable ASCII characters."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
    return key
