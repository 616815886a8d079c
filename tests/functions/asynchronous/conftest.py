"""A queue, and the functions on both sides of it."""

from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from tests.support.prediction_queue import AWS, Queue


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
