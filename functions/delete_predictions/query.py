"""Which predictions to delete: the query of `DELETE /predictions`."""

from http import HTTPStatus

from fastapi import Request
from pydantic import Field

from functions.shared.api.problems import Problem
from functions.shared.api.query_fields import TIME, QueryFields, Time, UserId


class DeletionQuery(QueryFields):
    """Which predictions. At least one of the two is needed."""

    user_id: UserId = None
    until: Time = Field(default=None, description=f"Created before this time{TIME}.")


def require_some(request: Request) -> None:
    """Refuse a request that does not say what to delete: it would be everything.

    Raises
    ------
    Problem
        422, if it says nothing.
    """
    if not request.query_params:
        detail = "Say whose predictions to delete, or until when: ?user_id=anna, ?until=2026-01-31T00:00:00Z, or both."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
