"""The `Prefer` header: what a caller would like, if it can be had (RFC 7240)."""

import re
from typing import Final

from fastapi import Request

RESPOND_ASYNC: Final = "respond-async"
"""The preference for an answer at once, before the work is done (RFC 7240, section 4.1)."""

APPLIED: Final = {"Preference-Applied": RESPOND_ASYNC}
"""The header of an answer that was given so (RFC 7240, section 3)."""

# A quoted string may have commas and semicolons of its own (RFC 9110, section 5.6.4).
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


def prefers_async(request: Request) -> bool:
    """Tell whether a request asks for `respond-async`.

    Its parameters, and a value that it does not have, are ignored. So is `wait`: who is content with an answer after
    so many seconds is content with one at once.
    """
    preferences = request.headers.getlist("prefer")
    if not preferences:
        return False
    said = _QUOTED.sub("", ",".join(preferences))
    names = (re.split("[;=]", preference, maxsplit=1)[0] for preference in said.split(","))
    return any(name.strip().lower() == RESPOND_ASYNC for name in names)
