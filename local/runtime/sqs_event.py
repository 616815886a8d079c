"""The event that an event source mapping makes of SQS messages, and what it makes of the function's result.

Nothing here does I/O. Source: AWS, "Using Lambda with Amazon SQS" and "Handling errors for an SQS event source in
Lambda".
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict


class Message(TypedDict):
    """A message with its attributes, as `ReceiveMessage` returns it."""

    MessageId: str
    ReceiptHandle: str
    Body: str
    MD5OfBody: str
    Attributes: Mapping[str, str]


def make_event(messages: Sequence[Message], *, queue_arn: str) -> dict[str, Any]:
    """Return the event for received messages.

    Parameters
    ----------
    messages
        At least one.
    queue_arn
        The ARN of their queue.
    """
    region = queue_arn.split(":")[3]
    return {
        "Records": [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": {**message["Attributes"]},
                "messageAttributes": {},
                "md5OfBody": message["MD5OfBody"],
                "eventSource": "aws:sqs",
                "eventSourceARN": queue_arn,
                "awsRegion": region,
            }
            for message in messages
        ]
    }


def messages_done(messages: Sequence[Message], result: bytes) -> list[Message]:
    """Return the messages that can be deleted because the function succeeded on them. SQS delivers the others again.

    As on AWS, the whole batch counts as failed if the result is not what `ReportBatchItemFailures` asks for: if it
    names a message that was not in the batch, or a failure has no message id.

    Parameters
    ----------
    messages
        The batch that was delivered.
    result
        The handler's result, as JSON.
    """
    answer = json.loads(result)
    if answer is None:
        return list(messages)
    failures = answer.get("batchItemFailures", []) if isinstance(answer, dict) else [None]
    if failures is None:
        return list(messages)
    if not isinstance(failures, list) or not all(isinstance(failure, dict) for failure in failures):
        return []
    again = {failure.get("itemIdentifier") for failure in failures}
    if not again <= {message["MessageId"] for message in messages}:
        return []
    return [message for message in messages if message["MessageId"] not in again]
