"""On a schedule, requeue or fail stuck predictions, carry on with deletions, and delete what has expired."""

from functools import cache
from typing import TypedDict

from functions.shared.execution_environment import LambdaContext, on_lambda
from functions.shared.log import logger, start_logging
from functions.shared.prediction.sweeping import Sweeper, Swept
from functions.shared.queue.predictions import SqsQueue
from functions.shared.settings import SweepSettings


class Event(TypedDict, total=False):
    """The members that are read of an event. The schedule's events have none of them."""

    queue_lost: bool
    """Whether the queue has lost its messages (purged, replaced). If so, every unfinished prediction is sent again."""


@cache
def environment() -> Sweeper:
    """Create the connection pool, on the first call."""
    settings = SweepSettings.from_environment()
    start_logging(settings.log_level)
    return Sweeper.configured(settings, SqsQueue(settings.queue_url) if settings.queue_url else None)


def handler(event: Event, context: LambdaContext) -> Swept:
    """Sweep until nothing is left or time runs out. The next sweep continues.

    Raises
    ------
    LedgerError
        If the database cannot be reached.
    QueueUnavailableError, ObjectStoreUnavailableError
        If the queue or S3 cannot be reached. A later sweep finds what was not sent or removed.
    """
    sweeper = environment()
    logger.request_id = context.aws_request_id
    return sweeper.sweep(context.get_remaining_time_in_millis, lost=event.get("queue_lost", False))


if on_lambda():
    environment()
