"""Which predictions to delete: the query of `DELETE /predictions`."""

from collections import Counter
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from functions.shared.api.problems import Problem
from functions.shared.api.query_fields import Time, never_null

_MAX_TEXT_LENGTH: Final = 255
_UserId = Annotated[
    str | None,
    Field(min_length=1, max_length=_MAX_TEXT_LENGTH, pattern="^[^\\x00]*$", json_schema_extra=never_null),
]


class DeletionQuery(BaseModel):
    """Which predictions. At least one of the two is needed."""

    model_config = ConfigDict(extra="forbid")

    user_id: _UserId = None
    until: Time = Field(default=None, description="Created before this time (RFC 3339).")


def require_clear(request: Request) -> None:
    """Refuse a request that does not say clearly what to delete: deleting the wrong records cannot be undone.

    Raises
    ------
    Problem
        422, if it says nothing, or one thing twice.
    """
    given = Counter(name for name, _ in request.query_params.multi_items())
    if not given:
        detail = "Say whose predictions to delete, or until when: ?user_id=anna, ?until=2026-01-31T00:00:00Z, or both."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
    if twice := [name for name, count in given.items() if count > 1]:
        detail = f"{twice[0]} is given more than once: send one request for each."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=[(f"/{twice[0]}", "given more than once")])
