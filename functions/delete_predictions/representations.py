"""A deletion as callers see it."""

from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, Literal, Self
from uuid import UUID

from fastapi import Response
from pydantic import BaseModel, Field

from functions.shared.api.problems import Problem
from functions.shared.ledger.deletions import DeletingLedger
from functions.shared.ledger.errors import RecordNotFoundError
from functions.shared.ledger.records import Deletion

RETRY_AFTER_SECONDS: Final = 60
"""Seconds until a caller should ask again how far a deletion is."""


class Deleted(BaseModel):
    """All are gone."""

    deleted: int = Field(description="How many records.")


class DeletionState(BaseModel):
    """How far a deletion is."""

    deletion_id: UUID
    status: Literal["running", "finished"] = Field(description="`finished`: all are gone.")
    deleted: int = Field(description="How many records are gone so far.")
    requested_at: datetime
    finished_at: datetime | None = Field(default=None, description="Once it is finished.")

    @classmethod
    def of(cls, deletion: Deletion) -> Self:
        """Show a deletion of the ledger."""
        return cls(
            deletion_id=deletion.deletion_id,
            status="running" if deletion.finished_at is None else "finished",
            deleted=deletion.deleted,
            requested_at=deletion.requested_at,
            finished_at=deletion.finished_at,
        )


STILL_DELETING: Final[dict[str, Any]] = {
    "model": DeletionState,
    "description": "There is more to delete. That goes on by itself.",
    "headers": {"Location": {"schema": {"type": "string"}, "description": "Where to ask how far it is."}},
}
"""How the OpenAPI document describes the answer 202 of `outcome`."""


def outcome(deletion: Deletion) -> Response:
    """Answer 200 if a deletion is finished, else 202 with the place to ask."""
    if deletion.finished_at is not None:
        return Response(Deleted(deleted=deletion.deleted).model_dump_json(), media_type="application/json")
    headers = {"Location": f"/deletion/{deletion.deletion_id}", "Retry-After": str(RETRY_AFTER_SECONDS)}
    content = DeletionState.of(deletion).model_dump_json(exclude_none=True)
    return Response(content, HTTPStatus.ACCEPTED, headers, "application/json")


def find_deletion(ledger: DeletingLedger, deletion_id: UUID) -> Deletion:
    """Return a deletion that was answered with 202.

    Raises
    ------
    Problem
        404, if there is none with this id, or it is the deletion of one record, which has that record's id.
    """
    try:
        deletion = ledger.deletion(deletion_id)
    except RecordNotFoundError:
        deletion = None
    if deletion is None or deletion.is_of_one:
        raise Problem(HTTPStatus.NOT_FOUND, "There is no deletion with this id.")
    return deletion


def not_removed_yet() -> Problem:
    """Return the problem that the object of a deleted record is still there."""
    detail = (
        "The record is deleted, but the object of its input could not be removed yet. It will be, by itself. "
        f"To be told, send the same request again in {RETRY_AFTER_SECONDS} seconds."
    )
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
