"""SQS to Lambda and back, as an event source mapping does it.

Nothing here does I/O. Source: AWS, "Using Lambda with Amazon SQS" and "Handling errors for an SQS event source in
Lambda".
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict


class Message(TypedDict):
    """A message as `ReceiveMessage` gives it, with its attributes."""

    MessageId: str
    ReceiptHandle: str
    Body: str
    MD5OfBody: str
    Attributes: Mapping[str, str]


def make_event(messages: Sequence[Message], *, queue_arn: str) -> dict[str, Any]:
    """Turn received messages into an event.

    Parameters
    ----------
    messages
        At least one.
    queue_arn
        The queue that they come from.
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
    """Return the messages that a result lets the queue forget; the others are delivered again.

    None of them is done where the result names a message that was not delivered, or none where it should, or is not
    what `ReportBatchItemFailures` asks for.

    Parameters
    ----------
    messages
        What was delivered.
    result
        What the handler returned, as JSON.
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
