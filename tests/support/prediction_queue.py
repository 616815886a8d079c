"""The queue of predictions in moto, the request that fills it, and the worker that empties it."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import httpx

from local.runtime.sqs_event import Message, make_event, messages_done
from tests.support.event_transport import Context

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

QUEUE_ARN = "arn:aws:sqs:us-east-1:123456789012:predictions"
AWS = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass(frozen=True)
class Queue:
    """The queue of predictions, with a stand-in for the event source mapping."""

    sqs: "SQSClient"
    url: str

    def receive(self) -> list[Message]:
        """Receive up to ten messages, which are invisible afterwards."""
        got = self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10, AttributeNames=["All"])
        return cast("list[Message]", got.get("Messages", []))

    def bodies(self) -> list[str]:
        """Receive up to ten messages, and return their bodies."""
        return [message["Body"] for message in self.receive()]

    def deliver(self) -> list[str]:
        """Pass up to ten messages to the worker, delete those that succeeded, and return the bodies of the others."""
        messages = self.receive()
        again = work(messages)
        for message in messages:
            if message["Body"] not in again:
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return again


def work(messages: list[Message], context: Context | None = None) -> list[str]:
    """Pass messages to the worker, and return the bodies of those that failed."""
    from functions.worker.handler import handler

    event = json.loads(json.dumps(make_event(messages, queue_arn=QUEUE_ARN)))
    done = messages_done(messages, json.dumps(handler(event, context or Context())).encode())
    return [message["Body"] for message in messages if message not in done]


def predict(
    api: httpx.Client, content: bytes, *, prefer: str | None = "respond-async", key: str | None = None
) -> httpx.Response:
    """Send an image to `POST /prediction`, by default asynchronously."""
    headers = {"prefer": prefer, "idempotency-key": key}
    return api.post(
        "/prediction",
        files={"file": ("seven.png", content, "image/png")},
        data={"user_id": "anna", "metadata": '{"b": 1, "a": [0.1, null]}'},
        headers={name: value for name, value in headers.items() if value is not None},
    )


def listed(api: httpx.Client) -> list[str]:
    """Return the ids of the predictions that `GET /predictions` lists."""
    return [record["prediction_id"] for record in api.get("/predictions?limit=100").json()["predictions"]]
