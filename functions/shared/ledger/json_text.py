"""JSON texts for PostgreSQL, such that what is read back is what was written.

NaN and infinity, which Python writes and JSON does not know, are PostgreSQL's to refuse.
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
        JSON-ready.

    Returns
    -------
    str
        JSON.
    """
    return _encode(value) if value != {} else "{}"  # as most metadata is


def jsonb_text(value: Any) -> str:  # noqa: ANN401  # any JSON value
    """Encode for a ``jsonb`` column, which keeps a number's value and its decimals, but not its exponent.

    ``1e+16`` would come back as ``10000000000000000``, an integer; written out with a decimal it comes back a float.

    Parameters
    ----------
    value : str, float, int or list
        JSON-ready.

    Returns
    -------
    str
        JSON.

    Raises
    ------
    UnstorableValueError
        If a text in it is not Unicode.
    """
    try:
        # Written by Rust: the scores of ten classes in a tenth of the time that Python's own encoder takes.
        text = to_json(value).decode()
    except PydanticSerializationError as error:
        raise UnstorableValueError(f"cannot be written as JSON: {error}") from error
    return _without_exponents(value) if "e+" in text else text


def _without_exponents(value: Any) -> str:  # noqa: ANN401  # any JSON value
    if isinstance(value, list):
        return f"[{', '.join(map(_without_exponents, value))}]"
    if isinstance(value, float) and "e+" in repr(value):
        return f"{Decimal(repr(value)):f}.0"
    return json_text(value)
