"""Find queued predictions that have got stuck, on a schedule, and see to them.

What is queued for long has lost its message, most likely to a crash between commit and send: it is sent again. What is
in processing for long has used up its deliveries, each of them to a worker that came to no end: it fails.
"""

from functools import cache
from typing import Final, NamedTuple, TypedDict

from functions.shared.execution_environment import LambdaContext, on_lambda
from functions.shared.ledger.identifiers import FIRST_ID
from functions.shared.ledger.ledger import Ledger
from functions.shared.log import logger, start_logging
from functions.shared.queue.predictions import PredictionQueue
from functions.shared.settings import SweepSettings

TIME_FOR_A_PORTION: Final = 15_000
"""Milliseconds that one round is given: the longest it takes where the queue answers at all."""


class Event(TypedDict, total=False):
    """What is read of an event. The schedule's own has none of it."""

    queue_lost: bool
    """Whether the queue has lost its messages (purged, replaced): everything unfinished is sent again, however new."""


class Swept(TypedDict):
    """How many predictions were seen to."""

    sent: int
    failed: int


class Environment(NamedTuple):
    """What an execution environment makes once and every event uses."""

    settings: SweepSettings
    ledger: Ledger
    queue: PredictionQueue


@cache
def environment() -> Environment:
    """Make the connection pool, the first time."""
    settings = SweepSettings.from_environment()
    start_logging(settings.log_level)
    return Environment(settings, Ledger.configured(settings), PredictionQueue(settings.queue_url))


def handler(event: Event, context: LambdaContext) -> Swept:
    """Sweep until nothing is left, or no time. What is left then, the next sweep finds.

    Raises
    ------
    LedgerError
        If the database cannot be reached.
    QueueUnavailableError
        If the queue cannot. What was not sent is found again when it has been queued for long once more.
    """
    env = environment()
    logger.request_id = context.aws_request_id
    lost = event.get("queue_lost", False)
    swept: Swept = {"sent": 0, "failed": 0}
    after = FIRST_ID
    while context.get_remaining_time_in_millis() > TIME_FOR_A_PORTION:
        found = env.ledger.sweep(
            queued_seconds=0 if lost else env.settings.queued_seconds,
            processing_seconds=0 if lost else env.settings.processing_seconds,
            retry=lost,
            after=after,
        )
        if not found.requeue and not found.failed:
            break
        env.queue.send(found.requeue)
        swept["sent"] += len(found.requeue)
        swept["failed"] += len(found.failed)
        for prediction_id in found.failed:
            logger.warning("failed: in processing for too long", prediction_id=str(prediction_id))
        after = max((*found.requeue, *found.failed))
    logger.info("swept", **swept)
    return swept


if on_lambda():
    environment()
