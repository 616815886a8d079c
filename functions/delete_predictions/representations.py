"""A deletion as callers see it."""

from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field

from functions.shared.ledger.records import Deletion


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
