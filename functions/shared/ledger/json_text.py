"""JSON text for PostgreSQL: reading it back gives the value that was written.

Python writes NaN and infinity, which are not JSON; PostgreSQL rejects them.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from functions.shared.ledger.errors import UnstorableValueError

_encode = json.JSONEncoder(ensure_ascii=False).encode


def json_text(value: Mapping[str, Any] | list[Any]) -> str:
    """Encode for a ``json`` column, which keeps the text as it is.

    Parameters
    ----------
    value : Mapping or list
        A value that JSON can represent.

    Returns
    -------
    str
        JSON.
    """
    return _encode(value) if value != {} else "{}"  # most metadata is empty


def jsonb_text(value: Any) -> str:  # noqa: ANN401  # any JSON value
    """Encode for a ``jsonb`` column, which keeps a number's value and decimals but not its exponent.

    ``1e+16`` would come back as the integer ``10000000000000000``; written with a decimal, it comes back as a float.

    Parameters
    ----------
    value : str, float, int, list, dict or None
        A value that JSON can represent.

    Returns
    -------
    str
        JSON.

    Raises
    ------
    UnstorableValueError
        If a string in the value is not valid Unicode.
    """
    try:
        # Rust encodes the scores of ten classes in a tenth of the time of Python's own encoder.
        text = to_json(value).decode()
    except PydanticSerializationError as error:
        raise UnstorableValueError(f"cannot be written as JSON: {error}") from error
    return _without_exponents(value) if "e+" in text else text


def _without_exponents(value: Any) -> str:  # noqa: ANN401  # any JSON value
    if isinstance(value, list):
        return f"[{', '.join(map(_without_exponents, value))}]"
    if isinstance(value, dict):
        members = (f"{_encode(name)}: {_without_exponents(one)}" for name, one in value.items())
        return f"{{{', '.join(members)}}}"
    if isinstance(value, float) and "e+" in repr(value):
        return f"{Decimal(repr(value)):f}.0"
    return json_text(value)
