"""What the ledger can do for those that may delete: the function of the API that deletes, and the sweep.

Every method is one statement and one short transaction. What it leaves to do is in a table, for whoever comes next.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from functions.shared.ledger import arrays, ground_truth_statements, statements
from functions.shared.ledger.arrays import Array
from functions.shared.ledger.errors import LedgerUnavailableError, RecordNotFoundError, StatementRefusedError
from functions.shared.ledger.identifiers import FIRST_ID, LAST_ID, first_id_at, new_id
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import NO_UPLOADS, DeletedObject, Deletion

MOST_PREDICTIONS: Final = 250
"""Predictions that one statement deletes: their rows are short."""

MOST_INPUTS: Final = 100
"""Inputs that one statement deletes: their rows can have some megabytes each."""

MOST_OBJECTS: Final = 1000
"""Objects that S3 removes in one request."""

_ATTEMPTS: Final = 3
_STILL_USED: Final = ("23503", "predictions_input_id_fkey")


class DeletingLedger(Ledger):
    """A ledger that deletes. What must not delete has a `Ledger`."""

    def delete(self, prediction_id: UUID, *, user_id: str | None = None, requested_by: str | None = None) -> None:
        """Delete one prediction with its idempotency key. Its input is then to be settled, as a deletion of this id.

        Does nothing if an earlier call has deleted it, and its deletion is not finished yet.

        Parameters
        ----------
        prediction_id : UUID
            The prediction.
        user_id : str or None
            If given, the prediction must belong to this user.
        requested_by : str or None
            Who deletes it. Kept only if it is not the owner.

        Raises
        ------
        RecordNotFoundError
            If the prediction does not exist, or belongs to another user.
        """
        theirs = user_id is not None
        parameters = {
            "deletion_id": prediction_id,
            "user_id": user_id,
            "requested_by": requested_by,
            "first_id": FIRST_ID,
            "no_uploads": NO_UPLOADS,
        }
        self._pool.run(statements.DELETE_ONE_IF_THEIRS if theirs else statements.DELETE_ONE, parameters)
        unfinished = statements.UNFINISHED_ONE_IF_THEIRS if theirs else statements.UNFINISHED_ONE
        if not self._pool.run(unfinished, parameters):
            raise RecordNotFoundError(f"no prediction {prediction_id}")

    def begin_deletion(
        self, *, user_id: str | None = None, until: datetime | None = None, requested_by: str | None = None
    ) -> Deletion:
        """Ask for the deletion of the predictions that there are now, and delete none of them yet.

        Parameters
        ----------
        user_id : str or None
            Whose; None for everybody's.
        until : datetime or None
            Only those created before. Without it, everything of the user is deleted.
        requested_by : str or None
            Who deletes them. Kept only if it is not the owner.

        Returns
        -------
        Deletion
            For `delete_some` and `finish_deletion`.
        """
        deletion_id = new_id()
        parameters = {
            "deletion_id": deletion_id,
            "user_id": user_id,
            "requested_by": None if requested_by == user_id else requested_by,
            "erases_user": user_id is not None and until is None,
            "first_id": FIRST_ID,
            "before": LAST_ID if until is None else first_id_at(until),
            "until": None if until is None else _in_utc(until),
        }
        of_user = user_id is not None
        self._pool.run(statements.BEGIN_DELETION_OF_USER if of_user else statements.BEGIN_DELETION, parameters)
        # A later deletion of the same user may have finished this one meanwhile. Its row then names nobody, and a
        # deletion of nobody's predictions would be one of everybody's.
        return self.deletion(deletion_id)._replace(user_id=user_id)

    def deletion(self, deletion_id: UUID) -> Deletion:
        """Read how far a deletion is.

        Raises
        ------
        RecordNotFoundError
            If there is no such deletion.
        """
        rows = self._pool.run(statements.DELETION, {"deletion_id": deletion_id})
        if not rows:
            raise RecordNotFoundError(f"no deletion {deletion_id}")
        return Deletion(*rows[0])

    def unfinished_deletions(self, *, after: Deletion | None = None, limit: int = 100) -> Sequence[Deletion]:
        """Return deletions that are not finished, the oldest first: those after the given one, at most `limit`."""
        requested_at, deletion_id = (NO_UPLOADS, FIRST_ID) if after is None else (after.requested_at, after.deletion_id)
        parameters = {"requested_at": requested_at, "deletion_id": deletion_id, "count": limit}
        return [Deletion(*row) for row in self._pool.run(statements.UNFINISHED_DELETIONS, parameters)]

    def delete_some(self, deletion: Deletion, *, limit: int = MOST_PREDICTIONS) -> Deletion | None:
        """Delete some of a deletion's predictions, with their idempotency keys, and count them.

        Parameters
        ----------
        deletion : Deletion
            The deletion, with the position up to which it is done.
        limit : int
            The maximum number of predictions.

        Returns
        -------
        Deletion or None
            The deletion with its new position; None if there was nothing left.
        """
        of_user = deletion.user_id is not None
        sql = statements.DELETE_MANY_OF_USER if of_user else statements.DELETE_MANY
        rows = self._pool.run(sql, _where(deletion) | {"count": limit})
        if not rows or not rows[0][1]:
            return None
        return deletion._replace(position=rows[0][0])

    def delete_some_uploads(self, deletion: Deletion, *, limit: int = MOST_PREDICTIONS) -> int:
        """Delete some of a deletion's uploads and, of a user who is erased, keys, counts, and the name elsewhere.

        Returns
        -------
        int
            How many rows; 0 if there was nothing left.
        """
        parameters = _where(deletion) | {"count": limit}
        if deletion.user_id is None:
            return len(self._pool.run(statements.DELETE_UPLOADS, parameters))
        count = len(self._pool.run(statements.DELETE_UPLOADS_OF_USER, parameters))
        if deletion.erases_user:
            count += len(self._pool.run(statements.DELETE_KEYS_OF_USER, parameters))
            count += len(self._pool.run(statements.FORGET_REQUESTER, parameters))
            count += len(self._pool.run(ground_truth_statements.FORGET_GIVER, parameters))
            count += len(self._pool.run(statements.DELETE_USAGE_OF_USER, parameters | {"first_id": FIRST_ID}))
        return count

    def expire(self, *, limit: int = MOST_PREDICTIONS) -> int:
        """Delete some idempotency keys and announcements of uploads that have expired, and return how many.

        Counts that say nothing any more are deleted, too.
        """
        parameters = {"key_seconds": self._key_seconds, "count": limit, "deletion_id": None}
        self._pool.run(statements.EXPIRE_USAGE, parameters)
        keys = self._pool.run(statements.EXPIRE_KEYS, parameters)
        return len(keys) + len(self._pool.run(statements.EXPIRE_UPLOADS, parameters))

    def settle(
        self,
        deletion: Deletion | None = None,
        *,
        lent_prefix: str | None = None,
        lent_above: int = 0,
        limit: int = MOST_INPUTS,
    ) -> int:
        """Delete some inputs that no prediction has any more, and note their objects to be removed.

        Parameters
        ----------
        deletion : Deletion or None
            Whose inputs: a deletion's, with all others of a user who is erased; or those of all deletions.
        lent_prefix : str or None
            What the URI of a copy begins with that is lent of a large input in the database; the rest is the input's
            id. None if none are lent.
        lent_above : int
            The size above which an input is lent, in bytes.
        limit : int
            The maximum number.

        Returns
        -------
        int
            How many were looked at; 0 if there was nothing left.
        """
        sql = statements.SETTLE if deletion is None else statements.SETTLE_DELETION
        parameters = _whose(deletion) | {
            "lent_prefix": lent_prefix,
            "lent_above": lent_above,
            "count": limit,
        }
        for _ in range(_ATTEMPTS):
            try:
                return len(self._pool.run(sql, parameters))
            except StatementRefusedError as error:
                # A prediction of the same upload was stored meanwhile. The next attempt sees it, and leaves the input.
                if (error.sqlstate, error.constraint) != _STILL_USED:
                    raise
        raise LedgerUnavailableError("the inputs to delete were predicted again and again")

    def ids_in_use(self, ids: Iterable[UUID]) -> set[UUID]:
        """Return those of the given ids that an input, an output or an upload has."""
        return {row[0] for row in self._pool.run(statements.IDS_IN_USE, {"ids": Array(arrays.UUIDS, list(ids))})}

    def note_objects(self, deletion: Deletion, uris: Iterable[str]) -> None:
        """Note objects to be removed that no row names, nor will name. The deletion is not finished before they are."""
        parameters = {
            "deletion_id": deletion.deletion_id,
            "user_id": deletion.user_id,
            "uris": Array(arrays.TEXT, list(uris)),
        }
        self._pool.run(statements.NOTE_OBJECTS, parameters)

    def deleted_objects(
        self, deletion: Deletion | None = None, *, after: str = "", limit: int = MOST_OBJECTS
    ) -> Sequence[DeletedObject]:
        """Return objects to remove, with URIs above `after`, at most `limit` of them. `deletion` is as in `settle`."""
        sql = statements.DELETED_OBJECTS if deletion is None else statements.DELETED_OBJECTS_OF_DELETION
        rows = self._pool.run(sql, _whose(deletion) | {"after": after, "count": limit})
        return [DeletedObject(*row) for row in rows]

    def objects_removed(self, removed: Iterable[DeletedObject]) -> None:
        """Forget removed objects. One that somebody may put again is kept, to be removed once more."""
        objects = list(removed)
        for_ever = [one.uri for one in objects if one.for_ever]
        for_now = [one.uri for one in objects if not one.for_ever]
        parameters = {"for_ever": Array(arrays.TEXT, for_ever), "for_now": Array(arrays.TEXT, for_now)}
        self._pool.run(statements.OBJECTS_REMOVED, parameters)

    def finish_deletion(self, deletion: Deletion) -> Deletion:
        """Record that a deletion is finished, and forget whose it was, if nothing is left to do. Return how far it is.

        Raises
        ------
        RecordNotFoundError
            If there is no such deletion.
        """
        of_user = deletion.user_id is not None
        sql = statements.FINISH_DELETION_OF_USER if of_user else statements.FINISH_DELETION
        self._pool.run(sql, _where(deletion) | _whose(deletion))
        return self.deletion(deletion.deletion_id)


def _whose(deletion: Deletion | None) -> dict[str, object]:
    if deletion is None:
        return {}
    erased = deletion.user_id if deletion.erases_user else None
    return {"deletion_id": deletion.deletion_id, "erased": erased, "first_id": FIRST_ID}


def _where(deletion: Deletion) -> dict[str, object]:
    return {
        "deletion_id": deletion.deletion_id,
        "user_id": deletion.user_id,
        "position": deletion.position,
        "last_id": deletion.last_id,
        "uploads_until": deletion.uploads_until,
    }


def _in_utc(until: datetime) -> datetime:
    """Return a time that PostgreSQL takes, which refuses offsets of 16 hours, and that is later than `NO_UPLOADS`."""
    since = min(max(until - NO_UPLOADS, timedelta(microseconds=1)), datetime.max.replace(tzinfo=UTC) - NO_UPLOADS)
    return NO_UPLOADS + since
