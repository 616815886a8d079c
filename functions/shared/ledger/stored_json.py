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


def in_jsonb_order(value: Any) -> Any:  # noqa: ANN401  # any JSON value
    """Return a value with the members of its objects in the order in which ``jsonb`` returns them.

    An answer that is made before the value is stored is then, byte for byte, the one that is made from the stored value
    (PostgreSQL, "JSON Types"; the order is that of `lengthCompareJsonbString`).
    """
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [in_jsonb_order(one) for one in value]
    if not isinstance(value, dict):
        return value
    names = sorted(value, key=lambda name: (len(encoded := name.encode(errors="surrogatepass")), encoded))
    return {name: in_jsonb_order(value[name]) for name in names}
