"""Delete predictions for good: the records, their inputs, objects, uploads and idempotency keys.

Rows go first, a few in each transaction, which also notes the objects that go with them. The objects are removed
afterwards. Whatever interrupts this leaves a deletion that is not finished, and the sweep carries on with it.

An object is put before the row that names it (`input_objects.py`), so a function that ends in between leaves one that
no row names. The erasure of a user lists the user's objects, and removes those, too.

A message that is still in the queue does no harm: the worker finds no prediction for it, and acknowledges it.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

from functions.shared import wait_budget
from functions.shared.ledger.deletions import DeletingLedger
from functions.shared.ledger.records import DeletedObject, Deletion
from functions.shared.log import logger
from functions.shared.object_storage.bucket import LARGEST_UNLENT, LENT_PREFIX, Bucket, input_id_of, place_of, prefix_of
from functions.shared.object_storage.errors import ObjectStoreUnavailableError

TIME_FOR_A_STEP: Final = 15_000
"""Milliseconds that one step may take: a statement that runs into its time-out, or S3 that does not answer twice."""

LONGEST_WITHOUT_A_ROW: Final = timedelta(minutes=5)
"""How long after an object was put its row may still be committed. It is committed at once, or within the time that the
function has, or never; the rest is for clocks that differ."""

RemainingTime: TypeAlias = Callable[[], int]
"""Returns the milliseconds that are left."""


class Swept(NamedTuple):
    """What a sweep of deletions has done: predictions deleted, keys and uploads expired."""

    deleted: int
    expired: int


class Deleter:
    """Deletes predictions.

    Parameters
    ----------
    ledger
        The rows.
    inputs_bucket
        The name of the bucket for inputs; None if the ledger stores them itself.
    uploads_bucket
        The name of the bucket that callers upload to, and where large inputs are lent; None if there is none.
    """

    def __init__(self, ledger: DeletingLedger, inputs_bucket: str | None, uploads_bucket: str | None) -> None:
        self._ledger = ledger
        self._inputs = None if inputs_bucket is None else Bucket(inputs_bucket)
        self._lent_prefix = None if uploads_bucket is None else Bucket(uploads_bucket).uri(LENT_PREFIX)
        self._buckets: dict[str, Bucket] = {}

    def delete(self, prediction_id: UUID, *, user_id: str | None, requested_by: str | None) -> None:
        """Delete one prediction. On return, everything of it is gone.

        Parameters
        ----------
        prediction_id, user_id, requested_by
            As in `DeletingLedger.delete`.

        Raises
        ------
        RecordNotFoundError
            If the prediction does not exist, or belongs to another user.
        ObjectStoreUnavailableError
            If the object of its input could not be removed. The record is gone, and the sweep removes the object.
        LedgerUnavailableError
            If the database cannot be reached. The prediction may be deleted; the sweep then deletes what is left of it.
        """
        self._ledger.delete(prediction_id, user_id=user_id, requested_by=requested_by)
        deletion = self._ledger.deletion(prediction_id)
        while self._settle(deletion):
            pass
        try:
            self._remove_objects(deletion)
        except ObjectStoreUnavailableError as error:
            logger.error("an object could not be removed yet", deletion_id=str(prediction_id), reason=str(error))
            raise
        deletion = self._ledger.finish_deletion(deletion)
        logger.info("deleted", deletion_id=str(prediction_id), deleted=1, finished=deletion.finished_at is not None)

    def delete_many(
        self, *, user_id: str | None, until: datetime | None, requested_by: str | None, remaining_time: RemainingTime
    ) -> Deletion:
        """Delete a user's predictions, or everybody's, for as long as time permits.

        Parameters
        ----------
        user_id, until, requested_by
            As in `DeletingLedger.begin_deletion`.
        remaining_time
            How much time there is.

        Returns
        -------
        Deletion
            Finished; or not, and the sweep carries on.

        Raises
        ------
        LedgerUnavailableError
            If the database cannot be reached.
        """
        deletion = self._ledger.begin_deletion(user_id=user_id, until=until, requested_by=requested_by)
        try:
            return self._carry_on(deletion, remaining_time)
        except ObjectStoreUnavailableError as error:
            logger.error("objects could not be removed yet", deletion_id=str(deletion.deletion_id), reason=str(error))
            return self._ledger.deletion(deletion.deletion_id)

    def sweep(self, remaining_time: RemainingTime) -> Swept:
        """Carry on with all deletions, and let idempotency keys and uploads expire, for as long as time permits.

        Raises
        ------
        LedgerUnavailableError, ObjectStoreUnavailableError
            If the database or S3 cannot be reached. The next sweep carries on.
        """
        deleted = expired = 0
        unavailable: ObjectStoreUnavailableError | None = None
        last: Deletion | None = None
        while remaining_time() > TIME_FOR_A_STEP and (some := self._ledger.unfinished_deletions(after=last)):
            for last in some:
                try:
                    deleted += self._carry_on(last, remaining_time).deleted - last.deleted
                except ObjectStoreUnavailableError as error:
                    unavailable = error  # the rows of the other deletions can go all the same
        while remaining_time() > TIME_FOR_A_STEP and (count := self._ledger.expire()):
            expired += count
        while remaining_time() > TIME_FOR_A_STEP and self._settle(None):
            pass
        if unavailable is not None:
            raise unavailable
        if remaining_time() > TIME_FOR_A_STEP:
            self._remove_objects(None)
        return Swept(deleted, expired)

    def _carry_on(self, deletion: Deletion, remaining_time: RemainingTime) -> Deletion:
        begun, deletion_id = deletion, deletion.deletion_id
        unavailable: ObjectStoreUnavailableError | None = None
        busy = True
        while busy and remaining_time() > TIME_FOR_A_STEP:
            wait_budget.renew()
            further = self._ledger.delete_some(deletion)
            deletion = further or deletion
            busy = further is not None or bool(self._ledger.delete_some_uploads(deletion))
            while remaining_time() > TIME_FOR_A_STEP and self._settle(deletion):
                busy = True
            if unavailable is None and remaining_time() > TIME_FOR_A_STEP:
                try:
                    self._remove_objects(deletion)
                except ObjectStoreUnavailableError as error:
                    unavailable = error  # the other rows can go all the same
        if unavailable is not None:
            raise unavailable
        done = self._remove_unnamed(deletion, remaining_time)
        state = self._ledger.finish_deletion(deletion) if done else self._ledger.deletion(deletion_id)
        count, finished = state.deleted - begun.deleted, state.finished_at is not None
        logger.info("deleted", deletion_id=str(deletion_id), deleted=count, finished=finished)
        return state

    def _remove_unnamed(self, deletion: Deletion, remaining_time: RemainingTime) -> bool:
        """Remove objects of a user who is erased that no row names, and return whether there are none any more.

        The rows are gone by now. An object whose id is newer than the deletion is of a later request, and stays. One
        that was put just now may be of a request that is still to commit: it stays, and the next sweep looks again.
        """
        if self._inputs is None or deletion.user_id is None or not deletion.erases_user:
            return True
        pages = self._inputs.pages(prefix_of(deletion.user_id))
        none_may_come = True
        while remaining_time() > TIME_FOR_A_STEP:
            wait_budget.renew()
            page = next(pages, ())
            ids = {one: input_id for one in page if (input_id := input_id_of(one.key)) is not None}
            asked = {one: input_id for one, input_id in ids.items() if input_id < deletion.deletion_id}
            if asked:
                # Put before this time, an object has its row by now if it gets one: so ask the ledger afterwards.
                latest = datetime.now(UTC) - LONGEST_WITHOUT_A_ROW
                in_use = self._ledger.ids_in_use(asked.values())
                unnamed = [one for one, input_id in asked.items() if input_id not in in_use]
                old = [self._inputs.uri(one.key) for one in unnamed if one.modified < latest]
                none_may_come = none_may_come and len(old) == len(unnamed)
                if old:
                    self._ledger.note_objects(deletion, old)
                    self._remove_objects(deletion)
            if not page or len(asked) < len(ids):  # ids are in the order of time
                return none_may_come
        return False

    def _settle(self, deletion: Deletion | None) -> int:
        return self._ledger.settle(deletion, lent_prefix=self._lent_prefix, lent_above=LARGEST_UNLENT)

    def _remove_objects(self, deletion: Deletion | None) -> None:
        after = ""
        while some := self._ledger.deleted_objects(deletion, after=after):
            self._remove(some)
            self._ledger.objects_removed(some)
            after = some[-1].uri

    def _remove(self, objects: Sequence[DeletedObject]) -> None:
        keys: defaultdict[str, list[str]] = defaultdict(list)
        for one in objects:
            bucket, key = place_of(one.uri)
            keys[bucket].append(key)
        for bucket, some in keys.items():
            self._buckets.setdefault(bucket, Bucket(bucket)).remove(some)
