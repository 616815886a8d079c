"""JSON as it is read from PostgreSQL. `migrate` connects too, and its package has no pydantic-core."""

import json
from typing import Any, Final


class Unreadable:
    """Stands for a stored JSON value that Python cannot parse. It cannot be encoded either."""


UNREADABLE: Final = Unreadable()
"""The only instance that is needed."""


def json_value(text: str) -> Any:  # noqa: ANN401  # any JSON value
    """Parse the text of a ``json`` or ``jsonb`` column.

    Parameters
    ----------
    text : str
        JSON.

    Returns
    -------
    Any
        The value, or `UNREADABLE` if it is nested too deeply, or has an integer of too many digits. An error instead
        would take every other record of the page with it.
    """
    try:
        return json.loads(text)
    except (RecursionError, ValueError):
        return UNREADABLE
