"""The `Prefer` header (RFC 7240)."""

import re
from typing import Final

from fastapi import Request

RESPOND_ASYNC: Final = "respond-async"
"""The preference for an answer before the work is done (RFC 7240, section 4.1)."""

APPLIED: Final = {"Preference-Applied": RESPOND_ASYNC}
"""The header of an answer that honours the preference (RFC 7240, section 3)."""

# A quoted string may contain commas and semicolons (RFC 9110, section 5.6.4). One that does not end takes the rest, or
# each quote in it would be tried as a beginning, in quadratic time.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.?)*+"?', re.DOTALL)


def prefers_async(request: Request) -> bool:
    """Tell whether a request asks for `respond-async`.

    It ignores parameters and values of `respond-async`, and `wait`: an immediate answer satisfies any `wait`.
    """
    preferences = request.headers.getlist("prefer")
    if not preferences:
        return False
    said = _QUOTED.sub("", ",".join(preferences))
    names = (re.split("[;=]", preference, maxsplit=1)[0] for preference in said.split(","))
    return any(name.strip().lower() == RESPOND_ASYNC for name in names)
