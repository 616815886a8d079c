"""On a schedule, requeue or fail stuck predictions, carry on with deletions, and delete what has expired.

A prediction that stays queued for too long has lost its message, most likely in a crash between commit and send: the
sweep sends the message again. One that stays in processing for too long has used up its deliveries: the sweep fails it.

A deletion that took longer than its request, or could not reach S3, goes on here.
"""

from functools import cache
from typing import Final, NamedTuple, TypedDict

from functions.shared.execution_environment import LambdaContext, on_lambda
from functions.shared.ledger.deletions import DeletingLedger
from functions.shared.ledger.identifiers import FIRST_ID
from functions.shared.log import logger, start_logging
from functions.shared.prediction.deletion import Deleter, RemainingTime
from functions.shared.queue.predictions import PredictionQueue
from functions.shared.settings import SweepSettings

TIME_FOR_A_PORTION: Final = 15_000
"""Milliseconds that one round may take. Lambda could cut off a round that starts with less time left."""


LONGEST_CALL: Final = 10.0
"""Seconds that one call of the database may take. Nobody waits for the sweep, and its portions are large."""


class Event(TypedDict, total=False):
    """The members that are read of an event. The schedule's events have none of them."""

    queue_lost: bool
    """Whether the queue has lost its messages (purged, replaced). If so, every unfinished prediction is sent again."""


class Swept(TypedDict):
    """The numbers of predictions that were sent again, failed and deleted, and of keys and uploads that expired."""

    sent: int
    failed: int
    deleted: int
    expired: int


class Environment(NamedTuple):
    """What an execution environment creates once, for all its events."""

    settings: SweepSettings
    ledger: DeletingLedger
    queue: PredictionQueue | None
    deleter: Deleter


@cache
def environment() -> Environment:
    """Create the connection pool, on the first call."""
    settings = SweepSettings.from_environment()
    start_logging(settings.log_level)
    ledger = DeletingLedger.configured(settings, longest=LONGEST_CALL, idempotency_hours=settings.idempotency_hours)
    queue = PredictionQueue(settings.queue_url) if settings.queue_url else None
    return Environment(settings, ledger, queue, Deleter(ledger, settings.inputs_bucket, settings.bucket_for_uploads))


def handler(event: Event, context: LambdaContext) -> Swept:
    """Sweep until nothing is left or time runs out. The next sweep continues.

    Raises
    ------
    LedgerError
        If the database cannot be reached.
    QueueUnavailableError, ObjectStoreUnavailableError
        If the queue or S3 cannot be reached. A later sweep finds what was not sent or removed.
    """
    env = environment()
    logger.request_id = context.aws_request_id
    swept: Swept = {"sent": 0, "failed": 0, "deleted": 0, "expired": 0}
    try:
        if env.queue is not None:
            _send_stuck(
                env, env.queue, context.get_remaining_time_in_millis, swept, lost=event.get("queue_lost", False)
            )
    finally:
        # Nobody's deletion waits for the queue.
        deletions = env.deleter.sweep(context.get_remaining_time_in_millis)
        swept["deleted"], swept["expired"] = deletions.deleted, deletions.expired
        logger.info("swept", **swept)
    return swept


def _send_stuck(
    env: Environment, queue: PredictionQueue, remaining_time: RemainingTime, swept: Swept, *, lost: bool
) -> None:
    after = FIRST_ID
    while remaining_time() > TIME_FOR_A_PORTION:
        found = env.ledger.sweep(
            queued_seconds=0 if lost else env.settings.queued_seconds,
            processing_seconds=0 if lost else env.settings.processing_seconds,
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


if on_lambda():
    environment()
