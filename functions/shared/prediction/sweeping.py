"""Requeue or fail stuck predictions, carry on with deletions, and delete what has expired.

A prediction that stays queued for too long has lost its message, most likely in a crash between commit and send: the
sweep sends the message again. One that stays in processing for too long has used up its deliveries: the sweep fails it.
Where the table of predictions is the queue, none can be stuck: its workers find whatever is late.

A deletion that took longer than its request, or could not reach S3, goes on here.
"""

from typing import Final, NamedTuple, Protocol, Self, TypedDict

from functions.shared.ledger.deletions import DeletingLedger
from functions.shared.ledger.identifiers import FIRST_ID
from functions.shared.ledger.secret import DatabaseSettings
from functions.shared.log import logger
from functions.shared.prediction.deletion import Deleter, RemainingTime
from functions.shared.queue.predictions import PredictionQueue

TIME_FOR_A_PORTION: Final = 15_000
"""Milliseconds that one round may take. Lambda could cut off a round that starts with less time left."""

LONGEST_CALL: Final = 10.0
"""Seconds that one call of the database may take. Nobody waits for the sweep, and its portions are large."""


class SweeperSettings(DatabaseSettings, Protocol):
    """The settings that a sweep needs."""

    @property
    def idempotency_hours(self) -> float:
        """As in `Ledger`."""

    @property
    def inputs_bucket(self) -> str | None:
        """As in `Deleter`."""

    @property
    def bucket_for_uploads(self) -> str | None:
        """As in `Deleter`."""

    @property
    def queued_seconds(self) -> float:
        """As in `Sweeper`."""

    @property
    def processing_seconds(self) -> float:
        """As in `Sweeper`."""


class Swept(TypedDict):
    """The numbers of predictions that were sent again, failed and deleted, and of keys and uploads that expired."""

    sent: int
    failed: int
    deleted: int
    expired: int


class Sweeper(NamedTuple):
    """What a sweep needs.

    Attributes
    ----------
    ledger, deleter
        The rows, and what deletes them.
    queue
        Where stuck predictions are sent again; None if none can be stuck.
    queued_seconds, processing_seconds
        Seconds after which a prediction is stuck.
    """

    ledger: DeletingLedger
    deleter: Deleter
    queue: PredictionQueue | None
    queued_seconds: float
    processing_seconds: float

    @classmethod
    def configured(cls, settings: SweeperSettings, queue: PredictionQueue | None) -> Self:
        """Create the connection pool. Raises as `Ledger.configured` does."""
        ledger = DeletingLedger.configured(settings, longest=LONGEST_CALL, idempotency_hours=settings.idempotency_hours)
        deleter = Deleter(ledger, settings.inputs_bucket, settings.bucket_for_uploads)
        return cls(ledger, deleter, queue, settings.queued_seconds, settings.processing_seconds)

    def sweep(self, remaining_time: RemainingTime, *, lost: bool = False) -> Swept:
        """Sweep until nothing is left or time runs out. The next sweep continues.

        Parameters
        ----------
        remaining_time
            How much time there is.
        lost
            Whether the queue has lost its messages. If so, every unfinished prediction is sent again.

        Raises
        ------
        LedgerError
            If the database cannot be reached.
        QueueUnavailableError, ObjectStoreUnavailableError
            If the queue or S3 cannot be reached. A later sweep finds what was not sent or removed.
        """
        swept: Swept = {"sent": 0, "failed": 0, "deleted": 0, "expired": 0}
        try:
            if self.queue is not None:
                self._send_stuck(self.queue, remaining_time, swept, lost=lost)
        finally:
            # Nobody's deletion waits for the queue.
            deletions = self.deleter.sweep(remaining_time)
            swept["deleted"], swept["expired"] = deletions.deleted, deletions.expired
            logger.info("swept", **swept)
        return swept

    def _send_stuck(self, queue: PredictionQueue, remaining_time: RemainingTime, swept: Swept, *, lost: bool) -> None:
        after = FIRST_ID
        while remaining_time() > TIME_FOR_A_PORTION:
            found = self.ledger.sweep(
                queued_seconds=0 if lost else self.queued_seconds,
                processing_seconds=0 if lost else self.processing_seconds,
                retry=lost,
                after=after,
            )
            if not found.requeue and not found.failed:
                break
            queue.send(found.requeue)
            swept["sent"] += len(found.requeue)
            swept["failed"] += len(found.failed)
            for prediction_id in found.failed:
                logger.warning("failed: in processing for too long", prediction_id=str(prediction_id))
            after = max((*found.requeue, *found.failed))
