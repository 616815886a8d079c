"""Find stuck predictions on a schedule, and requeue or fail them.

A prediction that stays queued for too long has lost its message, most likely in a crash between commit and send: the
sweep sends the message again. One that stays in processing for too long has used up its deliveries: the sweep fails it.
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
"""Milliseconds that one round may take. Lambda could cut off a round that starts with less time left."""


class Event(TypedDict, total=False):
    """The members that are read of an event. The schedule's events have none of them."""

    queue_lost: bool
    """Whether the queue has lost its messages (purged, replaced). If so, every unfinished prediction is sent again."""


class Swept(TypedDict):
    """The numbers of predictions that were sent again and that were failed."""

    sent: int
    failed: int


class Environment(NamedTuple):
    """What an execution environment creates once, for all its events."""

    settings: SweepSettings
    ledger: Ledger
    queue: PredictionQueue


@cache
def environment() -> Environment:
    """Create the connection pool, on the first call."""
    settings = SweepSettings.from_environment()
    start_logging(settings.log_level)
    return Environment(settings, Ledger.configured(settings), PredictionQueue(settings.queue_url))


def handler(event: Event, context: LambdaContext) -> Swept:
    """Sweep until nothing is left or time runs out. The next sweep continues.

    Raises
    ------
    LedgerError
        If the database cannot be reached.
    QueueUnavailableError
        If the queue cannot be reached. A later sweep finds what was not sent.
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
