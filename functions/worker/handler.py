"""Predict what is queued: a batch of SQS messages at a time, each of them the id of a prediction.

A message may come twice, at once or late: the ledger says whose turn it is. A prediction that is to be tried again is
left to the queue, which delivers its message again, and after some tries puts it on its dead-letter queue.
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


class Message(TypedDict):
    """What is read of one message."""

    messageId: str
    body: str


class Event(TypedDict):
    """What is read of an event (AWS, "Using Lambda with Amazon SQS")."""

    Records: list[Message]


class ItemFailure(TypedDict):
    """A message that is to be delivered again."""

    itemIdentifier: str


class Answer(TypedDict):
    """`ReportBatchItemFailures`: every message that is not named here is deleted."""

    batchItemFailures: list[ItemFailure]


class Environment(NamedTuple):
    """What an execution environment makes once and every event uses."""

    serving: Serving
    pace: Pace


@cache
def environment() -> Environment:
    """Load the model, warm it up and make the connection pool, the first time."""
    settings = WorkerSettings.from_environment()
    start_logging(settings.log_level)
    serving = Serving.start(settings)
    return Environment(serving, Pace.of(serving.model))


def handler(event: Event, context: LambdaContext) -> Answer:
    """Predict a batch, and name the messages that are to come again.

    Raises
    ------
    LedgerError
        If the database cannot be reached, and the whole batch is to be delivered again.
    """
    env = environment()
    logger.request_id = context.aws_request_id
    again: list[str] = []
    messages: dict[UUID, list[str]] = {}
    for message in event["Records"]:
        try:
            messages.setdefault(UUID(message["body"]), []).append(message["messageId"])
        except ValueError:
            # Nobody of ours has sent this. The dead-letter queue keeps it, and its alarm tells of it.
            logger.error("a message is no prediction's id", message_id=message["messageId"])
            again.append(message["messageId"])

    undone = predict_queued(env.serving, env.pace, messages, context.get_remaining_time_in_millis)
    again += [message_id for prediction_id in undone for message_id in messages[prediction_id]]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in again]}


if on_lambda():
    environment().serving.warm_up()
