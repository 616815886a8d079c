"""Make queued predictions, a batch of SQS messages at a time. Each message is the id of a prediction.

SQS may deliver a message twice: the ledger decides which worker makes the prediction. A message that is named in the
answer is delivered again, and moves to the dead-letter queue after five deliveries.
"""

from functools import cache
from typing import NamedTuple, TypedDict
from uuid import UUID

from functions.shared.execution_environment import LambdaContext, on_lambda
from functions.shared.log import logger, start_logging
from functions.shared.prediction.pace import Pace
from functions.shared.prediction.serving import Serving
from functions.shared.prediction.worker_batch import predict_queued
from functions.shared.settings import WorkerSettings


class Attributes(TypedDict, total=False):
    """The attributes that are read of a message."""

    ApproximateReceiveCount: str


class Message(TypedDict):
    """The members that are read of a message."""

    messageId: str
    body: str
    attributes: Attributes


class Event(TypedDict):
    """The members that are read of an event (AWS, "Using Lambda with Amazon SQS")."""

    Records: list[Message]


class ItemFailure(TypedDict):
    """A message that SQS must deliver again."""

    itemIdentifier: str


class Answer(TypedDict):
    """The answer to SQS (`ReportBatchItemFailures`). SQS deletes every message that it does not name."""

    batchItemFailures: list[ItemFailure]


class Environment(NamedTuple):
    """What an execution environment creates once, for all its events."""

    serving: Serving
    pace: Pace


@cache
def environment() -> Environment:
    """Load the model and create the connection pool, on the first call."""
    settings = WorkerSettings.from_environment()
    start_logging(settings.log_level)
    serving = Serving.start(settings)
    return Environment(serving, Pace.of(serving.model))


def handler(event: Event, context: LambdaContext) -> Answer:
    """Make a batch of predictions, and name the messages to deliver again.

    Raises
    ------
    LedgerError
        If the database cannot be reached. SQS then delivers the whole batch again.
    """
    env = environment()
    logger.request_id = context.aws_request_id
    again: list[str] = []
    messages: dict[UUID, list[str]] = {}
    suspects: set[UUID] = set()
    for message in event["Records"]:
        try:
            prediction_id = UUID(message["body"])
        except ValueError:
            # None of our functions sent this. It ends in the dead-letter queue, whose alarm reports it.
            logger.error("a message is not the id of a prediction", message_id=message["messageId"])
            again.append(message["messageId"])
            continue
        messages.setdefault(prediction_id, []).append(message["messageId"])
        if int(message["attributes"].get("ApproximateReceiveCount", "1")) > 1:
            suspects.add(prediction_id)

    remaining_time = context.get_remaining_time_in_millis
    undone = predict_queued(env.serving, env.pace, messages, remaining_time, suspects=suspects)
    again += [message_id for prediction_id in undone for message_id in messages[prediction_id]]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in again]}


if on_lambda():
    environment().serving.warm_up()
