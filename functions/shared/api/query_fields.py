"""What the queries of several routes have in common."""

import re
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator, Field
from pydantic_core import PydanticCustomError

_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def never_null(schema: dict[str, Any]) -> None:
    """Take null out of a parameter's schema: it is the default, and a query cannot hold it."""
    schema.update(schema.pop("anyOf")[0])


def _written_out(value: object) -> object:
    """Refuse a number, which pydantic takes for seconds since 1970: 20260131 would be a day in August 1970."""
    if isinstance(value, str) and not _DATE.match(value):
        raise PydanticCustomError("time", "must be a time with its offset, as in 2026-01-31T00:00:00Z")
    return value


Time = Annotated[AwareDatetime | None, BeforeValidator(_written_out), Field(json_schema_extra=never_null)]
"""A time by RFC 3339, or None."""
