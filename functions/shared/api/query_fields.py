"""What the queries of several routes have in common."""

import re
from collections import Counter
from http import HTTPStatus
from typing import Annotated, Any, Final, Self
from urllib.parse import unquote_plus, unquote_to_bytes

from fastapi import Request
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from functions.shared.api.fields import MAX_USER_ID_LENGTH
from functions.shared.api.problems import Problem

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")

# In a query, a plus sign stands for a space: `+02:00` arrives as ` 02:00` if the client has not encoded it.
_LOST_PLUS: Final = re.compile(r"(\d{4}-\d\d-\d\d[Tt_ ][\d:.]+) (\d\d(?::?\d\d)?)")

TIME: Final = ", by RFC 3339; a date is midnight UTC, at its start"
"""What the OpenAPI document says of every time."""

_NO_TIME: Final = "must be a time with its offset or a date"


def never_null(schema: dict[str, Any]) -> None:
    """Take null out of a parameter's schema: it is the default, and a query cannot hold it."""
    schema.update(schema.pop("anyOf")[0])


def _time_or_date(schema: dict[str, Any]) -> None:
    schema["anyOf"] = [{"type": "string", "format": form} for form in ("date-time", "date")]


def _written_out(value: object) -> object:
    """Complete a date and a plus sign that was lost, and refuse what pydantic would take for something else.

    Pydantic takes a number for seconds since 1970: 20260131 would be a day in August 1970.
    """
    if not isinstance(value, str):
        return value
    if not _DATE.match(value):
        raise PydanticCustomError("time", _NO_TIME)
    if _DATE.fullmatch(value):
        return f"{value}T00:00:00Z"
    if lost := _LOST_PLUS.fullmatch(value):
        return f"{lost[1]}+{lost[2]}"
    return value


Time = Annotated[
    AwareDatetime | None,
    BeforeValidator(_written_out),
    Field(examples=["2026-01-31T00:00:00Z"], json_schema_extra=_time_or_date),
]
"""A time by RFC 3339, a date, which is midnight UTC at its start, or None."""


def _said(value: object) -> object:
    """Take the two words of JSON alone: pydantic would take 1, on and yes as well."""
    if isinstance(value, str) and value not in ("true", "false"):
        raise PydanticCustomError("true_or_false", "must be true or false")
    return value


def _boolean(schema: dict[str, Any]) -> None:
    never_null(schema)
    schema["examples"] = [example == "true" for example in schema["examples"]]


TrueOrFalse = Annotated[bool | None, BeforeValidator(_said), Field(json_schema_extra=_boolean)]
"""True, false, or None."""

UserId = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=MAX_USER_ID_LENGTH,
        pattern="^[^\\x00]*$",
        examples=["anna"],
        json_schema_extra=never_null,
    ),
]
"""A user's id, or None."""


class QueryFields(BaseModel):
    """The parameters of a query. A refusal shows a value that would be right: the field's first example."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="wrap")
    @classmethod
    def _show_what_is_right(cls, values: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(values)
        except ValidationError as error:
            faults = [
                InitErrorDetails(
                    type=PydanticCustomError("query", "{says}", {"says": cls._says(fault["loc"][0], fault["msg"])}),
                    loc=fault["loc"],
                    input=fault["input"],
                )
                for fault in error.errors(include_url=False)
            ]
            raise ValidationError.from_exception_data(cls.__name__, faults) from None

    @classmethod
    def _says(cls, name: int | str, message: str) -> str:
        field = cls.model_fields.get(str(name))
        if field is None:
            known = ", ".join(cls.model_fields)
            return f"there is no such parameter: {f'use {known}' if known else 'this route takes none'}"
        if not field.examples:  # nobody can make one up
            return f"{message}: send {(field.description or '').rstrip('.')}"
        return f"{message}, as in {name}={field.examples[0]}"


def require_clear(request: Request) -> None:
    """Refuse a query that does not say clearly what is meant: the answer would be about something else.

    Raises
    ------
    Problem
        422, if it says one thing twice, or holds text that is not UTF-8.
    """
    pairs = [pair.partition(b"=") for pair in request.scope["query_string"].split(b"&")]
    given = Counter(unquote_plus(name.decode("ascii", "replace")) for name, _, _ in pairs)
    if twice := [name for name, count in given.items() if count > 1 and name]:
        detail = f"{twice[0]} is given more than once: send one request for each."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=[(f"/{twice[0]}", "given more than once")])
    for name, _, value in pairs:
        try:
            unquote_to_bytes(value).decode()
        except UnicodeDecodeError:
            wrong = unquote_plus(name.decode("ascii", "replace"))
            detail = f"{wrong} is not UTF-8: write é as %C3%A9, not as %E9."
            errors = [(f"/{wrong}", "not UTF-8")]
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=errors) from None
