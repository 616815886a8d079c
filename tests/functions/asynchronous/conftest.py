"""A queue, and the functions on both sides of it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import boto3
import httpx
import pytest
from moto import mock_aws

from local.runtime.sqs_event import Message, make_event, messages_done
from tests.functions.conftest import Context

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

QUEUE_ARN = "arn:aws:sqs:us-east-1:123456789012:predictions"
AWS = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass(frozen=True)
class Queue:
    """The queue of predictions, and what the event source mapping does with it."""

    sqs: "SQSClient"
    url: str

    def receive(self) -> list[Message]:
        """Return the next ten messages, which are then invisible for a while."""
        got = self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10, AttributeNames=["All"])
        return cast("list[Message]", got.get("Messages", []))

    def bodies(self) -> list[str]:
        """Return what the next ten messages say."""
        return [message["Body"] for message in self.receive()]

    def deliver(self) -> list[str]:
        """Give the next ten messages to the worker, delete those it is done with, and return what the others say."""
        messages = self.receive()
        again = work(messages)
        for message in messages:
            if message["Body"] not in again:
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return again


def work(messages: list[Message], context: Context | None = None) -> list[str]:
    """Give messages to the worker, and return what those say that it wants again."""
    from functions.worker.handler import handler

    event = json.loads(json.dumps(make_event(messages, queue_arn=QUEUE_ARN)))
    done = messages_done(messages, json.dumps(handler(event, context or Context())).encode())
    return [message["Body"] for message in messages if message not in done]


@pytest.fixture
def credentials(environment: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """What boto3 asks for before it sends anything."""
    for name, value in AWS.items():
        environment.setenv(name, value)
    return environment


@pytest.fixture
def queue(credentials: pytest.MonkeyPatch) -> Iterator[Queue]:
    """The queue, which makes asynchronous predictions possible."""
    with mock_aws():
        sqs = boto3.client("sqs")
        url = sqs.create_queue(QueueName="predictions")["QueueUrl"]
        credentials.setenv("QUEUE_URL", url)
        yield Queue(sqs, url)


def predict(
    api: httpx.Client, content: bytes, *, prefer: str | None = "respond-async", key: str | None = None
) -> httpx.Response:
    """Send an image, to be predicted later unless told otherwise."""
    headers = {"prefer": prefer, "idempotency-key": key}
    return api.post(
        "/prediction",
        files={"file": ("seven.png", content, "image/png")},
        data={"user_id": "anna", "metadata": '{"b": 1, "a": [0.1, null]}'},
        headers={name: value for name, value in headers.items() if value is not None},
    )


def listed(api: httpx.Client) -> list[str]:
    """Return the ids of the predictions that there are."""
    return [record["prediction_id"] for record in api.get("/predictions?limit=100").json()["predictions"]]
